//! Recognises a pooler that gives a session away between transactions. LISTEN through one succeeds, and hears nothing.
//!
//! Asking whether LISTEN holds is not enough: with one client, the pooler gives back the same session. So it is shown in two
//! steps. Whoever greets with the number of a backend that then turns out to be another is no PostgreSQL. And where a second
//! connection that holds a transaction gets our backend, or we another meanwhile, sessions do not last.

use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

use super::error::Why;
use super::{Opened, Postgres, drive};

/// Second connections that are tried: a pooler may hand out the sessions that it has in turn.
const ROUNDS: usize = 3;
/// Part of an attempt's time that one question may take. Where it is not answered by then, it waits for a session.
const SHARE: u32 = 8;
/// Which backend answers. Not prepared: a statement that is would need a session itself.
const WHO: &str = "select pg_backend_pid()";
/// The same, and holds it.
const WHO_HOLDS: &str = "begin; select pg_backend_pid()";

/// Refuses a pooler in transaction or statement mode. Where PostgreSQL itself answers, this is one question.
pub(super) async fn refuse(postgres: &Postgres, opened: &mut Opened) -> Result<(), Why> {
    let ours = who(opened, WHO).await?;
    if ours == opened.greeted {
        return Ok(());
    }
    let limit = postgres.connect_timeout() / SHARE;
    let mut held = Vec::new();
    for _ in 0..ROUNDS {
        let theirs = match timeout(limit, hold(postgres)).await {
            Ok(Ok((other, theirs))) => {
                held.push(other);
                theirs
            }
            Ok(Err(why @ Why::Pooler(_))) => return Err(why),
            // No further session is to be had: then ours is not being given away.
            Ok(Err(_)) | Err(_) => return Ok(()),
        };
        match timeout(limit, who(opened, WHO)).await {
            Ok(Ok(again)) if again == ours && theirs != ours => {}
            Ok(Err(why)) => return Err(why),
            // Another answers, or nobody: the second connection has what was ours.
            Ok(Ok(_)) | Err(_) => return Err(Why::Pooler("transaction")),
        }
    }
    Ok(())
}

/// A second connection with a transaction open, and its backend.
async fn hold(postgres: &Postgres) -> Result<(Opened, i32), Why> {
    let mut other = postgres.open().await.map_err(|_| Why::Closed)?;
    match who(&mut other, WHO_HOLDS).await {
        Ok(theirs) => Ok((other, theirs)),
        // Whoever lets in and lets nobody begin is in that mode, however it says so: PgBouncer closes the connection.
        Err(_) => Err(Why::Pooler("statement")),
    }
}

async fn who(opened: &mut Opened, sql: &str) -> Result<i32, Why> {
    let Opened { client, connection, .. } = opened;
    let answer = drive(connection, client.simple_query(sql)).await?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    row.ok_or(Why::NotPostgres)
}
