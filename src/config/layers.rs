//! Merges the layers: defaults, file, environment, flags. A later layer wins, key by key.
//!
//! Environment variables have two underscores after the prefix: Kubernetes sets `TIDINGS_PORT` and the like
//! for a service called tidings, and those are not ours.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{
    MANUAL,
    error::{ConfigError, Refusal},
    list::{self, LISTS, List},
    secret::masked,
    spelling,
    value::{FromValue, kind},
};

pub(super) const ENV_PREFIX: &str = "TIDINGS__";
/// The settings that may be read from a file named by `…_FILE`.
pub(super) const SECRETS: &[&str] = &["auth.secret", "auth.previous_secret", "responder.key", "email.smtp"];
/// The connection string and the file that holds it. The file is read again later, so its path is kept.
const URL: &str = "database.url";
const URL_FILE: &str = "database.url_file";

/// Which layer set a value. A later variant wins over an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The compiled-in `config.toml`.
    Default,
    /// A configuration file.
    File {
        /// As it was given.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// The environment variable of this name.
    Env(String),
    /// The command line, for this `section.key`.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "file {path}:{line}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(_) => f.write_str("flag"),
        }
    }
}

impl Source {
    /// Where an operator has to look, for the beginning of an error.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Default => "built-in config.toml".to_owned(),
            Self::File { path, line } => format!("{path}:{line}"),
            Self::Env(name) => name.clone(),
            Self::Flag(name) => format!("flag {name}"),
        }
    }
}

/// A value that is known to have the TOML type of its default, and its source.
struct Setting {
    value: Value,
    source: Source,
    /// Shown to whoever writes a value of another type.
    default: Value,
}

/// The merged values by `section.key`.
pub(super) struct Settings(BTreeMap<String, Setting>);

impl Settings {
    /// The lowest layer.
    pub(super) fn defaults() -> Result<Self, ConfigError> {
        let sections: Table = MANUAL.parse().map_err(|error| not_toml(Source::Default, &error))?;
        let mut settings = BTreeMap::new();
        for (section, keys) in sections {
            for (key, value) in keys.as_table().into_iter().flatten() {
                let setting = Setting { value: value.clone(), source: Source::Default, default: value.clone() };
                settings.insert(format!("{section}.{key}"), setting);
            }
        }
        for list in LISTS {
            let none = Value::Array(Vec::new());
            let setting = Setting { value: none.clone(), source: Source::Default, default: none };
            settings.insert(list.name.to_owned(), setting);
        }
        Ok(Self(settings))
    }

    /// The `section.key`s that are set, and the lists, for the test of completeness.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The setting `name` as a field of the configuration.
    pub(super) fn read<T: FromValue>(&self, name: &str) -> Result<T, ConfigError> {
        let Some(setting) = self.0.get(name) else {
            let refusal = Refusal::new("is missing", "every key has its default in config.toml");
            return Err(refusal.at(Source::Default.place(), name));
        };
        T::from_value(&setting.value).map_err(|refusal| refusal.at(setting.source.place(), name))
    }

    /// The source of `name`.
    pub(super) fn source(&self, name: &str) -> &Source {
        self.0.get(name).map_or(&Source::Default, |setting| &setting.source)
    }

    /// Names of those whose value is another one there.
    pub(super) fn different(&self, other: &Self) -> impl Iterator<Item = &str> {
        let differs = |name: &&String| self.0.get(*name).map(|s| &s.value) != other.0.get(*name).map(|s| &s.value);
        self.0.keys().filter(differs).map(String::as_str)
    }

    /// Value and source of `name`, fit to be printed.
    pub(super) fn shown(&self, name: &str) -> Option<(Value, &Source)> {
        let setting = self.0.get(name)?;
        let value = match &setting.value {
            Value::String(text) => Value::String(masked(name, text)),
            Value::Array(items) if let Some(list) = list::find(name) => {
                let masked =
                    |item: &Value| item.as_table().map_or_else(|| item.clone(), |item| (list.masked)(item).into());
                Value::Array(items.iter().map(masked).collect())
            }
            other => other.clone(),
        };
        Some((value, &setting.source))
    }

