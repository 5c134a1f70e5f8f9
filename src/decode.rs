//! Turns the payload of a notification, or a row of the log, into what it says. Pure and total: no I/O, no panic, and
//! nothing in an error but where the text stopped making sense, since a payload holds row data.
//!
//! Place on the road: between the listening connection and the router. The shapes stand in `tests/payloads/`; what other
//! people's triggers send is read by [`plain`].

pub mod plain;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cursor::{Cursor, Key, Snapshot, Stamp};
use crate::event::{Event, Identity, Parts, TenantId};

/// What a notification says.
#[derive(Debug)]
pub enum Payload {
    /// A whole event.
    Event(Arc<Event>),
    /// Events that are too large or too many to be carried: read them from the log.
    Reference(Reference),
    /// A bridge's message to itself.
    Checkpoint(Checkpoint),
}

/// Events of one transaction, from one eid to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The transaction.
    pub xid: u64,
    /// First eid.
    pub first: u64,
    /// Last eid, inclusive.
    pub last: u64,
}

/// When this arrives, everything that its cursor saw has arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which bridge sent it.
    pub bridge: String,
    /// Which of its checkpoints it is.
    pub token: i64,
    /// The cursor of the sending snapshot.
    pub cursor: Stamp,
}

/// A payload that cannot be read as what its channel is for. Holds no content.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Not the JSON of any known shape.
    #[error("payload is not of a known shape (column {0})")]
    Shape(usize),
    /// A field that is not there, or cannot be read.
    #[error("payload has an unreadable {0}")]
    Field(&'static str),
}

#[derive(Deserialize)]
struct Wire<'a> {
    eid: u64,
    xid: u64,
    #[serde(borrow)]
    snap: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    nonce: std::borrow::Cow<'a, str>,
    at: i64,
    #[serde(borrow)]
    tenant: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    audience: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    source: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    subject: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    changed: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    traceparent: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Control {
    Ref(Reference),
    Checkpoint { bridge: String, token: i64, cursor: String },
}

/// An event that is not kept: what has an identity in [`Wire`] is missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LiveWire<'a> {
    #[serde(borrow)]
    live: Live<'a>,
}

#[derive(Deserialize)]
struct Live<'a> {
    at: i64,
    #[serde(borrow)]
    tenant: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    audience: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    source: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    subject: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Reads one payload. An event that is in no log is the `number`-th of this process.
pub fn decode(payload: &str, number: u64) -> Result<Payload, DecodeError> {
    if payload.starts_with("{\"ref\"") || payload.starts_with("{\"checkpoint\"") {
        return decode_control(payload);
    } else if payload.starts_with("{\"live\"") {
        return decode_live(payload, number);
    }
    let wire: Wire<'_> = serde_json::from_str(payload).map_err(|e| DecodeError::Shape(e.column()))?;
    let nonce = u32::from_str_radix(&wire.nonce, 16).map_err(|_| DecodeError::Field("nonce"))?;
    // PostgreSQL has no larger ones, and an id of one would be no cursor.
    if wire.eid.max(wire.xid) > i64::MAX.cast_unsigned() {
        return Err(DecodeError::Field("eid or xid"));
    }
    let snapshot = Snapshot::from_postgres(&wire.snap).ok_or(DecodeError::Field("snapshot"))?;
    if wire.tenant.is_empty() || wire.kind.is_empty() {
        return Err(DecodeError::Field("tenant or type"));
    }
    Ok(Payload::Event(Arc::new(Event::new(Parts {
        identity: Identity::Logged(Key { eid: wire.eid, xid: wire.xid, nonce }, snapshot),
        at_us: wire.at,
        tenant: TenantId::trusted(&wire.tenant),
        audience: wire.audience.as_deref(),
        kind: &wire.kind,
        source: &wire.source,
        subject: wire.subject.as_deref(),
        changed: wire.changed.as_deref(),
        trace: wire.traceparent,
        data: wire.data,
    }))))
}

fn decode_live(payload: &str, number: u64) -> Result<Payload, DecodeError> {
    let LiveWire { live } = serde_json::from_str(payload).map_err(|e| DecodeError::Shape(e.column()))?;
    if live.tenant.is_empty() || live.kind.is_empty() {
        return Err(DecodeError::Field("tenant or type"));
    }
    Ok(Payload::Event(Arc::new(Event::new(Parts {
        identity: Identity::Live(number),
        at_us: live.at,
        tenant: TenantId::trusted(&live.tenant),
        audience: live.audience.as_deref(),
        kind: &live.kind,
        source: &live.source,
        subject: live.subject.as_deref(),
        changed: None,
        trace: None,
        data: live.data,
    }))))
}

