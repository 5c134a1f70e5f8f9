//! The server itself: what clients, load balancers and operators ask, and the page.

use serde_json::{Value, json};
use warp::http::Method;

use super::operation::{Operation, operation};
use super::schema::{anything, count, flag, list, nullable, object, one_of, said, shared, text};

const TAG: &str = "Server";

/// Descriptions of these routes.
pub fn operations() -> Vec<Operation> {
    vec![
        operation(Method::GET, "/v1/status", TAG, "status", "What a client needs to choose push or polling").answers(
            200,
            "The status.",
            shared("Status"),
        ),
        operation(Method::GET, "/v1/session", TAG, "session", "Who the credential says you are").answers(
            200,
            "The caller.",
            shared("Caller"),
        ),
        operation(Method::GET, "/v1/stats", TAG, "stats", "Connections of your tenants: admins")
            .answers(200, "The figures; those of the whole process for admins of all tenants.", shared("Stats"))
            .refuses(&[403]),
        described("/v1/openapi.json", "openapi", "This document"),
        described("/v1/asyncapi.json", "asyncapi", "Streams and sockets, as an AsyncAPI 3 document"),
        operation(Method::GET, "/livez", TAG, "live", "Whether the process is alive").public().answers(
            200,
            "It is.",
            object([("live", json!({"const": true}))]),
        ),
        operation(Method::GET, "/readyz", TAG, "ready", "Whether it listens, has caught up, and is not ending")
            .public()
            .answers(200, "It is ready.", object([("ready", json!({"const": true}))]))
            .refuses(&[503]),
        operation(Method::GET, "/metrics", TAG, "metrics", "Counters, for Prometheus").public().answers_as(
            200,
            "OpenMetrics text.",
            "application/openmetrics-text",
            text(),
        ),
        unsubscribing(Method::GET, "askToUnsubscribe", "The page behind a letter's link; it changes nothing"),
        unsubscribing(Method::POST, "unsubscribe", "No more e-mail to the letter's owner (RFC 8058)")
            .refuses(&[501, 503]),
        operation(Method::GET, "/", TAG, "page", "The page; with a ticket, signing in to it")
            .public()
            .query("ticket", text(), "Becomes an HttpOnly cookie.")
            .answers_as(200, "The page.", "text/html", text())
            .answers_bare(303, "Signed in; the page is at Location.")
            .carries(303, "location", text(), "The page.")
            .refuses(&[401, 501, 503]),
    ]
}

fn unsubscribing(method: Method, id: &str, summary: &str) -> Operation {
    operation(method, "/v1/unsubscribe/{token}", TAG, id, summary)
        .public()
        .answers_as(200, "A page.", "text/html", text())
        .refuses(&[404])
}

fn described(path: &'static str, id: &str, summary: &str) -> Operation {
    let says = "An ETag of an earlier answer: what is still the same is not sent again.";
    operation(Method::GET, path, TAG, id, summary)
        .public()
        .header("if-none-match", text(), says)
        .answers(200, "The document.", anything())
        .carries(200, "etag", text(), "Of this build.")
        .answers_bare(304, "Nothing has changed.")
        .carries(304, "etag", text(), "Of this build.")
}

/// Schemas that they share.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let connection = object([
        ("connection", text()),
        ("sub", text()),
        ("transport", one_of(&["websocket", "sse", "json"])),
        ("tenants", list(text())),
        ("age_s", count()),
    ]);
    vec![
        (
            "Status",
            object([
                ("available", said(flag(), "Whether this server listens and has caught up.")),
                ("transports", list(one_of(&["websocket", "sse", "poll"]))),
                ("version", text()),
            ]),
        ),
        (
            "Caller",
            object([
                ("sub", text()),
                ("role", one_of(&["member", "service", "admin"])),
                ("tenants", said(nullable(list(text())), "null: all.")),
                ("expires_at", said(count(), "Seconds since 1970.")),
            ]),
        ),
        (
            "Stats",
            object([
                ("ready", flag()),
                ("connections", list(connection)),
                ("rings?", object([("tenants", count()), ("events", count()), ("bytes", count())])),
                ("events_total?", count()),
                ("listener_reconnects_total?", count()),
            ]),
        ),
    ]
}
