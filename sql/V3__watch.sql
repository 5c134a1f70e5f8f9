-- Watching tables: tidings.watch compiles one set-based capture function per operation and attaches it as a trigger.
--
-- Runs:   as the role that calls watch, which must own the table (or hold TRIGGER on it) and schema tidings.
-- Reads:  the catalogs. Locks: SHARE ROW EXCLUSIVE on the table while a trigger is attached, for at most 2 s of waiting.
-- Fails:  with a hint, changing nothing. Undo: tidings.unwatch.

create table tidings._watch (
  relation       regclass primary key,
  capture        text    not null unique,   -- prefix of the generated functions' names
  tenant         text    not null,
  columns        text[],
  except_columns text[],
  ops            text[]  not null,
  only_changed   text[],
  subject        text,
  type           text    not null,
  audience       text,
  notify         boolean not null,
  strict         boolean not null,
  watched_at     timestamptz not null default now()
);
comment on table tidings._watch is 'Settings of watched tables, as given to tidings.watch.';

create function tidings._columns(relation regclass) returns text[]
language sql stable set search_path = pg_catalog, pg_temp
return array(select attname::text from pg_attribute where attrelid = relation and attnum > 0 and not attisdropped order by attnum);
comment on function tidings._columns(regclass) is 'Column names in table order.';

