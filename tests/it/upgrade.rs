//! A database of version 3 is brought to this one under load: no writer fails, no event is lost, and bridges of that version go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};
use tidings::migrate::{Wishes, migrate};
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::support::{Bridge, Database, Sse, eventually, get_page, member};

/// Everything that was version 3.
const FILES: [&str; 3] = [
    include_str!("../../sql/V1__log.sql"),
    include_str!("../../sql/V2__capture.sql"),
    include_str!("../../sql/V3__watch.sql"),
];

/// Tables that use every setting that version 3 had; subject was one text then.
const TABLES: &str = "
    create table counters (id int primary key, tenant text, step int not null default 0);
    create table org (id int primary key, tenant text);
    create table orders (id int primary key, org int, code text, state text, note text, secret text, owner text);
    create table lines (id int primary key, tenant text, a text, b text);
    create table \"Mixed Case\" (\"Id\" int primary key, \"tenantId\" text);
    insert into org values (1, 'acme'), (2, 'globex');
    select tidings.watch('counters', tenant => 'tenant');
    select tidings.watch('orders', tenant => '=(select o.tenant from public.org o where o.id = org)', columns => '{id,state,note}', ops => '{insert,update}',
        only_changed => '{state,secret}', subject => 'code', type => 'order', audience => 'owner', strict => true);
    select tidings.watch('lines', tenant => 'tenant', except_columns => '{b}', subject => '=''line-'' || id', notify => false);
    select tidings.watch('\"Mixed Case\"', tenant => 'tenantId')";

/// Writes that show what the settings do.
const WRITES: &str = "
    insert into orders values (1, 1, 'o-1', 'new', 'n', 's', 'ann'), (2, 2, 'o-2', 'new', 'n', 's', null), (3, 3, 'o-3', 'new', 'n', 's', null);
    update orders set note = 'm'; update orders set state = 'paid' where id = 1; update orders set org = 2 where id = 1; delete from orders;
    insert into lines values (1, 'acme', 'a', 'b'); update lines set b = 'c'; update lines set a = 'd'; delete from lines;
    insert into \"Mixed Case\" values (1, 'acme'); delete from \"Mixed Case\"";

async fn version_3() -> Database {
    let (db, current) = (Database::empty().await, Database::new().await);
    db.run("create schema tidings").await;
    for file in FILES {
        db.run(&format!("begin; {file}; commit")).await;
    }
    let history = "select string_agg(format('insert into tidings.schema_history values (%L, %L, %L, %L)', version, name, applied_on, checksum), '; ')
        from tidings.schema_history where version <= 3";
    let history = current.text(history).await;
    db.run(&format!(
        "create table tidings.schema_history (version int4 primary key, name varchar(255), applied_on varchar(255), checksum varchar(255)); {history}"
    ))
    .await;
    db.run(TABLES).await;
    db
}

async fn upgrade(db: &Database) {
    let applied = migrate(&db.url.parse().unwrap(), &Wishes::default()).await.unwrap();
    assert_eq!(applied[0], "V4__compile");
}

/// Transactions of two steps each, one after the other, on a row of their own.
async fn count_upwards(client: Client, row: i32, stop: CancellationToken, commits: Arc<AtomicUsize>) -> (i32, u64) {
    let mut steps = 0;
    while !stop.is_cancelled() {
        for sql in ["begin", &step(row), &step(row), "commit"] {
            client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        }
        steps += 2;
        commits.fetch_add(1, Relaxed);
    }
    (row, steps)
}

fn step(row: i32) -> String {
    format!("update counters set step = step + 1 where id = {row}")
}

