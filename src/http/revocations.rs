//! `/v1/revocations`: admins withdraw the tokens of a user of theirs, or one token, before its time.
//!
//! Place: what is written here is read back by [`revocation::reading`](crate::revocation::reading), on every instance.
//!
//! Invariant: an admin withdraws nothing outside of their own tenants (`an_admin_revokes_in_their_own_tenants_only`).

use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};

use super::State;
use super::call::is_name;
use super::problem::Problem;
use super::route::{Request, Route, route};
use super::status::json;
use crate::auth::Principal;

/// The routes.
pub fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/v1/revocations", list),
        route(Method::POST, "/v1/revocations", revoke),
        route(Method::DELETE, "/v1/revocations/{id}", unrevoke),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    #[serde(default, deserialize_with = "given")]
    sub: Option<String>,
    #[serde(default, deserialize_with = "given")]
    jti: Option<String>,
    tenant: Option<String>,
}

/// What is there is a text: null is a slip of whoever meant one, and is not taken for absent.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    String::deserialize(value).map(Some)
}

const COLUMNS: &str = r#"id, tenant, sub, jti_sha256, to_char(before at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    to_char(expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), made_by"#;

fn shown(row: &Row) -> serde_json::Value {
    let text = |column: usize| row.get::<_, Option<String>>(column);
    serde_json::json!({
        "id": row.get::<_, i64>(0), "tenant": text(1), "sub": text(2), "jti_sha256": text(3), "before": text(4),
        "expires_at": text(5), "made_by": text(6),
    })
}

fn admin(principal: Principal) -> Result<Principal, Problem> {
    if principal.is_admin() { Ok(principal) } else { Err(Problem::forbidden("revocations are for admins")) }
}

/// Where an admin revokes: a tenant of theirs, or everywhere who administers all.
fn place(admin: &Principal, tenant: Option<String>) -> Result<Option<String>, Problem> {
    match (tenant, admin.listed()) {
        (Some(tenant), _) if !is_name(&tenant) => {
            Err(Problem::field("tenant", "tenant must be 1 to 255 bytes without control characters"))
        }
        (Some(tenant), _) if !admin.is_admin_of(&tenant) => {
            Err(Problem::forbidden("this credential is not for this tenant"))
        }
        (None, Some([only])) => Ok(Some(only.clone())),
        (None, Some(_)) => Err(Problem::field("tenant", "say in which of your tenants")),
        (tenant, _) => Ok(tenant),
    }
}

async fn revoke(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let admin = admin(request.principal(&state).await?)?;
    let Revoke { sub, jti, tenant } = request.json(&state).await?;
    for (field, name) in [("sub", &sub), ("jti", &jti)] {
        if name.as_deref().is_some_and(|name| !is_name(name)) {
            let detail = format!("{field} must be 1 to 255 bytes without control characters");
            return Err(Problem::field(field, detail));
        }
    }
    if sub.is_some() == jti.is_some() {
        return Err(Problem::field("sub", "name either sub or jti"));
    }
    let tenant = place(&admin, tenant)?;
    let client = state.log.pool().get().await?;
    let keep = state.in_force.load().keys.lifetime_max.as_secs_f64();
    let make = "select tidings.revoke($1, $2, $3, now(), make_interval(secs => $4), $5)";
    let make = client.prepare_cached(make).await?;
    let made = client.query_one(&make, &[&sub, &jti, &tenant, &keep, &admin.sub]).await;
    let id: i64 = made.map_err(too_many)?.get(0);
    let one = client.prepare_cached(&format!("select {COLUMNS} from tidings.revocations where id = $1")).await?;
    let answer = shown(&client.query_one(&one, &[&id]).await?);
    drop(client);
    tracing::info!(id, by = admin.sub, kind = if sub.is_some() { "sub" } else { "jti" }, tenant, "revoked");
    // Here at once; elsewhere at the next look. Should this fail, then here as well.
    if let Err(error) = state.revoking.refresh().await {
        tracing::debug!(%error, "a revocation will be read at the next look");
    }
    Ok(json(StatusCode::CREATED, &answer))
}

fn too_many(error: tokio_postgres::Error) -> Problem {
    if error.code() == Some(&SqlState::PROGRAM_LIMIT_EXCEEDED) {
        let detail = "there are as many revocations as can be held: change the key that signs the tokens";
        return Problem::later(StatusCode::TOO_MANY_REQUESTS, "too_many_revocations", detail, 3600);
    }
    error.into()
}

async fn list(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    let admin = admin(request.principal(&state).await?)?;
    let limit = request.call.number("limit", 100, 1..=1000)? as i64;
    let before = request.call.number("before", i64::MAX as u64, 1..=i64::MAX as u64)?;
    let client = state.log.pool().get().await?;
    let page = format!(
        "select {COLUMNS} from tidings.revocations where id < $1 and ($2::text[] is null or tenant = any ($2)) order by id desc limit $3"
    );
    let page = client.prepare_cached(&page).await?;
    let rows = client.query(&page, &[&i64::try_from(before).unwrap_or(i64::MAX), &admin.listed(), &limit]).await?;
    let full = rows.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| full).map(|row| row.get::<_, i64>(0));
    let rows: Vec<_> = rows.iter().map(shown).collect();
    Ok(json(StatusCode::OK, &serde_json::json!({"revocations": rows, "next": next})))
}

async fn unrevoke(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    let admin = admin(request.principal(&state).await?)?;
    let id: i64 = request.raw(0).parse().map_err(|_| Problem::not_found())?;
    let client = state.log.pool().get().await?;
    let lift = "select tidings.unrevoke(id) from tidings.revocations where id = $1 and ($2::text[] is null or tenant = any ($2))";
    let lift = client.prepare_cached(lift).await?;
    client.query_opt(&lift, &[&id, &admin.listed()]).await?.ok_or_else(Problem::not_found)?;
    drop(client);
    tracing::info!(id, by = admin.sub, "a revocation was taken back");
    if let Err(error) = state.revoking.refresh().await {
        tracing::debug!(%error, "a revocation will be taken back at the next look");
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
