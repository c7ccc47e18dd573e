//! What a client answers, and what a proposer answers to those who write through it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::debug;

use super::common::{Fields, missing_information, parse_object, parse_request_id};
use super::learner::{is_linearizable, no_learners};
use super::{Answer, App, stopping, timeout_of};
use crate::config::Limits;
use crate::http::body::{is_ndjson, json as json_answer, json_bytes};
use crate::http::{Address, Body, HttpClient, Outcome, Problem, Query, QuorumState};
use crate::node::Shared;
use crate::node::clock::date_time;
use crate::node::gateway::{self, Call, Full as TooMany, GatewayHandle, RequestState, Told};
use crate::paxos::client::Answer as Said;
use crate::paxos::log::Settled;
use crate::paxos::message::{Handback, Reading};
use crate::types::{Batch, IdempotencyKey, Index, LearnerId, Name, NodeId, Operation, Role};

/// How long a caller should wait before it tries again what was certainly not applied.
const RETRY: Duration = Duration::from_secs(1);

/// How long a learner may take before another one is asked beside it.
const HEDGE: Duration = Duration::from_millis(250);

/// A read of more values goes over HTTP.
const SHORT_VALUES_MAX: u32 = 16;

/// Names the learner that served a read.
const SERVED_BY: HeaderName = HeaderName::from_static("paxos-served-by");

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

/// What a learner says of a request.
#[derive(Deserialize)]
struct OutcomeBody {
    state: String,
    /// The name to cancel it by, where nobody retries it any more.
    #[serde(default)]
    cancel: Option<String>,
    #[serde(default)]
    first_index: Option<u64>,
    #[serde(default)]
    last_index: Option<u64>,
    #[serde(default)]
    slot: Option<u64>,
    #[serde(default)]
    proposal_number: Option<u64>,
}

/// A delivered value as a learner tells of it.
#[derive(Deserialize)]
struct ValueBody {
    slot: u64,
    proposal_number: u64,
    request_id: String,
}

#[derive(Deserialize)]
struct DeliveriesBody<'a> {
    learner_id: u64,
    #[serde(borrow)]
    deliveries: Vec<DeliveryBody<'a>>,
}

