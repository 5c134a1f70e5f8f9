//! How often one user or one address may ask: a bucket for each, in this process.
//!
//! Place: asked by [`Request`](super::route::Request) before a route answers, by [`credential`](super::credential) before a
//! credential is looked at, and for each command and subscription of a WebSocket.
//!
//! Invariants: whoever asks too often costs only themself:
//! `one_user_who_polls_too_often_is_told_to_wait_and_nobody_else_is`. A bucket is one point in time, that at which it is
//! full again, and is forgotten when that is past (`buckets_that_are_full_are_forgotten`): memory grows with those who
//! asked in the last two seconds, and not beyond a bound (`many_who_ask_once_take_bounded_memory`).

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use warp::http::StatusCode;

use super::problem::Problem;
use crate::auth::{Principal, Tenants};
use crate::config::Limits;
use crate::event::TenantId;

/// What a bucket holds, in seconds of its rate: a page that loads asks several things at once.
const BURST_S: u32 = 2;
/// Below this many buckets none are looked for to be forgotten: some 24 KiB.
const SWEEP_MIN: usize = 1024;
/// More are not kept, some 2 MiB: who comes then shares a bucket with others who do.
const BUCKETS_MAX: usize = 65_536;
/// So many shared ones: one that asks too often meets few of the others.
const SHARED: u64 = 4096;
/// A full table is swept this often and no more: each time costs as much as some thousand requests.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Credentials lately found good that are remembered, in each of two halves: some 1 MiB together.
const ACCEPTED_MAX: usize = 32_768;

/// What is counted apart.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Kind {
    /// Requests about one's own things: `limits.requests_per_user`.
    Request,
    /// Streams, sockets, subscriptions and pages of events: `limits.opens_per_user`.
    Open,
    /// Published events: `limits.publishes_per_user`.
    Publish,
}

/// All buckets.
#[derive(Debug, Default)]
pub struct Rates {
    /// Whoever asks is known here by a hash, so that names of any length cost the same, and nobody can choose whom they meet.
    hasher: RandomState,
    users: Mutex<Buckets>,
    addresses: Mutex<Buckets>,
    accepted: Mutex<Accepted>,
}

impl Rates {
    /// Takes one request about a tenant's things out of the user's bucket. A `sub` is one user only within a tenant.
    pub fn enter(&self, tenant: &TenantId, sub: &str, limits: &Limits) -> Result<(), Problem> {
        self.user((tenant, sub), limits.requests_per_user)
    }

    /// Takes one of this kind.
    pub fn take(&self, kind: Kind, principal: &Principal, limits: &Limits) -> Result<(), Problem> {
        let per_second = match kind {
            Kind::Request => limits.requests_per_user,
            Kind::Open => limits.opens_per_user,
            Kind::Publish => limits.publishes_per_user,
        };
        let tenants = match &principal.tenants {
            Tenants::Listed(tenants) => Some(tenants),
            Tenants::All => None,
        };
        self.user((kind, tenants, &principal.sub), per_second)
    }

    fn user(&self, who: impl Hash, per_second: usize) -> Result<(), Problem> {
        let detail =
            "this user asks too often; wait as long as Retry-After says, and poll as seldom as poll_after_ms says";
        let taken = lock(&self.users).take(self.hasher.hash_one(who), per_second, Instant::now());
        taken.map_err(|wait| too_often("too_many_requests", detail, wait))
    }

    /// Takes one request without a credential out of the address's bucket.
    pub fn stranger(&self, address: IpAddr, limits: &Limits) -> Result<(), Problem> {
        let detail = "too many requests without a credential come from this address";
        let who = self.hasher.hash_one(("stranger", address));
        let taken = lock(&self.addresses).take(who, limits.requests_per_address, Instant::now());
        taken.map_err(|wait| too_often("too_many_requests", detail, wait))
    }

    /// Refuses to look at a credential from where too many were wrong lately. One that was found good lately is looked at
    /// all the same: whoever shares an address with an attacker goes on.
    pub fn patience(&self, address: IpAddr, credential: u64, limits: &Limits) -> Result<(), Problem> {
        let who = self.hasher.hash_one(("failure", address));
        let spent = lock(&self.addresses).wait(who, limits.failures_per_address, Instant::now());
        let Some(wait) = spent.filter(|_| !lock(&self.accepted).holds(credential)) else { return Ok(()) };
        Err(too_often("too_many_failures", "too many wrong credentials come from this address", wait))
    }

    /// Notes that a credential was wrong.
    pub fn failed(&self, address: IpAddr, limits: &Limits) {
        let who = self.hasher.hash_one(("failure", address));
        // What is empty stays so: refusals that were not looked at are not counted.
        let _ = lock(&self.addresses).take(who, limits.failures_per_address, Instant::now());
    }

    /// Notes that a credential was good.
    pub fn accepted(&self, credential: u64) {
        lock(&self.accepted).note(credential);
    }

    /// By which a credential is known here.
    pub fn credential(&self, parts: impl Hash) -> u64 {
        self.hasher.hash_one(("credential", parts))
    }
}

