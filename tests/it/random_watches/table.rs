//! A random table: plain or partitioned, with or without a key, with columns of many types under names that are hard to bear.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::Value;
use serde_json::value::RawValue;

/// Names that break SQL which is put together carelessly, and names that generated code uses itself.
const NAMES: &[&str] = &[
    "r",
    "t",
    "n",
    "o",
    "i",
    "x",
    "new",
    "old",
    "whole",
    "c1",
    "changes",
    "altered",
    "tenant",
    "subject",
    "data",
    "type",
    "moved",
    "select",
    "a b",
    "a,b",
    "it's",
    "%s",
    "%1$s",
    "\"",
    "$1",
    "$q$",
    "back\\slash",
    "CamelCase",
    "имя",
    "tidings_new",
    "tg_op",
    "{}",
    "null",
];

/// A type with some of its values as SQL.
#[derive(Clone, Copy, PartialEq)]
pub struct Kind(pub &'static str, pub &'static [&'static str]);

pub const NUMBER: Kind = Kind("bigint", &[]);
pub const TENANT: Kind = Kind("text", &["'acme'", "'acme'", "'globex'", "'ini,tech'", "null"]);
pub const OWNER: Kind = Kind("text", &["'ann'", "'bob'", "null"]);
/// What a partitioned table is partitioned by; each value has a partition of its own but the last.
pub const REGION: Kind = Kind("text", &["'north'", "'south'", "'else'"]);
const KINDS: &[Kind] = &[
    Kind("int", &["1", "2", "-7", "null"]),
    Kind("bigint", &["9007199254740993", "9007199254740992", "null"]),
    Kind("text", &["''", "'x'", "'y'", "E'\"\\n\\\\'", "'é😀'", "null"]),
    Kind("boolean", &["true", "false", "null"]),
    Kind("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    Kind("numeric", &["1.0", "1.00", "'NaN'", "null"]),
    Kind("float8", &["0.1", "0.30000000000000004", "'-Infinity'"]),
    Kind("date", &["'2026-11-20'", "'infinity'", "null"]),
    Kind("timestamptz", &["'2026-11-20 14:57:31.418752+02'", "'2026-11-20 14:57:31.418753+02'"]),
    Kind("interval", &["'1 day'", "'24 hours'", "null"]),
    Kind("bytea", &["'\\x00ff'", "''", "null"]),
    Kind("json", &["'{\"a\":1}'", "'{\"a\": 1}'", "null"]),
    Kind("jsonb", &["'{\"a\":1}'", "'[]'", "null"]),
    Kind("text[]", &["'{a,NULL}'", "'{}'", "null"]),
    Kind("point", &["'(1,2)'", "'(1,3)'", "null"]),
];
/// How many of them have a text that is that of their JSON.
const SPELLED: usize = 5;

/// A column; `number` is who it is, whatever it is called.
#[derive(Clone)]
pub struct Column {
    pub number: usize,
    pub name: String,
    pub kind: Kind,
}

/// A row as JSON has it: column numbers and texts, and the partition that holds it.
#[derive(Clone)]
pub struct Row {
    pub partition: String,
    pub values: BTreeMap<usize, Box<RawValue>>,
}

impl Row {
    pub fn value(&self, column: usize) -> Value {
        serde_json::from_str(self.values[&column].get()).unwrap()
    }

    /// The value as `::text` spells it; none for NULL.
    pub fn text(&self, column: usize) -> Option<String> {
        match self.value(column) {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }
}

/// Rows by what `Table::id` holds.
pub type Rows = BTreeMap<i64, Row>;

pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// Numbers of the primary key's columns.
    pub key: Option<Vec<usize>>,
    /// Tells rows apart for us; never updated.
    pub id: usize,
    pub tenant: usize,
    pub owner: Option<usize>,
    /// A unique number that updates do change.
    pub counter: Option<usize>,
    pub region: Option<usize>,
    names: Vec<&'static str>,
    next: usize,
}

impl Table {
    pub fn random(seed: u64, rng: &mut StdRng) -> Self {
        let name =
            [format!("t{seed}"), format!("T {seed}"), format!("it's \"{seed}\" %s $1")].choose(rng).unwrap().clone();
        let mut names = NAMES.to_vec();
        names.shuffle(rng);
        let mut table = Self {
            name,
            columns: Vec::new(),
            key: None,
            id: 0,
            tenant: 0,
            owner: None,
            counter: None,
            region: None,
            names,
            next: 0,
        };
        table.id = table.add(NUMBER);
        table.tenant = table.add(TENANT);
        table.owner = rng.random_bool(0.4).then(|| table.add(OWNER));
        table.counter = rng.random_bool(0.5).then(|| table.add(NUMBER));
        table.region = rng.random_bool(0.4).then(|| table.add(REGION));
        for _ in 0..rng.random_range(0..=8 - table.columns.len()) {
            table.add(*KINDS.choose(rng).unwrap());
        }
        table.columns.shuffle(rng);
        let unique = if rng.random_bool(0.5) { table.counter.unwrap_or(table.id) } else { table.id };
        table.key = rng.random_bool(0.7).then(|| table.region.into_iter().chain([unique]).collect());
        table
    }

    fn add(&mut self, kind: Kind) -> usize {
        self.next += 1;
        self.columns.push(Column { number: self.next, name: self.names.pop().unwrap().to_owned(), kind });
        self.next
    }

    pub fn column(&self, number: usize) -> Option<&Column> {
        self.columns.iter().find(|column| column.number == number)
    }

    /// Names in quotes, joined with commas, of those columns that are there.
    pub fn list(&self, numbers: &[usize]) -> String {
        numbers
            .iter()
            .filter_map(|&number| self.column(number))
            .map(|column| quoted(&column.name))
            .collect::<Vec<_>>()
            .join(", ")
    }

    pub fn quoted(&self) -> String {
        quoted(&self.name)
    }

    /// Where rows of this region are written directly.
    pub fn partition(&self, region: &str) -> String {
        quoted(&format!("{} {region}", self.name))
    }

    /// Some column that nothing else depends on.
    pub fn ordinary(&self, rng: &mut StdRng) -> Option<&Column> {
        let special = [Some(self.id), Some(self.tenant), self.owner, self.region];
        self.columns
            .iter()
            .filter(|column| !special.contains(&Some(column.number)))
            .collect::<Vec<_>>()
            .choose(rng)
            .copied()
    }

    /// Numbers of columns that a subject may be made of.
    pub fn spelled(&self) -> Vec<usize> {
        let spelled = |kind: Kind| [NUMBER, TENANT, OWNER, REGION].contains(&kind) || KINDS[..SPELLED].contains(&kind);
        self.columns.iter().filter(|column| spelled(column.kind)).map(|column| column.number).collect()
    }

    /// A dropped column comes first, and one partition has its columns the other way round: neither may shift anything.
    pub fn ddl(&self, rng: &mut StdRng) -> String {
        let define = |column: &Column| format!("{} {}", quoted(&column.name), column.kind.0);
        let columns: Vec<String> = self.columns.iter().map(define).collect();
        let key = self.key.as_ref().map_or(String::new(), |key| format!(", primary key ({})", self.list(key)));
        let (table, by) = (
            self.quoted(),
            self.region.map_or(String::new(), |region| format!("partition by list ({})", self.list(&[region]))),
        );
        let mut sql = format!(
            "create table {table} (gone int, {}{key}) {by}; alter table {table} drop column gone",
            columns.join(", ")
        );
        if self.region.is_some() {
            let reversed = columns.iter().rev().cloned().collect::<Vec<_>>().join(", ");
            let (north, south, other) = (self.partition("north"), self.partition("south"), self.partition("else"));
            sql += &format!(
                "; create table {north} (going bytea, {reversed}, gone int{key}); alter table {north} drop column gone, drop column going"
            );
            sql += &format!(
                "; alter table {table} attach partition {north} for values in ('north'); create table {south} partition of {table} for values in ('south')"
            );
            sql += &format!("; create table {other} partition of {table} default");
        }
        if rng.random_bool(0.5) { sql } else { sql.replace("gone int", "gone jsonb") }
    }

    /// A new column's SQL.
    pub fn added(&mut self, rng: &mut StdRng) -> Option<String> {
        self.names.len().checked_sub(1)?;
        let kind = *KINDS.choose(rng).unwrap();
        let number = self.add(kind);
        let default = kind.1.choose(rng).unwrap();
        Some(format!("alter table {} add column {} {} default {default}", self.quoted(), self.list(&[number]), kind.0))
    }

    pub fn renamed(&mut self, number: usize) -> Option<String> {
        let (table, old) = (self.quoted(), self.list(&[number]));
        let name = self.names.pop()?;
        self.columns.iter_mut().find(|column| column.number == number).unwrap().name = name.to_owned();
        Some(format!("alter table {table} rename column {old} to {}", quoted(name)))
    }

    pub fn dropped(&mut self, number: usize) -> String {
        let sql = format!("alter table {} drop column {}", self.quoted(), self.list(&[number]));
        self.columns.retain(|column| column.number != number);
        if self.key.as_ref().is_some_and(|key| key.contains(&number)) {
            self.key = None;
        }
        self.counter = self.counter.filter(|&counter| counter != number);
        sql
    }

    /// Rows of `select tableoid, row_to_json`.
    pub fn row(&self, partition: &str, json: &str) -> (i64, Row) {
        let named: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).unwrap();
        assert_eq!(named.len(), self.columns.len());
        let values: BTreeMap<_, _> =
            self.columns.iter().map(|column| (column.number, named[&column.name].clone())).collect();
        (values[&self.id].get().parse().unwrap(), Row { partition: partition.to_owned(), values })
    }
}

/// An identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
