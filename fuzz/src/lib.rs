//! What must hold of any input, a function for each way in. cargo-fuzz looks for input that breaks them; the tests try what
//! is kept in `corpus/`, and what proptest makes (`tests/it/any_input.rs`, which includes this file).

use std::collections::VecDeque;
use std::fmt::Display;

use serde_json::Value;
use tidings::auth::Globs;
use tidings::config::Loaded;
use tidings::cursor::{Cursor, Stamp};
use tidings::decode::{self, Payload, plain};
use tidings::event::Event;
use tidings::http::call::{Call, segment};
use tidings::http::serve::Conn;
use tidings::http::ws_wire::{Incoming, Wire};
use warp::http::{HeaderMap, HeaderValue};

/// A payload of a notification is read, or refused; what is read is framed as every client expects it.
pub fn decode(input: &[u8]) {
    let Ok(payload) = std::str::from_utf8(input) else { return };
    if let Ok(Payload::Event(event)) = decode::decode(payload, 7) {
        framed(&event);
    }
    let channel = plain::Channel {
        name: "chat".into(),
        tenant: "session.tenant".into(),
        kind: "chat.changed".into(),
        subject: Some("id".into()),
        audience: Some("user".into()),
    };
    if let Ok(event) = plain::decode(&channel, payload, 0, 7) {
        framed(&event);
    }
}

/// One block of SSE, one line of JSON, one frame of WebSocket, and all of them say the same.
fn framed(event: &Event) {
    let (sse, json, ws) = (event.sse(), event.json(), event.ws());
    let block = std::str::from_utf8(&sse).expect("SSE is UTF-8");
    let lines: Vec<&str> =
        block.strip_suffix("\n\n").expect("a block ends with an empty line").split(['\n', '\r']).collect();
    let expected = if event.key().is_some() { 2 } else { 1 };
    assert_eq!(lines.len(), expected, "{block:?}");
    let data = lines[expected - 1].strip_prefix("data: ").expect("the last line is data");
    assert_eq!(data.as_bytes(), &*json);
    if let Some(key) = event.key() {
        assert_eq!(lines[0], format!("id: {key}"));
        assert_eq!(key.to_string().parse(), Ok(Cursor::Event(key)));
        let seen = Cursor::Snapshot(Stamp { epoch: "1f".into(), base: event.base().expect("it is in the log") });
        // Of a longer one nothing is said; PostgreSQL has at most so many transactions at once.
        let written = seen.to_string();
        assert!(written.len() > 16 << 10 || written.parse() == Ok(seen), "{written}");
    }
    let wire = format!(r#"{{"type":"event","event":{data}}}"#);
    assert!(ws.ends_with(wire.as_bytes()) && (2..=10).contains(&(ws.len() - wire.len())));
    // A reader may give up on numbers or nesting beyond its limits; what it can read says whose it is.
    if let Ok(value) = serde_json::from_slice::<Value>(&json) {
        assert_eq!(value["tenant"], event.tenant.as_str());
        assert_eq!(value["type"], &*event.kind);
        assert_eq!(value["audience"].as_str(), event.audience.as_deref());
        assert_eq!(value["subject"].as_str(), event.subject.as_deref());
    }
}

/// A text is a cursor or is refused, and a cursor is written as what reads back as itself.
pub fn cursor(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(cursor) = text.parse::<Cursor>() else { return };
    let written = cursor.to_string();
    assert!(written.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{written}");
    assert_eq!(written.parse(), Ok(cursor));
}

/// Bytes from a WebSocket client mean the same however the network cut them, and what is answered is no more than what came.
pub fn frames(input: &[u8]) {
    let Some((cut, bytes)) = input.split_first() else { return };
    let whole = read(bytes, bytes.len().max(1));
    let pieces = read(bytes, usize::from(*cut).max(1));
    assert_eq!(whole.0, pieces.0);
    // A pong for each ping, and the frame that closes.
    assert!(pieces.1 <= bytes.len() + 256, "{} bytes are answered to {}", pieces.1, bytes.len());
}

/// What is understood of bytes that come in pieces, and how many are answered.
pub fn read(bytes: &[u8], piece: usize) -> (Vec<Incoming>, usize) {
    let (mut wire, mut messages, mut answers) = (Wire::new(), Vec::new(), VecDeque::new());
    for piece in bytes.chunks(piece) {
        wire.take(piece, &mut messages, &mut answers);
        if let Some(Incoming::Closed(bytes)) = messages.last_mut() {
            // Pongs among them, that were not written before.
            answers.push_back(std::mem::take(bytes));
            break;
        }
    }
    (messages, answers.iter().map(bytes::Bytes::len).sum())
}

/// A request's query, `Accept`, and a name in its path are read or refused. Lines of the input: query, header, segment.
pub fn request(input: &[u8]) {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let query = String::from_utf8_lossy(line());
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(line()) {
        headers.insert("accept", value.clone());
        headers.insert("origin", value);
    }
    let call = Call::new(headers, &query, Conn::default());
    let refused = |problem: tidings::http::problem::Problem| one_line(problem.message());
    let _ = (call.once().map_err(refused), call.wants().map_err(refused), call.client().map_err(refused));
    assert!(!call.origin_allowed(&[]) || call.header("origin").is_none(), "a page of no host is of this host");
    if let Ok(types) = call.types().map_err(refused) {
        assert_eq!(Globs::parse(&types.to_string()).as_ref(), Ok(&types));
        assert_eq!(types.is_any(), types.matches("any.type") && types.matches("\u{1}"));
    }
    if let Ok(Some(cursor)) = call.after().map_err(refused) {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
    if let Ok(limit) = call.number("limit", 100, 1..=1000).map_err(refused) {
        assert!((1..=1000).contains(&limit));
    }
    if let Ok(name) = segment(&String::from_utf8_lossy(line())) {
        assert!((1..=255).contains(&name.len()) && !name.chars().any(char::is_control), "{name:?}");
        let again: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(segment(&again).ok(), Some(name));
    }
}

/// A configuration is read, or refused in one line; shown, it keeps its secrets.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Loaded::parse("config.toml", text) {
        Ok(loaded) => {
            let secret = loaded.config.auth.secret.expose();
            let shown = format!("{loaded:?}");
            assert!(secret.len() < 32 || !shown.contains(secret), "{shown}");
        }
        Err(error) => {
            one_line(&error);
            one_line(&error.hint);
        }
    }
}

fn one_line(text: impl Display) {
    let text = text.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
