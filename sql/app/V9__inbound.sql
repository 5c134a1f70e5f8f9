-- What a processing pipeline reports of documents, in whatever words it uses: the function behind [[inbound]] call = "document_status".
--
-- Runs:   as whoever calls it, for a webhook whose signature holds; in the transaction that notes the delivery.
-- Writes: through tidings_app.set_document_status, which keeps the steps in order and makes the notifications.
-- Fails:  TD422 naming the member of the body that cannot be used; TD404 and TD409 as set_document_status refuses.
-- Undo:   drop function tidings_app.document_status(text, jsonb), tidings_app.status_of(text), tidings_app.text_of(jsonb, text, int).

-- The words of those who write pipelines, and the four of ours. Null: none of them.
create function tidings_app.status_of(word text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return case
  when lower(word) in ('uploaded', 'pending', 'queued', 'created', 'received') then 'uploaded'
  when lower(word) in ('processing', 'in_progress', 'running', 'started') then 'processing'
  when lower(word) in ('processed', 'complete', 'completed', 'done', 'succeeded', 'success') then 'processed'
  when lower(word) in ('failed', 'failure', 'error', 'errored') then 'failed'
end;
comment on function tidings_app.status_of(text) is 'Maps the status words of pipelines to uploaded, processing, processed, failed.';

-- A member that is text, or is not there: null.
create function tidings_app.text_of(body jsonb, member text, bytes_max int) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  found text := body ->> member;
begin
  if found is not null and (jsonb_typeof(body -> member) <> 'string' or octet_length(found) not between 1 and bytes_max) then
    perform tidings_app.refuse(422, format('%s must be text of 1 to %s bytes', member, bytes_max), member);
  end if;
  return found;
end $$;
comment on function tidings_app.text_of(jsonb, text, int) is 'The text of a member; refuses what is there and is none, naming the member.';

-- Members that are not named here are the pipeline's own, and are not looked at.
create function tidings_app.document_status(tenant text, body jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  document text;
  word     text;
  step     text;
  percent  numeric;
  reason   jsonb;
begin
  if jsonb_typeof(body) is distinct from 'object' then
    perform tidings_app.refuse(422, 'the body must be an object with document_id and status', 'body');
  end if;
  document := coalesce(tidings_app.text_of(body, 'document_id', 255), tidings_app.text_of(body, 'documentId', 255));
  if document is null then
    perform tidings_app.refuse(422, 'document_id must name the document', 'document_id');
  end if;
  word := tidings_app.text_of(body, 'status', 64);
  step := tidings_app.status_of(word);
  if step is null then
    perform tidings_app.refuse(422, 'status must be one of uploaded, processing, processed, failed, or a word that is known to mean one', 'status');
  end if;
  if jsonb_typeof(body -> 'progress') = 'number' then
    percent := (body ->> 'progress')::numeric;
  end if;
  if coalesce(jsonb_typeof(body -> 'progress'), 'null') not in ('number', 'null') or percent not between 0 and 100 or percent <> trunc(percent) then
    perform tidings_app.refuse(422, 'progress must be a whole number from 0 to 100, or null', 'progress');
  end if;
  reason := nullif(body -> 'error', 'null');
  if reason is not null then
    if step <> 'failed' then
      perform tidings_app.refuse(422, 'error goes with the status failed only', 'error');
    elsif jsonb_typeof(reason) <> 'object' or coalesce(jsonb_typeof(reason -> 'code'), '') <> 'string'
          or coalesce(jsonb_typeof(reason -> 'message'), '') <> 'string' then
      perform tidings_app.refuse(422, 'error must be an object with code and message, both text', 'error');
    end if;
    reason := jsonb_build_object('code', reason -> 'code', 'message', reason -> 'message');
  end if;
  return tidings_app.set_document_status(tenant, document, step, percent::int, tidings_app.text_of(body, 'stage', 255), reason);
end $$;
comment on function tidings_app.document_status(text, jsonb) is
  'What a webhook {"document_id","status","progress","stage","error"} says of a document; returns the document.';
