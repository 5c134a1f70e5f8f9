//! Whatever a socket brings, it ends, and costs nobody else: bytes as no client library would send them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{Bridge, Certificate, Database, SECRET, Sse, Ws, eventually, member, token};

const PATIENCE: Duration = Duration::from_secs(30);

/// What comes back until the server closes.
async fn say(bridge: &Bridge, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(bridge.address).await.unwrap();
    // It may be closed before everything is written.
    let _ = socket.write_all(bytes).await;
    answer(&mut socket).await
}

async fn answer(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset ends it as well.
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("it is not closed");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Statuses of all answers that are in a text.
fn statuses(answer: &str) -> Vec<u16> {
    let starts = answer.split("HTTP/1.").skip(1);
    starts.filter_map(|rest| rest.split(' ').nth(1)?.parse().ok()).collect()
}

async fn hears(db: &Database, sse: &mut Sse) {
    db.sentinel("acme").await;
    sse.until_sentinel().await;
}

fn publisher() -> String {
    token(json!({"sub": "bot", "tenant": "acme", "role": "service"}))
}

#[tokio::test]
async fn nothing_is_read_behind_what_two_readers_could_understand_differently() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let post = format!(
        "POST /v1/tenants/acme/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        publisher()
    );
    let body = r#"{"type":"smuggled"}"#;
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let length = body.len();
    let behind = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    for (what, head, rest) in [
        ("two lengths", format!("content-length: {length}\r\ncontent-length: 4\r\n\r\n"), body),
        ("a signed length", format!("content-length: +{length}\r\n\r\n"), body),
        ("a negative length", "content-length: -1\r\n\r\n".into(), body),
        ("a length in hexadecimal", "content-length: 0x13\r\n\r\n".into(), body),
        ("a length beyond any", "content-length: 99999999999999999999\r\n\r\n".into(), body),
        ("a blank before the colon", format!("content-length : {length}\r\n\r\n"), body),
        ("another coding", "transfer-encoding: xchunked\r\n\r\n".into(), &chunked),
        ("chunked and another", "transfer-encoding: chunked, identity\r\n\r\n".into(), &chunked),
        ("chunked behind a control character", "transfer-encoding: \x0bchunked\r\n\r\n".into(), &chunked),
        ("a folded line", "x-a: 1\r\n transfer-encoding: chunked\r\n\r\n".into(), &chunked),
        ("NUL in a value", format!("x-a: 1\0\r\ncontent-length: {length}\r\n\r\n"), body),
        ("CR in a value", format!("x-a: 1\rx-b: 2\r\ncontent-length: {length}\r\n\r\n"), body),
        ("a line without a colon", format!("x-a\r\ncontent-length: {length}\r\n\r\n"), body),
        ("two hosts", format!("host: y\r\ncontent-length: {length}\r\n\r\n"), body),
        ("a packed body", format!("content-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"), body),
        ("a chunk of no size", "transfer-encoding: chunked\r\n\r\n".into(), "zz\r\n{}\r\n0\r\n\r\n"),
        ("a chunk of a negative size", "transfer-encoding: chunked\r\n\r\n".into(), "-2\r\n{}\r\n0\r\n\r\n"),
        ("a chunk beyond any", "transfer-encoding: chunked\r\n\r\n".into(), "11111111111111111\r\n{}\r\n0\r\n\r\n"),
        ("a chunk that is longer than it says", "transfer-encoding: chunked\r\n\r\n".into(), "1\r\n{}\r\n0\r\n\r\n"),
        ("a chunk that ends with LF", "transfer-encoding: chunked\r\n\r\n".into(), "2\n{}\n0\n\n"),
    ] {
        let answer = say(&bridge, format!("{post}{head}{rest}{behind}").as_bytes()).await;
        let found = statuses(&answer);
        assert!(found.len() <= 1 && found.iter().all(|status| (400..500).contains(status)), "{what}: {answer}");
    }
    assert_eq!(db.text("select count(*)::text from tidings.events where type = 'smuggled'").await, "0");
    // Of two lengths the chunks count, as the standard says, and the connection ends with it.
    let length = format!("content-length: {length}\r\n");
    for both in [format!("{length}transfer-encoding: chunked\r\n"), format!("transfer-encoding: chunked\r\n{length}")] {
        let answer = say(&bridge, format!("{post}{both}\r\n{chunked}{behind}").as_bytes()).await;
        assert_eq!(statuses(&answer), [201], "{answer}");
    }
    // The same, as it should be.
    let good = format!("{post}{length}\r\n{body}{behind}GET / HTTP/1.1\r\n\r\n");
    assert_eq!(statuses(&say(&bridge, good.as_bytes()).await), [201, 200, 400]);
    assert_eq!(db.text("select count(*)::text from tidings.events where type = 'smuggled'").await, "3");
}

