//! What breaks between PostgreSQL and a client loses nothing: the listening connection, PostgreSQL, the bridge.

mod changed;
mod disk;
mod half_open;
mod lagging;
mod scene;
mod stopped;
mod unreachable;

use std::collections::{BTreeMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};
use tidings::private_postgres::{Options, PrivatePostgres, Stop};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::{Bridge, Database, SECRET, Sse, Ws, events_of, eventually, get_page, member};

/// Writers that count upwards, each in a row of its own and one commit per step, whatever happens to the server.
struct Writers {
    stop: CancellationToken,
    running: JoinSet<(String, u64)>,
    commits: Arc<AtomicUsize>,
}

impl Writers {
    fn start(url: &str) -> Self {
        Self::counting(url, &["a", "b", "c", "d"].map(|row| ("acme", row)), Duration::ZERO)
    }

    /// In rows of tenants, with a pause between the commits of each.
    fn counting(url: &str, rows: &[(&'static str, &'static str)], pace: Duration) -> Self {
        let (stop, commits, mut running) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)), JoinSet::new());
        for row in rows {
            running.spawn(count_upwards(url.to_owned(), *row, pace, stop.clone(), commits.clone()));
        }
        Self { stop, running, commits }
    }

    /// Waits for so many more commits.
    async fn commit(&self, more: usize) {
        let wanted = self.commits.load(Relaxed) + more;
        eventually("the writers go on", || async { self.commits.load(Relaxed) >= wanted }).await;
    }

    /// Ends them; how far each row has come.
    async fn finish(self) -> BTreeMap<String, u64> {
        self.stop.cancel();
        self.running.join_all().await.into_iter().collect()
    }
}

async fn count_upwards(
    url: String,
    (tenant, row): (&str, &str),
    pace: Duration,
    stop: CancellationToken,
    commits: Arc<AtomicUsize>,
) -> (String, u64) {
    let (mut client, mut step) = (reach(&url).await, 0);
    while !stop.is_cancelled() {
        // Where a commit's fate is unknown, trying again changes nothing if it had succeeded.
        let sql = format!(
            "insert into documents as d (id, tenant_id, name, size) values ('{row}', '{tenant}', 'x', {}) on conflict (id)
             do update set size = excluded.size where d.size < excluded.size",
            step + 1
        );
        match client.batch_execute(&sql).await {
            Ok(()) => {
                step += 1;
                commits.fetch_add(1, Relaxed);
                tokio::time::sleep(pace).await;
            }
            // Where the server lives and refuses, such as with a full disk, it may accept in a moment.
            Err(error) if error.as_db_error().is_some_and(|refused| refused.code().code() == "53100") => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(_) => client = reach(&url).await,
        }
    }
    (row.to_owned(), step)
}

/// Connects, however long that takes.
async fn reach(url: &str) -> Client {
    loop {
        if let Ok((client, connection)) = url.parse::<tokio_postgres::Config>().unwrap().connect(NoTls).await {
            TaskTracker::new().spawn(async move { _ = connection.await });
            return client;
        }
        tokio::task::yield_now().await;
    }
}

/// How the rows counted, in the order of arrival.
fn counted(events: &[Value]) -> BTreeMap<String, Vec<u64>> {
    let mut rows = BTreeMap::<String, Vec<u64>>::new();
    for event in events {
        rows.entry(event["subject"].as_str().unwrap().to_owned())
            .or_default()
            .push(event["data"]["size"].as_u64().unwrap());
    }
    rows
}

/// Every step of every row once, and in order.
fn whole(last: &BTreeMap<String, u64>) -> BTreeMap<String, Vec<u64>> {
    last.iter().map(|(row, last)| (row.clone(), (1..=*last).collect())).collect()
}

/// Says where two countings differ, without printing thousands of numbers.
fn assert_counted(who: &str, events: &[Value], last: &BTreeMap<String, u64>) {
    let (found, expected) = (counted(events), whole(last));
    for (row, steps) in &expected {
        let found = found.get(row).cloned().unwrap_or_default();
        let at = found.iter().zip(steps).position(|(a, b)| a != b).unwrap_or(found.len().min(steps.len()));
        let around = at.saturating_sub(3)..(at + 5).min(found.len());
        assert!(
            found == *steps,
            "{who}, row {row}: step {} is not there in its place but {:?} ({} of {})",
            at + 1,
            &found[around],
            found.len(),
            steps.len()
        );
    }
}

async fn listener_pid(db: &Database) -> Option<i32> {
    let sql =
        "select pid from pg_stat_activity where application_name = 'tidings listener' and datname = current_database()";
    db.client.query_opt(sql, &[]).await.unwrap().map(|row| row.get(0))
}

