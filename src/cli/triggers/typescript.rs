//! Rows of watched tables as TypeScript: what `JSON.parse` makes of them.
//!
//! Why unions of CHECK constraints: a status of four words is text in most tables, and its four words are what a program asks about. Why
//! elements of arrays may be null: PostgreSQL cannot say that they are not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use serde::Deserialize;

const HEAD: &str = "/**
 * What the events of this database hold, by type: rows as events show them.
 *
 * Written by `tidings triggers types` from the watched tables. Do not edit it: write it again with
 * `tidings triggers types --out FILE`; `--check FILE` tells whether it is up to date.
 */
";

/// Events that tidings and the functions of `tidings_app` make themselves; `docs/protocol.md` says when.
const OF_APPLICATION: [(&str, &str, &str); 6] = [
    ("chat.delta", "ChatDelta", "{ session_id: string; message_id: string; index: number; text: string }"),
    (
        "chat.metrics",
        "ChatMetrics",
        "{
  sessions: { waiting: number; active: number; ended: number; archived: number };
  waiting_time: { average_s: number | null; longest_s: number | null };
  messages_per_minute: number;
}",
    ),
    ("chat.presence", "ChatPresence", "{ session_id: string; viewers: string[] }"),
    ("chat.typing", "ChatTyping", "{ session_id: string; sub: string; role: 'user' | 'assistant' | 'system' }"),
    (
        "notifications.read",
        "NotificationsRead",
        "{ id: string | null; read: boolean | null; archived: boolean | null }",
    ),
    ("notifications.seen", "NotificationsSeen", "{ id: string | null; seen: boolean }"),
];

/// Texts, as far as a CHECK is concerned.
const TEXTS: [&str; 3] = ["text", "varchar", "bpchar"];

/// What a watched table makes.
pub(super) struct Event {
    /// Before the dot.
    pub(super) kind: String,
    pub(super) ops: Vec<String>,
    pub(super) table: String,
    pub(super) shape: Shape,
}

/// What its events show.
pub(super) enum Shape {
    Columns(Vec<Column>),
    /// What an expression makes: JSON of which PostgreSQL knows no more than that.
    Unknown,
}

impl Shape {
    /// OIDs of the types that are to be known.
    pub(super) fn types(&self) -> Vec<u32> {
        match self {
            Self::Columns(columns) => columns.iter().map(|column| column.kind).collect(),
            Self::Unknown => Vec::new(),
        }
    }
}

/// A column, or a member of a composite type.
#[derive(Deserialize)]
pub(super) struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: u32,
    not_null: bool,
    /// Its comment.
    says: Option<String>,
    /// CHECK constraints on it alone, as PostgreSQL writes them.
    checks: Vec<String>,
}

/// A type of PostgreSQL.
#[derive(Deserialize)]
pub(super) struct Type {
    oid: u32,
    name: String,
    builtin: bool,
    own_json: bool,
    base: Option<u32>,
    base_not_null: bool,
    element: Option<u32>,
    labels: Option<Vec<String>>,
    members: Option<Vec<Column>>,
}

/// Types by OID.
pub(super) struct Types(HashMap<u32, Type>);

impl Types {
    pub(super) fn of(types: Vec<Type>) -> Self {
        Self(types.into_iter().map(|kind| (kind.oid, kind)).collect())
    }

    /// What a value of the type is in an event.
    fn name(&self, oid: u32) -> String {
        let Some(kind) = self.0.get(&oid) else { return "unknown".to_owned() };
        if kind.own_json {
            return "unknown".to_owned();
        } else if let Some(base) = kind.base {
            return self.name(base);
        } else if let Some(labels) = &kind.labels {
            return union(labels);
        } else if let Some(members) = &kind.members {
            return format!("{{ {} }}", members.iter().map(|member| self.member(member)).collect::<Vec<_>>().join(" "));
        } else if let Some(element) = kind.element {
            return format!("({} | null)[]", self.name(element)).replace("(unknown | null)", "unknown");
        }
        let name = if kind.builtin { kind.name.as_str() } else { "" };
        match name {
            "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" => "number",
            "bool" => "boolean",
            "json" | "jsonb" => "unknown",
            _ => "string",
        }
        .to_owned()
    }

