//! Events on their way out of here: a consumer and its deliveries for each `[[webhook]]`, and for `[email]`.
//!
//! Place: beside the road, built and ended by [`app`](crate::app). At the end of the process its consumers stop at once and
//! give their leads back, so that another instance reads on within a second
//! (`a_leader_that_ends_in_order_is_replaced_at_once`); what is in flight has the drain's time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Globs;
use crate::config::Config;
use crate::consumer::{self, Consumer};
use crate::delivery::owing::Owing;
use crate::delivery::{Attempt, Deliveries, Schedule};
use crate::email::{self, Email, EmailError};
use crate::http::State;
use crate::webhook::Endpoint;

/// The application's functions come with a migration, at most once in a database's life: asked for this often until then.
const APPLICATION: Duration = Duration::from_secs(10);

/// Why it cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// No client for an endpoint.
    #[error("webhook {0} cannot be set up")]
    Webhook(String, #[source] reqwest::Error),
    /// No letters.
    #[error(transparent)]
    Email(#[from] EmailError),
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All consumers and their deliveries, not running yet.
pub struct Outbound {
    bridge: String,
    state: Arc<State>,
    schedule: Schedule,
    in_flight: usize,
    stop: CancellationToken,
    readers: Vec<Task>,
    senders: Vec<Task>,
}

impl Outbound {
    /// What the configuration asks for, which may be nothing.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub fn build(config: &Config, bridge: &str, state: &Arc<State>) -> Result<Self, OutboundError> {
        let delivery = &config.delivery;
        let mut outbound = Self {
            bridge: bridge.to_owned(),
            state: state.clone(),
            schedule: Schedule {
                min: delivery.retry_after_min,
                max: delivery.retry_after_max,
                retry_for: delivery.retry_for,
            },
            in_flight: delivery.in_flight,
            stop: state.drain.clone(),
            readers: Vec::new(),
            senders: Vec::new(),
        };
        for webhook in &config.webhook {
            let endpoint =
                Endpoint::new(webhook).map_err(|error| OutboundError::Webhook(webhook.name.clone(), error))?;
            let consumer = outbound.consumer(webhook.consumer(), webhook.types.clone(), webhook.tenants.clone());
            outbound.sends(&consumer, webhook.timeout, endpoint);
            let stop = outbound.stop.clone();
            outbound.readers.push(Box::pin(consumer.run(stop)));
        }
        if !config.email.smtp.is_empty() {
            let types = Globs::from_items(config.email.types.iter().map(String::as_str)).unwrap_or_default();
            let consumer = outbound.consumer(email::CONSUMER.to_owned(), types, None);
            outbound.sends(
                &consumer,
                config.email.timeout,
                Email::new(config, state.log.clone(), state.in_force.clone())?,
            );
            let stop = outbound.stop.clone();
            outbound.readers.push(Box::pin(async move {
                if stop.run_until_cancelled(email::application(&consumer.log, APPLICATION)).await.is_some() {
                    consumer.run(stop).await;
                }
            }));
        }
        Ok(outbound)
    }

    fn consumer(&self, name: String, types: Globs, tenants: Option<Vec<String>>) -> Consumer<Owing> {
        let take = Owing { consumer: name.clone(), tenants, wake: Arc::new(Notify::new()) };
        let State { log, router, metrics, .. } = &*self.state;
        let (log, router, metrics) = (log.clone(), router.clone(), metrics.clone());
        Consumer { name, types, bridge: self.bridge.clone(), log, router, metrics, take }
    }

    fn sends<A: Attempt>(&mut self, consumer: &Consumer<Owing>, timeout: Duration, attempt: A) {
        let deliveries = Deliveries {
            consumer: consumer.name.clone(),
            log: consumer.log.clone(),
            metrics: consumer.metrics.clone(),
            in_flight: self.in_flight,
            timeout,
            schedule: self.schedule,
            wake: consumer.take.wake.clone(),
            attempt,
        };
        self.senders.push(Box::pin(deliveries.run(self.stop.clone(), self.state.kill.clone())));
    }

    /// Runs until the drain begins; then ends in order.
    pub async fn run(self) {
        let (readers, senders) = (TaskTracker::new(), TaskTracker::new());
        let leads = !self.readers.is_empty();
        self.readers.into_iter().for_each(|task| drop(readers.spawn(task)));
        self.senders.into_iter().for_each(|task| drop(senders.spawn(task)));
        readers.close();
        senders.close();
        readers.wait().await;
        if leads {
            consumer::give_back(&self.state.log, &self.bridge).await;
        }
        senders.wait().await;
    }
}
