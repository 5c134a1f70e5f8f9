//! A secret that signs webhooks: written as Standard Webhooks writes it, or as plain text.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{
    error::Refusal,
    layers::secret_in,
    list::{Section, Wrong},
};

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

    /// The same; nothing where it is no key.
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
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

/// What `…_file` stands for: the key in it, or none where it is not opened.
pub(super) type Open = fn(&str) -> Result<Option<SigningKey>, Refusal>;

/// Opens it.
pub(super) fn open(path: &str) -> Result<Option<SigningKey>, Refusal> {
    secret_in(path).and_then(|text| SigningKey::read(&text)).map(Some)
}

/// The keys of a section: `secret`, and `previous_secret` where it is there, each here or in a file.
pub(super) fn keys(section: &Section<'_>, open: Open) -> Result<Vec<SigningKey>, Wrong> {
    let (given, mut keys) = key(section, "secret", "secret_file", open)?;
    if !given {
        let hint = "write secret_file with the path of a mounted secret, or secret";
        return Err((None, Refusal::new("has no `secret`", hint)));
    }
    keys.extend(key(section, "previous_secret", "previous_secret_file", open)?.1);
    Ok(keys)
}

/// Whether a secret is given, here or in a file, and its key where it was read.
fn key(section: &Section<'_>, here: &str, file: &str, open: Open) -> Result<(bool, Vec<SigningKey>), Wrong> {
    let written = section.read(here, SigningKey::read)?;
    let mounted = section.read(file, open)?;
    if written.is_some() && mounted.is_some() {
        let refusal = Refusal::new(format!("is also set by `{here}`"), "keep one of the two");
        return Err((Some(file.to_owned()), refusal));
    }
    Ok((written.is_some() || mounted.is_some(), written.or(mounted.flatten()).into_iter().collect()))
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
