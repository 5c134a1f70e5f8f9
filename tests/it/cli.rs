//! The command line, as a person and a script meet it.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{Database, SECRET, eventually};

/// The program, in an environment of its own.
pub fn tidings(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(arguments).env_clear().env("PATH", std::env::var("PATH").unwrap()).kill_on_drop(true);
    command
}

pub async fn on(database: &Database, arguments: &[&str]) -> Output {
    tidings(arguments).env("DATABASE_URL", &database.url).env("TIDINGS__AUTH__SECRET", SECRET).output().await.unwrap()
}

pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

async fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

#[tokio::test]
async fn the_demo_starts_streams_and_leaves_nothing_behind() {
    let address = free_address().await;
    let mut demo = tidings(&["demo", "--listen", &address]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut printed = Vec::new();
    while printed.last().is_none_or(|line: &String| !line.starts_with("ready")) {
        printed
            .push(timeout(Duration::from_secs(60), lines.next_line()).await.unwrap().unwrap().expect("it ended early"));
    }
    let curl = printed.iter().find(|line| line.contains("curl -N")).unwrap();
    let token = curl.split("Bearer ").nth(1).unwrap().split(['\'', '"']).next().unwrap();
    let url = format!("http://{address}/v1/tenants/acme/events");
    let client = reqwest::Client::new();
    let mut stream = client.get(&url).bearer_auth(token).header("accept", "text/event-stream").send().await.unwrap();
    let mut text = String::new();
    while !text.contains("\"tenant\":\"acme\"") {
        text += &String::from_utf8_lossy(
            &timeout(Duration::from_secs(20), stream.chunk()).await.unwrap().unwrap().unwrap(),
        );
    }
    let link = printed.iter().find(|line| line.contains("/?ticket=")).unwrap().trim();
    let signed_in = client.get(link).send().await.unwrap();
    assert!(signed_in.text().await.unwrap().contains("<title>"), "the link opens the page");
    let socket = printed.iter().find(|line| line.contains("psql")).unwrap();
    let folder = socket.split("@%2F").nth(1).unwrap().split(':').next().unwrap().replace("%2F", "/");

    interrupt(&demo);
    assert!(timeout(Duration::from_secs(30), demo.wait()).await.unwrap().unwrap().success());
    assert!(!std::path::Path::new(&format!("/{folder}")).exists(), "its folder is gone");
}

#[tokio::test]
async fn what_is_emitted_is_tailed_and_the_tail_resumes() {
    let db = Database::new().await;
    let before = db.text("select tidings.cursor()").await;
    let id = stdout(
        &on(&db, &["emit", "--tenant", "acme", "--type", "invoice.paid", "--subject", "7", r#"{"sum":3}"#]).await,
    );
    let mut tail = tidings(&["tail", "--tenant", "acme", "--types", "invoice.*", "--after", &before, "--json"])
        .env("DATABASE_URL", &db.url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let line = timeout(Duration::from_secs(20), lines.next_line()).await.unwrap().unwrap().unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["id"], &event["data"]["sum"]), (&Value::from(id), &Value::from(3)));
    interrupt(&tail);
    assert!(timeout(Duration::from_secs(10), tail.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn two_that_migrate_at_once_both_find_the_schema_complete() {
    let db = Database::new().await;
    db.run("drop schema tidings cascade").await;
    let (one, other) = tokio::join!(on(&db, &["migrate", "--json"]), on(&db, &["migrate", "--json"]));
    let applied: usize = [stdout(&one), stdout(&other)]
        .iter()
        .map(|text| serde_json::from_str::<Vec<String>>(text).unwrap().len())
        .sum();
    let files =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sql")).unwrap().map(|entry| entry.unwrap().path());
    let migrations = files.filter(|path| path.extension().is_some_and(|extension| extension == "sql")).count();
    assert_eq!(applied, migrations, "each migration once");
}

#[tokio::test]
async fn applying_the_triggers_twice_changes_nothing_the_second_time() {
    let db = Database::new().await;
    db.run("select tidings.unwatch('documents')").await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/triggers");
    stdout(&on(&db, &["triggers", "apply", folder]).await);
    let triggers = "select string_agg(oid::text, ',' order by oid) from pg_trigger where tgname like 'tidings%'";
    let first = db.text(triggers).await;
    stdout(&on(&db, &["triggers", "apply", folder]).await);
    assert_eq!(db.text(triggers).await, first);
    assert_eq!(db.text("select count(*)::text from tidings.watches").await, "4");
}

#[tokio::test]
async fn a_wrong_setting_is_refused_with_64_in_one_line_that_names_it() {
    let output = tidings(&["--set", "http.heartbeat=40s", "config", "check"]).output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{error}");
    assert!(error.contains("http.heartbeat") && error.trim().lines().count() == 1, "{error}");
    assert_eq!(tidings(&["config", "check"]).output().await.unwrap().status.code(), Some(0));
    assert_eq!(tidings(&["no-such-command"]).output().await.unwrap().status.code(), Some(2));
}

#[tokio::test]
async fn a_minted_token_opens_a_served_stream_and_a_signal_ends_the_server() {
    let db = Database::new().await;
    let address = free_address().await;
    let mut server = tidings(&["serve", "--listen", &address])
        .env("DATABASE_URL", &db.url)
        .env("TIDINGS__AUTH__SECRET", SECRET)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ready = format!("http://{address}/readyz");
    eventually("it is ready", || async { reqwest::get(&ready).await.is_ok_and(|answer| answer.status() == 200) }).await;
    let token = stdout(&on(&db, &["token", "--sub", "me", "--tenant", "acme"]).await);
    let session = format!("http://{address}/v1/session");
    let answer: Value =
        reqwest::Client::new().get(session).bearer_auth(token).send().await.unwrap().json().await.unwrap();
    assert_eq!((&answer["sub"], &answer["tenants"][0]), (&Value::from("me"), &Value::from("acme")));
    interrupt(&server);
    assert!(timeout(Duration::from_secs(20), server.wait()).await.unwrap().unwrap().success());
}
