//! What the storm of one tenant costs another: the quiet one's latency alone, beside the other's traffic, and beside the
//! same traffic with clients that behave as badly as they can.
//!
//! Why traffic alone is measured too: its writers, PostgreSQL and the load clients share the machine with the server. What
//! commits and deliveries cost on fewer cores than they need says how large the machine should be; the step from the second
//! figure to the third says how well tenants are kept apart.

use std::time::Duration;

use super::BenchError;
use super::child::{Measured, Opens};
use super::measure::{Group, Speed, connect, measurement, until_received};
use super::plan::{Load, Scenario, Transport};
use super::report::Measurement;
use super::stage::Stage;
use super::storm::Storm;
use super::tally::Tally;
use super::writers;

/// Subscribers of the other tenant that read all there is; one user opens no more than 400 at once.
const SUBSCRIBERS: usize = 300;
/// What its writers commit: as the scenario of a busy service, and as much as the machine still takes beside the rest.
const RATE: f64 = 100.0;
const BATCH: u64 = 20;
/// Time for a storm to begin before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);

/// Measures three times, each beside more.
///
/// # Errors
/// When a process, a connection or a statement fails.
pub async fn measure(
    stage: &Stage,
    load: &Load,
    transport: Transport,
    subscribers: usize,
) -> Result<Vec<Measurement>, BenchError> {
    let server = Measured::server(&stage.url(), Opens::Limited).await?;
    let mut measured = Vec::new();
    let quiet = connect(&server, transport, Tally::new(subscribers, 1, true), load).await?;
    measured.push(latency(stage, load, &quiet, "nothing").await?);

    let theirs = Load { rate: Some(RATE), batch: BATCH, writers: 4, ..load.clone() };
    let theirs = Load { duration: load.duration + 2 * WARM_UP, ..theirs };
    let loud = connect(&server, transport, Tally::new(SUBSCRIBERS, 1, false), load).await?;
    let (writing, quiet) = (writers::write(stage, std::slice::from_ref(&loud.lane), &theirs), async {
        let quiet = connect(&server, transport, Tally::new(subscribers, 1, true), load).await?;
        tokio::time::sleep(WARM_UP).await;
        latency(stage, load, &quiet, "its traffic").await
    });
    let (written, beside) = tokio::join!(writing, quiet);
    written?;
    measured.push(beside?);

    let old = stage.cursor().await?;
    let theirs_too = &loud.lane.tenants[0];
    let storm = Storm::new(server.address, theirs_too, &server.token(theirs_too, "storm")?, &old);
    let writing = writers::write(stage, std::slice::from_ref(&loud.lane), &theirs);
    let quiet = async {
        let quiet = connect(&server, transport, Tally::new(subscribers, 1, true), load).await?;
        tokio::time::sleep(WARM_UP).await;
        latency(stage, load, &quiet, "its storm").await
    };
    let storm = storm.begin().map_err(BenchError::io("begin a storm"))?;
    let (written, beside) = tokio::join!(writing, quiet);
    drop(storm);
    written?;
    measured.push(beside?);
    until_received(&loud.lane.tally).await;
    drop(loud);
    server.stop().await?;
    Ok(measured)
}

async fn latency(stage: &Stage, load: &Load, quiet: &Group, beside: &'static str) -> Result<Measurement, BenchError> {
    let took = writers::write(stage, std::slice::from_ref(&quiet.lane), load).await?;
    until_received(&quiet.lane.tally).await;
    let speed = Speed::of(&quiet.lane, load, took, None);
    writers::write_last_rows(stage, &quiet.lane, load).await?;
    until_received(&quiet.lane.tally).await;
    Ok(Measurement { beside: Some(beside), ..measurement(Scenario::Neighbours, &quiet.lane, speed) })
}
