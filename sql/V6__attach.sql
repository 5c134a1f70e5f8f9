-- Attaching: which triggers a table needs, and the calls by which a DBA watches, pauses and stops.
--
-- Runs:   as the role that calls watch, which must own the table and be a member of the role that owns schema tidings.
-- Reads:  the catalogs.
-- Locks:  SHARE ROW EXCLUSIVE on the table (and its partitions) while a trigger is attached, ACCESS EXCLUSIVE while one is
--         dropped; each is waited for at most 2 s. pause, resume and a change of settings that needs no other trigger take none.
-- Fails:  with a hint, changing nothing. Undo: tidings.unwatch.
--
-- Which triggers a table gets:
--   a plain table    one per operation and statement, with transition tables. They stay silent under
--                    session_replication_role = replica, where one row trigger takes over: a logical-replication apply worker
--                    fires no statement triggers.
--   with children    (inheritance) the same on each child, for what is written to the child directly.
--   partitioned      one row trigger, which PostgreSQL clones to every partition, also to those attached later: statement
--                    triggers would miss what is written to a partition directly.
--   with truncate    one before TRUNCATE on each table that holds rows: afterwards nobody knows whose they were.

-- Triggers -----------------------------------------------------------------------------------------------------------

-- The triggers that a watch needs. bits is what pg_trigger.tgtype holds for them.
create function tidings._triggers(w tidings._watch)
returns table (relation regclass, name text, op text, bits int2, silent boolean, ddl text)
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  with recursive family (relation) as (
    select w.relation::oid
    union
    select i.inhrelid from family f join pg_inherits i on i.inhparent = f.relation
     where not exists (select from tidings._watch other where other.relation = i.inhrelid)
  ), member as (
    select c.oid::regclass as relation, c.relkind, c.relkind = 'p' or c.relispartition as by_row, c.oid = w.relation as top
      from family f join pg_class c on c.oid = f.relation where c.relkind in ('r', 'p')
  ), row_ops as (
    select string_agg(o, ' or ' order by o) as ops, sum(case o when 'insert' then 4 when 'delete' then 8 else 16 end) as bits
      from unnest(w.ops) o where o <> 'truncate' having count(*) > 0
  )
  select m.relation, 'tidings_' || o.op, o.op, case o.op when 'insert' then 4 when 'delete' then 8 else 16 end::int2, true,
         format('after %s on %s referencing %s for each statement when (current_setting(''session_replication_role'') <> ''replica'')', o.op, m.relation,
                case o.op when 'insert' then 'new table as tidings_new' when 'delete' then 'old table as tidings_old'
                          else 'old table as tidings_old new table as tidings_new' end)
    from member m, unnest(w.ops) o (op) where not m.by_row and o.op <> 'truncate'
  union all
  select m.relation, 'tidings_row', 'row', (1 + r.bits)::int2, not m.by_row,
         format('after %s on %s for each row', r.ops, m.relation)
           || case when not m.by_row then ' when (current_setting(''session_replication_role'') = ''replica'')' else '' end
    from member m, row_ops r where m.top or not m.by_row
  union all
  select m.relation, 'tidings_truncate', 'truncate', 34::int2, false, format('before truncate on %s for each statement', m.relation)
    from member m where m.relkind = 'r' and 'truncate' = any (w.ops);
end;
comment on function tidings._triggers(tidings._watch) is 'Triggers that a watch needs on its table, its partitions and its children.';

-- Those that are there, with their state; clones on partitions are left out, since they come and go with their original.
create function tidings._attached(w tidings._watch)
returns table (relation regclass, name text, op text, bits int2, silent boolean, enabled boolean)
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select t.tgrelid::regclass, t.tgname::text, substr(p.proname, length(w.capture) + 1), t.tgtype, t.tgqual is not null,
         t.tgenabled = 'A' and not exists (select from pg_trigger clone where clone.tgfoid = p.oid and clone.tgparentid <> 0 and clone.tgenabled <> 'A')
    from pg_proc p join pg_trigger t on t.tgfoid = p.oid
   where p.pronamespace = 'tidings'::regnamespace and starts_with(p.proname, w.capture) and t.tgparentid = 0;
end;
comment on function tidings._attached(tidings._watch) is 'Triggers of a watch that exist.';

