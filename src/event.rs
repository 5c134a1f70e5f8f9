//! An event as subscribers receive it: its key, who may see it, and its bytes, framed once and shared by all sockets.
//!
//! Place on the road: made by [`decode`](crate::decode), stored in rings, written by `http`.
//!
//! Row data is never parsed beyond the envelope: `data` stays the text PostgreSQL sent, with line breaks between JSON
//! tokens turned into spaces, so that an event is one line in SSE (`an_event_is_one_line_whatever_its_json_looks_like`).
//!
//! An event of a plain channel is in no log, so it has no id, and nothing can be resumed from it: whoever wants a cursor
//! asks for a [`Key`] and gets none (`an_event_of_a_plain_channel_has_no_id`).

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::cursor::{Base, Key, Snapshot};

/// A tenant that the holder may act for, or that an event belongs to.
///
/// Made by `decode` (the database says so) and by `auth` (a verified credential covers it) and nowhere else
/// (`a_tenant_id_is_made_only_by_decode_and_auth`), so a function that takes one cannot be reached with a name off the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Only for `decode` and `auth`.
    pub(crate) fn trusted(name: &str) -> Self {
        Self(name.into())
    }

    /// The tenant's name as the application knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What tells an event from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It is in the log: number, transaction and nonce, and what its capture saw, the heart of resuming after it.
    Logged(Key, Snapshot),
    /// It is kept nowhere, as what is heard on plain channels and partial answers: the how-manieth of this process.
    Live(u64),
}

/// The parts of an event before it is framed; strings borrowed from a payload or a row.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Its place in the log, if it is there.
    pub identity: Identity,
    /// Commit-side clock, microseconds since 1970.
    pub at_us: i64,
    /// Whose event it is.
    pub tenant: TenantId,
    /// The one user it is for, or the whole tenant.
    pub audience: Option<&'a str>,
    /// For example `documents.updated`.
    pub kind: &'a str,
    /// `/schema/table`, `/emit` or `/channel/name`.
    pub source: &'a str,
    /// Primary key as text.
    pub subject: Option<&'a str>,
    /// Changed columns, comma separated.
    pub changed: Option<&'a str>,
    /// W3C traceparent of the transaction, where the application set it.
    pub trace: Option<&'a str>,
    /// The row as JSON text; absent when it was larger than an event may be.
    pub data: Option<&'a RawValue>,
}

/// One event, immutable and shared.
#[derive(Debug)]
pub struct Event {
    identity: Identity,
    /// Clock of the database when the change was captured, or of the bridge when a plain channel was heard;
    /// microseconds since 1970.
    pub at_us: i64,
    /// Whose event it is.
    pub tenant: TenantId,
    /// The one user it is for, or the whole tenant.
    pub audience: Option<Box<str>>,
    /// For example `documents.updated`.
    pub kind: Box<str>,
    /// Primary key as text.
    pub subject: Option<Box<str>>,
    /// W3C traceparent of the transaction, where the application set it.
    pub trace: Option<Box<str>>,
    sse: Bytes,
    json_from: usize,
    /// Where the source stands in `sse`, as JSON has it between its quotes.
    source: Range<usize>,
    ws: OnceLock<Bytes>,
}

