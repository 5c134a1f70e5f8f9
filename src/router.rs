//! Puts each event into its tenant's ring, and wakes who waits there. Never waits itself.
//!
//! Place on the road: called by the listener, for every event in the order of delivery.
//!
//! Invariant: nothing between the listening connection and the rings waits for a client
//! (`a_client_that_stops_reading_costs_only_itself`), and everything a checkpoint saw is in the rings before the
//! checkpoint is (`a_heartbeat_cursor_resumes_without_loss`).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::cursor::{Key, Stamp};
use crate::event::{Event, TenantId};
use crate::replay::Scope;
use crate::ring::{Bounds, Ring};

/// What changes the metrics of a tenant's chats: the tables by the names that their events have.
const CHATS: [&str; 2] = ["chat_sessions.", "chat_messages."];

/// All rings.
#[derive(Debug)]
pub struct Router {
    bounds: Bounds,
    idle_after: Duration,
    tenants: RwLock<HashMap<TenantId, Arc<Ring>>>,
    /// The newest events of all tenants, for those who may see all.
    every: Arc<Ring>,
    /// Rings that have something new and were not woken yet. Written by the listener's task only.
    touched: Mutex<Vec<Arc<Ring>>>,
    history: RwLock<History>,
    /// Tenants in whose chats something was committed, for the task that computes their metrics; noted once it has asked.
    chats: Mutex<Option<HashSet<TenantId>>>,
    /// Rung after each burst, for those who read the log and want to know when.
    bell: watch::Sender<()>,
}

/// What rings hold, that of all tenants among them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Rings of tenants.
    pub tenants: usize,
    /// Events in all rings; each is in two.
    pub events: usize,
    /// Bytes in all rings; those of an event are shared by its two.
    pub bytes: usize,
    /// How much of a bound the fullest uses.
    pub fullest: f64,
    /// Time of the oldest event in that one, microseconds since 1970.
    pub fullest_from_us: Option<i64>,
}

#[derive(Debug, Default)]
struct History {
    /// What a ring made now cannot answer for.
    floor: u64,
    mark: Option<Arc<Stamp>>,
}

impl Router {
    /// No rings yet; each will have these bounds, and be freed when nobody used it for `idle_after`.
    pub fn new(bounds: Bounds, idle_after: Duration) -> Self {
        Self {
            bounds,
            idle_after,
            tenants: RwLock::default(),
            every: Arc::new(Ring::new(bounds, u64::MAX, None)),
            touched: Mutex::default(),
            history: RwLock::default(),
            chats: Mutex::default(),
            bell: watch::Sender::default(),
        }
    }

    /// Begins a history: rings hold nothing of what `stamp` saw, nor of transactions that were open then.
    /// Whoever is subscribed asks the log where it stands.
    pub fn begin(&self, stamp: &Arc<Stamp>) {
        let floor = stamp.base.newest.xid.max(stamp.base.snapshot.xmax);
        *self.history.write().unwrap_or_else(PoisonError::into_inner) = History { floor, mark: Some(stamp.clone()) };
        for ring in self.rings() {
            ring.clear(floor);
            ring.mark(stamp);
            ring.wake();
        }
    }

    /// Appends to the tenant's ring and to the ring of all. What is not in the log is for whoever is there, so nobody's
    /// ring is made for it: whoever may NOTIFY a plain channel could fill the memory with tenants that do not exist.
    pub fn dispatch(&self, event: Arc<Event>) {
        // Two comparisons for any other event. What is not in the log may name tenants that do not exist.
        if CHATS.iter().any(|table| event.kind.starts_with(table)) && event.key().is_some() {
            let mut chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
            chats.iter_mut().for_each(|tenants| _ = tenants.insert(event.tenant.clone()));
        }
        let ring = match event.key() {
            Some(_) => Some(self.ring(&event.tenant)),
            None => self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(&event.tenant).cloned(),
        };
        if let Some(ring) = &ring {
            ring.push(event.clone());
        }
        self.every.push(event);
        // Woken is the ring of all whenever any is.
        let ring = ring.unwrap_or_else(|| self.every());
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        if !touched.iter().rev().take(8).any(|other| Arc::ptr_eq(other, &ring)) {
            touched.push(ring);
        }
    }

    /// Wakes everyone for whom something came since the last time: once for a whole burst.
    pub fn wake(&self) {
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        if !touched.is_empty() {
            touched.iter().for_each(|ring| ring.wake());
            self.every.wake();
            self.bell.send_replace(());
        }
    }

    /// Tenants in whose chats something was committed since this was last asked.
    pub fn take_chats(&self) -> HashSet<TenantId> {
        let mut chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(chats.get_or_insert_default())
    }

    /// Changes whenever something was dispatched.
    pub fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// Everything that the stamp saw has been dispatched. Frees rings that nobody needs.
    pub fn checkpoint(&self, stamp: &Arc<Stamp>) {
        {
            let mut history = self.history.write().unwrap_or_else(PoisonError::into_inner);
            history.mark = Some(stamp.clone());
            let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
            tenants.retain(|_, ring| {
                let keep = Arc::strong_count(ring) > 1 || !ring.is_idle(self.idle_after);
                if !keep {
                    history.floor = history.floor.max(ring.highest_xid());
                }
                keep
            });
        }
        self.rings().iter().for_each(|ring| ring.mark(stamp));
    }

    /// The tenant's ring, made when it is first asked for.
    pub fn ring(&self, tenant: &TenantId) -> Arc<Ring> {
        if let Some(ring) = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(tenant) {
            return ring.clone();
        }
        let history = self.history.read().unwrap_or_else(PoisonError::into_inner);
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Ring::new(self.bounds, history.floor, history.mark.clone()));
        tenants.entry(tenant.clone()).or_insert_with(new).clone()
    }

    /// The ring that a scope is read from.
    pub fn ring_of(&self, scope: &Scope) -> Arc<Ring> {
        match scope {
            Scope::Tenant(tenant) => self.ring(tenant),
            Scope::Every => self.every(),
        }
    }

    /// The ring of all tenants.
    fn every(&self) -> Arc<Ring> {
        self.every.clone()
    }

    /// Whether this event, or the newest one a checkpoint saw, went through here: then no crash has undone it.
    pub fn knows(&self, key: Key) -> bool {
        self.every.newest_mark().is_some_and(|mark| mark.base.newest == key) || self.every.find(key).is_some()
    }

    /// What the rings hold.
    pub fn size(&self) -> Size {
        let rings = self.rings();
        let mut size = Size { tenants: rings.len() - 1, ..Size::default() };
        for ring in &rings {
            let ((events, bytes), (fill, from_us)) = (ring.size(), ring.fill());
            size.events += events;
            size.bytes += bytes;
            if fill > size.fullest {
                (size.fullest, size.fullest_from_us) = (fill, from_us);
            }
        }
        size
    }

    /// How far the ring of each tenant is; none when there are more than `tenants_max`.
    pub fn heads(&self, tenants_max: usize) -> Option<HashMap<TenantId, u64>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        (tenants.len() <= tenants_max)
            .then(|| tenants.iter().map(|(tenant, ring)| (tenant.clone(), ring.head())).collect())
    }

    fn rings(&self) -> Vec<Arc<Ring>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.values().cloned().chain([self.every.clone()]).collect()
    }
}
