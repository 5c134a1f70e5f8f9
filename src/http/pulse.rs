//! How much went through in the last seconds: the counters that there are, looked at now and then.
//!
//! Place: beside the road; for `GET /v1/stats` only. Nothing is counted for it: rates are differences of what is counted
//! anyway, and of the positions of rings.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::event::TenantId;
use crate::metrics::Metrics;
use crate::router::Router;

/// Looked at so often …
const EVERY: Duration = Duration::from_secs(2);
/// … and remembered so many times: rates are those of ten seconds.
const SAMPLES: usize = 6;
/// With more rings than these, theirs are not looked at: each look takes the lock of each.
const TENANTS_MAX: usize = 1000;

/// What was seen, the oldest first.
#[derive(Debug)]
pub struct Pulse {
    metrics: Arc<Metrics>,
    router: Arc<Router>,
    begun: Instant,
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    events: u64,
    deliveries: u64,
    /// None where there were too many.
    tenants: Option<HashMap<TenantId, u64>>,
}

/// A second's worth, over the last ten.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Flow {
    /// Events that came; none where there are too many tenants to look at.
    pub events_per_second: Option<f64>,
    /// Deliveries of them to streams and sockets; absent where they are not all the caller's to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries_per_second: Option<f64>,
}

impl Pulse {
    /// From now on.
    pub fn new(router: Arc<Router>, metrics: Arc<Metrics>) -> Self {
        let pulse = Self { metrics, router, begun: Instant::now(), samples: Mutex::default() };
        pulse.look();
        pulse
    }

    /// How long ago that was.
    pub fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Looks until cancelled.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        while cancel.run_until_cancelled(sleep(EVERY)).await.is_some() {
            self.look();
        }
    }

    fn look(&self) {
        let sample = self.now();
        let mut samples = self.samples();
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    fn now(&self) -> Sample {
        let (events, deliveries) = (self.metrics.events.get(), self.metrics.deliveries_to_clients());
        Sample { at: Instant::now(), events, deliveries, tenants: self.router.heads(TENANTS_MAX) }
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of the whole process.
    pub fn flow(&self) -> Flow {
        let now = self.now();
        let samples = self.samples();
        let Some(then) = samples.front() else { return Flow::default() };
        let deliveries = per_second(then.deliveries, now.deliveries, now.at - then.at);
        Flow {
            events_per_second: Some(per_second(then.events, now.events, now.at - then.at)),
            deliveries_per_second: Some(deliveries),
        }
    }

    /// Of those tenants whose events the caller may see.
    pub fn flow_of(&self, allowed: impl Fn(&TenantId) -> bool) -> Flow {
        let now = self.now();
        let samples = self.samples();
        let Some(then) = samples.front() else { return Flow::default() };
        let (Some(before), Some(heads)) = (&then.tenants, &now.tenants) else { return Flow::default() };
        let came = heads.iter().filter(|(tenant, _)| allowed(tenant)).map(|(tenant, head)| {
            // A ring that was made meanwhile began at its beginning; so did one that was freed and made again.
            let before = before.get(tenant).copied().unwrap_or(1);
            if before <= *head { head - before } else { head - 1 }
        });
        let rate = per_second(0, came.sum(), now.at - then.at);
        Flow { events_per_second: Some(rate), deliveries_per_second: None }
    }
}

/// With one decimal. Right after the start it is what came so far.
fn per_second(then: u64, now: u64, between: Duration) -> f64 {
    let rate = now.saturating_sub(then) as f64 / between.as_secs_f64().max(1.0);
    (rate * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Principal;
    use crate::replay::Scope;
    use crate::ring::Bounds;

    #[test]
    fn a_rate_is_not_known_rather_than_nothing_where_there_are_too_many_tenants() {
        let bounds = Bounds { events_max: 8, bytes_max: 1024 };
        let router = Arc::new(Router::new(bounds, Duration::from_secs(1)));
        let pulse = Pulse::new(router.clone(), Arc::default());
        assert_eq!(pulse.flow_of(|_| true).events_per_second, Some(0.0));
        let admin = Principal::from_claims(&serde_json::json!({"sub": "a", "role": "admin", "exp": 1})).unwrap();
        for n in 0..=TENANTS_MAX {
            router.ring_of(&Scope::Tenant(admin.enter(&n.to_string()).unwrap()));
        }
        assert_eq!(pulse.flow_of(|_| true).events_per_second, None);
    }
}
