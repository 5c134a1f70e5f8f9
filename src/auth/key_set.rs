//! What a JWKS document says: each public key together with the only algorithms it may verify.
//!
//! Parsed by `jwks` from what `key_source` read.
//! Invariant: a set is taken whole or not at all, where it is ambiguous (two keys of one id) or gives away a secret
//! (`a_set_that_is_ambiguous_or_secret_is_refused`). A key that we merely cannot use is left out: providers publish
//! encryption keys and new curves in the same set.
//!
//! Why not `jsonwebtoken::jwk::JwkSet`: it takes `oct` keys, and one key of an unknown shape would cost the whole set.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use thiserror::Error;

use super::key_mark::KeyMark;

/// Smallest RSA modulus in bytes that the verifier takes (2048 bits), and the largest (8192 bits).
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Why a whole JWKS was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// Not `{"keys": […]}`.
    #[error("it is not a JWKS document")]
    NotAKeySet,
    /// A symmetric key, which everybody who can read the set could sign with.
    #[error("it holds a symmetric key")]
    SymmetricKey,
    /// The private half of a key.
    #[error("it holds a private key")]
    PrivateKey,
    /// Two usable keys with the same `kid`, or two without one.
    #[error("two of its keys have the same kid, or none")]
    DuplicateKid,
    /// Nothing in it can verify a signature with the algorithms we accept.
    #[error("none of its keys can verify a token")]
    NoUsableKey,
}

/// A public key and what it is for.
pub(super) struct VerifyingKey {
    pub(super) key: DecodingKey,
    /// Never empty.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) mark: KeyMark,
}

/// The usable keys of one JWKS document.
pub(super) struct KeySet {
    /// By `kid`; at most one has none.
    keys: HashMap<Option<String>, Arc<VerifyingKey>>,
}

/// The members of RFC 7517 and 7518 that decide about a public key.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
}

impl KeySet {
    /// Reads a JWKS document and keeps the keys for the accepted algorithms.
    pub(super) fn parse(json: &[u8], accepted: &[Algorithm]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(json).map_err(|_| KeySetError::NotAKeySet)?;
        let mut keys = HashMap::new();
        for (index, value) in document.keys.into_iter().enumerate() {
            // Before anything else, so that a malformed secret is not passed over as merely unusable.
            if value.get("k").is_some() || value.get("kty").and_then(Value::as_str) == Some("oct") {
                return Err(KeySetError::SymmetricKey);
            }
            let jwk = match serde_json::from_value::<Jwk>(value) {
                Ok(jwk) if jwk.d.is_some() => return Err(KeySetError::PrivateKey),
                Ok(jwk) => jwk,
                Err(_) => {
                    tracing::debug!(index, "a key of the JWKS is left out: it is malformed");
                    continue;
                }
            };
            let Some(key) = jwk.verifying_key(accepted) else {
                tracing::debug!(index, "a key of the JWKS is left out: it cannot verify our tokens");
                continue;
            };
            if keys.insert(jwk.kid, Arc::new(key)).is_some() {
                return Err(KeySetError::DuplicateKid);
            }
        }
        if keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(Self { keys }) }
    }

    /// Whether this key is one of them.
    pub(super) fn holds(&self, mark: KeyMark) -> bool {
        self.keys.values().any(|key| key.mark == mark)
    }

    /// The key of that id. A token without one is for the only key of the set, if there is only one.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<Arc<VerifyingKey>> {
        match kid {
            Some(kid) => self.keys.get(&Some(kid.to_owned())).cloned(),
            None if self.keys.len() == 1 => self.keys.values().next().cloned(),
            None => None,
        }
    }
}

impl Jwk {
    fn verifying_key(&self, accepted: &[Algorithm]) -> Option<VerifyingKey> {
        let signs = self.usage.as_ref().is_none_or(|usage| usage == "sig");
        let verifies = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !(signs && verifies) {
            return None;
        }
        let mut algorithms = self.algorithms()?;
        algorithms.retain(|algorithm| accepted.contains(algorithm));
        if algorithms.is_empty() {
            return None;
        }
        Some(VerifyingKey { key: self.decoding_key()?, algorithms, mark: self.mark() })
    }

    fn mark(&self) -> KeyMark {
        let Self { kty, crv, n, e, x, y, .. } = self;
        let rest = [crv, n, e, x, y].map(Option::as_deref);
        KeyMark::of_public(&[[Some(kty.as_str())].as_slice(), &rest].concat())
    }

    /// `alg` where the key names one that fits its type; otherwise what its type is used for. PSS only by name: a key
    /// must not serve two RSA schemes at once.
    fn algorithms(&self) -> Option<Vec<Algorithm>> {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let (usual, by_name): (&[_], &[_]) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => (&[RS256, RS384, RS512], &[PS256, PS384, PS512]),
            ("EC", Some("P-256")) => (&[ES256], &[]),
            ("EC", Some("P-384")) => (&[ES384], &[]),
            ("OKP", Some("Ed25519")) => (&[EdDSA], &[]),
            _ => return None,
        };
        let Some(name) = &self.alg else { return Some(usual.to_vec()) };
        let named = name.parse().ok()?;
        (usual.contains(&named) || by_name.contains(&named)).then(|| vec![named])
    }

    /// Lengths are checked here, so that a broken key shows when the set is loaded and not as a wrong signature later.
    fn decoding_key(&self) -> Option<DecodingKey> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let n = BASE64_URL_SAFE_NO_PAD.decode(self.n.as_ref()?).ok()?;
                let e = BASE64_URL_SAFE_NO_PAD.decode(self.e.as_ref()?).ok()?;
                // Some issuers keep the sign byte of the DER form, which the verifier does not take.
                let n = &n[n.iter().take_while(|byte| **byte == 0).count()..];
                RSA_BYTES.contains(&n.len()).then(|| DecodingKey::from_rsa_raw_components(n, &e))
            }
            ("EC", crv) => {
                let bytes = if crv == Some("P-256") { 32 } else { 48 };
                DecodingKey::from_ec_components(coordinate(&self.x, bytes)?, coordinate(&self.y, bytes)?).ok()
            }
            _ => DecodingKey::from_ed_components(coordinate(&self.x, 32)?).ok(),
        }
    }
}

