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
use crate::metrics::Metrics;

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

/// `GET /readyz`: listening, caught up, heart beating, not draining.
pub fn ready(state: &State) -> Result<Response, Problem> {
    if state.drain.is_cancelled() {
        Err(Problem::draining())
    } else if state.ready() {
        Ok(json(StatusCode::OK, &serde_json::json!({"ready": true})))
    } else {
        let detail = "the listening connection is down or catching up; subscribers stay connected";
        Err(Problem::later(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail, 1))
    }
}

/// `GET /metrics`.
pub fn metrics(state: &State) -> Response {
    let text = state.metrics.text(state.ready(), state.router.size()).unwrap_or_default();
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
        let (tenants, events, bytes) = state.router.size();
        body["rings"] = serde_json::json!({"tenants": tenants, "events": events, "bytes": bytes});
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
        "resets": metrics.resets.get(),
        "refused": metrics.refused_with(&openapi::codes()),
        "undecodable": metrics.undecodable.get(),
        "channels_lost": metrics.channels_lost.get(),
    })
}

/// Whether a connection to these tenants is this admin's business: all of them, and for one to none only who administers all.
pub fn administers(principal: &Principal, tenants: &[TenantId]) -> bool {
    principal.is_admin_of_all()
        || (!tenants.is_empty() && tenants.iter().all(|tenant| principal.is_admin_of(tenant.as_str())))
}
