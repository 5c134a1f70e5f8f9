//! `tidings triggers check`: where files and database differ, both ways, and what mends it.

use serde_json::{Value, json};

use crate::cli::{on, stdout};
use crate::support::Database;
use crate::triggers_cli::{Folder, ORDERS, code, error, orders};

/// The differences, each as told and with the member `fix`; exit code 1 exactly when there are any.
async fn drift(db: &Database, folder: &Folder) -> Vec<Value> {
    let output = on(db, &["triggers", "check", folder.path(), "--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(report["failed"], json!([]), "{report}");
    let drift = report["drift"].as_array().unwrap().clone();
    assert_eq!(code(&output), i32::from(!drift.is_empty()), "{output:?}");
    drift
}

/// Kinds and sentences, without the folder's path.
fn told(drift: &[Value], folder: &Folder) -> Vec<String> {
    let line = |drift: &Value| format!("{}: {}", drift["what"].as_str().unwrap(), drift["message"].as_str().unwrap());
    drift.iter().map(|drift| line(drift).replace(&format!("{}/", folder.path()), "")).collect()
}

async fn apply(db: &Database, folder: &Folder) {
    stdout(&on(db, &["triggers", "apply", folder.path()]).await);
}

#[tokio::test]
async fn after_apply_there_is_no_difference() {
    let db = Database::new().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/triggers");
    stdout(&on(&db, &["triggers", "apply", folder]).await);
    let clean = stdout(&on(&db, &["triggers", "check", folder]).await);
    assert!(clean.contains("no difference"), "{clean}");
}

#[tokio::test]
async fn a_setting_changed_in_the_database_is_told_until_it_is_applied_again() {
    let db = orders().await;
    let sql = "select * from tidings.watch('public.orders', tenant => 'tenant_id', except_columns => '{b,a}', ops => '{update,insert}');";
    let folder = Folder::with(&[("orders.sql", sql)]);
    apply(&db, &folder).await;
    db.run("select tidings.watch('orders', tenant => 'tenant_id', except_columns => '{a,b}', ops => '{insert,update}', type => 'orders')").await;
    assert!(drift(&db, &folder).await.is_empty(), "order and defaults are no difference");
    db.run("select tidings.watch('orders', tenant => 'tenant_id', except_columns => '{a}', ops => '{insert,update}', audience => 'status')").await;
    let found = drift(&db, &folder).await;
    assert_eq!(
        told(&found, &folder),
        [
            "setting: except_columns is {a} in the database, {b,a} in orders.sql",
            "setting: audience is status in the database, not set in orders.sql",
        ]
    );
    assert_eq!((&found[0]["in_database"], &found[0]["table"]), (&json!(["a"]), &json!("public.orders")));
    let output = on(&db, &["triggers", "check", folder.path()]).await;
    assert_eq!((code(&output), String::from_utf8_lossy(&output.stdout).lines().count()), (1, 2));
    assert!(error(&output).contains("hint: `tidings triggers apply "), "{output:?}");
    apply(&db, &folder).await;
    assert!(drift(&db, &folder).await.is_empty());
}

#[tokio::test]
async fn a_table_that_a_file_watches_and_the_database_does_not_is_told() {
    let db = orders().await;
    let folder = Folder::with(&[("orders.sql", ORDERS)]);
    assert_eq!(told(&drift(&db, &folder).await, &folder), ["not_watched: not watched, but orders.sql watches it"]);
}

#[tokio::test]
async fn a_table_that_no_file_watches_is_told_with_the_call_that_watches_it_so() {
    let db = orders().await;
    db.run(
        r#"create table "It's, a ""T\able" (id int, "te nant" text, "x,y" text, "{z}" text);
           select tidings.watch('"It''s, a ""T\able"', tenant => '=lower(r."te nant" || ''\'')', except_columns => '{"x,y"}',
             only_changed => '{"{z}"}', subject => '{id,"te nant"}', ops => '{insert,truncate}', type => 'a "thing"', notify => false, strict => true)"#,
    )
    .await;
    let folder = Folder::with(&[("orders.sql", ORDERS)]);
    apply(&db, &folder).await;
    let found = drift(&db, &folder).await;
    assert_eq!(told(&found, &folder), ["in_no_file: watched in the database, in no file"]);
    folder.write("other.sql", found[0]["fix"].as_str().unwrap());
    assert!(drift(&db, &folder).await.is_empty(), "{found:?}");
}

#[tokio::test]
async fn triggers_that_are_missing_or_disabled_are_told() {
    let db = orders().await;
    let folder = Folder::with(&[("orders.sql", ORDERS)]);
    apply(&db, &folder).await;
    db.run("drop trigger tidings_insert on orders; alter table orders disable trigger tidings_update").await;
    assert_eq!(
        told(&drift(&db, &folder).await, &folder),
        [
            "trigger: trigger tidings_insert on public.orders is missing",
            "trigger: trigger tidings_update on public.orders is disabled"
        ]
    );
    apply(&db, &folder).await;
    assert!(drift(&db, &folder).await.is_empty());
}

#[tokio::test]
async fn a_paused_table_is_told_with_what_resumes_it() {
    let db = orders().await;
    let folder = Folder::with(&[("orders.sql", ORDERS)]);
    apply(&db, &folder).await;
    db.run("select tidings.pause('orders')").await;
    let found = drift(&db, &folder).await;
    assert!(told(&found, &folder)[0].starts_with("paused: paused since 2"), "{found:?}");
    db.run(found[0]["fix"].as_str().unwrap()).await;
    assert!(drift(&db, &folder).await.is_empty());
}

#[tokio::test]
async fn tables_that_were_altered_or_dropped_are_told() {
    let db = orders().await;
    let folder = Folder::with(&[("orders.sql", ORDERS)]);
    apply(&db, &folder).await;
    db.run("alter table orders add c text; create table gone (id int, tenant text); select tidings.watch('gone', tenant => 'tenant'); drop table gone")
        .await;
    let found = drift(&db, &folder).await;
    assert_eq!(
        told(&found, &folder),
        [
            "table_altered: the table was altered since it was watched",
            "table_dropped: the table was dropped, and its watch is still there"
        ]
    );
    assert_eq!(found[1]["table"], "public.gone");
    db.run(found[1]["fix"].as_str().unwrap()).await;
    apply(&db, &folder).await;
    assert!(drift(&db, &folder).await.is_empty());
}

#[tokio::test]
async fn a_table_in_two_files_is_told_where_they_disagree() {
    let db = orders().await;
    let folder = Folder::with(&[("a.sql", ORDERS), ("b.sql", ORDERS)]);
    apply(&db, &folder).await;
    assert!(drift(&db, &folder).await.is_empty(), "they agree");
    folder.write("a.sql", "select * from tidings.watch('orders', tenant => 'status');");
    assert_eq!(
        told(&drift(&db, &folder).await, &folder),
        ["in_two_files: tenant is status in a.sql, tenant_id in b.sql"]
    );
}

#[tokio::test]
async fn a_file_that_fails_fails_the_check_and_its_table_is_not_said_to_be_in_no_file() {
    let db = orders().await;
    db.run("create table items (id int, tenant_id text); select tidings.watch('items', tenant => 'tenant_id'), tidings.watch('orders', tenant => 'tenant_id')")
        .await;
    let folder = Folder::with(&[("orders.sql", "select * from tidings.watch('Orders', tenant => 'tenat_id');")]);
    let output = on(&db, &["triggers", "check", folder.path(), "--json"]).await;
    assert_eq!(code(&output), 1);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["failed"][0]["error"].as_str().unwrap().contains("tenat_id"), "{report}");
    let drift: Vec<&Value> = report["drift"].as_array().unwrap().iter().map(|drift| &drift["table"]).collect();
    assert_eq!(drift, ["public.items"]);
}
