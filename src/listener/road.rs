//! The loop of one listening connection: hears, dispatches, reads from the log what a notification only names, and keeps
//! checkpoints going.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use tokio::time::{MissedTickBehavior, interval};

use super::session::Heard;
use super::{ListenError, Listener, Session};
use crate::cursor::Stamp;
use crate::decode::{Checkpoint, DecodeError, Payload, Reference, decode, plain};
use crate::ledger::Ledger;
use crate::listener::Health;
use crate::replay::{Log, LogError, Page, Scope};

/// Notifications heard before subscribers are woken, once for all of them.
const BURST: usize = 256;
const PAGE: usize = 2000;

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
    /// The page being read, while later notifications wait.
    page: Option<Job<(Reading, Page)>>,
    /// A checkpoint that has arrived, and the count of what the log holds up to it.
    audit: Option<(Arc<Stamp>, Job<u64>)>,
    sending: Option<Job<()>>,
    /// Token of the last checkpoint sent, and of the last one that came back.
    sent: i64,
    answered: i64,
    sent_at: Instant,
    /// Whether the gap being read is one that an audit found.
    auditing: bool,
}

impl<'a> Road<'a> {
    pub(super) fn new(listener: &'a Listener, session: &'a mut Session) -> Self {
        let sent_at = Instant::now();
        Self {
            listener,
            session,
            page: None,
            audit: None,
            sending: None,
            sent: 0,
            answered: 0,
            sent_at,
            auditing: false,
        }
    }

    /// Runs until the connection is lost; says why.
    pub(super) async fn run(mut self, held: &mut Option<Ledger>) -> ListenError {
        if let Ok(Err(error)) | Err(error) = self.session.drive(self.listener.prepare(held)).await {
            return error;
        }
        let Some(ledger) = held.as_mut() else { return ListenError::Closed };
        tracing::info!(pid = self.session.pid, "listening");
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
                for _ in 0..BURST {
                    match self.session.hear_now() {
                        Poll::Ready(heard) => self.hear(heard?),
                        Poll::Pending => break,
                    }
                }
                self.dispatch_heard(ledger);
            }
            Wake::Page(page) => {
                let (reading, page) = page?;
                self.take_page(ledger, reading, page);
            }
            Wake::Counted(in_log) => self.settle(ledger, in_log?),
            Wake::Sent(Ok(())) => {}
            Wake::Sent(Err(error)) => tracing::warn!(%error, "a checkpoint could not be sent"),
            Wake::Tick if self.sent == self.answered => self.send_checkpoint(),
            Wake::Tick => {
                let limit = self.listener.settings.checkpoint_timeout;
                if self.sent_at.elapsed() > limit {
                    return Err(ListenError::Silent(limit));
                }
            }
        }
        Ok(())
    }

    /// A checkpoint of ours proves the connection alive when it is heard, however long it then waits its turn.
    fn hear(&mut self, heard: Option<Heard>) {
        // On a plain channel anybody may say so.
        let ours = heard.as_ref().filter(|heard| heard.channel.is_none()).map(|heard| heard.payload.as_str());
        if let Some(Ok(Payload::Checkpoint(found))) = ours.filter(|p| p.starts_with("{\"checkpoint\"")).map(|p| decode(p, 0))
            && found.bridge == self.listener.bridge
            // One that an earlier connection sent has a token of its own count.
            && found.token == self.sent
        {
            self.answered = self.sent;
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
        let skipped = self.listener.metrics.undecodable.inc() + 1;
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
        if ledger.seen_by(&stamp) == in_log {
            self.advance(ledger, stamp);
        } else if self.page.is_none() {
            self.auditing = true;
            self.read(ledger, Reading::Gap(Some(stamp)), 0);
        }
        // With a page being read, the next checkpoint will tell.
    }

    /// Begins or goes on to read, behind eid `last`.
    fn read(&mut self, ledger: &Ledger, reading: Reading, last: u64) {
        let (log, from) = (self.listener.log.clone(), ledger.base().clone());
        self.page = Some(Box::pin(async move {
            match reading {
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
        self.listener.health.send_replace(Health {
            caught_up: true,
            pid: Some(self.session.pid),
            reached: Some(Instant::now()),
        });
    }

    fn send_checkpoint(&mut self) {
        (self.sent, self.sent_at) = (self.sent + 1, Instant::now());
        let (log, bridge, pid, token) =
            (self.listener.log.clone(), self.listener.bridge.clone(), self.session.pid, self.sent);
        self.sending = Some(Box::pin(async move { checkpoint(&log, &bridge, pid, token).await }));
    }
}

async fn checkpoint(log: &Log, bridge: &str, pid: i32, token: i64) -> Result<(), LogError> {
    let client = log.pool().get().await?;
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
