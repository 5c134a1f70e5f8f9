//! Who may do what in the database: an owner that nobody logs in as, a service role for bridges, nothing for anybody else.
//!
//! As on managed PostgreSQL: a superuser makes the database and the DBA, who may create roles, and everything else is done by that
//! DBA and by ordinary roles. Roles belong to the whole cluster, so every test's have its database's name in theirs.

use serde_json::{Value, json};
use tidings::migrate::{Wishes, migrate};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::cli::tidings;
use crate::support::{Answer, Bridge, Database, Sse, Ws, admin, connect, eventually, get_page, member, token};

/// A database of a DBA, in which tidings is installed for the roles `…-Owner` and `…-Service`: names that SQL must quote.
pub struct Site {
    pub db: Database,
    pub dba: Client,
}

/// An answer to "who may what" that lists what should not be there.
const NOT_THE_OWNERS: &str = "
    select coalesce(string_agg(what, ', '), '') from (
        select p.oid::regprocedure::text, p.proowner from pg_proc p where p.pronamespace = 'tidings'::regnamespace
        union all select c.oid::regclass::text, c.relowner from pg_class c where c.relnamespace = 'tidings'::regnamespace
        union all select t.oid::regtype::text, t.typowner from pg_type t where t.typnamespace = 'tidings'::regnamespace
    ) all_of_it (what, owner) join pg_namespace n on n.nspname = 'tidings' and n.nspowner <> owner";
const OPEN_TO_PUBLIC: &str = "
    select coalesce(string_agg(what || ': ' || a.privilege_type, ', '), '') from (
        select p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner)) from pg_proc p where p.pronamespace = 'tidings'::regnamespace
        union all
        select c.oid::regclass::text, coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::\"char\", c.relowner))
          from pg_class c where c.relnamespace = 'tidings'::regnamespace
        union all
        select 'the schema', coalesce(n.nspacl, acldefault('n', n.nspowner)) from pg_namespace n where n.nspname = 'tidings'
    ) all_of_it (what, acl), aclexplode(acl) a where a.grantee = 0";

impl Site {
    /// Before tidings is installed.
    async fn bare() -> Self {
        let db = Database::empty().await;
        let name = db.name();
        db.run(&format!("create role {name}_dba login createrole; grant create on database {name} to {name}_dba"))
            .await;
        let dba = connect(&db.url_as(&format!("{name}_dba"))).await;
        Self { db, dba }
    }

    /// Installed, with a table of the application's in schema app, and a login for each part.
    pub async fn new() -> Self {
        let site = Self::bare().await;
        site.install().await;
        let name = site.db.name();
        site.run(&format!(
            r#"create role {name}_bridge login; grant "{name}-Service" to {name}_bridge;
               create role {name}_app login; create role {name}_team login; grant "{name}-Owner" to {name}_team;
               create schema app; grant usage on schema app to public; grant create on schema app to {name}_team;
               create table app.orders (id int primary key, tenant text, state text);
               grant select, insert, update, delete on app.orders to {name}_app;
               select tidings.watch('app.orders', tenant => 'tenant')"#
        ))
        .await;
        site
    }

    async fn install(&self) {
        let name = self.db.name();
        let wishes =
            Wishes { owner: Some(format!("{name}-Owner")), service: Some(format!("{name}-Service")), app: None };
        migrate(&self.url_of("dba").parse().unwrap(), &wishes).await.unwrap();
    }

    fn url_of(&self, who: &str) -> String {
        self.db.url_as(&format!("{}_{who}", self.db.name()))
    }

    /// A session of one of the roles.
    pub async fn session(&self, who: &str) -> Client {
        connect(&self.url_of(who)).await
    }

    /// A bridge that logs in with no more than the service role, and migrates when there is something to migrate.
    pub async fn bridge(&self) -> Bridge {
        Bridge::with(&self.url_of("bridge"), &[("database.migrate", "true")]).await
    }

    /// Runs as the DBA.
    pub async fn run(&self, sql: &str) {
        self.dba.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }
}

/// Runs a statement that must be refused for want of a right.
pub async fn may_not(session: &Client, sql: &str) {
    let refused = session.batch_execute(sql).await.expect_err(sql);
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {refused:?}");
}

