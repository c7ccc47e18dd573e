//! The set as a whole: which objects there are, the namespace, `ConfigMap`, budgets, monitoring.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Flavour, Rules, has_disk};
use crate::set::{has_labels, list, pod_labels, selects, text, title};

impl Rules<'_> {
    /// Exactly the objects that the configuration asks for, each once and in its namespace.
    pub(super) fn inventory(&mut self) {
        let mut wanted = self.wanted();
        for object in &self.set.0 {
            let title = title(object);
            let namespace = &object["metadata"]["namespace"];
            if object["kind"] != "Namespace" && namespace != "paxos" {
                self.complaints.push(format!("{title}: is in namespace {namespace}, not paxos"));
            }
            if !wanted.remove(&title) {
                self.complaints.push(format!("{title}: is one too many"));
            }
        }
        self.complaints.extend(wanted.iter().map(|title| format!("{title}: is missing")));
    }

    fn wanted(&self) -> BTreeSet<String> {
        let mut wanted: BTreeSet<String> =
            ["Namespace paxos", "ConfigMap paxos-config"].map(str::to_owned).into();
        for node in &self.config.nodes {
            wanted.extend(["Deployment", "Service"].map(|kind| format!("{kind} {}", node.name)));
            if has_disk(node.role) {
                wanted.insert(format!("PersistentVolumeClaim {}-data", node.name));
            }
        }
        for (role, _) in self.roles() {
            wanted.insert(format!("Service {role}-services"));
            wanted.insert(format!("PodDisruptionBudget {role}s"));
        }
        let policies = ["nobody", "peers", "callers", "monitoring"];
        wanted.extend(policies.map(|name| format!("NetworkPolicy paxos-{name}")));
        if self.flavour == Flavour::Production {
            wanted.insert("ServiceMonitor paxos".to_owned());
        } else {
            wanted.insert("Ingress paxos-ingress".to_owned());
            wanted.insert("NetworkPolicy paxos-ingress-controller".to_owned());
            let published = ["client1", "proposer1", "learner1"];
            wanted.extend(published.map(|name| format!("Service {name}-external")));
        }
        wanted
    }

    pub(super) fn namespace(&mut self) {
        let Some(namespace) = self.set.get("Namespace", "paxos") else { return };
        let level = &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
        self.expect(level == "restricted", || {
            format!("Namespace paxos: enforces {level}, not restricted")
        });
    }

    pub(super) fn config_map(&mut self) {
        let Some(map) = self.set.get("ConfigMap", "paxos-config") else { return };
        let is_same = map["data"] == json!({"cluster.yaml": self.text});
        self.expect(is_same, || {
            "ConfigMap paxos-config: is not config/cluster.yaml; run k8s/configmap.sh".to_owned()
        });
        self.expect(map.get("immutable").is_none(), || {
            "ConfigMap paxos-config: is immutable, so no node would ever see a change".to_owned()
        });
    }

    /// A drained machine leaves a quorum of acceptors, and one of each other role.
    pub(super) fn budgets(&mut self) {
        for (role, nodes) in self.roles() {
            let Some(budget) = self.set.get("PodDisruptionBudget", &format!("{role}s")) else {
                continue;
            };
            let least = if has_votes(role) { nodes.len() / 2 + 1 } else { 1 };
            let minimum = &budget["spec"]["minAvailable"];
            self.expect(*minimum == json!(least), || {
                format!("PodDisruptionBudget {role}s: keeps {minimum}, not {least}")
            });
            let selector = &budget["spec"]["selector"];
            let selected: BTreeSet<String> = (self.set.of("Deployment"))
                .filter(|deployment| selects(selector, pod_labels(deployment)))
                .map(|deployment| text(&deployment["metadata"]["name"]))
                .collect();
            let all: BTreeSet<String> = nodes.iter().map(|node| node.name.clone()).collect();
            self.expect(selected == all, || {
                format!("PodDisruptionBudget {role}s: selects {selected:?}, not {all:?}")
            });
        }
    }

    /// Prometheus finds each node once. No schema of this kind is at hand, so its shape is here.
    pub(super) fn service_monitor(&mut self) {
        let Some(monitor) = self.set.get("ServiceMonitor", "paxos") else { return };
        self.expect(monitor["apiVersion"] == "monitoring.coreos.com/v1", || {
            format!("ServiceMonitor paxos: is of {}", monitor["apiVersion"])
        });
        let selector = &monitor["spec"]["selector"];
        let scraped: Vec<String> = (self.set.of("Service"))
            .filter(|service| selects(selector, &service["metadata"]["labels"]))
            .map(|service| text(&service["metadata"]["name"]))
            .collect();
        let nodes: Vec<String> = self.config.nodes.iter().map(|node| node.name.clone()).collect();
        let (sorted, wanted) = (sorted(scraped), sorted(nodes));
        self.expect(sorted == wanted, || {
            format!("ServiceMonitor paxos: scrapes {sorted:?}, not {wanted:?}")
        });
        let endpoints = list(&monitor["spec"]["endpoints"]);
        let wanted = json!({"port": "monitor", "path": "/metrics"});
        let is_one = endpoints.len() == 1 && has_labels(&endpoints[0], &wanted);
        self.expect(is_one, || {
            "ServiceMonitor paxos: must have one endpoint, /metrics of the port monitor".to_owned()
        });
        let keys = ["selector", "targetLabels", "endpoints"];
        let unknown = monitor["spec"].as_object().into_iter().flatten().map(|(key, _)| key);
        let unknown: Vec<&String> = unknown.filter(|key| !keys.contains(&key.as_str())).collect();
        self.expect(unknown.is_empty(), || {
            format!("ServiceMonitor paxos: has {unknown:?}, which nobody has looked at")
        });
    }
}

fn has_votes(role: paxosd::types::Role) -> bool {
    role == paxosd::types::Role::Acceptor
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}
