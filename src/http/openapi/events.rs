//! The event routes: streams and pages, publishing, sockets, tickets, and a live stream's filter.

use serde_json::{Value, json};
use warp::http::Method;

use super::operation::{Operation, operation};
use super::schema::{
    closed, count, flag, just, list, nullable, object, one_of, said, shared, short, text, time, whole, with_default,
};

/// Of streams, sockets and pages that wait.
const CLIENT: &str = "What the client calls itself, in printable ASCII: shown to admins in `/v1/stats`, and logged.";
const TAG: &str = "Events";

/// Descriptions of these routes.
pub fn operations() -> Vec<Operation> {
    vec![
        reading("/v1/tenants/{tenant}/events", "readEvents", "A tenant's events, as a stream or as pages"),
        reading("/v1/events", "readAllEvents", "Events of all the tenants that an admin administers").refuses(&[403]),
        publish(),
        socket(),
        operation(Method::POST, "/v1/tickets", TAG, "createTicket", "A ticket for clients that cannot set headers")
            .about(
                "Single use, on any instance, with the caller's own rights: as `?ticket=` of an \
                 EventSource or a WebSocket.",
            )
            .answers(201, "The ticket.", object([("ticket", text()), ("expires_in", said(count(), "Seconds."))]))
            .refuses(&[403]),
        operation(
            Method::PATCH,
            "/v1/connections/{connection}",
            TAG,
            "changeConnection",
            "Change what your own live stream shows",
        )
        .body(shared("FilterChange"))
        .answers(200, "What it shows from now on.", object([("types", list(shared("Glob")))]))
        .refuses(&[403, 404]),
        operation(
            Method::DELETE,
            "/v1/connections/{connection}",
            TAG,
            "endConnection",
            "End a connection of your tenants: admins",
        )
        .answers_bare(204, "It is told `bye` and ended.")
        .refuses(&[403, 404]),
    ]
}

fn reading(path: &'static str, id: &str, summary: &str) -> Operation {
    let stream = "The events; or, as `text/event-stream`, blocks without end, which the AsyncAPI \
        document describes.";
    operation(Method::GET, path, TAG, id, summary)
        .about(
            "`Accept: text/event-stream` opens a stream; `application/json` or `*/*` gets a \
             page. Streams are described in `/v1/asyncapi.json`.",
        )
        .query(
            "types",
            said(text(), "For example documents.*,chat.*"),
            "Globs over event types, comma separated; `*` stands for any run of characters.",
        )
        .query("subject", text(), "Only events of this subject.")
        .query(
            "after",
            said(text(), "A cursor."),
            "Everything that this cursor has not seen. Without it a stream begins now, a \
             page with the oldest event; `now` begins now everywhere.",
        )
        .query("client", short(64), CLIENT)
        .query("limit", with_default(whole(1, 1000), 100), "Pages only: how many events at most.")
        .query(
            "wait",
            with_default(whole(0, 60), 0),
            "Pages only: hold the request for up to so many seconds until something \
             arrives.",
        )
        .header(
            "last-event-id",
            text(),
            "Streams only, and it wins over `after`: as browsers send it when they \
             reconnect. What is no cursor is told `reset`.",
        )
        .answers(200, stream, shared("EventPage"))
        .answers_as(200, stream, "text/event-stream", text())
        .refuses(&[406, 410, 429])
}

fn publish() -> Operation {
    let id = object([("id", shared("EventId"))]);
    operation(Method::POST, "/v1/tenants/{tenant}/events", TAG, "publishEvent", "Publish one event")
        .about("For the roles service and admin. The event is logged and delivered like that of a row.")
        .header(
            "idempotency-key",
            short(255),
            "With it, the same request gives the same id; kept for a day per tenant and user.",
        )
        .body(shared("NewEvent"))
        .answers(201, "It is committed.", id)
}

fn socket() -> Operation {
    operation(Method::GET, "/v1/ws", TAG, "openWebSocket", "A WebSocket")
        .about(
            "Subprotocol `tidings.v1.json`; its messages stand in `/v1/asyncapi.json`. \
             `Origin` must be this host's or in http.origins.",
        )
        .query("client", short(64), CLIENT)
        .answers_bare(101, "From here on it is a WebSocket.")
        .refuses(&[400, 403, 426, 429])
}

