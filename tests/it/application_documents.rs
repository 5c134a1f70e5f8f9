//! What the functions for documents answer, the same in every layout.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::layout::{Stand, each, shape, stands, walk};
use crate::support::connect;

const STATES: [&str; 4] = ["uploaded", "processing", "processed", "failed"];

/// Id of a new document that was brought into a state.
async fn document(stand: &Stand, state: &str) -> String {
    let made = stand.db.answer("create_document('acme', 'ann', 'a.pdf', null, 12, 'application/pdf', '{}')").await;
    let id = made["id"].as_str().unwrap().to_owned();
    if state != "uploaded" {
        stand.db.answer(&format!("set_document_status('acme', '{id}', '{state}', null, null, null)")).await;
    }
    id
}

async fn all(stand: &Stand) -> Value {
    stand.db.answer("documents('acme', null, null, 200)").await
}

#[tokio::test]
async fn a_document_has_the_same_members_and_comes_with_its_notification() {
    for stand in stands().await {
        let made = stand
            .db
            .answer(
                r#"create_document('acme', 'ann', 'a.pdf', 'https://x/a', 12, 'application/pdf', '{"s3Key": "k"}')"#,
            )
            .await;
        let expected = json!({"id": "text", "name": "text", "url": "text", "size": "number", "mime_type": "text", "metadata": {"s3Key": "text"},
            "status": "text", "stage": null, "progress": null, "error": null, "uploaded_by": "text", "created_at": "text", "updated_at": "text"});
        assert_eq!(shape(&made), expected, "{}", stand.name);
        assert_eq!(
            (&made["status"], &made["size"], &made["uploaded_by"]),
            (&json!("uploaded"), &json!(12), &json!("ann"))
        );
        let told = "select (data -> 'metadata')::text from tidings._log where type = 'notifications.inserted' and data ->> 'type' = 'document_uploaded' and tenant = 'acme'";
        let told: Value = stand.db.text(told).await.parse().unwrap();
        let expected = json!({"documentId": made["id"], "documentName": "a.pdf", "documentType": "application/pdf", "uploadedBy": "ann"});
        assert_eq!(told, expected, "{}", stand.name);
        let unknown = stand.db.refused("create_document('nobody', 'ann', 'a.pdf', null, null, null, null)").await;
        assert_eq!(unknown.0, "23503", "{}", stand.name);
    }
}

