//! A gateway at the bench: what it tells its callers, and that it never says more than it knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::{Answer, Client, ClientConfig, ClientSettings, Effect, InFlightError, Input};
use crate::paxos::event::Event;
use crate::paxos::fixture::*;
use crate::paxos::log::{Log, Outcome, Settled};
use crate::paxos::message::{Handback, Notice, Outbound, Submission, ToClient, ToProposer};
use crate::types::{
    Ballot, Batch, Command, IdempotencyKey, Index, Instant, LogLimits, Name, Operation, ProposerId,
    Sequence, SessionId,
};

const RETRY: u64 = 100;
const IN_FLIGHT: usize = 5;
const MESSAGE_BYTES: usize = 300;
const PATIENCE: u64 = 1_000;

// A command has one name.

#[test]
fn the_session_is_opened_before_anything_is_sent_under_it() {
    let mut lab = Lab::new();
    lab.write("a");
    let opened = lab.lead(5, 1);
    assert_eq!(operations(&opened), [Operation::Open]);
    assert_eq!(sent(&lab.write_now("b")), []);
    let id = sent(&lab.seen)[0].commands[0].name;
    let told = lab.notify(id, Outcome::Opened);
    assert_eq!(events(&told), [Event::SessionOpened]);
    assert_eq!(operations(&told), [write_of("a"), write_of("b")]);
}

#[test]
fn no_session_is_opened_twice_for_an_open_delayed_for_long_would_revive_it_without_memory() {
    let mut lab = Lab::new();
    let id = lab.write("a");
    lab.lead(5, 1);
    lab.refuse_last(&Handback::Busy);
    lab.pass(20 * RETRY);
    let opens: Vec<_> = sent(&lab.seen).iter().map(|it| it.commands[0].name).collect();
    assert_eq!(opens[0], opens[1], "the first was refused, so no copy of it can be chosen");
    let distinct: BTreeSet<_> = opens[1..].iter().collect();
    assert_eq!(distinct.len(), opens.len() - 1);
    // Each waits longer than the one before, so that a slow cluster can answer one in time.
    assert!((4..8).contains(&opens.len()), "{}", opens.len());
    assert_eq!(lab.notify(opens[2], Outcome::Opened), []);
    let id_then = lab.write("b");
    let told = lab.notify_opened();
    let names: Vec<_> = sent(&told)[0].commands.iter().map(|it| it.name).collect();
    assert_eq!(names, [Name { session: opens[opens.len() - 1].session, ..id_then }]);
    assert_eq!(id.session, opens[0].session);
}

#[test]
fn a_caller_is_told_one_name_whatever_session_its_command_is_sent_in() {
    let mut lab = Lab::new();
    let told = lab.write("a");
    lab.lead(5, 1);
    // The opening gets no answer in time, so another session is opened.
    lab.pass(RETRY);
    let opened = sent(&lab.seen).pop().unwrap().commands.pop().unwrap();
    let answer = lab.notify_opened();
    let command = sent(&answer).pop().unwrap().commands.pop().unwrap();
    assert_eq!(command.name.session, opened.name.session);
    assert_ne!(command.name, told);
    assert_eq!(command.name.told(), told);
    assert_eq!(done(&lab.notify(command.name, applied(1))), [(told, applied_answer(1))]);
    assert_eq!(lab.write("b").session, told.session);
}

#[test]
fn an_opening_says_which_sequences_are_settled_already() {
    let mut lab = Lab::open();
    let first = lab.write("a");
    lab.notify(first, applied(1));
    let second = lab.write("b");
    let told = lab.notify(second, Outcome::Refused);
    let opening = sent(&told).pop().unwrap().commands.pop().unwrap();
    assert_eq!((opening.operation, opening.lowest_open), (Operation::Open, second.sequence));
}

#[test]
fn every_retry_carries_the_same_name() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    lab.pass(3 * RETRY);
    let attempts = sent(&lab.seen);
    assert_eq!(attempts.len(), 4);
    assert!(attempts.iter().all(|it| it.commands[0].name == id));
    assert!(attempts.windows(2).all(|it| it[0].number < it[1].number));
}

