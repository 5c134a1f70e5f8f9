//! Answers: one to each question, shown as it grows, whatever the model, the network or the bridge do.

mod endings;
mod failures;
mod follow_ups;
mod model;
mod order;
mod streaming;
mod webhook;

use serde_json::{Value, json};

use crate::support::{Bridge, Database, Sse, eventually, token};

pub use model::{Act, Model};

/// A bridge that asks this model and opens no sessions, with further settings.
async fn answering(db: &Database, model: &Model, more: &[(&str, &str)]) -> Bridge {
    let base = [
        ("responder.kind", "openai"),
        ("responder.url", model.url.as_str()),
        ("responder.model", "m-1"),
        ("responder.key", "key-of-the-model"),
        ("responder.opening", ""),
    ];
    Bridge::with(&db.url, &base.iter().chain(more).copied().collect::<Vec<_>>()).await
}

/// A session of Ann's at Acme.
async fn session(db: &Database, id: &str) {
    db.run(&format!(
        "insert into chat_sessions (id, tenant_id, user_id, subject) values ('{id}', 'acme', 'ann', 'Invoices')"
    ))
    .await;
}

/// What Ann says in it.
async fn say(db: &Database, session: &str, id: &str, content: &str) {
    let insert =
        "insert into chat_messages (id, tenant_id, session_id, role, content) values ($2, 'acme', $1, 'user', $3)";
    db.client.execute(insert, &[&session, &id, &content]).await.unwrap();
}

/// All but what users said, oldest first.
async fn answers(db: &Database, session: &str) -> Vec<Value> {
    let sql = "select coalesce(json_agg(json_build_object('id', id, 'role', role, 'status', status, 'content', content, 'metadata', metadata)
        order by created_at, id), '[]')::text from chat_messages where role <> 'user' and session_id = $1";
    serde_json::from_str(db.client.query_one(sql, &[&session]).await.unwrap().get(0)).unwrap()
}

/// Waits until so many answers of a session are finished, and nothing is owed any more.
async fn answered(db: &Database, session: &str, count: usize) -> Vec<Value> {
    eventually("all is answered", || async {
        let found = answers(db, session).await;
        found.len() >= count && found.iter().all(|answer| answer["status"] != "sending") && owed(db).await == 0
    })
    .await;
    let found = answers(db, session).await;
    assert_eq!(found.len(), count, "{found:?}");
    found
}

async fn owed(db: &Database) -> i64 {
    db.client.query_one("select count(*) from tidings._delivery where dead_at is null", &[]).await.unwrap().get(0)
}

/// How often attempts ended so.
async fn ended(bridge: &Bridge, how: &str) -> u64 {
    let metrics = reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap();
    let line = format!("tidings_answers_total{{reason=\"{how}\"}} ");
    metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

/// The next event of this type; others are passed over.
async fn next(sse: &mut Sse, kind: &str) -> Value {
    loop {
        let event = sse.next().await;
        if event["type"] == kind {
            return event;
        }
    }
}

fn of(sub: &str) -> String {
    token(json!({"sub": sub, "tenant": "acme"}))
}
