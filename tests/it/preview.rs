//! A preview tells the event that a change would make, and writes nothing.

use serde_json::{Value, json};

use crate::dba::TRACES;
use crate::support::Database;
use crate::watch::PLAIN;

#[tokio::test]
async fn a_preview_shows_the_event_that_a_change_would_make_and_writes_nothing() {
    let db = Database::watched(PLAIN, "tenant => 'tenant', except_columns => '{b}', audience => 'a'").await;
    db.run("insert into t values (1, 'acme', 'ann', 'b')").await;
    let before = db.text(TRACES).await;
    let preview = async |op: &str, row: Value| -> Value {
        let told = db.text(&format!("select tidings.preview('t', '{op}', '{row}')::text")).await;
        serde_json::from_str(&told).unwrap()
    };
    let essence = |event: &Value| {
        json!([event["type"], event["tenant"], event["audience"], event["subject"], event["changed"], event["data"]])
    };

    let inserted = preview("insert", json!({"id": 2, "tenant": "acme", "a": "ann"})).await;
    let data = json!({"id": 2, "tenant": "acme", "a": "ann"});
    assert_eq!(essence(&inserted["event"]), json!(["t.inserted", "acme", "ann", "2", null, data]));
    assert_eq!((&inserted["sent_as"], &inserted["reason"]), (&json!("notification"), &Value::Null));
    assert!(
        inserted["bytes"].as_u64().unwrap() > 100
            && inserted["receivers"].as_str().unwrap().starts_with("user ann of tenant acme")
    );

    let moved = preview("update", json!({"id": 1, "tenant": "globex"})).await;
    let data = |tenant: &str| json!({"id": 1, "tenant": tenant, "a": "ann"});
    assert_eq!(essence(&moved["event"]), json!(["t.deleted", "acme", "ann", "1", null, data("acme")]));
    assert_eq!(essence(&moved["and"]["event"]), json!(["t.inserted", "globex", "ann", "1", null, data("globex")]));

    let silent = preview("update", json!({"id": 1, "b": "x"})).await;
    assert_eq!((&silent["event"], &silent["reason"]), (&Value::Null, &json!("no watched column changes")));

    let hypothetical = preview("update", json!({"id": 7, "tenant": "acme", "b": "x"})).await;
    let data = json!({"id": 7, "tenant": "acme", "a": null});
    assert_eq!(essence(&hypothetical["event"]), json!(["t.updated", "acme", null, "7", "id,tenant", data]));

    let deleted = preview("delete", json!({"id": 1})).await;
    let data = json!({"id": 1, "tenant": "acme", "a": "ann"});
    assert_eq!(essence(&deleted["event"]), json!(["t.deleted", "acme", "ann", "1", null, data]));

    let nobody = preview("insert", json!({"id": 3})).await;
    assert!(nobody["event"].is_null() && nobody["reason"].as_str().unwrap().contains("NULL"), "{nobody}");
    let not_asked = preview("truncate", json!({"id": 1, "tenant": "acme"})).await;
    assert!(not_asked["event"].is_null() && not_asked["reason"].as_str().unwrap().contains("ops"), "{not_asked}");
    let large = preview("insert", json!({"id": 3, "tenant": "x".repeat(9000)})).await;
    assert!(large["sent_as"].as_str().unwrap().starts_with("reference"), "{}", large["sent_as"]);

    assert_eq!(db.text(TRACES).await, before);
    db.run("select tidings.pause('t')").await;
    let paused = preview("insert", json!({"id": 3, "tenant": "acme"})).await;
    assert!(paused["event"].is_null() && paused["reason"].as_str().unwrap().contains("tidings.resume"), "{paused}");
}

#[tokio::test]
async fn a_preview_is_what_the_change_then_makes() {
    let db = Database::watched(
        "id int primary key, tenant text, r text, n numeric, at timestamptz, j json",
        "tenant => 'tenant'",
    )
    .await;
    db.run("insert into t values (1, 'acme', 'r', 1.50, '2026-11-20 12:00+00', '{\"a\": [1]}')").await;
    for (op, row, sql) in [
        (
            "insert",
            r#"{"id": 2, "tenant": "acme", "at": "2026-11-21T00:00:00Z"}"#,
            "insert into t (id, tenant, at) values (2, 'acme', '2026-11-21 00:00+00')",
        ),
        ("update", r#"{"id": 1, "r": "s", "n": 2.5}"#, "update t set r = 's', n = 2.5 where id = 1"),
        ("update", r#"{"id": 1, "tenant": "globex"}"#, "update t set tenant = 'globex' where id = 1"),
        ("delete", r#"{"id": 1}"#, "delete from t where id = 1"),
    ] {
        let previewed = db.text(&format!("select tidings.preview('t', '{op}', '{row}')::text")).await;
        let previewed: Value = serde_json::from_str(&previewed).unwrap();
        let event =
            |event: &Value| json!([event["type"], event["tenant"], event["subject"], event["changed"], event["data"]]);
        let promised: Vec<Value> =
            [&previewed["event"], &previewed["and"]["event"]].into_iter().filter(|e| !e.is_null()).map(event).collect();
        assert_eq!(db.logs(sql).await, promised, "{sql}");
    }
}
