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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::super::tests::{Folder, example_of, from_env, from_text, pairs};
    use super::*;

    #[test]
    fn the_channel_in_the_manual_is_complete_and_valid() {
        let expected = Channel {
            name: "chat_session_change".into(),
            tenant: "tenant_id".into(),
            kind: "chat_sessions.changed".into(),
            subject: Some("session_id".into()),
            audience: Some("user_id".into()),
        };
        assert_eq!(from_text(&example_of("channel")).unwrap().channel, [expected]);
    }

    #[test]
    fn a_list_of_channels_replaces_the_one_of_an_earlier_layer() {
        let folder = Folder::new("channels");
        let file = folder.file(
            "my.toml",
            "[[channel]]\nname = \"a\"\ntenant = \"t\"\n[[channel]]\nname = \"b\"\ntenant = \"=acme\"\n",
        );
        let names = |env: &[(&str, &str)]| {
            let config = Config::load(Some(Path::new(&file)), pairs(env).into_iter(), &[]).unwrap();
            config.channel.into_iter().map(|channel| (channel.name, channel.kind)).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), [("a".into(), "a".into()), ("b".into(), "b".to_owned())]);
        let json = r#"[{"name": "Über alles", "tenant": "x.y", "type": "c.d"}]"#;
        assert_eq!(names(&[("TIDINGS__CHANNEL", json)]), [("Über alles".into(), "c.d".to_owned())]);
    }

    #[test]
    fn a_channel_that_cannot_work_is_refused_with_line_key_and_remedy() {
        let ok = "[[channel]]\nname = \"a\"\ntenant = \"t\"\n";
        for (text, message) in [
            ("tennant = \"t\"", "my.toml:6: `channel.tennant` is not a setting"),
            ("type = 1", "my.toml:6: `channel.type` must be a string, not an integer"),
            ("type = \"a b\"", "my.toml:6: `channel.type` is no event type: \"a b\""),
            ("subject = \"a..b\"", "my.toml:6: `channel.subject` is not a path: \"a..b\""),
            ("audience = \"=ann\"", "my.toml:6: `channel.audience` is not a path: \"=ann\""),
        ] {
            let error = from_text(&format!("{ok}[[channel]]\nname = \"b\"\n{text}\ntenant = \"t\"")).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(!error.hint.is_empty());
        }
        for (text, message) in [
            ("name = \"b\"", "my.toml:4: `channel` has no `tenant`"),
            ("tenant = \"t\"", "my.toml:4: `channel` has no `name`"),
            ("name = \"a\"\ntenant = \"t\"", "my.toml:5: `channel.name` is bridged already"),
            (
                "name = \"tidings_x\"\ntenant = \"t\"",
                "my.toml:5: `channel.name` is a channel of our own: \"tidings_x\"",
            ),
            ("name = \"\"\ntenant = \"t\"", "my.toml:5: `channel.name` is not a channel's name: \"\""),
            ("name = \"b c\"\ntenant = \"t\"", "my.toml:5: `channel.name` is no event type, and there is no `type`"),
            ("tenant = \"=\"\nname = \"b\"", "my.toml:5: `channel.tenant` names no tenant: \"=\""),
        ] {
            let error = from_text(&format!("{ok}[[channel]]\n{text}")).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(!error.hint.is_empty());
        }
        let long = format!("[[channel]]\nname = \"{}\"\ntype = \"t\"\ntenant = \"t\"", "x".repeat(64));
        assert_eq!(from_text(&long).unwrap_err().place, "my.toml:2");
    }

    #[test]
    fn a_channel_that_is_no_list_of_sections_is_refused() {
        for (text, message, hint) in [
            (
                "[channel]\nname = \"a\"",
                "my.toml:1: `channel` must be a list of sections",
                "write [[channel]] and its keys below",
            ),
            (
                "channel = [\"a\"]",
                "my.toml:1: `channel` must be a section, not a string",
                "write [[channel]] and its keys below",
            ),
            ("[[chanel]]\nname = \"a\"", "my.toml:1: `chanel` is not a section", "did you mean [[channel]]?"),
        ] {
            let error = from_text(text).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.hint.as_str()), (message, hint));
        }
        let refused = |json: &str| from_env(&[("TIDINGS__CHANNEL", json)]).unwrap_err().to_string();
        assert_eq!(refused("chat"), "TIDINGS__CHANNEL: `channel` is not a JSON list: \"chat\"");
        let second = r#"[{"name": "a", "tenant": "t"}, {"name": "b"}]"#;
        assert_eq!(refused(second), "TIDINGS__CHANNEL: `channel` number 2: has no `tenant`");
        let third = r#"[{"name": "a", "tenant": "t", "tpye": "x"}]"#;
        assert_eq!(refused(third), "TIDINGS__CHANNEL: `channel` number 1: `tpye` is not a setting");
    }
}
