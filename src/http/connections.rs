//! Who is connected: limits, the list an admin sees, and the handle by which a connection is ended or changed.
//!
//! Each stream and socket holds a [`Guard`]; dropping it gives its place back, however the connection ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Context;
use std::time::Instant;

use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, futures::Notified};
use warp::http::StatusCode;

use super::problem::Problem;
use crate::auth::{Globs, Principal, Tenants};
use crate::disconnect::Disconnect;
use crate::event::TenantId;
use crate::metrics::Metrics;

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// In this process.
    pub total: usize,
    /// Of one tenant.
    pub per_tenant: usize,
    /// Of one user.
    pub per_user: usize,
}

/// All open streams and sockets.
#[derive(Debug)]
pub struct Connections {
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    places: Mutex<Places>,
    /// Rung when somebody looks at another chat session, or no longer.
    viewers_changed: Notify,
}

#[derive(Debug, Default)]
struct Places {
    open: HashMap<String, Row>,
    by_tenant: HashMap<TenantId, usize>,
    by_user: HashMap<User, usize>,
    draining: bool,
}

/// A name is one user's only within a tenant: the same `sub` with other tenants is somebody else.
type User = (Option<Vec<String>>, String);

fn user(principal: &Principal) -> User {
    let tenants = match &principal.tenants {
        Tenants::Listed(tenants) => Some(tenants.clone()),
        Tenants::All => None,
    };
    (tenants, principal.sub.clone())
}

#[derive(Debug)]
struct Row {
    control: Arc<Control>,
    user: User,
    transport: &'static str,
    client: Option<String>,
    tenants: Vec<TenantId>,
    since: Instant,
    view: Option<View>,
}

/// The chat session that a connection of an admin's shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Whose session it is.
    pub tenant: TenantId,
    /// Its id.
    pub session: String,
}

/// A connection and what it shows.
#[derive(Debug, serde::Serialize)]
pub struct Viewer {
    connection: String,
    tenant: String,
    session: String,
    sub: String,
}

/// The handle of one connection. Its task looks at it whenever it is woken.
#[derive(Debug, Default)]
pub struct Control {
    why: OnceLock<Disconnect>,
    types: Mutex<Types>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Types {
    shown: Option<Globs>,
    changed: bool,
}

/// `PATCH /v1/connections/{connection}`: globs to be shown besides those that are, and globs to be shown no more.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    subscribe: Vec<String>,
    unsubscribe: Vec<String>,
}

impl Control {
    /// Ends the connection, once.
    pub fn end(&self, why: Disconnect) {
        // Only the first reason counts.
        let _ = self.why.set(why);
        self.waker.wake();
    }

    /// Why it is to end, and what its filter is to become; asks to be woken when that changes.
    pub fn poll(&self, cx: &Context<'_>) -> (Option<Disconnect>, Option<Globs>) {
        self.waker.register(cx.waker());
        let mut types = lock(&self.types);
        let changed = std::mem::take(&mut types.changed);
        (self.why.get().copied(), types.shown.clone().filter(|_| changed))
    }

    /// Notes what the connection shows.
    pub fn show(&self, types: Globs) {
        lock(&self.types).shown = Some(types);
    }

    fn change(&self, change: &Change) -> Result<Globs, Problem> {
        let mut types = lock(&self.types);
        let shown = types.shown.iter().flat_map(Globs::iter).chain(change.subscribe.iter().map(String::as_str));
        let mut left: Vec<&str> = shown.filter(|glob| !change.unsubscribe.iter().any(|gone| gone == glob)).collect();
        left.dedup();
        if left.is_empty() {
            return Err(Problem::field("unsubscribe", "nothing would be left to show; close the stream instead"));
        }
        let globs = Globs::from_items(left)
            .map_err(|e| Problem::field("subscribe", format!("subscribe: {e}; {}", e.hint())))?;
        *types = Types { shown: Some(globs.clone()), changed: true };
        self.waker.wake();
        Ok(globs)
    }
}

/// What an admin sees of a connection.
#[derive(Debug, serde::Serialize)]
pub struct Shown {
    connection: String,
    sub: String,
    transport: &'static str,
    /// What the client calls itself.
    client: Option<String>,
    tenants: Vec<String>,
    age_s: u64,
}

impl Connections {
    /// None yet.
    pub fn new(limits: ConnectionLimits, metrics: Arc<Metrics>) -> Self {
        Self { limits, metrics, places: Mutex::default(), viewers_changed: Notify::new() }
    }

    /// Takes a place, for a client that may have said what it is called.
    pub fn open(
        self: &Arc<Self>,
        principal: &Principal,
        transport: &'static str,
        client: Option<&str>,
    ) -> Result<Guard, Problem> {
        let mut places = lock(&self.places);
        if places.draining {
            return Err(Problem::draining());
        } else if places.open.len() >= self.limits.total {
            return Err(Problem::later(
                StatusCode::SERVICE_UNAVAILABLE,
                "full",
                "this instance has no room for more connections",
                5,
            ));
        }
        let mine = places.by_user.entry(user(principal)).or_default();
        if *mine >= self.limits.per_user {
            return Err(too_many("this user has too many connections; close some"));
        }
        *mine += 1;
        let id = format!("{:016x}", rand::random::<u64>());
        let control = Arc::new(Control::default());
        let (user, since) = (user(principal), Instant::now());
        let (tenants, view) = (Vec::new(), None);
        let row =
            Row { control: control.clone(), user, transport, client: client.map(str::to_owned), tenants, since, view };
        places.open.insert(id.clone(), row);
        self.metrics.connections(transport, 1);
        tracing::debug!(connection = id, transport, client, role = principal.role.as_str(), "connected");
        Ok(Guard { connections: self.clone(), id, control, transport })
    }

