//! The acceptor with its journal: what it promises, what it refuses, and that it never forgets.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Acceptor, AcceptorConfig, Reply, Request, Standing};
use crate::paxos::durable::Durable;
use crate::paxos::fixture::*;
use crate::paxos::journal::torture::{cuts, flips, one_bit};
use crate::paxos::journal::{Journal, JournalError};
use crate::paxos::message::{Accepted, Refusal, ToAcceptor, Vote};
use crate::paxos::record::{Record, Summary};
use crate::types::{
    Ballot, Batch, Epoch, EpochDigest, Incarnation, Index, LearnerId, Slot, StorageId,
};

const SEGMENT: usize = 4096;
const WINDOW: u64 = 10;
const PAGE: usize = 250;
const TRIM: u64 = 3;

// Promises and votes: PMS §2.2, P1a.

#[test]
fn a_higher_ballot_is_promised_and_a_lower_one_is_told_so() {
    let mut lab = Lab::formed();
    assert!(is_promise(&lab.prepare(ballot(5, 1))));
    assert!(is_promise(&lab.prepare(ballot(6, 1))));
    assert_eq!(lab.prepare(ballot(5, 2)), refused(ballot(5, 2), Refusal::Promised(ballot(6, 1))));
    assert_eq!(lab.promised(), Some(ballot(6, 1)));
}

#[test]
fn a_repeated_prepare_gets_the_same_promise_again() {
    let mut lab = Lab::formed();
    lab.accept(ballot(5, 1), 1, "a");
    let first = lab.prepare(ballot(6, 1));
    assert!(is_promise(&first));
    assert_eq!(lab.prepare(ballot(6, 1)), first);
}

#[test]
fn a_vote_is_for_the_learner_that_the_proposal_names() {
    let mut lab = Lab::formed();
    let ToAcceptor::Accept { ballot, slot, first_unchosen, batch, .. } =
        accept_of(ballot(5, 1), 1, "a")
    else {
        panic!("an accept")
    };
    let learner = Some(learner(7));
    let reply = lab.tell(ToAcceptor::Accept {
        ballot,
        slot,
        first_unchosen,
        learner,
        batch: batch.clone(),
    });
    let vote = Vote { acceptor: acceptor(4), slot, ballot, digest: batch.digest() };
    assert_eq!(reply, Reply::Vote { vote, learner });
}

#[test]
fn no_cached_promise_is_given_after_a_higher_one() {
    let mut lab = Lab::formed();
    lab.prepare(ballot(5, 1));
    lab.prepare(ballot(6, 2));
    assert_eq!(lab.prepare(ballot(5, 1)), refused(ballot(5, 1), Refusal::Promised(ballot(6, 2))));
}

#[test]
fn two_lives_of_a_proposer_never_share_a_ballot() {
    let mut lab = Lab::formed();
    let reborn = Ballot { incarnation: Incarnation(2), ..ballot(5, 1) };
    lab.prepare(reborn);
    let former = lab.prepare(ballot(5, 1));
    assert_eq!(former, refused(ballot(5, 1), Refusal::Promised(reborn)));
}

#[test]
fn an_accept_raises_the_promise() {
    let mut lab = Lab::formed();
    lab.prepare(ballot(5, 1));
    assert_eq!(lab.accept(ballot(7, 2), 1, "a"), voted(ballot(7, 2), 1, "a"));
    assert_eq!(lab.prepare(ballot(6, 1)), refused(ballot(6, 1), Refusal::Promised(ballot(7, 2))));
}

#[test]
fn an_accept_below_the_promise_is_refused_and_leaves_no_trace() {
    let mut lab = Lab::formed();
    lab.accept(ballot(5, 1), 1, "a");
    lab.prepare(ballot(7, 2));
    let late = lab.accept(ballot(6, 1), 1, "b");
    assert_eq!(late, refused_slot(ballot(6, 1), 1, Refusal::Promised(ballot(7, 2))));
    assert_eq!(lab.votes(), [(1, ballot(5, 1), batch("a"))]);
    assert_eq!(lab.promised(), Some(ballot(7, 2)));
}

