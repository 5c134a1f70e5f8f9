//! Certificates of a test's own authority, in files as a bridge reads them, and clients that trust it.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::Folder;

pub type Tls = TlsStream<TcpStream>;

pub struct Certificate {
    folder: Folder,
    authority: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificate {
    /// The first of a new authority, for the loopback address and localhost.
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = parameters.self_signed(&key).unwrap().der().clone();
        let certificate = Self { folder: Folder::new(), authority, issuer: Issuer::new(parameters, key) };
        certificate.renew(2040);
        certificate
    }

    /// Path of the certificate.
    pub fn chain(&self) -> String {
        format!("{}/chain.pem", self.folder.path())
    }

    /// Path of its key.
    pub fn key(&self) -> String {
        format!("{}/key.pem", self.folder.path())
    }

    /// Another in the place of this one, which ends with the year given. Each file is replaced whole, as those who do it well do.
    pub fn renew(&self, year: i32) -> CertificateDer<'static> {
        let (key, certificate) = self.sign(year);
        self.write(&self.key(), &key.serialize_pem());
        self.write(&self.chain(), &certificate.pem());
        certificate.der().clone()
    }

    /// A certificate that is not in any file.
    pub fn sign(&self, year: i32) -> (KeyPair, rcgen::Certificate) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (key, certificate)
    }

    pub fn write(&self, path: &str, text: &str) {
        let aside = format!("{path}.new");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, path).unwrap();
    }

    /// A client that trusts the authority, and follows no redirect.
    pub fn client(&self) -> reqwest::Client {
        let root = reqwest::Certificate::from_der(&self.authority).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).redirect(reqwest::redirect::Policy::none());
        client.pool_max_idle_per_host(0).build().unwrap()
    }

    /// The same for [`Self::connect`], with what it is to speak.
    pub fn config(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A connection after its handshake.
    pub async fn connect(&self, address: SocketAddr, protocols: &[&str]) -> Tls {
        connect(address, self.config(protocols)).await
    }
}

/// A connection after its handshake, with a configuration that may remember sessions.
pub async fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> Tls {
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config).connect(name, socket).await.unwrap()
}
