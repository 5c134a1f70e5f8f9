//! A subscriber is a position in a ring: it wakes, filters and takes what is new, as bytes ready for its socket.
//!
//! Place on the road: between a ring and one SSE stream or WebSocket subscription; one task polls it.
//!
//! Invariants: what was unseen comes before anything newer (`a_resume_sends_the_past_before_the_present`), each event
//! once while connected (`every_event_is_delivered_once_and_500_resumes_lose_none`), and a gap is told before any newer
//! event (`a_cursor_outside_retention_is_told_reset_first`).
//!
//! Events that are not in the log (of plain channels) are for whoever is there: one that came before the subscription is
//! over, and one that fell off the ring unread is gone. They are passed without becoming a cursor
//! (`a_reconnect_resumes_from_the_last_event_of_the_log`).

mod replay;

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::replay::{From, Pending, Replay};
use crate::auth::Globs;
use crate::cursor::{Base, Cursor, Stamp};
use crate::disconnect::Disconnect;
use crate::event::Event;
use crate::filter::{Filter, Sent};
use crate::replay::{Log, LogError, Reset, Scope};
use crate::ring::{Encoding, Read, Ring, Waiter};
use crate::router::Router;

/// What a subscriber has for its socket.
#[derive(Debug)]
pub enum Delivery {
    /// Bytes of this many events, in order; none when only the position moved. And the oldest of them, unless it came before the
    /// subscription or from the log.
    Events(Vec<Bytes>, u64, Option<Arc<Event>>),
    /// The client must fetch its state again; what follows is newer than this cursor.
    Reset(Reset, Cursor),
    /// The connection is to be ended.
    End(Disconnect),
}

/// How a subscription began: the content of `hello` and `subscribed`.
#[derive(Debug)]
pub struct Opening {
    /// Whether it goes on from the client's cursor.
    pub resumed: bool,
    /// Where it stands.
    pub cursor: Cursor,
}

/// A position in a ring, a filter, and what is still to be read from the log.
pub struct Subscriber {
    scope: Scope,
    filter: Filter,
    encoding: Encoding,
    log: Log,
    ring: Arc<Ring>,
    waiter: Waiter,
    position: u64,
    opened_at: u64,
    /// What lies before this position came before the subscription.
    live_from: u64,
    /// Events that this had seen are skipped on the ring, until a checkpoint has made it superfluous.
    base: Option<Base>,
    /// What the client has seen, at least.
    cursor: Option<Cursor>,
    /// The last event of the log that was passed on the ring, unless a checkpoint was passed since.
    last: Option<Arc<Event>>,
    state: State,
    slow_after: Duration,
    behind_since: Option<Instant>,
}

enum State {
    Live,
    Telling(Reset, Cursor),
    Replaying(Box<Replay>),
    Resetting(Reset, u64, Pending<Stamp>),
}

/// What a subscription is opened with.
#[derive(Clone)]
pub struct Request {
    /// Whose events.
    pub scope: Scope,
    /// Which of them.
    pub filter: Filter,
    /// As which bytes.
    pub encoding: Encoding,
    /// After what.
    pub after: Option<Cursor>,
}

impl Subscriber {
    /// Finds the position. Reads the log only when the ring cannot answer for the cursor.
    pub async fn open(
        router: &Router,
        log: &Log,
        request: Request,
        slow_after: Duration,
    ) -> Result<(Self, Opening), LogError> {
        let Request { scope, filter, encoding, after } = request;
        let ring = router.ring_of(&scope);
        let head = ring.head();
        let mut subscriber = Self {
            waiter: Waiter::new(ring.clone()),
            position: head,
            opened_at: head,
            live_from: head,
            base: None,
            cursor: after.clone(),
            last: None,
            state: State::Live,
            behind_since: None,
            scope,
            filter,
            encoding,
            log: log.clone(),
            ring,
            slow_after,
        };
        let Some(cursor) = after else {
            let cursor = match subscriber.ring.cursor_at(head) {
                Some(cursor) => cursor,
                None => Cursor::Snapshot(log.now().await?),
            };
            subscriber.cursor = Some(cursor.clone());
            return Ok((subscriber, Opening { resumed: false, cursor }));
        };
        match subscriber.resolve(router, &cursor).await? {
            Ok(()) => Ok((subscriber, Opening { resumed: true, cursor })),
            Err(reset) => {
                let now = subscriber.reset(reset).await?;
                Ok((subscriber, Opening { resumed: false, cursor: now }))
            }
        }
    }

