//! A WebSocket client that does not speak the protocol is told what is wrong, and only then shown the door.

use reqwest::Response;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Bridge, Database, Ws, admin, member};

async fn connected(db: &Database) -> (Bridge, Ws) {
    let bridge = Bridge::start(db).await;
    let ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    (bridge, ws)
}

/// The code of the close frame; nothing else may come before it.
async fn close_code(ws: &mut Ws, after: &str) -> u16 {
    assert_eq!(ws.frame().await, None, "{after}");
    ws.close.take().map_or(0, |frame| frame.code.into())
}

#[tokio::test]
async fn what_is_not_understood_is_answered_by_name_and_the_socket_goes_on() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let long = json!({"type": "ping", "pad": "x".repeat(70_000)}).to_string();
    for (text, code, id) in [
        ("", "bad_json", Value::Null),
        ("{", "bad_json", Value::Null),
        ("[]", "unknown_type", Value::Null),
        ("7", "unknown_type", Value::Null),
        (r#"["ping"]"#, "unknown_type", Value::Null),
        ("{}", "unknown_type", Value::Null),
        (r#"{"type":"Subscribe","id":"s"}"#, "unknown_type", json!("s")),
        (r#"{"type":"event","event":{}}"#, "unknown_type", Value::Null),
        (r#"{"type":"subscribe"}"#, "bad_message", Value::Null),
        (r#"{"type":"subscribe","id":7,"tenant":"acme"}"#, "bad_message", Value::Null),
        (r#"{"type":"subscribe","id":"s","tenant":"acme","audience":"bob"}"#, "bad_message", json!("s")),
        (r#"{"type":"subscribe","id":"s","tenant":["acme"]}"#, "bad_message", json!("s")),
        (r#"{"type":"unsubscribe"}"#, "bad_message", Value::Null),
        (r#"{"type":"auth"}"#, "bad_message", Value::Null),
        (r#"{"type":"command","id":"c"}"#, "bad_message", json!("c")),
        (r#"{"type":"ping","x":1}"#, "bad_message", Value::Null),
        (&long, "too_long", Value::Null),
    ] {
        let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
        ws.socket.send_text(text).await;
        let error = ws.frame().await.unwrap();
        let start: String = text.chars().take(60).collect();
        assert_eq!((&error["type"], &error["code"], &error["id"]), (&"error".into(), &code.into(), &id), "{start}");
        ws.send(&json!({"type": "ping"})).await;
        assert_eq!(ws.frame().await.unwrap()["type"], "pong");
    }
}

/// Sends text as it is.
trait SendText {
    async fn send_text(&mut self, text: &str);
}

impl<S: futures_util::Sink<Message, Error = E> + Unpin, E: std::fmt::Debug> SendText for S {
    async fn send_text(&mut self, text: &str) {
        futures_util::SinkExt::send(self, Message::text(text)).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_subscription_names_its_field_and_is_no_strike() {
    let db = Database::new().await;
    let (_bridge, mut ws) = connected(&db).await;
    let long = "x".repeat(65);
    let globs = vec!["n"; 65];
    for (subscribe, code) in [
        (json!({"id": "", "tenant": "acme"}), "invalid_field"),
        (json!({"id": long, "tenant": "acme"}), "invalid_field"),
        (json!({"id": "s", "tenant": "acme"}), "invalid_field"),
        (json!({"id": "x", "tenant": "acme", "types": []}), "invalid_field"),
        (json!({"id": "x", "tenant": "acme", "types": ""}), "invalid_field"),
        (json!({"id": "x", "tenant": "acme", "types": ["a b"]}), "invalid_field"),
        (json!({"id": "x", "tenant": "acme", "types": globs}), "invalid_field"),
        (json!({"id": "x", "tenant": "acme", "after": "yesterday"}), "invalid_field"),
        (json!({"id": "x", "tenant": "globex"}), "forbidden"),
        (json!({"id": "x", "tenant": ""}), "forbidden"),
        (json!({"id": "x", "tenant": "acme\u{0}"}), "forbidden"),
        (json!({"id": "x"}), "forbidden"),
    ] {
        let mut message = subscribe.clone();
        message["type"] = "subscribe".into();
        ws.send(&message).await;
        let refused = ws.frame().await.unwrap();
        assert_eq!(
            (&refused["type"], &refused["code"], &refused["id"]),
            (&"error".into(), &code.into(), &subscribe["id"]),
            "{refused}"
        );
    }
    db.sentinel("acme").await;
    assert_eq!(ws.until_sentinel().await, [json!(null); 0]);
}

#[tokio::test]
async fn a_tenant_that_cannot_be_is_refused_to_admins_too() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let id = db.text("select tidings.emit('acme', 'n')").await;
    let mut ws = Ws::connect(&bridge, &admin()).await;
    let long = "x".repeat(256);
    for tenant in ["", "acme\u{0}", "a\nb", &long] {
        for more in [json!({}), json!({"after": id})] {
            let refused = ws.subscribe("s", tenant, more).await;
            assert_eq!((&refused["type"], &refused["code"]), (&"error".into(), &"invalid_field".into()), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_connection_has_room_for_so_many_subscriptions() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.subscriptions_per_connection", "2")]).await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    assert_eq!(ws.subscribe("t", "acme", json!({})).await["type"], "subscribed");
    assert_eq!(ws.subscribe("u", "acme", json!({})).await["code"], "too_many_subscriptions");
    ws.send(&json!({"type": "unsubscribe", "id": "t"})).await;
    assert_eq!(ws.subscribe("u", "acme", json!({})).await["type"], "subscribed");
}

#[tokio::test]
async fn the_fifth_strike_ends_the_connection() {
    let db = Database::new().await;
    let (bridge, mut ws) = connected(&db).await;
    for strike in 1..=5 {
        match strike % 2 {
            0 => ws.socket.send_text("{").await,
            _ => futures_util::SinkExt::send(&mut ws.socket, Message::binary(vec![0, 1, 2])).await.unwrap(),
        }
        let code = ws.frame().await.unwrap()["code"].clone();
        assert_eq!(code, if strike % 2 == 0 { "bad_json" } else { "unknown_frame" });
    }
    let bye = ws.frame().await.unwrap();
    assert_eq!(bye, json!({"type": "bye", "code": 4502, "reason": "protocol", "reconnect": false}));
    assert_eq!(close_code(&mut ws, "five strikes").await, 4502);
    assert_eq!(Ws::open(&bridge, &member("acme"), "acme", json!({})).await.close, None);
}

/// A handshake with some headers changed; without a value, left out.
async fn handshake(bridge: &Bridge, changed: &[(&str, Option<&str>)]) -> Response {
    let bearer = format!("Bearer {}", member("acme"));
    let usual = [
        ("authorization", bearer.as_str()),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "tidings.v1.json"),
    ];
    let kept = usual.into_iter().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
    let headers = kept.chain(changed.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
    let request = reqwest::Client::builder().http1_only().build().unwrap().get(bridge.url("/v1/ws"));
    headers.fold(request, |request, (name, value)| request.header(name, value)).send().await.unwrap()
}

#[tokio::test]
async fn a_bad_handshake_is_refused_with_a_problem() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    for (changed, status) in [
        (("sec-websocket-key", None), 400),
        (("sec-websocket-key", Some("short")), 400),
        (("sec-websocket-key", Some("not base64 at all!!!!!!!")), 400),
        (("sec-websocket-version", Some("12")), 426),
        (("sec-websocket-version", None), 426),
        (("sec-websocket-protocol", Some("graphql-ws")), 400),
        (("upgrade", None), 426),
        (("upgrade", Some("h2c")), 426),
        (("connection", Some("keep-alive")), 426),
        (("authorization", None), 401),
        (("origin", Some("https://evil.example")), 403),
        (("origin", Some("null")), 403),
    ] {
        let response = handshake(&bridge, &[changed]).await;
        assert_eq!(response.status(), status, "{changed:?}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        if status == 426 {
            // RFC 6455 §4.2.2 and RFC 9110 §15.5.22 want both.
            let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(
                (header("sec-websocket-version").as_deref(), header("upgrade").as_deref()),
                (Some("13"), Some("websocket"))
            );
        }
    }
}

#[tokio::test]
async fn a_good_handshake_is_answered_as_the_standard_says() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    for (changed, protocol) in [
        (vec![], Some("tidings.v1.json")),
        (vec![("sec-websocket-protocol", None)], None),
        (vec![("sec-websocket-protocol", Some("x, tidings.v1.json"))], Some("tidings.v1.json")),
        (vec![("connection", Some("keep-alive, Upgrade")), ("upgrade", Some("WebSocket"))], Some("tidings.v1.json")),
    ] {
        let response = handshake(&bridge, &changed).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["sec-websocket-accept"]),
            (101, &"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".parse().unwrap())
        );
        assert_eq!(response.headers().get("sec-websocket-protocol").map(|name| name.to_str().unwrap()), protocol);
    }
}

#[tokio::test]
async fn a_foreign_page_cannot_use_the_cookie_and_an_allowed_one_can() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("http.origins", r#"["https://app.example.com"]"#)]).await;
    let cookie = format!("tidings={}", member("acme"));
    let own = format!("http://{}", bridge.address);
    for (origin, status) in [
        (None, 101),
        (Some("https://app.example.com"), 101),
        (Some(own.as_str()), 101),
        (Some("https://evil.example"), 403),
        (Some("https://app.example.com.evil.example"), 403),
        (Some("https://app.example.com:8443"), 403),
        (Some("http://app.example.com"), 403),
        (Some("null"), 403),
    ] {
        let changed = [("authorization", None), ("cookie", Some(cookie.as_str())), ("origin", origin)];
        assert_eq!(handshake(&bridge, &changed).await.status(), status, "{origin:?}");
    }
}
