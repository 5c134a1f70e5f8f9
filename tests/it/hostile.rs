//! A role of the application that means harm: it may write a watched table, make a schema of its own and set what sessions may set,
//! and gains by it neither the owner's rights, nor the log, nor the channel, nor an event that is not what was written.

use serde_json::json;
use tokio_postgres::Client;

use crate::roles::{Site, may_not};
use crate::support::{Sse, member};

/// Names that capture uses, in a schema that comes first; whoever calls one of them is noted. And tables of tidings' names.
const TRAPS: &str = "
    create schema mal; set search_path = mal, pg_catalog, pg_temp;
    create table mal.caught (what text, who text default current_user);
    grant all on mal.caught to public; grant usage on schema mal to public;
    create function mal.pg_notify(text, text) returns void language sql as $$ insert into mal.caught values ('pg_notify') $$;
    create function mal.row_to_json(record) returns json language plpgsql as $$ begin insert into mal.caught values ('row_to_json'); return '{}'; end $$;
    create function mal.json_build_object(variadic text[]) returns json language sql as $$ insert into mal.caught values ('build'); select '{}'::json $$;
    create function mal.concat_ws(text, int) returns text language sql as $$ insert into mal.caught values ('concat_ws'); select 'x'::text $$;
    create function mal.nextval(text) returns bigint language sql as $$ insert into mal.caught values ('nextval'); select 1::bigint $$;
    create function mal.random() returns float8 language sql as $$ insert into mal.caught values ('random'); select 0::float8 $$;
    create function mal.clock_timestamp() returns timestamptz language sql as $$ insert into mal.caught values ('clock'); select 'epoch'::timestamptz $$;
    create function mal.pg_current_xact_id() returns xid8 language sql as $$ insert into mal.caught values ('xid'); select '1'::xid8 $$;
    create function mal.cardinality(anyarray) returns int language sql as $$ insert into mal.caught values ('cardinality'); select 0 $$;
    create function mal.same(text, text) returns boolean language sql as $$ insert into mal.caught values ('='); select true $$;
    create operator mal.= (leftarg = text, rightarg = text, function = mal.same);
    create operator mal.|| (leftarg = text, rightarg = text, function = mal.same);
    create function mal.differ(record, record) returns boolean language plpgsql as $$ begin insert into mal.caught values ('*<>'); return false; end $$;
    create operator mal.*<> (leftarg = record, rightarg = record, function = mal.differ);
    create domain mal.text as pg_catalog.text check (mal.same(value::pg_catalog.text, 'x'));
    create temporary table _log (eid bigint); create temporary table _channel (name pg_catalog.text); create temporary table _watch (capture pg_catalog.text);
    create temporary table orders (id int);
    insert into _channel values ('mine');";

/// What a session may be set to that changes how values and statements are written or read.
const SETTINGS: &str = "
    set search_path = mal, pg_temp, pg_catalog; set client_min_messages = debug5; set datestyle = 'SQL, DMY'; set intervalstyle = sql_standard;
    set timezone = 'Asia/Kathmandu'; set bytea_output = escape; set extra_float_digits = -15; set quote_all_identifiers = on;
    set transform_null_equals = on; set array_nulls = off; set xmlbinary = hex; set standard_conforming_strings = off; set backslash_quote = on;
    set plan_cache_mode = force_generic_plan; set jit = off; set \"tidings.rows\" = '1:99999999999'; set \"tidings.tenant\" = 'globex';
    set constraint_exclusion = on; set row_security = off; set default_transaction_deferrable = on";

/// Everything that a session was told while it ran a statement.
async fn told(session: &Client, sql: &str) -> String {
    match session.batch_execute(sql).await {
        Ok(()) => String::new(),
        Err(error) => format!("{error:?}"),
    }
}

async fn site() -> Site {
    let site = Site::new().await;
    let name = site.db.name();
    site.db.run(&format!("grant create on database {name} to {name}_app")).await;
    site
}

#[tokio::test]
async fn names_that_stand_in_the_way_of_capture_are_walked_past() {
    let site = site().await;
    let bridge = site.bridge().await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let app = site.session("app").await;
    for sql in [TRAPS, SETTINGS] {
        assert_eq!(told(&app, sql).await, "");
    }
    let writes = "insert into app.orders values (1, 'acme', 'new'); update app.orders set state = 'paid' where id = 1; delete from app.orders where id = 1;
        insert into app.orders select i, 'acme', 'many' from generate_series(2, 100) i";
    app.batch_execute(writes).await.unwrap();
    let events = sse.take(102).await;
    assert_eq!(events[1]["data"], json!({"id": 1, "tenant": "acme", "state": "paid"}));
    assert_eq!((&events[1]["changed"], &events[1]["subject"]), (&json!("state"), &json!("1")));
    assert_eq!(site.db.text("select count(*)::text from mal.caught").await, "0", "nobody ran what stood in the way");
}

