-- Answers of an assistant in the chats of a Prisma application: what the responder needs.
--
-- Runs:   as the caller. Reads: public."ChatSession", "ChatMessage", "User". Writes: public."ChatMessage", "ChatSession".
-- Locks:  the session while an answer is begun or finished.
-- Fails:  TD404 without the session, TD422.
-- Undo:   drop schema tidings_app cascade.

-- What was said up to a message, as a model is told it. Messages without content, such as answers that are being written, are left out.
create function tidings_app.chat_context(tenant text, session text, message text, max int) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  owner text := (select s."userId" from public."ChatSession" s where s."tenantId" = chat_context.tenant and s.id = chat_context.session);
  upto  jsonb := tidings_app.find_message(chat_context.session, chat_context.message);
begin
  if owner is null or chat_context.message is not null and upto is null then
    return null;
  end if;
  return json_build_object(
    'session', tidings_app.chat_session(chat_context.tenant, null, chat_context.session),
    'user', json_build_object('id', owner, 'name', (select u.name from public."User" u where u.id = owner and u."tenantId" = chat_context.tenant)),
    'messages', coalesce((
      select json_agg(tidings_app.message_json(p.whole, owner) order by p.at, p.id)
        from (select to_jsonb(m.*) as whole, m."createdAt" as at, m.id from public."ChatMessage" m
               where m."sessionId" = chat_context.session and m.content <> ''
                 and (upto is null or (m."createdAt", m.id) <= ((upto ->> 'createdAt')::timestamp, upto ->> 'id'))
               order by m."createdAt" desc, m.id desc limit chat_context.max) p), '[]'));
end $$;
comment on function tidings_app.chat_context(text, text, text, int) is 'A session, its user and the last messages up to this one.';

-- The session's user; locks the session, so that an answer is begun and finished once.
create function tidings_app.lock_session(tenant text, session text) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  owner text;
begin
  select s."userId" into owner from public."ChatSession" s where s."tenantId" = lock_session.tenant and s.id = lock_session.session for update;
  if not found then
    perform tidings_app.refuse(404, 'there is no such chat session');
  end if;
  return owner;
end $$;
comment on function tidings_app.lock_session(text, text) is 'Locks a session and returns its user.';

create function tidings_app.begin_answer(tenant text, session text, id text, metadata jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  owner text  := tidings_app.lock_session(tenant, session);
  m     jsonb := tidings_app.find_message(session, id);
begin
  if octet_length(id) between 1 and 255 is not true then
    perform tidings_app.refuse(422, 'id must be 1 to 255 bytes', 'id');
  end if;
  if m is null then
    m := tidings_app.insert_message(session, tidings_app.message_key(session, id), 'assistant', 'sending', '',
           (tidings_app.members(metadata) - '{clientId,author}'::text[]) || jsonb_build_object('clientId', id));
  end if;
  return tidings_app.message_json(m, owner);
end $$;
comment on function tidings_app.begin_answer(text, text, text, jsonb) is 'The message of an answer: made now without content, or as it stands.';

create function tidings_app.finish_answer(tenant text, session text, id text, role text, status text, content text, metadata jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  owner  text  := tidings_app.lock_session(finish_answer.tenant, finish_answer.session);
  m      jsonb := tidings_app.find_message(finish_answer.session, finish_answer.id);
  moment timestamp := tidings_app.utc_now();
begin
  if finish_answer.status is null or finish_answer.status not in ('sent', 'failed') then
    perform tidings_app.refuse(422, 'status must be sent or failed', 'status');
  elsif finish_answer.role is null or finish_answer.role not in ('assistant', 'system') then
    perform tidings_app.refuse(422, 'role must be assistant or system', 'role');
  elsif m is null or tidings_app.message_state(m ->> 'status') <> 'sending' then
    return null;
  end if;
  update public."ChatMessage" as t set role = p.role, status = p.status, content = coalesce(finish_answer.content, ''), "updatedAt" = moment,
         metadata = tidings_app.members(t.metadata) || (tidings_app.members(finish_answer.metadata) - '{clientId,author}'::text[])
    from jsonb_populate_record(null::public."ChatMessage", jsonb_build_object(
           'role', tidings_app.spelled('public."ChatMessage"', 'role', array[upper(finish_answer.role)]),
           'status', tidings_app.spelled('public."ChatMessage"', 'status', array[upper(finish_answer.status)]))) p
   where t.id = m ->> 'id' returning to_jsonb(t.*) into m;
  update public."ChatSession" t set "lastMessageAt" = moment, "updatedAt" = moment where t.id = finish_answer.session;
  return tidings_app.message_json(m, owner);
end $$;
comment on function tidings_app.finish_answer(text, text, text, text, text, text, jsonb) is 'Finishes an answer that was being written, once; null when it was not.';
