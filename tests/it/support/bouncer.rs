//! A real PgBouncer in front of the tests' server.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_postgres::config::Host;

use super::{Database, Folder, eventually};

/// Ends with the value.
pub struct Bouncer {
    pub port: u16,
    _running: Child,
    _folder: Folder,
}

impl Bouncer {
    /// `more` are lines of pgbouncer.ini.
    pub async fn start(db: &Database, more: &str) -> Self {
        let config: tokio_postgres::Config = db.url.parse().unwrap();
        let [Host::Unix(socket)] = config.get_hosts() else { panic!("the tests' server is on a socket") };
        let folder = Folder::new();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let users = format!("{}/users", folder.path());
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let ini = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {users}\nmax_client_conn = 100\n{more}\n",
            socket.display(),
            config.get_ports()[0],
        );
        let path = format!("{}/pgbouncer.ini", folder.path());
        std::fs::write(&path, ini).unwrap();
        // The socket's directory is its owner's alone, and PgBouncer refuses root as PostgreSQL does.
        let owner = std::fs::metadata(socket).unwrap();
        let mut command = Command::new(program());
        command.arg("-q").arg(&path).kill_on_drop(true).stderr(std::process::Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let running = command.spawn().expect("pgbouncer is missing: run make setup");
        eventually("PgBouncer listens", || async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
        Self { port, _running: running, _folder: folder }
    }

    /// A test's database through it.
    pub fn url(&self, db: &Database) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{}", self.port, db.name())
    }
}

/// Debian has it where ordinary users do not look.
fn program() -> &'static Path {
    let packaged = Path::new("/usr/sbin/pgbouncer");
    if packaged.is_file() { packaged } else { Path::new("pgbouncer") }
}
