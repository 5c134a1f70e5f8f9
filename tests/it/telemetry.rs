//! Spans reach a collector, tell of nobody, and nothing waits for them. Only with the feature `otel`.

use serde_json::json;

use crate::support::{Bridge, Database, Endpoint, Sse, eventually, member, token};

/// Which of two traces, and whether it is sampled.
fn trace(which: u8, sampled: bool) -> String {
    format!("00-{}-00f067aa0ba902b7-0{}", format!("{which:02x}").repeat(16), u8::from(sampled))
}

/// Whether something has been told of this trace, whose number the bytes of OTLP hold as it is.
fn told_of(collector: &Endpoint, which: u8) -> bool {
    holds(collector, &[which; 16])
}

fn holds(collector: &Endpoint, bytes: &[u8]) -> bool {
    collector.posted().iter().any(|posted| posted.body.windows(bytes.len()).any(|window| window == bytes))
}

async fn insert(db: &Database, id: &str, trace: &str) {
    let set = format!("select set_config('tidings.traceparent', '{trace}', true)");
    db.run(&format!(
        "begin; {set}; insert into documents (id, tenant_id, name) values ('{id}', 'acme', 'a-row.pdf'); commit"
    ))
    .await;
}

async fn told(db: &Database) -> (Endpoint, Bridge) {
    let collector = Endpoint::ok().await;
    let otlp = format!("http://{}", collector.address);
    let bridge = Bridge::with(&db.url, &[("tracing.otlp", &otlp), ("tracing.otlp_service", "tidings-of-a-test")]).await;
    (collector, bridge)
}

#[tokio::test]
async fn events_and_requests_of_a_trace_become_spans_of_it_that_name_nobody() {
    let db = Database::new().await;
    let (collector, bridge) = told(&db).await;
    let (status, ticket) =
        bridge.post_as(&token(json!({"sub": "somebody-of-a-test", "tenant": "acme"})), "/v1/tickets", &json!({})).await;
    assert_eq!(status, 201);
    let ticket = ticket["ticket"].as_str().unwrap();
    insert(&db, "doc-of-a-test", &trace(0xa1, true)).await;
    let path = format!("/v1/tenants/acme/events?ticket={ticket}");
    let request = bridge.request("GET", &path).header("traceparent", trace(0xb2, true));
    assert_eq!(request.send().await.unwrap().status(), 200);
    eventually("both are told of", || async { told_of(&collector, 0xa1) && told_of(&collector, 0xb2) }).await;
    for posted in collector.posted() {
        assert_eq!((&*posted.path, posted.header("content-type")), ("/v1/traces", "application/x-protobuf"));
    }
    for shown in ["tidings dispatch", "documents.inserted", "GET /v1/tenants/{tenant}/events", "tidings-of-a-test"] {
        assert!(holds(&collector, shown.as_bytes()), "{shown}");
    }
    for hidden in [ticket, "acme", "doc-of-a-test", "a-row.pdf", "somebody-of-a-test", "readyz"] {
        assert!(!holds(&collector, hidden.as_bytes()), "{hidden}");
    }
    bridge.stop().await;
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_is_told_to_nobody() {
    let db = Database::new().await;
    let (collector, bridge) = told(&db).await;
    insert(&db, "quiet", &trace(0xc3, false)).await;
    insert(&db, "told", &trace(0xd4, true)).await;
    eventually("the one after it is told of", || async { told_of(&collector, 0xd4) }).await;
    assert!(!told_of(&collector, 0xc3));
    bridge.stop().await;
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let db = Database::new().await;
    // Nobody listens on a port that was just given back.
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bridge = Bridge::with(&db.url, &[("tracing.otlp", &format!("http://{away}"))]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    for n in 0..20 {
        insert(&db, &n.to_string(), &trace(0xe5, true)).await;
        assert_eq!(sse.next().await["subject"], n.to_string());
    }
    drop(sse);
    bridge.stop().await;
}
