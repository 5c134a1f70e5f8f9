//! One measurement: children started, subscribers connected, rows written, everything received, figures taken.
//!
//! Every measurement has fresh processes, so that none pays for what another left behind.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::BenchError;
use super::child::{Measured, Opens};
use super::client::{Subscribers, Target};
use super::plan::{Load, Scenario, Transport};
use super::report::{Delivered, Measurement, Spread};
use super::stage::Stage;
use super::tally::{Tally, lock};
use super::writers::{self, Lane};

/// Subscribers that receive nothing for so long will receive nothing more.
const SILENCE: Duration = Duration::from_secs(5);
/// How often we look whether all has arrived.
const POLL: Duration = Duration::from_millis(5);
/// Memory is read when the accepting of connections has calmed down.
const CALM: Duration = Duration::from_secs(2);
/// Whose tokens subscribers have.
const USER: &str = "bench";
/// Faults quoted in a report; the others only count.
const FAULTS_SHOWN: usize = 3;

/// A group of subscribers, and what it is measured by.
pub struct Group {
    /// Where its rows go, and what came of them.
    pub lane: Lane,
    /// Connected until dropped.
    _subscribers: Subscribers,
}

/// Measures the delivery of rows to `groups`, all at the same time.
///
/// # Errors
/// When a process, a connection or a statement fails. Rows that do not arrive are a result, not an error.
pub async fn delivery(
    stage: &Stage,
    scenario: Scenario,
    load: &Load,
    groups: &[(Transport, usize)],
) -> Result<Vec<Measurement>, BenchError> {
    let bare = |&(transport, _): &(Transport, usize)| transport == Transport::Bare;
    let relay = if groups.iter().any(bare) { Some(Measured::relay(&stage.url()).await?) } else { None };
    let server =
        if groups.iter().all(bare) { None } else { Some(Measured::server(&stage.url(), Opens::Lifted).await?) };
    let mut connected = Vec::new();
    for &(transport, subscribers) in groups {
        let child = if transport == Transport::Bare { relay.as_ref() } else { server.as_ref() };
        if let Some(child) = child {
            let tally = Tally::new(subscribers, tenants_of(transport, load), load.latency);
            connected.push(connect(child, transport, tally, load).await?);
        }
    }
    let lanes: Vec<Lane> = connected.iter().map(|group| group.lane.clone()).collect();
    // CPU time of a process that serves two groups belongs to neither.
    let alone = if groups.len() == 1 { server.as_ref().or(relay.as_ref()) } else { None };
    let cpu_before = alone.and_then(Measured::cpu_seconds);
    let took = writers::write(stage, &lanes, load).await?;
    for lane in &lanes {
        until_received(&lane.tally).await;
    }
    let cpu_s = alone.and_then(Measured::cpu_seconds).zip(cpu_before).map(|(after, before)| after - before);
    let speeds: Vec<Speed> = lanes.iter().map(|lane| Speed::of(lane, load, took, cpu_s)).collect();
    for lane in &lanes {
        writers::write_last_rows(stage, lane, load).await?;
        until_received(&lane.tally).await;
    }
    let measured = lanes.iter().zip(speeds).map(|(lane, speed)| measurement(scenario, lane, speed)).collect();
    drop(connected);
    for child in [server, relay].into_iter().flatten() {
        child.stop().await?;
    }
    Ok(measured)
}

/// Measures what idle connections cost in memory.
///
/// # Errors
/// When a process or a connection fails.
pub async fn memory(
    stage: &Stage,
    load: &Load,
    transport: Transport,
    connections: usize,
) -> Result<Measurement, BenchError> {
    let server = Measured::server(&stage.url(), Opens::Lifted).await?;
    sleep(CALM).await;
    let before = server.resident_bytes();
    let tally = Tally::new(connections, tenants_of(transport, load), false);
    let group = connect(&server, transport, tally, load).await?;
    sleep(CALM).await;
    let after = server.resident_bytes();
    let mut measured = Measurement::new(Scenario::Memory, transport, connections, group.lane.tenants.len());
    measured.faults = faults(&group.lane.tally);
    measured.resident_kib = before.zip(after).map(|(before, after)| (before / 1024, after / 1024));
    drop(group);
    server.stop().await?;
    Ok(measured)
}

/// The relay knows no tenants: everybody would receive everything.
fn tenants_of(transport: Transport, load: &Load) -> usize {
    if transport == Transport::Bare { 1 } else { load.tenants.max(1) }
}

