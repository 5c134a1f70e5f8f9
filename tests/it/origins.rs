//! A cookie vouches for what pages of this host and of allowed origins ask, and for nothing else.

use serde_json::json;
use tidings::http::{openapi, routes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, Bridge, Database, admin};

const APP: &str = "https://app.example.com";

/// None of these is this host, here called events.example.com, or an allowed origin.
const FOREIGN: [&str; 24] = [
    "https://evil.example.com",
    "null",
    "",
    "https://",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com:443",
    "https://app.example.com.evil.example",
    "https://evil-app.example.com",
    "https://evil.example/https://app.example.com",
    "https://app.example.com@evil.example",
    "https://APP.example.com",
    "https://app.example.com.",
    "https://app.example.com/",
    "https://app.example.com%2eevil.example",
    "https://\u{430}pp.example.com",
    "https://xn--pp-6kc.example.com",
    "https://app.example.com, https://evil.example",
    "https://events.example.com:8443",
    "https://events.example.com.",
    "https://x.events.example.com",
    "https://evil.example#events.example.com",
    "ftp://events.example.com",
    "chrome-extension://events.example.com",
];

async fn bridge() -> (Database, Bridge) {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("http.origins", &format!("[{APP:?}]"))]).await;
    (db, bridge)
}

/// Routes that want a credential: method and an address.
fn guarded() -> Vec<(String, String)> {
    let document = openapi::document(&routes());
    let wants = |method: &str, path: &str| {
        let operation = &document["paths"][path][method.to_ascii_lowercase()];
        assert!(operation.is_object(), "{method} {path}");
        operation["security"] != json!([])
    };
    let all = routes().into_iter().map(|route| (route.method.to_string(), route.path));
    let mut guarded: Vec<_> = all
        .filter(|(method, path)| {
            // A webhook is signed. Signing out wants no credential, but a page.
            wants(method, path) && !path.starts_with("/v1/webhooks/") || (method == "DELETE" && *path == "/v1/session")
        })
        .map(|(method, path)| {
            let path = path.replace("{tenant}", "acme").replace("{table}", "documents");
            let filled = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
            (method, filled.collect::<Vec<_>>().join("/"))
        })
        .collect();
    guarded.sort();
    guarded.dedup();
    assert!(guarded.len() > 30, "{guarded:?}");
    guarded
}

struct Raw {
    status: u16,
    text: String,
}

