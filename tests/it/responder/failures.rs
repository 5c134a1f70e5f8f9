//! What goes wrong between the bridge and a model is tried again, or told to the user in one sentence.

use std::time::Duration;

use serde_json::{Value, json};

use super::model::words;
use super::{Act, Model, answered, answering, ended, next, of, say, session};
use crate::support::{Database, Sse};

const EXCUSE: &str = "Sorry, I encountered an error processing your request.";

/// The one message that a question led to, and how often the model was asked.
async fn outcome(script: Vec<Act>, more: &[(&str, &str)]) -> (Value, usize) {
    let (db, model) = (Database::new().await, Model::with(script).await);
    let bridge = answering(&db, &model, more).await;
    session(&db, "s1").await;
    say(&db, "s1", "m1", "Hello?").await;
    let answer = answered(&db, "s1", 1).await.remove(0);
    assert_eq!(db.text("select count(*)::text from tidings._delivery").await, "0", "nothing stays behind");
    drop(bridge);
    (answer, model.asked().len())
}

fn excuse(answer: &Value, code: &str) {
    assert_eq!(
        (&answer["role"], &answer["status"], &answer["content"]),
        (&json!("system"), &json!("sent"), &json!(EXCUSE))
    );
    assert_eq!(answer["metadata"]["error"], code, "{answer}");
}

#[tokio::test]
async fn what_can_pass_is_tried_again() {
    let failing = [
        Act::Status(500, ""),
        Act::Raw("data: {\"choi\n\n"),
        Act::Raw("data: {\"error\":{\"message\":\"overloaded\"}}\n\n"),
        Act::Cut(words(&["Half an ans"])),
    ];
    for act in failing {
        let (answer, asked) = outcome(vec![act.clone()], &[]).await;
        assert_eq!(
            (&answer["role"], &answer["content"]),
            (&json!("assistant"), &json!("Answer to: Hello?")),
            "{act:?}"
        );
        assert_eq!(asked, 2, "{act:?}");
    }
}

#[tokio::test]
async fn what_does_not_pass_is_told_to_the_user_in_one_sentence() {
    let (answer, asked) = outcome(vec![Act::Status(503, ""); 9], &[("responder.attempts", "2")]).await;
    excuse(&answer, "http_503");
    assert_eq!(asked, 2);
    let (answer, asked) =
        outcome(vec![Act::Silence; 9], &[("responder.attempts", "2"), ("responder.timeout", "1500ms")]).await;
    excuse(&answer, "timeout");
    assert_eq!(asked, 2);
    let (answer, _) = outcome(vec![Act::Words(words(&[" "])); 9], &[("responder.attempts", "1")]).await;
    excuse(&answer, "empty");
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    for (status, code) in
        [(400, "http_400"), (401, "http_401"), (403, "http_403"), (404, "http_404"), (302, "http_302")]
    {
        let (answer, asked) = outcome(vec![Act::Status(status, "location: /elsewhere\r\n"); 9], &[]).await;
        excuse(&answer, code);
        assert_eq!((asked, &answer["metadata"]["reply_to"]), (1, &json!("m1")));
    }
}

#[tokio::test]
async fn a_model_that_asks_for_time_gets_it() {
    let (db, model) = (Database::new().await, Model::with([Act::Status(429, "retry-after: 3\r\n")]).await);
    let bridge = answering(&db, &model, &[]).await;
    session(&db, "s1").await;
    say(&db, "s1", "m1", "Hello?").await;
    assert_eq!(answered(&db, "s1", 1).await[0]["content"], "Answer to: Hello?");
    let asked = model.asked();
    // By two clocks, that of the database and ours.
    assert!(asked[1].at - asked[0].at >= Duration::from_millis(2_900));
    drop(bridge);
}

#[tokio::test]
async fn an_answer_that_was_cut_off_begins_anew_for_whoever_is_watching() {
    let (db, model) = (Database::new().await, Model::with([Act::Cut(words(&["Half ", "an ans"]))]).await);
    let bridge = answering(&db, &model, &[]).await;
    session(&db, "s1").await;
    let mut sse = Sse::open(&bridge, &of("ann"), "acme", "").await;
    say(&db, "s1", "m1", "Hello?").await;
    let (mut text, mut restarts) = (String::new(), 0);
    while text != "Answer to: Hello?" {
        let data = next(&mut sse, "chat.delta").await["data"].clone();
        if data["index"] == 0 {
            restarts += usize::from(data["restart"] == true);
            text.clear();
        }
        text.push_str(data["text"].as_str().unwrap());
    }
    assert_eq!(restarts, 1);
    assert_eq!(next(&mut sse, "chat_messages.updated").await["data"]["content"], text);
}

#[tokio::test]
async fn a_failure_in_one_session_holds_up_no_other() {
    let (db, model) = (Database::new().await, Model::with([Act::Silence]).await);
    let bridge = answering(&db, &model, &[]).await;
    session(&db, "s1").await;
    session(&db, "s2").await;
    say(&db, "s1", "m1", "Into silence").await;
    crate::support::eventually("the model was asked", || async { model.asked().len() == 1 }).await;
    say(&db, "s2", "m1", "Hello?").await;
    crate::support::eventually("the other is answered", || async { ended(&bridge, "sent").await == 1 }).await;
    assert_eq!(super::answers(&db, "s2").await[0]["content"], "Answer to: Hello?");
    assert_eq!(super::answers(&db, "s1").await[0]["status"], "sending");
}
