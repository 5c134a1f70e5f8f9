-- The chat of the reference application: what docs/application.md lists under Chat.
--
-- Runs:   once, by `tidings migrate --app`, in one transaction; the functions run as whoever calls them, with a pinned search_path.
-- Reads and writes: public.chat_sessions, public.chat_messages, public.users, of one tenant.
-- Locks:  the index is built under SHARE: who writes sessions waits that long. A function that changes a session, or writes into it,
--         locks its row until the end of the transaction, so that of two who do so at once the second sees what the first has done.
-- Fails:  with tidings_app.refuse: 404 where there is no such session for the one who asks, 409 with the state as it is now, 422 naming the field.
-- Undo:   drop function tidings_app.create_chat_session, tidings_app.chat_session, …; drop index public.chat_sessions_tenant_id_started_at_idx.
--
-- Functions that read are STABLE: all their queries see the snapshot of the query that calls them, and the cursor is that snapshot's.

-- For the average waiting time, which looks at what was taken up lately.
create index on public.chat_sessions (tenant_id, started_at);

create function tidings_app.chat_session_json(s public.chat_sessions) returns json
language sql stable parallel safe set search_path = pg_catalog, pg_temp
return json_build_object(
  'id', s.id, 'user_id', s.user_id, 'subject', s.subject, 'metadata', s.metadata, 'status', s.status, 'assigned_to', s.assigned_to,
  'created_at', s.created_at, 'updated_at', s.updated_at, 'started_at', s.started_at, 'ended_at', s.ended_at, 'last_message_at', s.last_message_at);
comment on function tidings_app.chat_session_json(public.chat_sessions) is 'A chat session as the routes show it.';

create function tidings_app.chat_message_json(m public.chat_messages) returns json
language sql stable parallel safe set search_path = pg_catalog, pg_temp
return json_build_object(
  'id', m.id, 'session_id', m.session_id, 'role', m.role, 'status', m.status, 'content', m.content, 'metadata', m.metadata,
  'author', m.author, 'created_at', m.created_at, 'updated_at', m.updated_at);
comment on function tidings_app.chat_message_json(public.chat_messages) is 'A chat message as the routes show it.';

