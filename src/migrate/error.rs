//! Why a migration failed, and what to do about it.

use std::error::Error as _;

use refinery::error::Kind;

use super::LOCK_DEADLINE;
use super::layout::Layout;
use crate::postgres::ConnectError;

/// Why the schema could not be brought to this version. Nothing of the failed file stays.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The connection could not be made.
    #[error("{0}")]
    Connection(#[from] ConnectError),
    /// It was lost.
    #[error("the database cannot be reached any more: {}", database_message(.0))]
    Broken(#[source] tokio_postgres::Error),
    /// The server closed the connection.
    #[error("the database closed the connection while migrating")]
    Closed,
    /// It is too old.
    #[error("PostgreSQL {0} is too old")]
    Server(String),
    /// It is a standby.
    #[error("the database is a standby and cannot be migrated")]
    Standby,
    /// Another instance has held the lock for a minute.
    #[error("another instance has been migrating for {} s", LOCK_DEADLINE.as_secs())]
    Locked,
    /// It was migrated by a later version.
    #[error("{history} is at version {found}, and this tidings knows only {known}")]
    Newer {
        /// The history table.
        history: &'static str,
        /// The newest version applied.
        found: i32,
        /// The newest version we have.
        known: i32,
    },
    /// An applied file is not the one we have, or one in the middle is missing.
    #[error("the migration {0} was applied with another content, or out of order")]
    Diverged(String),
    /// It is there already, and somebody else's.
    #[error("schema tidings belongs to {0} already")]
    Owned(String),
    /// The functions of schema `tidings_app` are for other tables already.
    #[error("schema tidings_app is for the layout {} already, not {}", .found.as_str(), .asked.as_str())]
    OtherLayout {
        /// The layout that the database has.
        found: Layout,
        /// The layout that was asked for.
        asked: Layout,
    },
    /// A statement failed.
    #[error("{what}: {message}")]
    Sql {
        /// What was being done.
        what: String,
        /// What PostgreSQL said.
        message: String,
        /// What to do about it, where it can be told from the SQLSTATE or PostgreSQL's own hint.
        hint: Option<String>,
    },
    /// A file of ours is misnamed.
    #[error("the migrations of this build are unusable: {0}")]
    Build(String),
}

impl MigrateError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Connection(error) => error.hint(),
            Self::Broken(_) | Self::Closed => "see PostgreSQL's log",
            Self::Owned(_) => "leave out --owner, or hand it over first: select tidings._give_to('the new owner')",
            Self::Server(_) => "tidings needs PostgreSQL 14 or later",
            Self::Standby => "point database.url at the primary",
            Self::Locked => "look for its session: select * from pg_locks where locktype = 'advisory'",
            Self::Newer { .. } => "run the newer tidings; schemas are not taken back",
            Self::Diverged(_) => "run the tidings that this database was migrated with, or start from an empty schema",
            Self::OtherLayout { found, asked } => {
                let (found, asked) = (found.as_str(), asked.as_str());
                return Some(format!(
                    "run `tidings migrate --app {found}`; to change over, drop schema tidings_app and its history table first \
                     (docs/application.md), then `--app {asked}`"
                ));
            }
            Self::Build(_) => return None,
            Self::Sql { hint, .. } => return hint.clone(),
        };
        Some(hint.to_owned())
    }
}

fn sql_hint(error: &tokio_postgres::Error) -> Option<String> {
    let db = error.as_db_error()?;
    match db.code().code() {
        // insufficient_privilege
        "42501" => Some(
            "run `tidings migrate` as a role that may create a schema in this database, and set database.migrate = false"
                .to_owned(),
        ),
        // duplicate_table, duplicate_schema
        "42P07" | "42P06" => Some(
            "an object of that name exists already; beside tables of your own leave out --app and write the functions of \
             schema tidings_app for them"
                .to_owned(),
        ),
        // lock_not_available
        "55P03" => Some("a long transaction holds the lock; try again when it has ended".to_owned()),
        _ => db.hint().map(str::to_owned),
    }
}

/// Message of a database error without the driver's wrapping.
fn database_message(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => db.message().to_owned(),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

pub(super) fn failed(what: &str) -> impl FnOnce(tokio_postgres::Error) -> MigrateError {
    move |error| sql_error(what, &error)
}

fn sql_error(what: &str, error: &tokio_postgres::Error) -> MigrateError {
    MigrateError::Sql { what: what.to_owned(), message: database_message(error), hint: sql_hint(error) }
}

pub(super) fn from_refinery(error: refinery::Error) -> MigrateError {
    match error.kind() {
        Kind::DivergentVersion(migration, _) | Kind::MissingVersion(migration) => {
            MigrateError::Diverged(migration.to_string())
        }
        // refinery boxes the driver's error; message, hint and code are in there.
        Kind::Connection(what, source) => match source.downcast_ref::<tokio_postgres::Error>() {
            Some(error) => sql_error(what, error),
            None => MigrateError::Build(format!("{what}: {source}")),
        },
        other => MigrateError::Build(other.to_string()),
    }
}
