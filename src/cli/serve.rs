//! `tidings serve`: the server, until a signal ends it.

use std::process::ExitCode;

use super::signals::Signals;
use super::{Failure, database, say};
use crate::app::App;
use crate::config::Config;

const EXAMPLES: &str = "Examples:
  DATABASE_URL=postgres://… TIDINGS__AUTH__SECRET_FILE=/run/secrets/tidings tidings serve
  tidings --config production.toml serve --listen 0.0.0.0:8080

SIGTERM or ctrl-c: clients are told to go elsewhere, over [shutdown] drain. A second one ends at once, with exit code 1.";

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Address and port; short for --set http.listen=…
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) listen: Option<String>,
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// When the server cannot start, or a second signal cut the draining short.
pub async fn run(_args: Args, config: Config) -> Result<ExitCode, Failure> {
    database(&config)?;
    let (mut first, mut second) = (Signals::listen()?, Signals::listen()?);
    // Woken by: the server being ready · a signal, while it is not.
    let app = tokio::select! {
        built = App::build(&config) => built?,
        () = first.next() => return Err(Failure::new("ended by a signal before it was ready")),
    };
    say(&format!("tidings: listening on http://{}", app.address()))?;
    // Woken by: the end of draining, which the first signal begins · a second signal.
    tokio::select! {
        () = app.run(async move { first.next().await }) => Ok(ExitCode::SUCCESS),
        () = second.second() => Err(Failure::new("ended by a second signal; connections were cut")),
    }
}
