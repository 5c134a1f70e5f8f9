//! Names of tenants that look alike, or become alike for software that tidies them, are different tenants everywhere.

use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, Folder, Sse, Ws, get_page, member, token};

/// The first of each is told apart from the others byte for byte.
const ALIKE: [&[&str]; 7] = [
    &["caf\u{e9}", "cafe\u{301}", "CAF\u{c9}", "cafe"],
    &["acme", "Acme", "acme.", "acme ", " acme", "acme..", "acme\u{200b}", "\u{feff}acme", "\u{ff41}cme", "\u{430}cme"],
    &["a/b", "a%2Fb", "a%252Fb", "a\\b", "a:b", "a b", "a+b", "a%20b"],
    &["...", "%2e%2e", "~", "../acme", "..%2facme"],
    &["1", "01", "1.0", "\u{661}", "\u{2460}"],
    &["\u{212a}", "K", "k"],
    &["con", "CON", "con.txt", "nul"],
];

/// Each byte as `%xx`.
fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn a_credential_for_one_spelling_of_a_tenant_opens_no_other() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    for names in ALIKE {
        for (number, mine) in names.iter().enumerate() {
            let own = Answer::of(
                bridge.request("GET", &format!("/v1/tenants/{}/events", encoded(mine))).bearer_auth(member(mine)),
            );
            assert_eq!(own.await.status, 200, "{mine:?}");
            let other = names[(number + 1) % names.len()];
            for path in ["events", "documents", "notifications", "chat/sessions"] {
                let path = format!("/v1/tenants/{}/{path}", encoded(other));
                let answer = Answer::of(bridge.request("GET", &path).bearer_auth(member(mine))).await;
                assert_eq!(answer.problem(), (403, "forbidden".into()), "{mine:?} at {other:?}");
            }
            let mut ws = Ws::connect(&bridge, &member(mine)).await;
            assert_eq!(ws.subscribe("s", other, json!({})).await["code"], "forbidden", "{mine:?} at {other:?}");
        }
    }
}

#[tokio::test]
async fn what_happens_in_one_spelling_is_told_in_no_other() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    for names in ALIKE {
        let mut streams = Vec::new();
        for name in names {
            let path = format!("/v1/tenants/{}/events", encoded(name));
            streams.push(Sse::at(&bridge, &member(name), &path, None).await);
        }
        for name in names {
            db.client.execute("select tidings.emit($1, 'n', subject => $1)", &[name]).await.unwrap();
        }
        for (stream, name) in streams.iter_mut().zip(names) {
            db.sentinel(name).await;
            let seen = stream.until_sentinel().await;
            assert_eq!((seen.len(), &seen[0]["subject"]), (1, &json!(name)));
            let page = get_page(&bridge, &member(name), &encoded(name), "?types=n").await.events;
            assert_eq!((page.len(), &page[0]["tenant"]), (1, &json!(name)));
        }
    }
}

#[tokio::test]
async fn each_spelling_has_a_folder_of_its_own_and_names_no_file_of_another() {
    let (db, folder) = (Database::new().await, Folder::new());
    let bridge = Bridge::with(&db.url, &[("uploads.directory", folder.path())]).await;
    let put = async |name: &str| {
        let path = format!("/v1/tenants/{}/uploads/x", encoded(name));
        let answer = Answer::of(bridge.request("PUT", &path).bearer_auth(member(name)).body("x")).await;
        assert_eq!(answer.status, 201, "{name:?}: {answer:?}");
        answer.json()["url"].as_str().unwrap().to_owned()
    };
    let mut folders = std::collections::BTreeSet::new();
    for names in ALIKE {
        for name in names {
            let url = put(name).await;
            let own = url.rsplit_once('/').unwrap().0.to_owned();
            assert!(folders.insert(own), "{name:?} shares its folder: {url}");
            let other = json!({"name": "x", "url": url});
            let neighbour = names.iter().find(|other| *other != name).unwrap();
            let path = format!("/v1/tenants/{}/documents", encoded(neighbour));
            let refused: (u16, Value) = bridge.post_as(&member(neighbour), &path, &other).await;
            assert_eq!((refused.0, &refused.1["field"]), (422, &json!("url")), "{name:?} at {neighbour:?}");
        }
    }
    let kept = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(kept, folders.len(), "on disk");
}

#[tokio::test]
async fn one_spelling_does_not_use_up_what_another_may_ask_and_open() {
    let db = Database::new().await;
    let limits = [
        ("limits.requests_per_user", "1"),
        ("limits.connections_per_tenant", "1"),
        ("limits.connections_per_user", "1"),
    ];
    let bridge = Bridge::with(&db.url, &limits).await;
    let mut open = Vec::new();
    for name in ALIKE[1] {
        let who = token(json!({"sub": "ann", "tenant": name}));
        open.push(Sse::at(&bridge, &who, &format!("/v1/tenants/{}/events", encoded(name)), None).await);
        // Two seconds' worth are there at once for everybody.
        let path = format!("/v1/tenants/{}/documents", encoded(name));
        assert_eq!(bridge.get_as(&who, &path).await.0, 200, "{name:?}");
    }
    let again = token(json!({"sub": "ann", "tenant": "acme"}));
    let stream = bridge.request("GET", "/v1/tenants/acme/events").header("accept", "text/event-stream");
    assert_eq!(Answer::of(stream.bearer_auth(again)).await.problem().0, 429, "the limit is there");
}