#[test]
fn a_promise_tells_the_votes_of_the_highest_ballot_in_each_slot() {
    let mut lab = Lab::formed();
    lab.accept(ballot(5, 1), 1, "a");
    lab.accept(ballot(5, 1), 2, "b");
    lab.accept(ballot(6, 2), 2, "c");
    let Reply::Promise { accepted, next_slot, .. } = lab.prepare(ballot(7, 1)) else { panic!() };
    let told: Vec<_> = accepted.into_iter().map(|it| (it.slot.get(), it.ballot)).collect();
    assert_eq!((told, next_slot), (vec![(1, ballot(5, 1)), (2, ballot(6, 2))], None));
}

#[test]
fn one_slot_and_ballot_never_carry_two_values() {
    let mut lab = Lab::formed();
    lab.accept(ballot(5, 1), 1, "a");
    assert_eq!(
        lab.accept(ballot(5, 1), 1, "b"),
        refused_slot(ballot(5, 1), 1, Refusal::OtherValue)
    );
    // The same value again is the same vote again: the first answer may have been lost.
    assert_eq!(lab.accept(ballot(5, 1), 1, "a"), voted(ballot(5, 1), 1, "a"));
    assert_eq!(lab.accept(ballot(6, 1), 1, "b"), voted(ballot(6, 1), 1, "b"));
}

// How far it votes.

#[test]
fn nobody_can_make_a_hole_beyond_the_window() {
    let mut lab = Lab::formed();
    lab.accept(ballot(5, 1), 3, "a");
    let limit = 3 + WINDOW;
    let far = refused_slot(ballot(5, 1), 1_000_000_000_000_000, beyond(limit));
    assert_eq!(lab.accept(ballot(5, 1), 1_000_000_000_000_000, "b"), far);
    let next = refused_slot(ballot(5, 1), limit + 1, beyond(limit));
    assert_eq!(lab.accept(ballot(5, 1), limit + 1, "b"), next);
    assert_eq!(lab.accept(ballot(5, 1), limit, "b"), voted(ballot(5, 1), limit, "b"));
}

#[test]
fn an_acceptor_that_was_away_takes_part_at_once_by_what_the_leader_knows_to_be_chosen() {
    let mut lab = Lab::formed();
    assert_eq!(
        lab.accept(ballot(5, 1), 1_000, "a"),
        refused_slot(ballot(5, 1), 1_000, beyond(1 + WINDOW))
    );
    assert_eq!(lab.accept_after(ballot(5, 1), 1_000, 995, "a"), voted(ballot(5, 1), 1_000, "a"));
}

#[test]
fn a_ballot_written_by_hand_counts_only_under_the_promise_held_and_moves_no_window() {
    let mut lab = Lab::formed();
    let by_hand = Ballot::from_proposal_number(901).unwrap();
    assert_eq!(lab.accept(by_hand, 1, "a"), refused_slot(by_hand, 1, Refusal::NotPromised));
    lab.prepare(by_hand);
    assert_eq!(lab.accept(by_hand, 1, "a"), voted(by_hand, 1, "a"));
    let limit = 1 + WINDOW;
    assert_eq!(
        lab.accept_after(by_hand, 1_000, 999, "a"),
        refused_slot(by_hand, 1_000, beyond(limit))
    );
}

