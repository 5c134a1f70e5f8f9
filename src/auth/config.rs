//! The settings that decide about tokens, and which combinations of them are refused at start.
//!
//! Filled in from section `[auth]` of the configuration; read by `verifier` and `mint`.
//! Invariant: settings that would let anybody in, or nobody, do not start (`settings_that_cannot_work_are_refused`).

use std::{fmt, time::Duration};

use jsonwebtoken::Algorithm;
use thiserror::Error;

use super::{KeySourceError, claims::ClaimNames};

/// All algorithms we can verify; `none` is not one.
pub(super) const ALL: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// One issuer of several.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// What `iss` must be.
    pub name: String,
    /// Path or URL of its JWKS.
    pub jwks: String,
    /// What `aud` must be or hold; unset: as for the others.
    pub audience: Option<String>,
}

/// The settings of section `[auth]` that decide about tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierConfig {
    /// The HMAC secret; its bytes are used as they are.
    pub secret: Option<String>,
    /// The secret before the last rotation, accepted until the tokens signed with it have expired.
    pub previous_secret: Option<String>,
    /// Path or URL of a JWKS document.
    pub jwks: Option<String>,
    /// How long keys are taken for fresh; never fetched more often than every 10 s.
    pub jwks_refresh: Duration,
    /// The accepted algorithms, such as `RS256`; empty accepts all that the keys are for.
    pub algorithms: Vec<String>,
    /// What `iss` must be; unset accepts any.
    pub issuer: Option<String>,
    /// What `aud` must be or hold; unset accepts any, also a token that names an audience.
    pub audience: Option<String>,
    /// Further issuers, each with keys of its own.
    pub issuers: Vec<IssuerConfig>,
    /// Difference of clocks allowed at `exp` and `nbf`.
    pub leeway: Duration,
    /// The longest that a token may still be good for; what is revoked is kept for so long.
    pub lifetime_max: Duration,
    /// Claim with the user's id; like the others below a name or a dotted path.
    pub sub_claim: String,
    /// Claim with the tenant or the list of tenants.
    pub tenant_claim: String,
    /// Claim with the role.
    pub role_claim: String,
    /// Claim with the globs that narrow what may be seen.
    pub events_claim: String,
}

impl Default for VerifierConfig {
    /// No key at all, the claim names of the contract, 30 s leeway, 400 days to live, keys fresh for 5 min.
    fn default() -> Self {
        let ClaimNames { sub, tenant, role, events } = ClaimNames::default();
        Self {
            secret: None,
            previous_secret: None,
            jwks: None,
            jwks_refresh: Duration::from_secs(300),
            algorithms: Vec::new(),
            issuer: None,
            audience: None,
            issuers: Vec::new(),
            leeway: Duration::from_secs(30),
            lifetime_max: Duration::from_secs(400 * 24 * 3600),
            sub_claim: sub,
            tenant_claim: tenant,
            role_claim: role,
            events_claim: events,
        }
    }
}

/// Says which keys are set, never what they are.
impl fmt::Debug for VerifierConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierConfig")
            .field("secret", &self.secret.is_some())
            .field("previous_secret", &self.previous_secret.is_some())
            .field("jwks", &self.jwks.is_some())
            .field("issuers", &self.issuers.len())
            .finish_non_exhaustive()
    }
}

impl VerifierConfig {
    pub(super) fn claim_names(&self) -> ClaimNames {
        ClaimNames {
            sub: self.sub_claim.clone(),
            tenant: self.tenant_claim.clone(),
            role: self.role_claim.clone(),
            events: self.events_claim.clone(),
        }
    }
}

/// A combination of settings with which no token could be verified, or with which any might be.
#[derive(Debug, Error)]
pub enum AuthConfigError {
    /// Neither a secret nor a JWKS.
    #[error("no key to verify tokens with is configured")]
    NoKey,
    /// A previous secret without a secret.
    #[error("auth.previous_secret is set without auth.secret")]
    OnlyPreviousSecret,
    /// A setting that is set, but to nothing.
    #[error("auth.{0} is empty")]
    Empty(&'static str),
    /// A name that is no algorithm we can verify.
    #[error("auth.algorithms names {0:?}, which is not supported")]
    UnknownAlgorithm(String),
    /// The list leaves the secret or the JWKS without an algorithm.
    #[error("auth.algorithms allows no algorithm that auth.{0} can be used with")]
    NoAlgorithmFor(&'static str),
    /// The location of the JWKS is not acceptable.
    #[error("auth.jwks cannot be used")]
    Jwks(#[from] KeySourceError),
}

impl AuthConfigError {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoKey | Self::OnlyPreviousSecret => "set auth.secret (TIDINGS__AUTH__SECRET) or auth.jwks",
            Self::Empty(_) => "give it a value or take it out",
            Self::UnknownAlgorithm(_) => "choose from HS256/384/512, RS256/384/512, PS256/384/512, ES256/384, EdDSA",
            Self::NoAlgorithmFor(_) => "add HS256 for a secret, or the algorithm of your provider for a JWKS",
            Self::Jwks(source) => source.hint(),
        }
    }
}

pub(super) fn accepted_algorithms(names: &[String]) -> Result<Vec<Algorithm>, AuthConfigError> {
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    let read = |name: &String| name.parse().map_err(|_| AuthConfigError::UnknownAlgorithm(name.clone()));
    names.iter().map(read).collect()
}

/// Unset is `None`. An empty secret would be known to everybody, and an empty audience is rather a value that got lost
/// on the way here than the wish not to check.
pub(super) fn refuse_empty(config: &VerifierConfig) -> Result<(), AuthConfigError> {
    let optional = [
        ("secret", &config.secret),
        ("previous_secret", &config.previous_secret),
        ("jwks", &config.jwks),
        ("issuer", &config.issuer),
        ("audience", &config.audience),
    ];
    let names = [
        ("sub_claim", &config.sub_claim),
        ("tenant_claim", &config.tenant_claim),
        ("role_claim", &config.role_claim),
        ("events_claim", &config.events_claim),
    ];
    let set = optional.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    match set.chain(names).find(|(_, value)| value.is_empty()) {
        Some((key, _)) => Err(AuthConfigError::Empty(key)),
        None => Ok(()),
    }
}
