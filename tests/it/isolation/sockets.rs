//! Every message and command of a socket, opened as one tenant, against another.

use serde_json::{Value, json};
use tidings::app_api::chat::COMMANDS;
use tidings::http::asyncapi;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::rows::Who;
use super::site::{FORMS, Form, MARK, Site, strangers};
use crate::support::Ws;

/// A socket with this token in this form.
async fn connect(site: &Site, form: Form, token: &str) -> Ws {
    let own = site.bridge.address;
    let url = match form {
        Form::Query => format!("ws://{own}/v1/ws?token={token}"),
        Form::Ticket => format!("ws://{own}/v1/ws?ticket={}", site.ticket(token).await),
        _ => format!("ws://{own}/v1/ws"),
    };
    let mut request = url.into_client_request().unwrap();
    let (name, value) = match form {
        Form::Bearer => ("authorization", format!("Bearer {token}")),
        Form::SignedIn => ("cookie", signed_in(site, token).await),
        _ => ("cookie", format!("tidings={token}")),
    };
    request.headers_mut().insert("origin", format!("http://{own}").parse().unwrap());
    request.headers_mut().insert(name, value.parse().unwrap());
    let (socket, _) = connect_async(request).await.unwrap();
    let mut ws = Ws { socket, hello: Value::Null, close: None };
    ws.hello = ws.frame().await.unwrap();
    ws
}

async fn signed_in(site: &Site, token: &str) -> String {
    let link = format!("/?ticket={}", site.ticket(token).await);
    let answer = crate::support::Answer::of(site.bridge.request("GET", &link)).await;
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// What comes back for a message; nothing in it is globex's, but what the message itself said.
async fn answer(ws: &mut Ws, message: &Value) -> Value {
    ws.send(message).await;
    let answer = loop {
        let frame = ws.frame().await.unwrap();
        if frame["type"] != "heartbeat" {
            break frame;
        }
    };
    let text = answer.to_string();
    assert!(!text.contains(MARK) && !text.contains("globex"), "{message}: {text}");
    answer
}

/// The arguments of a command as it is meant to be sent.
fn arguments(command: &str, tenant: &str, session: &str) -> Value {
    match command {
        "chat.end" | "chat.archive" | "chat.typing" | "chat.view" | "chat.assign" => {
            json!({"tenant": tenant, "session": session})
        }
        "chat.send" => json!({"tenant": tenant, "session": session, "id": "msg_b", "content": "other"}),
        new => panic!("say in tests/it/isolation/sockets.rs what {new} takes"),
    }
}

/// Each message that a client may send, as one that asks for what is globex's, and the code that refuses it.
fn messages() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("subscribe", json!({"type": "subscribe", "id": "b", "tenant": "globex"}), "forbidden"),
        ("unsubscribe", json!({"type": "unsubscribe", "id": "b"}), "unknown_subscription"),
        ("ping", json!({"type": "ping"}), ""),
        ("auth", json!({"type": "auth", "token": Who::Admin.of(&["globex"]).replace('.', "-")}), "token_malformed"),
        (
            "command",
            json!({"type": "command", "id": "c", "name": "chat.end", "args": arguments("chat.end", "globex", "chs_b")}),
            "forbidden",
        ),
    ]
}

