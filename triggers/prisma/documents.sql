-- Documents as Prisma makes them: each upload, each step of processing and each removal is an event of the document's tenant.
--
-- Runs:   in one transaction, by `tidings triggers apply triggers/prisma` or psql -f, after `tidings migrate --app prisma`. As: the table's owner.
-- Locks:  SHARE ROW EXCLUSIVE on public.documents while a trigger is attached; gives up after 2 s and changes nothing.
-- Events: documents.inserted, documents.updated, documents.deleted, spelled like those of the reference tables, whoever wrote the row.
-- Undo:   select tidings.unwatch('public.documents');

select * from tidings.watch('public.documents', tenant => 'tenantId', columns => array[
  '=tidings_app.document_event(id, "tenantId", name, url, status::text, "userId", metadata, "createdAt", "updatedAt")']);
