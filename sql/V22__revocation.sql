-- What was withdrawn before its time: tokens, by their user or by their id; and connections that an admin ends on another instance.
--
-- Runs:   once, in one transaction; the functions as the owner of schema tidings. As: the owner of schema tidings.
-- Reads:  tidings._listener, when a connection is ended. Locks: one row of its own, so that revocations are made one after the other.
-- Fails:  invalid_parameter_value when the arguments name nothing or nobody, program_limit_exceeded when there are too many.
-- Undo:   drop view tidings.revocations; drop table tidings._revocation, tidings._revision, tidings._ending;
--         drop function tidings.revoke, tidings.unrevoke, tidings._end; delete from tidings._service where name ~ '^(revo|unrevo|_revo|_revi|_end)'.
--
-- Bridges hold all of it in memory, look at the revision twice a second, and read everything anew when it is another one. That cannot
-- miss any, however long a bridge was away.

create table tidings._revocation (
  id         bigint generated always as identity primary key,
  tenant     text,
  sub        text,
  jti        bytea,
  before     timestamptz not null,
  expires_at timestamptz not null,
  made_by    text not null,
  made_at    timestamptz not null default now(),
  check (num_nonnulls(sub, jti) = 1)
);
create unique index _revocation_of on tidings._revocation (coalesce(tenant, ''), coalesce(sub, ''), coalesce(jti, ''));
comment on table tidings._revocation is 'Tokens that are no longer good, by user or by id, in one tenant or in all.';
comment on column tidings._revocation.tenant is 'Null: in all.';
comment on column tidings._revocation.jti is 'SHA-256 of the token''s jti. The token itself is nowhere.';
comment on column tidings._revocation.before is 'A user''s tokens that were issued up to then.';
comment on column tidings._revocation.expires_at is 'No token that was issued before it lives so long.';

create table tidings._revision (
  one boolean primary key default true check (one),
  n   bigint not null default 0
);
comment on table tidings._revision is 'How often tidings._revocation was changed. Its row is locked until the change is committed, so that numbers become visible in order.';
insert into tidings._revision default values;

create function tidings.revoke(
  sub text default null, jti text default null, tenant text default null, before timestamptz default now(),
  keep interval default '400 days', made_by text default session_user
) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  hash bytea := sha256(convert_to($2, 'UTF8'));
  made bigint;
begin
  if num_nonnulls($1, $2) <> 1 or '' in ($1, $2, $3) or greatest(octet_length($1), octet_length($2), octet_length($3)) > 255 then
    raise exception 'tidings.revoke: name a sub or a jti, of 1 to 255 bytes, and a tenant of as many or none' using errcode = 'invalid_parameter_value',
      hint = 'select tidings.revoke(sub => ''ann'', tenant => ''acme'')';
  end if;
  update tidings._revision set n = n + 1;
  delete from tidings._revocation where expires_at < now();
  -- So many that no admin reaches it with people; each bridge holds them in memory, some 300 bytes each.
  if (select count(*) from tidings._revocation r where r.tenant is not distinct from $3) >= 10000 or (select count(*) from tidings._revocation) >= 100000 then
    raise exception 'tidings.revoke: there are too many revocations' using errcode = 'program_limit_exceeded',
      hint = 'Change the key that signs the tokens: it withdraws all of them.';
  end if;
  insert into tidings._revocation as r (tenant, sub, jti, before, expires_at, made_by)
    values ($3, $1, hash, coalesce($4, now()), greatest(coalesce($4, now()), now()) + $5, $6)
    on conflict ((coalesce(tenant, '')), (coalesce(sub, '')), (coalesce(jti, ''))) do update
      set before = greatest(r.before, excluded.before), expires_at = greatest(r.expires_at, excluded.expires_at),
          made_by = excluded.made_by, made_at = excluded.made_at
    returning id into made;
  return made;
end $$;
comment on function tidings.revoke(text, text, text, timestamptz, interval, text) is
  'Withdraws a user''s tokens that were issued so far (sub), or one token (jti): in a tenant, or in all. Bridges know within a second, and end what is open. Returns its id.';

create function tidings.unrevoke(id bigint) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update tidings._revision set n = n + 1;
  delete from tidings._revocation r where r.id = unrevoke.id;
  return found;
end $$;
comment on function tidings.unrevoke(bigint) is 'Takes a revocation back: what has not expired is good again. False: there is none of this id.';

create view tidings.revocations as
  select r.id, r.tenant, r.sub, encode(r.jti, 'hex') as jti_sha256, r.before, r.expires_at, r.made_by, r.made_at
    from tidings._revocation r where r.expires_at > now();
comment on view tidings.revocations is 'Revocations in force.';

-- An order to the bridge that holds a connection. It tells by found that it did; whoever ordered it waits for that, and nobody after a minute.
create table tidings._ending (
  id         bigint generated always as identity primary key,
  connection text not null,
  tenants    text[],
  at         timestamptz not null default now(),
  found      boolean not null default false
);
comment on table tidings._ending is 'Connections that an admin ends, for the bridge that holds them.';
comment on column tidings._ending.tenants is 'Those that the admin administers; null: all.';

create function tidings._end(bridge text, connection text, tenants text[]) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  made bigint;
begin
  delete from tidings._ending where at < now() - interval '1 minute';
  if not exists (select from tidings.listeners l where l.bridge <> $1) then
    return null;
  elsif (select count(*) from tidings._ending) >= 1000 then
    raise exception 'tidings._end: too many connections are being ended' using errcode = 'program_limit_exceeded';
  end if;
  insert into tidings._ending (connection, tenants) values ($2, $3) returning id into made;
  return made;
end $$;
comment on function tidings._end(text, text, text[]) is 'Orders the other bridges to end a connection. Null: there is no other.';

insert into tidings._service values
  ('revoke', 'execute'), ('unrevoke', 'execute'), ('_end', 'execute'),
  ('revocations', 'select'), ('_revocation', 'select'), ('_revision', 'select'), ('_ending', 'select, update');

revoke all on all functions in schema tidings from public;
