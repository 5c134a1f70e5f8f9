-- Events carry the trace of the transaction that made them, where the application says which one that is.
--
-- Runs:   once; the functions inside the writers' transactions, as before.
-- As:     the owner of schema tidings.
-- Reads:  the setting tidings.traceparent of the writer's transaction. Writes: one row for each transaction that sets it and makes events.
-- Locks:  none that anybody waits for: tidings._log stays as it is, since transactions that made events hold it.
-- Fails:  never for a writer: what is no trace is left out.
-- Undo:   tidings.uninstall.
--
--   select set_config('tidings.traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', true);
--
-- It is the traceparent of W3C Trace Context, and ends with the transaction. A transaction has one: what is set anew after its first
-- event may not be taken. There is no place for tracestate: what vendors put there is not for browsers.

-- By partition, so that retention empties it together with the log's.
create table tidings._traced (
  xid   xid8     not null,
  slot  smallint not null,
  trace text     not null,
  primary key (xid, slot)
) partition by list (slot);
comment on table tidings._traced is 'W3C traceparents of transactions that made events, in the partitions in which these are.';
create table tidings._traced_0 partition of tidings._traced for values in (0);
create table tidings._traced_1 partition of tidings._traced for values in (1);
create table tidings._traced_2 partition of tidings._traced for values in (2);
create table tidings._traced_3 partition of tidings._traced for values in (3);
create table tidings._traced_4 partition of tidings._traced for values in (4);
create table tidings._traced_5 partition of tidings._traced for values in (5);
create table tidings._traced_6 partition of tidings._traced for values in (6);
create table tidings._traced_7 partition of tidings._traced for values in (7);
insert into tidings._service values ('_traced', 'select');

-- Called only where something is set: capture looks at the setting itself, which costs next to nothing.
create function tidings._note_trace(xid xid8, slot smallint) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  trace text := current_setting('tidings.traceparent', true);
begin
  if trace !~ '^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$' then
    return null;
  end if;
  insert into tidings._traced values (xid, slot, trace) on conflict do nothing;
  return trace;
end $$;
comment on function tidings._note_trace(xid8, smallint) is
  'Notes the trace of this transaction, once for each partition that it writes, and returns it; null for what is none.';

-- The rest are functions of V2, V5 and V8, and the view of V1, with the trace added.

create or replace function tidings._record(relation oid, op text, origin text, notify boolean, changes tidings._change[]) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp set client_min_messages = warning as $$
declare
  seen    pg_snapshot := pg_current_snapshot();
  mine    xid8        := pg_current_xact_id();
  target  text        := (select name from tidings._channel);
  part    smallint    := (select last_value from tidings._slot);
  c       tidings._change;
  number  bigint;
  head    bigint;
  nonce   int;
  moment  timestamptz;
  trace   text;
  payload text;
  skipped int := 0;
begin
  if current_setting('tidings.traceparent', true) <> '' then
    trace := tidings._note_trace(mine, part);
  end if;
  foreach c in array changes loop
    if c.tenant is null then
      skipped := skipped + 1;
      continue;
    end if;
    if octet_length(c.data::text) > 8388608 then
      c.data := null;
    end if;
    number := nextval('tidings._eid');
    nonce  := (random() * 4294967295)::bigint - 2147483648;
    moment := clock_timestamp();
    insert into tidings._log (eid, xid, head, snap, nonce, slot, at, tenant, audience, type, source, subject, changed, data)
      values (number, mine, coalesce(head, number), case when head is null then seen end, nonce, part, moment,
              c.tenant, c.audience, c.type, origin, c.subject, c.changed, c.data);
    head := coalesce(head, number);
    if notify then
      payload := json_build_object('eid', number, 'xid', mine::text::bigint, 'snap', seen, 'nonce', to_hex(nonce),
        'at', (extract(epoch from moment) * 1000000)::bigint, 'tenant', c.tenant, 'audience', c.audience, 'type', c.type,
        'source', origin, 'subject', c.subject, 'changed', c.changed, 'data', c.data)::text;
      if trace is not null then
        payload := left(payload, -1) || ',"traceparent":"' || trace || '"}';
      end if;
      perform pg_notify(target, case when octet_length(payload) < 8000 then payload else tidings._reference(mine, number, number) end);
    end if;
  end loop;
  if skipped > 0 then
    insert into tidings._missed (relation, op, reason, rows) values (relation, op, 'null_tenant', skipped);
  end if;
  return number || '-' || mine || '-' || to_hex(nonce);
