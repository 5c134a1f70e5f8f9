//! The server itself: what clients, load balancers and operators ask, and the page.

use serde_json::{Value, json};
use warp::http::Method;

use super::operation::{Operation, operation};
use super::schema::{anything, count, flag, list, nullable, number, object, one_of, said, shared, text};

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
        operation(Method::GET, "/livez", TAG, "live", "Whether the process is alive")
            .public()
            .answers(200, "It is.", object([("live", json!({"const": true}))]))
            .refuses(&[503]),
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
        operation(Method::GET, "/v1/sign-in", TAG, "whereToSignIn", "Where people sign in")
            .public()
            .answers(200, "What `pages.sign_in` says.", shared("SignIn")),
        operation(Method::DELETE, "/v1/session", TAG, "signOut", "Take the pages' cookie away")
            .about("From a page of this host or of `http.origins` only. A token that was in the cookie is good until it expires.")
            .public()
            .answers_bare(204, "It is taken away, if it was there.")
            .carries(204, "set-cookie", text(), "An empty one, which has expired.")
            .refuses(&[403]),
        page("/", "page", "What tidings is, live"),
        page("/notifications", "notificationsPage", "The notification centre"),
        page("/admin/chat", "chatPage", "Chats of a tenant, for admins"),
        kept(operation(Method::GET, "/assets/{file}", TAG, "asset", "What the pages load").public())
            .answers_as(200, "A script.", "text/javascript", text())
            .answers_as(200, "A style sheet.", "text/css", text())
            .carries(200, "etag", text(), "Of this build.")
            .refuses(&[404]),
    ]
}

fn page(path: &'static str, id: &str, summary: &str) -> Operation {
    kept(operation(Method::GET, path, TAG, id, summary).public())
        .about("With a ticket: signing in to it. A browser whose ticket is spent is led to the page, with `#sign-in=spent`.")
        .query("ticket", text(), "Becomes an HttpOnly cookie.")
        .answers_as(200, "The page.", "text/html", text())
        .carries(200, "etag", text(), "Of this build.")
        .carries(200, "content-security-policy", text(), "Scripts, styles and connections of this server only.")
        .answers_bare(303, "The page is at Location, without the ticket.")
        .carries(303, "location", text(), "The page, with the rest of the query.")
        .refuses(&[401, 501, 503])
}

/// What a client may hold already.
fn kept(operation: Operation) -> Operation {
    operation
        .header("if-none-match", text(), "An ETag of an earlier answer: what is still the same is not sent again.")
        .answers_bare(304, "Nothing has changed.")
        .carries(304, "etag", text(), "Of this build.")
}

fn unsubscribing(method: Method, id: &str, summary: &str) -> Operation {
    operation(method, "/v1/unsubscribe/{token}", TAG, id, summary)
        .public()
        .answers_as(200, "A page.", "text/html", text())
        .refuses(&[404])
}

fn described(path: &'static str, id: &str, summary: &str) -> Operation {
    kept(operation(Method::GET, path, TAG, id, summary).public()).answers(200, "The document.", anything()).carries(
        200,
        "etag",
        text(),
        "Of this build.",
    )
}

/// Schemas that they share.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let connection = object([
        ("connection", text()),
        ("sub", text()),
        ("transport", one_of(&["websocket", "sse", "json"])),
        ("client", said(nullable(text()), "What it calls itself.")),
        ("tenants", list(text())),
        ("age_s", count()),
    ]);
    let rates = object([("events_per_second", nullable(number())), ("deliveries_per_second?", number())]);
    let drops = object([
        ("slow", said(count(), "Connections that stayed behind for too long.")),
        ("unavailable", said(count(), "Connections whose replay could not be read.")),
        ("resets", said(count(), "Subscribers told to fetch their state again.")),
        ("refused", said(count(), "Requests refused for their credential or as too many.")),
        ("undecodable", said(count(), "Notifications that could not be read.")),
        ("channels_lost", said(count(), "Notifications of plain channels dropped while the log was read.")),
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
            "SignIn",
            object([(
                "url",
                said(
                    nullable(text()),
                    "A URL or a path, in which `{page}` stands for the page's address; null: not known.",
                ),
            )]),
        ),
        (
            "Stats",
            object([
                ("ready", flag()),
                ("uptime_s", count()),
                ("lag_ms", said(nullable(count()), "What was committed before so long has been dispatched.")),
                (
                    "rates",
                    said(
                        rates,
                        "Over the last ten seconds, of your tenants; null where there are too many to look at.",
                    ),
                ),
                ("tenants", said(count(), "Of yours, those that anybody is connected for.")),
                ("connections", list(connection)),
                ("drops?", said(drops, "Since the start.")),
                ("rings?", object([("tenants", count()), ("events", count()), ("bytes", count())])),
                ("events_total?", count()),
                ("listener_reconnects_total?", count()),
            ]),
        ),
    ]
}
