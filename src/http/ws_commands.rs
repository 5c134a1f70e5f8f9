//! Commands of one connection: one runs at a time, in the order in which they were sent; a few wait.
//!
//! Why not awaited where they are read: one that waits for a row's lock would hold up the connection's events and heartbeats. Why not
//! side by side: two messages of one person would change places.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;
use warp::http::StatusCode;

use super::State;
use super::problem::Problem;
use crate::app_api;
use crate::auth::Principal;
use crate::event::text_frame;

/// Commands that wait for the one that runs: more than a person sends before an answer, and with their arguments still little memory.
const WAITING_MAX: usize = 8;

/// One command, with what it needs.
pub struct Command {
    /// What it is answered from.
    pub state: Arc<State>,
    /// Who sent it, with the rights they had then.
    pub principal: Principal,
    /// The connection it came on.
    pub connection: String,
    /// By which the client knows its result.
    pub id: String,
    /// For example `chat.end`.
    pub name: String,
    /// Its arguments, as they were sent.
    pub args: Value,
}

/// What one connection has asked for and not been answered.
#[derive(Default)]
pub struct Commands {
    /// Apart from the connection: one that has stopped reading would otherwise hold a connection of the pool meanwhile.
    running: Option<AbortOnDropHandle<Bytes>>,
    waiting: VecDeque<Command>,
}

impl Commands {
    /// Takes one; refuses it when too many wait.
    pub fn push(&mut self, command: Command) -> Option<Bytes> {
        if self.waiting.len() >= WAITING_MAX {
            let detail = "too many commands of this connection wait for an answer; wait for results";
            let problem = Problem::later(StatusCode::TOO_MANY_REQUESTS, "too_many_commands", detail, 1);
            return Some(refusal(&command.state, &command.id, &problem));
        }
        self.waiting.push_back(command);
        None
    }

    /// Goes on with them; appends results. Whether there are none left.
    pub fn poll(&mut self, cx: &mut Context<'_>, out: &mut VecDeque<Bytes>) -> bool {
        loop {
            if self.running.is_none() {
                let Some(command) = self.waiting.pop_front() else { return true };
                let tasks = command.state.tasks.clone();
                self.running = Some(AbortOnDropHandle::new(tasks.spawn(run(command))));
            }
            match self.running.as_mut().map(|running| Pin::new(running).poll(cx)) {
                Some(Poll::Ready(result)) => {
                    self.running = None;
                    // None of one that panicked.
                    out.extend(result);
                }
                _ => return false,
            }
        }
    }
}

async fn run(command: Command) -> Bytes {
    let Command { state, principal, connection, id, name, args } = command;
    match app_api::chat::command(state.clone(), principal, connection, name, args).await {
        Ok(data) => {
            // The data goes out as the database wrote it: a number may have more digits than a parser keeps.
            let head = format!(r#"{{"type":"result","id":{},"ok":true,"data":"#, Value::from(id));
            text_frame(&[head.as_bytes(), data.get().as_bytes(), b"}"])
        }
        Err(problem) => refusal(&state, &id, &problem),
    }
}

/// The result of a command that is not carried out.
pub fn refusal(state: &State, id: &str, problem: &Problem) -> Bytes {
    state.metrics.refused(problem.code);
    let result = json!({"type": "result", "id": id, "ok": false, "error": problem.error()});
    text_frame(&[result.to_string().as_bytes()])
}
