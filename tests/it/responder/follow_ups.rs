//! Follow-ups to edits: one for a burst of them, whichever bridges it reached.

use serde_json::{Value, json};

use super::{Model, answered, answering, of, owed, session};
use crate::support::{Bridge, Database, admin, eventually, token};

const PATH: &str = "/v1/tenants/acme/chat/sessions/s1/follow-up";

async fn edit(bridge: &Bridge, content: &str) -> Value {
    let (status, body) = bridge.post_as(&of("ann"), PATH, &json!({"content": content, "trigger": "edit"})).await;
    assert_eq!(status, 202, "{body}");
    body["due_at"].clone()
}

#[tokio::test]
async fn five_edits_on_two_bridges_get_one_follow_up_to_the_last() {
    let (db, model) = (Database::new().await, Model::with([]).await);
    let bridges = [answering(&db, &model, &[]).await, answering(&db, &model, &[]).await];
    session(&db, "s1").await;
    let mut due = Vec::new();
    for number in 0..5 {
        due.push(edit(&bridges[number % 2], &format!("The text, version {number}")).await.as_str().unwrap().to_owned());
    }
    assert!(due.is_sorted() && due[0] < due[4], "each edit begins the wait anew: {due:?}");
    assert_eq!(owed(&db).await, 1);
    let said = answered(&db, "s1", 1).await;
    assert_eq!(said[0]["metadata"]["type"], "follow_up");
    assert_eq!(model.asked().len(), 1);
    let told = model.asked()[0].told().pop().unwrap();
    assert!(told.0 == "user" && told.1.contains("edited") && told.1.ends_with("The text, version 4"), "{told:?}");

    // The next burst is another follow-up.
    edit(&bridges[0], "The text, version 5").await;
    let said = answered(&db, "s1", 2).await;
    assert_ne!(said[0]["id"], said[1]["id"]);
    assert!(said[1]["content"].as_str().unwrap().ends_with("version 5"));
}

#[tokio::test]
async fn an_edit_while_a_follow_up_is_written_is_not_lost_and_a_question_does_not_wait_for_edits() {
    let db = Database::new().await;
    let model = Model::with([super::Act::Held(vec!["First ".into(), "one".into()])]).await;
    let bridge = answering(&db, &model, &[("responder.debounce", "100ms")]).await;
    session(&db, "s1").await;
    edit(&bridge, "The first version").await;
    eventually("it is being answered", || async { model.asked().len() == 1 }).await;
    edit(&bridge, "The second version").await;
    model.gate.add_permits(1);
    let said = answered(&db, "s1", 2).await;
    assert!(said[0]["content"] == "First one" && said[1]["content"].as_str().unwrap().ends_with("The second version"));

    let patient = answering(&db, &model, &[("responder.debounce", "1h")]).await;
    edit(&patient, "A version that nobody will see").await;
    super::say(&db, "s1", "m1", "Hello?").await;
    eventually("the question is answered", || async {
        super::answers(&db, "s1").await.iter().any(|answer| answer["content"] == "Answer to: Hello?")
    })
    .await;
    assert_eq!(owed(&db).await, 1);
}

#[tokio::test]
async fn a_follow_up_is_refused_where_it_cannot_be() {
    let (db, model) = (Database::new().await, Model::with([]).await);
    let bridge = answering(&db, &model, &[]).await;
    session(&db, "s1").await;
    let long = json!({"content": "A text that is long enough"});
    for (body, field) in [
        (json!({"content": "0123456789"}), "content"),
        (json!({"content": "x".repeat(40_000)}), "content"),
        (json!({"content": "NUL \0 in the middle"}), "content"),
        (json!({"content": "A text that is long enough", "trigger": "whim"}), "trigger"),
        (json!({"text": "A text that is long enough"}), "body"),
    ] {
        let (status, problem) = bridge.post_as(&of("ann"), PATH, &body).await;
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{problem}");
    }
    // Not hers, not there, not of her tenant: she cannot tell the first two from each other.
    let bobs = bridge.post_as(&of("bob"), PATH, &long).await;
    let none = bridge.post_as(&of("bob"), &PATH.replace("s1", "s2"), &long).await;
    assert_eq!((bobs.0, &bobs.1), (404, &none.1));
    let stranger = token(json!({"sub": "ann", "tenant": "globex"}));
    assert_eq!(bridge.post_as(&stranger, PATH, &long).await.0, 403);
    assert_eq!(bridge.post_as("no token", PATH, &long).await.0, 401);
    assert_eq!(owed(&db).await, 0);
    assert_eq!(bridge.post_as(&admin(), PATH, &long).await.0, 202, "an admin of the tenant");

    db.run("update chat_sessions set status = 'ended' where id = 's1'").await;
    let (status, problem) = bridge.post_as(&of("ann"), PATH, &long).await;
    assert_eq!((status, &problem["code"], &problem["current"]["status"]), (409, &json!("conflict"), &json!("ended")));
    let silent = Bridge::start(&db).await;
    let (status, problem) = silent.post_as(&of("ann"), PATH, &long).await;
    assert_eq!((status, &problem["code"]), (501, &json!("no_responder")));
}
