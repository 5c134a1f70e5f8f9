//! Chats: sessions, their messages, and who is looking.

use serde_json::{Value, json};
use warp::http::Method;

use super::operation::{Operation, operation};
use super::schema::{
    also, anything, closed, count, flag, just, list, nullable, object, one_of, said, shared, short, text, time, whole,
    with_default,
};

const TAG: &str = "Chat";
/// As a pattern.
const STATES: &str = "(waiting|active|ended|archived)";
const SESSION: &str = "/v1/tenants/{tenant}/chat/sessions/{session}";

/// Descriptions of these routes.
pub fn operations() -> Vec<Operation> {
    [sessions(), commands(), messages(), presence()].into_iter().flatten().collect()
}

fn sessions() -> Vec<Operation> {
    let base = "/v1/tenants/{tenant}/chat/sessions";
    let created = object([
        ("subject?", nullable(text())),
        ("metadata?", nullable(anything())),
        ("user_id?", said(nullable(text()), "On behalf of this user: service and admin only.")),
    ]);
    vec![
        operation(
            Method::GET,
            base,
            TAG,
            "listChatSessions",
            "Sessions, newest first: your own, or as an admin the tenant's",
        )
        .query(
            "status",
            json!({"type": "string", "pattern": format!("^({STATES}(,{STATES})*)?$")}),
            "Only those in these states, comma separated.",
        )
        .query("q", text(), "Part of the subject or of the user, in any case.")
        .query("before", text(), "The `next` of an earlier page.")
        .query("limit", with_default(whole(1, 200), 50), "How many at most.")
        .answers(200, "The list, with the cursor to subscribe from.", shared("SessionList"))
        .polled()
        .of_application(),
        operation(Method::POST, base, TAG, "createChatSession", "Begin a session")
            .optional_body(shut(created), false)
            .answers(201, "The session, waiting.", shared("Session"))
            .of_application(),
        operation(Method::GET, SESSION, TAG, "getChatSession", "One session")
            .answers(200, "The session.", shared("SessionNow"))
            .polled()
            .of_application(),
        operation(
            Method::GET,
            "/v1/tenants/{tenant}/chat/metrics",
            TAG,
            "chatMetrics",
            "Sessions by state, waiting times, messages per minute: admins",
        )
        .answers(200, "The metrics.", shared("Metrics"))
        .polled()
        .of_application(),
    ]
}

fn commands() -> Vec<Operation> {
    let command = |path, id, summary| {
        operation(Method::POST, path, TAG, id, summary)
            .about(
                "The same as the WebSocket's command. Of two admins at once the second gets 409 \
                 with the session as it is then.",
            )
            .answers(200, "The session as it is now.", shared("Session"))
            .of_application()
            .refuses(&[409])
    };
    let assignee = shut(object([("assignee?", said(nullable(short(255)), "Default: the caller."))]));
    vec![
        command("/v1/tenants/{tenant}/chat/sessions/{session}/end", "endChatSession", "End a session: admins"),
        command(
            "/v1/tenants/{tenant}/chat/sessions/{session}/archive",
            "archiveChatSession",
            "Archive an ended session: admins",
        ),
        command(
            "/v1/tenants/{tenant}/chat/sessions/{session}/assign",
            "assignChatSession",
            "Take a session up: admins",
        )
        .optional_body(assignee, false),
    ]
}

fn messages() -> Vec<Operation> {
    let base = "/v1/tenants/{tenant}/chat/sessions/{session}/messages";
    vec![
        operation(Method::GET, base, TAG, "listChatMessages", "Messages of a session, oldest first")
            .query(
                "after",
                text(),
                "The `next` of an earlier page; or a cursor: then what changed since, with \
                 `more`.",
            )
            .query("before", text(), "The `previous` of an earlier page; or `end`: the newest page.")
            .query("limit", with_default(whole(1, 200), 50), "How many at most.")
            .answers(200, "The page, with the cursor to subscribe from.", shared("MessageList"))
            .polled()
            .of_application()
            .refuses(&[410]),
        operation(Method::POST, base, TAG, "sendChatMessage", "Write in a session")
            .about(
                "With an `id` of your own, sending again is not sending twice. An admin's \
                 message takes a waiting session up.",
            )
            .body(shared("NewMessage"))
            .answers(201, "The message.", shared("Message"))
            .answers(200, "That message was sent before.", shared("Message"))
            .of_application()
            .refuses(&[409]),
        operation(
            Method::POST,
            "/v1/tenants/{tenant}/chat/sessions/{session}/follow-up",
            TAG,
            "followUpChatSession",
            "What the session is about was edited: let the responder say something to it",
        )
        .about("Of several edits only the last is answered, some seconds after it.")
        .body(edit())
        .answers(202, "It will be answered.", object([("due_at", time())]))
        .of_application()
        .refuses(&[409]),
        operation(
            Method::POST,
            "/v1/tenants/{tenant}/chat/sessions/{session}/typing",
            TAG,
            "typeInChatSession",
            "Tell the others that you are typing",
        )
        .answers_bare(204, "They are told, at most once a second.")
        .of_application(),
    ]
}

