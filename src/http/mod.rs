//! Everything that is served: the routes, and nothing else in this file. Each answers with a response or a
//! [`Problem`](problem::Problem), and authenticates inside, so that no route's refusal can mask another's.

pub mod call;
pub mod connections;
pub mod credential;
mod events;
mod front;
mod page;
mod pages;
pub mod problem;
pub mod publish;
pub mod serve;
mod sse;
pub mod status;
mod ws;
mod ws_session;
mod ws_wire;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::filters::BoxedFilter;
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use crate::app_api;
use crate::auth::{Verifier, VerifierConfig};
use crate::listener::Health;
use crate::metrics::Metrics;
use crate::replay::Log;
use crate::router::Router;
use call::{Call, Representation, call, segment};
use connections::Connections;
use problem::Problem;

/// What requests are answered from.
pub struct State {
    /// Rings, written by the listener.
    pub router: Arc<Router>,
    /// The log, and the pool behind it.
    pub log: Log,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Reads tokens.
    pub verifier: Arc<Verifier>,
    /// Open streams and sockets.
    pub connections: Arc<Connections>,
    /// Written by the listener.
    pub health: watch::Receiver<Health>,
    /// Cancelled when the process begins to end.
    pub drain: CancellationToken,
    /// Owner of upgraded sockets' tasks.
    pub tasks: TaskTracker,
    /// From the configuration.
    pub settings: Settings,
}

/// The part of the configuration that requests look at.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Browser origins besides this host's own.
    pub origins: Arc<[String]>,
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
    /// A client may stay behind the ring for so long.
    pub slow_after: Duration,
    /// Of one WebSocket.
    pub subscriptions_max: usize,
    /// Whether `?token=` is read.
    pub query_token: bool,
    /// Signs the cookie of the pages.
    pub verifier: VerifierConfig,
}

impl State {
    /// Listening and caught up.
    pub fn ready(&self) -> bool {
        self.health.borrow().caught_up
    }
}

/// All routes.
pub fn routes(state: Arc<State>) -> BoxedFilter<(Response,)> {
    let with = {
        let state = state.clone();
        warp::any().map(move || state.clone())
    };
    let events = warp::path!("v1" / "tenants" / String / "events").and(with.clone()).and(call());
    let read_events = events.clone().and(warp::get()).then(|tenant, state, call| answer(read(state, call, Some(tenant))));
    let publish = events.and(warp::post()).and(warp::body::stream()).then(|tenant: String, state: Arc<State>, call: Call, body| {
        answer(async move {
            let principal = credential::authenticate(&state, &call, &Method::POST).await?;
            let body = publish::body(&state, &call, body).await?;
            publish::publish(&state, &call, &principal, &segment(&tenant)?, &body).await
        })
    });
    let every = warp::path!("v1" / "events").and(warp::get()).and(with.clone()).and(call());
    let every = every.then(|state, call| answer(read(state, call, None)));
    let socket = warp::path!("v1" / "ws").and(warp::get()).and(with.clone()).and(call());
    let socket = socket.and(warp::ext::optional()).then(|state, call, on| answer(async move { ws::upgrade(&state, call, on).await }));
    let ticket = warp::path!("v1" / "tickets").and(warp::post()).and(with.clone()).and(call());
    let ticket = ticket.then(|state, call| answer(ticket_for(state, call)));
    let change = warp::path!("v1" / "connections" / String).and(warp::patch()).and(with.clone()).and(call());
    let change = change.and(warp::body::stream()).then(|id: String, state: Arc<State>, call: Call, body| {
        answer(async move {
            let principal = credential::authenticate(&state, &call, &Method::PATCH).await?;
            let change = publish::parse(&publish::body(&state, &call, body).await?)?;
            let types = state.connections.change(&id, &principal.sub, &change)?;
            Ok(status::json(StatusCode::OK, &serde_json::json!({"types": types.iter().collect::<Vec<_>>()})))
        })
    });
    let end = warp::path!("v1" / "connections" / String).and(warp::delete()).and(with.clone()).and(call());
    let end = end.then(|id, state, call| answer(end_connection(state, call, id)));
    let create_document = warp::path!("v1" / "tenants" / String / "documents").and(warp::post()).and(with.clone()).and(call());
    let create_document = create_document.and(warp::body::stream()).then(|tenant: String, state: Arc<State>, call: Call, body| {
        answer(async move {
            let principal = credential::authenticate(&state, &call, &Method::POST).await?;
            let body = publish::body(&state, &call, body).await?;
            app_api::documents::create(&state, &principal, &segment(&tenant)?, &body).await
        })
    });
    let about = warp::path!("v1" / "status").or(warp::path!("v1" / "session").or(warp::path!("v1" / "stats")).unify()).unify();
    let about = about.and(warp::path::full()).and(warp::get()).and(with.clone()).and(call());
    let about = about.then(|path: warp::path::FullPath, state, call| answer(about_server(state, call, path)));
    let live = warp::path!("livez").and(warp::get()).map(|| status::json(StatusCode::OK, &serde_json::json!({"live": true})));
    let ready = warp::path!("readyz").and(warp::get()).and(with.clone());
    let ready = ready.then(|state: Arc<State>| answer(async move { status::ready(&state) }));
    let metrics = warp::path!("metrics").and(warp::get()).and(with.clone()).map(|state: Arc<State>| status::metrics(&state));
    let index = warp::path::end().and(warp::get()).and(with).and(call());
    let index = index.then(|state, call| answer(async move { pages::index(&state, &call).await }));

    read_events
        .or(publish)
        .unify()
        .or(socket)
        .unify()
        .or(every)
        .unify()
        .or(ticket)
        .unify()
        .or(create_document)
        .unify()
        .or(about)
        .unify()
        .or(change)
        .unify()
        .or(end)
        .unify()
        .or(live)
        .unify()
        .or(ready)
        .unify()
        .or(metrics)
        .unify()
        .or(index)
        .unify()
        .recover(refuse)
        .map(Reply::into_response)
        .boxed()
}

