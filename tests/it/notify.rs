//! PostgreSQL lets every role LISTEN and NOTIFY. The channel's secret name keeps strangers from hearing and from forging.

use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, NoTls};
use tokio_util::task::TaskTracker;

use crate::support::{Bridge, Database, Sse, eventually, member};

/// A session of an unprivileged role, and everything the server sends it besides results.
struct Stranger {
    client: Client,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Stranger {
    /// A role that may do this, and nothing in our schema.
    async fn new(db: &Database, rights: &str) -> Self {
        let role = format!("stranger_{}", db.text("select current_database()::text").await);
        db.run(&format!("create role {role} login; grant {rights} to {role}")).await;
        let mut config: tokio_postgres::Config = db.url.parse().unwrap();
        let (client, mut connection) = config.user(&role).connect(NoTls).await.unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let inbox = heard.clone();
        TaskTracker::new().spawn(async move {
            let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
            while let Some(Ok(message)) = messages.next().await {
                inbox.lock().unwrap().push(match message {
                    AsyncMessage::Notification(heard) => format!("{}: {}", heard.channel(), heard.payload()),
                    AsyncMessage::Notice(notice) => format!("{notice:?}"),
                    _ => continue,
                });
            }
        });
        Self { client, heard }
    }

    async fn refused(&self, sql: &str) {
        let error = self.client.batch_execute(sql).await.expect_err(sql);
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error:?}");
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

const APPLICATION: &str = "insert, update, delete, select on documents";
const GUESSES: [&str; 12] = [
    "tidings",
    "tidings_",
    "tidings_%",
    "tidings_events",
    "*",
    "%",
    "_channel",
    "events",
    "acme",
    "documents",
    "public",
    "TIDINGS",
];

#[tokio::test]
async fn a_role_without_rights_on_the_schema_writes_and_its_events_arrive() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let app = Stranger::new(&db, APPLICATION).await;
    app.client
        .batch_execute(
            "insert into documents (id, tenant_id, name) values ('1', 'acme', 'x'); update documents set name = 'y'; delete from documents;
             insert into documents (id, tenant_id, name) select 'm' || i, 'acme', 'x' from generate_series(1, 100) i",
        )
        .await
        .unwrap();
    let events = sse.take(103).await;
    assert_eq!(
        (&events[2]["type"], &events[2]["subject"], &events[102]["subject"]),
        (&"documents.deleted".into(), &"1".into(), &"m100".into())
    );
}

#[tokio::test]
async fn an_unprivileged_role_hears_nothing_and_reads_nothing() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let stranger = Stranger::new(&db, "pg_monitor").await;
    for guess in GUESSES {
        stranger.client.batch_execute(&format!("listen \"{guess}\"")).await.unwrap();
    }
    for sql in [
        "select name from tidings._channel",
        "copy tidings._channel to stdout",
        "select * from tidings.events",
        "select * from tidings._log_0",
        "select * from tidings.listeners",
        "select tidings._listen()",
        "select tidings.cursor()",
        "select tidings.emit('acme', 'n')",
        "select tidings._record(0, 'emit', '/emit', true, null)",
        "select tidings.watch('documents', 'tenant_id')",
        "select tidings._rotate('0')",
        "select nextval('tidings._eid')",
        "delete from tidings._ticket",
        "create function tidings.mine() returns int return 1",
    ] {
        stranger.refused(sql).await;
    }
    db.run("insert into documents (id, tenant_id, name) values ('1', 'acme', 'treasure')").await;
    db.sentinel("acme").await;
    assert_eq!(sse.until_sentinel().await.len(), 1);
    // What is notified now comes behind everything that could have been heard.
    stranger.client.batch_execute("listen mine; notify mine, 'done'").await.unwrap();
    eventually("it hears itself", || async { !stranger.heard().is_empty() }).await;
    assert_eq!(stranger.heard(), ["mine: done"]);
}

#[tokio::test]
async fn an_unprivileged_role_cannot_forge_an_event() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let stranger = Stranger::new(&db, "pg_monitor").await;
    let forged = json!({"eid": 900_000, "xid": 900_000, "snap": "900000:900000:", "nonce": "ab", "at": 0, "tenant": "acme", "audience": null,
        "type": "forged", "source": "/emit", "subject": null, "changed": null, "data": {}});
    for guess in GUESSES {
        stranger.client.execute("select pg_notify($1, $2)", &[&guess, &forged.to_string()]).await.unwrap();
    }
    db.sentinel("acme").await;
    assert_eq!(sse.until_sentinel().await, [json!(null); 0]);
    // The same payload on the real channel would have been taken for an event: the name is what keeps it out.
    db.client
        .execute("select pg_notify((select name from tidings._channel), $1)", &[&forged.to_string()])
        .await
        .unwrap();
    assert_eq!(sse.next().await["type"], "forged");
}

