//! `tidings triggers list`: what is watched, as a table of at most 100 columns.

use std::process::ExitCode;

use serde_json::json;
use tokio_postgres::Client;

use super::watch::Watch;
use super::{Failure, dry_run, printable, say};

const HEAD: [&str; 8] = ["TABLE", "STATUS", "TENANT", "OPS", "TYPE", "LAST EVENT", "SKIPPED", "FAILED"];
/// Names give way when the line would be longer than this; the rest is short by itself.
const WIDTH: usize = 100;
const GAP: &str = "  ";
const FLEXIBLE: [usize; 3] = [0, 2, 4];
/// No name is cut to less.
const NAME_MIN: usize = 12;
/// Counts are aligned by their last digit.
const COUNTS: std::ops::Range<usize> = 6..8;

/// Prints what is watched.
pub(super) async fn run(client: &mut Client, json: bool) -> Result<ExitCode, Failure> {
    let watches = dry_run::in_database(client).await?;
    if json {
        return say(&json!(watches).to_string());
    }
    if watches.is_empty() {
        return say("no table is watched; tidings triggers new TABLE writes a file that watches one");
    }
    say(&table(&watches))
}

fn table(watches: &[Watch]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(watches.iter().map(row));
    let mut widths = HEAD.map(|_| 0);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    while widths.iter().sum::<usize>() + GAP.len() * (widths.len() - 1) > WIDTH {
        let Some(widest) = FLEXIBLE.into_iter().filter(|n| widths[*n] > NAME_MIN).max_by_key(|n| widths[*n]) else {
            break;
        };
        widths[widest] -= 1;
    }
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths).enumerate().map(|(n, (cell, width))| {
            let cell = cut(cell, width);
            if COUNTS.contains(&n) { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn row(watch: &Watch) -> [String; 8] {
    let ops = watch.ops.iter().filter_map(|op| op.chars().next()).collect();
    [
        printable(&watch.table),
        watch.status.clone(),
        printable(&watch.tenant),
        ops,
        printable(&watch.kind),
        watch.age_s.map_or_else(|| "never".to_owned(), ago),
        watch.null_tenant_rows.unwrap_or(0).to_string(),
        watch.failures.unwrap_or(0).to_string(),
    ]
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// As one number: what matters is seconds, hours or days.
fn ago(seconds: f64) -> String {
    // A clock may have been set back; a negative age is no age.
    let seconds = seconds.max(0.0);
    let (number, unit) = match seconds {
        ..60.0 => (seconds, "s"),
        ..3600.0 => (seconds / 60.0, "min"),
        ..172_800.0 => (seconds / 3600.0, "h"),
        _ => (seconds / 86_400.0, "d"),
    };
    format!("{number:.0} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_one_number() {
        assert_eq!(
            [-3.0, 12.4, 150.0, 7200.0, 864_000.0].map(ago),
            ["0 s ago", "12 s ago", "2 min ago", "2 h ago", "10 d ago"]
        );
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!((cut("documents", 9), cut("documents", 4)), ("documents".to_owned(), "doc…".to_owned()));
    }
}
