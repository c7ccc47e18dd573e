//! Messages, events and rules in plain English.

use std::collections::BTreeSet;

use paxosd::paxos::event::Event;
use paxosd::paxos::message::{
    Accepted, Message, Notice, Refusal, ToAcceptor, ToClient, ToLearner, ToProposer, ToWitness,
    Vote,
};
use paxosd::types::{Instant, NodeId};

use crate::oracle::Violation;
use crate::trace::{Kind, What};

use super::cast::{self, Cast};
use super::focus::Focus;
use super::text::capital;

/// A moment, in seconds.
pub(crate) fn clock(at: Instant) -> String {
    let micros = at.as_nanos() / 1_000;
    format!("{}.{:04} s", micros / 1_000_000, micros % 1_000_000 / 100)
}

/// The label of a message's arrow; `focus` says which slot of many matters.
pub(crate) fn label(cast: &Cast, focus: &Focus, message: &Message) -> String {
    match message {
        Message::Acceptor(message) => label_to_acceptor(cast, message),
        Message::Witness(ToWitness::Heartbeat { ballot }) => {
            format!("Heartbeat {}", cast.ballot(*ballot))
        }
        Message::Witness(ToWitness::AskLed { .. }) => "Do you hear a leader?".to_owned(),
        Message::Witness(ToWitness::Resign { ballot })
        | Message::Proposer(ToProposer::Resign { ballot }) => {
            format!("Resign {}", cast.ballot(*ballot))
        }
        Message::Proposer(message) => label_to_proposer(cast, focus, message),
        Message::Learner(message) => label_to_learner(cast, focus, message),
        Message::Client(ToClient::Notices { notices, .. }) => {
            format!("Done: {}", operations(cast, notices.iter().map(|it| it.name)))
        }
        Message::Client(ToClient::Refused { names, .. }) => {
            format!("Refused: {}", operations(cast, names.iter().copied()))
        }
        Message::Client(ToClient::Abandoned { names, .. }) => {
            format!("Abandoned: {}", operations(cast, names.iter().copied()))
        }
        Message::Client(ToClient::Leading { ballot }) => {
            format!("I lead with {}", cast.ballot(*ballot))
        }
        Message::Client(ToClient::Pages { .. }) => "The values are…".to_owned(),
    }
}

fn label_to_acceptor(cast: &Cast, message: &ToAcceptor) -> String {
    match message {
        ToAcceptor::Identify => "Who are you?".to_owned(),
        ToAcceptor::Form { .. } => "Join this cluster".to_owned(),
        ToAcceptor::Prepare { ballot, .. } => format!("Prepare {}", cast.ballot(*ballot)),
        ToAcceptor::Accept { ballot, slot, batch, .. } => {
            let value = cast.value(batch.digest());
            format!("Accept {}: slot {slot} = {value}", cast.ballot(*ballot))
        }
        ToAcceptor::Mark { .. } => "How far do your votes reach?".to_owned(),
        ToAcceptor::Fetch { from_slot } => format!("Votes from slot {from_slot} on?"),
        ToAcceptor::Durable { slot, .. } => format!("On disk through slot {slot}"),
    }
}

