//! What the types cannot say: bounds, shapes of addresses, and settings that contradict each other.
//!
//! A contradiction is reported where the later layer caused it: a default is never to blame for what was set
//! against it.

use std::{net::IpAddr, time::Duration};

use tracing_subscriber::EnvFilter;

use super::{
    Auth, Config, Issuer, email,
    error::{ConfigError, Refusal},
    layers::Settings,
    responder,
};
use crate::telemetry::Telemetry;

/// With less, a token's signature is guessed offline in no time. The verifier warns below 32, what SHA-256 gives.
const SECRET_BYTES_MIN: usize = 8;
/// Proxies commonly close connections that are silent for 30 s.
const HEARTBEAT_MAX: Duration = Duration::from_secs(25);
/// An eighth of it, a partition of the log, has to hold a few of the largest events.
const LOG_BYTES_MIN: usize = 64 << 20;
/// Far beyond what helps: each is a socket, and a row that is locked and settled.
const IN_FLIGHT_MAX: usize = 1000;
/// PostgreSQL keeps timeouts as milliseconds in 31 bits.
const STATEMENT_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 24 * 60 * 60);

const SECRET_HINT: &str = "make one with `openssl rand -base64 48`";
const HMAC: &[&str] = &["HS256", "HS384", "HS512"];
const PUBLIC_KEY: &[&str] = &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Refuses the first thing that cannot work.
pub(super) fn refuse_impossible(config: &Config, settings: &Settings) -> Result<(), ConfigError> {
    let rules = Rules(settings);
    nothing_is_instant(config, &rules)?;
    database_and_log(config, &rules)?;
    times_and_sizes_fit(config, &rules)?;
    rules.demand(
        config.http.tls_certificate.is_empty() == config.http.tls_key.is_empty(),
        &["http.tls_certificate", "http.tls_key"],
        "is set without the other of `http.tls_certificate` and `http.tls_key`",
        "name both files, or neither where a proxy does TLS",
    )?;
    for origin in &config.http.origins {
        rules.hold(&["http.origins"], origin_is_exact(origin))?;
    }
    for proxy in &config.http.trusted_proxies {
        rules.demand(
            crate::http::address::network(proxy).is_some(),
            &["http.trusted_proxies"],
            format!("holds {proxy:?}, which is neither an address nor a network"),
            "write \"10.0.0.1\" or \"10.0.0.0/8\"; names are not looked up",
        )?;
    }
    for origin in &config.pages.connect {
        rules.hold(&["pages.connect"], origin_is_exact(origin))?;
    }
    rules.demand(
        leads_to_a_page(&config.pages.sign_in),
        &["pages.sign_in"],
        format!("is neither an http URL nor a path: {:?}", config.pages.sign_in),
        "write \"https://app.example.com/sign-in?back={page}\", or a path such as \"/sign-in\"",
    )?;
    for (bound, bytes) in [
        ("uploads.bytes_per_tenant_max", config.uploads.bytes_per_tenant_max),
        ("uploads.bytes_total_max", config.uploads.bytes_total_max),
    ] {
        rules.demand(
            config.uploads.bytes_max <= bytes,
            &["uploads.bytes_max", bound],
            format!("is more than `{bound}`: the largest file would never fit"),
            &format!("raise {bound} or lower uploads.bytes_max"),
        )?;
    }
    keys_fit(&config.auth, &config.issuer, &rules)?;
    if let Some((names, refusal)) = responder::objection(&config.responder) {
        rules.hold(names, Err(refusal))?;
    }
    delivery_fits(config, &rules)?;
    for (name, path) in [
        ("auth.tenant_claim", &config.auth.tenant_claim),
        ("auth.role_claim", &config.auth.role_claim),
        ("auth.events_claim", &config.auth.events_claim),
        ("auth.sub_claim", &config.auth.sub_claim),
    ] {
        let whole = path.split('.').all(|part| !part.is_empty());
        rules.demand(
            whole,
            &[name],
            format!("is not a claim: {path:?}"),
            "write a name, or a path such as \"app.tenant\"",
        )?;
    }
    Ok(())
}

/// Turns a failed check into an error at the right place.
struct Rules<'a>(&'a Settings);

