//! Turns at a thing of which there is little, fairly among tenants: so many at once, each tenant's share of them, and
//! who waits is let in tenant by tenant and not in the order in which all came.
//!
//! Place: in front of the pool. [`Log`](crate::replay::Log) has one for replays and pages and one for what requests ask
//! of the application's tables.
//!
//! Invariants: one tenant never holds all turns, so that another finds one free, or waits for no more than one turn of
//! each tenant that waits as well (`a_tenant_with_one_request_waits_for_one_turn_of_a_tenant_with_a_thousand`). Whoever
//! gives up waiting costs nobody a turn (`who_gives_up_waiting_costs_nobody_a_turn`). A tenant that always has somebody
//! waiting uses its turns half of the time, if they are unhurried (`an_unhurried_tenant_rests_as_long_as_it_worked`).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::event::TenantId;

/// Whose turn it is; `None` for what spans tenants.
type Whose = Option<TenantId>;

/// A fair gate. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Turnstile {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// Whether a tenant rests after each turn.
    rests: bool,
    free: usize,
    /// Of one tenant at the same time.
    share: usize,
    lines: HashMap<Whose, Line>,
    /// Whose lines hold somebody, in the order in which they are next.
    round: VecDeque<Whose>,
}

#[derive(Debug, Default)]
struct Line {
    inside: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
    /// When the next of them may begin.
    rested: Option<Instant>,
}

/// Somebody's turn, given back when dropped.
#[derive(Debug)]
pub struct Turn {
    inner: Arc<Mutex<Inner>>,
    whose: Whose,
    /// Since when it is used; not while it waits for the rest to be over.
    since: Option<Instant>,
}

/// The longest rest: a turn that took longer did not keep anything busy, but waited itself.
const REST_MAX: Duration = Duration::from_millis(100);
/// Of how many that wait those who have given up are looked for and forgotten.
const SWEEP_EVERY: usize = 256;

impl Turnstile {
    /// So many at once. A tenant gets three quarters of them, at least one.
    pub fn new(turns: usize) -> Self {
        Self::with(turns, turns - turns.div_ceil(4), false)
    }

    /// So many at once, a tenant half of them; and while a tenant keeps some of them taken, each is followed by a pause as
    /// long as the turn was. Turns that keep the database's processors busy leave others some, the more the scarcer they are.
    pub fn unhurried(turns: usize) -> Self {
        Self::with(turns, turns / 2, true)
    }

