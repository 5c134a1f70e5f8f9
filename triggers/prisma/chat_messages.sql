-- Chat messages as Prisma makes them: each message and each change of its state, for the session's user and the tenant's admins.
--
-- Runs:   in one transaction, by `tidings triggers apply triggers/prisma` or psql -f, after `tidings migrate --app prisma`. As: the table's owner.
-- Reads:  public."ChatSession", by its key, for tenant and user: the owner of schema tidings has that right from the migration.
-- Locks:  SHARE ROW EXCLUSIVE on public."ChatMessage" while a trigger is attached; gives up after 2 s and changes nothing.
-- Events: chat_messages.inserted, chat_messages.updated, chat_messages.deleted. The subject is the session; which message it is stands
--         in data. Messages that go with their session are told by chat_sessions.deleted alone, and counted as rows without a tenant.
-- Undo:   select tidings.unwatch('public."ChatMessage"');

select * from tidings.watch('public."ChatMessage"', type => 'chat_messages', subject => '{sessionId}',
  tenant => '=(select s."tenantId" from public."ChatSession" s where s.id = r."sessionId")',
  audience => '=coalesce((select s."userId" from public."ChatSession" s where s.id = r."sessionId"), '''')',
  columns => array['=(select tidings_app.message_event(r.id, s."tenantId", r."sessionId", r.role::text, r.status::text, r.content, r.metadata, r."createdAt", r."updatedAt", s."userId")
    from public."ChatSession" s where s.id = r."sessionId")']);
