//! What a token has to be, told from outside: every way to sign one, and every reason to refuse one.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{
    AuthConfigError, AuthError, IssuerConfig, KeySourceError, Verifier, VerifierConfig,
    test_keys::{ED25519, P256, P384, RSA, jwk},
};

const SECRET: &str = "the secret of these tests, long enough";
const PREVIOUS: &str = "the secret before it, also long enough";
/// The time at which the tokens of these tests are judged.
const NOW: u64 = 2_000_000_000;

fn claims() -> Value {
    json!({"sub": "ada", "tenant": "acme", "exp": NOW + 60})
}

/// The usual claims with one changed; `null` takes it away.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn hmac(algorithm: Algorithm, secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn signed(claims: &Value) -> String {
    hmac(Algorithm::HS256, SECRET.as_bytes(), claims)
}

/// A token whose header says what it likes, with the signature of another.
fn forged(header: &Value, signature: &str) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(&claims()))
}

fn config() -> VerifierConfig {
    VerifierConfig { secret: Some(SECRET.into()), leeway: Duration::ZERO, ..VerifierConfig::default() }
}

fn verify(config: &VerifierConfig, token: &str) -> Result<(), AuthError> {
    Verifier::new(config).unwrap().verify_at(token, NOW).map(drop)
}

/// A verifier over a JWKS file with these keys.
async fn with_keys(keys: Value, config: VerifierConfig) -> Verifier {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("tidings-jwks-{}-{}.json", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, json!({"keys": keys}).to_string()).unwrap();
    let verifier = Verifier::new(&VerifierConfig { jwks: Some(path.display().to_string()), ..config }).unwrap();
    let loaded = verifier.load_keys().await;
    std::fs::remove_file(path).unwrap();
    loaded.unwrap();
    verifier
}

fn keys_only() -> VerifierConfig {
    VerifierConfig { secret: None, ..config() }
}

#[test]
fn every_hmac_algorithm_is_accepted_with_the_secret_and_the_previous_one() {
    let config = VerifierConfig { previous_secret: Some(PREVIOUS.into()), ..config() };
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        for secret in [SECRET, PREVIOUS] {
            assert_eq!(verify(&config, &hmac(algorithm, secret.as_bytes(), &claims())), Ok(()));
        }
        let stranger = hmac(algorithm, b"another secret", &claims());
        assert_eq!(verify(&config, &stranger), Err(AuthError::WrongSignature));
    }
}

#[tokio::test]
async fn every_public_key_algorithm_is_accepted_through_a_jwks() {
    let keys = json!([jwk(&RSA, "r"), jwk(&P256, "p"), jwk(&P384, "q"), jwk(&ED25519, "e")]);
    let verifier = with_keys(keys, keys_only()).await;
    for (key, kid) in [(&RSA, "r"), (&P256, "p"), (&P384, "q"), (&ED25519, "e")] {
        let principal = verifier.verify_at(&key.sign(kid, &claims()), NOW).unwrap();
        assert_eq!((principal.sub.as_str(), principal.expires_at), ("ada", NOW + 60));
    }
}

#[tokio::test]
async fn a_key_verifies_only_the_algorithm_it_is_for() {
    let mut pss = jwk(&RSA, "pss");
    pss["alg"] = json!("PS256");
    let verifier = with_keys(json!([jwk(&RSA, "r"), pss, jwk(&P256, "p")]), keys_only()).await;
    for (token, expected) in [
        (RSA.sign_as(Algorithm::RS256, Some("r"), &claims()), None),
        (RSA.sign_as(Algorithm::RS512, Some("r"), &claims()), Some(AuthError::WrongAlgorithm)),
        (RSA.sign_as(Algorithm::PS256, Some("r"), &claims()), Some(AuthError::WrongAlgorithm)),
        (RSA.sign_as(Algorithm::PS256, Some("pss"), &claims()), None),
        (RSA.sign_as(Algorithm::RS256, Some("pss"), &claims()), Some(AuthError::WrongAlgorithm)),
        (RSA.sign("p", &claims()), Some(AuthError::WrongAlgorithm)),
        (P256.sign("r", &claims()), Some(AuthError::WrongAlgorithm)),
        (P256.sign("x", &claims()), Some(AuthError::UnknownKey)),
        (P256.sign_as(Algorithm::ES256, None, &claims()), Some(AuthError::UnknownKey)),
    ] {
        assert_eq!(verifier.verify_at(&token, NOW).err(), expected);
    }
}

