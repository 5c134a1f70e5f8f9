-- What is wrong and what to do about it: tidings.doctor(). For a reader at three in the morning who may have nothing but psql: each
-- finding carries the SQL that mends it.
--
-- Runs:   only when called, as the owner of schema tidings, so that a role with EXECUTE on it and nothing else may ask. Tells no row data.
-- Reads:  the catalogs, the statistics and tidings' own tables. Writes nothing.
-- Locks:  what a SELECT takes, and waits at most 2 s for it.
-- Fails:  not for lack of rights or for one broken watch: that becomes a finding.
-- Undo:   drop function tidings.doctor(), and the private functions below.

create type tidings._finding as (
  severity text,
  code     text,
  subject  text,
  message  text,
  fix      text
);
comment on type tidings._finding is 'One row of tidings.doctor().';

-- 1. Words -----------------------------------------------------------------------------------------------------------

-- The call that makes a watch again: every setting that is not the default.
create function tidings._watch_call(w tidings._watch) returns text
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select 'select tidings.watch(' || string_agg(s.name || s.value, ', ' order by s.n) || ');'
    from (select w.relation::oid as oid) r left join pg_class c on c.oid = r.oid, lateral (values
      (1, '',                   quote_literal(coalesce(c.oid::regclass::text, w.name))),
      (2, 'tenant => ',         quote_literal(w.tenant)),
      (3, 'columns => ',        quote_literal(w.columns)),
      (4, 'except_columns => ', quote_literal(case when c.oid is null then w.except_columns else
        nullif(array(select e from unnest(w.except_columns) e where e = any (tidings._columns(c.oid))), '{}') end)),   -- kept back though gone
      (5, 'ops => ',            case when w.ops <> '{insert,update,delete}' then quote_literal(w.ops) end),
      (6, 'only_changed => ',   quote_literal(w.only_changed)),
      (7, 'subject => ',        quote_literal(w.subject)),
      (8, 'type => ',           case when w.type is distinct from c.relname::text then quote_literal(w.type) end),
      (9, 'audience => ',       quote_literal(w.audience)),
      (10, 'notify => ',        case when not w.notify then 'false' end),
      (11, 'strict => ',        case when w."strict" then 'true' end)) s (n, name, value)
   where s.value is not null;
end;
comment on function tidings._watch_call(tidings._watch) is 'The select tidings.watch(…) that makes this watch again.';

-- "3 days", "5 h", "12 min", "40 s": as exact as a person needs it.
create function tidings._ago(span interval) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return (select case when s >= 172800 then floor(s / 86400) || ' days' when s >= 7200 then floor(s / 3600) || ' h'
                    when s >= 120 then floor(s / 60) || ' min' else floor(s) || ' s' end from extract(epoch from span) s);
comment on function tidings._ago(interval) is 'A span of time in one unit.';

create function tidings._moment(at timestamptz) returns text
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC'
return to_char(at, 'YYYY-MM-DD HH24:MI:SS "UTC"');
comment on function tidings._moment(timestamptz) is 'A time as findings write it.';

create function tidings._unchecked(subject text, reason text) returns tidings._finding
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return row('info', 'not_checked', subject, 'a check could not be made: ' || reason,
           '-- ask once more; what goes on saying so, PostgreSQL''s message explains')::tidings._finding;
comment on function tidings._unchecked(text, text) is 'The finding that something could not be found out.';

-- 2. The server ------------------------------------------------------------------------------------------------------

create function tidings._doctor_version(number int) returns setof tidings._finding
language sql immutable set search_path = pg_catalog, pg_temp
begin atomic
  select 'warning', 'server_version', '',
         format('PostgreSQL %s.%s can skip a notification on a live connection without a word; bridges find it in the log, at the latest one '
                'checkpoint later', number / 10000, number % 10000),
         format('-- update to PostgreSQL %s.%s or later: new binaries and a restart', fixed.number / 10000, fixed.number % 10000)
    from unnest(array[140021, 150016, 160012, 170008, 180002]) fixed (number)
   where fixed.number / 10000 = _doctor_version.number / 10000 and _doctor_version.number < fixed.number;
end;
comment on function tidings._doctor_version(int) is 'Known bugs of this server version.';

