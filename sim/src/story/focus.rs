//! What of a run concerns the broken rule: the slot, the ballots and the operations in question,
//! the messages about them, and which of those came before the breach by cause and effect.

use std::collections::{BTreeMap, BTreeSet};

use paxosd::paxos::event::Event;
use paxosd::paxos::message::{
    Message, ToAcceptor, ToClient, ToLearner, ToProposer, ToWitness, Vote,
};
use paxosd::types::{Ballot, Instant, Name, NodeId, Role, Slot};

use crate::network::{Fate, MessageId, Route};
use crate::report::{Report, role_of};
use crate::trace::{Kind, Moment, What};

use super::cast::{self, Cast, ballot_of, proposals};
use super::text::add;
use super::words;

/// How much of a run is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What concerns the broken rule.
    Focus,
    /// Every message of the protocol.
    Protocol,
    /// Heartbeats and housekeeping too.
    Everything,
}

impl Scope {
    /// How many items are drawn at most: the last ones before the breach.
    const fn items_max(self) -> usize {
        match self {
            Self::Focus => 60,
            Self::Protocol => 200,
            Self::Everything => 300,
        }
    }
}

/// How many steps are told at most.
const STEPS_MAX: usize = 14;
/// Fewer messages than these tell nothing.
const TELLING_MIN: usize = 3;
/// How many operations are followed from their callers on, at most.
const FOLLOWED_MAX: usize = 4;

/// What concerns the broken rule.
#[derive(Debug, Default)]
pub(crate) struct Focus {
    pub(crate) slots: BTreeSet<Slot>,
    pub(crate) ballots: BTreeSet<Ballot>,
    names: BTreeSet<Name>,
    operations: BTreeSet<u64>,
    actor: Option<NodeId>,
    /// Whether it is about what a caller asked for.
    follows_caller: bool,
    /// The last message that the actor had received.
    trigger: Option<MessageId>,
    /// When the read in question began.
    read_since: Option<Instant>,
    /// Moments that precede the breach by cause and effect.
    causes: BTreeSet<usize>,
    /// When messages arrived.
    arrivals: BTreeMap<MessageId, Vec<Instant>>,
}

/// One thing that is drawn: a message to one or more nodes, or a mark.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) at: Instant,
    pub(crate) node: Option<NodeId>,
    /// What it says or does.
    pub(crate) text: String,
    /// Where it goes; empty for a mark.
    pub(crate) targets: Vec<Target>,
    /// The letter of the value it is about.
    pub(crate) letter: Option<usize>,
    /// The kind of a mark.
    pub(crate) kind: Option<Kind>,
    /// Whether a client only looks for a leader by it.
    is_try: bool,
    /// Whether it is one of the causes.
    is_cause: bool,
    deed: Option<String>,
}

/// One receiver of a message.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) node: NodeId,
    pub(crate) fate: Fate,
    /// When it arrived; twice where it was doubled.
    pub(crate) arrivals: Vec<Instant>,
}

/// One step of what led to the breach.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) at: Instant,
    actors: BTreeSet<NodeId>,
    deed: String,
}

impl Step {
    /// Who does what.
    pub(crate) fn sentence(&self) -> String {
        words::sentence(&self.actors, &self.deed)
    }
}

impl Focus {
    /// What concerns the rule that a run broke.
    pub(crate) fn of(report: &Report) -> Self {
        let mut focus = Self { actor: report.subject.actor, ..Self::default() };
        focus.slots.extend(report.subject.slot.filter(|slot| *slot > Slot::ZERO));
        focus.ballots.extend(report.subject.ballot);
        focus.names.extend(report.subject.name);
        focus.operations.extend(report.subject.operation);
        focus.follows_caller = !focus.names.is_empty() || !focus.operations.is_empty();
        for moment in &report.moments {
            if let What::Receives(id) = &moment.what {
                focus.arrivals.entry(*id).or_default().push(moment.at);
            }
            if let Some((name, number)) = cast::named(&moment.what)
                && focus.operations.contains(&number)
            {
                focus.names.insert(name);
            }
        }
        focus.look_at_last(report);
        focus.find_slots(report);
        focus.find_ballots(report);
        focus.find_operations(report);
        focus.find_causes(report);
        focus
    }

