//! The rules between keys: what is well formed alone and yet cannot work together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::error::ConfigError;
use super::locate::KeyPath;
use super::schema::Config;
use crate::types::Role;

/// Bytes that a frame or a journal record needs beside the values of a request: its envelope, the
/// names of command and cluster, and room to grow.
const ENVELOPE_BYTES: u64 = 65_536;

/// Bytes that each value of a request needs beside itself: its length, and its place in the batch.
const PER_VALUE_BYTES: u64 = 16;

/// A journal of fewer segments could not drop one while another fills.
const SEGMENTS_LEAST: u64 = 4;

/// Every rule that `config` breaks.
pub(super) fn check(config: &Config) -> Vec<ConfigError> {
    let mut rules = Rules { config, errors: Vec::new() };
    rules.names();
    rules.nodes();
    rules.addresses();
    rules.roles();
    rules.times();
    rules.sizes();
    rules.errors
}

struct Rules<'a> {
    config: &'a Config,
    errors: Vec<ConfigError>,
}

/// A setting as a rule sees it.
struct Setting {
    section: &'static str,
    key: &'static str,
    value: u64,
}

macro_rules! setting {
    ($config:expr, $section:ident.$key:ident) => {
        Setting {
            section: stringify!($section),
            key: stringify!($key),
            value: wide($config.$section.$key),
        }
    };
}

/// A size as the number that rules compare.
fn wide(size: impl TryInto<u64>) -> u64 {
    size.try_into().unwrap_or(u64::MAX)
}

