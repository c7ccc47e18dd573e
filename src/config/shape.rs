//! Checks what is written against the schema, key by key, so that every slip is told at once.

use serde_yaml::{Mapping, Value};

use super::error::{ConfigError, did_you_mean};
use super::locate::KeyPath;
use super::schema::{Keys, Kind, NodeConfig, SECTIONS, TOP, kind_of, section};
use super::source::Source;

/// Every key of `document` that the schema does not know, and every value it does not allow.
pub(super) fn check(document: &Value, source: &Source) -> Vec<ConfigError> {
    let mut shape = Shape { source, errors: Vec::new() };
    match document {
        Value::Mapping(top) => shape.top(top),
        Value::Null => shape.refuse(
            &KeyPath::default(),
            "the file is empty; write at least `nodes:` with the nodes of the cluster".to_owned(),
        ),
        Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Sequence(_)
        | Value::Tagged(_) => shape.refuse(
            &KeyPath::default(),
            format!("{} is no configuration; write keys with values", shown(document)),
        ),
    }
    shape.errors
}

struct Shape<'a> {
    source: &'a Source,
    errors: Vec<ConfigError>,
}

impl Shape<'_> {
    fn refuse(&mut self, path: &KeyPath, message: String) {
        self.errors.push(self.source.error(path, message));
    }

    fn top(&mut self, top: &Mapping) {
        let root = KeyPath::default();
        for (key, value) in top {
            let Some(key) = self.word(&root, key) else { continue };
            let path = root.key(key);
            if key == "nodes" {
                self.nodes(&path, value);
            } else if let Some(keys) = section(key) {
                self.settings(&path, value, keys);
            } else if let Some(kind) = kind_of(TOP, key) {
                self.value(&path, value, kind);
            } else {
                self.refuse(&path, unknown(key, &top_words()));
            }
        }
        if !top.contains_key("nodes") {
            let message = "`nodes` is missing; list the nodes of the cluster".to_owned();
            self.refuse(&root, message);
        }
    }

    fn nodes(&mut self, path: &KeyPath, value: &Value) {
        let Value::Sequence(nodes) = value else {
            let message = format!("{} is no list of nodes; write one `- ` each", shown(value));
            return self.refuse(path, message);
        };
        for (at, node) in nodes.iter().enumerate() {
            let path = path.item(at);
            let Value::Mapping(keys) = node else {
                self.refuse(&path, format!("{} is no node; write {NODE_EXAMPLE}", shown(node)));
                continue;
            };
            self.settings(&path, node, NodeConfig::KEYS);
            for (key, kind) in NodeConfig::KEYS {
                if !keys.contains_key(*key) {
                    let message = format!("`{key}` is missing; write {}", wanted(key, *kind));
                    self.refuse(&path, message);
                }
            }
        }
    }

    /// A mapping in which every key is one of `keys`. An empty section has its defaults.
    fn settings(&mut self, path: &KeyPath, value: &Value, keys: Keys) {
        let settings = match value {
            Value::Mapping(settings) => settings,
            Value::Null => return,
            Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Sequence(_)
            | Value::Tagged(_) => {
                let list = words(keys).join(", ");
                let message = format!("{} is no section; write any of {list}", shown(value));
                return self.refuse(path, message);
            }
        };
        for (key, value) in settings {
            let Some(key) = self.word(path, key) else { continue };
            let path = path.key(key);
            match kind_of(keys, key) {
                Some(kind) => self.value(&path, value, kind),
                None => self.refuse(&path, unknown(key, &words(keys))),
            }
        }
    }

    fn value(&mut self, path: &KeyPath, value: &Value, kind: Kind) {
        let key = path.last();
        let fits = match (kind, value) {
            (Kind::Number { .. }, Value::Number(number)) => match number.as_u64() {
                Some(number) => in_range(number, kind),
                None => Err(format!("{number} is no whole number from 0 on")),
            },
            (Kind::Number { .. }, Value::String(text)) if text.parse::<u64>().is_ok() => {
                Err(format!("`{text}` stands in quotes, so it is no number"))
            }
            (Kind::Word(words), Value::String(word)) if words.contains(&word.as_str()) => Ok(()),
            (Kind::Flag, Value::Bool(_))
            // Numbers and flags are text where text is wanted: the typed reader keeps them as
            // they were written.
            | (Kind::Text, Value::String(_) | Value::Number(_) | Value::Bool(_)) => Ok(()),
            (Kind::Number { .. } | Kind::Flag | Kind::Text | Kind::Word(_), _) => {
                Err(format!("{} will not do", shown(value)))
            }
        };
        if let Err(wrong) = fits {
            self.refuse(path, format!("{wrong}; write {}", wanted(key, kind)));
        }
    }

    /// `key` as a word, which all keys are.
    fn word<'k>(&mut self, path: &KeyPath, key: &'k Value) -> Option<&'k str> {
        if key.as_str().is_none() {
            self.refuse(path, format!("the key {} is not a word", shown(key)));
        }
        key.as_str()
    }
}

