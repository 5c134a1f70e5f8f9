//! Every kind of table and of writer: keys, names, inheritance, foreign keys, row security, TRUNCATE, materialized views.

use serde_json::{Value, json};

use crate::support::Database;
use crate::watch::PLAIN;

/// Type and subject of logged events, as one text each.
pub fn short(events: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    events.iter().map(|event| format!("{} {}", text(&event[0]), text(&event[2]))).collect()
}

/// The same in alphabetical order, for what has no order of its own.
pub fn sorted(events: &[Value]) -> Vec<String> {
    let mut events = short(events);
    events.sort();
    events
}

#[tokio::test]
async fn rows_of_parent_and_child_tables_arrive_once_with_the_columns_of_the_parent() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    // The child has its columns in another order, and one that nobody chose to show.
    db.run("create table child (extra text default 'private', b text, tenant text, a text, id int) inherits (t); select tidings.watch('t', tenant => 'tenant')").await;
    let logged = db
        .logs(
            "insert into t values (1, 'acme'); insert into child (id, tenant) values (2, 'acme'); update t set a = 'x';
             update child set b = 'y'; update only t set b = 'z'; update child set extra = 'more'; delete from t",
        )
        .await;
    let expected =
        ["inserted 1", "inserted 2", "updated 1", "updated 2", "updated 2", "updated 1", "deleted 1", "deleted 2"];
    assert_eq!(short(&logged), expected.map(|event| format!("t.{event}")));
    assert_eq!(logged[1][4], json!({"id": 2, "tenant": "acme", "a": null, "b": null}));
    assert_eq!(logged[7][4], json!({"id": 2, "tenant": "acme", "a": "x", "b": "y"}));
}

#[tokio::test]
async fn what_foreign_keys_do_to_other_rows_is_captured() {
    let db = Database::watched("id int primary key, tenant text", "tenant => 'tenant'").await;
    db.run(
        "create table kept (id int primary key, t int references t on delete set null on update cascade, tenant text);
         create table gone (id int, t int references t on delete cascade on update cascade, tenant text, primary key (id, t)) partition by list (id);
         create table gone_20 partition of gone for values in (20);
         select tidings.watch('kept', tenant => 'tenant'), tidings.watch('gone', tenant => 'tenant');
         insert into t values (1, 'acme'); insert into kept values (10, 1, 'acme'); insert into gone values (20, 1, 'acme')",
    )
    .await;
    let renumbered = db.logs("update t set id = 2").await;
    assert_eq!(sorted(&renumbered), ["gone.updated 20,2", "kept.updated 10", "t.updated 2"]);
    assert!(renumbered.iter().filter(|event| event[0] != "t.updated").all(|event| event[3] == "t"));
    assert_eq!(sorted(&db.logs("delete from t").await), ["gone.deleted 20,2", "kept.updated 10", "t.deleted 2"]);
}

#[tokio::test]
async fn generated_and_identity_columns_are_shown_with_what_postgresql_put_there() {
    let db = Database::watched(
        "id int generated always as identity primary key, tenant text, n int, twice int generated always as (n * 2) stored",
        "tenant => 'tenant'",
    )
    .await;
    let logged = db.logs("insert into t (tenant, n) values ('acme', 4); update t set n = 5").await;
    assert_eq!(logged[0], json!(["t.inserted", "acme", "1", null, {"id": 1, "tenant": "acme", "n": 4, "twice": 8}]));
    assert_eq!(
        logged[1],
        json!(["t.updated", "acme", "1", "n,twice", {"id": 1, "tenant": "acme", "n": 5, "twice": 10}])
    );
}

