//! A learner at the bench: it hears votes in any order, and must tell one order to everybody.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Effect, Input, Learner, LearnerConfig, LearnerSettings, LearnerStatus, ReadToken};
use crate::paxos::event::Event;
use crate::paxos::fixture::*;
use crate::paxos::log::{Log, Outcome};
use crate::paxos::message::{
    Accepted, Identity, Notice, Outbound, ToAcceptor, ToClient, ToLearner, ToProposer, Vote,
};
use crate::types::{Ballot, Batch, Epoch, EpochDigest, Index, NodeId, Slot};

const WINDOW: u64 = 8;
const GAP: u64 = 20;
const RESEND: u64 = 50;
const FILL_AFTER: u64 = 200;
const REPORT: u64 = 500;
const CHECKPOINT: u64 = 3;
/// Twenty slots of one short value.
const PROMPT_BYTES: usize = 20 * 64;

// Learning: PMS §2.3.

#[test]
fn slots_are_delivered_in_their_order_whatever_the_order_of_votes() {
    let mut lab = Lab::formed();
    for number in [3, 5, 2] {
        assert_eq!(lab.choose(number), []);
    }
    assert_eq!(delivered(&lab.choose(1)), [1, 2, 3]);
    assert_eq!(delivered(&lab.choose(4)), [4, 5]);
}

#[test]
fn two_learners_that_hear_the_same_votes_in_other_orders_are_the_same() {
    let (mut one, mut other) = (Lab::formed(), Lab::formed());
    for number in 1..=6 {
        one.choose(number);
        other.choose(7 - number);
    }
    assert_eq!(one.learner.log(), other.learner.log());
    assert_eq!(one.learner.log().unwrap().index(), index(5));
}

#[test]
fn a_value_is_chosen_by_a_quorum_at_one_ballot() {
    let mut lab = Lab::formed();
    for round in [5, 6] {
        lab.tell(proposed_at(ballot(round, 1), 1));
    }
    lab.tell(vote_at(ballot(5, 1), 4, 1));
    assert_eq!(delivered(&lab.tell(vote_at(ballot(6, 1), 5, 1))), [0; 0]);
    let learned = lab.tell(vote_at(ballot(6, 1), 6, 1));
    assert_eq!(events(&learned)[0], Event::Learned { ballot: ballot(6, 1), slot: slot(1) });
}

#[test]
fn a_vote_counts_once_and_a_strangers_never() {
    let mut lab = Lab::formed();
    lab.tell(proposed(1));
    lab.tell(vote(4, 1));
    lab.tell(vote(4, 1));
    lab.tell(vote(20, 1));
    lab.tell_under(other_epoch().digest(), vote(5, 1));
    assert_eq!(delivered(&lab.seen), [0; 0]);
    assert_eq!(delivered(&lab.tell(vote(5, 1))), [1]);
}

#[test]
fn a_value_may_come_before_its_votes_or_after() {
    let mut lab = Lab::formed();
    lab.tell(proposed(1));
    lab.tell(vote(4, 1));
    assert_eq!(delivered(&lab.tell(vote(5, 1))), [1]);
    lab.tell(vote(4, 2));
    lab.tell(vote(5, 2));
    assert_eq!(delivered(&lab.tell(proposed(2))), [2]);
}

#[test]
fn what_a_leader_has_counted_needs_no_votes() {
    let mut lab = Lab::formed();
    let chosen = |number| ToLearner::Chosen(accepted(ballot(5, 1), number));
    lab.tell_under(other_epoch().digest(), chosen(1));
    assert_eq!(delivered(&lab.seen), [0; 0]);
    assert_eq!(delivered(&lab.tell(chosen(2))), [0; 0]);
    assert_eq!(delivered(&lab.tell(chosen(1))), [1, 2]);
    assert_eq!(lab.delivered_batches(), [value(1), value(2)]);
    lab.tell(chosen(2));
    assert_eq!(lab.delivered_batches().len(), 2);
}

#[test]
fn what_a_leader_has_counted_beyond_a_gap_has_the_gap_fetched() {
    let mut lab = Lab::formed();
    lab.tell(ToLearner::Chosen(accepted(ballot(5, 1), 2)));
    assert_eq!(to_acceptors(&lab.pass(GAP + RESEND))[0].1, fetch(1));
    lab.tell(ToLearner::Chosen(accepted(ballot(5, 1), WINDOW + 9)));
    assert_eq!(lab.status().highest_seen, slot(WINDOW + 9));
}

#[test]
fn only_the_value_that_the_votes_name_is_delivered() {
    let mut lab = Lab::formed();
    let wrong = Accepted { slot: slot(1), ballot: ballot(5, 1), batch: batch("forged") };
    lab.tell(ToLearner::Proposed(wrong));
    lab.tell(vote(4, 1));
    assert_eq!(delivered(&lab.tell(vote(5, 1))), [0; 0]);
    assert_eq!(to_acceptors(&lab.pass(GAP + RESEND))[0].1, fetch(1));
    assert_eq!(delivered(&lab.tell(votes_of(4, 1..=1, None))), [1]);
    assert_eq!(lab.delivered_batches(), [value(1)]);
}

#[test]
fn a_vote_for_another_value_is_not_counted_with_the_others() {
    let mut lab = Lab::formed();
    lab.tell(proposed(1));
    lab.tell(vote(4, 1));
    let digest = batch("another").digest();
    let odd = Vote { acceptor: acceptor(5), slot: slot(1), ballot: ballot(5, 1), digest };
    assert_eq!(delivered(&lab.tell(ToLearner::Vote(odd))), [0; 0]);
}

