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
//!   → subscriber                    subscriber (replay) → replay           a cursor in a ring; beyond it, the log page by page
//!   → sse | ws | page               http                                   bytes framed once, shared by all sockets
//! ```
//!
//! [`cursor`] is the one idea that makes it lossless: a cursor is a snapshot, and what it has not seen is sent.
//! Who connects, [`auth`] says by their token and [`revocation`] by what was withdrawn since.
//! Beside the road: [`turnstile`] lets tenants at the database in turns, and [`reading`] is the log page by page. What leaves without a client asking reads it as a durable [`consumer`]:
//! [`outbound`] starts one for each [`webhook`] and for [`email`], and [`delivery`] attempts what they owe until it arrives;
//! [`responder`] answers chats. [`app_api`] serves the application's tables through functions of schema `tidings_app`;
//! [`chat_metrics`] and [`chat_presence`] tell admins of chats what is in no row.
//! [`http`] also serves the pages of `web/dist`, signs in to them, and keeps what they upload.
//! [`postgres`] makes every connection to the database: hosts, TLS, deadlines, the pool.
//! [`metrics`] counts and times, [`telemetry`] sends spans where a collector is configured.
//! [`app`] builds the parts and ends them in order; [`reload`] takes up changed settings; [`heart`] says whether the listener still
//! turns; [`refrain`] keeps troubles that last from filling the log of the process; [`upkeep`] keeps the log small; [`cli`] is the
//! command line; [`config`] the settings.
//!
//! # Invariants, and the tests that hold them
//!
//! - One listener per process; its socket is always read. `the_listening_socket_is_read_whatever_else_is_stuck`
//! - No end of a connection loses an event. `a_terminated_listener_backend_loses_nothing`
//! - What is revoked opens nothing and keeps nothing open. `a_revoked_user_is_out_on_every_instance_and_stays_out_after_a_restart`
//! - Nothing between the listening connection and a ring waits for a client. `a_client_that_stops_reading_costs_only_itself`
//! - One tenant's replays and requests leave others theirs. `a_storm_of_replays_of_one_tenant_does_not_hold_up_anothers`
//! - A client that reads too slowly is closed, and holds little until then. `those_who_do_not_read_what_they_resume_hold_little_memory`
//! - Nobody chooses the address they are counted by. `a_client_cannot_choose_its_address`
//! - Each event once while connected; a resume loses none. `every_event_is_delivered_once_and_500_resumes_lose_none`
//! - A gap is told before any newer event. `a_cursor_outside_retention_is_told_reset_first`
//! - A `TenantId` is made only by `decode` and `auth`. `a_tenant_id_is_made_only_by_decode_and_auth`
//! - Only `http` and `app_api` know warp. `only_http_and_app_api_know_warp`
//! - Row data is never parsed beyond the envelope and never logged. `an_event_is_one_line_whatever_its_json_looks_like`
//! - The application is called with the tenant set, and row-level security holds it to that. `a_query_that_forgets_the_tenant_shows_no_other`
//! - No route, message or command of one tenant reaches another. `no_credential_of_one_tenant_opens_a_route_of_another`
//! - No secret and no row is logged, whatever the filter says. `nothing_secret_leaves_a_server_by_its_log_its_figures_or_its_refusals`
//! - A webhook calls its function once, however often it comes. `two_deliveries_of_one_id_at_once_call_once`
//! - One answer to each question, whatever crashes. `a_bridge_killed_while_it_answers_leaves_one_answer`
//! - What is not in the log never becomes a cursor. `a_reconnect_resumes_from_the_last_event_of_the_log`
//! - A consumer takes each event once, whatever crashes. `a_consumer_takes_each_event_once_whatever_crashes`
//! - What is owed is delivered or told as a dead letter. `every_event_reaches_a_webhook_whatever_is_killed`
//! - A hostile socket ends, and costs nobody else. `heads_of_every_shape_are_answered_once_and_clearly` and the others of `sockets`, `http2`
//! - A page runs nothing and talks to nobody that its policy does not name. `a_page_runs_under_a_policy_that_lets_in_files_of_this_server_only`
//! - What a user sends names nothing on disk. `a_name_that_climbs_out_of_the_directory_names_nothing`
//! - What comes from outside is read or refused, whatever it is. `every_input_that_was_kept_is_read_or_refused`
//! - A reload takes up all of a configuration or nothing. `a_reload_takes_up_all_or_nothing`
//! - A key that is taken out ends what it let in. `a_key_that_is_taken_out_ends_what_it_vouched_for`
//! - A bridge never listens to what cannot tell it everything: a standby, or a pooler that takes sessions away. `a_transaction_pooler_is_named_at_the_start`
//! - A server that is gone costs a request a bounded time. `a_server_that_falls_silent_costs_a_request_a_bounded_time`
//! - Every figure that is told is documented, and no other. `every_metric_is_documented_and_nothing_else`
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
pub mod turnstile;

pub mod app_api;
pub mod auth;
pub mod disconnect;
pub mod http;
pub mod responder;
pub mod revocation;

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
pub mod heart;
pub mod metrics;
pub mod migrate;
pub mod open_files;
pub mod postgres;
pub mod private_postgres;
pub mod process;
pub mod refrain;
pub mod reload;
pub mod telemetry;
pub mod upkeep;
