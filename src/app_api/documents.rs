//! Documents of a tenant.

use serde::Deserialize;
use serde_json::Value;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::auth::Principal;
use crate::http::State;
use crate::http::credential;
use crate::http::problem::Problem;
use crate::http::publish::parse;
use crate::http::status::json;

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
pub async fn create(state: &State, principal: &Principal, tenant: &str, body: &[u8]) -> Result<Response, Problem> {
    let tenant = credential::enter(principal, tenant)?;
    let document: NewDocument = parse(body)?;
    if document.name.trim().is_empty() || document.name.len() > 255 || document.name.contains('\0') {
        return Err(Problem::field("name", "name must be 1 to 255 bytes without NUL"));
    }
    if document.size.is_some_and(|size| size < 0) {
        return Err(Problem::field("size", "size must be a number of bytes, not negative"));
    }
    let client = state.log.pool().get().await?;
    let call = "select tidings_app.create_document($1, $2, $3, $4, $5, $6, $7::json::jsonb)::text";
    let metadata = document.metadata.unwrap_or_else(|| Value::Object(Default::default()));
    let created = client
        .query_one(
            call,
            &[
                &tenant.as_str(),
                &principal.sub,
                &document.name,
                &document.url,
                &document.size,
                &document.mime_type,
                &metadata,
            ],
        )
        .await
        .map_err(refused)?;
    let created: Value = serde_json::from_str(created.get(0)).unwrap_or_default();
    Ok(json(StatusCode::CREATED, &created))
}

fn refused(error: tokio_postgres::Error) -> Problem {
    match error.as_db_error().map(|db| db.code().code().to_owned()).as_deref() {
        Some("3F000" | "42883" | "42P01") => Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "no_application",
            "this database has no functions in schema tidings_app; see `tidings migrate --app`",
        ),
        Some("23503") => Problem::field("tenant", "this tenant or user is not in the application's tables"),
        Some(code) if code == "23514" || code.starts_with("22") || code.starts_with("54") => Problem::field(
            "body",
            "url, mime_type or metadata holds NUL, or metadata is not an object that jsonb can hold",
        ),
        _ => error.into(),
    }
}
