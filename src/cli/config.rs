//! `tidings config check` and `tidings config show`: what is in force, and which layer said so.
//!
//! Both work on a [`Loaded`] configuration; a refused one never gets here, and its error is printed at the edge.
//! Nothing printed holds a secret: [`Loaded::shown`] masks them.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::config::Loaded;

/// The verdict on a configuration that could be loaded.
pub fn check(_loaded: &Loaded) -> &'static str {
    "configuration is valid"
}

/// The effective configuration: TOML with the source of each value as a comment, or, with `json`, an object
/// `{section: {key: {"value", "source"}}}`, with lists such as `channel` beside the sections. Ends without a newline.
pub fn show(loaded: &Loaded, json: bool) -> String {
    if json { as_json(loaded) } else { as_toml(loaded) }
}

fn as_toml(loaded: &Loaded) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in loaded.shown() {
        if setting.section != section {
            let gap = if text.is_empty() { "" } else { "\n" };
            section = setting.section;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{gap}[{section}]");
        }
        let _ = writeln!(text, "{} = {}  # {}", setting.key, setting.value, setting.source);
    }
    text.truncate(text.trim_end().len());
    text
}

fn as_json(loaded: &Loaded) -> String {
    let mut sections = Map::new();
    for setting in loaded.shown() {
        let shown = json!({ "value": setting.value, "source": setting.source.to_string() });
        if setting.section.is_empty() {
            sections.insert(setting.key.to_owned(), shown);
        } else {
            sections.entry(setting.section).or_insert_with(|| json!({}))[setting.key] = shown;
        }
    }
    format!("{:#}", Value::Object(sections))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded() -> Loaded {
        let env = [
            ("DATABASE_URL", "postgres://app:hunter2@db/app"),
            ("TIDINGS__AUTH__SECRET", "0123456789abcdef0123456789abcdef"),
        ];
        let flags = [("http.listen".to_owned(), "127.0.0.1:0".to_owned())];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Loaded::load(None, env, &flags).unwrap()
    }

    #[test]
    fn each_value_is_shown_with_its_source_and_without_its_secret() {
        let shown = show(&loaded(), false);
        for line in [
            "url = \"postgres://app:***@db/app\"  # env DATABASE_URL",
            "pool_size = 8  # default",
            "secret = \"***\"  # env TIDINGS__AUTH__SECRET",
            "listen = \"127.0.0.1:0\"  # flag",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
        }
    }

    #[test]
    fn what_is_shown_is_toml() {
        let table: toml::Table = show(&loaded(), false).parse().unwrap();
        assert_eq!(table["http"]["heartbeat"].as_str(), Some("15s"));
    }

    #[test]
    fn json_gives_value_and_source() {
        let shown: Value = serde_json::from_str(&show(&loaded(), true)).unwrap();
        assert_eq!(shown["database"]["pool_size"], json!({ "value": 8, "source": "default" }));
        assert_eq!(shown["auth"]["secret"]["value"], "***");
    }
}
