//! Refusals in the document: one component for each status, with the codes that it comes with.
//!
//! Invariant: the codes are those of the table in `docs/protocol.md` (`the_codes_are_those_of_the_protocols_table`), and every refusal
//! that a test meets is one of them (`every_route_answers_as_its_description_says`).

use serde_json::{Map, Value, json};
use warp::http::StatusCode;

use super::schema::{anything, nullable, object, one_of, said, shared, text, whole};

struct Refusal {
    status: u16,
    says: &'static str,
    codes: &'static [&'static str],
}

const REFUSALS: [Refusal; 19] = [
    Refusal {
        status: 400,
        says: "What was sent cannot be read at all.",
        codes: &["bad_json", "bad_handshake", "bad_request", "body_incomplete"],
    },
    Refusal {
        status: 401,
        says: "No valid credential, or no valid signature of a webhook. Get a new one.",
        codes: &[
            "token_missing",
            "token_malformed",
            "token_too_long",
            "token_expired",
            "token_not_yet_valid",
            "token_too_lasting",
            "token_revoked",
            "token_wrong_algorithm",
            "token_wrong_signature",
            "token_wrong_issuer",
            "token_wrong_audience",
            "token_unknown_key",
            "token_claim_missing",
            "token_claim_invalid",
            "ticket_spent",
            "signature_missing",
            "signature_wrong",
            "timestamp_outside",
        ],
    },
    Refusal { status: 403, says: "Not yours.", codes: &["forbidden"] },
    Refusal {
        status: 404,
        says: "It is not there, or not for you: the two look the same.",
        codes: &["not_found", "not_watched", "no_row"],
    },
    Refusal {
        status: 405,
        says: "The header Allow lists the methods of this address.",
        codes: &["method_not_allowed"],
    },
    Refusal { status: 406, says: "None of the media types in Accept is spoken here.", codes: &["not_acceptable"] },
    Refusal { status: 408, says: "The body did not arrive in time.", codes: &["body_late"] },
    Refusal {
        status: 409,
        says: "Somebody else was first, or it is in another state; `current` is how things are now.",
        codes: &["conflict", "webhook_id_reused"],
    },
    Refusal {
        status: 410,
        says: "The cursor is outside retention or of another history: fetch the state again \
            and go on without it.",
        codes: &["cursor_unknown", "history_changed"],
    },
    Refusal { status: 413, says: "The body is larger than http.request_bytes_max.", codes: &["too_large"] },
    Refusal { status: 414, says: "The address is longer than 20 KiB.", codes: &["address_too_long"] },
    Refusal {
        status: 415,
        says: "The body must be application/json, as it is: without Content-Encoding.",
        codes: &["unsupported_media_type", "unsupported_encoding"],
    },
    Refusal {
        status: 422,
        says: "A value cannot be used; `field` names it.",
        codes: &["invalid_field", "idempotency_key_reused"],
    },
    Refusal { status: 426, says: "This address speaks WebSocket only.", codes: &["upgrade_required", "bad_handshake"] },
    Refusal {
        status: 429,
        says: "Wait for as long as Retry-After says.",
        codes: &[
            "too_many_connections",
            "too_many_subscriptions",
            "too_many_requests",
            "too_many_commands",
            "too_many_revocations",
            "too_many_failures",
        ],
    },
    Refusal {
        status: 431,
        says: "The request's head has more than 64 fields or 32 KiB. With more than 96 fields or \
            48 KiB it is answered by what reads it, before there is a request: without a body or an id.",
        codes: &["header_too_large"],
    },
    Refusal {
        status: 501,
        says: "This server is not set up for it; the detail says what its operator can do.",
        codes: &[
            "no_application",
            "bad_application",
            "not_granted",
            "no_responder",
            "no_secret",
            "no_tunnel",
            "no_uploads",
            "not_readable",
            "not_watched_here",
        ],
    },
    Refusal {
        status: 503,
        says: "Not now. Wait for as long as Retry-After says.",
        codes: &[
            "draining",
            "not_ready",
            "stuck",
            "full",
            "busy",
            "database_unavailable",
            "keys_unavailable",
            "uploads_unavailable",
        ],
    },
    Refusal { status: 507, says: "There is no room for the file.", codes: &["uploads_full"] },
];

/// The component of a status.
pub fn reference(status: u16) -> Value {
    json!({"$ref": format!("#/components/responses/{}", name(status))})
}

/// All components, by name.
pub fn responses() -> Map<String, Value> {
    REFUSALS.iter().map(|refusal| (name(refusal.status), response(refusal))).collect()
}

/// The words of a status as one word.
fn name(status: u16) -> String {
    let words = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    words.unwrap_or_default().replace(' ', "")
}

fn response(refusal: &Refusal) -> Value {
    // It may come from what reads heads, and then it has neither headers nor a body.
    if refusal.status == 431 {
        return json!({"description": refusal.says});
    }
    let mut headers = json!({"x-request-id": {"$ref": "#/components/headers/RequestId"}});
    let header = match refusal.status {
        401 => Some(("www-authenticate", text())),
        405 => Some(("allow", text())),
        429 | 503 => Some(("retry-after", whole(0, 86_400))),
        _ => None,
    };
    if let Some((name, schema)) = header {
        headers[name] = json!({"required": true, "schema": schema});
    }
    let mut schema = shared("Problem");
    schema["properties"] = json!({"status": {"const": refusal.status}, "code": {"enum": refusal.codes}});
    json!({"description": refusal.says, "headers": headers, "content": {"application/problem+json": {"schema": schema}}})
}

/// A refusal, as RFC 9457 has it.
pub fn schema() -> Value {
    object([
        ("type", said(text(), "urn:tidings:problem: and the code.")),
        ("title", text()),
        ("status", whole(400, 599)),
        ("code", said(one_of(&deduplicated(codes())), "Stable; clients branch on it.")),
        ("detail", said(text(), "For people: what happened, to what, and what to do.")),
        ("field?", said(text(), "What is wrong, with 422.")),
        ("current?", said(nullable(anything()), "The state as it is now, with 409.")),
    ])
}

/// All codes, some of them with several statuses.
pub fn codes() -> Vec<&'static str> {
    REFUSALS.iter().flat_map(|refusal| refusal.codes).copied().collect()
}

/// Sorted, each once.
pub fn deduplicated(mut codes: Vec<&str>) -> Vec<&str> {
    codes.sort_unstable();
    codes.dedup();
    codes
}
