//! Which node this one is, and the further addresses that `SEED_NODES` names.

use std::fmt;

use super::environment::{Env, variable};
use super::error::{ConfigError, ConfigErrors, Place, did_you_mean};
use super::locate::KeyPath;
use super::rules::{not_a_host, not_a_label};
use super::schema::{Config, NodeConfig};
use crate::types::{NodeId, Role, RoleError};

/// The monitor port of a node that the file does not list and `PAXOSD_MONITOR_PORT` says nothing
/// about.
const MONITOR_PORT: u16 = 8000;

/// An address at which gossip may begin. It never counts toward a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The node that is said to be there.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Its DNS name or IP address.
    pub host: String,
    /// Its API port.
    pub port: u16,
}

/// The seeds of `env`. Entries that are none are added to `errors`.
pub(super) fn seeds(env: &Env, errors: &mut Vec<ConfigError>) -> Vec<Seed> {
    let entries = variable(env, SEED_NODES).unwrap_or_default().split(',').map(str::trim);
    let mut seeds = Vec::new();
    for entry in entries.filter(|entry| !entry.is_empty()) {
        match seed(entry) {
            Ok(seed) => seeds.push(seed),
            Err(wrong) => errors.push(refusal(
                Place::Variable(SEED_NODES.to_owned()),
                format!(
                    "`{entry}`: {wrong}; write id:role:host:port, as 1:proposer:proposer1:3001"
                ),
            )),
        }
    }
    seeds
}

const SEED_NODES: &str = "SEED_NODES";

fn seed(entry: &str) -> Result<Seed, String> {
    let parts = || {
        let (id, rest) = entry.split_once(':')?;
        let (role, rest) = rest.split_once(':')?;
        // From the end, for an IPv6 address has colons of its own.
        let (host, port) = rest.rsplit_once(':')?;
        Some((id, role, host, port))
    };
    let (id, role, host, port) = parts().ok_or("four parts are wanted")?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Some(wrong) = not_a_host(host) {
        return Err(wrong);
    }
    Ok(Seed {
        id: parse_id(id)?,
        role: role.parse().map_err(role_error)?,
        host: host.to_owned(),
        port: parse_port(port)?,
    })
}

fn parse_id(text: &str) -> Result<NodeId, String> {
    text.parse()
        .ok()
        .and_then(|number| NodeId::new(number).ok())
        .ok_or_else(|| format!("`{text}` is no id from 1 to 99"))
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("`{text}` is no port from 1 to 65535"))
}

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err")]
fn role_error(error: RoleError) -> String {
    error.to_string()
}

fn refusal(place: Place, message: String) -> ConfigError {
    ConfigError { place, key: String::new(), message }
}

/// Who says which node this is, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Flag,
    Variable(&'static str),
    File,
}

impl Says {
    fn place(self, config: &Config) -> Place {
        match self {
            Self::Flag => Place::CommandLine,
            Self::Variable(name) => Place::Variable(name.to_owned()),
            Self::File => config.source.place(&KeyPath::top("name")),
        }
    }
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("--name"),
            Self::Variable(name) => f.write_str(name),
            Self::File => f.write_str("`name` in the file"),
        }
    }
}

/// What the original's variables say.
struct Original {
    id: Option<NodeId>,
    role: Option<Role>,
    port: Option<u16>,
}

impl Original {
    fn read(env: &Env, errors: &mut Vec<ConfigError>) -> Self {
        Self {
            id: read(env, NODE_ID, errors, parse_id),
            role: read(env, NODE_ROLE, errors, |text| text.parse().map_err(role_error)),
            port: read(env, PORT, errors, parse_port),
        }
    }
}

const PAXOSD_NAME: &str = "PAXOSD_NAME";
const NODE_ID: &str = "NODE_ID";
const NODE_ROLE: &str = "NODE_ROLE";
const PORT: &str = "PORT";

