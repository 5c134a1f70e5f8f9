//! `tidings triggers check`: where a folder and the database differ, both ways.
//!
//! Invariant: it changes nothing and waits for no writer (`a_dry_run_and_a_check_change_nothing_and_wait_for_no_writer`).
//!
//! Why a paused table is a difference: the file says that it is watched, and it makes no events.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::files::File;
use super::watch::{Setting, Watch};
use super::{Failure, dry_run, printable, say};

/// One difference.
#[derive(Debug, Serialize)]
struct Drift {
    table: String,
    /// The file that watches the table.
    file: Option<String>,
    what: What,
    /// Where one differs: its name and both values.
    setting: Option<&'static str>,
    in_database: Option<Setting>,
    in_file: Option<Setting>,
    /// All of the above in a sentence.
    message: String,
    /// SQL or a command that ends the difference in favour of the files; for a table in no file the call to put into one.
    fix: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    NotWatched,
    Setting,
    Trigger,
    Paused,
    TableAltered,
    TableDropped,
    InNoFile,
    InTwoFiles,
}

/// Compares, and fails when there is a difference or a file cannot be tried.
pub(super) async fn run(client: &mut Client, dir: &Path, files: &[File], json: bool) -> Result<ExitCode, Failure> {
    let present = dry_run::in_database(client).await?;
    let (mut wanted, mut failed) = (Vec::new(), Vec::new());
    for file in files {
        match dry_run::wanted(client, file).await {
            Ok(tables) => {
                if tables.is_empty() {
                    eprintln!("tidings: {}: selects no tidings.watch, so there is nothing to compare", file.name);
                }
                wanted.extend(tables.into_iter().map(|watch| (file.name.as_str(), watch)));
            }
            Err(failure) => {
                eprintln!("tidings: {failure}");
                failed.push((file, failure.to_string()));
            }
        }
    }
    let mut drift = compare(&present, &wanted, &format!("tidings triggers apply {}", dir.display()));
    drift.extend(present.iter().filter(|watch| is_unclaimed(watch, &wanted, &failed)).map(unclaimed));
    if json {
        let failed: Vec<Value> =
            failed.iter().map(|(file, error)| json!({ "file": file.name, "error": error })).collect();
        say(&json!({ "drift": drift, "failed": failed }).to_string())?;
    } else {
        for drift in &drift {
            let fix = drift.fix.as_ref().map(|fix| format!(": {fix}")).unwrap_or_default();
            say(&printable(&format!("{}: {}{fix}", drift.table, drift.message)))?;
        }
    }
    verdict(dir, present.len(), drift.len(), failed.len(), json)
}

fn verdict(dir: &Path, watched: usize, drift: usize, failed: usize, json: bool) -> Result<ExitCode, Failure> {
    let dir = dir.display();
    match (drift, failed) {
        (0, 0) if json => Ok(ExitCode::SUCCESS),
        (0, 0) => say(&format!("no difference between {dir} and the database, watched tables: {watched}")),
        (0, _) => Err(Failure::new(format!("files of {dir} that could not be checked: {failed}"))),
        _ => Err(Failure::new(format!("differences between {dir} and the database: {drift}"))
            .with_hint(format!("`tidings triggers apply {dir}` makes the database follow the files; a table in no file wants one, or tidings.unwatch"))),
    }
}

fn compare(present: &[Watch], wanted: &[(&str, Watch)], apply: &str) -> Vec<Drift> {
    let mut drift = Vec::new();
    for (n, (file, watch)) in wanted.iter().enumerate() {
        let later = wanted[n + 1..].iter().find(|(_, other)| other.relation == watch.relation);
        match (later, dry_run::present_as(present, watch)) {
            // What is applied last is in force: the others are compared with that.
            (Some((other, last)), _) => drift.extend(contradictions((file, watch), (other, last))),
            (None, None) => drift.push(Drift {
                fix: Some(apply.to_owned()),
                ..Drift::new(What::NotWatched, watch, Some(file), format!("not watched, but {file} watches it"))
            }),
            (None, Some(present)) => drift.extend(differences(present, watch, file, apply)),
        }
    }
    drift
}

fn contradictions(one: (&str, &Watch), other: (&str, &Watch)) -> Vec<Drift> {
    let differences = one.1.differences(other.1).into_iter();
    let drift = differences.map(|(name, here, there)| {
        let message = format!("{name} is {here} in {}, {there} in {}", one.0, other.0);
        let fix = Some("leave it in one file".to_owned());
        Drift {
            setting: Some(name),
            in_file: Some(here),
            fix,
            ..Drift::new(What::InTwoFiles, one.1, Some(one.0), message)
        }
    });
    drift.collect()
}

/// Of a table that is watched, and shall be.
fn differences(present: &Watch, wanted: &Watch, file: &str, apply: &str) -> Vec<Drift> {
    let of =
        |what, message, fix: &str| Drift { fix: Some(fix.to_owned()), ..Drift::new(what, wanted, Some(file), message) };
    let settings = present.differences(wanted).into_iter().map(|(name, here, there)| {
        let message = format!("{name} is {here} in the database, {there} in {file}");
        Drift {
            setting: Some(name),
            in_database: Some(here),
            in_file: Some(there),
            ..of(What::Setting, message, apply)
        }
    });
    let mut drift: Vec<Drift> = settings.collect();
    // Those that a change of settings brings are told by the setting.
    drift.extend(present.steps.iter().map(|step| {
        let state = match step.step.as_str() {
            "attach" => "is missing",
            "enable" => "is disabled",
            "drop" => "is there and not needed",
            _ => "is not as tidings.watch makes it",
        };
        of(What::Trigger, format!("trigger {} on {} {state}", step.trigger, step.table), apply)
    }));
    if present.is_altered() {
        let message = "the table was altered since it was watched".to_owned();
        drift.push(of(What::TableAltered, message, apply));
    }
    if let Some(since) = &present.paused_at {
        let resume = format!("select tidings.resume({});", super::quote::literal(&wanted.table));
        drift.push(of(What::Paused, format!("paused since {since}, but {file} watches it"), &resume));
    }
    drift
}

/// A file that could not be tried may be the one: where it says the table's name, its failure is told and nothing else.
fn is_unclaimed(watch: &Watch, wanted: &[(&str, Watch)], failed: &[(&File, String)]) -> bool {
    !wanted.iter().any(|(_, other)| other.relation == watch.relation)
        && !failed.iter().any(|(file, _)| watch.is_named_in(&file.sql))
}

/// Of a table that no file watches.
fn unclaimed(present: &Watch) -> Drift {
    if present.is_dropped() {
        let message = "the table was dropped, and its watch is still there".to_owned();
        let fix = Some(format!("select tidings.unwatch({});", present.relation));
        return Drift { fix, ..Drift::new(What::TableDropped, present, None, message) };
    }
    let message = "watched in the database, in no file".to_owned();
    Drift { fix: present.call.clone(), ..Drift::new(What::InNoFile, present, None, message) }
}

impl Drift {
    fn new(what: What, watch: &Watch, file: Option<&str>, message: String) -> Self {
        let (table, file) = (watch.table.clone(), file.map(str::to_owned));
        Self { table, file, what, setting: None, in_database: None, in_file: None, message, fix: None }
    }
}