#[test]
fn two_lives_of_a_gateway_have_two_sessions() {
    let lives = [[1; 32], [2; 32]].map(|seed| {
        let mut client = Client::new(config(), at(0), seed);
        client.submit(at(0), values(&["a"]), None, at(PATIENCE)).unwrap().session
    });
    assert_ne!(lives[0], lives[1]);
}

#[test]
fn a_command_carries_the_lowest_sequence_still_open() {
    let mut lab = Lab::open();
    let ids = ["a", "b", "c"].map(|text| lab.write(text));
    lab.notify(ids[1], applied(1));
    assert_eq!(lab.lowest_open_of_next(), ids[0].sequence);
    lab.notify(ids[0], applied(2));
    assert_eq!(lab.lowest_open_of_next(), ids[2].sequence);
}

#[test]
fn many_commands_are_one_message_up_to_its_bytes_and_one_always_fits() {
    let mut lab = Lab::new();
    let huge = "x".repeat(2 * MESSAGE_BYTES);
    for text in ["a", "b", &huge, "c"] {
        lab.write(text);
    }
    lab.lead(5, 1);
    let told = lab.notify_opened();
    let sizes: Vec<_> = sent(&told).iter().map(|it| it.commands.len()).collect();
    assert_eq!(sizes, [2, 1, 1], "the longest fits a frame alone, and perhaps with nothing else");
}

#[test]
fn the_answers_from_one_slot_are_one_event() {
    let mut lab = Lab::open();
    let slots = [50, 50, 51];
    let notices = slots.map(|number| Notice {
        name: lab.write("a"),
        outcome: applied(1),
        slot: slot(number),
        ballot: leader_ballot(),
    });
    let told = lab.hear(7, ToClient::Notices { learner: learner(7), notices: notices.to_vec() });
    assert_eq!(done(&told).len(), 3);
    let answered = |number| Event::Answered { slot: slot(number), ballot: leader_ballot() };
    assert_eq!(events(&told), [answered(50), answered(51)]);
}

#[test]
fn who_is_told_that_there_is_no_room_does_not_send_it_all_again_at_once() {
    let mut lab = Lab::open();
    lab.write("a");
    let before = sent(&lab.seen).len();
    lab.refuse_last(&Handback::Busy);
    lab.pass(RETRY - 1);
    assert_eq!(sent(&lab.seen).len(), before);
    lab.pass(1);
    assert_eq!(sent(&lab.seen).len(), before + 1);
    // Who was told that another leads asks soon.
    lab.refuse_last(&Handback::NotLeader { leader: None });
    lab.pass(RETRY / 2);
    assert_eq!(sent(&lab.seen).len(), before + 2);
}

// Answers.

#[test]
fn a_caller_is_answered_when_its_command_is_delivered_and_once() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    let told = lab.notify(id, applied(7));
    assert_eq!(done(&told), [(id, applied_answer(7))]);
    // The other learner tells it too.
    assert_eq!(lab.notify(id, applied(7)), []);
    lab.pass(2 * PATIENCE);
    assert_eq!(done(&lab.seen).len(), 1);
}

#[test]
fn values_that_read_as_false_are_values() {
    let mut lab = Lab::open();
    for text in ["0", "false", "\"\"", "null"] {
        assert_eq!(operations(&lab.write_now(text)), [write_of(text)]);
        let id = sent(&lab.seen).last().unwrap().commands[0].name;
        assert_eq!(done(&lab.notify(id, applied(1))), [(id, applied_answer(1))]);
    }
}

#[test]
fn a_key_travels_in_the_command_and_its_outcome_comes_back() {
    let mut lab = Lab::open();
    let key = Some(IdempotencyKey::of(b"order-7"));
    let (first, last) = (Index::new(3), Index::new(4));
    for (outcome, answer) in [
        (Outcome::Repeated { first, last }, Answer::Repeated { first, last }),
        (Outcome::KeyReused, Answer::KeyReused),
    ] {
        let id = lab.client.submit(at(lab.now), values(&["a"]), key, lab.deadline()).unwrap();
        let told = lab.flush();
        assert_eq!(operations(&told), [Operation::Write { key, values: values(&["a"]) }]);
        assert_eq!(done(&lab.notify(id, outcome)), [(id, answer)]);
    }
}

