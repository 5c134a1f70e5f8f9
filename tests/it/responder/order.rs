//! One answer to each question, in order, whoever writes it and whoever dies of it.

use std::collections::HashMap;
use std::net::TcpListener;

use serde_json::json;
use tokio::process::{Child, Command};

use super::model::words;
use super::{Act, Model, answered, answering, answers, ended, next, of, owed, say, session};
use crate::support::{Bridge, Database, SECRET, Sse, eventually};

#[tokio::test]
async fn fifty_questions_on_two_bridges_get_fifty_answers() {
    let (db, model) = (Database::new().await, Model::with([]).await);
    let more = [("responder.system", "{{session.id}}"), ("responder.in_flight", "4")];
    let bridges = [answering(&db, &model, &more).await, answering(&db, &model, &more).await];
    for number in 0..10 {
        session(&db, &format!("s{number}")).await;
    }
    // All at once, and those of one session in a row.
    db.run("begin").await;
    for number in 0..50 {
        say(&db, &format!("s{}", number / 5), &format!("m{number:02}"), &format!("question {number}")).await;
    }
    db.run("commit").await;
    for number in 0..10 {
        let session = format!("s{number}");
        let said: Vec<_> = answered(&db, &session, 5).await.iter().map(|answer| answer["content"].clone()).collect();
        let expected: Vec<_> = (0..5).map(|turn| json!(format!("Answer to: question {}", number * 5 + turn))).collect();
        assert_eq!(said, expected, "in the order of the questions");
    }
    assert_eq!(model.asked().len(), 50, "none was asked twice");
    let mut open = HashMap::new();
    for (session, begins) in model.times() {
        let now = open.entry(session.clone()).or_insert(0);
        *now += if begins { 1 } else { -1 };
        assert!(*now <= 1, "two answers at a time in {session}");
    }
    let (one, two) = (ended(&bridges[0], "sent").await, ended(&bridges[1], "sent").await);
    assert_eq!(one + two, 50);
}

