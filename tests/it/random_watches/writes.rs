//! Random statements that write a case's table; each of them is valid, whatever was altered before.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::case::Case;
use super::table::{Column, NUMBER, REGION, Row, literal};

impl Case<'_> {
    /// A condition that holds for some rows.
    pub fn some(&self, rng: &mut StdRng) -> String {
        let id = self.table.list(&[self.table.id]);
        match rng.random_range(0..10) {
            0 => "true".to_owned(),
            1 => format!("{id} % 2 = 0"),
            2 => "false".to_owned(),
            _ => {
                let ids: Vec<String> =
                    self.rows.keys().filter(|_| rng.random_bool(0.1)).take(5).map(ToString::to_string).collect();
                format!("{id} in (0{}{})", if ids.is_empty() { "" } else { ", " }, ids.join(", "))
            }
        }
    }

    /// The table, or where it is partitioned sometimes one of its partitions.
    pub fn target(&self, rng: &mut StdRng) -> String {
        let region = ["north", "south", "else"].choose(rng).unwrap();
        if self.table.region.is_some() && rng.random_bool(0.3) {
            self.table.partition(region)
        } else {
            self.table.quoted()
        }
    }

    pub fn insert(&mut self, rows: usize, rng: &mut StdRng) -> String {
        let region = self.table.region.filter(|_| rng.random_bool(0.3)).and(REGION.1.choose(rng).copied());
        let into = region.map_or_else(|| self.table.quoted(), |region| self.table.partition(region.trim_matches('\'')));
        let values: Vec<String> = (0..rows).map(|_| self.values(region, None, rng)).collect();
        let columns: Vec<usize> = self.table.columns.iter().map(|column| column.number).collect();
        format!("insert into {into} ({}) values {}", self.table.list(&columns), values.join(", "))
    }

    /// A row's values in parentheses; the key is that of `like`, where given.
    fn values(&mut self, region: Option<&'static str>, like: Option<&Row>, rng: &mut StdRng) -> String {
        self.count += 1;
        let key = self.table.key.clone().unwrap_or_default();
        let value = |column: &Column| match (like, region) {
            (Some(row), _) if key.contains(&column.number) => literal(&row.text(column.number).unwrap()),
            (_, Some(region)) if Some(column.number) == self.table.region => region.to_owned(),
            _ if column.kind == NUMBER => self.count.to_string(),
            _ => (*column.kind.1.choose(rng).unwrap()).to_owned(),
        };
        format!("({})", self.table.columns.iter().map(value).collect::<Vec<_>>().join(", "))
    }

    pub fn update(&mut self, rng: &mut StdRng) -> String {
        let target = self.target(rng);
        let whole = target == self.table.quoted();
        self.count += 1;
        let mut set = Vec::new();
        for column in &self.table.columns {
            let name = self.table.list(&[column.number]);
            if column.number == self.table.id
                || rng.random_bool(0.7)
                || !whole && Some(column.number) == self.table.region
            {
                continue;
            }
            let value = match column.kind {
                _ if rng.random_bool(0.2) => name.clone(),
                NUMBER => format!("{name} + {}", self.count * 100_000),
                kind => (*kind.1.choose(rng).unwrap()).to_owned(),
            };
            set.push(format!("{name} = {value}"));
        }
        if set.is_empty() {
            let name = self.table.list(&[self.table.tenant]);
            set.push(format!("{name} = {name}"));
        }
        format!("update {target} set {} where {}", set.join(", "), self.some(rng))
    }

    /// Inserts rows of which some are there already; without a key, just some rows.
    pub fn upsert(&mut self, rng: &mut StdRng) -> String {
        let Some(key) = self.table.key.clone() else { return self.insert(2, rng) };
        let there: Vec<Row> = self.rows.values().filter(|_| rng.random_bool(0.1)).take(3).cloned().collect();
        let mut values: Vec<String> = there.iter().map(|row| self.values(None, Some(row), rng)).collect();
        values.push(self.values(None, None, rng));
        let columns: Vec<usize> = self.table.columns.iter().map(|column| column.number).collect();
        let set = self
            .table
            .columns
            .iter()
            .filter(|column| !key.contains(&column.number) && ![NUMBER, REGION].contains(&column.kind));
        let set = set
            .map(|column| self.table.list(&[column.number]))
            .map(|name| format!("{name} = excluded.{name}"))
            .collect::<Vec<_>>();
        let (table, columns, key) = (self.table.quoted(), self.table.list(&columns), self.table.list(&key));
        format!(
            "insert into {table} ({columns}) values {} on conflict ({key}) do update set {}",
            values.join(", "),
            set.join(", ")
        )
    }
}
