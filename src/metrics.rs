//! Counters and gauges, as Prometheus text. Held by value: every test has its own registry.
//!
//! No label carries a tenant, a user or row data: labels are bounded and public to whoever scrapes.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::disconnect::Disconnect;

/// A label `transport`: `sse`, `websocket` or `json`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Transport {
    transport: &'static str,
}

/// A label `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: &'static str,
}

/// Labels `source`, a configured name or empty, and `outcome`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Delivery {
    source: String,
    outcome: &'static str,
}

/// A label `consumer`: names from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Consumer {
    consumer: String,
}

/// Labels `consumer` and `outcome`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempted {
    consumer: String,
    outcome: &'static str,
}

/// How an attempt to deliver went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// It arrived.
    Delivered,
    /// It became one for each recipient.
    Split,
    /// It failed and will be tried again.
    Retried,
    /// It became a dead letter.
    GivenUp,
}

/// Labels `route`, as in the list of routes, `method` and `status`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    method: String,
    status: u16,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Notifications read from PostgreSQL.
    pub notifications: Counter,
    /// Of these, not readable as what their channel is for, and skipped.
    pub undecodable: Counter,
    /// Of these, on plain channels and dropped, because too much waited or the connection was lost meanwhile.
    pub channels_lost: Counter,
    /// Events dispatched to rings.
    pub events: Counter,
    /// Of these, read from the log after a gap.
    pub caught_up: Counter,
    /// Of these, found by an audit: logged but never notified.
    pub audited: Counter,
    /// Listening connections made after the first.
    pub reconnects: Counter,
    /// Subscribers that were told to fetch their state again.
    pub resets: Counter,
    /// Rings moved on by retention.
    pub rotations: Counter,
    /// Times that a consumer had been away for longer than the log reaches back.
    pub consumer_gaps: Counter,
    /// Size of the log on disk, indexes included.
    pub log_bytes: Gauge,
    /// Age of its oldest event.
    pub log_seconds: Gauge,
    deliveries: Family<Attempted, Counter>,
    owed: Family<Consumer, Gauge>,
    owed_seconds: Family<Consumer, Gauge>,
    dead_letters: Family<Consumer, Gauge>,
    ready: Gauge,
    tenants: Gauge,
    ring_events: Gauge,
    ring_bytes: Gauge,
    connections: Family<Transport, Gauge>,
    delivered: Family<Transport, Counter>,
    disconnects: Family<Reason, Counter>,
    refused: Family<Reason, Counter>,
    requests: Family<Answered, Counter>,
    inbound: Family<Delivery, Counter>,
    answers: Family<Reason, Counter>,
    cpu: Gauge<f64, AtomicU64>,
}

impl Metrics {
    /// Adds `change` to the open connections of a transport.
    pub fn connections(&self, transport: &'static str, change: i64) {
        self.connections.get_or_create(&Transport { transport }).inc_by(change);
    }

    /// Counts events written to a transport's sockets. The counter itself, to be kept by a connection.
    pub fn delivered(&self, transport: &'static str) -> Counter {
        self.delivered.get_or_create(&Transport { transport }).clone()
    }

    /// Events written to sockets so far, over all transports.
    pub fn deliveries_to_clients(&self) -> u64 {
        let of = |transport| self.delivered.get(&Transport { transport }).map_or(0, |counter| counter.get());
        ["sse", "websocket"].into_iter().map(of).sum()
    }

    /// Connections that the server ended for this reason so far.
    pub fn disconnected(&self, why: Disconnect) -> u64 {
        self.disconnects.get(&Reason { reason: why.reason() }).map_or(0, |counter| counter.get())
    }

