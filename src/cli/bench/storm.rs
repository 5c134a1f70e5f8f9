//! Clients of one tenant that cost the server what they can: they come back again and again with an old cursor, or resume
//! and do not read.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Clients that reconnect, each as soon as it has read a little.
const RECONNECTING: usize = 100;
/// Clients that never read.
const STOPPED: usize = 50;
/// What one reads before it leaves: a part of what it asked for.
const READ_BYTES: usize = 64 << 10;
/// What one that waits for its turn waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// One that is refused comes again after about this, as clients on many machines do: ten times sooner than it is told to.
const REFUSED_FOR: Duration = Duration::from_millis(100);
/// One that does not read is closed by then, and comes again.
const STOPPED_FOR: Duration = Duration::from_secs(15);

/// A tenant's badly behaved clients.
#[derive(Debug)]
pub struct Storm {
    address: SocketAddr,
    request: String,
}

impl Storm {
    /// Of this tenant, from this cursor on.
    pub fn new(address: SocketAddr, tenant: &str, token: &str, cursor: &str) -> Self {
        let request = format!(
            "GET /v1/tenants/{tenant}/events HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             accept: text/event-stream\r\nlast-event-id: {cursor}\r\n\r\n"
        );
        Self { address, request }
    }

    /// Begins it, until the guard is dropped. On a thread of its own: those who are measured do not queue behind these clients here.
    ///
    /// # Errors
    /// When the system refuses what a runtime needs.
    pub fn begin(self) -> std::io::Result<DropGuard> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        std::thread::spawn(move || runtime.block_on(stopped.run_until_cancelled(self.run())));
        Ok(stop.drop_guard())
    }

    /// For ever.
    async fn run(&self) -> Infallible {
        let coming = join_all((0..RECONNECTING).map(|_| self.come_and_go()));
        let stopped = join_all((0..STOPPED).map(|_| self.stand_still()));
        tokio::join!(coming, stopped);
        std::future::pending().await
    }

    async fn come_and_go(&self) {
        loop {
            let visit = async {
                let mut socket = self.ask().await?;
                let (mut buffer, mut read) = (vec![0; 16 << 10], 0);
                while read < READ_BYTES {
                    match socket.read(&mut buffer).await? {
                        0 => break,
                        bytes => read += bytes,
                    }
                }
                std::io::Result::Ok(read >= READ_BYTES)
            };
            // However it ends, it comes again; not at once where it is refused, as what refusals cost is not asked here.
            if !matches!(timeout(PATIENCE, visit).await, Ok(Ok(true))) {
                sleep(REFUSED_FOR.mul_f64(rand::random_range(0.5..1.5))).await;
            }
        }
    }

    async fn stand_still(&self) {
        loop {
            let socket = self.ask().await;
            sleep(STOPPED_FOR).await;
            drop(socket);
        }
    }

    async fn ask(&self) -> std::io::Result<TcpStream> {
        let mut socket = TcpStream::connect(self.address).await?;
        socket.write_all(self.request.as_bytes()).await?;
        Ok(socket)
    }
}
