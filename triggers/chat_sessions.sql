-- Chat sessions: each new conversation, each change of its status or assignment, for its user and the tenant's admins.
--
-- Runs:   in one transaction, by `tidings triggers apply` or psql -f. As: the table's owner.
-- Locks:  SHARE ROW EXCLUSIVE on public.chat_sessions while a trigger is attached; gives up after 2 s and changes nothing.
-- Events: chat_sessions.inserted, chat_sessions.updated, chat_sessions.deleted.
-- Undo:   select tidings.unwatch('public.chat_sessions');

-- An empty audience is no user's: a session without a user is for admins only.
select * from tidings.watch('public.chat_sessions', tenant => 'tenant_id', audience => '=coalesce(user_id, '''')');