#[test]
fn every_message_and_every_command_is_attacked() {
    let document = asyncapi::document();
    let known = document["operations"]["take"]["messages"].as_array().unwrap().iter();
    let known: Vec<&str> = known.map(|message| message["$ref"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
    let mut tried: Vec<&str> = messages().into_iter().map(|(name, ..)| name).collect();
    tried.sort_unstable();
    let mut known_sorted = known.clone();
    known_sorted.sort_unstable();
    assert_eq!(tried, known_sorted);
    let says = document["components"]["messages"]["command"]["summary"].as_str().unwrap().to_owned();
    for (command, _) in COMMANDS {
        assert!(says.contains(command), "{command} is not described");
        arguments(command, "globex", "chs_b");
    }
}

#[tokio::test]
async fn a_socket_of_one_tenant_reaches_nothing_of_another() {
    let site = Site::new().await;
    let before = site.theirs().await;
    let mightiest = Who::Admin.of(&["acme", "initech"]);
    let by_form = FORMS.iter().map(|form| (*form, mightiest.clone()));
    for (form, token) in strangers().into_iter().map(|token| (Form::Bearer, token)).chain(by_form) {
        let mut ws = connect(&site, form, &token).await;
        for (name, message, code) in messages() {
            let answer = answer(&mut ws, &message).await;
            let refused = answer["code"].as_str().or(answer["error"]["code"].as_str()).unwrap_or_default();
            assert_eq!(refused, code, "{name} as {form:?}: {answer}");
        }
        for (command, _) in COMMANDS {
            let send = |tenant, session| json!({"type": "command", "id": "c", "name": command, "args": arguments(command, tenant, session)});
            let theirs = answer(&mut ws, &send("globex", "chs_b")).await;
            assert_eq!(theirs["error"]["code"], "forbidden", "{command}: {theirs}");
            assert_eq!(theirs, answer(&mut ws, &send("nowhere", "chs_b")).await, "{command}");
            // Below one's own tenant it is not there, like one that never was.
            let mine = answer(&mut ws, &send("acme", "chs_b")).await;
            assert!(
                ["not_found", "forbidden"].contains(&mine["error"]["code"].as_str().unwrap_or("")),
                "{command}: {mine}"
            );
            assert_eq!(mine, answer(&mut ws, &send("acme", "chs_x")).await, "{command}");
        }
        // What goes on there meanwhile does not come here.
        assert_eq!(ws.subscribe("a", "acme", json!({})).await["type"], "subscribed");
        site.db.run("begin; select tidings.emit('globex', 'quartz.more'), tidings.emit('globex', 'quartz.more', audience => 'ann'); commit").await;
        site.db.sentinel("acme").await;
        assert_eq!(ws.until_sentinel().await, [Value::Null; 0], "{form:?}");
    }
    assert_eq!(site.theirs().await, before, "nothing of theirs was touched");
}

#[tokio::test]
async fn a_socket_has_the_rights_of_its_newest_token_and_no_others() {
    let site = Site::new().await;
    let mut ws = connect(&site, Form::Bearer, &Who::Ann.of(&["acme", "globex"])).await;
    ws.send(&json!({"type": "auth", "token": Who::Ann.of(&["acme"])})).await;
    assert_eq!(ws.frame().await.unwrap()["ok"], true);
    assert_eq!(
        answer(&mut ws, &json!({"type": "subscribe", "id": "b", "tenant": "globex"})).await["code"],
        "forbidden"
    );
    let command =
        json!({"type": "command", "id": "c", "name": "chat.send", "args": arguments("chat.send", "globex", "chs_b")});
    assert_eq!(answer(&mut ws, &command).await["error"]["code"], "forbidden");

    // One that is subscribed to what the new token is not for ends, and tells nothing more.
    let mut ws = connect(&site, Form::Bearer, &Who::Ann.of(&["acme", "globex"])).await;
    assert_eq!(ws.subscribe("b", "globex", json!({})).await["type"], "subscribed");
    ws.send(&json!({"type": "auth", "token": Who::Ann.of(&["acme"])})).await;
    let bye = ws.frame().await.unwrap();
    assert_eq!((&bye["type"], &bye["code"]), (&json!("bye"), &json!(4503)), "{bye}");
    assert_eq!(ws.frame().await, None);
    // Another user's token is none, whatever it may.
    let mut ws = connect(&site, Form::Bearer, &Who::Ann.of(&["acme"])).await;
    assert_eq!(
        answer(&mut ws, &json!({"type": "auth", "token": Who::Admin.of(&["globex"])})).await["code"],
        "forbidden"
    );
}

#[tokio::test]
async fn an_admin_of_one_tenant_who_subscribes_to_all_gets_their_own() {
    let site = Site::new().await;
    let mut ws = connect(&site, Form::Bearer, &Who::Admin.of(&["acme", "initech"])).await;
    ws.send(&json!({"type": "subscribe", "id": "all"})).await;
    assert_eq!(ws.frame().await.unwrap()["type"], "subscribed");
    site.db.run("select tidings.emit('globex', 'quartz.more'), tidings.emit('initech', 'n')").await;
    site.db.sentinel("acme").await;
    let events = ws.until_sentinel().await;
    assert_eq!((events.len(), &events[0]["tenant"]), (1, &json!("initech")));
}
