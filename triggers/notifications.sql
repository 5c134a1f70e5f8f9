-- Notifications: each new one is an event for everybody in its tenant. Who has read it is no event: that is kept for each
-- user in notification_reads, which is not watched.
--
-- Runs:   in one transaction, by `tidings triggers apply` or psql -f. As: the table's owner.
-- Locks:  SHARE ROW EXCLUSIVE on public.notifications while a trigger is attached; gives up after 2 s and changes nothing.
-- Events: notifications.inserted, notifications.updated, notifications.deleted.
-- Undo:   select tidings.unwatch('public.notifications');

select * from tidings.watch('public.notifications', tenant => 'tenant_id');
