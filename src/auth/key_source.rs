//! Where a JWKS document is read from: a file, or a URL that is asked over HTTPS.
//!
//! Used by `jwks`. Invariant: an answer is bounded in time (5 s), size (256 KiB) and place (no redirect), because
//! whoever controls it decides which tokens are genuine.
//!
//! Why a file is read again even when its time did not change: it is small and read every few minutes, and a time
//! stamp is too coarse to be sure that nothing changed.

use std::{fmt, io, path::PathBuf, time::Duration};

use reqwest::{Client, StatusCode, Url, redirect::Policy};
use thiserror::Error;
use tokio::io::AsyncReadExt;

use super::key_set::KeySetError;

/// Time for the whole exchange. A provider slower than this counts as down; the keys we have stay in use.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest document in bytes. Real ones have a few KiB; certificate chains make them larger.
const DOCUMENT_BYTES_MAX: u64 = 256 * 1024;

/// Why `[auth] jwks` cannot be used at all.
#[derive(Debug, Error)]
pub enum KeySourceError {
    /// It looks like a URL and is none that names a host.
    #[error("the JWKS location is not a URL that can be fetched")]
    NotAUrl,
    /// HTTP to another machine, or another scheme.
    #[error("the JWKS URL is neither https nor on this machine")]
    NotSecure,
    /// A user or password stands in the URL, which is printed in errors and logs.
    #[error("the JWKS URL holds a user or a password")]
    HoldsPassword,
    /// The HTTP client could not be set up: usually no root certificates on this machine.
    #[error("the client that fetches the JWKS could not be set up")]
    Client(#[source] reqwest::Error),
}

impl KeySourceError {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Client(_) => "install the root certificates of the system (package ca-certificates)",
            _ => "write the path of a file, or https://host/path (http:// only for a loopback address)",
        }
    }
}

/// A JWKS that could not be loaded, and from where. The keys loaded before stay in use.
#[derive(Debug, Error)]
#[error("no keys could be loaded from {location}")]
pub struct KeysError {
    /// The path, or the URL without its query.
    pub location: String,
    /// What went wrong.
    #[source]
    pub fault: KeysFault,
}

/// What went wrong with a JWKS.
#[derive(Debug, Error)]
pub enum KeysFault {
    /// The file could not be read.
    #[error("the file could not be read")]
    Read(#[source] io::Error),
    /// No answer in time.
    #[error("the request failed")]
    Fetch(#[source] reqwest::Error),
    /// An answer other than 200; redirects are not followed.
    #[error("the answer has status {0}")]
    Status(u16),
    /// More than 256 KiB.
    #[error("the document is larger than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    /// The document was refused.
    #[error(transparent)]
    Refused(#[from] KeySetError),
}

/// A file or a URL.
pub(super) enum KeySource {
    File(PathBuf),
    Url { url: Url, client: Client },
}

impl KeySource {
    /// Takes everything with `://` for a URL and the rest for a path.
    pub(super) fn new(location: &str) -> Result<Self, KeySourceError> {
        if !location.contains("://") {
            return Ok(Self::File(location.into()));
        }
        let url = Url::parse(location).map_err(|_| KeySourceError::NotAUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(KeySourceError::HoldsPassword);
        }
        let local = is_loopback(&url);
        if url.scheme() != "https" && !(url.scheme() == "http" && local) {
            return Err(KeySourceError::NotSecure);
        }
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .timeout(FETCH_TIMEOUT)
            .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")));
        if local {
            // A proxy would look for the address on its own machine.
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // Otherwise a machine without root certificates could not ask itself.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(KeySourceError::Client)?;
        Ok(Self::Url { url, client })
    }

    /// Whether both read the same document.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(path), Self::File(other)) => path == other,
            (Self::Url { url, .. }, Self::Url { url: other, .. }) => url == other,
            _ => false,
        }
    }

    /// Reads the document.
    ///
    /// Cancel safe: nothing is kept of a document that was not read to its end.
    pub(super) async fn read(&self) -> Result<Vec<u8>, KeysFault> {
        match self {
            Self::File(path) => {
                let mut document = Vec::new();
                let file = tokio::fs::File::open(path).await.map_err(KeysFault::Read)?;
                // One byte more than allowed tells a full document from a cut one.
                let mut bounded = file.take(DOCUMENT_BYTES_MAX + 1);
                bounded.read_to_end(&mut document).await.map_err(KeysFault::Read)?;
                within_bounds(document)
            }
            Self::Url { url, client } => {
                let fetch = |error: reqwest::Error| KeysFault::Fetch(error.without_url());
                let mut answer = client.get(url.clone()).send().await.map_err(fetch)?;
                if answer.status() != StatusCode::OK {
                    return Err(KeysFault::Status(answer.status().as_u16()));
                }
                let mut document = Vec::new();
                while let Some(chunk) = answer.chunk().await.map_err(fetch)? {
                    document.extend_from_slice(&chunk);
                    document = within_bounds(document)?;
                }
                Ok(document)
            }
        }
    }
}

/// The path, or the URL without its query, which may hold a key of the provider's.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url { url, .. } => {
                let mut shown = url.clone();
                shown.set_query(None);
                write!(f, "{shown}")
            }
        }
    }
}

fn within_bounds(document: Vec<u8>) -> Result<Vec<u8>, KeysFault> {
    if document.len() as u64 > DOCUMENT_BYTES_MAX { Err(KeysFault::TooLarge) } else { Ok(document) }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_path_or_a_url_nobody_can_tamper_with() {
        for location in
            ["https://id.example/jwks.json", "http://127.0.0.1:9/k", "http://[::1]:9/k", "http://localhost/k"]
        {
            assert!(matches!(KeySource::new(location), Ok(KeySource::Url { .. })), "{location}");
        }
        assert!(matches!(KeySource::new("etc/keys.json"), Ok(KeySource::File(_))));
        for location in
            ["http://id.example/k", "file:///etc/keys.json", "http://127.0.0.1.example/k", "http://localhost.example/k"]
        {
            assert!(matches!(KeySource::new(location), Err(KeySourceError::NotSecure)), "{location}");
        }
        assert!(matches!(KeySource::new("https://"), Err(KeySourceError::NotAUrl)));
        assert!(matches!(KeySource::new("https://ada:secret@id.example/k"), Err(KeySourceError::HoldsPassword)));
    }

    #[test]
    fn a_query_is_never_shown() {
        let source = KeySource::new("https://id.example/jwks?apikey=secret").unwrap();
        assert_eq!(source.to_string(), "https://id.example/jwks");
    }
}
