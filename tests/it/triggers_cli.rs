//! `tidings triggers apply` and `list`: files that say what is watched, and what comes of them.

use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::cli::{on, stdout};
use crate::support::Database;

/// A folder of files, gone at the end of the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn with(files: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidings-triggers-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = Self(std::env::temp_dir().join(name));
        std::fs::create_dir(&folder.0).unwrap();
        for (name, sql) in files {
            folder.write(name, sql);
        }
        folder
    }

    pub fn write(&self, name: &str, sql: &str) {
        std::fs::write(self.0.join(name), sql).unwrap();
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A database that watches nothing, with the table `orders`.
pub async fn orders() -> Database {
    let db = Database::new().await;
    db.run(
        "select tidings.unwatch(\"table\") from tidings.watches;
         create table orders (id int primary key, tenant_id text not null, status text, a text, b text)",
    )
    .await;
    db
}

pub const ORDERS: &str = "select * from tidings.watch('public.orders', tenant => 'tenant_id');";

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// What went to stderr, which must be one line.
pub fn error(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap().trim().to_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// Everything that watching writes: settings, triggers with their state, functions with their text.
pub const WATCHED: &str = "select concat_ws(' ', (select json_agg(w order by capture) from tidings._watch w),
    (select json_agg(json_build_array(tgname, tgrelid, tgenabled, oid) order by oid) from pg_trigger where tgname like 'tidings%'),
    (select json_agg(json_build_array(proname, md5(prosrc)) order by oid) from pg_proc where pronamespace = 'tidings'::regnamespace))";

#[tokio::test]
async fn a_dry_run_tells_what_applying_would_change() {
    let db = orders().await;
    db.run("create table items (id int primary key, tenant_id text); select tidings.watch('items', tenant => 'tenant_id', except_columns => '{id}')")
        .await;
    let folder = Folder::with(&[
        (
            "items.sql",
            "select * from tidings.watch('public.items', tenant => 'tenant_id', ops => '{insert}', strict => true);",
        ),
        ("orders.sql", ORDERS),
    ]);
    let dry = ["triggers", "apply", folder.path(), "--dry-run"];
    let before = db.text(WATCHED).await;
    let told = stdout(&on(&db, &dry).await);
    let lines: Vec<&str> = told.lines().map(|line| line.rsplit_once(".sql: ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "public.items: except_columns: {id} → not set; ops: {insert,update,delete} → {insert}; strict: false → true; \
             drop tidings_delete; replace tidings_row; drop tidings_update",
            "public.orders: would be watched, tenant tenant_id; attach tidings_delete; attach tidings_insert; attach tidings_row; \
             attach tidings_update",
        ]
    );
    let list: Value = serde_json::from_str(&stdout(&on(&db, &[&dry[..], &["--json"]].concat()).await)).unwrap();
    assert_eq!(list[0]["changes"][0]["settings"]["ops"]["to"], json!(["insert"]));
    assert_eq!((&list[1]["changes"][0]["new"], &list[1]["watched"][0]["ops"][2]), (&json!(true), &json!("delete")));
    assert_eq!(db.text(WATCHED).await, before, "nothing was changed");

    stdout(&on(&db, &dry[..3]).await);
    let told = stdout(&on(&db, &dry).await);
    assert!(told.lines().all(|line| line.ends_with(": nothing to do")), "{told}");
}

#[tokio::test]
async fn a_dry_run_and_a_check_change_nothing_and_wait_for_no_writer() {
    let db = orders().await;
    db.run(
        "create table items (id int primary key, tenant_id text); select tidings.watch('items', tenant => 'tenant_id')",
    )
    .await;
    let folder = Folder::with(&[
        (
            "items.sql",
            "select * from tidings.watch('public.items', tenant => 'tenant_id', ops => '{insert,truncate}');",
        ),
        ("orders.sql", ORDERS),
    ]);
    let before = db.text(WATCHED).await;
    db.run("begin; insert into items values (1, 'acme'); insert into orders values (1, 'acme'); lock table orders in share row exclusive mode").await;
    let dry = on(&db, &["triggers", "apply", folder.path(), "--dry-run"]).await;
    let check = on(&db, &["triggers", "check", folder.path()]).await;
    db.run("rollback").await;
    assert_eq!((code(&dry), code(&check)), (0, 1), "{dry:?} {check:?}");
    assert!(error(&check).contains("differences"), "{check:?}");
    assert_eq!(db.text(WATCHED).await, before);
}

#[tokio::test]
async fn a_file_that_does_more_than_select_is_refused_in_a_dry_run_and_applied_without() {
    let db = orders().await;
    let folder = Folder::with(&[("orders.sql", &format!("{ORDERS}\n  create table more ();"))]);
    let dry = on(&db, &["triggers", "apply", folder.path(), "--dry-run"]).await;
    assert_eq!(code(&dry), 1);
    let told = error(&dry);
    assert!(
        told.contains("does more than select") && told.contains("CREATE TABLE") && told.contains("hint: "),
        "{told}"
    );
    stdout(&on(&db, &["triggers", "apply", folder.path()]).await);
    assert_eq!(db.text("select string_agg(\"table\"::text, '') from tidings.watches").await, "orders");
}

#[tokio::test]
async fn a_file_that_commits_escapes_no_dry_run_and_is_told_when_it_is_applied() {
    let db = orders().await;
    let folder = Folder::with(&[("orders.sql", &format!("begin; {ORDERS} commit; create table escaped ();"))]);
    for arguments in [&["--dry-run"][..], &[]] {
        let refused = on(&db, &[&["triggers", "apply", folder.path()], arguments].concat()).await;
        assert_eq!(code(&refused), 1);
        assert!(error(&refused).contains("ends the transaction"), "{refused:?}");
        let there = db.text("select (to_regclass('escaped') is not null)::text").await;
        assert_eq!(there == "true", arguments.is_empty(), "a dry run wrote");
    }
}

#[tokio::test]
async fn a_mistake_is_told_with_its_place_and_keeps_no_other_file_from_being_applied() {
    let db = orders().await;
    let folder = Folder::with(&[
        ("a.sql", "-- one\nselect nonsense;"),
        ("b.sql", "select * from tidings.watch('public.orders', tenant => 'tenat_id');"),
        ("c.sql", "select tidings.watch('public.orders', tenant => 'tenant_id', except_columns => '{a,\"b\"}');"),
    ]);
    for arguments in [&["--dry-run", "--json"][..], &["--json"]] {
        let output = on(&db, &[&["triggers", "apply", folder.path()], arguments].concat()).await;
        assert_eq!(code(&output), 1);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(errors.lines().count(), 2, "{errors}");
        assert!(errors.contains("a.sql:2:8: ") && errors.contains("did you mean \"tenant_id\"?"), "{errors}");
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(list[2]["watched"][0]["except_columns"], json!(["a", "b"]), "{list}");
    }
    assert_eq!(db.text("select status from tidings.watches").await, "active");
}

#[tokio::test]
async fn what_is_watched_is_listed_on_100_columns() {
    let db = Database::new().await;
    let long = "a_table_whose_name_is_as_long_as_postgresql_takes_and_nobody_types";
    db.run(&format!(
        "create table {long} (id int primary key, tenant_id text);
         select tidings.watch('{long}', tenant => '=(select u.tenant_id from public.users u where u.id = r.id::text)', ops => '{{insert,truncate}}');
         select tidings.pause('{long}');
         create table orders (id int primary key, tenant_id text); select tidings.watch('orders', tenant => 'tenant_id', type => 'order');
         insert into orders values (1, 'acme'), (2, null)"
    ))
    .await;
    let told = stdout(&on(&db, &["triggers", "list"]).await);
    assert!(told.lines().all(|line| line.chars().count() <= 100), "{told}");
    let cells = |start: &str| -> Vec<String> {
        let line = told.lines().find(|line| line.starts_with(start)).unwrap();
        line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
    };
    let orders = cells("public.orders");
    assert_eq!([&orders[1..5], &orders[6..]].concat(), ["active", "tenant_id", "iud", "order", "1", "0"], "{told}");
    assert!(orders[5].ends_with("s ago"), "{told}");
    assert_eq!(cells("public.a_table")[1], "paused");
    let list: Value = serde_json::from_str(&stdout(&on(&db, &["triggers", "list", "--json"]).await)).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 6);
    let orders = list.as_array().unwrap().iter().find(|watch| watch["table"] == "public.orders").unwrap();
    assert_eq!((&orders["null_tenant_rows"], &orders["ops"]), (&json!(1), &json!(["insert", "update", "delete"])));
}

