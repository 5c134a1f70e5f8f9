//! Builds the parts, owns every task, and ends them in order.
//!
//! Shutdown: not ready → a while for load balancers to see it → no new connections → `bye` to every stream and socket →
//! drain to the deadline → end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app_api::chat::Gate;
use crate::auth::{AuthConfigError, KeysError};
use crate::chat_metrics::ChatMetrics;
use crate::chat_presence::ChatPresence;
use crate::config::{self, Config};
use crate::heart::Heart;
use crate::http::address::Sockets;
use crate::http::connections::Connections;
use crate::http::pulse::Pulse;
use crate::http::rate::Rates;
use crate::http::serve::{Server, SocketSettings};
use crate::http::tls::{Tls, TlsError};
use crate::http::uploads::Uploads;
use crate::http::{self, State};
use crate::listener::{Health, ListenError, Listener, Session, Settings};
use crate::metrics::Metrics;
use crate::migrate::{MigrateError, Wishes, migrate};
use crate::open_files;
use crate::outbound::{Outbound, OutboundError};
use crate::postgres::{AddressError, Pool, Postgres};
use crate::reload::{Held, InForce, Reload};
use crate::replay::{Log, LogError};
use crate::responder::{Responder, ResponderError};
use crate::revocation::Revocations;
use crate::revocation::reading::Reading;
use crate::ring::Bounds;
use crate::router::Router;
use crate::telemetry::{Telemetry, TelemetryError};
use crate::upkeep::Upkeep;

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No database is configured.
    #[error("no database is configured")]
    NoDatabase,
    /// The connection string cannot be used.
    #[error("database.url cannot be read: {0}")]
    DatabaseUrl(#[from] AddressError),
    /// Neither a secret nor a JWKS.
    #[error("no key to verify tokens with is configured")]
    NoKey,
    /// The pool could not be made.
    #[error("the connection pool cannot be made: {0}")]
    Pool(#[from] deadpool_postgres::BuildError),
    /// Migrations failed.
    #[error("{0}")]
    Migrate(#[from] MigrateError),
    /// What is revoked could not be read.
    #[error("what is revoked cannot be read: {0}")]
    Revocations(#[from] LogError),
    /// The first listening connection failed.
    #[error("{0}")]
    Listen(#[from] ListenError),
    /// The settings of `[auth]` do not work.
    #[error("{0}")]
    Auth(#[from] AuthConfigError),
    /// The JWKS could not be loaded.
    #[error("{0}")]
    Keys(#[from] KeysError),
    /// The settings of `[responder]` do not work.
    #[error("{0}")]
    Responder(#[from] ResponderError),
    /// Webhooks or e-mail cannot be set up.
    #[error("{0}")]
    Outbound(#[from] OutboundError),
    /// The directory of uploads cannot be used.
    #[error("uploads.directory {0} cannot be used: {1}")]
    Uploads(String, std::io::Error),
    /// Spans cannot be sent.
    #[error("{0}")]
    Telemetry(#[from] TelemetryError),
    /// Certificate and key cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The address could not be bound.
    #[error("{0} cannot be listened on: {1}")]
    Bind(SocketAddr, std::io::Error),
}

impl StartError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoDatabase => "set DATABASE_URL or database.url, or try `tidings demo`".into(),
            Self::DatabaseUrl(error) => error.hint().into(),
            Self::NoKey => "set auth.secret (openssl rand -base64 48) or auth.jwks, or an [[issuer]]".into(),
            Self::Migrate(error) => return error.hint(),
            Self::Revocations(_) => "run `tidings migrate` first".into(),
            Self::Listen(error) => error.hint().into(),
            Self::Bind(..) => "another process may hold the address: choose one with http.listen".into(),
            Self::Tls(error) => return error.hint().map(str::to_owned),
            Self::Uploads(..) => "name a directory that this process may write to, or none to take no files".into(),
            Self::Pool(_)
            | Self::Auth(_)
            | Self::Keys(_)
            | Self::Responder(_)
            | Self::Outbound(_)
            | Self::Telemetry(_) => return None,
        })
    }
}

/// A bridge that is connected and bound, and not serving yet.
pub struct App {
    listener: Listener,
    session: Session,
    socket: TcpListener,
    address: SocketAddr,
    metrics_socket: Option<TcpListener>,
    state: Arc<State>,
    sockets: SocketSettings,
    tls: Option<Arc<Tls>>,
    upkeep: Upkeep,
    chat_metrics: ChatMetrics,
    chat_presence: ChatPresence,
    responder: Option<Responder>,
    outbound: Outbound,
    reload: Arc<Reload>,
    heart: Arc<Heart>,
    /// Owner of what runs beside the connections, to their end.
    background: TaskTracker,
    grace: Duration,
    drain: Duration,
}

/// What the listener reads the log with and sends checkpoints on, so many at most: a page, an audit and a checkpoint.
const ROAD_CONNECTIONS: usize = 3;

/// Where PostgreSQL is; a database must have been named.
pub fn postgres(config: &Config) -> Result<Postgres, StartError> {
    if config.database.url.is_empty() {
        return Err(StartError::NoDatabase);
    }
    Ok(Postgres::new(config)?)
}

/// Connections for everything but the road.
pub fn pool(config: &Config) -> Result<Pool, StartError> {
    Ok(Pool::new(&postgres(config)?, config)?)
}

/// Rings with the configured bounds.
pub fn router(config: &Config) -> Arc<Router> {
    let bounds = Bounds { events_max: config.ring.events_max, bytes_max: config.ring.bytes_max };
    Arc::new(Router::new(bounds, config.ring.idle_after))
}

/// A listener that feeds `router`.
///
/// The road has connections of its own: requests that hold all others would hold up events.
pub fn listener(
    config: &Config,
    log: &Log,
    router: Arc<Router>,
    metrics: Arc<Metrics>,
    telemetry: Telemetry,
) -> Result<Listener, StartError> {
    let log = log.beside(log.pool().beside("tidings road", ROAD_CONNECTIONS, config)?, ROAD_CONNECTIONS);
    let config::Listener { checkpoint_every, checkpoint_timeout, connect_timeout, backoff_min, backoff_max } =
        config.listener.clone();
    let channels = config.channel.iter().cloned().map(Arc::new).collect();
    let settings =
        Settings { checkpoint_every, checkpoint_timeout, connect_timeout, backoff_min, backoff_max, channels };
    let bridge = format!("{:016x}", rand::random::<u64>());
    Ok(Listener::new(settings, log, router, metrics, telemetry, bridge))
}

impl App {
    /// Connects, migrates, loads keys and binds. Fails at the first thing that does not work.
    pub async fn build(config: &Config) -> Result<Self, StartError> {
        if config.auth.secret.is_empty() && config.auth.jwks.is_empty() && config.issuer.is_empty() {
            return Err(StartError::NoKey);
        }
        let in_force = InForce::new(config)?;
        in_force.verifier.load_keys().await?;
        let in_force: Held = Arc::new(ArcSwap::from_pointee(in_force));
        let (socket, address) = bind(config.http.listen).await?;
        let metrics_socket = match config.http.metrics_listen {
            Some(address) => Some(bind(address).await?.0),
            None => None,
        };
        let log = Log::new(pool(config)?, config.limits.replays);
        if config.database.migrate {
            migrate(log.pool().postgres(), &Wishes::default()).await?;
        }
        let uploads = Uploads::open(&config.uploads);
        let uploads = uploads.map_err(|error| StartError::Uploads(config.uploads.directory.clone(), error))?;
        let metrics = Arc::new(Metrics::new());
        let telemetry = Telemetry::start(&config.tracing)?;
        let tls = Tls::open(&config.http, metrics.clone()).await?;
        open_files::provide_for(config.limits.connections);
        let router = router(config);
        let listener = listener(config, &log, router.clone(), metrics.clone(), telemetry.clone())?;
        let session = listener.connect().await?;
        let heart = Arc::new(Heart::new(silence_max(config)));
        let revocations = Arc::new(Revocations::default());
        let connections = Arc::new(Connections::new(in_force.clone(), metrics.clone(), revocations));
        let revoking = Arc::new(Reading::new(connections.clone(), log.clone(), metrics.clone(), listener.bridge()));
        // Before the first request, which might come with a token that is revoked.
        revoking.refresh().await?;
        let state = Arc::new(State {
            connections,
            revoking,
            typing: Gate::default(),
            uploads,
            pulse: Arc::new(Pulse::new(router.clone(), metrics.clone())),
            rates: Rates::default(),
            health: listener.health(),
            heart: heart.clone(),
            leaving: CancellationToken::new(),
            drain: CancellationToken::new(),
            kill: CancellationToken::new(),
            tasks: TaskTracker::new(),
            settings: http_settings(config),
            in_force,
            router,
            log,
            metrics,
            telemetry,
        });
        let sockets = SocketSettings {
            header_timeout: config.http.header_timeout,
            write_timeout: config.http.write_timeout,
            // Some more sockets than streams, so that whoever is over the limit can still be told so.
            slots: Arc::new(Semaphore::new(config.limits.connections + 64)),
            places: Arc::new(Sockets::new(state.in_force.clone(), state.metrics.clone())),
        };
        let upkeep = Upkeep::new(&config.log, listener.bridge(), state.clone());
        let shared = (state.log.clone(), state.router.clone(), state.metrics.clone());
        let (tasks, kill) = (state.tasks.clone(), state.kill.clone());
        let responder = Responder::new(&config.responder, listener.bridge(), shared, tasks, kill)?;
        let outbound = Outbound::build(config, listener.bridge(), &state)?;
        let chat_metrics = ChatMetrics::new(state.router.clone(), state.log.clone());
        let chat_presence = ChatPresence::new(listener.bridge(), state.connections.clone(), state.log.clone());
        // Last, since it begins to run.
        let background = TaskTracker::new();
        let reload = Arc::new(Reload::new(state.clone(), sockets.slots.clone(), background.clone()));
        Ok(Self {
            listener,
            session,
            socket,
            address,
            metrics_socket,
            state,
            sockets,
            tls,
            upkeep,
            chat_metrics,
            chat_presence,
            responder,
            outbound,
            reload,
            heart,
            background,
            grace: config.shutdown.grace,
            drain: config.shutdown.drain,
        })
    }

    /// Where it is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes up changed settings while it runs.
    pub fn reload(&self) -> Arc<Reload> {
        self.reload.clone()
    }

    /// Counters.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.state.metrics.clone()
    }

    /// How it is, for as long as it runs.
    pub fn pulse(&self) -> (watch::Receiver<Health>, Arc<Heart>) {
        (self.state.health.clone(), self.heart.clone())
    }

    /// Where `/metrics` is bound, if it has an address of its own.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_socket.as_ref().and_then(|socket| socket.local_addr().ok())
    }

    /// The certificate, whose files a reload may want read at once; none in clear text.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Serves until `shutdown`, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let Self { listener, session, socket, state, sockets, tls, background, grace, drain, .. } = self;
        let (tasks, stop, kill) = (state.tasks.clone(), state.drain.clone(), state.kill.clone());
        background.spawn(self.heart.of(listener.run(session, kill.clone())));
        background.spawn(state.pulse.clone().run(kill.clone()));
        background.spawn(self.upkeep.run(kill.clone()));
        background.spawn(state.revoking.clone().run(kill.clone()));
        background.spawn(self.chat_metrics.run(kill.clone()));
        background.spawn(self.chat_presence.run(kill.clone()));
        if let Some(responder) = self.responder {
            background.spawn(responder.run(stop.clone()));
        }
        if let Some(socket) = self.metrics_socket {
            let server = Server::for_operators(state.clone(), sockets.clone(), background.clone());
            background.spawn(server.accept(socket));
        }
        if let Some(tls) = &tls {
            background.spawn(tls.clone().keep_fresh(kill.clone()));
        }
        // Beside the connections: what is being delivered has the drain's time too.
        tasks.spawn(self.outbound.run());
        tasks.spawn(Server::new(state.clone(), sockets, tls).accept(socket));

        shutdown.await;
        tracing::info!(grace_s = grace.as_secs(), drain_s = drain.as_secs(), "draining");
        state.leaving.cancel();
        sleep(grace).await;
        stop.cancel();
        state.connections.drain();
        tasks.close();
        if timeout(drain, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "the drain's time is over; what is left is closed");
        }
        kill.cancel();
        background.close();
        background.wait().await;
        // Connections end by the same token; a moment lets them.
        let _ = timeout(Duration::from_secs(1), tasks.wait()).await;
        state.telemetry.end().await;
    }
}

/// The longest that the listener pauses by itself, three times over: a pause before connecting, an attempt to connect, a
/// connection that is given up, a statement.
fn silence_max(config: &Config) -> Duration {
    let config::Listener { checkpoint_timeout, connect_timeout, backoff_max, .. } = config.listener;
    let pauses = [checkpoint_timeout, connect_timeout, backoff_max, config.database.statement_timeout];
    3 * pauses.into_iter().max().unwrap_or_default()
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let refused = |error| StartError::Bind(address, error);
    let socket = TcpListener::bind(address).await.map_err(refused)?;
    let bound = socket.local_addr().map_err(refused)?;
    Ok((socket, bound))
}

fn http_settings(config: &Config) -> http::Settings {
    http::Settings {
        heartbeat: config.http.heartbeat,
        write_timeout: config.http.write_timeout,
        request_bytes_max: config.http.request_bytes_max,
        retry_min: config.http.retry_min,
        retry_max: config.http.retry_max,
        drain: config.shutdown.drain,
        metrics_apart: config.http.metrics_listen.is_some(),
        pages: config.pages.clone().into(),
        inbound: config.inbound.clone().into(),
        follow_up: (config.responder.kind != config::Kind::Off).then_some(config.responder.debounce),
    }
}
