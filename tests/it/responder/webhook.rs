//! A webhook that answers, an echo, and a bridge with few rights.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};
use tidings::migrate::{Wishes, migrate};

use super::{Act, Model, answered, next, of, say, session};
use crate::support::{Bridge, Database, Sse};

const KEY: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

async fn asking(db: &Database, model: &Model) -> Bridge {
    let key = format!("whsec_{}", STANDARD.encode(KEY));
    let settings = [
        ("responder.kind", "webhook"),
        ("responder.url", model.url.as_str()),
        ("responder.key", &key),
        ("responder.opening", ""),
    ];
    Bridge::with(&db.url, &settings).await
}

/// HMAC-SHA256 as RFC 2104 writes it, for a key of 32 bytes.
fn hmac(message: &str) -> String {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(KEY).for_each(|(padded, key)| *padded ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    STANDARD.encode(Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize())
}

#[tokio::test]
async fn a_webhook_is_asked_with_a_signature_and_answers_with_json() {
    let answer = json!({"content": "Hello, Ann.", "metadata": {"suggestions": ["Yes", "No"]}});
    let (db, model) = (Database::new().await, Model::with([Act::Status(500, ""), Act::Body(answer.to_string())]).await);
    let bridge = asking(&db, &model).await;
    session(&db, "s1").await;
    say(&db, "s1", "m1", "Hello?").await;
    let said = answered(&db, "s1", 1).await.remove(0);
    assert_eq!(said["content"], "Hello, Ann.");
    assert_eq!(said["metadata"], json!({"suggestions": ["Yes", "No"], "reply_to": "m1"}));
    let asked = model.asked();
    for request in &asked {
        let header = |name: &str| {
            let name = format!("{name}: ");
            request.head.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned()
        };
        let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), request.body);
        // The head was read in lower case.
        assert_eq!(header("webhook-signature"), format!("v1,{}", hmac(&signed)).to_ascii_lowercase());
        assert_eq!(header("webhook-id"), said["id"].as_str().unwrap());
        let body = request.json();
        assert_eq!(
            (&body["about"], &body["tenant"], &body["session"]["id"]),
            (&json!("message"), &json!("acme"), &json!("s1"))
        );
        assert_eq!((&body["message"]["content"], &body["user"]["name"]), (&json!("Hello?"), &json!("Ann")));
    }
    assert_eq!(asked.len(), 2);
    drop(bridge);
}

#[tokio::test]
async fn a_webhook_may_stream_its_answer() {
    let parts =
        "data: {\"text\": \"Hello, \"}\n\ndata: {\"text\": \"Ann.\"}\n\ndata: {\"metadata\": {\"mood\": \"good\"}}\n\n";
    let broken = "data: {\"text\": \"Hello, \"}\n\ndata: {\"error\": \"out of words\"}\n\n";
    let (db, model) = (Database::new().await, Model::with([Act::Raw(broken), Act::Raw(parts)]).await);
    let bridge = asking(&db, &model).await;
    session(&db, "s1").await;
    let mut sse = Sse::open(&bridge, &of("ann"), "acme", "").await;
    say(&db, "s1", "m1", "Hello?").await;
    assert_eq!(next(&mut sse, "chat.delta").await["data"]["index"], 0);
    let said = answered(&db, "s1", 1).await.remove(0);
    assert_eq!((&said["content"], &said["metadata"]["mood"]), (&json!("Hello, Ann."), &json!("good")));
}

#[tokio::test]
async fn an_echo_answers_under_a_role_that_may_do_no_more_than_a_bridge_needs() {
    let db = Database::new().await;
    let role = format!("service_{}", db.name());
    let wishes =
        Wishes { app: Some(tidings::migrate::Layout::Reference), service: Some(role.clone()), ..Wishes::default() };
    migrate(&db.url.parse().unwrap(), &wishes).await.unwrap();
    db.run(&format!("alter role {role} login")).await;
    let bridge = Bridge::with(&db.url_as(&role), &[("responder.kind", "echo")]).await;
    session(&db, "s1").await;
    say(&db, "s1", "m1", "Hello, hello!").await;
    let said = answered(&db, "s1", 2).await;
    assert_eq!(said[0]["content"], "Hello Ann! I am an echo: I say back what you say.");
    assert_eq!(said[1]["content"], "You said: Hello, hello!");
    drop(bridge);
}
