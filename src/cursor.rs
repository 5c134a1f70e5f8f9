//! A cursor is a PostgreSQL snapshot: "I have seen everything that was visible here; send me all that was not".
//!
//! Place on the road: read by [`replay`](crate::replay) and [`subscriber`](crate::subscriber), written into ids,
//! heartbeats, `hello` and pages. The SQL side is `tidings.cursor()` in `sql/V1__log.sql`.
//!
//! Invariant: [`Base::unseen`] never says "seen" of an event that the cursor's owner was not sent
//! (`every_event_is_delivered_once_and_500_resumes_lose_none`).
//!
//! Why not `id > last`: a transaction takes its number early and may commit late; measured, that loses ten events per
//! resume under twelve writers. Why not commit timestamps or an xmin horizon: see `docs/decisions.md`.
//!
//! ```text
//! event id   18342-7312-9f3a2c1b              eid - xid - nonce
//! snapshot   c.1f3a9c2d.18342-7312-9f3a2c1b.7313-2-9.7310-18340
//!            c.epoch.newest event.xmax[-distance of each unfinished transaction below xmax].[own xid-own eid]
//! page       p.epoch.newest.snapshot.own.newest.snapshot.last eid
//! ```

use std::fmt;
use std::str::FromStr;

/// Identity of an event. `eid` and `xid` order and place it; `nonce` tells it from another that got its numbers after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Key {
    /// Number in the log, in time order.
    pub eid: u64,
    /// Top-level transaction.
    pub xid: u64,
    /// Random.
    pub nonce: u32,
}

/// Which transactions had finished: all below `xmax` but those in `xip`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// First transaction number that had not been handed out as finished.
    pub xmax: u64,
    /// Unfinished transactions below `xmax`.
    pub xip: Box<[u64]>,
}

impl Snapshot {
    /// Whether the transaction had finished.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && !self.xip.contains(&xid)
    }

    /// Whether it sees everything that `other` sees.
    pub fn covers(&self, other: &Self) -> bool {
        other.xmax <= self.xmax && self.xip.iter().all(|xid| *xid >= other.xmax || other.xip.contains(xid))
    }

    /// The oldest transaction that it does not see.
    pub fn xmin(&self) -> u64 {
        self.xip.iter().copied().min().unwrap_or(self.xmax).min(self.xmax)
    }

    /// Heap memory in bytes.
    pub fn weight(&self) -> usize {
        self.xip.len() * size_of::<u64>()
    }

    /// From PostgreSQL's text, `xmin:xmax:xip,xip`.
    pub fn from_postgres(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (_xmin, xmax, xip) = (parts.next()?, parse_number(parts.next()?)?, parts.next()?);
        let unfinished = |text| parse_number(text).filter(|xid| *xid < xmax);
        let xip: Option<Box<[u64]>> = xip.split(',').filter(|x| !x.is_empty()).map(unfinished).collect();
        Some(Self { xmax, xip: xip? })
    }
}

/// What a cursor's owner has seen: the rule that every resume, page and catch-up goes by.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Base {
    /// The event itself, or the newest event visible in the snapshot.
    pub newest: Key,
    /// What was visible.
    pub snapshot: Snapshot,
    /// The cursor's own transaction, which its snapshot does not list: of it, everything up to this eid was seen.
    pub own: Option<(u64, u64)>,
}

impl Base {
    /// The base of resuming after an event.
    pub fn after(key: Key, snapshot: Snapshot) -> Self {
        Self { newest: key, snapshot, own: Some((key.xid, key.eid)) }
    }

    /// Nothing is unseen by it.
    pub fn everything_seen() -> Self {
        Self {
            newest: Key { eid: u64::MAX, xid: u64::MAX, nonce: 0 },
            snapshot: Snapshot { xmax: u64::MAX, xip: [].into() },
            own: None,
        }
    }

