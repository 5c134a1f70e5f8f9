//! Streams as a browser reads them: headers, the opening, heartbeats, reconnects, and how they join a list.

use std::collections::BTreeMap;

use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use reqwest::Response;
use serde_json::{Value, json};
use tidings::private_postgres::{Options, PrivatePostgres};
use tokio::task::JoinSet;

use crate::support::{Answer, Bridge, Database, Sse, Ws, events_of, get_page, member};

/// A stream as the bytes that arrive.
struct Raw {
    response: Response,
    bytes: Vec<u8>,
}

impl Raw {
    async fn open(bridge: &Bridge, query: &str) -> Self {
        let request = bridge.request("GET", &format!("/v1/tenants/acme/events{query}")).bearer_auth(member("acme"));
        let response = request.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, bytes: Vec::new() }
    }

    /// The next whole block, without the empty line that ends it.
    async fn block(&mut self) -> String {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\n\n") {
                let block = self.bytes.drain(..end + 2).take(end).collect();
                return String::from_utf8(block).unwrap();
            }
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(20), self.response.chunk());
            self.bytes.extend(chunk.await.expect("nothing arrived").unwrap().expect("the stream ended"));
        }
    }

    /// The id of the next heartbeat; panics on anything that would be dispatched.
    async fn heartbeat(&mut self) -> String {
        let block = self.block().await;
        let id = block.strip_prefix("id: ").unwrap_or_else(|| panic!("no heartbeat: {block}"));
        assert!(!id.contains('\n'), "{block}");
        id.to_owned()
    }
}

const EVERY_SECOND: (&str, &str) = ("http.heartbeat", "1s");

#[tokio::test]
async fn a_stream_has_the_headers_that_keep_proxies_from_holding_it_back() {
    let bridge = Bridge::start(&Database::new().await).await;
    let request =
        bridge.request("GET", "/v1/tenants/acme/events").bearer_auth(member("acme")).header("x-request-id", "r-1");
    let answer = Answer::of(request.header("accept", "text/event-stream")).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-cache, no-transform");
    assert_eq!(answer.header("x-accel-buffering"), "no");
    assert_eq!(answer.header("x-request-id"), "r-1");
    assert_eq!(answer.header("content-encoding"), "");
}

#[tokio::test]
async fn a_stream_opens_with_a_hello_that_can_be_resumed_from() {
    let db = Database::new().await;
    let bridge =
        Bridge::with(&db.url, &[("http.heartbeat", "7s"), ("http.retry_min", "2s"), ("http.retry_max", "3s")]).await;
    let block = Raw::open(&bridge, "").await.block().await;
    let line = |name: &str| {
        let mut found = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.next().unwrap_or_else(|| panic!("{name}: {block}")).to_owned()
    };
    let hello: Value = serde_json::from_str(&line("data")).unwrap();
    assert_eq!(line("event"), "hello");
    assert!((2000..=3000).contains(&line("retry").parse::<u32>().unwrap()), "{block}");
    assert_eq!((&hello["resumed"], &hello["heartbeat_s"]), (&json!(false), &json!(7)));
    assert_eq!(hello["connection"].as_str().unwrap().len(), 16);
    assert_eq!(hello["cursor"], line("id"), "a browser that is cut off at once resumes");
    db.run("select tidings.emit('acme', 'a')").await;
    let mut resumed = Sse::resume(&bridge, &member("acme"), "acme", &line("id")).await;
    assert_eq!(resumed.hello["resumed"], true);
    assert_eq!(resumed.next().await["type"], "a");
}

#[tokio::test]
async fn an_application_event_is_unnamed_and_has_its_id_and_one_line_of_data() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut raw = Raw::open(&bridge, "").await;
    raw.block().await;
    db.run(r#"select tidings.emit('acme', 'a', '{"text": "line\nline\r\u2028"}')"#).await;
    let block = raw.block().await;
    let lines: Vec<&str> = block.lines().collect();
    let event: Value = serde_json::from_str(lines[1].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((lines.len(), lines[0]), (2, format!("id: {}", event["id"].as_str().unwrap()).as_str()));
    assert_eq!(event["data"]["text"], "line\nline\r\u{2028}");
}

#[tokio::test]
async fn a_heartbeat_moves_the_last_event_id_and_dispatches_nothing() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[EVERY_SECOND]).await;
    let mut raw = Raw::open(&bridge, "?types=wanted").await;
    let hello = raw.block().await;
    db.run("select tidings.emit('acme', 'unwanted')").await;
    let (first, second) = (raw.heartbeat().await, raw.heartbeat().await);
    assert!(!hello.contains(&first), "moved");

    // What a browser makes of it: a parser that is not ours, and then an event without an id of its own.
    let bytes = format!("{hello}\n\nid: {first}\n\nid: {second}\n\nevent: end\ndata: x\n\n");
    let mut browser = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(bytes)]).eventsource();
    let dispatched: Vec<_> = browser.by_ref().map(|event| event.unwrap()).collect().await;
    let names: Vec<&str> = dispatched.iter().map(|event| &*event.event).collect();
    assert_eq!(names, ["hello", "end"]);
    assert_eq!((browser.last_event_id(), &*dispatched[1].id), (&*second, &*second));
}

