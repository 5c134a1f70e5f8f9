//! `tidings demo`: everything at once, with nothing but PostgreSQL installed.
//!
//! Place: beside `serve`, whose server it runs. Around it: a private database unless one is given, the reference tables,
//! the watched tables of `triggers/`, three tenants with a history, a pipeline that processes what is uploaded, traffic that looks like people
//! at work, and an echo that answers chats.
//!
//! Invariant: a private database is gone afterwards, however the demo ends; one that was given keeps its rows.

mod pipeline;
mod seed;
mod traffic;
mod welcome;

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::signals::Signals;
use super::{Failure, database, say, triggers, with_client};
use crate::app::{self, App};
use crate::config::{Config, Kind, Secret};
use crate::migrate::{Layout, Wishes, migrate};
use crate::private_postgres::{Options, PrivatePostgres};

const EXAMPLES: &str = "Examples:
  tidings demo                                       on 127.0.0.1:8080, with a database of its own
  tidings demo --listen 127.0.0.1:0                  on a free port
  tidings demo --no-traffic                          quiet: nothing happens but what you do, and what answers you
  DATABASE_URL=postgres://… tidings demo             in a database that exists; creates the reference tables there

Ctrl-C ends it and removes what it made; rows in a database that was given stay.";

/// The private server's database.
const DATABASE: &str = "demo";
/// The person in front of the demo has pressed ctrl-c and waits: clients are told to leave within this.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// One person's clients: as many files as any machine allows, where the default would begin with a warning on some.
const CONNECTIONS_MAX: usize = 2000;
/// What is watched, in the order of the folder.
const WATCHED: [(&str, &str); 4] = [
    ("triggers/chat_messages.sql", include_str!("../../triggers/chat_messages.sql")),
    ("triggers/chat_sessions.sql", include_str!("../../triggers/chat_sessions.sql")),
    ("triggers/documents.sql", include_str!("../../triggers/documents.sql")),
    ("triggers/notifications.sql", include_str!("../../triggers/notifications.sql")),
];

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Address and port; short for --set http.listen=…
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) listen: Option<String>,
    /// Generate no traffic. What is uploaded is processed, and chats are answered, all the same
    #[arg(long)]
    no_traffic: bool,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the port is taken, or a database or the server cannot be started; nothing is left behind then.
pub async fn run(args: Args, mut config: Config) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let (mut first, mut second) = (Signals::listen()?, Signals::listen()?);
    refuse_taken_port(&config)?;
    config.shutdown.drain = config.shutdown.drain.min(DRAIN_MAX);
    config.limits.connections = config.limits.connections.min(CONNECTIONS_MAX);
    if config.auth.secret.is_empty() {
        config.auth.secret = Secret::new(format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()));
    }
    if config.responder.kind == Kind::Off {
        // Chats that nobody at the simulated desks takes up are answered, word by word, with nothing to configure.
        config.responder.kind = Kind::Echo;
    }
    let private = start_database(&mut config).await?;
    // Woken by: the end of the demo, after the first signal · a second signal. A private server that is dropped here is
    // ended at once, and its directory removed.
    let outcome = tokio::select! {
        outcome = show(&config, private.as_ref(), !args.no_traffic, started, first.next()) => outcome,
        () = second.second() => Err(Failure::new("ended by a second signal")),
    };
    let Some(private) = private else {
        outcome?;
        return say("demo ended; the tables and rows it made are still in the database");
    };
    private.stop().await?;
    outcome?;
    say("demo ended, nothing left behind")
}

/// Asked first, because everything else takes a second and prints nothing.
fn refuse_taken_port(config: &Config) -> Result<(), Failure> {
    match std::net::TcpListener::bind(config.http.listen) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let failure = Failure::new(format!("{} is in use", config.http.listen));
            Err(failure.with_hint("tidings demo --listen 127.0.0.1:0 takes a free port"))
        }
        // Anything else the server will say better.
        _ => Ok(()),
    }
}

/// A private server, or none where a database is configured already.
async fn start_database(config: &mut Config) -> Result<Option<PrivatePostgres>, Failure> {
    if !config.database.url.is_empty() {
        say("using the database that is configured; its reference tables and tenants stay when the demo ends")?;
        return Ok(None);
    }
    let private = PrivatePostgres::start(Options::default()).await?;
    config.database.url = Secret::new(private.url("postgres"));
    with_client(&database(config)?, async |client| Ok(client.batch_execute("create database demo").await?)).await?;
    config.database.url = Secret::new(private.url(DATABASE));
    if config.uploads.directory.is_empty() {
        config.uploads.directory = private.directory("uploads")?.display().to_string();
        // A folder for each tenant, as the server would make it: what root makes there the watcher could not empty.
        for tenant in &seed::TENANTS {
            private.directory(&format!("uploads/{}", tenant.id))?;
        }
    }
    Ok(Some(private))
}

/// Prepares, serves, and lets things happen until `ended`.
async fn show(
    config: &Config,
    private: Option<&PrivatePostgres>,
    traffic: bool,
    started: Instant,
    ended: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let postgres = database(config)?;
    migrate(&postgres, &Wishes { app: Some(Layout::Reference), ..Wishes::default() }).await?;
    with_client(&postgres, async |client| {
        // First, so that in a database of our own what lies back makes no events.
        seed::tenants(client).await?;
        for (name, sql) in WATCHED {
            triggers::apply(client, name, sql).await?;
        }
        Ok(())
    })
    .await?;
    let app = App::build(config).await?;
    let pool = app::pool(config)?;
    let welcome =
        welcome::text(config, app.address(), &pool, private.map(|private| private.psql_hint(DATABASE))).await?;
    say(&format!("{welcome}\n\nready after {:.1} s; ctrl-c ends it", started.elapsed().as_secs_f64()))?;
    let stop = CancellationToken::new();
    let until = async {
        ended.await;
        // Ignored: with stdout closed there is nobody to tell.
        let _ = say("\nending: telling clients to leave");
        stop.cancel();
    };
    let cancelled = stop.clone();
    let people = async {
        if traffic {
            traffic::run(&pool).await;
        }
    };
    tokio::join!(
        until,
        stop.run_until_cancelled(async { tokio::join!(pipeline::run(&pool), people) }),
        app.run(async move { cancelled.cancelled().await })
    );
    Ok(())
}

/// Whether the application refused, because somebody else was first.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|state| state.code().starts_with("TD"))
}
