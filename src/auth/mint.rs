//! Makes tokens of our own: for the command `token`, the demo and the tests.
//!
//! Invariant: what is minted with the configured secret and claim names is accepted by the verifier of the same
//! configuration (`a_minted_token_gives_the_rights_it_was_asked_for`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{AuthError, Principal, Role, VerifierConfig, claims};

/// Why a token cannot be made.
#[derive(Debug, Error)]
pub enum MintError {
    /// There is nothing to sign with.
    #[error("no secret to sign the token with is configured")]
    NoSecret,
    /// Our own verifier would refuse these claims.
    #[error("a token with these rights would be refused")]
    Refused(#[source] AuthError),
    /// The signature could not be made.
    #[error("the token could not be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

impl MintError {
    /// What to change.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoSecret => "set auth.secret (TIDINGS__AUTH__SECRET); tokens of a JWKS come from its provider",
            Self::Refused(AuthError::TooLasting) => "ask for less than auth.lifetime_max",
            Self::Refused(_) => {
                "give a subject, at least one tenant (only admins go without), and globs such as documents.*"
            }
            Self::Sign(_) => "check auth.secret",
        }
    }
}

/// Signs claims with HS256.
///
/// # Errors
/// When the secret is empty.
pub fn mint(secret: &str, claims: Value) -> Result<String, MintError> {
    if secret.is_empty() {
        return Err(MintError::NoSecret);
    }
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(MintError::Sign)
}

