//! What all nodes say of themselves, and what follows for the cluster.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::endpoint::host_of;
use super::output::{Cell, Table, Tone, printable};
use crate::config::{Config, Env, NodeConfig};
use crate::http::{Address, ClientError, HttpClient, Reply};
use crate::types::{NodeId, Quorum, Role};

/// How long a node may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// The whole cluster as it was a moment ago.
#[derive(Debug)]
pub(super) struct Survey {
    /// In the order of ids.
    nodes: Vec<Seen>,
    leader: Option<NodeId>,
    /// Acceptors needed for a quorum.
    need: usize,
}

/// A node, and what came back from it.
#[derive(Debug)]
struct Seen {
    node: NodeConfig,
    answer: Result<Report, Silence>,
}

/// Why a node said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// Nobody listens there.
    Down,
    /// Somebody does, and does not answer.
    Mute,
}

/// What a node says of itself.
#[derive(Debug, Default)]
struct Report {
    /// Why it cannot do its part, where that is so.
    ailment: Option<String>,
    state: State,
}

/// The fields of `/view-logs` that are shown, of all roles.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    is_leader: bool,
    in_election: bool,
    current_leader: Option<u64>,
    first_unchosen_slot: Option<u64>,
    durable_slot: Option<u64>,
    trimmed_slot: Option<u64>,
    chosen_slot: Option<u64>,
    delivered_index: Option<u64>,
    in_flight: Option<u64>,
}

/// The fields of `/health` that are shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Health {
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Check {
    name: String,
    ok: bool,
    detail: Option<String>,
}

/// Why the node that answered `reply` to `/health` cannot do its part; `None` when it can.
pub(super) fn ailment(reply: &Reply) -> Option<String> {
    if reply.status.is_success() {
        return None;
    }
    let health: Health = serde_json::from_slice(&reply.body).unwrap_or_default();
    let failed: Vec<String> = health
        .checks
        .into_iter()
        .filter(|check| !check.ok)
        .map(|check| format!("{}: {}", check.name, check.detail.as_deref().unwrap_or("failed")))
        .collect();
    if !failed.is_empty() {
        return Some(failed.join(", "));
    }
    Some(format!("/health answers {}", reply.status.as_u16()))
}

/// Asks all nodes of `config` at once.
pub(super) async fn survey(client: &HttpClient, config: &Config, env: &Env) -> Survey {
    let mut asking = JoinSet::new();
    for node in config.nodes.clone() {
        let client = client.clone();
        let monitor = Address::new(host_of(&node, env), node.monitor_port);
        asking.spawn(async move { ask(&client, &monitor, node).await });
    }
    let mut nodes = asking.join_all().await;
    nodes.sort_by_key(|seen| seen.node.id);
    let leader = leader(&nodes);
    // The rules have seen an acceptor, so there is a majority.
    let need = Quorum::majority(config.acceptors()).map_or(1, |quorum| quorum.phase2());
    Survey { nodes, leader, need }
}

async fn ask(client: &HttpClient, monitor: &Address, node: NodeConfig) -> Seen {
    let (health, state) = tokio::join!(
        client.get(monitor, "/health", PATIENCE),
        client.get(monitor, "/view-logs?limit=0", PATIENCE),
    );
    let answer = match (health, state) {
        (Ok(health), state) => Ok(Report { ailment: ailment(&health), state: state_of(state) }),
        (Err(ClientError::NotSent { .. } | ClientError::NoUri { .. }), _) => Err(Silence::Down),
        (
            Err(
                ClientError::Broken { .. }
                | ClientError::Timeout { .. }
                | ClientError::TooLarge { .. },
            ),
            _,
        ) => Err(Silence::Mute),
    };
    Seen { node, answer }
}

/// A node that is healthy and shows no state shows none here either.
fn state_of(reply: Result<Reply, ClientError>) -> State {
    let body = match reply {
        Ok(reply) if reply.status == StatusCode::OK => reply.body,
        Ok(_) | Err(_) => Bytes::new(),
    };
    serde_json::from_slice(&body).unwrap_or_default()
}

