//! The database of a bench: a private PostgreSQL with tidings in it, a watched table, and its bare twin.

use std::process::Stdio;

use tokio::process::Command;
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;

use super::BenchError;
use super::relay::CHANNEL;
use crate::private_postgres::{Options, PrivatePostgres};

/// Name of the database.
const DATABASE: &str = "bench";

/// The watched table, and one whose trigger does what most people write first. `id` is the database's, so that no two
/// measurements meet; `n` counts within a tenant.
const TABLES: &str = "
create table public.bench_rows (
  id bigint generated always as identity primary key,
  tenant_id text not null, n bigint not null, sent_us bigint not null, payload text not null
);
create table public.bench_bare (like public.bench_rows including all);
create function public.bench_bare() returns trigger language plpgsql as $$
begin
  perform pg_notify('{channel}', row_to_json(new)::text);
  return null;
end $$;
create trigger bench_bare after insert on public.bench_bare for each row execute function public.bench_bare();
select from tidings.watch('public.bench_rows', tenant => 'tenant_id');
";

/// A running database.
#[derive(Debug)]
pub struct Stage {
    postgres: PrivatePostgres,
    /// Drives the connections that were handed out.
    connections: TaskTracker,
}

impl Stage {
    /// Starts PostgreSQL. What is to be in it comes with [`Stage::furnish`], so that an interrupt finds it to stop it.
    ///
    /// # Errors
    /// When the server does not start.
    pub async fn start(fsync: bool) -> Result<Self, BenchError> {
        let postgres = PrivatePostgres::start(Options { fsync, ..Options::default() }).await?;
        Ok(Self { postgres, connections: TaskTracker::new() })
    }

    /// Creates the database, migrates it with `tidings migrate` as a user would, and watches the table.
    ///
    /// # Errors
    /// When a statement or the migration fails.
    pub async fn furnish(&self) -> Result<(), BenchError> {
        let admin = self.connect_to("postgres").await?;
        admin.batch_execute(&format!("create database {DATABASE}")).await.map_err(BenchError::database)?;
        let program = std::env::current_exe().map_err(BenchError::io("find this program"))?;
        let migrated = Command::new(program)
            .arg("migrate")
            .env("TIDINGS__DATABASE__URL", self.url())
            .env_remove("TIDINGS__DATABASE__URL_FILE")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await
            .map_err(BenchError::io("run tidings migrate"))?;
        if !migrated.success() {
            return Err(BenchError::ChildEnded { name: "tidings migrate" });
        }
        let tables = TABLES.replace("{channel}", CHANNEL);
        self.connect().await?.batch_execute(&tables).await.map_err(BenchError::database)
    }

    /// Where the database is.
    pub fn url(&self) -> String {
        self.postgres.url(DATABASE)
    }

    /// A new connection to it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn connect(&self) -> Result<Client, BenchError> {
        self.connect_to(DATABASE).await
    }

    /// The cursor of this moment.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn cursor(&self) -> Result<String, BenchError> {
        let row = self.connect().await?.query_one("select tidings.cursor()", &[]).await;
        Ok(row.map_err(BenchError::database)?.get(0))
    }

    async fn connect_to(&self, database: &str) -> Result<Client, BenchError> {
        let (client, connection) = super::connect(&self.postgres.url(database)).await?;
        // It ends with its client; an error of it reaches whoever uses the client.
        self.connections.spawn(async move {
            let _ = connection.await;
        });
        Ok(client)
    }

    /// Stops the server and removes its directory.
    ///
    /// # Errors
    /// When it does not go.
    pub async fn stop(self) -> Result<(), BenchError> {
        Ok(self.postgres.stop().await?)
    }
}
