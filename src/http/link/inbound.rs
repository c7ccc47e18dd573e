//! The listening side of links: checks who asks, reads frames, delivers them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::codec::Decoder;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::{Identity, LinkEvent, LinkId, PROTOCOL, VERSION, bare, codec, notice_silence};
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::types::NodeId;

/// Room made for one read: many small frames, or a part of a large one.
const READ_BYTES: usize = 64 * 1024;

/// Where frames go.
pub trait Deliver: Send + Sync + 'static {
    /// Takes frames in the order in which `from` wrote them: all that had arrived. The connection
    /// is not read until the future ends, so a slow receiver slows its peer; one that keeps the
    /// peer's bytes waiting for 5 s loses the link. The future is dropped when the link is replaced
    /// or the node stops; what it had not taken is lost with the link.
    ///
    /// A frame is a slice of one shared buffer; what keeps a small one for long should copy it.
    ///
    /// # Errors
    /// When a frame is no message. That ends the connection.
    fn deliver(
        &self,
        from: NodeId,
        link: LinkId,
        frames: Vec<Bytes>,
    ) -> impl Future<Output = Result<(), BadFrame>> + Send;
}

/// A frame that is no message, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad frame: {0}")]
pub struct BadFrame(pub String);

/// What inbound links need to know.
#[derive(Debug, Clone)]
pub struct InboundConfig {
    /// This node.
    pub me: Identity,
    /// Bytes of the longest frame.
    pub frame_bytes_max: usize,
}

/// The inbound links of a node: at most one of each peer, the newest.
pub struct InboundLinks<D> {
    config: InboundConfig,
    sink: D,
    events: mpsc::Sender<LinkEvent>,
    shutdown: CancellationToken,
    tracker: TaskTracker,
    next_link: AtomicU64,
    /// Held for a look-up, never while waiting.
    current: Mutex<BTreeMap<NodeId, Claim>>,
}

