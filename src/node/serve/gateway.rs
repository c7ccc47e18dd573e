//! What a client answers, and what a proposer answers to those who write through it.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::oneshot;

use super::common::{Fields, missing_information, parse_object};
use super::responses::ResponseBody;
use super::{Answer, App, stopping};
use crate::config::Limits;
use crate::http::body::{is_ndjson, json as json_answer};
use crate::http::{Outcome, Problem, Query, QuorumState};
use crate::node::gateway::{Call, Full as TooMany, GatewayHandle, Told};
use crate::paxos::client::Answer as Said;
use crate::paxos::message::Handback;
use crate::types::{Batch, IdempotencyKey, Index, Name, Operation, Role};

/// How long a caller should wait before it tries again what was certainly not applied.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The longest `Idempotency-Key`, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Responses shown among the newest in `/view-logs`.
const RECENT: usize = 10;

/// A write as a caller asks for it.
#[derive(Debug, Clone)]
pub struct Write {
    /// The values, each as it was written.
    pub values: Vec<Bytes>,
    /// The key under which it is to happen once.
    pub key: Option<IdempotencyKey>,
    /// Whether the caller waits for the outcome.
    pub wait: bool,
    pub(super) timeout_ms: Option<u64>,
    /// Whether it came as `values`, so that its answer has a first and a last index.
    pub(super) is_list: bool,
}

#[derive(Deserialize)]
struct WriteBody<'a> {
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    values: Option<Vec<&'a RawValue>>,
}

impl Write {
    /// Reads a write from a request under `limits`.
    ///
    /// # Errors
    /// 400 for a body, header or option that does not say what to write, 413 over a limit.
    pub fn parse(
        limits: &Limits,
        body: &Bytes,
        headers: &HeaderMap,
        query: Query<'_>,
    ) -> Result<Self, Problem> {
        let fields: WriteBody<'_> = parse_object(body)?;
        let (given, is_list) = match (fields.value, fields.values) {
            (Some(_), Some(_)) => {
                return Err(Problem::bad_request("Both value and values")
                    .hint("send one `value`, or many `values`, in one request"));
            }
            (Some(value), None) => (vec![value], false),
            (None, Some(values)) => (values, true),
            (None, None) => (Vec::new(), false),
        };
        if given.is_empty() || given.iter().any(|value| value.get() == "null") {
            return Err(Problem::bad_request("Value required")
                .hint("send {\"value\": …} with any JSON value but null"));
        }
        if given.len() > limits.request_values {
            return Err(too_many_values(limits.request_values, given.len()));
        }
        for value in &given {
            check_value(limits, value)?;
        }
        let key = key_of(headers)?.map(IdempotencyKey::of);
        let values = given.iter().map(|value| Bytes::copy_from_slice(value.get().as_bytes()));
        Ok(Self {
            values: values.collect(),
            key,
            wait: query.flag("wait", true)?,
            timeout_ms: query.parse("timeout_ms")?,
            is_list,
        })
    }
}

/// The text of the caller's `Idempotency-Key`.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    match headers.get("idempotency-key") {
        None => Ok(None),
        Some(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(key.as_bytes())),
        Some(_) => Err(Problem::bad_request("Bad Idempotency-Key")
            .detail(format!("a key has 1 to {KEY_BYTES_MAX} bytes"))),
    }
}

fn too_many_values(most: usize, count: usize) -> Problem {
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    Problem::payload_too_large("limits.request_values", most, Some(count))
}

/// That one value keeps its limit.
pub(super) fn check_value(limits: &Limits, value: &RawValue) -> Result<(), Problem> {
    let bytes = value.get().len();
    if bytes <= limits.value_bytes {
        return Ok(());
    }
    let most = u64::try_from(limits.value_bytes).unwrap_or(u64::MAX);
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Err(Problem::payload_too_large("limits.value_bytes", most, Some(bytes)))
}

/// The values that a batch would write: one as it is, several as a list; `None` of a no-op.
pub(super) fn render_values(batch: &Batch) -> Option<Box<RawValue>> {
    let mut values: Vec<Box<RawValue>> = Vec::new();
    for command in batch.commands() {
        let Ok(command) = command else { break };
        if let Operation::Write { values: written, .. } = command.operation {
            values.extend(written.iter().filter_map(|it| serde_json::from_slice(it).ok()));
        }
    }
    if values.len() > 1 { to_raw_value(&values).ok() } else { values.pop() }
}

#[derive(Deserialize)]
struct NotifyBody<'a> {
    learner_id: Option<u64>,
    proposal_number: Option<u64>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    learned_at: Option<String>,
}

/// A write in the hands of the gateway: its place among the others is fixed.
#[derive(Debug)]
pub(super) struct Submitted {
    told: oneshot::Receiver<Result<Told, TooMany>>,
    is_list: bool,
}

