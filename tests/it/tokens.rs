//! Who has no valid token gets in nowhere, is told why without a secret, and gets out when the token ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{Bridge, Database, SECRET, Sse, Ws, member, token};

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// A token whose header says something else than how it is signed.
fn forged(header: &Value, signature: &str) -> String {
    let claims = json!({"sub": "mallory-the-name", "tenant": "acme", "exp": unix_now() + 600});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(&claims))
}

fn bad_tokens() -> Vec<(String, &'static str)> {
    let good = json!({"sub": "mallory-the-name", "tenant": "acme", "exp": unix_now() + 600});
    let claims = |more: Value| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        signed(Algorithm::HS256, SECRET, &claims)
    };
    let (whole, other) = (claims(json!({})), claims(json!({"tenant": "globex"})));
    let (head, tail) = whole.rsplit_once('.').unwrap();
    vec![
        (String::new(), "token_missing"),
        ("mallory-the-name".into(), "token_malformed"),
        ("a.b.c".into(), "token_malformed"),
        (head.into(), "token_malformed"),
        (format!("{whole}.x"), "token_malformed"),
        (claims(json!({"exp": 1})), "token_expired"),
        (claims(json!({"exp": unix_now() - 31})), "token_expired"),
        (claims(json!({"nbf": unix_now() + 600})), "token_not_yet_valid"),
        (claims(json!({"exp": null})), "token_claim_missing"),
        (claims(json!({"sub": null})), "token_claim_missing"),
        (claims(json!({"tenant": null})), "token_claim_missing"),
        (claims(json!({"tenant": []})), "token_claim_invalid"),
        (claims(json!({"tenant": "a\u{0}b"})), "token_claim_invalid"),
        (claims(json!({"events": []})), "token_claim_invalid"),
        (claims(json!({"exp": "tomorrow"})), "token_claim_invalid"),
        (signed(Algorithm::HS256, "another secret, also long enough for HMAC", &good), "token_wrong_signature"),
        (format!("{}.{tail}", other.rsplit_once('.').unwrap().0), "token_wrong_signature"),
        (forged(&json!({"alg": "none"}), ""), "token_wrong_algorithm"),
        (forged(&json!({"alg": "None", "typ": "JWT"}), "x"), "token_wrong_algorithm"),
        (forged(&json!({"alg": "RS256", "kid": "k"}), tail), "token_wrong_algorithm"),
        (forged(&json!({"alg": "ES256"}), tail), "token_wrong_algorithm"),
        (forged(&json!({"alg": "HS256", "crit": ["exp"]}), tail), "token_malformed"),
        (forged(&json!({"alg": "HS256"}), ""), "token_wrong_signature"),
    ]
}

#[tokio::test]
async fn a_bad_token_is_refused_with_a_stable_code_and_nothing_of_it() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let addresses = [
        ("GET", "/v1/tenants/acme/events", "application/json"),
        ("GET", "/v1/tenants/acme/events", "text/event-stream"),
        ("GET", "/v1/events", "application/json"),
        ("POST", "/v1/tenants/acme/events", "application/json"),
        ("POST", "/v1/tickets", "application/json"),
        ("GET", "/v1/stats", "application/json"),
        ("GET", "/v1/status", "application/json"),
        ("DELETE", "/v1/connections/x", "application/json"),
        ("PATCH", "/v1/connections/x", "application/json"),
        ("POST", "/v1/tenants/acme/documents", "application/json"),
    ];
    let http = reqwest::Client::new();
    for (token, code) in bad_tokens() {
        for (method, path, accept) in addresses {
            let request = http.request(method.parse().unwrap(), bridge.url(path)).header("accept", accept);
            let response =
                request.header("authorization", format!("Bearer {token}")).json(&json!({})).send().await.unwrap();
            assert_eq!(response.status(), 401, "{method} {path} {code}");
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            assert_eq!(header("content-type"), "application/problem+json");
            assert!(header("www-authenticate").starts_with("Bearer") && !header("x-request-id").is_empty());
            let problem = response.text().await.unwrap();
            assert_eq!(serde_json::from_str::<Value>(&problem).unwrap()["code"], code, "{method} {path}");
            let secrets = [SECRET, "mallory-the-name", token.split('.').nth(1).unwrap_or("mallory-the-name")];
            assert!(secrets.iter().all(|secret| secret.len() < 2 || !problem.contains(secret)), "{problem}");
        }
        let socket = http.get(bridge.url("/v1/ws")).header("authorization", format!("Bearer {token}"));
        let socket =
            socket.header("connection", "upgrade").header("upgrade", "websocket").header("sec-websocket-version", "13");
        let refused = socket.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").send().await.unwrap();
        assert_eq!((refused.status().as_u16(), &refused.json::<Value>().await.unwrap()["code"]), (401, &code.into()));
    }
}

