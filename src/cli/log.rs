//! The log: to stderr, one record a line, and nothing in it that is somebody's.
//!
//! Invariants: no secret, token, ticket or row is logged, whatever the filter says
//! (`nothing_secret_leaves_a_server_by_its_log_its_figures_or_its_refusals`); no text of others begins a line of its own
//! (same test).

use std::io::{self, IsTerminal as _, Write};

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Loaded, Source, holds_secret};

/// Says what is logged from now on.
pub struct Filter(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl Filter {
    /// Directives that were checked with the configuration.
    pub fn set(&self, directives: &str) {
        (self.0)(EnvFilter::new(directives));
    }
}

/// Begins to log. Only `serve` tells of its life; the others log what went wrong, unless `tracing.filter` was set by someone.
pub fn to_stderr(loaded: &Loaded, serving: bool) -> Filter {
    let set = loaded.shown().find(|shown| (shown.section, shown.key) == ("tracing", "filter"));
    let unset = set.is_some_and(|shown| matches!(shown.source, Source::Default));
    let directives = if unset && !serving { "warn" } else { &loaded.config.tracing.filter };
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(directives));
    let log = log.with_writer(|| Lines).with_ansi(colours);
    // Whatever the filter says: the driver of PostgreSQL tells at "debug" what statements are called with, and at "info" what
    // the application's functions raise. Those are rows and tickets; others tell of headers and frames.
    let ours = filter_fn(|about| about.target().starts_with("tidings") || *about.level() <= Level::WARN);
    // Setting it fails when the subscriber is gone, and then nobody logs.
    if loaded.config.tracing.json {
        let log = log.json().with_filter_reloading();
        let handle = log.reload_handle();
        log.finish().with(ours).init();
        Filter(Box::new(move |filter| _ = handle.reload(filter)))
    } else {
        let log = log.with_filter_reloading();
        let handle = log.reload_handle();
        log.finish().with(ours).init();
        Filter(Box::new(move |filter| _ = handle.reload(filter)))
    }
}

/// What is on the command line is in the list of processes.
pub(super) fn warn_of_secrets(settings: &[(String, String)]) {
    for (name, _) in settings.iter().filter(|(name, value)| holds_secret(name, value)) {
        tracing::warn!(
            setting = name,
            "a secret stands on the command line, where every user of this machine can read it; set it in the environment or in a file"
        );
    }
}

/// Stderr, to which each record is one write. A record stays one line: names of tables and messages of PostgreSQL may hold
/// line feeds, and what stands behind one would read like a record of ours.
struct Lines;

impl Write for Lines {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&one_line(record))?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn one_line(record: &[u8]) -> Vec<u8> {
    let text = record.strip_suffix(b"\n").unwrap_or(record);
    let mut line = Vec::with_capacity(record.len());
    for byte in text {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            other => line.push(*other),
        }
    }
    line.extend_from_slice(&record[text.len()..]);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        assert_eq!(one_line(b"a\nb\r\nc\n"), b"a\\nb\\r\\nc\n");
        assert_eq!(one_line(b"a"), b"a");
    }
}