/// What a caller is told of a write that did not fail.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Written {
    /// It is under way, and nobody waits for it.
    Accepted(AcceptedBody),
    /// It is delivered.
    Delivered(WrittenBody),
}

/// The answer to a write that nobody waits for.
#[derive(Serialize)]
pub(super) struct AcceptedBody {
    request_id: String,
    status: &'static str,
}

/// The answer to a write.
#[derive(Serialize)]
pub(super) struct WrittenBody {
    status: &'static str,
    proposer_id: u64,
    proposal_number: u64,
    request_id: String,
    slot: u64,
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_index: Option<u64>,
}

/// A delivered value as a learner tells of it.
#[derive(Deserialize)]
struct ValueBody {
    slot: u64,
    proposal_number: u64,
    request_id: String,
}

impl App {
    pub(super) async fn client_state(&self) -> Option<Fields> {
        let status = self.gateway_status().await?;
        let responses = self.responses().await?;
        let newest = responses.len().saturating_sub(RECENT);
        let recent: Vec<_> = responses.iter().skip(newest).map(ResponseBody::of).collect();
        let directory = self.shared.peers.directory();
        let proposers = directory.borrow().with_role(Role::Proposer).count();
        let leader = status.client.leader.map(|ballot| ballot.proposer.node().get());
        let state = Fields::of(json!({
            "id": self.shared.me.id.get(),
            "role": Role::Client.as_str(),
            "proposers_count": proposers,
            "responses_count": status.responses,
            "known_nodes_count": self.known_nodes(),
            "current_leader": leader,
            "in_flight": status.client.in_flight,
        }));
        Some(state.with("recent_responses", &recent))
    }

    pub(super) async fn send(&self, mut request: Request<Incoming>) -> Answer {
        if is_ndjson(request.headers()) {
            return self.send_lines(request).await.map_err(not_applied);
        }
        let body = self.json_body(&mut request).await.map_err(not_applied)?;
        let query = Query::of(request.uri());
        let write = Write::parse(&self.shared.config().limits, &body, request.headers(), query)
            .map_err(not_applied)?;
        self.write(write, "value sent").await
    }

    /// Gets a write chosen, and answers with `status` when it is delivered.
    pub(super) async fn write(&self, write: Write, status: &'static str) -> Answer {
        let submitted = self.submit(write).await?;
        Ok(match self.settled(submitted, status).await? {
            Written::Accepted(body) => json_answer(StatusCode::ACCEPTED, &body),
            Written::Delivered(body) => json_answer(StatusCode::OK, &body),
        })
    }

    /// Hands a write to the gateway, which takes them in this order.
    pub(super) async fn submit(&self, write: Write) -> Result<Submitted, Problem> {
        let gateway = self.gateway()?;
        let timeout = self.patience(write.timeout_ms);
        let Write { values, key, wait, is_list, .. } = write;
        let (tell, told) = oneshot::channel();
        if !gateway.tell(Call::Send { values, key, timeout, wait, told: tell }).await {
            return Err(stopping());
        }
        Ok(Submitted { told, is_list })
    }

    /// How long the caller of a write waits, who named `timeout_ms` or nothing.
    pub(super) fn patience(&self, timeout_ms: Option<u64>) -> Duration {
        let patience = timeout_ms.unwrap_or(self.shared.config().client.timeout_ms);
        Duration::from_millis(patience.clamp(1, 3_600_000))
    }

    /// What became of a write, told with `status` where it is delivered.
    pub(super) async fn settled(
        &self,
        submitted: Submitted,
        status: &'static str,
    ) -> Result<Written, Problem> {
        let Submitted { told, is_list } = submitted;
        // Nothing is told only of what was not taken: who waits for what was taken is answered, by
        // the gateway's end at the latest.
        let Told { name, answer } = told.await.map_err(|_| stopping())?.map_err(|full| {
            Problem::too_many_requests("Too many requests in flight", RETRY)
                .detail(full.to_string())
        })?;
        let Some(said) = answer else {
            let body = AcceptedBody { request_id: name.to_string(), status: "accepted" };
            return Ok(Written::Accepted(body));
        };
        self.written(name, said, status, is_list).await.map(Written::Delivered)
    }

