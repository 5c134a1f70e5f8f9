//! Consumers and what they owe. Here and not in SQL: only the configuration knows which consumers there should be.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::Failure;
use super::finding::{Finding, Findings, Severity};
use crate::config::{Config, Loaded};
use crate::email;

/// Whatever is at fault for an hour is not a passing trouble any more.
const OWED_MAX_S: i64 = 3600;
/// Reads too, and has settings of its own.
const RESPONDER: &str = "responder";

/// Consumers that nobody reads for, that fail, or that nobody configured.
pub(super) async fn consumers(client: &Client, loaded: &Loaded, all: &mut Findings) -> Result<(), Failure> {
    let sql = "select consumer, led_by is not null, owed, dead, coalesce(extract(epoch from now() - oldest_owed_at), 0)::bigint,
                      quote_literal(consumer) from tidings.consumers";
    let rows = match client.query(sql, &[]).await {
        Ok(rows) => rows,
        // An older schema, or a role that may not know.
        Err(error) if error.as_db_error().is_some() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let configured = configured(&loaded.config);
    for row in rows {
        let (name, led, owed, dead): (&str, bool, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        let (oldest_s, quoted): (i64, &str) = (row.get(4), row.get(5));
        let mut found = |severity, code, message: String, fix: String| {
            all.push(Finding { subject: name.to_owned(), ..Finding::new(severity, code, message, fix) });
        };
        if !configured.contains(name) && name != RESPONDER {
            let message =
                format!("the consumer {name} is not in this configuration; it is owed {owed}, and holds nothing up");
            found(Severity::Info, "consumer_unknown", message, format!("select tidings.forget_consumer({quoted});"));
        } else if !led {
            let message = format!("nobody reads for the consumer {name}: no bridge with this configuration is running");
            found(Severity::Warning, "consumer_unled", message, "-- start a bridge, or look at its log".into());
        }
        if oldest_s > OWED_MAX_S {
            let message = format!("the consumer {name} owes {owed}, the oldest for {} h", oldest_s / 3600);
            let fix = format!(
                "select event, tenant, part, attempts, due_at, error from tidings._delivery where consumer = {quoted} and dead_at is null order by since limit 20;"
            );
            found(Severity::Warning, "deliveries_late", message, fix);
        }
        if dead > 0 {
            let message = format!("the consumer {name} has given up {dead}");
            let fix = format!(
                "select * from tidings.dead_letters where consumer = {quoted};\n-- when the cause is mended: select tidings.redeliver(id) from tidings.dead_letters where consumer = {quoted};"
            );
            found(Severity::Warning, "dead_letters", message, fix);
        }
    }
    Ok(())
}

fn configured(config: &Config) -> BTreeSet<String> {
    let email = (!config.email.smtp.is_empty()).then(|| email::CONSUMER.to_owned());
    config.webhook.iter().map(crate::config::Webhook::consumer).chain(email).collect()
}
