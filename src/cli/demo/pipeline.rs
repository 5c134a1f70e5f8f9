//! What stands in for the application's processing: every document that was uploaded, or that somebody tries again, is processed stage by
//! stage, whoever uploaded it, and ends as processed or failed.
//!
//! Invariant: what becomes of a document follows from its name, so that it can be tried out and tested: one whose name says that it is broken
//! or damaged fails the first time and succeeds when it is tried again; all others succeed
//! (`the_demo_processes_what_people_upload_and_fails_what_is_broken_once`).
//!
//! Why polled: a pipeline of an application may as well subscribe. This one keeps going through restarts of the database with nothing to resume.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::random_range;
use serde_json::json;
use tokio::time::sleep;
use tokio_postgres::{Client, Row};

use super::seed::{TENANTS, Tenant};
use crate::cli::Failure;
use crate::postgres::Pool;

/// How often is looked for something to do: people who have just dropped a file see it begin at once.
const LOOK: Duration = Duration::from_millis(250);
/// After an error: the database may be restarting, which is worth watching.
const RETRY: Duration = Duration::from_secs(1);
/// Stages of processing, and the progress at which each ends, in percent.
const STAGES: [(&str, i32); 4] = [("scanning", 15), ("extracting text", 55), ("indexing", 85), ("summarising", 100)];
/// A document takes eight to eleven steps of half a second: about five seconds.
const STEP_MS: (u64, u64) = (420, 620);
const STEP: (i32, i32) = (10, 15);
/// Files of more than a gigabyte are taken one after the other, and minutes each: some progress can always be looked at.
const LARGE_BYTES: i64 = 1_000_000_000;
const LARGE_STEP: Duration = Duration::from_secs(5);
/// At which progress a broken file is found to be one.
const FAILS_AT: i32 = 30;

/// A document on its way.
struct Run {
    /// Tried again, so that it succeeds.
    again: bool,
    next: Instant,
}

/// Processes the documents of all tenants until it is dropped.
pub(super) async fn run(pool: &Pool) {
    join_all(TENANTS.iter().map(|tenant| work(pool, tenant))).await;
}

async fn work(pool: &Pool, tenant: &'static Tenant) {
    let mut runs = HashMap::new();
    loop {
        if let Err(failure) = look(pool, tenant, &mut runs).await {
            tracing::debug!(%failure, tenant = tenant.id, "the demo's pipeline pauses");
            sleep(RETRY).await;
        }
        sleep(LOOK).await;
    }
}

async fn look(pool: &Pool, tenant: &Tenant, runs: &mut HashMap<String, Run>) -> Result<(), Failure> {
    let client = pool.get().await?;
    // Sessions of this pool see no row of the tables until they say whose.
    client.query_one("select set_config('tidings.tenant', $1, false)", &[&tenant.id]).await?;
    let open = "select id, name, coalesce(size, 0), status, coalesce(progress, 0)::int from public.documents
                 where tenant_id = $1 and status in ('uploaded', 'processing') order by status, created_at, id";
    let open: Vec<Document> = client.query(open, &[&tenant.id]).await?.iter().map(Document::read).collect();
    runs.retain(|id, _| open.iter().any(|document| document.id == *id));
    // Those that are processed come first in the list.
    let large = open.iter().find(|document| document.is_large()).map(|document| document.id.as_str());
    for document in &open {
        let waits = document.is_large() && large != Some(document.id.as_str());
        let run = runs
            .entry(document.id.clone())
            .or_insert_with(|| Run { again: document.begun, next: Instant::now() + document.pace() });
        if !waits && run.next <= Instant::now() {
            run.next = Instant::now() + document.pace();
            document.advance(&client, tenant.id, run.again).await?;
        }
    }
    Ok(())
}

/// A row.
struct Document {
    id: String,
    name: String,
    size: i64,
    begun: bool,
    progress: i32,
}

impl Document {
    fn read(row: &Row) -> Self {
        let begun = row.get::<_, &str>(3) == "processing";
        Self { id: row.get(0), name: row.get(1), size: row.get(2), begun, progress: row.get(4) }
    }

    fn is_large(&self) -> bool {
        self.size > LARGE_BYTES
    }

    fn pace(&self) -> Duration {
        if self.is_large() { LARGE_STEP } else { Duration::from_millis(random_range(STEP_MS.0..STEP_MS.1)) }
    }

    fn is_broken(&self) -> bool {
        let name = self.name.to_lowercase();
        name.contains("broken") || name.contains("damaged")
    }

    /// One step. Who changes the document meanwhile, or removes it, was first.
    async fn advance(&self, client: &Client, tenant: &str, again: bool) -> Result<(), Failure> {
        let step = if self.is_large() { 1 } else { random_range(STEP.0..=STEP.1) };
        let next = if self.begun { (self.progress + step).min(100) } else { 0 };
        let stage = STAGES.iter().find(|(_, end)| next < *end).map(|(stage, _)| *stage);
        let fault =
            json!({"code": "unreadable", "message": "The file is damaged or protected by a password."}).to_string();
        let (status, error) = match next {
            100 => ("processed", None),
            _ if next >= FAILS_AT && !again && self.is_broken() => ("failed", Some(fault)),
            _ => ("processing", None),
        };
        let set = "select tidings_app.set_document_status($1, $2, $3, $4, $5, $6::text::jsonb)";
        let done = client.execute(set, &[&tenant, &self.id, &status, &next, &stage, &error]).await;
        match done {
            Err(error) if super::is_refusal(&error) => Ok(()),
            done => Ok(done.map(drop)?),
        }
    }
}
