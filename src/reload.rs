//! What a running process takes up anew at SIGHUP: who may sign in, from where, and how much.
//!
//! Read at each use, never kept: `state.in_force.load().origins`. All of a new configuration is taken up or nothing
//! (`a_reload_takes_up_all_or_nothing`). What is open goes on as it is, with two exceptions: a limit that was lowered holds
//! for what comes next, and whatever a key let in that is no longer there is ended.
//!
//! Why a key that is taken out ends what it let in, and not only `exp`: a key is taken out in a hurry when somebody else has
//! it. An orderly rotation keeps it as `auth.previous_secret`, or in the JWKS, until its last token has run out.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{AuthConfigError, IssuerConfig, KeysError, Verifier, VerifierConfig};
use crate::config::{self, Config};
use crate::http::State;
use crate::http::address::network;

/// Settings that are taken up, by their name or the section they stand in, and what of that section is not.
const TAKEN_UP: &[&str] = &["auth.", "issuer", "http.origins", "http.trusted_proxies", "limits.", "tracing.filter"];
/// Bounds a turnstile that is made once.
const NOT_TAKEN_UP: &[&str] = &["limits.replays"];

/// Whether a change of this setting needs no restart.
pub fn is_taken_up(name: &str) -> bool {
    TAKEN_UP.iter().any(|taken| name == *taken || (taken.ends_with('.') && name.starts_with(taken)))
        && !NOT_TAKEN_UP.contains(&name)
}

/// The settings that can be changed while the process runs, as one: a request sees all of the old or all of the new.
pub struct InForce {
    /// Browser origins besides this host's own.
    pub origins: Vec<String>,
    /// Networks whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How much one client, user, tenant or process may use.
    pub limits: config::Limits,
    /// Whether `?token=` is read.
    pub query_token: bool,
    /// Reads tokens.
    pub verifier: Arc<Verifier>,
    /// What it was made of: signs the cookie of the pages and the links in letters.
    pub keys: VerifierConfig,
}

/// Shared by all who look; written by a reload only.
pub type Held = Arc<ArcSwap<InForce>>;

impl InForce {
    /// As configured. No key of a JWKS is loaded yet: [`Verifier::load_keys`].
    ///
    /// # Errors
    /// When no token could ever be verified with these settings.
    pub fn new(config: &Config) -> Result<Self, AuthConfigError> {
        let keys = verifier_config(config);
        Ok(Self {
            origins: config.http.origins.clone(),
            trusted_proxies: config.http.trusted_proxies.iter().filter_map(|text| network(text)).collect(),
            limits: config.limits.clone(),
            query_token: config.auth.query_token,
            verifier: Arc::new(Verifier::new(&keys)?),
            keys,
        })
    }
}

/// The settings of `[auth]` and `[[issuer]]` as the verifier wants them.
pub fn verifier_config(config: &Config) -> VerifierConfig {
    let auth = &config.auth;
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    VerifierConfig {
        secret: some(auth.secret.expose()),
        previous_secret: some(auth.previous_secret.expose()),
        jwks: some(&auth.jwks),
        jwks_refresh: auth.jwks_refresh,
        algorithms: auth.algorithms.clone(),
        issuer: some(&auth.issuer),
        audience: some(&auth.audience),
        issuers: config
            .issuer
            .iter()
            .map(|issuer| IssuerConfig {
                name: issuer.name.clone(),
                jwks: issuer.jwks.clone(),
                audience: some(&issuer.audience),
            })
            .collect(),
        leeway: auth.leeway,
        lifetime_max: auth.lifetime_max,
        sub_claim: auth.sub_claim.clone(),
        tenant_claim: auth.tenant_claim.clone(),
        role_claim: auth.role_claim.clone(),
        events_claim: auth.events_claim.clone(),
    }
}

/// Why new keys cannot be used; those in force stay.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The settings of `[auth]` do not work.
    #[error("{0}")]
    Auth(#[from] AuthConfigError),
    /// The JWKS could not be loaded.
    #[error("auth.jwks: {0}")]
    Keys(#[from] KeysError),
}

/// Puts settings in force while the process runs.
pub struct Reload {
    state: Arc<State>,
    /// Places for sockets, made for as many as were ever configured.
    sockets: Arc<Semaphore>,
    /// Owner of the task that keeps the keys fresh.
    tasks: TaskTracker,
    running: Mutex<Running>,
}

struct Running {
    /// Ends the task that keeps the keys fresh which are in force.
    fresh: CancellationToken,
    /// For how many connections there are sockets.
    connections: usize,
}

impl Reload {
    /// For what runs. The keys in force are kept fresh from now on.
    pub fn new(state: Arc<State>, sockets: Arc<Semaphore>, tasks: TaskTracker) -> Self {
        let in_force = state.in_force.load_full();
        let (fresh, connections) = (state.kill.child_token(), in_force.limits.connections);
        let reload = Self { state, sockets, tasks, running: Mutex::new(Running { fresh: fresh.clone(), connections }) };
        reload.keep_fresh(in_force.verifier.clone(), fresh);
        reload
    }

    /// Takes up what of these settings can be taken up; returns how many connections that ends. One at a time.
    ///
    /// # Errors
    /// When no token could be verified with them. Nothing has changed then.
    pub async fn take_up(&self, config: &Config) -> Result<usize, ReloadError> {
        let old = self.state.in_force.load_full();
        let mut new = InForce::new(config)?;
        if new.keys == old.keys {
            new.verifier = old.verifier.clone();
        }
        let inherited = new.keys == old.keys || new.verifier.inherit(&old.verifier);
        match new.verifier.load_keys().await {
            Err(error) if inherited => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(error, "auth.jwks could not be read again; the keys read before stay in use");
            }
            loaded => loaded?,
        }
        self.make_room(new.limits.connections);
        let verifier = new.verifier.clone();
        let same = Arc::ptr_eq(&verifier, &old.verifier);
        self.state.in_force.store(Arc::new(new));
        if !same {
            let fresh = self.state.kill.child_token();
            let before = std::mem::replace(&mut self.running().fresh, fresh.clone());
            before.cancel();
            self.keep_fresh(verifier.clone(), fresh);
        }
        // Behind the change, so that nobody is let in by the old keys any more.
        Ok(self.state.connections.end_unvouched(&verifier))
    }

    fn keep_fresh(&self, verifier: Arc<Verifier>, until: CancellationToken) {
        self.tasks.spawn(async move { verifier.keep_fresh(until).await });
    }

    /// Sockets for so many connections. They never become fewer: that bound is for whoever opens a stream.
    fn make_room(&self, connections: usize) {
        let mut running = self.running();
        self.sockets.add_permits(connections.saturating_sub(running.connections));
        running.connections = running.connections.max(connections);
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
