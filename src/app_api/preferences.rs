//! What a user has chosen for themself: whether to be told by e-mail.

use std::sync::Arc;

use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::application;
use super::fields::{Fields, missing};
use crate::http::State;
use crate::http::problem::Problem;
use crate::http::route::{Request, Route, route};
use crate::http::status::json;

/// Below `/v1/tenants/{tenant}`.
pub fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/v1/tenants/{tenant}/preferences", show),
        route(Method::PATCH, "/v1/tenants/{tenant}/preferences", change),
    ]
}

/// `GET preferences`, of the caller.
async fn show(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    let none = || Problem::new(StatusCode::NOT_FOUND, "not_found", "this user is not in the application's tables");
    let chosen = application::call(&state, &tenant, "preferences", "$2", &[&principal.sub]).await?.ok_or_else(none)?;
    Ok(json(StatusCode::OK, &chosen))
}

/// `PATCH preferences {email}`.
async fn change(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    let mut fields = Fields::of(&mut request, &state).await?;
    let email = fields.flag("email")?.ok_or_else(|| missing("email"))?;
    fields.end()?;
    let chosen = application::call(&state, &tenant, "set_preferences", "$2, $3", &[&principal.sub, &email]).await?;
    Ok(json(StatusCode::OK, &chosen))
}
