//! Reads revocations from the database and ends what is open under them; ends connections that another instance was asked to.
//!
//! Why it looks and does not listen: a notification is lost with the connection it comes on, so that what is known would have to be
//! read again after each gap anyway. The revision says in one row whether anything changed, however long nobody looked.
//!
//! Why it goes on while the database is away: nobody can revoke anything then, and what is known stays in force.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Revocations, Row};
use crate::auth::Principal;
use crate::http::connections::Connections;
use crate::http::status::administers_with;
use crate::metrics::Metrics;
use crate::replay::{Log, LogError};

/// Who is revoked is out about a second later: this, and what two short reads take. Two reads of one row a second cost nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A look that takes longer hangs on a connection that is dead. Another is tried then.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// An order to end a connection is looked for so often; whoever gave it waits for `ENDED_WITHIN`.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// SQLSTATE of a table that is not there.
const NO_SUCH_TABLE: &str = "42P01";
/// Some turns of the others, of which one may be late.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// What reads them.
pub struct Reading {
    revocations: Arc<Revocations>,
    connections: Arc<Connections>,
    log: Log,
    metrics: Arc<Metrics>,
    bridge: String,
    /// One at a time, so that what was read earlier never takes the place of what was read later.
    turns: Mutex<()>,
}

impl Reading {
    /// Nothing is read yet.
    pub fn new(connections: Arc<Connections>, log: Log, metrics: Arc<Metrics>, bridge: &str) -> Self {
        let revocations = connections.revocations().clone();
        Self { revocations, connections, log, metrics, bridge: bridge.to_owned(), turns: Mutex::new(()) }
    }

    /// Looks until cancelled. Logs when the database goes and when it is back, not each try.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            let look = timeout(LOOK_TIMEOUT, self.turn(failing));
            let Some(looked) = cancel.run_until_cancelled(look).await else { return };
            let fault = match looked {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(late) => Some(late.to_string()),
            };
            match &fault {
                None if failing => tracing::info!("revocations are read again"),
                Some(error) if !failing => {
                    tracing::warn!(error, "revocations cannot be read, those known stay in force");
                }
                _ => {}
            }
            failing = fault.is_some();
            if failing {
                self.metrics.revocations_unread.inc();
            }
        }
    }

    /// After a failure the database may be another one, with a revision of its own.
    async fn turn(&self, anew: bool) -> Result<(), LogError> {
        self.read(anew).await?;
        self.end_ordered().await
    }

    /// Reads what is in force if it changed, and ends what is open under it. A schema that is older than this program, and will be
    /// migrated while it runs, knows of none.
    ///
    /// # Errors
    /// When the database cannot be read; what was known stays.
    pub async fn refresh(&self) -> Result<(), LogError> {
        match self.read(false).await {
            Err(error) if error.sqlstate() == Some(NO_SUCH_TABLE) => Ok(()),
            read => read,
        }
    }

    async fn read(&self, anew: bool) -> Result<(), LogError> {
        let _turn = self.turns.lock().await;
        let client = self.log.pool().get().await?;
        let revision = client.prepare_cached("select n from tidings._revision").await?;
        // Before the rows: what is committed in between is read twice, never missed.
        let revision: i64 = client.query_one(&revision, &[]).await?.get(0);
        if revision == self.revocations.revision() && !anew {
            return Ok(());
        }
        let all = "select tenant, sub, jti, floor(extract(epoch from before))::bigint, ceil(extract(epoch from expires_at))::bigint
                     from tidings._revocation where expires_at > now()";
        let all = client.prepare_cached(all).await?;
        let seconds = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
        let rows = client.query(&all, &[]).await?.into_iter().map(|row| Row {
            tenant: row.get(0),
            sub: row.get(1),
            jti: row.get(2),
            before_s: seconds(row.get(3)),
            expires_s: seconds(row.get(4)),
        });
        self.revocations.put(revision, rows.collect());
        self.metrics.revocations.set(i64::try_from(self.revocations.len()).unwrap_or(i64::MAX));
        self.connections.end_revoked();
        Ok(())
    }

    /// Ends the connections here that another instance was asked to end.
    async fn end_ordered(&self) -> Result<(), LogError> {
        let client = self.log.pool().get().await?;
        let orders =
            "select id, connection, tenants from tidings._ending where not found and at > now() - interval '1 minute'";
        let orders = client.prepare_cached(orders).await?;
        for order in client.query(&orders, &[]).await? {
            let (id, connection, tenants): (i64, &str, Option<Vec<String>>) =
                (order.get(0), order.get(1), order.get(2));
            if self.connections.end(connection, |of| administers_with(tenants.as_deref(), of)).is_ok() {
                client.execute("update tidings._ending set found = true where id = $1", &[&id]).await?;
            }
        }
        Ok(())
    }

    /// Has a connection ended by whichever other instance holds it. False: none that can be reached does, or it is not this admin's.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn end_elsewhere(&self, connection: &str, admin: &Principal) -> Result<bool, LogError> {
        let client = self.log.pool().get().await?;
        let tenants = admin.listed();
        let order = client.prepare_cached("select tidings._end($1, $2, $3)").await?;
        let Some(id) = client.query_one(&order, &[&self.bridge, &connection, &tenants]).await?.get::<_, Option<i64>>(0)
        else {
            return Ok(false);
        };
        drop(client);
        let deadline = Instant::now() + ENDED_WITHIN;
        while Instant::now() < deadline {
            sleep(ASK_EVERY).await;
            let client = self.log.pool().get().await?;
            let found = client.prepare_cached("select found from tidings._ending where id = $1").await?;
            if client.query_opt(&found, &[&id]).await?.is_some_and(|row| row.get(0)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
