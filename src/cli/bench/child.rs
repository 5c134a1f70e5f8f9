//! The processes that are measured: a tidings server, or the bare relay, each alone in a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::BenchError;
use crate::auth::{Role, TokenRequest, VerifierConfig};
use crate::process;

/// A child is ready within a second; on a busy machine it may take longer.
const READY_DEADLINE: Duration = Duration::from_secs(20);
/// How often we ask whether it is ready, and how long an answer may take.
const READY_POLL: Duration = Duration::from_millis(20);
/// What does not go by itself within this is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// More connections than any bench opens.
const CONNECTIONS_MAX: &str = "1000000";
/// Tokens outlive every bench.
const TOKEN_TTL: Duration = Duration::from_secs(86_400);

/// How many streams and sockets one user may ask for in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// Any number: all subscribers of a tenant are one user.
    Lifted,
    /// As many as the server lets them.
    Limited,
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Measured {
    name: &'static str,
    child: Child,
    pid: u32,
    /// Where it listens.
    pub address: SocketAddr,
    auth: VerifierConfig,
}

impl Measured {
    /// Starts `tidings serve` and waits until `/readyz` says so. Other settings come from the environment, so that a
    /// bench can compare them: `TIDINGS__RING__EVENTS_MAX=1024 tidings bench`.
    ///
    /// # Errors
    /// When it does not start, ends, or is not ready in time.
    pub async fn server(database: &str, opens: Opens) -> Result<Self, BenchError> {
        let address = free_address().await?;
        let secret = format!("{:032x}", rand::random::<u128>());
        let mut command = this_program()?;
        command
            .arg("serve")
            .env("TIDINGS__DATABASE__URL", database)
            .env("TIDINGS__HTTP__LISTEN", address.to_string())
            .env("TIDINGS__AUTH__SECRET", &secret)
            .env("TIDINGS__LIMITS__CONNECTIONS", CONNECTIONS_MAX)
            .env("TIDINGS__LIMITS__CONNECTIONS_PER_TENANT", CONNECTIONS_MAX)
            .env("TIDINGS__LIMITS__CONNECTIONS_PER_USER", CONNECTIONS_MAX)
            .env("TIDINGS__LIMITS__CONNECTIONS_PER_ADDRESS", CONNECTIONS_MAX)
            .env("TIDINGS__SHUTDOWN__DRAIN", "0s")
            .env_remove("TIDINGS__DATABASE__URL_FILE")
            .env_remove("TIDINGS__AUTH__SECRET_FILE");
        if opens == Opens::Lifted {
            command.env("TIDINGS__LIMITS__OPENS_PER_USER", CONNECTIONS_MAX);
        }
        if std::env::var_os("TIDINGS__TRACING__FILTER").is_none() {
            command.env("TIDINGS__TRACING__FILTER", "warn");
        }
        let auth = VerifierConfig { secret: Some(secret), ..VerifierConfig::default() };
        let mut server = Self::spawn("tidings serve", command, address, auth)?;
        server.until_ready(ready_by_http).await?;
        Ok(server)
    }

    /// Starts the bare relay and waits until it accepts connections.
    ///
    /// # Errors
    /// As [`Measured::server`].
    pub async fn relay(database: &str) -> Result<Self, BenchError> {
        let address = free_address().await?;
        let mut command = this_program()?;
        command.arg("bench").arg("--relay").arg(address.to_string()).env("DATABASE_URL", database);
        let mut relay = Self::spawn("the bare relay", command, address, VerifierConfig::default())?;
        relay.until_ready(async |address| TcpStream::connect(address).await.is_ok()).await?;
        Ok(relay)
    }

    fn spawn(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        auth: VerifierConfig,
    ) -> Result<Self, BenchError> {
        // A group of its own: ctrl-c in a terminal is for us, and we end the children in order.
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(BenchError::io("start a child process"))?;
        let pid = child.id().ok_or(BenchError::ChildEnded { name })?;
        Ok(Self { name, child, pid, address, auth })
    }

    async fn until_ready(&mut self, ready: impl AsyncFn(SocketAddr) -> bool) -> Result<(), BenchError> {
        let deadline = Instant::now() + READY_DEADLINE;
        while !ready(self.address).await {
            if self.child.try_wait().map_err(BenchError::io("wait for a child process"))?.is_some() {
                return Err(BenchError::ChildEnded { name: self.name });
            } else if Instant::now() > deadline {
                return Err(BenchError::NotReady { name: self.name, seconds: READY_DEADLINE.as_secs() });
            }
            sleep(READY_POLL).await;
        }
        Ok(())
    }

    /// A token for a user of one tenant; empty for the relay, which asks for none.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, tenant: &str, user: &str) -> Result<String, BenchError> {
        if self.auth.secret.is_none() {
            return Ok(String::new());
        }
        let request = TokenRequest {
            sub: user.into(),
            tenants: vec![tenant.to_owned()],
            role: Role::Member,
            events: None,
            ttl: TOKEN_TTL,
        };
        Ok(request.mint(&self.auth)?)
    }

    /// CPU time so far, in seconds; None where the system does not say.
    pub fn cpu_seconds(&self) -> Option<f64> {
        process::cpu_seconds_of(&self.pid.to_string())
    }

    /// Resident memory, in bytes; None where the system does not say.
    pub fn resident_bytes(&self) -> Option<u64> {
        process::resident_bytes_of(&self.pid.to_string())
    }

    /// Ends it: SIGTERM first, and SIGKILL for one that does not go.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn stop(mut self) -> Result<(), BenchError> {
        // Not yet waited for, so the pid is still its own. One that has ended already needs no signal.
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if let Ok(ended) = timeout(STOP_DEADLINE, self.child.wait()).await {
            return ended.map(|_| ()).map_err(BenchError::io("wait for a child process"));
        }
        self.child.kill().await.map_err(BenchError::io("end a child process"))
    }
}

fn this_program() -> Result<Command, BenchError> {
    std::env::current_exe().map(Command::new).map_err(BenchError::io("find this program"))
}

/// An address that was free a moment ago.
async fn free_address() -> Result<SocketAddr, BenchError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(BenchError::io("find a free port"))?;
    listener.local_addr().map_err(BenchError::io("find a free port"))
}

async fn ready_by_http(address: SocketAddr) -> bool {
    let ask = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").await?;
        let mut head = [0; 12];
        socket.read_exact(&mut head).await?;
        std::io::Result::Ok(head)
    };
    matches!(timeout(READY_DEADLINE, ask).await, Ok(Ok(head)) if head.ends_with(b"200"))
}
