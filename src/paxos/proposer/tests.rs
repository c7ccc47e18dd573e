//! A proposer at the bench: every message it sends is looked at, every answer is given by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Effect, Input, Peers, Proposer, ProposerConfig, ProposerSettings};
use crate::paxos::acceptor::{AcceptorConfig, Reply, Request};
use crate::paxos::durable::Durable;
use crate::paxos::event::{Event, StepDown};
use crate::paxos::fixture::*;
use crate::paxos::message::{
    Accepted, Handback, Identity, JournalPressure, Outbound, Refusal, Submission, ToAcceptor,
    ToClient, ToLearner, ToProposer, ToWitness, Vote,
};
use crate::paxos::witness::Witness;
use crate::types::{
    AcceptorId, Ballot, Batch, Command, Epoch, EpochDigest, Incarnation, LearnerId, Name, NodeId,
    Slot,
};

const HEARTBEAT: u64 = 50;
const TIMEOUT: u64 = 300;
const RESEND: u64 = 100;
const DRAIN: u64 = 1_000;
const WINDOW: usize = 4;
const BATCH_COMMANDS: usize = 3;
const BATCH_BYTES: usize = 400;
const QUEUE: usize = 10;
const FILL: u64 = 5;
const CLOCK: u64 = 1_000_000;

// Formation.

#[test]
fn the_cluster_is_formed_when_every_acceptor_is_there_and_not_before() {
    let mut lab = Lab::unformed();
    assert_eq!(to_acceptors(&lab.pass(0)), ACCEPTORS.map(|id| (id, ToAcceptor::Identify)));
    assert_eq!(lab.tell(blank(4)), []);
    assert_eq!(lab.tell(blank(5)), []);
    let form = ToAcceptor::Form { epoch: epoch() };
    assert_eq!(to_acceptors(&lab.tell(blank(6))), ACCEPTORS.map(|id| (id, form.clone())));
    lab.tell(joined(4));
    lab.tell(joined(5));
    assert_eq!(lab.proposer.epoch(), None, "an epoch is in force when all of it have it on disk");
    let last = lab.tell(joined(6));
    assert_eq!(events(&last), [Event::EpochKnown { epoch: epoch().digest() }]);
}

#[test]
fn who_is_missing_is_said_once() {
    let mut lab = Lab::unformed();
    lab.tell(blank(4));
    let missing = vec![acceptor(5), acceptor(6)];
    assert_eq!(events(&lab.pass(10 * RESEND)), [Event::FormationWaits { missing }]);
    lab.tell(blank(5));
    let missing = vec![acceptor(6)];
    assert_eq!(events(&lab.pass(10 * RESEND)), [Event::FormationWaits { missing }]);
    assert_eq!(lab.prepared(), None);
}

#[test]
fn a_formation_that_another_proposer_began_is_finished_not_begun_again() {
    let mut lab = Lab::unformed();
    let theirs = Identity { epoch: Some(other_epoch()), ..identity(5) };
    lab.tell(blank(4));
    lab.tell(ToProposer::Identity(theirs));
    let form = ToAcceptor::Form { epoch: other_epoch() };
    assert_eq!(to_acceptors(&lab.tell(blank(6))), [(4, form.clone()), (6, form)]);
}

#[test]
fn one_acceptor_that_has_seen_the_epoch_in_use_is_enough_to_know_it() {
    let mut lab = Lab::unformed();
    lab.tell(active(5));
    assert_eq!(lab.proposer.epoch(), Some(epoch().digest()));
    // But not of another cluster.
    let mut lab = Lab::unformed();
    let foreign = Epoch { cluster: "eleven".to_owned(), ..epoch() };
    let identity = Identity { epoch: Some(foreign), active: true, ..identity(4) };
    lab.tell(ToProposer::Identity(identity));
    assert_eq!(lab.proposer.epoch(), None);
    lab.tell(active(6));
    assert_eq!(lab.proposer.epoch(), Some(epoch().digest()));
}

#[test]
fn an_acceptor_of_another_cluster_founds_nothing_here() {
    let mut lab = Lab::unformed();
    let foreign = Epoch { cluster: "eleven".to_owned(), ..epoch() };
    lab.tell(ToProposer::Identity(Identity { epoch: Some(foreign), ..identity(4) }));
    lab.tell(blank(5));
    let told = lab.tell(blank(6));
    assert_eq!(events(&told), [Event::FormationConflict { acceptor: acceptor(4) }]);
}

#[test]
fn acceptors_formed_apart_are_told_to_a_person_and_never_used() {
    let mut lab = Lab::unformed();
    lab.tell(joined(4));
    lab.tell(blank(5));
    let apart = Identity { epoch: Some(other_epoch()), ..identity(6) };
    let told = lab.tell(ToProposer::Identity(apart.clone()));
    assert_eq!(events(&told), [Event::FormationConflict { acceptor: acceptor(6) }]);
    assert_eq!(events(&lab.tell(ToProposer::Identity(apart))), []);
    assert_eq!(lab.proposer.epoch(), None);
}

#[test]
fn nobody_forms_a_cluster_with_an_acceptor_that_was_not_configured() {
    let mut lab = Lab::unformed();
    for id in [4, 5, 20] {
        assert_eq!(lab.tell(blank(id)), []);
    }
}

#[test]
fn a_stranger_is_told_the_epoch_once_a_connection_and_counts_as_missing() {
    let mut lab = Lab::following();
    let stranger = Identity { storage: empty_directory(6), ..identity(6) };
    let told = lab.tell(ToProposer::Identity(stranger.clone()));
    assert_eq!(to_acceptors(&told), [(6, ToAcceptor::Form { epoch: epoch() })]);
    assert_eq!(events(&told), [Event::NotMember { acceptor: acceptor(6) }]);
    assert_eq!(lab.tell(ToProposer::Identity(stranger.clone())), []);
    assert_eq!(lab.missing(), [6]);
    lab.link_down(6);
    lab.link_up(6);
    assert_eq!(events(&lab.tell(ToProposer::Identity(stranger))).len(), 1);
    lab.tell(active(6));
    assert_eq!(lab.missing(), [0; 0]);
}

// Elections.

#[test]
fn it_asks_before_it_deposes_and_needs_a_quorum_that_hears_no_leader() {
    let mut lab = Lab::following();
    let nonce = lab.asks();
    lab.tell(led(4, nonce, false));
    lab.tell(led(4, nonce, false));
    lab.tell(led(5, nonce, true));
    lab.tell(led(20, nonce, false));
    lab.tell(led(6, nonce - 1, false));
    assert_eq!(lab.prepared(), None);
    lab.tell(led(6, nonce, false));
    assert!(lab.prepared().is_some());
}

#[test]
fn while_a_quorum_hears_a_leader_it_asks_again_and_deposes_nobody() {
    let mut lab = Lab::following();
    for _ in 0..20 {
        let nonce = lab.asks();
        lab.tell(led(4, nonce, true));
        lab.tell(led(5, nonce, true));
        lab.tell(led(6, nonce, false));
        assert_eq!(lab.prepared(), None);
    }
}

#[test]
fn a_follower_is_quiet_while_it_hears_its_leader_and_asks_when_it_does_not() {
    let mut lab = Lab::following();
    for _ in 0..100 {
        lab.tell(ToProposer::Heartbeat { ballot: ballot(5, 2) });
        assert_eq!(lab.pass(HEARTBEAT), []);
    }
    assert_eq!(lab.status().leader, Some(ballot(5, 2)));
    let silence = lab.pass(TIMEOUT * 3 / 2);
    assert!(events(&silence).contains(&Event::Asks));
    assert_eq!(lab.status().leader, None);
}

#[test]
fn a_broken_link_to_the_leader_is_noticed_at_once() {
    let mut lab = Lab::following();
    lab.tell(ToProposer::Heartbeat { ballot: ballot(5, 2) });
    lab.link_down(3);
    assert_eq!(lab.pass(HEARTBEAT / 2), []);
    lab.link_down(2);
    assert_eq!(events(&lab.pass(HEARTBEAT / 2)), [Event::Asks]);
}

#[test]
fn an_old_leader_is_not_followed_again() {
    let mut lab = Lab::following();
    lab.tell(ToProposer::Heartbeat { ballot: ballot(6, 3) });
    assert_eq!(events(&lab.tell(ToProposer::Heartbeat { ballot: ballot(5, 2) })), []);
    assert_eq!(lab.status().leader, Some(ballot(6, 3)));
}

#[test]
fn ballots_rise_with_the_clock_and_above_every_ballot_seen() {
    let mut lab = Lab::following();
    let nonce = lab.asks();
    let asked_at = CLOCK + lab.now;
    lab.unled(nonce);
    assert_eq!(lab.prepared().unwrap().round, asked_at);
    // The clock of another machine runs ahead: one above it, never below, never modulo anything.
    let far = ballot(10 * CLOCK, 2);
    lab.tell(nack(4, lab.prepared().unwrap(), Refusal::Promised(far)));
    let nonce = lab.asks();
    lab.unled(nonce);
    assert_eq!(lab.prepared().unwrap().round, 10 * CLOCK + 1);
}

