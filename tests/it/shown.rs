//! Events of a table that show an =expression over its row in place of its columns.

use serde_json::json;

use crate::cli::tidings;
use crate::support::{Bridge, Database, member};

const TABLE: &str = r#"id int primary key, "tenantId" text, "fileName" text, "createdAt" timestamp, secret text"#;
const SETTINGS: &str = r#"tenant => 'tenantId', columns => array['=json_build_object(''id'', id, ''file_name'', "fileName", ''created_at'', "createdAt" at time zone ''UTC'')']"#;

#[tokio::test]
async fn an_event_shows_what_an_expression_makes_of_the_row() {
    let db = Database::watched(TABLE, SETTINGS).await;
    let logged = db
        .logs(
            r#"insert into t values (1, 'acme', 'a', '2026-03-04 05:06:07', 's'); update t set "fileName" = 'b'; update t set secret = 'x';
               update t set "tenantId" = 'globex'; delete from t"#,
        )
        .await;
    let row = |name: &str| json!({"id": 1, "file_name": name, "created_at": "2026-03-04T05:06:07+00:00"});
    let expected = [
        json!(["t.inserted", "acme", "1", null, row("a")]),
        json!(["t.updated", "acme", "1", "file_name", row("b")]),
        json!(["t.deleted", "acme", "1", null, row("b")]),
        json!(["t.inserted", "globex", "1", null, row("b")]),
        json!(["t.deleted", "globex", "1", null, row("b")]),
    ];
    assert_eq!(logged, expected, "what the expression leaves out is neither shown nor a change");
}

#[tokio::test]
async fn members_that_come_and_go_are_changes() {
    let settings =
        "tenant => 'tenant', columns => array['=json_strip_nulls(json_build_object(''id'', id, ''a'', a, ''b'', b))']";
    let db = Database::watched("id int primary key, tenant text, a text, b text", settings).await;
    let logged = db.logs("insert into t values (1, 'acme', 'x'); update t set b = 'y'; update t set a = null, b = 'z'; update t set id = 2, a = 'x'").await;
    let changed: Vec<_> = logged.iter().map(|event| event[3].clone()).collect();
    assert_eq!(changed, [json!(null), json!("b"), json!("b,a"), json!("id,a")]);
}

#[tokio::test]
async fn large_statements_partitions_and_replicas_show_the_same() {
    for by in ["", "partition by list (id)"] {
        let db = Database::new().await;
        db.run(&format!("create table t ({TABLE}) {by}")).await;
        if !by.is_empty() {
            db.run("create table t_1 partition of t default").await;
        }
        db.run(&format!("select tidings.watch('t', {SETTINGS})")).await;
        for role in ["origin", "replica"] {
            let logged = db
                .logs(&format!(
                    "set session_replication_role = {role}; insert into t select i, 'acme', 'a' from generate_series(1, 70) i;
                     update t set \"fileName\" = 'b'; delete from t; reset session_replication_role"
                ))
                .await;
            assert_eq!(logged.len(), 210, "{by} {role}");
            assert_eq!(logged[70][3], "file_name");
            assert!(logged.iter().all(|event| event[4].as_object().unwrap().len() == 3), "{by} {role}");
        }
    }
}

#[tokio::test]
async fn an_expression_that_fails_fails_no_writer_and_is_counted() {
    let db = Database::watched(
        "id int primary key, tenant text, n int",
        "tenant => 'tenant', columns => array['=json_build_object(''n'', 1 / n)']",
    )
    .await;
    let logged = db.logs("insert into t values (1, 'acme', 1); insert into t values (2, 'acme', 0); insert into t values (3, 'acme', null)").await;
    assert_eq!(logged.len(), 2, "{logged:?}");
    assert_eq!(db.text("select string_agg(reason, ',') from tidings._missed").await, "22012");
    // Nothing at all is an object without members, and not an event too large to be shown.
    let db =
        Database::watched("id int primary key, tenant text", "tenant => 'tenant', columns => array['=null']").await;
    assert_eq!(db.logs("insert into t values (1, 'acme')").await[0][4], json!({}));
}

#[tokio::test]
async fn a_wrong_expression_is_refused_when_the_table_is_watched() {
    let db = Database::new().await;
    db.run(&format!("create table t ({TABLE})")).await;
    let watch = |columns: &str| format!("select tidings.watch('t', tenant => 'tenantId', {columns})");
    for (settings, message) in [
        ("columns => '{=nothing}'", "column \"nothing\" does not exist"),
        ("columns => '{=json_build_object(id),id}'", "stands alone"),
        ("columns => '{=json_build_object(id)}', except_columns => '{secret}'", "stands alone"),
        ("columns => '{id,=id}'", "no column"),
        ("columns => '{id}', only_changed => '{=id}'", "no column"),
    ] {
        let refused = db.refusal(&watch(settings)).await;
        assert!(refused.message().contains(message) && refused.hint().is_some(), "{settings}: {refused:?}");
    }
    // A column that is called so is a column.
    db.run(r#"alter table t add "=id" int"#).await;
    db.run(&watch("columns => '{=id}'")).await;
    assert_eq!(db.logs("insert into t values (1, 'acme')").await[0][4], json!({"=id": null}));
}

#[tokio::test]
async fn an_expression_survives_changes_of_the_table_around_it() {
    let db = Database::watched(TABLE, SETTINGS).await;
    let logged = db
        .logs("alter table t drop column secret; alter table t add more int; insert into t values (1, 'acme', 'a', null, 7); update t set more = 8; select tidings._refresh();
               update t set \"fileName\" = 'b'")
        .await;
    assert_eq!(logged.len(), 2, "{logged:?}");
    assert_eq!(logged[1][3], "file_name");
    assert_eq!(db.text("select status from tidings.watches where type = 't'").await, "active");
    assert_eq!(
        db.text("select coalesce(string_agg(code, ','), '') from tidings.doctor() where severity = 'error'").await,
        ""
    );
}

#[tokio::test]
async fn polling_and_preview_show_the_same_and_a_file_with_an_expression_does_not_drift() {
    let db = Database::watched(TABLE, SETTINGS).await;
    db.run("insert into t values (1, 'acme', 'a', null, 's')").await;
    let shown = json!({"id": 1, "file_name": "a", "created_at": null});
    let bridge = Bridge::start(&db).await;
    let (status, row) = bridge.get_as(&member("acme"), "/v1/tenants/acme/watched/t/1").await;
    assert_eq!((status, &row["data"]), (200, &shown));
    let preview: serde_json::Value = db
        .text(r#"select tidings.preview('t', 'update', '{"id": 1, "fileName": "a", "secret": "x"}')::text"#)
        .await
        .parse()
        .unwrap();
    assert_eq!(preview["reason"], "no watched column changes");
    let folder = tempfile("shown");
    std::fs::write(folder.join("t.sql"), format!("select * from tidings.watch('public.t', {SETTINGS});")).unwrap();
    db.run("select tidings.unwatch(\"table\") from tidings.watches where type <> 't'").await;
    let checked =
        tidings(&["triggers", "check", folder.to_str().unwrap()]).env("DATABASE_URL", &db.url).output().await.unwrap();
    assert!(checked.status.success(), "{checked:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

/// A folder of this test's own.
fn tempfile(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("tidings-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