    fn with(turns: usize, share: usize, rests: bool) -> Self {
        let inner = Inner { rests, free: turns, share: share.max(1), lines: HashMap::new(), round: VecDeque::new() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Waits for a turn. Cancelled, it has taken none. Without one, which does not happen, the caller is merely not counted.
    pub async fn pass(&self, whose: Whose) -> Option<Turn> {
        let (mine, turn) = oneshot::channel();
        {
            let mut inner = lock(&self.inner);
            let line = inner.lines.entry(whose.clone()).or_default();
            if line.waiting.len() % SWEEP_EVERY == SWEEP_EVERY - 1 {
                line.waiting.retain(|waiting| !waiting.is_closed());
            }
            line.waiting.push_back(mine);
            if line.waiting.len() == 1 && !inner.round.contains(&whose) {
                inner.round.push_back(whose);
            }
        }
        self.admit();
        let mut turn = turn.await.ok()?;
        if let Some(rested) = turn.rested() {
            sleep_until(rested).await;
        }
        turn.since = Some(Instant::now());
        Some(turn)
    }

    /// Turns taken, and callers that wait for one.
    pub fn size(&self) -> (usize, usize) {
        let inner = lock(&self.inner);
        let open = |line: &Line| line.waiting.iter().filter(|waiting| !waiting.is_closed()).count();
        let lines = inner.lines.values();
        lines.fold((0, 0), |(inside, waiting), line| (inside + line.inside, waiting + open(line)))
    }

    fn admit(&self) {
        admit(&self.inner);
    }
}

impl Inner {
    /// Who is next, if there is a turn for them.
    fn next(&mut self) -> Option<(Whose, oneshot::Sender<Turn>)> {
        for _ in 0..self.round.len() {
            if self.free == 0 {
                return None;
            }
            let whose = self.round.pop_front()?;
            let Some(line) = self.lines.get_mut(&whose) else { continue };
            if line.inside >= self.share {
                self.round.push_back(whose);
                continue;
            }
            let next = std::iter::from_fn(|| line.waiting.pop_front()).find(|waiting| !waiting.is_closed());
            if let Some(next) = next {
                line.inside += 1;
                self.free -= 1;
                if !line.waiting.is_empty() {
                    self.round.push_back(whose.clone());
                }
                return Some((whose, next));
            }
            self.forget(&whose);
        }
        None
    }

    /// Lines of tenants that are neither inside nor waiting are not kept.
    fn forget(&mut self, whose: &Whose) {
        if self.lines.get(whose).is_some_and(|line| line.inside == 0 && line.waiting.is_empty()) {
            self.lines.remove(whose);
        }
    }
}

fn admit(inner: &Arc<Mutex<Inner>>) {
    loop {
        let Some((whose, next)) = lock(inner).next() else { return };
        // Outside the lock: one who gave up meanwhile hands the turn back, which drops it here.
        let _ = next.send(Turn { inner: inner.clone(), whose, since: None });
    }
}

impl Turn {
    fn rested(&self) -> Option<Instant> {
        lock(&self.inner).lines.get(&self.whose)?.rested
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut inner = lock(&self.inner);
            inner.free += 1;
            let rests = inner.rests;
            if let Some(line) = inner.lines.get_mut(&self.whose) {
                line.inside -= 1;
                let used = self.since.filter(|_| rests).map(|since| since.elapsed().min(REST_MAX));
                line.rested = used.map(|used| Instant::now() + used).or(line.rested);
            }
            inner.forget(&self.whose);
        }
        admit(&self.inner);
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;

    fn tenant(name: &str) -> Whose {
        Some(TenantId::trusted(name))
    }

    #[tokio::test]
    async fn a_tenant_with_one_request_waits_for_one_turn_of_a_tenant_with_a_thousand() {
        let gate = Turnstile::new(1);
        let order = Mutex::new(Vec::new());
        let held = gate.pass(tenant("a")).await;
        let visit = async |name: &'static str| {
            let _turn = gate.pass(tenant(name)).await;
            order.lock().unwrap().push(name);
        };
        let storm = join_all((0..1000).map(|_| visit("a")));
        let open = async {
            assert_eq!(gate.size(), (1, 1001));
            drop(held);
        };
        futures_util::join!(storm, visit("b"), open);
        let order = order.into_inner().unwrap();
        assert!(order.iter().position(|name| *name == "b").unwrap() <= 1, "b came behind {:?}", &order[..5]);
        assert_eq!(gate.size(), (0, 0));
        assert!(lock(&gate.inner).lines.is_empty() && lock(&gate.inner).round.is_empty());
    }

    #[tokio::test]
    async fn an_unhurried_tenant_rests_as_long_as_it_worked() {
        let gate = Turnstile::unhurried(4);
        let worked = |turn: Option<Turn>, ms| {
            let mut turn = turn.unwrap();
            turn.since = turn.since.and_then(|since| since.checked_sub(Duration::from_millis(ms)));
        };
        let (first, second) = (gate.pass(tenant("a")).await, gate.pass(tenant("a")).await);
        let mut third = std::pin::pin!(gate.pass(tenant("a")));
        assert!(third.as_mut().now_or_never().is_none());
        let ended = Instant::now();
        worked(first, 60);
        let third = third.await;
        assert!(ended.elapsed() >= Duration::from_millis(60));
        // One that hung does not hold up the next for as long.
        worked(second, 60_000);
        assert!(lock(&gate.inner).lines[&tenant("a")].rested <= Some(Instant::now() + REST_MAX));
        drop(third);
        // Nobody before them: nothing to wait for.
        assert!(gate.pass(tenant("a")).now_or_never().is_some());
    }

    #[tokio::test]
    async fn one_tenant_never_holds_all_turns() {
        let gate = Turnstile::new(4);
        let mut held = Vec::new();
        while let Some(turn) = gate.pass(tenant("a")).now_or_never() {
            held.push(turn);
        }
        assert_eq!(held.len(), 3);
        assert!(gate.pass(tenant("b")).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_costs_nobody_a_turn() {
        let gate = Turnstile::new(1);
        let held = gate.pass(tenant("a")).await;
        for _ in 0..1000 {
            assert!(gate.pass(tenant("a")).now_or_never().is_none());
        }
        assert!(lock(&gate.inner).lines[&tenant("a")].waiting.len() <= SWEEP_EVERY);
        assert_eq!(gate.size(), (1, 0));
        drop(held);
        assert!(gate.pass(tenant("a")).now_or_never().is_some());
        assert!(gate.pass(tenant("b")).now_or_never().is_some());
    }
}
