//! A tenant's newest events: at once the bounded buffer of every subscriber, the replay buffer of reconnects, and the
//! way a slow client is noticed. Memory is the ring's, not the ring's times its subscribers'.
//!
//! Place on the road: the router appends, subscribers read behind positions of their own. A position counts every event
//! that the ring ever held; one that has fallen off the front is told so and goes on from the log.
//!
//! Why not a channel per subscriber: it costs the dispatcher time per subscriber and holds what is pending many times
//! over. Why not `tokio::sync::broadcast`: no replay, and no bound in bytes.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::cursor::{Base, Cursor, Key, Stamp};
use crate::event::Event;

/// Bounds of one ring.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events held at most.
    pub events_max: usize,
    /// Bytes held at most, framed; one event is always held, whatever its size.
    pub bytes_max: usize,
}

/// How a socket wants its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `text/event-stream` blocks.
    Sse,
    /// WebSocket text frames.
    Ws,
}

impl Encoding {
    /// The event's shared bytes.
    pub fn bytes(self, event: &Event) -> Bytes {
        match self {
            Self::Sse => event.sse(),
            Self::Ws => event.ws(),
        }
    }
}

/// Sockets take what is pending in pieces of about this size: one write each, and small enough to be fair.
const PIECE_BYTES: usize = 128 * 1024;

/// Pieces kept for the next reader.
const PIECES: usize = 16;
/// Keys of evicted events that are remembered at least (32 bytes each), for subscribers that a burst has left behind.
const KEYS_MAX: usize = 65_536;
/// Checkpoints that are remembered: at their usual interval, for about as long as a client may stay behind.
const MARKS_MAX: usize = 16;

/// What lies behind a position.
#[derive(Debug)]
pub enum Read<T> {
    /// Nothing yet.
    Drained,
    /// The position has fallen off the ring.
    Lapsed,
    /// Something, and the position behind it.
    Some(T, u64),
}

/// Events joined into one buffer, the same for every subscriber that wants all of them.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Bytes of all, in order.
    pub bytes: Bytes,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Arc<Event>,
    /// The last of them that is in the log.
    pub last: Option<Arc<Event>>,
}

/// The ring of one tenant, or of all.
#[derive(Debug)]
pub struct Ring {
    bounds: Bounds,
    inner: RwLock<Inner>,
    seats: Mutex<Vec<Seat>>,
    /// What the last readers asked for. Subscribers that keep up all ask for the same.
    pieces: Mutex<VecDeque<Piece>>,
}

#[derive(Debug)]
struct Piece {
    from: u64,
    to: u64,
    encoding: Encoding,
    /// Whether it ended before the head, and stays as it is whatever comes.
    complete: bool,
    joined: Option<Joined>,
}

#[derive(Debug)]
struct Inner {
    events: VecDeque<Arc<Event>>,
    /// Where each that is in the log stands, by its eid. Who looks for one must not hold up who appends: on the ring of all
    /// tenants that is every tenant's listener.
    positions: HashMap<u64, u64>,
    /// Position of the first event held.
    start: u64,
    bytes: usize,
    /// Highest transaction whose events may be missing here: what had not seen it is served from the log.
    floor: u64,
    /// Positions and keys of events lately evicted, so that whoever falls off is not sent again what it had. Those that
    /// are not in the log are not among them.
    evicted: VecDeque<(u64, Key)>,
    /// The position from which on no such key is missing.
    remembered: u64,
    /// The newest checkpoints and the positions at which they arrived, one for each position.
    marks: VecDeque<(Arc<Stamp>, u64)>,
    used_at: Instant,
}

