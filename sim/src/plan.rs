//! A plan: a seed, and what of its run is left out. It determines the run, and fits on a command
//! line.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use paxosd::types::NodeId;

use crate::network::{MessageId, Route};
use crate::options::Options;

/// Which things of a kind remain in a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Kept<T> {
    /// All that the seed draws.
    #[default]
    All,
    /// These.
    Only(BTreeSet<T>),
}

impl<T: Ord> Kept<T> {
    /// Whether `item` remains.
    pub fn keeps(&self, item: &T) -> bool {
        match self {
            Self::All => true,
            Self::Only(items) => items.contains(item),
        }
    }
}

/// What determines a run. What is left out leaves the draws of all else as they were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many nodes there are of each role, where fewer than the seed draws.
    pub sizes: Sizes,
    /// How long faults last, in milliseconds, where shorter than the seed draws.
    pub chaos_ms: Option<u64>,
    /// The faults that strike, by number.
    pub faults: Kept<u64>,
    /// The operations of callers, by number.
    pub operations: Kept<u64>,
    /// The messages that may be lost, doubled, late or out of order.
    pub messages: Kept<MessageId>,
    /// A byte for each of the things that are drawn first, in their order, over what the seed says.
    pub schedule: Vec<u8>,
}

/// How many nodes there are; absent where the seed says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Proposers.
    pub proposers: Option<u64>,
    /// Acceptors.
    pub acceptors: Option<u64>,
    /// Learners.
    pub learners: Option<u64>,
    /// Clients.
    pub clients: Option<u64>,
}

/// A text that is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePlanError {
    /// It does not begin with a seed.
    #[error("a plan begins with its seed, not with {0:?}")]
    Seed(String),
    /// A part that is no plan's.
    #[error("{0:?} is no part of a plan")]
    Part(String),
    /// A value out of place.
    #[error("{value:?} is no value of {key}")]
    Value {
        /// The part's name.
        key: String,
        /// What stands behind it.
        value: String,
    },
}

impl Plan {
    /// Everything that `seed` draws.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// What `bytes` say: eight of a seed, in little-endian order, and those of a schedule.
    #[must_use]
    pub fn of_schedule(bytes: &[u8]) -> Self {
        let (head, schedule) = bytes.split_at(bytes.len().min(size_of::<u64>()));
        let mut seed = [0; size_of::<u64>()];
        seed.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        Self { schedule: schedule.to_vec(), ..Self::of(u64::from_le_bytes(seed)) }
    }

    /// Leaves out of the draw what is to be left out.
    pub(crate) fn reduce(&self, options: &mut Options) {
        let Sizes { proposers, acceptors, learners, clients } = self.sizes;
        let fewer = |drawn: &mut u64, wanted: Option<u64>, least: u64| {
            *drawn = wanted.map_or(*drawn, |wanted| wanted.clamp(least, (*drawn).max(least)));
        };
        fewer(&mut options.proposers, proposers, 1);
        fewer(&mut options.acceptors, acceptors, 3);
        fewer(&mut options.learners, learners, 1);
        fewer(&mut options.clients, clients, 1);
        if let Some(chaos) = self.chaos_ms.map(Duration::from_millis) {
            options.chaos = options.chaos.min(chaos);
        }
    }

