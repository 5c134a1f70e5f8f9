//! Reads the log: where a cursor stands, and what its owner has not seen, in pages and in `eid` order.
//!
//! Place on the road: beside it. The listener catches up through here after a gap, subscribers when their cursor is
//! older than the ring, JSON pages always.
//!
//! Invariants: reads are short (one page each, no cursor held open), and never more at once than `limits.replays`, so that
//! a storm of reconnects cannot take the pool from everybody else. Within one read, `eid` order is the order of changes
//! of a row: it was numbered while the row was locked.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use futures_util::TryStreamExt;
use tokio::sync::Semaphore;
use tokio_postgres::RowStream;
use tokio_postgres::types::ToSql;

use crate::cursor::{Base, Cursor, Key, Snapshot, Stamp};
use crate::decode::{self, Reference};
use crate::event::{Event, TenantId};

/// Whose events are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One tenant's.
    Tenant(TenantId),
    /// All tenants'.
    Every,
}

impl Scope {
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
    #[error("no database connection: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    /// The query failed.
    #[error("the log cannot be read: {0}")]
    Query(#[from] tokio_postgres::Error),
    /// `tidings.cursor()` returned something else.
    #[error("tidings.cursor() returned no cursor; is the schema of this version installed?")]
    Cursor,
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
    readers: Arc<Semaphore>,
}

/// Events of one page, framed, in bytes: large rows make short pages.
const PAGE_BYTES: usize = 16 << 20;

const COLUMNS: &str =
    "l.eid, l.xid::text::bigint as xid, l.nonce, (extract(epoch from l.at) * 1000000)::bigint as at_us,
    l.tenant, l.audience, l.type, l.source, l.subject, l.changed, l.data::text as data";
/// The snapshot of an event, from its statement's first row. Only rings need it.
const HEAD: &str = "left join lateral (select coalesce(l.snap, h.snap)::text as snap from tidings._log h where h.xid = l.xid and h.eid = l.head) head on true";
/// `Base::unseen` word for word, with $2 xmax, $3 newest xid, $4 xip, $5 own xid, $6 own eid, $7 newest eid …
const UNSEEN: &str = "case when l.xid = $5::text::xid8 then l.eid > $6
    else l.xid >= $2::text::xid8 or l.xid = any ($4::text[]::xid8[]) or (l.xid > $3::text::xid8 and l.eid >= $7) end";
/// … and the transactions that may hold such events, as ranges of an index.
const CANDIDATES: &str = "(l.xid > least($2::text::xid8, $3::text::xid8) or l.xid = $2::text::xid8
    or l.xid = any ($4::text[]::xid8[]) or l.xid = $5::text::xid8)";

impl Log {
    /// Reads through `pool`, at most `readers` pages at a time.
    pub fn new(pool: Pool, readers: usize) -> Self {
        Self { pool, readers: Arc::new(Semaphore::new(readers)) }
    }

