//! One row for each route: how one tenant would try to reach another through it, and with which right the other does so itself.

use serde_json::{Value, json};

/// What a caller is to the tenant whose things a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Ann,
    Service,
    Admin,
}

/// One request. `{tenant}` stands for a tenant, `{id}` for a thing of the tenant that is attacked.
#[derive(Debug)]
pub struct Row {
    pub method: &'static str,
    pub route: &'static str,
    /// Behind `/v1/tenants/{tenant}/`.
    pub rest: &'static str,
    pub body: Option<Value>,
    /// That thing, and one of this kind that never was. Empty where the request names none.
    pub id: (&'static str, &'static str),
    pub who: Who,
    /// What the tenant itself gets.
    pub own: u16,
    /// What others get who name the thing below their own address.
    pub theirs: u16,
}

fn row(method: &'static str, route: &'static str, rest: &'static str, who: Who, own: u16) -> Row {
    Row { method, route, rest, body: None, id: ("", ""), who, own, theirs: 0 }
}

impl Row {
    fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    fn id(self, theirs: &'static str, never: &'static str, status: u16) -> Self {
        Self { id: (theirs, never), theirs: status, ..self }
    }

    /// The request as it is made for one tenant, naming one thing.
    pub fn at(&self, tenant: &str, id: &str, connection: &str) -> (String, Option<Value>) {
        let fill =
            |text: &str| text.replace("{id}", id).replace("{tenant}", tenant).replace("{connection}", connection);
        let body = self.body.as_ref().map(|body| serde_json::from_str(&fill(&body.to_string())).unwrap());
        (format!("/v1/tenants/{tenant}/{}", fill(self.rest)), body)
    }

    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.rest)
    }
}

/// In an order in which the tenant itself finds what it needs. Ids are those of the site.
pub fn rows() -> Vec<Row> {
    [events(), documents(), notifications(), chat()].into_iter().flatten().collect()
}

fn events() -> Vec<Row> {
    use Who::{Ann, Service};
    let (all, one) = ("/v1/tenants/{tenant}/events", "/v1/tenants/{tenant}/watched/{table}/{key}");
    vec![
        row("GET", all, "events", Ann, 200),
        row("GET", all, "events?types=documents.*&subject={id}", Ann, 200).id("doc_b", "doc_x", 200),
        row("GET", all, "events?after={event}", Ann, 200),
        row("GET", all, "events?wait=1&types=quartz.*", Ann, 200),
        row("POST", all, "events", Service, 201)
            .body(json!({"type": "n", "subject": "{id}", "audience": "ann"}))
            .id("doc_b", "doc_x", 201),
        row("GET", "/v1/tenants/{tenant}/watched/{table}", "watched/documents?keys={id}", Ann, 200)
            .id("doc_b", "doc_x", 200),
        row("GET", "/v1/tenants/{tenant}/watched/{table}", "watched/things?keys={id}", Ann, 200)
            .id("77001", "77002", 200),
        row("GET", one, "watched/documents/{id}", Ann, 200).id("doc_b", "doc_x", 404),
        row("GET", one, "watched/things/{id}", Ann, 200).id("77001", "77002", 404),
    ]
}

fn documents() -> Vec<Row> {
    use Who::Ann;
    let (all, one) = ("/v1/tenants/{tenant}/documents", "/v1/tenants/{tenant}/documents/{id}");
    let status = "/v1/tenants/{tenant}/documents/status";
    vec![
        row("GET", all, "documents", Ann, 200),
        row("GET", all, "documents?after={event}", Ann, 200),
        row("GET", all, "documents?after=p.1795187851418752.{id}", Ann, 200).id("doc_b", "doc_x", 200),
        row("GET", one, "documents/{id}", Ann, 200).id("doc_b", "doc_x", 404),
        row("POST", all, "documents", Ann, 201)
            .body(json!({"name": "n", "metadata": {"about": "{id}"}}))
            .id("doc_b", "doc_x", 201),
        row("POST", status, "documents/status", Ann, 200)
            .body(json!({"document_ids": ["{id}"]}))
            .id("doc_b", "doc_x", 200),
        row("GET", status, "documents/status?ids={id}", Ann, 200).id("doc_b", "doc_x", 200),
        row("POST", "/v1/tenants/{tenant}/documents/{id}/retry", "documents/{id}/retry", Ann, 200)
            .id("doc_b", "doc_x", 404),
        row("PUT", "/v1/tenants/{tenant}/uploads/{name}", "uploads/{id}", Ann, 201).body(json!({})).id(
            "quartz.pdf",
            "granite.pdf",
            201,
        ),
    ]
}

