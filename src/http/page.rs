//! Events as JSON pages, with long poll: the same cursor, the same filter, read from the log.
//!
//! The ring only tells whether there is anything to read. Pages come from the log, in one snapshot for all pages of a
//! reading, so that `limit=1` under concurrent writers terminates and is complete (`pages_of_one_terminate_and_are_complete`).
//! Without `after` a page begins at the oldest event within retention.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use super::State;
use super::call::Call;
use super::events;
use super::problem::Problem;
use crate::auth::Principal;
use crate::cursor::{Base, Cursor, Stamp};
use crate::event::Event;
use crate::filter::Filter;
use crate::replay::{Reset, Scope};
use crate::ring::{Read, Ring, Waiter};

/// Rows looked at for one page; with a narrow filter a page may then hold fewer events than `limit` and say `more`.
const ROWS_MAX: usize = 5000;

/// Answers one page.
pub async fn page(
    state: &Arc<State>,
    call: &Call,
    principal: &Principal,
    tenant: Option<&str>,
) -> Result<Response, Problem> {
    let scope = events::scope(principal, tenant)?;
    let filter = events::filter(principal, &scope, call.types()?, call.query("subject"));
    let limit = call.number("limit", 100, 1..=1000)? as usize;
    let wait = Duration::from_secs(call.number("wait", 0, 0..=60)?);
    let after = call.after()?;
    let ring = state.router.ring_of(&scope);
    let mut reading = Reading::begin(state, &scope, after).await?;
    let mut found = reading.read(state, &scope, &filter, limit).await?;
    if found.events.is_empty() && !found.more && !wait.is_zero() {
        let _guard = state.connections.open(principal, "json")?;
        // Beyond the deadline, or when the process drains, the answer is an empty page.
        let arrived = timeout(wait, arrival(&ring, &reading.from.base, &filter));
        if let Some(Ok(())) = state.drain.run_until_cancelled(arrived).await {
            found = reading.read(state, &scope, &filter, limit).await?;
        }
    }
    Ok(answer(&found))
}

struct Reading {
    from: Stamp,
    /// The snapshot and eid at which an earlier page stopped.
    page: Option<(Base, u64)>,
}

struct Found {
    events: Vec<Arc<Event>>,
    cursor: Cursor,
    more: bool,
}

impl Reading {
    async fn begin(state: &State, scope: &Scope, after: Option<Cursor>) -> Result<Self, Problem> {
        let Some(cursor) = after else {
            return Ok(Self { from: Stamp::default(), page: None });
        };
        let base = state.log.resolve(scope, &cursor).await?.map_err(gone)?;
        // An event's id names no history; the snapshot that its first page is read in will.
        let (epoch, page) = match cursor {
            Cursor::Event(_) => (Box::default(), None),
            Cursor::Snapshot(stamp) => (stamp.epoch, None),
            Cursor::Page { from, to, last } => (from.epoch, Some((to, last))),
        };
        Ok(Self { from: Stamp { epoch, base }, page })
    }

    /// One page from where this reading stands. An empty one moves it up to now.
    async fn read(&mut self, state: &State, scope: &Scope, filter: &Filter, limit: usize) -> Result<Found, Problem> {
        loop {
            let (to, last) = match self.page.take() {
                Some((base, last)) => (Stamp { epoch: self.from.epoch.clone(), base }, last),
                None => {
                    let now = state.log.now().await?;
                    self.from.epoch = now.epoch.clone();
                    (now, 0)
                }
            };
            let chained = last > 0;
            let rows = state.log.page(scope, &self.from.base, &to.base, last, ROWS_MAX.min(limit * 8)).await?;
            state.log.retained(&self.from.base).await?.map_err(gone)?;
            let mut seen = last;
            let mut events = Vec::new();
            let mut cut = rows.more;
            for event in rows.events {
                if events.len() == limit {
                    cut = true;
                    break;
                }
                seen = event.number();
                if filter.admits(&event) {
                    events.push(event);
                }
            }
            if cut {
                let cursor = Cursor::Page { from: self.from.clone(), to: to.base, last: seen };
                return Ok(Found { events, cursor, more: true });
            }
            self.from = to.clone();
            if events.is_empty() && chained {
                // The earlier reading is done; what was committed since is a reading of its own.
                continue;
            }
            return Ok(Found { events, cursor: Cursor::Snapshot(to), more: false });
        }
    }
}

fn gone(reset: Reset) -> Problem {
    let detail = "events after this cursor are no longer known: fetch the state again and go on without after";
    Problem::new(StatusCode::GONE, reset.reason(), detail)
}

/// Resolves when the ring holds something for this reader that its base has not seen, and that a page can then show: what
/// is not in the log is not.
async fn arrival(ring: &Arc<Ring>, base: &Base, filter: &Filter) {
    let waiter = Waiter::new(ring.clone());
    let mut position = ring.start();
    poll_fn(|cx| {
        waiter.register(cx);
        loop {
            match ring.events(position, 64) {
                Read::Drained => return Poll::Pending,
                // Fallen off: the log knows what was missed.
                Read::Lapsed => return Poll::Ready(()),
                Read::Some(events, to) => {
                    position = to;
                    let unseen = |event: &Event| event.key().is_some_and(|key| base.unseen(key.xid, key.eid));
                    if events.iter().any(|event| unseen(event) && filter.admits(event)) {
                        return Poll::Ready(());
                    }
                }
            }
        }
    })
    .await;
}

fn answer(found: &Found) -> Response {
    let events: Vec<Bytes> = found.events.iter().map(|event| event.json()).collect();
    let size: usize = events.iter().map(|json| json.len() + 1).sum();
    let mut body = Vec::with_capacity(size + 256);
    body.extend_from_slice(b"{\"events\":[");
    body.extend_from_slice(&events.join(&b","[..]));
    body.extend_from_slice(format!("],\"cursor\":\"{}\",\"more\":{}}}", found.cursor, found.more).as_bytes());
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    response
}
