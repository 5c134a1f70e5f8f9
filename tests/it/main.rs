//! What tidings guarantees, in sentences, on real PostgreSQL and real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures, missing_docs)]

mod support;

mod altered;
mod architecture;
mod bad_frames;
mod bad_input;
mod capture;
mod channels;
mod chat;
mod chat_commands;
mod chat_messages;
mod chat_metrics;
mod chat_presence;
mod chat_privacy;
mod cli;
mod column_types;
mod connections;
mod dba;
mod delivery;
mod doctor;
mod doctor_cli;
mod faults;
mod foreign_cursors;
mod http;
mod isolation;
mod large;
mod notify;
mod pages;
mod partitions;
mod preview;
mod random_watches;
mod replication;
mod restore;
mod resume;
mod retention;
mod roles;
mod shutdown;
mod slow;
mod sse;
mod tables;
mod tickets;
mod tokens;
mod triggers_check;
mod triggers_cli;
mod triggers_new;

mod upgrade;
mod watch;
mod watched;
mod why;
mod ws;
