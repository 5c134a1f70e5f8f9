//! A WebSocket client that can say everything, also what no client should: bytes out, frames in.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Bridge, member};

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, reserved bits and opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

/// A socket behind its handshake, and behind `hello`.
pub struct RawWs {
    pub socket: TcpStream,
    bytes: Vec<u8>,
}

/// A client's frame: its first byte, whether it is masked, its payload.
pub fn client_frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, masked, payload.len() as u64);
    let mask = if masked { [0x37, 0xfa, 0x21, 0x3d] } else { [0; 4] };
    if masked {
        bytes.extend(mask);
    }
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The first bytes of a frame, up to its mask.
pub fn head(first: u8, masked: bool, length: u64) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(mask | length as u8),
        126..=0xffff => {
            bytes.push(mask | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes
}

impl RawWs {
    /// A member of acme, without a subscription.
    pub async fn connect(bridge: &Bridge) -> Self {
        let mut socket = TcpStream::connect(bridge.address).await.unwrap();
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\nAuthorization: Bearer {}\r\n\r\n",
            bridge.address,
            member("acme")
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut raw = Self { socket, bytes: Vec::new() };
        let end = loop {
            if let Some(end) = raw.bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            assert!(raw.more().await, "no answer to the handshake");
        };
        let head = String::from_utf8(raw.bytes.drain(..end + 4).collect()).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 ") && !head.contains("sec-websocket-extensions"), "{head}");
        let hello = raw.frame().await.unwrap();
        let hello: Value = serde_json::from_slice(&hello.payload).unwrap();
        assert_eq!(hello["type"], "hello");
        raw
    }

    /// Sends bytes, so many at a time. One that has been closed meanwhile takes no more.
    pub async fn send(&mut self, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece) {
            if self.socket.write_all(piece).await.is_err() {
                return;
            }
        }
    }

    /// The next frame; none at the end. Its head must be as RFC 6455 wants a server's.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, used)) = parse(&self.bytes) {
                self.bytes.drain(..used);
                return Some(frame);
            }
            if !self.more().await {
                assert!(self.bytes.is_empty(), "the socket ended within a frame");
                return None;
            }
        }
    }

    /// Everything up to the end.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        frames
    }

    async fn more(&mut self) -> bool {
        let read = timeout(Duration::from_secs(20), self.socket.read_buf(&mut self.bytes)).await;
        matches!(read.expect("nothing arrived"), Ok(1..))
    }
}

fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!((first & 0x70, second & 0x80), (0, 0), "a server's frame has no reserved bits and no mask");
    let (length, from) = match second {
        126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()), 10),
        short => (u64::from(short), 2),
    };
    let shortest = match length {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    assert_eq!(from, shortest, "a length is written as short as it can be");
    let to = from + length as usize;
    Some((Frame { first, payload: bytes.get(from..to)?.to_vec() }, to))
}