    /// Whether the type itself lets no null through: a domain that says so.
    fn is_never_null(&self, oid: u32) -> bool {
        self.0
            .get(&oid)
            .is_some_and(|kind| kind.base_not_null || kind.base.is_some_and(|base| self.is_never_null(base)))
    }

    fn member(&self, column: &Column) -> String {
        let is_text = self.0.get(&column.kind).is_some_and(|kind| kind.builtin && TEXTS.contains(&&*kind.name));
        let words = column.checks.iter().find_map(|check| words(check)).filter(|_| is_text);
        let name = words.map_or_else(|| self.name(column.kind), |words| union(&words));
        let null = if column.not_null || self.is_never_null(column.kind) || name == "unknown" { "" } else { " | null" };
        format!("{}: {name}{null};", key(&column.name))
    }
}

/// The words of `CHECK ((status = ANY (ARRAY['a'::text, 'b'::text])))`; none of anything else.
fn words(check: &str) -> Option<Vec<String>> {
    let (head, rest) = check.strip_prefix("CHECK ")?.split_once("ARRAY[")?;
    let column = head
        .trim_start_matches('(')
        .strip_suffix("= ANY (")
        .or_else(|| head.trim_start_matches('(').strip_suffix("= ANY (("))?;
    // A column, or one that is taken as text: nothing that could make other words of it.
    let column = column.trim_end().trim_end_matches("::text").trim_end_matches(')');
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '"');
    if column.is_empty() || !column.chars().all(plain) {
        return None;
    }
    let (mut words, mut rest) = (Vec::new(), rest);
    loop {
        let (word, behind) = literal(rest)?;
        words.push(word);
        let end = behind.find([',', ']'])?;
        let cast = &behind[..end];
        if !matches!(cast, "::text" | "::character varying" | "::bpchar" | "") {
            return None;
        } else if behind[end..].starts_with(']') {
            let end = behind[end + 1..].replace("::text[]", "");
            return end.chars().all(|c| c == ')').then_some(words);
        }
        rest = behind[end + 1..].trim_start();
    }
}

/// The text of an SQL literal, and what stands behind it.
fn literal(sql: &str) -> Option<(String, &str)> {
    let mut rest = sql.strip_prefix('\'')?;
    let mut text = String::new();
    loop {
        let (piece, behind) = rest.split_once('\'')?;
        text += piece;
        match behind.strip_prefix('\'') {
            Some(more) => (text, rest) = (text + "'", more),
            None => return Some((text, behind)),
        }
    }
}

/// The whole file.
pub(super) fn map(events: &[Event], types: &Types, application: bool) -> String {
    let (mut text, mut names) = (HEAD.to_owned(), HashSet::new());
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events {
        let row = unused(&mut names, &event.kind);
        let _ = writeln!(text, "\n/** A row of {}. */", comment(&event.table));
        let _ = match &event.shape {
            Shape::Columns(columns) => writeln!(text, "export interface {row} {{\n{}}}", lines(columns, types)),
            Shape::Unknown => writeln!(text, "export type {row} = unknown;"),
        };
        for op in &event.ops {
            let (op, row) = match op.as_str() {
                "insert" => ("inserted", row.as_str()),
                "update" => ("updated", row.as_str()),
                "delete" => ("deleted", row.as_str()),
                _ => ("truncated", "Record<string, never>"),
            };
            members.entry(format!("{}.{op}", event.kind)).or_default().push(row.to_owned());
        }
    }
    for (kind, name, shape) in OF_APPLICATION.iter().filter(|_| application) {
        let _ = writeln!(text, "\nexport interface {name} {}", spread(shape));
        members.insert((*kind).to_owned(), vec![(*name).to_owned()]);
    }
    text += "\n/** From the type of an event to its data. */\nexport interface TidingsEvents {\n";
    for (kind, mut rows) in members {
        rows.dedup();
        let _ = writeln!(text, "  {}: {};", quoted(&kind), rows.join(" | "));
    }
    text + "}\n"
}

fn lines(columns: &[Column], types: &Types) -> String {
    columns.iter().fold(String::new(), |mut text, column| {
        if let Some(says) = &column.says {
            let _ = writeln!(text, "  /** {} */", comment(says));
        }
        let _ = writeln!(text, "  {}", types.member(column));
        text
    })
}

