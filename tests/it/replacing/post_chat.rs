//! A chat beside a post, over SSE and POST: history first, then the stream, on every tab, across reconnects.

use serde_json::{Value, json};

use crate::support::{Bridge, Database, Sse, member, token};

/// A session about a post, with the opening message, as the backend that creates the post writes them.
const POST_CREATED: &str = "
    insert into chat_sessions (id, tenant_id, user_id, subject, metadata) values ('s1', 'acme', 'ann', 'A post', '{\"post_id\": \"p1\"}');
    insert into chat_messages (id, tenant_id, session_id, role, content, metadata) values ('m1', 'acme', 's1', 'assistant',
      'Welcome Ann!', '{\"type\": \"welcome\", \"actions\": [\"suggest_content\", \"improve_post\", \"schedule_post\"]}')";

async fn say(db: &Database, id: &str, role: &str, content: &str) {
    let insert =
        "insert into chat_messages (id, tenant_id, session_id, role, content) values ($1, 'acme', 's1', $2, $3)";
    db.client.execute(insert, &[&id, &role, &content]).await.unwrap();
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["data"]["id"].as_str().unwrap()).collect()
}

const STREAM: &str = "?types=chat_messages.*,sentinel";

#[tokio::test]
async fn every_tab_sees_every_message_and_a_reconnect_misses_none() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut one = Sse::open(&bridge, &member("acme"), "acme", STREAM).await;
    let mut two = Sse::open(&bridge, &member("acme"), "acme", STREAM).await;
    db.run(POST_CREATED).await;
    say(&db, "m2", "user", "Make it shorter").await;
    db.sentinel("acme").await;
    let seen = one.until_sentinel().await;
    assert_eq!(ids(&seen), ["m1", "m2"]);
    assert_eq!(seen[0]["data"]["metadata"]["actions"][0], "suggest_content");
    assert_eq!(two.until_sentinel().await, seen);
    // As EventSource comes back: with the id of the last block it was given.
    let last = one.last_id.clone();
    drop(one);
    say(&db, "m3", "assistant", "Shorter").await;
    say(&db, "m4", "system", "Sorry, I encountered an error processing your request.").await;
    db.sentinel("acme").await;
    let mut one = Sse::resume(&bridge, &member("acme"), "acme", &last).await;
    assert_eq!(ids(&one.until_sentinel().await), ["m3", "m4"]);
    assert_eq!(ids(&two.until_sentinel().await), ["m3", "m4"]);
}

#[tokio::test]
async fn the_stream_of_one_conversation_is_its_subject_and_its_users_only() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    db.run(POST_CREATED).await;
    db.run("insert into chat_sessions (id, tenant_id, user_id) values ('s2', 'acme', 'ann')").await;
    Sse::heard(&bridge, &db).await;
    let mut ann = Sse::open(&bridge, &member("acme"), "acme", "?subject=s1&types=chat_messages.*").await;
    let mut bob = Sse::open(&bridge, &token(json!({"sub": "bob", "tenant": "acme"})), "acme", "").await;
    db.run("insert into chat_messages (id, tenant_id, session_id, role, content) values ('x', 'acme', 's2', 'user', 'elsewhere')").await;
    say(&db, "m2", "user", "Here").await;
    db.sentinel("acme").await;
    assert_eq!(ids(&[ann.next().await]), ["m2"]);
    assert_eq!(bob.until_sentinel().await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_chat_is_opened_read_sent_to_and_followed_over_rest() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ann = member("acme");
    let (status, session) = bridge
        .post_as(&ann, "/v1/tenants/acme/chat/sessions", &json!({"subject": "A post", "metadata": {"post_id": "p1"}}))
        .await;
    assert_eq!((status, &session["status"], &session["user_id"]), (201, &json!("waiting"), &json!("ann")), "{session}");
    let id = session["id"].as_str().unwrap();
    let messages = format!("/v1/tenants/acme/chat/sessions/{id}/messages");
    // The backend opens the conversation; the page loads the history and subscribes from its cursor.
    db.client
        .query("select tidings_app.create_chat_message('acme', 'svc', true, $1, 'm1', 'assistant', 'Welcome Ann!', '{\"type\": \"welcome\"}')", &[&id])
        .await
        .unwrap();
    let (_, history) = bridge.get_as(&ann, &messages).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 1, "{history}");
    let cursor = history["cursor"].as_str().unwrap();
    let mut sse =
        Sse::open(&bridge, &ann, "acme", &format!("?after={cursor}&subject={id}&types=chat_messages.*")).await;
    // Sent twice, as after a lost answer: one message.
    let mine = json!({"id": "temp-1", "content": "Make it shorter"});
    assert_eq!(bridge.post_as(&ann, &messages, &mine).await.0, 201);
    assert_eq!(bridge.post_as(&ann, &messages, &mine).await.0, 200);
    assert_eq!(bridge.post_as(&ann, &messages, &json!({"id": "temp-1", "content": "Longer"})).await.0, 409);
    db.client
        .query(
            "select tidings_app.create_chat_message('acme', 'svc', true, $1, 'm2', 'assistant', 'Shorter', '{}')",
            &[&id],
        )
        .await
        .unwrap();
    assert_eq!(ids(&sse.take(2).await), ["temp-1", "m2"]);
    // Somebody else's conversation is as if it were not there.
    let bob = token(json!({"sub": "bob", "tenant": "acme"}));
    assert_eq!(bridge.get_as(&bob, &messages).await.0, 404);
    assert_eq!(bridge.post_as(&bob, &messages, &mine).await.0, 404);
}
