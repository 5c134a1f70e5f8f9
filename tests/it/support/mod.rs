//! The small language of these tests: a database per test, bridges in this process, clients that are not ours.

mod answer;
mod bouncer;
mod bridge;
pub mod certificate;
mod clients;
mod database;
mod endpoint;
mod folder;
mod proxy;
mod raw_ws;
mod secured;
mod sender;
mod served;
mod smtp;
mod standby;

pub use answer::Answer;
pub use bouncer::Bouncer;
pub use bridge::{Bridge, SECRET, admin, member, settings, token};
pub use certificate::{Certificate, Tls};
pub use clients::{Sse, Ws, events_of, get_page};
pub use database::{Database, connect, server};
pub use endpoint::{Endpoint, Says};
pub use folder::Folder;
pub use proxy::{Cut, Door, Fault, Of, Pass, Proxy, Upstream, Way};
pub use raw_ws::{RawWs, client_frame, head};
pub use secured::{Authority, Identity, Secured};
pub use sender::{Delivery, WEBHOOK_SECRET, pipeline};
pub use served::{Served, serve, spawn};
pub use smtp::{Letter, Smtp};
pub use standby::Standby;

use std::time::Duration;

/// Waits for a condition; panics with `what` when it does not come true in time.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
