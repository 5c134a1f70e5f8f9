//! A document that is the same for everybody for as long as the process lives: made once, answered with an `ETag`.

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use crate::http::call::Call;

/// Its bytes and their tag.
pub struct Published {
    body: Bytes,
    tag: HeaderValue,
}

impl Published {
    /// The document's JSON.
    pub fn new(document: &Value) -> Self {
        let body = document.to_string();
        let hash: String = Sha256::digest(&body)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        // Hexadecimal digits are always a header's value.
        let tag = HeaderValue::try_from(format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self { body: body.into(), tag }
    }

    /// 200 with the document, or 304 where the client holds it already.
    pub fn answer(&self, call: &Call) -> Response {
        let held = call.headers.get_all("if-none-match").iter().filter_map(|value| value.to_str().ok());
        let names = |tag: &str| tag == "*" || tag.trim_start_matches("W/").as_bytes() == self.tag.as_bytes();
        let mut response = if held.flat_map(|list| list.split(',')).any(|tag| names(tag.trim())) {
            let mut unchanged = Response::default();
            *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
            unchanged
        } else {
            let mut whole = Response::new(self.body.clone().into());
            whole.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
            whole
        };
        let headers = response.headers_mut();
        headers.insert("etag", self.tag.clone());
        // A new version of the server has another one, so it is asked each time; the answer is then 304.
        headers.insert("cache-control", HeaderValue::from_static("public, no-cache"));
        response
    }
}
