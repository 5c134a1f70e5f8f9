//! tidings: a committed PostgreSQL change reaches its tenant's subscribers, and a reconnect misses nothing.
//!
//! This is the map. Modules stand in the order in which an event travels:
//!
//! ```text
//! a row changes                     triggers/*.sql → a capture function    inside the writer's transaction
//!   → event row + NOTIFY at COMMIT  sql/V2__capture.sql, V5__functions.sql one call per statement
//!   → the listening connection      listener (session, road)               one per process
//!   → decode(payload) → Event       decode (plain) → event                 pure, total
//!   → admitted once                 ledger                                 by notification, catch-up or audit alike
//!   → router.dispatch(event)        router → ring                          tenant → ring; never waits
//!   → subscriber                    subscriber                             a cursor in a ring; beyond it, replay reads the log
//!   → sse | ws | page               http                                   bytes framed once, shared by all sockets
//! ```
//!
//! [`cursor`] is the one idea that makes it lossless: a cursor is a snapshot, and what it has not seen is sent.
//! Beside the road: [`reading`] is the log page by page. What leaves without a client asking reads it as a durable [`consumer`]:
//! [`outbound`] starts one for each [`webhook`] and for [`email`], and [`delivery`] attempts what they owe until it arrives;
//! [`responder`] answers chats. [`app_api`] serves the application's tables through functions of schema `tidings_app`;
//! [`chat_metrics`] and [`chat_presence`] tell admins of chats what is in no row.
//! [`http`] also serves the pages of `web/dist`, signs in to them, and keeps what they upload.
//! [`app`] builds the parts and ends them in order; [`upkeep`] keeps the log small; [`cli`] is the command line; [`config`] the settings.
//!
//! # Invariants, and the tests that hold them
//!
//! - One listener per process; its socket is always read. `a_terminated_listener_backend_loses_nothing`
//! - Nothing between the listening connection and a ring waits for a client. `a_client_that_stops_reading_costs_only_itself`
//! - Each event once while connected; a resume loses none. `every_event_is_delivered_once_and_500_resumes_lose_none`
//! - A gap is told before any newer event. `a_cursor_outside_retention_is_told_reset_first`
//! - A `TenantId` is made only by `decode` and `auth`. `a_tenant_id_is_made_only_by_decode_and_auth`
//! - Only `http` and `app_api` know warp. `only_http_and_app_api_know_warp`
//! - Row data is never parsed beyond the envelope and never logged. `an_event_is_one_line_whatever_its_json_looks_like`
//! - The application is called with the tenant set, and row-level security holds it to that. `a_query_that_forgets_the_tenant_shows_no_other`
//! - A webhook calls its function once, however often it comes. `two_deliveries_of_one_id_at_once_call_once`
//! - One answer to each question, whatever crashes. `a_bridge_killed_while_it_answers_leaves_one_answer`
//! - What is not in the log never becomes a cursor. `a_reconnect_resumes_from_the_last_event_of_the_log`
//! - A consumer takes each event once, whatever crashes. `a_consumer_takes_each_event_once_whatever_crashes`
//! - What is owed is delivered or told as a dead letter. `every_event_reaches_a_webhook_whatever_is_killed`
//! - A page runs nothing and talks to nobody that its policy does not name. `a_page_runs_under_a_policy_that_lets_in_files_of_this_server_only`
//! - What a user sends names nothing on disk. `a_name_that_climbs_out_of_the_directory_names_nothing`
//! - `config.toml` is complete. `config_toml_is_complete`

pub mod listener;

pub mod decode;
pub mod event;

pub mod ledger;

pub mod ring;
pub mod router;

pub mod filter;
pub mod reading;
pub mod replay;
pub mod subscriber;

pub mod app_api;
pub mod auth;
pub mod disconnect;
pub mod http;
pub mod responder;

pub mod consumer;
pub mod delivery;
pub mod email;
pub mod outbound;
pub mod signature;
pub mod webhook;

pub mod app;
pub mod chat_metrics;
pub mod chat_presence;
pub mod cli;
pub mod config;
pub mod cursor;
pub mod metrics;
pub mod migrate;
pub mod private_postgres;
pub mod process;
pub mod upkeep;
