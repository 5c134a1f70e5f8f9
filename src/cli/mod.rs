//! The command line: one file per command.
//!
//! Place: at both ends of the road. `serve` and `demo` run it, `tail` stands at its end, `emit` at its beginning; the
//! others prepare or inspect.
//!
//! Conventions: what was asked for goes to stdout, everything else to stderr; a failure is one line with a hint. Exit 0
//! fine, 1 failed, 2 wrong arguments, 64 wrong configuration. Secrets come from the environment or files, since arguments
//! are visible to every user of the machine.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio_postgres::Client;

use crate::config::{Config, Given, Loaded, nearest};
use crate::postgres::Postgres;

pub mod bench;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod emit;
pub mod failure;
pub mod log;
pub mod migrate;
pub mod probe;
pub mod serve;
mod service;
pub mod signals;
pub mod tail;
pub mod token;
pub mod triggers;

pub use failure::Failure;

const EXAMPLES: &str = "Examples:
  tidings demo                                       see it work, with nothing but PostgreSQL installed
  DATABASE_URL=postgres://… tidings migrate          install or update the schema tidings
  DATABASE_URL=postgres://… tidings serve            serve subscribers
  tidings --set http.listen=0.0.0.0:80 serve         any setting of config.toml on the command line
  tidings tail --tenant acme --types 'documents.*'   watch events arrive

Settings: `tidings config show` prints all of them, and where each comes from.
Exit codes: 0 fine, 1 failed, 2 wrong arguments, 64 wrong configuration.";

/// A committed PostgreSQL change reaches its tenant's subscribers, and a reconnect misses nothing.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// Read settings from this file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one setting; wins over file and environment. May be repeated
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Short for --set database.url=URL. A password in it shows in the list of processes: prefer DATABASE_URL
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve subscribers until SIGTERM or ctrl-c
    Serve(serve::Args),
    /// See it work: a database, three tenants, traffic, pages
    Demo(demo::Args),
    /// Bring the database's schema to this version
    Migrate(migrate::Args),
    /// Watched tables as files: apply, check, list, new, types
    Triggers(triggers::Args),
    /// Print events as they are committed, straight from the database
    Tail(tail::Args),
    /// Publish one event
    Emit(emit::Args),
    /// Print a token signed with auth.secret
    Token(token::Args),
    /// Say what is wrong and what mends it, or what became of one row's event
    Doctor(doctor::Args),
    /// Check or show the settings in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a running server on this machine whether it is ready
    Probe(probe::Args),
    /// Measure latency, throughput and memory on this machine
    Bench(bench::Args),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration is valid
    Check,
    /// Print every setting with its source; secrets are masked
    Show {
        /// Print JSON instead of TOML
        #[arg(long)]
        json: bool,
    },
}

/// Loads the configuration and runs the command.
///
/// # Errors
/// What made the command fail, fit to be printed.
pub fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let given = Given { flags: cli.flags(), file: cli.config };
    let loaded = given.load()?;
    let filter = log::to_stderr(&loaded, matches!(cli.command, Command::Serve(_)));
    log::warn_of_secrets(&given.flags);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // What still runs when a command has returned is a connection being closed: nobody waits for that.
    let outcome = runtime.block_on(dispatch(cli.command, loaded, given, filter));
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: Command, loaded: Loaded, given: Given, filter: log::Filter) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(args) => serve::run(args, loaded, given, filter).await,
        Command::Demo(args) => demo::run(args, loaded.config).await,
        Command::Migrate(args) => migrate::run(args, &loaded.config).await,
        Command::Triggers(args) => triggers::run(args, &loaded.config).await,
        Command::Tail(args) => Box::pin(tail::run(args, &loaded.config)).await,
        Command::Emit(args) => emit::run(args, &loaded.config).await,
        Command::Token(args) => token::run(&args, &loaded.config),
        Command::Doctor(args) => doctor::run(args, &loaded).await,
        Command::Config(ConfigCommand::Check) => say(config::check(&loaded)),
        Command::Config(ConfigCommand::Show { json }) => say(&config::show(&loaded, json)),
        Command::Probe(args) => probe::run(args, &loaded.config).await,
        Command::Bench(args) => Ok(bench::run(args).await?),
    }
}

impl Cli {
    fn flags(&self) -> Vec<(String, String)> {
        let database = self.database.iter().map(|url| ("database.url".to_owned(), url.clone()));
        let listen = match &self.command {
            Command::Serve(serve::Args { listen }) | Command::Demo(demo::Args { listen, .. }) => listen.as_ref(),
            _ => None,
        };
        let listen = listen.map(|address| ("http.listen".to_owned(), address.clone()));
        self.settings.iter().cloned().chain(database).chain(listen).collect()
    }
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("write it as section.key=value, such as http.listen=0.0.0.0:80")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Prints a result. A reader that has seen enough and left (`| head`) is no failure.
fn say(text: &str) -> Result<ExitCode, Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Where the database is; one must have been named.
fn database(config: &Config) -> Result<Postgres, Failure> {
    Ok(crate::app::postgres(config)?)
}

/// Lends a connection that lives as long as the work.
async fn with_client<T>(
    postgres: &Postgres,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (mut client, connection) = postgres.connect().await?;
    // Woken by: the work · the end of the connection, with its reason. What was done counts.
    tokio::select! {
        biased;
        done = work(&mut client) => done,
        ended = connection => {
            ended?;
            Err(Failure::new("the database closed the connection"))
        }
    }
}

/// Text from the database, unable to make a terminal act on it.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_becomes_a_setting_and_the_special_one_wins() {
        let cli = Cli::try_parse_from([
            "tidings",
            "--set",
            "http.listen=0.0.0.0:1",
            "serve",
            "--listen",
            "[::]:2",
            "--database",
            "postgres://db?a=b",
        ]);
        let flags = cli.unwrap().flags();
        let value = |key| flags.iter().rfind(|(name, _)| name == key).map(|(_, value)| value.as_str());
        assert_eq!(value("http.listen"), Some("[::]:2"));
        assert_eq!(value("database.url"), Some("postgres://db?a=b"));
    }

    #[test]
    fn a_setting_without_a_value_is_a_usage_error() {
        let refused = Cli::try_parse_from(["tidings", "--set", "http.listen", "serve"]).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
    }
}
