//! What is committed arrives, where it belongs, and nothing else does.

use serde_json::json;

use crate::support::{Bridge, Database, Sse, Ws, events_of, get_page, member};

#[tokio::test]
async fn a_committed_change_of_each_table_arrives_on_every_transport() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let token = member("acme");
    let before = get_page(&bridge, &token, "acme", "").await.cursor;
    let mut sse = Sse::open(&bridge, &token, "acme", "").await;
    let mut ws = Ws::open(&bridge, &token, "acme", json!({})).await;
    for (table, columns, values, change) in [
        ("documents", "id, tenant_id, name", "'x1', 'acme', 'Plan'", "name = 'Plan B'"),
        ("notifications", "id, tenant_id, type, title, message", "'x1', 'acme', 'note', 'T', 'M'", "title = 'U'"),
        ("chat_sessions", "id, tenant_id, user_id", "'x1', 'acme', 'ann'", "status = 'active'"),
    ] {
        db.run(&format!("insert into {table} ({columns}) values ({values})")).await;
        db.run(&format!("update {table} set {change} where id = 'x1'")).await;
        db.run(&format!("delete from {table} where id = 'x1'")).await;
    }
    db.sentinel("acme").await;
    let expected: Vec<_> = ["documents", "notifications", "chat_sessions"]
        .iter()
        .flat_map(|table| ["inserted", "updated", "deleted"].map(|op| (format!("{table}.{op}"), "x1".to_owned())))
        .collect();
    let streamed = sse.until_sentinel().await;
    assert_eq!(events_of(&streamed), expected);
    assert_eq!(ws.until_sentinel().await, streamed);
    let polled = get_page(&bridge, &token, "acme", &format!("?after={before}&wait=10")).await;
    assert_eq!(polled.events[..9], streamed[..]);
    bridge.stop().await;
}

#[tokio::test]
async fn a_rolled_back_change_is_never_delivered() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    db.run("begin; insert into documents (id, tenant_id, name) values ('gone', 'acme', 'x'); rollback").await;
    db.run(
        "begin; insert into documents (id, tenant_id, name) values ('kept', 'acme', 'x');
         savepoint s; insert into documents (id, tenant_id, name) values ('undone', 'acme', 'x'); rollback to s; commit",
    )
    .await;
    db.sentinel("acme").await;
    assert_eq!(events_of(&sse.until_sentinel().await), [("documents.inserted".into(), "kept".into())]);
}
