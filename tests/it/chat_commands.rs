//! Chats over a WebSocket: the same rules and refusals as over REST, and what a connection may ask for at once.

use serde_json::{Value, json};

use crate::chat::{admin_of, begin, chat, person};
use crate::support::{Bridge, Database, Ws, member};

async fn send(ws: &mut Ws, id: &str, name: &str, args: Value) {
    ws.send(&json!({"type": "command", "id": id, "name": name, "args": args})).await;
}

/// The next result; other frames are passed over.
async fn result(ws: &mut Ws) -> Value {
    loop {
        let frame = ws.frame().await.expect("the socket closed");
        if frame["type"] == "result" {
            return frame;
        }
    }
}

/// Sends a command and returns its result.
pub async fn command(ws: &mut Ws, name: &str, args: Value) -> Value {
    send(ws, "c", name, args).await;
    let result = result(ws).await;
    assert_eq!(result["id"], "c");
    result
}

#[tokio::test]
async fn an_admin_manages_a_session_by_commands_and_all_admins_see_it() {
    let db = Database::new().await;
    let bridges = [Bridge::start(&db).await, Bridge::start(&db).await];
    let id = begin(&bridges[0], &member("acme")).await;
    let args = json!({"tenant": "acme", "session": id});
    let mut ada = Ws::connect(&bridges[0], &admin_of("ada", "acme")).await;
    let mut bea =
        Ws::open(&bridges[1], &admin_of("bea", "acme"), "acme", json!({"types": "chat_sessions.updated"})).await;
    let mut to_bea = args.clone();
    to_bea["assignee"] = json!("bea");
    for (name, args, status) in [
        ("chat.assign", to_bea, "active"),
        ("chat.end", args.clone(), "ended"),
        ("chat.archive", args.clone(), "archived"),
    ] {
        let done = command(&mut ada, name, args).await;
        assert_eq!((&done["ok"], &done["data"]["status"]), (&json!(true), &json!(status)), "{done}");
        let event = bea.next().await;
        assert_eq!((&event["subject"], &event["data"]["status"]), (&json!(id), &json!(status)));
        assert_eq!(event["data"]["assigned_to"], "bea");
    }
    let refused = command(&mut bea, "chat.end", args).await;
    assert_eq!((&refused["ok"], &refused["error"]["code"]), (&json!(false), &json!("conflict")));
    assert_eq!(refused["error"]["current"]["status"], "archived");
}

#[tokio::test]
async fn a_message_sent_by_command_is_written_once_and_told() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let id = begin(&bridge, &member("acme")).await;
    let mut ann = Ws::open(&bridge, &member("acme"), "acme", json!({"types": "chat_messages.*"})).await;
    let args = json!({"tenant": "acme", "session": id, "id": "m1", "content": "hello"});
    let first = command(&mut ann, "chat.send", args.clone()).await;
    assert_eq!((&first["data"]["created"], &first["data"]["message"]["content"]), (&json!(true), &json!("hello")));
    let again = command(&mut ann, "chat.send", args).await;
    assert_eq!((&again["data"]["created"], &again["data"]["message"]), (&json!(false), &first["data"]["message"]));
    assert_eq!(db.text("select count(*)::text from chat_messages").await, "1");
}

#[tokio::test]
async fn commands_are_refused_as_requests_are() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let id = begin(&bridge, &member("acme")).await;
    let mut bob = Ws::connect(&bridge, &person("bob", "acme")).await;
    let place = |session: &str| json!({"tenant": "acme", "session": session});
    for session in [&id, "never-was"] {
        for name in ["chat.end", "chat.archive", "chat.assign", "chat.view"] {
            assert_eq!(command(&mut bob, name, place(session)).await["error"]["code"], "forbidden", "{name}");
        }
        let mut said = place(session);
        said["content"] = json!("x");
        assert_eq!(command(&mut bob, "chat.send", said).await["error"]["code"], "not_found");
        assert_eq!(command(&mut bob, "chat.typing", place(session)).await["error"]["code"], "not_found");
    }
    let other_tenant = json!({"tenant": "globex", "session": id, "content": "x"});
    assert_eq!(command(&mut bob, "chat.send", other_tenant).await["error"]["code"], "forbidden");
    for (name, args, field) in [
        ("chat.end", json!([]), "args"),
        ("chat.end", Value::Null, "tenant"),
        ("chat.end", json!({"tenant": 7}), "tenant"),
        ("chat.end", json!({"tenant": "acme"}), "session"),
        ("chat.end", json!({"tenant": "acme", "session": null}), "session"),
        ("chat.end", json!({"tenant": "acme", "session": "a\u{0}"}), "session"),
        ("chat.end", json!({"tenant": "acme", "session": id, "force": true}), "force"),
        ("chat.assign", json!({"tenant": "acme", "session": id, "assignee": 7}), "assignee"),
        ("chat.assign", json!({"tenant": "acme", "session": id, "assignee": ""}), "assignee"),
        ("chat.send", json!({"tenant": "acme", "session": id}), "content"),
        ("chat.send", json!({"tenant": "acme", "session": id, "content": "x", "role": "system"}), "role"),
        ("chat.view", json!({"tenant": "acme"}), "session"),
    ] {
        let mut ada = Ws::connect(&bridge, &admin_of("ada", "acme")).await;
        let refused = command(&mut ada, name, args).await;
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["field"]),
            (&json!("invalid_field"), &json!(field)),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_command_that_waits_for_a_lock_holds_up_neither_events_nor_the_order_of_commands() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let id = begin(&bridge, &member("acme")).await;
    let mut ada = Ws::open(&bridge, &admin_of("ada", "acme"), "acme", json!({"types": "sentinel"})).await;
    let locked = db.connect().await;
    locked.batch_execute("begin; select from chat_sessions for update").await.unwrap();
    for n in 0..12 {
        let args = json!({"tenant": "acme", "session": id, "content": n.to_string()});
        send(&mut ada, &n.to_string(), "chat.send", args).await;
    }
    let mut refused = Vec::new();
    while refused.len() < 3 {
        let frame = ada.frame().await.unwrap();
        assert_eq!(frame["error"]["code"], "too_many_commands", "{frame}");
        refused.push(frame["id"].clone());
    }
    assert_eq!(refused, ["9", "10", "11"], "one runs and eight wait");
    db.sentinel("acme").await;
    assert_eq!(ada.next().await["type"], "sentinel");
    locked.batch_execute("rollback").await.unwrap();
    for n in 0..9 {
        let done = result(&mut ada).await;
        assert_eq!((&done["id"], &done["ok"]), (&json!(n.to_string()), &json!(true)));
    }
    let list = chat(&bridge, &member("acme"), "GET", &format!("sessions/{id}/messages"), Value::Null).await.json();
    let said: Vec<&str> = list["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
}
