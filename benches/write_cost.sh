#!/usr/bin/env bash
# What a watch costs the writers of a table, on a database of yours: least of several rounds, bare and watched tables taking turns.
#
#   DATABASE_URL=postgres://owner@host/scratch benches/write_cost.sh [rounds]
#
# Needs psql, pgbench, and schema tidings there (`tidings migrate`). Makes tables in a schema write_cost and drops it in the end; the
# events that it makes stay in the log until retention. Run it where a bridge listens, to count in that it is woken.
set -euo pipefail

url=${DATABASE_URL:?set DATABASE_URL to the database to measure}
rounds=${1:-5}
work=$(mktemp -d)
sql() { psql "$url" --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }
clean() {
  rm -rf "$work"
  sql --command 'set client_min_messages = warning; select tidings.unwatch(oid) from pg_class where relnamespace = to_regnamespace($$write_cost$$)
    and relname in ($$watched$$, $$unnotified$$); drop schema if exists write_cost cascade' >/dev/null
}
trap clean EXIT

sql >/dev/null <<'SQL'
set client_min_messages = warning;
drop schema if exists write_cost cascade;
create schema write_cost;
create table write_cost.bare (id int primary key, tenant_id text not null, status text not null, amount numeric, note text, at timestamptz default now());
insert into write_cost.bare select i, 'tenant_' || i % 50, 'open', i, repeat('x', 100) from generate_series(1, 10000) i;
create table write_cost.watched (like write_cost.bare including all);
create table write_cost.unnotified (like write_cost.bare including all);
insert into write_cost.watched select * from write_cost.bare;
insert into write_cost.unnotified select * from write_cost.bare;
select tidings.watch('write_cost.watched', tenant => 'tenant_id');
select tidings.watch('write_cost.unnotified', tenant => 'tenant_id', notify => false);
vacuum analyze write_cost.bare, write_cost.watched, write_cost.unnotified;
SQL
sql --command "copy (select i, 'tenant_' || i % 50, 'open', i, repeat('x', 100), now() from generate_series(100001, 200000) i) to stdout" >"$work/rows"

# Milliseconds of one statement, averaged by pgbench over some seconds.
bench() {
  pgbench "$url" --no-vacuum --time="$2" --file="$1" 2>/dev/null | awk '/latency average/ { print $4 }'
}
copy() { # Milliseconds of one COPY of 100,000 rows.
  sql --command '\timing on' --command "\\copy write_cost.$1 from '$work/rows'" | awk '/^Time/ { print $2 }'
  sql --command "delete from write_cost.$1 where id > 100000" --command "vacuum write_cost.$1" >/dev/null
}

for table in bare watched unnotified; do
  printf '\\set id random(1, 10000)\nupdate write_cost.%s set amount = amount + 1 where id = :id;\n' $table >"$work/row.$table"
  printf '\\set id random(1, 9000)\nupdate write_cost.%s set amount = amount + 1 where id between :id and :id + 999;\n' $table >"$work/thousand.$table"
done
for ((round = 1; round <= rounds; round++)); do
  for table in bare watched unnotified; do
    echo "row $table $(bench "$work/row.$table" 3)"
    echo "thousand $table $(bench "$work/thousand.$table" 3)"
    echo "copy $table $(copy $table)"
  done
done | awk '
  { key = $1 SUBSEP $2; if (!(key in least) || $3 < least[key]) least[key] = $3 }
  function line(key, name) {
    printf "%-28s %10.3f %10.3f %7.2f %12.3f %7.2f\n", name, least[key, "bare"], least[key, "watched"], least[key, "watched"] / least[key, "bare"],
      least[key, "unnotified"], least[key, "unnotified"] / least[key, "bare"]
  }
  END {
    printf "%-28s %10s %10s %7s %12s %7s\n", "milliseconds", "bare", "watched", "ratio", "unnotified", "ratio"
    line("row", "UPDATE of one row"); line("thousand", "UPDATE of 1,000 rows"); line("copy", "COPY of 100,000 rows")
  }'
