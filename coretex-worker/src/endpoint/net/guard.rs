//! The guard: which addresses an endpoint may reach.
//!
//! Public addresses, and those that the document allows. Everything that IANA's special-purpose registries do not call
//! globally reachable is refused, and the addresses of metadata services that look public.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A network in the form `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    address: IpAddr,
    prefix: u8,
}

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no network; write it as `10.1.0.0/16` or `fd00::/8`");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
        };
        if prefix > bits {
            return Err(wrong());
        }
        let block = Self { address, prefix };
        if block.masked(address) != number(address) {
            return Err(format!("`{text}` has bits beyond its prefix; write the network's first address"));
        }
        Ok(block)
    }
}

impl Block {
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && self.masked(address) == number(self.address)
    }

    fn masked(&self, address: IpAddr) -> u128 {
        let bits: u32 = if address.is_ipv4() { 32 } else { 128 };
        let free = bits - u32::from(self.prefix).min(bits);
        number(address).checked_shr(free).and_then(|kept| kept.checked_shl(free)).unwrap_or(0)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Block {
    Block { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
}

const fn v6(a: u16, b: u16, prefix: u8) -> Block {
    Block { address: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), prefix }
}

/// Source: IANA, special-purpose address registries for IPv4 and IPv6. Of IPv6, only `2000::/3` is given out at all.
const REFUSED: [(Block, &str); 23] = [
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared by carriers"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(168, 63, 129, 16, 32), "a metadata service"),
    (v4(169, 254, 0, 0, 16), "link-local, where metadata services are"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "for protocols"),
    (v4(192, 0, 2, 0, 24), "for documentation"),
    (v4(192, 88, 99, 0, 24), "a relay"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "for benchmarks"),
    (v4(198, 51, 100, 0, 24), "for documentation"),
    (v4(203, 0, 113, 0, 24), "for documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
    (v6(0x2001, 0, 23), "for protocols, tunnels among them"),
    (v6(0x2001, 0xdb8, 32), "for documentation"),
    (v6(0x2002, 0, 16), "a tunnel to IPv4 (6to4)"),
    (v6(0x3fff, 0, 20), "for documentation"),
    (v6(0xfe80, 0, 10), "link-local"),
    (v6(0xfc00, 0, 7), "private"),
    (v6(0xff00, 0, 8), "multicast"),
];

const GIVEN_OUT: Block = v6(0x2000, 0, 3);

/// Which addresses and hosts may be reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    pub(crate) allowed: Vec<Block>,
}

impl Guard {
    /// Whether `address` may be reached, or why not.
    pub(crate) fn judge(&self, address: IpAddr) -> Result<(), String> {
        // An IPv4 address in IPv6 clothes is what it is.
        let address = address.to_canonical();
        if self.allowed.iter().any(|block| block.contains(address)) {
            return Ok(());
        }
        if let Some((_, what)) = REFUSED.iter().find(|(block, _)| block.contains(address)) {
            return Err(format!("{address} is {what}"));
        }
        if address.is_ipv6() && !GIVEN_OUT.contains(address) {
            return Err(format!("{address} is not a public address"));
        }
        Ok(())
    }
}

/// Whether `host` is on a list of hosts: by name, `*.name` for what is below it, or by address.
pub(crate) fn listed(hosts: &[String], host: &str) -> bool {
    hosts.iter().any(|entry| {
        let entry = entry.trim().trim_end_matches('.').to_ascii_lowercase();
        match entry.strip_prefix("*.") {
            Some(parent) => host.strip_suffix(parent).is_some_and(|head| head.len() > 1 && head.ends_with('.')),
            None => entry == host,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass_unless_allowed() {
        let guard = Guard::default();
        for public in ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert_eq!(guard.judge(public.parse().unwrap()), Ok(()), "{public}");
        }
        for refused in [
            "0.0.0.0",
            "0.1.2.3",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(guard.judge(refused.parse().unwrap()).is_err(), "{refused}");
        }
        let allowing = Guard { allowed: vec!["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()] };
        for allowed in ["127.0.0.1", "::ffff:127.0.0.1", "fd00::1"] {
            assert_eq!(allowing.judge(allowed.parse().unwrap()), Ok(()), "{allowed}");
        }
        for refused in ["10.0.0.1", "::1", "fc00::1"] {
            assert!(allowing.judge(refused.parse().unwrap()).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_network_is_written_in_one_way() {
        for wrong in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/", "10/8", "fd00::/129", "host", ""] {
            assert!(wrong.parse::<Block>().is_err(), "{wrong}");
        }
        assert!("0.0.0.0/0".parse::<Block>().unwrap().contains([9, 9, 9, 9].into()));
        assert!(!"0.0.0.0/0".parse::<Block>().unwrap().contains(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert!("10.1.2.3".parse::<Block>().unwrap().contains([10, 1, 2, 3].into()));
    }

    #[test]
    fn a_star_stands_for_what_is_below_a_name() {
        let hosts = ["*.example.org".to_owned(), "API.example.com.".to_owned()];
        for (host, expected) in [
            ("a.example.org", true),
            ("b.a.example.org", true),
            ("example.org", false),
            ("evilexample.org", false),
            ("api.example.com", true),
            ("x.api.example.com", false),
        ] {
            assert_eq!(listed(&hosts, host), expected, "{host}");
        }
    }
}