impl Rules<'_> {
    /// Reports `refusal` about the first of `names`, at whichever of them was set by the latest layer.
    fn hold(&self, names: &[&str], checked: Result<(), Refusal>) -> Result<(), ConfigError> {
        let source = || names.iter().map(|name| self.0.source(name)).max();
        checked.map_err(|refusal| {
            refusal.at(source().map(|source| source.place()).unwrap_or_default(), names.first().unwrap_or(&""))
        })
    }

    fn demand(&self, holds: bool, names: &[&str], message: impl Into<String>, hint: &str) -> Result<(), ConfigError> {
        self.hold(names, if holds { Ok(()) } else { Err(Refusal::new(message, hint)) })
    }
}

/// A timeout of zero means "never" to one program and "at once" to another.
fn nothing_is_instant(config: &Config, rules: &Rules) -> Result<(), ConfigError> {
    for (name, duration) in [
        ("database.statement_timeout", config.database.statement_timeout),
        ("listener.checkpoint_every", config.listener.checkpoint_every),
        ("listener.checkpoint_timeout", config.listener.checkpoint_timeout),
        ("listener.connect_timeout", config.listener.connect_timeout),
        ("listener.backoff_min", config.listener.backoff_min),
        ("listener.backoff_max", config.listener.backoff_max),
        ("ring.idle_after", config.ring.idle_after),
        ("log.retention", config.log.retention),
        ("http.header_timeout", config.http.header_timeout),
        ("http.write_timeout", config.http.write_timeout),
        ("http.tls_refresh", config.http.tls_refresh),
        ("http.retry_min", config.http.retry_min),
        ("http.retry_max", config.http.retry_max),
        ("delivery.retry_after_min", config.delivery.retry_after_min),
        ("delivery.retry_after_max", config.delivery.retry_after_max),
        ("delivery.retry_for", config.delivery.retry_for),
        ("email.timeout", config.email.timeout),
        ("auth.jwks_refresh", config.auth.jwks_refresh),
        ("auth.lifetime_max", config.auth.lifetime_max),
        ("limits.slow_after", config.limits.slow_after),
        ("responder.timeout", config.responder.timeout),
        ("responder.debounce", config.responder.debounce),
    ] {
        rules.demand(
            !duration.is_zero(),
            &[name],
            "is zero",
            "write a time above zero; nothing here means \"never\"",
        )?;
    }
    Ok(())
}

fn database_and_log(config: &Config, rules: &Rules) -> Result<(), ConfigError> {
    let url = config.database.url.expose();
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    rules.demand(
        url.is_empty() || matches!(scheme, Some("postgres" | "postgresql")) || (scheme.is_none() && url.contains('=')),
        &["database.url"],
        "is not a PostgreSQL connection string",
        "write postgres://user:password@host:5432/database",
    )?;
    // What is wrong in a file is found here too: it was read.
    let usable = if url.is_empty() { Ok(()) } else { crate::postgres::check(url) };
    rules.hold(
        &["database.url"],
        usable.map_err(|error| Refusal::new(format!("cannot be used: {error}"), error.hint())),
    )?;
    rules.demand(
        config.database.statement_timeout <= STATEMENT_TIMEOUT_MAX,
        &["database.statement_timeout"],
        "is more than PostgreSQL accepts",
        "write at most \"24d\"",
    )?;
    rules.demand(
        config.log.bytes_max >= LOG_BYTES_MIN,
        &["log.bytes_max"],
        "is too small to hold what a bridge reads at once",
        "write at least \"64MiB\"",
    )?;
    rules.demand(
        EnvFilter::try_new(&config.tracing.filter).is_ok(),
        &["tracing.filter"],
        format!("is not a filter: {:?}", config.tracing.filter),
        "write a level, such as \"info\", or \"info,tidings::listener=debug\"",
    )?;
    let otlp = &config.tracing.otlp;
    rules.demand(
        otlp.is_empty() || leads_to_a_page(otlp) && !otlp.starts_with('/'),
        &["tracing.otlp"],
        "is not an http URL",
        "write the base address of a collector, such as \"http://localhost:4318\"",
    )?;
    rules.demand(
        otlp.is_empty() || Telemetry::BUILT_IN,
        &["tracing.otlp"],
        "needs what this binary was built without",
        "build it with `cargo build --release --features otel`, or leave this empty",
    )?;
    rules.demand(
        !config.tracing.otlp_service.is_empty(),
        &["tracing.otlp_service"],
        "is empty",
        "write a name, such as \"tidings\"",
    )
}