#[derive(Deserialize)]
struct DeliveryBody<'a> {
    index: u64,
    #[serde(borrow)]
    value: &'a RawValue,
    proposal_number: u64,
    request_id: String,
    learned_at_ms: u64,
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
        let Told { name, answer } = told.await.map_err(|_| stopping())?.map_err(|full| {
            Problem::too_many_requests("Too many requests in flight", RETRY)
                .detail(full.to_string())
        })?;
        match answer {
            Some(said) => self.written(name, said, status, is_list).await.map(Written::Delivered),
            None => {
                let body = AcceptedBody { request_id: name.to_string(), status: "accepted" };
                Ok(Written::Accepted(body))
            }
        }
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

    /// What became of a request: from memory if it is this gateway's, else from a learner.
    pub(super) async fn request(&self, id: &str) -> Answer {
        let name = parse_request_id(id)?;
        let gateway = self.gateway()?;
        let known = gateway.ask(|reply| Call::Request(name, reply)).await.ok_or_else(stopping)?;
        match known {
            Some(RequestState::NeverSeen) => Err(Problem::not_found(&format!("request {name}"))
                .detail("this gateway has not given this name to a request")),
            Some(state) => Ok(json_answer(StatusCode::OK, &describe_request(name, &state))),
            None => self.foreign_request(name).await,
        }
    }

    async fn foreign_request(&self, name: Name) -> Answer {
        let path = format!("/requests/{name}");
        let asked = self.ask_learners(
            |http, _, address| {
                let path = path.clone();
                async move { http.get(&address, &path, RETRY * 5).await.ok() }
            },
            |reply| reply.status == StatusCode::OK,
        );
        match asked.await {
            Ok(reply) => match serde_json::from_slice::<OutcomeBody>(&reply.body) {
                Ok(outcome) => match outcome.cancel.as_deref().map(str::parse) {
                    Some(Ok(target)) => self.cancel(name, target).await,
                    Some(Err(_)) => Ok(json_answer(StatusCode::OK, &state_unknown(name))),
                    None => Ok(json_answer(StatusCode::OK, &describe_outcome(name, &outcome))),
                },
                Err(_) => Ok(json_answer(StatusCode::OK, &state_unknown(name))),
            },
            Err(Some(refused)) if refused.status == StatusCode::NOT_FOUND => {
                Err(Problem::not_found(&format!("request {name}"))
                    .detail("no learner remembers it: it was never seen, or long ago"))
            }
            Err(_) => Ok(json_answer(StatusCode::OK, &state_unknown(name))),
        }
    }

    /// Settles a request that nobody retries any more, since its gateway has restarted. Its caller
    /// knows it as `name`.
    async fn cancel(&self, name: Name, target: Name) -> Answer {
        let timeout = Duration::from_millis(self.shared.config().client.timeout_ms);
        let asked = self.gateway()?.ask(|done| Call::Cancel { target, timeout, done }).await;
        let state = match asked.ok_or_else(stopping)? {
            Said::Settled(Settled::Applied { first, last }) => {
                json!({
                    "state": "applied",
                    "index": first.get(),
                    "first_index": first.get(),
                    "last_index": last.get(),
                })
            }
            Said::Settled(Settled::NotApplied) => json!({ "state": "not_applied" }),
            Said::Settled(Settled::Forgotten)
            | Said::Applied { .. }
            | Said::Repeated { .. }
            | Said::KeyReused
            | Said::NotApplied { .. }
            | Said::Unknown { .. }
            | Said::Forgotten => json!({ "state": "unknown" }),
        };
        let body = Fields::of(state).with("request_id", &name.to_string());
        Ok(json_answer(StatusCode::OK, &body))
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

    /// Reads through whichever learner answers.
    pub(super) async fn read(&self, request: Request<Incoming>) -> Answer {
        let query = Query::of(request.uri());
        let timeout = timeout_of(query, self.shared.config().client.timeout_ms)?;
        let slow = match short_reading(query) {
            None => None,
            Some(reading) => match self.read_over_link(reading, timeout).await {
                Ok(response) => return Ok(response),
                Err(slow) => slow,
            },
        };
        let path = request
            .uri()
            .query()
            .map_or_else(|| "/get-values".to_owned(), |query| format!("/get-values?{query}"));
        let names = self.clone();
        let asked = self.ask_learners_but(
            slow,
            |http, learner, address| {
                let (path, name) = (path.clone(), names.name_of(learner.node()));
                async move {
                    let ask = Request::new(Full::default());
                    let mut response =
                        http.proxy(&address, &path, ask, timeout + RETRY).await.ok()?;
                    if let Ok(name) = HeaderValue::try_from(name) {
                        response.headers_mut().insert(SERVED_BY, name);
                    }
                    Some(response)
                }
            },
            // Another learner may have room, or be further.
            |response| {
                let status = response.status();
                status != StatusCode::SERVICE_UNAVAILABLE && status != StatusCode::TOO_MANY_REQUESTS
            },
        );
        Ok(match asked.await {
            Ok(response) | Err(Some(response)) => response,
            Err(None) => no_learners(),
        })
    }

    /// Reads a few values over the link to a learner, where it can answer so, and soon.
    ///
    /// # Errors
    /// With the learner that did not answer so, when there was one: the others come first then.
    async fn read_over_link(
        &self,
        reading: Reading,
        timeout: Duration,
    ) -> Result<Response<Body>, Option<LearnerId>> {
        let gateway = self.roles.gateway.as_ref().ok_or(None)?;
        let learner = nearest_learner(&self.shared).ok_or(None)?;
        let is_newest = reading.from.is_none();
        let asked = gateway.ask(|reply| Call::Read(learner, reading, reply));
        match tokio::time::timeout(HEDGE.min(timeout / 2), asked).await {
            Ok(Some(Some(body))) => {
                let mut response = json_bytes(StatusCode::OK, body);
                if let Ok(name) = HeaderValue::try_from(self.name_of(learner.node())) {
                    response.headers_mut().insert(SERVED_BY, name);
                }
                Ok(response)
            }
            // The newest values are in memory: it cannot serve now. Others are read from its disk.
            Ok(Some(None)) if is_newest => Err(Some(learner)),
            Ok(Some(None) | None) => Err(None),
            Err(_) => Err(Some(learner)),
        }
    }

    /// As [`Self::ask_learners_but`], beginning with whichever is nearest.
    async fn ask_learners<T, F>(
        &self,
        ask: impl Fn(HttpClient, LearnerId, Address) -> F,
        is_final: impl Fn(&T) -> bool,
    ) -> Result<T, Option<T>>
    where
        T: Send + 'static,
        F: Future<Output = Option<T>> + Send + 'static,
    {
        self.ask_learners_but(None, ask, is_final).await
    }

    /// Asks one learner, and after a short while without an answer the next one beside it; of those
    /// that can be reached `slow` comes last. Returns the first answer that `is_final`, or else the
    /// last one there was.
    async fn ask_learners_but<T, F>(
        &self,
        slow: Option<LearnerId>,
        ask: impl Fn(HttpClient, LearnerId, Address) -> F,
        is_final: impl Fn(&T) -> bool,
    ) -> Result<T, Option<T>>
    where
        T: Send + 'static,
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let mut learners = learners(&self.shared, slow).into_iter().peekable();
        let mut asked = JoinSet::new();
        let mut last = None;
        loop {
            let has_more = learners.peek().is_some();
            if asked.is_empty() && !has_more {
                return Err(last);
            }
            let pause = if asked.is_empty() { Duration::ZERO } else { HEDGE };
            tokio::select! {
                biased;
                Some(answer) = asked.join_next() => match answer.ok().flatten() {
                    Some(answer) if is_final(&answer) => return Ok(answer),
                    Some(answer) => last = Some(answer),
                    None => {}
                },
                () = sleep(pause), if has_more => {
                    if let Some((learner, address)) = learners.next() {
                        asked.spawn(ask(self.shared.http.clone(), learner, address));
                    }
                }
            }
        }
    }

    pub(super) async fn get_responses(&self) -> Answer {
        let responses = self.responses().await.ok_or_else(stopping)?;
        let responses = responses.iter().map(ResponseBody::of).collect();
        Ok(json_answer(StatusCode::OK, &ResponsesBody { responses }))
    }

    async fn responses(&self) -> Option<Vec<gateway::Response>> {
        self.roles.gateway.as_ref()?.ask(Call::Responses).await
    }

    fn gateway(&self) -> Result<&GatewayHandle, Problem> {
        self.roles.gateway.as_ref().ok_or_else(stopping)
    }
}

