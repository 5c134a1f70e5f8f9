-- People: who is told by e-mail, and who wants to be.
--
-- Runs:   once, by `tidings migrate --app`; the functions as whoever calls them.
-- Reads:  public.users. Writes: public.users.email_notifications. Locks: the user's row while it is changed.
-- Fails:  with tidings_app.refuse: 404 for a user who is not in the tables.
-- Undo:   drop function tidings_app.recipients, tidings_app.preferences, tidings_app.set_preferences.

-- type is there for functions that ask different people about different things; this one does not.
create function tidings_app.recipients(tenant text, type text, audience text) returns json
language sql stable set search_path = pg_catalog, pg_temp
return (
  select coalesce(json_agg(json_build_object('sub', u.id, 'name', u.name, 'email', u.email) order by u.id), '[]')
    from public.users u
   where u.tenant_id = tenant and u.email_notifications and coalesce(u.email, '') <> '' and (audience is null or u.id = audience));
comment on function tidings_app.recipients(text, text, text) is
  'Who is told by e-mail of an event of this type: a tenant''s users, or the audience alone; without those who opted out or have no address.';

create function tidings_app.preferences(tenant text, sub text) returns json
language sql stable set search_path = pg_catalog, pg_temp
return (select json_build_object('email', u.email_notifications) from public.users u where u.tenant_id = tenant and u.id = sub);
comment on function tidings_app.preferences(text, text) is 'What a user has chosen; null for one who is not in the tables.';

create function tidings_app.set_preferences(tenant text, sub text, email boolean) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update public.users u set email_notifications = set_preferences.email where u.tenant_id = tenant and u.id = sub;
  if not found then
    perform tidings_app.refuse(404, 'this user is not in the application''s tables');
  end if;
  return tidings_app.preferences(tenant, sub);
end $$;
comment on function tidings_app.set_preferences(text, text, boolean) is 'Whether a user wants e-mail; returns what is chosen now.';
