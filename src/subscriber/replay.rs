//! What a subscriber reads from the log: where its ring does not reach, page by page, until it stands on the ring.
//!
//! Place on the road: between the log and a subscriber. Each page is a turn at the log, read by a task of its own, which
//! goes on whether or not the client reads.
//!
//! A replay takes the ring's head first and the log's snapshot second. So everything dispatched before that position is
//! visible in the snapshot, and what follows is live unless the snapshot saw it.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::{Delivery, State, Subscriber};
use crate::cursor::{Base, Cursor, Stamp};
use crate::disconnect::Disconnect;
use crate::filter::Sent;
use crate::refrain::Refrain;
use crate::replay::{Log, LogError, Page, Portion, Reset, Scope};

/// What is still to be read from the log, and how.
pub(super) struct Replay {
    from: From,
    /// The snapshot read up to; taken with the first page.
    to: Option<Stamp>,
    last: u64,
    /// The ring's head before `to` was taken.
    head: u64,
    /// `to` came with the cursor and is older than `head`: what lies between is read by a second replay.
    chained: bool,
    /// Sent from the ring already.
    skip: HashSet<u64>,
    /// Rows asked for at a time: more and more, and fewer where they turn out to be large.
    rows: usize,
    fetch: Option<Pending<Fetched>>,
}

/// Where it begins.
#[derive(Clone)]
pub(super) enum From {
    Base(Base),
    /// To be looked up first, as any client's cursor would be: history may have changed, or retention passed by. Then read
    /// from its base, or from one that is known better.
    Cursor(Cursor, Option<Base>),
}

type Fetched = Result<(Base, Stamp, Page), Reset>;
/// A question to the log that is under way.
pub(super) type Pending<T> = AbortOnDropHandle<Result<T, LogError>>;

/// Rows of a page, from the first to the largest, and never fewer than the least.
const ROWS: usize = 250;
const ROWS_MAX: usize = 2000;
const ROWS_MIN: usize = 16;
/// A page waits in memory until its client has taken it. One that is slow holds no more than this, and its last event.
const PAGE_BYTES: usize = 256 << 10;
/// The longest pause before a page is tried again while the database is away; the sum of all is twice that, about.
const PAUSE_MAX: Duration = Duration::from_secs(8);

impl Subscriber {
    /// Begins one.
    pub(super) fn replay(&mut self, from: From, to: Option<Stamp>, last: u64, skip: HashSet<u64>) {
        let head = self.ring.head();
        let chained = to.is_some();
        self.state =
            State::Replaying(Box::new(Replay { from, to, last, head, chained, skip, rows: ROWS, fetch: None }));
    }

    pub(super) fn poll_replay(&mut self, cx: &mut Context<'_>, sent: Option<&mut Sent>) -> Poll<Option<Delivery>> {
        let State::Replaying(replay) = &mut self.state else { return Poll::Ready(None) };
        let fetching = replay.fetch.get_or_insert_with(|| {
            let wanted = Wanted {
                log: self.log.clone(),
                scope: self.scope.clone(),
                from: replay.from.clone(),
                to: replay.to.clone(),
                last: replay.last,
                rows: replay.rows,
            };
            self.log.apart(async move { wanted.patiently().await })
        });
        let fetched = ready!(Pin::new(fetching).poll(cx));
        replay.fetch = None;
        Poll::Ready(match ended_well(fetched) {
            Ok(Ok((base, to, page))) => self.take_page(base, to, page, sent),
            Ok(Err(reset)) => {
                let (log, scope, head) = (self.log.clone(), self.scope.clone(), self.ring.head());
                let read = log.clone();
                let now = log.apart(async move {
                    let _turn = read.turn(&scope).await;
                    read.now().await
                });
                self.state = State::Resetting(reset, head, now);
                None
            }
            Err(why) => Some(Delivery::End(why)),
        })
    }

    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Delivery> {
        let State::Resetting(reset, head, now) = &mut self.state else { return Poll::Pending };
        let (reset, head) = (*reset, *head);
        Poll::Ready(match ended_well(ready!(Pin::new(now).poll(cx))) {
            Ok(now) => {
                self.go_live(head, now.clone());
                Delivery::Reset(reset, Cursor::Snapshot(now))
            }
            Err(why) => Delivery::End(why),
        })
    }

