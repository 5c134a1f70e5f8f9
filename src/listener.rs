//! The one task that hears of commits: its own connection listens, and every event passes through here in order.
//!
//! Place on the road: a notification is decoded and dispatched where it is read; there is no queue in between, except
//! while a reference or a gap is being read from the log, when later notifications wait their turn.
//!
//! Invariants:
//! - One listener per process, on a connection of its own, outside the pool (a pool drops notifications).
//! - The socket is always read. A listener that stops pins the NOTIFY queue and vacuum for the whole cluster, so when
//!   what waits grows too large it is dropped, and read from the log instead (`a_large_update_arrives_whole_and_in_order`).
//! - It reads the log and sends checkpoints on connections of its own: requests that hold the whole pool hold up no event
//!   (`the_listening_socket_is_read_whatever_else_is_stuck`).
//! - A listening connection is given up when it breaks, or when nothing comes back on it. That the log cannot be read, or a
//!   checkpoint not be written, is no fault of it: that is tried again while events go on
//!   (`a_read_only_database_goes_on_being_read`).
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
use crate::postgres::{ConnectError, Postgres, Why};
use crate::refrain::Refrain;
use crate::replay::{Log, LogError, Scope};
use crate::router::Router;
use crate::telemetry::Telemetry;
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
    /// It could not be made.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// It was made, and LISTEN did not come about in time.
    #[error("PostgreSQL did not begin to listen within {0:?}")]
    Slow(Duration),
    /// PostgreSQL refused something, or it broke.
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
            Self::Connect(error) => error.hint(),
            Self::Slow(_) => "see in pg_stat_activity what it waits for",
            Self::Pooler => "point database.url at PostgreSQL itself, or at a pooler's session mode",
            Self::Postgres(error)
                if error.as_db_error().is_some_and(|e| e.code().code() == "3F000" || e.code().code() == "42883") =>
            {
                "run `tidings migrate` first"
            }
            Self::Silent(_) => {
                "the network or the server is gone, or a pooler in between gives sessions away: database.url must lead to \
                 PostgreSQL itself, or to a pooler's session mode"
            }
            Self::Postgres(_) | Self::Closed | Self::Log(_) => "see PostgreSQL's log",
        }
    }
}

impl ListenError {
    /// In a few words that tell a stranger nothing: for `/readyz`.
    fn in_short(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.why().map_or("it cannot be reached", Why::in_short),
            Self::Pooler => "a pooler is in between",
            Self::Silent(_) | Self::Slow(_) => "it does not answer",
            Self::Postgres(error) => match error.as_db_error().map(|refused| refused.code().code()) {
                Some("3F000" | "42883" | "42P01") => "schema tidings is not there",
                Some("57P01" | "57P02" | "57P03") => "it is starting or stopping",
                _ => "it closed the connection",
            },
            Self::Closed => "it closed the connection",
            Self::Log(error) => error.in_short(),
        }
    }
}

/// Message of a database error without the driver's wrapping.
fn postgres_message(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    error.as_db_error().map_or_else(|| format!("{error}{cause}"), |db| format!("PostgreSQL says: {}", db.message()))
}

/// What `/readyz` goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The gap before this connection has been read, and the log can be.
    pub caught_up: bool,
    /// Backend that listens, while it does.
    pub pid: Option<i32>,
    /// What is wrong with the database, in a few words about it.
    pub trouble: Option<&'static str>,
    /// When the last of `caught_up` and `pid` changed.
    pub since: Instant,
    /// When the newest checkpoint was heard, or the connection made.
    pub beat: Instant,
    /// A checkpoint is expected at least so often.
    pub beats_within: Duration,
    /// When the newest checkpoint was reached, also of a connection that is lost: what was committed before it has been dispatched.
    pub reached: Option<Instant>,
}

/// How the listener stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It listens, has caught up, and its heart beats.
    Ready,
    /// It has no connection.
    Disconnected,
    /// It has one, and reads what it missed; or cannot, while there is trouble.
    CatchingUp,
    /// Checkpoints do not come back.
    NoCheckpoint,
}

