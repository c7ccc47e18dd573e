//! Where the verbs find the cluster: URLs, the environment, a configuration, or `paxosd dev`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::args::GatewayArgs;
use super::exit::{Exit, Failure};
use crate::config::{Config, Env, NodeConfig};
use crate::http::Address;
use crate::types::Role;

/// The configuration that this program was built with.
const SHIPPED: &str = include_str!("../../config/cluster.yaml");

/// Where it is looked for.
const USUAL_FILE: &str = "config/cluster.yaml";

const PAXOSD_CONFIG: &str = "PAXOSD_CONFIG";
const PAXOSD_ENDPOINTS: &str = "PAXOSD_ENDPOINTS";
const PAXOSD_NAME: &str = "PAXOSD_NAME";

/// A call that does what a verb asks, and the role that takes it.
pub(super) type Call = (Role, &'static str);

/// A node as it is called from outside: an address, and what a proxy in front of it wants before
/// every path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to connect.
    pub address: Address,
    /// Empty, or begins with a slash and ends without one.
    pub prefix: String,
}

/// A text that is no URL of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It asks for TLS.
    #[error("https is not spoken here; write http://host:port")]
    Https,
    /// It has a query or a fragment, which would swallow the path.
    #[error("a URL ends with its path; leave out what follows {0}")]
    BeyondPath(char),
    /// It names no host and port.
    #[error("it names no host; write http://host:port")]
    NoHost,
}

impl Endpoint {
    /// The path of `path` there.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Self {
        Self { address, prefix: String::new() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.prefix)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => return Err(EndpointError::Https),
            Some(_) => return Err(EndpointError::NoHost),
            None => text,
        };
        if let Some(mark) = rest.chars().find(|letter| matches!(letter, '?' | '#')) {
            return Err(EndpointError::BeyondPath(mark));
        }
        let (authority, prefix) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        // Without a port, a URL means 80.
        let address = authority
            .parse()
            .or_else(|_| format!("{authority}:80").parse())
            .map_err(|_| EndpointError::NoHost)?;
        Ok(Self { address, prefix: prefix.trim_end_matches('/').to_owned() })
    }
}

/// The variable `name`; an empty one counts as unset.
fn variable<'e>(env: &'e Env, name: &str) -> Option<&'e str> {
    env.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// The file that a node of a cluster reads: `flag`, else `PAXOSD_CONFIG`, else the usual one.
pub(super) fn config_file(flag: Option<&Path>, env: &Env) -> PathBuf {
    named_file(flag, env).unwrap_or_else(|| PathBuf::from(USUAL_FILE))
}

fn named_file(flag: Option<&Path>, env: &Env) -> Option<PathBuf> {
    flag.map(Path::to_path_buf).or_else(|| variable(env, PAXOSD_CONFIG).map(PathBuf::from))
}

/// The configuration that a development cluster is derived from: that of [`config_file`], or the
/// shipped one where there is no usual file.
pub(super) fn dev_base(flag: Option<&Path>, env: &Env) -> Result<Config, Failure> {
    let file = config_file(flag, env);
    if named_file(flag, env).is_some() || file.exists() {
        return Ok(Config::load(&file, env)?);
    }
    Ok(Config::parse(format!("{USUAL_FILE} (built in)"), SHIPPED.to_owned(), env)?)
}

/// The nodes of `paxosd dev` on this machine, when it was told nothing else.
pub(super) fn shipped_dev() -> Result<Config, Failure> {
    // Only where the nodes are matters, and of that the environment says nothing.
    Ok(Config::parse(USUAL_FILE.to_owned(), SHIPPED.to_owned(), &Env::new())?.for_dev()?)
}

/// The nodes to show: those of `flag`, else of `PAXOSD_CONFIG`, else of `paxosd dev`.
pub(super) fn cluster(flag: Option<&Path>, env: &Env) -> Result<Config, Failure> {
    match named_file(flag, env) {
        Some(file) => Ok(Config::load(&file, env)?),
        None => shipped_dev(),
    }
}

