//! Figures, each with its unit, as a table for people and as JSON for programs.

use std::fmt::Write;

use serde::Serialize;

use super::plan::{Scenario, Transport};

/// What was measured, and on what.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of tidings.
    pub version: &'static str,
    /// Whether this program was built with optimisation; figures of one that was not say little.
    pub optimised: bool,
    /// Cores that PostgreSQL, server, writers and subscribers shared.
    pub cores: usize,
    /// Whether commits waited for the disk.
    pub fsync: bool,
    /// Bytes of a row as JSON, about.
    pub row_bytes: usize,
    /// In the order in which they were taken.
    pub measurements: Vec<Measurement>,
}

/// The figures of one transport in one scenario.
#[derive(Debug, Serialize)]
pub struct Measurement {
    /// Which scenario.
    pub scenario: Scenario,
    /// Which transport.
    pub transport: Transport,
    /// What else the server was doing, where that is what is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<&'static str>,
    /// How many subscribers.
    pub subscribers: usize,
    /// How many tenants they were spread over.
    pub tenants: usize,
    /// Deliveries that were called for, and that came.
    pub delivered: Option<Delivered>,
    /// Transactions per second.
    pub commits_per_s: Option<f64>,
    /// From just before the statement was sent until the event was read.
    pub sent_to_received: Option<Spread>,
    /// From the moment the writer heard of its commit; 0 when the event was there before.
    pub committed_to_received: Option<Spread>,
    /// Between the first event read and the last.
    pub deliveries_per_s: Option<f64>,
    /// CPU time of the server process.
    pub cpu_us_per_delivery: Option<f64>,
    /// Resident memory of the server without and with the connections.
    pub resident_kib: Option<(u64, u64)>,
    /// Some of the reasons for which connections ended or had to start over.
    pub faults: Vec<String>,
}

/// Deliveries over all subscribers.
#[derive(Debug, Default, Serialize)]
pub struct Delivered {
    /// Rows committed, times subscribers that should see them.
    pub expected: u64,
    /// Rows that came, doubles included.
    pub received: u64,
    /// Rows that never came.
    pub missing: u64,
    /// Rows that came again.
    pub doubled: u64,
}

/// A distribution, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Spread {
    /// The least.
    pub min_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// Exceeded by one in a hundred.
    pub p99_ms: f64,
    /// The most.
    pub max_ms: f64,
}

impl Spread {
    /// Of microseconds; None without any.
    pub fn of(mut micros: Vec<u64>) -> Option<Self> {
        micros.sort_unstable();
        let last = micros.len().checked_sub(1)?;
        let at = |share: f64| micros[((last as f64) * share).round() as usize] as f64 / 1000.0;
        Some(Self { min_ms: at(0.0), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) })
    }
}

impl Measurement {
    /// Without figures yet.
    pub fn new(scenario: Scenario, transport: Transport, subscribers: usize, tenants: usize) -> Self {
        Self {
            scenario,
            transport,
            beside: None,
            subscribers,
            tenants,
            delivered: None,
            commits_per_s: None,
            sent_to_received: None,
            committed_to_received: None,
            deliveries_per_s: None,
            cpu_us_per_delivery: None,
            resident_kib: None,
            faults: Vec::new(),
        }
    }

    /// Whether every subscriber received every row once and stayed connected.
    pub fn is_exact(&self) -> bool {
        let exact = |delivered: &Delivered| delivered.missing == 0 && delivered.doubled == 0;
        self.faults.is_empty() && self.delivered.as_ref().is_none_or(exact)
    }

    fn kib_per_connection(&self) -> Option<f64> {
        let (before, after) = self.resident_kib?;
        Some((after as f64 - before as f64) / self.subscribers as f64)
    }
}

