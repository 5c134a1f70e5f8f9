//! Chats of a tenant: sessions, their messages, who is typing and who looks on. The same rules over REST and as commands of a
//! WebSocket, since both end in the same functions.
//!
//! Invariant: to a member a session of somebody else's is not there, in no way that differs from one that never was
//! (`a_session_of_somebody_else_is_not_there`); what is for admins is refused to others before anything is looked up.

mod changes;
mod commands;
mod messages;
mod sessions;
mod typing;
mod view;

use serde_json::Value;
use warp::http::StatusCode;

pub use commands::{COMMANDS, Command, command};
pub use sessions::Move;
pub use typing::Gate;

use crate::auth::Principal;
use crate::event::TenantId;
use crate::http::call::is_name;
use crate::http::problem::Problem;
use crate::http::route::{Request, Route};

/// Below `/v1/tenants/{tenant}`.
pub fn routes() -> Vec<Route> {
    [sessions::routes(), messages::routes(), typing::routes(), view::routes()].into_iter().flatten().collect()
}

/// Whose sessions the caller may read: everybody's, as an admin of the tenant, or their own.
fn reader<'a>(principal: &'a Principal, tenant: &TenantId) -> Option<&'a str> {
    (!principal.is_admin_of(tenant.as_str())).then_some(&*principal.sub)
}

/// Whose sessions the caller may write into: services write for others, so everybody's too.
fn writer<'a>(principal: &'a Principal, tenant: &TenantId) -> Option<&'a str> {
    (!principal.may_publish(tenant.as_str())).then_some(&*principal.sub)
}

fn admins_only(principal: &Principal, tenant: &TenantId) -> Result<(), Problem> {
    if principal.is_admin_of(tenant.as_str()) {
        Ok(())
    } else {
        Err(Problem::forbidden("this is for admins of the tenant"))
    }
}

fn no_session() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no chat session of this id")
}

/// Whether a text may be stored in a field of so many bytes.
fn bounded(field: &'static str, text: Option<&str>, bytes_max: usize) -> Result<(), Problem> {
    match text {
        Some(text) if text.is_empty() || text.len() > bytes_max || text.contains('\0') => {
            Err(Problem::field(field, format!("{field} must be 1 to {bytes_max} bytes without NUL")))
        }
        _ => Ok(()),
    }
}

/// Ids of users and messages stand in paths, places and lists, so they keep to what names keep to.
fn named(field: &'static str, text: Option<&str>) -> Result<(), Problem> {
    match text {
        Some(text) if !is_name(text) => {
            Err(Problem::field(field, format!("{field} must be 1 to 255 bytes without control characters")))
        }
        _ => Ok(()),
    }
}

/// Metadata as JSON text; null where there is none.
fn metadata(value: Option<&Value>) -> Result<Option<String>, Problem> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(members)) => Ok(serde_json::to_string(members).ok()),
        Some(_) => Err(Problem::field("metadata", "metadata must be an object")),
    }
}

/// A text parameter of the query that PostgreSQL can take.
fn text_of<'a>(request: &'a Request, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let text = request.call.query(name);
    bounded(name, text, 2048)?;
    Ok(text)
}
