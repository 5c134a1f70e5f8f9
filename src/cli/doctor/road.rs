//! `--why TABLE KEY`: the steps of one row's newest change, and where it stopped.

use std::fmt;

use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::finding::indented;
use super::{Failure, denied};

/// One row of `tidings.why()`.
#[derive(Debug, Serialize)]
struct Step {
    name: String,
    /// None: it cannot be told.
    ok: Option<bool>,
    message: String,
    fix: Option<String>,
}

/// How far an event came.
#[derive(Debug, Serialize)]
pub(super) struct Road {
    table: String,
    key: String,
    steps: Vec<Step>,
}

/// Asks the database. The table is named as in SQL: `documents`, `sales.orders`, `public."Case"`.
pub(super) async fn follow(client: &Client, table: &str, key: &str) -> Result<Road, Failure> {
    let sql = "select name, ok, message, fix from tidings.why($1::text::regclass, $2) order by step";
    let rows = client.query(sql, &[&table, &key]).await.map_err(|error| match error.code() {
        // Of the schema it is the function that would be missing.
        Some(&SqlState::UNDEFINED_TABLE) => Failure::new(format!("there is no table {table}"))
            .with_hint("name it as in SQL, with its schema: sales.orders, or 'public.\"Case\"'"),
        _ => denied(error),
    })?;
    let step = |row: &tokio_postgres::Row| Step {
        name: row.get("name"),
        ok: row.get("ok"),
        message: row.get("message"),
        fix: row.get("fix"),
    };
    Ok(Road { table: table.to_owned(), key: key.to_owned(), steps: rows.iter().map(step).collect() })
}

impl Road {
    /// Whether nothing stopped it.
    pub(super) fn arrived(&self) -> bool {
        self.steps.iter().all(|step| step.ok != Some(false))
    }

    fn verdict(&self) -> &str {
        self.steps.last().map_or("", |step| &step.name)
    }

    /// `{"table", "key", "verdict", "ok", "steps": [{"name", "ok", "message", "fix"}]}`
    pub(super) fn json(&self) -> String {
        let (verdict, ok) = (self.verdict(), self.arrived());
        let (table, key, steps) = (&self.table, &self.key, &self.steps);
        let all = serde_json::json!({"table": table, "key": key, "verdict": verdict, "ok": ok, "steps": steps});
        format!("{all:#}")
    }
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let mark = match step.ok {
                Some(true) => "ok    ",
                Some(false) => "STOP  ",
                None => "?     ",
            };
            writeln!(f, "{mark}{}", step.message)?;
            indented(f, step.fix.as_deref())?;
        }
        write!(f, "{} {}: {}", self.table, self.key, self.verdict())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_cannot_be_told_stops_nothing() {
        let step = |ok| Step { name: "row".into(), ok, message: "m".into(), fix: None };
        let road = |steps| Road { table: "t".into(), key: "1".into(), steps };
        assert!(road(vec![step(Some(true)), step(None)]).arrived());
        assert!(!road(vec![step(None), step(Some(false))]).arrived());
    }
}