#[tokio::test]
async fn a_signature_of_another_key_or_over_other_claims_is_refused() {
    let verifier = with_keys(json!([jwk(&P256, "a")]), config()).await;
    for token in [P256.sign("a", &claims()), signed(&claims())] {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let admin = BASE64_URL_SAFE_NO_PAD.encode(with("role", json!("admin")).to_string());
        let tampered = format!("{header}.{admin}.{signature}");
        assert_eq!(verifier.verify_at(&tampered, NOW).err(), Some(AuthError::WrongSignature));
        let unsigned = format!("{message}.");
        assert_eq!(verifier.verify_at(&unsigned, NOW).err(), Some(AuthError::WrongSignature));
    }
}

#[tokio::test]
async fn a_public_key_never_serves_as_an_hmac_secret() {
    let published = jwk(&RSA, "a");
    let jwk_text = published.to_string();
    let modulus = BASE64_URL_SAFE_NO_PAD.decode(published["n"].as_str().unwrap()).unwrap();
    for (config, expected) in [(keys_only(), AuthError::WrongAlgorithm), (config(), AuthError::WrongSignature)] {
        let verifier = with_keys(json!([published]), config).await;
        for secret in [jwk_text.as_bytes(), &modulus, published["n"].as_str().unwrap().as_bytes()] {
            let header = Header { kid: Some("a".into()), ..Header::new(Algorithm::HS256) };
            let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap();
            assert_eq!(verifier.verify_at(&token, NOW).err(), Some(expected));
        }
    }
}

#[tokio::test]
async fn an_unsigned_token_is_refused() {
    let verifier = with_keys(json!([jwk(&RSA, "a")]), config()).await;
    for alg in ["none", "None", "NONE", "", "hs256", "ES256K"] {
        for header in [json!({"alg": alg}), json!({"alg": alg, "kid": "a"})] {
            assert_eq!(
                verifier.verify_at(&forged(&header, ""), NOW).err(),
                Some(AuthError::WrongAlgorithm),
                "{header}"
            );
        }
    }
}

#[tokio::test]
async fn a_secret_and_a_jwks_work_side_by_side() {
    let verifier = with_keys(json!([jwk(&P256, "a")]), config()).await;
    assert!(verifier.verify_at(&signed(&claims()), NOW).is_ok());
    assert!(verifier.verify_at(&P256.sign("a", &claims()), NOW).is_ok());
    assert!(verifier.verify_at(&P256.sign_as(Algorithm::ES256, None, &claims()), NOW).is_ok());
}

#[test]
fn an_algorithm_without_a_configured_key_is_refused() {
    assert_eq!(verify(&config(), &P256.sign("a", &claims())), Err(AuthError::WrongAlgorithm));
    let narrowed = VerifierConfig { algorithms: vec!["HS512".into()], ..config() };
    assert_eq!(verify(&narrowed, &signed(&claims())), Err(AuthError::WrongAlgorithm));
    assert_eq!(verify(&narrowed, &hmac(Algorithm::HS512, SECRET.as_bytes(), &claims())), Ok(()));
}

#[test]
fn what_is_not_a_signed_token_is_refused() {
    assert_eq!(verify(&config(), ""), Err(AuthError::Missing));
    let token = signed(&claims());
    let array = signed(&json!(["ada"]));
    let critical = forged(&json!({"alg": "HS256", "crit": ["b64"], "b64": false}), "AA");
    for malformed in ["x", "a.b", "a.b.c", "...", &format!("{token}.x"), &format!("{token}="), &array, &critical] {
        assert_eq!(verify(&config(), malformed), Err(AuthError::Malformed), "{malformed}");
    }
    let long = signed(&with("pad", json!("x".repeat(16 * 1024))));
    assert_eq!(verify(&config(), &long), Err(AuthError::TooLong));
}

