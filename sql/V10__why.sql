-- For one row that did not arrive: tidings.why() follows its newest change along the road and says where it stopped.
--
-- Runs:   only when called, as the owner of schema tidings. It tells tenant and audience of the row it is asked about, and nothing else.
-- Reads:  the catalogs, tidings' own tables, and the watched table. Writes nothing.
-- Locks:  what a SELECT takes, and waits at most 2 s for it.
-- Fails:  not for lack of rights: the step that cannot be told says so. Refuses NULL.
-- Undo:   drop function tidings.why(regclass, text), and the private functions below.

create type tidings._step as (
  name    text,
  ok      boolean,   -- null: cannot be told
  message text,
  fix     text
);
comment on type tidings._step is 'One row of tidings.why().';

create function tidings._pass(name text, message text) returns tidings._step
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return row(name, true, message, null::text)::tidings._step;
comment on function tidings._pass(text, text) is 'A step that went well.';

create function tidings._stop(name text, message text, fix text) returns tidings._step
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return row(name, false, message, fix)::tidings._step;
comment on function tidings._stop(text, text, text) is 'The step at which an event stopped.';

create type tidings._trace as (
  state    text,     -- here, absent, unreadable, or no_subject: events do not say which row they are about
  rows     text,     -- SQL of the row, to put behind FROM
  xid      xid,      -- who wrote it last; inside a savepoint that is not the transaction's own number
  tenant   text,
  audience text,
  subject  text,
  data     text,
  failed   text      -- SQLSTATE, when its event cannot be computed
);
comment on type tidings._trace is 'What tidings.why() found of a row.';

-- The condition that finds a row by its subject: by index where the subject is columns, else by computing every subject.
create function tidings._where(w tidings._watch, key text, plain boolean) returns text
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select case when plain and not exists (select from unnest(s.columns) c where left(c, 1) = '=') and cardinality(s.parts) = cardinality(s.columns)
    then (select string_agg(format('r.%I = %L::%s', a.attname, s.parts[u.n], format_type(a.atttypid, a.atttypmod)), ' and ' order by u.n)
            from unnest(s.columns) with ordinality u (c, n) join pg_attribute a on a.attrelid = w.relation and a.attname = u.c)
    else format('%s = %L', tidings._subject(w.relation, w.subject), key) end
    from (select k.columns, case when cardinality(k.columns) = 1 then array[key] else string_to_array(key, ',') end as parts
            from (select coalesce(w.subject, tidings._key(w.relation)) as columns) k) s
   where s.columns is not null;
end;
comment on function tidings._where(tidings._watch, text, boolean) is 'SQL condition over an alias r; null when events of this watch have no subject.';

