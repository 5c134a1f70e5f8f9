//! What clients, load balancers and operators ask: status, session, health, metrics, stats.

use std::sync::Arc;

use serde::Serialize;
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use super::State;
use super::openapi;
use super::problem::Problem;
use crate::auth::{Principal, Tenants};
use crate::disconnect::Disconnect;
use crate::event::TenantId;
use crate::listener::Standing;
use crate::metrics::{Metrics, Moment};

/// A JSON answer that is not to be cached.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = Response::new(serde_json::to_string(body).unwrap_or_default().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

/// `GET /v1/status`: what a client needs to choose push or polling.
pub fn status(state: &State) -> Response {
    let body = serde_json::json!({
        "available": state.ready(), "transports": ["websocket", "sse", "poll"], "version": env!("CARGO_PKG_VERSION"),
    });
    json(StatusCode::OK, &body)
}

/// `GET /v1/session`: who the credential says the caller is.
pub fn session(principal: &Principal) -> Response {
    let tenants = match &principal.tenants {
        Tenants::Listed(list) => Some(list),
        Tenants::All => None,
    };
    let body = serde_json::json!({
        "sub": principal.sub, "role": principal.role.as_str(), "tenants": tenants, "expires_at": principal.expires_at,
    });
    json(StatusCode::OK, &body)
}

/// `GET /livez`: the process answers and its listener turns. A database that is away is no reason to start it anew.
pub fn live(state: &State) -> Result<Response, Problem> {
    if state.heart.beats() {
        return Ok(json(StatusCode::OK, &serde_json::json!({"live": true})));
    }
    let detail = "the task that listens has ended or hangs; only a restart helps";
    Err(Problem::later(StatusCode::SERVICE_UNAVAILABLE, "stuck", detail, 1))
}

/// `GET /readyz`: listening, caught up, heart beating, not draining.
pub fn ready(state: &State) -> Result<Response, Problem> {
    let health = *state.health.borrow();
    let (standing, since) = health.standing();
    let told = |reason: &str| {
        serde_json::json!({
            "ready": false, "reason": reason, "since_s": since.elapsed().as_secs(),
            "listener": {
                "connected": health.pid.is_some(), "caught_up": health.caught_up,
                "checkpoint_s": health.beat.elapsed().as_secs(),
            },
        })
    };
    if state.leaving.is_cancelled() {
        return Err(Problem::draining().with(serde_json::json!({"ready": false, "reason": "draining"})));
    }
    let what = match standing {
        Standing::Ready if !state.heart.beats() => "the task that listens hangs",
        Standing::Ready => return Ok(json(StatusCode::OK, &serde_json::json!({"ready": true}))),
        Standing::Disconnected => "there is no listening connection to the database",
        Standing::CatchingUp => "the listener reads from the log what it missed",
        Standing::NoCheckpoint => "the database does not return the listener's checkpoints",
    };
    let why = health.trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
    let detail = format!("{what}{why}; subscribers stay connected");
    let problem = Problem::later(StatusCode::SERVICE_UNAVAILABLE, "not_ready", &detail, 1);
    Err(problem.with(told(if standing == Standing::Ready { "stuck" } else { standing.reason() })))
}

/// `GET /metrics`.
pub fn metrics(state: &State) -> Response {
    let age_s = state.in_force.load().verifier.keys_age().map_or(0, |age| age.as_secs());
    state.metrics.keys_age.set(i64::try_from(age_s).unwrap_or(i64::MAX));
    let moment = Moment {
        ready: state.ready(),
        reached: state.health.borrow().reached.map(|reached| reached.elapsed()),
        uptime: state.pulse.uptime(),
        rings: state.router.size(),
        readers: state.log.readers(),
        pool: state.log.pool().status().into(),
    };
    let text = state.metrics.text(&moment).unwrap_or_default();
    let mut response = Response::new(text.into());
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert("content-type", kind);
    response
}

/// `GET /v1/stats`: an admin of all tenants sees all connections and figures, one of some tenants what is theirs.
pub fn stats(state: &Arc<State>, principal: &Principal) -> Result<Response, Problem> {
    if !principal.is_admin() {
        return Err(Problem::forbidden("stats are for admins"));
    }
    let theirs = |tenant: &TenantId| principal.is_admin_of(tenant.as_str());
    let lag = state.health.borrow().reached.map(|reached| u64::try_from(reached.elapsed().as_millis()));
    let all = principal.is_admin_of_all();
    let mut body = serde_json::json!({
        "ready": state.ready(),
        "uptime_s": state.pulse.uptime().as_secs(),
        "lag_ms": lag.map(|ms| ms.unwrap_or(u64::MAX)),
        "rates": if all { state.pulse.flow() } else { state.pulse.flow_of(theirs) },
        "tenants": state.connections.tenants(theirs),
        "connections": state.connections.list(|tenants| administers(principal, tenants)),
    });
    if all {
        let rings = state.router.size();
        body["rings"] = serde_json::json!({"tenants": rings.tenants, "events": rings.events, "bytes": rings.bytes});
        body["events_total"] = state.metrics.events.get().into();
        body["listener_reconnects_total"] = state.metrics.reconnects.get().into();
        body["drops"] = drops(&state.metrics);
    }
    Ok(json(StatusCode::OK, &body))
}

/// What did not go on as its client wanted, since the start.
fn drops(metrics: &Metrics) -> serde_json::Value {
    serde_json::json!({
        "slow": metrics.disconnected(Disconnect::Slow),
        "unavailable": metrics.disconnected(Disconnect::Unavailable),
        "resets": metrics.resets(),
        "refused": metrics.refused_with(&openapi::deduplicated(openapi::codes())),
        "undecodable": metrics.skipped(),
        "channels_lost": metrics.channels_lost.get(),
    })
}

/// Whether a connection to these tenants is this admin's business: all of them, and for one to none only who administers all.
pub fn administers(principal: &Principal, tenants: &[TenantId]) -> bool {
    principal.is_admin() && administers_with(principal.listed(), tenants)
}

/// The same for an admin of these tenants; none: of all.
pub fn administers_with(listed: Option<&[String]>, tenants: &[TenantId]) -> bool {
    let ours = |tenant: &TenantId| listed.is_some_and(|listed| listed.iter().any(|name| name == tenant.as_str()));
    listed.is_none() || (!tenants.is_empty() && tenants.iter().all(ours))
}