#[test]
fn whatever_comes_again_is_delivered_once() {
    let mut lab = Lab::formed();
    lab.choose(1);
    lab.choose(2);
    assert_eq!(delivered(&lab.choose(1)), [0; 0]);
    for id in ACCEPTORS {
        lab.tell(proposed_at(ballot(9, 2), 2));
        lab.tell(vote_at(ballot(9, 2), id, 2));
        lab.tell(votes_of(id, 1..=2, None));
    }
    lab.tell(entries_of(8, 1..=2, 2));
    assert_eq!(delivered(&lab.seen), [1, 2]);
}

#[test]
fn each_origin_is_told_once_a_round_what_became_of_its_commands() {
    let mut lab = Lab::formed();
    lab.choose(2);
    lab.choose(3);
    let told = to_clients(&lab.choose(1));
    let notice = |name, outcome, number| {
        let (slot, ballot) = (slot(number), ballot(5, 1));
        Notice { name, outcome, slot, ballot }
    };
    let notices = vec![
        notice(name(1, 0), Outcome::Opened, 1),
        notice(name(1, 2), applied(1), 2),
        notice(name(1, 3), applied(2), 3),
    ];
    assert_eq!(told, [(node(GATEWAY), ToClient::Notices { learner: learner(7), notices })]);
}

#[test]
fn votes_beyond_the_window_are_not_kept_but_remembered_as_a_lag() {
    let mut lab = Lab::formed();
    lab.choose(1 + WINDOW);
    assert_eq!(lab.status().highest_seen, slot(1 + WINDOW));
    for number in 1..=WINDOW {
        lab.choose(number);
    }
    assert_eq!(lab.status().delivered_slot, slot(WINDOW));
}

// Catching up.

#[test]
fn a_learner_that_was_down_learns_all_it_missed() {
    let mut lab = Lab::formed();
    // Nobody votes any more; the leader says how far it is.
    lab.tell(ToLearner::Heartbeat { ballot: ballot(5, 1), first_unchosen: slot(4) });
    let asked = lab.pass(GAP + 1);
    assert_eq!(to_acceptors(&asked), ACCEPTORS.map(|id| (id, fetch(1))));
    lab.tell(votes_of(4, 1..=3, None));
    assert_eq!(delivered(&lab.tell(votes_of(6, 1..=3, None))), [1, 2, 3]);
    assert_eq!(to_acceptors(&lab.pass(REPORT)), []);
}

#[test]
fn a_gap_is_fetched_from_acceptors_and_learners_in_turn() {
    let mut lab = Lab::formed();
    lab.choose(2);
    lab.pass(4 * RESEND);
    assert_eq!(fetched_from(&lab.seen)[..3], [None, Some(node(8)), None]);
}

#[test]
fn a_learner_that_has_little_more_itself_is_not_asked_again_before_the_others() {
    let mut lab = Lab::formed();
    let learners = [7, 8, 9, 10].map(learner).into();
    lab.step(Input::Peers { learners, proposers: proposers() });
    lab.tell(trimmed_votes(4, 500));
    let mut asked = BTreeSet::new();
    for page in 1..=30 {
        let sources = fetched_from(&lab.pass(3 * RESEND));
        asked.extend(sources.into_iter().flatten());
        // Whoever it was has one slot more, and then no other.
        lab.tell(entries_of(8, page..=page, page));
    }
    assert_eq!(asked, [8, 9, 10].map(node).into());
}

#[test]
fn a_gap_that_closes_by_itself_is_not_fetched() {
    let mut lab = Lab::formed();
    for number in 1..=7 {
        lab.choose(2 * number);
        lab.pass(GAP / 2);
        lab.choose(2 * number - 1);
    }
    assert_eq!(fetched_from(&lab.seen), []);
}

#[test]
fn what_has_only_just_been_proposed_is_not_taken_for_a_gap() {
    let mut lab = Lab::formed();
    lab.choose(1);
    // However long nothing was written before.
    lab.pass(10 * FILL_AFTER);
    lab.tell(proposed(2));
    lab.tell(vote(4, 2));
    let early = lab.pass(GAP - 1);
    assert_eq!((fetched_from(&early), fills(&early)), (vec![], vec![]));
    assert_eq!(fetched_from(&lab.pass(1)), [None]);
}

#[test]
fn a_learner_that_hears_of_the_epoch_late_does_not_call_its_lag_a_leaders_fault() {
    let mut lab = Lab::new(None);
    lab.pass(10 * FILL_AFTER);
    lab.tell(identity(Some(epoch()), true));
    lab.tell(ToLearner::Heartbeat { ballot: ballot(5, 1), first_unchosen: slot(6) });
    assert_eq!(fills(&lab.pass(FILL_AFTER - 1)), []);
    assert_eq!(fills(&lab.pass(1)).len(), PROPOSERS.len(), "it asks in the end");
}

#[test]
fn a_page_that_brings_progress_is_followed_by_the_next_at_once() {
    let mut lab = Lab::formed();
    lab.tell(votes_of(4, 1..=2, Some(3)));
    let more = lab.tell(votes_of(5, 1..=2, Some(3)));
    assert_eq!(delivered(&more), [1, 2]);
    assert_eq!(to_acceptors(&more), ACCEPTORS.map(|id| (id, fetch(3))));
}

#[test]
fn what_the_acceptors_have_forgotten_is_fetched_from_another_learner() {
    let mut lab = Lab::formed();
    lab.tell(trimmed_votes(4, 30));
    let asked = lab.pass(GAP + 1);
    assert_eq!(to_learners(&asked), [(8, fetch_entries(1))]);
    let more = lab.tell(entries_of(8, 1..=20, 30));
    assert_eq!(delivered(&more), (1..=20).collect::<Vec<_>>());
    assert!(to_learners(&more).contains(&(8, fetch_entries(21))));
    assert_eq!(delivered(&lab.tell(entries_of(8, 21..=30, 30))).len(), 10);
    assert_eq!(lab.learner.log().unwrap().index(), index(29));
}

