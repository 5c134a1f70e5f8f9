//! Why a command failed, as it is printed: one line, the cause chain once, a hint.
//!
//! Why a type of its own and not `anyhow`: each error has a hint and an exit code, which a boxed error would lose.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::postgres::{ConnectError, find, reason};
use crate::{app, auth, listener, migrate, private_postgres, reload, replay};

/// Exit code of a wrong configuration: EX_USAGE of sysexits.h.
const WRONG_CONFIGURATION: u8 = 64;

/// A failed command. Displays as `message (hint: …)` on one line.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    exit: u8,
}

impl Failure {
    /// Something went wrong.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: 1 }
    }

    /// A setting is wrong or missing.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self { exit: WRONG_CONFIGURATION, ..Self::new(message) }
    }

    /// What to do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The message with its causes. An error whose text holds its cause already does not repeat it.
    fn caused_by(error: &dyn Error, hint: Option<String>) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Self { hint, ..Self::new(message) }
    }

    /// 1, or 64 for a wrong configuration.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages of PostgreSQL and of initdb may have several lines.
        let one_line = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        f.write_str(&one_line(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {})", one_line(hint)),
            None => Ok(()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::configuration(error.to_string()).with_hint(error.hint)
    }
}

impl From<app::StartError> for Failure {
    fn from(error: app::StartError) -> Self {
        use app::StartError::{Auth, DatabaseUrl, NoDatabase, NoKey};
        let failure = Self::caused_by(&error, error.hint());
        match error {
            NoDatabase | DatabaseUrl(_) | NoKey | Auth(_) => Self { exit: WRONG_CONFIGURATION, ..failure },
            _ => failure,
        }
    }
}

impl From<reload::ReloadError> for Failure {
    fn from(error: reload::ReloadError) -> Self {
        Self::caused_by(&error, None)
    }
}

impl From<private_postgres::StartError> for Failure {
    fn from(error: private_postgres::StartError) -> Self {
        Self::caused_by(&error, error.hint().map(str::to_owned))
    }
}

impl From<migrate::MigrateError> for Failure {
    fn from(error: migrate::MigrateError) -> Self {
        Self::caused_by(&error, error.hint())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::caused_by(&error, Some(error.hint().to_owned()))
    }
}

impl From<listener::ListenError> for Failure {
    fn from(error: listener::ListenError) -> Self {
        Self::caused_by(&error, Some(error.hint().to_owned()))
    }
}

impl From<replay::LogError> for Failure {
    fn from(error: replay::LogError) -> Self {
        Self::caused_by(&error, None)
    }
}

impl From<auth::MintError> for Failure {
    fn from(error: auth::MintError) -> Self {
        Self::caused_by(&error, Some(error.hint().to_owned()))
    }
}

impl From<super::bench::BenchError> for Failure {
    fn from(error: super::bench::BenchError) -> Self {
        Self::caused_by(&error, error.hint().map(Into::into))
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else { return Self::caused_by(&error, None) };
        let hint = match db.code().code() {
            // undefined_function, invalid_schema_name, undefined_table
            "42883" | "3F000" | "42P01" => Some("run `tidings migrate` first".to_owned()),
            _ => db.hint().map(str::to_owned),
        };
        Self { hint, ..Self::new(db.message()) }
    }
}

impl From<deadpool_postgres::PoolError> for Failure {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) if error.as_db_error().is_some() => error.into(),
            other => {
                let hint = find::<ConnectError>(&other).map(|error| error.hint().to_owned());
                Self { hint, ..Self::new(reason(&other)) }
            }
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::caused_by(&error, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::new("initdb failed:\n  no space").with_hint("free\nsome");
        assert_eq!(failure.to_string(), "initdb failed: no space (hint: free some)");
    }

    #[test]
    fn causes_are_told_once() {
        let refused = auth::MintError::Refused(auth::AuthError::MissingClaim("tenant"));
        let text = Failure::from(refused).to_string();
        assert_eq!(text.matches("lacks the claim tenant").count(), 1, "{text}");
    }
}
