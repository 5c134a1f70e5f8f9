//! Notifications over REST: told to a tenant, read and archived by each user for themself.

use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, Sse, admin, member, token};

const NOTIFICATIONS: &str = "/v1/tenants/acme/notifications";

fn bob() -> String {
    token(json!({"sub": "bob", "tenant": "acme"}))
}

fn service() -> String {
    token(json!({"sub": "svc", "tenant": "acme", "role": "service"}))
}

async fn list(bridge: &Bridge, token: &str, query: &str) -> Value {
    let (status, list) = bridge.get_as(token, &format!("{NOTIFICATIONS}{query}")).await;
    assert_eq!(status, 200, "{query}: {list}");
    list
}

fn ids(list: &Value) -> Vec<&str> {
    list["notifications"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
}

/// Notifications `n01` … of acme, a second apart from the beginning of 2026, and one of globex.
async fn some(count: u32) -> Database {
    let db = Database::new().await;
    db.run(&format!(
        "insert into notifications (id, tenant_id, type, title, message, created_at)
           select 'n' || lpad(i::text, 2, '0'), 'acme', 'note', 't', 'm', '2026-01-01Z'::timestamptz + i * interval '1 s' from generate_series(1, {count}) i;
         insert into notifications (id, tenant_id, type, title, message) values ('theirs', 'globex', 'note', 't', 'm')"
    ))
    .await;
    db
}

async fn mark(bridge: &Bridge, token: &str, id: &str, body: Value) -> (u16, Value) {
    bridge.send_as(token, "PATCH", &format!("{NOTIFICATIONS}/{id}"), &body).await
}

#[tokio::test]
async fn a_list_goes_from_the_newest_backwards_in_pages() {
    let db = some(25).await;
    let bridge = Bridge::start(&db).await;
    let first = list(&bridge, &member("acme"), "").await;
    assert_eq!((ids(&first).len(), ids(&first)[0], &first["unread_count"]), (10, "n25", &json!(25)));
    assert_eq!(first["poll_after_ms"], 15_000);
    for limit in [1, 7, 25, 100] {
        let (mut seen, mut before) = (Vec::new(), String::new());
        loop {
            let page = list(&bridge, &member("acme"), &format!("?limit={limit}{before}")).await;
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next"].as_str() else { break };
            // Whether it goes on by before or by since.
            before = format!("&{}={next}", if seen.len() % 2 == 0 { "before" } else { "since" });
        }
        let expected: Vec<String> = (1..=25).rev().map(|i| format!("n{i:02}")).collect();
        assert_eq!(seen, expected, "limit {limit}");
    }
}

#[tokio::test]
async fn since_a_time_is_strictly_after_it() {
    let db = some(5).await;
    let bridge = Bridge::start(&db).await;
    for (since, expected) in [
        ("2026-01-01T00:00:03Z", vec!["n05", "n04"]),
        ("2026-01-01T00:00:02.999999Z", vec!["n05", "n04", "n03"]),
        ("2026-01-01T01:00:04%2B01:00", vec!["n05"]),
        ("2026-01-01T01:00:04+01:00", vec!["n05"]),
        ("2026-01-01", vec!["n05", "n04", "n03", "n02", "n01"]),
        ("2026-01-02", vec![]),
        ("-009000-01-02T00:00:00Z", vec!["n05", "n04", "n03", "n02", "n01"]),
        ("9999-01-01T00:00:00Z", vec![]),
    ] {
        assert_eq!(ids(&list(&bridge, &member("acme"), &format!("?since={since}")).await), expected, "{since}");
    }
}

#[tokio::test]
async fn what_one_user_reads_stays_unread_for_all_others() {
    let db = some(3).await;
    let bridge = Bridge::start(&db).await;
    let (ann, bob) = (member("acme"), bob());
    let state = |row: &Value| (row["read"] == true, row["archived"] == true);
    for (body, expected) in [
        (json!({"read": true}), (true, false)),
        (json!({"read": true}), (true, false)),
        (json!({"archived": true}), (true, true)),
        (json!({"archived": false}), (true, false)),
        (json!({"read": false}), (false, false)),
        (json!({"archived": true}), (true, true)),
        (json!({"read": false}), (false, false)),
        (json!({"read": true, "archived": false}), (true, false)),
    ] {
        let (status, row) = mark(&bridge, &ann, "n02", body.clone()).await;
        assert_eq!((status, state(&row)), (200, expected), "{body}");
        let shown = list(&bridge, &ann, "?archived=true").await;
        assert_eq!(
            (state(&shown["notifications"][1]), &shown["unread_count"]),
            (expected, &json!(if expected.0 { 2 } else { 3 })),
            "{body}"
        );
        assert_eq!(
            ids(&list(&bridge, &ann, "").await).len(),
            if expected.1 { 2 } else { 3 },
            "archived ones are left out"
        );
    }
    assert_eq!(ids(&list(&bridge, &ann, "?unread=true").await), ["n03", "n01"]);
    let others = list(&bridge, &bob, "").await;
    assert_eq!((others["notifications"][1]["read"].clone(), &others["unread_count"]), (json!(false), &json!(3)));

    let (status, done) = bridge.post_as(&ann, &format!("{NOTIFICATIONS}/read-all"), &json!({})).await;
    assert_eq!((status, &done["read"], &done["unread_count"]), (200, &json!(2), &json!(0)));
    assert_eq!(list(&bridge, &bob, "?unread=1").await["unread_count"], 3);
    // The cursor is of a moment at which everything was read.
    db.run("insert into notifications (id, tenant_id, type, title, message) values ('late', 'acme', 'note', 't', 'm')")
        .await;
    let since = list(&bridge, &ann, &format!("?since={}", done["cursor"].as_str().unwrap())).await;
    assert_eq!((ids(&since), &since["unread_count"]), (vec!["late"], &json!(1)));
}

#[tokio::test]
async fn the_same_users_other_windows_are_told_and_nobody_else() {
    let db = some(2).await;
    let bridge = Bridge::start(&db).await;
    let mut window = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut other = Sse::open(&bridge, &bob(), "acme", "").await;
    for body in [
        json!({"read": true}),
        json!({"read": true}),
        json!({"archived": true}),
        json!({"read": false}),
        json!({"archived": false}),
    ] {
        assert_eq!(mark(&bridge, &member("acme"), "n01", body).await.0, 200);
    }
    for _ in 0..2 {
        assert_eq!(bridge.post_as(&member("acme"), &format!("{NOTIFICATIONS}/read-all"), &json!({})).await.0, 200);
    }
    db.sentinel("acme").await;
    let told: Vec<Value> = window.until_sentinel().await;
    assert!(told.iter().all(|event| event["type"] == "notifications.read" && event["audience"] == "ann"), "{told:?}");
    let data: Vec<Value> = told.iter().map(|event| event["data"].clone()).collect();
    let one = |read: bool, archived: bool| json!({"id": "n01", "read": read, "archived": archived});
    assert_eq!(
        data,
        [one(true, false), one(true, true), one(false, false), json!({"id": null, "read": true, "archived": null})]
    );
    assert!(other.until_sentinel().await.is_empty());
}

#[tokio::test]
async fn services_and_admins_tell_a_tenant_something_and_members_do_not() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let note = json!({"type": "system_health", "title": "Slow", "message": "The index is being rebuilt.", "metadata": {"p": 0.10}});
    assert_eq!(bridge.post_as(&member("acme"), NOTIFICATIONS, &note).await.0, 403);
    let elsewhere = bridge.post_as(&service(), "/v1/tenants/globex/notifications", &note).await;
    assert_eq!(elsewhere.0, 403);
    for (token, by) in [(service(), "svc"), (admin(), "root")] {
        let (status, row) = bridge.post_as(&token, NOTIFICATIONS, &note).await;
        assert_eq!(
            (status, &row["message"], &row["metadata"], &row["read"]),
            (201, &note["message"], &note["metadata"], &json!(false))
        );
        assert_eq!(row["created_by"], json!({"id": by, "name": null, "email": null}), "not in the tables");
    }
    let (_, bare) =
        bridge.post_as(&service(), NOTIFICATIONS, &json!({"type": "a", "title": "t", "message": "m"})).await;
    assert_eq!(bare["metadata"], json!({}));
    assert_eq!(list(&bridge, &member("acme"), "").await["unread_count"], 3);
    assert_eq!(bridge.post_as(&admin(), "/v1/tenants/nobody/notifications", &note).await.1["field"], "tenant");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_by_its_field() {
    let db = some(1).await;
    let bridge = Bridge::start(&db).await;
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("since=yesterday", "since"),
        ("since=2026-01-01T00:00:00", "since"),
        ("since=2026-02-30", "since"),
        ("since=%00", "since"),
        ("before=x", "before"),
        ("before=2026-01-01", "before"),
        ("before=p.1.%00", "before"),
        ("unread=yes", "unread"),
        ("archived=2", "archived"),
    ] {
        let (status, problem) = bridge.get_as(&member("acme"), &format!("{NOTIFICATIONS}?{query}")).await;
        assert_eq!((status, &problem["field"]), (422, &json!(name)), "{query}: {problem}");
    }
    let after = list(&bridge, &member("acme"), "").await["cursor"].as_str().unwrap().to_owned();
    let (status, problem) =
        bridge.get_as(&member("acme"), &format!("{NOTIFICATIONS}?since={after}&before=p.1.a")).await;
    assert_eq!((status, &problem["field"]), (422, &json!("before")));
    for (body, name) in [
        (json!({}), "read"),
        (json!({"read": null}), "read"),
        (json!({"read": 1}), "read"),
        (json!({"archived": "true"}), "archived"),
        (json!({"read": false, "archived": true}), "read"),
        (json!({"read": true, "seen": true}), "seen"),
    ] {
        let (status, problem) = mark(&bridge, &member("acme"), "n01", body.clone()).await;
        assert_eq!((status, &problem["field"]), (422, &json!(name)), "{body}: {problem}");
    }
    let whole = json!({"type": "a", "title": "t", "message": "m"});
    for (name, value) in [
        ("type", json!(null)),
        ("type", json!("Upper")),
        ("type", json!("a".repeat(65))),
        ("title", json!("")),
        ("title", json!("t".repeat(256))),
        ("title", json!("t\u{0}")),
        ("message", json!(" ")),
        ("message", json!("m".repeat(8193))),
        ("message", json!({})),
        ("metadata", json!("x")),
        ("metadata", json!({"a": "\u{0}"})),
        ("user_id", json!("ann")),
    ] {
        let mut body = whole.clone();
        body[name] = value;
        let (status, problem) = bridge.post_as(&service(), NOTIFICATIONS, &body).await;
        assert_eq!((status, &problem["field"]), (422, &json!(name)), "{body}: {problem}");
    }
    assert_eq!(db.text("select count(*)::text from notifications where tenant_id = 'acme'").await, "1");
    assert_eq!(db.text("select count(*)::text from notification_reads").await, "0");
}