/// Reads up to the sentinel over SSE, reconnecting with the last id after every few events. Each id once.
async fn read_sse_in_pieces(bridge: &Bridge, token: &str) -> Vec<Value> {
    let (mut events, mut ids) = (Vec::new(), HashSet::new());
    let mut sse = Sse::open(bridge, token, "acme", "").await;
    loop {
        for _ in 0..25 {
            match sse.next().await {
                event if event["type"] == "sentinel" => return events,
                event if ids.insert(event["id"].as_str().unwrap().to_owned()) => events.push(event),
                _ => {}
            }
        }
        let last_id = sse.last_id.clone();
        sse = Sse::resume(bridge, token, "acme", &last_id).await;
        assert_eq!(sse.hello["resumed"], true);
    }
}

/// The same over WebSocket.
async fn read_ws_in_pieces(bridge: &Bridge, token: &str) -> Vec<Value> {
    let (mut events, mut ids) = (Vec::new(), HashSet::new());
    let mut ws = Ws::open(bridge, token, "acme", json!({})).await;
    loop {
        let mut last = Value::Null;
        for _ in 0..25 {
            let event = ws.next().await;
            last = event["id"].clone();
            match event {
                event if event["type"] == "sentinel" => return events,
                event if ids.insert(event["id"].as_str().unwrap().to_owned()) => events.push(event),
                _ => {}
            }
        }
        ws = Ws::open(bridge, token, "acme", json!({"after": last})).await;
    }
}

#[tokio::test]
async fn a_terminated_listener_backend_loses_nothing() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let token = member("acme");
    let (mut sse, mut ws) =
        (Sse::open(&bridge, &token, "acme", "").await, Ws::open(&bridge, &token, "acme", json!({})).await);
    let faults = async {
        let writers = Writers::start(&db.url);
        for round in 0..6 {
            writers.commit(60).await;
            eventually("a listener is there", || async { listener_pid(&db).await.is_some() }).await;
            let pid = listener_pid(&db).await;
            db.client.execute("select pg_terminate_backend($1)", &[&pid]).await.unwrap();
            if round % 2 == 0 {
                eventually("it is back", || async { listener_pid(&db).await.is_some_and(|now| Some(now) != pid) })
                    .await;
            }
        }
        writers.commit(60).await;
        let last = writers.finish().await;
        db.sentinel("acme").await;
        last
    };
    let (last, by_sse, by_ws, sse_pieces, ws_pieces) = tokio::join!(
        faults,
        sse.until_sentinel(),
        ws.until_sentinel(),
        read_sse_in_pieces(&bridge, &token),
        read_ws_in_pieces(&bridge, &token)
    );
    assert_counted("SSE, connected", &by_sse, &last);
    assert_counted("WebSocket, connected", &by_ws, &last);
    assert_counted("SSE, reconnecting", &sse_pieces, &last);
    assert_counted("WebSocket, reconnecting", &ws_pieces, &last);
}

/// Readiness follows the server, and connected clients see every step once.
async fn connected_clients_survive(how: Stop) {
    let mut server = PrivatePostgres::start(Options::default()).await.unwrap();
    let mut db = Database::fresh_on(&server).await;
    let bridge = Bridge::start(&db).await;
    let token = member("acme");
    let (mut sse, mut ws) =
        (Sse::open(&bridge, &token, "acme", "").await, Ws::open(&bridge, &token, "acme", json!({})).await);
    let faults = async {
        let writers = Writers::start(&db.url);
        for _ in 0..2 {
            writers.commit(100).await;
            server.halt(how).await.unwrap();
            eventually("/readyz says 503", || async { bridge.get("/readyz").await.0 == 503 }).await;
            server.boot().await.unwrap();
            eventually("/readyz says 200", || async { bridge.get("/readyz").await.0 == 200 }).await;
        }
        writers.commit(100).await;
        let last = writers.finish().await;
        db.client = db.connect().await;
        db.sentinel("acme").await;
        last
    };
    let (last, by_sse, by_ws) = tokio::join!(faults, sse.until_sentinel(), ws.until_sentinel());
    assert_counted("SSE", &by_sse, &last);
    assert_counted("WebSocket", &by_ws, &last);
}

#[tokio::test]
async fn connected_clients_survive_a_restart_of_postgresql() {
    connected_clients_survive(Stop::Fast).await;
}

#[tokio::test]
async fn connected_clients_survive_an_immediate_shutdown_of_postgresql() {
    connected_clients_survive(Stop::Immediate).await;
}

#[tokio::test]
async fn connected_clients_survive_a_crash_of_postgresql() {
    connected_clients_survive(Stop::Kill).await;
}

