-- Chat messages of a Prisma application.
--
-- Runs:   as the caller. Reads and writes: public."ChatMessage", public."ChatSession".
-- Locks:  the session of a message that is written, so that messages of one session come one after the other.
-- Fails:  TD404, TD409, TD422.
-- Undo:   drop schema tidings_app cascade.
--
-- A client chooses its messages' ids, so that sending again is not sending twice; the table's key is one for all sessions and
-- tenants, where such an id could collide or tell that it exists. So the row gets a key made of session and id, and metadata
-- keeps what the client said as clientId. author stands there too. Neither is shown in metadata.

create function tidings_app.message_key(session text, id text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return 'c' || left(encode(sha256(convert_to(session || chr(31) || id, 'UTF8')), 'hex'), 24);
comment on function tidings_app.message_key(text, text) is 'The key of the message that a client calls id in this session.';

create function tidings_app.message_event(
  id text, tenant text, session text, role text, status text, content text, metadata jsonb, created timestamp, updated timestamp, sub text
) returns json
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  m jsonb := tidings_app.members(metadata);
  r text  := tidings_app.message_role(role);
begin
  return json_build_object('id', coalesce(m ->> 'clientId', id), 'tenant_id', tenant, 'session_id', session, 'role', r, 'status', tidings_app.message_state(status),
    'content', content, 'metadata', m - '{clientId,author}'::text[], 'created_at', created at time zone 'UTC', 'updated_at', updated at time zone 'UTC',
    'user_id', sub, 'author', coalesce(m ->> 'author', case r when 'user' then sub end));
end $$;
comment on function tidings_app.message_event(text, text, text, text, text, text, jsonb, timestamp, timestamp, text) is 'A chat message as its events show it.';

create function tidings_app.message_json(m jsonb, sub text) returns json
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return tidings_app.without(tidings_app.message_event(m ->> 'id', '', m ->> 'sessionId', m ->> 'role', m ->> 'status', m ->> 'content', m -> 'metadata',
                                  (m ->> 'createdAt')::timestamp, (m ->> 'updatedAt')::timestamp, sub), '{tenant_id,user_id}');
comment on function tidings_app.message_json(jsonb, text) is 'A row of "ChatMessage" as the routes show it; sub is the session''s user.';

-- The row that a client means by an id: its own choice first, else the table's key.
create function tidings_app.find_message(session text, id text) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (select to_jsonb(m.*) from public."ChatMessage" m
           where m."sessionId" = find_message.session and m.id in (find_message.id, tidings_app.message_key(find_message.session, find_message.id))
             and coalesce(tidings_app.members(m.metadata) ->> 'clientId', m.id) = find_message.id);
end $$;
comment on function tidings_app.find_message(text, text) is 'A message of a session by the id that clients see.';

create function tidings_app.chat_messages(tenant text, sub text, session text, ids text[], place text, backwards boolean, max int) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  at    timestamp := tidings_app.place_at(place, case when backwards then 'before' else 'after' end) at time zone 'UTC';
  edge  text      := tidings_app.place_id(place);
  back  boolean   := coalesce(backwards, false);
  owner text;
begin
  select s."userId" into owner from public."ChatSession" s
   where s."tenantId" = chat_messages.tenant and s.id = chat_messages.session and (chat_messages.sub is null or s."userId" = chat_messages.sub);
  if not found then
    perform tidings_app.refuse(404, 'there is no such chat session');
  end if;
  return (
    with found as (
      select m.*, case when back then row_number() over (order by m."createdAt" desc, m.id desc) else row_number() over (order by m."createdAt", m.id) end as n
        from public."ChatMessage" m
       where m."sessionId" = chat_messages.session
         and (at is null or case when back then (m."createdAt", m.id) < (at, edge) else (m."createdAt", m.id) > (at, edge) end)
         and (chat_messages.ids is null or coalesce(tidings_app.members(m.metadata) ->> 'clientId', m.id) = any (chat_messages.ids))
    ), page as (
      select * from found f where chat_messages.ids is not null or f.n <= chat_messages.max + 1
    ), beyond as (
      select case when chat_messages.ids is null and count(*) > chat_messages.max
                  then max(tidings_app.place(p."createdAt" at time zone 'UTC', p.id)) filter (where p.n = chat_messages.max) end as place
        from page p)
    select json_build_object(
      'messages', (select coalesce(json_agg(tidings_app.message_json(to_jsonb(p.*), owner) order by p."createdAt", p.id), '[]')
                     from page p where chat_messages.ids is not null or p.n <= chat_messages.max),
      'cursor', tidings.cursor(),
      'next', case when not back then b.place end,
      'previous', case when back then b.place end)
      from beyond b);
end $$;
comment on function tidings_app.chat_messages(text, text, text, text[], text, boolean, int) is 'Messages of a session, oldest first.';

-- A row of "ChatMessage", with the spelling of its enums.
create function tidings_app.insert_message(session text, key text, role text, status text, content text, metadata jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  moment timestamp := tidings_app.utc_now();
  made   jsonb;
begin
  insert into public."ChatMessage" as m (id, role, status, content, metadata, "createdAt", "updatedAt", "sessionId")
    select insert_message.key, p.role, p.status, insert_message.content, insert_message.metadata, moment, moment, insert_message.session
      from jsonb_populate_record(null::public."ChatMessage", jsonb_build_object(
             'role', tidings_app.spelled('public."ChatMessage"', 'role', array[upper(insert_message.role)]),
             'status', tidings_app.spelled('public."ChatMessage"', 'status', array[upper(insert_message.status)]))) p
    returning to_jsonb(m.*) into made;
  return made;
end $$;
comment on function tidings_app.insert_message(text, text, text, text, text, jsonb) is 'Writes a message.';

create function tidings_app.create_chat_message(
  tenant text, sub text, admin boolean, session text, id text, role text, content text, metadata jsonb
) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  s      record;
  m      jsonb;
  moment timestamp := tidings_app.utc_now();
  taken  boolean;
begin
  if create_chat_message.role is null or create_chat_message.role not in ('user', 'assistant', 'system') then
    perform tidings_app.refuse(422, 'role must be user, assistant or system', 'role');
  elsif octet_length(create_chat_message.id) not between 1 and 255 then
    perform tidings_app.refuse(422, 'id must be 1 to 255 bytes', 'id');
  end if;
  select * into s from public."ChatSession" t
   where t."tenantId" = tenant and t.id = create_chat_message.session and (admin is true or t."userId" = sub) for update;
  if not found then
    perform tidings_app.refuse(404, 'there is no such chat session');
  end if;
  m := tidings_app.find_message(s.id, create_chat_message.id);
  if m is not null then
    if tidings_app.message_role(m ->> 'role') <> create_chat_message.role or m ->> 'content' <> create_chat_message.content then
      perform tidings_app.refuse(409, 'a message with this id was sent before, with other content', '', tidings_app.message_json(m, s."userId"));
    end if;
    return json_build_object('message', tidings_app.message_json(m, s."userId"), 'created', false);
  elsif tidings_app.chat_state(s.status::text) in ('ended', 'archived') then
    perform tidings_app.refuse(409, format('the session is %s', tidings_app.chat_state(s.status::text)), '', tidings_app.chat_session(tenant, null, s.id));
  end if;
  m := tidings_app.insert_message(s.id, coalesce(tidings_app.message_key(s.id, create_chat_message.id), tidings_app.cuid()), create_chat_message.role, 'sent', create_chat_message.content,
    (tidings_app.members(create_chat_message.metadata) - '{clientId,author}'::text[])
      || jsonb_strip_nulls(jsonb_build_object('clientId', create_chat_message.id, 'author', case when create_chat_message.role <> 'system' then create_chat_message.sub end)));
  taken := admin is true and tidings_app.chat_state(s.status::text) = 'waiting';
  update public."ChatSession" t set "lastMessageAt" = moment, "updatedAt" = moment,
         status = case when taken then p.status else t.status end,
         "assignedTo" = case when taken then sub else t."assignedTo" end,
         "startedAt" = case when taken then moment else t."startedAt" end
    from jsonb_populate_record(null::public."ChatSession", jsonb_build_object('status', tidings_app.chat_label('active'))) p
   where t.id = s.id;
  return json_build_object('message', tidings_app.message_json(m, s."userId"), 'created', true);
end $$;
comment on function tidings_app.create_chat_message(text, text, boolean, text, text, text, text, jsonb) is
  'Sends a message; a second one of the same id, role and content is the first one.';