    /// What there is in the end: how many nodes, and how many milliseconds of faults.
    pub(crate) fn left_of(options: &Options) -> (Sizes, u64) {
        let sizes = Sizes {
            proposers: Some(options.proposers),
            acceptors: Some(options.acceptors),
            learners: Some(options.learners),
            clients: Some(options.clients),
        };
        (sizes, u64::try_from(options.chaos.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether this fault strikes.
    pub(crate) fn keeps_fault(&self, number: u64) -> bool {
        self.faults.keeps(&number)
    }

    /// Whether this operation is begun.
    pub(crate) fn keeps_operation(&self, number: u64) -> bool {
        self.operations.keeps(&number)
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seed)?;
        let Sizes { proposers, acceptors, learners, clients } = self.sizes;
        let numbers = [
            ("proposers", proposers),
            ("acceptors", acceptors),
            ("learners", learners),
            ("clients", clients),
            ("chaos", self.chaos_ms),
        ];
        for (key, number) in numbers {
            number.map_or(Ok(()), |number| write!(f, "/{key}={number}"))?;
        }
        write_kept(f, "faults", &self.faults)?;
        write_kept(f, "operations", &self.operations)?;
        write_kept(f, "messages", &self.messages)?;
        if !self.schedule.is_empty() {
            f.write_str("/schedule=")?;
        }
        self.schedule.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn write_kept<T: Display>(f: &mut fmt::Formatter<'_>, key: &str, kept: &Kept<T>) -> fmt::Result {
    let Kept::Only(items) = kept else { return Ok(()) };
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    write!(f, "/{key}={}", if items.is_empty() { "none".to_owned() } else { items.join(",") })
}

impl FromStr for Plan {
    type Err = ParsePlanError;

    fn from_str(text: &str) -> Result<Self, ParsePlanError> {
        let mut parts = text.split('/');
        let seed = parts.next().unwrap_or_default();
        let seed = seed.parse().map_err(|_| ParsePlanError::Seed(seed.to_owned()))?;
        let mut plan = Self::of(seed);
        for part in parts {
            let no_part = || ParsePlanError::Part(part.to_owned());
            let (key, value) = part.split_once('=').ok_or_else(no_part)?;
            let no_value =
                || ParsePlanError::Value { key: key.to_owned(), value: value.to_owned() };
            let number = || value.parse::<u64>().map(Some).map_err(|_| no_value());
            match key {
                "proposers" => plan.sizes.proposers = number()?,
                "acceptors" => plan.sizes.acceptors = number()?,
                "learners" => plan.sizes.learners = number()?,
                "clients" => plan.sizes.clients = number()?,
                "chaos" => plan.chaos_ms = number()?,
                "faults" => plan.faults = parse_kept(value).ok_or_else(no_value)?,
                "operations" => plan.operations = parse_kept(value).ok_or_else(no_value)?,
                "messages" => plan.messages = parse_kept(value).ok_or_else(no_value)?,
                "schedule" => plan.schedule = parse_bytes(value).ok_or_else(no_value)?,
                _ => return Err(no_part()),
            }
        }
        Ok(plan)
    }
}

fn parse_bytes(value: &str) -> Option<Vec<u8>> {
    let is_hex =
        value.len().is_multiple_of(2) && value.bytes().all(|digit| digit.is_ascii_hexdigit());
    let bytes = (0..value.len() / 2).map(|nth| {
        let digits = value.get(2 * nth..2 * nth + 2)?;
        u8::from_str_radix(digits, 16).ok()
    });
    if is_hex { bytes.collect() } else { None }
}

fn parse_kept<T: FromStr + Ord>(value: &str) -> Option<Kept<T>> {
    if value == "none" {
        return Some(Kept::Only(BTreeSet::new()));
    }
    let items: Option<BTreeSet<T>> = value.split(',').map(|item| item.parse().ok()).collect();
    items.map(Kept::Only)
}

impl Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.{}", self.route.from, self.route.to, self.number)
    }
}

impl FromStr for MessageId {
    type Err = ParsePlanError;

    fn from_str(text: &str) -> Result<Self, ParsePlanError> {
        let parsed = || {
            let (from, rest) = text.split_once('-')?;
            let (to, number) = rest.split_once('.')?;
            let node = |id: &str| NodeId::new(id.parse().ok()?).ok();
            let route = Route { from: node(from)?, to: node(to)? };
            Some(Self { route, number: number.parse().ok()? })
        };
        parsed().ok_or_else(|| ParsePlanError::Part(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_as_it_was_written() {
        let texts = [
            "42",
            "42/proposers=2/acceptors=3/learners=1/clients=1/chaos=1200/faults=3,7\
             /operations=131,231/messages=1-11.4,11-1.9",
            "0/faults=none/operations=none/messages=none",
            "7/chaos=500/schedule=00ff1a",
        ];
        for text in texts {
            let plan: Plan = text.parse().unwrap();
            assert_eq!(plan.to_string(), text);
        }
        assert_eq!("42".parse(), Ok(Plan::of(42)));
    }

    #[test]
    fn what_is_no_plan_is_named() {
        assert_eq!(Plan::from_str("x"), Err(ParsePlanError::Seed("x".to_owned())));
        assert_eq!(Plan::from_str("1/2"), Err(ParsePlanError::Part("2".to_owned())));
        assert_eq!(Plan::from_str("1/a=2"), Err(ParsePlanError::Part("a=2".to_owned())));
        for (key, value) in [
            ("faults", "1,x"),
            ("messages", "1-11"),
            ("chaos", "-1"),
            ("schedule", "0"),
            ("schedule", "+1"),
        ] {
            let expected = ParsePlanError::Value { key: key.to_owned(), value: value.to_owned() };
            assert_eq!(Plan::from_str(&format!("1/{key}={value}")), Err(expected));
        }
    }

    #[test]
    fn a_plan_never_makes_a_cluster_larger_or_too_small() {
        let mut options =
            Options::draw(&mut crate::chance::Chance::new(5, crate::chance::Of::Options));
        let drawn = options.clone();
        Plan::from_str("5/proposers=99/acceptors=1/clients=0").unwrap().reduce(&mut options);
        assert_eq!(options.proposers, drawn.proposers);
        assert_eq!((options.acceptors, options.clients), (3, 1));
        assert_eq!((options.learners, options.chaos), (drawn.learners, drawn.chaos));
    }
}
