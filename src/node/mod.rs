//! The wiring: one node, its role's actor, gossip, links and HTTP, from start to stop.

pub mod acceptor;
pub mod clock;
pub mod gateway;
pub mod gossip;
pub mod inbox;
pub mod learner;
pub mod metrics;
pub mod peers;
pub mod proposer;
pub mod reload;
pub mod ring;
pub mod serve;
pub mod telemetry;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use self::acceptor::AcceptorHandle;
use self::clock::Clock;
use self::gateway::GatewayHandle;
use self::inbox::{Inboxes, Input, Received};
use self::learner::LearnerHandle;
use self::metrics::Metrics;
use self::peers::Peers;
use self::proposer::ProposerHandle;
pub use self::reload::Reloads;
use self::ring::Ring;
use crate::config::{Config, NodeConfig};
use crate::http::link::{Identity, InboundConfig, InboundLinks, LinkEvent, Links, LinksConfig};
use crate::http::{Address, ClientLimits, HttpClient, wire};
use crate::paxos::message::Outbound;
use crate::types::{Ballot, Epoch, EpochDigest, Incarnation, Instant, Role};

/// How far learners must be ahead of what an acceptor has forgotten before it forgets more.
pub const TRIM_SLOTS: u64 = 1000;

/// Inputs that may wait for a role.
const INPUTS_WAITING_MAX: usize = 4096;

/// After so many election timeouts of silence no leader is shown any more.
const LEADER_PATIENCE: u32 = 4;

/// How long a node that was asked to stop may take for what is under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What every part of the node may use.
#[derive(Debug)]
pub struct Shared {
    /// The configuration that it runs with, replaced as a whole by the watcher of the file.
    settings: watch::Sender<Arc<Config>>,
    /// This node's part of it.
    pub me: NodeConfig,
    /// The clock.
    pub clock: Clock,
    /// The newest protocol events.
    pub ring: Ring,
    /// The metrics.
    pub metrics: Metrics,
    /// The other nodes.
    pub peers: Peers,
    /// The links to them.
    pub links: Arc<Links>,
    /// For exchanges of gossip, and reads through a learner.
    pub http: HttpClient,
    /// Cancelled when the node takes no more requests: streams to callers end with it.
    pub closing: CancellationToken,
    /// Cancelled when the node stops.
    pub stop: CancellationToken,
    /// The tasks to be awaited then.
    pub tracker: TaskTracker,
    /// Takes a failure that ends the process.
    pub failed: Failure,
    /// Where messages to this node itself go.
    local: std::sync::OnceLock<Local>,
    leader: watch::Sender<Option<Seen>>,
    /// Drawn from the operating system at the start; held for a draw.
    chance: Mutex<ChaCha20Rng>,
}

/// A leader that was heard of.
#[derive(Debug, Clone, Copy)]
struct Seen {
    ballot: Ballot,
    at: Instant,
}

/// The inboxes of a proposer and of the gateway in the same node.
#[derive(Debug)]
struct Local {
    proposer: Option<mpsc::Sender<Input<crate::paxos::message::ToProposer, proposer::Call>>>,
    gateway: Option<mpsc::Sender<Input<crate::paxos::message::ToClient, gateway::Call>>>,
}

/// Takes the first failure that must end the process.
#[derive(Debug, Clone)]
pub struct Failure(mpsc::Sender<anyhow::Error>);

impl Failure {
    /// Ends the process with `error`.
    pub fn fail(&self, error: anyhow::Error) {
        if self.0.try_send(error).is_err() {
            debug!("an earlier failure is already ending the process");
        }
    }

    /// Ends the process if `what`, which holds this, panics: a node whose role has died must not
    /// look like one that lives, and the next start replays what is durable.
    #[must_use]
    pub fn on_panic(&self, what: &'static str) -> PanicGuard {
        PanicGuard { failure: self.clone(), what }
    }
}

/// Held by a task or thread without which the node is none; see [`Failure::on_panic`].
#[derive(Debug)]
pub struct PanicGuard {
    failure: Failure,
    what: &'static str,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failure.fail(anyhow::anyhow!("the {} panicked", self.what));
        }
    }
}

