//! What the functions for chats answer, the same in every layout.

use serde_json::json;
use tokio::task::JoinSet;

use crate::layout::{Stand, each, shape, stands, walk};
use crate::support::connect;

/// Id of a new session of ann's in a state.
async fn session(stand: &Stand, state: &str) -> String {
    let made = stand.db.answer(r#"create_chat_session('acme', 'ann', 'Help', '{"post": 1}')"#).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let steps: &[&str] = match state {
        "active" => &["assign"],
        "ended" => &["end"],
        "archived" => &["end", "archive"],
        _ => &[],
    };
    for step in steps {
        stand.db.answer(&format!("move_chat_session('acme', 'amy', '{id}', '{step}', null)")).await;
    }
    id
}

fn send(session: &str, rest: &str) -> String {
    format!("create_chat_message('acme', 'ann', false, '{session}', {rest}, null)")
}

#[tokio::test]
async fn a_session_has_the_same_members_and_is_its_users_and_the_admins() {
    for stand in stands().await {
        let id = session(&stand, "waiting").await;
        let ask = |tenant: &str, sub: &str| format!("chat_session('{tenant}', {sub}, '{id}')");
        let made = stand.db.answer(&ask("acme", "'ann'")).await;
        let expected = json!({"id": "text", "user_id": "text", "subject": "text", "metadata": {"post": "number"}, "status": "text", "assigned_to": null,
            "created_at": "text", "updated_at": "text", "started_at": null, "ended_at": null, "last_message_at": null});
        assert_eq!((shape(&made), &made["status"]), (expected, &json!("waiting")), "{}", stand.name);
        assert_eq!(stand.db.answer(&ask("acme", "null")).await, made);
        for (tenant, sub) in [("acme", "'bob'"), ("globex", "null"), ("globex", "'ann'")] {
            assert_eq!(stand.db.answer(&ask(tenant, sub)).await, json!(null), "{}: {tenant} {sub}", stand.name);
            assert_eq!(
                stand.db.answer(&format!("chat_sessions('{tenant}', {sub}, null, null, null, 9)")).await["sessions"],
                json!([])
            );
            let call = format!("chat_messages('{tenant}', {sub}, '{id}', null, null, false, 9)");
            assert_eq!(stand.db.refused(&call).await.0, "TD404");
        }
    }
}

#[tokio::test]
async fn commands_move_a_session_forwards_and_conflicts_show_it_as_it_is() {
    for stand in stands().await {
        for (state, command, next) in [
            ("waiting", "end", Some("ended")),
            ("waiting", "archive", None),
            ("waiting", "assign", Some("active")),
            ("active", "end", Some("ended")),
            ("active", "archive", None),
            ("active", "assign", Some("active")),
            ("ended", "end", None),
            ("ended", "archive", Some("archived")),
            ("ended", "assign", None),
            ("archived", "end", None),
            ("archived", "archive", None),
            ("archived", "assign", None),
        ] {
            let id = session(&stand, state).await;
            let call = format!("move_chat_session('acme', 'amy', '{id}', '{command}', null)");
            let now = async || stand.db.answer(&format!("chat_session('acme', null, '{id}')")).await;
            match next {
                Some(next) => {
                    assert_eq!(stand.db.answer(&call).await["status"], next, "{}: {state} {command}", stand.name)
                }
                None => assert_eq!(
                    stand.db.refused(&call).await,
                    ("TD409".to_owned(), String::new(), now().await),
                    "{}: {state} {command}",
                    stand.name
                ),
            }
            assert_eq!(now().await["status"], next.unwrap_or(state));
        }
        let id = session(&stand, "active").await;
        let taken = stand.db.refused(&format!("move_chat_session('acme', 'bob', '{id}', 'assign', null)")).await;
        assert_eq!((taken.0.as_str(), &taken.2["assigned_to"]), ("TD409", &json!("amy")), "{}", stand.name);
        assert_eq!(
            stand.db.refused(&format!("move_chat_session('globex', 'gus', '{id}', 'end', null)")).await.0,
            "TD404"
        );
        let given = session(&stand, "waiting").await;
        let given = stand.db.answer(&format!("move_chat_session('acme', 'amy', '{given}', 'assign', 'bob')")).await;
        assert_eq!((&given["assigned_to"], shape(&given["started_at"])), (&json!("bob"), json!("text")));
    }
}

