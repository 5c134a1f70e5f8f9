//! A table that is altered after it was watched: what was chosen to be shown stays shown, what was kept back stays so, and
//! writers notice nothing. The writers here have captured before the change, so that their sessions hold old plans.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::Database;
use crate::tables::short;

/// Both kinds of trigger.
const KINDS: [(&str, &str); 2] =
    [("", ""), ("partition by hash (id)", "create table t_0 partition of t for values with (modulus 1, remainder 0)")];

const STATUS: &str = "select status from tidings.watches where \"table\" = 't'::regclass";

/// A watched table, and a session that has inserted, updated and deleted few and many rows of it.
struct Altered {
    db: Database,
    writer: Client,
}

impl Altered {
    async fn table((by, partition): (&str, &str), arguments: &str) -> Self {
        let db = Database::new().await;
        db.run(&format!(
            "create table t (id int primary key, tenant text, a text, secret text) {by}; {partition};
             select tidings.watch('t', tenant => 'tenant', {arguments})"
        ))
        .await;
        let writer = db.connect().await;
        for rows in [1, 70] {
            let sql = format!(
                "insert into t select i, 'acme', 'a', 's' from generate_series(1, {rows}) i; update t set a = 'x', secret = 'x'; delete from t"
            );
            writer.batch_execute(&sql).await.unwrap();
        }
        assert_eq!(db.logged().await.len(), 3 * 71);
        Self { db, writer }
    }

