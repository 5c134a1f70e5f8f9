//! What operators read: figures that are true, documented, and kept apart where that is asked for.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tidings::app::App;
use tidings::metrics::{Metrics, Moment};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::{Bridge, Database, Sse, Ws, connect, eventually, member, server, settings, token};

async fn text(address: SocketAddr) -> String {
    reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap()
}

/// The value of a series; none where it is not there.
async fn value(bridge: &Bridge, series: &str) -> Option<f64> {
    let text = text(bridge.address).await;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

async fn reaches(bridge: &Bridge, series: &str, least: f64) {
    eventually(series, || async { value(bridge, series).await.is_some_and(|value| value >= least) }).await;
}

fn doc(name: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// What queries call the figures.
fn names() -> BTreeSet<String> {
    Metrics::new().names(&Moment::default()).into_iter().collect()
}

#[test]
fn every_metric_is_documented_and_nothing_else() {
    let operations = doc("operations.md");
    let rows = operations.lines().filter_map(|line| line.strip_prefix("| `tidings_"));
    let documented: BTreeSet<String> =
        rows.filter_map(|row| Some(format!("tidings_{}", row.split(['`', '{']).next()?))).collect();
    assert_eq!(names(), documented);
}

#[test]
fn every_metric_that_an_alert_looks_at_exists() {
    let (rules, names) = (doc("alerts.yml"), names());
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("tidings_")).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        // A histogram is asked for by its parts.
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(names.contains(base), "{name} is no metric");
    }
}

#[test]
fn every_alert_leads_to_a_place_in_the_manual() {
    let (rules, operations) = (doc("alerts.yml"), doc("operations.md"));
    let headings = operations.lines().filter_map(|line| line.strip_prefix("## "));
    let kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-');
    let anchor = |title: &str| title.to_lowercase().chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-");
    let places: BTreeSet<String> = headings.map(anchor).collect();
    assert_eq!(rules.matches("- alert:").count(), rules.matches("runbook:").count());
    for runbook in rules.lines().filter_map(|line| line.split_once("runbook: \"operations.md#")) {
        let place = runbook.1.split([':', '"']).next().unwrap();
        assert!(places.contains(place), "{place}");
    }
}

/// Texts of warnings and errors in the sources, up to what is filled in.
fn logged() -> BTreeSet<String> {
    let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(path).unwrap();
            let calls = source.split("tracing::warn!(").skip(1).chain(source.split("tracing::error!(").skip(1));
            found.extend(calls.filter_map(message));
        }
    }
    found
}

