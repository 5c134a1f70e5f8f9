//! A consumer that owes each event as subscribers see it, once per event: what webhooks and e-mail begin with.

use std::sync::Arc;

use deadpool_postgres::Transaction;
use tokio::sync::Notify;

use crate::consumer::Take;
use crate::event::Event;
use crate::replay::LogError;

/// What it owes, and to whom it says so.
pub struct Owing {
    /// The consumer's name.
    pub consumer: String,
    /// Events of these tenants only; absent: of all.
    pub tenants: Option<Vec<String>>,
    /// The loop that delivers on this instance.
    pub wake: Arc<Notify>,
}

impl Take for Owing {
    async fn take(&self, transaction: &Transaction<'_>, events: &[Arc<Event>]) -> Result<(), LogError> {
        let wanted = |event: &&Arc<Event>| {
            self.tenants.as_ref().is_none_or(|tenants| tenants.iter().any(|tenant| tenant == event.tenant.as_str()))
        };
        let (mut ids, mut tenants, mut kinds, mut bodies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for event in events.iter().filter(wanted) {
            // What comes from the log has a key; its JSON is text, as it came from PostgreSQL.
            let Some(key) = event.key() else { continue };
            ids.push(key.to_string());
            tenants.push(event.tenant.as_str());
            kinds.push(&*event.kind);
            bodies.push(String::from_utf8_lossy(&event.json()).into_owned());
        }
        if ids.is_empty() {
            return Ok(());
        }
        let statement = transaction
            .prepare_cached(
                "select tidings._owe($1, u.event, '', u.tenant, u.type, u.body)
                   from unnest($2::text[], $3::text[], $4::text[], $5::text[]) u (event, tenant, type, body)",
            )
            .await?;
        transaction.execute(&statement, &[&self.consumer, &ids, &tenants, &kinds, &bodies]).await?;
        Ok(())
    }

    fn noted(&self) {
        self.wake.notify_one();
    }
}
