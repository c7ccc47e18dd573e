//! The network between the nodes: one proxy for each node as another one sees it, and so a hand on
//! every direction between any two.
//!
//! ```text
//!  a ──────► proxy (a, b) ──────► b     bytes of a to b follow the way a → b,
//!    ◄──────              ◄──────       bytes of b to a the way b → a,
//!                                       whoever of the two dialled
//! ```
//!
//! A way that is held is a cable that was pulled: connections stay and no byte arrives; when it is
//! back the bytes arrive late and in order, as TCP would send them again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use paxosd::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Chunks that wait in one direction of a connection; behind them the sender's own buffers fill, as
/// they do before a network that takes nothing.
const CHUNKS_WAITING_MAX: usize = 64;

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// A direction between two nodes, by their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) from: String,
    pub(crate) to: String,
}

/// What becomes of the bytes of a line. Of several troubles of one line the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Passage {
    /// They pass.
    Open,
    /// They arrive so much later, in order.
    Delayed(Duration),
    /// They wait until the line is mended, and connections with them.
    Held,
    /// Connections that cross the line break, and new ones break at once.
    Broken,
}

/// What the faults of a line did to its traffic so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Harm {
    /// Bytes that arrived late by a delay.
    pub(crate) bytes_delayed: u64,
    /// Bytes that came while the line was held, and so waited for its mending.
    pub(crate) bytes_held: u64,
    /// Connections that were broken.
    pub(crate) connections_broken: u64,
}

/// All lines of a cluster.
#[derive(Debug)]
pub(crate) struct Network {
    ways: BTreeMap<Line, Arc<Way>>,
    troubles: BTreeMap<u64, (Vec<Line>, Passage)>,
    next_trouble: u64,
    listeners: Vec<JoinHandle<()>>,
}

/// One line at work.
#[derive(Debug)]
struct Way {
    passage: watch::Sender<Passage>,
    bytes_delayed: AtomicU64,
    bytes_held: AtomicU64,
    connections_broken: AtomicU64,
}

/// Names a trouble, to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trouble(u64);

impl Network {
    /// A network for the nodes of `config`, and each node's own file, in which every other one's
    /// address is the proxy to it.
    pub(crate) fn between(config: &Config, runtime: &Handle) -> (Self, BTreeMap<String, Config>) {
        let names: Vec<&String> = config.nodes.iter().map(|node| &node.name).collect();
        let mut ways = BTreeMap::new();
        for (from, to) in pairs(&names) {
            ways.insert(Line { from: from.clone(), to: to.clone() }, Arc::new(Way::open()));
        }
        let mut files = BTreeMap::new();
        let mut listeners = Vec::new();
        for from in &names {
            let mut own = config.clone();
            for node in own.nodes.iter_mut().filter(|node| node.name != **from) {
                let there = Line { from: (*from).clone(), to: node.name.clone() };
                let back = Line { from: node.name.clone(), to: (*from).clone() };
                let crossing = Crossing { there: ways[&there].clone(), back: ways[&back].clone() };
                let target = node.api_port;
                let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
                node.api_port = listener.local_addr().unwrap().port();
                listeners.push(runtime.spawn(listen(listener, target, crossing)));
            }
            files.insert((*from).clone(), own);
        }
        (Self { ways, troubles: BTreeMap::new(), next_trouble: 0, listeners }, files)
    }

    /// All of them.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.ways.keys().cloned().collect()
    }

    /// Makes `passage` of all `lines` until it is ended.
    pub(crate) fn begin(&mut self, lines: &[Line], passage: Passage) -> Trouble {
        let number = self.next_trouble;
        self.next_trouble += 1;
        self.troubles.insert(number, (lines.to_vec(), passage));
        self.apply(lines);
        Trouble(number)
    }

    /// Ends a trouble; others of the same lines go on.
    pub(crate) fn end(&mut self, trouble: Trouble) {
        let (lines, _) = self.troubles.remove(&trouble.0).unwrap();
        self.apply(&lines);
    }

    /// What faults did so far to all `lines` together.
    pub(crate) fn harm(&self, lines: &[Line]) -> Harm {
        let mut sum = Harm::default();
        for way in lines.iter().map(|line| &self.ways[line]) {
            sum.bytes_delayed += way.bytes_delayed.load(Ordering::Relaxed);
            sum.bytes_held += way.bytes_held.load(Ordering::Relaxed);
            sum.connections_broken += way.connections_broken.load(Ordering::Relaxed);
        }
        sum
    }

    fn apply(&self, lines: &[Line]) {
        for line in lines {
            let of_line = self.troubles.values().filter(|(lines, _)| lines.contains(line));
            let worst = of_line.map(|(_, passage)| *passage).max().unwrap_or(Passage::Open);
            self.ways[line].passage.send_replace(worst);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.from, self.to)
    }
}

