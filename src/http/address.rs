//! Where a node can be reached: a host, kept as it was written, and a port.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

/// A host name or IP address, and a port. A name is resolved anew at each use, because the node
/// behind it may have moved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address; write host:port, 10.0.0.1:3001 or [::1]:3001")]
pub struct ParseAddressError(pub String);

impl Address {
    /// The address `host`:`port`.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Every socket address that the host has now; at least one.
    ///
    /// # Errors
    /// When the name does not resolve.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<_> =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let error = || ParseAddressError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().map_err(|_| error())?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_none() && host.contains(':') {
            return Err(error());
        }
        match bracketed.unwrap_or(host) {
            "" => Err(error()),
            host => Ok(Self::new(host, port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_is_written() {
        for text in ["acceptor1:4001", "127.0.0.1:80", "[::1]:3001"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:3001".parse(), Ok(Address::new("::1", 3001)));
    }

    #[test]
    fn a_text_without_host_or_port_is_no_address() {
        for text in ["acceptor1", ":4001", "acceptor1:x", "::1:3001", "a:70000"] {
            assert_eq!(text.parse::<Address>(), Err(ParseAddressError(text.to_owned())));
        }
    }
}
