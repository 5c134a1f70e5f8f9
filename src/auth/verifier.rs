//! Decides whether a token is genuine, in date and meant for us, and makes the [`Principal`] it stands for.
//!
//! Called by `http` once per request and per refreshed connection; never waits.
//! Invariants: an issuer's tokens are judged by its own keys. And the key decides the algorithm. A token's header only chooses between the secrets and the JWKS, and inside
//! the JWKS a key id; the key found there must be for the algorithm the header names.
//!
//! Why dates, issuer and audience are checked here and not by `jsonwebtoken`: each failure needs its own stable code,
//! and a token is expired *at* `exp` (RFC 7519 §4.1.4), not a second later.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, errors::ErrorKind};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    AuthConfigError, AuthError, KeysError, Principal, VerifierConfig,
    claims::{self, ClaimNames},
    config::{accepted_algorithms, refuse_empty},
    jwks::Jwks,
    key_mark::KeyMark,
    strict::Strict,
};

/// Longest token in bytes. Twice what common servers allow for all headers together.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Secrets shorter than this in bytes are reported: RFC 7518 §3.2 asks for as many bits as the hash of HS256 has.
const SECRET_BYTES_ADVISED: usize = 32;

/// Verifies tokens against the configured keys. Shared by all connections.
pub struct Verifier {
    /// The secret, then the previous one.
    secrets: Vec<(DecodingKey, KeyMark)>,
    /// The algorithms the secrets are for.
    secret_algorithms: Vec<Algorithm>,
    /// What tokens signed with a secret have to say.
    own: Naming,
    providers: Vec<Provider>,
    leeway_s: u64,
    lifetime_s: u64,
    names: ClaimNames,
}

/// Whose tokens, and for whom.
struct Naming {
    /// None: anybody's, but not those of a provider.
    issuer: Option<String>,
    audience: Option<String>,
}

