//! Documents, notifications of them, and what a user has chosen for themself.

use serde_json::{Value, json};
use warp::http::Method;

use super::operation::{Operation, operation};
use super::schema::{
    also, anything, closed, count, flag, list, nullable, object, one_of, said, shared, short, text, time, whole,
    with_default,
};

const TAG: &str = "Documents";
const STATUS: [&str; 4] = ["uploaded", "processing", "processed", "failed"];

/// Descriptions of these routes.
pub fn operations() -> Vec<Operation> {
    let base = "/v1/tenants/{tenant}/documents";
    let status = "/v1/tenants/{tenant}/documents/status";
    vec![
        operation(Method::GET, base, TAG, "listDocuments", "Documents, newest first; or what changed since a cursor")
            .query(
                "after",
                text(),
                "The `next` of an earlier page; or a cursor: then what changed since, with \
                 `more` and `deleted`.",
            )
            .query("limit", with_default(whole(1, 200), 50), "How many at most.")
            .answers(200, "The list, with the cursor to subscribe from.", shared("DocumentList"))
            .polled()
            .of_application()
            .refuses(&[410]),
        operation(
            Method::POST,
            base,
            TAG,
            "createDocument",
            "Store an uploaded document, and its notification with it",
        )
        .body(shared("NewDocument"))
        .answers(201, "The document. It and its notification are one transaction.", shared("Document"))
        .of_application(),
        operation(Method::GET, "/v1/tenants/{tenant}/documents/{id}", TAG, "getDocument", "One document")
            .answers(200, "The document, with the cursor of its snapshot.", shared("DocumentNow"))
            .polled()
            .of_application(),
        operation(Method::POST, "/v1/tenants/{tenant}/documents/{id}/retry", TAG, "retryDocument", "Process again what failed")
            .about("Back to `processing`, without progress, stage and error; whoever processes documents hears of it by the event. \
                 Only of one that is `failed`.")
            .answers(200, "The document.", shared("Document"))
            .of_application()
            .refuses(&[409]),
        operation(Method::PUT, "/v1/tenants/{tenant}/uploads/{name}", TAG, "upload", "Leave a file with this server")
            .about("Its bytes as the body, of any kind. Then create a document with the `url` of the answer.")
            .bytes()
            .answers(201, "It is kept.", object([("url", said(text(), "For a document of this tenant.")), ("size", said(count(), "Bytes."))]))
            .refuses(&[429, 501, 507]),
        operation(Method::POST, status, TAG, "documentStatus", "How far the processing of these documents is")
            .about("1 to 500 different ids.")
            .body(closed([("document_ids", filled(list(short(1024))))]))
            .answers(200, "Those of this tenant; unknown ids are left out.", list(shared("DocumentStatus")))
            .carries(200, "poll-after-ms", count(), "Ask again after so many milliseconds; 0: not any more.")
            .of_application(),
        operation(Method::GET, status, TAG, "documentStatusIfChanged", "The same, for conditional requests")
            .query("ids", filled(list(short(1024))), "1 to 500 different ids, comma separated.")
            .required()
            .answers(
                200,
                "Those of this tenant; unknown ids are left out.",
                object([("documents", list(shared("DocumentStatus"))), ("poll_after_ms", count())]),
            )
            .polled()
            .of_application(),
    ]
}

fn filled(mut list: Value) -> Value {
    list["minItems"] = 1.into();
    list
}

/// Schemas that they share.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let state = said(one_of(&STATUS), "uploaded → processing → processed or failed.");
    let error = nullable(object([("code", text()), ("message", text())]));
    let progress = said(nullable(whole(0, 100)), "Percent; null where it is not known.");
    let own = [
        ("id", text()),
        ("name", text()),
        ("url", nullable(text())),
        ("size", said(nullable(count()), "Bytes.")),
        ("mime_type", nullable(text())),
        ("metadata", anything()),
        ("status", state.clone()),
        ("stage", said(nullable(text()), "What processing is doing, in a word.")),
        ("progress", progress.clone()),
        ("error", error.clone()),
        ("uploaded_by", said(nullable(text()), "sub of the uploader.")),
        ("created_at", time()),
        ("updated_at", time()),
    ];
    let row = also(object(own.clone()), [("tenant_id", text())]);
    let now = also(object(own.clone()), [("cursor", shared("Cursor")), ("poll_after_ms", count())]);
    vec![
        ("Document", object(own)),
        ("DocumentRow", said(row, "A row of the reference table.")),
        ("DocumentNow", said(now, "A document and the cursor of its snapshot.")),
        (
            "DocumentStatus",
            object([
                ("id", text()),
                ("status", state),
                ("error", error),
                ("progress", progress),
                ("stage", nullable(text())),
            ]),
        ),
        (
            "DocumentList",
            object([
                ("documents", list(shared("Document"))),
                ("cursor", shared("Cursor")),
                ("next?", said(nullable(text()), "The place behind the last one; null when there is none.")),
                ("more?", said(flag(), "Since a cursor: there is more to ask for.")),
                ("deleted?", said(list(text()), "Since a cursor: ids that are gone.")),
                ("poll_after_ms", count()),
            ]),
        ),
        (
            "NewDocument",
            closed([
                ("name", json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "\\S"})),
                ("url?", nullable(json!({"type": "string", "maxLength": 2048}))),
                ("size?", nullable(whole(0, i64::MAX))),
                ("mime_type?", nullable(json!({"type": "string", "maxLength": 255}))),
                ("metadata?", nullable(anything())),
            ]),
        ),
    ]
}