    /// Reads the configuration file at `path`.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let shown = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| ConfigError {
            place: shown.clone(),
            message: format!("cannot be read: {error}"),
            hint: "check the path and its permissions".to_owned(),
        })?;
        self.add_text(&shown, &text)
    }

    /// Adds the text of a configuration file called `path`.
    pub(super) fn add_text(&mut self, path: &str, text: &str) -> Result<(), ConfigError> {
        let refused = |error: &toml::de::Error| {
            let line = line_of(text, error.span().map_or(0, |span| span.start));
            not_toml(Source::File { path: path.to_owned(), line }, error)
        };
        // Parsed twice: one form knows the lines, the other is what we keep.
        let spans = DeTable::parse(text).map_err(|error| refused(&error))?;
        let values: Table = text.parse().map_err(|error| refused(&error))?;
        let at = |start| Source::File { path: path.to_owned(), line: line_of(text, start) };
        for (section, keys) in spans.get_ref() {
            let place = || at(section.span().start).place();
            let section_name = section.get_ref().as_ref();
            if let Some(list) = list::find(section_name) {
                let listed = values.get(section_name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let placed = |start: Option<usize>| at(start.unwrap_or(section.span().start)).place();
                sections_fit(list, listed, keys.get_ref(), placed)?;
                self.set(section_name, Value::Array(listed.to_vec()), at(section.span().start))?;
                continue;
            }
            let keys = keys_of(section_name, keys.get_ref()).map_err(|refusal| refusal.at(place(), section_name))?;
            for key in keys.keys() {
                let source = at(key.span().start);
                let key = key.get_ref().as_ref();
                if let Some(value) = values.get(section_name).and_then(|keys| keys.get(key)) {
                    self.set(&format!("{section_name}.{key}"), value.clone(), source)?;
                }
            }
        }
        Ok(())
    }

    /// Adds `DATABASE_URL` or `DATABASE_URL_FILE`, then everything that begins with `TIDINGS__`.
    pub(super) fn add_env(&mut self, env: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        let known: Vec<(String, String)> = self.0.keys().map(|name| (variable_of(name), name.clone())).collect();
        for variable in env.keys().filter(|variable| variable.starts_with(ENV_PREFIX)) {
            let plain = |name: &str| SECRETS.contains(&name).then(|| variable.strip_suffix("_FILE")).flatten();
            if !known.iter().any(|(other, name)| other == variable || plain(name) == Some(other)) {
                return Err(spelling::unknown_variable(variable, &known));
            }
        }
        // Compose files set variables that they have no value for to the empty string.
        let mut common = env.clone();
        common.retain(|_, value| !value.is_empty());
        for (one, other) in [("DATABASE_URL", "DATABASE_URL_FILE"), (&variable_of(URL), &variable_of(URL_FILE))] {
            if common.contains_key(one) && common.contains_key(other) {
                let refusal = Refusal::new(format!("is also set by {one}"), "keep one of the two variables");
                return Err(refusal.at(other.to_owned(), URL));
            }
        }
        self.add_variable(&common, "DATABASE_URL", URL)?;
        self.add_variable(&common, "DATABASE_URL_FILE", URL_FILE)?;
        for (variable, name) in known {
            self.add_variable(env, &variable, &name)?;
        }
        Ok(())
    }

    /// Sets `name` from `variable` or, if it is a secret, from the file that `variable`_FILE names.
    fn add_variable(&mut self, env: &BTreeMap<String, String>, variable: &str, name: &str) -> Result<(), ConfigError> {
        let from_file = format!("{variable}_FILE");
        let path = env.get(&from_file).filter(|_| SECRETS.contains(&name));
        match (env.get(variable), path) {
            (None, None) => Ok(()),
            (Some(text), None) => self.set_text(name, text, Source::Env(variable.to_owned())),
            (None, Some(path)) => {
                let text = secret_in(path).map_err(|refusal| refusal.at(from_file.clone(), name))?;
                self.set_text(name, &text, Source::Env(from_file))
            }
            (Some(_), Some(_)) => {
                let refusal = Refusal::new(format!("is also set by {variable}"), "keep one of the two variables");
                Err(refusal.at(from_file, name))
            }
        }
    }

    /// Adds `section.key` and value pairs from the command line.
    pub(super) fn add_flags(&mut self, flags: &[(String, String)]) -> Result<(), ConfigError> {
        flags.iter().try_for_each(|(name, text)| self.set_text(name, text, Source::Flag(name.clone())))
    }

    /// Sets a value that was written outside TOML: its type is that of the default.
    fn set_text(&mut self, name: &str, text: &str, source: Source) -> Result<(), ConfigError> {
        let value = match self.0.get(name).map(|setting| &setting.value) {
            Some(Value::Boolean(_)) => text
                .parse()
                .map(Value::Boolean)
                .map_err(|_| Refusal::new(format!("is neither true nor false: {text:?}"), "write true or false")),
            Some(Value::Integer(_)) => text
                .parse()
                .map(Value::Integer)
                .map_err(|_| Refusal::new(format!("is not a whole number: {text:?}"), "write digits only")),
            Some(Value::Array(_)) => serde_json::from_str(text).map(Value::Array).map_err(|_| not_a_list(name, text)),
            _ => Ok(Value::String(text.to_owned())),
        };
        let value = value.map_err(|refusal| refusal.at(source.place(), name))?;
        self.set(name, value, source)
    }

    fn set(&mut self, name: &str, value: Value, source: Source) -> Result<(), ConfigError> {
        let Some(setting) = self.0.get_mut(name) else {
            return Err(spelling::unknown_key(name).at(source.place(), name));
        };
        if !setting.value.same_type(&value) {
            let message = format!("must be {}, not {}", kind(&setting.value), kind(&value));
            let key = name.rsplit('.').next().unwrap_or(name);
            let default =
                if SECRETS.contains(&name) || name == URL { "\"…\"".to_owned() } else { setting.default.to_string() };
            return Err(Refusal::new(message, format!("write it as in {key} = {default}")).at(source.place(), name));
        }
        let is_set = value.as_str().is_some_and(|text| !text.is_empty());
        setting.value = value;
        setting.source = source.clone();
        // The later of the two wins; both in one file are refused.
        if let (true, Some(other)) = (is_set, [(URL, URL_FILE), (URL_FILE, URL)].iter().find(|(one, _)| *one == name))
            && let Some(other) = self.0.get_mut(other.1)
        {
            let twice = matches!((&source, &other.source), (Source::File { path, .. }, Source::File { path: same, .. }) if path == same);
            if twice && other.value.as_str() != Some("") {
                let refusal = Refusal::new("is set beside the other", "keep one of url and url_file");
                return Err(refusal.at(source.place(), name));
            }
            other.value = Value::String(String::new());
        }
        Ok(())
    }

    /// Reads the connection string from its file, where that is how it was set: what cannot be read is told at the start.
    pub(super) fn open_url_file(&mut self) -> Result<(), ConfigError> {
        let Some(file) = self.0.get(URL_FILE) else { return Ok(()) };
        let (path, source) = (file.value.as_str().unwrap_or_default().to_owned(), file.source.clone());
        if path.is_empty() {
            return Ok(());
        }
        let text = secret_in(&path).map_err(|refusal| refusal.at(source.place(), URL_FILE))?;
        if let Some(url) = self.0.get_mut(URL) {
            (url.value, url.source) = (Value::String(text), source);
        }
        Ok(())
    }
}

