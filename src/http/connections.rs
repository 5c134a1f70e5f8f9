//! Who is connected: limits, the list an admin sees, and the handle by which a connection is ended or changed.
//!
//! Each stream and socket holds a [`Guard`]; dropping it gives its place back, however the connection ended.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, futures::Notified};
use warp::http::StatusCode;

use super::call::Call;
use super::credential::unix_now;
use super::problem::Problem;
use crate::auth::{AuthError, Globs, Principal, Verifier};
use crate::disconnect::Disconnect;
use crate::event::TenantId;
use crate::metrics::Metrics;
use crate::reload::Held;
use crate::revocation::Revocations;

/// Bytes of a connection's id.
pub const ID_BYTES: usize = 16;

/// All open streams and sockets.
pub struct Connections {
    in_force: Held,
    metrics: Arc<Metrics>,
    /// Asked whenever a connection is opened or gets further rights: what is revoked before that is found here, and what is
    /// revoked after it by `end_revoked`.
    revocations: Arc<Revocations>,
    places: Mutex<Places>,
    /// Rung when somebody looks at another chat session, or no longer.
    viewers_changed: Notify,
}

#[derive(Debug, Default)]
struct Places {
    open: HashMap<String, Row>,
    by_tenant: HashMap<TenantId, usize>,
    by_user: HashMap<User, usize>,
    by_address: HashMap<IpAddr, usize>,
    draining: bool,
}

/// A name is one user's only within a tenant: the same `sub` with other tenants is somebody else.
type User = (Option<Vec<String>>, String);

fn user(principal: &Principal) -> User {
    (principal.listed().map(<[_]>::to_vec), principal.sub.clone())
}

#[derive(Debug)]
struct Row {
    control: Arc<Control>,
    principal: Principal,
    transport: &'static str,
    client: Option<String>,
    address: IpAddr,
    /// Those that it is subscribed to by name.
    tenants: Vec<TenantId>,
    /// Whether it is subscribed to whatever its principal may enter.
    every: bool,
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

    /// Resolves when it is to end. For connections that poll nothing else.
    pub async fn ended(&self) -> Disconnect {
        poll_fn(|cx| self.poll(cx).0.map_or(Poll::Pending, Poll::Ready)).await
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
    pub fn new(in_force: Held, metrics: Arc<Metrics>, revocations: Arc<Revocations>) -> Self {
        Self { in_force, metrics, revocations, places: Mutex::default(), viewers_changed: Notify::new() }
    }

    /// What is revoked.
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Ends those that what is revoked now does not leave their rights.
    pub fn end_revoked(&self) {
        let places = lock(&self.places);
        let revoked = places.open.values().filter(|row| !row.stands(&self.revocations));
        revoked.for_each(|row| row.control.end(Disconnect::Revoked));
    }

    /// Takes a place, for a client that may have said what it is called.
    pub fn open(
        self: &Arc<Self>,
        principal: &Principal,
        transport: &'static str,
        call: &Call,
    ) -> Result<Guard, Problem> {
        let client = call.client()?;
        let address = call.address(&self.in_force.load());
        let mut places = lock(&self.places);
        // Looked at under the lock, for the sake of `end_unvouched`.
        let in_force = self.in_force.load();
        if places.draining {
            return Err(Problem::draining());
        } else if principal.key.is_some_and(|key| !in_force.verifier.holds(key)) {
            return Err(AuthError::Revoked.into());
        } else if places.open.len() >= in_force.limits.connections {
            return Err(Problem::later(
                StatusCode::SERVICE_UNAVAILABLE,
                "full",
                "this instance has no room for more connections",
                5,
            ));
        }
        let (of_user, of_address) = (user(principal), address);
        if places.by_user.get(&of_user).is_some_and(|count| *count >= in_force.limits.connections_per_user) {
            return Err(too_many("this user has too many connections; close some"));
        } else if places.by_address.get(&address).is_some_and(|n| *n >= in_force.limits.connections_per_address) {
            if call.is_forwarded() {
                hint_at_proxies();
            }
            return Err(too_many("this address has too many connections; close some"));
        }
        *places.by_user.entry(of_user).or_default() += 1;
        *places.by_address.entry(of_address).or_default() += 1;
        let id = format!("{:016x}", rand::random::<u64>());
        let control = Arc::new(Control::default());
        let row = Row {
            control: control.clone(),
            principal: principal.clone(),
            transport,
            client: client.map(str::to_owned),
            address,
            tenants: Vec::new(),
            every: false,
            since: Instant::now(),
            view: None,
        };
        let stands = row.stands(&self.revocations);
        places.open.insert(id.clone(), row);
        drop(places);
        self.metrics.connections(transport, 1);
        tracing::debug!(connection = id, transport, client, role = principal.role.as_str(), "connected");
        let guard = Guard { connections: self.clone(), id, control, transport, address };
        if stands { Ok(guard) } else { Err(AuthError::Revoked.into()) }
    }

    /// Ends all, and lets no more in.
    pub fn drain(&self) {
        let mut places = lock(&self.places);
        places.draining = true;
        places.open.values().for_each(|row| row.control.end(Disconnect::Draining));
    }

    /// Ends all that a key let in which is no longer there; returns how many. Whoever comes behind it finds the keys that
    /// are in force: they were changed before.
    pub fn end_unvouched(&self, verifier: &Verifier) -> usize {
        let places = lock(&self.places);
        let gone = places.open.values().filter(|row| row.principal.key.is_some_and(|key| !verifier.holds(key)));
        gone.map(|row| row.control.end(Disconnect::Revoked)).count()
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
        let own = |row: &&Row| row.is_of(principal) && row.transport == "sse";
        places.open.get(id).filter(own).ok_or_else(Problem::not_found)?.control.change(change)
    }

    /// Notes what a connection shows, if it is there and, where an owner is named, a stream of theirs.
    pub fn view(&self, id: &str, owner: Option<&Principal>, view: Option<View>) -> bool {
        let mut places = lock(&self.places);
        let own = |row: &&mut Row| owner.is_none_or(|owner| row.is_of(owner) && row.transport == "sse");
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
            sub: row.principal.sub.clone(),
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
            sub: row.principal.sub.clone(),
            transport: row.transport,
            client: row.client.clone(),
            tenants: row.tenants.iter().map(|tenant| tenant.as_str().to_owned()).collect(),
            age_s: row.since.elapsed().as_secs(),
        })
        .collect()
    }
}

