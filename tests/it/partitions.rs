//! A partitioned table is one table: whatever is written to its root or to a partition arrives, once.

use futures_util::SinkExt;
use serde_json::{Value, json};

use crate::support::{Bridge, Database, Sse, events_of, member};
use crate::tables::{short, sorted};

/// A watched table `t` with one partition `t_low`, for ids below 100.
const PARTITIONED: &str = "
    create table t (id int, tenant text, a text, primary key (id)) partition by range (id);
    create table t_low partition of t for values from (0) to (100);
    select tidings.watch('t', tenant => 'tenant')";

async fn partitioned() -> Database {
    let db = Database::new().await;
    db.run(PARTITIONED).await;
    db
}

#[tokio::test]
async fn what_is_written_to_the_root_and_to_a_partition_arrives_once() {
    let db = partitioned().await;
    for table in ["t", "t_low"] {
        let sql = format!(
            "insert into {table} values (1, 'acme', 'x'), (2, 'acme', 'x'); update {table} set a = 'y' where id = 1;
             delete from {table} where id = 2; delete from {table}"
        );
        let logged = db.logs(&sql).await;
        assert_eq!(short(&logged), ["t.inserted 1", "t.inserted 2", "t.updated 1", "t.deleted 2", "t.deleted 1"]);
        assert_eq!((&logged[2][3], &logged[2][4]), (&json!("a"), &json!({"id": 1, "tenant": "acme", "a": "y"})));
    }
    assert_eq!(db.text("select string_agg(distinct source, ',') from tidings._log").await, "/public/t");
}

#[tokio::test]
async fn an_upsert_and_a_merge_of_a_partitioned_table_are_captured() {
    let db = partitioned().await;
    db.run("insert into t values (1, 'acme')").await;
    let upsert =
        "insert into t values (1, 'acme', 'x'), (2, 'acme', 'x') on conflict (id) do update set a = excluded.a";
    assert_eq!(sorted(&db.logs(upsert).await), ["t.inserted 2", "t.updated 1"]);
    if db.text("select current_setting('server_version_num')").await.as_str() >= "150000" {
        let merge =
            "merge into t using (values (1), (2), (3)) v (id) on t.id = v.id when matched and v.id = 1 then delete
                     when matched then update set a = 'm' when not matched then insert values (v.id, 'acme')";
        assert_eq!(sorted(&db.logs(merge).await), ["t.deleted 1", "t.inserted 3", "t.updated 2"]);
    }
}

#[tokio::test]
async fn a_partition_created_later_is_captured() {
    let db = partitioned().await;
    db.run("create table t_high partition of t for values from (100) to (200)").await;
    let logged = db.logs("insert into t values (100, 'acme'); insert into t_high values (101, 'acme')").await;
    assert_eq!(short(&logged), ["t.inserted 100", "t.inserted 101"]);
    assert_eq!(db.text("select status from tidings.watches where \"table\" = 't'::regclass").await, "active");
}

#[tokio::test]
async fn a_truncate_of_a_partition_created_later_is_told_once_the_table_was_watched_again() {
    let db = partitioned().await;
    let watch = "select tidings.watch('t', tenant => 'tenant', ops => '{insert,truncate}')";
    db.run(&format!("{watch}; create table t_high partition of t for values from (100) to (200)")).await;
    let status = "select status from tidings.watches where \"table\" = 't'::regclass";
    assert_eq!(db.text(status).await, "triggers missing");
    db.run(watch).await;
    assert_eq!(db.text(status).await, "active");
    let logged = db.logs("insert into t values (100, 'acme'); truncate t_high").await;
    assert_eq!(short(&logged), ["t.inserted 100", "t.truncated -"]);
}

#[tokio::test]
async fn a_partition_attached_later_is_captured_whatever_the_order_of_its_columns() {
    let db = partitioned().await;
    db.run(
        "create table t_high (gone int, a text, junk bytea, tenant text, id int not null, primary key (id));
         alter table t_high drop column gone, drop column junk; insert into t_high values ('early', 'acme', 150);
         alter table t attach partition t_high for values from (100) to (200)",
    )
    .await;
    for table in ["t", "t_high"] {
        let sql = format!(
            "insert into {table} (id, tenant, a) values (100, 'acme', 'x'); update {table} set a = 'y'; delete from {table} where id = 100"
        );
        let logged = db.logs(&sql).await;
        assert_eq!(short(&logged)[0], "t.inserted 100");
        assert_eq!(logged[0][4], json!({"id": 100, "tenant": "acme", "a": "x"}));
        assert_eq!(logged.last().unwrap()[4], json!({"id": 100, "tenant": "acme", "a": "y"}));
        db.run("update t set a = 'early'").await;
    }
    assert_eq!(short(&db.logs("delete from t").await), ["t.deleted 150"], "a row from before its partition was ours");
}

#[tokio::test]
async fn a_detached_partition_is_captured_no_more() {
    let db = partitioned().await;
    db.run("create table t_high partition of t for values from (100) to (200)").await;
    let logged = db
        .logs(
            "insert into t_high values (100, 'acme'); alter table t detach partition t_high;
             insert into t_high values (101, 'acme'); update t_high set a = 'x'; insert into t values (1, 'acme')",
        )
        .await;
    assert_eq!(short(&logged), ["t.inserted 100", "t.inserted 1"]);
    assert_eq!(db.text("select count(*)::text from pg_trigger where tgrelid = 't_high'::regclass").await, "0");
}

