-- Notifications: what a user has seen, counts for the tabs of a notification centre, and a list with more filters.
--
-- Runs:   once, by `tidings migrate --app`; the functions as whoever calls them.
-- Reads and writes: public.notifications, public.notification_reads; tells a user's other windows with tidings.emit.
-- Locks:  none that anybody waits for. mark_all_notifications_seen adds rows, in one order.
-- Fails:  with tidings_app.refuse for what a caller can mend.
-- Undo:   drop function tidings_app.notifications_of, tidings_app.notification_counts, tidings_app.mark_all_notifications_seen,
--         tidings_app.counts_of_notifications, tidings_app.like_patterns; and notification_json as V5__notifications.sql has it.
--
-- Seen is what has a row in notification_reads: opening the bell makes rows that are not read, and who marks one makes its row too. So no
-- mark that an older bridge or a replaced function writes can be read and not seen. All functions here are new ones: what an application has
-- replaced with its own stays as it is, notification_json too.

comment on table public.notification_reads is 'What one user has seen of the notifications, with read and archive state. No row: not seen yet.';
comment on column public.notification_reads.read_at is 'Since when it is read; null: seen only, or unread again.';

do $$
declare
  there     regprocedure := 'tidings_app.notification_json(public.notifications, text)';
  as_it_was text;
begin
  begin
    -- The same text as in V5__notifications.sql, so that PostgreSQL writes it back alike.
    create function tidings_app.notification_json_as_it_was(n public.notifications, sub text) returns json
    language sql stable set search_path = pg_catalog, pg_temp
    return (
      select json_build_object(
        'id', n.id, 'type', n.type, 'title', n.title, 'message', n.message, 'metadata', n.metadata, 'created_at', n.created_at,
        'created_by', case when n.created_by is not null then json_build_object('id', n.created_by, 'name', u.name, 'email', u.email) end,
        'read', r.read_at is not null, 'archived', r.archived_at is not null)
        from (select) one
        left join public.notification_reads r on r.tenant_id = n.tenant_id and r.user_id = sub and r.notification_id = n.id
        left join public.users u on u.tenant_id = n.tenant_id and u.id = n.created_by);
  exception when undefined_table or undefined_column then
    -- Of tables that are no longer those: what is there was written for them, or was renamed with them.
    return;
  end;
  as_it_was := pg_get_function_sqlbody('tidings_app.notification_json_as_it_was(public.notifications, text)'::regprocedure);
  drop function tidings_app.notification_json_as_it_was(public.notifications, text);
  if replace(pg_get_function_sqlbody(there), 'notification_json.', '') is distinct from replace(as_it_was, 'notification_json_as_it_was.', '') then
    return;
  end if;
  create or replace function tidings_app.notification_json(n public.notifications, sub text) returns json
  language sql stable set search_path = pg_catalog, pg_temp
  return (
    select json_build_object(
      'id', n.id, 'type', n.type, 'title', n.title, 'message', n.message, 'metadata', n.metadata, 'created_at', n.created_at,
      'created_by', case when n.created_by is not null then json_build_object('id', n.created_by, 'name', u.name, 'email', u.email) end,
      'seen', r.notification_id is not null, 'read', r.read_at is not null, 'archived', r.archived_at is not null)
      from (select) one
      left join public.notification_reads r on r.tenant_id = n.tenant_id and r.user_id = sub and r.notification_id = n.id
      left join public.users u on u.tenant_id = n.tenant_id and u.id = n.created_by);
end $$;

