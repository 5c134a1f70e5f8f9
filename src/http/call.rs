//! One request as the routes see it: headers, query, connection.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use warp::Filter;
use warp::http::{HeaderMap, StatusCode};

use super::address;
use super::problem::Problem;
use super::serve::Conn;
use crate::auth::Globs;
use crate::cursor::Cursor;
use crate::reload::InForce;

/// Headers, query and connection of a request.
#[derive(Clone, Debug)]
pub struct Call {
    /// As sent.
    pub headers: HeaderMap,
    query: BTreeMap<String, String>,
    /// A parameter that was given twice, so that nobody knows which of them is meant.
    repeated: Option<String>,
    /// The connection it came on.
    pub conn: Conn,
}

/// Extracts a [`Call`]; never rejects.
pub fn call() -> impl Filter<Extract = (Call,), Error = std::convert::Infallible> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let conn = warp::ext::optional::<Conn>();
    warp::header::headers_cloned()
        .and(query)
        .and(conn)
        .map(|headers, query: String, conn: Option<Conn>| Call::new(headers, &query, conn.unwrap_or_default()))
}

impl Call {
    /// A request with these headers and this query, as it stands behind the `?`.
    pub fn new(headers: HeaderMap, query: &str, conn: Conn) -> Self {
        let (mut parameters, mut repeated) = (BTreeMap::new(), None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            if parameters.insert(name.clone(), value).is_some() {
                repeated = Some(name);
            }
        }
        Self { headers, query: parameters, repeated, conn }
    }

    /// The address it is counted for.
    pub fn address(&self, in_force: &InForce) -> IpAddr {
        let peer = self.conn.peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.ip());
        address::of_request(peer, &self.headers, &in_force.trusted_proxies)
    }

    /// Whether proxies say something about it that is not believed.
    pub fn is_forwarded(&self) -> bool {
        ["x-forwarded-for", "forwarded"].iter().any(|name| self.headers.contains_key(*name))
    }

    /// A header's text; absent when it is not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A parameter of the query, decoded; an empty one counts as absent.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The query without this parameter, as it stands behind a path: `?` and the others, or nothing.
    pub fn query_without(&self, name: &str) -> String {
        let mut others = form_urlencoded::Serializer::for_suffix(String::from("?"), 1);
        others.extend_pairs(self.query.iter().filter(|(other, _)| *other != name));
        let others = others.finish();
        if others == "?" { String::new() } else { others }
    }

    /// Refuses a query that says something twice.
    pub fn once(&self) -> Result<(), Problem> {
        match &self.repeated {
            // Longer names and stranger ones are none of ours; they are not repeated to the caller.
            Some(name) if name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
                Err(Problem::field(name.clone(), format!("{name} is there more than once in the query; give it once")))
            }
            Some(_) => Err(Problem::field("query", "a parameter is there more than once in the query; give it once")),
            None => Ok(()),
        }
    }

    /// The globs of `types`.
    pub fn types(&self) -> Result<Globs, Problem> {
        match self.query("types") {
            Some(list) => Globs::parse(list).map_err(|e| Problem::field("types", format!("types: {e}; {}", e.hint()))),
            None => Ok(Globs::any()),
        }
    }

    /// The cursor of `after`.
    pub fn after(&self) -> Result<Option<Cursor>, Problem> {
        cursor(self.query("after"))
    }

    /// Whether `after` is the word `now`.
    pub fn from_now(&self) -> bool {
        self.query("after") == Some(NOW)
    }

    /// What the client calls itself, for whoever looks at its connection.
    pub fn client(&self) -> Result<Option<&str>, Problem> {
        match self.query("client") {
            Some(name) if name.len() > 64 || !name.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) => {
                Err(Problem::field("client", "client must be 1 to 64 printable characters of ASCII"))
            }
            name => Ok(name),
        }
    }

    /// A whole number within bounds, or the default.
    pub fn number(
        &self,
        name: &'static str,
        default: u64,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, Problem> {
        let Some(text) = self.query(name) else { return Ok(default) };
        text.parse().ok().filter(|n| bounds.contains(n)).ok_or_else(|| {
            Problem::field(name, format!("{name} must be a whole number from {} to {}", bounds.start(), bounds.end()))
        })
    }

    /// Which representation of events the client prefers.
    pub fn wants(&self) -> Result<Representation, Problem> {
        let accept = self.header("accept").unwrap_or("*/*").to_ascii_lowercase();
        let mut best: Option<(Representation, f32)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let wanted = match parts.next().unwrap_or("") {
                "text/event-stream" | "text/*" => Representation::Stream,
                "application/json" | "application/*" | "*/*" => Representation::Page,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
            // Of equals, the first.
            if weight > best.map_or(0.0, |(_, most)| most) {
                best = Some((wanted, weight));
            }
        }
        if let Some((wanted, _)) = best {
            return Ok(wanted);
        }
        let detail = "this address speaks text/event-stream (a stream) and application/json (a page)";
        Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail))
    }

    /// Whether the request comes from a page of this host or of an allowed origin. One without `Origin` does not come from a page.
    /// Where TLS ends here, a page of this host is one that came over TLS too; where it does not, a proxy may have ended it.
    pub fn origin_allowed(&self, origins: &[String]) -> bool {
        let Ok(origin) = self.only("origin") else { return false };
        let Some(origin) = origin else { return true };
        self.is_own(origin) || origins.iter().any(|allowed| allowed == origin)
    }

    /// Whether a page elsewhere made a browser ask, without saying which: for an image, a script, a frame. A person who follows a link
    /// does not count.
    pub fn is_embedded_elsewhere(&self) -> bool {
        let from = self.header("sec-fetch-site").unwrap_or("none");
        !matches!(from, "none" | "same-origin") && self.header("sec-fetch-mode") != Some("navigate")
    }

    /// Whether pages of this origin are served from here: the host that was asked for, and where a proxy says how, by that scheme.
    fn is_own(&self, origin: &str) -> bool {
        let (Ok(Some(host)), Some((scheme, authority))) = (self.only("host"), origin.split_once("://")) else {
            return false;
        };
        let port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => return false,
        };
        let by = match self.conn.secure {
            true => Some("https"),
            false => self.header("x-forwarded-proto").and_then(|by| by.split(',').next()),
        };
        let host = host.strip_suffix(port).unwrap_or(host);
        !host.is_empty() && authority.eq_ignore_ascii_case(host) && by.is_none_or(|by| by.trim() == scheme)
    }

    /// A header that must not be there twice.
    fn only(&self, name: &str) -> Result<Option<&str>, ()> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
            (Some(_), Some(_)) => Err(()),
        }
    }
}

