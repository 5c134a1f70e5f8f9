//! What pipelines say of documents, in their own words: `tidings_app.document_status`.

use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, Delivery, Sse, member, pipeline};

async fn site() -> (Database, Bridge) {
    let db = Database::new().await;
    db.run(
        "insert into documents (id, tenant_id, name) values ('doc_1', 'acme', 'a.pdf'), ('doc_2', 'globex', 'b.pdf')",
    )
    .await;
    let bridge = Bridge::with(&db.url, &[("inbound", &pipeline("document_status", json!({})))]).await;
    (db, bridge)
}

/// A delivery about document doc_1 of acme, with these members too.
async fn report(bridge: &Bridge, id: &str, more: Value) -> Answer {
    let mut body = json!({"tenant": "acme", "document_id": "doc_1"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Delivery::new(id, &body).send(bridge, "pipeline").await
}

#[tokio::test]
async fn a_pipeline_reports_each_step_and_subscribers_see_our_words() {
    let (db, bridge) = site().await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "?types=documents.*,sentinel").await;
    let steps = [
        json!({"status": "PENDING"}),
        json!({"status": "started", "progress": 10, "stage": "ocr", "model": "the pipeline's own"}),
        json!({"status": "PROCESSING", "progress": 60.0, "stage": "chunking", "error": null}),
        json!({"status": "FAILED", "error": {"code": "unreadable", "message": "Page 3 cannot be read", "trace": "its own"}}),
        json!({"status": "processing", "progress": null}),
        json!({"status": "completed"}),
    ];
    for (n, step) in steps.into_iter().enumerate() {
        let answer = report(&bridge, &n.to_string(), step).await;
        assert_eq!((answer.status, &answer.json()["id"]), (200, &json!("doc_1")), "{answer:?}");
    }
    db.sentinel("acme").await;
    let seen: Vec<Value> = sse.until_sentinel().await.iter().map(|event| event["data"]["status"].clone()).collect();
    assert_eq!(seen, ["processing", "processing", "failed", "processing", "processed"]);
}

#[tokio::test]
async fn what_a_report_gets_wrong_is_named() {
    let (_db, bridge) = site().await;
    for (more, field) in [
        (json!({}), "status"),
        (json!({"status": "shipped"}), "status"),
        (json!({"status": 3}), "status"),
        (json!({"status": "processing", "progress": 101}), "progress"),
        (json!({"status": "processing", "progress": -1}), "progress"),
        (json!({"status": "processing", "progress": 0.5}), "progress"),
        (json!({"status": "processing", "progress": "50"}), "progress"),
        (json!({"status": "processing", "stage": ["ocr"]}), "stage"),
        (json!({"status": "processing", "stage": ""}), "stage"),
        (json!({"status": "processing", "error": {"code": "x", "message": "y"}}), "error"),
        (json!({"status": "failed", "error": "it broke"}), "error"),
        (json!({"status": "failed", "error": {"code": "x"}}), "error"),
        (json!({"status": "failed", "error": {"code": 7, "message": "y"}}), "error"),
        (json!({"status": "failed", "document_id": null}), "document_id"),
        (json!({"status": "failed", "document_id": ""}), "document_id"),
    ] {
        let answer = report(&bridge, "msg", more.clone()).await;
        assert_eq!((answer.problem().0, &answer.json()["field"]), (422, &json!(field)), "{more}");
    }
}

#[tokio::test]
async fn a_document_of_another_tenant_is_as_if_it_were_not_there() {
    let (db, bridge) = site().await;
    let theirs = report(&bridge, "a", json!({"status": "failed", "document_id": "doc_2"})).await;
    let none = report(&bridge, "b", json!({"status": "failed", "document_id": "doc_9"})).await;
    assert_eq!((theirs.problem(), &theirs.body), ((404, "not_found".into()), &none.body));
    assert_eq!(db.text("select status from documents where id = 'doc_2'").await, "uploaded");
}

#[tokio::test]
async fn a_step_back_is_refused_with_the_document_as_it_is() {
    let (_db, bridge) = site().await;
    assert_eq!(report(&bridge, "a", json!({"documentId": "doc_1", "status": "done"})).await.status, 200);
    let back = report(&bridge, "b", json!({"status": "processing"})).await;
    assert_eq!((back.problem(), &back.json()["current"]["status"]), ((409, "conflict".into()), &json!("processed")));
}
