//! A bridge that ends says so to everyone, lets them go elsewhere spread over time, and waits for nobody for ever.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Bridge, Database, Sse, Ws, admin, eventually, get_page, member};

/// As in the bridge's settings.
const DRAIN: Duration = Duration::from_secs(2);

/// A connection that stays open between requests, as a load balancer's.
struct KeepAlive {
    socket: TcpStream,
}

impl KeepAlive {
    async fn open(bridge: &Bridge) -> Self {
        Self { socket: TcpStream::connect(bridge.address).await.unwrap() }
    }

    /// Sends a request and reads what comes first of the answer; empty when the connection has been closed.
    async fn ask(&mut self, path: &str, headers: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: bridge\r\n{headers}\r\n");
        let mut answer = vec![0; 4096];
        let written = self.socket.write_all(request.as_bytes()).await;
        let read = if written.is_ok() { self.socket.read(&mut answer).await.unwrap_or(0) } else { 0 };
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    /// Waits until the server closes it.
    async fn closed(mut self) {
        let mut rest = vec![0; 1 << 16];
        timeout(Duration::from_secs(20), async {
            while self.socket.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        })
        .await
        .unwrap();
    }
}

async fn connections(bridge: &Bridge, wanted: usize) {
    let counted =
        || async { bridge.get_as(&admin(), "/v1/stats").await.1["connections"].as_array().unwrap().len() == wanted };
    eventually("so many are connected", counted).await;
}

#[tokio::test]
async fn every_client_is_told_to_go_elsewhere() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("shutdown.drain", "20s")]).await;
    let token = member("acme");
    let mut sse = Sse::open(&bridge, &token, "acme", "").await;
    let mut ws = Ws::open(&bridge, &token, "acme", json!({})).await;
    bridge.begin_stop();
    let block = sse.block().await.unwrap();
    assert_eq!(block.event, "bye");
    assert_eq!(
        serde_json::from_str::<Value>(&block.data).unwrap(),
        json!({"code": 1001, "reason": "draining", "reconnect": true})
    );
    assert!(sse.block().await.is_none(), "the stream ends behind bye");
    assert_eq!(
        ws.frame().await.unwrap(),
        json!({"type": "bye", "code": 1001, "reason": "draining", "reconnect": true})
    );
    assert_eq!(ws.frame().await, None);
    assert_eq!(u16::from(ws.close.unwrap().code), 1001);
    let started = Instant::now();
    drop(sse);
    bridge.stop().await;
    assert!(started.elapsed() < Duration::from_secs(10), "nobody is left to wait for");
}

#[tokio::test]
async fn reconnects_after_a_drain_are_spread_over_it() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("shutdown.drain", "20s")]).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(Sse::open(&bridge, &member("acme"), "acme", "").await);
    }
    bridge.begin_stop();
    let mut pauses = Vec::new();
    for stream in &mut streams {
        pauses.push(stream.block().await.unwrap().retry.unwrap());
    }
    let (first, last) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
    // Twenty random numbers below 20 s that all fall into a quarter of it: once in 10^11 runs.
    assert!(*last - *first > Duration::from_secs(5) && *last <= Duration::from_secs(20), "{pauses:?}");
}

#[tokio::test]
async fn what_was_committed_before_the_drain_arrives_before_bye() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    db.sentinel("acme").await;
    assert_eq!(sse.until_sentinel().await.len(), 0);
    let before = sse.last_id.clone();
    bridge.begin_stop();
    assert_eq!(sse.block().await.unwrap().event, "bye");
    db.run("insert into documents (id, tenant_id, name) values ('later', 'acme', 'x')").await;
    db.sentinel("acme").await;
    let next = Bridge::start(&db).await;
    let mut sse = Sse::resume(&next, &member("acme"), "acme", &before).await;
    assert_eq!(sse.until_sentinel().await.len(), 1);
}

#[tokio::test]
async fn a_long_poll_is_answered_with_an_empty_page() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let token = member("acme");
    let start = get_page(&bridge, &token, "acme", "").await.cursor;
    let query = format!("?after={start}&wait=60");
    let ending = async {
        connections(&bridge, 1).await;
        bridge.begin_stop();
    };
    let (page, ()) = tokio::join!(get_page(&bridge, &token, "acme", &query), ending);
    assert_eq!((page.events.len(), page.more), (0, false));
    // Its cursor goes on elsewhere.
    db.sentinel("acme").await;
    let other = Bridge::start(&db).await;
    assert_eq!(get_page(&other, &token, "acme", &format!("?after={}", page.cursor)).await.events.len(), 1);
}

#[tokio::test]
async fn whoever_asks_while_it_drains_is_sent_away() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (mut probe, mut late) = (KeepAlive::open(&bridge).await, KeepAlive::open(&bridge).await);
    assert!(probe.ask("/readyz", "").await.starts_with("HTTP/1.1 200"));
    assert!(late.ask("/livez", "").await.starts_with("HTTP/1.1 200"));
    bridge.begin_stop();
    eventually("new sockets are refused", || async { TcpStream::connect(bridge.address).await.is_err() }).await;
    let headers = format!("authorization: Bearer {}\r\naccept: text/event-stream\r\n", member("acme"));
    for answer in [probe.ask("/readyz", "").await, late.ask("/v1/tenants/acme/events", &headers).await] {
        // Closed, or told so.
        let told = answer.starts_with("HTTP/1.1 503")
            && answer.contains("retry-after: ")
            && answer.contains(r#""code":"draining""#);
        assert!(answer.is_empty() || told, "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_ignores_bye_is_cut_at_the_deadline() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut deaf = KeepAlive::open(&bridge).await;
    let headers = format!("authorization: Bearer {}\r\naccept: text/event-stream\r\n", member("acme"));
    assert!(deaf.ask("/v1/tenants/acme/events", &headers).await.starts_with("HTTP/1.1 200"));
    let started = Instant::now();
    bridge.stop().await;
    assert!(started.elapsed() < DRAIN + Duration::from_secs(2), "{:?}", started.elapsed());
    deaf.closed().await;
}
