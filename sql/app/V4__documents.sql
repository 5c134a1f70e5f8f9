-- Documents: the list, the steps of processing, and the notifications that tell of both.
--
-- Runs:   once, by `tidings migrate --app`; the functions as whoever calls them: a bridge for its routes, and any worker of the application.
-- Reads and writes: public.documents, public.notifications. Locks: set_document_status the document's row, until the transaction ends.
-- Fails:  with tidings_app.refuse for what a caller can mend; a constraint's SQLSTATE for values that the tables cannot hold.
-- Undo:   drop function tidings_app.documents, tidings_app.set_document_status.
--
-- A list and its cursor are one query, so that the cursor is that of the list's own snapshot.

-- As in V2__functions.sql, and the notification says who caused it.
create or replace function tidings_app.create_document(
  tenant text, sub text, name text, url text, size bigint, mime_type text, metadata jsonb
) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  created public.documents;
begin
  if not exists (select from public.tenants t where t.id = tenant) then
    raise exception 'tidings_app.create_document: there is no tenant "%"', tenant using errcode = 'foreign_key_violation',
      hint = 'Insert it into public.tenants first.';
  end if;
  insert into public.documents (tenant_id, uploaded_by, name, url, size, mime_type, metadata)
    values (tenant, sub, name, url, size, mime_type, coalesce(metadata, '{}'))
    returning * into created;
  insert into public.notifications (tenant_id, created_by, type, title, message, metadata)
    values (tenant, sub, 'document_uploaded', 'New Document Uploaded',
            name || ' has been uploaded and is being processed.',
            jsonb_build_object('documentId', created.id, 'documentName', name, 'documentType', mime_type, 'uploadedBy', sub));
  return tidings_app.document_json(created);
end $$;

-- Two queries and not one with "ids is null or …": each has an index of its own. The first is sorted in json_agg alone: asked for in order,
-- a bridge's sessions, which do not sort what an index can give, would walk through all documents of the tenant.
create function tidings_app.documents(tenant text, ids text[], place text, max int) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  at    timestamptz := coalesce(tidings_app.place_at(place, 'after'), 'infinity');
  below text        := coalesce(tidings_app.place_id(place), '');
begin
  if ids is not null then
    return (
      select json_build_object(
               'documents', coalesce(json_agg(tidings_app.document_json(q.d) order by (q.d).created_at desc, (q.d).id desc), '[]'),
               'cursor', tidings.cursor(), 'next', null)
        from (select d from public.documents d where d.tenant_id = tenant and d.id = any (ids)) q);
  end if;
  return (
    select json_build_object(
             'documents', coalesce(json_agg(tidings_app.document_json(q.d) order by q.n) filter (where q.n <= max), '[]'),
             'cursor', tidings.cursor(),
             'next', case when count(*) > max then min(tidings_app.place((q.d).created_at, (q.d).id)) filter (where q.n = max) end)
      from (select p.d, row_number() over () as n
              from (select d from public.documents d
                     where d.tenant_id = tenant and (d.created_at, d.id) < (at, below)
                     order by d.created_at desc, d.id desc limit max + 1) p) q);
end $$;
comment on function tidings_app.documents(text, text[], text, int) is
  'A tenant''s documents, newest first, behind a place, or those with these ids; with the cursor of the same snapshot.';

-- One step of processing. The row stays locked until the transaction ends, so of two steps at once the second sees what the first made of it.
create function tidings_app.set_document_status(tenant text, id text, status text, progress int, stage text, error jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  state  text  := status;
  reason jsonb := nullif(error, 'null');
  was    public.documents;
  became public.documents;
begin
  if state is null or state not in ('uploaded', 'processing', 'processed', 'failed') then
    perform tidings_app.refuse(422, 'status must be uploaded, processing, processed or failed', 'status');
  elsif progress not between 0 and 100 then
    perform tidings_app.refuse(422, 'progress must be 0 to 100', 'progress');
  elsif reason is not null and (state <> 'failed' or jsonb_typeof(reason) <> 'object' or not reason ?& array['code', 'message']) then
    perform tidings_app.refuse(422, 'error must be {"code", "message"}, and only of a document that failed', 'error');
  end if;
  select * into was from public.documents d where d.tenant_id = tenant and d.id = set_document_status.id for update;
  if not found then
    return null;
  end if;

  became := was;
  became.status := state;
  became.error := null;
  if state = 'processing' then
    -- What an earlier attempt left is not this one's.
    became.progress := coalesce(set_document_status.progress, case when was.status = state then was.progress end);
    became.stage := coalesce(set_document_status.stage, case when was.status = state then was.stage end);
  elsif state = 'failed' then
    became.progress := coalesce(set_document_status.progress, was.progress);
    became.stage := null;
    became.error := coalesce(reason, was.error);
  else
    became.progress := case when state = 'processed' then 100 end;
    became.stage := null;
  end if;

  -- A delivery that comes twice changes nothing.
  if became is not distinct from was or was.status = state and state in ('uploaded', 'processed')
     or was.status = state and state = 'failed' and became.error is not distinct from was.error then
    return tidings_app.document_json(was);
  elsif state = 'uploaded' or was.status = 'processed' or was.status = state and state = 'failed' then
    perform tidings_app.refuse(409, format('a document that is %s cannot become %s', was.status, state), '', tidings_app.document_json(was));
  end if;
  update public.documents d set status = became.status, progress = became.progress, stage = became.stage, error = became.error
   where d.tenant_id = tenant and d.id = was.id returning * into became;
  if state in ('processed', 'failed') then
    insert into public.notifications (tenant_id, type, title, message, metadata)
      values (tenant, 'document_' || state,
              case state when 'processed' then 'Document Processed' else 'Document Processing Failed' end,
              case state when 'processed' then became.name || ' has been processed.'
                         else became.name || ' could not be processed' || coalesce(': ' || (became.error ->> 'message'), '.') end,
              jsonb_build_object('documentId', became.id, 'documentName', became.name, 'documentType', became.mime_type,
                                 'uploadedBy', became.uploaded_by, 'error', became.error));
  end if;
  return tidings_app.document_json(became);
end $$;
comment on function tidings_app.set_document_status(text, text, text, int, text, jsonb) is
  'One step of a document''s processing, and its notification with the last; null where there is no such document, 409 for a step back.';
