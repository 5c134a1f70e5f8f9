//! `tidings tail`: events as they are committed, straight from the database.
//!
//! Place: at the end of a road of its own: a listener, a router and one subscriber in this process, so it shows what a
//! server would deliver, also while none is running.

mod print;

use std::future::poll_fn;
use std::process::ExitCode;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::print::Printer;
use super::signals::Signals;
use super::{Failure, database};
use crate::app;
use crate::auth::{Globs, Principal, Role, Tenants};
use crate::config::Config;
use crate::cursor::Cursor;
use crate::filter::Filter;
use crate::metrics::Metrics;
use crate::replay::{Log, Scope};
use crate::ring::Encoding;
use crate::subscriber::{Delivery, Request, Subscriber};
use crate::telemetry::Telemetry;

const EXAMPLES: &str = "Examples:
  tidings tail                                       everything, as it happens
  tidings tail --tenant acme --types 'documents.*,chat.*'
  tidings tail --tenant acme --after 18342-7312-9f3a2c1b --json | jq .data

Ctrl-C prints the cursor to go on from. Colours are left out without a terminal, or with NO_COLOR set.";

/// Arguments of `tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only this tenant's events
    #[arg(long)]
    tenant: Option<String>,
    /// Only these event types, as globs separated by commas
    #[arg(long, value_name = "GLOBS", default_value = "*")]
    types: String,
    /// Begin behind this cursor: an event id, or what the end of an earlier tail printed
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Print one CloudEvent per line
    #[arg(long)]
    json: bool,
}

/// Prints events until SIGTERM, ctrl-c or the end of the reader.
///
/// # Errors
/// When an argument is wrong, or the database cannot be reached or read.
pub async fn run(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let request = request(&args)?;
    database(config)?;
    let mut signals = Signals::listen()?;
    let log = Log::new(app::pool(config)?, config.limits.replays);
    let router = app::router(config);
    let listener = app::listener(config, &log, router.clone(), Arc::new(Metrics::default()), Telemetry::default())?;
    let session = listener.connect().await?;
    let mut health = listener.health();
    let mut printer = Printer::new(args.json);
    let follow = async {
        // The rings answer for nothing until the listener has begun its history.
        let _ = health.wait_for(|health| health.caught_up).await;
        let (mut subscriber, opening) = Subscriber::open(&router, &log, request, config.limits.slow_after).await?;
        printer.opened(&opening.cursor);
        follow(&mut subscriber, &mut printer).await
    };
    // Woken by: a signal · the end of following, when stdout is closed or the log cannot be read. The listener never ends
    // by itself; it runs here because the subscriber lives on what it hears.
    let outcome = tokio::select! {
        () = signals.next() => Ok(()),
        outcome = follow => outcome,
        () = listener.run(session, CancellationToken::new()) => Ok(()),
    };
    printer.close();
    outcome.map(|()| ExitCode::SUCCESS)
}

fn request(args: &Args) -> Result<Request, Failure> {
    let wrong = |flag: &str, message: String| Failure::new(format!("{flag}: {message}"));
    let types =
        Globs::parse(&args.types).map_err(|error| wrong("--types", error.to_string()).with_hint(error.hint()))?;
    let after = match &args.after {
        Some(text) => Some(text.parse::<Cursor>().map_err(|error| wrong("--after", error.to_string()))?),
        None => None,
    };
    // Whoever may read the database may read every event: an admin of everything, to the parts behind.
    let (sub, tenants, events) = ("tail".into(), Tenants::All, Globs::any());
    let reader = Principal {
        sub,
        tenants,
        role: Role::Admin,
        events: events.clone(),
        expires_at: u64::MAX,
        issued_at: None,
        jti: None,
        key: None,
    };
    let scope = match &args.tenant {
        Some(tenant) => match reader.enter(tenant) {
            Some(tenant) => Scope::Tenant(tenant),
            None => return Err(wrong("--tenant", "not a tenant's name".into())),
        },
        None => Scope::Every,
    };
    let filter = Filter { allowed: events, types, subject: None, user: None, tenants: None };
    Ok(Request { scope, filter, encoding: Encoding::Sse, after })
}

async fn follow(subscriber: &mut Subscriber, printer: &mut Printer) -> Result<(), Failure> {
    loop {
        match poll_fn(|cx| subscriber.poll_delivery(cx, None)).await {
            Delivery::Events(blocks, ..) => {
                for block in blocks {
                    if printer.block(&block)? {
                        return Ok(());
                    }
                }
            }
            Delivery::Reset(reset, cursor) => {
                eprintln!("tidings: events are missing here: {}; going on from {cursor}", reset.reason());
                printer.opened(&cursor);
            }
            Delivery::End(why) => {
                let failure = Failure::new(format!("the stream ended: {}", why.reason()));
                return Err(failure.with_hint("go on with --after and the cursor printed"));
            }
        }
    }
}
