//! Counters, gauges and histograms, as Prometheus text. Held by value: every test has its own registry.
//!
//! No label carries a tenant, a user or row data: labels are bounded and public to whoever scrapes. Names of watched tables and of
//! what is configured are among them, so `http.metrics_listen` keeps `/metrics` off the address that clients reach.

mod clock;
mod labels;
mod latency;
mod text;

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::disconnect::Disconnect;
use crate::replay::Reset;
pub use clock::DatabaseClock;
use labels::{Answered, Attempted, Channel, Consumer, Delivery, Outcome, Reason, Transport};
pub use latency::Latency;
pub use text::{Connections, Moment};

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

/// Labels of `channel`.
const OURS: &str = "ours";
const PLAIN: &str = "plain";

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Notifications read from PostgreSQL.
    pub notifications: Counter,
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
    /// Whether the listening connection is there.
    pub connected: Gauge,
    /// From sending the newest checkpoint to hearing it, in seconds.
    pub round_trip: Gauge<f64, AtomicU64>,
    /// Notifications that wait for a read of the log.
    pub waiting: Gauge,
    /// Events that the newest checkpoint saw in the log and that had not been dispatched.
    pub behind: Gauge,
    /// How full PostgreSQL's NOTIFY queue is, 0 to 1.
    pub queue_usage: Gauge<f64, AtomicU64>,
    /// How long events are on their way.
    pub latency: Latency,
    /// Rings moved on by retention.
    pub rotations: Counter,
    /// Times that a consumer had been away for longer than the log reaches back.
    pub consumer_gaps: Counter,
    /// Revocations that are known.
    pub revocations: Gauge,
    /// Times that they could not be read.
    pub revocations_unread: Counter,
    /// Time since the public keys of an issuer were last read; of several, the longest.
    pub keys_age: Gauge,
    /// Sockets that could not be accepted.
    pub accept_failures: Counter,
    /// TLS handshakes that did not come to an end in time, or to none.
    pub handshakes_failed: Counter,
    /// Streams of HTTP/2 that were reset because their client took nothing.
    pub streams_stalled: Counter,
    /// Size of the log on disk, indexes included.
    pub log_bytes: Gauge,
    /// Age of its oldest event.
    pub log_seconds: Gauge,
    deliveries: Family<Attempted, Counter>,
    owed: Family<Consumer, Gauge>,
    owed_seconds: Family<Consumer, Gauge>,
    dead_letters: Family<Consumer, Gauge>,
    undecodable: Family<Channel, Counter>,
    resets: Family<Reason, Counter>,
    connections: Family<Transport, Gauge>,
    delivered: Family<Transport, Counter>,
    disconnects: Family<Reason, Counter>,
    refused: Family<Reason, Counter>,
    requests: Family<Answered, Counter>,
    inbound: Family<Delivery, Counter>,
    answers: Family<Reason, Counter>,
    reloads: Family<Outcome, Counter>,
    certificate_ends: Gauge,
    tls_reloads: Family<Outcome, Counter>,
}

impl Metrics {
    /// With every label that is known beforehand at zero: a rate needs the value before the first.
    pub fn new() -> Self {
        let new = Self::default();
        for transport in ["sse", "websocket", "json"] {
            new.connections(transport, 0);
        }
        ["sse", "websocket"].into_iter().for_each(|transport| _ = new.delivered(transport));
        for why in Disconnect::ALL {
            new.disconnects.get_or_create(&Reason { reason: why.reason() }).inc_by(0);
        }
        for why in [Reset::Unknown, Reset::History] {
            new.resets.get_or_create(&Reason { reason: why.reason() }).inc_by(0);
        }
        for channel in [OURS, PLAIN] {
            new.undecodable.get_or_create(&Channel { channel }).inc_by(0);
        }
        new
    }

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

    /// Counts a notification that is not readable as what its channel is for, and is skipped: how many of its kind there were.
    pub fn undecodable(&self, plain: bool) -> u64 {
        let channel = if plain { PLAIN } else { OURS };
        self.undecodable.get_or_create(&Channel { channel }).inc() + 1
    }

    /// Notifications skipped so far.
    pub fn skipped(&self) -> u64 {
        [OURS, PLAIN].into_iter().filter_map(|channel| Some(self.undecodable.get(&Channel { channel })?.get())).sum()
    }

    /// Counts a subscriber that was told to fetch its state again.
    pub fn reset(&self, why: Reset) {
        self.resets.get_or_create(&Reason { reason: why.reason() }).inc();
    }

    /// Subscribers told so far.
    pub fn resets(&self) -> u64 {
        let of = |why: Reset| Some(self.resets.get(&Reason { reason: why.reason() })?.get());
        [Reset::Unknown, Reset::History].into_iter().filter_map(of).sum()
    }

    /// Counts a connection that the server ended.
    pub fn disconnect(&self, why: Disconnect) {
        self.disconnects.get_or_create(&Reason { reason: why.reason() }).inc();
    }

    /// Counts a problem, by its code, that a request, a frame or a command is answered with.
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

    /// Counts a configuration read again: `taken_up` or `refused`.
    pub fn reloaded(&self, outcome: &'static str) {
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }

    /// Notes when the certificate in force ends, in seconds since 1970.
    pub fn certificate_ends(&self, ends: Option<i64>) {
        self.certificate_ends.set(ends.unwrap_or(0));
    }

    /// Counts a certificate that was read anew, by whether it can be used.
    pub fn tls_reload(&self, used: bool) {
        let outcome = if used { "used" } else { "refused" };
        self.tls_reloads.get_or_create(&Outcome { outcome }).inc();
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
}
