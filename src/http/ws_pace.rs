//! How fast one WebSocket sends messages. In the connection itself, unlike [`rate`](super::rate): a flood asks no lock that
//! others ask.

use tokio::time::{Duration, Instant};

/// One connection's bucket.
#[derive(Debug)]
pub struct Pace {
    full_at: Instant,
    /// Messages refused since the bucket was last full.
    refused: usize,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It is looked at.
    On,
    /// It is refused.
    TooFast,
    /// So is the connection.
    Enough,
}

impl Pace {
    /// Nothing sent yet.
    pub fn new(now: Instant) -> Self {
        Self { full_at: now, refused: 0 }
    }

    /// Two seconds' worth at once, then so many a second. As many again are refused one by one, and then the connection is.
    pub fn step(&mut self, per_second: usize, now: Instant) -> Step {
        let interval = Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX).max(1);
        let missing = self.full_at.saturating_duration_since(now);
        if missing.is_zero() {
            self.refused = 0;
        }
        if missing + interval <= Duration::from_secs(2) {
            self.full_at = now + missing + interval;
            return Step::On;
        }
        self.refused += 1;
        if self.refused > per_second.saturating_mul(2) { Step::Enough } else { Step::TooFast }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_beyond_the_rate_are_refused_and_then_the_connection_is() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let steps: Vec<Step> = (0..41).map(|_| pace.step(10, start)).collect();
        assert!(steps[..20].iter().all(|step| *step == Step::On));
        assert!(steps[20..40].iter().all(|step| *step == Step::TooFast));
        assert_eq!(steps[40], Step::Enough);
        let mut steady = Pace::new(start);
        assert!((0..1000).all(|n| steady.step(10, start + Duration::from_millis(100) * n) == Step::On));
        let mut forgiven = Pace::new(start);
        (0..30).for_each(|_| _ = forgiven.step(10, start));
        let later = start + Duration::from_secs(3);
        assert_eq!((forgiven.step(10, later), forgiven.refused), (Step::On, 0));
    }
}
