//! Every route, with every credential and right of one tenant, against another.

use std::collections::BTreeSet;

use serde_json::Value;
use tidings::http::routes;

use super::rows::{ELSEWHERE, Row, WITHOUT_TENANT, Who, rows};
use super::site::{FORMS, Form, MARK, Site, strangers};
use crate::support::{Answer, Sse};

/// The request of a row, with a cursor of globex's where one is asked for.
fn request(site: &Site, row: &Row, tenant: &str, id: &str, connection: &str) -> (String, Option<Value>) {
    let (path, body) = row.at(tenant, id, connection);
    (path.replace("{event}", &site.event), body)
}

/// Nothing in it is globex's.
fn tells_nothing(what: &str, answer: &Answer) {
    let all = format!("{:?} {}", answer.headers, answer.body);
    assert!(!all.contains(MARK) && !all.contains("globex"), "{what}: {all}");
}

/// Status, headers and body without what differs between any two answers.
fn said(answer: &Answer, id: &str) -> (u16, Vec<String>, String) {
    let mut body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| answer.body.clone().into());
    let mut differs = false;
    if let Some(members) = body.as_object_mut() {
        // Places and times of this very answer; what a row that was made now is called.
        for name in ["cursor", "created_at", "updated_at", "id", "url"] {
            members.entry(name).and_modify(|value| (*value, differs) = (Value::Null, true));
        }
    }
    let heads = answer.headers.iter().filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()));
    let mut heads: Vec<String> = heads.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    // Their length differs as well: a time has no zeros at its end.
    heads.retain(|line| !differs || !line.starts_with("content-length"));
    heads.sort();
    (answer.status, heads, if id.is_empty() { body.to_string() } else { body.to_string().replace(id, "ID") })
}

#[test]
fn every_route_is_attacked() {
    let served: BTreeSet<_> = routes().iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    let below = rows().iter().map(|row| (row.method.to_owned(), row.route.to_owned())).collect::<BTreeSet<_>>();
    let beside = ELSEWHERE.iter().map(|(method, route, _)| ((*method).to_owned(), (*route).to_owned()));
    let attacked: BTreeSet<_> = below.into_iter().chain(beside).collect();
    let missing: Vec<_> = served.difference(&attacked).collect();
    assert!(missing.is_empty(), "write a row in tests/it/isolation/rows.rs for {missing:?}");
    let gone: Vec<_> = attacked.difference(&served).collect();
    assert!(gone.is_empty(), "not served any more: {gone:?}");
    for row in rows() {
        assert!(row.route.starts_with("/v1/tenants/{tenant}/"), "{}", row.name());
    }
    let tests = [
        include_str!("../isolation.rs"),
        include_str!("routes.rs"),
        include_str!("sockets.rs"),
        include_str!("people.rs"),
        include_str!("connections.rs"),
        include_str!("../revocation.rs"),
    ]
    .concat();
    for (_, route, test) in ELSEWHERE {
        assert!(
            !route.contains("{tenant}") && tests.contains(&format!("fn {test}(")),
            "{route}: there is no test {test}"
        );
    }
}

#[tokio::test]
async fn no_credential_of_one_tenant_opens_a_route_of_another() {
    let site = Site::new().await;
    let before = site.theirs().await;
    let all = strangers();
    let mightiest = Who::Admin.of(&["acme", "initech"]);
    for row in rows() {
        let (path, body) = request(&site, &row, "globex", row.id.0, "none");
        let (nowhere, _) = request(&site, &row, "nowhere", row.id.0, "none");
        let by_form = FORMS.iter().map(|form| (*form, &mightiest));
        for (form, token) in all.iter().map(|token| (Form::Bearer, token)).chain(by_form) {
            let what = format!("{} as {form:?} {token}", row.name());
            let refused = site.send(form, token, row.method, &path, body.as_ref()).await;
            assert_eq!(refused.problem(), (403, "forbidden".into()), "{what}");
            tells_nothing(&what, &refused);
            // That there is such a tenant is not told either.
            if matches!(form, Form::Bearer) {
                let other = site.send(form, token, row.method, &nowhere, body.as_ref()).await;
                assert_eq!(said(&refused, ""), said(&other, ""), "{what}");
            }
        }
    }
    assert_eq!(site.theirs().await, before, "nothing of theirs was touched");
}