end $$;

create or replace function tidings._body(w tidings._watch, op text) returns text
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
      if current_setting('tidings.traceparent', true) <> '' then
        perform tidings._note_trace(mine, slot);
      end if;
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

create or replace function tidings._rotate(retention interval, bytes_max bigint) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
  slot   int;
  next   int;
  newest record;
begin
  if not pg_try_advisory_xact_lock(hashtext('tidings._rotate')) then
    return false;
  end if;
  -- Read under the lock: whoever had it before may have moved the ring on.
  slot := (select last_value from tidings._slot);
  next := (slot + 1) % 8;
  update tidings._pruned p set for_time = retention, for_bytes = bytes_max where (p.for_time, p.for_bytes) is distinct from (retention, bytes_max);
  if (select p.rotated_at + retention / 6 > now() from tidings._pruned p)
     and coalesce(pg_total_relation_size(format('tidings._log_%s', slot)) < bytes_max / 8, true) then
    return false;
  end if;
  execute format('lock table tidings._log_%s in access exclusive mode', next);
  -- xid8 has no max() before PostgreSQL 15.
  execute format('select (select max(eid) from tidings._log_%1$s) as eid, (select xid from tidings._log_%1$s order by xid desc limit 1) as xid', next)
    into newest;
  update tidings._pruned p set eid = greatest(p.eid, newest.eid), xid = greatest(p.xid, newest.xid), rotated_at = now();
  execute format('truncate tidings._log_%1$s, tidings._traced_%1$s', next);
  if to_regclass(format('tidings._log_%s_source', next)) is null then
    execute format('create index _log_%1$s_source on tidings._log_%1$s (source, eid)', next);
  end if;
  delete from tidings._idempotency where at < now() - interval '1 day';
  delete from tidings._missed where at < now() - interval '30 days';
  perform setval('tidings._slot', next);
  return true;
end $$;

create or replace function tidings._enrol() returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  here bigint := (select system_identifier from pg_control_system());
  line int    := (select timeline_id from pg_control_checkpoint());
  base oid    := (select oid from pg_database where datname = current_database());
  was  tidings._epoch;
begin
  perform pg_advisory_xact_lock(hashtext('tidings._enrol'));
  select * into was from tidings._epoch;
  if was.epoch is null or (was.system_identifier, was.timeline, was.database) is distinct from (here, line, base) then
    if was.system_identifier <> here then
      truncate tidings._log, tidings._traced;
      delete from tidings._missed;
      update tidings._pruned set eid = (select last_value from tidings._eid), xid = '0', rotated_at = now();
    end if;
    if (was.system_identifier, was.database) is distinct from (here, base) then
      update tidings._channel set name = 'tidings_' || replace(gen_random_uuid()::text, '-', '');
      delete from tidings._listener;
      delete from tidings._ticket;
      perform tidings._refresh();
    end if;
    insert into tidings._epoch (epoch, system_identifier, timeline, database)
      values (to_hex((random() * 4294967295)::bigint), here, line, base)
      on conflict (one) do update set epoch = excluded.epoch, system_identifier = excluded.system_identifier, timeline = excluded.timeline,
        database = excluded.database;
  end if;
  return (select epoch from tidings._epoch);
end $$;

create or replace view tidings.events as
  select l.eid || '-' || l.xid || '-' || to_hex(l.nonce) as id, l.at as "time", l.tenant, l.audience, l.type, l.source, l.subject, l.changed, l.data,
         (select t.trace from tidings._traced t where t.xid = l.xid and t.slot = l.slot) as traceparent
    from tidings._log l;

-- The functions of tables that are watched already, which their triggers take up at once. One that cannot be written now stays as
-- it is: it goes on, its large statements without traces, and tidings.doctor() says what is wrong with its table.
do $$
declare
  w tidings._watch;
begin
  for w in select * from tidings._watch where exists (select from pg_class where oid = relation) loop
    begin
      perform tidings._compile(w);
    exception when others then
      raise warning 'tidings: the capture functions of % stay as they are (SQLSTATE %)', w.name, sqlstate;
    end;
  end loop;
end $$;

revoke all on all functions in schema tidings from public;
