//! The dialling side of links: one task a peer, which keeps a connection and drains a queue.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::{
    Identity, IdentityError, LENGTH_BYTES, LinkEvent, PATH, PROTOCOL, bare, notice_silence,
};
use crate::http::address::Address;
use crate::http::body::collect;
use crate::types::NodeId;

/// Frames taken from the queue in one go.
const FRAMES_PER_TURN_MAX: usize = 1024;

/// Bytes that may wait for a peer, beside one frame of any length.
const QUEUE_BYTES_MAX: usize = 256 << 20;

/// Smaller frames are copied together into one write; larger ones are written as they are.
const COPY_BYTES_MAX: usize = 32 * 1024;

/// Copied bytes that make a write of their own.
const WRITE_BYTES: usize = 256 * 1024;

/// How long the frames that wait may take to leave when the node stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of a refusal that are read.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;

/// What outbound links need to know.
#[derive(Debug, Clone)]
pub struct LinksConfig {
    /// This node.
    pub me: Identity,
    /// Frames that may wait for each peer.
    pub queue_frames_max: usize,
    /// Bytes of the longest frame.
    pub frame_bytes_max: usize,
    /// How long resolving, connecting and upgrading may take together.
    pub connect_timeout: Duration,
    /// The shortest pause before a peer is dialled again.
    pub retry_min: Duration,
    /// The longest pause, reached by doubling.
    pub retry_max: Duration,
    /// What the jitter of the pauses is drawn from.
    pub seed: u64,
}

/// A frame that was certainly not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// As many frames wait for the node as may.
    #[error("the queue to node {0} is full")]
    Full(NodeId),
    /// There is no connection to the node now.
    #[error("the link to node {0} is down")]
    Down(NodeId),
    /// The node has no address.
    #[error("node {0} is not known")]
    Unknown(NodeId),
    /// The frame is longer than allowed.
    #[error("a frame of {bytes} bytes exceeds {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// The outbound links of a node. Dropping them ends them.
pub struct Links {
    config: Arc<LinksConfig>,
    events: mpsc::Sender<LinkEvent>,
    tracker: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    /// Held for a look-up, never while waiting.
    peers: RwLock<BTreeMap<NodeId, Peer>>,
}

struct Peer {
    address: watch::Sender<Address>,
    queue: Queue,
    stop: CancellationToken,
}

/// The queue of the connection that is up, or nothing. Each connection has a queue of its own, so
/// that no frame meant for one leaves over the next.
#[derive(Clone, Default)]
struct Queue(Arc<RwLock<Option<Frames>>>);

/// The end of a queue that frames are put into.
struct Frames {
    sender: mpsc::Sender<Bytes>,
    /// Bytes that were taken and not written yet.
    waiting: Arc<AtomicUsize>,
}

impl Queue {
    fn set(&self, frames: Option<Frames>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = frames;
    }

    fn is_open(&self) -> bool {
        let queue = self.0.read().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().is_some_and(|frames| !frames.sender.is_closed())
    }

    fn send(&self, to: NodeId, frame: Bytes) -> Result<(), SendError> {
        let queue = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(frames) = queue.as_ref() else { return Err(SendError::Down(to)) };
        let bytes = frame.len();
        let waiting = frames.waiting.fetch_add(bytes, Ordering::Relaxed);
        let is_too_much = waiting > 0 && waiting.saturating_add(bytes) > QUEUE_BYTES_MAX;
        let sent = if is_too_much {
            Err(SendError::Full(to))
        } else {
            frames.sender.try_send(frame).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => SendError::Full(to),
                mpsc::error::TrySendError::Closed(_) => SendError::Down(to),
            })
        };
        if sent.is_err() {
            frames.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }
}

impl Links {
    /// Links to nobody yet, whose changes go to `events`. They end at `shutdown`, after what waits
    /// has left; their tasks belong to `tracker`.
    #[must_use]
    pub fn new(
        config: LinksConfig,
        events: mpsc::Sender<LinkEvent>,
        shutdown: &CancellationToken,
        tracker: TaskTracker,
    ) -> Self {
        let stop = shutdown.child_token();
        Self {
            config: Arc::new(config),
            events,
            tracker,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            peers: RwLock::new(BTreeMap::new()),
        }
    }

