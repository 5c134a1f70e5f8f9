//! Three tenants, who works there, and what had happened before the demo was opened.

use tokio_postgres::Client;

use super::Failure;

/// A tenant of the demo.
pub(super) struct Tenant {
    /// Name in URLs and tokens.
    pub id: &'static str,
    name: &'static str,
    /// `sub` and name. The first one answers the chats.
    pub users: &'static [(&'static str, &'static str)],
}

pub(super) const TENANTS: [Tenant; 3] = [
    Tenant {
        id: "acme",
        name: "Acme Corporation",
        users: &[("ada", "Ada Kwon"), ("ben", "Ben Osei"), ("chloe", "Chloe Marín"), ("eve", "Eve Laurent")],
    },
    Tenant {
        id: "globex",
        name: "Globex",
        users: &[("dmitri", "Dmitri Halas"), ("esra", "Esra Yıldız"), ("femi", "Femi Adeyemi")],
    },
    Tenant {
        id: "initech",
        name: "Initech",
        users: &[("greta", "Greta Lund"), ("hugo", "Hugo Brandt"), ("ines", "Inês Faria")],
    },
];

/// Documents, notifications and chats with times that lie back.
const HISTORY: &str = include_str!("history.sql");
/// Whether nothing has happened at these tenants.
const FRESH: &str = "select not exists (select from public.documents where tenant_id = any ($1))
    and not exists (select from public.notifications where tenant_id = any ($1))
    and not exists (select from public.chat_sessions where tenant_id = any ($1))";

/// Inserts tenants and people where they are missing, and their history where they have none.
pub(super) async fn tenants(client: &mut Client) -> Result<(), Failure> {
    let transaction = client.transaction().await?;
    for tenant in &TENANTS {
        let insert = "insert into public.tenants (id, name) values ($1, $2) on conflict do nothing";
        transaction.execute(insert, &[&tenant.id, &tenant.name]).await?;
        for (id, name) in tenant.users {
            let insert = "insert into public.users (tenant_id, id, name, email) values ($1, $2, $3, $2 || '@' || $1 || '.example')
                          on conflict do nothing";
            transaction.execute(insert, &[&tenant.id, &id, &name]).await?;
        }
    }
    let ids: Vec<&str> = TENANTS.iter().map(|tenant| tenant.id).collect();
    if transaction.query_one(FRESH, &[&ids]).await?.get(0) {
        transaction.batch_execute(HISTORY).await?;
    }
    Ok(transaction.commit().await?)
}
