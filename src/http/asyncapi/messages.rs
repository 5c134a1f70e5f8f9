//! What is said on streams and sockets: each message with the schema of its content.

use serde_json::{Map, Value, json};

use crate::disconnect::Disconnect;
use crate::http::openapi::schema::{
    anything, closed, count, flag, just, nullable, object, one_of, said, shared, short, text,
};
use crate::http::openapi::{deduplicated, kinds};
use crate::http::ws::PROTOCOL;

/// On a stream. Those whose name begins so are control events, named `hello`, `reset` and `bye` on the wire.
pub const STREAM: &[&str] = &["streamHello", "streamReset", "streamBye", "streamHeartbeat", "streamEvent"];
/// What a client sends on a socket.
pub const TO_SERVER: &[&str] = &["subscribe", "unsubscribe", "ping", "auth", "command"];
/// What it is sent there.
pub const TO_CLIENT: &[&str] =
    &["hello", "subscribed", "event", "reset", "heartbeat", "result", "error", "pong", "bye"];

/// Codes of errors on a socket that are no problem of HTTP.
const SOCKET_CODES: [&str; 8] = [
    "bad_json",
    "bad_message",
    "unknown_type",
    "unknown_frame",
    "too_long",
    "unknown_subscription",
    "unknown_command",
    "forbidden",
];

/// All messages, by name.
pub fn all() -> Map<String, Value> {
    let named = [on_stream(), to_server(), to_client()].into_iter().flatten();
    let messages = named.map(|(name, wire, says, payload)| {
        let mut message = json!({"name": wire, "title": name, "summary": says, "contentType": "application/json"});
        if !payload.is_null() {
            message["payload"] = payload;
        }
        (name.to_owned(), message)
    });
    messages.collect()
}

/// Name of the component, name on the wire, what it says, schema of its content.
type Message = (&'static str, &'static str, &'static str, Value);

fn on_stream() -> Vec<Message> {
    let hello = object([
        ("connection", said(text(), "Its name, for PATCH and DELETE /v1/connections.")),
        ("resumed", said(flag(), "A cursor was given; what it had not seen comes first.")),
        ("cursor", shared("Cursor")),
        ("heartbeat_s", said(count(), "The longest silence.")),
    ]);
    let reset = object([("reason", reason()), ("cursor", shared("Cursor"))]);
    vec![
        ("streamHello", "hello", "First, with a retry.", hello),
        ("streamReset", "reset", "Fetch your state again; the stream goes on live.", reset),
        ("streamBye", "bye", "The server ends the stream.", endings([])),
        (
            "streamHeartbeat",
            "heartbeat",
            "In silence: a block with an id and no data. It moves a browser's Last-Event-ID \
             and dispatches nothing.",
            Value::Null,
        ),
        ("streamEvent", "message", "An event. Unnamed, so it reaches onmessage.", shared("AnyEvent")),
    ]
}

fn to_server() -> Vec<Message> {
    let tag = || short(64);
    let types = json!({"oneOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/components/schemas/Glob"}, "maxItems": 64}]});
    let subscribe = closed([
        ("type", just("subscribe")),
        ("id", said(tag(), "Chosen by the client.")),
        ("tenant?", said(nullable(short(255)), "Absent: all tenants of an admin.")),
        ("types?", said(nullable(types), "Globs: a list, or one text with commas.")),
        ("subject?", nullable(text())),
        ("after?", nullable(shared("Cursor"))),
    ]);
    let command = closed([("type", just("command")), ("id", text()), ("name", text()), ("args?", json!({}))]);
    vec![
        ("subscribe", "subscribe", "Answered by subscribed or error.", subscribe),
        ("unsubscribe", "unsubscribe", "Ends a subscription.", closed([("type", just("unsubscribe")), ("id", tag())])),
        ("ping", "ping", "Answered by pong.", closed([("type", just("ping"))])),
        (
            "auth",
            "auth",
            "A fresh token of the same user, before the old one expires.",
            closed([("type", just("auth")), ("token", text())]),
        ),
        (
            "command",
            "command",
            "Answered by result. Commands: chat.send, chat.end, chat.archive, chat.assign, \
             chat.typing, chat.view.",
            command,
        ),
    ]
}

