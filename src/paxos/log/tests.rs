//! The log as a story of slots: every command once, every index once, the same on every learner.

use proptest::prelude::*;

use super::{Log, Lookup, Outcome, Settled};
use crate::paxos::fixture::*;
use crate::types::{Batch, Command, Index, LogLimits, Name, Sequence, SessionId};

// Indices.

#[test]
fn values_take_the_indices_one_after_the_other_and_nothing_else_takes_any() {
    let mut story = Story::begin();
    assert_eq!(story.deliver(&[write(1, 1, &["a"])]), [applied(1, 1)]);
    assert_eq!(story.deliver(&[]), []);
    assert_eq!(story.deliver(&[open(2)]), [Outcome::Opened]);
    assert_eq!(story.deliver(&[cancel(1, 2, name(1, 1))]), [settled_applied(1, 1)]);
    assert_eq!(story.deliver(&[write(1, 1, &["a"])]), [applied(1, 1)]);
    assert_eq!(story.deliver(&[write(9, 1, &["stranger"])]), [Outcome::Refused]);
    assert_eq!(
        story.deliver(&[write(2, 1, &["b"]), write(1, 3, &["c"])]),
        [applied(2, 2), applied(3, 3)]
    );
    assert_eq!(story.log.index(), index(3));
}

#[test]
fn many_values_of_one_command_stand_together() {
    let mut story = Story::begin();
    let outcomes = story.deliver(&[write(1, 1, &["a", "b", "c"]), write(1, 2, &["d"])]);
    assert_eq!(outcomes, [applied(1, 3), applied(4, 4)]);
}

#[test]
fn a_delivered_slot_tells_its_indices_and_what_applied_nothing() {
    let mut log = Log::new(LIMITS);
    let batch = Batch::of(&[open(1), write(1, 1, &["a", "b"]), write(1, 1, &["a", "b"])]);
    let delivered = log.deliver(slot(1), ballot(5, 1), batch);
    assert_eq!((delivered.first_index, delivered.last_index), (index(1), index(2)));
    assert_eq!(delivered.skipped, [0, 2]);
}

#[test]
#[should_panic(expected = "without a gap")]
fn a_gap_is_never_delivered() {
    Log::new(LIMITS).deliver(slot(2), ballot(5, 1), Batch::noop());
}

#[test]
fn a_batch_that_cannot_be_read_ends_there_for_every_learner_alike() {
    let mut bytes = Batch::of(&[open(1), write(1, 1, &["a"])]).bytes().to_vec();
    bytes.extend([9, 0, 0, 0, 1]);
    let mut log = Log::new(LIMITS);
    let delivered = log.deliver(slot(1), ballot(5, 1), Batch::from_bytes(bytes.into()));
    assert_eq!(delivered.deliveries.len(), 2);
    assert_eq!((log.slot(), log.index()), (slot(1), index(1)));
}

// Exactly once.

#[test]
fn the_same_name_is_applied_once_however_often_it_is_chosen() {
    let mut story = Story::begin();
    assert_eq!(story.deliver(&[write(1, 1, &["a"]), write(1, 1, &["a"])]), [applied(1, 1); 2]);
    assert_eq!(story.deliver(&[write(1, 1, &["a"])]), [applied(1, 1)]);
    assert_eq!(story.log.index(), index(1));
}

#[test]
fn a_session_that_was_never_opened_is_refused() {
    let mut story = Story::begin();
    assert_eq!(story.deliver(&[write(2, 1, &["a"])]), [Outcome::Refused]);
    // The refusal is not remembered: once open, the session may use the name.
    assert_eq!(story.deliver(&[open(2), write(2, 1, &["a"])]), [Outcome::Opened, applied(1, 1)]);
}

#[test]
fn opening_twice_forgets_nothing() {
    let mut story = Story::begin();
    story.deliver(&[write(1, 1, &["a"])]);
    assert_eq!(story.deliver(&[open(1), write(1, 1, &["a"])]), [Outcome::Opened, applied(1, 1)]);
}