/// The learners to ask: first those that can be reached, and of them `slow` last. Gateways begin
/// with different ones.
fn learners(shared: &Shared, slow: Option<LearnerId>) -> Vec<(LearnerId, Address)> {
    let directory = shared.peers.directory();
    let mut learners: Vec<(LearnerId, Address)> = directory
        .borrow()
        .with_role(Role::Learner)
        .map(|peer| (LearnerId(peer.id), peer.address.clone()))
        .collect();
    let turn = usize::from(shared.me.id.get()) % learners.len().max(1);
    learners.rotate_left(turn);
    let can_be_reached = shared.reachable_learners();
    learners
        .sort_by_key(|(learner, _)| (!can_be_reached.contains(learner), Some(*learner) == slow));
    learners
}

/// The learner that comes first among [`learners`], if it can be reached.
fn nearest_learner(shared: &Shared) -> Option<LearnerId> {
    let directory = shared.peers.directory();
    let directory = directory.borrow();
    let ids = || directory.with_role(Role::Learner).map(|peer| LearnerId(peer.id));
    let turn = usize::from(shared.me.id.get()) % ids().count().max(1);
    let mut in_turn = ids().skip(turn).chain(ids().take(turn));
    in_turn.find(|learner| shared.peers.is_up(learner.node()))
}

/// What a query asks for, where it is right and short enough for a link.
fn short_reading(query: Query<'_>) -> Option<Reading> {
    let linearizable = is_linearizable(query).ok()?;
    let limit = query.parse("limit").ok()??;
    let after = Index::new(query.parse("after").ok()?.unwrap_or(0));
    let from = query.parse("from").ok()?.map(Index::new);
    let reading = Reading { linearizable, after, from, limit };
    (1..=SHORT_VALUES_MAX).contains(&limit).then_some(reading)
}

