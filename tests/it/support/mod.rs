//! The small language of these tests: a database per test, bridges in this process, clients that are not ours.

mod answer;
mod bridge;
mod clients;
mod database;
mod endpoint;
mod folder;
mod sender;
mod smtp;

pub use answer::Answer;
pub use bridge::{Bridge, SECRET, admin, member, token};
pub use clients::{Sse, Ws, events_of, get_page};
pub use database::{Database, connect, server};
pub use endpoint::{Endpoint, Says};
pub use folder::Folder;
pub use sender::{Delivery, WEBHOOK_SECRET, pipeline};
pub use smtp::{Letter, Smtp};

use std::time::Duration;

/// Waits for a condition; panics with `what` when it does not come true in time.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
