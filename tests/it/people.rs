//! Who is told by e-mail, and what users choose for themselves.

use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, admin, member, token};

const PREFERENCES: &str = "/v1/tenants/acme/preferences";

#[tokio::test]
async fn whoever_opts_out_is_told_nothing_by_e_mail_and_nobody_else_is_affected() {
    let db = Database::new().await;
    db.run(
        "insert into users (id, tenant_id, name, email) values ('bob', 'acme', 'Bob', 'bob@acme.example'), ('zed', 'acme', 'Zed', null), ('ann', 'globex', 'Other Ann', 'ann@globex.example')",
    )
    .await;
    let bridge = Bridge::start(&db).await;
    let told = async |audience: &str| {
        let sql = format!("select tidings_app.recipients('acme', 'document_processed', {audience})::text");
        serde_json::from_str::<Value>(&db.text(&sql).await).unwrap()
    };
    let ann = json!({"sub": "ann", "name": "Ann", "email": "ann@acme.example"});
    let bob = json!({"sub": "bob", "name": "Bob", "email": "bob@acme.example"});
    assert_eq!(told("null").await, json!([ann, bob]));
    assert_eq!(bridge.get_as(&member("acme"), PREFERENCES).await, (200, json!({"email": true})));
    let changed = bridge.send_as(&member("acme"), "PATCH", PREFERENCES, &json!({"email": false})).await;
    assert_eq!(changed, (200, json!({"email": false})));
    assert_eq!(bridge.get_as(&member("acme"), PREFERENCES).await, (200, json!({"email": false})));
    assert_eq!((told("null").await, told("'ann'").await, told("'bob'").await), (json!([bob]), json!([]), json!([bob])));
    let elsewhere = bridge.get_as(&member("globex"), "/v1/tenants/globex/preferences").await;
    assert_eq!(elsewhere, (200, json!({"email": true})), "the same name is somebody else there");
}

#[tokio::test]
async fn preferences_are_of_users_who_are_in_the_tables() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let guest = token(json!({"sub": "guest", "tenant": "acme"}));
    for token in [&guest, &admin(), &token(json!({"sub": "gus", "tenant": "acme"}))] {
        assert_eq!(bridge.get_as(token, PREFERENCES).await.0, 404);
        assert_eq!(bridge.send_as(token, "PATCH", PREFERENCES, &json!({"email": true})).await.0, 404);
    }
    for (body, field) in [
        (json!({}), "email"),
        (json!({"email": null}), "email"),
        (json!({"email": "no"}), "email"),
        (json!({"email": true, "sms": true}), "sms"),
        (json!(true), "body"),
    ] {
        let (status, problem) = bridge.send_as(&member("acme"), "PATCH", PREFERENCES, &body).await;
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{body}");
    }
    assert_eq!(bridge.get_as(&member("globex"), PREFERENCES).await.0, 403);
    assert_eq!(Answer::of(bridge.request("GET", PREFERENCES)).await.problem().0, 401);
    assert_eq!(db.text("select bool_and(email_notifications)::text from users").await, "true");
}
