//! Messages over REST: once each, in both directions, and from a list into the stream.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::chat::{admin_of, begin, chat, person, service_of};
use crate::support::{Bridge, Database, Sse, get_page, member};

/// Says something; the answer's status and body.
async fn say(bridge: &Bridge, token: &str, session: &str, body: Value) -> (u16, Value) {
    let answer = chat(bridge, token, "POST", &format!("sessions/{session}/messages"), body).await;
    (answer.status, answer.json())
}

async fn read(bridge: &Bridge, token: &str, session: &str, query: &str) -> Value {
    let answer = chat(bridge, token, "GET", &format!("sessions/{session}/messages{query}"), Value::Null).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn contents(list: &Value) -> Vec<&str> {
    list["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_message_that_is_sent_again_is_the_first_one() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (ann, ada) = (member("acme"), admin_of("ada", "acme"));
    let id = begin(&bridge, &ann).await;
    let hello = json!({"id": "m1", "content": "hello", "metadata": {"lang": "en"}});
    let (status, first) = say(&bridge, &ann, &id, hello.clone()).await;
    assert_eq!(
        (status, &first["role"], &first["author"], &first["status"]),
        (201, &json!("user"), &json!("ann"), &json!("sent"))
    );
    assert_eq!(say(&bridge, &ann, &id, hello.clone()).await, (200, first.clone()));
    let (status, refused) = say(&bridge, &ann, &id, json!({"id": "m1", "content": "other"})).await;
    assert_eq!((status, &refused["code"], &refused["current"]), (409, &json!("conflict"), &first));
    chat(&bridge, &ada, "POST", &format!("sessions/{id}/end"), Value::Null).await;
    assert_eq!(say(&bridge, &ann, &id, hello).await, (200, first), "also when the session has ended meanwhile");
    let (status, refused) = say(&bridge, &ann, &id, json!({"content": "more"})).await;
    assert_eq!((status, &refused["current"]["status"]), (409, &json!("ended")));
}

#[tokio::test]
async fn eight_sends_of_one_id_make_one_message() {
    let db = Database::new().await;
    let bridges = [Bridge::start(&db).await, Bridge::start(&db).await];
    let ann = member("acme");
    let id = begin(&bridges[0], &ann).await;
    let hello = json!({"id": "m1", "content": "hello"});
    let send = |n: usize| say(&bridges[n % 2], &ann, &id, hello.clone());
    let (a, b, c, d, e, f, g, h) = tokio::join!(send(0), send(1), send(2), send(3), send(4), send(5), send(6), send(7));
    let mut statuses = [&a, &b, &c, &d, &e, &f, &g, &h].map(|(status, _)| *status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201]);
    assert!([b, c, d, e, f, g, h].iter().all(|(_, message)| *message == a.1));
    assert_eq!(db.text("select count(*)::text from chat_messages").await, "1");
}

#[tokio::test]
async fn who_speaks_in_which_role_follows_from_who_sends() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (ann, ada, bot) = (member("acme"), admin_of("ada", "acme"), service_of("bot", "acme"));
    let id = begin(&bridge, &ann).await;
    let (_, by_service) = say(&bridge, &bot, &id, json!({"content": "thinking", "role": "assistant"})).await;
    assert_eq!((&by_service["role"], &by_service["author"]), (&json!("assistant"), &Value::Null));
    let status = async || db.text("select status || coalesce(assigned_to, '') from chat_sessions").await;
    assert_eq!(status().await, "waiting", "a service takes nothing up");
    let (_, by_system) = say(&bridge, &ada, &id, json!({"content": "a note", "role": "system"})).await;
    assert_eq!((&by_system["role"], status().await), (&json!("system"), "waiting".into()));
    let (_, by_admin) = say(&bridge, &ada, &id, json!({"content": "what can I do?"})).await;
    assert_eq!((&by_admin["role"], &by_admin["author"]), (&json!("assistant"), &json!("ada")));
    assert_eq!(status().await, "activeada", "an admin's answer takes the session up");
    for role in ["assistant", "system"] {
        let (status, _) = say(&bridge, &ann, &id, json!({"content": "x", "role": role})).await;
        assert_eq!(status, 403, "{role}");
    }
    for (field, body) in [
        ("role", json!({"content": "x", "role": "robot"})),
        ("content", json!({"content": ""})),
        ("content", json!({"content": "x".repeat(32769)})),
        ("content", json!({"content": "a\u{0}"})),
        ("id", json!({"id": "", "content": "x"})),
        ("id", json!({"id": "x".repeat(256), "content": "x"})),
        ("metadata", json!({"metadata": "x", "content": "x"})),
        ("body", json!({"id": "x"})),
    ] {
        let (status, refused) = say(&bridge, &ann, &id, body).await;
        assert_eq!((status, &refused["field"]), (422, &json!(field)), "{refused}");
    }
    assert_eq!(say(&bridge, &ann, &id, json!({"id": "x".repeat(255), "content": "x".repeat(32768)})).await.0, 201);
}