impl Report {
    /// Whether all measurements are exact.
    pub fn is_exact(&self) -> bool {
        self.measurements.iter().all(Measurement::is_exact)
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        // Nothing in it can fail to be written: all keys are strings.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// A table for each scenario, and what was not exact.
    pub fn text(&self) -> String {
        let mut text = format!(
            "tidings {} on {} cores that PostgreSQL, server, writers and subscribers share; rows of about {} bytes, fsync {}\n",
            self.version,
            self.cores,
            self.row_bytes,
            if self.fsync { "on" } else { "off" }
        );
        if !self.optimised {
            text.push_str("built without optimisation: use cargo run --release for figures that mean something\n");
        }
        for part in Scenario::All.parts().into_iter().chain([Scenario::Neighbours]) {
            let rows: Vec<&Measurement> = self.measurements.iter().filter(|row| row.scenario == part).collect();
            if !rows.is_empty() {
                let table = match part {
                    Scenario::Memory => memory(&rows),
                    Scenario::Neighbours => neighbours(&rows),
                    _ => delivery(&rows),
                };
                // Writing to a String cannot fail.
                let _ = write!(text, "\n{}\n{}", part.name(), aligned(&table));
            }
        }
        for row in self.measurements.iter().filter(|row| !row.is_exact()) {
            let _ = writeln!(text, "\nnot exact: {} {}: {}", row.scenario.name(), row.transport, failing(row));
        }
        text
    }
}

fn failing(row: &Measurement) -> String {
    let counts = row.delivered.as_ref().map(|d| format!("{} missing, {} doubled", d.missing, d.doubled));
    counts.into_iter().chain(row.faults.iter().cloned()).collect::<Vec<_>>().join("; ")
}

fn delivery(rows: &[&Measurement]) -> Vec<Vec<String>> {
    let mut table = vec![
        [
            "",
            "subscribers",
            "commits/s",
            "sent→received ms min/p50/p99",
            "× bare",
            "committed→received ms min/p50/p99",
            "deliveries/s",
            "CPU µs/delivery",
            "received/expected",
            "missing",
            "doubled",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let bare = rows.iter().find(|row| row.transport == Transport::Bare);
    for row in rows {
        let p50 = |row: &Measurement| row.sent_to_received.as_ref().map(|spread| spread.p50_ms);
        let ratio = p50(row).zip(bare.and_then(|bare| p50(bare))).map(|(ours, bare)| ours / bare);
        let counts = row.delivered.as_ref();
        let count = |of: fn(&Delivered) -> u64| counts.map_or_else(none, |counts| of(counts).to_string());
        table.push(vec![
            row.transport.name().to_owned(),
            row.subscribers.to_string(),
            figure(row.commits_per_s, 0),
            spread(row.sent_to_received.as_ref()),
            figure(ratio, 2),
            spread(row.committed_to_received.as_ref()),
            figure(row.deliveries_per_s, 0),
            figure(row.cpu_us_per_delivery, 2),
            counts.map_or_else(none, |counts| format!("{}/{}", counts.received, counts.expected)),
            count(|counts| counts.missing),
            count(|counts| counts.doubled),
        ]);
    }
    table
}

fn memory(rows: &[&Measurement]) -> Vec<Vec<String>> {
    let head = ["", "connections", "KiB without", "KiB with", "KiB per connection"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let (before, after) = row.resident_kib.unzip();
        table.push(vec![
            row.transport.name().to_owned(),
            row.subscribers.to_string(),
            before.map_or_else(none, |kib| kib.to_string()),
            after.map_or_else(none, |kib| kib.to_string()),
            figure(row.kib_per_connection(), 1),
        ]);
    }
    table
}

fn neighbours(rows: &[&Measurement]) -> Vec<Vec<String>> {
    let head =
        ["", "beside", "commits/s", "sent→received ms min/p50/p99", "p50 × alone", "p99 × alone", "missing", "doubled"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let alone =
            rows.iter().find(|other| other.transport == row.transport).and_then(|row| row.sent_to_received.as_ref());
        let times = |of: fn(&Spread) -> f64| Some(of(row.sent_to_received.as_ref()?) / of(alone?));
        let count =
            |of: fn(&Delivered) -> u64| row.delivered.as_ref().map_or_else(none, |counts| of(counts).to_string());
        table.push(vec![
            row.transport.name().to_owned(),
            row.beside.unwrap_or_default().to_owned(),
            figure(row.commits_per_s, 0),
            spread(row.sent_to_received.as_ref()),
            figure(times(|spread| spread.p50_ms), 2),
            figure(times(|spread| spread.p99_ms), 2),
            count(|counts| counts.missing),
            count(|counts| counts.doubled),
        ]);
    }
    table
}

/// What stands where nothing was measured.
fn none() -> String {
    "–".to_owned()
}

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(none, |value| format!("{value:.digits$}"))
}

fn spread(spread: Option<&Spread>) -> String {
    spread.map_or_else(none, |spread| format!("{:.2}/{:.2}/{:.2}", spread.min_ms, spread.p50_ms, spread.p99_ms))
}

/// Columns as wide as their widest cell; figures end where their heading ends.
fn aligned(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        format!("{}\n", cells.join("  "))
    };
    table.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_names_the_median_and_the_tail() {
        let spread = Spread::of((1..=1000).rev().map(|n| n * 1000).collect()).unwrap();
        assert_eq!((spread.min_ms, spread.p99_ms, spread.max_ms), (1.0, 990.0, 1000.0));
        assert!((500.0..=501.0).contains(&spread.p50_ms));
        assert!(Spread::of(Vec::new()).is_none());
    }

    #[test]
    fn a_missing_row_a_double_and_a_lost_connection_are_not_exact() {
        let with = |missing, doubled, faults: &[&str]| {
            let mut row = Measurement::new(Scenario::Idle, Transport::Sse, 1, 1);
            row.delivered = Some(Delivered { missing, doubled, ..Delivered::default() });
            row.faults = faults.iter().map(ToString::to_string).collect();
            row.is_exact()
        };
        assert!(with(0, 0, &[]));
        assert!(!with(1, 0, &[]) && !with(0, 1, &[]) && !with(0, 0, &["the connection ended"]));
    }
}
