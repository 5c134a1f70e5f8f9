//! The directory of a private server: whose it is, how it is filled, and how it disappears.
//!
//! Invariant: the directory does not outlive this process. Nothing in a process that is killed can clean up, so a second
//! one, a small shell, waits on a pipe that only we hold: when we end, for whatever reason, it reads the end of the pipe,
//! ends the server and removes the directory.
//!
//! Why not `PR_SET_PDEATHSIG`: it needs `unsafe`, exists on Linux only and removes no files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;
use tokio_postgres::{Config, NoTls};

use super::{POLL, SOCKET_PORT, SUPERUSER, StartError, cannot};

/// A socket address holds 104 bytes on macOS and 108 on Linux; some stay free for a port of five digits.
const SOCKET_PATH_MAX: usize = 100;
/// Lines of the server's log in an error.
const LOG_LINES: usize = 15;
/// What must stay as it is in an URL: only letters, digits and these.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What the watcher runs. `$1` is the directory. It ignores what a terminal sends, waits for the end of its input, and
/// then, if a server is still there (its pid file says so), ends it at once and waits for it before removing the files.
/// CONT, because a suspended server would not hear QUIT.
const WATCH: &str = r#"
trap '' HUP INT TERM
cd /
read -r nothing
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
    kill -QUIT "$pid"
    kill -CONT "$pid"
    tries=0
    while [ -e "$1/data/postmaster.pid" ] && [ "$tries" -lt 200 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    [ ! -e "$1/data/postmaster.pid" ] || kill -KILL "$pid"
fi
rm -rf -- "$1"
"#;

/// Who owns the directory and runs the server. PostgreSQL refuses to run as root.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

/// A directory of mode 0700 with the cluster, the socket and the log in it.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    /// None: we are an ordinary user and own it ourselves.
    owner: Option<Owner>,
    /// Holds the write end of the pipe; dropping it sets the watcher to work.
    watcher: Child,
}

impl Home {
    /// Makes the directory and its watcher.
    pub(super) fn create() -> Result<Self, StartError> {
        let owner = if rustix::process::geteuid().is_root() { Some(unprivileged()?) } else { None };
        let path = base(owner.is_some()).join(format!("tidings-{:08x}", rand::random::<u32>()));
        let socket = path.join(format!(".s.PGSQL.{SOCKET_PORT}"));
        if socket.as_os_str().len() >= SOCKET_PATH_MAX {
            return Err(StartError::SocketPath { path: socket, max: SOCKET_PATH_MAX });
        }
        // Fails when the name exists, so nobody can have prepared it for us.
        DirBuilder::new().mode(0o700).create(&path).map_err(cannot("create a temporary directory"))?;
        let watcher = watch(&path, owner).inspect_err(|_| drop(fs::remove_dir(&path)))?;
        let home = Self { path, owner, watcher };
        home.give(&home.path)?;
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The cluster.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Makes a directory in it. The owner's as well: the watcher removes files of whoever wrote them there.
    pub(super) fn directory(&self, name: &str) -> Result<PathBuf, StartError> {
        let path = self.path.join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(cannot("create a directory"))?;
        self.give(&path)?;
        Ok(path)
    }

    /// The URL of `database` on the socket: the form with an encoded host is the one that every client understands.
    pub(super) fn url(&self, port: u16, database: &str) -> String {
        let directory = encode(&self.path.to_string_lossy());
        format!("postgresql://{SUPERUSER}@{directory}:{port}/{}", encode(database))
    }

    /// A command that runs as the owner, in the directory (ours may be closed to the owner).
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = as_owner(program, self.owner);
        command.current_dir(&self.path).env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Creates the cluster: trust on the socket, which only the owner and root reach; a password on TCP, which all do.
    pub(super) async fn initdb(&self, bin: &Path, password: &str) -> Result<(), StartError> {
        let secret = self.path.join("password");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&secret);
        file.and_then(|mut file| writeln!(file, "{password}")).map_err(cannot("write the password"))?;
        self.give(&secret)?;
        let mut command = self.command(&bin.join("initdb"));
        command.arg("-D").arg(self.data()).arg("--pwfile").arg(&secret);
        // `password` and not `scram`: a debug build needs a tenth of a second for the latter, at every connection.
        command.args(["-U", SUPERUSER, "--auth-local=trust", "--auth-host=password", "--encoding=UTF8"]);
        command.args(["--locale=C", "--no-sync", "--no-instructions"]);
        let output = tokio::process::Command::from(command).kill_on_drop(true).output().await;
        let output = output.map_err(cannot("run initdb"))?;
        if !output.status.success() {
            return Err(StartError::Initdb(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()));
        }
        fs::remove_file(&secret).map_err(cannot("remove the password"))
    }

    /// Whether the server completes a handshake on its socket.
    pub(super) async fn handshake(&self, port: u16) -> bool {
        let mut config = Config::new();
        config.host_path(&self.path).port(port).user(SUPERUSER).dbname("postgres");
        matches!(timeout(POLL * 40, config.connect(NoTls)).await, Ok(Ok(_)))
    }

    /// The server's log, for appending.
    pub(super) fn open_log(&self) -> Result<File, StartError> {
        let path = self.path.join("log");
        OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(cannot("open the log"))
    }

    /// The last lines of the server's log.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.path.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Removes the directory of a stopped server and lets the watcher go.
    pub(super) fn remove(&mut self) -> Result<(), StartError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(cannot("remove the directory")(error)),
            // It closes the pipe itself before waiting; the watcher finds nothing and ends.
            _ => self.watcher.wait().map(drop).map_err(cannot("wait for the watcher")),
        }
    }

    /// Makes `path` the owner's.
    fn give(&self, path: &Path) -> Result<(), StartError> {
        let Some(owner) = self.owner else { return Ok(()) };
        chown(path, Some(owner.uid), Some(owner.gid)).map_err(cannot("give the directory to its owner"))
    }
}

/// Percent-encodes a part of an URL.
pub(super) fn encode(part: &str) -> String {
    utf8_percent_encode(part, KEPT).to_string()
}

/// The user to whom root gives the server: `postgres`, else `nobody`. `id` knows users that no file lists.
fn unprivileged() -> Result<Owner, StartError> {
    let number = |which: &str, user: &str| -> Option<u32> {
        let answer = Command::new("id").args([which, user]).stderr(Stdio::null()).output().ok()?;
        String::from_utf8(answer.stdout).ok()?.trim().parse().ok().filter(|&id| id != 0)
    };
    let owner = |user| Some(Owner { uid: number("-u", user)?, gid: number("-g", user)? });
    owner("postgres").or_else(|| owner("nobody")).ok_or(StartError::NoUser)
}

/// Where the directory goes. Root's own temporary directory may be closed to the server's user; `/tmp` is not.
fn base(as_root: bool) -> PathBuf {
    let usual = std::env::temp_dir();
    let open = |directory: &Path| fs::metadata(directory).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    if as_root && !usual.ancestors().all(open) { PathBuf::from("/tmp") } else { usual }
}

/// A command under the owner's ids; std drops root's supplementary groups along with them.
fn as_owner(program: &Path, owner: Option<Owner>) -> Command {
    let mut command = Command::new(program);
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
    }
    command
}

/// Starts the watcher, in a group of its own, out of reach of a terminal's ctrl-c.
fn watch(path: &Path, owner: Option<Owner>) -> Result<Child, StartError> {
    let mut command = as_owner(Path::new("/bin/sh"), owner);
    command.args(["-c", WATCH, "tidings-watcher"]).arg(path).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(cannot("start the watcher"))
}
