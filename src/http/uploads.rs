//! `PUT …/uploads/{name}`: a file that somebody uploads, kept below `uploads.directory` until the application takes it.
//!
//! Place: before a document is created, which names the file by the address that is answered here. For pages without an
//! object store of their own; where there is one, the browser uploads there, and this is switched off.
//!
//! Parts: here a file is written; `room` says whether there is room for it.
//!
//! Invariants:
//! - What a user sends names nothing on disk: a file's name is random, below a folder of its tenant's
//!   (`a_name_that_climbs_out_of_the_directory_names_nothing`).
//! - A file is there whole or not at all: it is written aside, synced, and then renamed
//!   (`a_body_that_breaks_off_leaves_no_file`).
//! - No tenant takes the room of another (`a_tenant_that_has_filled_its_room_leaves_that_of_others`).
//! - Memory holds one piece of a body at a time, and a body that stalls is given up.

mod room;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use self::room::{FILE_BYTES_MIN, Room};
use super::State;
use super::problem::Problem;
use super::route::{Request, Route, route};
use super::status::json;
use crate::config;
use crate::event::TenantId;

/// A body brings at least `WINDOW_BYTES` in each of these, or ends: 1.6 KB/s, which the worst of phones has.
const WINDOW: Duration = Duration::from_secs(10);
const WINDOW_BYTES: usize = 16 << 10;
/// File names end at 255 bytes.
const FOLDER_BYTES_MAX: usize = 200;
const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The route.
pub fn routes() -> Vec<Route> {
    vec![route(Method::PUT, "/v1/tenants/{tenant}/uploads/{name}", put)]
}

/// Where files are kept.
#[derive(Debug)]
pub struct Uploads {
    directory: PathBuf,
    bytes_max: u64,
    room: Room,
}

impl Uploads {
    /// Makes the directory; none where the configuration names none.
    pub fn open(config: &config::Uploads) -> io::Result<Option<Self>> {
        if config.directory.is_empty() {
            return Ok(None);
        }
        let directory = PathBuf::from(&config.directory);
        fs::create_dir_all(&directory)?;
        let room = Room::open(directory.clone(), config)?;
        Ok(Some(Self { directory, bytes_max: config.bytes_max as u64, room }))
    }

    fn too_large(&self) -> Problem {
        let detail = format!("the file is larger than {} bytes (uploads.bytes_max)", self.bytes_max);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// Begins a file of the tenant's, of as many bytes as were announced.
    async fn begin(&self, tenant: &TenantId, announced: Option<u64>) -> Result<Upload<'_>, Problem> {
        if announced.is_some_and(|bytes| bytes > self.bytes_max) {
            return Err(self.too_large());
        }
        let folder = folder(tenant);
        self.room.enter(&folder)?;
        // From here on its drop gives the place back.
        let address = format!("{folder}/{:032x}", rand::random::<u128>());
        let path = self.directory.join(&address);
        let part = path.with_extension("part");
        let mut upload =
            Upload { uploads: self, folder, part, path, address, file: None, size: 0, taken: 0, done: false };
        // Announced is not sent: once it is known to fit, the room is there for whoever is first.
        let announced = announced.unwrap_or(0).max(FILE_BYTES_MIN);
        self.room.take(&upload.folder, announced).await?;
        self.room.give_back(&upload.folder, announced - FILE_BYTES_MIN);
        upload.taken = FILE_BYTES_MIN;
        tokio::fs::create_dir_all(self.directory.join(&upload.folder)).await.map_err(broken)?;
        let file = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&upload.part).await;
        upload.file = Some(file.map_err(broken)?);
        Ok(upload)
    }
}

/// A file that is being written. Dropped before it is finished, it leaves nothing.
struct Upload<'a> {
    uploads: &'a Uploads,
    folder: String,
    part: PathBuf,
    path: PathBuf,
    address: String,
    /// None before there is one.
    file: Option<tokio::fs::File>,
    size: u64,
    /// Of the room.
    taken: u64,
    done: bool,
}