create function tidings._require_columns(relation regclass, parameter text, names text[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  missing text := (select n from unnest(names) n where n <> all (tidings._columns(relation)) limit 1);
begin
  if missing is not null then
    raise exception 'tidings.watch: table % has no column "%" (parameter %)', relation, missing, parameter using
      errcode = 'undefined_column', hint = 'Its columns are: ' || array_to_string(tidings._columns(relation), ', ') || '.';
  end if;
end $$;
comment on function tidings._require_columns(regclass, text, text[]) is 'Refuses a column that the table does not have.';

-- A setting is a column's name, or after "=" an SQL expression over the row. Returns SQL text over an alias r.
create function tidings._expression(relation regclass, parameter text, setting text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if setting is null then
    return 'null::text';
  elsif left(setting, 1) = '=' then
    return '((' || substr(setting, 2) || ')::text)';
  end if;
  perform tidings._require_columns(relation, parameter, array[setting]);
  return format('r.%I::text', setting);
end $$;
comment on function tidings._expression(regclass, text, text) is 'SQL of a column or of an =expression.';

-- The event's subject: the given setting, or the primary key, composite keys joined with a comma; null without a key.
create function tidings._subject(relation regclass, setting text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if setting is not null then
    return tidings._expression(relation, 'subject', setting);
  end if;
  return (select case when count(*) > 0 then 'concat_ws('','', ' || string_agg(format('r.%I', a.attname), ', ' order by k.n) || ')' else 'null::text' end
            from pg_index i, unnest(i.indkey::int2[]) with ordinality k (attnum, n), pg_attribute a
           where i.indrelid = relation and i.indisprimary and a.attrelid = relation and a.attnum = k.attnum);
end $$;
comment on function tidings._subject(regclass, text) is 'SQL of an event''s subject.';

-- The select that turns a statement's transition tables into changes. row_number pairs old with new: both tables are
-- filled in the same order, and a primary key may itself have been updated. Rows of one statement have no order of their own. *<> compares row images, so it works for
-- every type, also those without an equality operator. Columns are taken from the transition table by name (c1, c2, …):
-- PostgreSQL reads the wrong one out of its whole row once the table has a dropped column.
create function tidings._source(w tidings._watch, op text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  relation text[] := tidings._columns(w.relation);
  shown    text[] := array(select c from unnest(relation) with ordinality u (c, n)
                            where c = any (coalesce(w.columns, relation)) and c <> all (coalesce(w.except_columns, '{}')) order by n);
  compared text[] := shown;
  data     text   := case when shown = relation then 'row_to_json(%1$s.whole)'
                          else '(select row_to_json(x) from (select '
                            || (select string_agg(format('%%1$s.c%s as %s', array_position(relation, c), replace(quote_ident(c), '%', '%%')), ', ') from unnest(shown) c)
                            || ') x)' end;
  one      text   := format('select %s as tenant, %s as audience, %s as subject, r as whole, %s',
                       tidings._expression(w.relation, 'tenant', w.tenant), tidings._expression(w.relation, 'audience', w.audience),
                       tidings._subject(w.relation, w.subject),
                       (select string_agg(format('r.%I as c%s', c, n), ', ' order by n) from unnest(relation) with ordinality u (c, n)));
  differ   text;
  names    text;
begin
  if op <> 'update' then
    return format('select t.tenant, t.audience, %L as type, t.subject, null::text as changed, %s as data from (%s from %s r) t',
      w.type || '.' || op || case op when 'insert' then 'ed' else 'd' end, format(data, 't'), one,
      case op when 'insert' then 'tidings_new' else 'tidings_old' end);
  end if;
  select string_agg(format('(case when row(n.c%1$s)::record *<> row(o.c%1$s)::record then %2$L end)', array_position(relation, c), c), ', ')
    into names from unnest(compared) c;
  select string_agg(format('row(n.c%1$s)::record *<> row(o.c%1$s)::record', array_position(relation, c)), ' or ') into differ
    from unnest(coalesce(w.only_changed, compared)) c;
  if coalesce(w.columns, w.except_columns, w.only_changed) is null then
    differ := 'n.whole::record *<> o.whole::record';   -- columns that are added later count too
  end if;
  return format($q$
    select e.tenant, e.audience, e.type, e.subject, e.changed, e.data
      from (%1$s, row_number() over () as i from tidings_new r) n
      join (%1$s, row_number() over () as i from tidings_old r) o using (i),
           lateral (select (n.tenant, n.audience) is distinct from (o.tenant, o.audience) as moved) m,
           lateral (
             select n.tenant, n.audience, %2$L as type, n.subject, nullif(concat_ws(',', %5$s), '') as changed, %6$s as data where not moved and (%8$s)
             union all
             select o.tenant, o.audience, %3$L, o.subject, null, %7$s where moved and o.tenant is not null
             union all
             select n.tenant, n.audience, %4$L, n.subject, null, %6$s where moved) e$q$,
    one, w.type || '.updated', w.type || '.deleted', w.type || '.inserted', names, format(data, 'n'), format(data, 'o'), differ);
end $$;
comment on function tidings._source(tidings._watch, text) is 'SQL that reads transition tables as changes.';

-- Text of the capture function of one operation. A small statement (up to 64 events) is computed inside an exception block
-- that writes nothing, so it costs no subtransaction number; a larger one is written inside the block, in one piece, and
-- goes out as a single reference. What fails is counted without its data and never reaches the writer, unless strict.
create function tidings._capture_sql(w tidings._watch, op text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  body   text;
  source text := '/' || (select n.nspname || '/' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = w.relation);
  guard  text := case when w."strict" then '' else format(
    E'\n  exception when others then\n    insert into tidings._missed (relation, op, reason, rows) values (%s, %L, sqlstate, 1);\n    raise warning ''tidings: a change of %s made no event (SQLSTATE %%)'', sqlstate;\n    return null;',
    w.relation::oid, op, replace(replace(w.relation::text, '''', ''''''), '%', '%%')) end;
begin
  body := format($f$
-- Generated by tidings.watch; change it by calling watch again.
#variable_conflict use_column
declare
  changes tidings._change[];
begin
  begin
    changes := array(select row(s.*)::tidings._change from (%2$s) s limit 65);%3$s
  end;
  if cardinality(changes) between 1 and 64 then
    perform tidings._record(%4$s, %5$L, %6$L, %7$L, changes);
  elsif cardinality(changes) > 64 then
    declare
      seen   pg_snapshot := pg_current_snapshot();
      mine   xid8        := pg_current_xact_id();
      slot   smallint    := (select last_value from tidings._slot);
      logged record;
    begin
      with numbered as (
        select nextval('tidings._eid') as eid, s.* from (%2$s) s where s.tenant is not null
      ), rows as (
        insert into tidings._log (eid, xid, head, snap, nonce, slot, at, tenant, audience, type, source, subject, changed, data)
        select eid, mine, first_value(eid) over w, case when eid = first_value(eid) over w then seen end,
               ((random() * 4294967295)::bigint - 2147483648)::int, slot, clock_timestamp(), tenant, audience, type, %6$L, subject, changed,
               case when octet_length(data::text) <= 8388608 then data end
          from numbered window w as (order by eid rows unbounded preceding)
        returning eid
      )
      select min(eid) as first, max(eid) as last into logged from rows;
      insert into tidings._missed (relation, op, reason, rows)
        select %4$s, %5$L, 'null_tenant', count(*) from (%2$s) s where s.tenant is null having count(*) > 0;
      if %7$L::boolean and logged.first is not null then
        perform pg_notify((select name from tidings._channel), tidings._reference(mine, logged.first, logged.last));
      end if;%3$s
    end;
  end if;
  return null;
end $f$, w.capture || op, tidings._source(w, op), guard, w.relation::oid, op, source, w.notify);
  -- The text goes in as a literal: whatever a name holds, it cannot end it.
  return format($f$
create or replace function tidings.%1$I() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set client_min_messages = warning as %2$L;
revoke all on function tidings.%1$I() from public;
comment on function tidings.%1$I() is %3$L;
$f$, w.capture || op, body, 'Capture of ' || op || ' on ' || w.relation || ', generated by tidings.watch.');
end $$;
comment on function tidings._capture_sql(tidings._watch, text) is 'SQL that creates a capture function.';

create view tidings.watches as
  select w.relation as "table", w.tenant, w.columns, w.except_columns, w.ops, w.only_changed, w.subject, w.type, w.audience, w.notify, w.strict, w.watched_at,
         (select array_agg(t.tgname::text order by t.tgname) from pg_trigger t
           where t.tgrelid = w.relation and t.tgname like 'tidings\_%' and t.tgenabled <> 'D') as triggers,
         (select coalesce(sum(m.rows), 0) from tidings._missed m where m.relation = w.relation and m.reason = 'null_tenant')::bigint as null_tenant_rows,
         (select coalesce(sum(m.rows), 0) from tidings._missed m where m.relation = w.relation and m.reason <> 'null_tenant')::bigint as failures
    from tidings._watch w;
comment on view tidings.watches is 'What is watched: settings, enabled triggers, rows skipped for a NULL tenant and failed captures of the last 30 days.';

create function tidings.watch(
  "table" regclass, tenant text, columns text[] default null, except_columns text[] default null,
  ops text[] default '{insert,update,delete}', only_changed text[] default null, subject text default null, type text default null,
  audience text default null, notify boolean default true, strict boolean default false
) returns setof tidings.watches
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  w    tidings._watch;
  kind "char" := (select relkind from pg_class where oid = "table");
  name text   := (select relname from pg_class where oid = "table");
  op   text;
begin
  if kind not in ('r', 'p') then
    raise exception 'tidings.watch: % is not a table', "table" using errcode = 'wrong_object_type',
      hint = 'Watch the tables behind a view; foreign tables have no transition tables.';
  elsif coalesce(tenant, '') in ('', '=') then
    raise exception 'tidings.watch: tenant must name a column or be an expression after =' using errcode = 'invalid_parameter_value',
      hint = 'For example tenant => ''tenant_id'', or tenant => ''=(select p.tenant_id from public.posts p where p.id = post_id)''.';
  elsif not coalesce(ops, '{}') <@ '{insert,update,delete}' or coalesce(ops, '{}') = '{}' then
    raise exception 'tidings.watch: ops must be some of insert, update, delete, not %', ops using errcode = 'invalid_parameter_value';
  elsif octet_length(coalesce(type, name)) > 100 or coalesce(type, name) ~ '[[:cntrl:],]' then
    raise exception 'tidings.watch: type must be at most 100 bytes without commas or control characters' using
      errcode = 'invalid_parameter_value', hint = 'Pass type => ''a-plain-name''; without it the table''s name is used.';
  end if;
  perform tidings._require_columns("table", 'columns', columns);
  perform tidings._require_columns("table", 'except_columns', except_columns);
  perform tidings._require_columns("table", 'only_changed', only_changed);

  perform pg_advisory_xact_lock(hashtext('tidings.watch'), "table"::oid::int);
  insert into tidings._watch as was (relation, capture, tenant, columns, except_columns, ops, only_changed, subject, type, audience, notify, strict)
    values ("table", '_' || left(regexp_replace(name, '[^A-Za-z0-9_]', '_', 'g'), 30) || '_' || left(md5(random()::text), 8) || '_',
            tenant, columns, except_columns, ops, only_changed, subject, coalesce(type, name), audience, notify, strict)
    on conflict (relation) do update set tenant = excluded.tenant, columns = excluded.columns, except_columns = excluded.except_columns,
      ops = excluded.ops, only_changed = excluded.only_changed, subject = excluded.subject, type = excluded.type,
      audience = excluded.audience, notify = excluded.notify, strict = excluded.strict
    returning * into w;

  foreach op in array array['insert', 'update', 'delete'] loop
    if op = any (w.ops) then
      perform tidings._try_capture(w, op);
      execute tidings._capture_sql(w, op);
      perform tidings._attach(w, op);
    else
      execute format('drop trigger if exists %I on %s', 'tidings_' || op, "table");
      execute format('drop function if exists tidings.%I()', w.capture || op);
    end if;
  end loop;
  return query select * from tidings.watches v where v."table" = "watch"."table";
end $$;
comment on function tidings.watch(regclass, text, text[], text[], text[], text[], text, text, text, boolean, boolean) is
  'Start watching a table, or change how; safe to repeat. tenant and audience are a column or an SQL expression after =. Returns the settings in force.';

-- Runs the compiled select over no rows, so that a wrong expression is refused by watch and not met by a writer.
create function tidings._try_capture(w tidings._watch, op text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  source text := tidings._source(w, op);   -- out here, where its own refusals keep their hints
begin
  execute format('with tidings_new as (select * from %1$s where false), tidings_old as (select * from %1$s where false) select 1 from (%2$s) s',
    w.relation, source);
exception when others then
  raise exception 'tidings.watch: the settings do not work on %: %', w.relation, sqlerrm using errcode = sqlstate,
    hint = 'Expressions see the row''s columns and nothing of search_path: write other tables with their schema.';
end $$;
comment on function tidings._try_capture(tidings._watch, text) is 'Refuses settings whose SQL does not run.';

-- Attaches a trigger only where it is missing: replacing one takes a lock that has taken sites down.
create function tidings._attach(w tidings._watch, op text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  enabled "char" := (select t.tgenabled from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                      where t.tgrelid = w.relation and t.tgname = 'tidings_' || op and p.proname = w.capture || op);
begin
  if enabled is null then
    execute format('create or replace trigger %I after %s on %s referencing %s for each statement execute function tidings.%I()',
      'tidings_' || op, op, w.relation,
      case op when 'insert' then 'new table as tidings_new' when 'delete' then 'old table as tidings_old'
              else 'old table as tidings_old new table as tidings_new' end, w.capture || op);
    execute format('comment on trigger %I on %s is %L', 'tidings_' || op, w.relation, 'Sends changes to tidings; remove with tidings.unwatch.');
  end if;
  if enabled is distinct from 'A' then
    execute format('alter table %s enable always trigger %I', w.relation, 'tidings_' || op);
  end if;
end $$;
comment on function tidings._attach(tidings._watch, text) is 'Creates and enables a capture trigger if it is not there.';

create function tidings.unwatch("table" regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  w  tidings._watch;
  op text;
begin
  delete from tidings._watch where relation = "table" returning * into w;
  if w.relation is null then
    raise notice 'tidings.unwatch: % was not watched', "table";
    return;
  end if;
  foreach op in array array['insert', 'update', 'delete'] loop
    execute format('drop trigger if exists %I on %s', 'tidings_' || op, "table");
    execute format('drop function if exists tidings.%I()', w.capture || op);
  end loop;
end $$;
comment on function tidings.unwatch(regclass) is 'Stop watching a table: removes its triggers and capture functions; logged events stay until retention.';

revoke all on all functions in schema tidings from public;
