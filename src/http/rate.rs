//! How many requests one user may make: a bucket for each, in this process.
//!
//! Place: asked by [`Request::enter`](super::route::Request::enter), that is by all routes of the application's tables,
//! which clients poll. Streams and sockets have limits of their own ([`connections`](super::connections)).
//!
//! Invariant: whoever asks too often costs only themself: `one_user_who_polls_too_often_is_told_to_wait_and_nobody_else_is`.
//! A bucket is one point in time, that at which it is full again, and is forgotten when that is past
//! (`buckets_that_are_full_are_forgotten`): memory grows with the users of the last two seconds, not with all who ever asked.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use warp::http::StatusCode;

use super::problem::Problem;
use crate::event::TenantId;

/// What a bucket holds, in seconds of its rate: a page that loads asks several things at once.
const BURST_S: u32 = 2;
/// Below this many buckets none are looked for to be forgotten: some 24 KiB.
const SWEEP_MIN: usize = 1024;

/// The buckets of all users.
#[derive(Debug)]
pub struct Rates {
    /// Time in which a bucket regains one request.
    interval: Duration,
    /// A user is known here by the hash of their name, so that names of any length cost the same.
    hasher: RandomState,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    full_at: HashMap<u64, Instant>,
    sweep_at: usize,
}

impl Rates {
    /// So many requests a second for each user.
    pub fn new(per_second: usize) -> Self {
        let per_second = u32::try_from(per_second).unwrap_or(u32::MAX).max(1);
        Self {
            interval: Duration::from_secs(1) / per_second,
            hasher: RandomState::new(),
            buckets: Mutex::new(Buckets { full_at: HashMap::new(), sweep_at: SWEEP_MIN }),
        }
    }

    /// Takes one request out of the user's bucket. A `sub` is one user only within a tenant.
    pub fn take(&self, tenant: &TenantId, sub: &str) -> Result<(), Problem> {
        self.take_at(self.hasher.hash_one((tenant, sub)), Instant::now()).map_err(|wait| {
            Problem::later(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "this user asks too often; wait as long as Retry-After says, and poll as seldom as poll_after_ms says",
                u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1),
            )
        })
    }

    fn take_at(&self, user: u64, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let empty_by = Duration::from_secs(BURST_S.into());
        let missing = buckets.full_at.get(&user).map_or(Duration::ZERO, |full_at| full_at.duration_since(now));
        let then_missing = missing + self.interval;
        if then_missing > empty_by {
            return Err(then_missing - empty_by);
        }
        if buckets.full_at.len() >= buckets.sweep_at {
            buckets.full_at.retain(|_, full_at| *full_at > now);
            buckets.sweep_at = SWEEP_MIN.max(buckets.full_at.len() * 2);
        }
        buckets.full_at.insert(user, now + then_missing);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let (rates, start) = (Rates::new(10), Instant::now());
        let given = (0..100).filter(|_| rates.take_at(1, start).is_ok()).count();
        assert_eq!(given, 20);
        assert_eq!(rates.take_at(1, start), Err(Duration::from_millis(100)));
        assert_eq!(rates.take_at(2, start), Ok(()), "somebody else");
        let second = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| rates.take_at(1, second).is_ok()).count(), 10);
        let later = start + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| rates.take_at(1, later).is_ok()).count(), 20, "no more than a bucket holds");
    }

    #[test]
    fn buckets_that_are_full_are_forgotten() {
        let (rates, start) = (Rates::new(10), Instant::now());
        for user in 0..100_000 {
            rates.take_at(user, start + Duration::from_millis(user)).unwrap();
        }
        assert!(rates.buckets.lock().unwrap().full_at.len() <= SWEEP_MIN);
    }
}
