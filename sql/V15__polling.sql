-- What a bridge must know before it answers "what changed since this cursor" from the log.
--
-- Runs:   once; the function as the owner of schema tidings, for GET …/documents?after= and …/notifications?since=.
-- Reads:  tidings._watch. Locks: none.
-- Fails:  not on its own account.
-- Undo:   drop function tidings._captures(text, text[]); delete from tidings._service where name = '_captures';

-- A table that is not watched, or paused, has no events: to say "nothing changed" would be a lie.
create function tidings._captures(type text, ops text[]) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
return exists (select from tidings._watch w where w.type = _captures.type and w.ops @> _captures.ops and w.paused_at is null);
comment on function tidings._captures(text, text[]) is 'Whether a table is watched whose events begin with this type, for all these operations, and not paused.';

insert into tidings._service values ('_captures', 'execute');

revoke all on all functions in schema tidings from public;
