//! The same manifests with one thing wrong in each: the rule that is broken must say so, and by
//! name. A rule that never speaks proves nothing.

use serde_json::{Value, json};

use super::rules::{Flavour, complaints};
use super::set::{Set, container};
use super::{base, configuration};

/// One thing wrong: where, what is put there (null takes it away), and what must be said.
type Wrong = (&'static str, &'static str, &'static str, Value, &'static str);

const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

/// Breaks the base as `wrong` says, and returns what the rules say.
fn complaints_of(wrong: &Wrong) -> Vec<String> {
    let (kind, name, pointer, value, _) = wrong;
    let mut set = base();
    put(set.get_mut(kind, name), pointer, value.clone());
    complaints(&set, Flavour::Base, &configuration())
}

/// Puts `value` at `pointer`, whose parent exists; null takes away what is there.
fn put(object: &mut Value, pointer: &str, value: Value) {
    let pointer = pointer.replace("POD", POD).replace("CONTAINER", CONTAINER);
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let key = key.replace("~1", "/");
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"));
    match parent {
        Value::Object(entries) if value.is_null() => {
            assert!(entries.remove(&key).is_some(), "no {pointer} to take away");
        }
        Value::Object(entries) => {
            let before = entries.insert(key, value.clone());
            assert_ne!(before.as_ref(), Some(&value), "{pointer} is so already");
        }
        Value::Array(entries) => {
            let at: usize = key.parse().expect("an index");
            if value.is_null() { drop(entries.remove(at)) } else { entries[at] = value }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            panic!("{parent} has no entries")
        }
    }
}

/// Each breach alone is told, and told of the object that has it.
fn each_is_told(cases: &[Wrong]) {
    for wrong in cases {
        let (kind, name, pointer, _, expected) = wrong;
        let found = complaints_of(wrong);
        let object =
            if *kind == "NetworkPolicy" { (*kind).into() } else { format!("{kind} {name}") };
        let is_told = found.iter().any(|it| it.starts_with(&object) && it.contains(expected));
        assert!(is_told, "{kind} {name} {pointer}: nobody says `{expected}`, but\n{found:#?}");
    }
}

#[test]
fn a_deployment_that_is_not_its_node() {
    let (deployment, acceptor) = ("Deployment", "acceptor2");
    let other = base();
    let other = other.get(deployment, "acceptor1").expect("it is there");
    let acceptor1 = container(other)["env"].clone();
    each_is_told(&[
        (deployment, acceptor, "/spec/replicas", json!(2), "2 replicas of one identity"),
        (deployment, acceptor, "/spec/replicas", Value::Null, "null replicas"),
        (deployment, acceptor, "/spec/strategy/type", json!("RollingUpdate"), "not Recreate"),
        (deployment, acceptor, "/spec/strategy", Value::Null, "not Recreate"),
        (deployment, acceptor, "/metadata/labels/role", json!("learner"), "its labels are"),
        (deployment, acceptor, "/spec/selector/matchLabels/app", json!("x"), "its selector are"),
        (deployment, acceptor, "/spec/template/metadata/labels/app", json!("x"), "pod's labels"),
        (deployment, acceptor, "CONTAINER/ports/0/containerPort", json!(4001), "port api is 4001"),
        (deployment, acceptor, "CONTAINER/ports/1", Value::Null, "port monitor is null"),
        (deployment, acceptor, "CONTAINER/image", json!("paxos-node"), "its image is paxos-node,"),
        (deployment, acceptor, "CONTAINER/imagePullPolicy", Value::Null, "imagePullPolicy is null"),
        (deployment, acceptor, "CONTAINER/args", json!(["dev"]), "not [\"run\"]"),
        (deployment, acceptor, "CONTAINER/env/0/value", json!("acceptor1"), "would not start"),
        (deployment, acceptor, "CONTAINER/env/1/value", json!("4"), "would not start"),
        (deployment, acceptor, "CONTAINER/env/1/value", json!(5), "\"NODE_ID\" holds no text"),
        (deployment, acceptor, "CONTAINER/env/2/value", json!("learner"), "would not start"),
        (deployment, acceptor, "CONTAINER/env/3/value", json!("4001"), "would not start"),
        (deployment, acceptor, "CONTAINER/env/3", Value::Null, "PORT is not set"),
        (deployment, acceptor, "CONTAINER/env/3/name", json!("NODE_ID"), "has \"NODE_ID\" twice"),
        (deployment, acceptor, "CONTAINER/env", acceptor1, "takes itself for acceptor1"),
        (deployment, acceptor, "POD/containers", json!([]), "has 0 containers"),
        (deployment, acceptor, "CONTAINER/env/4/value", json!("/etc/x"), "where no file is"),
        (deployment, acceptor, "CONTAINER/env/5", Value::Null, "writes to ./data"),
        (deployment, acceptor, "CONTAINER/env/5/name", json!("PAXOSD__DATADIR"), "would not start"),
    ]);
}

