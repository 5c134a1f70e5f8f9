//! Who looks at which session: over all instances, for admins, and no longer than they do.

use std::net::TcpListener;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::chat::{admin_of, begin, chat, person};
use crate::chat_commands::command;
use crate::support::{Bridge, Database, SECRET, Sse, Ws, eventually, member};

/// Subs by session, as an admin sees them.
async fn presence(bridge: &Bridge) -> Value {
    let answer = chat(bridge, &admin_of("eve", "acme"), "GET", "presence", Value::Null).await.json();
    let sessions = answer["sessions"].as_object().unwrap();
    let subs = |viewers: &Value| viewers.as_array().unwrap().iter().map(|v| v["sub"].clone()).collect::<Value>();
    sessions.iter().map(|(session, viewers)| (session.clone(), subs(viewers))).collect::<serde_json::Map<_, _>>().into()
}

async fn becomes(bridge: &Bridge, expected: Value) {
    eventually(&format!("presence is {expected}"), || async { presence(bridge).await == expected }).await;
}

async fn look(ws: &mut Ws, session: Value) {
    let done = command(ws, "chat.view", json!({"tenant": "acme", "session": session})).await;
    assert_eq!(done["ok"], true, "{done}");
}

#[tokio::test]
async fn admins_see_on_every_instance_who_looks_at_what() {
    let db = Database::new().await;
    let bridges = [Bridge::start(&db).await, Bridge::start(&db).await];
    let (one, other) = (begin(&bridges[0], &member("acme")).await, begin(&bridges[0], &member("acme")).await);
    let mut told = Sse::open(&bridges[1], &admin_of("eve", "acme"), "acme", "?types=chat.presence").await;
    let mut tell = async |session: &str, viewers: Value| {
        let event = told.next().await;
        assert_eq!(
            (&event["subject"], &event["data"]),
            (&json!(session), &json!({"session_id": session, "viewers": viewers}))
        );
        assert_eq!(event["id"], Value::Null);
    };
    let mut ada = Ws::connect(&bridges[0], &admin_of("ada", "acme")).await;
    let mut bea = Ws::connect(&bridges[1], &admin_of("bea", "acme")).await;
    look(&mut ada, json!(one)).await;
    tell(&one, json!(["ada"])).await;
    look(&mut bea, json!(one)).await;
    tell(&one, json!(["ada", "bea"])).await;
    for bridge in &bridges {
        assert_eq!(presence(bridge).await, json!({&*one: ["ada", "bea"]}));
    }
    look(&mut bea, Value::Null).await;
    tell(&one, json!(["ada"])).await;
    drop(ada);
    tell(&one, json!([])).await;
    assert_eq!(presence(&bridges[1]).await, json!({}));
    look(&mut bea, json!(other)).await;
    tell(&other, json!(["bea"])).await;
}

#[tokio::test]
async fn a_stream_is_said_to_show_a_session_by_its_owner_only() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (ada, id) = (admin_of("ada", "acme"), begin(&bridge, &member("acme")).await);
    let stream = Sse::open(&bridge, &ada, "acme", "").await;
    let connection = stream.hello["connection"].clone();
    let (view, body) = (format!("sessions/{id}/view"), json!({"connection": connection}));
    let foreign = chat(&bridge, &admin_of("bea", "acme"), "PUT", &view, body.clone()).await;
    assert_eq!((foreign.status, &foreign.json()["field"]), (422, &json!("connection")));
    assert_eq!(chat(&bridge, &ada, "PUT", "sessions/never-was/view", body.clone()).await.status, 404);
    assert_eq!(chat(&bridge, &ada, "PUT", &view, body.clone()).await.status, 204);
    becomes(&bridge, json!({&*id: ["ada"]})).await;
    assert_eq!(chat(&bridge, &ada, "DELETE", "sessions/another/view", body.clone()).await.status, 204);
    assert_eq!(chat(&bridge, &ada, "DELETE", &view, body.clone()).await.status, 204);
    becomes(&bridge, json!({})).await;
    chat(&bridge, &ada, "PUT", &view, body).await;
    becomes(&bridge, json!({&*id: ["ada"]})).await;
    drop(stream);
    becomes(&bridge, json!({})).await;
}