/// Who leads. A leader that was deposed may not know it yet; of two that claim to lead, the one
/// whom more nodes follow is meant.
fn leader(nodes: &[Seen]) -> Option<NodeId> {
    let reports = || nodes.iter().filter_map(|seen| Some((seen, seen.answer.as_ref().ok()?)));
    let followers = |leader: NodeId| {
        let id = Some(u64::from(leader.get()));
        reports().filter(|(_, report)| report.state.current_leader == id).count()
    };
    reports()
        .filter(|(seen, report)| seen.node.role == Role::Proposer && report.state.is_leader)
        .map(|(seen, _)| seen.node.id)
        .max_by_key(|id| followers(*id))
}

impl Survey {
    /// Whether a value can be chosen: somebody leads, and enough acceptors vote.
    pub(super) fn can_choose(&self) -> bool {
        self.leader.is_some() && self.voting().0 >= self.need
    }

    /// Whether a caller is served: a value can be chosen, and a client and a learner are well.
    pub(super) fn serves(&self) -> bool {
        let well = |role| self.nodes.iter().any(|seen| seen.node.role == role && seen.is_well());
        self.can_choose() && well(Role::Client) && well(Role::Learner)
    }

    /// How many nodes are well.
    pub(super) fn well(&self) -> usize {
        self.nodes.iter().filter(|seen| seen.is_well()).count()
    }

    /// How many acceptors vote, and how many there are.
    fn voting(&self) -> (usize, usize) {
        let acceptors = || self.nodes.iter().filter(|seen| seen.node.role == Role::Acceptor);
        (acceptors().filter(|seen| seen.is_well()).count(), acceptors().count())
    }

    /// One line: who leads, how many vote, how many are well.
    pub(super) fn headline(&self, colour: bool) -> String {
        let leader = match self.leader {
            Some(id) => {
                Tone::Good.paint(&format!("leader: {} (id {id})", self.name_of(id)), colour)
            }
            None => Tone::Bad.paint("no leader elected", colour),
        };
        let (have, of) = self.voting();
        let tone = if have >= self.need { Tone::Plain } else { Tone::Bad };
        let votes =
            tone.paint(&format!("{have} of {of} acceptors vote, {} needed", self.need), colour);
        format!("{leader}; {votes}; {} of {} nodes well", self.well(), self.nodes.len())
    }

    /// A row for each node.
    pub(super) fn table(&self, colour: bool) -> String {
        let headings = ["NAME", "ID", "ROLE", "API", "MONITOR", "STATE", "LEADER", "SLOT", "INDEX"];
        let mut table = Table::new(headings);
        for seen in &self.nodes {
            let node = &seen.node;
            let state = seen.answer.as_ref().ok().map(|report| &report.state);
            let leader = state.and_then(|state| state.current_leader);
            let leader = leader.and_then(|id| NodeId::new(id).ok());
            table.row([
                node.name.as_str().into(),
                node.id.to_string().into(),
                node.role.as_str().into(),
                format!("http://{}", Address::new(&node.host, node.api_port)).into(),
                format!(":{}", node.monitor_port).into(),
                seen.state(),
                leader.map_or_else(|| "-".to_owned(), |id| self.name_of(id)).into(),
                Cell::number(state.and_then(State::slot)),
                Cell::number(state.and_then(|state| state.delivered_index)),
            ]);
        }
        table.render(colour)
    }

