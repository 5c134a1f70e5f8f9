//! `tidings triggers apply --dry-run`: what applying a folder would change. `check` tries its files here too.
//!
//! Invariant: nothing is written and no writer is waited for (`a_dry_run_and_a_check_change_nothing_and_wait_for_no_writer`).
//! In a read-only transaction `tidings.watch` returns the settings that would be in force; all else that a file does,
//! PostgreSQL refuses.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, IsolationLevel, Transaction};

use super::files::{self, File, RunError};
use super::watch::{self, Watch};
use super::{Failure, printable, say};

/// PL/pgSQL refuses a COMMIT in here: behind it, a file would run outside of the read-only transaction.
const PRECHECK: &str = "do $$ begin execute current_setting('tidings.file'); end $$";

/// Tells what each file would change.
pub(super) async fn run(client: &mut Client, files: &[File], json: bool) -> Result<ExitCode, Failure> {
    let present = in_database(client).await?;
    let (mut text, mut list, mut exit) = (String::new(), Vec::new(), ExitCode::SUCCESS);
    for file in files {
        match wanted(client, file).await {
            Ok(wanted) => {
                if wanted.is_empty() {
                    let _ = writeln!(text, "{}: selects no tidings.watch: nothing would be watched", file.name);
                }
                for wanted in &wanted {
                    let changes = Changes::between(present_as(&present, wanted), wanted);
                    let _ = writeln!(text, "{}: {}", file.name, printable(&changes.text()));
                }
                let changes = wanted.iter().map(|wanted| Changes::between(present_as(&present, wanted), wanted).json());
                list.push(json!({ "file": file.name, "watched": wanted, "changes": changes.collect::<Vec<_>>() }));
            }
            Err(failure) => {
                exit = ExitCode::FAILURE;
                eprintln!("tidings: {failure}");
                list.push(json!({ "file": file.name, "error": failure.to_string() }));
            }
        }
    }
    match json {
        true => say(&Value::Array(list).to_string())?,
        false if text.is_empty() => ExitCode::SUCCESS,
        false => say(text.trim_end())?,
    };
    Ok(exit)
}

/// All that is watched now.
pub(super) async fn in_database(client: &mut Client) -> Result<Vec<Watch>, Failure> {
    let transaction = read_only(client).await?;
    transaction.batch_execute(files::LIMITS).await?;
    Ok(watch::in_database(&transaction).await?)
}

/// The same table, if it is watched.
pub(super) fn present_as<'a>(present: &'a [Watch], wanted: &Watch) -> Option<&'a Watch> {
    present.iter().find(|watch| watch.relation == wanted.relation)
}

/// What a file asks for.
pub(super) async fn wanted(client: &mut Client, file: &File) -> Result<Vec<Watch>, Failure> {
    attempt(client, &file.sql).await.map_err(|error| explain(file, &error))
}

async fn attempt(client: &mut Client, sql: &str) -> Result<Vec<Watch>, RunError> {
    let transaction = read_only(client).await?;
    transaction.batch_execute(files::LIMITS).await?;
    // With a snapshot taken, the transaction can no longer be made to write either.
    transaction.execute("select set_config('tidings.file', $1, true)", &[&sql]).await?;
    transaction.batch_execute(PRECHECK).await?;
    files::run(&transaction, sql).await
}

async fn read_only(client: &mut Client) -> Result<Transaction<'_>, tokio_postgres::Error> {
    client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await
}

fn explain(file: &File, error: &RunError) -> Failure {
    if let RunError::Sql(error) = error
        && let Some(db) = error.as_db_error()
    {
        if *db.code() == SqlState::READ_ONLY_SQL_TRANSACTION {
            let place = files::place(&file.name, &file.sql, db);
            return Failure::new(format!(
                "{place}: the file does more than select, so it cannot be tried: {}",
                db.message()
            ))
            .with_hint("only tidings.watch knows a dry run: keep the file to that, and the rest in a migration");
        }
        if *db.code() == SqlState::FEATURE_NOT_SUPPORTED && db.message().contains("transaction commands") {
            return files::explain(&file.name, &file.sql, &RunError::Ended);
        }
    }
    files::explain(&file.name, &file.sql, error)
}

/// What would change for one table.
struct Changes<'a> {
    present: Option<&'a Watch>,
    wanted: &'a Watch,
}

impl<'a> Changes<'a> {
    fn between(present: Option<&'a Watch>, wanted: &'a Watch) -> Self {
        Self { present, wanted }
    }

    fn text(&self) -> String {
        let mut parts = Vec::new();
        match self.present {
            None => parts.push(format!("would be watched, {}", self.wanted.summary())),
            Some(present) => parts.extend(
                present.differences(self.wanted).iter().map(|(name, from, to)| format!("{name}: {from} → {to}")),
            ),
        }
        parts.extend(self.wanted.steps.iter().map(|step| match step.table == self.wanted.table {
            true => format!("{} {}", step.step, step.trigger),
            false => format!("{} {} on {}", step.step, step.trigger, step.table),
        }));
        if self.present.is_some_and(Watch::is_altered) {
            parts.push("takes up the table as it is now".to_owned());
        }
        if parts.is_empty() {
            parts.push("nothing to do".to_owned());
        }
        if self.present.is_some_and(|present| present.paused_at.is_some()) {
            parts.push("stays paused".to_owned());
        }
        format!("{}: {}", self.wanted.table, parts.join("; "))
    }

    fn json(&self) -> Value {
        let differences = self.present.map(|present| present.differences(self.wanted)).unwrap_or_default();
        let settings: Map<String, Value> = differences
            .into_iter()
            .map(|(name, from, to)| (name.to_owned(), json!({ "from": from, "to": to })))
            .collect();
        json!({ "table": self.wanted.table, "new": self.present.is_none(), "settings": settings, "triggers": self.wanted.steps })
    }
}
