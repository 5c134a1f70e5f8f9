-- Retention by time and by size, what the log holds, and a new epoch for a database that was restored elsewhere.
--
-- Runs:   once, in one transaction. As: the owner of schema tidings.
-- Reads:  the log's size. Locks: of tidings' own tables only; a bridge of an earlier version goes on meanwhile and afterwards.
-- Fails:  when a bridge, or a transaction that took a cursor, holds one of these tables for longer than the migration waits; try again.
-- Undo:   tidings.uninstall.

alter table tidings._pruned
  add column for_time interval,        -- log.retention and log.bytes_max as a bridge last applied them; not called so, since functions
  add column for_bytes bigint;         -- of the earlier version, while they run, have parameters of those names
alter table tidings._epoch add column database oid;
update tidings._epoch set database = (select oid from pg_database where datname = current_database());
alter table tidings._listener add column subscribers jsonb;   -- live connections by tenant: {"acme": 3}; null: not told, or more than 500 tenants

-- Newest event of a table, for tidings.watches and the doctor. One that holds much, or is being written at this moment, gets its index
-- when it is emptied next: waiting for a writer to end, or building it, would make all others wait.
do $$
begin
  for slot in 0 .. 7 loop
    if pg_relation_size(format('tidings._log_%s', slot)) < 64 << 20 then
      begin
        execute format('lock table tidings._log_%s in share mode nowait', slot);
        execute format('create index _log_%1$s_source on tidings._log_%1$s (source, eid)', slot);
      exception when lock_not_available then
        null;
      end;
    end if;
  end loop;
end $$;

-- Moves the ring on when a sixth of the retention time has passed, or when the partition being written has reached an eighth of the size.
-- One instance at a time; TRUNCATE waits at most 200 ms for readers and for a transaction as old as the whole ring, and is tried
-- again later. Writers never wait: they write another partition.
create function tidings._rotate(retention interval, bytes_max bigint) returns boolean
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
  execute format('truncate tidings._log_%s', next);
  if to_regclass(format('tidings._log_%s_source', next)) is null then
    execute format('create index _log_%1$s_source on tidings._log_%1$s (source, eid)', next);
  end if;
  delete from tidings._idempotency where at < now() - interval '1 day';
  delete from tidings._missed where at < now() - interval '30 days';
  perform setval('tidings._slot', next);
  return true;
end $$;
comment on function tidings._rotate(interval, bigint) is
  'Retention: empties the oldest of eight partitions each sixth of the retention time, or when one has an eighth of the size.';

-- For bridges that know of no size.
create or replace function tidings._rotate(retention interval) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp
return tidings._rotate(retention, null);

create function tidings._partitions()
returns table (slot int, writing boolean, bytes bigint, oldest_at timestamptz, newest_at timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  for slot in 0 .. 7 loop
    return query execute format('select %1$s, %1$s = (select last_value from tidings._slot), pg_total_relation_size(%2$L),
      (select at from tidings.%3$I order by xid limit 1), (select at from tidings.%3$I order by xid desc limit 1)', slot, 'tidings._log_' || slot, '_log_' || slot);
  end loop;
end $$;
comment on function tidings._partitions() is 'One row for each partition of the log.';

create view tidings.log as select * from tidings._partitions();
comment on view tidings.log is 'Partitions of the log: which is being written, size in bytes with indexes, first and last event.';

-- As before, and: a database that was copied, within its cluster or into another, begins a history and a channel of its own. What came
-- from another cluster is removed: its transaction numbers mean nothing here.
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
      truncate tidings._log;
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

-- Who is connected to a bridge, so that the doctor can say whether somebody was there to receive an event.
create function tidings._tell(bridge text, subscribers jsonb) returns void
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  update tidings._listener l set subscribers = _tell.subscribers
   where l.bridge = _tell.bridge and l.subscribers is distinct from _tell.subscribers;
end;
comment on function tidings._tell(text, jsonb) is 'Notes the live connections of a bridge by tenant.';

revoke all on all functions in schema tidings from public;
