//! `tidings migrate`: the schema, and on request the functions of an application, in one of its layouts.

use std::process::ExitCode;

use super::{Failure, database, say};
use crate::config::Config;
use crate::migrate::{Layout, Wishes, migrate};

const EXAMPLES: &str = "Examples:
  DATABASE_URL=postgres://owner@host/app tidings migrate
  DATABASE_URL=postgres://owner@host/new tidings migrate --app
  DATABASE_URL=postgres://owner@host/app tidings migrate --app prisma
  DATABASE_URL=postgres://dba@host/app tidings migrate --owner tidings_owner --service tidings_service

Safe to repeat, and from several machines at once. Nothing outside of schema tidings is touched without --app;
with --app prisma schema tidings_app is made, and the application's tables stay as they are.";

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Create the functions of schema tidings_app too: for reference tables that are made with them (documents,
    /// notifications, chats in schema public), or for those of an application that uses Prisma, which stay as they are
    #[arg(long, value_name = "LAYOUT", num_args = 0..=1, default_missing_value = "reference")]
    app: Option<Layout>,
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
