//! TLS of the listener: the certificate and its key, read from two PEM files and again whenever those change.
//!
//! Connections go on with what they began with; a new handshake takes what is in force. A pair that cannot be used is refused,
//! told and counted, and the one before stays (`a_broken_certificate_is_refused_and_the_old_one_goes_on`).
//!
//! Sessions are resumed by tickets that only this process can open, so nothing is kept for a client that is away.

mod validity;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::metrics::Metrics;

/// HTTP/2 as TLS names it.
pub const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// What is encrypted and not sent yet, of one connection, in bytes: two TLS records. More would only wait here instead of in the ring.
const UNSENT_BYTES_MAX: usize = 32 << 10;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key} {path} cannot be read: {error}", path = path.display())]
    Unreadable {
        /// `http.tls_certificate` or `http.tls_key`.
        key: &'static str,
        /// As configured.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file holds something else.
    #[error("{key} {path} cannot be used: {why}", path = path.display())]
    Unusable {
        /// `http.tls_certificate` or `http.tls_key`.
        key: &'static str,
        /// As configured.
        path: PathBuf,
        /// Why, without what is in the file.
        why: String,
    },
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    SetUp(rustls::Error),
}

impl TlsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable { .. } => Some("name a PEM file that this process may read"),
            Self::Unusable { .. } => Some(
                "the certificate is PEM with its chain behind it, the key unencrypted PEM and the certificate's own",
            ),
            Self::SetUp(_) => None,
        }
    }
}

/// The certificate that is in force, and the way to it.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    every: Duration,
    provider: Arc<CryptoProvider>,
    in_force: Arc<InForce>,
    acceptor: TlsAcceptor,
    /// The files as they were read last, used or refused. Held while they are read, so that two readers do not overtake each other.
    seen: Mutex<Files>,
    metrics: Arc<Metrics>,
}

#[derive(Clone, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

#[derive(Debug)]
struct InForce(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for InForce {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// Reads certificate and key; none where none are configured.
    ///
    /// # Errors
    /// When they cannot be used.
    pub async fn open(http: &config::Http, metrics: Arc<Metrics>) -> Result<Option<Arc<Self>>, TlsError> {
        if http.tls_certificate.is_empty() {
            return Ok(None);
        }
        let (certificate, key) = (PathBuf::from(&http.tls_certificate), PathBuf::from(&http.tls_key));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let files = Files::read(&certificate, &key).await?;
        let pair = files.pair(&certificate, &key, &provider)?;
        note(&pair, &metrics);
        let in_force = Arc::new(InForce(ArcSwap::from_pointee(pair)));
        let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let mut config = config.map_err(TlsError::SetUp)?.with_no_client_auth().with_cert_resolver(in_force.clone());
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::SetUp)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (every, seen) = (http.tls_refresh, Mutex::new(files));
        Ok(Some(Arc::new(Self { certificate, key, every, provider, in_force, acceptor, seen, metrics })))
    }

    /// The handshake with a new client.
    pub async fn handshake<T: AsyncRead + AsyncWrite + Unpin>(&self, socket: T) -> io::Result<TlsStream<T>> {
        self.acceptor.accept_with(socket, |session| session.set_buffer_limit(Some(UNSENT_BYTES_MAX))).await
    }

    /// Reads the files again. Whether there was something new, which is in force from now on.
    ///
    /// # Errors
    /// When they cannot be used; what was in force stays. Counted, and to be told by the caller.
    pub async fn reload(&self) -> Result<bool, TlsError> {
        let mut seen = self.seen.lock().await;
        let (certificate, key) = (&self.certificate, &self.key);
        let pair = match Files::read(certificate, key).await {
            Ok(files) if files == *seen => return Ok(false),
            Ok(files) => {
                let pair = files.pair(certificate, key, &self.provider);
                // A refused pair counts as new at each look, until it is mended.
                if pair.is_ok() {
                    *seen = files;
                }
                pair
            }
            Err(error) => Err(error),
        };
        self.metrics.tls_reload(pair.is_ok());
        let pair = pair?;
        note(&pair, &self.metrics);
        self.in_force.0.store(Arc::new(pair));
        Ok(true)
    }

    /// Looks at the files from time to time, until `kill`.
    pub async fn keep_fresh(self: Arc<Self>, kill: CancellationToken) {
        let mut due = interval(self.every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while kill.run_until_cancelled(due.tick()).await.is_some() {
            match self.reload().await {
                Ok(true) => tracing::info!("the TLS certificate was read anew"),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "the TLS certificate was refused; the one before stays in force"),
            }
        }
    }
}

/// Notes when the pair ends, and tells when it has.
fn note(pair: &CertifiedKey, metrics: &Metrics) {
    let ends = pair.cert.first().and_then(|certificate| validity::ends(certificate));
    metrics.certificate_ends(ends);
    match ends.map(|ends| ends - jiff::Timestamp::now().as_second()) {
        Some(left) if left <= 0 => {
            tracing::warn!(ended_s = -left, "the TLS certificate has expired; clients refuse it")
        }
        Some(_) => {}
        None => tracing::warn!("the end of the TLS certificate cannot be read"),
    }
}

impl Files {
    async fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = async |name: &'static str, path: &Path| {
            let unreadable = |error| TlsError::Unreadable { key: name, path: path.to_owned(), error };
            tokio::fs::read(path).await.map_err(unreadable)
        };
        Ok(Self {
            certificate: read("http.tls_certificate", certificate).await?,
            key: read("http.tls_key", key).await?,
        })
    }

    fn pair(&self, certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let refuse_certificate =
            |why: String| TlsError::Unusable { key: "http.tls_certificate", path: certificate.to_owned(), why };
        let refuse_key = |why: String| TlsError::Unusable { key: "http.tls_key", path: key.to_owned(), why };
        let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|error| refuse_certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(refuse_certificate("it holds no certificate in PEM".into()));
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            refuse_key(match error {
                pem::Error::NoItemsFound => "it holds no unencrypted private key in PEM".into(),
                other => other.to_string(),
            })
        })?;
        let private = provider.key_provider.load_private_key(private).map_err(|error| refuse_key(error.to_string()))?;
        let pair = CertifiedKey::new(chain, private);
        match pair.keys_match() {
            Ok(()) => Ok(pair),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(refuse_key(format!("it is not the key of {}", certificate.display())))
            }
            Err(error) => Err(refuse_certificate(error.to_string())),
        }
    }
}
