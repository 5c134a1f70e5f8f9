//! How much room there is for files: of each tenant, so that none takes that of the others, and of all together.
//!
//! What is on disk decides: the application takes files away, and other processes may share the directory. So a refusal is
//! given only once all files have been counted anew.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use warp::http::StatusCode;

use super::{broken, is_id};
use crate::config;
use crate::http::problem::Problem;

/// What an empty file takes too, or there could be any number of them: a block of most file systems.
pub(super) const FILE_BYTES_MIN: u64 = 4 << 10;
/// Of one tenant at the same time: several people with several files each.
const AT_ONCE: usize = 16;
/// All files are counted again at most this often: it looks at each of them.
const COUNT_EVERY: Duration = Duration::from_secs(2);
/// What was being written when a process was killed is removed after this: by then nobody writes it any more.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// The bounds, and what is taken of them.
#[derive(Debug)]
pub(super) struct Room {
    directory: PathBuf,
    tenant_max: u64,
    total_max: u64,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    taken: Taken,
    counted: Instant,
    /// How many are being written here, by folder.
    open: HashMap<String, usize>,
}

/// Bytes of files, as far as this process knows.
#[derive(Debug, Default)]
struct Taken {
    by_folder: HashMap<String, u64>,
    total: u64,
}

impl Taken {
    fn of(&self, folder: &str) -> u64 {
        self.by_folder.get(folder).copied().unwrap_or_default()
    }

    fn add(&mut self, folder: &str, bytes: u64) {
        *self.by_folder.entry(folder.to_owned()).or_default() += bytes;
        self.total += bytes;
    }
}

impl Room {
    /// Counts what is there.
    pub(super) fn open(directory: PathBuf, config: &config::Uploads) -> io::Result<Self> {
        let held = Held { taken: count(&directory)?, counted: Instant::now(), open: HashMap::new() };
        let (tenant_max, total_max) = (config.bytes_per_tenant_max as u64, config.bytes_total_max as u64);
        Ok(Self { directory, tenant_max, total_max, held: Mutex::new(held) })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more file of this folder's is being written.
    pub(super) fn enter(&self, folder: &str) -> Result<(), Problem> {
        let mut held = self.held();
        let open = held.open.entry(folder.to_owned()).or_default();
        if *open >= AT_ONCE {
            let detail = "too many files of this tenant are being uploaded; wait until one is done";
            return Err(Problem::later(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail, 2));
        }
        *open += 1;
        Ok(())
    }

    /// One fewer.
    pub(super) fn leave(&self, folder: &str) {
        let mut held = self.held();
        if let Some(open) = held.open.get_mut(folder) {
            *open -= 1;
            if *open == 0 {
                held.open.remove(folder);
            }
        }
    }

    /// Takes room for so many bytes more. Cancelled, it has taken nothing.
    pub(super) async fn take(&self, folder: &str, bytes: u64) -> Result<(), Problem> {
        if self.try_take(folder, bytes).is_ok() {
            return Ok(());
        }
        let stale = {
            let mut held = self.held();
            let stale = held.counted.elapsed() >= COUNT_EVERY;
            if stale {
                held.counted = Instant::now();
            }
            stale
        };
        if stale {
            let directory = self.directory.clone();
            let counted = tokio::task::spawn_blocking(move || count(&directory)).await;
            self.held().taken = counted.map_err(io::Error::other).and_then(|counted| counted).map_err(broken)?;
        }
        self.try_take(folder, bytes)
    }

    fn try_take(&self, folder: &str, bytes: u64) -> Result<(), Problem> {
        let taken = &mut self.held().taken;
        if taken.total.saturating_add(bytes) > self.total_max {
            return Err(full("uploads.bytes_total_max"));
        } else if taken.of(folder).saturating_add(bytes) > self.tenant_max {
            return Err(full("uploads.bytes_per_tenant_max"));
        }
        taken.add(folder, bytes);
        Ok(())
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&self, folder: &str, bytes: u64) {
        let taken = &mut self.held().taken;
        taken.total = taken.total.saturating_sub(bytes);
        if let Some(of_folder) = taken.by_folder.get_mut(folder) {
            *of_folder = of_folder.saturating_sub(bytes);
        }
    }
}

/// Bytes of all files; what was abandoned is removed.
fn count(directory: &Path) -> io::Result<Taken> {
    let mut taken = Taken::default();
    for folder in fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()? {
        // What is taken away meanwhile is no longer there, and a volume's lost+found is not ours to read.
        let Ok(files) = fs::read_dir(folder.path()) else { continue };
        let Ok(name) = folder.file_name().into_string() else { continue };
        for file in files.filter_map(Result::ok) {
            let Ok(metadata) = file.metadata() else { continue };
            let age = metadata.modified().ok().and_then(|then| SystemTime::now().duration_since(then).ok());
            // A directory that was there before may hold what others call so.
            let part = file.file_name().to_str().and_then(|name| name.strip_suffix(".part")).is_some_and(is_id);
            if part && age.is_some_and(|age| age > ABANDONED) && fs::remove_file(file.path()).is_ok() {
                continue;
            }
            taken.add(&name, metadata.len().max(FILE_BYTES_MIN));
        }
    }
    Ok(taken)
}

/// There is none.
pub(super) fn full(bound: &str) -> Problem {
    let detail = format!("there is no room for this file; whoever runs the server makes some, or raises {bound}");
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "uploads_full", detail)
}