    /// The survey for scripts.
    pub(super) fn document(&self) -> impl Serialize + use<'_> {
        let acceptors = self.nodes.iter().filter(|seen| seen.node.role == Role::Acceptor);
        let missing = acceptors.filter(|seen| !seen.is_well());
        Document {
            leader: self.leader.map(|id| Leader { id: id.get(), name: self.name_of(id) }),
            quorum: QuorumDocument {
                need: self.need,
                have: self.voting().0,
                missing: missing.map(|seen| seen.node.name.as_str()).collect(),
            },
            nodes: self.nodes.iter().map(Seen::document).collect(),
        }
    }

    /// A node that joined by gossip has no name here.
    fn name_of(&self, id: NodeId) -> String {
        let seen = self.nodes.iter().find(|seen| seen.node.id == id);
        seen.map_or_else(|| format!("node {id}"), |seen| seen.node.name.clone())
    }
}

impl State {
    /// Through where a learner has learned, an acceptor has voted, or a proposer knows that all is
    /// chosen.
    fn slot(&self) -> Option<u64> {
        let chosen = self.first_unchosen_slot.and_then(|slot| slot.checked_sub(1));
        self.chosen_slot.or(self.durable_slot).or(chosen)
    }
}

impl Seen {
    fn is_well(&self) -> bool {
        self.answer.as_ref().is_ok_and(|report| report.ailment.is_none())
    }

    /// What it does, in a word.
    fn word(&self) -> &'static str {
        let report = match &self.answer {
            Ok(report) => report,
            Err(Silence::Down) => return "down",
            Err(Silence::Mute) => return "no answer",
        };
        match self.node.role {
            _ if report.ailment.is_some() => "unhealthy",
            Role::Proposer if report.state.is_leader => "leader",
            Role::Proposer if report.state.in_election => "electing",
            Role::Proposer => "follower",
            Role::Acceptor => "voting",
            Role::Learner => "learning",
            Role::Client => "serving",
        }
    }

    fn state(&self) -> Cell {
        let word = self.word();
        let Ok(report) = &self.answer else { return Cell::new(word, Tone::Bad) };
        match &report.ailment {
            Some(ailment) => Cell::new(format!("{word}: {}", printable(ailment)), Tone::Bad),
            None if report.state.is_leader => Cell::new(word, Tone::Good),
            None if report.state.in_election => Cell::new(word, Tone::Uneasy),
            None => word.into(),
        }
    }

    fn document(&self) -> NodeDocument<'_> {
        let report = self.answer.as_ref().ok();
        let state = report.map(|report| &report.state);
        NodeDocument {
            name: &self.node.name,
            id: self.node.id.get(),
            role: self.node.role.as_str(),
            api: format!("http://{}", Address::new(&self.node.host, self.node.api_port)),
            monitor: format!("http://{}", Address::new(&self.node.host, self.node.monitor_port)),
            healthy: self.is_well(),
            state: self.word(),
            reason: report.and_then(|report| report.ailment.as_deref()),
            current_leader: state.and_then(|state| state.current_leader),
            slot: state.and_then(State::slot),
            trimmed_slot: state.and_then(|state| state.trimmed_slot),
            delivered_index: state.and_then(|state| state.delivered_index),
            in_flight: state.and_then(|state| state.in_flight),
        }
    }
}

#[derive(Serialize)]
struct Document<'s> {
    leader: Option<Leader>,
    quorum: QuorumDocument<'s>,
    nodes: Vec<NodeDocument<'s>>,
}

#[derive(Serialize)]
struct Leader {
    id: u8,
    name: String,
}

#[derive(Serialize)]
struct QuorumDocument<'s> {
    need: usize,
    have: usize,
    missing: Vec<&'s str>,
}

