//! Chat sessions over REST: who sees which, and what becomes of them when several act at once.

use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, member, token};

/// A member of a tenant.
pub fn person(sub: &str, tenant: &str) -> String {
    token(json!({"sub": sub, "tenant": tenant}))
}

/// An admin of one tenant.
pub fn admin_of(sub: &str, tenant: &str) -> String {
    token(json!({"sub": sub, "tenant": tenant, "role": "admin"}))
}

/// A service of one tenant.
pub fn service_of(sub: &str, tenant: &str) -> String {
    token(json!({"sub": sub, "tenant": tenant, "role": "service"}))
}

/// An answer of a chat route of tenant acme, `path` behind `chat/`; no body where it is null.
pub async fn chat(bridge: &Bridge, token: &str, method: &str, path: &str, body: Value) -> Answer {
    let request = bridge.request(method, &format!("/v1/tenants/acme/chat/{path}")).bearer_auth(token);
    Answer::of(if body.is_null() { request } else { request.json(&body) }).await
}

/// A new session of this person's.
pub async fn begin(bridge: &Bridge, token: &str) -> String {
    let created = chat(bridge, token, "POST", "sessions", Value::Null).await;
    assert_eq!(created.status, 201, "{created:?}");
    created.json()["id"].as_str().unwrap().to_owned()
}

fn ids(list: &Value) -> Vec<String> {
    list["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_session_begins_waiting_and_is_its_users() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ann = member("acme");
    let body = json!({"subject": "Upload hangs", "metadata": {"post": 7}});
    let created = chat(&bridge, &ann, "POST", "sessions", body).await;
    assert_eq!(created.status, 201);
    let session = created.json();
    let shown = |name: &str| session[name].clone();
    assert_eq!(
        (shown("user_id"), shown("subject"), shown("status")),
        ("ann".into(), "Upload hangs".into(), "waiting".into())
    );
    assert_eq!((shown("metadata"), shown("assigned_to")), (json!({"post": 7}), Value::Null));
    let one = chat(&bridge, &ann, "GET", &format!("sessions/{}", session["id"].as_str().unwrap()), Value::Null).await;
    assert_eq!((one.status, one.json()), (200, session));
}

#[tokio::test]
async fn only_services_and_admins_begin_a_session_for_somebody_else() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let for_bob = json!({"user_id": "bob"});
    for token in [service_of("bot", "acme"), admin_of("ada", "acme")] {
        let created = chat(&bridge, &token, "POST", "sessions", for_bob.clone()).await;
        assert_eq!((created.status, &created.json()["user_id"]), (201, &json!("bob")));
    }
    assert_eq!(chat(&bridge, &member("acme"), "POST", "sessions", for_bob).await.problem().0, 403);
    let own = chat(&bridge, &member("acme"), "POST", "sessions", json!({"user_id": "ann"})).await;
    assert_eq!(own.status, 201);
    for (field, body) in [
        ("subject", json!({"subject": ""})),
        ("subject", json!({"subject": "x".repeat(1025)})),
        ("subject", json!({"subject": "a\u{0}b"})),
        ("metadata", json!({"metadata": [1]})),
        ("user_id", json!({"user_id": "a\nb"})),
        ("body", json!({"colour": "red"})),
    ] {
        let refused = chat(&bridge, &admin_of("ada", "acme"), "POST", "sessions", body).await;
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)), "{refused:?}");
    }
}

#[tokio::test]
async fn the_list_is_the_tenants_for_admins_and_ones_own_for_others() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (ann, bob, ada) = (person("ann", "acme"), person("bob", "acme"), admin_of("ada", "acme"));
    let (first, second, third) = (begin(&bridge, &ann).await, begin(&bridge, &bob).await, begin(&bridge, &ann).await);
    db.run("insert into chat_sessions (id, tenant_id, user_id) values ('foreign', 'globex', 'ann')").await;
    let all = chat(&bridge, &ada, "GET", "sessions", Value::Null).await.json();
    assert_eq!(ids(&all), [third.clone(), second.clone(), first.clone()]);
    assert_eq!(all["metrics"]["sessions"], json!({"waiting": 3, "active": 0, "ended": 0, "archived": 0}));
    let own = chat(&bridge, &ann, "GET", "sessions", Value::Null).await.json();
    assert_eq!(
        (ids(&own), &own["metrics"], &own["next"]),
        (vec![third.clone(), first.clone()], &Value::Null, &Value::Null)
    );
    assert_eq!(ids(&chat(&bridge, &service_of("bot", "acme"), "GET", "sessions", Value::Null).await.json()), [""; 0]);
    let mut seen = Vec::new();
    let mut path = "sessions?limit=1".to_owned();
    loop {
        let page = chat(&bridge, &ada, "GET", &path, Value::Null).await.json();
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("sessions?limit=1&before={next}");
    }
    assert_eq!(seen, [third, second, first]);
}

