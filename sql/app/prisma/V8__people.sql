-- People of a Prisma application: who is told by e-mail, and what they chose.
--
-- Runs:   as the caller. Reads: public."User". Writes: tidings_app.preferences.
-- Locks:  none but of its own row.
-- Fails:  TD404.
-- Undo:   drop schema tidings_app cascade.

create function tidings_app.recipients(tenant text, type text, audience text) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select coalesce(json_agg(json_build_object('sub', u.id, 'name', u.name, 'email', u.email) order by u.id), '[]')
      from public."User" u
     where u."tenantId" = recipients.tenant and u.email <> '' and (recipients.audience is null or u.id = recipients.audience)
       and not exists (select from tidings_app.preferences p where p.tenant_id = recipients.tenant and p.user_id = u.id and not p.email));
end $$;
comment on function tidings_app.recipients(text, text, text) is 'Who is told of an event by e-mail.';

create function tidings_app.preferences(tenant text, sub text) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (select json_build_object('email', coalesce(p.email, true))
            from public."User" u left join tidings_app.preferences p on p.tenant_id = u."tenantId" and p.user_id = u.id
           where u."tenantId" = preferences.tenant and u.id = preferences.sub);
end $$;
comment on function tidings_app.preferences(text, text) is 'What a user chose; null for one who is not in the tables.';

create function tidings_app.set_preferences(tenant text, sub text, email boolean) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  if not exists (select from public."User" u where u."tenantId" = set_preferences.tenant and u.id = set_preferences.sub) then
    perform tidings_app.refuse(404, 'this user is not in the application''s tables');
  elsif set_preferences.email is null then
    perform tidings_app.refuse(422, 'email must be true or false', 'email');
  end if;
  insert into tidings_app.preferences as p values (set_preferences.tenant, set_preferences.sub, set_preferences.email)
    on conflict (tenant_id, user_id) do update set email = excluded.email;
  return tidings_app.preferences(set_preferences.tenant, set_preferences.sub);
end $$;
comment on function tidings_app.set_preferences(text, text, boolean) is 'Keeps what a user chose.';
