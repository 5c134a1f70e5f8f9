//! How a turn ends: with an answer, with the sentence that there is none, later, or as a dead letter.
//!
//! Invariant: the message is finished in the transaction that ends the turn, and only by whoever has it, so there is one
//! answer however many attempts there were (`an_attempt_that_lost_its_turn_writes_nothing`).

use std::time::Duration;

use deadpool_postgres::GenericClient;
use serde_json::{Map, json};

use super::answer::Answers;
use super::application::{Ending, is_over};
use super::trouble::{Halt, Trouble};
use super::turns::{LEASE, Turn};

impl Answers {
    /// Finishes the message and ends the turn, both or neither. `begin`: the message may not be there yet.
    pub(super) async fn finish(&self, turn: &Turn, ending: &Ending<'_>, begin: bool) -> Result<(), Halt> {
        let mut client = self.application.pool.get().await?;
        let transaction = client.transaction().await?;
        // First the turn, whose row is locked by it: nobody else can finish, and whoever has it now has it to the end.
        keep(&transaction, turn).await?;
        if begin {
            self.application.begin(&transaction, turn).await?;
        }
        let finished = self.application.finish(&transaction, turn, ending).await?;
        // After that, since finishing locks the session: it ends before, and is seen here, or after the answer.
        if finished && ending.status == "sent" {
            let status = self.application.status(&transaction, turn).await?;
            if status.is_none() || is_over(status.as_deref()) {
                return Err(Halt::Unwanted("ended"));
            }
        }
        settle(&transaction, turn.id, turn.attempt, None, None).await?;
        Ok(transaction.commit().await?)
    }

    /// Says that there is no answer, where it would stand.
    pub(super) async fn fail(&self, turn: &Turn, trouble: &Trouble) -> Result<&'static str, Halt> {
        tracing::warn!(
            answer = turn.answer,
            code = &*trouble.code,
            attempt = turn.attempt,
            "no answer could be made; the user is told so"
        );
        let mut metadata = Map::from_iter([("error".to_owned(), json!(trouble.code))]);
        // What an opening offers, it does not offer now.
        let labels = self.labels(turn).into_iter().filter(|(name, _)| *name != "actions");
        metadata.extend(labels.map(|(name, value)| (name.to_owned(), value)));
        let ending = Ending { role: "system", status: "sent", content: &self.settings.error_text, metadata };
        self.finish(turn, &ending, true).await.map(|()| "failed")
    }

    /// Ends a turn without an answer. One that was begun does not stay `sending`.
    pub(super) async fn leave(&self, turn: &Turn, why: &'static str) -> &'static str {
        let metadata = Map::from_iter([("error".to_owned(), json!(why))]);
        let ending = Ending { role: "assistant", status: "failed", content: "", metadata };
        match self.finish(turn, &ending, false).await {
            Ok(()) => "unwanted",
            Err(Halt::Lost) => "lost",
            // There is no session any more, so there is nothing to tell it.
            Err(_) => {
                self.settle(turn.id, turn.attempt, None, None).await;
                "unwanted"
            }
        }
    }

    /// Puts a turn off.
    pub(super) async fn later(&self, turn: &Turn, code: &str, pause: Duration) -> &'static str {
        self.settle(turn.id, turn.attempt, Some(code), Some(pause)).await;
        "tried_again"
    }

    /// Leaves a turn among the dead letters.
    pub(super) async fn give_up(&self, id: i64, attempt: i32, code: &str) {
        tracing::error!(code, "an answer was given up without a word to the user; see tidings.dead_letters");
        self.settle(id, attempt, Some(code), None).await;
    }

    /// A turn that cannot be settled is due again when its lease is over.
    async fn settle(&self, id: i64, attempt: i32, error: Option<&str>, pause: Option<Duration>) {
        let settled = async {
            let client = self.application.pool.get().await?;
            settle(&client, id, attempt, error, pause).await
        };
        if let Err(error) = settled.await {
            tracing::debug!(?error, "a turn could not be settled");
        }
    }
}

/// Keeps a turn for another lease.
pub(super) async fn keep(client: &impl GenericClient, turn: &Turn) -> Result<(), Halt> {
    let statement = client.prepare_cached("select tidings._keep_turn($1, $2, $3)").await?;
    let kept = client.query_one(&statement, &[&turn.id, &turn.attempt, &LEASE.as_secs_f64()]).await?;
    if kept.get(0) { Ok(()) } else { Err(Halt::Lost) }
}

async fn settle(
    client: &impl GenericClient,
    id: i64,
    attempt: i32,
    error: Option<&str>,
    pause: Option<Duration>,
) -> Result<(), Halt> {
    let statement = client.prepare_cached("select tidings._settle($1, $2, $3, $4)").await?;
    client.execute(&statement, &[&id, &attempt, &error, &pause.map(|pause| pause.as_secs_f64())]).await?;
    Ok(())
}