    /// Requests refused with any of these codes so far.
    pub fn refused_with(&self, codes: &[&'static str]) -> u64 {
        codes.iter().map(|reason| self.refused.get(&Reason { reason }).map_or(0, |counter| counter.get())).sum()
    }

    /// Counts a connection that the server ended.
    pub fn disconnect(&self, why: Disconnect) {
        self.disconnects.get_or_create(&Reason { reason: why.reason() }).inc();
    }

    /// Counts a refused request by its problem's code.
    pub fn refused(&self, code: &'static str) {
        self.refused.get_or_create(&Reason { reason: code }).inc();
    }

    /// Counts a request by the route that answered it, and how.
    pub fn request(&self, route: &'static str, method: &str, status: u16) {
        self.requests.get_or_create(&Answered { route, method: method.to_owned(), status }).inc();
    }

    /// Counts a webhook by its source, empty where that is not configured, and by what came of it: `done`, `repeated`, or its
    /// problem's code.
    pub fn inbound(&self, source: &str, outcome: &'static str) {
        self.inbound.get_or_create(&Delivery { source: source.to_owned(), outcome }).inc();
    }

    /// Counts an attempt at an answer by how it ended.
    pub fn answer(&self, told: &'static str) {
        self.answers.get_or_create(&Reason { reason: told }).inc();
    }

    /// Counts an attempt to deliver.
    pub fn delivery(&self, consumer: &str, went: Went) {
        let outcome = match went {
            Went::Delivered => "delivered",
            Went::Split => "split",
            Went::Retried => "retried",
            Went::GivenUp => "given_up",
        };
        self.deliveries.get_or_create(&Attempted { consumer: consumer.to_owned(), outcome }).inc();
    }

    /// Notes what a consumer owes, what it gave up, and how long the oldest that it owes has been tried.
    pub fn owed(&self, consumer: &str, owed: i64, dead: i64, oldest_s: i64) {
        let consumer = Consumer { consumer: consumer.to_owned() };
        self.owed.get_or_create(&consumer).set(owed);
        self.dead_letters.get_or_create(&consumer).set(dead);
        self.owed_seconds.get_or_create(&consumer).set(oldest_s);
    }

    /// The Prometheus text. Sizes of rings and readiness are read at this moment.
    pub fn text(&self, ready: bool, rings: (usize, usize, usize)) -> Result<String, std::fmt::Error> {
        self.ready.set(i64::from(ready));
        self.tenants.set(rings.0 as i64);
        self.ring_events.set(rings.1 as i64);
        self.ring_bytes.set(rings.2 as i64);
        self.cpu.set(crate::process::cpu_seconds().unwrap_or_default());
        let mut registry = Registry::with_prefix("tidings");
        let one = &mut registry;
        one.register("notifications", "Notifications read from PostgreSQL", self.notifications.clone());
        one.register("undecodable", "Notifications that could not be read and were skipped", self.undecodable.clone());
        let lost = "Notifications of plain channels dropped while they waited for a read of the log";
        one.register("channels_lost", lost, self.channels_lost.clone());
        one.register("events", "Events dispatched to subscribers' rings", self.events.clone());
        one.register("events_caught_up", "Events read from the log after a gap", self.caught_up.clone());
        one.register("events_audited", "Events in the log that were never notified", self.audited.clone());
        one.register("listener_reconnects", "Listening connections made after the first", self.reconnects.clone());
        one.register(
            "consumer_gaps",
            "Times a consumer had been away for longer than the log",
            self.consumer_gaps.clone(),
        );
        one.register("deliveries", "Attempts to deliver, by consumer and outcome", self.deliveries.clone());
        one.register("deliveries_owed", "Deliveries that are not done", self.owed.clone());
        one.register(
            "deliveries_oldest_seconds",
            "How long the oldest of them has been tried",
            self.owed_seconds.clone(),
        );
        one.register("dead_letters", "Deliveries that were given up", self.dead_letters.clone());
        one.register("log_rotations", "Partitions of the log emptied by retention", self.rotations.clone());
        one.register("log_bytes", "Size of the log on disk, with its indexes", self.log_bytes.clone());
        one.register("log_oldest_seconds", "Age of the oldest event in the log", self.log_seconds.clone());
        one.register("ready", "Whether this bridge listens and has caught up", self.ready.clone());
        one.register("tenants", "Tenants with a ring in memory", self.tenants.clone());
        one.register("ring_events", "Events held in rings", self.ring_events.clone());
        one.register("ring_bytes", "Bytes held in rings", self.ring_bytes.clone());
        one.register("connections", "Open connections", self.connections.clone());
        one.register("events_delivered", "Events written to sockets", self.delivered.clone());
        one.register("disconnects", "Connections that the server ended", self.disconnects.clone());
        one.register("resets", "Subscribers told to fetch their state again", self.resets.clone());
        one.register("requests", "Requests answered, by route, method and status", self.requests.clone());
        one.register("refused", "Requests refused, by problem code", self.refused.clone());
        one.register("inbound", "Webhooks delivered, by source and outcome", self.inbound.clone());
        one.register("answers", "Attempts of the responder, by how they ended", self.answers.clone());
        one.register("process_cpu_seconds", "CPU time of this process", self.cpu.clone());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}
