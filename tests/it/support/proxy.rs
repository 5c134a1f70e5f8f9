//! A proxy between somebody and a server, whose faults are switched while connections are open.
//!
//! ```text
//! let proxy = Proxy::to(Upstream::of(&db.url)).await;
//! let bridge = Bridge::with(&proxy.postgres(&db.url), &[]).await;
//! proxy.set(Of::Saying("tidings listener"), Way::Both, Fault::swallow());   // half-open
//! proxy.mend();                                                             // all is well again
//! proxy.cut(Of::All, Cut::Rst);
//! ```
//!
//! Every connection is one task of the proxy's tracker; all end with the proxy.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Of what a client says first, so much is remembered: PostgreSQL's startup message, the head of a request.
const HEAD_MAX: usize = 1024;
/// Read at once, and under a delay held at most so many times: what a network would hold.
const CHUNK: usize = 16 << 10;
const HELD_MAX: usize = 64;

/// Where a proxy leads to.
#[derive(Clone, Debug)]
pub enum Upstream {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Upstream {
    /// The server of a PostgreSQL URL.
    pub fn of(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().unwrap();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        match &config.get_hosts()[0] {
            tokio_postgres::config::Host::Tcp(host) => Self::Tcp(format!("{host}:{port}").parse().unwrap()),
            tokio_postgres::config::Host::Unix(path) => Self::Unix(path.join(format!(".s.PGSQL.{port}"))),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Self::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Which connections, by the first that their client said, such as its `application_name` or a request's path.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    All,
    Saying(&'static str),
    NotSaying(&'static str),
}

impl Of {
    fn includes(self, head: &[u8]) -> bool {
        let says = |text: &str| head.windows(text.len()).any(|part| part == text.as_bytes());
        match self {
            Self::All => true,
            Self::Saying(text) => says(text),
            Self::NotSaying(text) => !says(text),
        }
    }
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
    Both,
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Pass {
    #[default]
    Forward,
    /// Left unread: in time the sender's socket is full.
    Hold,
    /// Read and thrown away, ends of streams as well: the sender notices nothing. What follows is no longer whole.
    Swallow,
}

/// What becomes of one direction of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fault {
    pub pass: Pass,
    pub delay: Duration,
    /// Bytes a second.
    pub rate: Option<u32>,
    /// After so many more bytes the connection is cut.
    pub cut_after: Option<(usize, Cut)>,
}

impl Fault {
    pub fn hold() -> Self {
        Self { pass: Pass::Hold, ..Self::default() }
    }

    pub fn swallow() -> Self {
        Self { pass: Pass::Swallow, ..Self::default() }
    }

    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    pub fn throttle(bytes_per_second: u32) -> Self {
        Self { rate: Some(bytes_per_second), ..Self::default() }
    }

    pub fn cut_after(bytes: usize, how: Cut) -> Self {
        Self { cut_after: Some((bytes, how)), ..Self::default() }
    }
}

/// How a connection ends for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Fin,
    Rst,
}

/// What happens to new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Open,
    /// Nobody listens: connection refused.
    Shut,
    /// Accepted, and nothing is ever said.
    Mute,
}

type Rules = Vec<(Of, Way, Fault)>;

struct Connection {
    head: Mutex<Vec<u8>>,
    cut: watch::Sender<Option<Cut>>,
}

struct Shared {
    upstream: Mutex<Upstream>,
    rules: watch::Sender<Rules>,
    door: watch::Sender<Door>,
    connections: Mutex<Vec<Weak<Connection>>>,
    swallowed: Arc<AtomicUsize>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A running proxy.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

impl Proxy {
    /// On a free port of 127.0.0.1.
    pub async fn to(upstream: Upstream) -> Self {
        // Bound and never listening: keeps the port ours while the door is shut.
        let reserved = bind("127.0.0.1:0".parse().unwrap());
        let address = reserved.local_addr().unwrap();
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            rules: watch::Sender::default(),
            door: watch::Sender::new(Door::Open),
            connections: Mutex::default(),
            swallowed: Arc::default(),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
        });
        let socket = bind(address).listen(1024).unwrap();
        shared.tasks.spawn(stop.clone().run_until_cancelled_owned(accept(shared.clone(), reserved, socket)));
        Self { address, shared, _stop: stop.drop_guard() }
    }

    /// A PostgreSQL URL that leads through here.
    pub fn postgres(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (user, rest) = rest.split_once('@').unwrap();
        format!("{scheme}://{user}@{}/{}", self.address, rest.split_once('/').unwrap().1)
    }

    /// Adds a fault, to open connections and new ones. Where several fit, the newest counts.
    pub fn set(&self, of: Of, way: Way, fault: Fault) {
        self.shared.rules.send_modify(|rules| rules.push((of, way, fault)));
    }

    /// Takes away all faults, and opens the door. What was swallowed stays so: cut what must begin anew.
    pub fn mend(&self) {
        self.shared.rules.send_replace(Vec::new());
        self.door(Door::Open);
    }

    /// Ends open connections.
    pub fn cut(&self, of: Of, how: Cut) {
        for connection in self.connections() {
            if of.includes(&connection.head.lock().unwrap()) {
                connection.cut.send_replace(Some(how));
            }
        }
    }

    /// What happens to new connections from now on.
    pub fn door(&self, door: Door) {
        self.shared.door.send_replace(door);
    }

    /// Where new connections lead from now on.
    pub fn lead_to(&self, upstream: Upstream) {
        *self.shared.upstream.lock().unwrap() = upstream;
    }

    /// How many connections are open, of those that fit.
    pub fn open(&self, of: Of) -> usize {
        self.connections().iter().filter(|connection| of.includes(&connection.head.lock().unwrap())).count()
    }

    /// Bytes that were swallowed so far: tells when a fault has had its effect.
    pub fn swallowed(&self) -> usize {
        self.shared.swallowed.load(Relaxed)
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        let mut connections = self.shared.connections.lock().unwrap();
        connections.retain(|connection| connection.strong_count() > 0);
        connections.iter().filter_map(Weak::upgrade).collect()
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn accept(shared: Arc<Shared>, reserved: TcpSocket, first: TcpListener) {
    let (mut listening, mut door) = (Some(first), shared.door.subscribe());
    loop {
        let accepted = async {
            match &listening {
                Some(socket) => socket.accept().await,
                None => std::future::pending().await,
            }
        };
        // Woken by: the door · a new connection. Both are cancel safe.
        tokio::select! {
            biased;
            _ = door.changed() => {
                let open = *door.borrow_and_update() != Door::Shut;
                if !open {
                    listening = None;
                } else if listening.is_none() {
                    listening = Some(bind(reserved.local_addr().unwrap()).listen(1024).unwrap());
                }
            }
            Ok((client, _)) = accepted => {
                let served = serve(shared.clone(), client);
                shared.tasks.spawn(shared.stop.clone().run_until_cancelled_owned(served));
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, mut client: TcpStream) {
    let connection = Arc::new(Connection { head: Mutex::default(), cut: watch::Sender::new(None) });
    shared.connections.lock().unwrap().push(Arc::downgrade(&connection));
    let mut cut = connection.cut.subscribe();
    let relayed = async {
        if *shared.door.borrow() == Door::Mute {
            std::future::pending::<()>().await;
        }
        let upstream = shared.upstream.lock().unwrap().clone();
        let Ok(mut server) = upstream.connect().await else { return Cut::Rst };
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = tokio::io::split(&mut server);
        let pump = |way| {
            let (rules, swallowed) = (shared.rules.subscribe(), shared.swallowed.clone());
            Pump { way, rules, connection: connection.clone(), passed: 0, swallowed }
        };
        // Woken by: the order to cut, first, so that nothing more passes then · the end of both directions, or a failure of
        // one. A stream that ended one way only is shut down that way.
        tokio::select! {
            biased;
            _ = cut.wait_for(Option::is_some) => connection.cut.borrow().unwrap_or(Cut::Fin),
            how = async {
                let up = pump(Way::ToServer).run(client_read, server_write);
                let down = pump(Way::ToClient).run(server_read, client_write);
                tokio::try_join!(up, down).err().unwrap_or(Cut::Fin)
            } => how,
        }
    };
    if relayed.await == Cut::Rst {
        _ = client.set_zero_linger();
    }
}

/// One direction of one connection.
struct Pump {
    way: Way,
    rules: watch::Receiver<Rules>,
    connection: Arc<Connection>,
    /// Bytes since the rules last changed.
    passed: usize,
    swallowed: Arc<AtomicUsize>,
}

impl Pump {
    fn fault(&self) -> Fault {
        let head = self.connection.head.lock().unwrap();
        let fits = |(of, way, _): &&(Of, Way, Fault)| (*way == self.way || *way == Way::Both) && of.includes(&head);
        self.rules.borrow().iter().rev().find(fits).map_or_else(Fault::default, |rule| rule.2)
    }

    fn listen(&self, bytes: &[u8]) {
        let mut head = self.connection.head.lock().unwrap();
        let more = bytes.len().min(HEAD_MAX - head.len());
        if self.way == Way::ToServer {
            head.extend_from_slice(&bytes[..more]);
        }
    }

    /// Until the end of the stream has been passed on, or the connection is to be cut.
    async fn run(mut self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Result<(), Cut> {
        let (mut held, mut ended) = (VecDeque::<(Instant, Bytes)>::new(), false);
        let mut free_at = Instant::now();
        self.rules.borrow_and_update();
        loop {
            let fault = self.fault();
            let due = held.front().map(|(due, _)| (*due).max(free_at)).filter(|_| fault.pass == Pass::Forward);
            if ended && held.is_empty() && fault.pass == Pass::Forward {
                _ = to.shutdown().await;
                return Ok(());
            }
            let mut buffer = BytesMut::with_capacity(CHUNK);
            let reads = !ended && held.len() < HELD_MAX && fault.pass != Pass::Hold;
            // Woken by: other rules · time to write · bytes, where they are wanted. All are cancel safe.
            tokio::select! {
                biased;
                changed = self.rules.changed() => {
                    self.passed = 0;
                    changed.map_err(|_| Cut::Fin)?;
                }
                () = sleep_until(due.unwrap_or(free_at)), if due.is_some() => {
                    let Some((_, bytes)) = held.front_mut() else { continue };
                    let most = fault.rate.map_or(usize::MAX, |rate| (rate as usize / 20).max(1));
                    let quota = fault.cut_after.map_or(usize::MAX, |(quota, _)| quota.saturating_sub(self.passed));
                    let part = bytes.split_to(bytes.len().min(most).min(quota));
                    if bytes.is_empty() {
                        held.pop_front();
                    }
                    to.write_all(&part).await.map_err(|_| Cut::Rst)?;
                    self.passed += part.len();
                    if let Some(rate) = fault.rate {
                        free_at = Instant::now() + Duration::from_secs_f64(part.len() as f64 / f64::from(rate));
                    }
                    if let Some((quota, how)) = fault.cut_after && self.passed >= quota {
                        return Err(how);
                    }
                }
                read = from.read_buf(&mut buffer), if reads => {
                    let count = read.map_err(|_| Cut::Rst)?;
                    self.listen(&buffer);
                    // Whoever says first what a rule is about is subject to it from then on.
                    match self.fault().pass {
                        _ if count == 0 => ended = true,
                        Pass::Swallow => _ = self.swallowed.fetch_add(count, Relaxed),
                        Pass::Forward | Pass::Hold => held.push_back((Instant::now() + fault.delay, buffer.freeze())),
                    }
                }
            }
        }
    }
}

/// How this proxy is tested: by an echo behind it.
#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                TaskTracker::new().spawn(async move {
                    let (mut read, mut write) = stream.into_split();
                    _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn says(stream: &mut TcpStream, text: &str) -> String {
        stream.write_all(text.as_bytes()).await.unwrap();
        hears(stream, text.len()).await
    }

    async fn hears(stream: &mut TcpStream, bytes: usize) -> String {
        let mut heard = vec![0; bytes];
        stream.read_exact(&mut heard).await.unwrap();
        String::from_utf8(heard).unwrap()
    }

    async fn end(stream: &mut TcpStream) -> io::Result<usize> {
        stream.read(&mut [0; 1]).await
    }

    #[tokio::test]
    async fn a_proxy_does_to_each_direction_what_it_is_told() {
        let proxy = Proxy::to(Upstream::Tcp(echo().await)).await;
        let (mut ann, mut gus) =
            (TcpStream::connect(proxy.address).await.unwrap(), TcpStream::connect(proxy.address).await.unwrap());
        assert_eq!((says(&mut ann, "ann").await, says(&mut gus, "gus").await), ("ann".into(), "gus".into()));

        // Held: what was said meanwhile arrives later. Only hers.
        for way in [Way::ToServer, Way::ToClient, Way::Both] {
            proxy.set(Of::Saying("ann"), way, Fault::hold());
            ann.write_all(b"held").await.unwrap();
            assert_eq!(says(&mut gus, "other").await, "other");
            assert!(ann.try_read(&mut [0; 1]).is_err(), "{way:?}");
            proxy.mend();
            assert_eq!(hears(&mut ann, 4).await, "held");
        }

        // Swallowed: it never arrives.
        proxy.set(Of::NotSaying("gus"), Way::ToServer, Fault::swallow());
        ann.write_all(b"lost").await.unwrap();
        assert_eq!(says(&mut gus, "sentinel").await, "sentinel");
        super::super::eventually("it is swallowed", || async { proxy.swallowed() == 4 }).await;
        proxy.mend();
        assert_eq!(says(&mut ann, "here").await, "here");

        // Slowly, and late, but whole.
        proxy.set(Of::All, Way::ToClient, Fault::throttle(200));
        let begun = Instant::now();
        assert_eq!(says(&mut gus, &"x".repeat(100)).await, "x".repeat(100));
        assert!(begun.elapsed() > Duration::from_millis(300));
        proxy.set(Of::All, Way::ToClient, Fault::delay(Duration::from_millis(200)));
        let begun = Instant::now();
        assert_eq!(says(&mut gus, "late").await, "late");
        assert!(begun.elapsed() >= Duration::from_millis(200));

        // Cut after so many bytes.
        proxy.set(Of::All, Way::ToClient, Fault::cut_after(3, Cut::Fin));
        gus.write_all(b"abcdef").await.unwrap();
        assert_eq!(hears(&mut gus, 3).await, "abc");
        assert_eq!(end(&mut gus).await.unwrap(), 0);
        proxy.mend();
        proxy.cut(Of::All, Cut::Rst);
        assert_eq!(end(&mut ann).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_proxy_does_to_new_connections_what_it_is_told() {
        let proxy = Proxy::to(Upstream::Tcp(echo().await)).await;
        let mut old = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(says(&mut old, "old").await, "old");
        proxy.door(Door::Shut);
        super::super::eventually("it is refused", || async {
            TcpStream::connect(proxy.address).await.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
        })
        .await;
        assert_eq!(says(&mut old, "goes on").await, "goes on");
        proxy.door(Door::Mute);
        super::super::eventually("it is accepted", || async { TcpStream::connect(proxy.address).await.is_ok() }).await;
        let mut mute = TcpStream::connect(proxy.address).await.unwrap();
        mute.write_all(b"hello?").await.unwrap();
        assert_eq!(says(&mut old, "sentinel").await, "sentinel");
        assert!(mute.try_read(&mut [0; 1]).is_err());
        proxy.mend();
        proxy.lead_to(Upstream::Tcp(echo().await));
        let mut new = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(says(&mut new, "new").await, "new");
        proxy.cut(Of::Saying("old"), Cut::Fin);
        assert_eq!(end(&mut old).await.unwrap(), 0);
        assert_eq!(says(&mut new, "still").await, "still");
        assert_eq!(proxy.open(Of::Saying("old")), 0);
    }
}