#[test]
fn a_token_is_good_from_nbf_until_just_before_exp() {
    for (leeway_s, name, value, expected) in [
        (0, "exp", json!(NOW + 1), Ok(())),
        (0, "exp", json!(NOW), Err(AuthError::Expired)),
        (10, "exp", json!(NOW - 9), Ok(())),
        (10, "exp", json!(NOW - 10), Err(AuthError::Expired)),
        (0, "exp", json!(-1), Err(AuthError::Expired)),
        (0, "exp", json!(NOW as f64 + 0.5), Err(AuthError::Expired)),
        (0, "exp", json!((NOW + 60).to_string()), Err(AuthError::InvalidClaim("exp"))),
        (0, "exp", json!(null), Err(AuthError::MissingClaim("exp"))),
        (u64::MAX, "exp", json!(1), Ok(())),
        (0, "nbf", json!(NOW), Ok(())),
        (0, "nbf", json!(NOW + 1), Err(AuthError::NotYetValid)),
        (10, "nbf", json!(NOW + 10), Ok(())),
        (10, "nbf", json!(NOW + 11), Err(AuthError::NotYetValid)),
        (0, "nbf", json!("soon"), Err(AuthError::InvalidClaim("nbf"))),
    ] {
        let config = VerifierConfig { leeway: Duration::from_secs(leeway_s), ..config() };
        assert_eq!(verify(&config, &signed(&with(name, value.clone()))), expected, "{name} {value} leeway {leeway_s}");
    }
}

#[test]
fn a_token_of_another_issuer_or_for_another_audience_is_refused() {
    let bound = VerifierConfig { issuer: Some("us".into()), audience: Some("tidings".into()), ..config() };
    for (iss, aud, expected) in [
        (json!("us"), json!("tidings"), Ok(())),
        (json!("us"), json!(["shop", "tidings"]), Ok(())),
        (json!("them"), json!("tidings"), Err(AuthError::WrongIssuer)),
        (json!(["us"]), json!("tidings"), Err(AuthError::WrongIssuer)),
        (json!(null), json!("tidings"), Err(AuthError::WrongIssuer)),
        (json!("us"), json!("shop"), Err(AuthError::WrongAudience)),
        (json!("us"), json!(["shop"]), Err(AuthError::WrongAudience)),
        (json!("us"), json!([]), Err(AuthError::WrongAudience)),
        (json!("us"), json!(null), Err(AuthError::WrongAudience)),
    ] {
        let mut claims = with("iss", iss);
        claims["aud"] = aud;
        assert_eq!(verify(&bound, &signed(&claims)), expected, "{claims}");
        assert_eq!(verify(&config(), &signed(&claims)), Ok(()), "{claims}");
    }
}

#[test]
fn claims_are_found_under_the_configured_names() {
    let config = VerifierConfig {
        sub_claim: "user.id".into(),
        tenant_claim: "app_metadata.tenant_id".into(),
        role_claim: "https://id.example/role".into(),
        events_claim: "scope.events".into(),
        ..config()
    };
    let token = signed(
        &json!({"exp": NOW + 60, "sub": "ignored", "user": {"id": "ada"}, "app_metadata": {"tenant_id": ["acme"]},
        "https://id.example/role": "service", "scope.events": "chat.*"}),
    );
    let principal = Verifier::new(&config).unwrap().verify_at(&token, NOW).unwrap();
    assert_eq!(principal.sub, "ada");
    assert!(principal.may_publish("acme") && !principal.may_enter("globex"));
    assert_eq!(principal.events.to_string(), "chat.*");

    assert_eq!(verify(&config, &signed(&claims())), Err(AuthError::MissingClaim("sub")));
}

#[test]
fn no_error_repeats_the_token() {
    let marked = "hunter2";
    for claims in [
        with("sub", json!(["hunter2"])),
        with("tenant", json!({"hunter2": 1})),
        with("events", json!("hunter2 hunter2")),
        with("exp", json!(marked)),
        with("nbf", json!(marked)),
        with("jti", json!([marked])),
    ] {
        let error = Verifier::new(&config()).unwrap().verify_at(&signed(&claims), NOW).unwrap_err();
        assert!(!format!("{error}{error:?}{}{}", error.code(), error.hint()).contains(marked), "{error}");
    }
    let refused =
        [json!({"alg": marked}), json!({"alg": "RS256", "kid": marked}), json!({"alg": "HS256", "kid": [marked]})];
    for header in refused {
        let error = verify(&config(), &forged(&header, marked)).unwrap_err();
        assert!(!format!("{error}{error:?}").contains(marked));
    }
    assert!(!format!("{:?}", config()).contains(SECRET));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let none = || VerifierConfig::default();
    let some = |text: &str| Some(text.to_owned());
    let listed = |name: &str| vec![name.to_owned()];
    let error = |config: VerifierConfig| Verifier::new(&config).err().map(|error| format!("{error:?}"));
    for (config, expected) in [
        (none(), AuthConfigError::NoKey),
        (VerifierConfig { previous_secret: some(PREVIOUS), ..none() }, AuthConfigError::OnlyPreviousSecret),
        (VerifierConfig { secret: some(""), ..none() }, AuthConfigError::Empty("secret")),
        (VerifierConfig { audience: some(""), ..config() }, AuthConfigError::Empty("audience")),
        (VerifierConfig { tenant_claim: String::new(), ..config() }, AuthConfigError::Empty("tenant_claim")),
        (VerifierConfig { algorithms: listed("none"), ..config() }, AuthConfigError::UnknownAlgorithm("none".into())),
        (VerifierConfig { algorithms: listed("RS256"), ..config() }, AuthConfigError::NoAlgorithmFor("secret")),
        (
            VerifierConfig { algorithms: listed("HS256"), jwks: some("k.json"), ..config() },
            AuthConfigError::NoAlgorithmFor("jwks"),
        ),
        (
            VerifierConfig { jwks: some("http://id.example/k"), ..none() },
            AuthConfigError::Jwks(KeySourceError::NotSecure),
        ),
    ] {
        assert_eq!(error(config), Some(format!("{expected:?}")));
    }
}