/// `tidings serve` in a process of its own, asking this model.
fn process(db: &Database, model: &Model, address: &str) -> Child {
    let environment = [
        ("TIDINGS__DATABASE__URL", db.url.as_str()),
        ("TIDINGS__DATABASE__MIGRATE", "false"),
        ("TIDINGS__HTTP__LISTEN", address),
        ("TIDINGS__AUTH__SECRET", SECRET),
        ("TIDINGS__RESPONDER__KIND", "openai"),
        ("TIDINGS__RESPONDER__URL", &model.url),
        ("TIDINGS__RESPONDER__MODEL", "m-1"),
        ("TIDINGS__RESPONDER__OPENING", ""),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.arg("serve").env_clear().envs(environment).kill_on_drop(true);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn a_bridge_killed_while_it_answers_leaves_one_answer() {
    let (db, model) = (Database::new().await, Model::with([Act::Held(words(&["Half ", "an ", "answer"]))]).await);
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut dying = process(&db, &model, &address.to_string());
    let elsewhere = Bridge::elsewhere(address);
    eventually("the process is ready", || async {
        reqwest::get(elsewhere.url("/readyz")).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    session(&db, "s1").await;
    let mut watching = Sse::open(&elsewhere, &of("ann"), "acme", "").await;
    say(&db, "s1", "m1", "Hello?").await;
    assert_eq!(next(&mut watching, "chat.delta").await["data"]["index"], 0);
    let other = answering(&db, &model, &[]).await;
    let mut sse = Sse::open(&other, &of("ann"), "acme", "").await;
    dying.kill().await.unwrap();
    say(&db, "s1", "m2", "Still there?").await;
    let said = answered(&db, "s1", 2).await;
    let contents: Vec<_> = said.iter().map(|answer| &answer["content"]).collect();
    assert_eq!(contents, ["Answer to: Hello?", "Answer to: Still there?"]);
    let restart = next(&mut sse, "chat.delta").await["data"].clone();
    assert_eq!(restart["index"], 0);
    assert_eq!((&restart["restart"], &restart["message_id"]), (&json!(true), &said[0]["id"]));
}

#[tokio::test]
async fn an_attempt_that_lost_its_turn_writes_nothing() {
    let (db, model) = (Database::new().await, Model::with([Act::Held(words(&["Too ", "late"]))]).await);
    let bridge = answering(&db, &model, &[]).await;
    session(&db, "s1").await;
    let mut sse = Sse::open(&bridge, &of("ann"), "acme", "?types=chat.*,sentinel").await;
    say(&db, "s1", "m1", "Hello?").await;
    assert_eq!(next(&mut sse, "chat.delta").await["data"]["text"], "Too ");
    // As after a long stop: somebody else has the turn by now.
    db.run("update tidings._delivery set attempts = attempts + 1, due_at = now() + interval '1 hour'").await;
    model.gate.add_permits(1);
    eventually("it finds out", || async { ended(&bridge, "lost").await == 1 }).await;
    db.sentinel("acme").await;
    assert_eq!(sse.until_sentinel().await, Vec::<serde_json::Value>::new());
    assert_eq!((&answers(&db, "s1").await[0]["status"], owed(&db).await), (&json!("sending"), 1));
}

#[tokio::test]
async fn a_bridge_that_ends_in_order_hands_its_answers_over_at_once() {
    let (db, model) = (Database::new().await, Model::with([Act::Held(words(&["Half ", "an answer"]))]).await);
    let first = answering(&db, &model, &[("shutdown.drain", "0s")]).await;
    session(&db, "s1").await;
    say(&db, "s1", "m1", "Hello?").await;
    eventually("it answers", || async { model.asked().len() == 1 }).await;
    first.stop().await;
    let sql = "select (due_at <= clock_timestamp())::text from tidings._delivery";
    assert_eq!(db.text(sql).await, "true", "nobody waits for a lease");
    let second = answering(&db, &model, &[]).await;
    assert_eq!(answered(&db, "s1", 1).await[0]["content"], "Answer to: Hello?");
    drop(second);
}

#[tokio::test]
async fn a_session_is_opened_once() {
    let (db, model) = (Database::new().await, Model::with([]).await);
    let more = [("responder.opening", "Hi {{user.first_name}}!"), ("responder.actions", r#"["suggest_content"]"#)];
    let bridges = [answering(&db, &model, &more).await, answering(&db, &model, &more).await];
    session(&db, "s1").await;
    say(&db, "s1", "m1", "Hello?").await;
    let said = answered(&db, "s1", 2).await;
    assert_eq!((&said[0]["content"], &said[1]["content"]), (&json!("Hi Ann!"), &json!("Answer to: Hello?")));
    assert_eq!(said[0]["metadata"], json!({"type": "welcome", "actions": ["suggest_content"]}));
    assert_eq!((&said[0]["role"], model.asked().len()), (&json!("assistant"), 1), "a text needs no model");
    drop(bridges);

    let model = Model::with([]).await;
    let db = Database::new().await;
    let bridge = answering(&db, &model, &[("responder.opening", "generate")]).await;
    session(&db, "s1").await;
    assert_eq!(answered(&db, "s1", 1).await[0]["metadata"]["type"], "welcome");
    assert!(model.asked()[0].told()[0].1.contains("Greet the user"));
    drop(bridge);
}

#[tokio::test]
async fn a_turn_that_somebody_keeps_locked_holds_up_no_other() {
    let (db, model) = (Database::new().await, Model::with([]).await);
    session(&db, "s1").await;
    session(&db, "s2").await;
    say(&db, "s1", "m1", "Locked?").await;
    db.run(r#"select tidings._owe('responder', 'ans_1', 's1', 'acme', 'chat_messages.inserted', '{"message": "m1"}')"#)
        .await;
    let stopped = db.connect().await;
    stopped.batch_execute("begin; select from tidings._delivery for update").await.unwrap();
    let bridge = answering(&db, &model, &[]).await;
    eventually("it leads", || async {
        db.text("select count(*)::text from tidings.consumers where led_by is not null").await == "1"
    })
    .await;
    say(&db, "s2", "m1", "Hello?").await;
    eventually("the other is answered", || async { ended(&bridge, "sent").await == 1 }).await;
    assert_eq!((answers(&db, "s1").await.len(), answers(&db, "s2").await.len()), (0, 1));
    stopped.batch_execute("rollback").await.unwrap();
    assert_eq!(answered(&db, "s1", 1).await[0]["content"], "Answer to: Locked?");
}
