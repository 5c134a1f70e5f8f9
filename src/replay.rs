//! Reads the log: where a cursor stands, and what its owner has not seen, in pages and in `eid` order.
//!
//! Place on the road: beside it. The listener catches up through here after a gap, subscribers when their cursor is
//! older than the ring, JSON pages always.
//!
//! Invariants: reads are short (one page each, no cursor held open), and clients' never more at once than `limits.replays`, so
//! that a storm of reconnects cannot take the pool from everybody else. Tenants take turns, page by page
//! (`a_storm_of_replays_of_one_tenant_does_not_hold_up_anothers`). Within one read, `eid` order is the order of changes of a
//! row: it was numbered while the row was locked.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use prometheus_client::metrics::counter::Counter;
use tokio::time::timeout;
use tokio_postgres::RowStream;
use tokio_postgres::types::ToSql;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::cursor::{Base, Cursor, Key, Snapshot, Stamp};
use crate::decode::{self, Reference};
use crate::event::{Event, TenantId};
use crate::postgres::{Pool, reason};
use crate::turnstile::{Turn, Turnstile};

/// Whose events are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One tenant's.
    Tenant(TenantId),
    /// All tenants'.
    Every,
}

impl Scope {
    fn whose(&self) -> Option<TenantId> {
        match self {
            Self::Tenant(tenant) => Some(tenant.clone()),
            Self::Every => None,
        }
    }

    fn tenant(&self) -> Option<&str> {
        match self {
            Self::Tenant(tenant) => Some(tenant.as_str()),
            Self::Every => None,
        }
    }
}

/// The log could not be read now.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No connection from the pool.
    #[error("no database connection: {}", reason(.0))]
    Pool(#[from] deadpool_postgres::PoolError),
    /// The query failed.
    #[error("the log cannot be read: {}", reason(.0))]
    Query(#[from] tokio_postgres::Error),
    /// No turn in time: this tenant asks for more than is answered at once.
    #[error("no turn at the database within {} s", TURN_WITHIN.as_secs())]
    Busy,
    /// `tidings.cursor()` returned something else.
    #[error("tidings.cursor() returned no cursor; is the schema of this version installed?")]
    Cursor,
}

impl LogError {
    /// Of an answer that PostgreSQL gave: its SQLSTATE. None when there was no answer.
    pub fn sqlstate(&self) -> Option<&str> {
        let first: &(dyn std::error::Error + 'static) = self;
        std::iter::successors(Some(first), |error| error.source())
            .find_map(|error| error.downcast_ref::<tokio_postgres::Error>()?.as_db_error())
            .map(|refused| refused.code().code())
    }

    /// In a few words that tell a stranger nothing.
    pub fn in_short(&self) -> &'static str {
        match self.sqlstate() {
            Some("25006") => "it takes no writes",
            Some("53100") => "its disk is full",
            Some("53300") => "it has no connection left",
            Some("3F000" | "42883" | "42P01") => "schema tidings is not there",
            Some("57P01" | "57P02" | "57P03") => "it is starting or stopping",
            Some(_) => "it refuses",
            None => "it does not answer",
        }
    }
}

/// Why a cursor cannot be resumed from. The client must fetch its state again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Retention has removed events that the cursor had not seen, or the cursor is not of this database.
    Unknown,
    /// The database was restored or promoted, or lost transactions in a crash.
    History,
}

impl Reset {
    /// The reason as clients read it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "cursor_unknown",
            Self::History => "history_changed",
        }
    }
}

/// A part of what was unseen.
#[derive(Debug, Default)]
pub struct Page {
    /// In `eid` order.
    pub events: Vec<Arc<Event>>,
    /// Whether there may be more behind the last.
    pub more: bool,
}

/// Access to the log.
#[derive(Clone, Debug)]
pub struct Log {
    pool: Pool,
    /// For what reads the log for a client.
    readers: Turnstile,
    /// For everything else that a request asks of the database.
    callers: Turnstile,
    /// Reads that are under way.
    tasks: TaskTracker,
    skipped: Counter,
    /// Whether the schema knows of traces: bridges of this version run before the migration too.
    traces: Arc<AtomicBool>,
}

