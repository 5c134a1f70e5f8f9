-- Notifications of a Prisma application, with what each user has read and archived.
--
-- Runs:   as the caller. Reads: public.notifications, public."User". Writes: public.notifications (insert only),
--         tidings_app.notification_reads; emits notifications.read.
-- Locks:  the rows of notification_reads that change.
-- Fails:  TD404, TD422, and 23503 for a tenant or creator that is not there.
-- Undo:   drop schema tidings_app cascade.
--
-- The table's own flag "read" is one for all users, so that one reader would hide a notification from everybody. It is never
-- written here, and read only for rows from before the adapter came: what was read by then stays read.

create function tidings_app.notification_event(
  id text, tenant text, type text, title text, message text, metadata jsonb, created timestamp, sub text
) returns json
language sql stable parallel safe
return json_build_object('id', id, 'tenant_id', tenant, 'type', type, 'title', title, 'message', message,
  'metadata', tidings_app.members(metadata), 'created_at', created at time zone 'UTC', 'created_by', sub);
comment on function tidings_app.notification_event(text, text, text, text, text, jsonb, timestamp, text) is 'A notification as its events show it.';

-- Name and e-mail of its creator are shown if that user is of this tenant; of somebody else's staff no more than the id.
create function tidings_app.notification_json(
  tenant text, id text, type text, title text, message text, metadata jsonb, created timestamp, sub text, read boolean, archived boolean
) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return json_build_object('id', id, 'type', type, 'title', title, 'message', message, 'metadata', tidings_app.members(metadata),
    'created_at', created at time zone 'UTC',
    'created_by', (select json_build_object('id', sub, 'name', u.name, 'email', u.email)
                     from (select 1) one left join public."User" u on u.id = sub and u."tenantId" = tenant where sub is not null),
    'read', read, 'archived', archived);
end $$;
comment on function tidings_app.notification_json(text, text, text, text, text, jsonb, timestamp, text, boolean, boolean) is 'A notification as the routes show it.';

-- The tenant's notifications with the state that they have for one user.
create function tidings_app.inbox(tenant text, sub text)
returns table (id text, type text, title text, message text, metadata jsonb, created timestamp, creator text, read boolean, archived boolean)
language plpgsql stable rows 100 set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  return query
    select n.id, n.type, n.title, n.message, n.metadata::jsonb, n."createdAt", n."userId",
           case when r.user_id is null then n.read and n."createdAt" < a.since else r.read_at is not null end,
           r.archived_at is not null
      from public.notifications n cross join tidings_app.adapter a
      left join tidings_app.notification_reads r on r.tenant_id = n."tenantId" and r.user_id = inbox.sub and r.notification_id = n.id
     where n."tenantId" = inbox.tenant;
end $$;
comment on function tidings_app.inbox(text, text) is 'Notifications of a tenant as one user has them.';

create function tidings_app.notifications(
  tenant text, sub text, ids text[], since timestamptz, unread boolean, archived boolean, place text, max int
) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  at    timestamp := tidings_app.place_at(place, 'before') at time zone 'UTC';
  after text      := tidings_app.place_id(place);
begin
  return (
    with inbox as materialized (
      select * from tidings_app.inbox(notifications.tenant, notifications.sub)
    ), page as (
      select i.*, row_number() over (order by i.created desc, i.id desc) as n
        from inbox i
       where (notifications.ids is null or i.id = any (notifications.ids))
         and (notifications.since is null or i.created > notifications.since at time zone 'UTC')
         and (notifications.unread is not true or not i.read)
         and (notifications.archived is true or not i.archived)
         and (at is null or (i.created, i.id) < (at, after))
       order by i.created desc, i.id desc limit case when notifications.ids is null then notifications.max + 1 end)
    select json_build_object(
      'notifications', coalesce(json_agg(tidings_app.notification_json(notifications.tenant, p.id, p.type, p.title, p.message, p.metadata, p.created, p.creator, p.read, p.archived)
                                          order by p.n) filter (where notifications.ids is not null or p.n <= notifications.max), '[]'),
      'unread_count', (select count(*) from inbox i where not i.read and not i.archived),
      'cursor', tidings.cursor(),
      'next', case when notifications.ids is null and count(*) > notifications.max
                   then max(tidings_app.place(p.created at time zone 'UTC', p.id)) filter (where p.n = notifications.max) end)
      from page p);
end $$;
comment on function tidings_app.notifications(text, text, text[], timestamptz, boolean, boolean, text, int) is 'Notifications of a tenant for one user, newest first.';

