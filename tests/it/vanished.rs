//! Clients that vanish without a word, as a laptop that is shut: nothing is closed, and what is sent to them is never acknowledged.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;

use crate::support::{Bridge, Database, Sse, Ws, eventually, member};

/// A network of this thread's own, with a loopback that can be cut. Making one needs root. PostgreSQL is reached by its Unix socket.
struct Network {
    home: File,
    shell: Child,
}

impl Network {
    /// None where this process may not make one; says so.
    fn enter() -> Option<Self> {
        let mut unshare = Command::new("unshare");
        let made = unshare.args(["--net", "sh"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(shell) = made.inspect_err(|error| println!("skipped: unshare cannot be run: {error}")) else {
            return None;
        };
        let mut network = Self { home: File::open("/proc/thread-self/ns/net").unwrap(), shell };
        if !network.set("up") {
            println!("skipped: no network may be made here");
            return None;
        }
        let theirs = File::open(format!("/proc/{}/ns/net", network.shell.id())).unwrap();
        move_into_link_name_space(theirs.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        Some(network)
    }

    /// Whether the loopback is now as it is to be: `up` or `down`.
    fn set(&mut self, state: &str) -> bool {
        let (stdin, stdout) = (self.shell.stdin.as_mut().unwrap(), self.shell.stdout.as_mut().unwrap());
        let mut said = String::new();
        let told = writeln!(stdin, "ip link set lo {state}; echo $?");
        told.and_then(|()| BufReader::new(stdout).read_line(&mut said)).is_ok_and(|_| said == "0\n")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        self.shell.kill().unwrap();
        self.shell.wait().unwrap();
    }
}

#[tokio::test]
async fn clients_that_vanish_without_a_word_are_let_go_and_miss_nothing_when_they_come_back() {
    let db = Database::new().await;
    let Some(mut network) = Network::enter() else { return };
    let bridge = Bridge::with(&db.url, &[("http.heartbeat", "1s")]).await;
    let token = member("acme");
    let sse = Sse::open(&bridge, &token, "acme", "").await;
    let _ws = Ws::open(&bridge, &token, "acme", json!({})).await;
    let there = |count: &'static str| {
        let db = &db;
        async move {
            let sql = "select coalesce(max(subscribers ->> 'acme'), '0') from tidings._listener";
            eventually("so many are there", || async { db.text(sql).await == count }).await;
        }
    };
    there("2").await;
    assert!(network.set("down"));
    db.run("insert into documents (id, tenant_id, name) values ('d', 'acme', 'a.pdf')").await;
    there("0").await;
    assert!(network.set("up"));
    let mut back = Sse::resume(&bridge, &token, "acme", &sse.last_id).await;
    assert_eq!(back.next().await["subject"], "d");
    let mut back = Ws::open(&bridge, &token, "acme", json!({"after": sse.last_id})).await;
    assert_eq!(back.next().await["subject"], "d");
}
