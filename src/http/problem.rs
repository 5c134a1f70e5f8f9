//! Refusals as RFC 9457 `application/problem+json`: a stable `code`, what happened, to what, what to do; no internals.

use std::borrow::Cow;

use serde_json::value::RawValue;
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use crate::auth::AuthError;
use crate::reading::ReadError;
use crate::refrain::Refrain;
use crate::replay::LogError;

/// A refusal. `code` is stable and part of the protocol; `detail` is for people.
#[derive(Debug)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable name.
    pub code: &'static str,
    detail: String,
    field: Option<Cow<'static, str>>,
    current: Option<Box<RawValue>>,
    /// Further members, of problems that say more.
    more: Option<Box<serde_json::Value>>,
    retry_after_s: Option<u32>,
}

impl Problem {
    /// A refusal that is not about one field.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None, current: None, more: None, retry_after_s: None }
    }

    /// A value that cannot be used, 422.
    pub fn field(field: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail);
        Self { field: Some(field.into()), ..problem }
    }

    /// A problem that is about the body as a whole is about this field of it, where all others were checked before.
    pub fn blame(self, field: &'static str) -> Self {
        match self.field.as_deref() {
            Some("body") => Self { field: Some(field.into()), ..self },
            _ => self,
        }
    }

    /// Somebody else was first, 409: with the state that things are in now.
    pub fn conflict(detail: impl Into<String>, current: Option<Box<RawValue>>) -> Self {
        Self { current, ..Self::new(StatusCode::CONFLICT, "conflict", detail) }
    }

    /// With further members.
    pub fn with(self, more: serde_json::Value) -> Self {
        Self { more: Some(Box::new(more)), ..self }
    }

    /// Come back later, 429 or 503: after so many seconds, or up to twice as many.
    pub fn later(status: StatusCode, code: &'static str, detail: &str, after_s: u32) -> Self {
        Self { retry_after_s: Some(after_s), ..Self::new(status, code, detail) }
    }

    /// Not this caller's, 403.
    pub fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// No such thing, 404.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is nothing at this address; see /v1/status and the documentation",
        )
    }

    /// The process is ending, 503.
    pub fn draining() -> Self {
        Self::later(StatusCode::SERVICE_UNAVAILABLE, "draining", "this instance is shutting down; connect again", 1)
    }

    /// As the members of an error frame: code, message, and field or current state where there is one.
    pub fn error(&self) -> serde_json::Value {
        let mut error = serde_json::json!({"code": self.code, "message": self.detail});
        if let Some(field) = &self.field {
            error["field"] = field.as_ref().into();
        }
        if let Some(current) = self.current.as_ref().and_then(|json| serde_json::from_str(json.get()).ok()) {
            error["current"] = current;
        }
        error
    }

    /// The text for people.
    pub fn message(&self) -> &str {
        &self.detail
    }

    /// The response.
    pub fn response(&self) -> Response {
        let mut body = serde_json::json!({
            "type": format!("urn:tidings:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(field) = &self.field {
            body["field"] = field.as_ref().into();
        }
        if let Some(current) = self.current.as_ref().and_then(|json| serde_json::from_str(json.get()).ok()) {
            body["current"] = current;
        }
        if let (Some(serde_json::Value::Object(more)), Some(body)) = (self.more.as_deref(), body.as_object_mut()) {
            body.extend(more.clone());
        }
        let mut response = Response::new(body.to_string().into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/problem+json"));
        headers.insert("cache-control", HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            // Those who are told at the same moment come back over some time.
            let seconds = seconds.saturating_add(rand::random_range(0..=seconds.max(1)));
            headers.insert("retry-after", seconds.into());
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert("upgrade", HeaderValue::from_static("websocket"));
            headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert("www-authenticate", HeaderValue::from_static("Bearer realm=\"tidings\""));
        }
        response
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let detail = format!("{error}; {}", error.hint());
        match error {
            AuthError::KeysUnavailable => Self::later(StatusCode::SERVICE_UNAVAILABLE, error.code(), &detail, 5),
            _ => Self::new(StatusCode::UNAUTHORIZED, error.code(), detail),
        }
    }
}

/// What requests say of a database that is away: thousands may ask it at once.
static REFRAIN: Refrain = Refrain::new();

/// Logged here; the client learns only that the log is away.
impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        if matches!(error, LogError::Busy) {
            let detail = "this tenant asks for more than can be answered at once; try again";
            return Self::later(StatusCode::SERVICE_UNAVAILABLE, "busy", detail, 2);
        }
        if let Some(unsaid) = REFRAIN.say(error.in_short()) {
            tracing::warn!(%error, unsaid, "a request could not read or write the database");
        }
        Self::later(
            StatusCode::SERVICE_UNAVAILABLE,
            "database_unavailable",
            "the database cannot be reached now; try again",
            2,
        )
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Log(error) => error.into(),
            ReadError::Gone(reset) => Self::new(
                StatusCode::GONE,
                reset.reason(),
                "events after this cursor are no longer known: fetch the state again and go on without after",
            ),
        }
    }
}

impl From<deadpool_postgres::PoolError> for Problem {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        LogError::from(error).into()
    }
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        LogError::from(error).into()
    }
}
