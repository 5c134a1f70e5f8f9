//! What subscribers received, counted so that nothing can be short or double unnoticed.
//!
//! Each subscriber keeps one bit per row of its tenant. Rows are numbered from 1 without gaps, so when the writers have
//! stopped, what is missing is the bits below the last number that are not set.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970: the one clock of writers and subscribers, which are in one process.
pub fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Locks; a panic elsewhere has left nothing half done, since every holder only counts.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When one row reached one subscriber.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Number of the row.
    pub n: u64,
    /// When its writer sent it.
    pub sent_us: u64,
    /// When it was read.
    pub received_us: u64,
}

/// What one subscriber received.
#[derive(Debug, Default)]
pub struct Received {
    bits: Vec<u64>,
    /// Rows, doubles included.
    pub rows: u64,
    /// Rows that had been received before.
    pub doubled: u64,
    /// When the first row came.
    pub first_us: Option<u64>,
    /// When the newest row came.
    pub last_us: u64,
    /// One per row, if latency is measured.
    pub samples: Vec<Sample>,
    /// Why the connection is not what it should be: it ended, or was told to fetch its state again.
    pub fault: Option<String>,
}

impl Received {
    /// Notes a row.
    pub fn row(&mut self, sample: Sample, keep: bool) {
        let (word, bit) = ((sample.n / 64) as usize, 1 << (sample.n % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        self.doubled += u64::from(self.bits[word] & bit != 0);
        self.bits[word] |= bit;
        self.rows += 1;
        self.first_us.get_or_insert(sample.received_us);
        self.last_us = sample.received_us;
        if keep {
            self.samples.push(sample);
        }
    }

    /// Different rows among the first `committed`.
    pub fn distinct(&self, committed: u64) -> u64 {
        let full = (committed / 64) as usize;
        let whole: u64 = self.bits.iter().take(full).map(|word| u64::from(word.count_ones())).sum();
        let rest = (1_u64 << (committed % 64)) | ((1 << (committed % 64)) - 1);
        whole + self.bits.get(full).map_or(0, |word| u64::from((word & rest).count_ones()))
    }
}

/// The subscribers of one transport, and the rows committed for them.
#[derive(Debug)]
pub struct Tally {
    /// Whether latency is measured: a sample per row and subscriber.
    pub keep_samples: bool,
    /// Rows received by all subscribers together, doubles included. What the writers' window and the end are judged by.
    pub rows: AtomicU64,
    /// By subscriber.
    pub received: Vec<Mutex<Received>>,
    /// By tenant.
    pub committed: Vec<Mutex<Committed>>,
}

/// The rows of one tenant.
#[derive(Debug, Default)]
pub struct Committed {
    /// Numbers handed out to writers.
    pub numbers: u64,
    /// Rows whose commit has returned.
    pub rows: u64,
    /// When the commit of row n returned, at n - 1; 0 until then. Empty when latency is not measured.
    pub at_us: Vec<u64>,
}

impl Tally {
    /// For so many subscribers, spread over so many tenants.
    pub fn new(subscribers: usize, tenants: usize, keep_samples: bool) -> Self {
        Self {
            keep_samples,
            rows: AtomicU64::new(0),
            received: std::iter::repeat_with(Mutex::default).take(subscribers).collect(),
            committed: std::iter::repeat_with(Mutex::default).take(tenants).collect(),
        }
    }

    /// The tenant of a subscriber.
    pub fn tenant_of(&self, subscriber: usize) -> usize {
        subscriber % self.committed.len()
    }

    /// Numbers for `count` new rows of a tenant: the first of them.
    pub fn take_numbers(&self, tenant: usize, count: u64) -> u64 {
        let mut committed = lock(&self.committed[tenant]);
        committed.numbers += count;
        committed.numbers - count + 1
    }

    /// Notes that rows from `first` on are committed.
    pub fn commit(&self, tenant: usize, first: u64, count: u64, at_us: u64) {
        let mut committed = lock(&self.committed[tenant]);
        committed.rows += count;
        if self.keep_samples {
            let end = (first + count - 1) as usize;
            if committed.at_us.len() < end {
                committed.at_us.resize(end, 0);
            }
            committed.at_us[first as usize - 1..end].fill(at_us);
        }
    }

    /// Deliveries that the rows committed so far call for.
    pub fn expected(&self) -> u64 {
        let committed: Vec<u64> = self.committed.iter().map(|tenant| lock(tenant).rows).collect();
        (0..self.received.len()).map(|subscriber| committed[self.tenant_of(subscriber)]).sum()
    }

    /// Deliveries still on their way.
    pub fn outstanding(&self) -> u64 {
        self.expected().saturating_sub(self.rows.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u64) -> Sample {
        Sample { n, sent_us: 0, received_us: 0 }
    }

    #[test]
    fn what_is_missing_and_what_came_twice_are_told_apart() {
        let mut received = Received::default();
        for n in (1..=200).filter(|n| *n != 64 && *n != 131).chain([7]) {
            received.row(row(n), false);
        }
        assert_eq!((received.rows, received.doubled, received.distinct(200)), (199, 1, 198));
    }

    #[test]
    fn rows_beyond_the_committed_ones_do_not_count() {
        let mut received = Received::default();
        (1..=70).for_each(|n| received.row(row(n), false));
        assert_eq!([63, 64, 65, 1000].map(|committed| received.distinct(committed)), [63, 64, 65, 70]);
    }

    #[test]
    fn subscribers_expect_the_rows_of_their_own_tenant() {
        let tally = Tally::new(3, 2, true);
        for (tenant, count) in [(0, 5), (1, 2)] {
            let first = tally.take_numbers(tenant, count);
            tally.commit(tenant, first, count, 1);
        }
        assert_eq!(tally.expected(), 5 + 2 + 5);
    }
}
