//! Messages of a session that changed since a cursor, for clients that poll: the events say which, the table how they are now.
//!
//! Invariant: the cursor is that of the reading of the log, before the table was read. What changes in between is shown as it is
//! now and is told again from the cursor; nothing is left out (`a_poll_from_its_own_cursor_misses_no_message`).

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::to_raw_value;

use super::super::application::{self, Object};
use super::no_session;
use crate::auth::Globs;
use crate::event::{Event, TenantId};
use crate::filter::Filter;
use crate::http::State;
use crate::http::call::Call;
use crate::http::problem::Problem;
use crate::reading::{ReadError, Reading};
use crate::replay::{Reset, Scope};

/// `{messages, deleted, cursor, more}`, with no place before or behind.
pub(super) async fn since(
    state: &State,
    call: &Call,
    tenant: &TenantId,
    sub: Option<&str>,
    session: &str,
    limit: usize,
) -> Result<Object, Problem> {
    let after = call.after()?;
    let scope = Scope::Tenant(tenant.clone());
    let filter = Filter {
        allowed: Globs::any(),
        types: Globs::from_items(["chat_messages.*"]).map_err(|_| Problem::not_found())?,
        subject: Some(session.into()),
        user: sub.map(Into::into),
        tenants: None,
    };
    let found = Reading::begin(&state.log, &scope, after).await?.read(&state.log, &scope, &filter, limit).await?;
    let ids = found.events.iter().map(|event| id_of(event)).collect::<Option<BTreeSet<String>>>();
    // A row that is too large for an event does not say which it is: the client must fetch the list.
    let ids: Vec<String> = ids.ok_or(ReadError::Gone(Reset::Unknown))?.into_iter().collect();
    let place = None::<&str>;
    let messages = application::object(
        state,
        tenant,
        "chat_messages",
        "$2, $3, $4::text[], $5, false, $6",
        &[&sub, &session, &ids, &place, &(ids.len() as i32)],
    )
    .await?;
    let mut answer = messages.ok_or_else(no_session)?;
    let left: Vec<Identified> =
        answer.get("messages").and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
    let deleted: Vec<&String> = ids.iter().filter(|id| !left.iter().any(|message| message.id == **id)).collect();
    for (name, value) in [
        ("deleted", to_raw_value(&deleted)),
        ("cursor", to_raw_value(&found.cursor.to_string())),
        ("more", to_raw_value(&found.more)),
    ] {
        let value = value.map_err(|_| application::not_json("chat_messages"))?;
        answer.insert(name.to_owned(), value);
    }
    Ok(answer)
}

/// The one thing that is read of a message here.
#[derive(Deserialize)]
struct Identified {
    id: String,
}

fn id_of(event: &Event) -> Option<String> {
    #[derive(Deserialize)]
    struct Envelope {
        data: Identified,
    }
    serde_json::from_slice::<Envelope>(&event.json()).ok().map(|envelope| envelope.data.id)
}