#[test]
fn a_long_lag_is_made_up_with_pauses_and_a_short_one_at_once() {
    let mut lab = Lab::formed();
    lab.tell(trimmed_votes(4, 90));
    lab.pass(GAP + 1);
    assert_eq!(pages_asked(&lab.tell(entries_of(8, 1..=10, 90))), [11]);
    assert_eq!(pages_asked(&lab.tell(entries_of(8, 11..=20, 90))), [21]);
    // The third page takes 2 ms, and is followed after fifteen times as long.
    lab.pass(2);
    lab.tell(proposed(91));
    assert_eq!(pages_asked(&lab.tell(entries_of(8, 21..=60, 91))), [0; 0]);
    assert_eq!(pages_asked(&lab.pass(29)), [0; 0]);
    assert_eq!(pages_asked(&lab.pass(1)), [61]);
    // However long the fourth takes, an unanswered question is not asked later.
    lab.pass(RESEND - 1);
    lab.tell(proposed(92));
    assert_eq!(pages_asked(&lab.tell(entries_of(8, 61..=70, 92))), [0; 0]);
    assert_eq!(pages_asked(&lab.pass(RESEND - 1)), [0; 0]);
    assert_eq!(pages_asked(&lab.pass(1)), [71]);
    // The next lag is a new one.
    lab.tell(entries_of(8, 71..=92, 92));
    lab.tell(trimmed_votes(4, 99));
    assert_eq!(pages_asked(&lab.pass(GAP + 1)), [93]);
    lab.tell(proposed(100));
    assert_eq!(pages_asked(&lab.tell(entries_of(8, 93..=94, 99))), [95]);
}

#[test]
fn a_long_lag_is_made_up_at_once_while_nobody_writes() {
    let mut lab = Lab::formed();
    lab.tell(trimmed_votes(4, 90));
    lab.pass(GAP + 1);
    for page in 0..8 {
        lab.pass(2);
        let more = lab.tell(entries_of(8, 10 * page + 1..=10 * page + 10, 90));
        assert_eq!(pages_asked(&more), [10 * page + 11]);
    }
}

#[test]
fn at_least_twice_as_much_is_fetched_as_is_written_meanwhile() {
    let mut lab = Lab::formed();
    lab.tell(trimmed_votes(4, 900));
    let mut asked = pages_asked(&lab.pass(GAP + 1));
    let (mut fetched, mut written) = (0, 0);
    // Every millisecond a slot is written, and a page of ten comes a millisecond after its request.
    while fetched < 200 && written < 1_000 {
        written += 1;
        lab.tell(ToLearner::Chosen(accepted(ballot(5, 1), 900 + written)));
        let is_asked = asked.pop();
        asked = pages_asked(&lab.pass(1));
        if let Some(from) = is_asked {
            fetched += 10;
            asked = pages_asked(&lab.tell(entries_of(8, from..=from + 9, 900 + written)));
        }
    }
    assert!((70..=100).contains(&written), "{written} slots are written meanwhile");
}

#[test]
fn pauses_come_to_an_end() {
    let mut lab = Lab::formed();
    lab.tell(trimmed_votes(4, 19_000));
    lab.pass(GAP + 1);
    let mut paused = Duration::ZERO;
    for page in 0..1_600 {
        lab.pass(RESEND - 1);
        lab.tell(proposed(20_000 + page));
        let more = lab.tell(entries_of(8, 10 * page + 1..=10 * page + 10, 19_000));
        if pages_asked(&more).is_empty() {
            assert_eq!(pages_asked(&lab.pass(RESEND)), [10 * page + 11]);
            paused += Duration::from_millis(RESEND);
        }
    }
    assert_eq!(paused, Duration::from_secs(60));
}

/// How many slots are written until 900 are fetched, where the acceptors have room for so many
/// values: every millisecond a slot is written, from `live` on, and a page of ten comes a
/// millisecond after its request.
fn written_meanwhile(lab: &mut Lab, room: usize, live: u64) -> u64 {
    let kept_bytes_max = room * value(2).len();
    lab.step(Input::Settings(LearnerSettings { kept_bytes_max, ..config().settings }));
    let mut asked = pages_asked(&lab.pass(GAP + 1));
    let (mut fetched, mut written) = (0, 0);
    while fetched < 900 && written < 900 {
        lab.tell(ToLearner::Chosen(accepted(ballot(5, 1), live + written)));
        written += 1;
        let is_asked = asked.pop();
        asked = pages_asked(&lab.pass(1));
        if let Some(from) = is_asked {
            fetched += 10;
            asked = pages_asked(&lab.tell(entries_of(8, from..=from + 9, 1_000)));
            lab.step(Input::Durable(slot(from)));
        }
    }
    written
}

#[test]
fn a_lag_is_made_up_before_the_acceptors_have_no_room_for_what_is_written() {
    for (room, expected) in [(100, 80..=110), (300, 230..=310), (1_000_000, 400..=500)] {
        let mut lab = Lab::formed();
        lab.tell(trimmed_votes(4, 1_000));
        lab.tell(ToLearner::Checkpoint { learner: learner(8), index: index(1_000), hash: 1 });
        let written = written_meanwhile(&mut lab, room, 1_001);
        assert!(expected.contains(&written), "{written} slots are written meanwhile");
    }
}

#[test]
fn how_long_a_lag_is_need_not_be_known_in_values() {
    let mut lab = Lab::formed();
    lab.tell(trimmed_votes(4, 1_000));
    let written = written_meanwhile(&mut lab, 300, 1_001);
    assert!((180..=310).contains(&written), "{written} slots are written meanwhile");
}

