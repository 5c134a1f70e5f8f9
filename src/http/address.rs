//! Whose address a request comes from: the peer's, or what proxies that are trusted say of it.
//!
//! Invariant: nobody chooses their own address. Of a chain of forwarding headers the rightmost address counts that no
//! trusted proxy has; what stands left of it, its sender may have made up (`a_client_cannot_choose_its_address`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use warp::http::HeaderMap;

use crate::disconnect::Disconnect;
use crate::metrics::Metrics;
use crate::reload::Held;

/// Sockets that an address may have besides its streams, so that one that has too many of those can still be told so.
const SPARE_SOCKETS: usize = 64;

/// A network as it is written in `http.trusted_proxies`: an address, or one with the length of a prefix.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)))
}

/// The address that a request is counted for.
pub fn of_request(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return group(peer);
    }
    let [x_forwarded, forwarded] =
        [("x-forwarded-for", x_forwarded as Parse), ("forwarded", forwarded)].map(|(name, parse)| {
            let mut lines = headers.get_all(name).iter().peekable();
            lines.peek()?;
            let items: Vec<&str> = lines.flat_map(|line| line.to_str().unwrap_or("").split(',')).collect();
            Some(nearest(peer, items.into_iter().rev().map(parse), trusted))
        });
    group(match (x_forwarded, forwarded) {
        (Some(one), Some(other)) if one == other => one,
        (Some(one), None) | (None, Some(one)) => one,
        // Two that contradict each other: a proxy wrote one of them and handed on what its client made up as the other.
        _ => peer,
    })
}

type Parse = fn(&str) -> Option<IpAddr>;

/// Goes back from the peer, hop by hop, for as long as each hop is trusted to name the one before it.
fn nearest(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &[IpNet]) -> IpAddr {
    let mut nearest = peer;
    for hop in hops {
        let Some(hop) = hop.map(|hop| hop.to_canonical()) else { break };
        nearest = hop;
        if !is_trusted(hop, trusted) {
            break;
        }
    }
    nearest
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// One item of `X-Forwarded-For`; some proxies add a port.
fn x_forwarded(item: &str) -> Option<IpAddr> {
    let item = item.trim();
    let bracketed = item.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(item);
    bracketed.parse().ok().or_else(|| Some(item.parse::<SocketAddr>().ok()?.ip()))
}

/// The `for` of one item of `Forwarded`, RFC 7239.
fn forwarded(item: &str) -> Option<IpAddr> {
    let pairs = item.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, node) = pairs.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    x_forwarded(node.trim_matches('"'))
}

/// Who has one IPv6 address has the 2⁶⁴ beside it.
fn group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// Sockets by the address of their peer, so that one that only opens them cannot take all there are.
pub struct Sockets {
    in_force: Held,
    metrics: Arc<Metrics>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A socket's place, given back when dropped. None is counted for a trusted proxy.
pub struct Seat {
    sockets: Arc<Sockets>,
    address: Option<IpAddr>,
}

impl Sockets {
    /// None yet.
    pub fn new(in_force: Held, metrics: Arc<Metrics>) -> Self {
        Self { in_force, metrics, open: Mutex::default() }
    }

    /// A place for a socket of this peer's; none where it has as many as it may.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let in_force = self.in_force.load();
        let peer = peer.to_canonical();
        if is_trusted(peer, &in_force.trusted_proxies) {
            return Some(Seat { sockets: self.clone(), address: None });
        }
        let address = group(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&address).copied().unwrap_or_default();
        if count >= in_force.limits.connections_per_address.saturating_add(SPARE_SOCKETS) {
            self.metrics.refused("too_many_sockets");
            return None;
        }
        open.insert(address, count + 1);
        Some(Seat { sockets: self.clone(), address: Some(address) })
    }

    /// How long a full socket may take too little, at present.
    pub fn slow_after(&self) -> std::time::Duration {
        self.in_force.load().limits.slow_after
    }

