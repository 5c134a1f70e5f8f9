//! Whoever makes the words: a model's server, a webhook, or an echo.

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Map, Value};

use super::application::Conversation;
use super::openai::Openai;
use super::trouble::Trouble;
use super::webhook::Webhook;
use super::{About, ResponderError, echo};
use crate::config::{self, Kind};

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    pub tenant: String,
    /// The id of the answer's message, the same for each attempt.
    pub answer: String,
    pub about: About,
    /// The system prompt.
    pub system: Option<String>,
    pub conversation: Conversation,
}

/// A part of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// More of its text.
    Text(String),
    /// For the message's metadata.
    Metadata(Map<String, Value>),
}

/// An answer as it comes; complete when it ends without an error.
pub(super) type Pieces = BoxStream<'static, Result<Piece, Trouble>>;

/// As it is configured.
pub(super) enum Voice {
    Openai(Openai),
    Webhook(Webhook),
    Echo,
}

impl Voice {
    pub(super) fn new(settings: &config::Responder) -> Result<Self, ResponderError> {
        Ok(match settings.kind {
            Kind::Openai => Self::Openai(Openai::new(settings)?),
            Kind::Webhook => Self::Webhook(Webhook::new(settings)?),
            Kind::Echo | Kind::Off => Self::Echo,
        })
    }

    /// Asks. Nothing happens before the first piece is waited for.
    pub(super) fn speak(&self, question: Question) -> Pieces {
        match self {
            Self::Openai(openai) => stream::once(openai.clone().ask(question)).try_flatten().boxed(),
            Self::Webhook(webhook) => stream::once(webhook.clone().ask(question)).try_flatten().boxed(),
            Self::Echo => echo::speak(&question),
        }
    }
}
