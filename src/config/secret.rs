//! Values that must not be seen: a type that cannot be printed by accident, and masks for `config show`.
//!
//! Why the memory is not wiped: the same bytes stand in the environment or in a mounted file anyway.

use std::fmt;

use toml::Table;

pub(super) const MASK: &str = "***";

/// A string whose `Debug` and `Display` print `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: never to be logged, nor to become part of an error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// What `config show` prints of the setting `name`. An empty secret stays empty: it tells that nothing was set.
pub(super) fn masked(name: &str, text: &str) -> String {
    match name {
        "auth.secret" | "auth.previous_secret" | "responder.key" if !text.is_empty() => MASK.to_owned(),
        "database.url" | "email.smtp" => masked_url(text),
        "auth.jwks" | "responder.url" if text.contains("://") => masked_endpoint(text),
        _ => text.to_owned(),
    }
}

/// Whether a setting, as it was given, holds a secret. Lists do, where they can.
pub fn holds_secret(name: &str, text: &str) -> bool {
    matches!(name, "webhook" | "inbound") || masked(name, text) != text
}

/// A section of a list with its secrets masked.
pub(super) fn masked_section(section: &Table) -> Table {
    let mut shown = section.clone();
    for key in ["secret", "previous_secret"] {
        if let Some(value) = shown.get_mut(key) {
            *value = MASK.into();
        }
    }
    shown
}

/// Masks the passwords of a URL or of a `key=value` connection string. In doubt too much is masked, not too little.
fn masked_url(text: &str) -> String {
    masked_parts(text, masked_pair)
}

/// Masks the password of an HTTP address, and whatever stands in its query: keys do, under names of the endpoint's choice.
pub(super) fn masked_endpoint(text: &str) -> String {
    masked_parts(text, |pair| format!("{}={MASK}", pair.split_once('=').map_or(pair, |(key, _)| key)))
}

fn masked_parts(text: &str, pair: fn(&str) -> String) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return masked_words(text);
    };
    // A password may hold an unescaped `/`, `?` or `@`: it ends at the last `@` of all.
    let (userinfo, rest) = rest.rsplit_once('@').map_or(("", rest), |(userinfo, rest)| (userinfo, rest));
    let userinfo = match userinfo.split_once(':') {
        Some((user, _)) => format!("{user}:{MASK}@"),
        None if userinfo.is_empty() => String::new(),
        None => format!("{userinfo}@"),
    };
    let (before, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
    let query = query.map_or(String::new(), |query| {
        let pairs: Vec<String> = query.split('&').map(pair).collect();
        format!("?{}", pairs.join("&"))
    });
    format!("{scheme}://{userinfo}{before}{query}")
}

fn masked_pair(pair: &str) -> String {
    match pair.split_once('=') {
        Some((key, _)) if key.to_ascii_lowercase().contains("pass") => format!("{key}={MASK}"),
        _ => pair.to_owned(),
    }
}

/// Masks from `password=` to the end: quoting rules decide where the value ends, and a mistake there would show it.
fn masked_words(text: &str) -> String {
    match text.to_ascii_lowercase().find("pass") {
        Some(start) => match text[start..].find('=') {
            Some(equals) => format!("{}={MASK}", &text[..start + equals]),
            None => MASK.to_owned(),
        },
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn only_the_password_of_a_url_is_masked() {
        for (url, shown) in [
            ("postgres://app:pw@db:5432/app", "postgres://app:***@db:5432/app"),
            ("postgres://app@db/app", "postgres://app@db/app"),
            ("postgres://db:5432/app?sslmode=require", "postgres://db:5432/app?sslmode=require"),
            ("postgres://app:p/w?x@y@db/app", "postgres://app:***@db/app"),
            ("postgres:///app?host=/run&password=pw&user=u", "postgres:///app?host=/run&password=***&user=u"),
            ("host=db user=app password='a b' dbname=x", "host=db user=app password=***"),
            ("host=db user=app", "host=db user=app"),
            ("", ""),
        ] {
            assert_eq!(masked("database.url", url), shown);
            assert_eq!(holds_secret("database.url", url), url != shown);
        }
    }

    #[test]
    fn what_an_endpoint_is_asked_with_is_masked_too() {
        for (url, shown) in [
            ("https://keys.example/jwks?key=k7&v=1", "https://keys.example/jwks?key=***&v=***"),
            ("https://u:pw@keys.example/jwks", "https://u:***@keys.example/jwks"),
            ("https://keys.example/jwks", "https://keys.example/jwks"),
        ] {
            assert_eq!(masked("auth.jwks", url), shown);
        }
        assert!(holds_secret("webhook", "[]") && !holds_secret("http.listen", "127.0.0.1:0"));
    }
}
