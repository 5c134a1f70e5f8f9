//! What a DBA calls: watch, pause and uninstall do what they say, wait for nobody for long, and touch nothing else.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use crate::support::Database;
use crate::tables::short;
use crate::watch::PLAIN;

/// Everything that watching leaves behind, as text.
pub const TRACES: &str = "select coalesce((select string_agg(tgrelid::regclass || '.' || tgname || tgenabled::text, ' ' order by tgrelid, tgname) from pg_trigger where not tgisinternal), '')
    || ' | ' || (select string_agg(proname || md5(prosrc), ' ' order by proname) from pg_proc where pronamespace = 'tidings'::regnamespace)
    || ' | ' || (select string_agg(w::text, ' ' order by capture) from tidings._watch w) || (select count(*) from tidings._log) || (select count(*) from tidings._missed)";

const STATUS: &str = "select status from tidings.watches where \"table\" = 't'::regclass";

async fn plain() -> Database {
    let db = Database::new().await;
    db.run(&format!("create table t ({PLAIN})")).await;
    db
}

#[tokio::test]
async fn two_sessions_that_watch_a_table_at_once_both_succeed() {
    let db = plain().await;
    let (first, second) = (db.connect().await, db.connect().await);
    first.batch_execute("begin; select tidings.watch('t', tenant => 'tenant')").await.unwrap();
    let (waited, committed) = tokio::join!(second.batch_execute("select tidings.watch('t', tenant => 'a')"), async {
        db.waiting(1).await;
        first.batch_execute("commit").await
    });
    waited.unwrap();
    committed.unwrap();
    assert_eq!(db.logs("insert into t values (1, 'acme', 'globex')").await[0][1], "globex", "the later one holds");
    assert_eq!(
        db.text("select count(*)::text from pg_proc where proname ~ '^_t_.*_(insert|update|delete|row)$'").await,
        "4"
    );
}

#[tokio::test]
async fn a_watch_that_is_rolled_back_leaves_nothing() {
    let db = plain().await;
    let before = db.text(TRACES).await;
    db.run("begin; select tidings.watch('t', tenant => 'tenant'); insert into t values (1, 'acme'); rollback").await;
    assert_eq!(db.text(TRACES).await, before);
    db.run("insert into t values (1, 'acme'); drop table t").await;
}

#[tokio::test]
async fn a_watch_gives_up_soon_when_the_table_is_locked_and_changes_nothing() {
    let db = plain().await;
    let before = db.text(TRACES).await;
    let other = db.connect().await;
    other.batch_execute("begin; insert into t values (1, 'acme')").await.unwrap();
    let asked = Instant::now();
    let refused = db.refusal("select tidings.watch('t', tenant => 'tenant')").await;
    assert_eq!(refused.code(), &SqlState::LOCK_NOT_AVAILABLE);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(db.text(TRACES).await, before);
    other.batch_execute("commit").await.unwrap();
    db.run("select tidings.watch('t', tenant => 'tenant')").await;
}

#[tokio::test]
async fn pausing_and_resuming_wait_for_no_lock_of_others() {
    for by in ["", "partition by hash (id)"] {
        let db = Database::new().await;
        db.run(&format!("create table t ({PLAIN}) {by}; select tidings.watch('t', tenant => 'tenant')")).await;
        if !by.is_empty() {
            db.run("create table t_0 partition of t for values with (modulus 1, remainder 0)").await;
        }
        let other = db.connect().await;
        other
            .batch_execute("insert into t values (0, 'acme'); begin; lock table t in access exclusive mode")
            .await
            .unwrap();
        db.run("set lock_timeout = '5s'; select tidings.pause('t')").await;
        assert_eq!(db.text(STATUS).await, "paused");
        other.batch_execute("commit").await.unwrap();
        let paused = "insert into t values (1, 'acme'); update t set a = 'x'; delete from t where id = 1; truncate t";
        other.batch_execute(paused).await.unwrap();
        other.batch_execute("begin; lock table t in access exclusive mode").await.unwrap();
        db.run("select tidings.resume('t')").await;
        other.batch_execute("commit").await.unwrap();
        assert_eq!(db.text(STATUS).await, "active");
        assert_eq!(short(&db.logs("insert into t values (2, 'acme')").await), ["t.inserted 2"]);
        db.run("truncate t").await;
        other.batch_execute("insert into t values (3, 'acme')").await.unwrap();
        assert_eq!(short(&db.logged().await), ["t.inserted 2", "t.inserted 3"], "in sessions from before, too");
    }
}

