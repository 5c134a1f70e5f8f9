//! The demo beyond its beginning and end: what it makes of what people do.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::cli::tidings;
use crate::support::connect;

/// A demo in which nothing happens by itself.
struct Quiet {
    /// Ended with the test.
    _demo: Child,
    printed: String,
    address: String,
    token: String,
    db: Client,
}

impl Quiet {
    async fn start() -> Self {
        let mut command = tidings(&["demo", "--no-traffic", "--listen", "127.0.0.1:0"]);
        let mut demo = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        let mut printed = String::new();
        while !printed.contains("\nready") {
            let line = timeout(Duration::from_secs(60), lines.next_line()).await.unwrap().unwrap();
            printed += &format!("\n{}", line.expect("it ended early"));
        }
        let between = |from: &str, to: char| {
            printed
                .split(from)
                .nth(1)
                .unwrap_or_else(|| panic!("no {from}: {printed}"))
                .split(to)
                .next()
                .unwrap()
                .to_owned()
        };
        let (address, token) = (between("http://", '/'), between("Bearer ", '\''));
        let db = connect(&between("psql '", '\'')).await;
        Self { _demo: demo, printed, address, token, db }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("http://{}/v1/tenants/acme/{path}", self.address);
        let request = reqwest::Client::new().request(method.parse().unwrap(), url).bearer_auth(&self.token);
        let request = if method == "GET" { request } else { request.json(body) };
        let answer = request.header("accept", "application/json").send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn upload(&self, name: &str) -> Value {
        self.ask("POST", "documents", &json!({"name": name, "size": 7, "mime_type": "application/pdf"})).await
    }

    async fn put(&self, name: &str, bytes: &'static str) -> (u16, Value) {
        let url = format!("http://{}/v1/tenants/acme/uploads/{name}", self.address);
        let answer = reqwest::Client::new().put(url).bearer_auth(&self.token).body(bytes).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Events of a document from a cursor on, until it is processed or has failed.
    async fn follow(&self, id: &Value, after: &str) -> Vec<Value> {
        let (mut after, mut seen) = (after.to_owned(), Vec::<Value>::new());
        let done = |event: &Value| ["processed", "failed"].contains(&event["data"]["status"].as_str().unwrap());
        let id = id.as_str().unwrap();
        while !seen.last().is_some_and(done) {
            let path = format!("events?types=documents.updated&subject={id}&after={after}&wait=30");
            let page = timeout(Duration::from_secs(60), self.ask("GET", &path, &Value::Null)).await.unwrap();
            seen.extend(page["events"].as_array().unwrap_or_else(|| panic!("{page}")).iter().cloned());
            page["cursor"].as_str().unwrap().clone_into(&mut after);
        }
        seen
    }

    async fn text(&self, sql: &str) -> String {
        self.db.query_one(sql, &[]).await.unwrap().get(0)
    }
}

#[tokio::test]
async fn the_demo_processes_what_people_upload_and_fails_what_is_broken_once() {
    let demo = Quiet::start().await;
    let cursor = demo.text("select tidings.cursor()").await;
    let (status, kept) = demo.put("Plan.pdf", "bytes").await;
    assert_eq!((status, &kept["size"]), (201, &json!(5)), "{kept}");
    let (fine, broken) = (demo.upload("Plan.pdf").await, demo.upload("A broken one.PDF").await);
    let steps = demo.follow(&fine["id"], &cursor).await;
    let progress: Vec<i64> = steps.iter().map(|event| event["data"]["progress"].as_i64().unwrap()).collect();
    assert!(progress.is_sorted() && progress[0] == 0 && progress.last() == Some(&100), "{progress:?}");
    let mut stages: Vec<&str> = steps.iter().filter_map(|event| event["data"]["stage"].as_str()).collect();
    stages.dedup();
    assert_eq!(stages, ["scanning", "extracting text", "indexing", "summarising"]);
    let steps = demo.follow(&broken["id"], &cursor).await;
    let failed = &steps.last().unwrap()["data"];
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("unreadable")));
    let cursor = demo.text("select tidings.cursor()").await;
    let retry = format!("documents/{}/retry", broken["id"].as_str().unwrap());
    assert_eq!(demo.ask("POST", &retry, &json!({})).await["status"], "processing");
    assert_eq!(demo.follow(&broken["id"], &cursor).await.last().unwrap()["data"]["status"], "processed");
}

#[tokio::test]
async fn the_demo_has_a_history_and_links_to_each_page_and_without_traffic_nothing_else_happens() {
    let demo = Quiet::start().await;
    for (page, links) in [("/?ticket=", 2), ("/notifications?ticket=", 2), ("/admin/chat?ticket=", 2)] {
        assert_eq!(demo.printed.matches(page).count(), links, "{page}: {}", demo.printed);
    }
    let states = "select concat_ws(' ', (select string_agg(distinct status, ',' order by status) from documents where tenant_id = 'acme'),
        (select string_agg(distinct status, ',' order by status) from chat_sessions where tenant_id = 'acme'))";
    assert_eq!(demo.text(states).await, "failed,processed,processing,uploaded active,archived,ended,waiting");
    let unseen = |sub: &str| format!("select tidings_app.notification_counts('acme', '{sub}') #>> '{{counts,unseen}}'");
    assert_eq!((demo.text(&unseen("ben")).await, demo.text(&unseen("eve")).await), ("4".to_owned(), "30".to_owned()));
    // What is uploaded last is processed, and until then nothing but the large file has moved.
    let cursor = demo.text("select tidings.cursor()").await;
    let made = demo.upload("Plan.pdf").await;
    demo.follow(&made["id"], &cursor).await;
    let others = format!(
        "select count(*)::text from tidings._log l where l.subject <> '{}' and l.type <> 'documents.updated' and l.type <> 'notifications.inserted'",
        made["id"].as_str().unwrap()
    );
    assert_eq!(demo.text(&others).await, "0");
}
