//! Plays one case: writes and alters a table at random, asks the oracle after each statement, and compares with the log.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;
use tokio_postgres::SimpleQueryMessage;

use super::oracle::{Oracle, Told};
use super::settings::Settings;
use super::table::{Rows, Table, literal};
use crate::support::Database;

/// What one statement should have logged: numbers after `first`, up to `last`.
struct Statement {
    first: i64,
    last: i64,
    line: usize,
    told: Told,
}

/// Where a transaction or a savepoint began.
struct Mark {
    statements: usize,
    rows: Rows,
}

pub struct Case<'a> {
    db: &'a Database,
    seed: u64,
    pub table: Table,
    settings: Settings,
    pub rows: Rows,
    statements: Vec<Statement>,
    /// The open transaction, and its savepoint.
    marks: Vec<Mark>,
    /// The newest number of an event.
    newest: i64,
    /// Makes ids and counters.
    pub count: i64,
    script: Vec<String>,
}

impl<'a> Case<'a> {
    pub async fn begin(db: &'a Database, seed: u64, rng: &mut StdRng) -> Self {
        let table = Table::random(seed, rng);
        let settings = Settings::random(&table, rng);
        let watch = settings.sql(&table, rng);
        let ddl = table.ddl(rng);
        let mut case = Self {
            db,
            seed,
            table,
            settings,
            rows: Rows::new(),
            statements: Vec::new(),
            marks: Vec::new(),
            newest: 0,
            count: 0,
            script: Vec::new(),
        };
        case.run(ddl).await;
        case.run(watch).await;
        case.newest = case.read().await;
        case
    }

    pub async fn step(&mut self, rng: &mut StdRng) {
        match rng.random_range(0..100) {
            _ if self.rows.len() > 150 => {
                self.write(format!("delete from {} where {}", self.table.quoted(), self.some(rng))).await
            }
            0..30 => {
                let rows = if rng.random_bool(0.15) { rng.random_range(65..80) } else { rng.random_range(1..=4) };
                let sql = self.insert(rows, rng);
                self.write(sql).await;
            }
            30..62 => {
                let sql = self.update(rng);
                self.write(sql).await;
            }
            62..72 => self.write(format!("delete from {} where {}", self.target(rng), self.some(rng))).await,
            72..80 => {
                let sql = self.upsert(rng);
                self.write(sql).await;
            }
            80..94 => self.transact(rng).await,
            _ if self.marks.is_empty() => self.alter(rng).await,
            _ => {}
        }
    }

    /// Ends what is open and compares the log with what was expected.
    pub async fn end(mut self) {
        if !self.marks.is_empty() {
            self.run("commit".to_owned()).await;
        }
        let source = literal(&format!("/public/{}", self.table.name));
        let sql = "select eid, json_build_array(type, tenant, audience, subject, changed, data)::text from tidings._log where source = ";
        let logged: Vec<(i64, Value)> = self
            .db
            .client
            .query(&format!("{sql}{source} order by eid"), &[])
            .await
            .unwrap()
            .iter()
            .map(|row| (row.get(0), serde_json::from_str(row.get(1)).unwrap()))
            .collect();
        let mut compared = 0;
        for statement in &self.statements {
            let of = |eid: i64| eid > statement.first && eid <= statement.last;
            let mut found: Vec<String> =
                logged.iter().filter(|(eid, _)| of(*eid)).map(|(_, event)| event.to_string()).collect();
            let mut expected: Vec<String> = statement.told.events.iter().map(ToString::to_string).collect();
            compared += found.len();
            found.sort();
            expected.sort();
            assert!(found == expected, "{};\n\nexpected {expected:#?}\nfound {found:#?}", self.told(statement.line));
        }
        assert_eq!(compared, logged.len(), "events that no statement made: {}", self.told(usize::MAX));
        let skipped: i64 = self.statements.iter().map(|statement| statement.told.skipped).sum();
        let missed = "select coalesce(sum(rows) filter (where reason = 'null_tenant'), 0) || ' ' || count(*) filter (where reason <> 'null_tenant') from tidings._missed where relation in (select tidings._family(";
        let missed = format!("{missed}{}))", literal(&self.table.quoted()));
        assert_eq!(self.db.text(&missed).await, format!("{skipped} 0"), "{}", self.told(usize::MAX));
        self.db.run(&format!("drop table {}; select tidings._refresh()", self.table.quoted())).await;
    }