#[derive(Serialize)]
struct NodeDocument<'s> {
    name: &'s str,
    id: u8,
    role: &'static str,
    api: String,
    monitor: String,
    healthy: bool,
    state: &'static str,
    reason: Option<&'s str>,
    current_leader: Option<u64>,
    slot: Option<u64>,
    trimmed_slot: Option<u64>,
    delivered_index: Option<u64>,
    in_flight: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::endpoint::shipped_dev;

    /// The shipped nodes, each with what it says of itself; those not named are down.
    fn seen(reports: &[(&str, &str)]) -> Survey {
        let config = shipped_dev().unwrap();
        let answer = |name: &str| {
            let report = reports.iter().find(|(named, _)| *named == name);
            let (_, state) = report.ok_or(Silence::Down)?;
            Ok(Report { ailment: None, state: serde_json::from_str(state).unwrap() })
        };
        let nodes: Vec<Seen> = config
            .nodes
            .iter()
            .map(|node| Seen { node: node.clone(), answer: answer(&node.name) })
            .collect();
        Survey { leader: leader(&nodes), nodes, need: 2 }
    }

    #[test]
    fn a_survey_shows_who_leads_and_who_is_down() {
        let mut survey = seen(&[
            ("proposer1", r#"{"is_leader":true,"current_leader":1,"first_unchosen_slot":13}"#),
            ("proposer2", r#"{"in_election":true,"current_leader":null}"#),
            ("acceptor1", r#"{"durable_slot":12,"trimmed_slot":3,"current_leader":1}"#),
            ("acceptor2", r#"{"durable_slot":9,"current_leader":1}"#),
            ("learner1", r#"{"chosen_slot":12,"durable_slot":9,"delivered_index":17}"#),
            ("client1", r#"{"in_flight":0,"current_leader":1}"#),
        ]);
        assert!(survey.can_choose() && survey.serves());
        let Ok(report) = &mut survey.nodes[4].answer else { panic!("acceptor2 is there") };
        report.ailment = Some("journal: no room".to_owned());
        assert!(!survey.can_choose());
        assert_eq!(
            survey.headline(false),
            "leader: proposer1 (id 1); 1 of 3 acceptors vote, 2 needed; 5 of 10 nodes well"
        );
        let table = survey.table(false);
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 11);
        for (at, row) in [
            (
                0,
                "NAME       ID  ROLE      API                    MONITOR  STATE                        LEADER     SLOT  INDEX",
            ),
            (
                1,
                "proposer1  1   proposer  http://127.0.0.1:3001  :8001    leader                       proposer1  12    -",
            ),
            (
                2,
                "proposer2  2   proposer  http://127.0.0.1:3002  :8002    electing                     -          -     -",
            ),
            (
                3,
                "proposer3  3   proposer  http://127.0.0.1:3003  :8003    down                         -          -     -",
            ),
            (
                5,
                "acceptor2  5   acceptor  http://127.0.0.1:4002  :8005    unhealthy: journal: no room  proposer1  9     -",
            ),
            (
                7,
                "learner1   7   learner   http://127.0.0.1:5001  :8007    learning                     -          12    17",
            ),
        ] {
            assert_eq!(rows[at], row);
        }
    }

    #[test]
    fn of_two_leaders_the_one_that_is_followed_counts() {
        let both = [
            ("proposer1", r#"{"is_leader":true,"current_leader":1}"#),
            ("proposer2", r#"{"is_leader":true,"current_leader":2}"#),
            ("acceptor1", r#"{"current_leader":1}"#),
        ];
        assert_eq!(seen(&both).leader.map(NodeId::get), Some(1));
        let none = seen(&[("proposer1", r#"{"current_leader":2}"#)]);
        assert_eq!(none.leader, None);
        assert!(none.headline(false).starts_with("no leader elected; 0 of 3"));
    }

    #[test]
    fn an_unhealthy_node_says_which_check_failed() {
        let reply = |status: u16, body: &'static str| Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: hyper::HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        assert_eq!(ailment(&reply(200, "")), None);
        let body = concat!(
            r#"{"checks":[{"name":"disk","ok":false,"detail":"no room"},"#,
            r#"{"name":"links","ok":true},{"name":"lag","ok":false}]}"#
        );
        assert_eq!(ailment(&reply(503, body)).unwrap(), "disk: no room, lag: failed");
        assert_eq!(ailment(&reply(503, "<html>")).unwrap(), "/health answers 503");
    }
}
