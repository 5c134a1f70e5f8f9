//! What the driver reads and writes: a socket, encrypted or not, and watched.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use super::address::Host;
use super::channel_binding;
use super::error::Why;
use super::socket::Socket;
use super::tls::{self, Encrypt, Tls};
use super::watch::Watch;

/// The request for TLS, before anything else: its length, and a number that is no version of the protocol.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A stream to PostgreSQL.
pub struct Wire {
    stream: Stream,
    watch: Watch,
}

enum Stream {
    Plain(Socket),
    Encrypted(Box<tokio_rustls::client::TlsStream<Socket>>),
}

/// A stream before its first message.
pub(super) struct Negotiated {
    pub(super) wire: Wire,
    /// The backend's number, once it was named.
    pub(super) greeted: Arc<AtomicI32>,
}

/// Encrypts, or finds out that the server does not.
pub(super) async fn negotiate(
    mut socket: Socket,
    tls: &Tls,
    way: Encrypt,
    host: &Host,
    silence: Option<Duration>,
) -> Result<Negotiated, Why> {
    let encrypted = match way {
        Encrypt::Never => false,
        _ if tls.direct => true,
        _ => offers(&mut socket).await?,
    };
    let stream = match (encrypted, way) {
        (true, _) => {
            let config = tls.client()?;
            let name = tls::server_name(&host.name)?;
            let connector = TlsConnector::from(Arc::new(config));
            let stream = connector.connect(name, socket).await.map_err(Why::handshake)?;
            Stream::Encrypted(Box::new(stream))
        }
        (false, Encrypt::Always) => return Err(Why::NoTls),
        (false, _) => Stream::Plain(socket),
    };
    let watch = Watch::new(silence);
    let greeted = watch.greeted();
    Ok(Negotiated { wire: Wire { stream, watch }, greeted })
}

/// Asks whether the server encrypts. Exactly one byte is read: more would be somebody else's words in front of the TLS.
async fn offers(socket: &mut Socket) -> Result<bool, Why> {
    socket.write_all(&SSL_REQUEST).await.map_err(Why::Broken)?;
    match socket.read_u8().await.map_err(Why::Broken)? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        _ => Err(Why::NotPostgres),
    }
}

impl Wire {
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Encrypted(_))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, watch } = self.get_mut();
        if watch.is_over() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = match stream {
            Stream::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Encrypted(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        };
        match read {
            Poll::Ready(done) => {
                watch.read(&buf.filled()[before..]);
                Poll::Ready(done)
            }
            Poll::Pending => match watch.poll_silent(cx) {
                Ok(()) => Poll::Pending,
                Err(silent) => Poll::Ready(Err(silent)),
            },
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, watch } = self.get_mut();
        let written = match stream {
            Stream::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Stream::Encrypted(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        };
        if let Poll::Ready(Ok(count)) = written {
            watch.written(&bytes[..count]);
        }
        // The driver reads before it writes: the alarm has to be set here for what has just been asked.
        match watch.poll_silent(cx) {
            Ok(()) => written,
            Err(silent) => Poll::Ready(Err(silent)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Encrypted(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Encrypted(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        let Stream::Encrypted(stream) = &self.stream else { return ChannelBinding::none() };
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        certificate
            .and_then(|certificate| channel_binding::tls_server_end_point(certificate))
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

/// Gives the driver a stream that is encrypted already, when it believes that it encrypts it now.
pub(super) struct Handed;

impl TlsConnect<Wire> for Handed {
    type Stream = Wire;
    type Error = io::Error;
    type Future = Ready<Result<Wire, io::Error>>;

    fn connect(self, wire: Wire) -> Self::Future {
        ready(Ok(wire))
    }
}