#[test]
fn two_lives_at_the_same_millisecond_have_two_ballots() {
    let lives = [1, 2].map(|life| {
        let config = ProposerConfig { incarnation: Incarnation(life), ..config(1) };
        let mut lab = Lab::with(config);
        lab.tell(active(4));
        let nonce = lab.asks();
        lab.unled(nonce);
        lab.prepared().unwrap()
    });
    assert_eq!(lives[0].round, lives[1].round);
    assert_ne!(lives[0], lives[1]);
}

#[test]
fn two_that_start_at_the_same_moment_end_with_one_leader() {
    for seed in 0..40 {
        let mut duel = Duel::new(seed);
        duel.run(3_000);
        let leaders: Vec<_> = duel.leaders().collect();
        assert_eq!(leaders.len(), 1, "seed {seed}");
        // And it stays: nobody is deposed who is heard.
        duel.run(3_000);
        assert_eq!(duel.leaders().collect::<Vec<_>>(), leaders, "seed {seed}");
    }
}

#[test]
fn two_that_collided_wait_each_a_time_of_its_own() {
    let waits: BTreeSet<u64> = (0..20)
        .map(|seed| {
            let mut lab = Lab::seeded(config(1), [seed; 32]);
            lab.tell(active(4));
            let nonce = lab.asks();
            lab.unled(nonce);
            let ballot = ballot(2 * CLOCK, 2);
            lab.tell(nack(4, lab.prepared().unwrap(), Refusal::Promised(ballot)));
            let collided = lab.now;
            lab.asks();
            lab.now - collided
        })
        .collect();
    assert!(waits.len() > 10, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= TIMEOUT / 2 + 1), "{waits:?}");
}

#[test]
fn a_successor_prepares_at_once_without_asking() {
    let mut lab = Lab::following();
    lab.tell(ToProposer::Heartbeat { ballot: ballot(5, 2) });
    let told = lab.tell(ToProposer::Resign { ballot: ballot(5, 2) });
    assert!(matches!(events(&told)[..], [Event::Prepares { .. }]));
    assert!(lab.prepared().unwrap() > ballot(5, 2));
}

// Phase 1.

#[test]
fn a_quorum_of_promises_counts_each_acceptor_of_the_epoch_once() {
    let mut lab = Lab::preparing();
    lab.tell(lab.promise(4, &[]));
    lab.tell(lab.promise(4, &[]));
    lab.tell(lab.promise(20, &[]));
    assert!(!lab.status().is_leader);
    lab.tell_under(other_epoch().digest(), lab.promise(5, &[]));
    assert!(!lab.status().is_leader);
    lab.tell(lab.promise(5, &[]));
    assert!(lab.status().is_leader);
}

#[test]
fn a_promise_counts_with_its_last_page() {
    let mut lab = Lab::preparing();
    let ballot = lab.prepared().unwrap();
    lab.tell(lab.promise(4, &[]));
    let first = page(5, ballot, 1, &[(1, ballot_of_old(), "a")], Some(2));
    let more = lab.tell(first.clone());
    assert_eq!(to_acceptors(&more), [(5, ToAcceptor::Prepare { ballot, from_slot: slot(2) })]);
    assert_eq!(lab.tell(first), [], "a page sent twice is one page");
    assert!(!lab.status().is_leader);
    lab.tell(page(5, ballot, 2, &[(2, ballot_of_old(), "b")], None));
    assert_eq!(lab.proposals(), [(1, batch("a")), (2, batch("b"))]);
}

#[test]
fn the_value_rule() {
    let mut lab = Lab::preparing();
    let (low, high) = (ballot(5, 1), ballot(6, 2));
    // 1 was accepted twice: the higher ballot wins. 2 by nobody: a no-op. 3 by a quorum at one
    // ballot: it is chosen already. 4 by a quorum, but at two ballots: it is not.
    let promise = lab.promise(4, &[(1, low, "lower"), (3, low, "chosen"), (4, low, "lower")]);
    lab.tell(promise);
    let promise = lab.promise(5, &[(1, high, "higher"), (3, low, "chosen"), (4, high, "higher")]);
    lab.tell(promise);
    assert_eq!(lab.proposals(), [(1, batch("higher")), (2, Batch::noop()), (4, batch("higher"))]);
    lab.submit(1, &[write(1, 1, &["new"])]);
    assert_eq!(lab.proposals().last(), Some(&(5, Batch::of(&[write(1, 1, &["new"])]))));
}

#[test]
fn the_value_rule_does_not_depend_on_who_answers_first() {
    let (low, high) = (ballot(5, 1), ballot(6, 2));
    for order in [[4, 5], [5, 4]] {
        let mut lab = Lab::preparing();
        for id in order {
            let vote = if id == 4 { (1, high, "higher") } else { (1, low, "lower") };
            lab.tell(lab.promise(id, &[vote]));
        }
        assert_eq!(lab.proposals(), [(1, batch("higher"))]);
    }
}

#[test]
fn nothing_is_proposed_at_or_below_the_largest_trimmed_slot() {
    let mut lab = Lab::preparing();
    let ballot = lab.prepared().unwrap();
    lab.tell(lab.promise(4, &[(3, ballot_of_old(), "c"), (8, ballot_of_old(), "h")]));
    lab.tell(trimmed_promise(5, ballot, 6));
    assert_eq!(lab.proposals(), [(7, Batch::noop()), (8, batch("h"))]);
}

#[test]
fn a_late_promise_for_an_abandoned_ballot_changes_nothing() {
    let mut lab = Lab::preparing();
    let late = [4, 5].map(|id| lab.promise(id, &[]));
    lab.tell(nack(6, lab.prepared().unwrap(), Refusal::Promised(ballot(2 * CLOCK, 2))));
    let nonce = lab.asks();
    lab.unled(nonce);
    for promise in late {
        assert_eq!(lab.tell(promise), []);
    }
    assert!(!lab.status().is_leader);
}

#[test]
fn one_refused_in_phase_1_lets_the_other_go_first() {
    let mut lab = Lab::preparing();
    let refused =
        lab.tell(nack(4, lab.prepared().unwrap(), Refusal::Promised(ballot(2 * CLOCK, 2))));
    assert_eq!(to_acceptors(&refused), []);
    assert!(!lab.status().in_election);
    lab.tell(ToProposer::Heartbeat { ballot: ballot(2 * CLOCK, 2) });
    assert_eq!(events(&lab.pass(TIMEOUT)), []);
}

#[test]
fn a_prepare_is_sent_again_to_those_who_owe_an_answer_and_given_up_in_the_end() {
    let mut lab = Lab::preparing();
    let ballot = lab.prepared().unwrap();
    lab.tell(lab.promise(4, &[]));
    let prepare = ToAcceptor::Prepare { ballot, from_slot: slot(1) };
    assert_eq!(to_acceptors(&lab.pass(RESEND)), [(5, prepare.clone()), (6, prepare.clone())]);
    assert_eq!(to_acceptors(&lab.link_up(6)), [(6, ToAcceptor::Identify), (6, prepare)]);
    lab.pass(6 * TIMEOUT);
    assert!(events(&lab.seen).contains(&Event::Asks), "it starts over with a question");
}

#[test]
fn phase_1_begins_behind_what_a_learner_has_delivered() {
    let mut lab = Lab::following();
    lab.tell(ToProposer::Delivered { learner: learner(7), slot: slot(40) });
    let nonce = lab.asks();
    let prepares = lab.unled(nonce);
    let ballot = lab.prepared().unwrap();
    assert_eq!(events(&prepares), [Event::Prepares { ballot, from_slot: slot(41) }]);
}

// Phase 2.

#[test]
fn one_learner_counts_the_votes_and_the_others_hear_what_is_chosen() {
    let mut lab = Lab::leading();
    let batch = Batch::of(&[write(1, 1, &["a"])]);
    let sent = lab.submit(1, &[write(1, 1, &["a"])]);
    let (ballot, slot) = (lab.ballot(), slot(1));
    let accept = ToAcceptor::Accept {
        ballot,
        slot,
        first_unchosen: slot,
        learner: Some(learner(7)),
        batch: batch.clone(),
    };
    assert_eq!(to_acceptors(&sent), ACCEPTORS.map(|id| (id, accept.clone())));
    let value = Accepted { slot, ballot, batch };
    assert_eq!(to_learners(&sent), [(7, ToLearner::Proposed(value.clone()))]);
    let first = lab.tell(ToProposer::Vote(lab.vote(4, 1)));
    assert_eq!(to_learners(&first), []);
    let second = lab.tell(ToProposer::Vote(lab.vote(6, 1)));
    assert_eq!(to_learners(&second), [(8, ToLearner::Chosen(value))]);
}

