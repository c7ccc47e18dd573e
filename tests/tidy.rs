//! Taste as a test: the arrows between the floors, and the small rules that no other tool keeps.

mod documents;

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use documents::{commands, path, read};

/// Who may name whom, from the ground up. A module may always name its own folder.
const FLOORS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("paxos", &["types"]),
    ("gossip", &["types"]),
    ("config", &["types"]),
    ("storage", &["types", "paxos"]),
    ("http", &["types", "paxos"]),
    ("node", &["types", "paxos", "gossip", "config", "storage", "http"]),
    ("cli", &["types", "paxos", "gossip", "config", "storage", "http", "node"]),
];

/// The floors without a clock, chance, tokio, files, sockets or hash maps, and the lint that says
/// so.
const PURE: &[&str] = &["types", "paxos", "gossip"];
const PURE_LINT: &str = "#![deny(clippy::disallowed_methods, clippy::disallowed_types)]";

/// The one file that prints for people and scripts.
const PRINTER: &str = "src/cli/output.rs";

const LINE_CHARS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 900;

/// Where our own texts are.
const ROOTS: &[&str] =
    &[".ci", "bench", "benches", "config", "docs", "fuzz", "k8s", "scripts", "sim", "src", "tests"];

#[test]
fn no_arrow_points_upward() {
    let mut wrong = Vec::new();
    for file in rust().iter().filter(|file| file.floor().is_some()) {
        let floor = file.floor().unwrap_or_default();
        let Some((_, below)) = FLOORS.iter().find(|(name, _)| *name == floor) else {
            wrong.push(format!("{}: `{floor}` is on no floor of tests/tidy.rs", file.name));
            continue;
        };
        for (line, module) in named_modules(&file.text) {
            let is_floor = module == "*" || FLOORS.iter().any(|(name, _)| *name == module);
            if is_floor && module != floor && !below.contains(&module.as_str()) {
                wrong.push(format!("{}:{line}: {floor} must not name {module}", file.name));
            }
        }
        for line in file.climbs_out() {
            wrong.push(format!("{}:{line}: write crate:: instead of climbing there", file.name));
        }
    }
    none(&wrong);
}

#[test]
fn every_pure_floor_denies_what_is_not_pure() {
    let lacks = |floor: &&&str| !read(&format!("src/{floor}/mod.rs")).contains(PURE_LINT);
    let wrong: Vec<String> =
        PURE.iter().filter(lacks).map(|floor| format!("src/{floor}/mod.rs: {PURE_LINT}")).collect();
    none(&wrong);
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let is_silent = |file: &&File| !file.text.starts_with("//! ");
    let wrong: Vec<String> = rust().iter().filter(is_silent).map(|it| it.name.clone()).collect();
    none(&wrong);
}

#[test]
fn unwrap_lives_in_tests() {
    none(&in_shipped_code(&["unwrap()"], |_| true));
}

#[test]
fn every_channel_is_bounded() {
    none(&in_shipped_code(&["unbounded_channel", "mpsc::unbounded", "mpsc::channel()"], |_| true));
}

#[test]
fn only_the_output_of_the_command_line_prints() {
    let printing = ["println!", "print!", "eprintln!", "eprint!", "dbg!"];
    none(&in_shipped_code(&printing, |file| file.name != PRINTER));
}

#[test]
fn nothing_is_left_for_later() {
    // In two halves, so that this file does not find itself.
    let marks =
        [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")].map(|(a, b)| format!("{a}{b}"));
    let mut wrong = Vec::new();
    for file in &texts() {
        for (number, line) in numbered(&file.text) {
            if marks.iter().any(|mark| has_word(line, mark)) {
                wrong.push(format!("{}:{number}: {}", file.name, line.trim()));
            }
        }
    }
    none(&wrong);
}

#[test]
fn lines_fit_on_the_screen() {
    let mut wrong = Vec::new();
    for file in &rust() {
        let tests = file.test_lines();
        for (number, line) in numbered(&file.text) {
            let chars = line.chars().count();
            // What a test expects is shown as it is, as a table of a hundred columns and more.
            let is_test = file.is_test || tests.iter().any(|lines| lines.contains(&(number - 1)));
            if chars > LINE_CHARS_MAX && !(is_test && is_text(line)) {
                wrong.push(format!("{}:{number}: {chars} characters", file.name));
            }
        }
    }
    none(&wrong);
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let mut wrong = Vec::new();
    for file in rust().iter().filter(|file| !file.is_test) {
        let tests: usize = file.test_lines().iter().map(Range::len).sum();
        let lines = file.text.lines().count() - tests;
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{}: {lines} lines without its tests", file.name));
        }
    }
    none(&wrong);
}

