//! A durable consumer: reads every event that it wants from a cursor kept in the database, on one instance at a time.
//!
//! Place: beside the road, behind the log. Outgoing webhooks, e-mail and the responder are consumers: what they owe is
//! noted in the same transaction that moves the cursor, so an event is taken once whatever crashes, and never skipped
//! (`a_consumer_takes_each_event_once_whatever_crashes`).
//!
//! The lead is a lease: an instance that dies is replaced within [`LEASE`], one that ends in order at once. One that was
//! stopped and wakes up finds that its cursor does not move (`_move` says so) and takes nothing.
//!
//! Why the log and not a ring: the deliveries are written to the database anyway, and a cursor in the log outlives us.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::auth::Globs;
use crate::cursor::Cursor;
use crate::event::Event;
use crate::filter::Filter;
use crate::metrics::Metrics;
use crate::reading::{ReadError, Reading};
use crate::replay::{Log, LogError, Scope};
use crate::router::Router;

/// A dead leader is replaced after this.
pub const LEASE: Duration = Duration::from_secs(6);
/// A leader says that it is alive this often, and others ask whether it still is.
const RENEW: Duration = Duration::from_secs(2);
/// Events taken in one transaction.
const PAGE: usize = 200;
/// After the bell, so that what is committed together is read together.
const GATHER: Duration = Duration::from_millis(10);

/// What a consumer does with events.
pub trait Take: Send + Sync + 'static {
    /// Notes what they ask for, in the transaction that moves the cursor. Called again with the same events when that
    /// transaction failed.
    fn take(
        &self,
        transaction: &Transaction<'_>,
        events: &[Arc<Event>],
    ) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// A consumer's task.
pub struct Consumer<T> {
    /// Unique; its row in the database.
    pub name: String,
    /// The event types it wants.
    pub types: Globs,
    /// This bridge, among those that could lead.
    pub bridge: String,
    /// Where it reads.
    pub log: Log,
    /// Whose bell says that there may be something to read.
    pub router: Arc<Router>,
    /// Counts what retention took from it.
    pub metrics: Arc<Metrics>,
    /// What it does.
    pub take: T,
}

impl<T: Take> Consumer<T> {
    /// Leads when nobody else does, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        while cancel.run_until_cancelled(self.turn()).await.is_some() {
            // Jitter keeps instances that were started together apart.
            let pause = RENEW.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            cancel.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Asks for the lead; as long as it has it, takes what comes.
    async fn turn(&self) {
        match self.lead().await {
            Ok(Some(cursor)) => {
                if let Err(error) = self.follow(cursor).await {
                    tracing::warn!(consumer = self.name, %error, "a consumer stopped reading and will be tried again");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(consumer = self.name, %error, "no lead could be asked for"),
        }
    }

    async fn lead(&self) -> Result<Option<String>, LogError> {
        let client = self.log.pool().get().await?;
        let statement = client.prepare_cached("select tidings._lead($1, $2, $3)").await?;
        let lease = LEASE.as_secs_f64();
        // No row when another leads.
        let row = client.query_opt(&statement, &[&self.name, &self.bridge, &lease]).await?;
        Ok(row.and_then(|row| row.get(0)))
    }

    async fn follow(&self, cursor: String) -> Result<(), ReadError> {
        let mut bell = self.router.bell();
        let mut cursor = cursor.parse::<Cursor>().ok();
        let mut renewed = Instant::now();
        loop {
            bell.mark_unchanged();
            let mut reading = match Reading::begin(&self.log, &Scope::Every, cursor.take()).await {
                Err(ReadError::Gone(reset)) => {
                    tracing::error!(
                        consumer = self.name,
                        reason = reset.reason(),
                        "a consumer was away for longer than the log reaches back; it goes on with the oldest event there is"
                    );
                    self.metrics.consumer_gaps.inc();
                    Reading::begin(&self.log, &Scope::Every, None).await?
                }
                reading => reading?,
            };
            loop {
                let found = reading.read(&self.log, &Scope::Every, &self.filter(), PAGE).await?;
                // What it does not want moves the stored cursor with the lease only: that costs a write.
                let due = renewed.elapsed() >= RENEW;
                if (due || !found.events.is_empty()) && !self.note(&found.events, &found.cursor).await? {
                    return Ok(());
                }
                if due && !self.renew(&mut renewed).await? {
                    return Ok(());
                }
                let more = found.more;
                cursor = Some(found.cursor);
                if !more {
                    break;
                }
            }
            // Woken by: the bell, for an event · the time to renew the lease, which also reads what came without a bell.
            tokio::select! {
                _ = bell.changed() => sleep(GATHER).await,
                () = sleep(RENEW.saturating_sub(renewed.elapsed())) => {}
            }
        }
    }

    async fn renew(&self, renewed: &mut Instant) -> Result<bool, ReadError> {
        *renewed = Instant::now();
        Ok(self.lead().await?.is_some())
    }

    /// Notes what a page asks for and how far it reaches, both or neither. False: another leads.
    async fn note(&self, events: &[Arc<Event>], cursor: &Cursor) -> Result<bool, LogError> {
        let mut client = self.log.pool().get().await?;
        let transaction = client.transaction().await?;
        // First the row of the consumer: it is locked, so no other leader can take the same events meanwhile.
        let statement = transaction.prepare_cached("select tidings._move($1, $2, $3)").await?;
        let moved = transaction.query_one(&statement, &[&self.name, &self.bridge, &cursor.to_string()]).await?;
        if !moved.get::<_, bool>(0) {
            return Ok(false);
        }
        if !events.is_empty() {
            self.take.take(&transaction, events).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    fn filter(&self) -> Filter {
        Filter { allowed: Globs::any(), types: self.types.clone(), subject: None, user: None, tenants: None }
    }
}
