//! Random settings of a watch. They name columns by number, so that they mean the same columns after these were renamed.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::table::{Column, Row, Table, literal, quoted};

/// What tells a row's tenant or audience.
#[derive(Clone)]
pub enum Source {
    Column(usize),
    /// An expression that puts a text before a column's value.
    Prefixed(&'static str, usize),
}

impl Source {
    fn random(column: usize, rng: &mut StdRng) -> Self {
        if rng.random_bool(0.7) {
            Self::Column(column)
        } else {
            Self::Prefixed(["x-", "it's %s $1 "].choose(rng).unwrap(), column)
        }
    }

    fn sql(&self, table: &Table, rng: &mut StdRng) -> String {
        match self {
            Self::Column(column) => table.column(*column).unwrap().name.clone(),
            Self::Prefixed(prefix, column) => {
                let alias = if rng.random_bool(0.5) { "r." } else { "" };
                format!("={} || {alias}{}", literal(prefix), table.list(&[*column]))
            }
        }
    }

    pub fn of(&self, row: &Row) -> Option<String> {
        match self {
            Self::Column(column) => row.text(*column),
            Self::Prefixed(prefix, column) => row.text(*column).map(|text| format!("{prefix}{text}")),
        }
    }

    /// An expression names its column, which is then nobody's to rename.
    fn freezes(&self, number: usize) -> bool {
        matches!(self, Self::Prefixed(_, column) if *column == number)
    }
}

pub struct Settings {
    pub tenant: Source,
    pub audience: Option<Source>,
    pub columns: Option<Vec<usize>>,
    pub except: Vec<usize>,
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub only_changed: Option<Vec<usize>>,
    pub subject: Option<Vec<usize>>,
    pub kind: String,
    /// Columns by number and name when the watch was last compiled.
    pub known: Vec<(usize, String)>,
}

impl Settings {
    pub fn random(table: &Table, rng: &mut StdRng) -> Self {
        let numbers: Vec<usize> = table.columns.iter().map(|column| column.number).collect();
        let some = |of: &[usize], rng: &mut StdRng| -> Vec<usize> {
            let mut some: Vec<usize> = of.iter().copied().filter(|_| rng.random_bool(0.5)).collect();
            some.shuffle(rng);
            some
        };
        let named = |some: Vec<usize>| (!some.is_empty()).then_some(some);
        let ops = rng.random_range(0..10);
        Self {
            tenant: Source::random(table.tenant, rng),
            audience: table.owner.filter(|_| rng.random_bool(0.7)).map(|owner| Source::random(owner, rng)),
            columns: if rng.random_bool(0.4) {
                named(some(&numbers, rng))
            } else {
                rng.random_bool(0.1).then(|| numbers.clone())
            },
            except: if rng.random_bool(0.4) { some(&numbers, rng) } else { Vec::new() },
            insert: ![7, 8].contains(&ops),
            update: ![7, 9].contains(&ops),
            delete: ![8, 9].contains(&ops),
            only_changed: if rng.random_bool(0.3) { named(some(&numbers, rng)) } else { None },
            subject: if rng.random_bool(0.3) { named(some(&table.spelled(), rng)) } else { None },
            kind: if rng.random_bool(0.3) { "my 'kind' %s".to_owned() } else { table.name.clone() },
            known: names(&table.columns),
        }
    }

    pub fn sql(&self, table: &Table, rng: &mut StdRng) -> String {
        let list = |numbers: &[usize]| {
            let names = numbers.iter().map(|&number| literal(&table.column(number).unwrap().name)).collect::<Vec<_>>();
            format!("array[{}]::text[]", names.join(", "))
        };
        let mut sql = format!(
            "select tidings.watch({}, tenant => {}",
            literal(&quoted(&table.name)),
            literal(&self.tenant.sql(table, rng))
        );
        let lists = [("columns", &self.columns), ("only_changed", &self.only_changed), ("subject", &self.subject)];
        for (name, numbers) in lists.into_iter().filter_map(|(name, numbers)| Some((name, numbers.as_ref()?))) {
            // A subject is one text, which may be the text of a list.
            let text = if name == "subject" { "::text" } else { "" };
            sql += &format!(", {name} => {}{text}", list(numbers));
        }
        if !self.except.is_empty() {
            sql += &format!(", except_columns => {}", list(&self.except));
        }
        if let Some(audience) = &self.audience {
            sql += &format!(", audience => {}", literal(&audience.sql(table, rng)));
        }
        if self.kind != table.name {
            sql += &format!(", type => {}", literal(&self.kind));
        }
        let ops = [("insert", self.insert), ("update", self.update), ("delete", self.delete)];
        let ops = ops.iter().filter(|op| op.1).map(|op| op.0).collect::<Vec<_>>().join(",");
        format!("{sql}, ops => '{{{ops}}}', notify => {}, strict => {})", rng.random_bool(0.8), rng.random_bool(0.5))
    }

    /// Whether a column of this name must stay what it is.
    pub fn freezes(&self, number: usize) -> bool {
        self.tenant.freezes(number) || self.audience.as_ref().is_some_and(|audience| audience.freezes(number))
    }

    /// After a refresh the settings are those of the table as it is.
    pub fn refresh(&mut self, table: &Table) {
        self.known = names(&table.columns);
    }
}

fn names(columns: &[Column]) -> Vec<(usize, String)> {
    columns.iter().map(|column| (column.number, column.name.clone())).collect()
}
