//! A durable consumer: reads every event that it wants from a cursor kept in the database, on one instance at a time.
//!
//! Place: beside the road, behind the log. Outgoing webhooks, e-mail and the responder are consumers: what they owe is
//! noted in the same transaction that moves the cursor, so an event is taken once whatever crashes, and never skipped
//! (`a_consumer_takes_each_event_once_whatever_crashes`).
//!
//! The lead is a lease: an instance that dies is replaced within [`LEASE`], one that ends in order at once. One that was
//! stopped and wakes up finds that its cursor does not move (`_move` says so) and takes nothing; it keeps the lead only
//! where nobody had it since (`_renew` says so), else it asks anew, for the lead and the place
//! (`a_leader_that_was_stopped_and_wakes_up_takes_nothing_twice`).
//!
//! Why the log and not a ring: the deliveries are written to the database anyway, and a cursor in the log outlives us.
//!
//! Why another history does not make it start over, as it makes clients: its cursor lies in the database whose log it
//! reads. Whatever a promotion or a restore took back, it took back from both
//! (`a_consumer_goes_on_where_it_was_after_a_promotion`).

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::auth::Globs;
use crate::cursor::{Base, Cursor};
use crate::event::Event;
use crate::filter::Filter;
use crate::metrics::Metrics;
use crate::reading::{ReadError, Reading};
use crate::replay::{Log, LogError, Reset, Scope};
use crate::router::Router;

/// A dead leader is replaced after this.
pub const LEASE: Duration = Duration::from_secs(6);
/// A leader says that it is alive this often: two of them may be late.
const RENEW: Duration = Duration::from_secs(2);
/// Others ask this often, at most, whether it still is: one read of one row.
const ASK: Duration = Duration::from_secs(1);
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

    /// That transaction was committed: whoever does what was noted may begin.
    fn noted(&self) {}
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
            let pause = ASK.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            cancel.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Asks for the lead; as long as it has it, takes what comes.
    async fn turn(&self) {
        match self.lead().await {
            Ok(Some(cursor)) => {
                tracing::info!(consumer = self.name, "reading for this consumer");
                match self.follow(&cursor).await {
                    Ok(()) => tracing::info!(consumer = self.name, "another instance reads for this consumer"),
                    Err(error) => {
                        tracing::warn!(consumer = self.name, %error, "a consumer stopped reading and will be tried again");
                    }
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(consumer = self.name, %error, "no lead could be asked for"),
        }
    }

    async fn lead(&self) -> Result<Option<String>, LogError> {
        let client = self.log.pool().get().await?;
        let statement = client.prepare_cached("select tidings._lead($1, $2, $3)").await?;
        // Null when another leads.
        Ok(client.query_one(&statement, &[&self.name, &self.bridge, &LEASE.as_secs_f64()]).await?.get(0))
    }

    /// Takes what comes, until another leads.
    async fn follow(&self, stored: &str) -> Result<(), ReadError> {
        let mut bell = self.router.bell();
        let mut cursor = stored.parse::<Cursor>().ok();
        // What had been seen when retention took the rest: the log may still hold some of it.
        let mut seen: Option<Base> = None;
        let mut renewed = Instant::now();
        loop {
            bell.mark_unchanged();
            let mut reading = self.begin(cursor.take(), &mut seen).await?;
            loop {
                let mut found = reading.read(&self.log, &Scope::Every, &self.filter(), PAGE).await?;
                if let Some(seen) = &seen {
                    found.events.retain(|event| event.key().is_none_or(|key| seen.unseen(key.xid, key.eid)));
                }
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

    /// A reading behind the cursor; where retention was faster, of all there is, and `seen` says what of it was taken before.
    async fn begin(&self, cursor: Option<Cursor>, seen: &mut Option<Base>) -> Result<Reading, ReadError> {
        let behind = match Reading::begin(&self.log, &Scope::Every, cursor.clone()).await {
            Err(ReadError::Gone(Reset::History)) => {
                let epoch = self.log.now().await?.epoch;
                Reading::begin(&self.log, &Scope::Every, cursor.clone().map(|cursor| cursor.of_history(epoch))).await
            }
            reading => reading,
        };
        let Err(ReadError::Gone(reset)) = behind else { return behind };
        tracing::error!(
            consumer = self.name,
            reason = reset.reason(),
            "events were removed from the log before this consumer had taken them; it goes on with the oldest that are left"
        );
        self.metrics.consumer_gaps.inc();
        // Numbers of another cluster's transactions mean nothing here; its log was left behind as well.
        *seen = cursor.filter(|_| reset == Reset::Unknown).and_then(Cursor::into_base);
        Reading::begin(&self.log, &Scope::Every, None).await
    }

    async fn renew(&self, renewed: &mut Instant) -> Result<bool, LogError> {
        *renewed = Instant::now();
        let client = self.log.pool().get().await?;
        let statement = client.prepare_cached("select tidings._renew($1, $2, $3)").await?;
        Ok(client.query_one(&statement, &[&self.name, &self.bridge, &LEASE.as_secs_f64()]).await?.get(0))
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
        if !events.is_empty() {
            self.take.noted();
        }
        Ok(true)
    }

    fn filter(&self) -> Filter {
        Filter { allowed: Globs::any(), types: self.types.clone(), subject: None, user: None, tenants: None }
    }
}

/// Ends the leases of a bridge that shuts down, so that another takes over at once.
pub async fn give_back(log: &Log, bridge: &str) {
    let given = async {
        let client = log.pool().get().await?;
        client.execute("select tidings._yield($1)", &[&bridge]).await?;
        Ok::<_, LogError>(())
    };
    if let Err(error) = given.await {
        tracing::warn!(%error, "the leads of this instance could not be given back; others take them when they lapse");
    }
}
