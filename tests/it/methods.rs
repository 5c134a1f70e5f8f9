//! Which methods an address answers, and what a request says twice.

use serde_json::json;

use crate::support::{Answer, Bridge, Database, admin, member, token};

#[tokio::test]
async fn every_get_answers_head_with_the_same_head_and_no_body() {
    let bridge = Bridge::start(&Database::new().await).await;
    for path in [
        "/",
        "/livez",
        "/readyz",
        "/v1/openapi.json",
        "/v1/asyncapi.json",
        "/v1/session",
        "/v1/status",
        "/v1/tenants/acme/events",
        "/v1/tenants/acme/watched/documents?keys=a",
        "/v1/tenants/globex/events",
        "/v1/tenants/acme/events?limit=0",
    ] {
        let of = |method| Answer::of(bridge.request(method, path).bearer_auth(member("acme")));
        let (get, head) = (of("GET").await, of("HEAD").await);
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        for name in ["content-type", "etag", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn a_head_of_a_stream_takes_no_place() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.connections_per_user", "1")]).await;
    for _ in 0..3 {
        let request = bridge.request("HEAD", "/v1/tenants/acme/events").bearer_auth(member("acme"));
        let answer = Answer::of(request.header("accept", "text/event-stream")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
        let (_, stats) = bridge.get_as(&admin(), "/v1/stats").await;
        assert_eq!(stats["connections"], json!([]));
    }
}

#[tokio::test]
async fn a_program_that_looks_at_a_link_does_not_use_its_ticket_up() {
    let bridge = Bridge::start(&Database::new().await).await;
    let (_, ticket) = bridge.post_as(&member("acme"), "/v1/tickets", &json!({})).await;
    let link = format!("/?ticket={}", ticket["ticket"].as_str().unwrap());
    assert_eq!(Answer::of(bridge.request("HEAD", &link)).await.status, 200);
    assert_eq!(Answer::of(bridge.request("GET", &link)).await.status, 303);
}

#[tokio::test]
async fn what_is_not_allowed_is_told_with_what_is() {
    let bridge = Bridge::start(&Database::new().await).await;
    for (method, path, allow) in [
        ("DELETE", "/v1/tenants/acme/events", "GET, HEAD, POST"),
        ("TRACE", "/livez", "GET, HEAD"),
        ("OPTIONS", "/livez", "GET, HEAD"),
        ("NONSENSE", "/v1/tickets", "POST"),
        ("GET", "/v1/connections/x", "PATCH, DELETE"),
        ("HEAD", "/v1/ws", "GET"),
        ("POST", "/v1/ws", "GET"),
    ] {
        let answer = Answer::of(bridge.request(method, path)).await;
        assert_eq!((answer.status, answer.header("allow")), (405, allow), "{method} {path}");
        assert_eq!(answer.header("x-request-id").len(), 16);
    }
}

#[tokio::test]
async fn a_parameter_that_is_given_twice_is_refused_by_its_name() {
    let bridge = Bridge::start(&Database::new().await).await;
    for (query, field) in [
        ("limit=1&limit=2", "limit"),
        ("types=a.*&types=b.*", "types"),
        ("a=1&limit=1&a=1", "a"),
        ("%00=1&%00=1", "query"),
        ("types=a&%74ypes=b", "types"),
    ] {
        let path = format!("/v1/tenants/acme/events?{query}");
        let (status, problem) = bridge.get_as(&member("acme"), &path).await;
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{query}");
    }
    assert_eq!(bridge.get_as(&member("acme"), "/v1/tenants/acme/events?limit=1&wait=0").await.0, 200);
}

#[tokio::test]
async fn a_publication_that_is_not_allowed_is_refused_whatever_its_body_is() {
    let bridge = Bridge::start(&Database::new().await).await;
    let elsewhere = token(json!({"sub": "bot", "tenant": "globex", "role": "service"}));
    for credential in [member("acme"), elsewhere] {
        let request = bridge.request("POST", "/v1/tenants/acme/events").bearer_auth(credential);
        assert_eq!(Answer::of(request.body("no JSON")).await.problem(), (403, "forbidden".into()));
    }
}
