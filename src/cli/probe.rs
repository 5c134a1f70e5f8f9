//! `tidings probe`: asks a running server whether it is ready, for images that have no other client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::time::Duration;

use reqwest::Client;

use super::{Failure, say};
use crate::config::Config;

const EXAMPLES: &str = "Examples:
  tidings probe                 ready? exit code 0 or 1
  tidings probe --path /livez   alive?

It asks the address of http.listen on this machine, with the same settings that `serve` is given.";

/// Whoever probes waits for seconds, not longer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Arguments of `probe`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to ask
    #[arg(long, value_name = "PATH", default_value = "/readyz")]
    path: String,
}

/// Asks once.
///
/// # Errors
/// When there is no answer, or one that is not 200.
pub async fn run(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let mut address = config.http.listen;
    // What is bound to every address is asked at this machine's own.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let url = format!("http://{address}{}", args.path);
    // No proxy, and no root certificates, which a small image may lack: it is this machine.
    let client = Client::builder().no_proxy().tls_certs_only([]).timeout(TIMEOUT).build();
    let client = client.map_err(|error| Failure::new(error.to_string()))?;
    match client.get(&url).send().await {
        Ok(answer) if answer.status().is_success() => say(&format!("{url} answers {}", answer.status())),
        Ok(answer) => Err(Failure::new(format!("{url} answers {}", answer.status()))),
        Err(error) => {
            let hint = "is it running, and on http.listen?";
            Err(Failure::new(format!("{url} does not answer: {}", error.without_url())).with_hint(hint))
        }
    }
}
