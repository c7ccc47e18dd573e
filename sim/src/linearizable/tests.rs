//! The search on histories small enough to be judged by eye, and on any that a plain search can
//! judge too.

use std::collections::BTreeMap;
use std::fmt;

use proptest::prelude::*;

use super::recorded::{key_value, register};
use super::{Contradiction, End, Model, Operation, OperationOf, check_text, contradiction};

#[test]
fn what_happens_one_after_another_is_explained() {
    assert_eq!(breaks_at("0 write 1; 0 ok; 1 read; 1 ok 1; 1 cas 1 2; 1 ok; 0 read; 0 ok 2"), None);
}

#[test]
fn a_read_of_the_past_is_a_violation() {
    assert_eq!(breaks_at("0 write 1; 0 ok; 0 write 2; 0 ok; 1 read; 1 ok 1"), Some(6));
}

#[test]
fn what_happens_at_once_may_happen_in_either_order() {
    for seen in [1, 2] {
        let story = format!("0 write 1; 1 write 2; 0 ok; 1 ok; 2 read; 2 ok {seen}");
        assert_eq!(breaks_at(&story), None);
    }
}

#[test]
fn reads_that_disagree_on_an_order_are_a_violation() {
    let story = "0 write 1; 1 write 2; 2 read; 2 ok 1; 2 read; 2 ok 2; 2 read; 2 ok 1; 0 ok; 1 ok";
    assert_eq!(breaks_at(story), Some(8));
}

#[test]
fn a_lost_update_is_a_violation() {
    let story = "0 write 1; 0 ok; 1 cas 1 2; 2 cas 1 3; 1 ok; 2 ok";
    assert_eq!(breaks_at(story), Some(6));
}

#[test]
fn a_comparison_that_fails_says_what_was_not_there() {
    assert_eq!(breaks_at("0 write 1; 0 ok; 1 cas 2 3; 1 fail"), None);
    assert_eq!(breaks_at("0 write 1; 0 ok; 1 cas 1 3; 1 fail"), Some(4));
}

#[test]
fn a_write_without_an_answer_may_happen_late_or_never() {
    let story = "0 write 1; 0 ok; 1 write 2; 1 info; 2 read; 2 ok 1; 2 read; 2 ok";
    assert_eq!(breaks_at(&format!("{story} 1")), None);
    assert_eq!(breaks_at(&format!("{story} 2")), None);
    assert_eq!(breaks_at(&format!("{story} 3")), Some(8));
}

#[test]
fn a_write_without_an_answer_happens_once() {
    let story = "1 write 2; 1 info; 2 read; 2 ok 2; 0 write 1; 0 ok; 2 read; 2 ok 2";
    assert_eq!(breaks_at(story), Some(8));
}

#[test]
fn two_equal_writes_without_an_answer_may_both_happen() {
    let story = "1 write 2; 1 info; 3 write 2; 3 info; 2 read; 2 ok 2; 0 write 1; 0 ok; 2 read; \
                 2 ok 2";
    assert_eq!(breaks_at(story), None);
    let third = format!("{story}; 0 write 1; 0 ok; 2 read; 2 ok 2");
    assert_eq!(breaks_at(&third), Some(14));
}

#[test]
fn what_has_no_answer_must_have_happened_if_others_need_it() {
    let story = "0 write 1; 0 ok; 1 cas 1 2; 1 info; 2 cas 2 3; 2 ok; 0 read; 0 ok";
    assert_eq!(breaks_at(&format!("{story} 3")), None);
    assert_eq!(breaks_at(&format!("{story} 1")), Some(8));
}

#[test]
fn nothing_happens_before_it_is_invoked() {
    assert_eq!(breaks_at("0 read; 0 ok 1; 1 write 1; 1 info"), Some(2));
}

#[test]
fn a_read_that_timed_out_tells_nothing() {
    assert_eq!(breaks_at("0 read; 0 info; 1 read; 1 fail; 0 write 1; 0 ok"), None);
}

#[test]
fn a_write_that_was_denied_never_happened() {
    let story = "0 write 1; 1 read; 1 ok 1; 0 fail";
    assert_eq!(breaks_at(story), Some(4), "until then it could have happened");
}

