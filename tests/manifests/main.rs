//! The Kubernetes manifests: they agree with the configuration and with one another, and keep the
//! rules of `rules/`. Each rule is seen to speak, on manifests with one thing wrong.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON that lacks a key answers null, and in a test a panic is the answer"
)]

mod broken;
mod containers;
#[expect(dead_code, reason = "the tests of documents use more of it")]
#[path = "../documents/mod.rs"]
mod documents;
mod overlays;
mod rules;
mod set;

use documents::{path, read};
use rules::{Flavour, complaints};
use set::Set;

/// The files of the base, in the order in which they are applied.
const FILES: [&str; 10] = [
    "00-namespace.yaml",
    "01-configmap.yaml",
    "02-proposers.yaml",
    "03-acceptors.yaml",
    "04-learners.yaml",
    "05-clients.yaml",
    "06-ingress.yaml",
    "07-nodeport-services.yaml",
    "08-disruption-budgets.yaml",
    "09-network-policies.yaml",
];

/// The objects of the base.
fn base() -> Set {
    Set(FILES.iter().flat_map(|file| Set::parse(&read(&format!("k8s/base/{file}"))).0).collect())
}

/// The configuration's text.
fn configuration() -> String {
    read("config/cluster.yaml")
}

fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} found:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn the_base_keeps_every_rule() {
    none(&complaints(&base(), Flavour::Base, &configuration()));
}

#[test]
fn kustomize_is_told_of_every_file() {
    let kustomization = Set::parse(&read("k8s/base/kustomization.yaml"));
    assert_eq!(kustomization.0[0]["resources"], serde_json::json!(FILES));
    let mut found: Vec<String> = std::fs::read_dir(path("k8s/base"))
        .expect("k8s/base is there")
        .map(|entry| entry.expect("it stays readable").file_name().to_string_lossy().into_owned())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    found.sort();
    assert_eq!(found, FILES, "k8s/base holds other files than are listed");
}

#[test]
fn the_script_writes_the_config_map_that_is_there() {
    let wanted = read("k8s/base/01-configmap.yaml");
    let dir = tempfile::tempdir().expect("a directory");
    for folder in ["config", "k8s/base"] {
        std::fs::create_dir_all(dir.path().join(folder)).expect("a folder");
    }
    for file in ["config/cluster.yaml", "k8s/configmap.sh"] {
        std::fs::copy(path(file), dir.path().join(file)).expect("a copy");
    }
    let output = std::process::Command::new("bash")
        .arg(dir.path().join("k8s/configmap.sh"))
        .output()
        .expect("bash starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = std::fs::read_to_string(dir.path().join("k8s/base/01-configmap.yaml"));
    assert_eq!(written.expect("the script wrote it"), wanted, "run k8s/configmap.sh");
}
