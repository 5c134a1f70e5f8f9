//! What the bridge has dispatched since its last checkpoint: lets each event through once, however it is heard of.
//!
//! Place on the road: the listener asks it before every dispatch. The same event may come by notification, by catch-up
//! after a gap, or by audit; the ledger is pure, so every path is held to the same rule.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cursor::{Key, Stamp};

/// Dispatched events that the checkpoint has not seen.
#[derive(Debug)]
pub struct Ledger {
    base: Arc<Stamp>,
    /// eid → xid.
    since: HashMap<u64, u64>,
    /// The dispatched event of the highest transaction: if a crash has not undone this one, it has undone none.
    highest: Option<Key>,
}

impl Ledger {
    /// Nothing dispatched; everything that `base` saw counts as such.
    pub fn new(base: Arc<Stamp>) -> Self {
        Self { base, since: HashMap::new(), highest: None }
    }

    /// The newest checkpoint.
    pub fn base(&self) -> &Arc<Stamp> {
        &self.base
    }

    /// The dispatched event to look for in the log after a gap.
    pub fn highest(&self) -> Option<Key> {
        self.highest
    }

    /// Whether this event is to be dispatched; from then on it counts as dispatched.
    pub fn admit(&mut self, key: Key) -> bool {
        if !self.base.base.unseen(key.xid, key.eid) || self.since.insert(key.eid, key.xid).is_some() {
            return false;
        }
        if self.highest.is_none_or(|highest| highest.xid <= key.xid) {
            self.highest = Some(key);
        }
        true
    }

    /// Whether this checkpoint was taken before the newest one. Moving back to it would forget what was dispatched since.
    pub fn is_past(&self, stamp: &Stamp) -> bool {
        let (base, other) = (&self.base.base.snapshot, &stamp.base.snapshot);
        base.covers(other) && !other.covers(base)
    }

    /// How many dispatched events this later checkpoint has seen.
    pub fn seen_by(&self, later: &Stamp) -> u64 {
        self.since.iter().filter(|(eid, xid)| !later.base.unseen(**xid, **eid)).count() as u64
    }

    /// Moves on to a later checkpoint, all of whose events have been dispatched.
    pub fn advance(&mut self, later: Arc<Stamp>) {
        self.since.retain(|eid, xid| later.base.unseen(*xid, *eid));
        self.base = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(text: &str) -> Arc<Stamp> {
        match text.parse() {
            Ok(crate::cursor::Cursor::Snapshot(stamp)) => Arc::new(stamp),
            other => panic!("{other:?}"),
        }
    }

    fn key(eid: u64, xid: u64) -> Key {
        Key { eid, xid, nonce: 0 }
    }

    #[test]
    fn an_event_is_admitted_once_and_never_if_the_checkpoint_saw_it() {
        let mut ledger = Ledger::new(stamp("c.1.10-5-0.6-2."));
        assert!(!ledger.admit(key(9, 5)), "seen");
        assert!(ledger.admit(key(8, 4)), "its transaction was open");
        assert!(!ledger.admit(key(8, 4)), "twice");
        assert!(ledger.admit(key(11, 6)));
        assert_eq!(ledger.highest(), Some(key(11, 6)));
    }

    #[test]
    fn a_checkpoint_forgets_what_it_saw_and_keeps_the_rest() {
        let mut ledger = Ledger::new(stamp("c.1.10-5-0.6."));
        assert!(ledger.admit(key(11, 6)) && ledger.admit(key(12, 7)));
        let later = stamp("c.1.11-6-0.7.");
        assert_eq!(ledger.seen_by(&later), 1);
        ledger.advance(later);
        assert!(!ledger.admit(key(11, 6)) && !ledger.admit(key(12, 7)) && ledger.admit(key(13, 7)));
    }

    #[test]
    fn a_checkpoint_that_was_overtaken_is_past() {
        let ledger = Ledger::new(stamp("c.1.11-6-0.7-2."));
        assert!(ledger.is_past(&stamp("c.1.10-5-0.6-1.")), "fewer transactions");
        assert!(ledger.is_past(&stamp("c.1.11-6-0.7-2-3.")), "one of them was still open");
        assert!(!ledger.is_past(&stamp("c.1.11-6-0.7-2.")), "the same");
        assert!(!ledger.is_past(&stamp("c.1.11-6-0.7.")) && !ledger.is_past(&stamp("c.1.12-7-0.8-3.")), "later");
    }
}
