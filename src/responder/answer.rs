//! One attempt at one answer, from the question to the end of the turn.
//!
//! How it ends stands in [`ending`](super::ending).
//!
//! Invariant: whoever has the turn shows words, and nobody else: an attempt that was taken for dead and wakes up shows
//! nothing more (`an_attempt_that_lost_its_turn_writes_nothing`).

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::About;
use super::application::{Application, Conversation, Ending, is_over};
use super::deltas::Deltas;
use super::ending::keep;
use super::trouble::{Halt, Trouble};
use super::turns::Turn;
use super::voice::{Piece, Pieces, Question, Voice};
use super::wording::Wording;
use crate::config;
use crate::metrics::Metrics;

/// Two signs of life may be late before a turn is taken from its instance.
const RENEW: Duration = Duration::from_secs(3);
/// Words are gathered for so long: twenty notifications a second for each answer, which reads as flowing.
const GATHER: Duration = Duration::from_millis(50);
/// No model means to write more; one that is caught in a loop would.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// The pause before the second attempt; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes answers.
pub(super) struct Answers {
    pub voice: Voice,
    pub wording: Wording,
    pub application: Application,
    pub metrics: std::sync::Arc<Metrics>,
    pub settings: config::Responder,
    pub kill: CancellationToken,
}

impl Answers {
    /// Makes one attempt, and sees to what becomes of the turn.
    pub(super) async fn answer(&self, turn: &Turn) {
        let last = i32::try_from(self.settings.attempts).unwrap_or(i32::MAX);
        let outcome = if turn.attempt > last {
            // Whoever had the earlier ones died of it, or with it.
            Err(Trouble::lasting("lost").into())
        } else {
            // Woken by: the answer, or its time · the end of the process.
            tokio::select! {
                made = timeout(self.settings.timeout, self.attempt(turn)) => {
                    made.unwrap_or_else(|_| Err(Trouble::passing("timeout").into()))
                }
                () = self.kill.cancelled() => Err(Halt::Stopped),
            }
        };
        let outcome = match outcome {
            Err(Halt::Trouble(trouble)) if !trouble.passes || turn.attempt >= last => self.fail(turn, &trouble).await,
            other => other,
        };
        let told = match outcome {
            Ok(told) => told,
            Err(Halt::Lost) => "lost",
            Err(Halt::Stopped) => self.later(turn, "stopped", Duration::ZERO).await,
            Err(Halt::Unwanted(why)) => self.leave(turn, why).await,
            Err(Halt::Trouble(trouble)) if turn.attempt >= last && trouble.code != "database" => {
                // Not even the sentence that there is no answer could be written.
                self.give_up(turn.id, turn.attempt, &trouble.code).await;
                "dead"
            }
            Err(Halt::Trouble(trouble)) => {
                tracing::info!(
                    answer = turn.answer,
                    code = &*trouble.code,
                    attempt = turn.attempt,
                    "an answer will be tried again"
                );
                let doubled = PAUSE * 2_u32.saturating_pow(turn.attempt.clamp(1, 6).unsigned_abs() - 1);
                // Jitter keeps what failed together apart.
                let pause = trouble.after.unwrap_or(doubled.mul_f64(0.75 + rand::random::<f64>() / 2.0));
                self.later(turn, &trouble.code, pause).await
            }
        };
        self.metrics.answer(told);
    }

