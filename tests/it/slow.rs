//! A slow client costs only itself; whoever falls behind and reads on is made whole from the log; so is what was never notified.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidings::private_postgres::{Options, PrivatePostgres};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::{Bridge, Database, SECRET, Sse, Ws, admin, events_of, eventually, member};

/// A client with little room that sends a request and then does not read.
async fn stopped(address: SocketAddr, path: &str, headers: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut socket = TcpStream::from_std(socket.into()).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: bridge\r\nauthorization: Bearer {}\r\n{headers}\r\n", member("acme"));
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

async fn stopped_sse(bridge: &Bridge) -> TcpStream {
    stopped(bridge.address, "/v1/tenants/acme/events", "accept: text/event-stream\r\n").await
}

async fn stopped_ws(bridge: &Bridge) -> TcpStream {
    let headers = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut socket = stopped(bridge.address, "/v1/ws", headers).await;
    let subscribe = json!({"type": "subscribe", "id": "s", "tenant": "acme"}).to_string();
    // A client's frame is masked; with a mask of zeros the text stays as it is.
    let mut frame = vec![0x81, 0x80 | u8::try_from(subscribe.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(subscribe.as_bytes());
    socket.write_all(&frame).await.unwrap();
    socket
}

/// Waits until so many are connected to the tenant.
async fn connected(bridge: &Bridge, wanted: usize) {
    let counted = || async {
        let stats = bridge.get_as(&admin(), "/v1/stats").await.1;
        let rows = stats["connections"].as_array().unwrap();
        rows.iter().filter(|row| row["tenants"] == json!(["acme"])).count() == wanted
    };
    eventually("so many are connected", counted).await;
}

async fn metric(bridge: &Bridge, name: &str) -> f64 {
    let text = reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// Emits numbered events of about `bytes` in one statement.
async fn emit(db: &Database, first: usize, last: usize, bytes: usize) {
    let data = format!("jsonb_build_object('n', i, 'text', repeat('x', {bytes}))");
    db.run(&format!("select tidings.emit('acme', 'numbered', {data}) from generate_series({first}, {last}) i")).await;
}

fn numbers(events: &[Value]) -> Vec<usize> {
    events.iter().map(|event| event["data"]["n"].as_u64().unwrap() as usize).collect()
}

fn assert_numbers(events: &[Value], last: usize) {
    let found = numbers(events);
    let wrong = found.iter().copied().zip(1..).find(|(n, expected)| n != expected);
    assert!(
        wrong.is_none() && found.len() == last,
        "{} events of {last}, the first out of place: {wrong:?}",
        found.len()
    );
}

#[tokio::test]
async fn a_client_that_stops_reading_costs_only_itself() {
    let db = Database::new().await;
    let bounds = [("ring.events_max", "500"), ("ring.bytes_max", "1MiB"), ("http.write_timeout", "4s")];
    let bridge = Bridge::with(&db.url, &bounds).await;
    let _sse = stopped_sse(&bridge).await;
    let _ws = stopped_ws(&bridge).await;
    connected(&bridge, 2).await;
    let mut reader = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let writing = async {
        for block in 0..20 {
            emit(&db, block * 1000 + 1, (block + 1) * 1000, 400).await;
        }
        db.sentinel("acme").await;
    };
    let (read, ()) = tokio::join!(reader.until_sentinel(), writing);
    assert_numbers(&read, 20_000);
    connected(&bridge, 1).await;
    // The ring of the tenant and none other; bytes within the bound.
    assert!(metric(&bridge, "tidings_ring_events").await <= 1000.0);
    assert!(metric(&bridge, "tidings_ring_bytes").await <= 2.0 * f64::from(1 << 20));
}

#[tokio::test]
async fn a_client_that_falls_off_the_ring_and_reads_on_sees_everything_once() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("ring.events_max", "64")]).await;
    let token = member("acme");
    let (mut sse, mut ws) =
        (Sse::open(&bridge, &token, "acme", "").await, Ws::open(&bridge, &token, "acme", json!({})).await);
    for block in 0..20 {
        emit(&db, block * 200 + 1, (block + 1) * 200, 10).await;
    }
    db.sentinel("acme").await;
    let (by_sse, by_ws) = tokio::join!(sse.until_sentinel(), ws.until_sentinel());
    assert_numbers(&by_sse, 4000);
    assert_numbers(&by_ws, 4000);
}

#[tokio::test]
async fn a_client_that_falls_off_behind_a_long_transaction_is_sent_nothing_twice() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("ring.events_max", "64")]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let long = db.connect().await;
    long.batch_execute("begin; select tidings.emit('acme', 'numbered', '{\"n\": 301}')").await.unwrap();
    for n in 1..=300 {
        emit(&db, n, n, 10).await;
    }
    let mut read = sse.take(300).await;
    long.batch_execute("commit").await.unwrap();
    read.extend(sse.take(1).await);
    emit(&db, 302, 900, 10).await;
    db.sentinel("acme").await;
    read.extend(sse.until_sentinel().await);
    assert_numbers(&read, 900);
}

