//! Subscribers: sockets that connect, subscribe, and count what comes.
//!
//! All of them live on one thread of their own, so that the load client costs one core at most and never the thread that
//! paces the writers. Each reads into a buffer that the thread shares: a thousand buffers would not fit the cache.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::BenchError;
use super::plan::Transport;
use super::tally::{Sample, Tally, lock, now_us};
use super::wire::{Said, Scanner};

/// Read at once from a socket: several hundred events.
const READ_BYTES: usize = 256 << 10;
/// A response head of ours is a few hundred bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// A subscriber that is not subscribed by then never will be.
const PATIENCE: Duration = Duration::from_secs(30);
/// Handshakes under way at once: below the backlog of a listening socket.
const HANDSHAKES: usize = 64;
/// A fixed mask is allowed for frames that hold no secret, and zero leaves the text as it is.
const MASK: [u8; 4] = [0; 4];

thread_local! {
    static BUFFERS: RefCell<(Vec<u8>, Vec<u8>)> = RefCell::new((vec![0; READ_BYTES], Vec::new()));
}

/// Who subscribes to what.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// How.
    pub transport: Transport,
    /// Name and token of each tenant.
    pub tenants: Vec<(String, String)>,
    /// Bytes of a row's payload column.
    pub payload_bytes: usize,
}

/// Subscribers, connected until dropped.
#[derive(Debug)]
pub struct Subscribers {
    _running: DropGuard,
}

impl Subscribers {
    /// Connects as many subscribers as `tally` counts, and returns when each is subscribed.
    ///
    /// # Errors
    /// When the thread cannot be started, or one subscriber is refused or not answered.
    pub async fn connect(target: Target, tally: Arc<Tally>) -> Result<Self, BenchError> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(BenchError::io("start the client thread"))?;
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let stopped = stop.clone();
        std::thread::Builder::new()
            .name("subscribers".into())
            .spawn(move || runtime.block_on(stopped.cancelled()))
            .map_err(BenchError::io("start the client thread"))?;
        let running = stop.drop_guard();
        let (target, tasks) = (Arc::new(target), TaskTracker::new());
        let readers = tasks.clone();
        let on_thread = handle.clone();
        let connect = async move {
            stream::iter(0..tally.received.len())
                .map(|index| subscribe(target.clone(), tally.clone(), index))
                .buffer_unordered(HANDSHAKES)
                .try_for_each(|reader| {
                    readers.spawn_on(reader.run(), &on_thread);
                    std::future::ready(Ok(()))
                })
                .await
        };
        match tasks.spawn_on(connect, &handle).await {
            Ok(connected) => connected.map(|()| Self { _running: running }),
            Err(_) => Err(BenchError::Subscriber { what: "the client thread ended".into() }),
        }
    }
}

