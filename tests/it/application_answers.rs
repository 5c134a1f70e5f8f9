//! What the functions for answers do, and what events look like, the same in every layout.

use serde_json::{Value, json};

use crate::layout::{Stand, each, shape, stands};

/// A session `c1` of ann's with messages `m1` to `m5`.
async fn chat(stand: &Stand) {
    stand.rows(stand.sessions, 1, 1, "2026-01-01 00:00").await;
    for i in 1..=5 {
        stand.rows(&stand.messages.replace("'s'", "'c1'"), i, i, &format!("2026-01-01 00:00:0{i}")).await;
    }
}

#[tokio::test]
async fn an_answer_is_begun_once_and_finished_once() {
    for stand in stands().await {
        chat(&stand).await;
        let begun = stand.db.answer(r#"begin_answer('acme', 'c1', 'a', '{"model": "x"}')"#).await;
        let expected = json!({"id": "text", "session_id": "text", "role": "text", "status": "text", "content": "text", "metadata": {"model": "text"}, "author": null,
            "created_at": "text", "updated_at": "text"});
        assert_eq!(
            (shape(&begun), &begun["status"], &begun["content"]),
            (expected, &json!("sending"), &json!("")),
            "{}",
            stand.name
        );
        assert_eq!(stand.db.answer("begin_answer('acme', 'c1', 'a', null)").await, begun, "as it stands");
        let finish = |role: &str, content: &str| {
            format!(r#"finish_answer('acme', 'c1', 'a', '{role}', 'sent', '{content}', '{{"tokens": 3}}')"#)
        };
        let done = stand.db.answer(&finish("assistant", "Hello")).await;
        assert_eq!(
            (&done["status"], &done["content"], &done["metadata"]),
            (&json!("sent"), &json!("Hello"), &json!({"model": "x", "tokens": 3}))
        );
        assert_eq!(stand.db.answer(&finish("system", "Sorry")).await, json!(null), "{}: only once", stand.name);
        assert_eq!(stand.db.answer("begin_answer('acme', 'c1', 'a', null)").await, done);
        stand.db.answer("begin_answer('acme', 'c1', 'b', null)").await;
        let failed = stand.db.answer("finish_answer('acme', 'c1', 'b', 'system', 'failed', 'Sorry', null)").await;
        assert_eq!((&failed["role"], &failed["status"]), (&json!("system"), &json!("failed")));
    }
}

#[tokio::test]
async fn an_answer_to_nothing_is_refused() {
    for stand in stands().await {
        chat(&stand).await;
        for tenant in ["acme", "globex"] {
            let session = if tenant == "acme" { "nothing" } else { "c1" };
            assert_eq!(
                stand.db.refused(&format!("begin_answer('{tenant}', '{session}', 'a', null)")).await.0,
                "TD404",
                "{}",
                stand.name
            );
            assert_eq!(
                stand
                    .db
                    .refused(&format!("finish_answer('{tenant}', '{session}', 'a', 'assistant', 'sent', 'x', null)"))
                    .await
                    .0,
                "TD404"
            );
            assert_eq!(stand.db.answer(&format!("chat_context('{tenant}', '{session}', null, 5)")).await, json!(null));
        }
        assert_eq!(
            stand.db.answer("finish_answer('acme', 'c1', 'nothing', 'assistant', 'sent', 'x', null)").await,
            json!(null)
        );
        assert_eq!(
            stand.db.answer("finish_answer('acme', 'c1', 'm1', 'assistant', 'sent', 'x', null)").await,
            json!(null),
            "that was never being written"
        );
        for (arguments, field) in [("'assistant', 'sending'", "status"), ("'user', 'sent'", "role")] {
            let refused = stand.db.refused(&format!("finish_answer('acme', 'c1', 'a', {arguments}, 'x', null)")).await;
            assert_eq!((refused.0.as_str(), refused.1.as_str()), ("TD422", field), "{}", stand.name);
        }
        assert_eq!(stand.db.refused("begin_answer('acme', 'c1', '', null)").await.1, "id");
    }
}

#[tokio::test]
async fn a_context_is_the_last_messages_with_content_up_to_the_one_asked_about() {
    for stand in stands().await {
        chat(&stand).await;
        stand.db.answer("begin_answer('acme', 'c1', 'a', null)").await;
        let whole = stand.db.answer("chat_context('acme', 'c1', null, 50)").await;
        assert_eq!(
            each(&whole["messages"], "id"),
            ["m1", "m2", "m3", "m4", "m5"],
            "{}: without the answer being written",
            stand.name
        );
        assert_eq!((&whole["user"], &whole["session"]["id"]), (&json!({"id": "ann", "name": "Ann"}), &json!("c1")));
        let upto = stand.db.answer("chat_context('acme', 'c1', 'm4', 2)").await;
        assert_eq!(each(&upto["messages"], "id"), ["m3", "m4"]);
        assert_eq!(stand.db.answer("chat_context('acme', 'c1', 'nothing', 2)").await, json!(null));
    }
}

#[tokio::test]
async fn events_of_every_layout_look_the_same_whoever_wrote_the_row() {
    let mut logs = Vec::new();
    for stand in stands().await {
        stand.db.run(stand.writes).await;
        let sql = "select json_agg(json_build_array(type, tenant, audience, subject, string_to_array(changed, ','), data) order by eid)::text from tidings._log";
        let mut events: Value = stand.db.text(sql).await.parse().unwrap();
        for event in events.as_array_mut().unwrap() {
            let name = event[0].as_str().unwrap().to_owned();
            // Content of texts but times, which differ; members in no order.
            for member in ["created_at", "updated_at", "started_at"] {
                if let Some(at) = event[5].get_mut(member) {
                    assert!(at.is_null() || at.as_str().unwrap().ends_with("+00:00"), "{}: {name} {at}", stand.name);
                    *at = shape(at);
                }
            }
        }
        assert_eq!(events.as_array().unwrap().len(), 9, "{}", stand.name);
        logs.push(events);
    }
    assert_eq!(logs.len(), 2);
    for (one, two) in logs[0].as_array().unwrap().iter().zip(logs[1].as_array().unwrap()) {
        assert_eq!(one, two);
    }
}
