//! Every way of writing is captured, never at the writer's cost.

use serde_json::{Value, json};
use tokio_postgres::error::SqlState;

use crate::support::Database;
use crate::watch::PLAIN;

#[tokio::test]
async fn every_way_of_writing_is_captured() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let types = async |sql: &str| {
        let logged = db.logs(sql).await;
        logged
            .iter()
            .map(|event| format!("{} {}", event[0].as_str().unwrap(), event[2].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    db.run("insert into t values (1, 'acme')").await;
    let upsert =
        "insert into t values (1, 'acme', 'x'), (2, 'acme', 'y') on conflict (id) do update set a = excluded.a";
    let mut upserted = types(upsert).await;
    upserted.sort();
    assert_eq!(upserted, ["t.inserted 2", "t.updated 1"]);
    assert!(types("insert into t values (1, 'acme') on conflict do nothing").await.is_empty());
    let cte = "with gone as (delete from t where id = 2 returning *) insert into t select 3, tenant from gone";
    assert_eq!(types(cte).await.len(), 2);
    if db.text("select current_setting('server_version_num')").await.as_str() >= "150000" {
        let merge = "merge into t using (values (1, 'm'), (4, 'n')) v (id, a) on t.id = v.id
                     when matched then update set a = v.a when not matched then insert values (v.id, 'acme', v.a)";
        let mut merged = types(merge).await;
        merged.sort();
        assert_eq!(merged, ["t.inserted 4", "t.updated 1"]);
    }
    assert_eq!(types("begin; savepoint s; insert into t values (5, 'acme'); rollback to s; insert into t values (6, 'acme'); commit").await, ["t.inserted 6"]);
}

#[tokio::test]
async fn a_copy_is_captured_row_by_row_in_order() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let sink = db.client.copy_in::<_, bytes::Bytes>("copy t (id, tenant) from stdin").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    let rows: String = (1..=200).map(|i| format!("{i}\tacme\n")).collect();
    futures_util::SinkExt::send(&mut sink, rows.into()).await.unwrap();
    sink.finish().await.unwrap();
    let subjects: Vec<String> = db.logged().await.iter().map(|event| event[2].as_str().unwrap().to_owned()).collect();
    assert_eq!(subjects, (1..=200).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_that_a_foreign_key_deletes_are_captured() {
    let db = Database::watched("id int primary key, tenant text", "tenant => 'tenant'").await;
    db.run(
        "create table child (id int primary key, t int references t on delete cascade, tenant text);
         select tidings.watch('child', tenant => 'tenant');
         insert into t values (1, 'acme'); insert into child values (10, 1, 'acme'), (11, 1, 'acme')",
    )
    .await;
    let mut types: Vec<String> = db.logs("delete from t").await.iter().map(|e| format!("{}{}", e[0], e[2])).collect();
    types.sort();
    assert_eq!(types, [r#""child.deleted""10""#, r#""child.deleted""11""#, r#""t.deleted""1""#]);
}

#[tokio::test]
async fn a_partitioned_table_is_watched_by_its_root() {
    let db = Database::new().await;
    db.run(
        "create table t (id int, tenant text, primary key (id)) partition by range (id);
         create table t_low partition of t for values from (0) to (10); create table t_high partition of t for values from (10) to (20);
         select tidings.watch('t', tenant => 'tenant')",
    )
    .await;
    let types = |events: Vec<Value>| events.iter().map(|event| format!("{}", event[0])).collect::<Vec<_>>();
    assert_eq!(types(db.logs("insert into t values (1, 'acme'), (11, 'acme')").await), [r#""t.inserted""#; 2]);
    let mut moved = types(db.logs("update t set id = 12 where id = 1").await);
    moved.sort();
    assert!(moved == [r#""t.deleted""#, r#""t.inserted""#] || moved == [r#""t.updated""#], "{moved:?}");
}

#[tokio::test]
async fn serializable_writers_do_not_fail_because_of_capture() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let mut open = Vec::new();
    for id in 0..8 {
        let client = db.connect().await;
        let sql = format!(
            "begin isolation level serializable; insert into t values ({id}, 'acme'), ({}, 'globex')",
            id + 100
        );
        client.batch_execute(&sql).await.unwrap();
        open.push(client);
    }
    for (id, client) in open.iter().enumerate() {
        client.batch_execute(&format!("update t set a = 'x' where id = {id}")).await.unwrap();
    }
    for client in &open {
        client.batch_execute("commit").await.unwrap();
    }
    assert_eq!(db.logged().await.len(), 24);
}

#[tokio::test]
async fn a_failing_capture_never_fails_the_writer_and_is_counted() {
    let db =
        Database::watched("id int primary key, tenant text, d int", "tenant => 'tenant', subject => '{=1 / d}'").await;
    db.run("insert into t values (1, 'acme', 1), (2, 'acme', 0)").await;
    db.run("insert into t select i, 'acme', case when i = 200 then 0 else 1 end from generate_series(100, 300) i")
        .await;
    assert_eq!(db.text("select count(*)::text from t").await, "203", "the writes stand");
    assert_eq!(db.text("select failures::text from tidings.watches where \"table\" = 't'::regclass").await, "2");
    assert_eq!(db.text("select string_agg(reason, ',') from tidings._missed").await, "22012,22012");
    assert_eq!(db.logs("insert into t values (3, 'acme', 1)").await.len(), 1, "and it goes on");
}

#[tokio::test]
async fn a_strict_watch_fails_the_writer_instead() {
    let db = Database::watched(
        "id int primary key, tenant text, d int",
        "tenant => 'tenant', subject => '{=1 / d}', strict => true",
    )
    .await;
    for sql in
        ["insert into t values (1, 'acme', 0)", "insert into t select i, 'acme', 0 from generate_series(1, 100) i"]
    {
        assert_eq!(db.refusal(sql).await.code(), &SqlState::DIVISION_BY_ZERO);
    }
    assert_eq!(db.text("select count(*)::text from t").await, "0");
}

#[tokio::test]
async fn a_column_dropped_under_a_watch_fails_no_writer() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', columns => '{id,a}'").await;
    assert_eq!(
        db.logs("alter table t drop column a; insert into t values (1, 'acme', 'b')").await,
        [json!(["t.inserted", "acme", "1", null, {"id": 1}])],
        "nor an event, and nothing shows that was not watched"
    );
}

#[tokio::test]
async fn a_column_dropped_before_the_watch_shifts_no_other() {
    let db = Database::new().await;
    db.run(
        "create table t (gone text, id int primary key, tenant text, a text, secret text); alter table t drop column gone;
         select tidings.watch('t', tenant => 'tenant', columns => '{id,a}')",
    )
    .await;
    let logged =
        db.logs("insert into t values (1, 'acme', 'x', 's'); update t set secret = 'z'; update t set a = 'y'").await;
    let expected = [
        json!(["t.inserted", "acme", "1", null, {"id": 1, "a": "x"}]),
        json!(["t.updated", "acme", "1", "a", {"id": 1, "a": "y"}]),
    ];
    assert_eq!(logged, expected);
}

#[tokio::test]
async fn a_column_added_under_a_watch_of_all_columns_is_not_lost() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("insert into t values (1, 'acme'); alter table t add column c int default 4").await;
    let logged = db.logs("update t set c = 5").await;
    assert_eq!(logged.len(), 1);
    assert_eq!(logged[0][4]["c"], 5);
}

#[tokio::test]
async fn a_long_name_in_any_script_is_watched() {
    let db = Database::new().await;
    let table = "архив_документов_компании_2026г";
    db.run(&format!("create table {table} ({PLAIN}); select tidings.watch('{table}', tenant => 'tenant')")).await;
    let sql = format!("insert into {table} values (1, 'acme'); update {table} set a = 'x'; delete from {table}");
    let types: Vec<String> = db.logs(&sql).await.iter().map(|e| e[0].as_str().unwrap().replace(table, "")).collect();
    assert_eq!(types, [".inserted", ".updated", ".deleted"]);
}

#[tokio::test]
async fn unwatching_leaves_nothing_of_tidings_on_the_table() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let functions = "select count(*)::text from pg_proc where pronamespace = 'tidings'::regnamespace and prorettype = 'trigger'::regtype";
    let before: i32 = db.text(functions).await.parse().unwrap();
    db.run("select tidings.unwatch('t')").await;
    assert_eq!(db.text("select count(*)::text from pg_trigger where tgrelid = 't'::regclass").await, "0");
    assert_eq!(db.text(functions).await.parse::<i32>().unwrap(), before - 4);
    assert!(db.logs("insert into t values (1, 'acme')").await.is_empty());
    db.run("select tidings.unwatch('t'); drop table t").await;
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_a_hint_and_changes_nothing() {
    let db = Database::new().await;
    db.run("create table t (id int primary key, tenant text); create view v as select * from t").await;
    for (arguments, code, hint) in [
        ("'t', tenant => 'tennant'", SqlState::UNDEFINED_COLUMN, "did you mean \"tenant\"?"),
        ("'t', tenant => 'customer'", SqlState::UNDEFINED_COLUMN, "Its columns are: id, tenant."),
        ("'t', tenant => 'tenant', columns => '{id,nme}'", SqlState::UNDEFINED_COLUMN, "Its columns are"),
        ("'t', tenant => 'tenant', except_columns => '{nme}'", SqlState::UNDEFINED_COLUMN, "Its columns are"),
        ("'t', tenant => 'tenant', only_changed => '{nme}'", SqlState::UNDEFINED_COLUMN, "Its columns are"),
        ("'t', tenant => 'tenant', subject => '{nme}'", SqlState::UNDEFINED_COLUMN, "Its columns are"),
        ("'t', tenant => 'tenant', audience => 'nme'", SqlState::UNDEFINED_COLUMN, "Its columns are"),
        ("'t', tenant => ''", SqlState::INVALID_PARAMETER_VALUE, "For example"),
        ("'t', tenant => '=nme'", SqlState::UNDEFINED_COLUMN, "schema"),
        ("'t', tenant => '=tenant) from t; drop table t; --'", SqlState::SYNTAX_ERROR, "schema"),
        ("'v', tenant => 'tenant'", SqlState::WRONG_OBJECT_TYPE, "behind a view"),
        ("'t', tenant => 'tenant', type => 'a,b'", SqlState::INVALID_PARAMETER_VALUE, "type"),
    ] {
        let refused = db.refusal(&format!("select tidings.watch({arguments})")).await;
        assert_eq!(refused.code(), &code, "{arguments}: {refused}");
        assert!(refused.hint().unwrap_or("").contains(hint), "{arguments}: {refused:?}");
    }
    let ops = db.refusal("select tidings.watch('t', tenant => 'tenant', ops => '{insert,merge}')").await;
    assert_eq!(ops.code(), &SqlState::INVALID_PARAMETER_VALUE);
    assert_eq!(db.text("select count(*)::text from pg_trigger where tgrelid = 't'::regclass").await, "0");
}

/// The first payload on the database's own channel that says `kind`.
async fn notified(db: &Database, kind: &str, sql: &str) -> Value {
    let config: tokio_postgres::Config = db.url.parse().unwrap();
    let (client, mut connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let channel = db.text("select name from tidings._channel").await;
    let (found, payloads) = tokio::sync::oneshot::channel();
    let wanted = format!("{{\"{kind}\"");
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut found = Some(found);
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let tokio_postgres::AsyncMessage::Notification(heard) = message
                && heard.payload().starts_with(&wanted)
                && let Some(found) = found.take()
            {
                found.send(heard.payload().to_owned()).unwrap();
            }
        }
    });
    client.batch_execute(&format!("listen {channel}")).await.unwrap();
    db.run(sql).await;
    let payload = payloads.await.unwrap();
    tidings::decode::decode(&payload, 0).unwrap_or_else(|e| panic!("{e}: {payload}"));
    serde_json::from_str(&payload).unwrap()
}

/// Names and types of members, in order, as far down as objects go; row data is anybody's.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), if name == "data" { json!(0) } else { shape(value) }))
            .collect(),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
        Value::Null => json!("text"),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_postgresql_notifies_has_the_documented_shapes() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let large = "insert into t select 1, 'acme', string_agg(md5(i::text), '') from generate_series(1, 400) i";
    let traced = "begin; select set_config('tidings.traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', true);
        update t set a = 'y'; commit";
    for (kind, sql, documented) in [
        ("eid", "insert into t values (2, 'acme'); update t set a = 'x'", include_str!("../payloads/event.json")),
        ("eid", traced, include_str!("../payloads/traced.json")),
        ("ref", large, include_str!("../payloads/reference.json")),
        (
            "ref",
            "insert into t select i, 'acme' from generate_series(10, 90) i",
            include_str!("../payloads/reference.json"),
        ),
        (
            "checkpoint",
            "select tidings._checkpoint('5d1c', 1, '0', 41, tidings.cursor())",
            include_str!("../payloads/checkpoint.json"),
        ),
    ] {
        let heard = notified(&db, kind, sql).await;
        assert_eq!(shape(&heard), shape(&serde_json::from_str(documented).unwrap()), "{sql}");
    }
}
