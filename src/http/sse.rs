//! Server-Sent Events: a body that hands hyper the shared bytes of events, what is pending in one piece.
//!
//! Order on the wire: `hello` (with an id, so that even a browser cut off at once resumes), then `reset` if the cursor could not be resumed from, then events, with heartbeats in
//! silence and `bye` before the server ends the stream. A heartbeat is a block with an id and no data: it moves the
//! browser's Last-Event-ID and dispatches nothing (`a_heartbeat_moves_the_last_event_id_and_dispatches_nothing`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, Sleep};
use warp::http::HeaderValue;
use warp::reply::{Reply, Response};

use super::State;
use super::call::Call;
use super::connections::Guard;
use super::credential::unix_now;
use super::events;
use super::problem::Problem;
use crate::auth::Principal;
use crate::cursor::Cursor;
use crate::disconnect::Disconnect;
use crate::metrics::Metrics;
use crate::replay::{Reset, Scope};
use crate::ring::Encoding;
use crate::subscriber::{Delivery, Request, Subscriber};

/// Opens a stream.
pub async fn stream(
    state: &Arc<State>,
    call: &Call,
    principal: &Principal,
    tenant: Option<&str>,
) -> Result<Response, Problem> {
    let scope = events::scope(principal, tenant)?;
    let filter = events::filter(principal, &scope, call.types()?, call.query("subject"));
    // A browser sends back whatever id it saw last and gives up on any refusal: what is no cursor is told reset instead.
    let (after, unreadable) = match call.headers.get("last-event-id").filter(|id| !id.is_empty()) {
        Some(id) => {
            let cursor: Option<Cursor> = id.to_str().ok().and_then(|id| id.parse().ok());
            (cursor.clone(), cursor.is_none())
        }
        None => (call.after()?, false),
    };
    let guard = state.connections.open(principal, "sse", call)?;
    guard.control.show(filter.types.clone());
    match &scope {
        Scope::Tenant(tenant) => guard.enter(tenant)?,
        Scope::Every => guard.enter_all()?,
    }
    let request = Request { scope, filter, encoding: Encoding::Sse, after };
    let slow_after = state.in_force.load().limits.slow_after;
    let (subscriber, opening) = Subscriber::open(&state.router, &state.log, request, slow_after).await?;
    let heartbeat = state.settings.heartbeat;
    let retry_ms = rand::random_range(state.settings.retry_min..=state.settings.retry_max).as_millis();
    let hello = format!(
        "retry: {retry_ms}\nid: {cursor}\nevent: hello\ndata: {{\"connection\":\"{}\",\"resumed\":{},\"cursor\":\"{cursor}\",\"heartbeat_s\":{}}}\n\n",
        guard.id,
        opening.resumed,
        heartbeat.as_secs(),
        cursor = opening.cursor
    );
    let mut pending = VecDeque::from([Bytes::from(hello)]);
    if unreadable {
        state.metrics.reset(Reset::Unknown);
        pending.push_back(reset(Reset::Unknown, &opening.cursor));
    }
    let delivered = state.metrics.delivered("sse");
    let retry = (state.settings.retry_max, state.settings.drain);
    let expires_at = principal.expires_at;
    let timer = Box::pin(tokio::time::sleep_until(next(expires_at, heartbeat)));
    let body = Body {
        subscriber,
        pending,
        guard,
        delivered,
        metrics: state.metrics.clone(),
        heartbeat,
        spread: retry,
        expires_at,
        timer,
        ended: false,
    };
    let mut response = warp::reply::stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/event-stream"));
    headers.insert("cache-control", HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Body {
    subscriber: Subscriber,
    pending: VecDeque<Bytes>,
    guard: Guard,
    delivered: Counter,
    metrics: Arc<Metrics>,
    heartbeat: Duration,
    /// Reconnects are spread over this after `bye`: usually, and when draining.
    spread: (Duration, Duration),
    /// End of the credential, in seconds since 1970. Timers stand still while a machine sleeps, so the clock is asked as well.
    expires_at: u64,
    timer: Pin<Box<Sleep>>,
    ended: bool,
}

impl Body {
    fn end(&mut self, why: Disconnect) {
        self.guard.control.end(why);
        let (usual, draining) = self.spread;
        let within = if why == Disconnect::Draining { usual.max(draining) } else { usual };
        let retry = rand::random_range(Duration::from_millis(500)..=within.max(Duration::from_secs(1)));
        let bye = format!("retry: {}\nevent: bye\ndata: {}\n\n", retry.as_millis(), why.bye());
        self.pending.push_back(bye.into());
        self.ended = true;
    }

    fn rewind(&mut self) {
        self.timer.as_mut().reset(next(self.expires_at, self.heartbeat));
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events(pieces, count, oldest) => {
                self.delivered.inc_by(count);
                oldest.iter().for_each(|event| self.metrics.latency.delivered(event));
                self.pending.extend(pieces);
            }
            Delivery::Reset(why, cursor) => {
                self.metrics.reset(why);
                self.pending.push_back(reset(why, &cursor));
            }
            Delivery::End(why) => self.end(why),
        }
        self.rewind();
    }

    fn beat(&mut self) {
        let beat = match self.subscriber.heartbeat() {
            Some(cursor) => format!("id: {cursor}\n\n"),
            None => ":\n\n".into(),
        };
        self.pending.push_back(beat.into());
        self.rewind();
    }
}

/// When a stream has to say something: that it is alive, or that it ends.
fn next(expires_at: u64, heartbeat: Duration) -> Instant {
    Instant::now() + heartbeat.min(Duration::from_secs(expires_at.saturating_sub(unix_now())))
}

fn reset(why: Reset, cursor: &Cursor) -> Bytes {
    // The id makes the browser resume from here, should it be cut off before the next event.
    format!("id: {cursor}\nevent: reset\ndata: {{\"reason\":\"{}\",\"cursor\":\"{cursor}\"}}\n\n", why.reason()).into()
}

impl Stream for Body {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(bytes) = self.pending.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            } else if self.ended {
                return Poll::Ready(None);
            }
            let (why, types) = self.guard.control.poll(cx);
            if let Some(why) = why {
                self.end(why);
                continue;
            }
            if unix_now() >= self.expires_at {
                self.end(Disconnect::Expired);
                continue;
            }
            if let Some(types) = types {
                // Taken up between two deliveries, so the change has a definite place in the stream.
                self.subscriber.set_types(types);
            }
            if let Poll::Ready(delivery) = self.subscriber.poll_delivery(cx, None) {
                self.deliver(delivery);
            } else if self.timer.as_mut().poll(cx).is_ready() {
                self.beat();
            } else {
                return Poll::Pending;
            }
        }
    }
}
