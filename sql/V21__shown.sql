-- What events show may be an =expression: a table whose columns are spelled in its own way is shown as subscribers know it.
--
-- Runs:   once; the functions when a table is watched. Watches that are there go on as they are.
-- As:     the owner of schema tidings, whose rights the expression has when it runs inside a writer's transaction.
-- Reads:  the catalogs. Locks: none that anybody waits for.
-- Fails:  not on its own account. A failing expression fails no writer: it is counted, as for tenant and audience.
-- Undo:   tidings.uninstall.
--
--   columns => array['=json_build_object(''id'', id, ''created_at'', "createdAt")']
--
-- It stands alone in columns and sees the row's columns, and r. An update is an event when what it shows differs; changed names
-- the members that do.

-- The SQL of that expression; null where columns are names. A column whose name begins with = stays a column.
create function tidings._shown_as(w tidings._watch) returns text
language sql stable set search_path = pg_catalog, pg_temp
return case when left(w.columns[1], 1) = '=' and w.columns[1] <> all (tidings._columns(w.relation))
            then 'coalesce((' || substr(w.columns[1], 2) || ')::json, ''{}'')' end;
comment on function tidings._shown_as(tidings._watch) is 'SQL of what events show where columns is an =expression.';

create function tidings._differ(before json, after json) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  names text;
  same  boolean;
begin
  -- Nearly always both have the same members in the same order, and can be gone through side by side.
  select string_agg(t.key, ',') filter (where t.value is distinct from t.was), bool_and(t.key is not distinct from t.key_was) into names, same
    from rows from (json_each_text(after), json_each_text(before)) t (key, value, key_was, was);
  if same then
    return names;
  end if;
  return (select string_agg(coalesce(n.key, o.key), ',' order by n.i, o.i)
            from json_each_text(after) with ordinality n (key, value, i) full join json_each_text(before) with ordinality o (key, value, i) using (key)
           where n.value is distinct from o.value);
end $$;
comment on function tidings._differ(json, json) is 'Members of an object that changed, in its order.';

-- The rest are functions of V4 and V6 with that case added.

create or replace function tidings._adapted(w tidings._watch) returns tidings._watch
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  now tidings._watch := w;
begin
  now.tenant := case when left(w.tenant, 1) = '=' then w.tenant else coalesce(tidings._name_now(w, w.tenant), w.tenant) end;
  now.audience := case when left(w.audience, 1) = '=' then w.audience else coalesce(tidings._name_now(w, w.audience), w.audience) end;
  now.columns := case when tidings._shown_as(w) is not null then w.columns when w.columns is not null then
    array(select n from unnest(w.columns) with ordinality u (c, i), tidings._name_now(w, c) n where n is not null order by i) end;
  now.except_columns := case when w.except_columns is not null then
    array(select n from unnest(w.except_columns) c, unnest(array[c, tidings._name_now(w, c)]) n where n is not null group by n order by n) end;
  now.only_changed := nullif(array(select n from unnest(w.only_changed) c, tidings._name_now(w, c) n where n is not null), '{}');
  now.subject := nullif(array(select coalesce(n, c) from unnest(w.subject) with ordinality u (c, i), tidings._name_now(w, c) n
                               where left(c, 1) = '=' or n is not null order by i), '{}');
  return now;
end $$;

create or replace function tidings._shown(w tidings._watch) returns text[]
language sql stable set search_path = pg_catalog, pg_temp
return array(select c from unnest(tidings._columns(w.relation)) with ordinality u (c, n)
              where (w.columns is null or tidings._shown_as(w) is not null or c = any (w.columns)) and c <> all (coalesce(w.except_columns, '{}')) order by n);

