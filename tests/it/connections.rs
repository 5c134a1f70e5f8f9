//! Open connections as admins see, end and their owners change them.

use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, Sse, Ws, admin, events_of, eventually, member, token};

fn admin_of(tenant: &str) -> String {
    token(json!({"sub": "boss", "role": "admin", "tenant": tenant}))
}

fn id(hello: &Value) -> String {
    hello["connection"].as_str().unwrap().to_owned()
}

/// Connections as stats show them to a caller.
async fn listed(bridge: &Bridge, token: &str) -> Vec<Value> {
    let (status, stats) = bridge.get_as(token, "/v1/stats").await;
    assert_eq!(status, 200, "{stats}");
    stats["connections"].as_array().unwrap().clone()
}

async fn end(bridge: &Bridge, token: &str, connection: &str) -> Answer {
    Answer::of(bridge.request("DELETE", &format!("/v1/connections/{connection}")).bearer_auth(token)).await
}

async fn change(bridge: &Bridge, token: &str, connection: &str, change: Value) -> Answer {
    let request = bridge.request("PATCH", &format!("/v1/connections/{connection}"));
    Answer::of(request.bearer_auth(token).json(&change)).await
}

#[tokio::test]
async fn stats_are_for_admins() {
    let bridge = Bridge::start(&Database::new().await).await;
    for (token, status) in
        [(member("acme"), 403), (token(json!({"sub": "s", "role": "service", "tenant": "acme"})), 403), (admin(), 200)]
    {
        assert_eq!(bridge.get_as(&token, "/v1/stats").await.0, status);
    }
    assert_eq!(bridge.get("/v1/stats").await.0, 401);
}

#[tokio::test]
async fn stats_show_every_connection_until_it_is_gone_and_no_token() {
    let bridge = Bridge::start(&Database::new().await).await;
    let sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let ws = Ws::open(&bridge, &member("globex"), "globex", json!({})).await;
    let mut rows = listed(&bridge, &admin()).await;
    rows.sort_by_key(|row| row["transport"].as_str().unwrap().to_owned());
    let short: Vec<Value> =
        rows.iter().map(|row| json!([row["connection"], row["transport"], row["sub"], row["tenants"]])).collect();
    assert_eq!(
        short,
        [json!([id(&sse.hello), "sse", "ann", ["acme"]]), json!([id(&ws.hello), "websocket", "ann", ["globex"]])]
    );
    assert!(!json!(rows).to_string().contains("eyJ"), "{rows:?}");
    drop((sse, ws));
    eventually("both are gone", || async { listed(&bridge, &admin()).await.is_empty() }).await;
}

#[tokio::test]
async fn an_admin_of_one_tenant_sees_and_ends_only_its_connections() {
    let bridge = Bridge::start(&Database::new().await).await;
    let ours = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut theirs = Sse::open(&bridge, &member("globex"), "globex", "").await;
    let both = token(json!({"sub": "eve", "tenant": ["acme", "globex"]}));
    let mut shared = Ws::open(&bridge, &both, "acme", json!({})).await;
    assert_eq!(shared.subscribe("t", "globex", json!({})).await["type"], "subscribed");
    let stats = bridge.get_as(&admin_of("acme"), "/v1/stats").await.1;
    assert_eq!(stats["connections"].as_array().unwrap().len(), 1, "{stats}");
    assert_eq!(stats["connections"][0]["connection"], id(&ours.hello));
    assert!(!stats.to_string().contains("globex") && stats.get("events_total").is_none(), "{stats}");
    for foreign in [id(&theirs.hello), id(&shared.hello), "0000000000000000".into()] {
        assert_eq!(end(&bridge, &admin_of("acme"), &foreign).await.problem(), (404, "not_found".into()));
    }
    assert_eq!(end(&bridge, &admin_of("globex"), &id(&theirs.hello)).await.status, 204);
    assert_eq!(theirs.block().await.unwrap().event, "bye");
}

