//! Which processes belong to a private server.
//!
//! Every backend leads a session of its own, so no process group covers a server: only the parent's id ties them together.

use std::io;

use rustix::process::Pid;

/// A running process (zombies are left out: they hold nothing any more) and its parent.
struct Process {
    pid: Pid,
    parent: i32,
}

/// The children of `parent`: for a postmaster, all its backends and background workers.
pub(super) fn children(parent: Pid) -> io::Result<Vec<Pid>> {
    let parent = parent.as_raw_nonzero().get();
    Ok(running()?.into_iter().filter(|process| process.parent == parent).map(|process| process.pid).collect())
}

/// Whether one of `pids` still runs.
pub(super) fn any_alive(pids: &[Pid]) -> io::Result<bool> {
    Ok(running()?.iter().any(|process| pids.contains(&process.pid)))
}

/// All running processes, from `/proc`: `ps` is missing in small containers.
#[cfg(target_os = "linux")]
fn running() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        // A process may end between the listing and the reading.
        let Ok(stat) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
        found.extend(parse_stat(&stat));
    }
    Ok(found)
}

/// Reads `pid (name) state parent …`; the name may itself contain spaces and parentheses.
#[cfg(target_os = "linux")]
fn parse_stat(stat: &str) -> Option<Process> {
    let (pid, _) = stat.split_once(' ')?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let pid = Pid::from_raw(pid.parse().ok()?)?;
    (state != "Z" && state != "X").then_some(Process { pid, parent })
}

/// All running processes, from `ps`, which every system without `/proc` has.
#[cfg(not(target_os = "linux"))]
fn running() -> io::Result<Vec<Process>> {
    let listing = std::process::Command::new("ps").args(["-A", "-o", "pid=,ppid=,state="]).output()?;
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let pid = Pid::from_raw(fields.next()?.parse().ok()?)?;
        let parent = fields.next()?.parse().ok()?;
        (!fields.next()?.starts_with('Z')).then_some(Process { pid, parent })
    };
    Ok(String::from_utf8_lossy(&listing.stdout).lines().filter_map(parse).collect())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::parse_stat;

    #[test]
    fn a_process_name_with_parentheses_does_not_hide_its_parent() {
        let process = parse_stat("71 (a) S (b) S 42 71 0").expect("a running process");
        assert_eq!((process.pid.as_raw_nonzero().get(), process.parent), (71, 42));
    }

    #[test]
    fn a_zombie_does_not_count_as_running() {
        assert!(parse_stat("71 (postgres) Z 42 71 0").is_none());
    }
}
