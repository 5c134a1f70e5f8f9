//! Why no connection came about: what happened, to what, what to do. Never a password.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::CertificateError;
use tokio_postgres::error::SqlState;

use super::address::{Address, AddressError};

/// No host would do.
#[derive(Debug)]
pub struct ConnectError {
    /// `(database app, role bridge)`.
    whose: String,
    /// Each host with the reason against it.
    failed: Vec<(String, Why)>,
}

/// Why one host would not do.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The connection string cannot be used.
    #[error("database.url cannot be used: {0}")]
    Address(#[from] AddressError),
    /// A file that it names cannot be read.
    #[error("{} {} cannot be read: {}", .0, .1.display(), .2)]
    File(&'static str, PathBuf, io::Error),
    /// The name has no address.
    #[error("the host's name cannot be resolved: {0}")]
    Unresolved(io::Error),
    /// Nobody answers there, or nobody can be asked.
    #[error("no connection: {0}")]
    Unreachable(io::Error),
    /// Nothing came in time.
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// It broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// The server closed it.
    #[error("the server closed the connection")]
    Closed,
    /// Something else listens there.
    #[error("what answers there is not PostgreSQL")]
    NotPostgres,
    /// TLS is wanted, and not offered.
    #[error("the server does not offer TLS")]
    NoTls,
    /// TLS does not come about.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The certificate comes from somebody else.
    #[error("the server's certificate is not trusted: {0}")]
    Untrusted(String),
    /// The certificate is for another name.
    #[error("the server's certificate is for another name: {0}")]
    OtherName(String),
    /// Channel binding is wanted, and there is no TLS to bind to.
    #[error("channel_binding=require, and the connection is not encrypted")]
    NoChannelBinding,
    /// It cannot be written to.
    #[error("the server is a standby: LISTEN and the log need the primary")]
    Standby,
    /// It refuses writes.
    #[error(
        "the server refuses writes (default_transaction_read_only), and target_session_attrs=read-write asks for them"
    )]
    ReadOnly,
    /// Sessions do not last.
    #[error("a pooler in {0} mode is in between: LISTEN would seem to work and hear nothing")]
    Pooler(&'static str),
    /// PostgreSQL has no connection left.
    #[error("{0}")]
    Full(String),
    /// PostgreSQL, or a pooler in its place, says no.
    #[error("{}", database_message(.0))]
    Refused(tokio_postgres::Error),
}

impl Why {
    /// What the driver says, sorted.
    pub(super) fn of(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(&SqlState::TOO_MANY_CONNECTIONS) => return Self::Full(database_message(&error)),
            Some(_) => return Self::Refused(error),
            None => {}
        }
        match find::<io::Error>(&error) {
            // A server that refuses our certificate says so only when the handshake is over for us.
            Some(cause) if is_of_tls(cause) => Self::Tls(cause.to_string()),
            Some(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            Some(cause) => Self::Broken(io::Error::new(cause.kind(), cause.to_string())),
            None if error.is_closed() => Self::Closed,
            None => Self::Refused(error),
        }
    }

    /// What a failed handshake says, sorted.
    pub(super) fn handshake(error: io::Error) -> Self {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(wrong @ (NotValidForName | NotValidForNameContext { .. }))) => {
                Self::OtherName(wrong.to_string())
            }
            Some(rustls::Error::InvalidCertificate(wrong)) => Self::Untrusted(wrong.to_string()),
            Some(other) => Self::Tls(other.to_string()),
            None => Self::Tls(error.to_string()),
        }
    }

    /// Whether the other way, with TLS or without, may fare better.
    pub(super) fn may_be_about_encryption(&self) -> bool {
        match self {
            Self::Tls(_) | Self::Untrusted(_) | Self::OtherName(_) => true,
            Self::NotPostgres | Self::Closed | Self::Broken(_) => true,
            Self::Refused(_) => self.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
            _ => false,
        }
    }

    /// SQLSTATE, where PostgreSQL said one.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Refused(error) => error.code(),
            _ => None,
        }
    }

    /// In a few words that tell a stranger nothing: for `/readyz`.
    pub fn in_short(&self) -> &'static str {
        match self {
            Self::Address(_) | Self::File(..) => "its address or a file of it cannot be read",
            Self::Unresolved(_) | Self::Unreachable(_) | Self::Timeout(_) | Self::Broken(_) | Self::Closed => {
                "it cannot be reached"
            }
            Self::NotPostgres | Self::NoTls | Self::Tls(_) | Self::NoChannelBinding => "TLS with it fails",
            Self::Untrusted(_) | Self::OtherName(_) => "its certificate is not trusted",
            Self::Standby | Self::ReadOnly => "it is a standby",
            Self::Pooler(_) => "a pooler is in between",
            Self::Full(_) => "it has no connection left",
            Self::Refused(_) => match self.code().map(SqlState::code) {
                Some("28P01") => "it refuses the password",
                Some("28000" | "42501") => "it refuses the role",
                Some("57P03") => "it is starting or ending",
                _ => "it refuses the connection",
            },
        }
    }

    /// What to do about it.
    fn hint(&self) -> &'static str {
        match self {
            Self::Address(error) => error.hint(),
            Self::File(..) => {
                "check the path, and that this process's user may read it; it is read for each connection"
            }
            Self::Unresolved(_) => "check the host in database.url, and name resolution on this machine",
            Self::Unreachable(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "check host and port in database.url, that PostgreSQL runs, and that listen_addresses names that address"
            }
            Self::Unreachable(error) if error.kind() == io::ErrorKind::NotFound => {
                "there is no such socket: check the directory and the port in database.url, and that PostgreSQL runs"
            }
            Self::Unreachable(_) | Self::Timeout(_) => {
                "check host and port in database.url, and that a firewall lets this machine through"
            }
            Self::Broken(_) | Self::Closed => "see PostgreSQL's log",
            Self::NotPostgres => "check host and port in database.url",
            Self::NoTls => {
                "set ssl = on in postgresql.conf, or sslmode=prefer in database.url if the network is trusted"
            }
            Self::Tls(_) => {
                "check sslmode, sslcert and sslkey in database.url; PostgreSQL's log has the other side of it"
            }
            Self::Untrusted(_) => {
                "name the CA that signed it: sslrootcert=/path/ca.pem in database.url; was the server's certificate replaced, \
                 add the new CA to that file, no restart is needed"
            }
            Self::OtherName(_) => {
                "connect by a name in the certificate's subjectAltName, or have one made for this name; \
                 sslmode=verify-ca does without the name"
            }
            Self::NoChannelBinding => "set sslmode=require or more",
            Self::Standby => {
                "name the primary in database.url, or all servers: host=a,b; the one that can be written to is found"
            }
            Self::ReadOnly => "name the primary, or leave out target_session_attrs",
            Self::Pooler(_) => {
                "point database.url at PostgreSQL itself, or at a port of the pooler with pool_mode = session"
            }
            Self::Full(_) => {
                "raise max_connections, lower database.pool_size (a bridge holds one more), or see in pg_stat_activity who has them"
            }
            Self::Refused(error) => refusal_hint(error),
        }
    }

    /// Without having asked again.
    pub(super) fn full() -> Self {
        Self::Full("PostgreSQL had no connection left a moment ago".into())
    }

    /// How much it tells: of several hosts, the one that nearly worked has the hint.
    fn weight(&self) -> u8 {
        match self {
            Self::Unresolved(_) | Self::Unreachable(_) | Self::Timeout(_) => 0,
            Self::Broken(_) | Self::Closed => 1,
            Self::Standby | Self::ReadOnly => 2,
            _ => 3,
        }
    }
}

fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn refusal_hint(error: &tokio_postgres::Error) -> &'static str {
    match error.code().map(SqlState::code) {
        Some("28P01") => {
            "check the password; from a file (database.url_file, passfile) a changed one is taken without a restart"
        }
        Some("28000") => {
            "check the role, and that pg_hba.conf lets it in from this machine, with or without TLS as it is used"
        }
        Some("3D000") => "check the database's name in database.url, or create it: createdb",
        Some("42501") => "grant it: grant connect on database … to …",
        Some("57P03") => "it is starting, or shutting down: try again",
        Some("08P01") => {
            "is it a pooler? Let it pass what it does not know: ignore_startup_parameters = options in pgbouncer.ini"
        }
        Some(_) => "see PostgreSQL's log",
        None if find_text(error, "password missing") => {
            "PostgreSQL asks for a password: write it in database.url, or name a passfile there"
        }
        None => "check database.url: host, port, user, password and database name",
    }
}

fn database_message(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{} ({})", db.message(), db.code().code()),
        (None, Some(cause)) => cause.to_string(),
        (None, None) => error.to_string(),
    }
}

impl ConnectError {
    pub(super) fn new(address: &Address, failed: Vec<(String, Why)>) -> Self {
        let (role, database) = address.role_and_database();
        Self { whose: format!(" (database {database}, role {role})"), failed }
    }

    /// The reason that tells most.
    pub fn why(&self) -> Option<&Why> {
        // The first of those that tell as much: hosts are named in the order of their importance.
        self.failed.iter().map(|(_, why)| why).rev().max_by_key(|why| why.weight())
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        self.why().map_or("check database.url", Why::hint)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database cannot be reached: ")?;
        for (index, (place, why)) in self.failed.iter().enumerate() {
            let between = if index > 0 { "; " } else { "" };
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            write!(f, "{between}{place}{why}")?;
        }
        f.write_str(&self.whose)
    }
}

impl StdError for ConnectError {}

impl From<Why> for ConnectError {
    /// Of no host in particular.
    fn from(why: Why) -> Self {
        Self { whose: String::new(), failed: vec![(String::new(), why)] }
    }
}

impl From<AddressError> for ConnectError {
    fn from(error: AddressError) -> Self {
        Why::from(error).into()
    }
}

/// What went wrong on a connection of the pool, or in getting one, without the wrappings of driver and pool. What PostgreSQL says of
/// a statement may quote its values, so of that only the SQLSTATE is told; what it says of connections and of itself is told whole.
pub fn reason(error: &(dyn StdError + 'static)) -> String {
    if let Some(connect) = find::<ConnectError>(error) {
        return connect.to_string();
    }
    match find::<tokio_postgres::Error>(error) {
        Some(driver) => match (driver.as_db_error(), driver.source()) {
            (Some(db), _) if of_the_server(db.code()) => format!("{} ({})", db.message(), db.code().code()),
            (Some(db), _) => format!("PostgreSQL refuses a statement (SQLSTATE {})", db.code().code()),
            (None, Some(cause)) => format!("{driver}: {cause}"),
            (None, None) => driver.to_string(),
        },
        None => error.to_string(),
    }
}

/// Connections, transactions, who may do what, names that are missing, resources, and the server itself.
fn of_the_server(code: &tokio_postgres::error::SqlState) -> bool {
    const CLASSES: [&str; 9] = ["08", "25", "28", "3D", "3F", "42", "53", "57", "58"];
    code.code().get(..2).is_some_and(|class| CLASSES.contains(&class))
}

/// The first of this type among an error and its causes.
pub(crate) fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn find_text(error: &tokio_postgres::Error, text: &str) -> bool {
    error.source().is_some_and(|cause| cause.to_string().contains(text))
}