#[test]
fn what_the_acceptors_held_before_a_lag_began_takes_room_too() {
    let mut lab = Lab::formed();
    lab.tell(trimmed_votes(4, 1_000));
    let written = written_meanwhile(&mut lab, 1_500, 2_501);
    assert!((80..=100).contains(&written), "{written} slots are written meanwhile");
}

#[test]
fn what_no_acceptor_has_told_takes_no_room() {
    let mut lab = Lab::formed();
    lab.tell(ToLearner::Chosen(accepted(ballot(5, 1), 2_500)));
    let written = written_meanwhile(&mut lab, 1_500, 2_501);
    assert!((400..=500).contains(&written), "{written} slots are written meanwhile");
}

#[test]
fn a_page_that_is_held_back_is_asked_for_when_the_settings_change() {
    let mut lab = Lab::formed();
    lab.tell(trimmed_votes(4, 90));
    lab.pass(GAP + 1);
    lab.tell(entries_of(8, 1..=20, 90));
    lab.pass(RESEND - 1);
    lab.tell(proposed(91));
    assert_eq!(pages_asked(&lab.tell(entries_of(8, 21..=30, 91))), [0; 0]);
    lab.step(Input::Settings(config().settings));
    assert_eq!(pages_asked(&lab.pass(1)), [31]);
}

#[test]
fn no_leader_is_asked_about_what_is_held_back() {
    let mut lab = Lab::formed();
    let fill_after = Duration::from_millis(RESEND + 10);
    lab.step(Input::Settings(LearnerSettings { fill_after, ..config().settings }));
    lab.tell(ToLearner::Heartbeat { ballot: ballot(5, 1), first_unchosen: slot(91) });
    lab.pass(GAP + 1);
    for page in [1..=10, 11..=20] {
        lab.tell(entries_of(8, page, 90));
    }
    // Each page takes almost as long as one is waited for, and is followed as long after.
    for page in [21..=30, 31..=40, 41..=50] {
        assert_eq!(fills(&lab.pass(RESEND - 1)), []);
        lab.tell(proposed(91));
        lab.tell(entries_of(8, page, 90));
        assert_eq!(fills(&lab.pass(RESEND)), []);
    }
    assert!(!fills(&lab.pass(2 * RESEND)).is_empty(), "the next page does not come");
}

#[test]
fn it_is_far_behind_when_the_newest_slots_are_not_counted() {
    let mut lab = Lab::formed();
    lab.tell(trimmed_votes(4, WINDOW));
    assert!(!lab.learner.is_far_behind());
    lab.tell(trimmed_votes(4, WINDOW + 1));
    assert!(lab.learner.is_far_behind());
    lab.tell(entries_of(8, 1..=1, WINDOW + 1));
    assert!(!lab.learner.is_far_behind());
}

#[test]
fn origins_hear_nothing_of_what_is_long_past() {
    let mut lab = Lab::formed();
    lab.tell(trimmed_votes(4, 30));
    lab.pass(GAP + 1);
    let newest = 20 + WINDOW;
    assert_eq!(to_clients(&lab.tell(entries_of(8, 1..=19, newest))), []);
    assert_eq!(to_clients(&lab.tell(entries_of(8, 20..=20, newest))).len(), 1);
}

#[test]
fn entries_out_of_place_are_not_delivered() {
    let mut lab = Lab::formed();
    assert_eq!(delivered(&lab.tell(entries_of(8, 2..=5, 5))), [0; 0]);
    lab.choose(1);
    assert_eq!(delivered(&lab.tell(entries_of(8, 1..=3, 3))), [2, 3]);
}

#[test]
fn it_hands_on_only_what_is_on_its_own_disk() {
    let mut lab = Lab::formed();
    lab.choose(1);
    lab.choose(2);
    let ask = |from| ToLearner::FetchEntries { learner: learner(8), from_slot: slot(from) };
    let nothing = |through| {
        let delivered_slot = slot(through);
        let message =
            ToLearner::Entries { learner: learner(7), entries: Vec::new(), delivered_slot };
        Effect::Send(Outbound::Learner(learner(8), message))
    };
    assert_eq!(lab.tell(ask(1)), [nothing(0)]);
    lab.step(Input::Durable(slot(1)));
    let (to, from_slot) = (learner(8), slot(1));
    assert_eq!(lab.tell(ask(1)), [Effect::SendEntries { to, from_slot }]);
    assert_eq!(lab.tell(ask(2)), [nothing(1)]);
}

#[test]
fn where_votes_show_no_quorum_the_leader_is_asked_to_settle() {
    let mut lab = Lab::formed();
    lab.choose(1);
    lab.tell(vote_at(ballot(5, 1), 4, 2));
    lab.tell(vote_at(ballot(6, 2), 5, 2));
    lab.choose(3);
    assert_eq!(fills(&lab.pass(FILL_AFTER / 2)), []);
    let asked = fills(&lab.pass(FILL_AFTER));
    let fill = ToProposer::Fill { from_slot: slot(2), through: slot(3) };
    assert_eq!(asked, PROPOSERS.map(|id| (id, fill.clone())));
}

#[test]
fn a_leader_that_cannot_help_is_asked_ever_more_seldom() {
    let mut lab = Lab::formed();
    lab.choose(1);
    lab.tell(vote_at(ballot(5, 1), 4, 2));
    let asked = fills(&lab.pass(40 * FILL_AFTER)).len() / PROPOSERS.len();
    assert!((5..=9).contains(&asked), "asked {asked} times");
    lab.choose(2);
    lab.tell(vote_at(ballot(5, 1), 4, 3));
    assert_eq!(fills(&lab.pass(3 * FILL_AFTER)).len() / PROPOSERS.len(), 2, "anew");
}

