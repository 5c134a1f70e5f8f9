//! The page at `/`, compiled in, and signing in to it: a ticket in a link becomes an HttpOnly cookie.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use warp::http::{HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::State;
use super::call::Call;
use super::credential::{self, unix_now};
use super::problem::Problem;
use crate::auth::{Tenants, TokenRequest};

const INDEX: &str = include_str!("../../web/index.html");

/// `GET /`.
pub async fn index(state: &Arc<State>, call: &Call, method: &Method) -> Result<Response, Problem> {
    // Programs that look at links before people do ask with HEAD: that does not use the ticket up.
    if let (Some(ticket), &Method::GET) = (call.query("ticket"), method) {
        return sign_in(state, call, ticket).await;
    }
    let mut response = Response::new(INDEX.into());
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("content-security-policy", policy());
    Ok(response)
}

async fn sign_in(state: &State, call: &Call, ticket: &str) -> Result<Response, Problem> {
    let principal = credential::redeem(state, ticket).await?;
    let refused = |_| {
        Problem::new(StatusCode::NOT_IMPLEMENTED, "no_secret", "pages need [auth] secret to sign their cookie with")
    };
    let age = principal.expires_at.saturating_sub(unix_now());
    let tenants = match principal.tenants {
        Tenants::Listed(list) => list,
        Tenants::All => Vec::new(),
    };
    let events = (!principal.events.is_any()).then(|| principal.events.to_string());
    let request =
        TokenRequest { sub: principal.sub, tenants, role: principal.role, events, ttl: Duration::from_secs(age) };
    let token = request.mint(&state.settings.verifier).map_err(refused)?;
    let local = call.header("host").is_some_and(|host| {
        ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .any(|name| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
    });
    let secure = if local { "" } else { "; Secure" };
    let cookie = format!("{}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}", credential::COOKIE);
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert("location", HeaderValue::from_static("/"));
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("set-cookie", cookie.parse().map_err(|_| Problem::not_found())?);
    Ok(response)
}

/// The page runs its own script and style, known by their hashes, and talks to this server only.
fn policy() -> HeaderValue {
    static POLICY: OnceLock<HeaderValue> = OnceLock::new();
    let build = || {
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            hash_of("script"),
            hash_of("style")
        );
        HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
    };
    POLICY.get_or_init(build).clone()
}

fn hash_of(element: &str) -> String {
    // Behind the comment at the top, which speaks of both elements.
    let page = INDEX.split_once("-->").map_or(INDEX, |(_, page)| page);
    let content = page.split_once(&format!("<{element}")).and_then(|(_, rest)| rest.split_once('>'));
    let content =
        content.and_then(|(_, rest)| rest.split_once(&format!("</{element}>"))).map_or("", |(content, _)| content);
    format!("sha256-{}", STANDARD.encode(Sha256::digest(content)))
}
