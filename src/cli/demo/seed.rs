//! Three tenants and who works there.

use tokio_postgres::Client;

use super::Failure;

/// A tenant of the demo.
pub(super) struct Tenant {
    /// Name in URLs and tokens.
    pub id: &'static str,
    name: &'static str,
    /// `sub` and name. The first one answers the chats.
    pub users: [(&'static str, &'static str); 3],
}

pub(super) const TENANTS: [Tenant; 3] = [
    Tenant {
        id: "acme",
        name: "Acme Corporation",
        users: [("ada", "Ada Kwon"), ("ben", "Ben Osei"), ("chloe", "Chloe Marín")],
    },
    Tenant {
        id: "globex",
        name: "Globex",
        users: [("dmitri", "Dmitri Halas"), ("esra", "Esra Yıldız"), ("femi", "Femi Adeyemi")],
    },
    Tenant {
        id: "initech",
        name: "Initech",
        users: [("greta", "Greta Lund"), ("hugo", "Hugo Brandt"), ("ines", "Inês Faria")],
    },
];

/// Inserts them where they are missing.
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
    Ok(transaction.commit().await?)
}