#[tokio::test]
async fn a_request_without_a_usable_authorization_is_missing_its_token() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let good = member("acme");
    let with = |query: &str| reqwest::Client::new().get(bridge.url(&format!("/v1/tenants/acme/events{query}")));
    let request = || with("");
    for (request, status) in [
        (request(), 401),
        (request().header("authorization", good.clone()), 401),
        (request().header("authorization", format!("Basic {good}")), 401),
        (request().header("authorization", "Bearer"), 401),
        (request().header("authorization", &b"Bearer \xff"[..]), 401),
        (with(&format!("?token={good}")), 401),
        (with(&format!("?access_token={good}")), 401),
        (request().header("cookie", format!("session={good}")), 401),
        // A bad token is not saved by a good cookie behind it.
        (request().header("authorization", "Bearer x").header("cookie", format!("tidings={good}")), 401),
        (request().header("authorization", format!("bearer {good}")), 200),
        (request().header("cookie", format!("a=b; tidings={good}")), 200),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{:?}", response.text().await);
    }
}

#[tokio::test]
async fn issuer_and_audience_are_checked_where_they_are_configured() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("auth.issuer", "https://id.example"), ("auth.audience", "tidings")]).await;
    for (iss, aud, expected) in [
        (json!("https://id.example"), json!("tidings"), Value::Null),
        (json!("https://id.example"), json!(["x", "tidings"]), Value::Null),
        (json!("https://id.example/"), json!("tidings"), json!("token_wrong_issuer")),
        (json!(["https://id.example"]), json!("tidings"), json!("token_wrong_issuer")),
        (json!("https://id.example"), json!("Tidings"), json!("token_wrong_audience")),
        (json!("https://id.example"), json!([]), json!("token_wrong_audience")),
        (json!("https://id.example"), json!({"tidings": "tidings"}), json!("token_wrong_audience")),
    ] {
        let token = token(json!({"sub": "ann", "tenant": "acme", "iss": iss, "aud": aud}));
        assert_eq!(bridge.get_as(&token, "/v1/status").await.1["code"], expected, "{iss} {aud}");
    }
    assert_eq!(bridge.get_as(&member("acme"), "/v1/status").await.1["code"], "token_wrong_issuer");
}

#[tokio::test]
async fn a_token_signed_with_the_previous_secret_is_good_until_it_is_taken_out() {
    let db = Database::new().await;
    let claims = json!({"sub": "ann", "tenant": "acme", "exp": unix_now() + 600});
    let previous = "the secret before, long enough for HMAC as well";
    for (settings, status) in [(&[("auth.previous_secret", previous)][..], 200), (&[], 401)] {
        let bridge = Bridge::with(&db.url, settings).await;
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert_eq!(bridge.get_as(&signed(algorithm, previous, &claims), "/v1/status").await.0, status);
            assert_eq!(bridge.get_as(&signed(algorithm, SECRET, &claims), "/v1/status").await.0, 200);
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_a_refreshed_socket_goes_on() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let short = token(json!({"sub": "ann", "tenant": "acme", "exp": unix_now() + 2}));
    let mut sse = Sse::open(&bridge, &short, "acme", "").await;
    let mut ws = Ws::open(&bridge, &short, "acme", json!({})).await;
    let mut refreshed = Ws::open(&bridge, &short, "acme", json!({})).await;
    refreshed.send(&json!({"type": "auth", "token": member("acme")})).await;
    assert_eq!(refreshed.frame().await.unwrap()["ok"], true);

    let bye = sse.block().await.unwrap();
    let told: Value = serde_json::from_str(&bye.data).unwrap();
    assert_eq!(
        (bye.event.as_str(), told),
        ("bye", json!({"code": 4510, "reason": "token_expired", "reconnect": false}))
    );
    assert!(sse.block().await.is_none());
    let told = ws.frame().await.unwrap();
    assert_eq!((&told["type"], &told["code"], &told["reconnect"]), (&"bye".into(), &4510.into(), &false.into()));
    assert!(ws.frame().await.is_none());
    assert_eq!(u16::from(ws.close.unwrap().code), 4510);
    assert!(unix_now() >= expiry(&short));

    db.sentinel("acme").await;
    assert_eq!(refreshed.until_sentinel().await, [json!(null); 0]);
}

fn expiry(token: &str) -> u64 {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["exp"].as_u64().unwrap()
}

#[tokio::test]
async fn a_refresh_that_is_refused_changes_nothing() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    let stranger = token(json!({"sub": "bob", "tenant": "acme"}));
    let expired = token(json!({"sub": "ann", "tenant": "acme", "exp": 1}));
    for (token, code) in [
        ("x".to_owned(), "token_malformed"),
        ("x".repeat(17_000), "token_too_long"),
        (expired, "token_expired"),
        (stranger, "forbidden"),
        (String::new(), "token_missing"),
    ] {
        ws.send(&json!({"type": "auth", "token": token})).await;
        let refused = ws.frame().await.unwrap();
        assert_eq!((&refused["type"], &refused["code"]), (&"error".into(), &code.into()));
    }
    db.sentinel("acme").await;
    assert_eq!(ws.until_sentinel().await, [json!(null); 0]);
}

