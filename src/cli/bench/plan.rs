//! What is measured: scenarios, the subscribers in them, and the load put on them.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Args;

/// JSON around a row's payload, in bytes: keys, numbers and the tenant.
const ROW_FRAME_BYTES: usize = 88;
/// Unless asked otherwise a latency is measured for so long.
const SECONDS: u64 = 10;

/// How subscribers are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// LISTEN and one write per socket, nothing else: what any bridge is to be compared with.
    Bare,
    /// Server-Sent Events.
    Sse,
    /// WebSocket.
    Ws,
}

impl Transport {
    /// As in the report and in tenants' names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Sse => "sse",
            Self::Ws => "ws",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// All of them, one after the other
    All,
    /// 20 commits/s, 10 subscribers of each kind, side by side: latency at rest
    Idle,
    /// 500 commits/s, 100 subscribers: latency and CPU per delivery
    Loaded,
    /// As fast as 1,000 subscribers of one tenant take it: deliveries per second
    Capacity,
    /// 2,000 idle connections: memory per connection
    Memory,
    /// 20 commits/s to a quiet tenant, alone and beside the storm of another: its latency. Not among all
    Neighbours,
}

impl Scenario {
    /// The scenarios that this one stands for.
    pub fn parts(self) -> Vec<Self> {
        match self {
            Self::All => vec![Self::Idle, Self::Loaded, Self::Capacity, Self::Memory],
            one => vec![one],
        }
    }

    /// As in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Idle => "idle",
            Self::Loaded => "loaded",
            Self::Capacity => "capacity",
            Self::Memory => "memory",
            Self::Neighbours => "neighbours",
        }
    }
}

/// The load of a scenario, after the options.
#[derive(Debug, Clone)]
pub struct Load {
    /// Subscribers by transport; those with none are not measured.
    pub groups: Vec<(Transport, usize)>,
    /// Whether the groups are measured together, taking turns commit by commit, or one after the other.
    pub together: bool,
    /// Tenants over which subscribers and rows are spread.
    pub tenants: usize,
    /// Connections that write.
    pub writers: usize,
    /// Commits per second of all writers together, for each group; None: as fast as the window allows.
    pub rate: Option<f64>,
    /// Rows per commit.
    pub batch: u64,
    /// Rows that a subscriber may lag behind on average before writers wait; 0: any number.
    pub window: u64,
    /// How long the writers write.
    pub duration: Duration,
    /// Bytes of a row's payload column.
    pub payload_bytes: usize,
    /// Whether each delivery's latency is kept.
    pub latency: bool,
}

impl Load {
    /// The load of `scenario`: its own figures where no option says otherwise. None for a scenario without writers.
    pub fn of(scenario: Scenario, args: &Args) -> Self {
        let (subscribers, writers, rate, batch) = match scenario {
            Scenario::All | Scenario::Idle => (10, 1, Some(20.0), 1),
            Scenario::Loaded => (100, 4, Some(500.0), 1),
            Scenario::Capacity => (1000, 8, None, 20),
            Scenario::Memory => (2000, 0, None, 0),
            Scenario::Neighbours => (20, 1, Some(20.0), 1),
        };
        let groups = [(Transport::Bare, args.bare), (Transport::Sse, args.sse), (Transport::Ws, args.ws)];
        let count = |(transport, asked): (Transport, Option<usize>)| (transport, asked.unwrap_or(subscribers));
        Self {
            groups: groups.map(count).into_iter().filter(|(_, subscribers)| *subscribers > 0).collect(),
            together: scenario == Scenario::Idle,
            tenants: args.tenants,
            writers: args.writers.unwrap_or(writers),
            rate: args.rate.map_or(rate, |rate| (rate > 0.0).then_some(rate)),
            batch: args.batch.unwrap_or(batch),
            window: args.window,
            duration: Duration::from_secs(args.seconds.unwrap_or(SECONDS)),
            payload_bytes: args.row_bytes.saturating_sub(ROW_FRAME_BYTES),
            latency: scenario != Scenario::Capacity,
        }
    }
}
