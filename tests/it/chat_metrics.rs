//! Metrics of chats: for admins, computed once however many bridges there are, and never stale.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chat::{admin_of, begin, chat, person};
use crate::support::{Bridge, Database, Sse, get_page, member};

/// Reads events until metrics come that satisfy this; how many metrics there were.
async fn until(sse: &mut Sse, done: impl Fn(&Value) -> bool) -> (usize, Value) {
    let mut count = 0;
    loop {
        let event = sse.next().await;
        if event["type"] == "chat.metrics" {
            count += 1;
            if done(&event["data"]) {
                return (count, event["data"].clone());
            }
        }
    }
}

#[tokio::test]
async fn metrics_of_a_burst_are_told_once_a_second_by_two_bridges_and_the_last_is_right() {
    let db = Database::new().await;
    let bridges = [Bridge::start(&db).await, Bridge::start(&db).await];
    let ada = admin_of("ada", "acme");
    let mut sse = Sse::open(&bridges[1], &ada, "acme", "?types=chat.metrics").await;
    let started = Instant::now();
    for n in 0..500 {
        let sql = match n % 5 {
            0 => "insert into chat_sessions (tenant_id, user_id) values ('acme', 'ann')",
            1 => {
                "select tidings_app.move_chat_session('acme', 'ada', (select max(id) from chat_sessions where status = 'waiting'), 'assign', null)"
            }
            2 | 3 => {
                "insert into chat_messages (tenant_id, session_id, role, content) select 'acme', id, 'user', 'x' from chat_sessions limit 1"
            }
            _ => {
                "select tidings_app.move_chat_session('acme', 'ada', (select max(id) from chat_sessions where status = 'active'), 'end', null)"
            }
        };
        db.run(sql).await;
    }
    let (_, last) =
        until(&mut sse, |metrics| metrics["sessions"]["ended"] == 100 && metrics["messages_per_minute"] == 200).await;
    assert_eq!(last["sessions"], json!({"waiting": 0, "active": 0, "ended": 100, "archived": 0}));
    let now = chat(&bridges[0], &ada, "GET", "metrics", Value::Null).await.json();
    assert_eq!(last, now);
    let elapsed_s = started.elapsed().as_secs();
    let told: i64 = db
        .client
        .query_one("select count(*) from tidings.events where type = 'chat.metrics'", &[])
        .await
        .unwrap()
        .get(0);
    assert!(told.unsigned_abs() <= elapsed_s + 1, "{told} in {elapsed_s} s");
    // Told for another tenant afterwards, by whichever bridge: nothing of this one's comes late.
    db.run("insert into chat_sessions (tenant_id, user_id) values ('globex', 'gus')").await;
    get_page(&bridges[0], &admin_of("gia", "globex"), "globex", "?types=chat.metrics&wait=20").await;
    let page = get_page(&bridges[0], &ada, "acme", "?types=chat.metrics&limit=1000").await;
    assert_eq!(page.events.last().unwrap()["data"], last);
}

#[tokio::test]
async fn metrics_are_for_admins_of_the_tenant() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut others = Vec::new();
    for (token, tenant) in
        [(person("bob", "acme"), "acme"), (member("acme"), "acme"), (admin_of("gia", "globex"), "globex")]
    {
        others.push(Sse::open(&bridge, &token, tenant, "?types=chat.metrics,sentinel").await);
    }
    let mut ada = Sse::open(&bridge, &admin_of("ada", "acme"), "acme", "?types=chat.metrics").await;
    begin(&bridge, &member("acme")).await;
    let event = ada.next().await;
    assert_eq!((&event["type"], &event["data"]["sessions"]["waiting"]), (&json!("chat.metrics"), &json!(1)));
    assert!(event["id"].is_string());
    db.sentinel("acme").await;
    db.sentinel("globex").await;
    for mut other in others {
        assert_eq!(other.until_sentinel().await, [Value::Null; 0]);
    }
}