#[test]
fn nobody_waits_longer_than_the_deadline() {
    let mut lab = Lab::new();
    let id = lab.write("a");
    assert_eq!(done(&lab.pass(PATIENCE - 1)), []);
    // No proposer could be reached: it went nowhere, and that is certain.
    assert_eq!(done(&lab.pass(1)), [(id, Answer::NotApplied { reason: None })]);
}

#[test]
fn when_every_attempt_was_refused_it_is_certainly_not_applied() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    let reason = Handback::NoQuorum { need: 2, have: 1, missing: [acceptor(5)].into() };
    for _ in 0..PATIENCE {
        lab.refuse_last(&reason);
        assert_eq!(done(&lab.seen), [], "it tries until the deadline");
        if lab.now + 2 >= PATIENCE {
            break;
        }
        lab.pass(1);
    }
    let told = lab.pass(RETRY);
    assert_eq!(done(&told), [(id, Answer::NotApplied { reason: Some(reason) })]);
    assert_eq!(lab.client.status().in_flight, 0);
}

#[test]
fn no_attempt_is_begun_that_could_only_make_a_certain_answer_doubtful() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    lab.refuse_last(&Handback::Busy);
    for _ in 0..PATIENCE - RETRY / 4 {
        lab.pass(1);
        lab.refuse_last(&Handback::Busy);
    }
    let told = lab.pass(RETRY);
    assert_eq!(sent(&told), []);
    assert_eq!(done(&told), [(id, Answer::NotApplied { reason: Some(Handback::Busy) })]);
}

#[test]
fn one_unanswered_attempt_is_enough_to_be_unknown() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    lab.pass(RETRY);
    lab.refuse_last(&Handback::Busy);
    lab.pass(RETRY / 4);
    lab.refuse_last(&Handback::Busy);
    let told = lab.pass(PATIENCE);
    assert_eq!(done(&told), [(id, Answer::Unknown { reason: Some(Handback::Busy) })]);
}

#[test]
fn an_abandoned_attempt_may_be_chosen_yet() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    let last = sent(&lab.seen).pop().unwrap();
    let reason = Handback::NotLeader { leader: None };
    lab.hear(
        1,
        ToClient::Abandoned {
            proposer: last.to,
            number: last.number,
            names: vec![id],
            reason: reason.clone(),
        },
    );
    // From now on nobody can be reached.
    for proposer in PROPOSERS {
        lab.step(Input::LinkDown(node(proposer)));
    }
    let told = lab.pass(PATIENCE);
    assert_eq!(done(&told), [(id, Answer::Unknown { reason: Some(reason) })]);
}

#[test]
fn what_is_unknown_is_cancelled_by_name_and_so_becomes_known() {
    let (first, last) = (Index::new(7), Index::new(7));
    for (settled, answer) in [
        (Settled::Applied { first, last }, applied_answer(7)),
        (Settled::NotApplied, Answer::NotApplied { reason: None }),
        (Settled::Forgotten, Answer::Forgotten),
    ] {
        let mut lab = Lab::open();
        let id = lab.write("a");
        let told = lab.pass(PATIENCE);
        assert_eq!(done(&told), [(id, Answer::Unknown { reason: None })]);
        let cancel = sent(&told).pop().unwrap().commands.pop().unwrap();
        assert_eq!(cancel.operation, Operation::Cancel { target: id });
        assert_eq!(done(&lab.notify(cancel.name, Outcome::Settled(settled))), [(id, answer)]);
        assert_eq!(lab.client.status().in_flight, 0);
    }
}

#[test]
fn a_late_delivery_corrects_what_was_unknown_and_ends_it() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    let told = lab.pass(PATIENCE);
    let cancel = sent(&told).pop().unwrap().commands.pop().unwrap();
    assert_eq!(done(&lab.notify(id, applied(7))), [(id, applied_answer(7))]);
    let (first, last) = (Index::new(7), Index::new(7));
    let late = lab.notify(cancel.name, Outcome::Settled(Settled::Applied { first, last }));
    assert_eq!(done(&late), []);
}

