//! Webhooks that are refused: with what to do, and without telling strangers anything.

use serde_json::{Value, json};

use crate::inbound::TAKING;
use crate::support::{Answer, Bridge, Database, Delivery, WEBHOOK_SECRET, pipeline};

async fn site(more: Value) -> (Database, Bridge) {
    let db = Database::new().await;
    db.run(TAKING).await;
    let bridge =
        Bridge::with(&db.url, &[("inbound", &pipeline("take", more)), ("http.request_bytes_max", "4KiB")]).await;
    (db, bridge)
}

/// All of an answer but what differs between any two.
fn whole(answer: &Answer) -> String {
    let mut headers = answer.headers.clone();
    for name in ["x-request-id", "date"] {
        headers.remove(name);
    }
    format!("{} {headers:?} {}", answer.status, answer.body)
}

#[tokio::test]
async fn an_unknown_source_answers_like_a_wrong_signature() {
    let (_db, bridge) = site(json!({})).await;
    let wrong = Delivery { secret: "wrong".into(), ..Delivery::new("msg_1", &json!({"tenant": "acme"})) };
    let expected = whole(&wrong.send(&bridge, "pipeline").await);
    assert!(expected.starts_with("401") && expected.contains("signature_wrong"), "{expected}");
    let right = Delivery { secret: WEBHOOK_SECRET.into(), ..wrong.clone() };
    for source in ["nobody", "Pipeline", "pipeline%20", "%ff", "%00", "=", "pipelin%65"] {
        assert_eq!(whole(&wrong.send(&bridge, source).await), expected, "{source}");
        assert_eq!(whole(&right.send(&bridge, source).await), expected, "{source}");
    }
    // Whatever else is wrong with it.
    let long = Delivery { body: "x".repeat(5000), ..wrong.clone() };
    let odd = Delivery { body: "{".into(), ..wrong.clone() };
    let old = Delivery { at: wrong.at - 301, ..wrong.clone() };
    for (delivery, status) in [(long, 413), (odd, 401), (old, 401)] {
        let known = delivery.send(&bridge, "pipeline").await;
        assert_eq!(known.status, status);
        assert_eq!(whole(&known), whole(&delivery.send(&bridge, "nobody").await));
    }
}