#[test]
fn a_learner_that_has_joined_does_not_count_before_those_of_the_epoch() {
    let mut lab = Lab::leading();
    let with = |ids: &[u64]| {
        let learners = ids.iter().copied().map(learner).collect();
        Input::Peers(Peers { learners, ..Peers::default() })
    };
    let named = |sent: &[Effect]| -> BTreeSet<_> {
        to_acceptors(sent).iter().map(|(_, accept)| counting(accept)).collect()
    };
    lab.step(Input::LinkUp(node(2)));
    lab.step(with(&[2, 7, 8]));
    let sent = lab.submit(1, &[write(1, 1, &["a"])]);
    assert_eq!(named(&sent), [Some(learner(7))].into());
    // Where none of them is left it does.
    lab.step(with(&[2]));
    lab.choose(1);
    let sent = lab.submit(2, &[write(1, 2, &["b"])]);
    assert_eq!(named(&sent), [Some(learner(2))].into());
}

#[test]
fn while_a_learner_is_out_of_reach_all_count() {
    let mut lab = Lab::leading();
    lab.link_down(8);
    let sent = lab.submit(1, &[write(1, 1, &["a"])]);
    assert!(to_acceptors(&sent).into_iter().all(|(_, it)| counting(&it).is_none()));
    assert_eq!(to_learners(&sent).len(), LEARNERS.len());
    assert_eq!(to_learners(&lab.choose(1)), []);
}

/// Acceptors beyond a quorum may be told so much later.
const SPARE_DELAY: u64 = 5;

/// It leads, was promised by 4 and 5, and lets 6 wait. A command may be large.
fn thrifty() -> Lab {
    let mut lab = Lab::leading();
    lab.step(Input::Settings(ProposerSettings {
        spare_delay: Duration::from_millis(SPARE_DELAY),
        queue_bytes_max: 1 << 20,
        ..config(1).settings
    }));
    lab
}

#[test]
fn a_spare_is_told_a_little_later_of_all_that_it_is_owed_even_if_it_is_chosen() {
    let mut lab = thrifty();
    assert_eq!(accepts(&lab.submit(1, &[write(1, 1, &["a"])])), [(4, 1), (5, 1)]);
    lab.choose(1);
    lab.pass(SPARE_DELAY - 1);
    assert_eq!(accepts(&lab.submit(2, &[write(1, 2, &["a"])])), [(4, 2), (5, 2)]);
    assert_eq!(accepts(&lab.pass(1)), [(6, 1), (6, 2)]);
    assert_eq!(accepts(&lab.pass(2 * SPARE_DELAY)), []);
}

#[test]
fn a_spare_is_told_at_once_when_it_is_owed_much() {
    let mut lab = thrifty();
    for number in 1..64 {
        let sent = lab.submit(number, &[write(1, number, &["a"])]);
        assert!(accepts(&sent).iter().all(|&(to, _)| to != 6));
        lab.choose(number);
    }
    let last = accepts(&lab.submit(64, &[write(1, 64, &["a"])]));
    assert_eq!(last.iter().filter(|&&(to, _)| to == 6).count(), 64);
    let large = write(1, 65, &["a".repeat(64 << 10).as_str()]);
    assert_eq!(accepts(&lab.submit(65, &[large])), [(4, 65), (5, 65), (6, 65)]);
}

#[test]
fn a_spare_takes_the_place_of_one_that_cannot_be_reached() {
    let mut lab = thrifty();
    lab.submit(1, &[write(1, 1, &["a"])]);
    assert_eq!(accepts(&lab.step(Input::LinkDown(node(5)))), [(6, 1)]);
    let next = accepts(&lab.submit(2, &[write(1, 2, &["a"])]));
    assert_eq!(next, [(4, 2), (6, 2)]);
    // With fewer than a quorum in reach there is nobody to spare.
    lab.link_down(4);
    lab.pass(SPARE_DELAY);
    let next = accepts(&lab.submit(3, &[write(1, 3, &["a"])]));
    assert_eq!(next, [(4, 3), (5, 3), (6, 3)]);
}

#[test]
fn a_spare_that_a_slot_had_to_wait_for_takes_the_place_of_who_was_slow() {
    let mut lab = thrifty();
    lab.submit(1, &[write(1, 1, &["a"])]);
    lab.submit(2, &[write(1, 2, &["a"])]);
    lab.pass(SPARE_DELAY);
    lab.submit(3, &[write(1, 3, &["a"])]);
    lab.pass(1);
    lab.tell(ToProposer::Vote(lab.vote(4, 1)));
    // What it is owed comes with its new place.
    let chosen = lab.tell(ToProposer::Vote(lab.vote(6, 1)));
    assert_eq!(accepts(&chosen), [(6, 3)]);
    assert_eq!(accepts(&lab.submit(4, &[write(1, 4, &["a"])])), [(4, 4), (6, 4)]);
    assert_eq!(accepts(&lab.pass(SPARE_DELAY)), [(5, 4)]);
}

#[test]
fn a_spare_that_is_told_with_older_slots_and_votes_first_stays_a_spare() {
    let mut lab = thrifty();
    lab.submit(1, &[write(1, 1, &["a"])]);
    lab.choose(1);
    lab.pass(SPARE_DELAY - 1);
    lab.submit(2, &[write(1, 2, &["a"])]);
    assert_eq!(accepts(&lab.pass(1)), [(6, 1), (6, 2)]);
    lab.tell(ToProposer::Vote(lab.vote(4, 2)));
    lab.tell(ToProposer::Vote(lab.vote(6, 2)));
    assert_eq!(lab.status().first_unchosen, slot(3));
    assert_eq!(accepts(&lab.submit(3, &[write(1, 3, &["a"])])), [(4, 3), (5, 3)]);
}

#[test]
fn a_silent_one_in_front_is_found_out_even_where_spares_are_told_early() {
    let mut lab = thrifty();
    let large = "a".repeat(64 << 10);
    for number in 1..=2 * SPARE_DELAY {
        let sent = lab.submit(number, &[write(1, number, &[large.as_str()])]);
        assert_eq!(accepts(&sent).len(), ACCEPTORS.len());
        lab.tell(ToProposer::Vote(lab.vote(4, number)));
        lab.tell(ToProposer::Vote(lab.vote(6, number)));
        lab.pass(1);
    }
    let number = 2 * SPARE_DELAY + 1;
    let sent = lab.submit(number, &[write(1, number, &["a"])]);
    assert_eq!(accepts(&sent), [(4, number), (6, number)]);
}

#[test]
fn what_spares_are_owed_is_sent_when_nobody_is_to_wait_any_more() {
    let mut lab = thrifty();
    lab.submit(1, &[write(1, 1, &["a"])]);
    assert_eq!(accepts(&lab.step(Input::Settings(config(1).settings))), [(6, 1)]);
    assert_eq!(accepts(&lab.submit(2, &[write(1, 2, &["a"])])), [(4, 2), (5, 2), (6, 2)]);
    // Nothing is owed for the second.
    assert_eq!(accepts(&lab.pass(2 * SPARE_DELAY)), []);
}

#[test]
fn a_leader_that_is_about_to_leave_lets_nobody_wait() {
    let mut lab = thrifty();
    lab.submit(1, &[write(1, 1, &["a"])]);
    assert_eq!(accepts(&lab.step(Input::Leave)), [(6, 1)]);
    assert_eq!(lab.status().in_flight, 1);
}

#[test]
fn a_spare_waits_no_longer_than_a_heartbeat() {
    let mut lab = Lab::leading();
    let spare_delay = Duration::from_secs(1);
    lab.step(Input::Settings(ProposerSettings { spare_delay, ..config(1).settings }));
    lab.submit(1, &[write(1, 1, &["a"])]);
    assert_eq!(accepts(&lab.pass(HEARTBEAT)), [(6, 1)]);
}

#[test]
fn a_leader_that_leaves_owes_nothing() {
    let mut lab = thrifty();
    lab.submit(1, &[write(1, 1, &["a"])]);
    lab.choose(1);
    assert_eq!(accepts(&lab.step(Input::Leave)), [(6, 1)]);
}

#[test]
fn a_slot_is_chosen_by_votes_of_distinct_acceptors_for_this_ballot_and_value() {
    let mut lab = Lab::leading();
    lab.submit(1, &[write(1, 1, &["a"])]);
    let right = lab.vote(4, 1);
    lab.tell(ToProposer::Vote(right));
    lab.tell(ToProposer::Vote(right));
    let digest = batch("another").digest();
    lab.tell(ToProposer::Vote(Vote { acceptor: acceptor(5), digest, ..right }));
    let ballot = ballot(5, 1);
    lab.tell(ToProposer::Vote(Vote { acceptor: acceptor(5), ballot, ..right }));
    lab.tell(ToProposer::Vote(Vote { acceptor: acceptor(20), ..right }));
    lab.tell_under(
        other_epoch().digest(),
        ToProposer::Vote(Vote { acceptor: acceptor(5), ..right }),
    );
    assert_eq!((lab.status().in_flight, lab.status().first_unchosen), (1, slot(1)));
    let chosen = lab.tell(ToProposer::Vote(lab.vote(5, 1)));
    assert_eq!(events(&chosen), [Event::Chosen { ballot: lab.ballot(), slot: slot(1) }]);
    assert_eq!((lab.status().in_flight, lab.status().first_unchosen), (0, slot(2)));
}

