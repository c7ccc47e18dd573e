//! The dialling side of links: one task a peer, which keeps a connection and drains a queue.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
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

/// Frames written in one go.
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

/// The connection that is up, or nothing. Each has frames of its own, so that no frame meant for
/// one leaves over the next.
#[derive(Clone, Default)]
struct Queue(Arc<RwLock<Option<Arc<Connection>>>>);

/// A connection, and what waits to leave over it. One writes at a time: the link's task, or whoever
/// has frames that shall not wait for it.
struct Connection {
    stream: TcpStream,
    frames_max: usize,
    waiting: Mutex<Waiting>,
    /// Tells the task that something waits and nobody writes.
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    batch: Batch,
    /// Bytes of all frames that were taken and not written yet, their lengths included.
    bytes: usize,
    /// Frames of what is being written, while somebody writes.
    writing: Option<usize>,
    is_closed: bool,
}

impl Queue {
    fn set(&self, connection: Option<Arc<Connection>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    fn get(&self) -> Option<Arc<Connection>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_open(&self) -> bool {
        self.get().is_some_and(|connection| !connection.lock().is_closed)
    }
}

impl Connection {
    fn new(stream: TcpStream, frames_max: usize) -> Self {
        Self { stream, frames_max, waiting: Mutex::default(), wake: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whoever panics while it holds this ends the process.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame for the task to write, together with what else arrives until its turn.
    fn push(&self, to: NodeId, frame: Bytes) -> Result<(), SendError> {
        let mut waiting = self.lock();
        waiting.push(to, frame, self.frames_max)?;
        if waiting.writing.is_none() {
            drop(waiting);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes frames and writes them on the spot, unless another writes just now or the peer reads
    /// too slowly: then the task writes what is left. Returns an error for each frame not taken.
    fn push_now(&self, to: NodeId, frames: Vec<Bytes>) -> Vec<SendError> {
        let mut waiting = self.lock();
        let refused = frames
            .into_iter()
            .filter_map(|frame| waiting.push(to, frame, self.frames_max).err())
            .collect();
        // At the end the task writes what is left, and nobody else.
        if waiting.is_closed {
            return refused;
        }
        let Some(mut batch) = waiting.take() else { return refused };
        drop(waiting);
        if let Err(error) = batch.try_write(&self.stream) {
            debug!(%to, %error, "left to the link's task, which meets the same error");
        }
        self.end(batch);
        refused
    }

    /// Writes what waits, up to a limit; where more does, it wakes the task again.
    async fn write_batch(&self) -> io::Result<()> {
        let Some(mut batch) = self.lock().take() else { return Ok(()) };
        while let Err(error) = batch.try_write(&self.stream) {
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
            self.stream.writable().await?;
        }
        self.end(batch);
        Ok(())
    }

    /// Gives back what was taken, written or not; the task writes what waits now.
    fn end(&self, batch: Batch) {
        if self.lock().end(batch) {
            self.wake.notify_one();
        }
    }

    /// Writes all that still waits, and says that nothing follows.
    async fn flush(&self) -> io::Result<()> {
        self.lock().is_closed = true;
        while !self.is_idle() {
            self.write_batch().await?;
            // Another that writes at this moment does not wait for anything.
            tokio::task::yield_now().await;
        }
        SockRef::from(&self.stream).shutdown(Shutdown::Write)
    }

    fn is_idle(&self) -> bool {
        let waiting = self.lock();
        waiting.writing.is_none() && waiting.batch.is_empty()
    }

    /// Waits for the end of the direction that carries nothing.
    async fn ended(&self) -> End {
        loop {
            if let Err(error) = self.stream.readable().await {
                return End::Broken(error);
            }
            match self.stream.try_read(&mut [0; 1]) {
                Ok(0) => return End::Closed,
                Ok(_) => return End::Spoke,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return End::Broken(error),
            }
        }
    }
}

impl Waiting {
    fn push(&mut self, to: NodeId, frame: Bytes, frames_max: usize) -> Result<(), SendError> {
        if self.is_closed {
            return Err(SendError::Down(to));
        }
        let bytes = self.bytes.saturating_add(LENGTH_BYTES + frame.len());
        if self.writing.unwrap_or(0) + self.batch.frames.len() >= frames_max
            || self.bytes > 0 && bytes > QUEUE_BYTES_MAX
        {
            return Err(SendError::Full(to));
        }
        self.bytes = bytes;
        self.batch.frames.push_back(frame);
        Ok(())
    }

    /// What the caller is to write now, if anything; then it is the only one until
    /// [`Waiting::end`].
    fn take(&mut self) -> Option<Batch> {
        if self.writing.is_some() || self.batch.is_empty() {
            return None;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let count = batch.frames.len().min(FRAMES_PER_TURN_MAX);
        self.batch.frames = batch.frames.split_off(count);
        self.writing = Some(count);
        Some(batch)
    }

    /// Takes back what was not written, before what has arrived meanwhile. Returns whether
    /// something waits.
    fn end(&mut self, mut written: Batch) -> bool {
        self.writing = None;
        self.bytes -= std::mem::take(&mut written.written);
        written.frames.append(&mut self.batch.frames);
        self.batch = written;
        !self.batch.is_empty()
    }
}

/// What is written next: small frames are copied together, large ones written as they are.
#[derive(Default)]
struct Batch {
    buffer: BytesMut,
    /// Comes after `buffer`.
    large: Bytes,
    /// Come after `large`.
    frames: VecDeque<Bytes>,
    /// Bytes written since it was taken.
    written: usize,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.large.is_empty() && self.frames.is_empty()
    }

    /// The bytes to write next; `None` when all are written.
    fn next_write(&mut self) -> Option<&[u8]> {
        while self.large.is_empty()
            && self.buffer.len() < WRITE_BYTES
            && let Some(frame) = self.frames.pop_front()
        {
            // Whoever queued it has measured it.
            let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            self.buffer.reserve(LENGTH_BYTES + frame.len().min(COPY_BYTES_MAX));
            self.buffer.put_u32_le(length);
            if frame.len() <= COPY_BYTES_MAX {
                self.buffer.put_slice(&frame);
            } else {
                self.large = frame;
            }
        }
        let next = if self.buffer.is_empty() { &self.large[..] } else { &self.buffer[..] };
        (!next.is_empty()).then_some(next)
    }

    /// Writes all that the stream takes without waiting.
    fn try_write(&mut self, stream: &TcpStream) -> io::Result<()> {
        while let Some(bytes) = self.next_write() {
            let count = stream.try_write(bytes)?;
            self.written += count;
            if self.buffer.is_empty() {
                self.large.advance(count);
            } else {
                self.buffer.advance(count);
            }
        }
        Ok(())
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
        self.measure(&frame)?;
        self.connection(node)?.push(node, frame)
    }

    /// Gives frames to the link to `node`, and has them on their way before it returns where the
    /// peer keeps pace: from a thread outside of the runtime that saves waking the link's task.
    /// Never waits. Returns why, for each frame that was certainly not sent.
    pub fn send_now(&self, node: NodeId, mut frames: Vec<Bytes>) -> Vec<SendError> {
        let mut refused = Vec::new();
        frames.retain(|frame| match self.measure(frame) {
            Ok(()) => true,
            Err(error) => {
                refused.push(error);
                false
            }
        });
        match self.connection(node) {
            Ok(connection) => refused.extend(connection.push_now(node, frames)),
            Err(error) => refused.extend(frames.iter().map(|_| error)),
        }
        refused
    }

    fn measure(&self, frame: &Bytes) -> Result<(), SendError> {
        let (bytes, bytes_max) = (frame.len(), self.config.frame_bytes_max);
        if bytes > bytes_max { Err(SendError::TooLarge { bytes, bytes_max }) } else { Ok(()) }
    }

    fn connection(&self, node: NodeId) -> Result<Arc<Connection>, SendError> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let peer = peers.get(&node).ok_or(SendError::Unknown(node))?;
        peer.queue.get().ok_or(SendError::Down(node))
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

    /// Takes frames for the connection, until it ends.
    async fn keep(&mut self, stream: TcpStream, address: &Address) {
        let node = self.node;
        let connection = Arc::new(Connection::new(stream, self.config.queue_frames_max));
        self.queue.set(Some(connection.clone()));
        self.last_failure = None;
        info!(%node, %address, "outbound link is up");
        self.tell(LinkEvent::OutboundUp(node)).await;
        let end = self.write(&connection).await;
        self.queue.set(None);
        connection.lock().is_closed = true;
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
    async fn write(&self, connection: &Connection) -> End {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                end = connection.ended() => return end,
                () = connection.wake.notified() => {}
            }
            tokio::select! {
                biased;
                end = connection.ended() => return end,
                written = connection.write_batch() => {
                    if let Err(error) = written {
                        return End::Broken(error);
                    }
                }
            }
        }
        match timeout(FLUSH_TIMEOUT, connection.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(node = %self.node, %error, "the last frames did not leave"),
            Err(_) => debug!(node = %self.node, "the last frames did not leave in time"),
        }
        End::Stopped
    }
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
