//! `POST chat/sessions/{id}/follow-up`: what a chat is about was edited, and whoever answers may say something to it.
//!
//! The wait for the last edit is kept in the database, so it holds across instances and restarts
//! (`five_edits_on_two_bridges_get_one_follow_up_to_the_last`).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::application;
use crate::http::State;
use crate::http::problem::Problem;
use crate::http::route::{Request, Route, route};
use crate::http::status::json;
use crate::responder::{self, About};

/// Below `/v1/tenants/{tenant}`.
pub fn routes() -> Vec<Route> {
    vec![route(Method::POST, "/v1/tenants/{tenant}/chat/sessions/{session}/follow-up", follow_up)]
}

/// A text of so few characters is not worth a word yet.
const CONTENT_CHARS_MIN: usize = 11;
/// As long as a message may be: a model is shown it whole.
const CONTENT_BYTES_MAX: usize = 32 << 10;
/// The type of what is owed, by which edits of a session are one.
const TYPE: &str = "chat.edited";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edited {
    content: String,
    trigger: Option<String>,
}

async fn follow_up(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    let session = request.segment(1)?;
    let Some(wait) = state.settings.follow_up else {
        let detail = "nobody answers chats on this server; see [responder] in config.toml";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "no_responder", detail));
    };
    let edited: Edited = request.json(&state).await?;
    let length = edited.content.trim().chars().count();
    if length < CONTENT_CHARS_MIN || edited.content.len() > CONTENT_BYTES_MAX || edited.content.contains('\0') {
        let detail = format!(
            "content must be {CONTENT_CHARS_MIN} characters or more, at most {} KiB, without NUL",
            CONTENT_BYTES_MAX >> 10
        );
        return Err(Problem::field("content", detail));
    }
    if edited.trigger.is_some_and(|trigger| trigger != "edit") {
        return Err(Problem::field("trigger", "trigger must be \"edit\", or be left out"));
    }
    let sub = (!principal.is_admin_of(tenant.as_str())).then_some(principal.sub.as_str());
    let found = application::call(&state, &tenant, "chat_session", "$2, $3", &[&sub, &session]).await?;
    let found =
        found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no chat session of this id"))?;
    let status =
        serde_json::from_str::<Value>(found.get()).ok().and_then(|s| Some(s.get("status")?.as_str()?.to_owned()));
    if matches!(status.as_deref(), Some("ended" | "archived")) {
        return Err(Problem::conflict("this session has ended; nobody answers in it any more", Some(found)));
    }
    let body = serde_json::to_string(&About::Edit(edited.content)).unwrap_or_default();
    // Each follow-up is an answer of its own; only while it waits do edits share one.
    let answer = format!("ans_{:032x}", rand::random::<u128>());
    let client = state.log.client(Some(&tenant)).await?;
    // A time as the application's functions write it.
    let sql = "select to_json(tidings._owe_latest($1, $2, $3, $4, $5, $6, $7))#>>'{}'";
    let statement = client.prepare_cached(sql).await?;
    let tenant = tenant.as_str();
    let row = client
        .query_one(&statement, &[&responder::NAME, &answer, &session, &tenant, &TYPE, &body, &wait.as_secs_f64()])
        .await?;
    Ok(json(StatusCode::ACCEPTED, &serde_json::json!({"due_at": row.get::<_, String>(0)})))
}
