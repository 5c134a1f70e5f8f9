//! `[[issuer]]`: who issues tokens, where there are several, each with keys of its own.

use toml::Value;

use super::{
    check::jwks_is_trustworthy,
    error::Refusal,
    list::{self, List, Objection, Section, Wrong},
    secret::masked_endpoint,
    value::FromValue,
};

/// The list.
pub(super) const LIST: List = List {
    name: "issuer",
    check: |list| read(list).map(|_| ()),
    json: "[{\"name\": \"https://id.example.com/\", \"jwks\": \"https://id.example.com/jwks.json\"}]",
    is_open: true,
    masked: |section| {
        let mut shown = section.clone();
        if let Some(Value::String(jwks)) = shown.get_mut("jwks")
            && jwks.contains("://")
        {
            *jwks = masked_endpoint(jwks);
        }
        shown
    },
};
const KEYS: [&str; 3] = ["name", "jwks", "audience"];

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What `iss` says.
    pub name: String,
    /// Path or URL of its JWKS.
    pub jwks: String,
    /// Required `aud`; empty: that of `auth.audience`.
    pub audience: String,
}

impl FromValue for Vec<Issuer> {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        read(value.as_array().map_or(&[], Vec::as_slice)).map_err(Objection::without_line)
    }
}

fn read(list: &[Value]) -> Result<Vec<Issuer>, Objection> {
    let twice = || Refusal::new("is there already", "keep one [[issuer]] of each name; several keys stand in one JWKS");
    list::read(list, read_one, |issuer| &issuer.name, twice)
}

fn read_one(item: &Value) -> Result<Issuer, Wrong> {
    let section = Section::new(LIST.name, &KEYS, item)?;
    let said = |text: &str| {
        let empty = || Refusal::new("is empty", "give it a value or take it out");
        (!text.is_empty()).then(|| text.to_owned()).ok_or_else(empty)
    };
    let name = section.required("name", said, "write what `iss` says in its tokens, to the letter")?;
    let hint = "write \"/etc/tidings/jwks.json\" or \"https://…\"; http only on the loopback address";
    let jwks = section.required(
        "jwks",
        |jwks| {
            let jwks = said(jwks)?;
            if jwks_is_trustworthy(&jwks) {
                return Ok(jwks);
            }
            Err(Refusal::new("is neither a path nor an https URL", hint))
        },
        hint,
    )?;
    let audience = section.read("audience", said)?.unwrap_or_default();
    Ok(Issuer { name, jwks, audience })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{example_of, from_env, from_text};
    use super::*;

    #[test]
    fn the_issuer_in_the_manual_is_complete_and_valid() {
        let example = example_of("issuer");
        let [issuer] = &from_text(&example).unwrap().issuer[..] else { panic!() };
        assert_eq!((issuer.name.as_str(), issuer.audience.as_str()), ("https://id.example.com/", "tidings"));
        assert!(KEYS.iter().all(|key| example.contains(&format!("\n{key} = "))), "{example}");
    }

    #[test]
    fn an_issuer_that_cannot_work_is_refused_with_line_key_and_remedy() {
        for (text, message) in [
            ("name = \"a\"", "my.toml:1: `issuer` has no `jwks`"),
            ("jwks = \"k.json\"", "my.toml:1: `issuer` has no `name`"),
            ("name = \"\"\njwks = \"k.json\"", "my.toml:2: `issuer.name` is empty"),
            ("name = \"a\"\njwks = \"\"", "my.toml:3: `issuer.jwks` is empty"),
            ("name = \"a\"\njwks = \"http://b/k\"", "my.toml:3: `issuer.jwks` is neither a path nor an https URL"),
            ("name = \"a\"\njwks = \"k\"\naudience = \"\"", "my.toml:4: `issuer.audience` is empty"),
            ("name = \"a\"\njwks = \"k\"\nkid = \"x\"", "my.toml:4: `issuer.kid` is not a setting"),
            (
                "name = \"a\"\njwks = \"k\"\n[[issuer]]\nname = \"a\"\njwks = \"l\"",
                "my.toml:5: `issuer.name` is there already",
            ),
        ] {
            let error = from_text(&format!("[[issuer]]\n{text}")).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(!error.hint.is_empty());
        }
    }

    #[test]
    fn keys_of_several_issuers_are_told_apart_by_their_names() {
        let issuer = "[[issuer]]\nname = \"a\"\njwks = \"k\"\n";
        for (text, names) in [
            ("[auth]\njwks = \"l\"\n", "auth.issuer"),
            ("[auth]\njwks = \"l\"\nissuer = \"a\"\n", "auth.issuer"),
            ("[auth]\nissuer = \"a\"\n", "auth.issuer"),
            ("[auth]\nalgorithms = [\"HS256\"]\n", "auth.algorithms"),
        ] {
            let error = from_text(&format!("{issuer}{text}")).unwrap_err().to_string();
            assert!(error.contains(names), "{text}: {error}");
        }
        for text in ["", "[auth]\njwks = \"l\"\nissuer = \"b\"\n", "[auth]\nalgorithms = [\"RS256\"]\n"] {
            assert!(from_text(&format!("{issuer}{text}")).is_ok(), "{text}");
        }
        let shown = from_env(&[("TIDINGS__ISSUER", LIST.json)]).unwrap();
        assert_eq!(shown.issuer.len(), 1);
    }
}
