//! Links between peers: one long-lived connection per direction, which carries frames.
//!
//! ```text
//!  dialler (Links)                                     listener (InboundLinks)
//!     GET /peer, Upgrade: paxosd/1, who I am  ────────►  checks cluster, version, id
//!     ◄──────────────────────  101, who I am (or a problem that says why not)
//!     frame, frame, frame, …                  ────────►  delivers all that arrived at once
//! ```
//!
//! The dialler only writes, the listener only reads; so whatever ends one side is seen by the other
//! as the end of its stream, at once. A frame is a length (32 bits, little endian) and so many
//! opaque bytes.

mod inbound;
mod outbound;

use std::io;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_util::bytes::Bytes;
use tokio_util::codec::LengthDelimitedCodec;

pub use inbound::{BadFrame, Deliver, InboundConfig, InboundLinks};
pub use outbound::{Links, LinksConfig, SendError};

use crate::types::{Incarnation, NodeId, Role};

/// The path that links are opened on.
pub const PATH: &str = "/peer";

/// The framing, as `Upgrade` names it.
const PROTOCOL: HeaderValue = HeaderValue::from_static("paxosd/1");

const CLUSTER: HeaderName = HeaderName::from_static("paxos-cluster");
const NODE: HeaderName = HeaderName::from_static("paxos-node");
const ROLE: HeaderName = HeaderName::from_static("paxos-role");
const INCARNATION: HeaderName = HeaderName::from_static("paxos-incarnation");
const VERSION: HeaderName = HeaderName::from_static("paxos-version");

/// How long a silent machine is waited for. Bytes unacknowledged so long, a peer that reads nothing
/// so long while bytes wait, or keep-alive probes unanswered end the connection. A process that
/// dies is noticed at once.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Bytes of a frame's length field.
const LENGTH_BYTES: usize = 4;

/// Who a node is, as it says when a link opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The node's id.
    pub node: NodeId,
    /// What it is for.
    pub role: Role,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// The version of the messages that its frames carry; links join equal versions only.
    pub version: u32,
}

/// One inbound connection; no two of a process are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A change of the links. None is ever dropped: a link waits until its event is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEvent {
    /// Frames to this node are taken from now on.
    OutboundUp(NodeId),
    /// Frames to this node are refused from now on; those taken before may be lost.
    OutboundDown(NodeId),
    /// Frames of this node arrive from now on.
    InboundUp {
        /// Whose.
        node: NodeId,
        /// What it says it is for.
        role: Role,
        /// Which start of it.
        incarnation: Incarnation,
        /// The connection.
        link: LinkId,
    },
    /// No more frames arrive over this connection. Comes before the `InboundUp` of its successor.
    InboundDown {
        /// Whose.
        node: NodeId,
        /// The connection.
        link: LinkId,
    },
}

/// What a peer's headers lack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum IdentityError {
    #[error("the header {0} is missing")]
    Missing(HeaderName),
    #[error("the header {name} is `{text}`: {why}")]
    Bad { name: HeaderName, text: String, why: String },
}

impl Identity {
    /// Writes it into `headers`.
    ///
    /// # Errors
    /// When the cluster's name has characters that no header can carry.
    fn write(&self, headers: &mut HeaderMap) -> Result<(), hyper::http::Error> {
        headers.insert(CLUSTER, HeaderValue::from_str(&self.cluster)?);
        headers.insert(NODE, HeaderValue::from(u16::from(self.node.get())));
        headers.insert(ROLE, HeaderValue::from_static(self.role.as_str()));
        headers.insert(INCARNATION, HeaderValue::from(self.incarnation.0));
        headers.insert(VERSION, HeaderValue::from(self.version));
        Ok(())
    }

    /// Reads it from `headers`.
    fn read(headers: &HeaderMap) -> Result<Self, IdentityError> {
        Ok(Self {
            cluster: field(headers, CLUSTER, |text| Ok::<_, String>(text.to_owned()))?,
            node: field(headers, NODE, |text| {
                let number = text.parse::<u64>().map_err(|error| error.to_string())?;
                NodeId::new(number).map_err(|error| error.to_string())
            })?,
            role: field(headers, ROLE, str::parse)?,
            incarnation: Incarnation(field(headers, INCARNATION, str::parse)?),
            version: field(headers, VERSION, str::parse)?,
        })
    }
}

fn field<T, E: ToString>(
    headers: &HeaderMap,
    name: HeaderName,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, IdentityError> {
    let Some(value) = headers.get(&name) else { return Err(IdentityError::Missing(name)) };
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    parse(&text).map_err(|why| IdentityError::Bad { name, text, why: why.to_string() })
}

/// The framing, for frames of at most `frame_bytes_max`.
fn codec(frame_bytes_max: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_type::<u32>()
        .max_frame_length(frame_bytes_max)
        .new_codec()
}

/// The bare connection below an upgraded one, and what was read of it already.
fn bare(upgraded: Upgraded) -> io::Result<(TcpStream, Bytes)> {
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| io::Error::other("the connection is not plain TCP"))?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

/// Makes the kernel end a connection whose other machine fell silent.
fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(2))
        .with_interval(Duration::from_secs(1))
        .with_retries(3);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(SILENCE_MAX))
}

#[cfg(test)]
mod tests;
