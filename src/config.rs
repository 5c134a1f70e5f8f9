//! The settings of a process, read at start and again at SIGHUP, which takes up some of them ([`reload`](crate::reload)).
//!
//! `config.toml` at the repository root is the manual and, compiled in, the lowest of four layers: defaults,
//! file, environment, flags (`layers`). The merged values become the structs below (`value`) and are
//! checked against each other (`check`). Every value remembers where it came from, so that a refusal can
//! name the line or the variable, and `config show` can say why a setting is what it is.
//!
//! Invariant: `config.toml` is complete, neither more nor less than the structs (`config_toml_is_complete`). The lists of
//! sections (`list`) are empty by default and stand there as comments.
//!
//! Why not serde: it reports the first thing it trips over, in the words of Rust types, and has forgotten by then
//! whether the value came from a file or from a variable.

mod channel;
mod check;
mod email;
mod error;
mod inbound;
mod issuer;
mod layers;
mod list;
mod responder;
mod secret;
mod signing_key;
mod spelling;
#[cfg(test)]
mod tests;
mod value;
mod webhook;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use channel::Channel;
pub(crate) use check::is_loopback;
pub use error::ConfigError;
pub use inbound::Inbound;
pub use issuer::Issuer;
pub use layers::Source;
pub use responder::Kind;
pub use secret::{Secret, holds_secret};
pub use signing_key::SigningKey;
pub(crate) use spelling::nearest;
pub use webhook::Webhook;

use layers::Settings;

/// The compiled-in `config.toml`: every key with its meaning and default.
const MANUAL: &str = include_str!("../config.toml");

/// Declares each section once: as a struct, as a field of [`Config`], and as a row of [`SECTIONS`].
macro_rules! sections {
    ($($(#[$doc:meta])* $section:ident: $name:ident { $($(#[$key_doc:meta])* $key:ident: $type:ty,)* })*) => {
        /// Everything that can be set, checked. One field per section of `config.toml`.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $($(#[$doc])* pub $section: $name,)*
            /// Channels of existing triggers: one `[[channel]]` each.
            pub channel: Vec<Channel>,
            /// Sources of webhooks: one `[[inbound]]` each.
            pub inbound: Vec<Inbound>,
            /// Endpoints that events are posted to: one `[[webhook]]` each.
            pub webhook: Vec<Webhook>,
            /// Issuers with keys of their own: one `[[issuer]]` each.
            pub issuer: Vec<Issuer>,
        }

        $($(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$key_doc])* pub $key: $type,)* })*

        /// Sections and their keys, in the order of the manual.
        const SECTIONS: &[(&str, &[&str])] = &[$((stringify!($section), &[$(stringify!($key)),*])),*];

        impl Config {
            fn read(settings: &Settings) -> Result<Self, ConfigError> {
                Ok(Self {
                    $($section: $name {
                        $($key: settings.read(concat!(stringify!($section), ".", stringify!($key)))?,)*
                    },)*
                    channel: settings.read(channel::LIST.name)?,
                    inbound: settings.read(inbound::LIST.name)?,
                    webhook: settings.read(webhook::LIST.name)?,
                    issuer: settings.read(issuer::LIST.name)?,
                })
            }
        }
    };
}