#[tokio::test]
async fn heads_of_every_shape_are_answered_once_and_clearly() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let end = "connection: close\r\n\r\n";
    let fields = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let long = |bytes: usize| "x".repeat(bytes);
    for (what, request, status, code) in [
        ("no host", format!("GET /livez HTTP/1.1\r\n{end}"), 400, "bad_request"),
        ("an empty host", format!("GET /livez HTTP/1.1\r\nhost:\r\n{end}"), 400, "bad_request"),
        ("a host with a path", format!("GET /livez HTTP/1.1\r\nhost: x/y\r\n{end}"), 400, "bad_request"),
        ("a host with a user", format!("GET /livez HTTP/1.1\r\nhost: a@x\r\n{end}"), 400, "bad_request"),
        ("two hosts in one", format!("GET /livez HTTP/1.1\r\nhost: x, y\r\n{end}"), 400, "bad_request"),
        ("another host", format!("GET http://y/livez HTTP/1.1\r\nhost: x\r\n{end}"), 400, "bad_request"),
        ("the whole address", format!("GET http://x/livez HTTP/1.1\r\nhost: x\r\n{end}"), 200, ""),
        ("an asterisk", format!("OPTIONS * HTTP/1.1\r\nhost: x\r\n{end}"), 404, "not_found"),
        ("a tunnel", format!("CONNECT y:443 HTTP/1.1\r\nhost: y:443\r\n{end}"), 501, "no_tunnel"),
        ("TRACE", format!("TRACE /livez HTTP/1.1\r\nhost: x\r\n{end}"), 405, "method_not_allowed"),
        ("OPTIONS", format!("OPTIONS /livez HTTP/1.1\r\nhost: x\r\n{end}"), 405, "method_not_allowed"),
        ("HEAD", format!("HEAD /livez HTTP/1.1\r\nhost: x\r\n{end}"), 200, ""),
        ("a method of its own", format!("BREW /livez HTTP/1.1\r\nhost: x\r\n{end}"), 405, "method_not_allowed"),
        ("a long address", format!("GET /{} HTTP/1.1\r\nhost: x\r\n{end}", long(21 << 10)), 414, "address_too_long"),
        ("many fields", format!("GET /livez HTTP/1.1\r\nhost: x\r\n{}{end}", fields(70)), 431, "header_too_large"),
        (
            "a long field",
            format!("GET /livez HTTP/1.1\r\nhost: x\r\na: {}\r\n{end}", long(33 << 10)),
            431,
            "header_too_large",
        ),
        ("far too many fields", format!("GET /livez HTTP/1.1\r\nhost: x\r\n{}{end}", fields(5000)), 431, ""),
        ("a field beyond reading", format!("GET /livez HTTP/1.1\r\nhost: x\r\na: {}\r\n{end}", long(1 << 20)), 431, ""),
        ("an address beyond reading", format!("GET /{} HTTP/1.1\r\nhost: x\r\n{end}", long(1 << 20)), 431, ""),
        ("HTTP/0.9", "GET /livez\r\n\r\n".into(), 400, ""),
        ("no version known", format!("GET /livez HTTP/7.0\r\nhost: x\r\n{end}"), 400, ""),
        ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01".into(), 400, ""),
        (
            "an upgrade to HTTP/2",
            "GET /livez HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\nconnection: upgrade, http2-settings, close\r\n\r\n".to_owned(),
            200,
            "",
        ),
        (
            "an upgrade to anything",
            "GET /livez HTTP/1.1\r\nhost: x\r\nupgrade: telnet\r\nconnection: upgrade, close\r\n\r\n".to_owned(),
            200,
            "",
        ),
    ] {
        let answer = say(&bridge, request.as_bytes()).await;
        assert_eq!(statuses(&answer), [status], "{what}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")) || code.is_empty(), "{what}: {answer}");
    }
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_it_will_be_read() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let head = |token: &str, length: u64| {
        format!(
            "POST /v1/tenants/acme/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n"
        )
    };
    let body = r#"{"type":"asked"}"#;
    let mut socket = TcpStream::connect(bridge.address).await.unwrap();
    socket.write_all(head(&publisher(), body.len() as u64).as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    timeout(PATIENCE, socket.read_exact(&mut interim)).await.unwrap().unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(statuses(&answer(&mut socket).await), [201]);
    for (token, length, status) in [("nobody", 100, 401), (&member("acme"), 100, 403), (&publisher(), 1 << 40, 413)] {
        assert_eq!(statuses(&say(&bridge, head(token, length).as_bytes()).await), [status]);
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_is_given_up() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let head = |more: &str| {
        format!(
            "POST /v1/tenants/acme/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
             content-type: application/json\r\n{more}\r\n\r\n",
            publisher()
        )
    };
    // Without an end.
    let mut endless = TcpStream::connect(bridge.address).await.unwrap();
    endless.write_all(head("transfer-encoding: chunked").as_bytes()).await.unwrap();
    let (mut read, mut write) = endless.split();
    let (sending, answered) = (
        async {
            while write
                .write_all(b"400\r\n                                                                ")
                .await
                .is_ok()
                && write.write_all(&[b' '; 960]).await.is_ok()
                && write.write_all(b"\r\n").await.is_ok()
            {}
        },
        async {
            let mut text = Vec::new();
            let _ = timeout(PATIENCE, read.read_to_end(&mut text)).await.expect("it is not closed");
            String::from_utf8_lossy(&text).into_owned()
        },
    );
    let ((), answered) = tokio::join!(sending, answered);
    // The answer may be lost to the reset that the unread rest causes.
    assert!(statuses(&answered).iter().all(|status| *status == 413), "{answered}");
    // A byte now and then, and nothing at all.
    let mut trickle = TcpStream::connect(bridge.address).await.unwrap();
    trickle.write_all(head("content-length: 1000").as_bytes()).await.unwrap();
    let (mut read, mut write) = trickle.split();
    let trickling = async {
        while write.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut text = [0; 12];
    tokio::select! {
        () = trickling => panic!("it was closed without a word"),
        read = timeout(PATIENCE, read.read_exact(&mut text)) => { read.unwrap().unwrap(); }
    }
    assert_eq!(&text, b"HTTP/1.1 408");
    // More than it said is a request of its own, and none.
    let more = format!(
        "{}{{\"type\":\"n\"}}more than that\r\n\r\n",
        head("content-length: 12").replace("connection: close\r\n", "")
    );
    assert_eq!(statuses(&say(&bridge, more.as_bytes()).await), [201, 400]);
    hears(&db, &mut good).await;
}

#[tokio::test]
async fn a_head_that_takes_its_time_is_given_up_however_it_comes() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("http.header_timeout", "1s")]).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let whole = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    for sent in ["", "\r\n", "G", "GET /livez HTTP/1.1\r\nhost: x\r\nx-a: ", whole, "PRI * HTTP/2.0\r\n"] {
        let answer = say(&bridge, sent.as_bytes()).await;
        let expected: &[u16] = if sent == whole { &[200] } else { &[] };
        assert!(statuses(&answer) == expected || statuses(&answer) == [400], "{sent:?}: {answer}");
    }
    let mut drops = TcpStream::connect(bridge.address).await.unwrap();
    let dropping = async {
        while drops.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, dropping).await.expect("a byte at a time keeps it open");
    hears(&db, &mut good).await;
}