/// The variable `name`, parsed; what is wrong with it goes to `errors`.
fn read<T>(
    env: &Env,
    name: &str,
    errors: &mut Vec<ConfigError>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    match parse(variable(env, name)?) {
        Ok(value) => Some(value),
        Err(wrong) => {
            errors.push(refusal(Place::Variable(name.to_owned()), wrong));
            None
        }
    }
}

impl Config {
    /// The node that this process is: `name_flag`, else `PAXOSD_NAME`, else `NODE_ID`, else the
    /// file's `name`. `NODE_ROLE` and `PORT` only confirm it.
    ///
    /// An id that the file does not list joins by gossip, in any role but acceptor. `NODE_ID`,
    /// `NODE_ROLE` and `PORT` say who it is; its name is the one given, else role and id; its
    /// host is `PAXOSD_HOST`, else its name; its monitor port is `PAXOSD_MONITOR_PORT`, else 8000.
    ///
    /// # Errors
    /// When nothing says which node this is, when two sources disagree, and when the node is not
    /// listed and may not or cannot join.
    pub fn identify(&self, name_flag: Option<&str>, env: &Env) -> Result<NodeConfig, ConfigErrors> {
        let mut errors = Vec::new();
        let original = Original::read(env, &mut errors);
        let name = self.agreed_name(name_flag, env, &mut errors);
        ConfigErrors::none_of(errors)?;
        let node = match (name, original.id) {
            (_, Some(id)) => match self.node(id) {
                Some(node) => confirmed_name(node, name)?,
                None => return self.joining(id, name, &original, env),
            },
            (Some((says, name)), None) => {
                self.named(name).ok_or_else(|| self.unlisted(says, name))?
            }
            (None, None) => return Err(self.nameless().into()),
        };
        confirm(node, &original)?;
        Ok(node.clone())
    }