/// SSE or JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Representation {
    /// `text/event-stream`.
    Stream,
    /// `application/json`.
    Page,
}

/// In the place of a cursor: this moment.
const NOW: &str = "now";

/// What a client gives as `after`. Streams begin now where there is none.
pub fn cursor(after: Option<&str>) -> Result<Option<Cursor>, Problem> {
    let parse = |text: &str| text.parse().map_err(|e| Problem::field("after", format!("after is {e}")));
    after.filter(|text| *text != NOW).map(parse).transpose()
}

/// A segment of a path, percent-decoded. `/` may be part of it, as `%2F`; what is not UTF-8, or holds NUL, is no name.
pub fn segment(raw: &str) -> Result<String, Problem> {
    let decoded = percent_encoding::percent_decode_str(raw).decode_utf8().map_err(|_| Problem::not_found())?;
    if is_name(&decoded) { Ok(decoded.into_owned()) } else { Err(Problem::not_found()) }
}

/// What a link begins with, in lower case. Browsers skip control characters and blanks when they look for it.
pub fn scheme(url: &str) -> Option<String> {
    let plain: String = url.chars().filter(|c| !c.is_control() && !c.is_whitespace()).collect();
    plain.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase())
}

/// The key of a row as the last segment of a path, percent-decoded: 1 to 1024 bytes, as an event's subject, without NUL.
pub fn key(raw: &str) -> Result<String, Problem> {
    let decoded = percent_encoding::percent_decode_str(raw).decode_utf8().map_err(|_| Problem::not_found())?;
    if is_key(&decoded) { Ok(decoded.into_owned()) } else { Err(Problem::not_found()) }
}

/// Whether a row may have this key.
pub fn is_key(key: &str) -> bool {
    (1..=1024).contains(&key.len()) && !key.contains('\0')
}

/// Whether a text can name a tenant: 1 to 255 bytes without control characters, as in a token.
pub fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}