#[tokio::test]
async fn a_dba_without_superuser_installs_everything_for_an_owner_that_nobody_logs_in_as() {
    let site = Site::bare().await;
    let (owner, service) = (format!("{}-Owner", site.db.name()), format!("{}-Service", site.db.name()));
    for outcome in ["applied V1__log", "the schema is up to date"] {
        let migrated = tidings(&["migrate", "--owner", &owner, "--service", &service])
            .env("DATABASE_URL", site.url_of("dba"))
            .output()
            .await
            .unwrap();
        let said = String::from_utf8(migrated.stdout.clone()).unwrap();
        assert!(migrated.status.success() && said.starts_with(outcome), "{migrated:?}");
    }
    let login = "select string_agg(rolcanlogin::text, ',') from pg_roles where rolname = any ($1)";
    let login: String = site.dba.query_one(login, &[&[&owner, &service].as_slice()]).await.unwrap().get(0);
    assert_eq!((login.as_str(), site.db.text(NOT_THE_OWNERS).await.as_str()), ("false,false", ""));
}

#[tokio::test]
async fn a_schema_that_belongs_to_somebody_else_is_not_taken_over() {
    let site = Site::new().await;
    let owner = format!("{}_other", site.db.name());
    let refused =
        tidings(&["migrate", "--owner", &owner]).env("DATABASE_URL", site.url_of("dba")).output().await.unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    let expected = format!("schema tidings belongs to {}-Owner already", site.db.name());
    assert_eq!(refused.status.code(), Some(1));
    assert!(error.contains(&expected) && error.contains("leave out --owner"), "{error}");
}

#[tokio::test]
async fn whoever_of_the_owners_members_migrates_or_watches_what_is_made_is_the_owners() {
    let site = Site::bare().await;
    let name = site.db.name();
    // The DBA made the schema by hand; a member migrates, and another gives the service role its rights.
    site.run(&format!(
        r#"create role "{name}-Owner"; grant "{name}-Owner" to {name}_dba with admin option; create schema tidings authorization "{name}-Owner";
           create role "{name}-Service"; create role {name}_first login; create role {name}_second login;
           grant "{name}-Owner" to {name}_first, {name}_second;
           create schema app; grant all on schema app to {name}_second; grant usage on schema app to "{name}-Owner""#
    ))
    .await;
    migrate(&site.url_of("first").parse().unwrap(), &Wishes::default()).await.unwrap();
    let service = Wishes { service: Some(format!("{name}-Service")), ..Wishes::default() };
    assert!(migrate(&site.url_of("second").parse().unwrap(), &service).await.unwrap().is_empty());
    let second = site.session("second").await;
    let tables = format!(
        r#"create table app.t (id int primary key, tenant text) partition by range (id); create table app.t_1 partition of app.t for values from (0) to (9);
           create table app.plain (id int primary key, tenant text); grant select on app.plain to "{name}-Owner""#
    );
    second.batch_execute(&tables).await.unwrap();
    let watch = "select tidings.watch('app.t', tenant => 'tenant'), tidings.watch('app.plain', tenant => 'tenant', ops => '{insert,update,delete,truncate}');
        select tidings.watch('app.t', tenant => 'tenant', type => 'things'); select tidings.pause('app.plain'); select tidings.resume('app.plain')";
    second.batch_execute(watch).await.unwrap();
    assert_eq!(site.db.text(NOT_THE_OWNERS).await, "");
    assert_eq!(site.db.text(OPEN_TO_PUBLIC).await, "");
    second
        .batch_execute(
            "insert into app.t values (1, 'acme'); insert into app.plain values (1, 'acme'); truncate app.plain",
        )
        .await
        .unwrap();
    let types = site.db.text("select string_agg(type, ' ' order by type) from tidings.events").await;
    assert_eq!(types, "plain.inserted plain.truncated things.inserted");
}

#[tokio::test]
async fn a_right_that_the_owner_lacks_is_told_with_the_statement_that_grants_it() {
    let site = Site::bare().await;
    site.install().await;
    let owner = format!("{}-Owner", site.db.name());
    site.run("create schema shut; create table shut.t (id int primary key, tenant text)").await;
    for (ops, hint) in [
        ("{insert}", format!("Grant it: grant usage on schema shut to \"{owner}\";")),
        ("{insert,truncate}", format!("Grant it: grant select on <that table> to \"{owner}\";")),
    ] {
        let watch = format!("select tidings.watch('shut.t', tenant => 'tenant', ops => '{ops}')");
        let refused = site.dba.batch_execute(&watch).await.unwrap_err();
        assert_eq!(refused.as_db_error().unwrap().hint(), Some(&*hint), "{refused:?}");
        site.run(&format!("grant usage on schema shut to \"{owner}\"")).await;
    }
}

