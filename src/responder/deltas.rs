//! The text of an answer as it grows, and in which pieces it is shown.
//!
//! Invariant: the pieces joined are the text, and each fits into a notification
//! (`the_pieces_joined_are_the_text_and_each_fits`).

/// Bytes of a piece as JSON. A notification holds 7,999: tenant, audience, type, subject and ids have the rest.
const PIECE_BYTES_MAX: usize = 4_500;

/// A text and how far it was shown.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    text: String,
    shown: usize,
    pieces: u32,
}

impl Deltas {
    /// Adds what came. PostgreSQL cannot hold NUL, so it is left out.
    pub(super) fn push(&mut self, more: &str) {
        self.text.extend(more.chars().filter(|c| *c != '\0'));
    }

    /// All of it so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether there is something to show.
    pub(super) fn waiting(&self) -> bool {
        self.shown < self.text.len()
    }

    /// The next piece and its number, from 0.
    pub(super) fn next(&mut self) -> Option<(u32, &str)> {
        let rest = &self.text[self.shown..];
        let mut bytes = 0;
        let fits = |(_, c): &(usize, char)| {
            bytes += escaped_bytes(*c);
            bytes <= PIECE_BYTES_MAX
        };
        let end = rest.char_indices().take_while(fits).last().map(|(at, c)| at + c.len_utf8())?;
        let piece = self.shown..self.shown + end;
        self.shown += end;
        self.pieces += 1;
        Some((self.pieces - 1, &self.text[piece]))
    }
}

/// What a character takes in JSON as PostgreSQL writes it, or less.
fn escaped_bytes(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if u32::from(c) < 0x20 => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_pieces_joined_are_the_text_and_each_fits(parts in prop::collection::vec("[a-z\"\\\\\n\u{1}é€😀]{0,3000}", 0..8)) {
            let (mut deltas, mut joined, mut number) = (Deltas::default(), String::new(), 0);
            for part in &parts {
                deltas.push(part);
                while let Some((index, piece)) = deltas.next() {
                    prop_assert_eq!(index, number);
                    prop_assert!(!piece.is_empty() && serde_json::to_string(piece).unwrap().len() <= PIECE_BYTES_MAX + 2);
                    joined.push_str(piece);
                    number += 1;
                }
                prop_assert!(!deltas.waiting());
            }
            prop_assert_eq!(&joined, deltas.text());
            prop_assert_eq!(joined, parts.concat());
        }
    }

    #[test]
    fn nul_is_left_out() {
        let mut deltas = Deltas::default();
        deltas.push("a\0b");
        assert_eq!(deltas.next(), Some((0, "ab")));
    }
}
