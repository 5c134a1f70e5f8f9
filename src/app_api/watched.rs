//! The latest state of rows of any watched table: what clients poll that cannot subscribe, for tables that a DBA added.
//!
//! Invariant: shows what an event would show, to the same people (`polling_shows_what_events_show_and_to_the_same_people`). SQL
//! keeps tenants and audiences apart; the token's `events` globs are kept here.

use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::application::{Object, not_json};
use super::changes::sees;
use super::polling;
use crate::auth::Principal;
use crate::event::TenantId;
use crate::http::State;
use crate::http::call::{is_key, is_name, key};
use crate::http::problem::Problem;
use crate::http::route::{Request, Route, route};

/// Of one request.
const KEYS_MAX: usize = 100;

/// Below `/v1/tenants/{tenant}`.
pub fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/v1/tenants/{tenant}/watched/{table}/{key}", one),
        route(Method::GET, "/v1/tenants/{tenant}/watched/{table}", several),
    ]
}

/// `GET watched/{table}/{key}`.
async fn one(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    let (table, key) = (request.segment(1)?, key(request.raw(2))?);
    let found = read(&state, &principal, &tenant, &table, &[key]).await?;
    let mut row = found.rows()?.into_iter().next().ok_or_else(no_row)?;
    row.insert("table".to_owned(), to_raw_value(&table).map_err(|_| no_table())?);
    row.insert("cursor".to_owned(), found.cursor);
    Ok(polling::answer(&request.call, row, polling::SOON_MS))
}

/// `GET watched/{table}?keys=a,b`; a key that holds commas is asked for by its own address.
async fn several(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    let (table, keys) = (request.segment(1)?, request.call.query("keys"));
    let keys: Vec<String> = keys.unwrap_or_default().split(',').filter(|k| !k.is_empty()).map(str::to_owned).collect();
    if keys.is_empty() || keys.len() > KEYS_MAX || !keys.iter().all(|key| is_key(key)) {
        return Err(Problem::field("keys", format!("keys must be 1 to {KEYS_MAX} keys, separated by commas")));
    }
    let found = read(&state, &principal, &tenant, &table, &keys).await?;
    let table = to_raw_value(&table).map_err(|_| no_table())?;
    let body = [("table", table), ("rows", found.rows), ("cursor", found.cursor)];
    let body = body.map(|(name, json)| (name.to_owned(), json)).into();
    Ok(polling::answer(&request.call, body, polling::SOON_MS))
}

/// What the database answers; rows stay the text that it sent, so that no number loses a digit.
#[derive(serde::Deserialize)]
struct Rows {
    r#type: String,
    rows: Box<RawValue>,
    cursor: Box<RawValue>,
}

impl Rows {
    fn rows(&self) -> Result<Vec<Object>, Problem> {
        serde_json::from_str(self.rows.get()).map_err(|_| not_json("_watched"))
    }
}

async fn read(
    state: &State,
    principal: &Principal,
    tenant: &TenantId,
    table: &str,
    keys: &[String],
) -> Result<Rows, Problem> {
    if !is_name(table) {
        return Err(no_table());
    }
    let sub = (!principal.is_admin_of(tenant.as_str())).then_some(&principal.sub);
    let client = state.log.client(Some(tenant)).await?;
    // The tables of the reference application show a bridge the rows of one tenant only.
    let read = "select tidings._watched($1, $2, $3, $4)::text from set_config('tidings.tenant', $1::text, true)";
    let statement = client.prepare_cached(read).await?;
    let found = client
        .query_one(&statement, &[&tenant.as_str(), &sub, &table, &keys])
        .await
        .map_err(|error| refused(principal, error))?;
    let found: Rows = serde_json::from_str(found.get(0)).map_err(|_| not_json("_watched"))?;
    if sees(principal, &found.r#type) { Ok(found) } else { Err(no_table()) }
}

/// What is wrong with a table is told only to those who may see its events; to others it is not there.
fn refused(principal: &Principal, error: tokio_postgres::Error) -> Problem {
    let kinds = error.as_db_error().and_then(|db| db.detail());
    if kinds.is_some_and(|kinds| !kinds.split(',').any(|kind| sees(principal, kind))) {
        return no_table();
    }
    match error.as_db_error().map(|db| db.code().code().to_owned()).as_deref() {
        Some("42704") => no_table(),
        Some("42P09") => Problem::field("table", "several watched tables have this name; write it as schema.table"),
        Some("42P02") => Problem::field("table", "this table has no key to look rows up by"),
        Some("42501") => {
            tracing::warn!(%error, "the owner of schema tidings may not read a watched table; grant it select");
            Problem::new(StatusCode::NOT_IMPLEMENTED, "not_readable", "this table can be subscribed to, but not polled")
        }
        _ => error.into(),
    }
}

fn no_table() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_watched", "no watched table of this name is there for you")
}

fn no_row() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_row", "this tenant has no row with this key")
}