#[tokio::test]
async fn presence_is_for_admins_of_the_tenant() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let id = begin(&bridge, &member("acme")).await;
    let mut others = Vec::new();
    for (token, tenant) in [(person("ann", "acme"), "acme"), (admin_of("gia", "globex"), "globex")] {
        others.push(Sse::open(&bridge, &token, tenant, "?types=chat.presence,sentinel").await);
    }
    let mut ada = Ws::open(&bridge, &admin_of("ada", "acme"), "acme", json!({"types": "chat.presence"})).await;
    look(&mut ada, json!(id)).await;
    assert_eq!(ada.next().await["type"], "chat.presence");
    db.sentinel("acme").await;
    db.sentinel("globex").await;
    for mut other in others {
        assert_eq!(other.until_sentinel().await, [Value::Null; 0]);
    }
    let elsewhere = bridge.get_as(&admin_of("gia", "globex"), "/v1/tenants/globex/chat/presence").await;
    assert_eq!(elsewhere, (200, json!({"sessions": {}})));
}

#[tokio::test]
async fn viewers_come_back_by_themselves_when_the_database_has_lost_them() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let id = begin(&bridge, &member("acme")).await;
    let mut ada = Ws::connect(&bridge, &admin_of("ada", "acme")).await;
    look(&mut ada, json!(id)).await;
    becomes(&bridge, json!({&*id: ["ada"]})).await;
    // As a crash of the server does with a table that is not logged.
    db.run("truncate tidings._viewer").await;
    becomes(&bridge, json!({&*id: ["ada"]})).await;
}

#[tokio::test]
async fn a_bridge_that_ends_takes_its_viewers_with_it() {
    let db = Database::new().await;
    let (bridge, ending) = (Bridge::start(&db).await, Bridge::start(&db).await);
    let id = begin(&bridge, &member("acme")).await;
    let mut ada = Ws::connect(&ending, &admin_of("ada", "acme")).await;
    look(&mut ada, json!(id)).await;
    becomes(&bridge, json!({&*id: ["ada"]})).await;
    ending.stop().await;
    assert_eq!(db.text("select count(*)::text from tidings._viewer").await, "0");
}

#[tokio::test]
async fn a_killed_bridge_takes_its_viewers_with_it() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let killed = Bridge::elsewhere(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let environment = [
        ("TIDINGS__DATABASE__URL", db.url.as_str()),
        ("TIDINGS__DATABASE__MIGRATE", "false"),
        ("TIDINGS__HTTP__LISTEN", &killed.address.to_string()),
        ("TIDINGS__AUTH__SECRET", SECRET),
        ("TIDINGS__LISTENER__CHECKPOINT_EVERY", "200ms"),
    ];
    let mut serve = Command::new(env!("CARGO_BIN_EXE_tidings"));
    serve.arg("serve").env_clear().envs(environment).kill_on_drop(true);
    let mut process = serve.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually("the bridge is ready", || async {
        reqwest::get(killed.url("/readyz")).await.is_ok_and(|response| response.status() == 200)
    })
    .await;
    let id = begin(&bridge, &member("acme")).await;
    let mut told = Sse::open(&bridge, &admin_of("eve", "acme"), "acme", "?types=chat.presence").await;
    let mut ada = Ws::connect(&killed, &admin_of("ada", "acme")).await;
    look(&mut ada, json!(id)).await;
    assert_eq!(told.next().await["data"], json!({"session_id": id, "viewers": ["ada"]}));
    becomes(&bridge, json!({&*id: ["ada"]})).await;
    process.kill().await.unwrap();
    becomes(&bridge, json!({})).await;
    assert_eq!(told.next().await["data"], json!({"session_id": id, "viewers": []}));
    eventually("its rows are gone", || async { db.text("select count(*)::text from tidings._viewer").await == "0" })
        .await;
}