fn notifications() -> Vec<Row> {
    use Who::{Ann, Service};
    let (all, one) = ("/v1/tenants/{tenant}/notifications", "/v1/tenants/{tenant}/notifications/{id}");
    let preferences = "/v1/tenants/{tenant}/preferences";
    vec![
        row("GET", all, "notifications?archived=true", Ann, 200),
        row("GET", all, "notifications?since={event}", Ann, 200),
        row("GET", all, "notifications?before=p.1795187851418752.{id}", Ann, 200).id("ntf_b", "ntf_x", 200),
        row("POST", all, "notifications", Service, 201).body(json!({"type": "n", "title": "t", "message": "m"})),
        row("PATCH", one, "notifications/{id}", Ann, 200).body(json!({"read": true})).id("ntf_b", "ntf_x", 404),
        row("PATCH", one, "notifications/{id}", Ann, 200).body(json!({"archived": true})).id("ntf_b", "ntf_x", 404),
        row("GET", "/v1/tenants/{tenant}/notifications/counts", "notifications/counts", Ann, 200),
        row("POST", "/v1/tenants/{tenant}/notifications/seen", "notifications/seen", Ann, 200),
        row("POST", "/v1/tenants/{tenant}/notifications/read-all", "notifications/read-all", Ann, 200),
        row("GET", preferences, "preferences", Ann, 200),
        row("PATCH", preferences, "preferences", Ann, 200).body(json!({"email": false})),
    ]
}

fn chat() -> Vec<Row> {
    use Who::{Admin, Ann};
    const ALL: &str = "/v1/tenants/{tenant}/chat/sessions";
    const ONE: &str = "/v1/tenants/{tenant}/chat/sessions/{session}";
    const MESSAGES: &str = "/v1/tenants/{tenant}/chat/sessions/{session}/messages";
    const VIEW: &str = "/v1/tenants/{tenant}/chat/sessions/{session}/view";
    const FOLLOW_UP: &str = "/v1/tenants/{tenant}/chat/sessions/{session}/follow-up";
    let look = json!({"connection": "{connection}"});
    let said = json!({"id": "msg_b", "content": "quartz"});
    let edited = json!({"content": "an edit that is long enough"});
    // Of three sessions: one to be ended, one to be assigned, one that stays.
    let of = |row: Row| row.id("chs_b", "chs_x", 404);
    vec![
        row("GET", ALL, "chat/sessions?q=quartz", Admin, 200),
        row("GET", ALL, "chat/sessions?before=p.1795187851418752.{id}", Ann, 200).id("chs_b", "chs_x", 200),
        row("POST", ALL, "chat/sessions", Ann, 201).body(json!({"subject": "n"})),
        of(row("GET", ONE, "chat/sessions/{id}", Ann, 200)),
        of(row("GET", ONE, "chat/sessions/{id}", Admin, 200)),
        of(row("GET", MESSAGES, "chat/sessions/{id}/messages", Ann, 200)),
        of(row("GET", MESSAGES, "chat/sessions/{id}/messages?after={event}", Admin, 200)).id("chs_b", "chs_x", 410),
        of(row("POST", MESSAGES, "chat/sessions/{id}/messages", Ann, 200)).body(said.clone()),
        of(row("POST", MESSAGES, "chat/sessions/{id}/messages", Admin, 201)).body(json!({"content": "n"})),
        // The id of a message is its session's own.
        row("POST", MESSAGES, "chat/sessions/chs_{tenant}/messages", Ann, 201)
            .body(json!({"id": "{id}", "content": "other"}))
            .id("msg_b", "msg_x", 201),
        of(row("POST", "/v1/tenants/{tenant}/chat/sessions/{session}/typing", "chat/sessions/{id}/typing", Ann, 204)),
        of(row("PUT", VIEW, "chat/sessions/{id}/view", Admin, 204)).body(look.clone()),
        row("GET", "/v1/tenants/{tenant}/chat/presence", "chat/presence", Admin, 200),
        row("DELETE", VIEW, "chat/sessions/{id}/view", Admin, 204).body(look).id("chs_b", "chs_x", 204),
        row("GET", "/v1/tenants/{tenant}/chat/metrics", "chat/metrics", Admin, 200),
        of(row("POST", FOLLOW_UP, "chat/sessions/{id}/follow-up", Ann, 202)).body(edited),
        of(row("POST", "/v1/tenants/{tenant}/chat/sessions/{session}/assign", "chat/sessions/{id}/assign", Admin, 200))
            .id("chs_b2", "chs_x2", 404),
        of(row("POST", "/v1/tenants/{tenant}/chat/sessions/{session}/end", "chat/sessions/{id}/end", Admin, 200)),
        of(row(
            "POST",
            "/v1/tenants/{tenant}/chat/sessions/{session}/archive",
            "chat/sessions/{id}/archive",
            Admin,
            200,
        )),
    ]
}