#[tokio::test]
async fn steps_forward_are_taken_and_steps_back_refused() {
    for stand in stands().await {
        for was in STATES {
            for next in STATES {
                let id = document(&stand, was).await;
                let done =
                    stand.db.ask(&format!("set_document_status('acme', '{id}', '{next}', null, null, null)")).await;
                let allowed = was == next
                    || matches!(
                        (was, next),
                        ("uploaded", _)
                            | ("processing", "processed" | "failed")
                            | ("failed", "processing" | "processed")
                    );
                let now = stand.db.answer(&format!("documents('acme', array['{id}'], null, 1)")).await["documents"][0]
                    .clone();
                assert_eq!(done.is_ok(), allowed, "{}: {was} to {next}", stand.name);
                assert_eq!(now["status"], if allowed { next } else { was });
                match done {
                    Ok(document) => assert_eq!(document, now),
                    Err(refused) => {
                        assert_eq!(refused.code().code(), "TD409");
                        assert_eq!(refused.detail().unwrap().parse::<Value>().unwrap(), now, "the state as it is");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn processing_is_told_with_its_progress_and_its_end_with_a_notification() {
    for stand in stands().await {
        let id = document(&stand, "uploaded").await;
        let set = |rest: &str| format!("set_document_status('acme', '{id}', {rest})");
        let at_40 = stand.db.answer(&set("'processing', 40, 'ocr', null")).await;
        assert_eq!((&at_40["progress"], &at_40["stage"]), (&json!(40), &json!("ocr")), "{}", stand.name);
        let kept = stand.db.answer(&set("'processing', null, null, null")).await;
        assert_eq!(kept, at_40, "null leaves things as they are");
        let failed = stand.db.answer(&set(r#"'failed', null, null, '{"code": "ocr", "message": "unreadable"}'"#)).await;
        assert_eq!(failed["error"], json!({"code": "ocr", "message": "unreadable"}));
        stand.db.answer(&set(r#"'failed', null, null, '{"code": "ocr", "message": "unreadable"}'"#)).await;
        let again = stand.db.answer(&set("'processing', 0, null, null")).await;
        assert_eq!((&again["error"], &again["progress"]), (&json!(null), &json!(0)), "{}", stand.name);
        stand.db.answer(&set("'processed', 100, null, null")).await;
        let told = "select string_agg(data ->> 'type', ' ' order by eid) from tidings._log where type = 'notifications.inserted'";
        assert_eq!(stand.db.text(told).await, "document_uploaded document_failed document_processed", "{}", stand.name);
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_and_other_tenants_documents_are_not_there() {
    for stand in stands().await {
        let id = document(&stand, "uploaded").await;
        for (arguments, field) in [
            ("'PROCESSED', null, null, null", "status"),
            ("'processing', 101, null, null", "progress"),
            (r#"'failed', null, null, '{"code": 1}'"#, "error"),
        ] {
            let (state, named, _) =
                stand.db.refused(&format!("set_document_status('acme', '{id}', {arguments})")).await;
            assert_eq!((state.as_str(), named.as_str()), ("TD422", field), "{}", stand.name);
        }
        assert_eq!(stand.db.refused("documents('acme', null, 'p.x', 5)").await.0, "TD422");
        for other in [&*id, "nothing"] {
            let call = format!("set_document_status('globex', '{other}', 'processed', null, null, null)");
            assert_eq!(stand.db.answer(&call).await, Value::Null, "{}", stand.name);
        }
        assert_eq!(
            stand.db.answer(&format!("documents('globex', array['{id}'], null, 5)")).await["documents"],
            json!([])
        );
        assert_eq!(stand.db.answer("documents('globex', null, null, 5)").await["documents"], json!([]));
    }
}

#[tokio::test]
async fn pages_hold_each_document_once_however_many_are_of_one_moment() {
    for stand in stands().await {
        for (from, to, at) in
            [(1, 9, "2026-01-01 00:00"), (10, 12, "2026-01-01 00:00:01"), (13, 25, "2026-01-01 00:00:02")]
        {
            stand.rows(stand.documents, from, to, at).await;
        }
        let whole = all(&stand).await;
        assert_eq!(shape(&whole)["cursor"], "text");
        assert_eq!((each(&whole["documents"], "id").len(), &whole["next"]), (25, &json!(null)));
        let walked = walk(&stand.db, "documents('acme', null, PLACE, 4)", "documents", "next").await;
        assert_eq!(walked, each(&whole["documents"], "id"), "{}", stand.name);
        assert_eq!(
            walk(&stand.db, "documents('acme', null, PLACE, 5)", "documents", "next").await,
            walked,
            "a last page that is full has no next"
        );
        let times = each(&whole["documents"], "created_at");
        assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
        let some = stand.db.answer("documents('acme', '{d3,d20,other}', null, 50)").await;
        assert_eq!(
            (each(&some["documents"], "id"), &some["next"]),
            (vec!["d20".to_owned(), "d3".to_owned()], &json!(null))
        );
    }
}

#[tokio::test]
async fn of_many_at_once_one_takes_the_step() {
    for stand in stands().await {
        let id = document(&stand, "processing").await;
        let mut tasks = JoinSet::new();
        for n in 0..8 {
            let (client, id) = (connect(&stand.db.url).await, id.clone());
            let next = if n % 2 == 0 { "processed" } else { "failed" };
            tasks.spawn(async move {
                _ = client
                    .execute(
                        &format!("select tidings_app.set_document_status('acme', '{id}', '{next}', null, null, null)"),
                        &[],
                    )
                    .await
            });
        }
        tasks.join_all().await;
        // failed to processed is a step too, so there may be one of each, in that order, and never a second.
        let ends = "select string_agg(data ->> 'type', ' ' order by eid) from tidings._log where type = 'notifications.inserted' and data ->> 'type' <> 'document_uploaded'";
        let ends = stand.db.text(ends).await;
        assert!(
            ["document_processed", "document_failed document_processed"].contains(&ends.as_str()),
            "{}: {ends}",
            stand.name
        );
    }
}
