//! Credentials that are not bearer tokens: tickets, the cookie of the pages, tokens in URLs.

use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, admin, member, token};

async fn ticket(bridge: &Bridge, token: &str) -> String {
    let answer = Answer::of(bridge.request("POST", "/v1/tickets").bearer_auth(token)).await;
    assert_eq!((answer.status, &answer.json()["expires_in"]), (201, &json!(30)));
    answer.json()["ticket"].as_str().unwrap().to_owned()
}

async fn stream(bridge: &Bridge, path: &str) -> Answer {
    Answer::of(bridge.request("GET", path).header("accept", "text/event-stream")).await
}

#[tokio::test]
async fn a_ticket_opens_one_stream_and_no_second() {
    let bridge = Bridge::start(&Database::new().await).await;
    let path = format!("/v1/tenants/acme/events?ticket={}", ticket(&bridge, &member("acme")).await);
    assert_eq!(stream(&bridge, &path).await.status, 200);
    assert_eq!(stream(&bridge, &path).await.problem(), (401, "ticket_spent".into()));
}

#[tokio::test]
async fn a_ticket_opens_one_websocket_and_no_second() {
    let bridge = Bridge::start(&Database::new().await).await;
    let url = format!("ws://{}/v1/ws?ticket={}", bridge.address, ticket(&bridge, &member("acme")).await);
    let (_socket, answer) = tokio_tungstenite::connect_async(&url).await.unwrap();
    assert_eq!(answer.status(), 101);
    let Err(tokio_tungstenite::tungstenite::Error::Http(refused)) = tokio_tungstenite::connect_async(&url).await else {
        panic!("a second socket")
    };
    assert_eq!(refused.status(), 401);
}

#[tokio::test]
async fn a_ticket_used_on_two_instances_at_once_opens_one_stream() {
    let db = Database::new().await;
    let (one, two) = (Bridge::start(&db).await, Bridge::start(&db).await);
    for _ in 0..10 {
        let path = format!("/v1/tenants/acme/events?ticket={}", ticket(&one, &member("acme")).await);
        let (first, second) = tokio::join!(stream(&one, &path), stream(&two, &path));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401]);
    }
}

#[tokio::test]
async fn a_spent_ticket_stays_spent_after_a_restart_and_another_stays_good() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (spent, good) = (ticket(&bridge, &member("acme")).await, ticket(&bridge, &member("acme")).await);
    let path = |ticket: &str| format!("/v1/tenants/acme/events?ticket={ticket}");
    assert_eq!(stream(&bridge, &path(&spent)).await.status, 200);
    bridge.stop().await;
    let bridge = Bridge::start(&db).await;
    assert_eq!(stream(&bridge, &path(&spent)).await.problem(), (401, "ticket_spent".into()));
    assert_eq!(stream(&bridge, &path(&good)).await.status, 200);
}

#[tokio::test]
async fn a_ticket_that_has_expired_or_never_was_is_refused() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let expired = ticket(&bridge, &member("acme")).await;
    db.run("update tidings._ticket set expires_at = now() - interval '1 second'").await;
    for bad in [expired.as_str(), "never-was", &"a".repeat(5000), "%00", "' or true --"] {
        let answer = stream(&bridge, &format!("/v1/tenants/acme/events?ticket={bad}")).await;
        assert_eq!(answer.problem(), (401, "ticket_spent".into()), "{bad}");
    }
}

#[tokio::test]
async fn a_ticket_carries_its_owners_rights_and_no_more() {
    let bridge = Bridge::start(&Database::new().await).await;
    let narrow = token(json!({"sub": "ann", "tenant": ["acme", "globex"], "role": "service", "events": "documents.*"}));
    let session = bridge.get_as(&narrow, "/v1/session").await.1;
    let same = bridge.get(&format!("/v1/session?ticket={}", ticket(&bridge, &narrow).await)).await;
    assert_eq!(same, (200, session), "who, role, tenants, and when it ends");
    for (path, status) in [("/v1/tenants/globex/events", 200), ("/v1/tenants/initech/events", 403), ("/v1/stats", 403)]
    {
        assert_eq!(bridge.get(&format!("{path}?ticket={}", ticket(&bridge, &narrow).await)).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn the_database_keeps_no_ticket_in_clear() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ticket = ticket(&bridge, &member("acme")).await;
    let kept = db.text("select string_agg(t::text, '') from tidings._ticket t").await;
    assert!(!kept.contains(&ticket), "{kept}");
}

#[tokio::test]
async fn a_cookie_changes_nothing_unless_a_page_of_ours_sends_it() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("http.origins", r#"["https://app.example.com"]"#)]).await;
    let cookie = format!("tidings={}", admin());
    let own = format!("http://{}", bridge.address);
    for (origin, status) in [
        (None, 403),
        (Some("https://evil.example.com"), 403),
        (Some("null"), 403),
        (Some("https://app.example.com"), 201),
        (Some(&*own), 201),
    ] {
        let mut request =
            bridge.request("POST", "/v1/tenants/acme/events").header("cookie", &cookie).json(&json!({"type": "a"}));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        assert_eq!(Answer::of(request).await.status, status, "{origin:?}");
    }
    assert_eq!(db.text("select count(*)::text from tidings.events").await, "2");
    for (method, path) in [("POST", "/v1/tickets"), ("DELETE", "/v1/connections/x"), ("PATCH", "/v1/connections/x")] {
        let request =
            bridge.request(method, path).header("cookie", &cookie).header("origin", "https://evil.example.com");
        assert_eq!(Answer::of(request).await.problem(), (403, "forbidden".into()), "{method} {path}");
    }
}

#[tokio::test]
async fn a_bad_bearer_token_is_not_saved_by_a_good_cookie() {
    let bridge = Bridge::start(&Database::new().await).await;
    let request = bridge.request("GET", "/v1/session").header("cookie", format!("tidings={}", member("acme")));
    assert_eq!(Answer::of(request.bearer_auth("bad")).await.problem().0, 401);
}

#[tokio::test]
async fn a_token_in_the_url_is_read_only_where_the_operator_allows_it() {
    let db = Database::new().await;
    let (strict, lenient) = (Bridge::start(&db).await, Bridge::with(&db.url, &[("auth.query_token", "true")]).await);
    let path = format!("/v1/session?token={}", member("acme"));
    assert_eq!(Answer::of(strict.request("GET", &path)).await.problem(), (401, "token_missing".into()));
    assert_eq!(lenient.get(&path).await.0, 200);
}

#[tokio::test]
async fn a_ticket_needs_a_credential_itself() {
    let bridge = Bridge::start(&Database::new().await).await;
    assert_eq!(Answer::of(bridge.request("POST", "/v1/tickets")).await.problem(), (401, "token_missing".into()));
    let answer = Answer::of(bridge.request("POST", "/v1/tickets").bearer_auth(member("acme"))).await;
    assert_eq!((answer.header("cache-control"), &answer.json()["ticket"]), ("no-store", &answer.json()["ticket"]));
    assert_ne!(answer.json()["ticket"], Value::Null);
}