/// Each kind of cursor, taken before, goes on where it stood: on the bridge that lived through it, and on another.
async fn cursors_survive(how: Stop) {
    let mut server = PrivatePostgres::start(Options::default()).await.unwrap();
    let mut db = Database::fresh_on(&server).await;
    let token = member("acme");
    let bridge = Bridge::with(&db.url, &[("http.heartbeat", "1s")]).await;
    let mut ws = Ws::open(&bridge, &token, "acme", json!({})).await;
    db.run("insert into documents (id, tenant_id, name) values ('before', 'acme', 'x')").await;
    let id = ws.next().await["id"].as_str().unwrap().to_owned();
    let beat = ws.frame().await.unwrap()["cursor"].as_str().unwrap().to_owned();
    let listed = db.text("select tidings.cursor()").await;
    // A transaction that the crash undoes: its numbers may be used again by what follows.
    let open = db.connect().await;
    open.batch_execute("begin; insert into documents (id, tenant_id, name) values ('undone', 'acme', 'x')")
        .await
        .unwrap();
    let listed_later = db.text("select tidings.cursor()").await;

    server.restart(how).await.unwrap();
    eventually("/readyz says 200", || async { bridge.get("/readyz").await.0 == 200 }).await;
    db.client = db.connect().await;
    db.run("insert into documents (id, tenant_id, name) values ('after', 'acme', 'x')").await;
    db.sentinel("acme").await;
    for bridge in [&bridge, &Bridge::start(&db).await] {
        for cursor in [&id, &beat, &listed, &listed_later] {
            let mut sse = Sse::resume(bridge, &token, "acme", cursor).await;
            assert_eq!(sse.hello["resumed"], true, "{cursor}");
            assert_eq!(
                events_of(&sse.until_sentinel().await),
                [("documents.inserted".into(), "after".into())],
                "{cursor}"
            );
        }
    }
}

#[tokio::test]
async fn every_kind_of_cursor_survives_a_restart_of_postgresql() {
    cursors_survive(Stop::Fast).await;
}

#[tokio::test]
async fn every_kind_of_cursor_survives_a_crash_of_postgresql() {
    cursors_survive(Stop::Kill).await;
}

/// `tidings serve` in a process of its own.
struct Process {
    child: Child,
}