#[test]
fn texts_end_their_lines_plainly() {
    let mut wrong = Vec::new();
    for file in &texts() {
        if file.text.contains('\r') {
            wrong.push(format!("{}: has carriage returns", file.name));
        }
        if !file.text.ends_with('\n') || file.text.ends_with("\n\n") {
            wrong.push(format!("{}: must end with one newline", file.name));
        }
        for (number, line) in numbered(&file.text) {
            if line.ends_with([' ', '\t']) {
                wrong.push(format!("{}:{number}: trailing whitespace", file.name));
            }
        }
    }
    none(&wrong);
}

#[test]
fn to_answer_before_the_disk_does_not_compile() {
    let journal = read("src/paxos/journal.rs");
    for (sample, why) in
        [("compile_fail,E0616", "to look inside"), ("compile_fail,E0382", "to retry")]
    {
        assert!(
            journal.contains(sample),
            "src/paxos/journal.rs no longer shows that it fails {why}"
        );
    }
}

#[test]
fn planted_bugs_have_one_door_and_no_daemon_has_it() {
    let door = "src/types/planted.rs";
    // In two halves, so that this file does not find itself.
    let mark = ["cfg(", "planted)"].concat();
    let mut wrong = Vec::new();
    for file in rust().iter().filter(|file| file.name != door && file.name != "src/main.rs") {
        for (number, line) in numbered(&without_comments_and_texts(&file.text)) {
            if line.contains(&mark) {
                wrong.push(format!("{}:{number}: ask planted() instead", file.name));
            }
        }
    }
    none(&wrong);
    let refusal = format!("#[{mark}]\ncompile_error!(");
    assert!(read("src/main.rs").contains(&refusal), "a daemon with planted bugs would compile");
}

#[test]
fn every_planted_bug_has_a_place_in_the_core() {
    let files = rust();
    let door = read("src/types/planted.rs");
    let list = door.split("bugs! {").last().unwrap_or_default();
    let list = list.split("\n}").next().unwrap_or_default();
    let named = list.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let bugs: Vec<&str> = named.filter_map(|line| line.strip_suffix(',')).collect();
    assert!(bugs.len() >= 20, "only {} bugs are named", bugs.len());
    let is_placed = |bug: &&&str| {
        let call = format!("planted(Bug::{bug})");
        files.iter().any(|file| file.name.starts_with("src/") && file.text.contains(&call))
    };
    let wrong: Vec<String> =
        bugs.iter().filter(|bug| !is_placed(bug)).map(|bug| format!("{bug}: nowhere")).collect();
    none(&wrong);
}

#[test]
fn the_two_readmes_show_the_same_commands() {
    let (english, portuguese) = (commands(&read("README.md")), commands(&read("README.pt-BR.md")));
    assert!(!english.is_empty(), "README.md shows no command");
    assert_eq!(english, portuguese, "README.md and README.pt-BR.md differ in their commands");
}

/// A text file of ours.
struct File {
    /// Its path in the repository, with forward slashes.
    name: String,
    text: String,
    /// Whether all of it is test code.
    is_test: bool,
}

impl File {
    /// The floor it stands on; none for what is above all floors, or no part of the house.
    fn floor(&self) -> Option<&str> {
        let inside = self.name.strip_prefix("src/")?;
        let floor = inside.split_once('/').map_or(inside, |(floor, _)| floor);
        match floor {
            "lib.rs" | "main.rs" => None,
            floor => Some(floor.trim_end_matches(".rs")),
        }
    }

    /// The lines, counted from 0, of its items under `#[cfg(test)]`. The files are formatted, so an
    /// item ends where a brace stands in its own column.
    fn test_lines(&self) -> Vec<Range<usize>> {
        let lines: Vec<&str> = self.text.lines().collect();
        let is_mark = |line: &str| line.trim_start() == "#[cfg(test)]";
        let starts = lines.iter().enumerate().filter(|(_, line)| is_mark(line)).map(|(at, _)| at);
        starts.map(|start| start..end_of_item(&lines, start)).collect()
    }

    /// The lines, counted from 1, where `super::` leads to the root of the crate, past every floor.
    fn climbs_out(&self) -> Vec<usize> {
        let inside = self.name.trim_start_matches("src/").trim_end_matches(".rs");
        let depth = inside.trim_end_matches("/mod").split('/').count();
        let tests = self.test_lines();
        let mut found = Vec::new();
        for (number, line) in numbered(&self.text) {
            let longest = climbs(line);
            let nested = usize::from(tests.iter().any(|lines| lines.contains(&(number - 1))));
            if longest >= depth + nested {
                found.push(number);
            }
        }
        found
    }
}

/// The line after the item that begins at `start` with its attributes.
fn end_of_item(lines: &[&str], start: usize) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let column = lines.get(start).map_or(0, |line| indent(line));
    let rest = lines.iter().enumerate().skip(start + 1);
    for (at, line) in rest {
        let is_end =
            line.ends_with(';') || line.trim_start().starts_with('}') || line.ends_with("{}");
        if is_end && indent(line) == column {
            return at + 1;
        }
    }
    lines.len()
}

