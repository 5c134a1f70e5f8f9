//! What a WebSocket connection says beyond events: pings, commands, several subscriptions at once.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Bridge, Database, Ws, admin, events_of, member};

#[tokio::test]
async fn a_socket_opens_with_what_a_client_needs_to_know() {
    let db = Database::new().await;
    let ws = Ws::connect(&Bridge::with(&db.url, &[("http.heartbeat", "9s")]).await, &member("acme")).await;
    assert_eq!((&ws.hello["heartbeat_s"], &ws.hello["protocol"]), (&json!(9), &json!("tidings.v1.json")));
    assert_eq!(ws.hello["connection"].as_str().unwrap().len(), 16);
}

#[tokio::test]
async fn pings_are_answered_whichever_way_they_are_sent() {
    let bridge = Bridge::start(&Database::new().await).await;
    let mut ws = Ws::connect(&bridge, &member("acme")).await;
    ws.send(&json!({"type": "ping"})).await;
    assert_eq!(ws.frame().await.unwrap(), json!({"type": "pong"}));
    ws.socket.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(ws.socket.next().await.unwrap().unwrap(), Message::Pong("p".into()));
}

#[tokio::test]
async fn an_unknown_command_is_answered_and_the_connection_goes_on() {
    let bridge = Bridge::start(&Database::new().await).await;
    let mut ws = Ws::connect(&bridge, &member("acme")).await;
    for number in 0..10 {
        ws.send(&json!({"type": "command", "id": number.to_string(), "name": "chat.fly", "args": {"tenant": "acme"}}))
            .await;
        let result = ws.frame().await.unwrap();
        assert_eq!(
            (&result["type"], &result["id"], &result["ok"]),
            (&json!("result"), &json!(number.to_string()), &json!(false))
        );
        assert_eq!(result["error"]["code"], "unknown_command");
    }
}

#[tokio::test]
async fn an_event_that_two_subscriptions_match_is_sent_once() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({"types": "a,b,sentinel"})).await;
    assert_eq!(ws.subscribe("t", "acme", json!({"types": ["b", "c", "sentinel"]})).await["type"], "subscribed");
    for kind in ["a", "b", "c", "d", "b"] {
        db.run(&format!("select tidings.emit('acme', '{kind}')")).await;
    }
    db.sentinel("acme").await;
    db.run("select tidings.emit('acme', 'a')").await;
    let types: Vec<String> = events_of(&ws.until_sentinel().await).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(types, ["a", "b", "c", "b"], "in the order of their commits, whichever subscription shows them");
    assert_eq!(ws.next().await["type"], "a", "and the sentinel only once");
}

#[tokio::test]
async fn a_second_subscription_from_a_cursor_repeats_nothing_that_the_first_has_sent() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let cursor = db.text("select tidings.cursor()").await;
    db.run("select tidings.emit('acme', 'before')").await;
    db.sentinel("acme").await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({"types": "between"})).await;
    db.run("select tidings.emit('acme', 'between')").await;
    assert_eq!(ws.next().await["type"], "between");
    assert_eq!(ws.subscribe("t", "acme", json!({"after": cursor})).await["resumed"], true);
    db.run("select tidings.emit('acme', 'end')").await;
    let mut types = Vec::new();
    while types.last().is_none_or(|kind| kind != "end") {
        types.push(ws.next().await["type"].as_str().unwrap().to_owned());
    }
    types.retain(|kind| kind != "end");
    assert_eq!(types, ["before", "sentinel"]);
}

#[tokio::test]
async fn unsubscribing_stops_one_subscription_and_leaves_the_others() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({"types": "a"})).await;
    ws.subscribe("t", "acme", json!({"types": "b,sentinel"})).await;
    ws.send(&json!({"type": "unsubscribe", "id": "s"})).await;
    ws.send(&json!({"type": "ping"})).await;
    assert_eq!(ws.frame().await.unwrap()["type"], "pong");
    db.run("select tidings.emit('acme', 'a'), tidings.emit('acme', 'b')").await;
    db.sentinel("acme").await;
    assert_eq!(events_of(&ws.until_sentinel().await), [("b".into(), String::new())]);
    ws.send(&json!({"type": "unsubscribe", "id": "s"})).await;
    let error = ws.frame().await.unwrap();
    assert_eq!(
        (&error["type"], &error["id"], &error["code"]),
        (&json!("error"), &json!("s"), &json!("unknown_subscription"))
    );
}

#[tokio::test]
async fn a_subscription_without_a_tenant_is_for_admins_and_spans_all() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let everywhere = json!({"type": "subscribe", "id": "all"});
    let mut ann = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    ann.send(&everywhere).await;
    let refused = ann.frame().await.unwrap();
    assert_eq!(
        (&refused["type"], &refused["id"], &refused["code"]),
        (&json!("error"), &json!("all"), &json!("forbidden"))
    );
    let mut root = Ws::connect(&bridge, &admin()).await;
    root.send(&everywhere).await;
    assert_eq!(root.frame().await.unwrap()["type"], "subscribed");
    for tenant in ["acme", "globex", "tenant-of-tomorrow"] {
        db.run(&format!("select tidings.emit('{tenant}', 'a')")).await;
    }
    db.sentinel("acme").await;
    let tenants: Vec<Value> = root.until_sentinel().await.iter().map(|event| event["tenant"].clone()).collect();
    assert_eq!(tenants, ["acme", "globex", "tenant-of-tomorrow"]);
    assert_eq!(ann.until_sentinel().await.len(), 1, "her own subscription goes on");
}

#[tokio::test]
async fn a_subscription_resumes_from_a_cursor_and_says_so() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let cursor = db.text("select tidings.emit('acme', 'seen')").await;
    db.run("select tidings.emit('acme', 'missed')").await;
    let mut ws = Ws::connect(&bridge, &member("acme")).await;
    let subscribed = ws.subscribe("s", "acme", json!({"after": cursor})).await;
    assert_eq!((&subscribed["resumed"], &subscribed["cursor"]), (&json!(true), &json!(cursor)));
    assert_eq!(ws.next().await["type"], "missed");
}