#[test]
fn long_promises_come_in_pages_and_one_value_always_fits() {
    let mut lab = Lab::formed();
    let long = "x".repeat(PAGE * 2);
    for (number, text) in [(1, "a"), (2, &*long), (3, "c"), (4, "d"), (5, "e")] {
        lab.accept(ballot(5, 1), number, text);
    }
    let mut pages = Vec::new();
    let mut from = slot(1);
    loop {
        let prepare = ToAcceptor::Prepare { ballot: ballot(6, 1), from_slot: from };
        let Reply::Promise { from_slot, accepted, next_slot, .. } = lab.tell(prepare) else {
            panic!()
        };
        assert_eq!(from_slot, from);
        pages.push(accepted.iter().map(|it| it.slot.get()).collect::<Vec<_>>());
        match next_slot {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(pages, [vec![1], vec![2], vec![3, 4], vec![5]]);
}

#[test]
fn a_read_is_told_the_highest_slot_ever_voted_or_trimmed() {
    let mut lab = Lab::formed();
    assert_eq!(lab.mark(), slot(0));
    lab.accept(ballot(5, 1), 4, "a");
    assert_eq!(lab.mark(), slot(4));
    lab.durable(7, 6);
    lab.durable(8, 6);
    assert_eq!(lab.mark(), slot(6));
}

// Formation, and who may speak.

#[test]
fn the_cluster_is_formed_once() {
    let mut lab = Lab::new();
    assert_eq!(lab.standing(), Standing::Unformed);
    let Reply::Identity(joined) = lab.tell(ToAcceptor::Form { epoch: epoch() }) else { panic!() };
    assert_eq!((joined.epoch, joined.active), (Some(epoch()), false));
    let Reply::Identity(still) = lab.tell(ToAcceptor::Form { epoch: other_epoch() }) else {
        panic!()
    };
    assert_eq!(still.epoch, Some(epoch()));
    assert_eq!(lab.standing(), Standing::Member(epoch().digest()));
}

#[test]
fn from_its_first_promise_on_it_vouches_for_the_epoch() {
    let mut lab = Lab::formed();
    assert!(!lab.is_active());
    lab.prepare(ballot(5, 1));
    assert!(lab.is_active());
    lab.restart();
    assert!(lab.is_active());
}

#[test]
fn an_empty_directory_in_a_formed_cluster_does_not_vote_and_says_so() {
    let mut lab = Lab::in_directory(empty_directory(4));
    let Reply::Identity(identity) = lab.tell(ToAcceptor::Form { epoch: epoch() }) else { panic!() };
    assert_eq!((identity.storage, identity.epoch), (empty_directory(4), None));
    assert_eq!(lab.standing(), Standing::Stranger(epoch().digest()));
    assert_eq!(lab.prepare(ballot(5, 1)), Reply::OtherEpoch);
    assert_eq!(lab.accept(ballot(5, 1), 1, "a"), Reply::OtherEpoch);
}

#[test]
fn another_cluster_cannot_form_it() {
    let mut lab = Lab::new();
    let foreign = Epoch { cluster: "eleven".to_owned(), ..epoch() };
    lab.tell(ToAcceptor::Form { epoch: foreign.clone() });
    assert_eq!(lab.standing(), Standing::Stranger(foreign.digest()));
    // Its own cluster still can.
    lab.tell(ToAcceptor::Form { epoch: epoch() });
    assert_eq!(lab.standing(), Standing::Member(epoch().digest()));
}

#[test]
fn who_counts_by_another_epoch_is_refused_and_changes_nothing() {
    let mut lab = Lab::formed();
    lab.accept(ballot(5, 1), 5, "a");
    let requests = [
        ToAcceptor::Prepare { ballot: ballot(9, 1), from_slot: slot(1) },
        accept_of(ballot(9, 1), 2, "b"),
        ToAcceptor::Mark { nonce: 1 },
        ToAcceptor::Fetch { from_slot: slot(1) },
        durable_of(7, 5),
        durable_of(8, 5),
    ];
    for strange in [None, Some(other_epoch().digest())] {
        for request in requests.clone() {
            assert_eq!(lab.tell_under(strange, request), Reply::OtherEpoch);
        }
    }
    assert_eq!(lab.promised(), Some(ballot(5, 1)));
    assert_eq!(lab.votes(), [(5, ballot(5, 1), batch("a"))]);
    assert_eq!(lab.trimmed(), slot(0));
}

// Trimming.

#[test]
fn slots_are_forgotten_once_a_majority_of_the_epochs_learners_has_them() {
    let mut lab = Lab::with_votes(1..=8);
    assert_eq!(lab.durable(7, 8), Reply::Noted { trimmed: None });
    assert_eq!(lab.durable(8, 5), Reply::Noted { trimmed: Some(slot(5)) });
    assert_eq!(lab.votes().iter().map(|vote| vote.0).collect::<Vec<_>>(), [6, 7, 8]);
    let below = lab.accept(ballot(9, 1), 5, "late");
    assert_eq!(below, refused_slot(ballot(9, 1), 5, Refusal::Trimmed(slot(5))));
    let Reply::Promise { trimmed_slot, .. } = lab.prepare(ballot(9, 1)) else { panic!() };
    assert_eq!(trimmed_slot, slot(5));
}

#[test]
fn a_learner_that_joined_by_gossip_does_not_let_it_trim() {
    let mut lab = Lab::with_votes(1..=8);
    lab.durable(7, 8);
    assert_eq!(lab.durable(11, 8), Reply::Noted { trimmed: None });
    assert_eq!(lab.durable(12, 8), Reply::Noted { trimmed: None });
    assert_eq!(lab.trimmed(), slot(0));
}

#[test]
fn a_learner_that_lost_its_directory_counts_from_its_new_report() {
    let mut lab = Lab::with_votes(1..=8);
    lab.durable(7, 8);
    let fresh =
        ToAcceptor::Durable { learner: learner(7), storage: empty_directory(7), slot: Slot::ZERO };
    lab.tell(fresh);
    assert_eq!(lab.durable(8, 8), Reply::Noted { trimmed: None });
    assert_eq!(lab.trimmed(), slot(0));
}

#[test]
fn it_trims_in_strides_and_names_the_learners_that_hold_it_up() {
    let mut lab = Lab::with_votes(1..=8);
    lab.durable(7, 8);
    assert_eq!(lab.durable(8, TRIM - 1), Reply::Noted { trimmed: None });
    assert_eq!(lab.lagging(), [learner(8)].into());
    assert_eq!(lab.durable(8, TRIM), Reply::Noted { trimmed: Some(slot(TRIM)) });
    lab.durable(8, 8);
    assert_eq!(lab.lagging(), [].into());
}

#[test]
fn a_journal_that_few_large_votes_make_long_is_trimmed_all_the_same() {
    let mut lab = Lab::formed();
    let long = "x".repeat(SEGMENT / 2);
    lab.accept(ballot(5, 1), 1, &long);
    lab.durable(7, 1);
    assert_eq!(lab.durable(8, 1), Reply::Noted { trimmed: None });
    lab.accept(ballot(5, 1), 2, &long);
    lab.accept(ballot(5, 1), 3, &long);
    assert_eq!(lab.durable(8, 2), Reply::Noted { trimmed: Some(slot(1)) });
    assert_eq!(lab.lagging(), [learner(7)].into(), "it lacks both slots that are left");
    lab.accept(ballot(5, 1), 4, &long);
    assert_eq!(lab.durable(7, 3), Reply::Noted { trimmed: Some(slot(2)) });
}

#[test]
fn files_go_with_the_votes_in_them() {
    let mut lab = Lab::formed();
    let long = "x".repeat(SEGMENT / 4);
    for number in 1..=30 {
        lab.accept_after(ballot(5, 1), number, number, &long);
    }
    let before = lab.durable.as_ref().unwrap().journal_bytes();
    lab.durable(7, 30);
    lab.durable(8, 30);
    lab.accept_after(ballot(5, 1), 31, 31, "a");
    assert!(lab.durable.as_ref().unwrap().journal_bytes() < before / 3);
    lab.restart();
    assert_eq!(lab.votes(), [(31, ballot(5, 1), batch("a"))]);
    assert_eq!(lab.trimmed(), slot(30));
    assert_eq!(lab.promised(), Some(ballot(5, 1)));
    assert_eq!(lab.standing(), Standing::Member(epoch().digest()));
}

// The disk.

#[test]
fn a_restart_forgets_neither_promise_nor_vote_nor_trim() {
    let mut lab = Lab::with_votes(1..=8);
    lab.durable(7, 4);
    lab.durable(8, 4);
    lab.prepare(ballot(9, 2));
    lab.restart();
    assert_eq!(lab.promised(), Some(ballot(9, 2)));
    assert_eq!(lab.votes().iter().map(|vote| vote.0).collect::<Vec<_>>(), [5, 6, 7, 8]);
    assert_eq!(lab.trimmed(), slot(4));
    assert_eq!(lab.prepare(ballot(8, 1)), refused(ballot(8, 1), Refusal::Promised(ballot(9, 2))));
}

#[test]
fn nobody_is_answered_when_the_disk_fails() {
    let mut lab = Lab::formed();
    lab.disk.fail_after(0);
    let durable = lab.durable.take().unwrap();
    let prepare = ToAcceptor::Prepare { ballot: ballot(5, 1), from_slot: slot(1) };
    let failed = durable.turn([((), request(Some(epoch().digest()), prepare))]);
    assert!(matches!(failed, Err(JournalError::Storage { .. })));
    lab.restart();
    assert_eq!(lab.promised(), None);
}

#[test]
fn a_turn_cut_short_between_two_segments_forgets_no_vote_that_it_was_to_trim() {
    let mut lab = Lab::formed();
    let long = "x".repeat(SEGMENT / 3);
    for number in 1..=9 {
        lab.accept_after(ballot(5, 1), number, number, &long);
    }
    let before = lab.votes();
    // More than a segment takes: the votes stand in its first part, the trim in its last.
    let mut turn: Vec<_> = (10..=13).map(|number| accept_of(ballot(5, 1), number, &long)).collect();
    turn.extend([durable_of(7, 9), durable_of(8, 9)]);
    lab.turn_cut_short(turn, 1);
    assert_eq!(lab.trimmed(), slot(0));
    assert_eq!(lab.votes().get(..before.len()), Some(&*before));
}

#[test]
fn a_turn_that_opens_a_segment_replays_although_its_summary_runs_ahead() {
    let mut lab = Lab::new();
    // One turn: the first segment opens with a summary that already tells its end.
    let replies = lab.turn([
        ToAcceptor::Form { epoch: epoch() },
        ToAcceptor::Prepare { ballot: ballot(5, 1), from_slot: slot(1) },
        accept_of(ballot(5, 1), 1, "a"),
        accept_of(ballot(5, 1), 4, "b"),
        durable_of(7, 3),
        durable_of(8, 3),
        ToAcceptor::Prepare { ballot: ballot(6, 2), from_slot: slot(1) },
    ]);
    assert!(is_promise(&replies[6]));
    lab.restart();
    assert_eq!(lab.promised(), Some(ballot(6, 2)));
    assert_eq!(lab.votes(), [(4, ballot(5, 1), batch("b"))]);
    assert_eq!(lab.trimmed(), slot(3));
}

#[test]
fn a_journal_that_contradicts_itself_or_its_owner_is_refused() {
    let mine = summary_of(directory(4));
    let stories: [(&str, Summary, Vec<Record>); 5] = [
        ("another directory", summary_of(directory(5)), vec![]),
        (
            "two epochs",
            mine.clone(),
            vec![
                Record::Epoch { epoch: epoch(), active: true },
                Record::Epoch { epoch: other_epoch(), active: true },
            ],
        ),
        ("a learner's entry", mine.clone(), vec![entry_record()]),
        (
            "a learner's summary",
            Summary::Learner {
                storage: directory(4),
                epoch: None,
                slot: Slot::ZERO,
                index: Index::ZERO,
            },
            vec![],
        ),
        ("nothing wrong", mine, vec![Record::Promise { ballot: ballot(5, 1) }]),
    ];
    for (story, summary, mut records) in stories {
        records.push(Record::Trim { slot: Slot::ZERO });
        let disk = Disk::new(SEGMENT);
        let (journal, _) = Journal::open(disk.clone(), None, |_, _| Ok(())).unwrap();
        journal.append(&records, || summary).unwrap();
        let opened = Durable::open(config(directory(4)), disk);
        match opened {
            Ok(_) => assert_eq!(story, "nothing wrong"),
            Err(JournalError::Refused { .. }) => assert_ne!(story, "nothing wrong"),
            Err(other) => panic!("{story}: {other}"),
        }
    }
}

#[test]
fn a_harmed_journal_gives_back_every_answer_or_all_but_the_last_or_is_refused() {
    let mut lab = Lab::on(directory(4), Disk::new(768));
    lab.tell(ToAcceptor::Form { epoch: epoch() });
    for number in 1..=16 {
        lab.prepare(ballot(number, 2));
        lab.accept(ballot(number, 2), number, "a value");
    }
    lab.durable(7, 10);
    lab.durable(8, 10);
    lab.accept(ballot(20, 1), 17, "a");
    let before = lab.state();
    lab.turn([accept_of(ballot(21, 1), 18, "b"), accept_of(ballot(21, 1), 17, "b")]);
    let whole = lab.state();
    let disk = lab.disk.copy();
    let (mut kept, mut shortened, mut refused) = (0, 0, 0);
    for harm in flips(&disk, one_bit).chain(cuts(&disk)) {
        let place = harm.place();
        match Durable::open(config(lab.storage), Disk::of(harm.disk)) {
            Ok((durable, _)) => match state_of(durable.acceptor()) {
                state if state == whole => kept += 1,
                state => {
                    shortened += 1;
                    assert_eq!(state, before, "{place}");
                }
            },
            Err(JournalError::Damaged { .. }) => refused += 1,
            Err(error) => panic!("{place}: {error}"),
        }
    }
    assert!(kept > 0 && shortened > 0 && refused > 0, "{kept}, {shortened}, {refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_was_answered_is_still_known_after_a_crash(
        turns in prop::collection::vec(prop::collection::vec(any_request(), 1..5), 1..25),
    ) {
        let mut lab = Lab::formed();
        for requests in turns {
            let promised = lab.promised();
            for reply in lab.turn(requests) {
                if let Reply::Nack { ballot, refusal: Refusal::Promised(by), .. } = reply {
                    prop_assert!(by > ballot);
                }
            }
            prop_assert!(lab.promised() >= promised);
            let before = (lab.promised(), lab.votes(), lab.trimmed(), lab.mark(), lab.standing());
            lab.restart();
            let after = (lab.promised(), lab.votes(), lab.trimmed(), lab.mark(), lab.standing());
            prop_assert_eq!(after, before);
        }
    }

    #[test]
    fn no_vote_is_lost_when_the_disk_fails_within_a_turn(
        turns in prop::collection::vec(steps(10), 1..10),
        last in steps(30),
        syncs in 0..4_usize,
    ) {
        let mut lab = Lab::formed();
        let mut newest = 0;
        for steps in turns {
            lab.turn(requests_of(steps, &mut newest));
        }
        let (promised, votes, trimmed) = (lab.promised(), lab.votes(), lab.trimmed());
        lab.turn_cut_short(requests_of(last, &mut newest), syncs);
        prop_assert!(lab.promised() >= promised);
        prop_assert!(lab.trimmed() >= trimmed);
        let known = lab.votes();
        for vote in votes.into_iter().filter(|vote| slot(vote.0) > lab.trimmed()) {
            prop_assert!(known.contains(&vote), "the vote in slot {}", vote.0);
        }
    }
}

fn any_request() -> impl Strategy<Value = ToAcceptor> {
    let ballots = || (1..20_u64, 1..4_u64).prop_map(|(round, id)| ballot(round, id));
    prop_oneof![
        ballots().prop_map(|ballot| ToAcceptor::Prepare { ballot, from_slot: Slot::FIRST }),
        (ballots(), 1..25_u64).prop_map(|(ballot, number)| accept_of(
            ballot,
            number,
            &ballot.to_string()
        )),
        (7..=8_u64, 0..25_u64).prop_map(|(id, through)| durable_of(id, through)),
        Just(ToAcceptor::Form { epoch: other_epoch() }),
    ]
}

/// Something that fills segments or empties them: a value of so many bytes for the next slot, or
/// word from a learner that lacks so many slots.
#[derive(Debug, Clone, Copy)]
enum Step {
    Value(usize),
    Durable(u64, u64),
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..SEGMENT / 3).prop_map(Step::Value),
        1 => (7..=8_u64, 0..5_u64).prop_map(|(id, lacks)| Step::Durable(id, lacks)),
    ];
    prop::collection::vec(step, 1..most)
}

