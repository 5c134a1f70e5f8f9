//! What `tidings.why()` says became of one row's event, verdict by verdict, and that its fixes help.

use crate::support::{Bridge, Database, Sse, eventually, member};
use crate::watch::PLAIN;

/// A verdict with what mends it.
#[derive(Debug)]
struct Verdict {
    name: String,
    ok: Option<bool>,
    message: String,
    fix: String,
}

impl Database {
    /// The last step about a row of `t`; all before it went well.
    async fn why(&self, key: &str) -> Verdict {
        let sql = "select name, ok, message, coalesce(fix, '') from tidings.why('t', $1) order by step";
        let rows = self.client.query(sql, &[&key]).await.unwrap();
        let (last, before) = rows.split_last().unwrap();
        assert!(before.iter().all(|row| row.get::<_, Option<bool>>(1) != Some(false)), "{rows:?}");
        Verdict { name: last.get(0), ok: last.get(1), message: last.get(2), fix: last.get(3) }
    }

    /// The verdict's name, whether the event arrived, and what mends it.
    async fn stopped(&self, key: &str, name: &str) -> Verdict {
        let verdict = self.why(key).await;
        assert_eq!((&*verdict.name, verdict.ok), (name, Some(false)), "{verdict:#?}");
        verdict
    }

    /// That the row's newest event is in the log: nobody listens in these tests unless they say so.
    async fn is_logged(&self, key: &str) {
        let verdict = self.why(key).await;
        assert_eq!(verdict.name, "no_listener", "{verdict:#?}");
    }

    async fn unwatched(columns: &str) -> Self {
        let db = Self::new().await;
        db.run(&format!("create table t ({columns})")).await;
        db
    }
}

const WATCH: &str = "select tidings.watch('t', tenant => 'tenant')";

#[tokio::test]
async fn a_table_that_is_not_watched_gets_a_call_with_its_tenant_column() {
    let db = Database::unwatched(PLAIN).await;
    let verdict = db.stopped("1", "not_watched").await;
    db.run(&verdict.fix).await;
    db.run("insert into t values (1, 'acme')").await;
    db.is_logged("1").await;
}

#[tokio::test]
async fn a_paused_watch_and_missing_triggers_stop_an_event_first() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("select tidings.pause('t'); insert into t values (1, 'acme')").await;
    let verdict = db.stopped("1", "paused").await;
    db.run(&verdict.fix).await;
    let verdict = db.stopped("1", "not_captured").await;
    db.run(&verdict.fix).await;
    db.is_logged("1").await;
    db.run("alter table t disable trigger tidings_insert; insert into t values (2, 'acme')").await;
    let verdict = db.stopped("2", "triggers_missing").await;
    db.run(&verdict.fix).await;
    db.stopped("2", "not_captured").await;
}

#[tokio::test]
async fn a_row_that_is_not_there_may_have_been_rolled_back_deleted_or_never_written() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("begin; insert into t values (1, 'acme'); rollback").await;
    db.stopped("1", "not_in_table").await;
    db.stopped("no number", "not_in_table").await;
    db.run("insert into t values (2, 'acme'); delete from t").await;
    db.is_logged("2").await;
    db.run("insert into t values (3, 'acme'); truncate t").await;
    assert!(db.stopped("3", "not_in_table").await.message.contains("TRUNCATE"));
    db.run("select tidings.watch('t', tenant => 'tenant', ops => '{insert}'); insert into t values (4, 'acme'); delete from t").await;
    let verdict = db.stopped("4", "filtered").await;
    db.run(&verdict.fix).await;
    db.run("insert into t values (4, 'acme'); delete from t").await;
    db.is_logged("4").await;
}

#[tokio::test]
async fn a_row_without_a_tenant_is_nobodys() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("insert into t values (1, null)").await;
    let verdict = db.stopped("1", "null_tenant").await;
    db.run(&verdict.fix.replace("-- ", "").replace('…', "'acme'")).await;
    db.is_logged("1").await;
}