#[test]
fn what_a_long_page_delivers_is_told_in_messages_that_fit_a_frame() {
    let mut lab = Lab::formed();
    let told = lab.tell(entries_of(8, 1..=5000, 5000));
    let length = |effect: &Effect| {
        if let Effect::Send(Outbound::Client(_, ToClient::Notices { notices, .. })) = effect {
            Some(notices.len())
        } else {
            None
        }
    };
    let lengths: Vec<usize> = told.iter().filter_map(length).collect();
    assert!(lengths.iter().sum::<usize>() >= 5000, "{lengths:?}");
    assert!(lengths.iter().all(|&length| length <= super::NOTICES_PER_MESSAGE), "{lengths:?}");
}

#[test]
fn no_leader_is_asked_to_settle_what_the_acceptors_have_forgotten() {
    let mut lab = Lab::formed();
    lab.tell(trimmed_votes(4, 30));
    assert_eq!(fills(&lab.pass(5 * FILL_AFTER)), []);
    lab.tell(entries_of(8, 1..=30, 30));
    lab.choose(32);
    assert_eq!(fills(&lab.pass(FILL_AFTER)).len(), PROPOSERS.len());
}

// The epoch.

#[test]
fn the_epoch_is_taken_from_an_acceptor_that_has_seen_it_in_use() {
    let mut lab = Lab::new(None);
    lab.pass(REPORT);
    let asked = to_acceptors(&lab.seen);
    assert_eq!(asked[..3], ACCEPTORS.map(|id| (id, ToAcceptor::Identify)));
    let foreign = Epoch { cluster: "eleven".to_owned(), ..epoch() };
    for (theirs, active) in [(None, false), (Some(epoch()), false), (Some(foreign), true)] {
        assert_eq!(lab.tell(identity(theirs, active)), []);
    }
    let learned = lab.tell(identity(Some(epoch()), true));
    assert!(learned.contains(&Effect::Epoch(epoch())), "it is kept before anything under it");
    assert_eq!(lab.tell(identity(Some(other_epoch()), true)), []);
    assert_eq!(lab.learner.epoch(), Some(epoch().digest()));
}

// Reports.

#[test]
fn the_acceptors_hear_what_is_durable_when_it_has_grown_and_when_they_return() {
    let mut lab = Lab::formed();
    lab.pass(REPORT);
    lab.choose(1);
    lab.choose(2);
    assert_eq!(to_acceptors(&lab.pass(REPORT)), []);
    lab.step(Input::Durable(slot(2)));
    assert_eq!(to_acceptors(&lab.pass(REPORT)), ACCEPTORS.map(|id| (id, durable(2))));
    assert_eq!(to_acceptors(&lab.pass(REPORT)), []);
    // Now and then again: an acceptor whose journal has grown long since can trim by it.
    let later: Vec<_> = (0..10).flat_map(|_| to_acceptors(&lab.pass(REPORT))).collect();
    assert_eq!(later, ACCEPTORS.map(|id| (id, durable(2))));
    assert_eq!(to_acceptors(&lab.step(Input::LinkUp(node(5)))), [(5, durable(2)), (5, fetch(3))]);
}

#[test]
fn the_proposers_hear_what_is_delivered() {
    let mut lab = Lab::formed();
    lab.choose(1);
    let delivered = ToProposer::Delivered { learner: learner(7), slot: slot(1) };
    let told = to_proposers(&lab.pass(REPORT));
    assert_eq!(told, PROPOSERS.map(|id| (id, delivered.clone())));
    assert_eq!(to_proposers(&lab.step(Input::LinkUp(node(2)))), [(2, delivered)]);
}

// A restart.

#[test]
fn a_learner_that_restarts_goes_on_with_the_same_indices() {
    let mut lab = Lab::formed();
    for number in 1..=3 {
        lab.choose(number);
    }
    let kept = lab.learner.log().cloned().unwrap();
    let mut reborn = Lab::new(Some((epoch(), kept)));
    assert_eq!(reborn.status().durable_slot, slot(3));
    assert_eq!(delivered(&reborn.choose(3)), [0; 0]);
    reborn.choose(4);
    lab.choose(4);
    assert_eq!(reborn.learner.log(), lab.learner.log());
}

// Linearizable reads.

#[test]
fn a_read_waits_for_what_a_quorum_of_acceptors_has_voted() {
    let mut lab = Lab::formed();
    lab.choose(1);
    let nonce = lab.read(1);
    lab.tell(mark(4, nonce, 1));
    lab.tell(mark(4, nonce, 1));
    lab.tell(mark(20, nonce, 1));
    assert_eq!(ready(&lab.seen), [0; 0]);
    // One of them has voted in slot 2: it may be chosen, and its caller answered elsewhere.
    lab.tell(mark(5, nonce, 2));
    assert_eq!(ready(&lab.seen), [0; 0]);
    let answered = lab.choose(2);
    let (token, index) = (ReadToken(1), index(1));
    assert_eq!(answered.last(), Some(&Effect::Ready { token, index }));
}

#[test]
fn a_read_that_lacks_nothing_is_answered_with_the_quorum() {
    let mut lab = Lab::formed();
    lab.choose(1);
    let nonce = lab.read(1);
    lab.tell(mark(4, nonce, 1));
    assert_eq!(ready(&lab.tell(mark(5, nonce, 0))), [1]);
}

#[test]
fn answers_to_another_question_do_not_count() {
    let mut lab = Lab::formed();
    let nonce = lab.read(1);
    for id in ACCEPTORS {
        lab.tell(mark(id, nonce - 1, 0));
        lab.tell(mark(id, nonce + 1, 0));
        lab.tell_under(other_epoch().digest(), mark(id, nonce, 0));
    }
    assert_eq!(ready(&lab.seen), [0; 0]);
}

