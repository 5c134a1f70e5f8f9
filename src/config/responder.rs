//! `[responder]`: who answers chat messages, and what of it cannot work.

use reqwest::Url;
use toml::Value;

use super::{Responder, check::is_loopback, error::Refusal, signing_key::SigningKey, value::FromValue};
use crate::responder::wording::Wording;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody.
    Off,
    /// A server that speaks OpenAI's chat completions, as most do.
    Openai,
    /// A server of the application's own.
    Webhook,
    /// Nobody either, but it is said back: for demonstrations and tests.
    Echo,
}

impl FromValue for Kind {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        match value.as_str() {
            Some("") => Ok(Self::Off),
            Some("openai") => Ok(Self::Openai),
            Some("webhook") => Ok(Self::Webhook),
            Some("echo") => Ok(Self::Echo),
            other => Err(Refusal::new(
                format!("is no kind of responder: {:?}", other.unwrap_or_default()),
                "write \"openai\", \"webhook\", \"echo\", or \"\" for none",
            )),
        }
    }
}

/// The first thing that cannot work, and the settings that it is about.
pub(super) fn objection(responder: &Responder) -> Option<(&'static [&'static str], Refusal)> {
    if let Err(error) = Wording::new(responder) {
        let names: &[&str] =
            if error.name() == Some("system") { &["responder.system"] } else { &["responder.opening"] };
        let message = format!("is no template: {}", error.kind());
        return Some((names, Refusal::new(message, "placeholders are written {{user.name}}, {{session.subject}}")));
    }
    if responder.error_text.trim().is_empty() {
        let refusal = Refusal::new("is empty", "write what a user reads when no answer could be made");
        return Some((&["responder.error_text"], refusal));
    }
    if matches!(responder.kind, Kind::Off | Kind::Echo) {
        return None;
    }
    if let Err(refusal) = url_fits(responder) {
        return Some((&["responder.url", "responder.kind", "responder.allow_http"], refusal));
    }
    if responder.kind == Kind::Openai && responder.model.is_empty() {
        return Some((
            &["responder.model", "responder.kind"],
            Refusal::new("is not set", "write the model's name as its server knows it"),
        ));
    }
    if responder.kind != Kind::Webhook {
        return None;
    }
    SigningKey::read(responder.key.expose()).err().map(|refusal| (&["responder.key", "responder.kind"][..], refusal))
}

/// Neither the key nor what users say goes over the wire in clear text, unless to this machine or where that is wanted.
fn url_fits(responder: &Responder) -> Result<(), Refusal> {
    if responder.url.is_empty() {
        return Err(Refusal::new("is not set", "write the address of whoever answers, such as \"https://…/v1\""));
    }
    let Ok(url) = Url::parse(&responder.url) else {
        return Err(Refusal::new("is no URL", "write it as in \"https://…/v1\""));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::new("holds a user or password", "put the secret into responder.key"));
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if responder.allow_http || is_loopback(url.host_str().unwrap_or_default()) => Ok(()),
        "http" => Err(Refusal::new(
            "is http, which everybody on the way can read",
            "write https, or set responder.allow_http = true",
        )),
        _ => Err(Refusal::new("is neither https nor http", "write it as in \"https://…/v1\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError, Loaded};

    fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let flags: Vec<_> =
            pairs.iter().map(|(key, value)| (format!("responder.{key}"), (*value).to_owned())).collect();
        Config::load(None, std::iter::empty(), &flags)
    }

    const KEY: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    #[test]
    fn what_can_work_is_accepted() {
        for pairs in [
            &[("kind", "echo")][..],
            &[("kind", "openai"), ("url", "https://api.example/v1"), ("model", "m")],
            &[("kind", "openai"), ("url", "http://[::1]:9/v1"), ("model", "m")],
            &[("kind", "openai"), ("url", "http://models.internal/v1"), ("model", "m"), ("allow_http", "true")],
            &[("kind", "webhook"), ("url", "https://app.example/answer"), ("key", KEY)],
            &[("system", "{% if session.metadata.posts %}Known{% else %}New{% endif %} {{user.first_name}}")],
        ] {
            assert!(load(pairs).is_ok(), "{pairs:?}: {:?}", load(pairs).map(|_| ()));
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let flags = [("responder.key".to_owned(), "hunter2".to_owned())];
        let loaded = Loaded::load(None, std::iter::empty(), &flags).unwrap();
        assert!(!format!("{loaded:?} {:?}", loaded.config).contains("hunter2"));
    }

    #[test]
    fn what_cannot_work_is_refused_and_named() {
        for (pairs, name) in [
            (&[("kind", "openia")][..], "responder.kind"),
            (&[("kind", "openai"), ("model", "m")], "responder.url"),
            (&[("kind", "openai"), ("url", "https://api.example/v1")], "responder.model"),
            (&[("kind", "openai"), ("url", "http://api.example/v1"), ("model", "m")], "responder.url"),
            (&[("kind", "openai"), ("url", "http://127.0.0.1.example/v1"), ("model", "m")], "responder.url"),
            (&[("kind", "openai"), ("url", "https://u:hunter2@api.example"), ("model", "m")], "responder.url"),
            (&[("kind", "openai"), ("url", "ftp://api.example"), ("model", "m")], "responder.url"),
            (&[("kind", "webhook"), ("url", "https://app.example"), ("key", "hunter2")], "responder.key"),
            (&[("system", "{{user.name")], "responder.system"),
            (&[("opening", "{% if %}")], "responder.opening"),
            (&[("error_text", " ")], "responder.error_text"),
            (&[("timeout", "0s")], "responder.timeout"),
            (&[("debounce", "0s")], "responder.debounce"),
        ] {
            let error = load(pairs).expect_err(name);
            assert!(error.message.starts_with(&format!("`{name}` ")), "{pairs:?}: {error}");
            assert!(!format!("{error:?}").contains("hunter2") && !error.hint.is_empty(), "{error:?}");
        }
    }
}
