//! Encryption and trust, with libpq's meanings of `sslmode` and `sslrootcert`.
//!
//! | sslmode | encrypted | what is verified |
//! |---|---|---|
//! | `disable` | never | |
//! | `allow` | where the server insists | the chain, if a root file is named |
//! | `prefer` (default) | where the server offers it | the chain, if a root file is named |
//! | `require` | always | the chain, if a root file is named |
//! | `verify-ca` | always | the chain |
//! | `verify-full` | always | the chain and the name |
//!
//! Files are read for each connection: a rotated one counts at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::error::Why;

/// What "direct" TLS says it is for.
const ALPN: &[u8] = b"postgresql";

/// How much encryption is insisted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Whom a certificate must come from.
#[derive(Debug, PartialEq, Eq)]
enum Roots {
    Unnamed,
    System,
    File(PathBuf),
}

/// What the connection string says about TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tls {
    mode: Mode,
    roots: Roots,
    /// Our own certificate and its key.
    own: Option<(PathBuf, PathBuf)>,
    /// TLS from the first byte on.
    pub(super) direct: bool,
}

/// One way to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encrypt {
    Never,
    IfOffered,
    Always,
}

impl Tls {
    /// Reads the parameters; says what does not go together.
    pub(super) fn parse<'a>(find: impl Fn(&str) -> Option<&'a str>) -> Result<Self, String> {
        let roots = match find("sslrootcert") {
            None => Roots::Unnamed,
            Some("system") => Roots::System,
            Some(path) => Roots::File(path.into()),
        };
        let mode = match find("sslmode") {
            None if roots == Roots::System => Mode::VerifyFull,
            None | Some("prefer") => Mode::Prefer,
            Some("disable") => Mode::Disable,
            Some("allow") => Mode::Allow,
            Some("require") => Mode::Require,
            Some("verify-ca") => Mode::VerifyCa,
            Some("verify-full") => Mode::VerifyFull,
            Some(_) => {
                let modes = "disable, allow, prefer, require, verify-ca, verify-full";
                return Err(format!("invalid value for option `sslmode`: write one of {modes}"));
            }
        };
        if roots == Roots::System && mode != Mode::VerifyFull {
            return Err(
                "`sslrootcert=system` needs `sslmode=verify-full`: anybody gets a certificate of a public CA".into()
            );
        }
        if roots == Roots::Unnamed && mode == Mode::VerifyCa {
            return Err("`sslmode=verify-ca` needs `sslrootcert`, the file with the CA's certificate".into());
        }
        let own = match (find("sslcert"), find("sslkey")) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            _ => return Err("`sslcert` and `sslkey` go together".into()),
        };
        let direct = match find("sslnegotiation") {
            None | Some("postgres") => false,
            Some("direct") if mode >= Mode::Require => true,
            Some("direct") => return Err("`sslnegotiation=direct` needs `sslmode=require` or more".into()),
            Some(_) => return Err("invalid value for option `sslnegotiation`: write postgres or direct".into()),
        };
        Ok(Self { mode, roots, own, direct })
    }

    /// The ways to try, in order.
    pub(super) fn ways(&self) -> &'static [Encrypt] {
        match self.mode {
            Mode::Disable => &[Encrypt::Never],
            Mode::Allow => &[Encrypt::Never, Encrypt::Always],
            Mode::Prefer => &[Encrypt::IfOffered, Encrypt::Never],
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => &[Encrypt::Always],
        }
    }

    /// Roots, certificate and key as they are now.
    pub(super) fn client(&self) -> Result<ClientConfig, Why> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(self.verifier(&provider)?);
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| Why::Tls(error.to_string()))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("sslcert", certificate)?;
                let key = read("sslkey", key)?;
                let key = PrivateKeyDer::from_pem_slice(&key)
                    .map_err(|error| Why::Tls(format!("sslkey holds no key that can be used: {error}")))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| Why::Tls(format!("sslcert and sslkey: {error}")))?
            }
        };
        if self.direct {
            config.alpn_protocols = vec![ALPN.to_vec()];
        }
        Ok(config)
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Verifier, Why> {
        let named = match &self.roots {
            Roots::File(path) => certificates("sslrootcert", path)?,
            Roots::Unnamed | Roots::System => Vec::new(),
        };
        let mut roots = RootCertStore::empty();
        if self.mode == Mode::VerifyFull && named.is_empty() {
            // Single files of a system that cannot be read are no reason to trust the others less.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        } else {
            roots.add_parsable_certificates(named.iter().cloned());
        }
        let trusted = if roots.is_empty() && self.mode < Mode::VerifyCa {
            None
        } else {
            let built = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build();
            Some(built.map_err(|error| Why::Tls(format!("the roots cannot be used: {error}")))?)
        };
        Ok(Verifier { trusted, named, name_counts: self.mode == Mode::VerifyFull, provider: provider.clone() })
    }
}

/// The name that a certificate must be for.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, Why> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| Why::Tls(format!("{host:?} is no name that a certificate could be for")))
}

fn read(parameter: &'static str, path: &Path) -> Result<Vec<u8>, Why> {
    std::fs::read(path).map_err(|error| Why::File(parameter, path.to_owned(), error))
}

fn certificates(parameter: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Why> {
    let pem = read(parameter, path)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Why::Tls(format!("{parameter} {} holds no certificate", path.display()))),
        Err(error) => Err(Why::Tls(format!("{parameter} {} cannot be read: {error}", path.display()))),
    }
}

/// Believes what `sslmode` says is to be believed.
#[derive(Debug)]
struct Verifier {
    /// None: any certificate will do.
    trusted: Option<Arc<WebPkiServerVerifier>>,
    /// The certificates of the root file.
    named: Vec<CertificateDer<'static>>,
    name_counts: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext, Other};
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        match trusted.verify_server_cert(certificate, between, name, ocsp, now) {
            // The name is looked at last, when the chain and the dates have held.
            Err(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) if !self.name_counts => {
                Ok(ServerCertVerified::assertion())
            }
            // PostgreSQL's manual makes a certificate that signs itself, and to webpki is a CA that must not serve. Whoever names
            // just this one as the root means it. Its dates were looked at before that.
            Err(Error::InvalidCertificate(Other(_))) if self.named.iter().any(|named| named == certificate) => {
                if self.name_counts {
                    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
