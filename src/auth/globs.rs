//! Globs over event types, such as `documents.*`: what a caller may see and what a subscriber asked for.
//!
//! Read from the `events` claim, the `types` query and `subscribe` frames; asked once per event and connection.
//! Invariant: matching takes at most pattern length × type length steps, whatever a caller writes
//! (`a_hostile_glob_is_matched_in_bounded_time`).
//!
//! Why not a regex or a glob crate: `*` is the only operator, and a caller's pattern must not be able to cost more
//! than its length.

use std::{fmt, sync::Arc};

use thiserror::Error;

/// Longest glob in bytes: an event type is far shorter.
const GLOB_BYTES_MAX: usize = 128;
/// Most globs in one list: each is tried for each event, so this bounds the work per delivery.
const GLOBS_MAX: usize = 64;

/// A list of globs of which one has to match: `*` stands for any run of characters, dots included; everything else
/// is literal. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Globs {
    patterns: Arc<[Box<str>]>,
    /// One of the patterns is nothing but stars, so matching can be skipped.
    any: bool,
}

/// Why a list of globs was refused. Positions count from 1; the text itself is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GlobError {
    /// The list or one of its items is empty.
    #[error("glob {0} is empty")]
    Empty(usize),
    /// An item is longer than 128 bytes.
    #[error("glob {0} is longer than {GLOB_BYTES_MAX} bytes")]
    TooLong(usize),
    /// An item holds a space, a comma or a control character.
    #[error("glob {0} holds a space, a comma or a control character")]
    Character(usize),
    /// The list has more than 64 items.
    #[error("more than {GLOBS_MAX} globs")]
    TooMany,
}

impl GlobError {
    /// What to write instead.
    pub fn hint(self) -> &'static str {
        "write event types separated by commas, with * for any run of characters: documents.*,chat.*.ended"
    }
}

impl Globs {
    /// Every event type.
    pub fn any() -> Self {
        Self { patterns: Arc::from([Box::from("*")]), any: true }
    }

    /// Reads a comma-separated list; spaces around an item are ignored.
    ///
    /// # Errors
    /// When the list or an item is empty, too long, or holds characters no event type can have.
    pub fn parse(comma_list: &str) -> Result<Self, GlobError> {
        Self::from_items(comma_list.split(',').map(|item| item.trim_matches(' ')))
    }

    /// Reads globs that are already apart, as in a JSON list.
    ///
    /// # Errors
    /// As [`Globs::parse`]; an empty list is refused too, because it would be unclear whether it means all or nothing.
    pub fn from_items<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<Self, GlobError> {
        let mut patterns: Vec<Box<str>> = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            if index == GLOBS_MAX {
                return Err(GlobError::TooMany);
            }
            check(item, index + 1)?;
            patterns.push(Box::from(item));
        }
        if patterns.is_empty() {
            return Err(GlobError::Empty(1));
        }
        let any = patterns.iter().any(|pattern| pattern.bytes().all(|byte| byte == b'*'));
        Ok(Self { patterns: patterns.into(), any })
    }

    /// Whether one of the globs matches the whole event type.
    pub fn matches(&self, type_: &str) -> bool {
        self.any || self.patterns.iter().any(|pattern| matches(pattern.as_bytes(), type_.as_bytes()))
    }

    /// Whether every event type matches.
    pub fn is_any(&self) -> bool {
        self.any
    }

    /// The globs as they were written, in order; [`Globs::any`] gives `*`.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(AsRef::as_ref)
    }
}

impl Default for Globs {
    fn default() -> Self {
        Self::any()
    }
}

/// The comma-separated list, as [`Globs::parse`] reads it.
impl fmt::Display for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(pattern)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Globs({self})")
    }
}

fn check(item: &str, position: usize) -> Result<(), GlobError> {
    if item.is_empty() {
        return Err(GlobError::Empty(position));
    }
    if item.len() > GLOB_BYTES_MAX {
        return Err(GlobError::TooLong(position));
    }
    if item.chars().any(|char| char.is_control() || char.is_whitespace() || char == ',') {
        return Err(GlobError::Character(position));
    }
    Ok(())
}