fn requests_of(steps: Vec<Step>, newest: &mut u64) -> Vec<ToAcceptor> {
    let requests = steps.into_iter().map(|step| match step {
        Step::Value(bytes) => {
            *newest += 1;
            accept_of(ballot(5, 1), *newest, &"x".repeat(bytes))
        }
        Step::Durable(id, lacks) => durable_of(id, newest.saturating_sub(lacks)),
    });
    requests.collect()
}

// The bench.

/// Acceptor 4 at its disk.
struct Lab {
    storage: StorageId,
    disk: Disk,
    durable: Option<Durable<Disk>>,
}

impl Lab {
    fn new() -> Self {
        Self::in_directory(directory(4))
    }

    fn in_directory(storage: StorageId) -> Self {
        Self::on(storage, Disk::new(SEGMENT))
    }

    fn on(storage: StorageId, disk: Disk) -> Self {
        let (durable, _) = Durable::open(config(storage), disk.clone()).unwrap();
        Self { storage, disk, durable: Some(durable) }
    }

    fn formed() -> Self {
        let mut lab = Self::new();
        lab.tell(ToAcceptor::Form { epoch: epoch() });
        lab
    }

    fn with_votes(slots: impl IntoIterator<Item = u64>) -> Self {
        let mut lab = Self::formed();
        for number in slots {
            assert_eq!(lab.accept(ballot(5, 1), number, "a"), voted(ballot(5, 1), number, "a"));
        }
        lab
    }

