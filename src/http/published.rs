//! A file that is the same for everybody for as long as the process lives: made once, answered with an `ETag`.
//!
//! Why not compressed: a proxy in front does that where it matters. With the tag, whoever comes back gets none of it anyway.

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use super::call::Call;

/// Its bytes, what they are, and their tag.
pub struct Published {
    kind: &'static str,
    body: Bytes,
    tag: HeaderValue,
}

impl Published {
    /// These bytes as this media type.
    pub fn new(kind: &'static str, body: Bytes) -> Self {
        let hash: String = Sha256::digest(&body)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        // Hexadecimal digits are always a header's value.
        let tag = HeaderValue::try_from(format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self { kind, body, tag }
    }

    /// A JSON document.
    pub fn json(document: &Value) -> Self {
        Self::new("application/json", document.to_string().into())
    }

    /// 200 with all of it, or 304 where the client holds it already.
    pub fn answer(&self, call: &Call) -> Response {
        let held = call.headers.get_all("if-none-match").iter().filter_map(|value| value.to_str().ok());
        let names = |tag: &str| tag == "*" || tag.trim_start_matches("W/").as_bytes() == self.tag.as_bytes();
        let mut response = if held.flat_map(|list| list.split(',')).any(|tag| names(tag.trim())) {
            let mut unchanged = Response::default();
            *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
            unchanged
        } else {
            let mut whole = Response::new(self.body.clone().into());
            whole.headers_mut().insert("content-type", HeaderValue::from_static(self.kind));
            whole
        };
        let headers = response.headers_mut();
        headers.insert("etag", self.tag.clone());
        // A new version of the server has another one, so it is asked each time; the answer is then 304.
        headers.insert("cache-control", HeaderValue::from_static("public, no-cache"));
        response
    }
}
