//! `GET /v1/openapi.json`: the routes as an OpenAPI 3.1 document.
//!
//! Place: beside [`routes`](super::routes), from which it is made: it shows what is served and nothing else
//! (`every_route_is_documented_and_nothing_else`). The descriptions stand below, one file per topic; that real answers are as they say
//! is held by `every_route_answers_as_its_description_says`.
//!
//! Why not derived from Rust types: see docs/decisions.md.

mod chat;
mod documents;
mod events;
mod inbound;
mod notifications;
mod operation;
mod refusal;
mod revocations;
pub(super) mod schema;
mod server;

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use warp::http::Method;
use warp::reply::Response;

pub use events::kinds;
use operation::Operation;
pub(super) use refusal::{codes, deduplicated};

use super::call::Call;
use super::credential::COOKIE;
use super::published::Published;
use super::route::Route;

/// Answers with the document.
pub(super) fn answer(call: &Call) -> Response {
    static DOCUMENT: OnceLock<Published> = OnceLock::new();
    DOCUMENT.get_or_init(|| Published::json(&document(&super::routes()))).answer(call)
}

/// Everything that is described, served or not.
pub fn described() -> Vec<(Method, &'static str)> {
    operations().into_iter().map(|operation| (operation.method, operation.path)).collect()
}

/// The document of these routes.
pub fn document(routes: &[Route]) -> Value {
    let served = |operation: &Operation| {
        routes.iter().any(|route| route.method == operation.method && route.path == operation.path)
    };
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations().into_iter().filter(served) {
        let (path, method) = (operation.path.to_owned(), operation.method.as_str().to_ascii_lowercase());
        paths.entry(path).or_insert_with(|| json!({}))[method] = operation.finish();
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tidings",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": "Every GET answers HEAD too. A parameter of the query that is given twice is \
             refused. Streams and sockets are described in /v1/asyncapi.json.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "security": [{"bearer": []}, {"ticket": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "responses": refusal::responses(),
            "headers": {"RequestId": {
                "required": true,
                "description": "That of the request, where it has a harmless one; else a new one.",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
            }},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "HttpOnly. What changes something must come from a page of this host or of \
                 http.origins."},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "Single use; see POST /v1/tickets."},
            },
        },
    })
}

/// Schemas of both documents, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let topics = [
        events::schemas(),
        documents::schemas(),
        notifications::schemas(),
        chat::schemas(),
        inbound::schemas(),
        server::schemas(),
        revocations::schemas(),
    ];
    let shared = topics.into_iter().flatten().chain([("Problem", refusal::schema())]);
    shared.map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn operations() -> Vec<Operation> {
    let topics = [
        events::operations(),
        documents::operations(),
        notifications::operations(),
        chat::operations(),
        inbound::operations(),
        server::operations(),
        revocations::operations(),
    ];
    topics.into_iter().flatten().collect()
}