    /// Counts a socket that was closed because it did not take what was written.
    pub fn slow(&self) {
        self.metrics.disconnect(Disconnect::Slow);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut open = self.sockets.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, headers: &[(&'static str, &str)], trusted: &[&str]) -> String {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| _ = map.append(*name, value.parse().unwrap()));
        let trusted: Vec<IpNet> = trusted.iter().map(|text| network(text).unwrap()).collect();
        of_request(peer.parse().unwrap(), &map, &trusted).to_string()
    }

    const XFF: &str = "x-forwarded-for";

    #[test]
    fn a_client_cannot_choose_its_address() {
        let proxies = ["10.0.0.0/8", "fd00::/8"];
        for (peer, headers, trusted, expected) in [
            // Nobody is trusted: headers say nothing.
            ("203.0.113.9", vec![(XFF, "1.1.1.1")], &[][..], "203.0.113.9"),
            ("203.0.113.9", vec![(XFF, "1.1.1.1")], &proxies, "203.0.113.9"),
            // What the client made up stands left of what the proxy saw.
            ("10.0.0.1", vec![(XFF, "1.1.1.1, 203.0.113.9")], &proxies, "203.0.113.9"),
            ("10.0.0.1", vec![(XFF, "1.1.1.1"), (XFF, "203.0.113.9")], &proxies, "203.0.113.9"),
            ("10.0.0.1", vec![(XFF, "1.1.1.1, 203.0.113.9, 10.2.3.4")], &proxies, "203.0.113.9"),
            ("10.0.0.1", vec![(XFF, "10.9.9.9, 203.0.113.9")], &proxies, "203.0.113.9"),
            // All hops are ours, or one is no address: the last that is known.
            ("10.0.0.1", vec![(XFF, "10.2.3.4")], &proxies, "10.2.3.4"),
            ("10.0.0.1", vec![(XFF, "1.1.1.1, unknown")], &proxies, "10.0.0.1"),
            ("10.0.0.1", vec![(XFF, "1.1.1.1, 10.2.3.4, ,")], &proxies, "10.0.0.1"),
            ("10.0.0.1", vec![], &proxies, "10.0.0.1"),
            // With ports, in brackets, mapped.
            ("10.0.0.1", vec![(XFF, "203.0.113.9:4711")], &proxies, "203.0.113.9"),
            ("::ffff:10.0.0.1", vec![(XFF, "::ffff:203.0.113.9")], &proxies, "203.0.113.9"),
            (
                "10.0.0.1",
                vec![("forwarded", "for=1.1.1.1, For=\"203.0.113.9:80\";proto=https")],
                &proxies,
                "203.0.113.9",
            ),
            (
                "10.0.0.1",
                vec![("forwarded", "proto=https;for=\"[2001:db8:1:2:3::4]:4711\"")],
                &proxies,
                "2001:db8:1:2::",
            ),
            ("10.0.0.1", vec![("forwarded", "for=_hidden, for=unknown")], &proxies, "10.0.0.1"),
            // A header that the proxy does not write, its client may.
            ("10.0.0.1", vec![(XFF, "203.0.113.9"), ("forwarded", "for=1.1.1.1")], &proxies, "10.0.0.1"),
            ("10.0.0.1", vec![(XFF, "203.0.113.9"), ("forwarded", "for=203.0.113.9")], &proxies, "203.0.113.9"),
        ] {
            assert_eq!(seen(peer, &headers, trusted), expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one() {
        assert_eq!(seen("2001:db8:1:2:3:4:5:6", &[], &[]), "2001:db8:1:2::");
        assert_eq!(seen("2001:db8:1:2::1", &[], &[]), "2001:db8:1:2::");
        assert_eq!(seen("fd00::1", &[(XFF, "2001:db8:1:3::1")], &["fd00::1"]), "2001:db8:1:3::");
    }

    #[test]
    fn a_network_is_an_address_or_has_a_prefix() {
        for text in ["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"] {
            assert!(network(text).is_some(), "{text}");
        }
        for text in ["", "10.0.0.0/33", "proxy.internal", "10.0.0", "*"] {
            assert!(network(text).is_none(), "{text}");
        }
    }
}
