//! The link in a letter: a signed name of one person of one tenant, good for nothing but to stop e-mail.
//!
//! It has no end: letters are kept for years. Its key is derived from `auth.secret` for this purpose alone, so that it is no
//! token and no token is one (`a_link_is_no_token_and_a_token_no_link`); links of the secret before stay good beside it.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::VerifierConfig;
use crate::event::TenantId;

/// What the derived key is for.
const PURPOSE: &[u8] = b"tidings: a link to unsubscribe from e-mail, version 1";
/// Longer than any tenant and sub that a token carries.
const TEXT_BYTES_MAX: usize = 4096;

/// The link's last segment.
pub fn sign(secret: &str, tenant: &str, sub: &str) -> String {
    let name = serde_json::json!([tenant, sub]).to_string();
    let mac = mac(secret, name.as_bytes()).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default();
    format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(name), BASE64_URL_SAFE_NO_PAD.encode(mac))
}

/// Whose link it is; none where it was not made by us.
pub fn verify(config: &VerifierConfig, text: &str) -> Option<(TenantId, String)> {
    let (name, signature) = text.split_once('.').filter(|_| text.len() <= TEXT_BYTES_MAX)?;
    let name = BASE64_URL_SAFE_NO_PAD.decode(name).ok()?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
    let secrets = [&config.secret, &config.previous_secret];
    let good = secrets.into_iter().flatten().any(|secret| {
        // Compared in constant time.
        mac(secret, &name).is_some_and(|mac| mac.verify_slice(&signature).is_ok())
    });
    let (tenant, sub): (String, String) = serde_json::from_slice(&name).ok().filter(|_| good)?;
    Some((TenantId::trusted(&tenant), sub))
}

fn mac(secret: &str, name: &[u8]) -> Option<Hmac<Sha256>> {
    if secret.is_empty() {
        return None;
    }
    let mut derive = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    derive.update(PURPOSE);
    let mut mac = Hmac::<Sha256>::new_from_slice(&derive.finalize().into_bytes()).ok()?;
    mac.update(name);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(secret: &str, previous: Option<&str>) -> VerifierConfig {
        let some = |text: &str| Some(text.to_owned());
        VerifierConfig { secret: some(secret), previous_secret: previous.and_then(some), ..VerifierConfig::default() }
    }

    #[test]
    fn a_link_says_whose_it_is_and_only_with_its_signature() {
        let link = sign("secret", "acme", "ann");
        let (tenant, sub) = verify(&config("secret", None), &link).unwrap();
        assert_eq!((tenant.as_str(), sub.as_str()), ("acme", "ann"));
        assert!(verify(&config("new", Some("secret")), &link).is_some(), "the secret was changed");
        assert!(verify(&config("new", None), &link).is_none());
        let (name, signature) = link.split_once('.').unwrap();
        let other = BASE64_URL_SAFE_NO_PAD.encode(r#"["acme","bob"]"#);
        for forged in
            [format!("{other}.{signature}"), format!("{name}."), format!("{name}.{name}"), String::new(), ".".into()]
        {
            assert!(verify(&config("secret", None), &forged).is_none(), "{forged}");
        }
    }

    #[test]
    fn a_link_is_no_token_and_a_token_no_link() {
        let token = super::super::mint("secret", serde_json::json!({"sub": "ann", "tenant": "acme"})).unwrap();
        assert!(verify(&config("secret", None), &token).is_none());
        assert_eq!(sign("secret", "acme", "ann").matches('.').count(), 1, "a token has two");
    }

    #[test]
    fn without_a_secret_there_is_no_good_link() {
        assert!(verify(&VerifierConfig::default(), &sign("", "acme", "ann")).is_none());
    }
}
