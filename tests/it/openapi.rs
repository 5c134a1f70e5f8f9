//! The published documents: complete, readable by everybody, and true.

mod calls;
mod contract;
mod frames;
mod rows;

use std::collections::BTreeSet;

use serde_json::Value;
use tidings::http::{asyncapi, openapi, routes};

use crate::support::{Answer, Bridge, Database};

type Addresses = BTreeSet<(String, String)>;

fn described() -> Addresses {
    openapi::described().into_iter().map(|(method, path)| (method.to_string(), path.to_owned())).collect()
}

#[test]
fn every_route_is_documented_and_nothing_else() {
    let served: Addresses = routes().iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    let described = described();
    assert_eq!(described.len(), openapi::described().len(), "one is described twice");
    let undocumented: Vec<_> = served.difference(&described).collect();
    assert!(undocumented.is_empty(), "served, and not described in src/http/openapi/: {undocumented:?}");
    let missing: Vec<_> = described.difference(&served).collect();
    assert!(missing.is_empty(), "described, and not served: {missing:?}");
}

/// Values of all members of this name, anywhere in a document.
pub fn all_of<'a>(document: &'a Value, name: &str) -> Vec<&'a Value> {
    match document {
        Value::Object(members) => {
            members.get(name).into_iter().chain(members.values().flat_map(|value| all_of(value, name))).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| all_of(item, name)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
    for document in [openapi::document(&routes()), asyncapi::document()] {
        let references = all_of(&document, "$ref");
        assert!(references.len() > 50);
        for reference in references {
            let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        let names = all_of(&document, "operationId");
        assert_eq!(names.iter().map(|name| name.as_str()).collect::<BTreeSet<_>>().len(), names.len());
    }
}

/// `401 token_missing` and so on, as docs/protocol.md has them.
fn codes_of_the_protocol() -> BTreeSet<String> {
    let protocol = include_str!("../../docs/protocol.md");
    let table = protocol.split("| status | code |").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows = table.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let rows = rows.filter(|cells| cells.len() > 3 && cells[1].starts_with(|c: char| c.is_ascii_digit()));
    rows.flat_map(|cells| {
        let codes = cells[2].split('`').skip(1).step_by(2).map(str::to_owned);
        // A member of problems, of which that row speaks.
        let codes: Vec<String> = codes.filter(|code| code != "current").collect();
        let statuses: Vec<String> = cells[1].split(',').map(|status| status.trim().to_owned()).collect();
        // Several statuses in one row share its codes; which of them it is, the other document says.
        statuses
            .into_iter()
            .flat_map(move |status| codes.clone().into_iter().map(move |code| format!("{status} {code}")))
    })
    .collect()
}

#[test]
fn the_codes_are_those_of_the_protocols_table() {
    let document = openapi::document(&routes());
    let mut described = BTreeSet::new();
    for response in document["components"]["responses"].as_object().unwrap().values() {
        let schema = &response["content"]["application/problem+json"]["schema"]["properties"];
        for code in schema["code"]["enum"].as_array().into_iter().flatten() {
            described.insert(format!("{} {}", schema["status"]["const"], code.as_str().unwrap()));
        }
    }
    let protocol = codes_of_the_protocol();
    let unknown: Vec<_> = described.difference(&protocol).collect();
    assert!(unknown.is_empty(), "described, and not in docs/protocol.md: {unknown:?}");
    // Of all statuses together: one that may come without a body has no schema of its own.
    let all = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().unwrap();
    let all: BTreeSet<String> = all.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    let words: BTreeSet<String> = protocol.iter().map(|code| code[4..].to_owned()).collect();
    let undescribed: Vec<_> = words.difference(&all).cloned().collect();
    assert!(undescribed.is_empty(), "in docs/protocol.md, and not in src/http/openapi/refusal.rs: {undescribed:?}");
}

#[test]
fn the_close_codes_are_those_of_the_protocols_table() {
    let protocol = include_str!("../../docs/protocol.md");
    let codes = asyncapi::document()["channels"]["socket"]["x-close-codes"].as_array().unwrap().clone();
    assert_eq!(codes.len(), tidings::disconnect::Disconnect::ALL.len());
    for ending in codes {
        let row = format!("| {} | `{}`", ending["code"], ending["reason"].as_str().unwrap());
        assert!(protocol.contains(&row), "{row}");
    }
}

#[tokio::test]
async fn both_documents_are_public_and_not_sent_twice() {
    let bridge = Bridge::start(&Database::new().await).await;
    for (path, kind) in [("/v1/openapi.json", "openapi"), ("/v1/asyncapi.json", "asyncapi")] {
        let first = Answer::of(bridge.request("GET", path)).await;
        assert_eq!((first.status, first.header("content-type")), (200, "application/json"));
        assert!(first.json()[kind].is_string());
        let tag = first.header("etag").to_owned();
        for (held, status) in
            [(tag.clone(), 304), (format!("\"x\", W/{tag}"), 304), ("*".into(), 304), ("\"x\"".into(), 200)]
        {
            let again = Answer::of(bridge.request("GET", path).header("if-none-match", &held)).await;
            assert_eq!(
                (again.status, again.header("etag"), again.body.is_empty()),
                (status, tag.as_str(), status == 304),
                "{held}"
            );
        }
    }
}