#[test]
fn a_contradiction_tells_what_would_have_been_possible() {
    let text = jepsen("0 write 1; 0 ok; 1 write 2; 2 read; 2 ok 3; 1 ok");
    let recording = register::parse(&text).unwrap();
    let (_, operations) = recording.objects().next().unwrap();
    let Some(Contradiction { at, mut states }) =
        contradiction::<register::Register>(operations, usize::MAX)
    else {
        panic!("3 was never written");
    };
    states.sort_by_key(|state| state.0);
    let held = states.iter().map(|state| state.0.unwrap()).collect::<Vec<_>>();
    assert_eq!((at, held), (5, vec![1, 2]));
}

#[test]
fn of_many_keys_the_one_that_breaks_first_is_told() {
    let text = r#"
        {:process 0, :type :invoke, :f :append, :key "b", :value "x"}
        {:process 0, :type :ok, :f :append, :key "b", :value "x"}
        {:process 1, :type :invoke, :f :get, :key "b", :value nil}
        {:process 2, :type :invoke, :f :get, :key "a", :value nil}
        {:process 1, :type :ok, :f :get, :key "b", :value ""}
        {:process 2, :type :ok, :f :get, :key "a", :value "y"}
        "#;
    let report = check_text(text).unwrap();
    let violation = report.violation.unwrap();
    assert_eq!((report.operations, violation.prefix_lines), (3, 6));
    assert_eq!(violation.shown.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 4, 6]);
    assert!(violation.reason.contains(r#"key "b" would hold "x""#), "{}", violation.reason);
}

#[test]
fn a_line_that_does_not_belong_is_named() {
    let put = r#"{:process 0, :type :invoke, :f :put, :key "b", :value "x"}"#;
    let broken = [
        (String::new(), 1, "a line of Jepsen"),
        ("hello".to_owned(), 1, "a line of Jepsen"),
        ("INFO  jepsen.util - 0 :invoke :read nil\nhello".to_owned(), 2, "INFO jepsen.util"),
        (jepsen("0 read; 1 ok 1"), 2, "an answer to what this process last invoked"),
        (jepsen("0 read; 0 read"), 2, "the answer that this process waits for"),
        (jepsen("0 read; 0 ok x"), 2, "an answer to what this process last invoked"),
        (jepsen("0 write x"), 1, ":read nil, :write NUMBER or :cas [OLD NEW]"),
        (format!("{put}\n{put}"), 2, "the answer that this process waits for"),
        (format!("{put}\n{}", put.replace(":invoke", ":ok").replace("\"x\"", "\"y\"")), 2, "an"),
        (put.replace(":put", ":push"), 1, "put, append or get"),
        (put.replace(":key", ":kei"), 1, "a :key"),
        (put.replace("\"}", "}"), 1, "{:FIELD VALUE, …}"),
        ("{\"event\":\"wish\"}".to_owned(), 1, "an event of a paxosd history"),
    ];
    for (text, line, expected) in broken {
        let fault = check_text(&text).unwrap_err();
        assert_eq!(fault.line, line, "{fault}");
        assert!(fault.expected.starts_with(expected), "{fault}");
    }
}

proptest! {
    #[test]
    fn the_search_agrees_with_a_plain_one_on_registers(
        operations in operations(register_operation())
    ) {
        agrees_with_a_plain_search::<register::Register>(&operations)?;
    }

    #[test]
    fn the_search_agrees_with_a_plain_one_on_texts(
        operations in operations(text_operation())
    ) {
        agrees_with_a_plain_search::<key_value::Text>(&operations)?;
    }
}

/// The line at which `story` cannot be explained, told in short: `0 write 1; 0 ok`.
fn breaks_at(story: &str) -> Option<usize> {
    check_text(&jepsen(story)).unwrap().violation.map(|violation| violation.prefix_lines)
}

/// `story` as Jepsen would have recorded it.
fn jepsen(story: &str) -> String {
    let mut asked: BTreeMap<&str, (&str, String)> = BTreeMap::new();
    let mut lines = Vec::new();
    for event in story.split("; ") {
        let words: Vec<&str> = event.split(' ').collect();
        let process = words[0];
        let (kind, (function, value)) = match words[1..] {
            ["read"] => (":invoke", (":read", "nil".to_owned())),
            ["write", number] => (":invoke", (":write", number.to_owned())),
            ["cas", old, new] => (":invoke", (":cas", format!("[{old} {new}]"))),
            ["ok", seen] => (":ok", (":read", seen.to_owned())),
            ["ok"] => (":ok", asked[process].clone()),
            ["fail"] if asked[process].0 == ":cas" => (":fail", asked[process].clone()),
            ["fail"] => (":fail", (asked[process].0, ":refused".to_owned())),
            ["info"] => (":info", (asked[process].0, ":timed-out".to_owned())),
            _ => panic!("{event}"),
        };
        if kind == ":invoke" {
            asked.insert(process, (function, value.clone()));
        }
        lines.push(format!("INFO  jepsen.util - {process}\t{kind}\t{function}\t{value}"));
    }
    lines.join("\n")
}

/// A few operations, each an input with an answer it could have, with calls and ends anywhere.
fn operations<Input: Clone + fmt::Debug, Output: Clone + fmt::Debug>(
    asked_and_answered: impl Strategy<Value = (Input, Output)>,
) -> impl Strategy<Value = Vec<Operation<Input, Output>>> {
    let operation = (asked_and_answered, 0..100_usize, 0..50_usize, 0..10_u8);
    prop::collection::vec(operation, 1..=7).prop_map(|drawn| {
        let place = |(number, ((input, output), call, length, kind))| {
            // No two events share a place.
            let (called_at, at) = (call * 20 + number, (call + 1 + length) * 20 + 10 + number);
            let end = match kind {
                0 => End::Unknown,
                1 => End::Denied { at },
                _ => End::Returned { at, output },
            };
            Operation { input, called_at, end }
        };
        drawn.into_iter().enumerate().map(place).collect()
    })
}

fn register_operation() -> impl Strategy<Value = (register::Input, register::Output)> {
    use register::{Content, Input, Output};
    prop_oneof![
        (0..3_i64).prop_map(|it| (Input::Read, Output::Read(Content((it > 0).then_some(it))))),
        (1..3_i64).prop_map(|it| (Input::Write(it), Output::Written)),
        (1..3_i64, 1..3_i64, any::<bool>())
            .prop_map(|(old, new, is)| (Input::CompareAndSet(old, new), Output::Compared(is))),
    ]
}

fn text_operation() -> impl Strategy<Value = (key_value::Input, key_value::Output)> {
    use key_value::{Input, Output};
    prop_oneof![
        "[ab]".prop_map(|text| (Input::Put(text), Output::Written)),
        "[ab]".prop_map(|text| (Input::Append(text), Output::Written)),
        "[ab]{0,3}".prop_map(|text| (Input::Get, Output::Found(text))),
    ]
}

/// That the first event at which a plain search finds no order is where the search says so.
fn agrees_with_a_plain_search<M: Model>(
    operations: &[OperationOf<M>],
) -> Result<(), TestCaseError> {
    let mut ends: Vec<usize> = operations.iter().filter_map(Operation::ended_at).collect();
    ends.sort_unstable();
    let broken = ends.into_iter().find(|at| {
        let open: Vec<&OperationOf<M>> =
            operations.iter().filter(|it| it.called_at < *at).collect();
        !is_explained::<M>(&M::initial(), &open, *at)
    });
    let found = contradiction::<M>(operations, usize::MAX).map(|found| found.at);
    prop_assert_eq!(found, broken);
    Ok(())
}

/// Whether `open` can happen in some order from `state` on, as far as its events through `through`
/// tell: tried one by one, with no regard to time.
fn is_explained<M: Model>(state: &M::State, open: &[&OperationOf<M>], through: usize) -> bool {
    let returned = |it: &OperationOf<M>| match it.end {
        End::Returned { at, .. } if at <= through => Some(at),
        End::Returned { .. } | End::Denied { .. } | End::Unknown => None,
    };
    let first_return = open.iter().filter_map(|it| returned(it)).min();
    let Some(first_return) = first_return else { return true };
    open.iter().enumerate().any(|(nth, operation)| {
        let output = match &operation.end {
            End::Denied { at } if *at <= through => return false,
            End::Returned { at, output } if *at <= through => Some(output),
            End::Returned { .. } | End::Denied { .. } | End::Unknown => None,
        };
        let after = M::step(state, &operation.input, output);
        let rest = [&open[..nth], &open[nth + 1..]].concat();
        operation.called_at < first_return
            && after.is_some_and(|after| is_explained::<M>(&after, &rest, through))
    })
}
