//! `tidings triggers apply`: makes the database follow a folder.
//!
//! Invariant: a file is applied wholly or not at all, and one that fails keeps none of the others from being applied.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::files::{self, File, RunError};
use super::watch::Watch;
use super::{Failure, printable, say};

/// How often a file is tried that found its table locked, and the pause in which the writers that queued get through.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Applies the files. Those that fail are reported, and exit with 1 in the end.
pub(super) async fn run(client: &mut Client, files: &[File], json: bool) -> Result<ExitCode, Failure> {
    let (mut text, mut list, mut exit) = (String::new(), Vec::new(), ExitCode::SUCCESS);
    for File { name, sql } in files {
        match attempts(client, name, sql).await {
            Ok(watched) => {
                if watched.is_empty() {
                    let _ = writeln!(text, "{name}: ran, and reported no watched table");
                }
                for watch in &watched {
                    let _ = writeln!(text, "{name}: {}", printable(&line(watch)));
                }
                list.push(json!({ "file": name, "watched": watched }));
            }
            Err(failure) => {
                exit = ExitCode::FAILURE;
                eprintln!("tidings: {failure}");
                list.push(json!({ "file": name, "error": failure.to_string() }));
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

fn line(watch: &Watch) -> String {
    let paused = if watch.paused_at.is_some() { "; paused: tidings.resume brings it back" } else { "" };
    format!("watching {}, {}{paused}", watch.table, watch.summary())
}

/// Runs one file in a transaction.
pub(in crate::cli) async fn apply(client: &mut Client, name: &str, sql: &str) -> Result<(), Failure> {
    attempts(client, name, sql).await.map(drop)
}

async fn attempts(client: &mut Client, name: &str, sql: &str) -> Result<Vec<Watch>, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt(client, sql).await {
            Ok(watched) => return Ok(watched),
            Err(RunError::Sql(error)) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) && tries < TRIES => {
                sleep(PAUSE).await;
            }
            Err(error) => return Err(files::explain(name, sql, &error)),
        }
    }
}

async fn attempt(client: &mut Client, sql: &str) -> Result<Vec<Watch>, RunError> {
    let transaction = client.transaction().await?;
    let watched = files::run(&transaction, sql).await?;
    transaction.commit().await?;
    Ok(watched)
}
