//! Our own accept loop around warp's routes: HTTP/1.1, and HTTP/2 where TLS agreed on it.
//!
//! Why not `warp::serve`: it sets no TCP_NODELAY, no timer (so half a request stays open for ever), no limits, and its
//! graceful shutdown waits for ever for a stream. Here each connection has a first-request deadline, a write deadline,
//! a slot, and an owner that can end it.
//!
//! Why not hyper-util's `auto`: browsers speak HTTP/2 over TLS only, and its detection waits for ever for half a preface. With
//! TLS the handshake says which it is, before the first byte.
//!
//! Parts: `socket` is what is below HTTP, `streams` what HTTP/2 has several of.

mod socket;
mod streams;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use self::socket::Deadline;
pub use self::socket::Socket;
use self::streams::Streams;
use super::State;
use super::address::Sockets;
use super::front::Front;
use super::head::HEAD_BYTES_MAX;
use super::tls::Tls;

/// Header fields that are read. [`super::head`] refuses more than 64 of them with a word; beyond this hyper does, without.
const HEADERS_READ: usize = 96;
/// What hyper reads before it gives up a head, likewise above what `head` refuses.
const HEAD_BYTES_READ: usize = HEAD_BYTES_MAX + (16 << 10);
/// Sockets beside those of streams, so that whoever is over the limit can still be told so.
pub const SPARE: usize = 64;
/// Requests of one connection at the same time. RFC 9113 advises no fewer; browsers with more tabs than that wait, or open another.
const STREAMS: u32 = 100;
/// Streams that a client opened and reset before they were looked at (CVE-2023-44487), and ones that we reset for its mistakes:
/// with more, the connection is closed. Browsers come nowhere near.
const RESETS: usize = 20;
const MISTAKES: usize = 100;
/// What a client may send of bodies that nobody has read, of one stream and of all of a connection. An upload over 100 ms of
/// latency still has 1.3 MB/s.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// Of one stream, in memory behind its window: a piece of `streams` and the next.
const SEND_BYTES_MAX: usize = 32 << 10;
/// A lack of file descriptors is told so often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Deadlines and limits of sockets.
#[derive(Clone)]
pub struct SocketSettings {
    /// For a handshake, for the first request's head, and between requests.
    pub header_timeout: Duration,
    /// A socket or stream that takes no byte for so long is closed.
    pub write_timeout: Duration,
    /// A place for each socket that may be open at once.
    pub slots: Arc<Semaphore>,
    /// And for those of one address.
    pub places: Arc<Sockets>,
}

/// What a connection's task tells the routes about it.
#[derive(Clone, Debug, Default)]
pub struct Conn {
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// Whether it is TLS that ends here.
    pub secure: bool,
}

/// The socket as hyper sees it, and as an upgraded connection gets it back.
pub type Io = TokioIo<Socket>;

/// What connections are served with.
pub struct Server {
    state: Arc<State>,
    routes: BoxedFilter<(Response,)>,
    settings: SocketSettings,
    tls: Option<Arc<Tls>>,
    http1: http1::Builder,
    tasks: TaskTracker,
    /// Nothing is accepted any more, and connections are to end when they have answered.
    stop: CancellationToken,
}

impl Server {
    /// Serves the routes of `state`, to the drain; in clear text where there is no certificate.
    pub fn new(state: Arc<State>, settings: SocketSettings, tls: Option<Arc<Tls>>) -> Self {
        let (routes, tasks, stop) = (super::filter(state.clone()), state.tasks.clone(), state.drain.clone());
        Self::serving(routes, state, settings, tls, tasks, stop)
    }

    /// Serves what operators ask, to the very end, and as nothing that the drain waits for.
    pub fn for_operators(state: Arc<State>, settings: SocketSettings, tasks: TaskTracker) -> Self {
        let (routes, stop) = (super::operators_filter(state.clone()), state.kill.clone());
        Self::serving(routes, state, settings, None, tasks, stop)
    }

    fn serving(
        routes: BoxedFilter<(Response,)>,
        state: Arc<State>,
        settings: SocketSettings,
        tls: Option<Arc<Tls>>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        // The timer also bounds the time from accept to the first head.
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_buf_size(HEAD_BYTES_READ)
            .max_headers(HEADERS_READ);
        Self { state, routes, settings, tls, http1, tasks, stop }
    }

    /// Accepts until it is to stop; connections go on as tasks until they are killed.
    pub async fn accept(self, listener: TcpListener) {
        let server = Arc::new(self);
        let mut told: Option<Instant> = None;
        while let Some(permit) = server.stop.run_until_cancelled(server.settings.slots.clone().acquire_owned()).await {
            let Some(accepted) = server.stop.run_until_cancelled(listener.accept()).await else { return };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or the client was gone already. The former ends with the next connection that
                    // does, and until then the clients wait in the kernel's queue.
                    server.state.metrics.accept_failures.inc();
                    if told.is_none_or(|told| told.elapsed() > TELL_EVERY) {
                        tracing::warn!(%error, "a connection could not be accepted");
                        told = Some(Instant::now());
                    }
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            // Closed without a word: what would write one has a deadline and costs a task.
            let Some(seat) = server.settings.places.enter(peer.ip()) else { continue };
            prepare(&tcp);
            let serving = server.clone();
            server.tasks.spawn(async move {
                let _slot = (permit, seat);
                serving.serve(tcp, peer).await;
            });
        }
    }

