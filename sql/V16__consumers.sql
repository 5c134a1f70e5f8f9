-- Consumers: what reads every event once, on one instance at a time, with a cursor that is kept here. And the deliveries they owe.
--
-- Runs:   once; the functions as the owner of schema tidings, called by bridges, and redeliver and forget_consumer by DBAs.
-- Writes: tidings._consumer, a row for each consumer; tidings._delivery, a row for each delivery that is not done.
-- Locks:  row locks of its own tables. Leads and deliveries are taken with SKIP LOCKED, so instances never wait for each other.
-- Fails:  never on its own account.
-- Undo:   drop table tidings._delivery, tidings._consumer cascade.
--
-- A lease, not an advisory lock: it needs no connection of its own, and an instance that was stopped and wakes up again is told that
-- it leads no more. Only the holder moves the cursor, and once another has taken over, only asking for the lead anew makes a holder:
-- the cursor that comes with it is the stored one.

create table tidings._consumer (
  name       text primary key,
  cursor     text not null,
  holder     text,
  held_until timestamptz not null default '-infinity',
  moved_at   timestamptz not null default now()
);
comment on table tidings._consumer is 'Durable consumers: how far each is, and which bridge reads for it until when.';

create table tidings._delivery (
  id        bigint generated always as identity primary key,
  consumer  text not null,
  event     text not null,
  part      text not null default '',
  tenant    text not null,
  type      text not null,
  body      text not null,
  attempts  int not null default 0,
  made_at   timestamptz not null default now(),
  since     timestamptz not null default now(),
  due_at    timestamptz not null default now(),
  dead_at   timestamptz,
  error     text,
  unique (consumer, event, part)
);
-- Each tenant's oldest is found by itself, so that a tenant with a thousand of them does not stand before the others.
create index on tidings._delivery (consumer, tenant, due_at) where dead_at is null;
create index on tidings._delivery (dead_at) where dead_at is not null;
comment on table tidings._delivery is 'What consumers owe: one row for each event and recipient, gone when delivered. dead_at: given up; see error.';
comment on column tidings._delivery.part is 'The recipient, where an event has several.';
comment on column tidings._delivery.body is 'What is sent: kept, since the log forgets.';
comment on column tidings._delivery.since is 'From when on it is tried: when it was made, or tidings.redeliver was called.';
comment on column tidings._delivery.due_at is 'When it is tried next. While somebody tries, when that attempt counts as lost.';

-- Takes the lead of a consumer; its cursor, or null when another bridge leads. A new consumer begins now. Whoever asks in vain locks
-- nothing: a leader that was stopped in the middle of a transaction would make all others wait for it.
create function tidings._lead(consumer text, bridge text, seconds float8) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  place text;
begin
  if not exists (select from tidings._consumer c where c.name = consumer) then
    insert into tidings._consumer (name, cursor) values (consumer, tidings.cursor()) on conflict do nothing;
  end if;
  if exists (select from tidings._consumer c where c.name = consumer and c.holder <> bridge and c.held_until > clock_timestamp()) then
    return null;
  end if;
  update tidings._consumer c set holder = bridge, held_until = clock_timestamp() + make_interval(secs => seconds)
   where c.name = (select f.name from tidings._consumer f
                    where f.name = consumer and (f.holder = bridge or f.held_until <= clock_timestamp()) for update skip locked)
  returning c.cursor into place;
  return place;
end $$;
comment on function tidings._lead(text, text, float8) is 'The lease of a consumer for so many seconds; its cursor, null when another bridge holds it.';

-- Keeps the lead. False: another had it since, also when nobody has it now; the cursor must be asked for anew.
create function tidings._renew(consumer text, bridge text, seconds float8) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  with renewed as (
    update tidings._consumer c set held_until = clock_timestamp() + make_interval(secs => seconds)
     where c.name = consumer and c.holder = bridge returning 1)
  select exists (select from renewed);
end;
comment on function tidings._renew(text, text, float8) is 'Prolongs the lease of a consumer; false when the bridge does not hold it any more.';

-- Gives the lead back, so that another takes over at once.
create function tidings._yield(bridge text) returns void
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  update tidings._consumer c set holder = null, held_until = '-infinity' where c.holder = bridge;
end;
comment on function tidings._yield(text) is 'Ends the leases of a bridge that shuts down.';