fn decode_control(payload: &str) -> Result<Payload, DecodeError> {
    match serde_json::from_str(payload).map_err(|e| DecodeError::Shape(e.column()))? {
        Control::Ref(reference) => Ok(Payload::Reference(reference)),
        Control::Checkpoint { bridge, token, cursor } => match cursor.parse() {
            Ok(Cursor::Snapshot(cursor)) => Ok(Payload::Checkpoint(Checkpoint { bridge, token, cursor })),
            _ => Err(DecodeError::Field("cursor")),
        },
    }
}

/// Reads one row of the log, as selected by [`replay`](crate::replay).
pub fn decode_row(row: &tokio_postgres::Row) -> Result<Arc<Event>, DecodeError> {
    fn field<'a, T: tokio_postgres::types::FromSql<'a>>(
        row: &'a tokio_postgres::Row,
        name: &'static str,
    ) -> Result<T, DecodeError> {
        row.try_get(name).map_err(|_| DecodeError::Field(name))
    }
    let data: Option<String> = field(row, "data")?;
    let data = data.map(RawValue::from_string).transpose().map_err(|_| DecodeError::Field("data"))?;
    let key = Key {
        eid: field::<i64>(row, "eid")?.unsigned_abs(),
        xid: field::<i64>(row, "xid")?.unsigned_abs(),
        nonce: field::<i32>(row, "nonce")?.cast_unsigned(),
    };
    let snapshot = match field::<Option<&str>>(row, "snap")? {
        Some(text) => Snapshot::from_postgres(text).ok_or(DecodeError::Field("snap"))?,
        None => Snapshot::default(),
    };
    Ok(Arc::new(Event::new(Parts {
        identity: Identity::Logged(key, snapshot),
        at_us: field(row, "at_us")?,
        tenant: TenantId::trusted(field(row, "tenant")?),
        audience: field(row, "audience")?,
        kind: field(row, "type")?,
        source: field(row, "source")?,
        subject: field(row, "subject")?,
        changed: field(row, "changed")?,
        trace: field(row, "trace")?,
        data: data.as_deref(),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(name: &str) -> String {
        std::fs::read_to_string(format!("{}/tests/payloads/{name}.json", env!("CARGO_MANIFEST_DIR")))
            .unwrap()
            .trim()
            .to_owned()
    }

    #[test]
    fn every_documented_shape_is_understood() {
        let Ok(Payload::Event(event)) = decode(&shape("event"), 1) else { panic!("event") };
        assert_eq!(event.key().unwrap().to_string(), "18342-7312-9f3a2c1b");
        assert_eq!((event.tenant.as_str(), &*event.kind), ("acme", "documents.updated"));
        assert_eq!(event.base().unwrap().snapshot, Snapshot { xmax: 7312, xip: [7305, 7309].into() });
        assert_eq!(event.trace, None);
        let Ok(Payload::Event(traced)) = decode(&shape("traced"), 1) else { panic!("traced") };
        assert_eq!(traced.trace.as_deref(), Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(matches!(
            decode(&shape("reference"), 1),
            Ok(Payload::Reference(Reference { xid: 7313, first: 18343, last: 118342 }))
        ));
        assert!(matches!(decode(&shape("checkpoint"), 1), Ok(Payload::Checkpoint(Checkpoint { token: 41, .. }))));
        let Ok(Payload::Event(live)) = decode(&shape("live"), 7) else { panic!("live") };
        assert_eq!((live.key(), live.number(), &*live.kind), (None, 7 | 1 << 63, "chat.delta"));
        assert_eq!(
            (live.tenant.as_str(), live.audience.as_deref(), live.subject.as_deref()),
            ("acme", Some("ann"), Some("chs_1"))
        );
    }

    #[test]
    fn a_refused_payload_is_not_quoted_in_the_error() {
        let error = decode(r#"{"secret":"s3cr3t"}"#, 1).unwrap_err().to_string();
        assert!(!error.contains("s3cr3t"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_decodes_or_is_refused(text in "\\PC{0,200}") {
            let _ = decode(&text, 1);
        }

        #[test]
        fn any_damage_to_a_real_payload_decodes_or_is_refused(at in 0usize..260, with in "\\PC{0,3}") {
            let mut text: Vec<char> = shape("event").chars().collect();
            let at = at.min(text.len());
            text.splice(at..(at + 2).min(text.len()), with.chars());
            let _ = decode(&text.into_iter().collect::<String>(), 1);
        }
    }
}