/// Who is at the database for clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readers {
    /// Pages of the log being read.
    pub running: usize,
    /// Readers that wait for their turn.
    pub waiting: usize,
    /// Requests at it.
    pub calling: usize,
    /// Requests that wait for their turn.
    pub calls_waiting: usize,
    /// Rows that could not be read so far.
    pub skipped: u64,
}

/// How much one page may hold. It always holds one event.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    /// Rows looked at.
    pub rows: usize,
    /// Events, framed, in bytes: large rows make short pages.
    pub bytes: usize,
}

/// A request that waits for its turn for longer is told to come back: about as long as for a connection of the pool.
const TURN_WITHIN: Duration = Duration::from_secs(5);
/// Connections of the pool that requests leave to replays and to what the process does by itself.
const KEPT_BACK: usize = 2;

const COLUMNS: &str =
    "l.eid, l.xid::text::bigint as xid, l.nonce, (extract(epoch from l.at) * 1000000)::bigint as at_us,
    l.tenant, l.audience, l.type, l.source, l.subject, l.changed, l.data::text as data";
/// The trace of an event's transaction, where the schema knows of traces and where not. Looking for one costs as much as the
/// row, so that is done only where there are any, which is asked once for all rows.
const TRACE: &str = "case when (select exists (select from tidings._traced))
    then (select t.trace from tidings._traced t where t.xid = l.xid and t.slot = l.slot) end as trace";
const NO_TRACE: &str = "null::text as trace";
/// The snapshot of an event, from its statement's first row. Only rings need it.
const HEAD: &str = "left join lateral (select coalesce(l.snap, h.snap)::text as snap from tidings._log h where h.xid = l.xid and h.eid = l.head) head on true";
/// `Base::unseen` word for word, with $2 xmax, $3 newest xid, $4 xip, $5 own xid, $6 own eid, $7 newest eid …
const UNSEEN: &str = "case when l.xid = $5::text::xid8 then l.eid > $6
    else l.xid >= $2::text::xid8 or l.xid = any ($4::text[]::xid8[]) or (l.xid > $3::text::xid8 and l.eid >= $7) end";
/// Transactions that can be open at the same time, of sessions, of background workers and prepared ones; and one more.
const OPEN_MAX: &str = "(current_setting('max_connections')::int + current_setting('max_worker_processes')::int
    + current_setting('max_wal_senders')::int + current_setting('max_prepared_transactions')::int + 1)";
/// … and the transactions that may hold such events, as ranges of an index.
const CANDIDATES: &str = "(l.xid > least($2::text::xid8, $3::text::xid8) or l.xid = $2::text::xid8
    or l.xid = any ($4::text[]::xid8[]) or l.xid = $5::text::xid8)";

/// An eid before every event that a cursor has not seen, found without looking at all of them. $1 xmax, $2 xip, $3 own xid,
/// $4 newest eid.
///
/// Of transactions with numbers from the cursor's `xmax` on, the first [`OPEN_MAX`] hold the oldest event. One with a higher
/// number and an older event would have drawn that event's eid while all of those were open, as they have theirs from later:
/// more than can be open at once. The cursor's own transaction counts for nothing there: what is unseen of it is newer than
/// the newest that was seen.
fn before_unseen() -> String {
    format!(
        "with recursive later as (
            (select l.xid, l.eid from tidings._log l where l.xid >= $1::text::xid8 order by l.xid, l.eid limit 1)
            union all select next.xid, next.eid from later, lateral (select l.xid, l.eid from tidings._log l
                where l.xid > later.xid order by l.xid, l.eid limit 1) next),
         oldest as (
            select xid, eid from (select xid, eid from later limit {OPEN_MAX}) first
            union all select named.xid, first.eid from unnest($2::text[]::xid8[]) named (xid),
                lateral (select l.eid from tidings._log l where l.xid = named.xid order by l.eid limit 1) first)
         select least($4, (select min(eid) from oldest where xid <> $3::text::xid8)) - 1"
    )
}

impl Log {
    /// Reads through `pool`, for clients at most `readers` pages at a time.
    pub fn new(pool: Pool, readers: usize) -> Self {
        let callers = pool.status().max_size.saturating_sub(KEPT_BACK).max(1);
        Self {
            pool,
            readers: Turnstile::unhurried(readers),
            callers: Turnstile::new(callers),
            tasks: TaskTracker::new(),
            skipped: Counter::default(),
            traces: Arc::default(),
        }
    }

