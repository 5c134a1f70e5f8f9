//! RFC 6455, case by case: framing, control frames, reserved bits and opcodes, fragmentation, UTF-8, closing, limits. The
//! cases are those that public suites of conformance try, asked of the real socket: `ping` is answered with `pong`, and a
//! text is echoed by unsubscribing from what is called so.

use serde_json::{Value, json};

use crate::support::{Bridge, Database, RawWs, client_frame, head};

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;
const ASK: &[u8] = br#"{"type":"ping"}"#;

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    client_frame(first, true, payload)
}

/// The question, padded to a length.
fn padded(length: usize) -> Vec<u8> {
    let mut text = ASK.to_vec();
    text.resize(length, b' ');
    text
}

/// A message that is answered with an error which names `text`.
fn named(text: &[u8]) -> Vec<u8> {
    [br#"{"type":"unsubscribe","id":""#, text, br#""}"#].concat()
}

fn closing(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(CLOSE, &[&code.to_be_bytes()[..], reason].concat())
}

/// The next answer, over pongs.
async fn json(ws: &mut RawWs, what: &str) -> Value {
    loop {
        let frame = ws.frame().await.unwrap_or_else(|| panic!("{what}: the socket ended"));
        if frame.first != PONG {
            assert_eq!(frame.first, TEXT, "{what}: {frame:?}");
            return serde_json::from_slice(&frame.payload).unwrap();
        }
    }
}

/// Sends, and expects `pong`s, then nothing but the answer to a good-bye.
async fn understood(bridge: &Bridge, what: &str, bytes: &[u8], piece: usize, pongs: usize) {
    let mut ws = RawWs::connect(bridge).await;
    ws.send(bytes, piece).await;
    for _ in 0..pongs {
        assert_eq!(json(&mut ws, what).await, json!({"type": "pong"}), "{what}");
    }
    ws.send(&closing(1000, b""), 64).await;
    assert_eq!(close_code(&mut ws, what).await, Some(1000), "{what}");
}

/// Reads to the end, over answers to pings; the code of the one close frame. None: one without a code.
async fn close_code(ws: &mut RawWs, what: &str) -> Option<u16> {
    let mut frames = ws.rest().await;
    frames.retain(|frame| frame.first != PONG);
    assert_eq!(frames.len(), 1, "{what}: {frames:?}");
    assert_eq!(frames[0].first, CLOSE, "{what}");
    frames[0].payload.get(..2).map(|code| u16::from_be_bytes(code.try_into().unwrap()))
}

async fn refused(bridge: &Bridge, what: &str, bytes: &[u8], code: u16) {
    let mut ws = RawWs::connect(bridge).await;
    ws.send(bytes, usize::MAX).await;
    assert_eq!(close_code(&mut ws, what).await, Some(code), "{what}");
}

#[tokio::test]
async fn frames_of_every_length_are_read_however_they_are_cut() {
    let bridge = Bridge::start(&Database::new().await).await;
    for length in [15, 125, 126, 127, 128, 1000, 65_535, 65_536] {
        for piece in [usize::MAX, 997, 1] {
            if piece == 1 && length > 1000 {
                continue;
            }
            let bytes = masked(TEXT, &padded(length));
            understood(&bridge, &format!("{length} bytes in pieces of {piece}"), &bytes, piece, 1).await;
        }
    }
    let many: Vec<u8> = (0..50).flat_map(|_| masked(TEXT, ASK)).collect();
    understood(&bridge, "many in one piece", &many, usize::MAX, 50).await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_and_a_pong_with_nothing() {
    let bridge = Bridge::start(&Database::new().await).await;
    let all: Vec<u8> = (0..125).collect();
    for payload in [&b""[..], b"hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", &all] {
        for piece in [usize::MAX, 1] {
            let mut ws = RawWs::connect(&bridge).await;
            ws.send(&[masked(PONG, b"nobody asked"), masked(PING, payload), masked(TEXT, ASK)].concat(), piece).await;
            let (pong, answer) = (ws.frame().await.unwrap(), ws.frame().await.unwrap());
            let (pong, answer) = if pong.first == PONG { (pong, answer) } else { (answer, pong) };
            assert_eq!((pong.first, &*pong.payload, answer.first), (PONG, payload, TEXT));
        }
    }
    let mut ws = RawWs::connect(&bridge).await;
    for number in 0..10_u8 {
        ws.send(&masked(PING, &[number]), 1).await;
        assert_eq!(ws.frame().await.unwrap().payload, [number]);
    }
}

#[tokio::test]
async fn reserved_bits_and_opcodes_end_the_connection_with_1002() {
    let bridge = Bridge::start(&Database::new().await).await;
    for bits in (0x10..=0x70).step_by(0x10) {
        for first in [TEXT, PING, CLOSE, 0x82] {
            refused(&bridge, &format!("reserved bits {bits:x} of {first:x}"), &masked(first | bits, b""), 1002).await;
        }
    }
    for opcode in (3..=7).chain(11..=15) {
        for payload in [&b""[..], b"reserved"] {
            let bytes = [masked(0x80 | opcode, payload), masked(PING, b"")].concat();
            refused(&bridge, &format!("opcode {opcode}"), &bytes, 1002).await;
        }
    }
    for first in [TEXT, PING, CLOSE] {
        refused(&bridge, "a frame without a mask", &client_frame(first, false, b""), 1002).await;
    }
}

#[tokio::test]
async fn fragments_are_joined_with_control_frames_between_them() {
    let bridge = Bridge::start(&Database::new().await).await;
    let (start, end) = ASK.split_at(7);
    let (first, last) = (masked(0x01, start), masked(0x80, end));
    let (nothing, empty_last) = (masked(0x00, b""), masked(0x80, b""));
    for (what, parts) in [
        ("two", vec![&first, &last]),
        ("with empty ones between", vec![&first, &nothing, &nothing, &last]),
        ("with a ping between", vec![&first, &masked(PING, b"?"), &last]),
        ("with a pong between", vec![&first, &masked(PONG, b"!"), &last]),
        ("whole, and an empty end", vec![&masked(0x01, ASK), &empty_last]),
        ("an empty beginning", vec![&masked(0x01, b""), &masked(0x80, ASK)]),
    ] {
        let bytes: Vec<u8> = parts.into_iter().flatten().copied().collect();
        for piece in [usize::MAX, 1] {
            understood(&bridge, what, &bytes, piece, 1).await;
        }
    }
    let letters: Vec<u8> = ASK[1..].iter().flat_map(|byte| masked(0x00, &[*byte])).collect();
    understood(&bridge, "letter by letter", &[masked(0x01, &ASK[..1]), letters, empty_last].concat(), 100, 1).await;
}

#[tokio::test]
async fn fragments_that_fit_nowhere_end_the_connection_with_1002() {
    let bridge = Bridge::start(&Database::new().await).await;
    let start = masked(0x01, b"{");
    for (what, bytes) in [
        ("a fragmented ping", masked(0x09, b"")),
        ("a fragmented pong", masked(0x0a, b"")),
        ("a fragmented close", masked(0x08, b"")),
        ("a ping that is too long", masked(PING, &[0; 126])),
        ("a pong that is too long", masked(PONG, &[0; 126])),
        ("a continuation of nothing", masked(0x80, ASK)),
        ("a continuation of nothing that goes on", masked(0x00, ASK)),
        ("a continuation of what is over", [masked(TEXT, b"").as_slice(), &masked(0x80, b"")].concat()),
        ("a text within a text", [start.clone(), masked(TEXT, ASK)].concat()),
        ("a binary message within a text", [start.clone(), masked(0x82, ASK)].concat()),
        ("a beginning within a text", [start.clone(), masked(0x01, ASK)].concat()),
    ] {
        let mut ws = RawWs::connect(&bridge).await;
        ws.send(&bytes, usize::MAX).await;
        let mut frames = ws.rest().await;
        let closed = frames.pop().unwrap();
        assert_eq!((closed.first, &closed.payload[..2]), (CLOSE, &1002_u16.to_be_bytes()[..]), "{what}");
    }
}

#[tokio::test]
async fn every_valid_text_comes_through_wherever_it_is_cut() {
    let bridge = Bridge::start(&Database::new().await).await;
    let mut ws = RawWs::connect(&bridge).await;
    for text in [
        "Hello-µ@ßöäüàá-UTF-8!!",
        "κόσμε",
        "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}",
        "\u{d7ff}\u{e000}\u{fffd}",
        // Nobody's characters, and yet UTF-8.
        "\u{fffe}\u{ffff}\u{1fffe}\u{1ffff}\u{2fffe}\u{10fffe}\u{10ffff}",
        "e\u{301}\u{200b}\u{202e}\u{2028}",
    ] {
        let message = named(text.as_bytes());
        for cut in 0..=message.len() {
            let (start, end) = message.split_at(cut);
            ws.send(&[masked(0x01, start), masked(PING, b""), masked(0x80, end)].concat(), usize::MAX).await;
            let answer = json(&mut ws, text).await;
            assert_eq!((&answer["code"], &answer["id"]), (&json!("unknown_subscription"), &json!(text)));
        }
    }
}

#[tokio::test]
async fn a_text_that_is_not_utf_8_ends_the_connection_with_1007() {
    let bridge = Bridge::start(&Database::new().await).await;
    for bytes in [
        &b"\x80"[..],
        b"\xbf\xbf",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xc3",
        b"\xc3\x28",
        b"\xe0\x80\xaf",
        b"\xe0\x9f\xbf",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\xf0\x80\x80\xaf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf0\x9f\x98",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
    ] {
        let message = named(bytes);
        refused(&bridge, &format!("{bytes:x?}"), &masked(TEXT, &message), 1007).await;
        let (start, end) = message.split_at(message.len() / 2);
        let cut = [masked(0x01, start), masked(0x80, end)].concat();
        refused(&bridge, &format!("{bytes:x?}, in two"), &cut, 1007).await;
    }
}

#[tokio::test]
async fn a_text_that_can_no_longer_be_utf_8_is_refused_before_it_ends() {
    let bridge = Bridge::start(&Database::new().await).await;
    refused(&bridge, "half a message", &masked(0x01, &named(b"\xf4\x90\x80\x80")), 1007).await;
}

#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    let bridge = Bridge::start(&Database::new().await).await;
    let mut ws = RawWs::connect(&bridge).await;
    ws.send(&masked(CLOSE, b""), 1).await;
    assert!(matches!(close_code(&mut ws, "without a code").await, None | Some(1000 | 1005)));
    let long = [b'x'; 123];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        for reason in [&b""[..], "gehört".as_bytes(), &long] {
            let mut ws = RawWs::connect(&bridge).await;
            ws.send(&closing(code, reason), usize::MAX).await;
            assert_eq!(close_code(&mut ws, "a good-bye").await, Some(code));
        }
    }
}

