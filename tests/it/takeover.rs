//! Who reads for a consumer when its leader dies, stops or ends; bridges in processes of their own.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::cli::tidings;
use crate::support::{Bridge, Database, Endpoint, SECRET, Says, eventually};
use crate::webhooks::{led, webhook};

/// A bridge with one webhook `w`.
struct Process {
    child: Child,
    ready: String,
}

impl Process {
    fn start(db: &Database, endpoint: &Endpoint) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let webhooks = Value::from(vec![webhook("w", &endpoint.url(), json!({"timeout": "2s"}))]).to_string();
        let child = tidings(&["serve"])
            .env("DATABASE_URL", &db.url)
            .env("TIDINGS__DATABASE__MIGRATE", "false")
            .env("TIDINGS__HTTP__LISTEN", address.to_string())
            .env("TIDINGS__AUTH__SECRET", SECRET)
            .env("TIDINGS__WEBHOOK", webhooks)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Self { child, ready: format!("http://{address}/readyz") }
    }

    /// The first leads before the second is there.
    async fn two(db: &Database, endpoint: &Endpoint) -> (Self, Self) {
        let leader = Self::start(db, endpoint);
        led(db, "webhook.w").await;
        let other = Self::start(db, endpoint);
        let ready = || async { reqwest::get(&other.ready).await.is_ok_and(|response| response.status() == 200) };
        eventually("the other is ready", ready).await;
        (leader, other)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
    }
}

async fn leader(db: &Database) -> String {
    db.text("select coalesce((select led_by from tidings.consumers), '')").await
}

/// How long nobody, or who led before, was the leader.
async fn time_to_another(db: &Database, before: &str) -> Duration {
    let began = Instant::now();
    let another = || async {
        let now = leader(db).await;
        !now.is_empty() && now != before
    };
    eventually("another leads", another).await;
    began.elapsed()
}

async fn arrive_all(endpoint: &Endpoint, ids: &[String]) {
    let all = || async {
        let arrived = endpoint.ids();
        ids.iter().all(|id| arrived.contains(id))
    };
    eventually("every event arrives", all).await;
}

async fn emit(db: &Database, count: usize) -> Vec<String> {
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(db.text("select tidings.emit('acme', 'a')").await);
    }
    ids
}

#[tokio::test]
async fn every_event_reaches_a_webhook_whatever_is_killed() {
    let db = Database::new().await;
    // Slow enough that some are in flight when the leader is killed.
    let endpoint = Endpoint::start(|_, _| Says { after: Duration::from_millis(20), ..Says::status(200) }).await;
    let (mut first, _second) = Process::two(&db, &endpoint).await;
    let before = leader(&db).await;
    let mut ids = emit(&db, 200).await;
    endpoint.wait(20).await;
    first.child.kill().await.unwrap();
    let (more, took) = tokio::join!(emit(&db, 300), time_to_another(&db, &before));
    ids.extend(more);
    assert!(took < Duration::from_secs(8), "the lease and a moment, not {took:?}");
    // What was in flight in the killed one is due again when its attempt counts as lost: 2 s and 15 s to settle.
    arrive_all(&endpoint, &ids).await;
    let repeated = endpoint.ids().len() - ids.len();
    assert!(repeated <= 16, "{repeated}: only what was in flight may come twice");
}

#[tokio::test]
async fn a_leader_that_was_stopped_and_wakes_up_takes_nothing_twice() {
    let (db, endpoint) = (Database::new().await, Endpoint::ok().await);
    let (first, second) = Process::two(&db, &endpoint).await;
    let before = leader(&db).await;
    first.signal(Signal::STOP);
    let mut ids = emit(&db, 50).await;
    let took = time_to_another(&db, &before).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
    arrive_all(&endpoint, &ids).await;
    // The other ends and gives the lead back: the one that wakes up may have it again, at the place where things are now.
    second.signal(Signal::TERM);
    eventually("nobody leads", || async { leader(&db).await.is_empty() }).await;
    first.signal(Signal::CONT);
    eventually("it leads again", || async { leader(&db).await == before }).await;
    ids.extend(emit(&db, 50).await);
    arrive_all(&endpoint, &ids).await;
    let (mut arrived, mut expected) = (endpoint.ids(), ids);
    arrived.sort();
    expected.sort();
    assert_eq!(arrived, expected, "each once");
}

#[tokio::test]
async fn a_leader_that_ends_in_order_is_replaced_at_once() {
    let (db, endpoint) = (Database::new().await, Endpoint::ok().await);
    let webhooks = Value::from(vec![webhook("w", &endpoint.url(), json!({}))]).to_string();
    let first = Bridge::with(&db.url, &[("webhook", &webhooks)]).await;
    led(&db, "webhook.w").await;
    let before = leader(&db).await;
    let second = Bridge::with(&db.url, &[("webhook", &webhooks)]).await;
    let began = Instant::now();
    first.begin_stop();
    time_to_another(&db, &before).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let ids = emit(&db, 1).await;
    arrive_all(&endpoint, &ids).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn what_is_in_flight_when_a_bridge_ends_is_not_sent_twice() {
    let db = Database::new().await;
    let endpoint = Endpoint::start(|_, _| Says { after: Duration::from_millis(700), ..Says::status(200) }).await;
    let webhooks = Value::from(vec![webhook("w", &endpoint.url(), json!({}))]).to_string();
    let bridge = Bridge::with(&db.url, &[("webhook", &webhooks)]).await;
    led(&db, "webhook.w").await;
    emit(&db, 1).await;
    endpoint.wait(1).await;
    bridge.stop().await;
    assert_eq!(db.text("select count(*)::text from tidings._delivery").await, "0", "its answer was waited for");
}