    /// A broken assertion names no slot: the last message that its node got does. A stale read is
    /// about the first write that it missed.
    fn look_at_last(&mut self, report: &Report) {
        let Some(violation) = &report.violation else { return };
        let received = report.moments.iter().rev().filter_map(|moment| match &moment.what {
            What::Receives(id) => (moment.node == self.actor).then_some(*id),
            What::Sends { .. } | What::Tells(_) | What::Notes(..) => None,
        });
        let mut received = received.filter_map(|id| Some((id, sent(report, id)?)));
        let last = received.find(|(_, message)| !is_noise(message));
        self.trigger = last.map(|(id, _)| id);
        if violation.is_assertion() && self.slots.is_empty() {
            let message = last.map(|(_, message)| message);
            self.slots.extend(message.and_then(|it| slots_of(it).first().copied()));
            self.ballots.extend(message.and_then(ballot_of));
        }
        let Some((began, index)) = read(report) else { return };
        self.read_since = Some(began);
        let missed = report.moments.iter().find_map(|moment| {
            let What::Tells(event) = &moment.what else { return None };
            let Event::Delivered { slot, index: reached, .. } = event else { return None };
            (reached.get() > index).then_some(*slot)
        });
        self.slots.extend(missed);
    }

    /// The slots that carry the commands in question.
    fn find_slots(&mut self, report: &Report) {
        for (message, _) in sends(report) {
            for proposal in proposals(message) {
                let mut commands = proposal.batch.commands().flatten();
                if commands.any(|command| self.names.contains(&command.name)) {
                    self.slots.insert(proposal.slot);
                }
            }
        }
    }

    /// The ballots under which something was proposed in those slots, and the highest that the
    /// acceptor in question was asked to follow.
    fn find_ballots(&mut self, report: &Report) {
        let mut followed = BTreeSet::new();
        let acceptor = self.actor.filter(|id| role_of(*id) == Role::Acceptor);
        for moment in &report.moments {
            let What::Sends { id, message, .. } = &moment.what else { continue };
            let proposed = proposals(message);
            let proposed = proposed.iter().filter(|it| self.slots.contains(&it.slot));
            self.ballots.extend(proposed.map(|it| it.ballot));
            if Some(id.route.to) == acceptor && self.arrivals.contains_key(id) {
                followed.extend(ballot_of(message));
            }
        }
        self.ballots.extend(followed.last());
    }

    /// The operations in those slots, where they are few enough to follow.
    fn find_operations(&mut self, report: &Report) {
        for (message, _) in sends(report) {
            for proposal in proposals(message) {
                if self.slots.contains(&proposal.slot) {
                    let commands = proposal.batch.commands().flatten();
                    self.names.extend(commands.map(|command| command.name));
                }
            }
        }
        if self.names.len() > FOLLOWED_MAX {
            self.names = report.subject.name.into_iter().collect();
        }
        for moment in &report.moments {
            let Some((name, number)) = cast::named(&moment.what) else { continue };
            if self.names.contains(&name) {
                self.operations.insert(number);
            }
        }
    }

    /// Walks back from the breach: what a node did before, and what it had received, and so on.
    fn find_causes(&mut self, report: &Report) {
        let mut reached: BTreeSet<NodeId> = self.actor.into_iter().collect();
        let mut received = BTreeSet::new();
        for (at, moment) in report.moments.iter().enumerate().rev() {
            let is_reached = moment.node.is_none_or(|node| reached.contains(&node));
            match &moment.what {
                What::Sends { id, .. } if received.contains(id) => {
                    reached.insert(id.route.from);
                    self.causes.insert(at);
                }
                What::Receives(id) if is_reached => {
                    received.insert(*id);
                    self.causes.insert(at);
                }
                What::Notes(..) | What::Tells(_) if is_reached => {
                    self.causes.insert(at);
                }
                What::Sends { .. } | What::Receives(_) | What::Notes(..) | What::Tells(_) => {}
            }
        }
    }