#[test]
fn one_unreachable_acceptor_costs_nothing() {
    let mut lab = Lab::leading();
    lab.link_down(6);
    for number in 1..=20 {
        lab.submit(number, &[write(1, number, &["a"])]);
        lab.choose(number);
    }
    assert_eq!(lab.status().first_unchosen, slot(21));
}

#[test]
fn what_arrives_while_the_window_is_full_is_the_next_batch() {
    let mut lab = Lab::leading();
    for number in 1..=5 {
        lab.submit(number, &[write(1, number, &["a"])]);
    }
    lab.submit(6, &[write(1, 6, &["a"])]);
    assert_eq!((lab.proposals().len(), lab.status().queued), (WINDOW, 2));
    lab.choose(3);
    let both = Batch::of(&[write(1, 5, &["a"]), write(1, 6, &["a"])]);
    assert_eq!(lab.proposals().last(), Some(&(5, both)));
}

#[test]
fn what_is_too_little_for_a_slot_beside_those_in_flight_is_the_next_batch() {
    let mut lab = Lab::leading();
    let first = write(1, 1, &["a"]);
    let bytes = first.to_bytes().len();
    let settings = ProposerSettings { batch_bytes_min: bytes + 1, ..config(1).settings };
    lab.step(Input::Settings(settings));
    // Nothing is in flight: at once.
    lab.submit(1, std::slice::from_ref(&first));
    assert_eq!(lab.status().in_flight, 1);
    lab.submit(2, &[write(1, 2, &["a"])]);
    assert_eq!((lab.status().in_flight, lab.status().queued), (1, 1));
    // Enough for a second slot, but not for a third.
    lab.submit(3, &[write(1, 3, &["a"])]);
    lab.submit(4, &[write(1, 4, &["a"]), write(1, 5, &["a"])]);
    assert_eq!((lab.status().in_flight, lab.status().queued), (2, 2));
    // One is left in flight, and for one beside it there is enough.
    lab.choose(1);
    assert_eq!((lab.status().in_flight, lab.status().queued), (2, 0));
}

#[test]
fn a_whole_batch_is_worth_a_slot_however_few_its_bytes() {
    let mut lab = Lab::leading();
    let settings = ProposerSettings { batch_bytes_min: 1 << 20, ..config(1).settings };
    // Bytes that no batch holds are not waited for.
    assert!(settings.batch_bytes_min > BATCH_BYTES);
    lab.step(Input::Settings(settings));
    lab.submit(1, &[write(1, 1, &["a"])]);
    let batch: Vec<_> = (2..).take(BATCH_COMMANDS).map(|it| write(1, it, &["a"])).collect();
    let (last, others) = batch.split_last().unwrap();
    lab.submit(2, others);
    assert_eq!(lab.status().in_flight, 1);
    lab.submit(3, std::slice::from_ref(last));
    assert_eq!((lab.status().in_flight, lab.status().queued), (2, 0));
}

#[test]
fn one_round_of_inputs_becomes_one_batch_up_to_its_limits() {
    let mut lab = Lab::leading();
    let five: Vec<_> = (1..=5).map(|number| write(1, number, &["a"])).collect();
    lab.submit(1, &five);
    let (three, two) = five.split_at(BATCH_COMMANDS);
    assert_eq!(lab.proposals(), [(1, Batch::of(three)), (2, Batch::of(two))]);
}

#[test]
fn a_batch_ends_where_its_bytes_would_exceed_the_limit_and_one_command_always_fits() {
    let mut lab = Lab::leading();
    let huge = "x".repeat(2 * BATCH_BYTES);
    let half = "x".repeat(BATCH_BYTES / 2);
    let commands = [write(1, 1, &[&huge]), write(1, 2, &[&half]), write(1, 3, &[&half])];
    lab.submit(1, &commands);
    let each = commands.map(|command| Batch::of(&[command]));
    assert_eq!(lab.proposals().into_iter().map(|it| it.1).collect::<Vec<_>>(), each);
}

#[test]
fn a_full_queue_is_said_and_names_what_did_not_fit() {
    let mut lab = Lab::leading();
    lab.fill_window();
    let many: Vec<_> = (100..112).map(|number| write(1, number, &["a"])).collect();
    let told = lab.submit(50, &many);
    let names = vec![name(1, 110), name(1, 111)];
    assert_eq!(to_client(&told), [refused(50, names, Handback::Busy)]);
    assert_eq!(lab.status().queued, QUEUE);
}

#[test]
fn a_retry_is_not_proposed_beside_its_first() {
    let mut lab = Lab::leading();
    lab.fill_window();
    lab.submit(50, &[write(1, 50, &["waits"])]);
    assert_eq!(lab.submit(51, &[write(1, 1, &["a"]), write(1, 50, &["waits"])]), []);
    assert_eq!(lab.status().queued, 1);
    // Nor before a learner has delivered it: the learners would only fall further behind.
    lab.choose(1);
    lab.choose(2);
    let before = lab.proposals().len();
    lab.submit(52, &[write(1, 1, &["a"])]);
    assert_eq!(lab.proposals().len(), before);
    // From then on a name may come again: the learners know it.
    lab.tell(ToProposer::Delivered { learner: learner(7), slot: slot(1) });
    lab.submit(53, &[write(1, 1, &["a"])]);
    assert_eq!(lab.proposals().last(), Some(&(6, Batch::of(&[write(1, 1, &["a"])]))));
}

#[test]
fn no_message_of_a_gateway_is_taken_twice() {
    let mut lab = Lab::leading();
    lab.submit(7, &[write(1, 1, &["a"])]);
    lab.choose(1);
    assert_eq!(lab.submit(7, &[write(1, 1, &["a"])]), []);
    assert_eq!(lab.submit(6, &[write(1, 2, &["b"])]), []);
    // Another life of the gateway counts anew.
    lab.submit(1, &[open(2)]);
    assert_eq!(lab.proposals().last(), Some(&(2, Batch::of(&[open(2)]))));
}

#[test]
fn a_gateway_that_knows_no_epoch_yet_is_served_and_one_of_another_epoch_is_not() {
    let mut lab = Lab::leading();
    let submit = submission(1, &[write(1, 1, &["a"])]);
    lab.tell_under(other_epoch().digest(), submit.clone());
    assert_eq!(lab.proposals(), []);
    let received = Input::Received { from: node(GATEWAY), epoch: None, message: submit };
    lab.step(received);
    assert_eq!(lab.proposals().len(), 1);
}

#[test]
fn a_value_that_reads_like_an_order_is_a_value() {
    let mut lab = Lab::leading();
    lab.submit(1, &[write(1, 1, &["\"leader:2\""])]);
    lab.choose(1);
    assert!(lab.status().is_leader);
    assert_eq!(lab.status().leader, Some(lab.ballot()));
}

#[test]
fn an_accept_is_sent_again_to_those_who_have_not_voted() {
    let mut lab = Lab::leading();
    lab.submit(1, &[write(1, 1, &["a"])]);
    lab.tell(ToProposer::Vote(lab.vote(5, 1)));
    let again = lab.pass(RESEND + HEARTBEAT);
    assert_eq!(to_acceptors(&again).into_iter().map(|it| it.0).collect::<Vec<_>>(), [4, 6]);
    let link_up: Vec<_> = to_acceptors(&lab.link_up(6));
    assert!(matches!(link_up[..], [(6, ToAcceptor::Identify), (6, ToAcceptor::Accept { .. })]));
    assert!(matches!(to_acceptors(&lab.link_up(5))[..], [(5, ToAcceptor::Identify)]));
}

#[test]
fn slow_disks_get_ever_fewer_copies_of_what_they_have_to_write() {
    let mut lab = Lab::leading();
    lab.submit(1, &[write(1, 1, &["a"])]);
    let mut copies = 0;
    for _ in 0..40 {
        copies += to_acceptors(&lab.pass(HEARTBEAT)).len();
        for id in ACCEPTORS {
            let pressure = JournalPressure::default();
            let (acceptor, ballot) = (acceptor(id), lab.ballot());
            lab.tell(ToProposer::HeartbeatAck { acceptor, ballot, pressure });
        }
    }
    // After 100, 300, 700 and 1500 ms, and not every 100.
    assert_eq!(copies, 4 * ACCEPTORS.len());
}

