//! Nobody gets more than their share: of connections, sockets, requests, messages; and whoever is refused is told when to
//! come back.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{Answer, Bridge, Database, Ws, admin, eventually, member, token};

fn user(sub: &str) -> String {
    token(json!({"sub": sub, "tenant": "acme"}))
}

fn service(sub: &str) -> String {
    token(json!({"sub": sub, "tenant": "acme", "role": "service"}))
}

/// What a proxy on this machine is told to be: in front of clients with addresses of their own.
const BEHIND_A_PROXY: (&str, &str) = ("http.trusted_proxies", r#"["127.0.0.1"]"#);

async fn get(bridge: &Bridge, token: &str, path: &str) -> Answer {
    Answer::of(bridge.request("GET", path).bearer_auth(token)).await
}

/// Opens a stream from an address as a proxy says it. Held open by what is returned.
async fn stream_from(bridge: &Bridge, address: &str, token: &str) -> reqwest::Response {
    let request = bridge.request("GET", "/v1/tenants/acme/events").bearer_auth(token);
    request.header("accept", "text/event-stream").header("x-forwarded-for", address).send().await.unwrap()
}

fn assert_later(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.problem(), (status, code.into()));
    let seconds: u32 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

async fn refused(bridge: &Bridge, code: &str) -> u64 {
    let text = reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap();
    let name = format!("tidings_refused_total{{reason=\"{code}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn an_address_has_room_for_so_many_connections_and_says_so_to_one_more() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.connections_per_address", "2"), BEHIND_A_PROXY]).await;
    let first = stream_from(&bridge, "203.0.113.9", &user("a")).await;
    // What a client made up before the proxy added its address changes nothing.
    let second = stream_from(&bridge, "198.51.100.7, 203.0.113.9", &user("b")).await;
    assert_eq!((first.status(), second.status()), (200.try_into().unwrap(), 200.try_into().unwrap()));
    for made_up in ["203.0.113.9", "1.1.1.1, 203.0.113.9"] {
        let request = bridge.request("GET", "/v1/tenants/acme/events").bearer_auth(user("c"));
        let more = Answer::of(request.header("accept", "text/event-stream").header("x-forwarded-for", made_up)).await;
        assert_later(&more, 429, "too_many_connections");
    }
    let mut request = format!("ws://{}/v1/ws", bridge.address).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", user("d")).parse().unwrap());
    request.headers_mut().insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
    let error = connect_async(request).await.unwrap_err().to_string();
    assert!(error.contains("429"), "{error}");
    assert_eq!(refused(&bridge, "too_many_connections").await, 3);
    assert_eq!(stream_from(&bridge, "203.0.113.10", &user("c")).await.status(), 200, "another address");
    drop(second);
    eventually("its place is free again", || async {
        stream_from(&bridge, "203.0.113.9", &user("c")).await.status() == 200
    })
    .await;
}

/// A connection from another address of this machine.
async fn socket_from(bridge: &Bridge, address: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    socket.connect(bridge.address).await.unwrap()
}

#[tokio::test]
async fn an_address_that_opens_sockets_and_asks_nothing_leaves_room_for_others() {
    let db = Database::new().await;
    // 74 sockets in all, 65 of them for one address.
    let limits = [("limits.connections", "10"), ("limits.connections_per_address", "1")];
    let bridge = Bridge::with(&db.url, &limits).await;
    let mut hoard = Vec::new();
    for _ in 0..100 {
        hoard.push(socket_from(&bridge, Ipv4Addr::new(127, 0, 0, 9)).await);
    }
    eventually("those beyond its share were closed", || async { refused(&bridge, "too_many_sockets").await == 35 })
        .await;
    let last = hoard.last_mut().unwrap();
    assert!(matches!(last.read(&mut [0; 1]).await, Ok(0) | Err(_)), "it is closed");
    assert_eq!(get(&bridge, &member("acme"), "/v1/status").await.status, 200);
    drop(hoard);
    let ask = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    eventually("its places are free again", || async {
        let mut socket = socket_from(&bridge, Ipv4Addr::new(127, 0, 0, 9)).await;
        let mut answer = String::new();
        let asked = tokio::io::AsyncWriteExt::write_all(&mut socket, ask.as_bytes()).await;
        asked.is_ok() && socket.read_to_string(&mut answer).await.is_ok() && answer.contains("200 OK")
    })
    .await;
}