/// A folder of the test's own, for the key files of several issuers.
struct KeyFiles(std::path::PathBuf);

impl KeyFiles {
    fn new() -> Self {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tidings-issuers-{}-{}", std::process::id(), FOLDERS.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn put(&self, name: &str, keys: &Value) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, json!({"keys": keys}).to_string()).unwrap();
        path.display().to_string()
    }
}

impl Drop for KeyFiles {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_key_of_one_issuer_never_verifies_a_token_of_another() {
    let files = KeyFiles::new();
    let issuer = |name: &str, keys: Value, audience: Option<&str>| IssuerConfig {
        name: name.to_owned(),
        jwks: files.put(name, &keys),
        audience: audience.map(str::to_owned),
    };
    // The same id for different keys, and the same key for two ids.
    let issuers = vec![
        issuer("a", json!([jwk(&P256, "k"), jwk(&RSA, "r")]), None),
        issuer("b", json!([jwk(&ED25519, "k")]), Some("shop")),
    ];
    let jwks = Some(files.put("own", &json!([jwk(&P384, "k")])));
    let config = VerifierConfig { jwks, issuer: Some("c".into()), issuers, ..config() };
    let verifier = Verifier::new(&config).unwrap();
    verifier.load_keys().await.unwrap();
    let from = |iss: Value, aud: Value| {
        let mut claims = with("iss", iss);
        claims["aud"] = aud;
        claims
    };
    let any = || json!(null);
    for (token, expected) in [
        (P256.sign("k", &from(json!("a"), any())), None),
        (ED25519.sign("k", &from(json!("b"), json!("shop"))), None),
        (P384.sign("k", &from(json!("c"), any())), None),
        (signed(&from(json!("c"), any())), None),
        (ED25519.sign("k", &from(json!("b"), json!("tidings"))), Some(AuthError::WrongAudience)),
        (ED25519.sign("k", &from(json!("a"), json!("shop"))), Some(AuthError::WrongAlgorithm)),
        (P256.sign("k", &from(json!("b"), json!("shop"))), Some(AuthError::WrongAlgorithm)),
        (P256.sign("k", &from(json!("c"), any())), Some(AuthError::WrongAlgorithm)),
        (RSA.sign("r", &from(json!("b"), json!("shop"))), Some(AuthError::UnknownKey)),
        (P256.sign_as(Algorithm::ES256, None, &from(json!("b"), json!("shop"))), Some(AuthError::WrongAlgorithm)),
        (P256.sign("k", &from(json!("d"), any())), Some(AuthError::WrongIssuer)),
        (P256.sign("k", &from(any(), any())), Some(AuthError::WrongIssuer)),
        (P256.sign("k", &from(json!(["a"]), any())), Some(AuthError::WrongIssuer)),
        (P256.sign("k", &from(json!("A"), any())), Some(AuthError::WrongIssuer)),
        (signed(&from(json!("a"), any())), Some(AuthError::WrongIssuer)),
        (signed(&from(any(), any())), Some(AuthError::WrongIssuer)),
    ] {
        assert_eq!(verifier.verify_at(&token, NOW).err(), expected);
    }

