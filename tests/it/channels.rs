//! Plain channels: what triggers that are not ours `pg_notify` is seen live, by those who may, and disturbs nothing else.

use serde_json::{Value, json};

use crate::support::{Bridge, Database, Sse, Ws, admin, eventually, get_page, member, token};

/// As people write it in their first plan.
const THEIR_TRIGGER: &str = "
CREATE OR REPLACE FUNCTION notify_session_change()
RETURNS trigger AS $$
BEGIN
  PERFORM pg_notify('chat_session_change',
    json_build_object(
      'action', TG_OP,
      'session_id', COALESCE(NEW.session_id, OLD.session_id),
      'status', COALESCE(NEW.status, OLD.status)
    )::text
  );
  RETURN NULL;
END;
$$ LANGUAGE plpgsql;

CREATE TRIGGER chat_session_notify
  AFTER INSERT OR UPDATE OR DELETE ON chat_sessions
  FOR EACH ROW EXECUTE FUNCTION notify_session_change();";

/// A bridge of the channel `orders`, whose payloads name tenant, subject and, where wanted, audience.
async fn bridge_of_orders(db: &Database, more: &[(&str, &str)]) -> Bridge {
    let channel =
        ("channel", r#"[{"name": "orders", "tenant": "tenant", "type": "orders.changed", "subject": "order.id"}]"#);
    Bridge::with(&db.url, &[&[channel], more].concat()).await
}

async fn notify(db: &Database, channel: &str, payload: &str) {
    db.client.execute("select pg_notify($1, $2)", &[&channel, &payload]).await.unwrap();
}

async fn order(db: &Database, tenant: &str, id: u32) {
    notify(db, "orders", &json!({"tenant": tenant, "order": {"id": id}}).to_string()).await;
}

fn subjects(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["subject"].as_str().unwrap_or("")).collect()
}

