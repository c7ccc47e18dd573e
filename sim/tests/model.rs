//! The model checker on the core: small bounds for every push; and that it finds what is wrong.

use sim::model::{self, Bounds, Planted};

#[test]
fn every_state_within_small_bounds_holds() {
    for bounds in model::QUICK {
        let outcome = model::check(*bounds);
        assert!(outcome.holds(), "{outcome}");
        assert!(outcome.states > 300, "too few states to mean anything: {outcome}");
    }
}

#[test]
fn an_acceptor_that_forgets_at_a_crash_is_found() {
    let outcome = model::check(with(Planted::Amnesia, [1, 1, 0]));
    let broken = outcome.broken.expect("a promise was forgotten");
    assert_eq!(broken.rule, "a promise only rises");
    assert_eq!(broken.actions.len(), 3, "begin, promise, restart: {:?}", broken.actions);
}

#[test]
fn a_quorum_of_one_promise_is_found() {
    let outcome = model::check(with(Planted::PromiseCountsTwice, [1, 1, 0]));
    let broken = outcome.broken.expect("a leader counted one acceptor as two");
    assert_eq!(broken.rule, "what a proposer holds for chosen is chosen");
}

#[test]
fn an_incarnation_used_twice_is_found() {
    let outcome = model::check(with(Planted::SameIncarnation, [2, 0, 0]));
    let broken = outcome.broken.expect("a ballot was used twice");
    assert_eq!(broken.rule, "a ballot has one value in a slot");
    assert_eq!(broken.actions.len(), 8, "the shortest way: {:?}", broken.actions);
}

fn with(planted: Planted, ballots: [u64; 3]) -> Bounds {
    let planted = Some(planted);
    Bounds { ballots, lives: [2, 1, 1], slots: 1, learner: false, planted }
}
