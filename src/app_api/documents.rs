//! Documents of a tenant: uploaded, listed, and how far their processing is.
//!
//! Invariant: a document of another tenant is answered like one that never was
//! (`documents_of_another_tenant_are_answered_like_ones_that_never_were`).

use std::collections::BTreeSet;
use std::sync::Arc;

use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::application::{self, Object};
use super::changes::{After, Changes, visible};
use super::fields::{Fields, missing};
use super::polling;
use crate::auth::Principal;
use crate::event::TenantId;
use crate::http::State;
use crate::http::call::{is_key, key, scheme};
use crate::http::problem::Problem;
use crate::http::route::{Request, Route, route};
use crate::http::status::json;
use crate::http::uploads::is_own;

/// Of one list.
const LIMIT_MAX: u64 = 200;
/// A screen and a half.
const LIMIT: u64 = 50;
/// Whose status one request may ask for: what a page of uploads may hold.
const IDS_MAX: usize = 500;

/// Below `/v1/tenants/{tenant}`.
pub fn routes() -> Vec<Route> {
    vec![
        route(Method::POST, "/v1/tenants/{tenant}/documents/status", post_status),
        route(Method::GET, "/v1/tenants/{tenant}/documents/status", get_status),
        route(Method::GET, "/v1/tenants/{tenant}/documents/{id}", one),
        route(Method::POST, "/v1/tenants/{tenant}/documents/{id}/retry", retry),
        route(Method::GET, "/v1/tenants/{tenant}/documents", list),
        route(Method::POST, "/v1/tenants/{tenant}/documents", create),
    ]
}

/// `POST documents`: the document and the tenant's notification of it, in one transaction.
async fn create(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    let mut fields = Fields::of(&mut request, &state).await?;
    let name = fields.required("name", 255)?;
    let (url, mime_type) = (fields.text("url", 2048)?, fields.text("mime_type", 255)?);
    if url.as_deref().is_some_and(runs_as_script) {
        return Err(Problem::field("url", "url must not be one that runs a script when it is opened"));
    }
    if url.as_deref().is_some_and(|url| !is_own(url, &tenant)) {
        return Err(Problem::field("url", "url must name a file that was uploaded for this tenant"));
    }
    let bytes = "a number of bytes, not negative";
    let size = fields.take::<i64>("size", bytes)?;
    if size.is_some_and(|size| size < 0) {
        return Err(Problem::field("size", format!("size must be {bytes}")));
    }
    let metadata = fields.object("metadata")?;
    fields.end()?;
    let metadata = metadata.as_ref().map(|json| json.get());
    let created = application::call(
        &state,
        &tenant,
        "create_document",
        "$2, $3, $4, $5, $6, $7::text::jsonb",
        &[&principal.sub, &name, &url, &size, &mime_type, &metadata],
    )
    .await
    .map_err(|problem| problem.blame("metadata"))?;
    Ok(json(StatusCode::CREATED, &created))
}

/// Pages show it as a link.
fn runs_as_script(url: &str) -> bool {
    scheme(url).is_some_and(|scheme| ["javascript", "data", "vbscript"].contains(&scheme.as_str()))
}

/// `GET documents?after&limit`: newest first; with a cursor in `after`, what changed since.
async fn list(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    visible(&principal, "documents")?;
    let limit = request.call.number("limit", LIMIT, 1..=LIMIT_MAX)?;
    let place = match After::read(&request.call, "after") {
        Some(After::Cursor(cursor)) => {
            let changes = Changes::since(&state, &principal, &tenant, "documents", cursor, limit as usize).await?;
            let found = by_ids(&state, &tenant, &changes.ids).await?;
            // Nothing changed does not mean that nothing is being processed.
            let again = if pace(&found)? == polling::PROCESSING_MS { polling::PROCESSING_MS } else { polling::SOON_MS };
            return Ok(polling::answer(&request.call, changes.answer(found, "documents"), again));
        }
        Some(After::Place(place)) => Some(place),
        Some(After::Start) => None,
        None => return Err(Problem::field("after", "after must be a cursor, or the next of an earlier page")),
    };
    let found = application::object(
        &state,
        &tenant,
        "documents",
        "null::text[], $2, $3",
        &[&place, &i32::try_from(limit).unwrap_or(i32::MAX)],
    )
    .await?
    .unwrap_or_default();
    let again = match pace(&found)? {
        polling::NEVER => polling::QUIET_MS,
        _ => polling::PROCESSING_MS,
    };
    Ok(polling::answer(&request.call, found, again))
}

