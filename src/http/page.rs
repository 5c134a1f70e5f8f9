//! Events as JSON pages, with long poll: the same cursor, the same filter, read from the log.
//!
//! The ring only tells whether there is anything to read; pages come from the log ([`reading`](crate::reading)).
//! Without `after` a page begins at the oldest event within retention, with `after=now` at this moment.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use warp::http::HeaderValue;
use warp::reply::Response;

use super::State;
use super::call::Call;
use super::credential::unix_now;
use super::events;
use super::problem::Problem;
use crate::auth::{AuthError, Principal};
use crate::cursor::Base;
use crate::disconnect::Disconnect;
use crate::event::Event;
use crate::filter::Filter;
use crate::reading::{Found, Reading};
use crate::ring::{Read, Ring, Waiter};

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
    // Not beyond the end of the credential.
    let left_s = principal.expires_at.saturating_sub(unix_now());
    let wait = Duration::from_secs(call.number("wait", 0, 0..=60)?.min(left_s));
    let after = call.after()?;
    call.client()?;
    let ring = state.router.ring_of(&scope);
    let mut reading = if call.from_now() {
        Reading::now(&state.log, &scope).await?
    } else {
        Reading::begin(&state.log, &scope, after).await?
    };
    let mut found = reading.read(&state.log, &scope, &filter, limit).await?;
    if found.events.is_empty() && !found.more && !wait.is_zero() {
        let guard = state.connections.open(principal, "json", call)?;
        guard.enter_all()?;
        // Woken by: an order to end · what arrives · the deadline. All are cancel safe.
        let arrived = tokio::select! {
            why = guard.control.ended() => Err(why),
            () = arrival(&ring, reading.seen(), &filter) => Ok(true),
            () = sleep(wait) => Ok(false),
        };
        let left = state.connections.revocations().left(principal.clone(), unix_now())?;
        events::scope(&left, tenant)?;
        let whole = left == *principal;
        if arrived == Err(Disconnect::Revoked) && whole {
            // Nothing is revoked, so its key is gone.
            return Err(AuthError::Revoked.into());
        }
        // Otherwise the answer is an empty page; so it is when another tenant of the token's was revoked meanwhile.
        if arrived == Ok(true) && whole {
            found = reading.read(&state.log, &scope, &filter, limit).await?;
        }
    }
    Ok(answer(&found))
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
