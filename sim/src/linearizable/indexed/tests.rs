//! A good history of paxosd, and the same broken in every way: each must be seen, where it happens.

use super::*;

/// Two writers and two readers; `d` is never answered and applied, `e` never answered and lost, `f`
/// refused, `g` sent twice under one key.
const GOOD: &str = r#"{"event":"write","id":1,"values":["a"]}
{"event":"write","id":2,"values":["b","c"]}
{"event":"applied","id":2,"first_index":1,"last_index":2}
{"event":"read","id":3,"from":1,"limit":10}
{"event":"applied","id":1,"first_index":3,"last_index":3}
{"event":"served","id":3,"first_index":1,"values":["b","c"],"delivered_index":2}
{"event":"note","text":"acceptor2 is killed"}
{"event":"write","id":4,"values":["d"]}
{"event":"unknown","id":4}
{"event":"write","id":5,"values":["e"]}
{"event":"write","id":6,"values":["f"]}
{"event":"not_applied","id":6}
{"event":"read","id":7,"limit":2}
{"event":"served","id":7,"first_index":3,"values":["a","d"],"delivered_index":4}
{"event":"read","id":8,"from":2,"limit":2,"stale":true}
{"event":"served","id":8,"first_index":2,"values":["c"],"delivered_index":2}
{"event":"write","id":9,"key":"k","values":["g"]}
{"event":"unknown","id":9}
{"event":"write","id":10,"key":"k","values":["g"]}
{"event":"applied","id":10,"first_index":5,"last_index":5}
{"event":"write","id":11,"key":"k","values":["g"]}
{"event":"applied","id":11,"first_index":5,"last_index":5}
{"event":"log","learner":7,"first_index":1,"values":["b","c","a"]}
{"event":"log","learner":8,"first_index":1,"values":["b","c","a","d","g"]}
{"event":"log","learner":7,"first_index":4,"values":["d","g"]}
"#;

const SERVED_3: &str = r#""id":3,"first_index":1,"values":["b","c"],"delivered_index":2"#;
const SERVED_7: &str = r#""id":7,"first_index":3,"values":["a","d"],"delivered_index":4"#;
const LOG_7: &str = r#""learner":7,"first_index":4,"values":["d","g"]"#;
/// How both logs end.
const LOGS_END: &str = "\"d\",\"g\"]}\n";

const TOGETHER: &str = "the values of one write stand together";
const BEHIND: &str = "a write stands behind all that was told before it began";

#[test]
fn a_good_history_holds() {
    assert_eq!(judge(&History::parse(GOOD).unwrap()), Ok(None));
}

#[test]
fn a_history_reads_as_it_was_written() {
    let history = History::parse(GOOD).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    history.save(&file).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), GOOD);
}

#[test]
fn an_answer_that_names_another_index_is_seen() {
    let answer = r#""id":1,"first_index":3,"last_index":3"#;
    let other = r#""id":1,"first_index":4,"last_index":4"#;
    breaks(&[(answer, other)], "an answered write stands at its index", 5);
}

