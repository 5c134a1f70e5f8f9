//! Builds the parts, owns every task, and ends them in order.
//!
//! Shutdown: not ready → no new connections → `bye` to every stream and socket → drain to the deadline → end.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app_api::chat::Gate;
use crate::auth::{AuthConfigError, KeysError, Verifier, VerifierConfig};
use crate::chat_metrics::ChatMetrics;
use crate::chat_presence::ChatPresence;
use crate::config::{self, Config};
use crate::http::connections::{ConnectionLimits, Connections};
use crate::http::pulse::Pulse;
use crate::http::rate::Rates;
use crate::http::serve::{self, SocketSettings};
use crate::http::uploads::Uploads;
use crate::http::{self, State};
use crate::listener::{ListenError, Listener, Session, Settings};
use crate::metrics::Metrics;
use crate::migrate::{MigrateError, Wishes, migrate};
use crate::outbound::{Outbound, OutboundError};
use crate::replay::Log;
use crate::responder::{Responder, ResponderError};
use crate::ring::Bounds;
use crate::router::Router;
use crate::upkeep::Upkeep;

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No database is configured.
    #[error("no database is configured")]
    NoDatabase,
    /// The connection string cannot be used.
    #[error("database.url cannot be read: {0}")]
    DatabaseUrl(String),
    /// Neither a secret nor a JWKS.
    #[error("no key to verify tokens with is configured")]
    NoKey,
    /// The pool could not be made.
    #[error("the connection pool cannot be made: {0}")]
    Pool(#[from] deadpool_postgres::BuildError),
    /// Migrations failed.
    #[error("{0}")]
    Migrate(#[from] MigrateError),
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
    /// The address could not be bound.
    #[error("{0} cannot be listened on: {1}")]
    Bind(SocketAddr, std::io::Error),
}

impl StartError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoDatabase => "set DATABASE_URL or database.url, or try `tidings demo`".into(),
            Self::DatabaseUrl(_) => "write it as postgresql://user:password@host:5432/database?sslmode=disable".into(),
            Self::NoKey => "set auth.secret (openssl rand -base64 48) or auth.jwks".into(),
            Self::Migrate(error) => return error.hint(),
            Self::Listen(error) => error.hint().into(),
            Self::Bind(..) => "another process may hold the address: choose one with http.listen".into(),
            Self::Uploads(..) => "name a directory that this process may write to, or none to take no files".into(),
            Self::Pool(_) | Self::Auth(_) | Self::Keys(_) | Self::Responder(_) | Self::Outbound(_) => return None,
        })
    }
}

/// A bridge that is connected and bound, and not serving yet.
pub struct App {
    listener: Listener,
    session: Session,
    socket: TcpListener,
    address: SocketAddr,
    state: Arc<State>,
    verifier: Arc<Verifier>,
    sockets: SocketSettings,
    upkeep: Upkeep,
    chat_metrics: ChatMetrics,
    chat_presence: ChatPresence,
    responder: Option<Responder>,
    outbound: Outbound,
    drain: Duration,
}

/// The connection string as the driver wants it.
pub fn postgres_config(config: &Config) -> Result<tokio_postgres::Config, StartError> {
    if config.database.url.is_empty() {
        return Err(StartError::NoDatabase);
    }
    let mut postgres = tokio_postgres::Config::from_str(config.database.url.expose())
        // The driver's message names the option or part that is wrong, never a password.
        .map_err(|error| {
            StartError::DatabaseUrl(
                std::error::Error::source(&error).map_or_else(|| error.to_string(), |cause| cause.to_string()),
            )
        })?;
    if postgres.get_application_name().is_none() {
        postgres.application_name("tidings");
    }
    postgres.connect_timeout(config.listener.connect_timeout);
    Ok(postgres)
}