    /// What the old session's inserts of 1 and of 70 rows log: the same of each row, but for its id, which is 0 here.
    async fn inserted(&self, columns: &str, values: &str) -> Value {
        let mut events = Vec::new();
        for rows in [1, 70] {
            self.db.run("truncate tidings._log").await;
            let sql = format!(
                "insert into t (id, {columns}) select i, {values} from generate_series(1, {rows}) i; delete from t"
            );
            self.writer.batch_execute(&sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
            let logged = self.db.logged().await;
            assert_eq!(logged.len(), 2 * rows, "{columns}: {logged:?}");
            events.extend(logged.into_iter().filter(|event| event[0] == "t.inserted"));
        }
        for event in &mut events {
            let subject = event[2].as_str().unwrap().to_owned();
            assert_eq!(event[4]["id"].to_string(), subject);
            event[4]["id"] = json!(0);
            assert_eq!((&event[1], &event[4]), (&json!("acme"), &event[4]));
        }
        assert!(events.iter().all(|event| event[4] == events[0][4]));
        events[0][4].clone()
    }
}

/// Watches, alters, and expects this of the rows that are inserted then: at once, and after the watch was refreshed.
async fn expect(arguments: &str, alter: &str, (columns, values): (&str, &str), expected: Value) {
    for kind in KINDS {
        let altered = Altered::table(kind, arguments).await;
        altered.db.run(alter).await;
        assert_eq!(altered.inserted(columns, values).await, expected, "{alter} {kind:?}");
        altered.db.text("select coalesce(string_agg(r, ','), '') from tidings._refresh() r").await;
        assert_eq!(altered.db.text(STATUS).await, "active", "{alter} {kind:?}");
        assert_eq!(altered.inserted(columns, values).await, expected, "{alter} {kind:?}, refreshed");
        assert_eq!(altered.db.text("select count(*)::text from tidings._missed").await, "0");
    }
}

#[tokio::test]
async fn a_dropped_column_is_shown_no_more() {
    expect(
        "type => 't'",
        "alter table t drop column a",
        ("tenant, secret", "'acme', 's'"),
        json!({"id": 0, "tenant": "acme", "secret": "s"}),
    )
    .await;
    expect("columns => '{id,a}'", "alter table t drop column a", ("tenant", "'acme'"), json!({"id": 0})).await;
}

#[tokio::test]
async fn a_renamed_column_is_shown_under_its_new_name() {
    let renamed = "alter table t rename a to b";
    expect("columns => '{id,a}'", renamed, ("tenant, b", "'acme', 'x'"), json!({"id": 0, "b": "x"})).await;
    expect("except_columns => '{secret,tenant}'", renamed, ("tenant, b", "'acme', 'x'"), json!({"id": 0, "b": "x"}))
        .await;
}

#[tokio::test]
async fn an_added_column_is_shown_where_all_are() {
    let added = "alter table t add column b int default 7";
    expect(
        "type => 't'",
        added,
        ("tenant", "'acme'"),
        json!({"id": 0, "tenant": "acme", "a": null, "secret": null, "b": 7}),
    )
    .await;
    expect("columns => '{id,a}'", added, ("tenant", "'acme'"), json!({"id": 0, "a": null})).await;
    let chosen = json!({"id": 0, "tenant": "acme", "a": null, "secret": null});
    expect("columns => '{id,tenant,a,secret}'", added, ("tenant", "'acme'"), chosen).await;
}

#[tokio::test]
async fn a_column_of_another_type_is_shown_as_that() {
    let number = "alter table t alter column a type int using 5";
    expect("columns => '{id,a}'", number, ("tenant, a", "'acme', 6"), json!({"id": 0, "a": 6})).await;
}

#[tokio::test]
async fn a_column_of_another_type_is_spelled_alike_by_every_session_once_refreshed() {
    for kind in KINDS {
        let altered = Altered::table(kind, "columns => '{id,a}'").await;
        altered.db.run("alter table t alter column a type bytea using null").await;
        assert_eq!(altered.db.text(STATUS).await, "table altered");
        altered.db.run("select tidings._refresh()").await;
        altered.writer.batch_execute("set bytea_output = escape").await.unwrap();
        assert_eq!(altered.inserted("tenant, a", r"'acme', '\x00ff'").await, json!({"id": 0, "a": "\\x00ff"}));
    }
}

#[tokio::test]
async fn a_tenant_column_is_followed_under_its_new_name() {
    let renamed = "alter table t rename tenant to customer";
    expect("columns => '{id,a}'", renamed, ("customer, a", "'acme', 'x'"), json!({"id": 0, "a": "x"})).await;
}

#[tokio::test]
async fn a_column_kept_back_is_never_shown_whatever_it_is_called_later() {
    let kept = "except_columns => '{secret,tenant}'";
    let renamed = "alter table t rename secret to open";
    expect(kept, renamed, ("tenant, a, open", "'acme', 'x', 's'"), json!({"id": 0, "a": "x"})).await;
    let swapped = "alter table t rename a to b; alter table t rename secret to a; alter table t rename b to secret";
    expect(kept, swapped, ("tenant, a, secret", "'acme', 's', 'x'"), json!({"id": 0})).await;
    let replaced = "alter table t rename secret to open; alter table t add column secret text";
    expect(kept, replaced, ("tenant, a, open, secret", "'acme', 'x', 's', 's'"), json!({"id": 0, "a": "x"})).await;
}

#[tokio::test]
async fn a_column_kept_back_is_not_shown_when_it_is_dropped_and_comes_again() {
    for kind in KINDS {
        let altered = Altered::table(kind, "except_columns => '{secret,tenant}'").await;
        altered.db.run("alter table t drop column secret").await;
        altered.db.run("select tidings._refresh()").await;
        altered.db.run("alter table t add column secret int default 7").await;
        for _ in 0..2 {
            assert_eq!(altered.inserted("tenant, a", "'acme', 'x'").await, json!({"id": 0, "a": "x"}), "{kind:?}");
            altered.db.run("select tidings._refresh()").await;
        }
    }
}

#[tokio::test]
async fn a_column_not_chosen_is_never_shown_under_the_name_of_one_that_was() {
    let swapped = "alter table t rename a to b; alter table t rename secret to a; alter table t rename b to secret";
    expect("columns => '{id,a}'", swapped, ("tenant, a, secret", "'acme', 's', 'x'"), json!({"id": 0, "secret": "x"}))
        .await;
}

#[tokio::test]
async fn an_update_tells_what_changed_under_the_names_of_today() {
    for kind in KINDS {
        let altered = Altered::table(kind, "only_changed => '{a}'").await;
        altered.db.run("alter table t rename a to b; alter table t drop column secret; insert into t select i, 'acme', 'x' from generate_series(1, 70) i").await;
        altered.db.run("truncate tidings._log").await;
        let sql = "update t set b = 'y' where id = 1; update t set tenant = tenant; update t set b = 'z' where id > 1";
        altered.writer.batch_execute(sql).await.unwrap();
        let logged = altered.db.logged().await;
        assert_eq!(logged.len(), 70, "{kind:?}");
        assert!(logged.iter().all(|event| event[0] == "t.updated" && event[3] == "b"), "{logged:?}");
    }
}

#[tokio::test]
async fn a_dropped_tenant_column_costs_the_events_and_no_writer() {
    for (kind, failures) in KINDS.into_iter().zip(["3", "72"]) {
        let altered = Altered::table(kind, "columns => '{id,a}'").await;
        altered.db.run("alter table t drop column tenant; truncate tidings._log").await;
        altered.writer.batch_execute("insert into t values (0); insert into t select generate_series(1, 70); update t set a = 'x' where id = 0").await.unwrap();
        assert!(altered.db.logged().await.is_empty());
        altered.db.run("select tidings._refresh()").await;
        assert_eq!(altered.db.text(STATUS).await, "table altered", "it cannot be followed");
        let counted = "select failures::text from tidings.watches where \"table\" = 't'::regclass";
        assert_eq!(altered.db.text(counted).await, failures, "{kind:?}");
        altered.db.run("delete from t; alter table t add column tenant text default 'acme'; select tidings.watch('t', tenant => 'tenant')").await;
        assert_eq!(altered.db.text(STATUS).await, "active");
        assert_eq!(altered.inserted("a", "'x'").await, json!({"id": 0, "a": "x", "secret": null, "tenant": "acme"}));
    }
}

#[tokio::test]
async fn a_renamed_table_stays_watched() {
    for kind in KINDS {
        let altered = Altered::table(kind, "columns => '{id,a}'").await;
        altered
            .db
            .run("create schema archive; alter table t set schema archive; alter table archive.t rename to old_t")
            .await;
        let sql = "insert into archive.old_t values (1, 'acme', 'x'); update archive.old_t set a = 'y'; delete from archive.old_t";
        for source in ["/public/t", "/archive/old_t"] {
            assert_eq!(short(&altered.db.logs(sql).await), ["t.inserted 1", "t.updated 1", "t.deleted 1"], "{kind:?}");
            assert_eq!(altered.db.text("select string_agg(distinct source, ',') from tidings._log").await, source);
            altered.db.run("select tidings._refresh()").await;
        }
        let told = "select status || ' ' || (last_event_at is not null) from tidings.watches where \"table\" = 'archive.old_t'::regclass";
        assert_eq!(altered.db.text(told).await, "active true");
    }
}

#[tokio::test]
async fn a_dropped_table_is_forgotten() {
    for kind in KINDS {
        let db = Altered::table(kind, "type => 't'").await.db;
        let left = "select (select count(*) from tidings._watch where name = 'public.t')::text || (select count(*) from pg_proc where proname ~ '^_t_.*_(insert|update|delete|row)$')";
        assert_ne!(db.text(left).await, "00");
        db.run("drop table t").await;
        assert_eq!(
            db.text("select status from tidings.watches where \"table\"::text ~ '^[0-9]'").await,
            "table dropped"
        );
        assert_eq!(
            db.text("select r from tidings._refresh() r").await,
            "public.t was dropped and is no longer watched"
        );
        assert_eq!(db.text(left).await, "00");
    }
}

#[tokio::test]
async fn a_table_created_anew_under_a_watched_name_is_watched_anew() {
    for kind in KINDS {
        let db = Altered::table(kind, "columns => '{id,a}'").await.db;
        db.run("drop table t; create table t (id int primary key, tenant text)").await;
        assert!(db.logs("insert into t values (1, 'acme')").await.is_empty(), "a namesake is another table");
        db.run("select tidings.watch('t', tenant => 'tenant')").await;
        let logged = db
            .logs("insert into t values (2, 'acme'); select tidings._refresh(); insert into t values (3, 'acme')")
            .await;
        assert_eq!(short(&logged), ["t.inserted 2", "t.inserted 3"]);
        assert_eq!(db.text("select string_agg(status, ',') from tidings.watches where type = 't'").await, "active");
    }
}
