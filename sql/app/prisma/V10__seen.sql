-- Notifications of a Prisma application: what a user has seen, counts for the tabs of a notification centre, and a list with more filters.
--
-- Runs:   once, by `tidings migrate --app prisma`; the functions as the caller. Reads: public.notifications, public."User".
-- Writes: tidings_app.notification_reads; emits notifications.seen.
-- Locks:  none that anybody waits for. mark_all_notifications_seen adds rows, in one order.
-- Fails:  TD422.
-- Undo:   drop schema tidings_app cascade.
--
-- Seen is what has a row in notification_reads, or is read: opening the bell makes rows that are not read, and marking makes one too. Of the
-- functions that are there, notifications alone is written anew, and only where the application has not replaced it.

comment on table tidings_app.notification_reads is
  'What one user has seen of the notifications, with read and archive state. Rows of notifications that are gone go when their user marks all as read.';
comment on column tidings_app.notification_reads.read_at is 'Null: seen only, or made unread again.';

create function tidings_app.inbox_seen(tenant text, sub text)
returns table (id text, type text, title text, message text, metadata jsonb, created timestamp, creator text, seen boolean, read boolean, archived boolean)
language plpgsql stable rows 100 set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  return query
    select i.id, i.type, i.title, i.message, i.metadata, i.created, i.creator, i.read or r.user_id is not null, i.read, i.archived
      from tidings_app.inbox(inbox_seen.tenant, inbox_seen.sub) i
      left join tidings_app.notification_reads r on r.tenant_id = inbox_seen.tenant and r.user_id = inbox_seen.sub and r.notification_id = i.id;
end $$;
comment on function tidings_app.inbox_seen(text, text) is 'Notifications of a tenant as one user has them, with what was seen.';

create function tidings_app.notification_json(
  tenant text, id text, type text, title text, message text, metadata jsonb, created timestamp, sub text, seen boolean, read boolean, archived boolean
) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (tidings_app.notification_json(tenant, id, type, title, message, metadata, created, sub, read, archived)::jsonb
          || jsonb_build_object('seen', seen))::json;
end $$;
comment on function tidings_app.notification_json(text, text, text, text, text, jsonb, timestamp, text, boolean, boolean, boolean) is
  'A notification as the routes show it, with what was seen.';

-- Globs as LIKE has them: * is any run of characters, all else stands for itself.
create function tidings_app.like_patterns(globs jsonb) returns text[]
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return case when jsonb_typeof(globs) = 'array' then
  (select coalesce(array_agg(replace(replace(replace(replace(g, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%')), '{}') from jsonb_array_elements_text(globs) g) end;
comment on function tidings_app.like_patterns(jsonb) is 'Patterns of LIKE for a JSON list of globs; null where there is no list.';

create function tidings_app.counts_of_notifications(tenant text, sub text) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select json_build_object('all', count(*) filter (where not i.archived), 'unread', count(*) filter (where not i.read and not i.archived),
                             'unseen', count(*) filter (where not i.seen), 'archived', count(*) filter (where i.archived),
                             'documents', count(*) filter (where not i.archived and i.type like 'document\_%'))
      from tidings_app.inbox_seen(counts_of_notifications.tenant, counts_of_notifications.sub) i);
end $$;
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
#variable_conflict use_column
declare
  marked bigint;
begin
  if mark_all_notifications_seen.sub is null then
    perform tidings_app.refuse(422, 'a reader must be named', 'sub');
  end if;
  insert into tidings_app.notification_reads
    select mark_all_notifications_seen.tenant, mark_all_notifications_seen.sub, i.id, null, null
      from tidings_app.inbox_seen(mark_all_notifications_seen.tenant, mark_all_notifications_seen.sub) i
     where not i.seen
     order by i.id   -- in the order of mark_all_notifications_read
    on conflict do nothing;
  get diagnostics marked = row_count;
  if marked > 0 then
    perform tidings.emit(tenant, 'notifications.seen', '{"id": null, "seen": true}', null, mark_all_notifications_seen.sub);
  end if;
  return (select json_build_object('seen', marked, 'cursor', tidings.cursor(),
            'counts', tidings_app.counts_of_notifications(mark_all_notifications_seen.tenant, mark_all_notifications_seen.sub)));
end $$;
comment on function tidings_app.mark_all_notifications_seen(text, text) is
  'All that a user has not seen is seen from now on; returns how many, the counts, and a cursor. Tells the user''s other windows when something changed.';

-- The list with a filter that can grow: ids (a list: those only, all of them), since (a time: strictly later), unread (true: only those),
-- archived (true: with those that are archived; "only": only those), types (globs). A member that is absent or null filters nothing.
create function tidings_app.notifications_of(tenant text, sub text, filter json, place text, max int) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  wanted   jsonb     := coalesce(filter::jsonb, '{}');
  ids      text[]    := case when jsonb_typeof(wanted -> 'ids') = 'array' then array(select jsonb_array_elements_text(wanted -> 'ids')) end;
  since    timestamp := (wanted ->> 'since')::timestamptz at time zone 'UTC';
  unread   boolean   := coalesce((wanted -> 'unread')::text, '') = 'true';
  which    text      := coalesce(wanted ->> 'archived', 'false');
  types    text[]    := tidings_app.like_patterns(wanted -> 'types');
  at       timestamp := tidings_app.place_at(place, 'before') at time zone 'UTC';
  after    text      := tidings_app.place_id(place);
begin
  return (
    with inbox as materialized (
      select * from tidings_app.inbox_seen(notifications_of.tenant, notifications_of.sub)
    ), page as (
      select i.*, row_number() over (order by i.created desc, i.id desc) as n
        from inbox i
       where (ids is null or i.id = any (ids)) and (types is null or i.type like any (types))
         and (since is null or i.created > since)
         and (not unread or not i.read)
         and (which = 'true' or i.archived = (which = 'only'))
         and (at is null or (i.created, i.id) < (at, after))
       order by i.created desc, i.id desc limit case when ids is null then notifications_of.max + 1 end)
    select json_build_object(
      'notifications', coalesce(json_agg(tidings_app.notification_json(notifications_of.tenant, p.id, p.type, p.title, p.message, p.metadata, p.created, p.creator,
                                           p.seen, p.read, p.archived) order by p.n) filter (where ids is not null or p.n <= notifications_of.max), '[]'),
      'unread_count', (select count(*) from inbox i where not i.read and not i.archived),
      'cursor', tidings.cursor(),
      'next', case when ids is null and count(*) > notifications_of.max
                   then max(tidings_app.place(p.created at time zone 'UTC', p.id)) filter (where p.n = notifications_of.max) end)
      from page p);
end $$;
comment on function tidings_app.notifications_of(text, text, json, text, int) is
  'Notifications of a tenant for one user, newest first: of these types, unread, or archived only.';

do $do$
begin
  -- Known by its text: what V4__notifications.sql made.
  if (select md5(p.prosrc) from pg_proc p
       where p.oid = 'tidings_app.notifications(text, text, text[], timestamptz, boolean, boolean, text, int)'::regprocedure) <> 'dc943911ceb0225ade2727d94f3f1688' then
    return;
  end if;
  create or replace function tidings_app.notifications(
    tenant text, sub text, ids text[], since timestamptz, unread boolean, archived boolean, place text, max int
  ) returns json
  language plpgsql stable set search_path = pg_catalog, pg_temp as $$
  begin
    return tidings_app.notifications_of(tenant, sub,
      json_build_object('ids', ids, 'since', since, 'unread', unread, 'archived', archived), place, max);
  end $$;
end $do$;