/// The right to be the link of a node.
#[derive(Clone)]
struct Claim {
    link: LinkId,
    /// Cancelled by the successor.
    replaced: CancellationToken,
    /// Cancelled when the link has told of its end.
    ended: CancellationToken,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed it")]
    Closed,
    #[error(transparent)]
    Broken(io::Error),
    #[error("garbage instead of a frame: {0}")]
    Garbage(io::Error),
    #[error(transparent)]
    Refused(#[from] BadFrame),
    #[error("a newer link of the peer replaces it")]
    Replaced,
    #[error("this node stops")]
    Stopped,
}

impl<D: Deliver> InboundLinks<D> {
    /// Links whose frames go to `sink` and whose changes go to `events`. They end at `shutdown`;
    /// their tasks belong to `tracker`.
    pub fn new(
        config: InboundConfig,
        sink: D,
        events: mpsc::Sender<LinkEvent>,
        shutdown: CancellationToken,
        tracker: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            sink,
            events,
            shutdown,
            tracker,
            next_link: AtomicU64::new(1),
            current: Mutex::new(BTreeMap::new()),
        })
    }

    /// Answers a request for a link: 101, and reads frames from then on, or a problem that says why
    /// not: 426 for another protocol or version, 409 for another cluster or this node's own id, 400
    /// for headers that are missing or malformed.
    pub fn accept(self: &Arc<Self>, request: &mut Request<Incoming>) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let peer = match self.check(request.headers()) {
            Ok(peer) => peer,
            Err(problem) => {
                // A peer that is configured wrongly tries again for ever; it warns once itself.
                debug!(%problem, "refused a link");
                return problem.into_response();
            }
        };
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, PROTOCOL);
        if self.config.me.write(headers).is_err() {
            // A peer of the same cluster has sent that name in a header, so this one fits too.
            return Problem::conflict("The cluster's name fits no header").into_response();
        }
        let upgrade = hyper::upgrade::on(request);
        self.tracker.spawn(Arc::clone(self).run(upgrade, peer));
        response
    }

    fn check(&self, headers: &HeaderMap) -> Result<Identity, Problem> {
        let me = &self.config.me;
        if headers.get(UPGRADE).is_none_or(|asked| asked != PROTOCOL) {
            return Err(Problem::upgrade_required(PROTOCOL));
        }
        let peer =
            Identity::read(headers).map_err(|error| Problem::bad_request(error.to_string()))?;
        if peer.cluster != me.cluster {
            return Err(Problem::conflict("Another cluster").detail(format!(
                "node {} is of cluster `{}`; this is node {} of cluster `{}`",
                peer.node, peer.cluster, me.node, me.cluster
            )));
        }
        if peer.version != me.version {
            return Err(Problem::upgrade_required(PROTOCOL)
                .detail(format!(
                    "node {} speaks version {}; this is node {}, which speaks version {}",
                    peer.node, peer.version, me.node, me.version
                ))
                .hint(format!("run nodes that agree on {VERSION}")));
        }
        if peer.node == me.node {
            return Err(Problem::conflict("My own id")
                .detail(format!("this is node {} itself", me.node))
                .hint("give each node an id of its own"));
        }
        Ok(peer)
    }

    async fn run(self: Arc<Self>, upgrade: OnUpgrade, peer: Identity) {
        let opened = match upgrade.await {
            Ok(upgraded) => bare(upgraded),
            Err(error) => Err(io::Error::other(error)),
        };
        let (stream, early) = match opened {
            Ok(opened) => opened,
            Err(error) => return debug!(node = %peer.node, %error, "a link broke as it opened"),
        };
        let node = peer.node;
        let claim = self.claim(node).await;
        let link = claim.link;
        info!(%node, role = %peer.role, link = link.0, "inbound link is up");
        self.tell(LinkEvent::InboundUp {
            node,
            role: peer.role,
            incarnation: peer.incarnation,
            link,
        })
        .await;
        let end = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => End::Stopped,
            () = claim.replaced.cancelled() => End::Replaced,
            end = self.read(node, link, stream, early) => end,
        };
        match &end {
            End::Garbage(_) | End::Refused(_) => {
                warn!(%node, link = link.0, %end, "inbound link is cut");
            }
            End::Closed | End::Broken(_) | End::Replaced | End::Stopped => {
                info!(%node, link = link.0, %end, "inbound link is down");
            }
        }
        self.tell(LinkEvent::InboundDown { node, link }).await;
        self.release(node, &claim);
    }

    /// Takes the place of the node's older link and waits until that has ended, so that events and
    /// frames of the two never mingle.
    async fn claim(&self, node: NodeId) -> Claim {
        let claim = Claim {
            link: LinkId(self.next_link.fetch_add(1, Ordering::Relaxed)),
            replaced: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let older =
            self.current.lock().unwrap_or_else(PoisonError::into_inner).insert(node, claim.clone());
        if let Some(older) = older {
            older.replaced.cancel();
            older.ended.cancelled().await;
        }
        claim
    }

    fn release(&self, node: NodeId, claim: &Claim) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.get(&node).is_some_and(|newest| newest.link == claim.link) {
            current.remove(&node);
        }
        claim.ended.cancel();
    }

    async fn tell(&self, event: LinkEvent) {
        if self.events.send(event).await.is_err() {
            debug!(?event, "nobody listens to links any more");
        }
    }

    /// Reads and delivers until the link ends.
    async fn read(&self, node: NodeId, link: LinkId, mut stream: TcpStream, early: Bytes) -> End {
        if let Err(error) = notice_silence(&stream) {
            return End::Broken(error);
        }
        let mut codec = codec(self.config.frame_bytes_max);
        let mut buffer = BytesMut::from(early);
        loop {
            let mut frames = Vec::new();
            loop {
                match codec.decode(&mut buffer) {
                    Ok(Some(frame)) => frames.push(frame.freeze()),
                    Ok(None) => break,
                    Err(error) => return End::Garbage(error),
                }
            }
            if !frames.is_empty()
                && let Err(error) = self.sink.deliver(node, link, frames).await
            {
                return End::Refused(error);
            }
            buffer.reserve(READ_BYTES);
            match stream.read_buf(&mut buffer).await {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(error) => return End::Broken(error),
            }
        }
    }
}

impl<D> fmt::Debug for InboundLinks<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundLinks").field("config", &self.config).finish_non_exhaustive()
    }
}