    fn concerns(&self, (id, at): (MessageId, Instant), message: &Message) -> bool {
        use ToProposer::{Nack, Promise};
        let has_slot = slots_of(message).iter().any(|slot| self.slots.contains(slot));
        let has_name = names_of(message).iter().any(|name| self.names.contains(name));
        let has_ballot = ballot_of(message).is_some_and(|it| self.ballots.contains(&it));
        if self.trigger == Some(id) {
            return true;
        }
        match message {
            Message::Acceptor(ToAcceptor::Prepare { .. })
            | Message::Proposer(Promise { .. } | Nack { slot: None, .. }) => has_ballot,
            Message::Client(ToClient::Refused { .. }) => has_name && self.follows_caller,
            Message::Acceptor(ToAcceptor::Accept { .. })
            | Message::Proposer(ToProposer::Vote(_)) => {
                has_slot || self.slots.is_empty() && has_ballot
            }
            Message::Acceptor(ToAcceptor::Mark { .. })
            | Message::Learner(ToLearner::Mark { .. }) => {
                let is_reader = [id.route.from, id.route.to].map(Some).contains(&self.actor);
                is_reader && self.read_since.is_some_and(|since| since <= at)
            }
            Message::Acceptor(_)
            | Message::Witness(_)
            | Message::Proposer(_)
            | Message::Learner(_)
            | Message::Client(_) => has_slot || has_name,
        }
    }

    /// Whether a mark belongs into the picture of what matters.
    fn marks(&self, what: &What) -> bool {
        match what {
            What::Tells(event) => {
                let has_ballot = event.ballot().is_some_and(|it| self.ballots.contains(&it));
                let has_slot = event.slot().is_some_and(|it| self.slots.contains(&it));
                let turns = matches!(event, Event::Elected { .. } | Event::SteppedDown { .. });
                let forgets = matches!(event, Event::Trims { slot }
                    if self.slots.first().is_some_and(|it| it <= slot));
                let differs = matches!(event, Event::Diverged { .. });
                turns && has_ballot || forgets || differs || !turns && has_slot
            }
            What::Notes(kind, facts, _) => {
                let is_asked = matches!(
                    kind,
                    Kind::Writes | Kind::Cancels | Kind::Reads | Kind::Serves | Kind::Answers
                );
                let number = facts.first().copied().unwrap_or_default();
                // Everybody starts once.
                let is_first = *kind == Kind::Starts && number == 0;
                !is_first && (!is_asked || self.operations.contains(&number))
            }
            What::Sends { .. } | What::Receives(_) => false,
        }
    }

    /// What is drawn of a run, in order. Where next to nothing concerns the rule, as when all
    /// stands still, the last of the protocol is what matters.
    pub(crate) fn items(&self, report: &Report, cast: &Cast, scope: Scope) -> Vec<Item> {
        let items = self.items_within(report, cast, scope);
        let is_telling =
            items.iter().filter(|item| !item.targets.is_empty()).count() >= TELLING_MIN;
        if scope != Scope::Focus || is_telling {
            return items;
        }
        let mut items = self.items_within(report, cast, Scope::Protocol);
        items.split_off(items.len().saturating_sub(scope.items_max()))
    }

