-- Watching any table: partitions, inheritance, logical replication, TRUNCATE, and tables that are altered afterwards. Replaces
-- watch, unwatch and the compiler of V3__watch.sql; adds pause, resume, preview and uninstall.
--
-- Runs:   as the role that calls watch, which must own the table and be a member of the role that owns schema tidings.
--         What is generated belongs to the owner of schema tidings and runs as it, inside the writer's transaction.
-- Reads:  the catalogs; for a TRUNCATE that is watched, and for preview, the table.
-- Locks:  SHARE ROW EXCLUSIVE on the table (and its partitions) while a trigger is attached, ACCESS EXCLUSIVE while one is
--         dropped; each is waited for at most 2 s. pause, resume and a change of settings that needs no other trigger take none.
-- Fails:  with a hint, changing nothing. Undo: tidings.unwatch, tidings.uninstall.
--
-- Which triggers a table gets:
--   a plain table    one per operation and statement, with transition tables. They stay silent under
--                    session_replication_role = replica, where one row trigger takes over: a logical-replication apply worker
--                    fires no statement triggers.
--   with children    (inheritance) the same on each child, for what is written to the child directly.
--   partitioned      one row trigger, which PostgreSQL clones to every partition, also to those attached later: statement
--                    triggers would miss what is written to a partition directly.
--   with truncate    one before TRUNCATE on each table that holds rows: afterwards nobody knows whose they were.

drop function tidings.watch(regclass, text, text[], text[], text[], text[], text, text, text, boolean, boolean);
drop view tidings.watches;
drop function tidings.unwatch(regclass), tidings._attach(tidings._watch, text), tidings._try_capture(tidings._watch, text),
  tidings._capture_sql(tidings._watch, text), tidings._source(tidings._watch, text), tidings._subject(regclass, text),
  tidings._expression(regclass, text, text), tidings._require_columns(regclass, text, text[]);

alter table tidings._watch
  alter column subject type text[] using case when subject is not null then array[subject] end,
  add column name text,                -- of the table when it was watched, for messages when it is gone
  add column known jsonb,              -- column names and numbers when it was watched: {"id": 1, …}
  add column known_of oid,             -- of which table those numbers are: a restored dump numbers anew
  add column paused_at timestamptz;
update tidings._watch w set name = (select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = w.relation), known_of = w.relation,
  known = (select jsonb_object_agg(attname, attnum) from pg_attribute where attrelid = w.relation and attnum > 0 and not attisdropped);

-- 1. Names -----------------------------------------------------------------------------------------------------------

-- How many letters must be inserted, deleted or replaced to turn one name into another.
create function tidings._distance(a text, b text) returns int
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  above int[] := array(select generate_series(0, length(b)));
  here  int[];
begin
  for i in 1 .. length(a) loop
    here := array[i];
    for j in 1 .. length(b) loop
      here[j + 1] := least(here[j] + 1, above[j + 1] + 1, above[j] + (substr(a, i, 1) <> substr(b, j, 1))::int);
    end loop;
    above := here;
  end loop;
  return above[length(b) + 1];
end $$;
comment on function tidings._distance(text, text) is 'Edit distance, for "did you mean".';

create function tidings._known(relation regclass) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
return (select jsonb_object_agg(attname, attnum) from pg_attribute where attrelid = relation and attnum > 0 and not attisdropped);
comment on function tidings._known(regclass) is 'Column names and numbers.';

-- Called by capture functions with constants, so that it is computed when PostgreSQL plans and costs a writer nothing: that is why it
-- calls itself immutable. Altering the table makes PostgreSQL plan anew. Without it a column could take the name of another unnoticed.
create function tidings._as_known(relation regclass, known jsonb) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
return not exists (select from jsonb_each_text(known) k where not exists (
         select from pg_attribute a where a.attrelid = relation and a.attname = k.key and a.attnum = k.value::int2 and not a.attisdropped));
comment on function tidings._as_known(regclass, jsonb) is 'Whether a table still has these columns under these names.';

create function tidings._family(relation regclass) returns setof oid
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  with recursive f (oid) as (select relation::oid union select i.inhrelid from f join pg_inherits i on i.inhparent = f.oid) select oid from f;
end;
comment on function tidings._family(regclass) is 'A table with its partitions and children.';

