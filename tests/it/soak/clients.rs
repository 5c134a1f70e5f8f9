//! Clients as their users' browsers are: they resume with the last id that they were given, whatever ended the connection, and
//! check every event against what they have seen.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;

use super::TENANTS;
use crate::support::member;

/// Heartbeats come every second: whoever hears nothing for so long connects again.
const SILENCE: Duration = Duration::from_secs(4);

/// What one client has seen.
#[derive(Default)]
pub struct Follows {
    /// Resumes from here; empty until something was given.
    last: String,
    rows: HashMap<String, u64>,
    on_this_connection: HashMap<String, u64>,
    connected: bool,
    pub events: u64,
    pub repeats: u64,
    pub connections: u64,
    wrong: Option<String>,
}

pub struct Follower {
    http: reqwest::Client,
    index: usize,
    tenant: &'static str,
    seen: Mutex<Follows>,
}

impl Follower {
    pub fn new(index: usize) -> Self {
        // A connection for each stream, so that what is broken is not used again.
        let http = reqwest::Client::builder().connect_timeout(SILENCE).pool_max_idle_per_host(0).build().unwrap();
        Self { http, index, tenant: TENANTS[index % TENANTS.len()], seen: Mutex::default() }
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Follows) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn connected(&self) -> bool {
        self.seen(|seen| seen.connected)
    }

    pub fn figures(&self, of: fn(&Follows) -> u64) -> u64 {
        self.seen(|seen| of(seen))
    }

    /// What must not have happened.
    pub fn wrong(&self) -> Option<String> {
        self.seen(|seen| seen.wrong.clone()).map(|wrong| format!("client {} of {}: {wrong}", self.index, self.tenant))
    }

    /// The first row of its tenant that it has not seen the last count of.
    pub fn behind(&self, truth: &[(String, u64)]) -> Option<String> {
        let own = truth.iter().filter(|(row, _)| row.split_once('-').is_some_and(|(tenant, _)| tenant == self.tenant));
        self.seen(|seen| {
            let mut missing = own.filter(|(row, n)| seen.rows.get(row).copied().unwrap_or(0) != *n);
            let (row, n) = missing.next()?;
            Some(format!(
                "client {}: row {row} is at {n}, seen {:?}, last id {:?}",
                self.index,
                seen.rows.get(row),
                seen.last
            ))
        })
    }

    pub async fn run(self: std::sync::Arc<Self>, doors: [SocketAddr; 2], stop: CancellationToken) {
        while !stop.is_cancelled() {
            let door = doors[rand::random_range(0..2)];
            self.seen(|seen| {
                seen.on_this_connection.clear();
                seen.connections += 1;
            });
            let followed = async {
                match self.index % 2 {
                    0 => self.follow_sse(door).await,
                    _ => self.follow_ws(door).await,
                }
            };
            stop.run_until_cancelled(followed).await;
            // As EventSource: a moment, and not all at once.
            stop.run_until_cancelled(sleep(Duration::from_millis(rand::random_range(50..800)))).await;
        }
    }

    async fn follow_sse(&self, door: SocketAddr) -> Option<()> {
        let last = self.seen(|seen| seen.last.clone());
        let mut request = self.http.get(format!("http://{door}/v1/tenants/{}/events", self.tenant));
        request = request.bearer_auth(member(self.tenant)).header("accept", "text/event-stream");
        if !last.is_empty() {
            request = request.header("last-event-id", last);
        }
        let mut response = timeout(SILENCE, request.send()).await.ok()?.ok()?.error_for_status().ok()?;
        let mut text = String::new();
        loop {
            // Events are ASCII here, so no character is cut.
            text.push_str(std::str::from_utf8(&timeout(SILENCE, response.chunk()).await.ok()?.ok()??).ok()?);
            while let Some(end) = text.find("\n\n") {
                let block: String = text.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                match (field("event"), field("data")) {
                    (None, Some(data)) => self.take(&serde_json::from_str(data).ok()?),
                    (Some("hello"), _) => self.seen(|seen| seen.connected = true),
                    (Some("reset"), Some(data)) => self.told(data),
                    (Some(_), _) => return None,
                    (None, None) => {}
                }
                // The id counts with the block's end, also of a heartbeat, which has no data.
                if let Some(id) = field("id") {
                    self.seen(|seen| seen.last = id.to_owned());
                }
            }
        }
    }

    async fn follow_ws(&self, door: SocketAddr) -> Option<()> {
        let mut request = format!("ws://{door}/v1/ws").into_client_request().ok()?;
        request.headers_mut().insert("authorization", format!("Bearer {}", member(self.tenant)).parse().ok()?);
        let (mut socket, _) = timeout(SILENCE, connect_async(request)).await.ok()?.ok()?;
        let mut subscribe = json!({"type": "subscribe", "id": "s", "tenant": self.tenant});
        let last = self.seen(|seen| seen.last.clone());
        if !last.is_empty() {
            subscribe["after"] = last.into();
        }
        socket.send(Message::text(subscribe.to_string())).await.ok()?;
        loop {
            let Message::Text(text) = timeout(SILENCE, socket.next()).await.ok()??.ok()? else { continue };
            let frame: Value = serde_json::from_str(&text).ok()?;
            let cursor = frame["cursor"].as_str().or_else(|| frame["event"]["id"].as_str()).map(str::to_owned);
            match frame["type"].as_str()? {
                "event" => self.take(&frame["event"]),
                "subscribed" => self.seen(|seen| seen.connected = true),
                "reset" => self.told(&text),
                "hello" | "heartbeat" => {}
                _ => return None,
            }
            if let Some(cursor) = cursor {
                self.seen(|seen| seen.last = cursor);
            }
        }
    }

    fn told(&self, reset: &str) {
        self.seen(|seen| seen.wrong.get_or_insert(format!("was told {reset} of {:?}", seen.last)).truncate(400));
    }

    fn take(&self, event: &Value) {
        self.seen(|seen| {
            let (row, n) =
                (event["subject"].as_str().unwrap_or("").to_owned(), event["data"]["n"].as_u64().unwrap_or(0));
            let before = seen.rows.get(&row).copied().unwrap_or(0);
            let on_this = seen.on_this_connection.insert(row.clone(), n);
            seen.events += 1;
            let mut wrong = |what: &str| {
                seen.wrong
                    .get_or_insert(format!("{what}: {row} at {n} after {before}, {on_this:?} on this connection"));
            };
            if event["tenant"] != self.tenant {
                wrong("an event of another tenant");
            } else if on_this.is_some_and(|last| n <= last) {
                wrong("repeated while connected");
            } else if n > before + 1 {
                wrong("lost");
            }
            if n <= before {
                seen.repeats += 1;
            } else {
                seen.rows.insert(row, n);
            }
        });
    }
}
