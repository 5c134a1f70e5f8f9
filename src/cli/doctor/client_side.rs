//! What stands between server and client: a pooler, clocks, the configuration, and the age of this program's schema.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Notification, SimpleQueryMessage};

use super::finding::{Finding, Findings, Severity};
use super::{Failure, denied};
use crate::config::{Loaded, Source};
use crate::migrate;
use crate::postgres::Postgres;

/// Tokens and timestamps of events tolerate less than this without anyone noticing.
const SKEW_MAX_S: f64 = 5.0;
/// A NOTIFY comes back in a millisecond; after this long it does not come at all.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(5);

/// What of schema tidings is there.
pub(super) enum Schema {
    /// Nothing.
    Missing,
    /// An older one, without `tidings.doctor()`.
    Older,
    /// `tidings.doctor()` can be asked.
    Usable,
}

/// Whether the schema is there, and of which version, where this role may know.
pub(super) async fn schema(client: &Client, all: &mut Findings) -> Result<Schema, Failure> {
    let there = "select to_regnamespace('tidings') is not null,
                        exists (select from pg_proc where pronamespace = to_regnamespace('tidings') and proname = 'doctor')";
    let row = client.query_one(there, &[]).await?;
    if !row.get::<_, bool>(0) {
        let message = "this database has no schema tidings";
        all.push(Finding::new(Severity::Error, "schema_missing", message, "-- tidings migrate"));
        return Ok(Schema::Missing);
    }
    let usable: bool = row.get(1);
    match migrate::version(client).await {
        Ok((found, known)) if found.is_none_or(|found| found < known) => {
            let message = format!("schema tidings is at version {}, this program needs {known}", found.unwrap_or(0));
            all.push(Finding::new(Severity::Error, "schema_older", message, "-- tidings migrate"));
        }
        Ok((Some(found), known)) if found > known => {
            let message = format!("schema tidings is at version {found}, this program knows only {known}");
            all.push(Finding::new(Severity::Warning, "schema_newer", message, "-- update this program"));
        }
        Ok(_) => {}
        Err(_) if !usable => {
            let message = "schema tidings is older than this program";
            all.push(Finding::new(Severity::Error, "schema_older", message, "-- tidings migrate"));
        }
        // A role that may only ask for findings does not see the history.
        Err(_) => {}
    }
    Ok(if usable { Schema::Usable } else { Schema::Older })
}

