//! A folder of files that watch tables: reading it, running one file in a transaction, and telling where in it SQL went wrong.
//!
//! Invariant: a file runs wholly or not at all, so one that ends the transaction it runs in is told so.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow, Transaction};

use super::Failure;
use super::watch::{self, Watch};

/// How long a file may wait for a lock: writers queue behind it while it waits. Times are told in UTC, as everywhere. Compiling
/// queries over catalogs takes a second, and running them a millisecond.
pub(super) const LIMITS: &str = "set local lock_timeout = '2s'; set local statement_timeout = '1min'; set local timezone = 'UTC'; \
                                 set local jit = off";
/// A setting of the transaction. It is gone when the transaction was ended by the file.
const MARK: &str = "select set_config('tidings.running', 'a file', true)";
const MARKED: &str = "select current_setting('tidings.running', true) = 'a file'";

/// Columns without which a row is none of `tidings.watch`.
const SETTINGS: [&str; 12] = [
    "table",
    "tenant",
    "columns",
    "except_columns",
    "ops",
    "only_changed",
    "subject",
    "type",
    "audience",
    "notify",
    "strict",
    "status",
];

/// One `*.sql`.
pub(super) struct File {
    /// Path, as it is told.
    pub(super) name: String,
    pub(super) sql: String,
}

/// The `*.sql` of a folder, in the order of their names.
pub(super) fn read(dir: &Path) -> Result<Vec<File>, Failure> {
    let cannot = |path: &Path, error: std::io::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let entries = std::fs::read_dir(dir)
        .map_err(|error| cannot(dir, error).with_hint("name the folder: tidings triggers apply path/to/triggers"))?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(|error| cannot(dir, error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    if paths.is_empty() {
        return Err(Failure::new(format!("there is no *.sql in {}", dir.display()))
            .with_hint("tidings triggers new TABLE writes one"));
    }
    let file = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(sql) => Ok(File { name: path.display().to_string(), sql }),
        Err(error) => Err(cannot(&path, error)),
    };
    paths.into_iter().map(file).collect()
}

/// Why a file did not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// A statement failed, or the connection did.
    #[error(transparent)]
    Sql(#[from] tokio_postgres::Error),
    /// The file has a COMMIT or ROLLBACK.
    #[error("the file ends the transaction that it runs in")]
    Ended,
}

/// Runs a file in the transaction given. Returns what it watches: the rows that `tidings.watch` returned.
pub(super) async fn run(transaction: &Transaction<'_>, sql: &str) -> Result<Vec<Watch>, RunError> {
    transaction.batch_execute(LIMITS).await?;
    transaction.batch_execute(MARK).await?;
    let answers = transaction.simple_query(sql).await?;
    // NULL on a connection that a pooler gave us after the file's COMMIT.
    if transaction.query_one(MARKED, &[]).await?.get::<_, Option<bool>>(0) != Some(true) {
        return Err(RunError::Ended);
    }
    let rows = answers.iter().flat_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => returned_by_watch(row),
        _ => Vec::new(),
    });
    Ok(watch::of_rows(transaction, rows.collect()).await?)
}

/// The row of `select * from tidings.watch(…)` as an object of texts; the columns of `select tidings.watch(…), tidings.watch(…)` as
/// a text each, which holds a whole row. Other rows a file may select as it likes.
fn returned_by_watch(row: &SimpleQueryRow) -> Vec<Value> {
    let value = |index| row.get(index).map_or(Value::Null, Value::from);
    let columns = row.columns();
    if columns.iter().all(|column| column.name() == "watch") {
        return (0..columns.len())
            .map(value)
            .filter(|value| value.as_str().is_some_and(|text| text.starts_with('(')))
            .collect();
    }
    let members: Map<String, Value> =
        columns.iter().enumerate().map(|(index, column)| (column.name().to_owned(), value(index))).collect();
    if SETTINGS.iter().all(|name| members.contains_key(*name)) { vec![Value::Object(members)] } else { Vec::new() }
}

/// The failure of a file, with the line and column where that is known.
pub(super) fn explain(name: &str, sql: &str, error: &RunError) -> Failure {
    let error = match error {
        RunError::Ended => {
            return Failure::new(format!("{name}: {error}"))
                .with_hint("leave out begin, commit and rollback: each file runs in a transaction of its own");
        }
        RunError::Sql(error) => error,
    };
    let Some(db) = error.as_db_error() else {
        return Failure::new(format!("{name}: {error}"));
    };
    let failure = Failure::new(format!("{}: {}", place(name, sql, db), db.message()));
    match db.hint() {
        _ if *db.code() == SqlState::LOCK_NOT_AVAILABLE => failure
            .with_hint("a long transaction holds the table; nothing was changed, run it again when that has ended"),
        _ if [SqlState::INVALID_SCHEMA_NAME, SqlState::UNDEFINED_FUNCTION].contains(db.code()) => {
            failure.with_hint("if the function is tidings.watch, run `tidings migrate` first")
        }
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// `name:line:column`, or the name alone.
pub(super) fn place(name: &str, sql: &str, error: &DbError) -> String {
    let position = match error.position() {
        Some(ErrorPosition::Original(position)) => Some(*position),
        // A dry run hands the file to PostgreSQL inside of a statement of ours.
        Some(ErrorPosition::Internal { position, query }) if query == sql => Some(*position),
        _ => None,
    };
    position.map_or_else(
        || name.to_owned(),
        |position| {
            let (line, column) = line_and_column(sql, position as usize);
            format!("{name}:{line}:{column}")
        },
    )
}

/// PostgreSQL counts characters from 1; editors count lines and columns from 1.
fn line_and_column(sql: &str, position: usize) -> (usize, usize) {
    let before: String = sql.chars().take(position.saturating_sub(1)).collect();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_told_as_line_and_column() {
        assert_eq!(line_and_column("select", 1), (1, 1));
        assert_eq!(line_and_column("-- é\nselect nonsense", 13), (2, 8));
        assert_eq!(line_and_column("a", 99), (1, 2));
    }
}