#[tokio::test]
async fn pages_lead_from_the_first_message_forwards_and_from_the_end_backwards() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ann = member("acme");
    let id = begin(&bridge, &ann).await;
    for n in 0..5 {
        // An id may look like anything, also like a place or a cursor.
        say(&bridge, &ann, &id, json!({"id": format!("p.{n}.1-1-a"), "content": n.to_string()})).await;
    }
    let (mut forwards, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = read(&bridge, &ann, &id, &query).await;
        forwards.extend(contents(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&after={next}");
    }
    assert_eq!(forwards, ["0", "1", "2", "3", "4"]);
    let newest = read(&bridge, &ann, &id, "?limit=2&before=end").await;
    assert_eq!(contents(&newest), ["3", "4"]);
    let older = read(&bridge, &ann, &id, &format!("?limit=2&before={}", newest["previous"].as_str().unwrap())).await;
    assert_eq!(contents(&older), ["1", "2"]);
    let oldest = read(&bridge, &ann, &id, &format!("?limit=2&before={}", older["previous"].as_str().unwrap())).await;
    assert_eq!((contents(&oldest), &oldest["previous"]), (vec!["0"], &Value::Null));
    for (field, query) in
        [("after", "?after=x"), ("before", "?before=x"), ("before", "?after=1-1-a&before=end"), ("limit", "?limit=500")]
    {
        let refused = chat(&bridge, &ann, "GET", &format!("sessions/{id}/messages{query}"), Value::Null).await;
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)), "{query}");
    }
}

#[tokio::test]
async fn a_poll_from_its_own_cursor_misses_no_message() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ann = member("acme");
    let (id, other) = (begin(&bridge, &ann).await, begin(&bridge, &ann).await);
    let list = read(&bridge, &ann, &id, "").await;
    let mut cursor = list["cursor"].as_str().unwrap().to_owned();
    let mut senders = JoinSet::new();
    for sender in 0..4 {
        let (url, id, other) = (db.url.clone(), id.clone(), other.clone());
        senders.spawn(async move {
            let client = crate::support::connect(&url).await;
            for n in 0..25 {
                for session in [&id, &other] {
                    let create =
                        "select tidings_app.create_chat_message('acme', 'ann', false, $1, null, 'user', $2, null)";
                    client.execute(create, &[&session, &format!("{sender}-{n}")]).await.unwrap();
                }
            }
        });
    }
    let mut found = BTreeMap::new();
    let polling = async {
        while found.len() < 100 {
            let changed = read(&bridge, &ann, &id, &format!("?limit=7&after={cursor}")).await;
            for message in changed["messages"].as_array().unwrap() {
                found.insert(message["content"].as_str().unwrap().to_owned(), message["session_id"].clone());
            }
            changed["cursor"].as_str().unwrap().clone_into(&mut cursor);
        }
    };
    timeout(Duration::from_secs(30), polling).await.expect("a message was missed");
    senders.join_all().await;
    assert!(found.values().all(|session| *session == json!(id)), "of this session only");
    let cursor = read(&bridge, &ann, &id, "").await["cursor"].as_str().unwrap().to_owned();
    db.run("update chat_messages set status = 'failed' where content = '0-0'; delete from chat_messages where content = '1-1'").await;
    let changed = read(&bridge, &ann, &id, &format!("?after={cursor}")).await;
    assert_eq!((contents(&changed), changed["deleted"].as_array().unwrap().len()), (vec!["0-0"], 1));
}

