//! One PostgreSQL for the whole run; for each test a database of its own, cloned from a migrated template.

use std::sync::atomic::{AtomicU32, Ordering};

use tidings::migrate::{Layout, Wishes, migrate};
use tidings::private_postgres::{Options, PrivatePostgres};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};
use tokio_util::task::TaskTracker;

static SERVER: OnceCell<PrivatePostgres> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The server that tests share. Those that stop or restart one start their own.
pub async fn server() -> &'static PrivatePostgres {
    SERVER
        .get_or_init(|| async {
            // What replication and two-phase commit need; PostgreSQL has both switched off.
            let settings = [("wal_level", "logical"), ("max_prepared_transactions", "10")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec();
            let server = PrivatePostgres::start(Options { settings, ..Options::default() }).await.unwrap();
            prepare(&server).await;
            server
        })
        .await
}

async fn prepare(server: &PrivatePostgres) {
    let admin = connect(&server.url("postgres")).await;
    roles(&admin).await;
    admin.batch_execute("create database template_tidings").await.unwrap();
    let template = server.url("template_tidings");
    let wishes = Wishes { app: Some(Layout::Reference), owner: None, service: Some(SERVICE.into()) };
    migrate(&template.parse().unwrap(), &wishes).await.unwrap();
    let client = connect(&template).await;
    for name in ["documents", "notifications", "chat_sessions", "chat_messages"] {
        let file = format!("{}/triggers/{name}.sql", env!("CARGO_MANIFEST_DIR"));
        client.batch_execute(&std::fs::read_to_string(file).unwrap()).await.unwrap();
    }
    // Bridges get what `migrate --service` gives, and what tests add themselves: tables of functions that they write.
    let bridge = format!(
        "alter default privileges in schema public grant all on tables to {SERVICE};
         alter default privileges in schema public grant usage on sequences to {SERVICE};"
    );
    client.batch_execute(&bridge).await.unwrap();
    client
        .batch_execute(
            "insert into tenants (id, name) values ('acme', 'Acme'), ('globex', 'Globex'), ('initech', 'Initech');
             insert into users (id, tenant_id, name, email) values
               ('ann', 'acme', 'Ann', 'ann@acme.example'), ('gus', 'globex', 'Gus', 'gus@globex.example'), ('ira', 'initech', 'Ira', 'ira@initech.example')",
        )
        .await
        .unwrap();
}

/// What a bridge of production may, and the login with no more than that.
const SERVICE: &str = "tests_service";
const BRIDGE: &str = "tests_bridge";

/// Roles belong to a whole server, and a dump that is restored there names them.
async fn roles(admin: &Client) {
    let make = format!(
        "do $$ begin
           perform pg_advisory_xact_lock(2);
           if to_regrole('{SERVICE}') is null then
             create role {SERVICE} nologin; create role {BRIDGE} login in role {SERVICE};
           end if;
         end $$"
    );
    admin.batch_execute(&make).await.unwrap();
}

/// A database that its superuser names, as a bridge reaches it: with the service role, so that a right that `grant_service` forgets
/// is missing in every test. As it is where that role was given nothing, or a password is asked for.
pub async fn for_bridges(url: &str) -> String {
    let Ok((client, connection)) = url.parse::<tokio_postgres::Config>().unwrap().connect(NoTls).await else {
        return url.to_owned();
    };
    TaskTracker::new().spawn(async move { _ = connection.await });
    let knows = format!(
        "select exists (select from pg_roles r, pg_namespace n
           where r.rolname = '{BRIDGE}' and n.nspname = 'tidings' and has_schema_privilege(r.oid, n.oid, 'usage'))"
    );
    match client.query_one(&knows, &[]).await {
        Ok(row) if row.get(0) => url.replacen("postgres@", &format!("{BRIDGE}@"), 1),
        _ => url.to_owned(),
    }
}

fn next_name() -> String {
    format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A client whose connection lives as long as the test.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = url.parse::<tokio_postgres::Config>().unwrap().connect(NoTls).await.unwrap();
    // Ends with the client; a test that restarts the server expects it to fail.
    TaskTracker::new().spawn(async move { _ = connection.await });
    client
}

/// A test's own database: schema tidings, the reference tables watched, tenants acme, globex and initech.
pub struct Database {
    pub url: String,
    pub client: Client,
}

impl Database {
    pub async fn new() -> Self {
        Self::on(server().await).await
    }

    /// On a server of the test's own.
    pub async fn fresh_on(server: &PrivatePostgres) -> Self {
        prepare(server).await;
        Self::on(server).await
    }

    /// With nothing in it, not even schema tidings.
    pub async fn empty() -> Self {
        Self::empty_on(server().await).await
    }

    /// The same on a server of the test's own.
    pub async fn empty_on(server: &PrivatePostgres) -> Self {
        let name = next_name();
        let admin = connect(&server.url("postgres")).await;
        roles(&admin).await;
        admin.batch_execute(&format!("create database {name} template template0")).await.unwrap();
        let url = server.url(&name);
        Self { client: connect(&url).await, url }
    }

    async fn on(server: &PrivatePostgres) -> Self {
        let name = next_name();
        let admin = connect(&server.url("postgres")).await;
        // One clone at a time: two would each see the other's connection to the template.
        admin.batch_execute("select pg_advisory_lock(1)").await.unwrap();
        admin.batch_execute(&format!("create database {name} template template_tidings")).await.unwrap();
        let url = server.url(&name);
        let client = connect(&url).await;
        // A copy begins a history of its own: here, and not when its first bridge starts; and is as old as this test, not as all.
        let begin = "select tidings._enrol(); update tidings._pruned set rotated_at = clock_timestamp()";
        client.batch_execute(begin).await.unwrap();
        Self { client, url }
    }

    /// Its name, which no other test has.
    pub fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }

    /// Where it is for another role. The socket asks for no password.
    pub fn url_as(&self, role: &str) -> String {
        self.url.replacen("postgres@", &format!("{role}@"), 1)
    }

    /// One more connection.
    pub async fn connect(&self) -> Client {
        connect(&self.url).await
    }

    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    pub async fn text(&self, sql: &str) -> String {
        self.client.query_one(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}")).get(0)
    }

    /// Commits one event of type `sentinel` for the tenant: what must arrive after what must not.
    pub async fn sentinel(&self, tenant: &str) {
        self.client.execute("select tidings.emit($1, 'sentinel')", &[&tenant]).await.unwrap();
    }
}
