//! Every route once as it is meant to be called, without a credential, and with another tenant's.

use std::collections::BTreeSet;

use serde_json::json;
use tidings::http::{openapi, routes};

use super::contract::Contract;
use super::rows::{Row, rows};
use crate::support::{Answer, Bridge, Database, Folder, Sse, admin, member, token};

/// Without a row, because they are signed or need another server: each stands beside the other tests of its own.
const ELSEWHERE: &[&str] =
    &["/v1/webhooks/{source}", "/v1/unsubscribe/{token}", "/v1/tenants/{tenant}/chat/sessions/{session}/follow-up"];

/// What the rows speak of.
async fn arranged() -> (Database, Bridge, Folder) {
    let db = Database::new().await;
    db.run(
        "insert into documents (id, tenant_id, name) values ('doc_1', 'acme', 'Plan');
         insert into documents (id, tenant_id, name, status, error) values ('doc_2', 'acme', 'Torn', 'failed', '{\"code\": \"torn\", \"message\": \"No pages\"}');
         insert into notifications (id, tenant_id, type, title, message) values ('ntf_1', 'acme', 'hint', 'A hint', 'Look');
         insert into chat_sessions (id, tenant_id, user_id, subject) values ('chs_1', 'acme', 'ann', 'Help')",
    )
    .await;
    let folder = Folder::new();
    let bridge = Bridge::with(&db.url, &[("uploads.directory", folder.path())]).await;
    (db, bridge, folder)
}

async fn send(bridge: &Bridge, row: &Row, path: &str, token: Option<&str>) -> Answer {
    let mut request = bridge.request(row.method, path);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = &row.body {
        request = request.json(body);
    }
    for (name, value) in &row.headers {
        request = request.header(*name, value.replace("{own}", &format!("http://{}", bridge.address)));
    }
    Answer::of(request).await
}

fn name(row: &Row) -> String {
    format!("{} {} → {}", row.method, row.path, row.status)
}

#[tokio::test]
async fn every_route_answers_as_its_description_says() {
    let (db, bridge, _folder) = arranged().await;
    let contract = Contract::of_routes(openapi::document(&routes()));
    let before = db.text("select tidings.cursor()").await;
    db.run("update documents set stage = 'read'").await;
    let stream = Sse::open(&bridge, &member("acme"), "acme", "?types=documents.*").await;
    let watching = Sse::open(&bridge, &admin(), "acme", "").await;
    let mut called = BTreeSet::new();
    for mut row in rows() {
        let Some(operation) = contract.operation(row.method, row.route) else { continue };
        let mut path = row.path.replace("{connection}", stream.hello["connection"].as_str().unwrap());
        path = path.replace("{cursor}", &before);
        if path.contains("{ticket}") {
            let (_, ticket) = bridge.post_as(&member("acme"), "/v1/tickets", &json!({})).await;
            path = path.replace("{ticket}", ticket["ticket"].as_str().unwrap());
        }
        if row.body.as_ref().is_some_and(|body| body["connection"] == "{of the admin}") {
            row.body = Some(json!({"connection": watching.hello["connection"]}));
        }
        let answer = send(&bridge, &row, &path, row.who.token().as_deref()).await;
        assert_eq!(answer.status, row.status, "{}: {answer:?}", name(&row));
        contract.hold(&name(&row), operation, &answer);
        if row.status < 300 || row.status == 303 {
            called.insert((row.method.to_owned(), row.route.to_owned()));
        }
    }
    let described = contract.operations().into_iter().map(|(method, path, _)| (method, path));
    let uncalled: Vec<_> =
        described.filter(|route| !ELSEWHERE.contains(&route.1.as_str()) && !called.contains(route)).collect();
    // The socket's own answer, 101, is not among those below 300.
    assert!(uncalled.iter().all(|(_, path)| path == "/v1/ws"), "no row calls {uncalled:?}");
}

#[tokio::test]
async fn no_route_answers_without_a_credential_but_those_that_say_so() {
    let (_db, bridge, _folder) = arranged().await;
    let contract = Contract::of_routes(openapi::document(&routes()));
    for row in rows() {
        let Some(operation) = contract.operation(row.method, row.route) else { continue };
        let public = operation["security"] == json!([]);
        // A handshake that is none is refused before anybody is asked who they are.
        if public || row.status == 426 {
            continue;
        }
        for token in [None, Some("no token"), Some("eyJhbGciOiJub25lIn0.e30.")] {
            let answer = send(&bridge, &row, row.path, token).await;
            let repeated = row.path.contains("a=1&a=2");
            assert_eq!(answer.status, if repeated { 422 } else { 401 }, "{}: {answer:?}", name(&row));
            contract.hold(&name(&row), operation, &answer);
        }
    }
}

#[tokio::test]
async fn no_route_of_a_tenant_answers_to_another_tenants_credential() {
    let (_db, bridge, _folder) = arranged().await;
    let contract = Contract::of_routes(openapi::document(&routes()));
    let mut tenants = BTreeSet::new();
    // What is not spoken here is not spoken to anybody.
    for row in rows().into_iter().filter(|row| row.path.starts_with("/v1/tenants/acme") && row.status != 406) {
        let Some(operation) = contract.operation(row.method, row.route) else { continue };
        for role in ["member", "service", "admin"] {
            let token = token(json!({"sub": "ann", "tenant": "globex", "role": role}));
            let answer = send(&bridge, &row, row.path, Some(&token)).await;
            assert_eq!(answer.problem(), (403, "forbidden".into()), "{role}: {}", name(&row));
            contract.hold(&name(&row), operation, &answer);
        }
        tenants.insert((row.method, row.route));
    }
    let operations = contract.operations().into_iter();
    let of_tenants = operations.filter(|(_, path, _)| path.contains("{tenant}") && !ELSEWHERE.contains(&path.as_str()));
    assert_eq!(tenants.len(), of_tenants.count());
}