#[test]
fn what_lies_below_the_lowest_open_sequence_is_forgotten_and_never_applied_again() {
    let mut story = Story::begin();
    story.deliver(&[write(1, 1, &["a"]), write(1, 2, &["b"])]);
    assert_eq!(story.log.look_up(name(1, 1)), Lookup::Delivered(applied(1, 1)));
    story.deliver(&[from(3, write(1, 3, &["c"]))]);
    assert_eq!(story.log.look_up(name(1, 1)), Lookup::Forgotten);
    assert_eq!(story.deliver(&[write(1, 1, &["a"])]), [Outcome::Refused]);
    // A retry that was encoded long ago does not lower it again.
    assert_eq!(
        story.deliver(&[write(1, 4, &["d"]), write(1, 2, &["b"])]),
        [applied(4, 4), Outcome::Refused]
    );
}

#[test]
fn a_command_cannot_put_itself_below_the_lowest_open_sequence() {
    let mut story = Story::begin();
    assert_eq!(story.deliver(&[from(99, write(1, 2, &["a"]))]), [applied(1, 1)]);
    assert_eq!(story.deliver(&[write(1, 2, &["a"])]), [applied(1, 1)]);
    assert_eq!(story.deliver(&[write(1, 3, &["b"])]), [applied(2, 2)]);
}

// Idempotency keys.

#[test]
fn a_key_holds_across_gateways() {
    let mut story = Story::begin();
    story.deliver(&[open(2), write_once(1, 1, "order-7", &["a", "b"])]);
    assert_eq!(story.deliver(&[write_once(2, 1, "order-7", &["a", "b"])]), [repeated(1, 2)]);
    assert_eq!(story.log.index(), index(2));
}

#[test]
fn a_key_with_another_value_is_refused_and_applies_nothing() {
    let mut story = Story::begin();
    story.deliver(&[write_once(1, 1, "order-7", &["a"])]);
    assert_eq!(story.deliver(&[write_once(1, 2, "order-7", &["b"])]), [Outcome::KeyReused]);
    // Where one value ends and the next begins is part of it.
    story.deliver(&[write_once(1, 3, "order-8", &["ab", "c"])]);
    assert_eq!(story.deliver(&[write_once(1, 4, "order-8", &["a", "bc"])]), [Outcome::KeyReused]);
}

#[test]
fn a_key_is_known_for_so_many_indices_and_not_by_the_clock() {
    let mut story = Story::with(LogLimits { idempotency_window: 3, ..LIMITS });
    story.deliver(&[write_once(1, 1, "k", &["a"])]);
    story.deliver(&[write(1, 2, &["b"]), write(1, 3, &["c"])]);
    assert_eq!(story.deliver(&[write_once(1, 4, "k", &["a"])]), [repeated(1, 1)]);
    for _ in 0..10 {
        story.deliver(&[]);
    }
    assert_eq!(story.deliver(&[write_once(1, 5, "k", &["a"])]), [repeated(1, 1)]);
    // A repeat does not prolong it.
    story.deliver(&[write(1, 6, &["d"])]);
    assert_eq!(story.deliver(&[write_once(1, 7, "k", &["a"])]), [applied(5, 5)]);
}

// Cancellation.

#[test]
fn a_command_cancelled_first_is_never_applied() {
    let mut story = Story::begin();
    assert_eq!(story.deliver(&[cancel(1, 2, name(1, 1))]), [settled(Settled::NotApplied)]);
    assert_eq!(story.deliver(&[write(1, 1, &["a"])]), [Outcome::Cancelled]);
    assert_eq!(story.deliver(&[write(1, 1, &["a"])]), [Outcome::Cancelled]);
    assert_eq!(story.log.index(), Index::ZERO);
    assert_eq!(story.log.look_up(name(1, 1)), Lookup::Delivered(Outcome::Cancelled));
}