/// The gateways that are named by URL; `None` where a configuration names them.
pub(super) fn told_urls(args: &GatewayArgs, env: &Env) -> Result<Option<Vec<Endpoint>>, Failure> {
    if args.node.is_some() {
        return Ok(None);
    }
    if !args.urls.is_empty() {
        return Ok(Some(args.urls.clone()));
    }
    let list = variable(env, PAXOSD_ENDPOINTS).filter(|_| args.config.is_none());
    list.map(listed).transpose()
}

/// The node of `config` called `name`.
pub(super) fn named<'c>(config: &'c Config, name: &str) -> Result<&'c NodeConfig, Failure> {
    config.named(name).ok_or_else(|| Failure::new(Exit::Usage, no_such_node(config, name)))
}

/// What to say of a node that `config` does not list.
pub(super) fn no_such_node(config: &Config, name: &str) -> String {
    let names: Vec<&str> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    format!("there is no node `{name}`; there are {}", names.join(", "))
}

/// The host of `node` as it is reached from here.
pub(super) fn host_of(node: &NodeConfig, env: &Env) -> String {
    if variable(env, PAXOSD_NAME) == Some(&node.name) { own_host(node) } else { node.host.clone() }
}

/// The host of the node that this process stands beside, as in its container. Its name may lead to
/// a proxy that passes nothing on to a node that is not ready, or does not lead back to us.
pub(super) fn own_host(node: &NodeConfig) -> String {
    match node.host.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() => ip.to_string(),
        Ok(_) | Err(_) => Ipv4Addr::LOCALHOST.to_string(),
    }
}

/// The nodes that a verb asks, in turn, at least one; and the path that does it there, of `calls`
/// the one of their role.
pub(super) fn gateways(
    args: &GatewayArgs,
    calls: &[Call],
    env: &Env,
) -> Result<(Vec<Endpoint>, &'static str), Failure> {
    let path_of = |wanted| calls.iter().find(|(role, _)| *role == wanted).map(|(_, path)| *path);
    match &args.node {
        Some(name) => {
            let config = cluster(args.config.as_deref(), env)?;
            let node = named(&config, name)?;
            let path = path_of(node.role).ok_or_else(|| {
                let roles: Vec<&str> = calls.iter().map(|(role, _)| role.as_str()).collect();
                let roles = roles.join(" or a ");
                let message = format!("{name} has the role {}; ask a {roles}", node.role.as_str());
                Failure::new(Exit::Usage, message)
            })?;
            Ok((vec![Address::new(host_of(node, env), node.api_port).into()], path))
        }
        None => Ok((clients(args, env)?, path_of(Role::Client).expect("every verb asks clients"))),
    }
}

fn clients(args: &GatewayArgs, env: &Env) -> Result<Vec<Endpoint>, Failure> {
    if let Some(told) = told_urls(args, env)? {
        return Ok(told);
    }
    let config = cluster(args.config.as_deref(), env)?;
    let clients: Vec<Endpoint> = config
        .with_role(Role::Client)
        .map(|node| Address::new(host_of(node, env), node.api_port).into())
        .collect();
    if clients.is_empty() {
        return Err(Failure::new(Exit::Usage, "the configuration lists no client to ask")
            .hint("name one with --url"));
    }
    Ok(clients)
}

