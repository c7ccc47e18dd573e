//! Configuration files and environments. A text is a configuration or a list of errors, each with a
//! place that exists; a configuration that is written out reads back as the same.

use paxosd::config::{Config, ConfigErrors, Env, Place};
use serde_yaml::Value;

const FILE: &str = "fuzzed.yaml";
/// What ends a line of YAML.
const BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// Reads `bytes` as a file and, behind a zero byte, an environment: `NAME=value`, one a line.
///
/// # Panics
/// When an error names no place, or a configuration does not survive being written out.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (file, environment) = text.split_once('\0').unwrap_or((&text, ""));
    let env: Env = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match Config::parse(FILE.to_owned(), file.to_owned(), &env) {
        Ok(config) => check_config(&config, &env),
        Err(errors) => check_errors(&errors, file),
    }
}

fn check_config(config: &Config, env: &Env) {
    assert!(!config.acceptors().is_empty(), "a cluster has acceptors");
    for node in &config.nodes {
        assert_eq!(config.node(node.id).map(|it| &it.name), Some(&node.name), "ids are unique");
        assert_eq!(config.named(&node.name).map(|it| it.id), Some(node.id), "names are unique");
    }
    let written = written(config);
    let again = Config::parse(FILE.to_owned(), written.clone(), &Env::new())
        .unwrap_or_else(|errors| panic!("{errors}\n{written}"));
    assert_eq!(self::written(&again), written, "what was written out reads back");
    if let Ok(dev) = config.for_dev() {
        assert_eq!(dev.nodes.len(), config.nodes.len(), "a development cluster has every node");
    }
    match config.identify(None, env) {
        Ok(me) => {
            let listed = config.node(me.id);
            assert!(listed.is_none_or(|it| *it == me), "a listed node is as it is listed");
        }
        Err(errors) => check_errors(&errors, ""),
    }
}

/// `config` as a file; what is not set is left out.
fn written(config: &Config) -> String {
    let mut value = serde_yaml::to_value(config).expect("settings have a YAML form");
    if let Value::Mapping(top) = &mut value {
        top.retain(|_, value| !value.is_null());
    }
    serde_yaml::to_string(&value).expect("settings have a YAML form")
}

fn check_errors(errors: &ConfigErrors, file: &str) {
    assert!(errors.iter().next().is_some(), "a refusal says why");
    for error in errors.iter() {
        assert!(!error.message.is_empty(), "an error says what to write");
        match &error.place {
            Place::File { file } => assert_eq!(file, FILE),
            Place::Line { line, column, .. } => {
                // The reader may notice only behind the last line that something is missing.
                let last = file.chars().filter(|letter| BREAKS.contains(letter)).count() + 2;
                let is_there = file.is_empty() || (1..=last).contains(line);
                assert!(is_there && *column >= 1, "{error}: there are {last} lines");
            }
            Place::Variable(name) => assert!(!name.is_empty(), "{error}: no variable is named"),
            // Where nothing says which node this is, that is the place to say it.
            Place::CommandLine => assert!(file.is_empty(), "{error}: nothing was written there"),
        }
    }
}
