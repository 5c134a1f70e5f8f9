//! Outgoing webhooks: what arrives at an endpoint, and what happens when it does not.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Bridge, Database, Endpoint, Says, Sse, admin, eventually, member};

pub const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// `[[webhook]]` with what every one needs; `more` wins.
pub fn webhook(name: &str, url: &str, more: Value) -> Value {
    let mut all = json!({"name": name, "url": url, "secret": SECRET});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

/// A bridge with these webhooks, and retries within tenths of a second.
pub async fn bridge(db: &Database, webhooks: &[Value], more: &[(&str, &str)]) -> Bridge {
    let list = Value::from(webhooks.to_vec()).to_string();
    let mut settings =
        vec![("webhook", list.as_str()), ("delivery.retry_after_min", "50ms"), ("delivery.retry_after_max", "100ms")];
    settings.extend(more);
    let bridge = Bridge::with(&db.url, &settings).await;
    for webhook in webhooks {
        led(db, &format!("webhook.{}", webhook["name"].as_str().unwrap())).await;
    }
    bridge
}

/// Waits until somebody reads for a consumer: it begins with what is committed then.
pub async fn led(db: &Database, consumer: &str) {
    let sql = format!(
        "select exists (select from tidings.consumers where consumer = '{consumer}' and led_by is not null)::text"
    );
    eventually("somebody leads", || async { db.text(&sql).await == "true" }).await;
}

/// HMAC-SHA256 from RFC 2104, so that the code under test does not check itself.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |with: u8| -> Vec<u8> { (0..64).map(|i| key.get(i).copied().unwrap_or(0) ^ with).collect() };
    let inner = Sha256::digest([padded(0x36), message.to_vec()].concat());
    Sha256::digest([padded(0x5c), inner.to_vec()].concat()).to_vec()
}

fn signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let message = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    format!("v1,{}", STANDARD.encode(hmac(&key, &message)))
}

#[tokio::test]
async fn a_webhook_is_signed_as_the_specification_says() {
    let (db, endpoint) = (Database::new().await, Endpoint::ok().await);
    let both = json!({"previous_secret": OTHER, "headers": {"x-api-key": "k7"}});
    let bridge = bridge(&db, &[webhook("w", &endpoint.url(), both)], &[]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    db.run("select tidings.emit('acme', 'invoice.paid', '{\"sum\": 129.90, \"ü\": \"ß\"}', 'i7')").await;
    let posted = endpoint.wait(1).await.remove(0);
    let (id, at) = (posted.header("webhook-id"), posted.header("webhook-timestamp"));
    let expected = [SECRET, OTHER].map(|secret| signature(secret, id, at, &posted.body)).join(" ");
    assert_eq!(posted.header("webhook-signature"), expected);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(at.parse().unwrap()) < 30);
    assert_eq!(posted.header("content-type"), "application/cloudevents+json; charset=utf-8");
    assert_eq!((posted.path.as_str(), posted.header("x-api-key")), ("/hook", "k7"));
    let seen = sse.block().await.unwrap();
    assert_eq!(String::from_utf8(posted.body.clone()).unwrap(), seen.data, "byte for byte what subscribers see");
    assert_eq!((id, &posted.json()["id"]), (seen.id.as_str(), &json!(seen.id)));
    bridge.stop().await;
}

#[tokio::test]
async fn an_endpoint_gets_the_types_and_tenants_it_wants_and_audiences_too() {
    let (db, all, some) = (Database::new().await, Endpoint::ok().await, Endpoint::ok().await);
    let narrow = json!({"types": ["invoice.*"], "tenants": ["acme"]});
    let webhooks = [webhook("all", &all.url(), json!({})), webhook("some", &some.url(), narrow)];
    let bridge = bridge(&db, &webhooks, &[]).await;
    db.run(
        "select tidings.emit('globex', 'invoice.paid'); select tidings.emit('acme', 'order.paid');
         select tidings.emit('acme', 'invoice.paid', audience => 'ann')",
    )
    .await;
    let posted = some.wait(1).await;
    assert_eq!((&posted[0].json()["tenant"], &posted[0].json()["audience"]), (&json!("acme"), &json!("ann")));
    all.wait(3).await;
    assert_eq!(some.posted().len(), 1);
    bridge.stop().await;
}

#[tokio::test]
async fn what_fails_is_tried_again_until_it_arrives() {
    let db = Database::new().await;
    let endpoint = Endpoint::start(|_, before| Says::status(if before < 3 { 500 } else { 200 })).await;
    let bridge = bridge(&db, &[webhook("w", &endpoint.url(), json!({}))], &[]).await;
    let id = db.text("select tidings.emit('acme', 'a')").await;
    endpoint.wait(4).await;
    eventually("nothing is owed", || async { db.text("select owed::text from tidings.consumers").await == "0" }).await;
    assert_eq!(endpoint.ids(), vec![id; 4], "the same id each time, and no fifth");
    let metrics = reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tidings_deliveries_total{consumer=\"webhook.w\",outcome=\"retried\"} 3"), "{metrics}");
    assert!(metrics.contains("tidings_deliveries_total{consumer=\"webhook.w\",outcome=\"delivered\"} 1"), "{metrics}");
    bridge.stop().await;
}

