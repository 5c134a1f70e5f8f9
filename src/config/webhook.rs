//! `[[webhook]]`: endpoints that events are posted to, a [list](super::list).

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use toml::{Table, Value};

use super::{
    check::is_loopback,
    error::Refusal,
    list::{self, List, Objection, Section, Wrong},
    secret::{MASK, Secret, masked_endpoint, masked_section},
    signing_key::{Open, SigningKey, keys, open},
    value::{FromValue, kind},
};
use crate::auth::Globs;

/// The list.
pub(super) const LIST: List = List {
    name: "webhook",
    check: |list| read(list, |_| Ok(None)).map(|_| ()),
    json: "[{\"name\": \"orders\", \"url\": \"https://…\", \"secret\": \"whsec_…\"}]",
    is_open: false,
    masked,
};
const KEYS: [&str; 11] = [
    "name",
    "url",
    "secret",
    "secret_file",
    "previous_secret",
    "previous_secret_file",
    "types",
    "tenants",
    "headers",
    "timeout",
    "allow_http",
];
/// What senders of webhooks commonly wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// An attempt holds a place among those in flight for so long.
const TIMEOUT_MAX: Duration = Duration::from_secs(5 * 60);
/// What is ours to say.
const HEADERS_OF_OURS: [&str; 8] = [
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

/// An endpoint. Prints as its name: URLs hold credentials often enough.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Unique; its consumer in the database is `webhook.<name>`.
    pub name: String,
    /// Where events are posted.
    pub url: Url,
    /// Each signs: the secret, and the one before it while the receiver changes from one to the other.
    pub keys: Vec<SigningKey>,
    /// Which events.
    pub types: Globs,
    /// Whose; absent: everybody's.
    pub tenants: Option<Vec<String>>,
    /// Sent with each.
    pub headers: Vec<(String, Secret)>,
    /// Limit for one attempt.
    pub timeout: Duration,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Its name in the database and in metrics.
    pub fn consumer(&self) -> String {
        format!("webhook.{}", self.name)
    }
}

impl FromValue for Vec<Webhook> {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        read(value.as_array().map_or(&[], Vec::as_slice), open).map_err(Objection::without_line)
    }
}

fn read(list: &[Value], open: Open) -> Result<Vec<Webhook>, Objection> {
    let twice = || Refusal::new("is there already", "keep one [[webhook]] of each name");
    list::read(list, |item| read_one(item, open), |webhook| &webhook.name, twice)
}

fn read_one(item: &Value, open: Open) -> Result<Webhook, Wrong> {
    let section = Section::new(LIST.name, &KEYS, item)?;
    let name = section.required("name", name_fits, NAME_HINT)?;
    let url = url(&section)?;
    let keys = keys(&section, open)?;
    let types = section.value::<Vec<String>>("types")?;
    let types = types.map(|types| Globs::from_items(types.iter().map(String::as_str))).transpose();
    let types = types.map_err(|error| at("types", Refusal::new(format!("cannot be used: {error}"), error.hint())))?;
    let tenants = section.value::<Vec<String>>("tenants")?;
    if tenants.as_ref().is_some_and(|tenants| tenants.is_empty() || tenants.iter().any(String::is_empty)) {
        let refusal = Refusal::new("names no tenant", "leave the key out for the events of all tenants");
        return Err(at("tenants", refusal));
    }
    let timeout = section.value::<Duration>("timeout")?.unwrap_or(TIMEOUT);
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        return Err(at("timeout", Refusal::new("is not between 1ms and 5m", "write it as in timeout = \"15s\"")));
    }
    let (types, headers) = (types.unwrap_or_default(), headers(&section)?);
    Ok(Webhook { name, url, keys, types, tenants, headers, timeout })
}

/// A section as it may be shown: values of headers often are credentials, and URLs often hold one.
fn masked(section: &Table) -> Table {
    let mut shown = masked_section(section);
    for (key, value) in &mut shown {
        match (key.as_str(), value) {
            ("url", Value::String(url)) => *url = masked_endpoint(url),
            ("headers", Value::Table(headers)) => headers.iter_mut().for_each(|(_, value)| *value = MASK.into()),
            _ => {}
        }
    }
    shown
}

fn at(key: &str, refusal: Refusal) -> Wrong {
    (Some(key.to_owned()), refusal)
}

const NAME_HINT: &str = "write 1 to 63 of a-z 0-9 _ -, such as \"billing\"";

fn name_fits(name: &str) -> Result<String, Refusal> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if (1..=63).contains(&name.len()) && name.chars().all(fits) {
        return Ok(name.to_owned());
    }
    Err(Refusal::new(format!("is not a name: {name:?}"), NAME_HINT))
}

/// No refusal repeats the URL: it may hold a credential.
fn url(section: &Section<'_>) -> Result<Url, Wrong> {
    const HINT: &str = "write https://…; http on the loopback address, or elsewhere with allow_http = true";
    let allowed = section.value::<bool>("allow_http")?.unwrap_or(false);
    let url =
        section.required("url", |text| text.parse::<Url>().map_err(|_| Refusal::new("is not a URL", HINT)), HINT)?;
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "https" if !host.is_empty() => Ok(url),
        "http" if !host.is_empty() && (allowed || is_loopback(host)) => Ok(url),
        "http" => Err(at("url", Refusal::new("is http, which anyone on the way can read", HINT))),
        _ => Err(at("url", Refusal::new("is neither https nor http", HINT))),
    }
}