impl Upload<'_> {
    async fn write(&mut self, piece: &[u8]) -> Result<(), Problem> {
        self.size += piece.len() as u64;
        if self.size > self.uploads.bytes_max {
            return Err(self.uploads.too_large());
        }
        if self.size > self.taken {
            self.uploads.room.take(&self.folder, self.size - self.taken).await?;
            self.taken = self.size;
        }
        match &mut self.file {
            Some(file) => file.write_all(piece).await.map_err(broken),
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<Response, Problem> {
        if let Some(file) = &mut self.file {
            file.flush().await.map_err(broken)?;
            file.sync_all().await.map_err(broken)?;
        }
        tokio::fs::rename(&self.part, &self.path).await.map_err(broken)?;
        self.done = true;
        let body = serde_json::json!({"url": format!("{SCHEME}:{}", self.address), "size": self.size});
        Ok(json(StatusCode::CREATED, &body))
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if !self.done {
            if self.file.is_some()
                && let Err(error) = fs::remove_file(&self.part)
            {
                tracing::warn!(%error, "what is left of an upload that broke off could not be removed");
            }
            self.uploads.room.give_back(&self.folder, self.taken);
        }
        self.uploads.room.leave(&self.folder);
    }
}

/// `PUT uploads/{name}`. The name is for whoever reads the address; the document that is created next has it too.
async fn put(state: Arc<State>, mut request: Request) -> Result<Response, Problem> {
    let (_, tenant) = request.enter(&state).await?;
    request.segment(1)?;
    let uploads = state.uploads.as_ref().ok_or_else(|| {
        let detail = "this server takes no files; upload them where the application keeps them, and create a document with their url";
        Problem::new(StatusCode::NOT_IMPLEMENTED, "no_uploads", detail)
    })?;
    let announced = request.call.header("content-length").and_then(|length| length.parse().ok());
    let mut upload = uploads.begin(&tenant, announced).await?;
    let mut pace = Pace::from(Instant::now());
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "body_late", "the body arrives too slowly");
    while let Some(piece) = timeout_at(pace.due, request.piece()).await.map_err(late)?? {
        upload.write(&piece).await?;
        pace.brought(piece.len(), Instant::now());
    }
    upload.finish().await
}

/// When a body has to have brought more.
#[derive(Debug)]
struct Pace {
    due: Instant,
    brought: usize,
}

impl Pace {
    fn from(now: Instant) -> Self {
        Self { due: now + WINDOW, brought: 0 }
    }

    fn brought(&mut self, bytes: usize, now: Instant) {
        self.brought += bytes;
        if self.brought >= WINDOW_BYTES {
            *self = Self::from(now);
        }
    }
}

/// Of the addresses of files.
const SCHEME: &str = "upload";

/// Whether a document of this tenant may have this address: one of a file that was uploaded here names the tenant's own, and is
/// written as it was answered. Whoever reads addresses may skip blanks and take `UPLOAD:` for the same.
pub fn is_own(url: &str, tenant: &TenantId) -> bool {
    if super::call::scheme(url).is_none_or(|scheme| scheme != SCHEME) {
        return true;
    }
    let address = url.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix(':'));
    let id = address.and_then(|address| address.strip_prefix(&folder(tenant))?.strip_prefix('/'));
    id.is_some_and(is_id)
}

/// Whether a file may be called this: 128 bits in hexadecimal.
fn is_id(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The tenant's folder: its name as far as file systems can hold it, else a hash behind `~`, which no such name has.
fn folder(tenant: &TenantId) -> String {
    let name = utf8_percent_encode(tenant.as_str(), &KEPT).to_string();
    if name.len() <= FOLDER_BYTES_MAX {
        return name;
    }
    let hash = Sha256::digest(tenant.as_str());
    hash.iter().fold(String::from("~"), |name, byte| format!("{name}{byte:02x}"))
}

/// Logged here, once; the client learns only that it cannot be done now.
fn broken(error: io::Error) -> Problem {
    tracing::error!(%error, "a file that was uploaded could not be kept");
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return room::full("uploads.bytes_total_max");
    }
    let detail = "the file cannot be kept now; try again";
    Problem::later(StatusCode::SERVICE_UNAVAILABLE, "uploads_unavailable", detail, 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_given_up_by_how_fast_it_comes_and_not_by_how_long_it_takes() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut steady = Pace::from(start);
        for second in 0..1000 {
            assert!(steady.due > at(second), "given up after {second} s");
            steady.brought(4 << 10, at(second));
        }
        let mut trickle = Pace::from(start);
        for second in 0..9 {
            trickle.brought(1, at(second));
        }
        assert_eq!(trickle.due, at(10), "a byte a second is no progress");
    }
}
