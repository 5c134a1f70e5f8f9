//! Why the server ends a connection. Not an error but a vocabulary: one table gives the close code of a WebSocket, the
//! `code` and `reason` of `bye`, whether to come back, and the label of the metric.
//!
//! 4000 to 4499: the client may reconnect. 4500 to 4999: it must not without a change. Pages know this table too
//! (`docs/protocol.md`).

/// A reason to end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disconnect {
    /// The process is shutting down.
    Draining,
    /// The client stayed behind for longer than `limits.slow_after`.
    Slow,
    /// The log could not be read for this client's replay.
    Unavailable,
    /// More connections or subscriptions than allowed.
    TooMany,
    /// An operator ended it.
    Ended,
    /// Frames that are not of the protocol, again and again.
    Protocol,
    /// No valid credential.
    Unauthorised,
    /// Not its tenant.
    Forbidden,
    /// The credential has run out.
    Expired,
    /// The credential was withdrawn.
    Revoked,
}

impl Disconnect {
    /// All of them, for documents and metrics.
    pub const ALL: [Self; 10] = [
        Self::Draining,
        Self::Slow,
        Self::Unavailable,
        Self::TooMany,
        Self::Ended,
        Self::Protocol,
        Self::Unauthorised,
        Self::Forbidden,
        Self::Expired,
        Self::Revoked,
    ];

    /// Close code of a WebSocket, and `code` in `bye`.
    pub fn code(self) -> u16 {
        match self {
            Self::Draining => 1001,
            Self::Slow => 4008,
            Self::Unavailable => 4013,
            Self::TooMany => 4029,
            Self::Ended => 4000,
            Self::Protocol => 4502,
            Self::Unauthorised => 4501,
            Self::Forbidden => 4503,
            Self::Expired => 4510,
            Self::Revoked => 4511,
        }
    }

    /// `reason` in `bye` and the label of `tidings_disconnects_total`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Slow => "slow",
            Self::Unavailable => "unavailable",
            Self::TooMany => "too_many",
            Self::Ended => "ended",
            Self::Protocol => "protocol",
            Self::Unauthorised => "unauthorised",
            Self::Forbidden => "forbidden",
            Self::Expired => "token_expired",
            Self::Revoked => "revoked",
        }
    }

    /// Whether coming back as before makes sense.
    pub fn reconnect(self) -> bool {
        self.code() < 4500
    }

    /// The content of `bye`.
    pub fn bye(self) -> String {
        format!(r#"{{"code":{},"reason":"{}","reconnect":{}}}"#, self.code(), self.reason(), self.reconnect())
    }
}
