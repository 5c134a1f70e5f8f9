//! `tidings triggers types`: what events hold, as a TypeScript map from their types to their rows. Changes nothing in the database.
//!
//! Parts: here the catalogs are asked what is watched and of which types its columns are; `typescript` writes that down.
//!
//! Why from the database and not from the files: columns of a watch may be all that the table has, and their types stand in no file.

use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;
use tokio_postgres::Client;
use tokio_postgres::types::Json;

use super::typescript::{Column, Event, Shape, Types, map};
use super::{Failure, printable, say};

/// Watched tables that are there, with the columns that events show, in order.
const WATCHES: &str = "select coalesce(jsonb_agg(jsonb_build_object(
    'type', a.type, 'ops', a.ops, 'table', format('%I.%I', n.nspname, c.relname),
    'shown_as', tidings._shown_as(a) is not null,
    'columns', (select coalesce(jsonb_agg(jsonb_build_object('name', t.attname, 'type', t.atttypid::bigint, 'not_null', t.attnotnull,
                         'says', col_description(t.attrelid, t.attnum),
                         'checks', (select coalesce(jsonb_agg(pg_get_constraintdef(k.oid) order by k.conname), '[]') from pg_constraint k
                                     where k.conrelid = t.attrelid and k.contype = 'c' and k.convalidated and not k.connoinherit and k.conkey = array[t.attnum]))
                       order by s.n), '[]')
                  from unnest(tidings._shown(a)) with ordinality s (name, n)
                  join pg_attribute t on t.attrelid = a.relation and t.attname = s.name and not t.attisdropped)
  ) order by a.type collate \"C\", n.nspname collate \"C\", c.relname collate \"C\"), '[]')
  from tidings._watch w cross join lateral tidings._adapted(w) a
  join pg_class c on c.oid = a.relation join pg_namespace n on n.oid = c.relnamespace";

/// These types and all that they are made of. Cast to JSON by a function of its own, a type may look like anything there.
const TYPES: &str = "with recursive used (oid) as (
    select u from unnest($1::oid[]) u
    union
    select part.oid from used join pg_type t on t.oid = used.oid,
           lateral (select t.typbasetype
                    union all select t.typelem where t.typcategory = 'A'
                    union all select a.atttypid from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) part (oid)
     where part.oid <> 0)
  select coalesce(jsonb_agg(jsonb_build_object('oid', t.oid::bigint, 'name', t.typname, 'builtin', t.typnamespace = 'pg_catalog'::regnamespace,
      'own_json', t.oid >= 16384 and exists (select from pg_cast x where x.castsource = t.oid and x.casttarget = 'json'::regtype and x.castmethod = 'f'),
      'base', nullif(t.typbasetype, 0)::bigint, 'base_not_null', t.typnotnull,
      'element', case when t.typcategory = 'A' and t.typelem <> 0 then t.typelem::bigint end,
      'labels', (select jsonb_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid),
      'members', (select jsonb_agg(jsonb_build_object('name', a.attname, 'type', a.atttypid::bigint, 'not_null', false, 'says', null, 'checks', '[]'::jsonb)
                                   order by a.attnum)
                    from pg_attribute a where a.attrelid = nullif(t.typrelid, 0) and a.attnum > 0 and not a.attisdropped))), '[]')
    from used join pg_type t on t.oid = used.oid";

/// A row of the first query.
#[derive(Deserialize)]
struct Watched {
    #[serde(rename = "type")]
    kind: String,
    ops: Vec<String>,
    table: String,
    /// By an expression, which makes JSON of whatever form.
    shown_as: bool,
    columns: Vec<Column>,
}

/// Prints the map, writes it into a file, or tells whether a file holds it.
pub(super) async fn run(client: &Client, out: Option<&Path>, check: Option<&Path>) -> Result<ExitCode, Failure> {
    let text = text(client).await?;
    if let Some(path) = check {
        return compare(path, &text);
    }
    let Some(path) = out else { return say(text.trim_end()) };
    let cannot = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    std::fs::write(path, &text).map_err(cannot)?;
    say(&path.display().to_string())
}

fn compare(path: &Path, text: &str) -> Result<ExitCode, Failure> {
    let hint = format!("tidings triggers types --out {}", path.display());
    let found = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())).with_hint(hint.clone()))?;
    if found == text {
        return say(&format!("{} is what the database has", path.display()));
    }
    let line = 1 + found.lines().zip(text.lines()).take_while(|(one, two)| one == two).count();
    let message = format!("{} is not what the database has, from line {line} on", path.display());
    Err(Failure::new(message).with_hint(hint))
}

async fn text(client: &Client) -> Result<String, Failure> {
    let watched: Json<Vec<Watched>> = client.query_one(WATCHES, &[]).await?.try_get(0)?;
    let mut events = Vec::new();
    for Watched { kind, ops, table, shown_as, columns } in watched.0 {
        let shape = if shown_as { Shape::Unknown } else { Shape::Columns(columns) };
        events.push(Event { kind, ops, table: printable(&table), shape });
    }
    let roots: Vec<u32> = events.iter().flat_map(|event| event.shape.types()).collect();
    let types: Json<Vec<super::typescript::Type>> = client.query_one(TYPES, &[&roots]).await?.try_get(0)?;
    let application: bool = client.query_one("select to_regnamespace('tidings_app') is not null", &[]).await?.get(0);
    Ok(map(&events, &Types::of(types.0), application))
}