/// The values of this gateway from before its start, so that `/get-responses` survives one.
pub(super) async fn restore_responses(shared: Arc<Shared>, gateway: GatewayHandle) {
    let limit = shared.config().client.responses_kept;
    let path = format!("/deliveries/{}?limit={limit}", shared.me.id);
    for attempt in 0..60_u32 {
        // One may lag; what was answered, one of them has delivered.
        let mut furthest: Option<Vec<gateway::Response>> = None;
        for (_, address) in learners(&shared, None) {
            let Ok(reply) = shared.http.get(&address, &path, RETRY * 5).await else { continue };
            if reply.status != StatusCode::OK {
                continue;
            }
            let Some(older) = read_deliveries(&reply.body, shared.clock.unix_ms()) else {
                continue;
            };
            let newest = |it: &Vec<gateway::Response>| it.last().map(|response| response.index);
            if furthest.as_ref().is_none_or(|known| newest(&older) > newest(known)) {
                furthest = Some(older);
            }
        }
        if let Some(older) = furthest {
            if !gateway.tell(Call::Restore(older)).await {
                debug!("the gateway has stopped");
            }
            return;
        }
        let pause = Duration::from_millis(200 * u64::from(attempt.min(10) + 1));
        if shared.stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
    }
}

fn read_deliveries(body: &[u8], now_ms: u64) -> Option<Vec<gateway::Response>> {
    let body: DeliveriesBody<'_> = serde_json::from_slice(body).ok()?;
    let learner = LearnerId(NodeId::new(body.learner_id).ok()?);
    body.deliveries
        .iter()
        .map(|delivery| {
            Some(gateway::Response {
                learner,
                proposal_number: delivery.proposal_number,
                value: Bytes::copy_from_slice(delivery.value.get().as_bytes()),
                learned_at_ms: delivery.learned_at_ms,
                received_at_ms: now_ms,
                index: Index::new(delivery.index),
                request: delivery.request_id.parse().ok()?,
            })
        })
        .collect()
}

/// The problem of a write that was refused before anybody was told of it.
pub(super) fn not_applied(problem: Problem) -> Problem {
    problem.outcome(Outcome::NotApplied)
}

#[derive(Serialize)]
struct ResponsesBody<'a> {
    responses: Vec<ResponseBody<'a>>,
}

/// A delivered value as `/get-responses` tells of it.
#[derive(Serialize)]
struct ResponseBody<'a> {
    learner_id: u8,
    proposal_number: u64,
    value: Option<&'a RawValue>,
    learned_at: String,
    received_at: String,
    index: u64,
    request_id: String,
}

impl<'a> ResponseBody<'a> {
    fn of(response: &'a gateway::Response) -> Self {
        Self {
            learner_id: response.learner.node().get(),
            proposal_number: response.proposal_number,
            value: serde_json::from_slice(&response.value).ok(),
            learned_at: date_time(response.learned_at_ms),
            received_at: date_time(response.received_at_ms),
            index: response.index.get(),
            request_id: response.request.to_string(),
        }
    }
}

fn state_unknown(name: Name) -> Value {
    json!({ "request_id": name.to_string(), "state": "unknown" })
}

fn describe_outcome(name: Name, outcome: &OutcomeBody) -> Fields {
    let known = [
        ("index", outcome.first_index),
        ("first_index", outcome.first_index),
        ("last_index", outcome.last_index),
        ("slot", outcome.slot),
        ("proposal_number", outcome.proposal_number),
    ];
    let state = json!({ "request_id": name.to_string(), "state": outcome.state });
    let known = known.iter().filter_map(|(field, number)| number.map(|number| (field, number)));
    known.fold(Fields::of(state), |fields, (field, number)| fields.with(field, &number))
}

fn describe_request(name: Name, state: &RequestState) -> Value {
    let id = name.to_string();
    match state {
        RequestState::Pending => json!({ "request_id": id, "state": "pending" }),
        RequestState::Done(Said::Applied { first, last, slot, ballot }) => json!({
            "request_id": id,
            "state": "applied",
            "index": first.get(),
            "first_index": first.get(),
            "last_index": last.get(),
            "slot": slot.get(),
            "proposal_number": ballot.proposal_number(),
        }),
        RequestState::Done(
            Said::Repeated { first, last } | Said::Settled(Settled::Applied { first, last }),
        ) => json!({
            "request_id": id,
            "state": "applied",
            "index": first.get(),
            "first_index": first.get(),
            "last_index": last.get(),
        }),
        RequestState::Done(
            Said::KeyReused | Said::NotApplied { .. } | Said::Settled(Settled::NotApplied),
        ) => json!({ "request_id": id, "state": "not_applied" }),
        RequestState::NeverSeen
        | RequestState::Done(
            Said::Unknown { .. } | Said::Forgotten | Said::Settled(Settled::Forgotten),
        ) => json!({ "request_id": id, "state": "unknown" }),
    }
}