#[tokio::test]
async fn a_member_of_the_service_role_runs_a_whole_bridge() {
    let site = Site::new().await;
    let bridge = site.bridge().await;
    let (token, service) = (member("acme"), token(json!({"sub": "s", "tenant": "acme", "role": "service"})));
    let mut sse = Sse::open(&bridge, &token, "acme", "").await;
    let mut ws = Ws::open(&bridge, &token, "acme", json!({})).await;
    let app = site.session("app").await;
    app.batch_execute("insert into app.orders values (1, 'acme', 'new')").await.unwrap();
    let publish =
        bridge.request("POST", "/v1/tenants/acme/events").bearer_auth(&service).header("idempotency-key", "1");
    assert_eq!(Answer::of(publish.json(&json!({"type": "paid"}))).await.status, 201);
    for event in [sse.take(2).await, vec![ws.next().await, ws.next().await]] {
        assert_eq!((&event[0]["type"], &event[1]["type"]), (&json!("orders.inserted"), &json!("paid")));
    }
    let page = get_page(&bridge, &token, "acme", "").await;
    assert_eq!((page.events.len(), page.more), (2, false));

    let (status, ticket) = bridge.post_as(&token, "/v1/tickets", &Value::Null).await;
    assert_eq!(status, 201, "{ticket}");
    let path = format!("/v1/tenants/acme/events?ticket={}", ticket["ticket"].as_str().unwrap());
    assert_eq!(bridge.get(&path).await.0, 200);
    assert_eq!(bridge.get("/readyz").await.0, 200, "checkpoints come back");
    assert_eq!(bridge.get_as(&admin(), "/v1/stats").await.0, 200);
    bridge.stop().await;
}

#[tokio::test]
async fn the_service_role_keeps_retention_and_follows_altered_tables() {
    let site = Site::new().await;
    site.run(&format!(
        r#"set role "{}-Owner"; update tidings._pruned set rotated_at = now() - interval '1 day'; reset role;
           alter table app.orders rename column state to status"#,
        site.db.name()
    ))
    .await;
    let bridge = Bridge::with(&site.url_of("bridge"), &[("log.retention", "60s")]).await;
    let done = "select (p.rotated_at > now() - interval '1 hour' and w.status = 'active' and exists (select from tidings._listener where subscribers is not null))::text
        from tidings._pruned p, tidings.watches w";
    eventually("rotation, refresh and the note of who is connected", || async { site.db.text(done).await == "true" })
        .await;
    bridge.stop().await;
}