create function tidings._require_columns(relation regclass, names text[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  columns text[] := tidings._columns(relation);
  missing text   := (select n from unnest(names) n where n <> all (columns) limit 1);
  nearest text;
begin
  if missing is not null then
    select c into nearest from unnest(columns) c where tidings._distance(lower(c), lower(missing)) <= 1 + length(missing) / 4
     order by tidings._distance(lower(c), lower(missing)) limit 1;
    raise exception 'table % has no column "%"', relation, missing using errcode = 'undefined_column',
      hint = coalesce('did you mean "' || nearest || '"?', 'Its columns are: ' || array_to_string(columns, ', ') || '.');
  end if;
end $$;
comment on function tidings._require_columns(regclass, text[]) is 'Refuses a column that the table does not have.';

-- What the column that was called so when the table was watched is called now; null when it is gone.
create function tidings._name_now(w tidings._watch, name text) returns text
language sql stable set search_path = pg_catalog, pg_temp
return (select a.attname from pg_attribute a
         where a.attrelid = w.relation and a.attnum > 0 and not a.attisdropped
           and (a.attname = name or w.known_of = w.relation and a.attnum = (w.known ->> name)::int2)
         order by a.attname = name and (w.known ->> name)::int2 is distinct from a.attnum limit 1);
comment on function tidings._name_now(tidings._watch, text) is 'Follows a column that was renamed after its table was watched.';

-- The settings for the table as it is now. What was shown stays shown under its new name; what was kept back stays kept back, under
-- its new name and under its old one, also while there is none of that name. A column that tells who may see an event must be there.
create function tidings._adapted(w tidings._watch) returns tidings._watch
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  now tidings._watch := w;
begin
  now.tenant := case when left(w.tenant, 1) = '=' then w.tenant else coalesce(tidings._name_now(w, w.tenant), w.tenant) end;
  now.audience := case when left(w.audience, 1) = '=' then w.audience else coalesce(tidings._name_now(w, w.audience), w.audience) end;
  now.columns := case when w.columns is not null then
    array(select n from unnest(w.columns) with ordinality u (c, i), tidings._name_now(w, c) n where n is not null order by i) end;
  now.except_columns := case when w.except_columns is not null then
    array(select n from unnest(w.except_columns) c, unnest(array[c, tidings._name_now(w, c)]) n where n is not null group by n order by n) end;
  now.only_changed := nullif(array(select n from unnest(w.only_changed) c, tidings._name_now(w, c) n where n is not null), '{}');
  now.subject := nullif(array(select coalesce(n, c) from unnest(w.subject) with ordinality u (c, i), tidings._name_now(w, c) n
                               where left(c, 1) = '=' or n is not null order by i), '{}');
  return now;
end $$;
comment on function tidings._adapted(tidings._watch) is 'Settings of a watch, following columns renamed or dropped since.';

-- 2. The SQL of a capture --------------------------------------------------------------------------------------------

-- A setting is a column's name, or after "=" an SQL expression over the row. Returns SQL text over an alias r.
create function tidings._expression(relation regclass, setting text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if setting is null then
    return 'null::text';
  elsif left(setting, 1) = '=' then
    return '((' || substr(setting, 2) || ')::text)';
  end if;
  perform tidings._require_columns(relation, array[setting]);
  return format('r.%I::text', setting);
end $$;
comment on function tidings._expression(regclass, text) is 'SQL of a column or of an =expression.';

create function tidings._key(relation regclass) returns text[]
language sql stable set search_path = pg_catalog, pg_temp
return (select array_agg(a.attname::text order by k.n)
          from pg_index i, unnest(i.indkey::int2[]) with ordinality k (attnum, n), pg_attribute a
         where i.indrelid = relation and i.indisprimary and a.attrelid = relation and a.attnum = k.attnum);
comment on function tidings._key(regclass) is 'Columns of the primary key in its order; null without one.';

-- The event's subject: the columns or expressions given, or the primary key; several joined with a comma; null without any.
create function tidings._subject(relation regclass, setting text[]) returns text
language sql stable set search_path = pg_catalog, pg_temp
return (select case when count(*) > 0 then 'nullif(concat_ws('','', ' || string_agg(case when setting is null then format('r.%I', c) else tidings._expression(relation, c) end, ', ' order by n) || '), '''')' else 'null::text' end
          from unnest(coalesce(setting, tidings._key(relation))) with ordinality u (c, n));
comment on function tidings._subject(regclass, text[]) is 'SQL of an event''s subject.';

create function tidings._shown(w tidings._watch) returns text[]
language sql stable set search_path = pg_catalog, pg_temp
return array(select c from unnest(tidings._columns(w.relation)) with ordinality u (c, n)
              where (w.columns is null or c = any (w.columns)) and c <> all (coalesce(w.except_columns, '{}')) order by n);
comment on function tidings._shown(tidings._watch) is 'Columns that events of this watch show.';

-- The select that turns rows into changes; new_rows and old_rows are what to put behind FROM: the transition tables, or one row each.
-- row_number pairs old with new: both transition tables are filled in the same order, and a primary key may itself have been updated. Rows of one statement have no
-- order of their own. *<> compares row images, so it works for every type, also those without an equality operator. Columns are
-- taken by name (c1, c2, …): PostgreSQL reads the wrong one out of a transition table's whole row once the table has a dropped column.
create function tidings._source(w tidings._watch, op text, new_rows text default 'tidings_new', old_rows text default 'tidings_old') returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  relation text[]  := tidings._columns(w.relation);
  shown    text[]  := tidings._shown(w);
  many     boolean := new_rows = 'tidings_new';
  -- Then a column that is added later is shown at once. Not where columns were chosen, nor for a child's rows, whose own columns are not shown.
  whole    boolean := w.columns is null and shown = relation and not exists (select from pg_inherits i join pg_class c on c.oid = i.inhparent
                                                        where i.inhparent = w.relation and c.relkind <> 'p');
  data     text    := case when whole then 'row_to_json(%1$s.whole)' when shown = '{}' then '''{}''::json'
                           else '(select row_to_json(x.*) from (select '
                             || (select string_agg(format('%%1$s.c%s as %s', array_position(relation, c), replace(quote_ident(c), '%', '%%')), ', ') from unnest(shown) c)
                             || ') x)' end;
  one      text    := format('select %s as tenant, %s as audience, %s as subject, r.*::record as whole, %s',
                        tidings._expression(w.relation, w.tenant), tidings._expression(w.relation, w.audience),
                        tidings._subject(w.relation, w.subject),
                        (select string_agg(format('r.%I as c%s', c, n), ', ' order by n) from unnest(relation) with ordinality u (c, n)));
  differ   text;
  names    text;
begin
  if op <> 'update' then
    return format('select t.tenant, t.audience, %L as type, t.subject, null::text as changed, %s as data from (%s from %s r) t',
      w.type || '.' || op || case op when 'insert' then 'ed' else 'd' end, format(data, 't'), one,
      case op when 'insert' then new_rows else old_rows end);
  end if;
  select string_agg(format('(case when row(n.c%1$s)::record *<> row(o.c%1$s)::record then %2$L end)', array_position(relation, c), c), ', ')
    into names from unnest(shown) c;
  select string_agg(format('row(n.c%1$s)::record *<> row(o.c%1$s)::record', array_position(relation, c)), ' or ') into differ
    from unnest(coalesce(w.only_changed, shown)) c;
  if whole and w.only_changed is null then
    differ := 'n.whole::record *<> o.whole::record';   -- columns that are added later count too
  end if;
  return format($q$
    select e.tenant, e.audience, e.type, e.subject, e.changed, e.data
      from (%1$s%11$s from %9$s r) n %12$s join (%1$s%11$s from %10$s r) o %13$s,
           lateral (select (n.tenant, n.audience) is distinct from (o.tenant, o.audience) as moved) m,
           lateral (
             select n.tenant, n.audience, %2$L as type, n.subject, nullif(concat_ws(',', %5$s), '') as changed, %6$s as data where not moved and (%8$s)
             union all
             select o.tenant, o.audience, %3$L, o.subject, null, %7$s where moved and o.tenant is not null
             union all
             select n.tenant, n.audience, %4$L, n.subject, null, %6$s where moved) e$q$,
    one, w.type || '.updated', w.type || '.deleted', w.type || '.inserted', coalesce(names, 'null'), format(data, 'n'), format(data, 'o'),
    coalesce(differ, 'false'), new_rows, old_rows,
    case when many then ', row_number() over () as i' end, case when not many then 'cross' end, case when many then 'using (i)' end);
end $$;
comment on function tidings._source(tidings._watch, text, text, text) is 'SQL that reads rows as changes.';

-- As SQL of an array, for the watch as it is now.
create function tidings._changes_sql(w tidings._watch, op text, new_rows text, old_rows text) returns text
language sql stable set search_path = pg_catalog, pg_temp
return format('array(select row(s.*)::tidings._change from (%s) s limit 65)', tidings._source(w, op, new_rows, old_rows));
comment on function tidings._changes_sql(tidings._watch, text, text, text) is 'SQL of at most 65 changes: one more than is handled one by one.';

-- Whose rows a TRUNCATE is about to remove: one change for each tenant and audience.
create function tidings._truncated_sql(w tidings._watch, relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
return format('array(select row(s.tenant, s.audience, %L, null, null, ''{}'')::tidings._change from (select distinct %s as tenant, %s as audience from only %s r) s)',
  w.type || '.truncated', tidings._expression(w.relation, w.tenant), tidings._expression(w.relation, w.audience), relation);
comment on function tidings._truncated_sql(tidings._watch, regclass) is 'SQL of the changes that a TRUNCATE makes.';

create function tidings._origin(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
return (select '/' || n.nspname || '/' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation);
comment on function tidings._origin(regclass) is 'An event''s source: /schema/table.';

-- Writes a large statement in one piece. The arguments name what holds relation, snapshot, transaction and partition.
create function tidings._bulk_sql(w tidings._watch, op text, "into" text, relation text, seen text, mine text, slot text) returns text
language sql stable set search_path = pg_catalog, pg_temp
return format($q$
      with numbered as (
        select nextval('tidings._eid') as eid, s.* from (%1$s) s where s.tenant is not null
      ), rows as (
        insert into tidings._log (eid, xid, head, snap, nonce, slot, at, tenant, audience, type, source, subject, changed, data)
        select eid, %6$s, first_value(eid) over w, case when eid = first_value(eid) over w then %5$s end,
               ((random() * 4294967295)::bigint - 2147483648)::int, %7$s, clock_timestamp(), tenant, audience, type, %2$L, subject, changed,
               case when octet_length(data::text) <= 8388608 then data end
          from numbered window w as (order by eid rows unbounded preceding)
        returning eid
      ), missed as (
        insert into tidings._missed (relation, op, reason, rows)
        select %4$s, %3$L, 'null_tenant', count(*) from (%1$s) s where s.tenant is null having count(*) > 0
      )
      select min(eid) as first, max(eid) as last %8$s from rows$q$,
  tidings._source(w, op), tidings._origin(w.relation), op, relation, seen, mine, slot, "into");
comment on function tidings._bulk_sql(tidings._watch, text, text, text, text, text, text) is 'SQL that logs all changes of a large statement.';

-- 3. Capture functions -----------------------------------------------------------------------------------------------

create function tidings._miss(relation oid, op text, state text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into tidings._missed (relation, op, reason, rows) values (relation, op, state, 1);
  raise warning 'tidings: a change of % made no event (SQLSTATE %)', relation::regclass, state
    using hint = 'select * from tidings.doctor() tells why.';
end $$;
comment on function tidings._miss(oid, text, text) is 'Counts a change that could not be captured. Holds no row data.';

create function tidings._now(capture text) returns tidings._watch
language sql stable set search_path = pg_catalog, pg_temp
return (select tidings._adapted(w) from tidings._watch w where w.capture = _now.capture);
comment on function tidings._now(text) is 'Settings of a watch for its table as it is now.';

-- The same as _record for row triggers, which are called once for each row of a statement that may have millions: from the 65th event of
-- a transaction on, one notification names all of it (a bridge drops events that it has), and tidings.rows is "many". That setting ends
-- with the transaction, and with a savepoint just as the notification does; it is of no harm if somebody changes it.
create function tidings._record_row(relation oid, op text, origin text, notify boolean, changes tidings._change[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  mine   text := pg_current_xact_id()::text;
  count  text := current_setting('tidings.rows', true);
  number int  := cardinality(changes);
begin
  if split_part(count, ':', 1) = mine and split_part(count, ':', 2) ~ '^[0-9]{1,8}$' then
    number := number + split_part(count, ':', 2)::int;
  end if;
  perform tidings._record(relation, op, origin, notify and number <= 64, changes);
  if number > 64 and notify then
    perform pg_notify((select name from tidings._channel), tidings._reference(mine::xid8, 0, 9223372036854775807));
  end if;
  perform set_config('tidings.rows', mine || ':' || case when number <= 64 then number::text when notify then 'many' else 'silent' end, true);
end $$;
comment on function tidings._record_row(oid, text, text, boolean, tidings._change[]) is 'Writes one row''s changes to the log and notifies; the end of row triggers.';

-- Body of a capture function. A small statement (up to 64 events) is computed inside an exception block that writes nothing, so it costs
-- no subtransaction number; a larger one is written inside the block, in one piece, and goes out as a single reference. What fails is
-- computed once more by SQL compiled for the table as it is now: it may have been altered. What fails then is counted without its data
-- and never reaches the writer, unless strict.
create function tidings._body(w tidings._watch, op text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  origin  text := tidings._origin(w.relation);
  guard   text := case when w."strict" then '' else format(E'\n  exception when others then\n    perform tidings._miss(tg_relid, %L, sqlstate);\n    return null;', op) end;
  -- Naming the table makes PostgreSQL plan anew when the table is altered; new and old alone would not. By its number, since it may be renamed.
  named   text := format('%L::regclass', w.relation::oid);
  new_row text := format('(select new.* where %s is not null)', named);
  old_row text := format('(select old.* where %s is not null)', named);
  altered text := format('not tidings._as_known(%s, %L)', named, w.known);
  now_row text := format('''select '' || tidings._changes_sql(tidings._now(%L), lower(tg_op), ''(select ($1).*)'', ''(select ($2).*)'')', w.capture);
begin
  if w.paused_at is not null then
    return E'\n-- Paused by tidings.pause; tidings.resume brings it back.\nbegin\n  return null;\nend ';
  elsif op = 'truncate' then
    return format($f$
-- Generated by tidings.watch; change it by calling watch again.
declare
  changes tidings._change[];
begin
  begin
    execute 'select ' || tidings._truncated_sql(tidings._now(%1$L), tg_relid) into changes;%2$s
  end;
  if cardinality(changes) > 0 then
    perform tidings._record_row(tg_relid, 'truncate', %3$L, %4$L, changes);
  end if;
  return null;
end $f$, w.capture, guard, origin, w.notify);
  elsif op = 'row' then
    return format($f$
-- Generated by tidings.watch; change it by calling watch again.
#variable_conflict use_column
declare
  changes tidings._change[];
  altered boolean := true;
begin
  begin
    altered := %8$s;
    if altered then
      null;
    elsif tg_op = 'INSERT' then
      changes := %1$s;
    elsif tg_op = 'UPDATE' then
      changes := %2$s;
    else
      changes := %3$s;
    end if;
  exception when others then
    altered := true;
  end;
  if altered then
    begin
      if tg_op = 'INSERT' then
        execute %4$s into changes using new, new;
      elsif tg_op = 'UPDATE' then
        execute %4$s into changes using new, old;
      else
        execute %4$s into changes using old, old;
      end if;%5$s
    end;
  end if;
  if cardinality(changes) = 1 and changes[1].tenant is not null
     and current_setting('tidings.rows', true) = pg_current_xact_id()::text || %9$L then
    insert into tidings._log (eid, xid, head, snap, nonce, slot, at, tenant, audience, type, source, subject, changed, data)
    select n.eid, pg_current_xact_id(), n.eid, pg_current_snapshot(), ((random() * 4294967295)::bigint - 2147483648)::int,
           (select last_value from tidings._slot), clock_timestamp(), c.tenant, c.audience, c.type, %6$L, c.subject, c.changed,
           case when octet_length(c.data::text) <= 8388608 then c.data end
      from (select nextval('tidings._eid') as eid) n, unnest(changes) c;
  elsif cardinality(changes) > 0 then
    perform tidings._record_row(tg_relid, lower(tg_op), %6$L, %7$L, changes);
  end if;
  return null;
end $f$, tidings._changes_sql(w, 'insert', new_row, ''), tidings._changes_sql(w, 'update', new_row, old_row),
      tidings._changes_sql(w, 'delete', '', old_row), now_row, replace(guard, quote_literal(op), 'lower(tg_op)'), origin, w.notify, altered,
      case when w.notify then ':many' else ':silent' end);
  end if;
  return format($f$
-- Generated by tidings.watch; change it by calling watch again.
#variable_conflict use_column
declare
  changes tidings._change[];
  altered boolean := true;
begin
  begin
    altered := %8$s;
    if not altered then
      changes := %1$s;
    end if;
  exception when others then
    altered := true;
  end;
  if altered then
    begin
      execute 'select ' || tidings._changes_sql(tidings._now(%2$L), %3$L, 'tidings_new', 'tidings_old') into changes;%4$s
    end;
  end if;
  if cardinality(changes) between 1 and 64 then
    perform tidings._record(tg_relid, %3$L, %5$L, %6$L, changes);
  elsif cardinality(changes) > 64 then
    declare
      seen   pg_snapshot := pg_current_snapshot();
      mine   xid8        := pg_current_xact_id();
      slot   smallint    := (select last_value from tidings._slot);
      logged record;
    begin
      if altered then
        execute tidings._bulk_sql(tidings._now(%2$L), %3$L, '', '$1', '$2', '$3', '$4') into logged using tg_relid, seen, mine, slot;
      else%7$s;
      end if;
      if %6$L::boolean and logged.first is not null then
        perform pg_notify((select name from tidings._channel), tidings._reference(mine, logged.first, logged.last));
      end if;%4$s
    end;
  end if;
  return null;
end $f$, tidings._changes_sql(w, op, 'tidings_new', 'tidings_old'), w.capture, op, guard, origin, w.notify,
    tidings._bulk_sql(w, op, 'into logged', 'tg_relid', 'seen', 'mine', 'slot'), altered);
end $$;
comment on function tidings._body(tidings._watch, text) is 'Text of a capture function: one for each operation, row for row triggers.';

-- 4. Triggers --------------------------------------------------------------------------------------------------------

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

-- 5. What DBAs call --------------------------------------------------------------------------------------------------

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

-- 6. Preview ---------------------------------------------------------------------------------------------------------

create function tidings.preview("table" regclass, op text, "row" jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_column
declare
  w       tidings._watch;
  k       text;
  given   jsonb := "row";
  stored  jsonb;
  changes tidings._change[];
  events  jsonb;
begin
  select t.* into w from tidings._watch t where t.relation = "table";
  if w.relation is null then
    raise exception 'table % is not watched', "table" using errcode = 'undefined_object',
      hint = format('select tidings.watch(%L, tenant => …); in a transaction that you roll back, if only to see.', "table");
  elsif op is null or op <> all ('{insert,update,delete,truncate}') then
    raise exception 'tidings.preview: op must be insert, update, delete or truncate, not %', op using errcode = 'invalid_parameter_value';
  elsif jsonb_typeof(given) is distinct from 'object' then
    raise exception 'tidings.preview: the row must be a JSON object' using errcode = 'invalid_parameter_value', hint = 'For example ''{"id": 7, "status": "paid"}''.';
  end if;
  perform tidings._require_columns("table", array(select jsonb_object_keys(given)));
  if op in ('update', 'delete') and tidings._key("table") <@ array(select jsonb_object_keys(given)) then
    select string_agg(format('r.%1$I = (jsonb_populate_record(null::%2$s, $1)).%1$I', c, "table"), ' and ') into k from unnest(tidings._key("table")) c;
    execute format('select to_jsonb(r.*) from %s r where %s', "table", k) into stored using given;
  end if;
  -- What is not given is as it stands in the table.
  given := coalesce(stored, '{}') || given;
  if op = 'truncate' then
    execute format('select array(select row(s.tenant, s.audience, %L, null, null, ''{}'')::tidings._change from (%s) s)', w.type || '.truncated',
      tidings._source(w, 'insert', '(select (jsonb_populate_record(null::' || w.relation || ', $1)).*)')) into changes using given;
  elsif op = 'update' and stored is null then
    execute format('select array(select row(s.tenant, s.audience, %L, s.subject, %L, s.data)::tidings._change from (%s) s)', w.type || '.updated',
      array_to_string(array(select c from unnest(tidings._shown(w)) c where "row" ? c), ','),
      tidings._source(w, 'insert', '(select (jsonb_populate_record(null::' || w.relation || ', $1)).*)')) into changes using given;
  else
    execute 'select ' || tidings._changes_sql(w, op, '(select (jsonb_populate_record(null::' || w.relation || ', $1)).*)',
      '(select (jsonb_populate_record(null::' || w.relation || ', $2)).*)') into changes
      using given, case op when 'delete' then given else coalesce(stored, '{}') end;
  end if;
  select jsonb_agg(tidings._previewed(w, c)) into events from unnest(changes) c where c.tenant is not null;
  return jsonb_build_object('event', null, 'bytes', null, 'sent_as', null, 'receivers', null, 'reason',
    case when w.paused_at is not null then 'the watch is paused: select tidings.resume(' || quote_literal(w.relation::text) || ')'
         when op <> all (w.ops) then format('ops of this watch are %s', array_to_string(w.ops, ', '))
         when cardinality(changes) = 0 then 'no watched column changes'
         when events is null then 'the tenant is NULL: the row is skipped and counted' end)
    || case when w.paused_at is null and op = any (w.ops) then coalesce(events -> 0, '{}') else '{}' end
    || case when w.paused_at is null and op = any (w.ops) and jsonb_array_length(events) > 1 then jsonb_build_object('and', events -> 1) else '{}' end;
end $$;
comment on function tidings.preview(regclass, text, jsonb) is
  'The event that a change would make, its size and who would receive it; writes nothing. Columns not given are taken from the row with this key.';

create function tidings._previewed(w tidings._watch, c tidings._change) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select jsonb_build_object(
      'event', e.event, 'bytes', octet_length(e.event::text),
      'sent_as', case when not w.notify then 'log only: bridges find it at their next checkpoint'
                      when octet_length(e.event::text) + octet_length(pg_current_snapshot()::text) + 100 < 8000 then 'notification'
                      else 'reference: too large for a notification, bridges read it from the log' end,
      'receivers', case when c.audience is null then format('users of tenant %s', c.tenant)
                        else format('user %s of tenant %s, and the tenant''s admins', c.audience, c.tenant) end
        || format(', where their token''s events claim allows %s', c.type))
    from (select jsonb_strip_nulls(jsonb_build_object('specversion', '1.0', 'source', tidings._origin(w.relation), 'type', c.type, 'subject', c.subject,
             'time', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'tenant', c.tenant, 'audience', c.audience,
             'changed', c.changed)) || jsonb_build_object('data', c.data::jsonb) as event) e;
end;
comment on function tidings._previewed(tidings._watch, tidings._change) is 'One event of tidings.preview.';

-- 7. Removal ---------------------------------------------------------------------------------------------------------

create function tidings.uninstall() returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  others text;
  w      regclass;
begin
  -- What somebody built upon schema tidings would go with it.
  select string_agg(distinct pg_describe_object(d.classid, d.objid, d.objsubid), ', ') into others
    from pg_depend d
    join (select oid, 'pg_class'::regclass as class from pg_class where relnamespace = 'tidings'::regnamespace
          union all select oid, 'pg_proc'::regclass from pg_proc where pronamespace = 'tidings'::regnamespace
          union all select oid, 'pg_type'::regclass from pg_type where typnamespace = 'tidings'::regnamespace) ours
      on (d.refclassid, d.refobjid) = (ours.class, ours.oid)
    cross join lateral pg_identify_object(d.classid, d.objid, 0) o
   where d.deptype = 'n' and o.schema is distinct from 'tidings' and d.classid not in ('pg_trigger'::regclass, 'pg_rewrite'::regclass);
  select concat_ws(', ', others, string_agg(distinct r.ev_class::regclass::text, ', ')) into others
    from pg_depend d join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
    join pg_class v on v.oid = r.ev_class and v.relnamespace <> 'tidings'::regnamespace
   where d.refobjid in (select oid from pg_class where relnamespace = 'tidings'::regnamespace
                        union all select oid from pg_proc where pronamespace = 'tidings'::regnamespace);
  if others <> '' then
    raise exception 'tidings.uninstall: other objects depend on schema tidings: %', others using errcode = 'dependent_objects_still_exist',
      hint = 'Drop or change them first; nothing was removed.';
  end if;
  for w in select relation from tidings._watch where exists (select from pg_class where oid = relation) order by relation::oid loop
    perform tidings.unwatch(w);
  end loop;
  set local client_min_messages = warning;   -- not one notice for each object
  drop schema tidings cascade;
end $$;
comment on function tidings.uninstall() is
  'Removes all triggers of tidings and then schema tidings with the log; touches nothing else. Stop the bridges first. Irreversible.';

-- 8. Tables that are watched already ---------------------------------------------------------------------------------

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
