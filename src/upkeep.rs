//! What a bridge does for the database now and then: retention of the log and of dead letters, watches that follow altered
//! tables, and a note of who is connected.
//!
//! Place: beside the road. Every instance does it; locks in the database let one at a time through.
//!
//! Invariant: nothing here holds up a writer. What finds a lock taken is tried again at the next turn.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::http::State;
use crate::replay::LogError;

/// The longest pause between turns: how far the log may grow beyond its size unnoticed, and how old the note of who is connected gets.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Tables are altered rarely, and captured rightly meanwhile, only more slowly: looked at each so many turns.
const TURNS_PER_REFRESH: u32 = 12;
/// What could not be delivered is kept for so many days: time to look at it, and to send it again.
const DEAD_LETTERS_DAYS: i32 = 30;
/// More tenants than these are not listed in the note.
const TENANTS_MAX: usize = 500;

/// The task.
pub struct Upkeep {
    retention: Duration,
    bytes_max: i64,
    bridge: String,
    state: Arc<State>,
}

impl Upkeep {
    /// For one bridge, by its name among the listeners.
    pub fn new(log: &config::Log, bridge: &str, state: Arc<State>) -> Self {
        let bytes_max = i64::try_from(log.bytes_max).unwrap_or(i64::MAX);
        Self { retention: log.retention, bytes_max, bridge: bridge.to_owned(), state }
    }

    /// Takes turns until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let pause = (self.retention / 60).clamp(Duration::from_secs(1), PAUSE_MAX);
        let mut turn = 0;
        // Jitter keeps instances that were started together apart.
        while cancel.run_until_cancelled(sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0))).await.is_some() {
            if let Err(error) = self.turn(turn % TURNS_PER_REFRESH == 0).await {
                tracing::debug!(%error, "the upkeep of the log will be tried again");
            }
            turn += 1;
        }
    }

    async fn turn(&self, refresh: bool) -> Result<(), LogError> {
        self.state.log.look().await?;
        let client = self.state.log.pool().get().await?;
        let subscribers = self.state.connections.by_tenant(TENANTS_MAX).map(Value::from);
        client
            .execute("select tidings._tell($1, $2::text::jsonb)", &[&self.bridge, &subscribers.map(|s| s.to_string())])
            .await?;
        if refresh {
            for done in client.query("select tidings._refresh()", &[]).await? {
                tracing::info!("{}", done.get::<_, &str>(0));
            }
            client.execute("select tidings._bury(make_interval(days => $1))", &[&DEAD_LETTERS_DAYS]).await?;
        }
        let log = "select sum(bytes)::bigint, coalesce(extract(epoch from now() - min(oldest_at)), 0)::bigint,
                   pg_notification_queue_usage() from tidings.log";
        let log = client.query_one(log, &[]).await?;
        self.state.metrics.log_bytes.set(log.get(0));
        self.state.metrics.log_seconds.set(log.get(1));
        self.state.metrics.queue_usage.set(log.get(2));
        let rotate = "select tidings._rotate(make_interval(secs => $1), $2)";
        if client.query_one(rotate, &[&self.retention.as_secs_f64(), &self.bytes_max]).await?.get(0) {
            self.state.metrics.rotations.inc();
            tracing::info!("the oldest partition of the log was emptied");
        }
        Ok(())
    }
}