    /// Whether an event is still to be sent.
    ///
    /// Numbers above the newest event's transaction may be handed out again after a crash, to an event that looks
    /// visible though nobody saw it; one that was seen has a smaller eid than the newest, one after the crash a larger.
    pub fn unseen(&self, xid: u64, eid: u64) -> bool {
        match self.own {
            Some((own, seen)) if own == xid => eid > seen,
            _ => !self.snapshot.sees(xid) || (xid > self.newest.xid && eid >= self.newest.eid),
        }
    }

    /// The lowest transaction that may hold unseen events.
    pub fn xmin(&self) -> u64 {
        let own = self.own.map_or(u64::MAX, |(xid, _)| xid);
        self.snapshot.xmin().min(own).min(self.newest.xid.saturating_add(1))
    }
}

/// What a client hands back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The id of an event.
    Event(Key),
    /// A list, a `hello` or a heartbeat.
    Snapshot(Stamp),
    /// A page that `limit` cut: everything unseen by `from` and seen by `to`, behind `last`.
    Page {
        /// Where the reading began.
        from: Stamp,
        /// The snapshot that all its pages are read in.
        to: Base,
        /// The last eid handed out.
        last: u64,
    },
}

impl Cursor {
    /// The same place in a history of another name. Only for whoever knows that what it saw is there as well.
    pub fn of_history(self, epoch: Box<str>) -> Self {
        match self {
            Self::Event(key) => Self::Event(key),
            Self::Snapshot(stamp) => Self::Snapshot(Stamp { epoch, ..stamp }),
            Self::Page { from, to, last } => Self::Page { from: Stamp { epoch, ..from }, to, last },
        }
    }

    /// What its owner has seen at least; an event's id alone does not say.
    pub fn into_base(self) -> Option<Base> {
        match self {
            Self::Event(_) => None,
            Self::Snapshot(stamp) => Some(stamp.base),
            Self::Page { from, .. } => Some(from.base),
        }
    }
}

/// A base and the history it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Random name of the history; a restored or promoted database has another.
    pub epoch: Box<str>,
    /// What was seen.
    pub base: Base,
}

/// Text that is no cursor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a cursor: pass an event id or a cursor from a list, hello, heartbeat or tidings.cursor()")]
pub struct NotACursor;

/// Longest text looked at: thousands of unfinished transactions still fit.
const TEXT_BYTES_MAX: usize = 16 * 1024;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        parse(text).ok_or(NotACursor)
    }
}

fn parse(text: &str) -> Option<Cursor> {
    if text.len() > TEXT_BYTES_MAX
        || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    {
        return None;
    }
    let fields: Vec<&str> = text.split('.').collect();
    match fields.as_slice() {
        [id] => Some(Cursor::Event(parse_key(id)?)),
        ["c", epoch, newest, snapshot, own] => Some(Cursor::Snapshot(parse_stamp(epoch, newest, snapshot, own)?)),
        ["p", epoch, newest, snapshot, own, to_newest, to_snapshot, to_own, last] => Some(Cursor::Page {
            from: parse_stamp(epoch, newest, snapshot, own)?,
            to: parse_base(to_newest, to_snapshot, to_own)?,
            last: parse_number(last)?,
        }),
        _ => None,
    }
}

fn parse_stamp(epoch: &str, newest: &str, snapshot: &str, own: &str) -> Option<Stamp> {
    let named = (1..=16).contains(&epoch.len()) && epoch.bytes().all(|b| b.is_ascii_hexdigit());
    named.then_some(())?;
    Some(Stamp { epoch: epoch.into(), base: parse_base(newest, snapshot, own)? })
}

fn parse_base(newest: &str, snapshot: &str, own: &str) -> Option<Base> {
    let mut numbers = snapshot.split('-').map(parse_number);
    let xmax = numbers.next()??;
    let xip: Option<Box<[u64]>> = numbers.map(|distance| xmax.checked_sub(distance?).filter(|x| *x < xmax)).collect();
    let own = match own.split_once('-') {
        Some((xid, eid)) => Some((parse_number(xid)?, parse_number(eid)?)),
        None if own.is_empty() => None,
        None => return None,
    };
    Some(Base { newest: parse_key(newest)?, snapshot: Snapshot { xmax, xip: xip? }, own })
}

