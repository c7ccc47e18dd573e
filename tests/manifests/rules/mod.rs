//! What must hold of the manifests, each breach a sentence that names the object.

mod network;
mod nodes;
mod pods;
mod whole;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use paxosd::config::{Config, Env, NodeConfig};
use paxosd::types::Role;

use super::set::Set;

/// Which of the three is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// `k8s/base`.
    Base,
    /// `k8s/overlays/minikube`.
    Minikube,
    /// `k8s/overlays/production`.
    Production,
}

/// A set of objects, held against the configuration.
pub(crate) struct Rules<'a> {
    set: &'a Set,
    flavour: Flavour,
    /// The configuration's text, and what it says.
    text: &'a str,
    config: Config,
    complaints: Vec<String>,
}

/// Every rule that `set` breaks.
pub(crate) fn complaints(set: &Set, flavour: Flavour, text: &str) -> Vec<String> {
    let config = parsed(text, &Env::new()).expect("the shipped configuration is sound");
    let mut rules = Rules { set, flavour, text, config, complaints: Vec::new() };
    rules.inventory();
    rules.namespace();
    rules.config_map();
    rules.budgets();
    rules.service_monitor();
    for node in rules.config.nodes.clone() {
        rules.node(&node);
    }
    rules.siblings();
    rules.sums();
    rules.services();
    rules.node_ports();
    rules.ingress();
    rules.reach();
    rules.complaints
}

impl Rules<'_> {
    /// Complains of `what` unless it `holds`.
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.complaints.push(what());
        }
    }

    /// The names of the roles, each with its nodes.
    fn roles(&self) -> Vec<(Role, Vec<NodeConfig>)> {
        [Role::Proposer, Role::Acceptor, Role::Learner, Role::Client]
            .map(|role| (role, self.config.with_role(role).cloned().collect()))
            .into()
    }
}

/// What the program makes of the configuration `text` under `env`. Kept, for it is asked the same
/// again and again.
fn parsed(text: &str, env: &Env) -> Result<Config, String> {
    type Kept = BTreeMap<(String, Env), Result<Config, String>>;
    static KEPT: Mutex<Kept> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let parse = || {
        Config::parse("config/cluster.yaml".to_owned(), text.to_owned(), env)
            .map_err(|errors| errors.to_string())
    };
    kept.entry((text.to_owned(), env.clone())).or_insert_with(parse).clone()
}

/// Whether nodes of `role` keep anything on disk.
fn has_disk(role: Role) -> bool {
    matches!(role, Role::Acceptor | Role::Learner)
}
