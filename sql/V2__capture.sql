-- From changed rows to events: called inside the writer's transaction by the triggers of watched tables, and by emit.
--
-- Runs:   as the owner of schema tidings (security definer), with a pinned search_path, whoever writes.
-- Writes: tidings._log (insert only: a select would give SERIALIZABLE writers false conflicts), and NOTIFY at commit.
-- Locks:  none but its own new rows'. NOTIFY's commit lock is PostgreSQL's.
-- Fails:  never on its own account for an event that fits; the triggers catch what row data can cause.

create type tidings._change as (
  tenant   text,
  audience text,
  type     text,
  subject  text,
  changed  text,
  data     json
);
comment on type tidings._change is 'What a trigger hands to tidings._record for one row.';

-- A payload must stay below 8,000 bytes, or NOTIFY aborts the writer. What does not fit goes as a reference.
create function tidings._reference(xid xid8, first bigint, last bigint) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return '{"ref":{"xid":' || xid || ',"first":' || first || ',"last":' || last || '}}';
comment on function tidings._reference(xid8, bigint, bigint) is 'Payload that names events in the log instead of carrying them.';

-- Logs the changes of a small statement and rings the bell: one notification per event that fits.
-- Returns the id of the last event, null when there was none.
-- The snapshot is taken before the first number, so every event visible in it has a smaller eid than these. A loop of plain
-- statements: for one row, which is the usual case, a set-based one costs three times as much.
-- With client_min_messages a writer cannot have the statements below, and the channel's name with them, shown to it.
create function tidings._record(relation oid, op text, origin text, notify boolean, changes tidings._change[]) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp set client_min_messages = warning as $$
declare
  seen    pg_snapshot := pg_current_snapshot();
  mine    xid8        := pg_current_xact_id();
  target  text        := (select name from tidings._channel);
  part    smallint    := (select last_value from tidings._slot);
  c       tidings._change;
  number  bigint;
  head    bigint;
  nonce   int;
  moment  timestamptz;
  payload text;
  skipped int := 0;
begin
  foreach c in array changes loop
    if c.tenant is null then
      skipped := skipped + 1;
      continue;
    end if;
    if octet_length(c.data::text) > 8388608 then
      c.data := null;
    end if;
    number := nextval('tidings._eid');
    nonce  := (random() * 4294967295)::bigint - 2147483648;
    moment := clock_timestamp();
    insert into tidings._log (eid, xid, head, snap, nonce, slot, at, tenant, audience, type, source, subject, changed, data)
      values (number, mine, coalesce(head, number), case when head is null then seen end, nonce, part, moment,
              c.tenant, c.audience, c.type, origin, c.subject, c.changed, c.data);
    head := coalesce(head, number);
    if notify then
      payload := json_build_object('eid', number, 'xid', mine::text::bigint, 'snap', seen, 'nonce', to_hex(nonce),
        'at', (extract(epoch from moment) * 1000000)::bigint, 'tenant', c.tenant, 'audience', c.audience, 'type', c.type,
        'source', origin, 'subject', c.subject, 'changed', c.changed, 'data', c.data)::text;
      perform pg_notify(target, case when octet_length(payload) < 8000 then payload else tidings._reference(mine, number, number) end);
    end if;
  end loop;
  if skipped > 0 then
    insert into tidings._missed (relation, op, reason, rows) values (relation, op, 'null_tenant', skipped);
  end if;
  return number || '-' || mine || '-' || to_hex(nonce);
end $$;
comment on function tidings._record(oid, text, text, boolean, tidings._change[]) is 'Writes changes to the log and notifies; the end of every trigger.';

create function tidings.emit(tenant text, type text, data jsonb default '{}', subject text default null, audience text default null)
returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id text;
begin
  if coalesce(tenant, '') = '' or octet_length(tenant) > 255 then
    raise exception 'tidings.emit: tenant must be 1 to 255 bytes' using errcode = 'invalid_parameter_value',
      hint = 'Pass the tenant whose subscribers shall see the event.';
  elsif type is null or type !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$' then
    raise exception 'tidings.emit: type must be 1 to 127 of A-Z a-z 0-9 . _ -' using errcode = 'invalid_parameter_value',
      hint = 'Use a dotted name such as invoice.paid.';
  elsif octet_length(data::text) > 8388608 then
    raise exception 'tidings.emit: data is larger than 8 MiB' using errcode = 'program_limit_exceeded',
      hint = 'Store it in a table and emit its key.';
  elsif octet_length(subject) > 1024 or octet_length(audience) > 255 then
    raise exception 'tidings.emit: subject is limited to 1024 bytes, audience to 255' using errcode = 'invalid_parameter_value';
  end if;
  id := tidings._record(0, 'emit', '/emit', true, array[row(tenant, audience, type, subject, null, coalesce(nullif(data, 'null'), '{}'))::tidings._change]);
  return id;
end $$;
comment on function tidings.emit(text, text, jsonb, text, text) is
  'Publish one event from any function or transaction; delivered when it commits. Returns its id.';

-- The same with an idempotency key: a second call returns the first one's id. Null: the key was used for another event.
create function tidings._emit_once(tenant text, sub text, key text, hash bytea, type text, data jsonb, subject text, audience text)
returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  earlier tidings._idempotency;
  id text;
begin
  perform pg_advisory_xact_lock(hashtextextended(tenant || chr(31) || sub || chr(31) || key, 0));
  select * into earlier from tidings._idempotency i
   where i.tenant = _emit_once.tenant and i.sub = _emit_once.sub and i.key = _emit_once.key;
  if found then
    return case when earlier.hash = hash then earlier.id end;
  end if;
  id := tidings.emit(tenant, type, data, subject, audience);
  insert into tidings._idempotency (tenant, sub, key, hash, id) values (tenant, sub, key, hash, id);
  return id;
end $$;
comment on function tidings._emit_once(text, text, text, bytea, text, jsonb, text, text) is 'emit for POST …/events with an Idempotency-Key.';

revoke all on all functions in schema tidings from public;
