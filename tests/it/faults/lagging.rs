//! A bridge that cannot keep up: what it has not heard waits in PostgreSQL's queue, what it cannot look up waits in its memory,
//! and neither is lost or held up for ever.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tidings::private_postgres::{Options, PrivatePostgres};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::scene::{QUICK, ROAD, metric};
use super::{Process, Writers, assert_counted, free_address};
use crate::support::{Bridge, Database, Fault, Of, Proxy, Sse, Upstream, Way, Ws, eventually, member};

/// Large enough that few fill any socket's buffer, and small enough for a notification.
const WIDE: &str = "insert into documents (id, tenant_id, name, metadata) select 'w' || n, 'acme', 'x', jsonb_build_object('x', repeat('x', 6000)) from generate_series(1, 40) n";

async fn queue_use(db: &Database) -> f64 {
    db.client.query_one("select pg_notification_queue_usage()", &[]).await.unwrap().get(0)
}

/// Commits so many wide events, 40 at a time, each with a notification of its own.
async fn flood(db: &Database, batches: usize, from: &str) {
    for batch in 0..batches {
        db.run(&WIDE.replace("'w'", &format!("'{from}-{batch}-'"))).await;
    }
}

#[tokio::test]
async fn a_bridge_that_is_stopped_and_goes_on_catches_up() {
    let server = PrivatePostgres::start(Options::default()).await.unwrap();
    let (db, bridge) = (Database::fresh_on(&server).await, Bridge::elsewhere(free_address()));
    let process = Process::start(&db.url, &bridge).await;
    let token = member("globex");
    let mut sse = Sse::open(&bridge, &token, "globex", "").await;
    let mut ws = Ws::open(&bridge, &token, "globex", json!({})).await;
    let pid = Pid::from_raw(process.child.id().unwrap().cast_signed()).unwrap();
    let writers = Writers::counting(&db.url, &[("globex", "a"), ("globex", "b")], Duration::from_millis(2));
    let faults = async {
        for round in 0..2 {
            writers.commit(50).await;
            kill_process(pid, Signal::STOP).unwrap();
            let mut batch = 0;
            // Until the sockets' buffers are full, and PostgreSQL keeps the rest.
            while queue_use(&db).await == 0.0 {
                flood(&db, 5, &format!("s{round}-{batch}")).await;
                batch += 1;
            }
            writers.commit(50).await;
            kill_process(pid, Signal::CONT).unwrap();
            eventually("the queue is empty again", || async { queue_use(&db).await == 0.0 }).await;
        }
        let last = writers.finish().await;
        db.sentinel("globex").await;
        last
    };
    let (last, by_sse, by_ws) = tokio::join!(faults, sse.until_sentinel(), ws.until_sentinel());
    process.kill().await;
    assert_counted("SSE", &by_sse, &last);
    assert_counted("WebSocket", &by_ws, &last);
}

/// While a reference cannot be looked up, more is heard than may wait: it is dropped, and read from the log.
#[tokio::test]
async fn a_flood_while_a_reference_is_read_loses_nothing() {
    let db = Database::new().await;
    let proxy = Proxy::to(Upstream::of(&db.url)).await;
    let bridge = Bridge::with(&proxy.postgres(&db.url), &[("listener.checkpoint_timeout", "120s")]).await;
    let token = member("acme");
    let (mut sse, mut ws) =
        (Sse::open(&bridge, &token, "acme", "").await, Ws::open(&bridge, &token, "acme", json!({})).await);
    proxy.set(ROAD, Way::Both, Fault::hold());
    // More events than a notification each: one reference.
    db.run("insert into documents (id, tenant_id, name) select 'r' || n, 'acme', 'x' from generate_series(1, 100) n")
        .await;
    let heard = metric(&bridge, "tidings_events_total").await;
    let faults = async {
        let (mut batches, mut most) = (0, 0.0);
        // What waits grows until it is too much, and is dropped.
        loop {
            flood(&db, 5, &format!("f{batches}")).await;
            batches += 5;
            match metric(&bridge, "tidings_listener_waiting_notifications").await {
                waiting if waiting < most => break,
                waiting => most = waiting,
            }
        }
        assert_eq!(metric(&bridge, "tidings_events_total").await, heard, "everything waits for the reference");
        proxy.mend();
        db.sentinel("acme").await;
        100 + batches * 40
    };
    let (by_sse, by_ws, written) = tokio::join!(sse.until_sentinel(), ws.until_sentinel(), faults);
    for events in [by_sse, by_ws] {
        let ids: std::collections::HashSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert_eq!((events.len(), ids.len()), (written, written));
    }
    assert!(
        metric(&bridge, "tidings_events_caught_up_total").await > 0.0,
        "the flood was dropped and read from the log"
    );
}

/// The worst that can be: a reference that nobody can look up, no connection that answers, clients that read nothing.
#[tokio::test]
async fn the_listening_socket_is_read_whatever_else_is_stuck() {
    let server = PrivatePostgres::start(Options::default()).await.unwrap();
    let db = Database::fresh_on(&server).await;
    let proxy = Proxy::to(Upstream::of(&db.url)).await;
    let bridge = Bridge::with(&proxy.postgres(&db.url), &QUICK).await;
    let token = member("acme");
    let old = db.text("select tidings.cursor()").await;
    flood(&db, 10, "old").await;
    let mut stuck = Vec::new();
    for after in [String::new(), format!("?after={old}")] {
        for _ in 0..20 {
            let mut client = TcpStream::connect(bridge.address).await.unwrap();
            let head = format!(
                "GET /v1/tenants/acme/events{after} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\naccept: text/event-stream\r\n\r\n"
            );
            client.write_all(head.as_bytes()).await.unwrap();
            stuck.push(client);
        }
    }
    proxy.set(Of::NotSaying("tidings listener"), Way::Both, Fault::hold());
    db.run("insert into documents (id, tenant_id, name) select 'r' || n, 'acme', 'x' from generate_series(1, 100) n")
        .await;
    // Far more than sockets hold; what is not read shows in the queue, and stays there.
    flood(&db, 70, "new").await;
    eventually("the queue is empty", || async { queue_use(&db).await == 0.0 }).await;
    proxy.mend();
    let everything = f64::from(10 * 40 + 100 + 70 * 40);
    eventually("everything is dispatched", || async { metric(&bridge, "tidings_events_total").await == everything })
        .await;
    eventually("it is ready", || async { bridge.get("/readyz").await.0 == 200 }).await;
    drop(stuck);
}
