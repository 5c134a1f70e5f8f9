-- Documents of a Prisma application.
--
-- Runs:   as the caller. Reads and writes: public.documents; writes public.notifications.
-- Locks:  the one document whose status is set.
-- Fails:  with an SQLSTATE that the routes know: TD409, TD422, 23503 for a tenant or user that is not there.
-- Undo:   drop schema tidings_app cascade.
--
-- metadata holds what the table has no column for, by the names that the application uses: size, mimeType, uploadedAt, error (its
-- message), and beside them errorCode, progress and stage. These are shown as members of their own and left out of metadata.

-- The members in the order of the reference table. Called for events and lists alike, so that both show the same.
create function tidings_app.document_event(
  id text, tenant text, name text, url text, status text, sub text, metadata jsonb, created timestamp, updated timestamp
) returns json
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  m     jsonb := tidings_app.members(metadata);
  state text  := tidings_app.document_state(status);
begin
  return json_build_object(
    'id', id, 'tenant_id', tenant, 'uploaded_by', sub, 'name', name, 'url', nullif(url, ''),
    'size', case when jsonb_typeof(m -> 'size') = 'number' then m -> 'size' end,
    'mime_type', m ->> 'mimeType',
    'metadata', m - '{size,mimeType,uploadedAt,error,errorCode,progress,stage}'::text[],
    'status', state,
    'stage', case when jsonb_typeof(m -> 'stage') = 'string' then m ->> 'stage' end,
    'progress', case when jsonb_typeof(m -> 'progress') = 'number' and (m ->> 'progress')::numeric between 0 and 100 then round((m ->> 'progress')::numeric) end,
    'error', case when state <> 'failed' or coalesce(jsonb_typeof(m -> 'error'), 'null') = 'null' then null
                  when jsonb_typeof(m -> 'error') = 'object'
                    then json_build_object('code', coalesce(m #>> '{error,code}', 'failed'), 'message', coalesce(m #>> '{error,message}', m ->> 'error'))
                  else json_build_object('code', coalesce(m ->> 'errorCode', 'failed'), 'message', m ->> 'error') end,
    'created_at', created at time zone 'UTC', 'updated_at', updated at time zone 'UTC');
end $$;
comment on function tidings_app.document_event(text, text, text, text, text, text, jsonb, timestamp, timestamp) is 'A document as its events show it.';

create function tidings_app.document_json(
  id text, name text, url text, status text, sub text, metadata jsonb, created timestamp, updated timestamp
) returns json
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return tidings_app.without(tidings_app.document_event(id, '', name, url, status, sub, metadata, created, updated), '{tenant_id}');
comment on function tidings_app.document_json(text, text, text, text, text, jsonb, timestamp, timestamp) is 'A document as the routes show it.';

-- A document and the notification that tells of it: both or neither. The status is found by the column's own type.
create function tidings_app.create_document(
  tenant text, sub text, name text, url text, size bigint, mime_type text, metadata jsonb
) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  d       record;
  moment  timestamp := tidings_app.utc_now();
  written jsonb := tidings_app.members(create_document.metadata) - '{error,errorCode,progress,stage}'::text[]
    || jsonb_strip_nulls(jsonb_build_object('size', create_document.size, 'mimeType', create_document.mime_type, 'uploadedAt', to_char(moment, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')));
begin
  insert into public.documents (id, name, type, url, status, metadata, "createdAt", "updatedAt", "userId", "tenantId")
    select tidings_app.cuid(), create_document.name, coalesce(nullif(substring(create_document.name from '\.([^.]*)$'), ''), 'unknown'),
           coalesce(create_document.url, ''), p.status, written, moment, moment, create_document.sub, create_document.tenant
      from jsonb_populate_record(null::public.documents, jsonb_build_object('status', tidings_app.document_label('uploaded'))) p
    returning * into d;
  perform tidings_app.create_notification(tenant, sub, 'document_uploaded', 'New Document Uploaded', d.name || ' has been uploaded and is being processed.',
    jsonb_build_object('documentId', d.id, 'documentName', d.name, 'documentType', create_document.mime_type, 'uploadedBy', create_document.sub));
  return tidings_app.document_json(d.id, d.name, d.url, d.status::text, d."userId", d.metadata, d."createdAt", d."updatedAt");
exception when not_null_violation then
  perform tidings_app.refuse(422, 'a document needs an uploader', 'sub');
  return null;
end $$;
comment on function tidings_app.create_document(text, text, text, text, bigint, text, jsonb) is
  'Stores an uploaded document and its notification in the caller''s transaction; returns the document.';

create function tidings_app.documents(tenant text, ids text[], place text, max int) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  at    timestamp := tidings_app.place_at(place, 'after') at time zone 'UTC';
  after text      := tidings_app.place_id(place);
begin
  return (
    with page as (
      select d.*, row_number() over (order by d."createdAt" desc, d.id desc) as n
        from public.documents d
       where d."tenantId" = documents.tenant and (documents.ids is null or d.id = any (documents.ids)) and (at is null or (d."createdAt", d.id) < (at, after))
       order by d."createdAt" desc, d.id desc limit case when documents.ids is null then documents.max + 1 end)
    select json_build_object(
      'documents', coalesce(json_agg(tidings_app.document_json(p.id, p.name, p.url, p.status::text, p."userId", p.metadata, p."createdAt", p."updatedAt") order by p.n)
                              filter (where documents.ids is not null or p.n <= documents.max), '[]'),
      'cursor', tidings.cursor(),
      'next', case when documents.ids is null and count(*) > documents.max
                   then max(tidings_app.place(p."createdAt" at time zone 'UTC', p.id)) filter (where p.n = documents.max) end)
      from page p);
end $$;
comment on function tidings_app.documents(text, text[], text, int) is 'Documents of a tenant, newest first, or those with these ids.';

-- What setting a status does not take, whatever the document.
create function tidings_app.check_status(status text, progress int, error jsonb) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if status is null or status not in ('uploaded', 'processing', 'processed', 'failed') then
    perform tidings_app.refuse(422, 'status must be uploaded, processing, processed or failed', 'status');
  elsif progress not between 0 and 100 then
    perform tidings_app.refuse(422, 'progress must be 0 to 100', 'progress');
  elsif error is not null and (status <> 'failed' or jsonb_typeof(error) <> 'object' or jsonb_typeof(error -> 'code') is distinct from 'string'
                               or jsonb_typeof(error -> 'message') is distinct from 'string') then
    perform tidings_app.refuse(422, 'error must be {"code", "message"}, and goes with status failed only', 'error');
  end if;
end $$;
comment on function tidings_app.check_status(text, int, jsonb) is 'Refuses a status, progress or error that no document can have.';

create function tidings_app.set_document_status(tenant text, id text, status text, progress int, stage text, error jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  d    record;
  was  text;
  told json;
  next jsonb;
begin
  perform tidings_app.check_status(set_document_status.status, set_document_status.progress, nullif(set_document_status.error, 'null'));
  select * into d from public.documents t where t.id = set_document_status.id and t."tenantId" = set_document_status.tenant for update;
  if not found then
    return null;
  end if;
  was := tidings_app.document_state(d.status::text);
  told := tidings_app.document_json(d.id, d.name, d.url, d.status::text, d."userId", d.metadata, d."createdAt", d."updatedAt");
  next := tidings_app.members(d.metadata) || jsonb_strip_nulls(jsonb_build_object('progress', set_document_status.progress, 'stage', set_document_status.stage,
            'error', set_document_status.error ->> 'message', 'errorCode', set_document_status.error ->> 'code'));
  if set_document_status.status <> 'failed' then
    next := next - '{error,errorCode}'::text[];
  end if;
  if was = set_document_status.status and next = tidings_app.members(d.metadata) then
    return told;
  elsif not (set_document_status.status in ('processed', 'processing') and was in ('uploaded', 'processing', 'failed')
             or set_document_status.status = 'failed' and was in ('uploaded', 'processing')) then
    perform tidings_app.refuse(409, format('a document that is %s cannot become %s', was, set_document_status.status), '', told);
  end if;
  update public.documents t set metadata = next, "updatedAt" = tidings_app.utc_now(), status = case when was = set_document_status.status then t.status else p.status end
    from jsonb_populate_record(null::public.documents, jsonb_build_object('status', tidings_app.document_label(set_document_status.status))) p
   where t.id = d.id returning t.* into d;
  if was <> set_document_status.status and set_document_status.status in ('processed', 'failed') then
    perform tidings_app.create_notification(tenant, d."userId", 'document_' || set_document_status.status,
      case set_document_status.status when 'processed' then 'Document Processed' else 'Document Processing Failed' end,
      d.name || case set_document_status.status when 'processed' then ' has been processed.' else ' could not be processed.' end,
      jsonb_build_object('documentId', d.id, 'documentName', d.name, 'error', set_document_status.error));
  end if;
  return tidings_app.document_json(d.id, d.name, d.url, d.status::text, d."userId", d.metadata, d."createdAt", d."updatedAt");
end $$;
comment on function tidings_app.set_document_status(text, text, text, int, text, jsonb) is 'A step of a document''s processing; steps back are refused.';