-- Settings of the capture functions. Values must not be spelled by the writer's session; each setting costs some microseconds per
-- statement, so only those are fixed that the table's types ask for.
create function tidings._fixed(w tidings._watch) returns text
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  -- spelled: not as JSON has it but as text, which is what a key or an expression makes of a date, and a range of its bounds
  with recursive used (type, spelled) as (
    select a.atttypid, coalesce(a.attname = any (array[w.tenant, w.audience] || coalesce(w.subject, tidings._key(w.relation))), false)
                       or exists (select from unnest(array[w.tenant, w.audience] || w.subject) s where left(s, 1) = '=')
      from pg_attribute a where a.attrelid = w.relation and a.attnum > 0 and not a.attisdropped
    union
    select part.type, used.spelled or part.spelled
      from used join pg_type t on t.oid = used.type,
           lateral (select t.typbasetype, false
                    union all select t.typelem, false
                    union all select g.rngsubtype, true from pg_range g where t.oid in (g.rngtypid, g.rngmultitypid)
                    union all select a.atttypid, false from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) part (type, spelled)
     where part.type <> 0
  ), types (name, spelled) as (
    select distinct u.type::regtype::text, u.spelled from used u
  )
  select 'set search_path = pg_catalog, pg_temp set client_min_messages = warning set timezone = ''UTC'''
    || case when bool_or(name = 'bytea') then ' set bytea_output = hex' else '' end
    || case when bool_or(name in ('real', 'double precision', 'circle', 'path', 'polygon')) then ' set extra_float_digits = 1' else '' end
    || case when bool_or(name = 'interval') then ' set intervalstyle = postgres' else '' end
    || case when bool_or(spelled and name ~ '^(date|timestamp)') then ' set datestyle = ''ISO, YMD''' else '' end
    from types;
end;
comment on function tidings._fixed(tidings._watch) is 'SET clauses of a capture function.';

create function tidings._altered(w tidings._watch) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
return (w.known_of, w.known, w.name) is distinct from (w.relation::oid, tidings._known(w.relation), w.relation::text)
  -- By their full names, and what they should begin with computed once: bridges ask this of every watch.
  or exists (select from pg_proc p where p.pronamespace = 'tidings'::regnamespace and p.proname = any (array(select (w.capture || o)::name from unnest(w.ops || array['row']) o))
                and not starts_with(p.prosrc, (select E'\n-- ' || tidings._fixed(w) || E'\n')));
comment on function tidings._altered(tidings._watch) is 'Whether a table is no longer as its capture functions know it: columns, their types, its name.';

-- Writes the capture functions of a watch where they differ, as the owner of schema tidings. Takes no lock on the table.
create function tidings._compile(w tidings._watch) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  owner name := (select rolname from pg_roles r join pg_namespace n on n.nspowner = r.oid where n.nspname = 'tidings');
  fixed text := tidings._fixed(w);
  body  text;
  f     record;
begin
  for f in
    select distinct t.op, w.capture || t.op as name, p.prosrc, pg_get_userbyid(p.proowner) as owner
      from tidings._triggers(w) t left join pg_proc p on p.pronamespace = 'tidings'::regnamespace and p.proname = w.capture || t.op
  loop
    body := format(E'\n-- %s', fixed) || tidings._body(w, f.op);   -- so that they differ when a column's type asks for other settings
    continue when f.prosrc = body and f.owner = owner;
    -- The text goes in as a literal: whatever a name holds, it cannot end it.
    execute format('create or replace function tidings.%I() returns trigger language plpgsql security definer %s as %L', f.name, fixed, body);
    execute format('revoke all on function tidings.%I() from public', f.name);
    execute format('comment on function tidings.%I() is %L', f.name,
      'Captures ' || case f.op when 'row' then 'single rows' else f.op end || ' on ' || w.relation || '; generated by tidings.watch.');
    if f.owner is distinct from owner and current_user <> owner then
      execute format('alter function tidings.%I() owner to %I', f.name, owner);
    end if;
  end loop;
end $$;
comment on function tidings._compile(tidings._watch) is 'Creates or replaces the capture functions of a watch.';

-- Brings triggers in line with the settings. One that is there as it should be is left alone: replacing it takes a lock that has
-- taken sites down.
create function tidings._attach(w tidings._watch) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  t record;
begin
  for t in
    select a.* from tidings._attached(w) a
     where not exists (select from tidings._triggers(w) d where (d.relation, d.name, d.op) = (a.relation, a.name, a.op))
  loop
    execute format('drop trigger %I on %s', t.name, t.relation);
  end loop;
  for t in
    select d.*, a.enabled, (d.bits, d.silent) is distinct from (a.bits, a.silent) as differs
      from tidings._triggers(w) d left join tidings._attached(w) a on (a.relation, a.name, a.op) = (d.relation, d.name, d.op)
     order by d.relation::oid, d.name
  loop
    if t.differs then
      execute format('create or replace trigger %I %s execute function tidings.%I()', t.name, t.ddl, w.capture || t.op);
      execute format('comment on trigger %I on %s is %L', t.name, t.relation, 'Sends changes to tidings; remove it with tidings.unwatch.');
    end if;
    if t.differs or not t.enabled then
      execute format('alter table %s enable always trigger %I', t.relation, t.name);
    end if;
  end loop;
  for t in
    select p.proname from pg_proc p
     where p.pronamespace = 'tidings'::regnamespace and starts_with(p.proname, w.capture)
       and not exists (select from tidings._triggers(w) d where w.capture || d.op = p.proname)
  loop
    execute format('drop function tidings.%I()', t.proname);
  end loop;
