-- A cursor taken in a transaction that has itself logged events.
--
-- Runs:   once, in one transaction. As: the owner of schema tidings.
-- Reads:  nothing. Locks: none that anybody waits for.
-- Fails:  not on its own account. Undo: tidings.uninstall.

-- As before, but for one thing: the newest visible event may be of the transaction itself, whose number can lie above all that its
-- snapshot knows of. Cutting off behind that number would count others in between as seen that are still open, and lose their events.
create or replace function tidings.cursor() returns text
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
    || '.' || tidings._snapshot_text(least(newest.xid + 1, pg_snapshot_xmax(pg_current_snapshot())::text::bigint),
                array(select x::text::bigint from pg_snapshot_xip(pg_current_snapshot()) x))
    || '.' || coalesce(mine || '-' || (select last_value from tidings._eid), '');
end $$;