impl Rules<'_> {
    fn refuse(&mut self, path: &KeyPath, message: String) {
        self.errors.push(self.config.source.error(path, message));
    }

    /// `setting` is at least `least`, which is `why`.
    fn at_least(&mut self, setting: &Setting, least: u64, why: &str) {
        if setting.value < least {
            let message =
                format!("{} is below {least}, {why}; write at least {least}", setting.value);
            self.refuse(&KeyPath::top(setting.section).key(setting.key), message);
        }
    }

    /// `setting` is at most the value of `limit`.
    fn within(&mut self, setting: &Setting, limit: &Setting) {
        if setting.value > limit.value {
            let message = format!(
                "{} is over {}.{}, {}; write at most {3}, or raise that",
                setting.value, limit.section, limit.key, limit.value
            );
            self.refuse(&KeyPath::top(setting.section).key(setting.key), message);
        }
    }

    /// `setting` leaves room in a `frame` for what goes with it: the envelope, and a ninth for what
    /// is said of each of its commands. A frame that is too long would never leave.
    fn within_frame(&mut self, setting: &Setting, frame: &Setting) {
        let most = frame.value.saturating_sub(ENVELOPE_BYTES) / 9 * 8;
        if setting.value > most {
            let message = format!(
                "{} is over {most}, what {}.{} leaves for it; write at most {most}, or raise that",
                setting.value, frame.section, frame.key
            );
            self.refuse(&KeyPath::top(setting.section).key(setting.key), message);
        }
    }

    /// `setting` is more than the value of `limit`.
    fn above(&mut self, setting: &Setting, limit: &Setting) {
        let why = format!("one more than {}.{}", limit.section, limit.key);
        self.at_least(setting, limit.value.saturating_add(1), &why);
    }

    fn names(&mut self) {
        let cluster = &self.config.cluster.name;
        if let Some(wrong) = not_a_label(cluster) {
            self.refuse(&KeyPath::top("cluster").key("name"), wrong);
        }
        if self.config.data_dir.as_os_str().is_empty() {
            let message = "an empty text is no directory; write one, as `./data`".to_owned();
            self.refuse(&KeyPath::top("data_dir"), message);
        }
    }

    /// Names and ids name one node each, and hosts are hosts.
    fn nodes(&mut self) {
        let (mut names, mut ids) = (BTreeMap::new(), BTreeMap::new());
        let config = self.config;
        for (at, node) in config.nodes.iter().enumerate() {
            let path = KeyPath::top("nodes").item(at);
            if let Some(wrong) = not_a_label(&node.name) {
                self.refuse(&path.key("name"), wrong);
            }
            if let Some(first) = names.insert(node.name.as_str(), at) {
                let message = format!(
                    "`{}` is already the name of nodes[{first}]; write another name",
                    node.name
                );
                self.refuse(&path.key("name"), message);
            }
            if let Some(first) = ids.insert(node.id, &node.name) {
                let message = format!(
                    "{} is already the id of {first}; write an id from 1 to 99 that is free, as {}",
                    node.id,
                    config.free_id()
                );
                self.refuse(&path.key("id"), message);
            }
            if let Some(wrong) = not_a_host(&node.host) {
                self.refuse(&path.key("host"), wrong);
            }
        }
    }

    /// No two sockets have the same host and port.
    fn addresses(&mut self) {
        let mut taken = BTreeMap::new();
        let config = self.config;
        for (at, node) in config.nodes.iter().enumerate() {
            for (key, port) in [("api_port", node.api_port), ("monitor_port", node.monitor_port)] {
                let user = format!("{key} of {}", node.name);
                let address = (node.host.to_ascii_lowercase(), port);
                if let Some(first) = taken.get(&address) {
                    let message = format!(
                        "{}:{port} is already the {first}; write another port or host",
                        node.host
                    );
                    self.refuse(&KeyPath::top("nodes").item(at).key(key), message);
                } else {
                    taken.insert(address, user);
                }
            }
        }
    }

    /// Nothing can be chosen without a proposer, an acceptor and a learner. Clients may be
    /// missing: proposers take `/propose`.
    fn roles(&mut self) {
        for role in [Role::Proposer, Role::Acceptor, Role::Learner] {
            if self.config.with_role(role).next().is_none() {
                let message =
                    format!("there is no {role}; list at least one node with `role: {role}`");
                self.refuse(&KeyPath::top("nodes"), message);
            }
        }
    }

    fn times(&mut self) {
        let config = self.config;
        let heartbeat = setting!(config, election.heartbeat_ms);
        self.at_least(
            &setting!(config, election.timeout_ms),
            heartbeat.value.saturating_mul(2),
            "twice election.heartbeat_ms",
        );
        self.within(&setting!(config, client.retry_ms), &setting!(config, client.timeout_ms));
        self.within(&setting!(config, learner.gap_ms), &setting!(config, learner.fill_after_ms));
        let suspect = setting!(config, gossip.suspect_ms);
        let dead = setting!(config, gossip.dead_ms);
        self.above(&suspect, &setting!(config, gossip.interval_ms));
        self.above(&dead, &suspect);
        self.above(&setting!(config, gossip.forget_ms), &dead);
    }

    fn sizes(&mut self) {
        let config = self.config;
        let request = setting!(config, limits.request_bytes);
        let frame = setting!(config, limits.frame_bytes_max);
        let segment = setting!(config, journal.segment_bytes);
        self.within(&setting!(config, limits.value_bytes), &request);
        self.at_least(
            &frame,
            wide(config.limits.request_values)
                .saturating_mul(PER_VALUE_BYTES)
                .saturating_add(request.value)
                .saturating_add(ENVELOPE_BYTES),
            "what limits.request_bytes and limits.request_values need in one frame",
        );
        // The largest request must fit into one segment, for no record spans two.
        self.within(&frame, &segment);
        self.within_frame(&setting!(config, proposer.batch_bytes_max), &frame);
        self.within_frame(&setting!(config, acceptor.promise_page_bytes), &frame);
        self.within(&setting!(config, acceptor.turn_bytes_max), &segment);
        self.at_least(
            &setting!(config, journal.max_bytes),
            segment.value.saturating_mul(SEGMENTS_LEAST),
            "four times journal.segment_bytes",
        );
        self.at_least(
            &setting!(config, proposer.queue_bytes_max),
            request.value,
            "limits.request_bytes: the largest request could never be queued",
        );
        self.within(
            &setting!(config, proposer.batch_commands_max),
            &setting!(config, proposer.queue_commands_max),
        );
        let window = setting!(config, proposer.window_slots);
        self.within(&window, &setting!(config, acceptor.accept_window_slots));
        self.within(&window, &setting!(config, learner.window_slots));
    }
}

/// What is wrong with `name` as a DNS label, which names are so that they can be hosts and
/// directories.
pub(super) fn not_a_label(name: &str) -> Option<String> {
    let inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let sound = (1..=63).contains(&name.len())
        && name.chars().all(|letter| inner(letter) || letter == '-')
        && name.starts_with(inner)
        && name.ends_with(inner);
    (!sound).then(|| {
        format!(
            "`{name}` is no name; write 1 to 63 of a-z, 0-9 and `-`, beginning and ending with a \
             letter or digit"
        )
    })
}

/// What is wrong with `host` as a DNS name or an IP address.
pub(super) fn not_a_host(host: &str) -> Option<String> {
    let label = |label: &str| {
        let sound = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        (1..=63).contains(&label.len())
            && label.chars().all(sound)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A name of digits and dots alone is an address gone wrong.
    let is_name = host.len() <= 253
        && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
        && !host.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    let sound = is_name || host.parse::<IpAddr>().is_ok();
    (!sound).then(|| {
        format!("`{host}` is no host; write a DNS name or an IP address, without scheme and port")
    })
}
