-- The reference application: tenants, users, documents, notifications and chats.
--
-- Runs:   only where asked for, by `tidings migrate --app` and `tidings demo`, in one transaction.
-- As:     the role that will own the tables. Writes: schema public, nothing else.
-- Fails:  when a table of one of these names exists already, changing nothing: an application that has its own tables
--         keeps them and writes the functions of schema tidings_app for them (V2__functions.sql).
-- Undo:   drop table public.chat_messages, public.chat_sessions, public.notification_reads, public.notifications,
--         public.documents, public.users, public.tenants; drop function public.touch_updated_at();
--
-- Ids are text, with a prefix that says what they name: they are read by people, in logs and in URLs. Lists go from the
-- newest backwards by (created_at, id), so each list has an index in that order that begins with the tenant.

create table public.tenants (
  id         text primary key check (octet_length(id) between 1 and 255),
  name       text not null,
  created_at timestamptz not null default now()
);
comment on table public.tenants is 'Customers. Nothing of one is ever visible to another.';
comment on column public.tenants.id is 'The name in URLs and in the tenant claim of tokens.';

-- Someone who works for two tenants has a row in each.
create table public.users (
  tenant_id  text not null references public.tenants on delete cascade,
  id         text not null default 'usr_' || replace(gen_random_uuid()::text, '-', '') check (octet_length(id) between 1 and 255),
  email      text,
  name       text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id)
);
comment on table public.users is 'People of a tenant.';
comment on column public.users.id is 'The sub claim of their tokens.';

create table public.documents (
  id          text primary key default 'doc_' || replace(gen_random_uuid()::text, '-', ''),
  tenant_id   text not null references public.tenants on delete cascade,
  uploaded_by text,
  name        text not null check (octet_length(name) between 1 and 1024),
  url         text,
  size        bigint check (size >= 0),
  mime_type   text,
  metadata    jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
  status      text not null default 'uploaded' check (status in ('uploaded', 'processing', 'processed', 'failed')),
  stage       text,
  progress    smallint check (progress between 0 and 100),
  error       jsonb,
  created_at  timestamptz not null default now(),
  updated_at  timestamptz not null default now(),
  check (error is null or status = 'failed'),
  check (error is null or error ?& array['code', 'message'])
);
create index on public.documents (tenant_id, created_at desc, id desc);
comment on table public.documents is 'Uploaded files and how far their processing is.';
comment on column public.documents.uploaded_by is 'sub of the uploader; no reference, since services upload too and users leave.';
comment on column public.documents.status is 'uploaded, processing, then processed or failed.';
comment on column public.documents.stage is 'What processing is doing, in a word; null outside of it.';
comment on column public.documents.progress is 'Percent of processing; null where it is not known.';
comment on column public.documents.error is 'Why it failed: {"code", "message"}; null unless status is failed.';
comment on column public.documents.size is 'Bytes.';

create table public.notifications (
  id         text primary key default 'ntf_' || replace(gen_random_uuid()::text, '-', ''),
  tenant_id  text not null references public.tenants on delete cascade,
  type       text not null check (type ~ '^[a-z][a-z0-9_.-]{0,63}$'),
  title      text not null,
  message    text not null,
  metadata   jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
  created_at timestamptz not null default now(),
  unique (tenant_id, id)
);
create index on public.notifications (tenant_id, created_at desc, id desc);
comment on table public.notifications is 'What a tenant''s users are told; never updated. Who has read one stands in notification_reads.';

-- No row: unread. Counting what is unread is an anti-join over the newest notifications, which is what people look at.
create table public.notification_reads (
  tenant_id       text not null,
  user_id         text not null,
  notification_id text not null,
  read_at         timestamptz not null default now(),
  archived_at     timestamptz,
  primary key (tenant_id, user_id, notification_id),
  foreign key (tenant_id, notification_id) references public.notifications (tenant_id, id) on delete cascade
);
create index on public.notification_reads (tenant_id, notification_id);
comment on table public.notification_reads is 'Read and archive state of a notification for one user.';
comment on column public.notification_reads.user_id is 'sub of the reader; no reference, since a token suffices to read.';
comment on column public.notification_reads.archived_at is 'Since when it is out of their list; null: read, not archived.';

create table public.chat_sessions (
  id              text primary key default 'chs_' || replace(gen_random_uuid()::text, '-', ''),
  tenant_id       text not null references public.tenants on delete cascade,
  user_id         text,
  subject         text,
  status          text not null default 'waiting' check (status in ('waiting', 'active', 'ended', 'archived')),
  assigned_to     text,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  started_at      timestamptz,
  ended_at        timestamptz,
  last_message_at timestamptz,
  unique (tenant_id, id)
);
create index on public.chat_sessions (tenant_id, created_at desc, id desc);
create index on public.chat_sessions (tenant_id, status, created_at desc, id desc);
comment on table public.chat_sessions is 'Conversations of a user with support.';
comment on column public.chat_sessions.user_id is 'sub of the user who asked.';
comment on column public.chat_sessions.status is 'waiting, active, ended, archived; only forwards.';
comment on column public.chat_sessions.assigned_to is 'sub of whoever answers; null while nobody does.';
comment on column public.chat_sessions.started_at is 'When waiting ended; started_at - created_at is the waiting time.';

create table public.chat_messages (
  id         text not null default 'msg_' || replace(gen_random_uuid()::text, '-', '') check (octet_length(id) between 1 and 255),
  tenant_id  text not null,
  session_id text not null,
  role       text not null check (role in ('user', 'assistant', 'system')),
  status     text not null default 'sent' check (status in ('sending', 'sent', 'failed')),
  content    text not null,
  metadata   jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- Clients choose ids, so that sending again is not sending twice. By session: one client's choice must neither
  -- collide with another tenant's nor tell that it exists.
  primary key (session_id, id),
  foreign key (tenant_id, session_id) references public.chat_sessions (tenant_id, id) on delete cascade
);
create index on public.chat_messages (tenant_id, session_id, created_at, id);
create index on public.chat_messages (tenant_id, created_at);
comment on table public.chat_messages is 'Messages of a conversation, oldest first.';
comment on column public.chat_messages.id is 'Chosen by the client, or given by default; unique within the session.';
comment on column public.chat_messages.status is 'sending while an answer is being written, then sent or failed.';

create function public.touch_updated_at() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.updated_at := clock_timestamp();
  return new;
end $$;
comment on function public.touch_updated_at() is 'Keeps updated_at, whoever updates.';

create trigger touch_updated_at before update on public.users for each row execute function public.touch_updated_at();
create trigger touch_updated_at before update on public.documents for each row execute function public.touch_updated_at();
create trigger touch_updated_at before update on public.chat_sessions for each row execute function public.touch_updated_at();
create trigger touch_updated_at before update on public.chat_messages for each row execute function public.touch_updated_at();
comment on trigger touch_updated_at on public.users is 'Keeps updated_at.';
comment on trigger touch_updated_at on public.documents is 'Keeps updated_at.';
comment on trigger touch_updated_at on public.chat_sessions is 'Keeps updated_at.';
comment on trigger touch_updated_at on public.chat_messages is 'Keeps updated_at.';
