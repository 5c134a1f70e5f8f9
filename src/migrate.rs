//! Brings the schema of a database to this version: the numbered files under `sql/`, each once and in one transaction.
//!
//! Place: beside the road, before it: `serve` and `demo` call it before they listen, `tidings migrate` does nothing else.
//!
//! Invariants: instances that start together migrate one after the other (`instances_that_start_together_migrate_once`),
//! and a database that a newer tidings has migrated is left alone (`a_database_of_a_newer_version_is_refused`).
//!
//! Why the lock is polled: a session that waits for an advisory lock inside a statement holds a snapshot, and every
//! CREATE INDEX CONCURRENTLY of the application would wait for it.

mod error;
mod layout;

use std::time::Duration;

use refinery::{Migration, Runner};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

pub use self::error::MigrateError;
use self::error::{failed, from_refinery};
pub use self::layout::Layout;
use self::layout::{SCHEMA, Set};
use crate::postgres::Postgres;

/// Key of the advisory lock under which one instance migrates: "tidings" in ASCII.
const LOCK: i64 = 0x74_69_64_69_6e_67_73;
/// How often a waiting instance asks for the lock: far below what a deployment notices.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// Migrations take well under a second; whoever holds the lock for this long is stuck.
const LOCK_DEADLINE: Duration = Duration::from_secs(60);
/// A role or a URL may carry limits meant for queries, so ours are set. While we wait for a lock on a table of tidings, who
/// reads it waits behind us: a transaction that took a cursor and stays open shall fail the migration, not everybody.
const SESSION: &str = "set statement_timeout = '5min'; set lock_timeout = '2s'; \
                       set idle_in_transaction_session_timeout = '1min'; set client_min_messages = warning";
/// SQL-standard function bodies and `create or replace trigger` came with PostgreSQL 14.
const SERVER_VERSION_MIN: i32 = 140_000;

/// What `tidings migrate` may be asked for besides the schema.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The functions of the application too, for these tables.
    pub app: Option<Layout>,
    /// Role that shall own a new schema; made (NOLOGIN) where it is missing.
    pub owner: Option<String>,
    /// Role that bridges log in with, or are members of; made (NOLOGIN) where it is missing.
    pub service: Option<String>,
}

/// Applies what is missing. Returns the names of the files applied, such as `V1__log` and `app/V1__tables`; none when
/// everything was there.
///
/// # Errors
/// See [`MigrateError`]; what was applied before the file that failed stays.
pub async fn migrate(postgres: &Postgres, wishes: &Wishes) -> Result<Vec<String>, MigrateError> {
    let (mut client, connection) = postgres.named("tidings migrate").connect_for_sessions().await?;
    // Woken by: the work, which fails by itself when the connection ends · the connection, for its reason. The work is
    // polled first, so that its error, which names the file, is not lost to the connection's.
    tokio::select! {
        biased;
        outcome = work(&mut client, wishes) => outcome,
        ended = connection => Err(ended.map_or_else(MigrateError::Broken, |()| MigrateError::Closed)),
    }
}

async fn work(client: &mut Client, wishes: &Wishes) -> Result<Vec<String>, MigrateError> {
    client.batch_execute(SESSION).await.map_err(failed("the session cannot be set up"))?;
    refuse_unfit(client).await?;
    lock(client).await?;
    let outcome = apply_all(client, wishes).await;
    // A pooler may keep the session after us. That the lock ends with it anyway makes a failure here harmless.
    let _ = client.execute("select pg_advisory_unlock($1)", &[&LOCK]).await;
    outcome
}

async fn apply_all(client: &mut Client, wishes: &Wishes) -> Result<Vec<String>, MigrateError> {
    for role in wishes.owner.iter().chain(&wishes.service) {
        make_role(client, role).await?;
    }
    create_schema(client, wishes.owner.as_deref()).await?;
    // What is made belongs to the schema's owner, whoever of its members runs the migration.
    // Not by regrole, which quotes names as SQL wants them and set_config does not.
    let become_owner = "select set_config('role', rolname, false) from pg_namespace join pg_roles r on r.oid = nspowner \
                        where nspname = 'tidings' and pg_has_role(nspowner, 'member') and rolname <> current_user";
    client.batch_execute(become_owner).await.map_err(failed("the role of the schema's owner cannot be taken"))?;
    let mut applied = apply(client, &SCHEMA).await?;
    if !applied.is_empty() {
        client
            .batch_execute("select tidings._grant_again()")
            .await
            .map_err(failed("rights cannot be granted again"))?;
    }
    if let Some(service) = &wishes.service {
        let granted = client.execute("select tidings.grant_service($1::text::name)", &[service]).await;
        granted.map_err(failed("the service role cannot be granted its rights"))?;
    }
    client.batch_execute("reset role").await.map_err(failed("the role cannot be given back"))?;
    if let Some(layout) = wishes.app {
        refuse_other_layout(client, layout).await?;
        applied.extend(apply(client, layout.set()).await?);
        if let Some(service) = &wishes.service {
            let granted = client.execute("select tidings_app.grant_service($1::text::name)", &[service]).await;
            granted.map_err(failed("the service role cannot be granted its rights on the application"))?;
        }
    }
    Ok(applied)
}

