-- A second wall between tenants, what a message needs to reach its people only, and what all functions of tidings_app share.
--
-- Runs:   once, by `tidings migrate --app`, in one transaction. As: the owner of the reference tables.
-- Locks:  ACCESS EXCLUSIVE on the reference tables, for an instant; adds columns without rewriting them, fills chat_messages.user_id.
-- Fails:  on a lock that is held for more than 2 s, changing nothing.
-- Undo:   alter table … disable row level security, and drop the columns.
--
-- The wall: a session of a bridge carries the setting tidings.tenant, empty until a request is answered, then that request's
-- tenant for one transaction. Where it is set, only that tenant's rows are there, whatever a query forgets to ask. Sessions of the
-- application do not carry it and see what they always saw. Superusers, and roles with BYPASSRLS, walk through walls: give bridges
-- a role of their own (`tidings migrate --app --service ROLE`).

alter table public.notifications add column created_by text;
comment on column public.notifications.created_by is 'sub of whoever caused it; null for the system.';

alter table public.users add column email_notifications boolean not null default true;
comment on column public.users.email_notifications is 'Whether they want to be told by e-mail.';

alter table public.chat_sessions add column metadata jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object');
comment on column public.chat_sessions.metadata is 'The application''s own: the post it is about, say.';

alter table public.chat_messages add column user_id text;
alter table public.chat_messages add column author text;
update public.chat_messages m set user_id = s.user_id from public.chat_sessions s where s.tenant_id = m.tenant_id and s.id = m.session_id;
comment on column public.chat_messages.user_id is 'sub of the session''s user, so that an event knows whom it is for. Filled in by a trigger.';
comment on column public.chat_messages.author is 'sub of whoever wrote it; null for assistants and the system.';

create function public.message_of_user() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  select s.user_id into new.user_id from public.chat_sessions s where s.tenant_id = new.tenant_id and s.id = new.session_id;
  return new;
end $$;
comment on function public.message_of_user() is 'Copies the session''s user to its message.';
create trigger message_of_user before insert on public.chat_messages for each row execute function public.message_of_user();
comment on trigger message_of_user on public.chat_messages is 'Fills user_id.';

do $$
declare
  t text;
begin
  foreach t in array array['users', 'documents', 'notifications', 'notification_reads', 'chat_sessions', 'chat_messages', 'tenants'] loop
    execute format('alter table public.%I enable row level security', t);
    execute format('alter table public.%I force row level security', t);
    execute format('create policy one_tenant on public.%I using (current_setting(''tidings.tenant'', true) is null or %I = current_setting(''tidings.tenant'', true))',
                   t, case t when 'tenants' then 'id' else 'tenant_id' end);
    execute format('comment on policy one_tenant on public.%I is %L', t, 'In a session of a bridge: the tenant that is being answered, and no other.');
  end loop;
end $$;

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

-- The rights of a bridge: the functions, and through them rows of the tenant being answered.
create function tidings_app.grant_service(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from pg_roles where rolname = role) then
    raise exception 'tidings_app.grant_service: there is no role %', role using errcode = 'undefined_object', hint = format('create role %I nologin;', role);
  end if;
  execute format('grant usage on schema public, tidings_app to %I', role);
  execute format('grant execute on all functions in schema tidings_app to %I', role);
  execute format('grant select on public.tenants, public.users to %I', role);
  execute format('grant update (email_notifications) on public.users to %I', role);
  execute format('grant select, insert, update on public.documents, public.notifications, public.notification_reads, public.chat_sessions, public.chat_messages to %I', role);
end $$;
comment on function tidings_app.grant_service(name) is 'Gives a role what a bridge needs of the reference application. `tidings migrate --app --service ROLE` calls it, after each upgrade too.';
