//! `POST …/events`: one event from outside the database, logged and delivered like any other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use warp::http::StatusCode;
use warp::reply::Response;

use super::State;
use super::call::Call;
use super::credential;
use super::problem::Problem;
use super::status::json;
use crate::auth::Principal;
use crate::event::TenantId;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    r#type: String,
    subject: Option<String>,
    audience: Option<String>,
    data: Option<Box<RawValue>>,
}

/// The tenant of a path, for a caller who may publish there.
pub fn tenant(principal: &Principal, name: &str) -> Result<TenantId, Problem> {
    let tenant = credential::enter(principal, name)?;
    if principal.may_publish(tenant.as_str()) {
        return Ok(tenant);
    }
    Err(Problem::forbidden("publishing is for the roles service and admin"))
}

/// Publishes one event; with an `Idempotency-Key` the same one only once.
pub async fn publish(
    state: &Arc<State>,
    call: &Call,
    principal: &Principal,
    tenant: &TenantId,
    body: &[u8],
) -> Result<Response, Problem> {
    let event: Publish = parse(body)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !(1..=127).contains(&event.r#type.len())
        || !event.r#type.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !event.r#type.chars().all(allowed)
    {
        return Err(Problem::field(
            "type",
            "type must be 1 to 127 of A-Z a-z 0-9 . _ - and begin with a letter or digit",
        ));
    }
    bounded("subject", event.subject.as_deref(), 1024)?;
    bounded("audience", event.audience.as_deref(), 255)?;
    let data = event.data.as_ref().map_or("{}", |raw| raw.get());
    let client = state.log.client(Some(tenant)).await?;
    let (tenant, subject, audience) = (tenant.as_str(), event.subject.as_deref(), event.audience.as_deref());
    let id: Option<String> = match call.header("idempotency-key") {
        None => {
            let statement = client.prepare_cached("select tidings.emit($1, $2, $3::text::jsonb, $4, $5)").await?;
            client
                .query_one(&statement, &[&tenant, &event.r#type, &data, &subject, &audience])
                .await
                .map_err(refused)?
                .get(0)
        }
        Some(key) if (1..=255).contains(&key.len()) => {
            let hash = Sha256::digest(body).to_vec();
            let statement =
                client.prepare_cached("select tidings._emit_once($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8)").await?;
            client
                .query_one(
                    &statement,
                    &[&tenant, &principal.sub, &key, &hash, &event.r#type, &data, &subject, &audience],
                )
                .await
                .map_err(refused)?
                .get(0)
        }
        Some(_) => return Err(Problem::field("Idempotency-Key", "Idempotency-Key must be 1 to 255 bytes")),
    };
    let id = id.ok_or_else(|| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "this Idempotency-Key was used for another request; take a new one",
        )
    })?;
    Ok(json(StatusCode::CREATED, &serde_json::json!({"id": id})))
}

/// What is JSON and still no jsonb: the other fields were checked before.
fn refused(error: tokio_postgres::Error) -> Problem {
    let class = error.code().and_then(|state| state.code().get(..2));
    if matches!(class, Some("22" | "54")) {
        return Problem::field(
            "data",
            "data holds what PostgreSQL's jsonb cannot: \\u0000, half a surrogate pair, or numbers or nesting beyond its limits",
        );
    }
    error.into()
}

fn bounded(name: &'static str, text: Option<&str>, max: usize) -> Result<(), Problem> {
    match text {
        Some(text) if text.is_empty() || text.len() > max || text.contains('\0') => {
            Err(Problem::field(name, format!("{name} must be 1 to {max} bytes without NUL")))
        }
        _ => Ok(()),
    }
}

/// Reads a JSON object into its type; says what is wrong without quoting it.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // serde reads a type from a list of its fields' values as well. Nobody means that, and a field that is added would shift it.
    if !body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        return Err(Problem::field("body", "the body must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::field("body", field_error(&error)),
        _ => Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_json",
            format!("the body is not JSON (line {}, column {})", error.line(), error.column()),
        ),
    })
}

/// serde's message names fields and types; a value that it quotes is left out.
fn field_error(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let known = ["missing field", "unknown field", "duplicate field"].iter().any(|start| message.starts_with(start));
    if known {
        message
    } else {
        format!("a value in the body is of the wrong type (line {}, column {})", error.line(), error.column())
    }
}

/// Reads a JSON request's body, bounded in size and time.
pub async fn body(
    state: &State,
    call: &Call,
    stream: impl Stream<Item = Result<Bytes, warp::Error>> + Send + Unpin,
) -> Result<Vec<u8>, Problem> {
    must_be_json(call)?;
    content(state, call, stream).await
}

/// Refuses what is said to be something else.
pub fn must_be_json(call: &Call) -> Result<(), Problem> {
    let kind = call.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if kind == "application/json" {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "send content-type: application/json",
    ))
}

/// Reads a body of any kind, bounded in size and time.
pub async fn content(
    state: &State,
    call: &Call,
    mut stream: impl Stream<Item = Result<Bytes, warp::Error>> + Send + Unpin,
) -> Result<Vec<u8>, Problem> {
    let max = state.settings.request_bytes_max;
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is larger than {max} bytes (http.request_bytes_max)"),
        )
    };
    if call.header("content-length").and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > max)
    {
        return Err(too_large());
    }
    let reading = async {
        let mut body = Vec::new();
        while let Some(piece) = stream.next().await {
            let piece =
                piece.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "body_incomplete", "the body ended early"))?;
            if body.len() + piece.len() > max {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    };
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "body_late", "the body did not arrive in time");
    timeout(Duration::from_secs(10), reading).await.map_err(late)?
}