#[tokio::test]
async fn the_service_role_polls_tables_that_the_owner_may_read() {
    let site = Site::new().await;
    let bridge = site.bridge().await;
    let path = "/v1/tenants/acme/watched/orders/1";
    let app = site.session("app").await;
    app.batch_execute("insert into app.orders values (1, 'acme', 'new')").await.unwrap();
    let (status, refused) = bridge.get_as(&member("acme"), path).await;
    assert_eq!((status, &refused["code"]), (501, &json!("not_readable")));
    site.run(&format!(r#"grant select on app.orders to "{}-Owner""#, site.db.name())).await;
    let (status, row) = bridge.get_as(&member("acme"), path).await;
    assert_eq!((status, &row["data"]["state"]), (200, &json!("new")), "{row}");
    may_not(&site.session("bridge").await, "select from app.orders").await;
}

#[tokio::test]
async fn the_service_role_can_neither_watch_nor_forge_nor_read_what_is_not_its_business() {
    let site = Site::new().await;
    let bridge = site.session("bridge").await;
    for sql in [
        "select tidings.watch('app.orders', tenant => 'state')",
        "select tidings.unwatch('app.orders')",
        "select tidings.pause('app.orders')",
        "select tidings.uninstall()",
        "select tidings.preview('app.orders', 'insert', '{}')",
        "select tidings.grant_service('postgres')",
        "select * from tidings._channel",
        "select * from tidings._watch",
        "select * from tidings._missed",
        "select * from tidings._idempotency",
        "insert into tidings._log (eid, xid, head, nonce, slot, at, tenant, type, source) values (1, '1', 1, 1, 0, now(), 'acme', 'forged', '/emit')",
        "update tidings._log set tenant = 'globex'",
        "delete from tidings._log",
        "truncate tidings._log",
        "update tidings._epoch set epoch = 'x'",
        "update tidings._pruned set eid = 0",
        "select nextval('tidings._eid')",
        "select setval('tidings._slot', 0)",
        "delete from tidings._listener",
        "select tidings._record(0, 'emit', '/public/documents', true, '{}')",
        "update tidings._ticket set claims = '{}'",
        "update tidings.schema_history set checksum = ''",
        "select * from app.orders",
        "insert into app.orders values (1, 'acme', 'x')",
        "create table tidings.t ()",
    ] {
        may_not(&bridge, sql).await;
    }
    // A bridge that finds something to migrate says that it may not, and what to do.
    site.run(&format!(r#"set role "{}-Owner"; delete from tidings.schema_history where version > 7"#, site.db.name()))
        .await;
    let refused = migrate(&site.url_of("bridge").parse().unwrap(), &Wishes::default()).await.unwrap_err();
    assert!(refused.hint().unwrap().contains("database.migrate = false"), "{refused}");
}

#[tokio::test]
async fn an_application_without_any_right_on_the_schema_is_captured_and_can_touch_nothing_of_it() {
    let site = Site::new().await;
    let bridge = site.bridge().await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let app = site.session("app").await;
    let many = "insert into app.orders select i, 'acme', 'many' from generate_series(2, 200) i";
    for sql in [
        "insert into app.orders values (1, 'acme', 'new')",
        "update app.orders set state = 'paid' where id = 1",
        "delete from app.orders where id = 1",
        many,
        "insert into app.orders values (1, null, 'nobody''s')",
    ] {
        app.batch_execute(sql).await.unwrap();
    }
    let events = sse.take(202).await;
    assert_eq!(events[2]["type"], "orders.deleted");
    for sql in [
        "select tidings.cursor()",
        "select tidings.emit('acme', 'x')",
        "select tidings._listen()",
        "select * from tidings.events",
        "select * from tidings._log",
        "select * from tidings._channel",
        "select * from tidings.watches",
        "select last_value from tidings._eid",
    ] {
        may_not(&app, sql).await;
    }
    assert_eq!(site.db.text(OPEN_TO_PUBLIC).await, "");
}

#[tokio::test]
async fn two_grants_let_an_application_emit_and_take_cursors_and_nothing_else() {
    let site = Site::new().await;
    let name = site.db.name();
    let bridge = site.bridge().await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    site.run(&format!(
        r#"set role "{name}-Owner"; grant usage on schema tidings to {name}_app;
           grant execute on function tidings.cursor(), tidings.emit(text, text, jsonb, text, text) to {name}_app"#
    ))
    .await;
    let app = site.session("app").await;
    let cursor: String = app.query_one("select tidings.cursor()", &[]).await.unwrap().get(0);
    let id: String = app.query_one("select tidings.emit('acme', 'paid')", &[]).await.unwrap().get(0);
    assert_eq!(sse.next().await["id"], id);
    assert_eq!(get_page(&bridge, &member("acme"), "acme", &format!("?after={cursor}")).await.events[0]["id"], id);
    let can = format!(
        "select string_agg(what, ' ' order by what) from (
            select p.proname from pg_proc p where p.pronamespace = 'tidings'::regnamespace and has_function_privilege('{name}_app', p.oid, 'execute')
            union all
            select c.relname from pg_class c where c.relnamespace = 'tidings'::regnamespace
               and case c.relkind when 'S' then has_sequence_privilege('{name}_app', c.oid, 'usage, select, update')
                                  else has_table_privilege('{name}_app', c.oid, 'select, insert, update, delete, truncate, references, trigger') end
        ) can (what)"
    );
    assert_eq!(site.db.text(&can).await, "cursor emit");
}

#[tokio::test]
async fn functions_that_a_migration_brings_are_granted_to_those_who_serve() {
    let site = Site::new().await;
    let name = site.db.name();
    site.run(&format!(
        r#"create role "{name}-Other"; set role "{name}-Owner"; select tidings.grant_service('{name}-Other');
           revoke execute on function tidings._watched(text, text, text, text[]), tidings._tell(text, jsonb) from "{name}-Service", "{name}-Other";
           select tidings._grant_again()"#
    ))
    .await;
    let may = format!(
        "select string_agg(has_function_privilege(r, f, 'execute')::text, ' ')
           from unnest(array['{name}-Service', '{name}-Other']) r, unnest('{{\"tidings._watched(text, text, text, text[])\",\"tidings._tell(text, jsonb)\"}}'::text[]) f"
    );
    assert_eq!(site.db.text(&may).await, "true true true true");
    let refused = site.dba.batch_execute("select tidings.grant_service('nobody-there')").await.unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().hint(), Some("create role \"nobody-there\" nologin;"));
}
