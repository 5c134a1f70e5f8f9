//! WebSocket: the upgrade, and the task that owns the socket from then on.
//!
//! The socket is taken back from hyper, so that events are written as the frames all subscribers share, everything
//! pending in one vectored write. An idle socket holds no buffer but its parser's.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use bytes::{Buf, Bytes};
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{sleep_until, timeout};
use warp::http::{HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::State;
use super::call::Call;
use super::connections::Guard;
use super::credential::{self, unix_now};
use super::problem::Problem;
use super::rate::Kind;
use super::serve::{Io, Socket};
use super::ws_session::Session;
use super::ws_wire::{Incoming, Wire, close_frame};
use crate::auth::Principal;
use crate::disconnect::Disconnect;
use crate::event::text_frame;

/// The subprotocol.
pub const PROTOCOL: &str = "tidings.v1.json";

/// Answers the handshake and starts the socket's task.
pub async fn upgrade(state: &Arc<State>, call: Call, on: Option<OnUpgrade>) -> Result<Response, Problem> {
    if !call.origin_allowed(&state.in_force.load().origins) {
        return Err(Problem::forbidden("this origin is not in http.origins"));
    }
    let accept = handshake(&call)?;
    let on = on.ok_or_else(|| bad_handshake("a WebSocket needs HTTP/1.1"))?;
    let offered = offered_protocols(&call);
    if !offered.is_empty() && !offered.iter().any(|name| name == PROTOCOL) {
        return Err(bad_handshake("the subprotocol is tidings.v1.json"));
    }
    let principal = credential::authenticate(state, &call, &Method::GET).await?;
    state.rates.take(Kind::Open, &principal, &state.in_force.load().limits)?;
    let guard = state.connections.open(&principal, "websocket", &call)?;
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
    /// Gives up by itself when its client takes nothing.
    socket: Socket,
    session: Session,
    wire: Wire,
    /// Frames to be written.
    out: VecDeque<Bytes>,
    /// What the client sent behind its request's head.
    early: Bytes,
}

/// Everything that can wake the task.
enum Wake {
    Read(Vec<Incoming>),
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
        let (socket, early) = (parts.io.into_inner(), parts.read_buf);
        let session = Session::new(state, principal, guard);
        Some(Box::new(Self { socket, session, wire: Wire::new(), out: VecDeque::new(), early }))
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
            let Self { socket, session, wire, out, .. } = &mut *self;
            let mut answers = VecDeque::new();
            // Woken by: bytes to read · something to deliver, or an order to end · the next heartbeat or the end of the
            // credential. All are cancel safe.
            let wake = tokio::select! {
                messages = poll_fn(|cx| read(socket, wire, &mut answers, cx)) => Wake::Read(messages?),
                ended = poll_fn(|cx| session.poll(cx, out)) => Wake::Session(ended),
                () = timer.as_mut() => Wake::Timer,
            };
            why = match wake {
                Wake::Session(ended) => ended.map(Ending::Ours),
                Wake::Timer => session.beat(unix_now(), out).map(Ending::Ours),
                Wake::Read(messages) => {
                    out.append(&mut answers);
                    self.understand(messages).await
                }
            };
        }
        if let Some(Ending::Ours(why)) = why {
            self.session.end(why);
            self.out.push_back(text_frame(&[self.session.bye(why).as_bytes()]));
            self.out.push_back(close_frame(why.code(), why.reason()));
        }
        self.write().await?;
        self.linger().await;
        Ok(())
    }

    async fn understand(&mut self, messages: Vec<Incoming>) -> Option<Ending> {
        let Self { session, out, .. } = self;
        for message in messages {
            let ended = match message {
                Incoming::Closed(bytes) => {
                    out.extend((!bytes.is_empty()).then_some(bytes));
                    return Some(Ending::Theirs);
                }
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
        let written = self.write_all().await;
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            self.session.end(Disconnect::Slow);
        }
        written
    }

    async fn write_all(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        while !self.out.is_empty() {
            let count = poll_fn(|cx| self.poll_write(cx)).await?;
            self.written(count);
        }
        self.out.shrink_to(4);
        // TLS may hold the end of it.
        self.socket.flush().await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let slices: Vec<IoSlice<'_>> = self.out.iter().take(64).map(|bytes| IoSlice::new(bytes)).collect();
        match ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, &slices)) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => Poll::Ready(written),
        }
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
        let closing = poll_fn(|cx| {
            let mut buffer = [0; 4096];
            let mut buffer = ReadBuf::new(&mut buffer);
            while ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer)).is_ok() && !buffer.filled().is_empty() {
                buffer.clear();
            }
            Poll::Ready(())
        });
        let _ = timeout(Duration::from_secs(2), closing).await;
    }
}

/// Takes what the socket has. Its buffer lives on the stack, not in the task.
fn read(
    socket: &mut Socket,
    wire: &mut Wire,
    answers: &mut VecDeque<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Vec<Incoming>>> {
    let mut buffer = [0; 4096];
    let mut buffer = ReadBuf::new(&mut buffer);
    ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
    let mut messages = Vec::new();
    match buffer.filled() {
        [] => messages.push(Incoming::Closed(Bytes::new())),
        bytes => wire.take(bytes, &mut messages, answers),
    }
    Poll::Ready(Ok(messages))
}
