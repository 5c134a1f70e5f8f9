//! Webhooks that come in: each delivery calls its function once, in the tenant that it names, and is answered the same again.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Bridge, Database, Delivery, Sse, eventually, member, pipeline, token};

/// A table of deliveries, and the function that writes them: slowly, or not at all, where the body says so.
pub const TAKING: &str = "
    create table taken (n int generated always as identity primary key, tenant text, body jsonb, wall text);
    select tidings.watch('taken', tenant => 'tenant');
    create function tidings_app.take(tenant text, body jsonb) returns json language plpgsql as $$
    declare
      made int;
    begin
      insert into public.taken (tenant, body, wall) values (tenant, body, current_setting('tidings.tenant')) returning n into made;
      perform pg_sleep((body ->> 'sleep_s')::float8);
      if body ->> 'refuse' is not null then
        perform tidings_app.refuse((body ->> 'refuse')::int, 'as the body wants', 'refuse', '{\"state\": \"other\"}');
      end if;
      if body ? 'nothing' then
        return null;
      end if;
      return json_build_object('n', made, 'digits', body -> 'digits');
    end $$";

async fn site(more: Value) -> (Database, Bridge) {
    let db = Database::new().await;
    db.run(TAKING).await;
    let bridge = Bridge::with(&db.url, &[("inbound", &pipeline("take", more))]).await;
    (db, bridge)
}

async fn taken(db: &Database) -> String {
    db.text("select coalesce(string_agg(tenant || ' ' || wall, ', ' order by n), '') from taken").await
}

