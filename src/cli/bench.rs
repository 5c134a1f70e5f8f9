//! `tidings bench`: latency, throughput and memory of a server on this machine, beside a bare relay.
//!
//! Place: beside the road. It starts a private PostgreSQL and `tidings serve` as a user would, and speaks to both over
//! sockets only. Reading order: `plan` (what is measured), `stage` (the database), `child` (the processes), `client` and
//! `wire` (the subscribers), `writers`, `tally` (what arrived), `measure`, `report`, `relay` (the yardstick).
//!
//! Invariants: every figure comes with the proof that each subscriber received each row exactly once, else the exit code
//! is 1; whatever ends the bench, its processes end too.
//!
//! Why writers and subscribers share a process: one clock, and the time of each commit beside the time of its events.
//! The server's CPU time is its own all the same, since it is a child.

mod child;
mod client;
mod measure;
mod neighbours;
mod plan;
mod relay;
mod report;
mod stage;
mod storm;
mod tally;
mod wire;
mod writers;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::Client;

use self::plan::{Load, Scenario, Transport};
use self::report::{Measurement, Report};
use self::stage::Stage;
use crate::auth::MintError;
use crate::postgres::{ConnectError, Connection, Postgres};
use crate::private_postgres::StartError;

/// Sockets on both sides of the largest scenario, and room for everything else.
const FILES_MIN: u64 = 4096;

/// What to measure, and how.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    tidings bench                                   everything, about three minutes\n  \
    tidings bench --scenario loaded --json          one scenario, for a program\n  \
    tidings bench --scenario loaded --sse 0 --bare 0 --ws 500 --rate 200 --tenants 10\n  \
    tidings bench --scenario capacity --batch 1 --seconds 30\n  \
    tidings bench --scenario neighbours --ws 0     what a tenant's storm costs another\n  \
    TIDINGS__RING__EVENTS_MAX=1024 tidings bench --scenario capacity\n\n\
    Exit code 1 when a subscriber missed a row or got one twice.")]
pub struct Args {
    /// What to measure
    #[arg(long, value_enum, default_value = "all")]
    scenario: Scenario,
    /// SSE subscribers; 0 leaves SSE out [default: the scenario's]
    #[arg(long, value_name = "N")]
    sse: Option<usize>,
    /// WebSocket subscribers; 0 leaves WebSocket out [default: the scenario's]
    #[arg(long, value_name = "N")]
    ws: Option<usize>,
    /// Subscribers of the bare relay; 0 leaves it out [default: the scenario's]
    #[arg(long, value_name = "N")]
    bare: Option<usize>,
    /// Tenants over which subscribers and rows are spread
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = positive)]
    tenants: usize,
    /// Connections that write [default: the scenario's]
    #[arg(long, value_name = "N", value_parser = positive)]
    writers: Option<usize>,
    /// Commits per second for each transport; 0: as fast as the window allows [default: the scenario's]
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Rows per commit [default: the scenario's]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    batch: Option<u64>,
    /// Rows that subscribers may lag behind on average before writers wait; 0: any number
    #[arg(long, value_name = "ROWS", default_value_t = 2000)]
    window: u64,
    /// How long writers write, in seconds [default: 10]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Size of a row as JSON, in bytes, about
    #[arg(long, value_name = "BYTES", default_value_t = 300)]
    row_bytes: usize,
    /// Whether commits wait for the disk
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    fsync: bool,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Be the bare relay of a bench that runs this program, listening here; the database is DATABASE_URL
    #[arg(long, hide = true, env = None)]
    relay: Option<SocketAddr>,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "must be a whole number above zero".to_owned())
}