    fn items_within(&self, report: &Report, cast: &Cast, scope: Scope) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        let mut said: BTreeMap<(Route, String), usize> = BTreeMap::new();
        let mut has_begun = scope != Scope::Focus || self.slots.is_empty();
        for (at, moment) in report.moments.iter().enumerate() {
            if let What::Sends { id, message, fate } = &moment.what {
                if !self.shows((*id, moment.at), message, scope) || *fate == Fate::Unsent {
                    continue;
                }
                let item = self.said(cast, (at, moment.at), (*id, *fate), message);
                let times = said.entry((id.route, item.text.clone())).or_default();
                // What was said and heard before is said again only out of caution.
                if scope == Scope::Focus && *times > 0 {
                    continue;
                }
                *times += usize::from(item.targets.iter().any(|it| !it.arrivals.is_empty()));
                has_begun |= is_ballot_work(message);
                put(&mut items, item);
            } else if has_begun
                && (scope != Scope::Focus || self.marks(&moment.what))
                && let Some(text) = words::mark(cast, &moment.what)
            {
                put(&mut items, self.mark(at, moment, text));
            }
        }
        if scope == Scope::Focus {
            items = without_vain_tries(items);
        }
        let surplus = items.len().saturating_sub(scope.items_max());
        items.split_off(surplus)
    }

    fn shows(&self, which: (MessageId, Instant), message: &Message, scope: Scope) -> bool {
        match scope {
            Scope::Focus => self.concerns(which, message),
            Scope::Protocol => !is_noise(message),
            Scope::Everything => true,
        }
    }

    fn mark(&self, at: usize, moment: &Moment, text: String) -> Item {
        let kind = if let What::Notes(kind, ..) = &moment.what { *kind } else { Kind::Tells };
        Item {
            at: moment.at,
            node: moment.node,
            text,
            targets: Vec::new(),
            letter: None,
            kind: Some(kind),
            is_try: false,
            is_cause: self.causes.contains(&at),
            deed: None,
        }
    }

    fn said(
        &self,
        cast: &Cast,
        (at, now): (usize, Instant),
        (id, fate): (MessageId, Fate),
        message: &Message,
    ) -> Item {
        let arrivals = self.arrivals.get(&id).cloned().unwrap_or_default();
        let told = proposals(message);
        let digest = match vote_of(message) {
            Some(vote) => Some(vote.digest),
            None => {
                told.iter().find(|it| self.slots.contains(&it.slot)).map(|it| it.batch.digest())
            }
        };
        Item {
            at: now,
            node: Some(id.route.from),
            text: words::label(cast, self, message),
            targets: vec![Target { node: id.route.to, fate, arrivals }],
            letter: digest.and_then(|digest| cast.letter(digest)),
            kind: None,
            is_try: matches!(
                message,
                Message::Proposer(ToProposer::Submit { .. })
                    | Message::Client(ToClient::Refused { .. } | ToClient::Leading { .. })
            ),
            is_cause: self.causes.contains(&at) || is_ballot_work(message),
            deed: Some(words::deed(cast, self, message, "{to}")),
        }
    }

    /// What led to the breach, numbered; what several nodes do alike is one step.
    pub(crate) fn steps(items: &[Item]) -> Vec<(usize, Step, Vec<usize>)> {
        let mut steps: Vec<(Step, Vec<usize>)> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let Some(step) = item.step() else { continue };
            match steps.iter_mut().rev().take(4).find(|(it, _)| it.is_like(&step)) {
                Some((known, members)) => {
                    known.actors.extend(step.actors);
                    members.push(at);
                }
                None => steps.push((step, vec![at])),
            }
        }
        let surplus = steps.len().saturating_sub(STEPS_MAX);
        let last = steps.split_off(surplus);
        (1..).zip(last).map(|(number, (step, members))| (number, step, members)).collect()
    }
}

impl Step {
    fn is_like(&self, other: &Self) -> bool {
        let roles = |step: &Self| step.actors.iter().map(|id| role_of(*id)).next();
        self.deed == other.deed && roles(self) == roles(other) && !self.actors.is_empty()
    }
}

impl Item {
    /// The step that it makes, where it is one.
    fn step(&self) -> Option<Step> {
        let actors: BTreeSet<NodeId> = self.node.into_iter().collect();
        let deed = match &self.deed {
            Some(_) if !self.is_cause || self.text.starts_with("Proposed") => return None,
            Some(deed) => {
                let heard = self.targets.iter().map(|it| it.node);
                let missed = |is_lost: bool| -> Vec<NodeId> {
                    let missed = self.targets.iter().filter(|it| it.arrivals.is_empty());
                    let missed = missed.filter(|it| (it.fate == Fate::Lost) == is_lost);
                    missed.map(|it| it.node).collect()
                };
                let mut deed = deed.replace("{to}", &cast::nodes(heard));
                for (words, nodes) in
                    [("is lost on the way to", missed(true)), ("has not reached", missed(false))]
                {
                    // What nobody has got is on its way when the run ends.
                    let is_under_way = nodes.len() == self.targets.len() && missed(true).is_empty();
                    if !nodes.is_empty() && !is_under_way {
                        add(&mut deed, format_args!(" (it {words} {})", cast::nodes(nodes)));
                    }
                }
                deed
            }
            None => self.text.clone(),
        };
        Some(Step { at: self.at, actors, deed })
    }
}

/// Of what clients try before anything is proposed, only the last.
fn without_vain_tries(mut items: Vec<Item>) -> Vec<Item> {
    let first = items.iter().position(|item| item.letter.is_some()).unwrap_or(items.len());
    let last = items.iter().take(first).rposition(|item| item.is_try);
    let mut nth = 0..;
    items.retain(|item| {
        let at = nth.next();
        !item.is_try || at >= last || at >= Some(first)
    });
    items
}

/// The same words of one node at one moment are one message to many.
fn put(items: &mut Vec<Item>, item: Item) {
    // A disk that fails takes its node down at that very moment.
    let is_known = items.last().is_some_and(|it| {
        let ends = matches!(it.kind, Some(Kind::Fails | Kind::Leaves));
        ends && it.at == item.at && it.node == item.node && item.kind == Some(Kind::Dies)
    });
    if is_known {
        return;
    }
    let same = items.iter_mut().rev().take_while(|it| it.at == item.at).find(|it| {
        it.node == item.node
            && it.text == item.text
            && it.targets.is_empty() == item.targets.is_empty()
    });
    match same {
        Some(known) => {
            known.is_cause |= item.is_cause;
            known.targets.extend(item.targets);
        }
        None => items.push(item),
    }
}

