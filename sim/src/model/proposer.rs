//! A proposer of a check: the core's, with every message it ever sent.
//!
//! A leader is given a command for each free slot at once. A later one would add nothing: a message
//! that is sent sooner may still arrive later, or never, and a command is the same whenever it
//! comes.

use std::collections::BTreeSet;
use std::sync::Arc;

use paxosd::paxos::acceptor::Reply;
use paxosd::paxos::event;
use paxosd::paxos::message::{Identity, Outbound, ToAcceptor, ToProposer, Vote};
use paxosd::paxos::proposer::{Effect, Input, Proposer};
use paxosd::types::{Ballot, Incarnation, NodeId, Slot};

use super::catalogue::Kind;
use super::ground::{self, ACCEPTORS, LATER, NOW, Order};
use super::lexicon::{Lexicon, ReplyId, RequestId, Set};

/// What can happen to a proposer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// The reply of the acceptor at this place.
    Reply { acceptor: usize, reply: ReplyId },
    /// This vote, of each acceptor that cast it: a quorum.
    Votes { vote: Set, voters: [bool; ACCEPTORS] },
    /// It leaves what it does and begins phase 1, after it has seen a ballot of this round.
    Campaign { seen: u64 },
    /// The process dies; a new one begins phase 1, after it has seen a ballot of this round.
    Restart { seen: u64 },
    /// A learner has delivered through this slot.
    Delivered(Slot),
    /// A learner cannot tell what was chosen from the first slot on.
    Fill,
}

/// The kind.
pub(super) struct Proposers {
    pub(super) lexicon: Arc<Lexicon>,
    pub(super) slots: u64,
    /// Planted: a new process takes the incarnation of the old one.
    pub(super) repeats_incarnation: bool,
}

/// A proposer, alive.
pub(super) struct Machine {
    place: usize,
    proposer: Proposer,
    /// Which process it is: 1, 2, 3, …
    life: u64,
    /// How many ballots it has used, in all lives.
    ballots: u64,
    /// The rounds of those ballots, as bits.
    rounds: u64,
    /// Where the next command of this leadership goes.
    next_slot: Slot,
    /// What was submitted to it, in all lives.
    submitted: Set,
    /// What it has ever sent: the network loses nothing for good, it may only take for ever.
    sent: BTreeSet<RequestId>,
}

/// What the model sees of a proposer.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// What it has ever sent, to every acceptor.
    pub(super) sent: Arc<[RequestId]>,
    /// Which process it is: 1, 2, 3, …
    pub(super) life: u64,
    /// How many ballots it has used.
    pub(super) ballots: u64,
    /// Their rounds, as bits.
    pub(super) rounds: u64,
    /// The highest round it has seen.
    pub(super) highest_round: u64,
    /// The ballot under which it leads.
    pub(super) leads: Option<Ballot>,
    /// It holds every slot below for chosen.
    pub(super) first_unchosen: Slot,
    /// What was submitted to it.
    pub(super) submitted: Set,
}

impl Kind for Proposers {
    type Machine = Machine;
    type Event = Event;
    type Answer = ();
    type View = View;

    fn birth(&self, place: usize) -> Machine {
        Machine {
            place,
            proposer: born(place, 1),
            life: 1,
            ballots: 0,
            rounds: 0,
            next_slot: Slot::FIRST,
            submitted: Set::default(),
            sent: BTreeSet::new(),
        }
    }

    fn step(&self, machine: &mut Machine, event: Event) {
        match event {
            Event::Reply { acceptor, reply } => {
                let reply = self.lexicon.spell_reply(reply);
                if let Some(message) = to_proposer(reply, acceptor) {
                    self.receive(machine, ground::acceptor(acceptor).node(), message);
                }
            }
            Event::Votes { vote, voters } => {
                for (_, vote) in self.lexicon.spell_votes(vote) {
                    for (place, _) in voters.iter().enumerate().filter(|(_, is_voter)| **is_voter) {
                        let acceptor = ground::acceptor(place);
                        let vote = ToProposer::Vote(Vote { acceptor, ..vote });
                        self.receive(machine, acceptor.node(), vote);
                    }
                }
            }
            Event::Campaign { seen } => {
                if machine.is_busy() {
                    // Phase 1 ends without an answer, or a leader notices that nobody answers it.
                    self.act(machine, |proposer, out| proposer.tick(LATER, out));
                }
                self.campaign(machine, seen);
            }
            Event::Restart { seen } => {
                machine.life += 1;
                let incarnation = if self.repeats_incarnation { 1 } else { machine.life };
                machine.proposer = born(machine.place, incarnation);
                self.campaign(machine, seen);
            }
            Event::Delivered(slot) => {
                let learner = ground::learner();
                self.receive(machine, learner.node(), ToProposer::Delivered { learner, slot });
            }
            Event::Fill => {
                let fill = ToProposer::Fill { from_slot: Slot::FIRST, through: Slot::FIRST };
                self.receive(machine, ground::learner().node(), fill);
            }
        }
    }

    fn moved(&self, place: usize, _: Order) -> usize {
        place
    }

    fn renamed(&self, event: Event, order: Order) -> Event {
        match event {
            Event::Reply { acceptor, reply } => {
                Event::Reply { acceptor: ground::moved(acceptor, order), reply }
            }
            Event::Votes { vote, voters } => {
                let mut moved = [false; ACCEPTORS];
                for (is_voter, place) in voters.into_iter().zip(order) {
                    if let Some(there) = moved.get_mut(place) {
                        *there = is_voter;
                    }
                }
                Event::Votes { vote, voters: moved }
            }
            Event::Campaign { .. } | Event::Restart { .. } | Event::Delivered(_) | Event::Fill => {
                event
            }
        }
    }

