//! The notification centre: one list per tenant, with each user's own read and archive state; and what a user has chosen for themself.

use serde_json::{Value, json};
use warp::http::Method;

use super::operation::{Operation, operation};
use super::schema::{
    anything, closed, count, flag, list, nullable, object, said, shared, short, text, time, whole, with_default,
};

const TAG: &str = "Notifications";

/// Descriptions of these routes.
pub fn operations() -> Vec<Operation> {
    let base = "/v1/tenants/{tenant}/notifications";
    let preferences = "/v1/tenants/{tenant}/preferences";
    vec![
        operation(
            Method::GET,
            base,
            TAG,
            "listNotifications",
            "Notifications, newest first; or those since a cursor or a time",
        )
        .about("Only a cursor is exact: a time loses what was committed late.")
        .query(
            "since",
            text(),
            "A cursor: what came after it. Or a time (RFC 3339): strictly later ones. Or a \
             `next`.",
        )
        .query("before", text(), "The `next` of an earlier page.")
        .query("unread", with_default(flag(), false), "Only those that are neither read nor archived.")
        .query(
            "archived",
            with_default(json!({"enum": [false, true, "only"]}), false),
            "Also those that the user has archived; or only those.",
        )
        .query("types", text(), "Only notifications of these types: globs with commas, such as `document_*`.")
        .query("limit", with_default(whole(1, 100), 10), "How many at most.")
        .answers(200, "The list, with the cursor to subscribe from.", shared("NotificationList"))
        .polled()
        .of_application()
        .refuses(&[410]),
        operation(Method::POST, base, TAG, "createNotification", "Tell a tenant's users something")
            .about("For the roles service and admin.")
            .body(shared("NewNotification"))
            .answers(201, "The notification.", shared("Notification"))
            .of_application(),
        operation(
            Method::PATCH,
            "/v1/tenants/{tenant}/notifications/{id}",
            TAG,
            "markNotification",
            "Mark one read or archived, for yourself",
        )
        .body(shared("NotificationMark"))
        .answers(200, "The notification as it is for you now.", shared("Notification"))
        .of_application(),
        operation(
            Method::GET,
            "/v1/tenants/{tenant}/notifications/counts",
            TAG,
            "countNotifications",
            "How many there are for you, as tabs show them",
        )
        .answers(
            200,
            "The counts, with the cursor to subscribe from.",
            object([
                ("counts", shared("NotificationCounts")),
                ("cursor", shared("Cursor")),
                ("poll_after_ms", count()),
            ]),
        )
        .polled()
        .of_application(),
        operation(
            Method::POST,
            "/v1/tenants/{tenant}/notifications/seen",
            TAG,
            "seeAllNotifications",
            "Mark all seen, for yourself",
        )
        .about("What opening the list does. Your other windows are told by the event `notifications.seen`.")
        .answers(
            200,
            "How many were not seen before.",
            object([("seen", count()), ("counts", shared("NotificationCounts")), ("cursor", shared("Cursor"))]),
        )
        .of_application(),
        operation(
            Method::POST,
            "/v1/tenants/{tenant}/notifications/read-all",
            TAG,
            "readAllNotifications",
            "Mark all read, for yourself",
        )
        .answers(
            200,
            "How many were unread.",
            object([("read", count()), ("unread_count", count()), ("cursor", shared("Cursor"))]),
        )
        .of_application(),
        operation(Method::GET, preferences, TAG, "getPreferences", "What you have chosen")
            .answers(200, "Your choices.", shared("Preferences"))
            .of_application(),
        operation(Method::PATCH, preferences, TAG, "changePreferences", "Choose otherwise")
            .body(closed([("email", flag())]))
            .answers(200, "Your choices from now on.", shared("Preferences"))
            .of_application(),
    ]
}

/// Schemas that they share.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let kind = json!({"type": "string", "pattern": "^[a-z][a-z0-9_.-]{0,63}$"});
    let person = object([("id", text()), ("name", nullable(text())), ("email", nullable(text()))]);
    let state = json!({"type": ["boolean", "null"]});
    let mut mark = closed([("read?", state.clone()), ("archived?", state)]);
    mark["minProperties"] = 1.into();
    vec![
        (
            "Notification",
            object([
                ("id", text()),
                ("type", text()),
                ("title", text()),
                ("message", text()),
                ("metadata", anything()),
                ("created_at", time()),
                ("created_by", said(nullable(person), "null: the system.")),
                ("seen", said(flag(), "By the one who asks. What is read was seen.")),
                ("read", said(flag(), "By the one who asks.")),
                ("archived", said(flag(), "By the one who asks.")),
            ]),
        ),
        (
            "NotificationRow",
            said(
                object([
                    ("id", text()),
                    ("tenant_id?", text()),
                    ("type", text()),
                    ("title", text()),
                    ("message", text()),
                    ("metadata", anything()),
                    ("created_at", time()),
                    ("created_by?", nullable(text())),
                ]),
                "A row of the reference table.",
            ),
        ),
        (
            "NotificationList",
            object([
                ("notifications", list(shared("Notification"))),
                ("unread_count", said(count(), "Of all, not only of this list.")),
                ("cursor", shared("Cursor")),
                ("next?", said(nullable(text()), "The place behind the last one; null when there is none.")),
                ("more?", said(flag(), "Since a cursor: there is more to ask for.")),
                ("deleted?", said(list(text()), "Since a cursor: ids that are gone.")),
                ("poll_after_ms", count()),
            ]),
        ),
        (
            "NotificationCounts",
            object([
                ("all", said(count(), "Not archived.")),
                ("unread", count()),
                ("unseen", count()),
                ("archived", count()),
                ("documents", said(count(), "Not archived, of a type that begins with document_.")),
            ]),
        ),
        (
            "NewNotification",
            closed([
                ("type", kind),
                ("title", short(255)),
                ("message", short(8192)),
                ("metadata?", nullable(anything())),
            ]),
        ),
        ("NotificationMark", mark),
        ("Preferences", object([("email", said(flag(), "Whether to be told by e-mail."))])),
    ]
}
