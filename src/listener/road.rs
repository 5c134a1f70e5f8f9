//! The loop of one listening connection: hears, dispatches, reads from the log what a notification only names, and keeps
//! checkpoints going.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::session::Heard;
use super::{ListenError, Listener, Session};
use crate::cursor::Stamp;
use crate::decode::{Checkpoint, DecodeError, Payload, Reference, decode, plain};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::refrain::Refrain;
use crate::replay::{Log, LogError, Page, Portion, Scope};

/// Notifications heard before subscribers are woken, once for all of them.
const BURST: usize = 256;
/// What is caught up with at a time, so that the connection is looked at in between.
const PAGE: Portion = Portion { rows: 2000, bytes: 16 << 20 };
/// The pause before the log is read again when that failed: a server that restarts is away for a second or two.
const READ_AGAIN: Duration = Duration::from_millis(500);
/// While a slow network brings notifications, the checkpoint behind them has so many times `checkpoint_timeout`. Not for ever:
/// the notifications could be those of a server that was replaced.
const PATIENCE: u32 = 10;

type Job<T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send>>;

/// What is read from the log while notifications wait.
#[derive(Clone)]
enum Reading {
    /// Events that were too large or too many for a notification.
    Reference(Reference),
    /// Everything since the last checkpoint that was not heard; up to now, or to a later checkpoint.
    Gap(Option<Arc<Stamp>>),
}

/// Everything that can wake the loop.
enum Wake {
    Heard(Result<Option<Heard>, ListenError>),
    Page(Result<(Reading, Page), LogError>),
    Counted(Result<u64, LogError>),
    Sent(Result<(), LogError>),
    Tick,
}

/// One connection's life, and what it is doing.
pub(super) struct Road<'a> {
    listener: &'a Listener,
    session: &'a mut Session,
    refrain: &'a Refrain,
    /// What is being read behind which eid, while later notifications wait, and its page.
    reading: Option<(Reading, u64)>,
    page: Option<Job<(Reading, Page)>>,
    /// A checkpoint that has arrived, and the count of what the log holds up to it.
    audit: Option<(Arc<Stamp>, Job<u64>)>,
    sending: Option<Job<()>>,
    /// Token of the last checkpoint sent, and of the last one that came back.
    sent: i64,
    answered: i64,
    /// Since when an answer is due, however often it was asked for again.
    due_since: Option<Instant>,
    /// The last could not be sent, or nobody knows whether it was.
    failed: bool,
    /// When anything was last heard on this connection.
    heard_at: Instant,
    /// Whether the gap being read is one that an audit found.
    auditing: bool,
}

impl<'a> Road<'a> {
    pub(super) fn new(listener: &'a Listener, session: &'a mut Session, refrain: &'a Refrain) -> Self {
        let now = Instant::now();
        Self {
            listener,
            session,
            refrain,
            reading: None,
            page: None,
            audit: None,
            sending: None,
            sent: 0,
            answered: 0,
            due_since: None,
            failed: false,
            heard_at: now,
            auditing: false,
        }
    }

