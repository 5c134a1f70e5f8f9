-- Consumers: what reads every event once, on one instance at a time, with a cursor that is kept here. And the deliveries they owe.
--
-- Runs:   once; the functions as the owner of schema tidings, called by bridges only.
-- Writes: tidings._consumer, a row for each consumer; tidings._delivery, a row for each delivery that is not done.
-- Locks:  row locks of its own tables. Deliveries are taken with SKIP LOCKED, so instances never wait for each other.
-- Fails:  never on its own account.
-- Undo:   drop table tidings._delivery, tidings._consumer cascade.
--
-- A lease, not an advisory lock: it needs no connection of its own, and an instance that was stopped and wakes up again is told that
-- it leads no more (the cursor is moved only by the holder).

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
  due_at    timestamptz not null default now(),
  dead_at   timestamptz,
  error     text,
  unique (consumer, event, part)
);
create index on tidings._delivery (consumer, due_at) where dead_at is null;
comment on table tidings._delivery is 'What consumers owe: one row for each event and recipient, gone when delivered. dead_at: given up; see error.';
comment on column tidings._delivery.part is 'The recipient, where an event has several.';
comment on column tidings._delivery.body is 'What is sent: kept, since the log forgets.';
comment on column tidings._delivery.due_at is 'When it is tried next. While somebody tries, when that attempt counts as lost.';

-- Takes the lead of a consumer, or keeps it; its cursor, or null when another bridge leads. A new consumer begins now.
create function tidings._lead(consumer text, bridge text, seconds float8) returns text
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  insert into tidings._consumer as c (name, cursor, holder, held_until)
    values (consumer, tidings.cursor(), bridge, clock_timestamp() + make_interval(secs => seconds))
    on conflict (name) do update set holder = excluded.holder, held_until = excluded.held_until
      where c.holder = excluded.holder or c.held_until < clock_timestamp()
    returning c.cursor;
end;
comment on function tidings._lead(text, text, float8) is 'The lease of a consumer for so many seconds; its cursor, null when another bridge holds it.';

-- Gives the lead back, so that another takes over at once.
create function tidings._yield(bridge text) returns void
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  update tidings._consumer c set held_until = '-infinity' where c.holder = bridge;
end;
comment on function tidings._yield(text) is 'Ends the leases of a bridge that shuts down.';

-- Moves the cursor, in the transaction that did what the events asked for. False: another leads by now, and the transaction must not commit.
create function tidings._move(consumer text, bridge text, cursor text) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  with moved as (
    update tidings._consumer c set cursor = _move.cursor, moved_at = now() where c.name = consumer and c.holder = bridge returning 1)
  select exists (select from moved);
end;
comment on function tidings._move(text, text, text) is 'Stores how far a consumer is; false when the bridge does not lead any more.';

create function tidings._owe(consumer text, event text, part text, tenant text, type text, body text) returns void
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  insert into tidings._delivery (consumer, event, part, tenant, type, body) values (consumer, event, part, tenant, type, body)
    on conflict do nothing;
end;
comment on function tidings._owe(text, text, text, text, text, text) is 'Notes a delivery, once for each event and part.';

-- Takes deliveries that are due. Whoever took one has so many seconds to say how it went; then it is due again.
create function tidings._take(consumer text, max int, seconds float8)
returns table (id bigint, event text, part text, tenant text, type text, body text, attempts int)
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  update tidings._delivery d set attempts = d.attempts + 1, due_at = clock_timestamp() + make_interval(secs => seconds)
   where d.id in (select o.id from tidings._delivery o
                   where o.consumer = _take.consumer and o.dead_at is null and o.due_at <= clock_timestamp()
                   order by o.due_at limit max for update skip locked)
  returning d.id, d.event, d.part, d.tenant, d.type, d.body, d.attempts;
end;
comment on function tidings._take(text, int, float8) is 'Deliveries that are due, for one attempt each.';

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
     where d.id = _settle.id and d.attempts = attempt;
  end if;
end $$;
comment on function tidings._settle(bigint, int, text, float8) is 'The outcome of an attempt to deliver.';

-- For DBAs.
create view tidings.consumers as
  select c.name as consumer, case when c.held_until > clock_timestamp() then c.holder end as led_by, c.moved_at,
         count(d.id) filter (where d.dead_at is null) as owed, min(d.made_at) filter (where d.dead_at is null) as oldest_owed_at,
         count(d.id) filter (where d.dead_at is not null) as dead
    from tidings._consumer c left join tidings._delivery d on d.consumer = c.name
   group by c.name;
comment on view tidings.consumers is 'Outgoing webhooks, e-mail and the responder: who leads, what is owed, what was given up.';

create view tidings.dead_letters as
  select d.id, d.consumer, d.tenant, d.type, d.event, d.part as recipient, d.attempts, d.made_at, d.dead_at, d.error
    from tidings._delivery d where d.dead_at is not null;
comment on view tidings.dead_letters is 'Deliveries that were given up. tidings.redeliver(id) tries again; delete from tidings._delivery forgets.';

create function tidings.redeliver(id bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  with again as (
    update tidings._delivery d set dead_at = null, attempts = 0, due_at = now() where d.id = redeliver.id and d.dead_at is not null returning 1)
  select exists (select from again);
end;
comment on function tidings.redeliver(bigint) is 'Tries a dead letter again, from its first attempt on. False: there is none of this id.';

insert into tidings._service
  select f, 'execute' from unnest('{_lead,_yield,_move,_owe,_take,_settle,redeliver}'::text[]) f
  union all values ('consumers', 'select'), ('dead_letters', 'select');

revoke all on all functions in schema tidings from public;
