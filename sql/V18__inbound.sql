-- Which webhooks were taken: a delivery that comes again gets the first answer and calls nothing.
--
-- Runs:   once; the functions as the owner of schema tidings, in the transaction of each delivery to POST /v1/webhooks/{source}.
-- Writes: tidings._inbound: one row for each delivery, for a day; with each delivery up to 100 older ones are removed.
-- Locks:  the row of a delivery until its transaction ends: another with the same id waits for it. Rows that others lock are not waited
--         for when old ones are removed.
-- Fails:  only as any statement may.
-- Undo:   drop function tidings._inbound_note(text, text, bytea), tidings._inbound_answer(text, text, json); drop table tidings._inbound;
--         delete from tidings._service where name like '\_inbound\_%';

-- Ids are the senders': each has its own. The answer is kept as it was given, and holds what the application's function returned.
create table tidings._inbound (
  source text not null,
  id     text not null,
  hash   bytea not null,
  answer json,
  at     timestamptz not null default now(),
  primary key (source, id)
);
create index on tidings._inbound (at);
comment on table tidings._inbound is 'Webhooks that were taken, by source and id, and what was answered. Far longer than a signature is good for, so that none is good twice.';
comment on column tidings._inbound.hash is 'SHA-256 of the body.';
comment on column tidings._inbound.answer is 'Null only within the transaction that takes it.';

-- known: it was taken before; same: with this body. When another transaction is taking it, waits how that ends.
create function tidings._inbound_note(source text, id text, hash bytea, out known boolean, out same boolean, out answer text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  delete from tidings._inbound i using (
    select o.ctid from tidings._inbound o where o.at < now() - interval '1 day' order by o.at limit 100 for update skip locked) old
   where i.ctid = old.ctid;
  loop
    insert into tidings._inbound (source, id, hash) values ($1, $2, $3) on conflict do nothing;
    if found then
      known := false;
      return;
    end if;
    select true, i.hash = $3, i.answer::text into known, same, answer from tidings._inbound i where i.source = $1 and i.id = $2;
    if found then
      return;
    end if;
    -- It was so old that another delivery has just removed it.
  end loop;
end $$;
comment on function tidings._inbound_note(text, text, bytea) is 'Notes that a webhook is being taken, or tells what was answered when it was.';

create function tidings._inbound_answer(source text, id text, answer json) returns void
language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
  update tidings._inbound i set answer = _inbound_answer.answer where i.source = _inbound_answer.source and i.id = _inbound_answer.id;
end;
comment on function tidings._inbound_answer(text, text, json) is 'Keeps the answer to a webhook, in the transaction that took it.';

insert into tidings._service values ('_inbound_note', 'execute'), ('_inbound_answer', 'execute');

revoke all on all functions in schema tidings from public;