impl Shared {
    /// The configuration of this moment: ask again rather than keep it, for it may change.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.settings.borrow().clone()
    }

    /// Completes when the configuration has changed; the first time at once, for it may have
    /// changed since its owner was configured.
    #[must_use]
    fn config_changes(&self) -> watch::Receiver<Arc<Config>> {
        let mut changes = self.settings.subscribe();
        changes.mark_changed();
        changes
    }

    /// Sends the messages of a turn, and has them on their way before it returns where it can: no
    /// other task must be woken for them, and those to one node leave together.
    pub fn send_now(&self, epoch: Option<EpochDigest>, mut outbounds: Vec<Outbound>) {
        for outbound in outbounds.extract_if(.., |outbound| outbound.to() == self.me.id) {
            self.send(epoch, outbound);
        }
        for _ in 0..self.peers.send_now(epoch, outbounds) {
            self.metrics.dropped();
        }
    }

    /// Sends a message: over a link, or straight to the other half of this node.
    pub fn send(&self, epoch: Option<EpochDigest>, outbound: Outbound) {
        let from = self.me.id;
        let is_dropped = match outbound {
            Outbound::Proposer(to, message) if to.node() == from => {
                let inbox = self.local.get().and_then(|local| local.proposer.as_ref());
                let input = Input::Messages(vec![Received { from, epoch, message }]);
                inbox.is_none_or(|inbox| inbox.try_send(input).is_err())
            }
            Outbound::Client(to, message) if to == from => {
                let inbox = self.local.get().and_then(|local| local.gateway.as_ref());
                let input = Input::Messages(vec![Received { from, epoch, message }]);
                inbox.is_none_or(|inbox| inbox.try_send(input).is_err())
            }
            Outbound::Acceptor(..)
            | Outbound::Witness(..)
            | Outbound::Proposer(..)
            | Outbound::Learner(..)
            | Outbound::Client(..) => !self.peers.send(epoch, outbound),
        };
        if is_dropped {
            self.metrics.dropped();
        }
    }

    /// Warns of what this node's file says otherwise than the cluster was formed with.
    fn compare_with_file(&self, epoch: &Epoch) {
        let Err(unlike) = self.config().agrees_with(epoch) else { return };
        for difference in unlike.iter() {
            warn!("{difference}");
            self.ring.note("config-ignored", None, difference.to_string());
        }
    }

    /// Notes that this ballot was seen leading. A hint: for gossip and for people.
    pub fn see_leader(&self, ballot: Ballot) {
        let at = self.clock.now();
        let is_news = self.leader.send_if_modified(|leader| {
            let known = leader.map(|seen| seen.ballot);
            if Some(ballot) >= known {
                *leader = Some(Seen { ballot, at });
            }
            Some(ballot) > known
        });
        if is_news {
            self.metrics.leader_change();
        }
    }

    /// The highest ballot that was seen leading, however long ago.
    #[must_use]
    pub fn leader_seen(&self) -> Option<Ballot> {
        self.leader.borrow().map(|seen| seen.ballot)
    }

    /// The ballot that leads as far as this node can tell: its leader speaks, and can be reached.
    #[must_use]
    pub fn leader(&self) -> Option<Ballot> {
        let Seen { ballot, at } = (*self.leader.borrow())?;
        let patience = Duration::from_millis(self.config().election.timeout_ms) * LEADER_PATIENCE;
        let leader = ballot.proposer.node();
        let can_be_reached = leader == self.me.id || self.peers.is_up(leader);
        (can_be_reached && self.clock.now().since(at) < patience).then_some(ballot)
    }

    /// Completes when a higher ballot than the last one is seen leading.
    #[must_use]
    fn leader_changes(&self) -> watch::Receiver<Option<Seen>> {
        self.leader.subscribe()
    }

    /// The learners that have a link to this node or from it: those worth asking first.
    #[must_use]
    pub fn reachable_learners(&self) -> std::collections::BTreeSet<crate::types::LearnerId> {
        let learners = self.peers.directory().borrow().learners();
        learners.into_iter().filter(|learner| self.peers.is_up(learner.node())).collect()
    }

    /// 64 random bits.
    #[must_use]
    pub fn chance_u64(&self) -> u64 {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    /// The seed of a generator.
    #[must_use]
    pub fn chance_seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut seed);
        seed
    }
}