    /// The pool, for what is not reading the log.
    pub fn pool(&self) -> &Pool {
        &self.pool
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

    /// What `from` has not seen and `to` has, behind eid `last`, at most `limit` events. Only with [`Scope::Every`] do
    /// they carry their snapshots.
    pub async fn page(&self, scope: &Scope, from: &Base, to: &Base, last: u64, limit: usize) -> Result<Page, LogError> {
        // A closed semaphore would mean shutdown; nobody closes it, and without a permit the page is merely not counted.
        let _reader = self.readers.acquire().await.ok();
        let client = self.pool.get().await?;
        let (xmax, xip) = xids(&from.snapshot);
        let (own_xid, own_eid) = from.own.map_or((String::from("0"), 0), |(xid, eid)| (xid.to_string(), eid as i64));
        let (newest_xid, newest_eid) = (from.newest.xid.to_string(), from.newest.eid as i64);
        let (seen_to, open_to) = xids(&to.snapshot);
        let mut behind = last as i64;
        let rule: [&(dyn ToSql + Sync); 6] = [&xmax, &newest_xid, &xip, &own_xid, &own_eid, &newest_eid];
        if let (Scope::Tenant(_), 0, true) = (scope, last, *from != Base::default()) {
            let sql = format!("select min(l.eid) from tidings._log l where l.eid > $1 and {CANDIDATES} and {UNSEEN}");
            let mut params: Vec<&(dyn ToSql + Sync)> = vec![&behind];
            params.extend(rule);
            match client.query_one(&client.prepare_cached(&sql).await?, &params).await?.get::<_, Option<i64>>(0) {
                Some(first) => behind = first - 1,
                None => return Ok(Page::default()),
            }
        }
        let tenant = scope.tenant();
        let fetch = limit as i64 + 1;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&behind];
        params.extend(rule);
        params.extend([&seen_to as &(dyn ToSql + Sync), &open_to, &fetch]);
        let wanted =
            format!("l.eid > $1 and l.xid < $8::text::xid8 and l.xid <> all ($9::text[]::xid8[]) and {UNSEEN}");
        let sql = if tenant.is_some() {
            params.push(&tenant);
            format!(
                "select {COLUMNS}, null::text as snap from tidings._log l where l.tenant = $11 and {wanted} order by l.eid limit $10"
            )
        } else {
            let rows = format!("select * from tidings._log l where {wanted} and {CANDIDATES} order by l.eid limit $10");
            format!("select {COLUMNS}, head.snap from ({rows}) l {HEAD} order by l.eid")
        };
        let statement = client.prepare_cached(&sql).await?;
        read(client.query_raw(&statement, params).await?, limit).await
    }

    /// The events that a reference names, behind eid `last`.
    pub async fn referenced(&self, reference: Reference, last: u64, limit: usize) -> Result<Page, LogError> {
        let client = self.pool.get().await?;
        let sql = format!(
            "select {COLUMNS}, head.snap from tidings._log l {HEAD}
              where l.xid = $1::text::xid8 and l.eid between $2 and $3 and l.eid > $4 order by l.eid limit $5"
        );
        let statement = client.prepare_cached(&sql).await?;
        let (first, to, last) = (reference.first as i64, reference.last as i64, last as i64);
        let (xid, fetch) = (reference.xid.to_string(), limit as i64 + 1);
        let params: [&(dyn ToSql + Sync); 5] = [&xid, &first, &to, &last, &fetch];
        read(client.query_raw(&statement, params).await?, limit).await
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

    /// As [`Self::page`], trying again for a while when the database is away.
    pub async fn page_patiently(
        &self,
        scope: &Scope,
        from: &Base,
        to: &Base,
        last: u64,
        limit: usize,
    ) -> Result<Page, LogError> {
        let mut pause = Duration::from_millis(100);
        loop {
            match self.page(scope, from, to, last, limit).await {
                Err(error) if pause > Duration::from_secs(8) => return Err(error),
                Err(_) => tokio::time::sleep(pause).await,
                page => return page,
            }
            pause *= 2;
        }
    }
}

fn xids(snapshot: &Snapshot) -> (String, Vec<String>) {
    (snapshot.xmax.to_string(), snapshot.xip.iter().map(u64::to_string).collect())
}

/// Reads up to `limit` rows, and no more than [`PAGE_BYTES`]; what is left of the answer is dropped as it comes.
async fn read(rows: RowStream, limit: usize) -> Result<Page, LogError> {
    let mut rows = std::pin::pin!(rows);
    let (mut page, mut bytes) = (Page::default(), 0);
    while let Some(row) = rows.try_next().await? {
        if page.events.len() == limit || bytes > PAGE_BYTES {
            page.more = true;
            break;
        }
        match decode::decode_row(&row) {
            Ok(event) => {
                bytes += event.weight();
                page.events.push(event);
            }
            Err(error) => tracing::warn!(%error, "a row of the log was skipped"),
        }
    }
    Ok(page)
}
