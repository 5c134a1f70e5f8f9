//! Two instances as processes of their own, with a proxy before each and one between them and PostgreSQL. The first is never
//! killed: its memory is what is looked at.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::support::{Proxy, SECRET, Upstream};

pub struct Instances {
    addresses: [SocketAddr; 2],
    children: [Child; 2],
    database: String,
    /// Before each of them.
    pub clients: [Proxy; 2],
    /// Between them and PostgreSQL.
    pub postgres: Proxy,
    /// Resident bytes of the first, once a second.
    memory: Arc<Mutex<Vec<u64>>>,
    _stop: DropGuard,
}

impl Instances {
    pub async fn start(url: &str) -> Self {
        let postgres = Proxy::to(Upstream::of(url)).await;
        let database = postgres.postgres(url);
        let addresses = [free_address(), free_address()];
        let children = addresses.map(|address| serve(&database, address));
        let clients = [Proxy::to(Upstream::Tcp(addresses[0])).await, Proxy::to(Upstream::Tcp(addresses[1])).await];
        let (memory, stop) = (Arc::<Mutex<Vec<u64>>>::default(), CancellationToken::new());
        let pid = children[0].id().unwrap();
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(watch(pid, memory.clone())));
        let mut instances = Self { addresses, children, database, clients, postgres, memory, _stop: stop.drop_guard() };
        instances.ready().await;
        instances
    }

    pub fn doors(&self) -> [SocketAddr; 2] {
        [self.clients[0].address, self.clients[1].address]
    }

    async fn ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        for address in self.addresses {
            let url = format!("http://{address}/readyz");
            while !reqwest::get(&url).await.is_ok_and(|response| response.status() == 200) {
                assert!(Instant::now() < deadline, "an instance is not ready");
                self.tend();
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// An instance that starts while PostgreSQL is away ends at once, and whoever watches over it starts it again.
    pub fn tend(&mut self) {
        assert!(self.children[0].try_wait().unwrap().is_none(), "the instance that is never killed has ended");
        if self.children[1].try_wait().unwrap().is_some() {
            self.children[1] = serve(&self.database, self.addresses[1]);
        }
    }

    /// Ends the second, and starts it anew.
    pub async fn replace(&mut self, signal: Signal) {
        self.signal(1, signal);
        self.children[1].wait().await.unwrap();
        self.tend();
    }

    pub fn signal(&self, index: usize, signal: Signal) {
        let pid = Pid::from_raw(self.children[index].id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Takes away what still hinders.
    pub async fn mend(&mut self) {
        for proxy in self.clients.iter().chain([&self.postgres]) {
            proxy.mend();
        }
        self.ready().await;
    }

    /// What the first counted.
    pub async fn report(&self) -> String {
        let metrics =
            reqwest::get(format!("http://{}/metrics", self.addresses[0])).await.unwrap().text().await.unwrap();
        let mut report = String::from("the instance that was never killed:");
        for name in ["listener_reconnects", "events", "events_caught_up", "events_audited", "resets", "undecodable"] {
            // Of all labels together.
            let samples = metrics.lines().filter_map(|line| line.strip_prefix(&format!("tidings_{name}_total")));
            let values = samples.filter_map(|sample| sample.rsplit_once(' ')?.1.parse::<u64>().ok());
            _ = write!(report, " {name} {},", values.sum::<u64>());
        }
        let memory = self.memory.lock().unwrap();
        let mib = |bytes: Option<&u64>| bytes.map_or(0, |bytes| bytes >> 20);
        let (before, after) = halves(&memory);
        _ = write!(
            report,
            " memory {} MiB at most, median {} then {} MiB",
            mib(memory.iter().max()),
            before >> 20,
            after >> 20
        );
        report
    }

    /// The median of the second quarter of the time, when all is warm, and of the last.
    pub fn memory(&self) -> (u64, u64) {
        halves(&self.memory.lock().unwrap())
    }

    pub async fn stop(mut self) {
        for index in [0, 1] {
            self.signal(index, Signal::TERM);
        }
        for child in &mut self.children {
            assert!(child.wait().await.unwrap().success());
        }
    }
}

fn halves(samples: &[u64]) -> (u64, u64) {
    let quarter = samples.len() / 4;
    (median(&samples[quarter..quarter * 2]), median(&samples[quarter * 3..]))
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

async fn watch(pid: u32, memory: Arc<Mutex<Vec<u64>>>) {
    let mut second = interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        if let Some(kib) = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()) {
            memory.lock().unwrap().push(kib << 10);
        }
    }
}

fn serve(database: &str, address: SocketAddr) -> Child {
    let environment = [
        ("TIDINGS__DATABASE__URL", database),
        ("TIDINGS__DATABASE__MIGRATE", "false"),
        ("TIDINGS__HTTP__LISTEN", &address.to_string()),
        ("TIDINGS__HTTP__HEARTBEAT", "1s"),
        ("TIDINGS__HTTP__WRITE_TIMEOUT", "3s"),
        ("TIDINGS__AUTH__SECRET", SECRET),
        ("TIDINGS__LISTENER__CHECKPOINT_EVERY", "500ms"),
        ("TIDINGS__LISTENER__CHECKPOINT_TIMEOUT", "2s"),
        ("TIDINGS__LISTENER__CONNECT_TIMEOUT", "2s"),
        ("TIDINGS__LISTENER__BACKOFF_MAX", "1s"),
        // Small, so that resumes read the log as well.
        ("TIDINGS__RING__EVENTS_MAX", "500"),
        ("TIDINGS__SHUTDOWN__DRAIN", "2s"),
        // All of a tenant are one user here, and those who vanished count until they are noticed.
        ("TIDINGS__LIMITS__CONNECTIONS_PER_USER", "2000"),
        ("TIDINGS__TRACING__FILTER", "error"),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.arg("serve").env_clear().envs(environment).kill_on_drop(true);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