async fn read(state: Arc<State>, call: Call, tenant: Option<String>) -> Result<Response, Problem> {
    let principal = credential::authenticate(&state, &call, &Method::GET).await?;
    let tenant = tenant.as_deref().map(segment).transpose()?;
    if state.drain.is_cancelled() {
        return Err(Problem::draining());
    }
    match call.wants()? {
        Representation::Stream => sse::stream(&state, &call, &principal, tenant.as_deref()).await,
        Representation::Page => page::page(&state, &call, &principal, tenant.as_deref()).await,
    }
}

async fn ticket_for(state: Arc<State>, call: Call) -> Result<Response, Problem> {
    let principal = credential::authenticate(&state, &call, &Method::POST).await?;
    let ticket = credential::issue(&state, &principal).await?;
    let body = serde_json::json!({"ticket": ticket, "expires_in": credential::TICKET_S});
    Ok(status::json(StatusCode::CREATED, &body))
}

async fn end_connection(state: Arc<State>, call: Call, id: String) -> Result<Response, Problem> {
    let principal = credential::authenticate(&state, &call, &Method::DELETE).await?;
    if !principal.is_admin() {
        return Err(Problem::forbidden("ending connections is for admins"));
    }
    state.connections.end(&id, |tenants| status::administers(&principal, tenants))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn about_server(state: Arc<State>, call: Call, path: warp::path::FullPath) -> Result<Response, Problem> {
    let principal = credential::authenticate(&state, &call, &Method::GET).await?;
    match path.as_str().trim_end_matches('/') {
        "/v1/status" => Ok(status::status(&state)),
        "/v1/session" => Ok(status::session(&principal)),
        _ => status::stats(&state, &principal),
    }
}

async fn answer(handled: impl Future<Output = Result<Response, Problem>>) -> Response {
    handled.await.unwrap_or_else(|problem| problem.response())
}

/// What warp refuses itself: an unknown address, or a method that the address does not have.
async fn refuse(rejection: Rejection) -> Result<Response, Infallible> {
    let problem = if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        let detail = "this address does not have this method";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    } else {
        Problem::not_found()
    };
    Ok(problem.response())
}