end $$;
comment on function tidings._attach(tidings._watch) is 'Creates, enables and drops triggers until they are those that the watch needs.';

-- Calls --------------------------------------------------------------------------------------------------------------

-- One row of tidings.watches.
create function tidings._described(w tidings._watch)
returns table (
  "table" regclass, tenant text, columns text[], except_columns text[], ops text[], only_changed text[], subject text[], type text, audience text,
  notify boolean, strict boolean, watched_at timestamptz, paused_at timestamptz, status text, triggers text[], last_event_at timestamptz,
  null_tenant_rows bigint, failures bigint)
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select w.relation, w.tenant, w.columns, w.except_columns, w.ops, w.only_changed, w.subject, w.type, w.audience,
         w.notify, w.strict, w.watched_at, w.paused_at,
         case when not exists (select from pg_class c where c.oid = w.relation) then 'table dropped'
              when exists (select from tidings._triggers(w) d left join tidings._attached(w) a
                             on (a.relation, a.name, a.op, a.bits, a.silent, a.enabled) = (d.relation, d.name, d.op, d.bits, d.silent, true)
                            where a.name is null) then 'triggers missing'
              when w.paused_at is not null then 'paused'
              when tidings._altered(w) then 'table altered'
              else 'active' end,
         (select array_agg(distinct a.name order by a.name) from tidings._attached(w) a where a.enabled),
         (select l.at from tidings._log l where l.source = tidings._origin(w.relation) order by l.source desc, l.eid desc limit 1),
         (select coalesce(sum(m.rows), 0) from tidings._missed m where m.relation in (select tidings._family(w.relation)) and m.reason = 'null_tenant')::bigint,
         (select coalesce(sum(m.rows), 0) from tidings._missed m where m.relation in (select tidings._family(w.relation)) and m.reason <> 'null_tenant')::bigint;
end;
comment on function tidings._described(tidings._watch) is 'One row of tidings.watches.';

create view tidings.watches as select d.* from tidings._watch w, lateral tidings._described(w) d;
comment on view tidings.watches is 'What is watched: settings, state, enabled triggers, newest event in the log, and of the last 30 days the rows skipped for a NULL tenant and failed captures.';
comment on column tidings.watches.status is 'active, paused, triggers missing (or disabled), table altered, table dropped; tidings.doctor() says what to do.';

create function tidings.watch(
  "table" regclass, tenant text, columns text[] default null, except_columns text[] default null,
  ops text[] default '{insert,update,delete}', only_changed text[] default null, subject text[] default null, type text default null,
  audience text default null, notify boolean default true, strict boolean default false
) returns setof tidings.watches
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
#variable_conflict use_column
declare
  w tidings._watch;
begin
  perform tidings._refuse("table", tenant, subject || audience, columns || except_columns || only_changed, ops, type);
  select * into w from tidings._watch where relation = "table";
  w.relation := "table";
  w.capture := coalesce(w.capture, '_' || left(regexp_replace((select relname from pg_class where oid = "table"), '[^A-Za-z0-9_]', '_', 'g'), 30)
                                       || '_' || left(md5(random()::text), 8) || '_');
  w.tenant := tenant;
  w.columns := columns;
  w.except_columns := except_columns;
  w.ops := array(select o from unnest(array['insert', 'update', 'delete', 'truncate']) o where o = any (ops));
  w.only_changed := only_changed;
  w.subject := subject;
  w.type := coalesce(type, (select relname from pg_class where oid = "table"));
  w.audience := audience;
  w.notify := notify;
  w."strict" := "strict";
  w.watched_at := coalesce(w.watched_at, now());
  w.name := "table"::text;
  w.known := tidings._known("table");
  w.known_of := "table";
  perform tidings._try(w);
  if current_setting('transaction_read_only')::boolean then
    return query select * from tidings._described(w);   -- a dry run
    return;
  end if;
  perform pg_advisory_xact_lock(hashtext('tidings.watch'), "table"::oid::int);
  insert into tidings._watch select w.*
    on conflict (relation) do update set tenant = excluded.tenant, columns = excluded.columns, except_columns = excluded.except_columns,
      ops = excluded.ops, only_changed = excluded.only_changed, subject = excluded.subject, type = excluded.type,
      audience = excluded.audience, notify = excluded.notify, strict = excluded.strict, name = excluded.name, known = excluded.known,
      known_of = excluded.known_of
    returning * into w;
  perform tidings._compile(w);
  perform tidings._attach(w);
  return query select * from tidings._described(w);
