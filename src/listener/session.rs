//! A connection on which LISTEN holds, and what was heard on it and not dispatched yet.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket};

use super::ListenError;

/// Notifications that may wait for a read of the log, in bytes. Beyond, they are dropped and read from the log themselves.
const HEARD_BYTES_MAX: usize = 16 << 20;

/// A connection on which LISTEN holds.
pub struct Session {
    // Dropping the client would end the connection.
    _client: Arc<Client>,
    connection: Connection<Socket, NoTlsStream>,
    /// Backend that listens.
    pub(super) pid: i32,
    heard: VecDeque<String>,
    heard_bytes: usize,
    overflowed: bool,
}

impl Session {
    pub(super) async fn open(config: &tokio_postgres::Config) -> Result<Self, ListenError> {
        let (client, connection) = config.connect(NoTls).await?;
        let client = Arc::new(client);
        let (heard, heard_bytes, overflowed) = (VecDeque::new(), 0, false);
        let mut session = Self { _client: client.clone(), connection, pid: 0, heard, heard_bytes, overflowed };
        let listen = async move {
            client.batch_execute("set idle_session_timeout = 0; set statement_timeout = 0").await?;
            // A database that was copied gets a channel of its own here, before it is listened to.
            client.batch_execute("select tidings._enrol()").await?;
            client.batch_execute("select tidings._listen()").await?;
            // The last statement is what monitoring shows of an idle session: not the one that named the channel.
            client.query_one("select exists (select from pg_listening_channels()), pg_backend_pid()", &[]).await
        };
        let listening = session.drive(listen).await??;
        if !listening.get::<_, bool>(0) {
            return Err(ListenError::Pooler);
        }
        session.pid = listening.get(1);
        Ok(session)
    }

    /// Reads the connection while something else is awaited.
    pub(super) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> Result<T, ListenError> {
        let mut work = pin!(work);
        loop {
            // Woken by: a message · the work. Both are cancel safe.
            tokio::select! {
                payload = self.hear() => self.keep(payload?),
                done = &mut work => return Ok(done),
            }
        }
    }

    /// The next message; `None` for one that is no notification. Cancel safe.
    pub(super) async fn hear(&mut self) -> Result<Option<String>, ListenError> {
        poll_fn(|cx| self.poll_hear(cx)).await
    }

    /// As [`Self::hear`], without waiting. The caller must not sleep before it has awaited `hear`.
    pub(super) fn hear_now(&mut self) -> Poll<Result<Option<String>, ListenError>> {
        self.poll_hear(&mut Context::from_waker(Waker::noop()))
    }

    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<String>, ListenError>> {
        self.connection.poll_message(cx).map(|message| match message {
            Some(Ok(AsyncMessage::Notification(notification))) => Ok(Some(notification.payload().to_owned())),
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(error.into()),
            None => Err(ListenError::Closed),
        })
    }

    /// Keeps a payload for later, or drops all that waits when it has become too much.
    pub(super) fn keep(&mut self, payload: Option<String>) {
        let Some(payload) = payload else { return };
        self.heard_bytes += payload.len();
        self.heard.push_back(payload);
        if self.heard_bytes > HEARD_BYTES_MAX {
            self.heard.clear();
            self.heard_bytes = 0;
            self.overflowed = true;
        }
    }

    /// The oldest payload that waits.
    pub(super) fn next(&mut self) -> Option<String> {
        let payload = self.heard.pop_front()?;
        self.heard_bytes -= payload.len();
        Some(payload)
    }

    /// Whether payloads were dropped since this was last asked.
    pub(super) fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }
}
