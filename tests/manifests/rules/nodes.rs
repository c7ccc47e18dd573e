//! Each node of the configuration: its Deployment, its Service, and who it believes to be.

use std::collections::BTreeMap;

use paxosd::config::{Env, NodeConfig};
use serde_json::{Value, json};

use super::{Flavour, Rules, has_disk, parsed};
use crate::set::{bytes, container, list, named, pod_labels, text};

impl Rules<'_> {
    /// Everything that belongs to `node`.
    pub(super) fn node(&mut self, node: &NodeConfig) {
        let Some(deployment) = self.set.get("Deployment", &node.name) else { return };
        self.deployment(node, deployment);
        self.identity(node, deployment);
        self.volumes(node, deployment);
        self.pod(node, deployment);
        self.service(node, deployment);
    }

    fn deployment(&mut self, node: &NodeConfig, deployment: &Value) {
        let (name, spec) = (&node.name, &deployment["spec"]);
        let labels = json!({"app": node.name, "role": node.role.as_str()});
        let selector = &spec["selector"]["matchLabels"];
        for (what, found) in [
            ("labels", &deployment["metadata"]["labels"]),
            ("selector", selector),
            ("pod's labels", pod_labels(deployment)),
        ] {
            self.expect(*found == labels, || {
                format!("Deployment {name}: its {what} are {found}, not {labels}")
            });
        }
        self.expect(spec["replicas"] == 1, || {
            format!("Deployment {name}: has {} replicas of one identity", spec["replicas"])
        });
        let strategy = &spec["strategy"]["type"];
        self.expect(strategy == "Recreate", || {
            format!("Deployment {name}: its strategy is {strategy}, not Recreate")
        });
        let count = list(&spec["template"]["spec"]["containers"]).len();
        self.expect(count == 1, || format!("Deployment {name}: has {count} containers"));
        let container = container(deployment);
        for (port, number) in [("api", node.api_port), ("monitor", node.monitor_port)] {
            let found = &named(&container["ports"], port)["containerPort"];
            self.expect(*found == number, || {
                format!("Deployment {name}: port {port} is {found}, not {number}")
            });
        }
        self.image(name, container);
    }

    fn image(&mut self, name: &str, container: &Value) {
        let image = text(&container["image"]);
        let wanted = match self.flavour {
            Flavour::Base | Flavour::Minikube => "paxos-node:latest".to_owned(),
            Flavour::Production => {
                format!("registry.example.com/paxos-node:{}", env!("CARGO_PKG_VERSION"))
            }
        };
        self.expect(image == wanted, || {
            format!("Deployment {name}: its image is {image}, not {wanted}")
        });
        // Left out, it is Always for `latest`, which asks a registry for a local image.
        let policy = &container["imagePullPolicy"];
        self.expect(policy == "IfNotPresent", || {
            format!("Deployment {name}: imagePullPolicy is {policy}, not IfNotPresent")
        });
        self.expect(container["args"] == json!(["run"]), || {
            format!("Deployment {name}: runs {}, not [\"run\"]", container["args"])
        });
    }

    /// The program itself, given this environment and file, takes itself for this node.
    fn identity(&mut self, node: &NodeConfig, deployment: &Value) {
        let name = &node.name;
        let mut env = Env::new();
        for variable in list(&container(deployment)["env"]) {
            let Some(value) = variable["value"].as_str() else {
                let title = &variable["name"];
                self.complaints.push(format!("Deployment {name}: {title} holds no text"));
                return;
            };
            if env.insert(text(&variable["name"]), value.to_owned()).is_some() {
                self.complaints.push(format!("Deployment {name}: has {} twice", variable["name"]));
            }
        }
        for wanted in ["PAXOSD_NAME", "NODE_ID", "NODE_ROLE", "PORT"] {
            let is_set = env.contains_key(wanted);
            self.expect(is_set, || format!("Deployment {name}: {wanted} is not set"));
        }
        let file = env.get("PAXOSD_CONFIG").cloned().unwrap_or_default();
        self.expect(file == "/etc/paxosd/cluster.yaml", || {
            format!("Deployment {name}: PAXOSD_CONFIG is `{file}`, where no file is mounted")
        });
        let identified = parsed(self.text, &env).and_then(|config| {
            let node = config.identify(None, &env).map_err(|errors| errors.to_string())?;
            Ok((node, config))
        });
        match identified {
            Err(errors) => {
                self.complaints.push(format!("Deployment {name}: would not start: {errors}"));
            }
            Ok((found, config)) => {
                self.expect(found == *node, || {
                    format!("Deployment {name}: takes itself for {}", found.name)
                });
                let data = config.data_dir.display().to_string();
                self.expect(!has_disk(node.role) || data == "/var/lib/paxosd", || {
                    format!("Deployment {name}: writes to {data}, where no volume is mounted")
                });
            }
        }
    }

    /// The configuration as a directory, and one claim of its own where it keeps anything.
    fn volumes(&mut self, node: &NodeConfig, deployment: &Value) {
        let name = &node.name;
        let container = container(deployment);
        let mount = named(&container["volumeMounts"], "config");
        let wanted = json!({"name": "config", "mountPath": "/etc/paxosd", "readOnly": true});
        self.expect(*mount == wanted, || {
            format!("Deployment {name}: mounts the configuration as {mount}, not {wanted}")
        });
        let volumes = &deployment["spec"]["template"]["spec"]["volumes"];
        let mut wanted = vec![json!({"name": "config", "configMap": {"name": "paxos-config"}})];
        if has_disk(node.role) {
            let claim = json!({"claimName": format!("{name}-data")});
            wanted.push(json!({"name": "data", "persistentVolumeClaim": claim}));
            let mount = &named(&container["volumeMounts"], "data")["mountPath"];
            self.expect(mount == "/var/lib/paxosd", || {
                format!("Deployment {name}: mounts its data at {mount}, not /var/lib/paxosd")
            });
            self.claim(node);
        }
        let wanted = Value::Array(wanted);
        self.expect(*volumes == wanted, || {
            format!("Deployment {name}: its volumes are {volumes}, not {wanted}")
        });
    }

    fn claim(&mut self, node: &NodeConfig) {
        let name = format!("{}-data", node.name);
        let Some(claim) = self.set.get("PersistentVolumeClaim", &name) else { return };
        let spec = &claim["spec"];
        let (mode, class) = match self.flavour {
            Flavour::Base => ("ReadWriteOnce", Value::Null),
            Flavour::Minikube => ("ReadWriteOnce", json!("standard")),
            Flavour::Production => ("ReadWriteOncePod", json!("paxos")),
        };
        let modes = &spec["accessModes"];
        self.expect(*modes == json!([mode]), || {
            format!("PersistentVolumeClaim {name}: its access is {modes}, not {mode}")
        });
        let found = &spec["storageClassName"];
        self.expect(*found == class, || {
            format!("PersistentVolumeClaim {name}: its class is {found}, not {class}")
        });
        let size = &spec["resources"]["requests"]["storage"];
        let least = 2 * self.config.journal.max_bytes;
        self.expect(bytes(size) >= Some(least), || {
            format!("PersistentVolumeClaim {name}: {size} is less than {least} bytes")
        });
    }

    /// The name by which the others find the node.
    fn service(&mut self, node: &NodeConfig, deployment: &Value) {
        let name = &node.name;
        self.expect(node.host == *name, || {
            format!("Service {name}: the configuration calls the host {}", node.host)
        });
        let Some(service) = self.set.get("Service", name) else { return };
        let spec = &service["spec"];
        self.expect(spec["publishNotReadyAddresses"] == true, || {
            format!("Service {name}: hides the node until it is ready, which waits for the others")
        });
        let labels = pod_labels(deployment);
        for (what, found) in
            [("labels", &service["metadata"]["labels"]), ("selector", &spec["selector"])]
        {
            self.expect(found == labels, || {
                format!("Service {name}: its {what} are {found}, not {labels}")
            });
        }
        for (port, number) in [("api", node.api_port), ("monitor", node.monitor_port)] {
            let found = named(&spec["ports"], port);
            let wanted = json!({"name": port, "port": number, "targetPort": port});
            self.expect(*found == wanted, || {
                format!("Service {name}: port {port} is {found}, not {wanted}")
            });
        }
    }

    /// The nodes of a role differ in name, id and port alone.
    pub(super) fn siblings(&mut self) {
        for (role, nodes) in self.roles() {
            let mut first: BTreeMap<&str, (String, String)> = BTreeMap::new();
            for node in &nodes {
                let claim = format!("{}-data", node.name);
                for (kind, name) in [
                    ("Deployment", &node.name),
                    ("Service", &node.name),
                    ("PersistentVolumeClaim", &claim),
                ] {
                    let Some(object) = self.set.get(kind, name) else { continue };
                    let blank = blanked(object, node);
                    let (model, expected) =
                        first.entry(kind).or_insert_with(|| (name.clone(), blank.clone()));
                    let (model, is_same) = (model.clone(), *expected == blank);
                    self.expect(is_same, || {
                        format!(
                            "{kind} {name}: differs from {model} in more than name, id and port, \
                             and both are of the role {role}"
                        )
                    });
                }
            }
        }
    }
}

/// The text of `object` without what is the node's own.
fn blanked(object: &Value, node: &NodeConfig) -> String {
    let mut object = object.clone();
    blank(&mut object, node);
    object.to_string()
}

fn blank(value: &mut Value, node: &NodeConfig) {
    match value {
        Value::Array(entries) => entries.iter_mut().for_each(|entry| blank(entry, node)),
        Value::Object(entries) => {
            // By its name alone: the text "1" is also an amount of processors.
            if entries.get("name").is_some_and(|name| name == "NODE_ID" || name == "PORT") {
                entries.remove("value");
            }
            entries.values_mut().for_each(|entry| blank(entry, node));
        }
        Value::String(text) => *text = text.replace(&node.name, "NAME"),
        Value::Number(_) if *value == node.api_port => *value = Value::Null,
        Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}