/// Whether `line` holds a text and nothing else.
fn is_text(line: &str) -> bool {
    let code = without_comments_and_texts(line);
    let is_comment = line.trim_start().starts_with("//");
    !is_comment
        && line.contains('"')
        && code.chars().all(|letter| letter.is_whitespace() || letter == ',')
}

/// How many `super::` stand in a row in `line`, at most.
fn climbs(line: &str) -> usize {
    let mut longest = 0;
    let mut rest = line;
    while let Some(at) = rest.find("super::") {
        rest = rest.get(at..).unwrap_or_default();
        let mut count = 0;
        while let Some(after) = rest.strip_prefix("super::") {
            rest = after;
            count += 1;
        }
        longest = longest.max(count);
    }
    longest
}

/// The modules that `text` names by a path from the root of this crate, each with its line.
/// Examples in comments count too: they compile.
fn named_modules(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate::", "paxosd::"] {
        for (at, _) in text.match_indices(root) {
            let before = text.get(..at).unwrap_or_default();
            if before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_') {
                continue;
            }
            let line = before.matches('\n').count() + 1;
            let after = text.get(at + root.len()..).unwrap_or_default();
            let modules = match after.strip_prefix('{') {
                Some(group) => group_heads(group),
                None => vec![head(after)],
            };
            found.extend(modules.into_iter().map(|module| (line, module)));
        }
    }
    found
}

/// The first words of the paths in `{…}`, of which `group` holds all behind the first brace.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = vec![head(group.trim_start())];
    let mut depth = 0;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(head(group.get(at + 1..).unwrap_or_default().trim_start()));
            }
            _ => {}
        }
    }
    heads
}

/// The first word of a path, or its `*`.
fn head(path: &str) -> String {
    if path.starts_with('*') {
        return "*".to_owned();
    }
    path.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// Where one of `words` stands in code of src/ that is no test, in those files that `is_bound`.
fn in_shipped_code(words: &[&str], is_bound: impl Fn(&File) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let files = rust();
    let shipped = files.iter().filter(|file| file.name.starts_with("src/") && !file.is_test);
    for file in shipped.filter(|file| is_bound(file)) {
        let tests = file.test_lines();
        let code = without_comments_and_texts(&file.text);
        for ((number, line), source) in numbered(&code).zip(file.text.lines()) {
            let is_test = tests.iter().any(|lines| lines.contains(&(number - 1)));
            if !is_test && words.iter().any(|word| has_word(line, word)) {
                wrong.push(format!("{}:{number}: {}", file.name, source.trim()));
            }
        }
    }
    wrong
}

/// Whether `line` holds `word`, and not as a part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).unwrap_or_default();
        let after = line.get(at + word.len()..).unwrap_or_default();
        let is_longer = word.ends_with(is_part) && after.starts_with(is_part);
        !before.ends_with(is_part) && !is_longer
    })
}

/// `source` with its comments, texts and characters blanked; every line keeps its number.
fn without_comments_and_texts(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(letter) = rest.chars().next() {
        let length = match letter {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => end_of(rest, "*/", 2),
            'r' if rest.starts_with("r\"") => end_of(rest, "\"", 2),
            'r' if rest.starts_with("r#\"") => end_of(rest, "\"#", 3),
            'r' if rest.starts_with("r##\"") => end_of(rest, "\"##", 4),
            '"' => end_of_text(rest, '"'),
            '\'' if is_character(rest) => end_of_text(rest, '\''),
            _ => {
                // A whole word at once, so that the r of `for"` opens nothing.
                let word = rest.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(1);
                let word = if word == 0 { letter.len_utf8() } else { word };
                code.push_str(rest.get(..word).unwrap_or_default());
                rest = rest.get(word..).unwrap_or_default();
                continue;
            }
        };
        let (blank, after) = rest.split_at(length);
        code.extend(blank.chars().filter(|it| *it == '\n'));
        rest = after;
    }
    code
}

/// Bytes through the first `mark` behind `from`.
fn end_of(text: &str, mark: &str, from: usize) -> usize {
    let found = text.get(from..).and_then(|rest| rest.find(mark));
    found.map_or(text.len(), |at| from + at + mark.len())
}

/// Bytes of the text that opens `source` with `quote`, escapes heeded.
fn end_of_text(source: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, letter) in source.char_indices().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    source.len()
}

