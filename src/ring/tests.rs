//! Events that are not in the log pass through a ring without a trace: no cursor, and no key, comes from them.

use super::*;
use crate::cursor::Snapshot;
use crate::decode::{Payload, decode, plain};

fn key(eid: u64) -> Key {
    Key { eid, xid: eid, nonce: 0 }
}

fn logged(eid: u64) -> Arc<Event> {
    let payload = format!(
        r#"{{"eid":{eid},"xid":{eid},"snap":"1:{eid}:","nonce":"0","at":0,"tenant":"acme","type":"t","source":"/emit","data":{{}}}}"#
    );
    match decode(&payload, 0) {
        Ok(Payload::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

fn live(number: u64) -> Arc<Event> {
    let (name, tenant, kind) = ("orders".into(), "=acme".into(), "orders".into());
    plain::decode(&plain::Channel { name, tenant, kind, subject: None, audience: None }, "{}", 0, number).unwrap()
}

fn checkpoint(xmax: u64) -> Arc<Stamp> {
    let base = Base { newest: key(xmax - 1), snapshot: Snapshot { xmax, xip: [].into() }, own: None };
    Arc::new(Stamp { epoch: "1".into(), base })
}

fn ring(events_max: usize) -> Ring {
    Ring::new(Bounds { events_max, bytes_max: usize::MAX }, 0, Some(checkpoint(1)))
}

#[test]
fn a_cursor_is_of_the_newest_event_of_the_log_or_of_the_checkpoint_behind_it() {
    let ring = ring(100);
    let (first, start) = (checkpoint(1), ring.head());
    assert_eq!(ring.cursor_at(start), Some(Cursor::Snapshot((*first).clone())));
    ring.push(live(1));
    assert_eq!(ring.cursor_at(ring.head()), Some(Cursor::Snapshot((*first).clone())), "nothing of the log has passed");
    ring.push(logged(10));
    ring.push(live(2));
    assert_eq!(ring.cursor_at(ring.head()), Some(Cursor::Event(key(10))));
    assert_eq!(ring.cursor_at(start + 1), Some(Cursor::Snapshot((*first).clone())), "before it");
    let second = checkpoint(11);
    ring.mark(&second);
    ring.push(live(3));
    assert_eq!(ring.cursor_at(ring.head()), Some(Cursor::Snapshot((*second).clone())));
}

#[test]
fn a_checkpoint_stands_before_what_came_while_it_was_audited() {
    let ring = ring(100);
    ring.push(logged(10));
    ring.push(live(1));
    ring.push(logged(11));
    ring.push(live(2));
    ring.mark(&checkpoint(11));
    assert_eq!(ring.cursor_at(ring.head()), Some(Cursor::Event(key(11))), "not the checkpoint, which would repeat it");
    ring.mark(&checkpoint(12));
    assert_eq!(ring.cursor_at(ring.head()), Some(Cursor::Snapshot((*checkpoint(12)).clone())));
}

#[test]
fn a_cursor_does_not_go_back_when_events_of_plain_channels_have_pushed_the_log_out() {
    let ring = ring(4);
    ring.push(logged(10));
    ring.push(logged(11));
    (1..=100).for_each(|number| ring.push(live(number)));
    assert_eq!(ring.cursor_at(ring.head()), Some(Cursor::Event(key(11))));
}

#[test]
fn whoever_falls_off_leaves_out_exactly_what_it_was_sent_of_the_log() {
    let ring = ring(4);
    let start = checkpoint(1);
    for number in 0..50 {
        ring.push(live(number));
        ring.push(logged(10 + number));
    }
    // Positions count both; of the first 20, ten were of the log.
    assert_eq!(ring.mark_before(21).as_deref(), Some(&*start));
    assert_eq!(ring.passed_unseen(&start.base, 21), (10..20).collect::<Vec<_>>());
    assert_eq!(ring.passed_unseen(&start.base, ring.head()), (10..60).collect::<Vec<_>>());
}

#[test]
fn what_is_joined_ends_with_an_event_of_the_log_or_none() {
    let ring = ring(100);
    let joined = |from| match ring.joined(from, Encoding::Sse) {
        Read::Some(Some(joined), _) => (joined.count, joined.last.and_then(|event| event.key())),
        other => panic!("{other:?}"),
    };
    ring.push(live(1));
    assert_eq!(joined(1), (1, None));
    ring.push(logged(10));
    ring.push(live(2));
    assert_eq!(joined(1), (3, Some(key(10))));
    assert_eq!(joined(3), (1, None));
}

#[test]
fn an_event_is_found_by_its_key_for_as_long_as_it_is_held() {
    let ring = ring(2);
    ring.push(logged(10));
    ring.push(live(1));
    assert_eq!(ring.find(key(10)).unwrap().key(), Some(key(10)));
    assert!(ring.find(Key { nonce: 1, ..key(10) }).is_none(), "another history's");
    ring.push(logged(11));
    assert!(ring.find(key(10)).is_none(), "it fell off");
    assert_eq!(ring.find(key(11)).unwrap().key(), Some(key(11)));
    // As a log that was restored hands out numbers again.
    ring.clear(0);
    assert!(ring.find(key(11)).is_none());
    for eid in [11, 12, 11] {
        ring.push(logged(eid));
    }
    assert!(ring.find(key(12)).is_some() && ring.find(key(11)).is_some());
    ring.push(logged(13));
    assert!(ring.find(key(11)).is_some(), "the later one of two");
    assert_eq!(ring.read_inner().positions.len(), 2, "nothing is kept of what fell off");
}