/// Connections for everything but listening.
pub fn pool(config: &Config) -> Result<Pool, StartError> {
    let mut postgres = postgres_config(config)?;
    // Reads of the log are short: compiling them, or starting workers for them, costs more than it saves. And an index gives
    // pages in order; without statistics the planner would rather sort everything unseen for each.
    // The last keeps the rows of walled tables out of sight until a request says whose it is.
    let fixed = "-c timezone=UTC -c jit=off -c max_parallel_workers_per_gather=0 -c enable_sort=off -c tidings.tenant=";
    let limit = format!("-c statement_timeout={} {fixed}", config.database.statement_timeout.as_millis());
    let options = postgres.get_options().map_or_else(|| limit.clone(), |options| format!("{options} {limit}"));
    postgres.options(options);
    let manager = Manager::from_config(postgres, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    let wait = Some(config.listener.connect_timeout);
    let builder = Pool::builder(manager).max_size(config.database.pool_size).runtime(Runtime::Tokio1);
    Ok(builder.wait_timeout(wait).create_timeout(wait).recycle_timeout(wait).build()?)
}

/// The settings of `[auth]` as the verifier wants them.
pub fn verifier_config(auth: &config::Auth) -> VerifierConfig {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    VerifierConfig {
        secret: some(auth.secret.expose()),
        previous_secret: some(auth.previous_secret.expose()),
        jwks: some(&auth.jwks),
        jwks_refresh: auth.jwks_refresh,
        algorithms: auth.algorithms.clone(),
        issuer: some(&auth.issuer),
        audience: some(&auth.audience),
        leeway: auth.leeway,
        sub_claim: auth.sub_claim.clone(),
        tenant_claim: auth.tenant_claim.clone(),
        role_claim: auth.role_claim.clone(),
        events_claim: auth.events_claim.clone(),
    }
}

/// Rings with the configured bounds.
pub fn router(config: &Config) -> Arc<Router> {
    let bounds = Bounds { events_max: config.ring.events_max, bytes_max: config.ring.bytes_max };
    Arc::new(Router::new(bounds, config.ring.idle_after))
}

/// A listener that feeds `router`.
pub fn listener(config: &Config, log: Log, router: Arc<Router>, metrics: Arc<Metrics>) -> Result<Listener, StartError> {
    let config::Listener { checkpoint_every, checkpoint_timeout, connect_timeout, backoff_min, backoff_max } =
        config.listener.clone();
    let channels = config.channel.iter().cloned().map(Arc::new).collect();
    let settings =
        Settings { checkpoint_every, checkpoint_timeout, connect_timeout, backoff_min, backoff_max, channels };
    let bridge = format!("{:016x}", rand::random::<u64>());
    Ok(Listener::new(settings, postgres_config(config)?, log, router, metrics, bridge))
}

impl App {
    /// Connects, migrates, loads keys and binds. Fails at the first thing that does not work.
    pub async fn build(config: &Config) -> Result<Self, StartError> {
        if config.auth.secret.is_empty() && config.auth.jwks.is_empty() {
            return Err(StartError::NoKey);
        }
        let verifier = Arc::new(Verifier::new(&verifier_config(&config.auth))?);
        verifier.load_keys().await?;
        let socket =
            TcpListener::bind(config.http.listen).await.map_err(|e| StartError::Bind(config.http.listen, e))?;
        let address = socket.local_addr().map_err(|e| StartError::Bind(config.http.listen, e))?;
        if config.database.migrate {
            migrate(&postgres_config(config)?, &Wishes::default()).await?;
        }
        let uploads = Uploads::open(&config.uploads);
        let uploads = uploads.map_err(|error| StartError::Uploads(config.uploads.directory.clone(), error))?;
        let metrics = Arc::new(Metrics::default());
        let log = Log::new(pool(config)?, config.limits.replays);
        let router = router(config);
        let listener = listener(config, log.clone(), router.clone(), metrics.clone())?;
        let session = listener.connect().await?;
        let limits = ConnectionLimits {
            total: config.limits.connections,
            per_tenant: config.limits.connections_per_tenant,
            per_user: config.limits.connections_per_user,
        };
        let state = Arc::new(State {
            connections: Arc::new(Connections::new(limits, metrics.clone())),
            typing: Gate::default(),
            uploads,
            pulse: Arc::new(Pulse::new(router.clone(), metrics.clone())),
            rates: Rates::new(config.limits.requests_per_user),
            health: listener.health(),
            drain: CancellationToken::new(),
            kill: CancellationToken::new(),
            tasks: TaskTracker::new(),
            settings: http_settings(config),
            verifier: verifier.clone(),
            router,
            log,
            metrics,
        });
        let sockets = SocketSettings {
            header_timeout: config.http.header_timeout,
            write_timeout: config.http.write_timeout,
            connections: config.limits.connections,
        };
        let upkeep = Upkeep::new(&config.log, listener.bridge(), state.clone());
        let shared = (state.log.clone(), state.router.clone(), state.metrics.clone());
        let (tasks, kill) = (state.tasks.clone(), state.kill.clone());
        let responder = Responder::new(&config.responder, listener.bridge(), shared, tasks, kill)?;
        let outbound = Outbound::build(config, listener.bridge(), &state)?;
        let chat_metrics = ChatMetrics::new(state.router.clone(), state.log.clone());
        let chat_presence = ChatPresence::new(listener.bridge(), state.connections.clone(), state.log.clone());
        let drain = config.shutdown.drain;
        Ok(Self {
            listener,
            session,
            socket,
            address,
            state,
            verifier,
            sockets,
            upkeep,
            chat_metrics,
            chat_presence,
            responder,
            outbound,
            drain,
        })
    }

    /// Where it is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let Self { listener, session, socket, state, verifier, sockets, drain, .. } = self;
        let (tasks, stop, kill) = (state.tasks.clone(), state.drain.clone(), state.kill.clone());
        let background = TaskTracker::new();
        background.spawn(listener.run(session, kill.clone()));
        background.spawn(state.pulse.clone().run(kill.clone()));
        background.spawn(self.upkeep.run(kill.clone()));
        background.spawn(self.chat_metrics.run(kill.clone()));
        background.spawn(self.chat_presence.run(kill.clone()));
        if let Some(responder) = self.responder {
            background.spawn(responder.run(stop.clone()));
        }
        background.spawn({
            let kill = kill.clone();
            async move { verifier.keep_fresh(kill).await }
        });
        let routes = http::filter(state.clone());
        let origins = state.settings.origins.clone();
        // Beside the connections: what is being delivered has the drain's time too.
        tasks.spawn(self.outbound.run());
        tasks.spawn(serve::accept(socket, routes, origins, sockets, tasks.clone(), stop.clone(), kill.clone()));

        shutdown.await;
        tracing::info!(drain_s = drain.as_secs(), "draining");
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
    }
}

fn http_settings(config: &Config) -> http::Settings {
    http::Settings {
        origins: config.http.origins.clone().into(),
        heartbeat: config.http.heartbeat,
        write_timeout: config.http.write_timeout,
        request_bytes_max: config.http.request_bytes_max,
        retry_min: config.http.retry_min,
        retry_max: config.http.retry_max,
        drain: config.shutdown.drain,
        slow_after: config.limits.slow_after,
        subscriptions_max: config.limits.subscriptions_per_connection,
        query_token: config.auth.query_token,
        pages: config.pages.clone().into(),
        inbound: config.inbound.clone().into(),
        verifier: verifier_config(&config.auth),
        follow_up: (config.responder.kind != config::Kind::Off).then_some(config.responder.debounce),
    }
}