/// Routes that stand below no tenant, and the test that keeps tenants apart there.
pub const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("GET", "/v1/events", "an_admin_sees_all_tenants_or_those_of_the_claim"),
    ("GET", "/v1/ws", "a_socket_of_one_tenant_reaches_nothing_of_another"),
    ("POST", "/v1/tickets", "no_credential_of_one_tenant_opens_a_route_of_another"),
    ("PATCH", "/v1/connections/{connection}", "a_connection_of_another_tenant_is_not_there"),
    ("DELETE", "/v1/connections/{connection}", "a_connection_of_another_tenant_is_not_there"),
    ("GET", "/v1/revocations", "an_admin_revokes_in_their_own_tenants_only"),
    ("POST", "/v1/revocations", "an_admin_revokes_in_their_own_tenants_only"),
    ("DELETE", "/v1/revocations/{id}", "an_admin_revokes_in_their_own_tenants_only"),
    ("POST", "/v1/webhooks/{source}", "a_source_of_one_tenant_writes_for_no_other"),
    ("GET", "/v1/unsubscribe/{token}", "a_link_to_unsubscribe_is_one_persons_of_one_tenant"),
    ("POST", "/v1/unsubscribe/{token}", "a_link_to_unsubscribe_is_one_persons_of_one_tenant"),
    ("GET", "/v1/status", WITHOUT_TENANT),
    ("GET", "/v1/session", WITHOUT_TENANT),
    ("DELETE", "/v1/session", WITHOUT_TENANT),
    ("GET", "/v1/sign-in", WITHOUT_TENANT),
    ("GET", "/v1/stats", WITHOUT_TENANT),
    ("GET", "/v1/openapi.json", WITHOUT_TENANT),
    ("GET", "/v1/asyncapi.json", WITHOUT_TENANT),
    ("GET", "/livez", WITHOUT_TENANT),
    ("GET", "/readyz", WITHOUT_TENANT),
    ("GET", "/metrics", WITHOUT_TENANT),
    ("GET", "/", WITHOUT_TENANT),
    ("GET", "/notifications", WITHOUT_TENANT),
    ("GET", "/admin/chat", WITHOUT_TENANT),
    ("GET", "/assets/{file}", WITHOUT_TENANT),
];

pub const WITHOUT_TENANT: &str = "what_belongs_to_no_tenant_tells_of_none";