    /// The same log, read through another pool.
    pub fn beside(&self, pool: Pool, readers: usize) -> Self {
        Self { traces: self.traces.clone(), skipped: self.skipped.clone(), ..Self::new(pool, readers) }
    }

    /// Looks whether events may have traces. To be called when a connection was made, and now and then.
    pub async fn look(&self) -> Result<(), LogError> {
        let client = self.pool.get().await?;
        let there = client.query_one("select to_regclass('tidings._traced') is not null", &[]).await?;
        self.traces.store(there.get(0), Ordering::Relaxed);
        Ok(())
    }

    fn trace(&self) -> &'static str {
        if self.traces.load(Ordering::Relaxed) { TRACE } else { NO_TRACE }
    }

    /// Who reads it now.
    pub fn readers(&self) -> Readers {
        let ((running, waiting), (calling, calls_waiting)) = (self.readers.size(), self.callers.size());
        Readers { running, waiting, calling, calls_waiting, skipped: self.skipped.get() }
    }

    /// Goes on with a read whether or not whoever asked looks at it: a client that has stopped reading would otherwise hold
    /// a turn, and a connection, in the middle of it (`those_who_do_not_read_what_they_resume_hold_little_memory`).
    pub fn apart<T: Send + 'static>(&self, read: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
        AbortOnDropHandle::new(self.tasks.spawn(read))
    }

    /// The pool, for what the process does by itself.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A connection for a request of this tenant's; of none's where that is not known yet.
    ///
    /// # Errors
    /// [`LogError::Busy`] where the tenant has no turn in time.
    pub async fn client(&self, tenant: Option<&TenantId>) -> Result<Client, LogError> {
        let turn = timeout(TURN_WITHIN, self.callers.pass(tenant.cloned())).await.map_err(|_| LogError::Busy)?;
        Ok(Client { object: self.pool.get().await?, _turn: turn })
    }

    /// A turn at reading the log for a client; to be held for a page.
    pub async fn turn(&self, scope: &Scope) -> Option<Turn> {
        self.readers.pass(scope.whose()).await
    }

    /// The same for a request that is not to wait for ever.
    ///
    /// # Errors
    /// [`LogError::Busy`] where the tenant has no turn in time.
    pub async fn turn_in_time(&self, scope: &Scope) -> Result<Option<Turn>, LogError> {
        timeout(TURN_WITHIN, self.turn(scope)).await.map_err(|_| LogError::Busy)
    }

    /// The cursor of this moment.
    pub async fn now(&self) -> Result<Stamp, LogError> {
        let client = self.pool.get().await?;
        let row = client.query_one(&client.prepare_cached("select tidings.cursor()").await?, &[]).await?;
        match row.get::<_, &str>(0).parse() {
            Ok(Cursor::Snapshot(stamp)) => Ok(stamp),
            _ => Err(LogError::Cursor),
        }
    }

    /// What a cursor's owner has seen, or why that can no longer be said.
    pub async fn resolve(&self, scope: &Scope, cursor: &Cursor) -> Result<Result<Base, Reset>, LogError> {
        match cursor {
            Cursor::Event(key) => match self.after_event(scope, *key).await? {
                Ok(base) => Ok(self.retained(&base).await?.map(|()| base)),
                unknown => Ok(unknown),
            },
            Cursor::Snapshot(stamp) => Ok(self.check(stamp, u64::MAX).await?.map(|()| stamp.base.clone())),
            Cursor::Page { from, to, last } => {
                // The next reading goes on from `to`, so that must hold as well.
                let to = Stamp { epoch: from.epoch.clone(), base: to.clone() };
                let both = self.check(&to, *last).await?.and(self.check(from, *last).await?);
                Ok(both.map(|()| from.base.clone()))
            }
        }
    }

    /// What the owner of an event's id has seen. Another tenant's event is as unknown as one that never was.
    async fn after_event(&self, scope: &Scope, key: Key) -> Result<Result<Base, Reset>, LogError> {
        let client = self.pool.get().await?;
        let sql = format!(
            "select head.snap from tidings._log l {HEAD}
              where l.xid = $1::text::xid8 and l.eid = $2 and l.nonce = $3 and ($4::text is null or l.tenant = $4)"
        );
        let statement = client.prepare_cached(&sql).await?;
        let found = client
            .query_opt(
                &statement,
                &[&key.xid.to_string(), &(key.eid as i64), &key.nonce.cast_signed(), &scope.tenant()],
            )
            .await?;
        let snapshot = found.and_then(|row| Snapshot::from_postgres(row.get::<_, Option<&str>>(0)?));
        Ok(snapshot.map(|snapshot| Base::after(key, snapshot)).ok_or(Reset::Unknown))
    }

    /// Whether a snapshot cursor still means what it said: the same history, its newest event not undone by a crash, and
    /// nothing unseen removed by retention. What retention removed had been written, so its numbers were not used again.
    /// Of a reading that began with the log itself, everything up to eid `last` was seen.
    async fn check(&self, stamp: &Stamp, last: u64) -> Result<Result<(), Reset>, LogError> {
        let client = self.pool.get().await?;
        let statement = client
            .prepare_cached(
                "select (select epoch from tidings._epoch), p.xid::text::bigint,
                    exists (select from tidings._log l where l.xid = $1::text::xid8 and l.eid = $2 and l.nonce = $3), p.eid
                   from tidings._pruned p",
            )
            .await?;
        let newest = stamp.base.newest;
        let row = client
            .query_one(&statement, &[&newest.xid.to_string(), &(newest.eid as i64), &newest.nonce.cast_signed()])
            .await?;
        let (epoch, pruned, exists) =
            (row.get::<_, &str>(0), row.get::<_, i64>(1).unsigned_abs(), row.get::<_, bool>(2));
        Ok(if epoch != &*stamp.epoch {
            Err(Reset::History)
        } else if stamp.base == Base::default() {
            // The beginning of the log, wherever that is by now; but no further than where a reading of it stopped.
            if row.get::<_, i64>(3).unsigned_abs() > last { Err(Reset::Unknown) } else { Ok(()) }
        } else if !exists && newest.xid > pruned {
            Err(Reset::History)
        } else {
            drop(client);
            self.retained(&stamp.base).await?
        })
    }

    /// Whether retention has removed nothing that `base` had not seen. To be asked again after reading: the ring of
    /// partitions may have moved on meanwhile. Of a transaction that is still open nothing was removed: it holds a lock.
    pub async fn retained(&self, base: &Base) -> Result<Result<(), Reset>, LogError> {
        if *base == Base::default() {
            return Ok(Ok(()));
        }
        let client = self.pool.get().await?;
        let statement = client
            .prepare_cached(
                "select p.xid >= $1::text::xid8 or exists (select from unnest($2::text[]::xid8[]) x
                    where x <= p.xid and pg_visible_in_snapshot(x, pg_current_snapshot())) from tidings._pruned p",
            )
            .await?;
        let (_, xip) = xids(&base.snapshot);
        let own = base.own.map_or(u64::MAX, |(xid, _)| xid);
        let lowest = base.snapshot.xmax.min(base.newest.xid.saturating_add(1)).min(own).to_string();
        let removed: bool = client.query_one(&statement, &[&lowest, &xip]).await?.get(0);
        Ok(if removed { Err(Reset::Unknown) } else { Ok(()) })
    }

    /// What `from` has not seen and `to` has, behind eid `last`, at most a portion of it. Only with [`Scope::Every`] do
    /// they carry their snapshots. For a client, it holds a [turn](Self::turn) meanwhile.
    pub async fn page(
        &self,
        scope: &Scope,
        from: &Base,
        to: &Base,
        last: u64,
        portion: Portion,
    ) -> Result<Page, LogError> {
        let client = self.pool.get().await?;
        let (xmax, xip) = xids(&from.snapshot);
        let (own_xid, own_eid) = from.own.map_or((String::from("0"), 0), |(xid, eid)| (xid.to_string(), eid as i64));
        let (newest_xid, newest_eid) = (from.newest.xid.to_string(), from.newest.eid as i64);
        let (seen_to, open_to) = xids(&to.snapshot);
        let mut behind = last as i64;
        let rule: [&(dyn ToSql + Sync); 6] = [&xmax, &newest_xid, &xip, &own_xid, &own_eid, &newest_eid];
        if let (Scope::Tenant(_), 0, true) = (scope, last, *from != Base::default()) {
            let statement = client.prepare_cached(&before_unseen()).await?;
            behind = client.query_one(&statement, &[&xmax, &xip, &own_xid, &newest_eid]).await?.get(0);
        }
        let (tenant, trace) = (scope.tenant(), self.trace());
        let fetch = portion.rows as i64 + 1;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&behind];
        params.extend(rule);
        params.extend([&seen_to as &(dyn ToSql + Sync), &open_to, &fetch]);
        let wanted =
            format!("l.eid > $1 and l.xid < $8::text::xid8 and l.xid <> all ($9::text[]::xid8[]) and {UNSEEN}");
        let sql = if tenant.is_some() {
            params.push(&tenant);
            format!(
                "select {COLUMNS}, {trace}, null::text as snap from tidings._log l where l.tenant = $11 and {wanted} order by l.eid limit $10"
            )
        } else {
            let rows = format!("select * from tidings._log l where {wanted} and {CANDIDATES} order by l.eid limit $10");
            format!("select {COLUMNS}, {trace}, head.snap from ({rows}) l {HEAD} order by l.eid")
        };
        let statement = client.prepare_cached(&sql).await?;
        self.read(client.query_raw(&statement, params).await?, portion).await
    }

    /// The events that a reference names, behind eid `last`.
    pub async fn referenced(&self, reference: Reference, last: u64, portion: Portion) -> Result<Page, LogError> {
        let client = self.pool.get().await?;
        let trace = self.trace();
        let sql = format!(
            "select {COLUMNS}, {trace}, head.snap from tidings._log l {HEAD}
              where l.xid = $1::text::xid8 and l.eid between $2 and $3 and l.eid > $4 order by l.eid limit $5"
        );
        let statement = client.prepare_cached(&sql).await?;
        let (first, to, last) = (reference.first as i64, reference.last as i64, last as i64);
        let (xid, fetch) = (reference.xid.to_string(), portion.rows as i64 + 1);
        let params: [&(dyn ToSql + Sync); 5] = [&xid, &first, &to, &last, &fetch];
        self.read(client.query_raw(&statement, params).await?, portion).await
    }

    /// How many events `to` saw that `from` had not.
    pub async fn count(&self, from: &Base, to: &Base) -> Result<u64, LogError> {
        let client = self.pool.get().await?;
        let statement = client
            .prepare_cached(
                "select count(*) from tidings._log l
                  where (l.xid >= $1::text::xid8 or l.xid = any ($2::text[]::xid8[]))
                    and l.xid < $3::text::xid8 and l.xid <> all ($4::text[]::xid8[])",
            )
            .await?;
        let ((from_xmax, from_xip), (to_xmax, to_xip)) = (xids(&from.snapshot), xids(&to.snapshot));
        let row = client.query_one(&statement, &[&from_xmax, &from_xip, &to_xmax, &to_xip]).await?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    /// Reads up to a portion; what is left of the answer is dropped as it comes.
    async fn read(&self, rows: RowStream, portion: Portion) -> Result<Page, LogError> {
        let mut rows = std::pin::pin!(rows);
        let (mut page, mut bytes) = (Page::default(), 0);
        while let Some(row) = rows.try_next().await? {
            if page.events.len() == portion.rows || bytes > portion.bytes {
                page.more = true;
                break;
            }
            match decode::decode_row(&row) {
                Ok(event) => {
                    bytes += event.weight();
                    page.events.push(event);
                }
                Err(error) => {
                    self.skipped.inc();
                    tracing::warn!(%error, "a row of the log was skipped");
                }
            }
        }
        Ok(page)
    }
}

fn xids(snapshot: &Snapshot) -> (String, Vec<String>) {
    (snapshot.xmax.to_string(), snapshot.xip.iter().map(u64::to_string).collect())
}

/// A connection, and the turn at it.
pub struct Client {
    object: deadpool_postgres::Client,
    _turn: Option<Turn>,
}

impl Deref for Client {
    type Target = deadpool_postgres::Client;

    fn deref(&self) -> &Self::Target {
        &self.object
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.object
    }
}
