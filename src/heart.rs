//! Whether the task that everything depends on still turns: the listener's.
//!
//! It is woken all the time, by checkpoints while it is connected and by its own pauses while it is not. When it has not been
//! woken for longer than any of these, it is stuck or has ended, and only a new process helps: `/livez` and the service
//! manager's watchdog say so. A database that is away does not stop it (`a_database_that_is_away_is_no_reason_to_restart`).
//!
//! Why its polls are counted from outside and nothing is written inside: what hangs cannot be trusted to notice it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Remembers when the task was last woken.
#[derive(Debug)]
pub struct Heart {
    started: Instant,
    /// Milliseconds after `started`. Written by the task.
    beat_ms: AtomicU64,
    /// Silence beyond this is no pause of its own.
    limit: Duration,
}

impl Heart {
    /// It has just beaten.
    pub fn new(limit: Duration) -> Self {
        Self { started: Instant::now(), beat_ms: AtomicU64::new(0), limit }
    }

    /// Whether the task has been woken lately.
    pub fn beats(&self) -> bool {
        self.started.elapsed() <= Duration::from_millis(self.beat_ms.load(Ordering::Relaxed)) + self.limit
    }

    /// The task, heard from now on.
    pub fn of<F: Future>(self: &Arc<Self>, task: F) -> Heard<F> {
        self.beat();
        Heard { heart: self.clone(), task: Box::pin(task) }
    }

    fn beat(&self) {
        self.beat_ms.store(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A task that beats whenever it is polled.
#[derive(Debug)]
pub struct Heard<F> {
    heart: Arc<Heart>,
    task: Pin<Box<F>>,
}

impl<F: Future> Future for Heard<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.heart.beat();
        self.task.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use tokio_util::task::TaskTracker;

    use super::*;

    async fn until(condition: impl Fn() -> bool) {
        let waited = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_turns_is_heard() {
        let heart = Arc::new(Heart::new(Duration::from_secs(3600)));
        let turns = poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        let task = TaskTracker::new().spawn(heart.of(turns));
        for _ in 0..3 {
            let before = heart.beat_ms.load(Ordering::Relaxed);
            until(|| heart.beat_ms.load(Ordering::Relaxed) > before).await;
        }
        assert!(heart.beats());
        task.abort();
    }

    #[tokio::test]
    async fn a_task_that_hangs_or_has_ended_is_heard_no_more() {
        let tasks: [Pin<Box<dyn Future<Output = ()> + Send>>; 2] = [Box::pin(pending()), Box::pin(async {})];
        for task in tasks {
            let heart = Arc::new(Heart::new(Duration::from_millis(20)));
            let task = TaskTracker::new().spawn(heart.of(task));
            until(|| !heart.beats()).await;
            task.abort();
        }
    }
}
