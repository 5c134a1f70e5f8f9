//! Real blocks and frames held against the AsyncAPI document.

use serde_json::{Value, json};
use tidings::http::{asyncapi, openapi};

use super::contract::Contract;
use crate::support::{Bridge, Database, Sse, Ws, admin, member};

/// A change of each kind that this server's tables make.
const CHANGES: &str = "
    insert into documents (id, tenant_id, name) values ('d', 'acme', 'Plan');
    update documents set status = 'failed', error = '{\"code\": \"c\", \"message\": \"m\"}' where id = 'd';
    delete from documents where id = 'd';
    insert into notifications (id, tenant_id, type, title, message) values ('n', 'acme', 'hint', 'A hint', 'Look');
    delete from notifications where id = 'n';
    insert into chat_sessions (id, tenant_id, user_id) values ('s', 'acme', 'ann');
    update chat_sessions set status = 'active' where id = 's';
    insert into chat_messages (id, tenant_id, session_id, role, content) values ('m', 'acme', 's', 'user', 'Hello');
    update chat_messages set status = 'failed' where id = 'm';
    delete from chat_messages where id = 'm';
    delete from chat_sessions where id = 's';
    select tidings.emit('acme', 'invoice.paid', '[1]', 'inv_7', 'ann');";

fn contract() -> Contract {
    Contract::of_messages(asyncapi::document())
}

/// Holds an event against the schema of its own type, where it has one.
fn hold_event(contract: &Contract, event: &Value) {
    let kind = event["type"].as_str().unwrap();
    contract.says("streamEvent", event);
    if let Some(schema) = contract.schema(kind) {
        contract.fits(kind, schema, event);
    }
}

#[tokio::test]
async fn every_block_and_frame_is_as_the_document_says() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("http.heartbeat", "1s")]).await;
    let contract = contract();
    let mut sse = Sse::open(&bridge, &admin(), "acme", "").await;
    let mut ws = Ws::open(&bridge, &admin(), "acme", json!({})).await;
    contract.says("streamHello", &sse.hello);
    contract.says("hello", &ws.hello);
    db.run(CHANGES).await;
    db.sentinel("acme").await;
    let events = sse.until_sentinel().await;
    for event in &events {
        hold_event(&contract, event);
    }
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let typed = openapi::kinds().into_iter().map(|(kind, ..)| kind).filter(|kind| !kind.starts_with("chat."));
    for kind in typed.filter(|kind| !["notifications.read", "notifications.seen"].contains(kind)) {
        assert!(kinds.contains(&kind), "no event {kind} was seen");
    }
    let mut beats = 0;
    while beats == 0 {
        let frame = ws.frame().await.unwrap();
        contract.says(frame["type"].as_str().unwrap(), &frame);
        beats += usize::from(frame["type"] == "heartbeat");
    }
}

#[tokio::test]
async fn what_a_socket_answers_is_as_the_document_says() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let contract = contract();
    let mut ws = Ws::connect(&bridge, &member("acme")).await;
    let cases = [
        (json!({"type": "subscribe", "id": "s", "tenant": "acme", "types": ["a.*"], "subject": "x"}), "subscribed"),
        (json!({"type": "subscribe", "id": "t", "tenant": "globex", "types": "a.*,b"}), "error"),
        (json!({"type": "ping"}), "pong"),
        (json!({"type": "auth", "token": member("acme")}), "result"),
        (json!({"type": "auth", "token": "x"}), "error"),
        (json!({"type": "command", "id": "c", "name": "none", "args": {"a": 1}}), "result"),
        (json!({"type": "unsubscribe", "id": "u"}), "error"),
    ];
    for (message, expected) in cases {
        contract.says(message["type"].as_str().unwrap(), &message);
        ws.send(&message).await;
        let answer = ws.frame().await.unwrap();
        assert_eq!(answer["type"], expected, "{answer}");
        contract.says(expected, &answer);
    }
    ws.send(&json!({"type": "nothing"})).await;
    contract.says("error", &ws.frame().await.unwrap());
}

#[tokio::test]
async fn a_reset_and_an_ending_are_as_the_document_says() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let contract = contract();
    let gone = "999999999-999999999-deadbeef";
    let mut sse = Sse::resume(&bridge, &member("acme"), "acme", gone).await;
    let reset = sse.block().await.unwrap();
    assert_eq!(reset.event, "reset");
    contract.says("streamReset", &serde_json::from_str(&reset.data).unwrap());
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({"after": gone})).await;
    let frame = ws.frame().await.unwrap();
    assert_eq!(frame["type"], "reset", "{frame}");
    contract.says("reset", &frame);
    bridge.begin_stop();
    let bye = loop {
        let block = sse.block().await.unwrap();
        if block.event == "bye" {
            break block;
        }
    };
    contract.says("streamBye", &serde_json::from_str(&bye.data).unwrap());
    contract.says("bye", &ws.frame().await.unwrap());
}

#[test]
fn a_frame_that_is_not_as_the_document_says_is_found() {
    let contract = contract();
    let bye = |reason: &str| json!({"type": "bye", "code": 4510, "reason": reason, "reconnect": false});
    contract.says("bye", &bye("token_expired"));
    assert!(std::panic::catch_unwind(|| contract.says("bye", &bye("slow"))).is_err(), "another code's reason");
    let more = json!({"type": "pong", "more": 1});
    assert!(std::panic::catch_unwind(|| contract.says("pong", &more)).is_err(), "a member that nobody described");
}