impl Standing {
    /// As `/readyz` says it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Disconnected => "disconnected",
            Self::CatchingUp => "catching_up",
            Self::NoCheckpoint => "no_checkpoint",
        }
    }
}

impl Health {
    fn new(settings: &Settings) -> Self {
        let beats_within = settings.checkpoint_every + settings.checkpoint_timeout;
        let now = Instant::now();
        Self { caught_up: false, pid: None, trouble: None, since: now, beat: now, beats_within, reached: None }
    }

    /// How it stands at this moment, and since when.
    pub fn standing(&self) -> (Standing, Instant) {
        match self {
            Self { pid: None, .. } => (Standing::Disconnected, self.since),
            Self { caught_up: false, .. } => (Standing::CatchingUp, self.since),
            _ if self.beat.elapsed() > self.beats_within => (Standing::NoCheckpoint, self.beat),
            _ => (Standing::Ready, self.since),
        }
    }
}

/// The listening task, before its first connection.
pub struct Listener {
    settings: Settings,
    postgres: Postgres,
    log: Log,
    router: Arc<Router>,
    metrics: Arc<Metrics>,
    telemetry: Telemetry,
    health: watch::Sender<Health>,
    bridge: String,
    /// Events of plain channels so far. Written by the listener's task only.
    live: AtomicU64,
}

impl Listener {
    /// Nothing is connected yet.
    pub fn new(
        settings: Settings,
        log: Log,
        router: Arc<Router>,
        metrics: Arc<Metrics>,
        telemetry: Telemetry,
        bridge: String,
    ) -> Self {
        let postgres = log.pool().postgres().named("tidings listener");
        let health = watch::Sender::new(Health::new(&settings));
        Self { settings, postgres, log, router, metrics, telemetry, health, bridge, live: AtomicU64::new(0) }
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
        let connected = self.postgres.connect_for_sessions().await?;
        let limit = self.settings.connect_timeout;
        let open = Session::open(connected, self.settings.channels.clone(), self.metrics.clone());
        timeout(limit, open).await.map_err(|_| ListenError::Slow(limit))?
    }

    /// Listens until cancelled, over as many connections as it takes.
    pub async fn run(self, first: Session, cancel: CancellationToken) {
        let mut session = Some(first);
        let mut ledger = None;
        let mut pause = self.settings.backoff_min;
        let refrain = Refrain::new();
        loop {
            let ended = match session.take() {
                Some(mut session) => {
                    let started = Instant::now();
                    self.metrics.connected.set(1);
                    let road = Road::new(&self, &mut session, &refrain);
                    let ended = cancel.run_until_cancelled(road.run(&mut ledger)).await;
                    self.metrics.connected.set(0);
                    // Idle connections may be as dead, or lead to a server that is the primary no more.
                    self.log.pool().forget_idle();
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
            self.tell(|health| (health.pid, health.caught_up, health.trouble) = (None, false, Some(error.in_short())));
            let jittered = pause.mul_f64(rand::random::<f64>()) + Duration::from_millis(10);
            if let Some(unsaid) = refrain.say(error.in_short()) {
                let (hint, retry_ms) = (error.hint(), jittered.as_millis() as u64);
                tracing::warn!(%error, hint, retry_ms, unsaid, "no listening connection; it is tried again");
            }
            if cancel.run_until_cancelled(sleep(jittered)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(self.settings.backoff_max);
        }
    }

    /// Changes what `/readyz` goes by.
    fn tell(&self, change: impl FnOnce(&mut Health)) {
        self.health.send_modify(|health| {
            let before = (health.pid, health.caught_up);
            change(health);
            if before != (health.pid, health.caught_up) {
                health.since = Instant::now();
            }
        });
    }

    /// Readies the ledger: keeps the one held when its history still holds, else begins a new one, and then every
    /// subscriber asks the log where it stands. What fails on the way leaves it held: without it, connected clients would
    /// be sent again what they had.
    async fn prepare(&self, held: &mut Option<Ledger>) -> Result<(), ListenError> {
        self.log.look().await?;
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
            self.metrics.latency.dispatched(&event);
            self.telemetry.dispatched(&event, || self.metrics.latency.clock.since(event.at_us));
            self.router.dispatch(event);
        }
        admitted
    }
}