/// The roles of this node.
#[derive(Debug, Clone, Default)]
pub struct Roles {
    /// Present in an acceptor.
    pub acceptor: Option<AcceptorHandle>,
    /// Present in a proposer.
    pub proposer: Option<ProposerHandle>,
    /// Present in a learner.
    pub learner: Option<LearnerHandle>,
    /// Present in a client and in a proposer.
    pub gateway: Option<GatewayHandle>,
}

/// Answers a caller; one that has gone is no fault.
pub(crate) fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        debug!("the caller has gone");
    }
}

/// Runs the node `me` of the cluster `config` until it is asked to stop, by SIGTERM or SIGINT. It
/// follows the file of `reloads` meanwhile.
///
/// # Errors
/// When it cannot start, or its disk fails.
pub async fn run(config: Config, me: NodeConfig, reloads: Reloads) -> anyhow::Result<()> {
    // From here on SIGHUP ends nothing.
    let hangup = signal(SignalKind::hangup()).context("watch for SIGHUP")?;
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    // Taken notice of, so that a write beyond a limit on file sizes fails as on a full disk, and
    // the end has a reason that names the file.
    let _too_large =
        signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).context("watch for SIGXFSZ")?;
    let (failed, mut failures) = mpsc::channel(1);
    let started = start(config, me, Failure(failed)).await?;
    reload::start(&started.shared, reloads, hangup);
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        Some(error) = failures.recv() => Err(error),
    };
    match outcome {
        Ok(why) => {
            info!(why, "stopping");
            started.stop().await;
            info!("stopped");
            Ok(())
        }
        // Nothing is finished in good order over a disk that failed: the process ends, and the
        // next start replays what is durable.
        Err(error) => Err(error),
    }
}

struct Started {
    shared: Arc<Shared>,
    roles: Roles,
    serving: TaskTracker,
    watcher: JoinHandle<()>,
}

impl Started {
    /// Hands over the lead, lets callers finish, then ends all tasks.
    async fn stop(self) {
        if let Some(proposer) = &self.roles.proposer {
            let drain = Duration::from_millis(self.shared.config().proposer.drain_ms);
            let left = tokio::time::timeout(drain + STOP_TIMEOUT, proposer.leave()).await;
            if left.is_err() {
                info!("the proposer did not hand over in time");
            }
        }
        self.shared.closing.cancel();
        self.serving.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.serving.wait()).await.is_err() {
            info!("some callers did not finish in time");
        }
        self.shared.stop.cancel();
        self.shared.tracker.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.shared.tracker.wait()).await.is_err() {
            info!("some tasks did not end in time");
        }
        // The links wait for their last news to be taken, so the taker ends after them.
        self.watcher.abort();
        if self.watcher.await.is_err_and(|error| error.is_panic()) {
            info!("the watcher of links had failed");
        }
    }
}

async fn start(config: Config, me: NodeConfig, failed: Failure) -> anyhow::Result<Started> {
    let clock = Clock::start();
    let mut seed = [0; 32];
    for half in seed.chunks_mut(16) {
        half.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    }
    let mut chance = ChaCha20Rng::from_seed(seed);
    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let (link_events, events) = mpsc::channel(256);
    let mut gossip_seed = [0; 32];
    chance.fill_bytes(&mut gossip_seed);
    let (prepared, gossip, directory) =
        gossip::prepare(&config, &me, clock, chance.next_u64(), gossip_seed)?;
    let identity = Identity {
        cluster: config.cluster.name.clone(),
        node: me.id,
        role: me.role,
        incarnation: Incarnation(chance.next_u64() | 1),
        version: u32::from(wire::FORMAT_VERSION),
    };
    let links = Arc::new(Links::new(
        LinksConfig {
            me: identity.clone(),
            queue_frames_max: config.limits.peer_queue_frames,
            frame_bytes_max: config.limits.frame_bytes_max,
            connect_timeout: Duration::from_secs(2),
            retry_min: Duration::from_millis(20),
            retry_max: Duration::from_millis(500),
            seed: chance.next_u64(),
        },
        link_events.clone(),
        &stop,
        tracker.clone(),
    ));
    let shared = Arc::new(Shared {
        ring: Ring::new(clock, config.events.ring, config.events.slots_per_s_max),
        metrics: Metrics::new(&me),
        peers: Peers::new(me.id, links.clone(), directory),
        links,
        http: HttpClient::new(&client_limits(&config)),
        settings: watch::Sender::new(Arc::new(config)),
        me,
        clock,
        closing: CancellationToken::new(),
        stop,
        tracker,
        failed,
        local: std::sync::OnceLock::new(),
        leader: watch::Sender::new(None),
        chance: Mutex::new(chance),
    });
    let listeners = serve::bind(&shared).await?;
    let (roles, inboxes) = start_roles(&shared)?;
    let inboxes = Arc::new(inboxes);
    let watcher = tokio::spawn(watch_links(shared.clone(), inboxes.clone(), events));
    let inbound = InboundLinks::new(
        InboundConfig { me: identity, frame_bytes_max: shared.config().limits.frame_bytes_max },
        inboxes,
        link_events,
        shared.stop.clone(),
        shared.tracker.clone(),
    );
    gossip::start(&shared, prepared);
    gossip::start_publishing(&shared, &roles, &gossip);
    let serving = TaskTracker::new();
    let app = serve::App { shared: shared.clone(), roles: roles.clone(), gossip, inbound };
    serve::start(app, listeners, &serving)?;
    info!(
        node = %shared.me.name,
        role = %shared.me.role,
        api = shared.me.api_port,
        monitor = shared.me.monitor_port,
        "serving"
    );
    Ok(Started { shared, roles, serving, watcher })
}