    async fn resolve(&mut self, router: &Router, cursor: &Cursor) -> Result<Result<(), Reset>, LogError> {
        let on_ring = match cursor {
            Cursor::Event(key) => self.ring.find(*key).and_then(|event| event.base()),
            Cursor::Snapshot(stamp) => {
                let same_history = self.ring.newest_mark().is_some_and(|mark| mark.epoch == stamp.epoch);
                (same_history && router.knows(stamp.base.newest)).then(|| stamp.base.clone())
            }
            Cursor::Page { .. } => None,
        };
        let base = match on_ring {
            Some(base) => base,
            None => {
                let _turn = self.log.turn(&self.scope).await;
                match self.log.resolve(&self.scope, cursor).await? {
                    Ok(base) => base,
                    Err(reset) => return Ok(Err(reset)),
                }
            }
        };
        match (cursor, self.ring.covering(&base)) {
            (Cursor::Page { from, to, last }, _) => {
                let to = Stamp { epoch: from.epoch.clone(), base: to.clone() };
                self.replay(From::Base(base), Some(to), *last, HashSet::new());
            }
            (_, Some(start)) => {
                (self.position, self.opened_at) = (start, start);
                self.base = Some(base);
            }
            _ => self.replay(From::Base(base), None, 0, HashSet::new()),
        }
        Ok(Ok(()))
    }

    async fn reset(&mut self, reset: Reset) -> Result<Cursor, LogError> {
        self.position = self.ring.head();
        let _turn = self.log.turn(&self.scope).await;
        let now = self.log.now().await?;
        self.base = Some(now.base.clone());
        let now = Cursor::Snapshot(now);
        self.cursor = Some(now.clone());
        self.state = State::Telling(reset, now.clone());
        Ok(now)
    }

    /// Replaces what the credential allows.
    pub fn set_rights(&mut self, rights: &Filter) {
        self.filter.allowed = rights.allowed.clone();
        self.filter.user = rights.user.clone();
        self.filter.tenants = rights.tenants.clone();
    }

    /// Replaces what the client asked for.
    pub fn set_types(&mut self, types: Globs) {
        self.filter.types = types;
    }

    /// Whose events it shows.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether it reads the same ring as the other, live, and stands before it: then it goes first, or events of one row
    /// that different subscriptions show would leave their order.
    pub fn is_behind(&self, other: &Self) -> bool {
        let live = matches!(self.state, State::Live) && matches!(other.state, State::Live);
        live && Arc::ptr_eq(&self.ring, &other.ring) && self.position < other.position
    }

