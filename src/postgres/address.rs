//! A connection string, as libpq reads it: what the driver knows, and what it does not.
//!
//! The driver parses hosts, names and passwords. Parameters about TLS, the server's role and password files are taken out
//! first: it knows some of their values only, and refuses the rest.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr as _;

use percent_encoding::percent_decode_str;
use rand::seq::SliceRandom as _;
use tokio_postgres::config::{Host as DriverHost, LoadBalanceHosts};

use super::error::Why;
use super::passfile;
use super::tls::Tls;

/// Parameters that are read here.
const OURS: [&str; 11] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslnegotiation",
    "sslpassword",
    "sslcrl",
    "sslcrldir",
    "gssencmode",
    "passfile",
    "target_session_attrs",
];
/// PostgreSQL's port.
const PORT: u16 = 5432;

/// Why a connection string cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It is in a file that cannot be read.
    #[error("{} cannot be read: {}", .0.display(), .1)]
    File(PathBuf, std::io::Error),
    /// A part of it is wrong. Never holds a password.
    #[error("{0}")]
    Wrong(String),
}

impl AddressError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(..) => "check database.url_file, and that this process's user may read it",
            Self::Wrong(_) => "write it as postgresql://user:password@host:5432/database?sslmode=verify-full",
        }
    }
}

/// What a connection string says.
pub(super) struct Address {
    /// Without hosts and TLS, which are ours.
    pub(super) driver: tokio_postgres::Config,
    pub(super) hosts: Vec<Host>,
    pub(super) tls: Tls,
    passfile: Option<PathBuf>,
    /// Whether a server that refuses writes by default will not do.
    read_write: bool,
}

/// One of the servers.
pub(super) struct Host {
    /// For certificates and password files.
    pub(super) name: String,
    pub(super) at: At,
    pub(super) port: u16,
}

/// Where it is.
pub(super) enum At {
    Name(String),
    Address(IpAddr),
    /// The directory of its socket.
    Directory(PathBuf),
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        let (theirs, ours) = if text.contains("://") { split_url(text) } else { split_words(text)? };
        // The driver's message names the option or part that is wrong, never a password.
        let driver = tokio_postgres::Config::from_str(&theirs).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            AddressError::Wrong(cause.unwrap_or_else(|| error.to_string()))
        })?;
        let find = |key: &str| {
            ours.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
        };
        for unsupported in ["sslpassword", "sslcrl", "sslcrldir"] {
            if find(unsupported).is_some() {
                return Err(AddressError::Wrong(format!("`{unsupported}` is not supported")));
            }
        }
        if find("gssencmode") == Some("require") {
            return Err(AddressError::Wrong("`gssencmode=require` is not supported; use sslmode".into()));
        }
        let hosts = hosts(&driver)?;
        let read_write = match find("target_session_attrs") {
            None | Some("any" | "primary") => false,
            Some("read-write") => true,
            Some(other @ ("read-only" | "standby" | "prefer-standby")) => {
                let why = "LISTEN and the log need the primary: write read-write, or leave it out";
                return Err(AddressError::Wrong(format!("`target_session_attrs={other}`: {why}")));
            }
            Some(_) => return Err(AddressError::Wrong("invalid value for option `target_session_attrs`".into())),
        };
        let tls = Tls::parse(find).map_err(AddressError::Wrong)?;
        Ok(Self { driver, hosts, tls, passfile: find("passfile").map(PathBuf::from), read_write })
    }

    /// The order in which hosts are tried: the one that answered last, then as they were named or at random.
    pub(super) fn order(&self, last: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        if self.driver.get_load_balance_hosts() == LoadBalanceHosts::Random {
            order.shuffle(&mut rand::rng());
        } else {
            order.sort_by_key(|index| *index != last);
        }
        order
    }

    /// Role and database as the server will be told them.
    pub(super) fn role_and_database(&self) -> (String, String) {
        let role = self.driver.get_user().unwrap_or("(this process's user)").to_owned();
        let database = self.driver.get_dbname().unwrap_or(&role).to_owned();
        (role, database)
    }

    /// The password, where only a file has it.
    pub(super) fn password_for(&self, host: &Host) -> Result<Option<String>, Why> {
        let (Some(path), None) = (&self.passfile, self.driver.get_password()) else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|error| Why::File("passfile", path.clone(), error))?;
        let (role, database) = self.role_and_database();
        Ok(passfile::find(&text, &host.name, host.port, &database, &role))
    }

    /// Refuses a standby always, and a server that refuses writes where that was asked for.
    pub(super) fn refuse_unfit(&self, is_on: impl Fn(&str) -> bool) -> Result<(), Why> {
        if is_on("in_hot_standby") {
            Err(Why::Standby)
        } else if self.read_write && is_on("default_transaction_read_only") {
            Err(Why::ReadOnly)
        } else {
            Ok(())
        }
    }
}

/// Hosts as the driver has read them, with a port each.
fn hosts(driver: &tokio_postgres::Config) -> Result<Vec<Host>, AddressError> {
    let wrong = |message: &str| Err(AddressError::Wrong(message.into()));
    let (names, addresses, ports) = (driver.get_hosts(), driver.get_hostaddrs(), driver.get_ports());
    let count = names.len().max(addresses.len());
    if count == 0 {
        return wrong("no host is named");
    }
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return wrong("`host` and `hostaddr` name different numbers of hosts");
    }
    if ports.len() > 1 && ports.len() != count {
        return wrong("`port` names another number of ports than there are hosts");
    }
    let host = |index: usize| {
        let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(PORT);
        let (name, named) = match names.get(index) {
            Some(DriverHost::Tcp(name)) => {
                (name.clone(), name.parse().map_or_else(|_| At::Name(name.clone()), At::Address))
            }
            Some(DriverHost::Unix(directory)) => ("localhost".to_owned(), At::Directory(directory.clone())),
            None => (String::new(), At::Name(String::new())),
        };
        let at = addresses.get(index).map_or(named, |address| At::Address(*address));
        let name = match &at {
            At::Address(address) if name.is_empty() => address.to_string(),
            _ => name,
        };
        Host { name, at, port }
    };
    Ok((0..count).map(host).collect())
}

