//! Which admin looks at which session, so that two do not answer the same person.
//!
//! A view belongs to a connection and ends with it. It is noted here and told by [`chat_presence`](crate::chat_presence).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};

use super::super::{application, polling};
use super::{admins_only, no_session};
use crate::auth::Principal;
use crate::event::TenantId;
use crate::http::State;
use crate::http::connections::View;
use crate::http::problem::Problem;
use crate::http::route::{Request, Route, route};

/// Below `/v1/tenants/{tenant}`.
pub(super) fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/v1/tenants/{tenant}/chat/presence", presence),
        route(Method::PUT, "/v1/tenants/{tenant}/chat/sessions/{session}/view", put),
        route(Method::DELETE, "/v1/tenants/{tenant}/chat/sessions/{session}/view", delete),
    ]
}

/// `GET chat/presence`, for admins: over all instances.
async fn presence(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    admins_only(&principal, &tenant)?;
    let client = state.log.client(Some(&tenant)).await?;
    let statement = client.prepare_cached("select tidings._presence($1)::text").await?;
    let sessions: String = client.query_one(&statement, &[&tenant.as_str()]).await?.get(0);
    let sessions = RawValue::from_string(sessions).map_err(|_| Problem::not_found())?;
    Ok(polling::one(&request.call, &[("sessions".to_owned(), sessions)].into(), polling::SOON_MS))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Looking {
    connection: String,
}

/// `PUT chat/sessions/{id}/view {connection}`: what this stream of the caller's shows now. It shows one at a time.
async fn put(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    admins_only(&principal, &tenant)?;
    let Looking { connection } = request.json(&state).await?;
    let view = view_of(&state, &tenant, &request.segment(1)?).await?;
    if !state.connections.view(&connection, Some(&principal), Some(view)) {
        return Err(no_connection());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE chat/sessions/{id}/view`, with the connection in the body or the query: it shows this session no longer.
async fn delete(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    admins_only(&principal, &tenant)?;
    let connection = match request.call.query("connection") {
        Some(connection) => connection.to_owned(),
        None => request.json::<Looking>(&state).await?.connection,
    };
    let gone = View { tenant, session: request.segment(1)? };
    if !state.connections.look_away(&connection, &principal, &gone) {
        return Err(no_connection());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn no_connection() -> Problem {
    Problem::field("connection", "connection must be a live stream of yours on this instance, by its id in hello")
}

/// A session of this tenant that is there, as something to look at.
async fn view_of(state: &State, tenant: &TenantId, session: &str) -> Result<View, Problem> {
    let everybody = None::<&str>;
    let found = application::call(state, tenant, "chat_session", "$2, $3", &[&everybody, &session]).await?;
    found.ok_or_else(no_session)?;
    Ok(View { tenant: tenant.clone(), session: session.to_owned() })
}

/// The same for a socket, by its own name; no session means that it shows none.
pub(super) async fn look(
    state: &State,
    principal: &Principal,
    tenant: &TenantId,
    connection: &str,
    session: Option<&str>,
) -> Result<(), Problem> {
    admins_only(principal, tenant)?;
    let view = match session {
        Some(session) => Some(view_of(state, tenant, session).await?),
        None => None,
    };
    // A socket that has ended meanwhile shows nothing.
    state.connections.view(connection, None, view);
    Ok(())
}
