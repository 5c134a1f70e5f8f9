//! Connections for everything but listening, each made anew through [`Postgres`], and given up when it falls silent.
//!
//! Where PostgreSQL has fewer connections left than configured, the pool makes do with those that it has: whoever finds none
//! free waits for one, as when the pool is full, and the server is not asked again for a while.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{BuildError, Connect, Manager, ManagerConfig, PoolError, RecyclingMethod, Runtime};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{NoTlsStream, TlsConnect};
use tokio_util::task::TaskTracker;

use super::error::{ConnectError, Why, find, reason};
use super::{Connection, Postgres, drive};
use crate::config::Config;

/// Beyond its timeout the server needs a moment to cancel a statement, and the network to tell of it.
const GRACE: Duration = Duration::from_secs(5);
/// A server that had no connection left is asked again after this.
const FULL_FOR: Duration = Duration::from_secs(5);
/// Whoever waits for a connection meanwhile looks so often: nothing tells of one that was given back.
const FULL_POLL: Duration = Duration::from_millis(20);
/// Reads of the log are short: compiling them, or starting workers for them, costs more than it saves. And an index gives
/// pages in order; without statistics the planner would rather sort everything unseen for each.
/// The last keeps the rows of walled tables out of sight until a request says whose it is.
/// They are set on the connection and not in its greeting: a pooler would refuse the greeting, or lose them on the way.
const SESSION: &str = "set timezone = 'UTC'; set jit = off; set max_parallel_workers_per_gather = 0; set enable_sort = off; \
                       set tidings.tenant = ''";

/// The pool.
#[derive(Clone, Debug)]
pub struct Pool {
    pool: deadpool_postgres::Pool,
    /// How its connections are made, and so the listener's: they remember together which host answered.
    postgres: Postgres,
    wait: Duration,
    /// Another pool that leads to the same place.
    neighbour: Option<deadpool_postgres::Pool>,
}

/// When PostgreSQL last had no connection left.
#[derive(Debug, Default)]
struct Shortage(Mutex<Option<Instant>>);

impl Shortage {
    fn is_on(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| since.elapsed() < FULL_FOR)
    }

    fn begins(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Pool {
    /// As configured; nothing is connected yet.
    ///
    /// # Errors
    /// When the pool cannot be built.
    pub fn new(postgres: &Postgres, config: &Config) -> Result<Self, BuildError> {
        Self::of(postgres, config.database.pool_size, config)
    }

    /// Some connections more, under another name, that nobody else can take.
    ///
    /// # Errors
    /// When the pool cannot be built.
    pub fn beside(&self, name: &'static str, size: usize, config: &Config) -> Result<Self, BuildError> {
        let beside = Self::of(&self.postgres.named(name), size, config)?;
        Ok(Self { neighbour: Some(self.pool.clone()), ..beside })
    }

    fn of(postgres: &Postgres, size: usize, config: &Config) -> Result<Self, BuildError> {
        let statement_timeout = config.database.statement_timeout;
        let session = format!("{SESSION}; set statement_timeout = {}", statement_timeout.as_millis());
        let talkative = postgres.never_silent_for(statement_timeout + GRACE);
        let connect = Connector { postgres: talkative, session: session.into(), shortage: Shortage::default() };
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), connect, manager);
        let wait = config.listener.connect_timeout;
        // Making a connection has its own limit, for each host.
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(wait))
            .recycle_timeout(Some(wait))
            .build()?;
        Ok(Self { pool, postgres: postgres.clone(), wait, neighbour: None })
    }

    /// A connection, for as long as the value lives.
    ///
    /// # Errors
    /// When there is none in time, or none can be made.
    pub async fn get(&self) -> Result<deadpool_postgres::Client, PoolError> {
        let begun = Instant::now();
        loop {
            match self.pool.get().await {
                Err(PoolError::Backend(error))
                    if is_shortage(&error) && self.pool.status().size > 0 && begun.elapsed() < self.wait =>
                {
                    sleep(FULL_POLL).await;
                }
                got => return got,
            }
        }
    }

    /// How connections are made.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// How many connections there are, and how many wait for one.
    pub fn status(&self) -> deadpool_postgres::Status {
        self.pool.status()
    }

    /// Closes connections that nobody uses, here and in the pool that this one is beside. The listening connection was lost: so may they be, and each would cost whoever
    /// asks on it the time to find out.
    pub fn forget_idle(&self) {
        for pool in self.neighbour.iter().chain([&self.pool]) {
            drop(pool.retain(|_, _| false));
        }
    }
}

fn is_shortage(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(find::<ConnectError>(error).and_then(ConnectError::why), Some(Why::Full(_)))
}

/// Makes connections for the pool.
struct Connector {
    postgres: Postgres,
    session: Box<str>,
    shortage: Shortage,
}

type Made = Result<(Client, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for Connector {
    fn connect(&self, _: &tokio_postgres::Config) -> Pin<Box<dyn Future<Output = Made> + Send + '_>> {
        Box::pin(async {
            if self.shortage.is_on() {
                return refuse(ConnectError::from(Why::full())).await;
            }
            match self.make().await {
                // It ends with its client, or by itself.
                Ok((client, connection)) => Ok((client, TaskTracker::new().spawn(keep(connection)))),
                Err(error) => {
                    if is_shortage(&error) {
                        self.shortage.begins();
                        tracing::warn!(%error, hint = error.hint(), "the pool makes do with the connections that it has");
                    }
                    refuse(error).await
                }
            }
        })
    }
}

impl Connector {
    async fn make(&self) -> Result<(Client, Connection), ConnectError> {
        let (client, mut connection) = self.postgres.connect().await?;
        let limit = self.postgres.connect_timeout();
        let set = timeout(limit, drive(&mut connection, client.batch_execute(&self.session))).await;
        match set.unwrap_or(Err(Why::Timeout(limit))) {
            Ok(()) => Ok((client, connection)),
            Err(why) => Err(self.postgres.failure(why)),
        }
    }
}

/// Whoever uses the client learns only that the connection is closed; why, is told here.
async fn keep(connection: Connection) {
    if let Err(error) = connection.await {
        tracing::warn!(error = reason(&error), "a connection of the pool was lost");
    }
}

/// Wraps our error in the driver's, which is what the pool deals in. The driver makes one of a stranger's only when that is the
/// answer to an attempt to encrypt, so this is one: nothing is sent.
async fn refuse(error: ConnectError) -> Made {
    let (nowhere, _) = duplex(1);
    let mut config = tokio_postgres::Config::new();
    config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    let (client, connection) = config.connect_raw(nowhere, Refusing(error)).await?;
    Ok((client, TaskTracker::new().spawn(async move { _ = connection.await })))
}

/// Encrypts nothing, and says why.
struct Refusing(ConnectError);

impl TlsConnect<DuplexStream> for Refusing {
    type Stream = NoTlsStream;
    type Error = ConnectError;
    type Future = Ready<Result<NoTlsStream, ConnectError>>;

    fn connect(self, _: DuplexStream) -> Self::Future {
        ready(Err(self.0))
    }
}