/// An object type on lines of its own.
fn spread(shape: &str) -> String {
    match shape.strip_prefix("{ ").and_then(|rest| rest.strip_suffix(" }")) {
        Some(members) => format!("{{\n  {};\n}}", members.replace("; ", ";\n  ")),
        None => shape.to_owned(),
    }
}

/// The name of a row's interface, which no other has: chat_sessions, ChatSessionsRow.
fn unused(names: &mut HashSet<String>, kind: &str) -> String {
    let mut name = String::new();
    for word in kind.split(|c: char| !is_of_a_name(c)).filter(|word| !word.is_empty()) {
        let mut letters = word.chars();
        name.extend(letters.next().into_iter().flat_map(char::to_uppercase).chain(letters));
    }
    // Not every letter may begin one.
    if name.starts_with(|c: char| !c.is_uppercase()) {
        name.insert(0, '_');
    }
    let (first, mut number) = (name + "Row", 2);
    let mut name = first.clone();
    while !names.insert(name.clone()) {
        name = format!("{first}{number}");
        number += 1;
    }
    name
}

/// Whether TypeScript takes it within a name. It takes more; these are letters for sure: among the symbols there are circled ones,
/// which are letters to Unicode and not to TypeScript.
fn is_of_a_name(c: char) -> bool {
    c.is_ascii_digit() || c.is_alphabetic() && !matches!(c, '\u{2000}'..='\u{303f}' | '\u{10000}'..)
}

/// Whether it is not seen, or turns around what stands behind it: text that reads otherwise than it is.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn union(words: &[String]) -> String {
    if words.is_empty() {
        "never".to_owned()
    } else {
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" | ")
    }
}

/// A property's name: bare where TypeScript takes it.
fn key(name: &str) -> String {
    let bare = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'));
    if bare && !name.is_empty() { name.to_owned() } else { quoted(name) }
}

/// A string of TypeScript.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("'");
    for char in text.chars() {
        match char {
            '\'' | '\\' => quoted.extend(['\\', char]),
            _ if is_hidden(char) => _ = write!(quoted, "\\u{:04x}", char as u32),
            _ => quoted.push(char),
        }
    }
    quoted + "'"
}

/// Text that cannot end the comment it stands in.
fn comment(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace(is_hidden, "\u{fffd}").replace("*/", "*\\/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_from_a_check_that_lists_them_and_from_nothing_else() {
        for (check, expected) in [
            ("CHECK ((status = ANY (ARRAY['a'::text, 'b c'::text])))", Some(vec!["a", "b c"])),
            (
                "CHECK (((\"State\")::text = ANY ((ARRAY['it''s'::character varying, 'x,]'::character varying])::text[])))",
                Some(vec!["it's", "x,]"]),
            ),
            ("CHECK ((lower(status) = ANY (ARRAY['a'::text])))", None),
            ("CHECK (((status = ANY (ARRAY['a'::text])) OR (status ~ 'x'::text)))", None),
            ("CHECK ((status <> ALL (ARRAY['a'::text])))", None),
            ("CHECK ((n = ANY (ARRAY[1, 2])))", None),
        ] {
            let expected = expected.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(words(check), expected, "{check}");
        }
    }

    #[test]
    fn names_of_tables_and_texts_of_comments_stay_what_they_are() {
        let mut names = HashSet::new();
        assert_eq!(
            ["chat_sessions", "chat-sessions", "2 Bars", "…", "aufträge", "注文", "m²", "a\u{24d0}b", "'; x*/"]
                .map(|kind| unused(&mut names, kind)),
            [
                "ChatSessionsRow",
                "ChatSessionsRow2",
                "_2BarsRow",
                "Row",
                "AufträgeRow",
                "_注文Row",
                "MRow",
                "ABRow",
                "XRow"
            ]
        );
        assert_eq!((key("a_1"), key("1a"), key("it's")), ("a_1".into(), "'1a'".into(), "'it\\'s'".into()));
        assert_eq!(quoted("a\u{202e}b\n"), "'a\\u202eb\\u000a'");
        assert_eq!(comment("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(comment("ends */ here\nor \u{7}there"), "ends *\\/ here or \u{fffd}there");
    }
}
