//! Size stands in nobody's way: large rows, large statements, and whatever comes behind them.

use serde_json::{Value, json};

use crate::support::{Bridge, Database, Sse, Ws, events_of, member};

async fn clients(bridge: &Bridge) -> (Sse, Ws) {
    let token = member("acme");
    (Sse::open(bridge, &token, "acme", "").await, Ws::open(bridge, &token, "acme", json!({})).await)
}

/// What both saw up to the sentinel; it is the same.
async fn seen(mut sse: Sse, mut ws: Ws) -> Vec<Value> {
    let (by_sse, by_ws) = tokio::join!(sse.until_sentinel(), ws.until_sentinel());
    assert!(by_sse == by_ws, "SSE saw {} events, WebSocket {}", by_sse.len(), by_ws.len());
    by_sse
}

async fn assert_nothing_missed(db: &Database) {
    assert_eq!(db.text("select coalesce(string_agg(distinct reason, ','), '') from tidings._missed").await, "");
}

#[tokio::test]
async fn a_large_row_arrives_whole_between_its_neighbours() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (sse, ws) = clients(&bridge).await;
    for (id, bytes) in [("small", 1), ("megabyte", 1 << 20), ("small again", 1)] {
        let metadata = format!("jsonb_build_object('text', repeat('x', {bytes}))");
        db.run(&format!(
            "insert into documents (id, tenant_id, name, metadata) values ('{id}', 'acme', 'x', {metadata})"
        ))
        .await;
    }
    db.sentinel("acme").await;
    let found = seen(sse, ws).await;
    let text = |event: &Value| event["data"]["metadata"]["text"].as_str().unwrap().len();
    assert_eq!(found.iter().map(text).collect::<Vec<_>>(), [1, 1 << 20, 1]);
}

#[tokio::test]
async fn a_row_too_large_for_an_event_arrives_truncated_with_its_key() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (sse, ws) = clients(&bridge).await;
    db.run("insert into documents (id, tenant_id, name, metadata) values ('huge', 'acme', 'x', jsonb_build_object('text', repeat('x', 8 << 20)))").await;
    db.run("insert into documents (id, tenant_id, name) values ('next', 'acme', 'x')").await;
    db.sentinel("acme").await;
    let found = seen(sse, ws).await;
    assert_eq!(events_of(&found), ["huge", "next"].map(|id| ("documents.inserted".into(), id.into())));
    assert_eq!((&found[0]["truncated"], found[0].get("data")), (&json!(true), None));
    assert_eq!((found[1].get("truncated"), &found[1]["data"]["id"]), (None, &json!("next")));
    assert_nothing_missed(&db).await;
}

#[tokio::test]
async fn a_large_update_arrives_whole_and_in_order() {
    let db = Database::new().await;
    db.run(
        "select tidings.unwatch('documents');
         insert into documents (id, tenant_id, name) select i, 'acme', 'x' from generate_series(1, 100000) i;
         select tidings.watch('documents', tenant => 'tenant_id')",
    )
    .await;
    let bridge = Bridge::start(&db).await;
    let (sse, ws) = clients(&bridge).await;
    db.run("update documents set size = 1").await;
    db.run("insert into documents (id, tenant_id, name) values ('next', 'acme', 'x')").await;
    db.run("update documents set size = 2 where id in ('1', '100000', 'next')").await;
    db.sentinel("acme").await;
    let found = seen(sse, ws).await;
    let key = |event: &Value| (event["subject"].as_str().unwrap().to_owned(), event["data"]["size"].as_u64());
    let expected = (1..=100_000).map(|i| (i.to_string(), Some(1))).chain([("next".into(), None)]);
    let found: Vec<_> = found.iter().map(key).collect();
    assert!(found.iter().take(100_001).cloned().eq(expected), "{} events, or not in order", found.len());
    let mut last = found[100_001..].to_vec();
    last.sort();
    assert_eq!(last, ["1", "100000", "next"].map(|id| (id.to_owned(), Some(2))));
    assert_nothing_missed(&db).await;
}

#[tokio::test]
async fn statements_around_the_size_that_goes_as_one_reference_arrive_row_by_row() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (sse, ws) = clients(&bridge).await;
    let mut expected = Vec::new();
    for rows in [63, 64, 65, 66] {
        let ids = format!("'{rows}-' || lpad(i::text, 2, '0') from generate_series(1, {rows}) i");
        db.run(&format!("insert into documents (tenant_id, name, id) select 'acme', 'x', {ids}")).await;
        db.run(&format!("update documents set size = 1 where id like '{rows}-%'")).await;
        db.run(&format!("delete from documents where id like '{rows}-%'")).await;
        for op in ["inserted", "updated", "deleted"] {
            expected.extend((1..=rows).map(|i| (format!("documents.{op}"), format!("{rows}-{i:02}"))));
        }
    }
    db.sentinel("acme").await;
    let found = events_of(&seen(sse, ws).await);
    assert!(found == expected, "{} of {} events, or not in order", found.len(), expected.len());
    assert_nothing_missed(&db).await;
}

#[tokio::test]
async fn payloads_around_the_limit_of_notify_arrive_in_order() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (sse, ws) = clients(&bridge).await;
    let mut expected = Vec::new();
    for text in ["x", "é", "😀"] {
        // The envelope takes 150 to 300 bytes of the 8,000.
        let counts = 7600 / text.len()..=8000 / text.len();
        let (first, last) = (counts.start(), counts.end());
        db.run(&format!("select tidings.emit('acme', 'sized', to_jsonb(repeat('{text}', i))) from generate_series({first}, {last}) i")).await;
        expected.extend(counts.map(|count| text.repeat(count)));
    }
    db.sentinel("acme").await;
    let found: Vec<String> =
        seen(sse, ws).await.iter().map(|event| event["data"].as_str().unwrap().to_owned()).collect();
    assert!(found == expected, "{} of {} events, or not as they were", found.len(), expected.len());
}
