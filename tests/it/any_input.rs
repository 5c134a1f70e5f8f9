//! Whatever arrives is read or refused: what fuzzing kept, and what is made up here.

use proptest::prelude::*;

#[path = "../../fuzz/src/lib.rs"]
mod properties;

/// What may arrive by one way, and what must hold of it.
type Door = (&'static str, fn(&[u8]));

const DOORS: [Door; 5] = [
    ("decode", properties::decode),
    ("cursor", properties::cursor),
    ("frames", properties::frames),
    ("request", properties::request),
    ("config", properties::config),
];

/// What is kept in `fuzz/corpus` for one door.
fn kept(door: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/corpus/{door}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn every_input_that_was_kept_is_read_or_refused() {
    for (door, holds) in DOORS {
        let inputs = kept(door);
        assert!(inputs.len() >= 4, "{door}: the corpus is not there");
        inputs.iter().for_each(|input| holds(input));
    }
}

/// A kept input with some of its bytes replaced, or anything.
fn input(door: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let damage = (any::<prop::sample::Index>(), 0..8usize, prop::collection::vec(any::<u8>(), 0..8));
    let damaged =
        (prop::sample::select(kept(door)), prop::collection::vec(damage, 0..4)).prop_map(|(mut kept, damages)| {
            for (at, gone, new) in damages {
                let at = at.index(kept.len() + 1);
                let end = (at + gone).min(kept.len());
                kept.splice(at..end, new);
            }
            kept
        });
    prop_oneof![4 => damaged, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

/// Frames of a client, of some messages, cut into fragments, with pings between.
fn frames() -> impl Strategy<Value = (Vec<String>, Vec<u8>)> {
    let message = ("\\PC{0,200}", prop::collection::vec(any::<prop::sample::Index>(), 0..4), any::<[u8; 4]>());
    prop::collection::vec(message, 0..6).prop_map(|messages| {
        let mut bytes = Vec::new();
        for (text, cuts, mask) in &messages {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0]).collect();
            cuts.sort_unstable();
            for (index, from) in cuts.iter().enumerate() {
                let to = cuts.get(index + 1).copied();
                let first = if to.is_none() { 0x80 } else { 0 } | u8::from(index == 0);
                bytes.extend(frame(first, &text.as_bytes()[*from..to.unwrap_or(text.len())], *mask));
                bytes.extend(frame(0x89, b"between", *mask));
            }
        }
        (messages.into_iter().map(|(text, ..)| text).collect(), bytes)
    })
}

fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut bytes = vec![first, 0x80 | 126];
    bytes.extend(length.to_be_bytes());
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_payload_is_read_or_refused(input in input("decode")) {
        properties::decode(&input);
    }

    #[test]
    fn any_cursor_is_read_or_refused(input in input("cursor")) {
        properties::cursor(&input);
    }

    #[test]
    fn any_bytes_of_a_websocket_are_read_or_refused(input in input("frames")) {
        properties::frames(&input);
    }

    #[test]
    fn any_request_is_read_or_refused(input in input("request")) {
        properties::request(&input);
    }

    #[test]
    fn any_configuration_is_read_or_refused(input in input("config")) {
        properties::config(&input);
    }

    #[test]
    fn messages_are_what_was_sent_however_they_are_cut((messages, bytes) in frames(), piece in 1..64usize) {
        let (read, _) = properties::read(&bytes, piece);
        let expected: Vec<_> = messages.into_iter().map(tidings::http::ws_wire::Incoming::Text).collect();
        prop_assert_eq!(read, expected);
    }
}
