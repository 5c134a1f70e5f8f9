//! `tidings triggers new`: writes a file that watches a table, from the table's columns. Changes nothing in the database.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use tokio_postgres::Client;

use super::draft::{draft, file_name};
use super::{Failure, catalog, say};

/// Writes the file; prints its path, and on stderr what was guessed.
pub(super) async fn run(client: &Client, table: &str, dir: &Path, force: bool) -> Result<ExitCode, Failure> {
    let table = catalog::table(client, table).await?;
    let draft = draft(&table);
    let path = dir.join(file_name(&table.schema, &table.name));
    let cannot = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    std::fs::create_dir_all(dir).map_err(cannot)?;
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let mut file = options.open(&path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(format!("{} is there already", path.display()))
            .with_hint("edit it, or replace it with --force"),
        _ => cannot(error),
    })?;
    file.write_all(draft.text.as_bytes()).map_err(cannot)?;
    for note in draft.notes {
        eprintln!("tidings: {note}");
    }
    say(&path.display().to_string())
}
