//! Who asks: a network address, cut to what one client can be expected to own.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;

/// The address at the other end of the connection; the server puts it into each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// One client as limits count it: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client(u128);

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() & !u128::from(u64::MAX)),
        }
    }
}

impl Client {
    pub(crate) const fn bits(self) -> u128 {
        self.0
    }
}

/// An address range in CIDR form: `10.0.0.0/8`, `fd00::/8`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    first: u128,
    mask: u128,
}

/// Text that is not an address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address or an address range such as 10.0.0.0/8")]
pub struct NotANet;

impl FromStr for Net {
    type Err = NotANet;

    fn from_str(text: &str) -> Result<Self, NotANet> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| NotANet)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANet)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(width);
        if length > width {
            return Err(NotANet);
        }
        let mask = u128::MAX.checked_shl(width - length).unwrap_or(0);
        // An IPv4 range lives inside the mapped block, whose upper 96 bits always count.
        Ok(Self { first: mapped(address) & mask, mask })
    }
}

impl Net {
    /// Whether it holds `address`; `::ffff:1.2.3.4` counts as `1.2.3.4`.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        mapped(address.to_canonical()) & self.mask == self.first
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv6Addr::from_bits(self.first), self.mask.leading_ones())
    }
}

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address that limits count: the peer, or, if that is a trusted proxy, the last address in `X-Forwarded-For` that is none.
/// What stands further left was written by whoever asked, and is not believed.
#[must_use]
pub fn address(peer: Peer, headers: &HeaderMap, proxies: &[Net]) -> IpAddr {
    let trusted = |address: IpAddr| proxies.iter().any(|net| net.contains(address));
    let mut address = peer.0;
    if !trusted(address) {
        return address;
    }
    let lines: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().map(|value| value.to_str().unwrap_or_default()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(next) = hop_address(hop.trim()) else { return address };
        address = next;
        if !trusted(address) {
            break;
        }
    }
    address
}

/// An address as proxies write it: alone, in brackets, or with a port behind it. A port is no part of a client.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let alone = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    alone.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn ranges() {
        let net: Net = "10.0.0.0/8".parse().expect("a range");
        assert!(net.contains(ip("10.255.0.1")) && net.contains(ip("::ffff:10.1.1.1")));
        assert!(!net.contains(ip("11.0.0.1")) && !net.contains(ip("::1")));
        let all: Net = "0.0.0.0/0".parse().expect("a range");
        assert!(all.contains(ip("1.2.3.4")));
        let six: Net = "fd00::/8".parse().expect("a range");
        assert!(six.contains(ip("fdab::1")) && !six.contains(ip("fe80::1")));
        let everything: Net = "::/0".parse().expect("a range");
        assert!(everything.contains(ip("2001:db8::1")));
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "a/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<Net>(), Err(NotANet), "{bad}");
        }
    }

    #[test]
    fn one_client_is_a_v4_address_or_a_v6_network() {
        assert_eq!(Client::from(ip("2001:db8::1")), Client::from(ip("2001:db8::ffff:2")));
        assert_ne!(Client::from(ip("2001:db8::1")), Client::from(ip("2001:db8:0:1::1")));
        assert_eq!(Client::from(ip("::ffff:1.2.3.4")), Client::from(ip("1.2.3.4")));
        assert_ne!(Client::from(ip("1.2.3.4")), Client::from(ip("1.2.3.5")));
    }

    #[test]
    fn only_a_trusted_proxy_may_name_the_client() {
        let proxies: Vec<Net> = vec!["10.0.0.0/8".parse().expect("a range")];
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "6.6.6.6, 1.2.3.4".parse().expect("a value"));
        headers.append("x-forwarded-for", "10.0.0.9".parse().expect("a value"));
        assert_eq!(address(Peer(ip("10.0.0.1")), &headers, &proxies), ip("1.2.3.4"));
        assert_eq!(address(Peer(ip("8.8.8.8")), &headers, &proxies), ip("8.8.8.8"));
        assert_eq!(address(Peer(ip("10.0.0.1")), &HeaderMap::new(), &proxies), ip("10.0.0.1"));
        headers.append("x-forwarded-for", "junk".parse().expect("a value"));
        assert_eq!(address(Peer(ip("10.0.0.1")), &headers, &proxies), ip("10.0.0.1"));
    }

    #[test]
    fn a_hop_is_an_address_however_a_proxy_writes_it() {
        let proxies: Vec<Net> = vec!["10.0.0.0/8".parse().expect("a range")];
        let named = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.append("x-forwarded-for", value.parse().expect("a value"));
            address(Peer(ip("10.0.0.1")), &headers, &proxies)
        };
        for (written, read) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4:5678", "1.2.3.4"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("6.6.6.6, 1.2.3.4:5 , 10.0.0.9:80", "1.2.3.4"),
            // What is no address is nobody: the nearest hop that is one answers for it.
            ("unknown", "10.0.0.1"),
            ("1.2.3.4, ", "10.0.0.1"),
            ("1.2.3.4, _hidden, 10.9.9.9", "10.9.9.9"),
            ("1.2.3.4:99999", "10.0.0.1"),
            ("[1.2.3.4", "10.0.0.1"),
            ("fe80::1%eth0", "10.0.0.1"),
            ("010.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(named(written), ip(read), "{written}");
        }
        let chain = vec!["10.0.0.2"; 2000].join(", ");
        assert_eq!(named(&format!("1.2.3.4, {chain}")), ip("1.2.3.4"), "as long as a head may be");
    }
}