-- Where a setting has a value that matters: for the database, for roles, or for the whole server, with what takes it back.
create function tidings._set_to(setting text, value text) returns table (subject text, reset text)
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select coalesce(nullif(concat_ws(' in ', 'role ' || o.role, 'database ' || o.base), ''), 'role all'),
         format('alter %s reset %I;', coalesce('role ' || o.role || coalesce(' in database ' || o.base, ''), 'database ' || o.base, 'role all'), setting)
    from pg_db_role_setting s left join pg_database d on d.oid = s.setdatabase,
         lateral (select case when s.setrole <> 0 then s.setrole::regrole::text end as role, quote_ident(d.datname) as base) o
   where (s.setdatabase = 0 or d.datname = current_database()) and setting || '=' || value = any (s.setconfig)
  union all
  select 'server', format('alter system reset %I; select pg_reload_conf();  -- or in postgresql.conf', setting)
    from pg_settings s where s.name = setting and s.setting = value and s.source in ('configuration file', 'command line', 'environment variable');
end;
comment on function tidings._set_to(text, text) is 'Where a setting has this value by default, and how to take it back.';

create function tidings._doctor_server() returns setof tidings._finding
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select 'error', 'standby', '', 'this server is a standby: LISTEN, NOTIFY and cursors work on the primary only',
         '-- point database.url at the primary: several hosts and target_session_attrs=read-write' where pg_is_in_recovery()
  union all
  select (tidings._doctor_version(current_setting('server_version_num')::int)).*
  union all
  select 'info', 'synchronous_commit', s.subject,
         'synchronous_commit is off: a crash can take back events that were delivered; subscribers are then told to start over', s.reset
    from tidings._set_to('synchronous_commit', 'off') s
  union all
  select 'info', 'replica_role', s.subject,
         'sessions run with session_replication_role = replica: capture goes on row by row, foreign keys and other triggers do not', s.reset
    from tidings._set_to('session_replication_role', 'replica') s
  union all
  select 'info', 'two_phase', '',
         format('max_prepared_transactions is %s, and PREPARE TRANSACTION fails after a write to %s', current_setting('max_prepared_transactions'), t.tables),
         '-- for each of these that two-phase commits write; bridges then find its events at their next checkpoint' || t.calls
    from (select string_agg(w.name, ', ' order by w.name) as tables,
                 string_agg(E'\n' || tidings._watch_call(jsonb_populate_record(w, '{"notify": false}')), '' order by w.name) as calls
            from tidings._watch w where w.notify having count(*) > 0) t
   where current_setting('max_prepared_transactions')::int > 0
  union all
  select 'info', 'track_functions', '', 'what capture costs is not measured: track_functions is none',
         format('alter database %I set track_functions = ''pl'';  -- for sessions that begin from now on', current_database())
   where current_setting('track_functions') = 'none'
  union all
  select 'info', 'hidden_sessions', '',
         format('%s, the owner of schema tidings, sees nothing of other roles'' sessions: long transactions may be missing here', current_user),
         format('grant pg_monitor to %I;', current_user) where not pg_has_role(current_user, 'pg_read_all_stats', 'usage');
end;
comment on function tidings._doctor_server() is 'Findings about the server and its settings.';

-- 3. Rights ----------------------------------------------------------------------------------------------------------

-- Every right on schema tidings that its owner granted, without those that applications need, and without those of roles that may
-- listen: they are bridges.
create function tidings._granted() returns table (grantee oid, private boolean, privilege text, object text)
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  with granted as (
    select n.nspowner as owner, a.grantee, a.privilege_type, '_' as name, 'schema tidings' as object
      from pg_namespace n, aclexplode(n.nspacl) a where n.nspname = 'tidings' and a.privilege_type <> 'USAGE'
    union all
    select c.relowner, a.grantee, a.privilege_type, case when a.privilege_type = 'SELECT' then c.relname else '_' end,
           case c.relkind when 'S' then 'sequence ' else '' end || c.oid::regclass
      from pg_class c, aclexplode(c.relacl) a where c.relnamespace = 'tidings'::regnamespace
    union all
    select p.proowner, a.grantee, a.privilege_type, p.proname, 'function ' || p.oid::regprocedure
      from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
     where p.pronamespace = 'tidings'::regnamespace and p.proname not in ('cursor', 'emit')
  )
  select g.grantee, starts_with(g.name, '_'), g.privilege_type, g.object from granted g
   where g.grantee <> g.owner
     and not (g.grantee <> 0 and exists (select from granted b where b.grantee = g.grantee and b.name = '_listen'));