#[tokio::test]
async fn a_service_publishes_so_many_events_a_second_and_others_go_on() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.publishes_per_user", "1")]).await;
    let publish = async |token: &str| {
        let request = bridge.request("POST", "/v1/tenants/acme/events").bearer_auth(token);
        Answer::of(request.json(&json!({"type": "n"}))).await
    };
    assert_eq!((publish(&service("bot")).await.status, publish(&service("bot")).await.status), (201, 201));
    assert_later(&publish(&service("bot")).await, 429, "too_many_requests");
    assert_eq!(publish(&service("other")).await.status, 201);
    assert_eq!(get(&bridge, &service("bot"), "/v1/status").await.status, 200, "what is counted apart goes on");
    assert_eq!(refused(&bridge, "too_many_requests").await, 1);
    eventually("it may publish again", || async { publish(&service("bot")).await.status == 201 }).await;
}

#[tokio::test]
async fn tickets_changes_and_questions_of_a_user_count_as_requests() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.requests_per_user", "1")]).await;
    for (sub, method, path) in [
        ("a", "POST", "/v1/tickets"),
        ("b", "PATCH", "/v1/connections/0123456789abcdef"),
        ("c", "DELETE", "/v1/connections/0123456789abcdef"),
        ("d", "GET", "/v1/status"),
        ("e", "GET", "/v1/session"),
        ("f", "GET", "/v1/stats"),
    ] {
        let token = token(json!({"sub": sub, "role": "admin"}));
        let ask = async || Answer::of(bridge.request(method, path).bearer_auth(&token).json(&json!({}))).await;
        for _ in 0..2 {
            assert_ne!(ask().await.status, 429, "{path}");
        }
        assert_later(&ask().await, 429, "too_many_requests");
    }
}

#[tokio::test]
async fn streams_pages_and_subscriptions_are_opened_so_many_a_second() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.opens_per_user", "1")]).await;
    for accept in ["application/json", "text/event-stream"] {
        let token = user(accept);
        let open = async || {
            let request = bridge.request("GET", "/v1/tenants/acme/events").bearer_auth(&token);
            Answer::of(request.header("accept", accept)).await
        };
        assert_eq!((open().await.status, open().await.status), (200, 200));
        assert_later(&open().await, 429, "too_many_requests");
    }
    let mut ws = Ws::connect(&bridge, &user("w")).await;
    assert_eq!(ws.subscribe("s", "acme", json!({})).await["type"], "subscribed");
    let refused = ws.subscribe("t", "acme", json!({})).await;
    assert_eq!((&refused["id"], &refused["code"]), (&json!("t"), &json!("too_many_requests")));
    let ws = tokio::sync::Mutex::new(ws);
    eventually("it may subscribe again", || async {
        ws.lock().await.subscribe("t", "acme", json!({})).await["type"] == "subscribed"
    })
    .await;
}

#[tokio::test]
async fn guessing_credentials_is_slowed_and_costs_those_who_share_the_address_nothing() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.failures_per_address", "1"), BEHIND_A_PROXY]).await;
    let ask = async |address: &str, path: &str, token: Option<&str>| {
        let request = bridge.request("GET", path).header("x-forwarded-for", address);
        Answer::of(token.into_iter().fold(request, |request, token| request.bearer_auth(token))).await
    };
    let (here, status) = ("203.0.113.9", "/v1/status");
    let (known, fresh) = (user("known"), user("fresh"));
    assert_eq!(ask(here, status, Some(&known)).await.status, 200);
    let wrong = tidings::auth::mint("another secret of as many bytes as ours", json!({"sub": "a", "tenant": "acme"}));
    for guess in [wrong.as_deref().unwrap_or("x.y.z"), "x.y.z"] {
        assert_eq!(ask(here, status, Some(guess)).await.status, 401);
    }
    // A guess is not even looked at, right or wrong, in whichever way it is carried.
    assert_later(&ask(here, status, Some("x.y.z")).await, 429, "too_many_failures");
    assert_later(&ask(here, status, Some(&fresh)).await, 429, "too_many_failures");
    assert_later(&ask(here, "/v1/status?ticket=guess", None).await, 429, "too_many_failures");
    assert_later(&ask(here, "/?ticket=guess", None).await, 429, "too_many_failures");
    assert_eq!(ask(here, status, Some(&known)).await.status, 200, "one that was good is");
    assert_eq!(ask("203.0.113.10", status, Some(&fresh)).await.status, 200, "another address");
    eventually("it passes", || async { ask(here, status, Some(&fresh)).await.status == 200 }).await;
}

