//! The trace of the application's transaction reaches whoever gets its events, and never stands in a writer's way.

use serde_json::{Value, json};

use crate::support::{Bridge, Database, Endpoint, Sse, Ws, eventually, get_page, member};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// These writes in one transaction that says whose part it is.
fn traced(sql: &str) -> String {
    format!("begin; select set_config('tidings.traceparent', '{TRACE}', true); {sql}; commit")
}

#[tokio::test]
async fn an_event_carries_the_trace_of_its_transaction_on_every_transport() {
    let (db, endpoint) = (Database::new().await, Endpoint::ok().await);
    let webhook = json!([{"name": "w", "url": endpoint.url(), "secret": "a secret of at least 24 bytes", "types": ["documents.*"]}]);
    let bridge = Bridge::with(&db.url, &[("webhook", &webhook.to_string())]).await;
    eventually("the webhook's place is kept", || async {
        db.text("select count(led_by)::text from tidings.consumers").await == "1"
    })
    .await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    db.run(&traced("insert into documents (id, tenant_id, name) values ('d', 'acme', 'a.pdf')")).await;
    // In the same session: the setting ended with its transaction.
    db.run("insert into documents (id, tenant_id, name) values ('e', 'acme', 'a.pdf')").await;
    let page = get_page(&bridge, &member("acme"), "acme", "").await;
    for events in [sse.take(2).await, vec![ws.next().await, ws.next().await], page.events] {
        let traces: Vec<_> = events.iter().map(|event| (&event["subject"], &event["traceparent"])).collect();
        assert_eq!(traces, [(&json!("d"), &json!(TRACE)), (&json!("e"), &Value::Null)]);
    }
    let posted = endpoint.wait(2).await;
    let of = |subject: &str| {
        let body = posted.iter().map(|request| request.json()).find(|event| event["subject"] == subject).unwrap();
        body["traceparent"].clone()
    };
    assert_eq!((of("d"), of("e")), (json!(TRACE), Value::Null));
}

#[tokio::test]
async fn every_way_of_capture_carries_it() {
    let db = Database::new().await;
    db.run(
        "create table plain (id int primary key, tenant text);
         create table parted (id int primary key, tenant text) partition by range (id);
         create table part partition of parted for values from (0) to (10000);
         create table silent (id int primary key, tenant text);
         create table emptied (id int primary key, tenant text);
         insert into emptied values (1, 'acme');
         select tidings.watch('plain', tenant => 'tenant'); select tidings.watch('parted', tenant => 'tenant');
         select tidings.watch('silent', tenant => 'tenant', notify => false);
         select tidings.watch('emptied', tenant => 'tenant', ops => '{truncate}')",
    )
    .await;
    let rows = |table: &str, count| format!("insert into {table} select i, 'acme' from generate_series(1, {count}) i");
    let all = [
        rows("plain", 1),
        "update plain set id = 1000; delete from plain".to_owned(),
        rows("plain", 100),
        rows("parted", 100),
        rows("silent", 1),
        "truncate emptied".to_owned(),
        "insert into plain select 5000, 'acme' || repeat('x', 9000)".to_owned(),
        "select tidings.emit('acme', 'told')".to_owned(),
    ];
    // Each in a transaction of its own: another of the same would note the trace for it.
    for sql in &all {
        db.run(&traced(sql)).await;
    }
    assert_eq!(db.text("select count(*) || ' ' || count(distinct traceparent) || ' ' || min(traceparent) from tidings.events where traceparent is not null").await, format!("207 1 {TRACE}"));
    assert_eq!(db.text("select count(*)::text from tidings.events where traceparent is null").await, "0");
    assert_eq!(db.text("select count(*)::text from tidings._missed").await, "0");
}

#[tokio::test]
async fn what_is_no_trace_is_left_out_and_fails_no_writer() {
    let db = Database::new().await;
    let long = "0".repeat(100_000);
    let no_traces = [
        "",
        "x",
        "00",
        "'\"\\{}",
        &long,
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
        "\n00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\"",
    ];
    for value in no_traces {
        db.client.execute("select set_config('tidings.traceparent', $1, false)", &[&value]).await.unwrap();
        db.run("insert into documents (id, tenant_id, name) values (gen_random_uuid()::text, 'acme', 'a.pdf')").await;
    }
    let counted = "select count(*) || ' ' || count(traceparent) from tidings.events";
    assert_eq!(db.text(counted).await, format!("{} 0", no_traces.len()));
    assert_eq!(db.text("select count(*)::text from tidings._missed").await, "0");
}