end;
comment on function tidings._granted() is 'Rights on schema tidings beyond those of its owner, of bridges, and usage, cursor and emit.';

create function tidings._doctor_rights() returns setof tidings._finding
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select 'info', 'owner_superuser', r.rolname::text,
         format('schema tidings belongs to superuser %s, and capture runs as its owner inside every writer''s transaction', r.rolname),
         case when to_regrole('tidings_owner') is null then E'create role tidings_owner nologin;\n' else '' end
           || E'grant pg_monitor to tidings_owner;\n'
              '-- it also needs SELECT on tables that clients poll; a watch that it could not run refuses the whole change:\n'
              'select tidings._give_to(''tidings_owner'');'
    from pg_namespace n join pg_roles r on r.oid = n.nspowner where n.nspname = 'tidings' and r.rolsuper
  union all
  select 'warning', 'rights', g.grantee,
         format('%s may do more in schema tidings than an application needs: %s', g.grantee, array_to_string(g.said[1:4], ', '))
           || case when cardinality(g.said) > 4 then format(' and %s more', cardinality(g.said) - 4) else '' end, g.fix
    from (select e.grantee, array_agg(format('%s on %s', lower(privilege), object) order by object, privilege) as said,
                 string_agg(format('revoke %s on %s from %s;', lower(privilege), object, e.grantee), E'\n' order by object, privilege) as fix
            from tidings._granted() d, lateral (select case when d.grantee = 0 then 'public' else d.grantee::regrole::text end as grantee) e
           where d.private or d.grantee = 0 group by e.grantee) g;
end;
comment on function tidings._doctor_rights() is 'Findings about who owns schema tidings, and who else may use what.';

-- Hands the schema to another role, and tries every watch as that role. Waits at most 2 s for each lock: writers hold up the log's.
create function tidings._give_to(owner name) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  o text;
  w tidings._watch;
