//! Tells the admins of each tenant how its chats are doing: events `chat.metrics`, computed once however many bridges there are.
//!
//! Place: beside the road. Every instance hears which tenants' chats have changed; a turn in the database, one a second for each
//! tenant, decides who computes. Nothing is asked while nothing happens.
//!
//! Invariants: at most one event a second for each tenant, and the last one is right
//! (`metrics_of_a_burst_are_told_once_a_second_by_two_bridges_and_the_last_is_right`): whoever takes a turn after a change was heard
//! computes with a snapshot that sees it, so a change is done with only when a turn was taken behind it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::event::TenantId;
use crate::replay::{Log, LogError};
use crate::router::Router;

/// Of one tenant; what people can read.
const EVERY: Duration = Duration::from_secs(1);
/// After the last change the messages per minute have fallen to zero: a minute, and a little for the clocks.
const FADE: Duration = Duration::from_secs(61);
/// A turn that another bridge took this long before will do as well for that: it saw zero too.
const FADE_SLACK: Duration = Duration::from_secs(1);
/// After an error: the database may be restarting.
const RETRY: Duration = Duration::from_secs(2);

/// The task.
pub struct ChatMetrics {
    router: Arc<Router>,
    log: Log,
    due: HashMap<TenantId, Due>,
    failing: bool,
}

/// What is to be done for a tenant.
struct Due {
    /// When it came to be so: a turn taken later has seen it.
    since: Instant,
    /// When to ask for a turn.
    at: Instant,
    /// Nothing has changed but the time.
    fading: bool,
}

/// What came of asking.
enum Turn {
    /// The metrics were computed, by us or, behind the change, by another bridge.
    Done,
    /// Ask again then.
    Wait(Duration),
    /// There is no application here.
    Absent,
}

impl ChatMetrics {
    /// For the tenants of this router.
    pub fn new(router: Arc<Router>, log: Log) -> Self {
        Self { router, log, due: HashMap::new(), failing: false }
    }

    /// Computes until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut bell = self.router.bell();
        // From now on changes are noted.
        self.router.take_chats();
        loop {
            let next = self.due.values().map(|due| due.at).min();
            // Woken by: the end · events in the rings · the next tenant's time. All are cancel safe.
            tokio::select! {
                () = cancel.cancelled() => return,
                rung = bell.changed() => if rung.is_err() { return },
                () = until(next) => {}
            }
            self.hear();
            if cancel.run_until_cancelled(self.tell()).await.is_none() {
                return;
            }
        }
    }

    /// Takes up what has changed.
    fn hear(&mut self) {
        let now = Instant::now();
        for tenant in self.router.take_chats() {
            let due = self.due.entry(tenant).or_insert(Due { since: now, at: now, fading: false });
            // One that waits for its turn goes on waiting: the turn will be behind this change as well.
            let at = if due.fading { now } else { due.at };
            *due = Due { since: now, at, fading: false };
        }
    }

    /// Does what is due, one tenant after the other: more than can be done come less often.
    async fn tell(&mut self) {
        let now = Instant::now();
        let due: Vec<TenantId> =
            self.due.iter().filter(|(_, due)| due.at <= now).map(|(tenant, _)| tenant.clone()).collect();
        for tenant in due {
            let Some(Due { since, fading, .. }) = self.due.get(&tenant) else { continue };
            let slack = if *fading { FADE_SLACK } else { Duration::ZERO };
            let outcome = turn(&self.log, &tenant, since.elapsed() + slack).await;
            self.settle(tenant, outcome);
        }
    }

    fn settle(&mut self, tenant: TenantId, outcome: Result<Turn, LogError>) {
        let Some(due) = self.due.get_mut(&tenant) else { return };
        let failed = outcome.is_err();
        match outcome {
            Ok(Turn::Done) if !due.fading => {
                let at = due.since + FADE;
                *due = Due { since: at, at, fading: true };
            }
            Ok(Turn::Done | Turn::Absent) => _ = self.due.remove(&tenant),
            Ok(Turn::Wait(pause)) => due.at = Instant::now() + pause,
            Err(error) => {
                due.at = Instant::now() + RETRY;
                if !self.failing {
                    tracing::warn!(%error, "the metrics of chats cannot be told; trying again");
                }
            }
        }
        self.failing = failed;
    }
}

/// Waits for a time; for ever when there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Computes and tells in the transaction that holds the turn, so that a bridge that dies meanwhile has not taken it. The metrics are
/// asked for in a statement of their own, whose snapshot is behind the turn.
async fn turn(log: &Log, tenant: &TenantId, since: Duration) -> Result<Turn, LogError> {
    let mut client = log.pool().get().await?;
    let transaction = client.transaction().await?;
    let take = "select case when to_regprocedure('tidings_app.chat_metrics(text)') is not null
                  then coalesce(tidings._take_turn('chat.metrics', $1, $2, $3), -1) end from set_config('tidings.tenant', $1::text, true)";
    let statement = transaction.prepare_cached(take).await?;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&tenant.as_str(), &EVERY.as_secs_f64(), &since.as_secs_f64()];
    let wait_s = match transaction.query_one(&statement, &parameters).await?.get::<_, Option<f64>>(0) {
        None => return Ok(Turn::Absent),
        Some(wait_s) => wait_s,
    };
    if wait_s == 0.0 {
        return Ok(Turn::Done);
    } else if wait_s > 0.0 {
        return Ok(Turn::Wait(Duration::from_secs_f64(wait_s.min(EVERY.as_secs_f64()))));
    }
    let statement = transaction.prepare_cached("select tidings_app.chat_metrics($1)::text").await?;
    let metrics: Option<String> = transaction.query_one(&statement, &[&tenant.as_str()]).await?.get(0);
    // An empty audience is no user's: for admins.
    let tell = "select case when tidings._say('chat.metrics', $1, $2)
                  then tidings.emit($1, 'chat.metrics', $2::text::jsonb, null, '') end";
    let statement = transaction.prepare_cached(tell).await?;
    transaction.query_one(&statement, &[&tenant.as_str(), &metrics.unwrap_or_else(|| "{}".into())]).await?;
    transaction.commit().await?;
    Ok(Turn::Done)
}