create function tidings_app.create_chat_session(tenant text, sub text, subject text, metadata jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  created public.chat_sessions;
begin
  insert into public.chat_sessions (tenant_id, user_id, subject, metadata)
    values (tenant, sub, create_chat_session.subject, coalesce(create_chat_session.metadata, '{}'))
    returning * into created;
  return tidings_app.chat_session_json(created);
end $$;
comment on function tidings_app.create_chat_session(text, text, text, jsonb) is 'Begins a conversation of this user, who then waits.';

create function tidings_app.chat_session(tenant text, sub text, id text) returns json
language sql stable set search_path = pg_catalog, pg_temp
return (select tidings_app.chat_session_json(s) from public.chat_sessions s
         where s.tenant_id = tenant and s.id = chat_session.id and (sub is null or s.user_id = sub));
comment on function tidings_app.chat_session(text, text, text) is 'One session, or null.';

-- Sessions by status are counted from an index: some milliseconds for a hundred thousand.
create function tidings_app.chat_metrics(tenant text) returns json
language sql stable set search_path = pg_catalog, pg_temp
return json_build_object(
  'sessions', (select json_build_object('waiting', count(*) filter (where s.status = 'waiting'), 'active', count(*) filter (where s.status = 'active'),
                                        'ended', count(*) filter (where s.status = 'ended'), 'archived', count(*) filter (where s.status = 'archived'))
                 from public.chat_sessions s where s.tenant_id = tenant),
  'waiting_time', json_build_object(
    'average_s', (select round(avg(extract(epoch from s.started_at - s.created_at))) from public.chat_sessions s
                   where s.tenant_id = tenant and s.started_at > now() - interval '1 hour'),
    'longest_s', (select round(extract(epoch from now() - min(s.created_at))) from public.chat_sessions s
                   where s.tenant_id = tenant and s.status = 'waiting')),
  'messages_per_minute', (select count(*) from public.chat_messages m where m.tenant_id = tenant and m.created_at > now() - interval '1 minute'));
comment on function tidings_app.chat_metrics(text) is 'Sessions by status, waiting times in seconds, messages of the last minute.';

create function tidings_app.chat_sessions(tenant text, sub text, status text[], q text, place text, max int) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  place_at timestamptz := tidings_app.place_at(place, 'before');
  place_id text        := tidings_app.place_id(place);
  found    public.chat_sessions[];
begin
  found := array(
    select s from public.chat_sessions s
     where s.tenant_id = tenant
       and (sub is null or s.user_id = sub)
       and (chat_sessions.status is null or s.status = any (chat_sessions.status))
       and (place_at is null or (s.created_at, s.id) < (place_at, place_id))
       and (q is null or strpos(lower(s.subject), lower(q)) > 0 or strpos(lower(s.user_id), lower(q)) > 0
            or exists (select from public.users u where u.tenant_id = tenant and u.id = s.user_id and strpos(lower(u.name), lower(q)) > 0))
     order by s.created_at desc, s.id desc limit max + 1);
  return json_build_object(
    'sessions', coalesce((select json_agg(tidings_app.chat_session_json(found[n]) order by n) from generate_series(1, least(cardinality(found), max)) n), '[]'),
    'metrics', case when sub is null then tidings_app.chat_metrics(tenant) end,
    'cursor', tidings.cursor(),
    'next', case when cardinality(found) > max then tidings_app.place(found[max].created_at, found[max].id) end);
end $$;
comment on function tidings_app.chat_sessions(text, text, text[], text, text, int) is 'Sessions of the tenant, or of one user, newest first.';

create function tidings_app.move_chat_session(tenant text, sub text, id text, command text, assignee text) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  s      public.chat_sessions;
  target text := coalesce(assignee, sub);
  moved  boolean;
begin
  -- Whoever comes second waits here, and then sees what the first has done.
  select c.* into s from public.chat_sessions c where c.tenant_id = tenant and c.id = move_chat_session.id for no key update;
  if not found then
    perform tidings_app.refuse(404, 'there is no chat session of this id');
  end if;
  case command
    when 'end' then
      moved := s.status in ('waiting', 'active');
    when 'archive' then
      moved := s.status = 'ended';
    when 'assign' then
      if s.status = 'active' and s.assigned_to = target then
        return tidings_app.chat_session_json(s);
      end if;
      moved := s.status = 'waiting' or s.status = 'active' and s.assigned_to is null;
    else
      perform tidings_app.refuse(422, 'command must be end, archive or assign', 'command');
  end case;
  if not moved then
    perform tidings_app.refuse(409, format('the chat session is %s%s; it cannot be %s now', s.status,
      case when s.status = 'active' then coalesce(' and assigned to ' || s.assigned_to, '') else '' end,
      case command when 'end' then 'ended' when 'archive' then 'archived' else 'assigned to another' end), '', tidings_app.chat_session_json(s));
  end if;
  update public.chat_sessions c
     set status      = case command when 'end' then 'ended' when 'archive' then 'archived' else 'active' end,
         assigned_to = case command when 'assign' then target else c.assigned_to end,
         started_at  = case command when 'assign' then coalesce(c.started_at, clock_timestamp()) else c.started_at end,
         ended_at    = case command when 'end' then clock_timestamp() else c.ended_at end
   where c.tenant_id = tenant and c.id = move_chat_session.id
   returning c.* into s;
  return tidings_app.chat_session_json(s);
end $$;
comment on function tidings_app.move_chat_session(text, text, text, text, text) is 'Ends, archives or assigns a session; refuses with what it is now where that cannot be.';

create function tidings_app.chat_messages(tenant text, sub text, session text, ids text[], place text, backwards boolean, max int) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  place_at timestamptz := tidings_app.place_at(place, case when backwards then 'before' else 'after' end);
  place_id text        := tidings_app.place_id(place);
  found    public.chat_messages[];
  more     boolean;
begin
  if tidings_app.chat_session(tenant, sub, session) is null then
    perform tidings_app.refuse(404, 'there is no chat session of this id');
  end if;
  if ids is not null then
    found := array(select m from public.chat_messages m where m.tenant_id = tenant and m.session_id = session and m.id = any (ids)
                    order by m.created_at, m.id limit max);
  elsif backwards then
    found := array(select m from public.chat_messages m
                    where m.tenant_id = tenant and m.session_id = session and (place_at is null or (m.created_at, m.id) < (place_at, place_id))
                    order by m.created_at desc, m.id desc limit max + 1);
    more  := cardinality(found) > max;
    found := array(select f from unnest(found[:max]) f order by f.created_at, f.id);
  else
    found := array(select m from public.chat_messages m
                    where m.tenant_id = tenant and m.session_id = session and (place_at is null or (m.created_at, m.id) > (place_at, place_id))
                    order by m.created_at, m.id limit max + 1);
    more  := cardinality(found) > max;
    found := found[:max];
  end if;
  return json_build_object(
    'messages', coalesce((select json_agg(tidings_app.chat_message_json(found[n]) order by n) from generate_series(1, cardinality(found)) n), '[]'),
    'cursor', tidings.cursor(),
    'next', case when more and not backwards then tidings_app.place(found[max].created_at, found[max].id) end,
    'previous', case when more and backwards then tidings_app.place(found[1].created_at, found[1].id) end);
end $$;
comment on function tidings_app.chat_messages(text, text, text, text[], text, boolean, int) is 'Messages of a session, oldest first, page by page in both directions.';

-- Once for each id, however often and from wherever it is sent at the same time: senders to one session take turns at its row. So
-- created_at also grows with each message in the order of commits, and a page never gets a message behind its place later on.
create function tidings_app.create_chat_message(tenant text, sub text, admin boolean, session text, id text, role text, content text, metadata jsonb)
returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  s  public.chat_sessions;
  m  public.chat_messages;
  at timestamptz;
begin
  if octet_length(id) not between 1 and 255 then
    perform tidings_app.refuse(422, 'id must be 1 to 255 bytes', 'id');
  end if;
  select c.* into s from public.chat_sessions c
   where c.tenant_id = tenant and c.id = session and (admin or sub is null or c.user_id = sub) for no key update;
  if not found then
    perform tidings_app.refuse(404, 'there is no chat session of this id');
  end if;
  select c.* into m from public.chat_messages c where c.tenant_id = tenant and c.session_id = session and c.id = create_chat_message.id;
  if not found then
    if s.status in ('ended', 'archived') then
      perform tidings_app.refuse(409, format('the chat session is %s; nothing can be added to it', s.status), '', tidings_app.chat_session_json(s));
    end if;
    at := greatest(clock_timestamp(), s.last_message_at + interval '1 microsecond');
    -- Somebody may insert without taking the session's row first.
    insert into public.chat_messages as c (id, tenant_id, session_id, role, content, metadata, author, created_at, updated_at)
      values (coalesce(create_chat_message.id, 'msg_' || replace(gen_random_uuid()::text, '-', '')), tenant, session, create_chat_message.role,
              create_chat_message.content, coalesce(create_chat_message.metadata, '{}'),
              case when create_chat_message.role = 'user' then coalesce(sub, s.user_id) else sub end, at, at)
      on conflict do nothing
      returning c.* into m;
    if found then
      update public.chat_sessions c
         set last_message_at = at,
             status      = case when taken then 'active' else c.status end,
             assigned_to = case when taken then sub else c.assigned_to end,
             started_at  = case when taken then at else c.started_at end
        from (select admin and create_chat_message.role = 'assistant' and s.status = 'waiting') t (taken)
       where c.tenant_id = tenant and c.id = session;
      return json_build_object('message', tidings_app.chat_message_json(m), 'created', true);
    end if;
    select c.* into m from public.chat_messages c where c.tenant_id = tenant and c.session_id = session and c.id = create_chat_message.id;
  end if;
  if (m.role, m.content) is distinct from (create_chat_message.role, create_chat_message.content) then
    perform tidings_app.refuse(409, 'another message of this chat session has this id', '', tidings_app.chat_message_json(m));
  end if;
  return json_build_object('message', tidings_app.chat_message_json(m), 'created', false);
end $$;
comment on function tidings_app.create_chat_message(text, text, boolean, text, text, text, text, jsonb) is
  'Writes a message, once for each id; an admin''s answer takes a waiting session up.';
