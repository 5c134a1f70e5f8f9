-- Answers of an assistant in the reference chats: what the responder needs.
--
-- Runs:   once, by `tidings migrate --app`; the functions as the caller. Reads: public.chat_sessions, chat_messages, users.
--         Writes: public.chat_messages, chat_sessions.
-- Locks:  the session while an answer is begun or finished, as sending a message does.
-- Fails:  TD404 without the session, TD422.
-- Undo:   drop function tidings_app.chat_context, tidings_app.begin_answer, tidings_app.finish_answer, tidings_app.answer_json,
--         tidings_app.lock_for_answer.

create function tidings_app.answer_json(m public.chat_messages) returns json
language sql stable parallel safe set search_path = pg_catalog, pg_temp
return json_build_object('id', m.id, 'session_id', m.session_id, 'role', m.role, 'status', m.status, 'content', m.content, 'metadata', m.metadata,
  'author', m.author, 'created_at', m.created_at, 'updated_at', m.updated_at);
comment on function tidings_app.answer_json(public.chat_messages) is 'A message as the responder is given it.';

create function tidings_app.lock_for_answer(tenant text, session text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform from public.chat_sessions s where s.tenant_id = lock_for_answer.tenant and s.id = lock_for_answer.session for update;
  if not found then
    perform tidings_app.refuse(404, 'there is no such chat session');
  end if;
end $$;
comment on function tidings_app.lock_for_answer(text, text) is 'Locks a session, so that an answer is begun and finished once; refuses where there is none.';

-- What was said up to a message, as a model is told it. Messages without content, such as answers that are being written, are left out.
create function tidings_app.chat_context(tenant text, session text, message text, max int) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  s    public.chat_sessions;
  upto public.chat_messages;
begin
  select * into s from public.chat_sessions c where c.tenant_id = chat_context.tenant and c.id = chat_context.session;
  select * into upto from public.chat_messages m where m.tenant_id = chat_context.tenant and m.session_id = chat_context.session and m.id = chat_context.message;
  if s.id is null or chat_context.message is not null and upto.id is null then
    return null;
  end if;
  return json_build_object(
    'session', json_build_object('id', s.id, 'user_id', s.user_id, 'subject', s.subject, 'metadata', s.metadata, 'status', s.status, 'assigned_to', s.assigned_to,
      'created_at', s.created_at, 'updated_at', s.updated_at, 'started_at', s.started_at, 'ended_at', s.ended_at, 'last_message_at', s.last_message_at),
    'user', json_build_object('id', s.user_id, 'name', (select u.name from public.users u where u.tenant_id = s.tenant_id and u.id = s.user_id)),
    'messages', coalesce((
      select json_agg(tidings_app.answer_json(p.m) order by (p.m).created_at, (p.m).id)
        from (select m from public.chat_messages m
               where m.tenant_id = chat_context.tenant and m.session_id = chat_context.session and m.content <> ''
                 and (upto.id is null or (m.created_at, m.id) <= (upto.created_at, upto.id))
               order by m.created_at desc, m.id desc limit chat_context.max) p), '[]'));
end $$;
comment on function tidings_app.chat_context(text, text, text, int) is 'A session, its user and the last messages up to this one.';

create function tidings_app.begin_answer(tenant text, session text, id text, metadata jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  if octet_length(begin_answer.id) between 1 and 255 is not true then
    perform tidings_app.refuse(422, 'id must be 1 to 255 bytes', 'id');
  end if;
  perform tidings_app.lock_for_answer(begin_answer.tenant, begin_answer.session);
  insert into public.chat_messages (tenant_id, session_id, id, role, status, content, metadata)
    values (begin_answer.tenant, begin_answer.session, begin_answer.id, 'assistant', 'sending', '', coalesce(begin_answer.metadata, '{}'))
    on conflict do nothing;
  return (select tidings_app.answer_json(m) from public.chat_messages m
           where m.tenant_id = begin_answer.tenant and m.session_id = begin_answer.session and m.id = begin_answer.id);
end $$;
comment on function tidings_app.begin_answer(text, text, text, jsonb) is 'The message of an answer: made now without content, or as it stands.';

-- Also a failure is told with role system, as a message that everybody sees.
create function tidings_app.finish_answer(tenant text, session text, id text, role text, status text, content text, metadata jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  done public.chat_messages;
begin
  if finish_answer.status is null or finish_answer.status not in ('sent', 'failed') then
    perform tidings_app.refuse(422, 'status must be sent or failed', 'status');
  elsif finish_answer.role is null or finish_answer.role not in ('assistant', 'system') then
    perform tidings_app.refuse(422, 'role must be assistant or system', 'role');
  end if;
  perform tidings_app.lock_for_answer(finish_answer.tenant, finish_answer.session);
  update public.chat_messages m
     set role = finish_answer.role, status = finish_answer.status, content = coalesce(finish_answer.content, ''),
         metadata = m.metadata || coalesce(finish_answer.metadata, '{}')
   where m.tenant_id = finish_answer.tenant and m.session_id = finish_answer.session and m.id = finish_answer.id and m.status = 'sending'
   returning * into done;
  if not found then
    return null;
  end if;
  update public.chat_sessions s set last_message_at = clock_timestamp() where s.tenant_id = finish_answer.tenant and s.id = finish_answer.session;
  return tidings_app.answer_json(done);
end $$;
comment on function tidings_app.finish_answer(text, text, text, text, text, text, jsonb) is 'Finishes an answer that was being written, once; null when it was not.';
