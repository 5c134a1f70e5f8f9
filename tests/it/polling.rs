//! Polling that costs little: nothing is sent twice, the server says when to ask again, and who asks too often waits.

use serde_json::json;

use crate::support::{Answer, Bridge, Database, admin, member, token};

async fn poll(bridge: &Bridge, path: &str, held: &str) -> Answer {
    let mut request = bridge.request("GET", &format!("/v1/tenants/acme/{path}")).bearer_auth(member("acme"));
    if !held.is_empty() {
        request = request.header("if-none-match", held);
    }
    Answer::of(request).await
}

#[tokio::test]
async fn a_poll_that_finds_nothing_new_costs_no_body() {
    let db = Database::new().await;
    db.run(
        "insert into documents (id, tenant_id, name, status) values ('d', 'acme', 'n', 'processed'), ('g', 'globex', 'n', 'uploaded');
         insert into notifications (id, tenant_id, type, title, message) values ('n', 'acme', 'note', 't', 'm')",
    )
    .await;
    let bridge = Bridge::start(&db).await;
    let after = poll(&bridge, "documents", "").await.json()["cursor"].as_str().unwrap().to_owned();
    let changes = format!("documents?after={after}");
    let since = format!("notifications?since={after}");
    for (path, change) in [
        ("documents", "update documents set name = 'm' where id = 'd'"),
        ("documents/d", "update documents set name = 'o' where id = 'd'"),
        ("documents/status?ids=d", "update documents set status = 'failed' where id = 'd'"),
        (&*changes, "update documents set name = 'p' where id = 'd'"),
        (
            "notifications",
            "insert into notifications (tenant_id, type, title, message) values ('acme', 'note', 't', 'm')",
        ),
        (&*since, "insert into notifications (tenant_id, type, title, message) values ('acme', 'note', 't', 'm')"),
        ("watched/documents/d", "update documents set size = 1 where id = 'd'"),
        ("watched/documents?keys=d", "update documents set size = 2 where id = 'd'"),
    ] {
        let first = poll(&bridge, path, "").await;
        let tag = first.header("etag").to_owned();
        assert!(first.status == 200 && tag.starts_with("W/\""), "{path}: {first:?}");
        assert_eq!(first.header("cache-control"), "private, no-cache");
        assert_eq!(first.header("poll-after-ms"), first.json()["poll_after_ms"].to_string());
        // Others' events move the cursor, and nothing that is shown.
        db.run("update documents set size = coalesce(size, 0) + 1 where id = 'g'").await;
        for held in [tag.clone(), tag.replace("W/", ""), format!("\"x\", {tag}"), "*".into()] {
            let again = poll(&bridge, path, &held).await;
            assert_eq!((again.status, &*again.body), (304, ""), "{path} {held}");
            assert_eq!((again.header("etag"), again.header("cache-control")), (&*tag, "private, no-cache"));
            assert_eq!(again.header("poll-after-ms"), first.header("poll-after-ms"));
        }
        assert_eq!(poll(&bridge, path, "\"x\"").await.status, 200);
        db.run(change).await;
        let changed = poll(&bridge, path, &tag).await;
        assert_eq!(changed.status, 200, "{path}: {change}");
        assert_ne!(changed.header("etag"), tag);
    }
}

#[tokio::test]
async fn another_users_tag_is_of_no_use_where_they_see_something_else() {
    let db = Database::new().await;
    db.run("insert into notifications (id, tenant_id, type, title, message) values ('n', 'acme', 'note', 't', 'm')")
        .await;
    let bridge = Bridge::start(&db).await;
    let tag = poll(&bridge, "notifications", "").await.header("etag").to_owned();
    let bob = token(json!({"sub": "bob", "tenant": "acme"}));
    let read = bridge.send_as(&bob, "PATCH", "/v1/tenants/acme/notifications/n", &json!({"read": true})).await;
    assert_eq!(read.0, 200);
    let request = bridge.request("GET", "/v1/tenants/acme/notifications").bearer_auth(&bob);
    assert_eq!(Answer::of(request.header("if-none-match", &tag)).await.status, 200);
    assert_eq!(poll(&bridge, "notifications", &tag).await.status, 304);
}

#[tokio::test]
async fn the_server_says_when_to_ask_again() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let after = poll(&bridge, "documents", "").await.json()["cursor"].as_str().unwrap().to_owned();
    let changes = format!("documents?after={after}");
    db.run("insert into documents (id, tenant_id, name) values ('d', 'acme', 'n')").await;
    for (status, list, one, changed) in [
        ("uploaded", 3000, 10_000, 5000),
        ("processing", 3000, 3000, 3000),
        ("failed", 15_000, 0, 5000),
        ("processed", 15_000, 0, 5000),
    ] {
        db.run(&format!("update documents set status = '{status}'")).await;
        for (path, expected) in
            [("documents", list), ("documents/d", one), ("documents/status?ids=d", one), (&*changes, changed)]
        {
            let answer = poll(&bridge, path, "").await;
            assert_eq!(answer.json()["poll_after_ms"], expected, "{path}, {status}");
        }
    }
    assert_eq!(poll(&bridge, "notifications", "").await.header("poll-after-ms"), "15000");
    assert_eq!(poll(&bridge, "watched/documents/d", "").await.header("poll-after-ms"), "5000");
}

#[tokio::test]
async fn one_user_who_polls_too_often_is_told_to_wait_and_nobody_else_is() {
    let db = Database::new().await;
    db.run("insert into documents (id, tenant_id, name) values ('d', 'acme', 'n')").await;
    let bridge = Bridge::with(&db.url, &[("limits.requests_per_user", "1")]).await;
    let paths =
        ["documents", "documents/d", "documents/status?ids=d", "notifications", "watched/documents/d", "preferences"];
    for path in &paths[..2] {
        assert_eq!(poll(&bridge, path, "").await.status, 200);
    }
    for path in paths {
        let refused = poll(&bridge, path, "").await;
        assert_eq!(refused.problem(), (429, "too_many_requests".into()), "{path}");
        assert!(["1", "2"].contains(&refused.header("retry-after")), "{path}");
    }
    let path = "/v1/tenants/acme/documents";
    for other in [token(json!({"sub": "bob", "tenant": "acme"})), admin()] {
        assert_eq!(bridge.get_as(&other, path).await.0, 200);
    }
    assert_eq!(
        bridge.get_as(&member("globex"), "/v1/tenants/globex/documents").await.0,
        200,
        "ann of globex is somebody else"
    );
    assert_eq!(poll(&bridge, "events", "").await.status, 200, "events are not polled but awaited");
    crate::support::eventually("it may ask again", || async { poll(&bridge, "documents", "").await.status == 200 })
        .await;
}
