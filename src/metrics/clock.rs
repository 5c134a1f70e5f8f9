//! What the database's clock says, without asking it: events carry its time, and the clock of this machine may be off by any amount.
//!
//! With each checkpoint the bridge asks for it once and notes how long the answer took. The true time lies within that round trip,
//! so of the last answers the quickest is believed, and the error is at most half of its round trip. In between this machine's
//! monotonic clock goes on, which nobody sets.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Answers that are remembered: at the usual interval of checkpoints, for less than a minute, in which no two clocks drift apart by
/// as much as a round trip.
const ANSWERS: usize = 8;
/// Before the first answer.
const UNKNOWN: i64 = i64::MIN;

/// An estimate of the database's clock.
#[derive(Debug)]
pub struct DatabaseClock {
    begun: Instant,
    /// Its microseconds since 1970 at `begun`.
    then_us: AtomicI64,
    /// Round trips and what each said of `then_us`, the oldest first.
    answers: Mutex<VecDeque<(Duration, i64)>>,
}

impl Default for DatabaseClock {
    fn default() -> Self {
        Self { begun: Instant::now(), then_us: AtomicI64::new(UNKNOWN), answers: Mutex::default() }
    }
}

impl DatabaseClock {
    /// Takes an answer: what the database's clock said, in microseconds since 1970, and between which moments.
    pub fn told(&self, asked: Instant, said_us: i64, answered: Instant) {
        let round_trip = answered.saturating_duration_since(asked);
        let then_us = said_us - micros(asked.saturating_duration_since(self.begun) + round_trip / 2);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() == ANSWERS {
            answers.pop_front();
        }
        answers.push_back((round_trip, then_us));
        if let Some((_, quickest)) = answers.iter().min_by_key(|(round_trip, _)| *round_trip) {
            self.then_us.store(*quickest, Ordering::Relaxed);
        }
    }

    /// Its microseconds since 1970 now; none before the first answer.
    pub fn now_us(&self) -> Option<i64> {
        let then_us = self.then_us.load(Ordering::Relaxed);
        (then_us != UNKNOWN).then(|| then_us + micros(self.begun.elapsed()))
    }

    /// How long ago that was by the same clock; nothing for what lies within the error of the estimate. None before the first answer.
    pub fn since(&self, at_us: i64) -> Option<Duration> {
        let past_us = self.now_us()?.saturating_sub(at_us);
        Some(Duration::from_micros(u64::try_from(past_us).unwrap_or_default()))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_by_years_is_followed_and_the_quickest_answer_believed() {
        let (clock, ms) = (DatabaseClock::default(), Duration::from_millis);
        assert_eq!(clock.since(0), None, "nothing is known yet");
        let asked = clock.begun + ms(10);
        // Its clock began at 1,000,000,000 µs; the slow answer was made right at the end of its round trip.
        clock.told(asked, 1_000_000_000 + 410_000, asked + ms(400));
        clock.told(asked + ms(1000), 1_000_000_000 + 1_011_000, asked + ms(1002));
        assert_eq!(clock.then_us.load(Ordering::Relaxed), 1_000_000_000);
        clock.told(asked + ms(2000), 1_000_000_000 + 2_410_000, asked + ms(2400));
        assert_eq!(clock.then_us.load(Ordering::Relaxed), 1_000_000_000);
        assert_eq!(clock.since(i64::MAX / 2), Some(Duration::ZERO), "never below zero");
    }

    #[test]
    fn a_clock_that_was_set_is_followed_after_so_many_answers() {
        let clock = DatabaseClock::default();
        let asked = clock.begun;
        clock.told(asked, 0, asked);
        for _ in 0..ANSWERS {
            clock.told(asked, 5_000_000, asked + Duration::from_millis(2));
        }
        assert_eq!(clock.then_us.load(Ordering::Relaxed), 5_000_000 - 1_000);
    }
}