#[test]
fn a_read_that_arrives_during_a_round_waits_for_the_next_and_shares_it() {
    let mut lab = Lab::formed();
    let first = lab.read(1);
    lab.tell(mark(4, first, 0));
    for token in 2..=4 {
        assert_eq!(lab.step(Input::Read(ReadToken(token))), []);
    }
    let answered = lab.tell(mark(5, first, 0));
    assert_eq!(ready(&answered), [1]);
    let second = asked_mark(&answered).unwrap();
    assert_ne!(second, first);
    lab.tell(mark(4, second, 0));
    assert_eq!(ready(&lab.tell(mark(6, second, 0))), [2, 3, 4]);
}

#[test]
fn reads_never_go_backwards() {
    let mut lab = Lab::formed();
    let mut before = Index::ZERO;
    for number in 1..=20 {
        lab.choose(number);
        let nonce = lab.read(number);
        // The acceptors that answer differ, and one of them may be far behind.
        let (one, other) = if number % 2 == 0 { (4, 5) } else { (5, 6) };
        lab.tell(mark(one, nonce, 0));
        let answer = lab.tell(mark(other, nonce, number));
        let Some(Effect::Ready { index, .. }) = answer.last() else { panic!("an answer") };
        assert!(*index >= before && *index == index_of(number));
        before = *index;
    }
}

#[test]
fn an_unanswered_question_is_asked_again_of_those_who_owe_an_answer() {
    let mut lab = Lab::formed();
    let nonce = lab.read(1);
    lab.tell(mark(5, nonce, 0));
    let again = ToAcceptor::Mark { nonce };
    assert_eq!(to_acceptors(&lab.pass(RESEND + 1)), [(4, again.clone()), (6, again)]);
}

#[test]
fn a_read_whose_caller_has_gone_is_forgotten_wherever_it_waits() {
    let mut lab = Lab::formed();
    let nonce = lab.read(1);
    lab.step(Input::Read(ReadToken(2)));
    lab.step(Input::Forget(ReadToken(2)));
    lab.tell(mark(4, nonce, 1));
    lab.tell(mark(5, nonce, 1));
    assert_eq!(lab.status().reads_waiting, 1);
    lab.step(Input::Forget(ReadToken(1)));
    assert_eq!(lab.status().reads_waiting, 0);
    assert_eq!(ready(&lab.choose(1)), [0; 0]);
    // One forgotten during its round ends the round.
    lab.read(3);
    lab.step(Input::Forget(ReadToken(3)));
    assert_eq!(to_acceptors(&lab.pass(2 * RESEND)), []);
}

#[test]
fn a_read_before_the_epoch_is_known_waits_for_it() {
    let mut lab = Lab::new(None);
    assert_eq!(asked_mark(&lab.step(Input::Read(ReadToken(1)))), None);
    lab.tell(identity(Some(epoch()), true));
    lab.pass(REPORT);
    assert!(asked_mark(&lab.seen).is_some());
}

#[test]
fn a_read_that_waits_for_a_slot_nobody_settled_asks_the_leader_to_fill() {
    let mut lab = Lab::formed();
    let nonce = lab.read(1);
    // A vote of a leader that died: slot 1 may never be chosen by itself.
    lab.tell(mark(4, nonce, 1));
    lab.tell(mark(5, nonce, 0));
    let asked = fills(&lab.pass(2 * FILL_AFTER));
    assert_eq!(asked[0].1, ToProposer::Fill { from_slot: slot(1), through: slot(1) });
}

// Comparing states.

#[test]
fn learners_that_agree_say_so_at_checkpoints_and_one_that_differs_stops_serving() {
    let mut lab = Lab::formed();
    for number in 1..=8 {
        lab.choose(number);
    }
    let told = checkpoints(&lab.seen);
    assert_eq!(told.iter().map(|it| it.0.get()).collect::<Vec<_>>(), [3, 6]);
    let (at, hash) = told[0];
    assert_eq!(lab.tell(checkpoint(at, hash)), []);
    let stops = lab.tell(checkpoint(at, hash + 1));
    assert_eq!(stops.last(), Some(&Effect::Diverged { learner: learner(8), index: at }));
    assert!(lab.status().diverged);
    assert_eq!(lab.tell(checkpoint(at, hash + 1)), [], "said once");
}

#[test]
fn a_checkpoint_from_ahead_is_compared_on_arrival_there() {
    let mut lab = Lab::formed();
    assert_eq!(lab.tell(checkpoint(index(3), 1)), []);
    for number in 1..=3 {
        lab.choose(number);
    }
    assert!(!lab.status().diverged);
    lab.choose(4);
    assert!(lab.status().diverged);
}

#[test]
fn a_learner_that_restarted_compares_at_the_same_indices() {
    let mut lab = Lab::formed();
    for number in 1..=5 {
        lab.choose(number);
    }
    let kept = lab.learner.log().cloned().unwrap();
    let mut reborn = Lab::new(Some((epoch(), kept)));
    for number in 6..=12 {
        lab.choose(number);
        reborn.choose(number);
    }
    let theirs: BTreeSet<_> = checkpoints(&lab.seen).into_iter().collect();
    let mine: BTreeSet<_> = checkpoints(&reborn.seen).into_iter().collect();
    assert!(!mine.is_empty() && mine.is_subset(&theirs), "{mine:?} {theirs:?}");
}

#[test]
fn a_learner_that_caught_up_from_another_is_compared_too() {
    let mut lab = Lab::formed();
    lab.tell(entries_of(8, 1..=4, 4));
    lab.tell(checkpoint(index(3), 1));
    assert!(lab.status().diverged);
}

// Settings that change.

