//! What the settings of a watch make of a table's changes, whatever its names and texts.

use serde_json::{Value, json};
use tokio_postgres::error::DbError;

use crate::support::{Bridge, Database, Sse, events_of, member};

impl Database {
    /// A table `t` with these columns, watched with these arguments.
    pub async fn watched(columns: &str, arguments: &str) -> Self {
        let db = Self::new().await;
        db.run(&format!("create table t ({columns}); select tidings.watch('t', {arguments})")).await;
        db
    }

    /// Everything logged, in order: type, tenant, subject, changed, data.
    pub async fn logged(&self) -> Vec<Value> {
        let sql = "select json_build_array(type, tenant, subject, changed, data)::text from tidings._log order by eid";
        let rows = self.client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect()
    }

    /// The same of one statement only.
    pub async fn logs(&self, sql: &str) -> Vec<Value> {
        self.run("truncate tidings._log").await;
        self.run(sql).await;
        self.logged().await
    }

    /// The refusal of a statement.
    pub async fn refusal(&self, sql: &str) -> DbError {
        let error = self.client.batch_execute(sql).await.expect_err(sql);
        error.as_db_error().unwrap_or_else(|| panic!("{error}")).clone()
    }
}

pub const PLAIN: &str = "id int primary key, tenant text, a text, b text";

#[tokio::test]
async fn watching_is_idempotent() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let state = "select (select array_agg((oid, tgfoid, tgenabled) order by oid) from pg_trigger where tgrelid = 't'::regclass)::text
                     || (select array_agg(proname order by oid) from pg_proc where pronamespace = 'tidings'::regnamespace)::text";
    let before = db.text(state).await;
    db.run("select tidings.watch('t', tenant => 'tenant')").await;
    assert_eq!(db.text(state).await, before);
    assert_eq!(db.logs("insert into t values (1, 'acme')").await.len(), 1);
}

#[tokio::test]
async fn watching_again_with_other_settings_changes_what_is_logged() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run("select tidings.watch('t', tenant => 'a', ops => '{update}', type => 'thing')").await;
    let logged = db.logs("insert into t values (1, 'acme', 'globex'); update t set b = 'x'; delete from t").await;
    assert_eq!(
        logged,
        [json!(["thing.updated", "globex", "1", "b", {"id": 1, "tenant": "acme", "a": "globex", "b": "x"}])]
    );
}