#[tokio::test]
async fn a_connection_that_an_admin_ends_is_told_so_and_may_come_back() {
    let bridge = Bridge::start(&Database::new().await).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    assert_eq!(end(&bridge, &member("acme"), &id(&sse.hello)).await.problem().0, 403);
    for hello in [&sse.hello, &ws.hello] {
        assert_eq!(end(&bridge, &admin(), &id(hello)).await.status, 204);
    }
    let bye = sse.block().await.unwrap();
    let expected = json!({"code": 4000, "reason": "ended", "reconnect": true});
    assert_eq!((bye.event.as_str(), serde_json::from_str::<Value>(&bye.data).unwrap()), ("bye", expected));
    assert!(bye.retry.is_some(), "not all at once");
    assert!(sse.block().await.is_none(), "the stream ends");
    let bye = ws.frame().await.unwrap();
    assert_eq!((&bye["type"], &bye["code"], &bye["reconnect"]), (&json!("bye"), &json!(4000), &json!(true)));
    assert_eq!(ws.frame().await, None);
    assert_eq!(u16::from(ws.close.unwrap().code), 4000);
}

#[tokio::test]
async fn the_types_of_a_live_stream_can_be_changed_by_its_owner() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "?types=a,sentinel").await;
    db.run("select tidings.emit('acme', 'a'), tidings.emit('acme', 'b')").await;
    db.sentinel("acme").await;
    assert_eq!(events_of(&sse.until_sentinel().await).len(), 1);
    let changed =
        change(&bridge, &member("acme"), &id(&sse.hello), json!({"subscribe": ["b"], "unsubscribe": ["a"]})).await;
    assert_eq!((changed.status, changed.json()), (200, json!({"types": ["sentinel", "b"]})));
    db.run("select tidings.emit('acme', 'a'), tidings.emit('acme', 'b')").await;
    db.sentinel("acme").await;
    assert_eq!(events_of(&sse.until_sentinel().await), [("b".into(), String::new())]);
}

#[tokio::test]
async fn a_changed_filter_shows_no_more_than_the_credential_allows() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let narrow = token(json!({"sub": "ann", "tenant": "acme", "events": ["a", "sentinel"]}));
    let mut sse = Sse::open(&bridge, &narrow, "acme", "").await;
    assert_eq!(change(&bridge, &narrow, &id(&sse.hello), json!({"subscribe": ["*", "b"]})).await.status, 200);
    db.run("select tidings.emit('acme', 'b'), tidings.emit('acme', 'a')").await;
    db.sentinel("acme").await;
    assert_eq!(events_of(&sse.until_sentinel().await), [("a".into(), String::new())]);
}

#[tokio::test]
async fn a_stream_is_changed_by_nobody_but_its_owner() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    let bob = token(json!({"sub": "bob", "tenant": "acme"}));
    // The same name in another tenant is another person.
    for (who, token) in [("bob", bob), ("another tenant's ann", member("globex")), ("an admin", admin())] {
        let answer = change(&bridge, &token, &id(&sse.hello), json!({"subscribe": ["b"], "unsubscribe": ["*"]})).await;
        assert_eq!(answer.problem(), (404, "not_found".into()), "{who}");
    }
    assert_eq!(change(&bridge, &member("acme"), &id(&ws.hello), json!({"subscribe": ["b"]})).await.problem().0, 404);
    db.run("select tidings.emit('acme', 'a')").await;
    assert_eq!(sse.next().await["type"], "a");
}

#[tokio::test]
async fn a_change_that_makes_no_sense_is_refused_by_name_and_changes_nothing() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "?types=a").await;
    for (wrong, field) in [
        (json!({"unsubscribe": ["a"]}), "unsubscribe"),
        (json!({"subscribe": ["a b"]}), "subscribe"),
        (json!({"subscribe": [""]}), "subscribe"),
        (json!({"subscribe": "b"}), "body"),
        (json!({"types": ["b"]}), "body"),
    ] {
        let answer = change(&bridge, &member("acme"), &id(&sse.hello), wrong.clone()).await;
        assert_eq!((answer.problem().0, &answer.json()["field"]), (422, &json!(field)), "{wrong}");
    }
    db.run("select tidings.emit('acme', 'b'), tidings.emit('acme', 'a')").await;
    assert_eq!(sse.next().await["type"], "a");
}