#[tokio::test]
async fn rights_are_not_to_be_had_by_way_of_what_anybody_may_make() {
    let site = site().await;
    let app = site.session("app").await;
    app.batch_execute("create schema mal; create table mal.t (id int primary key, tenant text)").await.unwrap();
    let capture = site
        .db
        .text("select min(oid::regprocedure::text) from pg_proc where prosrc like '%Generated by tidings.watch%' and prorettype = 'trigger'::regtype")
        .await;
    let name = site.db.name();
    for sql in [
        format!("create trigger t after insert on mal.t for each row execute function {}", capture),
        format!("select {capture}"),
        "select tidings._record(0, 'emit', '/emit', true, '{}')".into(),
        "select tidings.watch('mal.t', tenant => 'tenant')".into(),
        "select tidings.unwatch('app.orders')".into(),
        "alter table app.orders disable trigger all".into(),
        "create trigger t after insert on app.orders for each row execute function pg_catalog.suppress_redundant_updates_trigger()".into(),
        "create event trigger t on ddl_command_end execute function mal.t()".into(),
        format!("set role \"{name}-Owner\""),
        format!("grant \"{name}-Owner\" to current_user"),
        "set session_replication_role = replica".into(),
        "create table tidings.t ()".into(),
        "create function tidings.f() returns int language sql return 1".into(),
        "comment on schema tidings is 'mine'".into(),
        "copy tidings._log to stdout".into(),
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and usename is not null".into(),
    ] {
        may_not(&app, &sql).await;
    }
    // A cast of a type that is not one's own, or a function in another's name.
    app.batch_execute("create function mal.j(text) returns json language sql return '{}'::json").await.unwrap();
    may_not(&app, "create cast (text as json) with function mal.j(text)").await;
    may_not(&app, &format!("alter function mal.j(text) owner to \"{name}-Owner\"")).await;
}

#[tokio::test]
async fn the_channels_name_is_nowhere_that_a_writer_may_look() {
    let site = site().await;
    let bridge = site.bridge().await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let app = site.session("app").await;
    app.batch_execute(
        "set client_min_messages = debug5; set debug_print_plan = on; insert into app.orders values (1, 'acme', 'new')",
    )
    .await
    .unwrap();
    sse.take(1).await;
    let channel = site.db.text("select name from tidings._channel").await;
    for (what, sql) in [
        (
            "bodies of functions",
            "select coalesce(string_agg(prosrc, ' '), '') from pg_proc where pronamespace = (select oid from pg_namespace where nspname = 'tidings')",
        ),
        ("sessions", "select coalesce(string_agg(query, ' '), '') from pg_stat_activity"),
        ("comments", "select coalesce(string_agg(description, ' '), '') from pg_description"),
        ("settings", "select coalesce(string_agg(setting, ' '), '') from pg_settings"),
        ("prepared statements", "select coalesce(string_agg(statement, ' '), '') from pg_prepared_statements"),
        ("locks", "select coalesce(string_agg(l::text, ' '), '') from pg_locks l"),
        ("channels", "select coalesce(string_agg(c, ' '), '') from pg_listening_channels() c"),
        ("statistics", "select coalesce(string_agg(s::text, ' '), '') from pg_stats s"),
    ] {
        let seen: String = app.query_one(sql, &[]).await.unwrap().get(0);
        assert!(!seen.contains(&channel), "{what}");
    }
    // What is sent to a channel of any other name is heard by nobody here.
    app.batch_execute("select pg_notify('tidings', '{}'), pg_notify('tidings_events', '{\"tenant\": \"acme\"}')")
        .await
        .unwrap();
    app.batch_execute("insert into app.orders values (2, 'acme', 'new')").await.unwrap();
    assert_eq!(sse.next().await["subject"], "2");
}

/// Who owns a watched table may give it a type whose cast to JSON is theirs, and capture uses it: docs/dba.md says so. What they get by it is
/// tidings' owner, who owns nothing but tidings, and neither the DBA nor a superuser.
#[tokio::test]
async fn the_owner_of_a_watched_table_gets_the_rights_of_tidings_owner_at_most() {
    let site = site().await;
    let name = site.db.name();
    let app = site.session("app").await;
    site.run("create table app.secret (v text); insert into app.secret values ('kept')").await;
    let own = "create schema mal; grant usage on schema mal to public; create table mal.t (id int primary key, tenant text);
        create table mal.caught (who text, what text); grant all on mal.caught to public; create type mal.mood as enum ('ok')";
    app.batch_execute(own).await.unwrap();
    site.run(&format!("grant {name}_app to {name}_dba; select tidings.watch('mal.t', tenant => 'tenant')")).await;
    let attack = "create function mal.try(sql text) returns void language plpgsql as $$ begin
            execute sql; insert into mal.caught values (current_user, 'did ' || sql);
          exception when insufficient_privilege then insert into mal.caught values (current_user, 'may not'); end $$;
        create function mal.j(mal.mood) returns json language plpgsql as $$ begin
            perform mal.try('select from app.secret'), mal.try('create role evil superuser'), mal.try('create table public.t ()'),
                    mal.try('alter role current_user superuser'), mal.try('select pg_read_file(''/etc/passwd'')');
            return '\"x\"'; end $$;
        create cast (mal.mood as json) with function mal.j(mal.mood); alter table mal.t add mood mal.mood; insert into mal.t values (1, 'acme', 'ok')";
    app.batch_execute(attack).await.unwrap();
    let caught = site.db.text("select string_agg(distinct who || ' ' || what, ', ') from mal.caught").await;
    assert_eq!(caught, format!("{name}-Owner may not"));
}
