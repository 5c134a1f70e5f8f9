-- What tidings asks of the application, as functions: the seam between its HTTP routes and the application's tables.
--
-- Runs:   once, by `tidings migrate --app`; the functions run as whoever calls them, with a pinned search_path.
-- Reads and writes: the reference tables (V1__tables.sql).
-- Fails:  with an SQLSTATE that the routes know: 23503 for a tenant that is not there, 23514 for a value out of range.
-- Undo:   drop schema tidings_app cascade.
--
-- An application whose tables look different replaces the bodies (create or replace function, same arguments, same JSON)
-- and changes no Rust: other spellings, such as PROCESSED or createdAt, are mapped here and are not seen outside.

create schema tidings_app;
comment on schema tidings_app is 'The functions through which tidings reaches the application''s tables; replace them to fit other tables.';

-- One document as the routes show it.
create function tidings_app.document_json(d public.documents) returns json
language sql stable parallel safe set search_path = pg_catalog, pg_temp
return json_build_object(
  'id', d.id, 'name', d.name, 'url', d.url, 'size', d.size, 'mime_type', d.mime_type, 'metadata', d.metadata,
  'status', d.status, 'stage', d.stage, 'progress', d.progress, 'error', d.error,
  'uploaded_by', d.uploaded_by, 'created_at', d.created_at, 'updated_at', d.updated_at);
comment on function tidings_app.document_json(public.documents) is 'A document as the routes show it.';

-- A document and the notification that tells of it: both or neither.
create function tidings_app.create_document(
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
  insert into public.notifications (tenant_id, type, title, message, metadata)
    values (tenant, 'document_uploaded', 'New Document Uploaded',
            name || ' has been uploaded and is being processed.',
            jsonb_build_object('documentId', created.id, 'documentName', name, 'documentType', mime_type, 'uploadedBy', sub));
  return tidings_app.document_json(created);
end $$;
comment on function tidings_app.create_document(text, text, text, text, bigint, text, jsonb) is
  'Stores an uploaded document and its notification in the caller''s transaction; returns the document.';
