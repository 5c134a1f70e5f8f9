//! Clients made of other people's parsers: `eventsource-stream` for SSE, `tokio-tungstenite` for WebSocket.

use std::pin::Pin;
use std::time::Duration;

use eventsource_stream::{Event, EventStream, Eventsource};
use futures_util::{SinkExt, Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Bridge, Database, member};

/// Nothing in these tests takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(120);

type Bytes = Pin<Box<dyn Stream<Item = Result<Vec<u8>, reqwest::Error>> + Send>>;

/// A subscriber over SSE.
pub struct Sse {
    blocks: EventStream<Bytes>,
    pub hello: Value,
    /// As a browser keeps it.
    pub last_id: String,
}

impl Sse {
    /// Subscribes to a tenant's events, `path` behind `/v1/tenants/{tenant}/events`.
    pub async fn open(bridge: &Bridge, token: &str, tenant: &str, query: &str) -> Self {
        Self::at(bridge, token, &format!("/v1/tenants/{tenant}/events{query}"), None).await
    }

    /// As a browser reconnects.
    pub async fn resume(bridge: &Bridge, token: &str, tenant: &str, last_id: &str) -> Self {
        Self::at(bridge, token, &format!("/v1/tenants/{tenant}/events"), Some(last_id)).await
    }

    /// The same where nobody may be there to answer, or only somebody who is about to leave.
    pub async fn try_resume(bridge: &Bridge, token: &str, tenant: &str, last_id: &str) -> Option<Self> {
        let request = Self::request(bridge, token, &format!("/v1/tenants/{tenant}/events"), Some(last_id));
        let response = request.send().await.ok().filter(|response| response.status() == 200)?;
        Self::read(response, last_id).await
    }

    pub async fn at(bridge: &Bridge, token: &str, path: &str, last_id: Option<&str>) -> Self {
        let response = Self::request(bridge, token, path, last_id).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        Self::read(response, last_id.unwrap_or("")).await.expect("the stream ended before hello")
    }

    fn request(bridge: &Bridge, token: &str, path: &str, last_id: Option<&str>) -> reqwest::RequestBuilder {
        let request = bridge.client().get(bridge.url(path)).bearer_auth(token).header("accept", "text/event-stream");
        match last_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        }
    }

    /// A stream up to its hello; none where it ends before.
    async fn read(response: reqwest::Response, last_id: &str) -> Option<Self> {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let bytes: Bytes = Box::pin(stream::unfold(response, |mut response| async move {
            match response.chunk().await {
                Ok(Some(bytes)) => Some((Ok(bytes.to_vec()), response)),
                Ok(None) => None,
                Err(error) => Some((Err(error), response)),
            }
        }));
        let mut sse = Self { blocks: bytes.eventsource(), hello: Value::Null, last_id: last_id.to_owned() };
        let hello = sse.block().await?;
        assert_eq!(hello.event, "hello");
        sse.hello = serde_json::from_str(&hello.data).unwrap();
        Some(sse)
    }

    /// The next dispatched block; none at the end of the stream.
    pub async fn block(&mut self) -> Option<Event> {
        let block = timeout(PATIENCE, self.blocks.next()).await.expect("nothing arrived")?.ok()?;
        if !block.id.is_empty() {
            self.last_id.clone_from(&block.id);
        }
        Some(block)
    }

    /// The next application event; panics on a control event.
    pub async fn next(&mut self) -> Value {
        let block = self.block().await.expect("the stream ended");
        assert_eq!(block.event, "message", "{block:?}");
        serde_json::from_str(&block.data).unwrap()
    }

    /// The next `count` application events.
    pub async fn take(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.next().await);
        }
        events
    }

    /// Events up to the next sentinel, without it.
    pub async fn until_sentinel(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                event if event["type"] == "sentinel" => return events,
                event => events.push(event),
            }
        }
    }

    /// Waits until the bridge has heard all that is committed: whoever subscribes after this is sent none of it.
    pub async fn heard(bridge: &Bridge, db: &Database) {
        let mut sse = Self::open(bridge, &member("acme"), "acme", "?types=sentinel").await;
        db.sentinel("acme").await;
        sse.until_sentinel().await;
    }
}

/// A subscriber over WebSocket.
pub struct Ws {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub hello: Value,
    pub close: Option<CloseFrame>,
}

impl Ws {
    pub async fn connect(bridge: &Bridge, token: &str) -> Self {
        Self::try_connect(bridge, token).await.expect("nobody takes the connection")
    }

    /// The same where nobody may be there, or only somebody who is about to leave.
    pub async fn try_connect(bridge: &Bridge, token: &str) -> Option<Self> {
        let mut request = format!("ws://{}/v1/ws", bridge.address).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "tidings.v1.json".parse().unwrap());
        let (socket, _) = connect_async(request).await.ok()?;
        let mut ws = Self { socket, hello: Value::Null, close: None };
        ws.hello = ws.frame().await?;
        assert_eq!(ws.hello["type"], "hello");
        Some(ws)
    }

    /// Connects and subscribes to a tenant as subscription `s`; `more` holds types, subject, after.
    pub async fn open(bridge: &Bridge, token: &str, tenant: &str, more: Value) -> Self {
        let mut ws = Self::connect(bridge, token).await;
        let subscribed = ws.subscribe("s", tenant, more).await;
        assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
        ws
    }

    /// Subscribes; returns the answer.
    pub async fn subscribe(&mut self, id: &str, tenant: &str, more: Value) -> Value {
        let mut message = json!({"type": "subscribe", "id": id, "tenant": tenant});
        message.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.send(&message).await;
        self.frame().await.unwrap()
    }

    pub async fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next text frame; none when the socket closes.
    pub async fn frame(&mut self) -> Option<Value> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("nothing arrived")? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(frame)) => self.close = frame,
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next application event; heartbeats are passed over.
    pub async fn next(&mut self) -> Value {
        loop {
            let frame = self.frame().await.expect("the socket closed");
            match frame["type"].as_str() {
                Some("event") => return frame["event"].clone(),
                Some("heartbeat") => {}
                _ => panic!("{frame}"),
            }
        }
    }

    pub async fn until_sentinel(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                event if event["type"] == "sentinel" => return events,
                event => events.push(event),
            }
        }
    }
}

/// A JSON page.
pub struct Page {
    pub events: Vec<Value>,
    pub cursor: String,
    pub more: bool,
}

/// One page of a tenant's events.
pub async fn get_page(bridge: &Bridge, token: &str, tenant: &str, query: &str) -> Page {
    let (status, body) = bridge.get_as(token, &format!("/v1/tenants/{tenant}/events{query}")).await;
    assert_eq!(status, 200, "{body}");
    Page {
        events: body["events"].as_array().unwrap().clone(),
        cursor: body["cursor"].as_str().unwrap().to_owned(),
        more: body["more"].as_bool().unwrap(),
    }
}

/// Types and subjects, for short assertions.
pub fn events_of(events: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    events.iter().map(|event| (text(&event["type"]), text(&event["subject"]))).collect()
}
