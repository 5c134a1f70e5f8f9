//! Eight connections that count rows upwards: one row, several, a whole tenant; small and large; some rolled back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rand::RngExt;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{ROWS_PER_TENANT, TENANTS};

const CONNECTIONS: usize = 8;
/// Between transactions of one connection: enough to keep everything busy, and the machine able.
const PACE: Duration = Duration::from_millis(80);

pub struct Writers {
    stop: CancellationToken,
    running: JoinSet<()>,
    commits: Arc<AtomicU64>,
}

/// What they did, as far as they were told.
pub struct Written {
    pub commits: u64,
}

impl Writers {
    pub fn start(url: &str) -> Self {
        let (stop, commits, mut running) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)), JoinSet::new());
        for _ in 0..CONNECTIONS {
            running.spawn(write(url.to_owned(), commits.clone(), stop.clone()));
        }
        Self { stop, running, commits }
    }

    pub async fn finish(self) -> Written {
        self.stop.cancel();
        self.running.join_all().await;
        Written { commits: self.commits.load(Relaxed) }
    }
}

async fn write(url: String, commits: Arc<AtomicU64>, stop: CancellationToken) {
    let (mut client, mut pace) = (None, interval(PACE));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        pace.tick().await;
        let Some(connected) = &client else {
            client = reach(&url).await;
            continue;
        };
        let (sql, counts) = transaction();
        // Deadlocks and dead servers alike: the rows are the truth, whatever became of it.
        match connected.batch_execute(&sql).await {
            Ok(()) => _ = commits.fetch_add(u64::from(counts), Relaxed),
            Err(_) if connected.is_closed() => client = None,
            Err(_) => _ = connected.batch_execute("rollback").await,
        }
    }
}

async fn reach(url: &str) -> Option<Client> {
    let (client, connection) = url.parse::<tokio_postgres::Config>().unwrap().connect(NoTls).await.ok()?;
    TaskTracker::new().spawn(async move { _ = connection.await });
    Some(client)
}

/// One transaction, and whether it commits.
fn transaction() -> (String, bool) {
    let mut rng = rand::rng();
    let mut row =
        || format!("'{}-{}'", TENANTS[rng.random_range(0..TENANTS.len())], rng.random_range(1..=ROWS_PER_TENANT));
    let one = format!("update counts set n = n + 1 where id = {}", row());
    let (second, third) = (row(), row());
    let tenant = TENANTS[rng.random_range(0..TENANTS.len())];
    match rng.random_range(0..100) {
        0..50 => (one, true),
        50..70 => (format!("begin; {one}; update counts set n = n + 1 where id in ({second}, {third}); commit"), true),
        70..80 => (format!("begin; {one}; rollback"), false),
        80..88 => (
            format!(
                "begin; {one}; savepoint s; update counts set n = n + 1 where id = {second}; rollback to s; commit"
            ),
            true,
        ),
        // Too large for a notification, so that it goes by reference; and small again.
        88..94 => (format!("update counts set n = n + 1, pad = repeat('x', 9000) where id = {second}"), true),
        94..97 => (format!("update counts set n = n + 1, pad = null where tenant_id = '{tenant}'"), true),
        // Open for a while, beside others that commit.
        _ => (
            format!("begin; {one}; select pg_sleep(0.5); update counts set n = n + 1 where id = {third}; commit"),
            true,
        ),
    }
}