/// A token of our own with the rights of another, for so many seconds. It is of the same age and has the same id, so that it is
/// revoked with the other.
///
/// # Errors
/// When there is no secret, or our own verifier would refuse the claims.
pub fn mint_like(principal: &Principal, ttl_s: u64, config: &VerifierConfig) -> Result<String, MintError> {
    let tenants = principal.listed().map(<[_]>::to_vec).unwrap_or_default();
    let events = (!principal.events.is_any()).then(|| principal.events.to_string());
    let (sub, role, ttl) = (principal.sub.clone(), principal.role, Duration::from_secs(ttl_s));
    let mut claims = TokenRequest { sub, tenants, role, events, ttl }.claims(config)?;
    if let Some(claims) = claims.as_object_mut() {
        for (name, value) in
            [("iat", principal.issued_at.map(Value::from)), ("jti", principal.jti.clone().map(Value::from))]
        {
            claims.remove(name);
            claims.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    mint(config.secret.as_deref().unwrap_or_default(), claims)
}

/// The rights that a new token is to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// The user or service.
    pub sub: String,
    /// The tenants they may enter; none means all, for admins only.
    pub tenants: Vec<String>,
    /// What they may do there.
    pub role: Role,
    /// Comma-separated globs that narrow what they may see.
    pub events: Option<String>,
    /// How long from now, in whole seconds.
    pub ttl: Duration,
}

impl TokenRequest {
    /// The claims, under the configured names, with the configured issuer and audience and a random `jti`.
    ///
    /// # Errors
    /// When our own verifier would refuse them.
    pub fn claims(&self, config: &VerifierConfig) -> Result<Value, MintError> {
        if self.ttl > config.lifetime_max {
            return Err(MintError::Refused(AuthError::TooLasting));
        }
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let names = config.claim_names();
        let mut claims = Map::from_iter([
            ("iat".to_owned(), json!(now_s)),
            ("exp".to_owned(), json!(now_s.saturating_add(self.ttl.as_secs()))),
            ("jti".to_owned(), json!(BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()))),
        ]);
        for (name, value) in [("iss", &config.issuer), ("aud", &config.audience)] {
            if let Some(value) = value {
                claims.insert(name.to_owned(), json!(value));
            }
        }
        claims::put(&mut claims, &names.sub, json!(self.sub));
        claims::put(&mut claims, &names.role, json!(self.role.as_str()));
        match self.tenants.as_slice() {
            [] => {}
            [one] => claims::put(&mut claims, &names.tenant, json!(one)),
            several => claims::put(&mut claims, &names.tenant, json!(several)),
        }
        if let Some(events) = &self.events {
            claims::put(&mut claims, &names.events, json!(events));
        }
        let claims = Value::Object(claims);
        Principal::read(&claims, &names).map_err(MintError::Refused)?;
        Ok(claims)
    }

    /// The token: [`TokenRequest::claims`] signed with the configured secret.
    ///
    /// # Errors
    /// When there is no secret, or our own verifier would refuse the claims.
    pub fn mint(&self, config: &VerifierConfig) -> Result<String, MintError> {
        mint(config.secret.as_deref().unwrap_or_default(), self.claims(config)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Tenants, Verifier};

    fn config() -> VerifierConfig {
        VerifierConfig {
            secret: Some("a secret that is long enough for anyone".into()),
            issuer: Some("https://id.example".into()),
            audience: Some("tidings".into()),
            tenant_claim: "app_metadata.tenant_id".into(),
            role_claim: "https://id.example/role".into(),
            ..VerifierConfig::default()
        }
    }

    fn request(tenants: &[&str], role: Role) -> TokenRequest {
        let tenants = tenants.iter().map(ToString::to_string).collect();
        TokenRequest { sub: "ada".into(), tenants, role, events: None, ttl: Duration::from_secs(60) }
    }

    #[test]
    fn a_minted_token_gives_the_rights_it_was_asked_for() {
        let verifier = Verifier::new(&config()).unwrap();
        for (tenants, role) in [
            (&["acme"][..], Role::Member),
            (&["acme", "globex"], Role::Service),
            (&["acme"], Role::Admin),
            (&[], Role::Admin),
        ] {
            let asked = TokenRequest { events: Some("chat.*".into()), ..request(tenants, role) };
            let principal = verifier.verify(&asked.mint(&config()).unwrap()).unwrap();
            assert_eq!((principal.sub.as_str(), principal.role), ("ada", role));
            let expected = match &asked.tenants[..] {
                [] => Tenants::All,
                listed => Tenants::Listed(listed.to_vec()),
            };
            assert_eq!(principal.tenants, expected);
            assert_eq!(principal.events.to_string(), "chat.*");
            assert!(principal.jti.is_some());
        }
    }

    #[test]
    fn a_token_in_place_of_another_has_its_rights_age_and_id() {
        let verifier = Verifier::new(&config()).unwrap();
        for (tenants, role, issued_at, jti) in [
            (&["acme", "globex"][..], Role::Member, Some(1_700_000_000), Some("t-1".to_owned())),
            (&[], Role::Admin, None, None),
        ] {
            let first = request(tenants, role).mint(&config()).unwrap();
            let owner = Principal { issued_at, jti, ..verifier.verify(&first).unwrap() };
            let again = verifier.verify(&mint_like(&owner, 60, &config()).unwrap()).unwrap();
            assert_eq!(Principal { expires_at: owner.expires_at, ..again }, owner);
        }
    }

    #[test]
    fn what_the_verifier_would_refuse_is_not_minted() {
        let no_tenant = request(&[], Role::Service);
        let no_subject = TokenRequest { sub: String::new(), ..request(&["acme"], Role::Member) };
        let bad_globs = TokenRequest { events: Some(",".into()), ..request(&["acme"], Role::Member) };
        let too_lasting =
            TokenRequest { ttl: Duration::from_secs(401 * 24 * 3600), ..request(&["acme"], Role::Member) };
        for refused in [no_tenant, no_subject, bad_globs, too_lasting] {
            assert!(matches!(refused.mint(&config()), Err(MintError::Refused(_))), "{refused:?}");
        }
        let no_secret = VerifierConfig { secret: None, ..config() };
        assert!(matches!(request(&["acme"], Role::Member).mint(&no_secret), Err(MintError::NoSecret)));
    }
}