/// The endpoints of a comma list.
fn listed(list: &str) -> Result<Vec<Endpoint>, Failure> {
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let endpoints: Vec<Endpoint> = entries
        .map(|entry| {
            entry.parse().map_err(|error| {
                Failure::new(Exit::Usage, format!("{PAXOSD_ENDPOINTS}: `{entry}`: {error}"))
            })
        })
        .collect::<Result<_, _>>()?;
    if endpoints.is_empty() {
        return Err(Failure::new(Exit::Usage, format!("{PAXOSD_ENDPOINTS} lists no URL"))
            .hint("write http://host:port, or unset it"));
    }
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Format;

    #[test]
    fn an_endpoint_is_a_url_or_an_address() {
        for (text, shown) in [
            ("http://127.0.0.1:6001", "http://127.0.0.1:6001"),
            ("http://127.0.0.1:6001/", "http://127.0.0.1:6001"),
            ("client1:6001", "http://client1:6001"),
            ("http://[::1]:6001", "http://[::1]:6001"),
            ("http://paxos.local/client1/", "http://paxos.local:80/client1"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        let behind: Endpoint = "http://paxos.local/client1".parse().unwrap();
        assert_eq!(behind.path("/send"), "/client1/send");
    }

    #[test]
    fn a_text_that_is_no_url_says_what_to_write() {
        for (text, error) in [
            ("https://a:1", EndpointError::Https),
            ("http://a:1/x?y", EndpointError::BeyondPath('?')),
            ("ftp://a:1", EndpointError::NoHost),
            ("http://:1", EndpointError::NoHost),
            ("", EndpointError::NoHost),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
    }

    const SEND: [Call; 2] = [(Role::Client, "/send"), (Role::Proposer, "/propose")];

    fn args(urls: Vec<Endpoint>, config: Option<PathBuf>, node: Option<&str>) -> GatewayArgs {
        let node = node.map(str::to_owned);
        GatewayArgs { urls, config, node, timeout_ms: 1, output: Format::Text }
    }

    #[test]
    fn a_named_node_is_asked_alone_and_by_the_call_of_its_role() {
        let asked =
            |name: &str, env: &Env| gateways(&args(Vec::new(), None, Some(name)), &SEND, env);
        let shown = |name: &str, env: &Env| {
            let (found, path) = asked(name, env).unwrap();
            assert_eq!(found.len(), 1);
            format!("{}{path}", found[0])
        };
        assert_eq!(shown("client2", &Env::new()), "http://127.0.0.1:6002/send");
        assert_eq!(shown("proposer3", &Env::new()), "http://127.0.0.1:3003/propose");
        let failure = asked("learner1", &Env::new()).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.message, "learner1 has the role learner; ask a client or a proposer");
        let failure = asked("client9", &Env::new()).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("there are proposer1, proposer2"), "{failure}");

        let told = |name| {
            let env = Env::from([(PAXOSD_ENDPOINTS.to_owned(), "a:1".to_owned())]);
            told_urls(&args(Vec::new(), None, name), &env).unwrap().is_some()
        };
        assert!(told(None) && !told(Some("client2")), "a name goes before the environment's URLs");

        let inside = [(PAXOSD_CONFIG, USUAL_FILE), (PAXOSD_NAME, "client2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(shown("client1", &inside), "http://client1:6001/send");
        assert_eq!(shown("client2", &inside), "http://127.0.0.1:6002/send");
    }

    #[test]
    fn a_node_reaches_itself_at_the_loopback_unless_it_has_an_address() {
        let mut node = cluster(None, &Env::new()).unwrap().nodes.remove(0);
        for (host, reached) in [
            ("proposer1", "127.0.0.1"),
            ("0.0.0.0", "127.0.0.1"),
            ("10.0.0.7", "10.0.0.7"),
            ("::1", "::1"),
        ] {
            host.clone_into(&mut node.host);
            assert_eq!(own_host(&node), reached);
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_dev_comes_last() {
        let shown = |urls: &[&str], config: Option<&Path>, env: &Env| {
            let urls = urls.iter().map(|url| url.parse().unwrap()).collect();
            let config = config.map(Path::to_path_buf);
            let (found, path) = gateways(&args(urls, config, None), &SEND, env).unwrap();
            assert_eq!(path, "/send");
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let dev = "http://127.0.0.1:6001 http://127.0.0.1:6002";
        let file = Path::new(USUAL_FILE);
        let filed = "http://client1:6001 http://client2:6002";
        let env = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(shown(&[], None, &Env::new()), dev);
        assert_eq!(shown(&[], None, &env(&[(PAXOSD_CONFIG, USUAL_FILE)])), filed);
        let both = env(&[(PAXOSD_CONFIG, USUAL_FILE), (PAXOSD_ENDPOINTS, " a:1, b:2 ,")]);
        assert_eq!(shown(&[], None, &both), "http://a:1 http://b:2");
        assert_eq!(shown(&[], Some(file), &both), filed);
        assert_eq!(shown(&["c:3"], None, &both), "http://c:3");
        assert_eq!(shown(&[], None, &env(&[(PAXOSD_ENDPOINTS, "")])), dev);
        assert_eq!(listed(",").unwrap_err().exit, Exit::Usage);
        assert_eq!(listed("https://a").unwrap_err().exit, Exit::Usage);
    }
}
