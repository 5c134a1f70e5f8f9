//! Several hosts in one URL, standbys, failover, and servers that fall silent.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::app::{self, App};
use tidings::private_postgres::{Options, PrivatePostgres, Stop};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::postgres_tls::reach;
use crate::restore::program;
use crate::support::{Bridge, Database, Sse, Standby, Ws, connect, get_page, member, settings};

/// Far beyond what any bound in here allows.
const NEVER: Duration = Duration::from_secs(60);

async fn over_tcp() -> PrivatePostgres {
    PrivatePostgres::start(Options { tcp: true, ..Options::default() }).await.unwrap()
}

/// The URL with another host in front of its own.
fn behind(host: &str, url: &str) -> String {
    url.replacen("@127.0.0.1", &format!("@{host},127.0.0.1"), 1)
}

/// Takes connections and never says a word.
async fn abyss() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    TaskTracker::new().spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    port
}

#[tokio::test]
async fn a_dead_host_leaves_the_next_one_its_time() {
    let server = over_tcp().await;
    let db = Database::fresh_on(&server).await;
    let url = server.tcp_url(db.name()).unwrap();
    let silent = behind(&format!("127.0.0.1:{}", abyss().await), &url);
    let closed = behind("127.0.0.1:1", &url);
    for url in [silent, closed] {
        // Long enough for the one that answers, on a busy machine; the dead one has used up as much before.
        let bridge = Bridge::as_named(&url, &[("listener.connect_timeout", "3s")]).await;
        let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
        db.sentinel("acme").await;
        assert!(sse.until_sentinel().await.is_empty());
        bridge.stop().await;
    }
}

#[tokio::test]
async fn a_standby_is_refused_by_name_and_passed_over_for_the_primary() {
    let server = over_tcp().await;
    let db = Database::fresh_on(&server).await;
    let bin = program(&db, "postgres").await.parent().unwrap().to_owned();
    let standby = Standby::of(&server, &bin).await;
    let url = server.tcp_url(db.name()).unwrap();
    let (_, port) = url.rsplit_once('/').unwrap().0.rsplit_once(':').unwrap();
    let alone = url.replace(port, &standby.port.to_string());

    for migrate in ["true", "false"] {
        let error = App::build(&settings(&alone, &[("database.migrate", migrate)])).await.err().unwrap();
        let (said, hint) = (error.to_string(), error.hint().unwrap());
        assert!(said.contains("is a standby") && said.contains(&standby.port.to_string()), "{said}");
        assert!(hint.contains("host=a,b"), "{hint}");
    }
    let both = behind(&format!("127.0.0.1:{}", standby.port), &url);
    let client = reach(&both).await.unwrap();
    let writes: bool = client.query_one("select not pg_is_in_recovery()", &[]).await.unwrap().get(0);
    assert!(writes, "the primary was found behind the standby");

    db.run("alter system set default_transaction_read_only = on").await;
    db.run("select pg_reload_conf()").await;
    let read_only = format!("{url}?target_session_attrs=read-write");
    crate::support::eventually("read-write is insisted on", || async {
        reach(&read_only).await.is_err_and(|said| said.contains("refuses writes"))
    })
    .await;
    assert!(reach(&url).await.is_ok(), "where it was not asked for, it is not");
}

/// Numbers up to `last` over SSE, and whether a reset came among them.
async fn sse_up_to(sse: &mut Sse, last: i64) -> (Vec<i64>, bool) {
    let (mut numbers, mut reset) = (Vec::new(), false);
    while numbers.last() != Some(&last) {
        let block = sse.block().await.expect("the stream ended");
        match block.event.as_str() {
            "message" => numbers.push(number(&serde_json::from_str(&block.data).unwrap())),
            "reset" => (numbers, reset) = (Vec::new(), true),
            other => panic!("{other}"),
        }
    }
    (numbers, reset)
}

async fn ws_up_to(ws: &mut Ws, last: i64) -> (Vec<i64>, bool) {
    let (mut numbers, mut reset) = (Vec::new(), false);
    while numbers.last() != Some(&last) {
        let frame = ws.frame().await.expect("the socket closed");
        match frame["type"].as_str() {
            Some("event") => numbers.push(number(&frame["event"])),
            Some("reset") => (numbers, reset) = (Vec::new(), true),
            Some("heartbeat") => {}
            _ => panic!("{frame}"),
        }
    }
    (numbers, reset)
}

fn number(event: &Value) -> i64 {
    event["data"]["n"].as_i64().unwrap()
}

fn emits(range: std::ops::Range<i64>) -> String {
    range.map(|n| format!("select tidings.emit('acme', 'counted', '{{\"n\": {n}}}');")).collect()
}

#[tokio::test]
async fn clients_go_on_over_a_failover_to_the_promoted_standby() {
    let mut server = over_tcp().await;
    let db = Database::fresh_on(&server).await;
    let bin = program(&db, "postgres").await.parent().unwrap().to_owned();
    let standby = Standby::of(&server, &bin).await;
    let url = server.tcp_url(db.name()).unwrap();
    let both = url.replace(&format!("/{}", db.name()), &format!(",127.0.0.1:{}/{}", standby.port, db.name()));
    let bridge = Bridge::with(&format!("{both}?target_session_attrs=read-write"), &[]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;

    db.run(&emits(0..10)).await;
    assert_eq!(sse_up_to(&mut sse, 9).await, ((0..10).collect(), false));
    assert_eq!(ws_up_to(&mut ws, 9).await, ((0..10).collect(), false));
    standby.catch_up(&server).await;
    server.halt(Stop::Immediate).await.unwrap();
    standby.promote().await;
    let promoted = connect(&standby.url(db.name())).await;
    for n in 10..20 {
        promoted.batch_execute(&emits(n..n + 1)).await.unwrap();
    }

    for (numbers, reset) in [sse_up_to(&mut sse, 19).await, ws_up_to(&mut ws, 19).await] {
        // A promoted server is another history, from its first checkpoint on: whoever was told so fetches its state, and
        // misses nothing from there on.
        let first = if reset { numbers[0] } else { 10 };
        assert_eq!(numbers, (first..20).collect::<Vec<_>>());
    }
    assert_eq!(get_page(&bridge, &member("acme"), "acme", "").await.events.len(), 20);
    bridge.stop().await;
}

#[tokio::test]
async fn a_server_that_falls_silent_costs_a_request_a_bounded_time() {
    let server = over_tcp().await;
    let db = Database::fresh_on(&server).await;
    let url = server.tcp_url(db.name()).unwrap();
    let config = settings(&url, &[("database.statement_timeout", "1s"), ("database.pool_size", "1")]);
    let pool = app::pool(&config).unwrap();
    let client = pool.get().await.unwrap();
    // A slow statement and one that answers piece by piece are not silent; what is over is waited for no more.
    client.batch_execute("select pg_sleep(0.3)").await.unwrap();

    server.suspend().unwrap();
    let asked = timeout(NEVER, client.query_one("select 1", &[])).await.expect("it waits for ever");
    assert!(asked.unwrap_err().is_closed());
    drop(client);
    let refused = timeout(NEVER, pool.get()).await.expect("it waits for ever");
    let said = tidings::postgres::reason(&refused.expect_err("the broken connection is still in the pool"));
    assert!(said.contains("no answer within") && said.contains(db.name()), "{said}");

    server.resume().unwrap();
    let one: i32 = pool.get().await.unwrap().query_one("select 1", &[]).await.unwrap().get(0);
    assert_eq!(one, 1);
}