#[tokio::test]
async fn a_client_that_fell_off_once_and_caught_up_is_not_slow_later() {
    let db = Database::new().await;
    let settings = [("ring.events_max", "64"), ("limits.slow_after", "1s"), ("http.heartbeat", "2s")];
    let bridge = Bridge::with(&db.url, &settings).await;
    let mut ws = Ws::open(&bridge, &member("acme"), "acme", json!({})).await;
    let documents =
        |name| format!("insert into documents (tenant_id, name) select 'acme', '{name}' from generate_series(1, 500)");
    db.run(&documents("first")).await;
    for _ in 0..500 {
        ws.next().await;
    }
    // It has caught up and hears nothing for longer than it may stay behind.
    assert_eq!(ws.frame().await.unwrap()["type"], "heartbeat");
    db.run(&documents("second")).await;
    db.sentinel("acme").await;
    assert_eq!(ws.until_sentinel().await.len(), 500);
}

#[tokio::test]
async fn a_client_that_stays_behind_for_too_long_is_told_so() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("ring.events_max", "64"), ("limits.slow_after", "1s")]).await;
    let mut slow = stopped_sse(&bridge).await;
    connected(&bridge, 1).await;
    let (mut text, mut first) = (Vec::new(), 1);
    let told = |text: &[u8]| text.windows(10).any(|window| window == b"event: bye");
    // Reads less than is written, all the time.
    while !told(&text) {
        emit(&db, first, first + 999, 400).await;
        first += 1000;
        assert!(first < 200_000, "it was never told");
        text.drain(..text.len().saturating_sub(16));
        while text.len() < 256 << 10 && !told(&text[text.len().saturating_sub(8200)..]) {
            let mut buffer = [0; 8192];
            let read = slow.read(&mut buffer).await.unwrap();
            assert!(read > 0, "it was closed without a word");
            text.extend_from_slice(&buffer[..read]);
        }
    }
    let mut rest = String::new();
    slow.read_to_string(&mut rest).await.unwrap_or_default();
    let whole = String::from_utf8_lossy(&text).into_owned() + &rest;
    assert!(whole.contains(r#"{"code":4008,"reason":"slow","reconnect":true}"#));
}

/// Reads a byte now and then until `end`. What the system has taken for the socket comes long after it was closed.
async fn trickle(mut socket: TcpStream, end: &CancellationToken) {
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
    while let Some(Ok(1)) = end.run_until_cancelled(socket.read(&mut [0; 1])).await {
        end.run_until_cancelled(pace.tick()).await;
    }
}

#[tokio::test]
async fn a_client_that_reads_a_byte_now_and_then_is_closed_as_slow() {
    let db = Database::new().await;
    // It never is without progress for as long as the other deadline lasts.
    let settings = [("limits.slow_after", "2s"), ("http.write_timeout", "1h"), ("ring.bytes_max", "64MiB")];
    let bridge = Bridge::with(&db.url, &settings).await;
    let (sse, ws) = (stopped_sse(&bridge).await, stopped_ws(&bridge).await);
    connected(&bridge, 2).await;
    for block in 0..10 {
        emit(&db, block * 500 + 1, (block + 1) * 500, 1200).await;
    }
    let closed = async |count: f64| {
        eventually("it is closed", || async {
            metric(&bridge, "tidings_disconnects_total{reason=\"slow\"}").await == count
        })
        .await;
    };
    let end = CancellationToken::new();
    let both = async {
        closed(2.0).await;
        end.cancel();
    };
    tokio::join!(trickle(sse, &end), trickle(ws, &end), both);
    // Pages too, more of them on one socket than any buffer of the system holds.
    let page = "/v1/tenants/acme/events?limit=1000";
    let mut pages = stopped(bridge.address, page, "").await;
    let more = format!("GET {page} HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {}\r\n\r\n", member("acme"));
    pages.write_all(more.repeat(10).as_bytes()).await.unwrap();
    let end = CancellationToken::new();
    let gone = async {
        closed(3.0).await;
        end.cancel();
    };
    tokio::join!(trickle(pages, &end), gone);
}

#[tokio::test]
async fn those_who_do_not_read_what_they_resume_hold_little_memory() {
    let db = Database::new().await;
    let old = db.text("select tidings.cursor()").await;
    // 16 MiB in rows of 8 KiB, all of it older than the ring of the server that is started next.
    for block in 0..4 {
        emit(&db, block * 500 + 1, (block + 1) * 500, 8 << 10).await;
    }
    let server = Server::start(&db, &[("TIDINGS__HTTP__WRITE_TIMEOUT", "1h")]).await;
    let mut good = Sse::open(&server.bridge, &member("acme"), "acme", "").await;
    let before = server.resident_bytes();
    let mut readers = Vec::new();
    for _ in 0..60 {
        let path = format!("/v1/tenants/acme/events?after={old}");
        readers.push(stopped(server.bridge.address, &path, "accept: text/event-stream\r\n").await);
    }
    connected(&server.bridge, 61).await;
    eventually("all have what they take", || async {
        metric(&server.bridge, "tidings_turns_taken").await + metric(&server.bridge, "tidings_turns_awaited").await
            == 0.0
    })
    .await;
    db.sentinel("acme").await;
    assert!(good.until_sentinel().await.is_empty());
    let grown = server.resident_bytes().saturating_sub(before);
    // What the system holds for their sockets is not counted. A page of 250 rows for each would be 120 MiB, and grow.
    assert!(grown < 60 << 20, "{} KiB for each of 60", grown / 60 / 1024);
}

/// `tidings serve` in a process of its own, whose memory can be looked at.
struct Server {
    child: tokio::process::Child,
    bridge: Bridge,
}

impl Server {
    async fn start(db: &Database, more: &[(&str, &str)]) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listen = address.to_string();
        let environment = [
            ("TIDINGS__DATABASE__URL", &*db.url),
            ("TIDINGS__DATABASE__MIGRATE", "false"),
            ("TIDINGS__HTTP__LISTEN", &listen),
            ("TIDINGS__AUTH__SECRET", SECRET),
            ("TIDINGS__LIMITS__CONNECTIONS_PER_USER", "10000"),
            ("TIDINGS__LIMITS__OPENS_PER_USER", "10000"),
        ];
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.arg("serve").env_clear().envs(environment).envs(more.iter().copied()).kill_on_drop(true);
        let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let bridge = Bridge::elsewhere(address);
        eventually("the server is ready", || async {
            reqwest::get(bridge.url("/readyz")).await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        Self { child, bridge }
    }

    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

#[tokio::test]
async fn what_was_logged_and_never_notified_is_found_by_an_audit() {
    let db = Database::new().await;
    db.run("select tidings.watch('public.documents', tenant => 'tenant_id', notify => false)").await;
    let bridge = Bridge::start(&db).await;
    let token = member("acme");
    let (mut sse, mut ws) =
        (Sse::open(&bridge, &token, "acme", "").await, Ws::open(&bridge, &token, "acme", json!({})).await);
    db.run("insert into documents (id, tenant_id, name) values ('quiet', 'acme', 'x')").await;
    db.run("insert into documents (tenant_id, id, name) select 'acme', i, 'x' from generate_series(100, 199) i").await;
    let (by_sse, by_ws) = (sse.take(101).await, [ws.next().await, ws.next().await]);
    assert_eq!(by_sse[0]["subject"], "quiet");
    assert_eq!(by_sse[..2], by_ws[..]);
    eventually("all are counted", || async { metric(&bridge, "tidings_events_audited_total").await == 101.0 }).await;
    // Nothing comes twice.
    db.sentinel("acme").await;
    assert_eq!(sse.until_sentinel().await.len(), 0);
}

#[tokio::test]
async fn a_two_phase_commit_on_a_table_without_notify_arrives() {
    let settings = vec![("max_prepared_transactions".to_owned(), "4".to_owned())];
    let server = PrivatePostgres::start(Options { settings, ..Options::default() }).await.unwrap();
    let db = Database::fresh_on(&server).await;
    db.run("select tidings.watch('public.documents', tenant => 'tenant_id', notify => false)").await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    for (id, end) in [("kept", "commit"), ("gone", "rollback")] {
        db.run(&format!("begin; insert into documents (id, tenant_id, name) values ('{id}', 'acme', 'x')")).await;
        db.run(&format!("prepare transaction '{id}'")).await;
        // Checkpoints pass it by while it is prepared.
        db.sentinel("acme").await;
        assert_eq!(sse.until_sentinel().await.len(), 0);
        db.run(&format!("{end} prepared '{id}'")).await;
        if end == "commit" {
            assert_eq!(events_of(&sse.take(1).await), [("documents.inserted".into(), id.into())]);
        }
    }
    db.sentinel("acme").await;
    assert_eq!(sse.until_sentinel().await.len(), 0);
}