    /// The core's proposer shows all its fields but the generator of chance, which has nothing to
    /// decide where every span is zero.
    fn look(&self, machine: &Machine) -> (String, View) {
        let Machine { place, proposer, life, ballots, rounds, next_slot, submitted, sent } =
            machine;
        let face = format!(
            "{place} {proposer:?} {life} {ballots} {rounds:b} {next_slot} {submitted:?} {sent:?}"
        );
        let status = proposer.status(NOW);
        let view = View {
            sent: sent.iter().copied().collect(),
            life: *life,
            ballots: *ballots,
            rounds: *rounds,
            highest_round: status.highest_round,
            leads: status.leader.filter(|_| status.is_leader),
            first_unchosen: status.first_unchosen,
            submitted: *submitted,
        };
        (face, view)
    }
}

impl Proposers {
    /// Begins phase 1 above a ballot of this round. The leader of it resigns in favour of this
    /// proposer: of the ways to begin the one that needs one message and leaves no other trace.
    /// Whoever asks the witnesses learns of the same ballots, and ends at the same place.
    fn campaign(&self, machine: &mut Machine, seen: u64) {
        let rival = ground::proposer(usize::from(machine.place == 0));
        let ballot = Ballot { round: seen, proposer: rival, incarnation: Incarnation(1) };
        self.receive(machine, rival.node(), ToProposer::Resign { ballot });
    }

    fn receive(&self, machine: &mut Machine, from: NodeId, message: ToProposer) {
        let epoch = Some(ground::epoch().digest());
        let input = Input::Received { from, epoch, message };
        self.act(machine, |proposer, out| proposer.step(NOW, input, out));
    }

    /// Lets the proposer act, and sees to what it wants; then hands it commands while it has room.
    fn act(&self, machine: &mut Machine, act: impl FnOnce(&mut Proposer, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        act(&mut machine.proposer, &mut out);
        machine.proposer.flush(NOW, &mut out);
        let mut leads = None;
        for effect in out {
            match effect {
                Effect::Event(event::Event::Elected { ballot, next_slot }) => {
                    machine.next_slot = next_slot;
                    leads = Some(ballot);
                }
                Effect::Event(event::Event::Prepares { ballot, .. }) => {
                    machine.ballots += 1;
                    machine.rounds |= 1 << ballot.round;
                }
                Effect::Send(Outbound::Acceptor(_, message)) => self.send(machine, message),
                Effect::Send(_) | Effect::Event(_) | Effect::Left => {}
            }
        }
        if let Some(ballot) = leads.filter(|_| machine.next_slot.get() <= self.slots) {
            self.submit(machine, ballot);
        }
    }

    fn submit(&self, machine: &mut Machine, ballot: Ballot) {
        let mut out = Vec::new();
        for slot in machine.next_slot.get()..=self.slots {
            let (number, submission) = ground::command(machine.life, ballot, Slot::new(slot));
            let batch = ground::batch_of(&submission);
            machine.submitted = machine.submitted.or(self.lexicon.value(&batch));
            let session = submission.name.session;
            let submit = ToProposer::Submit { session, number, commands: vec![submission] };
            let input = Input::Received { from: ground::gateway(), epoch: None, message: submit };
            machine.proposer.step(NOW, input, &mut out);
            machine.proposer.flush(NOW, &mut out);
        }
        machine.next_slot = Slot::new(self.slots + 1);
        for effect in out {
            if let Effect::Send(Outbound::Acceptor(_, message)) = effect {
                self.send(machine, message);
            }
        }
    }

    fn send(&self, machine: &mut Machine, message: ToAcceptor) {
        if let ToAcceptor::Prepare { .. } | ToAcceptor::Accept { .. } = message {
            machine.sent.insert(self.lexicon.request(machine.place, message));
        }
    }
}

impl Machine {
    fn is_busy(&self) -> bool {
        let status = self.proposer.status(NOW);
        status.is_leader || status.in_election
    }
}

/// A proposer that has found the epoch.
fn born(place: usize, incarnation: u64) -> Proposer {
    let config = ground::proposer_config(place, incarnation);
    let mut proposer = Proposer::new(config, NOW, [0; 32]);
    for acceptor in 0..ACCEPTORS {
        let identity = Identity {
            acceptor: ground::acceptor(acceptor),
            storage: ground::directory(acceptor),
            epoch: Some(ground::epoch()),
            active: false,
        };
        let from = ground::acceptor(acceptor).node();
        let message = ToProposer::Identity(identity);
        proposer.step(NOW, Input::Received { from, epoch: None, message }, &mut Vec::new());
    }
    assert!(proposer.epoch().is_some(), "it counts by the epoch before a check begins");
    proposer
}

/// The reply of the acceptor at `place`, as it travels.
fn to_proposer(reply: Reply, place: usize) -> Option<ToProposer> {
    let acceptor = ground::acceptor(place);
    Some(match reply {
        Reply::Promise { ballot, from_slot, accepted, next_slot, trimmed_slot } => {
            ToProposer::Promise { acceptor, ballot, from_slot, accepted, next_slot, trimmed_slot }
        }
        Reply::Nack { ballot, slot, refusal } => {
            ToProposer::Nack { acceptor, ballot, slot, refusal }
        }
        Reply::Identity(_)
        | Reply::Vote { .. }
        | Reply::Mark { .. }
        | Reply::Votes { .. }
        | Reply::Noted { .. }
        | Reply::OtherEpoch => return None,
    })
}
