//! From a request to who is calling. The token itself is read in [`auth`](crate::auth); here is how it is carried.
//!
//! Precedence: `Authorization: Bearer`, `?ticket=`, `?token=` where allowed, the cookie `tidings`. The first that is
//! present decides; a bad one is not saved by a good one behind it.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use warp::http::{HeaderValue, Method, StatusCode};

use super::State;
use super::call::Call;
use super::problem::Problem;
use crate::auth::{AuthError, Principal, Tenants};
use crate::event::TenantId;

/// Name of the cookie.
pub const COOKIE: &str = "tidings";
/// A ticket is good for so long.
pub const TICKET_S: u32 = 30;

/// Whether a request shows a credential, good or bad.
pub fn is_shown(call: &Call) -> bool {
    call.headers.contains_key("authorization")
        || ["ticket", "token"].iter().any(|name| call.query(name).is_some())
        || cookie(call).is_some()
}

/// Who is calling. From an address that has shown too many wrong credentials, others are not looked at for a while.
pub async fn authenticate(state: &State, call: &Call, method: &Method) -> Result<Principal, Problem> {
    let address = call.address(&state.in_force.load());
    let shown = (
        call.headers.get("authorization").map(HeaderValue::as_bytes),
        call.query("ticket"),
        call.query("token"),
        cookie(call),
    );
    let shown = state.rates.credential(shown);
    state.rates.patience(address, shown, &state.in_force.load().limits)?;
    let found = examine(state, call, method).await;
    match &found {
        Ok(_) => state.rates.accepted(shown),
        Err(problem) => wrong(state, address, problem),
    }
    found
}

/// Counts a credential that was wrong. One that is missing or was good until lately is no guess.
pub fn wrong(state: &State, address: IpAddr, problem: &Problem) {
    if problem.status == StatusCode::UNAUTHORIZED && !["token_missing", "token_expired"].contains(&problem.code) {
        state.rates.failed(address, &state.in_force.load().limits);
    }
}

/// Who is calling. What a cookie vouches for must come from an allowed origin: browsers send cookies for any page.
async fn examine(state: &State, call: &Call, method: &Method) -> Result<Principal, Problem> {
    call.once()?;
    if let Some(header) = call.headers.get("authorization") {
        let bearer = header.to_str().ok().and_then(|text| text.split_once(' '));
        let token = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        return verify(state, token.unwrap_or(""));
    }
    if let Some(ticket) = call.query("ticket") {
        return redeem(state, ticket).await;
    }
    if let (true, Some(token)) = (state.in_force.load().query_token, call.query("token")) {
        return verify(state, token);
    }
    let principal = of_cookie(state, call)?;
    if matches!(*method, Method::GET | Method::HEAD) {
        may_read(state, call)?
    } else {
        from_a_page(state, call)?
    };
    Ok(principal)
}

/// Who the cookie says is calling.
pub fn of_cookie(state: &State, call: &Call) -> Result<Principal, Problem> {
    verify(state, &cookie(call).ok_or(AuthError::Missing)?)
}

/// Refuses what a cookie must not vouch for: a request that no page of this host or of an allowed origin made.
pub fn from_a_page(state: &State, call: &Call) -> Result<(), Problem> {
    if call.headers.contains_key("origin") && call.origin_allowed(&state.in_force.load().origins) {
        return Ok(());
    }
    Err(Problem::forbidden("a request with a cookie must come from a page of this host or of http.origins"))
}

/// Refuses what a page elsewhere asks for with the cookie. It could not read the answer, but a stream would take one of the user's places.
fn may_read(state: &State, call: &Call) -> Result<(), Problem> {
    let says = call.headers.contains_key("origin");
    if call.origin_allowed(&state.in_force.load().origins) && (says || !call.is_embedded_elsewhere()) {
        return Ok(());
    }
    Err(Problem::forbidden("a request with a cookie must not come from a page elsewhere; see http.origins"))
}

/// The tenant of a path, for a caller who may enter it.
pub fn enter(principal: &Principal, tenant: &str) -> Result<TenantId, Problem> {
    principal.enter(tenant).ok_or_else(|| Problem::forbidden("this credential is not for this tenant"))
}

/// Reads a token.
pub fn verify(state: &State, token: &str) -> Result<Principal, Problem> {
    let principal = state.in_force.load().verifier.verify(token)?;
    Ok(state.connections.revocations().left(principal, unix_now())?)
}

fn cookie(call: &Call) -> Option<String> {
    let pairs =
        call.headers.get_all("cookie").iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    let mut named = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == COOKIE);
    named.next().map(|(_, value)| value.to_owned())
}

/// A new ticket with the caller's own rights.
pub async fn issue(state: &State, principal: &Principal) -> Result<String, Problem> {
    let ticket = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let tenant = match &principal.tenants {
        Tenants::Listed(tenants) => tenants.first().and_then(|tenant| principal.enter(tenant)),
        Tenants::All => None,
    };
    let client = state.log.client(tenant.as_ref()).await?;
    let insert = "insert into tidings._ticket (hash, claims, expires_at) values ($1, $2::text::json, now() + make_interval(secs => $3))";
    let statement = client.prepare_cached(insert).await?;
    client.execute(&statement, &[&hash(&ticket), &principal.to_claims().to_string(), &f64::from(TICKET_S)]).await?;
    Ok(ticket)
}

/// Uses a ticket up, on whichever instance it was issued.
pub async fn redeem(state: &State, ticket: &str) -> Result<Principal, Problem> {
    let spent = || {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "ticket_spent",
            "this ticket was used, has expired, or never was; fetch a new one",
        )
    };
    if ticket.len() > 128 {
        return Err(spent());
    }
    let client = state.log.client(None).await?;
    let delete = "with used as (delete from tidings._ticket where hash = $1 or expires_at < now() returning hash, claims, expires_at)
                  select claims::text from used where hash = $1 and expires_at >= now()";
    let statement = client.prepare_cached(delete).await?;
    let row = client.query_opt(&statement, &[&hash(ticket)]).await?.ok_or_else(spent)?;
    let claims = serde_json::from_str(row.get(0)).map_err(|_| spent())?;
    let principal = Principal::from_claims(&claims).ok_or_else(spent)?;
    if principal.key.is_some_and(|key| !state.in_force.load().verifier.holds(key)) {
        return Err(AuthError::Revoked.into());
    }
    if principal.expires_at <= unix_now() {
        return Err(AuthError::Expired.into());
    }
    // Made with a token that was revoked since, it is worth what that is worth.
    Ok(state.connections.revocations().left(principal, unix_now())?)
}

fn hash(ticket: &str) -> Vec<u8> {
    Sha256::digest(ticket.as_bytes()).to_vec()
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
