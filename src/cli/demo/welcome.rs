//! What the demo prints: links that sign in, and lines to paste.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::Failure;
use crate::auth::{Globs, Principal, Role, Tenants, TokenRequest};
use crate::config::Config;
use crate::postgres::Pool;
use crate::reload::verifier_config;

/// Links are opened at leisure: unlike those that pages ask for, these tickets wait an hour. Each still works once.
const TICKET_TTL: &str = "1 hour";
/// Neither a page nor a pasted line shall stop working while someone plays with the demo.
const RIGHTS_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Page, who opens it, in which tenants, as what.
const PAGES: [(&str, &str, &[&str], Role, &str); 6] = [
    (
        "/",
        "ada",
        &["acme", "globex"],
        Role::Admin,
        "every event, as an admin of two tenants: SSE and WebSocket side by side",
    ),
    (
        "/",
        "ben",
        &["acme"],
        Role::Member,
        "as a member of one, in another browser: what others must not see is not there",
    ),
    ("/notifications", "ben", &["acme"], Role::Member, "the notification centre and uploads, as Ben"),
    (
        "/notifications",
        "eve",
        &["acme"],
        Role::Member,
        "and as Eve, in another browser: what is new to her, Ben may have read",
    ),
    ("/admin/chat", "ada", &["acme", "globex"], Role::Admin, "the chats, as Ada"),
    (
        "/admin/chat",
        "chloe",
        &["acme"],
        Role::Admin,
        "and as Chloe, in another browser: who looks where, and who is first",
    ),
];

/// The text, without the line that says how long it took.
pub(super) async fn text(
    config: &Config,
    address: SocketAddr,
    pool: &Pool,
    psql: Option<String>,
) -> Result<String, Failure> {
    let base = format!("http://{}", reachable(address));
    let mut text = String::from("\nOpen in a browser; each link signs in once:\n");
    for (path, sub, tenants, role, what) in PAGES {
        let ticket = ticket(pool, sub, tenants, role).await?;
        text.push_str(&format!("  {base}{path}?ticket={ticket}\n    {what}\n"));
    }
    let token = TokenRequest {
        sub: "curl".into(),
        tenants: vec!["acme".into()],
        role: Role::Service,
        events: None,
        ttl: RIGHTS_TTL,
    }
    .mint(&verifier_config(config))?;
    let (events, bearer) = (format!("{base}/v1/tenants/acme/events"), format!("-H 'Authorization: Bearer {token}'"));
    text.push_str(
        "\nPaste into a shell; a stream of acme's events, one page of them as JSON, and an event of your own:\n",
    );
    text.push_str(&format!("  curl -N -H 'Accept: text/event-stream' {bearer} {events}\n"));
    text.push_str(&format!("  curl -H 'Accept: application/json' {bearer} '{events}?limit=3&wait=10'\n"));
    text.push_str(&format!(
        "  curl -H 'Content-Type: application/json' {bearer} -d '{{\"type\":\"hello.said\",\"data\":{{\"by\":\"me\"}}}}' {events}\n"
    ));
    if let Some(psql) = psql {
        text.push_str("\nOr change a row yourself:\n");
        let insert = "insert into public.documents (tenant_id, uploaded_by, name) values ('acme', 'me', 'by hand.pdf')";
        text.push_str(&format!("  {psql} -c \"{insert}\"\n"));
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// The address as a browser on this machine reaches it: a server on every interface is on the loopback one as well.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback: std::net::IpAddr = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    if address.ip().is_unspecified() { SocketAddr::new(loopback, address.port()) } else { address }
}

/// Stores a ticket as the server does, by its hash, and returns its text.
async fn ticket(pool: &Pool, sub: &str, tenants: &[&str], role: Role) -> Result<String, Failure> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let rights = Principal {
        sub: sub.to_owned(),
        tenants: Tenants::Listed(tenants.iter().map(ToString::to_string).collect()),
        role,
        events: Globs::any(),
        expires_at: now_s + RIGHTS_TTL.as_secs(),
        issued_at: Some(now_s),
        jti: None,
        key: None,
    };
    let ticket = format!("{:032x}", rand::random::<u128>());
    let hash = Sha256::digest(ticket.as_bytes());
    let insert = "insert into tidings._ticket (hash, claims, expires_at) values ($1, $2::text::json, now() + $3::text::interval)";
    let client = pool.get().await?;
    client.execute(insert, &[&hash.as_slice(), &rights.to_claims().to_string(), &TICKET_TTL]).await?;
    Ok(ticket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_this_machine() {
        let reached = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reached("[::]:80"), "[::1]:80");
        assert_eq!(reached("192.0.2.1:80"), "192.0.2.1:80");
    }
}
