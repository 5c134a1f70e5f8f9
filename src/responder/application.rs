//! What the responder asks of the application, through the functions of schema `tidings_app`.
//!
//! Invariant: each call sets `tidings.tenant` for its own transaction before it calls, as those of `app_api` do.

use deadpool_postgres::GenericClient;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio_postgres::types::ToSql;

use super::trouble::{Halt, Trouble};
use super::turns::Turn;
use crate::postgres::Pool;

/// A session and what was said in it.
#[derive(Debug, Deserialize)]
pub(super) struct Conversation {
    /// The session as the routes show it.
    pub session: Map<String, Value>,
    /// Whose it is.
    #[serde(default)]
    pub user: User,
    /// Oldest first.
    pub messages: Vec<Message>,
}

/// A user, as far as the application knows them.
#[derive(Debug, Default, Deserialize)]
pub(super) struct User {
    pub id: Option<String>,
    pub name: Option<String>,
}

/// One message.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub id: String,
    pub role: String,
    pub content: String,
    #[serde(default)]
    pub metadata: Value,
}

impl Conversation {
    /// Text of a member of the session.
    pub(super) fn session(&self, member: &str) -> Option<&str> {
        self.session.get(member).and_then(Value::as_str)
    }
}

/// Whether a session in this state is answered in.
pub(super) fn is_over(status: Option<&str>) -> bool {
    matches!(status, Some("ended" | "archived"))
}

/// The text and state that an answer ends with.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    pub role: &'static str,
    pub status: &'static str,
    pub content: &'a str,
    pub metadata: Map<String, Value>,
}

/// The functions.
pub(super) struct Application {
    pub pool: Pool,
}

impl Application {
    pub(super) fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// What was said up to a message, or up to now; none where there is no such session or message.
    pub(super) async fn context(
        &self,
        turn: &Turn,
        message: Option<&str>,
        max: usize,
    ) -> Result<Option<Conversation>, Halt> {
        let max = i32::try_from(max).unwrap_or(i32::MAX);
        let parameters: [&(dyn ToSql + Sync); 3] = [&turn.session, &message, &max];
        call(&self.pool.get().await?, turn, "chat_context", "$2, $3, $4", &parameters).await
    }

    /// The state of the session now; none where it is gone.
    pub(super) async fn status(&self, client: &impl GenericClient, turn: &Turn) -> Result<Option<String>, Halt> {
        #[derive(Deserialize)]
        struct Session {
            status: String,
        }
        let session: Option<Session> = call(client, turn, "chat_session", "null, $2", &[&turn.session]).await?;
        Ok(session.map(|session| session.status))
    }

    /// Makes the message of the answer; false when it was finished already.
    pub(super) async fn begin(&self, client: &impl GenericClient, turn: &Turn) -> Result<bool, Halt> {
        #[derive(Deserialize)]
        struct Answer {
            status: String,
        }
        let answer: Option<Answer> =
            call(client, turn, "begin_answer", "$2, $3, '{}'::jsonb", &[&turn.session, &turn.answer]).await?;
        Ok(answer.ok_or(Halt::Unwanted("gone"))?.status == "sending")
    }

    /// Finishes it; false when it was finished already.
    pub(super) async fn finish(
        &self,
        client: &impl GenericClient,
        turn: &Turn,
        ending: &Ending<'_>,
    ) -> Result<bool, Halt> {
        let metadata = Value::Object(ending.metadata.clone()).to_string();
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&turn.session, &turn.answer, &ending.role, &ending.status, &ending.content, &metadata];
        let finished: Option<Value> =
            call(client, turn, "finish_answer", "$2, $3, $4, $5, $6, $7::text::jsonb", &parameters).await?;
        Ok(finished.is_some())
    }
}

/// Calls `tidings_app.function(tenant, arguments…)`; `arguments` may use the parameters from `$2` on.
async fn call<T: DeserializeOwned>(
    client: &impl GenericClient,
    turn: &Turn,
    function: &str,
    arguments: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<T>, Halt> {
    let sql = format!(
        "select tidings_app.{function}($1, {arguments})::text from set_config('tidings.tenant', $1::text, true)"
    );
    let statement = client.prepare_cached(&sql).await?;
    let mut all: Vec<&(dyn ToSql + Sync)> = vec![&turn.tenant];
    all.extend_from_slice(parameters);
    let json: Option<String> = client.query_one(&statement, &all).await?.get(0);
    let read = |json: String| {
        serde_json::from_str(&json).map_err(|_| {
            tracing::error!(
                function,
                "a function of tidings_app did not return the JSON that docs/application.md asks for"
            );
            Halt::from(Trouble::lasting("bad_application"))
        })
    };
    json.map(read).transpose()
}
