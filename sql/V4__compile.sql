-- From the settings of a watch to SQL that reads rows as changes: for any table, also one that was altered after it was watched.
-- Replaces the compiler of V3__watch.sql; V5 makes capture functions of it, V6 attaches them.
--
-- Runs:   once; the functions when a table is watched, and inside a writer's transaction while its table is altered.
-- Reads:  the catalogs. Locks: of tidings' own tables only, for an instant.
-- Fails:  with a hint, changing nothing. A migration that is broken off here leaves capture going and watch missing: run it again.
-- Undo:   tidings.uninstall.

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

-- Names --------------------------------------------------------------------------------------------------------------

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

-- SQL ----------------------------------------------------------------------------------------------------------------

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

-- Writes a large statement in one piece. The arguments name what holds relation, snapshot, transaction and partition. The rows are
-- gone through once more to count those without a tenant, if there is any.
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
        select %4$s, %3$L, 'null_tenant', count(*) from (%1$s) s
         where s.tenant is null and exists (select from %9$s r where %10$s is null) having count(*) > 0
      )
      select min(eid) as first, max(eid) as last %8$s from rows$q$,
  tidings._source(w, op), tidings._origin(w.relation), op, relation, seen, mine, slot, "into",
  case op when 'delete' then 'tidings_old' else 'tidings_new' end, tidings._expression(w.relation, w.tenant));
comment on function tidings._bulk_sql(tidings._watch, text, text, text, text, text, text) is 'SQL that logs all changes of a large statement.';

revoke all on all functions in schema tidings from public;