    // A secret that is not bound to an issuer does not speak for those that have keys.
    let unbound = VerifierConfig { jwks: None, issuer: None, ..config };
    let verifier = Verifier::new(&unbound).unwrap();
    assert_eq!(verifier.verify_at(&signed(&from(json!("a"), any())), NOW).err(), Some(AuthError::WrongIssuer));
    assert!(verifier.verify_at(&signed(&from(json!("z"), any())), NOW).is_ok());
}

#[tokio::test]
async fn keys_that_a_token_brings_along_or_points_to_are_not_looked_at() {
    let verifier = with_keys(json!([jwk(&P256, "a")]), keys_only()).await;
    let own = serde_json::from_value(jwk(&P384, "a")).unwrap();
    for (kid, expected) in [
        (Some("a"), AuthError::WrongAlgorithm),
        (None, AuthError::WrongAlgorithm),
        (Some("../../../dev/null"), AuthError::UnknownKey),
        (Some("/etc/tidings/jwks.json"), AuthError::UnknownKey),
        (Some("' or '1'='1"), AuthError::UnknownKey),
        (Some("https://evil.example/jwks"), AuthError::UnknownKey),
        (Some("a\0"), AuthError::UnknownKey),
        (Some(""), AuthError::UnknownKey),
    ] {
        let header = Header {
            kid: kid.map(str::to_owned),
            jku: Some("http://127.0.0.1:1/jwks".into()),
            x5u: Some("http://127.0.0.1:1/cert".into()),
            jwk: Some(Clone::clone(&own)),
            ..Header::new(Algorithm::ES384)
        };
        let token = jsonwebtoken::encode(&header, &claims(), &P384.private()).unwrap();
        assert_eq!(verifier.verify_at(&token, NOW).err(), Some(expected), "{kid:?}");
    }
}

/// A token whose parts are these bytes, signed with the secret.
fn of_bytes(header: &[u8], claims: &[u8]) -> String {
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn a_token_that_can_be_read_in_two_ways_is_refused() {
    const HEAD: &[u8] = br#"{"alg":"HS256"}"#;
    let claims = claims().to_string();
    assert_eq!(verify(&config(), &of_bytes(HEAD, claims.as_bytes())), Ok(()));
    let nested = format!(r#"{{"x":{}{}}}"#, "[".repeat(4000), "]".repeat(4000));
    let twice = |more: &str| format!("{},{more}}}", claims.trim_end_matches('}'));
    for (head, claims) in [
        (HEAD, twice(r#""tenant":"globex""#)),
        (HEAD, twice(r#""ten\u0061nt":"globex""#)),
        (HEAD, twice(r#""sub":"bob""#)),
        (HEAD, twice(r#""app":{"role":"member","role":"admin"}"#)),
        (br#"{"alg":"HS256","alg":"none"}"#, claims.clone()),
        (br#"{"alg":"HS256","kid":"a","kid":"b"}"#, claims.clone()),
        (br#"{"alg":"HS256","crit":null}"#, claims.clone()),
        (br#"{"alg":"HS256","crit":[]}"#, claims.clone()),
        (br#"{"alg":"HS256","b64":false}"#, claims.clone()),
        (br#"{"alg":"HS256","b64":true}"#, claims.clone()),
        (br#"{"alg":["HS256"]}"#, claims.clone()),
        (br#"{"alg":"HS256","kid":7}"#, claims.clone()),
        (br#"{"alg":"HS256","kid":null}"#, claims.clone()),
        (br#"["HS256"]"#, claims.clone()),
        (b"{\"alg\":\"HS256\",\"x\":\"\xff\"}", claims.clone()),
        (HEAD, nested.clone()),
        (nested.as_bytes(), claims.clone()),
        (HEAD, format!("{claims} {claims}")),
        (HEAD, claims.replace("ada", "a\u{0}a")),
        (HEAD, "null".into()),
        (HEAD, String::new()),
        (b"", claims.clone()),
    ] {
        let shown = claims.get(..60.min(claims.len())).unwrap_or_default();
        assert_eq!(verify(&config(), &of_bytes(head, claims.as_bytes())), Err(AuthError::Malformed), "{shown}");
    }
    let mut bytes = claims.clone().into_bytes();
    bytes[8] = 0xff;
    assert_eq!(verify(&config(), &of_bytes(HEAD, &bytes)), Err(AuthError::Malformed), "not UTF-8");
}

#[test]
fn no_claim_of_an_odd_shape_gives_rights() {
    let long: String = "x".repeat(256);
    let many: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    for (name, value, expected) in [
        ("exp", json!(1e300), AuthError::TooLasting),
        ("exp", json!(u64::MAX), AuthError::TooLasting),
        ("exp", json!(i64::MAX), AuthError::TooLasting),
        ("exp", json!(NOW + 401 * 24 * 3600), AuthError::TooLasting),
        ("exp", json!(-1e300), AuthError::Expired),
        ("exp", json!(i64::MIN), AuthError::Expired),
        ("exp", json!("NaN"), AuthError::InvalidClaim("exp")),
        ("nbf", json!(1e300), AuthError::NotYetValid),
        ("iat", json!(NOW + 3600), AuthError::NotYetValid),
        ("iat", json!(1e300), AuthError::NotYetValid),
        ("tenant", json!({"acme": true}), AuthError::InvalidClaim("tenant")),
        ("tenant", json!(""), AuthError::InvalidClaim("tenant")),
        ("tenant", json!([["acme"]]), AuthError::InvalidClaim("tenant")),
        ("tenant", json!(["acme", ""]), AuthError::InvalidClaim("tenant")),
        ("tenant", json!(long), AuthError::InvalidClaim("tenant")),
        ("tenant", json!("acme\u{0}"), AuthError::InvalidClaim("tenant")),
        ("tenant", json!("acme\u{85}"), AuthError::InvalidClaim("tenant")),
        ("tenant", json!(many), AuthError::TooLong),
        ("sub", json!(""), AuthError::InvalidClaim("sub")),
        ("sub", json!(long), AuthError::InvalidClaim("sub")),
        ("sub", json!("a\r\nb"), AuthError::InvalidClaim("sub")),
        ("jti", json!(long), AuthError::InvalidClaim("jti")),
        ("jti", json!({}), AuthError::InvalidClaim("jti")),
    ] {
        assert_eq!(verify(&config(), &signed(&with(name, value.clone()))), Err(expected), "{name}");
    }
    for exp in [json!([NOW + 60]), json!({}), json!(true), json!("Infinity"), json!("")] {
        let refused = verify(&config(), &signed(&with("exp", exp.clone())));
        assert!(matches!(refused, Err(AuthError::InvalidClaim("exp") | AuthError::Malformed)), "{exp}: {refused:?}");
    }
    assert_eq!(verify(&config(), &signed(&with("sub", json!(["ada"])))), Err(AuthError::Malformed));
    // A tenant is told apart byte for byte.
    for name in
        ["caf\u{e9}", "cafe\u{301}", "acme.", "acme ", " acme", "a\u{200b}cme", "%61cme", "acme/../x", "\u{ff41}cme"]
    {
        let principal =
            Verifier::new(&config()).unwrap().verify_at(&signed(&with("tenant", json!(name))), NOW).unwrap();
        assert!(principal.may_enter(name) && !principal.may_enter("acme") && !principal.may_enter("caf\u{65}\u{301}x"));
    }
}

#[tokio::test]
async fn a_weak_or_doubled_key_is_not_used() {
    let mut short = jwk(&RSA, "short");
    let modulus = BASE64_URL_SAFE_NO_PAD.decode(short["n"].as_str().unwrap()).unwrap();
    short["n"] = json!(BASE64_URL_SAFE_NO_PAD.encode(&modulus[..128]));
    let mut encrypts = jwk(&ED25519, "enc");
    encrypts["use"] = json!("enc");
    let mut signs = jwk(&P384, "ops");
    signs["key_ops"] = json!(["sign"]);
    let verifier = with_keys(json!([short, encrypts, signs, jwk(&P256, "good")]), keys_only()).await;
    for (token, expected) in [
        (RSA.sign("short", &claims()), Some(AuthError::UnknownKey)),
        (ED25519.sign("enc", &claims()), Some(AuthError::UnknownKey)),
        (P384.sign("ops", &claims()), Some(AuthError::UnknownKey)),
        (P256.sign("good", &claims()), None),
    ] {
        assert_eq!(verifier.verify_at(&token, NOW).err(), expected);
    }
}

#[tokio::test]
async fn a_key_that_is_replaced_under_the_same_id_verifies_no_more() {
    let files = KeyFiles::new();
    let jwks = Some(files.put("keys", &json!([jwk(&P256, "k")])));
    let verifier = Verifier::new(&VerifierConfig { jwks, ..keys_only() }).unwrap();
    verifier.load_keys().await.unwrap();
    assert!(verifier.verify_at(&P256.sign("k", &claims()), NOW).is_ok());
    files.put("keys", &json!([jwk(&ED25519, "k")]));
    verifier.load_keys().await.unwrap();
    assert_eq!(verifier.verify_at(&P256.sign("k", &claims()), NOW).err(), Some(AuthError::WrongAlgorithm));
    assert!(verifier.verify_at(&ED25519.sign("k", &claims()), NOW).is_ok());
}