async fn metric(bridge: &Bridge, name: &str) -> f64 {
    let text = reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn an_existing_trigger_is_bridged_as_it_stands() {
    let db = Database::new().await;
    db.run("create schema theirs; set search_path = theirs; create table chat_sessions (session_id text, status text)")
        .await;
    db.run(THEIR_TRIGGER).await;
    let channel = r#"[{"name": "chat_session_change", "tenant": "=acme", "type": "chat_sessions.changed", "subject": "session_id"}]"#;
    let bridge = Bridge::with(&db.url, &[("channel", channel)]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    db.run("insert into chat_sessions values ('s1', 'waiting')").await;
    db.run("update chat_sessions set status = 'active'").await;
    db.run("delete from chat_sessions").await;
    db.run("begin; insert into chat_sessions values ('s2', 'waiting'); rollback").await;
    db.sentinel("acme").await;
    let events = sse.until_sentinel().await;
    assert_eq!(ws.until_sentinel().await, events);
    let data = |action, status| json!({"action": action, "session_id": "s1", "status": status});
    let expected = [data("INSERT", "waiting"), data("UPDATE", "active"), data("DELETE", "active")];
    assert_eq!(events.iter().map(|event| &event["data"]).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    let event = events[0].as_object().unwrap();
    assert_eq!((&event["type"], &event["subject"]), (&json!("chat_sessions.changed"), &json!("s1")));
    assert_eq!((&event["source"], &event["tenant"]), (&json!("/channel/chat_session_change"), &json!("acme")));
    assert!(!event.contains_key("id") && !event.contains_key("audience"), "{event:?}");
}

#[tokio::test]
async fn a_plain_event_is_seen_by_its_tenant_and_by_no_other() {
    let db = Database::new().await;
    let bridge = bridge_of_orders(&db, &[]).await;
    let mut acme = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut globex = Sse::open(&bridge, &member("globex"), "globex", "").await;
    let mut every = Sse::at(&bridge, &admin(), "/v1/events", None).await;
    order(&db, "acme", 1).await;
    order(&db, "globex", 2).await;
    order(&db, "nobody", 3).await;
    db.sentinel("acme").await;
    db.sentinel("globex").await;
    assert_eq!(subjects(&acme.until_sentinel().await), ["1"]);
    assert_eq!(subjects(&globex.until_sentinel().await), ["2"]);
    assert_eq!(subjects(&every.until_sentinel().await), ["1", "2", "3"]);
    // Where nobody is connected nothing is kept: tenants that do not exist cost no memory.
    assert_eq!(metric(&bridge, "tidings_tenants").await, 2.0);
}

#[tokio::test]
async fn filters_and_rights_hold_for_plain_events() {
    let db = Database::new().await;
    let bridge = bridge_of_orders(&db, &[]).await;
    let narrow = token(json!({"sub": "ann", "tenant": "acme", "events": ["documents.*", "sentinel"]}));
    let mut one = Sse::open(&bridge, &member("acme"), "acme", "?types=orders.*,sentinel").await;
    let mut other = Sse::open(&bridge, &member("acme"), "acme", "?types=documents.*,sentinel").await;
    let mut subject = Sse::open(&bridge, &member("acme"), "acme", "?subject=2").await;
    let mut narrow = Sse::open(&bridge, &narrow, "acme", "").await;
    order(&db, "acme", 1).await;
    order(&db, "acme", 2).await;
    db.sentinel("acme").await;
    db.run("select tidings.emit('acme', 'sentinel', '{}', '2')").await;
    assert_eq!(subjects(&one.until_sentinel().await), ["1", "2"]);
    assert_eq!(subjects(&subject.until_sentinel().await), ["2"]);
    assert_eq!(other.until_sentinel().await, [Value::Null; 0]);
    assert_eq!(narrow.until_sentinel().await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_plain_event_for_one_user_is_seen_by_nobody_else() {
    let db = Database::new().await;
    let channel = r#"[{"name": "mail", "tenant": "t", "audience": "to.user"}]"#;
    let bridge = Bridge::with(&db.url, &[("channel", channel)]).await;
    let user = |sub: &str| token(json!({"sub": sub, "tenant": "acme"}));
    let mut ann = Sse::open(&bridge, &user("ann"), "acme", "").await;
    let mut bob = Sse::open(&bridge, &user("bob"), "acme", "").await;
    let mut root = Sse::open(&bridge, &admin(), "acme", "").await;
    for payload in [r#"{"t":"acme","to":{"user":"ann"}}"#, r#"{"t":"acme","to":{"user":null}}"#, r#"{"t":"acme"}"#] {
        notify(&db, "mail", payload).await;
    }
    db.sentinel("acme").await;
    let seen = ann.until_sentinel().await;
    assert_eq!((seen.len(), &seen[0]["audience"]), (1, &json!("ann")));
    assert_eq!(root.until_sentinel().await, seen);
    assert_eq!(bob.until_sentinel().await, [Value::Null; 0]);
    assert_eq!(metric(&bridge, r#"tidings_undecodable_total{channel="plain"}"#).await, 2.0);
}

#[tokio::test]
async fn hostile_payloads_are_counted_and_do_no_harm() {
    let db = Database::new().await;
    let bridge = bridge_of_orders(&db, &[]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let deep = format!("{{\"tenant\":{}", "[".repeat(7000));
    let of = |name: &str| std::fs::read_to_string(format!("{}/tests/payloads/{name}.json", env!("CARGO_MANIFEST_DIR")));
    let (reference, checkpoint) = (of("reference").unwrap(), of("checkpoint").unwrap());
    let hostile =
        ["", "x", "[]", "7", "{}", "{\"tenant\":{}}", "{\"tenant\":\"\\ud800\"}", &deep, &reference, &checkpoint];
    for payload in hostile {
        notify(&db, "orders", payload).await;
    }
    // One of our own shape is an event of the plain channel: no id, and no numbers that the log would be held against.
    notify(&db, "orders", &of("event").unwrap()).await;
    notify(&db, "orders", "{\"tenant\":\"acme\",\n\"x\":\"</script>\\n\\nid: 1-1-1\\n\\ndata: {}\"\r}").await;
    db.sentinel("acme").await;
    let events = sse.until_sentinel().await;
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event["id"].is_null() && event["source"] == "/channel/orders"), "{events:?}");
    assert_eq!(events[1]["data"]["x"], "</script>\n\nid: 1-1-1\n\ndata: {}");
    assert_eq!(metric(&bridge, r#"tidings_undecodable_total{channel="plain"}"#).await, hostile.len() as f64);
}

#[tokio::test]
async fn a_reconnect_resumes_from_the_last_event_of_the_log() {
    let db = Database::new().await;
    let bridge = bridge_of_orders(&db, &[]).await;
    let token = member("acme");
    let mut sse = Sse::open(&bridge, &token, "acme", "").await;
    let begin = sse.hello["cursor"].as_str().unwrap().to_owned();
    db.run("select tidings.emit('acme', 'real', '{}', 'a')").await;
    order(&db, "acme", 1).await;
    order(&db, "acme", 2).await;
    let seen = sse.take(3).await;
    assert_eq!(subjects(&seen), ["a", "1", "2"]);
    assert_eq!(sse.last_id, seen[0]["id"].as_str().unwrap());
    let last_id = sse.last_id.clone();
    drop(sse);
    order(&db, "acme", 3).await;
    db.run("select tidings.emit('acme', 'real', '{}', 'b')").await;
    Sse::heard(&bridge, &db).await;
    let mut resumed = Sse::resume(&bridge, &token, "acme", &last_id).await;
    assert_eq!(resumed.hello["resumed"], true);
    assert_eq!(subjects(&resumed.until_sentinel().await), ["b"]);
    // What comes from now on is live again.
    order(&db, "acme", 4).await;
    assert_eq!(subjects(&resumed.take(1).await), ["4"]);
    let mut ws = Ws::open(&bridge, &token, "acme", json!({"after": begin})).await;
    assert_eq!(subjects(&ws.until_sentinel().await), ["a", "b"]);
}

#[tokio::test]
async fn a_heartbeat_after_a_flood_of_plain_events_does_not_go_back() {
    let db = Database::new().await;
    // The only checkpoint is the one at the start.
    let seldom = [("listener.checkpoint_every", "60s"), ("listener.checkpoint_timeout", "61s")];
    let bridge =
        bridge_of_orders(&db, &[&seldom[..], &[("ring.events_max", "8"), ("http.heartbeat", "1s")]].concat()).await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    db.run("select tidings.emit('acme', 'real', '{}', 'a')").await;
    assert_eq!(ws.next().await["subject"], "a");
    for id in 0..40 {
        order(&db, "acme", id).await;
        assert_eq!(ws.next().await["subject"], id.to_string());
    }
    let beat = ws.frame().await.unwrap();
    let cursor = beat["cursor"].as_str().unwrap_or_else(|| panic!("{beat}"));
    let page = get_page(&bridge, &member("acme"), "acme", &format!("?after={cursor}")).await;
    assert_eq!(page.events, [Value::Null; 0]);
}

#[tokio::test]
async fn a_page_that_waits_is_not_ended_by_a_plain_event() {
    let db = Database::new().await;
    let bridge = bridge_of_orders(&db, &[]).await;
    let token = member("acme");
    let after = get_page(&bridge, &token, "acme", "").await.cursor;
    order(&db, "acme", 1).await;
    let path = format!("?after={after}&wait=20");
    let waiting = async {
        eventually("it waits", || async {
            let stats = bridge.get_as(&admin(), "/v1/stats").await.1;
            stats["connections"].as_array().unwrap().len() == 1
        })
        .await;
        order(&db, "acme", 2).await;
        // The event that ends it is committed when the plain one has been through the ring.
        eventually("it was heard", || async { metric(&bridge, "tidings_events_total").await == 2.0 }).await;
        db.run("select tidings.emit('acme', 'real', '{}', 'a')").await;
    };
    let (page, ()) = tokio::join!(get_page(&bridge, &token, "acme", &path), waiting);
    assert_eq!(subjects(&page.events), ["a"]);
}

#[tokio::test]
async fn a_plain_event_that_several_subscriptions_match_is_sent_once_and_equal_ones_each() {
    let db = Database::new().await;
    let bridge = bridge_of_orders(&db, &[]).await;
    let mut ws = Ws::open(&bridge, &admin(), "acme", json!({})).await;
    assert_eq!(ws.subscribe("orders", "acme", json!({"types": "orders.*"})).await["type"], "subscribed");
    ws.send(&json!({"type": "subscribe", "id": "all"})).await;
    assert_eq!(ws.frame().await.unwrap()["type"], "subscribed");
    for _ in 0..3 {
        order(&db, "acme", 1).await;
    }
    db.sentinel("acme").await;
    let mut events = ws.until_sentinel().await;
    // Another subscription's ring may be behind; what it still has is sent before the next.
    db.sentinel("acme").await;
    events.extend(ws.until_sentinel().await);
    assert_eq!(subjects(&events), ["1", "1", "1"]);
}

#[tokio::test]
async fn falling_off_the_ring_costs_plain_events_and_nothing_of_the_log() {
    let db = Database::new().await;
    let bridge = bridge_of_orders(&db, &[("ring.events_max", "16")]).await;
    let (mut sse, mut ws) = (
        Sse::open(&bridge, &member("acme"), "acme", "").await,
        Ws::open(&bridge, &member("acme"), "acme", json!({})).await,
    );
    for block in 0..20 {
        db.run(&format!(
            "do $$ begin for i in {}..{} loop
               perform tidings.emit('acme', 'real', '{{}}', i::text);
               perform pg_notify('orders', json_build_object('tenant', 'acme', 'order', json_build_object('id', i))::text);
             end loop; end $$",
            block * 50 + 1,
            block * 50 + 50
        ))
        .await;
    }
    db.sentinel("acme").await;
    for events in [sse.until_sentinel().await, ws.until_sentinel().await] {
        let of = |kind: &str| -> Vec<u32> {
            let events = events.iter().filter(|event| event["type"] == kind);
            events.map(|event| event["subject"].as_str().unwrap().parse().unwrap()).collect()
        };
        assert_eq!(of("real"), (1..=1000).collect::<Vec<_>>());
        let plain = of("orders.changed");
        assert!(plain.windows(2).all(|pair| pair[0] < pair[1]), "twice, or out of order: {plain:?}");
    }
}

#[tokio::test]
async fn a_channel_goes_on_after_the_listening_backend_was_terminated() {
    let db = Database::new().await;
    let bridge = bridge_of_orders(&db, &[]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    order(&db, "acme", 1).await;
    assert_eq!(subjects(&sse.take(1).await), ["1"]);
    db.run(
        "select pg_terminate_backend(pid) from pg_stat_activity
          where application_name = 'tidings listener' and datname = current_database()",
    )
    .await;
    eventually("it listens again", || async { metric(&bridge, "tidings_listener_reconnects_total").await >= 1.0 })
        .await;
    eventually("it is ready", || async { bridge.get("/readyz").await.0 == 200 }).await;
    order(&db, "acme", 2).await;
    assert_eq!(subjects(&sse.take(1).await), ["2"]);
}

#[tokio::test]
async fn what_waited_for_too_long_is_counted() {
    let db = Database::new().await;
    let bridge = bridge_of_orders(&db, &[]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let guard = db.connect().await;
    // An event too large for a notification is read from the log, and the log is locked until more was heard than may wait.
    guard
        .batch_execute("begin; select tidings.emit('acme', 'large', to_jsonb(repeat('x', 20000)), 'a')")
        .await
        .unwrap();
    let locker = db.connect().await;
    let lock = async {
        locker.batch_execute("begin; lock table tidings._log in access exclusive mode").await.unwrap();
    };
    let release = async {
        eventually("the lock is asked for", || async {
            let sql = "select count(*)::text from pg_locks where mode = 'AccessExclusiveLock' and not granted";
            db.text(sql).await == "1"
        })
        .await;
        guard.batch_execute("commit").await.unwrap();
    };
    tokio::join!(lock, release);
    db.run(
        "select pg_notify('orders', json_build_object('tenant', 'acme', 'order', json_build_object('id', i), 'x', repeat('x', 7900))::text)
           from generate_series(1, 2500) i",
    )
    .await;
    eventually("they are counted", || async { metric(&bridge, "tidings_channels_lost_total").await > 2000.0 }).await;
    locker.batch_execute("commit").await.unwrap();
    order(&db, "acme", 9999).await;
    let mut seen = sse.take(1).await;
    while seen.last().unwrap()["subject"] != "9999" {
        seen.extend(sse.take(1).await);
    }
    let lost = metric(&bridge, "tidings_channels_lost_total").await;
    assert_eq!(seen.iter().filter(|event| event["type"] == "orders.changed").count() as f64, 2501.0 - lost);
    assert_eq!(seen.iter().filter(|event| event["type"] == "large").count(), 1);
}

#[tokio::test]
async fn a_channel_of_any_name_is_listened_to() {
    let db = Database::new().await;
    let name = r#"Übel"; drop table documents; --"#;
    let channel = json!([{"name": name, "tenant": "=acme", "type": "odd"}, {"name": "CamelCase", "tenant": "=acme"}]);
    let bridge = Bridge::with(&db.url, &[("channel", &channel.to_string())]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    notify(&db, name, "{}").await;
    notify(&db, "CamelCase", "{}").await;
    notify(&db, "camelcase", "{}").await;
    db.run("insert into documents (id, tenant_id, name) values ('d', 'acme', 'x')").await;
    let types: Vec<_> = sse.take(3).await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["odd", "CamelCase", "documents.inserted"]);
}
