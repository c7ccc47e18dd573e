//! Who a member is and where it is reached, checked before it enters the table.

use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::types::{NodeId, Role};

/// A DNS name or IP address: letters, digits, dots and dashes, or an IPv6 address. Lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

/// A text that is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a DNS name nor an IP address")]
pub struct HostError(pub String);

impl Host {
    /// The longest host there is, in bytes, as in DNS.
    pub const BYTES_MAX: usize = 253;

    /// The host as text; an IPv6 address stands without brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        // A refused text is cut, so that an answer or a log never repeats a flood.
        let refuse = || HostError(text.chars().take(64).collect());
        let bare = match text.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(refuse)?,
            None => text,
        };
        if bare.contains(':') {
            return bare.parse::<Ipv6Addr>().map(|ip| Self(ip.to_string())).map_err(|_| refuse());
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if text.len() <= Self::BYTES_MAX && text.split('.').all(is_label) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(refuse())
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a node takes HTTP.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The name or IP address.
    pub host: Host,
    /// The TCP port.
    pub port: NonZeroU16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.0.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A node as it names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: NodeId,
    /// What it is for.
    pub role: Role,
    /// Where peers and callers reach it: a name others can resolve, never a pod's.
    pub address: Address,
    /// The port of its monitor; `None` while nobody has said.
    pub monitor_port: Option<NonZeroU16>,
}

/// A place to look for members, as configured.
///
/// One with an id and a role is a *configured member*: gossip changes neither its role nor its
/// address, and it is never forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The node's number, where it is known.
    pub id: Option<NodeId>,
    /// The node's role, where it is known.
    pub role: Option<Role>,
    /// Where it is asked.
    pub address: Address,
}

impl Seed {
    /// The member this seed configures, when it names id and role.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        let (id, role) = (self.id?, self.role?);
        Some(Member { id, role, address: self.address.clone(), monitor_port: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_hosts() {
        for (text, host) in [
            ("proposer1", "proposer1"),
            ("Proposer1.paxos.svc.cluster.local", "proposer1.paxos.svc.cluster.local"),
            ("10.0.0.7", "10.0.0.7"),
            ("::1", "::1"),
            ("[fe80::1]", "fe80::1"),
        ] {
            assert_eq!(text.parse::<Host>().unwrap().as_str(), host);
        }
    }

    #[test]
    fn other_texts_are_no_hosts() {
        let long = "a.".repeat(130);
        for text in ["", "a b", "a/b", "-a", "a..b", "a_b", "[::1", "1:2", "a\n", "é", &long] {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_ipv6_address_is_shown_in_brackets() {
        let address = Address { host: "::1".parse().unwrap(), port: NonZeroU16::new(80).unwrap() };
        assert_eq!(address.to_string(), "[::1]:80");
    }
}