-- By index where that is possible, else, for expressions and types without "=", by computing every row's subject.
create function tidings._find(w tidings._watch, key text, out rows text, out xid xid, out failed text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  condition text;
begin
  for condition in select distinct tidings._where(w, key, p) from unnest('{true,false}'::boolean[]) p order by 1 desc loop
    rows := format('(select r.* from %s r where %s order by age(r.xmin) limit 1)', w.relation, condition);
    begin
      execute format('select r.xmin from %s r where %s order by age(r.xmin) limit 1', w.relation, condition) into xid;
      exit when starts_with(condition, 'r.');
    exception
      when undefined_function then null;   -- no "=" for this type
      when data_exception then exit;       -- the key is no value of this type, so no row has it
      when others then failed := sqlstate;
    end;
  end loop;
end $$;
comment on function tidings._find(tidings._watch, text) is 'Finds a row by its subject: SQL of it, and who wrote it last.';

create function tidings._why_row(w tidings._watch, key text) returns tidings._trace
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  t     tidings._trace;
  found record;
begin
  t.subject := key;
  t.state := case when coalesce(w.subject, tidings._key(w.relation)) is null then 'no_subject'
                  when not has_table_privilege(w.relation, 'select') or row_security_active(w.relation) then 'unreadable' else 'absent' end;
  if t.state <> 'absent' then
    return t;
  end if;
  found := tidings._find(w, key);
  if found.xid is null and w.subject is not null and tidings._key(w.relation) is not null then
    -- Whoever asks may think of rows by their primary key.
    found := tidings._find(jsonb_populate_record(w, '{"subject": null}'), key);
  end if;
  t.failed := found.failed;
  t.rows := found.rows;
  t.xid := found.xid;
  if found.xid is not null then
    t.state := 'here';
    t.failed := null;
    execute format('select s.tenant, s.audience, s.subject, s.data::text from (%s) s', tidings._source(w, 'insert', t.rows))
      into t.tenant, t.audience, t.subject, t.data;
  end if;
  return t;
exception when others then
  t.failed := sqlstate;
  return t;
end $$;
comment on function tidings._why_row(tidings._watch, text) is 'Finds a row, and computes what its event would be.';

-- Also one that was published by hand to make up for a missing one, and one under an earlier name of the table.
create function tidings._why_event(w tidings._watch, subject text) returns tidings._log
language sql stable set search_path = pg_catalog, pg_temp set enable_sort = off
return (select e
          from (select distinct s from unnest(array[tidings._origin(w.relation), '/' || array_to_string(parse_ident(w.name), '/'), '/emit']) s) s (source),
               lateral (select l from tidings._log l
                         where l.source = s.source and l.subject = _why_event.subject and (s.source <> '/emit' or starts_with(l.type, w.type || '.'))
                         order by l.source desc, l.eid desc limit 1) e (e)
         order by (e.e).eid desc limit 1);
comment on function tidings._why_event(tidings._watch, text) is 'The newest event about a row.';

create function tidings._resend(w tidings._watch, t tidings._trace) returns text
language sql stable set search_path = pg_catalog, pg_temp
return case
  when t.rows is null or not 'insert' = any (w.ops) then '-- its next change makes an event'
  else format(E'-- its next change makes an event; to publish it now, with source /emit:\n'
              'select tidings.emit(e ->> ''tenant'', e ->> ''type'', e -> ''data'', e ->> ''subject'', e ->> ''audience'')\n'
              '  from (select tidings.preview(%L, ''insert'', to_jsonb(r)) -> ''event'' from %s r) p (e);', w.relation, t.rows) end;
comment on function tidings._resend(tidings._watch, tidings._trace) is 'SQL that publishes a row that made no event.';

create function tidings._first_watch(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
return coalesce(
  (select format('select tidings.watch(%L, tenant => %L);', relation, c) from unnest(tidings._columns(relation)) c
    where replace(lower(c), '_', '') ~ '^(tenant|org|organi[sz]ation|account|workspace|company|customer)(id)?$'
    order by lower(c) like 'tenant%' desc limit 1),
  format('-- select tidings.watch(%L, tenant => …);  the column, or =expression, that says whose a row is', relation));
comment on function tidings._first_watch(regclass) is 'The call that begins to watch a table, with the column that looks like its tenant.';

create function tidings._why_watch(w tidings._watch, relation regclass) returns setof tidings._step
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select 'not_watched', false, format('%s is not watched', relation), tidings._first_watch(relation) where w.relation is null
  union all
  select 'watched', true, format('%s is watched since %s', w.relation, tidings._moment(w.watched_at)), null where w.relation is not null
  union all
  select 'paused', false, f.message, f.fix from tidings._doctor_watch(w) f where w.relation is not null and f.code = 'paused'
  union all
  select 'triggers_missing', false, f.message, f.fix from tidings._doctor_watch(w) f where w.relation is not null and f.code = 'triggers_missing'
  union all
  select 'triggers', true, 'its triggers are there and enabled', null where w.relation is not null and tidings._missing_triggers(w) is null;
end;
comment on function tidings._why_watch(tidings._watch, regclass) is 'Steps of tidings.why(): is the table captured?';

-- Whether the newest event is the one of the row's last change: made by the same transaction, or showing the row as it is.
create function tidings._is_of(e tidings._log, t tidings._trace) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
return coalesce(e.xid::xid = t.xid, false) or coalesce(e.type not like '%.deleted' and case
  when e.source = '/emit' and t.data not like '%\u0000%' then e.data::jsonb = t.data::jsonb   -- emit takes no text as it stands
  else e.data::text = t.data end, false);
comment on function tidings._is_of(tidings._log, tidings._trace) is 'Whether an event tells of a row as it is.';

create function tidings._why_there(w tidings._watch, t tidings._trace, e tidings._log, key text) returns tidings._step
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if t.state = 'no_subject' then
    return tidings._stop('no_subject',
      format('events of %s do not say which row they are about: it has no primary key and no subject setting', w.relation),
      (select f.fix from tidings._doctor_watch(w) f where f.code = 'no_subject'));
  elsif t.state = 'unreadable' then
    return row('row'::text, null::boolean,
      format('%s, the owner of schema tidings, may not read %s: only the log can be looked at', current_user, w.relation),
      case when has_table_privilege(w.relation, 'select') then format('alter role %I bypassrls;  -- row security hides rows from it', current_user)
           else format('grant select on %s to %I;', w.relation, current_user) end);
  elsif t.state = 'here' and tidings._is_of(e, t) then
    return tidings._pass('row', 'the row is in the table');
  elsif t.failed is not null then
    return tidings._stop('capture_failed',
      format('the row''s event cannot be computed (SQLSTATE %s)', t.failed),
      format(E'select tidings.preview(%L, ''insert'', to_jsonb(r)) from %s r;  -- says why; mend the row or the settings:\n-- %s',
             w.relation, t.rows, tidings._watch_call(w)));
  elsif t.state = 'here' and t.tenant is null then
    return tidings._stop('null_tenant',
      format('the row''s tenant (%s) is NULL: nobody may see it', w.tenant),
      case when left(w.tenant, 1) = '=' then format('select %s as tenant from %s r;  -- shall not be NULL', tidings._expression(w.relation, w.tenant), t.rows)
           else format('-- update %s r set %I = … where %s;', w.relation, w.tenant, tidings._where(w, key, true)) end);
  elsif t.state = 'here' then
    return tidings._pass('row', format('the row is in the table and belongs to tenant %s', t.tenant));
  end if;
  return tidings._why_gone(w, e, key);
end $$;
comment on function tidings._why_there(tidings._watch, tidings._trace, tidings._log, text) is
  'Step of tidings.why(): is the row there, and whose is it?';

create function tidings._why_gone(w tidings._watch, e tidings._log, key text) returns tidings._step
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if e.type like '%.deleted' then
    return tidings._pass('row', 'the row was deleted');
  elsif e.eid is not null and not 'delete' = any (w.ops) then
    return tidings._stop('filtered',
      format('the row is gone, and ops of this watch are %s: a delete makes no event', array_to_string(w.ops, ', ')),
      tidings._watch_call(jsonb_populate_record(w, jsonb_build_object('ops', w.ops || '{delete}'))) || '  -- from then on');
  elsif e.eid is not null then
    return tidings._stop('not_in_table',
      format('the row is gone, and its newest event (%s of %s) is not a delete: it went by TRUNCATE, or while capture was off', e.type, tidings._moment(e.at)),
      '-- for subscribers that must know: select tidings.emit(…);');
  end if;
  return tidings._stop('not_in_table',
    format('no row of %s with %s %L can be seen, and the log has no event about it: never committed, rolled back, or deleted longer ago than the '
           'log reaches', w.relation, array_to_string(coalesce(w.subject, tidings._key(w.relation)), ','), key),
    'select * from pg_stat_activity where backend_xid is not null;  -- is its transaction still open?');
end $$;
comment on function tidings._why_gone(tidings._watch, tidings._log, text) is 'Step of tidings.why(): what became of a row that is not there?';

-- A row's xmin in full: the newest transaction number that ends like it.
create function tidings._full(x xid) returns bigint
language sql stable set search_path = pg_catalog, pg_temp
return (select next - ((next - x::text::bigint) & 4294967295) from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1) n (next));
comment on function tidings._full(xid) is 'A transaction number with its epoch.';

-- Their catalog rows carry the number of the transaction that attached the triggers.
create function tidings._before(w tidings._watch, x xid) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
return (select age(x) > max(age(t.xmin)) from tidings._attached(w) a join pg_trigger t on (t.tgrelid, t.tgname) = (a.relation, a.name::name));
comment on function tidings._before(tidings._watch, xid) is 'Whether a row was written before the triggers of its table were attached.';

create function tidings._event_id(e tidings._log) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return e.eid || '-' || e.xid || '-' || to_hex(e.nonce);
comment on function tidings._event_id(tidings._log) is 'The id that subscribers see.';

-- A write in a savepoint leaves the savepoint's number in the row. Commit timestamps are the same for both, where they are kept.
create function tidings._same_commit(e tidings._log, t tidings._trace) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return current_setting('track_commit_timestamp')::boolean and coalesce(pg_xact_commit_timestamp(e.xid::xid) = pg_xact_commit_timestamp(t.xid), false);
end $$;
comment on function tidings._same_commit(tidings._log, tidings._trace) is
  'Whether a row was written in a savepoint of its event''s transaction, where that can be known.';

-- Why a row that is there, with a tenant, has no event that shows it as it is.
create function tidings._why_absent(w tidings._watch, t tidings._trace, e tidings._log) returns tidings._step
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  shows text := coalesce('its newest event is ' || tidings._event_id(e) || ' of ' || tidings._moment(e.at), 'the log has no event about it');
  fails text := (select format('%s statements on %s failed to be captured since, last with SQLSTATE %s at %s', count(*), w.relation,
                               (array_agg(m.reason order by m.at desc))[1], tidings._moment(max(m.at)))
                   from tidings._missed m
                  where m.relation in (select tidings._family(w.relation)) and m.reason <> 'null_tenant' and m.at >= coalesce(e.at, w.watched_at)
                 having count(*) > 0);
begin
  if tidings._before(w, t.xid) then
    return tidings._stop('before_watch',
      format('the row was last written before %s was watched (%s); %s', w.relation, tidings._moment(w.watched_at), shows), tidings._resend(w, t));
  elsif tidings._full(t.xid) <= (select p.xid::text::bigint from tidings._pruned p) then
    return tidings._stop('expired', format('the row was last written longer ago than the log reaches; %s', shows), tidings._resend(w, t));
  elsif fails is not null then
    return tidings._stop('capture_failed', format('%s; %s', shows, fails), tidings._resend(w, t));
  elsif not 'update' = any (w.ops) or e.eid is null and not 'insert' = any (w.ops) then
    return tidings._stop('filtered',
      format('ops of this watch are %s; %s', array_to_string(w.ops, ', '), shows),
      tidings._watch_call(jsonb_populate_record(w, jsonb_build_object('ops', array(select o from unnest(w.ops || '{insert,update}') o group by o order by o))))
        || '  -- from then on');
  elsif e.eid is not null and w.only_changed is not null then
    return tidings._stop('filtered',
      format('the row was written since in a way that changed none of only_changed (%s); %s', array_to_string(w.only_changed, ', '), shows),
      tidings._watch_call(jsonb_populate_record(w, '{"only_changed": null}')) || '  -- from then on');
  end if;
  return tidings._stop('not_captured',
    format('the row was written while capture was off (paused, triggers disabled or missing) or had other settings; %s', shows), tidings._resend(w, t));
end $$;
comment on function tidings._why_absent(tidings._watch, tidings._trace, tidings._log) is 'Step of tidings.why(): what kept a change out of the log.';

create function tidings._why_logged(w tidings._watch, t tidings._trace, e tidings._log) returns tidings._step
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if t.state = 'here' and not tidings._is_of(e, t) then
    return tidings._why_absent(w, t, e);
  elsif e.eid is null then
    return tidings._stop('not_captured', 'the log has no event about it', '-- its next change makes an event');
  elsif t.state = 'here' and e.xid::xid <> t.xid and coalesce(w.columns, w.except_columns, w.only_changed) is not null
        and not tidings._same_commit(e, t) then
    return tidings._stop('filtered',
      format('the row was written since its newest event (%s of %s) without a change in what is watched (%s); or that write was in a savepoint, '
             'and the event is its', tidings._event_id(e), tidings._moment(e.at), array_to_string(coalesce(w.only_changed, tidings._shown(w)), ', ')),
      tidings._watch_call(jsonb_populate_record(w, '{"columns": null, "except_columns": null, "only_changed": null}')) || '  -- from then on; shows all columns');
  end if;
  return tidings._pass('logged',
    format('event %s, %s, of %s is in the log for tenant %s', tidings._event_id(e), e.type, tidings._moment(e.at), e.tenant)
      || coalesce(', for user ' || e.audience || ' alone', ''));
end $$;
comment on function tidings._why_logged(tidings._watch, tidings._trace, tidings._log) is 'Step of tidings.why(): is the event in the log?';

-- Each bridge tells its connections per tenant every few seconds, unless there are too many tenants.
create function tidings._why_delivered(w tidings._watch, e tidings._log) returns setof tidings._step
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  live   int     := (select count(*) from tidings._bridges() b where b.state = 'live');
  known  boolean := not exists (select from tidings._bridges() b where b.state = 'live' and b.subscribers is null);
  number bigint  := (select coalesce(sum((b.subscribers ->> e.tenant)::bigint), 0) from tidings._bridges() b where b.state = 'live');
begin
  if live = 0 then
    return query select f.code, false, f.message, f.fix from tidings._doctor_listeners() f
                  where f.code in ('stalled_listener', 'no_listener') order by f.code desc limit 1;
    return;
  elsif not w.notify and e.source <> '/emit' and not exists (select from tidings._listener l where l.checkpoint_at > e.at) then
    return next tidings._pass('not_notified', 'the watch does not notify: bridges find the event in the log at their next checkpoint');
    return;
  end if;
  return next tidings._pass('listening', format('%s listening', case when live = 1 then 'a bridge is' else live || ' bridges are' end));
  if known and number = 0 then
    return next tidings._stop('no_subscriber',
      format('nobody is connected as tenant %s; the event waits in the log for whoever resumes from before it', e.tenant), 'select * from tidings.listeners;');
    return;
  end if;
  return next tidings._pass('delivered',
    format('handed to %s of tenant %s, and sent where filters and token let %s through', case when known then number || ' connections' else 'the connections' end,
           e.tenant, e.type) || coalesce(', to user ' || e.audience || ' and admins only', ''));
end $$;
comment on function tidings._why_delivered(tidings._watch, tidings._log) is 'Steps of tidings.why(): from the log to subscribers.';

-- Each step may stop here; a step that cannot be told does not.
create function tidings._road(relation regclass, key text) returns setof tidings._step
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  w tidings._watch;
  t tidings._trace;
  e tidings._log;
  s tidings._step;
begin
  -- A partition's rows are captured with the whole table's.
  select (tidings._adapted(o)).* into w from tidings._watch o where relation in (select tidings._family(o.relation)) order by o.relation = relation desc limit 1;
  for s in select * from tidings._why_watch(w, relation) loop
    return next s;
    if not s.ok then
      return;
    end if;
  end loop;
  t := tidings._why_row(w, key);
  e := tidings._why_event(w, t.subject);
  s := tidings._why_there(w, t, e, key);
  return next s;
  if not s.ok then
    return;
  end if;
  s := tidings._why_logged(w, t, e);
  return next s;
  if s.ok then
    return query select * from tidings._why_delivered(w, e);
  end if;
end $$;
comment on function tidings._road(regclass, text) is 'The steps of a row''s newest change, as far as it came.';

create function tidings.why("table" regclass, key text) returns table (step int, name text, ok boolean, message text, fix text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
  if "table" is null or key is null then
    raise exception 'tidings.why: table and key must not be NULL' using errcode = 'invalid_parameter_value',
      hint = 'For example select * from tidings.why(''public.documents'', ''doc_123''); several key columns are joined with commas.';
  end if;
  return query select s.n::int, s.name, s.ok, s.message, s.fix from tidings._road("table", key) with ordinality s (name, ok, message, fix, n);
end $$;
comment on function tidings.why(regclass, text) is
  'Follows the newest change of one row to its subscribers and says where it stopped: the last line''s name is the verdict. key is the event''s subject.';

revoke all on all functions in schema tidings from public;
