//! Uploads of a chatbot's documents: the tenant is told of each, and their processing is followed, pushed or polled.

use serde_json::{Value, json};

use crate::support::{Bridge, Database, Delivery, Sse, member, pipeline, token};

/// What the file uploader told the server.
fn upload(name: &str) -> Value {
    json!({"name": name, "url": "https://bucket.example/k1", "size": 1234, "mime_type": "application/pdf", "metadata": {"s3Key": "k1"}})
}

async fn site() -> (Database, Bridge) {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("inbound", &pipeline("document_status", json!({})))]).await;
    (db, bridge)
}

/// The uploaded document's id.
async fn uploaded(bridge: &Bridge, name: &str) -> String {
    let (status, document) = bridge.post_as(&member("acme"), "/v1/tenants/acme/documents", &upload(name)).await;
    assert_eq!((status, &document["status"]), (201, &json!("uploaded")), "{document}");
    document["id"].as_str().unwrap().to_owned()
}

async fn report(bridge: &Bridge, id: &str, body: Value) {
    let answer = Delivery::new(id, &body).send(bridge, "pipeline").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn an_upload_is_told_to_everybody_of_the_tenant() {
    let (db, bridge) = site().await;
    let bob = token(json!({"sub": "bob", "tenant": "acme"}));
    let mut stream = Sse::open(&bridge, &bob, "acme", "").await;
    let id = uploaded(&bridge, "a.pdf").await;
    db.sentinel("acme").await;
    let seen = stream.until_sentinel().await;
    let find = |kind: &str| &seen.iter().find(|event| event["type"] == kind).unwrap()["data"];
    assert_eq!(find("documents.inserted")["id"], json!(id));
    let notification = find("notifications.inserted");
    assert_eq!(
        (&notification["type"], &notification["title"]),
        (&json!("document_uploaded"), &json!("New Document Uploaded"))
    );
    assert_eq!(notification["message"], "a.pdf has been uploaded and is being processed.");
    let expected =
        json!({"documentId": id, "documentName": "a.pdf", "documentType": "application/pdf", "uploadedBy": "ann"});
    assert_eq!(notification["metadata"], expected);
}

#[tokio::test]
async fn the_status_poller_asks_for_its_documents_until_they_are_done() {
    let (_db, bridge) = site().await;
    let ann = member("acme");
    let (one, two) = (uploaded(&bridge, "a.pdf").await, uploaded(&bridge, "b.pdf").await);
    report(&bridge, "m1", json!({"tenant": "acme", "document_id": one, "status": "PROCESSED"})).await;
    let error = json!({"code": "unreadable", "message": "Cannot be read"});
    report(&bridge, "m2", json!({"tenant": "acme", "document_id": two, "status": "FAILED", "error": error})).await;
    let path = format!("/v1/tenants/acme/watched/documents?keys={one},{two},doc_of_nobody");
    let (status, found) = bridge.get_as(&ann, &path).await;
    let mut states: Vec<&str> =
        found["rows"].as_array().unwrap().iter().map(|row| row["data"]["status"].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!((status, states), (200, vec!["failed", "processed"]));
}

#[tokio::test]
async fn documents_status_answers_as_the_old_route_did() {
    let (_db, bridge) = site().await;
    let (ann, gus) = (member("acme"), token(json!({"sub": "gus", "tenant": "globex"})));
    let one = uploaded(&bridge, "a.pdf").await;
    report(
        &bridge,
        "m1",
        json!({"tenant": "acme", "document_id": one, "status": "PROCESSING", "progress": 40, "stage": "ocr"}),
    )
    .await;
    let body = json!({"document_ids": [one, "doc_of_nobody"]});
    let (status, found) = bridge.post_as(&ann, "/v1/tenants/acme/documents/status", &body).await;
    let list = found.as_array().unwrap();
    assert_eq!((status, list.len()), (200, 1), "{found}");
    assert_eq!(
        (&list[0]["id"], &list[0]["status"], &list[0]["error"]),
        (&json!(one), &json!("processing"), &Value::Null)
    );
    // Another tenant's ids are not there; an empty list is a mistake.
    let theirs = bridge.post_as(&gus, "/v1/tenants/globex/documents/status", &body).await;
    assert_eq!(theirs, (200, json!([])));
    assert_eq!(bridge.post_as(&ann, "/v1/tenants/acme/documents/status", &json!({"document_ids": []})).await.0, 422);
    assert_eq!(bridge.post_as(&gus, "/v1/tenants/acme/documents/status", &body).await.0, 403);
}

#[tokio::test]
async fn the_notification_centre_reads_marks_and_goes_on_from_its_cursor() {
    let (_db, bridge) = site().await;
    let (ann, bob) = (member("acme"), token(json!({"sub": "bob", "tenant": "acme"})));
    let one = uploaded(&bridge, "a.pdf").await;
    let path = "/v1/tenants/acme/notifications";
    let (status, first) = bridge.get_as(&ann, path).await;
    assert_eq!((status, &first["unread_count"]), (200, &json!(1)), "{first}");
    let id = first["notifications"][0]["id"].as_str().unwrap();
    let read = bridge.request("PATCH", &format!("{path}/{id}")).bearer_auth(&ann).json(&json!({"read": true}));
    assert_eq!(read.send().await.unwrap().status(), 200);
    // One user's reading hides it for no other.
    assert_eq!(bridge.get_as(&ann, path).await.1["unread_count"], 0);
    assert_eq!(bridge.get_as(&bob, path).await.1["unread_count"], 1);
    report(&bridge, "m1", json!({"tenant": "acme", "document_id": one, "status": "complete"})).await;
    let since = first["cursor"].as_str().unwrap();
    let (_, news) = bridge.get_as(&ann, &format!("{path}?since={since}")).await;
    let kinds: Vec<&Value> = news["notifications"].as_array().unwrap().iter().map(|n| &n["type"]).collect();
    assert_eq!(kinds, ["document_processed"]);
    // Notifications are made by services, not by anybody.
    let note = json!({"type": "maintenance", "title": "Tonight", "message": "From ten to eleven"});
    assert_eq!(bridge.post_as(&ann, path, &note).await.0, 403);
    let service = token(json!({"sub": "ops", "tenant": "acme", "role": "service"}));
    assert_eq!(bridge.post_as(&service, path, &note).await.0, 201);
}
