//! What came after a cursor, page by page, from the log.
//!
//! Place: beside the road, above [`replay`](crate::replay). JSON pages, polls for what changed, and consumers with a stored cursor read this way.
//!
//! All pages of one reading are in one snapshot, so that `limit=1` under concurrent writers terminates and is complete
//! (`pages_of_one_terminate_and_are_complete`).

use std::sync::Arc;

use crate::cursor::{Base, Cursor, Stamp};
use crate::event::Event;
use crate::filter::Filter;
use crate::replay::{Log, LogError, Portion, Reset, Scope};

/// Rows looked at for one page; with a narrow filter a page may then hold fewer events than `limit` and say `more`.
const ROWS_MAX: usize = 5000;
/// And bytes: a page is held in memory until its reader has it, who may be slow.
const BYTES_MAX: usize = 2 << 20;

/// Why nothing can be read after a cursor.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log cannot be read now.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What came after the cursor is no longer known.
    #[error("the cursor cannot be resumed from: {}", .0.reason())]
    Gone(Reset),
}

/// A place in the log.
pub struct Reading {
    from: Stamp,
    /// The snapshot and eid at which an earlier page stopped.
    page: Option<(Base, u64)>,
}

/// One page.
pub struct Found {
    /// In the order in which they are to be applied.
    pub events: Vec<Arc<Event>>,
    /// Where the next page goes on.
    pub cursor: Cursor,
    /// Whether the page was cut short.
    pub more: bool,
}

impl Reading {
    /// Behind a cursor; without one, at the oldest event within retention.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn begin(log: &Log, scope: &Scope, after: Option<Cursor>) -> Result<Self, ReadError> {
        let Some(cursor) = after else {
            return Ok(Self { from: Stamp::default(), page: None });
        };
        let _turn = log.turn_in_time(scope).await?;
        let base = log.resolve(scope, &cursor).await?.map_err(ReadError::Gone)?;
        // An event's id names no history; the snapshot that its first page is read in will.
        let (epoch, page) = match cursor {
            Cursor::Event(_) => (Box::default(), None),
            Cursor::Snapshot(stamp) => (stamp.epoch, None),
            Cursor::Page { from, to, last } => (from.epoch, Some((to, last))),
        };
        Ok(Self { from: Stamp { epoch, base }, page })
    }

    /// Behind all that is committed at this moment.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn now(log: &Log, scope: &Scope) -> Result<Self, LogError> {
        let _turn = log.turn_in_time(scope).await?;
        Ok(Self { from: log.now().await?, page: None })
    }

    /// What the owner of the cursor has seen.
    pub fn seen(&self) -> &Base {
        &self.from.base
    }

    /// One page from where this reading stands, which it moves behind that page. An empty one moves it up to now.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&mut self, log: &Log, scope: &Scope, filter: &Filter, limit: usize) -> Result<Found, ReadError> {
        loop {
            let _turn = log.turn_in_time(scope).await?;
            let (to, last) = match self.page.take() {
                Some((base, last)) => (Stamp { epoch: self.from.epoch.clone(), base }, last),
                None => {
                    let now = log.now().await?;
                    self.from.epoch = now.epoch.clone();
                    (now, 0)
                }
            };
            let chained = last > 0;
            let portion = Portion { rows: ROWS_MAX.min(limit * 8), bytes: BYTES_MAX };
            let rows = log.page(scope, &self.from.base, &to.base, last, portion).await?;
            log.retained(&self.from.base).await?.map_err(ReadError::Gone)?;
            let mut seen = last;
            let mut events = Vec::new();
            let mut cut = rows.more;
            for event in rows.events {
                if events.len() == limit {
                    cut = true;
                    break;
                }
                seen = event.number();
                if filter.admits(&event) {
                    events.push(event);
                }
            }
            if cut {
                let cursor = Cursor::Page { from: self.from.clone(), to: to.base.clone(), last: seen };
                self.page = Some((to.base, seen));
                return Ok(Found { events, cursor, more: true });
            }
            self.from = to.clone();
            if events.is_empty() && chained {
                // The earlier reading is done; what was committed since is a reading of its own.
                continue;
            }
            return Ok(Found { events, cursor: Cursor::Snapshot(to), more: false });
        }
    }
}
