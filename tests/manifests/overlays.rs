//! The overlays as `kubectl kustomize` renders them. It needs a kubectl of 1.21 or newer: `KUBECTL`
//! names one, else the one on the path. Without any the test says that it skipped; where
//! `PAXOSD_KUBECTL_REQUIRED` is set it fails instead.

use std::env;
use std::process::{Command, Output};

use serde_json::Value;

use super::documents::path;
use super::rules::{Flavour, complaints};
use super::set::{Set, text};
use super::{base, configuration, none};

/// The oldest kubectl that knows the overlays' language, as the second number of its version.
const MINOR_LEAST: u32 = 21;

/// The objects that kubectl makes of `folder`; none when there is no kubectl.
fn rendered(folder: &str) -> Option<Set> {
    let kubectl = env::var("KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    if let Err(why) = check_version(&kubectl) {
        let is_required = env::var_os("PAXOSD_KUBECTL_REQUIRED").is_some();
        assert!(!is_required, "{why}");
        eprintln!("SKIPPED {folder}: {why}");
        return None;
    }
    let Output { status, stdout, stderr } =
        Command::new(&kubectl).arg("kustomize").arg(path(folder)).output().expect("it starts");
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{kubectl} kustomize {folder}: {said}");
    assert_eq!(said, "", "{kubectl} kustomize {folder} warns");
    Some(Set::parse(&String::from_utf8_lossy(&stdout)))
}

/// Why `kubectl` will not do, if so.
fn check_version(kubectl: &str) -> Result<(), String> {
    let output = Command::new(kubectl)
        .args(["version", "--client", "--output=json"])
        .output()
        .map_err(|error| format!("{kubectl} does not start: {error}"))?;
    let version: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let minor = text(&version["clientVersion"]["minor"]);
    // Some distributors write 32+.
    match minor.trim_end_matches('+').parse::<u32>() {
        Ok(minor) if minor >= MINOR_LEAST => Ok(()),
        _ => Err(format!("{kubectl} is of 1.{minor}, and 1.{MINOR_LEAST} is needed")),
    }
}

#[test]
fn every_overlay_keeps_every_rule() {
    for (folder, flavour) in [
        ("k8s/base", Flavour::Base),
        ("k8s/overlays/minikube", Flavour::Minikube),
        ("k8s/overlays/production", Flavour::Production),
    ] {
        let Some(set) = rendered(folder) else { return };
        let found = complaints(&set, flavour, &configuration());
        none(&found.iter().map(|complaint| format!("{folder}: {complaint}")).collect::<Vec<_>>());
    }
}

#[test]
fn kustomize_leaves_the_base_as_it_is() {
    let Some(set) = rendered("k8s/base") else { return };
    let sorted = |Set(objects): Set| {
        let mut texts: Vec<String> = objects.iter().map(ToString::to_string).collect();
        texts.sort();
        texts
    };
    assert_eq!(sorted(set), sorted(base()));
}
