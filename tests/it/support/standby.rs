//! A real hot standby of a test's own server.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tidings::private_postgres::PrivatePostgres;
use tokio::process::{Child, Command};

use super::database::connect;
use super::eventually;

/// Ends with the value; its files go with the primary's.
pub struct Standby {
    pub port: u16,
    directory: PathBuf,
    _running: Child,
}

impl Standby {
    /// Follows a server that listens on TCP. `bin` is where the server's programs are.
    pub async fn of(primary: &PrivatePostgres, bin: &std::path::Path) -> Self {
        let directory = primary.directory("standby").unwrap();
        let owner = std::fs::metadata(&directory).unwrap();
        let as_owner = |program: &str| {
            let mut command = Command::new(bin.join(program));
            command.current_dir(&directory).kill_on_drop(true).stderr(std::process::Stdio::null());
            if rustix::process::geteuid().is_root() {
                command.uid(owner.uid()).gid(owner.gid());
            }
            command
        };
        let mut copy = as_owner("pg_basebackup");
        copy.arg("-D").arg(&directory).args(["-R", "-c", "fast", "-d", &primary.url("postgres")]);
        assert!(copy.status().await.unwrap().success());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = as_owner("postgres");
        server.arg("-D").arg(&directory).stdout(std::process::Stdio::null());
        for setting in [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".into(),
            format!("unix_socket_directories={}", directory.display()),
            // Not below the primary's.
            "max_connections=300".into(),
            "fsync=off".into(),
        ] {
            server.arg("-c").arg(setting);
        }
        let running = server.spawn().unwrap();
        let standby = Self { port, directory, _running: running };
        let config: tokio_postgres::Config = standby.url("postgres").parse().unwrap();
        eventually("the standby answers", || async { config.connect(tokio_postgres::NoTls).await.is_ok() }).await;
        standby
    }

    /// Through its socket.
    pub fn url(&self, database: &str) -> String {
        let directory = self.directory.display().to_string().replace('/', "%2F");
        format!("postgresql://postgres@{directory}:{}/{database}", self.port)
    }

    /// Waits until it has everything that is committed now.
    pub async fn catch_up(&self, primary: &PrivatePostgres) {
        let (there, here) = (connect(&primary.url("postgres")).await, connect(&self.url("postgres")).await);
        let goal: String = there.query_one("select pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
        let reached = format!("select pg_last_wal_replay_lsn() >= '{goal}'::pg_lsn");
        eventually("the standby has everything", || async { here.query_one(&reached, &[]).await.unwrap().get(0) })
            .await;
    }

    /// Makes it the primary.
    pub async fn promote(&self) {
        let promoted = connect(&self.url("postgres")).await.query_one("select pg_promote(true, 60)", &[]).await;
        assert!(promoted.unwrap().get::<_, bool>(0));
    }
}
