//! HTTP/2 over TLS: one connection for all tabs of a browser, and bounds on what one client can make of it.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use warp::http::{Request, Response, StatusCode};

use crate::support::{Answer, Bridge, Certificate, Database, Folder, Sse, Tls, admin, eventually, member};

const PATIENCE: Duration = Duration::from_secs(20);

/// A client of one connection.
struct Client {
    send: SendRequest<Bytes>,
    authority: String,
    /// How the connection ended.
    ended: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    /// With so much room for each stream; all together have plenty.
    async fn open(bridge: &Bridge, certificate: &Certificate, window: u32) -> Self {
        let tls = certificate.connect(bridge.address, &["h2"]).await;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(64 << 20);
        let (send, connection) = builder.handshake(tls).await.unwrap();
        let ended = TaskTracker::new().spawn(connection);
        Self { send, authority: bridge.address.to_string(), ended }
    }

    fn request(&self, method: &str, path: &str) -> warp::http::request::Builder {
        Request::builder().method(method).uri(format!("https://{}{path}", self.authority))
    }

    async fn answer(&self, request: Request<()>) -> Result<Response<RecvStream>, h2::Error> {
        let (answer, _) = self.send.clone().ready().await?.send_request(request, true)?;
        timeout(PATIENCE, answer).await.expect("no answer")
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.answer(self.request("GET", path).body(()).unwrap()).await.unwrap();
        (answer.status(), Text::from(answer.into_body()).rest().await.unwrap())
    }

    async fn stream(&self) -> Text {
        let request = self.request("GET", "/v1/tenants/acme/events").header("accept", "text/event-stream");
        let request = request.header("authorization", format!("Bearer {}", member("acme"))).body(()).unwrap();
        let answer = self.answer(request).await.unwrap();
        assert_eq!(
            (answer.status(), answer.headers()["content-type"].as_bytes()),
            (StatusCode::OK, &b"text/event-stream"[..])
        );
        Text::from(answer.into_body())
    }
}

/// A body that is read piece by piece.
struct Text {
    body: RecvStream,
    read: String,
}

impl From<RecvStream> for Text {
    fn from(body: RecvStream) -> Self {
        Self { body, read: String::new() }
    }
}

impl Text {
    /// Reads one piece; none at the end.
    async fn piece(&mut self) -> Result<Option<()>, h2::Error> {
        let piece = timeout(PATIENCE, self.body.data()).await.expect("nothing arrived").transpose()?;
        Ok(piece.map(|piece| {
            self.body.flow_control().release_capacity(piece.len()).unwrap();
            self.read.push_str(std::str::from_utf8(&piece).unwrap());
        }))
    }

    async fn until(&mut self, word: &str) {
        while !self.read.contains(word) {
            self.piece().await.unwrap().expect("the stream ended");
        }
    }

    async fn rest(mut self) -> Result<String, h2::Error> {
        while self.piece().await?.is_some() {}
        Ok(self.read)
    }
}

