//! WebSocket: the upgrade, and the task that owns the socket from then on.
//!
//! The socket is taken back from hyper, so that events are written as the frames all subscribers share, everything
//! pending in one vectored write. An idle socket holds no buffer but its parser's.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::{Buf, Bytes};
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use warp::http::{HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::State;
use super::call::Call;
use super::connections::Guard;
use super::credential::{self, unix_now};
use super::problem::Problem;
use super::serve::Io;
use super::ws_session::Session;
use super::ws_wire::{Incoming, Wire};
use crate::auth::Principal;
use crate::disconnect::Disconnect;
use crate::event::text_frame;

/// The subprotocol.
pub const PROTOCOL: &str = "tidings.v1.json";

/// Answers the handshake and starts the socket's task.
pub async fn upgrade(state: &Arc<State>, call: Call, on: Option<OnUpgrade>) -> Result<Response, Problem> {
    if !call.origin_allowed(&state.settings.origins) {
        return Err(Problem::forbidden("this origin is not in http.origins"));
    }
    let accept = handshake(&call)?;
    let on = on.ok_or_else(|| bad_handshake("a WebSocket needs HTTP/1.1"))?;
    let offered = offered_protocols(&call);
    if !offered.is_empty() && !offered.iter().any(|name| name == PROTOCOL) {
        return Err(bad_handshake("the subprotocol is tidings.v1.json"));
    }
    let principal = credential::authenticate(state, &call, &Method::GET).await?;
    let guard = state.connections.open(&principal, "websocket", call.client()?)?;
    let task = state.clone();
    let kill = state.kill.clone();
    state.tasks.spawn(async move {
        // Boxed, so that the task is no larger than what an idle connection needs.
        let Some(connection) =
            on.await.ok().and_then(|upgraded| Connection::take_back(task, upgraded, principal, guard))
        else {
            return;
        };
        if let Some(Err(error)) = kill.run_until_cancelled(connection.run()).await {
            tracing::debug!(%error, "websocket ended");
        }
    });
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept);
    if !offered.is_empty() {
        headers.insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
    }
    Ok(response)
}

fn handshake(call: &Call) -> Result<HeaderValue, Problem> {
    let has = |name: &str, token: &str| {
        call.header(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    if !has("upgrade", "websocket") || !has("connection", "upgrade") {
        let detail = "this address speaks WebSocket: connect with new WebSocket(…)";
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail));
    }
    if call.header("sec-websocket-version") != Some("13") {
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "bad_handshake", "Sec-WebSocket-Version must be 13"));
    }
    let key = call.header("sec-websocket-key").unwrap_or("");
    let nonce = base64::engine::general_purpose::STANDARD.decode(key);
    if nonce.is_ok_and(|nonce| nonce.len() == 16) {
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        return HeaderValue::try_from(accept).map_err(|_| bad_handshake("Sec-WebSocket-Key cannot be answered"));
    }
    Err(bad_handshake("Sec-WebSocket-Key must be 16 bytes in base64"))
}

fn bad_handshake(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_handshake", detail)
}

fn offered_protocols(call: &Call) -> Vec<String> {
    let values = call.headers.get_all("sec-websocket-protocol").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|name| name.trim().to_owned()).collect()
}

struct Connection {
    socket: TcpStream,
    session: Session,
    wire: Wire,
    /// Frames to be written.
    out: VecDeque<Bytes>,
    /// A socket that takes no byte for so long is given up.
    limit: Duration,
    /// What the client sent behind its request's head.
    early: Bytes,
}

/// Everything that can wake the task.
enum Wake {
    Readable,
    Session(Option<Disconnect>),
    Timer,
}

/// Who ends the connection.
enum Ending {
    Theirs,
    Ours(Disconnect),
}

impl Connection {
    /// The socket without hyper.
    fn take_back(state: Arc<State>, upgraded: Upgraded, principal: Principal, guard: Guard) -> Option<Box<Self>> {
        let parts = upgraded.downcast::<Io>().ok()?;
        let (socket, early) = (parts.io.into_inner().into_inner(), parts.read_buf);
        let limit = state.settings.write_timeout;
        let session = Session::new(state, principal, guard);
        Some(Box::new(Self { socket, session, wire: Wire::new(), out: VecDeque::new(), limit, early }))
    }