    /// The power fails, and the journal is replayed.
    fn restart(&mut self) {
        self.disk = self.disk.crashed();
        let (durable, _) = Durable::open(config(self.storage), self.disk.clone()).unwrap();
        self.durable = Some(durable);
    }

    /// What a restart comes to.
    fn state(&self) -> (Summary, Vec<Accepted>) {
        let (durable, _) = Durable::open(config(self.storage), self.disk.crashed()).unwrap();
        state_of(durable.acceptor())
    }

    fn turn(&mut self, messages: impl IntoIterator<Item = ToAcceptor>) -> Vec<Reply> {
        let digest = Some(epoch().digest());
        let requests = messages.into_iter().map(|message| ((), request(digest, message)));
        let (durable, replies) = self.durable.take().unwrap().turn(requests).unwrap();
        self.durable = Some(durable);
        replies.into_iter().map(|((), reply)| reply).collect()
    }

    /// A turn in which the power fails once `syncs` of its syncs are done; then a restart.
    fn turn_cut_short(&mut self, messages: impl IntoIterator<Item = ToAcceptor>, syncs: usize) {
        let digest = Some(epoch().digest());
        let requests = messages.into_iter().map(|message| ((), request(digest, message)));
        self.disk.fail_after(syncs);
        drop(self.durable.take().unwrap().turn(requests));
        self.restart();
    }

