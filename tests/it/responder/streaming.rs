//! What the user sees of an answer while it grows, and what nobody else sees.

use serde_json::{Value, json};

use super::model::words;
use super::{Act, Model, answered, answering, next, of, say, session};
use crate::support::{Database, Sse, Ws, admin};

#[tokio::test]
async fn an_answer_is_seen_word_by_word_and_the_words_joined_are_the_answer() {
    let (db, model) = (Database::new().await, Model::with([Act::Held(words(&["Hel", "lo, Ann. ", "Done."]))]).await);
    let bridge = answering(&db, &model, &[]).await;
    session(&db, "s1").await;
    let mut sse = Sse::open(&bridge, &of("ann"), "acme", "?types=chat*&subject=s1").await;
    let mut ws = Ws::open(&bridge, &admin(), "acme", json!({"types": "chat.delta"})).await;
    say(&db, "s1", "m1", "Hello?").await;
    let question = next(&mut sse, "chat_messages.inserted").await;
    let begun = next(&mut sse, "chat_messages.inserted").await;
    assert_eq!((&question["data"]["role"], &begun["data"]["role"]), (&json!("user"), &json!("assistant")));
    assert_eq!((&begun["data"]["status"], &begun["data"]["content"]), (&json!("sending"), &json!("")));

    // The model has not finished, and the first words are here.
    let mut text = String::new();
    let mut index = 0;
    let mut hear = |event: Value| {
        assert_eq!((event.get("id"), &event["audience"]), (None, &json!("ann")));
        assert_eq!(event["data"]["index"], index);
        assert_eq!(event["data"].get("restart"), None);
        assert_eq!((&event["data"]["session_id"], &event["data"]["message_id"]), (&json!("s1"), &begun["data"]["id"]));
        index += 1;
        text.push_str(event["data"]["text"].as_str().unwrap());
        text.clone()
    };
    while hear(next(&mut sse, "chat.delta").await) != "Hello, Ann. " {}
    assert_eq!(ws.next().await["data"]["index"], 0);
    model.gate.add_permits(1);
    while hear(next(&mut sse, "chat.delta").await) != "Hello, Ann. Done." {}
    let finished = next(&mut sse, "chat_messages.updated").await;
    assert_eq!(
        (&finished["data"]["status"], &finished["data"]["content"]),
        (&json!("sent"), &json!("Hello, Ann. Done."))
    );
    let metadata = json!({"model": "m-1-0613", "usage": {"total_tokens": 12}, "reply_to": "m1"});
    assert_eq!(answered(&db, "s1", 1).await[0]["metadata"], metadata);
    let asked = &model.asked()[0];
    assert!(
        asked.head.starts_with("post /v1/chat/completions ")
            && asked.head.contains("authorization: bearer key-of-the-model")
    );
    assert_eq!((&asked.json()["model"], &asked.json()["stream"]), (&json!("m-1"), &json!(true)));
}

#[tokio::test]
async fn nobody_but_the_user_and_admins_sees_an_answer() {
    let (db, model) = (Database::new().await, Model::with([]).await);
    let bridge = answering(&db, &model, &[]).await;
    let mut other = Sse::open(&bridge, &of("bob"), "acme", "").await;
    session(&db, "s1").await;
    db.run("insert into chat_sessions (id, tenant_id) values ('nobodys', 'acme')").await;
    say(&db, "s1", "m1", "Hello?").await;
    say(&db, "nobodys", "m1", "Hello?").await;
    answered(&db, "s1", 1).await;
    answered(&db, "nobodys", 1).await;
    db.sentinel("acme").await;
    assert_eq!(other.until_sentinel().await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_long_answer_with_every_kind_of_character_arrives_whole() {
    let long = format!("{}\u{1}\"\\\n\t😀\r\n", "Schöne Grüße, 世界! ".repeat(900));
    let (db, model) = (Database::new().await, Model::with([Act::Words(vec![long.clone(), "a\0b".to_owned()])]).await);
    let bridge = answering(&db, &model, &[]).await;
    session(&db, "s1").await;
    let mut sse = Sse::open(&bridge, &of("ann"), "acme", "").await;
    say(&db, "s1", "m1", "Hello?").await;
    let mut text = String::new();
    while text.len() < long.len() + 2 {
        text.push_str(next(&mut sse, "chat.delta").await["data"]["text"].as_str().unwrap());
    }
    assert_eq!(text, format!("{long}ab"));
    assert_eq!(answered(&db, "s1", 1).await[0]["content"], text);
}

#[tokio::test]
async fn a_model_is_told_the_last_messages_in_order_and_the_operators_words() {
    let (db, model) = (Database::new().await, Model::with([]).await);
    let bridge = answering(
        &db,
        &model,
        &[
            ("responder.context_messages", "4"),
            ("responder.system", "Be kind to {{user.first_name}} about {{session.subject}}."),
        ],
    )
    .await;
    session(&db, "s1").await;
    for (number, content) in ["one", "two", "three"].iter().enumerate() {
        say(&db, "s1", &format!("m{number}"), content).await;
        answered(&db, "s1", number + 1).await;
    }
    let told = [
        ("system", "Be kind to Ann about Invoices."),
        ("assistant", "Answer to: one"),
        ("user", "two"),
        ("assistant", "Answer to: two"),
        ("user", "three"),
    ];
    assert_eq!(model.asked()[2].told(), told.map(|(role, content)| (role.to_owned(), content.to_owned())));
    drop(bridge);
}

#[tokio::test]
async fn an_answer_that_comes_whole_is_as_good() {
    let whole = json!({"model": "m", "choices": [{"message": {"role": "assistant", "content": "All at once."}, "finish_reason": "stop"}]});
    let (db, model) = (Database::new().await, Model::with([Act::Body(whole.to_string())]).await);
    let bridge = answering(&db, &model, &[("responder.stream", "false")]).await;
    session(&db, "s1").await;
    say(&db, "s1", "m1", "Hello?").await;
    assert_eq!(answered(&db, "s1", 1).await[0]["content"], "All at once.");
    assert_eq!(model.asked()[0].json()["stream"], false);
    drop(bridge);
}

#[tokio::test]
async fn words_that_come_fast_are_gathered() {
    let many: Vec<String> = (0..2_000).map(|number| format!("{number} ")).collect();
    let (db, model) = (Database::new().await, Model::with([Act::Words(many.clone())]).await);
    let bridge = answering(&db, &model, &[]).await;
    session(&db, "s1").await;
    let mut sse = Sse::open(&bridge, &of("ann"), "acme", "?types=chat.delta").await;
    let begun = tokio::time::Instant::now();
    say(&db, "s1", "m1", "Count.").await;
    let (mut deltas, mut text) = (0, String::new());
    while text.len() < many.concat().len() {
        text.push_str(sse.next().await["data"]["text"].as_str().unwrap());
        deltas += 1;
    }
    // Twenty a second, and what was left at the end: 9 KB are two or three pieces.
    let most = begun.elapsed().as_secs_f64() * 20.0 + 4.0;
    assert!(f64::from(deltas) <= most, "{deltas} pieces");
}
