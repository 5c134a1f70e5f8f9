//! tidings: a committed PostgreSQL change reaches its tenant's subscribers, and a reconnect misses nothing.
#![allow(missing_docs)]
pub mod auth;
pub mod cli;
pub mod config;
pub mod cursor;
pub mod decode;
pub mod disconnect;
pub mod event;
pub mod ledger;
pub mod listener;
pub mod metrics;
pub mod private_postgres;
pub mod process;
pub mod replay;
pub mod ring;
pub mod router;
pub mod subscriber;
pub mod app_api;
pub mod http;
pub mod app;
pub mod migrate;