#[test]
fn an_answer_with_too_many_indices_is_seen() {
    let change = (r#""last_index":2"#, r#""last_index":3"#);
    breaks(&[change], "an answered write tells all its indices", 3);
}

#[test]
fn a_lost_write_is_seen() {
    let changes = [
        (r#""values":["b","c","a","d","g"]"#, r#""values":["b","c","d","g"]"#),
        (r#""values":["b","c","a"]"#, r#""values":["b","c"]"#),
        (r#""learner":7,"first_index":4"#, r#""learner":7,"first_index":3"#),
    ];
    breaks(&changes, "an answered write stands at its index", 5);
}

#[test]
fn values_of_one_write_that_stand_apart_are_seen() {
    breaks(&[(r#"["b","c","a""#, r#"["b","a","c""#)], TOGETHER, 2);
}

#[test]
fn half_of_a_write_is_seen() {
    let both = (r#""id":5,"values":["e"]"#, r#""id":5,"values":["e","h"]"#);
    breaks(&[both, (LOGS_END, "\"d\",\"g\",\"e\"]}\n")], TOGETHER, 10);
}

#[test]
fn a_write_below_an_answer_that_it_came_after_is_seen() {
    let text = r#"{"event":"write","id":1,"values":["a"]}
{"event":"applied","id":1,"first_index":2,"last_index":2}
{"event":"write","id":2,"values":["b"]}
{"event":"applied","id":2,"first_index":1,"last_index":1}
{"event":"log","learner":7,"first_index":1,"values":["b","a"]}"#;
    let broken = judge(&History::parse(text).unwrap()).unwrap().unwrap();
    assert_eq!((broken.rule, broken.place, broken.evidence), (BEHIND, 2, vec![1]));
}

#[test]
fn an_unknown_write_below_an_answer_that_it_came_after_is_seen() {
    let late = [
        (r#"{"event":"write","id":4,"values":["d"]}"#, r#"{"event":"note","text":""}"#),
        (r#"{"event":"unknown","id":4}"#, r#"{"event":"note","text":""}"#),
        (
            "{\"event\":\"read\",\"id\":8",
            "{\"event\":\"write\",\"id\":4,\"values\":[\"d\"]}\n{\"event\":\"read\",\"id\":8",
        ),
    ];
    breaks(&late, BEHIND, 15);
}

#[test]
fn an_attempt_that_was_refused_does_not_explain_an_index() {
    let text = r#"{"event":"write","id":1,"key":"k","values":["a"]}
{"event":"unknown","id":1}
{"event":"write","id":2,"values":["b"]}
{"event":"applied","id":2,"first_index":2,"last_index":2}
{"event":"write","id":3,"key":"k","values":["a"]}
{"event":"applied","id":3,"first_index":1,"last_index":1}
{"event":"log","learner":7,"first_index":1,"values":["a","b"]}"#;
    assert_eq!(judge(&History::parse(text).unwrap()), Ok(None));
    let refused = History::parse(&text.replace("unknown", "not_applied")).unwrap();
    let broken = judge(&refused).unwrap().unwrap();
    assert_eq!((broken.rule, broken.place), (BEHIND, 4));
}

#[test]
fn a_refused_write_that_is_applied_is_seen() {
    let change = (LOGS_END, "\"d\",\"g\",\"f\"]}\n");
    breaks(&[change], "a refused write is never applied", 12);
}

#[test]
fn a_read_that_misses_an_answered_write_is_seen() {
    let stale = r#""id":7,"first_index":2,"values":["c","a"],"delivered_index":3"#;
    assert_eq!(verdict(&[(SERVED_7, stale)]), None, "nobody was told of more");
    let staler = r#""id":7,"first_index":1,"values":["b","c"],"delivered_index":2"#;
    let rule = "a read sees all that was told before it began";
    breaks(&[(SERVED_7, staler)], rule, 14);
}

#[test]
fn a_read_that_misses_what_another_read_saw_is_seen() {
    let again = (
        "{\"event\":\"read\",\"id\":8,\"from\":2,\"limit\":2,\"stale\":true}",
        "{\"event\":\"read\",\"id\":8,\"from\":2,\"limit\":2}",
    );
    breaks(&[again], "a read sees all that was told before it began", 16);
}

#[test]
fn what_a_stale_read_saw_binds_those_after_it() {
    let change = [
        (
            r#"{"event":"read","id":3,"from":1,"limit":10}"#,
            r#"{"event":"read","id":3,"from":1,"limit":10,"stale":true}"#,
        ),
        (SERVED_3, r#""id":3,"first_index":1,"values":["b","c","a","d"],"delivered_index":4"#),
    ];
    breaks(&change, BEHIND, 8);
}

#[test]
fn a_read_of_another_value_is_seen() {
    let change = (SERVED_7, r#""id":7,"first_index":3,"values":["a","e"],"delivered_index":4"#);
    breaks(&[change], "a read gives what stands in the log", 14);
}

#[test]
fn a_read_of_half_a_write_is_seen() {
    let change = (r#""values":["c"],"delivered_index":2"#, r#""values":[],"delivered_index":1"#);
    breaks(&[change], "a read sees all of a write or nothing", 16);
}

#[test]
fn a_learner_with_half_a_write_is_seen() {
    let both = (r#""id":5,"values":["e"]"#, r#""id":5,"values":["e","h"]"#);
    let whole = (LOGS_END, "\"d\",\"g\",\"e\",\"h\"]}\n");
    assert_eq!(verdict(&[both, whole]), None);
    let half = (r#""values":["d","g","e","h"]"#, r#""values":["d","g","e"]"#);
    breaks(&[both, whole, half], "a learner has all of a write or nothing", 25);
}

#[test]
fn a_page_that_was_not_asked_for_is_seen() {
    let rule = "a read gives the page that was asked for";
    let short = r#""id":3,"first_index":1,"values":["b"],"delivered_index":2"#;
    breaks(&[(SERVED_3, short)], rule, 6);
    let elsewhere = r#""id":3,"first_index":2,"values":["c"],"delivered_index":2"#;
    breaks(&[(SERVED_3, elsewhere)], rule, 6);
    breaks(&[(r#""from":2,"limit":2,"stale""#, r#""from":3,"limit":2,"stale""#)], rule, 16);
}

#[test]
fn a_value_that_was_seen_and_lost_is_seen() {
    let change = (SERVED_7, r#""id":7,"first_index":5,"values":["g","e"],"delivered_index":6"#);
    breaks(&[change], "nothing that was told is lost", 14);
}

#[test]
fn a_learner_that_lags_behind_an_answer_is_seen() {
    let change = (LOG_7, r#""learner":7,"first_index":4,"values":["d"]"#);
    breaks(&[change], "nothing that was told is lost", 25);
}

#[test]
fn a_learner_may_lack_what_nobody_was_told_of() {
    let change = (r#""a","d","g"]"#, r#""a","d","g","e"]"#);
    assert_eq!(verdict(&[change]), None);
}

#[test]
fn learners_that_differ_are_seen() {
    let change = (LOG_7, r#""learner":7,"first_index":4,"values":["d","e"]"#);
    breaks(&[change], "learners agree", 25);
}

#[test]
fn a_value_that_is_applied_twice_is_seen() {
    breaks(&[(LOGS_END, "\"d\",\"g\",\"d\"]}\n")], "nothing is applied twice", 24);
}

#[test]
fn a_value_that_nobody_sent_is_seen() {
    let rule = "nothing is applied that was not sent";
    breaks(&[(LOGS_END, "\"d\",\"g\",\"z\"]}\n")], rule, 24);
}

#[test]
fn what_is_no_history_is_refused() {
    let refused: [(&str, &str, usize, &str); 10] = [
        (r#""id":2,"values":["b","c"]"#, r#""id":1,"values":["b","c"]"#, 2, "an id"),
        (r#""id":2,"values":["b","c"]"#, r#""id":2,"values":["b","a"]"#, 2, "values that were"),
        (r#""id":2,"values":["b","c"]"#, r#""id":2,"values":["b","b"]"#, 2, "values that differ"),
        (r#""id":2,"values":["b","c"]"#, r#""id":2,"values":[]"#, 2, "at least one"),
        (r#""id":10,"key":"k""#, r#""id":10,"key":"l""#, 19, "values that were"),
        (
            r#"{"event":"not_applied","id":6}"#,
            r#"{"event":"not_applied","id":2}"#,
            12,
            "one answer",
        ),
        (
            r#"{"event":"not_applied","id":6}"#,
            r#"{"event":"not_applied","id":3}"#,
            12,
            "an answer to",
        ),
        (r#"{"event":"unknown","id":4}"#, r#"{"event":"unknown","id":44}"#, 9, "a call without"),
        (r#""learner":7,"first_index":4"#, r#""learner":7,"first_index":5"#, 25, "the page behind"),
        (
            r#"{"event":"log","learner":8"#,
            "{\"event\":\"unknown\",\"id\":4}\n{\"event\":\"log\",\"learner\":8",
            24,
            "nothing but logs",
        ),
    ];
    for (text, other, line, expected) in refused {
        let fault = judge(&changed(&[(text, other)])).unwrap_err();
        assert_eq!(fault.line, line, "{fault}");
        assert!(fault.expected.starts_with(expected), "{fault}");
    }
    let fault = judge(&History::default()).unwrap_err();
    assert_eq!(fault.expected, "the log of a learner");
}

/// That the good history with these changes breaks `rule` in this line.
fn breaks(changes: &[(&str, &str)], rule: &str, line: usize) {
    let broken = judge(&changed(changes)).unwrap().expect("it is broken");
    assert_eq!((broken.rule, broken.place + 1), (rule, line), "{broken}");
}

fn verdict(changes: &[(&str, &str)]) -> Option<Broken> {
    judge(&changed(changes)).unwrap()
}

/// The good history, each text replaced by the other.
fn changed(changes: &[(&str, &str)]) -> History {
    let mut text = GOOD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text = text.replace(from, to);
    }
    History::parse(&text).unwrap()
}
