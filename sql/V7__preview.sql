-- Before and after: what a change would make, and how all of this goes away again.
--
-- Runs:   as the caller, who must be a member of the owner of schema tidings, and for uninstall the owner of the watched tables.
-- Reads:  for preview the table, by its key. Writes: preview nothing.
-- Locks:  uninstall ACCESS EXCLUSIVE on each watched table, waiting at most 2 s for each.
-- Fails:  with a hint, changing nothing. Undo: there is none for uninstall.

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

revoke all on all functions in schema tidings from public;