sections! {
    /// Where PostgreSQL is and how it is used.
    database: Database {
        /// Connection string; empty when not set.
        url: Secret,
        /// File that holds it, read for each connection; empty when not set.
        url_file: String,
        /// Connections for the log, without the listener's.
        pool_size: usize,
        /// After this the server cancels a statement of ours.
        statement_timeout: Duration,
        /// Whether `serve` applies pending migrations at start.
        migrate: bool,
    }

    /// The listening connection.
    listener: Listener {
        /// Interval between checkpoints.
        checkpoint_every: Duration,
        /// Without an answer for this long the connection is dead; longer than `checkpoint_every`.
        checkpoint_timeout: Duration,
        /// Limit for one attempt to connect.
        connect_timeout: Duration,
        /// First pause before a reconnect, before jitter.
        backoff_min: Duration,
        /// Longest pause before a reconnect; not below `backoff_min`.
        backoff_max: Duration,
    }

    /// The newest events of each tenant, in memory.
    ring: Ring {
        /// Events per tenant.
        events_max: usize,
        /// Bytes per tenant; not below `http.request_bytes_max`.
        bytes_max: usize,
        /// A ring without subscribers is freed after this.
        idle_after: Duration,
    }

    /// The event log in the database.
    log: Log {
        /// How far back a cursor may reach.
        retention: Duration,
        /// Size on disk, indexes included, beyond which it reaches less far.
        bytes_max: usize,
    }

    /// The HTTP server.
    http: Http {
        /// Address to bind; port 0 takes a free one.
        listen: SocketAddr,
        /// Address for `/metrics`, which is then not at the other; none: it is there.
        metrics_listen: Option<SocketAddr>,
        /// PEM file of the certificate and its chain; empty: clear text.
        tls_certificate: String,
        /// PEM file of its key; set where `tls_certificate` is.
        tls_key: String,
        /// Interval between looks at the two.
        tls_refresh: Duration,
        /// Allowed browser origins, `scheme://host[:port]` exactly as a browser sends them.
        origins: Vec<String>,
        /// Longest silence on a stream: whole seconds, 1 to 25.
        heartbeat: Duration,
        /// Limit for the arrival of a request's head.
        header_timeout: Duration,
        /// A socket that accepts no byte for this long is closed.
        write_timeout: Duration,
        /// Bytes of a request body or a client's WebSocket frame.
        request_bytes_max: usize,
        /// Lower end of the jitter in SSE `retry`.
        retry_min: Duration,
        /// Upper end of the jitter in SSE `retry`; not below `retry_min`.
        retry_max: Duration,
        /// Networks whose forwarding headers are believed.
        trusted_proxies: Vec<String>,
    }

    /// The pages that are served.
    pages: Pages {
        /// Where people sign in, a URL or a path, with `{page}` for where they came from; empty when not set.
        sign_in: String,
        /// Origins besides this host's own that the pages may send to.
        connect: Vec<String>,
    }

    /// Files that people upload.
    uploads: Uploads {
        /// Where they are kept; empty: nowhere, and none are taken.
        directory: String,
        /// Bytes of one file; not above the other two.
        bytes_max: usize,
        /// Bytes of all files of a tenant.
        bytes_per_tenant_max: usize,
        /// Bytes of all files.
        bytes_total_max: usize,
    }

    /// Which tokens are believed.
    auth: Auth {
        /// HMAC secret; empty when not set.
        secret: Secret,
        /// The secret before the last rotation; only beside `secret`.
        previous_secret: Secret,
        /// Path or URL of a JWKS; empty when not set.
        jwks: String,
        /// Interval between reads of the JWKS.
        jwks_refresh: Duration,
        /// Accepted algorithms by JWA name; empty: those that fit the keys.
        algorithms: Vec<String>,
        /// Whether `?token=` is accepted.
        query_token: bool,
        /// Required `iss`; empty: any.
        issuer: String,
        /// Required `aud`; empty: any.
        audience: String,
        /// Tolerated clock difference; may be zero.
        leeway: Duration,
        /// The longest that a token may still be good for.
        lifetime_max: Duration,
        /// Dotted path of the tenant claim.
        tenant_claim: String,
        /// Dotted path of the role claim.
        role_claim: String,
        /// Dotted path of the claim with event globs.
        events_claim: String,
        /// Dotted path of the subject claim.
        sub_claim: String,
    }

    /// How much one client, user, tenant or process may use.
    limits: Limits {
        /// Open streams and sockets of the process.
        connections: usize,
        /// Of one tenant.
        connections_per_tenant: usize,
        /// Of one user.
        connections_per_user: usize,
        /// Of one address, and sockets about as many.
        connections_per_address: usize,
        /// Requests a second of one user, and commands of their sockets.
        requests_per_user: usize,
        /// Streams, sockets, subscriptions and pages of events that one user opens a second.
        opens_per_user: usize,
        /// Events a second that one user publishes.
        publishes_per_user: usize,
        /// Wrong credentials a second from one address.
        failures_per_address: usize,
        /// Requests a second without a credential from one address.
        requests_per_address: usize,
        /// Messages a second of one WebSocket.
        messages_per_connection: usize,
        /// Subscriptions of one WebSocket.
        subscriptions_per_connection: usize,
        /// How long a client may stay behind the ring.
        slow_after: Duration,
        /// Concurrent replays from the log.
        replays: usize,
    }

    /// Who answers chat messages.
    responder: Responder {
        /// Who answers.
        kind: Kind,
        /// Base address of a model's server, or the address of a webhook; empty where none is needed.
        url: String,
        /// Whether `url` may be http beyond the loopback address.
        allow_http: bool,
        /// Bearer key of a model's server, or the `whsec_` key that signs what a webhook is asked.
        key: Secret,
        /// The model's name.
        model: String,
        /// Whether a model's answer is asked for word by word.
        stream: bool,
        /// Template of the system prompt; empty: none.
        system: String,
        /// Messages of the conversation that are shown to whoever answers.
        context_messages: usize,
        /// `generate`, a template, or empty for none: what a new session begins with.
        opening: String,
        /// Actions that the opening offers, in its metadata.
        actions: Vec<String>,
        /// What is said when no answer could be made.
        error_text: String,
        /// Limit for one attempt to make an answer.
        timeout: Duration,
        /// Attempts before `error_text` is said.
        attempts: usize,
        /// Answers written at the same time, in this process.
        in_flight: usize,
        /// How long a follow-up waits for a further edit.
        debounce: Duration,
    }

    /// What webhooks and e-mail have in common.
    delivery: Delivery {
        /// Attempts at the same time, of one consumer in one process.
        in_flight: usize,
        /// No pause before a further attempt is shorter.
        retry_after_min: Duration,
        /// None is longer; not below `retry_after_min`.
        retry_after_max: Duration,
        /// Given up after this.
        retry_for: Duration,
    }

    /// Events as e-mail.
    email: Email {
        /// URL of the SMTP server; empty when not set, and then nothing is sent.
        smtp: Secret,
        /// Mailbox that letters come from.
        from: String,
        /// Where clients of people reach this server: for links in letters.
        public_url: String,
        /// Globs of event types.
        types: Vec<String>,
        /// Template of the subject.
        subject: String,
        /// Template of the text.
        text: String,
        /// Template of the HTML; empty: none.
        html: String,
        /// Limit for one attempt.
        timeout: Duration,
    }

    /// What the process logs about itself.
    tracing: Tracing {
        /// Directives in the syntax of `tracing-subscriber`; checked.
        filter: String,
        /// JSON lines instead of text.
        json: bool,
        /// Base URL of a collector of OTLP over HTTP; empty when not set.
        otlp: String,
        /// Name of this service there.
        otlp_service: String,
        /// Requests without a trace for one that is told.
        otlp_one_in: usize,
    }

    /// The end of the process.
    shutdown: Shutdown {
        /// Time for load balancers to notice, before clients are told; may be zero.
        grace: Duration,
        /// Time for clients to leave; may be zero.
        drain: Duration,
    }
}