#[tokio::test]
async fn a_cursor_outside_retention_says_that_the_list_is_to_be_fetched() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ann = member("acme");
    let id = begin(&bridge, &ann).await;
    let path = format!("sessions/{id}/messages?after=1-1-abc");
    assert_eq!(chat(&bridge, &ann, "GET", &path, Value::Null).await.problem(), (410, "cursor_unknown".into()));
}

#[tokio::test]
async fn history_and_then_the_stream_from_its_cursor_show_each_message_once() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ann = member("acme");
    let id = begin(&bridge, &ann).await;
    let mut senders = JoinSet::new();
    for sender in 0..4 {
        let (url, id) = (db.url.clone(), id.clone());
        senders.spawn(async move {
            let client = crate::support::connect(&url).await;
            for n in 0..45 {
                let create = "select tidings_app.create_chat_message('acme', 'ann', false, $1, $2, 'user', 'x', null)";
                client.execute(create, &[&id, &format!("{sender}-{n}")]).await.unwrap();
            }
        });
    }
    let listed = |history: &Value| -> Vec<String> {
        history["messages"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect()
    };
    let (mut streams, mut histories) = (Vec::new(), Vec::new());
    while streams.len() < 3 || senders.len() > 2 {
        while senders.try_join_next().is_some() {}
        let history = read(&bridge, &ann, &id, "?limit=200").await;
        let cursor = history["cursor"].as_str().unwrap().to_owned();
        if streams.len() < 3 {
            let query = format!("?types=chat_messages.*,sentinel&after={cursor}");
            streams.push((listed(&history), Sse::open(&bridge, &ann, "acme", &query).await));
        }
        histories.push((listed(&history), cursor));
    }
    senders.join_all().await;
    db.sentinel("acme").await;
    let once = |mut ids: Vec<String>, events: Vec<Value>| {
        ids.extend(events.iter().map(|event| event["data"]["id"].as_str().unwrap().to_owned()));
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!((all, ids.len()), (180, 180));
    };
    for (ids, mut stream) in streams {
        once(ids, stream.until_sentinel().await);
    }
    // Many more lists, read while messages came, each with what a page shows from its cursor.
    for (ids, cursor) in histories {
        let query = format!("?types=chat_messages.*&limit=1000&after={cursor}");
        once(ids, get_page(&bridge, &ann, "acme", &query).await.events);
    }
}

#[tokio::test]
async fn a_session_of_somebody_else_is_not_there() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (ann, bob) = (person("ann", "acme"), person("bob", "acme"));
    let id = begin(&bridge, &ann).await;
    db.run("insert into chat_sessions (id, tenant_id, user_id) values ('foreign', 'globex', 'bob')").await;
    let cursor = db.text("select tidings.cursor()").await;
    for (method, path, body) in [
        ("GET", "", Value::Null),
        ("GET", "/messages", Value::Null),
        ("GET", "/messages?before=end", Value::Null),
        ("GET", &format!("/messages?after={cursor}"), Value::Null),
        ("POST", "/messages", json!({"content": "x"})),
        ("POST", "/typing", Value::Null),
    ] {
        let mut answers = Vec::new();
        for id in [&id, "foreign", "never-was"] {
            let answer = chat(&bridge, &bob, method, &format!("sessions/{id}{path}"), body.clone()).await;
            assert_eq!(answer.problem(), (404, "not_found".into()), "{method} {path}");
            answers.push(answer.body);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    let ada = admin_of("ada", "acme");
    assert_eq!(
        chat(&bridge, &ada, "GET", "sessions/foreign", Value::Null).await.status,
        404,
        "of another tenant's, no admin"
    );
}
