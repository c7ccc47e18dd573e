//! What an acceptor answers: its state, and the protocol's own calls for a person with curl.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::common::{Fields, missing_information, parse_object};
use super::gateway::{check_value, render_values};
use super::{Answer, App};
use crate::http::Problem;
use crate::http::body::json as json_answer;
use crate::node::acceptor::{AcceptorHandle, AcceptorState};
use crate::paxos::acceptor::{Reply, Request as Ask};
use crate::paxos::message::{Accepted, Refusal, ToAcceptor};
use crate::types::{
    Ballot, Batch, Command, Name, NodeId, Operation, Role, Sequence, SessionId, Slot,
};

/// A round written by hand may lie so far ahead of the clock, so that nobody can use up the
/// ballots.
const ROUND_AHEAD_MS_MAX: u64 = 24 * 3600 * 1000;

#[derive(Deserialize)]
struct PrepareBody {
    proposer_id: Option<u64>,
    proposal_number: Option<u64>,
    from_slot: Option<u64>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct AcceptBody<'a> {
    proposer_id: Option<u64>,
    proposal_number: Option<u64>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    client_id: Option<u64>,
    slot: Option<u64>,
}

/// A proposal as people see it; both null while there is none.
#[derive(Serialize)]
struct ProposalBody {
    number: Option<u64>,
    value: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct PromiseBody {
    status: &'static str,
    accepted_proposal_number: u64,
    accepted_value: Option<Box<RawValue>>,
    accepted: Vec<AcceptedBody>,
    next_slot: Option<u64>,
    trimmed_slot: u64,
}

#[derive(Serialize)]
struct AcceptedBody {
    slot: u64,
    proposal_number: u64,
    value: Option<Box<RawValue>>,
}

impl AcceptedBody {
    fn of(entry: &Accepted) -> Self {
        Self {
            slot: entry.slot.get(),
            proposal_number: entry.ballot.proposal_number(),
            value: render_values(&entry.batch),
        }
    }
}

impl App {
    pub(super) fn acceptor_state(&self) -> Option<Fields> {
        let status = self.roles.acceptor.as_ref()?.status();
        let directory = self.shared.peers.directory();
        let learners = directory.borrow().with_role(Role::Learner).count();
        let newest = status.newest_vote.as_ref();
        let state = Fields::of(json!({
            "id": self.shared.me.id.get(),
            "role": Role::Acceptor.as_str(),
            "highest_promised_number": status.promised.map_or(0, Ballot::proposal_number),
            "learners_count": learners,
            "known_nodes_count": self.known_nodes(),
            "current_leader": self.leader().map(NodeId::get),
            "durable_slot": status.highest_voted.get(),
            "trimmed_slot": status.trimmed_slot.get(),
            "voting": matches!(status.state, AcceptorState::Voting(_)),
            "not_voting_because": status.state.fault(),
            "journal_bytes": status.journal_bytes,
            "lagging_learners": status
                .lagging
                .iter()
                .map(|learner| self.name_of(learner.node()))
                .collect::<Vec<_>>(),
        }));
        let accepted = ProposalBody {
            number: newest.map(|vote| vote.ballot.proposal_number()),
            value: newest.and_then(|vote| render_values(&vote.batch)),
        };
        Some(state.with("accepted_proposal", &accepted))
    }

    pub(super) async fn prepare(&self, request: &mut Request<Incoming>) -> Answer {
        self.check_protocol_calls()?;
        let body = self.json_body(request).await?;
        let fields: PrepareBody = parse_object(&body)?;
        let ballot = self.ballot(fields.proposer_id, fields.proposal_number)?;
        let from_slot = Slot::new(fields.from_slot.unwrap_or(1).max(1));
        let limit = fields.limit.unwrap_or(1000).clamp(1, 10_000);
        let reply = self.ask_acceptor(ToAcceptor::Prepare { ballot, from_slot }).await?;
        let Reply::Promise { mut accepted, next_slot, trimmed_slot, .. } = reply else {
            return refused(&reply);
        };
        let newest = accepted.last().cloned();
        let next = accepted.get(limit).map(|entry| entry.slot).or(next_slot);
        accepted.truncate(limit);
        let number = newest.as_ref().map_or(0, |vote| vote.ballot.proposal_number());
        let body = PromiseBody {
            status: "promise",
            accepted_proposal_number: number,
            accepted_value: newest.and_then(|vote| render_values(&vote.batch)),
            accepted: accepted.iter().map(AcceptedBody::of).collect(),
            next_slot: next.map(Slot::get),
            trimmed_slot: trimmed_slot.get(),
        };
        Ok(json_answer(StatusCode::OK, &body))
    }

