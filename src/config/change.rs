//! What of a changed file a node takes while it runs, what waits for its next start, and what it
//! refuses.
//!
//! When a setting takes effect stands beside it in `schema`. The nodes are judged here: who votes
//! was fixed when the cluster was formed, everything else about them may change.

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::error::{ConfigError, ConfigErrors};
use super::locate::KeyPath;
use super::rules;
use super::schema::{Config, NodeConfig, When};
use super::source::Source;
use crate::types::Role;

/// What a running node makes of a changed file.
#[derive(Debug, Clone)]
pub struct Followed {
    /// What it runs with from now on.
    pub config: Config,
    /// What changes now, as an operator reads it.
    pub taken: Vec<String>,
    /// What changes at the next start.
    pub waiting: Vec<String>,
    /// Why all of it waits although some could change now: together with what must wait, it would
    /// break these rules.
    pub conflict: Option<ConfigErrors>,
}

/// The differences between two configurations, as they are found.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    /// Of the new one.
    source: &'a Source,
    taken: Vec<String>,
    waiting: Vec<String>,
    refused: Vec<ConfigError>,
}

impl Changes<'_> {
    /// The value to run with of a setting that `was` one and `is` another in the new file.
    pub(super) fn setting<T: Clone + PartialEq + Serialize>(
        &mut self,
        path: &KeyPath,
        when: When,
        (was, is): (&T, &T),
    ) -> T {
        if was == is {
            return was.clone();
        }
        let (old, new) = (shown(was), shown(is));
        match when {
            When::Now => {
                self.taken.push(format!("{path}: {old} -> {new}"));
                is.clone()
            }
            When::NextStart => {
                self.waiting.push(format!("{path}: {old} -> {new}"));
                was.clone()
            }
            When::Never => {
                let message = format!(
                    "{old} was fixed when the cluster was formed and cannot become {new}; write \
                     {old} again"
                );
                self.refuse(path, message);
                was.clone()
            }
        }
    }

    fn refuse(&mut self, path: &KeyPath, message: String) {
        self.refused.push(self.source.error(path, message));
    }
}

/// A value as it is written in the file.
fn shown(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    text.trim_matches('"').to_owned()
}

impl Config {
    /// What `new`, read from the same file later, changes in the node that runs with `self`: the
    /// node `me`, which is `its` in the new file.
    ///
    /// # Errors
    /// Every change that is refused. Then nothing is taken: half of a change is none.
    pub fn follow(
        &self,
        new: &Self,
        me: &NodeConfig,
        its: &NodeConfig,
    ) -> Result<Followed, ConfigErrors> {
        let source = &new.source;
        let mut changes =
            Changes { source, taken: Vec::new(), waiting: Vec::new(), refused: Vec::new() };
        let config = self.merged(new, me, its, &mut changes);
        let Changes { taken, mut waiting, refused, .. } = changes;
        ConfigErrors::none_of(refused)?;
        // Each file keeps the rules; what runs now and what waits together may not.
        let Err(conflict) = ConfigErrors::none_of(rules::check(&config)) else {
            return Ok(Followed { config, taken, waiting, conflict: None });
        };
        waiting.extend(taken);
        let conflict = Some(conflict);
        Ok(Followed { config: self.clone(), taken: Vec::new(), waiting, conflict })
    }

