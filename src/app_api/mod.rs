//! The application's own resources, reached only through SQL functions in schema `tidings_app`, so that a DBA whose
//! tables look different replaces those functions and touches no Rust. What the functions take and return stands in
//! `docs/application.md`.

mod application;
mod changes;
pub mod chat;
mod documents;
mod fields;
mod follow_up;
mod inbound;
mod notifications;
mod polling;
mod preferences;
mod unsubscribe;
mod watched;

use crate::http::route::Route;

/// All routes that are about the application's tables: below `/v1/tenants/{tenant}`, the door for webhooks, and the link in letters.
pub fn routes() -> Vec<Route> {
    [
        documents::routes(),
        notifications::routes(),
        preferences::routes(),
        chat::routes(),
        follow_up::routes(),
        inbound::routes(),
        unsubscribe::routes(),
        watched::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