/// What may hold a secret is not quoted.
fn not_a_list(name: &str, text: &str) -> Refusal {
    let (quoted, json) = match list::find(name) {
        Some(list) => (list.is_open, list.json),
        None => (true, "[\"one\", \"two\"]"),
    };
    let quote = if quoted { format!(": {text:?}") } else { String::new() };
    Refusal::new(format!("is not a JSON list{quote}"), format!("write it as {json}"))
}

/// Reads the sections of a list in a file, for the line at which they cannot be read.
fn sections_fit(
    list: &List,
    listed: &[Value],
    spans: &DeValue<'_>,
    place: impl Fn(Option<usize>) -> String,
) -> Result<(), ConfigError> {
    let Some(spans) = spans.as_array() else {
        let hint = format!("write [[{}]] and its keys below", list.name);
        return Err(Refusal::new("must be a list of sections", hint).at(place(None), list.name));
    };
    (list.check)(listed).map_err(|objection| {
        let span = spans.get(objection.item);
        let keys = span.and_then(|span| span.get_ref().as_table());
        let key = objection.key.as_deref();
        let found = keys.and_then(|keys| keys.iter().find(|(name, _)| Some(name.get_ref().as_ref()) == key));
        let start = found.map(|(name, _)| name.span().start).or(span.map(|span| span.span().start));
        objection.at(place(start), list.name)
    })
}

/// The keys of a section in a file, if it is one.
fn keys_of<'a>(section: &str, keys: &'a DeValue<'a>) -> Result<&'a DeTable<'a>, Refusal> {
    match keys.as_table() {
        Some(keys) if spelling::is_section(section) => Ok(keys),
        Some(_) => Err(spelling::unknown_section(section)),
        None if spelling::is_section(section) => {
            Err(Refusal::new("must be a section", format!("write [{section}] and the keys below it")))
        }
        // `[[section]]`: a list of tables has a heading too.
        None if keys.as_array().is_some_and(|items| items.iter().any(|item| item.get_ref().is_table())) => {
            Err(spelling::unknown_section(section))
        }
        None => Err(spelling::outside_sections(section)),
    }
}

/// The contents of a mounted secret. Most editors and tools end it with a newline that is not part of it.
pub(super) fn secret_in(path: &str) -> Result<String, Refusal> {
    let text = fs::read_to_string(path).map_err(|error| {
        Refusal::new(format!("cannot be read from {path:?}: {error}"), "check the path and its permissions")
    })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn variable_of(name: &str) -> String {
    format!("{ENV_PREFIX}{}", name.to_ascii_uppercase().replace('.', "__"))
}

/// Only the parser's message: what it displays in full quotes the line, which may hold a secret.
fn not_toml(source: Source, error: &toml::de::Error) -> ConfigError {
    ConfigError {
        place: source.place(),
        message: format!("not valid TOML: {}", error.message().replace('\n', ", ")),
        hint: "strings stand in double quotes, sections in [brackets]; config.toml is the manual".to_owned(),
    }
}

fn line_of(text: &str, start: usize) -> usize {
    1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count()
}