#[test]
fn what_one_learner_has_delivered_is_still_brought_to_a_quorum() {
    let mut lab = Lab::leading();
    lab.fill_window();
    lab.submit(50, &[write(1, 50, &["waits"])]);
    // That learner may be gone when another asks, and its votes lie at different ballots.
    let told = lab.tell(ToProposer::Delivered { learner: learner(7), slot: slot(3) });
    assert!(!events(&told).iter().any(|it| matches!(it, Event::Proposed { .. })));
    assert_eq!(lab.status().first_unchosen, slot(1));
    lab.choose(1);
    assert_eq!(lab.status().first_unchosen, slot(2));
}

#[test]
fn a_slot_that_an_acceptor_has_trimmed_is_settled() {
    let mut lab = Lab::leading();
    lab.fill_window();
    lab.tell(nack_slot(4, lab.ballot(), 2, Refusal::Trimmed(slot(2))));
    assert_eq!(lab.status().first_unchosen, slot(3));
    assert!(lab.status().is_leader);
}

#[test]
fn a_leader_says_that_it_lives_to_everyone() {
    let mut lab = Lab::leading();
    let beat = lab.pass(HEARTBEAT);
    let ballot = lab.ballot();
    let mut expected = BTreeSet::new();
    for effect in &beat {
        let Effect::Send(outbound) = effect else { continue };
        let (to, _) = outbound.clone().into_parts();
        expected.insert(u64::from(to.get()));
        let is_heartbeat = match outbound {
            Outbound::Witness(_, message) => *message == ToWitness::Heartbeat { ballot },
            Outbound::Proposer(_, message) => *message == ToProposer::Heartbeat { ballot },
            Outbound::Client(_, message) => *message == ToClient::Leading { ballot },
            Outbound::Learner(_, message) => {
                *message == ToLearner::Heartbeat { ballot, first_unchosen: slot(1) }
            }
            Outbound::Acceptor(..) => false,
        };
        assert!(is_heartbeat, "{outbound:?}");
    }
    assert_eq!(expected, (2..=9).collect());
}

// Losing the lead.

#[test]
fn a_deposed_leader_tries_at_once_above_and_tells_what_may_be_chosen_yet() {
    let mut lab = Lab::leading();
    lab.fill_window();
    lab.submit(50, &[write(1, 50, &["waits"])]);
    let former = lab.ballot();
    let by = ballot(2 * CLOCK, 2);
    let told = lab.tell(nack_slot(4, former, 1, Refusal::Promised(by)));
    let cause = StepDown::Deposed(by);
    assert!(events(&told).contains(&Event::SteppedDown { ballot: former, cause }));
    assert!(lab.prepared().unwrap() > by);
    // What was proposed may be chosen yet; what waited still waits.
    let told = to_client(&told);
    assert_eq!(told.len(), WINDOW);
    for message in told {
        assert!(matches!(message, ToClient::Abandoned { .. }), "{message:?}");
    }
    assert_eq!(lab.status().queued, 1);
}

#[test]
fn one_deposed_twice_in_a_row_has_met_a_rival_and_waits() {
    let mut lab = Lab::leading();
    lab.tell(nack_slot(4, lab.ballot(), 1, Refusal::Promised(ballot(2 * CLOCK, 2))));
    lab.promised();
    let again = lab.tell(nack_slot(4, lab.ballot(), 1, Refusal::Promised(ballot(3 * CLOCK, 2))));
    assert!(!lab.status().is_leader && !lab.status().in_election);
    assert_eq!(to_acceptors(&again), []);
}

#[test]
fn a_leader_that_hears_of_a_higher_one_hands_back_all_it_has() {
    let mut lab = Lab::leading();
    lab.fill_window();
    lab.submit(50, &[write(1, 50, &["waits"])]);
    let told = lab.tell(ToProposer::Heartbeat { ballot: ballot(2 * CLOCK, 2) });
    let reason = Handback::NotLeader { leader: Some(proposer(2)) };
    let mut expected: Vec<_> =
        (1..=4).map(|number| abandoned(number, vec![name(1, number)], reason.clone())).collect();
    expected.push(refused(50, vec![name(1, 50)], reason.clone()));
    assert_eq!(to_client(&told), expected);
    let told = lab.submit(51, &[write(1, 51, &["late"])]);
    assert_eq!(to_client(&told), [refused(51, vec![name(1, 51)], reason)]);
}

#[test]
fn a_leader_ignores_a_lower_heartbeat_and_the_refusal_of_another_ballot() {
    let mut lab = Lab::leading();
    lab.tell(ToProposer::Heartbeat { ballot: ballot(5, 2) });
    lab.tell(nack_slot(4, ballot(6, 1), 1, Refusal::Promised(ballot(7, 2))));
    assert!(lab.status().is_leader);
}

#[test]
fn a_leader_that_no_quorum_answers_steps_down_and_names_the_missing() {
    let mut lab = Lab::leading();
    lab.submit(1, &[write(1, 1, &["a"])]);
    for _ in 0..40 {
        lab.pass(HEARTBEAT);
        lab.tell(heartbeat_ack(4, lab.ballot(), JournalPressure::default()));
    }
    assert!(!lab.status().is_leader);
    let ballot = lab.ballot();
    let cause = StepDown::NoQuorum;
    assert!(events(&lab.seen).contains(&Event::SteppedDown { ballot, cause }));
    let told = lab.submit(2, &[write(1, 2, &["b"])]);
    let missing = [acceptor(5), acceptor(6)].into();
    let reason = Handback::NoQuorum { need: 2, have: 1, missing };
    assert_eq!(to_client(&told), [refused(2, vec![name(1, 2)], reason)]);
}

#[test]
fn a_leader_asks_a_silent_acceptor_who_it_is_until_it_answers() {
    let mut lab = Lab::leading();
    let before = lab.seen.len();
    for _ in 0..20 {
        lab.pass(HEARTBEAT);
        for id in [4, 5] {
            lab.tell(heartbeat_ack(id, lab.ballot(), JournalPressure::default()));
        }
    }
    let asked = to_acceptors(&lab.seen[before..]);
    assert!(asked.len() > 1, "asked once, and that may be lost");
    assert!(asked.iter().all(|it| *it == (6, ToAcceptor::Identify)), "{asked:?}");
}

#[test]
fn a_leader_stays_while_a_quorum_answers() {
    let mut lab = Lab::leading();
    for _ in 0..40 {
        lab.pass(HEARTBEAT);
        for id in [4, 6] {
            lab.tell(heartbeat_ack(id, lab.ballot(), JournalPressure::default()));
        }
    }
    assert!(lab.status().is_leader);
}

// Leaving.

#[test]
fn an_idle_leader_that_leaves_resigns_to_the_witnesses_and_one_successor() {
    let mut lab = Lab::leading();
    lab.link_down(2);
    let ballot = lab.ballot();
    let told = lab.step(Input::Leave);
    let mut expected: Vec<_> = ACCEPTORS
        .map(|id| Effect::Send(Outbound::Witness(acceptor(id), ToWitness::Resign { ballot })))
        .into();
    // Proposer 2 cannot be reached.
    let resign = ToProposer::Resign { ballot };
    expected.push(Effect::Send(Outbound::Proposer(proposer(3), resign)));
    expected.push(Effect::Event(Event::SteppedDown { ballot, cause: StepDown::Resigned }));
    expected.push(Effect::Left);
    assert_eq!(told, expected);
    assert_eq!(lab.proposer.deadline(), None);
}

#[test]
fn a_busy_leader_finishes_what_it_has_and_takes_nothing_new() {
    let mut lab = Lab::leading();
    lab.fill_window();
    lab.submit(50, &[write(1, 50, &["waits"])]);
    assert_eq!(lab.step(Input::Leave), []);
    let told = lab.submit(51, &[write(1, 51, &["late"])]);
    let reason = Handback::NotLeader { leader: None };
    assert_eq!(to_client(&told), [refused(51, vec![name(1, 51)], reason)]);
    for number in 1..=4 {
        lab.choose(number);
    }
    assert!(!lab.seen.contains(&Effect::Left));
    let last = lab.choose(5);
    assert_eq!(last.last(), Some(&Effect::Left));
    assert!(!to_client(&lab.seen).iter().any(|it| matches!(it, ToClient::Abandoned { .. })));
}

#[test]
fn a_leader_drains_for_a_bounded_time() {
    let mut lab = Lab::leading();
    lab.fill_window();
    lab.submit(50, &[write(1, 50, &["waits"])]);
    lab.step(Input::Leave);
    for _ in 0..DRAIN / HEARTBEAT {
        for id in ACCEPTORS {
            lab.tell(heartbeat_ack(id, lab.ballot(), JournalPressure::default()));
        }
        lab.pass(HEARTBEAT);
    }
    assert_eq!(lab.seen.last(), Some(&Effect::Left));
    let told = to_client(&lab.seen);
    let abandoned = told.iter().filter(|it| matches!(it, ToClient::Abandoned { .. })).count();
    assert_eq!(abandoned, WINDOW);
    assert!(matches!(told.last(), Some(ToClient::Refused { number: 50, .. })));
}

