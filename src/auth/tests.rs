//! What a token has to be, told from outside: every way to sign one, and every reason to refuse one.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{
    AuthConfigError, AuthError, KeySourceError, Verifier, VerifierConfig,
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
