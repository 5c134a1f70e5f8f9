//! Passwords that change, slots that run out, and what a first run says when something is wrong.

use std::fs;

use futures_util::future::join_all;
use tidings::app::App;
use tidings::private_postgres::{Options, PrivatePostgres};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_postgres::{Client, NoTls};
use tokio_util::task::TaskTracker;

use crate::cli::tidings as program;
use crate::postgres_tls::reach;
use crate::support::{Bridge, Database, Folder, SECRET, Sse, eventually, member, settings};

const END_ALL: &str = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'tidings%' and datname = current_database()";

/// Like the URL of a private server, for another role.
fn url_as(server: &PrivatePostgres, database: &str, role: &str, password: &str) -> String {
    let url = server.tcp_url(database).unwrap();
    format!("postgresql://{role}:{password}@{}", url.split_once('@').unwrap().1)
}

#[tokio::test]
async fn a_rotated_password_in_the_url_file_works_without_a_restart() {
    let server = PrivatePostgres::start(Options { tcp: true, ..Options::default() }).await.unwrap();
    let db = Database::fresh_on(&server).await;
    db.run("create role bridge superuser login password 'first-secret'").await;
    let files = Folder::new();
    let path = format!("{}/url", files.path());
    fs::write(&path, url_as(&server, db.name(), "bridge", "first-secret") + "\n").unwrap();
    let by_file = [("database.url_file", path.as_str()), ("database.pool_size", "2")];
    let bridge = Bridge::with("", &by_file).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;

    db.run("alter role bridge password 'second-secret'").await;
    db.run(END_ALL).await;
    eventually("the bridge says why it is not ready", || async {
        let (status, body) = bridge.get("/readyz").await;
        status == 503 && body["detail"].as_str().unwrap().contains("it refuses the password")
    })
    .await;
    let error = App::build(&settings("", &by_file)).await.err().unwrap();
    let said = format!("{error} {}", error.hint().unwrap());
    for part in ["28P01", "role bridge", &format!("database {}", db.name()), "url_file", "127.0.0.1:"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("secret"), "{said}");

    db.run("select tidings.emit('acme', 'while.away')").await;
    fs::write(&path, url_as(&server, db.name(), "bridge", "second-secret")).unwrap();
    assert_eq!(sse.next().await["type"], "while.away");
    eventually("it is ready again", || async { bridge.get("/readyz").await.0 == 200 }).await;
    assert_eq!(bridge.get_as(&member("acme"), "/v1/tenants/acme/events").await.0, 200, "the pool has it too");
    bridge.stop().await;
}