fn presence() -> Vec<Operation> {
    let view = "/v1/tenants/{tenant}/chat/sessions/{session}/view";
    let viewer = object([("sub", text()), ("since", time())]);
    let viewers = json!({"type": "object", "additionalProperties": list(viewer), "description": "By session."});
    vec![
        operation(
            Method::GET,
            "/v1/tenants/{tenant}/chat/presence",
            TAG,
            "chatPresence",
            "Who looks at which session: admins",
        )
        .answers(200, "Over all instances.", object([("sessions", viewers), ("poll_after_ms?", count())]))
        .of_application(),
        operation(
            Method::PUT,
            view,
            TAG,
            "viewChatSession",
            "Note that your live stream's user looks at this session: admins",
        )
        .body(closed([("connection", short(64))]))
        .answers_bare(204, "Noted, until the connection ends.")
        .of_application(),
        operation(Method::DELETE, view, TAG, "leaveChatSession", "Look at it no more: admins")
            .query("connection", text(), "The stream, where the request has no body.")
            .optional_body(closed([("connection", short(64))]), false)
            .answers_bare(204, "Noted.")
            .of_application(),
    ]
}

fn shut(mut schema: Value) -> Value {
    schema["additionalProperties"] = false.into();
    schema
}

/// Schemas that they share.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let state = one_of(&["waiting", "active", "ended", "archived"]);
    let session = [
        ("id", text()),
        ("user_id", nullable(text())),
        ("subject", nullable(text())),
        ("metadata", anything()),
        ("status", state),
        ("assigned_to", said(nullable(text()), "sub of whoever answers.")),
        ("created_at", time()),
        ("updated_at", time()),
        ("started_at", nullable(time())),
        ("ended_at", nullable(time())),
        ("last_message_at", nullable(time())),
    ];
    let message = [
        ("id", text()),
        ("session_id", text()),
        ("role", one_of(&["user", "assistant", "system"])),
        ("status", one_of(&["sending", "sent", "failed"])),
        ("content", text()),
        ("metadata", anything()),
        ("author", said(nullable(text()), "sub of whoever wrote it; null for assistants and the system.")),
        ("created_at", time()),
        ("updated_at", time()),
    ];
    vec![
        ("ChatSessionRow", also(object(session.clone()), [("tenant_id", text())])),
        ("ChatMessageRow", also(object(message.clone()), [("tenant_id", text()), ("user_id", nullable(text()))])),
        ("SessionNow", also(object(session.clone()), [("cursor", shared("Cursor")), ("poll_after_ms", count())])),
        ("Session", object(session)),
        ("Message", object(message)),
        ("NewMessage", new_message()),
        ("Metrics", metrics()),
        ("SessionList", list_of("sessions", "Session", ("metrics", said(nullable(shared("Metrics")), "For admins.")))),
        (
            "MessageList",
            list_of("messages", "Message", ("previous?", said(nullable(text()), "The place before the first one."))),
        ),
    ]
}

fn edit() -> Value {
    let content = json!({"type": "string", "minLength": 11, "maxLength": 32 << 10});
    closed([("content", content), ("trigger?", nullable(just("edit")))])
}

fn new_message() -> Value {
    closed([
        ("id?", said(nullable(short(255)), "Chosen by the client, unique within the session.")),
        ("content", short(32 << 10)),
        ("metadata?", nullable(anything())),
        ("role?", said(nullable(one_of(&["user", "assistant", "system"])), "Default: user, of an admin assistant.")),
    ])
}

fn metrics() -> Value {
    let seconds = || nullable(json!({"type": "number", "minimum": 0}));
    let states = object([("waiting", count()), ("active", count()), ("ended", count()), ("archived", count())]);
    object([
        ("sessions", states),
        ("waiting_time", object([("average_s", seconds()), ("longest_s", seconds())])),
        ("messages_per_minute", json!({"type": "number", "minimum": 0})),
        ("poll_after_ms?", said(count(), "Of polls only.")),
    ])
}

fn list_of(name: &str, item: &str, more: (&str, Value)) -> Value {
    object([
        (name, list(shared(item))),
        more,
        ("cursor", shared("Cursor")),
        ("next?", said(nullable(text()), "The place behind the last one; null when there is none.")),
        ("more?", said(flag(), "Since a cursor: there is more to ask for.")),
        ("deleted?", said(list(text()), "Since a cursor: ids that are gone.")),
        ("poll_after_ms?", count()),
    ])
}
