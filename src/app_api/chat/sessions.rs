//! Sessions: the list with its metrics, one of them, a new one, and what admins do with them.
//!
//! Invariant: of two admins who move a session at once, one succeeds and the other is told what it is now
//! (`of_two_admins_who_end_a_session_at_once_one_is_told_of_the_other`): the row is locked, in SQL.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::super::changes::visible;
use super::super::{application, polling};
use super::{admins_only, bounded, metadata, named, no_session, reader, text_of};
use crate::auth::Principal;
use crate::event::TenantId;
use crate::http::State;
use crate::http::problem::Problem;
use crate::http::route::{Request, Route, route};
use crate::http::status::json;

/// What a session may be.
const STATUS: [&str; 4] = ["waiting", "active", "ended", "archived"];
/// A line in a list, not a text.
const SUBJECT_BYTES_MAX: usize = 1024;

/// Below `/v1/tenants/{tenant}`.
pub(super) fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/v1/tenants/{tenant}/chat/sessions", list),
        route(Method::POST, "/v1/tenants/{tenant}/chat/sessions", create),
        route(Method::GET, "/v1/tenants/{tenant}/chat/sessions/{session}", one),
        route(Method::GET, "/v1/tenants/{tenant}/chat/metrics", metrics),
        route(Method::POST, "/v1/tenants/{tenant}/chat/sessions/{session}/end", end),
        route(Method::POST, "/v1/tenants/{tenant}/chat/sessions/{session}/archive", archive),
        route(Method::POST, "/v1/tenants/{tenant}/chat/sessions/{session}/assign", assign),
    ]
}

/// What an admin does with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nobody writes any more.
    End,
    /// It leaves the list.
    Archive,
    /// Somebody takes it up.
    Assign,
}

impl Move {
    fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Archive => "archive",
            Self::Assign => "assign",
        }
    }
}

/// `GET chat/sessions?status&q&limit&before`.
async fn list(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    visible(&principal, "chat_sessions")?;
    let status = request.call.query("status").map(status_of).transpose()?;
    let (q, before) = (text_of(&request, "q")?, text_of(&request, "before")?);
    let limit = request.call.number("limit", 50, 1..=200)? as i32;
    let sub = reader(&principal, &tenant);
    let arguments = "$2, $3::text[], $4, $5, $6";
    let found =
        application::object(&state, &tenant, "chat_sessions", arguments, &[&sub, &status, &q, &before, &limit]).await?;
    Ok(polling::answer(&request.call, found.ok_or_else(Problem::not_found)?, polling::SOON_MS))
}

fn status_of(list: &str) -> Result<Vec<String>, Problem> {
    let wanted: Vec<String> =
        list.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect();
    if wanted.is_empty() || !wanted.iter().all(|status| STATUS.contains(&status.as_str())) {
        return Err(Problem::field("status", format!("status must be of {}, separated by commas", STATUS.join(", "))));
    }
    Ok(wanted)
}

/// `GET chat/sessions/{id}`.
async fn one(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    visible(&principal, "chat_sessions")?;
    let id = request.segment(1)?;
    let sub = reader(&principal, &tenant);
    let found = application::object(&state, &tenant, "chat_session", "$2, $3", &[&sub, &id]).await?;
    Ok(polling::one(&request.call, &found.ok_or_else(no_session)?, polling::SOON_MS))
}

/// `GET chat/metrics`, for admins.
async fn metrics(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    admins_only(&principal, &tenant)?;
    let found = application::object(&state, &tenant, "chat_metrics", "", &[]).await?;
    Ok(polling::one(&request.call, &found.ok_or_else(Problem::not_found)?, polling::SOON_MS))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewSession {
    subject: Option<String>,
    metadata: Option<Value>,
    user_id: Option<String>,
}

/// `POST chat/sessions`: of the caller, or of the user on whose behalf a service or an admin asks.
async fn create(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    let new: NewSession = request.json_or_empty(&state).await?;
    bounded("subject", new.subject.as_deref(), SUBJECT_BYTES_MAX)?;
    named("user_id", new.user_id.as_deref())?;
    let metadata = metadata(new.metadata.as_ref())?;
    let user = new.user_id.as_deref().unwrap_or(&principal.sub);
    if user != principal.sub && !principal.may_publish(tenant.as_str()) {
        return Err(Problem::forbidden("a session for somebody else is begun by the roles service and admin"));
    }
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&user, &new.subject, &metadata];
    let created =
        application::call(&state, &tenant, "create_chat_session", "$2, $3, $4::text::jsonb", &parameters).await?;
    Ok(json(StatusCode::CREATED, &created))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Assignment {
    assignee: Option<String>,
}

/// `POST chat/sessions/{id}/end`, for admins.
async fn end(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    plain_move(state, request, Move::End).await
}

/// `POST chat/sessions/{id}/archive`, for admins.
async fn archive(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    plain_move(state, request, Move::Archive).await
}

async fn plain_move(state: Arc<State>, mut request: Request, what: Move) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    admins_only(&principal, &tenant)?;
    let Nothing {} = request.json_or_empty(&state).await?;
    Ok(json(StatusCode::OK, &move_session(&state, &principal, &tenant, &request.segment(1)?, what, None).await?))
}

/// `POST chat/sessions/{id}/assign {assignee?}`, for admins: to whom it names, or to the caller.
async fn assign(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    admins_only(&principal, &tenant)?;
    let Assignment { assignee } = request.json_or_empty(&state).await?;
    let id = request.segment(1)?;
    let moved = move_session(&state, &principal, &tenant, &id, Move::Assign, assignee.as_deref()).await?;
    Ok(json(StatusCode::OK, &moved))
}

/// The session after the move; 409 with the session as it is where that cannot be.
pub(super) async fn move_session(
    state: &State,
    principal: &Principal,
    tenant: &TenantId,
    id: &str,
    what: Move,
    assignee: Option<&str>,
) -> Result<Box<RawValue>, Problem> {
    admins_only(principal, tenant)?;
    named("assignee", assignee)?;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&principal.sub, &id, &what.as_str(), &assignee];
    let moved = application::call(state, tenant, "move_chat_session", "$2, $3, $4, $5", &parameters).await?;
    moved.ok_or_else(no_session)
}
