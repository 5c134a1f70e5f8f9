//! Writes that PostgreSQL makes by other ways than a client's statement: applied by replication, or committed in two phases.

use serde_json::json;

use crate::support::{Bridge, Database, Sse, events_of, eventually, member};
use crate::tables::short;
use crate::watch::PLAIN;

#[tokio::test]
async fn rows_applied_by_logical_replication_arrive_once_each() {
    let publisher = Database::new().await;
    let tables = format!(
        "create table t ({PLAIN}); create table p (id int primary key, tenant text) partition by range (id);
         create table p_low partition of p for values from (0) to (100); create table p_high partition of p default;"
    );
    publisher.run(&tables).await;
    publisher
        .run("create publication everything for table t, p with (publish_via_partition_root = true); insert into t values (1, 'acme')")
        .await;
    let name = publisher.text("select current_database()::text").await;
    // Waits for every transaction of the server that runs now, prepared ones too.
    publisher.run("set statement_timeout = '60s'").await;
    publisher.run(&format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')")).await;

    let subscriber = Database::new().await;
    subscriber.run(&tables).await;
    subscriber
        .run(
            "select tidings.watch('t', tenant => 'tenant', ops => '{insert,update,delete,truncate}');
             select tidings.watch('p', tenant => 'tenant')",
        )
        .await;
    let bridge = Bridge::start(&subscriber).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    // The slot is there already: created by the subscription, it would wait for this server's own transactions.
    subscriber
        .run(&format!(
            "create subscription {name} connection '{}' publication everything with (create_slot = false, slot_name = '{name}')",
            publisher.url
        ))
        .await;
    let copied = "select not exists (select from pg_subscription_rel where srsubstate <> 'r')";
    eventually("the tables are copied", || async { subscriber.client.query_one(copied, &[]).await.unwrap().get(0) })
        .await;

    publisher.run("insert into t values (2, 'acme'), (3, 'acme'); update t set a = 'x' where id = 2; delete from t where id = 3").await;
    publisher.run("insert into t select i, 'acme' from generate_series(101, 170) i").await;
    publisher.run("insert into p values (1, 'acme'), (100, 'acme'); update p set id = 101 where id = 1; delete from p where id = 100").await;
    publisher.run("truncate t").await;
    let end = "select count(*) > 0 from tidings._log where type = 't.truncated'";
    eventually("all is applied", || async { subscriber.client.query_one(end, &[]).await.unwrap().get(0) }).await;
    subscriber.sentinel("acme").await;

    let mut expected: Vec<String> =
        ["t.inserted 1", "t.inserted 2", "t.inserted 3", "t.updated 2", "t.deleted 3"].map(String::from).to_vec();
    expected.extend((101..=170).map(|id| format!("t.inserted {id}")));
    expected.extend(
        ["p.inserted 1", "p.inserted 100", "p.deleted 1", "p.inserted 101", "p.deleted 100", "t.truncated "]
            .map(String::from),
    );
    let arrived = sse.until_sentinel().await;
    let told: Vec<String> =
        events_of(&arrived).into_iter().map(|(kind, subject)| format!("{kind} {subject}")).collect();
    assert_eq!(told, expected);
    assert_eq!(arrived[3]["changed"], "a");
    bridge.stop().await;
    subscriber.run(&format!("drop subscription {name}")).await;
}

#[tokio::test]
async fn a_session_in_the_role_of_a_replica_is_captured_once_each() {
    for (by, partition) in [
        ("", ""),
        ("partition by hash (id)", "create table t_0 partition of t for values with (modulus 1, remainder 0);"),
    ] {
        let db = Database::new().await;
        db.run(&format!("create table t ({PLAIN}) {by}; {partition} select tidings.watch('t', tenant => 'tenant')"))
            .await;
        let writes = "insert into t values (1, 'acme'), (2, 'acme'); update t set a = 'x'; delete from t where id = 1; delete from t";
        let expected = ["inserted 1", "inserted 2", "updated 1", "updated 2", "deleted 1", "deleted 2"]
            .map(|event| format!("t.{event}"));
        for role in ["replica", "local", "origin"] {
            assert_eq!(
                short(&db.logs(&format!("set session_replication_role = {role}; {writes}")).await),
                expected,
                "{role}"
            );
        }
    }
}

#[tokio::test]
async fn what_a_two_phase_commit_wrote_arrives_when_it_is_committed() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', notify => false").await;
    db.run(
        "create table p (id int, tenant text) partition by range (id); create table p_0 partition of p default;
         select tidings.watch('p', tenant => 'tenant', notify => false)",
    )
    .await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let name = db.text("select current_database()::text").await;
    db.run(&format!(
        "begin; insert into t values (1, 'acme'); insert into p values (1, 'acme'); prepare transaction '{name}'"
    ))
    .await;
    db.run(&format!("begin; insert into t values (2, 'acme'); prepare transaction '{name} undone'")).await;
    db.run(&format!("rollback prepared '{name} undone'")).await;
    db.run("insert into t values (3, 'acme')").await;
    let arrived = sse.next().await;
    assert_eq!((&arrived["type"], &arrived["subject"]), (&json!("t.inserted"), &json!("3")), "it is not committed yet");
    db.run(&format!("commit prepared '{name}'")).await;
    let arrived = sse.take(2).await;
    assert_eq!(events_of(&arrived), [("t.inserted".into(), "1".into()), ("p.inserted".into(), String::new())]);
    db.sentinel("acme").await;
    assert!(sse.until_sentinel().await.is_empty(), "and each of them once");
}

#[tokio::test]
async fn a_watch_that_notifies_refuses_to_be_prepared_and_its_hint_is_postgresqls() {
    let db = Database::watched(PLAIN, "tenant => 'tenant'").await;
    let refused = db.refusal("begin; insert into t values (1, 'acme'); prepare transaction 'never'").await;
    assert_eq!(refused.code(), &tokio_postgres::error::SqlState::FEATURE_NOT_SUPPORTED);
    db.run("rollback; select tidings.watch('t', tenant => 'tenant', notify => false)").await;
    db.run("begin; insert into t values (1, 'acme'); prepare transaction 'later'").await;
    db.run("commit prepared 'later'").await;
    assert_eq!(short(&db.logged().await), ["t.inserted 1"]);
}
