//! Reads what triggers of other people's make send: a JSON object heard on a plain channel becomes an event of the tenant
//! that it names, or that the channel belongs to.
//!
//! Place on the road: beside [`decode`](super::decode), for the channels of `[[channel]]`. Pure and total: the clock and the
//! number are the caller's.
//!
//! Invariant: what names no tenant, or no user where it should, is for nobody
//! (`what_does_not_say_whose_it_is_is_refused`). The object itself is passed on as it came: it is looked into only along
//! the configured paths.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::DecodeError;
use crate::event::{Event, Identity, Parts, TenantId};

/// How the payloads of one channel are read. A path is dotted: `session.id` is the member `id` of the member `session`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// As pg_notify names it.
    pub name: String,
    /// Path of the tenant, or `=acme`: all is of the tenant acme.
    pub tenant: String,
    /// Type of the events.
    pub kind: String,
    /// Path of the subject.
    pub subject: Option<String>,
    /// Path of the one user that an event is for.
    pub audience: Option<String>,
}

// What tidings.emit allows.
const TENANT_BYTES_MAX: usize = 255;
const SUBJECT_BYTES_MAX: usize = 1024;
const AUDIENCE_BYTES_MAX: usize = 255;

/// Reads one payload, heard at `at_us`, as the `number`th event of this process that is in no log.
pub fn decode(channel: &Channel, payload: &str, at_us: i64, number: u64) -> Result<Arc<Event>, DecodeError> {
    let shape = |error: serde_json::Error| DecodeError::Shape(error.column());
    let data: &RawValue = serde_json::from_str(payload).map_err(shape)?;
    members(data).map_err(shape)?;
    let tenant = tenant(&channel.tenant, data)?;
    let subject = match &channel.subject {
        Some(path) => text(data, path, SUBJECT_BYTES_MAX, "subject")?,
        None => None,
    };
    let audience = match &channel.audience {
        // An event that should be one user's and does not say whose must not become everybody's.
        Some(path) => Some(required(data, path, AUDIENCE_BYTES_MAX, "audience")?),
        None => None,
    };
    Ok(Arc::new(Event::new(Parts {
        identity: Identity::Live(number),
        at_us,
        tenant,
        audience: audience.as_deref(),
        kind: &channel.kind,
        source: &format!("/channel/{}", channel.name),
        subject: subject.as_deref(),
        changed: None,
        trace: None,
        data: Some(data),
    })))
}

/// Whose it is: what stands at a path, or the tenant that `=acme` names.
pub fn tenant(rule: &str, data: &RawValue) -> Result<TenantId, DecodeError> {
    let tenant = match rule.strip_prefix('=') {
        Some(tenant) => Cow::Borrowed(tenant),
        None => required(data, rule, TENANT_BYTES_MAX, "tenant")?,
    };
    Ok(TenantId::trusted(&tenant))
}

/// The members of an object. Of a name that comes twice the last counts, as it does for whoever parses the event.
fn members(object: &RawValue) -> serde_json::Result<HashMap<Cow<'_, str>, &RawValue>> {
    serde_json::from_str(object.get())
}

fn required<'a>(
    data: &'a RawValue,
    path: &str,
    bytes_max: usize,
    what: &'static str,
) -> Result<Cow<'a, str>, DecodeError> {
    text(data, path, bytes_max, what)?.ok_or(DecodeError::Field(what))
}

