//! What every node answers: health, logs, metrics and gossip.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Answer, App, stopping};
use crate::gossip::GossipMessage;
use crate::http::body::{json as json_answer, json_bytes, parse_json};
use crate::http::{Body, Problem, Query, sse};
use crate::node::acceptor::{AcceptorHandle, AcceptorState};
use crate::node::ring::Entry;
use crate::node::{gateway, gossip, learner};
use crate::types::{Ballot, Index, Name, ParseNameError, Role, Slot};

/// How long a role may take to say how it is before its loop counts as stuck.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Events that one page of `/view-logs` shows, unless asked for fewer or more.
const EVENTS_DEFAULT: usize = 100;

/// One thing that must hold for a node to do its part.
#[derive(Debug, Clone, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Check {
    fn passed(name: &'static str) -> Self {
        Self { name, ok: true, detail: None }
    }

    fn failed(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, ok: false, detail: Some(why.into()) }
    }
}

impl App {
    pub(super) async fn health(&self) -> Response<Body> {
        let checks = self.checks().await;
        let healthy = checks.iter().all(|check| check.ok);
        let body = json!({
            "status": if healthy { "healthy" } else { "unhealthy" },
            "role": self.shared.me.role.as_str(),
            "id": self.shared.me.id.get(),
            "name": self.shared.me.name,
            "checks": checks,
        });
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json_answer(status, &body)
    }

    /// Alive as long as the event loop of the role turns. A fault that a new start does not mend is
    /// no reason to call for one.
    pub(super) async fn livez(&self, request: &Request<Incoming>) -> Answer {
        let turns = match self.shared.me.role {
            Role::Proposer => self.proposer_status().await.is_some(),
            // Its loop waits for the disk, and a slow disk is no dead process.
            Role::Acceptor => true,
            Role::Learner => self.learner_status().await.is_some(),
            Role::Client => self.gateway_status().await.is_some(),
        };
        let check = if turns {
            Check::passed("loop")
        } else {
            Check::failed("loop", "the role does not answer")
        };
        probe(request, &[check])
    }

    pub(super) async fn readyz(&self, request: &Request<Incoming>) -> Answer {
        probe(request, &self.checks().await)
    }

