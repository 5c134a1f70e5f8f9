//! Our own accept loop around warp's routes, for HTTP/1.1.
//!
//! Why not `warp::serve`: it sets no TCP_NODELAY, no timer (so half a request stays open for ever), no limits, and its
//! graceful shutdown waits for ever for a stream. Here each connection has a first-request deadline, a write deadline,
//! a slot, and an owner that can end it.
//!
//! Why not hyper-util's `auto`: browsers speak HTTP/2 over TLS only, and its detection waits for ever for half a preface.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::front::Front;

/// Deadlines and limits of sockets.
#[derive(Clone, Debug)]
pub struct SocketSettings {
    /// Until the first request's head, and between requests.
    pub header_timeout: Duration,
    /// A socket that takes no byte for so long is closed.
    pub write_timeout: Duration,
    /// Sockets open at once.
    pub connections: usize,
}

/// What a connection's task tells the routes about it.
#[derive(Clone, Debug, Default)]
pub struct Conn {
    /// The client's address.
    pub peer: Option<SocketAddr>,
}

/// The socket as hyper sees it, and as an upgraded connection gets it back.
pub type Io = Deadline<TokioIo<TcpStream>>;

/// Accepts until `stop`; connections go on under `tasks` until `kill`.
pub async fn accept(
    listener: TcpListener,
    routes: BoxedFilter<(Response,)>,
    origins: Arc<[String]>,
    settings: SocketSettings,
    tasks: TaskTracker,
    stop: CancellationToken,
    kill: CancellationToken,
) {
    let mut builder = http1::Builder::new();
    // The timer also bounds the time from accept to the first head. A head may hold a token of 16 KiB.
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(32 << 10)
        .max_headers(64);
    // Some more sockets than streams, so that whoever is over the limit can still be told so.
    let slots = Arc::new(Semaphore::new(settings.connections + 64));
    while let Some(permit) = stop.run_until_cancelled(slots.clone().acquire_owned()).await {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { return };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the client was gone already.
                tracing::debug!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        prepare(&tcp);
        let service = TowerToHyperService::new(Front::new(
            warp::service(routes.clone()),
            Conn { peer: Some(peer) },
            origins.clone(),
        ));
        let io = Deadline::new(TokioIo::new(tcp), settings.write_timeout);
        let connection = builder.serve_connection(io, service).with_upgrades();
        let (stop, kill) = (stop.clone(), kill.clone());
        tasks.spawn(async move {
            let _slot = permit;
            let mut connection = pin!(connection);
            // Told to stop, it answers what it is answering and closes; told to end, it is dropped, which closes it too.
            let served = match stop.run_until_cancelled(connection.as_mut()).await {
                None => {
                    connection.as_mut().graceful_shutdown();
                    kill.run_until_cancelled(connection).await
                }
                served => served,
            };
            if let Some(Err(error)) = served {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
}

fn prepare(tcp: &TcpStream) {
    let socket = socket2::SockRef::from(tcp);
    let keepalive =
        socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    // Each only improves how soon a dead peer is noticed; a socket that refuses them still works.
    let set = [tcp.set_nodelay(true), socket.set_tcp_keepalive(&keepalive)];
    #[cfg(target_os = "linux")]
    let set = set.into_iter().chain([socket.set_tcp_user_timeout(Some(Duration::from_secs(30)))]);
    for error in set.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "a socket option was refused");
    }
}

/// A socket that fails when it accepts no byte for too long. hyper has no write timeout of its own.
#[derive(Debug)]
pub struct Deadline<T> {
    io: T,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Deadline<T> {
    fn new(io: T, limit: Duration) -> Self {
        Self { io, limit, timer: None }
    }

    /// The socket without its deadline.
    pub fn into_inner(self) -> T {
        self.io
    }

    fn watch<R>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if progress.is_ready() {
            self.timer = None;
            return progress;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + self.limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: Read + Unpin> Read for Deadline<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Deadline<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, written)
    }

    // Without these two, hyper would copy what it has into one buffer.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
