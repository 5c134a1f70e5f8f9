//! What `tidings.watch` means, in executable form: random settings of random tables under random writes make exactly the events
//! that an independent reading of the settings ([`oracle`]) makes of the rows before and after each statement.
//!
//! Each case is a seed. A failure prints it with the case's SQL; `RANDOM_WATCHES_SEED=<seed>` makes that case the first one.
//! Without it the cases are always the same, so that a change that breaks nothing fails nothing; try others with `$RANDOM`.
//!
//! Why not shrink: a case is a script of some forty statements, and what fails is the last one shown.

mod case;
mod oracle;
mod settings;
mod table;
mod writes;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::support::Database;
use case::Case;

/// Enough for every pair of settings to meet, in half a minute.
const CASES: u64 = 200;
/// One waits for PostgreSQL while the other thinks.
const WORKERS: u64 = 2;

#[tokio::test]
async fn random_watches_of_random_tables_tell_what_their_settings_say() {
    let first: u64 = std::env::var("RANDOM_WATCHES_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        workers.spawn(async move {
            let db = Database::new().await;
            db.run("set timezone = 'UTC'; set client_min_messages = warning").await;
            for seed in (first + worker..first + CASES).step_by(WORKERS as usize) {
                play(&db, seed).await;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        if let Err(failed) = ended {
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}

/// One table, one watch, thirty to eighty statements.
async fn play(db: &Database, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut case = Case::begin(db, seed, &mut rng).await;
    for _ in 0..rng.random_range(30..=80) {
        case.step(&mut rng).await;
    }
    case.end().await;
}
