//! Documents as tests: the commands, links and settings that they show exist.

mod documents;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use documents::{commands, path, read};
use serde_yaml::Value;

const READMES: [&str; 2] = ["README.md", "README.pt-BR.md"];

/// What may follow a verb to make a verb of its own.
const ORDERS: [&str; 4] = ["start", "kill", "stop", "status"];

#[test]
fn every_command_of_paxosd_is_understood() {
    let mut seen = 0;
    for readme in READMES {
        for command in commands(&read(readme)) {
            let words = words(&command);
            let Some(("paxosd", arguments)) = program(&words) else { continue };
            assert_is_understood(readme, &command, &arguments);
            seen += 1;
        }
    }
    assert!(seen > 0, "the READMEs show no command of paxosd");
}

#[test]
fn every_verb_in_the_tables_exists() {
    let help = help(&[]);
    for readme in READMES {
        for code in inline_code(&read(readme)) {
            let words = words(&code);
            let Some(("paxosd", arguments)) = program(&words) else { continue };
            let Some(&verb) = arguments.first() else { continue };
            if !verb.chars().all(char::is_lowercase) {
                continue;
            }
            let is_listed = help.lines().any(|line| line.split_whitespace().next() == Some(verb));
            assert!(is_listed, "{readme} names `{code}`, but paxosd --help lists no {verb}");
        }
    }
}

#[test]
fn the_version_is_that_of_the_changelog() {
    let version = stdout(&paxosd(&["--version"]));
    assert_eq!(version.trim(), concat!("paxosd ", env!("CARGO_PKG_VERSION")));
    let heading = concat!("\n## ", env!("CARGO_PKG_VERSION"), "\n");
    assert!(read("CHANGELOG.md").contains(heading), "CHANGELOG.md has no entry of this version");
}

#[test]
fn every_verb_of_run_sh_is_in_its_help() {
    let script = path("run.sh");
    let output = Command::new(&script).arg("--help").output().expect("run.sh starts");
    assert!(output.status.success(), "run.sh --help ends with {}", output.status);
    let help = stdout(&output);
    for readme in READMES {
        let text = read(readme);
        let shown = commands(&text).into_iter().chain(inline_code(&text));
        for command in shown {
            let words = words(&command);
            let Some(("./run.sh", arguments)) = program(&words) else { continue };
            let Some(&verb) = arguments.first() else { continue };
            let is_listed = help.split_whitespace().any(|word| word == verb);
            assert!(is_listed, "{readme} shows `{command}`, but run.sh --help names no {verb}");
        }
    }
}

#[test]
fn every_linked_file_exists() {
    let mut documents: Vec<String> = READMES.map(str::to_owned).into();
    documents.push("CHANGELOG.md".to_owned());
    documents.extend(markdown_in("docs"));
    documents.extend(markdown_in("docs/adr"));
    for document in documents {
        let folder = Path::new(&document).parent().unwrap_or(Path::new("")).to_owned();
        for link in links(&read(&document)) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target =
                if file.is_empty() { path(&document) } else { path("").join(&folder).join(file) };
            assert!(target.exists(), "{document} links to {link}, which does not exist");
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).expect("a linked text is readable");
                let has = text.lines().any(|line| line.starts_with('#') && slug(line) == anchor);
                assert!(has, "{document} links to {link}, but no heading is called so");
            }
        }
    }
}

#[test]
fn every_setting_that_is_named_exists() {
    let cluster: Value =
        serde_yaml::from_str(&read("config/cluster.yaml")).expect("the shipped file is YAML");
    for document in READMES.iter().copied().chain(["docs/ARCHITECTURE.md", "docs/PROTOCOL.md"]) {
        let text = read(document);
        for code in inline_code(&text) {
            let variable = code.split_once('=').map_or(code.as_str(), |(name, _)| name);
            let named = match variable.strip_prefix("PAXOSD__") {
                Some(key) => key.to_lowercase().replace("__", "."),
                None => code.clone(),
            };
            let Some((section, key)) = named.split_once('.') else { continue };
            // `events` and `log` are also variables and modules; a section holds a mapping.
            let Some(section) = cluster.get(section).filter(|it| it.is_mapping()) else { continue };
            let is_key = key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
            let is_file = ["rs", "md", "yaml"].contains(&key);
            if is_key && !is_file {
                assert!(
                    section.get(key).is_some(),
                    "{document} names `{code}`, which is no setting"
                );
            }
        }
    }
}

#[test]
fn the_two_readmes_show_the_same_calls() {
    let [english, portuguese] = READMES.map(|readme| calls(&read(readme)));
    assert!(english.len() > 10, "README.md lists the API");
    assert_eq!(english, portuguese);
}

#[test]
fn the_readme_says_how_the_tests_are_run() {
    let tests = commands(&read("README.md"));
    assert!(tests.iter().any(|command| command == "cargo test --workspace"));
}

fn assert_is_understood(readme: &str, command: &str, arguments: &[&str]) {
    if let Some(flag @ "--version") = arguments.first().copied() {
        assert!(paxosd(&[flag]).status.success(), "{readme}: `{command}` fails");
        return;
    }
    let is_order = |word: &&&str| ORDERS.contains(word) && arguments.first() == Some(&"dev");
    let verb: Vec<&str> = arguments
        .iter()
        .take(1)
        .chain(arguments.iter().skip(1).take(1).filter(is_order))
        .copied()
        .collect();
    let help = help(&verb);
    for word in arguments.iter().skip(1).filter(|word| word.starts_with('-')) {
        let flag = word.split_once('=').map_or(*word, |(flag, _)| flag);
        let is_listed = help
            .split(|letter: char| !(letter.is_alphanumeric() || letter == '-'))
            .any(|listed| listed == flag);
        assert!(is_listed, "{readme}: `{command}`: its help names no {flag}");
    }
}

/// The help of a verb; it must exist.
fn help(verb: &[&str]) -> String {
    let output = paxosd(&[verb, &["--help"]].concat());
    assert!(output.status.success(), "paxosd {} --help: {}", verb.join(" "), output.status);
    stdout(&output)
}

fn paxosd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_paxosd")).args(arguments).output().expect("paxosd starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The program of a simple command, and its arguments.
fn program(words: &[String]) -> Option<(&str, Vec<&str>)> {
    let (program, arguments) = words.split_first()?;
    Some((program, arguments.iter().map(String::as_str).collect()))
}

/// The words of a command as a shell takes them, through the end of the first simple command.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in command.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '|' | '&' | ';') => break,
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// What stands between backticks in `markdown`, outside of fenced blocks.
fn inline_code(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// The links of `markdown` that lead into the repository.
fn links(markdown: &str) -> Vec<String> {
    let targets = markdown.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target.to_owned());
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchor of a heading, as GitHub makes it.
fn slug(heading: &str) -> String {
    let letters = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = letters.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// The calls, method and path, that begin a row of a table.
fn calls(markdown: &str) -> BTreeSet<String> {
    let rows = markdown.lines().filter_map(|line| line.strip_prefix("| `"));
    let firsts = rows.filter_map(|row| row.split_once('`')).map(|(call, _)| call.to_owned());
    firsts.filter(|call| call.starts_with("GET /") || call.starts_with("POST /")).collect()
}

fn markdown_in(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(path(folder)).expect("the folder exists");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_markdown = |name: &String| Path::new(name).extension().is_some_and(|it| it == "md");
    names.filter(is_markdown).map(|name| format!("{folder}/{name}")).collect()
}
