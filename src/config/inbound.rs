//! `[[inbound]]`: who may deliver signed webhooks, and which function of the application they are for.
//!
//! Files with secrets are opened only when all layers have been merged: one that a later layer replaces need not be there.

use toml::Value;

use super::{
    error::Refusal,
    list::{self, List, Objection, Section, Wrong, tenant_fits},
    secret::masked_section,
    signing_key::{Open, SigningKey, keys, open},
    value::FromValue,
};

/// The list.
pub(super) const LIST: List = List {
    name: "inbound",
    check: |list| read(list, |_| Ok(None)).map(|_| ()),
    json: "[{\"name\": \"pipeline\", \"secret_file\": \"/run/secrets/pipeline\"}]",
    is_open: false,
    masked: masked_section,
};
const KEYS: [&str; 7] = ["name", "secret", "secret_file", "previous_secret", "previous_secret_file", "tenant", "call"];

/// One source of webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// As the address ends, in logs and in metrics.
    pub name: String,
    /// Any of these signs: the secret, and the one before the last rotation.
    pub keys: Vec<SigningKey>,
    /// Path of the tenant in the body, or `=acme`: all is of the tenant acme.
    pub tenant: String,
    /// The function of schema `tidings_app` that takes a body.
    pub call: String,
}

impl FromValue for Vec<Inbound> {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        read(value.as_array().map_or(&[], Vec::as_slice), open).map_err(Objection::without_line)
    }
}

fn read(list: &[Value], open: Open) -> Result<Vec<Inbound>, Objection> {
    let twice = || Refusal::new("is there already", "keep one [[inbound]] of each name");
    list::read(list, |item| read_one(item, open), |inbound| &inbound.name, twice)
}

fn read_one(item: &Value, open: Open) -> Result<Inbound, Wrong> {
    let section = Section::new(LIST.name, &KEYS, item)?;
    let name = section.required("name", name_fits, "write what its address ends with: /v1/webhooks/NAME")?;
    let keys = keys(&section, open)?;
    let tenant = section.read("tenant", |tenant| tenant_fits(tenant, TENANT_HINT).map(|()| tenant.to_owned()))?;
    let call = section.read("call", call_fits)?;
    Ok(Inbound {
        name,
        keys,
        tenant: tenant.unwrap_or_else(|| "tenant".to_owned()),
        call: call.unwrap_or_else(|| "document_status".to_owned()),
    })
}

const TENANT_HINT: &str =
    "write where it stands in the body, such as \"document.tenant_id\", or \"=acme\": all is of the tenant acme";

/// It needs no escaping in an address.
fn name_fits(name: &str) -> Result<String, Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if (1..=63).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(name.to_owned());
    }
    Err(Refusal::new(format!("is no name of a source: {name:?}"), "write 1 to 63 of A-Z a-z 0-9 _ -"))
}

