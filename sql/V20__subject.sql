-- watch takes its subject as one column or expression, or as a list of them.
--
-- Runs:   once. As: the owner of schema tidings. Writes and locks: nothing else.
-- Fails:  never on its own account.
-- Undo:   drop function tidings.watch(…); alter function tidings._watch_list(…) rename to watch;
--
-- 'order_no' and '=lower(code)' are what most tables need, and what the first version took. '{region,order_no}' names several; a text[],
-- such as tidings.watches shows, is passed as subject::text.

alter function tidings.watch(regclass, text, text[], text[], text[], text[], text[], text, text, boolean, boolean) rename to _watch_list;
comment on function tidings._watch_list(regclass, text, text[], text[], text[], text[], text[], text, text, boolean, boolean) is
  'watch, with the subject as a list.';

create function tidings.watch(
  "table" regclass, tenant text, columns text[] default null, except_columns text[] default null,
  ops text[] default '{insert,update,delete}', only_changed text[] default null, subject text default null, type text default null,
  audience text default null, notify boolean default true, strict boolean default false
) returns setof tidings.watches
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  return query select * from tidings._watch_list("table", tenant, columns, except_columns, ops, only_changed,
    case when left(subject, 1) = '{' then subject::text[] when subject is not null then array[subject] end,
    type, audience, notify, strict);
end $$;
comment on function tidings.watch(regclass, text, text[], text[], text[], text[], text, text, text, boolean, boolean) is
  'Start watching a table, or change how; safe to repeat. tenant, audience and subject are a column or an SQL expression after =; subject may be a list of them. Returns the settings in force. In a read-only transaction: a dry run.';

revoke all on all functions in schema tidings from public;

-- Whoever might call it, still may.
do $$
declare
  who name;
begin
  for who in select pg_get_userbyid(a.grantee) from pg_proc p, aclexplode(p.proacl) a
              where p.proname = '_watch_list' and p.pronamespace = 'tidings'::regnamespace and a.grantee not in (0, p.proowner) loop
    execute format('grant execute on function tidings.watch(regclass, text, text[], text[], text[], text[], text, text, text, boolean, boolean) to %I', who);
  end loop;
end $$;
