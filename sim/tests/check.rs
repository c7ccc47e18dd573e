//! `cargo sim check` as scripts meet it: the verdict comes first, and the exit code says the same.

use std::fs;
use std::process::{Command, Output};

const GOOD: &str = "\
INFO  jepsen.util - 0\t:invoke\t:write\t1
INFO  jepsen.util - 0\t:ok\t:write\t1
INFO  jepsen.util - 1\t:invoke\t:read\tnil
INFO  jepsen.util - 1\t:ok\t:read\t1
";

const NO_HISTORY: &str = "INFO  jepsen.util - 0\t:invoke\t:push\t1\n";

#[test]
fn a_history_that_is_explained_is_linearizable() {
    let output = check(&[GOOD]);
    assert!(text(&output.stdout).starts_with("linearizable "), "{output:?}");
    assert!(text(&output.stdout).contains(": 2 operations in "), "{output:?}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_violation_is_told_with_the_shortest_prefix() {
    let broken = format!("{}{GOOD}", GOOD.replace(":read\t1", ":read\tnil"));
    let output = check(&[GOOD, &broken]);
    let lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert!(lines.iter().any(|line| line.starts_with("linearizable ")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("violation ")), "{lines:#?}");
    let prefix = "  the shortest prefix that cannot be explained is lines 1 to 4 of 8:";
    assert!(lines.iter().any(|line| line == prefix), "{lines:#?}");
    assert!(lines.last().is_some_and(|line| line.contains("4  INFO  jepsen.util - 1")));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_file_that_is_no_history_is_an_error_that_names_the_line() {
    let output = check(&[NO_HISTORY, GOOD]);
    let error = text(&output.stderr);
    assert!(
        error.contains(
            "history0:1: expected :read nil, :write NUMBER or :cas [OLD NEW], found INFO"
        ),
        "{error}"
    );
    assert!(text(&output.stdout).starts_with("linearizable "), "the others are judged");
    assert_eq!(output.status.code(), Some(2));
}

/// What is said of files with these texts.
fn check(texts: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.arg("check");
    for (nth, text) in texts.iter().enumerate() {
        let file = folder.path().join(format!("history{nth}"));
        fs::write(&file, text).expect("a file of the test");
        command.arg(file);
    }
    command.output().expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}
