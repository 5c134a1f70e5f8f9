-- The latest state of rows of a watched table, for clients that poll instead of subscribing.
--
-- Runs:   once; the function as the owner of schema tidings, for GET /v1/tenants/{tenant}/watched/….
-- Reads:  the watched table, through its key: the owner of schema tidings needs SELECT on it. Locks: none.
-- Fails:  undefined_object: no such watched table; ambiguous_alias: several; undefined_parameter: it has no key; insufficient_privilege:
--         SELECT is missing. The detail names the types, so that the bridge can tell who may hear of it.
-- Undo:   drop function tidings._watched(text, text, text, text[]).

-- What a key column may hold according to these keys, as the type of sample; what is no value of that type is left out: no row can
-- have it. Of a composite key it may be any run of the parts, since values may hold commas themselves and NULLs leave no part behind;
-- the subject decides. A key of more than 20 parts is taken for none: runs grow with their square.
create function tidings._parts(sample anyelement, keys text[], composite boolean) returns anyarray
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  values alias for $0;
  key    text;
begin
  values := '{}';
  if composite then
    keys := array(select distinct array_to_string(p.parts[i:j], ',')
                    from unnest(keys) k, string_to_array(k, ',') p (parts), generate_series(1, cardinality(p.parts)) i, generate_series(i, cardinality(p.parts)) j
                   where cardinality(p.parts) <= 20);
  end if;
  foreach key in array keys loop
    begin
      sample := key;
      values := array_append(values, sample);
    exception when others then
      null;
    end;
  end loop;
  return values;
end $$;
comment on function tidings._parts(anyelement, text[], boolean) is 'Keys of events as values of a key column.';

-- Shows what an event would show, and to the same people: rows of this tenant only, one with an audience to that user only (sub null:
-- an admin), with the columns that are watched. The cursor is that of the same snapshot: a subscription from it misses and repeats nothing.
create function tidings._watched(tenant text, sub text, "table" text, keys text[]) returns json
language plpgsql security definer set search_path = pg_catalog, pg_temp
  -- As the capture functions have them, so that values are spelled as in events.
  set timezone = 'UTC' set datestyle = 'ISO, YMD' set intervalstyle = postgres set bytea_output = hex set extra_float_digits = 1 as $$
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
    raise exception 'several watched tables are called %', "table" using errcode = 'ambiguous_alias', hint = 'Write schema.table.',
      detail = (select string_agg(distinct f.type, ',') from unnest(found) f);
  end if;
  w := tidings._adapted(w);
  key := coalesce(w.subject, tidings._key(w.relation));
  if key is null then
    raise exception 'table % has no key', w.relation using errcode = 'undefined_parameter', detail = w.type,
      hint = 'Give it a primary key, or watch it with subject => ''{column}''.';
  end if;
  -- By the key's columns, so that its index is used; the subject itself decides. An expression has no column to look by.
  wanted := (select string_agg(format('(r.%1$I = any (tidings._parts(null::%2$s, $2, %3$L))%4$s)', a.attname, format_type(a.atttypid, null),
                      cardinality(key) > 1, case when cardinality(key) > 1 and not a.attnotnull then format(' or r.%I is null', a.attname) end), ' and ')
               from unnest(key) c join pg_attribute a on a.attrelid = w.relation and a.attname = c and not a.attisdropped
               join pg_type t on t.oid = a.atttypid
              where t.typcategory <> 'A');   -- there are no arrays of arrays
  begin
    execute format(
      'select json_build_object(''type'', %L::text, ''rows'', coalesce((select json_agg(json_build_object(''key'', s.subject, ''data'', s.data)) from (%s) s
          where s.tenant = $1 and s.subject = any ($2) and ($3 is null or s.audience is null or s.audience = $3)), ''[]''), ''cursor'', tidings.cursor())',
      w.type, tidings._source(w, 'insert', format('(select r.* from %s r where %s)', w.relation, coalesce(wanted, 'true'))))
      into rows using tenant, keys, sub;
  exception when insufficient_privilege then
    raise exception '%', sqlerrm using errcode = 'insufficient_privilege', detail = w.type,
      hint = format('grant select on %s to %I;', w.relation, current_user);
  end;
  return rows;
end $$;
comment on function tidings._watched(text, text, text, text[]) is 'Latest rows of a watched table by key, with the cursor of their snapshot.';

comment on schema tidings is
  'tidings: committed changes for subscribers. Public: watch, unwatch, pause, resume, preview, emit, cursor, doctor, why, grant_service, uninstall; views watches, events, listeners, log. Names with _ are private.';

revoke all on all functions in schema tidings from public;