/// Connects one subscriber and waits for the word that it is subscribed.
async fn subscribe(target: Arc<Target>, tally: Arc<Tally>, index: usize) -> Result<Reader, BenchError> {
    let (tenant, token) = target.tenants[tally.tenant_of(index)].clone();
    let handshake = async {
        let mut socket = TcpStream::connect(target.address).await?;
        let mut rest = Vec::new();
        let mut chunked = false;
        if target.transport != Transport::Bare {
            socket.write_all(request(&target, &tenant, &token).as_bytes()).await?;
            (chunked, rest) = read_head(&mut socket, target.transport).await?;
        }
        if target.transport == Transport::Ws {
            socket.write_all(&masked(&format!(r#"{{"type":"subscribe","id":"s","tenant":"{tenant}"}}"#))).await?;
        }
        let scanner = Scanner::new(target.transport, target.payload_bytes, chunked);
        let mut reader = Reader { socket, scanner, tally, index, ready: false };
        BUFFERS.with_borrow_mut(|(_, scratch)| reader.take(&rest, scratch))?;
        while !reader.ready {
            reader.read().await?;
        }
        Ok(reader)
    };
    let refused = |what: String| BenchError::Subscriber { what: format!("{}: {what}", target.transport) };
    match timeout(PATIENCE, handshake).await {
        Ok(outcome) => outcome.map_err(|error: Fault| refused(error.to_string())),
        Err(_) => Err(refused(format!("not subscribed after {} s", PATIENCE.as_secs()))),
    }
}

fn request(target: &Target, tenant: &str, token: &str) -> String {
    let (path, more) = match target.transport {
        Transport::Ws => (
            "/v1/ws".to_owned(),
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: tidings.v1.json\r\n",
        ),
        Transport::Sse | Transport::Bare => (format!("/v1/tenants/{tenant}/events"), "accept: text/event-stream\r\n"),
    };
    format!("GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n{more}\r\n", target.address)
}

/// Reads a response's head; says whether the body is chunked, and what of it has come already.
async fn read_head(socket: &mut TcpStream, transport: Transport) -> Result<(bool, Vec<u8>), Fault> {
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > HEAD_BYTES_MAX || socket.read_buf(&mut head).await? == 0 {
            return Err(Fault::Ended);
        }
    };
    let rest = head.split_off(end);
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let status = text.split(' ').nth(1).unwrap_or_default();
    if status != if transport == Transport::Ws { "101" } else { "200" } {
        return Err(Fault::Status(status.to_owned()));
    }
    Ok((text.contains("transfer-encoding: chunked"), rest))
}

/// A client's text frame; shorter than 126 bytes, as all of ours are.
fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | text.len() as u8];
    frame.extend_from_slice(&MASK);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Why a connection is not what it should be.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Wire(#[from] super::wire::WireError),
    #[error("the connection ended")]
    Ended,
    #[error("refused with status {0}")]
    Status(String),
    #[error("the server said {0}")]
    Said(String),
}

/// One subscriber's socket.
struct Reader {
    socket: TcpStream,
    scanner: Scanner,
    tally: Arc<Tally>,
    index: usize,
    ready: bool,
}

impl Reader {
    /// Counts until something is wrong, which is noted.
    async fn run(mut self) {
        let fault = loop {
            if let Err(fault) = self.read().await {
                break fault;
            }
        };
        lock(&self.tally.received[self.index]).fault = Some(fault.to_string());
    }

    /// Reads once. Polling the socket ourselves keeps the thread's buffer out of the future.
    async fn read(&mut self) -> Result<(), Fault> {
        poll_fn(|cx| {
            BUFFERS.with_borrow_mut(|(read, scratch)| {
                let mut buffer = ReadBuf::new(read);
                ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(Err(Fault::Ended));
                }
                Poll::Ready(self.take(buffer.filled(), scratch))
            })
        })
        .await
    }

    fn take(&mut self, read: &[u8], scratch: &mut Vec<u8>) -> Result<(), Fault> {
        let Self { scanner, tally, index, ready, .. } = self;
        let mut received = lock(&tally.received[*index]);
        let before = received.rows;
        let received_us = now_us();
        let mut fault = None;
        scanner.feed(read, scratch, |said| match said {
            Said::Row { n, sent_us } => received.row(Sample { n, sent_us, received_us }, tally.keep_samples),
            Said::Control(text) => match meaning(text) {
                Meaning::Subscribed => *ready = true,
                Meaning::Fault => fault = Some(Fault::Said(String::from_utf8_lossy(text).into_owned())),
                Meaning::Other => {}
            },
        })?;
        tally.rows.fetch_add(received.rows - before, Relaxed);
        fault.map_or(Ok(()), Err)
    }
}

/// What a control message means for the count.
enum Meaning {
    /// The subscription stands: `hello` of SSE and of the bare relay, `subscribed` of a WebSocket.
    Subscribed,
    /// Events may be missing from here on.
    Fault,
    /// A greeting or a heartbeat.
    Other,
}

fn meaning(text: &[u8]) -> Meaning {
    let says = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    if says(b"event: hello") || says(br#""type":"subscribed""#) {
        Meaning::Subscribed
    } else if [&b"event: bye"[..], b"event: reset", br#""type":"bye""#, br#""type":"reset""#, br#""type":"error""#]
        .into_iter()
        .any(says)
    {
        Meaning::Fault
    } else {
        Meaning::Other
    }
}
