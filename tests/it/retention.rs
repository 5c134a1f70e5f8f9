//! The log is a ring of partitions that moves on by time and by size, out of the writers' way.

use std::collections::HashSet;
use std::time::Instant;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::support::{Bridge, Database, Sse, eventually, get_page, member};
use crate::watch::PLAIN;

/// Of the log in these tests: an eighth of it is a few hundred of the rows that [`fill`] writes.
const BYTES_MAX: i64 = 8 << 20;

/// Logs something more than a megabyte, and so an eighth of that.
async fn fill(db: &Database) {
    db.run(
        "insert into t select (select coalesce(max(id), 0) from t) + i, 'acme', (select string_agg(md5((i * n)::text), '') from generate_series(1, 40) n)
           from generate_series(1, 800) i",
    )
    .await;
}

/// One turn of what each bridge does now and then.
async fn rotate(client: &Client, retention: &str, bytes_max: i64) -> Result<bool, tokio_postgres::Error> {
    let sql = format!("select tidings._rotate('{retention}', {bytes_max})");
    client.query_one(&sql, &[]).await.map(|row| row.get(0))
}

/// The partition that is being written, by each of the three that know.
async fn writing(db: &Database) -> i32 {
    let told = db.client.query_one("select slot from tidings.log where writing", &[]).await.unwrap().get(0);
    let rest = "select (select last_value from tidings._slot)::int, (select slot from tidings._log order by eid desc limit 1)::int";
    db.run("select tidings.emit('nobody', 'where')").await;
    let rest = db.client.query_one(rest, &[]).await.unwrap();
    assert_eq!((rest.get::<_, i32>(0), rest.get::<_, i32>(1)), (told, told));
    told
}

#[tokio::test]
async fn the_ring_moves_on_when_its_time_has_come() {
    let db = Database::new().await;
    assert!(!rotate(&db.client, "1 hour", i64::MAX).await.unwrap());
    db.run("update tidings._pruned set rotated_at = now() - interval '11 minutes'").await;
    assert!(rotate(&db.client, "1 hour", i64::MAX).await.unwrap());
    assert!(!rotate(&db.client, "1 hour", i64::MAX).await.unwrap());
    assert_eq!(writing(&db).await, 1);
}

#[tokio::test]
async fn the_ring_moves_on_when_a_partition_has_an_eighth_of_the_size() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    assert!(!rotate(&db.client, "1 hour", BYTES_MAX).await.unwrap());
    fill(&db).await;
    assert!(!rotate(&db.client, "1 hour", i64::MAX).await.unwrap());
    assert!(rotate(&db.client, "1 hour", BYTES_MAX).await.unwrap());
    assert!(!rotate(&db.client, "1 hour", BYTES_MAX).await.unwrap());
    assert_eq!(writing(&db).await, 1);
    let applied = db.text("select concat_ws(' ', for_time, for_bytes) from tidings._pruned").await;
    assert_eq!(applied, format!("01:00:00 {BYTES_MAX}"));
}

#[tokio::test]
async fn the_log_stays_within_its_size_however_much_is_written() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let mut turns = 0;
    while turns < 20 {
        fill(&db).await;
        turns += usize::from(rotate(&db.client, "1 hour", BYTES_MAX).await.unwrap());
        let bytes: i64 = db.text("select sum(bytes)::text from tidings.log").await.parse().unwrap();
        // Each partition may exceed its eighth by what is written between two looks at it.
        assert!(bytes < BYTES_MAX * 2, "{bytes} after {turns} turns");
    }
    let sizes = "select count(*) filter (where bytes > 500000)::text from tidings.log";
    assert!(["6", "7", "8"].contains(&db.text(sizes).await.as_str()), "and no more is removed than needed");
}