fn label_to_proposer(cast: &Cast, focus: &Focus, message: &ToProposer) -> String {
    match message {
        ToProposer::Identity(_) => "I am…".to_owned(),
        ToProposer::Promise { ballot, accepted, .. } => {
            let reported = in_focus(focus, accepted)
                .map(|it| format!("slot {} = {}", it.slot, cast.value(it.batch.digest())));
            let reported: Vec<String> = reported.collect();
            let ballot = cast.ballot(*ballot);
            if reported.is_empty() {
                format!("Promise {ballot}")
            } else {
                format!("Promise {ballot}: {}", reported.join(", "))
            }
        }
        ToProposer::Vote(vote) => label_vote(cast, vote),
        ToProposer::Nack { ballot, slot, .. } => {
            let slot = slot.map_or_else(String::new, |slot| format!(", slot {slot}"));
            format!("Refuse {}{slot}", cast.ballot(*ballot))
        }
        ToProposer::Led { led, .. } => if *led { "I hear one" } else { "I hear none" }.to_owned(),
        ToProposer::HeartbeatAck { .. } => "Heard".to_owned(),
        ToProposer::Heartbeat { ballot } => format!("Heartbeat {}", cast.ballot(*ballot)),
        ToProposer::Resign { ballot } => format!("Resign {}", cast.ballot(*ballot)),
        ToProposer::Submit { commands, .. } => {
            format!("Please: {}", operations(cast, commands.iter().map(|it| it.name)))
        }
        ToProposer::Fill { from_slot, through } if from_slot == through => {
            format!("Settle slot {from_slot}")
        }
        ToProposer::Fill { from_slot, through } => format!("Settle slots {from_slot}–{through}"),
        ToProposer::Delivered { slot, .. } => format!("Delivered through slot {slot}"),
    }
}

fn label_to_learner(cast: &Cast, focus: &Focus, message: &ToLearner) -> String {
    match message {
        ToLearner::Vote(vote) => label_vote(cast, vote),
        ToLearner::Proposed(proposal) => label_proposal(cast, "Proposed", proposal),
        ToLearner::Chosen(proposal) => label_proposal(cast, "Chosen", proposal),
        ToLearner::Heartbeat { ballot, .. } => format!("Heartbeat {}", cast.ballot(*ballot)),
        ToLearner::Votes { votes, .. } => format!("My votes{}", slots(cast, focus, votes)),
        ToLearner::Mark { slot, .. } => format!("Votes reach slot {slot}"),
        ToLearner::Identity(_) => "I am…".to_owned(),
        ToLearner::FetchEntries { from_slot, .. } => format!("Slots from {from_slot} on?"),
        ToLearner::Entries { entries, .. } => format!("Slots{}", slots(cast, focus, entries)),
        ToLearner::Checkpoint { index, .. } => format!("My state at {index}"),
        ToLearner::Questions { .. } => "Which values are there?".to_owned(),
    }
}

fn label_proposal(cast: &Cast, what: &str, proposal: &Accepted) -> String {
    let Accepted { slot, ballot, batch } = proposal;
    let value = cast.value(batch.digest());
    format!("{what} {}: slot {slot} = {value}", cast.ballot(*ballot))
}

fn label_vote(cast: &Cast, vote: &Vote) -> String {
    let Vote { slot, ballot, digest, .. } = vote;
    format!("Vote {}: slot {slot} = {}", cast.ballot(*ballot), cast.value(*digest))
}

fn slots(cast: &Cast, focus: &Focus, entries: &[Accepted]) -> String {
    let told: Vec<String> = in_focus(focus, entries)
        .map(|it| format!("slot {} = {}", it.slot, cast.value(it.batch.digest())))
        .collect();
    if !told.is_empty() {
        return format!(": {}", told.join(", "));
    }
    match (entries.first(), entries.last()) {
        (Some(first), Some(last)) => format!(" {}–{}", first.slot, last.slot),
        _ => ": none".to_owned(),
    }
}

fn in_focus<'a>(focus: &Focus, entries: &'a [Accepted]) -> impl Iterator<Item = &'a Accepted> {
    let slots = focus.slots.clone();
    entries.iter().filter(move |it| slots.contains(&it.slot)).take(2)
}

fn operations(cast: &Cast, names: impl Iterator<Item = paxosd::types::Name>) -> String {
    let told: Vec<String> = names
        .map(|name| {
            let number = cast.operation(name).map(|it| it.to_string());
            number.unwrap_or_else(|| "open a session".to_owned())
        })
        .collect();
    match told.as_slice() {
        [front, .., last] if told.len() > 3 => format!("{front} … {last}"),
        all => all.join(", "),
    }
}

