//! Everything that is served: the routes, and nothing else in this file. Each answers with a response or a
//! [`Problem`], and authenticates inside, so that no route's refusal can mask another's.

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

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
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
    /// Cancelled when the drain's time is over.
    pub kill: CancellationToken,
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
        warp::any().map(move || state.clone()).and(call()).boxed()
    };
    let events = warp::path!("v1" / "tenants" / String / "events").and(with.clone()).boxed();
    // Each route is boxed: the type of all together would take the compiler minutes.
    let all = [
        events.clone().and(warp::get()).then(|tenant, state, call| answer(read(state, call, Some(tenant)))).boxed(),
        events
            .and(warp::post())
            .and(body())
            .then(|tenant, state, call, body| answer(publish(state, call, tenant, body)))
            .boxed(),
        warp::path!("v1" / "ws")
            .and(warp::get())
            .and(with.clone())
            .and(warp::ext::optional())
            .then(|state, call, on| answer(async move { ws::upgrade(&state, call, on).await }))
            .boxed(),
        warp::path!("v1" / "events")
            .and(warp::get())
            .and(with.clone())
            .then(|state, call| answer(read(state, call, None)))
            .boxed(),
        warp::path!("v1" / "tickets")
            .and(warp::post())
            .and(with.clone())
            .then(|state, call| answer(ticket(state, call)))
            .boxed(),
        warp::path!("v1" / "connections" / String)
            .and(warp::patch())
            .and(with.clone())
            .and(body())
            .then(|id, state, call, body| answer(change_connection(state, call, id, body)))
            .boxed(),
        warp::path!("v1" / "connections" / String)
            .and(warp::delete())
            .and(with.clone())
            .then(|id, state, call| answer(end_connection(state, call, id)))
            .boxed(),
        warp::path!("v1" / "tenants" / String / "documents")
            .and(warp::post())
            .and(with.clone())
            .and(body())
            .then(|tenant, state, call, body| answer(create_document(state, call, tenant, body)))
            .boxed(),
        warp::path!("v1" / "tenants" / String / "watched" / String / String)
            .and(warp::get())
            .and(with.clone())
            .then(|tenant, table, key, state, call| answer(watched(state, call, [tenant, table], Some(key))))
            .boxed(),
        warp::path!("v1" / "tenants" / String / "watched" / String)
            .and(warp::get())
            .and(with.clone())
            .then(|tenant, table, state, call| answer(watched(state, call, [tenant, table], None)))
            .boxed(),
        warp::path!("v1" / "status")
            .and(warp::get())
            .and(with.clone())
            .then(|state, call| answer(about(state, call, About::Status)))
            .boxed(),
        warp::path!("v1" / "session")
            .and(warp::get())
            .and(with.clone())
            .then(|state, call| answer(about(state, call, About::Session)))
            .boxed(),
        warp::path!("v1" / "stats")
            .and(warp::get())
            .and(with.clone())
            .then(|state, call| answer(about(state, call, About::Stats)))
            .boxed(),
        warp::path!("livez")
            .and(warp::get())
            .map(|| status::json(StatusCode::OK, &serde_json::json!({"live": true})))
            .boxed(),
        warp::path!("readyz")
            .and(warp::get())
            .and(with.clone())
            .then(|state: Arc<State>, _| answer(async move { status::ready(&state) }))
            .boxed(),
        warp::path!("metrics")
            .and(warp::get())
            .and(with.clone())
            .map(|state: Arc<State>, _| status::metrics(&state))
            .boxed(),
        warp::path::end()
            .and(warp::get())
            .and(with)
            .then(|state, call| answer(async move { pages::index(&state, &call).await }))
            .boxed(),
    ];
    let nothing = warp::any().and_then(|| async { Err::<Response, _>(warp::reject::not_found()) }).boxed();
    let routes = all.into_iter().fold(nothing, |others, route| others.or(route).unify().boxed());
    routes.recover(refuse).map(Reply::into_response).boxed()
}

type Body = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

fn body() -> BoxedFilter<(Body,)> {
    let whole = |piece: Result<_, warp::Error>| {
        piece.map(|mut buf| {
            let size = Buf::remaining(&buf);
            Buf::copy_to_bytes(&mut buf, size)
        })
    };
    warp::body::stream().map(move |stream| -> Body { Box::pin(StreamExt::map(stream, whole)) }).boxed()
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

async fn publish(state: Arc<State>, call: Call, tenant: String, body: Body) -> Result<Response, Problem> {
    let principal = credential::authenticate(&state, &call, &Method::POST).await?;
    let body = publish::body(&state, &call, body).await?;
    publish::publish(&state, &call, &principal, &segment(&tenant)?, &body).await
}

async fn create_document(state: Arc<State>, call: Call, tenant: String, body: Body) -> Result<Response, Problem> {
    let principal = credential::authenticate(&state, &call, &Method::POST).await?;
    let body = publish::body(&state, &call, body).await?;
    app_api::documents::create(&state, &principal, &segment(&tenant)?, &body).await
}

async fn watched(
    state: Arc<State>,
    call: Call,
    [tenant, table]: [String; 2],
    key: Option<String>,
) -> Result<Response, Problem> {
    let principal = credential::authenticate(&state, &call, &Method::GET).await?;
    let (tenant, table) = (segment(&tenant)?, segment(&table)?);
    match key {
        Some(key) => app_api::watched::one(&state, &principal, &tenant, &table, call::key(&key)?).await,
        None => app_api::watched::several(&state, &principal, &tenant, &table, call.query("keys")).await,
    }
}

async fn ticket(state: Arc<State>, call: Call) -> Result<Response, Problem> {
    let principal = credential::authenticate(&state, &call, &Method::POST).await?;
    let ticket = credential::issue(&state, &principal).await?;
    let body = serde_json::json!({"ticket": ticket, "expires_in": credential::TICKET_S});
    Ok(status::json(StatusCode::CREATED, &body))
}

async fn change_connection(state: Arc<State>, call: Call, id: String, body: Body) -> Result<Response, Problem> {
    let principal = credential::authenticate(&state, &call, &Method::PATCH).await?;
    let change = publish::parse(&publish::body(&state, &call, body).await?)?;
    let types = state.connections.change(&id, &principal, &change)?;
    Ok(status::json(StatusCode::OK, &serde_json::json!({"types": types.iter().collect::<Vec<_>>()})))
}

async fn end_connection(state: Arc<State>, call: Call, id: String) -> Result<Response, Problem> {
    let principal = credential::authenticate(&state, &call, &Method::DELETE).await?;
    if !principal.is_admin() {
        return Err(Problem::forbidden("ending connections is for admins"));
    }
    state.connections.end(&id, |tenants| status::administers(&principal, tenants))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

enum About {
    Status,
    Session,
    Stats,
}

async fn about(state: Arc<State>, call: Call, what: About) -> Result<Response, Problem> {
    let principal = credential::authenticate(&state, &call, &Method::GET).await?;
    match what {
        About::Status => Ok(status::status(&state)),
        About::Session => Ok(status::session(&principal)),
        About::Stats => status::stats(&state, &principal),
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
