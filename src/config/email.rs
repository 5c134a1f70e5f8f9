//! `[email]`: what has to fit together before a letter can be sent, its templates included.

use reqwest::Url;

use super::{Config, ConfigError, check::is_loopback, error::Refusal};
use crate::auth::Globs;
use crate::email::letter::Letters;

/// Refuses the first thing that cannot work. `hold` knows where a setting was set.
pub(super) fn refuse_impossible(
    config: &Config,
    hold: impl Fn(&[&str], Result<(), Refusal>) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let email = &config.email;
    let globs = Globs::from_items(email.types.iter().map(String::as_str));
    hold(
        &["email.types"],
        globs.map(drop).map_err(|error| Refusal::new(format!("cannot be used: {error}"), error.hint())),
    )?;
    let letters = Letters::new(email).map_err(|(key, why)| (format!("email.{key}"), why));
    if let Err((key, why)) = letters {
        let hint = "templates are written {{ data.title }}; config.toml names what can stand there";
        hold(&[key.as_str()], Err(Refusal::new(format!("is no usable template: {why}"), hint)))?;
    }
    if email.smtp.is_empty() {
        return Ok(());
    }
    hold(&["email.smtp"], smtp_fits(email.smtp.expose()))?;
    hold(&["email.from", "email.smtp"], from_fits(&email.from))?;
    hold(&["email.public_url", "email.smtp"], public_url_fits(&email.public_url))?;
    let signs = if config.auth.secret.is_empty() {
        Err(Refusal::new("is not set, but `email.smtp` is: links to unsubscribe are signed with it", "set auth.secret"))
    } else {
        Ok(())
    };
    hold(&["auth.secret", "email.smtp"], signs)
}

/// No refusal repeats the URL: it holds a password.
fn smtp_fits(text: &str) -> Result<(), Refusal> {
    const HINT: &str = "write smtps://user:password@host, or smtp://user:password@host:587?tls=required for STARTTLS";
    let url: Url = text.parse().map_err(|_| Refusal::new("is not a URL", HINT))?;
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() || !matches!(url.scheme(), "smtp" | "smtps") {
        return Err(Refusal::new("is not the URL of an SMTP server", HINT));
    }
    let tls = url.query_pairs().find(|(key, _)| key == "tls").map(|(_, value)| value.into_owned());
    match (url.scheme(), tls.as_deref()) {
        ("smtps", _) | ("smtp", Some("required")) => Ok(()),
        ("smtp", None | Some("opportunistic")) if url.username().is_empty() || is_loopback(host) => Ok(()),
        ("smtp", None | Some("opportunistic")) => {
            Err(Refusal::new("would send its password without TLS, or where somebody takes TLS away", HINT))
        }
        _ => Err(Refusal::new("has an unknown value of tls", "write tls=required or tls=opportunistic")),
    }
}

fn from_fits(from: &str) -> Result<(), Refusal> {
    let fits = from.parse::<lettre::message::Mailbox>();
    fits.map(drop)
        .map_err(|_| Refusal::new(format!("is no mailbox: {from:?}"), "write \"Acme <no-reply@acme.example>\""))
}

fn public_url_fits(text: &str) -> Result<(), Refusal> {
    const HINT: &str = "write where people reach this server, such as \"https://app.example.com\"";
    let url: Option<Url> = text.parse().ok();
    match url {
        Some(url) if url.query().is_none() && url.fragment().is_none() && url.host_str().is_some() => {
            let safe =
                url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url.host_str().unwrap_or_default()));
            if safe {
                Ok(())
            } else {
                Err(Refusal::new("is not https: mail clients unsubscribe over https only", HINT))
            }
        }
        _ => Err(Refusal::new(format!("is no address that links can begin with: {text:?}"), HINT)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SECRET, from_env};

    #[test]
    fn e_mail_that_cannot_work_is_refused() {
        let good = [
            ("TIDINGS__AUTH__SECRET", SECRET),
            ("TIDINGS__EMAIL__SMTP", "smtps://u:hunter2@mail.example"),
            ("TIDINGS__EMAIL__FROM", "Acme <a@acme.example>"),
            ("TIDINGS__EMAIL__PUBLIC_URL", "https://acme.example"),
        ];
        assert!(from_env(&good).is_ok());
        for (key, value, message) in [
            ("TIDINGS__EMAIL__SMTP", "mail.example", "is not a URL"),
            ("TIDINGS__EMAIL__SMTP", "https://mail.example", "is not the URL of an SMTP server"),
            ("TIDINGS__EMAIL__SMTP", "smtp://u:hunter2@mail.example", "would send its password without TLS"),
            ("TIDINGS__EMAIL__SMTP", "smtp://u:hunter2@mail.example?tls=opportunistic", "would send its password"),
            ("TIDINGS__EMAIL__SMTP", "smtp://mail.example?tls=perhaps", "has an unknown value of tls"),
            ("TIDINGS__EMAIL__FROM", "", "is no mailbox"),
            ("TIDINGS__EMAIL__PUBLIC_URL", "", "is no address that links can begin with"),
            ("TIDINGS__EMAIL__PUBLIC_URL", "http://acme.example", "is not https"),
            ("TIDINGS__EMAIL__TYPES", "[]", "cannot be used"),
            ("TIDINGS__EMAIL__SUBJECT", "{{ data.title", "is no usable template"),
            ("TIDINGS__AUTH__SECRET", "", "is not set, but `email.smtp` is"),
        ] {
            let env: Vec<(&str, &str)> =
                good.iter().copied().filter(|(name, _)| *name != key).chain([(key, value)]).collect();
            let error = from_env(&env).unwrap_err();
            assert!(error.to_string().contains(message) && !format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        for smtp in ["smtp://localhost:2525", "smtp://u:p@mail.example:587?tls=required", "smtp://relay.internal"] {
            let env: Vec<(&str, &str)> = good
                .iter()
                .copied()
                .filter(|(name, _)| !name.ends_with("SMTP"))
                .chain([("TIDINGS__EMAIL__SMTP", smtp)])
                .collect();
            assert!(from_env(&env).is_ok(), "{smtp}");
        }
    }
}
