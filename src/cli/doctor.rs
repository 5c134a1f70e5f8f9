//! `tidings doctor`: prints what `tidings.doctor()` and `tidings.why()` say, and what only a client can see.
//!
//! Place: beside the road; it reads, and its only NOTIFY goes to a channel of its own.
//!
//! Why the checks are SQL: whoever is called at night may have nothing but psql. Why some are not: a pooler, a clock and
//! a configuration file stand between server and client, where SQL does not look.

mod client_side;
mod consumers;
mod finding;
mod road;

use std::future::poll_fn;
use std::process::ExitCode;

use tokio::sync::mpsc;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Notification};

use super::{Failure, database, say};
use crate::config::Loaded;
use crate::postgres::{Postgres, Why};
use client_side::Schema;
use finding::{Finding, Findings};

const EXAMPLES: &str = "Examples:
  tidings doctor                                 what is wrong, worst first, and the SQL that mends it
  tidings doctor --json | jq '.findings[].code'
  tidings doctor --why documents doc_123         what became of this row's newest change
  psql -c 'select * from tidings.doctor()'       the same without tidings, but for what only a client sees

Exits with 1 when there is an error, or when the event of --why stopped on its way. It changes nothing. A role needs:
  grant usage on schema tidings to …; grant execute on function tidings.doctor(), tidings.why(regclass, text) to …;";

/// Notifications that may wait to be looked at: only the one it sends to itself is expected.
const HEARD_MAX: usize = 16;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Follow the newest change of one row. KEY is the event's subject, or the primary key; several columns with commas
    #[arg(long, num_args = 2, value_names = ["TABLE", "KEY"])]
    why: Option<Vec<String>>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints findings, or the steps of one row's event.
///
/// # Errors
/// When the database cannot be reached, or refuses the questions. Findings are no failure, but exit with 1.
pub async fn run(args: Args, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let mut postgres = database(&loaded.config)?;
    let (client, mut connection) = match postgres.connect().await {
        // Nothing but a standby is a finding, and not a failure.
        Err(error) if matches!(error.why(), Some(Why::Standby)) => {
            postgres = postgres.any_server();
            postgres.connect().await?
        }
        connected => connected?,
    };
    let (heard, mut notifications) = mpsc::channel(HEARD_MAX);
    let messages = async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message? {
                // One too many is one that nobody waits for.
                _ = heard.try_send(notification);
            }
        }
        Ok::<(), tokio_postgres::Error>(())
    };
    let work = async {
        match args.why.as_deref() {
            Some([table, key]) => {
                let road = road::follow(&client, table, key).await?;
                outcome(&if args.json { road.json() } else { road.to_string() }, road.arrived())
            }
            _ => {
                let findings = examine(&client, &mut notifications, &postgres, loaded).await?;
                outcome(&if args.json { findings.json() } else { findings.to_string() }, findings.errors() == 0)
            }
        }
    };
    // Woken by: the work · the end of the connection, with its reason. What was found out counts.
    tokio::select! {
        biased;
        done = work => done,
        ended = messages => {
            ended?;
            Err(Failure::new("the database closed the connection"))
        }
    }
}

/// Prints, and exits by what was found.
fn outcome(text: &str, fine: bool) -> Result<ExitCode, Failure> {
    let said = say(text)?;
    Ok(if fine { said } else { ExitCode::FAILURE })
}

async fn examine(
    client: &Client,
    notifications: &mut mpsc::Receiver<Notification>,
    postgres: &Postgres,
    loaded: &Loaded,
) -> Result<Findings, Failure> {
    let mut all = Findings::default();
    let schema = client_side::schema(client, &mut all).await?;
    if !matches!(schema, Schema::Missing) {
        if matches!(schema, Schema::Usable) {
            let rows = client.query("select severity, code, subject, message, fix from tidings.doctor()", &[]).await;
            all.extend(rows.map_err(denied)?.iter().map(Finding::from_row));
        }
        client_side::retention(client, loaded, &mut all).await?;
        consumers::consumers(client, loaded, &mut all).await?;
    }
    client_side::clock(client, &mut all).await?;
    client_side::listening(client, notifications, postgres, &mut all).await?;
    all.sort();
    Ok(all)
}

/// A refusal for lack of rights, with what to grant.
fn denied(error: tokio_postgres::Error) -> Failure {
    let lacks_rights = error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
    let failure = Failure::from(error);
    if !lacks_rights {
        return failure;
    }
    failure.with_hint(
        "as the owner of schema tidings: grant usage on schema tidings to …; \
         grant execute on function tidings.doctor(), tidings.why(regclass, text) to …;",
    )
}