#[tokio::test]
async fn what_is_not_signed_and_not_lately_is_refused_before_anything_else() {
    let (db, bridge) = site(json!({})).await;
    let delivery = Delivery::new("msg_1", &json!({"tenant": "acme"}));
    let unsigned = Answer::of(delivery.unsigned(&bridge, "pipeline")).await;
    assert_eq!(unsigned.problem(), (401, "signature_missing".into()));
    let long = Delivery { id: "x".repeat(256), ..delivery.clone() };
    assert_eq!(long.send(&bridge, "pipeline").await.problem(), (401, "signature_missing".into()));
    for at in [delivery.at - 310, delivery.at + 310] {
        let outside = Delivery { at, ..delivery.clone() };
        assert_eq!(outside.send(&bridge, "pipeline").await.problem(), (401, "timestamp_outside".into()));
    }
    for other in [
        delivery.unsigned(&bridge, "pipeline").header("webhook-signature", "v1,AAAA"),
        // Signed for another id, time or body.
        Delivery { id: "msg_2".into(), ..delivery.clone() }
            .unsigned(&bridge, "pipeline")
            .header("webhook-signature", delivery.signature()),
        Delivery { at: delivery.at - 1, ..delivery.clone() }
            .unsigned(&bridge, "pipeline")
            .header("webhook-signature", delivery.signature()),
        Delivery { body: r#"{"tenant": "globex"}"#.into(), ..delivery.clone() }
            .unsigned(&bridge, "pipeline")
            .header("webhook-signature", delivery.signature()),
    ] {
        assert_eq!(Answer::of(other).await.problem(), (401, "signature_wrong".into()));
    }
    assert_eq!(db.text("select count(*)::text from taken").await, "0");
    assert_eq!(delivery.send(&bridge, "pipeline").await.status, 200);
}

#[tokio::test]
async fn a_body_that_cannot_be_used_is_refused_naming_what_is_wrong() {
    let (db, bridge) = site(json!({"tenant": "about.tenant"})).await;
    let field = async |body: String| {
        let answer = Delivery { body, ..Delivery::new("msg_1", &json!({})) }.send(&bridge, "pipeline").await;
        assert_eq!(answer.problem(), (422, "invalid_field".into()));
        answer.json()["field"].as_str().unwrap().to_owned()
    };
    for tenant in
        [json!({}), json!("acme"), json!({"tenant": null}), json!({"tenant": ""}), json!({"tenant": ["acme"]})]
    {
        assert_eq!(field(json!({"about": tenant}).to_string()).await, "about.tenant", "{tenant}");
    }
    assert_eq!(field(json!({"about": {"tenant": "x".repeat(256)}}).to_string()).await, "about.tenant");
    assert_eq!(field("[]".into()).await, "about.tenant");
    // JSON, and no jsonb.
    assert_eq!(field(r#"{"about": {"tenant": "acme"}, "x": "\u0000"}"#.into()).await, "body");
    assert_eq!(field(r#"{"about": {"tenant": "acme"}, "x": 1e400000}"#.into()).await, "body");
    assert_eq!(field(json!({"about": {"tenant": "acme\u{0}"}}).to_string()).await, "body");
    assert_eq!(field(json!({"about": {"tenant": "acme"}, "refuse": "422"}).to_string()).await, "refuse");
    for body in ["", "{", "{} {}", "tenant=acme"] {
        let broken = Delivery { body: body.into(), ..Delivery::new("msg_1", &json!({})) };
        assert_eq!(broken.send(&bridge, "pipeline").await.problem(), (400, "bad_json".into()));
    }
    assert_eq!(db.text("select count(*)::text from tidings._inbound").await, "0");
}

#[tokio::test]
async fn other_media_types_and_methods_and_large_bodies_are_refused() {
    let (_db, bridge) = site(json!({})).await;
    let delivery = Delivery::new("msg_1", &json!({"tenant": "acme"}));
    let signed = bridge
        .request("POST", "/v1/webhooks/pipeline")
        .header("webhook-id", &delivery.id)
        .header("webhook-timestamp", delivery.at)
        .header("webhook-signature", delivery.signature())
        .body(delivery.body.clone());
    assert_eq!(Answer::of(signed).await.problem(), (415, "unsupported_media_type".into()));
    let large = Delivery::new("msg_1", &json!({"tenant": "acme", "x": "x".repeat(5000)}));
    assert_eq!(large.send(&bridge, "pipeline").await.problem(), (413, "too_large".into()));
    let get = Answer::of(bridge.request("GET", "/v1/webhooks/pipeline")).await;
    assert_eq!((get.problem(), get.header("allow")), ((405, "method_not_allowed".into()), "POST"));
}

#[tokio::test]
async fn a_conflict_shows_the_state_as_it_is() {
    let (_db, bridge) = site(json!({})).await;
    let answer = Delivery::new("msg_1", &json!({"tenant": "acme", "refuse": "409"})).send(&bridge, "pipeline").await;
    assert_eq!(answer.problem(), (409, "conflict".into()));
    assert_eq!(answer.json()["current"], json!({"state": "other"}));
}

#[tokio::test]
async fn a_function_that_is_not_there_or_not_for_this_bridge_is_told_so() {
    let db = Database::new().await;
    let name = db.name();
    db.run(&format!(
        "create role {name}_bridge login; select tidings.grant_service('{name}_bridge');
         grant usage on schema tidings_app to {name}_bridge;
         create function tidings_app.closed(tenant text, body jsonb) returns json language sql return '{{}}'::json;
         revoke execute on function tidings_app.closed from public;
         create function tidings_app.no_json(tenant text, body jsonb) returns text language sql return 'no';
         create function tidings_app.open(tenant text, body jsonb) returns json language sql return '{{\"ok\": true}}'::json"
    ))
    .await;
    for (call, expected) in
        [("absent", (501, "no_application")), ("closed", (501, "not_granted")), ("no_json", (501, "bad_application"))]
    {
        let bridge =
            Bridge::with(&db.url_as(&format!("{name}_bridge")), &[("inbound", &pipeline(call, json!({})))]).await;
        let answer = Delivery::new("msg_1", &json!({"tenant": "acme"})).send(&bridge, "pipeline").await;
        let (status, code) = answer.problem();
        assert_eq!((status, code.as_str()), expected);
        bridge.stop().await;
    }
    // The same delivery again, when it works.
    let bridge =
        Bridge::with(&db.url_as(&format!("{name}_bridge")), &[("inbound", &pipeline("open", json!({})))]).await;
    let answer = Delivery::new("msg_1", &json!({"tenant": "acme"})).send(&bridge, "pipeline").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"ok": true})));
    // A bridge reaches what was taken through the functions only.
    let role = db.url_as(&format!("{name}_bridge"));
    let refused = crate::support::connect(&role).await.batch_execute("select from tidings._inbound").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "42501");
}
