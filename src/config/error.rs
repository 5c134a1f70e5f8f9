//! A refused setting: where it stands, what is wrong with it, what to write instead.
//!
//! Invariant: no message holds the value of a secret (`no_error_contains_a_secret`).

/// Why a configuration was refused. Displays as one line without the hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    /// `FILE:LINE`, the environment variable or the flag. A field cannot be called `where`.
    pub place: String,
    /// What is wrong, naming the key.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl ConfigError {
    /// As one line, whatever stands in the keys that it names.
    pub(super) fn on_one_line(self) -> Self {
        let plain = |text: String| text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        Self { place: plain(self.place), message: plain(self.message), hint: plain(self.hint) }
    }
}

/// An objection to a value by code that knows neither its key nor its source.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Follows the key in a sentence: "has no unit".
    pub(super) message: String,
    pub(super) hint: String,
}

impl Refusal {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// Completes the sentence: `name` at `place` is what was objected to.
    pub(super) fn at(self, place: String, name: &str) -> ConfigError {
        ConfigError { place, message: format!("`{name}` {}", self.message), hint: self.hint }
    }
}