fn too_often(code: &'static str, detail: &str, wait: Duration) -> Problem {
    let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    Problem::later(StatusCode::TOO_MANY_REQUESTS, code, detail, seconds.max(1))
}

/// Rates of one kind of caller.
#[derive(Debug)]
struct Buckets {
    full_at: HashMap<u64, Instant>,
    sweep_at: usize,
    swept: Option<Instant>,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { full_at: HashMap::new(), sweep_at: SWEEP_MIN, swept: None }
    }
}

impl Buckets {
    /// Takes one, or says how long to wait for it.
    fn take(&mut self, who: u64, per_second: usize, now: Instant) -> Result<(), Duration> {
        let who = self.place(who, now);
        if let Some(wait) = self.wait(who, per_second, now) {
            return Err(wait);
        }
        let missing = self.missing(who, now);
        self.full_at.insert(who, now + missing + interval(per_second));
        Ok(())
    }

    /// How long until there is one; none where there is.
    fn wait(&self, who: u64, per_second: usize, now: Instant) -> Option<Duration> {
        let then_missing = self.missing(who, now) + interval(per_second);
        let wait = then_missing.saturating_sub(Duration::from_secs(BURST_S.into()));
        (!wait.is_zero()).then_some(wait)
    }

    fn missing(&self, who: u64, now: Instant) -> Duration {
        let shared = || self.full_at.get(&(who % SHARED));
        self.full_at.get(&who).or_else(shared).map_or(Duration::ZERO, |full_at| full_at.duration_since(now))
    }

    /// The bucket of this caller: their own, or a shared one while there are too many.
    fn place(&mut self, who: u64, now: Instant) -> u64 {
        if self.full_at.contains_key(&who) {
            return who;
        }
        let rested = self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP_PAUSE);
        if self.full_at.len() >= self.sweep_at && (rested || self.sweep_at < BUCKETS_MAX) {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.sweep_at = (self.full_at.len() * 2).clamp(SWEEP_MIN, BUCKETS_MAX);
            self.swept = Some(now);
        }
        if self.full_at.len() >= BUCKETS_MAX { who % SHARED } else { who }
    }
}

fn interval(per_second: usize) -> Duration {
    Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX).max(1)
}

/// Credentials lately found good, by their hashes; the older half is forgotten when the newer is full.
#[derive(Debug, Default)]
struct Accepted {
    newer: HashSet<u64>,
    older: HashSet<u64>,
}

impl Accepted {
    fn holds(&self, credential: u64) -> bool {
        self.newer.contains(&credential) || self.older.contains(&credential)
    }

    fn note(&mut self, credential: u64) {
        if self.newer.len() >= ACCEPTED_MAX && !self.newer.contains(&credential) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(credential);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        let given = (0..100).filter(|_| buckets.take(10_001, 10, start).is_ok()).count();
        assert_eq!(given, 20);
        assert_eq!(buckets.take(10_001, 10, start), Err(Duration::from_millis(100)));
        assert_eq!(buckets.take(10_002, 10, start), Ok(()), "somebody else");
        let second = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| buckets.take(10_001, 10, second).is_ok()).count(), 10);
        let later = start + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| buckets.take(10_001, 10, later).is_ok()).count(), 20, "no more than it holds");
    }

    #[test]
    fn buckets_that_are_full_are_forgotten() {
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        for user in 0..100_000 {
            buckets.take(SHARED + user, 10, start + Duration::from_millis(user)).unwrap();
        }
        assert!(buckets.full_at.len() <= SWEEP_MIN);
    }

    #[test]
    fn many_who_ask_once_take_bounded_memory() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let one = SHARED + 7;
        while buckets.take(one, 1, now).is_ok() {}
        for user in 0..1_000_000 {
            // Whoever meets others in a shared bucket may be refused; what counts is that nothing more is kept.
            let _ = buckets.take(SHARED + 100 + user, 1, now);
        }
        assert!(buckets.full_at.len() <= BUCKETS_MAX + SHARED as usize);
        assert!(buckets.take(one, 1, now).is_err(), "who has a bucket keeps it");
        let later = now + Duration::from_secs(5);
        assert_eq!(buckets.take(SHARED + 5_000_000, 1, later), Ok(()), "and it passes");
    }

    #[test]
    fn a_credential_that_was_good_is_looked_at_where_others_are_not() {
        let (rates, limits) = (Rates::default(), crate::config::Config::default().limits);
        let (address, good) = ("203.0.113.9".parse().unwrap(), rates.credential("good"));
        rates.accepted(good);
        while rates.patience(address, rates.credential("bad"), &limits).is_ok() {
            rates.failed(address, &limits);
        }
        assert!(rates.patience(address, good, &limits).is_ok());
        assert!(rates.patience("203.0.113.10".parse().unwrap(), rates.credential("bad"), &limits).is_ok());
        for other in 0..10 * ACCEPTED_MAX as u64 {
            rates.accepted(other);
        }
        let accepted = lock(&rates.accepted);
        assert!(accepted.newer.len() + accepted.older.len() <= 2 * ACCEPTED_MAX);
    }
}
