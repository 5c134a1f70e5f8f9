//! A table as the catalogs have it: what `new` needs to know to draft a file for it. Reads no row, and needs no schema tidings.

use serde::Deserialize;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Json;

use super::{Failure, nearest, printable};

/// Everything that has columns and a name that somebody may mean.
const RELATIONS: &str = "from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema', 'tidings') and n.nspname !~ '^pg_(toast|temp)'";

const TABLE: &str = "select jsonb_build_object(
    'sql', format('%I.%I', n.nspname, c.relname), 'schema', n.nspname, 'name', c.relname,
    'watchable', c.relkind in ('r', 'p') and c.relpersistence <> 't' and n.nspname not in ('pg_catalog', 'tidings'),
    'partition_of', (select i.inhparent::regclass::text from pg_inherits i where i.inhrelid = c.oid and c.relispartition),
    'columns', COLUMNS(c.oid), 'key', KEY(c.oid),
    'parents', (select coalesce(jsonb_agg(jsonb_build_object(
                         'sql', format('%I.%I', pn.nspname, p.relname), 'name', p.relname, 'columns', COLUMNS(p.oid), 'key', KEY(p.oid),
                         'references', (select jsonb_agg(jsonb_build_object('from', own.attname, 'to', quote_ident(their.attname)) order by u.i)
                                          from unnest(f.conkey, f.confkey) with ordinality u (own, their, i)
                                          join pg_attribute own on own.attrelid = f.conrelid and own.attnum = u.own
                                          join pg_attribute their on their.attrelid = f.confrelid and their.attnum = u.their))
                       order by f.conname), '[]')
                  from pg_constraint f join pg_class p on p.oid = f.confrelid join pg_namespace pn on pn.oid = p.relnamespace
                 where f.conrelid = c.oid and f.contype = 'f' and f.confrelid <> c.oid))
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = $1";

/// Stand for COLUMNS(…) and KEY(…) above.
const COLUMNS: &str = "(select coalesce(jsonb_agg(jsonb_build_object('name', a.attname, 'quoted', quote_ident(a.attname), 'not_null', a.attnotnull)
    order by a.attnum), '[]') from pg_attribute a where a.attrelid = @ and a.attnum > 0 and not a.attisdropped)";
const KEY: &str = "(select coalesce(jsonb_agg(a.attname order by k.i), '[]') from pg_index x, unnest(x.indkey::int2[]) with ordinality k (attnum, i), pg_attribute a
    where x.indrelid = @ and x.indisprimary and a.attrelid = @ and a.attnum = k.attnum)";

/// A table, its columns, and the tables that its foreign keys name.
#[derive(Debug, Deserialize)]
pub(super) struct Table {
    /// With its schema, quoted as SQL wants it.
    pub(super) sql: String,
    pub(super) schema: String,
    pub(super) name: String,
    watchable: bool,
    partition_of: Option<String>,
    pub(super) columns: Vec<Column>,
    /// Columns of the primary key; none without one.
    pub(super) key: Vec<String>,
    pub(super) parents: Vec<Parent>,
}

/// A column.
#[derive(Debug, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    /// As SQL wants it.
    pub(super) quoted: String,
    pub(super) not_null: bool,
}

/// What a foreign key references.
#[derive(Debug, Deserialize)]
pub(super) struct Parent {
    pub(super) sql: String,
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    pub(super) key: Vec<String>,
    pub(super) references: Vec<Reference>,
}

/// One pair of columns of a foreign key.
#[derive(Debug, Deserialize)]
pub(super) struct Reference {
    /// Ours, as it is called.
    pub(super) from: String,
    /// Theirs, as SQL wants it.
    pub(super) to: String,
}

/// Finds a table by the name that somebody wrote.
pub(super) async fn table(client: &Client, written: &str) -> Result<Table, Failure> {
    let oid = match by_name(client, written).await? {
        Some(oid) => oid,
        None => as_it_is_called(client, written).await?,
    };
    let sql = ["c.oid", "p.oid"].iter().fold(TABLE.to_owned(), |sql, oid| {
        sql.replace(&format!("COLUMNS({oid})"), &COLUMNS.replace('@', oid))
            .replace(&format!("KEY({oid})"), &KEY.replace('@', oid))
    });
    let table = client.query_one(&sql, &[&oid]).await?.try_get::<_, Json<Table>>(0)?.0;
    let name = printable(&table.sql);
    match table.partition_of {
        Some(parent) => Err(Failure::new(format!("{name} is a partition of {parent}"))
            .with_hint(format!("watch the whole: tidings triggers new {parent}"))),
        None if !table.watchable => Err(Failure::new(format!("{name} is not a table that can be watched")).with_hint(
            "watch the tables behind a view; foreign and temporary tables and those of the system make no events",
        )),
        None => Ok(table),
    }
}

/// As SQL reads the name: unquoted letters are small.
async fn by_name(client: &Client, written: &str) -> Result<Option<u32>, Failure> {
    match client.query_one("select to_regclass($1)::oid", &[&written]).await {
        Ok(row) => Ok(row.get(0)),
        // A name that SQL would have in quotes.
        Err(error) if [Some(&SqlState::INVALID_NAME), Some(&SqlState::SYNTAX_ERROR)].contains(&error.code()) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// As it is written: shells take quotes away, and who writes Case means "Case" where there is no table case.
async fn as_it_is_called(client: &Client, written: &str) -> Result<u32, Failure> {
    let sql = format!(
        "select c.oid, format('%I.%I', n.nspname, c.relname) {RELATIONS} and $1::text in (c.relname, n.nspname || '.' || c.relname) order by 2"
    );
    let found = client.query(&sql, &[&written]).await?;
    match found.as_slice() {
        [one] => Ok(one.get(0)),
        [] => Err(unknown(client, written).await?),
        several => {
            let names: Vec<String> = several.iter().map(|row| printable(row.get(1))).collect();
            Err(Failure::new(format!("several tables are called {written}: {}", names.join(", ")))
                .with_hint("write one of these"))
        }
    }
}

async fn unknown(client: &Client, written: &str) -> Result<Failure, Failure> {
    let sql = format!("select c.relname::text, format('%I.%I', n.nspname, c.relname) {RELATIONS} order by 2");
    let rows = client.query(&sql, &[]).await?;
    let names: Vec<String> = rows.iter().map(|row| row.get(1)).collect();
    let (schema, bare) = written.rsplit_once('.').map_or((None, written), |(schema, bare)| (Some(schema), bare));
    let near = match schema {
        Some(_) => nearest(written, names.iter().map(String::as_str)),
        None => {
            let near = nearest(bare, rows.iter().map(|row| row.get::<_, &str>(0)));
            near.and_then(|near| rows.iter().find(|row| row.get::<_, &str>(0) == near)).map(|row| row.get(1))
        }
    };
    let hint = match near {
        Some(near) => format!("did you mean {}?", printable(near)),
        None if rows.is_empty() => "the database has no tables: see database.url".to_owned(),
        None => "write it as in SQL: orders, billing.orders, public.\"Case\"".to_owned(),
    };
    Ok(Failure::new(format!("there is no table {}", printable(written))).with_hint(hint))
}
