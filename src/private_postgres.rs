//! A private PostgreSQL server from the installed binaries: started, stopped, crashed and suspended by us alone.
//!
//! Place: beside the road. The demo, the bench and the tests run on it; `serve` never does.
//!
//! Invariant: whatever ends this process (a clean stop, a panic, ctrl-c in a test, SIGKILL), the server ends too and its
//! directory disappears. A watcher process sees to that (see `home`), because a static in a test binary is never dropped.
//!
//! Why not a container or a downloaded server: the demo works offline, as root and as anyone else, in under a second,
//! and on the PostgreSQL version that the user really has. Why the server is a plain child and not run by `pg_ctl`: we
//! hold its pid, hence can reap, suspend and kill it without guessing.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use self::home::Home;

mod binaries;
mod home;
mod processes;

/// The superuser of a private server.
const SUPERUSER: &str = "postgres";
/// Port of a server without TCP: it only names the socket file.
const SOCKET_PORT: u16 = 5432;
/// How often we look whether a server has come up or gone: far below what a person or a test notices.
const POLL: Duration = Duration::from_millis(25);
/// Starting takes 0.1 s, or a few seconds of crash recovery on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// A fast shutdown writes a checkpoint first; after this long something hangs and the server is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Orphaned backends leave by themselves when idle; busy ones are killed after this.
const ORPHAN_DEADLINE: Duration = Duration::from_secs(2);
/// A free port can be taken by someone else before the server binds it: how often we draw again.
const PORT_DRAWS: u32 = 5;

/// What a private server is to be like.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Wait for the disk at commit. Off makes tests quick; the bench turns it on, to measure honest commits.
    pub fsync: bool,
    /// Listen on a free port of 127.0.0.1 as well, with a random password, for tests that put a proxy in between.
    pub tcp: bool,
    /// Further server settings as name and value, as in postgresql.conf; they win over ours.
    pub settings: Vec<(String, String)>,
}

/// How to end the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT: sessions are ended with a message, then a checkpoint is written. What `systemctl restart` does.
    Fast,
    /// SIGQUIT: everything stops at once, and the next start recovers from the WAL.
    Immediate,
    /// SIGKILL of the postmaster alone, as the kernel does when memory is short; its orphans then go.
    Kill,
}

/// Why a private server could not be started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No directory holds both `postgres` and `initdb`.
    #[error("no PostgreSQL server binaries found (looked at {searched})")]
    NoBinaries {
        /// Where we looked, in order.
        searched: String,
    },
    /// PG_BIN names a directory without a server in it.
    #[error("PG_BIN is {}, which does not hold postgres and initdb", .0.display())]
    WrongPgBin(PathBuf),
    /// We are root and no user is there to whom the server could be given.
    #[error("running as root, and neither the user postgres nor nobody exists")]
    NoUser,
    /// The temporary directory is so deep that its socket could not be addressed.
    #[error("the socket path {} is longer than {max} bytes", path.display())]
    SocketPath {
        /// The socket that would have been.
        path: PathBuf,
        /// The most that works everywhere, in bytes.
        max: usize,
    },
    /// `initdb` failed.
    #[error("initdb failed: {0}")]
    Initdb(String),
    /// The server ended while starting.
    #[error("the server ended while starting; the end of its log: {0}")]
    Exited(String),
    /// The server did not accept connections in time.
    #[error("the server was not ready after {} s; the end of its log: {log}", START_DEADLINE.as_secs())]
    NotReady {
        /// The last lines of its log.
        log: String,
    },
    /// The server, or a process of it, did not go away.
    #[error("the server did not stop within {} s", STOP_DEADLINE.as_secs())]
    NotStopped,
    /// A file or process operation failed.
    #[error("cannot {what}")]
    Io {
        /// What we were doing.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl StartError {
    /// What the reader can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoBinaries { .. } => Some(
                "run `make setup`, install the server (Debian: apt install postgresql, Fedora: dnf install \
                 postgresql-server, macOS: brew install postgresql), or name a database in DATABASE_URL",
            ),
            Self::WrongPgBin(_) => Some("set PG_BIN to the directory that pg_config --bindir prints, or unset it"),
            Self::NoUser => Some("run as an ordinary user, or add one: useradd --system postgres"),
            Self::SocketPath { .. } => Some("set TMPDIR to a short path, such as /tmp"),
            Self::Initdb(_) | Self::Exited(_) | Self::NotReady { .. } => {
                Some("check free disk space and memory; PG_BIN chooses another PostgreSQL")
            }
            Self::NotStopped | Self::Io { .. } => None,
        }
    }
}

