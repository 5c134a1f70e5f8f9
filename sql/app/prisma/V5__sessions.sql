-- Chat sessions of a Prisma application.
--
-- Runs:   as the caller. Reads: public."ChatSession", "ChatMessage", "User". Writes: public."ChatSession".
-- Locks:  the one session that is moved: of two admins at once the second sees what the first has made of it.
-- Fails:  TD404, TD409 with the session as it is, TD422, and 23503 for a tenant or user that is not there.
-- Undo:   drop schema tidings_app cascade.

create function tidings_app.session_event(
  id text, tenant text, sub text, subject text, status text, assigned text, created timestamp, updated timestamp, started timestamp, ended timestamp, last timestamp,
  metadata jsonb
) returns json
language sql stable parallel safe
return json_build_object('id', id, 'tenant_id', tenant, 'user_id', sub, 'subject', subject, 'status', tidings_app.chat_state(status), 'assigned_to', assigned,
  'created_at', created at time zone 'UTC', 'updated_at', updated at time zone 'UTC', 'started_at', started at time zone 'UTC',
  'ended_at', ended at time zone 'UTC', 'last_message_at', last at time zone 'UTC', 'metadata', tidings_app.members(metadata));
comment on function tidings_app.session_event(text, text, text, text, text, text, timestamp, timestamp, timestamp, timestamp, timestamp, jsonb) is
  'A chat session as its events show it.';

-- One session of a tenant; sub null: whoever's it is.
create function tidings_app.chat_session(tenant text, sub text, id text) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (select tidings_app.without(tidings_app.session_event(s.id, '', s."userId", s.subject, s.status::text, s."assignedTo", s."createdAt", s."updatedAt", s."startedAt",
                                            s."endedAt", s."lastMessageAt", s.metadata), '{tenant_id}')
            from public."ChatSession" s
           where s."tenantId" = chat_session.tenant and s.id = chat_session.id and (chat_session.sub is null or s."userId" = chat_session.sub));
end $$;
comment on function tidings_app.chat_session(text, text, text) is 'One chat session; null where there is none for this user.';

create function tidings_app.chat_label(state text) returns text
language sql stable set search_path = pg_catalog, pg_temp
return tidings_app.spelled('public."ChatSession"', 'status', case state when 'ended' then '{ENDED,CLOSED}' else array[upper(state)] end::text[]);
comment on function tidings_app.chat_label(text) is 'How public."ChatSession" spells a status.';