#[tokio::test]
async fn notifications_of_another_tenant_are_answered_like_ones_that_never_were() {
    let db = some(1).await;
    let bridge = Bridge::start(&db).await;
    let whole = async |id: &str| {
        let request = bridge.request("PATCH", &format!("{NOTIFICATIONS}/{id}")).bearer_auth(member("acme"));
        let answer = Answer::of(request.header("x-request-id", "same").json(&json!({"read": true}))).await;
        let mut headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.retain(|header| !header.starts_with("date:"));
        (answer.status, headers, answer.body)
    };
    let never = whole("never").await;
    assert_eq!(never.0, 404);
    for id in ["theirs", "%00", "%ff"] {
        assert_eq!(whole(id).await, never, "{id}");
    }
    assert_eq!(ids(&list(&bridge, &member("acme"), "?archived=1").await), ["n01"]);
    for (method, rest) in [("GET", ""), ("POST", ""), ("PATCH", "/theirs"), ("POST", "/read-all")] {
        let refused = async |tenant: &str| {
            bridge
                .send_as(
                    &member("acme"),
                    method,
                    &format!("/v1/tenants/{tenant}/notifications{rest}"),
                    &json!({"read": true}),
                )
                .await
        };
        assert_eq!((refused("globex").await.0, refused("globex").await), (403, refused("never").await));
        assert_eq!(Answer::of(bridge.request(method, &format!("{NOTIFICATIONS}{rest}"))).await.problem().0, 401);
    }
    let narrow = token(json!({"sub": "ann", "tenant": "acme", "events": "documents.*"}));
    assert_eq!(bridge.get_as(&narrow, NOTIFICATIONS).await.0, 404);
    assert_eq!(mark(&bridge, &narrow, "n01", json!({"read": true})).await.0, 404);
    assert_eq!(bridge.post_as(&narrow, &format!("{NOTIFICATIONS}/read-all"), &json!({})).await.0, 404);
    assert_eq!(db.text("select count(*)::text from notification_reads").await, "0");
}