    async fn run(&mut self, sql: String) -> Vec<SimpleQueryMessage> {
        self.script.push(sql);
        let sql = self.script.last().unwrap();
        let state = format!(
            "{sql}; select tableoid::text, row_to_json(a.*)::text from {} a; select case when is_called then last_value else 0 end from tidings._eid",
            self.table.quoted()
        );
        let asked =
            if self.script.len() < 2 || sql.starts_with("begin") || sql.starts_with("rollback") || sql == "commit" {
                sql
            } else {
                &state
            };
        self.db.client.simple_query(asked).await.unwrap_or_else(|e| panic!("{e:?}: {}", self.told(usize::MAX)))
    }

    /// The seed, and the script up to this line; of long statements the beginning.
    fn told(&self, line: usize) -> String {
        let lines = self.script.iter().take(line.saturating_add(1));
        let lines: Vec<String> = lines
            .map(|sql| if sql.len() > 1000 { sql.chars().take(1000).chain("…".chars()).collect() } else { sql.clone() })
            .collect();
        format!("seed {}\n{}", self.seed, lines.join(";\n"))
    }

    async fn read(&mut self) -> i64 {
        let messages = self.run("select".to_owned()).await;
        self.script.pop();
        self.take(&messages)
    }

    /// Keeps the rows that a statement left; returns the newest number of an event.
    fn take(&mut self, messages: &[SimpleQueryMessage]) -> i64 {
        let mut newest = 0;
        self.rows.clear();
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) if row.len() == 2 => {
                    self.rows.extend([self.table.row(row.get(0).unwrap(), row.get(1).unwrap())])
                }
                SimpleQueryMessage::Row(row) if row.len() == 1 => newest = row.get(0).unwrap().parse().unwrap_or(0),
                _ => {}
            }
        }
        newest
    }

    async fn write(&mut self, sql: String) {
        let messages = self.run(sql).await;
        let before = std::mem::take(&mut self.rows);
        let first = self.newest;
        self.newest = self.take(&messages);
        let told = Oracle { table: &self.table, settings: &self.settings }.tells(&before, &self.rows);
        self.statements.push(Statement { first, last: self.newest, line: self.script.len() - 1, told });
    }

    /// Begins or ends a transaction or its savepoint, or undoes it.
    async fn transact(&mut self, rng: &mut StdRng) {
        let (sql, undo) = match (self.marks.len(), rng.random_bool(0.5)) {
            (0, _) => ("begin", false),
            (1, true) => ("savepoint s", false),
            (1, false) if rng.random_bool(0.5) => ("rollback", true),
            (1, false) => ("commit", false),
            (_, true) => ("rollback to savepoint s", true),
            (_, false) => ("release savepoint s", false),
        };
        self.run(sql.to_owned()).await;
        if ["begin", "savepoint s"].contains(&sql) {
            self.marks.push(Mark { statements: self.statements.len(), rows: self.rows.clone() });
        } else if let Some(mark) = self.marks.pop()
            && undo
        {
            self.statements.truncate(mark.statements);
            self.rows = mark.rows;
        }
    }

    /// Adds, renames or drops a column; the watch is refreshed now or later.
    async fn alter(&mut self, rng: &mut StdRng) {
        let ordinary = self.table.ordinary(rng).map(|column| column.number);
        let any = self.table.columns.choose(rng).unwrap().number;
        let sql = match rng.random_range(0..3) {
            0 => self.table.added(rng),
            1 if !self.settings.freezes(any) => self.table.renamed(any),
            _ => ordinary.map(|number| self.table.dropped(number)),
        };
        let Some(sql) = sql else { return };
        self.run(sql).await;
        if rng.random_bool(0.5) {
            self.run("select tidings._refresh()".to_owned()).await;
            self.settings.refresh(&self.table);
        }
        self.newest = self.read().await;
    }
}