fn times_and_sizes_fit(config: &Config, rules: &Rules) -> Result<(), ConfigError> {
    let (listener, http) = (&config.listener, &config.http);
    rules.demand(
        http.metrics_listen.is_none_or(|address| address != http.listen || address.port() == 0),
        &["http.metrics_listen", "http.listen"],
        "is `http.listen`, where clients are served",
        "give it another port or address, or leave it empty",
    )?;
    rules.demand(
        listener.checkpoint_timeout > listener.checkpoint_every,
        &["listener.checkpoint_timeout", "listener.checkpoint_every"],
        "is not longer than `listener.checkpoint_every`: every connection would count as dead",
        "make it about three times as long",
    )?;
    rules.demand(
        listener.backoff_min <= listener.backoff_max,
        &["listener.backoff_min", "listener.backoff_max"],
        "is longer than `listener.backoff_max`",
        "swap them, or change one",
    )?;
    rules.demand(
        http.retry_min <= http.retry_max,
        &["http.retry_min", "http.retry_max"],
        "is longer than `http.retry_max`",
        "swap them, or change one",
    )?;
    rules.demand(
        http.heartbeat <= HEARTBEAT_MAX,
        &["http.heartbeat"],
        format!("is longer than {} s, after which proxies cut silent streams", HEARTBEAT_MAX.as_secs()),
        "write \"25s\" or less",
    )?;
    rules.demand(
        http.heartbeat.as_secs() >= 1 && http.heartbeat.subsec_nanos() == 0,
        &["http.heartbeat"],
        "is not whole seconds, as clients are told it",
        "write \"1s\" to \"25s\"",
    )?;
    rules.demand(
        http.request_bytes_max <= config.ring.bytes_max,
        &["http.request_bytes_max", "ring.bytes_max"],
        "is more than `ring.bytes_max`: a published event might fit no ring",
        "raise ring.bytes_max or lower http.request_bytes_max",
    )
}

fn delivery_fits(config: &Config, rules: &Rules) -> Result<(), ConfigError> {
    let delivery = &config.delivery;
    rules.demand(
        delivery.in_flight <= IN_FLIGHT_MAX,
        &["delivery.in_flight"],
        "is more than one endpoint stands at once",
        "write at most 1000",
    )?;
    rules.demand(
        delivery.retry_after_min <= delivery.retry_after_max,
        &["delivery.retry_after_min", "delivery.retry_after_max"],
        "is longer than `delivery.retry_after_max`",
        "make it the shorter of the two",
    )?;
    email::refuse_impossible(config, |names, checked| rules.hold(names, checked))
}

/// An origin must be written as browsers send it, for it is compared letter by letter.
fn origin_is_exact(origin: &str) -> Result<(), Refusal> {
    let refused = |why: &str| {
        Err(Refusal::new(
            format!("holds {origin:?}, {why}"),
            "write scheme://host[:port], such as \"https://app.example.com\"",
        ))
    };
    if origin == "*" || origin == "null" {
        return refused("which would let in any site");
    }
    let Some((scheme, authority)) = origin.split_once("://") else {
        return refused("which has no scheme");
    };
    let scheme_is_valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !scheme_is_valid {
        return refused("whose scheme is not one");
    }
    if authority.contains(['/', '?', '#']) {
        return refused("which has a path");
    }
    if origin.chars().any(|c| c.is_ascii_uppercase()) {
        return refused("but browsers send lower case");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_valid = match bracketed {
        Some(address) => matches!(address.parse(), Ok(IpAddr::V6(_))),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    };
    if !host_is_valid {
        return refused("whose host is not one");
    }
    match (scheme, port) {
        ("https", Some("443")) | ("http", Some("80")) => refused("but browsers leave out the scheme's own port"),
        (_, Some(port)) if !port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port) => {
            refused("whose port is not one")
        }
        _ => Ok(()),
    }
}

