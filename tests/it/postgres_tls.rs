//! TLS to PostgreSQL, with libpq's meanings of `sslmode`, on a real server and certificates made here.

use std::fs;

use tidings::app::App;
use tidings::postgres::Postgres;
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;

use crate::support::{Authority, Bridge, Database, Folder, Identity, Secured, Sse, eventually, member, settings};

/// Connects as the program does; says why not, with the hint.
pub async fn reach(url: &str) -> Result<Client, String> {
    let postgres: Postgres = url.parse().map_err(|error| format!("{error}"))?;
    let (client, connection) = postgres.connect().await.map_err(|error| format!("{error} (hint: {})", error.hint()))?;
    TaskTracker::new().spawn(async move { _ = connection.await });
    Ok(client)
}

/// Whether the connection is encrypted; or why there is none.
async fn encrypted(url: &str) -> Result<bool, String> {
    let client = reach(url).await?;
    let row = client.query_one("select ssl from pg_stat_ssl where pid = pg_backend_pid()", &[]).await.unwrap();
    Ok(row.get(0))
}

#[tokio::test]
async fn sslmode_and_sslrootcert_mean_what_libpq_says() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let secured = Secured::start(&ours.sign(&["localhost", "127.0.0.1"])).await;
    let files = Folder::new();
    let (root, strange) = (format!("{}/root.pem", files.path()), format!("{}/other.pem", files.path()));
    fs::write(&root, ours.pem()).unwrap();
    // The second certificate of a file counts as well as the first.
    fs::write(&strange, other.pem()).unwrap();
    eventually("it encrypts", || async {
        encrypted(&secured.url("localhost", "postgres", "sslmode=require")).await.is_ok()
    })
    .await;

    for (host, query, expected) in [
        ("localhost", "sslmode=disable".to_owned(), Ok(false)),
        ("localhost", "sslmode=allow".to_owned(), Ok(false)),
        ("localhost", "sslmode=prefer".to_owned(), Ok(true)),
        ("localhost", String::new(), Ok(true)),
        ("localhost", "sslmode=require".to_owned(), Ok(true)),
        ("localhost", format!("sslmode=require&sslrootcert={root}"), Ok(true)),
        ("localhost", format!("sslmode=require&sslrootcert={strange}"), Err("is not trusted")),
        ("localhost", format!("sslmode=prefer&sslrootcert={strange}"), Ok(false)),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={root}"), Ok(true)),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={strange}"), Err("is not trusted")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={root}"), Ok(true)),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={root}"), Ok(true)),
        ("127.0.0.2", format!("sslmode=verify-ca&sslrootcert={root}&hostaddr=127.0.0.1"), Ok(true)),
        ("127.0.0.2", format!("sslmode=verify-full&sslrootcert={root}&hostaddr=127.0.0.1"), Err("is for another name")),
        ("localhost", "sslmode=verify-full".to_owned(), Err("is not trusted")),
        ("localhost", "sslrootcert=system".to_owned(), Err("is not trusted")),
        ("localhost", "sslmode=verify-full&sslrootcert=/no/such/file".to_owned(), Err("/no/such/file cannot be read")),
    ] {
        let found = encrypted(&secured.url(host, "postgres", &query)).await;
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(*found, expected, "{host} {query}"),
            (Err(message), Err(part)) => assert!(message.contains(part), "{host} {query}: {message}"),
            _ => panic!("{host} {query}: {found:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_is_used_as_it_is_or_refused_by_name() {
    let plain = tidings::private_postgres::PrivatePostgres::start(tidings::private_postgres::Options {
        tcp: true,
        ..Default::default()
    })
    .await
    .unwrap();
    let url = plain.tcp_url("postgres").unwrap();
    assert_eq!(encrypted(&url).await, Ok(false));
    let refused = encrypted(&format!("{url}?sslmode=require")).await.unwrap_err();
    assert!(refused.contains("does not offer TLS") && refused.contains("ssl = on"), "{refused}");
    let refused = encrypted(&format!("{url}?channel_binding=require")).await.unwrap_err();
    assert!(refused.contains("channel_binding=require"), "{refused}");
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_trusted_where_it_is_named() {
    let itself = Identity::of_itself("localhost");
    let secured = Secured::start(&itself).await;
    let files = Folder::new();
    let root = format!("{}/root.pem", files.path());
    fs::write(&root, &itself.certificate).unwrap();
    let full = format!("sslmode=verify-full&sslrootcert={root}");
    eventually("it encrypts", || async { encrypted(&secured.url("localhost", "postgres", &full)).await == Ok(true) })
        .await;
    let refused = encrypted(&secured.url("127.0.0.1", "postgres", &full)).await.unwrap_err();
    assert!(refused.contains("is for another name"), "{refused}");
    fs::write(&root, Identity::of_itself("localhost").certificate).unwrap();
    let refused = encrypted(&secured.url("localhost", "postgres", &full)).await.unwrap_err();
    assert!(refused.contains("is not trusted"), "another one of the same name: {refused}");
}

#[tokio::test]
async fn a_client_certificate_opens_where_no_password_does() {
    let ours = Authority::new("ours");
    let secured = Secured::start(&ours.sign(&["localhost"])).await;
    let db = Database::empty_on(&secured.server).await;
    db.run("create role certified login; create role scrammed login password 'first secret'").await;
    secured.believe(&ours).await;
    secured.admit("hostssl all certified 127.0.0.1/32 cert\nhost all scrammed 127.0.0.1/32 scram-sha-256").await;
    let files = Folder::new();
    let own = ours.sign(&["certified"]);
    let path = |name: &str| format!("{}/{name}", files.path());
    fs::write(path("own.pem"), &own.certificate).unwrap();
    fs::write(path("own.key"), &own.key).unwrap();
    fs::write(path("root.pem"), ours.pem()).unwrap();
    let port =
        secured.url("localhost", "", "").split("localhost:").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let base =
        format!("host=localhost port={port} dbname={} sslmode=verify-full sslrootcert={}", db.name(), path("root.pem"));

    let with = format!("{base} user=certified sslcert={} sslkey={}", path("own.pem"), path("own.key"));
    eventually("the certificate opens", || async { encrypted(&with).await == Ok(true) }).await;
    let refused = encrypted(&format!("{base} user=certified")).await.unwrap_err();
    assert!(refused.contains("certificate") && refused.contains("role certified"), "{refused}");

    let scram = |more: &str| format!("{base} user=scrammed password='first secret' {more}");
    assert_eq!(encrypted(&scram("channel_binding=require")).await, Ok(true));
    let refused = encrypted(&scram("sslmode=disable channel_binding=require")).await.unwrap_err();
    assert!(refused.contains("channel_binding"), "{refused}");
    // Found by its host's name, in a file that is read for each connection.
    fs::write(path("passwords"), format!("localhost:{port}:*:scrammed:wrong\n")).unwrap();
    let filed = format!("{base} user=scrammed passfile={}", path("passwords"));
    assert!(encrypted(&filed).await.unwrap_err().contains("28P01"));
    fs::write(path("passwords"), format!("localhost:{port}:*:scrammed:first secret\n")).unwrap();
    assert_eq!(encrypted(&filed).await, Ok(true));
}

#[tokio::test]
async fn a_replaced_certificate_is_refused_until_its_root_is_named_and_nothing_is_lost() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let secured = Secured::start(&old.sign(&["localhost"])).await;
    let db = Database::fresh_on(&secured.server).await;
    let files = Folder::new();
    let root = format!("{}/root.pem", files.path());
    fs::write(&root, old.pem()).unwrap();
    let url = secured.url("localhost", db.name(), &format!("sslmode=verify-full&sslrootcert={root}"));
    eventually("it encrypts", || async { reach(&url).await.is_ok() }).await;
    let bridge = Bridge::as_named(&url, &[]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;

    secured.present(&new.sign(&["localhost"])).await;
    eventually("the new one is shown", || async { reach(&url).await.is_err() }).await;
    db.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'tidings%'").await;
    db.run("select tidings.emit('acme', 'while.away')").await;
    eventually("the bridge says why it is not ready", || async {
        let (status, body) = bridge.get("/readyz").await;
        status == 503 && body["detail"].as_str().unwrap().contains("its certificate is not trusted")
    })
    .await;
    let error = App::build(&settings(&url, &[])).await.err().unwrap();
    assert!(error.hint().unwrap().contains("no restart is needed"), "{error} {:?}", error.hint());

    fs::write(&root, old.pem() + &new.pem()).unwrap();
    assert_eq!(sse.next().await["type"], "while.away");
    eventually("it is ready again", || async { bridge.get("/readyz").await.0 == 200 }).await;
    bridge.stop().await;
}