    /// Runs until the connection is lost; says why.
    pub(super) async fn run(mut self, held: &mut Option<Ledger>) -> ListenError {
        let pid = self.session.pid;
        self.listener.tell(|health| (health.pid, health.beat) = (Some(pid), Instant::now()));
        // Two or three questions to the log, on a connection that may have to be made.
        let limit = self.listener.settings.connect_timeout + self.listener.settings.checkpoint_timeout;
        match timeout(limit, self.session.drive(self.listener.prepare(held))).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error)) | Err(error)) => return error,
            Err(_) => return ListenError::Silent(limit),
        }
        let Some(ledger) = held.as_mut() else { return ListenError::Closed };
        tracing::info!(pid, "listening");
        self.read(ledger, Reading::Gap(None), 0);
        let mut ticks = interval(self.listener.settings.checkpoint_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Woken by: a message on the listening connection · a page of the log · the count of an audit · a checkpoint
            // that was sent · the tick. All are cancel safe: what is in progress stays in self.
            let wake = tokio::select! {
                heard = self.session.hear() => Wake::Heard(heard),
                page = finish(&mut self.page) => Wake::Page(page),
                count = count(&mut self.audit) => Wake::Counted(count),
                sent = finish(&mut self.sending) => Wake::Sent(sent),
                _ = ticks.tick() => Wake::Tick,
            };
            if let Err(error) = self.handle(ledger, wake) {
                return error;
            }
            self.listener.router.wake();
        }
    }

    fn handle(&mut self, ledger: &mut Ledger, wake: Wake) -> Result<(), ListenError> {
        match wake {
            Wake::Heard(heard) => {
                self.hear(heard?);
                self.hear_burst()?;
                self.dispatch_heard(ledger);
            }
            Wake::Page(Ok((reading, page))) => self.take_page(ledger, reading, page),
            Wake::Page(Err(error)) => {
                if let Some(unsaid) = self.trouble(&error) {
                    tracing::warn!(%error, unsaid, "the log cannot be read; events wait for it");
                }
                self.listener.tell(|health| health.caught_up = false);
                if let Some((reading, last)) = self.reading.take() {
                    self.read_after(ledger, reading, last, READ_AGAIN);
                }
            }
            Wake::Counted(Ok(in_log)) => self.settle(ledger, in_log),
            Wake::Counted(Err(error)) => {
                // The next checkpoint brings the next audit.
                self.audit = None;
                if let Some(unsaid) = self.trouble(&error) {
                    tracing::warn!(%error, unsaid, "an audit could not read the log");
                }
            }
            Wake::Sent(Ok(())) => {}
            Wake::Sent(Err(error)) => {
                if let Some(unsaid) = self.trouble(&error) {
                    tracing::warn!(%error, unsaid, "a checkpoint could not be sent");
                }
                self.failed = true;
                // Where PostgreSQL refused it, nothing needs to come back.
                if error.sqlstate().is_some() {
                    self.due_since = None;
                }
            }
            Wake::Tick => {
                if self.sent == self.answered || self.failed {
                    self.send_checkpoint();
                }
                self.check_silence(ledger)?;
            }
        }
        Ok(())
    }

    /// Reads what has come, up to a burst.
    fn hear_burst(&mut self) -> Result<(), ListenError> {
        for _ in 0..BURST {
            match self.session.hear_now() {
                Poll::Ready(heard) => self.hear(heard?),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Gives the connection up when the answer is due. What has come while this process was stopped is read first.
    fn check_silence(&mut self, ledger: &mut Ledger) -> Result<(), ListenError> {
        let limit = self.listener.settings.checkpoint_timeout;
        if self.due_since.is_none_or(|since| since.elapsed() <= limit) {
            return Ok(());
        }
        self.hear_burst()?;
        self.dispatch_heard(ledger);
        match self.due_since.map(|since| since.elapsed()) {
            Some(due) if self.heard_at.elapsed() > limit || due > limit * PATIENCE => Err(ListenError::Silent(due)),
            _ => Ok(()),
        }
    }

    /// Trouble with the database that is none of the listening connection.
    /// Notes it for `/readyz`; how often it was not said, where it is to be said now.
    fn trouble(&self, error: &LogError) -> Option<u64> {
        self.listener.tell(|health| health.trouble = Some(error.in_short()));
        self.refrain.say(error.in_short())
    }

    /// A checkpoint of ours proves the connection alive when it is heard, however long it then waits its turn.
    fn hear(&mut self, heard: Option<Heard>) {
        self.heard_at = Instant::now();
        // On a plain channel anybody may say so.
        let ours = heard.as_ref().filter(|heard| heard.channel.is_none()).map(|heard| heard.payload.as_str());
        if let Some(Ok(Payload::Checkpoint(found))) = ours.filter(|p| p.starts_with("{\"checkpoint\"")).map(|p| decode(p, 0))
            && found.bridge == self.listener.bridge
            // One that an earlier connection sent has a token of its own count.
            && found.token == self.sent
        {
            if let Some(sent) = self.due_since.take() {
                self.listener.metrics.round_trip.set(sent.elapsed().as_secs_f64());
            }
            self.answered = self.sent;
            self.listener.tell(|health| health.beat = self.heard_at);
        }
        self.session.keep(heard);
    }

    /// Dispatches what was heard, up to the next thing that must be read from the log first.
    fn dispatch_heard(&mut self, ledger: &mut Ledger) {
        while self.page.is_none() {
            let Some(Heard { channel, payload }) = self.session.next() else { break };
            self.listener.metrics.notifications.inc();
            if let Some(channel) = channel {
                self.dispatch_plain(ledger, &channel, &payload);
                continue;
            }
            let number = self.listener.live.fetch_add(1, Ordering::Relaxed);
            match decode(&payload, number) {
                Ok(Payload::Event(event)) => {
                    self.listener.dispatch(ledger, event);
                }
                Ok(Payload::Reference(reference)) => self.read(ledger, Reading::Reference(reference), 0),
                Ok(Payload::Checkpoint(found)) => self.arrive(ledger, found),
                Err(error) => self.skip(None, &error),
            }
        }
    }

    /// What came on a plain channel happened when it was heard, and is told now or never.
    fn dispatch_plain(&self, ledger: &mut Ledger, channel: &plain::Channel, payload: &str) {
        let now_us = jiff::Timestamp::now().as_microsecond();
        let number = self.listener.live.fetch_add(1, Ordering::Relaxed);
        match plain::decode(channel, payload, now_us, number) {
            Ok(event) => _ = self.listener.dispatch(ledger, event),
            Err(error) => self.skip(Some(&channel.name), &error),
        }
    }

    fn skip(&self, channel: Option<&str>, error: &DecodeError) {
        let skipped = self.listener.metrics.undecodable(channel.is_some());
        // Anybody may send to a plain channel, so the log must not grow with what is sent.
        if channel.is_none() || skipped.is_power_of_two() {
            tracing::warn!(%error, channel = channel.unwrap_or("ours"), skipped, "a notification was skipped");
        }
    }

    /// Everything that notified before this checkpoint has been dispatched. Whether that is everything, the log says.
    /// One that a gap's reading has overtaken meanwhile, or that an earlier connection sent, says nothing new.
    fn arrive(&mut self, ledger: &Ledger, found: Checkpoint) {
        if found.bridge == self.listener.bridge && self.audit.is_none() && !ledger.is_past(&found.cursor) {
            let stamp = Arc::new(found.cursor);
            let (log, from, to) = (self.listener.log.clone(), ledger.base().clone(), stamp.clone());
            self.audit = Some((stamp, Box::pin(async move { log.count(&from.base, &to.base).await })));
        }
    }

    fn settle(&mut self, ledger: &mut Ledger, in_log: u64) {
        let Some((stamp, _)) = self.audit.take() else { return };
        let seen = ledger.seen_by(&stamp);
        self.listener.metrics.behind.set(i64::try_from(in_log.saturating_sub(seen)).unwrap_or(i64::MAX));
        if seen == in_log {
            self.advance(ledger, stamp);
        } else if self.page.is_none() {
            self.auditing = true;
            self.read(ledger, Reading::Gap(Some(stamp)), 0);
        }
        // With a page being read, the next checkpoint will tell.
    }

    /// Begins or goes on to read, behind eid `last`.
    fn read(&mut self, ledger: &Ledger, reading: Reading, last: u64) {
        self.read_after(ledger, reading, last, Duration::ZERO);
    }

    fn read_after(&mut self, ledger: &Ledger, reading: Reading, last: u64, pause: Duration) {
        let (log, from, read) = (self.listener.log.clone(), ledger.base().clone(), reading.clone());
        self.reading = Some((reading, last));
        self.page = Some(Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            match read {
                Reading::Reference(reference) => {
                    Ok((Reading::Reference(reference), log.referenced(reference, last, PAGE).await?))
                }
                Reading::Gap(to) => {
                    let to = match to {
                        Some(to) => to,
                        None => Arc::new(log.now().await?),
                    };
                    let page = log.page(&Scope::Every, &from.base, &to.base, last, PAGE).await?;
                    Ok((Reading::Gap(Some(to)), page))
                }
            }
        }));
    }

    fn take_page(&mut self, ledger: &mut Ledger, reading: Reading, page: Page) {
        let last = page.events.last().map_or(0, |event| event.number());
        let found =
            page.events.into_iter().filter(|event| self.listener.dispatch(ledger, event.clone())).count() as u64;
        if matches!(reading, Reading::Gap(_)) {
            let counter = if self.auditing { &self.listener.metrics.audited } else { &self.listener.metrics.caught_up };
            counter.inc_by(found);
        }
        match reading {
            reading if page.more => self.read(ledger, reading, last),
            Reading::Gap(Some(to)) => {
                self.auditing = false;
                self.audit = None;
                self.advance(ledger, to);
            }
            _ => {}
        }
        if self.page.is_none() && self.session.take_overflow() {
            self.read(ledger, Reading::Gap(None), 0);
        }
        self.dispatch_heard(ledger);
    }

    fn advance(&self, ledger: &mut Ledger, stamp: Arc<Stamp>) {
        ledger.advance(stamp.clone());
        self.listener.router.checkpoint(&stamp);
        self.listener.tell(|health| {
            (health.caught_up, health.reached) = (true, Some(Instant::now()));
        });
        // A database that can be read and takes no checkpoint is still in trouble.
        let beats = self.sent == self.answered && self.sent > 0;
        if beats && let Some(lasted) = self.refrain.over() {
            self.listener.tell(|health| health.trouble = None);
            tracing::info!(lasted_ms = lasted.as_millis() as u64, "listening and caught up again");
        }
    }

    fn send_checkpoint(&mut self) {
        (self.sent, self.failed) = (self.sent + 1, false);
        self.due_since.get_or_insert_with(Instant::now);
        let (log, bridge, pid, token) =
            (self.listener.log.clone(), self.listener.bridge.clone(), self.session.pid, self.sent);
        let metrics = self.listener.metrics.clone();
        self.sending = Some(Box::pin(async move { checkpoint(&log, &bridge, pid, token, &metrics).await }));
    }
}