/// Whether a link to it can be followed: nothing, a URL of the web, or a path of this host.
fn leads_to_a_page(address: &str) -> bool {
    let plain = address.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '\\');
    let elsewhere = ["https://", "http://"].iter().any(|scheme| {
        address.strip_prefix(scheme).is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '['))
    });
    // Two slashes would begin another host.
    let here = address.starts_with('/') && !address.starts_with("//");
    plain && (address.is_empty() || elsewhere || here)
}

fn keys_fit(auth: &Auth, issuers: &[Issuer], rules: &Rules) -> Result<(), ConfigError> {
    for (name, secret) in [("auth.secret", &auth.secret), ("auth.previous_secret", &auth.previous_secret)] {
        rules.demand(
            secret.is_empty() || secret.expose().len() >= SECRET_BYTES_MIN,
            &[name],
            format!("is shorter than {SECRET_BYTES_MIN} bytes"),
            SECRET_HINT,
        )?;
    }
    rules.demand(
        auth.previous_secret.is_empty() || !auth.secret.is_empty(),
        &["auth.previous_secret", "auth.secret"],
        "is set but `auth.secret` is not",
        "set auth.secret to the new secret, or to this one if there is only one",
    )?;
    rules.demand(
        jwks_is_trustworthy(&auth.jwks),
        &["auth.jwks"],
        "is neither a path nor an https URL",
        "write \"/etc/tidings/jwks.json\" or \"https://…\"; http only on the loopback address",
    )?;
    rules.demand(
        issuers.is_empty() || auth.jwks.is_empty() || !auth.issuer.is_empty(),
        &["auth.issuer", "auth.jwks", "issuer"],
        "is empty beside [[issuer]]: the keys of `auth.jwks` would vouch for tokens of any name",
        "write what `iss` says in the tokens that auth.jwks is for",
    )?;
    rules.demand(
        issuers.iter().all(|issuer| issuer.name != auth.issuer),
        &["auth.issuer", "issuer"],
        "is the name of an [[issuer]] too: its tokens would be good with the keys of both",
        "keep one of the two",
    )?;
    // With neither key set nothing can be said yet: `demo` makes a secret of its own.
    let has_jwks = !(auth.jwks.is_empty() && issuers.is_empty());
    let some_key = has_jwks || !auth.secret.is_empty();
    for algorithm in auth.algorithms.iter().map(String::as_str) {
        let (known, key, has_key) = if HMAC.contains(&algorithm) {
            (true, "auth.secret", !auth.secret.is_empty())
        } else {
            (PUBLIC_KEY.contains(&algorithm), "auth.jwks", has_jwks)
        };
        let accepted = format!("write some of {}, {}", HMAC.join(", "), PUBLIC_KEY.join(", "));
        rules.demand(known, &["auth.algorithms"], format!("holds {algorithm:?}, which is not accepted"), &accepted)?;
        rules.demand(
            has_key || !some_key,
            &["auth.algorithms", "auth.secret", "auth.jwks", "issuer"],
            format!("holds {algorithm}, which needs `{key}`"),
            "set that key, or take the algorithm out",
        )?;
    }
    let verifies = |algorithm: &String| PUBLIC_KEY.contains(&algorithm.as_str());
    rules.demand(
        !has_jwks || auth.algorithms.is_empty() || auth.algorithms.iter().any(verifies),
        &["auth.algorithms", "auth.jwks", "issuer"],
        "holds none that public keys are for",
        "add that of your provider, such as \"RS256\"",
    )
}

/// Whoever can change the keys on their way here can sign in as anyone.
pub(super) fn jwks_is_trustworthy(jwks: &str) -> bool {
    match jwks.split_once("://") {
        None => true,
        Some(("https", rest)) => !rest.is_empty(),
        Some(("http", rest)) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = match authority.rsplit_once(':') {
                Some((host, port)) if !port.contains(']') => host,
                _ => authority,
            };
            is_loopback(host)
        }
        Some(_) => false,
    }
}

/// Whether what is sent there never leaves this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