-- Moves the cursor, in the transaction that does what the events ask for. False: another leads by now, and the transaction must not
-- commit. A bridge that is stopped in this transaction shall not keep the row for longer than its lease.
create function tidings._move(consumer text, bridge text, cursor text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform set_config('idle_in_transaction_session_timeout', '5s', true);
  update tidings._consumer c set cursor = _move.cursor, moved_at = now() where c.name = consumer and c.holder = bridge;
  return found;
end $$;
comment on function tidings._move(text, text, text) is 'Stores how far a consumer is; false when the bridge does not lead any more.';

create function tidings._owe(consumer text, event text, part text, tenant text, type text, body text) returns void
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  insert into tidings._delivery (consumer, event, part, tenant, type, body) values (consumer, event, part, tenant, type, body)
    on conflict do nothing;
end;
comment on function tidings._owe(text, text, text, text, text, text) is 'Notes a delivery, once for each event and part.';

-- Takes deliveries that are due: of each tenant as many as of every other and at most so many, the oldest first; none of tenants that
-- are busy. Whoever took one has so many seconds to say how it went; then it is due again.
create function tidings._take(consumer text, max int, seconds float8, busy text[] default '{}', each int default null)
returns table (id bigint, event text, part text, tenant text, type text, body text, attempts int, age float8)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
  owing text[];
begin
  -- One step of the index for each tenant that is owed something, however much that is.
  with recursive t (tenant) as (
    (select d.tenant from tidings._delivery d where d.consumer = _take.consumer and d.dead_at is null order by d.tenant limit 1)
    union all
    select (select d.tenant from tidings._delivery d
             where d.consumer = _take.consumer and d.dead_at is null and d.tenant > t.tenant order by d.tenant limit 1)
      from t where t.tenant is not null)
  select array_agg(t.tenant) into owing from t where t.tenant <> all (busy)
     and exists (select from tidings._delivery d
                  where d.consumer = _take.consumer and d.tenant = t.tenant and d.dead_at is null and d.due_at <= clock_timestamp());
  if owing is null then
    return;
  end if;
  return query
    update tidings._delivery d set attempts = d.attempts + 1, due_at = clock_timestamp() + make_interval(secs => seconds)
     where d.id = any (array(
             select l.id from unnest(owing) t, lateral (
                      select o.id, o.due_at from tidings._delivery o
                       where o.consumer = _take.consumer and o.tenant = t and o.dead_at is null and o.due_at <= clock_timestamp()
                       order by o.due_at limit greatest(1, least(each, max / cardinality(owing))) for update skip locked) l
              order by l.due_at limit max))
    returning d.id, d.event, d.part, d.tenant, d.type, d.body, d.attempts, extract(epoch from clock_timestamp() - d.since)::float8;
end $$;
comment on function tidings._take(text, int, float8, text[], int) is
  'Deliveries that are due, for one attempt each; age: seconds since they are tried.';

-- How an attempt went: delivered (no error), to be tried again in so many seconds, or given up (seconds null).
create function tidings._settle(id bigint, attempt int, error text, seconds float8) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if error is null then
    delete from tidings._delivery d where d.id = _settle.id;
  else
    -- An attempt that was given up as lost, and taken again meanwhile, decides nothing.
    update tidings._delivery d set error = left(_settle.error, 500), due_at = coalesce(clock_timestamp() + make_interval(secs => seconds), d.due_at),
           dead_at = case when seconds is null then clock_timestamp() end
     where d.id = _settle.id and d.attempts = attempt and d.dead_at is null;
  end if;
end $$;
comment on function tidings._settle(bigint, int, text, float8) is 'The outcome of an attempt to deliver.';

-- A delivery that turns out to be for several becomes one for each, unless it was taken again meanwhile; how many.
create function tidings._split(id bigint, attempt int, parts text[]) returns bigint
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  with whole as (
    delete from tidings._delivery d where d.id = _split.id and d.attempts = attempt and d.part = '' returning d.consumer, d.event, d.tenant, d.type, d.body),
  made as (
    insert into tidings._delivery (consumer, event, part, tenant, type, body)
      select w.consumer, w.event, p, w.tenant, w.type, w.body from whole w, unnest(parts) p where p <> ''
      on conflict do nothing returning 1)
  select count(*) from made;
end;
comment on function tidings._split(bigint, int, text[]) is 'Puts a delivery to each recipient in the place of the one that named none.';

-- Forgets what was given up long ago.
create function tidings._bury(age interval) returns bigint
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  with buried as (delete from tidings._delivery d where d.dead_at < now() - age returning 1) select count(*) from buried;
end;
comment on function tidings._bury(interval) is 'Removes dead letters older than this; how many.';

-- For DBAs.
create view tidings.consumers as
  select c.name as consumer, case when c.held_until > clock_timestamp() then c.holder end as led_by, c.moved_at,
         count(d.id) filter (where d.dead_at is null) as owed, min(d.since) filter (where d.dead_at is null) as oldest_owed_at,
         count(d.id) filter (where d.dead_at is not null) as dead
    from tidings._consumer c left join tidings._delivery d on d.consumer = c.name
   group by c.name;
comment on view tidings.consumers is 'Outgoing webhooks, e-mail and the responder: who leads, what is owed, what was given up.';

create view tidings.dead_letters as
  select d.id, d.consumer, d.tenant, d.type, d.event, d.part as recipient, d.attempts, d.made_at, d.dead_at, d.error
    from tidings._delivery d where d.dead_at is not null;
comment on view tidings.dead_letters is
  'Deliveries that were given up, kept for 30 days. tidings.redeliver(id) tries again; delete from tidings._delivery forgets.';

create function tidings.redeliver(id bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  with again as (
    update tidings._delivery d set dead_at = null, attempts = 0, since = now(), due_at = now()
     where d.id = redeliver.id and d.dead_at is not null returning 1)
  select exists (select from again);
end;
comment on function tidings.redeliver(bigint) is 'Tries a dead letter again, from its first attempt on. False: there is none of this id.';

-- What a consumer that is configured no more leaves behind: its place in the log, and what it owes.
create function tidings.forget_consumer(name text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from tidings._consumer c where c.name = forget_consumer.name and c.held_until > clock_timestamp()) then
    raise exception 'tidings.forget_consumer: a bridge reads for % at this moment', name using errcode = 'object_in_use',
      hint = 'Take it out of the configuration of all bridges first, and restart them.';
  end if;
  delete from tidings._delivery d where d.consumer = name;
  delete from tidings._consumer c where c.name = forget_consumer.name;
  return found;
end $$;
comment on function tidings.forget_consumer(text) is 'Removes a consumer and what it owes. One of the same name begins anew, with what is committed then.';

insert into tidings._service
  select f, 'execute' from unnest('{_lead,_renew,_yield,_move,_owe,_take,_settle,_split,_bury,redeliver}'::text[]) f
  union all values ('consumers', 'select'), ('dead_letters', 'select');

revoke all on all functions in schema tidings from public;