#[tokio::test]
async fn a_row_whose_event_cannot_be_computed_names_the_sqlstate_and_none_of_its_data() {
    let db = Database::watched(PLAIN, "tenant => '=(a::int)::text'").await;
    db.run("insert into t values (1, 'acme', 'secret')").await;
    let verdict = db.stopped("1", "capture_failed").await;
    assert!(verdict.message.contains("22P02") && !format!("{verdict:?}").contains("secret"), "{verdict:#?}");
    assert!(db.refusal(&verdict.fix).await.message().contains("secret"), "whoever may read the row is told");
    // The row as it was cannot be computed either, and an update needs both.
    db.run("update t set a = '7'").await;
    let verdict = db.stopped("1", "capture_failed").await;
    db.run(&verdict.fix).await;
    db.is_logged("1").await;
}

#[tokio::test]
async fn a_change_that_failed_to_be_captured_in_its_time_is_published_by_the_fix() {
    let db = Database::unwatched(PLAIN).await;
    db.run(
        "create table lookup (a text primary key, tenant text);
         select tidings.watch('t', tenant => '=(select l.tenant from public.lookup l where l.a = r.a)');
         alter table lookup rename to gone; insert into t values (1, null, 'x');
         alter table gone rename to lookup; insert into lookup values ('x', 'acme')",
    )
    .await;
    let verdict = db.stopped("1", "capture_failed").await;
    assert!(verdict.message.contains("42P01"), "{verdict:#?}");
    db.run(&verdict.fix).await;
    db.is_logged("1").await;
}

#[tokio::test]
async fn a_row_written_before_its_table_was_watched_is_published_by_the_fix() {
    let db = Database::unwatched(PLAIN).await;
    db.run("insert into t values (1, 'acme')").await;
    db.run(WATCH).await;
    let verdict = db.stopped("1", "before_watch").await;
    db.run(&verdict.fix).await;
    db.is_logged("1").await;
}

#[tokio::test]
async fn what_the_settings_keep_out_is_filtered_and_the_fix_lets_it_through() {
    for (settings, first, second) in [
        ("ops => '{insert}'", "update t set a = 'y'", "update t set a = 'z'"),
        ("only_changed => '{a}'", "update t set b = 'y'", "update t set b = 'z'"),
        ("except_columns => '{b}'", "update t set b = 'y'", "update t set b = 'z'"),
        ("columns => '{id,a}'", "update t set b = 'y'", "update t set b = 'z'"),
    ] {
        let db = Database::watched(PLAIN, &format!("tenant => 'tenant', {settings}")).await;
        db.run("insert into t values (1, 'acme')").await;
        db.is_logged("1").await;
        db.run(first).await;
        let verdict = db.stopped("1", "filtered").await;
        db.run(&verdict.fix).await;
        db.run(second).await;
        db.is_logged("1").await;
    }
    let db = Database::watched(PLAIN, "tenant => 'tenant', ops => '{update}'").await;
    db.run("insert into t values (1, 'acme')").await;
    assert!(db.stopped("1", "filtered").await.message.contains("ops of this watch are update"));
}

#[tokio::test]
async fn a_row_written_in_a_savepoint_or_again_without_a_change_is_found_in_the_log() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("begin; savepoint s; insert into t values (1, 'acme', 'x', 'y'); release s; commit").await;
    db.is_logged("1").await;
    db.run("update t set a = a").await;
    db.is_logged("1").await;
}

#[tokio::test]
async fn an_event_older_than_the_log_has_expired() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("insert into t values (1, 'acme')").await;
    db.run("update tidings._pruned set xid = pg_current_xact_id(), eid = (select max(eid) from tidings._log); truncate tidings._log").await;
    let verdict = db.stopped("1", "expired").await;
    db.run(&verdict.fix).await;
    db.is_logged("1").await;
}

#[tokio::test]
async fn a_row_is_found_by_its_subject_by_its_key_and_in_a_partition() {
    let db = Database::watched(
        "id int, tenant text, code text, primary key (tenant, id)",
        "tenant => 'tenant', subject => '{\"=''row-'' || code\"}'",
    )
    .await;
    db.run("insert into t values (1, 'acme', 'x')").await;
    db.is_logged("row-x").await;
    db.is_logged("acme,1").await;
    let db = Database::unwatched("id int primary key, tenant text) partition by range (id").await;
    db.run("create table t_1 partition of t for values from (0) to (9)").await;
    db.run(WATCH).await;
    db.run("insert into t values (1, 'acme')").await;
    db.is_logged("1").await;
    let verdict = db.text("select name from tidings.why('t_1', '1') order by step desc limit 1").await;
    assert_eq!(verdict, "no_listener");
}

