//! HTTP as this node serves it: the table of routes by role, and who answers each.

mod acceptor;
mod common;
mod gateway;
mod learner;
mod lines;
mod proposer;
mod reads;
mod requests;
mod responses;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

pub use gateway::Write;

use super::gossip::GossipHandle;
use super::inbox::Inboxes;
use super::{Roles, Shared};
use crate::http::body::read_json;
use crate::http::link::{self, InboundLinks};
use crate::http::{Body, BodyLimit, Problem, Query, Router, ServerLimits, Service, serve};
use crate::types::{NodeId, Role};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything that an answer may need.
#[derive(Clone)]
pub struct App {
    /// The node.
    pub shared: Arc<Shared>,
    /// Its roles.
    pub roles: Roles,
    /// Gossip.
    pub gossip: GossipHandle,
    /// Where links of peers are taken up.
    pub inbound: Arc<InboundLinks<Arc<Inboxes>>>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("node", &self.shared.me.name).finish_non_exhaustive()
    }
}

type Answer = Result<Response<Body>, Problem>;

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Health,
    Livez,
    Readyz,
    Metrics,
    ViewLogs,
    Gossip,
    GossipNodes,
    Peer,
    Propose,
    Heartbeat,
    Prepare,
    Accept,
    Learn,
    GetValues,
    Value,
    Watch,
    Outcome,
    Deliveries,
    Send,
    Request,
    Notify,
    Read,
    GetResponses,
}

/// What every monitor port serves; it takes no write.
const MONITOR: &[(Method, &str, Endpoint)] = &[
    (Method::GET, "/health", Endpoint::Health),
    (Method::GET, "/livez", Endpoint::Livez),
    (Method::GET, "/readyz", Endpoint::Readyz),
    (Method::GET, "/view-logs", Endpoint::ViewLogs),
    (Method::GET, "/metrics", Endpoint::Metrics),
];

/// What every api port serves beside that.
const EVERY_ROLE: &[(Method, &str, Endpoint)] = &[
    (Method::POST, "/gossip", Endpoint::Gossip),
    (Method::GET, "/gossip/nodes", Endpoint::GossipNodes),
    (Method::GET, link::PATH, Endpoint::Peer),
];

const fn role_routes(role: Role) -> &'static [(Method, &'static str, Endpoint)] {
    match role {
        Role::Proposer => &[
            (Method::POST, "/propose", Endpoint::Propose),
            (Method::POST, "/heartbeat", Endpoint::Heartbeat),
            (Method::GET, "/requests/{id}", Endpoint::Request),
        ],
        Role::Acceptor => &[
            (Method::POST, "/prepare", Endpoint::Prepare),
            (Method::POST, "/accept", Endpoint::Accept),
        ],
        Role::Learner => &[
            (Method::POST, "/learn", Endpoint::Learn),
            (Method::GET, "/get-values", Endpoint::GetValues),
            (Method::GET, "/values/{index}", Endpoint::Value),
            (Method::GET, "/watch", Endpoint::Watch),
            (Method::GET, "/requests/{id}", Endpoint::Outcome),
            (Method::GET, "/deliveries/{client}", Endpoint::Deliveries),
        ],
        Role::Client => &[
            (Method::POST, "/send", Endpoint::Send),
            (Method::GET, "/requests/{id}", Endpoint::Request),
            (Method::POST, "/notify", Endpoint::Notify),
            (Method::GET, "/read", Endpoint::Read),
            (Method::GET, "/get-responses", Endpoint::GetResponses),
        ],
    }
}

/// The two listeners of a node.
#[derive(Debug)]
pub struct Listeners {
    api: TcpListener,
    monitor: TcpListener,
}

/// Takes both ports, before anything else is started.
///
/// # Errors
/// When one is taken by another process.
pub async fn bind(shared: &Shared) -> anyhow::Result<Listeners> {
    let listen = |port| super::listen_address(&shared.me, port);
    let api = listen(shared.me.api_port);
    let monitor = listen(shared.me.monitor_port);
    Ok(Listeners {
        api: crate::http::bind(&api).await.context("open the api port")?,
        monitor: crate::http::bind(&monitor).await.context("open the monitor port")?,
    })
}

/// Serves both ports until the node closes.
///
/// # Errors
/// When the table of routes contradicts itself, which a test excludes.
pub fn start(app: App, listeners: Listeners, tracker: &TaskTracker) -> anyhow::Result<()> {
    let role = app.shared.me.role;
    let closing = app.shared.closing.clone();
    if let (Some(gateway), Role::Client) = (&app.roles.gateway, role) {
        let restore = responses::restore_responses(app.shared.clone(), gateway.clone());
        app.shared.tracker.spawn(restore);
    }
    let api = Api { app: app.clone(), router: api_routes(role)? };
    let monitor = Api { app, router: Router::new(MONITOR.iter().cloned())? };
    for (listener, api) in [(listeners.api, api), (listeners.monitor, monitor)] {
        let shared = api.app.shared.clone();
        let limits = move || ServerLimits {
            connections_max: shared.config().limits.connections_max,
            header_read_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(3),
        };
        let served = serve(listener, limits, Arc::new(api), closing.clone(), tracker.clone());
        tracker.spawn(served);
    }
    Ok(())
}