    async fn attempt(&self, turn: &Turn) -> Result<&'static str, Halt> {
        let message = match &turn.about {
            About::Message(id) => Some(id.as_str()),
            About::Opening | About::Edit(_) => None,
        };
        let max = self.settings.context_messages;
        let conversation = self.application.context(turn, message, max).await?.ok_or(Halt::Unwanted("gone"))?;
        if is_over(conversation.session("status")) {
            return Err(Halt::Unwanted("ended"));
        } else if conversation.session("assigned_to").is_some() {
            return Err(Halt::Unwanted("taken_up"));
        } else if let Some(id) = message
            && !conversation.messages.last().is_some_and(|said| said.id == id && said.role == "user")
        {
            return Err(Halt::Unwanted("no_question"));
        }
        let client = self.application.pool.get().await?;
        if !self.application.begin(&client, turn).await? {
            return Err(Halt::Unwanted("answered"));
        }
        drop(client);
        let audience = conversation.session("user_id").unwrap_or_default().to_owned();
        let pieces = self.words(turn, conversation)?;
        let (text, mut metadata) = self.tell(turn, &audience, pieces).await?;
        for (name, value) in self.labels(turn) {
            metadata.insert(name.to_owned(), value);
        }
        let ending = Ending { role: "assistant", status: "sent", content: &text, metadata };
        self.finish(turn, &ending, false).await.map(|()| "sent")
    }

    /// The words of the answer, as they come.
    fn words(&self, turn: &Turn, conversation: Conversation) -> Result<Pieces, Halt> {
        let unusable = |error: minijinja::Error| {
            tracing::warn!(kind = %error.kind(), "a template of [responder] cannot be filled in");
            Halt::from(Trouble::lasting("template"))
        };
        if turn.about == About::Opening
            && let Some(text) = self.wording.opening(&turn.tenant, &conversation).map_err(unusable)?
        {
            return Ok(futures_util::stream::iter([Ok(Piece::Text(text))]).boxed());
        }
        let system = self.wording.system(&turn.tenant, &conversation).map_err(unusable)?;
        let (tenant, answer, about) = (turn.tenant.clone(), turn.answer.clone(), turn.about.clone());
        Ok(self.voice.speak(Question { tenant, answer, about, system, conversation }))
    }

    /// What the metadata of an answer always says.
    pub(super) fn labels(&self, turn: &Turn) -> Vec<(&'static str, Value)> {
        match &turn.about {
            About::Message(id) => vec![("reply_to", json!(id))],
            About::Opening => vec![("type", json!("welcome")), ("actions", json!(self.settings.actions))],
            About::Edit(_) => vec![("type", json!("follow_up"))],
        }
    }

    /// Shows the words as they come; the whole text in the end.
    async fn tell(
        &self,
        turn: &Turn,
        audience: &str,
        mut pieces: Pieces,
    ) -> Result<(String, Map<String, Value>), Halt> {
        let (mut deltas, mut metadata) = (Deltas::default(), Map::new());
        let (mut show, mut renew) = (Instant::now(), Instant::now() + RENEW);
        loop {
            // Woken by: more of the answer, or its end · the time to show what was gathered · the time to say that we live.
            tokio::select! {
                piece = pieces.next() => match piece {
                    Some(piece) => match piece? {
                        Piece::Text(text) => deltas.push(&text),
                        Piece::Metadata(more) => metadata.extend(more),
                    },
                    None => break,
                },
                () = sleep_until(show), if deltas.waiting() => {
                    self.show(turn, audience, &mut deltas).await?;
                    show = Instant::now() + GATHER;
                }
                () = sleep_until(renew) => {
                    self.renew(turn).await?;
                    renew = Instant::now() + RENEW;
                }
            }
            if deltas.text().len() > ANSWER_BYTES_MAX {
                metadata.insert("truncated".to_owned(), json!(true));
                break;
            }
        }
        while deltas.waiting() {
            self.show(turn, audience, &mut deltas).await?;
        }
        if deltas.text().trim().is_empty() {
            return Err(Trouble::passing("empty").into());
        }
        Ok((deltas.text().to_owned(), metadata))
    }

    /// Shows one piece to whoever is watching.
    async fn show(&self, turn: &Turn, audience: &str, deltas: &mut Deltas) -> Result<(), Halt> {
        let Some((index, text)) = deltas.next() else { return Ok(()) };
        let mut data = json!({"session_id": turn.session, "message_id": turn.answer, "index": index, "text": text});
        if index == 0 && turn.attempt > 1 {
            data["restart"] = json!(true);
        }
        let client = self.application.pool.get().await?;
        let sql =
            "select tidings._emit_live($1, 'chat.delta', $2::text::jsonb, $3, $4) where tidings._has_turn($5, $6)";
        let statement = client.prepare_cached(sql).await?;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&turn.tenant, &data.to_string(), &turn.session, &audience, &turn.id, &turn.attempt];
        match client.execute(&statement, &parameters).await? {
            0 => Err(Halt::Lost),
            _ => Ok(()),
        }
    }

    /// Keeps the turn, unless the session was ended meanwhile.
    async fn renew(&self, turn: &Turn) -> Result<(), Halt> {
        let client = self.application.pool.get().await?;
        keep(&client, turn).await?;
        let status = self.application.status(&client, turn).await?;
        if status.is_none() || is_over(status.as_deref()) { Err(Halt::Unwanted("ended")) } else { Ok(()) }
    }
}
