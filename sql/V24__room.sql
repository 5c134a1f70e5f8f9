-- A server that lacks room, memory or connections refuses a watched write, whatever its size: it makes no change without its event.
--
-- Runs:   inside the writers' transactions, where capturing a change has failed.
-- As:     the owner of schema tidings.
-- Reads:  nothing. Writes: tidings._missed.
-- Locks:  none but its own new row's.
-- Fails:  for the writer, where the server lacks something that may be there again (class 53 of SQLSTATEs): the event would be lost
--         in silence, and what is refused can be written again. Not for what is wrong with a row or a setting: that is counted.
-- Undo:   tidings.pause lets a table be written without events.

create or replace function tidings._miss(relation oid, op text, state text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if state like '53%' then
    raise exception using errcode = state,
      message = format('tidings: the change of %s cannot be logged (SQLSTATE %s)', relation::regclass, state),
      hint = 'The server lacks disk space, memory or connections. Writing without events: select tidings.pause(table).';
  end if;
  insert into tidings._missed (relation, op, reason, rows) values (relation, op, state, 1);
  raise warning 'tidings: a change of % made no event (SQLSTATE %)', relation::regclass, state
    using hint = 'select * from tidings.doctor() tells why.';
end $$;
comment on function tidings._miss(oid, text, text) is
  'Counts a change that could not be captured, or refuses it where the server lacks room. Holds no row data.';
