//! Traffic that looks like people at work: uploads and what becomes of them, chats, a notification now and then.
//!
//! Each tenant has a desk: what is going on there at the moment. Every step takes one thing on it further or begins
//! another. What is finished leaves in time, so that a demo that runs over a weekend stays as small as one of a minute.

mod chat;
mod document;

use std::collections::VecDeque;
use std::time::Duration;

use deadpool_postgres::Pool;
use futures_util::future::join_all;
use rand::{random_bool, random_range};
use tokio::time::sleep;

use super::seed::{TENANTS, Tenant};
use crate::cli::Failure;
use chat::Chat;
use document::Document;

/// Pauses between steps: short within a burst, longer between them. Two or three steps a second on average.
const BURST: (u64, u64) = (40, 350);
const LULL: (u64, u64) = (900, 2_200);
/// Things on a desk at the same time.
const DOCUMENTS_MAX: usize = 4;
const CHATS_MAX: usize = 3;
/// Finished things that stay.
const KEPT: usize = 25;
/// After an error: the database may be restarting, which is worth watching.
const RETRY: Duration = Duration::from_secs(1);

/// What is going on in a tenant.
struct Desk {
    tenant: &'static Tenant,
    documents: Vec<Document>,
    chats: Vec<Chat>,
    /// Ids of finished documents and chats, oldest first.
    old_documents: VecDeque<String>,
    old_chats: VecDeque<String>,
}

/// Lets things happen in all tenants until it is dropped.
pub(super) async fn run(pool: &Pool) {
    join_all(TENANTS.iter().map(|tenant| work(pool, tenant))).await;
}

async fn work(pool: &Pool, tenant: &'static Tenant) {
    let (documents, chats) = (Vec::new(), Vec::new());
    let mut desk = Desk { tenant, documents, chats, old_documents: VecDeque::new(), old_chats: VecDeque::new() };
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
        match random_range(0..100) {
            0..10 if self.documents.len() < DOCUMENTS_MAX => {
                self.documents.push(Document::upload(&client, self.tenant).await?);
            }
            10..15 if self.chats.len() < CHATS_MAX => self.chats.push(Chat::begin(&client, self.tenant).await?),
            15..18 => notify(&client, self.tenant.id).await?,
            18..60 if !self.chats.is_empty() => {
                let index = random_range(0..self.chats.len());
                if self.chats[index].advance(&client, self.tenant).await? {
                    self.old_chats.push_back(self.chats.swap_remove(index).id);
                }
            }
            _ if !self.documents.is_empty() => {
                let index = random_range(0..self.documents.len());
                if self.documents[index].advance(&client).await? {
                    self.old_documents.push_back(self.documents.swap_remove(index).id);
                }
            }
            _ => self.documents.push(Document::upload(&client, self.tenant).await?),
        }
        self.tidy(&client).await
    }

    async fn tidy(&mut self, client: &tokio_postgres::Client) -> Result<(), Failure> {
        for (old, sql) in [
            (&mut self.old_documents, "delete from public.documents where id = $1"),
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
    // Notifications make no other mark; the newest few hundred are what anyone scrolls through.
    let prune =
        "delete from public.notifications n where n.tenant_id = $1 and n.created_at < now() - interval '1 hour'";
    client.execute(prune, &[&tenant]).await?;
    Ok(())
}

/// One of them, at random.
fn pick<T: Copy>(choices: &[T]) -> T {
    choices[random_range(0..choices.len())]
}