/// A coordinate that decodes to exactly so many bytes.
fn coordinate(text: &Option<String>, bytes: usize) -> Option<&str> {
    text.as_deref().filter(|text| BASE64_URL_SAFE_NO_PAD.decode(text).is_ok_and(|raw| raw.len() == bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::{
        config::ALL,
        test_keys::{ED25519, P256, P384, RSA, jwk},
    };

    fn parse(keys: Value) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes(), &ALL)
    }

    /// A public key with one member changed; `null` takes the member away.
    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        key
    }

    #[test]
    fn a_key_without_an_algorithm_gets_those_of_its_type() {
        use Algorithm::{ES256, ES384, EdDSA, RS256, RS384, RS512};
        for (key, expected) in
            [(&RSA, vec![RS256, RS384, RS512]), (&P256, vec![ES256]), (&P384, vec![ES384]), (&ED25519, vec![EdDSA])]
        {
            let set = parse(json!([with(jwk(key, "a"), "alg", json!(null))])).unwrap();
            assert_eq!(set.find(Some("a")).unwrap().algorithms, expected);
        }
        let set = parse(json!([with(jwk(&RSA, "a"), "alg", json!("PS256"))])).unwrap();
        assert_eq!(set.find(Some("a")).unwrap().algorithms, [Algorithm::PS256]);
    }

    #[test]
    fn a_key_that_cannot_verify_is_left_out_and_the_others_stay() {
        for unusable in [
            with(jwk(&RSA, "b"), "use", json!("enc")),
            with(jwk(&RSA, "b"), "key_ops", json!(["encrypt"])),
            with(jwk(&RSA, "b"), "alg", json!("RSA-OAEP")),
            with(jwk(&RSA, "b"), "alg", json!("HS256")),
            with(jwk(&RSA, "b"), "alg", json!("none")),
            with(jwk(&RSA, "b"), "alg", json!("ES256")),
            with(jwk(&RSA, "b"), "n", json!("AQAB")),
            with(jwk(&RSA, "b"), "n", json!(null)),
            with(jwk(&P256, "b"), "crv", json!("secp256k1")),
            with(jwk(&P256, "b"), "alg", json!("ES384")),
            with(jwk(&P256, "b"), "x", json!("AQAB")),
            with(jwk(&P384, "b"), "crv", json!("P-256")),
            with(jwk(&ED25519, "b"), "crv", json!("Ed448")),
            with(jwk(&ED25519, "b"), "x", json!("not base64!")),
            json!({"kty": "future", "kid": "b"}),
            json!({"kid": "b"}),
            json!("text"),
        ] {
            let set = parse(json!([unusable, jwk(&P256, "a")])).unwrap();
            assert!(set.find(Some("a")).is_some() && set.find(Some("b")).is_none(), "{unusable}");
        }
    }

    #[test]
    fn a_set_that_is_ambiguous_or_secret_is_refused() {
        for (keys, expected) in [
            (json!([jwk(&RSA, "a"), jwk(&P256, "a")]), KeySetError::DuplicateKid),
            (
                json!([with(jwk(&RSA, ""), "kid", json!(null)), with(jwk(&P256, ""), "kid", json!(null))]),
                KeySetError::DuplicateKid,
            ),
            (json!([jwk(&RSA, "a"), {"kty": "oct", "k": "AQAB", "kid": "b"}]), KeySetError::SymmetricKey),
            (json!([jwk(&RSA, "a"), {"kty": "oct", "use": 1}]), KeySetError::SymmetricKey),
            (json!([with(jwk(&RSA, "a"), "d", json!("AQAB"))]), KeySetError::PrivateKey),
            (json!([]), KeySetError::NoUsableKey),
            (json!({}), KeySetError::NotAKeySet),
        ] {
            assert_eq!(parse(keys.clone()).err(), Some(expected), "{keys}");
        }
        assert_eq!(KeySet::parse(b"<html>", &ALL).err(), Some(KeySetError::NotAKeySet));
        let only_hmac = KeySet::parse(json!({"keys": [jwk(&RSA, "a")]}).to_string().as_bytes(), &[Algorithm::HS256]);
        assert_eq!(only_hmac.err(), Some(KeySetError::NoUsableKey));
    }

    #[test]
    fn a_token_without_a_key_id_is_for_the_only_key() {
        let one = parse(json!([jwk(&P256, "a")])).unwrap();
        assert!(one.find(None).is_some() && one.find(Some("b")).is_none());
        let two = parse(json!([jwk(&P256, "a"), with(jwk(&RSA, ""), "kid", json!(null))])).unwrap();
        assert!(two.find(None).is_none() && two.find(Some("a")).is_some());
    }
}