#[tokio::test]
async fn names_in_quotes_and_mixed_case_are_as_good_as_others() {
    let db = Database::new().await;
    db.run(
        r#"create schema "Tenant Data"; create table "Tenant Data"."Document" ("Id" int, "tenantId" text, "it's ""key""" text, "fileName" text, primary key ("it's ""key""", "Id"));
           select tidings.watch('"Tenant Data"."Document"', tenant => 'tenantId', type => 'documents')"#,
    )
    .await;
    let logged = db
        .logs(
            r#"insert into "Tenant Data"."Document" values (1, 'acme', 'k', 'a.pdf'); update "Tenant Data"."Document" set "fileName" = 'b.pdf'"#,
        )
        .await;
    let row = |name: &str| json!({"Id": 1, "tenantId": "acme", "it's \"key\"": "k", "fileName": name});
    assert_eq!(logged[0], json!(["documents.inserted", "acme", "k,1", null, row("a.pdf")]));
    assert_eq!(logged[1], json!(["documents.updated", "acme", "k,1", "fileName", row("b.pdf")]));
    assert_eq!(db.text("select min(source) from tidings._log").await, "/Tenant Data/Document");
}

#[tokio::test]
async fn columns_may_be_called_as_the_generated_code_calls_its_own() {
    let names: Vec<&str> =
        "r t n o e m i x s new old whole data type subject audience changed changes altered tg_op moved c1 count \
                            tidings_new tidings_old logged seen mine slot eid rows missed numbered"
            .split_whitespace()
            .collect();
    let columns = names.iter().map(|name| format!("{name} int default 7")).collect::<Vec<_>>().join(", ");
    for (by, partition) in [("", ""), ("partition by list (tenant)", "create table t_0 partition of t default;")] {
        let db = Database::new().await;
        db.run(&format!("create table t (tenant text, {columns}) {by}; {partition}")).await;
        for settings in ["except_columns => null", "except_columns => '{tenant}'"] {
            db.run(&format!(
                "select tidings.watch('t', tenant => 'tenant', subject => '{{=r.r || ''-'' || changes}}', {settings})"
            ))
            .await;
            let mut row: Value =
                names.iter().map(|name| (name.to_string(), json!(7))).collect::<serde_json::Map<_, _>>().into();
            if settings.ends_with("null") {
                row["tenant"] = json!("acme");
            }
            let mut changed = row.clone();
            (changed["r"], changed["t"]) = (json!(8), json!(8));
            for rows in [1, 70] {
                let writes = format!(
                    "insert into t select 'acme' from generate_series(1, {rows}); update t set r = 8, t = 8; delete from t"
                );
                let logged = db.logs(&writes).await;
                assert_eq!(logged.len(), 3 * rows);
                assert_eq!(logged[0], json!(["t.inserted", "acme", "7-7", null, row]));
                assert_eq!(logged[rows], json!(["t.updated", "acme", "8-7", "r,t", changed]));
                assert_eq!(logged[2 * rows], json!(["t.deleted", "acme", "8-7", null, changed]));
            }
        }
    }
}

#[tokio::test]
async fn the_name_of_a_key_column_is_never_taken_for_an_expression() {
    let db = Database::new().await;
    db.run(r#"create table t ("=1/0" int primary key, tenant text); select tidings.watch('t', tenant => 'tenant')"#)
        .await;
    assert_eq!(short(&db.logs("insert into t values (7, 'acme')").await), ["t.inserted 7"]);
}

#[tokio::test]
async fn a_subject_without_a_text_is_none() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', subject => '{a,b}'").await;
    let logged =
        db.logs("insert into t values (1, 'acme', 'x', 'y'), (2, 'acme', null, 'y'), (3, 'acme', null, null)").await;
    let subjects: Vec<&Value> = logged.iter().map(|event| &event[2]).collect();
    assert_eq!(subjects, [&json!("x,y"), &json!("y"), &Value::Null]);
}