#[tokio::test]
async fn waiting_times_and_the_rate_are_those_of_the_tables() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ada = admin_of("ada", "acme");
    let none = json!({"sessions": {"waiting": 0, "active": 0, "ended": 0, "archived": 0},
                      "waiting_time": {"average_s": null, "longest_s": null}, "messages_per_minute": 0});
    assert_eq!(chat(&bridge, &ada, "GET", "metrics", Value::Null).await.json(), none);
    db.run(
        "insert into chat_sessions (id, tenant_id, status, created_at, started_at) values
           ('a', 'acme', 'active', now() - interval '100 s', now() - interval '90 s'), ('b', 'acme', 'ended', now() - interval '50 s', now() - interval '30 s'),
           ('c', 'acme', 'archived', now() - interval '2 days', now() - interval '1 day'), ('d', 'acme', 'waiting', now() - interval '1 hour', null);
         insert into chat_messages (tenant_id, session_id, role, content, created_at) values
           ('acme', 'a', 'user', 'x', now() - interval '30 s'), ('acme', 'a', 'user', 'y', now() - interval '2 minutes')",
    )
    .await;
    let metrics = chat(&bridge, &ada, "GET", "metrics", Value::Null).await.json();
    assert_eq!((&metrics["waiting_time"]["average_s"], &metrics["messages_per_minute"]), (&json!(15), &json!(1)));
    let longest_s = metrics["waiting_time"]["longest_s"].as_u64().unwrap();
    assert!((3600..3700).contains(&longest_s), "{longest_s}");
}

#[tokio::test]
async fn the_rate_is_told_once_more_when_it_has_fallen_to_zero() {
    let db = Database::new().await;
    let bridges = [Bridge::start(&db).await, Bridge::start(&db).await];
    let ada = admin_of("ada", "acme");
    db.run(
        "insert into chat_sessions (id, tenant_id, status) values ('a', 'acme', 'ended');
         insert into chat_messages (tenant_id, session_id, role, content) values ('acme', 'a', 'user', 'x')",
    )
    .await;
    let waited = Instant::now();
    let first = get_page(&bridges[0], &ada, "acme", "?types=chat.metrics&wait=20").await;
    assert_eq!(first.events[0]["data"]["messages_per_minute"], 1);
    // A minute has to pass, so the page is held open for it, twice if need be.
    let mut page =
        get_page(&bridges[1], &ada, "acme", &format!("?types=chat.metrics&wait=50&after={}", first.cursor)).await;
    if page.events.is_empty() {
        page = get_page(&bridges[1], &ada, "acme", &format!("?types=chat.metrics&wait=50&after={}", page.cursor)).await;
    }
    assert_eq!(page.events[0]["data"]["messages_per_minute"], 0);
    assert!(waited.elapsed() > Duration::from_secs(55), "not before its time");
    db.run("insert into chat_sessions (tenant_id, user_id) values ('globex', 'gus')").await;
    get_page(&bridges[0], &admin_of("gia", "globex"), "globex", "?types=chat.metrics&wait=20").await;
    assert_eq!(
        db.text("select count(*)::text from tidings.events where type = 'chat.metrics' and tenant = 'acme'").await,
        "2"
    );
}

#[tokio::test]
async fn without_an_application_nothing_is_computed_until_there_is_one() {
    let db = Database::new().await;
    db.run("alter schema tidings_app rename to elsewhere").await;
    let bridge = Bridge::start(&db).await;
    let mut ada = Sse::open(&bridge, &admin_of("ada", "acme"), "acme", "").await;
    let begin = "insert into chat_sessions (tenant_id, user_id) values ('acme', 'ann')";
    db.run(begin).await;
    assert_eq!(ada.next().await["type"], "chat_sessions.inserted");
    db.sentinel("acme").await;
    assert_eq!(ada.next().await["type"], "sentinel");
    db.run("alter schema elsewhere rename to tidings_app").await;
    db.run(begin).await;
    assert_eq!(ada.next().await["type"], "chat_sessions.inserted");
    let metrics = ada.next().await;
    assert_eq!((&metrics["type"], &metrics["data"]["sessions"]["waiting"]), (&json!("chat.metrics"), &json!(2)));
}