end $$;
comment on function tidings.watch(regclass, text, text[], text[], text[], text[], text[], text, text, boolean, boolean) is
  'Start watching a table, or change how; safe to repeat. tenant and audience are a column or an SQL expression after =. Returns the settings in force. In a read-only transaction: a dry run.';

create function tidings._refuse(relation regclass, tenant text, settings text[], columns text[], ops text[], type text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  t    pg_class := (select t from pg_class t where t.oid = relation);
  near text;
begin
  if relation is null then
    raise exception 'tidings.watch: the table is NULL' using errcode = 'invalid_parameter_value', hint = 'Name it: tidings.watch(''public.orders'', …).';
  elsif t.relkind not in ('r', 'p') then
    raise exception 'tidings.watch: % is not a table', relation using errcode = 'wrong_object_type',
      hint = 'Watch the tables behind a view; foreign tables have no transition tables.';
  elsif t.relpersistence = 't' or t.relnamespace in ('tidings'::regnamespace, 'pg_catalog'::regnamespace) then
    raise exception 'tidings.watch: % cannot be watched', relation using errcode = 'wrong_object_type',
      hint = 'Temporary tables, system catalogs and tables of schema tidings are nobody''s events.';
  elsif coalesce(tenant, '') in ('', '=') then
    raise exception 'tidings.watch: tenant must name a column or be an expression after =' using errcode = 'invalid_parameter_value',
      hint = 'For example tenant => ''tenant_id'', or tenant => ''=(select p.tenant_id from public.posts p where p.id = post_id)''.';
  elsif not coalesce(ops, '{}') <@ '{insert,update,delete,truncate}' or coalesce(ops, '{}') = '{}' then
    raise exception 'tidings.watch: ops must be some of insert, update, delete, truncate, not %', ops using errcode = 'invalid_parameter_value',
      hint = 'For example ops => ''{insert,update}''.';
  elsif octet_length(coalesce(type, t.relname)) > 100 or coalesce(type, t.relname) ~ '[[:cntrl:],]' or type = '' then
    raise exception 'tidings.watch: type must be 1 to 100 bytes without commas or control characters' using
      errcode = 'invalid_parameter_value', hint = 'Pass type => ''a-plain-name''; without it the table''s name is used.';
  end if;
  perform tidings._require_columns(relation, columns || array(select s from unnest(tenant || settings) s where left(s, 1) <> '='));
  select w.name into near from tidings._watch w, pg_partition_ancestors(relation) a where w.relation = a and a <> relation;
  if near is not null then
    raise exception 'tidings.watch: % is a partition of %, which is watched already', relation, near using errcode = 'object_in_use',
      hint = 'Its rows are captured with the rest; there is nothing to do.';
  end if;
  select w.name into near from tidings._watch w, pg_partition_tree(relation) p where w.relation = p.relid and p.relid <> relation;
  if near is not null then
    raise exception 'tidings.watch: %, a partition of %, is watched by itself', near, relation using errcode = 'object_in_use',
      hint = format('First select tidings.unwatch(%L).', near);
  end if;
end $$;
comment on function tidings._refuse(regclass, text, text[], text[], text[], text) is 'What tidings.watch does not take, with hints.';

-- Runs the compiled SQL over no rows, as the role that it will run as, so that a wrong expression, or a table that this role may not
-- read, is refused by watch and not met by a writer.
create function tidings._try(w tidings._watch) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  none   text := format('(select (null::%s).* limit 0)', w.relation);
  op     text;
  source text;
begin
  foreach op in array w.ops loop
    -- Out here its own refusals keep their hints.
    source := case op when 'truncate' then tidings._truncated_sql(w, w.relation) else tidings._changes_sql(w, op, none, none) end;
    begin
      execute 'explain select ' || source;
    exception
      when lock_not_available then
        raise;
      when insufficient_privilege then
        raise exception 'tidings.watch: the owner of schema tidings, %, may not read what the settings of % need: %', current_user, w.relation, sqlerrm
          using errcode = 'insufficient_privilege', hint = (
            select case when has_schema_privilege(n.oid, 'usage') then format('Grant it: grant select on <that table> to %I;', current_user)
                        else format('Grant it: grant usage on schema %I to %I;', n.nspname, current_user) end
              from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = w.relation);
      when others then
        raise exception 'tidings.watch: the settings do not work on %: %', w.relation, sqlerrm using errcode = sqlstate,
          hint = 'Expressions see the row''s columns and nothing of search_path: write other tables with their schema.';
    end;
  end loop;
end $$;
comment on function tidings._try(tidings._watch) is 'Refuses settings whose SQL does not run.';

create function tidings.unwatch("table" regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  w tidings._watch;
begin
  perform pg_advisory_xact_lock(hashtext('tidings.watch'), "table"::oid::int);
  delete from tidings._watch where relation = "table" returning * into w;
  if w.relation is null then
    raise notice 'tidings.unwatch: % was not watched', "table";
    return;
  end if;
  w.ops := '{}';
  perform tidings._attach(w);
end $$;
comment on function tidings.unwatch(regclass) is 'Stop watching a table: removes its triggers and capture functions; logged events stay until retention.';

create function tidings.pause("table" regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform tidings._set_paused("table", clock_timestamp());
end $$;
comment on function tidings.pause(regclass) is
  'Stop capturing a table at once, without waiting for any lock: what is written until tidings.resume makes no event.';

create function tidings.resume("table" regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform tidings._set_paused("table", null);
end $$;
comment on function tidings.resume(regclass) is 'Go on capturing a table after tidings.pause.';

-- Replaces the bodies of the capture functions: unlike ALTER TABLE … DISABLE TRIGGER that waits for nobody.
create function tidings._set_paused(relation regclass, at timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  w tidings._watch;
begin
  perform pg_advisory_xact_lock(hashtext('tidings.watch'), relation::oid::int);
  update tidings._watch t set paused_at = case when at is not null then coalesce(t.paused_at, at) end
   where t.relation = _set_paused.relation returning * into w;
  if w.relation is null then
    raise exception 'table % is not watched', relation using errcode = 'undefined_object', hint = 'select * from tidings.watches lists those that are.';
  end if;
  perform tidings._compile(w);
end $$;
comment on function tidings._set_paused(regclass, timestamptz) is 'Pauses or resumes a watch.';

-- Keeps watches in line with their tables, without any lock on these: follows what was altered, forgets what was dropped. Called by
-- bridges now and then. Returns what it did.
create function tidings._refresh() returns setof text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  w tidings._watch;
  f name;
begin
  if not pg_try_advisory_xact_lock(hashtext('tidings._refresh')) then
    return;
  end if;
  for w in select * from tidings._watch loop
    if not exists (select from pg_class where oid = w.relation) then
      for f in select p.proname from pg_proc p where p.pronamespace = 'tidings'::regnamespace and starts_with(p.proname, w.capture) loop
        execute format('drop function tidings.%I()', f);
      end loop;
      delete from tidings._watch t where t.capture = w.capture;
      return next format('%s was dropped and is no longer watched', w.name);
    elsif tidings._altered(w) then
      begin
        perform pg_advisory_xact_lock(hashtext('tidings.watch'), w.relation::oid::int);
        select * into w from tidings._watch t where t.capture = w.capture;
        w := tidings._adapted(w);
        w.name := w.relation::text;
        w.known := tidings._known(w.relation);
        w.known_of := w.relation;
        perform tidings._compile(w);
        update tidings._watch t set tenant = w.tenant, columns = w.columns, except_columns = w.except_columns, only_changed = w.only_changed,
          subject = w.subject, audience = w.audience, name = w.name, known = w.known, known_of = w.known_of where t.capture = w.capture;
        return next format('%s was altered; its watch follows', w.name);
      exception when others then
        null;   -- the settings no longer fit: doctor says so, and writers go on
      end;
    end if;
  end loop;
end $$;
comment on function tidings._refresh() is 'Follows tables that were altered or dropped after they were watched.';

-- Tables that are watched already ------------------------------------------------------------------------------------

-- Their functions are replaced here, which their triggers take up at once. The row trigger is attached by the next tidings.watch, since
-- it takes a lock; tidings.doctor() reminds of it.
do $$
declare
  w tidings._watch;
begin
  for w in select * from tidings._watch where exists (select from pg_class where oid = relation) loop
    perform tidings._compile(w);
  end loop;
end $$;

revoke all on all functions in schema tidings from public;
