//! The task that owns the proposer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::inbox::{Input, Received};
use crate::config::Config;
use crate::paxos::event::Event;
use crate::paxos::message::ToProposer;
use crate::paxos::proposer::{
    self, Effect, Peers, Proposer, ProposerConfig, ProposerSettings, ProposerStatus,
};
use crate::types::{Incarnation, LearnerId, ProposerId, Role};

/// What the rest of the node asks of the proposer.
#[derive(Debug)]
pub enum Call {
    /// What does it look like?
    Status(oneshot::Sender<ProposerStatus>),
    /// Hand over and leave; answered when that is done.
    Leave(oneshot::Sender<()>),
}

/// The proposer, as the rest of the node sees it.
#[derive(Debug, Clone)]
pub struct ProposerHandle(pub mpsc::Sender<Input<ToProposer, Call>>);

impl ProposerHandle {
    /// What it looks like; `None` while the node stops.
    pub async fn status(&self) -> Option<ProposerStatus> {
        let (reply, status) = oneshot::channel();
        self.0.send(Input::Call(Call::Status(reply))).await.ok()?;
        status.await.ok()
    }

    /// Hands over the lead, if it has it; returns when that is done.
    pub async fn leave(&self) {
        let (reply, left) = oneshot::channel();
        if self.0.send(Input::Call(Call::Leave(reply))).await.is_ok() && left.await.is_err() {
            tracing::debug!("the proposer stopped before it had handed over");
        }
    }
}

/// The most inputs taken before what they ask for is done.
const INPUTS_PER_TURN: usize = 256;

struct Task {
    shared: Arc<Shared>,
    proposer: Proposer,
    out: Vec<Effect>,
    leaving: Vec<oneshot::Sender<()>>,
}

/// Starts the task.
pub fn start(shared: &Arc<Shared>, inbox: mpsc::Receiver<Input<ToProposer, Call>>) {
    let config = shared.config();
    let now = shared.clock.now();
    let since_zero = u64::try_from(now.since(crate::types::Instant::default()).as_millis());
    let proposer_config = ProposerConfig {
        me: ProposerId(shared.me.id),
        incarnation: Incarnation(shared.chance_u64() | 1),
        cluster: config.cluster.name.clone(),
        acceptors: config.acceptors(),
        learners: config.with_role(Role::Learner).map(|node| LearnerId(node.id)).collect(),
        limits: config.log_limits(),
        clock_ms_at_zero: shared.clock.unix_ms().saturating_sub(since_zero.unwrap_or(0)),
        settings: settings_of(&config),
    };
    let proposer = Proposer::new(proposer_config, now, shared.chance_seed());
    let task = Task { shared: shared.clone(), proposer, out: Vec::new(), leaving: Vec::new() };
    shared.tracker.spawn(task.run(inbox));
}

fn settings_of(config: &Config) -> ProposerSettings {
    let ms = Duration::from_millis;
    let settings = &config.proposer;
    ProposerSettings {
        heartbeat: ms(config.election.heartbeat_ms),
        timeout: ms(config.election.timeout_ms),
        resend: ms(config.election.timeout_ms),
        drain: ms(settings.drain_ms),
        window_slots: usize::try_from(settings.window_slots).unwrap_or(usize::MAX),
        spare_delay: ms(settings.spare_delay_ms),
        batch_bytes_min: settings.batch_bytes_min,
        batch_bytes_max: settings.batch_bytes_max,
        batch_commands_max: settings.batch_commands_max,
        queue_commands_max: settings.queue_commands_max,
        queue_bytes_max: settings.queue_bytes_max,
        fill_slots_max: config.acceptor.accept_window_slots,
    }
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Input<ToProposer, Call>>) {
        let _guard = self.shared.failed.on_panic("proposer");
        let stop = self.shared.stop.clone();
        let mut directory = self.shared.peers.directory();
        let mut config = self.shared.config_changes();
        let mut inputs = Vec::with_capacity(INPUTS_PER_TURN);
        self.set_peers();
        loop {
            let deadline =
                self.proposer.deadline().unwrap_or(crate::types::Instant::from_nanos(u64::MAX));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = directory.changed() => self.set_peers(),
                Ok(()) = config.changed() => self.set_settings(&config.borrow_and_update()),
                _ = inbox.recv_many(&mut inputs, INPUTS_PER_TURN) => {
                    for input in inputs.drain(..) {
                        self.take(input);
                    }
                }
                () = tokio::time::sleep_until(self.shared.clock.to_tokio(deadline)) => {}
            }
            let now = self.shared.clock.now();
            if self.proposer.deadline().is_some_and(|deadline| deadline <= now) {
                self.proposer.tick(now, &mut self.out);
            }
            self.proposer.flush(now, &mut self.out);
            self.perform();
        }
    }

    fn take(&mut self, input: Input<ToProposer, Call>) {
        let now = self.shared.clock.now();
        match input {
            Input::Messages(messages) => {
                for Received { from, epoch, message } in messages {
                    let input = proposer::Input::Received { from, epoch, message };
                    self.proposer.step(now, input, &mut self.out);
                }
            }
            Input::LinkUp(node) => {
                self.proposer.step(now, proposer::Input::LinkUp(node), &mut self.out);
            }
            Input::LinkDown(node) => {
                self.proposer.step(now, proposer::Input::LinkDown(node), &mut self.out);
            }
            Input::Call(Call::Status(reply)) => {
                super::answer(reply, self.proposer.status(now));
            }
            Input::Call(Call::Leave(reply)) => {
                self.leaving.push(reply);
                self.proposer.step(now, proposer::Input::Leave, &mut self.out);
            }
        }
    }

    fn set_settings(&mut self, config: &Config) {
        let input = proposer::Input::Settings(settings_of(config));
        self.proposer.step(self.shared.clock.now(), input, &mut self.out);
    }

    fn set_peers(&mut self) {
        let directory = self.shared.peers.directory();
        let directory = directory.borrow();
        let mut gateways = directory.gateways();
        gateways.insert(self.shared.me.id);
        let peers =
            Peers { proposers: directory.proposers(), learners: directory.learners(), gateways };
        drop(directory);
        let now = self.shared.clock.now();
        self.proposer.step(now, proposer::Input::Peers(peers), &mut self.out);
    }

    fn perform(&mut self) {
        let epoch = self.proposer.epoch();
        let (mut sends, mut has_left) = (Vec::new(), false);
        for effect in self.out.drain(..) {
            match effect {
                Effect::Send(outbound) => sends.push(outbound),
                Effect::Event(event) => {
                    if let Some(ballot) = event.leads() {
                        self.shared.see_leader(ballot);
                    }
                    if let (Event::EpochKnown { .. }, Some(formed)) =
                        (&event, self.proposer.formed())
                    {
                        self.shared.compare_with_file(formed);
                    }
                    self.shared.ring.event(event);
                }
                Effect::Left => has_left = true,
            }
        }
        self.shared.send_now(epoch, sends);
        if has_left {
            for reply in self.leaving.drain(..) {
                super::answer(reply, ());
            }
        }
    }
}