#[test]
fn who_does_not_lead_leaves_at_once() {
    let mut lab = Lab::following();
    assert_eq!(lab.step(Input::Leave), [Effect::Left]);
    assert_eq!(lab.pass(10 * TIMEOUT), []);
}

#[test]
fn a_leader_that_is_deposed_while_it_leaves_has_left() {
    let mut lab = Lab::leading();
    lab.fill_window();
    assert_eq!(lab.step(Input::Leave), []);
    let higher = Ballot { round: lab.ballot().round + 1, ..ballot(5, 2) };
    let told = lab.tell(nack_slot(4, lab.ballot(), 1, Refusal::Promised(higher)));
    assert!(told.contains(&Effect::Left));
    assert_eq!(lab.pass(10 * TIMEOUT), []);
}

// What learners cannot tell.

#[test]
fn a_slot_whose_voters_are_gone_is_settled_again() {
    let mut lab = Lab::leading();
    lab.submit(1, &[write(1, 1, &["a"])]);
    lab.choose(1);
    lab.submit(2, &[write(1, 2, &["b"])]);
    // No learner saw the votes for slot 1, and a voter's directory is lost.
    let told = lab.tell(ToProposer::Fill { from_slot: slot(1), through: slot(2) });
    let ballot = lab.prepared().unwrap();
    assert!(events(&told).contains(&Event::Prepares { ballot, from_slot: slot(1) }));
}

#[test]
fn what_must_be_settled_is_not_forgotten_when_a_rival_interferes() {
    let mut lab = Lab::following();
    lab.tell(ToProposer::Delivered { learner: learner(7), slot: slot(13) });
    lab.promised();
    lab.tell(ToProposer::Fill { from_slot: slot(12), through: slot(13) });
    let higher = Ballot { round: lab.ballot().round + 1, ..ballot(5, 2) };
    lab.tell(nack(4, lab.ballot(), Refusal::Promised(higher)));
    assert!(!lab.status().in_election);
    let nonce = lab.asks();
    lab.unled(nonce);
    assert_eq!(lab.prepares().map(|(_, from_slot)| from_slot), Some(slot(12)));
}

// Phase 1 in many pages.

#[test]
fn phase_1_lasts_as_long_as_pages_come_and_the_acceptors_hear_of_it() {
    let mut lab = Lab::preparing();
    let ballot = lab.ballot();
    for number in 1..=50 {
        let before = lab.seen.len();
        lab.tell(page(4, ballot, number, &[(number, ballot_of_old(), "x")], Some(number + 1)));
        let heartbeat = Outbound::Witness(acceptor(4), ToWitness::Heartbeat { ballot });
        assert!(lab.seen[before..].contains(&Effect::Send(heartbeat)));
        lab.pass(TIMEOUT / 2);
    }
    assert!(lab.status().in_election);
    assert_eq!(lab.ballot(), ballot);
    // Then silence: it gives up, and asks before it tries again.
    assert!(events(&lab.pass(6 * TIMEOUT)).contains(&Event::Asks));
}

#[test]
fn slots_beyond_the_last_proposal_are_closed_with_no_ops_a_few_at_a_time() {
    let mut lab = Lab::leading();
    lab.tell(ToProposer::Fill { from_slot: slot(1), through: slot(3) });
    assert_eq!(lab.proposals(), [1, 2, 3].map(|number| (number, Batch::noop())));
    lab.tell(ToProposer::Fill { from_slot: slot(1), through: slot(1_000_000_000_000_000) });
    let status = lab.status();
    assert_eq!(status.in_flight, 3 + usize::try_from(FILL).unwrap());
}

#[test]
fn a_slot_below_its_first_is_settled_by_another_phase_1_once_a_timeout() {
    let mut lab = Lab::following();
    lab.tell(ToProposer::Delivered { learner: learner(7), slot: slot(13) });
    lab.promised();
    let former = lab.ballot();
    // Learner 8 never got slot 12, and the acceptors' votes do not tell.
    let fill = ToProposer::Fill { from_slot: slot(12), through: slot(13) };
    let told = lab.tell(fill.clone());
    let cause = StepDown::Fill;
    let ballot = lab.prepared().unwrap();
    let prepares = Event::Prepares { ballot, from_slot: slot(12) };
    assert_eq!(events(&told), [Event::SteppedDown { ballot: former, cause }, prepares]);
    assert!(ballot > former);
    lab.tell(page(4, ballot, 12, &[(12, ballot_of_old(), "x"), (13, ballot_of_old(), "y")], None));
    lab.tell(page(5, ballot, 12, &[(13, ballot_of_old(), "y")], None));
    assert_eq!(lab.proposals(), [(12, batch("x"))]);
    let asked_again = ToProposer::Fill { from_slot: slot(11), through: slot(13) };
    assert_eq!(events(&lab.tell(asked_again)), []);
    assert!(lab.status().is_leader);
}

// Full journals.

#[test]
fn while_a_quorum_of_journals_is_full_it_takes_nothing_and_names_the_learner() {
    let mut lab = Lab::leading();
    let full = JournalPressure { full: true, lagging: [learner(8)].into() };
    lab.tell(heartbeat_ack(4, lab.ballot(), full.clone()));
    assert_eq!(to_client(&lab.submit(1, &[write(1, 1, &["a"])])), []);
    lab.tell(heartbeat_ack(5, lab.ballot(), full));
    let reason = Handback::JournalFull { lagging: [learner(8)].into() };
    let told = lab.submit(2, &[write(1, 2, &["b"])]);
    assert_eq!(to_client(&told), [refused(2, vec![name(1, 2)], reason)]);
    lab.tell(heartbeat_ack(5, lab.ballot(), JournalPressure::default()));
    assert_eq!(to_client(&lab.submit(3, &[write(1, 3, &["c"])])), []);
}

// Settings that change.

#[test]
fn a_shorter_timeout_deposes_no_leader_that_was_in_time() {
    let mut lab = Lab::leading();
    lab.step(Input::Settings(slow()));
    // By the old settings nobody has to answer for long yet.
    lab.pass(1_000);
    lab.step(Input::Settings(config(1).settings));
    let told = lab.pass(HEARTBEAT);
    assert!(told.iter().any(|it| matches!(it, Effect::Send(Outbound::Witness(..)))), "{told:?}");
    lab.pass(TIMEOUT - HEARTBEAT);
    assert!(lab.status().is_leader);
    lab.pass(2 * HEARTBEAT);
    assert!(!lab.status().is_leader, "by the new settings nobody answers");
}

#[test]
fn a_follower_waits_no_longer_than_by_its_new_timeout_and_no_shorter() {
    let mut lab = Lab::following();
    lab.step(Input::Settings(slow()));
    lab.tell(ToProposer::Heartbeat { ballot: ballot(5, 2) });
    lab.pass(1_000);
    lab.step(Input::Settings(config(1).settings));
    let told_at = lab.now;
    assert_eq!(events(&lab.pass(TIMEOUT)), []);
    lab.asks();
    assert!(lab.now - told_at <= TIMEOUT * 3 / 2 + 1, "{}", lab.now - told_at);
}

#[test]
fn formation_and_phase_1_go_on_by_the_new_settings() {
    let mut lab = Lab::unformed();
    lab.step(Input::Settings(slow()));
    assert!(!to_acceptors(&lab.pass(0)).is_empty());
    lab.step(Input::Settings(config(1).settings));
    assert!(!to_acceptors(&lab.pass(RESEND)).is_empty(), "asked again");
    let mut lab = Lab::following();
    lab.step(Input::Settings(slow()));
    lab.tell(ToProposer::Resign { ballot: ballot(5, 2) });
    assert_eq!(to_acceptors(&lab.pass(1_000)), []);
    lab.step(Input::Settings(config(1).settings));
    assert!(!to_acceptors(&lab.pass(RESEND)).is_empty(), "asked again");
    assert!(lab.status().in_election);
    lab.pass(TIMEOUT * 5 - RESEND);
    assert!(!lab.status().in_election, "given up");
}

#[test]
fn a_queue_that_got_shorter_keeps_what_waits_and_a_wider_window_takes_it() {
    let mut lab = Lab::leading();
    lab.fill_window();
    let waiting: Vec<Command> = (5..=10).map(|number| write(1, number, &["b"])).collect();
    lab.submit(5, &waiting);
    let narrow = ProposerSettings { queue_commands_max: 3, ..config(1).settings };
    lab.step(Input::Settings(narrow));
    assert_eq!(lab.status().queued, 6);
    let told = to_client(&lab.submit(6, &[write(1, 11, &["c"])]));
    assert_eq!(told, [refused(6, vec![name(1, 11)], Handback::Busy)]);
    let wide = ProposerSettings { window_slots: WINDOW + 2, ..config(1).settings };
    lab.step(Input::Settings(wide));
    assert_eq!((lab.status().queued, lab.status().in_flight), (0, WINDOW + 2));
}

