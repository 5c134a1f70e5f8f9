-- Who may do what: an owner that nobody logs in as, a service role for bridges, nothing for anybody else.
--
-- Runs:   once, in one transaction. As: the owner of schema tidings. It makes no roles, since these belong to the whole cluster:
--         `tidings migrate --owner … --service …` or the DBA does (docs/dba.md).
-- Locks:  of tidings' own tables only, for an instant.
-- Fails:  with a hint when a role does not exist.
-- Undo:   revoke all on all tables in schema tidings, all functions in schema tidings, schema tidings from the role.
--
-- The owner runs the capture functions and owns all objects. A DBA who watches tables is a member of it. Bridges log in with the service
-- role: it reads the log, listens, keeps checkpoints and retention, and can neither watch nor read a table of the application.

create function tidings.grant_service(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  f regprocedure;
begin
  if not exists (select from pg_roles where rolname = role) then
    raise exception 'tidings.grant_service: there is no role %', role using errcode = 'undefined_object', hint = format('create role %I nologin;', role);
  end if;
  execute format('grant usage on schema tidings to %I', role);
  execute format('grant select on tidings._log, tidings._epoch, tidings._pruned, tidings.schema_history, tidings.events, tidings.listeners, tidings.log to %I', role);
  execute format('grant select, insert, delete on tidings._ticket to %I', role);
  for f in
    select p.oid::regprocedure from pg_proc p
     where p.pronamespace = 'tidings'::regnamespace
       and p.proname = any ('{cursor,emit,doctor,why,_enrol,_listen,_checkpoint,_tell,_rotate,_refresh,_partitions,_emit_once,_watched}')
  loop
    execute format('grant execute on function %s to %I', f, role);
  end loop;
end $$;
comment on function tidings.grant_service(name) is 'Gives a role what a bridge needs and no more. After an upgrade `tidings migrate` gives it again to those that have it.';

-- A migration may bring new functions; those who serve get them too.
create function tidings._grant_again() returns void
language sql set search_path = pg_catalog, pg_temp
begin atomic
  select tidings.grant_service(pg_get_userbyid(a.grantee))
    from pg_proc p, aclexplode(p.proacl) a
   where p.oid = 'tidings._listen()'::regprocedure and a.grantee not in (0, p.proowner);
end;
comment on function tidings._grant_again() is 'Repeats grant_service for every role that has it; called after migrations.';

revoke all on all functions in schema tidings from public;
