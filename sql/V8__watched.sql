-- The latest state of rows of a watched table, for clients that poll instead of subscribing.
--
-- Runs:   once; the function as the owner of schema tidings, for GET /v1/tenants/{tenant}/watched/….
-- Reads:  the watched table, through its key: the owner of schema tidings needs SELECT on it. Locks: none.
-- Fails:  undefined_object: no such watched table; ambiguous_alias: several; undefined_parameter: it has no key.
-- Undo:   drop function tidings._watched(text, text, text, text[]).

-- The n-th of several parts of each key, as the type of sample; what is no value of that type is left out: no row can have it.
create function tidings._parts(sample anyelement, keys text[], n bigint, several boolean) returns anyarray
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  parts alias for $0;
  key   text;
begin
  parts := '{}';
  foreach key in array keys loop
    begin
      sample := case when several then split_part(key, ',', n::int) else key end;
      parts := array_append(parts, sample);
    exception when others then
      null;
    end;
  end loop;
  return parts;
end $$;
comment on function tidings._parts(anyelement, text[], bigint, boolean) is 'Keys of events as values of a key column.';

-- Shows what an event would show, and to the same people: rows of this tenant only, one with an audience to that user only (sub null:
-- an admin), with the columns that are watched. The cursor is that of the same snapshot: a subscription from it misses and repeats nothing.
create function tidings._watched(tenant text, sub text, "table" text, keys text[]) returns json
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  found tidings._watch[] := array(
    select w from tidings._watch w join pg_class c on c.oid = w.relation join pg_namespace n on n.oid = c.relnamespace
     where "table" in (w.type, c.relname, n.nspname || '.' || c.relname)
     order by w.type = "table" desc);
  w     tidings._watch := found[1];
  key   text[];
  wanted text;
  rows  json;
begin
  if w.relation is null then
    raise exception 'no watched table is called %', "table" using errcode = 'undefined_object';
  elsif cardinality(found) > 1 and w.type <> "table" or (found[2]).type = "table" then
    raise exception 'several watched tables are called %', "table" using errcode = 'ambiguous_alias', hint = 'Write schema.table.';
  end if;
  w := tidings._adapted(w);
  key := coalesce(w.subject, tidings._key(w.relation));
  if key is null then
    raise exception 'table % has no key', w.relation using errcode = 'undefined_parameter',
      hint = 'Give it a primary key, or watch it with subject => ''{column}''.';
  end if;
  -- By the key's columns, so that its index is used; the subject itself decides. An expression has no column to look by.
  wanted := (select string_agg(format('r.%I = any (tidings._parts(null::%s, $2, %s, %L))', a.attname, format_type(a.atttypid, null), k.n, cardinality(key) > 1), ' and ')
               from unnest(key) with ordinality k (c, n) join pg_attribute a on a.attrelid = w.relation and a.attname = k.c and not a.attisdropped);
  execute format(
    'select json_build_object(''type'', %L::text, ''rows'', coalesce((select json_agg(json_build_object(''key'', s.subject, ''data'', s.data)) from (%s) s
        where s.tenant = $1 and s.subject = any ($2) and ($3 is null or s.audience is null or s.audience = $3)), ''[]''), ''cursor'', tidings.cursor())',
    w.type, tidings._source(w, 'insert', format('(select r.* from %s r where %s)', w.relation, coalesce(wanted, 'true'))))
    into rows using tenant, keys, sub;
  return rows;
end $$;
comment on function tidings._watched(text, text, text, text[]) is 'Latest rows of a watched table by key, with the cursor of their snapshot.';

revoke all on all functions in schema tidings from public;