async fn metric(bridge: &Bridge, name: &str) -> f64 {
    let text = Answer::of(bridge.request("GET", "/metrics")).await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

async fn served(more: &[(&str, &str)]) -> (Database, Certificate, Bridge) {
    let (db, certificate) = (Database::new().await, Certificate::new());
    let bridge = Bridge::secure(&db, &certificate, more).await;
    (db, certificate, bridge)
}

async fn hears(db: &Database, sse: &mut Sse) {
    db.sentinel("acme").await;
    sse.until_sentinel().await;
}

#[tokio::test]
async fn thirty_streams_of_a_browser_share_one_connection_and_each_hears_everything() {
    let (db, certificate, bridge) = served(&[]).await;
    let client = Client::open(&bridge, &certificate, 1 << 20).await;
    let mut streams = Vec::new();
    for _ in 0..30 {
        streams.push(client.stream().await);
    }
    db.run("insert into documents (tenant_id, id, name) select 'acme', 'd' || i, 'x' from generate_series(1, 100) i")
        .await;
    db.sentinel("acme").await;
    for stream in &mut streams {
        stream.until("\"type\":\"sentinel\"").await;
        assert_eq!(stream.read.matches("\"type\":\"documents.inserted\"").count(), 100);
    }
    // Beside them there is room for requests.
    assert_eq!(client.get("/livez").await.0, StatusCode::OK);
    assert_eq!(metric(&bridge, "tidings_connections{transport=\"sse\"}").await, 30.0);
}

#[tokio::test]
async fn browsers_get_http2_by_tls_and_others_http1() {
    let (_db, certificate, bridge) = served(&[]).await;
    let answer = certificate.client().get(bridge.url("/livez")).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    for offered in [&[][..], &["http/1.1"]] {
        let mut tls = certificate.connect(bridge.address, offered).await;
        tls.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tls.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn a_stream_whose_window_stays_closed_ends_alone() {
    let (db, certificate, bridge) = served(&[("http.write_timeout", "2s")]).await;
    let client = Client::open(&bridge, &certificate, 64 << 10).await;
    let (mut stopped, mut reader) = (client.stream().await, client.stream().await);
    let emit = "select tidings.emit('acme', 'numbered', jsonb_build_object('n', i, 'text', repeat('x', 400))) from generate_series(1, 5000) i";
    db.run(emit).await;
    db.sentinel("acme").await;
    reader.until("\"type\":\"sentinel\"").await;
    assert_eq!(reader.read.matches("\"type\":\"numbered\"").count(), 5000);
    eventually("it is reset", || async { metric(&bridge, "tidings_http2_streams_stalled_total").await == 1.0 }).await;
    // What was in its window, and then the reset.
    let reset = loop {
        match timeout(PATIENCE, stopped.body.data()).await.unwrap() {
            Some(Ok(piece)) => stopped.read += std::str::from_utf8(&piece).unwrap(),
            Some(Err(error)) => break error,
            None => panic!("it ended well"),
        }
    };
    assert_eq!(reset.reason(), Some(Reason::CANCEL));
    assert!(stopped.read.len() <= 64 << 10);
    reader.read.clear();
    db.sentinel("acme").await;
    reader.until("\"type\":\"sentinel\"").await;
    assert_eq!(metric(&bridge, "tidings_connections{transport=\"sse\"}").await, 1.0);
}

/// A connection below HTTP/2, after the preface and empty settings.
async fn frames(bridge: &Bridge, certificate: &Certificate) -> Tls {
    let mut tls = certificate.connect(bridge.address, &["h2"]).await;
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    tls.write_all(&frame(4, 0, 0, b"")).await.unwrap();
    tls
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Whether the server closes it.
async fn closed(tls: &mut Tls) -> bool {
    let mut rest = Vec::new();
    timeout(PATIENCE, tls.read_to_end(&mut rest)).await.is_ok()
}

/// CVE-2023-44487. By hand, since the library cuts itself off when its server does not.
#[tokio::test]
async fn a_client_that_opens_and_resets_without_end_is_cut_off() {
    let (db, certificate, bridge) = served(&[]).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let (mut read, mut write) = tokio::io::split(frames(&bridge, &certificate).await);
    let resetting = async {
        for batch in 0..2000 {
            let pairs = (0..100).map(|n| 1 + 2 * (batch * 100 + n));
            let bytes: Vec<u8> = pairs
                .flat_map(|id| [frame(1, 5, id, &[0x82, 0x87, 0x84]), frame(3, 0, id, &[0, 0, 0, 8])].concat())
                .collect();
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        panic!("200000 streams were opened and reset");
    };
    let (mut answer, mut rest) = (Vec::new(), async |answer: &mut Vec<u8>| _ = read.read_to_end(answer).await);
    timeout(PATIENCE, async { tokio::join!(resetting, rest(&mut answer)) }).await.expect("it is not closed");
    // ENHANCE_YOUR_CALM ends a GOAWAY without a word, if it was not lost with the connection.
    let told = |bytes: &[u8]| bytes.windows(4).any(|code| code == [0, 0, 0, 11]);
    assert!(told(&answer) || answer.is_empty(), "{answer:?}");
    hears(&db, &mut good).await;
}

#[tokio::test]
async fn a_head_in_endless_continuations_is_cut_off() {
    let (db, certificate, bridge) = served(&[]).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    for piece in [&b""[..], &[0x82; 1], &[0; 16 << 10]] {
        let mut tls = frames(&bridge, &certificate).await;
        // HEADERS without END_HEADERS: GET, https, /.
        tls.write_all(&frame(1, 0, 1, &[0x82, 0x87, 0x84])).await.unwrap();
        let mut sent = 0;
        while tls.write_all(&frame(9, 0, 1, piece)).await.is_ok() {
            sent += 1;
            assert!(sent < 1_000_000, "{} bytes each", piece.len());
        }
    }
    hears(&db, &mut good).await;
}

#[tokio::test]
async fn what_is_no_http2_or_only_half_of_it_is_closed() {
    let (db, certificate, bridge) = served(&[("http.header_timeout", "1s")]).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let half = &b"PRI * HTTP/2.0\r\n\r\nSM"[..];
    for sent in [b"", half, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", &[0xff; 1024]] {
        let mut tls = certificate.connect(bridge.address, &["h2"]).await;
        tls.write_all(sent).await.unwrap();
        assert!(closed(&mut tls).await, "{sent:?}");
    }
    for (what, bytes) in [
        ("nothing more", vec![]),
        ("half a head", frame(1, 0, 1, &[0x82])),
        ("data of no stream", frame(0, 0, 1, b"x")),
        ("an even stream", frame(1, 5, 2, &[0x82, 0x87, 0x84])),
        ("a frame beyond the size agreed on", frame(0, 0, 1, &[0; 70_000])),
        ("a head that cannot be unpacked", frame(1, 5, 1, &[0xff; 64])),
        (
            "a window beyond the largest",
            [frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])].concat(),
        ),
    ] {
        let mut tls = frames(&bridge, &certificate).await;
        tls.write_all(&bytes).await.unwrap();
        assert!(closed(&mut tls).await, "{what}");
    }
    hears(&db, &mut good).await;
}

#[tokio::test]
async fn a_connection_is_closed_when_nothing_is_asked_and_not_while_a_stream_is_open() {
    let (db, certificate, bridge) = served(&[("http.header_timeout", "1s")]).await;
    let (idle, busy) =
        (Client::open(&bridge, &certificate, 1 << 20).await, Client::open(&bridge, &certificate, 1 << 20).await);
    let mut stream = busy.stream().await;
    assert_eq!(idle.get("/livez").await.0, StatusCode::OK);
    timeout(PATIENCE, idle.ended).await.expect("it stays open").unwrap().unwrap();
    db.sentinel("acme").await;
    stream.until("\"type\":\"sentinel\"").await;
    assert_eq!(busy.get("/livez").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_gone() {
    let (db, certificate, bridge) = served(&[("http.write_timeout", "1s")]).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut tls = frames(&bridge, &certificate).await;
    let mut head = vec![0x82, 0x87, 0x04, 23];
    head.extend(b"/v1/tenants/acme/events");
    for (name, value) in
        [("accept", "text/event-stream".to_owned()), ("authorization", format!("Bearer {}", member("acme")))]
    {
        head.extend([0x00, name.len() as u8]);
        head.extend(name.as_bytes());
        // Lengths of 127 and more go on in the next byte, by seven bits.
        match value.len() {
            short @ 0..127 => head.push(short as u8),
            long => head.extend([127, ((long - 127) % 128) as u8 | 0x80, ((long - 127) / 128) as u8]),
        }
        head.extend(value.as_bytes());
    }
    tls.write_all(&frame(1, 5, 1, &head)).await.unwrap();
    let open = "tidings_connections{transport=\"sse\"}";
    eventually("its stream is open", || async { metric(&bridge, open).await == 2.0 }).await;
    assert!(closed(&mut tls).await, "it stays open");
    eventually("its stream is gone", || async { metric(&bridge, open).await == 1.0 }).await;
    hears(&db, &mut good).await;
}

#[tokio::test]
async fn floods_of_pings_settings_and_empty_frames_cost_nobody_else() {
    let (db, certificate, bridge) = served(&[]).await;
    let mut good = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let mut head = frame(1, 4, 1, &[0x83, 0x87, 0x84]);
    head.extend(frame(0, 0, 1, b""));
    for (what, flood) in [
        ("pings", frame(6, 0, 0, &[7; 8])),
        ("settings", frame(4, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("priorities", frame(2, 0, 3, &[0, 0, 0, 0, 1])),
        ("heads and empty data", head),
        ("unknown frames", frame(0x7f, 0, 0, &[1; 64])),
    ] {
        let mut tls = frames(&bridge, &certificate).await;
        let flood = flood.repeat(1000);
        // It reads no answer, so that it is stopped by its own window, or goes on until the sentinel has come.
        let flooding = async {
            while tls.write_all(&flood).await.is_ok() {
                tokio::task::yield_now().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = flooding => {}
            () = hears(&db, &mut good) => {}
        }
        drop(tls);
        assert_eq!(bridge.get("/livez").await.0, 200, "{what}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_with_a_word() {
    let (_db, certificate, bridge) = served(&[]).await;
    let client = Client::open(&bridge, &certificate, 1 << 20).await;
    let long = format!("/livez?x={}", "x".repeat(21 << 10));
    assert_eq!(client.get(&long).await.0, StatusCode::URI_TOO_LONG);
    let many = (0..80).fold(client.request("GET", "/livez"), |request, n| request.header(format!("x-{n}"), "1"));
    let answer = client.answer(many.body(()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let text = Text::from(answer.into_body()).rest().await.unwrap();
    assert!(text.contains("\"code\":\"header_too_large\""), "{text}");
    let large = client.request("GET", "/livez").header("x-large", "x".repeat(100 << 10)).body(()).unwrap();
    let refused = client.answer(large).await;
    assert!(refused.is_err() || refused.unwrap().status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    // Tunnels, and WebSockets in streams, are not offered.
    let tunnel = Request::builder().method("CONNECT").uri("example.com:443").body(()).unwrap();
    assert_eq!(client.answer(tunnel).await.unwrap().status(), StatusCode::NOT_IMPLEMENTED);
    assert_eq!(client.get("/livez").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_file_is_uploaded_and_one_that_stalls_takes_no_more_than_its_window() {
    let folder = Folder::new();
    let (_db, certificate, bridge) = served(&[("uploads.directory", folder.path())]).await;
    let client = Client::open(&bridge, &certificate, 1 << 20).await;
    let put = |name: &str| {
        let request = client.request("PUT", &format!("/v1/tenants/acme/uploads/{name}"));
        request.header("authorization", format!("Bearer {}", member("acme"))).body(()).unwrap()
    };
    let whole = Bytes::from(vec![7; 3 << 20]);
    let (answer, mut body) = client.send.clone().ready().await.unwrap().send_request(put("a"), false).unwrap();
    body.send_data(whole, true).unwrap();
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    // Bodies that nobody reads: of a caller without a credential, on as many streams as there may be.
    let mut unread = Vec::new();
    for _ in 0..50 {
        let request = client.request("POST", "/v1/tenants/acme/events").body(()).unwrap();
        let (answer, mut body) = client.send.clone().ready().await.unwrap().send_request(request, false).unwrap();
        body.send_data(Bytes::from(vec![b' '; 1 << 20]), false).unwrap();
        unread.push((answer, body));
    }
    for (answer, _) in unread {
        let answer = timeout(PATIENCE, answer).await.unwrap();
        assert!(answer.is_err() || answer.unwrap().status() == StatusCode::UNAUTHORIZED);
    }
    assert_eq!(client.get("/livez").await.0, StatusCode::OK);
}

#[tokio::test]
async fn streams_of_one_connection_are_told_goodbye_and_the_connection_ends_with_them() {
    let (_db, certificate, bridge) = served(&[("shutdown.drain", "20s")]).await;
    let client = Client::open(&bridge, &certificate, 1 << 20).await;
    let (mut one, mut two) = (client.stream().await, client.stream().await);
    bridge.begin_stop();
    for stream in [&mut one, &mut two] {
        stream.until("event: bye").await;
        assert!(stream.read.contains("\"reason\":\"draining\""));
        while stream.piece().await.unwrap().is_some() {}
    }
    let Client { send, ended, .. } = client;
    drop(send);
    timeout(PATIENCE, ended).await.expect("it stays open").unwrap().unwrap();
    timeout(PATIENCE, bridge.stop()).await.expect("it waits for the connection");
}

#[tokio::test]
async fn more_streams_than_are_offered_wait_or_are_refused() {
    let (db, certificate, bridge) = served(&[("limits.connections_per_user", "1000")]).await;
    let client = Client::open(&bridge, &certificate, 64 << 10).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(client.stream().await);
    }
    // The client's library keeps to what was agreed and waits.
    assert!(timeout(Duration::from_millis(300), client.stream()).await.is_err());
    drop(streams.pop());
    streams.push(client.stream().await);
    db.sentinel("acme").await;
    for stream in &mut streams {
        stream.until("\"type\":\"sentinel\"").await;
    }
    let rows = bridge.get_as(&admin(), "/v1/stats").await.1["connections"].as_array().unwrap().len();
    assert_eq!(rows, 100);
    assert_eq!(bridge.post_as(&member("acme"), "/v1/tickets", &json!({})).await.0, 201);
}
