//! Finds the line and column of a key, so that a rule about meaning can point as well as a rule
//! about syntax.
//!
//! The YAML reader tells a position only in its errors. So the locator reads the text again down
//! the wanted path and, there, raises an error: its position is the answer. Block and flow style,
//! comments, quotes and anchors are thus the reader's business, not ours.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One step down: into a key of a mapping, or an item of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Item(usize),
}

/// The way from the top of the file to a key, as `nodes[3].id`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct KeyPath(Vec<Step>);

impl KeyPath {
    /// The key `key` of the top of the file.
    pub(super) fn top(key: &str) -> Self {
        Self::default().key(key)
    }

    /// The key `key` under this one.
    pub(super) fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// The item numbered `item`, from 0, of this list.
    pub(super) fn item(&self, item: usize) -> Self {
        self.with(Step::Item(item))
    }

    /// The last key on the way; empty at the top.
    pub(super) fn last(&self) -> &str {
        match self.0.last() {
            Some(Step::Key(key)) => key,
            Some(Step::Item(_)) | None => "",
        }
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

/// Line and column, from 1, of `path` in `text`, or of the nearest thing around it that is there.
/// `text` is YAML that has been read once without error.
pub(super) fn locate(text: &str, path: &KeyPath) -> (usize, usize) {
    for length in (1..=path.0.len()).rev() {
        let steps = path.0.get(..length).unwrap_or_default();
        let walked = Walk(steps).deserialize(serde_yaml::Deserializer::from_str(text));
        if let Some(location) = walked.err().and_then(|error| error.location()) {
            return (location.line(), location.column());
        }
    }
    (1, 1)
}

/// Reads a value down the steps and fails at their end.
struct Walk<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

/// What is neither a mapping nor a list fails by serde's default, which is the nearest place.
impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key sought")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(key), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("found"));
        };
        while let Some(matches) = map.next_key_seed(IsKey { key, last: rest.is_empty() })? {
            if matches {
                map.next_value_seed(Walk(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Step::Item(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("found"));
        };
        for _ in 0..*wanted {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        items.next_element_seed(Walk(rest))?;
        // To the end, for the reader takes a list left early for an error.
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Reads a key and tells whether it is `key`; fails there when it is the `last` step.
struct IsKey<'a> {
    key: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<bool, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, found: &str) -> Result<bool, E> {
        match found == self.key {
            true if self.last => Err(E::custom("found")),
            matches => Ok(matches),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# nodes: not here
cluster: {name: paxos, \"odd: key\": 1}
nodes:   # the list
  - name: a   # id: not here either
    id: 1
  - {name: 'b', id: 2}
  -
    \"name\": |
      id: 9
    'id': 3
same: &x {id: 4}
again: *x
";

    #[test]
    fn a_key_is_found_in_block_and_flow_style_past_comments_and_quotes() {
        let node = |item: usize| KeyPath::top("nodes").item(item);
        for (path, line, column) in [
            (KeyPath::top("cluster"), 2, 1),
            (KeyPath::top("cluster").key("name"), 2, 11),
            (KeyPath::top("cluster").key("odd: key"), 2, 24),
            (KeyPath::top("nodes"), 3, 1),
            (node(0), 4, 5),
            (node(0).key("id"), 5, 5),
            (node(1), 6, 5),
            (node(1).key("id"), 6, 17),
            (node(2).key("id"), 10, 5),
        ] {
            assert_eq!(locate(TEXT, &path), (line, column), "{path}");
        }
    }

    #[test]
    fn a_key_that_is_not_there_is_placed_at_the_nearest_around_it() {
        for (path, line, column) in [
            (KeyPath::top("cluster").key("size"), 2, 1),
            (KeyPath::top("nodes").item(1).key("host"), 6, 5),
            (KeyPath::top("nodes").item(7), 3, 1),
            (KeyPath::top("election").key("timeout_ms"), 1, 1),
        ] {
            assert_eq!(locate(TEXT, &path), (line, column), "{path}");
        }
    }

    #[test]
    fn a_path_prints_as_an_operator_would_write_it() {
        assert_eq!(KeyPath::top("nodes").item(3).key("id").to_string(), "nodes[3].id");
    }
}