#[test]
fn a_doubted_command_is_not_sent_again_but_its_cancellation_is() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    lab.pass(PATIENCE);
    let mut after = lab.pass(10 * RETRY);
    after.extend(lab.lead(6, 2));
    let operations = operations(&after);
    assert!(operations.len() > 5);
    assert!(operations.iter().all(|it| *it == Operation::Cancel { target: id }));
}

#[test]
fn a_command_cancelled_elsewhere_is_not_applied() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    let told = lab.notify(id, Outcome::Cancelled);
    assert_eq!(done(&told), [(id, Answer::NotApplied { reason: None })]);
}

#[test]
fn a_caller_may_settle_any_name_and_is_told_when_that_does_not_end() {
    let mut lab = Lab::open();
    let target = name(77, 3);
    let id = lab.client.cancel(at(lab.now), target, lab.deadline()).unwrap();
    assert_eq!(operations(&lab.flush()), [Operation::Cancel { target }]);
    let told = lab.notify(id, Outcome::Settled(Settled::NotApplied));
    assert_eq!(done(&told), [(id, Answer::Settled(Settled::NotApplied))]);
    let id = lab.client.cancel(at(lab.now), target, lab.deadline()).unwrap();
    lab.flush();
    assert_eq!(done(&lab.pass(PATIENCE)), [(id, Answer::Unknown { reason: None })]);
    assert_eq!(lab.client.status().in_flight, 0);
}

#[test]
fn too_many_at_once_are_refused_and_nothing_is_taken() {
    let mut lab = Lab::open();
    let ids: Vec<_> = (0..IN_FLIGHT).map(|_| lab.write("a")).collect();
    let full = Err(InFlightError(IN_FLIGHT));
    assert_eq!(lab.client.submit(at(0), values(&["b"]), None, at(9)), full);
    assert_eq!(lab.client.cancel(at(0), ids[0], at(9)), full);
    assert_eq!(lab.flush(), []);
    lab.notify(ids[2], applied(1));
    assert!(lab.client.submit(at(0), values(&["b"]), None, at(9)).is_ok());
}

// Finding the leader.

#[test]
fn a_new_leader_gets_everything_that_is_open_at_once() {
    let mut lab = Lab::open();
    let ids = ["a", "b", "c"].map(|text| lab.write(text));
    lab.notify(ids[1], applied(1));
    let told = sent(&lab.lead(6, 2));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].to, proposer(2));
    let names: Vec<_> = told[0].commands.iter().map(|it| it.name).collect();
    assert_eq!(names, [ids[0], ids[2]]);
    // It says so with every heartbeat; an old one says it too.
    assert_eq!(lab.lead(6, 2), []);
    assert_eq!(lab.lead(5, 1), []);
}

#[test]
fn only_the_leader_itself_says_that_it_leads() {
    let mut lab = Lab::open();
    let ballot = ballot(9, 2);
    lab.hear(3, ToClient::Leading { ballot });
    assert_eq!(lab.client.status().leader, Some(leader_ballot()));
}

#[test]
fn a_broken_link_to_the_leader_sends_the_open_commands_to_another_soon() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    lab.step(Input::LinkDown(node(1)));
    assert_eq!(lab.client.status().leader, None);
    let again = sent(&lab.pass(RETRY / 4));
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].to, proposer(1));
    assert_eq!(again[0].commands[0].name, id);
}

#[test]
fn without_a_leader_the_reachable_proposers_are_tried_in_turn() {
    let mut lab = Lab::open();
    lab.step(Input::LinkDown(node(1)));
    lab.write("a");
    lab.pass(4 * RETRY);
    let asked: Vec<_> = sent(&lab.seen).iter().map(|it| it.to).collect();
    assert!(asked.windows(2).all(|it| it[0] != it[1]));
    assert!(!asked.contains(&proposer(1)));
}

#[test]
fn a_leader_that_leads_no_longer_is_forgotten_and_a_busy_one_is_not() {
    let mut lab = Lab::open();
    lab.write("a");
    lab.refuse_last(&Handback::Busy);
    assert_eq!(lab.client.status().leader, Some(leader_ballot()));
    lab.pass(RETRY / 4);
    lab.refuse_last(&Handback::NotLeader { leader: Some(proposer(2)) });
    assert_eq!(lab.client.status().leader, None);
}