impl Config {
    /// The effective configuration alone; [`Loaded::load`] describes layers and errors.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        Loaded::load(file, env, flags).map(|loaded| loaded.config)
    }
}

impl Default for Config {
    /// The compiled-in defaults.
    ///
    /// # Panics
    ///
    /// If the compiled-in `config.toml` is wrong, which `the_defaults_are_valid` holds to be impossible.
    fn default() -> Self {
        match Self::load(None, std::iter::empty(), &[]) {
            Ok(config) => config,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Where a process was told to find its settings, so that they can be read again.
#[derive(Debug)]
pub struct Given {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The settings of the command line.
    pub flags: Vec<(String, String)>,
}

impl Given {
    /// All layers as they are now. The environment stays as it was; files that it names may have changed.
    ///
    /// # Errors
    /// See [`Loaded::load`].
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        Loaded::load(self.file.as_deref(), environment(), &self.flags)
    }
}

/// A valid configuration together with the source of each value.
pub struct Loaded {
    /// What the parts of the program are built from.
    pub config: Config,
    settings: Settings,
}

impl Loaded {
    /// Merges defaults, file, environment and flags, later ones winning.
    ///
    /// Without `file`, the variable `TIDINGS_CONFIG` may name one. Of `env` (see [`environment`]) only
    /// `TIDINGS__…`, `TIDINGS_CONFIG`, `DATABASE_URL` and `DATABASE_URL_FILE` are looked at. `flags` are pairs
    /// such as `("http.listen", "0.0.0.0:80")`, written like environment variables.
    ///
    /// # Errors
    ///
    /// The first unknown key, wrong type, bad unit, unreadable file or impossible combination.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let env: BTreeMap<String, String> = env.collect();
        Self::layered(|settings| {
            let named = env.get("TIDINGS_CONFIG").filter(|path| !path.is_empty());
            if let Some(path) = file.or(named.map(Path::new)) {
                settings.add_file(path)?;
            }
            settings.add_env(&env)?;
            settings.add_flags(flags)
        })
    }

    /// The defaults and the text of one file, which is called `path` where it is wrong.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn parse(path: &str, text: &str) -> Result<Self, ConfigError> {
        Self::layered(|settings| settings.add_text(path, text))
    }

    fn layered(add: impl FnOnce(&mut Settings) -> Result<(), ConfigError>) -> Result<Self, ConfigError> {
        let checked = || {
            let mut settings = Settings::defaults()?;
            add(&mut settings)?;
            settings.open_url_file()?;
            let config = Config::read(&settings)?;
            check::refuse_impossible(&config, &settings)?;
            Ok(Self { config, settings })
        };
        checked().map_err(ConfigError::on_one_line)
    }

    /// Names of the settings whose value is another one there, wherever it came from.
    pub fn different(&self, other: &Self) -> impl Iterator<Item = &str> {
        self.settings.different(&other.settings)
    }

    /// Every setting, fit to be printed: secrets are masked. First the lists of sections, which TOML wants above all
    /// sections when they are written as values, then the others in the order of the manual.
    pub fn shown(&self) -> impl Iterator<Item = Shown<'_>> {
        let keys = |&(section, keys): &'static (&str, &'static [&str])| keys.iter().map(move |&key| (section, key));
        let lists = list::LISTS.iter().map(|list| ("", list.name));
        lists.chain(SECTIONS.iter().flat_map(keys)).filter_map(|(section, key)| {
            let name = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            let (value, source) = self.settings.shown(&name)?;
            Some(Shown { section, key, value, source })
        })
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.shown()).finish()
    }
}

/// One effective setting, without its secret.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Section, for example `http`; empty for what is a list of sections itself, such as `channel`.
    pub section: &'static str,
    /// Key within the section, for example `listen`.
    pub key: &'static str,
    /// The value as it was written, secrets replaced by `***`.
    pub value: toml::Value,
    /// The layer that set it.
    pub source: &'a Source,
}

/// The process environment, for [`Loaded::load`]. Unlike `std::env::vars` it does not panic where a stranger's
/// variable is not UTF-8, but leaves that one out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