#[tokio::test]
async fn watching_a_paused_table_again_leaves_it_paused() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("select tidings.pause('t'); select tidings.watch('t', tenant => 'tenant', columns => '{id}')").await;
    assert_eq!(db.text(STATUS).await, "paused");
    assert!(db.logs("insert into t values (1, 'acme')").await.is_empty());
}

#[tokio::test]
async fn what_is_not_watched_can_be_neither_paused_nor_previewed() {
    let db = plain().await;
    for sql in
        ["select tidings.pause('t')", "select tidings.resume('t')", "select tidings.preview('t', 'insert', '{}')"]
    {
        let refused = db.refusal(sql).await;
        assert_eq!((refused.code(), refused.hint().is_some()), (&SqlState::UNDEFINED_OBJECT, true), "{sql}");
    }
}

#[tokio::test]
async fn watching_again_with_fewer_operations_drops_the_others_triggers() {
    let names = "select string_agg(tgname, ' ' order by tgname) from pg_trigger where tgrelid = 't'::regclass";
    let functions = "select count(*)::text from pg_proc where proname ~ '^_t_.*_(insert|update|delete|truncate|row)$'";
    let db = Database::watched(PLAIN, "tenant => 'tenant', ops => '{insert,update,delete,truncate}'").await;
    assert_eq!(db.text(names).await, "tidings_delete tidings_insert tidings_row tidings_truncate tidings_update");
    assert_eq!(db.text(functions).await, "5");
    db.run("select tidings.watch('t', tenant => 'tenant', ops => '{insert}')").await;
    assert_eq!(db.text(names).await, "tidings_insert tidings_row");
    assert_eq!(db.text(functions).await, "2");
    assert_eq!(
        short(&db.logs("insert into t values (1, 'acme'); update t set a = 'x'; delete from t").await),
        ["t.inserted 1"]
    );
    assert_eq!(
        short(
            &db.logs("set session_replication_role = replica; insert into t values (1, 'acme'); delete from t").await
        ),
        ["t.inserted 1"]
    );
}

#[tokio::test]
async fn a_dry_run_shows_the_settings_and_changes_nothing() {
    let db = plain().await;
    let before = db.text(TRACES).await;
    let row = db
        .client
        .simple_query(
            "begin read only; select \"table\", tenant, status, triggers from tidings.watch('t', tenant => 'tenant')",
        )
        .await
        .unwrap();
    let told: Vec<_> = row
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some((0..4).map(|i| row.get(i)).collect::<Vec<_>>()),
            _ => None,
        })
        .collect();
    assert_eq!(told, [[Some("t"), Some("tenant"), Some("triggers missing"), None]]);
    db.run("rollback").await;
    assert_eq!(
        db.refusal("begin read only; select tidings.watch('t', tenant => 'nme')").await.code(),
        &SqlState::UNDEFINED_COLUMN
    );
    db.run("rollback").await;
    assert_eq!(db.text(TRACES).await, before);
}