/// A connection's place.
pub struct Guard {
    connections: Arc<Connections>,
    /// Name in `hello` and in the list.
    pub id: String,
    /// By which it is ended.
    pub control: Arc<Control>,
    /// Where it is from.
    pub address: IpAddr,
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
        if count >= self.connections.in_force.load().limits.connections_per_tenant {
            return Err(too_many("this tenant has too many connections"));
        }
        row.tenants.push(tenant.clone());
        let stands = row.stands(&self.connections.revocations);
        places.by_tenant.insert(tenant.clone(), count + 1);
        if stands { Ok(()) } else { Err(AuthError::Revoked.into()) }
    }

    /// Notes that the connection shows whatever its owner may enter.
    pub fn enter_all(&self) -> Result<(), Problem> {
        let places = &mut *lock(&self.connections.places);
        let Some(row) = places.open.get_mut(&self.id) else { return Ok(()) };
        row.every = true;
        if row.stands(&self.connections.revocations) { Ok(()) } else { Err(AuthError::Revoked.into()) }
    }

    /// Notes that the connection goes on with the rights of another token.
    pub fn renew(&self, principal: &Principal) -> Result<(), Problem> {
        let places = &mut *lock(&self.connections.places);
        let Some(row) = places.open.get_mut(&self.id) else { return Ok(()) };
        give_back(&mut places.by_user, &user(&row.principal));
        *places.by_user.entry(user(principal)).or_default() += 1;
        row.principal = principal.clone();
        if principal.key.is_some_and(|key| !self.connections.in_force.load().verifier.holds(key)) {
            return Err(AuthError::Revoked.into());
        }
        if row.stands(&self.connections.revocations) { Ok(()) } else { Err(AuthError::Revoked.into()) }
    }
}

impl Row {
    fn is_of(&self, principal: &Principal) -> bool {
        self.principal.sub == principal.sub && self.principal.tenants == principal.tenants
    }

    /// Whether its owner still has the rights for what it is subscribed to.
    fn stands(&self, revocations: &Revocations) -> bool {
        let Ok(left) = revocations.left(self.principal.clone(), unix_now()) else { return false };
        let whole = left.tenants == self.principal.tenants;
        whole || !self.every && self.tenants.iter().all(|tenant| left.may_enter(tenant.as_str()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut places = lock(&self.connections.places);
        let Some(row) = places.open.remove(&self.id) else { return };
        give_back(&mut places.by_user, &user(&row.principal));
        give_back(&mut places.by_address, &row.address);
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

/// Once: an attacker could make many of these.
fn hint_at_proxies() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "an address with too many connections sends forwarding headers; list your proxies in http.trusted_proxies"
        );
    });
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
