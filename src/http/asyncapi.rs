//! `GET /v1/asyncapi.json`: streams and sockets as an AsyncAPI 3.0 document.
//!
//! Place: beside [`openapi`], whose schemas it shares. Messages stand in `messages`; the close codes come from
//! the table of [`Disconnect`]. Real blocks and frames are held against it by
//! `every_block_and_frame_is_as_the_document_says`.

mod messages;

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use warp::reply::Response;

use super::call::Call;
use super::openapi;
use super::published::Published;
use super::ws::PROTOCOL;
use crate::disconnect::Disconnect;

/// Answers with the document.
pub(super) fn answer(call: &Call) -> Response {
    static DOCUMENT: OnceLock<Published> = OnceLock::new();
    DOCUMENT.get_or_init(|| Published::json(&document())).answer(call)
}

/// The document.
pub fn document() -> Value {
    let address =
        json!({"address": {"default": "127.0.0.1:8080", "description": "http.listen, or the proxy in front of it."}});
    let server = |protocol: &str| {
        let security: Vec<Value> = ["bearer", "ticket", "cookie"]
            .map(|name| json!({"$ref": format!("#/components/securitySchemes/{name}")}))
            .into();
        json!({"host": "{address}", "protocol": protocol, "variables": address, "security": security})
    };
    json!({
        "asyncapi": "3.0.0",
        "id": "urn:tidings:v1",
        "info": {
            "title": "tidings",
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "license": {"name": "Apache-2.0 OR MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"streams": server("http"), "sockets": server("ws")},
        "channels": channels(),
        "operations": operations(),
        "components": {
            "messages": messages::all(),
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "ticket": {"type": "httpApiKey", "in": "query", "name": "ticket", "description": "Single use; see POST /v1/tickets."},
                "cookie": {"type": "httpApiKey", "in": "cookie", "name": super::credential::COOKIE},
            },
        },
    })
}

fn channels() -> Value {
    let tenant = json!({"tenant": {"description": "The tenant, percent-encoded."}});
    let stream = |address: &str, says: &str| {
        json!({"address": address, "title": "Server-Sent Events", "description": says, "messages": within(messages::STREAM),
               "servers": [{"$ref": "#/servers/streams"}]})
    };
    let mut of_tenant = stream(
        "/v1/tenants/{tenant}/events",
        "Accept: text/event-stream. A tenant's events. A message's name is the block's \
         `event:`; events have none.",
    );
    of_tenant["parameters"] = tenant;
    json!({
        "tenantStream": of_tenant,
        "allStream": stream("/v1/events", "The same of all the tenants that an admin administers."),
        "socket": {
            "address": "/v1/ws",
            "title": "WebSocket",
            "description": format!("JSON text frames, subprotocol {PROTOCOL}."),
            "servers": [{"$ref": "#/servers/sockets"}],
            "messages": within(&[messages::TO_SERVER, messages::TO_CLIENT].concat()),
            "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0", "query": {"type": "object", "properties": {
                "ticket": {"type": "string", "description": "Of POST /v1/tickets, where no header can be set."},
                "client": {"type": "string", "maxLength": 64, "description": "What the client calls itself."},
            }}}},
            "x-close-codes": Disconnect::ALL.map(ending),
        },
    })
}

fn ending(why: Disconnect) -> Value {
    json!({"code": why.code(), "reason": why.reason(), "reconnect": why.reconnect()})
}

/// A channel's messages, by name.
fn within(names: &[&str]) -> Map<String, Value> {
    names.iter().map(|name| ((*name).to_owned(), json!({"$ref": format!("#/components/messages/{name}")}))).collect()
}

/// Seen from the server: it sends to streams and sockets, and receives from sockets.
fn operations() -> Value {
    let operation = |action: &str, channel: &str, names: &[&str], says: &str| {
        let messages: Vec<Value> =
            names.iter().map(|name| json!({"$ref": format!("#/channels/{channel}/messages/{name}")})).collect();
        json!({"action": action, "channel": {"$ref": format!("#/channels/{channel}")}, "summary": says, "messages": messages})
    };
    json!({
        "streamTenant": operation("send", "tenantStream", messages::STREAM, "A tenant's events, as they are committed."),
        "streamAll": operation("send", "allStream", messages::STREAM, "Events of all tenants, for admins."),
        "tell": operation("send", "socket", messages::TO_CLIENT, "Events of this connection's subscriptions, and answers."),
        "take": operation("receive", "socket", messages::TO_SERVER, "What a client may send."),
    })
}

fn schemas() -> Map<String, Value> {
    let mut schemas = openapi::schemas();
    schemas.extend(messages::schemas());
    schemas
}
