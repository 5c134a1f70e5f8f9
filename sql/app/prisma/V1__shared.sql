-- What tidings asks of an application whose tables were made by Prisma: the parts that all functions share.
--
-- Runs:   once, by `tidings migrate --app prisma`. As: a role that may create a schema and read the application's tables.
-- Reads:  the catalogs. Writes: schema tidings_app only; the application's tables, types and constraints stay as they are.
-- Locks:  none on the application's tables.
-- Fails:  naming what is missing where the tables are not as tests/prisma/schema.prisma has them; nothing is made then.
-- Undo:   detach the triggers (triggers/prisma), then drop schema tidings_app cascade; drop table tidings.prisma_history;
--
-- No function here makes PostgreSQL refuse a migration of the application: bodies are texts that are bound when they run, and no
-- argument, view or foreign key names one of its tables or enums. Whoever renames a column that is used here changes the
-- function too (create or replace). Times in Prisma's tables are UTC without a zone and exact to a millisecond.

do $$
declare
  -- A table and the columns that are used of it. Chats may be absent, both tables together.
  needed  jsonb := '{"Tenant": ["id"], "User": ["id", "name", "email", "tenantId"],
    "documents": ["id", "name", "type", "url", "status", "metadata", "createdAt", "updatedAt", "userId", "tenantId"],
    "notifications": ["id", "type", "title", "message", "metadata", "read", "createdAt", "userId", "tenantId"]}';
  chat    jsonb := '{"ChatSession": ["id", "subject", "status", "metadata", "assignedTo", "createdAt", "updatedAt", "startedAt", "endedAt", "lastMessageAt", "userId", "tenantId"],
    "ChatMessage": ["id", "role", "status", "content", "metadata", "createdAt", "updatedAt", "sessionId"]}';
  missing text;
begin
  if to_regclass('public."ChatSession"') is not null or to_regclass('public."ChatMessage"') is not null then
    needed := needed || chat;
  end if;
  select string_agg(format('"%s"."%s"', t.key, c), ', ') into missing
    from jsonb_each(needed) t, jsonb_array_elements_text(t.value) c
   where not exists (select from pg_attribute a where a.attrelid = to_regclass(format('public.%I', t.key)) and a.attname = c and not a.attisdropped);
  if missing is not null then
    raise exception 'the tables of schema public are not laid out as expected; missing: %', missing using errcode = 'undefined_column',
      hint = 'tests/prisma/schema.prisma shows the models. Where yours differ, write the functions of docs/application.md for them.';
  end if;
end $$;

create schema tidings_app;
comment on schema tidings_app is 'The functions through which tidings reaches the application''s tables, here as Prisma makes them.';