#[tokio::test]
async fn requests_without_a_credential_are_counted_by_address() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.requests_per_address", "1"), BEHIND_A_PROXY]).await;
    let ask = async |address: &str, path: &str| {
        Answer::of(bridge.request("GET", path).header("x-forwarded-for", address)).await
    };
    for path in ["/", "/v1/openapi.json"] {
        assert_eq!(ask("203.0.113.9", path).await.status, 200);
    }
    for path in ["/", "/v1/openapi.json", "/v1/sign-in", "/v1/status"] {
        assert_later(&ask("203.0.113.9", path).await, 429, "too_many_requests");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(ask("203.0.113.9", path).await.status, 200, "{path}");
    }
    assert_eq!(ask("203.0.113.10", "/").await.status, 200, "another address");
    let known = bridge.request("GET", "/v1/status").bearer_auth(user("a")).header("x-forwarded-for", "203.0.113.9");
    assert_eq!(Answer::of(known).await.status, 200, "who shows a credential");
}

#[tokio::test]
async fn a_socket_that_floods_is_told_so_and_then_closed_and_costs_nobody_else() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.messages_per_connection", "5")]).await;
    let mut good = Ws::open(&bridge, &user("good"), "acme", json!({})).await;
    let mut flood = Ws::open(&bridge, &user("flood"), "acme", json!({})).await;
    for n in 0..100 {
        // Its end may come before the last of them.
        let ping = json!({"type": "unsubscribe", "id": n.to_string()}).to_string();
        let sent = futures_util::SinkExt::send(&mut flood.socket, tokio_tungstenite::tungstenite::Message::text(ping));
        if sent.await.is_err() {
            break;
        }
    }
    let mut answers: Vec<Value> = Vec::new();
    while let Some(frame) = flood.frame().await {
        answers.push(frame);
    }
    let codes: Vec<&str> = answers.iter().filter_map(|answer| answer["code"].as_str()).collect();
    assert!(codes.iter().filter(|code| **code == "unknown_subscription").count() >= 9, "{codes:?}");
    let too_fast: Vec<&Value> = answers.iter().filter(|answer| answer["code"] == "too_many_requests").collect();
    assert!(too_fast.len() >= 10 && too_fast.iter().all(|answer| answer["id"].is_string()), "{too_fast:?}");
    assert_eq!(answers.last().unwrap()["code"], 4029);
    assert_eq!(u16::from(flood.close.unwrap().code), 4029);
    db.sentinel("acme").await;
    assert!(good.until_sentinel().await.is_empty());
}

#[tokio::test]
async fn commands_of_a_user_count_as_requests_on_all_their_sockets() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.requests_per_user", "1")]).await;
    let token = admin();
    let mut codes = Vec::new();
    for _ in 0..3 {
        let mut ws = Ws::connect(&bridge, &token).await;
        let args = json!({"tenant": "acme", "session": "none"});
        ws.send(&json!({"type": "command", "id": "c", "name": "chat.end", "args": args})).await;
        codes.push(ws.frame().await.unwrap()["error"]["code"].clone());
    }
    assert_eq!(codes, ["not_found", "not_found", "too_many_requests"]);
}

#[tokio::test]
async fn those_who_are_refused_together_do_not_come_back_together() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("limits.connections_per_user", "1")]).await;
    let _only = stream_from(&bridge, "", &user("a")).await;
    let mut told = std::collections::HashSet::new();
    for _ in 0..40 {
        let request = bridge.request("GET", "/v1/tenants/acme/events").bearer_auth(user("a"));
        let answer = Answer::of(request.header("accept", "text/event-stream")).await;
        assert_later(&answer, 429, "too_many_connections");
        told.insert(answer.header("retry-after").to_owned());
    }
    assert!(told.len() > 1, "{told:?}");
}

#[tokio::test]
async fn a_stream_that_is_changed_over_and_over_shows_no_more_globs_than_one_may_have() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let sse = crate::support::Sse::open(&bridge, &member("acme"), "acme", "?types=a").await;
    let path = format!("/v1/connections/{}", sse.hello["connection"].as_str().unwrap());
    let mut statuses = Vec::new();
    for n in 0..70 {
        let change = json!({"subscribe": [format!("t{n}")]});
        statuses.push(bridge.send_as(&member("acme"), "PATCH", &path, &change).await.0);
    }
    assert_eq!((statuses[62], statuses[63], statuses[69]), (200, 422, 422));
    db.run("select tidings.emit('acme', 't0')").await;
    let mut sse = sse;
    assert_eq!(sse.next().await["type"], "t0");
}
