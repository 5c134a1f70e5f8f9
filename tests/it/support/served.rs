//! `tidings serve` in a process of its own: started, signalled, read and waited for as a service manager does.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{Bridge, SECRET, eventually};

pub struct Served {
    child: Child,
    /// For clients to be pointed at.
    pub bridge: Bridge,
    output: Arc<Mutex<String>>,
}

/// The command, for a free port. `more` are settings; what is written in capitals is a variable of the environment.
pub fn serve(url: &str, more: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.env_clear().env("TIDINGS__DATABASE__URL", url).env("TIDINGS__DATABASE__MIGRATE", "false");
    let base = [
        ("http.listen", "127.0.0.1:0"),
        ("listener.checkpoint_every", "200ms"),
        ("listener.checkpoint_timeout", "3s"),
        ("listener.backoff_min", "20ms"),
        ("listener.backoff_max", "500ms"),
        ("shutdown.drain", "20s"),
    ];
    let is_variable = |name: &str| name.chars().next().is_some_and(|first| first.is_ascii_uppercase());
    for (name, value) in base.iter().chain(more) {
        if is_variable(name) {
            command.env(name, value);
        } else {
            command.args(["--set", &format!("{name}={value}")]);
        }
    }
    if !more.iter().any(|(name, _)| *name == "TIDINGS__AUTH__SECRET_FILE" || *name == "TIDINGS_CONFIG") {
        command.env("TIDINGS__AUTH__SECRET", SECRET);
    }
    command.arg("serve").stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Served {
    /// Started and ready.
    pub async fn start(url: &str, more: &[(&str, &str)]) -> Self {
        Self::run(serve(url, more)).await
    }

    /// Runs the command until it is ready.
    pub async fn run(command: Command) -> Self {
        let (child, output) = spawn(command);
        let address = || {
            let text = output.lock().unwrap();
            text.lines().find_map(|line| Some(line.strip_prefix("tidings: listening on http://")?.parse().unwrap()))
        };
        eventually("it listens", || async { address().is_some() }).await;
        let served = Self { child, bridge: Bridge::elsewhere(address().unwrap()), output };
        eventually("it is ready", || async { served.bridge.get("/readyz").await.0 == 200 }).await;
        served
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
    }

    /// The exit code of a process that ends by itself.
    pub async fn ended(mut self) -> Option<i32> {
        timeout(Duration::from_secs(60), self.child.wait()).await.expect("it does not end").unwrap().code()
    }

    /// What it has printed so far, to whichever stream.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits until it has printed this so often.
    pub async fn printed(&self, text: &str, times: usize) {
        eventually(text, || async { self.output().matches(text).count() >= times }).await;
    }

    /// SIGHUP, and the end of what it does.
    pub async fn reload(&self) {
        let done = ["the configuration was taken up", "the configuration is refused"];
        let count = || done.iter().map(|text| self.output().matches(text).count()).sum::<usize>();
        let before = count();
        self.signal(Signal::HUP);
        eventually("it has reloaded", || async { count() > before }).await;
    }
}

/// A process and what it prints.
pub fn spawn(mut command: Command) -> (Child, Arc<Mutex<String>>) {
    let mut child = command.spawn().unwrap();
    let output = Arc::new(Mutex::new(String::new()));
    collect(child.stdout.take().unwrap(), output.clone());
    collect(child.stderr.take().unwrap(), output.clone());
    (child, output)
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static, output: Arc<Mutex<String>>) {
    // Ends with the process.
    TaskTracker::new().spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut output = output.lock().unwrap();
            output.push_str(&line);
            output.push('\n');
        }
    });
}