#[test]
fn a_cancellation_that_comes_too_late_tells_where_the_values_stand() {
    let mut story = Story::begin();
    story.deliver(&[open(2), write(1, 1, &["a", "b"]), write_once(1, 2, "k", &["c"])]);
    story.deliver(&[write_once(1, 3, "k", &["c"]), write_once(1, 4, "k", &["other"])]);
    let outcomes = story.deliver(&[
        cancel(2, 1, name(1, 1)),
        cancel(2, 2, name(1, 3)),
        cancel(2, 3, name(1, 4)),
    ]);
    assert_eq!(
        outcomes,
        [settled_applied(1, 2), settled_applied(3, 3), settled(Settled::NotApplied)]
    );
}

#[test]
fn a_cancellation_does_not_pretend_to_know_what_was_forgotten() {
    let mut story = Story::begin();
    story.deliver(&[write(1, 1, &["a"]), from(2, write(1, 2, &["b"]))]);
    let outcomes = story.deliver(&[cancel(1, 3, name(1, 1)), cancel(1, 4, name(7, 1))]);
    assert_eq!(outcomes, [settled(Settled::Forgotten); 2]);
}

#[test]
fn a_repeated_cancellation_has_the_same_outcome() {
    let mut story = Story::begin();
    assert_eq!(story.deliver(&[cancel(1, 2, name(1, 1))]), [settled(Settled::NotApplied)]);
    story.deliver(&[write(1, 1, &["a"])]);
    assert_eq!(story.deliver(&[cancel(1, 2, name(1, 1))]), [settled(Settled::NotApplied)]);
}

// What is known of a name.

#[test]
fn a_name_is_absent_until_delivered_and_orphaned_once_its_gateway_moved_on() {
    let mut story = Story::begin();
    assert_eq!(story.log.look_up(name(1, 5)), Lookup::Absent { orphaned: None });
    assert_eq!(story.log.look_up(name(2, 1)), Lookup::Unknown);
    story.deliver(&[open(2), write(2, 2, &["a"])]);
    assert_eq!(story.log.look_up(name(1, 5)), Lookup::Absent { orphaned: Some(name(1, 5)) });
    assert_eq!(story.log.look_up(name(2, 1)), Lookup::Absent { orphaned: None });
}

#[test]
fn an_opening_that_was_chosen_long_after_its_gateway_died_orphans_nobody() {
    let mut story = Story::begin();
    // The gateway of life 1 lives. An earlier life of it, and a person, opened sessions as it.
    story.deliver(&[open(2)]);
    let by_hand = SessionId::by_hand(77);
    story.deliver(&[renamed(by_hand, open(3)), renamed(by_hand, write(3, 1, &["a"]))]);
    assert_eq!(story.log.look_up(name(1, 5)), Lookup::Absent { orphaned: None });
}

#[test]
fn a_name_is_found_in_whatever_session_of_its_life_it_was_sent() {
    let mut story = Story::begin();
    let told = name(2, 7);
    story.deliver(&[open(2)]);
    let used = session(2).successor();
    story.deliver(&[from(7, renamed(used, open(2)))]);
    let sent = renamed(used, write(2, 7, &["a"]));
    assert_eq!(story.log.look_up(told), Lookup::Absent { orphaned: None });
    // Another session of the same life does not orphan it; another life does, and its cancellation
    // must name the session that it would be sent in.
    story.deliver(&[open(3), write(3, 1, &["theirs"])]);
    assert_eq!(story.log.look_up(told), Lookup::Absent { orphaned: Some(sent.name) });
    assert_eq!(story.deliver(std::slice::from_ref(&sent)), [applied(2, 2)]);
    assert_eq!(story.log.look_up(told), Lookup::Delivered(applied(2, 2)));
    assert_ne!(sent.name, told);
}

#[test]
fn a_later_session_does_not_take_what_was_settled_before_it_for_absent() {
    let mut story = Story::with(LogLimits { session_window: 3, ..LIMITS });
    story.deliver(&[open(2), write(2, 1, &["a"])]);
    story.deliver(&[write(1, 1, &["b", "c", "d", "e"])]);
    assert_eq!(story.log.look_up(name(2, 1)), Lookup::Unknown);
    let next = session(2).successor();
    story.deliver(&[from(2, renamed(next, open(2)))]);
    assert_eq!(story.log.look_up(name(2, 1)), Lookup::Forgotten);
    let retry = renamed(next, write(2, 1, &["a"]));
    assert_eq!(story.deliver(&[retry]), [Outcome::Refused]);
}

