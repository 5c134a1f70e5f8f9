//! The figures as OpenMetrics text, with what each means. `docs/operations.md` says the same at more length
//! (`every_metric_is_documented_and_nothing_else`).

use std::fmt;
use std::time::Duration;

use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::Metrics;
use crate::process;
use crate::replay::Readers;
use crate::router::Size;

/// What is counted nowhere but looked at when somebody asks.
#[derive(Debug, Default)]
pub struct Moment {
    /// Whether this bridge listens and has caught up.
    pub ready: bool,
    /// How long ago the newest checkpoint was reached; none before the first.
    pub reached: Option<Duration>,
    /// Since the start.
    pub uptime: Duration,
    /// What rings hold.
    pub rings: Size,
    /// Who reads the log.
    pub readers: Readers,
    /// Connections to the database.
    pub pool: Connections,
}

/// The pool's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connections {
    /// Made.
    pub size: usize,
    /// The most that are made.
    pub max: usize,
    /// In use.
    pub in_use: usize,
    /// Who waits for one.
    pub waiting: usize,
}

impl From<deadpool_postgres::Status> for Connections {
    fn from(pool: deadpool_postgres::Status) -> Self {
        let in_use = pool.size.saturating_sub(pool.available);
        Self { size: pool.size, max: pool.max_size, in_use, waiting: pool.waiting }
    }
}

/// A registry, the one way to put something into it, and what queries call it.
struct Page(Registry, Vec<String>);

impl Page {
    fn put(&mut self, name: &str, help: &str, metric: impl Metric) {
        let suffix = match metric.metric_type() {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        };
        self.1.push(format!("tidings_{name}{suffix}"));
        self.0.register(name, help, metric);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.put(name, help, ConstGauge::new(value));
    }

