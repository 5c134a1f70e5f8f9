//! Attempts what consumers owe: takes due deliveries, at most so many at a time, and says how each went.
//!
//! Place: beside the road, behind [`consumer`](crate::consumer). Every instance attempts; `_take` hands a delivery to one
//! at a time. What it does not settle in time is due again: at least once, never not at all
//! (`every_event_reaches_a_webhook_whatever_is_killed`).
//!
//! Fair twice: each consumer has its own loop, so a dead endpoint holds up nobody else's
//! (`a_dead_endpoint_does_not_hold_up_another`); and within one, `_take` goes round the tenants, of which none gets more than
//! a part of what may be in flight (`one_tenant_s_thousand_does_not_hold_up_another_s_one`).
//!
//! Why a task per attempt, and not futures polled by the loop: while the loop waits for a connection of the pool, those that
//! hold one have to go on.

pub mod owing;
mod schedule;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, Went};
use crate::replay::{Log, LogError};
pub use schedule::Schedule;

/// Deliveries are made on other instances too, and retries become due in silence: looked for this often.
const POLL: Duration = Duration::from_secs(1);
/// An attempt that has used all its time still needs some to be settled, also when the pool is busy.
const SETTLE: Duration = Duration::from_secs(15);
/// Pauses before trying again to say how an attempt went. In vain: it is due again, and sent a second time.
const SETTLE_AGAIN: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4)];
/// A tenant gets this part of what may be in flight, so that four whose endpoints hang are needed to fill it.
const SHARE: usize = 4;
/// What is owed is counted this often, for the metrics: counting reads all of it.
const COUNT: Duration = Duration::from_secs(10);

/// What is to be delivered.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Its row.
    pub id: i64,
    /// The event's id.
    pub event: String,
    /// The recipient, where there are several.
    pub part: String,
    /// Whose event it is.
    pub tenant: String,
    /// The event's type.
    pub kind: String,
    /// What is sent.
    pub body: String,
    /// Counted from 1.
    pub attempt: i32,
}

/// How an attempt went. The reasons are kept and shown to operators: they hold nothing of the event, no secret, no URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived, or nobody wants it any more.
    Done,
    /// Others took its place in the database already.
    Split,
    /// It may arrive later, not before `after` where the receiver said so.
    Retry {
        /// Why it did not.
        why: String,
        /// What the receiver asked for.
        after: Option<Duration>,
    },
    /// It never will.
    GiveUp {
        /// Why not.
        why: String,
    },
}

impl Outcome {
    /// To be tried again when the schedule says.
    pub fn retry(why: impl Into<String>) -> Self {
        Self::Retry { why: why.into(), after: None }
    }

    /// Not to be tried again.
    pub fn give_up(why: impl Into<String>) -> Self {
        Self::GiveUp { why: why.into() }
    }
}

/// What makes an attempt.
pub trait Attempt: Send + Sync + 'static {
    /// One attempt. Dropped when its time is over.
    fn attempt(&self, delivery: &Delivery) -> impl Future<Output = Outcome> + Send;
}

/// The loop of one consumer.
pub struct Deliveries<A> {
    /// Whose deliveries.
    pub consumer: String,
    /// The database they are kept in.
    pub log: Log,
    /// Counts outcomes and what is owed.
    pub metrics: Arc<Metrics>,
    /// At the same time, in this process.
    pub in_flight: usize,
    /// An attempt is dropped after this.
    pub timeout: Duration,
    /// When to try again, and for how long.
    pub schedule: Schedule,
    /// Told by the consumer of this instance when something was noted.
    pub wake: Arc<Notify>,
    /// What makes an attempt.
    pub attempt: A,
}

/// What is in flight, in tasks that end with the loop.
#[derive(Default)]
struct Flying {
    /// Each gives the pause after which it is to be tried again.
    tasks: JoinSet<Option<Duration>>,
    /// Whose each is.
    tenants: HashMap<Id, String>,
    /// How many each tenant has.
    counts: HashMap<String, usize>,
}

