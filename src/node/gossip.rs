//! The task that owns gossip; it keeps the directory of peers and the addresses of the links.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use super::acceptor::AcceptorState;
use super::peers::{Directory, Peer};
use super::{Roles, Shared, gateway, learner};
use crate::config::{Config, NodeConfig};
use crate::gossip::{
    Address, Effect, Event, Gossip, GossipConfig, GossipMessage, GossipReply, Host, Input,
    LeaderHint, Member, Refusal, Seed, State, Ticket, View, incarnation_at,
};
use crate::http;
use crate::types::Ballot;

/// What the rest of the node asks of gossip.
#[derive(Debug)]
pub enum Call {
    /// A peer's `POST /gossip`.
    Asked(GossipMessage, oneshot::Sender<Result<GossipReply, Refusal>>),
    /// An exchange has ended.
    Ended(Address, Option<GossipReply>),
    /// What does the table look like?
    View(oneshot::Sender<View>),
    /// Facts about this node, for display.
    Publish(Vec<(&'static str, String)>),
}

/// Gossip, as the rest of the node sees it.
#[derive(Debug, Clone)]
pub struct GossipHandle(pub mpsc::Sender<Call>);

impl GossipHandle {
    /// Asks the task; `None` while the node stops.
    pub async fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(call(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// How long an exchange may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// Gossip before it runs: made first, so that links have addresses from the start.
pub struct Prepared {
    gossip: Gossip,
    inbox: mpsc::Receiver<Call>,
    sender: mpsc::Sender<Call>,
    directory: watch::Sender<Directory>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prepared")
    }
}

/// Makes gossip from the configuration.
///
/// # Errors
/// When a host of the configuration is none, or a seed contradicts it.
pub fn prepare(
    config: &Config,
    me: &NodeConfig,
    clock: super::clock::Clock,
    chance: u64,
    seed: [u8; 32],
) -> anyhow::Result<(Prepared, GossipHandle, watch::Receiver<Directory>)> {
    let member = Member {
        id: me.id,
        role: me.role,
        address: address(&me.host, me.api_port)?,
        monitor_port: NonZeroU16::new(me.monitor_port),
    };
    let low = u8::try_from(chance & 0xff).unwrap_or(0);
    let incarnation = incarnation_at(clock.unix_ms(), low);
    let (now, seeds) = (clock.now(), seeds(config)?);
    let gossip = Gossip::new(now, settings_of(config), member, incarnation, &seeds, seed)
        .context("start gossip")?;
    let (sender, inbox) = mpsc::channel(256);
    let directory = watch::Sender::new(directory_of(&gossip));
    let receiver = directory.subscribe();
    let handle = GossipHandle(sender.clone());
    Ok((Prepared { gossip, inbox, sender, directory }, handle, receiver))
}

fn settings_of(config: &Config) -> GossipConfig {
    let ms = Duration::from_millis;
    let settings = &config.gossip;
    let mut gossip_config = GossipConfig::new(config.cluster.name.clone());
    gossip_config.interval = ms(settings.interval_ms);
    gossip_config.fanout = settings.fanout;
    gossip_config.suspect_after = ms(settings.suspect_ms);
    gossip_config.dead_after = ms(settings.dead_ms);
    gossip_config.forget_after = ms(settings.forget_ms);
    gossip_config.exchange_timeout = EXCHANGE_TIMEOUT;
    gossip_config
}

/// The nodes that `config` lists, and where else gossip may begin.
///
/// # Errors
/// When a host is none.
pub(super) fn seeds(config: &Config) -> anyhow::Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for node in &config.nodes {
        let address = address(&node.host, node.api_port)?;
        seeds.push(Seed { id: Some(node.id), role: Some(node.role), address });
    }
    for seed in &config.seeds {
        if config.node(seed.id).is_none() {
            let address = address(&seed.host, seed.port)?;
            seeds.push(Seed { id: None, role: None, address });
        }
    }
    Ok(seeds)
}

fn address(host: &str, port: u16) -> anyhow::Result<Address> {
    let host: Host = host.parse()?;
    let port = NonZeroU16::new(port).context("a port is never 0")?;
    Ok(Address { host, port })
}

/// Every other node that is configured, or not known to be dead.
fn directory_of(gossip: &Gossip) -> Directory {
    let mut peers = BTreeMap::new();
    for (member, _) in gossip.members() {
        let address = http::Address::new(member.address.host.as_str(), member.address.port.get());
        peers.insert(member.id, Peer { id: member.id, role: member.role, address });
    }
    Directory(peers)
}

/// Starts the task.
pub fn start(shared: &Arc<Shared>, prepared: Prepared) {
    let task = Task { shared: shared.clone(), prepared, out: Vec::new(), tickets: BTreeMap::new() };
    shared.tracker.spawn(task.run());
}

/// How often a node tells of its state.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

/// Starts the task that tells the others of this node's watermarks, for display.
pub fn start_publishing(shared: &Arc<Shared>, roles: &Roles, gossip: &GossipHandle) {
    let (stop, roles, gossip) = (shared.stop.clone(), roles.clone(), gossip.clone());
    shared.tracker.spawn(async move {
        let publish = async {
            loop {
                if gossip.0.send(Call::Publish(facts(&roles).await)).await.is_err() {
                    return;
                }
                tokio::time::sleep(PUBLISH_INTERVAL).await;
            }
        };
        stop.run_until_cancelled(publish).await;
    });
}

async fn facts(roles: &Roles) -> Vec<(&'static str, String)> {
    let number = |ballot: Option<Ballot>| ballot.map_or(0, Ballot::proposal_number).to_string();
    let mut facts = Vec::new();
    if let Some(acceptor) = &roles.acceptor {
        let status = acceptor.status();
        let is_voting = matches!(status.state, AcceptorState::Voting(_));
        facts.push(("voting", is_voting.to_string()));
        facts.push(("promised", number(status.promised)));
        facts.push(("durable_slot", status.highest_voted.to_string()));
        facts.push(("trimmed_slot", status.trimmed_slot.to_string()));
    }
    if let Some(proposer) = &roles.proposer
        && let Some(status) = proposer.status().await
    {
        facts.push(("is_leader", status.is_leader.to_string()));
        facts.push(("leader_ballot", number(status.leader)));
        facts.push(("first_unchosen_slot", status.first_unchosen.to_string()));
    }
    if let Some(learner) = &roles.learner
        && let Some(status) = learner.ask(learner::Call::Status).await
    {
        facts.push(("delivered_index", status.delivered_index.to_string()));
        facts.push(("delivered_slot", status.delivered_slot.to_string()));
        facts.push(("durable_slot", status.durable_slot.to_string()));
    }
    if let (Some(gateway), None) = (&roles.gateway, &roles.proposer)
        && let Some(status) = gateway.ask(gateway::Call::Status).await
    {
        facts.push(("in_flight", status.client.in_flight.to_string()));
    }
    facts
}

struct Task {
    shared: Arc<Shared>,
    prepared: Prepared,
    out: Vec<Effect>,
    tickets: BTreeMap<Ticket, oneshot::Sender<Result<GossipReply, Refusal>>>,
}

impl Task {
    async fn run(mut self) {
        let _guard = self.shared.failed.on_panic("gossip");
        let stop = self.shared.stop.clone();
        let mut leader = self.shared.leader_changes();
        let mut config = self.shared.config_changes();
        let mut next_ticket = 0;
        self.spread();
        loop {
            let clock = self.shared.clock;
            let deadline = self.prepared.gossip.deadline().unwrap_or_default();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(call) = self.prepared.inbox.recv() => self.take(call, &mut next_ticket),
                Ok(()) = config.changed() => self.set_config(&config.borrow_and_update()),
                Ok(()) = leader.changed() => {
                    let seen = *leader.borrow_and_update();
                    if let Some(seen) = seen {
                        let input = Input::LeaderSeen(hint(seen.ballot));
                        self.prepared.gossip.step(clock.now(), input, &mut self.out);
                    }
                }
                () = tokio::time::sleep_until(clock.to_tokio(deadline)) => {
                    self.prepared.gossip.tick(clock.now(), &mut self.out);
                }
            }
            self.perform();
        }
    }

    fn take(&mut self, call: Call, next_ticket: &mut u64) {
        let now = self.shared.clock.now();
        match call {
            Call::Asked(message, reply) => {
                *next_ticket += 1;
                let ticket = Ticket(*next_ticket);
                self.tickets.insert(ticket, reply);
                let input = Input::Asked { ticket, message };
                self.prepared.gossip.step(now, input, &mut self.out);
            }
            Call::Ended(to, Some(reply)) => {
                let input = Input::Answered { to, reply };
                self.prepared.gossip.step(now, input, &mut self.out);
            }
            Call::Ended(to, None) => {
                self.prepared.gossip.step(now, Input::Failed { to }, &mut self.out);
            }
            Call::View(reply) => super::answer(reply, self.prepared.gossip.view(now)),
            Call::Publish(facts) => {
                for (key, value) in facts {
                    if let Err(error) = self.prepared.gossip.publish(key, &value) {
                        debug!(%error, "not published");
                    }
                }
            }
        }
    }

    fn set_config(&mut self, config: &Config) {
        // Its hosts were read before it came into force.
        let Ok(seeds) = seeds(config) else { return };
        let (now, settings) = (self.shared.clock.now(), settings_of(config));
        self.prepared.gossip.reconfigure(now, settings, &seeds, &mut self.out);
        self.spread();
    }

    fn perform(&mut self) {
        for effect in std::mem::take(&mut self.out) {
            match effect {
                Effect::Exchange { to, request } => self.exchange(to, &request),
                Effect::Reply { ticket, answer } => {
                    if let Some(reply) = self.tickets.remove(&ticket) {
                        super::answer(reply, answer);
                    }
                }
                Effect::Changed(event) => self.on_event(&event),
            }
        }
    }

    fn exchange(&self, to: Address, request: &GossipMessage) {
        let Ok(json) = serde_json::to_vec(request) else { return };
        let (http, sender) = (self.shared.http.clone(), self.prepared.sender.clone());
        let stop = self.shared.stop.clone();
        self.shared.tracker.spawn(async move {
            let address = http::Address::new(to.host.as_str(), to.port.get());
            let call = http.post_json(&address, "/gossip", Bytes::from(json), EXCHANGE_TIMEOUT);
            let Some(answer) = stop.run_until_cancelled(call).await else { return };
            let reply = answer.ok().and_then(|reply| GossipReply::parse(&reply.body).ok());
            if sender.send(Call::Ended(to, reply)).await.is_err() {
                debug!("gossip has stopped");
            }
        });
    }

    fn on_event(&self, event: &Event) {
        let (kind, peer, text) = match event {
            Event::Joined { member } => (
                "joined",
                member.id,
                format!("{} {} at {}", member.role, member.id, member.address),
            ),
            Event::Restarted { member, .. } => {
                ("restarted", member.id, format!("{} {} began anew", member.role, member.id))
            }
            Event::Suspect { id } => ("suspect", *id, format!("node {id} is silent")),
            Event::Dead { id } => ("dead", *id, format!("node {id} has been silent for too long")),
            Event::Revived { id, .. } => ("revived", *id, format!("node {id} is heard again")),
            Event::Forgotten { id } => ("forgotten", *id, format!("node {id} is forgotten")),
            Event::Leader(hint) => {
                debug!(leader = hint.leader_id, "gossip names a leader");
                return;
            }
            Event::Contested { .. } => (
                "contested",
                self.shared.me.id,
                "another process speaks as this node, or the clock was set back".to_owned(),
            ),
            Event::Refused { id, fault } => {
                ("gossip-refused", *id, format!("a false statement about node {id}: {fault:?}"))
            }
        };
        match event {
            Event::Contested { .. } | Event::Refused { .. } => warn!(kind, %peer, "{text}"),
            Event::Joined { .. }
            | Event::Restarted { .. }
            | Event::Suspect { .. }
            | Event::Dead { .. }
            | Event::Revived { .. }
            | Event::Forgotten { .. }
            | Event::Leader(_) => info!(kind, %peer, "{text}"),
        }
        self.shared.ring.note(kind, Some(peer), text);
        self.spread();
    }

    /// Tells the links and the roles who is there now.
    fn spread(&self) {
        let directory = directory_of(&self.prepared.gossip);
        let known = self.prepared.directory.borrow().clone();
        for peer in directory.0.values() {
            self.shared.links.set_address(peer.id, peer.address.clone());
        }
        for gone in known.0.keys().filter(|id| !directory.0.contains_key(id)) {
            self.shared.links.remove(*gone);
        }
        if known != directory {
            self.prepared.directory.send_replace(directory);
        }
        let alive = self.prepared.gossip.members().filter(|(_, it)| *it == State::Alive).count();
        self.shared.metrics.members(alive, self.prepared.gossip.members().count());
    }
}

fn hint(ballot: Ballot) -> LeaderHint {
    LeaderHint {
        proposal_number: ballot.proposal_number(),
        leader_id: ballot.proposer.node().get(),
    }
}
