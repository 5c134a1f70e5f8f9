-- Documents of a Prisma application that are processed again: without the progress and the stage of the attempt that failed.
--
-- Runs:   once, by `tidings migrate --app prisma`; the function as the caller. Reads and writes: public.documents, and a notification.
-- Locks:  the function locks the document's row, until the transaction ends.
-- Fails:  TD409, TD422.
-- Undo:   the function as V3__documents.sql has it.
--
-- One function is written anew, and only where the application has not replaced it.

do $do$
begin
  -- Known by its text: what V3__documents.sql made.
  if (select md5(p.prosrc) from pg_proc p
       where p.oid = 'tidings_app.set_document_status(text, text, text, int, text, jsonb)'::regprocedure) <> '241125515a05b158b7e45a2dedc9fbaf' then
    return;
  end if;
  create or replace function tidings_app.set_document_status(tenant text, id text, status text, progress int, stage text, error jsonb) returns json
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
    -- What an earlier attempt left is not this one's.
    next := tidings_app.members(d.metadata) - case when set_document_status.status = 'processing' and was <> 'processing' then '{progress,stage}'::text[] else '{}' end
            || jsonb_strip_nulls(jsonb_build_object('progress', set_document_status.progress, 'stage', set_document_status.stage,
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
end $do$;