/// Why a bench could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The private server.
    #[error(transparent)]
    Postgres(#[from] StartError),
    /// A connection or a statement of the bench itself.
    #[error("the bench's database failed: {}", database_message(.0))]
    Database(#[source] tokio_postgres::Error),
    /// The database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A process ended that should not have; it has said why on stderr.
    #[error("{name} ended")]
    ChildEnded {
        /// Which.
        name: &'static str,
    },
    /// A process is there and does not answer.
    #[error("{name} was not ready after {seconds} s")]
    NotReady {
        /// Which.
        name: &'static str,
        /// How long we waited.
        seconds: u64,
    },
    /// A subscriber could not subscribe.
    #[error("a subscriber could not subscribe: {what}")]
    Subscriber {
        /// Over which transport, and what happened.
        what: String,
    },
    /// A token could not be made.
    #[error(transparent)]
    Token(#[from] MintError),
    /// The limit of open files is below what one connection per subscriber takes.
    #[error("{wanted} open files are needed and {allowed} allowed")]
    Files {
        /// For this bench.
        wanted: u64,
        /// Hard limit of this process.
        allowed: u64,
    },
    /// Ctrl-c or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// A file, socket or process operation failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// What we were doing.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl BenchError {
    /// What the reader can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Postgres(error) => error.hint(),
            Self::ChildEnded { .. } => Some("its own message stands above"),
            Self::NotReady { .. } => Some("TIDINGS__TRACING__FILTER=info shows what the server is doing"),
            Self::Subscriber { .. } => Some("fewer subscribers: --sse, --ws, --bare"),
            Self::Files { .. } => Some("raise the hard limit (ulimit -Hn), or lower --sse, --ws and --bare"),
            Self::Token(error) => Some(error.hint()),
            Self::Connect(error) => Some(error.hint()),
            Self::Database(_) | Self::Interrupted | Self::Io { .. } => None,
        }
    }

    fn database(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }

    fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// tokio-postgres says "db error" and keeps what the server said to itself.
fn database_message(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

/// A connection to the bench's database.
async fn connect(url: &str) -> Result<(Client, Connection), BenchError> {
    let postgres: Postgres = url.parse().map_err(ConnectError::from)?;
    Ok(postgres.connect().await?)
}

/// Measures and prints. The exit code is 1 if a subscriber missed a row or got one twice.
///
/// # Errors
/// When the bench could not be carried out; its processes are gone by then.
pub async fn run(args: Args) -> Result<ExitCode, BenchError> {
    if let Some(listen) = args.relay {
        let database = std::env::var("DATABASE_URL").unwrap_or_default();
        return relay::run(listen, &database).await.map(|()| ExitCode::SUCCESS);
    }
    raise_file_limit(&args)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(BenchError::io("wait for ctrl-c"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(BenchError::io("wait for SIGTERM"))?;
    let stage = Stage::start(args.fsync).await?;
    // Woken by: the end of the measurements · ctrl-c · SIGTERM. What is dropped kills its processes.
    let outcome = tokio::select! {
        outcome = scenarios(&stage, &args) => outcome,
        _ = interrupt.recv() => Err(BenchError::Interrupted),
        _ = terminate.recv() => Err(BenchError::Interrupted),
    };
    let stopped = stage.stop().await;
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        optimised: !cfg!(debug_assertions),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        fsync: args.fsync,
        row_bytes: args.row_bytes,
        measurements: outcome?,
    };
    stopped?;
    println!("{}", if args.json { report.json() } else { report.text() });
    Ok(if report.is_exact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn scenarios(stage: &Stage, args: &Args) -> Result<Vec<Measurement>, BenchError> {
    stage.furnish().await?;
    let mut measurements = Vec::new();
    for scenario in args.scenario.parts() {
        let load = Load::of(scenario, args);
        if scenario == Scenario::Memory {
            // The relay keeps nothing for a connection: there is nothing to compare with.
            for &(transport, connections) in load.groups.iter().filter(|group| group.0 != Transport::Bare) {
                eprintln!("memory: {connections} idle connections, {transport}");
                measurements.push(measure::memory(stage, &load, transport, connections).await?);
            }
            continue;
        }
        if scenario == Scenario::Neighbours {
            for &(transport, subscribers) in load.groups.iter().filter(|group| group.0 != Transport::Bare) {
                eprintln!("neighbours: {subscribers} {transport}, three times {} s", load.duration.as_secs());
                measurements.extend(neighbours::measure(stage, &load, transport, subscribers).await?);
            }
            continue;
        }
        let apart: Vec<_> = load.groups.chunks(if load.together { load.groups.len().max(1) } else { 1 }).collect();
        for groups in apart {
            let names: Vec<String> = groups.iter().map(|(transport, count)| format!("{count} {transport}")).collect();
            eprintln!("{}: {} subscribers, {} s", scenario.name(), names.join(" + "), load.duration.as_secs());
            measurements.extend(measure::delivery(stage, scenario, &load, groups).await?);
        }
    }
    Ok(measurements)
}

/// Raises the soft limit of open files to the hard one: for us, and for the server, which inherits it.
fn raise_file_limit(args: &Args) -> Result<(), BenchError> {
    let limit = getrlimit(Resource::Nofile);
    let sockets = |scenario| Load::of(scenario, args).groups.iter().map(|(_, count)| *count as u64).sum::<u64>();
    // The scenario of neighbours has fewer than the minimum, its storm included.
    let wanted = args.scenario.parts().into_iter().map(sockets).max().unwrap_or(0).max(FILES_MIN / 2) + 100;
    if limit.maximum.is_some_and(|allowed| allowed < wanted) {
        return Err(BenchError::Files { wanted, allowed: limit.maximum.unwrap_or(0) });
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(|error| BenchError::Io { what: "raise the limit of open files", source: error.into() })
}
