//! The image, and the cluster that ten containers of it form.

use std::fs;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::docker::{Engine, docker, say};

/// What the image may add to its base.
const BYTES_MAX: u64 = 30_000_000;

/// The program in the image, by a path that needs no shell to find it.
const PAXOSD: &str = "/usr/local/bin/paxosd";

/// A value that no shell and no template must touch.
const AWKWARD: &str = r#"--it's "quoted", $(whoami) {{.Size}} ü\n"#;

#[test]
fn the_image_is_small_and_says_what_it_is() {
    let Some(engine) = Engine::find() else { return };
    let added = engine.bytes - engine.base_bytes;
    say(&format!("the image is {} bytes, {added} over its base", engine.bytes));
    assert!(added < BYTES_MAX, "{added} bytes over its base");
    let config = docker(&["image", "inspect", "--format", "{{json .Config}}", &engine.image]);
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/usr/local/bin/paxosd"]));
    assert_eq!(config["Cmd"], json!(["run"]));
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    let health = json!(["CMD", "/usr/local/bin/paxosd", "health"]);
    assert_eq!(config["Healthcheck"]["Test"], health);
}

#[test]
fn ten_containers_agree_on_what_is_written_and_read_through_both_clients() {
    let Some(engine) = Engine::find() else { return };
    let cluster = Cluster::start(engine);
    assert_eq!(cluster.addresses_by_docker().len(), 10, "each has an address of its own");
    for client in [1, 2] {
        cluster.write(client, &format!("through client {client}"));
    }
    let sent = cluster.exec("client2", &[PAXOSD, "send", "--timeout-ms", "20000", "--", AWKWARD]);
    assert!(sent.contains("index 3"), "{sent}");
    let expected = json!(["through client 1", "through client 2", AWKWARD]);
    assert_eq!(Value::from(cluster.agreed_values()), expected);
    for name in cluster.names() {
        let format = "{{.State.Health.Status}}";
        cluster.poll(&format!("Docker finds {name} healthy"), || {
            let health = docker(&["inspect", "--format", format, &cluster.container(&name)]);
            (health == "healthy").then_some(())
        });
        expect_unprivileged(&cluster.container(&name));
    }
}

/// That the node in `container` is nobody in particular and may do nothing in particular.
fn expect_unprivileged(container: &str) {
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", container]);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), ["65532"; 4]);
    assert_eq!(field("Gid:"), ["65532"; 4]);
    assert_eq!(field("CapEff:"), ["0000000000000000"]);
    assert_eq!(field("NoNewPrivs:"), ["1"]);
}