/// What a bridge of version 3 sends, prepared before the upgrade and sent again and again. Returns the epochs it was told.
async fn old_bridge(client: Client, stop: CancellationToken, turns: Arc<AtomicUsize>) -> Vec<String> {
    let mut prepared = Vec::new();
    for sql in [
        "select tidings._listen()",
        "select tidings._rotate('72 hours'::interval)",
        "select tidings._checkpoint('5d1c', 1, '0.1.0', 7, tidings.cursor())",
        "insert into tidings._ticket (hash, claims, expires_at) values ('\\x01', '{}', now() + interval '30 s')",
        "with used as (delete from tidings._ticket where hash = '\\x01' or expires_at < now() returning hash, claims, expires_at)
           select claims::text from used where hash = '\\x01' and expires_at >= now()",
        "select tidings.emit('nobody', 'n', '{}'::jsonb, null, null)",
        "select (select epoch from tidings._epoch), p.xid::text::bigint, p.eid from tidings._pruned p",
        "select l.eid, l.nonce, l.data::text, h.snap::text from tidings._log l left join tidings._log h on h.xid = l.xid and h.eid = l.head
          where l.tenant = 'nobody' and l.xid >= pg_snapshot_xmin(pg_current_snapshot())",
        "select id, type from tidings.events where tenant = 'nobody' limit 1",
        "select bridge from tidings.listeners",
    ] {
        prepared.push((sql, client.prepare(sql).await.unwrap()));
    }
    let once =
        client.prepare("select tidings._emit_once('nobody', 's', $1, '\\x02', 'n', '{}', null, null)").await.unwrap();
    let enrol = client.prepare("select tidings._enrol()").await.unwrap();
    let mut epochs = Vec::new();
    while !stop.is_cancelled() {
        for (sql, statement) in &prepared {
            client.query(statement, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        }
        let key = epochs.len().to_string();
        let ids = [client.query_one(&once, &[&key]).await.unwrap(), client.query_one(&once, &[&key]).await.unwrap()];
        assert_eq!(ids[0].get::<_, String>(0), ids[1].get::<_, String>(0));
        epochs.push(client.query_one(&enrol, &[]).await.unwrap().get(0));
        turns.fetch_add(1, Relaxed);
    }
    epochs
}

/// Waits until so many more were counted.
async fn more(what: &str, count: &AtomicUsize, wanted: usize) {
    let wanted = count.load(Relaxed) + wanted;
    eventually(what, || async { count.load(Relaxed) >= wanted }).await;
}

#[tokio::test]
async fn an_upgrade_under_load_fails_no_writer_and_loses_and_doubles_no_event() {
    let db = version_3().await;
    db.run("insert into counters select i, 'acme' from generate_series(1, 5) i; truncate tidings._log").await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let (stop, commits, turns) =
        (CancellationToken::new(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (mut writers, mut old) = (JoinSet::new(), JoinSet::new());
    for row in 1..=4 {
        writers.spawn(count_upwards(db.connect().await, row, stop.clone(), commits.clone()));
    }
    old.spawn(old_bridge(db.connect().await, stop.clone(), turns.clone()));
    // Begins before the upgrade and ends after it, which does not wait for it.
    let long = db.connect().await;
    long.batch_execute(&format!("begin; {}", step(5))).await.unwrap();
    more("the writers run", &commits, 40).await;
    let held = get_page(&bridge, &member("acme"), "acme", "").await;

    upgrade(&db).await;

    more("the writers go on", &commits, 40).await;
    more("the bridge of version 3 goes on", &turns, 5).await;
    long.batch_execute(&format!("{}; commit", step(5))).await.unwrap();
    stop.cancel();
    let mut expected: BTreeMap<i32, u64> = writers.join_all().await.into_iter().collect();
    expected.insert(5, 2);
    let epochs = old.join_all().await.remove(0);
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "one history: {epochs:?}");
    db.sentinel("acme").await;
    let live = sse.until_sentinel().await;
    let mut resumed = Sse::resume(&bridge, &member("acme"), "acme", &held.cursor).await;
    let paged_and_resumed: Vec<Value> = held.events.into_iter().chain(resumed.until_sentinel().await).collect();
    for events in [live, paged_and_resumed] {
        let mut steps = BTreeMap::<i32, Vec<u64>>::new();
        for event in &events {
            let row = event["subject"].as_str().unwrap().parse().unwrap();
            steps.entry(row).or_default().push(event["data"]["step"].as_u64().unwrap());
        }
        let whole: BTreeMap<i32, Vec<u64>> = expected.iter().map(|(row, last)| (*row, (1..=*last).collect())).collect();
        assert!(steps == whole || panic!("{expected:?}, and not {steps:?}"));
    }
    bridge.stop().await;
}

/// What is logged by the same writes.
async fn shown(db: &Database) -> Vec<Value> {
    db.run("truncate tidings._log").await;
    db.run(WRITES).await;
    let sql = "select json_build_array(type, tenant, audience, source, subject, changed, data)::text from tidings._log order by eid";
    db.client.query(sql, &[]).await.unwrap().iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect()
}

#[tokio::test]
async fn watches_of_version_3_go_on_with_their_settings_and_the_new_capture() {
    let db = version_3().await;
    let settings = "select json_agg(json_build_array(\"table\"::text, tenant, columns, except_columns, ops, only_changed, type, audience, notify, strict, watched_at)
        order by \"table\"::text)::text from tidings.watches";
    let (before, were) = (shown(&db).await, db.text(settings).await);
    assert_eq!(before.len(), 10, "{before:#?}");
    upgrade(&db).await;
    assert_eq!((shown(&db).await, db.text(settings).await), (before.clone(), were.clone()));
    let subjects = "select string_agg(coalesce(subject::text, '-'), ' ' order by \"table\"::text) from tidings.watches";
    assert_eq!(db.text(subjects).await, r#"- - {"='line-' || id"} {code}"#);

    // The new capture follows a table that is altered, which the old one did not.
    db.run("alter table orders rename column state to status; alter table orders rename column code to number").await;
    let renamed: Value = serde_json::to_string(&before).unwrap().replace("\"state\"", "\"status\"").parse().unwrap();
    let writes = WRITES.replace("set state", "set status");
    db.run("truncate tidings._log").await;
    db.run(&writes).await;
    let sql = "select json_agg(json_build_array(type, tenant, audience, source, subject, changed, data) order by eid)::text from tidings._log";
    assert_eq!(serde_json::from_str::<Value>(&db.text(sql).await).unwrap(), renamed);
    assert_eq!(db.text("select count(*)::text from tidings._missed where reason <> 'null_tenant'").await, "0");
}

#[tokio::test]
async fn watches_of_version_3_carry_traces_without_being_watched_again() {
    let db = version_3().await;
    upgrade(&db).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    db.run(&format!("begin; select set_config('tidings.traceparent', '{trace}', true); insert into counters values (1, 'acme'); commit"))
        .await;
    assert_eq!(db.text("select traceparent from tidings.events").await, trace);
}

#[tokio::test]
async fn what_an_upgrade_could_not_attach_is_told_and_mended_by_watching_again() {
    let db = version_3().await;
    upgrade(&db).await;
    let status = "select string_agg(status, ',' order by \"table\"::text) from tidings.watches";
    let replica = "set session_replication_role = replica; insert into counters values (1, 'acme'); delete from counters; reset session_replication_role";
    assert_eq!(db.text(status).await, ["triggers missing"; 4].join(","));
    db.run(
        "select tidings.watch(\"table\", tenant, columns, except_columns, ops, only_changed, subject::text, type, audience, notify, strict) from tidings.watches",
    )
    .await;
    assert_eq!(db.text(status).await, ["active"; 4].join(","));
    db.run("truncate tidings._log").await;
    db.run(replica).await;
    let types = "select string_agg(type, ' ' order by eid) from tidings._log";
    assert_eq!(db.text(types).await, "counters.inserted counters.deleted", "as an apply worker writes, and once");
    let other = version_3().await;
    assert_eq!(shown(&db).await, shown(&other).await, "and with the settings that they had");
}

#[tokio::test]
async fn an_upgraded_schema_is_the_one_that_is_installed_anew() {
    let (old, new) = (version_3().await, Database::new().await);
    old.run("select tidings.unwatch(\"table\") from tidings.watches").await;
    upgrade(&old).await;
    new.run("select tidings.unwatch(\"table\") from tidings.watches").await;
    let objects = json!([
        "select p.oid::regprocedure || coalesce(p.prosrc, '') || p.prosecdef || coalesce(p.proconfig::text, '') || replace(coalesce(p.proacl::text, ''), ',tests_service=X/postgres', '') || coalesce(obj_description(p.oid), '') from pg_proc p where p.pronamespace = 'tidings'::regnamespace",
        "select concat_ws(' ', c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, obj_description(c.oid)) from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped where c.relnamespace = 'tidings'::regnamespace and c.relname <> 'app_history'",
    ]);
    for sql in objects.as_array().unwrap() {
        let all = format!(
            "select string_agg(x, E'\\n' order by x) from ({}) all_of_it (x) where x not like '%app_history%'",
            sql.as_str().unwrap()
        );
        assert_eq!(old.text(&all).await, new.text(&all).await);
    }
}
