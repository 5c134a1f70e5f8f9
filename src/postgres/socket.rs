//! Sockets, set so that the kernel notices a peer that is gone.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Silence after which the kernel asks whether the peer is still there …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// … again after this …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// … and so many times: a peer without a trace is given up after 25 s.
const KEEPALIVE_RETRIES: u32 = 3;
/// What was sent must be acknowledged within this.
const USER_TIMEOUT: Duration = Duration::from_secs(15);
/// What the driver takes for an interval that nobody set.
const DRIVERS_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// Where to connect to.
pub(super) enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A connected socket.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Target {
    /// Connects; what the connection string says about keepalives wins.
    pub(super) async fn connect(&self, asked: &tokio_postgres::Config) -> io::Result<Socket> {
        let address = match self {
            Self::Unix(path) => return UnixStream::connect(path).await.map(Socket::Unix),
            Self::Tcp(address) => address,
        };
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        if asked.get_keepalives() {
            let idle = Some(asked.get_keepalives_idle()).filter(|idle| *idle != DRIVERS_IDLE);
            let keepalive = TcpKeepalive::new()
                .with_time(idle.unwrap_or(KEEPALIVE_IDLE))
                .with_interval(asked.get_keepalives_interval().unwrap_or(KEEPALIVE_INTERVAL))
                .with_retries(asked.get_keepalives_retries().unwrap_or(KEEPALIVE_RETRIES));
            socket.set_tcp_keepalive(&keepalive)?;
        }
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(asked.get_tcp_user_timeout().copied().unwrap_or(USER_TIMEOUT)))?;
        Ok(Socket::Tcp(stream))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
