//! Takes the turns that are due and has them answered, a bounded number at a time, on every instance.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::About;
use super::answer::Answers;
use crate::postgres::Pool;
use crate::replay::LogError;

/// A turn is another's after so long without a sign of life: the time that a user waits when an instance dies.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// Questions that other instances noted, and follow-ups whose time has come, are found this often.
const POLL: Duration = Duration::from_millis(500);
/// One attempt at one answer.
#[derive(Debug)]
pub(super) struct Turn {
    /// Among what is owed.
    pub id: i64,
    /// The id of the answer's message.
    pub answer: String,
    pub tenant: String,
    pub session: String,
    pub about: About,
    /// From 1.
    pub attempt: i32,
}

/// The loop.
pub(super) struct Turns {
    pool: Pool,
    answers: Arc<Answers>,
    free: Arc<Semaphore>,
    wake: Arc<Notify>,
    tasks: TaskTracker,
}

impl Turns {
    pub(super) fn new(pool: Pool, answers: Answers, in_flight: usize, wake: Arc<Notify>, tasks: TaskTracker) -> Self {
        // A semaphore counts no further; nobody answers that many.
        let free = Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS)));
        Self { pool, answers: Arc::new(answers), free, wake, tasks }
    }

    /// Until cancelled. Answers that were begun go on.
    pub(super) async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.begin_all().await {
                tracing::debug!(%error, "no turns could be taken; they will be asked for again");
            }
            // Woken by: the end of the process · a question that was noted here, or an answer that ended · the time.
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified() => {}
                () = sleep(POLL) => {}
            }
        }
    }

    /// Takes as many turns as there is room for.
    async fn begin_all(&self) -> Result<(), LogError> {
        let room = self.free.available_permits().min(i32::MAX as usize);
        if room == 0 {
            return Ok(());
        }
        let client = self.pool.get().await?;
        let statement = client.prepare_cached("select * from tidings._take_turns($1, $2)").await?;
        let rows = client.query(&statement, &[&(room as i32), &LEASE.as_secs_f64()]).await?;
        drop(client);
        for row in rows {
            let (answers, wake) = (self.answers.clone(), self.wake.clone());
            // Always there: only this loop takes permits, and no more turns than were free.
            let room = self.free.clone().try_acquire_owned();
            let turn = read(&row);
            self.tasks.spawn(async move {
                match turn {
                    Ok(turn) => answers.answer(&turn).await,
                    Err((id, attempt)) => answers.give_up(id, attempt, "unreadable").await,
                }
                drop(room);
                wake.notify_one();
            });
        }
        Ok(())
    }
}

/// A turn as it was taken; where its note cannot be read, its id and attempt.
fn read(row: &tokio_postgres::Row) -> Result<Turn, (i64, i32)> {
    let (id, attempt) = (row.get("id"), row.get("attempts"));
    let about = serde_json::from_str(row.get("body")).map_err(|_| (id, attempt))?;
    let (answer, session, tenant) = (row.get("event"), row.get("part"), row.get("tenant"));
    Ok(Turn { id, answer, tenant, session, about, attempt })
}