    fn tell(&mut self, message: ToAcceptor) -> Reply {
        self.turn([message]).remove(0)
    }

    fn tell_under(&mut self, digest: Option<EpochDigest>, message: ToAcceptor) -> Reply {
        let requests = [((), request(digest, message))];
        let (durable, mut replies) = self.durable.take().unwrap().turn(requests).unwrap();
        self.durable = Some(durable);
        replies.remove(0).1
    }

    fn prepare(&mut self, ballot: Ballot) -> Reply {
        self.tell(ToAcceptor::Prepare { ballot, from_slot: Slot::FIRST })
    }

    fn accept(&mut self, ballot: Ballot, number: u64, text: &str) -> Reply {
        self.tell(accept_of(ballot, number, text))
    }

    fn accept_after(&mut self, ballot: Ballot, number: u64, chosen: u64, text: &str) -> Reply {
        let first_unchosen = slot(chosen);
        let batch = batch(text);
        let slot = slot(number);
        self.tell(ToAcceptor::Accept { ballot, slot, first_unchosen, learner: None, batch })
    }

    fn durable(&mut self, id: u64, through: u64) -> Reply {
        self.tell(durable_of(id, through))
    }

    fn mark(&mut self) -> Slot {
        let Reply::Mark { nonce: 3, slot } = self.tell(ToAcceptor::Mark { nonce: 3 }) else {
            panic!("a mark")
        };
        slot
    }

