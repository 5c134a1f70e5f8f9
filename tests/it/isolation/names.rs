//! Tenants with names that mean something to a database, a file system, a URL, a header or a reader: each stays its own.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::rows::Who;
use crate::support::{Answer, Bridge, Database, Folder, Sse, Ws, admin, get_page};

/// Names that something or other takes for the same, for more than one, or for something else.
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "acme",
        "ACME",
        "Acme",
        "acme ",
        " acme",
        "acme%2f",
        "acme/",
        "acme/events",
        "acme%",
        "a_me",
        "%",
        "_",
        "*",
        "acme*",
        "acm?",
        // Not `..` itself: clients take that out of an address, however it is written.
        "../globex",
        "...",
        "~acme",
        "acme\\",
        "acme'",
        "acme''",
        "acme\"",
        "acme;--",
        "acme' or '1'='1",
        "$1",
        "$$",
        "{\"tenant\":\"globex\"}",
        "[\"acme\"]",
        "acme,globex",
        "acme+",
        "acme#",
        "acme?types=*",
        "acme&x=y",
        "null",
        "true",
        "0",
        "00",
        "<script>alert(1)</script>",
        "=acme",
        "acme\u{200b}",
        "acme\u{202e}",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{ff41}cme",
        "\u{430}cme",
        "ss",
        "\u{df}",
        "i",
        "\u{131}",
        "\u{130}",
    ]
    .map(str::to_owned)
    .into();
    // As long as a name may be, and the same but for its end.
    names.extend([
        "a".repeat(255),
        format!("{}b", "a".repeat(254)),
        "\u{e9}".repeat(127),
        format!("{}x", "\u{e9}".repeat(127)),
    ]);
    names
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// What only this tenant has: its number, in letters that are in no other.
fn mark(number: usize) -> String {
    format!("<{number}>")
}

struct Site {
    db: Database,
    bridge: Bridge,
    folder: Folder,
    names: Vec<String>,
}

impl Site {
    async fn new() -> Self {
        let (db, folder, names) = (Database::new().await, Folder::new(), names());
        for name in &names {
            let sql = "insert into tenants (id, name) values ($1, 'n') on conflict do nothing";
            db.client.execute(sql, &[name]).await.unwrap();
        }
        let bridge = Bridge::with(&db.url, &[("uploads.directory", folder.path())]).await;
        Self { db, bridge, folder, names }
    }

    fn each(&self) -> impl Iterator<Item = (usize, &str, String)> {
        self.names.iter().enumerate().map(|(number, name)| (number, name.as_str(), Who::Admin.of(&[name])))
    }

    async fn get(&self, token: &str, name: &str, rest: &str) -> (u16, Value) {
        self.bridge.get_as(token, &format!("/v1/tenants/{}/{rest}", encoded(name))).await
    }
}