type Split = (String, Vec<(String, String)>);

/// Takes our parameters out of the query of a URL.
fn split_url(text: &str) -> Split {
    // A password may hold an unescaped `?`: the query begins behind the first `@`, where the driver ends the password too.
    let authority = text.find('@').unwrap_or(0);
    let Some(at) = text[authority..].find('?').map(|at| authority + at) else { return (text.to_owned(), Vec::new()) };
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for pair in text[at + 1..].split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if OURS.contains(&key) {
            ours.push((key.to_owned(), percent_decode_str(value).decode_utf8_lossy().into_owned()));
        } else if !pair.is_empty() {
            theirs.push(pair);
        }
    }
    let query = if theirs.is_empty() { String::new() } else { format!("?{}", theirs.join("&")) };
    (format!("{}{query}", &text[..at]), ours)
}

/// Takes our parameters out of `key = 'value' …`, quoted as libpq has it; leaves the others as they stand.
fn split_words(text: &str) -> Result<Split, AddressError> {
    let wrong = |message: &str| AddressError::Wrong(message.into());
    let (mut theirs, mut ours) = (String::new(), Vec::new());
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or_else(|| wrong("a word without `=` in the connection string"))?;
        let (value, length) = word(after).ok_or_else(|| wrong("an open quote in the connection string"))?;
        let key = key.trim();
        if OURS.contains(&key) {
            ours.push((key.to_owned(), value));
        } else {
            theirs.push_str(&format!("{key}={} ", after[..length].trim_start()));
        }
        rest = after[length..].trim_start();
    }
    Ok((theirs, ours))
}

/// The value at the beginning of `text`, and how many bytes it takes.
fn word(text: &str) -> Option<(String, usize)> {
    let begin = text.len() - text.trim_start().len();
    let (mut value, mut chars) = (String::new(), text[begin..].char_indices().peekable());
    let quoted = chars.next_if(|(_, char)| *char == '\'').is_some();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => value.push(chars.next()?.1),
            '\'' if quoted => return Some((value, begin + at + 1)),
            char if char.is_whitespace() && !quoted => return Some((value, begin + at)),
            char => value.push(char),
        }
    }
    (!quoted).then_some((value, text.len()))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Name(name) => write!(f, "{name}:{}", self.port),
            At::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            At::Address(address) => write!(f, "{address}:{}", self.port),
            At::Directory(directory) => write!(f, "{}:{}", directory.display(), self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Address::parse(text).err().unwrap().to_string()
    }

    fn named(text: &str) -> Vec<String> {
        Address::parse(text).unwrap().hosts.iter().map(Host::to_string).collect()
    }

    #[test]
    fn both_forms_are_read_with_what_the_driver_does_not_know() {
        let password = "p@?w d";
        for text in [
            "postgres://u:p%40%3Fw%20d@a:1,b:2/db?sslmode=verify-full&sslrootcert=%2Fca.pem&application_name=x",
            r"host=a,b port=1,2 user=u password='p@?w d' dbname=db sslmode = 'verify-full' sslrootcert=/ca.pem application_name=x",
            r"sslrootcert='/ca.pem' host=a,b port=1,2 user=u password=p@?w\ d dbname=db application_name=x sslmode=verify-full",
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(named(text), ["a:1", "b:2"], "{text}");
            assert_eq!(address.driver.get_password(), Some(password.as_bytes()), "{text}");
            assert_eq!(address.driver.get_application_name(), Some("x"), "{text}");
            assert_eq!(
                address.tls,
                Tls::parse(|key| match key {
                    "sslmode" => Some("verify-full"),
                    "sslrootcert" => Some("/ca.pem"),
                    _ => None,
                })
                .unwrap(),
                "{text}"
            );
        }
    }

    #[test]
    fn hosts_have_their_ports_and_names() {
        assert_eq!(named("postgres://u@a,b:6543,[::1]:7/db"), ["a:5432", "b:6543", "[::1]:7"]);
        assert_eq!(named("host=db hostaddr=10.0.0.1 user=u"), ["10.0.0.1:5432"]);
        assert_eq!(named("postgres://u@%2Frun%2Fpg:5433/db"), ["/run/pg:5433"]);
        assert_eq!(wrong("dbname=x"), "no host is named");
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for (text, part) in [
            ("host=a sslmode=verify", "sslmode"),
            ("host=a sslmode=verify-ca", "sslrootcert"),
            ("host=a sslmode=require sslrootcert=system", "verify-full"),
            ("host=a sslcert=/c.pem", "sslkey"),
            ("host=a sslnegotiation=direct sslmode=prefer", "sslnegotiation"),
            ("host=a target_session_attrs=standby", "primary"),
            ("host=a sslcrl=/x", "sslcrl"),
            ("host=a gssencmode=require", "gssencmode"),
            ("host=a schema=public", "schema"),
            ("host=a password='open", "quote"),
            ("postgres://u:secret@a/db?schema=public", "schema"),
        ] {
            let message = wrong(text);
            assert!(message.contains(part), "{text}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn the_host_that_answered_last_is_tried_first() {
        let address = Address::parse("host=a,b,c").unwrap();
        assert_eq!(address.order(0), [0, 1, 2]);
        assert_eq!(address.order(2), [2, 0, 1]);
        assert_eq!(address.order(9), [0, 1, 2]);
    }
}
