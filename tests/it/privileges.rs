//! Everything that the service role may do in a database, held against the list in docs/dba.md.

use crate::support::Database;

/// Rights of a role, its own and those it has by membership, beyond what every role has: one a line, with names in the order of their letters.
const MAY: &str = "
    with who (r) as (select 'tests_bridge'::regrole::oid),
    granted (what) as (
      select format('schema %s: %s', n.nspname, p) from who, pg_namespace n, unnest('{usage,create}'::text[]) p
       where n.nspname !~ '^pg_|^information_schema$' and has_schema_privilege(r, n.oid, p)
      union all
      select format('table %s.%s: %s', n.nspname, c.relname, string_agg(p, ', ' order by i))
        from who, pg_class c join pg_namespace n on n.oid = c.relnamespace,
             unnest('{select,insert,update,delete,truncate,references,trigger}'::text[]) with ordinality u (p, i)
       where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_|^information_schema$' and has_table_privilege(r, c.oid, p)
       group by n.nspname, c.relname
      union all
      select format('columns of %s.%s: %s (%s)', n.nspname, c.relname, p, string_agg(a.attname, ', ' order by a.attname))
        from who, pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid, unnest('{select,insert,update}'::text[]) p
       where c.relkind in ('r', 'p', 'v') and n.nspname !~ '^pg_|^information_schema$' and a.attnum > 0 and not a.attisdropped
         and has_column_privilege(r, c.oid, a.attnum, p) and not has_table_privilege(r, c.oid, p)
       group by n.nspname, c.relname, p
      union all
      select format('sequence %s.%s', n.nspname, c.relname) from who, pg_class c join pg_namespace n on n.oid = c.relnamespace
       where c.relkind = 'S' and n.nspname !~ '^pg_' and has_sequence_privilege(r, c.oid, 'usage, select, update')
      union all
      select format('functions of %s: %s', n.nspname, string_agg(distinct p.proname, ', ' order by p.proname))
        from who, pg_proc p join pg_namespace n on n.oid = p.pronamespace
       where n.nspname = 'tidings' and has_function_privilege(r, p.oid, 'execute') group by n.nspname
      union all
      select format('functions of %s: all', n.nspname) from who, pg_proc p join pg_namespace n on n.oid = p.pronamespace
       where n.nspname = 'tidings_app' group by n.nspname having bool_and(has_function_privilege(r, p.oid, 'execute'))
      union all
      select 'create in the database' from who where has_database_privilege(r, current_database(), 'create')
      union all
      select 'attribute of the role: ' || a from who, pg_roles p, unnest(array[
        case when rolsuper then 'superuser' end, case when rolcreaterole then 'createrole' end, case when rolcreatedb then 'createdb' end,
        case when rolreplication then 'replication' end, case when rolbypassrls then 'bypassrls' end]) a where pg_has_role(r, p.oid, 'member') and a is not null
      union all
      select 'member of ' || p.rolname from who, pg_roles p where pg_has_role(r, p.oid, 'member') and p.rolname not in ('tests_bridge', 'tests_service')
      union all
      select 'owner of ' || c.oid::regclass from who, pg_class c where pg_has_role(r, c.relowner, 'member')
    )
    select string_agg(what, E'\\n' order by what) from granted";

#[tokio::test]
async fn the_service_role_may_do_what_the_manual_lists_and_nothing_else() {
    let db = Database::new().await;
    let manual = include_str!("../../docs/dba.md");
    let listed =
        manual.split("<!-- rights of the service role -->\n```text\n").nth(1).unwrap().split("\n```").next().unwrap();
    let may = db.text(MAY).await;
    assert_eq!(
        may, listed,
        "write the rights of the service role into docs/dba.md, and why each is needed into grant_service:\n{may}\n"
    );
}
