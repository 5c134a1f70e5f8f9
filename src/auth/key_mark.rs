//! Which key vouched for a token: what is left to know of it once the token is forgotten.
//!
//! Carried by a [`Principal`](super::Principal), so that connections and tickets of a key that was taken out of use can be
//! told from the others (`a_key_that_is_taken_out_ends_what_it_vouched_for`).
//!
//! Why not the token itself, to be verified again: an idle connection would hold a kilobyte more, and a secret.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What the mark of a secret is made for, so that it is nothing else: no token, no link.
const PURPOSE: &[u8] = b"tidings: the mark of a secret, version 1";

/// The first half of a hash: nobody gains from two keys of one mark, so chance is all there is to fear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyMark([u8; 16]);

impl KeyMark {
    /// Of a secret. Says no more about it than any token signed with it.
    pub(super) fn of_secret(secret: &str) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map(|mac| mac.chain_update(PURPOSE).finalize());
        Self::half(&mac.map(|mac| mac.into_bytes().to_vec()).unwrap_or_default())
    }

    /// Of a public key, by the members that make it up: its name may change, and it stays the same key.
    pub(super) fn of_public(members: &[Option<&str>]) -> Self {
        Self::half(&Sha256::digest(serde_json::json!(members).to_string()))
    }

    fn half(hash: &[u8]) -> Self {
        let mut mark = [0; 16];
        mark.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
        Self(mark)
    }

    /// As a ticket holds it.
    pub(super) fn to_claim(self) -> Value {
        format!("{:032x}", u128::from_be_bytes(self.0)).into()
    }

    /// Reads what [`Self::to_claim`] wrote.
    pub(super) fn from_claim(claim: &Value) -> Option<Self> {
        let text = claim.as_str().filter(|text| text.len() == 32)?;
        u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_keys_apart_and_survives_a_ticket() {
        let (one, other) = (KeyMark::of_secret("one"), KeyMark::of_secret("other"));
        assert_ne!(one, other);
        assert_ne!(KeyMark::of_public(&[Some("a"), None]), KeyMark::of_public(&[None, Some("a")]));
        assert_eq!(KeyMark::from_claim(&one.to_claim()), Some(one));
        assert_eq!(KeyMark::from_claim(&serde_json::json!("7")), None);
    }
}