/// What the sender of a message does, as a sentence without its subject; `to` names the receivers.
pub(crate) fn deed(cast: &Cast, focus: &Focus, message: &Message, to: &str) -> String {
    match message {
        Message::Acceptor(ToAcceptor::Prepare { ballot, .. }) => format!(
            "starts ballot {} and asks {to} to follow it and to tell what they had accepted",
            cast.ballot(*ballot)
        ),
        Message::Acceptor(ToAcceptor::Accept { ballot, slot, batch, .. }) => format!(
            "proposes {} for slot {slot} under ballot {} to {to}",
            cast.value(batch.digest()),
            cast.ballot(*ballot)
        ),
        Message::Proposer(ToProposer::Promise { ballot, accepted, .. }) => {
            let told: Vec<String> = in_focus(focus, accepted)
                .map(|it| {
                    let value = cast.value(it.batch.digest());
                    format!("{value} in slot {} (ballot {})", it.slot, cast.ballot(it.ballot))
                })
                .collect();
            let told = if told.is_empty() { "nothing".to_owned() } else { told.join(", ") };
            format!(
                "promises ballot {} to {to}, and reports to have accepted {told} there",
                cast.ballot(*ballot)
            )
        }
        Message::Proposer(ToProposer::Vote(vote)) | Message::Learner(ToLearner::Vote(vote)) => {
            format!(
                "votes for {} in slot {} under ballot {}",
                cast.value(vote.digest),
                vote.slot,
                cast.ballot(vote.ballot)
            )
        }
        Message::Proposer(ToProposer::Nack { ballot, refusal, .. }) => {
            let why = match refusal {
                Refusal::Promised(higher) => {
                    format!("it has promised ballot {}", cast.ballot(*higher))
                }
                Refusal::Trimmed(slot) => format!("it has forgotten slots through {slot}"),
                Refusal::BeyondWindow(slot) => format!("it takes no slot beyond {slot} yet"),
                Refusal::OtherValue => "it accepted another value there".to_owned(),
                Refusal::NotPromised => "it has not promised that ballot".to_owned(),
            };
            format!("refuses ballot {} of {to}: {why}", cast.ballot(*ballot))
        }
        Message::Proposer(ToProposer::Submit { commands, .. }) => {
            let which = operations(cast, commands.iter().map(|it| it.name));
            format!("hands its operations to {to}: {which}")
        }
        Message::Client(ToClient::Notices { notices, .. }) => {
            let in_question: Vec<&Notice> =
                notices.iter().filter(|it| focus.slots.contains(&it.slot)).collect();
            let told = if in_question.is_empty() { notices.iter().collect() } else { in_question };
            let which = operations(cast, told.iter().map(|it| it.name));
            format!("tells {to} what became of its operations: {which}")
        }
        Message::Proposer(ToProposer::Fill { from_slot, .. }) => {
            format!("cannot tell what slot {from_slot} holds, and asks {to} to settle it")
        }
        Message::Learner(ToLearner::Votes { .. }) => {
            format!("repeats to {to} the votes on disk")
        }
        Message::Acceptor(ToAcceptor::Mark { .. }) => {
            format!("asks {to} how far votes reach, to answer a read")
        }
        Message::Learner(ToLearner::Mark { slot, .. }) => {
            format!("answers {to}: votes reach slot {slot}")
        }
        Message::Acceptor(_)
        | Message::Witness(_)
        | Message::Proposer(_)
        | Message::Learner(_)
        | Message::Client(_) => format!("says “{}” to {to}", label(cast, focus, message)),
    }
}

