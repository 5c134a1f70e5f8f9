//! Exactly once while connected, nothing lost on any resume.

use std::collections::{HashMap, HashSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::{Bridge, Database, Sse, events_of, get_page, member};

const WRITERS: u64 = 12;
const ROWS: u32 = 600;
const EVENTS: usize = 30_000;

/// One event as the test keeps it.
#[derive(Clone, Debug)]
struct Seen {
    id: String,
    row: String,
    v: i64,
}

fn seen(event: &Value) -> Seen {
    let text = |name: &str| event[name].as_str().unwrap().to_owned();
    Seen { id: text("id"), row: text("subject"), v: event["data"]["v"].as_i64().unwrap() }
}

/// eid and xid of an event's id.
fn numbers(id: &str) -> (u64, u64) {
    let mut parts = id.split('-').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap(), parts.next().unwrap())
}

/// Random transactions until the log holds enough: savepoints, rollbacks, both isolation levels, one row or several a statement, now and then idle.
async fn write(client: tokio_postgres::Client, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    client.batch_execute("set deadlock_timeout = '20ms'").await.unwrap();
    for number in 0.. {
        if number % 50 == 0 {
            let logged: i64 = client.query_one("select count(*) from tidings.events", &[]).await.unwrap().get(0);
            if logged > EVENTS as i64 + 1000 {
                return;
            }
        }
        let level = if rng.random_bool(0.7) { "read committed" } else { "repeatable read" };
        let mut steps = vec![format!("begin isolation level {level}")];
        for _ in 0..rng.random_range(1..5) {
            let row = rng.random_range(0..ROWS);
            let update =
                format!("update counters set v = v + 1 where id between {row} and {}", row + rng.random_range(0..3));
            steps.push(update.clone());
            if rng.random_bool(0.2) {
                steps.push(format!("savepoint s; {update}; rollback to s"));
            }
        }
        steps.push(if rng.random_bool(0.85) { "commit" } else { "rollback" }.into());
        for step in steps {
            // Deadlocks and serialization failures are part of the game: the transaction is given up.
            if client.batch_execute(&step).await.is_err() {
                client.batch_execute("rollback").await.unwrap();
                break;
            }
        }
    }
}

/// Writes until the log holds enough; returns what a connected subscriber was sent, in order.
async fn history(db: &Database, bridge: &Bridge) -> Vec<Seen> {
    db.run(&format!(
        "create table counters (id int primary key, tenant_id text not null, v bigint not null);
         select tidings.watch('public.counters', tenant => 'tenant_id');
         insert into counters select i, 'acme', 0 from generate_series(0, {}) i",
        ROWS + 3
    ))
    .await;
    let mut sse = Sse::open(bridge, &member("acme"), "acme", "?types=counters.updated,sentinel").await;
    let mut writers = JoinSet::new();
    for seed in 0..WRITERS {
        let client = db.connect().await;
        writers.spawn(write(client, seed));
    }
    let finished = async {
        writers.join_all().await;
        db.sentinel("acme").await;
    };
    let (events, ()) = tokio::join!(sse.until_sentinel(), finished);
    events.iter().map(seen).collect()
}

fn assert_rows_in_order(events: &[Seen], what: &str) {
    let mut last: HashMap<&str, i64> = HashMap::new();
    for event in events {
        if let Some(before) = last.insert(&event.row, event.v) {
            assert_eq!(event.v, before + 1, "{what}: row {} jumped from {before} to {}", event.row, event.v);
        }
    }
}

/// What each event's capture had seen, from the log itself.
async fn snapshots(db: &Database) -> HashMap<u64, (u64, HashSet<u64>)> {
    let sql = "select l.eid, split_part(coalesce(l.snap, h.snap)::text, ':', 2), split_part(coalesce(l.snap, h.snap)::text, ':', 3)
                 from tidings._log l left join tidings._log h on h.xid = l.xid and h.eid = l.head";
    let rows = db.client.query(sql, &[]).await.unwrap();
    let read = |row: &tokio_postgres::Row| {
        let xip = row.get::<_, &str>(2).split(',').filter_map(|x| x.parse().ok()).collect();
        (row.get::<_, i64>(0).unsigned_abs(), (row.get::<_, &str>(1).parse().unwrap(), xip))
    };
    rows.iter().map(read).collect()
}

