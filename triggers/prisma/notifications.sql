-- Notifications as Prisma makes them: each new one is an event for everybody in its tenant. The table's flag "read" is not shown:
-- who has read one is kept for each user in tidings_app.notification_reads.
--
-- Runs:   in one transaction, by `tidings triggers apply triggers/prisma` or psql -f, after `tidings migrate --app prisma`. As: the table's owner.
-- Locks:  SHARE ROW EXCLUSIVE on public.notifications while a trigger is attached; gives up after 2 s and changes nothing.
-- Events: notifications.inserted, notifications.updated, notifications.deleted.
-- Undo:   select tidings.unwatch('public.notifications');

select * from tidings.watch('public.notifications', tenant => 'tenantId', columns => array[
  '=tidings_app.notification_event(id, "tenantId", type, title, message, metadata, "createdAt", "userId")']);
