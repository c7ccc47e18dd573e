//! What a proposer answers.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::common::{Fields, parse_object};
use super::gateway::{Write, not_applied, render_values};
use super::{Answer, App};
use crate::http::body::json as json_answer;
use crate::http::{Outcome, Problem, Query};
use crate::types::{AcceptorId, IdempotencyKey, Role};

impl App {
    pub(super) async fn proposer_state(&self) -> Option<Fields> {
        let status = self.proposer_status().await?;
        let counts = self.shared.peers.directory();
        let learners = counts.borrow().with_role(Role::Learner).count();
        let current = status.current.as_ref();
        // Who does not lead hears nothing of the acceptors, and knows only its links.
        let is_missing = |acceptor: &AcceptorId| {
            if status.is_leader {
                status.missing.contains(acceptor)
            } else {
                !self.shared.peers.is_up(acceptor.node())
            }
        };
        let state = Fields::of(json!({
            "id": self.shared.me.id.get(),
            "role": Role::Proposer.as_str(),
            "is_leader": status.is_leader,
            "current_leader": status.leader.map(|ballot| ballot.proposer.node().get()),
            "in_election": status.in_election,
            "proposal_counter": status.highest_round,
            "acceptors_count": status.acceptors,
            "learners_count": learners,
            "known_nodes_count": self.known_nodes(),
            "epoch": status.epoch.map(|epoch| epoch.to_string()),
            "first_unchosen_slot": status.first_unchosen.get(),
            "slots_in_flight": status.in_flight,
            "commands_queued": status.queued,
            "missing_acceptors": self
                .shared
                .config()
                .acceptors()
                .iter()
                .filter(|acceptor| is_missing(acceptor))
                .map(|acceptor| self.name_of(acceptor.node()))
                .collect::<Vec<_>>(),
        }));
        let proposal = ProposalBody {
            number: current.map(|current| current.ballot.proposal_number()),
            value: current.and_then(|current| render_values(&current.batch)),
            accepted_count: current.map_or(0, |current| current.votes),
            waiting_for_response: current.is_some(),
        };
        Some(state.with("current_proposal", &proposal))
    }

    pub(super) async fn propose(&self, mut request: Request<Incoming>) -> Answer {
        let uri = request.uri().clone();
        let query = Query::of(&uri);
        let forward = query.flag("forward", true).map_err(not_applied)?;
        let body = self.json_body(&mut request).await.map_err(not_applied)?;
        let fields: ProposeBody<'_> = parse_object(&body).map_err(not_applied)?;
        let mut write = Write::parse(&self.shared.config().limits, &body, request.headers(), query)
            .map_err(not_applied)?;
        if let Some(id) = fields.request_id {
            write.key = Some(IdempotencyKey::of(id.as_bytes()));
        }
        if !forward {
            let status = self.proposer_status().await.ok_or_else(super::stopping)?;
            if !status.is_leader {
                let leader = status.leader.map(|ballot| u64::from(ballot.proposer.node().get()));
                return Err(Problem::forbidden("Not the leader")
                    .outcome(Outcome::NotApplied)
                    .leader(leader)
                    .member("current_leader", leader)
                    .hint("ask the leader, or leave out forward=false"));
            }
        }
        write.wait = fields.wait.unwrap_or(write.wait);
        self.write(write, "proposal received").await
    }

    /// The original's heartbeat. It is taken note of and changes nothing: a leader proves itself to
    /// the acceptors.
    pub(super) async fn heartbeat(&self, request: &mut Request<Incoming>) -> Answer {
        let body: Bytes = self.json_body(request).await?;
        let _checked: HeartbeatBody = parse_object(&body)?;
        Ok(json_answer(StatusCode::OK, &json!({ "status": "acknowledged" })))
    }
}

/// The proposal in flight, as people see it.
#[derive(Serialize)]
struct ProposalBody {
    number: Option<u64>,
    value: Option<Box<RawValue>>,
    accepted_count: usize,
    waiting_for_response: bool,
}

#[derive(Deserialize)]
struct HeartbeatBody {
    #[serde(rename = "leader_id")]
    _leader_id: Option<u64>,
    #[serde(rename = "timestamp")]
    _timestamp: Option<f64>,
}

#[derive(Deserialize)]
struct ProposeBody<'a> {
    #[serde(borrow, default)]
    request_id: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    wait: Option<bool>,
}