/// Turns an [`io::Error`] into ours, saying what was tried.
fn cannot(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { what, source }
}

/// A running private server. Dropping it ends it at once; [`PrivatePostgres::stop`] ends it in good order and waits.
#[derive(Debug)]
pub struct PrivatePostgres {
    /// Where `postgres` and `initdb` are.
    bin: PathBuf,
    /// Directory, owner and watcher.
    home: Home,
    options: Options,
    port: u16,
    /// For TCP only; the socket needs none, since nobody else can reach it.
    password: String,
    /// The postmaster; None between [`PrivatePostgres::halt`] and [`PrivatePostgres::boot`].
    server: Option<Child>,
}

impl PrivatePostgres {
    /// Creates a cluster in a fresh directory and returns once it accepts connections (about half a second).
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left behind.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let bin = binaries::find()?;
        let home = Home::create()?;
        let password = format!("{:032x}", rand::random::<u128>());
        home.initdb(&bin, &password).await?;
        let mut server = Self { bin, home, options, port: SOCKET_PORT, password, server: None };
        let mut draws = 1;
        loop {
            if server.options.tcp {
                server.port = free_port()?;
            }
            match server.boot().await {
                Err(StartError::Exited(log)) if log.contains("could not bind") && draws < PORT_DRAWS => draws += 1,
                outcome => return outcome.map(|()| server),
            }
        }
    }

    /// Where `database` is, through the socket: an URL for tokio-postgres, libpq and psql alike.
    pub fn url(&self, database: &str) -> String {
        self.home.url(self.port, database)
    }

    /// Where `database` is, through 127.0.0.1; None without [`Options::tcp`]. Contains the password.
    pub fn tcp_url(&self, database: &str) -> Option<String> {
        let (password, port) = (&self.password, self.port);
        self.options
            .tcp
            .then(|| format!("postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/{}", home::encode(database)))
    }

    /// A directory beside the cluster, made now, that goes when the server goes: for files that belong to this database.
    ///
    /// # Errors
    /// [`StartError::Io`] when it cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf, StartError> {
        self.home.directory(name)
    }

    /// A line to paste into a shell (of the same user, or root) that opens `database` in psql.
    pub fn psql_hint(&self, database: &str) -> String {
        let own = self.bin.join("psql");
        let psql = if binaries::on_path("psql") || !own.is_file() { "psql".into() } else { own.display().to_string() };
        format!("{psql} '{}'", self.url(database))
    }

    /// The postmaster's process id; None while the server is halted.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Ends the server in good order and removes its directory.
    ///
    /// # Errors
    /// [`StartError::NotStopped`] or [`StartError::Io`]; what is left is then removed by the watcher.
    pub async fn stop(mut self) -> Result<(), StartError> {
        self.halt(Stop::Fast).await?;
        self.home.remove()
    }

    /// Ends the server and starts it again on the same data, socket and port.
    ///
    /// # Errors
    /// As [`PrivatePostgres::halt`] and [`PrivatePostgres::boot`].
    pub async fn restart(&mut self, how: Stop) -> Result<(), StartError> {
        self.halt(how).await?;
        self.boot().await
    }

    /// Ends the server and leaves it down; the data stay. Does nothing when it is down already.
    ///
    /// # Errors
    /// [`StartError::NotStopped`] when it does not go even after SIGKILL, [`StartError::Io`] when it cannot be signalled.
    pub async fn halt(&mut self, how: Stop) -> Result<(), StartError> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let postmaster = Pid::from_child(&server);
        // Stopped first, so that it forks nobody whom we would not count; a signal other than KILL waits for CONT.
        signal(postmaster, Signal::STOP)?;
        let family = processes::children(postmaster).map_err(cannot("list the server's processes"))?;
        let asked = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
            Stop::Kill => Signal::KILL,
        };
        signal(postmaster, asked)?;
        if how != Stop::Kill {
            // The test may have suspended the whole server; a suspended backend would hold up the shutdown.
            family.iter().chain([&postmaster]).try_for_each(|&pid| signal(pid, Signal::CONT))?;
        }
        if !until(STOP_DEADLINE, || exited(&mut server)).await? {
            signal(postmaster, Signal::KILL)?;
            until(STOP_DEADLINE, || exited(&mut server)).await?;
        }
        // Orphans hold the shared memory, and a new postmaster refuses to start beside them.
        if !until(ORPHAN_DEADLINE, || all_gone(&family)).await? {
            family.iter().try_for_each(|&pid| signal(pid, Signal::KILL))?;
        }
        if until(STOP_DEADLINE, || all_gone(&family)).await? { Ok(()) } else { Err(StartError::NotStopped) }
    }

    /// Starts the server again after [`PrivatePostgres::halt`] and waits until it accepts connections.
    ///
    /// # Errors
    /// [`StartError::Exited`] or [`StartError::NotReady`] with the end of the log, [`StartError::Io`].
    pub async fn boot(&mut self) -> Result<(), StartError> {
        if self.server.is_some() {
            return Ok(());
        }
        let server = self.command()?.spawn().map_err(cannot("start postgres"))?;
        let server = self.server.insert(server);
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if exited(server)? {
                self.server = None;
                return Err(StartError::Exited(self.home.log_tail()));
            }
            // A finished handshake means that the server takes connections: before that it refuses with 57P03.
            if self.home.handshake(self.port).await {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.halt(Stop::Immediate).await?;
                return Err(StartError::NotReady { log: self.home.log_tail() });
            }
            sleep(POLL).await;
        }
    }

    /// Freezes the server with all its backends, as a dead network or a stalled disk would: sockets stay open and silent.
    ///
    /// # Errors
    /// [`StartError::Io`].
    pub fn suspend(&self) -> Result<(), StartError> {
        self.signal_all(Signal::STOP)
    }

    /// Lets a suspended server go on.
    ///
    /// # Errors
    /// [`StartError::Io`].
    pub fn resume(&self) -> Result<(), StartError> {
        self.signal_all(Signal::CONT)
    }

    /// Signals the postmaster first: once stopped, it forks no backend that we would miss.
    fn signal_all(&self, what: Signal) -> Result<(), StartError> {
        let Some(server) = &self.server else { return Ok(()) };
        let postmaster = Pid::from_child(server);
        signal(postmaster, what)?;
        let family = processes::children(postmaster).map_err(cannot("list the server's processes"))?;
        family.into_iter().try_for_each(|pid| signal(pid, what))
    }

    /// The postmaster's command line: everything is on it, so that postgresql.conf stays as `initdb` wrote it.
    fn command(&self) -> Result<Command, StartError> {
        let on_off = |on: bool| if on { "on" } else { "off" }.to_owned();
        let fsync = self.options.fsync;
        let ours = [
            ("listen_addresses", if self.options.tcp { "127.0.0.1".into() } else { String::new() }),
            ("port", self.port.to_string()),
            ("unix_socket_directories", self.home.path().display().to_string()),
            // Every test opens connections of its own, on one server.
            ("max_connections", "300".into()),
            ("fsync", on_off(fsync)),
            ("full_page_writes", on_off(fsync)),
        ];
        let mut command = self.home.command(&self.bin.join("postgres"));
        command.arg("-D").arg(self.home.data());
        let theirs = self.options.settings.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in ours.iter().map(|(name, value)| (*name, value)).chain(theirs) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let log = self.home.open_log()?;
        command.stdout(log.try_clone().map_err(cannot("open the log"))?).stderr(log);
        // A group of its own: ctrl-c in a terminal goes to the group, and would end the database before we have drained.
        command.process_group(0);
        Ok(command)
    }
}