// Eviction.

#[test]
fn a_session_idle_for_too_many_indices_is_evicted_and_its_late_commands_are_refused() {
    let mut story = Story::with(LogLimits { session_window: 3, ..LIMITS });
    story.deliver(&[open(2), write(2, 1, &["a"])]);
    story.deliver(&[write(1, 1, &["b", "c", "d"])]);
    assert_eq!(story.log.look_up(name(2, 1)), Lookup::Delivered(applied(1, 1)));
    story.deliver(&[write(1, 2, &["e"])]);
    assert_eq!(story.log.look_up(name(2, 1)), Lookup::Unknown);
    assert_eq!(story.deliver(&[write(2, 1, &["a"]), write(2, 2, &["f"])]), [Outcome::Refused; 2]);
    assert_eq!(story.deliver(&[write(1, 3, &["g"])]), [applied(6, 6)]);
}

#[test]
fn beyond_the_most_sessions_the_one_idle_for_longest_goes() {
    let mut story = Story::with(LogLimits { sessions_max: 2, ..LIMITS });
    story.deliver(&[write(1, 1, &["a"]), open(2), write(2, 1, &["b"])]);
    story.deliver(&[write(1, 2, &["c"]), open(3)]);
    assert_eq!(story.log.look_up(name(2, 1)), Lookup::Unknown);
    assert_eq!(story.log.look_up(name(1, 1)), Lookup::Delivered(applied(1, 1)));
    assert_eq!(story.deliver(&[write(3, 1, &["d"])]), [applied(4, 4)]);
}

#[test]
fn where_no_index_passed_the_session_unused_for_longest_goes_whatever_its_id() {
    let mut story = Story::with(LogLimits { sessions_max: 2, ..LIMITS });
    story.deliver(&[open(9), open(8), open(2)]);
    assert_eq!(story.log.look_up(name(9, 1)), Lookup::Unknown);
    story.deliver(&[cancel(8, 1, name(1, 1)), open(3)]);
    assert_eq!(story.log.look_up(name(2, 1)), Lookup::Unknown);
    assert_eq!(
        story.deliver(&[write(8, 2, &["a"]), write(3, 1, &["b"])]),
        [applied(1, 1), applied(2, 2)]
    );
}

// The same everywhere.

#[test]
fn the_hash_tells_order_name_and_value_but_not_ballots_slots_or_batches() {
    let commands = [open(1), write(1, 1, &["a"]), write(1, 2, &["b"])];
    let mut together = Log::new(LIMITS);
    together.deliver(slot(1), ballot(5, 1), Batch::of(&commands));
    let mut apart = Log::new(LIMITS);
    for (number, command) in (1..).zip(&commands) {
        apart.deliver(
            slot(2 * number - 1),
            ballot(6 + number, 2),
            Batch::of(std::slice::from_ref(command)),
        );
        apart.deliver(slot(2 * number), ballot(6, 2), Batch::noop());
    }
    assert_eq!(apart.hash(), together.hash());
    let others = [
        [open(1), write(1, 2, &["b"]), write(1, 1, &["a"])],
        [open(1), write(1, 1, &["b"]), write(1, 2, &["a"])],
        [open(1), write(1, 1, &["a"]), write(1, 3, &["b"])],
    ];
    for other in others {
        let mut log = Log::new(LIMITS);
        log.deliver(slot(1), ballot(5, 1), Batch::of(&other));
        assert_ne!(log.hash(), together.hash());
    }
}