impl Flying {
    fn add(&mut self, tenant: String, task: impl Future<Output = Option<Duration>> + Send + 'static) {
        *self.counts.entry(tenant.clone()).or_default() += 1;
        let id = self.tasks.spawn(task).id();
        self.tenants.insert(id, tenant);
    }

    /// Notes the end of one; how many its tenant had, it included, and its pause.
    fn remove(&mut self, ended: Result<(Id, Option<Duration>), JoinError>) -> (usize, Option<Duration>) {
        let (id, again) = ended.unwrap_or_else(|error| (error.id(), None));
        let tenant = self.tenants.remove(&id).unwrap_or_default();
        let count = self.counts.get(&tenant).copied().unwrap_or_default();
        match self.counts.get_mut(&tenant) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.counts.remove(&tenant)),
        }
        (count, again)
    }
}

impl<A: Attempt> Deliveries<A> {
    /// Delivers until `stop`, then ends what is in flight, until `kill`.
    pub async fn run(self, stop: CancellationToken, kill: CancellationToken) {
        let this = Arc::new(self);
        // Woken by: the end of all · the time being over.
        tokio::select! {
            ((), ()) = async { tokio::join!(this.clone().deliver(&stop), this.count(&stop)) } => {}
            () = kill.cancelled() => {}
        }
    }

