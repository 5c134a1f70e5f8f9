//! docs/replacing.md, each recipe's server side: what a client of the system that is replaced did, done here.

mod admin_chat;
mod dashboard;
mod post_chat;
mod uploads;