-- With an =expression rows are compared by what it shows.
create or replace function tidings._source(w tidings._watch, op text, new_rows text default 'tidings_new', old_rows text default 'tidings_old') returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  relation text[]  := tidings._columns(w.relation);
  shown    text[]  := tidings._shown(w);
  shown_as text    := tidings._shown_as(w);
  many     boolean := new_rows = 'tidings_new';
  -- Then a column that is added later is shown at once. Not where columns were chosen, nor for a child's rows, whose own columns are not shown.
  whole    boolean := w.columns is null and shown = relation and not exists (select from pg_inherits i join pg_class c on c.oid = i.inhparent
                                                        where i.inhparent = w.relation and c.relkind <> 'p');
  data     text    := case when shown_as is not null then case when op = 'update' then 'shown_%1$s.shown' else '%1$s.shown' end when whole then 'row_to_json(%1$s.whole)' when shown = '{}' then '''{}''::json'
                           else '(select row_to_json(x.*) from (select '
                             || (select string_agg(format('%%1$s.c%s as %s', array_position(relation, c), replace(quote_ident(c), '%', '%%')), ', ') from unnest(shown) c)
                             || ') x)' end;
  one      text    := format('select %s as tenant, %s as audience, %s as subject, r.*::record as whole, %s%s',
                        tidings._expression(w.relation, w.tenant), tidings._expression(w.relation, w.audience),
                        tidings._subject(w.relation, w.subject),
                        (select string_agg(format('r.%I as c%s', c, n), ', ' order by n) from unnest(relation) with ordinality u (c, n)),
                        case when op <> 'update' then ', ' || shown_as || ' as shown' end);
  -- Of an update it is computed above the join, once for each row: below, it would be for all rows even where few are asked for.
  aside    text    := (select format(', lateral (select %1$s as shown from (select %2$s) r offset 0) shown_n, lateral (select %1$s as shown from (select %3$s) r offset 0) shown_o', shown_as,
                                string_agg(format('n.c%s as %I', n, c), ', ' order by n), string_agg(format('o.c%s as %I', n, c), ', ' order by n))
                         from unnest(relation) with ordinality u (c, n) where shown_as is not null having count(*) > 0);
  differ   text;
  names    text;
begin
  if shown_as is not null and (cardinality(w.columns) > 1 or w.except_columns is not null) then
    raise exception 'tidings.watch: an =expression in columns stands alone, without other columns and without except_columns' using
      errcode = 'invalid_parameter_value', hint = 'Let the expression show what subscribers may see, and nothing else.';
  end if;
  if op <> 'update' then
    return format('select t.tenant, t.audience, %L as type, t.subject, null::text as changed, %s as data from (%s from %s r) t',
      w.type || '.' || op || case op when 'insert' then 'ed' else 'd' end, format(data, 't'), one,
      case op when 'insert' then new_rows else old_rows end);
  end if;
  select string_agg(format('(case when row(n.c%1$s)::record *<> row(o.c%1$s)::record then %2$L end)', array_position(relation, c), c), ', ')
    into names from unnest(shown) c;
  select string_agg(format('row(n.c%1$s)::record *<> row(o.c%1$s)::record', array_position(relation, c)), ' or ') into differ
    from unnest(coalesce(w.only_changed, shown)) c;
  if shown_as is not null then
    names := 'tidings._differ(shown_o.shown, shown_n.shown)';
    differ := case when w.only_changed is not null then differ else 'shown_o.shown::text is distinct from shown_n.shown::text' end;
  elsif whole and w.only_changed is null then
    differ := 'n.whole::record *<> o.whole::record';   -- columns that are added later count too
  end if;
  return format($q$
    select e.tenant, e.audience, e.type, e.subject, e.changed, e.data
      from (%1$s%11$s from %9$s r) n %12$s join (%1$s%11$s from %10$s r) o %13$s%14$s,
           lateral (select (n.tenant, n.audience) is distinct from (o.tenant, o.audience) as moved) m,
           lateral (
             select n.tenant, n.audience, %2$L as type, n.subject, nullif(concat_ws(',', %5$s), '') as changed, %6$s as data where not moved and (%8$s)
             union all
             select o.tenant, o.audience, %3$L, o.subject, null, %7$s where moved and o.tenant is not null
             union all
             select n.tenant, n.audience, %4$L, n.subject, null, %6$s where moved) e$q$,
    one, w.type || '.updated', w.type || '.deleted', w.type || '.inserted', coalesce(names, 'null'), format(data, 'n'), format(data, 'o'),
    coalesce(differ, 'false'), new_rows, old_rows,
    case when many then ', row_number() over () as i' end, case when not many then 'cross' end, case when many then 'using (i)' end, aside);
end $$;

create or replace function tidings._fixed(w tidings._watch) returns text
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  -- spelled: not as JSON has it but as text, which is what a key or an expression makes of a date, and a range of its bounds
  with recursive used (type, spelled) as (
    select a.atttypid, coalesce(a.attname = any (array[w.tenant, w.audience] || coalesce(w.subject, tidings._key(w.relation))), false)
                       or exists (select from unnest(array[w.tenant, w.audience] || w.subject || w.columns) s where left(s, 1) = '=')
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

create or replace function tidings._refuse(relation regclass, tenant text, settings text[], columns text[], ops text[], type text) returns void
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
  perform tidings._require_columns(relation, array(select c from unnest(columns) with ordinality u (c, n) where not (n = 1 and left(c, 1) = '=')) || array(select s from unnest(tenant || settings) s where left(s, 1) <> '='));
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

comment on function tidings.watch(regclass, text, text[], text[], text[], text[], text, text, text, boolean, boolean) is
  'Start watching a table, or change how; safe to repeat. tenant and audience are a column or an SQL expression after =; so are what columns shows, as JSON, and each part of the subject. Returns the settings in force. In a read-only transaction: a dry run.';

revoke all on all functions in schema tidings from public;
