//! The pages that the binary serves, and the policy under which they run.

use std::collections::BTreeSet;

use crate::support::{Answer, Bridge, Database};

const PAGES: [&str; 3] = ["/", "/notifications", "/admin/chat"];

async fn get(bridge: &Bridge, path: &str) -> Answer {
    Answer::of(bridge.request("GET", path)).await
}

/// Values of these attributes, in order.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    page.split(&format!(" {attribute}=\"")).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[tokio::test]
async fn each_page_loads_files_that_this_server_has_as_what_they_are() {
    let bridge = Bridge::start(&Database::new().await).await;
    let mut loaded = BTreeSet::new();
    for path in PAGES {
        let page = get(&bridge, path).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        let files = [values(&page.body, "src"), values(&page.body, "href")].concat();
        let files: Vec<&str> = files.into_iter().filter(|file| !file.starts_with("data:")).collect();
        assert!(files.len() >= 2, "{path}: {files:?}");
        for file in files {
            let kind = match file.rsplit_once('.').unwrap().1 {
                "js" => "text/javascript; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                _ => panic!("{path}: {file}"),
            };
            let asset = get(&bridge, file).await;
            let sniffed = asset.header("x-content-type-options");
            assert_eq!((asset.status, asset.header("content-type"), sniffed), (200, kind, "nosniff"), "{file}");
            loaded.insert(file.to_owned());
        }
    }
    assert_eq!(loaded.len(), 6, "each page has its own script and style: {loaded:?}");
}

#[tokio::test]
async fn every_file_that_was_built_is_served_and_nothing_else() {
    let bridge = Bridge::start(&Database::new().await).await;
    let built = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist")).unwrap();
    for name in built.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        let status = if name.ends_with(".html") { 404 } else { 200 };
        assert_eq!(get(&bridge, &format!("/assets/{name}")).await.status, status, "{name}");
    }
    for name in ["other.js", "index.JS", "..%2Fbuild.mjs", "index.js%00", ""] {
        assert_eq!(get(&bridge, &format!("/assets/{name}")).await.problem(), (404, "not_found".into()), "{name:?}");
    }
}

#[tokio::test]
async fn a_page_of_any_origin_may_load_the_client() {
    let bridge = Bridge::start(&Database::new().await).await;
    let answer = get(&bridge, "/assets/client.js").await;
    assert_eq!((answer.header("access-control-allow-origin"), answer.body.contains("Preact")), ("*", false));
}

#[tokio::test]
async fn what_a_browser_holds_already_is_not_sent_again() {
    let bridge = Bridge::start(&Database::new().await).await;
    for path in ["/", "/admin/chat", "/assets/index.js"] {
        let first = get(&bridge, path).await;
        assert!(first.header("cache-control").contains("no-cache"), "a new version is seen at once: {first:?}");
        let again = Answer::of(bridge.request("GET", path).header("if-none-match", first.header("etag"))).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        let other = Answer::of(bridge.request("GET", path).header("if-none-match", "\"of another version\"")).await;
        assert_eq!((other.status, other.body), (200, first.body), "{path}");
    }
}

#[tokio::test]
async fn a_page_runs_under_a_policy_that_lets_in_files_of_this_server_only() {
    let bridge = Bridge::start(&Database::new().await).await;
    for path in PAGES {
        let page = get(&bridge, path).await;
        let policy: Vec<(&str, &str)> =
            page.header("content-security-policy").split("; ").filter_map(|rule| rule.split_once(' ')).collect();
        let rule = |name: &str| policy.iter().find(|(directive, _)| *directive == name).map_or("", |(_, from)| from);
        for directive in ["default-src", "base-uri", "frame-ancestors"] {
            assert_eq!(rule(directive), "'none'", "{path}: {directive}");
        }
        for directive in ["script-src", "style-src", "connect-src", "font-src", "form-action"] {
            assert_eq!(rule(directive), "'self'", "{path}: {directive}");
        }
        // What the policy would refuse, the page does not try.
        for (open, close) in [("<script", "</script>"), ("<style", "</style>")] {
            for element in page.body.split(open).skip(1) {
                let content = element.split_once('>').unwrap().1.split(close).next().unwrap();
                assert_eq!(content.trim(), "", "{path}: an element {open}> has its content in the page");
            }
        }
        for forbidden in [" style=", " onclick=", " onload=", "javascript:", "src=\"http", "href=\"http"] {
            assert!(!page.body.contains(forbidden), "{path}: the policy would refuse {forbidden}");
        }
        assert_eq!(page.header("referrer-policy"), "no-referrer");
    }
}

#[tokio::test]
async fn the_pages_may_send_to_the_origins_that_the_operator_names() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("pages.connect", r#"["https://bucket.example.com"]"#)]).await;
    let policy = get(&bridge, "/notifications").await.header("content-security-policy").to_owned();
    assert!(policy.contains("; connect-src 'self' https://bucket.example.com; "), "{policy}");
    assert!(policy.contains("; script-src 'self'; "), "{policy}");
}
