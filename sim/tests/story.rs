//! A failing seed is a story: what is left of it runs again byte for byte, and reads as a page.

use std::collections::BTreeSet;

use paxosd::types::Slot;
use sim::minimise::minimise;
use sim::plan::{Kept, Plan};
use sim::runner::run_plan;
use sim::{Keeps, Kind, Report, Schedule, Subject, Violation, What, story};

/// One whose links are like TCP, and one whose links lose, double and reorder.
const SEEDS: [u64; 2] = [3, 4];

#[test]
fn what_did_not_happen_can_be_left_out_of_a_plan() {
    for seed in SEEDS {
        let all = run_plan(&Plan::of(seed), Keeps::Schedule);
        let plan = only(seed, &all.schedule);
        let left = run_plan(&plan, Keeps::Schedule);
        assert_eq!(left.hash, all.hash, "seed {seed}");
        assert_eq!(left.schedule, all.schedule, "seed {seed}");
    }
}

#[test]
fn a_plan_gives_the_same_run_twice_whatever_is_kept_of_it() {
    for seed in SEEDS {
        let mut schedule = run_plan(&Plan::of(seed), Keeps::Schedule).schedule;
        schedule.faults.truncate(3);
        schedule.operations.retain(|number| number % 2 == 0);
        schedule.messages.clear();
        let plan = only(seed, &schedule);
        let reread: Plan = plan.to_string().parse().unwrap();
        let hashes = [
            run_plan(&plan, Keeps::Hash).hash,
            run_plan(&reread, Keeps::Lines).hash,
            run_plan(&reread, Keeps::Moments).hash,
        ];
        assert_eq!(BTreeSet::from(hashes).len(), 1, "seed {seed}: {hashes:?}");
    }
}

#[test]
fn a_run_without_a_fault_is_the_same_until_it_would_strike() {
    for seed in SEEDS {
        let all = run_plan(&Plan::of(seed), Keeps::Lines);
        let mut schedule = run_plan(&Plan::of(seed), Keeps::Schedule).schedule;
        let Some(last) = schedule.faults.pop() else { continue };
        let faults = Kept::Only(schedule.faults.into_iter().collect());
        let without = run_plan(&Plan { faults, ..Plan::of(seed) }, Keeps::Lines);
        let mark = format!("fault {last}: ");
        let until = all.lines.iter().position(|line| line.contains(&mark)).unwrap();
        assert!(until > 100, "seed {seed}: the last fault strikes early");
        // The first line tells the options.
        assert_eq!(all.lines.get(..until), without.lines.get(..until), "seed {seed}");
        assert!(!without.lines.iter().any(|line| line.contains(&mark)), "seed {seed}");
    }
}

#[test]
fn a_run_shrinks_to_what_breaks_its_rule() {
    // A rule that the core does not keep, so that it breaks: no node crashes after a write.
    let run = |plan: &Plan| {
        let mut report = run_plan(plan, Keeps::Schedule);
        let crashes = report.counters.faults.get("crash").copied().unwrap_or(0);
        let breaks = crashes > 0 && report.counters.writes > 0;
        report.violation =
            breaks.then(|| Violation { rule: "nothing crashes", detail: "it did".to_owned() });
        report
    };
    let seed = (0..100).find(|seed| run(&Plan::of(*seed)).violation.is_some()).unwrap();
    let before = run(&Plan::of(seed));
    let shrunk = minimise(&Plan::of(seed), 60, run).unwrap();
    assert_eq!(shrunk.report.violation, before.violation);
    assert!(shrunk.report.counters.events * 4 < before.counters.events, "{}", shrunk.plan);
    assert_eq!(shrunk.report.schedule.faults.len(), 1, "{}", shrunk.plan);
    let again = run(&shrunk.plan.to_string().parse().unwrap());
    assert_eq!(again.hash, shrunk.report.hash, "{}", shrunk.plan);
}

#[test]
fn a_page_names_the_rule_and_shows_who_said_what() {
    for seed in SEEDS {
        let (report, slot) = accused(seed);
        let page = story::html(&report, None);
        assert_well_formed(&page);
        let intro = page.find("<h2>").unwrap();
        let (first, _) = page.split_at(intro);
        assert!(first.contains("<h1>One value per slot</h1>"), "seed {seed}: {first}");
        assert!(first.contains("may hold one value only"), "seed {seed}: {first}");
        for role in ["clients ask", "proposers lead", "acceptors vote", "learners deliver"] {
            assert!(page.contains(role), "seed {seed}: no lane of {role}");
        }
        for word in ["Accept b", "Vote b"] {
            assert!(page.contains(word), "seed {seed}: no {word}");
        }
        assert!(page.contains(&format!("slot {slot} = A")), "seed {seed}: nothing about the slot");
        assert!(page.contains("is broken here, seen at"), "seed {seed}: no mark");
        assert!(page.contains(&format!("cargo sim --plan {seed}")), "seed {seed}: no plan");
        let outside = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("http") && !outside.contains("<script"), "seed {seed}");
        assert_eq!(page, story::html(&accused(seed).0, None), "seed {seed}: told differently");
    }
}

#[test]
fn a_seed_that_holds_is_told_as_such() {
    let told = story::tell(&Plan::of(0), true);
    assert_eq!((told.plan, told.text.as_str()), (Plan::of(0), ""));
    assert_well_formed(&told.html);
    assert!(told.html.contains("every rule holds"), "{}", told.html);
}

/// What chance decided, and nothing else.
fn only(seed: u64, schedule: &Schedule) -> Plan {
    Plan {
        faults: Kept::Only(schedule.faults.iter().copied().collect()),
        operations: Kept::Only(schedule.operations.iter().copied().collect()),
        messages: Kept::Only(schedule.messages.iter().copied().collect()),
        ..Plan::of(seed)
    }
}

/// An honest run, cut after a delivery and wrongly accused.
fn accused(seed: u64) -> (Report, Slot) {
    let mut report = run_plan(&Plan::of(seed), Keeps::Moments);
    let writes = |what: &What| {
        let What::Notes(Kind::Answers, _, line) = what else { return false };
        line.contains(": Applied")
    };
    let answer = report.moments.iter().position(|it| writes(&it.what));
    let answer = answer.expect("a write is answered");
    report.moments.truncate(answer + 1);
    let delivered = report.moments.iter().rev().find_map(|moment| match &moment.what {
        What::Tells(event) => (event.kind() == "deliver").then_some((moment.node, event.slot()?)),
        What::Sends { .. } | What::Receives(_) | What::Notes(..) => None,
    });
    let (actor, slot) = delivered.expect("what is answered was delivered");
    report.subject = Subject { actor, slot: Some(slot), ..Subject::default() };
    report.violation =
        Some(Violation { rule: "one value per slot", detail: format!("slot {slot} <&> more") });
    (report, slot)
}

/// Every tag that opens closes, in order, and no bare sign stands between them.
fn assert_well_formed(page: &str) {
    let mut open = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("it says what it is");
    while let Some(at) = rest.find('<') {
        let (text, tag) = rest.split_at(at);
        let is_style = open.last() == Some(&"style");
        assert!(is_style || !text.contains('>'), "a bare sign in {text:?}");
        let (tag, after) = tag[1..].split_once('>').expect("a tag ends");
        rest = after;
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "before {after:.80}");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().expect("a tag has a name"));
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}