    async fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let stuck = || Check::failed("loop", "the role does not answer");
        match self.shared.me.role {
            Role::Proposer => match self.proposer_status().await {
                None => checks.push(stuck()),
                Some(status) => {
                    checks.push(Check::passed("loop"));
                    checks.push(if status.epoch.is_some() {
                        Check::passed("epoch")
                    } else {
                        Check::failed("epoch", "the cluster is not formed, or no acceptor answers")
                    });
                }
            },
            Role::Acceptor => match self.roles.acceptor.as_ref().map(AcceptorHandle::status) {
                None => checks.push(stuck()),
                Some(status) => checks.push(match status.state.fault() {
                    None => Check::passed("journal"),
                    Some(why) => Check::failed("journal", why),
                }),
            },
            Role::Learner => self.learner_checks(&mut checks).await,
            Role::Client => match self.gateway_status().await {
                None => checks.push(stuck()),
                Some(_) => checks.push(Check::passed("loop")),
            },
        }
        checks
    }

    async fn learner_checks(&self, checks: &mut Vec<Check>) {
        let Some(learner) = &self.roles.learner else { return };
        if let Some(why) = learner.fault.borrow().clone() {
            checks.push(Check::failed("state", why));
        }
        let Some(status) = self.learner_status().await else {
            checks.push(Check::failed("loop", "the role does not answer"));
            return;
        };
        checks.push(Check::passed("loop"));
        checks.push(if status.epoch.is_none() {
            Check::failed("epoch", "the cluster is not formed, or no acceptor answers")
        } else if status.is_far_behind {
            let behind = status.highest_seen.beyond(status.delivered_slot);
            Check::failed("caught-up", format!("{behind} slots behind"))
        } else {
            Check::passed("caught-up")
        });
    }

    pub(super) async fn proposer_status(&self) -> Option<crate::paxos::proposer::ProposerStatus> {
        let proposer = self.roles.proposer.as_ref()?;
        timeout(ASK_TIMEOUT, proposer.status()).await.ok().flatten()
    }

    pub(super) async fn learner_status(&self) -> Option<crate::paxos::learner::LearnerStatus> {
        let learner = self.roles.learner.as_ref()?;
        timeout(ASK_TIMEOUT, learner.ask(learner::Call::Status)).await.ok().flatten()
    }

    pub(super) async fn gateway_status(&self) -> Option<gateway::GatewayStatus> {
        let gateway = self.roles.gateway.as_ref()?;
        timeout(ASK_TIMEOUT, gateway.ask(gateway::Call::Status)).await.ok().flatten()
    }

    /// The role's state as `/view-logs` shows it; `None` when the role does not answer.
    async fn state(&self) -> Option<Fields> {
        match self.shared.me.role {
            Role::Proposer => self.proposer_state().await,
            Role::Acceptor => self.acceptor_state(),
            Role::Learner => self.learner_state().await,
            Role::Client => self.client_state().await,
        }
    }

    pub(super) async fn view_logs(&self, request: &Request<Incoming>) -> Answer {
        let query = Query::of(request.uri());
        let since = query.parse("since")?;
        let limit = query.parse("limit")?.unwrap_or(EVENTS_DEFAULT);
        if query.flag("follow", false)? {
            let last = sse::last_event_id(request.headers()).or(since);
            return Ok(self.follow_events(last));
        }
        let state = self.state().await.ok_or_else(stopping)?;
        let ring = &self.shared.ring;
        let events = since.map_or_else(|| ring.newest(limit), |since| ring.since(since, limit));
        let lines: Vec<_> = events.iter().map(Entry::line).collect();
        let body = state.with("name", &self.shared.me.name).with("events", &lines);
        Ok(json_answer(StatusCode::OK, &body))
    }

    fn follow_events(&self, last: Option<u64>) -> Response<Body> {
        let (sender, events) = mpsc::channel(64);
        let shared = self.shared.clone();
        let mut newest = shared.ring.changes();
        let mut seen = last.unwrap_or(*newest.borrow());
        self.shared.tracker.spawn(async move {
            loop {
                for entry in shared.ring.since(seen, usize::MAX) {
                    seen = entry.seq;
                    let data = serde_json::to_string(&entry.line()).unwrap_or_default();
                    let event = sse::Event { id: Some(entry.seq), event: None, data };
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    changed = newest.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                    () = shared.closing.cancelled() => return,
                }
            }
        });
        sse::respond(events, &self.shared.closing)
    }

    pub(super) async fn metrics(&self) -> Response<Body> {
        let metrics = &self.shared.metrics;
        let gauges = metrics.gauges();
        let leader = self.leader();
        gauges.has_leader.set(i64::from(leader.is_some()));
        gauges.leader_id.set(leader.map_or(0, |leader| i64::from(leader.get())));
        if let Some(ballot) = self.shared.leader_seen() {
            gauges.ballot_round.set(ballot.round);
        }
        if let Some(status) = self.proposer_status().await {
            gauges.is_leader.set(i64::from(status.is_leader));
            gauges.chosen_slot.set(status.first_unchosen.previous().get());
            metrics.queue("commands", status.queued);
            metrics.queue("slots_in_flight", status.in_flight);
        }
        if let Some(status) = self.roles.acceptor.as_ref().map(AcceptorHandle::status) {
            gauges.voting.set(i64::from(matches!(status.state, AcceptorState::Voting(_))));
            gauges.durable_slot.set(status.highest_voted.get());
            gauges.journal_bytes.set(status.journal_bytes);
        }
        if let Some(status) = self.learner_status().await {
            gauges.chosen_slot.set(status.highest_seen.get());
            gauges.delivered_slot.set(status.delivered_slot.get());
            gauges.delivered_index.set(status.delivered_index.get());
            gauges.durable_slot.set(status.durable_slot.get());
            metrics.queue("reads", status.reads_waiting);
        }
        if let Some(status) = self.gateway_status().await {
            metrics.queue("commands_open", status.client.in_flight);
        }
        let mut response = Response::new(Body::full(metrics.text()));
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    pub(super) async fn gossip(&self, request: &mut Request<Incoming>) -> Answer {
        let body = self.json_body(request).await?;
        let refuse = |refusal: crate::gossip::Refusal| {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            json_answer(status, &refusal.body())
        };
        let message = match GossipMessage::parse(&body) {
            Ok(message) => message,
            Err(refusal) => return Ok(refuse(refusal)),
        };
        let asked = self.gossip.ask(|reply| gossip::Call::Asked(message, reply)).await;
        match asked.ok_or_else(stopping)? {
            Ok(reply) => Ok(json_answer(StatusCode::OK, &reply)),
            Err(refusal) => Ok(refuse(refusal)),
        }
    }

    pub(super) async fn gossip_nodes(&self) -> Answer {
        let mut view = self.gossip.ask(gossip::Call::View).await.ok_or_else(stopping)?;
        // What this node has seen goes before what it was told.
        view.leader = self.leader().or(view.leader);
        Ok(json_answer(StatusCode::OK, &view.render(self.shared.clock.unix())))
    }

    /// How many nodes gossip knows, this one included.
    pub(super) fn known_nodes(&self) -> usize {
        self.shared.peers.directory().borrow().0.len() + 1
    }
}