#[tokio::test]
async fn a_table_that_the_owner_may_not_read_is_judged_by_the_log_alone() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let role = format!("owner_{}", db.text("select current_database()::text").await);
    db.run(&format!("create role {role} nologin; select tidings._give_to('{role}'); insert into t values (1, 'acme')"))
        .await;
    let unknown = "select fix from tidings.why('t', '1') where ok is null";
    db.is_logged("1").await;
    db.run(&db.text(unknown).await).await;
    assert!(db.client.query(unknown, &[]).await.unwrap().is_empty());
    db.run("alter table t enable row level security").await;
    assert_eq!(db.text(unknown).await, format!("alter role {role} bypassrls;  -- row security hides rows from it"));
}

#[tokio::test]
async fn an_event_without_a_subject_cannot_be_followed() {
    let db = Database::watched("id int not null unique, tenant text", "tenant => 'tenant'").await;
    db.run("insert into t values (1, 'acme')").await;
    let verdict = db.stopped("1", "no_subject").await;
    db.run(&verdict.fix).await;
    db.run("update t set tenant = 'globex'").await;
    db.is_logged("1").await;
}

#[tokio::test]
async fn a_listener_that_stalled_is_told_apart_from_none() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("insert into t values (1, 'acme')").await;
    assert_eq!(db.stopped("1", "no_listener").await.fix, "-- tidings serve");
    // A session that has been there for longer than a checkpoint may take.
    db.run(
        "insert into tidings._listener (bridge, pid, version, checkpoint_at)
         select 'b', pid, '1', backend_start from pg_stat_activity where backend_type = 'checkpointer'",
    )
    .await;
    db.run("update tidings._listener set checkpoint_at = greatest(checkpoint_at, clock_timestamp() - interval '50 s')")
        .await;
    eventually("it counts as stalled", || async { db.why("1").await.name == "stalled_listener" }).await;
}

#[tokio::test]
async fn an_event_that_waits_for_the_audit_is_not_lost() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', notify => false").await;
    db.run("insert into tidings._listener (bridge, pid, version, checkpoint_at) values ('b', pg_backend_pid(), '1', clock_timestamp())").await;
    db.run("insert into t values (1, 'acme')").await;
    let verdict = db.why("1").await;
    assert_eq!((&*verdict.name, verdict.ok), ("not_notified", Some(true)));
    db.run("update tidings._listener set checkpoint_at = clock_timestamp()").await;
    assert_eq!(db.why("1").await.name, "delivered");
}

#[tokio::test]
async fn an_event_of_a_tenant_with_nobody_connected_had_no_subscriber() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("insert into t values (1, 'acme')").await;
    let listeners = "insert into tidings._listener (bridge, pid, version, checkpoint_at, subscribers) values";
    db.run(&format!(
        "{listeners} ('a', 1, '1', clock_timestamp(), '{{\"globex\": 3}}'), ('b', 1, '1', clock_timestamp(), '{{}}')"
    ))
    .await;
    db.stopped("1", "no_subscriber").await;
    let verdict = |subscribers: &'static str| {
        let db = &db;
        async move {
            db.run(&format!("update tidings._listener set subscribers = {subscribers} where bridge = 'b'")).await;
            db.why("1").await
        }
    };
    let delivered = verdict("'{\"acme\": 2}'").await;
    assert!(
        delivered.name == "delivered" && delivered.message.contains("2 connections of tenant acme"),
        "{delivered:#?}"
    );
    assert_eq!(verdict("null").await.name, "delivered", "nobody knows");
}

#[tokio::test]
async fn an_event_that_a_bridge_handed_on_was_delivered() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    db.run("insert into t values (1, 'acme')").await;
    sse.next().await;
    eventually("the bridge has told who is connected", || async {
        let verdict = db.why("1").await;
        verdict.name == "delivered" && verdict.ok == Some(true)
    })
    .await;
    bridge.stop().await;
}

#[tokio::test]
async fn a_question_without_a_key_is_refused_with_an_example() {
    let db = Database::new().await;
    let refused = db.refusal("select * from tidings.why('documents', null)").await;
    assert!(refused.hint().unwrap().contains("tidings.why('public.documents', 'doc_123')"));
}
