//! How every connection to PostgreSQL is made: listener, pool, migrations, commands, bench and demo connect through here.
//!
//! Place: under everything that talks to the database. The driver speaks the protocol; sockets, hosts, TLS and time are ours,
//! because it knows neither libpq's `verify-full` nor a deadline for a server that is gone, and reads its URL once.
//!
//! Invariants:
//! - Address, password, roots and certificates are read anew for each attempt, so a rotated file works without a restart
//!   (`a_rotated_password_in_the_url_file_works_without_a_restart`).
//! - Nothing waits for ever: an attempt has `connect_timeout` for each host, and an answer on a pooled connection has the
//!   statement's timeout and a little more (`a_server_that_falls_silent_costs_a_request_a_bounded_time`).
//! - No error holds a password (`no_refusal_shows_the_password`).

mod address;
mod channel_binding;
mod error;
mod passfile;
mod pool;
mod pooler;
mod socket;
mod tls;
mod watch;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::config::{ChannelBinding, SslMode as DriverSslMode, SslNegotiation};

pub use address::AddressError;
use address::{Address, At, Host};
pub(crate) use error::find;
pub use error::{ConnectError, Why, reason};
pub use pool::Pool;
use socket::Target;
use tls::Encrypt;
pub use wire::Wire;
use wire::{Handed, Negotiated};

use crate::config::{Config, Secret};

/// The half of a connection that does the work: it has to be awaited or polled.
pub type Connection = tokio_postgres::Connection<Wire, Wire>;

/// One host's share of an attempt where nobody configured it: tests, bench, demo.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where PostgreSQL is and how it is reached. Cheap to clone; clones remember together which host answered last.
#[derive(Clone)]
pub struct Postgres {
    source: Source,
    /// Name in `pg_stat_activity`, where the URL does not give one …
    name: &'static str,
    /// … or whatever it gives.
    always_named: bool,
    connect_timeout: Duration,
    /// Longest silence while an answer is due.
    silence: Option<Duration>,
    /// Whether a standby will do.
    any_server: bool,
    /// Host that answered last, by its place in the list: after a failover the dead one is not asked first each time.
    last: Arc<AtomicUsize>,
}

/// Where the connection string comes from.
#[derive(Clone)]
enum Source {
    Text(Secret),
    /// Read for each attempt.
    File(PathBuf),
}

/// A connection that has been made, and who the server said it was.
struct Opened {
    client: Client,
    connection: Connection,
    /// Backend that the greeting named. A pooler names one that does not exist.
    greeted: i32,
}

impl Postgres {
    /// As configured; the connection string is checked now.
    ///
    /// # Errors
    /// When none is configured, or it cannot be used.
    pub fn new(config: &Config) -> Result<Self, AddressError> {
        let database = &config.database;
        let source = if database.url_file.is_empty() {
            Source::Text(database.url.clone())
        } else {
            Source::File(PathBuf::from(&database.url_file))
        };
        let postgres = Self::from_source(source);
        postgres.address()?;
        Ok(Self { connect_timeout: config.listener.connect_timeout, ..postgres })
    }

    fn from_source(source: Source) -> Self {
        Self {
            source,
            name: "tidings",
            always_named: false,
            connect_timeout: CONNECT_TIMEOUT,
            silence: None,
            any_server: false,
            last: Arc::default(),
        }
    }

    /// The same under this name in `pg_stat_activity`.
    #[must_use]
    pub fn named(&self, name: &'static str) -> Self {
        Self { name, always_named: true, ..self.clone() }
    }

    /// The same, content with a standby: for what only looks.
    #[must_use]
    pub fn any_server(&self) -> Self {
        Self { any_server: true, ..self.clone() }
    }

    /// The same, given up when an answer is due and nothing comes for this long.
    #[must_use]
    fn never_silent_for(&self, silence: Duration) -> Self {
        Self { silence: Some(silence), ..self.clone() }
    }

    /// Limit of an attempt at each host.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Which host answered last: changes after a failover.
    pub(crate) fn last_host(&self) -> usize {
        self.last.load(Ordering::Relaxed)
    }