#[tokio::test]
async fn a_delivery_calls_its_function_in_its_tenant_and_subscribers_see_what_it_wrote() {
    let (db, bridge) = site(json!({})).await;
    let mut acme = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let globex = token(json!({"sub": "gus", "tenant": "globex"}));
    let mut globex = Sse::open(&bridge, &globex, "globex", "").await;
    let digits = "12345678901234567890.10";
    let mut delivery = Delivery::new("msg_1", &json!({}));
    delivery.body = format!(r#"{{"tenant": "acme", "digits": {digits}}}"#);
    let answer = delivery.send(&bridge, "pipeline").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.body, format!(r#"{{"n" : 1, "digits" : {digits}}}"#));
    db.sentinel("acme").await;
    db.sentinel("globex").await;
    let events = acme.until_sentinel().await;
    assert_eq!((events.len(), &events[0]["type"]), (1, &json!("taken.inserted")));
    assert_eq!(globex.until_sentinel().await, [Value::Null; 0]);
    assert_eq!(taken(&db).await, "acme acme");
}

#[tokio::test]
async fn a_delivery_that_comes_again_gets_the_first_answer_and_calls_nothing() {
    let (db, bridge) = site(json!({})).await;
    let first = Delivery::new("msg_1", &json!({"tenant": "acme"}));
    // Each attempt is signed anew, at its own time.
    let again = Delivery { at: first.at - 60, ..first.clone() };
    let (one, two) = (first.send(&bridge, "pipeline").await, again.send(&bridge, "pipeline").await);
    assert_eq!((one.status, &one.body), (200, &two.body));
    assert_eq!(two.status, 200);
    let next = Delivery::new("msg_2", &json!({"tenant": "acme"})).send(&bridge, "pipeline").await;
    assert_eq!(next.json()["n"], 2);
    assert_eq!(taken(&db).await, "acme acme, acme acme");
}

#[tokio::test]
async fn two_deliveries_of_one_id_at_once_call_once() {
    let (db, one) = site(json!({})).await;
    let two = Bridge::with(&db.url, &[("inbound", &pipeline("take", json!({})))]).await;
    let delivery = Delivery::new("msg_1", &json!({"tenant": "acme", "sleep_s": 0.3}));
    let answers = join_all((0..8).map(|n| delivery.send(if n % 2 == 0 { &one } else { &two }, "pipeline"))).await;
    let expected = (200, answers[0].body.clone());
    assert!(answers.iter().all(|answer| (answer.status, answer.body.clone()) == expected), "{answers:?}");
    assert_eq!(taken(&db).await, "acme acme");
}

#[tokio::test]
async fn when_the_first_of_two_at_once_fails_the_second_is_called() {
    let (db, bridge) = site(json!({})).await;
    // Fails for whoever comes first, after a while.
    db.run(
        "create sequence calls;
         create function tidings_app.first_fails(tenant text, body jsonb) returns json language plpgsql as $$
         begin
           if nextval('public.calls') = 1 then
             perform pg_sleep(0.3);
             perform tidings_app.refuse(422, 'not yet', 'body');
           end if;
           return tidings_app.take(tenant, body);
         end $$",
    )
    .await;
    bridge.stop().await;
    let bridge = Bridge::with(&db.url, &[("inbound", &pipeline("first_fails", json!({})))]).await;
    let delivery = Delivery::new("msg_1", &json!({"tenant": "acme"}));
    let answers = join_all((0..3).map(|_| delivery.send(&bridge, "pipeline"))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 422]);
    assert_eq!(taken(&db).await, "acme acme");
}

#[tokio::test]
async fn a_delivery_whose_session_is_killed_leaves_nothing_and_is_taken_when_it_comes_again() {
    let (db, bridge) = site(json!({})).await;
    let delivery = Delivery::new("msg_1", &json!({"tenant": "acme", "sleep_s": 1}));
    let kill = async {
        let kill = "select count(pg_terminate_backend(pid))::text from pg_stat_activity
                     where datname = current_database() and wait_event = 'PgSleep'";
        eventually("its session is killed", || async { db.text(kill).await == "1" }).await;
    };
    let (killed, ()) = tokio::join!(delivery.send(&bridge, "pipeline"), kill);
    assert_eq!(killed.problem(), (503, "database_unavailable".into()));
    let again = delivery.send(&bridge, "pipeline").await;
    assert_eq!(again.status, 200, "{:?}", again.body);
    assert_eq!(taken(&db).await, "acme acme");
}

#[tokio::test]
async fn a_call_that_failed_is_not_remembered() {
    let (db, bridge) = site(json!({})).await;
    for (body, status) in [
        (json!({"tenant": "acme", "refuse": "422"}), 422),
        (json!({"tenant": "acme", "refuse": "409"}), 409),
        (json!({"tenant": "acme", "refuse": "404"}), 404),
        (json!({"tenant": "acme", "nothing": true}), 404),
        (json!({"no": "tenant"}), 422),
        (json!({"tenant": "acme", "sleep_s": "x"}), 422),
        (json!({"tenant": "acme"}), 200),
    ] {
        assert_eq!(Delivery::new("msg_1", &body).send(&bridge, "pipeline").await.status, status, "{body}");
    }
    assert_eq!(taken(&db).await, "acme acme");
}

#[tokio::test]
async fn an_id_that_was_taken_is_refused_with_another_body_but_not_from_another_source() {
    let db = Database::new().await;
    db.run(TAKING).await;
    let source =
        |name: &str| serde_json::from_str::<Value>(&pipeline("take", json!({"name": name}))).unwrap()[0].take();
    let both = json!([source("pipeline"), source("other")]).to_string();
    let bridge = Bridge::with(&db.url, &[("inbound", &both)]).await;
    let send = async |source: &str, tenant: &str| {
        Delivery::new("msg_1", &json!({"tenant": tenant})).send(&bridge, source).await
    };
    assert_eq!(send("pipeline", "acme").await.status, 200);
    assert_eq!(send("pipeline", "globex").await.problem(), (409, "webhook_id_reused".into()));
    assert_eq!(send("other", "globex").await.status, 200);
    assert_eq!(taken(&db).await, "acme acme, globex globex");
}

#[tokio::test]
async fn both_secrets_are_believed_while_they_are_changed() {
    let (_db, bridge) =
        site(json!({"secret": "the new secret, long enough", "previous_secret": "the old secret, long enough"})).await;
    for (secret, status) in [
        ("the new secret, long enough", 200),
        ("the old secret, long enough", 200),
        ("the older secret, long enough", 401),
    ] {
        let delivery = Delivery { secret: secret.into(), ..Delivery::new(secret, &json!({"tenant": "acme"})) };
        assert_eq!(delivery.send(&bridge, "pipeline").await.status, status, "{secret}");
    }
}

#[tokio::test]
async fn a_source_of_one_tenant_writes_for_no_other_whatever_its_bodies_say() {
    let (db, bridge) = site(json!({"tenant": "=acme"})).await;
    assert_eq!(Delivery::new("msg_1", &json!({"tenant": "globex"})).send(&bridge, "pipeline").await.status, 200);
    assert_eq!(taken(&db).await, "acme acme");
}

#[tokio::test]
async fn what_was_taken_long_ago_is_forgotten() {
    let (db, bridge) = site(json!({})).await;
    let count = "select count(*)::text from tidings._inbound";
    db.run(
        "insert into tidings._inbound select 'pipeline', 'old' || n, '', '{}', now() - interval '25 hours' from generate_series(1, 150) n;
         insert into tidings._inbound select 'pipeline', 'new' || n, '', '{}', now() - interval '23 hours' from generate_series(1, 10) n",
    )
    .await;
    for (id, left) in [("a", "61"), ("b", "12"), ("c", "13")] {
        assert_eq!(Delivery::new(id, &json!({"tenant": "acme"})).send(&bridge, "pipeline").await.status, 200);
        assert_eq!(db.text(count).await, left);
    }
}

#[tokio::test]
async fn deliveries_are_counted_by_source_and_outcome() {
    let (_db, bridge) = site(json!({})).await;
    let delivery = Delivery::new("msg_1", &json!({"tenant": "acme"}));
    delivery.send(&bridge, "pipeline").await;
    delivery.send(&bridge, "pipeline").await;
    Delivery { secret: "wrong".into(), ..delivery.clone() }.send(&bridge, "pipeline").await;
    delivery.send(&bridge, "nobody").await;
    delivery.send(&bridge, "somebody").await;
    let text = reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap();
    for line in [
        r#"tidings_inbound_total{source="pipeline",outcome="done"} 1"#,
        r#"tidings_inbound_total{source="pipeline",outcome="repeated"} 1"#,
        r#"tidings_inbound_total{source="pipeline",outcome="signature_wrong"} 1"#,
        r#"tidings_inbound_total{source="",outcome="signature_wrong"} 2"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
