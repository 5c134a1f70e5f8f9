//! A PostgreSQL that cannot be reached, or only slowly.

use std::time::Duration;

use serde_json::json;

use super::scene::{QUICK, Scene};
use crate::support::{Answer, Bridge, Cut, Database, Door, Fault, Of, Proxy, Sse, Upstream, Way, Ws, member};

/// How it cannot be reached: whoever connects is refused, or hears nothing.
async fn unreachable(door: Door) {
    let scene = Scene::start().await;
    scene.proxy.door(door);
    scene.proxy.cut(Of::All, Cut::Rst);
    let said = scene.is_not_ready(&["disconnected"]).await;
    assert!(said["detail"].as_str().unwrap().contains("(it "), "{said}");
    for word in ["127.0.0.1", "5432", "postgres", "select"] {
        assert!(!said.to_string().contains(word), "{said}");
    }
    scene.commits().await;
    scene.proxy.mend();
    scene.recovers().await;
    scene.logged.told("no listening connection", 8).await;
    scene.finish().await;
}

#[tokio::test]
async fn a_refusing_postgresql_loses_nothing() {
    unreachable(Door::Shut).await;
}

#[tokio::test]
async fn a_postgresql_that_says_nothing_loses_nothing() {
    unreachable(Door::Mute).await;
}

#[tokio::test]
async fn a_network_that_resets_connections_midway_loses_nothing() {
    let scene = Scene::start().await;
    for bytes in [1, 50, 500, 5_000] {
        for way in [Way::ToServer, Way::ToClient] {
            scene.proxy.set(Of::All, way, Fault::cut_after(bytes, Cut::Rst));
            scene.commits().await;
            scene.mend();
            scene.recovers().await;
        }
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_slow_network_is_no_dead_one() {
    let scene = Scene::start().await;
    let before = scene.metric("tidings_listener_reconnects_total").await;
    scene.proxy.set(Of::All, Way::Both, Fault { rate: Some(200_000), ..Fault::delay(Duration::from_millis(100)) });
    for _ in 0..3 {
        scene.flows().await;
    }
    scene.is_ready().await;
    assert_eq!(scene.metric("tidings_listener_reconnects_total").await, before);
    scene.mend();
    scene.finish().await;
}

/// A browser gives up on a refusal, so what needs no database is answered without one.
#[tokio::test]
async fn without_a_database_clients_are_served_what_is_in_memory_and_told_to_come_back_for_the_rest() {
    let db = Database::new().await;
    let token = member("acme");
    db.run("insert into documents (id, tenant_id, name) values ('before', 'acme', 'x')").await;
    let old = db.text("select id from tidings.events").await;
    let proxy = Proxy::to(Upstream::of(&db.url)).await;
    let bridge = Bridge::with(&proxy.postgres(&db.url), &QUICK).await;
    let mut first = Sse::open(&bridge, &token, "acme", "").await;
    db.run("insert into documents (id, tenant_id, name) values ('held', 'acme', 'x')").await;
    assert_eq!(first.next().await["subject"], "held");
    proxy.door(Door::Shut);
    proxy.cut(Of::All, Cut::Rst);

    // Who connects, and who comes back with what the ring holds.
    let mut fresh = Sse::open(&bridge, &token, "acme", "").await;
    let mut resumed = Sse::resume(&bridge, &token, "acme", &first.last_id).await;
    assert_eq!(resumed.hello["resumed"], true);
    let mut socket = Ws::open(&bridge, &token, "acme", json!({"after": first.last_id})).await;
    // Who has been away for longer, or asks the log.
    for (accept, query) in [
        ("text/event-stream", format!("?after={old}")),
        ("application/json", format!("?after={old}")),
        ("application/json", "?after=now".to_owned()),
    ] {
        let path = format!("/v1/tenants/acme/events{query}");
        let answer = Answer::of(bridge.request("GET", &path).bearer_auth(&token).header("accept", accept)).await;
        assert_eq!(answer.status, 503, "{accept} {query}: {}", answer.body);
        assert!(answer.headers.contains_key("retry-after"));
        assert!(answer.body.contains("\"code\":\"database_unavailable\""), "{}", answer.body);
    }
    let refused = socket.subscribe("old", "acme", json!({"after": old})).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("database_unavailable")), "{refused}");

    db.run("insert into documents (id, tenant_id, name) values ('meanwhile', 'acme', 'x')").await;
    proxy.mend();
    for sse in [&mut first, &mut fresh, &mut resumed] {
        assert_eq!(sse.next().await["subject"], "meanwhile");
    }
    assert_eq!(socket.next().await["subject"], "meanwhile");
    let mut sse = Sse::resume(&bridge, &token, "acme", &old).await;
    assert_eq!([sse.next().await["subject"].clone(), sse.next().await["subject"].clone()], ["held", "meanwhile"]);
}