create function tidings_app.create_chat_session(tenant text, sub text, subject text, metadata jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  moment timestamp := tidings_app.utc_now();
  made   text;
begin
  if create_chat_session.sub is null then
    perform tidings_app.refuse(422, 'a chat session needs a user', 'user_id');
  end if;
  insert into public."ChatSession" (id, subject, status, metadata, "createdAt", "updatedAt", "userId", "tenantId")
    select tidings_app.cuid(), create_chat_session.subject, p.status, tidings_app.members(create_chat_session.metadata), moment, moment, create_chat_session.sub, create_chat_session.tenant
      from jsonb_populate_record(null::public."ChatSession", jsonb_build_object('status', tidings_app.chat_label('waiting'))) p
    returning id into made;
  return tidings_app.chat_session(create_chat_session.tenant, null, made);
end $$;
comment on function tidings_app.create_chat_session(text, text, text, jsonb) is 'Opens a chat session of this user, waiting.';

create function tidings_app.chat_metrics(tenant text) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  present timestamp := tidings_app.utc_now();
begin
  return (
    select json_build_object(
        'sessions', json_build_object('waiting', count(*) filter (where s.state = 'waiting'), 'active', count(*) filter (where s.state = 'active'),
                                      'ended', count(*) filter (where s.state = 'ended'), 'archived', count(*) filter (where s.state = 'archived')),
        'waiting_time', json_build_object(
          'average_s', round(extract(epoch from avg(s."startedAt" - s."createdAt") filter (where s."startedAt" > present - interval '1 h')), 3),
          'longest_s', round(extract(epoch from max(present - s."createdAt") filter (where s.state = 'waiting')), 3)),
        'messages_per_minute', (select count(*) from public."ChatSession" t join public."ChatMessage" m on m."sessionId" = t.id
                                 where t."tenantId" = chat_metrics.tenant and t."lastMessageAt" > present - interval '1 min' and m."createdAt" > present - interval '1 min'))
      from (select c."startedAt", c."createdAt", tidings_app.chat_state(c.status::text) as state from public."ChatSession" c where c."tenantId" = chat_metrics.tenant) s);
end $$;
comment on function tidings_app.chat_metrics(text) is 'Sessions by status, waiting time, messages of the last minute.';

create function tidings_app.chat_sessions(tenant text, sub text, status text[], q text, place text, max int) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  at    timestamp := tidings_app.place_at(place, 'before') at time zone 'UTC';
  after text      := tidings_app.place_id(place);
begin
  return (
    with page as (
      select s.id, s."createdAt", row_number() over (order by s."createdAt" desc, s.id desc) as n
        from public."ChatSession" s
       where s."tenantId" = chat_sessions.tenant and (chat_sessions.sub is null or s."userId" = chat_sessions.sub)
         and (chat_sessions.status is null or tidings_app.chat_state(s.status::text) = any (chat_sessions.status))
         and (at is null or (s."createdAt", s.id) < (at, after))
         and (chat_sessions.q is null or position(lower(chat_sessions.q) in lower(concat_ws(' ', s.subject, s."userId",
               (select concat_ws(' ', u.name, u.email) from public."User" u where u.id = s."userId" and u."tenantId" = s."tenantId")))) > 0)
       order by s."createdAt" desc, s.id desc limit chat_sessions.max + 1)
    select json_build_object(
      'sessions', coalesce(json_agg(tidings_app.chat_session(chat_sessions.tenant, null, p.id) order by p.n) filter (where p.n <= chat_sessions.max), '[]'),
      'metrics', case when chat_sessions.sub is null then tidings_app.chat_metrics(chat_sessions.tenant) end,
      'cursor', tidings.cursor(),
      'next', case when count(*) > chat_sessions.max then max(tidings_app.place(p."createdAt" at time zone 'UTC', p.id)) filter (where p.n = chat_sessions.max) end)
      from page p);
end $$;
comment on function tidings_app.chat_sessions(text, text, text[], text, text, int) is 'Chat sessions, newest first; of the whole tenant where sub is null.';

create function tidings_app.move_chat_session(tenant text, sub text, id text, command text, assignee text) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  s       record;
  state   text;
  allowed boolean;
  target  text      := coalesce(assignee, sub);
  moment  timestamp := tidings_app.utc_now();
  next    text      := case command when 'end' then 'ended' when 'archive' then 'archived' when 'assign' then 'active' end;
begin
  if next is null then
    perform tidings_app.refuse(422, 'command must be end, archive or assign', 'command');
  elsif next = 'active' and target is null then
    perform tidings_app.refuse(422, 'assignee must be named', 'assignee');
  end if;
  select * into s from public."ChatSession" t where t."tenantId" = tenant and t.id = move_chat_session.id for update;
  if not found then
    perform tidings_app.refuse(404, 'there is no such chat session');
  end if;
  state := tidings_app.chat_state(s.status::text);
  allowed := case command when 'end' then state in ('waiting', 'active') when 'archive' then state = 'ended'
                          else state = 'waiting' or state = 'active' and coalesce(s."assignedTo", target) = target end;
  if not allowed then
    perform tidings_app.refuse(409, format('a session that is %s cannot be %s', state,
      case command when 'end' then 'ended' when 'archive' then 'archived' else 'assigned to ' || target end), '', tidings_app.chat_session(tenant, null, s.id));
  elsif state = next and s."assignedTo" = target then
    return tidings_app.chat_session(tenant, null, s.id);
  end if;
  update public."ChatSession" t set "updatedAt" = moment,
         status = case when state = next then t.status else p.status end,
         "assignedTo" = case command when 'assign' then target else t."assignedTo" end,
         "startedAt" = case when command = 'assign' and state = 'waiting' then moment else t."startedAt" end,
         "endedAt" = case command when 'end' then moment else t."endedAt" end
    from jsonb_populate_record(null::public."ChatSession", jsonb_build_object('status', tidings_app.chat_label(next))) p
   where t.id = s.id;
  return tidings_app.chat_session(tenant, null, s.id);
end $$;
comment on function tidings_app.move_chat_session(text, text, text, text, text) is 'Ends, archives or assigns a chat session; 409 with the session where it cannot be.';