/// Connects a group to tenants of its own.
///
/// # Errors
/// When a subscriber cannot subscribe.
pub async fn connect(child: &Measured, transport: Transport, tally: Tally, load: &Load) -> Result<Group, BenchError> {
    // New names each time: nothing in the server's rings, and no number used twice.
    let run = format!("{:06x}", rand::random::<u32>() >> 8);
    let tenants: Vec<String> = (0..tally.committed.len()).map(|index| format!("{transport}-{run}-{index}")).collect();
    let with_token = |name: &String| Ok((name.clone(), child.token(name, USER)?));
    let target = Target {
        address: child.address,
        transport,
        tenants: tenants.iter().map(with_token).collect::<Result<_, BenchError>>()?,
        payload_bytes: load.payload_bytes,
    };
    let tally = Arc::new(tally);
    let subscribers = Subscribers::connect(target, tally.clone()).await?;
    Ok(Group { lane: Lane { transport, tenants, tally }, _subscribers: subscribers })
}

/// Returns when every subscriber has what it should have, or nothing comes any more.
pub async fn until_received(tally: &Tally) {
    let (mut left, mut since) = (u64::MAX, Instant::now());
    loop {
        let now = tally.outstanding();
        if now == 0 || since.elapsed() > SILENCE {
            return;
        } else if now != left {
            (left, since) = (now, Instant::now());
        }
        sleep(POLL).await;
    }
}

/// Figures that are taken before the last rows, which come when the load is over.
pub struct Speed {
    commits_per_s: f64,
    deliveries_per_s: Option<f64>,
    cpu_us_per_delivery: Option<f64>,
}

impl Speed {
    /// Of what was received so far.
    pub fn of(lane: &Lane, load: &Load, took: Duration, cpu_s: Option<f64>) -> Self {
        let (mut rows, mut first_us, mut last_us) = (0, u64::MAX, 0);
        for received in &lane.tally.received {
            let received = lock(received);
            rows += received.rows;
            first_us = received.first_us.map_or(first_us, |first| first.min(first_us));
            last_us = last_us.max(received.last_us);
        }
        let written: u64 = lane.tally.committed.iter().map(|tenant| lock(tenant).rows).sum();
        let over = |seconds: f64| (rows > 0 && seconds > 0.0).then(|| rows as f64 / seconds);
        Self {
            commits_per_s: (written / load.batch.max(1)) as f64 / took.as_secs_f64(),
            deliveries_per_s: over(last_us.saturating_sub(first_us) as f64 / 1e6),
            cpu_us_per_delivery: cpu_s.filter(|_| rows > 0).map(|cpu_s| cpu_s * 1e6 / rows as f64),
        }
    }
}

/// The figures of a lane to which nothing comes any more.
pub fn measurement(scenario: Scenario, lane: &Lane, speed: Speed) -> Measurement {
    let tally = &lane.tally;
    let mut measured = Measurement::new(scenario, lane.transport, tally.received.len(), lane.tenants.len());
    let mut delivered = Delivered::default();
    let (mut from_send, mut from_commit) = (Vec::new(), Vec::new());
    for (index, received) in tally.received.iter().enumerate() {
        let (received, committed) = (lock(received), lock(&tally.committed[tally.tenant_of(index)]));
        delivered.expected += committed.rows;
        delivered.received += received.rows;
        delivered.missing += committed.rows - received.distinct(committed.numbers).min(committed.rows);
        delivered.doubled += received.doubled;
        for sample in &received.samples {
            from_send.push(sample.received_us.saturating_sub(sample.sent_us));
            let returned = committed.at_us.get(sample.n as usize - 1).filter(|&&at_us| at_us > 0);
            // An event may well arrive before the writer hears of its commit: that counts as no time at all.
            from_commit.extend(returned.map(|&at_us| sample.received_us.saturating_sub(at_us)));
        }
    }
    measured.delivered = Some(delivered);
    measured.faults = faults(tally);
    measured.commits_per_s = Some(speed.commits_per_s);
    measured.deliveries_per_s = speed.deliveries_per_s;
    measured.cpu_us_per_delivery = speed.cpu_us_per_delivery;
    measured.sent_to_received = Spread::of(from_send);
    measured.committed_to_received = Spread::of(from_commit);
    measured
}

/// Different reasons for which subscribers stopped counting.
fn faults(tally: &Tally) -> Vec<String> {
    let mut faults: Vec<String> = tally.received.iter().filter_map(|received| lock(received).fault.clone()).collect();
    faults.sort();
    faults.dedup();
    faults.truncate(FAULTS_SHOWN);
    faults
}