#[tokio::test]
async fn the_ring_of_partitions_moves_on_while_writers_run() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let client = db.connect().await;
        writers.spawn(async move {
            for i in 0..150 {
                client.batch_execute(&format!("insert into t values ({}, 'acme')", writer * 1000 + i)).await.unwrap();
            }
        });
    }
    let mut turns = 0;
    while !writers.is_empty() {
        // A transaction as old as the whole ring ends soon here; the next turn finds it gone.
        turns += usize::from(rotate(&db.client, "0", i64::MAX).await.unwrap_or(false));
        while let Some(done) = writers.try_join_next() {
            done.unwrap();
        }
    }
    assert!(turns > 8, "only {turns} turns");
    let pruned: i64 = db.text("select eid::text from tidings._pruned").await.parse().unwrap();
    let kept: i64 = db.text("select count(*)::text from tidings._log").await.parse().unwrap();
    let newest: i64 = db.text("select last_value::text from tidings._eid").await.parse().unwrap();
    assert!(pruned > 0 && kept >= newest - pruned, "{kept} kept of {newest}, pruned up to {pruned}");
}

#[tokio::test]
async fn a_transaction_as_old_as_the_ring_keeps_its_partition_and_nobody_else_waits() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let old = db.connect().await;
    old.batch_execute("begin; insert into t values (1, 'acme')").await.unwrap();
    for _ in 0..7 {
        assert!(rotate(&db.client, "0", i64::MAX).await.unwrap());
        db.run("insert into t select coalesce(max(id), 1) + 1, 'acme' from t").await;
    }
    let refused = rotate(&db.client, "0", i64::MAX).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
    db.run("insert into t values (100, 'acme')").await;
    old.batch_execute("insert into t values (101, 'acme'); commit").await.unwrap();
    let subjects = "select string_agg(subject, ',' order by eid) from tidings._log where type = 't.inserted'";
    assert_eq!(db.text(subjects).await, "1,2,3,4,5,6,7,8,100,101");
    assert!(rotate(&db.client, "0", i64::MAX).await.unwrap());
    assert_eq!(db.text(subjects).await, "2,3,4,5,6,7,8,100,101");
}

#[tokio::test]
async fn a_partition_that_is_being_read_is_emptied_later_and_no_writer_waits() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let (reader, other) = (db.connect().await, db.connect().await);
    reader.batch_execute("begin; select from tidings._log_1").await.unwrap();
    let began = Instant::now();
    let refused = rotate(&other, "0", i64::MAX).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
    assert!(began.elapsed().as_millis() >= 200, "it waits a little: {:?}", began.elapsed());
    assert_eq!(writing(&db).await, 0, "the ring stays where it was");
    // What the rotation holds at the moment of emptying. A writer has no business there.
    reader.batch_execute("commit; begin; lock table tidings._log_1 in access exclusive mode").await.unwrap();
    db.run("set lock_timeout = '1s'; insert into t values (1, 'acme'); update t set a = 'x'; reset lock_timeout").await;
    reader.batch_execute("commit").await.unwrap();
    assert!(rotate(&other, "0", i64::MAX).await.unwrap());
}

#[tokio::test]
async fn a_bridge_moves_the_ring_on_when_its_reader_has_gone() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("update tidings._pruned set rotated_at = now() - interval '1 day'").await;
    let reader = db.connect().await;
    reader.batch_execute("begin; select from tidings._log_1").await.unwrap();
    let bridge = Bridge::with(&db.url, &[("log.retention", "60s")]).await;
    let tries =
        "select exists (select from pg_locks where relation = 'tidings._log_1'::regclass and not granted)::text";
    eventually("a try", || async { db.text(tries).await == "true" }).await;
    assert_eq!(writing(&db).await, 0);
    reader.batch_execute("commit").await.unwrap();
    eventually("the ring moves on", || async { db.text("select last_value::text from tidings._slot").await != "0" })
        .await;
    bridge.stop().await;
}

#[tokio::test]
async fn instances_that_find_a_full_partition_at_once_move_the_ring_on_once() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let mut instances = Vec::new();
    for _ in 0..8 {
        instances.push(db.connect().await);
    }
    // Each asks again and again, so that some ask in the very moment in which another is done.
    let ask = format!(
        "do $$ declare turns int := 0; begin
            for i in 1 .. 100 loop turns := turns + tidings._rotate('1 hour', {BYTES_MAX})::int; commit; end loop;
            perform set_config('test.turns', turns::text, false);
         end $$"
    );
    for round in 0..12 {
        fill(&db).await;
        futures_util::future::join_all(instances.iter().map(|client| client.batch_execute(&ask))).await;
        let mut turns = 0;
        for client in &instances {
            turns += client.query_one("select current_setting('test.turns')::int", &[]).await.unwrap().get::<_, i32>(0);
        }
        assert_eq!(turns, 1, "round {round}");
    }
}

