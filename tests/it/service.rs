//! What a service manager sees: on its own socket, as systemd's, and in the unit that the project ships.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use tidings::private_postgres::{Options, PrivatePostgres, Stop};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::support::{Database, Folder, SECRET, Served, eventually, serve, spawn};

/// Stands in for systemd: a socket that messages arrive on.
struct Manager {
    socket: UnixDatagram,
    folder: Folder,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new();
        Self { socket: UnixDatagram::bind(format!("{}/notify", folder.path())).unwrap(), folder }
    }

    fn path(&self) -> String {
        format!("{}/notify", self.folder.path())
    }

    async fn next(&self) -> String {
        let mut message = [0; 4096];
        let read = timeout(Duration::from_secs(20), self.socket.recv(&mut message)).await.expect("nothing is told");
        String::from_utf8_lossy(&message[..read.unwrap()]).into_owned()
    }

    /// The next message with this line; none before it may have that one.
    async fn until(&self, line: &str, never: &str) -> String {
        loop {
            let message = self.next().await;
            let has = |wanted: &str| !wanted.is_empty() && message.lines().any(|line| line.starts_with(wanted));
            assert!(!has(never), "{message}");
            if has(line) {
                return message;
            }
        }
    }
}

#[tokio::test]
async fn a_service_manager_is_told_of_ready_reloading_and_stopping_in_their_order() {
    let (db, manager) = (Database::new().await, Manager::new());
    let served = Served::start(&db.url, &[("NOTIFY_SOCKET", &manager.path())]).await;
    manager.until("READY=1", "RELOADING=1").await;
    served.signal(Signal::HUP);
    let reloading = manager.until("RELOADING=1", "READY=1").await;
    assert!(
        reloading
            .lines()
            .any(|line| line.strip_prefix("MONOTONIC_USEC=").is_some_and(|time| time.parse::<u64>().is_ok()))
    );
    manager.until("READY=1", "STOPPING=1").await;
    served.signal(Signal::TERM);
    manager.until("STOPPING=1", "READY=1").await;
    assert_eq!(served.ended().await, Some(0));
}

#[tokio::test]
async fn a_configuration_that_is_refused_ends_the_reload_all_the_same() {
    let (db, manager) = (Database::new().await, Manager::new());
    let file = format!("{}/secret", manager.folder.path());
    std::fs::write(&file, SECRET).unwrap();
    let settings = [("NOTIFY_SOCKET", manager.path()), ("TIDINGS__AUTH__SECRET_FILE", file.clone())];
    let served = Served::start(&db.url, &settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    manager.until("READY=1", "RELOADING=1").await;
    std::fs::remove_file(&file).unwrap();
    served.signal(Signal::HUP);
    manager.until("RELOADING=1", "READY=1").await;
    let ready = manager.until("READY=1", "STOPPING=1").await;
    assert!(ready.contains("STATUS=listening; the last configuration was refused"), "{ready}");
}

#[tokio::test]
async fn a_bridge_that_has_not_caught_up_is_not_ready_and_lives() {
    let (db, manager) = (Database::new().await, Manager::new());
    // It cannot read what it has missed.
    let mut blocker = db.connect().await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute("lock table tidings._log in access exclusive mode").await.unwrap();
    let settings = [("NOTIFY_SOCKET", manager.path()), ("WATCHDOG_USEC", "200000".to_owned())];
    let (child, output) = spawn(serve(&db.url, &settings.each_ref().map(|(name, value)| (*name, value.as_str()))));
    for _ in 0..5 {
        manager.until("WATCHDOG=1", "READY=1").await;
    }
    assert!(output.lock().unwrap().contains("listening on"));
    lock.rollback().await.unwrap();
    manager.until("READY=1", "STOPPING=1").await;
    drop(child);
}

#[tokio::test]
async fn a_database_that_is_away_is_no_reason_to_restart() {
    let mut server = PrivatePostgres::start(Options::default()).await.unwrap();
    let (db, manager) = (Database::fresh_on(&server).await, Manager::new());
    let settings = [("NOTIFY_SOCKET", manager.path()), ("WATCHDOG_USEC", "200000".to_owned())];
    let served = Served::start(&db.url, &settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    manager.until("READY=1", "STOPPING=1").await;
    server.halt(Stop::Fast).await.unwrap();
    manager.until("STATUS=not ready", "READY=1").await;
    for _ in 0..5 {
        manager.until("WATCHDOG=1", "READY=1").await;
    }
    assert_eq!((served.bridge.get("/livez").await.0, served.bridge.get("/readyz").await.0), (200, 503));
    server.boot().await.unwrap();
    manager.until("READY=1", "STOPPING=1").await;
    eventually("it is ready again", || async { served.bridge.get("/readyz").await.0 == 200 }).await;
}

/// The unit with the binary of this build, as a file that systemd would look for.
fn unit(folder: &Folder) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/tidings.service");
    let text = std::fs::read_to_string(shipped).unwrap();
    let path = format!("{}/tidings.service", folder.path());
    std::fs::write(&path, text.replace("/usr/bin/tidings", env!("CARGO_BIN_EXE_tidings"))).unwrap();
    path
}

/// What the tool says; nothing where there is no such tool.
fn analyze(arguments: &[&str]) -> Option<Output> {
    let output = Command::new("systemd-analyze").args(arguments).env("SYSTEMD_PAGER", "").output();
    if output.is_err() {
        println!("skipped: systemd-analyze is not installed");
    }
    output.ok()
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    let folder = Folder::new();
    let Some(output) = analyze(&["verify", "--man=no", "--recursive-errors=no", &unit(&folder)]) else { return };
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_unit_shuts_the_process_in() {
    let folder = Folder::new();
    // Exposure in tenths, from 0 to 100: what is left is that it talks to the network.
    let Some(output) = analyze(&["security", "--offline=true", "--threshold=13", &unit(&folder)]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_unit_waits_for_as_long_as_a_drain_may_take() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/tidings.service")).unwrap();
    let seconds = |key: &str| -> u64 {
        let value = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        value.strip_suffix('s').unwrap().parse().unwrap()
    };
    let shutdown = tidings::config::Config::default().shutdown;
    assert!(seconds("TimeoutStopSec=") > (shutdown.grace + shutdown.drain).as_secs() + 5);
    assert!(text.contains("RestartPreventExitStatus=64"), "a wrong configuration is not tried again for ever");
}
