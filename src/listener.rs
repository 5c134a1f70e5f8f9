//! The one task that hears of commits: its own connection listens, and every event passes through here in order.
//!
//! Place on the road: a notification is decoded and dispatched where it is read; there is no queue in between, except
//! while a reference or a gap is being read from the log, when later notifications wait their turn.
//!
//! Invariants:
//! - One listener per process, on a connection of its own, outside the pool (a pool drops notifications).
//! - The socket is always read. A listener that stops pins the NOTIFY queue and vacuum for the whole cluster, so when
//!   what waits grows too large it is dropped, and read from the log instead (`a_large_update_arrives_whole_and_in_order`).
//! - Every end of a connection is a gap (`a_terminated_listener_backend_loses_nothing`): listen and commit first, then
//!   read what the last checkpoint had not seen, then go on with what was heard meanwhile.
//!
//! Plain channels are heard on the same connection and wait in the same queue. They are in no log, so nothing of the above
//! can make them whole: what a gap took is gone, what is dropped is counted (`what_waited_for_too_long_is_counted`).

mod road;
mod session;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use session::Session;

use crate::cursor::Cursor;
use crate::decode::plain::Channel;
use crate::event::Event;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::replay::{Log, LogError, Scope};
use crate::router::Router;
use road::Road;

/// How the listening connection is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Interval of checkpoints.
    pub checkpoint_every: Duration,
    /// Without an answer for this long the connection counts as dead.
    pub checkpoint_timeout: Duration,
    /// Limit of one attempt to connect.
    pub connect_timeout: Duration,
    /// First pause before reconnecting, before jitter.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
    /// Plain channels to listen on, beside ours.
    pub channels: Arc<[Arc<Channel>]>,
}

/// Why the listening connection was given up.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// It could not be made in time.
    #[error("no connection to PostgreSQL within {0:?}")]
    ConnectTimeout(Duration),
    /// PostgreSQL refused it, or it broke.
    #[error("{}", postgres_message(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The server closed it.
    #[error("PostgreSQL closed the connection")]
    Closed,
    /// Checkpoints stopped coming back.
    #[error("no checkpoint came back for {0:?}; the connection is dead")]
    Silent(Duration),
    /// LISTEN did not last until the next statement.
    #[error("LISTEN does not last on this connection: a pooler in transaction mode is in between")]
    Pooler,
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ListenError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::ConnectTimeout(_) => {
                "check host and port in database.url, and that a firewall lets this machine through"
            }
            Self::Pooler => "point database.url at PostgreSQL itself, or at a pooler's session mode",
            Self::Postgres(error)
                if error.as_db_error().is_some_and(|e| e.code().code() == "3F000" || e.code().code() == "42883") =>
            {
                "run `tidings migrate` first"
            }
            Self::Postgres(_) => "check database.url: host, port, user, password and database name",
            Self::Closed | Self::Silent(_) | Self::Log(_) => "see PostgreSQL's log",
        }
    }
}

/// Message of a database error without the driver's wrapping.
fn postgres_message(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    error.as_db_error().map_or_else(|| format!("{error}{cause}"), |db| format!("PostgreSQL says: {}", db.message()))
}

/// What `/readyz` goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Health {
    /// The connection is there and the gap before it has been read.
    pub caught_up: bool,
    /// Backend that listens, while it does.
    pub pid: Option<i32>,
    /// When the newest checkpoint was reached, also of a connection that is lost: what was committed before it has been dispatched.
    pub reached: Option<Instant>,
}

/// The listening task, before its first connection.
pub struct Listener {
    settings: Settings,
    postgres: tokio_postgres::Config,
    log: Log,
    router: Arc<Router>,
    metrics: Arc<Metrics>,
    health: watch::Sender<Health>,
    bridge: String,
    /// Events of plain channels so far. Written by the listener's task only.
    live: AtomicU64,
}

impl Listener {
    /// Nothing is connected yet.
    pub fn new(
        settings: Settings,
        mut postgres: tokio_postgres::Config,
        log: Log,
        router: Arc<Router>,
        metrics: Arc<Metrics>,
        bridge: String,
    ) -> Self {
        // A silent peer is noticed by the kernel as well: 10 s idle, then three probes 5 s apart.
        postgres
            .connect_timeout(settings.connect_timeout)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(15))
            .application_name("tidings listener");
        let health = watch::Sender::new(Health::default());
        Self { settings, postgres, log, router, metrics, health, bridge, live: AtomicU64::new(0) }
    }

    /// Its name among the listeners.
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// Follows the connection's health.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Connects and listens, once. The first connection fails fast; [`Self::run`] retries for ever after it.
    pub async fn connect(&self) -> Result<Session, ListenError> {
        let limit = self.settings.connect_timeout;
        let open = Session::open(&self.postgres, self.settings.channels.clone(), self.metrics.clone());
        timeout(limit, open).await.map_err(|_| ListenError::ConnectTimeout(limit))?
    }

    /// Listens until cancelled, over as many connections as it takes.
    pub async fn run(self, first: Session, cancel: CancellationToken) {
        let mut session = Some(first);
        let mut ledger = None;
        let mut pause = self.settings.backoff_min;
        loop {
            let ended = match session.take() {
                Some(mut session) => {
                    let started = Instant::now();
                    let ended = cancel.run_until_cancelled(Road::new(&self, &mut session).run(&mut ledger)).await;
                    self.health.send_modify(|health| *health = Health { reached: health.reached, ..Health::default() });
                    if started.elapsed() > self.settings.backoff_max {
                        pause = self.settings.backoff_min;
                    }
                    ended
                }
                None => match cancel.run_until_cancelled(self.connect()).await {
                    Some(Ok(connected)) => {
                        self.metrics.reconnects.inc();
                        session = Some(connected);
                        continue;
                    }
                    Some(Err(error)) => Some(error),
                    None => None,
                },
            };
            let Some(error) = ended else { return };
            let jittered = pause.mul_f64(rand::random::<f64>()) + Duration::from_millis(10);
            tracing::warn!(%error, hint = error.hint(), retry_ms = jittered.as_millis() as u64, "listening connection lost");
            if cancel.run_until_cancelled(sleep(jittered)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(self.settings.backoff_max);
        }
    }

    /// Readies the ledger: keeps the one held when its history still holds, else begins a new one, and then every
    /// subscriber asks the log where it stands. What fails on the way leaves it held: without it, connected clients would
    /// be sent again what they had.
    async fn prepare(&self, held: &mut Option<Ledger>) -> Result<(), ListenError> {
        if let Some(old) = held.as_ref() {
            let everyone = Scope::Every;
            let base = self.log.resolve(&everyone, &Cursor::Snapshot((**old.base()).clone())).await?;
            let newest = match old.highest() {
                Some(key) => self.log.resolve(&everyone, &Cursor::Event(key)).await?.is_ok(),
                None => true,
            };
            if base.is_ok() && newest {
                return Ok(());
            }
            tracing::warn!(
                "the log is not the one that was followed before (restored, promoted, or pruned): subscribers start over from it"
            );
        }
        let now = Arc::new(self.log.now().await?);
        self.router.begin(&now);
        *held = Some(Ledger::new(now));
        Ok(())
    }

    fn dispatch(&self, ledger: &mut Ledger, event: Arc<Event>) -> bool {
        // What is not in the log comes one way only, and can never be asked for again.
        let admitted = event.key().is_none_or(|key| ledger.admit(key));
        if admitted {
            self.metrics.events.inc();
            self.router.dispatch(event);
        }
        admitted
    }
}