fn sends(report: &Report) -> impl Iterator<Item = (&Message, &Moment)> {
    report.moments.iter().filter_map(|moment| match &moment.what {
        What::Sends { message, .. } => Some((message, moment)),
        What::Receives(_) | What::Tells(_) | What::Notes(..) => None,
    })
}

fn sent(report: &Report, wanted: MessageId) -> Option<&Message> {
    report.moments.iter().find_map(|moment| match &moment.what {
        What::Sends { id, message, .. } => (*id == wanted).then_some(message),
        What::Receives(_) | What::Tells(_) | What::Notes(..) => None,
    })
}

/// When the read that a run ended with began, and the index that it was answered at.
fn read(report: &Report) -> Option<(Instant, u64)> {
    let (read, index) = report.moments.iter().rev().find_map(|moment| match &moment.what {
        What::Notes(Kind::Serves, facts, _) => Some((*facts.first()?, *facts.get(1)?)),
        What::Sends { .. } | What::Receives(_) | What::Tells(_) | What::Notes(..) => None,
    })?;
    let began = report.moments.iter().find(|moment| {
        matches!(&moment.what, What::Notes(Kind::Reads, facts, _) if facts.first() == Some(&read))
    });
    let is_judged = report.subject.operation == Some(read);
    is_judged.then_some((began?.at, index))
}

fn vote_of(message: &Message) -> Option<&Vote> {
    if let Message::Proposer(ToProposer::Vote(vote)) | Message::Learner(ToLearner::Vote(vote)) =
        message
    {
        return Some(vote);
    }
    None
}

fn slots_of(message: &Message) -> Vec<Slot> {
    if let Some(vote) = vote_of(message) {
        return vec![vote.slot];
    }
    if let Message::Proposer(ToProposer::Nack { slot, .. }) = message {
        return slot.iter().copied().collect();
    }
    if let Message::Client(ToClient::Notices { notices, .. }) = message {
        return notices.iter().map(|it| it.slot).collect();
    }
    if let Message::Proposer(ToProposer::Fill { from_slot, .. }) = message {
        return vec![*from_slot];
    }
    proposals(message).into_iter().map(|it| it.slot).collect()
}

fn names_of(message: &Message) -> Vec<Name> {
    if let Message::Proposer(ToProposer::Submit { commands, .. }) = message {
        return commands.iter().map(|it| it.name).collect();
    }
    let Message::Client(message) = message else { return Vec::new() };
    match message {
        ToClient::Notices { notices, .. } => notices.iter().map(|it| it.name).collect(),
        ToClient::Refused { names, .. } | ToClient::Abandoned { names, .. } => names.clone(),
        ToClient::Leading { .. } | ToClient::Pages { .. } => Vec::new(),
    }
}

/// Whether it is phase 1 or 2 itself: who votes for what concerns all, whoever hears of it.
fn is_ballot_work(message: &Message) -> bool {
    matches!(
        message,
        Message::Acceptor(ToAcceptor::Prepare { .. } | ToAcceptor::Accept { .. })
            | Message::Proposer(ToProposer::Promise { .. } | ToProposer::Vote(_))
    )
}

/// Whether it only keeps the cluster going.
fn is_noise(message: &Message) -> bool {
    match message {
        Message::Acceptor(message) => matches!(
            message,
            ToAcceptor::Identify | ToAcceptor::Form { .. } | ToAcceptor::Durable { .. }
        ),
        Message::Witness(message) => !matches!(message, ToWitness::Resign { .. }),
        Message::Proposer(message) => matches!(
            message,
            ToProposer::Identity(_)
                | ToProposer::Led { .. }
                | ToProposer::HeartbeatAck { .. }
                | ToProposer::Heartbeat { .. }
                | ToProposer::Delivered { .. }
        ),
        Message::Learner(message) => matches!(
            message,
            ToLearner::Heartbeat { .. } | ToLearner::Identity(_) | ToLearner::Checkpoint { .. }
        ),
        Message::Client(message) => matches!(message, ToClient::Leading { .. }),
    }
}