/// The text at a path: a string's, or a number as it is written. `None` where there is nothing, or null.
fn text<'a>(
    data: &'a RawValue,
    path: &str,
    bytes_max: usize,
    what: &'static str,
) -> Result<Option<Cow<'a, str>>, DecodeError> {
    let found = path.split('.').try_fold(data, |value, name| members(value).ok()?.remove(name));
    let text = match found.map(RawValue::get) {
        None | Some("null") => return Ok(None),
        Some(json) if json.starts_with('"') => serde_json::from_str(json).map(Cow::Owned).ok(),
        Some(json) if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => Some(Cow::Borrowed(json)),
        Some(_) => None,
    };
    text.filter(|text: &Cow<'_, str>| (1..=bytes_max).contains(&text.len())).map(Some).ok_or(DecodeError::Field(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn channel() -> Channel {
        Channel {
            name: "chat".into(),
            tenant: "session.tenant".into(),
            kind: "chat.changed".into(),
            subject: Some("id".into()),
            audience: Some("user".into()),
        }
    }

    fn read(payload: &str) -> Result<Arc<Event>, DecodeError> {
        decode(&channel(), payload, 1_795_186_651_418_752, 1)
    }

    #[test]
    fn a_payload_becomes_an_event_of_its_tenant_and_user_and_stays_as_it_is() {
        let payload = r#"{ "id" : 7.10, "session":{"tenant":"acme"}, "user":"ann", "n":1e2 }"#;
        let event = read(payload).unwrap();
        let json = String::from_utf8(event.json().to_vec()).unwrap();
        assert!(json.ends_with(&format!(r#","data":{payload}}}"#)), "{json}");
        let mut value: Value = serde_json::from_str(&json).unwrap();
        value.as_object_mut().unwrap().remove("data");
        let expected = json!({"specversion": "1.0", "source": "/channel/chat", "type": "chat.changed", "subject": "7.10",
            "time": "2026-11-20T14:57:31.418752Z", "tenant": "acme", "audience": "ann"});
        assert_eq!(value, expected);
        assert_eq!((event.tenant.as_str(), event.audience.as_deref()), ("acme", Some("ann")));
    }

    #[test]
    fn a_channel_that_belongs_to_a_tenant_says_so_for_all_its_payloads() {
        let channel = Channel { tenant: "=acme".into(), subject: None, audience: None, ..channel() };
        let event = decode(&channel, r#"{"session":{"tenant":"globex"},"user":"gus"}"#, 0, 1).unwrap();
        assert_eq!((event.tenant.as_str(), &event.audience, &event.subject), ("acme", &None, &None));
    }

    #[test]
    fn what_does_not_say_whose_it_is_is_refused() {
        let long = format!(r#"{{"session":{{"tenant":"{}"}},"user":"ann"}}"#, "x".repeat(256));
        for (payload, field) in [
            (r#"{"user":"ann"}"#, "tenant"),
            (r#"{"session":{"tenant":null},"user":"ann"}"#, "tenant"),
            (r#"{"session":{"tenant":""},"user":"ann"}"#, "tenant"),
            (r#"{"session":{"tenant":["acme"]},"user":"ann"}"#, "tenant"),
            (r#"{"session":{"tenant":true},"user":"ann"}"#, "tenant"),
            (r#"{"session":"acme","session.tenant":"acme","user":"ann"}"#, "tenant"),
            (r#"{"session":{"tenant":"\ud800"},"user":"ann"}"#, "tenant"),
            (long.as_str(), "tenant"),
            (r#"{"session":{"tenant":"acme"}}"#, "audience"),
            (r#"{"session":{"tenant":"acme"},"user":null}"#, "audience"),
            (r#"{"session":{"tenant":"acme"},"user":{"id":"ann"}}"#, "audience"),
            (r#"{"session":{"tenant":"acme"},"user":"ann","id":{}}"#, "subject"),
        ] {
            assert_eq!(read(payload).unwrap_err(), DecodeError::Field(field), "{payload}");
        }
        for payload in ["", "null", "7", "\"acme\"", "[{}]", "{", "{}{}", "{\"session\":{\"tenant\":\"acme\"}"] {
            assert!(matches!(read(payload), Err(DecodeError::Shape(_))), "{payload}");
        }
    }

    #[test]
    fn of_a_name_that_comes_twice_the_last_counts() {
        let event = read(r#"{"session":{"tenant":"globex"},"session":{"tenant":"acme"},"user":"ann"}"#).unwrap();
        assert_eq!(event.tenant.as_str(), "acme");
        assert_eq!(serde_json::from_slice::<Value>(&event.json()).unwrap()["data"]["session"]["tenant"], "acme");
    }

    #[test]
    fn a_payload_as_deep_as_a_notification_can_be_is_read_or_refused() {
        for depth in [1, 127, 128, 3900] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let event = read(&format!(r#"{{"session":{{"tenant":"acme"}},"user":"ann","x":{open}{close}}}"#));
            assert_eq!(event.unwrap().tenant.as_str(), "acme");
            let nested = format!("{}1{}", r#"{"session":"#.repeat(depth), "}".repeat(depth));
            assert!(read(&nested).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_event_or_refused(text in "\\PC{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn any_damage_to_a_real_payload_is_read_or_refused(at in 0usize..60, with in "\\PC{0,3}") {
            let mut text: Vec<char> = r#"{"id":7,"session":{"tenant":"acme"},"user":"ann"}"#.chars().collect();
            let at = at.min(text.len());
            text.splice(at..(at + 2).min(text.len()), with.chars());
            let _ = read(&text.into_iter().collect::<String>());
        }
    }
}
