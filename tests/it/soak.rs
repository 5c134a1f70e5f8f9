//! A long run under random faults, `make soak`: writers count upwards in rows of five tenants, 200 clients follow over SSE and
//! WebSocket on two instances, and everything between them breaks every few seconds. At the end each client has seen every
//! count of every row of its tenant, in order, and nothing else; the memory of the instance that was never killed is flat.
//!
//! `SOAK_SECONDS` (600) is how long it goes on, `SOAK_SEED` repeats a choice of faults.

mod clients;
mod faults;
mod instances;
mod writers;

use std::sync::Arc;
use std::time::Duration;

use tidings::private_postgres::{Options, PrivatePostgres};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{Database, eventually};
use clients::{Follower, Follows};
use faults::Faults;
use instances::Instances;
use writers::Writers;

const TENANTS: [&str; 5] = ["acme", "globex", "initech", "umbrella", "hooli"];
const ROWS_PER_TENANT: usize = 40;
const FOLLOWERS: usize = 200;
/// How long everybody may take to be where the rows are, once nothing breaks any more.
const CATCH_UP: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make soak"]
async fn a_long_run_under_random_faults_loses_nothing_repeats_nothing_and_grows_nowhere() {
    let number = |name: &str, default: u64| std::env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let (seconds, seed) = (number("SOAK_SECONDS", 600), number("SOAK_SEED", rand::random::<u32>().into()));
    println!("{seconds} s of faults, SOAK_SEED={seed}");
    let mut server = PrivatePostgres::start(Options::default()).await.unwrap();
    let mut db = Database::fresh_on(&server).await;
    db.run("create table counts (id text primary key, tenant_id text not null, n bigint not null default 0, pad text)")
        .await;
    for tenant in TENANTS {
        db.run(&format!(
            "insert into counts (id, tenant_id) select '{tenant}-' || i, '{tenant}' from generate_series(1, {ROWS_PER_TENANT}) i"
        ))
        .await;
    }
    db.run("select tidings.watch('counts', 'tenant_id')").await;

    let mut instances = Instances::start(&db.url).await;
    let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
    let followers: Vec<Arc<Follower>> = (0..FOLLOWERS).map(|index| Arc::new(Follower::new(index))).collect();
    for follower in &followers {
        running.spawn(follower.clone().run(instances.doors(), stop.clone()));
    }
    eventually("everybody is connected", || async { followers.iter().all(|follower| follower.connected()) }).await;

    let writers = Writers::start(&db.url);
    let mut faults = Faults::new(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        faults.next(&mut server, &mut instances, &db.url).await;
        if let Some(wrong) = followers.iter().find_map(|follower| follower.wrong()) {
            panic!("SOAK_SEED={seed}, after {}: {wrong}", faults.last());
        }
    }
    let written = writers.finish().await;
    instances.mend().await;
    db.client = db.connect().await;

    let truth = rows(&db).await;
    let deadline = Instant::now() + CATCH_UP;
    loop {
        let behind: Vec<String> = followers.iter().filter_map(|follower| follower.behind(&truth)).collect();
        if behind.is_empty() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "SOAK_SEED={seed}: {} are not where the rows are: {:#?}",
            behind.len(),
            behind
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.cancel();
    running.join_all().await;
    let wrong: Vec<String> = followers.iter().filter_map(|follower| follower.wrong()).collect();
    assert!(wrong.is_empty(), "SOAK_SEED={seed}: {wrong:#?}");

    let sum = |of: fn(&Follows) -> u64| followers.iter().map(|follower| follower.figures(of)).sum::<u64>();
    println!("{faults}");
    println!(
        "{} commits of {} changes; {} deliveries to {FOLLOWERS} clients; {} connections, {} repeats after a resume",
        written.commits,
        truth.iter().map(|(_, n)| n).sum::<u64>(),
        sum(|f| f.events),
        sum(|f| f.connections),
        sum(|f| f.repeats),
    );
    println!("{}", instances.report().await);
    let (before, after) = instances.memory();
    // What an allocator keeps is not what is used, so some room is left; a leak of what ten minutes bring would not fit.
    assert!(after < before * 5 / 4 + (8 << 20), "memory grew from {before} to {after} bytes");
    instances.stop().await;
}

/// How far each row has come.
async fn rows(db: &Database) -> Vec<(String, u64)> {
    let rows = db.client.query("select id, n from counts", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs())).collect()
}
