//! What a route is, and how a list of them becomes one warp filter.
//!
//! Routes are values, so that the documents at `/v1/openapi.json` are made from the same list that is served
//! (`every_route_is_documented_and_nothing_else`).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use hyper::upgrade::OnUpgrade;
use serde::de::DeserializeOwned;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::call::{Call, call, segment};
use super::credential;
use super::problem::Problem;
use super::publish;
use super::rate::Kind;
use super::{PROBES, State};
use crate::auth::Principal;
use crate::event::TenantId;
use crate::telemetry::Answered;

/// Code of a refused method.
const NOT_ALLOWED: &str = "method_not_allowed";
/// Where WebSockets are opened.
pub const SOCKET: &str = "/v1/ws";

type Answering = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;
type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

/// A method at an address, and what answers it.
pub struct Route {
    /// One method.
    pub method: Method,
    /// The address; `{name}` stands for one segment.
    pub path: &'static str,
    answer: Box<dyn Fn(Arc<State>, Request) -> Answering + Send + Sync>,
}

/// A route. The function authenticates by itself, so that no route's refusal can mask another's.
pub fn route<F>(method: Method, path: &'static str, answer: fn(Arc<State>, Request) -> F) -> Route
where
    F: Future<Output = Result<Response, Problem>> + Send + 'static,
{
    Route { method, path, answer: Box::new(move |state, request| Box::pin(answer(state, request))) }
}

/// One request.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Headers, query and connection.
    pub call: Call,
    /// For a connection that may become a WebSocket.
    pub upgrade: Option<OnUpgrade>,
    segments: Vec<String>,
    body: Body,
}

impl Request {
    /// Who is calling.
    pub fn principal<'a>(&'a self, state: &'a State) -> impl Future<Output = Result<Principal, Problem>> + Send + 'a {
        credential::authenticate(state, &self.call, &self.method)
    }

    /// Who is calling, and the tenant of the path's first variable segment, which they may enter and have not asked about too often.
    pub async fn enter(&mut self, state: &State) -> Result<(Principal, TenantId), Problem> {
        let principal = self.principal(state).await?;
        let tenant = credential::enter(&principal, &self.segment(0)?)?;
        state.rates.enter(&tenant, &principal.sub, &state.in_force.load().limits)?;
        Ok((principal, tenant))
    }

    /// Who is calling, who has not asked for this kind of thing too often.
    pub fn caller<'a>(
        &'a self,
        state: &'a State,
        kind: Kind,
    ) -> impl Future<Output = Result<Principal, Problem>> + Send + 'a {
        let found = self.principal(state);
        async move {
            let principal = found.await?;
            state.rates.take(kind, &principal, &state.in_force.load().limits)?;
            Ok(principal)
        }
    }

    /// The text of the path's n-th variable segment, percent-decoded: 1 to 255 bytes without control characters.
    pub fn segment(&self, n: usize) -> Result<String, Problem> {
        segment(self.raw(n))
    }

    /// The same as it was sent.
    pub fn raw(&self, n: usize) -> &str {
        self.segments.get(n).map_or("", String::as_str)
    }

    /// The body, which must be JSON, in bytes.
    pub async fn bytes(&mut self, state: &State) -> Result<Vec<u8>, Problem> {
        publish::body(state, &self.call, &mut self.body).await
    }

    /// The next piece of a body that is read as it comes; none at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Problem> {
        let incomplete = |_| Problem::new(StatusCode::BAD_REQUEST, "body_incomplete", "the body ended early");
        self.body.next().await.transpose().map_err(incomplete)
    }

    /// The body as its type.
    pub async fn json<T: DeserializeOwned>(&mut self, state: &State) -> Result<T, Problem> {
        publish::parse(&self.bytes(state).await?)
    }

    /// The same where there need be no body.
    pub async fn json_or_empty<T: DeserializeOwned + Default>(&mut self, state: &State) -> Result<T, Problem> {
        let body = publish::content(state, &self.call, &mut self.body).await?;
        if body.is_empty() {
            return Ok(T::default());
        }
        publish::must_be_json(&self.call)?;
        publish::parse(&body)
    }
}

