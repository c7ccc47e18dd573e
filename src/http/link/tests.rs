//! Links over the loopback: both ends, their order, their ends and their refusals.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::http::fixture::{LIMITS, PATIENCE, Raw, Server, in_time};
use crate::http::{Address, Body, Service, bind};

/// What is noticed at once is noticed within this, however busy the machine is.
const AT_ONCE: Duration = Duration::from_secs(1);

const FRAME_BYTES_MAX: usize = 1 << 20;

fn id(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

fn identity(number: u64) -> Identity {
    Identity {
        cluster: "test".to_owned(),
        node: id(number),
        role: Role::Proposer,
        incarnation: Incarnation(number * 1000),
        version: 1,
    }
}

/// Hands frames on; a frame that says `bad` is no message.
struct Sink(mpsc::Sender<(NodeId, Bytes)>);

impl Deliver for Sink {
    async fn deliver(&self, from: NodeId, _: LinkId, frames: Vec<Bytes>) -> Result<(), BadFrame> {
        for frame in frames {
            if frame == "bad" {
                return Err(BadFrame("it says so itself".to_owned()));
            }
            drop(self.0.send((from, frame)).await);
        }
        Ok(())
    }
}

struct Peers(Arc<InboundLinks<Sink>>);

impl Service for Peers {
    async fn call(self: Arc<Self>, mut request: Request<Incoming>) -> Response<Body> {
        self.0.accept(&mut request)
    }
}

/// A node that only has links.
struct Node {
    me: NodeId,
    links: Links,
    server: Server,
    shutdown: CancellationToken,
    tracker: TaskTracker,
    events: mpsc::Receiver<LinkEvent>,
    frames: mpsc::Receiver<(NodeId, Bytes)>,
}

fn config(me: Identity) -> LinksConfig {
    LinksConfig {
        me,
        queue_frames_max: 16,
        frame_bytes_max: FRAME_BYTES_MAX,
        connect_timeout: PATIENCE,
        retry_min: Duration::from_millis(1),
        retry_max: Duration::from_millis(10),
        seed: 1,
    }
}

impl Node {
    async fn start(number: u64) -> Self {
        Self::start_with(config(identity(number)), Address::new("127.0.0.1", 0)).await
    }

    async fn start_with(config: LinksConfig, address: Address) -> Self {
        let listener = bind(&address).await.unwrap();
        Self::start_on(listener, config, FRAME_BYTES_MAX)
    }

    fn start_on(listener: TcpListener, config: LinksConfig, inbound_bytes_max: usize) -> Self {
        let (events_sender, events) = mpsc::channel(1);
        let (frames_sender, frames) = mpsc::channel(1);
        let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
        let inbound = InboundLinks::new(
            InboundConfig { me: config.me.clone(), frame_bytes_max: inbound_bytes_max },
            Sink(frames_sender),
            events_sender.clone(),
            shutdown.clone(),
            tracker.clone(),
        );
        let me = config.me.node;
        let links = Links::new(config, events_sender, &shutdown, tracker.clone());
        let server = Server::start_on(listener, || LIMITS, Peers(inbound));
        Self { me, links, server, shutdown, tracker, events, frames }
    }

    fn dial(&self, other: &Self) {
        self.links.set_address(other.me, other.server.address.clone());
    }

    async fn event(&mut self) -> LinkEvent {
        in_time(self.events.recv()).await.unwrap()
    }

    async fn frame(&mut self) -> (NodeId, Bytes) {
        in_time(self.frames.recv()).await.unwrap()
    }

    async fn inbound_up(&mut self, from: u64) -> LinkId {
        let event = self.event().await;
        let LinkEvent::InboundUp { node, role, incarnation, link } = event else {
            panic!("{event:?} instead of a link of node {from}");
        };
        assert_eq!((node, role), (id(from), Role::Proposer));
        assert_eq!(incarnation, Incarnation(from * 1000));
        link
    }

    /// Ends every task of it, as a process that dies.
    async fn stop(self) {
        let Self { server, shutdown, tracker, events, links, .. } = self;
        drop((events, links));
        shutdown.cancel();
        tracker.close();
        in_time(tracker.wait()).await;
        server.stop().await;
    }
}

/// Two nodes, the first of which has a link to the second.
async fn pair() -> (Node, Node, LinkId) {
    let (mut one, mut two) = (Node::start(1).await, Node::start(2).await);
    one.dial(&two);
    assert_eq!(one.event().await, LinkEvent::OutboundUp(id(2)));
    let link = two.inbound_up(1).await;
    (one, two, link)
}

/// A peer that speaks bytes, once it is let in.
async fn raw_peer(to: &Node, number: u64) -> Raw {
    let mut raw = Raw::open(&to.server.address).await;
    raw.write(upgrade_request(&identity(number))).await;
    let (head, _) = raw.read_answer().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    raw
}

fn upgrade_request(me: &Identity) -> String {
    format!(
        "GET /peer HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: paxosd/1\r\n\
         paxos-cluster: {}\r\npaxos-node: {}\r\npaxos-role: {}\r\npaxos-incarnation: {}\r\n\
         paxos-version: {}\r\n\r\n",
        me.cluster, me.node, me.role, me.incarnation.0, me.version
    )
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32_le(bytes.len().try_into().unwrap());
    out.put_slice(bytes);
    out
}

#[tokio::test]
async fn frames_of_all_sizes_arrive_in_order_both_ways() {
    let (mut one, mut two, _) = pair().await;
    two.dial(&one);
    assert_eq!(two.event().await, LinkEvent::OutboundUp(id(1)));
    one.inbound_up(2).await;
    assert!(one.links.is_up(id(2)) && two.links.is_up(id(1)));
    let sizes = [0, 1, 100, 32 * 1024, 32 * 1024 + 1, 300_000, 5, FRAME_BYTES_MAX];
    for (fill, size) in (0..).zip(sizes) {
        one.links.send(id(2), vec![fill; size].into()).unwrap();
        two.links.send(id(1), vec![fill; size].into()).unwrap();
    }
    for (fill, size) in (0..).zip(sizes) {
        assert!(two.frame().await == (id(1), Bytes::from(vec![fill; size])), "frame {fill}");
        assert!(one.frame().await == (id(2), Bytes::from(vec![fill; size])), "frame {fill}");
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn frames_in_pieces_are_put_together() {
    let mut node = Node::start(1).await;
    let mut raw = raw_peer(&node, 2).await;
    node.inbound_up(2).await;
    let bytes = [framed(b"hello"), framed(b""), framed(b"world")].concat();
    for piece in bytes.chunks(3) {
        raw.write(piece).await;
        tokio::task::yield_now().await;
    }
    for text in ["hello", "", "world"] {
        assert_eq!(node.frame().await, (id(2), Bytes::from(text)));
    }
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_does_not_belong_is_told_why() {
    let node = Node::start(1).await;
    let mut no_id = upgrade_request(&identity(2));
    no_id = no_id.replace("paxos-node: 2", "paxos-node: 100");
    let mut no_role = upgrade_request(&identity(2));
    no_role = no_role.replace("paxos-role: proposer\r\n", "");
    let other_framing = upgrade_request(&identity(2)).replace("paxosd/1", "paxosd/2");
    let cases = [
        (
            upgrade_request(&Identity { cluster: "other".to_owned(), ..identity(2) }),
            409,
            "node 2 is of cluster `other`; this is node 1 of cluster `test`",
        ),
        (
            upgrade_request(&Identity { version: 7, ..identity(2) }),
            426,
            "node 2 speaks version 7; this is node 1, which speaks version 1",
        ),
        (upgrade_request(&identity(1)), 409, "this is node 1 itself"),
        (no_id, 400, "the header paxos-node is `100`: node id 100 is outside of 1 to 99"),
        (no_role, 400, "the header paxos-role is missing"),
        (other_framing, 426, "this path is for peers, which ask for Upgrade: paxosd/1"),
    ];
    for (request, status, detail) in cases {
        let mut raw = Raw::open(&node.server.address).await;
        raw.write(request).await;
        let (head, body) = raw.read_answer().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(body.contains(&format!(r#""detail":"{detail}""#)), "{body}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_link_to_somebody_else_is_not_taken() {
    let (one, mut two) = (Node::start(1).await, Node::start(2).await);
    one.links.set_address(id(3), two.server.address.clone());
    // The second node takes the link, and sees it end as soon as the first knows whom it reached.
    let link = two.inbound_up(1).await;
    assert_eq!(two.event().await, LinkEvent::InboundDown { node: id(1), link });
    assert_eq!(one.links.send(id(3), Bytes::new()), Err(SendError::Down(id(3))));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn garbage_ends_only_the_connection_it_came_over() {
    let (one, mut two, _) = pair().await;
    let mut noise = Raw::open(&two.server.address).await;
    noise.write([0xff; 100]).await;
    noise.read_to_end().await;
    let mut raw = raw_peer(&two, 3).await;
    let link = two.inbound_up(3).await;
    raw.write([0xff; 100]).await;
    assert_eq!(raw.read_to_end().await, "");
    assert_eq!(two.event().await, LinkEvent::InboundDown { node: id(3), link });
    one.links.send(id(2), Bytes::from("still here")).unwrap();
    assert_eq!(two.frame().await.1, "still here");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_no_message_ends_its_connection() {
    let mut node = Node::start(1).await;
    let mut raw = raw_peer(&node, 2).await;
    let link = node.inbound_up(2).await;
    raw.write([framed(b"good"), framed(b"bad")].concat()).await;
    assert_eq!(node.frame().await.1, "good");
    assert_eq!(raw.read_to_end().await, "");
    assert_eq!(node.event().await, LinkEvent::InboundDown { node: id(2), link });
    node.stop().await;
}

#[tokio::test]
async fn an_oversized_frame_is_refused_by_its_sender_and_by_its_receiver() {
    let one = Node::start(1).await;
    let too_large = SendError::TooLarge { bytes: FRAME_BYTES_MAX + 1, bytes_max: FRAME_BYTES_MAX };
    let frame = Bytes::from(vec![0; FRAME_BYTES_MAX + 1]);
    assert_eq!(one.links.send(id(2), frame), Err(too_large));
    one.stop().await;

    let listener = bind(&Address::new("127.0.0.1", 0)).await.unwrap();
    let mut strict = Node::start_on(listener, config(identity(2)), 10);
    let mut raw = raw_peer(&strict, 1).await;
    let link = strict.inbound_up(1).await;
    raw.write(framed(&[0; 10])).await;
    assert_eq!(strict.frame().await.1.len(), 10);
    raw.write(framed(&[0; 11])).await;
    assert_eq!(strict.event().await, LinkEvent::InboundDown { node: id(1), link });
    strict.stop().await;
}

#[tokio::test]
async fn the_end_of_either_side_is_noticed_at_once() {
    let (mut one, two, _) = pair().await;
    let since = Instant::now();
    two.stop().await;
    assert_eq!(one.event().await, LinkEvent::OutboundDown(id(2)));
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    assert!(!one.links.is_up(id(2)));
    one.stop().await;

    let (one, mut two, link) = pair().await;
    let since = Instant::now();
    one.stop().await;
    assert_eq!(two.event().await, LinkEvent::InboundDown { node: id(1), link });
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    two.stop().await;
}

#[tokio::test]
async fn a_peer_that_comes_back_is_linked_again() {
    let (mut one, two, _) = pair().await;
    let address = two.server.address.clone();
    two.stop().await;
    assert_eq!(one.event().await, LinkEvent::OutboundDown(id(2)));
    assert_eq!(one.links.send(id(2), Bytes::new()), Err(SendError::Down(id(2))));
    sleep(Duration::from_millis(50)).await;
    let mut two = Node::start_with(config(identity(2)), address).await;
    two.inbound_up(1).await;
    assert_eq!(one.event().await, LinkEvent::OutboundUp(id(2)));
    one.links.send(id(2), Bytes::from("again")).unwrap();
    assert_eq!(two.frame().await, (id(1), Bytes::from("again")));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_new_address_is_dialled_without_waiting_out_the_pause() {
    let slow =
        LinksConfig { retry_min: PATIENCE * 2, retry_max: PATIENCE * 2, ..config(identity(1)) };
    let mut one = Node::start_with(slow, Address::new("127.0.0.1", 0)).await;
    let mut two = Node::start(2).await;
    one.links.set_address(id(2), Address::new("no such name", 1));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(one.links.send(id(2), Bytes::new()), Err(SendError::Down(id(2))));
    one.dial(&two);
    assert_eq!(one.event().await, LinkEvent::OutboundUp(id(2)));
    two.inbound_up(1).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_its_frames_arrive_once_the_peer_reads_again() {
    let (one, mut two, _) = pair().await;
    // Nobody takes the frames, so the sink, the sockets and at last the queue fill up.
    let frame = Bytes::from(vec![7; FRAME_BYTES_MAX]);
    let mut taken = 0;
    let full = loop {
        match one.links.send(id(2), frame.clone()) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 1000, "the queue never fills up");
        tokio::task::yield_now().await;
    };
    assert_eq!(full, SendError::Full(id(2)));
    for _ in 0..taken {
        assert_eq!(two.frame().await.1.len(), FRAME_BYTES_MAX);
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_newer_link_of_a_node_replaces_the_older_although_that_is_stuck() {
    let mut node = Node::start(1).await;
    let mut older = raw_peer(&node, 2).await;
    let first = node.inbound_up(2).await;
    for _ in 0..3 {
        // The queue of the sink holds one; the second keeps the link waiting.
        older.write(framed(b"old")).await;
    }
    let mut newer = raw_peer(&node, 2).await;
    assert_eq!(node.event().await, LinkEvent::InboundDown { node: id(2), link: first });
    let second = node.inbound_up(2).await;
    assert_ne!(first, second);
    older.read_to_end().await;
    newer.write(framed(b"new")).await;
    while node.frame().await.1 != "new" {}
    node.stop().await;
}

#[tokio::test]
async fn what_waits_leaves_before_the_node_stops() {
    let (mut one, mut two, link) = pair().await;
    one.links.send(id(2), Bytes::from("I resign")).unwrap();
    one.shutdown.cancel();
    assert_eq!(two.frame().await.1, "I resign");
    assert_eq!(two.event().await, LinkEvent::InboundDown { node: id(1), link });
    assert_eq!(one.event().await, LinkEvent::OutboundDown(id(2)));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_removed_peer_is_unknown_and_its_link_ends() {
    let (mut one, mut two, link) = pair().await;
    one.links.remove(id(2));
    assert_eq!(one.links.send(id(2), Bytes::new()), Err(SendError::Unknown(id(2))));
    assert_eq!(one.event().await, LinkEvent::OutboundDown(id(2)));
    assert_eq!(two.event().await, LinkEvent::InboundDown { node: id(1), link });
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_peer_that_writes_where_it_should_read_loses_the_link() {
    let listener = bind(&Address::new("127.0.0.1", 0)).await.unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    let mut one = Node::start(1).await;
    one.links.set_address(id(2), address);
    let (stream, _) = in_time(listener.accept()).await.unwrap();
    let mut raw = Raw(stream);
    let asked = raw.read_answer().await.0;
    assert!(asked.starts_with("GET /peer HTTP/1.1\r\n"), "{asked}");
    let answer = upgrade_request(&identity(2));
    raw.write(answer.replace("GET /peer HTTP/1.1", "HTTP/1.1 101 Switching Protocols")).await;
    assert_eq!(one.event().await, LinkEvent::OutboundUp(id(2)));
    raw.write("x").await;
    assert_eq!(one.event().await, LinkEvent::OutboundDown(id(2)));
    one.stop().await;
}
