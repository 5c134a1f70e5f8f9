//! In front of the routes: what [`head`] refuses, a request id on every answer, CORS for allowed origins, headers that every
//! answer has.
//!
//! Why not `warp::cors`: it sets no `Vary: Origin`, and refuses requests of this host's own pages once a list is given.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use warp::reply::Response;

use super::State;
use super::head;
use super::serve::Conn;

/// A service around the routes.
#[derive(Clone)]
pub struct Front<S> {
    routes: S,
    conn: Conn,
    state: Arc<State>,
}

impl<S> Front<S> {
    /// For one connection.
    pub fn new(routes: S, conn: Conn, state: Arc<State>) -> Self {
        Self { routes, conn, state }
    }
}

impl<S, B> tower_service::Service<Request<B>> for Front<S>
where
    S: tower_service::Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.routes.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.conn.clone());
        let id = request_id(request.headers());
        let origin = self.allowed_origin(request.headers());
        let refused = head::check(&mut request).err();
        if let Some(problem) = &refused {
            self.state.metrics.refused(problem.code);
        }
        // Nothing more is read from a client whose head was refused, either. HTTP/2 keeps its requests apart by itself.
        let last = request.version() < Version::HTTP_2 && (refused.is_some() || head::is_last(&request));
        let preflight =
            request.method() == Method::OPTIONS && request.headers().contains_key("access-control-request-method");
        let answer = (!preflight && refused.is_none()).then(|| self.routes.call(request));
        Box::pin(async move {
            let mut response = match (answer, refused) {
                (Some(answer), _) => answer.await?,
                (None, Some(problem)) => problem.response(),
                (None, None) => allow(origin.is_some()),
            };
            let headers = response.headers_mut();
            if last {
                headers.insert("connection", HeaderValue::from_static("close"));
            }
            headers.insert("x-request-id", id);
            headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
            // Also where no origin is allowed: what a cookie vouches for depends on it.
            headers.append("vary", HeaderValue::from_static("origin"));
            if let Some(origin) = origin {
                headers.insert("access-control-allow-origin", origin);
                headers.insert("access-control-allow-credentials", HeaderValue::from_static("true"));
                headers.insert(
                    "access-control-expose-headers",
                    HeaderValue::from_static("x-request-id, retry-after, etag, poll-after-ms"),
                );
            }
            Ok(response)
        })
    }
}

impl<S> Front<S> {
    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut said = headers.get_all("origin").iter();
        let origin = said.next().filter(|_| said.next().is_none())?;
        let in_force = self.state.in_force.load();
        in_force.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }
}

fn allow(known: bool) -> Response {
    let mut response = Response::default();
    *response.status_mut() = if known { StatusCode::NO_CONTENT } else { StatusCode::FORBIDDEN };
    if known {
        let allowed: [(HeaderName, &str); 3] = [
            (HeaderName::from_static("access-control-allow-methods"), "GET, POST, PUT, PATCH, DELETE"),
            (
                HeaderName::from_static("access-control-allow-headers"),
                "authorization, content-type, idempotency-key, if-none-match, last-event-id",
            ),
            (HeaderName::from_static("access-control-max-age"), "600"),
        ];
        response.headers_mut().extend(allowed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    }
    response
}

/// The caller's id for the request, if it is harmless in a log; else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let harmless = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let given =
        headers.get("x-request-id").filter(|id| (1..=64).contains(&id.len()) && id.as_bytes().iter().all(harmless));
    let new = || HeaderValue::from_str(&format!("{:016x}", rand::random::<u64>()));
    given.cloned().map_or_else(new, Ok).unwrap_or_else(|_| HeaderValue::from_static("none"))
}