    /// Numbers of what it has sent and the ring still holds.
    pub fn sent(&self) -> Vec<u64> {
        let held = self.position.saturating_sub(self.opened_at) as usize;
        match self.ring.events(self.opened_at.max(self.ring.start()), held) {
            Read::Some(events, _) => {
                events.iter().filter(|event| self.filter.admits(event)).map(|event| event.number()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A cursor for all that was handed out so far, to be handed out by a heartbeat. None in the middle of a replay,
    /// whose last event stays the client's cursor.
    pub fn heartbeat(&mut self) -> Option<Cursor> {
        if !matches!(self.state, State::Live) {
            return None;
        }
        if self.base.is_none()
            && let Some(cursor) = self.ring.cursor_at(self.position)
        {
            if matches!(cursor, Cursor::Snapshot(_)) {
                self.last = None;
            }
            self.cursor = Some(cursor);
        }
        self.cursor.clone()
    }

    /// The next bytes. Pending until something comes; the caller polls again after each delivery.
    /// With `sent`, what is in there is left out and the rest goes in, and the ring is read one event at a time, so that
    /// several subscriptions of a connection can keep step: see [`Self::is_behind`].
    pub fn poll_delivery(&mut self, cx: &mut Context<'_>, mut sent: Option<&mut Sent>) -> Poll<Delivery> {
        loop {
            match &mut self.state {
                State::Live => {
                    if let Some(delivery) = ready!(self.poll_ring(cx, sent.as_deref_mut())) {
                        return Poll::Ready(delivery);
                    }
                }
                State::Telling(..) => {
                    if let State::Telling(reset, cursor) = std::mem::replace(&mut self.state, State::Live) {
                        return Poll::Ready(Delivery::Reset(reset, cursor));
                    }
                }
                State::Replaying(_) => {
                    if let Some(delivery) = ready!(self.poll_replay(cx, sent.as_deref_mut())) {
                        return Poll::Ready(delivery);
                    }
                }
                State::Resetting(..) => return self.poll_reset(cx),
            }
        }
    }

    fn poll_ring(&mut self, cx: &mut Context<'_>, mut sent: Option<&mut Sent>) -> Poll<Option<Delivery>> {
        self.waiter.register(cx);
        if sent.is_none() && self.base.is_none() && self.filter.is_open() {
            match self.ring.joined(self.position, self.encoding) {
                Read::Drained => {
                    self.behind_since = None;
                    return Poll::Pending;
                }
                Read::Lapsed => return Poll::Ready(self.lapse()),
                Read::Some(Some(joined), to) => {
                    let oldest = (self.position >= self.live_from).then_some(joined.first);
                    self.advance(to, joined.last);
                    return Poll::Ready(Some(Delivery::Events(vec![joined.bytes], joined.count, oldest)));
                }
                Read::Some(None, _) => {}
            }
        }
        let (step, in_step) = if sent.is_some() { (1, true) } else { (64, false) };
        loop {
            match self.ring.events(self.position, step) {
                Read::Drained => {
                    self.behind_since = None;
                    self.drop_base();
                    return Poll::Pending;
                }
                Read::Lapsed => return Poll::Ready(self.lapse()),
                Read::Some(events, to) => {
                    let admitted = events.iter().zip(self.position..).filter(|(event, at)| {
                        self.is_new(event, *at)
                            && self.filter.admits(event)
                            && sent.as_deref_mut().is_none_or(|sent| sent.first(event.number()))
                    });
                    let mut oldest = None;
                    let bytes: Vec<Bytes> = admitted
                        .map(|(event, at)| {
                            if oldest.is_none() && at >= self.live_from {
                                oldest = Some(event.clone());
                            }
                            self.encoding.bytes(event)
                        })
                        .collect();
                    self.advance(to, events.iter().rfind(|event| event.key().is_some()).cloned());
                    if in_step || !bytes.is_empty() {
                        let count = bytes.len() as u64;
                        return Poll::Ready(Some(Delivery::Events(bytes, count, oldest)));
                    }
                }
            }
        }
    }

    /// Whether an event at a position on the ring was neither seen before the subscription nor read from the log.
    fn is_new(&self, event: &Event, at: u64) -> bool {
        match event.key() {
            Some(key) => self.base.as_ref().is_none_or(|base| base.unseen(key.xid, key.eid)),
            None => at >= self.live_from,
        }
    }

    /// Moves on. Events that are not in the log leave the cursor where it is.
    fn advance(&mut self, to: u64, last: Option<Arc<Event>>) {
        self.position = to;
        if let Some(key) = last.as_ref().and_then(|event| event.key()) {
            (self.cursor, self.last) = (Some(Cursor::Event(key)), last);
        }
        self.behind_since = None;
    }

    /// Once a checkpoint has seen everything that the base could have, nothing on the ring needs to be held against it.
    fn drop_base(&mut self) {
        let superseded = |base: &Base| self.ring.newest_mark().is_some_and(|mark| covers(&mark, base));
        if self.base.as_ref().is_some_and(superseded) {
            self.base = None;
        }
    }

    /// Goes on from the log, without what it had been sent from the ring before it fell off.
    fn lapse(&mut self) -> Option<Delivery> {
        let since = *self.behind_since.get_or_insert_with(Instant::now);
        if since.elapsed() > self.slow_after {
            return Some(Delivery::End(Disconnect::Slow));
        }
        let (seen, own) = match (self.last.as_ref().and_then(|event| event.base()), &self.cursor) {
            (Some(base), _) => (Cursor::Event(base.newest), base),
            (None, Some(cursor @ Cursor::Snapshot(stamp))) => (cursor.clone(), stamp.base.clone()),
            // Nothing of the log was passed since the subscription began, so there is nothing to skip.
            (None, Some(cursor)) => (cursor.clone(), Base::everything_seen()),
            (None, None) => return Some(Delivery::End(Disconnect::Unavailable)),
        };
        // The last event alone does not do: what was sent while its transaction was open would be sent again. A base that
        // is still held against the ring, or a checkpoint that was passed, knows better.
        let better = self.base.clone().or_else(|| self.ring.mark_before(self.position).map(|mark| mark.base.clone()));
        let skip = self.ring.passed_unseen(better.as_ref().unwrap_or(&own), self.position).into_iter().collect();
        self.replay(From::Cursor(seen, better), None, 0, skip);
        None
    }
}

/// Whether everything that `base` saw had been dispatched when the mark arrived.
fn covers(mark: &Stamp, base: &Base) -> bool {
    mark.base.snapshot.xmin() >= base.snapshot.xmax && base.own.is_none_or(|(xid, _)| mark.base.snapshot.xmin() > xid)
}
