//! How nodes of each role come to life: configured as the seed draws it.

use std::time::Duration;

use paxosd::paxos::acceptor::AcceptorConfig;
use paxosd::paxos::client::{ClientConfig, ClientSettings};
use paxosd::paxos::learner::{LearnerConfig, LearnerSettings};
use paxosd::paxos::proposer::{ProposerConfig, ProposerSettings};
use paxosd::types::{AcceptorId, Incarnation, LearnerId, NodeId, ProposerId};
use rand::{Rng, RngExt};

use crate::gossip::CLOCK_MS;
use crate::host::{AcceptorHost, ClientHost, Host, LearnerHost, SharedDisk, start_proposer};
use crate::world::World;

pub(crate) const CLUSTER: &str = "sim";

impl World {
    pub(crate) fn new_proposer(&mut self, me: ProposerId) -> Host {
        let options = &self.options;
        let chance = self.chances.node(me.node());
        let incarnation = Incarnation(chance.random_range(1..=u64::MAX));
        // A clock may be an hour off, and step between two lives.
        let clock_ms_at_zero = CLOCK_MS + chance.random_range(0..=3_600_000);
        let mut seed = [0; 32];
        chance.fill_bytes(&mut seed);
        let config = ProposerConfig {
            me,
            incarnation,
            cluster: CLUSTER.to_owned(),
            acceptors: self.acceptors(),
            learners: self.listed_learners(),
            limits: options.limits,
            clock_ms_at_zero,
            settings: ProposerSettings {
                heartbeat: options.heartbeat,
                timeout: options.timeout,
                resend: options.resend,
                drain: Duration::from_millis(500),
                window_slots: options.window_slots,
                spare_delay: options.spare_delay,
                batch_bytes_min: options.batch_bytes_min,
                batch_bytes_max: options.batch_bytes_max,
                batch_commands_max: options.batch_commands_max,
                queue_commands_max: options.queue_commands_max,
                queue_bytes_max: 16 << 10,
                fill_slots_max: 1_000,
            },
        };
        start_proposer(config, self.known_to(me.node()), self.now, seed)
    }

    pub(crate) fn new_acceptor(
        &mut self,
        me: AcceptorId,
        disk: SharedDisk,
    ) -> Result<Host, paxosd::paxos::journal::JournalError> {
        let storage = disk.borrow().id;
        let config = AcceptorConfig {
            me,
            cluster: CLUSTER.to_owned(),
            storage,
            page_bytes: self.options.page_bytes,
            accept_window_slots: self.options.accept_window_slots,
            trim_slots: self.options.trim_slots,
        };
        let known = self.known_to(me.node());
        let clock = (self.now, self.options.timeout);
        let most = self.options.journal_bytes_max;
        let host = AcceptorHost::start(config, disk, known, most, clock)?;
        if let Some(durable) = host.durable() {
            self.oracle.on_acceptor_start((me, storage), durable.acceptor());
        }
        Ok(Host::Acceptor(Box::new(host)))
    }

    pub(crate) fn new_learner(
        &mut self,
        me: LearnerId,
        disk: SharedDisk,
    ) -> Result<Host, paxosd::paxos::journal::JournalError> {
        let storage = disk.borrow().id;
        let options = &self.options;
        let config = LearnerConfig {
            me,
            cluster: CLUSTER.to_owned(),
            storage,
            acceptors: self.acceptors(),
            first_nonce: self.chances.node(me.node()).random_range(0..=u64::MAX / 2),
            settings: LearnerSettings {
                window_slots: options.learner_window_slots,
                gap: options.resend / 2,
                fill_after: options.timeout * 2,
                resend: options.resend,
                report: options.heartbeat * 2,
                checkpoint_indices: options.checkpoint_indices,
                prompt_bytes: options.prompt_bytes,
                kept_bytes_max: LearnerSettings::kept_bytes_of(options.journal_bytes_max),
            },
        };
        let known = self.known_to(me.node());
        let host = LearnerHost::start(config, disk, known, self.options.entries_bytes, self.now)?;
        let status = host.learner().status();
        self.oracle.on_learner_start(me, status.delivered_slot, status.state_hash);
        Ok(Host::Learner(Box::new(host)))
    }

    pub(crate) fn new_client(&mut self, me: NodeId) -> Host {
        let config = ClientConfig {
            me,
            settings: ClientSettings {
                retry: self.options.resend * 2,
                in_flight_max: 64,
                message_bytes_max: 1024,
            },
        };
        let mut seed = [0; 32];
        self.chances.node(me).fill_bytes(&mut seed);
        let host = ClientHost::start(config, self.known_to(me), self.now, seed);
        Host::Client(Box::new(host))
    }
}