#[tokio::test]
async fn an_unreadable_url_file_is_told_and_forgiven() {
    let db = Database::new().await;
    let files = Folder::new();
    let path = format!("{}/url", files.path());
    fs::write(&path, &db.url).unwrap();
    let bridge = Bridge::with("", &[("database.url_file", &path)]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    for broken in [None, Some("postgres://bridge:secret@/x?sslmode=nonsense")] {
        fs::remove_file(&path).unwrap();
        if let Some(text) = broken {
            fs::write(&path, text).unwrap();
        }
        db.run(END_ALL).await;
        eventually("the bridge says why it is not ready", || async {
            bridge.get("/readyz").await.1["detail"].as_str().is_some_and(|said| said.contains("cannot be read"))
        })
        .await;
        db.run("select tidings.emit('acme', 'while.away')").await;
        fs::write(&path, &db.url).unwrap();
        assert_eq!(sse.next().await["type"], "while.away");
    }
    bridge.stop().await;
}

/// Takes every connection that the server has left.
async fn take_all(url: &str, taken: &mut Vec<Client>) {
    while let Ok((client, connection)) = url.parse::<tokio_postgres::Config>().unwrap().connect(NoTls).await {
        TaskTracker::new().spawn(async move { _ = connection.await });
        taken.push(client);
    }
}

#[tokio::test]
async fn a_server_without_connections_left_is_named_and_waited_for() {
    let few = [("max_connections", "8"), ("superuser_reserved_connections", "0"), ("autovacuum", "off")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let server = PrivatePostgres::start(Options { settings: few, ..Options::default() }).await.unwrap();
    let db = Database::fresh_on(&server).await;
    let mut taken = Vec::new();
    take_all(&db.url, &mut taken).await;
    let error = App::build(&settings(&db.url, &[])).await.err().unwrap();
    assert!(error.to_string().contains("too many clients"), "{error}");
    assert!(error.hint().unwrap().contains("max_connections"), "{:?}", error.hint());
    drop(taken);

    // Fewer than it is configured for: whoever finds none waits for one.
    eventually("they are given back", || async {
        db.client
            .query_one("select count(*) < 3 from pg_stat_activity where backend_type = 'client backend'", &[])
            .await
            .unwrap()
            .get(0)
    })
    .await;
    let bridge = Bridge::with(&db.url, &[("database.pool_size", "40")]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let token = member("acme");
    let asked = join_all((0..60).map(|_| bridge.get_as(&token, "/v1/tenants/acme/events"))).await;
    assert!(
        asked.iter().all(|(status, _)| *status == 200),
        "{:?}",
        asked.iter().map(|(status, _)| status).collect::<Vec<_>>()
    );

    // Somebody else has all of them.
    let mut taken = Vec::new();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        db.run(END_ALL).await;
        take_all(&db.url, &mut taken).await;
        let said = bridge.get("/readyz").await.1["detail"].as_str().unwrap_or_default().to_owned();
        if said.contains("it has no connection left") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "never came true: {said}");
    }
    db.run("select tidings.emit('acme', 'while.away')").await;
    drop(taken);
    assert_eq!(sse.next().await["type"], "while.away");
    bridge.stop().await;
}

#[tokio::test]
async fn a_first_run_says_what_is_wrong_with_what_and_what_to_do() {
    let server = PrivatePostgres::start(Options { tcp: true, ..Options::default() }).await.unwrap();
    let admin = crate::support::connect(&server.url("postgres")).await;
    for sql in [
        "create role bridge login password 'right-secret'",
        "create database closed",
        "revoke connect on database closed from public",
    ] {
        admin.batch_execute(sql).await.unwrap();
    }
    let url = url_as(&server, "postgres", "bridge", "right-secret");
    let place = url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http_place = http.local_addr().unwrap().to_string();
    TaskTracker::new().spawn(async move {
        while let Ok((mut socket, _)) = http.accept().await {
            _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });

    assert!(reach(&url).await.is_ok());
    for (url, parts) in [
        (
            url.replace(&place, "no-such-host.invalid:5432"),
            vec!["no-such-host.invalid:5432", "cannot be resolved", "name resolution"],
        ),
        (url.replace(&place, "127.0.0.1:1"), vec!["127.0.0.1:1: ", "refused", "listen_addresses"]),
        (url.replace("right", "wrong"), vec![place.as_str(), "28P01", "check the password", "role bridge"]),
        (url.replace(":right-secret", ""), vec![place.as_str(), "password missing", "passfile"]),
        (url.replace("/postgres", "/nowhere"), vec!["3D000", "database nowhere", "createdb"]),
        (url.replace("/postgres", "/closed"), vec!["42501", "database closed", "grant connect"]),
        (url.replace("bridge", "nobody"), vec!["role nobody", "28P01"]),
        (url.replace(&place, &http_place), vec![http_place.as_str(), "not PostgreSQL"]),
        ("host=/no/such/directory user=bridge".into(), vec!["/no/such/directory:5432", "there is no such socket"]),
    ] {
        let said = reach(&url).await.err().unwrap();
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn no_refusal_shows_the_password() {
    let files = Folder::new();
    let path = format!("{}/url", files.path());
    for url in [
        "postgres://bridge:p4ss@127.0.0.1:1/x",
        "postgres://bridge:p4ss@127.0.0.1:1/x?sslmode=wrong",
        "postgres://bridge:p4ss@127.0.0.1:p4ss/x",
        "postgres://bridge:p4ss@127.0.0.1:1/x?password=p4ss&nonsense=1",
        "host=127.0.0.1 port=1 user=bridge password='p4ss",
        "host=127.0.0.1 port=1 user=bridge password=p4ss nonsense=p4ss",
        "host=127.0.0.1 port=1 user=bridge password=p4ss p4ss",
    ] {
        fs::write(&path, url).unwrap();
        for (variable, value) in [("DATABASE_URL", url), ("DATABASE_URL_FILE", path.as_str())] {
            for command in
                [&["serve"][..], &["doctor"], &["emit", "--tenant", "a", "--type", "b.c"], &["config", "show"]]
            {
                let output =
                    program(command).env(variable, value).env("TIDINGS__AUTH__SECRET", SECRET).output().await.unwrap();
                let said =
                    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                assert!(!said.is_empty() && !said.contains("p4ss"), "{command:?} {url}: {said}");
            }
        }
    }
}