#[tokio::test]
async fn row_security_and_a_writer_without_rights_hide_nothing_from_subscribers() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', ops => '{insert,update,delete,truncate}'").await;
    let role = format!("writer_{}", db.text("select current_database()::text").await);
    db.run(&format!(
        "create role {role}; grant select, insert, update, delete, truncate on t to {role};
         alter table t enable row level security, force row level security;
         create policy theirs on t using (tenant = 'acme') with check (true)"
    ))
    .await;
    let logged = db
        .logs(&format!(
            "set role {role}; insert into t values (1, 'acme'), (2, 'globex'); update t set a = 'x'; delete from t;
             truncate t; reset role"
        ))
        .await;
    assert_eq!(
        short(&logged),
        ["t.inserted 1", "t.inserted 2", "t.updated 1", "t.deleted 1", "t.truncated -"],
        "as the writer changed them"
    );
    assert_eq!(logged[4][1], "globex");
    let denied = db.refusal(&format!("set role {role}; select * from tidings.events")).await;
    assert_eq!(denied.code(), &tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE);
}

#[tokio::test]
async fn a_truncate_is_told_once_to_each_tenant_and_audience() {
    let db = Database::watched(
        "id int primary key, tenant text, owner text",
        "tenant => 'tenant', audience => 'owner', ops => '{insert,truncate}'",
    )
    .await;
    db.run("insert into t values (1, 'acme', 'ann'), (2, 'acme', 'ann'), (3, 'acme', null), (4, 'globex', 'ann'), (5, null, 'ann')").await;
    let mut told = db.logs("truncate t").await;
    told.sort_by_key(ToString::to_string);
    let event = |tenant: &str| json!(["t.truncated", tenant, null, null, {}]);
    assert_eq!(told, [event("acme"), event("acme"), event("globex")]);
    let audiences =
        "select string_agg(concat_ws(':', tenant, audience), ' ' order by tenant, audience) from tidings._log";
    assert_eq!(db.text(audiences).await, "acme:ann acme globex:ann");
    assert!(db.logs("truncate t").await.is_empty(), "nobody loses anything");
}

#[tokio::test]
async fn a_truncate_reaches_what_it_empties_beside_the_table_it_names() {
    let db = Database::new().await;
    db.run(
        "create table t (id int primary key, tenant text) partition by range (id);
         create table t_low partition of t for values from (0) to (100); create table t_high partition of t default;
         create table child (id int references t, tenant text);
         select tidings.watch('t', tenant => 'tenant', ops => '{truncate}'), tidings.watch('child', tenant => 'tenant', ops => '{truncate}')",
    )
    .await;
    let rows = "insert into t values (1, 'acme'), (100, 'globex'); insert into child values (1, 'acme')";
    let told = async |truncate: &str| {
        let logged = db.logs(&format!("{rows}; {truncate}; delete from child; delete from t")).await;
        let mut told: Vec<String> = logged
            .iter()
            .map(|event| format!("{} {}", event[0].as_str().unwrap(), event[1].as_str().unwrap()))
            .collect();
        told.sort();
        told
    };
    assert_eq!(told("truncate t cascade").await, ["child.truncated acme", "t.truncated acme", "t.truncated globex"]);
    assert_eq!(told("truncate child").await, ["child.truncated acme"]);
    db.run("drop table child").await;
    db.run("create table child (id int, tenant text)").await;
    assert_eq!(told("truncate t_low").await, ["t.truncated acme"], "and the other partition keeps its rows");
}

#[tokio::test]
async fn a_truncate_is_told_only_where_it_was_asked_for() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    assert_eq!(short(&db.logs("insert into t values (1, 'acme'); truncate t").await), ["t.inserted 1"]);
}

#[tokio::test]
async fn refreshing_a_materialized_view_may_write_a_watched_table() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    db.run(
        "create function note() returns bigint language plpgsql as $$ begin
           insert into public.t select i, 'acme' from generate_series(1, 70) i; update public.t set a = 'x' where id = 1;
           return (select count(*) from public.t); end $$;
         create materialized view v as select public.note() as n with no data",
    )
    .await;
    let logged = db.logs("refresh materialized view v").await;
    assert_eq!((logged.len(), &short(&logged)[70]), (71, &"t.updated 1".to_owned()));
    assert_eq!(db.text("select count(*)::text from tidings._missed").await, "0");
}
