//! Decides whether a token is genuine, in date and meant for us, and makes the [`Principal`] it stands for.
//!
//! Called by `http` once per request and per refreshed connection; never waits.
//! Invariant: the key decides the algorithm. A token's header only chooses between the secrets and the JWKS, and inside
//! the JWKS a key id; the key found there must be for the algorithm the header names.
//!
//! Why dates, issuer and audience are checked here and not by `jsonwebtoken`: each failure needs its own stable code,
//! and a token is expired *at* `exp` (RFC 7519 §4.1.4), not a second later.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, errors::ErrorKind};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    AuthConfigError, AuthError, KeysError, Principal, VerifierConfig,
    claims::{self, ClaimNames},
    config::{accepted_algorithms, refuse_empty},
    jwks::Jwks,
};

/// Longest token in bytes. Twice what common servers allow for all headers together.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Secrets shorter than this in bytes are reported: RFC 7518 §3.2 asks for as many bits as the hash of HS256 has.
const SECRET_BYTES_ADVISED: usize = 32;

/// Verifies tokens against the configured keys. Shared by all connections.
pub struct Verifier {
    /// The secret, then the previous one.
    secrets: Vec<DecodingKey>,
    /// The algorithms the secrets are for.
    secret_algorithms: Vec<Algorithm>,
    jwks: Option<Jwks>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway_s: u64,
    names: ClaimNames,
}

impl Verifier {
    /// Checks the settings; reads no key yet (see [`Verifier::load_keys`]).
    ///
    /// # Errors
    /// When no token could ever be verified with them, or a value is not usable.
    pub fn new(config: &VerifierConfig) -> Result<Self, AuthConfigError> {
        refuse_empty(config)?;
        if config.secret.is_none() && config.previous_secret.is_some() {
            return Err(AuthConfigError::OnlyPreviousSecret);
        }
        let accepted = accepted_algorithms(&config.algorithms)?;
        let (secret_algorithms, key_algorithms): (Vec<_>, Vec<_>) =
            accepted.into_iter().partition(|algorithm| is_hmac(*algorithm));

        let secrets: Vec<_> = config.secret.iter().chain(&config.previous_secret).collect();
        if !secrets.is_empty() && secret_algorithms.is_empty() {
            return Err(AuthConfigError::NoAlgorithmFor("secret"));
        }
        if secrets.iter().any(|secret| secret.len() < SECRET_BYTES_ADVISED) {
            tracing::warn!(
                "auth.secret or auth.previous_secret is shorter than {SECRET_BYTES_ADVISED} bytes and may be guessed"
            );
        }
        let jwks = match &config.jwks {
            Some(_) if key_algorithms.is_empty() => return Err(AuthConfigError::NoAlgorithmFor("jwks")),
            Some(location) => Some(Jwks::new(location, config.jwks_refresh, key_algorithms)?),
            None if secrets.is_empty() => return Err(AuthConfigError::NoKey),
            None => None,
        };
        Ok(Self {
            secrets: secrets.into_iter().map(|secret| DecodingKey::from_secret(secret.as_bytes())).collect(),
            secret_algorithms,
            jwks,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            leeway_s: config.leeway.as_secs(),
            names: config.claim_names(),
        })
    }

    /// Loads the JWKS for the first time; nothing to do without one.
    ///
    /// # Errors
    /// Names the file or URL and the cause. [`Verifier::keep_fresh`] goes on trying, should the caller go on.
    pub async fn load_keys(&self) -> Result<(), KeysError> {
        match &self.jwks {
            Some(jwks) => jwks.load().await,
            None => Ok(()),
        }
    }

    /// Loads the JWKS again whenever it is old or a token names an unknown key, until cancelled. Keys stay in use
    /// while the provider is down. Run it once.
    pub async fn keep_fresh(&self, cancel: CancellationToken) {
        match &self.jwks {
            Some(jwks) => jwks.keep_fresh(cancel).await,
            None => cancel.cancelled().await,
        }
    }