    fn votes(&mut self) -> Vec<(u64, Ballot, Batch)> {
        let mut all = Vec::new();
        let mut from = Some(Slot::ZERO);
        while let Some(from_slot) = from {
            let Reply::Votes { votes, next_slot, .. } = self.tell(ToAcceptor::Fetch { from_slot })
            else {
                panic!("votes")
            };
            let told = |Accepted { slot, ballot, batch }| (slot.get(), ballot, batch);
            all.extend(votes.into_iter().map(told));
            from = next_slot;
        }
        all
    }

    fn is_active(&mut self) -> bool {
        let Reply::Identity(identity) = self.tell(ToAcceptor::Identify) else { panic!() };
        identity.active
    }

    fn acceptor(&self) -> &Acceptor {
        self.durable.as_ref().unwrap().acceptor()
    }

    fn promised(&self) -> Option<Ballot> {
        self.acceptor().promised()
    }

    fn trimmed(&self) -> Slot {
        self.acceptor().trimmed_slot()
    }

    fn standing(&self) -> Standing {
        self.acceptor().standing()
    }

    fn lagging(&self) -> BTreeSet<LearnerId> {
        self.acceptor().lagging_learners()
    }
}

/// Everything that an acceptor must not forget.
fn state_of(acceptor: &Acceptor) -> (Summary, Vec<Accepted>) {
    (acceptor.summary(), acceptor.votes.values().cloned().collect())
}

