-- Chat sessions as Prisma makes them: each new conversation, each change of it, for its user and the tenant's admins.
--
-- Runs:   in one transaction, by `tidings triggers apply triggers/prisma` or psql -f, after `tidings migrate --app prisma`. As: the table's owner.
-- Locks:  SHARE ROW EXCLUSIVE on public."ChatSession" while a trigger is attached; gives up after 2 s and changes nothing.
-- Events: chat_sessions.inserted, chat_sessions.updated, chat_sessions.deleted.
-- Undo:   select tidings.unwatch('public."ChatSession"');

-- An empty audience is no user's: a session without a user is for admins only.
select * from tidings.watch('public."ChatSession"', type => 'chat_sessions', tenant => 'tenantId', audience => '=coalesce("userId", '''')', columns => array[
  '=tidings_app.session_event(id, "tenantId", "userId", subject, status::text, "assignedTo", "createdAt", "updatedAt", "startedAt", "endedAt", "lastMessageAt", metadata)']);