    async fn run(mut self: Box<Self>) -> io::Result<()> {
        self.out.push_back(self.session.hello());
        let mut messages = Vec::new();
        let early = std::mem::take(&mut self.early);
        self.wire.take(&early, &mut messages, &mut self.out);
        drop(early);
        let mut why = self.understand(messages).await;
        let timer = sleep_until(self.session.next_deadline());
        tokio::pin!(timer);
        while why.is_none() {
            self.write().await?;
            if timer.deadline() != self.session.next_deadline() {
                timer.as_mut().reset(self.session.next_deadline());
            }
            let Self { socket, session, out, .. } = &mut *self;
            // Woken by: bytes to read · something to deliver, or an order to end · the next heartbeat or the end of the
            // credential. All are cancel safe.
            let wake = tokio::select! {
                readable = socket.readable() => { readable?; Wake::Readable }
                ended = poll_fn(|cx| session.poll(cx, out)) => Wake::Session(ended),
                () = timer.as_mut() => Wake::Timer,
            };
            why = match wake {
                Wake::Session(ended) => ended.map(Ending::Ours),
                Wake::Timer => session.beat(unix_now(), out).map(Ending::Ours),
                Wake::Readable => {
                    let messages = self.read()?;
                    self.understand(messages).await
                }
            };
        }
        if let Some(Ending::Ours(why)) = why {
            self.session.end(why);
            self.out.push_back(text_frame(&[self.session.bye(why).as_bytes()]));
            self.out.push_back(self.wire.close(why.code(), why.reason()));
        }
        self.write().await?;
        self.linger().await;
        Ok(())
    }

    /// Takes what the socket has. Its buffer lives on the stack, not in the task.
    fn read(&mut self) -> io::Result<Vec<Incoming>> {
        let mut buffer = [0; 4096];
        let mut messages = Vec::new();
        match self.socket.try_read(&mut buffer) {
            Ok(0) => messages.push(Incoming::Closed),
            Ok(read) => self.wire.take(&buffer[..read], &mut messages, &mut self.out),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(messages)
    }

    async fn understand(&mut self, messages: Vec<Incoming>) -> Option<Ending> {
        let Self { session, out, .. } = self;
        for message in messages {
            let ended = match message {
                Incoming::Closed => return Some(Ending::Theirs),
                Incoming::Unknown => session.strike(None, "unknown_frame", "send JSON in text frames", out),
                // Boxed: subscribing may read the log, and an idle connection should not hold room for that.
                Incoming::Text(text) => Box::pin(session.take(&text, out)).await,
            };
            if let Some(why) = ended {
                return Some(Ending::Ours(why));
            }
        }
        None
    }

    /// Writes everything pending, as much as fits in one call at a time.
    async fn write(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            timeout(self.limit, self.socket.writable()).await??;
            let written = {
                let slices: Vec<IoSlice<'_>> = self.out.iter().take(64).map(|bytes| IoSlice::new(bytes)).collect();
                self.socket.try_write_vectored(&slices)
            };
            match written {
                Ok(count) => self.written(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.out.shrink_to(4);
        Ok(())
    }

    fn written(&mut self, mut count: usize) {
        while let Some(front) = self.out.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.out.pop_front();
        }
    }

    /// Waits a moment for the client's side of the closing handshake, so that the last frames are not lost to a reset.
    async fn linger(&mut self) {
        // Whatever this ends with, the socket is closed next.
        let _ = self.socket.shutdown().await;
        let closing = async { while self.socket.readable().await.is_ok() && self.discard() {} };
        let _ = timeout(Duration::from_secs(2), closing).await;
    }

    /// Whether there may be more to come.
    fn discard(&self) -> bool {
        let mut buffer = [0; 4096];
        match self.socket.try_read(&mut buffer) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}