#[test]
fn two_followers_cannot_send_a_command_to_and_fro_for_ever() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    for _ in 0..PATIENCE {
        let last = sent(&lab.seen).pop().unwrap();
        let other = if last.to == proposer(1) { proposer(2) } else { proposer(1) };
        lab.refuse_last(&Handback::NotLeader { leader: Some(other) });
        lab.pass(1);
    }
    // A pause before each attempt, and an end.
    let attempts = u64::try_from(sent(&lab.seen).len()).unwrap();
    assert!(attempts <= PATIENCE / (RETRY / 8) + 1, "{attempts}");
    assert!(matches!(done(&lab.seen)[..], [(it, Answer::NotApplied { .. })] if it == id));
}

// Eviction.

#[test]
fn a_command_sent_once_survives_the_eviction_of_its_session_under_another_name() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    let told = lab.notify(id, Outcome::Refused);
    assert_eq!(events(&told), [Event::SessionEvicted]);
    assert_eq!(operations(&told), [Operation::Open]);
    let told = lab.notify_opened();
    let again = sent(&told).pop().unwrap().commands.pop().unwrap();
    assert_ne!(again.name.session, id.session);
    assert_eq!(again.operation, write_of("a"));
    // The caller knows it by the name it was given.
    assert_eq!(done(&lab.notify(again.name, applied(1))), [(id, applied_answer(1))]);
}

#[test]
fn a_command_sent_more_than_once_may_have_been_applied_before_the_eviction() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    lab.pass(RETRY);
    assert_eq!(done(&lab.notify(id, Outcome::Refused)), [(id, Answer::Forgotten)]);
}

#[test]
fn a_doubted_command_that_turns_out_refused_is_not_applied_and_stays_so() {
    let mut lab = Lab::open();
    // Its only attempt is under way when its caller gives up.
    let id = lab.client.submit(at(lab.now), values(&["a"]), None, at(lab.now + RETRY / 2)).unwrap();
    lab.flush();
    assert_eq!(done(&lab.pass(RETRY / 2)), [(id, Answer::Unknown { reason: None })]);
    let told = lab.notify(id, Outcome::Refused);
    assert_eq!(done(&told), [(id, Answer::NotApplied { reason: None })]);
    let mut after = lab.notify_opened();
    after.extend(lab.pass(5 * RETRY));
    assert!(!operations(&after).contains(&write_of("a")), "it was told as not applied");
    assert_eq!(done(&after), []);
}

#[test]
fn a_cancellation_goes_on_in_the_next_session() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    let told = lab.pass(PATIENCE);
    let cancel = sent(&told).pop().unwrap().commands.pop().unwrap();
    lab.pass(RETRY);
    lab.notify(cancel.name, Outcome::Refused);
    let told = lab.notify_opened();
    let again = sent(&told).pop().unwrap().commands.pop().unwrap();
    assert_eq!(again.operation, Operation::Cancel { target: id });
    let told = lab.notify(again.name, Outcome::Settled(Settled::Forgotten));
    assert_eq!(done(&told), [(id, Answer::Forgotten)]);
}

#[test]
fn outcomes_of_another_session_are_not_mistaken_for_its_own() {
    let mut lab = Lab::open();
    let id = lab.write("a");
    let stranger = Name { session: SessionId(uuid::Uuid::from_u128(3)), ..id };
    assert_eq!(lab.notify(stranger, applied(9)), []);
    assert_eq!(lab.client.status().in_flight, 1);
}

// Whatever happens.

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_a_caller_is_told_is_what_the_log_says(
        fates in prop::collection::vec(any_fate(), 1..60),
    ) {
        let mut world = World::new();
        for fate in fates {
            world.let_happen(fate);
        }
        world.settle();
        for (id, answers) in &world.told {
            let applied = world.applied.iter().filter(|it| *it == &world.written[id]).count();
            prop_assert!(applied <= 1, "{id} was applied {applied} times");
            let last = answers.last().unwrap();
            let before = &answers[..answers.len() - 1];
            prop_assert!(
                before.len() <= 1 && before.iter().all(|it| matches!(it, Answer::Unknown { .. })),
                "{answers:?}"
            );
            match last {
                Answer::Applied { .. } => prop_assert_eq!(applied, 1),
                Answer::NotApplied { .. } => prop_assert_eq!(applied, 0),
                Answer::Forgotten => {}
                Answer::Repeated { .. }
                | Answer::KeyReused
                | Answer::Unknown { .. }
                | Answer::Settled(_) => prop_assert!(false, "{last:?}"),
            }
        }
        prop_assert_eq!(world.told.len(), world.written.len(), "everyone is answered");
    }
}

