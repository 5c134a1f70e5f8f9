//! What a watch makes of a statement, read off its settings and the rows before and after. Knows nothing of SQL.

use serde_json::{Map, Value, json};

use super::settings::Settings;
use super::table::{Row, Rows, Table};

/// Events of one statement: type, tenant, audience, subject, changed, data. Rows of one statement have no order.
#[derive(Default)]
pub struct Told {
    pub events: Vec<Value>,
    /// Rows skipped for want of a tenant.
    pub skipped: i64,
}

/// One watch of one table.
pub struct Oracle<'a> {
    pub table: &'a Table,
    pub settings: &'a Settings,
}

impl Oracle<'_> {
    pub fn tells(&self, before: &Rows, after: &Rows) -> Told {
        let mut told = Told::default();
        for (id, old) in before {
            match after.get(id) {
                None => self.left(old, &mut told),
                // To PostgreSQL, a row that changes its partition is another row.
                Some(new) if new.partition != old.partition => {
                    self.left(old, &mut told);
                    self.entered(new, &mut told);
                }
                Some(new) => self.updated(old, new, &mut told),
            }
        }
        after.iter().filter(|(id, _)| !before.contains_key(id)).for_each(|(_, new)| self.entered(new, &mut told));
        told
    }

    fn entered(&self, new: &Row, told: &mut Told) {
        if self.settings.insert {
            self.tell("inserted", new, None, told);
        }
    }

    fn left(&self, old: &Row, told: &mut Told) {
        if self.settings.delete {
            self.tell("deleted", old, None, told);
        }
    }

    fn updated(&self, old: &Row, new: &Row, told: &mut Told) {
        if !self.settings.update {
            return;
        }
        if self.receiver(old) != self.receiver(new) {
            if self.receiver(old).0.is_some() {
                self.tell("deleted", old, None, told);
            }
            self.tell("inserted", new, None, told);
            return;
        }
        let differs = |column: &usize| old.values[column].get() != new.values[column].get();
        let shown = self.shown();
        let counts = match &self.settings.only_changed {
            Some(named) if named.iter().any(|&column| self.table.column(column).is_some()) => named.clone(),
            _ => self.visible(),
        };
        if counts.iter().filter(|&&column| self.table.column(column).is_some()).any(differs) {
            let changed: Vec<&str> = shown
                .iter()
                .filter(|column| differs(column))
                .map(|&column| self.table.column(column).unwrap().name.as_str())
                .collect();
            self.tell("updated", new, (!changed.is_empty()).then(|| changed.join(",")), told);
        }
    }

    fn tell(&self, what: &str, row: &Row, changed: Option<String>, told: &mut Told) {
        let (tenant, audience) = self.receiver(row);
        if tenant.is_none() {
            told.skipped += 1;
            return;
        }
        let name = |column: usize| self.table.column(column).unwrap().name.clone();
        let data: Map<String, Value> =
            self.visible().into_iter().map(|column| (name(column), row.value(column))).collect();
        told.events.push(json!([
            format!("{}.{what}", self.settings.kind),
            tenant,
            audience,
            self.subject(row),
            changed,
            data
        ]));
    }

    /// Tenant and audience.
    fn receiver(&self, row: &Row) -> (Option<String>, Option<String>) {
        (self.settings.tenant.of(row), self.settings.audience.as_ref().and_then(|audience| audience.of(row)))
    }

    /// The columns named, or else the primary key: what is not NULL, joined with commas.
    fn subject(&self, row: &Row) -> Option<String> {
        let there = |columns: &Vec<usize>| columns.iter().any(|&column| self.table.column(column).is_some());
        let columns = self.settings.subject.as_ref().filter(|columns| there(columns)).or(self.table.key.as_ref())?;
        let texts = columns
            .iter()
            .filter(|&&column| self.table.column(column).is_some())
            .filter_map(|&column| row.text(column));
        Some(texts.collect::<Vec<_>>().join(",")).filter(|subject| !subject.is_empty())
    }

    /// Columns that the watch knows of, in the table's order: those at its last compilation, until one of them is gone.
    fn known(&self) -> Vec<usize> {
        let known = &self.settings.known;
        let as_known =
            known.iter().all(|(number, name)| self.table.column(*number).is_some_and(|column| column.name == *name));
        let all = self.table.columns.iter().map(|column| column.number);
        all.filter(|number| !as_known || known.iter().any(|(known, _)| known == number)).collect()
    }

    /// Of these, what was chosen.
    fn shown(&self) -> Vec<usize> {
        let chosen = |number: &usize| self.settings.columns.as_ref().is_none_or(|columns| columns.contains(number));
        self.known().into_iter().filter(|number| chosen(number) && !self.settings.except.contains(number)).collect()
    }

    /// What data holds. Where all columns are shown, so is at once one that is added.
    fn visible(&self) -> Vec<usize> {
        let all =
            self.settings.columns.is_none() && !self.known().iter().any(|number| self.settings.except.contains(number));
        if all { self.table.columns.iter().map(|column| column.number).collect() } else { self.shown() }
    }
}