/// Whether the quote that opens `source` begins a character, and not a lifetime.
fn is_character(source: &str) -> bool {
    let mut letters = source.chars().skip(1);
    let first = letters.next();
    first == Some('\\') || letters.next() == Some('\'')
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

/// All Rust of ours.
fn rust() -> Vec<File> {
    texts().into_iter().filter(|file| has_extension(&file.name, &["rs"])).collect()
}

/// All texts of ours: below [`ROOTS`], and the files beside them.
fn texts() -> Vec<File> {
    let mut names = BTreeSet::new();
    for root in ROOTS.iter().filter(|root| path(root).is_dir()) {
        walk(root, &mut names);
    }
    for name in entries(&path("")) {
        if path(&name).is_file() {
            names.insert(name);
        }
    }
    names.retain(|name| {
        let is_script =
            name.starts_with(".ci/") || name.ends_with("Dockerfile") || name == "LICENSE";
        is_script || has_extension(name, &["rs", "md", "sh", "toml", "yaml", "yml"])
    });
    let mut files: Vec<File> = names
        .into_iter()
        .map(|name| {
            let is_test = ["tests/", "benches/"].iter().any(|root| name.starts_with(root))
                || name.contains("/tests/");
            File { text: read(&name), is_test, name }
        })
        .collect();
    let test_modules: Vec<String> = files.iter().flat_map(test_modules).collect();
    for file in &mut files {
        let module = file.name.trim_end_matches(".rs").trim_end_matches("/mod");
        let is_inside = |test: &String| {
            module
                .strip_prefix(test.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        file.is_test |= test_modules.iter().any(is_inside);
    }
    files
}

/// The modules that `file` declares under `#[cfg(test)]` and keeps in files of their own, as paths
/// without an extension.
fn test_modules(file: &File) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let folder = match file.name.strip_suffix("/mod.rs") {
        Some(folder) => folder,
        None => file.name.trim_end_matches(".rs"),
    };
    let declared = |range: Range<usize>| {
        let item = lines.get(range.end - 1)?.trim().strip_suffix(';')?;
        let (_, name) = item.split_once("mod ")?;
        Some(format!("{folder}/{name}"))
    };
    if !has_extension(&file.name, &["rs"]) {
        return Vec::new();
    }
    file.test_lines().into_iter().filter_map(declared).collect()
}

fn has_extension(name: &str, extensions: &[&str]) -> bool {
    let extension = Path::new(name).extension().and_then(|it| it.to_str());
    extension.is_some_and(|it| extensions.contains(&it))
}

fn walk(folder: &str, names: &mut BTreeSet<String>) {
    for entry in entries(&path(folder)) {
        let name = format!("{folder}/{entry}");
        if path(&name).is_file() {
            names.insert(name);
        } else if entry != "target" {
            walk(&name, names);
        }
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("list {}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder stays readable").file_name());
    entries.filter_map(|name| name.into_string().ok()).collect()
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} found:\n{}", wrong.len(), wrong.join("\n"));
}

mod tests {
    //! The rules above are only as good as their reading of Rust.

    use super::*;

    #[test]
    fn a_group_names_each_of_its_modules() {
        let text =
            "use crate::{config::{A, B}, http, types::X};\nfoo(crate::node::run, $crate::cli::x)";
        let named: Vec<String> = named_modules(text).into_iter().map(|(_, it)| it).collect();
        assert_eq!(named, ["config", "http", "types", "node", "cli"]);
    }

    #[test]
    fn comments_and_texts_are_no_code() {
        let source = "a(); // b()\n/* c()\n */ \"d() \\\" e()\" r#\"f()\"# '\"' g::<'x>() for\"h\"";
        let code = without_comments_and_texts(source);
        for (word, is_code) in
            [("a()", true), ("b()", false), ("c()", false), ("d()", false), ("e()", false)]
        {
            assert_eq!(code.contains(word), is_code, "{word} in {code}");
        }
        assert!(
            code.contains("g::<'x>()") && !code.contains("f()") && !code.contains('h'),
            "{code}"
        );
        assert_eq!(code.lines().count(), source.lines().count());
    }

    #[test]
    fn a_word_is_not_found_in_a_longer_one() {
        assert!(has_word("x.unwrap()", "unwrap()"));
        assert!(!has_word("eprintln!(1)", "println!"));
        assert!(!has_word("unwrap_or()", "unwrap()"));
    }

    #[test]
    fn test_code_ends_with_its_item() {
        let text =
            "a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n#[cfg(test)]\nmod d;\ne\n".to_owned();
        let file = File { name: "src/x/mod.rs".to_owned(), text, is_test: false };
        assert_eq!(file.test_lines(), [1..5, 6..8]);
        assert_eq!(test_modules(&file), ["src/x/d"]);
    }

    #[test]
    fn climbing_to_the_root_is_seen() {
        let text = "super::super::a\nsuper::b\n".to_owned();
        let file = File { name: "src/x/y.rs".to_owned(), text, is_test: false };
        assert_eq!(file.climbs_out(), [1]);
    }
}