#[tokio::test]
async fn what_is_given_up_is_a_dead_letter_until_it_is_sent_again() {
    let db = Database::new().await;
    let endpoint = Endpoint::start(|_, before| Says::status(if before == 0 { 410 } else { 200 })).await;
    let bridge = bridge(&db, &[webhook("w", &endpoint.url(), json!({}))], &[]).await;
    let id = db.text("select tidings.emit('acme', 'a')").await;
    let dead = "select coalesce(min(concat_ws('|', consumer, tenant, type, event, attempts, error)), '') from tidings.dead_letters";
    eventually("it is given up", || async { !db.text(dead).await.is_empty() }).await;
    let gone = format!("webhook.w|acme|a|{id}|1|the endpoint answered 410: it is gone");
    assert_eq!((db.text(dead).await, endpoint.posted().len()), (gone, 1));
    assert_eq!(db.text("select tidings.redeliver(id)::text from tidings.dead_letters").await, "true");
    endpoint.wait(2).await;
    eventually("it is gone", || async { db.text("select count(*)::text from tidings._delivery").await == "0" }).await;
    assert_eq!(db.text("select tidings.redeliver(1)::text").await, "false");
    bridge.stop().await;
}

#[tokio::test]
async fn retries_end_when_their_time_is_over() {
    let (db, endpoint) = (Database::new().await, Endpoint::start(|_, _| Says::status(500)).await);
    let bridge = bridge(&db, &[webhook("w", &endpoint.url(), json!({}))], &[("delivery.retry_for", "1s")]).await;
    db.run("select tidings.emit('acme', 'a')").await;
    let dead = "select coalesce(min(error), '') from tidings.dead_letters";
    eventually("it is given up", || async { db.text(dead).await == "the endpoint answered 500" }).await;
    let tried = endpoint.posted().len();
    assert!((3..=40).contains(&tried), "{tried} attempts in a second, 25 to 100 ms apart");
    bridge.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_asks_for_time_gets_it() {
    let db = Database::new().await;
    let endpoint = Endpoint::start(|_, before| {
        let headers = vec![("retry-after", "2".to_owned())];
        if before == 0 { Says { headers, ..Says::status(503) } } else { Says::status(200) }
    })
    .await;
    let more = [("delivery.retry_after_max", "10s")];
    let bridge = bridge(&db, &[webhook("w", &endpoint.url(), json!({}))], &more).await;
    db.run("select tidings.emit('acme', 'a')").await;
    endpoint.wait(1).await;
    let first = std::time::Instant::now();
    endpoint.wait(2).await;
    assert!(first.elapsed() > Duration::from_millis(1800), "{:?}", first.elapsed());
    bridge.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_says_so() {
    let (db, elsewhere) = (Database::new().await, Endpoint::ok().await);
    let location = elsewhere.url();
    let endpoint =
        Endpoint::start(move |_, _| Says { headers: vec![("location", location.clone())], ..Says::status(307) }).await;
    let bridge = bridge(&db, &[webhook("w", &endpoint.url(), json!({}))], &[("delivery.retry_for", "200ms")]).await;
    db.run("select tidings.emit('acme', 'a')").await;
    let dead = "select coalesce(min(error), '') from tidings.dead_letters";
    let why = "the endpoint answered 307; redirects are not followed, mend the url";
    eventually("it is given up", || async { db.text(dead).await == why }).await;
    assert_eq!(elsewhere.posted().len(), 0);
    bridge.stop().await;
}

#[tokio::test]
async fn what_an_endpoint_says_is_kept_nowhere() {
    let db = Database::new().await;
    let endpoint = Endpoint::start(|_, _| Says { body: "hunter2", ..Says::status(500) }).await;
    let url = endpoint.url() + "?key=swordfish";
    let bridge = bridge(&db, &[webhook("w", &url, json!({}))], &[("delivery.retry_for", "200ms")]).await;
    db.run("select tidings.emit('acme', 'a')").await;
    let kept = "select coalesce(min(d::text), '') from tidings._delivery d where dead_at is not null";
    eventually("it is given up", || async { !db.text(kept).await.is_empty() }).await;
    let kept = db.text(kept).await;
    assert!(!kept.contains("hunter2") && !kept.contains("swordfish"), "{kept}");
    bridge.stop().await;
    let refused = webhook("w", "http://127.0.0.1:1/?key=swordfish", json!({}));
    let bridge = self::bridge(&db, &[refused], &[]).await;
    db.run("select tidings.emit('acme', 'b')").await;
    let why = "select coalesce(min(error), '') from tidings._delivery where dead_at is null";
    eventually("it has failed", || async { !db.text(why).await.is_empty() }).await;
    let why = db.text(why).await;
    assert!(why.starts_with("no connection to the endpoint") && !why.contains("swordfish"), "{why}");
    bridge.stop().await;
}

#[tokio::test]
async fn a_dead_endpoint_does_not_hold_up_another() {
    let (db, dead, good) = (Database::new().await, Endpoint::start(|_, _| Says::never()).await, Endpoint::ok().await);
    let webhooks = [webhook("dead", &dead.url(), json!({})), webhook("good", &good.url(), json!({}))];
    let bridge = bridge(&db, &webhooks, &[("delivery.in_flight", "4")]).await;
    db.run("select tidings.emit('acme', 'a') from generate_series(1, 500)").await;
    good.wait(500).await;
    bridge.stop().await;
}

#[tokio::test]
async fn one_tenant_s_thousand_does_not_hold_up_another_s_one() {
    let db = Database::new().await;
    let endpoint =
        Endpoint::start(|posted, _| if posted.json()["tenant"] == "acme" { Says::never() } else { Says::status(200) })
            .await;
    let bridge = bridge(&db, &[webhook("w", &endpoint.url(), json!({}))], &[("delivery.in_flight", "8")]).await;
    db.run("select tidings.emit('acme', 'a') from generate_series(1, 1000)").await;
    endpoint.wait(2).await;
    db.run("select tidings.emit('globex', 'a')").await;
    let arrived = || async { endpoint.posted().iter().any(|posted| posted.json()["tenant"] == "globex") };
    eventually("the other tenant's arrives", arrived).await;
    assert_eq!(endpoint.posted().len(), 3, "a tenant has a quarter of eight in flight");
    bridge.stop().await;
}

#[tokio::test]
async fn several_bridges_deliver_each_event_once() {
    let (db, endpoint) = (Database::new().await, Endpoint::ok().await);
    let webhooks = [webhook("w", &endpoint.url(), json!({}))];
    let one = bridge(&db, &webhooks, &[]).await;
    let other = bridge(&db, &webhooks, &[]).await;
    db.run("select tidings.emit('acme', 'a') from generate_series(1, 300)").await;
    db.run("select tidings.emit('globex', 'a') from generate_series(1, 300)").await;
    eventually("all arrived", || async { endpoint.posted().len() >= 600 }).await;
    eventually("nothing is owed", || async { db.text("select owed::text from tidings.consumers").await == "0" }).await;
    let mut ids = endpoint.ids();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), endpoint.posted().len()), (600, 600));
    let text = |bridge: &Bridge| {
        let url = bridge.url("/metrics");
        async move { reqwest::get(url).await.unwrap().text().await.unwrap() }
    };
    // How they share the work is nobody's business; together they count it once.
    let delivered = |text: String| -> u64 {
        let counter = "tidings_deliveries_total{consumer=\"webhook.w\",outcome=\"delivered\"} ";
        text.lines().find_map(|line| line.strip_prefix(counter)?.parse().ok()).unwrap_or_default()
    };
    assert_eq!(delivered(text(&one).await) + delivered(text(&other).await), 600);
    // Every instance tells the same of what is owed.
    let gauge = "tidings_deliveries_owed{consumer=\"webhook.w\"} 0";
    eventually("the gauges say so", || async {
        text(&one).await.contains(gauge) && text(&other).await.contains(gauge)
    })
    .await;
    assert_eq!(one.get_as(&admin(), "/v1/stats").await.0, 200);
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn the_service_role_is_all_that_webhooks_need() {
    let (db, endpoint) =
        (Database::new().await, Endpoint::start(|_, before| Says::status(if before < 1 { 500 } else { 200 })).await);
    let role = format!("{}_bridge", db.name());
    db.run(&format!("create role {role} login; select tidings.grant_service('{role}')")).await;
    let list = Value::from(vec![webhook("w", &endpoint.url(), json!({}))]).to_string();
    let fast =
        [("delivery.retry_after_min", "50ms"), ("delivery.retry_after_max", "100ms"), ("webhook", list.as_str())];
    let bridge = Bridge::with(&db.url_as(&role), &fast).await;
    led(&db, "webhook.w").await;
    db.run("select tidings.emit('acme', 'a')").await;
    endpoint.wait(2).await;
    eventually("nothing is owed", || async { db.text("select owed::text from tidings.consumers").await == "0" }).await;
    let gauge = "tidings_deliveries_owed{consumer=\"webhook.w\"}";
    let text = || async { reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap() };
    eventually("it may count what is owed", || async { text().await.contains(gauge) }).await;
    bridge.stop().await;
    let client = crate::support::connect(&db.url_as(&role)).await;
    let bury = client.query("select tidings._bury('30 days')", &[]).await;
    assert!(bury.is_ok(), "{bury:?}");
    assert!(client.query("select body from tidings._delivery", &[]).await.is_err(), "but not read what is kept");
}