/// Both layouts are functions of one schema, so a database has one of them.
async fn refuse_other_layout(client: &Client, asked: Layout) -> Result<(), MigrateError> {
    for found in Layout::ALL.into_iter().filter(|layout| *layout != asked) {
        if newest(client, found.set().history).await?.is_some() {
            return Err(MigrateError::OtherLayout { found, asked });
        }
    }
    Ok(())
}

async fn make_role(client: &Client, role: &str) -> Result<(), MigrateError> {
    let cannot = "the role cannot be made";
    let known = client.query_opt("select from pg_roles where rolname = $1", &[&role]).await.map_err(failed(cannot))?;
    match known {
        Some(_) => Ok(()),
        None => with_name(client, "create role %I nologin", role).await.map_err(failed(cannot)),
    }
}

async fn create_schema(client: &Client, owner: Option<&str>) -> Result<(), MigrateError> {
    let cannot = "the schema tidings cannot be created";
    // Not "if not exists": that asks for the right to create schemas even where ours is there.
    let there = "select pg_get_userbyid(nspowner)::text from pg_namespace where nspname = 'tidings'";
    let there = client.query_opt(there, &[]).await.map_err(failed(cannot))?;
    match (there.map(|row| row.get::<_, String>(0)), owner) {
        (None, None) => client.batch_execute("create schema tidings").await.map_err(failed(cannot)),
        (None, Some(owner)) => {
            // From PostgreSQL 16 on whoever makes a role may grant it, but does not act as it.
            let acts = client.query_one("select pg_has_role($1::text::name, 'usage')", &[&owner]).await;
            if !acts.map_err(failed(cannot))?.get::<_, bool>(0) {
                with_name(client, "grant %I to current_user", owner).await.map_err(failed(cannot))?;
            }
            with_name(client, "create schema tidings authorization %I", owner).await.map_err(failed(cannot))
        }
        (Some(found), Some(owner)) if found != owner => Err(MigrateError::Owned(found)),
        _ => Ok(()),
    }
}

/// Runs a statement that takes a name and no parameter.
async fn with_name(client: &Client, statement: &str, name: &str) -> Result<(), tokio_postgres::Error> {
    let sql: String = client.query_one("select format($1, $2::text)", &[&statement, &name]).await?.get(0);
    client.batch_execute(&sql).await
}

async fn refuse_unfit(client: &Client) -> Result<(), MigrateError> {
    let sql =
        "select current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()";
    let server = client.query_one(sql, &[]).await.map_err(failed("the server's version cannot be read"))?;
    if server.get::<_, i32>(0) < SERVER_VERSION_MIN {
        return Err(MigrateError::Server(server.get(1)));
    }
    if server.get(2) { Err(MigrateError::Standby) } else { Ok(()) }
}

async fn lock(client: &Client) -> Result<(), MigrateError> {
    let deadline = Instant::now() + LOCK_DEADLINE;
    loop {
        let row = client.query_one("select pg_try_advisory_lock($1)", &[&LOCK]).await;
        if row.map_err(failed("the migration lock cannot be taken"))?.get(0) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(MigrateError::Locked);
        }
        sleep(LOCK_POLL).await;
    }
}

async fn apply(client: &mut Client, set: &Set) -> Result<Vec<String>, MigrateError> {
    let migrations = migrations(set)?;
    let known = migrations.iter().map(Migration::version).max().unwrap_or(0);
    let found_version = newest(client, set.history).await?;
    if let Some(found) = found_version.filter(|found| *found > known) {
        return Err(MigrateError::Newer { history: set.history, found, known });
    }
    // A bridge that may not change the schema, and need not.
    let up_to_date = found_version == Some(known);
    if up_to_date && !may_write(client, set.history).await? {
        return Ok(Vec::new());
    }
    let mut runner = Runner::new(&migrations);
    runner.set_migration_table_name(set.history);
    let report = runner.run_async(client).await.map_err(from_refinery)?;
    let applied: Vec<_> = report.applied_migrations().iter().map(|done| format!("{}{done}", set.prefix)).collect();
    if !applied.is_empty() {
        let comment =
            format!("comment on table {} is 'Migrations that were applied; kept by tidings migrate.'", set.history);
        client.batch_execute(&comment).await.map_err(failed("the history cannot be commented"))?;
    }
    Ok(applied)
}

/// The version of schema tidings in a database, if it has one, and the one that this program brings.
///
/// # Errors
/// When the history cannot be read, for lack of rights for instance.
pub async fn version(client: &Client) -> Result<(Option<i32>, i32), MigrateError> {
    let known = migrations(&SCHEMA)?.iter().map(Migration::version).max();
    Ok((newest(client, SCHEMA.history).await?, known.unwrap_or(0)))
}

