//! Whatever a client sends is answered clearly: the right status, the field, nothing of another tenant, nothing secret.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Bridge, Database, SECRET, Sse, Ws, admin, eventually, get_page, member, token};

/// A request whose path no client library has tidied up; its status and body.
async fn raw(bridge: &Bridge, token: &str, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(bridge.address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn service() -> String {
    token(json!({"sub": "bot", "tenant": "acme", "role": "service"}))
}

#[tokio::test]
async fn no_spelling_of_a_path_reaches_another_tenant() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    db.run(
        "select tidings.emit(t, 'n', '{\"treasure\": 1}') from unnest('{globex,/,..,acme/x,Acme,acme%00}'::text[]) t",
    )
    .await;
    let long = "a".repeat(300);
    for (tenant, status) in [
        ("acme", 200),
        ("%61cme", 200),
        ("acme?x=/v1/tenants/globex/events", 404),
        ("globex", 403),
        ("%67lobex", 403),
        ("Acme", 403),
        ("acme%20", 403),
        ("acme+", 403),
        ("acme%252Fx", 403),
        ("%252e%252e", 403),
        ("..", 403),
        ("%2e%2e", 403),
        (".", 403),
        ("%2F", 403),
        ("acme%2Fx", 403),
        ("acme%2F..%2Fglobex", 403),
        ("acme/../globex", 404),
        ("acme/x", 404),
        ("acme%2500", 403),
        ("acme%00", 404),
        ("acme%0a", 404),
        ("acme%7f", 404),
        ("%ff", 404),
        ("%e2%82", 404),
        ("%c0%af", 404),
        ("acme%", 403),
        ("%zz", 403),
        ("", 404),
        (long.as_str(), 404),
    ] {
        let (answered, body) = raw(&bridge, &member("acme"), &format!("/v1/tenants/{tenant}/events")).await;
        assert_eq!(answered, status, "{tenant}: {body}");
        assert!(!body.contains("treasure"), "{tenant}: {body}");
        assert!(status == 200 || body.contains("\"code\""), "{tenant}: {body}");
    }
}

#[tokio::test]
async fn tenants_with_difficult_names_are_served_and_kept_apart() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let long = "ü".repeat(127);
    let names = [
        "a/b",
        "a%2Fb",
        "a",
        "A",
        " a",
        "caf\u{e9}",
        "cafe\u{301}",
        "...",
        "*",
        "a,b",
        "a'b",
        "a\"b",
        "a\\b",
        "\u{1f980}",
        "日本",
        &long,
        "\u{ff41}",
        "ﬀ",
        "ff",
        "ß",
        "ss",
        "null",
        "{tenant}",
    ];
    for (number, name) in names.iter().enumerate() {
        let path: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let mut sse = Sse::at(&bridge, &member(name), &format!("/v1/tenants/{path}/events"), None).await;
        let mut ws = Ws::open(&bridge, &member(name), name, json!({})).await;
        let publisher = token(json!({"sub": "bot", "tenant": name, "role": "service"}));
        let event = json!({"type": "n", "subject": number.to_string()});
        assert_eq!(bridge.post_as(&publisher, &format!("/v1/tenants/{path}/events"), &event).await.0, 201, "{name}");
        assert_eq!(
            (&sse.next().await["tenant"], &ws.next().await["subject"]),
            (&(*name).into(), &number.to_string().into())
        );
    }
    for name in names {
        let path: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let events = get_page(&bridge, &member(name), &path, "").await.events;
        assert_eq!((events.len(), &events[0]["tenant"]), (1, &name.into()));
    }
}

