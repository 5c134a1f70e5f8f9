//! `tidings emit`: publishes one event from a shell, as `tidings.emit` does from SQL.

use std::io::Read as _;
use std::process::ExitCode;

use serde_json::value::RawValue;
use tokio_postgres::types::ToSql;

use super::{Failure, database, say};
use crate::config::Config;

const EXAMPLES: &str = r#"Examples:
  tidings emit --tenant acme --type invoice.paid '{"invoice": 42}'
  tidings emit --tenant acme --type backup.finished --audience ada
  jq -c . report.json | tidings emit --tenant acme --type report.ready -"#;

/// Arguments of `emit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Whose subscribers shall see it
    #[arg(long)]
    tenant: String,
    /// Dotted name, such as invoice.paid
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    /// What it is about
    #[arg(long)]
    subject: Option<String>,
    /// The one user (sub) who may see it, besides the tenant's admins
    #[arg(long)]
    audience: Option<String>,
    /// JSON, or - to read it from stdin
    #[arg(value_name = "DATA", default_value = "{}")]
    data: String,
    /// Print {"id": …} instead of the id
    #[arg(long)]
    json: bool,
}

/// Publishes the event and prints its id.
///
/// # Errors
/// When the data is not JSON, or the database refuses the event.
pub async fn run(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let data = match args.data.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        }
        text => text.to_owned(),
    };
    if let Err(error) = serde_json::from_str::<&RawValue>(&data) {
        return Err(
            Failure::new(format!("the data is not JSON: {error}")).with_hint("quote it: '{\"name\": \"value\"}'")
        );
    }
    let (client, connection) = database(config)?.connect().await?;
    let sql = "select tidings.emit($1, $2, $3::text::jsonb, $4, $5)";
    let params: [&(dyn ToSql + Sync); 5] = [&args.tenant, &args.kind, &data, &args.subject, &args.audience];
    // Woken by: the answer · the end of the connection, with its reason. An answer that is there counts.
    let row = tokio::select! {
        biased;
        row = client.query_one(sql, &params) => row?,
        ended = connection => {
            ended?;
            return Err(Failure::new("the database closed the connection"));
        }
    };
    let id: &str = row.get(0);
    if args.json { say(&serde_json::json!({ "id": id }).to_string()) } else { say(id) }
}
