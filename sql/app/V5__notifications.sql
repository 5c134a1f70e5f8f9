-- Notifications: the list with each user's own read state, and the changes of that state.
--
-- Runs:   once, by `tidings migrate --app`; the functions as whoever calls them.
-- Reads and writes: public.notifications, public.notification_reads, public.users; tells a user's other windows with tidings.emit.
-- Locks:  the migration public.notification_reads, for an instant; the functions the rows of notification_reads that they change.
-- Fails:  with tidings_app.refuse for what a caller can mend; 23503 for a tenant that is not there.
-- Undo:   drop function tidings_app.notifications, tidings_app.create_notification, tidings_app.mark_notification,
--         tidings_app.mark_all_notifications_read, tidings_app.unread_count, tidings_app.notification_json.
--
-- A user's state is one row per notification. What becomes unread again keeps its row: the row is what two windows that mark at once wait
-- for, and a bridge needs no right to delete anything.

alter table public.notification_reads alter column read_at drop not null,
  add constraint archived_is_read check (archived_at is null or read_at is not null);
comment on column public.notification_reads.read_at is 'Since when it is read; null: unread again.';

create function tidings_app.notification_json(n public.notifications, sub text) returns json
language sql stable set search_path = pg_catalog, pg_temp
return (
  select json_build_object(
    'id', n.id, 'type', n.type, 'title', n.title, 'message', n.message, 'metadata', n.metadata, 'created_at', n.created_at,
    'created_by', case when n.created_by is not null then json_build_object('id', n.created_by, 'name', u.name, 'email', u.email) end,
    'read', r.read_at is not null, 'archived', r.archived_at is not null)
    from (select) one
    left join public.notification_reads r on r.tenant_id = n.tenant_id and r.user_id = sub and r.notification_id = n.id
    left join public.users u on u.tenant_id = n.tenant_id and u.id = n.created_by);
comment on function tidings_app.notification_json(public.notifications, text) is 'A notification as the routes show it to this user.';

-- Counted, not kept: a counter beside the rows would have to be locked by every writer of the tenant. What is archived is read, and what is
-- read is there (foreign key), so the difference of two counts is the count of the difference: no join that stale statistics could make slow.
create function tidings_app.unread_count(tenant text, sub text) returns bigint
language sql stable set search_path = pg_catalog, pg_temp
return (select count(*) from public.notifications n where n.tenant_id = tenant)
     - (select count(*) from public.notification_reads r where r.tenant_id = tenant and r.user_id = sub and r.read_at is not null);
comment on function tidings_app.unread_count(text, text) is 'How many notifications this user has neither read nor archived.';

-- Two queries and not one with "ids is null or …": each has an index of its own. The first is sorted in json_agg alone: asked for in order,
-- a bridge's sessions, which do not sort what an index can give, would walk through all notifications of the tenant. A user's state is a
-- subquery and no join, so that it is looked up by its key, however many rows the user had when the table was last analyzed.
create function tidings_app.notifications(
  tenant text, sub text, ids text[], since timestamptz, unread boolean, archived boolean, place text, max int
) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  at    timestamptz := coalesce(tidings_app.place_at(place, 'before'), 'infinity');
  below text        := coalesce(tidings_app.place_id(place), '');
  -- Stable functions see one snapshot throughout, so this is the count of the rows below.
  unread_rows bigint := tidings_app.unread_count(tenant, sub);
begin
  unread := coalesce(unread, false);
  archived := coalesce(archived, false);
  if ids is not null then
    return (
      select json_build_object(
               'notifications', coalesce(json_agg(tidings_app.notification_json(q.n, sub) order by (q.n).created_at desc, (q.n).id desc), '[]'),
               'unread_count', unread_rows, 'cursor', tidings.cursor(), 'next', null)
        from (select n from public.notifications n
               where n.tenant_id = tenant and n.id = any (ids) and n.created_at > coalesce(since, '-infinity')
                 and (archived or (select r.archived_at from public.notification_reads r
                                    where r.tenant_id = tenant and r.user_id = sub and r.notification_id = n.id) is null)
                 and (not unread or (select r.read_at from public.notification_reads r
                                      where r.tenant_id = tenant and r.user_id = sub and r.notification_id = n.id) is null)) q);
  end if;
  return (
    select json_build_object(
             'notifications', coalesce(json_agg(tidings_app.notification_json(q.n, sub) order by q.i) filter (where q.i <= max), '[]'),
             'unread_count', unread_rows,
             'cursor', tidings.cursor(),
             'next', case when count(*) > max then min(tidings_app.place((q.n).created_at, (q.n).id)) filter (where q.i = max) end)
      from (select p.n, row_number() over () as i
              from (select n from public.notifications n
                     where n.tenant_id = tenant and n.created_at > coalesce(since, '-infinity') and (n.created_at, n.id) < (at, below)
                       and (archived or (select r.archived_at from public.notification_reads r
                                          where r.tenant_id = tenant and r.user_id = sub and r.notification_id = n.id) is null)
                       and (not unread or (select r.read_at from public.notification_reads r
                                            where r.tenant_id = tenant and r.user_id = sub and r.notification_id = n.id) is null)
                     -- Behind the last unread one nothing is looked for.
                     order by n.created_at desc, n.id desc limit least(max + 1, case when unread then unread_rows end)) p) q);