fn config(storage: StorageId) -> AcceptorConfig {
    AcceptorConfig {
        me: acceptor(4),
        cluster: CLUSTER.to_owned(),
        storage,
        page_bytes: PAGE,
        accept_window_slots: WINDOW,
        trim_slots: TRIM,
    }
}

fn request(epoch: Option<EpochDigest>, message: ToAcceptor) -> Request {
    Request { from: node(1), epoch, message }
}

fn accept_of(ballot: Ballot, number: u64, text: &str) -> ToAcceptor {
    ToAcceptor::Accept {
        ballot,
        slot: slot(number),
        first_unchosen: Slot::FIRST,
        learner: None,
        batch: batch(text),
    }
}

fn durable_of(id: u64, through: u64) -> ToAcceptor {
    ToAcceptor::Durable { learner: learner(id), storage: directory(id), slot: slot(through) }
}

fn is_promise(reply: &Reply) -> bool {
    matches!(reply, Reply::Promise { .. })
}

fn voted(ballot: Ballot, number: u64, text: &str) -> Reply {
    let digest = batch(text).digest();
    let vote = Vote { acceptor: acceptor(4), slot: slot(number), ballot, digest };
    Reply::Vote { vote, learner: None }
}

fn refused(ballot: Ballot, refusal: Refusal) -> Reply {
    Reply::Nack { ballot, slot: None, refusal }
}

fn refused_slot(ballot: Ballot, number: u64, refusal: Refusal) -> Reply {
    Reply::Nack { ballot, slot: Some(slot(number)), refusal }
}

fn beyond(limit: u64) -> Refusal {
    Refusal::BeyondWindow(slot(limit))
}

fn summary_of(storage: StorageId) -> Summary {
    Summary::Acceptor {
        storage,
        promised: Some(ballot(5, 1)),
        trimmed_slot: Slot::ZERO,
        highest_voted: Slot::ZERO,
        epoch: None,
    }
}

fn entry_record() -> Record {
    Record::Entry {
        slot: Slot::FIRST,
        ballot: ballot(5, 1),
        first_index: Index::FIRST,
        skipped: vec![],
        delivered_at_ms: 0,
        batch: Batch::noop(),
    }
}