    pub(super) async fn accept(&self, request: &mut Request<Incoming>) -> Answer {
        self.check_protocol_calls()?;
        let body: Bytes = self.json_body(request).await?;
        let fields: AcceptBody<'_> = parse_object(&body)?;
        let ballot = self.ballot(fields.proposer_id, fields.proposal_number)?;
        let Some(value) = fields.value.filter(|value| value.get() != "null") else {
            return Err(missing_information("value"));
        };
        check_value(&self.shared.config().limits, value)?;
        let origin = fields
            .client_id
            .and_then(|id| NodeId::new(id).ok())
            .unwrap_or_else(|| ballot.proposer.node());
        let status = self.acceptor_handle()?.status();
        let highest = status.highest_voted.max(status.trimmed_slot);
        let slot = fields.slot.map_or(highest.next(), Slot::new);
        let batch = manual_batch(ballot, slot, value.get(), origin);
        let accept =
            ToAcceptor::Accept { ballot, slot, first_unchosen: Slot::ZERO, learner: None, batch };
        let reply = self.ask_acceptor(accept).await?;
        let Reply::Vote { vote, .. } = reply else { return refused(&reply) };
        let slot = vote.slot.get();
        Ok(json_answer(StatusCode::OK, &json!({ "status": "accepted", "slot": slot })))
    }

    /// The ballot that a person means.
    fn ballot(&self, proposer: Option<u64>, number: Option<u64>) -> Result<Ballot, Problem> {
        let proposer = proposer.ok_or_else(|| missing_information("proposer_id"))?;
        let number = number.ok_or_else(|| missing_information("proposal_number"))?;
        let wrong = |why: String| {
            Problem::bad_request("Bad proposal number").detail(why).hint(
                "write round * 100 + proposer_id, with a round near the clock in milliseconds",
            )
        };
        let ballot =
            Ballot::from_proposal_number(number).map_err(|error| wrong(error.to_string()))?;
        if u64::from(ballot.proposer.node().get()) != proposer {
            return Err(wrong(format!("{number} is not a number of proposer {proposer}")));
        }
        let latest = self.shared.clock.unix_ms().saturating_add(ROUND_AHEAD_MS_MAX);
        if ballot.round > latest {
            return Err(wrong(format!(
                "round {} lies more than a day ahead of the clock",
                ballot.round
            )));
        }
        Ok(ballot)
    }

    fn acceptor_handle(&self) -> Result<&AcceptorHandle, Problem> {
        self.roles.acceptor.as_ref().ok_or_else(super::stopping)
    }

    async fn ask_acceptor(&self, message: ToAcceptor) -> Result<Reply, Problem> {
        let acceptor = self.acceptor_handle()?;
        let epoch = match acceptor.status().state {
            AcceptorState::Voting(epoch) => epoch,
            AcceptorState::Unformed => {
                return Err(Problem::unavailable("Not formed", Duration::from_secs(1))
                    .detail("the cluster has not been formed yet"));
            }
            state @ (AcceptorState::Stranger(_) | AcceptorState::Damaged(_)) => {
                return Err(Problem::unavailable("Not voting", Duration::from_secs(60))
                    .detail(state.fault().unwrap_or_default()));
            }
        };
        let request = Ask { from: self.shared.me.id, epoch: Some(epoch), message };
        let too_many = || {
            let after = Duration::from_secs(1);
            Problem::too_many_requests("The acceptor's queue is full", after)
        };
        acceptor.ask(request).await.ok_or_else(too_many)
    }
}

fn refused(reply: &Reply) -> Answer {
    let Reply::Nack { refusal, .. } = reply else { return Err(super::stopping()) };
    let message = match refusal {
        Refusal::Promised(promised) => {
            let number = promised.proposal_number();
            format!("Already promised to higher proposal number: {number}")
        }
        Refusal::Trimmed(slot) => format!("Slots through {slot} are chosen and trimmed"),
        Refusal::BeyondWindow(slot) => format!("Slots beyond {slot} are not accepted yet"),
        Refusal::OtherValue => {
            "Another value was accepted in this slot under this number".to_owned()
        }
        Refusal::NotPromised => "This number was not promised: prepare it first".to_owned(),
    };
    Ok(json_answer(StatusCode::OK, &json!({ "status": "rejected", "message": message })))
}

/// The batch of a value written by hand. Its session follows from what is accepted, so that the
/// same call to three acceptors makes the same batch.
fn manual_batch(ballot: Ballot, slot: Slot, value: &str, origin: NodeId) -> Batch {
    let text = format!("{}/{slot}/{origin}/{value}", ballot.proposal_number());
    let digest = xxhash_rust::xxh3::xxh3_128(text.as_bytes());
    let session = SessionId::by_hand(digest);
    let command = |sequence, operation| Command {
        name: Name { session, sequence: Sequence(sequence) },
        lowest_open: Sequence(1),
        origin,
        operation,
    };
    let values = vec![Bytes::copy_from_slice(value.as_bytes())];
    Batch::of(&[command(0, Operation::Open), command(1, Operation::Write { key: None, values })])
}
