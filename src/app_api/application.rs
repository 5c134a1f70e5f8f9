//! A call of a function in schema `tidings_app`, and what it refuses as a problem.
//!
//! Invariant: each call is one statement, which sets `tidings.tenant` for its own transaction before it calls: row-level
//! security then shows that tenant's rows only, whatever the function's queries forget to ask
//! (`a_query_that_forgets_the_tenant_shows_no_other`).

use std::collections::BTreeMap;

use deadpool_postgres::GenericClient;
use serde_json::value::RawValue;
use tokio_postgres::types::ToSql;
use warp::http::StatusCode;

use crate::event::TenantId;
use crate::http::State;
use crate::http::problem::Problem;

/// A JSON object whose members are not parsed further: numbers keep all their digits.
pub type Object = BTreeMap<String, Box<RawValue>>;

/// Calls `tidings_app.function(tenant, arguments…)`; null where it found nothing. `arguments` is the text behind the
/// tenant, with the parameters from `$2` on: `"$2, $3::text::jsonb"`.
pub async fn call(
    state: &State,
    tenant: &TenantId,
    function: &str,
    arguments: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<Box<RawValue>>, Problem> {
    call_in(&*state.log.client(Some(tenant)).await?, tenant, function, arguments, parameters).await
}

/// The same on this connection, in the transaction that it is in.
pub async fn call_in(
    client: &impl GenericClient,
    tenant: &TenantId,
    function: &str,
    arguments: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<Box<RawValue>>, Problem> {
    let comma = if arguments.is_empty() { "" } else { ", " };
    let sql = format!(
        "select tidings_app.{function}($1{comma}{arguments})::text from set_config('tidings.tenant', $1::text, true)"
    );
    let statement = client.prepare_cached(&sql).await.map_err(refused)?;
    let name = tenant.as_str();
    let mut all: Vec<&(dyn ToSql + Sync)> = vec![&name];
    all.extend_from_slice(parameters);
    let row = client.query_one(&statement, &all).await.map_err(refused)?;
    let json: Option<String> = row.get(0);
    json.map(RawValue::from_string).transpose().map_err(|_| not_json(function))
}

/// The same for a function that returns an object or null.
pub async fn object(
    state: &State,
    tenant: &TenantId,
    function: &str,
    arguments: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<Object>, Problem> {
    let found = call(state, tenant, function, arguments, parameters).await?;
    found.map(|json| serde_json::from_str(json.get()).map_err(|_| not_json(function))).transpose()
}

/// For a function whose answer is not what `docs/application.md` says.
pub fn not_json(function: &str) -> Problem {
    tracing::error!(function, "a function of tidings_app did not return the JSON that docs/application.md asks for");
    Problem::new(
        StatusCode::NOT_IMPLEMENTED,
        "bad_application",
        "the application's functions do not answer as expected",
    )
}

/// What the functions refuse with, as docs/application.md says; everything else is the database's trouble.
pub fn refused(error: tokio_postgres::Error) -> Problem {
    let Some(db) = error.as_db_error() else { return error.into() };
    let (message, code) = (db.message(), db.code().code());
    match code {
        "TD404" => Problem::new(StatusCode::NOT_FOUND, "not_found", message),
        "TD409" => {
            let current = db.detail().and_then(|json| RawValue::from_string(json.to_owned()).ok());
            Problem::conflict(message, current)
        }
        "TD422" => Problem::field(db.column().unwrap_or("body").to_owned(), message),
        "3F000" | "42883" | "42P01" => Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "no_application",
            "this database has no functions in schema tidings_app; see `tidings migrate --app`",
        ),
        "42501" => {
            tracing::error!(%error, "a function of tidings_app lacks a right, or wrote a row of another tenant");
            Problem::new(
                StatusCode::NOT_IMPLEMENTED,
                "not_granted",
                "this bridge lacks rights in the application's schema; see tidings_app.grant_service",
            )
        }
        "23503" => Problem::field("tenant", "this tenant or user is not in the application's tables"),
        _ if code == "23514" || code.starts_with("22") || code.starts_with("54") => Problem::field(
            "body",
            "a value holds NUL, is out of range, or is not what the application's tables can hold",
        ),
        _ => error.into(),
    }
}