/// Settings of a leader that speaks seldom.
fn slow() -> ProposerSettings {
    let seconds = Duration::from_secs;
    let (heartbeat, timeout) = (seconds(20), seconds(60));
    ProposerSettings { heartbeat, timeout, resend: timeout, ..config(1).settings }
}

// The bench.

/// Proposer 1. All it ever did is in `seen`.
struct Lab {
    proposer: Proposer,
    now: u64,
    seen: Vec<Effect>,
}

impl Lab {
    fn with(config: ProposerConfig) -> Self {
        Self::seeded(config, [7; 32])
    }

    fn seeded(config: ProposerConfig, seed: [u8; 32]) -> Self {
        let proposer = Proposer::new(config, at(0), seed);
        let mut lab = Self { proposer, now: 0, seen: Vec::new() };
        lab.step(Input::Peers(Peers {
            proposers: proposers(),
            learners: learners(),
            gateways: [node(GATEWAY)].into(),
        }));
        lab
    }

    fn unformed() -> Self {
        Self::with(config(1))
    }

    /// It knows the epoch and hears everybody.
    fn following() -> Self {
        let mut lab = Self::unformed();
        for id in 2..=9 {
            lab.link_up(id);
        }
        for id in ACCEPTORS {
            lab.tell(active(id));
        }
        lab.seen.clear();
        lab
    }

    /// A quorum hears no leader.
    fn preparing() -> Self {
        let mut lab = Self::following();
        let nonce = lab.asks();
        lab.unled(nonce);
        lab
    }

    /// A quorum has promised, and nobody had voted for anything.
    fn leading() -> Self {
        let mut lab = Self::following();
        lab.promised();
        lab
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        self.proposer.step(at(self.now), input, &mut out);
        self.proposer.flush(at(self.now), &mut out);
        self.seen.extend(out.clone());
        out
    }

    fn tell(&mut self, message: ToProposer) -> Vec<Effect> {
        self.tell_under(epoch().digest(), message)
    }

    fn tell_under(&mut self, digest: EpochDigest, message: ToProposer) -> Vec<Effect> {
        self.step(Input::Received { from: node(GATEWAY), epoch: Some(digest), message })
    }

    fn link_up(&mut self, id: u64) -> Vec<Effect> {
        self.step(Input::LinkUp(node(id)))
    }

    fn link_down(&mut self, id: u64) {
        self.step(Input::LinkDown(node(id)));
    }

    /// Lets time pass.
    fn pass(&mut self, ms: u64) -> Vec<Effect> {
        let until = self.now + ms;
        let mut out = Vec::new();
        while self.now <= until {
            if self.proposer.deadline().is_some_and(|due| due <= at(self.now)) {
                self.proposer.tick(at(self.now), &mut out);
                self.proposer.flush(at(self.now), &mut out);
            }
            self.now += 1;
        }
        self.now = until;
        self.seen.extend(out.clone());
        out
    }

    /// Waits for its next question.
    fn asks(&mut self) -> u64 {
        for _ in 0..20 * TIMEOUT {
            let out = self.pass(1);
            let nonce = out.iter().find_map(|effect| {
                if let Effect::Send(Outbound::Witness(_, ToWitness::AskLed { nonce })) = effect {
                    Some(*nonce)
                } else {
                    None
                }
            });
            if let Some(nonce) = nonce {
                return nonce;
            }
        }
        panic!("it never asks");
    }

    /// A quorum hears no leader.
    fn unled(&mut self, nonce: u64) -> Vec<Effect> {
        self.tell(led(4, nonce, false));
        self.tell(led(5, nonce, false))
    }

    /// It is elected, with nothing accepted before.
    fn promised(&mut self) {
        if !self.status().in_election {
            let nonce = self.asks();
            self.unled(nonce);
        }
        for id in [4, 5] {
            self.tell(self.promise(id, &[]));
        }
        assert!(self.status().is_leader);
    }

    /// The ballot of its newest phase 1.
    fn prepared(&self) -> Option<Ballot> {
        self.prepares().map(|(ballot, _)| ballot)
    }

    fn prepares(&self) -> Option<(Ballot, Slot)> {
        events(&self.seen).into_iter().rev().find_map(|event| {
            if let Event::Prepares { ballot, from_slot } = event {
                Some((ballot, from_slot))
            } else {
                None
            }
        })
    }

    /// The whole promise of an acceptor for the newest phase 1.
    fn promise(&self, id: u64, votes: &[(u64, Ballot, &str)]) -> ToProposer {
        let (ballot, from_slot) = self.prepares().unwrap();
        page(id, ballot, from_slot.get(), votes, None)
    }

    /// The ballot it led under last.
    fn ballot(&self) -> Ballot {
        self.prepared().unwrap()
    }

    fn status(&self) -> super::ProposerStatus {
        self.proposer.status(at(self.now))
    }

    fn missing(&self) -> Vec<u8> {
        self.status().missing.iter().map(|id| id.node().get()).collect()
    }

    fn submit(&mut self, number: u64, commands: &[Command]) -> Vec<Effect> {
        self.tell(submission(number, commands))
    }

    /// As many slots in flight as there may be, each with a write of its number.
    fn fill_window(&mut self) {
        for number in 1..=4 {
            self.submit(number, &[write(1, number, &["a"])]);
        }
        assert_eq!(self.status().in_flight, WINDOW);
    }

    /// What it proposed under its newest ballot, in order.
    fn proposals(&self) -> Vec<(u64, Batch)> {
        let newest = self.prepared();
        let proposed = |effect: &Effect| {
            if let Effect::Send(Outbound::Learner(to, ToLearner::Proposed(it))) = effect
                && *to == learner(7)
                && Some(it.ballot) == newest
            {
                Some((it.slot.get(), it.batch.clone()))
            } else {
                None
            }
        };
        self.seen.iter().filter_map(proposed).collect()
    }

    /// An acceptor's vote for what was proposed in a slot.
    fn vote(&self, id: u64, number: u64) -> Vote {
        let proposals: BTreeMap<_, _> = self.proposals().into_iter().collect();
        let digest = proposals[&number].digest();
        Vote { acceptor: acceptor(id), slot: slot(number), ballot: self.ballot(), digest }
    }

    /// A quorum votes for what was proposed in a slot.
    fn choose(&mut self, number: u64) -> Vec<Effect> {
        self.tell(ToProposer::Vote(self.vote(4, number)));
        self.tell(ToProposer::Vote(self.vote(5, number)))
    }
}

/// Two proposers, three acceptors with disks, and a millisecond between any two.
struct Duel {
    now: u64,
    proposers: BTreeMap<NodeId, Proposer>,
    acceptors: BTreeMap<AcceptorId, (Option<Durable<Disk>>, Witness)>,
    under_way: Vec<(NodeId, Option<EpochDigest>, Outbound)>,
}

impl Duel {
    fn new(seed: u8) -> Self {
        let proposers = [1, 2].map(|id| {
            let mut chance = [seed; 32];
            chance[0] = u8::try_from(id).unwrap();
            let mut proposer = Proposer::new(config(id), at(0), chance);
            let peers = Peers { proposers: proposers(), ..Peers::default() };
            proposer.step(at(0), Input::Peers(peers), &mut Vec::new());
            (node(id), proposer)
        });
        let acceptors = ACCEPTORS.map(|id| {
            let config = AcceptorConfig {
                me: acceptor(id),
                cluster: CLUSTER.to_owned(),
                storage: directory(id),
                page_bytes: 1_000,
                accept_window_slots: 100,
                trim_slots: 10,
            };
            let (durable, _) = Durable::open(config, Disk::new(1 << 16)).unwrap();
            (acceptor(id), (Some(durable), Witness::new(at(0), Duration::from_millis(TIMEOUT))))
        });
        Self {
            now: 0,
            proposers: proposers.into(),
            acceptors: acceptors.into(),
            under_way: Vec::new(),
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += 1;
            for (from, digest, outbound) in std::mem::take(&mut self.under_way) {
                self.arrive(from, digest, outbound);
            }
            let now = at(self.now);
            let mut sent = Vec::new();
            for (&id, proposer) in &mut self.proposers {
                let mut out = Vec::new();
                if proposer.deadline().is_some_and(|due| due <= now) {
                    proposer.tick(now, &mut out);
                    proposer.flush(now, &mut out);
                }
                sent.push((id, proposer.epoch(), out));
            }
            for (id, digest, out) in sent {
                self.send(id, digest, out);
            }
        }
    }

    fn send(&mut self, from: NodeId, digest: Option<EpochDigest>, out: Vec<Effect>) {
        for effect in out {
            if let Effect::Send(outbound) = effect {
                self.under_way.push((from, digest, outbound));
            }
        }
    }

