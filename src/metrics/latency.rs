//! How long events are on their way, for each table: to their rings, and to sockets.
//!
//! An event's time is the database's clock when its change was captured, inside the writer's transaction; nobody is told when that
//! commits. So what is measured begins before the commit, by what was left of the transaction then, and is never less than what
//! passed since the commit.
//!
//! One observation for each event that is dispatched, and one for each write to a socket: of the oldest event in it, which waited
//! longest. One for each event and socket would cost more than its share of a write that carries hundreds.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::clock::DatabaseClock;
use super::labels::Table;
use crate::event::Event;

/// Tables with figures of their own. Those that come later share `other`: a label has a bounded number of values.
const TABLES_MAX: usize = 64;
/// Seconds: from what a loopback takes to what nobody waits for.
const BUCKETS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

pub(super) type PerTable = Family<Table, Histogram, fn() -> Histogram>;

/// Figures of all tables.
#[derive(Debug)]
pub struct Latency {
    /// What events' times are compared with. Written by the listener's task.
    pub clock: DatabaseClock,
    pub(super) dispatched: PerTable,
    pub(super) delivered: PerTable,
    /// The same by the source of events, without their labels being made each time.
    tables: RwLock<HashMap<Box<str>, Arc<Figures>>>,
}

#[derive(Debug)]
struct Figures {
    dispatched: Histogram,
    delivered: Histogram,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Latency {
    fn default() -> Self {
        let family = || PerTable::new_with_constructor(histogram);
        let (dispatched, delivered) = (family(), family());
        Self { clock: DatabaseClock::default(), dispatched, delivered, tables: RwLock::default() }
    }
}

impl Latency {
    /// An event is in its ring.
    pub fn dispatched(&self, event: &Event) {
        self.observe(event, |figures| &figures.dispatched);
    }

    /// A socket is written to, and this is the oldest event in what it gets.
    pub fn delivered(&self, event: &Event) {
        self.observe(event, |figures| &figures.delivered);
    }

    fn observe(&self, event: &Event, which: impl FnOnce(&Figures) -> &Histogram) {
        // What is in no log may carry the time of another clock.
        if event.key().is_some()
            && let Some(since) = self.clock.since(event.at_us)
        {
            which(&self.of(event.source())).observe(since.as_secs_f64());
        }
    }

    fn of(&self, source: &str) -> Arc<Figures> {
        let full = {
            let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
            match tables.get(source) {
                Some(figures) => return figures.clone(),
                // The place of the others has an empty name, which no source has.
                None => (tables.len() > TABLES_MAX).then(|| tables.get("").cloned()).flatten(),
            }
        };
        full.unwrap_or_else(|| self.meet(source))
    }

    fn meet(&self, source: &str) -> Arc<Figures> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if tables.is_empty() {
            tables.insert("".into(), self.figures("other".to_owned()));
        }
        if let Some(figures) = tables.get(if tables.len() > TABLES_MAX { "" } else { source }) {
            return figures.clone();
        }
        let figures = self.figures(source.trim_start_matches('/').replacen('/', ".", 1));
        tables.insert(source.into(), figures.clone());
        figures
    }

    fn figures(&self, table: String) -> Arc<Figures> {
        let table = Table { table };
        let (dispatched, delivered) = (self.dispatched.get_or_create(&table), self.delivered.get_or_create(&table));
        Arc::new(Figures { dispatched: dispatched.clone(), delivered: delivered.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_beyond_the_bound_share_one_label() {
        let latency = Latency::default();
        for n in 0..TABLES_MAX + 10 {
            latency.of(&format!("/public/t{n}")).delivered.observe(0.1);
        }
        latency.of("/public/t0").delivered.observe(0.1);
        let count = |table: &str| format!("{:?}", latency.of(table).delivered).contains("count: 10");
        assert!(count("/public/t70") && count("/public/another") && !count("/public/t0"));
        assert_eq!(latency.tables.read().unwrap().len(), TABLES_MAX + 1);
    }
}
