//! What tidings guarantees, in sentences, on real PostgreSQL and real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures, missing_docs)]

mod support;

mod delivery;
