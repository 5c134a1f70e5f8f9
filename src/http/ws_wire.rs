//! Client frames, parsed by tungstenite without its sockets: bytes in, messages out, and the bytes it wants to answer
//! with (pongs, the closing handshake). Server frames are made once per event elsewhere and never pass through here.
//!
//! Why not tungstenite over the socket: it copies every payload into a buffer per connection, and joins no writes.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use bytes::Bytes;
use tungstenite::protocol::frame::{CloseFrame, Frame, coding::CloseCode};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(String),
    /// A message that is not of this protocol: binary.
    Unknown,
    /// The socket is to be closed, with these bytes behind all that is written before.
    Closed(Bytes),
}

/// The state of one socket's parser.
pub struct Wire {
    context: WebSocketContext,
}

/// A message longer than this cannot even be skipped: the socket is closed.
const MESSAGE_BYTES_MAX: usize = 256 << 10;

struct Buffers<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Default for Wire {
    fn default() -> Self {
        Self::new()
    }
}

impl Wire {
    /// A fresh socket.
    pub fn new() -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(256)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        Self { context: WebSocketContext::new(Role::Server, Some(config)) }
    }

    /// Takes bytes from the socket; appends the messages in them, and the pongs to answer with.
    pub fn take(&mut self, input: &[u8], messages: &mut Vec<Incoming>, answers: &mut VecDeque<Bytes>) {
        let mut buffers = Buffers { input, output: Vec::new() };
        loop {
            match self.context.read(&mut buffers) {
                Ok(Message::Text(text)) => messages.push(Incoming::Text(text.to_string())),
                Ok(Message::Binary(_)) => messages.push(Incoming::Unknown),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    if let Some(code) = close_code(&error) {
                        // Writes to memory do not fail; a socket that is closed already has nothing to add.
                        let _ = self.context.close(&mut buffers, Some(CloseFrame { code, reason: "".into() }));
                        let _ = self.context.flush(&mut buffers);
                    }
                    messages.push(Incoming::Closed(buffers.output.into()));
                    return;
                }
            }
        }
        if !buffers.output.is_empty() {
            answers.push_back(buffers.output.into());
        }
    }
}

/// The frame that closes a socket.
pub fn close_frame(code: u16, reason: &'static str) -> Bytes {
    let mut bytes = Vec::new();
    // Writes to memory do not fail.
    let _ = Frame::close(Some(CloseFrame { code: code.into(), reason: reason.into() })).format(&mut bytes);
    bytes.into()
}

fn close_code(error: &Error) -> Option<CloseCode> {
    match error {
        Error::Capacity(_) => Some(CloseCode::Size),
        Error::Utf8(_) => Some(CloseCode::Invalid),
        Error::Protocol(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}

impl Read for Buffers<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buf)
    }
}

impl Write for Buffers<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