/// What happened at a node beside messages, where a reader should know; without its subject where
/// `node` is drawn beside it.
pub(crate) fn mark(cast: &Cast, what: &What) -> Option<String> {
    match what {
        What::Tells(event) => tell(cast, event),
        What::Notes(kind, facts, line) => {
            let number = facts.first().copied().unwrap_or_default();
            match kind {
                Kind::Dies => Some("crashes".to_owned()),
                Kind::Leaves => Some("hands over and ends".to_owned()),
                Kind::Fails => Some("fails: its disk refuses".to_owned()),
                Kind::Stalls => Some("stands still".to_owned()),
                Kind::RunsOn => Some("runs on".to_owned()),
                Kind::Starts => Some("starts".to_owned()),
                Kind::Rots => Some("gets a flipped bit on its disk".to_owned()),
                Kind::LosesDirectory => Some("loses its disk".to_owned()),
                Kind::DoesNotStart => Some("cannot start: its disk is damaged".to_owned()),
                Kind::Partitions => Some(partition(line)),
                Kind::Unblocks => Some("the partition ends".to_owned()),
                Kind::Heals => Some("faults end".to_owned()),
                Kind::Writes => Some(format!("is asked to write {number}")),
                Kind::Cancels => Some(format!("is asked for certainty: {number}")),
                Kind::Reads => Some(format!("is asked to read: {number}")),
                Kind::Serves => {
                    let index = facts.get(1).copied().unwrap_or_default();
                    Some(format!("answers read {number} at index {index}"))
                }
                Kind::Answers => {
                    let (_, answer) = line.split_once(": ").unwrap_or(("", line));
                    let answer = answer.split([' ', '(']).next().unwrap_or(answer);
                    Some(format!("answers {number}: {}", spaced(answer)))
                }
                Kind::Begins
                | Kind::Arrives
                | Kind::Tells
                | Kind::Connects
                | Kind::Loses
                | Kind::Strikes
                | Kind::Names
                | Kind::Gossips => None,
            }
        }
        What::Sends { .. } | What::Receives(_) => None,
    }
}

/// `NotApplied` as `not applied`.
fn spaced(word: &str) -> String {
    let mut out = String::new();
    for letter in word.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

fn partition(line: &str) -> String {
    let ways = line.matches("Route").count();
    let plural = if ways == 1 { "" } else { "s" };
    format!("a partition begins: {ways} way{plural} between nodes carry nothing")
}

fn tell(cast: &Cast, event: &Event) -> Option<String> {
    let text = match event {
        Event::Elected { ballot, .. } => format!("leads with {}", cast.ballot(*ballot)),
        Event::SteppedDown { ballot, .. } => format!("leads no longer ({})", cast.ballot(*ballot)),
        Event::Chosen { slot, ballot } => {
            format!("counts a majority: slot {slot}, {}", cast.ballot(*ballot))
        }
        Event::Delivered { slot, index, .. } => format!("delivers slot {slot} (index {index})"),
        Event::Trims { slot } => format!("forgets slots through {slot}"),
        Event::Diverged { learner, .. } => format!("disagrees with learner {learner}"),
        Event::SessionOpened => "opens its session".to_owned(),
        Event::SessionEvicted => "learns that its session was evicted".to_owned(),
        Event::EpochKnown { .. }
        | Event::FormationWaits { .. }
        | Event::FormationConflict { .. }
        | Event::NotMember { .. }
        | Event::Asks
        | Event::Prepares { .. }
        | Event::Promised { .. }
        | Event::Follows { .. }
        | Event::Proposed { .. }
        | Event::Refused { .. }
        | Event::Promises { .. }
        | Event::Accepts { .. }
        | Event::Learned { .. }
        | Event::Fetches { .. }
        | Event::AsksFill { .. }
        | Event::Answered { .. } => return None,
    };
    Some(text)
}

/// Who does what, as a sentence.
pub(crate) fn sentence(actors: &BTreeSet<NodeId>, deed: &str) -> String {
    let mut deed = deed.to_owned();
    if actors.len() > 1 {
        let (verb, rest) = deed.split_once(' ').unwrap_or((&deed, ""));
        let verb = match verb {
            "is" => "are",
            "crashes" => "crash",
            verb => verb.strip_suffix('s').unwrap_or(verb),
        };
        deed = format!("{verb} {rest}").trim_end().replace(", and reports", ", and report");
    }
    let sentence = format!("{} {deed}", cast::nodes(actors.iter().copied()));
    capital(sentence.trim_start())
}

/// The rule that was broken; of an assertion, its own words.
pub(crate) fn rule(violation: &Violation) -> &str {
    let (words, _) = violation.detail.rsplit_once(", at ").unwrap_or((&violation.detail, ""));
    if violation.is_assertion() { words } else { violation.rule }
}

/// What it means, for who has never heard of it.
pub(crate) fn meaning(violation: &Violation) -> &'static str {
    let known = |rule: &str| RULES.iter().find(|(known, _)| *known == rule);
    let found = known(rule(violation)).or_else(|| known(violation.rule));
    found.map_or(UNKNOWN, |(_, meaning)| meaning)
}

