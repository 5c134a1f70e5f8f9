//! `[[channel]]`: channels on which triggers that are not ours notify.

use toml::Value;

pub use crate::decode::plain::Channel;

use super::{
    error::Refusal,
    list::{self, List, Objection, Section, Wrong, path_fits, tenant_fits},
    value::FromValue,
};

/// The list.
pub(super) const LIST: List = List {
    name: "channel",
    check: |list| read(list).map(|_| ()),
    json: "[{\"name\": \"orders\", \"tenant\": \"tenant_id\"}]",
    is_open: true,
    masked: toml::Table::clone,
};
const KEYS: [&str; 5] = ["name", "tenant", "type", "subject", "audience"];

impl FromValue for Vec<Channel> {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        read(value.as_array().map_or(&[], Vec::as_slice)).map_err(Objection::without_line)
    }
}

fn read(list: &[Value]) -> Result<Vec<Channel>, Objection> {
    let twice = || Refusal::new("is bridged already", "keep one [[channel]] of each name");
    list::read(list, read_one, |channel| &channel.name, twice)
}

fn read_one(item: &Value) -> Result<Channel, Wrong> {
    let section = Section::new(LIST.name, &KEYS, item)?;
    let fits = |rule: fn(&str) -> Result<(), Refusal>| move |text: &str| rule(text).map(|()| text.to_owned());
    let name = section.required("name", fits(name_fits), "write the channel's name, exactly as pg_notify names it")?;
    let tenant = section.required("tenant", fits(|tenant| tenant_fits(tenant, TENANT_HINT)), TENANT_HINT)?;
    let kind = match section.read("type", fits(type_fits))? {
        Some(kind) => kind,
        None => match type_fits(&name) {
            Ok(()) => name.clone(),
            Err(refusal) => {
                let message = "is no event type, and there is no `type`";
                return Err((Some("name".to_owned()), Refusal::new(message, refusal.hint)));
            }
        },
    };
    let (subject, audience) = (section.read("subject", fits(path_fits))?, section.read("audience", fits(path_fits))?);
    Ok(Channel { name, tenant, kind, subject, audience })
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

/// As `tidings.emit` wants it.
fn type_fits(kind: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = (1..=127).contains(&kind.len())
        && kind.starts_with(|c: char| c.is_ascii_alphanumeric())
        && kind.chars().all(allowed);
    let hint = "write a type of 1 to 127 of A-Z a-z 0-9 . _ - that begins with a letter or digit";
    if fits { Ok(()) } else { Err(Refusal::new(format!("is no event type: {kind:?}"), hint)) }
}
