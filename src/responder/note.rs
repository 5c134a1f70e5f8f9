//! Notes which answers are owed, in the transaction that moves the consumer's cursor.
//!
//! Of a message nothing is read but its id and who wrote it, and only here, beside the road; what it says is asked of the
//! application when it is answered.

use std::sync::Arc;

use deadpool_postgres::Transaction;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;

use super::{About, NAME, answer_id};
use crate::consumer::Take;
use crate::event::Event;
use crate::replay::LogError;

/// What the responder does with events.
pub(super) struct Note {
    /// Whether new sessions are opened.
    pub opens: bool,
    /// Says that something may be due.
    pub wake: Arc<Notify>,
}

/// A row of chat messages. Columns are the database's: every schema that was met calls these two so.
#[derive(Deserialize)]
struct Message {
    data: Option<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: Option<Value>,
    role: Option<String>,
}

impl Take for Note {
    async fn take(&self, transaction: &Transaction<'_>, events: &[Arc<Event>]) -> Result<(), LogError> {
        let statement = transaction.prepare_cached("select tidings._owe($1, $2, $3, $4, $5, $6)").await?;
        for event in events {
            // The subject of both is the session.
            let Some((session, about)) = event.subject.as_deref().zip(self.asks(event)) else { continue };
            let tenant = event.tenant.as_str();
            let id = match &about {
                About::Message(message) => answer_id(tenant, session, &["message", message]),
                _ => answer_id(tenant, session, &["opening"]),
            };
            let Ok(body) = serde_json::to_string(&about) else { continue };
            transaction.execute(&statement, &[&NAME, &id, &session, &tenant, &&*event.kind, &body]).await?;
        }
        Ok(())
    }

    fn noted(&self) {
        self.wake.notify_one();
    }
}

impl Note {
    /// What an event asks for, if anything.
    fn asks(&self, event: &Event) -> Option<About> {
        if &*event.kind == "chat_sessions.inserted" {
            return self.opens.then_some(About::Opening);
        }
        // A row that was too large for an event has no data.
        let row = serde_json::from_slice::<Message>(&event.json()).ok()?.data?;
        // What users do not say is known to be no question; where there is no such column, the application will tell.
        if row.role.is_some_and(|role| !role.eq_ignore_ascii_case("user")) {
            return None;
        }
        match row.id? {
            Value::String(id) => Some(About::Message(id)),
            Value::Number(id) => Some(About::Message(id.to_string())),
            _ => None,
        }
    }
}