fn headers(section: &Section<'_>) -> Result<Vec<(String, Secret)>, Wrong> {
    const HINT: &str = "write it as in headers = { \"x-api-key\" = \"…\" }";
    let Some(value) = section.raw("headers") else { return Ok(Vec::new()) };
    let Some(headers) = value.as_table() else {
        return Err(at("headers", Refusal::new(format!("must be a table, not {}", kind(value)), HINT)));
    };
    let mut all = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let value = value.as_str().filter(|value| value.parse::<HeaderValue>().is_ok());
        if HEADERS_OF_OURS.contains(&lower.as_str()) {
            return Err(at("headers", Refusal::new(format!("sets {lower}, which is ours to say"), "take it out")));
        }
        match (lower.parse::<HeaderName>(), value) {
            (Ok(_), Some(value)) => all.push((lower, Secret::new(value))),
            _ => return Err(at("headers", Refusal::new(format!("holds {name:?}, which is no header"), HINT))),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::Loaded;
    use super::super::tests::{Folder, example_of, from_env, from_text, pairs};
    use super::*;

    #[test]
    fn the_webhook_in_the_manual_is_complete_and_valid() {
        let config = from_text(&example_of("webhook")).unwrap();
        let [webhook] = config.webhook.as_slice() else { panic!("{config:?}") };
        assert_eq!(
            (webhook.consumer().as_str(), webhook.url.as_str()),
            ("webhook.billing", "https://billing.example.com/hooks/tidings")
        );
        assert!(webhook.keys.len() == 2 && webhook.tenants == Some(vec!["acme".into()]));
        assert_eq!((webhook.types.to_string().as_str(), webhook.timeout.as_secs()), ("documents.*,invoice.paid", 15));
        assert_eq!(webhook.headers, [("x-api-key".to_owned(), Secret::new("k"))]);
    }

    const HOOK: &str =
        "[[webhook]]\nname = \"a\"\nurl = \"https://x\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n";

    #[test]
    fn a_webhook_that_cannot_work_is_refused_with_line_key_and_remedy() {
        for (text, message) in [
            ("tpyes = []", "`webhook.tpyes` is not a setting"),
            ("types = []", "`webhook.types` cannot be used: glob 1 is empty"),
            ("types = \"a\"", "`webhook.types` must be a list of strings"),
            ("tenants = []", "`webhook.tenants` names no tenant"),
            ("timeout = \"0s\"", "`webhook.timeout` is not between 1ms and 5m"),
            ("timeout = \"6m\"", "`webhook.timeout` is not between 1ms and 5m"),
            ("headers = { \"a b\" = \"c\" }", "`webhook.headers` holds \"a b\", which is no header"),
            ("headers = { Webhook-Id = \"c\" }", "`webhook.headers` sets webhook-id, which is ours to say"),
            ("headers = 1", "`webhook.headers` must be a table, not an integer"),
            ("secret_file = \"x\"", "`webhook.secret_file` is also set by `secret`"),
            ("previous_secret = \"x\"", "`webhook.previous_secret` is shorter than 24 bytes"),
            ("allow_http = 1", "`webhook.allow_http` must be true or false, not an integer"),
        ] {
            let error = from_text(&format!("{HOOK}{text}")).unwrap_err();
            assert_eq!(error.to_string(), format!("my.toml:5: {message}"));
            assert!(!error.hint.is_empty());
        }
        for (from, to, message) in [
            ("\"https://x\"", "\"http://x\"", "my.toml:3: `webhook.url` is http, which anyone on the way can read"),
            ("\"https://x\"", "\"ftp://x\"", "my.toml:3: `webhook.url` is neither https nor http"),
            ("\"https://x\"", "\"x\"", "my.toml:3: `webhook.url` is not a URL"),
            ("name = \"a\"", "name = \"A\"", "my.toml:2: `webhook.name` is not a name: \"A\""),
            ("secret = ", "previous_secret = ", "my.toml:1: `webhook` has no `secret`"),
        ] {
            assert_eq!(from_text(&HOOK.replace(from, to)).unwrap_err().to_string(), message);
        }
        let twice = from_text(&format!("{HOOK}{HOOK}")).unwrap_err();
        assert_eq!(twice.to_string(), "my.toml:6: `webhook.name` is there already");
        for url in ["http://127.0.0.1:1/x", "http://[::1]/", "http://localhost"] {
            assert!(from_text(&HOOK.replace("https://x", url)).is_ok(), "{url}");
        }
        assert!(from_text(&format!("{}allow_http = true", HOOK.replace("https://x", "http://x"))).is_ok());
    }

    #[test]
    fn the_secret_of_a_webhook_may_lie_in_a_file_and_is_never_shown() {
        let folder = Folder::new("webhook");
        let file = folder.file("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
        let json = format!(
            r#"[{{"name": "a", "url": "https://u:hunter2@x", "secret_file": "{file}", "headers": {{"k": "hunter2"}},
            "previous_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}]"#
        );
        let loaded = Loaded::load(None, pairs(&[("TIDINGS__WEBHOOK", &json)]).into_iter(), &[]).unwrap();
        let printed = format!("{:?} {:?}", loaded.config, loaded.shown().map(|shown| shown.value).collect::<Vec<_>>());
        assert!(
            !printed.contains("MfKQ9r8") && !printed.contains("hunter2") && loaded.config.webhook[0].keys.len() == 2,
            "{printed}"
        );
        let shown = loaded.shown().find(|shown| shown.key == "webhook").unwrap().value.to_string();
        assert!(!shown.contains("hunter2") && shown.contains("https://u:***@x"), "{shown}");
        let missing = json.replace(&file, "/nowhere");
        let error = from_env(&[("TIDINGS__WEBHOOK", &missing)]).unwrap_err();
        assert!(error.to_string().contains("`secret_file` cannot be read from \"/nowhere\""), "{error}");
    }
}
