//! `tidings migrate`: the schema, and on request the reference application.

use std::process::ExitCode;

use super::{Failure, database, say};
use crate::config::Config;
use crate::migrate::{Wishes, migrate};

const EXAMPLES: &str = "Examples:
  DATABASE_URL=postgres://owner@host/app tidings migrate
  DATABASE_URL=postgres://owner@host/new tidings migrate --app
  DATABASE_URL=postgres://dba@host/app tidings migrate --owner tidings_owner --service tidings_service

Safe to repeat, and from several machines at once. Nothing outside of schema tidings is touched without --app.";

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Create the reference tables and functions too: documents, notifications, chats (schemas public and tidings_app)
    #[arg(long)]
    app: bool,
    /// Let this role own schema tidings; made (NOLOGIN) if missing. Whoever runs this must be, or become, a member
    #[arg(long, value_name = "ROLE")]
    owner: Option<String>,
    /// Give this role what a bridge needs and no more; made (NOLOGIN) if missing. Grant it to the bridge's login
    #[arg(long, value_name = "ROLE")]
    service: Option<String>,
    /// Print the applied migrations as a JSON list
    #[arg(long)]
    json: bool,
}

/// Applies what is missing and prints the names.
///
/// # Errors
/// See [`crate::migrate::MigrateError`].
pub async fn run(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let wishes = Wishes { app: args.app, owner: args.owner, service: args.service };
    let applied = migrate(&database(config)?, &wishes).await?;
    if args.json {
        return say(&serde_json::Value::from(applied).to_string());
    }
    if applied.is_empty() {
        return say("the schema is up to date");
    }
    say(&applied.iter().map(|name| format!("applied {name}")).collect::<Vec<_>>().join("\n"))
}
