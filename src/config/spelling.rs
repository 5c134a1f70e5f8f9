//! Unknown sections, keys and variables, and what was probably meant.
//!
//! Why unknown keys are refused and not skipped: a misspelt limit is a limit that is not in force.

use super::{
    SECTIONS,
    error::{ConfigError, Refusal},
    layers::{ENV_PREFIX, SECRETS},
    list::{self, LISTS},
};

pub(super) fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|(section, _)| *section == name)
}

/// Objects to `[section]`.
pub(super) fn unknown_section(section: &str) -> Refusal {
    let sections: Vec<&str> = SECTIONS.iter().map(|(section, _)| *section).collect();
    let lists = LISTS.iter().map(|list| list.name);
    let hint = match nearest(section, sections.iter().copied().chain(lists)) {
        Some(meant) if list::find(meant).is_some() => format!("did you mean [[{meant}]]?"),
        Some(meant) => format!("did you mean [{meant}]?"),
        None => format!("the sections are {}", sections.join(", ")),
    };
    Refusal::new("is not a section", hint)
}

/// Objects to `key = …` before the first section.
pub(super) fn outside_sections(key: &str) -> Refusal {
    let hint = match SECTIONS.iter().find(|(_, keys)| keys.contains(&key)) {
        Some((section, _)) => format!("did you mean `{section}.{key}`?"),
        None => "write the section's [name] above its keys".to_owned(),
    };
    Refusal::new("stands outside any section", hint)
}

/// Objects to a `section.key` that does not exist.
pub(super) fn unknown_key(name: &str) -> Refusal {
    let Some((section, key)) = name.split_once('.') else {
        return outside_sections(name);
    };
    let Some((_, keys)) = SECTIONS.iter().find(|(other, _)| *other == section) else {
        return unknown_section(section);
    };
    let elsewhere = SECTIONS.iter().find(|(_, keys)| keys.contains(&key));
    let hint = match (nearest(key, keys.iter().copied()), elsewhere) {
        (Some(meant), _) => format!("did you mean `{section}.{meant}`?"),
        (None, Some((section, _))) => format!("did you mean `{section}.{key}`?"),
        (None, None) => format!("the keys of [{section}] are {}", keys.join(", ")),
    };
    Refusal::new("is not a setting", hint)
}

/// Objects to a variable with our prefix. `known` are the variables and settings that exist.
pub(super) fn unknown_variable(variable: &str, known: &[(String, String)]) -> ConfigError {
    let upper = variable.to_ascii_uppercase();
    let (plain, suffix) = upper.strip_suffix("_FILE").map_or((upper.as_str(), ""), |plain| (plain, "_FILE"));
    // Without the prefix, which all share and which would make strangers look alike.
    let names = known.iter().map(|(other, _)| other.trim_start_matches(ENV_PREFIX));
    let hint = match nearest(plain.trim_start_matches(ENV_PREFIX), names) {
        Some(meant) if !suffix.is_empty() && !is_secret(known, meant) => "only secrets are read from files".to_owned(),
        Some(meant) => format!("did you mean {ENV_PREFIX}{meant}{suffix}?"),
        None => format!("`tidings config show` lists the settings; {ENV_PREFIX}HTTP__LISTEN is http.listen"),
    };
    ConfigError { place: variable.to_owned(), message: "is not a setting".to_owned(), hint }
}

fn is_secret(known: &[(String, String)], meant: &str) -> bool {
    known.iter().any(|(variable, name)| variable.ends_with(meant) && SECRETS.contains(&name.as_str()))
}

/// The candidate that `word` is probably a misspelling of.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is still a typing error; more is another word.
    let tolerated = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters, one row of the matrix at a time.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_word_and_another_word_finds_none() {
        let words = ["listen", "origins", "heartbeat"];
        assert_eq!(nearest("heart_beat", words), Some("heartbeat"));
        assert_eq!(nearest("lisen", words), Some("listen"));
        assert_eq!(nearest("colour", words), None);
    }
}
