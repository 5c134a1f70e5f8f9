-- Turns of the responder: which question is answered next, by whom, and follow-ups that wait until somebody has done editing.
--
-- Runs:   once; the functions as the owner of schema tidings, called by bridges only.
-- Writes: tidings._delivery, rows of the responder: one for each answer that is owed. part is the session, event the answer's id.
-- Locks:  row locks of its own rows; an advisory lock for as long as turns are given, which is one statement.
-- Fails:  never on its own account.
-- Undo:   drop function tidings._take_turns, tidings._keep_turn, tidings._has_turn, tidings._owe_latest;
--         delete from tidings._service where name in ('_take_turns', '_keep_turn', '_has_turn', '_owe_latest');
--
-- Answers are not taken with tidings._take: in one session they come one after the other, in the order of the questions, whichever
-- instances write them.

-- What waits or is written in a session, in order.
create index _delivery_turns on tidings._delivery (tenant, part, id) where consumer = 'responder' and dead_at is null;

-- Gives turns: of each session at most the first, and of all that are due the tenants' with the fewest in progress first. Whoever took one
-- says again and again that they still write (_keep_turn); else it is due again after so many seconds.
create function tidings._take_turns(max int, seconds float8)
returns table (id bigint, event text, part text, tenant text, body text, attempts int)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  moment timestamptz;
begin
  -- Asked often and mostly in vain, so without the lock first.
  if not exists (select from tidings._delivery d where d.consumer = 'responder' and d.dead_at is null and d.due_at <= clock_timestamp()) then
    return;
  end if;
  -- One at a time: two that choose at once would not see each other's choice. Nothing that may last is waited for under this lock: an
  -- edit that moves its row, or an answer whose instance was stopped while it finished. "tidi" in ASCII.
  perform pg_advisory_xact_lock(1953064041, 19);
  moment := clock_timestamp();
  return query
    with mine as materialized (
      select d.id, d.tenant, d.part, d.attempts, d.due_at from tidings._delivery d where d.consumer = 'responder' and d.dead_at is null),
    busy as (select m.tenant, count(*) as turns from mine m where m.attempts > 0 and m.due_at > moment group by m.tenant),
    first as (
      select m.id, m.due_at, coalesce(b.turns, 0) + row_number() over (partition by m.tenant order by m.due_at, m.id) as place
        from mine m left join busy b on b.tenant = m.tenant
       where m.due_at <= moment
         -- Before it comes what was asked earlier, unless that waits for the end of an edit; and what is being written.
         and not exists (
           select from tidings._delivery e
            where e.consumer = 'responder' and e.dead_at is null and e.tenant = m.tenant and e.part = m.part and e.id <> m.id
              and (e.id < m.id and (e.attempts > 0 or e.due_at <= moment) or e.attempts > 0 and e.due_at > moment)))
    update tidings._delivery d set attempts = d.attempts + 1, due_at = clock_timestamp() + make_interval(secs => seconds)
     where d.id in (
       select o.id from tidings._delivery o
        where o.id in (select f.id from first f order by f.place, f.due_at, f.id limit max) and o.due_at <= moment
          for update skip locked)
    returning d.id, d.event, d.part, d.tenant, d.body, d.attempts;
end $$;
comment on function tidings._take_turns(int, float8) is 'Answers that are due, at most one of each session, for one attempt each.';

-- Still writing, for so many seconds more. False: the turn is another's by now. In the transaction that finishes an answer it also
-- keeps everybody else from it.
create function tidings._keep_turn(id bigint, attempt int, seconds float8) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  -- Whoever is stopped while they finish shall not keep the session locked for their users.
  perform set_config('idle_in_transaction_session_timeout', '5s', true);
  update tidings._delivery d set due_at = clock_timestamp() + make_interval(secs => seconds)
   where d.id = _keep_turn.id and d.attempts = attempt and d.dead_at is null;
  return found;
end $$;
comment on function tidings._keep_turn(bigint, int, float8) is 'Prolongs a turn; false when it is another''s by now.';

-- The same question without a write, for each piece of text that is shown.
create function tidings._has_turn(id bigint, attempt int) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
return exists (select from tidings._delivery d where d.id = _has_turn.id and d.attempts = attempt and d.dead_at is null);
comment on function tidings._has_turn(bigint, int) is 'Whether a turn is still that of this attempt.';

-- Notes a delivery that waits for so many seconds, and with each call from the beginning, on whichever instance: what was noted last is
-- what will be delivered. One that is being delivered already is left alone, and another is noted behind it. Returns when it is due.
create function tidings._owe_latest(consumer text, event text, part text, tenant text, type text, body text, seconds float8) returns timestamptz
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  due timestamptz;
begin
  perform pg_advisory_xact_lock(1953064041, hashtext(consumer || ' ' || tenant || ' ' || part));
  due := clock_timestamp() + make_interval(secs => seconds);
  update tidings._delivery d set body = _owe_latest.body, due_at = due
   where d.consumer = _owe_latest.consumer and d.tenant = _owe_latest.tenant and d.part = _owe_latest.part and d.type = _owe_latest.type
     and d.attempts = 0 and d.dead_at is null;
  if not found then
    insert into tidings._delivery (consumer, event, part, tenant, type, body, due_at) values (consumer, event, part, tenant, type, body, due);
  end if;
  return due;
end $$;
comment on function tidings._owe_latest(text, text, text, text, text, text, float8) is
  'Notes a delivery that waits until nothing newer of its kind comes; returns when it is due.';

insert into tidings._service select f, 'execute' from unnest('{_take_turns,_keep_turn,_has_turn,_owe_latest}'::text[]) f;

revoke all on all functions in schema tidings from public;