#[test]
fn a_snapshot_of_another_version_is_not_taken_for_a_log() {
    let mut story = Story::begin();
    story.deliver(&[write_once(1, 1, "k", &["a"])]);
    let mut short = story.log.snapshot();
    short.hash = short.hash.slice(..15);
    assert_eq!(Log::from_snapshot(LIMITS, short), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_learner_that_restarts_from_a_snapshot_lives_the_same_life(
        before in batches(), after in batches(),
    ) {
        let limits = LogLimits { idempotency_window: 4, session_window: 6, sessions_max: 3 };
        let mut story = Story { log: Log::new(limits) };
        for batch in before {
            story.deliver(&batch);
        }
        let log = Log::from_snapshot(limits, story.log.snapshot()).unwrap();
        let mut restarted = Story { log };
        prop_assert_eq!(&restarted.log, &story.log);
        for batch in after {
            prop_assert_eq!(restarted.deliver(&batch), story.deliver(&batch));
        }
        prop_assert_eq!(&restarted.log, &story.log);
    }

    #[test]
    fn indices_never_jump_and_no_name_is_applied_twice(batches in batches()) {
        let mut story = Story { log: Log::new(LIMITS) };
        let mut applied = std::collections::BTreeMap::new();
        let mut next = Index::FIRST;
        for batch in batches {
            for (command, outcome) in batch.iter().zip(story.deliver(&batch)) {
                let Outcome::Applied { first, last } = outcome else { continue };
                if *applied.entry(command.name).or_insert((first, last)) == (first, last)
                    && first >= next
                {
                    prop_assert_eq!(first, next);
                    next = last.next();
                }
                prop_assert_eq!(applied[&command.name], (first, last));
            }
        }
        prop_assert_eq!(story.log.index().next(), next);
    }
}

fn batches() -> impl Strategy<Value = Vec<Vec<Command>>> {
    prop::collection::vec(prop::collection::vec(any_command(), 0..4), 0..20)
}

fn any_command() -> impl Strategy<Value = Command> {
    let texts = || prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..3);
    let names = || (1..5_u128, 1..6_u64);
    prop_oneof![
        2 => (1..5_u128).prop_map(open),
        4 => (names(), 1..4_u64, texts())
            .prop_map(|((life, sequence), lowest, texts)| {
                from(lowest, write(life, sequence, &texts))
            }),
        2 => (names(), prop::sample::select(vec!["k", "l"]), texts())
            .prop_map(|((life, sequence), key, texts)| write_once(life, sequence, key, &texts)),
        1 => (names(), names()).prop_map(|((life, sequence), (other, target))| {
            cancel(life, sequence, name(other, target))
        }),
    ]
}

// The bench.

/// The command as it is sent in another session.
fn renamed(session: SessionId, command: Command) -> Command {
    Command { name: Name { session, ..command.name }, ..command }
}

/// A log that is told one slot after the other.
struct Story {
    log: Log,
}

impl Story {
    /// Session 1 is open.
    fn begin() -> Self {
        Self::with(LIMITS)
    }

    fn with(limits: LogLimits) -> Self {
        let mut story = Self { log: Log::new(limits) };
        story.deliver(&[open(1)]);
        story
    }

    fn deliver(&mut self, commands: &[Command]) -> Vec<Outcome> {
        let next = self.log.slot().next();
        let delivered = self.log.deliver(next, ballot(5, 1), Batch::of(commands));
        delivered.deliveries.into_iter().map(|delivery| delivery.outcome).collect()
    }
}

/// The same command, sent when `lowest` was its gateway's lowest open sequence.
fn from(lowest: u64, command: Command) -> Command {
    Command { lowest_open: Sequence(lowest), ..command }
}

fn index(number: u64) -> Index {
    Index::new(number)
}

fn applied(first: u64, last: u64) -> Outcome {
    Outcome::Applied { first: index(first), last: index(last) }
}

fn repeated(first: u64, last: u64) -> Outcome {
    Outcome::Repeated { first: index(first), last: index(last) }
}

fn settled(settled: Settled) -> Outcome {
    Outcome::Settled(settled)
}

fn settled_applied(first: u64, last: u64) -> Outcome {
    settled(Settled::Applied { first: index(first), last: index(last) })
}