/// Schemas that they share.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let id = json!({"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"});
    let cursor = "An event's id, or the opaque token of hello, heartbeats, pages, lists and \
        tidings.cursor().";
    vec![
        ("EventId", said(id, "Opaque. The same id is the same event.")),
        ("Cursor", said(short(16_384), cursor)),
        ("Glob", said(short(128), "An event type, in which * stands for any run of characters.")),
        ("Event", event()),
        (
            "EventPage",
            object([
                ("events", list(shared("Event"))),
                ("cursor", shared("Cursor")),
                ("more", said(flag(), "Ask again at once, after cursor.")),
            ]),
        ),
        (
            "NewEvent",
            closed([
                (
                    "type",
                    said(
                        json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$"}),
                        "For example invoice.paid",
                    ),
                ),
                ("subject?", nullable_short(1024)),
                ("audience?", said(nullable_short(255), "The one user (sub) it is for.")),
                ("data?", said(json!({}), "Any JSON that PostgreSQL's jsonb can hold; {} where it is absent.")),
            ]),
        ),
        (
            "FilterChange",
            closed([("subscribe?", globs("To be shown besides.")), ("unsubscribe?", globs("To be shown no more."))]),
        ),
    ]
}

fn nullable_short(max: u32) -> Value {
    super::schema::nullable(short(max))
}

fn globs(says: &str) -> Value {
    let mut globs = said(list(shared("Glob")), says);
    globs["maxItems"] = 64.into();
    globs
}

fn event() -> Value {
    let event = object([
        ("specversion", just("1.0")),
        (
            "id?",
            said(
                shared("EventId"),
                "Absent from events that are in no log: those of plain channels, typing, partial answers.",
            ),
        ),
        ("source", said(text(), "/schema/table, /emit or /channel/name")),
        (
            "type",
            said(
                text(),
                "<table>.inserted, .updated, .deleted, .truncated, or the name given to \
                 tidings.emit",
            ),
        ),
        ("subject?", said(text(), "The primary key as text, composite keys joined with commas.")),
        ("time", said(time(), "When the change was captured.")),
        ("tenant", said(text(), "Whose event it is.")),
        ("audience?", said(text(), "The one user it is for; absent: the whole tenant.")),
        ("changed?", said(text(), "Updates only: columns whose value changed, comma separated.")),
        ("traceparent?", said(text(), "W3C Trace Context of the transaction that made it, where that set one.")),
        ("data?", json!({"description": "The row after the change (for a delete: before), or what was emitted."})),
        ("truncated?", json!({"const": true, "description": "In place of data for a row of more than 8 MiB."})),
    ]);
    said(event, "A CloudEvents 1.0 object.")
}

/// Which kinds of event the applications make: type, who sees it and when, and its data.
pub fn kinds() -> Vec<(&'static str, &'static str, Value)> {
    let row = |table: &str| shared(table);
    let marked = object([
        ("id", super::schema::nullable(text())),
        ("read?", super::schema::nullable(flag())),
        ("archived?", super::schema::nullable(flag())),
    ]);
    let typing = object([("session_id", text()), ("sub", text()), ("role", one_of(&["user", "assistant", "system"]))]);
    let delta = object([("session_id", text()), ("message_id", text()), ("index", count()), ("text", text())]);
    let presence = object([("session_id", text()), ("viewers", list(text()))]);
    vec![
        ("documents.inserted", "A document was uploaded.", row("DocumentRow")),
        ("documents.updated", "Its processing went on.", row("DocumentRow")),
        ("documents.deleted", "It is gone; data is the row as it was.", row("DocumentRow")),
        ("notifications.inserted", "There is a new notification.", row("NotificationRow")),
        ("notifications.deleted", "It is gone; data is the row as it was.", row("NotificationRow")),
        (
            "notifications.read",
            "For one user's other windows: what they read or archived. An id of null stands for all.",
            marked,
        ),
        (
            "notifications.seen",
            "For one user's other windows: they have seen all that there are.",
            object([("id", said(nullable(text()), "null: all.")), ("seen", flag())]),
        ),
        ("chat_sessions.inserted", "A session began; for its user and admins.", row("ChatSessionRow")),
        ("chat_sessions.updated", "It was taken up, ended, archived, or written in.", row("ChatSessionRow")),
        ("chat_sessions.deleted", "It is gone; data is the row as it was.", row("ChatSessionRow")),
        (
            "chat_messages.inserted",
            "A message; its subject is the session, for its user and admins.",
            row("ChatMessageRow"),
        ),
        ("chat_messages.updated", "A message became complete, or failed.", row("ChatMessageRow")),
        ("chat_messages.deleted", "It is gone; data is the row as it was.", row("ChatMessageRow")),
        ("chat.metrics", "For admins: the counts, at most once a second.", shared("Metrics")),
        ("chat.delta", "The next words of an answer that is being written. Not kept, no id.", delta),
        ("chat.typing", "Somebody is typing; its subject is the session. Not kept, no id.", typing),
        ("chat.presence", "For admins: who looks at the session that is its subject. Not kept, no id.", presence),
    ]
}
