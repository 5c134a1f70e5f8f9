//! The answer to a poll: with an `ETag`, so that nothing is sent twice, and with when to ask again.
//!
//! Place: behind every GET of the application's tables. The tag is weak and stands for the content without its cursor: the
//! cursor moves with every event of every tenant, and an older one beside the same content loses nothing
//! (`a_poll_that_finds_nothing_new_costs_no_body`).

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use super::application::Object;
use crate::http::call::Call;
use crate::http::status::json;

/// Members that are not content.
const APART: [&str; 2] = ["cursor", "poll_after_ms"];

/// What changes in seconds, because something is being processed.
pub const PROCESSING_MS: u32 = 3000;
/// A part of a list, or a row of a table that we know nothing about.
pub const SOON_MS: u32 = 5000;
/// What waits to be processed.
pub const PENDING_MS: u32 = 10_000;
/// What changes when somebody does something.
pub const QUIET_MS: u32 = 15_000;
/// What will not change any more: stop.
pub const NEVER: u32 = 0;

/// Answers a GET of a list: 200 with the object, `poll_after_ms` and an `ETag`, or 304 where the client holds the same already.
pub fn answer(call: &Call, mut body: Object, poll_after_ms: u32) -> Response {
    if let Ok(number) = RawValue::from_string(poll_after_ms.to_string()) {
        body.insert("poll_after_ms".to_owned(), number);
    }
    one(call, &body, poll_after_ms)
}

/// The same for one thing, which is shown as it is everywhere: when to ask again stands in the header only.
pub fn one(call: &Call, body: &Object, poll_after_ms: u32) -> Response {
    let tag = tag(body);
    let mut response = if holds(call, &tag) {
        let mut unchanged = Response::default();
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        json(StatusCode::OK, body)
    };
    let headers = response.headers_mut();
    // A browser may keep it, and asks each time whether it still holds.
    headers.insert("cache-control", HeaderValue::from_static("private, no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert("etag", tag);
    }
    paced(response, poll_after_ms)
}

/// The header alone, for answers that are no object or no GET.
pub fn paced(mut response: Response, poll_after_ms: u32) -> Response {
    response.headers_mut().insert("poll-after-ms", poll_after_ms.into());
    response
}

/// Members are sorted by name, so the same content gives the same tag.
fn tag(body: &Object) -> String {
    let mut hash = Sha256::new();
    for (name, value) in body.iter().filter(|(name, _)| !APART.contains(&name.as_str())) {
        for part in [name.as_str(), value.get()] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
    }
    let short: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{short}\"")
}

/// Whether `If-None-Match` names the tag; compared weakly, as RFC 9110 wants it there.
fn holds(call: &Call, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let lists = call.headers.get_all("if-none-match").iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|held| held.trim() == "*" || opaque(held) == opaque(tag))
}