    fn count(&mut self, name: &str, help: &str, value: usize) {
        self.put(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }
}

impl Metrics {
    /// The text at this moment.
    pub fn text(&self, moment: &Moment) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.page(moment).0)?;
        Ok(text)
    }

    /// What queries call the figures, also those that have no value yet.
    pub fn names(&self, moment: &Moment) -> Vec<String> {
        self.page(moment).1
    }

    fn page(&self, moment: &Moment) -> Page {
        let mut page = Page(Registry::with_prefix("tidings"), Vec::new());
        self.road(&mut page);
        self.listener(&mut page, moment);
        rings(&mut page, &moment.rings, self);
        self.clients(&mut page);
        self.database(&mut page, moment);
        self.outgoing(&mut page);
        this_process(&mut page);
        page
    }

    fn road(&self, page: &mut Page) {
        page.put("notifications", "Notifications read from PostgreSQL", self.notifications.clone());
        page.put("undecodable", "Notifications that could not be read and were skipped", self.undecodable.clone());
        let lost = "Notifications of plain channels dropped while they waited for a read of the log";
        page.put("channels_lost", lost, self.channels_lost.clone());
        page.put("events", "Events dispatched to rings", self.events.clone());
        page.put("events_caught_up", "Events read from the log after a gap", self.caught_up.clone());
        page.put("events_audited", "Events in the log that were never notified", self.audited.clone());
        page.put(
            "commit_to_dispatch_seconds",
            "From the capture of a change, in its transaction, to its ring, by the clock of the database; one observation for each event",
            self.latency.dispatched.clone(),
        );
        page.put(
            "commit_to_delivery_seconds",
            "From the capture of a change, in its transaction, to a socket, by the clock of the database; one observation for each write, of its oldest event; replays are left out",
            self.latency.delivered.clone(),
        );
    }

    fn listener(&self, page: &mut Page, moment: &Moment) {
        page.count("ready", "Whether this bridge listens and has caught up", usize::from(moment.ready));
        page.put("listener_connected", "Whether the listening connection is there", self.connected.clone());
        page.put("listener_reconnects", "Listening connections made after the first", self.reconnects.clone());
        page.gauge(
            "listener_checkpoint_age_seconds",
            "All that was committed so long ago has been dispatched",
            moment.reached.unwrap_or(moment.uptime).as_secs_f64(),
        );
        let round_trip = "From sending the newest checkpoint to hearing it as a notification";
        page.put("listener_checkpoint_round_trip_seconds", round_trip, self.round_trip.clone());
        let waiting = "Notifications that wait for a read of the log";
        page.put("listener_waiting_notifications", waiting, self.waiting.clone());
        let behind = "Events in the log that the newest checkpoint saw and that had not been dispatched when it came";
        page.put("listener_behind_events", behind, self.behind.clone());
        page.put("notify_queue_usage_ratio", "How full PostgreSQL's NOTIFY queue is", self.queue_usage.clone());
    }

    fn clients(&self, page: &mut Page) {
        page.put("connections", "Open connections", self.connections.clone());
        page.put("events_delivered", "Events written to sockets", self.delivered.clone());
        page.put("disconnects", "Connections that the server ended", self.disconnects.clone());
        page.put("resets", "Subscribers told to fetch their state again", self.resets.clone());
        page.put("requests", "Requests answered, by route, method and status", self.requests.clone());
        let refused = "Problems answered to requests, frames and commands, by their code";
        page.put("refused", refused, self.refused.clone());
        page.put("inbound", "Webhooks delivered, by source and outcome", self.inbound.clone());
        page.put("revocations", "Revocations known", self.revocations.clone());
        let unread = "Times that revocations could not be read; those known stay in force";
        page.put("revocations_unread", unread, self.revocations_unread.clone());
        let age = "Time since the public keys of an issuer were read; of several, the longest";
        page.put("jwks_age_seconds", age, self.keys_age.clone());
        page.put("config_reloads", "Configurations read again, by outcome", self.reloads.clone());
        page.put("accept_failures", "Sockets that could not be accepted", self.accept_failures.clone());
        page.put("tls_handshakes_failed", "TLS handshakes that failed", self.handshakes_failed.clone());
        page.put("http2_streams_stalled", "Streams reset because nothing was taken", self.streams_stalled.clone());
        let ends = "When the certificate in force expires, in seconds since 1970; zero without TLS";
        page.put("tls_certificate_expires_seconds", ends, self.certificate_ends.clone());
        page.put("tls_reloads", "Certificates read anew, by outcome", self.tls_reloads.clone());
    }

    fn database(&self, page: &mut Page, moment: &Moment) {
        page.put("log_bytes", "Size of the log on disk, with its indexes", self.log_bytes.clone());
        page.put("log_oldest_seconds", "Age of the oldest event in the log", self.log_seconds.clone());
        page.put("log_rotations", "Partitions of the log emptied by retention", self.rotations.clone());
        let readers = &moment.readers;
        page.count("replays_running", "Pages of the log being read", readers.running);
        page.count("replays_waiting", "Reads of the log that wait for their turn", readers.waiting);
        let (taken, awaited) = (readers.running + readers.calling, readers.waiting + readers.calls_waiting);
        page.count("turns_taken", "Reads and requests of clients at the database", taken);
        page.count("turns_awaited", "Those that wait for a turn at it", awaited);
        let skipped = "Rows of the log that could not be read and were skipped";
        page.put("log_rows_skipped", skipped, ConstCounter::new(readers.skipped));
        let pool = moment.pool;
        page.count("pool_connections", "Connections of the pool to the database", pool.size);
        page.count("pool_connections_max", "The most that the pool makes", pool.max);
        page.count("pool_in_use", "Connections of the pool in use", pool.in_use);
        page.count("pool_waiting", "Who waits for a connection of the pool", pool.waiting);
    }

    fn outgoing(&self, page: &mut Page) {
        page.put("consumer_gaps", "Times a consumer had been away for longer than the log", self.consumer_gaps.clone());
        page.put("deliveries", "Attempts to deliver, by consumer and outcome", self.deliveries.clone());
        page.put("deliveries_owed", "Deliveries that are not done", self.owed.clone());
        page.put("deliveries_oldest_seconds", "How long the oldest of them has been tried", self.owed_seconds.clone());
        page.put("dead_letters", "Deliveries that were given up", self.dead_letters.clone());
        page.put("answers", "Attempts of the responder, by how they ended", self.answers.clone());
    }
}

fn rings(page: &mut Page, rings: &Size, metrics: &Metrics) {
    page.count("tenants", "Tenants with a ring in memory", rings.tenants);
    page.count("ring_events", "Events held in rings", rings.events);
    page.count("ring_bytes", "Bytes held in rings", rings.bytes);
    page.gauge("ring_fullest_ratio", "The fullest ring, of its bound in events or bytes", rings.fullest);
    let reach = rings.fullest_from_us.and_then(|at_us| metrics.latency.clock.since(at_us));
    page.gauge(
        "ring_fullest_oldest_seconds",
        "Age of the oldest event in the fullest ring: who is away for longer reads the log",
        reach.unwrap_or_default().as_secs_f64(),
    );
}

/// What the operating system does not tell is left out.
fn this_process(page: &mut Page) {
    page.put("build", "What is running", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    if let Some(cpu_s) = process::cpu_seconds() {
        page.put("process_cpu_seconds", "CPU time of this process", ConstCounter::new(cpu_s));
    }
    if let Some(bytes) = process::resident_bytes_of("self") {
        page.gauge("process_resident_memory_bytes", "Memory of this process", bytes as f64);
    }
    if let Some((open, max)) = process::descriptors() {
        page.count("process_open_fds", "File descriptors that are open", open);
        page.count("process_max_fds", "File descriptors that may be open", max);
    }
    if let Some(at_s) = process::started_at() {
        page.gauge("process_start_time_seconds", "When this process began, in seconds since 1970", at_s);
    }
}