fn probe(request: &Request<Incoming>, checks: &[Check]) -> Answer {
    let ok = checks.iter().all(|check| check.ok);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = Query::of(request.uri()).flag("verbose", false)?;
    if verbose {
        return Ok(json_answer(status, &json!({ "ok": ok, "checks": checks })));
    }
    Ok(json_bytes(status, if ok { "{\"ok\":true}".into() } else { "{\"ok\":false}".into() }))
}

/// The fields of an answer. What callers wrote as a value stays as it was, to the last digit, which
/// [`Value`] would not keep.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    /// The fields of an object from `json!`.
    pub(super) fn of(object: Value) -> Self {
        let Value::Object(fields) = object else { unreachable!("written as an object") };
        let none = Self(BTreeMap::new());
        fields.iter().fold(none, |fields, (name, value)| fields.with(name, value))
    }

    /// With one more.
    pub(super) fn with(mut self, name: &str, value: &impl Serialize) -> Self {
        let value = to_raw_value(value).expect("an answer holds nothing without a JSON form");
        self.0.insert(name.to_owned(), value);
        self
    }
}

/// What became of a request, in a word.
pub(super) fn state(word: &str) -> Fields {
    Fields::of(json!({ "state": word }))
}

/// That a request was applied, at these indices.
pub(super) fn applied(first: Index, last: Index) -> Fields {
    state("applied")
        .with("index", &first.get())
        .with("first_index", &first.get())
        .with("last_index", &last.get())
}

/// As [`applied`], where it is known too what carried it.
pub(super) fn applied_in(first: Index, last: Index, slot: Slot, ballot: Ballot) -> Fields {
    applied(first, last)
        .with("slot", &slot.get())
        .with("proposal_number", &ballot.proposal_number())
}

/// Reads a body that must be an object: serde would take an array for one, field by field.
pub(super) fn parse_object<'de, T: Deserialize<'de>>(body: &'de Bytes) -> Result<T, Problem> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_none_or(|&byte| byte == b'{') {
        return parse_json(body);
    }
    // What is no JSON at all is said first.
    let _any: &RawValue = parse_json(body)?;
    Err(Problem::bad_request("Unexpected JSON").detail("the body must be a JSON object"))
}

/// The name that a caller was told as this request id.
pub(super) fn parse_request_id(id: &str) -> Result<Name, Problem> {
    let name: Name = id.parse().map_err(|error: ParseNameError| {
        Problem::not_found(&format!("request {id}")).detail(error.to_string())
    })?;
    Ok(name.told())
}

/// The refusal for a request that lacks what the original called required.
pub(super) fn missing_information(what: &str) -> Problem {
    Problem::bad_request("Missing required information").detail(format!("`{what}` is missing"))
}