/// All routes as one filter.
pub fn filter(routes: Vec<Route>, state: Arc<State>) -> BoxedFilter<(Response,)> {
    let mut addresses: BTreeMap<&str, Vec<Route>> = BTreeMap::new();
    for route in routes {
        addresses.entry(route.path).or_default().push(route);
    }
    let nothing = warp::any().and_then(|| async { Err::<Response, _>(warp::reject::not_found()) }).boxed();
    // Each is boxed: the type of all together would take the compiler minutes. Literal segments sort before `{`, so that
    // they are tried first.
    addresses
        .into_iter()
        .fold(nothing, |others, (path, routes)| others.or(address(path, routes.into(), state.clone())).unify().boxed())
}

/// The routes at one address, which differ in their methods.
fn address(path: &'static str, routes: Arc<[Route]>, state: Arc<State>) -> BoxedFilter<(Response,)> {
    segments(path)
        .and(warp::method())
        .and(call())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(body())
        .then(move |segments, method: Method, call: Call, upgrade, body| {
            let (routes, state) = (routes.clone(), state.clone());
            async move {
                let metrics = state.metrics.clone();
                let Some(route) = routes.iter().find(|route| answers(route, &method)) else {
                    metrics.refused(NOT_ALLOWED);
                    return not_allowed(&routes);
                };
                let (began, telemetry) = (SystemTime::now(), state.telemetry.clone());
                let trace = call.header("traceparent").map(str::to_owned);
                let probe = PROBES.contains(&path);
                let request = Request { method, call, upgrade, segments, body };
                let answered = match stranger(&state, path, &request.call) {
                    Ok(()) => (route.answer)(state, request).await,
                    Err(problem) => Err(problem),
                };
                let response = answered.unwrap_or_else(|problem| {
                    // To a probe it is an answer, and no refusal.
                    if !probe {
                        metrics.refused(problem.code);
                    }
                    problem.response()
                });
                let (method, status) = (route.method.as_str(), response.status().as_u16());
                metrics.request(path, method, status);
                if !probe {
                    telemetry.answered(&Answered { route: path, method, status, began, trace: trace.as_deref() });
                }
                response
            }
        })
        .boxed()
}

/// Counts a request that shows no credential. One that shows a wrong one is counted where that is looked at.
fn stranger(state: &State, path: &str, call: &Call) -> Result<(), Problem> {
    if PROBES.contains(&path) || credential::is_shown(call) || call.headers.contains_key("webhook-signature") {
        return Ok(());
    }
    let in_force = state.in_force.load();
    state.rates.stranger(call.address(&in_force), &in_force.limits)
}

/// Matches the whole path; extracts its variable segments as they were sent.
fn segments(path: &'static str) -> BoxedFilter<(Vec<String>,)> {
    let start = warp::any().map(Vec::new).boxed();
    let all = path.split('/').filter(|segment| !segment.is_empty()).fold(start, |before, segment| {
        if segment.starts_with('{') {
            let push = |mut found: Vec<String>, segment: String| {
                found.push(segment);
                found
            };
            before.and(warp::path::param()).map(push).boxed()
        } else {
            before.and(warp::path(segment)).boxed()
        }
    });
    all.and(warp::path::end()).boxed()
}

fn body() -> BoxedFilter<(Body,)> {
    let whole = |piece: Result<_, warp::Error>| {
        piece.map(|mut buf| {
            let size = Buf::remaining(&buf);
            Buf::copy_to_bytes(&mut buf, size)
        })
    };
    warp::body::stream().map(move |stream| -> Body { Box::pin(StreamExt::map(stream, whole)) }).boxed()
}

/// A GET answers HEAD too: hyper sends the head of its answer and leaves out the body. A socket has no head to look at.
fn answers(route: &Route, method: &Method) -> bool {
    route.method == method || method == Method::HEAD && route.method == Method::GET && route.path != SOCKET
}

fn not_allowed(routes: &[Route]) -> Response {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let allowed = known.iter().filter(|method| routes.iter().any(|route| answers(route, method)));
    let methods: Vec<&str> = allowed.map(Method::as_str).collect();
    let detail = format!("this address has {}", methods.join(", "));
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, NOT_ALLOWED, detail).response();
    if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
        response.headers_mut().insert("allow", methods);
    }
    response
}