/// What may happen to a gateway and its messages. A message is chosen by its place among those that
/// are under way.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Write,
    Wait(u64),
    Elect(u64),
    Refuse(usize),
    Abandon(usize),
    Choose { message: usize, told: bool },
    OthersWrite,
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Write),
        3 => (1..2 * RETRY).prop_map(Fate::Wait),
        1 => (1..=3_u64).prop_map(Fate::Elect),
        2 => (0..8_usize).prop_map(Fate::Refuse),
        1 => (0..8_usize).prop_map(Fate::Abandon),
        3 => (0..8_usize, any::<bool>()).prop_map(|(message, told)| Fate::Choose { message, told }),
        1 => Just(Fate::OthersWrite),
    ]
}

/// A gateway, a log that forgets sessions soon, and messages between them that take any time.
struct World {
    lab: Lab,
    log: Log,
    round: u64,
    looked_at: usize,
    under_way: Vec<Sent>,
    written: BTreeMap<Name, String>,
    applied: Vec<String>,
    told: BTreeMap<Name, Vec<Answer>>,
}

impl World {
    fn new() -> Self {
        let mut lab = Lab::new();
        lab.step(Input::Proposers(proposers()));
        for id in PROPOSERS {
            lab.step(Input::LinkUp(node(id)));
        }
        let limits = LogLimits { idempotency_window: 1, session_window: 3, sessions_max: 3 };
        let mut world = Self {
            lab,
            log: Log::new(limits),
            round: 5,
            looked_at: 0,
            under_way: Vec::new(),
            written: BTreeMap::new(),
            applied: Vec::new(),
            told: BTreeMap::new(),
        };
        world.look();
        world
    }

    fn let_happen(&mut self, fate: Fate) {
        match fate {
            Fate::Write => {
                let text = format!("value {}", self.written.len());
                let deadline = at(self.lab.now + PATIENCE / 4);
                let taken =
                    self.lab.client.submit(at(self.lab.now), values(&[&text]), None, deadline);
                if let Ok(id) = taken {
                    self.written.insert(id, text);
                    self.lab.flush();
                }
            }
            Fate::Wait(ms) => drop(self.lab.pass(ms)),
            Fate::Elect(id) => {
                self.round += 1;
                self.lab.lead(self.round, id);
            }
            Fate::Refuse(message) if message < self.under_way.len() => {
                let message = self.under_way.remove(message);
                self.lab.refuse(&message, &Handback::Busy);
            }
            Fate::Abandon(message) if message < self.under_way.len() => {
                let Sent { to: proposer, number, ref commands } = self.under_way[message];
                let names = commands.iter().map(|it| it.name).collect();
                let reason = Handback::NotLeader { leader: None };
                let id = u64::from(proposer.node().get());
                self.lab.hear(id, ToClient::Abandoned { proposer, number, names, reason });
            }
            Fate::Choose { message, told } if message < self.under_way.len() => {
                let message = self.under_way.remove(message);
                self.choose(&message.commands, told);
            }
            Fate::Refuse(_) | Fate::Abandon(_) | Fate::Choose { .. } => {}
            Fate::OthersWrite => {
                self.choose(&[open(999), write(999, self.log.slot().get(), &["theirs"; 3])], false);
            }
        }
        self.look();
    }