impl Ring {
    /// An empty ring that answers for nothing up to transaction `floor`.
    pub fn new(bounds: Bounds, floor: u64, mark: Option<Arc<Stamp>>) -> Self {
        let inner = Inner {
            events: VecDeque::new(),
            positions: HashMap::new(),
            start: 1,
            bytes: 0,
            floor,
            evicted: VecDeque::new(),
            remembered: 1,
            marks: mark.map(|stamp| (stamp, 1)).into_iter().collect(),
            used_at: Instant::now(),
        };
        Self { bounds, inner: RwLock::new(inner), seats: Mutex::default(), pieces: Mutex::default() }
    }

    fn read_inner(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_inner(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends without waking anybody, and evicts what the bounds no longer allow.
    pub fn push(&self, event: Arc<Event>) {
        let mut inner = self.write_inner();
        inner.bytes += event.weight();
        if let Some(key) = event.key() {
            let at = inner.head();
            inner.positions.insert(key.eid, at);
        }
        inner.events.push_back(event);
        inner.used_at = Instant::now();
        while inner.events.len() > 1
            && (inner.events.len() > self.bounds.events_max || inner.bytes > self.bounds.bytes_max)
        {
            inner.evict(self.bounds.events_max.max(KEYS_MAX));
        }
    }

    /// Notes that everything the stamp saw has been pushed. What was pushed meanwhile, while the log was asked whether that
    /// is so, comes after it: whoever had it shall not be sent it again.
    pub fn mark(&self, stamp: &Arc<Stamp>) {
        let mut inner = self.write_inner();
        let at = inner.behind(stamp);
        inner.marks.retain(|(_, other)| *other != at);
        if inner.marks.len() >= MARKS_MAX {
            inner.marks.pop_front();
        }
        inner.marks.push_back((stamp.clone(), at));
    }

    /// Forgets everything, so that every subscriber asks the log where it stands.
    pub fn clear(&self, floor: u64) {
        let mut inner = self.write_inner();
        inner.start = inner.head() + 1;
        inner.events.clear();
        inner.positions.clear();
        inner.evicted.clear();
        inner.remembered = inner.start;
        inner.bytes = 0;
        inner.floor = floor;
        inner.marks.clear();
    }

    /// The position behind the newest event.
    pub fn head(&self) -> u64 {
        self.read_inner().head()
    }

    /// The first position held.
    pub fn start(&self) -> u64 {
        self.read_inner().start
    }

    /// The first position held, if the ring holds everything that `base` has not seen.
    pub fn covering(&self, base: &Base) -> Option<u64> {
        let inner = self.read_inner();
        (base.xmin() > inner.floor).then_some(inner.start)
    }

    /// The event with exactly this key.
    pub fn find(&self, key: Key) -> Option<Arc<Event>> {
        let inner = self.read_inner();
        let index = inner.positions.get(&key.eid)? - inner.start;
        inner.events.get(index as usize).filter(|event| event.key() == Some(key)).cloned()
    }

    /// A cursor for whoever has seen everything before `position` and nothing behind it: the event before it, or the
    /// checkpoint that arrived after that. Events that are not in the log lie between without a trace.
    pub fn cursor_at(&self, position: u64) -> Option<Cursor> {
        let inner = self.read_inner();
        let arrived = inner.marks.back().filter(|(_, at)| *at <= position);
        let passed = inner.passed(arrived.map_or(0, |(_, at)| *at), position);
        passed.map(Cursor::Event).or_else(|| arrived.map(|(stamp, _)| Cursor::Snapshot((**stamp).clone())))
    }

    /// The newest checkpoint that has arrived.
    pub fn newest_mark(&self) -> Option<Arc<Stamp>> {
        self.read_inner().marks.back().map(|(stamp, _)| stamp.clone())
    }

    /// The newest checkpoint that arrived before `position`, if what passed between the two is remembered: then
    /// [`Self::passed_unseen`] is exact for it.
    pub fn mark_before(&self, position: u64) -> Option<Arc<Stamp>> {
        let inner = self.read_inner();
        let (stamp, _) =
            inner.marks.iter().rev().find(|(_, at)| *at <= position).filter(|(_, at)| *at >= inner.remembered)?;
        Some(stamp.clone())
    }

    /// Eids of events before `position` that a resume after `base` would send again.
    pub fn passed_unseen(&self, base: &Base, position: u64) -> Vec<u64> {
        let inner = self.read_inner();
        let held = inner.events.iter().take(position.saturating_sub(inner.start) as usize);
        let evicted = inner.evicted.iter().take_while(|(at, _)| *at < position).map(|(_, key)| *key);
        let passed = evicted.chain(held.filter_map(|event| event.key()));
        passed.filter(|key| base.unseen(key.xid, key.eid)).map(|key| key.eid).collect()
    }

    /// Everything pending behind `from`, joined; `None` inside where it holds events that are not for the whole tenant.
    pub fn joined(&self, from: u64, encoding: Encoding) -> Read<Option<Joined>> {
        let inner = self.read_inner();
        let (start, head) = (inner.start, inner.head());
        if from < start {
            return Read::Lapsed;
        } else if from >= head {
            return Read::Drained;
        }
        let mut pieces = lock(&self.pieces);
        let same =
            |piece: &&Piece| piece.from == from && piece.encoding == encoding && (piece.complete || piece.to == head);
        if let Some(piece) = pieces.iter().rev().find(same) {
            return Read::Some(piece.joined.clone(), piece.to);
        }
        let (joined, to) = inner.join(from, encoding);
        if pieces.len() >= PIECES {
            pieces.pop_front();
        }
        pieces.push_back(Piece { from, to, encoding, complete: to < head, joined: joined.clone() });
        Read::Some(joined, to)
    }

    /// Up to `max` events behind `from`.
    pub fn events(&self, from: u64, max: usize) -> Read<Vec<Arc<Event>>> {
        let inner = self.read_inner();
        if from < inner.start {
            return Read::Lapsed;
        } else if from >= inner.head() {
            return Read::Drained;
        }
        let events: Vec<_> = inner.events.iter().skip((from - inner.start) as usize).take(max).cloned().collect();
        let to = from + events.len() as u64;
        Read::Some(events, to)
    }

    /// Wakes everyone that waits.
    pub fn wake(&self) {
        let wakers: Vec<Waker> = lock(&self.seats).iter_mut().filter_map(Seat::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether nobody reads it and nothing has come for `idle`. Such a ring is freed.
    pub fn is_idle(&self, idle: std::time::Duration) -> bool {
        self.read_inner().used_at.elapsed() > idle
    }

    /// Events and bytes held.
    pub fn size(&self) -> (usize, usize) {
        let inner = self.read_inner();
        (inner.events.len(), inner.bytes)
    }

    /// How much of a bound is used, the one that is nearer, and the time of the oldest event held.
    pub fn fill(&self) -> (f64, Option<i64>) {
        let inner = self.read_inner();
        let of = |used: usize, bound: usize| used as f64 / bound.max(1) as f64;
        let share = of(inner.events.len(), self.bounds.events_max).max(of(inner.bytes, self.bounds.bytes_max));
        (share, inner.events.front().map(|event| event.at_us))
    }

    /// Highest transaction of which an event was held or may be missing.
    pub fn highest_xid(&self) -> u64 {
        let inner = self.read_inner();
        inner.events.iter().filter_map(|event| event.key()).map(|key| key.xid).fold(inner.floor, u64::max)
    }
}

impl Inner {
    fn head(&self) -> u64 {
        self.start + self.events.len() as u64
    }

    fn evict(&mut self, remembered: usize) {
        if let Some(event) = self.events.pop_front() {
            let at = self.start;
            self.start += 1;
            self.bytes -= event.weight();
            let Some(key) = event.key() else { return };
            if self.positions.get(&key.eid) == Some(&at) {
                self.positions.remove(&key.eid);
            }
            self.floor = self.floor.max(key.xid);
            if self.evicted.len() >= remembered
                && let Some((forgotten, _)) = self.evicted.pop_front()
            {
                self.remembered = forgotten + 1;
            }
            self.evicted.push_back((at, key));
        }
    }

    /// The position behind the newest event that the stamp saw, as far as events are remembered.
    fn behind(&self, stamp: &Stamp) -> u64 {
        let position = |(i, event): (usize, &Arc<Event>)| Some((self.start + i as u64, event.key()?));
        let held = self.events.iter().enumerate().filter_map(position);
        let logged = self.evicted.iter().copied().chain(held);
        let unseen = logged.rev().take_while(|(_, key)| stamp.base.unseen(key.xid, key.eid));
        unseen.last().map_or(self.head(), |(at, _)| at)
    }

    /// The newest event of the log from one position to before another.
    fn passed(&self, from: u64, to: u64) -> Option<Key> {
        let index = |position: u64| (position.saturating_sub(self.start) as usize).min(self.events.len());
        let held = self.events.range(index(from).min(index(to))..index(to)).rev().find_map(|event| event.key());
        let evicted = || self.evicted.iter().rev().find(|(at, _)| *at < to).filter(|(at, _)| *at >= from);
        held.or_else(|| evicted().map(|(_, key)| *key))
    }

    fn join(&self, from: u64, encoding: Encoding) -> (Option<Joined>, u64) {
        let pending = self.events.iter().skip((from - self.start) as usize);
        let mut pieces: Vec<(Bytes, &Arc<Event>)> = Vec::new();
        let mut size = 0;
        for event in pending {
            if event.audience.is_some() {
                // A piece ends before an event that only some may see; one that starts with it is read one by one.
                break;
            }
            let bytes = encoding.bytes(event);
            size += bytes.len();
            pieces.push((bytes, event));
            if size >= PIECE_BYTES {
                break;
            }
        }
        let to = from + pieces.len() as u64;
        let Some((_, first)) = pieces.first() else { return (None, from) };
        let first = (*first).clone();
        let bytes = match pieces.as_slice() {
            [(bytes, _)] => bytes.clone(),
            _ => {
                let mut all = BytesMut::with_capacity(size);
                pieces.iter().for_each(|(bytes, _)| all.extend_from_slice(bytes));
                all.freeze()
            }
        };
        let last = pieces.iter().rev().map(|(_, event)| *event).find(|event| event.key().is_some());
        (Some(Joined { bytes, count: pieces.len() as u64, first, last: last.cloned() }), to)
    }
}

#[derive(Debug)]
enum Seat {
    Free,
    Taken,
    Waiting(Waker),
}

impl Seat {
    fn take(&mut self) -> Option<Waker> {
        match self {
            Self::Waiting(_) => match std::mem::replace(self, Self::Taken) {
                Self::Waiting(waker) => Some(waker),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A seat among those whom a ring wakes, given back when dropped.
#[derive(Debug)]
pub struct Waiter {
    ring: Arc<Ring>,
    seat: usize,
}

impl Waiter {
    /// Takes a seat.
    pub fn new(ring: Arc<Ring>) -> Self {
        let mut seats = lock(&ring.seats);
        let free = seats.iter().position(|seat| matches!(seat, Seat::Free));
        let seat = free.unwrap_or_else(|| {
            seats.push(Seat::Free);
            seats.len() - 1
        });
        seats[seat] = Seat::Taken;
        drop(seats);
        Self { ring, seat }
    }

    /// Asks to be woken at the next [`Ring::wake`]. Call before looking, so that nothing is missed between.
    pub fn register(&self, cx: &Context<'_>) {
        match &mut lock(&self.ring.seats)[self.seat] {
            Seat::Waiting(waker) if waker.will_wake(cx.waker()) => {}
            seat => *seat = Seat::Waiting(cx.waker().clone()),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        lock(&self.ring.seats)[self.seat] = Seat::Free;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