fn client_limits(config: &Config) -> ClientLimits {
    ClientLimits {
        connect_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(20),
        idle_per_node_max: 256,
        answer_bytes_max: config.limits.frame_bytes_max,
    }
}

fn start_roles(shared: &Arc<Shared>) -> anyhow::Result<(Roles, Inboxes)> {
    let mut roles = Roles::default();
    let mut inboxes = Inboxes::default();
    match shared.me.role {
        Role::Acceptor => {
            let (witness, inbox) = mpsc::channel(INPUTS_WAITING_MAX);
            let acceptor = acceptor::start(shared, inbox)?;
            inboxes.witness = Some(witness);
            inboxes.acceptor = Some(acceptor.inbox());
            roles.acceptor = Some(acceptor);
        }
        Role::Proposer => {
            let (sender, inbox) = mpsc::channel(INPUTS_WAITING_MAX);
            proposer::start(shared, inbox);
            inboxes.proposer = Some(sender.clone());
            roles.proposer = Some(ProposerHandle(sender));
        }
        Role::Learner => {
            let (sender, inbox) = mpsc::channel(INPUTS_WAITING_MAX);
            let learner = learner::start(shared, &sender, inbox)?;
            inboxes.learner = Some(sender);
            roles.learner = Some(learner);
        }
        Role::Client => {}
    }
    if matches!(shared.me.role, Role::Client | Role::Proposer) {
        let (sender, inbox) = mpsc::channel(INPUTS_WAITING_MAX);
        gateway::start(shared, inbox);
        inboxes.gateway = Some(sender.clone());
        roles.gateway = Some(GatewayHandle(sender));
    }
    let local = Local { proposer: inboxes.proposer.clone(), gateway: inboxes.gateway.clone() };
    if shared.local.set(local).is_err() {
        unreachable!("the roles are started once");
    }
    Ok((roles, inboxes))
}

/// Tells the roles which nodes can be reached.
async fn watch_links(
    shared: Arc<Shared>,
    inboxes: Arc<Inboxes>,
    mut events: mpsc::Receiver<LinkEvent>,
) {
    let _guard = shared.failed.on_panic("watcher of links");
    // The links themselves hold the other end, so it is the stop that ends this.
    while let Some(Some(event)) = shared.stop.run_until_cancelled(events.recv()).await {
        match event {
            LinkEvent::OutboundUp(node) => inboxes.link(node, true).await,
            LinkEvent::InboundUp { .. } => {}
            LinkEvent::OutboundDown(node) | LinkEvent::InboundDown { node, .. } => {
                // Whatever broke it, the node's answers are lost; but messages to it may still go,
                // over the other direction or over a link that has replaced this one already.
                inboxes.link(node, false).await;
                if shared.peers.is_up(node) {
                    inboxes.link(node, true).await;
                }
            }
        }
    }
}

/// Where this node listens for an address of its configuration: on every interface, because the
/// configured host is the name by which others reach it.
fn listen_address(me: &NodeConfig, port: u16) -> Address {
    let is_loopback = me.host == "localhost"
        || me.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let host = if is_loopback { me.host.as_str() } else { "0.0.0.0" };
    Address::new(host, port)
}
