//! Writers: connections that commit rows at a given rate, or as fast as the subscribers take them.
//!
//! Why a window: rows can be written far faster than they can be delivered a thousand times each. Without one the
//! measurement would be of the log, from which subscribers that have fallen behind are served, and not of the fan-out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_postgres::{Client, Statement};

use super::BenchError;
use super::plan::{Load, Transport};
use super::stage::Stage;
use super::tally::{Tally, now_us};

/// How often a writer that waits for the subscribers looks again: a fraction of what a window takes to drain.
const WINDOW_POLL: Duration = Duration::from_micros(500);

/// Where a group's rows go.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Decides the table.
    pub transport: Transport,
    /// Names of the tenants, in the order of the tally.
    pub tenants: Vec<String>,
    /// What was committed and what has arrived.
    pub tally: Arc<Tally>,
}

impl Lane {
    fn insert(&self) -> String {
        let table = if self.transport == Transport::Bare { "bench_bare" } else { "bench_rows" };
        format!(
            "insert into public.{table} (tenant_id, n, sent_us, payload) \
             select $1, n, $4, repeat('x', $5) from generate_series($2::bigint, $3::bigint) n"
        )
    }
}

/// Writes to all lanes for as long as the load says, and returns how long it took.
///
/// # Errors
/// When a connection or a statement fails.
pub async fn write(stage: &Stage, lanes: &[Lane], load: &Load) -> Result<Duration, BenchError> {
    let mut writers = Vec::new();
    for _ in 0..load.writers {
        let client = stage.connect().await?;
        let mut statements = Vec::new();
        for lane in lanes {
            statements.push(client.prepare(&lane.insert()).await.map_err(BenchError::database)?);
        }
        writers.push((client, statements));
    }
    let (start, turns) = (Instant::now(), AtomicU64::new(0));
    let pace = Pace { start, end: start + load.duration, turns: &turns, lanes, load };
    try_join_all(writers.iter().map(|(client, statements)| pace.write(client, statements))).await?;
    Ok(start.elapsed())
}

/// The schedule that writers share: whoever is free takes the next turn.
struct Pace<'a> {
    start: Instant,
    end: Instant,
    turns: &'a AtomicU64,
    lanes: &'a [Lane],
    load: &'a Load,
}

impl Pace<'_> {
    async fn write(&self, client: &Client, statements: &[Statement]) -> Result<(), BenchError> {
        let lanes = self.lanes.len() as u64;
        loop {
            let turn = self.turns.fetch_add(1, Relaxed);
            if let Some(rate) = self.load.rate {
                // The rate is each lane's; lanes take turns.
                let due = self.start + Duration::from_secs_f64(turn as f64 / (rate * lanes as f64));
                sleep_until(due.min(self.end)).await;
            }
            let lane = &self.lanes[(turn % lanes) as usize];
            self.wait_for_window(&lane.tally).await;
            if Instant::now() >= self.end {
                return Ok(());
            }
            let tenant = (turn / lanes) as usize % lane.tenants.len();
            insert(client, &statements[(turn % lanes) as usize], lane, tenant, self.load).await?;
        }
    }

    async fn wait_for_window(&self, tally: &Tally) {
        let allowed = self.load.window * tally.received.len() as u64;
        while self.load.window > 0 && tally.outstanding() > allowed && Instant::now() < self.end {
            sleep(WINDOW_POLL).await;
        }
    }
}

/// One statement, which is one transaction. Its numbers are taken before and counted after, so a number is never
/// expected that was not committed.
async fn insert(
    client: &Client,
    statement: &Statement,
    lane: &Lane,
    tenant: usize,
    load: &Load,
) -> Result<(), BenchError> {
    let first = lane.tally.take_numbers(tenant, load.batch);
    let last = first + load.batch - 1;
    let payload_bytes = i32::try_from(load.payload_bytes).unwrap_or(i32::MAX);
    let sent_us = now_us().cast_signed();
    client
        .execute(
            statement,
            &[&lane.tenants[tenant], &first.cast_signed(), &last.cast_signed(), &sent_us, &payload_bytes],
        )
        .await
        .map_err(BenchError::database)?;
    lane.tally.commit(tenant, first, load.batch, now_us());
    Ok(())
}

/// One more row for every tenant of a lane: when it arrives, so has all that was written before, and doubles with it.
///
/// # Errors
/// When a connection or a statement fails.
pub async fn write_last_rows(stage: &Stage, lane: &Lane, load: &Load) -> Result<(), BenchError> {
    let client = stage.connect().await?;
    let statement = client.prepare(&lane.insert()).await.map_err(BenchError::database)?;
    let one = Load { batch: 1, ..load.clone() };
    for tenant in 0..lane.tenants.len() {
        insert(&client, &statement, lane, tenant, &one).await?;
    }
    Ok(())
}
