//! Everything that is served: the routes, and nothing else in this file. Each answers with a response or a
//! [`Problem`], and authenticates inside, so that no route's refusal can mask another's.

pub mod address;
pub mod asyncapi;
pub mod call;
pub mod connections;
pub mod credential;
pub mod events;
mod front;
mod head;
pub mod openapi;
mod page;
mod pages;
pub mod problem;
pub mod publish;
mod published;
pub mod pulse;
pub mod rate;
mod revocations;
pub mod route;
pub mod serve;
mod sign_in;
mod sse;
pub mod status;
pub mod tls;
pub mod uploads;
mod ws;
mod ws_commands;
mod ws_pace;
mod ws_session;
pub mod ws_wire;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};

use crate::app_api;
use crate::app_api::chat::Gate;
use crate::auth::Principal;
use crate::config::{Inbound, Pages};
use crate::heart::Heart;
use crate::listener::{Health, Standing};
use crate::metrics::Metrics;
use crate::reload::Held;
use crate::replay::Log;
use crate::revocation::reading::Reading;
use crate::router::Router;
use crate::telemetry::Telemetry;
use call::{Call, Representation};
use connections::Connections;
use problem::Problem;
use pulse::Pulse;
use rate::{Kind, Rates};
use route::{Request, Route, route};
use uploads::Uploads;

/// What machines ask every few seconds.
const LIVE: &str = "/livez";
const READY: &str = "/readyz";
const METRICS: &str = "/metrics";
/// What load balancers and scrapers ask, from one address, however busy it is.
const PROBES: [&str; 3] = [LIVE, READY, METRICS];

/// What requests are answered from.
pub struct State {
    /// Rings, written by the listener.
    pub router: Arc<Router>,
    /// The log, and the pool behind it.
    pub log: Log,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Spans.
    pub telemetry: Telemetry,
    /// Keys, origins and limits; a reload changes them.
    pub in_force: Held,
    /// Open streams and sockets.
    pub connections: Arc<Connections>,
    /// Reads what is revoked, and ends connections on other instances.
    pub revoking: Arc<Reading>,
    /// Who was told to be typing a moment ago.
    pub typing: Gate,
    /// Where files are kept; none where none are taken.
    pub uploads: Option<Uploads>,
    /// How much goes through.
    pub pulse: Arc<Pulse>,
    /// What each user may still ask.
    pub rates: Rates,
    /// Written by the listener.
    pub health: watch::Receiver<Health>,
    /// Whether the listener still turns.
    pub heart: Arc<Heart>,
    /// Cancelled first of all when the process is to end: load balancers look elsewhere from then on.
    pub leaving: CancellationToken,
    /// Cancelled when clients are told to leave.
    pub drain: CancellationToken,
    /// Cancelled when the drain's time is over.
    pub kill: CancellationToken,
    /// Owner of upgraded sockets' tasks.
    pub tasks: TaskTracker,
    /// From the configuration.
    pub settings: Settings,
}

/// The part of the configuration that requests look at and only a restart changes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Interval of heartbeats in silence.
    pub heartbeat: Duration,
    /// A socket that takes no byte for so long is closed.
    pub write_timeout: Duration,
    /// Bodies and WebSocket messages, in bytes.
    pub request_bytes_max: usize,
    /// Reconnects are spread from here …
    pub retry_min: Duration,
    /// … to here.
    pub retry_max: Duration,
    /// And over this when the process ends.
    pub drain: Duration,
    /// Whether figures are told at another address only.
    pub metrics_apart: bool,
    /// What the pages are told.
    pub pages: Arc<Pages>,
    /// Who may deliver webhooks.
    pub inbound: Arc<[Inbound]>,
    /// How long a follow-up waits for a further edit; none where nobody answers.
    pub follow_up: Option<Duration>,
}

impl State {
    /// Listening, caught up, and heart beating.
    pub fn ready(&self) -> bool {
        self.health.borrow().standing().0 == Standing::Ready && self.heart.beats()
    }
}

/// All routes.
pub fn routes() -> Vec<Route> {
    let mut all = vec![
        route(Method::GET, "/v1/tenants/{tenant}/events", read_tenant),
        route(Method::POST, "/v1/tenants/{tenant}/events", publish),
        route(Method::GET, "/v1/events", read_all),
        route(Method::GET, route::SOCKET, upgrade),
        route(Method::POST, "/v1/tickets", ticket),
        route(Method::PATCH, "/v1/connections/{connection}", change_connection),
        route(Method::DELETE, "/v1/connections/{connection}", end_connection),
        route(Method::GET, "/v1/status", about),
        route(Method::GET, "/v1/session", session),
        route(Method::GET, "/v1/stats", stats),
        route(Method::GET, "/v1/openapi.json", described_routes),
        route(Method::GET, "/v1/asyncapi.json", described_messages),
        route(Method::GET, LIVE, live),
        route(Method::GET, READY, ready),
        route(Method::GET, METRICS, metrics),
    ];
    all.extend(sign_in::routes());
    all.extend(revocations::routes());
    all.extend(pages::routes());
    all.extend(uploads::routes());
    all.extend(app_api::routes());
    all
}

