//! A connection on which LISTEN holds, on our channel and on the plain ones, and what was heard and not dispatched yet.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio_postgres::{AsyncMessage, Client};

use super::ListenError;
use crate::decode::plain::Channel;
use crate::metrics::Metrics;
use crate::postgres::Connection;

/// Notifications that may wait for a read of the log, in bytes. Beyond, they are dropped, and ours read from the log
/// themselves.
const HEARD_BYTES_MAX: usize = 16 << 20;

/// A notification.
pub(super) struct Heard {
    /// The plain channel that it came on; none: ours.
    pub(super) channel: Option<Arc<Channel>>,
    pub(super) payload: String,
}

/// A connection on which LISTEN holds.
pub struct Session {
    // Dropping the client would end the connection.
    _client: Arc<Client>,
    connection: Connection,
    /// Backend that listens.
    pub(super) pid: i32,
    channels: Arc<[Arc<Channel>]>,
    heard: VecDeque<Heard>,
    heard_bytes: usize,
    overflowed: bool,
    metrics: Arc<Metrics>,
}

impl Session {
    pub(super) async fn open(
        (client, connection): (Client, Connection),
        channels: Arc<[Arc<Channel>]>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ListenError> {
        let client = Arc::new(client);
        let mut listens = String::from("select tidings._listen()");
        for channel in channels.iter() {
            listens.push_str(&format!("; listen {}", quoted(&channel.name)));
        }
        let (heard, heard_bytes, overflowed) = (VecDeque::new(), 0, false);
        let mut session =
            Self { _client: client.clone(), connection, pid: 0, channels, heard, heard_bytes, overflowed, metrics };
        let listen = async move {
            client.batch_execute("set idle_session_timeout = 0; set statement_timeout = 0").await?;
            // A database that was copied gets a channel of its own here, before it is listened to.
            client.batch_execute("select tidings._enrol()").await?;
            client.batch_execute(&listens).await?;
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
                heard = self.hear() => self.keep(heard?),
                done = &mut work => return Ok(done),
            }
        }
    }

    /// The next message; `None` for one that is no notification. Cancel safe.
    pub(super) async fn hear(&mut self) -> Result<Option<Heard>, ListenError> {
        poll_fn(|cx| self.poll_hear(cx)).await
    }

    /// As [`Self::hear`], without waiting. The caller must not sleep before it has awaited `hear`.
    pub(super) fn hear_now(&mut self) -> Poll<Result<Option<Heard>, ListenError>> {
        self.poll_hear(&mut Context::from_waker(Waker::noop()))
    }

    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Heard>, ListenError>> {
        self.connection.poll_message(cx).map(|message| match message {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                let channel = self.channels.iter().find(|channel| channel.name == notification.channel()).cloned();
                Ok(Some(Heard { channel, payload: notification.payload().to_owned() }))
            }
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(error.into()),
            None => Err(ListenError::Closed),
        })
    }

    /// Keeps a notification for later, or drops all that wait when they have become too much.
    pub(super) fn keep(&mut self, heard: Option<Heard>) {
        let Some(heard) = heard else { return };
        self.heard_bytes += heard.bytes();
        self.heard.push_back(heard);
        if self.heard_bytes > HEARD_BYTES_MAX {
            self.forget();
            self.overflowed = true;
        }
        self.metrics.waiting.set(self.heard.len() as i64);
    }

    /// Drops what waits. What came on a plain channel is then lost: no log has it.
    fn forget(&mut self) {
        let lost = self.heard.iter().filter(|heard| heard.channel.is_some()).count() as u64;
        if lost > 0 {
            self.metrics.channels_lost.inc_by(lost);
            tracing::warn!(lost, "notifications of plain channels were lost while they waited for a read of the log");
        }
        self.heard.clear();
        self.heard_bytes = 0;
        self.metrics.waiting.set(0);
    }

    /// The oldest notification that waits.
    pub(super) fn next(&mut self) -> Option<Heard> {
        let heard = self.heard.pop_front()?;
        self.heard_bytes -= heard.bytes();
        self.metrics.waiting.set(self.heard.len() as i64);
        Some(heard)
    }

    /// Whether notifications were dropped since this was last asked.
    pub(super) fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }
}

impl Drop for Session {
    /// With the connection goes what was heard on it and still waits.
    fn drop(&mut self) {
        self.forget();
    }
}

impl Heard {
    /// Memory that it holds while it waits.
    fn bytes(&self) -> usize {
        self.payload.len() + size_of::<Self>()
    }
}

/// An identifier as SQL wants it; unquoted it would be folded to lower case.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