#[test]
fn a_gap_is_fetched_and_filled_as_soon_as_the_new_settings_say() {
    let mut lab = Lab::formed();
    let minute = Duration::from_secs(60);
    let fast = config().settings;
    let patient =
        LearnerSettings { gap: minute, fill_after: minute, resend: minute, ..fast.clone() };
    lab.step(Input::Settings(patient));
    lab.choose(2);
    lab.pass(1_000);
    let asked = |effects: &[Effect]| {
        effects.iter().any(|it| matches!(it, Effect::Event(Event::Fetches { .. })))
    };
    assert!(!asked(&lab.seen));
    lab.step(Input::Settings(fast));
    assert!(asked(&lab.pass(RESEND)));
    assert!(!fills(&lab.pass(FILL_AFTER)).is_empty());
}

#[test]
fn a_narrower_window_counts_fewer_votes_and_loses_none_that_it_needs() {
    let mut lab = Lab::formed();
    lab.step(Input::Settings(LearnerSettings { window_slots: 2, ..config().settings }));
    lab.choose(3);
    assert_eq!(delivered(&lab.choose(2)), [0; 0]);
    assert_eq!(delivered(&lab.choose(1)), [1, 2]);
    assert_eq!(delivered(&lab.choose(3)), [3]);
}

#[test]
fn learners_that_check_at_other_places_compare_where_they_meet() {
    let mut lab = Lab::formed();
    let settings = LearnerSettings { checkpoint_indices: 2, ..config().settings };
    lab.step(Input::Settings(settings));
    for number in 1..=8 {
        lab.choose(number);
    }
    let at: Vec<u64> = checkpoints(&lab.seen).iter().map(|it| it.0.get()).collect();
    assert_eq!(at, [2, 4, 6]);
    // One that still checks every third index.
    assert_eq!(lab.tell(checkpoint(index(3), 1)), []);
    assert!(!lab.status().diverged);
    lab.tell(checkpoint(index(6), 1));
    assert!(lab.status().diverged);
}

// The bench.

/// Learner 7. All it ever did is in `seen`.
struct Lab {
    learner: Learner,
    now: u64,
    seen: Vec<Effect>,
}

impl Lab {
    fn new(kept: Option<(Epoch, Log)>) -> Self {
        let learner = Learner::new(config(), at(0), kept);
        let mut lab = Self { learner, now: 0, seen: Vec::new() };
        lab.step(Input::Peers { learners: learners(), proposers: proposers() });
        lab
    }

    fn formed() -> Self {
        let mut lab = Self::new(None);
        lab.tell(identity(Some(epoch()), true));
        lab.seen.clear();
        lab
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        self.learner.step(at(self.now), input, &mut out);
        self.learner.flush(at(self.now), &mut out);
        self.seen.extend(out.clone());
        out
    }

    fn tell(&mut self, message: ToLearner) -> Vec<Effect> {
        self.tell_under(epoch().digest(), message)
    }

    fn tell_under(&mut self, digest: EpochDigest, message: ToLearner) -> Vec<Effect> {
        self.step(Input::Received { from: node(1), epoch: Some(digest), message })
    }

    /// Lets time pass.
    fn pass(&mut self, ms: u64) -> Vec<Effect> {
        let mut out = Vec::new();
        for _ in 0..ms {
            self.now += 1;
            if self.learner.deadline().is_some_and(|due| due <= at(self.now)) {
                self.learner.tick(at(self.now), &mut out);
                self.learner.flush(at(self.now), &mut out);
            }
        }
        self.seen.extend(out.clone());
        out
    }

    /// A leader proposes the value of a slot, and two acceptors vote for it.
    fn choose(&mut self, number: u64) -> Vec<Effect> {
        let mut out = self.tell(proposed(number));
        out.extend(self.tell(vote(4, number)));
        out.extend(self.tell(vote(5, number)));
        out
    }

    /// A read arrives while none is under way; the number of the question it asks.
    fn read(&mut self, token: u64) -> u64 {
        let asked = self.step(Input::Read(ReadToken(token)));
        asked_mark(&asked).unwrap()
    }

    fn status(&self) -> LearnerStatus {
        self.learner.status()
    }

    fn delivered_batches(&self) -> Vec<Batch> {
        let batch = |effect: &Effect| {
            if let Effect::Deliver(delivered) = effect {
                Some(delivered.batch.clone())
            } else {
                None
            }
        };
        self.seen.iter().filter_map(batch).collect()
    }
}

fn config() -> LearnerConfig {
    LearnerConfig {
        me: learner(7),
        cluster: CLUSTER.to_owned(),
        storage: directory(7),
        acceptors: acceptors(),
        first_nonce: 1_000,
        settings: LearnerSettings {
            window_slots: WINDOW,
            gap: Duration::from_millis(GAP),
            fill_after: Duration::from_millis(FILL_AFTER),
            resend: Duration::from_millis(RESEND),
            report: Duration::from_millis(REPORT),
            checkpoint_indices: CHECKPOINT,
            prompt_bytes: PROMPT_BYTES,
            kept_bytes_max: 1 << 20,
        },
    }
}

/// What is chosen in a slot: in the first a session opens, in each later one it writes one value.
fn value(number: u64) -> Batch {
    Batch::of(&[if number == 1 { open(1) } else { write(1, number, &["value"]) }])
}

fn index(number: u64) -> Index {
    Index::new(number)
}

/// The highest index once a slot is delivered.
fn index_of(slot: u64) -> Index {
    index(slot - 1)
}

fn applied(number: u64) -> Outcome {
    Outcome::Applied { first: index(number), last: index(number) }
}

fn accepted(ballot: Ballot, number: u64) -> Accepted {
    Accepted { slot: slot(number), ballot, batch: value(number) }
}

fn proposed(number: u64) -> ToLearner {
    proposed_at(ballot(5, 1), number)
}

fn proposed_at(ballot: Ballot, number: u64) -> ToLearner {
    ToLearner::Proposed(accepted(ballot, number))
}

fn vote(id: u64, number: u64) -> ToLearner {
    vote_at(ballot(5, 1), id, number)
}

