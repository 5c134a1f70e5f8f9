//! A dashboard over SSE: subscriptions by event type, changed while connected, published by services, watched by admins.

use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, Sse, admin, member, token};

fn service() -> String {
    token(json!({"sub": "ocr", "tenant": "acme", "role": "service"}))
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// What `notifyUploadStarted(documentId, productId, organizationId, filename)` told.
fn upload_started(document: &str) -> Value {
    json!({"type": "document_processing", "subject": document,
           "data": {"stage": "upload_started", "product_id": "p1", "filename": "a.pdf"}})
}

#[tokio::test]
async fn a_dashboard_gets_the_event_types_that_it_subscribed_to() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse =
        Sse::open(&bridge, &member("acme"), "acme", "?types=document_processing,conversation_activity,sentinel").await;
    for kind in [
        "document_processing",
        "conversation_activity",
        "system_health",
        "error_notification",
        "chatbot_metrics",
        "connection_status",
        "user_activity",
        "performance_alert",
    ] {
        let event = json!({"type": kind, "data": {"of": kind}});
        assert_eq!(bridge.post_as(&service(), "/v1/tenants/acme/events", &event).await.0, 201, "{kind}");
    }
    db.sentinel("acme").await;
    assert_eq!(kinds(&sse.until_sentinel().await), ["document_processing", "conversation_activity"]);
}

#[tokio::test]
async fn a_service_tells_from_outside_or_from_within_its_transaction() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "?types=document_processing,sentinel").await;
    let (status, _) = bridge.post_as(&service(), "/v1/tenants/acme/events", &upload_started("d1")).await;
    assert_eq!(status, 201);
    db.run(
        "begin;
         select tidings.emit('acme', 'document_processing', '{\"stage\": \"chunking\"}', 'd1');
         commit;
         begin;
         select tidings.emit('acme', 'document_processing', '{\"stage\": \"never\"}', 'd1');
         rollback",
    )
    .await;
    db.sentinel("acme").await;
    let seen = sse.until_sentinel().await;
    assert_eq!(seen.iter().map(|event| &event["data"]["stage"]).collect::<Vec<_>>(), ["upload_started", "chunking"]);
    assert!(seen.iter().all(|event| event["subject"] == "d1" && event["tenant"] == "acme"));
    // A member of the dashboard tells nobody anything.
    let (status, _) = bridge.post_as(&member("acme"), "/v1/tenants/acme/events", &upload_started("d1")).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn subscriptions_are_changed_on_the_open_stream_by_its_owner_only() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ann = member("acme");
    let mut sse = Sse::open(&bridge, &ann, "acme", "?types=document_processing,sentinel").await;
    let path = format!("/v1/connections/{}", sse.hello["connection"].as_str().unwrap());
    let change = json!({"subscribe": ["system_health"], "unsubscribe": ["document_processing"]});
    let patch = |token: String| Answer::of(bridge.request("PATCH", &path).bearer_auth(token).json(&change));
    assert!(patch(token(json!({"sub": "bob", "tenant": "acme"}))).await.status >= 403);
    assert_eq!(patch(ann).await.status, 200);
    for kind in ["document_processing", "system_health"] {
        db.run(&format!("select tidings.emit('acme', '{kind}')")).await;
    }
    db.sentinel("acme").await;
    assert_eq!(kinds(&sse.until_sentinel().await), ["system_health"]);
}

#[tokio::test]
async fn an_organisation_is_what_the_token_says_and_not_what_the_address_asks_for() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let narrow = token(json!({"sub": "ann", "tenant": "acme", "events": ["conversation_activity", "sentinel"]}));
    let mut sse = Sse::open(&bridge, &narrow, "acme", "?types=*").await;
    for (tenant, kind) in
        [("globex", "conversation_activity"), ("acme", "chatbot_metrics"), ("acme", "conversation_activity")]
    {
        db.run(&format!("select tidings.emit('{tenant}', '{kind}')")).await;
    }
    db.sentinel("acme").await;
    assert_eq!(kinds(&sse.until_sentinel().await), ["conversation_activity"]);
    assert_eq!(bridge.get_as(&narrow, "/v1/tenants/globex/events").await.0, 403);
}

#[tokio::test]
async fn what_happened_while_a_dashboard_was_away_is_not_lost() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    db.run("select tidings.emit('acme', 'error_notification', '{\"n\": 1}')").await;
    sse.next().await;
    let last = sse.last_id.clone();
    drop(sse);
    db.run("select tidings.emit('acme', 'error_notification', '{\"n\": 2}')").await;
    let mut again = Sse::resume(&bridge, &member("acme"), "acme", &last).await;
    assert_eq!(again.next().await["data"]["n"], 2);
    assert_eq!(again.hello["resumed"], true);
}

#[tokio::test]
async fn statistics_are_for_admins_and_whoever_asks_whether_push_is_there_needs_no_more_than_a_token() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let _sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let (status, stats) = bridge.get_as(&admin(), "/v1/stats").await;
    assert_eq!((status, stats["connections"].as_array().unwrap().len()), (200, 1));
    assert_eq!(bridge.get_as(&member("acme"), "/v1/stats").await.0, 403);
    assert_eq!(bridge.get_as(&member("acme"), "/v1/status").await.1["available"], true);
}
