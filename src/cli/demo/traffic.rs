//! Traffic that looks like people at work: uploads, chats, a notification now and then.
//!
//! Each tenant has a desk: what is going on there at the moment. Every step takes one thing on it further or begins
//! another. What is finished leaves in time, so that a demo that runs over a weekend stays as small as one of a minute.

mod chat;
mod upload;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::{random_bool, random_range};
use tokio::time::sleep;

use super::seed::{TENANTS, Tenant};
use crate::cli::Failure;
use crate::postgres::Pool;
use chat::Chat;

/// Pauses between steps: short within a burst, longer between them. One or two steps a second on average.
const BURST: (u64, u64) = (80, 600);
const LULL: (u64, u64) = (900, 2_200);
/// Chats on a desk at the same time.
const CHATS_MAX: usize = 5;
/// Finished things that stay.
const KEPT: usize = 25;
/// Of ended chats as many stay as they are; those before them are archived.
const ENDED: usize = 8;
/// Notifications of a tenant that stay: more than anyone scrolls through.
const NOTIFICATIONS_KEPT: i64 = 300;
/// After an error: the database may be restarting, which is worth watching.
const RETRY: Duration = Duration::from_secs(1);

/// What is going on in a tenant.
struct Desk {
    tenant: &'static Tenant,
    chats: Vec<Chat>,
    /// Ids of documents and of ended chats, oldest first.
    documents: VecDeque<String>,
    old_chats: VecDeque<String>,
}

/// Lets things happen in all tenants until it is dropped.
pub(super) async fn run(pool: &Pool) {
    join_all(TENANTS.iter().map(|tenant| work(pool, tenant))).await;
}

async fn work(pool: &Pool, tenant: &'static Tenant) {
    let mut desk = Desk { tenant, chats: Vec::new(), documents: VecDeque::new(), old_chats: VecDeque::new() };
    loop {
        if let Err(failure) = desk.step(pool).await {
            tracing::debug!(%failure, tenant = tenant.id, "the demo's traffic pauses");
            sleep(RETRY).await;
        }
        let (from_ms, to_ms) = if random_bool(0.8) { BURST } else { LULL };
        sleep(Duration::from_millis(random_range(from_ms..to_ms))).await;
    }
}

impl Desk {
    async fn step(&mut self, pool: &Pool) -> Result<(), Failure> {
        let client = pool.get().await?;
        // Sessions of this pool see no row of the tables until they say whose; a role that is not a superuser would write in vain.
        client.query_one("select set_config('tidings.tenant', $1, false)", &[&self.tenant.id]).await?;
        let now = Instant::now();
        let due = self.chats.iter().position(|chat| chat.next <= now);
        match (random_range(0..100), due) {
            (0..12, _) => self.documents.push_back(upload::upload(&client, self.tenant).await?),
            (12..15, _) => notify(&client, self.tenant.id).await?,
            (15..18, _) => upload::try_again(&client, self.tenant, self.documents.make_contiguous()).await?,
            (18..26, _) if self.chats.len() < CHATS_MAX => self.chats.push(Chat::begin(&client, self.tenant).await?),
            (_, Some(index)) => self.advance(&client, index).await?,
            // Everybody is reading.
            _ => {}
        }
        self.tidy(&client).await
    }

    /// Takes a chat further.
    async fn advance(&mut self, client: &tokio_postgres::Client, index: usize) -> Result<(), Failure> {
        if self.chats[index].advance(client, self.tenant).await? {
            self.old_chats.push_back(self.chats.swap_remove(index).id);
            self.archive(client).await?;
        }
        Ok(())
    }

    /// Archives a chat that ended some chats ago.
    async fn archive(&self, client: &tokio_postgres::Client) -> Result<(), Failure> {
        let Some(id) = self.old_chats.len().checked_sub(ENDED).and_then(|index| self.old_chats.get(index)) else {
            return Ok(());
        };
        chat::command(client, self.tenant, id, "archive").await.map(drop)
    }

    async fn tidy(&mut self, client: &tokio_postgres::Client) -> Result<(), Failure> {
        for (old, sql) in [
            (&mut self.documents, "delete from public.documents where id = $1"),
            (&mut self.old_chats, "delete from public.chat_sessions where id = $1"),
        ] {
            if old.len() > KEPT
                && let Some(id) = old.pop_front()
            {
                client.execute(sql, &[&id]).await?;
            }
        }
        Ok(())
    }
}

async fn notify(client: &tokio_postgres::Client, tenant: &str) -> Result<(), Failure> {
    const NEWS: [(&str, &str, &str); 4] = [
        ("report_ready", "Weekly report ready", "The report of last week can be downloaded."),
        ("system_maintenance", "Maintenance on Sunday", "Uploads pause from 02:00 to 02:15 UTC."),
        ("member_joined", "New colleague", "Someone accepted your invitation."),
        ("quota_warning", "Storage at 80 %", "Ask an admin for more, or remove what is old."),
    ];
    let (kind, title, message) = pick(&NEWS);
    let insert = "insert into public.notifications (tenant_id, type, title, message) values ($1, $2, $3, $4)";
    client.execute(insert, &[&tenant, &kind, &title, &message]).await?;
    let prune = "delete from public.notifications n where n.tenant_id = $1 and n.id in (
                   select o.id from public.notifications o where o.tenant_id = $1 order by o.created_at desc, o.id desc offset $2)";
    client.execute(prune, &[&tenant, &NOTIFICATIONS_KEPT]).await?;
    Ok(())
}

/// One of them, at random.
fn pick<T: Copy>(choices: &[T]) -> T {
    choices[random_range(0..choices.len())]
}
