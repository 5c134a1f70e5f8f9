//! Answers what users say in chats, by asking a model or a webhook, and shows the words as they come.
//!
//! Place: beside the road, behind the log. A [`Consumer`] notes each question that was committed (`note`); on every instance
//! `turns` takes what is due, one answer at a time in each session; `answer` makes it: context from the application, words
//! from a `voice`, live events for whoever is watching; `ending` finishes the message and the turn in one transaction.
//!
//! Invariant: each question gets one answer, or one visible sentence that there is none, whatever crashes
//! (`a_bridge_killed_while_it_answers_leaves_one_answer`, `fifty_questions_on_two_bridges_get_fifty_answers`).
//!
//! Neither questions, answers nor keys are logged; what went wrong is told by a code.

mod answer;
mod application;
mod deltas;
mod echo;
mod ending;
mod endpoint;
mod note;
mod openai;
mod prompt;
mod trouble;
mod turns;
mod voice;
mod webhook;
pub(crate) mod wording;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Globs;
use crate::config::{self, Kind};
use crate::consumer::{self, Consumer};
use crate::metrics::Metrics;
use crate::replay::Log;
use crate::router::Router;
use answer::Answers;
use application::Application;
use note::Note;
use turns::Turns;
use voice::Voice;
use wording::Wording;

/// Name among the consumers, and of what it owes.
pub const NAME: &str = "responder";
/// The event types that hold questions.
const TYPES: &str = "chat_sessions.inserted,chat_messages.inserted";

/// What an answer is about, as the note of it keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// What a user said: the message's id.
    Message(String),
    /// A new session, which the answer opens.
    Opening,
    /// What a user has edited: the text as it is now.
    Edit(String),
}

/// The id of the answer to something in a session: the same however often it is asked for. Of the tenant and the session too,
/// for where ids of messages are unique beyond them.
pub fn answer_id(tenant: &str, session: &str, question: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in [tenant, session].iter().chain(question) {
        // NUL is in no id.
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(16).fold(String::from("ans_"), |id, byte| format!("{id}{byte:02x}"))
}

/// Why a responder cannot be made of its settings.
#[derive(Debug, thiserror::Error)]
pub enum ResponderError {
    /// A template of the configuration.
    #[error("a template of the responder cannot be read: {0}")]
    Template(#[from] minijinja::Error),
    /// The HTTP client.
    #[error("the responder's client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
    /// Settings that belong together.
    #[error("the responder cannot be made: {0}")]
    Settings(&'static str),
}

/// The parts of a responder, not running yet.
pub struct Responder {
    consumer: Consumer<Note>,
    turns: Turns,
}

impl Responder {
    /// As it is configured; none where it is switched off. Answers are written as tasks of `tasks`, so that a process that
    /// ends waits for them as it waits for its clients, until `kill`.
    ///
    /// # Errors
    /// See [`ResponderError`]; a configuration that was checked gives none but a client that cannot be made.
    pub fn new(
        settings: &config::Responder,
        bridge: &str,
        (log, router, metrics): (Log, Arc<Router>, Arc<Metrics>),
        tasks: TaskTracker,
        kill: CancellationToken,
    ) -> Result<Option<Self>, ResponderError> {
        if settings.kind == Kind::Off {
            return Ok(None);
        }
        let wake = Arc::new(Notify::new());
        let answers = Answers {
            voice: Voice::new(settings)?,
            wording: Wording::new(settings)?,
            application: Application::new(log.pool().clone()),
            metrics: metrics.clone(),
            settings: settings.clone(),
            kill,
        };
        let types = Globs::parse(TYPES).map_err(|_| ResponderError::Settings("its event types are no globs"))?;
        let take = Note { opens: !settings.opening.is_empty(), wake: wake.clone() };
        let turns = Turns::new(log.pool().clone(), answers, settings.in_flight, wake, tasks);
        let bridge = bridge.to_owned();
        let consumer = Consumer { name: NAME.to_owned(), types, bridge, log, router, metrics, take };
        Ok(Some(Self { consumer, turns }))
    }

    /// Notes questions and begins answers until `stop`; then another instance may take over.
    pub async fn run(self, stop: CancellationToken) {
        let (log, bridge) = (self.consumer.log.clone(), self.consumer.bridge.clone());
        tokio::join!(self.consumer.run(stop.clone()), self.turns.run(stop));
        consumer::give_back(&log, &bridge).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_one_id_and_shares_it_with_no_other() {
        let id = answer_id("acme", "s1", &["message", "m1"]);
        assert_eq!(id, answer_id("acme", "s1", &["message", "m1"]));
        assert_eq!(id.len(), 36);
        for (tenant, session, question) in [
            ("globex", "s1", &["message", "m1"][..]),
            ("acme", "s2", &["message", "m1"]),
            ("acme", "s1", &["message", "m2"]),
            ("acme", "s1", &["opening"]),
            ("acme", "s1message", &["", "m1"]),
        ] {
            assert_ne!(id, answer_id(tenant, session, question));
        }
    }
}