const UNKNOWN: &str = "Something happened that must never happen.";

/// Every rule of the oracle, with a sentence for a newcomer.
const RULES: &[(&str, &str)] = &[
    (
        "one value per slot",
        "The log is a row of numbered slots, and each may hold one value only, for ever. A value \
         is chosen once a majority of the acceptors has voted for it. Here two different values \
         were chosen for one slot, so two readers may see two different histories.",
    ),
    (
        "one batch per slot and ballot",
        "A ballot is one proposer's numbered attempt to lead. Within one ballot a slot gets one \
         value; here it got two, so votes for different values would be counted together.",
    ),
    (
        "the value rule",
        "A new leader must first ask a majority what was accepted, and propose that again: it \
         might have been chosen. Here a leader proposed something else in a slot whose value was \
         chosen already.",
    ),
    (
        "promises only rise",
        "An acceptor that promised to follow a ballot must refuse every lower one. Here it went \
         back on its word, so an old leader can get votes behind a new leader's back.",
    ),
    (
        "no vote in a trimmed slot",
        "An acceptor forgets old slots once the learners have them on disk. It must not vote there \
         again: it no longer knows what it voted for.",
    ),
    (
        "a vote needs a proposal",
        "An acceptor may vote only for what a leader proposed. This vote is for something that \
         nobody proposed.",
    ),
    (
        "a promise tells every vote",
        "With its promise an acceptor must report everything it has voted for, so that the new \
         leader proposes it again. Here it kept a vote to itself, and the new leader may overwrite \
         a chosen value.",
    ),
    (
        "trimmed slots only rise",
        "What an acceptor has forgotten stays forgotten; here it claims to know less forgotten \
         slots than before.",
    ),
    (
        "a mark tells the highest vote",
        "Before a read is answered, acceptors say how far their votes reach. Here one said less \
         than it had voted for, so the read may miss a write.",
    ),
    (
        "only what learners hold is trimmed",
        "Acceptors may forget a slot only when a majority of the learners has it on disk. Here one \
         forgot it earlier, so it could be lost for good.",
    ),
    (
        "what was answered survives a crash",
        "An acceptor writes to disk before it answers. After this crash it no longer knew what it \
         had answered, so its promise or vote counts for nothing.",
    ),
    (
        "what was kept survives a crash",
        "A learner that said it has slots on disk must still have them after a crash. Here some \
         were gone.",
    ),
    (
        "what was kept reads back",
        "A directory that no fault has damaged must read back at the next start. Here it did not.",
    ),
    (
        "no reply before its sync",
        "An answer may leave only after the disk has synced what it says. Here an answer could \
         leave earlier: a crash would take it back.",
    ),
    (
        "state hashes agree",
        "All learners that have delivered the same slots must be in the same state. Here two are \
         not.",
    ),
    (
        "learners agree",
        "Learners compare their state with each other. Here two found that they differ: one of \
         them tells its readers something wrong.",
    ),
    (
        "learners are prefixes of each other",
        "All learners deliver the same slots in the same order; one may only be behind another. \
         Here one delivered something else.",
    ),
    (
        "only chosen values are delivered",
        "A learner may deliver a value only when a majority of the acceptors has voted for it. \
         Here it delivered one that was not chosen.",
    ),
    (
        "delivered under the ballot proposed",
        "A learner names the ballot under which a value was proposed. Here it named another, under \
         which that value was never proposed.",
    ),
    ("no gap is delivered", "Slots are delivered in order, none left out. Here one was skipped."),
    (
        "only what was sent is delivered",
        "Whatever is delivered must have been sent by a client. Nobody sent this.",
    ),
    (
        "each command is applied once",
        "A client may send a command again when it hears no answer; it still takes effect once. \
         Here it took effect twice.",
    ),
    (
        "what is settled stays so",
        "Once a client was told for certain that a command was never applied, it must not be \
         applied later. Here it was.",
    ),
    (
        "one effect per idempotency key",
        "Two writes under one idempotency key count as one. Here both took effect.",
    ),
    (
        "not applied means never",
        "A client that was told “not applied” must be able to rely on it. Here the command stands \
         in the log after all.",
    ),
    (
        "a cancellation tells the truth",
        "A cancellation says whether a command was applied. Here it said no, and it was.",
    ),
    (
        "an answer is true",
        "What a client is told must be what the log holds. Here the answer names a place where its \
         command does not stand.",
    ),
    (
        "all values or none",
        "The values of one request stand together in the log, or none of them does.",
    ),
    (
        "writes follow real time",
        "A write that began after another was answered must stand behind it in the log. Here it \
         stands before.",
    ),
    (
        "reads follow real time",
        "A read must see every write that was answered before the read began. Here a client read \
         an older state: a stale read.",
    ),
    (
        "who counts never changes",
        "Only the acceptors that founded the cluster count, each with the directory it had then. \
         Here one votes from another directory: it has forgotten what it said before.",
    ),
    ("answers are asked for", "A client was answered for a command that it never sent."),
    ("answered once", "Each command is answered once for good. Here it was answered again."),
    (
        "a leave ends",
        "A proposer that is asked to leave hands over and ends within a bounded time. This one \
         stayed.",
    ),
    (
        "progress after the faults",
        "When the faults are over and a majority is up, new writes and reads must be answered and \
         nothing may be left in doubt. Here something was still missing after a minute.",
    ),
    ("progress", "The cluster must come to rest. Here it turned in a circle, or stood still."),
    (
        "assertions hold",
        "The code checks its own assumptions while it runs. One of them turned out to be false, \
         and the node stopped at once rather than go on.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_meaning() {
        let sources = [
            include_str!("../oracle.rs"),
            include_str!("../world.rs"),
            include_str!("../faults.rs"),
            include_str!("../workload.rs"),
        ];
        let mut rules = 0;
        for source in sources {
            for call in [".accuse(\"", ".check(", "ASSERTION: &str = \""] {
                for (at, _) in source.match_indices(call) {
                    let rest = source.get(at..).unwrap();
                    let rule = rest.split('"').nth(1).unwrap();
                    assert!(RULES.iter().any(|(known, _)| *known == rule), "{rule}");
                    rules += 1;
                }
            }
        }
        assert!(rules > 30, "found {rules} places");
    }

    #[test]
    fn what_many_do_is_told_of_many() {
        let nodes = |ids: &[u64]| ids.iter().map(|id| NodeId::new(*id).unwrap()).collect();
        assert_eq!(sentence(&nodes(&[11]), "crashes"), "Acceptor 11 crashes");
        assert_eq!(sentence(&nodes(&[11, 12]), "crashes"), "Acceptors 11 and 12 crash");
        let both = sentence(&nodes(&[1, 11, 12, 13]), "votes for A");
        assert_eq!(both, "Acceptors 11, 12 and 13 and proposer 1 vote for A");
        assert_eq!(sentence(&nodes(&[]), "faults end"), "Faults end");
    }

    #[test]
    fn a_moment_is_told_in_seconds() {
        assert_eq!(clock(Instant::from_nanos(1_234_567_890)), "1.2345 s");
    }
}