/// Whether this configuration keeps as much of the log as the bridges do.
pub(super) async fn retention(client: &Client, loaded: &Loaded, all: &mut Findings) -> Result<(), Failure> {
    let sql = "select extract(epoch from for_time)::bigint, for_bytes from tidings._pruned where for_time is not null";
    let (seconds, bytes): (i64, Option<i64>) = match client.query_opt(sql, &[]).await {
        Ok(Some(row)) => (row.get(0), row.get(1)),
        // No bridge has told yet, or this role may not know, or this schema does not.
        Ok(None) => return Ok(()),
        Err(error) if error.as_db_error().is_some() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let log = &loaded.config.log;
    let here = [
        ("retention", log.retention.as_secs(), Some(seconds), "s"),
        ("bytes_max", log.bytes_max as u64, bytes, "bytes"),
    ];
    for (key, configured, applied, unit) in here {
        let Some(applied) = applied.filter(|applied| u64::try_from(*applied) != Ok(configured)) else { continue };
        // Nobody meant the default: then it is rather this command that lacks the configuration of the bridges.
        let set = loaded.shown().find(|shown| (shown.section, shown.key) == ("log", key));
        let meant = set.is_some_and(|shown| !matches!(shown.source, Source::Default));
        let severity = if meant { Severity::Warning } else { Severity::Info };
        let message =
            format!("log.{key} is {configured} {unit} in this configuration, and bridges apply {applied} {unit}");
        let fix = "-- give all bridges the same settings of [log] and restart them";
        all.push(Finding::new(severity, "log_settings_differ", message, fix));
    }
    Ok(())
}

/// How far the two clocks are apart; half of the round trip is taken for the way there.
pub(super) async fn clock(client: &Client, all: &mut Findings) -> Result<(), Failure> {
    let asked = SystemTime::now();
    let row = client.query_one("select extract(epoch from clock_timestamp())::float8", &[]).await?;
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let middle = f64::midpoint(seconds(asked), seconds(SystemTime::now()));
    all.extend(skew(row.get::<_, f64>(0) - middle).into_iter());
    Ok(())
}

fn skew(ahead_s: f64) -> Option<Finding> {
    let direction = if ahead_s > 0.0 { "ahead of" } else { "behind" };
    let message = format!("the server's clock is {:.0} s {direction} this machine's", ahead_s.abs());
    let fix = "-- let both follow a time server: tokens expire by the bridge's clock, events are dated by PostgreSQL's";
    (ahead_s.abs() > SKEW_MAX_S).then(|| Finding::new(Severity::Info, "clock_skew", message, fix))
}

/// Whether LISTEN lasts, and how long a NOTIFY to oneself takes. A second connection keeps a pooler in transaction mode
/// from giving back the very session that listened.
pub(super) async fn listening(
    client: &Client,
    notifications: &mut mpsc::Receiver<Notification>,
    postgres: &Postgres,
    all: &mut Findings,
) -> Result<(), Failure> {
    let channel = format!("tidings_doctor_{:016x}", rand::random::<u64>());
    match client.batch_execute(&format!("listen {channel}")).await {
        Err(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => {
            if !all.any("standby") {
                let message = "this server is a standby: LISTEN, NOTIFY and cursors work on the primary only";
                all.push(Finding::new(Severity::Error, "standby", message, "-- point database.url at the primary"));
            }
            return Ok(());
        }
        outcome => outcome.map_err(denied)?,
    }
    if !lasts(client, postgres, &channel).await? {
        let message = "LISTEN does not last on this connection: a pooler in transaction mode is in between";
        let fix = "-- point database.url at PostgreSQL itself, or at a pooler's session mode";
        all.push(Finding::new(Severity::Error, "pooler", message, fix));
        return Ok(());
    }
    let sent = Instant::now();
    client.simple_query(&format!("select pg_notify('{channel}', '')")).await?;
    if let Ok(Some(_)) = timeout(ROUND_TRIP_MAX, notifications.recv()).await {
        let message = format!("a NOTIFY came back after {:.1} ms", sent.elapsed().as_secs_f64() * 1000.0);
        all.push(Finding::new(Severity::Info, "round_trip", message, "select pg_notification_queue_usage();"));
    } else {
        let message = format!("a NOTIFY did not come back within {} s", ROUND_TRIP_MAX.as_secs());
        let fix = "-- look for what stands between this machine and PostgreSQL, and into PostgreSQL's log";
        all.push(Finding::new(Severity::Error, "notify_lost", message, fix));
    }
    client.batch_execute(&format!("unlisten {channel}")).await?;
    Ok(())
}

async fn lasts(client: &Client, postgres: &Postgres, channel: &str) -> Result<bool, Failure> {
    let (other, connection) = postgres.connect().await?;
    let question = format!("select 1 from pg_listening_channels() c where c = '{channel}'");
    let ask = async {
        other.batch_execute("begin; select 1").await?;
        client.simple_query(&question).await
    };
    // Woken by: the answer · the end of the second connection, with its reason. An answer that is there counts.
    let answer = tokio::select! {
        biased;
        answer = ask => answer?,
        ended = connection => {
            ended?;
            return Err(Failure::new("the database closed the connection"));
        }
    };
    Ok(answer.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_told_of_only_when_they_are_far_apart() {
        assert!(skew(-4.9).is_none());
        assert!(skew(-7.2).unwrap().message.contains("7 s behind"));
        assert!(skew(61.0).unwrap().message.contains("61 s ahead of"));
    }
}
