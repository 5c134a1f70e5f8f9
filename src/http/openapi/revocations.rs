//! Tokens withdrawn before their time.

use serde_json::{Value, json};
use warp::http::Method;

use super::operation::{Operation, operation};
use super::schema::{closed, count, list, nullable, object, said, shared, short, text, time, whole};

const TAG: &str = "Server";

/// Descriptions of these routes.
pub fn operations() -> Vec<Operation> {
    vec![
        operation(Method::POST, "/v1/revocations", TAG, "revoke", "Withdraw a user's tokens, or one token: admins")
            .about(
                "By `sub`: all that were issued up to now. By `jti`: that one. Within about a second, no instance takes them or a ticket \
                 made with them, and what is open under them ends with 4511. Who administers some tenants revokes in one of these; the \
                 token's other tenants stay.",
            )
            .body(shared("NewRevocation"))
            .answers(201, "It is in force.", shared("Revocation"))
            .refuses(&[403, 429]),
        operation(Method::GET, "/v1/revocations", TAG, "revocations", "What is revoked in your tenants: admins")
            .query("limit", super::schema::with_default(whole(1, 1000), 100), "At most so many, newest first.")
            .query("before", whole(1, i64::MAX), "A `next`: what is older.")
            .answers(
                200,
                "They are in force.",
                object([("revocations", list(shared("Revocation"))), ("next", nullable(count()))]),
            )
            .refuses(&[403]),
        operation(Method::DELETE, "/v1/revocations/{id}", TAG, "unrevoke", "Take a revocation back: admins")
            .answers_bare(204, "Tokens that have not expired are good again.")
            .refuses(&[403, 404]),
    ]
}

/// Schemas that they share.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let tenant = "Null: in all tenants.";
    let mut new = closed([
        ("sub?", said(short(255), "Whose tokens.")),
        ("jti?", said(short(255), "Which token.")),
        ("tenant?", said(nullable(short(255)), "Absent: in the admin's only one, or in all for who administers all.")),
    ]);
    new["oneOf"] = json!([{"required": ["sub"]}, {"required": ["jti"]}]);
    vec![
        ("NewRevocation", new),
        (
            "Revocation",
            object([
                ("id", count()),
                ("tenant", said(nullable(text()), tenant)),
                ("sub", said(nullable(text()), "Whose tokens; null for that of one token.")),
                ("jti_sha256", said(nullable(text()), "Which token: the SHA-256 of its jti.")),
                ("before", said(time(), "A user's tokens that were issued up to then.")),
                ("expires_at", said(time(), "No token lives so long.")),
                ("made_by", said(text(), "The admin's sub, or the role in the database.")),
            ]),
        ),
    ]
}