#[tokio::test]
async fn a_message_sent_again_is_the_first_one_and_its_id_is_the_clients() {
    for stand in stands().await {
        let (one, two) = (session(&stand, "waiting").await, session(&stand, "waiting").await);
        let first = stand.db.answer(&send(&one, "'m1', 'user', 'Hello'")).await;
        let expected = json!({"message": {"id": "text", "session_id": "text", "role": "text", "status": "text", "content": "text", "metadata": {}, "author": "text",
            "created_at": "text", "updated_at": "text"}, "created": "bool"});
        assert_eq!(
            (shape(&first), &first["message"]["id"], &first["created"]),
            (expected, &json!("m1"), &json!(true)),
            "{}",
            stand.name
        );
        let again = stand.db.answer(&send(&one, "'m1', 'user', 'Hello'")).await;
        assert_eq!((&again["message"], &again["created"]), (&first["message"], &json!(false)));
        assert_eq!(stand.db.refused(&send(&one, "'m1', 'user', 'Other'")).await.0, "TD409");
        // The same choice in another session, and in another tenant, is another message.
        assert_eq!(stand.db.answer(&send(&two, "'m1', 'user', 'Elsewhere'")).await["created"], true);
        let theirs = stand.db.answer("create_chat_session('globex', 'gus', null, null)").await["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let call = format!("create_chat_message('globex', 'gus', false, '{theirs}', 'm1', 'user', 'x', null)");
        assert_eq!(stand.db.answer(&call).await["created"], true, "{}", stand.name);
        let found =
            stand.db.answer(&format!("chat_messages('acme', 'ann', '{one}', '{{m1,m2}}', null, false, 9)")).await;
        assert_eq!((&found["messages"], shape(&found["cursor"])), (&json!([first["message"]]), json!("text")));
        // Without a choice it gets an id, and is found by it.
        let given =
            stand.db.answer(&send(&one, "null, 'user', 'No id'")).await["message"]["id"].as_str().unwrap().to_owned();
        assert_eq!(stand.db.answer(&send(&one, &format!("'{given}', 'user', 'No id'"))).await["created"], false);
        assert_eq!(stand.db.refused(&send("nothing", "null, 'user', 'x'")).await.0, "TD404");
        let bobs = format!("create_chat_message('acme', 'bob', false, '{one}', null, 'user', 'x', null)");
        assert_eq!(stand.db.refused(&bobs).await.0, "TD404");
    }
}

#[tokio::test]
async fn eight_that_send_one_id_at_once_make_one_message() {
    for stand in stands().await {
        let id = session(&stand, "waiting").await;
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let (client, id) = (connect(&stand.db.url).await, id.clone());
            tasks.spawn(async move {
                let sql = format!("select (tidings_app.{} ->> 'created')::boolean", send(&id, "'same', 'user', 'x'"));
                client.query_one(&sql, &[]).await.unwrap().get::<_, bool>(0)
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|created| *created).count(), 1, "{}", stand.name);
        let list = stand.db.answer(&format!("chat_messages('acme', 'ann', '{id}', null, null, false, 20)")).await;
        assert_eq!(each(&list["messages"], "id"), ["same"]);
    }
}

#[tokio::test]
async fn an_admins_message_takes_a_waiting_session_up_and_an_ended_one_takes_none() {
    for stand in stands().await {
        let id = session(&stand, "waiting").await;
        let answer = format!("create_chat_message('acme', 'amy', true, '{id}', 'a', 'assistant', 'Hello', null)");
        let message = stand.db.answer(&answer).await["message"].clone();
        assert_eq!(
            (&message["author"], &message["role"], &message["status"]),
            (&json!("amy"), &json!("assistant"), &json!("sent")),
            "{}",
            stand.name
        );
        let now = stand.db.answer(&format!("chat_session('acme', null, '{id}')")).await;
        assert_eq!(
            (&now["status"], &now["assigned_to"], shape(&now["last_message_at"])),
            (&json!("active"), &json!("amy"), json!("text"))
        );
        stand.db.answer(&format!("move_chat_session('acme', 'amy', '{id}', 'end', null)")).await;
        let (state, _, current) = stand.db.refused(&send(&id, "'late', 'user', 'x'")).await;
        assert_eq!((state.as_str(), &current["status"]), ("TD409", &json!("ended")), "{}", stand.name);
        assert_eq!(stand.db.answer(&answer).await["created"], false, "what was sent before is still what was sent");
    }
}

#[tokio::test]
async fn messages_are_walked_both_ways_oldest_first_and_sessions_newest_first() {
    for stand in stands().await {
        stand.rows(stand.sessions, 1, 6, "2026-01-01 00:00").await;
        stand.rows(stand.sessions, 7, 11, "2026-01-01 00:00:01").await;
        let whole = stand.db.answer("chat_sessions('acme', 'ann', null, null, null, 50)").await;
        assert_eq!(
            (each(&whole["sessions"], "id").len(), &whole["metrics"], &whole["next"]),
            (11, &json!(null), &json!(null)),
            "{}",
            stand.name
        );
        let walked = walk(&stand.db, "chat_sessions('acme', null, null, null, PLACE, 3)", "sessions", "next").await;
        assert_eq!(walked, each(&whole["sessions"], "id"));

        let messages = stand.messages.replace("'s'", "'c1'");
        stand.rows(&messages, 1, 7, "2026-01-02 00:00").await;
        stand.rows(&messages, 8, 13, "2026-01-02 00:00:01").await;
        let whole =
            each(&stand.db.answer("chat_messages('acme', 'ann', 'c1', null, null, false, 50)").await["messages"], "id");
        assert!(whole.len() == 13 && whole[7..].contains(&"m8".to_owned()), "oldest first: {whole:?}");
        assert_eq!(
            walk(&stand.db, "chat_messages('acme', 'ann', 'c1', null, PLACE, false, 4)", "messages", "next").await,
            whole
        );
        let (mut place, mut back) = ("null".to_owned(), Vec::new());
        loop {
            let page = stand.db.answer(&format!("chat_messages('acme', 'ann', 'c1', null, {place}, true, 4)")).await;
            back.splice(0..0, each(&page["messages"], "id"));
            match page["previous"].as_str() {
                Some(previous) => place = format!("'{previous}'"),
                None => break,
            }
        }
        assert_eq!(back, whole, "{}: backwards", stand.name);
    }
}

#[tokio::test]
async fn lists_are_narrowed_by_status_and_words_and_counted_for_admins() {
    for stand in stands().await {
        let (waiting, ended) = (session(&stand, "waiting").await, session(&stand, "ended").await);
        let list = async |arguments: &str| {
            each(&stand.db.answer(&format!("chat_sessions('acme', {arguments}, null, 50)")).await["sessions"], "id")
        };
        assert_eq!(list("null, '{ended,archived}', null").await, [ended], "{}", stand.name);
        assert_eq!(list("null, '{waiting}', 'HEL'").await, [waiting]);
        assert_eq!(list("null, null, 'aNN'").await.len(), 2, "part of the user");
        assert_eq!(list("null, null, '%'").await, Vec::<String>::new(), "words, not patterns");
    }
}

#[tokio::test]
async fn metrics_count_sessions_waiting_times_and_messages() {
    for stand in stands().await {
        let empty = json!({"sessions": {"waiting": 0, "active": 0, "ended": 0, "archived": 0}, "waiting_time": {"average_s": null, "longest_s": null}, "messages_per_minute": 0});
        assert_eq!(stand.db.answer("chat_metrics('acme')").await, empty, "{}", stand.name);
        for state in ["waiting", "waiting", "active", "ended", "archived"] {
            let id = session(&stand, state).await;
            if state == "active" {
                stand.db.answer(&send(&id, "null, 'user', 'x'")).await;
            }
        }
        let metrics = stand.db.answer("chat_metrics('acme')").await;
        assert_eq!(
            metrics["sessions"],
            json!({"waiting": 2, "active": 1, "ended": 1, "archived": 1}),
            "{}",
            stand.name
        );
        assert_eq!(
            (shape(&metrics["waiting_time"]), &metrics["messages_per_minute"]),
            (json!({"average_s": "number", "longest_s": "number"}), &json!(1))
        );
        assert_eq!(
            stand.db.answer("chat_sessions('acme', null, null, null, null, 50)").await["metrics"]["sessions"],
            metrics["sessions"]
        );
        assert_eq!(stand.db.answer("chat_metrics('globex')").await, empty, "another tenant's");
    }
}
