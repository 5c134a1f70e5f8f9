//! When a delivery is tried again: soon at first, then ever later, for some days.
//!
//! The schedule that Standard Webhooks recommends: ten attempts in about three days. Each pause is stretched or shortened by up
//! to half at random, so that what failed together does not come back together. Why not from zero on ("full jitter"): the
//! published times would be halved, and now and then an endpoint that has just failed were asked again at once.

use std::time::Duration;

/// Pauses after the first, second … attempt, in seconds: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
const PAUSES_S: [u64; 9] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// The schedule within its bounds.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// No pause is shorter.
    pub min: Duration,
    /// None is longer, also not where a receiver asks for it.
    pub max: Duration,
    /// Given up after this.
    pub retry_for: Duration,
}

impl Schedule {
    /// The pause after this attempt, counted from 1, of a delivery that is tried for `age` already; none: no further one.
    pub fn again(&self, attempt: i32, age: Duration, asked: Option<Duration>) -> Option<Duration> {
        let step = usize::try_from(attempt.max(1) - 1).unwrap_or(0).min(PAUSES_S.len() - 1);
        let pause = Duration::from_secs(PAUSES_S[step]).clamp(self.min, self.max);
        let pause = pause.mul_f64(0.5 + rand::random::<f64>()).min(self.max);
        let pause = pause.max(asked.unwrap_or_default().min(self.max));
        (age + pause <= self.retry_for).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const USUAL: Schedule =
        Schedule { min: Duration::from_secs(5), max: HOUR.saturating_mul(24), retry_for: HOUR.saturating_mul(96) };

    #[test]
    fn pauses_grow_from_seconds_to_a_day_and_end() {
        for (attempt, pause_s) in PAUSES_S.iter().enumerate() {
            let pause = USUAL.again(attempt as i32 + 1, Duration::ZERO, None).unwrap().as_secs_f64();
            let published = *pause_s as f64;
            assert!((published * 0.49..=published * 1.51).contains(&pause), "{pause} after {attempt}");
        }
        assert!(USUAL.again(10, HOUR * 96, None).is_none());
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_pause_but_not_for_ever() {
        assert!(USUAL.again(1, Duration::ZERO, Some(HOUR)).unwrap() >= HOUR);
        assert_eq!(USUAL.again(1, Duration::ZERO, Some(HOUR * 1000)), Some(USUAL.max));
        assert!(USUAL.again(2, Duration::ZERO, Some(Duration::ZERO)).unwrap() > Duration::from_secs(100));
    }

    #[test]
    fn any_number_of_attempts_has_an_answer() {
        for attempt in [i32::MIN, -1, 0, 1, i32::MAX] {
            assert!(USUAL.again(attempt, Duration::ZERO, None).is_some());
        }
    }
}
