//! The file that `new` writes: its text and its name, in the style of those that come with tidings.
//!
//! Invariant: whatever a table and its columns are called, the file is one call (`a_table_with_hostile_names_can_be_drafted_and_applied`): names
//! go into constants quoted, and into comments without line ends.

use super::catalog::Table;
use super::guess::{self, Tenant};
use super::printable;
use super::quote::{array, literal};

/// What applying an unfinished file is refused with, as the name of a column that no table has.
const TO_FILL_IN: &str = "FILL IN: how the tenant is found";
/// Lines of comments and calls are wrapped beyond this.
const WIDTH: usize = 140;

/// A file for one table.
pub(super) struct Draft {
    pub(super) text: String,
    /// What was guessed, a sentence each.
    pub(super) notes: Vec<String>,
}

/// Drafts the file.
pub(super) fn draft(table: &Table) -> Draft {
    let mut notes = Vec::new();
    let mut arguments = vec![literal(&table.sql)];
    let tenant = guess::tenant(table);
    let (setting, note) = told(&tenant);
    arguments.push(format!("tenant => {}", literal(&setting)));
    notes.push(note);
    let secrets = guess::secrets(table);
    if !secrets.is_empty() {
        arguments.push(format!("except_columns => {}", literal(&array(&secrets))));
        notes.push(format!(
            "Kept back: {}, by name. What subscribers may see, take out of except_columns.",
            secrets.join(", ")
        ));
    }
    let kind = kind(&table.name);
    if kind != table.name {
        arguments.push(format!("type => {}", literal(&kind)));
        notes.push("Type: the table's name with what a type may not hold replaced.".to_owned());
    }
    if table.key.is_empty() {
        notes.push(
            "Subject: none, since the table has no primary key: clients cannot tell which row an event is about. Give it one, or \
             name columns with subject => '{column}'."
                .to_owned(),
        );
    } else if let Some(secret) = table.key.iter().find(|column| secrets.contains(column)) {
        notes.push(format!("Subject: the primary key, whose {secret} looks secret; events show it unless subject => '{{column}}' says another."));
    }
    let notes: Vec<String> = notes.iter().map(|note| printable(note)).collect();
    Draft { text: format!("{}\n{}", head(table, &kind, &notes), call(&tenant, &arguments)), notes }
}

/// The setting, and why.
fn told(tenant: &Tenant<'_>) -> (String, String) {
    let skipped =
        |nullable: &bool| if *nullable { " Rows where it is NULL make no event; they are counted." } else { "" };
    match tenant {
        Tenant::Column { name, why, nullable } => {
            // A leading = would make an expression of it.
            let setting = if name.starts_with('=') {
                format!("=r.\"{}\"", name.replace('"', "\"\""))
            } else {
                (*name).to_owned()
            };
            (setting, format!("Tenant: {name}, guessed from {why}.{}", skipped(nullable)))
        }
        Tenant::Through { expression, parent, nullable } => {
            let note =
                format!("Tenant: that of the row in {parent}, guessed from the foreign key.{}", skipped(nullable));
            (expression.clone(), note)
        }
        Tenant::Unknown { candidates } => {
            let found =
                if candidates.is_empty() { "no column looks like one" } else { "several foreign keys lead to one" };
            (TO_FILL_IN.to_owned(), format!("Tenant: to be filled in, {found}. Until then the file is refused."))
        }
    }
}

fn head(table: &Table, kind: &str, notes: &[String]) -> String {
    let (sql, name, kind) = (printable(&table.sql), printable(&table.name), printable(kind));
    let mut title = name.chars();
    let title: String = title.next().into_iter().flat_map(char::to_uppercase).chain(title).collect();
    let mut lines = vec![
        format!("{title}: each row that is inserted, updated or deleted is an event of its tenant."),
        String::new(),
        "Runs:   in one transaction, by `tidings triggers apply` or psql -f. As: the table's owner.".to_owned(),
        format!(
            "Locks:  SHARE ROW EXCLUSIVE on {sql} while a trigger is attached; gives up after 2 s and changes nothing."
        ),
        format!("Events: {kind}.inserted, {kind}.updated, {kind}.deleted."),
        format!("Undo:   select tidings.unwatch({});", printable(&literal(&table.sql))),
        String::new(),
    ];
    lines.extend_from_slice(notes);
    lines.iter().map(|line| format!("-- {line}").trim_end().to_owned() + "\n").collect()
}

fn call(tenant: &Tenant<'_>, arguments: &[String]) -> String {
    let line = format!("select * from tidings.watch({});\n", arguments.join(", "));
    let Tenant::Unknown { candidates } = tenant else {
        return match line.chars().count() {
            ..=WIDTH => line,
            _ => format!("select * from tidings.watch(\n  {});\n", arguments.join(",\n  ")),
        };
    };
    let mut text = "-- FILL IN the tenant: a column, or after = an expression over the row, such as\n".to_owned();
    let example = ["=(select p.tenant_id from public.parents p where p.id = parent_id)".to_owned()];
    for candidate in if candidates.is_empty() { &example } else { candidates.as_slice() } {
        text += &format!("--   tenant => {}\n", printable(&literal(candidate)));
    }
    text + &format!("select * from tidings.watch(\n  {});\n", arguments.join(",\n  "))
}

/// A type may not hold commas and control characters: it is listed with commas, and stands in one line.
fn kind(name: &str) -> String {
    name.chars().map(|char| if char == ',' || char.is_control() { '_' } else { char }).collect()
}

/// The name of a table's file, with its schema unless that is public. Letters and digits stay; whatever else a name holds, it
/// neither leaves the folder nor looks like an option.
pub(super) fn file_name(schema: &str, name: &str) -> String {
    let safe = |text: &str| -> String {
        text.chars().map(|char| if char.is_alphanumeric() || char == '_' { char } else { '_' }).collect()
    };
    match schema {
        "public" => format!("{}.sql", safe(name)),
        schema => format!("{}.{}.sql", safe(schema), safe(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_in_its_folder_whatever_the_table_is_called() {
        assert_eq!(file_name("public", "Case"), "Case.sql");
        assert_eq!(file_name("billing", "invoices"), "billing.invoices.sql");
        assert_eq!(file_name("public", "../../etc/x y\n"), "______etc_x_y_.sql");
        assert_eq!(file_name("-rf", "-"), "_rf._.sql");
    }
}
