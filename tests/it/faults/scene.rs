//! What all faults are held against: two tenants, a client of every transport for each, writers that go on, and a bridge that
//! reaches PostgreSQL through a proxy.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tidings::private_postgres::PrivatePostgres;
use tokio::task::JoinSet;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use super::{Writers, assert_counted};
use crate::support::{Answer, Bridge, Cut, Database, Of, Proxy, Sse, Upstream, Ws, eventually, member};

/// Rows that writers count in, and whose they are.
const ROWS: [(&str, &str); 4] = [("acme", "a"), ("acme", "b"), ("globex", "c"), ("globex", "d")];
/// Between two commits of a writer: what matters is that they go on, not how fast.
const PACE: Duration = Duration::from_millis(5);

/// The bridge's connections, as they introduce themselves.
pub const LISTENER: Of = Of::Saying("tidings listener");
pub const ROAD: Of = Of::Saying("tidings road");
pub const POOL: Of = Of::Saying("application_name\0tidings\0");

/// A bridge of this test, with settings that notice faults soon.
pub const QUICK: [(&str, &str); 3] =
    [("listener.checkpoint_timeout", "3s"), ("listener.connect_timeout", "5s"), ("http.heartbeat", "1s")];

/// A fault is noticed by then: a checkpoint every 2 s has 3 s to come back; the rest is for a busy machine.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);
/// One that has passed is over by then: the longest pause between two attempts to connect is 10 s, an attempt and the first
/// checkpoint after it have 8 s; the rest is for a busy machine.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);

pub struct Scene {
    pub db: Database,
    pub proxy: Proxy,
    pub bridge: Bridge,
    pub logged: Logged,
    writers: Writers,
    clients: JoinSet<(String, &'static str, Vec<Value>)>,
    /// How many events each client has had.
    had: Vec<Arc<AtomicUsize>>,
}

impl Scene {
    /// On the server that tests share.
    pub async fn start() -> Self {
        Self::of(Database::new().await).await
    }

    /// On one that the test may stop.
    pub async fn on(server: &PrivatePostgres) -> Self {
        Self::of(Database::fresh_on(server).await).await
    }

    async fn of(db: Database) -> Self {
        let logged = Logged::start();
        let proxy = Proxy::to(Upstream::of(&db.url)).await;
        let bridge = Bridge::with(&proxy.postgres(&db.url), &QUICK).await;
        let (mut clients, mut had) = (JoinSet::new(), Vec::new());
        for tenant in ["acme", "globex"] {
            let count = || Arc::new(AtomicUsize::new(0));
            let (by_sse, by_ws, by_poll) = (count(), count(), count());
            let token = member(tenant);
            let sse = Sse::open(&bridge, &token, tenant, "").await;
            let ws = Ws::open(&bridge, &token, tenant, json!({})).await;
            let poll = Poll::begin(&bridge, &token, tenant).await;
            had.extend([by_sse.clone(), by_ws.clone(), by_poll.clone()]);
            clients.spawn(async move { (format!("SSE, {tenant}"), tenant, read_sse(sse, &by_sse).await) });
            clients.spawn(async move { (format!("WebSocket, {tenant}"), tenant, read_ws(ws, &by_ws).await) });
            clients.spawn(async move { (format!("long poll, {tenant}"), tenant, poll.read(&by_poll).await) });
        }
        // Whatever the database is told to refuse, the writers' transactions write.
        let writers =
            Writers::counting(&format!("{}?options=-c%20default_transaction_read_only%3Doff", db.url), &ROWS, PACE);
        let scene = Self { db, proxy, bridge, logged, writers, clients, had };
        scene.flows().await;
        scene
    }

    /// Writers commit, and every client gets more.
    pub async fn flows(&self) {
        self.writers.commit(40).await;
        self.arrives().await;
    }

    /// Every client gets more than it has.
    pub async fn arrives(&self) {
        let before: Vec<usize> = self.had.iter().map(|had| had.load(Relaxed)).collect();
        eventually("every client gets more", || async {
            self.had.iter().zip(&before).all(|(had, before)| had.load(Relaxed) > *before)
        })
        .await;
    }

    /// Writers commit, whether or not anything arrives.
    pub async fn commits(&self) {
        self.writers.commit(40).await;
    }

    pub async fn is_ready(&self) {
        eventually("it is ready, and its metrics say so", || async {
            let (status, _) = self.bridge.get("/readyz").await;
            status == 200 && self.metric("tidings_ready").await == 1.0
        })
        .await;
    }

    /// What was broken is whole again: the bridge says so, and every client gets what is committed from now on, all that soon.
    pub async fn recovers(&self) {
        let whole = async {
            self.is_ready().await;
            self.flows().await;
        };
        let late = tokio::time::timeout(RECOVERED_WITHIN, whole).await.is_err();
        let (_, body) = self.bridge.get("/readyz").await;
        assert!(!late, "not recovered: {body}; it said {:#?}", self.logged.with(""));
    }

