-- Chat messages: each message and each change of its state, for the session's user and the tenant's admins.
--
-- Runs:   in one transaction, by `tidings triggers apply` or psql -f. As: the table's owner.
-- Locks:  SHARE ROW EXCLUSIVE on public.chat_messages while a trigger is attached; gives up after 2 s and changes nothing.
-- Events: chat_messages.inserted, chat_messages.updated, chat_messages.deleted. The subject is the session, so that one
--         conversation can be followed; which message it is stands in data.
-- Undo:   select tidings.unwatch('public.chat_messages');

select * from tidings.watch('public.chat_messages', tenant => 'tenant_id', subject => '{session_id}', audience => '=coalesce(user_id, '''')');
