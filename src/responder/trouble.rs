//! Why an answer is not made, or not now.

use std::borrow::Cow;
use std::time::Duration;

/// What went wrong: a code for logs and for the metadata of the message that tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Such as `http_429`, `timeout`, `cut_off`.
    pub code: Cow<'static, str>,
    /// Whether it may pass.
    pub passes: bool,
    /// When to try again, where the other side said so.
    pub after: Option<Duration>,
}

impl Trouble {
    /// What may pass.
    pub(super) fn passing(code: &'static str) -> Self {
        Self { code: code.into(), passes: true, after: None }
    }

    /// What stays as it is.
    pub(super) fn lasting(code: &'static str) -> Self {
        Self { code: code.into(), passes: false, after: None }
    }
}

/// Why an attempt ended without an answer.
#[derive(Debug)]
pub(super) enum Halt {
    /// The turn is another's by now: nothing more may be written.
    Lost,
    /// No answer is wanted, and why.
    Unwanted(&'static str),
    /// The process ends: another instance shall go on at once.
    Stopped,
    /// Something went wrong.
    Trouble(Trouble),
}

impl From<Trouble> for Halt {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<deadpool_postgres::PoolError> for Halt {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        tracing::debug!(%error, "no database connection for an answer");
        Self::Trouble(Trouble::passing("database"))
    }
}

/// What the application's functions refuse is its decision; the rest is the database's trouble.
impl From<tokio_postgres::Error> for Halt {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code().map(tokio_postgres::error::SqlState::code) {
            Some("TD404") => Self::Unwanted("gone"),
            Some("TD409") => Self::Unwanted("ended"),
            Some("3F000" | "42883" | "42P01") => {
                tracing::warn!(
                    "this database has no functions in schema tidings_app to answer with; see docs/application.md"
                );
                Self::Trouble(Trouble::passing("no_application"))
            }
            // Operator intervention, too little of something, no connection, conflicts with others, locks: all of them pass.
            Some(code) if !["57", "53", "08", "40", "55"].contains(&&code[..2]) => {
                tracing::warn!(code, "the application refused to give a context or to take an answer");
                Self::Trouble(Trouble::passing("application"))
            }
            _ => {
                tracing::debug!(%error, "an answer could not be written");
                Self::Trouble(Trouble::passing("database"))
            }
        }
    }
}