/// Ends the server at once; the watcher, whose pipe closes with `home`, waits for it and removes the directory.
impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            let postmaster = Pid::from_child(server);
            // A suspended backend would hold up the shutdown. Nobody is left to hear of an error.
            let _ = self.resume().and_then(|()| signal(postmaster, Signal::QUIT));
        }
    }
}

/// A port of 127.0.0.1 that was free a moment ago.
fn free_port() -> Result<u16, StartError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(cannot("find a free port"))
}

/// Sends `what`; a process that has gone already is as good as signalled.
fn signal(pid: Pid, what: Signal) -> Result<(), StartError> {
    match kill_process(pid, what) {
        Err(error) if error != Errno::SRCH => Err(cannot("signal the server")(error.into())),
        _ => Ok(()),
    }
}

/// Whether the postmaster has ended; reaps it, because a zombie's pid would look to the next one like a running server.
fn exited(server: &mut Child) -> Result<bool, StartError> {
    server.try_wait().map(|status| status.is_some()).map_err(cannot("wait for the server"))
}

/// Whether none of these processes runs any more.
fn all_gone(family: &[Pid]) -> Result<bool, StartError> {
    processes::any_alive(family).map(|alive| !alive).map_err(cannot("list the server's processes"))
}

/// Polls `condition`; false when it did not come true in time.
async fn until(
    patience: Duration,
    mut condition: impl FnMut() -> Result<bool, StartError>,
) -> Result<bool, StartError> {
    let deadline = Instant::now() + patience;
    while !condition()? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        sleep(POLL).await;
    }
    Ok(true)
}