/// It becomes part of a statement, so that nothing but a plain name may stand here.
fn call_fits(call: &str) -> Result<String, Refusal> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let fits = (1..=63).contains(&call.len()) && !call.starts_with(|c: char| c.is_ascii_digit());
    if fits && call.chars().all(plain) {
        return Ok(call.to_owned());
    }
    let hint = "write the name of a function in schema tidings_app, of a-z 0-9 _";
    Err(Refusal::new(format!("is no plain name: {call:?}"), hint))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Folder, example_of, from_env, from_text, pairs};
    use super::super::{Config, Loaded};
    use super::*;

    const SECRET: &str = "a secret of twenty-four bytes or more";

    #[test]
    fn the_source_in_the_manual_is_complete_and_valid() {
        let example = example_of("inbound");
        let [inbound] = &from_text(&example).unwrap().inbound[..] else { panic!() };
        assert_eq!(
            (inbound.keys[0].expose().len(), inbound.keys[1].expose()),
            (24, &b"the secret before the last rotation"[..])
        );
        let defaults = format!("[[inbound]]\nname = \"{}\"\nsecret = \"{SECRET}\"", inbound.name);
        let [short] = &from_text(&defaults).unwrap().inbound[..] else { panic!() };
        assert_eq!((&short.tenant, &short.call), (&inbound.tenant, &inbound.call), "what is left out");
        let written = |key: &&str| key.ends_with("_file") || example.contains(&format!("\n{key} = "));
        assert!(KEYS.iter().all(written), "{example}");
    }

    #[test]
    fn a_source_that_cannot_work_is_refused_with_line_key_and_remedy() {
        for (text, message) in [
            ("secret = \"x\"", "my.toml:3: `inbound.secret` is shorter than 24 bytes"),
            ("secret = \"whsec_x\"", "my.toml:3: `inbound.secret` is not whsec_ and base64"),
            ("tenant = \"a..b\"", "my.toml:3: `inbound.tenant` is not a path: \"a..b\""),
            ("tenant = \"=\"", "my.toml:3: `inbound.tenant` names no tenant: \"=\""),
            ("call = \"f(); drop\"", "my.toml:3: `inbound.call` is no plain name: \"f(); drop\""),
            ("call = \"1f\"", "my.toml:3: `inbound.call` is no plain name: \"1f\""),
            ("secrets = \"x\"", "my.toml:3: `inbound.secrets` is not a setting"),
            ("previous_secret = 1", "my.toml:3: `inbound.previous_secret` must be a string, not an integer"),
        ] {
            let secret = if text.starts_with("secret =") { String::new() } else { format!("secret = \"{SECRET}\"") };
            let error = from_text(&format!("[[inbound]]\nname = \"a\"\n{text}\n{secret}")).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(!error.hint.is_empty());
        }
        for (text, message) in [
            ("[[inbound]]\nname = \"a\"", "my.toml:1: `inbound` has no `secret`"),
            ("[[inbound]]\nname = \"a/b\"", "my.toml:2: `inbound.name` is no name of a source: \"a/b\""),
            ("[[inbond]]\nname = \"a\"", "my.toml:1: `inbond` is not a section"),
        ] {
            assert_eq!(from_text(text).unwrap_err().to_string(), message);
        }
        let one = format!("[[inbound]]\nname = \"a\"\nsecret = \"{SECRET}\"\n");
        assert_eq!(from_text(&one.repeat(2)).unwrap_err().to_string(), "my.toml:5: `inbound.name` is there already");
    }

    #[test]
    fn a_secret_is_read_from_a_file_and_one_that_was_replaced_is_not_looked_for() {
        let folder = Folder::new("inbound");
        let secret = folder.file("secret", &format!("{SECRET}\n"));
        let json = serde_json::json!([{"name": "a", "secret_file": secret}]).to_string();
        let file = folder.file("my.toml", "[[inbound]]\nname = \"a\"\nsecret_file = \"no-such-file\"\n");
        let load = |env: &[(&str, &str)]| Config::load(Some(file.as_ref()), pairs(env).into_iter(), &[]);
        let found = load(&[("TIDINGS__INBOUND", &json)]).unwrap().inbound;
        assert_eq!(found[0].keys[0].expose(), SECRET.as_bytes());
        let error = load(&[]).unwrap_err().to_string();
        assert!(
            error.contains("my.toml:1: `inbound` number 1: `secret_file` cannot be read from \"no-such-file\""),
            "{error}"
        );
        let both = format!("[[inbound]]\nname = \"a\"\nsecret = \"{SECRET}\"\nsecret_file = {secret:?}");
        assert!(from_text(&both).unwrap_err().to_string().contains("`inbound.secret_file` is also set by `secret`"));
    }

    #[test]
    fn a_secret_is_neither_shown_nor_quoted() {
        let json = format!(r#"[{{"name": "a", "secret": "{SECRET}", "previous_secret": "{SECRET}"}}]"#);
        let loaded = Loaded::load(None, pairs(&[("TIDINGS__INBOUND", &json)]).into_iter(), &[]).unwrap();
        let printed = format!("{loaded:?} {:?}", loaded.config);
        assert!(printed.contains("\"a\"") && !printed.contains(SECRET), "{printed}");
        for broken in [json.trim_end_matches(']').to_owned(), format!(r#"[{{"name": "a", "secert": "{SECRET}"}}]"#)] {
            let error = from_env(&[("TIDINGS__INBOUND", &broken)]).unwrap_err();
            assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
        }
    }
}
