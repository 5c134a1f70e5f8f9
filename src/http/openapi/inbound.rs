//! Signed webhooks from outside, and polling of watched tables.

use serde_json::{Value, json};
use warp::http::Method;

use super::operation::{Operation, operation};
use super::schema::{anything, list, nullable, object, said, shared, short, text};

/// Descriptions of these routes.
pub fn operations() -> Vec<Operation> {
    let table = "Watched tables";
    vec![
        operation(
            Method::POST,
            "/v1/webhooks/{source}",
            "Inbound webhooks",
            "receiveWebhook",
            "A signed delivery from a processing pipeline",
        )
        .about(
            "[Standard Webhooks](https://www.standardwebhooks.com): no token, but a \
             signature over id, time and body. A delivery that is repeated gets the first \
             answer again.",
        )
        .public()
        .header("webhook-id", short(255), "The delivery.")
        .header("webhook-timestamp", text(), "Seconds since 1970; at most 5 minutes away.")
        .header("webhook-signature", text(), "v1, and the HMAC-SHA256 in base64; several, separated by blanks.")
        .body(anything())
        .answers(200, "What the source's function returned.", json!({}))
        .refuses(&[401, 404, 409, 422, 501, 503]),
        operation(
            Method::GET,
            "/v1/tenants/{tenant}/watched/{table}/{key}",
            table,
            "getWatchedRow",
            "The latest state of one row of a watched table",
        )
        .about("With the columns that events show, for those who may see its events.")
        .answers(200, "The row and the cursor of its snapshot.", shared("WatchedRow"))
        .polled()
        .of_application(),
        operation(
            Method::GET,
            "/v1/tenants/{tenant}/watched/{table}",
            table,
            "getWatchedRows",
            "The same of several rows",
        )
        .query(
            "keys",
            json!({"type": "array", "items": short(1024), "minItems": 1, "maxItems": 100}),
            "Keys, comma separated; one that holds commas is asked for by its own address.",
        )
        .required()
        .answers(200, "Those that are there, in one snapshot.", shared("WatchedRows"))
        .polled()
        .of_application(),
    ]
}

/// Schemas that they share.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let data = || said(nullable(anything()), "As events show it.");
    vec![
        (
            "WatchedRow",
            object([
                ("table", text()),
                ("key", text()),
                ("data", data()),
                ("cursor", shared("Cursor")),
                ("poll_after_ms?", super::schema::count()),
            ]),
        ),
        (
            "WatchedRows",
            object([
                ("table", text()),
                ("rows", list(object([("key", text()), ("data", data())]))),
                ("cursor", shared("Cursor")),
                ("poll_after_ms?", super::schema::count()),
            ]),
        ),
    ]
}