    fn address(&self) -> Result<Address, AddressError> {
        match &self.source {
            Source::Text(text) => Address::parse(text.expose()),
            Source::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| AddressError::File(path.clone(), error))?;
                Address::parse(text.trim_end_matches(['\r', '\n']))
            }
        }
    }

    /// Connects to the first host that will do.
    ///
    /// # Errors
    /// Says for each host why not.
    pub async fn connect(&self) -> Result<(Client, Connection), ConnectError> {
        let Opened { client, connection, .. } = self.open().await?;
        Ok((client, connection))
    }

    /// As [`Self::connect`]; refuses a pooler that would take the session away between statements.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_for_sessions(&self) -> Result<(Client, Connection), ConnectError> {
        let mut opened = self.open().await?;
        let limit = self.connect_timeout;
        match timeout(limit, pooler::refuse(self, &mut opened)).await.unwrap_or(Err(Why::Timeout(limit))) {
            Ok(()) => Ok((opened.client, opened.connection)),
            Err(why) => Err(self.failure(why)),
        }
    }

    /// What went wrong at the host that answered.
    fn failure(&self, why: Why) -> ConnectError {
        match self.address() {
            Ok(address) => {
                let place = address.hosts.get(self.last_host()).map(Host::to_string).unwrap_or_default();
                ConnectError::new(&address, vec![(place, why)])
            }
            Err(_) => why.into(),
        }
    }

    async fn open(&self) -> Result<Opened, ConnectError> {
        let address = self.address()?;
        let mut failed = Vec::new();
        for index in address.order(self.last_host()) {
            let host = &address.hosts[index];
            let limit = self.connect_timeout;
            match timeout(limit, self.open_host(&address, host)).await.unwrap_or(Err(Why::Timeout(limit))) {
                Ok(opened) => {
                    self.last.store(index, Ordering::Relaxed);
                    return Ok(opened);
                }
                Err(why) => failed.push((host.to_string(), why)),
            }
        }
        Err(ConnectError::new(&address, failed))
    }

    /// All addresses of a host, which share its time: one that swallows packets must not use up that of the others.
    async fn open_host(&self, address: &Address, host: &Host) -> Result<Opened, Why> {
        let targets = match &host.at {
            At::Directory(directory) => vec![Target::Unix(directory.join(format!(".s.PGSQL.{}", host.port)))],
            At::Address(ip) => vec![Target::Tcp((*ip, host.port).into())],
            At::Name(name) => {
                let found = lookup_host((name.as_str(), host.port)).await.map_err(Why::Unresolved)?;
                found.map(Target::Tcp).collect()
            }
        };
        let share = self.connect_timeout / u32::try_from(targets.len().max(1)).unwrap_or(u32::MAX);
        let mut failed = Why::Unresolved(std::io::Error::other("it has no address"));
        for target in &targets {
            match timeout(share, self.open_target(address, host, target)).await.unwrap_or(Err(Why::Timeout(share))) {
                Ok(opened) => return Ok(opened),
                Err(why) => failed = why,
            }
        }
        Err(failed)
    }

    /// With and without TLS, in the order of `sslmode`. On a socket of this machine libpq never encrypts, nor do we.
    async fn open_target(&self, address: &Address, host: &Host, target: &Target) -> Result<Opened, Why> {
        let ways = match target {
            Target::Unix(_) => &[Encrypt::Never][..],
            Target::Tcp(_) => address.tls.ways(),
        };
        let mut first: Option<Why> = None;
        for (index, way) in ways.iter().enumerate() {
            match self.open_once(address, host, target, *way).await {
                Ok(opened) => return Ok(opened),
                Err(why) if index + 1 < ways.len() && why.may_be_about_encryption() => first = Some(why),
                Err(why) => return Err(first.unwrap_or(why)),
            }
        }
        Err(first.unwrap_or(Why::Closed))
    }

    async fn open_once(&self, address: &Address, host: &Host, target: &Target, way: Encrypt) -> Result<Opened, Why> {
        let socket = target.connect(&address.driver).await.map_err(Why::Unreachable)?;
        let Negotiated { wire, greeted } = wire::negotiate(socket, &address.tls, way, host, self.silence).await?;
        let mut driver = address.driver.clone();
        if let Some(password) = address.password_for(host)? {
            driver.password(password);
        }
        if self.always_named || driver.get_application_name().is_none() {
            driver.application_name(self.name);
        }
        // What is encrypted is encrypted already: "direct" makes the driver take it as it is, and ask it for channel binding.
        if wire.is_encrypted() {
            driver.ssl_mode(DriverSslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        } else {
            if driver.get_channel_binding() == ChannelBinding::Require {
                return Err(Why::NoChannelBinding);
            }
            driver.ssl_mode(DriverSslMode::Disable);
        }
        let (client, connection) = driver.connect_raw(wire, Handed).await.map_err(Why::of)?;
        if !self.any_server {
            address.refuse_unfit(|parameter| connection.parameter(parameter) == Some("on"))?;
        }
        Ok(Opened { client, connection, greeted: greeted.load(Ordering::Relaxed) })
    }
}

impl FromStr for Postgres {
    type Err = AddressError;

    /// From a connection string.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let postgres = Self::from_source(Source::Text(Secret::new(text)));
        postgres.address()?;
        Ok(postgres)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether a connection string can be used, as far as that can be told without trying.
///
/// # Errors
/// Names the part that is wrong.
pub fn check(url: &str) -> Result<(), AddressError> {
    Address::parse(url).map(drop)
}

/// Drives a connection while something is asked on it.
async fn drive<T>(
    connection: &mut Connection,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Why> {
    // Woken by: the work · the end of the connection, with its reason. What was answered counts.
    tokio::select! {
        biased;
        done = work => done.map_err(Why::of),
        ended = connection => Err(ended.map_or_else(Why::of, |()| Why::Closed)),
    }
}