#[test]
fn a_deployment_that_differs_from_its_siblings() {
    each_is_told(&[
        ("Deployment", "proposer3", "/spec/revisionHistoryLimit", json!(9), "from proposer1"),
        ("Service", "client2", "/spec/sessionAffinity", json!("ClientIP"), "from client1"),
        (
            "PersistentVolumeClaim",
            "learner2-data",
            "/spec/resources/requests/storage",
            json!("8Gi"),
            "from learner1-data",
        ),
    ]);
}

#[test]
fn volumes_that_lose_data_or_changes() {
    let (deployment, claim) = ("Deployment", "PersistentVolumeClaim");
    let subpath = json!({"name": "config", "mountPath": "/etc/paxosd/cluster.yaml",
        "subPath": "cluster.yaml", "readOnly": true});
    each_is_told(&[
        (deployment, "client1", "CONTAINER/volumeMounts/0", subpath, "mounts the configuration as"),
        (
            deployment,
            "acceptor1",
            "CONTAINER/volumeMounts/1/mountPath",
            json!("/data"),
            "mounts its data at \"/data\"",
        ),
        (
            deployment,
            "acceptor1",
            "POD/volumes/1/persistentVolumeClaim/claimName",
            json!("acceptor2-data"),
            "its volumes are",
        ),
        (
            deployment,
            "learner1",
            "POD/volumes/1",
            json!({"name": "data", "emptyDir": {}}),
            "its volumes are",
        ),
        (claim, "learner1-data", "/spec/accessModes", json!(["ReadWriteMany"]), "its access is"),
        (
            claim,
            "acceptor1-data",
            "/spec/resources/requests/storage",
            json!("256Mi"),
            "\"256Mi\" is less than",
        ),
        (claim, "acceptor1-data", "/spec/storageClassName", json!("slow"), "its class is"),
    ]);
}

#[test]
fn probes_that_kill_the_living_or_spare_the_dead() {
    let deployment = "Deployment";
    each_is_told(&[
        (deployment, "learner1", "CONTAINER/startupProbe", Value::Null, "startupProbe asks null"),
        (deployment, "learner1", "CONTAINER/livenessProbe", Value::Null, "livenessProbe asks null"),
        (
            deployment,
            "client1",
            "CONTAINER/livenessProbe/httpGet/path",
            json!("/readyz"),
            "livenessProbe asks",
        ),
        (
            deployment,
            "client1",
            "CONTAINER/readinessProbe/httpGet/port",
            json!("api"),
            "readinessProbe asks",
        ),
        (
            deployment,
            "client1",
            "CONTAINER/livenessProbe/timeoutSeconds",
            Value::Null,
            "does not wait as long as the node",
        ),
        (
            deployment,
            "acceptor1",
            "CONTAINER/startupProbe/failureThreshold",
            json!(30),
            "gives up after 60 s",
        ),
        (
            deployment,
            "proposer1",
            "CONTAINER/livenessProbe/failureThreshold",
            json!(1),
            "gives up after 5 s",
        ),
        (deployment, "client1", "POD/terminationGracePeriodSeconds", json!(10), "is killed after"),
        (
            deployment,
            "client1",
            "POD/terminationGracePeriodSeconds",
            Value::Null,
            "is killed after null",
        ),
    ]);
}