    fn choose(&mut self, commands: &[Command], told: bool) {
        let before = self.log.index();
        let slot = self.log.slot().next();
        let delivered = self.log.deliver(slot, leader_ballot(), Batch::of(commands));
        let mut next = before.next();
        for (command, delivery) in commands.iter().zip(&delivered.deliveries) {
            if let (Operation::Write { values, .. }, Outcome::Applied { first, last }) =
                (&command.operation, delivery.outcome)
                && first == next
            {
                next = last.next();
                self.applied.push(String::from_utf8(values[0].to_vec()).unwrap());
            }
        }
        for delivery in delivered.deliveries.into_iter().filter(|_| told) {
            self.lab.notify(delivery.name, delivery.outcome);
        }
    }

    /// Everything under way arrives in the end, and everything is told.
    fn settle(&mut self) {
        for _ in 0..100 {
            for message in std::mem::take(&mut self.under_way) {
                self.choose(&message.commands, true);
            }
            self.lab.pass(RETRY);
            self.look();
        }
        assert_eq!(self.lab.client.status().in_flight, 0, "nothing stays open for ever");
    }

    /// Notes what the gateway did since the last look.
    fn look(&mut self) {
        let news = self.lab.seen[self.looked_at..].to_vec();
        self.looked_at = self.lab.seen.len();
        self.under_way.extend(sent(&news));
        for (id, answer) in done(&news) {
            self.told.entry(id).or_default().push(answer);
        }
    }
}

// Settings that change.

#[test]
fn a_shorter_pause_between_attempts_holds_for_what_waits_already() {
    let mut lab = Lab::open();
    let retry = Duration::from_secs(60);
    lab.step(Input::Settings(ClientSettings { retry, ..config().settings }));
    let id = lab.write("patient");
    lab.seen.clear();
    lab.pass(RETRY);
    assert_eq!(sent(&lab.seen), []);
    lab.step(Input::Settings(config().settings));
    let again = sent(&lab.pass(RETRY));
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].commands[0].name, id);
}

#[test]
fn a_lower_bound_refuses_the_next_and_keeps_what_is_open() {
    let mut lab = Lab::open();
    let ids = [lab.write("one"), lab.write("two")];
    lab.step(Input::Settings(ClientSettings { in_flight_max: 2, ..config().settings }));
    let deadline = lab.deadline();
    let refused = lab.client.submit(at(lab.now), values(&["three"]), None, deadline);
    assert_eq!(refused, Err(InFlightError(2)));
    for (index, id) in (1..).zip(ids) {
        assert_eq!(done(&lab.notify(id, applied(index))), [(id, applied_answer(index))]);
    }
}

// The bench.

/// Gateway 9. All it ever did is in `seen`.
struct Lab {
    client: Client,
    now: u64,
    seen: Vec<Effect>,
}

/// A message to a proposer, with its commands read.
#[derive(Debug, PartialEq)]
struct Sent {
    to: ProposerId,
    number: u64,
    commands: Vec<Command>,
}

impl Lab {
    /// It knows nobody yet.
    fn new() -> Self {
        let client = Client::new(config(), at(0), [7; 32]);
        Self { client, now: 0, seen: Vec::new() }
    }

    /// Proposer 1 leads, and the session is open.
    fn open() -> Self {
        let mut lab = Self::new();
        lab.step(Input::Proposers(proposers()));
        for id in PROPOSERS {
            lab.step(Input::LinkUp(node(id)));
        }
        lab.lead(5, 1);
        lab.notify_opened();
        lab.seen.clear();
        lab
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        self.client.step(at(self.now), input, &mut out);
        self.client.flush(at(self.now), &mut out);
        self.seen.extend(out.clone());
        out
    }

    fn flush(&mut self) -> Vec<Effect> {
        let mut out = Vec::new();
        self.client.flush(at(self.now), &mut out);
        self.seen.extend(out.clone());
        out
    }

    fn hear(&mut self, from: u64, message: ToClient) -> Vec<Effect> {
        let epoch = Some(epoch().digest());
        self.step(Input::Received { from: node(from), epoch, message })
    }

    /// Lets time pass.
    fn pass(&mut self, ms: u64) -> Vec<Effect> {
        let mut out = Vec::new();
        for _ in 0..ms {
            self.now += 1;
            if self.client.deadline().is_some_and(|due| due <= at(self.now)) {
                self.client.tick(at(self.now), &mut out);
                self.client.flush(at(self.now), &mut out);
            }
        }
        self.seen.extend(out.clone());
        out
    }

