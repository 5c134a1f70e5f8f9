//! Signatures of webhooks, as Standard Webhooks has them: HMAC-SHA256 over `id.timestamp.body` with a key that both sides hold. Made for
//! what we send, checked for what we are sent.
//!
//! Invariants: another implementation of the specification accepts them (`a_webhook_is_signed_as_the_specification_says`), and what a caller learns does not depend on whether there are keys to compare with
//! (`an_unknown_source_answers_like_a_wrong_signature`). All that can be refused without a key is refused first.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::SigningKey;

/// How far the sender's clock may be from ours, both ways: as Standard Webhooks proposes.
pub const WINDOW_S: u64 = 5 * 60;
/// A sender that rotates its secret sends two. More are not worth the time.
const SIGNATURES_MAX: usize = 8;
/// Of a webhook-id, which is kept.
const ID_BYTES_MAX: usize = 255;

/// Why a delivery is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// A header is not there, or cannot be one.
    Missing,
    /// The time is too far from ours.
    Outside,
    /// No key made any of the signatures.
    Wrong,
}

/// What a delivery says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Its id, the same with each attempt.
    pub id: &'a str,
    timestamp: &'a str,
    signatures: &'a str,
}

impl<'a> Claim<'a> {
    /// Reads `webhook-id`, `webhook-timestamp` and `webhook-signature` at `now`, in seconds since 1970.
    pub fn read(header: impl Fn(&str) -> Option<&'a str>, now: u64) -> Result<Self, Distrust> {
        let named = |name| header(name).filter(|text| !text.is_empty()).ok_or(Distrust::Missing);
        let claim = Self {
            id: named("webhook-id")?,
            timestamp: named("webhook-timestamp")?,
            signatures: named("webhook-signature")?,
        };
        if claim.id.len() > ID_BYTES_MAX {
            return Err(Distrust::Missing);
        }
        let at: u64 = claim.timestamp.parse().map_err(|_| Distrust::Outside)?;
        if at.abs_diff(now) > WINDOW_S { Err(Distrust::Outside) } else { Ok(claim) }
    }

    /// Compares in constant time. Two keys always, so that it takes as long for a source with one, and for none.
    pub fn check(&self, keys: [&[u8]; 2], body: &[u8]) -> Result<(), Distrust> {
        let mut held = false;
        for key in keys {
            // HMAC takes keys of any length.
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Err(Distrust::Wrong) };
            for part in [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", body] {
                mac.update(part);
            }
            for signature in self.signatures.split(' ').take(SIGNATURES_MAX) {
                let given = signature.strip_prefix("v1,").and_then(|base64| STANDARD.decode(base64).ok());
                held |= mac.clone().verify_slice(&given.unwrap_or_default()).is_ok();
            }
        }
        if held { Ok(()) } else { Err(Distrust::Wrong) }
    }
}

/// The value of `webhook-signature`: one signature for each key, so that a receiver may hold either.
pub fn header<'a>(keys: impl IntoIterator<Item = &'a SigningKey>, id: &str, timestamp_s: u64, body: &str) -> String {
    let sign = |key: &SigningKey| {
        // HMAC takes keys of any length; the error is there for other algorithms.
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body.as_bytes());
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    keys.into_iter().filter_map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the library that Standard Webhooks came from.
    const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const AT: u64 = 1_614_265_330;

    fn claim(signatures: &'static str, now: u64) -> Result<Claim<'static>, Distrust> {
        let header = move |name: &str| match name {
            "webhook-id" => Some("msg_p5jXN8AQM9LWM0D4loKWxJek"),
            "webhook-timestamp" => Some("1614265330"),
            _ => Some(signatures),
        };
        Claim::read(header, now)
    }

    fn check(signatures: &'static str, key: &[u8], body: &[u8]) -> Result<(), Distrust> {
        claim(signatures, AT).unwrap().check([key, b"another key of some length"], body)
    }

    #[test]
    fn the_published_example_verifies_and_nothing_else_does() {
        let key = STANDARD.decode(KEY).unwrap();
        assert_eq!(check(SIGNATURE, &key, BODY), Ok(()));
        assert_eq!(check(SIGNATURE, &key[1..], BODY), Err(Distrust::Wrong));
        assert_eq!(check(SIGNATURE, &key, b"{}"), Err(Distrust::Wrong));
        for other in
            ["v1,", "v1", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v1,g0hM", "v1,AAAA v1a,AAAA", ","]
        {
            assert_eq!(check(other, &key, BODY), Err(Distrust::Wrong), "{other}");
        }
    }

    #[test]
    fn the_published_example_is_signed_as_it_says() {
        let key = SigningKey::parse(&format!("whsec_{KEY}")).unwrap();
        let signed = header([&key, &key], "msg_p5jXN8AQM9LWM0D4loKWxJek", AT, std::str::from_utf8(BODY).unwrap());
        assert_eq!(signed, format!("{SIGNATURE} {SIGNATURE}"));
    }

    #[test]
    fn one_signature_of_several_and_one_key_of_two_are_enough() {
        let key = STANDARD.decode(KEY).unwrap();
        let several = "v1a,AAAA v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(check(several, &key, BODY), Ok(()));
        assert_eq!(claim(SIGNATURE, AT).unwrap().check([b"new", &key], BODY), Ok(()));
    }

    #[test]
    fn the_window_is_five_minutes_both_ways() {
        for (now, outside) in [(AT - 301, true), (AT - 300, false), (AT + 300, false), (AT + 301, true), (0, true)] {
            assert_eq!(claim(SIGNATURE, now).err(), outside.then_some(Distrust::Outside), "{now}");
        }
    }

    #[test]
    fn what_cannot_be_a_header_is_missing_or_outside() {
        let read = |id: String, at: &'static str| {
            let header = move |name: &str| match name {
                "webhook-id" => Some(Box::leak(id.clone().into_boxed_str()) as &str),
                "webhook-timestamp" => Some(at),
                _ => Some("v1,AAAA"),
            };
            Claim::read(header, 7).err()
        };
        assert_eq!(read("x".repeat(255), "7"), None);
        assert_eq!(read("x".repeat(256), "7"), Some(Distrust::Missing));
        assert_eq!(read(String::new(), "7"), Some(Distrust::Missing));
        for at in ["-7", "7.0", "seven", "99999999999999999999999", "1970-01-01T00:00:07Z"] {
            assert_eq!(read("x".into(), at), Some(Distrust::Outside), "{at}");
        }
        assert_eq!(Claim::read(|_| None, 0).err(), Some(Distrust::Missing));
    }
}