/// Goes back only to the last star: an earlier one never has to take more, because the text between the two stars
/// was already found at its first place. Bytes suffice: both sides are UTF-8, whose characters do not overlap.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    // The pattern after the last star, and the text from which that star would end next.
    let mut last_star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                at_pattern += 1;
                last_star = Some((at_pattern, at_text));
            }
            Some(byte) if *byte == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                let Some((after_star, ended_at)) = last_star else { return false };
                last_star = Some((after_star, ended_at + 1));
                at_pattern = after_star;
                at_text = ended_at + 1;
            }
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matched(list: &str, type_: &str) -> bool {
        Globs::parse(list).unwrap().matches(type_)
    }

    #[test]
    fn a_star_takes_any_run_of_characters_and_the_rest_is_literal() {
        for (list, type_, expected) in [
            ("documents.updated", "documents.updated", true),
            ("documents.updated", "documents.updated2", false),
            ("documents.updated", "Documents.updated", false),
            ("documents.*", "documents.updated", true),
            ("documents.*", "documents.", true),
            ("documents.*", "documents", false),
            ("documents.*", "documents.a.b", true),
            ("documents.*", "xdocuments.a", false),
            ("chat.*.ended", "chat.sessions.ended", true),
            ("chat.*.ended", "chat.a.b.ended", true),
            ("chat.*.ended", "chat..ended", true),
            ("chat.*.ended", "chat.ended", false),
            ("chat.*.ended", "chat.a.ended.b", false),
            ("*.ended", "chat.ended.ended", true),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xbxa", false),
            ("**", "", true),
            ("a?c", "abc", false),
            ("a[b]c", "abc", false),
            ("a.c", "abc", false),
            ("é*", "éa", true),
            ("a,b.*", "b.c", true),
            ("a, b.*", "b.c", true),
            ("a,b.*", "c", false),
        ] {
            assert_eq!(matched(list, type_), expected, "{list} over {type_}");
        }
    }

    #[test]
    fn a_list_that_no_event_type_could_need_is_refused_with_its_position() {
        let long = "a".repeat(GLOB_BYTES_MAX + 1);
        let many = vec!["a"; GLOBS_MAX + 1].join(",");
        for (list, expected) in [
            ("", GlobError::Empty(1)),
            ("a,", GlobError::Empty(2)),
            ("a,,b", GlobError::Empty(2)),
            ("a b", GlobError::Character(1)),
            ("a,b\n", GlobError::Character(2)),
            ("a\u{85}", GlobError::Character(1)),
            (long.as_str(), GlobError::TooLong(1)),
            (many.as_str(), GlobError::TooMany),
        ] {
            assert_eq!(Globs::parse(list), Err(expected), "{list:?}");
        }
        assert_eq!(Globs::from_items(["a,b"]), Err(GlobError::Character(1)));
        assert_eq!(Globs::from_items([]), Err(GlobError::Empty(1)));
        assert!(Globs::parse(&long[1..]).is_ok() && Globs::parse(&many[2..]).is_ok());
    }

    #[test]
    fn a_list_with_a_lone_star_matches_everything_and_keeps_its_items() {
        let globs = Globs::parse("a,*").unwrap();
        assert!(globs.is_any() && globs.matches("whatever"));
        assert_eq!(globs.iter().collect::<Vec<_>>(), ["a", "*"]);
        assert_eq!(Globs::parse("*").unwrap(), Globs::any());
        assert!(!Globs::parse("a*").unwrap().is_any());
    }

    #[test]
    fn a_hostile_glob_is_matched_in_bounded_time() {
        let hostile = "*a".repeat(GLOB_BYTES_MAX / 2 - 1) + "*b";
        assert!(!matched(&hostile, &"a".repeat(20_000)));
    }

    /// The definition itself: a star takes nothing, or one character and then again.
    fn oracle(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => oracle(rest, text) || (!text.is_empty() && oracle(pattern, &text[1..])),
            Some((char, rest)) => text.first() == Some(char) && oracle(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab.é*]{1,8}", text in "[ab.é]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matched(&pattern, &text), oracle(&chars(&pattern), &chars(&text)));
        }

        #[test]
        fn a_printed_list_reads_back_as_itself(list in "[ab.*]{1,6}(,[ab.*]{1,6}){0,4}") {
            let globs = Globs::parse(&list).unwrap();
            prop_assert_eq!(Globs::parse(&globs.to_string()).unwrap(), globs);
        }
    }
}
