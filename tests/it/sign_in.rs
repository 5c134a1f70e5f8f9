//! Signing in to the pages with a link, and signing out.

use serde_json::json;

use crate::support::{Answer, Bridge, Database, member, token};

const PAGES: [&str; 3] = ["/", "/notifications", "/admin/chat"];
/// As browsers ask for a page.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn ticket(bridge: &Bridge, token: &str) -> String {
    let answer = Answer::of(bridge.request("POST", "/v1/tickets").bearer_auth(token)).await;
    answer.json()["ticket"].as_str().unwrap().to_owned()
}

async fn sign_in(bridge: &Bridge, host: Option<&str>) -> Answer {
    let path = format!("/?ticket={}", ticket(bridge, &member("acme")).await);
    let request = bridge.request("GET", &path);
    Answer::of(match host {
        Some(host) => request.header("host", host),
        None => request,
    })
    .await
}

#[tokio::test]
async fn signing_in_with_a_link_sets_a_cookie_that_no_script_can_read() {
    let bridge = Bridge::start(&Database::new().await).await;
    let answer = sign_in(&bridge, None).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/"), "the ticket is out of the address bar");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    let cookie = answer.header("set-cookie");
    let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
    assert!(["Path=/", "HttpOnly", "SameSite=Lax"].iter().all(|one| attributes.contains(one)), "{cookie}");
    assert!(!attributes.contains(&"Secure"), "plain HTTP on this machine: {cookie}");
    assert!(sign_in(&bridge, Some("app.example.com")).await.header("set-cookie").ends_with("; Secure"));
    assert!(sign_in(&bridge, Some("localhost.example.com")).await.header("set-cookie").ends_with("; Secure"));

    let signed_in = cookie.split(';').next().unwrap();
    let with_cookie = bridge
        .request("GET", "/v1/tenants/acme/events")
        .header("accept", "text/event-stream")
        .header("cookie", format!("a=b; {signed_in}"));
    assert_eq!(Answer::of(with_cookie).await.status, 200);
    let elsewhere = bridge.request("GET", "/v1/tenants/globex/events").header("cookie", signed_in);
    assert_eq!(Answer::of(elsewhere).await.problem().0, 403);
}

#[tokio::test]
async fn a_link_to_any_page_leads_there_and_keeps_the_rest_of_its_query() {
    let bridge = Bridge::start(&Database::new().await).await;
    for page in PAGES {
        let ticket = ticket(&bridge, &member("acme")).await;
        let path = format!("{page}?tenant=a%26b&ticket={ticket}&session=chs_1%0d%0ax:y");
        let answer = Answer::of(bridge.request("GET", &path)).await;
        let expected = format!("{page}?session=chs_1%0D%0Ax%3Ay&tenant=a%26b");
        assert_eq!((answer.status, answer.header("location")), (303, expected.as_str()));
        assert!(!answer.header("set-cookie").is_empty());
    }
}

#[tokio::test]
async fn a_link_signs_in_once() {
    let bridge = Bridge::start(&Database::new().await).await;
    let path = format!("/?ticket={}", ticket(&bridge, &member("acme")).await);
    assert_eq!(Answer::of(bridge.request("HEAD", &path)).await.status, 200, "looking at a link does not use it up");
    assert_eq!(Answer::of(bridge.request("GET", &path)).await.status, 303);
    let again = Answer::of(bridge.request("GET", &path)).await;
    assert_eq!((again.problem(), again.header("set-cookie")), ((401, "ticket_spent".into()), ""));
}

#[tokio::test]
async fn a_person_who_follows_a_spent_link_sees_the_page_and_not_a_problem() {
    let bridge = Bridge::start(&Database::new().await).await;
    let follow = |cookie: String| {
        let request = bridge.request("GET", "/notifications?ticket=spent&tenant=acme").header("accept", BROWSER);
        Answer::of(request.header("cookie", cookie))
    };
    let nobody = follow(String::new()).await;
    assert_eq!((nobody.status, nobody.header("location")), (303, "/notifications?tenant=acme#sign-in=spent"));
    let signed_in = follow(format!("tidings={}", member("acme"))).await;
    assert_eq!((signed_in.status, signed_in.header("location")), (303, "/notifications?tenant=acme"));
    let expired = follow(format!("tidings={}", token(json!({"sub": "ann", "tenant": "acme", "exp": 1000})))).await;
    assert_eq!((expired.status, expired.header("location")), (303, "/notifications?tenant=acme#sign-in=spent"));
    for answer in [nobody, signed_in, expired] {
        assert_eq!((answer.header("set-cookie"), answer.header("cache-control")), ("", "no-store"));
    }
}

#[tokio::test]
async fn signing_out_takes_the_cookie_away_for_pages_of_ours_only() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("http.origins", r#"["https://app.example.com"]"#)]).await;
    let own = format!("http://{}", bridge.address);
    let expired = token(json!({"sub": "ann", "tenant": "acme", "exp": 1000}));
    for (origin, token, status) in [
        (Some(&*own), Some(member("acme")), 204),
        (Some(&*own), Some(expired), 204),
        (Some(&*own), None, 204),
        (Some("https://app.example.com"), Some(member("acme")), 204),
        (Some("https://evil.example.com"), Some(member("acme")), 403),
        (None, Some(member("acme")), 403),
    ] {
        let mut request = bridge.request("DELETE", "/v1/session");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        if let Some(token) = token {
            request = request.header("cookie", format!("tidings={token}"));
        }
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, status, "{origin:?}");
        let cookie = answer.header("set-cookie");
        if status == 204 {
            assert!(cookie.starts_with("tidings=; Path=/; Max-Age=0; HttpOnly"), "{cookie}");
        } else {
            assert_eq!(cookie, "");
        }
    }
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_told_where_to() {
    let db = Database::new().await;
    let plain = Bridge::start(&db).await;
    assert_eq!(plain.get("/v1/sign-in").await, (200, json!({"url": null})));
    let url = "https://app.example.com/sign-in?back={page}";
    let bridge = Bridge::with(&db.url, &[("pages.sign_in", url)]).await;
    assert_eq!(bridge.get("/v1/sign-in").await, (200, json!({"url": url})));
}