fn parse_key(text: &str) -> Option<Key> {
    let mut parts = text.split('-');
    let (eid, xid, nonce) = (parts.next()?, parts.next()?, parts.next()?);
    let nonce_fits = parts.next().is_none() && (1..=8).contains(&nonce.len()) && !nonce.starts_with('+');
    nonce_fits.then_some(())?;
    Some(Key { eid: parse_number(eid)?, xid: parse_number(xid)?, nonce: u32::from_str_radix(nonce, 16).ok()? })
}

/// Decimal digits only, and within PostgreSQL's bigint.
fn parse_number(text: &str) -> Option<u64> {
    let digits = (1..=19).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|n| *n <= i64::MAX as u64)
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:x}", self.eid, self.xid, self.nonce)
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.newest, self.snapshot.xmax)?;
        for xid in &self.snapshot.xip {
            write!(f, "-{}", self.snapshot.xmax - xid)?;
        }
        match self.own {
            Some((xid, eid)) => write!(f, ".{xid}-{eid}"),
            None => write!(f, "."),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(key) => write!(f, "{key}"),
            Self::Snapshot(stamp) => write!(f, "c.{}.{}", stamp.epoch, stamp.base),
            Self::Page { from, to, last } => write!(f, "p.{}.{}.{to}.{last}", from.epoch, from.base),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Key> {
        (0..1_000_000u64, 0..1_000_000u64, any::<u32>()).prop_map(|(eid, xid, nonce)| Key { eid, xid, nonce })
    }

    fn base() -> impl Strategy<Value = Base> {
        (
            key(),
            1..1_000_000u64,
            proptest::collection::vec(1..1000u64, 0..5),
            proptest::option::of((0..99u64, 0..99u64)),
        )
            .prop_map(|(newest, xmax, below, own)| {
                let xip = below.into_iter().filter(|d| *d <= xmax).map(|d| xmax - d).collect();
                Base { newest, snapshot: Snapshot { xmax, xip }, own }
            })
    }

    fn cursor() -> impl Strategy<Value = Cursor> {
        prop_oneof![
            key().prop_map(Cursor::Event),
            base().prop_map(|base| Cursor::Snapshot(Stamp { epoch: "1f".into(), base })),
            (base(), base(), 0..99u64).prop_map(|(base, to, last)| Cursor::Page {
                from: Stamp { epoch: "1f".into(), base },
                to,
                last
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_cursor_reads_back_as_it_was_written(cursor in cursor()) {
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn any_text_is_a_cursor_or_refused(text in "\\PC{0,60}|[cp0-9a-f.-]{0,60}") {
            let _ = text.parse::<Cursor>();
        }
    }

    #[test]
    fn garbage_is_no_cursor() {
        for text in [
            "",
            "x",
            "1-2",
            "1-2-3-4",
            "1-2-zz",
            "1-2-123456789",
            "-1-2-3",
            "c.1.1-2-3.5-9.",
            "c..1-2-3.5.",
            "99999999999999999999-1-1",
            "1-2-+f",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(NotACursor), "{text:?}");
        }
    }

    #[test]
    fn a_number_used_again_after_a_crash_is_unseen() {
        let seen = Base::after(Key { eid: 50, xid: 10, nonce: 1 }, Snapshot { xmax: 20, xip: [12].into() });
        assert!(!seen.unseen(15, 40), "committed before the cursor's event was captured");
        assert!(seen.unseen(15, 51), "the same number, handed out again");
        assert!(seen.unseen(12, 40), "was still open");
        assert!(seen.unseen(10, 51) && !seen.unseen(10, 50), "the rest of its own transaction");
    }
}