fn api_routes(role: Role) -> anyhow::Result<Router<Endpoint>> {
    let routes = MONITOR.iter().chain(EVERY_ROLE).chain(role_routes(role)).cloned();
    Ok(Router::new(routes)?)
}

struct Api {
    app: App,
    router: Router<Endpoint>,
}

impl Service for Api {
    async fn call(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let (route, answer) = match self.router.find(&method, &path) {
            Err(missed) => ("none", Err(missed.into_problem(&method, &path))),
            Ok(found) => {
                let endpoint = *found.endpoint;
                let param = ["id", "index", "client"].iter().find_map(|name| found.param(name));
                (endpoint.label(), self.app.answer(endpoint, param.unwrap_or(""), request).await)
            }
        };
        let response = answer.unwrap_or_else(Problem::into_response);
        self.app.shared.metrics.request(route, response.status().as_u16());
        response
    }
}

impl Endpoint {
    const fn label(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::ViewLogs => "/view-logs",
            Self::Gossip => "/gossip",
            Self::GossipNodes => "/gossip/nodes",
            Self::Peer => "/peer",
            Self::Propose => "/propose",
            Self::Heartbeat => "/heartbeat",
            Self::Prepare => "/prepare",
            Self::Accept => "/accept",
            Self::Learn => "/learn",
            Self::GetValues => "/get-values",
            Self::Value => "/values/{index}",
            Self::Watch => "/watch",
            Self::Outcome | Self::Request => "/requests/{id}",
            Self::Deliveries => "/deliveries/{client}",
            Self::Send => "/send",
            Self::Notify => "/notify",
            Self::Read => "/read",
            Self::GetResponses => "/get-responses",
        }
    }
}

impl App {
    async fn answer(
        &self,
        endpoint: Endpoint,
        param: &str,
        mut request: Request<Incoming>,
    ) -> Answer {
        match endpoint {
            Endpoint::Health => Ok(self.health().await),
            Endpoint::Livez => self.livez(&request).await,
            Endpoint::Readyz => self.readyz(&request).await,
            Endpoint::Metrics => Ok(self.metrics().await),
            Endpoint::ViewLogs => self.view_logs(&request).await,
            Endpoint::Gossip => self.gossip(&mut request).await,
            Endpoint::GossipNodes => self.gossip_nodes().await,
            Endpoint::Peer => Ok(self.inbound.accept(&mut request)),
            Endpoint::Propose => self.propose(request).await,
            Endpoint::Heartbeat => self.heartbeat(&mut request).await,
            Endpoint::Prepare => self.prepare(&mut request).await,
            Endpoint::Accept => self.accept(&mut request).await,
            Endpoint::Learn => self.learn(&mut request).await,
            Endpoint::GetValues => self.get_values(&request).await,
            Endpoint::Value => self.value(param).await,
            Endpoint::Watch => self.watch(&request),
            Endpoint::Outcome => self.outcome(param).await,
            Endpoint::Deliveries => self.deliveries(param, &request).await,
            Endpoint::Send => self.send(request).await,
            Endpoint::Request => self.request(param).await,
            Endpoint::Notify => self.notify(&mut request).await,
            Endpoint::Read => self.read(request).await,
            Endpoint::GetResponses => self.get_responses().await,
        }
    }

    /// The body of a request that carries JSON.
    async fn json_body(&self, request: &mut Request<Incoming>) -> Result<Bytes, Problem> {
        let limit = BodyLimit {
            name: "limits.request_bytes",
            bytes_max: self.shared.config().limits.request_bytes,
            read_timeout: BODY_TIMEOUT,
        };
        read_json(request, &limit).await
    }

    /// Who leads, as far as this node can tell.
    fn leader(&self) -> Option<NodeId> {
        self.shared.leader().map(|ballot| ballot.proposer.node())
    }

    /// The name of a node, for people.
    fn name_of(&self, node: NodeId) -> String {
        self.shared
            .config()
            .node(node)
            .map_or_else(|| format!("node {node}"), |node| node.name.clone())
    }

    /// The protocol's own calls are for a person at a development cluster.
    fn check_protocol_calls(&self) -> Result<(), Problem> {
        if self.shared.config().api.protocol_calls {
            return Ok(());
        }
        Err(Problem::forbidden("Protocol calls are switched off").hint(
            "set api.protocol_calls: true in the configuration, or use `paxosd dev`; a caller who \
             skips the value rule can break agreement",
        ))
    }
}

/// The error of a call while the node stops.
fn stopping() -> Problem {
    Problem::unavailable("The node is stopping", Duration::from_secs(1))
}

/// The value of `?timeout_ms=`, or `default_ms`.
fn timeout_of(query: Query<'_>, default_ms: u64) -> Result<Duration, Problem> {
    let ms = query.parse("timeout_ms")?.unwrap_or(default_ms);
    // A longer wait than an hour is a mistake of units.
    Ok(Duration::from_millis(ms.clamp(1, 3_600_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_its_routes_and_none_contradict() {
        for role in [Role::Proposer, Role::Acceptor, Role::Learner, Role::Client] {
            let router = api_routes(role).unwrap();
            assert!(router.find(&Method::GET, "/health").is_ok());
            assert!(router.find(&Method::GET, "/peer").is_ok());
        }
    }

    #[test]
    fn the_monitor_takes_no_write() {
        assert!(MONITOR.iter().all(|(method, ..)| *method == Method::GET));
    }
}
