//! Events as lines for a person or, with `--json`, for a program; and the cursor behind the last line.
//!
//! Row data is shown as it came, but never lets a terminal act on it: control characters are replaced
//! (`row_data_cannot_speak_to_the_terminal`).

use std::io::{ErrorKind, IsTerminal, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Failure;
use crate::cli::printable;
use crate::cursor::Cursor;

const GREY: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Writes to stdout.
pub(super) struct Printer {
    json: bool,
    colours: bool,
    /// Behind what was printed last.
    cursor: Option<String>,
}

/// The members that are shown.
#[derive(Deserialize)]
struct Shown<'a> {
    id: Option<String>,
    time: String,
    tenant: String,
    #[serde(rename = "type")]
    kind: String,
    subject: Option<String>,
    audience: Option<String>,
    changed: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        let colours = !json && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, colours, cursor: None }
    }

    /// Following begins, or goes on after a reset, here.
    pub(super) fn opened(&mut self, cursor: &Cursor) {
        self.cursor = Some(cursor.to_string());
    }

    /// Tells on stderr where to go on.
    pub(super) fn close(&self) {
        if let Some(cursor) = &self.cursor {
            eprintln!("tidings: go on with --after {cursor}");
        }
    }

    /// Prints the events of an SSE block, which may be several; true when nobody reads stdout any more.
    pub(super) fn block(&mut self, block: &[u8]) -> Result<bool, Failure> {
        let mut out = std::io::stdout().lock();
        for json in block.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: ")) {
            let Ok(event) = serde_json::from_slice::<Shown<'_>>(json) else {
                return Err(Failure::new("an event of ours is not readable"));
            };
            let written = match self.json {
                true => out.write_all(json).and_then(|()| out.write_all(b"\n")),
                false => writeln!(out, "{}", line(&event, self.colours)),
            };
            match written.and_then(|()| out.flush()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(true),
                written => written?,
            }
            // What came on a plain channel has none, and cannot be gone on from.
            self.cursor = event.id.or(self.cursor.take());
        }
        Ok(false)
    }
}

fn line(event: &Shown<'_>, colours: bool) -> String {
    let (colour, grey, plain) = if colours { (colour(&event.kind), GREY, PLAIN) } else { ("", "", "") };
    // 2026-11-20T14:57:31.418752Z: the day is not news, and milliseconds are enough to compare by eye.
    let time = event.time.get(11..23).unwrap_or(&event.time);
    let mut line = format!(
        "{grey}{time}{plain} {:<9} {colour}{:<26}{plain} {:<36}",
        printable(&event.tenant),
        printable(&event.kind),
        printable(event.subject.as_deref().unwrap_or("-"))
    );
    if let Some(changed) = &event.changed {
        line.push_str(&format!(" {grey}[{}]{plain}", printable(changed)));
    }
    if let Some(audience) = &event.audience {
        line.push_str(&format!(" {grey}for{plain} {}", printable(audience)));
    }
    if let Some(data) = event.data {
        line.push_str(&format!(" {}", printable(data.get())));
    }
    line
}

fn colour(kind: &str) -> &'static str {
    match kind.rsplit('.').next() {
        Some("inserted") => "\x1b[32m",
        Some("updated") => "\x1b[33m",
        Some("deleted" | "truncated") => "\x1b[31m",
        _ => "\x1b[36m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> Shown<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_event_is_one_line() {
        let json = r#"{"id":"1-2-3","time":"2026-11-20T14:57:31.418752Z","tenant":"acme","type":"documents.updated",
            "subject":"doc_1","changed":"status","data":{"id":"doc_1"}}"#;
        let expected = r#"14:57:31.418 acme      documents.updated          doc_1                                [status] {"id":"doc_1"}"#;
        assert_eq!(line(&event(json), false), expected);
    }

    #[test]
    fn row_data_cannot_speak_to_the_terminal() {
        let json = "{\"id\":\"1\",\"time\":\"\",\"tenant\":\"a\\u001b[2J\",\"type\":\"t\",\"data\":\"\u{9b}31m\"}";
        let shown = line(&event(json), false);
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }

    #[test]
    fn the_cursor_follows_what_was_printed() {
        let mut printer = Printer { json: true, colours: false, cursor: None };
        let block = b"id: 1-2-3\ndata: {\"id\":\"1-2-3\",\"time\":\"\",\"tenant\":\"a\",\"type\":\"t\"}\n\n";
        assert!(!printer.block(block).unwrap());
        assert_eq!(printer.cursor.as_deref(), Some("1-2-3"));
        let block = b"data: {\"time\":\"\",\"tenant\":\"a\",\"type\":\"t\"}\n\n";
        assert!(!printer.block(block).unwrap());
        assert_eq!(printer.cursor.as_deref(), Some("1-2-3"), "an event of a plain channel");
    }
}