/// Answers every request.
pub fn filter(state: Arc<State>) -> BoxedFilter<(Response,)> {
    answered(routes(), state)
}

/// What only operators ask, for an address of its own.
pub fn operators_filter(state: Arc<State>) -> BoxedFilter<(Response,)> {
    let routes = vec![
        route(Method::GET, LIVE, live),
        route(Method::GET, READY, ready),
        route(Method::GET, METRICS, operators_metrics),
    ];
    answered(routes, state)
}

fn answered(routes: Vec<Route>, state: Arc<State>) -> BoxedFilter<(Response,)> {
    let metrics = state.metrics.clone();
    let unknown = move |_| {
        let problem = Problem::not_found();
        metrics.refused(problem.code);
        async move { Ok::<_, Infallible>(problem.response()) }
    };
    route::filter(routes, state).recover(unknown).unify().boxed()
}

async fn read_tenant(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    let principal = request.caller(&state, Kind::Open).await?;
    read(&state, &request.call, &principal, Some(&request.segment(0)?)).await
}

async fn read_all(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    let principal = request.caller(&state, Kind::Open).await?;
    read(&state, &request.call, &principal, None).await
}

async fn read(
    state: &Arc<State>,
    call: &Call,
    principal: &Principal,
    tenant: Option<&str>,
) -> Result<Response, Problem> {
    if state.drain.is_cancelled() {
        return Err(Problem::draining());
    }
    match call.wants()? {
        Representation::Stream => sse::stream(state, call, principal, tenant).await,
        Representation::Page => page::page(state, call, principal, tenant).await,
    }
}

async fn publish(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let principal = request.caller(&state, Kind::Publish).await?;
    // Before the body: what is refused anyway is not read first.
    let tenant = publish::tenant(&principal, &request.segment(0)?)?;
    let body = request.bytes(&state).await?;
    publish::publish(&state, &request.call, &principal, &tenant, &body).await
}

async fn upgrade(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    ws::upgrade(&state, request.call, request.upgrade).await
}

async fn ticket(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    let principal = request.caller(&state, Kind::Request).await?;
    let ticket = credential::issue(&state, &principal).await?;
    let body = serde_json::json!({"ticket": ticket, "expires_in": credential::TICKET_S});
    Ok(status::json(StatusCode::CREATED, &body))
}

async fn change_connection(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let principal = request.caller(&state, Kind::Request).await?;
    let change = request.json(&state).await?;
    let types = state.connections.change(request.raw(0), &principal, &change)?;
    Ok(status::json(StatusCode::OK, &serde_json::json!({"types": types.iter().collect::<Vec<_>>()})))
}

async fn end_connection(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    let principal = request.caller(&state, Kind::Request).await?;
    if !principal.is_admin() {
        return Err(Problem::forbidden("ending connections is for admins"));
    }
    let here = state.connections.end(request.raw(0), |tenants| status::administers(&principal, tenants));
    if let Err(not_found) = here
        && (request.raw(0).len() > connections::ID_BYTES
            || !state.revoking.end_elsewhere(request.raw(0), &principal).await?)
    {
        return Err(not_found);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn about(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    request.caller(&state, Kind::Request).await?;
    Ok(status::status(&state))
}

async fn session(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    Ok(status::session(&request.caller(&state, Kind::Request).await?))
}

async fn stats(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    let principal = request.caller(&state, Kind::Request).await?;
    status::stats(&state, &principal)
}

async fn described_routes(_: Arc<State>, request: Request) -> Result<Response, Problem> {
    Ok(openapi::answer(&request.call))
}

async fn described_messages(_: Arc<State>, request: Request) -> Result<Response, Problem> {
    Ok(asyncapi::answer(&request.call))
}

async fn live(state: Arc<State>, _: Request) -> Result<Response, Problem> {
    status::live(&state)
}

async fn ready(state: Arc<State>, _: Request) -> Result<Response, Problem> {
    status::ready(&state)
}

async fn metrics(state: Arc<State>, _: Request) -> Result<Response, Problem> {
    if state.settings.metrics_apart {
        return Err(Problem::not_found());
    }
    Ok(status::metrics(&state))
}

async fn operators_metrics(state: Arc<State>, _: Request) -> Result<Response, Problem> {
    Ok(status::metrics(&state))
}