create function tidings_app.create_notification(tenant text, sub text, type text, title text, message text, metadata jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  n record;
begin
  if create_notification.sub is null then
    perform tidings_app.refuse(422, 'a notification needs a creator, who is a user of the application', 'sub');
  elsif create_notification.type !~ '^[a-z][a-z0-9_.-]{0,63}$' then
    perform tidings_app.refuse(422, 'type must be 1 to 64 of a-z 0-9 _ . - and begin with a letter', 'type');
  end if;
  insert into public.notifications (id, type, title, message, metadata, read, "createdAt", "tenantId", "userId")
    values (tidings_app.cuid(), create_notification.type, create_notification.title, create_notification.message,
            tidings_app.members(create_notification.metadata), false, tidings_app.utc_now(), create_notification.tenant, create_notification.sub)
    returning * into n;
  return tidings_app.notification_json(n."tenantId", n.id, n.type, n.title, n.message, n.metadata, n."createdAt", n."userId", false, false);
end $$;
comment on function tidings_app.create_notification(text, text, text, text, text, jsonb) is 'Tells everybody of a tenant something.';

create function tidings_app.mark_notification(tenant text, sub text, id text, read boolean, archived boolean) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  n   record;
  was tidings_app.notification_reads;
  now tidings_app.notification_reads;
begin
  if mark_notification.sub is null then
    perform tidings_app.refuse(422, 'a reader must be named', 'sub');
  end if;
  select * into n from tidings_app.inbox(mark_notification.tenant, mark_notification.sub) i where i.id = mark_notification.id;
  if not found then
    return null;
  end if;
  insert into tidings_app.notification_reads values (mark_notification.tenant, mark_notification.sub, n.id, case when n.read then clock_timestamp() end, null)
    on conflict do nothing;
  select * into was from tidings_app.notification_reads r
   where r.tenant_id = mark_notification.tenant and r.user_id = mark_notification.sub and r.notification_id = n.id for update;
  now := was;
  now.archived_at := case when mark_notification.archived then coalesce(was.archived_at, clock_timestamp()) when mark_notification.archived is null then was.archived_at end;
  now.read_at := case when mark_notification.archived or mark_notification.read then coalesce(was.read_at, clock_timestamp())
                      when mark_notification.read is null then was.read_at end;
  if (now.read_at, now.archived_at) is distinct from (was.read_at, was.archived_at) then
    update tidings_app.notification_reads r set read_at = now.read_at, archived_at = now.archived_at
     where r.tenant_id = was.tenant_id and r.user_id = was.user_id and r.notification_id = was.notification_id;
    perform tidings.emit(mark_notification.tenant, 'notifications.read',
      jsonb_build_object('id', n.id, 'read', now.read_at is not null, 'archived', now.archived_at is not null), n.id, mark_notification.sub);
  end if;
  return tidings_app.notification_json(tenant, n.id, n.type, n.title, n.message, n.metadata, n.created, n.creator, now.read_at is not null, now.archived_at is not null);
end $$;
comment on function tidings_app.mark_notification(text, text, text, boolean, boolean) is 'Marks a notification for one user: read or not, archived or not. Archiving reads.';

create function tidings_app.mark_all_notifications_read(tenant text, sub text) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  marked bigint;
begin
  if mark_all_notifications_read.sub is null then
    perform tidings_app.refuse(422, 'a reader must be named', 'sub');
  end if;
  insert into tidings_app.notification_reads as r
    select mark_all_notifications_read.tenant, mark_all_notifications_read.sub, i.id, clock_timestamp(), null
      from tidings_app.inbox(mark_all_notifications_read.tenant, mark_all_notifications_read.sub) i
     where not i.read and not i.archived
     order by i.id   -- in one order, so that two windows of a user do not wait for each other in a circle
    on conflict (tenant_id, user_id, notification_id) do update set read_at = excluded.read_at where r.read_at is null;
  get diagnostics marked = row_count;
  delete from tidings_app.notification_reads r
   where r.tenant_id = mark_all_notifications_read.tenant and r.user_id = mark_all_notifications_read.sub
     and not exists (select from public.notifications n where n.id = r.notification_id);
  if marked > 0 then
    perform tidings.emit(tenant, 'notifications.read', '{"id": null, "read": true, "archived": null}', null, mark_all_notifications_read.sub);
  end if;
  return (select json_build_object('read', marked, 'unread_count', count(*) filter (where not i.read and not i.archived), 'cursor', tidings.cursor())
            from tidings_app.inbox(mark_all_notifications_read.tenant, mark_all_notifications_read.sub) i);
end $$;
comment on function tidings_app.mark_all_notifications_read(text, text) is 'Marks all notifications of a tenant as read for one user.';
