//! A secret that signs webhooks: written as Standard Webhooks writes it, or as plain text.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::Refusal;

/// What Standard Webhooks asks of a key.
const BYTES_MIN: usize = 24;
const PREFIX: &str = "whsec_";
const HINT: &str = "make one with `echo whsec_$(openssl rand -base64 32)`";

/// The bytes of a key. Its `Debug` prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Reads `whsec_` and base64; any other text is a key as it stands.
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        let bytes = match text.strip_prefix(PREFIX) {
            Some(base64) => STANDARD.decode(base64).map_err(|_| Refusal::new("is not whsec_ and base64", HINT))?,
            None => text.as_bytes().to_vec(),
        };
        if bytes.len() < BYTES_MIN {
            return Err(Refusal::new(format!("is shorter than {BYTES_MIN} bytes"), HINT));
        }
        Ok(Self(bytes))
    }

    /// The key itself: never to be logged, nor to become part of an error.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_base64_behind_its_prefix_and_plain_text_without() {
        let key = |text: &str| SigningKey::read(text).ok().map(|key| key.expose().to_vec());
        assert_eq!(key("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3").unwrap(), b"0123456789abcdef01234567");
        assert_eq!(key("0123456789abcdef01234567").unwrap(), b"0123456789abcdef01234567");
        for short in ["", "0123456789abcdef0123456", "whsec_", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY", "whsec_ÄÖ"] {
            assert_eq!(key(short), None, "{short}");
        }
    }

    #[test]
    fn neither_a_key_nor_its_refusal_prints_it() {
        assert_eq!(format!("{:?}", SigningKey::read("hunter2hunter2hunter2hunter2").unwrap()), "***");
        for bad in ["hunter2", "whsec_hunter2?"] {
            assert!(!format!("{:?}", SigningKey::read(bad).unwrap_err()).contains("hunter2"));
        }
    }
}
