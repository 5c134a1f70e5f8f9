-- Events that are not kept: somebody is typing, the next words of an answer. And what a bridge may call, as a table.
--
-- Runs:   once; the functions as the owner of schema tidings. Writes: NOTIFY only. Locks: PostgreSQL's own at commit.
-- Fails:  invalid_parameter_value when the arguments make no event, program_limit_exceeded when it is too long for a notification.
-- Undo:   drop function tidings._emit_live(text, text, jsonb, text, text).

-- Whoever is connected sees it, on every instance; it has no id, is in no log and no replay.
create function tidings._emit_live(tenant text, type text, data jsonb, subject text, audience text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set client_min_messages = warning as $$
declare
  payload text := json_build_object('live', json_build_object('at', (extract(epoch from clock_timestamp()) * 1000000)::bigint,
    'tenant', tenant, 'audience', audience, 'type', type, 'source', '/emit', 'subject', subject, 'data', data))::text;
begin
  if coalesce(tenant, '') = '' or coalesce(type, '') = '' then
    raise exception 'tidings._emit_live: tenant and type must not be empty' using errcode = 'invalid_parameter_value';
  elsif octet_length(payload) >= 8000 then
    raise exception 'tidings._emit_live: the event is larger than a notification may be' using errcode = 'program_limit_exceeded',
      hint = 'Send it in pieces, or use tidings.emit.';
  end if;
  perform pg_notify((select name from tidings._channel), payload);
end $$;
comment on function tidings._emit_live(text, text, jsonb, text, text) is 'Tells whoever is connected, and keeps nothing: typing, partial answers.';

-- Which functions and tables the service role gets. Later migrations add theirs.
create table tidings._service (
  name       text primary key,
  privileges text not null
);
comment on table tidings._service is 'What tidings.grant_service grants: names in schema tidings and the privileges on them.';
insert into tidings._service
  select f, 'execute' from unnest('{cursor,emit,doctor,why,_enrol,_listen,_checkpoint,_tell,_rotate,_refresh,_partitions,_emit_once,_watched,_emit_live}'::text[]) f
  union all select t, 'select' from unnest('{_log,_epoch,_pruned,schema_history,events,listeners,log}'::text[]) t
  union all values ('_ticket', 'select, insert, delete');

create or replace function tidings.grant_service(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  s tidings._service;
  f regprocedure;
begin
  if not exists (select from pg_roles where rolname = role) then
    raise exception 'tidings.grant_service: there is no role %', role using errcode = 'undefined_object', hint = format('create role %I nologin;', role);
  end if;
  execute format('grant usage on schema tidings to %I', role);
  for s in select * from tidings._service loop
    if s.privileges <> 'execute' then
      execute format('grant %s on tidings.%I to %I', s.privileges, s.name, role);
      continue;
    end if;
    for f in select p.oid::regprocedure from pg_proc p where p.pronamespace = 'tidings'::regnamespace and p.proname = s.name loop
      execute format('grant execute on function %s to %I', f, role);
    end loop;
  end loop;
end $$;

revoke all on all functions in schema tidings from public;