#[tokio::test]
async fn a_thing_of_another_tenant_is_answered_like_one_that_never_was() {
    let site = Site::new().await;
    let before = site.theirs().await;
    for row in rows() {
        for tenants in [&["acme"][..], &["acme", "initech"]] {
            let token = row.who.of(tenants);
            let (_sse, connection) = site.stream(&token, "acme").await;
            let mut answers = Vec::new();
            for id in [row.id.0, row.id.1] {
                let (path, body) = request(&site, &row, "acme", id, &connection);
                let answer = site.send(Form::Ticket, &token, row.method, &path, body.as_ref()).await;
                let all = format!("{:?} {}", answer.headers, answer.body);
                // What the caller said may come back; what globex has may not.
                let more = if id.is_empty() { all } else { all.replace(id, "") };
                assert!(!more.contains(MARK) && !more.contains("globex"), "{}: {more}", row.name());
                answers.push(said(&answer, id));
                // What was made by the caller before is there already.
                let again = row.theirs == 201 && answer.status == 200;
                assert!(id.is_empty() || again || answer.status == row.theirs, "{}: {answer:?}", row.name());
            }
            assert!(row.id.0.is_empty() || answers[0] == answers[1], "{}: {answers:?}", row.name());
            if row.rest.contains("{event}") {
                cursors(&site, &row, &token).await;
            }
        }
    }
    assert_eq!(site.theirs().await, before, "nothing of theirs was touched");
}

/// An event of another tenant's as a cursor is answered like one that never was.
async fn cursors(site: &Site, row: &Row, token: &str) {
    let (at, _) = site.event.rsplit_once('-').unwrap();
    let never = format!("{at}-0");
    // A session of their own, where the request asks for one.
    let rest = row.rest.replace("{id}", "chs_acme");
    let mut answers = Vec::new();
    for cursor in [&site.event, &never] {
        let path = format!("/v1/tenants/acme/{}", rest.replace("{event}", cursor));
        answers.push(said(&site.send(Form::Bearer, token, row.method, &path, None).await, cursor));
    }
    assert_eq!(answers[0], answers[1], "{}", row.name());
    assert_eq!(answers[0].0, 410, "{}", row.name());
}

#[tokio::test]
async fn every_request_of_the_table_is_answered_for_the_tenant_itself() {
    let site = Site::new().await;
    for row in rows() {
        let token = row.who.of(&["globex"]);
        let (_sse, connection) = site.stream(&Who::Admin.of(&["globex"]), "globex").await;
        let (path, body) = request(&site, &row, "globex", row.id.0, &connection);
        let answer = site.send(Form::Bearer, &token, row.method, &path, body.as_ref()).await;
        assert_eq!(answer.status, row.own, "{}: {answer:?}", row.name());
    }
}

#[tokio::test]
async fn what_belongs_to_no_tenant_tells_of_none() {
    let site = Site::new().await;
    let _theirs = Sse::open(&site.bridge, &Who::Ann.of(&["globex"]), "globex", "?client=quartz").await;
    let _subscribed_to_nothing = crate::support::Ws::connect(&site.bridge, &Who::Ann.of(&["globex"])).await;
    for (method, route, _) in ELSEWHERE.iter().filter(|(_, _, test)| *test == WITHOUT_TENANT) {
        let path = route.replace("{file}", "index.js");
        for token in strangers() {
            let answer = site.send(Form::Bearer, &token, method, &path, None).await;
            assert!(answer.status < 400 || answer.status == 403, "{path}: {answer:?}");
            tells_nothing(&path, &answer);
        }
    }
    let stats = site.send(Form::Bearer, &Who::Admin.of(&["globex"]), "GET", "/v1/stats", None).await;
    assert!(stats.body.contains(MARK), "{}", stats.body);
}