/// Every ordered pair of two different names.
fn pairs<'a>(names: &[&'a String]) -> Vec<(&'a String, &'a String)> {
    let to_all = |from: &'a String| names.iter().map(move |to| (from, *to));
    names.iter().copied().flat_map(to_all).filter(|(from, to)| from != to).collect()
}

impl Way {
    fn open() -> Self {
        Self {
            passage: watch::Sender::new(Passage::Open),
            bytes_delayed: AtomicU64::new(0),
            bytes_held: AtomicU64::new(0),
            connections_broken: AtomicU64::new(0),
        }
    }

    /// Notes bytes that came while the line was as it is.
    fn note(&self, bytes: usize) {
        let count = match *self.passage.borrow() {
            Passage::Delayed(_) => &self.bytes_delayed,
            Passage::Held => &self.bytes_held,
            Passage::Open | Passage::Broken => return,
        };
        count.fetch_add(bytes.try_into().unwrap(), Ordering::Relaxed);
    }

    /// Completes when what came at `arrival` may leave.
    async fn pass(&self, arrival: Instant) {
        let mut passage = self.passage.subscribe();
        loop {
            let leaves = match *passage.borrow_and_update() {
                Passage::Open => return,
                Passage::Delayed(by) => arrival + by,
                Passage::Held | Passage::Broken => arrival + NEVER,
            };
            tokio::select! {
                changed = passage.changed() => changed.unwrap(),
                () = sleep_until(leaves) => return,
            }
        }
    }

    /// Completes when the line breaks.
    async fn broken(&self) {
        let mut passage = self.passage.subscribe();
        passage.wait_for(|passage| *passage == Passage::Broken).await.unwrap();
    }
}

/// The two lines that a connection crosses: from its caller, and back to it.
#[derive(Debug, Clone)]
struct Crossing {
    there: Arc<Way>,
    back: Arc<Way>,
}

/// Carries every connection that is opened here to the node at `target`.
async fn listen(listener: TcpListener, target: u16, crossing: Crossing) {
    loop {
        let (caller, _) = listener.accept().await.unwrap();
        let crossing = crossing.clone();
        tokio::spawn(async move {
            match TcpStream::connect(("127.0.0.1", target)).await {
                Ok(node) => crossing.carry(caller, node).await,
                // Nobody is there.
                Err(_) => reset(&caller),
            }
        });
    }
}

impl Crossing {
    /// Carries one connection until both directions have ended or a line breaks.
    async fn carry(&self, mut caller: TcpStream, mut node: TcpStream) {
        for stream in [&caller, &node] {
            // One that is gone already shows so at the first read.
            stream.set_nodelay(true).ok();
        }
        let (from_caller, to_caller) = caller.split();
        let (from_node, to_node) = node.split();
        let both_ended = async {
            tokio::join!(
                pump(from_caller, to_node, &self.there),
                pump(from_node, to_caller, &self.back)
            )
        };
        let broken = tokio::select! {
            biased;
            () = self.there.broken() => &self.there,
            () = self.back.broken() => &self.back,
            _ = both_ended => return,
        };
        broken.connections_broken.fetch_add(1, Ordering::Relaxed);
        reset(&caller);
        reset(&node);
    }
}

/// Lets the other side of a stream that is dropped next see a reset, not an orderly end.
fn reset(stream: &TcpStream) {
    // It fails for one that is gone, which is what is wanted.
    stream.set_zero_linger().ok();
}

/// Moves the bytes of one direction, and at last its end.
async fn pump(from: ReadHalf<'_>, to: WriteHalf<'_>, way: &Way) {
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
    tokio::join!(take_in(from, sender, way), give_out(to, receiver, way));
}

async fn take_in(mut from: ReadHalf<'_>, sender: mpsc::Sender<(Instant, Bytes)>, way: &Way) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        let read = tokio::select! {
            () = sender.closed() => return,
            read = from.read_buf(&mut buffer) => read,
        };
        // A connection that broke has ended as well.
        let bytes = read.unwrap_or(0);
        if bytes == 0 {
            return;
        }
        way.note(bytes);
        if sender.send((Instant::now(), buffer.split().freeze())).await.is_err() {
            return;
        }
    }
}

async fn give_out(
    mut to: WriteHalf<'_>,
    mut receiver: mpsc::Receiver<(Instant, Bytes)>,
    way: &Way,
) {
    while let Some((arrival, bytes)) = receiver.recv().await {
        way.pass(arrival).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    way.pass(Instant::now()).await;
    // Who is gone needs no end.
    to.shutdown().await.ok();
}