#[tokio::test]
async fn tenants_of_the_oddest_names_stay_apart() {
    let site = Site::new().await;
    let mut streams = Vec::new();
    let mut sockets = Vec::new();
    for (_, name, token) in site.each() {
        streams.push(Sse::open(&site.bridge, &token, &encoded(name), "?types=n,sentinel").await);
        sockets.push(Ws::open(&site.bridge, &token, name, json!({"types": "n,sentinel"})).await);
    }
    let mut all = Sse::at(&site.bridge, &admin(), "/v1/events?types=n", None).await;
    for (number, name, token) in site.each() {
        let path = |rest: &str| format!("/v1/tenants/{}/{rest}", encoded(name));
        let event = json!({"type": "n", "subject": mark(number)});
        assert_eq!(site.bridge.post_as(&token, &path("events"), &event).await.0, 201, "{name}");
        let document = json!({"name": mark(number)});
        assert_eq!(site.bridge.post_as(&token, &path("documents"), &document).await.0, 201, "{name}");
        let session = json!({"subject": mark(number)});
        assert_eq!(site.bridge.post_as(&token, &path("chat/sessions"), &session).await.0, 201, "{name}");
        let upload = site.bridge.request("PUT", &path("uploads/f")).bearer_auth(&token).body(mark(number));
        let upload = Answer::of(upload).await;
        let url = upload.json()["url"].as_str().unwrap().to_owned();
        let file = format!("{}/{}", site.folder.path(), url.strip_prefix("upload:").unwrap());
        assert_eq!(std::fs::read_to_string(file).unwrap(), mark(number), "{name}");
    }
    for name in &site.names {
        site.db.sentinel(name).await;
    }
    let subjects = |events: &[Value]| -> Vec<String> {
        events
            .iter()
            .map(|event| format!("{} {}", event["tenant"].as_str().unwrap(), event["subject"].as_str().unwrap()))
            .collect()
    };
    let mut expected_by_all = Vec::new();
    for ((number, name, token), (stream, socket)) in site.each().zip(streams.iter_mut().zip(&mut sockets)) {
        let own = vec![format!("{name} {}", mark(number))];
        assert_eq!(subjects(&stream.until_sentinel().await), own);
        assert_eq!(subjects(&socket.until_sentinel().await), own);
        assert_eq!(subjects(&get_page(&site.bridge, &token, &encoded(name), "?types=n").await.events), own);
        for rest in ["documents", "notifications", "chat/sessions"] {
            let (status, list) = site.get(&token, name, rest).await;
            assert_eq!(status, 200, "{name} {rest}: {list}");
            assert_eq!(marks(&list), [number], "{name} {rest}");
        }
        let stats = site.bridge.get_as(&token, "/v1/stats").await.1;
        let tenants: Vec<_> =
            stats["connections"].as_array().unwrap().iter().map(|row| row["tenants"].clone()).collect();
        assert_eq!((&stats["tenants"], tenants), (&json!(1), vec![json!([name]), json!([name])]), "{name}");
        expected_by_all.extend(own);
    }
    assert_eq!(subjects(&all.take(site.names.len()).await), expected_by_all);
    // Figures for everybody name no tenant, however it is called.
    let figures = Answer::of(site.bridge.request("GET", "/metrics")).await.body;
    for name in site.names.iter().filter(|name| name.len() > 4) {
        assert!(!figures.contains(name.as_str()), "{name}");
    }
    // Each has a folder of its own, directly below the directory, and no two the same but for the case of their letters on Linux.
    let folders = std::fs::read_dir(site.folder.path()).unwrap().count();
    assert_eq!((folders, site.folder.files().len()), (site.names.len(), site.names.len()));
}

/// The numbers of all tenants whose marks are in a text.
fn marks(text: &Value) -> Vec<usize> {
    let text = text.to_string();
    let mut found: Vec<usize> =
        text.split('<').skip(1).filter_map(|rest| rest.split('>').next()?.parse().ok()).collect();
    found.dedup();
    found
}

#[tokio::test]
async fn no_name_opens_another_and_no_spelling_of_it_does() {
    let site = Site::new().await;
    for (number, name, token) in site.each() {
        for (other, theirs) in site.names.iter().enumerate().filter(|(other, _)| *other != number) {
            let (status, body) = site.get(&token, theirs, "events").await;
            assert_eq!((status, &body["code"]), (403, &json!("forbidden")), "{name} at {theirs} ({other})");
        }
        // As it stands, where a path can hold it so, it is this tenant or none.
        let raw: String = name.chars().filter(|c| c.is_ascii_graphic() && !"#?/%\\\"<>{}[]^`|".contains(*c)).collect();
        if raw == name {
            assert_eq!(site.bridge.get_as(&token, &format!("/v1/tenants/{raw}/events")).await.0, 200, "{name}");
        }
    }
    let acme = Who::Admin.of(&["acme"]);
    for path in [
        "acme%20",
        "acme%00",
        "%61cme%0a",
        "acme%2e",
        "./globex",
        "acme/../globex",
        "acme%252f",
        "acme;x",
        "acm%C3%A9",
        "acme%ff",
        "%2561cme",
    ] {
        let status = site.bridge.get_as(&acme, &format!("/v1/tenants/{path}/events")).await.0;
        assert!([403, 404].contains(&status), "{path}: {status}");
    }
    assert_eq!(site.bridge.get_as(&acme, "/v1/tenants/%61%63me/events").await.0, 200, "another spelling of the same");
}
