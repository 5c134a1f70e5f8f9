//! Chats as commands of a WebSocket: the same functions as behind the routes, so the same rules and refusals.

use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use warp::http::StatusCode;

use super::messages::{NewMessage, send};
use super::sessions::{Move, move_session};
use super::typing::typing;
use super::view::look;
use crate::auth::Principal;
use crate::event::TenantId;
use crate::http::State;
use crate::http::call::is_name;
use crate::http::credential;
use crate::http::problem::Problem;

/// All commands by their names: what is not listed here cannot be called.
pub const COMMANDS: [(&str, Command); 6] = [
    ("chat.send", Command::Send),
    ("chat.end", Command::Move(Move::End)),
    ("chat.archive", Command::Move(Move::Archive)),
    ("chat.assign", Command::Move(Move::Assign)),
    ("chat.typing", Command::Typing),
    ("chat.view", Command::View),
];

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Writes a message.
    Send,
    /// Ends, archives or assigns a session.
    Move(Move),
    /// Tells that the caller is typing.
    Typing,
    /// Tells what the connection shows.
    View,
}

/// Runs a command of this caller's, who is connected as `connection`; returns the `data` of its result.
///
/// # Errors
/// What the route would refuse with, and `unknown_command`.
pub async fn command(
    state: Arc<State>,
    principal: Principal,
    connection: String,
    name: String,
    args: Value,
) -> Result<Box<RawValue>, Problem> {
    let (state, principal) = (&*state, &principal);
    let mut args = Args::read(args)?;
    let known = COMMANDS.iter().find(|(known, _)| *known == name);
    let (_, command) = known.ok_or_else(|| unknown(&name))?;
    match command {
        Command::Move(Move::Assign) => {
            let ((tenant, session), assignee) = (args.place(principal)?, args.text("assignee")?);
            args.end("tenant, session, assignee")?;
            move_session(state, principal, &tenant, &session, Move::Assign, assignee.as_deref()).await
        }
        Command::Move(what) => {
            let (tenant, session) = args.place(principal)?;
            args.end("tenant, session")?;
            move_session(state, principal, &tenant, &session, *what, None).await
        }
        Command::Send => {
            let ((tenant, session), id, content) = (args.place(principal)?, args.text("id")?, args.text("content")?);
            args.end("tenant, session, id, content")?;
            let content = content.ok_or_else(|| Problem::field("content", "content is missing"))?;
            let new = NewMessage { id, content, metadata: None, role: None };
            let sent = send(state, principal, &tenant, &session, &new).await?;
            raw(&json!({"message": sent.message, "created": sent.created}))
        }
        Command::Typing => {
            let (tenant, session) = args.place(principal)?;
            args.end("tenant, session")?;
            typing(state, principal, &tenant, &session).await?;
            raw(&json!({}))
        }
        Command::View => {
            let tenant = args.tenant(principal)?;
            let session = args.session()?;
            args.end("tenant, session")?;
            look(state, principal, &tenant, &connection, session.as_deref()).await?;
            raw(&json!({}))
        }
    }
}

fn unknown(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_command", format!("this server knows no command {name:?}"))
}

fn raw(data: &Value) -> Result<Box<RawValue>, Problem> {
    to_raw_value(data)
        .map_err(|_| Problem::new(StatusCode::NOT_IMPLEMENTED, "bad_application", "the result cannot be written"))
}

/// The arguments of a command, taken one by one; what is left over is refused by its name.
struct Args(Map<String, Value>);

impl Args {
    fn read(args: Value) -> Result<Self, Problem> {
        match args {
            Value::Object(args) => Ok(Self(args)),
            Value::Null => Ok(Self(Map::new())),
            _ => Err(Problem::field("args", "args must be an object")),
        }
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Problem::field(name, format!("{name} must be a text"))),
        }
    }

    /// A tenant that the caller may enter.
    fn tenant(&mut self, principal: &Principal) -> Result<TenantId, Problem> {
        let tenant = self.text("tenant")?.filter(|tenant| is_name(tenant));
        let tenant = tenant
            .ok_or_else(|| Problem::field("tenant", "tenant must be 1 to 255 bytes without control characters"))?;
        credential::enter(principal, &tenant)
    }

    /// A session, or none where it is null; it must be said.
    fn session(&mut self) -> Result<Option<String>, Problem> {
        let wrong = || Problem::field("session", "session must be 1 to 255 bytes without control characters, or null");
        if !self.0.contains_key("session") {
            return Err(wrong());
        }
        match self.text("session")? {
            Some(session) if !is_name(&session) => Err(wrong()),
            session => Ok(session),
        }
    }

    /// Tenant and session.
    fn place(&mut self, principal: &Principal) -> Result<(TenantId, String), Problem> {
        let tenant = self.tenant(principal)?;
        let session = self.session()?;
        Ok((tenant, session.ok_or_else(|| Problem::field("session", "session is missing"))?))
    }

    /// Refuses what was not asked for.
    fn end(self, takes: &str) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            Some((name, _)) => Err(Problem::field(name, format!("this command takes {takes}"))),
            None => Ok(()),
        }
    }
}