fn vote_at(ballot: Ballot, id: u64, number: u64) -> ToLearner {
    let digest = value(number).digest();
    ToLearner::Vote(Vote { acceptor: acceptor(id), slot: slot(number), ballot, digest })
}

fn votes_of(id: u64, slots: std::ops::RangeInclusive<u64>, next: Option<u64>) -> ToLearner {
    ToLearner::Votes {
        acceptor: acceptor(id),
        from_slot: slot(*slots.start()),
        votes: slots.map(|number| accepted(ballot(5, 1), number)).collect(),
        next_slot: next.map(slot),
        trimmed_slot: Slot::ZERO,
    }
}

fn trimmed_votes(id: u64, trimmed: u64) -> ToLearner {
    ToLearner::Votes {
        acceptor: acceptor(id),
        from_slot: slot(1),
        votes: vec![],
        next_slot: None,
        trimmed_slot: slot(trimmed),
    }
}

fn entries_of(id: u64, slots: std::ops::RangeInclusive<u64>, delivered: u64) -> ToLearner {
    ToLearner::Entries {
        learner: learner(id),
        entries: slots.map(|number| accepted(ballot(5, 1), number)).collect(),
        delivered_slot: slot(delivered),
    }
}

fn mark(id: u64, nonce: u64, number: u64) -> ToLearner {
    ToLearner::Mark { acceptor: acceptor(id), nonce, slot: slot(number) }
}

fn checkpoint(index: Index, hash: u128) -> ToLearner {
    ToLearner::Checkpoint { learner: learner(8), index, hash }
}

fn identity(epoch: Option<Epoch>, active: bool) -> ToLearner {
    ToLearner::Identity(Identity { acceptor: acceptor(4), storage: directory(4), epoch, active })
}

fn fetch(from: u64) -> ToAcceptor {
    ToAcceptor::Fetch { from_slot: slot(from) }
}

fn fetch_entries(from: u64) -> ToLearner {
    ToLearner::FetchEntries { learner: learner(7), from_slot: slot(from) }
}

fn durable(through: u64) -> ToAcceptor {
    ToAcceptor::Durable { learner: learner(7), storage: directory(7), slot: slot(through) }
}

fn delivered(effects: &[Effect]) -> Vec<u64> {
    let slot = |effect: &Effect| {
        if let Effect::Deliver(delivered) = effect { Some(delivered.slot.get()) } else { None }
    };
    effects.iter().filter_map(slot).collect()
}

fn events(effects: &[Effect]) -> Vec<Event> {
    let event = |effect: &Effect| {
        if let Effect::Event(event) = effect { Some(event.clone()) } else { None }
    };
    effects.iter().filter_map(event).collect()
}

/// Where missing slots were fetched from: a learner, or the acceptors.
fn fetched_from(effects: &[Effect]) -> Vec<Option<NodeId>> {
    let source = |event| if let Event::Fetches { peer, .. } = event { Some(peer) } else { None };
    events(effects).into_iter().filter_map(source).collect()
}

/// From which slot on another learner was asked.
fn pages_asked(effects: &[Effect]) -> Vec<u64> {
    let slot = |event| {
        if let Event::Fetches { slot, peer: Some(_) } = event { Some(slot.get()) } else { None }
    };
    events(effects).into_iter().filter_map(slot).collect()
}

/// The reads that were answered.
fn ready(effects: &[Effect]) -> Vec<u64> {
    let token = |effect: &Effect| {
        if let Effect::Ready { token, .. } = effect { Some(token.0) } else { None }
    };
    effects.iter().filter_map(token).collect()
}

fn asked_mark(effects: &[Effect]) -> Option<u64> {
    to_acceptors(effects).into_iter().find_map(|(_, message)| {
        if let ToAcceptor::Mark { nonce } = message { Some(nonce) } else { None }
    })
}

fn fills(effects: &[Effect]) -> Vec<(u64, ToProposer)> {
    let is_fill = |message: &ToProposer| matches!(message, ToProposer::Fill { .. });
    to_proposers(effects).into_iter().filter(|(_, message)| is_fill(message)).collect()
}

fn checkpoints(effects: &[Effect]) -> Vec<(Index, u128)> {
    let told = |(_, message)| {
        if let ToLearner::Checkpoint { index, hash, .. } = message {
            Some((index, hash))
        } else {
            None
        }
    };
    to_learners(effects).into_iter().filter_map(told).collect()
}

fn sent(effects: &[Effect]) -> impl Iterator<Item = Outbound> {
    effects.iter().filter_map(|effect| {
        if let Effect::Send(outbound) = effect { Some(outbound.clone()) } else { None }
    })
}

fn to_acceptors(effects: &[Effect]) -> Vec<(u64, ToAcceptor)> {
    let to = |outbound| {
        if let Outbound::Acceptor(to, message) = outbound {
            Some((u64::from(to.node().get()), message))
        } else {
            None
        }
    };
    sent(effects).filter_map(to).collect()
}

fn to_proposers(effects: &[Effect]) -> Vec<(u64, ToProposer)> {
    let to = |outbound| {
        if let Outbound::Proposer(to, message) = outbound {
            Some((u64::from(to.node().get()), message))
        } else {
            None
        }
    };
    sent(effects).filter_map(to).collect()
}

fn to_learners(effects: &[Effect]) -> Vec<(u64, ToLearner)> {
    let to = |outbound| {
        if let Outbound::Learner(to, message) = outbound {
            Some((u64::from(to.node().get()), message))
        } else {
            None
        }
    };
    sent(effects).filter_map(to).collect()
}

fn to_clients(effects: &[Effect]) -> Vec<(NodeId, ToClient)> {
    let to = |outbound| {
        if let Outbound::Client(to, message) = outbound { Some((to, message)) } else { None }
    };
    sent(effects).filter_map(to).collect()
}
