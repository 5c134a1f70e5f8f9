//! Open connections as admins see, end and their owners change them.

use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

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

#[tokio::test]
async fn a_client_is_shown_by_the_name_that_it_gives_itself() {
    let bridge = Bridge::start(&Database::new().await).await;
    let token = member("acme");
    let _sse = Sse::open(&bridge, &token, "acme", "?client=inbox%202.1").await;
    let ws = format!("ws://{}/v1/ws?client=chat&ticket={}", bridge.address, {
        let (_, made) = bridge.post_as(&token, "/v1/tickets", &json!({})).await;
        made["ticket"].as_str().unwrap().to_owned()
    });
    let (_socket, _) = tokio_tungstenite::connect_async(&ws).await.unwrap();
    let waits = bridge.request("GET", "/v1/tenants/acme/events?wait=60&client=poller").bearer_auth(&token);
    let waits = TaskTracker::new().spawn(Answer::of(waits));
    let _nameless = Sse::open(&bridge, &token, "acme", "").await;
    eventually("all are there", || async { listed(&bridge, &admin()).await.len() == 4 }).await;
    let rows = listed(&bridge, &admin()).await;
    let mut names: Vec<String> = rows.iter().map(|row| format!("{} {}", row["transport"], row["client"])).collect();
    names.sort();
    assert_eq!(names, [r#""json" "poller""#, r#""sse" "inbox 2.1""#, r#""sse" null"#, r#""websocket" "chat""#]);
    waits.abort();
    for bad in ["a%0Ab", "%1B[31m", "%C3%A4", &"x".repeat(65)] {
        let path = format!("/v1/tenants/acme/events?client={bad}");
        let stream = bridge.request("GET", &path).bearer_auth(&token).header("accept", "text/event-stream");
        let page = bridge.request("GET", &path).bearer_auth(&token);
        for request in [stream, page] {
            let answer = Answer::of(request).await;
            assert_eq!((answer.status, &answer.json()["field"]), (422, &json!("client")), "{bad}");
        }
    }
}

#[tokio::test]
async fn an_admin_of_some_tenants_sees_what_comes_for_them_and_nothing_of_others() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let _globex = Sse::open(&bridge, &member("globex"), "globex", "").await;
    db.run("select tidings.emit('globex', 'a') from generate_series(1, 100)").await;
    let stats = |token: String| async { bridge.get_as(&{ token }, "/v1/stats").await.1 };
    let came = |stats: &Value| stats["rates"]["events_per_second"].as_f64().unwrap();
    eventually("the events are seen by who administers all", || async {
        let all = stats(admin()).await;
        came(&all) > 0.0 && all["rates"]["deliveries_per_second"].as_f64().unwrap() > 0.0
    })
    .await;
    let (all, globex, acme) = (stats(admin()).await, stats(admin_of("globex")).await, stats(admin_of("acme")).await);
    assert!(came(&globex) > 0.0 && came(&acme) == 0.0, "{globex} {acme}");
    assert_eq!((&all["tenants"], &globex["tenants"], &acme["tenants"]), (&json!(1), &json!(1), &json!(0)));
    for member in ["drops", "rings", "events_total"] {
        assert!(all[member] != Value::Null && globex[member] == Value::Null && acme[member] == Value::Null, "{member}");
    }
    assert_eq!(acme["rates"].get("deliveries_per_second"), None, "they are of all tenants together");
    for stats in [all, globex, acme] {
        assert!(stats["lag_ms"].is_u64() && stats["uptime_s"].is_u64(), "{stats}");
    }
}

#[tokio::test]
async fn stats_count_resets_and_refusals() {
    let bridge = Bridge::start(&Database::new().await).await;
    let before = bridge.get_as(&admin(), "/v1/stats").await.1["drops"].clone();
    assert_eq!((&before["resets"], &before["refused"]), (&json!(0), &json!(0)));
    let mut sse = Sse::resume(&bridge, &member("acme"), "acme", "no cursor").await;
    assert_eq!(sse.block().await.unwrap().event, "reset");
    let old = "?after=999999999-999999999-deadbeef";
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", old).await;
    assert_eq!(sse.block().await.unwrap().event, "reset");
    assert_eq!(bridge.get_as("no token", "/v1/status").await.0, 401);
    let after = bridge.get_as(&admin(), "/v1/stats").await.1["drops"].clone();
    assert_eq!((&after["resets"], &after["refused"], &after["slow"]), (&json!(2), &json!(1), &json!(0)));
}
