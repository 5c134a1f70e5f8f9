//! Messages of a session: its pages in both directions, what changed since a cursor, and a new one.
//!
//! Invariant: a message is there once, however often it is sent (`eight_sends_of_one_id_make_one_message`), and who reads the list and
//! subscribes from its cursor sees each once (`history_and_then_the_stream_from_its_cursor_show_each_message_once`).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::super::changes::visible;
use super::super::{application, polling};
use super::{bounded, changes, metadata, named, no_session, reader, text_of, writer};
use crate::auth::Principal;
use crate::event::TenantId;
use crate::http::State;
use crate::http::problem::Problem;
use crate::http::route::{Request, Route, route};
use crate::http::status::json;

/// What a person types or a model answers; documents are uploaded.
const CONTENT_BYTES_MAX: usize = 32 << 10;
/// Who speaks in a message.
const ROLES: [&str; 3] = ["user", "assistant", "system"];

/// Below `/v1/tenants/{tenant}`.
pub(super) fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/v1/tenants/{tenant}/chat/sessions/{session}/messages", list),
        route(Method::POST, "/v1/tenants/{tenant}/chat/sessions/{session}/messages", create),
    ]
}

/// `GET chat/sessions/{id}/messages?after&before&limit`.
async fn list(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    visible(&principal, "chat_messages")?;
    let session = request.segment(1)?;
    let (after, before) = (text_of(&request, "after")?, text_of(&request, "before")?);
    let limit = request.call.number("limit", 50, 1..=200)?;
    let sub = reader(&principal, &tenant);
    let place = match (after, before) {
        (Some(_), Some(_)) => return Err(Problem::field("before", "send either after or before")),
        (Some(after), None) if !is_place(after) => {
            let found = changes::since(&state, &request.call, &tenant, sub, &session, limit as usize).await?;
            return Ok(polling::answer(&request.call, found, polling::SOON_MS));
        }
        (None, Some("end")) => None,
        (after, before) => after.or(before),
    };
    let (none, backwards, limit) = (None::<Vec<String>>, before.is_some(), limit as i32);
    let found = application::object(
        &state,
        &tenant,
        "chat_messages",
        "$2, $3, $4::text[], $5, $6, $7",
        &[&sub, &session, &none, &place, &backwards, &limit],
    )
    .await?;
    Ok(polling::answer(&request.call, found.ok_or_else(no_session)?, polling::SOON_MS))
}

/// Whether this is a place in a list and not a cursor. The cursor of a page begins in the same way, but with the eight hexadecimal
/// digits of a history; a place with the microseconds since 1970.
fn is_place(text: &str) -> bool {
    let digits = text.strip_prefix("p.").and_then(|rest| rest.split('.').next());
    digits.is_some_and(|digits| digits.len() > 8 && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
}

/// A message as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMessage {
    /// Chosen by the client, so that sending again is not sending twice.
    pub id: Option<String>,
    pub content: String,
    pub metadata: Option<Value>,
    pub role: Option<String>,
}

/// `{"message", "created"}`.
#[derive(Deserialize)]
pub(super) struct Sent {
    pub message: Box<RawValue>,
    pub created: bool,
}

/// `POST chat/sessions/{id}/messages`: 201, or 200 when this id was sent before.
async fn create(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    let new: NewMessage = request.json(&state).await?;
    let sent = send(&state, &principal, &tenant, &request.segment(1)?, &new).await?;
    let status = if sent.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &sent.message))
}

/// Writes it, unless it is there already.
pub(super) async fn send(
    state: &State,
    principal: &Principal,
    tenant: &TenantId,
    session: &str,
    new: &NewMessage,
) -> Result<Sent, Problem> {
    named("id", new.id.as_deref())?;
    bounded("content", Some(&new.content), CONTENT_BYTES_MAX)?;
    let metadata = metadata(new.metadata.as_ref())?;
    let (role, admin) = (role(principal, tenant, new.role.as_deref())?, principal.is_admin_of(tenant.as_str()));
    // A service speaks for nobody by its own name.
    let sub = if admin { Some(&*principal.sub) } else { writer(principal, tenant) };
    let sent = application::call(
        state,
        tenant,
        "create_chat_message",
        "$2, $3, $4, $5, $6, $7, $8::text::jsonb",
        &[&sub, &admin, &session, &new.id, &role, &new.content, &metadata],
    )
    .await?;
    sent.and_then(|sent| serde_json::from_str(sent.get()).ok())
        .ok_or_else(|| application::not_json("create_chat_message"))
}

/// In which role the caller speaks.
fn role(principal: &Principal, tenant: &TenantId, wanted: Option<&str>) -> Result<&'static str, Problem> {
    let usual = if principal.is_admin_of(tenant.as_str()) { "assistant" } else { "user" };
    let Some(wanted) = wanted else { return Ok(usual) };
    let role = ROLES.into_iter().find(|role| *role == wanted);
    match role.ok_or_else(|| Problem::field("role", format!("role must be one of {}", ROLES.join(", "))))? {
        "user" => Ok("user"),
        role if principal.may_publish(tenant.as_str()) => Ok(role),
        _ => Err(Problem::forbidden("the roles assistant and system are for services and admins")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_of_a_page_is_not_taken_for_a_place() {
        assert!(is_place("p.1795187851418752.msg_1") && is_place("p.1795187851418752.a.b-c"));
        for cursor in [
            "p.1f3a9c2d.18342-7312-9f3a2c1b.7313..5-1-a.9..7",
            "p.12345678.1-1-a.5..1-1-a.5..3",
            "1-2-a",
            "p.",
            "p",
            "",
        ] {
            assert!(!is_place(cursor), "{cursor}");
        }
    }
}