    /// Says where `node` is, and keeps a link to it from now on. While it is dialled, the dialling
    /// starts over with the new address; a link that is up stays as long as it holds. Must run
    /// inside of a runtime.
    pub fn set_address(&self, node: NodeId, address: Address) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(&node) {
            peer.address.send_if_modified(|current| {
                let is_new = *current != address;
                *current = address;
                is_new
            });
            return;
        }
        let (sender, receiver) = watch::channel(address);
        let peer = Peer { address: sender, queue: Queue::default(), stop: self.stop.child_token() };
        let dialler = Dialler {
            node,
            config: Arc::clone(&self.config),
            events: self.events.clone(),
            address: receiver,
            queue: peer.queue.clone(),
            stop: peer.stop.clone(),
            chance: ChaCha8Rng::seed_from_u64(
                self.config.seed.wrapping_mul(100).wrapping_add(u64::from(node.get())),
            ),
            last_failure: None,
        };
        self.tracker.spawn(dialler.run());
        peers.insert(node, peer);
    }

    /// Ends the link to `node`, and dials it no more.
    pub fn remove(&self, node: NodeId) {
        let removed = self.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&node);
        if let Some(peer) = removed {
            peer.queue.set(None);
            peer.stop.cancel();
        }
    }

    /// Gives `frame` to the link to `node`. Never waits. A frame that was taken may still be lost
    /// with the connection.
    ///
    /// # Errors
    /// When the frame was not taken: it was certainly not sent.
    pub fn send(&self, node: NodeId, frame: Bytes) -> Result<(), SendError> {
        let bytes_max = self.config.frame_bytes_max;
        if frame.len() > bytes_max {
            return Err(SendError::TooLarge { bytes: frame.len(), bytes_max });
        }
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        match peers.get(&node) {
            Some(peer) => peer.queue.send(node, frame),
            None => Err(SendError::Unknown(node)),
        }
    }

    /// Whether frames to `node` are taken now.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&node).is_some_and(|peer| peer.queue.is_open())
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("{0}")]
    Connect(#[from] io::Error),
    #[error("the upgrade broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be built: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("it refuses the link: {status} {detail}")]
    Refused { status: StatusCode, detail: String },
    #[error("its answer does not say who it is: {0}")]
    Anonymous(#[from] IdentityError),
    #[error("node {found} of cluster `{cluster}` is there instead")]
    SomebodyElse { found: NodeId, cluster: String },
}

impl DialError {
    /// Whether people must mend it; anything else passes by itself when the peer starts.
    fn is_misconfiguration(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::Request(_)
            | Self::Anonymous(_)
            | Self::SomebodyElse { .. } => true,
            Self::Connect(_) | Self::Http(_) | Self::Timeout(_) => false,
        }
    }
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed it")]
    Closed,
    #[error("the peer wrote into a connection that is for reading")]
    Spoke,
    #[error(transparent)]
    Broken(#[from] io::Error),
    #[error("this node ends it")]
    Stopped,
}

struct Dialler {
    node: NodeId,
    config: Arc<LinksConfig>,
    events: mpsc::Sender<LinkEvent>,
    address: watch::Receiver<Address>,
    queue: Queue,
    stop: CancellationToken,
    chance: ChaCha8Rng,
    /// What was logged last, so that a peer that stays away is told of once.
    last_failure: Option<String>,
}

impl Dialler {
    async fn run(mut self) {
        let stop = self.stop.clone();
        let mut pause_max = self.config.retry_min;
        loop {
            let address = self.address.borrow_and_update().clone();
            let dialled = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.address.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                dialled = dial(self.node, &address, &self.config) => dialled,
            };
            match dialled {
                Ok(stream) => {
                    let since = Instant::now();
                    self.keep(stream, &address).await;
                    // A peer that takes links and drops them at once is not dialled in a rush.
                    if since.elapsed() >= self.config.retry_max {
                        pause_max = self.config.retry_min;
                    }
                }
                Err(error) => self.on_failure(&address, &error),
            }
            pause_max = (pause_max * 2).min(self.config.retry_max);
            let pause = self.pause(pause_max);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.address.changed() => if changed.is_err() { return },
                () = sleep(pause) => {}
            }
        }
    }

    /// A pause between the shortest and `pause_max`, drawn so that peers do not dial in step.
    fn pause(&mut self, pause_max: Duration) -> Duration {
        let spread = pause_max.saturating_sub(self.config.retry_min);
        self.config.retry_min + spread.mul_f64(self.chance.random_range(0.0..=1.0))
    }

    fn on_failure(&mut self, address: &Address, error: &DialError) {
        let (node, text) = (self.node, error.to_string());
        if self.last_failure.as_ref() == Some(&text) {
            debug!(%node, %address, %error, "still cannot reach the peer");
        } else if error.is_misconfiguration() {
            warn!(%node, %address, %error, "cannot link to the peer; trying again");
        } else {
            info!(%node, %address, %error, "cannot reach the peer; trying again");
        }
        self.last_failure = Some(text);
    }

    /// Opens the queue, writes what arrives in it, and closes it.
    async fn keep(&mut self, stream: TcpStream, address: &Address) {
        let node = self.node;
        let (sender, receiver) = mpsc::channel(self.config.queue_frames_max);
        let waiting = Arc::<AtomicUsize>::default();
        self.queue.set(Some(Frames { sender, waiting: waiting.clone() }));
        self.last_failure = None;
        info!(%node, %address, "outbound link is up");
        self.tell(LinkEvent::OutboundUp(node)).await;
        let end = self.write(stream, receiver, &waiting).await;
        self.queue.set(None);
        if matches!(end, End::Stopped) {
            info!(%node, "outbound link is down: {end}");
        } else {
            warn!(%node, %address, %end, "outbound link is lost; dialling again");
        }
        self.tell(LinkEvent::OutboundDown(node)).await;
    }

    async fn tell(&self, event: LinkEvent) {
        if self.events.send(event).await.is_err() {
            debug!(?event, "nobody listens to links any more");
        }
    }

    /// Writes frames until the link ends. The other direction carries nothing; it is read all the
    /// same, because its end is the first sign that the peer is gone.
    async fn write(
        &self,
        mut stream: TcpStream,
        mut frames: mpsc::Receiver<Bytes>,
        waiting: &AtomicUsize,
    ) -> End {
        let (mut from, mut to) = stream.split();
        let mut batch = Vec::new();
        let mut buffer = BytesMut::new();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                end = ended(&mut from) => return end,
                count = frames.recv_many(&mut batch, FRAMES_PER_TURN_MAX) => {
                    if count == 0 {
                        break;
                    }
                }
            }
            let bytes = batch.iter().map(Bytes::len).sum();
            tokio::select! {
                biased;
                end = ended(&mut from) => return end,
                written = write_all(&mut to, &mut batch, &mut buffer) => {
                    if let Err(error) = written {
                        return End::Broken(error);
                    }
                }
            }
            waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        frames.close();
        let flush = async {
            while frames.recv_many(&mut batch, FRAMES_PER_TURN_MAX).await > 0 {
                write_all(&mut to, &mut batch, &mut buffer).await?;
            }
            to.shutdown().await
        };
        match timeout(FLUSH_TIMEOUT, flush).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(node = %self.node, %error, "the last frames did not leave"),
            Err(_) => debug!(node = %self.node, "the last frames did not leave in time"),
        }
        End::Stopped
    }
}