-- What a function of tidings_app refuses. The routes turn SQLSTATE TD404, TD409 and TD422 into that status; message and hint are shown
-- to the caller, so they hold nothing of others. The detail of a conflict is the current state, as JSON; the column of TD422 is the field.
create function tidings_app.refuse(status int, message text, field text default '', current json default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception using errcode = 'TD' || status, message = message, column = field, detail = coalesce(current::text, '');
end $$;
comment on function tidings_app.refuse(int, text, text, json) is 'Refuses a request with this HTTP status: 404, 409 or 422.';

-- The place in a list ordered by (time, id), as clients carry it to the next page: p.<microseconds since 1970>.<id>.
create function tidings_app.place(at timestamptz, id text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return 'p.' || (extract(epoch from at) * 1000000)::bigint || '.' || id;
comment on function tidings_app.place(timestamptz, text) is 'A place in a list, as the field next carries it.';

create function tidings_app.place_at(place text, field text) returns timestamptz
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
  if place is null then
    return null;
  elsif place !~ '^p\.-?[0-9]{1,16}\..' then
    perform tidings_app.refuse(422, field || ' must be a value of next, as an earlier page returned it', field);
  end if;
  return 'epoch'::timestamptz + split_part(place, '.', 2)::bigint * interval '1 microsecond';
end $$;
comment on function tidings_app.place_at(text, text) is 'The time of a place; refuses what is none, naming the field.';

create function tidings_app.place_id(place text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return substring(place from '^p\.-?[0-9]+\.(.*)$');
comment on function tidings_app.place_id(text) is 'The id of a place.';

-- Ids: Prisma's client makes them, so nothing in the database does. As long and of the same letters as a cuid.
create function tidings_app.cuid() returns text
language sql volatile parallel safe set search_path = pg_catalog, pg_temp
return 'c' || left(replace(gen_random_uuid()::text, '-', ''), 24);
comment on function tidings_app.cuid() is 'A new id in the form of those that Prisma''s client makes.';

create function tidings_app.utc_now() returns timestamp
language sql volatile parallel safe set search_path = pg_catalog, pg_temp
return clock_timestamp() at time zone 'UTC';
comment on function tidings_app.utc_now() is 'Now, as Prisma''s columns hold it; their own default goes by the session''s time zone.';

-- Vocabulary ---------------------------------------------------------------------------------------------------------

-- These run for each event, so they carry no search_path of their own, which would keep PostgreSQL from writing them out where they are
-- called; the names in such a body were bound when it was made. From the table's spelling to the canonical one: what is not known is in the middle of its way, as the application takes it.
create function tidings_app.document_state(spelled text) returns text
language sql immutable parallel safe
return case upper(spelled) when 'UPLOADED' then 'uploaded' when 'PENDING' then 'uploaded'
  when 'PROCESSED' then 'processed' when 'COMPLETE' then 'processed' when 'COMPLETED' then 'processed'
  when 'FAILED' then 'failed' else 'processing' end;
comment on function tidings_app.document_state(text) is 'Canonical status of a document.';

create function tidings_app.chat_state(spelled text) returns text
language sql immutable parallel safe
return case upper(spelled) when 'ACTIVE' then 'active' when 'ENDED' then 'ended' when 'CLOSED' then 'ended' when 'ARCHIVED' then 'archived' else 'waiting' end;
comment on function tidings_app.chat_state(text) is 'Canonical status of a chat session.';

create function tidings_app.message_role(spelled text) returns text
language sql immutable parallel safe
return case upper(spelled) when 'USER' then 'user' when 'SYSTEM' then 'system' else 'assistant' end;
comment on function tidings_app.message_role(text) is 'Canonical role of a message.';

create function tidings_app.message_state(spelled text) returns text
language sql immutable parallel safe
return case upper(spelled) when 'SENDING' then 'sending' when 'FAILED' then 'failed' else 'sent' end;
comment on function tidings_app.message_state(text) is 'Canonical status of a message.';

-- And back: the first of these spellings that the column can hold. An enum holds its labels, everything else any text.
create function tidings_app.spelled(relation text, "column" text, spellings text[]) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  kind oid := (select a.atttypid from pg_attribute a where a.attrelid = to_regclass(relation) and a.attname = "column");
begin
  if not exists (select from pg_enum e where e.enumtypid = kind) then
    return spellings[1];
  end if;
  return (select s from unnest(spellings) with ordinality u (s, n) where exists (select from pg_enum e where e.enumtypid = kind and e.enumlabel = s) order by n limit 1);
end $$;
comment on function tidings_app.spelled(text, text, text[]) is 'How a column spells a state: the first of these that its type can hold.';

create function tidings_app.document_label(state text) returns text
language sql stable set search_path = pg_catalog, pg_temp
return tidings_app.spelled('public.documents', 'status', case state when 'uploaded' then '{UPLOADED,PENDING,PROCESSING}' when 'processing' then '{PROCESSING}'
  when 'processed' then '{PROCESSED,COMPLETED,COMPLETE}' else '{FAILED}' end::text[]);
comment on function tidings_app.document_label(text) is 'How public.documents spells a status. Without UPLOADED and PENDING a new document is PROCESSING, as the application makes it.';

-- Metadata is whatever the application put there; what is no object counts as empty.
create function tidings_app.members(metadata jsonb) returns jsonb
language sql immutable parallel safe
return case when jsonb_typeof(metadata) = 'object' then metadata else '{}' end;
comment on function tidings_app.members(jsonb) is 'Metadata as an object.';

create function tidings_app.without(whole json, names text[]) returns json
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
begin atomic
  select json_object_agg(m.key, m.value order by m.n) from json_each(whole) with ordinality m (key, value, n) where m.key <> all (names);
end;
comment on function tidings_app.without(json, text[]) is 'An object without some of its members, in its order.';