    async fn written(
        &self,
        name: Name,
        said: Said,
        status: &'static str,
        is_list: bool,
    ) -> Result<WrittenBody, Problem> {
        let (first, last, slot, number, request) = match said {
            Said::Applied { first, last, slot, ballot } => {
                (first, last, slot.get(), ballot.proposal_number(), name.to_string())
            }
            Said::Repeated { first, last } => {
                let ValueBody { slot, proposal_number, request_id } = self.value_at(first).await?;
                (first, last, slot, proposal_number, request_id)
            }
            Said::KeyReused => {
                return Err(Problem::unprocessable("Idempotency-Key used with another value")
                    .outcome(Outcome::NotApplied)
                    .request_id(name.to_string())
                    .hint("a key names one request for ever: use a new key for a new value"));
            }
            Said::NotApplied { reason } => return Err(self.not_applied(name, reason)),
            Said::Unknown { reason } => return Err(self.unknown(name, reason)),
            Said::Forgotten | Said::Settled(_) => return Err(self.unknown(name, None)),
        };
        Ok(WrittenBody {
            status,
            proposer_id: number % 100,
            proposal_number: number,
            request_id: request,
            slot,
            index: first.get(),
            first_index: is_list.then(|| first.get()),
            last_index: is_list.then(|| last.get()),
        })
    }

    /// All that is known of the value at `index`, from a learner.
    async fn value_at(&self, index: Index) -> Result<ValueBody, Problem> {
        let path = format!("/values/{index}");
        let asked = self.ask_learners(
            None,
            |http, _, address| {
                let path = path.clone();
                async move { http.get(&address, &path, RETRY * 3).await.ok() }
            },
            |reply| reply.status == StatusCode::OK,
        );
        if let Ok(Some(value)) = asked.await.map(|reply| serde_json::from_slice(&reply.body).ok()) {
            return Ok(value);
        }
        Err(Problem::gateway_timeout("No learner available")
            .detail(format!("the first request under this key was applied at index {index}"))
            .hint("ask again with the same Idempotency-Key"))
    }

    /// The problem of a command that was certainly not applied.
    fn not_applied(&self, name: Name, reason: Option<Handback>) -> Problem {
        let problem = match reason {
            Some(Handback::Busy) => Problem::too_many_requests("The leader's queue is full", RETRY),
            Some(Handback::JournalFull { lagging }) => {
                let names: Vec<String> =
                    lagging.iter().map(|learner| self.name_of(learner.node())).collect();
                Problem::unavailable("The acceptors' journals are full", RETRY)
                    .detail(format!("they wait for learners to catch up: {}", names.join(", ")))
                    .hint("start these learners; the journals then shrink by themselves")
            }
            Some(Handback::NoQuorum { need, have, missing }) => {
                let missing = missing.iter().map(|id| self.name_of(id.node())).collect();
                Problem::unavailable("No quorum of acceptors", RETRY)
                    .detail("too few acceptors can be reached to choose a value")
                    .quorum(QuorumState { need, have, missing })
                    .hint("start the missing acceptors; writes then go on by themselves")
            }
            Some(Handback::NotLeader { leader }) => Problem::unavailable("No leader", RETRY)
                .leader(leader.map(|leader| u64::from(leader.node().get())))
                .detail("no proposer led in time; an election may be under way"),
            None => Problem::unavailable("No proposer available", RETRY)
                .leader(None)
                .detail("no proposer could be reached")
                .hint("start a proposer, or check the network to it"),
        };
        problem.outcome(Outcome::NotApplied).request_id(name.to_string())
    }

    fn unknown(&self, name: Name, reason: Option<Handback>) -> Problem {
        let mut problem = Problem::gateway_timeout("The outcome is unknown")
            .detail("the deadline passed, and an attempt may have reached an acceptor")
            .request_id(name.to_string())
            .hint(format!("GET /requests/{name} will tell, once a quorum answers again"));
        if let Some(Handback::NoQuorum { need, have, missing }) = reason {
            let missing = missing.iter().map(|id| self.name_of(id.node())).collect();
            problem = problem.quorum(QuorumState { need, have, missing });
        }
        problem
    }

    /// The original's notification. Learners tell over their links; what a caller says here is
    /// checked and changes nothing.
    pub(super) async fn notify(&self, request: &mut Request<Incoming>) -> Answer {
        let body = self.json_body(request).await?;
        let fields: NotifyBody<'_> = parse_object(&body)?;
        fields.learner_id.ok_or_else(|| missing_information("learner_id"))?;
        fields.proposal_number.ok_or_else(|| missing_information("proposal_number"))?;
        fields.value.ok_or_else(|| missing_information("value"))?;
        fields.learned_at.ok_or_else(|| missing_information("learned_at"))?;
        Ok(json_answer(StatusCode::OK, &json!({ "status": "acknowledged" })))
    }

    pub(super) fn gateway(&self) -> Result<&GatewayHandle, Problem> {
        self.roles.gateway.as_ref().ok_or_else(stopping)
    }
}

/// The problem of a write that was refused before anybody was told of it.
pub(super) fn not_applied(problem: Problem) -> Problem {
    problem.outcome(Outcome::NotApplied)
}