#[test]
fn pods_that_may_do_more_than_they_need() {
    let none = Value::Null;
    for (pointer, value, expected) in [
        ("POD/automountServiceAccountToken", none.clone(), "automountServiceAccountToken is null"),
        ("POD/enableServiceLinks", json!(true), "enableServiceLinks is true"),
        ("POD/hostNetwork", json!(true), "hostNetwork is true"),
        ("POD/securityContext/runAsNonRoot", none.clone(), "runAsNonRoot is null"),
        ("POD/securityContext/runAsUser", json!(0), "runAsUser is 0"),
        ("POD/securityContext/runAsGroup", none.clone(), "runAsGroup is null"),
        ("POD/securityContext/fsGroup", none.clone(), "fsGroup is null"),
        ("POD/securityContext/seccompProfile", none.clone(), "seccompProfile/type is null"),
        ("CONTAINER/securityContext/allowPrivilegeEscalation", json!(true), "Escalation is true"),
        ("CONTAINER/securityContext/readOnlyRootFilesystem", none.clone(), "Filesystem is null"),
        ("CONTAINER/securityContext/privileged", json!(true), "privileged is true"),
        ("CONTAINER/securityContext/runAsUser", json!(0), "runAsUser is 0"),
        ("CONTAINER/securityContext/capabilities/add", json!(["NET_RAW"]), "capabilities is"),
        ("CONTAINER/securityContext/capabilities", none, "capabilities is null"),
    ] {
        each_is_told(&[("Deployment", "acceptor3", pointer, value, expected)]);
    }
}

#[test]
fn resources_that_are_missing_or_do_not_suffice() {
    let deployment = "Deployment";
    each_is_told(&[
        (deployment, "client2", "CONTAINER/resources", Value::Null, "cpu needs a request and"),
        (
            deployment,
            "client2",
            "CONTAINER/resources/limits/memory",
            Value::Null,
            "memory needs a request and a limit",
        ),
        (deployment, "client2", "CONTAINER/resources/requests/cpu", json!("2"), "a limit above it"),
        (
            deployment,
            "acceptor1",
            "CONTAINER/resources/limits/memory",
            json!("256Mi"),
            "the memory limit \"256Mi\" is less",
        ),
        (
            deployment,
            "learner1",
            "CONTAINER/resources/limits/memory",
            json!("128Mi"),
            "the memory limit \"128Mi\" is less",
        ),
    ]);
    let greedy = |key: &str, value| -> Vec<String> {
        let pointer = format!("CONTAINER/resources/requests/{key}");
        let mut set = base();
        put(set.get_mut("Deployment", "learner1"), &pointer, value);
        complaints(&set, Flavour::Base, &configuration())
    };
    assert!(greedy("memory", json!("2Gi")).iter().any(|it| it.contains("all pods: ask for")));
    assert!(greedy("cpu", json!("900m")).iter().any(|it| it.contains("thousandths of a")));
}

#[test]
fn acceptors_that_crowd() {
    let terms = "POD/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0";
    let selector = format!("{terms}/podAffinityTerm/labelSelector/matchLabels/role");
    for pointer in ["POD/affinity", &selector] {
        let value = if pointer == selector { json!("client") } else { Value::Null };
        let mut set = base();
        put(set.get_mut("Deployment", "acceptor1"), pointer, value);
        let found = complaints(&set, Flavour::Base, &configuration());
        assert!(found.iter().any(|it| it.contains("does not keep away")), "{found:#?}");
    }
}