end $$;
comment on function tidings_app.notifications(text, text, text[], timestamptz, boolean, boolean, text, int) is
  'A tenant''s notifications as one user sees them, newest first, with the count of unread ones and the cursor of the same snapshot.';

create function tidings_app.create_notification(tenant text, sub text, type text, title text, message text, metadata jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  created public.notifications;
begin
  insert into public.notifications (tenant_id, created_by, type, title, message, metadata)
    values (tenant, sub, type, title, message, coalesce(metadata, '{}'))
    returning * into created;
  return tidings_app.notification_json(created, sub);
end $$;
comment on function tidings_app.create_notification(text, text, text, text, text, jsonb) is 'Tells a tenant''s users something; returns the notification.';

create function tidings_app.mark_notification(tenant text, sub text, id text, read boolean, archived boolean) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  n      public.notifications;
  was    public.notification_reads;
  became public.notification_reads;
begin
  if not read and archived then
    perform tidings_app.refuse(422, 'archived is also read: leave out read, or archived', 'read');
  end if;
  select * into n from public.notifications t where t.tenant_id = tenant and t.id = mark_notification.id;
  if not found then
    return null;
  end if;
  if read or archived then
    -- Waits for another window that makes the row just now.
    insert into public.notification_reads (tenant_id, user_id, notification_id, read_at) values (tenant, sub, n.id, null) on conflict do nothing;
  end if;
  select * into was from public.notification_reads r where r.tenant_id = tenant and r.user_id = sub and r.notification_id = n.id for update;
  if not found then
    return tidings_app.notification_json(n, sub);   -- as unread as it is to be
  end if;
  became := was;
  if not read then
    became.read_at := null;
    became.archived_at := null;
  elsif read or archived then
    became.read_at := coalesce(was.read_at, now());
  end if;
  if archived then
    became.read_at := coalesce(was.read_at, now());
    became.archived_at := coalesce(was.archived_at, now());
  elsif not archived then
    became.archived_at := null;
  end if;
  if became is distinct from was then
    update public.notification_reads r set read_at = became.read_at, archived_at = became.archived_at
     where r.tenant_id = tenant and r.user_id = sub and r.notification_id = n.id;
    perform tidings.emit(tenant, 'notifications.read',
      jsonb_build_object('id', n.id, 'read', became.read_at is not null, 'archived', became.archived_at is not null), n.id, sub);
  end if;
  return tidings_app.notification_json(n, sub);
end $$;
comment on function tidings_app.mark_notification(text, text, text, boolean, boolean) is
  'Read and archive state of one notification for one user; null where there is none. Tells the user''s other windows when something changed.';

create function tidings_app.mark_all_notifications_read(tenant text, sub text) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  marked bigint := 0;
begin
  if tidings_app.unread_count(tenant, sub) > 0 then
    -- In one order, so that two windows that do it at once wait for each other and do not deadlock.
    insert into public.notification_reads as r (tenant_id, user_id, notification_id, read_at)
      select tenant, sub, n.id, now() from public.notifications n
       where n.tenant_id = tenant
         and (select r.read_at from public.notification_reads r
               where r.tenant_id = tenant and r.user_id = sub and r.notification_id = n.id) is null
       order by n.created_at, n.id
      on conflict (tenant_id, user_id, notification_id) do update set read_at = excluded.read_at where r.read_at is null;
    get diagnostics marked = row_count;
  end if;
  if marked > 0 then
    perform tidings.emit(tenant, 'notifications.read', jsonb_build_object('id', null, 'read', true, 'archived', null), null, sub);
  end if;
  return (select json_build_object('read', marked, 'unread_count', tidings_app.unread_count(tenant, sub), 'cursor', tidings.cursor()));
end $$;
comment on function tidings_app.mark_all_notifications_read(text, text) is
  'Marks all that a user has not read; returns how many, what is unread now, and a cursor.';