#[tokio::test]
async fn without_schema_or_database_it_is_told_what_to_do() {
    let db = Database::new().await;
    db.run("drop schema tidings cascade").await;
    let folder = Folder::with(&[("orders.sql", ORDERS)]);
    for arguments in
        [&["check", folder.path()][..], &["list"], &["apply", folder.path()], &["apply", folder.path(), "--dry-run"]]
    {
        let output = on(&db, &[&["triggers"], arguments].concat()).await;
        assert_eq!(code(&output), 1);
        assert!(error(&output).contains("tidings migrate"), "{output:?}");
    }
    let nowhere = crate::cli::tidings(&["triggers", "list"]).output().await.unwrap();
    assert_eq!(code(&nowhere), 64);
    let usage = crate::cli::tidings(&["triggers", "aply"]).output().await.unwrap();
    assert_eq!(code(&usage), 2);
}

#[tokio::test]
async fn a_file_may_call_watch_in_any_way_and_select_other_things() {
    let db = orders().await;
    db.run("create table items (id int primary key, tenant_id text)").await;
    let both = "select tidings.watch('orders', tenant => 'tenant_id'), tidings.watch('items', tenant => 'tenant_id');
                select 1 as watch; select 'x' as \"table\", 'y' as tenant; select count(*) from orders;";
    let folder = Folder::with(&[("both.sql", both)]);
    let told = stdout(&on(&db, &["triggers", "apply", folder.path()]).await);
    assert_eq!(told.lines().count(), 2, "{told}");
    let check = on(&db, &["triggers", "check", folder.path()]).await;
    assert_eq!(code(&check), 0, "{check:?}");
}