fn migrations(set: &Set) -> Result<Vec<Migration>, MigrateError> {
    let migrations = set.files.iter().map(|(name, sql)| Migration::unapplied(name, sql)).collect::<Result<Vec<_>, _>>();
    migrations.map_err(|error| MigrateError::Build(error.to_string()))
}

/// The newest version applied; none in a database without a history.
async fn newest(client: &Client, history: &str) -> Result<Option<i32>, MigrateError> {
    let cannot = "the history of migrations cannot be read";
    let exists = client.query_one("select to_regclass($1) is not null", &[&history]).await.map_err(failed(cannot))?;
    if !exists.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client.query_one(&format!("select max(version) from {history}"), &[]).await.map_err(failed(cannot))?;
    Ok(row.get(0))
}

async fn may_write(client: &Client, history: &str) -> Result<bool, MigrateError> {
    let row = client.query_one("select has_table_privilege($1::text, 'insert')", &[&history]).await;
    Ok(row.map_err(failed("the history of migrations cannot be read"))?.get(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::layout::{APP, PRISMA};
    use super::*;
    use crate::private_postgres::{Options, PrivatePostgres};

    async fn server() -> (PrivatePostgres, Postgres) {
        let server = PrivatePostgres::start(Options::default()).await.unwrap();
        let config = server.url("postgres").parse().unwrap();
        (server, config)
    }

    async fn execute(config: &Postgres, sql: &str) {
        let (client, connection) = config.connect().await.unwrap();
        tokio::select! {
            done = client.batch_execute(sql) => done.unwrap(),
            ended = connection => panic!("{ended:?}"),
        }
    }

    fn with_app() -> Wishes {
        Wishes { app: Some(Layout::Reference), ..Wishes::default() }
    }

    #[test]
    fn the_lists_are_the_files_of_the_folders() {
        for (set, folder, shared) in
            [(&SCHEMA, "sql", None), (&APP, "sql/app", None), (&PRISMA, "sql/app/prisma", Some("V9__inbound"))]
        {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "sql"));
            let files: BTreeSet<_> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
            let own = set.files.iter().map(|(name, _)| *name).filter(|name| Some(*name) != shared);
            let listed: BTreeSet<_> = own.map(str::to_owned).collect();
            assert_eq!(listed, files);
        }
    }

    #[tokio::test]
    async fn a_migration_is_applied_once() {
        let (server, config) = server().await;
        assert_eq!(migrate(&config, &Wishes::default()).await.unwrap()[0], "V1__log");
        let applied = migrate(&config, &with_app()).await.unwrap();
        assert!(applied.iter().all(|name| name.starts_with("app/")) && !applied.is_empty(), "{applied:?}");
        assert!(migrate(&config, &with_app()).await.unwrap().is_empty());
        server.stop().await.unwrap();
    }

    #[tokio::test]
    async fn instances_that_start_together_migrate_once() {
        let (server, config) = server().await;
        let wishes = with_app();
        let (one, two, three) =
            tokio::join!(migrate(&config, &wishes), migrate(&config, &wishes), migrate(&config, &wishes));
        let applied = [one, two, three].map(|outcome| outcome.unwrap().len());
        assert_eq!(applied.into_iter().sum::<usize>(), SCHEMA.files.len() + APP.files.len());
        server.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_database_of_a_newer_version_is_refused() {
        let (server, config) = server().await;
        migrate(&config, &Wishes::default()).await.unwrap();
        let newer = "insert into tidings.schema_history values (999, 'later', '2030-01-01T00:00:00Z', '1')";
        execute(&config, newer).await;
        let refused = migrate(&config, &Wishes::default()).await.unwrap_err();
        assert!(matches!(refused, MigrateError::Newer { found: 999, .. }), "{refused}");
        server.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_database_of_one_layout_refuses_the_other() {
        let (server, config) = server().await;
        execute(&config, include_str!("../tests/prisma/schema.sql")).await;
        let prisma = Wishes { app: Some(Layout::Prisma), ..Wishes::default() };
        assert!(migrate(&config, &prisma).await.unwrap().contains(&"app/prisma/V1__shared".to_owned()));
        assert!(migrate(&config, &prisma).await.unwrap().is_empty());
        let refused = migrate(&config, &with_app()).await.unwrap_err();
        assert!(matches!(refused, MigrateError::OtherLayout { found: Layout::Prisma, .. }), "{refused}");
        assert!(refused.hint().unwrap().contains("--app prisma"), "{refused:?}");
        server.stop().await.unwrap();
    }

    #[tokio::test]
    async fn tables_of_the_application_are_not_touched_and_the_hint_says_what_to_do() {
        let (server, config) = server().await;
        execute(&config, "create table public.documents (id int)").await;
        let refused = migrate(&config, &with_app()).await.unwrap_err();
        assert!(refused.hint().unwrap().contains("leave out --app"), "{refused}");
        execute(&config, "select id from public.documents").await;
        server.stop().await.unwrap();
    }
}