    /// The name that every source of names gives, with the strongest of them.
    fn agreed_name<'a>(
        &'a self,
        flag: Option<&'a str>,
        env: &'a Env,
        errors: &mut Vec<ConfigError>,
    ) -> Option<(Says, &'a str)> {
        let sources = [
            (Says::Flag, flag),
            (Says::Variable(PAXOSD_NAME), variable(env, PAXOSD_NAME)),
            (Says::File, self.name.as_deref()),
        ];
        let mut given = sources.into_iter().filter_map(|(says, name)| Some((says, name?)));
        let (first, name) = given.next()?;
        for (other, another) in given.filter(|(_, another)| *another != name) {
            let message = format!(
                "{first} says `{name}`, but {other} says `{another}`; let them agree, or give one"
            );
            errors.push(refusal(other.place(self), message));
        }
        Some((first, name))
    }

    /// The node `id`, which the file does not list.
    fn joining(
        &self,
        id: NodeId,
        name: Option<(Says, &str)>,
        original: &Original,
        env: &Env,
    ) -> Result<NodeConfig, ConfigErrors> {
        let refuse = |variable: &str, message: String| {
            Err(refusal(Place::Variable(variable.to_owned()), message).into())
        };
        if let Some((says, name)) = name
            && let Some(node) = self.named(name)
        {
            let message = format!(
                "{says} says `{name}`, which has id {}, but {NODE_ID} says {id}; let them agree, \
                 or give one",
                node.id
            );
            return refuse(NODE_ID, message);
        }
        let (Some(role), Some(api_port)) = (original.role, original.port) else {
            let message = format!(
                "the file lists no node with id {id}; to join by gossip, set {NODE_ROLE} and \
                 {PORT} too"
            );
            return refuse(NODE_ID, message);
        };
        if role == Role::Acceptor {
            let message = format!(
                "the file lists no acceptor with id {id}, and acceptors never join by gossip; \
                 list it under `nodes:`, or choose another role"
            );
            return refuse(NODE_ROLE, message);
        }
        let name = name.map_or_else(|| format!("{role}{id}"), |(_, name)| name.to_owned());
        let host = variable(env, PAXOSD_HOST).unwrap_or(&name).to_owned();
        let mut errors = Vec::new();
        let monitor_port =
            read(env, PAXOSD_MONITOR_PORT, &mut errors, parse_port).unwrap_or(MONITOR_PORT);
        let node = NodeConfig { name, id, role, host, api_port, monitor_port };
        errors.extend(self.cannot_join(&node));
        ConfigErrors::none_of(errors)?;
        Ok(node)
    }

    /// What keeps `node`, which the file does not list, out.
    fn cannot_join(&self, node: &NodeConfig) -> Vec<ConfigError> {
        let refuse =
            |variable: &str, message| refusal(Place::Variable(variable.to_owned()), message);
        let mut errors = Vec::new();
        errors.extend(not_a_label(&node.name).map(|wrong| refuse(PAXOSD_NAME, wrong)));
        errors.extend(not_a_host(&node.host).map(|wrong| refuse(PAXOSD_HOST, wrong)));
        if node.api_port == node.monitor_port {
            let message = format!(
                "{} is the monitor port too; write another, or set {PAXOSD_MONITOR_PORT}",
                node.api_port
            );
            errors.push(refuse(PORT, message));
        }
        let neighbours =
            self.nodes.iter().filter(|other| other.host.eq_ignore_ascii_case(&node.host));
        for other in neighbours {
            for (variable, port) in
                [(PORT, node.api_port), (PAXOSD_MONITOR_PORT, node.monitor_port)]
            {
                if [other.api_port, other.monitor_port].contains(&port) {
                    let message = format!(
                        "{}:{port} belongs to {}; write another port",
                        node.host, other.name
                    );
                    errors.push(refuse(variable, message));
                }
            }
        }
        errors
    }

    /// That the file lists no `name`.
    fn unlisted(&self, says: Says, name: &str) -> ConfigError {
        let listed = self.nodes.iter().map(|node| node.name.as_str());
        let message =
            format!("{} lists no node `{name}`{}", self.source.file, did_you_mean(name, listed));
        refusal(says.place(self), message)
    }

    /// That nothing says which node this is.
    fn nameless(&self) -> ConfigError {
        let listed: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        let message = format!(
            "nothing says which node this is; write --name with one of {}, or set {PAXOSD_NAME}",
            listed.join(", ")
        );
        refusal(Place::CommandLine, message)
    }
}

const PAXOSD_HOST: &str = "PAXOSD_HOST";
const PAXOSD_MONITOR_PORT: &str = "PAXOSD_MONITOR_PORT";

/// `node`, which `NODE_ID` names, unless `name` names another.
fn confirmed_name<'a>(
    node: &'a NodeConfig,
    name: Option<(Says, &str)>,
) -> Result<&'a NodeConfig, ConfigError> {
    match name {
        Some((says, name)) if name != node.name => Err(refusal(
            Place::Variable(NODE_ID.to_owned()),
            format!(
                "{says} says `{name}`, but {NODE_ID} says {}, which is `{}`; let them agree, \
                 or give one",
                node.id, node.name
            ),
        )),
        Some(_) | None => Ok(node),
    }
}

/// `NODE_ROLE` and `PORT`, where given, say what the file says of `node`.
fn confirm(node: &NodeConfig, original: &Original) -> Result<(), ConfigErrors> {
    let mut errors = Vec::new();
    let mut refuse = |variable: &str, message: String| {
        errors.push(refusal(Place::Variable(variable.to_owned()), message));
    };
    if let Some(role) = original.role.filter(|role| *role != node.role) {
        let message = format!(
            "{NODE_ROLE} says {role}, but the file says that {} is a {}; let them agree",
            node.name, node.role
        );
        refuse(NODE_ROLE, message);
    }
    if let Some(port) = original.port.filter(|port| *port != node.api_port) {
        let message = format!(
            "{PORT} says {port}, but the file says that {} has api_port {}; let them agree",
            node.name, node.api_port
        );
        refuse(PORT, message);
    }
    ConfigErrors::none_of(errors)
}