/// Resumes from random points, near and far, and holds what is sent against what was sent before.
async fn resume(
    bridge: &Bridge,
    delivered: &[Seen],
    snapshots: &HashMap<u64, (u64, HashSet<u64>)>,
    count: usize,
    seed: u64,
) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut repeated = 0;
    for _ in 0..count {
        let back = (delivered.len() as f64).powf(rng.random::<f64>()) as usize;
        let point = delivered.len() - back.clamp(1, delivered.len());
        let cursor = &delivered[point].id;
        let (eid, xid) = numbers(cursor);
        let (xmax, xip) = &snapshots[&eid];
        let mut sse =
            Sse::at(bridge, &member("acme"), "/v1/tenants/acme/events?types=counters.updated,sentinel", Some(cursor))
                .await;
        assert_eq!(sse.hello["resumed"], true);
        let sent: Vec<Seen> = sse.until_sentinel().await.iter().map(seen).collect();
        let ids: HashSet<&str> = sent.iter().map(|event| &*event.id).collect();
        assert_eq!(ids.len(), sent.len(), "sent twice in one resume");
        let lost: Vec<_> = delivered[point + 1..].iter().filter(|event| !ids.contains(&*event.id)).collect();
        assert!(lost.is_empty(), "lost after {cursor}: {lost:?}");
        let before: HashSet<&str> = delivered[..=point].iter().map(|event| &*event.id).collect();
        for again in sent.iter().filter(|event| before.contains(&*event.id)) {
            let (_, other) = numbers(&again.id);
            assert!(
                other != xid && (other >= *xmax || xip.contains(&other)),
                "{} came again after {cursor}, which had seen it",
                again.id
            );
            repeated += 1;
        }
        assert_rows_in_order(&sent, "resumed");
    }
    repeated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_delivered_once_and_500_resumes_lose_none() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let other = Bridge::start(&db).await;
    let delivered = history(&db, &bridge).await;
    let committed: i64 = db
        .client
        .query_one("select count(*) from tidings.events where type = 'counters.updated'", &[])
        .await
        .unwrap()
        .get(0);
    assert!(delivered.len() >= EVENTS, "only {} events", delivered.len());
    assert_eq!(delivered.len() as i64, committed, "delivered and committed");
    let ids: HashSet<&str> = delivered.iter().map(|event| &*event.id).collect();
    assert_eq!(ids.len(), delivered.len(), "delivered twice");
    assert_rows_in_order(&delivered, "live");

    let snapshots = snapshots(&db).await;
    let same = resume(&bridge, &delivered, &snapshots, 168, 1).await;
    let second = resume(&other, &delivered, &snapshots, 166, 2).await;
    bridge.stop().await;
    let restarted = Bridge::start(&db).await;
    let after = resume(&restarted, &delivered, &snapshots, 166, 3).await;
    println!(
        "{} events, 500 resumes, repeated: {same} same instance, {second} second, {after} restarted",
        delivered.len()
    );
}

/// Two sessions, each in the middle of a transaction; `second` has the higher number.
async fn two_open(db: &Database) -> (tokio_postgres::Client, tokio_postgres::Client) {
    let (first, second) = (db.connect().await, db.connect().await);
    for client in [&first, &second] {
        client.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
    }
    (first, second)
}

async fn emit(client: &tokio_postgres::Client, tenant: &str, kind: &str) {
    client.query_one("select tidings.emit($1, $2)", &[&tenant, &kind]).await.unwrap();
}

#[tokio::test]
async fn a_page_reads_what_was_open_when_its_cursor_was_taken_whatever_its_numbers() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let types = async |cursor: &str| {
        let page = get_page(&bridge, &member("acme"), "acme", &format!("?after={cursor}")).await;
        events_of(&page.events).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
    };
    emit(&db.client, "acme", "before").await;

    // Listed by the cursor: the open one has the lower number.
    let (open, done) = two_open(&db).await;
    emit(&open, "acme", "listed").await;
    emit(&done, "globex", "newest").await;
    done.batch_execute("commit").await.unwrap();
    let cursor = db.text("select tidings.cursor()").await;
    open.batch_execute("commit").await.unwrap();
    assert_eq!(types(&cursor).await, ["listed"]);

    // Not listed, as it has the higher one; and yet its event is older than the newest that the cursor sees.
    let (done, open) = two_open(&db).await;
    emit(&open, "acme", "unlisted").await;
    emit(&done, "globex", "newest").await;
    done.batch_execute("commit").await.unwrap();
    let cursor = db.text("select tidings.cursor()").await;
    open.batch_execute("commit").await.unwrap();
    assert_eq!(types(&cursor).await, ["unlisted"]);

    // The rest of the transaction that it was taken in.
    let own = db.connect().await;
    own.batch_execute("begin").await.unwrap();
    emit(&own, "acme", "own.first").await;
    let cursor: String = own.query_one("select tidings.cursor()", &[]).await.unwrap().get(0);
    emit(&own, "acme", "own.rest").await;
    own.batch_execute("commit").await.unwrap();
    assert_eq!(types(&cursor).await, ["own.rest"]);

    // Begun after the snapshot that an event's transaction looks through, and ended before the event.
    let old = db.connect().await;
    old.batch_execute("begin isolation level repeatable read; select pg_current_xact_id()").await.unwrap();
    emit(&db.client, "acme", "between").await;
    emit(&old, "acme", "old.last").await;
    old.batch_execute("commit").await.unwrap();
    let id = db.text("select id from tidings.events where type = 'old.last'").await;
    assert_eq!(types(&id).await, ["between"]);
}

#[tokio::test]
async fn a_resume_sends_the_past_before_the_present() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("ring.events_max", "2")]).await;
    let cursor = db.text("select tidings.cursor()").await;
    for n in 0..5 {
        db.run(&format!("select tidings.emit('acme', 'past', subject => '{n}')")).await;
    }
    let mut sse = Sse::resume(&bridge, &member("acme"), "acme", &cursor).await;
    db.run("select tidings.emit('acme', 'present', subject => '5')").await;
    let sent = sse.take(6).await;
    let subjects: Vec<_> = sent.iter().map(|event| event["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["0", "1", "2", "3", "4", "5"]);
}
