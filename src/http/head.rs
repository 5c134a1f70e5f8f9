//! What the head of a request must be like before any route sees it, whichever HTTP brought it.
//!
//! What two readers could understand differently is refused and not mended: behind a proxy, the difference is how one client's
//! request is smuggled into another's connection. hyper refuses what is no HTTP at all by itself, without a body.

use warp::http::uri::Authority;
use warp::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};

use super::problem::Problem;

/// Of all fields, names and values: room for a token of 16 KiB and what browsers add.
pub const HEAD_BYTES_MAX: usize = 32 << 10;
const FIELDS_MAX: usize = 64;
/// Room for the same token in `?token=`.
const TARGET_BYTES_MAX: usize = 20 << 10;

/// Whether nothing behind this request may be read as another. hyper goes by Transfer-Encoding where there is a Content-Length too,
/// and does not tell; RFC 9112 §6.1 wants the connection closed then. Browsers send no chunks.
pub fn is_last<B>(request: &Request<B>) -> bool {
    request.headers().contains_key("transfer-encoding")
}

/// Refuses a head, or makes of it what the routes expect: a `Host`, also where HTTP/2 calls it otherwise.
pub fn check<B>(request: &mut Request<B>) -> Result<(), Problem> {
    if *request.method() == Method::CONNECT {
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "no_tunnel", "this is no proxy"));
    }
    fits(request)?;
    let headers = request.headers();
    let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all("content-encoding").iter().all(identity) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_encoding",
            "bodies are not unpacked here: send it without content-encoding",
        ));
    }
    let authority = request.uri().authority().cloned();
    let host = host(request.headers(), request.version(), authority.as_ref())?;
    if let (None, Some(authority)) = (host, &authority) {
        let named = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the authority is not a host"))?;
        request.headers_mut().insert("host", named);
    }
    Ok(())
}

fn fits<B>(request: &Request<B>) -> Result<(), Problem> {
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > TARGET_BYTES_MAX) {
        let detail = format!("the address is longer than {TARGET_BYTES_MAX} bytes");
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "address_too_long", detail));
    }
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > FIELDS_MAX || bytes > HEAD_BYTES_MAX {
        let detail = format!("the header has more than {FIELDS_MAX} fields or {HEAD_BYTES_MAX} bytes");
        return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", detail));
    }
    Ok(())
}

/// The `Host`, of which there is exactly one in HTTP/1.1, and which is no other than the target's own where that has one.
fn host<'a>(
    headers: &'a HeaderMap,
    version: Version,
    authority: Option<&Authority>,
) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut hosts = headers.get_all("host").iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() || (version == Version::HTTP_11 && host.is_none()) {
        return Err(bad("a request has exactly one Host"));
    }
    let Some(value) = host else { return Ok(None) };
    let text = value.to_str().ok().filter(|host| !host.contains('@') && host.parse::<Authority>().is_ok());
    let Some(text) = text else { return Err(bad("Host must be a host, and a port if it is not the usual one")) };
    if authority.is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(text)) {
        return Err(bad("the Host is another than that of the address"));
    }
    Ok(host)
}

fn bad(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
}