    /// Ends all, and lets no more in.
    pub fn drain(&self) {
        let mut places = lock(&self.places);
        places.draining = true;
        places.open.values().for_each(|row| row.control.end(Disconnect::Draining));
    }

    /// Ends one, if `allowed` says so of the tenants it is subscribed to.
    pub fn end(&self, id: &str, allowed: impl Fn(&[TenantId]) -> bool) -> Result<(), Problem> {
        let places = lock(&self.places);
        let row = places.open.get(id).filter(|row| allowed(&row.tenants)).ok_or_else(Problem::not_found)?;
        row.control.end(Disconnect::Ended);
        Ok(())
    }

    /// Changes what a stream of this user's shows; returns what it shows from now on.
    pub fn change(&self, id: &str, principal: &Principal, change: &Change) -> Result<Globs, Problem> {
        let places = lock(&self.places);
        let own = |row: &&Row| row.user == user(principal) && row.transport == "sse";
        places.open.get(id).filter(own).ok_or_else(Problem::not_found)?.control.change(change)
    }

    /// Notes what a connection shows, if it is there and, where an owner is named, a stream of theirs.
    pub fn view(&self, id: &str, owner: Option<&Principal>, view: Option<View>) -> bool {
        let mut places = lock(&self.places);
        let own = |row: &&mut Row| owner.is_none_or(|owner| row.user == user(owner) && row.transport == "sse");
        let Some(row) = places.open.get_mut(id).filter(own) else { return false };
        if row.view != view {
            row.view = view;
            self.viewers_changed.notify_one();
        }
        true
    }

    /// Notes that a stream of theirs shows this no longer; what else it may show stays.
    pub fn look_away(&self, id: &str, owner: &Principal, gone: &View) -> bool {
        let shown = lock(&self.places).open.get(id).and_then(|row| row.view.clone());
        let left = shown.filter(|view| view != gone);
        self.view(id, Some(owner), left)
    }

    /// All that show a chat session.
    pub fn viewers(&self) -> Vec<Viewer> {
        let places = lock(&self.places);
        let rows = places.open.iter().filter_map(|(id, row)| Some((id, row, row.view.as_ref()?)));
        rows.map(|(id, row, view)| Viewer {
            connection: id.clone(),
            tenant: view.tenant.as_str().to_owned(),
            session: view.session.clone(),
            sub: row.user.1.clone(),
        })
        .collect()
    }

    /// Resolves when these have changed since it last did. For one task.
    pub fn viewers_changed(&self) -> Notified<'_> {
        self.viewers_changed.notified()
    }

    /// Tenants that anybody is connected for, those that `allowed` says.
    pub fn tenants(&self, allowed: impl Fn(&TenantId) -> bool) -> usize {
        lock(&self.places).by_tenant.keys().filter(|tenant| allowed(tenant)).count()
    }

    /// How many there are of each tenant; none when they are of more than `tenants_max`.
    pub fn by_tenant(&self, tenants_max: usize) -> Option<serde_json::Map<String, serde_json::Value>> {
        let places = lock(&self.places);
        let count = |(tenant, count): (&TenantId, &usize)| (tenant.as_str().to_owned(), (*count).into());
        (places.by_tenant.len() <= tenants_max).then(|| places.by_tenant.iter().map(count).collect())
    }

    /// Rows of those connections that are subscribed to nothing but what `allowed` says.
    pub fn list(&self, allowed: impl Fn(&[TenantId]) -> bool) -> Vec<Shown> {
        let places = lock(&self.places);
        let rows = places.open.iter().filter(|(_, row)| allowed(&row.tenants));
        rows.map(|(id, row)| Shown {
            connection: id.clone(),
            sub: row.user.1.clone(),
            transport: row.transport,
            client: row.client.clone(),
            tenants: row.tenants.iter().map(|tenant| tenant.as_str().to_owned()).collect(),
            age_s: row.since.elapsed().as_secs(),
        })
        .collect()
    }
}

/// A connection's place.
#[derive(Debug)]
pub struct Guard {
    connections: Arc<Connections>,
    /// Name in `hello` and in the list.
    pub id: String,
    /// By which it is ended.
    pub control: Arc<Control>,
    transport: &'static str,
}

impl Guard {
    /// Counts the connection as one of the tenant's.
    pub fn enter(&self, tenant: &TenantId) -> Result<(), Problem> {
        let places = &mut *lock(&self.connections.places);
        let Some(row) = places.open.get_mut(&self.id) else { return Ok(()) };
        if row.tenants.contains(tenant) {
            return Ok(());
        }
        let count = places.by_tenant.get(tenant).copied().unwrap_or_default();
        if count >= self.connections.limits.per_tenant {
            return Err(too_many("this tenant has too many connections"));
        }
        row.tenants.push(tenant.clone());
        places.by_tenant.insert(tenant.clone(), count + 1);
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut places = lock(&self.connections.places);
        let Some(row) = places.open.remove(&self.id) else { return };
        give_back(&mut places.by_user, &row.user);
        row.tenants.iter().for_each(|tenant| give_back(&mut places.by_tenant, tenant));
        if row.view.is_some() {
            self.connections.viewers_changed.notify_one();
        }
        self.connections.metrics.connections(self.transport, -1);
        let (reason, age_s) = (row.control.why.get().map(|why| why.reason()), row.since.elapsed().as_secs());
        tracing::debug!(connection = self.id, transport = self.transport, reason, age_s, "disconnected");
        if let Some(why) = row.control.why.get() {
            self.connections.metrics.disconnect(*why);
        }
    }
}

fn give_back<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn too_many(detail: &str) -> Problem {
    Problem::later(StatusCode::TOO_MANY_REQUESTS, "too_many_connections", detail, 5)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