#[tokio::test]
async fn a_cursor_that_fell_out_by_size_is_told_so_and_one_that_did_not_resumes() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let lost = db.text("select tidings.emit('acme', 'first')").await;
    let lost_cursor = db.text("select tidings.cursor()").await;
    fill(&db).await;
    rotate(&db.client, "1 hour", BYTES_MAX).await.unwrap();
    fill(&db).await;
    let kept = db.text("select tidings.emit('acme', 'second')").await;
    let mut after: Vec<Value> = Vec::new();
    for _ in 0..7 {
        after.push(db.text("select tidings.emit('acme', 'later')").await.into());
        rotate(&db.client, "0", BYTES_MAX).await.unwrap();
    }
    let bridge = Bridge::start(&db).await;
    for gone in [&lost, &lost_cursor] {
        let path = format!("/v1/tenants/acme/events?after={gone}");
        assert_eq!(bridge.get_as(&member("acme"), &path).await.0, 410);
        let mut sse = Sse::resume(&bridge, &member("acme"), "acme", gone).await;
        assert_eq!((sse.hello["resumed"].as_bool(), sse.block().await.unwrap().event.as_str()), (Some(false), "reset"));
    }
    let mut sse = Sse::resume(&bridge, &member("acme"), "acme", &kept).await;
    let ids = |events: &[Value]| events.iter().map(|event| event["id"].clone()).collect::<Vec<_>>();
    assert_eq!((sse.hello["resumed"].as_bool(), ids(&sse.take(7).await)), (Some(true), after.clone()));
    let page = get_page(&bridge, &member("acme"), "acme", &format!("?after={kept}")).await;
    assert_eq!(ids(&page.events), after);
    bridge.stop().await;
}

#[tokio::test]
async fn the_state_of_the_log_is_told_by_a_view_and_by_metrics() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("update tidings._pruned set rotated_at = now() - interval '30 seconds'").await;
    for _ in 0..9 {
        fill(&db).await;
    }
    db.run("update tidings._log set at = at - interval '1000 seconds'").await;
    let told = db
        .text("select concat_ws(' ', slot, bytes > 8000000, oldest_at < now() - interval '900 s', newest_at >= oldest_at) from tidings.log where writing")
        .await;
    assert_eq!(told, "0 t t t");
    assert_eq!(
        db.text("select count(distinct slot)::text from tidings.log where not writing and oldest_at is null").await,
        "7"
    );

    // The smallest log there may be: an eighth of it is less than was written.
    let bridge = Bridge::with(&db.url, &[("log.retention", "60s"), ("log.bytes_max", "64MiB")]).await;
    let metric = async |name: &str| -> f64 {
        let text = bridge.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    };
    eventually("a turn", || async { metric("tidings_log_rotations_total").await >= 1.0 }).await;
    assert!(metric("tidings_log_bytes").await > 8e6);
    assert!((1000.0..1100.0).contains(&metric("tidings_log_oldest_seconds").await));
    bridge.stop().await;
}

#[tokio::test]
async fn a_partition_gets_the_index_that_it_lacks_when_it_is_emptied() {
    let db = Database::new().await;
    db.run("drop index tidings._log_1_source").await;
    let indexed = "select string_agg(tablename::text, ',') from pg_indexes where schemaname = 'tidings' and indexdef like '%(source, eid)'";
    let tables = |text: String| text.split(',').map(str::to_owned).collect::<HashSet<_>>();
    assert!(!tables(db.text(indexed).await).contains("_log_1"));
    assert!(rotate(&db.client, "0", i64::MAX).await.unwrap());
    assert_eq!(tables(db.text(indexed).await).len(), 8);
}