impl Event {
    /// Frames an event. The only place where its JSON is put together.
    pub fn new(parts: Parts<'_>) -> Self {
        let id = match &parts.identity {
            Identity::Logged(key, _) => Some(key.to_string()),
            Identity::Live(_) => None,
        };
        let data = parts.data.map(|raw| raw.get());
        let mut sse = String::with_capacity(id.as_ref().map_or(0, String::len) * 2 + data.map_or(0, str::len) + 320);
        if let Some(id) = &id {
            let _ = writeln!(sse, "id: {id}");
        }
        sse.push_str("data: ");
        let json_from = sse.len();
        sse.push_str(r#"{"specversion":"1.0""#);
        push_member(&mut sse, "id", id.as_deref());
        let source_from = sse.len() + r#","source":""#.len();
        push_member(&mut sse, "source", Some(parts.source));
        let source = source_from..sse.len() - 1;
        sse.push_str(r#","type":"#);
        push_json(&mut sse, parts.kind);
        push_member(&mut sse, "subject", parts.subject);
        let _ = write!(sse, r#","time":"{}""#, time_text(parts.at_us));
        push_member(&mut sse, "tenant", Some(parts.tenant.as_str()));
        push_member(&mut sse, "audience", parts.audience);
        push_member(&mut sse, "changed", parts.changed);
        push_member(&mut sse, "traceparent", parts.trace);
        match data {
            Some(json) => {
                sse.push_str(r#","data":"#);
                push_one_line(&mut sse, json);
            }
            None => sse.push_str(r#","truncated":true"#),
        }
        sse.push_str("}\n\n");
        Self {
            identity: parts.identity,
            at_us: parts.at_us,
            tenant: parts.tenant,
            audience: parts.audience.map(Into::into),
            kind: parts.kind.into(),
            subject: parts.subject.map(Into::into),
            trace: parts.trace.map(Into::into),
            sse: sse.into(),
            json_from,
            source,
            ws: OnceLock::new(),
        }
    }

    /// Number, transaction and nonce, which print as the event's id; none of an event that is not in the log.
    pub fn key(&self) -> Option<Key> {
        match &self.identity {
            Identity::Logged(key, _) => Some(*key),
            Identity::Live(_) => None,
        }
    }

    /// The base of resuming after it; none of an event that is not in the log.
    pub fn base(&self) -> Option<Base> {
        match &self.identity {
            Identity::Logged(key, snapshot) => Some(Base::after(*key, snapshot.clone())),
            Identity::Live(_) => None,
        }
    }

    /// A number that no other event has in this process: the eid of one that is in the log. An eid is a bigint above
    /// zero, so the highest bit is free to tell the others.
    pub fn number(&self) -> u64 {
        match &self.identity {
            Identity::Logged(key, _) => key.eid,
            Identity::Live(number) => number | 1 << 63,
        }
    }

    /// `/schema/table`, `/emit` or `/channel/name`; a name that JSON has to escape is escaped.
    pub fn source(&self) -> &str {
        std::str::from_utf8(&self.sse[self.source.clone()]).unwrap_or_default()
    }

    /// The event as an SSE block: `id:`, where it has one, and `data:` lines and the empty line that dispatches it.
    pub fn sse(&self) -> Bytes {
        self.sse.clone()
    }

    /// The CloudEvents JSON object, on one line.
    pub fn json(&self) -> Bytes {
        self.sse.slice(self.json_from..self.sse.len() - 2)
    }

    /// A complete WebSocket text frame `{"type":"event","event":…}`. Server frames are not masked, so one serves everybody.
    pub fn ws(&self) -> Bytes {
        self.ws
            .get_or_init(|| {
                let json = &self.sse[self.json_from..self.sse.len() - 2];
                text_frame(&[br#"{"type":"event","event":"#, json, b"}"])
            })
            .clone()
    }

    /// Memory that a ring holds for this event, in bytes: both framings and the struct.
    pub fn weight(&self) -> usize {
        let snapshot = match &self.identity {
            Identity::Logged(_, snapshot) => snapshot.weight(),
            Identity::Live(_) => 0,
        };
        self.sse.len() * 2 + snapshot + size_of::<Self>()
    }
}

/// A WebSocket text frame (RFC 6455, FIN set, unmasked) around the joined parts.
pub fn text_frame(parts: &[&[u8]]) -> Bytes {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(len + 10);
    frame.push(0x81);
    match len {
        0..=125 => frame.push(len as u8),
        126..=65535 => {
            frame.push(126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    for part in parts {
        frame.extend_from_slice(part);
    }
    frame.into()
}

/// RFC 3339 with microseconds, UTC.
pub fn time_text(at_us: i64) -> String {
    jiff::Timestamp::from_microsecond(at_us)
        .map_or_else(|_| "1970-01-01T00:00:00.000000Z".into(), |at| format!("{at:.6}"))
}

fn push_member(out: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        let _ = write!(out, r#","{name}":"#);
        push_json(out, value);
    }
}

fn push_json(out: &mut String, text: &str) {
    // Writing a &str to a String cannot fail; an error would leave the member empty rather than malformed.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".into()));
}

/// Inside JSON strings line breaks are escaped, so any that are left stand between tokens.
fn push_one_line(out: &mut String, json: &str) {
    if json.bytes().any(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend(json.chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }));
    } else {
        out.push_str(json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> Event {
        identified(Identity::Logged(Key { eid: 7, xid: 3, nonce: 0xab }, Snapshot::default()), data)
    }

    fn identified(identity: Identity, data: &str) -> Event {
        let raw = RawValue::from_string(data.to_owned()).unwrap();
        Event::new(Parts {
            identity,
            at_us: 1_795_187_851_418_752,
            tenant: TenantId::trusted("acme"),
            audience: None,
            kind: "documents.updated",
            source: "/public/documents",
            subject: Some("d\"1\n"),
            changed: Some("status"),
            trace: None,
            data: Some(&raw),
        })
    }

    #[test]
    fn an_event_is_one_line_whatever_its_json_looks_like() {
        let event = event("{\n \"a\":\r\n \"x\\ny\" }");
        let sse = String::from_utf8(event.sse().to_vec()).unwrap();
        assert_eq!(sse.matches('\n').count(), 3, "{sse}");
        assert!(!sse.contains('\r'));
        let value: serde_json::Value = serde_json::from_slice(&event.json()).unwrap();
        assert_eq!((&value["data"]["a"], &value["subject"]), (&"x\ny".into(), &"d\"1\n".into()));
        assert_eq!((&value["id"], event.source()), (&"7-3-ab".into(), "/public/documents"));
    }

    #[test]
    fn an_event_of_a_plain_channel_has_no_id() {
        let event = identified(Identity::Live(7), "{}");
        let sse = String::from_utf8(event.sse().to_vec()).unwrap();
        assert!(sse.starts_with(r#"data: {"specversion":"1.0","source":"#), "{sse}");
        assert!(serde_json::from_slice::<serde_json::Value>(&event.json()).unwrap().get("id").is_none());
        assert!(event.key().is_none() && event.base().is_none());
        assert_ne!(event.number(), 7, "the number of an event in the log");
    }

    #[test]
    fn a_frame_carries_its_length_in_the_shortest_form() {
        assert_eq!(text_frame(&[b"ab", b"c"]).as_ref(), [0x81, 3, b'a', b'b', b'c']);
        assert_eq!(&text_frame(&[&[b'x'; 126]])[..4], [0x81, 126, 0, 126]);
        assert_eq!(&text_frame(&[&[b'x'; 70_000]])[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }
}