    fn arrive(&mut self, from: NodeId, digest: Option<EpochDigest>, outbound: Outbound) {
        let now = at(self.now);
        match outbound {
            Outbound::Proposer(to, message) => {
                let Some(proposer) = self.proposers.get_mut(&to.node()) else { return };
                let mut out = Vec::new();
                let input = Input::Received { from, epoch: digest, message };
                proposer.step(now, input, &mut out);
                proposer.flush(now, &mut out);
                let digest = proposer.epoch();
                self.send(to.node(), digest, out);
            }
            Outbound::Acceptor(to, message) => {
                let (durable, witness) = self.acceptors.get_mut(&to).unwrap();
                let request = Request { from, epoch: digest, message };
                let (next, replies) = durable.take().unwrap().turn([((), request)]).unwrap();
                next.acceptor().promised().into_iter().for_each(|it| witness.on_promise(it));
                *durable = Some(next);
                for ((), reply) in replies {
                    self.answer(to, from, answer_of(to, reply));
                }
            }
            Outbound::Witness(to, message) => {
                let (_, witness) = self.acceptors.get_mut(&to).unwrap();
                let answer = match message {
                    ToWitness::Heartbeat { ballot } => {
                        witness.on_heartbeat(now, ballot);
                        heartbeat_ack_of(to, ballot)
                    }
                    ToWitness::AskLed { nonce } => {
                        let (led, promised) = (witness.is_led(now), witness.promised());
                        ToProposer::Led { acceptor: to, nonce, led, promised }
                    }
                    ToWitness::Resign { ballot } => return witness.on_resign(ballot),
                };
                self.answer(to, from, answer);
            }
            Outbound::Learner(..) | Outbound::Client(..) => {}
        }
    }

    fn answer(&mut self, from: AcceptorId, to: NodeId, answer: ToProposer) {
        let digest = Some(epoch().digest());
        let to = crate::types::ProposerId(to);
        self.under_way.push((from.node(), digest, Outbound::Proposer(to, answer)));
    }

    fn leaders(&self) -> impl Iterator<Item = Ballot> {
        let statuses = self.proposers.values().map(|it| it.status(at(self.now)));
        statuses.filter(|it| it.is_leader).filter_map(|it| it.leader)
    }
}

fn answer_of(acceptor: AcceptorId, reply: Reply) -> ToProposer {
    match reply {
        Reply::Identity(identity) => ToProposer::Identity(identity),
        Reply::Promise { ballot, from_slot, accepted, next_slot, trimmed_slot } => {
            ToProposer::Promise { acceptor, ballot, from_slot, accepted, next_slot, trimmed_slot }
        }
        Reply::Nack { ballot, slot, refusal } => {
            ToProposer::Nack { acceptor, ballot, slot, refusal }
        }
        Reply::Vote { .. }
        | Reply::Mark { .. }
        | Reply::Votes { .. }
        | Reply::Noted { .. }
        | Reply::OtherEpoch => panic!("a duel without values has no {reply:?}"),
    }
}

fn config(id: u64) -> ProposerConfig {
    ProposerConfig {
        me: proposer(id),
        incarnation: Incarnation(1),
        cluster: CLUSTER.to_owned(),
        acceptors: acceptors(),
        learners: learners(),
        limits: LIMITS,
        clock_ms_at_zero: CLOCK,
        settings: ProposerSettings {
            heartbeat: Duration::from_millis(HEARTBEAT),
            timeout: Duration::from_millis(TIMEOUT),
            resend: Duration::from_millis(RESEND),
            drain: Duration::from_millis(DRAIN),
            window_slots: WINDOW,
            spare_delay: Duration::ZERO,
            batch_bytes_min: 1,
            batch_bytes_max: BATCH_BYTES,
            batch_commands_max: BATCH_COMMANDS,
            queue_commands_max: QUEUE,
            queue_bytes_max: 10_000,
            fill_slots_max: FILL,
        },
    }
}

fn identity(id: u64) -> Identity {
    Identity { acceptor: acceptor(id), storage: directory(id), epoch: None, active: false }
}

/// An acceptor in no epoch.
fn blank(id: u64) -> ToProposer {
    ToProposer::Identity(identity(id))
}

/// An acceptor that has the epoch on disk.
fn joined(id: u64) -> ToProposer {
    ToProposer::Identity(Identity { epoch: Some(epoch()), ..identity(id) })
}

/// An acceptor that has seen the epoch in use.
fn active(id: u64) -> ToProposer {
    ToProposer::Identity(Identity { epoch: Some(epoch()), active: true, ..identity(id) })
}

fn led(id: u64, nonce: u64, led: bool) -> ToProposer {
    ToProposer::Led { acceptor: acceptor(id), nonce, led, promised: None }
}

fn nack(id: u64, ballot: Ballot, refusal: Refusal) -> ToProposer {
    ToProposer::Nack { acceptor: acceptor(id), ballot, slot: None, refusal }
}

fn nack_slot(id: u64, ballot: Ballot, number: u64, refusal: Refusal) -> ToProposer {
    ToProposer::Nack { acceptor: acceptor(id), ballot, slot: Some(slot(number)), refusal }
}

fn heartbeat_ack(id: u64, ballot: Ballot, pressure: JournalPressure) -> ToProposer {
    ToProposer::HeartbeatAck { acceptor: acceptor(id), ballot, pressure }
}

fn heartbeat_ack_of(acceptor: AcceptorId, ballot: Ballot) -> ToProposer {
    ToProposer::HeartbeatAck { acceptor, ballot, pressure: JournalPressure::default() }
}

/// A ballot of a leader that is gone.
fn ballot_of_old() -> Ballot {
    ballot(5, 2)
}

fn page(
    id: u64,
    ballot: Ballot,
    from: u64,
    votes: &[(u64, Ballot, &str)],
    next: Option<u64>,
) -> ToProposer {
    let accepted = votes
        .iter()
        .map(|&(number, ballot, text)| Accepted { slot: slot(number), ballot, batch: batch(text) })
        .collect();
    ToProposer::Promise {
        acceptor: acceptor(id),
        ballot,
        from_slot: slot(from),
        accepted,
        next_slot: next.map(slot),
        trimmed_slot: Slot::ZERO,
    }
}

fn trimmed_promise(id: u64, ballot: Ballot, trimmed: u64) -> ToProposer {
    ToProposer::Promise {
        acceptor: acceptor(id),
        ballot,
        from_slot: slot(1),
        accepted: vec![],
        next_slot: None,
        trimmed_slot: slot(trimmed),
    }
}

/// A gateway's message, under the session of its first command.
fn submission(number: u64, commands: &[Command]) -> ToProposer {
    let session = commands[0].name.session;
    let commands = commands
        .iter()
        .map(|command| Submission { name: command.name, command: command.to_bytes() })
        .collect();
    ToProposer::Submit { session, number, commands }
}

fn refused(number: u64, names: Vec<Name>, reason: Handback) -> ToClient {
    ToClient::Refused { proposer: proposer(1), number, names, reason }
}

fn abandoned(number: u64, names: Vec<Name>, reason: Handback) -> ToClient {
    ToClient::Abandoned { proposer: proposer(1), number, names, reason }
}

fn events(effects: &[Effect]) -> Vec<Event> {
    let event = |effect: &Effect| match effect {
        Effect::Event(event) => Some(event.clone()),
        Effect::Send(_) | Effect::Left => None,
    };
    effects.iter().filter_map(event).collect()
}

fn to_acceptors(effects: &[Effect]) -> Vec<(u64, ToAcceptor)> {
    let sent = |effect: &Effect| {
        if let Effect::Send(Outbound::Acceptor(to, message)) = effect {
            Some((u64::from(to.node().get()), message.clone()))
        } else {
            None
        }
    };
    effects.iter().filter_map(sent).collect()
}

/// The slots of accepts, and to whom they go.
fn accepts(effects: &[Effect]) -> Vec<(u64, u64)> {
    let slot = |(to, message)| {
        if let ToAcceptor::Accept { slot, .. } = message { Some((to, slot.get())) } else { None }
    };
    to_acceptors(effects).into_iter().filter_map(slot).collect()
}

/// The learner that an accept names to count the votes.
fn counting(accept: &ToAcceptor) -> Option<LearnerId> {
    let ToAcceptor::Accept { learner, .. } = accept else { panic!("an accept") };
    *learner
}

fn to_learners(effects: &[Effect]) -> Vec<(u64, ToLearner)> {
    let sent = |effect: &Effect| {
        if let Effect::Send(Outbound::Learner(to, message)) = effect {
            Some((u64::from(to.node().get()), message.clone()))
        } else {
            None
        }
    };
    effects.iter().filter_map(sent).collect()
}

fn to_client(effects: &[Effect]) -> Vec<ToClient> {
    let sent = |effect: &Effect| {
        if let Effect::Send(Outbound::Client(
            _,
            message @ (ToClient::Refused { .. } | ToClient::Abandoned { .. }),
        )) = effect
        {
            Some(message.clone())
        } else {
            None
        }
    };
    effects.iter().filter_map(sent).collect()
}
