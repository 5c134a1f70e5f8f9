-- Cases: a table of the application's own behind which a pipeline works, shown to each case's owner. SQL only, no Rust.
--
-- Runs:   in plain psql, in one transaction (`psql -1 -f docs/recipes/cases.sql`). As: the role that shall own the table, a member of the
--         owner of schema tidings. After `tidings migrate --app`, whose tidings_app.refuse it uses. Then, for the role that bridges log in
--         with: select tidings_app.grant_service('ROLE'); select tidings_app.grant_cases('ROLE');
-- Writes: public.cases, the watch on it, tidings_app.case_status, tidings_app.grant_cases. Locks: none that others wait for.
-- Fails:  when a table public.cases is there, changing nothing. Yours looks different? Keep it and change case_status.
-- Undo:   select tidings.unwatch('public.cases'); drop table public.cases; drop function tidings_app.case_status(text, jsonb), tidings_app.grant_cases(name);
--
-- config.toml:
--   [[inbound]]
--   name = "cases"
--   secret_file = "/run/secrets/cases"
--   tenant = "tenant_id"
--   call = "case_status"
--
-- The pipeline posts {"tenant_id", "case_id", "status", "results", "error"} to /v1/webhooks/cases. The owner sees cases.updated on
-- WebSocket or SSE, or polls GET /v1/tenants/{tenant}/watched/cases/{id}.

create table public.cases (
  id         text primary key default 'cas_' || replace(gen_random_uuid()::text, '-', ''),
  tenant_id  text not null references public.tenants on delete cascade,
  user_id    text not null check (user_id <> ''),
  title      text not null,
  status     text not null default 'uploaded' check (status in ('uploaded', 'pending', 'processing', 'completed', 'failed')),
  results    jsonb,
  error      jsonb check (error ?& array['code', 'message']),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (results is null or status = 'completed'),
  check (error is null or status = 'failed')
);
create index on public.cases (tenant_id, user_id, created_at desc);
comment on table public.cases is 'Cases that users hand in, and how far their processing is.';
comment on column public.cases.user_id is 'sub of the owner: the one user who sees the case, beside the tenant''s admins.';
comment on column public.cases.status is 'uploaded, pending (queued), processing, then completed or failed.';
comment on column public.cases.results is 'What processing found; null until it is completed.';
comment on column public.cases.error is 'Why it failed: {"code", "message"}; null unless it did.';

create trigger touch_updated_at before update on public.cases for each row execute function public.touch_updated_at();
comment on trigger touch_updated_at on public.cases is 'Keeps updated_at.';

-- As the reference tables have it: in a session of a bridge only the rows of the tenant that is being answered are there.
alter table public.cases enable row level security;
alter table public.cases force row level security;
create policy one_tenant on public.cases
  using (current_setting('tidings.tenant', true) is null or tenant_id = current_setting('tidings.tenant', true));
comment on policy one_tenant on public.cases is 'In a session of a bridge: the tenant that is being answered, and no other.';

-- Every insert and every step is an event for the owner of the case.
select * from tidings.watch('public.cases', tenant => 'tenant_id', audience => 'user_id');

-- For polling: whoever owns schema tidings reads the table on a bridge's behalf.
do $$
begin
  execute format('grant select on public.cases to %I', (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'tidings'));
end $$;

-- One step. Forwards only, but that what failed may be tried again; what is reported twice changes nothing.
create function tidings_app.case_status(tenant text, body jsonb) returns json
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  step   text := lower(body ->> 'status');
  reason jsonb := nullif(body -> 'error', 'null');
  was    public.cases;
  became public.cases;
begin
  if jsonb_typeof(body -> 'case_id') is distinct from 'string' then
    perform tidings_app.refuse(422, 'case_id must name the case', 'case_id');
  elsif step is null or step not in ('pending', 'processing', 'completed', 'failed') then
    perform tidings_app.refuse(422, 'status must be pending, processing, completed or failed', 'status');
  elsif body ? 'results' and step <> 'completed' then
    perform tidings_app.refuse(422, 'results go with the status completed only', 'results');
  elsif reason is not null and (step <> 'failed' or jsonb_typeof(reason) <> 'object' or not reason ?& array['code', 'message']) then
    perform tidings_app.refuse(422, 'error must be {"code", "message"}, and goes with the status failed only', 'error');
  end if;
  -- Locked, so that two reports at once take their steps one after the other.
  select * into was from public.cases c where c.tenant_id = tenant and c.id = body ->> 'case_id' for update;
  if not found then
    return null;
  end if;
  became := was;
  became.status := step;
  became.results := case step when 'completed' then nullif(body -> 'results', 'null') end;
  became.error := case step when 'failed' then reason end;
  if became is distinct from was then
    if was.status = 'completed' or was.status = 'processing' and step = 'pending' or was.status = 'failed' and step = 'failed' then
      perform tidings_app.refuse(409, format('a case that is %s cannot become %s', was.status, step), '', row_to_json(was));
    end if;
    update public.cases c set status = became.status, results = became.results, error = became.error
     where c.tenant_id = tenant and c.id = was.id
     returning c.* into was;
  end if;
  return row_to_json(was);
end $$;
comment on function tidings_app.case_status(text, jsonb) is 'What a webhook {"case_id","status","results","error"} says of a case; returns the case.';

create function tidings_app.grant_cases(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('grant select, update on public.cases to %I', role);
end $$;
comment on function tidings_app.grant_cases(name) is 'Gives a bridge''s role what case_status needs.';
