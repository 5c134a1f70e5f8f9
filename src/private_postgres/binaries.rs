//! Finds the installed PostgreSQL server binaries.
//!
//! Debian and its kin keep `initdb` and `postgres` out of the PATH, one directory per major version, so we look where the
//! distributions put them and take the newest.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::StartError;

/// Where distributions keep one directory per version: parent, beginning of its name, and the way on to the binaries.
const VERSIONED: [(&str, &str, &str); 7] = [
    ("/usr/lib/postgresql", "", "bin"),                          // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                                   // Red Hat, SUSE (postgresql.org packages)
    ("/usr/libexec", "postgresql", ""),                          // Alpine
    ("/opt/homebrew/opt", "postgresql", "bin"),                  // Homebrew on Apple silicon
    ("/usr/local/opt", "postgresql", "bin"),                     // Homebrew on Intel
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app
    ("/usr/local", "pgsql", "bin"),                              // from source
];

/// The directory with `postgres` and `initdb`: `PG_BIN`, `pg_config --bindir`, the newest where packages put them, PATH.
pub(super) fn find() -> Result<PathBuf, StartError> {
    if let Some(chosen) = env::var_os("PG_BIN").filter(|chosen| !chosen.is_empty()) {
        let chosen = PathBuf::from(chosen);
        // An explicit wish that cannot be met is an error: another version would run unnoticed.
        return if holds_server(&chosen) { Ok(chosen) } else { Err(StartError::WrongPgBin(chosen)) };
    }
    let packaged = VERSIONED.iter().flat_map(|(parent, prefix, rest)| newest_first(Path::new(parent), prefix, rest));
    pg_config().into_iter().chain(packaged).chain(path_directories()).find(|bin| holds_server(bin)).ok_or_else(|| {
        let parents = VERSIONED.map(|(parent, ..)| parent).join(", ");
        StartError::NoBinaries { searched: format!("pg_config, {parents}, PATH") }
    })
}

/// Whether the PATH has the program `name`.
pub(super) fn on_path(name: &str) -> bool {
    path_directories().iter().any(|directory| directory.join(name).is_file())
}

/// Both, because a client package alone brings `pg_config` and sometimes a `bin` without a server.
fn holds_server(bin: &Path) -> bool {
    bin.join("postgres").is_file() && bin.join("initdb").is_file()
}

fn path_directories() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

fn pg_config() -> Option<PathBuf> {
    let answer = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim_end()))
}

/// The `rest` of every directory in `parent` whose name begins with `prefix`, newest version first.
fn newest_first(parent: &Path, prefix: &str, rest: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut found: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(prefix)).collect();
    found.sort_by_key(|name| std::cmp::Reverse(version(name)));
    found.into_iter().map(|name| parent.join(name).join(rest)).collect()
}

/// The numbers in a name: `[16]` for `postgresql@16`, `[9, 6]` for `9.6`, so that 16 comes after 9.6.
fn version(name: &OsStr) -> Vec<u32> {
    name.to_string_lossy().split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::version;

    #[test]
    fn versions_are_compared_as_numbers_and_not_as_text() {
        let newer = |a: &str, b: &str| version(OsStr::new(a)) > version(OsStr::new(b));
        assert!(newer("16", "9.6"));
        assert!(newer("postgresql@16", "postgresql@15"));
        assert!(newer("pgsql-10", "pgsql-9.6"));
    }
}
