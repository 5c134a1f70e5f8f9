//! `[[channel]]`: the one setting that is a list of sections, for there are as many as the database has plain channels.
//!
//! A list replaces the list of an earlier layer as a whole. It is read twice: when a layer is added, so that a refusal can
//! name the line, and when the layers have been merged.

use std::collections::BTreeSet;

use toml::{Table, Value};

pub use crate::decode::plain::Channel;

use super::{
    error::Refusal,
    spelling::nearest,
    value::{FromValue, kind},
};

/// The name of the list, which is also the name of its setting.
pub(super) const LIST: &str = "channel";
const KEYS: [&str; 5] = ["name", "tenant", "type", "subject", "audience"];

/// What is wrong with which key of which channel, counted from 0; no key: with the channel itself.
pub(super) struct Objection {
    pub(super) channel: usize,
    pub(super) key: Option<String>,
    pub(super) refusal: Refusal,
}

impl FromValue for Vec<Channel> {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        read(value.as_array().map_or(&[], Vec::as_slice)).map_err(|Objection { channel, key, refusal }| {
            let key = key.map(|key| format!(" `{key}`")).unwrap_or_default();
            Refusal::new(format!("number {}:{key} {}", channel + 1, refusal.message), refusal.hint)
        })
    }
}

/// Reads the whole list.
pub(super) fn read(list: &[Value]) -> Result<Vec<Channel>, Objection> {
    let mut names = BTreeSet::new();
    let mut channels = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let at = |(key, refusal): (Option<String>, Refusal)| Objection { channel: index, key, refusal };
        let channel = read_one(item).map_err(at)?;
        if !names.insert(channel.name.clone()) {
            let refusal = Refusal::new("is bridged already", "keep one [[channel]] of each name");
            return Err(at((Some("name".to_owned()), refusal)));
        }
        channels.push(channel);
    }
    Ok(channels)
}

fn read_one(item: &Value) -> Result<Channel, (Option<String>, Refusal)> {
    let Some(table) = item.as_table() else {
        let message = format!("must be a section, not {}", kind(item));
        return Err((None, Refusal::new(message, "write [[channel]] and its keys below")));
    };
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let hint = match nearest(key, KEYS) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the keys of [[channel]] are {}", KEYS.join(", ")),
        };
        return Err((Some(key.clone()), Refusal::new("is not a setting", hint)));
    }
    let read = |key: &str, rule: fn(&str) -> Result<(), Refusal>| {
        let text = text(table, key).and_then(|text| text.map_or(Ok(()), rule).map(|()| text.map(str::to_owned)));
        text.map_err(|refusal| (Some(key.to_owned()), refusal))
    };
    let required = |key: &str, rule, hint: &str| {
        read(key, rule)?.ok_or_else(|| (None, Refusal::new(format!("has no `{key}`"), hint)))
    };
    let name = required("name", name_fits, "write the channel's name, exactly as pg_notify names it")?;
    let tenant = required("tenant", tenant_fits, TENANT_HINT)?;
    let kind = match read("type", type_fits)? {
        Some(kind) => kind,
        None => match type_fits(&name) {
            Ok(()) => name.clone(),
            Err(refusal) => {
                let message = "is no event type, and there is no `type`";
                return Err((Some("name".to_owned()), Refusal::new(message, refusal.hint)));
            }
        },
    };
    let (subject, audience) = (read("subject", path_fits)?, read("audience", path_fits)?);
    Ok(Channel { name, tenant, kind, subject, audience })
}

fn text<'a>(table: &'a Table, key: &str) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = table.get(key) else { return Ok(None) };
    let mistyped =
        || Refusal::new(format!("must be a string, not {}", kind(value)), format!("write it as in {key} = \"…\""));
    value.as_str().map(Some).ok_or_else(mistyped)
}

const TENANT_HINT: &str =
    "write where it stands in the payload, such as \"tenant_id\", or \"=acme\": all is of the tenant acme";

fn name_fits(name: &str) -> Result<(), Refusal> {
    let refused = |why: &str, hint: &str| Err(Refusal::new(format!("{why}: {name:?}"), hint));
    if !(1..=63).contains(&name.len()) || name.contains('\0') {
        return refused("is not a channel's name", "write 1 to 63 bytes, exactly as pg_notify names it");
    } else if name.starts_with("tidings_") {
        return refused("is a channel of our own", "watched tables need no [[channel]]");
    }
    Ok(())
}

fn tenant_fits(tenant: &str) -> Result<(), Refusal> {
    match tenant.strip_prefix('=') {
        Some(name) if (1..=255).contains(&name.len()) && !name.chars().any(char::is_control) => Ok(()),
        Some(_) => Err(Refusal::new(format!("names no tenant: {tenant:?}"), TENANT_HINT)),
        None => path_fits(tenant).map_err(|refusal| Refusal::new(refusal.message, TENANT_HINT)),
    }
}

/// As `tidings.emit` wants it.
fn type_fits(kind: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = (1..=127).contains(&kind.len())
        && kind.starts_with(|c: char| c.is_ascii_alphanumeric())
        && kind.chars().all(allowed);
    let hint = "write a type of 1 to 127 of A-Z a-z 0-9 . _ - that begins with a letter or digit";
    if fits { Ok(()) } else { Err(Refusal::new(format!("is no event type: {kind:?}"), hint)) }
}

fn path_fits(path: &str) -> Result<(), Refusal> {
    if !path.starts_with('=') && path.split('.').all(|part| !part.is_empty()) {
        return Ok(());
    }
    Err(Refusal::new(
        format!("is not a path: {path:?}"),
        "write a member of the payload, or a path such as \"session.id\"",
    ))
}
