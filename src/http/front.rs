//! In front of the routes: a request id on every answer, CORS for allowed origins, headers that every answer has.
//!
//! Why not `warp::cors`: it sets no `Vary: Origin`, and refuses requests of this host's own pages once a list is given.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use warp::reply::Response;

use super::serve::Conn;

/// A service around the routes.
#[derive(Clone)]
pub struct Front<S> {
    routes: S,
    conn: Conn,
    origins: Arc<[String]>,
}

impl<S> Front<S> {
    /// For one connection.
    pub fn new(routes: S, conn: Conn, origins: Arc<[String]>) -> Self {
        Self { routes, conn, origins }
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
        let listed = !self.origins.is_empty();
        let preflight =
            request.method() == Method::OPTIONS && request.headers().contains_key("access-control-request-method");
        let answer = (!preflight).then(|| self.routes.call(request));
        Box::pin(async move {
            let mut response = match answer {
                Some(answer) => answer.await?,
                None => allow(origin.is_some()),
            };
            let headers = response.headers_mut();
            headers.insert("x-request-id", id);
            headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
            if listed {
                headers.append("vary", HeaderValue::from_static("origin"));
            }
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
        let origin = headers.get("origin")?;
        self.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
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
