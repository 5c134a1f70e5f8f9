//! `tidings triggers new`: a file for a table, from its columns, fit to be applied.

use serde_json::json;

use crate::cli::{on, stdout};
use crate::support::Database;
use crate::triggers_cli::{Folder, code, error, orders};

/// Drafts a file; its path and text.
async fn draft(db: &Database, table: &str, folder: &Folder) -> (String, String) {
    let path = stdout(&on(db, &["triggers", "new", table, "--dir", folder.path()]).await);
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

/// Applies the folder, and checks that there is no difference then.
async fn apply(db: &Database, folder: &Folder) {
    stdout(&on(db, &["triggers", "apply", folder.path()]).await);
    stdout(&on(db, &["triggers", "check", folder.path()]).await);
}

#[tokio::test]
async fn a_drafted_file_applies_and_its_table_makes_events_without_secrets() {
    let db = orders().await;
    db.run("create table cases (id int primary key, tenant_id text not null, title text, password_hash text)").await;
    let folder = Folder::with(&[]);
    let (path, text) = draft(&db, "cases", &folder).await;
    assert!(path.ends_with("/cases.sql"));
    for line in [
        "-- Cases: each row that is inserted, updated or deleted is an event of its tenant.",
        "-- Undo:   select tidings.unwatch('public.cases');",
        "-- Tenant: tenant_id, guessed from its name.",
        "select * from tidings.watch('public.cases', tenant => 'tenant_id', except_columns => '{password_hash}');",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    apply(&db, &folder).await;
    let logged = db.logs("insert into cases values (1, 'acme', 'T', 'S')").await;
    assert_eq!(logged, [json!(["cases.inserted", "acme", "1", null, {"id": 1, "tenant_id": "acme", "title": "T"}])]);
}

#[tokio::test]
async fn names_in_mixed_case_are_found_with_quotes_and_without() {
    let db = orders().await;
    db.run(r#"create table "Case" (id text primary key, "tenantId" text, "updatedAt" timestamptz)"#).await;
    let folder = Folder::with(&[]);
    let (path, text) = draft(&db, r#"public."Case""#, &folder).await;
    assert!(path.ends_with("/Case.sql"));
    assert!(text.contains(r#"tidings.watch('public."Case"', tenant => 'tenantId');"#), "{text}");
    assert!(text.contains("Rows where it is NULL make no event"), "{text}");
    for name in ["Case", "public.Case", r#""Case""#] {
        stdout(&on(&db, &["triggers", "new", name, "--dir", folder.path(), "--force"]).await);
    }
    apply(&db, &folder).await;
    assert_eq!(db.logs(r#"insert into "Case" values ('c1', 'acme')"#).await[0][0], "Case.inserted");
}

#[tokio::test]
async fn a_tenant_is_found_through_a_foreign_key() {
    let db = orders().await;
    db.run(
        r#"create schema "My App"; create table "My App"."Blog" ("Id" int primary key, "tenantId" text not null);
           create table "My App".posts (id int primary key, "Id" int not null references "My App"."Blog", text text);
           insert into "My App"."Blog" values (7, 'acme')"#,
    )
    .await;
    let folder = Folder::with(&[]);
    let (path, text) = draft(&db, r#""My App".posts"#, &folder).await;
    assert!(path.ends_with("/My_App.posts.sql"));
    let expression = r#"tenant => '=(select p."tenantId" from "My App"."Blog" p where p."Id" = r."Id")'"#;
    assert!(text.contains(expression), "{text}");
    apply(&db, &folder).await;
    assert_eq!(db.logs(r#"insert into "My App".posts values (1, 7)"#).await[0][1], "acme");
}

#[tokio::test]
async fn where_no_tenant_is_found_the_file_says_so_and_is_refused_until_it_is_filled_in() {
    let db = orders().await;
    db.run("create table notes (text text)").await;
    let folder = Folder::with(&[]);
    let output = on(&db, &["triggers", "new", "notes", "--dir", folder.path()]).await;
    let path = stdout(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("to be filled in"), "{output:?}");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("-- Subject: none, since the table has no primary key"), "{text}");
    let refused = on(&db, &["triggers", "apply", folder.path()]).await;
    assert_eq!(code(&refused), 1);
    assert!(error(&refused).contains("has no column \"FILL IN"), "{refused:?}");
    std::fs::write(&path, text.replace("FILL IN: how the tenant is found", "text")).unwrap();
    apply(&db, &folder).await;
}

#[tokio::test]
async fn a_table_with_hostile_names_can_be_drafted_and_applied() {
    let db = orders().await;
    let table = "\"../x'); drop table orders; --\n, \"\"\\ $$\"";
    db.run(&format!(
        "create table {table} (\"i'd \\\" int primary key, \"tenant-id\" text, \"api key \"\"\n'\\,{{}}\" text)"
    ))
    .await;
    let folder = Folder::with(&[]);
    let (path, text) = draft(&db, table, &folder).await;
    assert_eq!(std::path::Path::new(&path).parent().unwrap(), folder.0);
    assert!(text.lines().take(8).all(|line| line.starts_with("--")), "{text}");
    apply(&db, &folder).await;
    assert_eq!(db.text("select count(*)::text from tidings.watches").await, "1");
    let logged = db.logs(&format!("insert into {table} values (1, 'acme', 'secret')")).await;
    assert_eq!((&logged[0][1], &logged[0][4]), (&json!("acme"), &json!({"i'd \\": 1, "tenant-id": "acme"})));
    let list = stdout(&on(&db, &["triggers", "list"]).await);
    assert_eq!(list.lines().count(), 2, "{list}");
}

#[tokio::test]
async fn a_file_that_is_there_is_replaced_only_by_force() {
    let db = orders().await;
    let folder = Folder::with(&[("orders.sql", "-- mine")]);
    let arguments = ["triggers", "new", "orders", "--dir", folder.path(), "--force"];
    let refused = on(&db, &arguments[..5]).await;
    assert_eq!(code(&refused), 1);
    assert!(error(&refused).contains("--force"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(folder.0.join("orders.sql")).unwrap(), "-- mine");
    stdout(&on(&db, &arguments).await);
    assert!(std::fs::read_to_string(folder.0.join("orders.sql")).unwrap().contains("tidings.watch("));
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_what_to_do() {
    let db = orders().await;
    db.run(
        "create view open_orders as select * from orders;
         create table parts (id int, tenant_id text) partition by list (id); create table parts_1 partition of parts for values in (1);
         create schema one; create schema two; create table one.twin (); create table two.twin ()",
    )
    .await;
    let folder = Folder::with(&[]);
    for (table, hint) in [
        ("order", "did you mean public.orders?"),
        ("public.ordres", "did you mean public.orders?"),
        ("open_orders", "behind a view"),
        ("parts_1", "tidings triggers new parts"),
        ("twin", "one.twin, two.twin"),
        ("no such'\" table", "write it as in SQL"),
        ("tidings._log", "not a table that can be watched"),
    ] {
        let refused = on(&db, &["triggers", "new", table, "--dir", folder.path()]).await;
        assert_eq!(code(&refused), 1, "{table}");
        assert!(error(&refused).contains(hint), "{table}: {refused:?}");
    }
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0, "nothing was written");
}