#[test]
fn services_that_lead_nowhere() {
    let service = "Service";
    each_is_told(&[
        (service, "acceptor1", "/spec/publishNotReadyAddresses", Value::Null, "hides the node"),
        (service, "acceptor1", "/spec/selector/app", json!("acceptor9"), "leads to nobody"),
        (service, "acceptor1", "/spec/selector", Value::Null, "leads to nobody"),
        (service, "acceptor1", "/spec/ports/0/port", json!(4002), "port api is"),
        (service, "acceptor1", "/spec/ports/0/targetPort", json!("web"), "has no port web"),
        (service, "acceptor1", "/metadata/labels/app", Value::Null, "its labels are"),
        (
            service,
            "client-services",
            "/spec/publishNotReadyAddresses",
            json!(true),
            "nodes that are not ready",
        ),
        (service, "client-services", "/spec/selector/role", json!("learner"), "not the role"),
        (service, "client-services", "/spec/ports/0/port", json!(6001), "its ports are"),
        (service, "client1-external", "/spec/ports/0/nodePort", json!(30602), "api is at 30602"),
        (service, "client1-external", "/spec/selector/app", json!("client2"), "leads to"),
        (service, "learner1-external", "/spec/type", Value::Null, "not a NodePort"),
    ]);
}

#[test]
fn an_ingress_that_leads_astray() {
    let (ingress, name) = ("Ingress", "paxos-ingress");
    let annotation = "/metadata/annotations/nginx.ingress.kubernetes.io~1";
    let backend = "/spec/rules/0/http/paths/0/backend/service";
    let body = format!("{annotation}proxy-body-size");
    for (pointer, value, expected) in [
        (format!("{backend}/name"), json!("client1"), "leads astray"),
        (format!("{backend}/port/name"), json!("monitor"), "leads astray"),
        ("/spec/rules/0/http/paths/19".to_owned(), Value::Null, "lacks {\"backend\""),
        ("/spec/ingressClassName".to_owned(), Value::Null, "is of class null"),
        (body, json!("1m"), "proxy-body-size is \"1m\", not 8m"),
        (format!("{annotation}rewrite-target"), json!("/"), "rewrite-target is"),
        (format!("{annotation}use-regex"), Value::Null, "use-regex is null"),
    ] {
        let mut set = base();
        put(set.get_mut(ingress, name), &pointer, value);
        let found = complaints(&set, Flavour::Base, &configuration());
        assert!(found.iter().any(|it| it.contains(expected)), "{pointer}: {found:#?}");
    }
}

#[test]
fn a_whole_that_does_not_hold_together() {
    let budget = "PodDisruptionBudget";
    let level = "/metadata/labels/pod-security.kubernetes.io~1enforce";
    each_is_told(&[
        ("Namespace", "paxos", level, json!("baseline"), "not restricted"),
        ("ConfigMap", "paxos-config", "/data/cluster.yaml", json!("x"), "run k8s/configmap.sh"),
        ("ConfigMap", "paxos-config", "/immutable", json!(true), "ever see a change"),
        (budget, "acceptors", "/spec/minAvailable", json!(1), "keeps 1, not 2"),
        (budget, "clients", "/spec/minAvailable", json!("50%"), "keeps \"50%\", not 1"),
        (budget, "acceptors", "/spec/selector/matchLabels/role", json!("learner"), "selects {"),
        ("Service", "client1", "/metadata/namespace", json!("default"), "is in namespace"),
        ("Service", "client1", "/metadata/name", json!("client9"), "is missing"),
        ("Deployment", "client1", "/metadata/name", json!("client9"), "is missing"),
    ]);
}

