//! A machine that slept, or whose clock was set: a token ends by the clock, not by a timer. libfaketime sets the clock of a process and
//! leaves its timers alone, as sleep does.

use std::path::PathBuf;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::support::{Bridge, Database, Folder, SECRET, Sse, Ws, eventually, member};

/// Where Debian's package has it, for any machine.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut found = folders.map(|folder| folder.join("faketime/libfaketime.so.1")).filter(|library| library.exists());
    found.next().expect("the package libfaketime is missing: run .ci/setup")
}

/// A server process whose clock is what a file says.
async fn serve(db: &Database, clock: &str) -> (Bridge, Child) {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = address.to_string();
    let environment = [
        ("LD_PRELOAD", faketime().to_str().unwrap().to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DATABASE_URL", db.url.clone()),
        ("TIDINGS__DATABASE__MIGRATE", "false".to_owned()),
        ("TIDINGS__HTTP__LISTEN", listen),
        ("TIDINGS__HTTP__HEARTBEAT", "1s".to_owned()),
        ("TIDINGS__AUTH__SECRET", SECRET.to_owned()),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.arg("serve").env_clear().envs(environment).kill_on_drop(true);
    let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let bridge = Bridge::elsewhere(address);
    let url = bridge.url("/readyz");
    let ready = || async { reqwest::get(&url).await.is_ok_and(|answer| answer.status() == 200) };
    eventually("the bridge is ready", ready).await;
    (bridge, child)
}

#[tokio::test]
async fn a_stream_ends_with_its_token_though_the_machine_slept() {
    let (db, folder) = (Database::new().await, Folder::new());
    let clock = format!("{}/clock", folder.path());
    std::fs::write(&clock, "+0\n").unwrap();
    let (bridge, _child) = serve(&db, &clock).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut ws = Ws::connect(&bridge, &member("acme")).await;
    // Further than the token reaches, and less than any timer does.
    std::fs::write(&clock, "+1h\n").unwrap();
    let bye = loop {
        let block = sse.block().await.unwrap();
        if block.event == "bye" {
            break serde_json::from_str::<Value>(&block.data).unwrap();
        }
    };
    assert_eq!(bye["code"], 4510);
    let bye = loop {
        let frame = ws.frame().await.unwrap();
        if frame["type"] == "bye" {
            break frame;
        }
    };
    assert_eq!(bye["code"], 4510);
}
