//! Finding the epoch, and founding it once.
//!
//! An epoch is in force when every acceptor named in it has it on disk. Until then nobody prepares,
//! so two proposers that would found different epochs cannot both get a quorum: each acceptor
//! joins one epoch for ever, and an epoch needs them all. From the first promise on an acceptor
//! vouches that its epoch is in force, and then one such answer is enough.

use std::collections::BTreeMap;

use rand::RngExt;

use crate::types::{AcceptorId, Epoch, Instant};

use super::{Effect, Event, Membership, Phase, Proposer};
use crate::paxos::message::{Identity, Outbound, ToAcceptor};

/// What the acceptors said of themselves so far.
#[derive(Debug)]
pub(super) struct Formation {
    identities: BTreeMap<AcceptorId, Identity>,
    pub(super) ask_at: Instant,
    rounds: u64,
    /// What was last told of it, so that it is told once.
    told: Option<Event>,
}

impl Formation {
    pub(super) fn new(now: Instant) -> Self {
        Self { identities: BTreeMap::new(), ask_at: now, rounds: 0, told: None }
    }
}

impl Proposer {
    pub(super) fn tick_formation(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Phase::Forming(formation) = &mut self.phase else { return };
        if now < formation.ask_at {
            return;
        }
        let pause = self.config.settings.resend.mul_f64(self.rng.random_range(0.75..1.25));
        formation.ask_at = now + pause;
        for &acceptor in &self.config.acceptors {
            out.push(Effect::Send(Outbound::Acceptor(acceptor, ToAcceptor::Identify)));
        }
        let missing: Vec<AcceptorId> = self
            .config
            .acceptors
            .iter()
            .copied()
            .filter(|acceptor| !formation.identities.contains_key(acceptor))
            .collect();
        formation.rounds += 1;
        // Answers to the first question are still under way; silence is news from the third on.
        if !missing.is_empty() && formation.rounds > 2 {
            formation.tell(Event::FormationWaits { missing }, out);
        }
    }

    pub(super) fn on_identity(&mut self, now: Instant, identity: Identity, out: &mut Vec<Effect>) {
        self.hear(identity.acceptor, now);
        match &mut self.phase {
            Phase::Forming(formation) => {
                if !self.config.acceptors.contains(&identity.acceptor) && !identity.active {
                    return;
                }
                formation.identities.insert(identity.acceptor, identity);
                self.try_to_form(now, out);
            }
            Phase::Following { .. }
            | Phase::Asking { .. }
            | Phase::Preparing(_)
            | Phase::Leading(_)
            | Phase::Left => self.check_identity(&identity, out),
        }
    }

    fn try_to_form(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Phase::Forming(formation) = &mut self.phase else { return };
        let in_force = formation
            .identities
            .values()
            .filter(|identity| identity.active)
            .filter_map(|identity| identity.epoch.clone())
            .find(|epoch| epoch.cluster == self.config.cluster);
        if let Some(epoch) = in_force {
            self.adopt(now, epoch, out);
            return;
        }
        if formation.identities.len() < self.config.acceptors.len() {
            return;
        }
        let founded = formation
            .identities
            .values()
            .filter_map(|identity| identity.epoch.clone())
            .find(|epoch| epoch.cluster == self.config.cluster);
        let epoch = founded.unwrap_or_else(|| Epoch {
            cluster: self.config.cluster.clone(),
            acceptors: formation.identities.iter().map(|(&id, it)| (id, it.storage)).collect(),
            learners: self.config.learners.clone(),
            limits: self.config.limits,
        });
        let mut joined = 0;
        let mut conflict = None;
        for (&acceptor, identity) in &formation.identities {
            match &identity.epoch {
                Some(theirs) if *theirs == epoch => joined += 1,
                None if epoch.acceptors.get(&acceptor) == Some(&identity.storage) => {
                    let form = ToAcceptor::Form { epoch: epoch.clone() };
                    out.push(Effect::Send(Outbound::Acceptor(acceptor, form)));
                }
                Some(_) | None => conflict = Some(acceptor),
            }
        }
        if let Some(acceptor) = conflict {
            formation.tell(Event::FormationConflict { acceptor }, out);
        } else if joined == epoch.acceptors.len() {
            self.adopt(now, epoch, out);
        }
    }

    fn adopt(&mut self, now: Instant, epoch: Epoch, out: &mut Vec<Effect>) {
        let Ok(quorum) = epoch.quorum() else { return };
        let Phase::Forming(formation) =
            std::mem::replace(&mut self.phase, Phase::Following { ask_at: now })
        else {
            unreachable!("an epoch is adopted once, while forming")
        };
        let digest = epoch.digest();
        out.push(Effect::Event(Event::EpochKnown { epoch: digest }));
        self.membership = Some(Membership { epoch, digest, quorum });
        for identity in formation.identities.values() {
            self.check_identity(identity, out);
        }
    }

    /// Tells a directory that the epoch does not know, and never counts on it.
    fn check_identity(&mut self, identity: &Identity, out: &mut Vec<Effect>) {
        let Some(membership) = &self.membership else { return };
        let acceptor = identity.acceptor;
        if membership.epoch.acceptors.get(&acceptor) == Some(&identity.storage) {
            self.strangers.remove(&acceptor);
            return;
        }
        // Told once a connection: its answer is an identity again.
        if self.strangers.insert(acceptor) {
            let form = ToAcceptor::Form { epoch: membership.epoch.clone() };
            out.push(Effect::Send(Outbound::Acceptor(acceptor, form)));
            out.push(Effect::Event(Event::NotMember { acceptor }));
        }
    }
}

impl Formation {
    fn tell(&mut self, event: Event, out: &mut Vec<Effect>) {
        if self.told.as_ref() != Some(&event) {
            out.push(Effect::Event(event.clone()));
            self.told = Some(event);
        }
    }
}