/// Who signs with keys that are published.
struct Provider {
    naming: Naming,
    jwks: Jwks,
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
        let own = || Naming { issuer: config.issuer.clone(), audience: config.audience.clone() };
        let listed = config.issuers.iter().map(|issuer| {
            let audience = issuer.audience.clone().or_else(|| config.audience.clone());
            (Naming { issuer: Some(issuer.name.clone()), audience }, &issuer.jwks)
        });
        let wanted: Vec<_> = config.jwks.iter().map(|jwks| (own(), jwks)).chain(listed).collect();
        if wanted.is_empty() && secrets.is_empty() {
            return Err(AuthConfigError::NoKey);
        } else if !wanted.is_empty() && key_algorithms.is_empty() {
            return Err(AuthConfigError::NoAlgorithmFor("jwks"));
        }
        let provider = |(naming, location): (Naming, &String)| {
            let jwks = Jwks::new(location, config.jwks_refresh, key_algorithms.clone())?;
            Ok(Provider { naming, jwks })
        };
        let providers = wanted.into_iter().map(provider).collect::<Result<_, AuthConfigError>>()?;
        Ok(Self {
            secrets: secrets
                .into_iter()
                .map(|secret| (DecodingKey::from_secret(secret.as_bytes()), KeyMark::of_secret(secret)))
                .collect(),
            secret_algorithms,
            own: own(),
            providers,
            leeway_s: config.leeway.as_secs(),
            lifetime_s: config.lifetime_max.as_secs(),
            names: config.claim_names(),
        })
    }

    /// Loads the JWKS of every provider for the first time.
    ///
    /// # Errors
    /// Names the file or URL and the cause. [`Verifier::keep_fresh`] goes on trying, should the caller go on.
    pub async fn load_keys(&self) -> Result<(), KeysError> {
        join_all(self.providers.iter().map(|provider| provider.jwks.load())).await.into_iter().collect()
    }

    /// Loads each JWKS again whenever it is old or a token names an unknown key, until cancelled. Keys stay in use
    /// while the provider is down. Run it once.
    pub async fn keep_fresh(&self, cancel: CancellationToken) {
        join_all(self.providers.iter().map(|provider| provider.jwks.keep_fresh(cancel.clone()))).await;
        cancel.cancelled().await;
    }

    /// Time since the keys of a provider were last read; of several, the longest. None where there are none.
    pub fn keys_age(&self) -> Option<Duration> {
        self.providers.iter().filter_map(|provider| provider.jwks.age()).max()
    }

    /// Begins with each JWKS of the verifier before that is read from the same place: a provider that is down does not
    /// keep other settings from changing. Whether all are.
    pub fn inherit(&self, old: &Self) -> bool {
        let inherits = |provider: &Provider| {
            let same = |old: &&Provider| old.naming.issuer == provider.naming.issuer;
            old.providers.iter().find(same).is_some_and(|old| provider.jwks.inherit(&old.jwks))
        };
        // Each of them, also behind one that does not.
        self.providers.iter().filter(|provider| !inherits(provider)).count() == 0
    }

    /// Whether this key still verifies tokens.
    pub fn holds(&self, mark: KeyMark) -> bool {
        self.secrets.iter().any(|(_, own)| *own == mark)
            || self.providers.iter().any(|provider| provider.jwks.holds(mark))
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
        let (claims, mark, naming) = self.signed_claims(token)?;
        self.check_dates(&claims, now_s)?;
        self.check_origin(&claims, naming)?;
        Ok(Principal { key: Some(mark), ..Principal::read(&claims, &self.names)? })
    }

    /// The claims, once a key vouches for them, that key, and what they have to say because it is that key.
    fn signed_claims(&self, token: &str) -> Result<(Value, KeyMark, &Naming), AuthError> {
        let (algorithm, kid) = read_header(token)?;
        if !is_hmac(algorithm) {
            let Provider { naming, jwks } = self.provider(token)?;
            let found = jwks.find(kid.as_deref())?;
            return Ok((open(token, algorithm, &found.algorithms, &found.key)?, found.mark, naming));
        }
        let mut refused = AuthError::WrongAlgorithm;
        for (secret, mark) in &self.secrets {
            match open(token, algorithm, &self.secret_algorithms, secret) {
                Err(AuthError::WrongSignature) => refused = AuthError::WrongSignature,
                decided => return Ok((decided?, *mark, &self.own)),
            }
        }
        Err(refused)
    }

    /// Whose keys are to be tried. Of several, those of the one that the token names; whether it may, its signature says.
    fn provider(&self, token: &str) -> Result<&Provider, AuthError> {
        match &self.providers[..] {
            [] => Err(AuthError::WrongAlgorithm),
            [only] => Ok(only),
            several => {
                let issuer = claimed_issuer(token)?;
                let named = |provider: &&Provider| provider.naming.issuer == issuer;
                several.iter().find(named).filter(|_| issuer.is_some()).ok_or(AuthError::WrongIssuer)
            }
        }
    }

    fn check_dates(&self, claims: &Value, now_s: u64) -> Result<(), AuthError> {
        let exp = claims.get("exp").ok_or(AuthError::MissingClaim("exp"))?;
        let exp_s = claims::unix_s(exp).ok_or(AuthError::InvalidClaim("exp"))?;
        if now_s >= exp_s.saturating_add(self.leeway_s) {
            return Err(AuthError::Expired);
        }
        if exp_s > now_s.saturating_add(self.lifetime_s) {
            return Err(AuthError::TooLasting);
        }
        let latest_s = now_s.saturating_add(self.leeway_s);
        if let Some(nbf) = claims.get("nbf") {
            let nbf_s = claims::unix_s(nbf).ok_or(AuthError::InvalidClaim("nbf"))?;
            if nbf_s > latest_s {
                return Err(AuthError::NotYetValid);
            }
        }
        // One that says it was issued later would outlive the revocation of what was issued so far.
        if claims.get("iat").and_then(claims::unix_s).is_some_and(|iat_s| iat_s > latest_s) {
            return Err(AuthError::NotYetValid);
        }
        Ok(())
    }

    fn check_origin(&self, claims: &Value, naming: &Naming) -> Result<(), AuthError> {
        let says = claims.get("iss").and_then(Value::as_str);
        let theirs =
            |provider: &Provider| provider.naming.issuer.is_some() && provider.naming.issuer.as_deref() == says;
        match &naming.issuer {
            Some(issuer) if says != Some(issuer) => return Err(AuthError::WrongIssuer),
            // What a secret signs is not from who signs with keys of their own.
            None if self.providers.iter().any(theirs) => return Err(AuthError::WrongIssuer),
            _ => {}
        }
        if let Some(audience) = &naming.audience {
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

/// The `iss` of claims that nobody has vouched for yet.
fn claimed_issuer(token: &str) -> Result<Option<String>, AuthError> {
    let claims = token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Strict =
        serde_json::from_slice(&claims.ok_or(AuthError::Malformed)?).map_err(|_| AuthError::Malformed)?;
    Ok(claims.0.get("iss").and_then(Value::as_str).map(str::to_owned))
}

/// What the unverified header asks for: only a choice among our keys, never one among algorithms for a key. Keys that it brings along
/// or points to (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.
fn read_header(token: &str) -> Result<(Algorithm, Option<String>), AuthError> {
    let parts: Vec<_> = token.splitn(4, '.').collect();
    let [header, _, _] = parts[..] else { return Err(AuthError::Malformed) };
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).map_err(|_| AuthError::Malformed)?;
    let Strict(header) = serde_json::from_slice(&header).map_err(|_| AuthError::Malformed)?;
    // RFC 7515 §4.1.11: extensions that we do not know must not be ignored, and we know none.
    if header.get("crit").is_some() || header.get("b64").is_some() {
        return Err(AuthError::Malformed);
    }
    let text = |name: &str| header.get(name).map(|value| value.as_str().ok_or(AuthError::Malformed)).transpose();
    let algorithm = text("alg")?.ok_or(AuthError::Malformed)?.parse().map_err(|_| AuthError::WrongAlgorithm)?;
    Ok((algorithm, text("kid")?.map(str::to_owned)))
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
    let opened = jsonwebtoken::decode::<Strict>(token, key, &signature_only).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => AuthError::WrongSignature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => AuthError::WrongAlgorithm,
        _ => AuthError::Malformed,
    })?;
    if opened.claims.0.is_object() { Ok(opened.claims.0) } else { Err(AuthError::Malformed) }
}

fn is_hmac(algorithm: Algorithm) -> bool {
    algorithm.family() == AlgorithmFamily::Hmac
}