/// A request with the headers exactly as they stand here, which no client library has tidied up.
async fn raw(bridge: &Bridge, method: &str, path: &str, headers: &str) -> Raw {
    let mut socket = TcpStream::connect(bridge.address).await.unwrap();
    let host = if headers.contains("host:") { "" } else { "host: events.example.com\r\n" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{host}cookie: tidings={}\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n{headers}\r\n{{}}",
        admin()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    // The head is enough: a stream has no end.
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = socket.read(&mut piece).await.unwrap();
        assert!(read > 0, "{method} {path} {headers}: {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    Raw { status: text.split(' ').nth(1).unwrap().parse().unwrap(), text }
}

#[tokio::test]
async fn no_route_does_anything_for_a_cookie_that_a_foreign_page_sent() {
    let (_db, bridge) = bridge().await;
    for (method, path) in guarded() {
        let socket = if path == "/v1/ws" {
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        } else {
            ""
        };
        for origin in ["https://evil.example.com", "null", "https://app.example.com.evil.example"] {
            let answer = raw(&bridge, &method, &path, &format!("{socket}origin: {origin}\r\n")).await;
            assert_eq!(answer.status, 403, "{method} {path} from {origin}: {}", answer.text);
            assert!(!answer.text.contains("access-control-allow-origin"), "{method} {path}: {}", answer.text);
            assert!(answer.text.contains("vary: origin"), "{method} {path}: {}", answer.text);
        }
        if method != "GET" {
            for none in [
                "",
                "sec-fetch-site: same-origin\r\n",
                "sec-fetch-site: cross-site\r\n",
                "referer: https://app.example.com/\r\n",
            ] {
                assert_eq!(raw(&bridge, &method, &path, none).await.status, 403, "{method} {path}: {none}");
            }
        }
        let ours = raw(&bridge, &method, &path, &format!("{socket}origin: {APP}\r\n")).await;
        assert_ne!(ours.status, 403, "{method} {path}: {}", ours.text);
        assert!(ours.text.contains("access-control-allow-origin: https://app.example.com\r\n"), "{}", ours.text);
        assert!(ours.text.contains("access-control-allow-credentials: true\r\n"), "{}", ours.text);
    }
}

#[tokio::test]
async fn no_spelling_of_an_origin_passes_for_another() {
    let (_db, bridge) = bridge().await;
    for origin in FOREIGN {
        for (method, path) in [("POST", "/v1/tickets"), ("DELETE", "/v1/session"), ("GET", "/v1/session")] {
            let answer = raw(&bridge, method, path, &format!("origin: {origin}\r\n")).await;
            assert_eq!(answer.status, 403, "{method} {path} from {origin:?}: {}", answer.text);
            assert!(!answer.text.contains("access-control-allow-origin"), "{origin:?}: {}", answer.text);
        }
    }
    for headers in [
        "origin: https://app.example.com\r\norigin: https://evil.example\r\n",
        "origin: https://evil.example\r\norigin: https://app.example.com\r\n",
        "origin: http://events.example.com\r\nx-forwarded-proto: https\r\n",
        "host: events.example.com\r\nhost: evil.example\r\norigin: https://evil.example\r\n",
        "host: \r\norigin: https://\r\n",
        "x-forwarded-host: evil.example\r\norigin: https://evil.example\r\n",
    ] {
        let status = raw(&bridge, "POST", "/v1/tickets", headers).await.status;
        assert!(matches!(status, 400 | 403), "{headers}: {status}");
    }
    for headers in [
        "origin: https://app.example.com\r\n",
        "origin: https://events.example.com\r\n",
        "origin: http://events.example.com\r\n",
        "origin: https://events.example.com\r\nx-forwarded-proto: https\r\n",
        "host: events.example.com:443\r\norigin: https://events.example.com\r\n",
        "host: events.example.com:8443\r\norigin: https://events.example.com:8443\r\n",
    ] {
        assert_eq!(raw(&bridge, "POST", "/v1/tickets", headers).await.status, 201, "{headers}");
    }
}

#[tokio::test]
async fn a_foreign_page_cannot_take_a_users_places_with_streams_that_it_cannot_read() {
    let (_db, bridge) = bridge().await;
    let stream = "accept: text/event-stream\r\n";
    for (headers, status) in [
        ("origin: https://evil.example\r\n", 403),
        ("sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\n", 403),
        ("sec-fetch-site: same-site\r\nsec-fetch-mode: no-cors\r\n", 403),
        ("sec-fetch-site: cross-site\r\n", 403),
        ("sec-fetch-site: same-origin\r\nsec-fetch-mode: cors\r\n", 200),
        ("sec-fetch-site: none\r\nsec-fetch-mode: navigate\r\n", 200),
        ("sec-fetch-site: cross-site\r\nsec-fetch-mode: cors\r\norigin: https://app.example.com\r\n", 200),
        ("", 200),
    ] {
        let answer = raw(&bridge, "GET", "/v1/tenants/acme/events", &format!("{stream}{headers}")).await;
        assert_eq!(answer.status, status, "{headers}: {}", answer.text);
    }
    let link = raw(&bridge, "GET", "/v1/session", "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\n").await;
    assert_eq!(link.status, 200, "a person who follows a link");
}

#[tokio::test]
async fn every_answer_says_that_it_depends_on_the_origin_and_none_is_for_all() {
    let (_db, bridge) = bridge().await;
    let unlisted = Bridge::start(&Database::new().await).await;
    for bridge in [&bridge, &unlisted] {
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/livez"),
            ("GET", "/none"),
            ("PUT", "/v1/status"),
            ("GET", "/v1/session"),
            ("OPTIONS", "/v1/session"),
        ] {
            for origin in [None, Some(APP), Some("https://evil.example"), Some("null")] {
                let mut request = bridge.request(method, path).header("access-control-request-method", "POST");
                if let Some(origin) = origin {
                    request = request.header("origin", origin);
                }
                let answer = Answer::of(request).await;
                let vary = answer.headers.get_all("vary").iter().any(|value| value == "origin");
                let allowed = answer.header("access-control-allow-origin");
                assert!(vary, "{method} {path} {origin:?}: {answer:?}");
                assert!(["", APP].contains(&allowed), "{method} {path} {origin:?}: {allowed}");
                assert!(allowed.is_empty() || origin == Some(APP));
            }
        }
    }
}
