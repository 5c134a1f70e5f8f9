//! A PostgreSQL that encrypts, with certificates of authorities that a test makes.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tidings::private_postgres::{Options, PrivatePostgres};

use super::database::connect;

/// Who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        AsRef::<Certificate>::as_ref(&self.0).pem()
    }

    /// Signs for these names and addresses; the first is the common name.
    pub fn sign(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, &names[0]);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &*self.0).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

impl Identity {
    /// As PostgreSQL's manual makes one: it signs itself, and is a CA.
    pub fn of_itself(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// A server of a test's own that encrypts.
pub struct Secured {
    pub server: PrivatePostgres,
    directory: PathBuf,
}

impl Secured {
    pub async fn start(identity: &Identity) -> Self {
        let server = PrivatePostgres::start(Options { tcp: true, ..Options::default() }).await.unwrap();
        let directory = server.directory("tls").unwrap();
        let secured = Self { server, directory };
        secured.present(identity).await;
        secured
    }

    /// Shows this certificate from the next connection on.
    pub async fn present(&self, identity: &Identity) {
        self.write("server.pem", &identity.certificate);
        self.write("server.key", &identity.key);
        let path = |name: &str| self.directory.join(name).display().to_string();
        self.set("ssl_cert_file", &path("server.pem")).await;
        self.set("ssl_key_file", &path("server.key")).await;
        self.set("ssl", "on").await;
    }

    /// Believes clients whose certificate comes from there.
    pub async fn believe(&self, authority: &Authority) {
        let path = self.write("clients.pem", &authority.pem());
        self.set("ssl_ca_file", &path.display().to_string()).await;
    }

    /// Who may connect from where: lines of pg_hba.conf in front of those that are there.
    pub async fn admit(&self, lines: &str) {
        let admin = connect(&self.server.url("postgres")).await;
        let file: String = admin.query_one("show hba_file", &[]).await.unwrap().get(0);
        let rest = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{lines}\n{rest}")).unwrap();
        admin.batch_execute("select pg_reload_conf()").await.unwrap();
    }

    /// Changes a setting. The postmaster takes it soon: whoever depends on that waits for its effect.
    pub async fn set(&self, name: &str, value: &str) {
        let admin = connect(&self.server.url("postgres")).await;
        admin.batch_execute(&format!("alter system set {name} = '{value}'")).await.unwrap();
        admin.batch_execute("select pg_reload_conf()").await.unwrap();
    }

    /// The URL over TCP, at this host, with this behind the question mark.
    pub fn url(&self, host: &str, database: &str, query: &str) -> String {
        let url = self.server.tcp_url(database).unwrap().replacen("127.0.0.1", host, 1);
        format!("{url}?{query}")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        // PostgreSQL wants a key that is its own and nobody else's to read.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        give_like(&path, &self.directory);
        path
    }
}

/// Gives a file to the owner of another, where we are root.
fn give_like(path: &Path, model: &Path) {
    let model = std::fs::metadata(model).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(path, Some(model.uid()), Some(model.gid())).unwrap();
    }
}
