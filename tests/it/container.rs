//! The image: what its recipe says, and that the binary lives in a directory of nothing but what the recipe puts there, which
//! it may not write to, as a user without a name, as process 1.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tidings::private_postgres::{Options, PrivatePostgres};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{Bridge, Database, Folder, SECRET, Sse, Ws, eventually, member};

fn recipe() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/Containerfile")).unwrap()
}

/// What the last stage says behind a word.
fn says(word: &str) -> String {
    let recipe = recipe();
    let stage = recipe.rsplit("\nFROM ").next().unwrap();
    let said = stage.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    said.unwrap_or_else(|| panic!("the recipe has no {word}")).to_owned()
}

/// A command as the recipe writes it: a list, since there is no shell.
fn command(word: &str) -> Vec<String> {
    let said = says(word);
    serde_json::from_str(&said[said.find('[').unwrap()..]).unwrap()
}

#[test]
fn the_image_runs_as_a_user_that_is_seen_not_to_be_root() {
    let (uid, gid) = (says("USER").split(':').next().unwrap().parse::<u32>().unwrap(), says("USER"));
    assert!(uid > 0 && !gid.ends_with(":0"), "{gid}");
    assert_eq!(says("STOPSIGNAL"), "SIGTERM");
    assert_eq!([command("ENTRYPOINT"), command("CMD")].concat(), ["/tidings", "serve"]);
    assert!(recipe().contains("\nFROM scratch\n"), "nothing to break into");
    let images = recipe().lines().filter_map(|line| line.strip_prefix("FROM ").map(str::to_owned)).collect::<Vec<_>>();
    assert!(images.iter().all(|image| !image.contains(['/', '.'])), "{images:?}");
}

/// A directory that is the root of what runs in it: read-only, in namespaces of its own for mounts and processes.
struct Image {
    folder: Folder,
    settings: Vec<(&'static str, String)>,
}

const ENTER: &str = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro,nosuid,nodev "$0" && user=$1 && shift && exec chroot --userspec="$user" --groups= "$0" "$@""#;

impl Image {
    /// As the recipe makes it; none, and why, where this machine does not let us.
    async fn build(settings: Vec<(&'static str, String)>) -> Option<Self> {
        let probe = Command::new("unshare").args(["--mount", "--pid", "--fork", "true"]).output().await;
        if !rustix::process::getuid().is_root() || !probe.is_ok_and(|output| output.status.success()) {
            println!("skipped: namespaces need root, and a machine that lets root have them");
            return None;
        }
        let folder = Folder::new();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/rootfs");
        let made = Command::new(script).args([env!("CARGO_BIN_EXE_tidings"), folder.path()]).output().await.unwrap();
        assert!(made.status.success(), "{made:?}");
        // Root's own until now: whoever runs in it has to get in.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Some(Self { folder, settings })
    }

    fn run(&self, command: &[String]) -> Command {
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER]);
        inside.arg(self.folder.path()).arg(says("USER")).args(command);
        inside.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(self.settings.iter().cloned());
        inside.kill_on_drop(true).stdout(Stdio::null());
        inside
    }
}

/// The process whose parent is `pid`.
fn only_child(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap()
}

#[tokio::test]
async fn the_image_serves_with_a_root_it_cannot_write_to_and_ends_on_term() {
    let server = PrivatePostgres::start(Options { tcp: true, ..Options::default() }).await.unwrap();
    let db = Database::fresh_on(&server).await;
    // An address that no other test has: 127.0.0.0/8 is all this machine's.
    let [one, two, three] = rand::random::<[u8; 3]>();
    let address = format!("127.{one}.{two}.{}:8080", three.clamp(2, 250));
    let settings = vec![
        ("DATABASE_URL", server.tcp_url(db.name()).unwrap()),
        ("TIDINGS__AUTH__SECRET", SECRET.to_owned()),
        ("TIDINGS__HTTP__LISTEN", address.clone()),
        ("TIDINGS__SHUTDOWN__DRAIN", "20s".to_owned()),
    ];
    let Some(image) = Image::build(settings).await else { return };
    let bridge = Bridge::elsewhere(address.parse().unwrap());
    let mut running = image.run(&[command("ENTRYPOINT"), command("CMD")].concat()).spawn().unwrap();
    let probe = command("HEALTHCHECK");
    let healthy = || async { image.run(&probe).stderr(Stdio::null()).status().await.unwrap().success() };
    eventually("the health check of the recipe says so", healthy).await;

    let first = only_child(running.id().unwrap());
    let status = std::fs::read_to_string(format!("/proc/{first}/status")).unwrap();
    let line = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!((line("Uid:"), line("Gid:")), (vec!["65532"; 4], vec!["65532"; 4]));
    assert_eq!(line("NSpid:").last(), Some(&"1"), "nobody but itself to hear signals");
    let root = format!("/proc/{first}/root");
    assert!(std::fs::write(format!("{root}/new"), "").is_err(), "not even root can write there");
    assert!(!Path::new(&format!("{root}/bin")).exists(), "no shell");

    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    db.sentinel("acme").await;
    assert_eq!((sse.until_sentinel().await.len(), ws.until_sentinel().await.len()), (0, 0));
    kill_process(Pid::from_raw(first.cast_signed()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(sse.block().await.unwrap().event, "bye");
    assert_eq!(ws.frame().await.unwrap()["type"], "bye");
    drop((sse, ws));
    let ended = timeout(Duration::from_secs(30), running.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
    assert!(!healthy().await, "nobody is there");
}
