-- What bridges agree on about chats: who tells of metrics this second, and who looks at which session.
--
-- Runs:   once; the functions as the owner of schema tidings, called by bridges. Reads and writes: the two tables below, tidings._listener.
-- Locks:  a row of tidings._turn for the time in which metrics are computed; an advisory lock while viewers change, for one statement.
-- Fails:  not on its own account. Undo: drop function tidings._take_turn, tidings._say, tidings._viewers, tidings._presence;
--         drop table tidings._turn, tidings._viewer.

create table tidings._turn (
  name   text        not null,
  tenant text        not null,
  at     timestamptz not null,
  said   text,
  primary key (name, tenant)
);
comment on table tidings._turn is 'What bridges do for a tenant at most every so often, whatever their number: when it was last done, and what was said.';
comment on column tidings._turn.said is 'What was last told, as text, so that it is not told twice.';

-- Null: it is the caller's turn until its transaction ends. 0: somebody has taken one within `since_s`, in which the caller's reason lies;
-- it saw what the caller wants to have seen. Else the seconds after which to ask again.
create function tidings._take_turn(name text, tenant text, every_s double precision, since_s double precision) returns double precision
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  last timestamptz;
  age  double precision;
begin
  insert into tidings._turn (name, tenant, at) values (_take_turn.name, _take_turn.tenant, clock_timestamp()) on conflict do nothing;
  if found then
    return null;
  end if;
  select t.at into last from tidings._turn t where t.name = _take_turn.name and t.tenant = _take_turn.tenant for update;
  age := extract(epoch from clock_timestamp() - last);
  -- A clock that was set back must not silence a tenant until it has caught up.
  if age between 0 and since_s then
    return 0;
  elsif age >= 0 and age < every_s then
    return every_s - age;
  end if;
  update tidings._turn t set at = clock_timestamp() where t.name = _take_turn.name and t.tenant = _take_turn.tenant;
  return null;
end $$;
comment on function tidings._take_turn(text, text, double precision, double precision) is 'Whether it is the caller''s turn to do something for a tenant that is done at most every so often.';

create function tidings._say(name text, tenant text, said text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update tidings._turn t set said = _say.said where t.name = _say.name and t.tenant = _say.tenant and t.said is distinct from _say.said;
  return found;
end $$;
comment on function tidings._say(text, text, text) is 'Whether this is not what was said last; notes it.';

-- Unlogged: after a crash of the server nobody is connected, and bridges tell again what they have.
create unlogged table tidings._viewer (
  bridge     text        not null,
  connection text        not null,
  tenant     text        not null,
  session    text        not null,
  sub        text        not null,
  since      timestamptz not null default clock_timestamp(),
  primary key (bridge, connection, tenant, session)
);
comment on table tidings._viewer is 'Who looks at which chat session, by connection of a bridge.';
create index on tidings._viewer (tenant, session);

-- Rows of a bridge that has kept no checkpoint for so long do not count: it may be gone.
create function tidings._is_listening(bridge text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
return exists (select from tidings._listener l where l.bridge = _is_listening.bridge and l.checkpoint_at > clock_timestamp() - interval '10 seconds');
comment on function tidings._is_listening(text) is 'Whether a bridge is alive, going by its checkpoints.';

-- Makes this bridge's rows what it says, takes away those of bridges that are gone, and tells the admins of each tenant what has
-- changed, live. Under a lock, so that events come in the order of what they say.
create function tidings._viewers(bridge text, viewers jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  touched tidings._viewer[];
  more    tidings._viewer[];
begin
  perform pg_advisory_xact_lock(hashtext('tidings._viewers'));
  with gone as (
    delete from tidings._viewer v
     where case when v.bridge = _viewers.bridge
             then not exists (select from jsonb_to_recordset(viewers) w (connection text, tenant text, session text, sub text)
                               where (w.connection, w.tenant, w.session, w.sub) = (v.connection, v.tenant, v.session, v.sub))
             else not tidings._is_listening(v.bridge) end
    returning v)
  select array_agg(v) into touched from gone;
  with come as (
    insert into tidings._viewer as v (bridge, connection, tenant, session, sub)
      select _viewers.bridge, w.* from jsonb_to_recordset(viewers) w (connection text, tenant text, session text, sub text)
      on conflict do nothing
    returning v)
  select array_agg(v) into more from come;
  -- As many as a notification has room for, those who came first.
  perform tidings._emit_live(s.tenant, 'chat.presence', jsonb_build_object('session_id', s.session, 'viewers', coalesce((
      select jsonb_agg(n.sub order by n.since, n.sub)
        from (select v.sub, min(v.since) as since, sum(octet_length(to_json(v.sub)::text) + 2) over (order by min(v.since), v.sub) as bytes
                from tidings._viewer v where v.tenant = s.tenant and v.session = s.session
                 and (v.bridge = _viewers.bridge or tidings._is_listening(v.bridge)) group by v.sub) n
       where n.bytes <= 5000), '[]')), s.session, '')
    from (select distinct t.tenant, t.session from unnest(touched || more) t) s;
end $$;
comment on function tidings._viewers(text, jsonb) is 'Who looks at which chat session through this bridge, all of it; tells what has changed.';

create function tidings._presence(tenant text) returns json
language sql stable security definer set search_path = pg_catalog, pg_temp
return (select coalesce(json_object_agg(s.session, s.viewers), '{}')
          from (select n.session, json_agg(json_build_object('sub', n.sub, 'since', n.since) order by n.since, n.sub) as viewers
                  from (select v.session, v.sub, min(v.since) as since from tidings._viewer v
                         where v.tenant = _presence.tenant and tidings._is_listening(v.bridge) group by v.session, v.sub) n
                 group by n.session) s);
comment on function tidings._presence(text) is 'Who looks at which chat session of a tenant, over all bridges.';

insert into tidings._service values ('_take_turn', 'execute'), ('_say', 'execute'), ('_viewers', 'execute'), ('_presence', 'execute');

revoke all on all functions in schema tidings from public;
