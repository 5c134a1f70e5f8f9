//! `tidings token`: a token for trying things out and for services, signed with the configured secret.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;

use super::{Failure, say};
use crate::auth::{Role, TokenRequest};
use crate::config::Config;
use crate::reload::verifier_config;

const EXAMPLES: &str = "Examples:
  tidings token --sub ada --tenant acme
  tidings token --sub worker --tenant acme --tenant globex --role service --ttl 30d
  tidings token --sub ops --role admin                       an admin without tenants administers all of them
  curl -N -H \"Authorization: Bearer $(tidings token --sub ada --tenant acme)\" -H 'Accept: text/event-stream' \\
    http://127.0.0.1:8080/v1/tenants/acme/events

The secret is auth.secret: TIDINGS__AUTH__SECRET or TIDINGS__AUTH__SECRET_FILE, the same as the server's.";

/// Arguments of `token`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Who the bearer is
    #[arg(long)]
    sub: String,
    /// A tenant they may enter. May be repeated; only admins go without
    #[arg(long = "tenant", value_name = "TENANT")]
    tenants: Vec<String>,
    /// What they may do there
    #[arg(long, value_enum, default_value = "member")]
    role: RoleName,
    /// Event types they may see, as globs: documents.*,chat.*
    #[arg(long, value_name = "GLOBS")]
    events: Option<String>,
    /// How long it is good for
    #[arg(long, default_value = "1h", value_parser = duration)]
    ttl: Duration,
    /// Print {"token": …, "expires_in": seconds} instead of the token
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    /// Reads
    Member,
    /// Reads and publishes
    Service,
    /// Everything
    Admin,
}

/// Prints the token.
///
/// # Errors
/// When there is no secret, or the server would refuse the token.
pub fn run(args: &Args, config: &Config) -> Result<ExitCode, Failure> {
    let role = match args.role {
        RoleName::Member => Role::Member,
        RoleName::Service => Role::Service,
        RoleName::Admin => Role::Admin,
    };
    let (sub, tenants, events) = (args.sub.clone(), args.tenants.clone(), args.events.clone());
    let token = TokenRequest { sub, tenants, role, events, ttl: args.ttl }.mint(&verifier_config(config))?;
    if args.json {
        return say(&serde_json::json!({ "token": token, "expires_in": args.ttl.as_secs() }).to_string());
    }
    say(&token)
}

/// As in config.toml, without milliseconds: `exp` counts seconds.
fn duration(text: &str) -> Result<Duration, &'static str> {
    let wrong = "write a whole number above zero and one of s, m, h, d, such as 1h";
    let unit_s = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong)?;
    if number == 0 { Err(wrong) } else { Ok(Duration::from_secs(u64::from(number) * unit_s)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_a_whole_number_and_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30d"), Ok(Duration::from_secs(2_592_000)));
        for wrong in ["", "h", "1", "0s", "1w", "-1h", "1.5h", "1é"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
