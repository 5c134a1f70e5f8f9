//! Notices that an answer is due and nothing comes: the server is gone, or something in between has fallen silent.
//!
//! `statement_timeout` is the server's, and no help without it; keepalives are answered by a kernel whose server hangs. So the
//! messages that go by are counted: what asks for an answer, and the answers. It is done here, in the stream, because then
//! it holds for every query of whoever, and a connection that is given up ends like any that breaks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Length of a message's kind and length.
const HEAD: usize = 5;
/// With what stands first in the messages of which that is looked at: the number of the backend, the severity of an error.
const HEAD_AND_START: usize = 9;
/// What an error begins with after which a backend ends, FATAL or PANIC.
const FATAL: [&[u8; 4]; 2] = [b"SFAT", b"SPAN"];

/// What goes over one connection, as far as it has to be known.
pub(super) struct Watch {
    silence: Option<Duration>,
    asked: Frames,
    answered: Frames,
    /// Set once the server has first said that it is ready; what is sent before has another form, and its own deadline.
    ready: bool,
    /// Answers that are due.
    due: usize,
    /// The server has said its last word.
    over: bool,
    alarm: Option<Pin<Box<Sleep>>>,
    greeted: Arc<AtomicI32>,
}

impl Watch {
    pub(super) fn new(silence: Option<Duration>) -> Self {
        let (asked, answered) = (Frames::default(), Frames::default());
        Self { silence, asked, answered, ready: false, due: 0, over: false, alarm: None, greeted: Arc::default() }
    }

    /// Where the number of the backend will stand.
    pub(super) fn greeted(&self) -> Arc<AtomicI32> {
        self.greeted.clone()
    }

    /// Bytes came.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.alarm = None;
        let (ready, due, over, greeted) = (&mut self.ready, &mut self.due, &mut self.over, &self.greeted);
        // Once the backend is known, only deadlines need a look at what comes.
        if *ready && self.silence.is_none() {
            return;
        }
        self.answered.pass(bytes, |kind, start| match kind {
            b'K' => greeted.store(i32::from_be_bytes(start), Ordering::Relaxed),
            b'E' => *over |= FATAL.contains(&&start),
            b'Z' if *ready => *due = due.saturating_sub(1),
            b'Z' => *ready = true,
            _ => {}
        });
    }

    /// Whether nothing more will come. The end of the stream is a moment behind the server's last message, and whoever is given
    /// the connection meanwhile would be refused for it.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Bytes were sent.
    pub(super) fn written(&mut self, bytes: &[u8]) {
        if self.ready && self.silence.is_some() {
            let due = &mut self.due;
            self.asked.pass(bytes, |kind, _| *due += usize::from(matches!(kind, b'Q' | b'S' | b'F')));
        }
    }

    /// Nothing has come yet: fails when that has been so for too long. To be called whenever there is nothing to read.
    pub(super) fn poll_silent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(silence) = self.silence.filter(|_| self.due > 0) else { return Ok(()) };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + silence)));
        match alarm.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                let message = format!("no answer from PostgreSQL for {} s", silence.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, message))
            }
        }
    }
}

/// Finds messages in a stream of bytes that is cut anywhere.
#[derive(Default)]
struct Frames {
    head: [u8; HEAD_AND_START],
    have: usize,
    skip: usize,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8, [u8; 4])) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = if self.have > 0 && matches!(self.head[0], b'K' | b'E') { HEAD_AND_START } else { HEAD };
            let taken = if self.have == 0 { 1 } else { (wanted - self.have).min(bytes.len()) };
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == wanted && self.have > 1 {
                let [kind, a, b, c, d, start @ ..] = self.head;
                // The length counts itself, but not the kind.
                self.skip = (u32::from_be_bytes([a, b, c, d]) as usize + 1).saturating_sub(wanted);
                self.have = 0;
                found(kind, start);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let stream = [
            message(b'K', &[0, 0, 1, 2, 9, 9, 9, 9]),
            message(b'D', &[7; 300]),
            message(b'1', &[]),
            message(b'Z', b"I"),
        ]
        .concat();
        for size in [1, 2, 3, 5, 7, 9, 64, stream.len()] {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            stream.chunks(size).for_each(|part| frames.pass(part, |kind, pid| found.push((kind, pid))));
            let kinds: Vec<u8> = found.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, b"KD1Z", "in pieces of {size}");
            assert_eq!(found[0].1, [0, 0, 1, 2]);
        }
    }

    #[test]
    fn behind_a_fatal_error_nothing_comes() {
        let mut watch = Watch::new(Some(Duration::from_secs(1)));
        watch.read(&message(b'Z', b"I"));
        watch.read(&message(b'E', b"SERROR\0C23505\0\0"));
        assert!(!watch.is_over());
        watch.read(&message(b'E', b"SFATAL\0C57P01\0\0"));
        assert!(watch.is_over());
    }

    #[test]
    fn an_answer_is_due_until_each_question_has_one() {
        let mut watch = Watch::new(Some(Duration::from_secs(1)));
        watch.read(&message(b'Z', b"I"));
        watch.written(&[message(b'P', b"x"), message(b'S', b""), message(b'Q', b"select 1\0")].concat());
        assert_eq!(watch.due, 2);
        watch.read(&message(b'Z', b"I"));
        assert_eq!(watch.due, 1, "of two questions in a row the second is still open");
        watch.read(&[message(b'D', b"row"), message(b'Z', b"I")].concat());
        assert_eq!(watch.due, 0);
    }
}
