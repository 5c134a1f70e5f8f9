//! Signing in to the pages: a ticket in a link becomes an HttpOnly cookie; signing out takes it away.
//!
//! An application that has sessions of its own needs none of this: it sets the cookie `tidings` itself, with any token that
//! `[auth]` accepts. See docs/operations.md.
//!
//! Invariant: the ticket is out of the address bar before the page runs
//! (`signing_in_with_a_link_sets_a_cookie_that_no_script_can_read`).

use std::sync::Arc;

use warp::http::{HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::State;
use super::call::Call;
use super::credential::{self, unix_now};
use super::problem::Problem;
use super::route::{Request, Route, route};
use super::status::json;
use crate::auth::{Principal, mint_like};

/// What the pages ask when nobody, or somebody no longer wanted, is signed in.
pub fn routes() -> Vec<Route> {
    vec![route(Method::DELETE, "/v1/session", sign_out), route(Method::GET, "/v1/sign-in", place)]
}

/// Turns the ticket into the cookie and leads to the same page without it. A person who follows a spent link sees the page,
/// which says so; a program gets the refusal.
pub async fn by_ticket(state: &State, call: &Call, page: &str, ticket: &str) -> Result<Response, Problem> {
    let address = call.address(&state.in_force.load());
    state.rates.patience(address, state.rates.credential(ticket), &state.in_force.load().limits)?;
    let signed_in = match credential::redeem(state, ticket).await {
        Ok(principal) => cookie(state, call, principal),
        Err(problem) => {
            credential::wrong(state, address, &problem);
            Err(problem)
        }
    };
    let location = format!("{page}{}", call.query_without("ticket"));
    match signed_in {
        Ok(cookie) => {
            let mut response = lead(&location)?;
            response.headers_mut().insert("set-cookie", cookie);
            Ok(response)
        }
        Err(problem) if call.header("accept").is_some_and(|accept| accept.contains("text/html")) => {
            state.metrics.refused(problem.code);
            // The link again, from a history or a second tab: whoever is signed in stays so.
            if credential::of_cookie(state, call).is_ok() {
                return lead(&location);
            }
            let why = if problem.status == StatusCode::UNAUTHORIZED { "spent" } else { problem.code };
            lead(&format!("{location}#sign-in={why}"))
        }
        Err(problem) => Err(problem),
    }
}

/// A token of this server with the ticket's rights, for as long as those last.
fn cookie(state: &State, call: &Call, principal: Principal) -> Result<HeaderValue, Problem> {
    let refused = |_| {
        Problem::new(StatusCode::NOT_IMPLEMENTED, "no_secret", "pages need [auth] secret to sign their cookie with")
    };
    let age = principal.expires_at.saturating_sub(unix_now());
    let token = mint_like(&principal, age, &state.in_force.load().keys).map_err(refused)?;
    set_cookie(call, &token, age)
}

fn set_cookie(call: &Call, token: &str, age_s: u64) -> Result<HeaderValue, Problem> {
    let local = call.header("host").is_some_and(|host| {
        ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .any(|name| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
    });
    let secure = if local && !call.conn.secure { "" } else { "; Secure" };
    let cookie = format!("{}={token}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}", credential::COOKIE);
    cookie.parse().map_err(|_| Problem::not_found())
}

/// To a page of ours. Browsers carry a fragment over to it where it names none.
fn lead(location: &str) -> Result<Response, Problem> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert("location", location.parse().map_err(|_| Problem::not_found())?);
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// `DELETE /v1/session`: the cookie is taken away, also one that has expired. A token outlives it, as tokens do.
async fn sign_out(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    credential::from_a_page(&state, &request.call)?;
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert("set-cookie", set_cookie(&request.call, "", 0)?);
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /v1/sign-in`: where people sign in, if the operator says so. Public: it is for those without a credential.
async fn place(state: Arc<State>, _: Request) -> Result<Response, Problem> {
    let url = &state.settings.pages.sign_in;
    Ok(json(StatusCode::OK, &serde_json::json!({"url": (!url.is_empty()).then_some(url)})))
}