#[tokio::test]
async fn the_list_is_narrowed_by_status_and_by_words_in_any_case() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    db.run(
        "insert into chat_sessions (id, tenant_id, user_id, subject, status, created_at) values
           ('a', 'acme', 'ann', 'INVOICE of May', 'waiting', now() - interval '4 s'), ('b', 'acme', 'bob', 'Export', 'active', now() - interval '3 s'),
           ('c', 'acme', 'bob', null, 'ended', now() - interval '2 s'), ('d', 'acme', null, '100% done', 'archived', now() - interval '1 s')",
    )
    .await;
    let ada = admin_of("ada", "acme");
    for (query, expected) in [
        ("status=waiting", vec!["a"]),
        ("status=ended,archived", vec!["d", "c"]),
        ("q=invoice", vec!["a"]),
        ("q=BOB", vec!["c", "b"]),
        ("q=Ann", vec!["a"]),
        ("q=%25", vec!["d"]),
        ("q=nothing", vec![]),
        ("q=bob&status=active", vec!["b"]),
    ] {
        let found = chat(&bridge, &ada, "GET", &format!("sessions?{query}"), Value::Null).await;
        assert_eq!(ids(&found.json()), expected, "{query}");
    }
    for (field, query) in [
        ("status", "status=open"),
        ("status", "status=,"),
        ("limit", "limit=0"),
        ("limit", "limit=201"),
        ("before", "before=x"),
        ("before", "before=c.1.2"),
        ("q", "q=%00"),
    ] {
        let refused = chat(&bridge, &ada, "GET", &format!("sessions?{query}"), Value::Null).await;
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)), "{query}");
    }
}

#[tokio::test]
async fn an_admin_takes_a_session_up_ends_it_and_puts_it_away() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (ada, id) = (admin_of("ada", "acme"), begin(&bridge, &member("acme")).await);
    let act = async |what: &str, body: Value| chat(&bridge, &ada, "POST", &format!("sessions/{id}/{what}"), body).await;
    assert_eq!(act("archive", Value::Null).await.json()["current"]["status"], "waiting");
    let assigned = act("assign", Value::Null).await.json();
    assert_eq!((&assigned["status"], &assigned["assigned_to"]), (&json!("active"), &json!("ada")));
    assert!(assigned["started_at"].is_string());
    assert_eq!(act("assign", json!({})).await.status, 200, "again, to the same");
    let refused = act("assign", json!({"assignee": "bea"})).await;
    assert_eq!(
        (refused.problem(), &refused.json()["current"]["assigned_to"]),
        ((409, "conflict".into()), &json!("ada"))
    );
    assert_eq!(act("end", json!({})).await.json()["status"], "ended");
    assert_eq!(act("end", Value::Null).await.problem(), (409, "conflict".into()));
    assert_eq!(act("archive", Value::Null).await.json()["status"], "archived");
    for (what, body, field) in [
        ("end", json!({"why": 1}), "body"),
        ("assign", json!({"assignee": ""}), "assignee"),
        ("assign", json!({"assignee": 7}), "body"),
    ] {
        let refused = act(what, body).await;
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)));
    }
    let request = bridge.request("POST", &format!("/v1/tenants/acme/chat/sessions/{id}/end")).bearer_auth(&ada);
    assert_eq!(Answer::of(request.header("content-type", "text/plain").body("x")).await.problem().0, 415);
}

#[tokio::test]
async fn what_is_for_admins_is_refused_to_others_whether_it_is_there_or_not() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ann = member("acme");
    let id = begin(&bridge, &ann).await;
    for token in [ann, service_of("bot", "acme"), person("bob", "acme")] {
        let mut refusals = Vec::new();
        for id in [&id, "never-was"] {
            for what in ["end", "archive", "assign"] {
                refusals.push(chat(&bridge, &token, "POST", &format!("sessions/{id}/{what}"), Value::Null).await);
            }
            let stream = json!({"connection": "x"});
            refusals.push(chat(&bridge, &token, "PUT", &format!("sessions/{id}/view"), stream).await);
        }
        refusals.push(chat(&bridge, &token, "GET", "metrics", Value::Null).await);
        refusals.push(chat(&bridge, &token, "GET", "presence", Value::Null).await);
        assert!(refusals.iter().all(|refused| refused.problem() == (403, "forbidden".into())), "{refusals:?}");
    }
    assert_eq!(db.text("select status from chat_sessions").await, "waiting");
}

#[tokio::test]
async fn of_two_admins_who_end_a_session_at_once_one_is_told_of_the_other() {
    let db = Database::new().await;
    let bridges = [Bridge::start(&db).await, Bridge::start(&db).await];
    let (ada, bea) = (admin_of("ada", "acme"), admin_of("bea", "acme"));
    for _ in 0..10 {
        let id = begin(&bridges[0], &member("acme")).await;
        let path = format!("sessions/{id}/end");
        let (one, other) = tokio::join!(
            chat(&bridges[0], &ada, "POST", &path, Value::Null),
            chat(&bridges[1], &bea, "POST", &path, Value::Null)
        );
        let (won, lost) = if one.status == 200 { (one, other) } else { (other, one) };
        assert_eq!((won.status, lost.problem()), (200, (409, "conflict".into())));
        assert_eq!(lost.json()["current"], won.json(), "the state as the winner left it");
    }
}

#[tokio::test]
async fn of_two_admins_who_take_a_session_up_at_once_one_gets_it() {
    let db = Database::new().await;
    let bridges = [Bridge::start(&db).await, Bridge::start(&db).await];
    let id = begin(&bridges[0], &member("acme")).await;
    let (ada, bea) = (admin_of("ada", "acme"), admin_of("bea", "acme"));
    let path = format!("sessions/{id}/assign");
    let (one, other) = tokio::join!(
        chat(&bridges[0], &ada, "POST", &path, Value::Null),
        chat(&bridges[1], &bea, "POST", &path, Value::Null)
    );
    let (won, lost) = if one.status == 200 { (one, other) } else { (other, one) };
    assert_eq!((won.status, lost.status), (200, 409));
    assert_eq!(lost.json()["current"]["assigned_to"], won.json()["assigned_to"]);
}