#[test]
fn policies_that_let_in_too_many_or_too_few() {
    let policy = "NetworkPolicy";
    let roles = json!(["proposer", "learner", "client"]);
    let values = "/spec/podSelector/matchExpressions/0/values";
    let from = "/spec/ingress/0/from/0/podSelector/matchExpressions/0/values";
    each_is_told(&[
        (policy, "paxos-peers", values, roles.clone(), "a node does not reach"),
        (policy, "paxos-peers", from, roles, "a node does not reach"),
        (policy, "paxos-peers", "/spec/ingress/0/from", Value::Null, "a stranger reaches api of a"),
        (policy, "paxos-peers", "/spec/ingress/0/from", json!([]), "a stranger reaches api of a"),
        (policy, "paxos-peers", "/spec/ingress/0/ports/0", Value::Null, "does not reach api"),
        (policy, "paxos-callers", "/spec/podSelector", json!({}), "a stranger reaches api of a"),
        (policy, "paxos-callers", "/spec/ingress", json!([]), "a stranger does not reach api of c"),
        (policy, "paxos-monitoring", "/spec/ingress", json!([]), "does not reach monitor of"),
        (policy, "paxos-ingress-controller", "/spec/ingress", json!([]), "the ingress does not"),
    ]);
}

#[test]
fn a_configuration_that_went_on_without_the_manifests() {
    let text = configuration();
    let said = |changed: &str| complaints(&base(), Flavour::Base, changed).join("\n");
    let moved = said(&text.replace("api_port: 4002", "api_port: 4009"));
    assert!(moved.contains("Deployment acceptor2: port api is 4002, not 4009"), "{moved}");
    assert!(moved.contains("Deployment acceptor2: would not start"), "{moved}");
    assert!(moved.contains("run k8s/configmap.sh"), "{moved}");
    let renamed = said(&text.replace("host: acceptor2", "host: elsewhere"));
    assert!(renamed.contains("acceptor2: the configuration calls the host elsewhere"), "{renamed}");
    let more = said(&text.replace(
        "  - {name: client1,",
        "  - {name: client3, id: 11, role: client, host: client3, api_port: 6003, \
         monitor_port: 8000}\n  - {name: client1,",
    ));
    for missing in ["Deployment client3", "Service client3"] {
        assert!(more.contains(&format!("{missing}: is missing")), "{more}");
    }
    assert!(more.contains("Ingress paxos-ingress: lacks"), "{more}");
    let larger = said(&text.replace("request_bytes: 8388608", "request_bytes: 9437184"));
    assert!(larger.contains("proxy-body-size is \"8m\", not 9m"), "{larger}");
    let slower = said(&text.replace("drain_ms: 2000", "drain_ms: 20000"));
    assert!(slower.contains("Deployment proposer1: is killed after 30 s"), "{slower}");
}

#[test]
fn production_without_what_production_needs() {
    let found = complaints(&base(), Flavour::Production, &configuration()).join("\n");
    for expected in [
        "Ingress paxos-ingress: is one too many",
        "Service client1-external: is one too many",
        "ServiceMonitor paxos: is missing",
        "not registry.example.com/paxos-node:",
        "its access is [\"ReadWriteOnce\"], not ReadWriteOncePod",
        "its class is null, not \"paxos\"",
        "acceptor1: is not spread over kubernetes.io/hostname with DoNotSchedule",
        "NetworkPolicy: a stranger reaches api of client1",
    ] {
        assert!(found.contains(expected), "nobody says `{expected}`, but\n{found}");
    }
    let mut set = base();
    let selector = json!({"matchLabels": {"role": "client"}});
    set.0.push(json!({
        "apiVersion": "monitoring.coreos.com/v1beta1",
        "kind": "ServiceMonitor",
        "metadata": {"name": "paxos", "namespace": "paxos"},
        "spec": {"selector": selector, "endpoints": [{"port": "api"}], "podTargetLabels": []},
    }));
    let found = complaints(&set, Flavour::Production, &configuration()).join("\n");
    for expected in ["is of \"monitoring", "scrapes [\"client-services\"", "one endpoint", "has ["]
    {
        assert!(
            found.contains(&format!("ServiceMonitor paxos: {expected}"))
                || found.contains(&format!("ServiceMonitor paxos: must have {expected}")),
            "{found}"
        );
    }
}

#[test]
fn an_object_that_is_there_twice() {
    let mut set: Set = base();
    let again = set.get_mut("Service", "client1").clone();
    set.0.push(again);
    let found = complaints(&set, Flavour::Base, &configuration());
    assert_eq!(found, ["Service client1: is one too many"]);
}