#[tokio::test]
async fn a_close_that_makes_no_sense_is_a_breach() {
    let bridge = Bridge::start(&Database::new().await).await;
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        refused(&bridge, &format!("code {code}"), &closing(code, b""), 1002).await;
    }
    refused(&bridge, "half a code", &masked(CLOSE, &[3]), 1002).await;
    refused(&bridge, "a reason that is too long", &closing(1000, &[b'x'; 124]), 1002).await;
    refused(&bridge, "a reason that is not UTF-8", &closing(1000, b"\xed\xa0\x80"), 1007).await;
}

#[tokio::test]
async fn nothing_follows_the_close_not_even_the_answer_to_what_came_before() {
    let bridge = Bridge::start(&Database::new().await).await;
    let mut ws = RawWs::connect(&bridge).await;
    ws.send(&[masked(TEXT, ASK), closing(1000, b"")].concat(), usize::MAX).await;
    assert_eq!(json(&mut ws, "answered").await["type"], "pong");
    assert_eq!(close_code(&mut ws, "closed").await, Some(1000));
}

#[tokio::test]
async fn what_comes_behind_a_close_is_not_looked_at() {
    let bridge = Bridge::start(&Database::new().await).await;
    for more in [masked(TEXT, ASK), masked(PING, b"?"), closing(1001, b""), masked(0x83, b"")] {
        refused(&bridge, "more", &[closing(1000, b""), more].concat(), 1000).await;
    }
    let within = [masked(0x01, b"{"), closing(1000, b""), masked(0x80, b"}")].concat();
    refused(&bridge, "a good-bye within a message", &within, 1000).await;
}

#[tokio::test]
async fn a_message_is_as_long_as_the_configuration_allows_and_one_without_end_costs_no_more() {
    let bridge = Bridge::start(&Database::new().await).await;
    let mut ws = RawWs::connect(&bridge).await;
    let long = padded(65_537);
    let fragments: Vec<u8> = long.chunks(1000).enumerate().fold(Vec::new(), |mut bytes, (index, part)| {
        bytes.extend(masked(u8::from(index == 0), part));
        bytes
    });
    ws.send(&[fragments, masked(0x80, b"")].concat(), usize::MAX).await;
    assert_eq!(json(&mut ws, "too long").await["code"], "too_long");
    ws.send(&masked(TEXT, ASK), 1).await;
    assert_eq!(json(&mut ws, "and on").await["type"], "pong");

    let endless: Vec<u8> = (0..300).flat_map(|index| masked(u8::from(index == 0), &[b' '; 1000])).collect();
    refused(&bridge, "fragments without end", &endless, 1009).await;
    refused(&bridge, "announced", &[head(TEXT, true, 1 << 40), vec![0; 4]].concat(), 1009).await;
}
