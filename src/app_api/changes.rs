//! "What changed since this cursor", for clients that poll: the log says which rows, the application's function how they are.
//!
//! Place: below the lists of documents and notifications. Invariant: the cursor of the answer is that of the reading of the log, not of the list
//! that is made after it. What changes in between is then told again by the next poll, and nothing is lost
//! (`polling_by_cursor_shows_the_last_state_of_every_document_that_changed`).

use std::collections::BTreeMap;

use serde_json::value::to_raw_value;
use warp::http::StatusCode;

use super::application::Object;
use crate::auth::{Globs, Principal};
use crate::cursor::Cursor;
use crate::event::TenantId;
use crate::http::call::Call;
use crate::http::problem::Problem;
use crate::http::{State, events};
use crate::reading::Reading;
use crate::replay::Scope;

/// Longest place looked at: a time and a key.
const PLACE_BYTES_MAX: usize = 1100;

/// Where a list begins.
pub enum After {
    /// At its newest row.
    Start,
    /// Behind a place, as an earlier `next` gave it; checked by the application's function.
    Place(String),
    /// It is no list, but what changed since.
    Cursor(Cursor),
}

impl After {
    /// Reads a parameter of the query; none where it is neither place nor cursor.
    pub fn read(call: &Call, name: &str) -> Option<Self> {
        let Some(text) = call.query(name) else { return Some(Self::Start) };
        // A cursor first: that of a page begins with p. too, and no place looks like one.
        match text.parse() {
            Ok(cursor) => Some(Self::Cursor(cursor)),
            Err(_) if is_place(text) => Some(Self::Place(text.to_owned())),
            Err(_) => None,
        }
    }
}

/// Whether a text is a place, `p.<microseconds>.<key>`: asked here too, so that the refusal names the caller's parameter.
pub fn is_place(text: &str) -> bool {
    let Some((at, key)) = text.strip_prefix("p.").and_then(|rest| rest.split_once('.')) else { return false };
    let digits = at.strip_prefix('-').unwrap_or(at);
    (1..=16).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !key.is_empty()
        && text.len() <= PLACE_BYTES_MAX
        && !text.contains('\0')
}

/// Rows that changed.
pub struct Changes {
    /// Keys of those that were there then, each once.
    pub ids: Vec<String>,
    gone: Vec<String>,
    cursor: Cursor,
    more: bool,
}

impl Changes {
    /// Reads at most `limit` events of a table of the application's. Refused with 410 where the cursor is outside retention, with 501
    /// where nobody writes these events.
    pub async fn since(
        state: &State,
        principal: &Principal,
        tenant: &TenantId,
        kind: &'static str,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Self, Problem> {
        captured(state, tenant, kind).await?;
        let scope = Scope::Tenant(tenant.clone());
        let types = ["inserted", "updated", "deleted"].map(|op| format!("{kind}.{op}"));
        // Never refused: the names above are globs.
        let types = Globs::from_items(types.iter().map(String::as_str)).map_err(|_| Problem::not_found())?;
        let filter = events::filter(principal, &scope, types, None);
        let mut reading = Reading::begin(&state.log, &scope, Some(cursor)).await?;
        let found = reading.read(&state.log, &scope, &filter, limit).await?;
        // Of each row the last event decides.
        let subjects: BTreeMap<&str, bool> = found
            .events
            .iter()
            .filter_map(|event| Some((event.subject.as_deref()?, event.kind.ends_with(".deleted"))))
            .collect();
        let with =
            |gone: bool| subjects.iter().filter(|(_, is)| **is == gone).map(|(id, _)| (*id).to_owned()).collect();
        Ok(Self { ids: with(false), gone: with(true), cursor: found.cursor, more: found.more })
    }

    /// The answer of a poll: the rows under `name`, keys of deleted ones, the cursor of the reading, and whether there is more.
    pub fn answer(&self, mut list: Object, name: &str) -> Object {
        list.retain(|member, _| member == name || member == "unread_count");
        let members = [
            ("deleted", to_raw_value(&self.gone)),
            ("cursor", to_raw_value(&self.cursor.to_string())),
            ("more", to_raw_value(&self.more)),
        ];
        list.extend(members.into_iter().filter_map(|(name, json)| Some((name.to_owned(), json.ok()?))));
        list
    }
}

/// Whether a cursor can be answered from: a table without a watch changes without events.
async fn captured(state: &State, tenant: &TenantId, kind: &str) -> Result<(), Problem> {
    let client = state.log.client(Some(tenant)).await?;
    let statement = client.prepare_cached("select tidings._captures($1, '{insert,update}')").await?;
    if client.query_one(&statement, &[&kind]).await?.get(0) {
        return Ok(());
    }
    let detail = format!(
        "changes of {kind} are not watched in this database, so nothing can be told since a cursor: fetch the list again, with If-None-Match. \
         Whoever runs the database makes it watched with select * from tidings.watch(…)"
    );
    Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "not_watched_here", detail))
}

/// Refused to those whose token lets through no event that shows a row of this table: the rows themselves show no less.
pub fn visible(principal: &Principal, kind: &str) -> Result<(), Problem> {
    if sees(principal, kind) {
        return Ok(());
    }
    let detail = format!("the events claim of this credential lets no {kind} be seen");
    Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail))
}

/// Whether the token's globs let through what a row of this kind is shown in.
pub fn sees(principal: &Principal, kind: &str) -> bool {
    ["inserted", "updated"].iter().any(|op| principal.events.matches(&format!("{kind}.{op}")))
}