const NODE_EXAMPLE: &str = "`- {name: proposer1, id: 1, role: proposer, host: proposer1, \
                            api_port: 3001, monitor_port: 8000}`";

/// Whether `written`, a text of the environment, will do for `key`; otherwise what to write.
pub(super) fn check_text(key: &str, written: &str, kind: Kind) -> Result<(), String> {
    let fits = match kind {
        Kind::Number { .. } => match written.parse::<u64>() {
            Ok(number) => in_range(number, kind),
            Err(_) => Err(format!("`{written}` is no whole number from 0 on")),
        },
        Kind::Flag if ["true", "false"].contains(&written) => Ok(()),
        Kind::Word(words) if words.contains(&written) => Ok(()),
        Kind::Flag | Kind::Word(_) => Err(format!("`{written}` will not do")),
        Kind::Text => Ok(()),
    };
    fits.map_err(|wrong| format!("{wrong}; write {}", wanted(key, kind)))
}

fn in_range(number: u64, kind: Kind) -> Result<(), String> {
    match kind {
        Kind::Number { least, .. } if number < least => Err(format!("{number} is below {least}")),
        Kind::Number { most, .. } if number > most => Err(format!("{number} is over {most}")),
        Kind::Number { .. } | Kind::Flag | Kind::Text | Kind::Word(_) => Ok(()),
    }
}

/// What to write for `key`.
fn wanted(key: &str, kind: Kind) -> String {
    match kind {
        Kind::Number { least, most } => {
            let noun = match key {
                "id" => "an id",
                "api_port" | "monitor_port" => "a port",
                _ => "a whole number",
            };
            format!("{noun} from {least} to {most}")
        }
        Kind::Flag => "true or false".to_owned(),
        Kind::Word(words) => format!("one of {}", words.join(", ")),
        Kind::Text if key == "host" => "a DNS name or an IP address".to_owned(),
        Kind::Text if key == "data_dir" => "a directory".to_owned(),
        Kind::Text => "a name".to_owned(),
    }
}

/// That `key` is unknown among `known`, and what was perhaps meant.
pub(super) fn unknown(key: &str, known: &[&str]) -> String {
    let elsewhere: Vec<String> = SECTIONS
        .iter()
        .filter(|(_, keys)| kind_of(keys, key).is_some())
        .map(|(section, _)| format!("`{section}:`"))
        .collect();
    if elsewhere.is_empty() {
        format!("unknown key `{key}`{}", did_you_mean(key, known.iter().copied()))
    } else {
        format!("unknown key `{key}`; it belongs under {}", elsewhere.join(" or "))
    }
}

/// The keys of the top of the file.
pub(super) fn top_words() -> Vec<&'static str> {
    let sections = SECTIONS.iter().map(|(name, _)| *name);
    TOP.iter().map(|(key, _)| *key).chain(["nodes"]).chain(sections).collect()
}

/// The words of `keys`.
pub(super) fn words(keys: Keys) -> Vec<&'static str> {
    keys.iter().map(|(key, _)| *key).collect()
}

/// A value as an error shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => format!("`{flag}`"),
        Value::Number(number) => format!("`{number}`"),
        Value::String(text) => format!("`{text}`"),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Tagged(tagged) => format!("the tag {}", tagged.tag),
    }
}
