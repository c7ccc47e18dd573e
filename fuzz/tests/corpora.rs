//! Every target over its whole corpus, and over changes to it: what a stable compiler can fuzz.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use fuzz::TARGETS;
use fuzz::mutate::mutate;
use sim::chance::Chance;

/// Changed inputs of one target; a run of a cluster costs as much as a thousand of the others.
const CHANGED: u64 = 3_000;
const CHANGED_CLUSTERS: u64 = 12;

/// Bytes of all corpora together at most.
const CORPORA_BYTES_MAX: usize = 1 << 20;

#[test]
fn acceptor_holds_over_its_corpus() {
    over_corpus("acceptor", CHANGED);
}

#[test]
fn cluster_holds_over_its_corpus() {
    over_corpus("cluster", CHANGED_CLUSTERS);
}

#[test]
fn config_holds_over_its_corpus() {
    over_corpus("config", CHANGED / 10);
}

#[test]
fn http_body_holds_over_its_corpus() {
    over_corpus("http_body", CHANGED);
}

#[test]
fn journal_holds_over_its_corpus() {
    over_corpus("journal", CHANGED);
}

#[test]
fn wire_holds_over_its_corpus() {
    over_corpus("wire", CHANGED);
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_they_are_small() {
    let mut bytes = 0;
    for (name, _) in TARGETS {
        let program = folder().join("fuzz_targets").join(format!("{name}.rs"));
        assert!(program.is_file(), "{} is missing", program.display());
        bytes += corpus(name).iter().map(|(_, input)| input.len()).sum::<usize>();
    }
    assert!(bytes < CORPORA_BYTES_MAX, "the corpora take {bytes} bytes");
}

/// Runs the target `name` over each file of its corpus, then over `changed` changes to them.
fn over_corpus(name: &str, changed: u64) {
    let target = TARGETS.iter().find(|(found, _)| *found == name).map(|(_, target)| *target);
    let target = target.expect("the target is listed");
    let corpus = corpus(name);
    for (path, input) in &corpus {
        run(target, input, &path.display().to_string());
    }
    let others = corpus.iter().cycle().skip(corpus.len() / 2);
    for ((seed, (path, input)), (_, other)) in (0..changed).zip(corpus.iter().cycle()).zip(others) {
        let input = mutate(input, other, &mut Chance::of_seed(seed));
        run(target, &input, &format!("change {seed} of {}", path.display()));
    }
}

/// Runs a target, and tells of what where it panics.
fn run(target: fn(&[u8]), input: &[u8], what: &str) {
    let held = std::panic::catch_unwind(|| target(input)).is_ok();
    assert!(held, "broken by {what}: {}", input.escape_ascii());
}

/// The corpus of a target, in the order of its names.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder().join("corpus").join(name);
    let files = fs::read_dir(&folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<BTreeSet<_>>>()
    });
    let files = files.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let input = |path: PathBuf| {
        let bytes = fs::read(&path).expect("a file of the corpus can be read");
        (path, bytes)
    };
    files.into_iter().map(input).collect()
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