    fn deadline(&self) -> Instant {
        at(self.now + PATIENCE)
    }

    /// A caller writes, and waits for `PATIENCE`.
    fn write(&mut self, text: &str) -> Name {
        let deadline = self.deadline();
        let id = self.client.submit(at(self.now), values(&[text]), None, deadline).unwrap();
        self.flush();
        id
    }

    fn write_now(&mut self, text: &str) -> Vec<Effect> {
        let before = self.seen.len();
        self.write(text);
        self.seen[before..].to_vec()
    }

    fn lowest_open_of_next(&mut self) -> Sequence {
        sent(&self.write_now("next"))[0].commands[0].lowest_open
    }

    /// A proposer says that it leads.
    fn lead(&mut self, round: u64, id: u64) -> Vec<Effect> {
        let ballot = ballot(round, id);
        self.hear(id, ToClient::Leading { ballot })
    }

    /// A learner tells what became of a command.
    fn notify(&mut self, name: Name, outcome: Outcome) -> Vec<Effect> {
        let notice = Notice { name, outcome, slot: slot(50), ballot: leader_ballot() };
        self.hear(7, ToClient::Notices { learner: learner(7), notices: vec![notice] })
    }

    /// The newest session is open.
    fn notify_opened(&mut self) -> Vec<Effect> {
        let opens = sent(&self.seen).into_iter().flat_map(|it| it.commands);
        let open = opens.filter(|it| it.operation == Operation::Open).last().unwrap();
        self.notify(open.name, Outcome::Opened)
    }

    /// The proposer hands back the newest message, if it has not yet.
    fn refuse_last(&mut self, reason: &Handback) {
        if let Some(last) = sent(&self.seen).pop() {
            self.refuse(&last, reason);
        }
    }

    fn refuse(&mut self, message: &Sent, reason: &Handback) {
        let names = message.commands.iter().map(|it| it.name).collect();
        let id = u64::from(message.to.node().get());
        let (proposer, number, reason) = (message.to, message.number, reason.clone());
        self.hear(id, ToClient::Refused { proposer, number, names, reason });
    }
}

fn config() -> ClientConfig {
    ClientConfig {
        me: node(GATEWAY),
        settings: ClientSettings {
            retry: Duration::from_millis(RETRY),
            in_flight_max: IN_FLIGHT,
            message_bytes_max: MESSAGE_BYTES,
        },
    }
}

fn leader_ballot() -> Ballot {
    ballot(5, 1)
}

fn write_of(text: &str) -> Operation {
    Operation::Write { key: None, values: values(&[text]) }
}

fn applied(index: u64) -> Outcome {
    Outcome::Applied { first: Index::new(index), last: Index::new(index) }
}

fn applied_answer(index: u64) -> Answer {
    let index = Index::new(index);
    Answer::Applied { first: index, last: index, slot: slot(50), ballot: leader_ballot() }
}

fn sent(effects: &[Effect]) -> Vec<Sent> {
    let submit = |effect: &Effect| {
        if let Effect::Send(Outbound::Proposer(to, ToProposer::Submit { number, commands, .. })) =
            effect
        {
            let read = |it: &Submission| {
                let command = Command::decode(it.command.clone()).unwrap();
                assert_eq!(command.name, it.name);
                command
            };
            let commands = commands.iter().map(read).collect();
            Some(Sent { to: *to, number: *number, commands })
        } else {
            None
        }
    };
    effects.iter().filter_map(submit).collect()
}

fn operations(effects: &[Effect]) -> Vec<Operation> {
    sent(effects).into_iter().flat_map(|it| it.commands).map(|it| it.operation).collect()
}

fn events(effects: &[Effect]) -> Vec<Event> {
    let event = |effect: &Effect| {
        if let Effect::Event(event) = effect { Some(event.clone()) } else { None }
    };
    effects.iter().filter_map(event).collect()
}

fn done(effects: &[Effect]) -> Vec<(Name, Answer)> {
    let answer = |effect: &Effect| {
        if let Effect::Done { id, answer } = effect { Some((*id, answer.clone())) } else { None }
    };
    effects.iter().filter_map(answer).collect()
}