/// Asks for the database's time first: what commits takes a while, and the answer says nothing of when it was made.
async fn checkpoint(log: &Log, bridge: &str, pid: i32, token: i64, metrics: &Metrics) -> Result<(), LogError> {
    let client = log.pool().get().await?;
    let clock = client.prepare_cached("select (extract(epoch from clock_timestamp()) * 1000000)::bigint").await?;
    let asked = Instant::now();
    let said_us = client.query_one(&clock, &[]).await?.get(0);
    metrics.latency.clock.told(asked, said_us, Instant::now());
    let statement = client.prepare_cached("select tidings._checkpoint($1, $2, $3, $4, tidings.cursor())").await?;
    client.execute(&statement, &[&bridge, &pid, &env!("CARGO_PKG_VERSION"), &token]).await?;
    Ok(())
}

/// Waits for a job and clears it; for ever when there is none.
async fn finish<T>(job: &mut Option<Job<T>>) -> Result<T, LogError> {
    match job {
        Some(running) => {
            let done = running.await;
            *job = None;
            done
        }
        None => std::future::pending().await,
    }
}

/// Waits for the count of an audit; for ever when there is none.
async fn count(audit: &mut Option<(Arc<Stamp>, Job<u64>)>) -> Result<u64, LogError> {
    match audit {
        Some((_, job)) => job.await,
        None => std::future::pending().await,
    }
}