/// `GET documents/{id}`: the document, with the cursor of its snapshot.
async fn one(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    visible(&principal, "documents")?;
    let id = key(request.raw(1)).map_err(|_| none())?;
    let found = by_ids(&state, &tenant, &[id]).await?;
    let again = pace(&found)?;
    let mut document = documents(&found)?.into_iter().next().ok_or_else(none)?;
    document.extend(found.get_key_value("cursor").map(|(name, cursor)| (name.clone(), cursor.clone())));
    Ok(polling::answer(&request.call, document, again))
}

fn none() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "this tenant has no document with this id")
}

/// `POST documents/{id}/retry`: what failed is processed again. Twice at once is once: the second finds it in processing, or
/// leaves it there.
async fn retry(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    visible(&principal, "documents")?;
    let id = key(request.raw(1)).map_err(|_| none())?;
    let found = by_ids(&state, &tenant, std::slice::from_ref(&id)).await?;
    let document = documents(&found)?.into_iter().next().ok_or_else(none)?;
    let status = document.get("status").map_or("", |status| status.get().trim_matches('"'));
    if status != "failed" {
        let detail = format!("the document is {status}; only one that failed can be processed again");
        return Err(Problem::conflict(detail, serde_json::value::to_raw_value(&document).ok()));
    }
    let arguments = "$2, 'processing', null, null, null";
    let retried = application::call(&state, &tenant, "set_document_status", arguments, &[&id]).await?;
    Ok(json(StatusCode::OK, &retried.ok_or_else(none)?))
}

/// `POST documents/status {document_ids}`: a bare array, as those who polled before know it.
async fn post_status(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    let mut fields = Fields::of(&mut request, &state).await?;
    let ids = fields.take::<Vec<String>>("document_ids", "a list of ids")?.ok_or_else(|| missing("document_ids"))?;
    fields.end()?;
    let (found, again) = status(&state, &principal, &tenant, "document_ids", ids).await?;
    Ok(polling::paced(json(StatusCode::OK, &found), again))
}

/// `GET documents/status?ids=a,b`: the same as an object, for conditional requests.
async fn get_status(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (principal, tenant) = request.enter(&state).await?;
    let ids = request.call.query("ids").unwrap_or_default().split(',').map(str::to_owned).collect();
    let (found, again) = status(&state, &principal, &tenant, "ids", ids).await?;
    let found = serde_json::value::to_raw_value(&found).map_err(|_| application::not_json("documents"))?;
    Ok(polling::answer(&request.call, Object::from([("documents".to_owned(), found)]), again))
}

async fn status(
    state: &State,
    principal: &Principal,
    tenant: &TenantId,
    field: &'static str,
    ids: Vec<String>,
) -> Result<(Vec<Object>, u32), Problem> {
    visible(principal, "documents")?;
    let ids: Vec<String> = ids.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    if ids.is_empty() || ids.len() > IDS_MAX || !ids.iter().all(|id| is_key(id)) {
        return Err(Problem::field(field, format!("{field} must be 1 to {IDS_MAX} ids of documents")));
    }
    let found = by_ids(state, tenant, &ids).await?;
    let mut documents = documents(&found)?;
    for document in &mut documents {
        document.retain(|name, _| ["id", "status", "error", "progress", "stage"].contains(&name.as_str()));
    }
    Ok((documents, pace(&found)?))
}

async fn by_ids(state: &State, tenant: &TenantId, ids: &[String]) -> Result<Object, Problem> {
    let max = i32::try_from(ids.len()).unwrap_or(i32::MAX);
    let found = application::object(state, tenant, "documents", "$2, null, $3", &[&ids, &max]).await?;
    Ok(found.unwrap_or_default())
}

fn documents(found: &Object) -> Result<Vec<Object>, Problem> {
    let list = found.get("documents").map_or("[]", |list| list.get());
    serde_json::from_str(list).map_err(|_| application::not_json("documents"))
}

/// When to ask again for these: soon while something is processed, later while it waits to be, never when all are done.
fn pace(found: &Object) -> Result<u32, Problem> {
    let documents = documents(found)?;
    let any = |status: &str| {
        documents.iter().any(|document| document.get("status").is_some_and(|is| is.get().trim_matches('"') == status))
    };
    Ok(match (any("processing"), any("uploaded")) {
        (true, _) => polling::PROCESSING_MS,
        (false, true) => polling::PENDING_MS,
        (false, false) => polling::NEVER,
    })
}
