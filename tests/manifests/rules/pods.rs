//! The pods: what they may do, how they are asked after, what they may use, where they run.

use paxosd::config::NodeConfig;
use paxosd::types::Role;
use serde_json::{Value, json};

use super::{Flavour, Rules, has_disk};
use crate::set::{bytes, container, list, pod_labels, selects, thousandths};

/// What `node::STOP_TIMEOUT` grants three times when a node stops: to hand over, to callers and to
/// tasks.
const STOP_S: u64 = 15;

/// What a node itself waits for its loop before it calls itself stuck.
const ASK_S: u64 = 1;

/// Bytes of a node that holds nothing yet, its threads, connections and queues.
const PROCESS_BYTES: u64 = 64 << 20;

/// Bytes that a learner needs for one idempotency key and for its copy in a checkpoint; 520 were
/// measured.
const KEY_BYTES: u64 = 640;

/// What all ten may ask of a machine with 4 GB and two processors, beside Kubernetes itself.
const REQUESTS_BYTES_MAX: u64 = 1 << 30;
const REQUESTS_CPU_MAX: u64 = 1000;

impl Rules<'_> {
    /// The pod of `node`.
    pub(super) fn pod(&mut self, node: &NodeConfig, deployment: &Value) {
        let pod = &deployment["spec"]["template"]["spec"];
        self.security(node, pod, container(deployment));
        self.probes(node, container(deployment));
        self.grace(node, pod);
        self.resources(node, container(deployment));
        self.place(node, pod, deployment);
    }

    /// The restricted level of the Pod Security Standards, and a root that is read only.
    fn security(&mut self, node: &NodeConfig, pod: &Value, container: &Value) {
        let fs_group = if has_disk(node.role) { json!(65532) } else { Value::Null };
        for (object, path, wanted) in [
            (pod, "/automountServiceAccountToken", json!(false)),
            (pod, "/enableServiceLinks", json!(false)),
            (pod, "/hostNetwork", Value::Null),
            (pod, "/securityContext/runAsNonRoot", json!(true)),
            (pod, "/securityContext/runAsUser", json!(65532)),
            (pod, "/securityContext/runAsGroup", json!(65532)),
            (pod, "/securityContext/fsGroup", fs_group),
            (pod, "/securityContext/seccompProfile/type", json!("RuntimeDefault")),
            (container, "/securityContext/allowPrivilegeEscalation", json!(false)),
            (container, "/securityContext/readOnlyRootFilesystem", json!(true)),
            (container, "/securityContext/privileged", Value::Null),
            (container, "/securityContext/runAsUser", Value::Null),
            (container, "/securityContext/capabilities", json!({"drop": ["ALL"]})),
        ] {
            let found = object.pointer(path).unwrap_or(&Value::Null);
            self.expect(*found == wanted, || {
                format!("Deployment {}: {path} is {found}, not {wanted}", node.name)
            });
        }
    }

    /// Three probes, on the monitor port, more patient than the node itself.
    fn probes(&mut self, node: &NodeConfig, container: &Value) {
        let name = &node.name;
        let budget = if has_disk(node.role) { 600 } else { 60 };
        for (probe, path, least) in [
            ("startupProbe", "/livez", budget),
            ("livenessProbe", "/livez", 20),
            ("readinessProbe", "/readyz", 0),
        ] {
            let found = &container[probe];
            let wanted = json!({"path": path, "port": "monitor"});
            let get = &found["httpGet"];
            self.expect(*get == wanted, || {
                format!("Deployment {name}: {probe} asks {get}, not {wanted}")
            });
            let number = |key: &str| found[key].as_u64().unwrap_or(0);
            self.expect(number("timeoutSeconds") > ASK_S, || {
                format!("Deployment {name}: {probe} does not wait as long as the node itself")
            });
            let seconds = number("periodSeconds") * number("failureThreshold");
            self.expect(seconds >= least, || {
                format!("Deployment {name}: {probe} gives up after {seconds} s, before {least} s")
            });
        }
    }

    /// SIGKILL comes later than the node needs at most.
    fn grace(&mut self, node: &NodeConfig, pod: &Value) {
        let drain_s = self.config.proposer.drain_ms.div_ceil(1000);
        let least = STOP_S + if node.role == Role::Proposer { drain_s } else { 0 };
        let grace = &pod["terminationGracePeriodSeconds"];
        self.expect(grace.as_u64() > Some(least), || {
            format!("Deployment {}: is killed after {grace} s, and may need {least}", node.name)
        });
    }

    fn resources(&mut self, node: &NodeConfig, container: &Value) {
        let name = &node.name;
        let (requests, limits) =
            (&container["resources"]["requests"], &container["resources"]["limits"]);
        for what in ["cpu", "memory"] {
            let (request, limit) = (thousandths(&requests[what]), thousandths(&limits[what]));
            let is_sound = request.is_some() && limit >= request;
            self.expect(is_sound, || {
                format!(
                    "Deployment {name}: {what} needs a request and a limit above it, has {} and {}",
                    requests[what], limits[what]
                )
            });
        }
        let limit = &limits["memory"];
        let least = self.memory_least(node.role);
        self.expect(bytes(limit) >= Some(least), || {
            format!("Deployment {name}: the memory limit {limit} is less than {least} bytes")
        });
    }

    /// Bytes that a node of `role` may come to hold under this configuration: what was measured
    /// under a load that fills everything, rounded up.
    fn memory_least(&self, role: Role) -> u64 {
        let config = &self.config;
        let whole = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        let in_flight = whole(config.client.in_flight_bytes_max);
        let held = match role {
            // What learners have not taken over. A small vote takes 2.5 times its record.
            Role::Acceptor => 3 * config.journal.max_bytes,
            Role::Learner => config.limits.idempotency_window * KEY_BYTES,
            // Its own callers, as a client has them, and what others send to the leader.
            Role::Proposer => 3 * in_flight + 2 * whole(config.proposer.queue_bytes_max),
            Role::Client => 5 * in_flight / 2,
        };
        held + PROCESS_BYTES
    }

    /// What the ten ask for together.
    pub(super) fn sums(&mut self) {
        let requests: Vec<&Value> = (self.set.of("Deployment"))
            .map(|deployment| &container(deployment)["resources"]["requests"])
            .collect();
        let memory: u64 = requests.iter().filter_map(|request| bytes(&request["memory"])).sum();
        let cpu: u64 = requests.iter().filter_map(|request| thousandths(&request["cpu"])).sum();
        self.expect(memory <= REQUESTS_BYTES_MAX, || {
            format!("all pods: ask for {memory} bytes, more than {REQUESTS_BYTES_MAX}")
        });
        self.expect(cpu <= REQUESTS_CPU_MAX, || {
            format!("all pods: ask for {cpu} thousandths of a processor, not {REQUESTS_CPU_MAX}")
        });
    }

    /// Acceptors apart from one another; in production all roles spread.
    fn place(&mut self, node: &NodeConfig, pod: &Value, deployment: &Value) {
        let (name, labels) = (&node.name, pod_labels(deployment));
        if node.role == Role::Acceptor {
            let terms = "/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution";
            let term = &pod.pointer(terms).unwrap_or(&Value::Null)[0]["podAffinityTerm"];
            let is_apart = term["topologyKey"] == "kubernetes.io/hostname"
                && selects_alone(&term["labelSelector"], labels);
            self.expect(is_apart, || {
                format!("Deployment {name}: does not keep away from the other acceptors")
            });
        }
        let spread = list(&pod["topologySpreadConstraints"]);
        if self.flavour != Flavour::Production {
            return;
        }
        for (key, is_strict) in [
            ("kubernetes.io/hostname", node.role == Role::Acceptor),
            ("topology.kubernetes.io/zone", false),
        ] {
            let when = if is_strict { "DoNotSchedule" } else { "ScheduleAnyway" };
            let is_spread = spread.iter().any(|constraint| {
                constraint["topologyKey"] == key
                    && constraint["whenUnsatisfiable"] == when
                    && constraint["maxSkew"] == 1
                    && selects_alone(&constraint["labelSelector"], labels)
            });
            self.expect(is_spread, || {
                format!("Deployment {name}: is not spread over {key} with {when}")
            });
        }
    }
}

/// Whether `selector` selects pods with `labels`, and none of another role.
fn selects_alone(selector: &Value, labels: &Value) -> bool {
    selects(selector, labels) && !selects(selector, &json!({"app": "stranger", "role": "other"}))
}
