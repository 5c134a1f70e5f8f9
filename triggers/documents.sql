-- Documents: each upload, each step of processing and each removal is an event of the document's tenant.
--
-- Runs:   in one transaction, by `tidings triggers apply` or psql -f. As: the table's owner.
-- Locks:  SHARE ROW EXCLUSIVE on public.documents while a trigger is attached; gives up after 2 s and changes nothing.
-- Events: documents.inserted, documents.updated, documents.deleted.
-- Undo:   select tidings.unwatch('public.documents');

select * from tidings.watch('public.documents', tenant => 'tenant_id');
