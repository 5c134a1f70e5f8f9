//! Public keys of several issuers, as a running bridge keeps them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{Bridge, Database, Folder, eventually, member};

/// Private keys on the curves P-256 and Ed25519, PKCS #8. They were made for these tests and protect nothing.
const KEYS: [(Algorithm, &str); 2] = [
    (
        Algorithm::ES256,
        "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgaSFboUJYRUqmOgk9Q8CyGBAG4VWf+Nz9sSJ8v2+yR6yhRANCAAQr\
         80pLAZXWRgOCwj68d4ezCY7+2rHho3AxhjjMbBT2mtXoFPZBOlRWN1f2ryfcRiJDhVFj0fsJXVCKz4pWWCFx",
    ),
    (Algorithm::EdDSA, "MC4CAQAwBQYDK2VwBCIEIKGHK050qLSwa3Ah3k1p1FtF+9Nx0O0zlzZxkmKCTl9o"),
];

fn private(number: usize) -> (Algorithm, EncodingKey) {
    let (algorithm, der) = KEYS[number];
    let der = STANDARD.decode(der).unwrap();
    (algorithm, if number == 0 { EncodingKey::from_ec_der(&der) } else { EncodingKey::from_ed_der(&der) })
}

/// The public half, under an id.
fn public(number: usize, kid: &str) -> Value {
    let (algorithm, key) = private(number);
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
    jwk["kid"] = json!(kid);
    jwk
}

fn token(number: usize, kid: &str, issuer: &str) -> String {
    let (algorithm, key) = private(number);
    let exp = jiff::Timestamp::now().as_second() + 600;
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, &json!({"sub": "ann", "tenant": "acme", "iss": issuer, "exp": exp}), &key).unwrap()
}

async fn code(bridge: &Bridge, token: &str) -> (u16, String) {
    let (status, body) = bridge.get_as(token, "/v1/status").await;
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn each_issuers_tokens_are_good_with_its_own_keys_and_a_file_that_breaks_takes_none_away() {
    let folder = Folder::new();
    let path = |name: &str| format!("{}/{name}", folder.path());
    let put = |name: &str, content: String| std::fs::write(path(name), content).unwrap();
    // Both use the same id.
    put("a.json", json!({"keys": [public(0, "k")]}).to_string());
    put("b.json", json!({"keys": [public(1, "k")]}).to_string());
    let issuers = json!([{"name": "https://a", "jwks": path("a.json")}, {"name": "https://b", "jwks": path("b.json")}]);
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("issuer", &issuers.to_string()), ("auth.jwks_refresh", "1s")]).await;
    for (number, iss, expected) in [
        (0, "https://a", (200, "")),
        (1, "https://b", (200, "")),
        (0, "https://b", (401, "token_wrong_algorithm")),
        (1, "https://a", (401, "token_wrong_algorithm")),
        (0, "https://c", (401, "token_wrong_issuer")),
    ] {
        let (status, code) = code(&bridge, &token(number, "k", iss)).await;
        assert_eq!((status, code.as_str()), expected, "{number} {iss}");
    }
    assert_eq!(code(&bridge, &member("acme")).await.0, 200, "the secret is beside them");

    put("b.json", "{".into());
    let asked = || async { code(&bridge, &token(0, "new", "https://a")).await };
    assert_eq!(asked().await, (401, "token_unknown_key".into()));
    put("a.json", json!({"keys": [public(0, "new")]}).to_string());
    eventually("the new key is read", || async { asked().await.0 == 200 }).await;
    assert_eq!(code(&bridge, &token(0, "k", "https://a")).await.1, "token_unknown_key", "the old one is gone");
    assert_eq!(code(&bridge, &token(1, "k", "https://b")).await.0, 200);
    let metrics = reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap();
    let age = metrics.lines().find_map(|line| line.strip_prefix("tidings_jwks_age_seconds ")).unwrap();
    assert!(age.parse::<u64>().unwrap() >= 5, "it could not be read since it broke: {age}");
}