#[tokio::test]
async fn partitions_of_partitions_are_captured() {
    let db = partitioned().await;
    db.run(
        "create table t_high partition of t for values from (100) to (200) partition by range (id);
         create table t_high_0 partition of t_high for values from (100) to (150);
         create table t_high_1 partition of t_high default",
    )
    .await;
    let sql = "insert into t values (101, 'acme'), (151, 'acme'); insert into t_high values (102, 'acme');
               insert into t_high_1 values (152, 'acme'); update t_high set a = 'x' where id = 151; delete from t where id = 101";
    let expected = ["inserted 101", "inserted 151", "inserted 102", "inserted 152", "updated 151", "deleted 101"]
        .map(|e| format!("t.{e}"));
    assert_eq!(short(&db.logs(sql).await), expected);
}

#[tokio::test]
async fn a_row_moved_between_partitions_is_deleted_and_inserted() {
    let db = partitioned().await;
    db.run("create table t_high partition of t for values from (100) to (200); insert into t values (1, 'acme', 'x')")
        .await;
    let logged = db.logs("update t set id = 101, a = 'y'").await;
    assert_eq!(
        logged,
        [
            json!(["t.deleted", "acme", "1", null, {"id": 1, "tenant": "acme", "a": "x"}]),
            json!(["t.inserted", "acme", "101", null, {"id": 101, "tenant": "acme", "a": "y"}]),
        ]
    );
}

#[tokio::test]
async fn a_partition_watched_by_itself_is_captured_and_its_null_tenants_counted() {
    let db = Database::new().await;
    db.run(
        "create table t (id int primary key, tenant text) partition by range (id);
         create table t_low partition of t for values from (0) to (100); create table t_high partition of t default;
         select tidings.watch('t_low', tenant => 'tenant')",
    )
    .await;
    let logged = db.logs("insert into t values (1, 'acme'), (2, null), (100, 'acme')").await;
    assert_eq!(short(&logged), ["t_low.inserted 1"]);
    let counted = "select null_tenant_rows::text from tidings.watches where \"table\" = 't_low'::regclass";
    assert_eq!(db.text(counted).await, "1");
}

#[tokio::test]
async fn what_a_savepoint_undoes_in_a_partitioned_table_is_not_told() {
    let db = partitioned().await;
    let bulk = |from: i32| format!("insert into t select i, 'acme' from generate_series({from}, {}) i;", from + 1);
    let logged =
        db.logs(&format!("begin; {} savepoint s; {} rollback to s; {} commit", bulk(1), bulk(10), bulk(20))).await;
    assert_eq!(short(&logged), ["t.inserted 1", "t.inserted 2", "t.inserted 20", "t.inserted 21"]);
}

#[tokio::test]
async fn a_thousand_rows_written_through_the_root_arrive_once_each_beside_what_else_was_written() {
    let db = partitioned().await;
    db.run("create table t_high partition of t default").await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let small = |id: &str| format!("insert into documents (id, tenant_id, name) values ('{id}', 'acme', 'x');");
    db.run(&format!(
        "begin; {} insert into t select i, 'acme', 'row ' || i from generate_series(1, 1000) i; {} savepoint s;
         update t set a = 'undone'; rollback to s; {} commit",
        small("before"),
        small("after"),
        small("last")
    ))
    .await;
    db.sentinel("acme").await;
    let arrived = sse.until_sentinel().await;
    let mut expected = vec![("documents.inserted".to_owned(), "before".to_owned())];
    expected.extend((1..=1000).map(|i| ("t.inserted".to_owned(), i.to_string())));
    expected.extend(["after", "last"].map(|id| ("documents.inserted".to_owned(), id.to_owned())));
    assert_eq!(events_of(&arrived), expected);
    assert!((1..=1000).all(|i| arrived[i]["data"] == json!({"id": i, "tenant": "acme", "a": format!("row {i}")})));
}

#[tokio::test]
async fn a_copy_of_many_rows_into_a_partitioned_table_is_captured_in_order() {
    let db = partitioned().await;
    db.run("create table t_high partition of t default").await;
    let mut sink = Box::pin(db.client.copy_in::<_, bytes::Bytes>("copy t (id, tenant, a) from stdin").await.unwrap());
    let rows: String = (1..=5000).map(|i| format!("{i}\tacme\trow {i}\n")).collect();
    sink.send(rows.into()).await.unwrap();
    sink.as_mut().finish().await.unwrap();
    let logged = db.logged().await;
    let subjects: Vec<Value> = logged.iter().map(|event| event[2].clone()).collect();
    // A batch of rows goes to one partition at a time.
    assert_eq!(subjects[..99], (1..100).map(|i| json!(i.to_string())).collect::<Vec<_>>());
    assert_eq!(subjects[99..], (100..=5000).map(|i| json!(i.to_string())).collect::<Vec<_>>());
    assert_eq!(logged[4999][4], json!({"id": 5000, "tenant": "acme", "a": "row 5000"}));
}