impl Process {
    async fn start(url: &str, bridge: &Bridge) -> Self {
        let environment = [
            ("TIDINGS__DATABASE__URL", url),
            ("TIDINGS__DATABASE__MIGRATE", "false"),
            ("TIDINGS__HTTP__LISTEN", &bridge.address.to_string()),
            ("TIDINGS__AUTH__SECRET", SECRET),
            ("TIDINGS__LISTENER__CHECKPOINT_EVERY", "200ms"),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.arg("serve").env_clear().envs(environment).kill_on_drop(true);
        let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        ready(bridge).await;
        Self { child }
    }

    /// SIGKILL.
    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

async fn ready(bridge: &Bridge) {
    let url = bridge.url("/readyz");
    eventually("the bridge is ready", || async {
        reqwest::get(&url).await.is_ok_and(|response| response.status() == 200)
    })
    .await;
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Reads up to the sentinel, going on with the last id whenever the stream breaks. Each id once; `read` counts them.
async fn read_sse_over_deaths(bridge: &Bridge, token: &str, from: &str, read: &AtomicUsize) -> Vec<Value> {
    let (mut events, mut ids, mut last_id) = (Vec::new(), HashSet::new(), from.to_owned());
    loop {
        ready(bridge).await;
        let mut sse = Sse::resume(bridge, token, "acme", &last_id).await;
        assert_eq!(sse.hello["resumed"], true);
        while let Some(block) = sse.block().await {
            assert_eq!(block.event, "message", "{block:?}");
            let event: Value = serde_json::from_str(&block.data).unwrap();
            if event["type"] == "sentinel" {
                return events;
            } else if ids.insert(block.id) {
                events.push(event);
                read.store(events.len(), Relaxed);
            }
        }
        last_id = sse.last_id;
    }
}

/// The same over WebSocket.
async fn read_ws_over_deaths(bridge: &Bridge, token: &str, from: &str, read: &AtomicUsize) -> Vec<Value> {
    let (mut events, mut ids, mut cursor) = (Vec::new(), HashSet::new(), json!(from));
    loop {
        ready(bridge).await;
        let mut ws = Ws::open(bridge, token, "acme", json!({"after": cursor})).await;
        while let Some(frame) = ws.frame().await {
            assert_eq!(frame["type"], "event", "{frame}");
            cursor = frame["event"]["id"].clone();
            if frame["event"]["type"] == "sentinel" {
                return events;
            } else if ids.insert(cursor.to_string()) {
                events.push(frame["event"].clone());
                read.store(events.len(), Relaxed);
            }
        }
    }
}

/// Reads pages up to now; the cursor to go on from.
async fn read_pages(bridge: &Bridge, token: &str, from: &str, events: &mut Vec<Value>) -> String {
    let mut cursor = from.to_owned();
    loop {
        let page = get_page(bridge, token, "acme", &format!("?limit=1000&after={cursor}")).await;
        events.extend(page.events);
        cursor = page.cursor;
        if !page.more {
            return cursor;
        }
    }
}

#[tokio::test]
async fn a_bridge_killed_while_events_flow_loses_none_for_clients_that_come_back() {
    let (db, bridge) = (Database::new().await, Bridge::elsewhere(free_address()));
    let (token, start) = (member("acme"), db.text("select tidings.cursor()").await);
    let (sse_read, ws_read) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let faults = async {
        let (mut process, mut paged, mut cursor) = (Process::start(&db.url, &bridge).await, Vec::new(), start.clone());
        let writers = Writers::start(&db.url);
        for _ in 0..3 {
            let before = (sse_read.load(Relaxed), ws_read.load(Relaxed));
            let came_back = || async { sse_read.load(Relaxed) > before.0 && ws_read.load(Relaxed) > before.1 };
            eventually("both clients read on", came_back).await;
            cursor = read_pages(&bridge, &token, &cursor, &mut paged).await;
            process.kill().await;
            writers.commit(50).await;
            process = Process::start(&db.url, &bridge).await;
        }
        let last = writers.finish().await;
        db.sentinel("acme").await;
        read_pages(&bridge, &token, &cursor, &mut paged).await;
        paged.retain(|event| event["type"] != "sentinel");
        (process, last, paged)
    };
    let ((process, last, paged), by_sse, by_ws) = tokio::join!(
        faults,
        read_sse_over_deaths(&bridge, &token, &start, &sse_read),
        read_ws_over_deaths(&bridge, &token, &start, &ws_read)
    );
    process.kill().await;
    assert_counted("SSE", &by_sse, &last);
    assert_counted("WebSocket", &by_ws, &last);
    assert_counted("pages", &paged, &last);
}

/// Every transport tells it, before anything newer.
async fn assert_reset(db: &Database, bridge: &Bridge, cursor: &str, reason: &str) {
    let token = member("acme");
    let mut sse = Sse::resume(bridge, &token, "acme", cursor).await;
    let mut ws = Ws::open(bridge, &token, "acme", json!({"after": cursor})).await;
    db.sentinel("acme").await;
    assert_eq!(sse.hello["resumed"], false);
    let block = sse.block().await.unwrap();
    assert_eq!((block.event.as_str(), reason_of(&block.data)), ("reset", reason.to_owned()));
    let frame = ws.frame().await.unwrap();
    assert_eq!((&frame["type"], &frame["reason"]), (&json!("reset"), &json!(reason)));
    assert_eq!((sse.until_sentinel().await, ws.until_sentinel().await), (vec![], vec![]));
    let (status, problem) = bridge.get_as(&token, &format!("/v1/tenants/acme/events?after={cursor}")).await;
    assert_eq!((status, &problem["code"]), (410, &json!(reason)));
}

fn reason_of(data: &str) -> String {
    serde_json::from_str::<Value>(data).unwrap()["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_cursor_whose_newest_event_was_undone_is_told_so() {
    for undo in ["update tidings._log set nonce = nonce # 1", "delete from tidings._log"] {
        let db = Database::new().await;
        db.run("insert into documents (id, tenant_id, name) values ('lost', 'acme', 'x')").await;
        let cursor = db.text("select tidings.cursor()").await;
        let id = db.text("select id from tidings.events").await;
        db.run(undo).await;
        let bridge = Bridge::start(&db).await;
        assert_reset(&db, &bridge, &cursor, "history_changed").await;
        assert_reset(&db, &bridge, &id, "cursor_unknown").await;
    }
}

#[tokio::test]
async fn a_history_undone_under_a_connected_client_is_told_before_anything_newer() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    db.run("insert into documents (id, tenant_id, name) values ('lost', 'acme', 'x')").await;
    assert_eq!(sse.next().await["subject"], "lost");
    // As after a failover to a standby that had not received the row.
    db.run("delete from tidings._log").await;
    db.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tidings listener' and datname = current_database()").await;
    db.sentinel("acme").await;
    assert_eq!(sse.block().await.unwrap().event, "reset");
}

#[tokio::test]
async fn a_cursor_of_another_history_is_told_so() {
    let db = Database::new().await;
    db.run("insert into documents (id, tenant_id, name) values ('here', 'acme', 'x')").await;
    let cursor = db.text("select tidings.cursor()").await;
    // As after a promotion: the next bridge finds another timeline and renews the epoch.
    db.run("update tidings._epoch set timeline = timeline + 1").await;
    let bridge = Bridge::start(&db).await;
    assert_reset(&db, &bridge, &cursor, "history_changed").await;
}
