//! Takes a subscriber's byte stream apart, cheaply: the load client shares the machine with what it measures.
//!
//! Pure: bytes in, rows and control messages out. A row is known by its number and the time it was sent; the payload is
//! jumped over, since its length is known, and the JSON around it is never parsed. What that could hide is caught
//! elsewhere: every subscriber's numbers are compared with the numbers committed (see `tally`).

use std::mem::take;
use std::ops::Range;

use super::plan::Transport;

/// How far from its last place the row's number is looked for: ids and nonces vary by a few digits.
const NEAR: usize = 48;
/// What stands before the number in a row's JSON.
const NUMBER: &[u8] = br#""n":"#;
/// What stands between the number and the time.
const SENT: &[u8] = br#","sent_us":"#;
/// What stands between the time and the payload.
const PAYLOAD: &[u8] = br#","payload":""#;

/// Bytes that are not of the protocol.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    /// A chunk of a chunked response without a length.
    #[error("a chunk header is unreadable")]
    Chunk,
    /// An event that holds no row of the bench.
    #[error("an event does not hold a row of the bench")]
    Row,
}

/// One thing that a server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// An event.
    Row {
        /// Number of the row, from 1 in its tenant.
        n: u64,
        /// When its writer sent it, microseconds since 1970.
        sent_us: u64,
    },
    /// Anything else: a greeting, a heartbeat, a goodbye.
    Control(&'a [u8]),
}

/// Where one connection's stream stands.
#[derive(Debug)]
pub struct Scanner {
    transport: Transport,
    /// Bytes of a row's payload.
    payload_bytes: usize,
    chunks: Option<Chunks>,
    /// An unfinished message.
    carry: Vec<u8>,
    /// Where in an event the last number stood.
    number_at: usize,
}

impl Scanner {
    /// For a stream of `transport`; `chunked` as the response's head says.
    pub fn new(transport: Transport, payload_bytes: usize, chunked: bool) -> Self {
        Self { transport, payload_bytes, chunks: chunked.then(Chunks::default), carry: Vec::new(), number_at: 0 }
    }

