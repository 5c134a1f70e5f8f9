//! The steps of processing, as workers and webhooks make them with `tidings_app.set_document_status`.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{Bridge, Database, Sse, events_of, eventually, member};

/// A step of the document `d`: what the function returns, or its SQLSTATE, message and detail.
async fn step(client: &Client, status: &str, more: &str) -> Result<Value, (String, String, String)> {
    let sql = format!("select tidings_app.set_document_status('acme', 'd', '{status}', {more})::text");
    match client.query_one(&sql, &[]).await {
        Ok(row) => Ok(row.get::<_, Option<&str>>(0).map_or(Value::Null, |json| serde_json::from_str(json).unwrap())),
        Err(error) => {
            let db = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
            Err((db.code().code().to_owned(), db.message().to_owned(), db.detail().unwrap_or_default().to_owned()))
        }
    }
}

const NOTHING: &str = "null, null, null";

async fn document(status: &str) -> Database {
    let db = Database::new().await;
    db.run(&format!(
        "insert into documents (id, tenant_id, name, status, mime_type, uploaded_by) values ('d', 'acme', 'Plan', '{status}', 'text/plain', 'ann')"
    ))
    .await;
    db
}

#[tokio::test]
async fn a_document_goes_its_way_and_each_end_is_told_once() {
    let db = document("uploaded").await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let shown =
        |row: &Value| (row["status"].clone(), row["stage"].clone(), row["progress"].clone(), row["error"].clone());
    let c = &db.client;
    assert_eq!(
        shown(&step(c, "processing", "10, 'ocr', null").await.unwrap()),
        (json!("processing"), json!("ocr"), json!(10), Value::Null)
    );
    assert_eq!(
        shown(&step(c, "processing", "20, null, null").await.unwrap()),
        (json!("processing"), json!("ocr"), json!(20), Value::Null)
    );
    let failed = step(c, "failed", r#"null, null, '{"code": "x", "message": "no pages"}'"#).await.unwrap();
    assert_eq!(shown(&failed), (json!("failed"), Value::Null, json!(20), json!({"code": "x", "message": "no pages"})));
    assert_eq!(step(c, "failed", NOTHING).await.unwrap(), failed, "a second delivery");
    assert_eq!(
        shown(&step(c, "processing", NOTHING).await.unwrap()),
        (json!("processing"), Value::Null, Value::Null, Value::Null)
    );
    let done = step(c, "processed", NOTHING).await.unwrap();
    assert_eq!(shown(&done), (json!("processed"), Value::Null, json!(100), Value::Null));
    assert_eq!(step(c, "processed", "7, 'late', null").await.unwrap(), done, "a second delivery");
    db.sentinel("acme").await;
    let events = sse.until_sentinel().await;
    let kinds: Vec<String> = events_of(&events).into_iter().map(|(kind, _)| kind).collect();
    let (updated, told) = ("documents.updated", "notifications.inserted");
    assert_eq!(kinds, [updated, updated, updated, told, updated, updated, told]);
    let rows = [&events[3]["data"], &events[6]["data"]];
    assert_eq!(rows.map(|row| row["type"].clone()), [json!("document_failed"), json!("document_processed")]);
    assert_eq!(
        rows.map(|row| row["message"].clone()),
        [json!("Plan could not be processed: no pages"), json!("Plan has been processed.")]
    );
    assert_eq!(rows[1]["metadata"]["documentId"], "d");
}

#[tokio::test]
async fn a_step_back_is_refused_with_the_state_as_it_is() {
    let allowed = [
        ("uploaded", "processing"),
        ("uploaded", "processed"),
        ("uploaded", "failed"),
        ("processing", "processing"),
        ("processing", "processed"),
        ("processing", "failed"),
        ("failed", "processing"),
        ("failed", "processed"),
        ("uploaded", "uploaded"),
        ("processed", "processed"),
        ("failed", "failed"),
    ];
    let db = document("uploaded").await;
    for from in ["uploaded", "processing", "processed", "failed"] {
        for to in ["uploaded", "processing", "processed", "failed"] {
            db.run(&format!("update documents set status = '{from}', error = null, progress = null, stage = null"))
                .await;
            match step(&db.client, to, NOTHING).await {
                Ok(row) => assert!(allowed.contains(&(from, to)) && row["status"] == to, "{from} → {to}: {row}"),
                Err((code, message, current)) => {
                    assert!(!allowed.contains(&(from, to)), "{from} → {to}: {message}");
                    assert_eq!(code, "TD409");
                    assert_eq!(serde_json::from_str::<Value>(&current).unwrap()["status"], from);
                }
            }
        }
    }
    db.run("update documents set status = 'failed', error = '{\"code\": \"a\", \"message\": \"b\"}'").await;
    assert_eq!(
        step(&db.client, "failed", r#"null, null, '{"code": "a", "message": "c"}'"#).await.unwrap_err().0,
        "TD409"
    );
}

#[tokio::test]
async fn a_step_that_makes_no_sense_is_refused_by_its_field() {
    let db = document("uploaded").await;
    let field = async |status: &str, more: &str| {
        let sql = format!("select tidings_app.set_document_status('acme', 'd', {status}, {more})");
        let error = db.client.batch_execute(&sql).await.unwrap_err();
        let db = error.as_db_error().unwrap().clone();
        (db.code().code().to_owned(), db.column().unwrap_or_default().to_owned())
    };
    for (status, more, name) in [
        ("'done?'", NOTHING, "status"),
        ("null", NOTHING, "status"),
        ("'processing'", "101, null, null", "progress"),
        ("'processing'", "-1, null, null", "progress"),
        ("'processing'", r#"null, null, '{"code": "a", "message": "b"}'"#, "error"),
        ("'failed'", r#"null, null, '{"code": "a"}'"#, "error"),
        ("'failed'", "null, null, '[]'", "error"),
    ] {
        assert_eq!(field(status, more).await, ("TD422".to_owned(), name.to_owned()), "{status} {more}");
    }
    db.run("update documents set tenant_id = 'globex'").await;
    assert_eq!(step(&db.client, "processing", NOTHING).await.unwrap(), Value::Null, "another tenant's is none");
}

#[tokio::test]
async fn of_two_workers_that_end_a_document_at_once_one_wins_and_the_other_is_told() {
    let db = document("processing").await;
    let (one, two) = (db.connect().await, db.connect().await);
    one.batch_execute("begin").await.unwrap();
    step(&one, "processed", NOTHING).await.unwrap();
    let second = async { step(&two, "failed", NOTHING).await.unwrap_err() };
    let first = async {
        let waits = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')::text";
        eventually("the second waits for the row", || async { db.text(waits).await == "true" }).await;
        one.batch_execute("commit").await.unwrap();
    };
    let ((code, message, current), ()) = tokio::join!(second, first);
    assert_eq!((&*code, &*message), ("TD409", "a document that is processed cannot become failed"));
    assert_eq!(serde_json::from_str::<Value>(&current).unwrap()["status"], "processed");
    assert_eq!(db.text("select string_agg(type, ' ') from notifications").await, "document_processed");
}

#[tokio::test]
async fn a_document_that_failed_is_processed_again_when_a_member_asks_and_nothing_of_the_failure_is_left() {
    let (db, retry) = (document("processing").await, "/v1/tenants/acme/documents/d/retry");
    step(&db.client, "failed", r#"60, null, '{"code": "x", "message": "no pages"}'"#).await.unwrap();
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "?types=documents.*").await;
    let (status, again) = bridge.post_as(&member("acme"), retry, &json!({})).await;
    assert_eq!((status, &again["status"]), (200, &json!("processing")));
    for gone in ["progress", "stage", "error"] {
        assert_eq!(again[gone], Value::Null, "{gone}");
    }
    assert_eq!(sse.next().await["data"]["status"], "processing", "whoever processes documents hears of it");
    let (status, problem) = bridge.post_as(&member("acme"), retry, &json!({})).await;
    assert_eq!(
        (status, &problem["code"], &problem["current"]["status"]),
        (409, &json!("conflict"), &json!("processing"))
    );
    for other in ["uploaded", "processed"] {
        db.run(&format!("update documents set status = '{other}'")).await;
        let (status, problem) = bridge.post_as(&member("acme"), retry, &json!({})).await;
        assert_eq!((status, &problem["current"]["status"]), (409, &json!(other)));
    }
    let (status, problem) = bridge.post_as(&member("globex"), "/v1/tenants/globex/documents/d/retry", &json!({})).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "as one that never was");
}