    /// One connection, to its end.
    async fn serve(&self, tcp: TcpStream, peer: SocketAddr) {
        let tcp = Deadline::new(tcp, self.settings.write_timeout, self.settings.places.slow_after());
        let socket = match &self.tls {
            None => Socket::Clear(tcp),
            Some(tls) => {
                // Boxed, so that the task of a clear connection is no larger for it.
                let handshake = Box::pin(timeout(self.settings.header_timeout, tls.handshake(tcp)));
                match self.stop.run_until_cancelled(handshake).await {
                    Some(Ok(Ok(socket))) => Socket::Tls(Box::new(socket)),
                    Some(_) => {
                        self.state.metrics.handshakes_failed.inc();
                        return;
                    }
                    None => return,
                }
            }
        };
        let conn = Conn { peer: Some(peer), secure: self.tls.is_some() };
        let front = Front::new(warp::service(self.routes.clone()), conn, self.state.clone());
        let served = if socket.speaks_http2() {
            Box::pin(self.http2(socket, front)).await
        } else {
            self.http1(socket, front).await
        };
        if let Err(error) = served {
            let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<io::Error>());
            if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) {
                self.settings.places.slow();
            }
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn http1<S>(&self, socket: Socket, front: Front<S>) -> hyper::Result<()>
    where
        Front<S>: Routes,
    {
        let service = TowerToHyperService::new(front);
        let mut connection = pin!(self.http1.serve_connection(TokioIo::new(socket), service).with_upgrades());
        // Told to stop, it answers what it is answering and closes; told to end, it is dropped, which closes it too.
        match self.stop.run_until_cancelled(connection.as_mut()).await {
            Some(served) => served,
            None => {
                connection.as_mut().graceful_shutdown();
                self.state.kill.run_until_cancelled(connection).await.unwrap_or(Ok(()))
            }
        }
    }

    async fn http2<S>(&self, socket: Socket, front: Front<S>) -> hyper::Result<()>
    where
        Front<S>: Routes,
    {
        let State { kill, metrics, .. } = &*self.state;
        let streams =
            Streams::new(front, self.settings.write_timeout, self.tasks.clone(), kill.clone(), metrics.clone());
        let mut builder = http2::Builder::new(streams.clone());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(MISTAKES)
            // Also what bounds a head in CONTINUATION frames, and how many of those there may be.
            .max_header_list_size(HEAD_BYTES_READ as u32)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BYTES_MAX)
            // By default as often as TCP asks. It answers for its kernel only, a ping for the client.
            .keep_alive_interval(2 * self.settings.write_timeout)
            .keep_alive_timeout(self.settings.write_timeout);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), streams.clone()));
        let idle = self.settings.header_timeout;
        // Woken by: the end of the connection · the drain · nothing having been asked for a while, half a preface included.
        tokio::select! {
            served = connection.as_mut() => return served,
            () = self.stop.cancelled() => {}
            () = streams.idle(idle) => {}
        }
        connection.as_mut().graceful_shutdown();
        // Woken by: the end of the connection, when its last stream has ended · the end of the drain's time · a client that was
        // told to go and only keeps the connection open.
        tokio::select! {
            served = connection => served,
            () = kill.cancelled() => Ok(()),
            () = streams.idle(idle) => Ok(()),
        }
    }
}

/// What hyper wants of the service around the routes, said once.
trait Routes:
    tower_service::Service<
        warp::http::Request<hyper::body::Incoming>,
        Response = Response,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S> Routes for S where
    S: tower_service::Service<
            warp::http::Request<hyper::body::Incoming>,
            Response = Response,
            Error = std::convert::Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// What the system keeps of one socket before it is sent: one piece of a ring.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 << 10;

fn prepare(tcp: &TcpStream) {
    let socket = socket2::SockRef::from(tcp);
    let keepalive =
        socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    // Each only improves how soon a dead peer is noticed; a socket that refuses them still works.
    let set = [tcp.set_nodelay(true), socket.set_tcp_keepalive(&keepalive)];
    #[cfg(target_os = "linux")]
    let set = set.into_iter().chain([
        socket.set_tcp_user_timeout(Some(Duration::from_secs(30))),
        // Or the system would take megabytes for a client that does not read, and notice it that much later.
        socket.set_tcp_notsent_lowat(UNSENT_BYTES),
    ]);
    for error in set.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "a socket option was refused");
    }
}