    /// The bridge notices soon that it is not ready, for one of these reasons; what it says.
    pub async fn is_not_ready(&self, reasons: &[&str]) -> Value {
        let said = Mutex::new(Value::Null);
        let noticed = eventually("it is not ready", || async {
            let (status, body) = self.bridge.get("/readyz").await;
            let fits = status == 503 && reasons.iter().any(|reason| body["reason"] == *reason);
            let fits = fits && self.metric("tidings_ready").await == 0.0;
            *said.lock().unwrap() = body;
            fits
        });
        let late = tokio::time::timeout(NOTICED_WITHIN, noticed).await.is_err();
        let said = said.into_inner().unwrap();
        assert!(!late, "not noticed, for {reasons:?}: {said}");
        assert_eq!((&said["ready"], &said["code"]), (&json!(false), &json!("not_ready")), "{said}");
        assert!(said["since_s"].is_u64() && said["listener"]["connected"].is_boolean(), "{said}");
        said
    }

    /// Ends what a half-open connection cannot live through, and lets all pass again.
    pub fn mend(&self) {
        self.proxy.cut(Of::All, Cut::Rst);
        self.proxy.mend();
    }

    pub async fn metric(&self, name: &str) -> f64 {
        metric(&self.bridge, name).await
    }

    /// Ends the writers; every client has exactly what was written in its tenant, once and in order.
    pub async fn finish(mut self) {
        let last = self.writers.finish().await;
        self.db.client = self.db.connect().await;
        for tenant in ["acme", "globex"] {
            self.db.sentinel(tenant).await;
        }
        while let Some(read) = self.clients.join_next().await {
            let (who, tenant, events) = read.unwrap();
            let theirs: BTreeMap<String, u64> = last
                .iter()
                .filter(|(row, _)| ROWS.contains(&(tenant, row.as_str())))
                .map(|(r, n)| (r.clone(), *n))
                .collect();
            assert!(events.iter().all(|event| event["tenant"] == tenant), "{who}");
            assert_eq!(events.len() as u64, theirs.values().sum::<u64>(), "{who}: {theirs:?}");
            assert_counted(&who, &events, &theirs);
        }
    }
}

pub async fn metric(bridge: &Bridge, name: &str) -> f64 {
    let text = reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no metric {name}")).parse().unwrap()
}

async fn read_sse(mut sse: Sse, had: &AtomicUsize) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        match sse.next().await {
            event if event["type"] == "sentinel" => return events,
            event => events.push(event),
        }
        had.store(events.len(), Relaxed);
    }
}

async fn read_ws(mut ws: Ws, had: &AtomicUsize) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        match ws.next().await {
            event if event["type"] == "sentinel" => return events,
            event => events.push(event),
        }
        had.store(events.len(), Relaxed);
    }
}

/// A client that asks for page after page, and again where it is told to come later.
struct Poll {
    url: String,
    token: String,
    cursor: String,
}

impl Poll {
    async fn begin(bridge: &Bridge, token: &str, tenant: &str) -> Self {
        let (status, page) = bridge.get_as(token, &format!("/v1/tenants/{tenant}/events?after=now")).await;
        assert_eq!(status, 200, "{page}");
        let url = bridge.url(&format!("/v1/tenants/{tenant}/events?limit=1000&wait=5&after="));
        Self { url, token: token.to_owned(), cursor: page["cursor"].as_str().unwrap().to_owned() }
    }

    async fn read(mut self, had: &AtomicUsize) -> Vec<Value> {
        let (client, mut events) = (reqwest::Client::new(), Vec::new());
        loop {
            let answer = Answer::of(client.get(format!("{}{}", self.url, self.cursor)).bearer_auth(&self.token)).await;
            if answer.status == 503 {
                assert!(answer.headers.contains_key("retry-after"), "{}", answer.body);
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            assert_eq!(answer.status, 200, "{}", answer.body);
            let page: Value = serde_json::from_str(&answer.body).unwrap();
            self.cursor = page["cursor"].as_str().unwrap().to_owned();
            for event in page["events"].as_array().unwrap() {
                if event["type"] == "sentinel" {
                    return events;
                }
                events.push(event.clone());
            }
            had.store(events.len(), Relaxed);
        }
    }
}

/// What this test's bridge logs: a test has one thread, and what runs on it logs here.
pub struct Logged {
    bytes: Lines,
    _guard: DefaultGuard,
}

impl Logged {
    pub fn start() -> Self {
        let bytes = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(bytes.clone())
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .finish();
        Self { bytes, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Lines with this text so far.
    pub fn with(&self, text: &str) -> Vec<String> {
        let all = String::from_utf8(self.bytes.0.lock().unwrap().clone()).unwrap();
        all.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// It is told, and not at every attempt.
    pub async fn told(&self, text: &str, at_most: usize) {
        eventually(&format!("it says {text:?}"), || async { !self.with(text).is_empty() }).await;
        let lines = self.with(text);
        assert!(lines.len() <= at_most, "{} lines of {text:?}: {:#?}", lines.len(), self.with(""));
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
