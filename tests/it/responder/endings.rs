//! What is not answered: ended sessions, sessions that a person has taken up, and what is no question.

use serde_json::json;

use super::model::words;
use super::{Act, Model, answered, answering, answers, ended, next, of, owed, say, session};
use crate::support::{Database, Sse, eventually};

#[tokio::test]
async fn an_answer_to_a_session_that_was_ended_meanwhile_is_not_written() {
    let (db, model) = (Database::new().await, Model::with([Act::Held(words(&["Too ", "late"]))]).await);
    let bridge = answering(&db, &model, &[]).await;
    session(&db, "s1").await;
    let mut sse = Sse::open(&bridge, &of("ann"), "acme", "").await;
    say(&db, "s1", "m1", "Hello?").await;
    next(&mut sse, "chat.delta").await;
    db.run("update chat_sessions set status = 'ended', ended_at = now() where id = 's1'").await;
    model.gate.add_permits(1);
    let answer = answered(&db, "s1", 1).await.remove(0);
    assert_eq!((&answer["status"], &answer["content"]), (&json!("failed"), &json!("")));
    assert_eq!(answer["metadata"]["error"], "ended");
    assert_eq!((ended(&bridge, "sent").await, ended(&bridge, "unwanted").await), (0, 1));
}

#[tokio::test]
async fn a_long_answer_stops_when_its_session_ends() {
    let (db, model) = (Database::new().await, Model::with([Act::Silence]).await);
    let bridge = answering(&db, &model, &[]).await;
    session(&db, "s1").await;
    say(&db, "s1", "m1", "Hello?").await;
    eventually("the model is asked", || async { model.asked().len() == 1 }).await;
    db.run("update chat_sessions set status = 'ended', ended_at = now() where id = 's1'").await;
    eventually("it stops, though the model says nothing", || async { ended(&bridge, "unwanted").await == 1 }).await;
    assert_eq!(answers(&db, "s1").await[0]["status"], "failed");
}

#[tokio::test]
async fn what_was_said_in_an_ended_session_or_one_that_a_person_has_taken_up_is_left_alone() {
    let (db, model) = (Database::new().await, Model::with([]).await);
    let bridge = answering(&db, &model, &[]).await;
    for (id, change) in
        [("ended", "status = 'ended'"), ("taken", "status = 'active', assigned_to = 'bob'"), ("gone", "subject = ''")]
    {
        session(&db, id).await;
        db.run(&format!("update chat_sessions set {change} where id = '{id}'")).await;
    }
    say(&db, "ended", "m1", "Hello?").await;
    say(&db, "taken", "m1", "Hello?").await;
    db.run("begin").await;
    say(&db, "gone", "m1", "Hello?").await;
    db.run("delete from chat_sessions where id = 'gone'; commit").await;
    session(&db, "s1").await;
    db.run("insert into chat_messages (id, tenant_id, session_id, role, content) values ('b1', 'acme', 's1', 'assistant', 'I am Bob')").await;
    say(&db, "s1", "m1", "Last?").await;
    let said = answered(&db, "s1", 2).await;
    assert_eq!(said[1]["content"], "Answer to: Last?");
    eventually("all others were left", || async { ended(&bridge, "unwanted").await == 3 && owed(&db).await == 0 })
        .await;
    for id in ["ended", "taken", "gone"] {
        assert!(answers(&db, id).await.is_empty(), "{id}");
    }
    assert_eq!(model.asked().len(), 1);
}

#[tokio::test]
async fn a_database_without_the_applications_functions_keeps_the_question_as_a_dead_letter() {
    let (db, model) = (Database::new().await, Model::with([]).await);
    db.run("drop function tidings_app.chat_context(text, text, text, int), tidings_app.begin_answer(text, text, text, jsonb)").await;
    let bridge = answering(&db, &model, &[("responder.attempts", "1")]).await;
    session(&db, "s1").await;
    say(&db, "s1", "m1", "Hello?").await;
    eventually("it is given up", || async { ended(&bridge, "dead").await == 1 }).await;
    assert_eq!(db.text("select error from tidings.dead_letters").await, "no_application");
}