#[tokio::test]
async fn names_and_texts_are_data_whatever_they_hold() {
    let db = Database::new().await;
    let table = r#"public."My ""Table, 'x' %s $1; --""#;
    db.run(&format!(
        r#"create table {table} ("Te nant" text, "Key, ""%I"" $q$ $capture$" int primary key, "it's %" text, "back\slash" text, "select" text)"#
    ))
    .await;
    let watch = |table: &str| table.replace('\'', "''");
    db.run(&format!(
        r#"select tidings.watch('{}', tenant => 'Te nant', type => 'my "type''; $f$ $capture$ %')"#,
        watch(table)
    ))
    .await;
    let hostile = r#"'); drop table t; -- %s %I $$ $q$ $capture$ \ " "#;
    let sql = format!(r#"insert into {table} values ($1, 7, $1, $1, $1)"#);
    db.client.execute(&sql, &[&hostile]).await.unwrap();
    db.run(&format!(r#"update {table} set "it's %" = 'b', "select" = 'c'; delete from {table}"#)).await;
    let logged = db.logged().await;
    let names: Vec<&Value> = logged.iter().map(|event| &event[0]).collect();
    let named = |op: &str| json!(format!(r#"my "type'; $f$ $capture$ %.{op}"#));
    assert_eq!(names, [&named("inserted"), &named("updated"), &named("deleted")]);
    assert!(logged.iter().all(|event| event[1] == hostile && event[2] == "7"), "{logged:?}");
    assert_eq!(logged[1][3], "it's %,select");
    let row = json!({"Te nant": hostile, r#"Key, "%I" $q$ $capture$"#: 7, "it's %": hostile, r"back\slash": hostile, "select": hostile});
    assert_eq!(logged[0][4], row);
}

#[tokio::test]
async fn settings_with_hostile_column_names_work_like_others() {
    let db = Database::new().await;
    db.run(r#"create table t (id int, tenant text, "a b" text, "it's ""%s"", $1" text, "%" text)"#).await;
    db.run(
        r#"select tidings.watch('t', tenant => 'tenant', subject => 'it''s "%s", $1', columns => '{id,"a b","%"}',
                                except_columns => '{id}', only_changed => '{"%"}')"#,
    )
    .await;
    let logged = db
        .logs("insert into t values (1, 'acme', 'A', 'S', 'P'); update t set \"a b\" = 'B'; update t set \"%\" = 'Q'")
        .await;
    let expected = [
        json!(["t.inserted", "acme", "S", null, {"a b": "A", "%": "P"}]),
        json!(["t.updated", "acme", "S", "%", {"a b": "B", "%": "Q"}]),
    ];
    assert_eq!(logged, expected);
}

#[tokio::test]
async fn a_null_tenant_is_skipped_and_counted() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let logged = db.logs("insert into t values (1, null), (2, 'acme'), (3, null)").await;
    assert_eq!(logged.len(), 1);
    assert_eq!(
        db.text("select null_tenant_rows::text from tidings.watches where \"table\" = 't'::regclass").await,
        "2"
    );
}

#[tokio::test]
async fn a_null_tenant_is_counted_in_large_statements_too() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let logged =
        db.logs("insert into t select i, case when i > 5 then 'acme' end from generate_series(1, 100) i").await;
    assert_eq!(logged.len(), 95);
    assert_eq!(
        db.text("select null_tenant_rows::text from tidings.watches where \"table\" = 't'::regclass").await,
        "5"
    );
}

#[tokio::test]
async fn a_row_that_moves_between_tenants_leaves_one_and_enters_the_other() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let bridge = Bridge::start(&db).await;
    let mut acme = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut globex = Sse::open(&bridge, &member("globex"), "globex", "").await;
    db.run("insert into t values (1, 'acme', 'old'); update t set tenant = 'globex', a = 'new'").await;
    db.sentinel("acme").await;
    db.sentinel("globex").await;
    let (left, entered) = (acme.until_sentinel().await, globex.until_sentinel().await);
    assert_eq!(events_of(&left), [("t.inserted".into(), "1".into()), ("t.deleted".into(), "1".into())]);
    assert_eq!(left[1]["data"], json!({"id": 1, "tenant": "acme", "a": "old", "b": null}), "nothing of the new row");
    assert_eq!(events_of(&entered), [("t.inserted".into(), "1".into())]);
    assert_eq!(entered[0]["data"]["a"], "new");
}

#[tokio::test]
async fn a_row_that_gets_or_loses_its_tenant_enters_or_leaves() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let logged = db.logs("insert into t values (1); update t set tenant = 'acme'; update t set tenant = null").await;
    let short: Vec<Value> = logged.iter().map(|event| json!([event[0], event[1]])).collect();
    assert_eq!(short, [json!(["t.inserted", "acme"]), json!(["t.deleted", "acme"])]);
}

#[tokio::test]
async fn only_changed_columns_are_listed_and_an_update_without_change_is_silent() {
    let db = Database::watched(&format!("{PLAIN}, j json, p point, n numeric"), "tenant => 'tenant'").await;
    db.run("insert into t values (1, 'acme', 'x', null, '{\"a\":1}', '(1,2)', 1.0), (2, 'acme', 'x', null, null, null, null)").await;
    let changed = async |set: &str| {
        let logged = db.logs(&format!("update t set {set}")).await;
        logged
            .iter()
            .map(|event| format!("{} {}", event[2].as_str().unwrap(), event[3].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert!(changed("a = a, j = j, p = p").await.is_empty());
    assert_eq!(changed("a = 'y' where id = 1").await, ["1 a"]);
    assert_eq!(changed("a = 'y'").await, ["2 a"], "of the rows, too, only the changed");
    assert_eq!(changed("b = '', p = '(1,3)', j = '{}' where id = 1").await, ["1 b,j,p"]);
    assert_eq!(changed("b = null, n = null where id = 1").await, ["1 b,n"]);
    assert_eq!(changed("id = 3 where id = 1").await, ["3 id"], "a new key is the row's subject");
}

#[tokio::test]
async fn columns_narrow_what_is_shown_and_what_counts_as_a_change() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', columns => '{id,a}'").await;
    let logged = db
        .logs(
            "insert into t values (1, 'acme', 'x', 'secret'); update t set b = 'hidden'; update t set a = 'y', b = 'z'",
        )
        .await;
    let expected = [
        json!(["t.inserted", "acme", "1", null, {"id": 1, "a": "x"}]),
        json!(["t.updated", "acme", "1", "a", {"id": 1, "a": "y"}]),
    ];
    assert_eq!(logged, expected);
    db.run("select tidings.watch('t', tenant => 'tenant', except_columns => '{b,tenant}')").await;
    assert_eq!(
        db.logs("update t set b = 'w'; delete from t").await,
        [json!(["t.deleted", "acme", "1", null, {"id": 1, "a": "y"}])]
    );
}

#[tokio::test]
async fn only_changed_columns_named_make_an_update_an_event() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', only_changed => '{a}'").await;
    let logged =
        db.logs("insert into t values (1, 'acme', 'x'); update t set b = 'y'; update t set a = 'z', b = 'w'").await;
    let changed: Vec<&Value> = logged.iter().map(|event| &event[3]).collect();
    assert_eq!(changed, [&json!(null), &json!("a,b")]);
}

#[tokio::test]
async fn tenant_subject_and_audience_may_be_expressions_over_the_row() {
    let db = Database::new().await;
    db.run(
        "create table parents (id int primary key, tenant text); insert into parents values (1, 'acme'), (2, 'globex');
         create table t (id int primary key, parent int, owner text);
         select tidings.watch('t', tenant => '=(select p.tenant from public.parents p where p.id = parent)',
                              subject => '=''row-'' || r.id', audience => '=lower(owner)')",
    )
    .await;
    db.run("insert into t values (1, 1, 'ANN'), (2, 2, null), (3, 9, null)").await;
    let audiences = db
        .text("select string_agg(concat_ws(':', tenant, subject, audience), ' ' order by eid) from tidings._log")
        .await;
    assert_eq!(audiences, "acme:row-1:ann globex:row-2");
}

#[tokio::test]
async fn an_event_with_an_audience_follows_a_row_to_its_new_owner() {
    let db =
        Database::watched("id int primary key, tenant text, owner text", "tenant => 'tenant', audience => 'owner'")
            .await;
    db.run("insert into t values (1, 'acme', 'ann'); update t set owner = 'bob'").await;
    let told = db.text("select string_agg(type || ':' || audience, ' ' order by eid) from tidings._log").await;
    assert_eq!(told, "t.inserted:ann t.deleted:ann t.inserted:bob");
}

#[tokio::test]
async fn a_subject_is_the_primary_key_joined_with_commas_or_nothing() {
    let db = Database::watched("b text, a int, tenant text, primary key (a, b)", "tenant => 'tenant'").await;
    assert_eq!(db.logs("insert into t values ('x,y', 7, 'acme')").await[0][2], "7,x,y", "in the order of the key");
    let db = Database::watched("id int, tenant text", "tenant => 'tenant'").await;
    assert_eq!(
        db.logs("insert into t values (1, 'acme'), (1, 'acme'); update t set id = 2; delete from t").await.len(),
        6
    );
    assert!(db.logged().await.iter().all(|event| event[2].is_null()));
}

#[tokio::test]
async fn a_subject_is_a_column_an_expression_or_a_list_of_them() {
    for (subject, expected) in [("a", "x"), ("=upper(a)", "X"), ("{a,b}", "x,y"), ("{b,\"=upper(a)\"}", "y,X")] {
        let db = Database::watched(PLAIN, &format!("tenant => 'tenant', subject => '{subject}'")).await;
        db.run("insert into t values (1, 'acme', 'x', 'y')").await;
        assert_eq!(db.text("select subject from tidings._log").await, expected);
        // What is shown as in force makes the same watch again.
        let call = db.text("select tidings._watch_call(w) from tidings._watch w where relation = 't'::regclass").await;
        db.run(&call).await;
        db.run("update t set b = 'y', id = 2").await;
        assert_eq!(db.text("select subject from tidings._log order by eid desc limit 1").await, expected);
    }
}
