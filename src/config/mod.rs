//! The configuration: one YAML file, the environment over it, and which node this is.
//!
//! - `schema`: every setting, with its default, its range and its meaning.
//! - `shape`: each key alone, `rules`: the keys together. Both find every slip, not only the first.
//! - `change`: what of a changed file a node takes while it runs.
//! - `formed`: what of it the cluster was formed without.
//! - `environment`: `PAXOSD__SECTION__KEY` over the file. `identity`: who this node is, and seeds.
//! - `locate`, `source`, `error`: where a value stands, and how its error prints.

mod change;
mod environment;
mod error;
mod formed;
mod identity;
mod locate;
mod origin;
mod rules;
mod schema;
mod shape;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

pub use change::Followed;
pub use environment::{Env, environment};
pub use error::{ConfigError, ConfigErrors, Place};
pub use identity::Seed;
pub use origin::Origin;
pub use schema::{
    Acceptor, Api, Client, Cluster, Config, Election, Events, Gossip, Journal, Learner, Limits,
    Log, LogFormat, LogLevel, NodeConfig, Proposer,
};
use serde_yaml::Value;
use source::Source;
use xxhash_rust::xxh3::xxh3_64;

use crate::types::{AcceptorId, NodeId, Quorum, Role};

/// The monitor ports of a development cluster are this and 1, 2, 3, … in the order of ids.
const DEV_MONITOR_BASE: u16 = 8000;

impl Config {
    /// Reads `path`, lays the settings of `env` over it, and checks every rule.
    ///
    /// # Errors
    /// When the file cannot be read, is not YAML, or breaks a rule; all broken rules that can be
    /// seen are told at once.
    pub fn load(path: &Path, env: &Env) -> Result<Self, ConfigErrors> {
        Self::parse(path.display().to_string(), read(path)?, env)
    }

    /// As [`Config::load`], of a `text` that errors call `file`.
    ///
    /// # Errors
    /// When the text is not YAML, or breaks a rule.
    pub fn parse(file: String, text: String, env: &Env) -> Result<Self, ConfigErrors> {
        let source = Source { file, text, ..Source::default() };
        let document: Value =
            serde_yaml::from_str(&source.text).map_err(|error| unreadable(&source, &error))?;
        ConfigErrors::none_of(shape::check(&document, &source))?;
        // The text is read once more with its types known, which keeps 1.10 the text it is.
        let mut config: Self =
            serde_yaml::from_str(&source.text).map_err(|error| unreadable(&source, &error))?;
        config.source = source;
        let mut errors = Vec::new();
        let mut config = environment::lay_over(config, env, &mut errors);
        config.seeds = identity::seeds(env, &mut errors);
        errors.extend(rules::check(&config));
        ConfigErrors::none_of(errors)?;
        Ok(config)
    }

    /// This configuration for all nodes on one machine, with the monitor ports 8001, 8002, … in
    /// the order of ids and the protocol's calls open to curl.
    ///
    /// # Errors
    /// When two sockets then have the same port.
    pub fn for_dev(&self) -> Result<Self, ConfigErrors> {
        let mut dev = self.clone();
        dev.api.protocol_calls = true;
        let mut nodes: Vec<&mut NodeConfig> = dev.nodes.iter_mut().collect();
        nodes.sort_by_key(|node| node.id);
        for (node, monitor_port) in nodes.into_iter().zip(DEV_MONITOR_BASE + 1..) {
            node.host = IpAddr::from(Ipv4Addr::LOCALHOST).to_string();
            node.monitor_port = monitor_port;
        }
        ConfigErrors::none_of(rules::check(&dev))?;
        Ok(dev)
    }

    /// The node numbered `id`, if the file lists it.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeConfig> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The node called `name`, if the file lists it.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&NodeConfig> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The nodes of `role`, in the order of the file.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &NodeConfig> {
        self.nodes.iter().filter(move |node| node.role == role)
    }

    /// The acceptors that a new cluster is formed of.
    #[must_use]
    pub fn acceptors(&self) -> BTreeSet<AcceptorId> {
        self.with_role(Role::Acceptor).map(|node| AcceptorId(node.id)).collect()
    }

    /// The directory of `node`.
    #[must_use]
    pub fn node_dir(&self, node: &NodeConfig) -> PathBuf {
        self.data_dir.join(&node.name)
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// A digest of the file's text, equal on every node that has the same file.
    #[must_use]
    pub fn digest(&self) -> u64 {
        xxh3_64(self.source.text.as_bytes())
    }

    /// The lowest id that no node has, or 99 when there is none.
    fn free_id(&self) -> u8 {
        let taken: BTreeSet<u8> = self.nodes.iter().map(|node| node.id.get()).collect();
        (1..=NodeId::MAX).find(|id| !taken.contains(id)).unwrap_or(NodeId::MAX)
    }
}

/// What `paxosd check` says of the file at `path`, with `env` over it: one line that counts its
/// nodes by role.
///
/// # Errors
/// As [`Config::load`].
pub fn check(path: &Path, env: &Env) -> Result<String, ConfigErrors> {
    let config = Config::load(path, env)?;
    let counts: Vec<String> = [Role::Proposer, Role::Acceptor, Role::Learner, Role::Client]
        .into_iter()
        .map(|role| counted(config.with_role(role).count(), role.as_str()))
        .collect();
    let acceptors = config.acceptors();
    let of = acceptors.len();
    // The rules have seen an acceptor, so there is a majority.
    let need = Quorum::majority(acceptors).map_or(0, |quorum| quorum.phase2());
    let nodes = counted(config.nodes.len(), "node");
    Ok(format!("ok: {nodes} ({}), quorum {need} of {of}", counts.join(", ")))
}

/// The text of the file at `path`.
fn read(path: &Path) -> Result<String, ConfigErrors> {
    fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot be read: {error}; write the path of a YAML file");
        let place = Place::File { file: path.display().to_string() };
        ConfigError { place, key: String::new(), message }.into()
    })
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// That the text of `source` is not the YAML it should be.
fn unreadable(source: &Source, error: &serde_yaml::Error) -> ConfigErrors {
    let file = source.file.clone();
    let place = match error.location() {
        Some(at) => Place::Line { file, line: at.line(), column: at.column() },
        None => Place::File { file },
    };
    let message = format!("this is not YAML as it should be: {error}");
    ConfigError { place, key: String::new(), message }.into()
}

#[cfg(test)]
mod tests;