begin
  for o in
    select case c.relkind when 'S' then 'sequence ' when 'v' then 'view ' else 'table ' end || c.oid::regclass
      from pg_class c where c.relnamespace = 'tidings'::regnamespace and c.relkind in ('r', 'p', 'v', 'S')
       and not exists (select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i') and c.relkind = 'S')
    union all
    select 'function ' || p.oid::regprocedure from pg_proc p where p.pronamespace = 'tidings'::regnamespace
    union all
    select 'type ' || t.oid::regtype from pg_type t join pg_class c on c.oid = t.typrelid where t.typnamespace = 'tidings'::regnamespace and c.relkind = 'c'
    union all
    select 'schema tidings'
  loop
    execute format('alter %s owner to %I', o, owner);
  end loop;
  for w in select * from tidings._watch where exists (select from pg_class where oid = relation) loop
    perform tidings._try(tidings._adapted(w));
  end loop;
end $$;
comment on function tidings._give_to(name) is 'Makes another role the owner of schema tidings and all in it; refused when a watch would then fail.';

-- 4. Watched tables --------------------------------------------------------------------------------------------------

-- A table that is gone, and one that has come back under its name: the triggers went with the first.
create function tidings._doctor_dropped() returns setof tidings._finding
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  with recursive dropped as (
    select w, w.name, to_regclass(w.name) as again from tidings._watch w where not exists (select from pg_class c where c.oid = w.relation)
  ), sources (source) as (
    (select l.source from tidings._log l order by l.source limit 1)
    union all
    select (select l.source from tidings._log l where l.source > s.source order by l.source limit 1) from sources s where s.source is not null
  )
  select 'error', 'table_replaced', d.name, format('%s was dropped and made again: what is written to it now makes no event', d.name),
         tidings._watch_call(d.w) || E'\nselect tidings._refresh();'
    from dropped d where d.again is not null and not exists (select from tidings._watch w where w.relation = d.again)
  union all
  select 'warning', 'table_dropped', d.name, format('%s was dropped; its watch goes at the next refresh', d.name), 'select tidings._refresh();'
    from dropped d where d.again is null or exists (select from tidings._watch w where w.relation = d.again)
  union all
  select 'info', 'unwatched', c.oid::regclass::text, format('%s has events in the log and is not watched any more', c.oid::regclass),
         format(E'-- if that is a mistake:\n-- select tidings.watch(%L, tenant => …);', c.oid::regclass)
    from sources s join pg_namespace n on starts_with(s.source, '/' || n.nspname || '/')
    join pg_class c on c.relnamespace = n.oid and s.source = '/' || n.nspname || '/' || c.relname and c.relkind in ('r', 'p')
   where not exists (select from tidings._watch w where w.relation = c.oid) and not exists (select from dropped d where d.again = c.oid);
end;
comment on function tidings._doctor_dropped() is 'Findings about tables that are gone.';

-- What happened to the columns since the watch was made: "a is now b, c is gone, d is new". Null: nothing.
create function tidings._alterations(w tidings._watch) returns text
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select string_agg(s.said, ', ' order by s.n, s.said) from (
    select 1 as n, 'it was ' || w.name as said where w.name <> w.relation::text
    union all
    select 2, 'it was restored from a dump' where w.known_of is distinct from w.relation::oid
    union all
    select 3, case when a.attisdropped then format('column %s is gone', k.key) else format('column %s is now %s', k.key, a.attname) end
      from jsonb_each_text(w.known) k join pg_attribute a on a.attrelid = w.relation and a.attnum = k.value::int2
     where w.known_of = w.relation and a.attname <> k.key
    union all
    select 4, format('column %s is new', a.attname) from pg_attribute a
     where a.attrelid = w.relation and a.attnum > 0 and not a.attisdropped and w.known_of = w.relation
       and not exists (select from jsonb_each_text(w.known) k where k.value::int2 = a.attnum)) s;
end;
comment on function tidings._alterations(tidings._watch) is 'What happened to a table since it was watched.';

-- Tables that the expressions of a watch name and that the owner of schema tidings may not read.
create function tidings._unreadable(w tidings._watch) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select distinct to_regclass(n[1]) from unnest(w.subject || w.tenant || w.audience || case when 'truncate' = any (w.ops) then '=' || w.relation::text end) s,
         regexp_matches(s, '((?:"[^"]+"|[[:alpha:]_][\w$]*)\.(?:"[^"]+"|[[:alpha:]_][\w$]*))', 'g') n
   where left(s, 1) = '=' and not has_table_privilege((select nspowner from pg_namespace where nspname = 'tidings'), to_regclass(n[1]), 'select');
end;
comment on function tidings._unreadable(tidings._watch) is 'Tables that a watch needs to read and may not.';

-- Tries the settings as the table is now. One of: nothing, table_altered (capture helps itself), settings_broken (it cannot).
create function tidings._doctor_settings(w tidings._watch) returns setof tidings._finding
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  said text;
  tip  text;
  fix  text;
begin
  perform tidings._try(tidings._adapted(w));
  said := tidings._alterations(w);
  if said is not null then
    return next row('warning', 'table_altered', w.relation::text,
      format('%s was altered since it was watched (%s): until the watch follows, capture may compile its SQL for every statement', w.relation, said),
      tidings._watch_call(tidings._adapted(w)))::tidings._finding;
  end if;
exception when others then
  get stacked diagnostics said = message_text, tip = pg_exception_hint;
  if sqlstate ~ '^(40|53|55|57|58|XX)' then   -- locks, resources, the server: nothing that the settings could help
    return next tidings._unchecked(w.relation::text, said);
    return;
  end if;
  select string_agg(format('grant select on %s to %s;', u, n.nspowner::regrole), E'\n') into fix
    from tidings._unreadable(w) u, pg_namespace n where n.nspname = 'tidings';
  said := concat_ws(': ', 'what is written to ' || w.relation || ' makes no event', said) || coalesce(' (' || tidings._alterations(w) || ')', '');
  fix := coalesce(fix, concat_ws(E'\n', '-- ' || nullif(tip, ''), '-- correct the setting that no longer fits, then run:', tidings._watch_call(w)));
  return next row('error', 'settings_broken', w.relation::text, said, fix)::tidings._finding;
end $$;
comment on function tidings._doctor_settings(tidings._watch) is 'Findings about settings that do not fit their table.';

create function tidings._missing_triggers(w tidings._watch) returns text
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select string_agg(format('%s on %s', d.name, d.relation)
                      || case when a.name is null then '' when not a.enabled then ' (disabled)' else ' (of an earlier version)' end,
                    ', ' order by d.relation::text, d.name)
    from tidings._triggers(w) d left join tidings._attached(w) a on (a.relation, a.name, a.op) = (d.relation, d.name, d.op)
   where (a.bits, a.silent, a.enabled) is distinct from (d.bits, d.silent, true);
end;
comment on function tidings._missing_triggers(tidings._watch) is 'Triggers that a watch needs and that are missing, disabled or not as they should be; null: none.';

create function tidings._unique_key(relation regclass) returns text[]
language sql stable set search_path = pg_catalog, pg_temp
return (select array_agg(a.attname::text order by k.n) from pg_index i, unnest(i.indkey::int2[]) with ordinality k (attnum, n), pg_attribute a
         where i.indrelid = relation and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null and k.n <= i.indnkeyatts
           and a.attrelid = relation and a.attnum = k.attnum
         group by i.indexrelid having bool_and(a.attnotnull) order by count(*), i.indexrelid limit 1);
comment on function tidings._unique_key(regclass) is 'Columns of a unique index that could stand in for a primary key.';

create function tidings._doctor_watch(w tidings._watch) returns setof tidings._finding
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select 'warning', 'paused', w.relation::text,
         format('%s is paused since %s (%s): what is written makes no event', w.relation, tidings._moment(w.paused_at), tidings._ago(now() - w.paused_at)),
         format('select tidings.resume(%L);', w.relation) where w.paused_at is not null
  union all
  select 'error', 'triggers_missing', w.relation::text, format('changes of %s are not captured, or not all: it lacks %s', w.relation, m), tidings._watch_call(w)
    from tidings._missing_triggers(w) m where m is not null
  union all
  select 'info', 'tenant_nullable', w.relation::text, format('%s.%s may be NULL: such a row makes no event', w.relation, quote_ident(a.attname)),
         format('alter table %s alter column %I set not null;  -- reads the whole table under an exclusive lock', w.relation, a.attname)
    from pg_attribute a where a.attrelid = w.relation and a.attname = w.tenant and not a.attnotnull and not a.attisdropped
  union all
  select 'info', 'no_subject', w.relation::text, format('%s has no primary key and no subject setting: its events do not say which row changed', w.relation),
         coalesce((select tidings._watch_call(jsonb_populate_record(w, jsonb_build_object('subject', u.columns)))
                     from tidings._unique_key(w.relation) u (columns) where u.columns is not null),
                  format(E'-- one of these:\n-- alter table %s add primary key (…);\n-- %s', w.relation,
                         replace(tidings._watch_call(w), ');', ', subject => ''{…}'');')))
   where w.subject is null and tidings._key(w.relation) is null;
end;
comment on function tidings._doctor_watch(tidings._watch) is 'Findings about the state of one watch.';

create function tidings._doctor_missed(w tidings._watch) returns setof tidings._finding
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  with missed as (
    select m.reason, sum(m.rows) as rows, min(m.at) as first, max(m.at) as last from tidings._missed m
     where m.relation in (select tidings._family(w.relation)) group by m.reason
  )
  select 'warning', 'null_tenant', w.relation::text,
         format('%s changed rows of %s had a NULL tenant and made no event, from %s to %s', m.rows, w.relation, tidings._moment(m.first), tidings._moment(m.last)),
         format(E'select * from %s r where %s is null;  -- give them a tenant, then\n'
                'delete from tidings._missed where relation in (select tidings._family(%L)) and reason = ''null_tenant'';',
                w.relation, tidings._expression(w.relation, w.tenant), w.relation)
    from missed m where m.reason = 'null_tenant'
  union all
  select case when max(m.last) > clock_timestamp() - interval '1 hour' then 'error' else 'warning' end, 'capture_failed', w.relation::text,
         format('%s statements on %s made no event because capture failed: %s', sum(m.rows), w.relation,
                string_agg(format('SQLSTATE %s %s times, last %s', m.reason, m.rows, tidings._moment(m.last)), '; ' order by m.last desc)),
         format(E'select tidings.preview(%1$L, ''insert'', to_jsonb(r)) from %1$s r;  -- stops at the row that fails, with the reason; mend row or settings, then\n'
                'delete from tidings._missed where relation in (select tidings._family(%1$L)) and reason <> ''null_tenant'';', w.relation)
    from missed m where m.reason <> 'null_tenant' having count(*) > 0;
end;
comment on function tidings._doctor_missed(tidings._watch) is 'Findings about changes that made no event.';

create function tidings._doctor_watches() returns setof tidings._finding
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  w tidings._watch;
begin
  for w in select * from tidings._watch where exists (select from pg_class where oid = relation) order by name loop
    begin
      return query select * from tidings._doctor_watch(w);
      return query select * from tidings._doctor_settings(w);
      return query select * from tidings._doctor_missed(tidings._adapted(w));
    exception when others then
      return next tidings._unchecked(w.name, sqlerrm);
    end;
  end loop;
end $$;
comment on function tidings._doctor_watches() is 'Findings about watched tables.';

-- 5. The log ---------------------------------------------------------------------------------------------------------

-- Who a session is, for the end of a line that ends it.
create function tidings._session(a pg_stat_activity) returns text
language sql stable set search_path = pg_catalog, pg_temp
return concat_ws(', ', 'role ' || a.usename, 'database ' || a.datname, nullif(a.application_name, ''), a.state,
                 'in this state for ' || tidings._ago(clock_timestamp() - a.state_change),
                 'its transaction began ' || tidings._ago(clock_timestamp() - a.xact_start) || ' ago');
comment on function tidings._session(pg_stat_activity) is 'A session in words, without its query.';

create function tidings._terminate(a pg_stat_activity) returns text
language sql stable set search_path = pg_catalog, pg_temp
return format('select pg_terminate_backend(%s);  -- takes back what it has not committed: %s', a.pid, tidings._session(a));
comment on function tidings._terminate(pg_stat_activity) is 'SQL that ends a session, and which one that is.';

-- What keeps retention from emptying the next partition: whoever has read or written it in a transaction that goes on.
create function tidings._blockers(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select string_agg(case when b.pid is null then format('rollback prepared %L;  -- takes it back; or commit prepared', x.gid)
                         else tidings._terminate(a) end,
                    E'\n' order by a.xact_start)
    from (select distinct l.pid, (select o.transactionid from pg_locks o where l.pid is null and o.pid is null and o.locktype = 'transactionid'
                                     and o.virtualtransaction = l.virtualtransaction) as prepared
            from pg_locks l join pg_database d on d.oid = l.database and d.datname = current_database()
           where l.relation = _blockers.relation and l.granted) b
    left join pg_stat_activity a on a.pid = b.pid
    left join pg_prepared_xacts x on x.transaction = b.prepared
   where b.pid is distinct from pg_backend_pid() and coalesce(a.backend_type, 'client backend') <> 'autovacuum worker';
end;
comment on function tidings._blockers(regclass) is 'SQL that ends what holds a lock on a table; null: nothing does.';

create function tidings._rotate_call(p tidings._pruned) returns text
language sql stable set search_path = pg_catalog, pg_temp
return format('select tidings._rotate(%L, %s);  -- empties the oldest eighth of the log, as retention does', p.for_time, coalesce(p.for_bytes::text, 'null'));
comment on function tidings._rotate_call(tidings._pruned) is 'SQL that does what retention should have done.';

create function tidings._doctor_log() returns setof tidings._finding
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  with log as (
    select p, b as blockers, case when b is not null then ', because transactions hold the partition that is next' else '' end as because, s.*
      from tidings._pruned p, (select sum(bytes) as bytes, min(oldest_at) as oldest_at from tidings.log) s,
           tidings._blockers(format('tidings._log_%s', ((select last_value from tidings._slot) + 1) % 8)::regclass) b
  )
  -- A sixth of retention is how often the ring moves on; half of that again, and a minute, is what a bridge may be late.
  select 'warning', 'retention_behind', '',
         format('the log should have moved on %s ago and has not: it grows beyond retention (%s)%s',
                tidings._ago(now() - (l.p).rotated_at - (l.p).for_time / 6), (l.p).for_time, l.because),
         coalesce(l.blockers || E'\n', '') || tidings._rotate_call(l.p)
    from log l where now() > (l.p).rotated_at + (l.p).for_time / 4 + interval '1 minute'
  union all
  select 'warning', 'log_oversize', '',
         format('the log holds %s, and shall keep to %s%s', pg_size_pretty(l.bytes), pg_size_pretty((l.p).for_bytes), l.because),
         coalesce(l.blockers || E'\n', '') || E'-- makes clients start over that are further behind; again until select * from tidings.log is small enough:\n'
           || E'update tidings._pruned set rotated_at = rotated_at - for_time;\n' || tidings._rotate_call(l.p)
    from log l where l.bytes > (l.p).for_bytes * 1.5
  union all
  select 'info', 'log', '',
         format('the log holds %s; %s; bridges keep %s', pg_size_pretty(l.bytes),
                coalesce('its oldest event is ' || tidings._ago(now() - l.oldest_at) || ' old', 'no event'),
                coalesce((l.p).for_time::text, 'nobody knows what yet') || coalesce(' and at most ' || pg_size_pretty((l.p).for_bytes), '')),
         'select * from tidings.log;'
    from log l;
end;
comment on function tidings._doctor_log() is 'Findings about the log and its retention.';

-- 6. Listeners -------------------------------------------------------------------------------------------------------

-- Bridges of the last minute. live: checkpoints come. stalled: they do not, and its session is still there. gone: so is its session.
create function tidings._bridges(patience interval default '10 s') returns table (bridge text, pid int, version text, age interval, state text, subscribers jsonb)
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select l.bridge, l.pid, l.version, clock_timestamp() - l.checkpoint_at,
         case when l.checkpoint_at > clock_timestamp() - patience then 'live'
              when exists (select from pg_stat_activity a where a.pid = l.pid and a.backend_start <= l.checkpoint_at) then 'stalled' else 'gone' end,
         l.subscribers
    from tidings._listener l where l.checkpoint_at > clock_timestamp() - interval '1 minute'
      or exists (select from pg_stat_activity a where a.pid = l.pid and a.backend_start <= l.checkpoint_at and a.application_name = 'tidings listener');
end;
comment on function tidings._bridges(interval) is 'Bridges and whether their checkpoints come.';

create function tidings._doctor_listeners(patience interval default '10 s') returns setof tidings._finding
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select 'warning', 'no_listener', '', 'no bridge listens: events wait in the log'
           || coalesce('; the last one was heard of at ' || (select tidings._moment(max(l.checkpoint_at)) from tidings._listener l), ''), '-- tidings serve'
   where not exists (select from tidings._bridges(patience) b where b.state <> 'gone')
  union all
  select 'error', 'stalled_listener', b.bridge,
         format('no checkpoint of bridge %s has come back for %s: its subscribers receive nothing, and it may hold up vacuum and the NOTIFY queue',
                b.bridge, tidings._ago(b.age)),
         format('select pg_terminate_backend(%s);  -- the bridge connects anew and loses nothing', b.pid)
    from tidings._bridges(patience) b where b.state = 'stalled'
  union all
  select 'info', 'listener_gone', b.bridge, format('bridge %s ended or lost its connection %s ago', b.bridge, tidings._ago(b.age)),
         'select * from tidings.listeners;'
    from tidings._bridges(patience) b where b.state = 'gone' and exists (select from tidings._bridges(patience) o where o.state <> 'gone')
  union all
  select 'info', 'versions', '', 'bridges of several versions listen: ' || v.said, '-- update the older ones: ' || v.said
    from (select string_agg(format('%s (%s)', b.version, b.bridge), ', ' order by b.version, b.bridge) as said
            from tidings._bridges(patience) b where b.state <> 'gone' having count(distinct b.version) > 1) v;
end;
comment on function tidings._doctor_listeners(interval) is 'Findings about the bridges.';

-- The tail of the queue is held by a listener in a transaction, of any database. Which sessions listen only they know; one that does
-- not read its socket looks idle, and its transaction tells it apart.
create function tidings._doctor_queue(usage float8 default pg_notification_queue_usage()) returns setof tidings._finding
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select case when usage > 0.5 then 'error' else 'warning' end, 'queue_use', '',
         format('the NOTIFY queue is %s %% full; when it is full, each commit that notifies fails', round((usage * 100)::numeric)),
         coalesce(string_agg(tidings._terminate(a), E'\n' order by a.xact_start),
                  '-- PostgreSQL''s log names the session: "The server process with PID … is among those with the oldest transactions"')
    from (select a.* from pg_stat_activity a
           where a.xact_start < clock_timestamp() - interval '10 s' and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
           order by a.xact_start limit 5) a
   where usage > 0.1 having usage > 0.1;
end;
comment on function tidings._doctor_queue(float8) is 'Findings about the NOTIFY queue.';

-- 7. Transactions ----------------------------------------------------------------------------------------------------

create function tidings._doctor_transactions(older interval default '5 min', prepared_older interval default '1 h') returns setof tidings._finding
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  (select 'warning', case when a.backend_xid is not null then 'long_transaction' else 'idle_in_transaction' end, 'pid ' || a.pid,
          format('a transaction is open for %s (%s): ', tidings._ago(clock_timestamp() - a.xact_start), tidings._session(a))
            || case when a.backend_xid is not null then 'its events are not delivered before it commits, and every resume reads again what was committed meanwhile'
                    else 'it holds up vacuum, retention of what it has read, and the NOTIFY queue if it listens' end,
          format('select pg_terminate_backend(%s);  -- takes back what it has not committed', a.pid)
     from (select * from pg_stat_activity order by xact_start limit 1000) a
    where a.xact_start < clock_timestamp() - older and a.pid <> pg_backend_pid() and coalesce(a.backend_type, '') in ('', 'client backend')
      and (a.backend_xid is not null or a.state like 'idle in transaction%')
    order by a.xact_start limit 20)
  union all
  select 'warning', 'prepared_transaction', x.gid,
         format('transaction %L of %s in database %s is prepared for %s: it holds up vacuum and retention, and every resume reads again what was '
                'committed meanwhile', x.gid, x.owner, x.database, tidings._ago(clock_timestamp() - x.prepared)),
         format('rollback prepared %L;  -- takes it back; or commit prepared: its transaction manager knows. In database %I', x.gid, x.database)
    from pg_prepared_xacts x where x.prepared < clock_timestamp() - prepared_older;
end;
comment on function tidings._doctor_transactions(interval, interval) is 'Findings about transactions that are open for long.';

-- 8. What capture costs ----------------------------------------------------------------------------------------------

-- Rates come from the newest thousand events of a table: whole tables are counted by nobody.
create function tidings._doctor_cost() returns setof tidings._finding
language sql stable set search_path = pg_catalog, pg_temp set enable_sort = off
begin atomic
  select 'info', 'cost', w.relation::text,
         concat_ws('; ', format('capture of %s', w.relation)
           || case when c.calls > 0 then format(' took %s ms a call in %s calls', round((c.ms / c.calls)::numeric, 3), c.calls) else ' has not been measured' end,
           case when e.events > 0 then
             format('about %s events an hour of %s bytes', round(e.events / greatest(extract(epoch from now() - e.since), 1) * 3600), round(e.bytes)) end),
         format('select * from pg_stat_user_functions where schemaname = ''tidings'' and starts_with(funcname, %L);', w.capture)
    from tidings._watch w,
         lateral (select coalesce(sum(f.calls), 0) as calls, sum(f.total_time) as ms
                    from pg_stat_user_functions f where f.schemaname = 'tidings' and starts_with(f.funcname, w.capture)) c,
         lateral (select count(*) as events, min(l.at) as since, avg(coalesce(pg_column_size(l.data), 0)) as bytes
                    from (select at, data from tidings._log where source = tidings._origin(w.relation) order by source desc, eid desc limit 1000) l) e
   where exists (select from pg_class where oid = w.relation) and (c.calls > 0 or e.events > 0);
end;
comment on function tidings._doctor_cost() is 'What capture costs and how much it makes, for each watched table.';

-- 9. doctor ----------------------------------------------------------------------------------------------------------

create function tidings.doctor() returns table (severity text, code text, subject text, message text, fix text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  area  text;
  found tidings._finding[];
  every tidings._finding[] := '{}';
begin
  foreach area in array '{server,rights,dropped,watches,log,listeners,queue,transactions,cost}'::text[] loop
    begin
      execute format('select array_agg(f) from tidings._doctor_%s() f', area) into found;
    exception when others then
      found := array[tidings._unchecked(area, sqlerrm)];
    end;
    every := every || found;
  end loop;
  return query select * from unnest(every) f order by array_position('{error,warning,info}', f.severity), f.code, f.subject;
end $$;
comment on function tidings.doctor() is
  'What is wrong, worst first, each with the SQL that mends it. Changes nothing. No error and no warning: all is well.';

revoke all on all functions in schema tidings from public;