#[tokio::test]
async fn a_heartbeat_cursor_resumes_without_loss() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[EVERY_SECOND]).await;
    let mut raw = Raw::open(&bridge, "").await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    raw.block().await;
    // Open while the heartbeat is sent: numbered before what was delivered, committed after.
    let open = db.connect().await;
    open.batch_execute("begin; select tidings.emit('acme', 'late')").await.unwrap();
    db.run("select tidings.emit('acme', 'delivered')").await;
    while !raw.block().await.contains(r#""type":"delivered""#) {}
    raw.heartbeat().await;
    let beat = raw.heartbeat().await;
    assert_eq!(ws.next().await["type"], "delivered");
    let frame = ws.frame().await.unwrap();
    assert_eq!((&frame["type"], &frame["id"]), (&json!("heartbeat"), &json!("s")));
    drop((raw, ws));
    open.batch_execute("commit").await.unwrap();
    db.sentinel("acme").await;

    let missed = [("late".to_owned(), String::new())];
    let mut sse = Sse::resume(&bridge, &member("acme"), "acme", &beat).await;
    assert_eq!(events_of(&sse.until_sentinel().await), missed);
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({"after": frame["cursor"]})).await;
    assert_eq!(events_of(&ws.until_sentinel().await), missed);
    let restarted = Bridge::start(&db).await;
    let mut sse = Sse::resume(&restarted, &member("acme"), "acme", &beat).await;
    assert_eq!(events_of(&sse.until_sentinel().await), missed);
}

#[tokio::test]
async fn a_reconnecting_browser_goes_by_its_last_event_id_and_not_by_its_url() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut ids = Vec::new();
    for kind in ["one", "two", "three"] {
        ids.push(db.text(&format!("select tidings.emit('acme', '{kind}')")).await);
    }
    let path = format!("/v1/tenants/acme/events?after={}", ids[0]);
    db.sentinel("acme").await;
    let mut first = Sse::at(&bridge, &member("acme"), &path, None).await;
    let mut again = Sse::at(&bridge, &member("acme"), &path, Some(&ids[1])).await;
    let mut empty = Sse::at(&bridge, &member("acme"), &path, Some("")).await;
    let types = |events: Vec<Value>| events_of(&events).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    assert_eq!(types(first.until_sentinel().await), ["two", "three"]);
    assert_eq!(types(again.until_sentinel().await), ["three"]);
    assert_eq!(types(empty.until_sentinel().await), ["two", "three"], "an empty header is none");
}

const ROWS: i64 = 40;

/// Writers that count rows up, in transactions of several statements, in ascending order of rows.
async fn writers(db: &Database, transactions: usize) -> JoinSet<()> {
    db.run(&format!(
        "create table counters (id int primary key, tenant_id text not null, v bigint not null);
         select tidings.watch('counters', tenant => 'tenant_id');
         insert into counters select i, 'acme', 0 from generate_series(0, {}) i",
        ROWS - 1
    ))
    .await;
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let client = db.connect().await;
        writers.spawn(async move {
            for turn in 0..transactions {
                // Rows in one direction, so that no two wait for each other.
                let row = (writer * 7 + turn * 3) % (ROWS as usize - 2);
                client.batch_execute("begin").await.unwrap();
                for id in [row, row + 1] {
                    client.batch_execute(&format!("update counters set v = v + 1 where id = {id}")).await.unwrap();
                }
                client.batch_execute(if turn % 9 == 0 { "rollback" } else { "commit" }).await.unwrap();
            }
        });
    }
    writers
}

type Counters = BTreeMap<String, i64>;

const LIST: &str = "select tidings.cursor(), json_object_agg(id, v)::text from counters";

async fn list(client: &tokio_postgres::Client) -> (String, Counters) {
    let row = client.query_one(LIST, &[]).await.unwrap();
    (row.get(0), serde_json::from_str(row.get(1)).unwrap())
}

/// Counts a list on by the events of a stream, of which each must be the next of its row.
fn apply(mut list: Counters, events: &[Value], what: &str) -> Counters {
    for event in events {
        let v = list.get_mut(event["subject"].as_str().unwrap()).unwrap();
        assert_eq!(event["data"]["v"], *v + 1, "{what}: {event} after {v}");
        *v += 1;
    }
    list
}

