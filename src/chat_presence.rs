//! Keeps the database told which chat sessions are looked at through this bridge, and clears away what dead bridges had told.
//!
//! Place: beside the road. A connection's view is a member of its row in [`connections`](crate::http::connections), so it ends with the
//! connection, however that ends. This task makes the table `tidings._viewer` what those rows are, all of it each time; SQL tells
//! what has changed by `chat.presence`.
//!
//! Invariant: what is in the table for longer than a moment is true, or its bridge is dead
//! (`a_killed_bridge_takes_its_viewers_with_it`). There is one writer for each bridge's rows, and nothing but the whole truth to
//! write: a change that failed, a row that a crash of the server took, a bridge that was thought dead are put right at the next turn.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::connections::Connections;
use crate::replay::{Log, LogError};

/// The longest pause between turns: how long a dead bridge's viewers stay, once it is known to be dead.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// After a change: those that come close together are told together.
const GATHER: Duration = Duration::from_millis(20);
/// For the last turn, when the process ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// The task.
pub struct ChatPresence {
    bridge: String,
    connections: Arc<Connections>,
    log: Log,
}

impl ChatPresence {
    /// For one bridge, by its name among the listeners.
    pub fn new(bridge: &str, connections: Arc<Connections>, log: Log) -> Self {
        Self { bridge: bridge.to_owned(), connections, log }
    }

    /// Takes turns until cancelled, and then a last one, when all connections have ended.
    pub async fn run(self, cancel: CancellationToken) {
        while cancel.run_until_cancelled(self.turn()).await.is_some() {}
        // Where the database does not answer, others find out by our checkpoints.
        let _ = timeout(FAREWELL, self.tell("[]")).await;
    }

    async fn turn(&self) {
        // Jitter keeps instances that were started together apart.
        let pause = PAUSE_MAX.mul_f64(0.7 + rand::random::<f64>() * 0.3);
        if timeout(pause, self.connections.viewers_changed()).await.is_ok() {
            sleep(GATHER).await;
        }
        let viewers = serde_json::to_string(&self.connections.viewers()).unwrap_or_default();
        if let Err(error) = self.tell(&viewers).await {
            tracing::debug!(%error, "who looks at chats could not be told; trying again");
        }
    }

    async fn tell(&self, viewers: &str) -> Result<(), LogError> {
        let client = self.log.pool().get().await?;
        let statement = client.prepare_cached("select tidings._viewers($1, $2::text::jsonb)").await?;
        client.execute(&statement, &[&self.bridge, &viewers]).await?;
        Ok(())
    }
}
