//! `tidings triggers`: what is watched, as files that can be reviewed, and as the database has it.
//!
//! Parts: `files` reads and runs a folder, `apply` makes the database follow it, `check` tells where the two differ, `list` shows
//! what is watched, `new` drafts a file for a table, `types` tells programs what events hold. `watch` is one watched table with its settings as values.
//!
//! Invariant: `check` and `apply --dry-run` write nothing and wait for no writer
//! (`a_dry_run_and_a_check_change_nothing_and_wait_for_no_writer`).
//!
//! Why not migrations: what is watched is a state and not a history. Files are edited and applied again; `watch` changes
//! what differs and leaves the rest alone.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Failure, database, nearest, printable, say, with_client};
use crate::config::Config;

mod apply;
mod catalog;
mod check;
mod draft;
mod dry_run;
mod files;
mod guess;
mod list;
mod new;
mod quote;
mod types;
mod typescript;
mod watch;

pub(super) use apply::apply;

const FOLDER: &str = "triggers";

const EXAMPLES: &str = "Examples:
  tidings triggers new public.cases                  writes triggers/cases.sql from the table's columns
  tidings triggers apply --dry-run                   what applying the folder would change
  tidings triggers apply                             makes the database follow the folder
  tidings triggers check                             tells where the two differ; exit 1 when they do
  tidings triggers list                              what is watched
  tidings triggers types --out src/events.ts         what its events hold, for TypeScript";

const APPLY_EXAMPLES: &str = "Examples:
  DATABASE_URL=postgres://owner@host/app tidings triggers apply
  tidings triggers apply --dry-run                   says what would change, and changes nothing
  tidings triggers apply deploy/watched --json
  psql -f triggers/documents.sql                     the same for one file, without tidings

Attaching a trigger waits for writers of its table and holds them up meanwhile, at most 2 s at a time.
Exit codes: 0 all applied, 1 a file failed; the others are applied all the same.";

const CHECK_EXAMPLES: &str = "Examples:
  tidings triggers check                             in a pipeline, after tidings triggers apply
  tidings triggers check deploy/watched --json | jq '.drift[].fix'

Each file is tried in a read-only transaction; nothing is changed and no writer is waited for.
Exit codes: 0 no difference, 1 a difference, or a file that fails.";

const LIST_EXAMPLES: &str = "Examples:
  tidings triggers list
  tidings triggers list --json | jq -r '.[] | select(.status != \"active\").table'

Ops: i insert, u update, d delete, t truncate. Skipped: rows whose tenant was NULL. Failed: changes that made no event.
Both are counts of the last 30 days. The same in SQL: select * from tidings.watches";

const NEW_EXAMPLES: &str = "Examples:
  tidings triggers new cases
  tidings triggers new 'public.\"Case\"' --dir deploy/watched
  $EDITOR $(tidings triggers new billing.invoices)   the path goes to stdout, what was guessed to stderr

The tenant's column is guessed from names and foreign keys, and columns that look secret are kept back: read the file
before it is applied. Where nothing fits, the file has a line to be filled in and cannot be applied until then.";

const TYPES_EXAMPLES: &str = "Examples:
  tidings triggers types --out src/events.ts
  tidings triggers types --check src/events.ts       in a pipeline; exit 1 when the file is stale

  import { connect } from '@tidings/client';
  import type { TidingsEvents } from './events';
  connect<TidingsEvents>({ … }).subscribe({ types: ['documents.*'] }, …)

Types are those that JSON.parse gives: numeric and bigint are numbers, times are strings, what is json in the database is unknown.
A text column with a CHECK that lists words is a union of them. The order is fixed, so a file differs only where the database does.";

/// What to do with watched tables.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run every *.sql of a folder in name order, each in a transaction of its own
    #[command(after_help = APPLY_EXAMPLES)]
    Apply {
        /// The folder
        #[arg(default_value = FOLDER)]
        dir: PathBuf,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Print a JSON list of the files with their tables and settings
        #[arg(long)]
        json: bool,
    },
    /// Tell where a folder and the database differ
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// The folder
        #[arg(default_value = FOLDER)]
        dir: PathBuf,
        /// Print {"drift": […], "failed": […]}
        #[arg(long)]
        json: bool,
    },
    /// Show what is watched
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Print a JSON list of the tables with all their settings
        #[arg(long)]
        json: bool,
    },
    /// Write a file that watches a table, from its columns
    #[command(after_help = NEW_EXAMPLES)]
    New {
        /// The table, as in SQL: cases, public.cases, public."Case"
        table: String,
        /// The folder; made when it is not there
        #[arg(long, default_value = FOLDER)]
        dir: PathBuf,
        /// Replace a file that is there
        #[arg(long)]
        force: bool,
    },
    /// Write down what events hold, for programs in TypeScript
    #[command(after_help = TYPES_EXAMPLES)]
    Types {
        /// Write this file instead of printing
        #[arg(long, value_name = "FILE", conflicts_with = "check")]
        out: Option<PathBuf>,
        /// Tell whether this file is up to date; exit 1 when it is not
        #[arg(long, value_name = "FILE")]
        check: Option<PathBuf>,
    },
}

/// Runs the command.
///
/// # Errors
/// When the folder or the database cannot be reached, and when `apply` or `check` has something to tell.
pub async fn run(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let postgres = database(config)?;
    match args.command {
        Command::Apply { dir, dry_run, json } => {
            let files = files::read(&dir)?;
            with_client(&postgres, async |client| match dry_run {
                true => Box::pin(dry_run::run(client, &files, json)).await,
                false => Box::pin(apply::run(client, &files, json)).await,
            })
            .await
        }
        Command::Check { dir, json } => {
            let files = files::read(&dir)?;
            with_client(&postgres, async |client| Box::pin(check::run(client, &dir, &files, json)).await).await
        }
        Command::List { json } => with_client(&postgres, async |client| list::run(client, json).await).await,
        Command::Types { out, check } => {
            with_client(&postgres, async |client| types::run(client, out.as_deref(), check.as_deref()).await).await
        }
        Command::New { table, dir, force } => {
            with_client(&postgres, async |client| Box::pin(new::run(client, &table, &dir, force)).await).await
        }
    }
}
