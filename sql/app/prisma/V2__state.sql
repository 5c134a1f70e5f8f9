-- What Prisma's tables have no place for: who has read and archived a notification, and who wants no e-mail. And the rights of bridges.
--
-- Runs:   once, by `tidings migrate --app prisma`, in one transaction. Writes: schema tidings_app.
-- Locks:  none on the application's tables: nothing here references them, so they can be truncated and dropped as before.
-- Fails:  when a role may not grant rights on the application's tables; nothing is made then.
-- Undo:   drop schema tidings_app cascade. What users have read and archived, and who opted out, is gone with it.
--
-- The wall: a session of a bridge carries the setting tidings.tenant, and these tables then show that tenant's rows only. The
-- application's own tables have no such wall unless the DBA puts it there: docs/application.md has the SQL.

create table tidings_app.adapter (
  one   boolean primary key default true check (one),
  since timestamp not null default tidings_app.utc_now()
);
comment on table tidings_app.adapter is 'One row: since when this adapter is there. Notifications whose read flag was set before are read for everybody.';
insert into tidings_app.adapter default values;

create table tidings_app.notification_reads (
  tenant_id       text not null,
  user_id         text not null,
  notification_id text not null,
  read_at         timestamptz,
  archived_at     timestamptz,
  primary key (tenant_id, user_id, notification_id)
);
comment on table tidings_app.notification_reads is 'Read and archive state of a notification for one user. Rows of notifications that are gone go when their user marks all as read.';
comment on column tidings_app.notification_reads.user_id is 'sub of the reader; no reference, since a token suffices to read.';
comment on column tidings_app.notification_reads.read_at is 'Null: made unread again.';
comment on column tidings_app.notification_reads.archived_at is 'Since when it is out of their list; null: not archived.';

create table tidings_app.preferences (
  tenant_id text not null,
  user_id   text not null,
  email     boolean not null,
  primary key (tenant_id, user_id)
);
comment on table tidings_app.preferences is 'What users chose; no row: everything on.';
comment on column tidings_app.preferences.email is 'Whether they want to be told by e-mail.';

do $$
declare
  t     text;
  owner name := (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'tidings');
begin
  foreach t in array array['notification_reads', 'preferences'] loop
    execute format('alter table tidings_app.%I enable row level security', t);
    execute format('alter table tidings_app.%I force row level security', t);
    execute format('create policy one_tenant on tidings_app.%I using (current_setting(''tidings.tenant'', true) is null or tenant_id = current_setting(''tidings.tenant'', true))', t);
    execute format('comment on policy one_tenant on tidings_app.%I is %L', t, 'In a session of a bridge: the tenant that is being answered, and no other.');
  end loop;
  -- Capture runs as the owner of schema tidings: it calls the functions that spell rows, and finds a message's session.
  if owner <> current_user then
    execute format('grant usage on schema tidings_app to %I', owner);
    if to_regclass('public."ChatSession"') is not null then
      execute format('grant usage on schema public to %I', owner);
      execute format('grant select (id, "tenantId", "userId") on public."ChatSession" to %I', owner);
    end if;
  end if;
end $$;

-- The rights of a bridge: the functions, and the columns that they use. Of users no more than id, name, e-mail and tenant.
create function tidings_app.grant_service(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from pg_roles where rolname = role) then
    raise exception 'tidings_app.grant_service: there is no role %', role using errcode = 'undefined_object', hint = format('create role %I nologin;', role);
  end if;
  execute format('grant usage on schema public, tidings_app to %I', role);
  execute format('grant execute on all functions in schema tidings_app to %I', role);
  execute format('grant select on tidings_app.adapter to %I', role);
  execute format('grant select, insert, update, delete on tidings_app.notification_reads, tidings_app.preferences to %I', role);
  execute format('grant select (id) on public."Tenant" to %I', role);
  execute format('grant select (id, name, email, "tenantId") on public."User" to %I', role);
  execute format('grant select, insert on public.documents, public.notifications to %I', role);
  execute format('grant update (status, metadata, "updatedAt") on public.documents to %I', role);
  if to_regclass('public."ChatSession"') is not null then
    execute format('grant select, insert on public."ChatSession", public."ChatMessage" to %I', role);
    execute format('grant update (status, "assignedTo", "updatedAt", "startedAt", "endedAt", "lastMessageAt") on public."ChatSession" to %I', role);
    execute format('grant update (role, status, content, metadata, "updatedAt") on public."ChatMessage" to %I', role);
  end if;
end $$;
comment on function tidings_app.grant_service(name) is 'Gives a role what a bridge needs of the application. `tidings migrate --app prisma --service ROLE` calls it, after each upgrade too.';
