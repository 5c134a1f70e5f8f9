//! The pages and their assets, compiled in as `npm run build` in `web/` made them.
//!
//! Invariant: a page runs nothing and talks to nobody that its policy does not name: scripts and styles are files of this
//! server (`a_page_runs_under_a_policy_that_lets_in_files_of_this_server_only`).
//!
//! Why fixed names and a tag, and not a hash in each name: the pages of two versions behind one balancer then find each
//! other's files, and a file that has not changed costs a 304.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use warp::http::{HeaderValue, Method};
use warp::reply::Response;

use super::State;
use super::problem::Problem;
use super::published::Published;
use super::route::{Request, Route, route};
use super::sign_in;

const INDEX: &str = "/";
const NOTIFICATIONS: &str = "/notifications";
const CHAT: &str = "/admin/chat";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Files of `web/dist`, by their names there.
macro_rules! files {
    ($($name:literal: $kind:ident,)*) => {
        static FILES: LazyLock<BTreeMap<&str, Published>> = LazyLock::new(|| BTreeMap::from([$((
            $name,
            Published::new($kind, Bytes::from_static(include_bytes!(concat!("../../web/dist/", $name)))),
        ),)*]));
    };
}

files! {
    "index.html": HTML,
    "index.js": SCRIPT,
    "index.css": STYLE,
    "notifications.html": HTML,
    "notifications.js": SCRIPT,
    "notifications.css": STYLE,
    "chat.html": HTML,
    "chat.js": SCRIPT,
    "chat.css": STYLE,
    "client.js": SCRIPT,
}

/// The pages, and what they load.
pub fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, INDEX, index),
        route(Method::GET, NOTIFICATIONS, notifications),
        route(Method::GET, CHAT, chat),
        route(Method::GET, "/assets/{file}", asset),
    ]
}

async fn index(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    page(&state, request, INDEX, "index.html").await
}

async fn notifications(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    page(&state, request, NOTIFICATIONS, "notifications.html").await
}

async fn chat(state: Arc<State>, request: Request) -> Result<Response, Problem> {
    page(&state, request, CHAT, "chat.html").await
}

/// Public: what a page shows, it asks for with the credential of whoever looks at it.
async fn page(state: &State, request: Request, path: &'static str, file: &'static str) -> Result<Response, Problem> {
    // Programs that look at links before people do ask with HEAD: that does not use the ticket up.
    if let (Some(ticket), &Method::GET) = (request.call.query("ticket"), &request.method) {
        return sign_in::by_ticket(state, &request.call, path, ticket).await;
    }
    let mut response = FILES.get(file).ok_or_else(Problem::not_found)?.answer(&request.call);
    let headers = response.headers_mut();
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("content-security-policy", policy(&state.settings.pages.connect));
    Ok(response)
}

async fn asset(_: Arc<State>, request: Request) -> Result<Response, Problem> {
    let file = request.raw(0);
    // Pages have addresses of their own, with their policy.
    let found = FILES.get(file).filter(|_| !file.ends_with(".html"));
    let mut response = found.ok_or_else(Problem::not_found)?.answer(&request.call);
    // Browsers load modules of another origin only where that lets everybody: these hold nobody's data.
    response.headers_mut().insert("access-control-allow-origin", HeaderValue::from_static("*"));
    Ok(response)
}

/// Scripts and styles are files of this server; row data that is shown as if it were markup would run nothing.
fn policy(connect: &[String]) -> HeaderValue {
    let elsewhere: String = connect.iter().map(|origin| format!(" {origin}")).collect();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'{elsewhere}; img-src 'self' data:; \
         font-src 'self'; media-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    // Origins are checked when the configuration is read; were one no header's value, nothing is let in.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}