    /// The rights that a token gives, now.
    ///
    /// # Errors
    /// The first reason found against it; the signature is looked at before any claim.
    pub fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        // A clock before 1970 must not make every token good.
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |now| now.as_secs());
        self.verify_at(token, now_s)
    }

    pub(super) fn verify_at(&self, token: &str, now_s: u64) -> Result<Principal, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::TooLong);
        }
        let claims = self.signed_claims(token)?;
        self.check_dates(&claims, now_s)?;
        self.check_origin(&claims)?;
        Principal::read(&claims, &self.names)
    }

    /// The claims, once a key of ours vouches for them.
    fn signed_claims(&self, token: &str) -> Result<Value, AuthError> {
        let (algorithm, kid) = read_header(token)?;
        if !is_hmac(algorithm) {
            let jwks = self.jwks.as_ref().ok_or(AuthError::WrongAlgorithm)?;
            let found = jwks.find(kid.as_deref())?;
            return open(token, algorithm, &found.algorithms, &found.key);
        }
        let mut refused = AuthError::WrongAlgorithm;
        for secret in &self.secrets {
            match open(token, algorithm, &self.secret_algorithms, secret) {
                Err(AuthError::WrongSignature) => refused = AuthError::WrongSignature,
                decided => return decided,
            }
        }
        Err(refused)
    }

    fn check_dates(&self, claims: &Value, now_s: u64) -> Result<(), AuthError> {
        let exp = claims.get("exp").ok_or(AuthError::MissingClaim("exp"))?;
        let exp_s = claims::unix_s(exp).ok_or(AuthError::InvalidClaim("exp"))?;
        if now_s >= exp_s.saturating_add(self.leeway_s) {
            return Err(AuthError::Expired);
        }
        if let Some(nbf) = claims.get("nbf") {
            let nbf_s = claims::unix_s(nbf).ok_or(AuthError::InvalidClaim("nbf"))?;
            if nbf_s > now_s.saturating_add(self.leeway_s) {
                return Err(AuthError::NotYetValid);
            }
        }
        Ok(())
    }

    fn check_origin(&self, claims: &Value) -> Result<(), AuthError> {
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(AuthError::WrongIssuer);
        }
        if let Some(audience) = &self.audience {
            let is_ours = |value: &Value| value.as_str() == Some(audience);
            let ours = match claims.get("aud") {
                Some(Value::Array(list)) => list.iter().any(is_ours),
                Some(one) => is_ours(one),
                None => false,
            };
            if !ours {
                return Err(AuthError::WrongAudience);
            }
        }
        Ok(())
    }
}

/// What the unverified header asks for: only a choice among our keys, never one among algorithms for a key.
fn read_header(token: &str) -> Result<(Algorithm, Option<String>), AuthError> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
        kid: Option<String>,
        crit: Option<IgnoredAny>,
    }
    let parts: Vec<_> = token.splitn(4, '.').collect();
    let [header, _, _] = parts[..] else { return Err(AuthError::Malformed) };
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).map_err(|_| AuthError::Malformed)?;
    let header: Header = serde_json::from_slice(&header).map_err(|_| AuthError::Malformed)?;
    if header.crit.is_some() {
        // RFC 7515 §4.1.11: extensions that we do not know must not be ignored, and we know none.
        return Err(AuthError::Malformed);
    }
    let algorithm = header.alg.parse().map_err(|_| AuthError::WrongAlgorithm)?;
    Ok((algorithm, header.kid))
}

/// Checks the signature with one key and returns the claims.
fn open(token: &str, algorithm: Algorithm, key_is_for: &[Algorithm], key: &DecodingKey) -> Result<Value, AuthError> {
    if !key_is_for.contains(&algorithm) {
        return Err(AuthError::WrongAlgorithm);
    }
    let mut signature_only = Validation::new(algorithm);
    signature_only.required_spec_claims.clear();
    signature_only.validate_exp = false;
    signature_only.validate_aud = false;
    let opened = jsonwebtoken::decode::<Value>(token, key, &signature_only).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => AuthError::WrongSignature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => AuthError::WrongAlgorithm,
        _ => AuthError::Malformed,
    })?;
    if opened.claims.is_object() { Ok(opened.claims) } else { Err(AuthError::Malformed) }
}

fn is_hmac(algorithm: Algorithm) -> bool {
    algorithm.family() == AlgorithmFamily::Hmac
}