#[tokio::test]
async fn a_refresh_with_fewer_rights_narrows_at_once_and_one_without_the_tenant_ends_the_socket() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let claims =
        |role: &str, events: &str| token(json!({"sub": "ann", "tenant": "acme", "role": role, "events": events}));
    let mut ws = Ws::open(&bridge, &claims("admin", "*"), "acme", json!({})).await;
    db.run("select tidings.emit('acme', 'n', audience => 'bob')").await;
    assert_eq!(ws.next().await["audience"], "bob");
    ws.send(&json!({"type": "auth", "token": claims("member", "n,sentinel")})).await;
    assert_eq!(ws.frame().await.unwrap()["ok"], true);
    db.run("select tidings.emit('acme', 'n', audience => 'bob'); select tidings.emit('acme', 'other'); select tidings.emit('acme', 'n', subject => '1')").await;
    db.sentinel("acme").await;
    let seen = ws.until_sentinel().await;
    assert_eq!((seen.len(), &seen[0]["subject"]), (1, &"1".into()));
    let elsewhere = token(json!({"sub": "ann", "tenant": "globex"}));
    ws.send(&json!({"type": "auth", "token": elsewhere})).await;
    assert_eq!(ws.frame().await.unwrap()["code"], 4503);
    assert!(ws.frame().await.is_none());
    assert_eq!(u16::from(ws.close.unwrap().code), 4503);
}

#[tokio::test]
async fn a_token_within_the_leeway_opens_no_lasting_stream() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let late = token(
        json!({"sub": "ann", "tenant": "acme", "exp": (SystemTime::now() - Duration::from_secs(5)).duration_since(UNIX_EPOCH).unwrap().as_secs()}),
    );
    let mut sse = Sse::open(&bridge, &late, "acme", "").await;
    assert_eq!(sse.block().await.unwrap().event, "bye");
    let mut ws = Ws::connect(&bridge, &late).await;
    assert_eq!(ws.frame().await.unwrap()["code"], 4510);
}

#[tokio::test]
async fn a_refresh_with_more_rights_widens_at_once() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let narrow = token(json!({"sub": "ann", "tenant": "acme", "events": "n,sentinel"}));
    let mut ws = Ws::open(&bridge, &narrow, "acme", json!({})).await;
    db.run("select tidings.emit('acme', 'other'); select tidings.emit('acme', 'n', audience => 'bob')").await;
    db.sentinel("acme").await;
    assert_eq!(ws.until_sentinel().await, [json!(null); 0]);
    let wide = token(json!({"sub": "ann", "tenant": ["acme", "globex"], "role": "admin"}));
    ws.send(&json!({"type": "auth", "token": wide})).await;
    assert_eq!(ws.frame().await.unwrap()["ok"], true);
    db.run("select tidings.emit('acme', 'other'); select tidings.emit('acme', 'n', audience => 'bob')").await;
    assert_eq!((&ws.next().await["type"], &ws.next().await["audience"]), (&json!("other"), &json!("bob")));
    assert_eq!(ws.subscribe("g", "globex", json!({})).await["type"], "subscribed");
    ws.send(&json!({"type": "auth", "token": member("acme")})).await;
    let bye = ws.frame().await.unwrap();
    assert_eq!(bye["code"], 4503, "and back again, it shows a tenant that is not the token's");
}

#[tokio::test]
async fn a_refresh_to_the_same_name_in_another_tenant_is_another_user() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut ws = Ws::connect(&bridge, &member("acme")).await;
    ws.send(&json!({"type": "auth", "token": member("globex")})).await;
    assert_eq!(ws.frame().await.unwrap()["code"], 4503);
    assert!(ws.frame().await.is_none());
}

#[tokio::test]
async fn a_flood_of_bad_tokens_ends_the_socket() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut ws = Ws::connect(&bridge, &member("acme")).await;
    for round in 0..2 {
        for _ in 0..if round == 0 { 19 } else { 20 } {
            ws.send(&json!({"type": "auth", "token": "eyJhbGciOiJub25lIn0.e30."})).await;
            assert_eq!(ws.frame().await.unwrap()["type"], "error");
        }
        if round == 0 {
            ws.send(&json!({"type": "auth", "token": member("acme")})).await;
            assert_eq!(ws.frame().await.unwrap()["ok"], true, "a good one begins anew");
        }
    }
    assert_eq!(ws.frame().await.unwrap()["code"], 4501);
    assert!(ws.frame().await.is_none());
}

#[tokio::test]
async fn a_page_does_not_wait_beyond_the_end_of_its_token() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let short = token(json!({"sub": "ann", "tenant": "acme", "exp": unix_now() + 2}));
    let waiting = bridge.get_as(&short, "/v1/tenants/acme/events?after=now&wait=60");
    let (status, page) = tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
    assert_eq!((status, &page["events"]), (200, &json!([])));
}
