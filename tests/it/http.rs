//! What every answer has in common, and what the routes that are not streams answer.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, Sse, admin, events_of, get_page, member, token};

fn service() -> String {
    token(json!({"sub": "importer", "tenant": "acme", "role": "service"}))
}

#[tokio::test]
async fn every_answer_carries_a_request_id_and_repeats_only_a_harmless_one() {
    let bridge = Bridge::start(&Database::new().await).await;
    for path in ["/livez", "/v1/status", "/nowhere", "/", "/metrics"] {
        assert_eq!(Answer::of(bridge.request("GET", path)).await.header("x-request-id").len(), 16, "{path}");
    }
    let id_for = async |given: &str| {
        let answer = Answer::of(bridge.request("GET", "/livez").header("x-request-id", given)).await;
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(id_for("trace-1.a_B").await, "trace-1.a_B");
    for harmful in ["", "a b", "a\"b", "<script>", &"a".repeat(65)] {
        assert_eq!(id_for(harmful).await.len(), 16, "{harmful:?}");
        assert_ne!(id_for(harmful).await, harmful);
    }
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem_document() {
    let bridge = Bridge::start(&Database::new().await).await;
    for (method, path, expected) in [
        ("GET", "/nowhere", (404, "not_found")),
        ("GET", "/v1/tenants/acme", (404, "not_found")),
        ("GET", "/v1/tenants//events", (404, "not_found")),
        ("GET", "/livez/more", (404, "not_found")),
        ("DELETE", "/v1/tenants/acme/events", (405, "method_not_allowed")),
        ("POST", "/livez", (405, "method_not_allowed")),
        ("GET", "/v1/tickets", (405, "method_not_allowed")),
        ("PUT", "/v1/connections/x", (405, "method_not_allowed")),
        ("GET", "/v1/ws", (426, "upgrade_required")),
        ("GET", "/v1/status", (401, "token_missing")),
    ] {
        let answer = Answer::of(bridge.request(method, path)).await;
        let (status, code) = answer.problem();
        assert_eq!((status, code.as_str()), expected, "{method} {path}");
        assert!(["type", "title", "detail"].iter().all(|member| answer.json()[member].is_string()), "{answer:?}");
    }
}

#[tokio::test]
async fn the_accept_header_chooses_between_a_stream_and_a_page() {
    let bridge = Bridge::start(&Database::new().await).await;
    let (stream, page) = ((200, "text/event-stream"), (200, "application/json"));
    let neither = (406, "application/problem+json");
    for (accept, expected) in [
        ("text/event-stream", stream),
        ("Text/Event-Stream; charset=utf-8", stream),
        ("application/json", page),
        ("*/*", page),
        ("application/*", page),
        ("text/html, */*;q=0.8", page),
        ("application/json, text/event-stream", page),
        ("text/event-stream, application/json", stream),
        ("application/json;q=0, text/event-stream", stream),
        ("text/event-stream;q=0.5, application/json", page),
        ("text/*", stream),
        ("text/html", neither),
        ("text/event-stream;q=0", neither),
        ("image/png, text/html;q=0.9", neither),
    ] {
        let request = bridge.request("GET", "/v1/tenants/acme/events").bearer_auth(member("acme"));
        let answer = Answer::of(request.header("accept", accept)).await;
        assert_eq!((answer.status, answer.header("content-type")), expected, "{accept:?}");
    }
    // Without the header at all, which the client above would add.
    let head = format!("GET /v1/tenants/acme/events HTTP/1.0\r\nauthorization: Bearer {}\r\n\r\n", member("acme"));
    let answer = raw(&bridge, &head).await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.contains("application/json"), "{answer}");
}

async fn raw(bridge: &Bridge, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(bridge.address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

const APP: &str = "https://app.example.com";

async fn with_origins(db: &Database) -> Bridge {
    Bridge::with(&db.url, &[("http.origins", r#"["https://app.example.com"]"#)]).await
}

#[tokio::test]
async fn an_allowed_origin_may_read_answers_and_another_may_not() {
    let bridge = with_origins(&Database::new().await).await;
    let from = |origin: &str| {
        Answer::of(bridge.request("GET", "/v1/status").bearer_auth(member("acme")).header("origin", origin))
    };
    let allowed = from(APP).await;
    assert_eq!(allowed.header("access-control-allow-origin"), APP);
    assert_eq!((allowed.header("access-control-allow-credentials"), allowed.header("vary")), ("true", "origin"));
    for foreign in
        ["https://evil.example.com", "https://app.example.com.evil.example", "http://app.example.com", "null"]
    {
        let refused = from(foreign).await;
        assert_eq!(refused.header("vary"), "origin", "{foreign}: caches must not mix the two");
        assert!(!refused.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{foreign}");
    }
}

#[tokio::test]
async fn a_refusal_can_be_read_by_an_allowed_origin_too() {
    let bridge = with_origins(&Database::new().await).await;
    for path in ["/v1/status", "/nowhere"] {
        let answer = Answer::of(bridge.request("GET", path).header("origin", APP)).await;
        assert!(answer.status >= 400);
        assert_eq!(answer.header("access-control-allow-origin"), APP);
    }
}

#[tokio::test]
async fn a_preflight_is_answered_by_origin_alone() {
    let bridge = with_origins(&Database::new().await).await;
    let preflight = |origin: &str| {
        let request = bridge.request("OPTIONS", "/v1/tenants/acme/events").header("origin", origin);
        Answer::of(request.header("access-control-request-method", "PATCH"))
    };
    let allowed = preflight(APP).await;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, APP));
    for method in ["GET", "POST", "PATCH", "DELETE"] {
        assert!(allowed.header("access-control-allow-methods").contains(method), "{allowed:?}");
    }
    for header in ["authorization", "content-type", "idempotency-key", "if-none-match", "last-event-id"] {
        assert!(allowed.header("access-control-allow-headers").contains(header), "{allowed:?}");
    }
    let foreign = preflight("https://evil.example.com").await;
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (403, ""));
}

#[tokio::test]
async fn health_and_status_say_what_a_load_balancer_and_a_client_need() {
    let bridge = Bridge::start(&Database::new().await).await;
    assert_eq!(bridge.get("/livez").await, (200, json!({"live": true})));
    assert_eq!(bridge.get("/readyz").await, (200, json!({"ready": true})));
    let (status, body) = bridge.get_as(&member("acme"), "/v1/status").await;
    assert_eq!((status, &body["available"]), (200, &json!(true)));
    assert_eq!(body["transports"], json!(["websocket", "sse", "poll"]));
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_session_tells_the_caller_who_they_are() {
    let bridge = Bridge::start(&Database::new().await).await;
    let (status, ann) = bridge.get_as(&member("acme"), "/v1/session").await;
    assert_eq!(
        (status, &ann["sub"], &ann["role"], &ann["tenants"]),
        (200, &json!("ann"), &json!("member"), &json!(["acme"]))
    );
    assert!(ann["expires_at"].as_u64().unwrap() > 1_700_000_000);
    let root = bridge.get_as(&admin(), "/v1/session").await.1;
    assert_eq!((&root["role"], &root["tenants"]), (&json!("admin"), &Value::Null));
}

#[tokio::test]
async fn metrics_are_openmetrics_text_that_names_no_tenant_and_no_user() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    db.run("insert into documents (id, tenant_id, name) values ('d', 'acme', 'a-row.pdf')").await;
    assert_eq!(sse.next().await["subject"], "d");
    bridge.get("/v1/tenants/acme/events").await;
    let answer = Answer::of(bridge.request("GET", "/metrics")).await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let samples = parse_metrics(&answer.body);
    let value = |name: &str| {
        samples.iter().find(|(sample, _)| sample == name).unwrap_or_else(|| panic!("{name}: {}", answer.body)).1
    };
    assert_eq!(value("tidings_ready"), 1.0);
    assert_eq!(value(r#"tidings_connections{transport="sse"}"#), 1.0);
    assert_eq!(value(r#"tidings_events_delivered_total{transport="sse"}"#), 1.0);
    assert_eq!(value(r#"tidings_refused_total{reason="token_missing"}"#), 1.0);
    let refused = r#"tidings_requests_total{route="/v1/tenants/{tenant}/events",method="GET",status="401"}"#;
    assert_eq!(value(refused), 1.0);
    for secret in ["acme", "globex", "\"ann\"", "a-row.pdf", &db.url] {
        assert!(!answer.body.contains(secret), "{secret}: {}", answer.body);
    }
}

/// Samples of OpenMetrics text; panics where it breaks the format's rules.
fn parse_metrics(text: &str) -> Vec<(String, f64)> {
    let mut types: Vec<(&str, &str)> = Vec::new();
    let mut samples = Vec::new();
    let lines = text.strip_suffix("# EOF\n").expect("the end is marked").lines();
    for line in lines {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(!types.iter().any(|(known, _)| *known == name), "{name} is declared twice");
            types.push((name, kind));
        } else if !line.starts_with("# HELP ") && !line.starts_with("# UNIT ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let (family, kind) = types.last().unwrap();
            let suffixes: &[&str] = match *kind {
                "counter" => &["_total"],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_count", "_sum"],
                _ => &[""],
            };
            let of_family = name.strip_prefix(family).is_some_and(|suffix| suffixes.contains(&suffix));
            assert!(of_family, "{name} stands below {family}, a {kind}");
            samples.push((sample.to_owned(), value.parse().unwrap()));
        }
    }
    samples
}

fn publish(bridge: &Bridge, token: &str, key: &str, body: &Value) -> RequestBuilder {
    bridge.request("POST", "/v1/tenants/acme/events").bearer_auth(token).header("idempotency-key", key).json(body)
}

#[tokio::test]
async fn a_published_event_arrives_as_it_was_sent() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let body =
        json!({"type": "invoice.paid", "subject": "inv-1", "data": {"amount": 12.50, "note": "naïve \"quote\"\n"}});
    let (status, answer) = bridge.post_as(&service(), "/v1/tenants/acme/events", &body).await;
    let event = sse.next().await;
    assert_eq!((status, &answer["id"]), (201, &event["id"]));
    assert_eq!((&event["type"], &event["subject"], &event["data"]), (&body["type"], &body["subject"], &body["data"]));
    assert_eq!(event["source"], "/emit");
}

#[tokio::test]
async fn an_idempotency_key_publishes_once_however_often_and_wherever_it_is_sent() {
    let db = Database::new().await;
    let (one, two) = (Bridge::start(&db).await, Bridge::start(&db).await);
    let body = json!({"type": "invoice.paid", "data": {"n": 1}});
    let service = service();
    let bridges = [&one, &two, &one, &two, &one, &two];
    let sent =
        futures_util::future::join_all(bridges.map(|bridge| Answer::of(publish(bridge, &service, "k1", &body)))).await;
    assert!(sent.iter().all(|answer| answer.status == 201 && answer.json() == sent[0].json()), "{sent:?}");
    assert_eq!(db.text("select count(*)::text from tidings.events where type = 'invoice.paid'").await, "1");
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_one_request_of_one_user() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (body, other) = (json!({"type": "invoice.paid", "data": 1}), json!({"type": "invoice.paid", "data": 2}));
    let first = Answer::of(publish(&bridge, &service(), "k1", &body)).await.json();
    let reused = Answer::of(publish(&bridge, &service(), "k1", &other)).await;
    assert_eq!(reused.problem(), (422, "idempotency_key_reused".into()));
    let someone = Answer::of(publish(&bridge, &admin(), "k1", &body)).await;
    assert_eq!(someone.status, 201);
    assert_ne!(someone.json(), first);
}

#[tokio::test]
async fn a_created_document_and_its_notification_are_one_transaction_of_one_tenant() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut ours = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut theirs = Sse::open(&bridge, &member("globex"), "globex", "").await;
    let body = json!({"name": "Plan; drop table documents --", "size": 12, "mime_type": "text/plain"});
    let (status, created) = bridge.post_as(&member("acme"), "/v1/tenants/acme/documents", &body).await;
    assert_eq!((status, &created["name"], &created["uploaded_by"]), (201, &body["name"], &json!("ann")));
    db.sentinel("acme").await;
    db.sentinel("globex").await;
    let events = ours.until_sentinel().await;
    let types: Vec<String> = events_of(&events).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(types, ["documents.inserted", "notifications.inserted"]);
    assert_eq!(events[0]["subject"], created["id"]);
    let transaction = |event: &Value| event["id"].as_str().unwrap().split('-').nth(1).unwrap().to_owned();
    assert_eq!(transaction(&events[0]), transaction(&events[1]));
    assert!(theirs.until_sentinel().await.is_empty());
}

#[tokio::test]
async fn a_document_that_is_refused_leaves_nothing_behind() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let token = member("acme");
    for (body, field) in [
        (json!({"name": " "}), "name"),
        (json!({"name": "a".repeat(256)}), "name"),
        (json!({"name": "a", "size": -1}), "size"),
        (json!({"name": "a", "colour": "red"}), "colour"),
        (json!({"size": 1}), "name"),
    ] {
        let (status, problem) = bridge.post_as(&token, "/v1/tenants/acme/documents", &body).await;
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{body}");
    }
    let (status, _) = bridge.post_as(&token, "/v1/tenants/globex/documents", &json!({"name": "a"})).await;
    assert_eq!(status, 403);
    assert_eq!(db.text("select count(*)::text from documents").await, "0");
    assert!(get_page(&bridge, &token, "acme", "").await.events.is_empty());
}