/// The last text among the arguments of a call, whose opening parenthesis was read, up to what is filled in.
fn message(call: &str) -> Option<String> {
    let (mut depth, mut inside, mut escaped, mut text, mut last) = (1, false, false, String::new(), None);
    for char in call.chars() {
        match char {
            _ if escaped => {
                escaped = false;
                text.push(char);
            }
            '\\' if inside => escaped = true,
            '"' if inside => (inside, last) = (false, Some(std::mem::take(&mut text))),
            '"' => inside = true,
            _ if inside => text.push(char),
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    // A line that is broken in the source goes on with its first word.
    let joined: Vec<&str> = last.as_ref()?.split('\n').map(str::trim_start).collect();
    Some(joined.concat().split('{').next()?.trim_end().to_owned())
}

#[test]
fn every_warning_and_error_is_explained_and_nothing_else() {
    let operations = doc("operations.md");
    let section = operations.split("## What the log says").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.rsplit_once("` | "));
    let explained: BTreeSet<String> = rows.map(|(message, _)| message.to_owned()).collect();
    assert_eq!(logged(), explained);
}

#[tokio::test]
async fn the_way_of_an_event_is_timed_for_each_table_and_a_replay_is_not() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let clock = r#"tidings_commit_to_dispatch_seconds_count{table="emit"}"#;
    // Until the database's clock is known nothing is timed.
    eventually("the clock of the database is known", || async {
        db.sentinel("initech").await;
        value(&bridge, clock).await.is_some()
    })
    .await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    db.run("insert into documents (id, tenant_id, name) values ('d', 'acme', 'a.pdf')").await;
    assert_eq!((&sse.next().await["subject"], &ws.next().await["subject"]), (&json!("d"), &json!("d")));
    let of =
        |which: &str, part: &str| format!(r#"tidings_commit_to_{which}_seconds_{part}{{table="public.documents"}}"#);
    assert_eq!(value(&bridge, &of("dispatch", "count")).await, Some(1.0));
    assert_eq!(value(&bridge, &of("delivery", "count")).await, Some(2.0), "one for each write");
    let bucket = r#"tidings_commit_to_delivery_seconds_bucket{le="60.0",table="public.documents"}"#;
    assert_eq!(value(&bridge, bucket).await, Some(2.0), "{}", text(bridge.address).await);
    let mut resumed =
        Sse::open(&bridge, &member("acme"), "acme", &format!("?after={}", sse.hello["cursor"].as_str().unwrap())).await;
    assert_eq!(resumed.next().await["subject"], "d");
    assert_eq!(value(&bridge, &of("delivery", "count")).await, Some(2.0), "what it was away for is no latency of ours");
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_does_not_make_events_an_hour_late() {
    // Of the two clocks only their difference shows, so the event's is set instead of the machine's: an hour ahead.
    let db = Database::new().await;
    db.run(
        "create schema later; create function later.clock_timestamp() returns timestamptz language sql as
           $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$",
    )
    .await;
    let config = format!("alter database {} set search_path = later, pg_catalog, public", db.name());
    db.run(&config).await;
    let record = "alter function tidings._record(oid, text, text, boolean, tidings._change[]) set search_path = later, pg_catalog";
    db.run(record).await;
    // A service role may not use the schema of that clock.
    let bridge = Bridge::as_named(&db.url, &[]).await;
    let counted = r#"tidings_commit_to_dispatch_seconds_count{table="emit"}"#;
    eventually("the clock of the database is known", || async {
        db.sentinel("acme").await;
        value(&bridge, counted).await.is_some()
    })
    .await;
    let page = crate::support::get_page(&bridge, &member("acme"), "acme", "").await;
    let ahead = hours_ahead(page.events[0]["time"].as_str().unwrap());
    assert!(ahead > 0.9, "the database is ahead: {ahead}");
    let sum = value(&bridge, r#"tidings_commit_to_dispatch_seconds_sum{table="emit"}"#).await.unwrap();
    let count = value(&bridge, counted).await.unwrap();
    assert!(sum > 0.0 && sum / count < 60.0, "{sum} s for {count}");
}

/// How many hours a time is ahead of this machine's clock.
fn hours_ahead(time: &str) -> f64 {
    let time: jiff::Timestamp = time.parse().unwrap();
    (time - jiff::Timestamp::now()).total(jiff::Unit::Hour).unwrap()
}

#[tokio::test]
async fn the_listening_connection_is_told_of_while_it_is_away_and_when_it_is_back() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("listener.backoff_min", "1s"), ("listener.backoff_max", "1s")]).await;
    reaches(&bridge, "tidings_listener_connected", 1.0).await;
    reaches(&bridge, "tidings_listener_checkpoint_round_trip_seconds", 0.000_001).await;
    reaches(&bridge, "tidings_pool_connections", 1.0).await;
    // Nobody gets in while it tries to come back.
    let (name, elsewhere) = (db.name(), connect(&server().await.url("postgres")).await);
    let let_in = async |yes: bool| {
        elsewhere.batch_execute(&format!("alter database {name} allow_connections {yes}")).await.unwrap();
    };
    let_in(false).await;
    db.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'tidings%' and datname = current_database()").await;
    eventually("it is away", || async { value(&bridge, "tidings_listener_connected").await == Some(0.0) }).await;
    reaches(&bridge, "tidings_listener_checkpoint_age_seconds", 0.5).await;
    assert_eq!(value(&bridge, "tidings_ready").await, Some(0.0));
    let_in(true).await;
    reaches(&bridge, "tidings_listener_connected", 1.0).await;
    reaches(&bridge, "tidings_listener_reconnects_total", 1.0).await;
    reaches(&bridge, "tidings_ready", 1.0).await;
}

#[tokio::test]
async fn every_problem_is_counted_by_its_code_once() {
    let bridge = Bridge::start(&Database::new().await).await;
    let acme = member("acme");
    let asked: [(&str, &str, &str, &str); 6] = [
        ("GET", "/v1/nothing", "", "not_found"),
        ("PUT", "/v1/status", "", "method_not_allowed"),
        ("GET", "/v1/status", "", "token_missing"),
        ("GET", "/v1/tenants/globex/events", &acme, "forbidden"),
        ("GET", "/v1/tenants/acme/events?limit=0", &acme, "invalid_field"),
        ("GET", "/v1/status", "x", "token_malformed"),
    ];
    for (method, path, token, code) in asked {
        let request = bridge.request(method, path);
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(body["code"], code, "{method} {path}");
        assert_eq!(value(&bridge, &format!(r#"tidings_refused_total{{reason="{code}"}}"#)).await, Some(1.0), "{path}");
    }
    let mut ws = Ws::connect(&bridge, &acme).await;
    assert_eq!(ws.subscribe("s", "globex", json!({})).await["code"], "forbidden");
    ws.send(&json!({"type": "auth", "token": token(json!({"sub": "bob", "tenant": "acme"}))})).await;
    assert_eq!(ws.frame().await.unwrap()["code"], "forbidden");
    assert_eq!(value(&bridge, r#"tidings_refused_total{reason="forbidden"}"#).await, Some(3.0));
}

#[tokio::test]
async fn metrics_can_have_an_address_of_their_own_and_are_then_nowhere_else() {
    let db = Database::new().await;
    let app = App::build(&settings(&db.url, &[("http.metrics_listen", "127.0.0.1:0")])).await.unwrap();
    let (public, private, stop) = (app.address(), app.metrics_address().unwrap(), CancellationToken::new());
    let running = TaskTracker::new().spawn(app.run(stop.clone().cancelled_owned()));
    let status = |address: SocketAddr, path: &'static str| async move {
        reqwest::get(format!("http://{address}{path}")).await.unwrap().status().as_u16()
    };
    eventually("it is ready", || async { status(private, "/readyz").await == 200 }).await;
    assert!(text(private).await.contains("tidings_ready 1\n"));
    assert_eq!((status(public, "/metrics").await, status(public, "/livez").await), (404, 200));
    assert_eq!((status(private, "/v1/openapi.json").await, status(private, "/").await), (404, 404));
    stop.cancel();
    running.await.unwrap();
}