#[tokio::test]
async fn the_channels_name_stands_nowhere_that_others_can_look() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let name = db.text("select name from tidings._channel").await;
    assert!(name.len() >= 32, "{name}");
    db.sentinel("acme").await;
    sse.until_sentinel().await;
    for sql in [
        "select count(*)::text from pg_stat_activity where position($1::text in query) > 0 or position($1::text in application_name) > 0",
        "select count(*)::text from pg_proc where position($1::text in prosrc) > 0",
        "select count(*)::text from pg_description where position($1::text in description) > 0",
        "select count(*)::text from pg_settings where position($1::text in setting) > 0",
        "select count(*)::text from pg_stats where position($1::text in most_common_vals::text) > 0",
    ] {
        let found: String = db.client.query_one(sql, &[&name]).await.unwrap().get(0);
        assert_eq!(found, "0", "{sql}");
    }
    let (_, metrics) = bridge.get("/metrics").await;
    assert!(!metrics.to_string().contains(&name));
}

/// A role that writes to a watched table runs our triggers in its own session, where it chooses what PostgreSQL traces.
#[tokio::test]
async fn a_writer_does_not_learn_the_channels_name_from_debug_messages() {
    let db = Database::new().await;
    let app = Stranger::new(&db, APPLICATION).await;
    let name = db.text("select name from tidings._channel").await;
    app.client
        .batch_execute(
            "set client_min_messages = debug5; set trace_notify = on; set debug_print_plan = on; set debug_print_parse = on;
             set debug_print_rewritten = on; set plan_cache_mode = force_custom_plan",
        )
        .await
        .unwrap();
    for rows in [1, 100] {
        let insert = format!(
            "insert into documents (id, tenant_id, name) select '{rows}-' || i, 'acme', 'x' from generate_series(1, {rows}) i"
        );
        app.client.batch_execute(&insert).await.unwrap();
        app.client.batch_execute("update documents set name = 'y'; delete from documents").await.unwrap();
    }
    // Plans print texts as the numbers of their bytes.
    let bytes: Vec<String> = name.bytes().map(|byte| byte.to_string()).collect();
    let heard = app.heard();
    assert!(!heard.is_empty(), "the messages were on");
    assert!(
        !heard.iter().any(|message| message.contains(&name) || message.contains(&bytes.join(" "))),
        "the name was told"
    );
}

#[tokio::test]
async fn garbage_on_the_channel_is_skipped_and_counted_and_the_stream_goes_on() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let garbage = [
        "",
        "x",
        "{}",
        "[]",
        "null",
        "{\"eid\":1}",
        "{\"ref\":{}}",
        "{\"ref\":{\"xid\":-1,\"first\":1,\"last\":2}}",
        "{\"checkpoint\":7}",
        "{\"checkpoint\":{\"bridge\":\"x\",\"token\":1,\"cursor\":\"no\"}}",
        "\u{1f980}",
        "{\"eid\":1,\"xid\":1,\"snap\":\"1:1:\",\"nonce\":\"1\",\"at\":1,\"tenant\":\"\",\"audience\":null,\"type\":\"n\",\"source\":\"\",\"subject\":null,\"changed\":null,\"data\":{}}",
    ];
    for payload in garbage {
        db.client.execute("select pg_notify((select name from tidings._channel), $1)", &[&payload]).await.unwrap();
    }
    // References to what is not there, and a checkpoint of another bridge, are well-formed: they change nothing.
    for payload in [
        "{\"ref\":{\"xid\":18446744073709551615,\"first\":0,\"last\":18446744073709551615}}",
        "{\"checkpoint\":{\"bridge\":\"another\",\"token\":9,\"cursor\":\"c.1.9-9-9.9.\"}}",
    ] {
        db.client.execute("select pg_notify((select name from tidings._channel), $1)", &[&payload]).await.unwrap();
    }
    db.sentinel("acme").await;
    assert_eq!(sse.until_sentinel().await, [json!(null); 0]);
    let metrics = reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains(&format!("tidings_undecodable_total{{channel=\"ours\"}} {}\n", garbage.len())),
        "{metrics}"
    );
}
