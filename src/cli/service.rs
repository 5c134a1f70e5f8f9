//! What a service manager is told: ready, reloading, ending, and that it lives. Nothing where nobody asked to be told.
//!
//! Ready means listening and caught up, so that what is started behind it finds it so. The watchdog is fed only while the
//! listener turns and this runtime runs; a database that is away stops neither.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::heart::Heart;
use crate::listener::Health;

/// Without a watchdog there is nothing to feed, however long one waits.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Tells one thing, with words for people.
pub fn tell(state: &NotifyState<'_>, status: &str) {
    notify(&[state.clone(), NotifyState::Status(status)]);
}

/// Tells that settings are being read anew; `Ready` ends it.
pub fn tell_reloading() {
    // The time tells systemd which of its own requests this answers.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now, NotifyState::Status("reading the configuration again")]),
        Err(error) => tracing::debug!(%error, "this machine has no monotonic clock"),
    }
}

/// Follows the listener's health until the end of the process.
pub async fn follow(mut health: watch::Receiver<Health>, heart: Arc<Heart>) {
    let every = sd_notify::watchdog_enabled().map_or(NEVER, |limit| limit / 2);
    let (mut ready, mut feed_at) = (false, Instant::now());
    loop {
        let caught_up = health.borrow_and_update().caught_up;
        if caught_up && !ready {
            tell(&NotifyState::Ready, "listening");
        } else if caught_up != ready {
            notify(&[NotifyState::Status("not ready: connecting to PostgreSQL, or catching up")]);
        }
        ready = caught_up;
        // Woken by: the health, which changes with each checkpoint · the time to feed the watchdog · the end of the listener,
        // after which only time passes.
        tokio::select! {
            changed = health.changed() => {
                if changed.is_err() {
                    sleep_until(feed_at).await;
                }
            }
            () = sleep_until(feed_at) => {}
        }
        if Instant::now() >= feed_at {
            feed_at = Instant::now() + every;
            if heart.beats() {
                notify(&[NotifyState::Watchdog]);
            } else {
                tracing::error!("the task that listens has ended or hangs; the watchdog is not fed any more");
            }
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Whoever started us wanted to be told and cannot be: the process serves all the same.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
