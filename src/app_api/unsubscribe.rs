//! The link at the end of a letter, RFC 8058: a mail client's POST stops e-mail to its owner; a person's GET shows a button
//! that does the same. A GET changes nothing: mail scanners follow links (`looking_at_the_link_does_not_unsubscribe`).
//!
//! It needs no credential but itself: whoever unsubscribes is seldom signed in.

use std::sync::Arc;

use warp::http::{HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::application;
use crate::auth::unsubscribe;
use crate::http::State;
use crate::http::problem::Problem;
use crate::http::route::{Request, Route, route};

const PATH: &str = "/v1/unsubscribe/{token}";
const ASK: &str =
    "<p>Do you want no more e-mail of this kind?</p><form method=\"post\"><button>Unsubscribe</button></form>";
const DONE: &str = "<p>You will get no more e-mail of this kind.</p>";

/// For whoever has such a link.
pub fn routes() -> Vec<Route> {
    vec![route(Method::GET, PATH, ask), route(Method::POST, PATH, stop)]
}

async fn ask(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    unsubscribe::verify(&state.in_force.load().keys, request.raw(0)).ok_or_else(unknown)?;
    Ok(page(ASK))
}

async fn stop(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    let (tenant, sub) = unsubscribe::verify(&state.in_force.load().keys, request.raw(0)).ok_or_else(unknown)?;
    match application::call(&state, &tenant, "set_preferences", "$2, false", &[&sub]).await {
        // Somebody who is not there any more gets no e-mail either.
        Err(problem) if problem.status != StatusCode::NOT_FOUND => Err(problem),
        _ => Ok(page(DONE)),
    }
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "this link is not complete; use the one in the letter as it is")
}

fn page(text: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"robots\" content=\"noindex\"><title>E-mail</title>{text}"
    );
    let mut response = Response::new(html.into());
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    // The address is the credential.
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    let policy = "default-src 'none'; form-action 'self'; frame-ancestors 'none'";
    headers.insert("content-security-policy", HeaderValue::from_static(policy));
    response
}
