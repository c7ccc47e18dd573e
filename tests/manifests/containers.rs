//! The pods of the base as containers of Docker, for want of a kubelet: the same image, arguments,
//! variables, user, limits and mounts, a read-only root, a `ConfigMap` as the kubelet lays it out,
//! and the same probes. `PAXOSD_IMAGE` names the image. Without it the test says that it skipped;
//! where `PAXOSD_DOCKER_REQUIRED` is set it fails instead.

use std::env;
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::set::{Set, container, list, named, text};
use super::{base, configuration};

/// How long ten pods may take until every probe of theirs passes.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

#[test]
fn the_pods_serve_and_go_away_and_back() {
    let Ok(image) = env::var("PAXOSD_IMAGE") else {
        let is_required = env::var_os("PAXOSD_DOCKER_REQUIRED").is_some();
        assert!(!is_required, "PAXOSD_IMAGE names no image");
        eprintln!("SKIPPED: PAXOSD_IMAGE names no image");
        return;
    };
    let pods = Pods::start(base(), &image);
    pods.wait_ready();
    pods.exec("client1", &["send", "hello"]);

    let grace = pods.grace("acceptor1");
    let began = Instant::now();
    docker(&["stop", "--time", &grace.as_secs().to_string(), &pods.title("acceptor1")]);
    assert!(began.elapsed() < grace, "acceptor1 was killed after {grace:?}");
    let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &pods.title("acceptor1")]);
    assert_eq!(code, "0", "acceptor1 does not end in good order");

    pods.exec("client1", &["send", "with one acceptor missing"]);
    docker(&["start", &pods.title("acceptor1")]);
    pods.wait_ready();
    let values = pods.exec("client2", &["read"]);
    assert_eq!(values, "\"hello\"\n\"with one acceptor missing\"");
}

/// Containers, their network, volumes and configuration. All are removed when it is dropped.
struct Pods {
    set: Set,
    /// Sets the names of this run apart from those of others.
    suffix: String,
    _config_map: TempDir,
}

impl Pods {
    fn start(set: Set, image: &str) -> Self {
        let config_map = config_map();
        let suffix = format!("pods-{}", std::process::id());
        docker(&["network", "create", &suffix]);
        let path = config_map.path().to_str().expect("a path of letters").to_owned();
        let pods = Self { set, suffix, _config_map: config_map };
        for deployment in pods.set.of("Deployment") {
            pods.run(deployment, image, &path);
        }
        pods
    }

    fn run(&self, deployment: &Value, image: &str, config_map: &str) {
        let name = text(&deployment["metadata"]["name"]);
        let (pod, container) = (&deployment["spec"]["template"]["spec"], container(deployment));
        let security = &pod["securityContext"];
        let limits = &container["resources"]["limits"];
        let mut arguments: Vec<String> = [
            "run",
            "--detach",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
        ]
        .map(str::to_owned)
        .into();
        arguments.extend([
            format!("--name={}", self.title(&name)),
            format!("--network={}", self.suffix),
            format!("--network-alias={name}"),
            format!("--user={}:{}", security["runAsUser"], security["runAsGroup"]),
            format!("--cpus={}", text(&limits["cpu"])),
            format!("--memory={}", text(&limits["memory"]).trim_end_matches('i').to_lowercase()),
        ]);
        for variable in list(&container["env"]) {
            arguments.push(format!(
                "--env={}={}",
                text(&variable["name"]),
                text(&variable["value"])
            ));
        }
        for mount in list(&container["volumeMounts"]) {
            let from = match text(&mount["name"]).as_str() {
                "config" => config_map.to_owned(),
                _ => self.title(&name),
            };
            let mode = if mount["readOnly"] == true { ":ro" } else { "" };
            arguments.push(format!("--volume={from}:{}{mode}", text(&mount["mountPath"])));
        }
        arguments.push(image.to_owned());
        arguments.extend(list(&container["args"]).iter().map(text));
        docker(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// The container, and the volume, of the node `name`.
    fn title(&self, name: &str) -> String {
        format!("{}-{name}", self.suffix)
    }

    fn grace(&self, name: &str) -> Duration {
        let deployment = self.set.get("Deployment", name).expect("it is there");
        let grace = &deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
        Duration::from_secs(grace.as_u64().expect("a number"))
    }

    /// Waits until each probe of each node passes.
    fn wait_ready(&self) {
        let began = Instant::now();
        for deployment in self.set.of("Deployment") {
            let name = text(&deployment["metadata"]["name"]);
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                let probe = &container(deployment)[probe];
                while let Err(why) = self.probe(&name, container(deployment), probe) {
                    if began.elapsed() > READY_TIMEOUT {
                        let log =
                            Command::new("docker").args(["logs", &self.title(&name)]).output();
                        panic!("{name}: {why} at {}\n{log:?}", probe["httpGet"]["path"]);
                    }
                    sleep(Duration::from_millis(200));
                }
            }
        }
    }

    /// Asks as the kubelet does: any answer below 400 is good.
    fn probe(&self, name: &str, container: &Value, probe: &Value) -> Result<(), String> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let host = docker(&["inspect", "--format", format, &self.title(name)]);
        let port = &named(&container["ports"], &text(&probe["httpGet"]["port"]))["containerPort"];
        let timeout = Duration::from_secs(probe["timeoutSeconds"].as_u64().expect("a number"));
        let address: SocketAddr = format!("{host}:{port}").parse().map_err(|_| "has no address")?;
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&address, timeout)?;
            stream.set_read_timeout(Some(timeout))?;
            let path = text(&probe["httpGet"]["path"]);
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().map_err(|error| error.to_string())?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        if status.is_some_and(|status| (200..400).contains(&status)) { Ok(()) } else { Err(answer) }
    }

    /// Runs the program beside the node `name`, as `kubectl exec` does.
    fn exec(&self, name: &str, arguments: &[&str]) -> String {
        let title = self.title(name);
        docker(&[&["exec", &title, "/usr/local/bin/paxosd"], arguments].concat())
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        let deployments = self.set.of("Deployment");
        let names = deployments.map(|deployment| text(&deployment["metadata"]["name"]));
        let mut commands: Vec<Vec<String>> = Vec::new();
        for title in names.map(|name| self.title(&name)) {
            commands.push(["rm", "--force", &title].map(str::to_owned).into());
            commands.push(["volume", "rm", "--force", &title].map(str::to_owned).into());
        }
        commands.push(["network", "rm", &self.suffix].map(str::to_owned).into());
        for command in commands {
            if let Err(error) = Command::new("docker").args(&command).output() {
                eprintln!("docker {command:?}: {error}");
            }
        }
    }
}

/// The configuration as the kubelet lays it out: files lead through a link that it swaps.
fn config_map() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let version = dir.path().join("..version");
    fs::create_dir(&version).expect("it is empty");
    fs::write(version.join("cluster.yaml"), configuration()).expect("there is room");
    symlink("..version", dir.path().join("..data")).expect("it is empty");
    symlink("..data/cluster.yaml", dir.path().join("cluster.yaml")).expect("it is empty");
    dir
}

/// What docker says to `arguments`, which must succeed.
fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
