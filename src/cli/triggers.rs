//! `tidings triggers apply`: runs the files of a folder, each a `select tidings.watch(…)`.
//!
//! Invariant: a file is applied wholly or not at all, and one that fails keeps none of the others from being applied.
//!
//! Why not migrations: what is watched is a state and not a history. Files are edited and applied again; `watch` changes
//! what differs and leaves the rest alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::sleep;
use tokio_postgres::error::{ErrorPosition, SqlState};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::{Failure, database, say};
use crate::config::Config;

const EXAMPLES: &str = "Examples:
  DATABASE_URL=postgres://owner@host/app tidings triggers apply
  tidings triggers apply deploy/watched --json
  psql -f triggers/documents.sql                     the same for one file, without tidings

Attaching a trigger waits for writers of its table and holds them up meanwhile, at most 2 s at a time.";

/// How long a file may wait for a lock. Writers queue behind it while it waits.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '2s'; set local statement_timeout = '1min'";
/// How often a file is tried that found its table locked, and the pause in which the writers that queued get through.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// What to do with a folder of watched tables.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run every *.sql of a folder in name order, each in a transaction of its own
    #[command(after_help = EXAMPLES)]
    Apply {
        /// The folder
        #[arg(default_value = "triggers")]
        dir: PathBuf,
        /// Print a JSON list of the files with their tables and settings
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// When the folder or the database cannot be reached. A file that fails is reported, and exits with 1 in the end.
pub async fn run(command: Command, config: &Config) -> Result<ExitCode, Failure> {
    let Command::Apply { dir, json } = command;
    let files = read(&dir)?;
    let (mut client, connection) = database(config)?.connect(NoTls).await?;
    // Woken by: the work · the end of the connection, with its reason. What was done counts.
    let report = tokio::select! {
        biased;
        report = apply_all(&mut client, &files, json) => report,
        ended = connection => {
            ended?;
            return Err(Failure::new("the database closed the connection"));
        }
    };
    say(&report.text)?;
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Report {
    text: String,
    failed: usize,
}

/// Name and text of each file.
fn read(dir: &Path) -> Result<Vec<(String, String)>, Failure> {
    let cannot = |path: &Path, error: std::io::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let entries = std::fs::read_dir(dir)
        .map_err(|error| cannot(dir, error).with_hint("name the folder: tidings triggers apply path/to/triggers"))?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(|error| cannot(dir, error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    if paths.is_empty() {
        return Err(Failure::new(format!("there is no *.sql in {}", dir.display())));
    }
    let text = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(error) => Err(cannot(&path, error)),
    };
    paths.into_iter().map(text).collect()
}

async fn apply_all(client: &mut Client, files: &[(String, String)], json: bool) -> Report {
    let (mut report, mut list) = (Report { text: String::new(), failed: 0 }, Vec::new());
    for (name, sql) in files {
        match apply(client, name, sql).await {
            Ok(watched) => {
                if watched.is_empty() {
                    let _ = writeln!(report.text, "{name}: ran, and reported no watched table");
                }
                for settings in &watched {
                    let _ = writeln!(report.text, "{name}: {}", line(settings));
                }
                list.push(json!({ "file": name, "watched": watched }));
            }
            Err(failure) => {
                report.failed += 1;
                eprintln!("tidings: {failure}");
                list.push(json!({ "file": name, "error": failure.to_string() }));
            }
        }
    }
    if json {
        report.text = Value::Array(list).to_string();
    }
    report.text.truncate(report.text.trim_end().len());
    report
}

/// Runs one file in a transaction. Returns the rows it selected that name a table: the settings in force.
pub(super) async fn apply(client: &mut Client, name: &str, sql: &str) -> Result<Vec<Map<String, Value>>, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt(client, sql).await {
            Ok(watched) => return Ok(watched),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) && tries < TRIES => sleep(PAUSE).await,
            Err(error) => return Err(explain(name, sql, &error)),
        }
    }
}

async fn attempt(client: &mut Client, sql: &str) -> Result<Vec<Map<String, Value>>, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(LOCK_TIMEOUT).await?;
    let answers = transaction.simple_query(sql).await?;
    transaction.commit().await?;
    let rows = answers.iter().filter_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => Some(settings(row)),
        _ => None,
    });
    Ok(rows.filter(|settings| settings.contains_key("table")).collect())
}

fn settings(row: &SimpleQueryRow) -> Map<String, Value> {
    let value = |index| row.get(index).map_or(Value::Null, Value::from);
    row.columns().iter().enumerate().map(|(index, column)| (column.name().to_owned(), value(index))).collect()
}

/// What is set, in a line; what is as by default, or counted, is left to `select * from tidings.watches`.
fn line(settings: &Map<String, Value>) -> String {
    let shown = ["tenant", "columns", "except_columns", "ops", "only_changed", "subject", "type", "audience"];
    let text = |key: &str| settings.get(key).and_then(Value::as_str);
    let mut line = format!("watching {}", text("table").unwrap_or_default());
    for (key, value) in shown.iter().filter_map(|key| Some((key, text(key)?))) {
        let _ = write!(line, ", {key} {value}");
    }
    for (key, usual) in [("notify", "t"), ("strict", "f")] {
        if text(key).is_some_and(|value| value != usual) {
            let _ = write!(line, ", {key} {}", if usual == "t" { "off" } else { "on" });
        }
    }
    line
}

fn explain(name: &str, sql: &str, error: &tokio_postgres::Error) -> Failure {
    let Some(db) = error.as_db_error() else {
        return Failure::new(format!("{name}: {error}"));
    };
    let place = match db.position() {
        Some(ErrorPosition::Original(position)) => {
            let (line, column) = line_and_column(sql, *position as usize);
            format!("{name}:{line}:{column}")
        }
        _ => name.to_owned(),
    };
    let failure = Failure::new(format!("{place}: {}", db.message()));
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