    async fn deliver(self: Arc<Self>, stop: &CancellationToken) {
        let mut flying = Flying::default();
        let mut look_at = Instant::now();
        loop {
            let full = flying.tasks.len() >= self.in_flight;
            if Instant::now() >= look_at && !full && !stop.is_cancelled() {
                // What `_take` left out, because it goes round the tenants, it gives when it is asked again.
                if !self.clone().launch(&mut flying).await {
                    look_at = Instant::now() + POLL;
                }
                continue;
            }
            if stop.is_cancelled() && flying.tasks.is_empty() {
                return;
            }
            // Woken by: an attempt that ended, for the next · the consumer's note · the time to look · the end, which takes no more.
            tokio::select! {
                Some(ended) = flying.tasks.join_next_with_id() => {
                    let mut ended = Some(ended);
                    while let Some(one) = ended {
                        let (count, again) = flying.remove(one);
                        if full || count >= self.share() {
                            look_at = Instant::now();
                        } else if let Some(again) = again {
                            look_at = look_at.min(Instant::now() + again);
                        }
                        ended = flying.tasks.try_join_next_with_id();
                    }
                }
                () = self.wake.notified(), if !full => look_at = Instant::now(),
                () = sleep_until(look_at), if !full && !stop.is_cancelled() => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
    }

    /// Begins attempts at what is due. False: nothing is, that may be taken now.
    async fn launch(self: Arc<Self>, flying: &mut Flying) -> bool {
        match self.take(self.in_flight - flying.tasks.len(), &flying.counts).await {
            Ok(taken) if taken.is_empty() => false,
            Ok(taken) => {
                for (delivery, age) in taken {
                    let this = self.clone();
                    flying.add(delivery.tenant.clone(), async move { this.one(delivery, age).await });
                }
                true
            }
            Err(error) => {
                tracing::debug!(consumer = self.consumer, %error, "deliveries could not be taken");
                false
            }
        }
    }

    fn share(&self) -> usize {
        (self.in_flight / SHARE).max(1)
    }

    async fn take(&self, free: usize, by_tenant: &HashMap<String, usize>) -> Result<Vec<(Delivery, f64)>, LogError> {
        let share = self.share();
        let (busy, rest): (Vec<_>, Vec<_>) = by_tenant.iter().partition(|(_, count)| **count >= share);
        let busy: Vec<&str> = busy.into_iter().map(|(tenant, _)| tenant.as_str()).collect();
        let each = share - rest.into_iter().map(|(_, count)| *count).max().unwrap_or(0);
        let lease = (self.timeout + SETTLE).as_secs_f64();
        let client = self.log.pool().get().await?;
        let statement = client
            .prepare_cached(
                "select id, event, part, tenant, type, body, attempts, age from tidings._take($1, $2, $3, $4, $5)",
            )
            .await?;
        let rows = client.query(&statement, &[&self.consumer, &(free as i32), &lease, &busy, &(each as i32)]).await?;
        let delivery = |row: &tokio_postgres::Row| Delivery {
            id: row.get(0),
            event: row.get(1),
            part: row.get(2),
            tenant: row.get(3),
            kind: row.get(4),
            body: row.get(5),
            attempt: row.get(6),
        };
        Ok(rows.iter().map(|row| (delivery(row), row.get(7))).collect())
    }

    /// One attempt and its settling; the pause until the next.
    async fn one(&self, delivery: Delivery, age_s: f64) -> Option<Duration> {
        let began = Instant::now();
        let late = |_| Outcome::retry(format!("no answer within {} s", self.timeout.as_secs_f64()));
        let outcome = timeout(self.timeout, self.attempt.attempt(&delivery)).await.unwrap_or_else(late);
        let age = Duration::try_from_secs_f64(age_s.max(0.0)).unwrap_or_default() + began.elapsed();
        let (went, error, again) = self.judge(outcome, &delivery, age);
        self.metrics.delivery(&self.consumer, went);
        if went != Went::Split {
            self.settle(&delivery, error.as_deref(), again).await;
        }
        again
    }

    /// What is counted, kept as the reason, and when it is tried again.
    fn judge(&self, outcome: Outcome, delivery: &Delivery, age: Duration) -> (Went, Option<String>, Option<Duration>) {
        let (why, again) = match outcome {
            Outcome::Done => return (Went::Delivered, None, None),
            Outcome::Split => return (Went::Split, None, None),
            Outcome::GiveUp { why } => (why, None),
            Outcome::Retry { why, after } => (why, self.schedule.again(delivery.attempt, age, after)),
        };
        let (consumer, event, attempt) = (&self.consumer, &delivery.event, delivery.attempt);
        match again {
            Some(_) => tracing::debug!(consumer, event, attempt, why, "a delivery failed and will be tried again"),
            None => tracing::warn!(consumer, event, attempt, why, "a delivery was given up; see tidings.dead_letters"),
        }
        (if again.is_some() { Went::Retried } else { Went::GivenUp }, Some(why), again)
    }

    async fn settle(&self, delivery: &Delivery, error: Option<&str>, again: Option<Duration>) {
        let seconds = again.map(|again| again.as_secs_f64());
        let mut pauses = SETTLE_AGAIN.iter();
        while let Err(failed) = self.say(delivery, error, seconds).await {
            let Some(pause) = pauses.next() else {
                let consumer = &self.consumer;
                tracing::warn!(consumer, event = delivery.event, %failed, "how a delivery went could not be noted: it is repeated");
                return;
            };
            sleep(*pause).await;
        }
    }

    async fn say(&self, delivery: &Delivery, error: Option<&str>, seconds: Option<f64>) -> Result<(), LogError> {
        let client = self.log.pool().get().await?;
        let statement = client.prepare_cached("select tidings._settle($1, $2, $3, $4)").await?;
        client.execute(&statement, &[&delivery.id, &delivery.attempt, &error, &seconds]).await?;
        Ok(())
    }

    /// Keeps the gauges of what is owed.
    async fn count(&self, stop: &CancellationToken) {
        loop {
            if let Err(error) = self.counted().await {
                tracing::debug!(consumer = self.consumer, %error, "what is owed could not be counted");
            }
            if stop.run_until_cancelled(sleep(COUNT)).await.is_none() {
                return;
            }
        }
    }

    async fn counted(&self) -> Result<(), LogError> {
        let client = self.log.pool().get().await?;
        let sql = "select owed, dead, coalesce(extract(epoch from now() - oldest_owed_at), 0)::bigint from tidings.consumers where consumer = $1";
        if let Some(row) = client.query_opt(&client.prepare_cached(sql).await?, &[&self.consumer]).await? {
            self.metrics.owed(&self.consumer, row.get(0), row.get(1), row.get(2));
        }
        Ok(())
    }
}