    /// `self` with what of `new` takes effect now. A key that is not named here does not compile.
    fn merged(
        &self,
        new: &Self,
        me: &NodeConfig,
        its: &NodeConfig,
        changes: &mut Changes<'_>,
    ) -> Self {
        let Self {
            // Both were judged when `its` was found.
            name: _,
            seeds: _,
            data_dir,
            cluster,
            nodes: _,
            election,
            proposer,
            acceptor,
            learner,
            client,
            journal,
            gossip,
            limits,
            api,
            log,
            events,
            source: _,
        } = self;
        let at = KeyPath::top;
        Self {
            name: new.name.clone(),
            seeds: new.seeds.clone(),
            data_dir: changes.setting(&at("data_dir"), When::NextStart, (data_dir, &new.data_dir)),
            cluster: cluster.follow(&new.cluster, &at("cluster"), changes),
            nodes: self.merged_nodes(new, me, its, changes),
            election: election.follow(&new.election, &at("election"), changes),
            proposer: proposer.follow(&new.proposer, &at("proposer"), changes),
            acceptor: acceptor.follow(&new.acceptor, &at("acceptor"), changes),
            learner: learner.follow(&new.learner, &at("learner"), changes),
            client: client.follow(&new.client, &at("client"), changes),
            journal: journal.follow(&new.journal, &at("journal"), changes),
            gossip: gossip.follow(&new.gossip, &at("gossip"), changes),
            limits: limits.follow(&new.limits, &at("limits"), changes),
            api: api.follow(&new.api, &at("api"), changes),
            log: log.follow(&new.log, &at("log"), changes),
            events: events.follow(&new.events, &at("events"), changes),
            source: new.source.clone(),
        }
    }

    fn merged_nodes(
        &self,
        new: &Self,
        me: &NodeConfig,
        its: &NodeConfig,
        changes: &mut Changes<'_>,
    ) -> Vec<NodeConfig> {
        let list = KeyPath::top("nodes");
        if (its.id, &its.name, its.role) != (me.id, &me.name, me.role) {
            let message =
                format!("{} runs as this node, and cannot become {}", told(me), told(its));
            changes.refuse(&list, message);
        }
        for was in self.nodes.iter().filter(|was| new.node(was.id).is_none()) {
            if was.role == Role::Acceptor {
                let message = format!("{} is missing, {ACCEPTORS_FIXED}; list it again", told(was));
                changes.refuse(&list, message);
            } else {
                changes.taken.push(format!("nodes: {} removed", told(was)));
            }
        }
        let nodes = (0..).zip(&new.nodes).map(|(place, node)| {
            let at = list.item(place);
            if let Some(other) = self.named(&node.name).filter(|other| other.id != node.id) {
                let message = format!("{} cannot get another id; write {1}", told(other), other.id);
                changes.refuse(&at.key("id"), message);
            }
            // A node that joined by gossip may be listed later; its address is its own matter.
            let was = if node.id == me.id { Some(me) } else { self.node(node.id) };
            let Some(was) = was else {
                changes.new_node(&at, node);
                return node.clone();
            };
            changes.node(&at, node.id == me.id, was, node)
        });
        nodes.collect()
    }
}

/// Why the list of acceptors stays.
const ACCEPTORS_FIXED: &str = "and the acceptors were fixed when the cluster was formed";

impl Changes<'_> {
    /// A node that was known as `was` and `is` in the file now. Others reach it at its new address
    /// from now on; it itself, `is_me`, listens there when it starts again.
    fn node(&mut self, at: &KeyPath, is_me: bool, was: &NodeConfig, is: &NodeConfig) -> NodeConfig {
        let NodeConfig { name, id, role, host, api_port, monitor_port } = was;
        if is.role != *role {
            let message = format!("{} keeps its role; write {role} again", told(was));
            self.refuse(&at.key("role"), message);
        }
        let when = if is_me { When::NextStart } else { When::Now };
        let own = KeyPath::top(name);
        NodeConfig {
            id: *id,
            role: *role,
            name: self.setting(&own.key("name"), When::Now, (name, &is.name)),
            host: self.setting(&own.key("host"), when, (host, &is.host)),
            api_port: self.setting(&own.key("api_port"), when, (api_port, &is.api_port)),
            monitor_port: self.setting(
                &own.key("monitor_port"),
                when,
                (monitor_port, &is.monitor_port),
            ),
        }
    }

    fn new_node(&mut self, at: &KeyPath, node: &NodeConfig) {
        if node.role == Role::Acceptor {
            let message = format!("{} is new, {ACCEPTORS_FIXED}; take it out", told(node));
            self.refuse(at, message);
        } else {
            self.taken.push(format!("nodes: {} added", told(node)));
        }
    }
}

/// A node as an operator knows it.
pub(super) fn told(node: &NodeConfig) -> String {
    format!("{} ({}, id {})", node.name, node.role, node.id)
}
