//! A chat is between its user and the tenant's admins: nobody else sees anything of it, on any road.

use serde_json::{Value, json};

use crate::chat::{admin_of, begin, chat, person, service_of};
use crate::support::{Bridge, Database, Sse, Ws, events_of, get_page};

/// Everything that can happen in a chat of ann's, and what of it is told to whom.
async fn talk(bridge: &Bridge) -> String {
    let (ann, ada) = (person("ann", "acme"), admin_of("ada", "acme"));
    let id = begin(bridge, &ann).await;
    let path = |what: &str| format!("sessions/{id}/{what}");
    for (token, what, body) in [
        (&ann, "typing", Value::Null),
        (&ann, "messages", json!({"content": "hello"})),
        (&ada, "typing", Value::Null),
        (&ada, "messages", json!({"content": "what can I do?"})),
        (&ada, "end", Value::Null),
    ] {
        let answer = chat(bridge, token, "POST", &path(what), body).await;
        assert!(answer.status < 300, "{answer:?}");
    }
    id
}

#[tokio::test]
async fn a_chat_reaches_its_user_and_admins_and_nobody_else_on_any_road() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let start = db.text("select tidings.cursor()").await;
    let watchers = [
        (person("ann", "acme"), "acme", true),
        (admin_of("ada", "acme"), "acme", true),
        (person("bob", "acme"), "acme", false),
        (service_of("bot", "acme"), "acme", false),
        (person("ann", "globex"), "globex", false),
        (admin_of("gia", "globex"), "globex", false),
    ];
    let mut open = Vec::new();
    for (token, tenant, sees) in &watchers {
        let sse = Sse::open(&bridge, token, tenant, "").await;
        let ws = Ws::open(&bridge, token, tenant, json!({})).await;
        open.push((token, *tenant, *sees, sse, ws));
    }
    let id = talk(&bridge).await;
    db.sentinel("acme").await;
    db.sentinel("globex").await;
    for (token, tenant, sees, mut sse, mut ws) in open {
        let mut replay = Sse::open(&bridge, token, tenant, &format!("?after={start}")).await;
        let live = [sse.until_sentinel().await, ws.until_sentinel().await];
        let kept =
            [replay.until_sentinel().await, get_page(&bridge, token, tenant, &format!("?after={start}")).await.events];
        for events in live.iter().chain(&kept) {
            let kinds: Vec<String> = events_of(events).into_iter().map(|(kind, _)| kind).collect();
            let of_chat = kinds.iter().any(|kind| kind.starts_with("chat"));
            assert_eq!(of_chat, sees, "{kinds:?}");
        }
        for events in &live {
            let typing: Vec<&Value> = events.iter().filter(|event| event["type"] == "chat.typing").collect();
            let told: Vec<_> =
                typing.iter().map(|e| (&e["subject"], &e["data"]["sub"], &e["data"]["role"], &e["id"])).collect();
            let by = |sub: &str, role: &str| (json!(id), json!(sub), json!(role), Value::Null);
            let expected = if sees { vec![by("ann", "user"), by("ada", "assistant")] } else { vec![] };
            let told: Vec<_> =
                told.into_iter().map(|(a, b, c, d)| (a.clone(), b.clone(), c.clone(), d.clone())).collect();
            assert_eq!(told, expected);
        }
    }
}

#[tokio::test]
async fn lists_and_polling_show_a_chat_to_its_user_and_admins_only() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let id = talk(&bridge).await;
    let message = db.text("select min(id) from chat_messages").await;
    for (token, sees) in [
        (person("ann", "acme"), true),
        (admin_of("ada", "acme"), true),
        (person("bob", "acme"), false),
        (service_of("bot", "acme"), false),
    ] {
        let list = chat(&bridge, &token, "GET", "sessions", Value::Null).await.json();
        assert_eq!(list["sessions"].as_array().unwrap().len(), usize::from(sees));
        for path in [format!("sessions/{id}"), format!("sessions/{id}/messages")] {
            assert_eq!(chat(&bridge, &token, "GET", &path, Value::Null).await.status, if sees { 200 } else { 404 });
        }
        for (table, key) in [("chat_sessions", &id), ("chat_messages", &message)] {
            let (_, rows) = bridge.get_as(&token, &format!("/v1/tenants/acme/watched/{table}?keys={key},{id}")).await;
            assert_eq!(!rows["rows"].as_array().unwrap().is_empty(), sees, "{table}: {rows}");
        }
    }
}

#[tokio::test]
async fn typing_is_told_at_most_once_a_second() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ann = person("ann", "acme");
    let id = begin(&bridge, &ann).await;
    let mut ada = Ws::open(&bridge, &admin_of("ada", "acme"), "acme", json!({"types": "chat.typing,sentinel"})).await;
    let started = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(chat(&bridge, &ann, "POST", &format!("sessions/{id}/typing"), Value::Null).await.status, 204);
    }
    db.sentinel("acme").await;
    let told = ada.until_sentinel().await.len() as u64;
    assert!(told >= 1 && told <= started.elapsed().as_secs() + 1, "{told}");
}

#[tokio::test]
async fn a_bridge_with_the_service_role_serves_chats_behind_the_walls() {
    let db = Database::new().await;
    let role = format!("{}_bridge", db.name());
    db.run(&format!(
        "create role {role} login; select tidings.grant_service('{role}'), tidings_app.grant_service('{role}');
         insert into chat_sessions (id, tenant_id, user_id) values ('foreign', 'globex', 'ann')"
    ))
    .await;
    let bridge = Bridge::with(&db.url_as(&role), &[]).await;
    let ada = admin_of("ada", "acme");
    let mut told = Sse::open(&bridge, &ada, "acme", "?types=chat.metrics,chat.presence").await;
    let id = talk(&bridge).await;
    let metrics = told.next().await;
    let sessions = metrics["data"]["sessions"].as_object().unwrap();
    assert_eq!(sessions.values().filter_map(Value::as_u64).sum::<u64>(), 1, "{metrics}");
    let list = chat(&bridge, &ada, "GET", "sessions", Value::Null).await.json();
    assert_eq!((list["sessions"].as_array().unwrap().len(), &list["sessions"][0]["id"]), (1, &json!(id)));
    let view = json!({"connection": told.hello["connection"]});
    assert_eq!(chat(&bridge, &ada, "PUT", &format!("sessions/{id}/view"), view).await.status, 204);
    while told.next().await["type"] != "chat.presence" {}
    let presence = chat(&bridge, &ada, "GET", "presence", Value::Null).await.json();
    assert_eq!(presence["sessions"][&id][0]["sub"], "ada");
}
