//! The socket below HTTP: clear text or TLS, with a deadline on writing. hyper has no write timeout of its own.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use crate::http::tls::HTTP2;

/// What a client is connected by.
pub enum Socket {
    /// As it is.
    Clear(Deadline<TcpStream>),
    /// The deadline is below TLS, where bytes leave. Boxed, so that clear connections hold no room for it.
    Tls(Box<TlsStream<Deadline<TcpStream>>>),
}

impl Socket {
    /// Whether the client chose HTTP/2.
    pub fn speaks_http2(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(HTTP2))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    // Without these two, whoever writes would copy what it has into one buffer.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

/// What a socket that is full has to accept within `limits.slow_after`, or it is closed: a client that reads a byte now and
/// then makes progress, and would hold what is written for it for ever. Half a kilobyte a second.
const ENOUGH_BYTES: usize = 16 << 10;

/// A socket that fails when it accepts no byte for too long, or too few.
#[derive(Debug)]
pub struct Deadline<T> {
    io: T,
    /// For a byte.
    limit: Duration,
    /// For [`ENOUGH_BYTES`].
    slow_after: Duration,
    /// Since when the socket has been full, and what it has accepted since.
    full: Option<(Instant, usize)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Deadline<T> {
    /// Fails when no byte is taken for `limit`, or too few while it is full for `slow_after`.
    pub fn new(io: T, limit: Duration, slow_after: Duration) -> Self {
        Self { io, limit, slow_after, full: None, timer: None }
    }

    fn watch(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = progress {
            self.timer = None;
            let more = *written.as_ref().unwrap_or(&0);
            self.full =
                self.full.map(|(since, taken)| (since, taken + more)).filter(|(_, taken)| *taken < ENOUGH_BYTES);
            return Poll::Ready(written);
        }
        let now = Instant::now();
        let (since, _) = *self.full.get_or_insert((now, 0));
        let due = (now + self.limit).min(since + self.slow_after);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Deadline<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Deadline<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Of a TCP socket at once: it says nothing about progress.
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