#[tokio::test]
async fn whoever_asks_without_reading_the_answers_is_closed() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("http.write_timeout", "2s")]).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut socket = TcpStream::connect(bridge.address).await.unwrap();
    let many = "GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    let asking = async { while socket.write_all(many.as_bytes()).await.is_ok() {} };
    timeout(PATIENCE, asking).await.expect("it is not closed");
    hears(&db, &mut good).await;
}

#[tokio::test]
async fn idle_sockets_give_their_places_back() {
    let db = Database::new().await;
    // Places for 464 sockets, and three times as many.
    let bridge = Bridge::with(&db.url, &[("limits.connections", "400"), ("http.header_timeout", "2s")]).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut idle = Vec::new();
    for _ in 0..1300 {
        idle.push(TcpStream::connect(bridge.address).await.unwrap());
    }
    hears(&db, &mut good).await;
    // Behind all of them.
    let mut late = Sse::open(&bridge, &member("acme"), "acme", "").await;
    hears(&db, &mut late).await;
    for socket in &mut idle {
        assert_eq!(answer(socket).await, "");
    }
}

fn ws_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    // Masked with zeros, so that the payload stays as it is.
    let mut bytes = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
    bytes.extend(payload);
    bytes
}

#[tokio::test]
async fn a_websocket_that_floods_without_reading_is_closed_and_costs_nobody_else() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("http.write_timeout", "2s")]).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    for (what, flood) in [("pings", ws_frame(0x89, &[b'p'; 125])), ("messages", ws_frame(0x81, br#"{"type":"ping"}"#))]
    {
        let mut ws = Ws::connect(&bridge, &member("acme")).await;
        let flood = flood.repeat(100);
        let flooding = async { while ws.socket.get_mut().write_all(&flood).await.is_ok() {} };
        timeout(PATIENCE, flooding).await.unwrap_or_else(|_| panic!("{what}: it is not closed"));
    }
    hears(&db, &mut good).await;
}

#[tokio::test]
async fn a_message_in_endless_pieces_is_closed_when_it_is_too_long() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut ws = Ws::connect(&bridge, &member("acme")).await;
    ws.socket.get_mut().write_all(&ws_frame(0x01, b"{")).await.unwrap();
    // What is empty adds nothing, and is not kept either.
    let empty = ws_frame(0x00, b"").repeat(1000);
    for _ in 0..100 {
        ws.socket.get_mut().write_all(&empty).await.unwrap();
    }
    let tiny = ws_frame(0x00, b" ").repeat(1000);
    let closing = async { while ws.socket.get_mut().write_all(&tiny).await.is_ok() {} };
    timeout(PATIENCE, closing).await.expect("it is not closed");
    hears(&db, &mut good).await;
}

#[tokio::test]
async fn compression_of_a_websocket_is_not_agreed_to() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame\r\n\r\n",
        member("acme")
    );
    let mut socket = TcpStream::connect(bridge.address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    // A packed frame: the reserved bit belongs to what was not agreed to.
    socket.write_all(&ws_frame(0xc1, b"\xaa\x56\x2a")).await.unwrap();
    let answer = answer(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 101") && !answer.to_ascii_lowercase().contains("extensions"), "{answer}");
}

/// One client of a storm, in as little memory as a socket takes.
struct Light {
    socket: TcpStream,
    text: String,
}

impl Light {
    async fn open(bridge: &Bridge, after: &str) -> Self {
        let mut socket = TcpStream::connect(bridge.address).await.unwrap();
        let request = format!(
            "GET /v1/tenants/acme/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\
             last-event-id: {after}\r\n\r\n",
            member("acme")
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        Self { socket, text: String::new() }
    }

    /// As clients do: whoever is told to wait, because everybody reads the log at once, or cut off, comes again with the same cursor.
    async fn served(bridge: &Bridge, after: &str) -> Self {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            let mut client = Self::open(bridge, after).await;
            if client.reads("event: hello").await {
                return client;
            }
            assert!(client.text.is_empty() || client.text.starts_with("HTTP/1.1 503"), "{}", client.text);
            assert!(Instant::now() < deadline, "it is never served");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Whether the word comes before the end, or before a refusal.
    async fn reads(&mut self, word: &str) -> bool {
        let mut buffer = [0; 4096];
        while !self.text.contains(word) {
            let read = timeout(Duration::from_secs(60), self.socket.read(&mut buffer)).await.expect("nothing arrived");
            let read = read.unwrap_or(0);
            if read == 0 || buffer.starts_with(b"HTTP/1.1 503") {
                self.text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                return false;
            }
            self.text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        true
    }

    async fn until(&mut self, word: &str) {
        assert!(self.reads(word).await, "it was closed: {}", self.text);
    }

    fn last_id(&self) -> String {
        self.text.rsplit("\nid: ").next().unwrap().split('\n').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_thousand_clients_that_come_back_at_once_miss_nothing() {
    let db = Database::new().await;
    let more = [("limits.connections_per_user", "2000"), ("shutdown.drain", "0s")];
    let first = Bridge::with(&db.url, &more).await;
    let mut clients = futures_util::future::join_all((0..1000).map(|_| Light::served(&first, ""))).await;
    db.run("select tidings.emit('acme', 'before')").await;
    for client in &mut clients {
        client.until("\"type\":\"before\"").await;
        client.until("}\n\n").await;
    }
    first.stop().await;
    db.run("select tidings.emit('acme', 'meanwhile', to_jsonb(i)) from generate_series(1, 20) i").await;
    let second = Bridge::with(&db.url, &more).await;
    let mut good = Sse::open(&second, &member("globex"), "globex", "").await;
    let cursors: Vec<String> = clients.iter().map(Light::last_id).collect();
    drop(clients);
    let mut back = futures_util::future::join_all(cursors.iter().map(|cursor| Light::served(&second, cursor))).await;
    db.sentinel("globex").await;
    good.until_sentinel().await;
    db.sentinel("acme").await;
    for client in &mut back {
        client.until("\"type\":\"sentinel\"").await;
        let missed = client.text.matches("\"type\":\"meanwhile\"").count();
        assert!(missed == 20 && !client.text.contains("event: reset"), "{missed}: {}", client.text);
    }
}

/// A server in a process of its own, behind a shell that sets what it may have.
async fn child(db: &Database, before: &str, more: &[(&str, String)]) -> (Child, Bridge) {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec {} serve", env!("CARGO_BIN_EXE_tidings"))]).env_clear();
    command.env("PATH", std::env::var("PATH").unwrap()).env("DATABASE_URL", &db.url);
    command.env("TIDINGS__AUTH__SECRET", SECRET).env("TIDINGS__HTTP__LISTEN", "127.0.0.1:0");
    command.envs(more.iter().map(|(key, value)| (*key, value)));
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().expect("it ended early");
    let bridge = Bridge::elsewhere(line.rsplit('/').next().unwrap().parse().unwrap());
    (child, bridge)
}

#[tokio::test]
async fn a_process_without_file_descriptors_serves_who_is_there_and_then_the_others() {
    let db = Database::new().await;
    let more = [("TIDINGS__HTTP__HEADER_TIMEOUT", "3s".to_owned())];
    let (_child, bridge) = child(&db, "ulimit -n 100;", &more).await;
    eventually("it is ready", || async { bridge.get("/readyz").await.0 == 200 }).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(bridge.address).await.unwrap());
    }
    hears(&db, &mut good).await;
    // Behind all of them, once they were given up.
    let text = timeout(Duration::from_secs(60), bridge.client().get(bridge.url("/metrics")).send()).await.unwrap();
    let text = text.unwrap().text().await.unwrap();
    let failures = text.lines().find_map(|line| line.strip_prefix("tidings_accept_failures_total ")).unwrap();
    assert!(failures.parse::<u64>().unwrap() > 0, "there were enough");
    hears(&db, &mut good).await;
}

/// Memory that a process holds, in bytes.
fn resident(child: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn an_idle_stream_costs_little_memory_also_with_tls() {
    const STREAMS: usize = 500;
    let (db, certificate) = (Database::new().await, Certificate::new());
    let request = format!(
        "GET /v1/tenants/acme/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\r\n",
        member("acme")
    );
    let user = ("TIDINGS__LIMITS__CONNECTIONS_PER_USER", "2000".to_owned());
    let files = [
        ("TIDINGS__HTTP__TLS_CERTIFICATE", certificate.chain()),
        ("TIDINGS__HTTP__TLS_KEY", certificate.key()),
        user.clone(),
    ];
    let (clear, bridge) = child(&db, "", &[user]).await;
    let before = resident(&clear);
    let mut sockets = Vec::new();
    for _ in 0..STREAMS {
        let mut socket = TcpStream::connect(bridge.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
        sockets.push(socket);
    }
    let of_clear = (resident(&clear) - before) / STREAMS;
    let (secure, bridge) = child(&db, "", &files).await;
    let before = resident(&secure);
    let mut sockets = Vec::new();
    for _ in 0..STREAMS {
        let mut socket = certificate.connect(bridge.address, &["http/1.1"]).await;
        socket.write_all(request.as_bytes()).await.unwrap();
        assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
        sockets.push(socket);
    }
    let of_tls = (resident(&secure) - before) / STREAMS;
    println!("an idle stream: {of_clear} bytes, with TLS {of_tls}");
    assert!(of_clear < 64 << 10 && of_tls < 128 << 10, "{of_clear} and {of_tls}");
}
