//! TLS of the listener: certificates that change while it serves, and what a page may know of it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidings::app::App;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::HandshakeKind;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{Answer, Bridge, Certificate, Database, Sse, certificate, eventually, member, settings};

/// Looks at its files all the time.
const EAGER: (&str, &str) = ("http.tls_refresh", "50ms");

async fn metric(bridge: &Bridge, name: &str) -> f64 {
    let text = Answer::of(bridge.request("GET", "/metrics")).await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// What a new connection is shown.
async fn shown(bridge: &Bridge, certificate: &Certificate) -> Vec<u8> {
    let tls = certificate.connect(bridge.address, &[]).await;
    tls.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_while_streams_go_on() {
    let (db, certificate) = (Database::new().await, Certificate::new());
    let bridge = Bridge::secure(&db, &certificate, &[EAGER]).await;
    assert_eq!(metric(&bridge, "tidings_tls_certificate_expires_seconds").await, 2_208_988_800.0);
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let renewed = certificate.renew(2041);
    eventually("it is shown", || async { shown(&bridge, &certificate).await == *renewed }).await;
    assert_eq!(metric(&bridge, "tidings_tls_certificate_expires_seconds").await, 2_240_611_200.0);
    db.sentinel("acme").await;
    assert_eq!(sse.until_sentinel().await.len(), 0);
}

#[tokio::test]
async fn a_broken_certificate_is_refused_and_the_old_one_goes_on() {
    let (db, certificate) = (Database::new().await, Certificate::new());
    let bridge = Bridge::secure(&db, &certificate, &[EAGER]).await;
    let before = shown(&bridge, &certificate).await;
    let chain = std::fs::read_to_string(certificate.chain()).unwrap();
    let (_, another) = certificate.sign(2042);
    let cut = &chain[..chain.len() / 2];
    let garbled = chain.replacen('M', "!", 3);
    let refused = "tidings_tls_reloads_total{outcome=\"refused\"}";
    for broken in ["", "hello", cut, &garbled, &another.pem()] {
        certificate.write(&certificate.chain(), broken);
        let told = metric(&bridge, refused).await;
        // The look that is going on may have begun before.
        eventually("it is refused", || async { metric(&bridge, refused).await >= told + 2.0 }).await;
        assert_eq!(shown(&bridge, &certificate).await, before, "{broken}");
    }
    std::fs::remove_file(certificate.chain()).unwrap();
    let told = metric(&bridge, refused).await;
    eventually("it is refused", || async { metric(&bridge, refused).await >= told + 2.0 }).await;
    let renewed = certificate.renew(2043);
    eventually("a good one is shown", || async { shown(&bridge, &certificate).await == *renewed }).await;
}

#[tokio::test]
async fn a_start_with_a_bad_pair_names_the_file_and_why() {
    let (db, certificate) = (Database::new().await, Certificate::new());
    let (chain, key) = (certificate.chain(), certificate.key());
    let (_, another) = certificate.sign(2042);
    let other = format!("{chain}.other");
    certificate.write(&other, &another.pem());
    let garbage = format!("{chain}.garbage");
    certificate.write(&garbage, "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
    for (certificate, its_key, named, why) in [
        ("/nowhere/chain.pem", key.as_str(), "http.tls_certificate /nowhere/chain.pem", "cannot be read: No such file"),
        (&chain, "/nowhere/key.pem", "http.tls_key /nowhere/key.pem", "cannot be read: No such file"),
        (&key, &key, "http.tls_certificate", "holds no certificate"),
        (&chain, &chain, "http.tls_key", "holds no unencrypted private key"),
        (&other, &key, "http.tls_key", "it is not the key of"),
        (&garbage, &key, "http.tls_certificate", "cannot be used"),
    ] {
        let more = [("http.tls_certificate", certificate), ("http.tls_key", its_key)];
        let error = App::build(&settings(&db.url, &more)).await.err().unwrap();
        assert!(error.to_string().contains(named) && error.to_string().contains(why), "{error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn a_session_is_resumed_also_behind_a_new_certificate() {
    let (db, certificate) = (Database::new().await, Certificate::new());
    let bridge = Bridge::secure(&db, &certificate, &[EAGER]).await;
    let config = certificate.config(&["http/1.1"]);
    let ask = async || {
        let mut tls = certificate::connect(bridge.address, config.clone()).await;
        tls.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tls.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        tls.get_ref().1.handshake_kind()
    };
    assert_eq!(ask().await, Some(HandshakeKind::Full));
    assert_eq!(ask().await, Some(HandshakeKind::Resumed));
    let renewed = certificate.renew(2041);
    eventually("it is shown", || async { shown(&bridge, &certificate).await == *renewed }).await;
    assert_eq!(ask().await, Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn a_websocket_over_tls_hears_everything_and_is_told_goodbye() {
    let (db, certificate) = (Database::new().await, Certificate::new());
    let bridge = Bridge::secure(&db, &certificate, &[]).await;
    let mut request = format!("wss://{}/v1/ws", bridge.address).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", member("acme")).parse().unwrap());
    let tls = certificate.connect(bridge.address, &["http/1.1"]).await;
    let (mut socket, _) = tokio_tungstenite::client_async(request, tls).await.unwrap();
    let subscribe = json!({"type": "subscribe", "id": "s", "tenant": "acme"});
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    // More than TLS and the socket take at once.
    let subscribed = |frame: &Value| frame["type"] == "subscribed";
    let mut next = async || match timeout(Duration::from_secs(20), socket.next()).await.unwrap()? {
        Ok(Message::Text(text)) => Some(serde_json::from_str::<Value>(&text).unwrap()),
        _ => None,
    };
    while !subscribed(&next().await.unwrap()) {}
    db.run("select tidings.emit('acme', 'large', jsonb_build_object('n', i, 'text', repeat('x', 4000))) from generate_series(1, 1000) i").await;
    let mut expected = 1;
    while expected <= 1000 {
        let frame = next().await.unwrap();
        if frame["type"] == "event" {
            assert_eq!(frame["event"]["data"]["n"], expected);
            expected += 1;
        }
    }
    bridge.begin_stop();
    while next().await.unwrap()["type"] != "bye" {}
}

#[tokio::test]
async fn half_a_handshake_is_given_up_and_costs_nobody_else() {
    let (db, certificate) = (Database::new().await, Certificate::new());
    let bridge = Bridge::secure(&db, &certificate, &[("http.header_timeout", "1s")]).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for sent in [&hello[..0], &hello[..1], &hello, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", &[0xff; 4096]] {
        let mut socket = TcpStream::connect(bridge.address).await.unwrap();
        socket.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        // An alert, or nothing.
        let ended = timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await;
        assert!(ended.is_ok() && answer.len() < 64, "{sent:?}: {answer:?}");
    }
    assert_eq!(metric(&bridge, "tidings_tls_handshakes_failed_total").await, 5.0);
    db.sentinel("acme").await;
    assert_eq!(sse.until_sentinel().await.len(), 0);
}

#[tokio::test]
async fn with_tls_the_cookie_is_secure_everywhere_and_a_page_in_clear_text_is_foreign() {
    let (db, certificate) = (Database::new().await, Certificate::new());
    let bridge = Bridge::secure(&db, &certificate, &[]).await;
    let (_, ticket) = bridge.post_as(&member("acme"), "/v1/tickets", &json!({})).await;
    let link = format!("/notifications?ticket={}", ticket["ticket"].as_str().unwrap());
    let signed_in = Answer::of(bridge.request("GET", &link)).await;
    let cookie = signed_in.header("set-cookie").to_owned();
    assert!(signed_in.status == 303 && cookie.contains("; Secure"), "{signed_in:?}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    for (scheme, status) in [("http", 403), ("https", 201)] {
        let request = bridge.request("POST", "/v1/tickets").header("cookie", &cookie);
        let answer = Answer::of(request.header("origin", format!("{scheme}://{}", bridge.address))).await;
        assert_eq!(answer.status, status, "{scheme}");
    }
}