    /// Takes what was read and hands out what it completes. `scratch` is any buffer, reused between connections.
    ///
    /// # Errors
    /// [`WireError`]; nothing after it can be trusted.
    pub fn feed(
        &mut self,
        read: &[u8],
        scratch: &mut Vec<u8>,
        mut hear: impl FnMut(Said<'_>),
    ) -> Result<(), WireError> {
        scratch.clear();
        scratch.append(&mut self.carry);
        match &mut self.chunks {
            Some(chunks) => chunks.unwrap_into(read, scratch)?,
            None => scratch.extend_from_slice(read),
        }
        let mut rest = &scratch[..];
        while let Some((said, len)) = self.message(rest)? {
            hear(said);
            rest = &rest[len..];
        }
        self.carry.extend_from_slice(rest);
        Ok(())
    }

    /// The first message of `bytes` and its length; None when it is not complete.
    fn message<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(Said<'a>, usize)>, WireError> {
        match self.transport {
            Transport::Ws => self.frame(bytes),
            Transport::Sse | Transport::Bare => self.block(bytes),
        }
    }

    fn block<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(Said<'a>, usize)>, WireError> {
        if !is_event_block(bytes) {
            return Ok(find(bytes, b"\n\n").map(|end| (Said::Control(&bytes[..end]), end + 2)));
        }
        let Some((row, row_end)) = self.row(bytes) else {
            // Complete and without a row is wrong; incomplete just waits for more.
            return if find(bytes, b"\n\n").is_some() { Err(WireError::Row) } else { Ok(None) };
        };
        let closing = bytes.get(row_end..).and_then(|tail| find(tail, b"\n\n"));
        Ok(closing.map(|end| (row, row_end + end + 2)))
    }

    fn frame<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(Said<'a>, usize)>, WireError> {
        let Some(body) = frame_body(bytes) else { return Ok(None) };
        let end = body.end;
        let Some(content) = bytes.get(body) else { return Ok(None) };
        if !content.starts_with(br#"{"type":"event""#) {
            return Ok(Some((Said::Control(content), end)));
        }
        let (row, _) = self.row(content).ok_or(WireError::Row)?;
        Ok(Some((row, end)))
    }

    /// The row in an event, and where its payload ends.
    fn row(&mut self, event: &[u8]) -> Option<(Said<'static>, usize)> {
        let from = self.number_at.saturating_sub(NEAR);
        let near = event.get(from..(self.number_at + NEAR).min(event.len()));
        let found = near.and_then(|near| find(near, NUMBER)).map(|at| from + at);
        let at = found.or_else(|| find(event, NUMBER))?;
        let (n, next) = number(event, at + NUMBER.len())?;
        let (sent_us, next) = number(event, next + matches_at(event, next, SENT)?)?;
        let payload = next + matches_at(event, next, PAYLOAD)?;
        self.number_at = at;
        Some((Said::Row { n, sent_us }, payload + self.payload_bytes))
    }
}

/// An application event: a data line, behind an id line or alone, and no event line.
fn is_event_block(bytes: &[u8]) -> bool {
    let data = if bytes.starts_with(b"id: ") {
        bytes.iter().position(|&byte| byte == b'\n').map_or(&[][..], |end| &bytes[end + 1..])
    } else {
        bytes
    };
    data.starts_with(b"data: {")
}

/// Where the content of the first frame lies, as its header says (server frames are not masked).
fn frame_body(bytes: &[u8]) -> Option<Range<usize>> {
    let (from, len) = match *bytes.get(1)? & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    Some(from..from.saturating_add(usize::try_from(len).ok()?))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The length of `wanted` if it stands at `at`.
fn matches_at(bytes: &[u8], at: usize, wanted: &[u8]) -> Option<usize> {
    bytes.get(at..)?.starts_with(wanted).then_some(wanted.len())
}

/// A decimal number and what follows it. None at the end of the bytes too: digits may be missing.
fn number(bytes: &[u8], from: usize) -> Option<(u64, usize)> {
    let digits = bytes.get(from..)?.iter().position(|byte| !byte.is_ascii_digit())?;
    let value = bytes[from..from + digits]
        .iter()
        .fold(0_u64, |value, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    (digits > 0).then_some((value, from + digits))
}

/// Chunked transfer coding (RFC 9112, 7.1), taken off as bytes come in.
#[derive(Debug, Default)]
struct Chunks {
    /// Of the current chunk, still to come.
    left: usize,
    /// A line that is not complete: the length of a chunk, or the empty one behind it.
    line: Vec<u8>,
}

impl Chunks {
    fn unwrap_into(&mut self, mut read: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        while !read.is_empty() {
            let (content, rest) = read.split_at(self.left.min(read.len()));
            out.extend_from_slice(content);
            self.left -= content.len();
            read = rest;
            let Some(end) = read.iter().position(|&byte| byte == b'\n') else {
                self.line.extend_from_slice(read);
                return Ok(());
            };
            self.line.extend_from_slice(&read[..end]);
            read = &read[end + 1..];
            let line = take(&mut self.line);
            // The line behind a chunk's content is empty.
            if !line.trim_ascii().is_empty() {
                let text = str::from_utf8(line.trim_ascii()).map_err(|_| WireError::Chunk)?;
                self.left = usize::from_str_radix(text, 16).map_err(|_| WireError::Chunk)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD_BYTES: usize = 200;

    fn event(n: u64) -> String {
        let payload = "x".repeat(PAYLOAD_BYTES);
        format!(
            r#"{{"specversion":"1.0","id":"{n}-3-ab","data":{{"id":{n},"tenant_id":"t","n":{n},"sent_us":17{n},"payload":"{payload}"}}}}"#
        )
    }

    fn block(n: u64) -> String {
        format!("id: {n}-3-ab\ndata: {}\n\n", event(n))
    }

    fn frame(n: u64) -> Vec<u8> {
        let text = format!(r#"{{"type":"event","event":{}}}"#, event(n));
        let mut frame = vec![0x81, 126];
        frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(text.as_bytes());
        frame
    }

    /// The numbers heard when the stream arrives in pieces of `piece` bytes, and how many control messages.
    fn heard(mut scanner: Scanner, stream: &[u8], piece: usize) -> (Vec<u64>, usize) {
        let (mut numbers, mut controls) = (Vec::new(), 0);
        for read in stream.chunks(piece) {
            let hear = |said: Said<'_>| match said {
                Said::Row { n, sent_us } => {
                    assert_eq!(sent_us.to_string(), format!("17{n}"));
                    numbers.push(n);
                }
                Said::Control(_) => controls += 1,
            };
            scanner.feed(read, &mut Vec::new(), hear).unwrap();
        }
        (numbers, controls)
    }

    #[test]
    fn blocks_are_heard_however_the_stream_is_cut() {
        let numbers: Vec<u64> = vec![9, 10, 99_999, 100_000];
        let mut stream = "retry: 5\nevent: hello\ndata: {\"connection\":\"a\"}\n\n".to_owned();
        for &n in &numbers {
            stream += &format!("{}id: c.1\n\n", block(n));
        }
        for piece in 1..stream.len() {
            let scanner = Scanner::new(Transport::Sse, PAYLOAD_BYTES, false);
            assert_eq!(heard(scanner, stream.as_bytes(), piece), (numbers.clone(), 5), "pieces of {piece}");
        }
    }

    #[test]
    fn chunks_may_cut_blocks_anywhere() {
        let plain: String = (1..4).map(block).collect();
        for len in [1, 7, 300, 5000] {
            let chunk = |content: &[u8]| [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat();
            let stream: Vec<u8> = plain.as_bytes().chunks(len).flat_map(chunk).collect();
            for piece in [1, 2, 3, 64, stream.len()] {
                let scanner = Scanner::new(Transport::Sse, PAYLOAD_BYTES, true);
                assert_eq!(heard(scanner, &stream, piece), (vec![1, 2, 3], 0), "chunks of {len}, pieces of {piece}");
            }
        }
    }

    #[test]
    fn frames_are_heard_however_the_stream_is_cut() {
        let hello = b"\x81\x10{\"type\":\"hello\"}";
        let stream = [hello.to_vec(), frame(1), frame(12_345), frame(2)].concat();
        for piece in 1..stream.len() {
            let scanner = Scanner::new(Transport::Ws, PAYLOAD_BYTES, false);
            assert_eq!(heard(scanner, &stream, piece), (vec![1, 12_345, 2], 1), "pieces of {piece}");
        }
    }

    #[test]
    fn an_event_without_a_row_is_an_error() {
        let mut scanner = Scanner::new(Transport::Sse, PAYLOAD_BYTES, false);
        let fed = scanner.feed(b"data: {\"a\":1}\n\n", &mut Vec::new(), |_| ());
        assert_eq!(fed, Err(WireError::Row));
    }
}
