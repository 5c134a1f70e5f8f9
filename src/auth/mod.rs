//! Credentials: turns a signed token into a [`Principal`], who is calling and what they may see.
//!
//! Between the socket and the router: `http` finds the token in the request, this module decides what it is worth.
//! Reading order: `principal` (the rights), `verifier` (which token gives them), `config` (the settings of both),
//! `jwks`, `key_set` and `key_source` (the public keys of a provider), `claims` (how claims are read), `globs` (which
//! event types), `mint` (tokens of our own).
//!
//! Invariants, each with its test:
//! - the key decides the algorithm, never the token (`a_public_key_never_serves_as_an_hmac_secret`,
//!   `an_unsigned_token_is_refused`, `a_key_verifies_only_the_algorithm_it_is_for`);
//! - an issuer's keys verify that issuer's tokens and no other's (`a_key_of_one_issuer_never_verifies_a_token_of_another`);
//! - only an admin token without any tenant claim reaches all tenants
//!   (`only_an_admin_without_a_tenant_claim_reaches_all_tenants`);
//! - no error repeats a token or the value of a claim (`no_error_repeats_the_token`).
//!
//! Why not sessions: the application already signs tokens, and a bridge that kept its own sessions would have to share
//! them between instances.

use thiserror::Error;

mod claims;
mod config;
mod globs;
mod jwks;
mod key_mark;
mod key_set;
mod key_source;
mod mint;
mod principal;
mod strict;
pub mod unsubscribe;
mod verifier;

#[cfg(test)]
mod test_keys;
#[cfg(test)]
mod tests;

pub use config::{AuthConfigError, IssuerConfig, VerifierConfig};
pub use globs::{GlobError, Globs};
pub use jwks::{KeySetError, KeySourceError, KeysError, KeysFault};
pub use key_mark::KeyMark;
pub use mint::{MintError, TokenRequest, mint, mint_like};
pub use principal::{Principal, Role, Tenants};
pub use verifier::Verifier;

/// Why a credential was refused. Safe to show and to log: it holds nothing that came from the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AuthError {
    /// There was no token.
    #[error("no credential was presented")]
    Missing,
    /// It is not a signed token of three parts, or its header asks for an extension we do not know.
    #[error("the token is not a signed JWT")]
    Malformed,
    /// It is longer than 16 KiB.
    #[error("the token is too long")]
    TooLong,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `exp` is further away than `auth.lifetime_max`.
    #[error("the token would be good for too long")]
    TooLasting,
    /// It was revoked, or its user's tokens, or the key that vouched for it was taken out of use.
    #[error("the token was revoked, or its key was taken out of use")]
    Revoked,
    /// No key is configured for its algorithm, or its key is for another one.
    #[error("the token is signed with an algorithm that its key is not for")]
    WrongAlgorithm,
    /// The signature does not match.
    #[error("the signature of the token does not match")]
    WrongSignature,
    /// `iss` is missing or not the configured one.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// `aud` is missing or does not hold the configured one.
    #[error("the token is for another audience")]
    WrongAudience,
    /// The JWKS holds no key of that id; it is fetched again in the background.
    #[error("the token is signed with an unknown key")]
    UnknownKey,
    /// The JWKS could not be loaded yet, so nothing can be said about the token: an answer of 503, not of 401.
    #[error("the keys to verify the token with are not loaded")]
    KeysUnavailable,
    /// A claim that must be there is not. The name is ours (`tenant`), not the configured one.
    #[error("the token lacks the claim {0}")]
    MissingClaim(&'static str),
    /// A claim is there but unreadable. The name is ours (`tenant`), not the configured one.
    #[error("the claim {0} of the token is not readable")]
    InvalidClaim(&'static str),
}

impl AuthError {
    /// The stable code of problem documents, error frames and metric labels.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Malformed => "token_malformed",
            Self::TooLong => "token_too_long",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::TooLasting => "token_too_lasting",
            Self::Revoked => "token_revoked",
            Self::WrongAlgorithm => "token_wrong_algorithm",
            Self::WrongSignature => "token_wrong_signature",
            Self::WrongIssuer => "token_wrong_issuer",
            Self::WrongAudience => "token_wrong_audience",
            Self::UnknownKey => "token_unknown_key",
            Self::KeysUnavailable => "keys_unavailable",
            Self::MissingClaim(_) => "token_claim_missing",
            Self::InvalidClaim(_) => "token_claim_invalid",
        }
    }

    /// What the caller or the operator can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Missing => "send Authorization: Bearer, the cookie tidings or a ticket",
            Self::Malformed | Self::TooLong => "send the compact form of a signed JWT of at most 16 KiB",
            Self::Expired => "fetch a new token",
            Self::NotYetValid => "compare the clocks of the issuer and of this server",
            Self::TooLasting => "issue tokens for less than [auth] lifetime_max",
            Self::Revoked => "sign in again",
            Self::WrongAlgorithm => "compare the algorithm of the issuer with [auth] secret, jwks and algorithms",
            Self::WrongSignature => "compare the key of the issuer with [auth] secret or jwks",
            Self::WrongIssuer => "compare iss with [auth] issuer",
            Self::WrongAudience => "compare aud with [auth] audience",
            Self::UnknownKey => "try again in a few seconds: the keys are being fetched again",
            Self::KeysUnavailable => "try again in a few seconds; the log says why [auth] jwks cannot be loaded",
            Self::MissingClaim(_) | Self::InvalidClaim(_) => {
                "compare the claims with the names under [auth] and their shapes in docs/protocol.md"
            }
        }
    }
}