-- Globs as LIKE has them: * is any run of characters, all else stands for itself.
create function tidings_app.like_patterns(globs jsonb) returns text[]
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return case when jsonb_typeof(globs) = 'array' then
  (select coalesce(array_agg(replace(replace(replace(replace(g, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%')), '{}') from jsonb_array_elements_text(globs) g) end;
comment on function tidings_app.like_patterns(jsonb) is 'Patterns of LIKE for a JSON list of globs; null where there is no list.';

-- Counted, not kept, as unread_count is. A row of notification_reads is there only while its notification is, so what is not in there is a
-- difference of two counts; only what is archived is looked up one by one.
create function tidings_app.counts_of_notifications(tenant text, sub text) returns json
language sql stable set search_path = pg_catalog, pg_temp
return (
  select json_build_object('all', n.total - r.archived, 'unread', n.total - r.read, 'unseen', n.total - r.seen, 'archived', r.archived,
                           'documents', n.documents - r.documents)
    from (select count(*) as total, count(*) filter (where t.type like 'document\_%') as documents
            from public.notifications t where t.tenant_id = tenant) n,
         (select count(*) as seen, count(t.read_at) as read, count(t.archived_at) as archived,
                 count(*) filter (where t.archived_at is not null and (select a.type like 'document\_%' from public.notifications a
                                                                       where a.tenant_id = tenant and a.id = t.notification_id)) as documents
            from public.notification_reads t where t.tenant_id = tenant and t.user_id = sub) r);
comment on function tidings_app.counts_of_notifications(text, text) is 'How many notifications each tab of a notification centre has for this user.';

-- Not in SQL: PostgreSQL would know that it needs tidings.cursor(), and tidings.uninstall() would be refused.
create function tidings_app.notification_counts(tenant text, sub text) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return json_build_object('counts', tidings_app.counts_of_notifications(tenant, sub), 'cursor', tidings.cursor());
end $$;
comment on function tidings_app.notification_counts(text, text) is
  'Counts of one user''s notifications: all (not archived), unread, unseen, archived, documents (not archived, type document_…); with the cursor of the same snapshot.';

create function tidings_app.mark_all_notifications_seen(tenant text, sub text) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  marked bigint := 0;
begin
  if (tidings_app.counts_of_notifications(tenant, sub) ->> 'unseen')::bigint > 0 then
    -- In the order of mark_all_notifications_read: two windows at once wait for each other and do not deadlock.
    insert into public.notification_reads (tenant_id, user_id, notification_id, read_at)
      select tenant, sub, n.id, null from public.notifications n
       where n.tenant_id = tenant
         and not exists (select from public.notification_reads r where r.tenant_id = tenant and r.user_id = sub and r.notification_id = n.id)
       order by n.created_at, n.id
      on conflict do nothing;
    get diagnostics marked = row_count;
  end if;
  if marked > 0 then
    perform tidings.emit(tenant, 'notifications.seen', jsonb_build_object('id', null, 'seen', true), null, sub);
  end if;
  return (select json_build_object('seen', marked, 'counts', tidings_app.counts_of_notifications(tenant, sub), 'cursor', tidings.cursor()));
end $$;
comment on function tidings_app.mark_all_notifications_seen(text, text) is
  'All that a user has not seen is seen from now on; returns how many, the counts, and a cursor. Tells the user''s other windows when something changed.';

-- The list with a filter that can grow: ids (a list: those only, all of them), since (a time: strictly later), unread (true: only those),
-- archived (true: with those that are archived; "only": only those), types (globs). A member that is absent or null filters nothing.
create function tidings_app.notifications_of(tenant text, sub text, filter json, place text, max int) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  wanted   jsonb       := coalesce(filter::jsonb, '{}');
  ids      text[]      := case when jsonb_typeof(wanted -> 'ids') = 'array' then array(select jsonb_array_elements_text(wanted -> 'ids')) end;
  since    timestamptz := coalesce((wanted ->> 'since')::timestamptz, '-infinity');
  unread   boolean     := coalesce((wanted -> 'unread')::text, '') = 'true';
  archived text        := coalesce(wanted ->> 'archived', 'false');
  types    text[]      := tidings_app.like_patterns(wanted -> 'types');
  at       timestamptz := coalesce(tidings_app.place_at(place, 'before'), 'infinity');
  below    text        := coalesce(tidings_app.place_id(place), '');
  counts   json        := tidings_app.counts_of_notifications(tenant, sub);
  -- No more than this can be found, so behind the last one nothing is looked for.
  most     bigint      := least(case when unread then (counts ->> 'unread')::bigint end, case archived when 'only' then (counts ->> 'archived')::bigint end);
begin
  return (
    select json_build_object(
             'notifications', coalesce(json_agg(tidings_app.notification_json(q.n, sub) order by q.i) filter (where ids is not null or q.i <= max), '[]'),
             'unread_count', (counts ->> 'unread')::bigint,
             'cursor', tidings.cursor(),
             'next', case when ids is null and count(*) > max then min(tidings_app.place((q.n).created_at, (q.n).id)) filter (where q.i = max) end)
      from (select p.n, row_number() over () as i
              from (select n from public.notifications n
                     where n.tenant_id = tenant and n.created_at > since and (n.created_at, n.id) < (at, below)
                       and (ids is null or n.id = any (ids)) and (types is null or n.type like any (types))
                       and case archived when 'true' then true else ((select r.archived_at from public.notification_reads r
                             where r.tenant_id = tenant and r.user_id = sub and r.notification_id = n.id) is not null) = (archived = 'only') end
                       and (not unread or (select r.read_at from public.notification_reads r
                                            where r.tenant_id = tenant and r.user_id = sub and r.notification_id = n.id) is null)
                     order by n.created_at desc, n.id desc limit least(case when ids is null then max + 1 end, most)) p) q);
end $$;
comment on function tidings_app.notifications_of(text, text, json, text, int) is
  'A tenant''s notifications as one user sees them, newest first: of these types, unread, or archived only.';