fn to_client() -> Vec<Message> {
    let hello = object([
        ("type", just("hello")),
        ("connection", text()),
        ("heartbeat_s", count()),
        ("protocol", just(PROTOCOL)),
        ("version", text()),
    ]);
    let subscribed =
        object([("type", just("subscribed")), ("id", text()), ("cursor", shared("Cursor")), ("resumed", flag())]);
    let reset = object([("type", just("reset")), ("id?", text()), ("reason", reason()), ("cursor", shared("Cursor"))]);
    let heartbeat = object([("type", just("heartbeat")), ("id?", text()), ("cursor?", shared("Cursor"))]);
    let result = object([
        ("type", just("result")),
        ("id?", said(text(), "Of the command; absent after auth.")),
        ("ok", flag()),
        ("data?", json!({})),
        ("error?", shared("Failure")),
    ]);
    let error =
        object([("type", just("error")), ("id?", text()), ("code", shared("FailureCode")), ("message", text())]);
    vec![
        ("hello", "hello", "First.", hello),
        ("subscribed", "subscribed", "Before the subscription's first event.", subscribed),
        (
            "event",
            "event",
            "Once, however many subscriptions match it.",
            object([("type", just("event")), ("event", shared("AnyEvent"))]),
        ),
        ("reset", "reset", "Fetch your state again; the subscription goes on live.", reset),
        ("heartbeat", "heartbeat", "In silence, one per subscription.", heartbeat),
        ("result", "result", "What became of a command or of auth.", result),
        ("error", "error", "What was not understood, or refused.", error),
        ("pong", "pong", "To a ping.", object([("type", just("pong"))])),
        ("bye", "bye", "The server ends the connection; the close code follows.", endings([("type", just("bye"))])),
    ]
}

fn reason() -> Value {
    one_of(&["cursor_unknown", "history_changed"])
}

/// Each reason with its own code, from the one table.
fn endings<const N: usize>(more: [(&str, Value); N]) -> Value {
    let one = |why: Disconnect| {
        object([
            ("code", json!({"const": why.code()})),
            ("reason", just(why.reason())),
            ("reconnect", json!({"const": why.reconnect()})),
        ])
    };
    let mut bye = object(more);
    bye["oneOf"] = Disconnect::ALL.map(one).to_vec().into();
    bye
}

/// What the messages share, besides the schemas of the routes.
pub fn schemas() -> Map<String, Value> {
    let problems = crate::http::openapi::codes();
    let codes = deduplicated(problems.into_iter().chain(SOCKET_CODES).collect());
    let failure = object([
        ("code", shared("FailureCode")),
        ("message", said(text(), "For people.")),
        ("field?", text()),
        ("current?", said(nullable(anything()), "The state as it is now, after a conflict.")),
    ]);
    let mut schemas = Map::new();
    schemas.insert("FailureCode".into(), one_of(&codes));
    schemas.insert("Failure".into(), failure);
    for (kind, says, data) in kinds() {
        // In two parts, because in AsyncAPI nothing counts beside a $ref.
        let own = json!({"properties": {"type": {"const": kind}, "data": data}});
        schemas.insert(kind.to_owned(), json!({"allOf": [shared("Event"), own], "description": says}));
    }
    let known = kinds().into_iter().map(|(kind, ..)| shared(kind));
    // Rows are as a DBA's tables have them, so an event of a known type may hold other data than that of the reference tables.
    let any: Vec<Value> = known.chain([shared("Event")]).collect();
    let says = "One of the reference application, or of another table, or emitted.";
    schemas.insert("AnyEvent".into(), json!({"anyOf": any, "description": says}));
    schemas
}
