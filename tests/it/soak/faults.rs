//! What breaks: PostgreSQL, the instances, and the networks on both sides. One thing at a time, mended after a moment, with a
//! moment of peace behind it; the choice is repeatable.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use tidings::private_postgres::{PrivatePostgres, Stop};
use tokio::time::sleep;

use super::instances::Instances;
use crate::support::{Cut, Door, Fault, Of, Proxy, Way, connect, eventually};

const KINDS: [&str; 18] = [
    "the listening backends are terminated",
    "all backends of the instances are terminated",
    "a backend is killed, and PostgreSQL recovers",
    "PostgreSQL is restarted",
    "PostgreSQL stops at once",
    "the postmaster is killed",
    "PostgreSQL hangs",
    "PostgreSQL says nothing more on the listening connections",
    "PostgreSQL hears nothing more from the instances",
    "the network to PostgreSQL is half-open",
    "the network to PostgreSQL is reset",
    "the network to PostgreSQL is slow",
    "PostgreSQL takes no connections",
    "an instance is killed",
    "an instance is replaced",
    "an instance hangs",
    "clients are cut off",
    "clients are half-open",
];

pub struct Faults {
    choice: StdRng,
    counts: BTreeMap<&'static str, u32>,
    last: &'static str,
}

impl Faults {
    pub fn new(seed: u64) -> Self {
        Self { choice: StdRng::seed_from_u64(seed), counts: BTreeMap::new(), last: "nothing" }
    }

    /// The newest.
    pub fn last(&self) -> &'static str {
        self.last
    }

    /// Breaks something for a moment.
    pub async fn next(&mut self, server: &mut PrivatePostgres, instances: &mut Instances, url: &str) {
        let kind = KINDS[self.choice.random_range(0..KINDS.len())];
        let moment = Duration::from_millis(self.choice.random_range(300..4000));
        let side = self.choice.random_range(0..2);
        self.last = kind;
        *self.counts.entry(kind).or_default() += 1;
        instances.tend();
        match kind {
            "the listening backends are terminated" => {
                ask(url, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tidings listener'").await;
            }
            "all backends of the instances are terminated" => {
                ask(
                    url,
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'tidings%'",
                )
                .await;
            }
            "a backend is killed, and PostgreSQL recovers" => kill_a_backend(server, url).await,
            "PostgreSQL is restarted" => server.restart(Stop::Fast).await.unwrap(),
            "PostgreSQL stops at once" => {
                server.halt(Stop::Immediate).await.unwrap();
                sleep(moment).await;
                server.boot().await.unwrap();
            }
            "the postmaster is killed" => server.restart(Stop::Kill).await.unwrap(),
            "PostgreSQL hangs" => {
                server.suspend().unwrap();
                sleep(moment).await;
                server.resume().unwrap();
            }
            "PostgreSQL says nothing more on the listening connections" => {
                let proxy = &instances.postgres;
                proxy.set(Of::Saying("tidings listener"), Way::ToClient, Fault::hold());
                sleep(moment).await;
                proxy.mend();
            }
            "PostgreSQL hears nothing more from the instances" => {
                broken(&instances.postgres, Way::ToServer, Fault::swallow(), moment).await;
            }
            "the network to PostgreSQL is half-open" => {
                broken(&instances.postgres, Way::Both, Fault::swallow(), moment).await;
            }
            "the network to PostgreSQL is reset" => instances.postgres.cut(Of::All, Cut::Rst),
            "the network to PostgreSQL is slow" => {
                let proxy = &instances.postgres;
                proxy.set(Of::All, Way::Both, Fault { delay: moment / 8, rate: Some(200_000), ..Fault::default() });
                sleep(moment).await;
                proxy.mend();
            }
            "PostgreSQL takes no connections" => {
                instances.postgres.door(Door::Shut);
                instances.postgres.cut(Of::All, Cut::Fin);
                sleep(moment).await;
                instances.postgres.mend();
            }
            "an instance is killed" => instances.replace(Signal::KILL).await,
            "an instance is replaced" => instances.replace(Signal::TERM).await,
            "an instance hangs" => {
                instances.signal(side, Signal::STOP);
                sleep(moment).await;
                instances.signal(side, Signal::CONT);
            }
            "clients are cut off" => {
                let how = if moment.as_millis().is_multiple_of(2) { Cut::Rst } else { Cut::Fin };
                instances.clients[side].cut(Of::All, how);
            }
            _ => broken(&instances.clients[side], Way::Both, Fault::swallow(), moment).await,
        }
        sleep(moment / 2 + Duration::from_millis(300)).await;
    }
}

/// What was swallowed does not come back: those connections end when it is over, unless somebody has noticed before.
async fn broken(proxy: &Proxy, way: Way, fault: Fault, moment: Duration) {
    proxy.set(Of::All, way, fault);
    sleep(moment).await;
    proxy.cut(Of::All, Cut::Rst);
    proxy.mend();
}

async fn ask(url: &str, sql: &str) {
    connect(url).await.batch_execute(sql).await.unwrap();
}

/// SIGKILL, as the kernel does when memory is short; the postmaster then ends all others and replays its log.
async fn kill_a_backend(server: &PrivatePostgres, url: &str) {
    let victim = connect(url).await;
    let pid: i32 = victim.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    assert!(server.pid().is_some());
    eventually("PostgreSQL has recovered", || async {
        let connected = url.parse::<tokio_postgres::Config>().unwrap().connect(tokio_postgres::NoTls).await;
        connected.is_ok()
    })
    .await;
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faults:", self.counts.values().sum::<u32>())?;
        self.counts.iter().try_for_each(|(kind, count)| write!(f, "\n  {count:>3} × {kind}"))
    }
}
