//! Who is typing: told live to the session's user and the admins, and kept nowhere.
//!
//! Invariant: at most one notification a second for each session and person in this process; the rest is answered without asking
//! the database (`typing_is_told_at_most_once_a_second`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};

use super::super::application;
use super::{no_session, writer};
use crate::auth::Principal;
use crate::event::TenantId;
use crate::http::State;
use crate::http::problem::Problem;
use crate::http::route::{Request, Route, route};

/// A reader's eye needs no more; pages hide the mark after some seconds without another.
const EVERY: Duration = Duration::from_secs(1);
/// More people than these do not type at once through one process; who comes on top is not told of.
const TYPING_MAX: usize = 10_000;

/// Below `/v1/tenants/{tenant}`.
pub(super) fn routes() -> Vec<Route> {
    vec![route(Method::POST, "/v1/tenants/{tenant}/chat/sessions/{session}/typing", post)]
}

/// When whom was last told of, and may be again.
#[derive(Debug, Default)]
pub struct Gate {
    told: Mutex<HashMap<(TenantId, String, String), Instant>>,
}

impl Gate {
    /// Whether it was told within the last second.
    fn is_closed(&self, key: &(TenantId, String, String)) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(key).is_some_and(|at| at.elapsed() < EVERY)
    }

    /// Lets one through, and closes.
    fn pass(&self, key: (TenantId, String, String)) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&key).is_some_and(|at| at.elapsed() < EVERY) {
            return false;
        }
        if told.len() >= TYPING_MAX {
            told.retain(|_, at| at.elapsed() < EVERY);
        }
        if told.len() >= TYPING_MAX {
            return false;
        }
        told.insert(key, Instant::now());
        true
    }
}

/// `POST chat/sessions/{id}/typing`.
async fn post(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    typing(&state, &principal, &tenant, &request.segment(1)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Tells that the caller is typing.
pub(super) async fn typing(
    state: &State,
    principal: &Principal,
    tenant: &TenantId,
    session: &str,
) -> Result<(), Problem> {
    #[derive(Deserialize)]
    struct Found {
        user_id: Option<String>,
    }
    // Who may write, and is known to: the gate opens only behind the look at the session below.
    let sub = writer(principal, tenant);
    let key = (tenant.clone(), session.to_owned(), principal.sub.clone());
    if state.typing.is_closed(&key) {
        return Ok(());
    }
    let found = application::call(state, tenant, "chat_session", "$2, $3", &[&sub, &session]).await?;
    let found = found.ok_or_else(no_session)?;
    let found: Found = serde_json::from_str(found.get()).map_err(|_| application::not_json("chat_session"))?;
    if !state.typing.pass(key) {
        return Ok(());
    }
    let user = found.user_id.unwrap_or_default();
    let role = if sub.is_some() || user == principal.sub { "user" } else { "assistant" };
    let data = json!({"session_id": session, "sub": principal.sub, "role": role}).to_string();
    let client = state.log.client(Some(tenant)).await?;
    let tell = "select tidings._emit_live($1, 'chat.typing', $2::text::jsonb, $3, $4)";
    let statement = client.prepare_cached(tell).await?;
    client.execute(&statement, &[&tenant.as_str(), &data, &session, &user]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Globs, Role, Tenants};

    fn key(sub: &str) -> (TenantId, String, String) {
        let principal = Principal {
            sub: sub.to_owned(),
            tenants: Tenants::All,
            role: Role::Admin,
            events: Globs::any(),
            expires_at: 0,
            issued_at: None,
            jti: None,
            key: None,
        };
        (principal.enter("acme").unwrap(), "s".to_owned(), sub.to_owned())
    }

    #[test]
    fn the_gate_lets_each_through_once_a_second_and_holds_a_bounded_number() {
        let gate = Gate::default();
        assert!(gate.pass(key("ann")) && gate.is_closed(&key("ann")));
        assert!(!gate.pass(key("ann")) && gate.pass(key("bob")));
        for number in 0..2 * TYPING_MAX {
            gate.pass(key(&number.to_string()));
        }
        assert!(gate.told.lock().unwrap().len() <= TYPING_MAX);
    }
}