#[tokio::test]
async fn a_list_and_its_cursor_then_the_stream_see_each_change_once() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let token = member("acme");
    let writers = writers(&db, 60).await;
    let (mut lists, mut streams, mut sockets) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..12 {
        let taken = list(&db.client).await;
        streams.push(Sse::open(&bridge, &token, "acme", &format!("?after={}", taken.0)).await);
        sockets.push(Ws::open(&bridge, &token, "acme", json!({"after": taken.0})).await);
        lists.push(taken);
    }
    writers.join_all().await;
    db.sentinel("acme").await;
    let last = list(&db.client).await.1;
    for (((cursor, list), sse), ws) in lists.into_iter().zip(&mut streams).zip(&mut sockets) {
        let streamed = sse.until_sentinel().await;
        assert_eq!(apply(list.clone(), &streamed, "sse"), last);
        assert_eq!(ws.until_sentinel().await, streamed);
        let mut page = get_page(&bridge, &token, "acme", &format!("?types=counters.*&limit=50&after={cursor}")).await;
        let mut polled = page.events;
        while page.more {
            page =
                get_page(&bridge, &token, "acme", &format!("?types=counters.*&limit=50&after={}", page.cursor)).await;
            polled.extend(page.events);
        }
        assert_eq!(apply(list, &polled, "pages"), last);
    }
}

#[tokio::test]
async fn a_list_taken_while_writers_hold_transactions_open_sees_each_change_once() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    writers(&db, 1).await.join_all().await;
    let mut open = Vec::new();
    for id in 0..8 {
        let client = db.connect().await;
        client.batch_execute(&format!("begin; update counters set v = v + 1 where id = {id}")).await.unwrap();
        open.push(client);
    }
    db.run("update counters set v = v + 1 where id > 20").await;
    let (cursor, before) = list(&db.client).await;
    for client in open.iter().rev() {
        client.batch_execute("update counters set v = v + 1 where id = 30; commit").await.unwrap();
    }
    db.sentinel("acme").await;
    let last = list(&db.client).await.1;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", &format!("?after={cursor}")).await;
    assert_eq!(apply(before, &sse.until_sentinel().await, "sse"), last);
}

#[tokio::test]
async fn a_cursor_taken_inside_a_transaction_does_not_count_as_seen_what_is_open_beside_it() {
    // A server of its own: whatever ends elsewhere meanwhile would give the snapshot a higher end, and hide the case.
    let server = PrivatePostgres::start(Options::default()).await.unwrap();
    let db = Database::fresh_on(&server).await;
    db.run("create table t (id int primary key, tenant text); select tidings.watch('t', tenant => 'tenant')").await;
    let other = db.connect().await;
    other.batch_execute("begin; insert into t values (1, 'acme')").await.unwrap();
    db.run("begin; insert into t values (2, 'acme')").await;
    let cursor = db.text("select tidings.cursor()").await;
    db.run("commit").await;
    other.batch_execute("commit").await.unwrap();
    let bridge = Bridge::start(&db).await;
    let page = get_page(&bridge, &member("acme"), "acme", &format!("?after={cursor}")).await;
    assert_eq!(events_of(&page.events), [("t.inserted".into(), "1".into())]);
    bridge.stop().await;
    drop(db);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_cursor_taken_inside_a_transaction_that_writes_before_and_after_sees_each_change_once() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let writers = writers(&db, 40).await;
    db.run(&format!("insert into counters select {ROWS} + i, 'acme', 0 from generate_series(0, 4) i")).await;
    let own = ROWS;
    let mut taken = Vec::new();
    for steps in ["", "savepoint s; "] {
        db.run(&format!("begin; update counters set v = v + 1 where id = {own}; {steps}")).await;
        db.run(&format!("update counters set v = v + 1 where id = {}", own + 1)).await;
        taken.push(list(&db.client).await);
        db.run(&format!("update counters set v = v + 1 where id in ({own}, {})", own + 2)).await;
        db.run("commit").await;
    }
    // And one that had not written when it took its cursor.
    db.run("begin").await;
    taken.push(list(&db.client).await);
    db.run(&format!("update counters set v = v + 1 where id = {}; commit", own + 3)).await;
    writers.join_all().await;
    db.sentinel("acme").await;
    let last = list(&db.client).await.1;
    for (cursor, list) in taken {
        let mut sse = Sse::open(&bridge, &member("acme"), "acme", &format!("?after={cursor}")).await;
        let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({"after": cursor})).await;
        let page =
            get_page(&bridge, &member("acme"), "acme", &format!("?limit=1000&types=counters.*&after={cursor}")).await;
        let streamed = sse.until_sentinel().await;
        assert_eq!(apply(list.clone(), &streamed, "sse"), last);
        assert_eq!(apply(list.clone(), &ws.until_sentinel().await, "websocket"), last);
        assert_eq!(apply(list, &page.events, "page"), last);
        assert!(!page.more);
    }
}
