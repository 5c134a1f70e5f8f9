//! Durable consumers: each event is taken once, by one instance at a time, from a place that outlives them all.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Transaction;
use tidings::auth::Globs;
use tidings::config::Config;
use tidings::consumer::{Consumer, Take};
use tidings::event::Event;
use tidings::metrics::Metrics;
use tidings::replay::{Log, LogError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::{Database, eventually};

/// Writes what it takes into a table that forbids nothing.
struct Note;

impl Take for Note {
    async fn take(&self, transaction: &Transaction<'_>, events: &[Arc<Event>]) -> Result<(), LogError> {
        for event in events {
            let id = event.key().unwrap().to_string();
            transaction.execute("insert into public.taken values ($1)", &[&id]).await?;
        }
        Ok(())
    }
}

/// A consumer `c` of one instance, which hears no bell and looks every two seconds.
struct Instance {
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Instance {
    fn start(db: &Database, bridge: &str) -> Self {
        let pairs = [("database.url".to_owned(), db.url.clone())];
        let config = Config::load(None, std::iter::empty(), &pairs).unwrap();
        let (metrics, stop) = (Arc::new(Metrics::default()), CancellationToken::new());
        let consumer = Consumer {
            name: "c".to_owned(),
            types: Globs::any(),
            bridge: bridge.to_owned(),
            log: Log::new(tidings::app::pool(&config).unwrap(), 4),
            router: tidings::app::router(&config),
            metrics: metrics.clone(),
            take: Note,
        };
        Self { metrics, running: TaskTracker::new().spawn(consumer.run(stop.clone())), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

async fn prepared() -> Database {
    let db = Database::new().await;
    db.run("create table public.taken (event text)").await;
    db
}

async fn leads(db: &Database, bridge: &str) {
    let sql = "select coalesce((select led_by from tidings.consumers), '')";
    eventually("it leads", || async { db.text(sql).await == bridge }).await;
}

/// Waits until so many were taken, then says how many rows and how many events that are.
async fn taken(db: &Database, count: usize) -> (usize, usize) {
    let counted = "select count(*) || ' ' || count(distinct event) from public.taken";
    let numbers = async || {
        let text = db.text(counted).await;
        let (rows, events) = text.split_once(' ').unwrap();
        (rows.parse::<usize>().unwrap(), events.parse::<usize>().unwrap())
    };
    eventually("they are taken", || async { numbers().await.1 >= count }).await;
    numbers().await
}

#[tokio::test]
async fn a_consumer_takes_each_event_once_whatever_crashes() {
    let db = prepared().await;
    let (one, other) = (Instance::start(&db, "one"), Instance::start(&db, "other"));
    eventually("somebody leads", || async {
        db.text("select count(led_by)::text from tidings.consumers").await == "1"
    })
    .await;
    for _ in 0..10 {
        db.run("select tidings.emit('acme', 'a') from generate_series(1, 450)").await;
        // Wherever they are: reading, noting, or committing.
        db.run("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()").await;
    }
    assert_eq!(taken(&db, 4500).await, (4500, 4500));
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_new_consumer_begins_with_what_is_committed_then() {
    let db = prepared().await;
    db.run("select tidings.emit('acme', 'before')").await;
    let one = Instance::start(&db, "one");
    leads(&db, "one").await;
    let id = db.text("select tidings.emit('acme', 'after')").await;
    assert_eq!(taken(&db, 1).await, (1, 1));
    assert_eq!(db.text("select event from public.taken").await, id);
    one.stop().await;
}

#[tokio::test]
async fn a_consumer_goes_on_where_it_was_after_a_promotion() {
    let db = prepared().await;
    let one = Instance::start(&db, "one");
    leads(&db, "one").await;
    db.run("select tidings.emit('acme', 'a') from generate_series(1, 10)").await;
    taken(&db, 10).await;
    one.stop().await;
    db.run("select tidings.emit('acme', 'a') from generate_series(1, 10)").await;
    // As tidings._enrol does when the server's timeline is another.
    db.run("update tidings._epoch set epoch = 'abcdef01'").await;
    let one = Instance::start(&db, "one");
    assert_eq!(taken(&db, 20).await, (20, 20));
    db.run("select tidings.emit('acme', 'a')").await;
    assert_eq!(taken(&db, 21).await, (21, 21));
    assert_eq!(one.metrics.consumer_gaps.get(), 0);
    one.stop().await;
}

#[tokio::test]
async fn a_consumer_that_was_away_for_longer_than_the_log_says_so_and_goes_on() {
    let db = prepared().await;
    let one = Instance::start(&db, "one");
    leads(&db, "one").await;
    db.run("select tidings.emit('acme', 'seen') from generate_series(1, 10)").await;
    taken(&db, 10).await;
    one.stop().await;
    db.run("select tidings.emit('acme', 'lost') from generate_series(1, 10)").await;
    // Retention takes two thirds of these, and leaves even some that it had seen.
    db.run(
        "with gone as (delete from tidings._log where type = 'lost' and eid % 3 > 0 returning eid, xid)
         update tidings._pruned set eid = (select max(eid) from gone), xid = (select xid from gone limit 1)",
    )
    .await;
    db.run("select tidings.emit('acme', 'kept') from generate_series(1, 5)").await;
    let left: usize = db.text("select count(*)::text from tidings._log where type <> 'seen'").await.parse().unwrap();
    let one = Instance::start(&db, "one");
    assert_eq!(taken(&db, 10 + left).await, (10 + left, 10 + left));
    assert_eq!(one.metrics.consumer_gaps.get(), 1);
    one.stop().await;
}

#[tokio::test]
async fn only_one_bridge_leads_and_another_only_when_it_has_lapsed_or_given_back() {
    let db = Database::new().await;
    let lead = |bridge: &'static str, seconds: &'static str| {
        let sql = format!("select coalesce(tidings._lead('c', '{bridge}', {seconds}), '')");
        let db = &db;
        async move { db.text(&sql).await }
    };
    let cursor = lead("a", "60").await;
    assert!(cursor.starts_with("c."));
    assert_eq!((lead("b", "60").await, lead("a", "60").await), (String::new(), cursor.clone()));
    db.run("select tidings._yield('b')").await;
    assert_eq!(lead("b", "60").await, "", "who does not lead gives nothing back");
    db.run("select tidings._yield('a')").await;
    assert_eq!(db.text("select tidings._move('c', 'a', 'x')::text").await, "false");
    assert_eq!(lead("b", "-1").await, cursor);
    assert_eq!(db.text("select tidings._move('c', 'b', 'c.1.0-0-0.1.')::text").await, "true", "late, but nobody came");
    assert_eq!(lead("a", "60").await, "c.1.0-0-0.1.");
    assert_eq!(
        db.text("select tidings._move('c', 'b', 'x')::text || tidings._renew('c', 'b', 60)").await,
        "falsefalse"
    );
    db.run("select tidings._yield('a')").await;
    assert_eq!(db.text("select tidings._renew('c', 'b', 60)::text").await, "false", "it led before another did");
}

#[tokio::test]
async fn a_leader_that_was_stopped_inside_its_transaction_holds_nobody_up() {
    let db = Database::new().await;
    let stopped = db.connect().await;
    db.run("select tidings._lead('c', 'a', -1)").await;
    stopped.batch_execute("begin; select tidings._move('c', 'a', 'c.1.0-0-0.1.')").await.unwrap();
    let asked = tokio::time::Instant::now();
    assert_eq!(db.text("select coalesce(tidings._lead('c', 'b', 60), '')").await, "");
    assert!(asked.elapsed() < Duration::from_secs(2), "it did not wait");
    let ask = || async { !db.text("select coalesce(tidings._lead('c', 'b', 60), '')").await.is_empty() };
    eventually("PostgreSQL ends the session that does nothing, and another leads", ask).await;
    assert!(stopped.batch_execute("commit").await.is_err());
}

/// Owes deliveries of consumer `c`: so many of each tenant, whose events are numbered with its name.
async fn owe(db: &Database, tenants: &[(&str, usize)]) {
    for (tenant, count) in tenants {
        db.run(&format!(
            "select tidings._owe('c', '{tenant}' || i, '', '{tenant}', 'a', '{{}}') from generate_series(1, {count}) i"
        ))
        .await;
    }
}

async fn took(db: &Database, arguments: &str) -> String {
    let sql = format!(
        "select coalesce(string_agg(tenant || ' ' || n, ', ' order by tenant), '') from (
        select tenant, count(*) n from tidings._take('c', {arguments}) group by tenant) t"
    );
    db.text(&sql).await
}

#[tokio::test]
async fn deliveries_are_taken_tenant_by_tenant() {
    let db = Database::new().await;
    owe(&db, &[("a", 100), ("b", 2), ("c", 50)]).await;
    assert_eq!(took(&db, "9, 60").await, "a 3, b 2, c 3");
    assert_eq!(took(&db, "9, 60, '{a}'").await, "c 9");
    assert_eq!(took(&db, "9, 60, '{}', 2").await, "a 2, c 2");
    assert_eq!(took(&db, "9, 60, '{a,c}'").await, "", "b has none that is due");
    assert_eq!(took(&db, "1, 60").await.len(), 3, "one, of either");
}

#[tokio::test]
async fn two_that_take_at_once_get_different_deliveries() {
    let db = Database::new().await;
    owe(&db, &[("a", 10)]).await;
    let client = db.connect().await;
    client
        .batch_execute("begin; create temporary table mine as select id from tidings._take('c', 6, 60)")
        .await
        .unwrap();
    assert_eq!(took(&db, "10, 60").await, "a 4", "and did not wait");
    client.batch_execute("commit").await.unwrap();
}

#[tokio::test]
async fn an_attempt_that_counted_as_lost_decides_nothing_any_more() {
    let db = Database::new().await;
    owe(&db, &[("a", 1)]).await;
    assert_eq!(took(&db, "1, -1").await, "a 1");
    assert_eq!(took(&db, "1, 60").await, "a 1", "the first attempt's time was over");
    let row = "select concat_ws('|', attempts, error, dead_at is null) from tidings._delivery";
    db.run("select tidings._settle(id, 1, 'gone', null) from tidings._delivery").await;
    assert_eq!(db.text(row).await, "2|t");
    db.run("select tidings._settle(id, 2, 'later', 60) from tidings._delivery").await;
    assert_eq!(db.text(row).await, "2|later|t");
    db.run("select tidings._settle(id, 1, null, null) from tidings._delivery").await;
    assert_eq!(db.text("select count(*)::text from tidings._delivery").await, "0", "but what arrived has arrived");
}

#[tokio::test]
async fn dead_letters_are_forgotten_after_their_time_and_consumers_when_asked() {
    let db = Database::new().await;
    owe(&db, &[("a", 3)]).await;
    db.run("select tidings._lead('c', 'a', 60); select tidings._settle(id, 0, 'gone', null) from tidings._delivery where event <> 'a1'").await;
    db.run("update tidings._delivery set dead_at = now() - interval '31 days' where event = 'a2'").await;
    assert_eq!(db.text("select tidings._bury('30 days')::text").await, "1");
    assert_eq!(db.text("select concat_ws('|', owed, dead) from tidings.consumers").await, "1|1");
    let refused = db.client.query("select tidings.forget_consumer('c')", &[]).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "55006");
    db.run("select tidings._yield('a'); select tidings.forget_consumer('c')").await;
    assert_eq!(db.text("select count(*)::text from tidings._delivery").await, "0");
    assert_eq!(db.text("select tidings.forget_consumer('c')::text").await, "false");
}