#[tokio::test]
async fn a_bad_publication_is_refused_naming_the_field() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let nested = format!("{{\"type\":\"n\",\"data\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let long = |name: &str, length: usize| format!("{{\"type\":\"n\",\"{name}\":\"{}\"}}", "x".repeat(length));
    for (body, status, field) in [
        (r#"{"type":""}"#.to_owned(), 422, "type"),
        (r#"{"type":"a b"}"#.into(), 422, "type"),
        (r#"{"type":".n"}"#.into(), 422, "type"),
        (r#"{"type":"ünder"}"#.into(), 422, "type"),
        (r#"{"type":"n,m"}"#.into(), 422, "type"),
        (r#"{"type":"n\u0000"}"#.into(), 422, "type"),
        (long("type", 128), 422, "body"),
        (format!(r#"{{"type":"{}"}}"#, "x".repeat(128)), 422, "type"),
        (r#"{"data":{}}"#.into(), 422, "body"),
        (r#"{"type":7}"#.into(), 422, "body"),
        (r#"{"type":"n","tenant":"globex"}"#.into(), 422, "body"),
        (r#"{"type":"n","id":"1-2-3"}"#.into(), 422, "body"),
        (r#"{"type":"n","type":"m"}"#.into(), 422, "body"),
        (r#""n""#.into(), 422, "body"),
        (r#"["n", null, null, {}]"#.into(), 422, "body"),
        (r#"{"type":"n","subject":""}"#.into(), 422, "subject"),
        (r#"{"type":"n","subject":"a\u0000"}"#.into(), 422, "subject"),
        (long("subject", 1025), 422, "subject"),
        (r#"{"type":"n","audience":""}"#.into(), 422, "audience"),
        (long("audience", 256), 422, "audience"),
        (r#"{"type":"n","data":{"a":"\u0000"}}"#.into(), 422, "data"),
        (r#"{"type":"n","data":{"a":"\ud800"}}"#.into(), 422, "data"),
        (r#"{"type":"n","data":{"a":1e999999}}"#.into(), 422, "data"),
        (nested, 422, "data"),
        ("".into(), 400, ""),
        ("{".into(), 400, ""),
        (r#"{"type":"n",}"#.into(), 400, ""),
        (r#"{"type":"n"} x"#.into(), 400, ""),
        ("type=n".into(), 400, ""),
    ] {
        let request = reqwest::Client::new().post(bridge.url("/v1/tenants/acme/events")).bearer_auth(service());
        let response = request.header("content-type", "application/json").body(body.clone()).send().await.unwrap();
        let (answered, problem) = (response.status().as_u16(), response.json::<Value>().await.unwrap());
        let start: String = body.chars().take(60).collect();
        assert_eq!((answered, problem["field"].as_str().unwrap_or("")), (status, field), "{start}: {problem}");
    }
    assert_eq!(db.text("select count(*)::text from tidings.events").await, "0");
}

#[tokio::test]
async fn data_that_only_looks_like_nul_is_published_unchanged() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let data = json!({"path": "C:\\u0000", "text": "a\nb\r\u{2028}\u{1f980}", "deep": [[{"n": 1.5}]], "none": null});
    let event = json!({"type": "n", "subject": "s", "data": data});
    let (status, answer) = bridge.post_as(&service(), "/v1/tenants/acme/events", &event).await;
    assert_eq!(status, 201, "{answer}");
    let seen = sse.next().await;
    assert_eq!((&seen["id"], &seen["data"], &seen["source"]), (&answer["id"], &data, &"/emit".into()));
}

#[tokio::test]
async fn a_publication_of_another_kind_or_size_is_refused() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("http.request_bytes_max", "2KiB")]).await;
    let post = || reqwest::Client::new().post(bridge.url("/v1/tenants/acme/events")).bearer_auth(service());
    let (event, large) = (r#"{"type":"n"}"#, format!(r#"{{"type":"n","data":"{}"}}"#, "x".repeat(3000)));
    let json = |body: &str| post().header("content-type", "application/json").body(body.to_owned());
    for (request, status, code) in [
        (post().body(event), 415, "unsupported_media_type"),
        (post().header("content-type", "text/plain").body(event), 415, "unsupported_media_type"),
        (post().header("content-type", "application/x-www-form-urlencoded").body(event), 415, "unsupported_media_type"),
        (json(&large), 413, "too_large"),
        (json(event).header("idempotency-key", "k".repeat(256)), 422, "invalid_field"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.json::<Value>().await.unwrap()["code"], code);
    }
    let allowed = post().header("content-type", "Application/JSON; charset=utf-8").body(event).send().await.unwrap();
    assert_eq!(allowed.status(), 201);
    assert_eq!(bridge.post_as(&member("acme"), "/v1/tenants/acme/events", &json!({"type": "n"})).await.0, 403);
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("http.request_bytes_max", "2KiB")]).await;
    let mut socket = TcpStream::connect(bridge.address).await.unwrap();
    let head = "POST /v1/tenants/acme/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n";
    socket.write_all(format!("{head}authorization: Bearer {}\r\n\r\n", service()).as_bytes()).await.unwrap();
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1024));
    for _ in 0..3 {
        socket.write_all(chunk.as_bytes()).await.unwrap();
    }
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn an_audience_given_over_http_is_honoured() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut ann = Sse::open(&bridge, &member("acme"), "acme", "").await;
    for audience in ["bob", "ann"] {
        let event = json!({"type": "n", "audience": audience});
        assert_eq!(bridge.post_as(&service(), "/v1/tenants/acme/events", &event).await.0, 201);
    }
    assert_eq!(ann.next().await["audience"], "ann");
}

/// The status and `Retry-After` of one more stream.
async fn one_more(bridge: &Bridge, token: &str, tenant: &str) -> (u16, bool) {
    let request = reqwest::Client::new().get(bridge.url(&format!("/v1/tenants/{tenant}/events"))).bearer_auth(token);
    let response = request.header("accept", "text/event-stream").send().await.unwrap();
    let seconds =
        response.headers().get("retry-after").is_some_and(|s| s.to_str().unwrap().parse::<u32>().unwrap() > 0);
    (response.status().as_u16(), seconds)
}

#[tokio::test]
async fn a_user_a_tenant_and_a_process_have_room_for_so_many_and_get_it_back() {
    let db = Database::new().await;
    let user = |sub: &str, tenant: &str| token(json!({"sub": sub, "tenant": tenant}));
    for (limit, refused, status) in [
        ("limits.connections_per_user", user("ann", "acme"), 429),
        ("limits.connections_per_tenant", user("bob", "acme"), 429),
        ("limits.connections", user("bob", "acme"), 503),
    ] {
        let bridge = Bridge::with(&db.url, &[(limit, "2")]).await;
        let mut first = Sse::open(&bridge, &user("ann", "acme"), "acme", "").await;
        let second = Sse::open(&bridge, &user("ann", "acme"), "acme", "").await;
        assert_eq!(one_more(&bridge, &refused, "acme").await, (status, true), "{limit}");
        if limit != "limits.connections" {
            assert_eq!(one_more(&bridge, &user("gus", "globex"), "globex").await, (200, false), "{limit}");
        }
        db.sentinel("acme").await;
        assert!(first.until_sentinel().await.is_empty());
        drop(second);
        eventually("the place is free again", || async { one_more(&bridge, &refused, "acme").await.0 == 200 }).await;
    }
}

#[tokio::test]
async fn a_full_tenant_refuses_a_subscription_however_often_it_is_asked_for() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.connections_per_tenant", "1")]).await;
    let first = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    let mut second = Ws::connect(&bridge, &admin()).await;
    for _ in 0..3 {
        assert_eq!(second.subscribe("s", "acme", json!({})).await["code"], "too_many_connections");
    }
    assert_eq!(second.subscribe("s", "globex", json!({})).await["type"], "subscribed");
    drop(first);
    let second = tokio::sync::Mutex::new(second);
    eventually("the place is free again", || async {
        second.lock().await.subscribe("t", "acme", json!({})).await["type"] == "subscribed"
    })
    .await;
}

#[tokio::test]
async fn no_refusal_holds_a_secret_or_an_internal() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let token = service();
    let http = reqwest::Client::new();
    for (method, path, body) in [
        (Method::GET, "/v1/tenants/globex/events", ""),
        (Method::GET, "/v1/tenants/acme/events?after=s3cr3t", ""),
        (Method::GET, "/v1/tenants/acme/events?types=s3cr3t,,", ""),
        (Method::GET, "/v1/tenants/acme/events?limit=s3cr3t", ""),
        (Method::GET, "/v1/tenants/acme/events?wait=-1", ""),
        (Method::GET, "/v1/s3cr3t", ""),
        (Method::POST, "/v1/tenants/acme/events", r#"{"type":"n","data":"s3cr3t\ud800"}"#),
        (Method::POST, "/v1/tenants/acme/events", r#"{"type":{"s3cr3t":1}}"#),
        (Method::POST, "/v1/tenants/acme/events", r#"s3cr3t"#),
        (Method::PUT, "/v1/tenants/acme/events", ""),
        (Method::PATCH, "/v1/connections/s3cr3t", "{}"),
    ] {
        let request =
            http.request(method, bridge.url(path)).bearer_auth(&token).header("content-type", "application/json");
        let response = request.body(body).send().await.unwrap();
        let (status, kind) = (response.status(), response.headers()["content-type"].clone());
        let problem = response.text().await.unwrap();
        assert!(status.is_client_error() && kind == "application/problem+json", "{path}: {status} {problem}");
        for secret in [SECRET, token.as_str(), "s3cr3t", "tidings._", "select ", "src/"] {
            assert!(!problem.contains(secret), "{path}: {problem}");
        }
    }
}

#[tokio::test]
async fn a_document_that_the_database_does_not_take_is_refused_as_the_callers_fault() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    for more in [
        json!({"url": "a\u{0}b"}),
        json!({"mime_type": "\u{0}"}),
        json!({"metadata": {"a": "\u{0}"}}),
        json!({"metadata": 7}),
    ] {
        let mut body = json!({"name": "Plan"});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let (status, problem) = bridge.post_as(&member("acme"), "/v1/tenants/acme/documents", &body).await;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid_field")), "{more}: {problem}");
    }
}
