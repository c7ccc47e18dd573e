//! The network: what Services and the Ingress lead to, and whom the policies let through.

use serde_json::{Value, json};

use super::{Flavour, Rules};
use crate::set::{container, has_labels, list, named, pod_labels, selects, text, title};

/// Where a connection comes from.
struct Source {
    what: &'static str,
    namespace: Value,
    /// The pod's labels, where it is in the namespace of paxosd.
    pod: Option<Value>,
}

impl Rules<'_> {
    /// Every Service leads to somebody, at a port that is there.
    pub(super) fn services(&mut self) {
        for service in self.set.of("Service") {
            let title = title(service);
            let spec = &service["spec"];
            let behind: Vec<&Value> = (self.set.of("Deployment"))
                .filter(|deployment| has_labels(pod_labels(deployment), &spec["selector"]))
                .collect();
            self.expect(!behind.is_empty(), || format!("{title}: leads to nobody"));
            for (port, deployment) in
                list(&spec["ports"]).iter().flat_map(|port| behind.iter().map(move |to| (port, to)))
            {
                let target = text(&port["targetPort"]);
                let ports = &container(deployment)["ports"];
                self.expect(!named(ports, &target).is_null(), || {
                    format!(
                        "{title}: {} has no port {target}",
                        text(&deployment["metadata"]["name"])
                    )
                });
            }
        }
        for (role, _) in self.roles() {
            let name = format!("{role}-services");
            let Some(service) = self.set.get("Service", &name) else { continue };
            let spec = &service["spec"];
            self.expect(spec["selector"] == json!({"role": role.as_str()}), || {
                format!("Service {name}: selects {}, not the role {role}", spec["selector"])
            });
            let is_gated = spec["publishNotReadyAddresses"].as_bool() != Some(true);
            self.expect(is_gated, || {
                format!("Service {name}: leads callers to nodes that are not ready")
            });
            let wanted = json!([
                {"name": "api", "port": 80, "targetPort": "api"},
                {"name": "monitor", "port": 8000, "targetPort": "monitor"},
            ]);
            self.expect(spec["ports"] == wanted, || {
                format!("Service {name}: its ports are {}, not {wanted}", spec["ports"])
            });
        }
    }

    /// The ports of the machine that the original's users know.
    pub(super) fn node_ports(&mut self) {
        for (name, api, monitor) in
            [("client1", 30601, 30801), ("proposer1", 30301, 30811), ("learner1", 30501, 30821)]
        {
            let external = format!("{name}-external");
            let Some(service) = self.set.get("Service", &external) else { continue };
            let spec = &service["spec"];
            self.expect(spec["type"] == "NodePort", || {
                format!("Service {external}: is a {}, not a NodePort", spec["type"])
            });
            self.expect(spec["selector"]["app"] == name, || {
                format!("Service {external}: leads to {}, not {name}", spec["selector"]["app"])
            });
            for (port, number) in [("api", api), ("monitor", monitor)] {
                let port = named(&spec["ports"], port);
                let (title, found) = (text(&port["name"]), &port["nodePort"]);
                self.expect(*found == number && port["targetPort"] == port["name"], || {
                    format!("Service {external}: {title} is at {found}, not {number}")
                });
            }
        }
    }

    /// Two paths for each node, and no others.
    pub(super) fn ingress(&mut self) {
        let Some(ingress) = self.set.get("Ingress", "paxos-ingress") else { return };
        let spec = &ingress["spec"];
        let names: Vec<String> = self.config.nodes.iter().map(|node| node.name.clone()).collect();
        let path = |prefix: &str, name: &String, port: &str| {
            json!({
                "path": format!("{prefix}/{name}(/|$)(.*)"),
                "pathType": "ImplementationSpecific",
                "backend": {"service": {"name": name, "port": {"name": port}}},
            })
        };
        let api = names.iter().map(|name| path("", name, "api"));
        let wanted: Vec<Value> =
            api.chain(names.iter().map(|name| path("/monitor", name, "monitor"))).collect();
        let found = list(&spec["rules"][0]["http"]["paths"]);
        for path in found.iter().filter(|path| !wanted.contains(path)) {
            self.complaints.push(format!("Ingress paxos-ingress: {path} leads astray"));
        }
        for path in wanted.iter().filter(|path| !found.contains(path)) {
            self.complaints.push(format!("Ingress paxos-ingress: lacks {path}"));
        }
        self.expect(spec["ingressClassName"] == "nginx", || {
            format!("Ingress paxos-ingress: is of class {}", spec["ingressClassName"])
        });
        let body = format!("{}m", self.config.limits.request_bytes >> 20);
        for (annotation, wanted) in [
            ("use-regex", "true"),
            ("rewrite-target", "/$2"),
            ("proxy-body-size", body.as_str()),
            ("proxy-buffering", "off"),
            ("proxy-read-timeout", "3600"),
        ] {
            let key = format!("nginx.ingress.kubernetes.io/{annotation}");
            let found = &ingress["metadata"]["annotations"][&key];
            self.expect(found == wanted, || {
                format!("Ingress paxos-ingress: {annotation} is {found}, not {wanted}")
            });
        }
    }

    /// Who reaches which port of whom.
    pub(super) fn reach(&mut self) {
        let is_open = self.flavour != Flavour::Production;
        let takes_callers = ["client", "proposer", "learner"];
        for node in self.set.of("Deployment") {
            let is_caller_facing =
                takes_callers.contains(&text(&pod_labels(node)["role"]).as_str());
            for (source, api, monitor) in [
                (peer("proposer"), true, true),
                (peer("acceptor"), true, true),
                (peer("learner"), true, true),
                (peer("client"), true, true),
                (pod_beside(), is_caller_facing, is_open),
                (
                    namespace("a stranger", json!({"name": "x"})),
                    is_open && is_caller_facing,
                    is_open,
                ),
                (namespace("the ingress", json!({NAME: "ingress-nginx"})), is_open, is_open),
                (
                    namespace("Prometheus", json!({NAME: "monitoring"})),
                    is_open && is_caller_facing,
                    true,
                ),
                (
                    namespace("a caller that was let in", json!({"paxos-access": "true"})),
                    is_caller_facing,
                    is_open,
                ),
            ] {
                for (port, wanted) in [("api", api), ("monitor", monitor)] {
                    let found = self.is_let_in(&source, node, port);
                    let name = text(&node["metadata"]["name"]);
                    let verb = if found { "reaches" } else { "does not reach" };
                    self.expect(found == wanted, || {
                        format!("NetworkPolicy: {} {verb} {port} of {name}", source.what)
                    });
                }
            }
        }
    }

    /// What the policies of the set decide together, as Kubernetes adds them up.
    fn is_let_in(&self, source: &Source, to: &Value, port: &str) -> bool {
        let selected: Vec<&Value> = (self.set.of("NetworkPolicy"))
            .map(|policy| &policy["spec"])
            .filter(|spec| selects(&spec["podSelector"], pod_labels(to)))
            .collect();
        let allows = |rule: &Value| {
            // An empty list stands for everything, as one that is missing does.
            let (ports, from) = (list(&rule["ports"]), list(&rule["from"]));
            let is_port = ports.is_empty() || ports.iter().any(|entry| entry["port"] == port);
            let is_source = from.is_empty() || from.iter().any(|entry| source.is(entry));
            is_port && is_source
        };
        selected.is_empty() || selected.iter().any(|spec| list(&spec["ingress"]).iter().any(allows))
    }
}

impl Source {
    /// Whether it is one that the entry of a policy's `from` means.
    fn is(&self, entry: &Value) -> bool {
        let namespaces = &entry["namespaceSelector"];
        let pods = &entry["podSelector"];
        match &self.pod {
            Some(labels) if namespaces.is_null() => selects(pods, labels),
            None if namespaces.is_null() => false,
            _ => selects(namespaces, &self.namespace) && pods.is_null(),
        }
    }
}

/// The label that Kubernetes itself gives each namespace.
const NAME: &str = "kubernetes.io/metadata.name";

fn peer(role: &str) -> Source {
    Source { what: "a node", namespace: json!({NAME: "paxos"}), pod: Some(json!({"role": role})) }
}

fn pod_beside() -> Source {
    Source { what: "a pod beside", namespace: json!({NAME: "paxos"}), pod: Some(json!({})) }
}

fn namespace(what: &'static str, labels: Value) -> Source {
    Source { what, namespace: labels, pod: None }
}
