//! One row for each call of a route, in an order in which each finds what it needs. A route is a row.

use serde_json::{Value, json};

use crate::support::{admin, member, token};

/// One call. `{connection}` stands for a live stream of ann's, `{ticket}` for a fresh ticket.
pub struct Row {
    pub method: &'static str,
    pub route: &'static str,
    pub path: &'static str,
    pub who: Who,
    pub body: Option<Value>,
    pub headers: Vec<(&'static str, &'static str)>,
    pub status: u16,
}

/// With whose credential.
#[derive(Clone, Copy)]
pub enum Who {
    Nobody,
    Ann,
    Service,
    Admin,
}

impl Who {
    pub fn token(self) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Ann => Some(member("acme")),
            Self::Service => Some(token(json!({"sub": "bot", "tenant": "acme", "role": "service"}))),
            Self::Admin => Some(admin()),
        }
    }
}

fn row(method: &'static str, route: &'static str, path: &'static str, who: Who, status: u16) -> Row {
    Row { method, route, path, who, body: None, headers: Vec::new(), status }
}

impl Row {
    fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// In an order in which each finds what it needs.
pub fn rows() -> Vec<Row> {
    [server(), events(), documents(), notifications(), chat(), connections()].into_iter().flatten().collect()
}

fn server() -> Vec<Row> {
    use Who::{Admin, Ann, Nobody};
    vec![
        row("GET", "/", "/", Nobody, 200),
        row("GET", "/", "/?ticket={ticket}", Nobody, 303),
        row("GET", "/", "/?ticket=spent", Nobody, 401),
        row("GET", "/", "/", Nobody, 304).header("if-none-match", "*"),
        row("GET", "/notifications", "/notifications", Nobody, 200),
        row("GET", "/notifications", "/notifications?ticket={ticket}", Nobody, 303),
        row("GET", "/admin/chat", "/admin/chat", Nobody, 200),
        row("GET", "/assets/{file}", "/assets/index.js", Nobody, 200),
        row("GET", "/assets/{file}", "/assets/index.css", Nobody, 200),
        row("GET", "/assets/{file}", "/assets/index.css", Nobody, 304).header("if-none-match", "*"),
        row("GET", "/assets/{file}", "/assets/other.js", Nobody, 404),
        row("GET", "/v1/sign-in", "/v1/sign-in", Nobody, 200),
        row("DELETE", "/v1/session", "/v1/session", Nobody, 204).header("origin", "{own}"),
        row("DELETE", "/v1/session", "/v1/session", Nobody, 403),
        row("GET", "/livez", "/livez", Nobody, 200),
        row("GET", "/readyz", "/readyz", Nobody, 200),
        row("GET", "/metrics", "/metrics", Nobody, 200),
        row("GET", "/v1/openapi.json", "/v1/openapi.json", Nobody, 200),
        row("GET", "/v1/openapi.json", "/v1/openapi.json", Nobody, 304).header("if-none-match", "*"),
        row("GET", "/v1/asyncapi.json", "/v1/asyncapi.json", Nobody, 200),
        row("GET", "/v1/status", "/v1/status", Ann, 200),
        row("GET", "/v1/status", "/v1/status?a=1&a=2", Ann, 422),
        row("GET", "/v1/session", "/v1/session", Ann, 200),
        row("GET", "/v1/session", "/v1/session", Admin, 200),
        row("GET", "/v1/stats", "/v1/stats", Admin, 200),
        row("GET", "/v1/stats", "/v1/stats", Ann, 403),
        row("POST", "/v1/revocations", "/v1/revocations", Admin, 201).body(json!({"sub": "gone", "tenant": "acme"})),
        row("POST", "/v1/revocations", "/v1/revocations", Admin, 422).body(json!({})),
        row("POST", "/v1/revocations", "/v1/revocations", Ann, 403).body(json!({"sub": "gone"})),
        row("GET", "/v1/revocations", "/v1/revocations?limit=1", Admin, 200),
        row("DELETE", "/v1/revocations/{id}", "/v1/revocations/1", Admin, 204),
        row("DELETE", "/v1/revocations/{id}", "/v1/revocations/1", Admin, 404),
    ]
}

fn events() -> Vec<Row> {
    use Who::{Admin, Ann, Service};
    let (one, all) = ("/v1/tenants/{tenant}/events", "/v1/events");
    let (rows, key) = ("/v1/tenants/{tenant}/watched/{table}", "/v1/tenants/{tenant}/watched/{table}/{key}");
    vec![
        row("POST", one, "/v1/tenants/acme/events", Service, 201)
            .header("idempotency-key", "k")
            .body(json!({"type": "invoice.paid", "subject": "7", "data": {"sum": 3}})),
        row("POST", one, "/v1/tenants/acme/events", Service, 422)
            .header("idempotency-key", "k")
            .body(json!({"type": "other"})),
        row("POST", one, "/v1/tenants/acme/events", Ann, 403).body(json!({"type": "invoice.paid"})),
        row("POST", one, "/v1/tenants/acme/events", Service, 415),
        row("GET", one, "/v1/tenants/acme/events?limit=2&types=documents.*,*.paid", Ann, 200),
        row("GET", one, "/v1/tenants/acme/events", Ann, 200).header("accept", "text/event-stream"),
        row("GET", one, "/v1/tenants/acme/events", Ann, 406).header("accept", "image/png"),
        row("GET", one, "/v1/tenants/acme/events?limit=0", Ann, 422),
        row("GET", one, "/v1/tenants/%00/events", Ann, 404),
        row("GET", one, "/v1/tenants/acme/events?after=999999999-999999999-deadbeef", Ann, 410),
        row("GET", all, "/v1/events?limit=1", Admin, 200),
        row("GET", all, "/v1/events", Ann, 403),
        row("GET", rows, "/v1/tenants/acme/watched/documents?keys=doc_1,doc_2", Ann, 200),
        row("GET", rows, "/v1/tenants/acme/watched/documents", Ann, 422),
        row("GET", key, "/v1/tenants/acme/watched/documents/doc_1", Ann, 200),
        row("GET", key, "/v1/tenants/acme/watched/documents/none", Ann, 404),
    ]
}

fn documents() -> Vec<Row> {
    use Who::Ann;
    let (all, one) = ("/v1/tenants/{tenant}/documents", "/v1/tenants/{tenant}/documents/{id}");
    let status = "/v1/tenants/{tenant}/documents/status";
    let (retry, upload) = ("/v1/tenants/{tenant}/documents/{id}/retry", "/v1/tenants/{tenant}/uploads/{name}");
    vec![
        row("POST", all, "/v1/tenants/acme/documents", Ann, 201)
            .body(json!({"name": "Plan", "size": 12, "mime_type": "text/plain", "metadata": {"page": 1}})),
        row("POST", all, "/v1/tenants/acme/documents", Ann, 422).body(json!({"name": ""})),
        row("GET", all, "/v1/tenants/acme/documents?limit=1", Ann, 200),
        row("GET", all, "/v1/tenants/acme/documents?after={cursor}", Ann, 200),
        row("GET", one, "/v1/tenants/acme/documents/doc_1", Ann, 200),
        row("GET", one, "/v1/tenants/acme/documents/none", Ann, 404),
        row("POST", retry, "/v1/tenants/acme/documents/doc_2/retry", Ann, 200),
        row("POST", retry, "/v1/tenants/acme/documents/doc_2/retry", Ann, 409),
        row("POST", retry, "/v1/tenants/acme/documents/none/retry", Ann, 404),
        row("PUT", upload, "/v1/tenants/acme/uploads/Plan.json", Ann, 201).body(json!({"any": "bytes"})),
        row("POST", status, "/v1/tenants/acme/documents/status", Ann, 200).body(json!({"document_ids": ["doc_1"]})),
        row("GET", status, "/v1/tenants/acme/documents/status?ids=doc_1", Ann, 200),
    ]
}

fn notifications() -> Vec<Row> {
    use Who::{Ann, Service};
    let all = "/v1/tenants/{tenant}/notifications";
    let preferences = "/v1/tenants/{tenant}/preferences";
    vec![
        row("POST", all, "/v1/tenants/acme/notifications", Service, 201)
            .body(json!({"type": "hint", "title": "A hint", "message": "Look", "metadata": {"n": 1}})),
        row("POST", all, "/v1/tenants/acme/notifications", Ann, 403)
            .body(json!({"type": "hint", "title": "A hint", "message": "Look"})),
        row("GET", all, "/v1/tenants/acme/notifications?unread=true&limit=2", Ann, 200),
        row("GET", all, "/v1/tenants/acme/notifications?since={cursor}", Ann, 200),
        row("GET", all, "/v1/tenants/acme/notifications?since=x", Ann, 422),
        row("PATCH", "/v1/tenants/{tenant}/notifications/{id}", "/v1/tenants/acme/notifications/ntf_1", Ann, 200)
            .body(json!({"read": true})),
        row("PATCH", "/v1/tenants/{tenant}/notifications/{id}", "/v1/tenants/acme/notifications/none", Ann, 404)
            .body(json!({"read": true})),
        row("GET", all, "/v1/tenants/acme/notifications?archived=only&types=document_*", Ann, 200),
        row("GET", all, "/v1/tenants/acme/notifications?archived=some", Ann, 422),
        row("GET", all, "/v1/tenants/acme/notifications?types=a%20b", Ann, 422),
        row("GET", "/v1/tenants/{tenant}/notifications/counts", "/v1/tenants/acme/notifications/counts", Ann, 200),
        row("POST", "/v1/tenants/{tenant}/notifications/seen", "/v1/tenants/acme/notifications/seen", Ann, 200),
        row("POST", "/v1/tenants/{tenant}/notifications/read-all", "/v1/tenants/acme/notifications/read-all", Ann, 200),
        row("GET", preferences, "/v1/tenants/acme/preferences", Ann, 200),
        row("PATCH", preferences, "/v1/tenants/acme/preferences", Ann, 200).body(json!({"email": false})),
    ]
}

fn chat() -> Vec<Row> {
    use Who::{Admin, Ann};
    let (all, one) = ("/v1/tenants/{tenant}/chat/sessions", "/v1/tenants/{tenant}/chat/sessions/{session}");
    let messages = "/v1/tenants/{tenant}/chat/sessions/{session}/messages";
    let view = "/v1/tenants/{tenant}/chat/sessions/{session}/view";
    let session = "/v1/tenants/acme/chat/sessions/chs_1";
    let said = json!({"id": "m1", "content": "Hello"});
    vec![
        row("POST", all, "/v1/tenants/acme/chat/sessions", Ann, 201).body(json!({"subject": "Help"})),
        row("GET", all, "/v1/tenants/acme/chat/sessions?status=waiting,active&q=he", Admin, 200),
        row("GET", all, "/v1/tenants/acme/chat/sessions", Ann, 200),
        row("GET", one, session, Ann, 200),
        row("GET", one, "/v1/tenants/acme/chat/sessions/none", Ann, 404),
        row("POST", messages, "/v1/tenants/acme/chat/sessions/chs_1/messages", Ann, 201).body(said.clone()),
        row("POST", messages, "/v1/tenants/acme/chat/sessions/chs_1/messages", Ann, 200).body(said),
        row("GET", messages, "/v1/tenants/acme/chat/sessions/chs_1/messages?before=end&limit=1", Ann, 200),
        row("GET", messages, "/v1/tenants/acme/chat/sessions/chs_1/messages?after={cursor}", Ann, 200),
        row(
            "POST",
            "/v1/tenants/{tenant}/chat/sessions/{session}/typing",
            "/v1/tenants/acme/chat/sessions/chs_1/typing",
            Ann,
            204,
        ),
        row("PUT", view, "/v1/tenants/acme/chat/sessions/chs_1/view", Admin, 204)
            .body(json!({"connection": "{of the admin}"})),
        row("GET", "/v1/tenants/{tenant}/chat/presence", "/v1/tenants/acme/chat/presence", Admin, 200),
        row("DELETE", view, "/v1/tenants/acme/chat/sessions/chs_1/view", Admin, 204)
            .body(json!({"connection": "{of the admin}"})),
        row("GET", "/v1/tenants/{tenant}/chat/metrics", "/v1/tenants/acme/chat/metrics", Admin, 200),
        row(
            "POST",
            "/v1/tenants/{tenant}/chat/sessions/{session}/assign",
            "/v1/tenants/acme/chat/sessions/chs_1/assign",
            Admin,
            200,
        ),
        row(
            "POST",
            "/v1/tenants/{tenant}/chat/sessions/{session}/end",
            "/v1/tenants/acme/chat/sessions/chs_1/end",
            Admin,
            200,
        ),
        row(
            "POST",
            "/v1/tenants/{tenant}/chat/sessions/{session}/end",
            "/v1/tenants/acme/chat/sessions/chs_1/end",
            Admin,
            409,
        ),
        row(
            "POST",
            "/v1/tenants/{tenant}/chat/sessions/{session}/archive",
            "/v1/tenants/acme/chat/sessions/chs_1/archive",
            Admin,
            200,
        ),
    ]
}

fn connections() -> Vec<Row> {
    use Who::{Admin, Ann};
    let one = "/v1/connections/{connection}";
    vec![
        row("POST", "/v1/tickets", "/v1/tickets", Ann, 201),
        row("GET", "/v1/ws", "/v1/ws", Ann, 426),
        row("GET", "/v1/ws", "/v1/ws", Ann, 101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        row("PATCH", one, "/v1/connections/{connection}", Ann, 200).body(json!({"subscribe": ["chat.*"]})),
        row("PATCH", one, "/v1/connections/none", Ann, 404).body(json!({})),
        row("PATCH", one, "/v1/connections/{connection}", Ann, 422).body(json!({"subscribe": ["a b"]})),
        row("DELETE", one, "/v1/connections/{connection}", Ann, 403),
        row("DELETE", one, "/v1/connections/{connection}", Admin, 204),
    ]
}