#[tokio::test]
async fn what_is_covered_already_or_is_nobodys_event_is_refused_with_a_hint() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run(
        "create table p (id int, tenant text) partition by range (id);
         create table p_low partition of p for values from (0) to (100) partition by range (id); create table p_low_0 partition of p_low default;
         select tidings.watch('p', tenant => 'tenant');
         create table q (id int, tenant text) partition by range (id); create table q_low partition of q default;
         select tidings.watch('q_low', tenant => 'tenant');
         create temp table scratch (id int, tenant text); create view v as select * from t; create materialized view m as select * from t;
         create index t_a on t (a); create sequence s",
    )
    .await;
    let before = db.text(TRACES).await;
    for (table, code, hint) in [
        ("p_low", SqlState::OBJECT_IN_USE, "nothing to do"),
        ("p_low_0", SqlState::OBJECT_IN_USE, "nothing to do"),
        ("q", SqlState::OBJECT_IN_USE, "tidings.unwatch('public.q_low')"),
        ("v", SqlState::WRONG_OBJECT_TYPE, "behind a view"),
        ("m", SqlState::WRONG_OBJECT_TYPE, "behind a view"),
        ("t_a", SqlState::WRONG_OBJECT_TYPE, "tables"),
        ("s", SqlState::WRONG_OBJECT_TYPE, "tables"),
        ("scratch", SqlState::WRONG_OBJECT_TYPE, "Temporary"),
        ("tidings._log", SqlState::WRONG_OBJECT_TYPE, "tidings"),
        ("tidings._log_0", SqlState::WRONG_OBJECT_TYPE, "tidings"),
        ("pg_class", SqlState::WRONG_OBJECT_TYPE, "system"),
    ] {
        let refused = db.refusal(&format!("select tidings.watch('{table}', tenant => 'tenant')")).await;
        assert_eq!(refused.code(), &code, "{table}: {refused}");
        assert!(refused.hint().unwrap_or("").contains(hint), "{table}: {refused:?}");
    }
    assert_eq!(db.text(TRACES).await, before);
}

#[tokio::test]
async fn uninstalling_removes_every_trace_and_nothing_else() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', ops => '{insert,update,delete,truncate}'").await;
    db.run(
        "create table p (id int, tenant text) partition by range (id); create table p_0 partition of p default; select tidings.watch('p', tenant => 'tenant');
         create table child () inherits (t); select tidings.watch('t', tenant => 'tenant');
         create function mine() returns trigger language plpgsql as 'begin return null; end'; create trigger tidings_mine after insert on t execute function mine();
         create view v as select * from t; insert into t values (1, 'acme'); select tidings.pause('p')",
    )
    .await;
    db.run("select tidings.uninstall()").await;
    let left = "select (select count(*) from pg_namespace where nspname = 'tidings')::text || (select count(*) from pg_proc where prosrc ~ 'tidings\\._')
        || ' ' || (select string_agg(tgname, ',') from pg_trigger where not tgisinternal and tgrelid in ('t'::regclass, 'p'::regclass, 'p_0'::regclass, 'child'::regclass))";
    assert_eq!(db.text(left).await, "00 tidings_mine");
    db.run(
        "insert into t values (2, 'acme'); update t set a = 'x'; insert into p values (1, 'acme'); truncate t cascade",
    )
    .await;
    assert_eq!(db.text("select count(*)::text from v").await, "0");
}

#[tokio::test]
async fn uninstalling_is_refused_while_something_of_others_is_built_upon_it() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    for (create, drop, named) in [
        ("create view v as select * from tidings.events", "drop view v", "v"),
        ("create materialized view m as select * from tidings.watches", "drop materialized view m", "m"),
        (
            "create function f() returns text language sql begin atomic select tidings.emit('acme', 'x'); end",
            "drop function f",
            "function public.f()",
        ),
        ("alter table t add c text default tidings.cursor()", "alter table t drop c", "default"),
        ("alter table t add e tidings.events", "alter table t drop e", "column e of table public.t"),
    ] {
        db.run(create).await;
        let before = db.text(TRACES).await;
        let refused = db.refusal("select tidings.uninstall()").await;
        assert_eq!(refused.code(), &SqlState::DEPENDENT_OBJECTS_STILL_EXIST, "{create}");
        assert!(refused.message().contains(named) && refused.hint().is_some(), "{create}: {refused:?}");
        assert_eq!(db.text(TRACES).await, before, "{create}");
        db.run(drop).await;
    }
    db.run("select tidings.uninstall()").await;
}

impl Database {
    /// Waits until this many sessions of this database wait for a lock.
    async fn waiting(&self, sessions: i64) {
        let sql =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let observer = self.connect().await;
        crate::support::eventually("sessions wait", || async {
            observer.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == sessions
        })
        .await;
    }
}