    fn take_page(&mut self, from: Base, to: Stamp, page: Page, mut sent: Option<&mut Sent>) -> Option<Delivery> {
        let State::Replaying(replay) = &mut self.state else { return None };
        let admitted = page.events.iter().filter(|event| {
            // What the client had seen before it subscribed was skipped on the ring, and is skipped here.
            !replay.skip.contains(&event.number())
                && event.key().is_some_and(|key| self.base.as_ref().is_none_or(|base| base.unseen(key.xid, key.eid)))
                && self.filter.admits(event)
                && sent.as_deref_mut().is_none_or(|sent| sent.first(event.number()))
        });
        let bytes: Vec<Bytes> = admitted.map(|event| self.encoding.bytes(event)).collect();
        let (head, chained) = (replay.head, replay.chained);
        if page.more {
            let full = page.events.len() >= replay.rows;
            replay.rows = if full { replay.rows * 2 } else { page.events.len() }.clamp(ROWS_MIN, ROWS_MAX);
            replay.last = page.events.last().map_or(replay.last, |event| event.number());
            replay.from = From::Base(from);
            replay.to = Some(to);
        } else if chained {
            self.replay(From::Base(to.base), None, 0, HashSet::new());
        } else {
            self.go_live(head, to);
        }
        let count = bytes.len() as u64;
        (count > 0).then_some(Delivery::Events(bytes, count, None))
    }

    fn go_live(&mut self, head: u64, seen: Stamp) {
        self.position = head;
        self.base = Some(seen.base.clone());
        self.cursor = Some(Cursor::Snapshot(seen));
        self.last = None;
        self.state = State::Live;
    }
}

/// What replays say of a database that is away: each of thousands of subscribers may have one.
static REFRAIN: Refrain = Refrain::new();

/// What was read, or the end of the connection. A read that is cut off is one of a process that ends.
fn ended_well<T>(read: Result<Result<T, LogError>, JoinError>) -> Result<T, Disconnect> {
    read.unwrap_or(Err(LogError::Busy)).map_err(|error| {
        if let Some(unsaid) = REFRAIN.say(error.in_short()) {
            tracing::warn!(%error, unsaid, "a replay failed; its subscriber is told to come back");
        }
        Disconnect::Unavailable
    })
}

/// A page to be read.
struct Wanted {
    log: Log,
    scope: Scope,
    from: From,
    to: Option<Stamp>,
    last: u64,
    rows: usize,
}

impl Wanted {
    /// Tries again for a while when the database is away. Each attempt waits for its turn, and each page is one.
    async fn patiently(&self) -> Result<Fetched, LogError> {
        let mut pause = Duration::from_millis(100);
        loop {
            let turn = self.log.turn(&self.scope).await;
            match self.fetch().await {
                Err(error) if pause > PAUSE_MAX => return Err(error),
                Err(_) => {
                    drop(turn);
                    tokio::time::sleep(pause).await;
                }
                fetched => return fetched,
            }
            pause *= 2;
        }
    }

    async fn fetch(&self) -> Result<Fetched, LogError> {
        let base = match &self.from {
            From::Base(base) => base.clone(),
            From::Cursor(cursor, better) => match self.log.resolve(&self.scope, cursor).await? {
                Ok(base) => better.clone().unwrap_or(base),
                Err(reset) => return Ok(Err(reset)),
            },
        };
        let to = match &self.to {
            Some(to) => to.clone(),
            None => self.log.now().await?,
        };
        let portion = Portion { rows: self.rows, bytes: PAGE_BYTES };
        let page = self.log.page(&self.scope, &base, &to.base, self.last, portion).await?;
        Ok(self.log.retained(&base).await?.map(|()| (base, to, page)))
    }
}
