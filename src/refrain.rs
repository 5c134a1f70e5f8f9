//! Says a trouble that lasts when it begins, and then at growing intervals: a database that is away for an hour is no
//! million lines.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first pause; each is twice the one before …
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// … up to this, so that whoever looks at the log sees that it still lasts.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Nothing for this long, and the next is a new trouble, also where nobody says that the old one is over.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// One trouble, as far as it was told.
#[derive(Debug, Default)]
pub struct Refrain(Mutex<Option<Lasting>>);

#[derive(Debug)]
struct Lasting {
    /// Another of these is another trouble.
    what: &'static str,
    since: Instant,
    last: Instant,
    say_at: Instant,
    pause: Duration,
    unsaid: u64,
}

impl Refrain {
    /// Nothing is wrong.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// It happened, for a reason by which one trouble is told from another. Whether to say so: with how many times it was not
    /// said since the last.
    pub fn say(&self, what: &'static str) -> Option<u64> {
        self.say_at(what, Instant::now())
    }

    fn say_at(&self, what: &'static str, now: Instant) -> Option<u64> {
        let mut lasting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(same) =
            lasting.as_mut().filter(|same| same.what == what && now - same.last < FORGOTTEN.max(same.pause))
        else {
            let since = lasting.as_ref().filter(|other| now - other.last < FORGOTTEN).map_or(now, |other| other.since);
            *lasting = Some(Lasting { what, since, last: now, say_at: now + PAUSE_MIN, pause: PAUSE_MIN, unsaid: 0 });
            return Some(0);
        };
        same.last = now;
        if now < same.say_at {
            same.unsaid += 1;
            return None;
        }
        same.pause = (same.pause * 2).min(PAUSE_MAX);
        same.say_at = now + same.pause;
        Some(std::mem::take(&mut same.unsaid))
    }

    /// It is over: for how long it lasted. None when nothing was wrong.
    pub fn over(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map(|lasting| lasting.since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_that_lasts_an_hour_is_told_a_few_times() {
        let (refrain, begun) = (Refrain::new(), Instant::now());
        let said: Vec<u64> = (0..36_000).filter_map(|n| refrain.say_at("away", begun + n * PAUSE_MIN / 20)).collect();
        assert!((15..30).contains(&said.len()), "{said:?}");
        assert_eq!(said[..2], [0, 19], "first when it begins, then with what was not said");
        assert!(refrain.over().is_some() && refrain.over().is_none());
    }

    #[test]
    fn another_trouble_is_told_at_once() {
        let (refrain, now) = (Refrain::new(), Instant::now());
        assert_eq!([refrain.say_at("away", now), refrain.say_at("away", now)], [Some(0), None]);
        assert_eq!(refrain.say_at("refused", now), Some(0));
        assert_eq!(refrain.say_at("refused", now + FORGOTTEN * 2), Some(0), "so long ago that it is a new one");
    }
}
