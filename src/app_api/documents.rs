//! Documents of a tenant.

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

/// Below `/v1/tenants/{tenant}`.
pub fn routes() -> Vec<Route> {
    vec![route(Method::POST, "/v1/tenants/{tenant}/documents", create)]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDocument {
    name: String,
    url: Option<String>,
    size: Option<i64>,
    mime_type: Option<String>,
    metadata: Option<Value>,
}

/// `POST documents`: the document and the tenant's notification of it, in one transaction.
async fn create(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    let document: NewDocument = request.json(&state).await?;
    if document.name.trim().is_empty() || document.name.len() > 255 || document.name.contains('\0') {
        return Err(Problem::field("name", "name must be 1 to 255 bytes without NUL"));
    }
    if document.size.is_some_and(|size| size < 0) {
        return Err(Problem::field("size", "size must be a number of bytes, not negative"));
    }
    let metadata = document.metadata.unwrap_or_else(|| Value::Object(Default::default())).to_string();
    let NewDocument { name, url, size, mime_type, .. } = document;
    let created = application::call(
        &state,
        &tenant,
        "create_document",
        "$2, $3, $4, $5, $6, $7::text::jsonb",
        &[&principal.sub, &name, &url, &size, &mime_type, &metadata],
    )
    .await?;
    Ok(json(StatusCode::CREATED, &created))
}