/// Waits for the end of the direction that carries nothing.
async fn ended(from: &mut ReadHalf<'_>) -> End {
    match from.read(&mut [0; 1]).await {
        Ok(0) => End::Closed,
        Ok(_) => End::Spoke,
        Err(error) => End::Broken(error),
    }
}

/// Writes `frames` with as few calls as possible, without copying large ones.
async fn write_all(
    to: &mut WriteHalf<'_>,
    frames: &mut Vec<Bytes>,
    buffer: &mut BytesMut,
) -> io::Result<()> {
    for frame in frames.drain(..) {
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        buffer.reserve(LENGTH_BYTES + frame.len().min(COPY_BYTES_MAX));
        buffer.put_u32_le(length);
        if frame.len() <= COPY_BYTES_MAX {
            buffer.put_slice(&frame);
            if buffer.len() >= WRITE_BYTES {
                to.write_all_buf(buffer).await?;
            }
        } else {
            to.write_all_buf(buffer).await?;
            to.write_all(&frame).await?;
        }
    }
    to.write_all_buf(buffer).await
}

/// Opens a link to the node at `address`, which must say that it is `node`.
async fn dial(
    node: NodeId,
    address: &Address,
    config: &LinksConfig,
) -> Result<TcpStream, DialError> {
    let after = config.connect_timeout;
    match timeout(after, open(address, &config.me)).await {
        Err(_) => Err(DialError::Timeout(after)),
        Ok(Err(error)) => Err(error),
        Ok(Ok((_, peer))) if peer.node != node || peer.cluster != config.me.cluster => {
            Err(DialError::SomebodyElse { found: peer.node, cluster: peer.cluster })
        }
        Ok(Ok((stream, _))) => Ok(stream),
    }
}

async fn open(address: &Address, me: &Identity) -> Result<(TcpStream, Identity), DialError> {
    let stream = TcpStream::connect(address.resolve().await?.as_slice()).await?;
    stream.set_nodelay(true)?;
    notice_silence(&stream)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Both must be driven together: the connection moves the bytes that the exchange waits for. Its
    // own error says nothing that the exchange does not.
    let (_, exchanged) = tokio::join!(connection.with_upgrades(), exchange(sender, address, me));
    exchanged
}

async fn exchange(
    mut sender: SendRequest<Empty<Bytes>>,
    address: &Address,
    me: &Identity,
) -> Result<(TcpStream, Identity), DialError> {
    let mut request = Request::builder()
        .uri(PATH)
        .header(HOST, address.to_string())
        .header(CONNECTION, HeaderValue::from_static("upgrade"))
        .header(UPGRADE, PROTOCOL)
        .body(Empty::new())?;
    me.write(request.headers_mut())?;
    let answer = sender.send_request(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(answer).await);
    }
    let peer = Identity::read(answer.headers())?;
    let (stream, early) = bare(hyper::upgrade::on(answer).await?)?;
    if !early.is_empty() {
        return Err(DialError::Connect(io::Error::other(End::Spoke)));
    }
    Ok((stream, peer))
}

/// What the peer says in its refusal, or its status where it says nothing.
async fn refusal(answer: Response<Incoming>) -> DialError {
    let status = answer.status();
    let text = collect(&mut answer.into_body(), REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let detail = problem.get("detail").and_then(serde_json::Value::as_str).unwrap_or_default();
    DialError::Refused { status, detail: detail.to_owned() }
}
