-- The log of events, and what a cursor into it is.
--
-- Runs:   once, by `tidings migrate` or at the start of `tidings serve`, in one transaction under an advisory lock.
-- As:     the role that will own schema tidings; application roles get nothing here.
-- Reads:  nothing of the application's. Locks: only what it creates.
-- Undo:   drop schema tidings cascade (the watched tables' triggers go with it).
--
-- Names that begin with an underscore are private: they change without notice.

comment on schema tidings is
  'tidings: committed changes for subscribers. Public: watch, unwatch, emit, cursor, watches, events, listeners. Names with _ are private.';

-- Which history this is. Positions in the log (xid, eid) mean nothing in another cluster, nor after a promotion
-- that may have forgotten transactions, so cursors carry the epoch and are refused when it is not this one.
create table tidings._epoch (
  one               boolean primary key default true check (one),
  epoch             text   not null,
  system_identifier bigint not null,
  timeline          int    not null
);
comment on table tidings._epoch is 'One row: the random epoch that cursors carry, and the server it belongs to.';

-- PostgreSQL lets every user LISTEN to and NOTIFY any channel. The name is the secret that keeps both out.
create table tidings._channel (
  one  boolean primary key default true check (one),
  name text    not null
);
comment on table tidings._channel is 'One row: the unguessable NOTIFY channel. Readable by the owner only; never show it.';
insert into tidings._channel (name) values ('tidings_' || replace(gen_random_uuid()::text, '-', ''));

-- Identity of events. CACHE 1 and nothing else: numbers must be handed out in time order, since within one snapshot
-- eid order is the order of changes of a row.
create sequence tidings._eid cache 1;
comment on sequence tidings._eid is 'Number of the newest event, handed out in time order.';

-- The partition that is being written: read as last_value by the trigger (no lock, no snapshot, no serialization
-- failure), moved on by retention.
create sequence tidings._slot minvalue 0 maxvalue 7 start 0 cache 1;
comment on sequence tidings._slot is 'last_value is the partition of tidings._log being written, 0 to 7.';

create table tidings._log (
  -- where it stands
  eid      bigint      not null,   -- number of the event
  xid      xid8        not null,   -- top-level transaction that made it
  head     bigint      not null,   -- eid of the first event of the same statement, whose row holds the snapshot
  snap     pg_snapshot,            -- what that statement's capture saw; set where eid = head
  nonce    int         not null,   -- random: tells an event from another that got its numbers after a crash
  slot     smallint    not null,   -- partition
  at       timestamptz not null,
  -- who may see it
  tenant   text        not null,
  audience text,                   -- the one user it is for; null: the whole tenant
  -- what it says
  type     text        not null,
  source   text        not null,
  subject  text,
  changed  text,
  data     json                    -- null: larger than an event may be
) partition by list (slot);
comment on table tidings._log is
  'Events, in a ring of eight partitions that retention empties by TRUNCATE, so that writers never wait and none is ever missing.';

create table tidings._log_0 partition of tidings._log for values in (0);
create table tidings._log_1 partition of tidings._log for values in (1);
create table tidings._log_2 partition of tidings._log for values in (2);
create table tidings._log_3 partition of tidings._log for values in (3);
create table tidings._log_4 partition of tidings._log for values in (4);
create table tidings._log_5 partition of tidings._log for values in (5);
create table tidings._log_6 partition of tidings._log for values in (6);
create table tidings._log_7 partition of tidings._log for values in (7);

-- "Not visible in snapshot S" is two ranges of the first: xid >= xmax(S), and xid in xip(S). Their lowest eid is where a
-- tenant's replay begins; from there it walks the second, page by page, without sorting.
create index on tidings._log (xid, eid);
create index on tidings._log (tenant, eid);

-- What retention has emptied so far: a cursor that had not seen all of it is outside retention.
create table tidings._pruned (
  one        boolean primary key default true check (one),
  eid        bigint      not null default 0,
  xid        xid8        not null default '0',
  rotated_at timestamptz not null default now()
);
comment on table tidings._pruned is 'One row: the highest eid and the highest xid that retention removed, and when the ring last moved on.';
insert into tidings._pruned default values;

-- What capture could not record. Insert-only, so that counting never makes one writer wait for another.
create table tidings._missed (
  at       timestamptz not null default clock_timestamp(),
  relation oid    not null,
  op       text   not null,
  reason   text   not null,        -- null_tenant, or an SQLSTATE; never row data
  rows     bigint not null
);
comment on table tidings._missed is 'Changes that produced no event: rows with a NULL tenant, and failures inside capture (their SQLSTATE).';

create table tidings._listener (
  bridge        text primary key,
  pid           int         not null,
  version       text        not null,
  started_at    timestamptz not null default now(),
  checkpoint_at timestamptz not null
);
comment on table tidings._listener is 'One row per running bridge, refreshed at each of its checkpoints.';

-- A ticket carries its owner's rights for seconds. Only its hash is kept.
create unlogged table tidings._ticket (
  hash       bytea primary key,
  claims     json        not null,
  expires_at timestamptz not null
);
comment on table tidings._ticket is 'Unused single-use tickets, by SHA-256.';

create table tidings._idempotency (
  tenant text not null,
  sub    text not null,
  key    text not null,
  hash   bytea not null,           -- of the request, so that a key is not used for two different events
  id     text not null,
  at     timestamptz not null default now(),
  primary key (tenant, sub, key)
);
comment on table tidings._idempotency is 'Answers of POST …/events by Idempotency-Key, kept for a day.';

-- A snapshot as a cursor writes it: xmax, then how far below it each unfinished transaction lies. "740-2-9" is 731:740:731,738.
create function tidings._snapshot_text(xmax bigint, xip bigint[]) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return xmax::text || coalesce((select string_agg('-' || (xmax - x)::text, '' order by x desc) from unnest(xip) x where x < xmax), '');
comment on function tidings._snapshot_text(bigint, bigint[]) is 'Compact text of a snapshot for cursors.';

-- The cursor of the current snapshot.
--
-- STABLE, so that it sees exactly what the query that calls it sees. Its snapshot is cut off behind the newest event
-- visible in it: the same events, and numbers above it that a crash may hand out again cannot look as if they had
-- been seen. A snapshot does not list its own transaction; one that has already written is carried apart, else events
-- it writes later would be lost.
create function tidings.cursor() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  newest record;
  mine   text := pg_current_xact_id_if_assigned()::text;
begin
  if pg_is_in_recovery() then
    raise exception 'tidings.cursor() cannot be taken on a standby' using
      errcode = 'read_only_sql_transaction',
      hint = 'A standby''s snapshot does not list open transactions. Ask the primary for the list and its cursor.';
  end if;
  select l.eid, l.xid::text::bigint as xid, to_hex(l.nonce) as nonce into newest
    from tidings._log l order by l.xid desc, l.eid desc limit 1;
  if not found then
    select p.eid, p.xid::text::bigint as xid, '0' as nonce into newest from tidings._pruned p;
  end if;
  return (select 'c.' || e.epoch from tidings._epoch e)
    || '.' || newest.eid || '-' || newest.xid || '-' || newest.nonce
    || '.' || tidings._snapshot_text(newest.xid + 1,
                array(select x::text::bigint from pg_snapshot_xip(pg_current_snapshot()) x))
    || '.' || coalesce(mine || '-' || (select last_value from tidings._eid), '');
end $$;
comment on function tidings.cursor() is
  'The cursor of the current snapshot: return it beside a list, subscribe from it, and each change is seen exactly once.';

-- Gives this history its epoch, and a new one when the database woke up elsewhere. Called by every bridge that connects.
create function tidings._enrol() returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  here bigint := (select system_identifier from pg_control_system());
  line int    := (select timeline_id from pg_control_checkpoint());
  was  tidings._epoch;
begin
  perform pg_advisory_xact_lock(hashtext('tidings._enrol'));
  select * into was from tidings._epoch;
  if was.epoch is null or (was.system_identifier, was.timeline) is distinct from (here, line) then
    if was.system_identifier <> here then
      truncate tidings._log;       -- rows of another cluster: their transaction numbers mean nothing here
    end if;
    insert into tidings._epoch (epoch, system_identifier, timeline)
      values (to_hex((random() * 4294967295)::bigint), here, line)
      on conflict (one) do update set epoch = excluded.epoch, system_identifier = excluded.system_identifier, timeline = excluded.timeline;
  end if;
  return (select epoch from tidings._epoch);
end $$;
comment on function tidings._enrol() is 'The epoch of this history; renewed after a restore or a promotion.';
select tidings._enrol();

-- LISTEN through a function: the channel's name then stands in no statement text that a monitoring role could read.
create function tidings._listen() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  execute format('listen %I', (select name from tidings._channel));
end $$;
comment on function tidings._listen() is 'Subscribes this session to the secret channel.';

-- Sent by a bridge to itself. When it arrives, everything its snapshot sees has arrived before it. It writes a row, so
-- its commit flushes what it saw and no crash can undo the cursor that heartbeats hand out. The cursor is an argument, so
-- that it is taken before this transaction has a number of its own.
create function tidings._checkpoint(bridge text, pid int, version text, token bigint, cursor text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into tidings._listener as l (bridge, pid, version, checkpoint_at) values (bridge, pid, version, clock_timestamp())
    on conflict on constraint _listener_pkey do update set pid = excluded.pid, checkpoint_at = excluded.checkpoint_at;
  delete from tidings._listener l where l.checkpoint_at < clock_timestamp() - interval '1 day';
  perform pg_notify((select name from tidings._channel),
    json_build_object('checkpoint', json_build_object('bridge', bridge, 'token', token, 'cursor', cursor))::text);
end $$;
comment on function tidings._checkpoint(text, int, text, bigint, text) is 'A bridge''s message to itself through NOTIFY.';

-- Moves the ring on when its time has come: empties the oldest partition, then lets writers fill it. One instance at a
-- time; TRUNCATE waits at most 200 ms for readers and for a transaction as old as the whole ring, and is tried again later.
create function tidings._rotate(retention interval) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
  next   int := ((select last_value from tidings._slot) + 1) % 8;
  newest record;
begin
  if not pg_try_advisory_xact_lock(hashtext('tidings._rotate'))
     or (select rotated_at + retention / 6 > now() from tidings._pruned) then
    return false;
  end if;
  execute format('lock table tidings._log_%s in access exclusive mode', next);
  -- xid8 has no max() before PostgreSQL 15.
  execute format('select (select max(eid) from tidings._log_%1$s) as eid, (select xid from tidings._log_%1$s order by xid desc limit 1) as xid', next)
    into newest;
  update tidings._pruned set eid = greatest(eid, newest.eid), xid = greatest(xid, newest.xid), rotated_at = now();
  execute format('truncate tidings._log_%s', next);
  delete from tidings._idempotency where at < now() - interval '1 day';
  delete from tidings._missed where at < now() - interval '30 days';
  perform setval('tidings._slot', next);
  return true;
end $$;
comment on function tidings._rotate(interval) is 'Retention: empties the oldest of eight partitions each sixth of the retention time.';

create view tidings.events as
  select l.eid || '-' || l.xid || '-' || to_hex(l.nonce) as id, l.at as "time", l.tenant, l.audience, l.type, l.source, l.subject, l.changed, l.data
    from tidings._log l;
comment on view tidings.events is 'The log: every event within retention, with the id that subscribers see.';

create view tidings.listeners as
  select l.bridge, l.pid, l.version, l.started_at, l.checkpoint_at, clock_timestamp() - l.checkpoint_at as checkpoint_age,
         pg_notification_queue_usage() as queue_usage
    from tidings._listener l
   where l.checkpoint_at > clock_timestamp() - interval '1 minute';
comment on view tidings.listeners is 'Bridges that listen, the age of their last checkpoint, and how full the NOTIFY queue is (0 to 1).';

revoke all on all functions in schema tidings from public;
