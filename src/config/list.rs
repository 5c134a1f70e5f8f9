//! Settings that are lists of sections, such as `[[channel]]`: there may be any number of each.
//!
//! A list replaces the list of an earlier layer as a whole. It is read twice: when a layer is added, so that a refusal can
//! name the line, and when the layers have been merged.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{
    channel,
    error::{ConfigError, Refusal},
    inbound, issuer,
    spelling::nearest,
    value::{FromValue, kind},
    webhook,
};

/// One list.
pub(super) struct List {
    /// Its name, which is also the name of its setting.
    pub(super) name: &'static str,
    /// Whether the sections can be read; looks at no other file.
    pub(super) check: fn(&[Value]) -> Result<(), Objection>,
    /// How it is written in the environment.
    pub(super) json: &'static str,
    /// Whether what it holds may be quoted.
    pub(super) is_open: bool,
    /// A section as it may be shown.
    pub(super) masked: fn(&Table) -> Table,
}

/// All lists, in the order of the manual.
pub(super) const LISTS: &[List] = &[channel::LIST, inbound::LIST, webhook::LIST, issuer::LIST];

/// The list of this name.
pub(super) fn find(name: &str) -> Option<&'static List> {
    LISTS.iter().find(|list| list.name == name)
}

/// What is wrong with which key of which section, counted from 0; no key: with the section itself.
pub(super) struct Objection {
    pub(super) item: usize,
    pub(super) key: Option<String>,
    pub(super) refusal: Refusal,
}

impl Objection {
    /// For whoever does not know the line.
    pub(super) fn without_line(self) -> Refusal {
        let key = self.key.map(|key| format!(" `{key}`")).unwrap_or_default();
        Refusal::new(format!("number {}:{key} {}", self.item + 1, self.refusal.message), self.refusal.hint)
    }

    /// Completes the sentence for a section of the list `list` at `place`.
    pub(super) fn at(self, place: String, list: &str) -> ConfigError {
        let name = self.key.map_or_else(|| list.to_owned(), |key| format!("{list}.{key}"));
        self.refusal.at(place, &name)
    }
}

/// What is wrong with a section, and with which of its keys.
pub(super) type Wrong = (Option<String>, Refusal);

/// Reads all sections of a list, of which no two may have the same name.
pub(super) fn read<T>(
    list: &[Value],
    read_one: impl Fn(&Value) -> Result<T, Wrong>,
    name: impl Fn(&T) -> &str,
    twice: fn() -> Refusal,
) -> Result<Vec<T>, Objection> {
    let mut names = BTreeSet::new();
    let mut items = Vec::with_capacity(list.len());
    for (item, value) in list.iter().enumerate() {
        let at = |(key, refusal): Wrong| Objection { item, key, refusal };
        let read = read_one(value).map_err(at)?;
        if !names.insert(name(&read).to_owned()) {
            return Err(at((Some("name".to_owned()), twice())));
        }
        items.push(read);
    }
    Ok(items)
}

/// One section.
pub(super) struct Section<'a>(&'a Table);

impl<'a> Section<'a> {
    /// A section of the list `list` with some of `keys` and no others.
    pub(super) fn new(list: &str, keys: &[&str], item: &'a Value) -> Result<Self, Wrong> {
        let Some(table) = item.as_table() else {
            let message = format!("must be a section, not {}", kind(item));
            return Err((None, Refusal::new(message, format!("write [[{list}]] and its keys below"))));
        };
        let Some(key) = table.keys().find(|key| !keys.contains(&key.as_str())) else { return Ok(Self(table)) };
        let hint = match nearest(key, keys.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the keys of [[{list}]] are {}", keys.join(", ")),
        };
        Err((Some(key.clone()), Refusal::new("is not a setting", hint)))
    }

    /// The text of a key, where it is there, turned into what it stands for.
    pub(super) fn read<T>(&self, key: &str, rule: impl Fn(&str) -> Result<T, Refusal>) -> Result<Option<T>, Wrong> {
        let text = self.text(key).and_then(|text| text.map(rule).transpose());
        text.map_err(|refusal| (Some(key.to_owned()), refusal))
    }

    /// The same for a key that must be there.
    pub(super) fn required<T>(
        &self,
        key: &str,
        rule: impl Fn(&str) -> Result<T, Refusal>,
        hint: &str,
    ) -> Result<T, Wrong> {
        self.read(key, rule)?.ok_or_else(|| (None, Refusal::new(format!("has no `{key}`"), hint)))
    }

    /// A value of any type, checked as a setting of a section is.
    pub(super) fn value<T: FromValue>(&self, key: &str) -> Result<Option<T>, Wrong> {
        let value = self.0.get(key).map(T::from_value).transpose();
        value.map_err(|refusal| (Some(key.to_owned()), refusal))
    }

    /// A value as it stands.
    pub(super) fn raw(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key)
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Refusal> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        let mistyped =
            || Refusal::new(format!("must be a string, not {}", kind(value)), format!("write it as in {key} = \"…\""));
        value.as_str().map(Some).ok_or_else(mistyped)
    }
}

/// Where a tenant stands in JSON: a path, or `=acme`.
pub(super) fn tenant_fits(tenant: &str, hint: &str) -> Result<(), Refusal> {
    match tenant.strip_prefix('=') {
        Some(name) if (1..=255).contains(&name.len()) && !name.chars().any(char::is_control) => Ok(()),
        Some(_) => Err(Refusal::new(format!("names no tenant: {tenant:?}"), hint)),
        None => path_fits(tenant).map_err(|refusal| Refusal::new(refusal.message, hint)),
    }
}

/// A member of an object, or of an object in it.
pub(super) fn path_fits(path: &str) -> Result<(), Refusal> {
    if !path.starts_with('=') && path.split('.').all(|part| !part.is_empty()) {
        return Ok(());
    }
    Err(Refusal::new(
        format!("is not a path: {path:?}"),
        "write a member of the payload, or a path such as \"session.id\"",
    ))
}
