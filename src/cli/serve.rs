//! `tidings serve`: the server, until a signal ends it.

use std::process::ExitCode;
use std::sync::Arc;

use sd_notify::NotifyState;

use super::log::Filter;
use super::signals::{Reloads, Signals};
use super::{Failure, database, say, service};
use crate::app::{App, StartError};
use crate::config::{Given, Loaded};
use crate::http::tls::Tls;
use crate::metrics::Metrics;
use crate::reload::{self, Reload};

const EXAMPLES: &str = "Examples:
  DATABASE_URL=postgres://… TIDINGS__AUTH__SECRET_FILE=/run/secrets/tidings tidings serve
  tidings --config production.toml serve --listen 0.0.0.0:8080

SIGTERM or ctrl-c: clients are told to go elsewhere, over [shutdown] drain. A second one ends at once, with exit code 1.
SIGHUP: keys, origins, limits, the log filter and the TLS certificate are read again, all or none.";

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
pub async fn run(_args: Args, loaded: Loaded, given: Given, filter: Filter) -> Result<ExitCode, Failure> {
    let config = &loaded.config;
    database(config)?;
    let (mut first, mut second, hangups) = (Signals::listen()?, Signals::listen()?, Reloads::listen()?);
    // Woken by: the server being ready · a signal, while it is not.
    let app = tokio::select! {
        built = App::build(config) => built?,
        () = first.next() => return Err(Failure::new("ended by a signal before it was ready")),
    };
    let tls = app.tls();
    let scheme = if tls.is_some() { "https" } else { "http" };
    say(&format!("tidings: listening on {scheme}://{}", app.address()))?;
    if let Some(address) = app.metrics_address() {
        say(&format!("tidings: metrics on http://{address}/metrics"))?;
    }
    let (health, heart) = app.pulse();
    let reloading = Reloading { reload: app.reload(), metrics: app.metrics(), tls, given, filter, started: &loaded };
    let until = async move {
        first.next().await;
        service::tell(&NotifyState::Stopping, "draining");
    };
    // Woken by: the end of draining, which the first signal begins · a second signal. The others never end.
    tokio::select! {
        () = app.run(until) => Ok(ExitCode::SUCCESS),
        () = second.second() => Err(Failure::new("ended by a second signal; connections were cut")),
        () = service::follow(health, heart) => Ok(ExitCode::FAILURE),
        () = reloading.run(hangups) => Ok(ExitCode::FAILURE),
    }
}

/// Takes up changed settings at each SIGHUP, one after the other.
struct Reloading<'a> {
    reload: Arc<Reload>,
    metrics: Arc<Metrics>,
    tls: Option<Arc<Tls>>,
    given: Given,
    filter: Filter,
    started: &'a Loaded,
}

impl Reloading<'_> {
    async fn run(self, mut hangups: Reloads) {
        loop {
            hangups.next().await;
            service::tell_reloading();
            let (outcome, status) = match self.once().await {
                Ok(()) => ("taken_up", "listening"),
                Err(failure) => {
                    tracing::error!(%failure, "the configuration is refused; the one before stays in force");
                    ("refused", "listening; the last configuration was refused, see the log")
                }
            };
            self.metrics.reloaded(outcome);
            service::tell(&NotifyState::Ready, status);
        }
    }

    async fn once(&self) -> Result<(), Failure> {
        let loaded = self.given.load()?;
        if let Some(tls) = &self.tls {
            tls.reload().await.map_err(StartError::from)?;
        }
        let ended = self.reload.take_up(&loaded.config).await?;
        // Checked with the rest of the configuration.
        self.filter.set(&loaded.config.tracing.filter);
        let (taken_up, restart): (Vec<_>, Vec<_>) =
            loaded.different(self.started).partition(|name| reload::is_taken_up(name));
        tracing::info!(since_start = taken_up.join(" "), ended, "the configuration was taken up");
        if !restart.is_empty() {
            tracing::warn!(needs_a_restart = restart.join(" "), "these settings are not those that run");
        }
        Ok(())
    }
}
