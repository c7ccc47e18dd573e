//! What a learner answers: values, linearizable unless asked otherwise, and outcomes of requests.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::common::{
    Fields, applied, applied_in, missing_information, parse_object, parse_request_id, state,
};
use super::{Answer, App, stopping, timeout_of};
use crate::http::body::{json as json_answer, json_bytes};
use crate::http::{Body, Problem, Query, QuorumState, sse};
use crate::node::clock::date_time;
use crate::node::learner::{Asker, Call, Found, LearnerHandle, Plan, TooManyReads, page};
use crate::paxos::journal::JournalError;
use crate::paxos::log::{Lookup, Outcome};
use crate::paxos::message::Reading;
use crate::paxos::store::ValueAt;
use crate::types::{AcceptorId, Index, Name, NodeId, Role};

/// Values of one page, unless asked for fewer or more.
const PAGE_DEFAULT: usize = 1000;

/// Values read at once for a stream.
const STREAM_PAGE: usize = 256;

/// Values that `/view-logs` shows with all that is known of them.
const RECENT: usize = 10;

/// Values that it shows as they are.
const SHARED_DATA: usize = 100;

/// How far back the values of one gateway are looked for.
const DELIVERIES_SEARCHED: usize = 10_000;

#[derive(Deserialize)]
struct LearnBody<'a> {
    acceptor_id: Option<u64>,
    proposal_number: Option<u64>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// What is asked for by `/get-values`.
struct ReadQuery {
    linearizable: bool,
    after: Index,
    from: Option<Index>,
    limit: usize,
    timeout: Duration,
}

impl App {
    pub(super) async fn learner_state(&self) -> Option<Fields> {
        let status = self.learner_status().await?;
        let shown = ReadQuery {
            linearizable: false,
            after: Index::ZERO,
            from: None,
            limit: SHARED_DATA,
            timeout: Duration::from_secs(1),
        };
        // One that must not serve has a state all the same, and that is what tells why.
        let newest = self.values(&shown).await.map(|(_, values)| values).unwrap_or_default();
        let older = newest.len().saturating_sub(RECENT);
        let recent: Vec<_> = newest.iter().skip(older).map(ValueBody::of).collect();
        let values: Vec<_> = newest.iter().filter_map(raw).collect();
        let fault = self.roles.learner.as_ref().and_then(|learner| learner.fault.borrow().clone());
        let directory = self.shared.peers.directory();
        let clients = directory.borrow().with_role(Role::Client).count();
        let state = Fields::of(json!({
            "id": self.shared.me.id.get(),
            "role": Role::Learner.as_str(),
            "learned_values_count": status.delivered_index.get(),
            "clients_count": clients,
            "known_nodes_count": self.known_nodes(),
            "current_leader": self.leader().map(NodeId::get),
            "chosen_slot": status.highest_seen.get(),
            "delivered_slot": status.delivered_slot.get(),
            "delivered_index": status.delivered_index.get(),
            "durable_slot": status.durable_slot.get(),
            "state_hash": format!("{:032x}", status.state_hash),
            "epoch": status.epoch.map(|epoch| epoch.to_string()),
            "not_serving_because": fault,
        }));
        Some(state.with("recent_learned_values", &recent).with("shared_data", &values))
    }

    pub(super) async fn learn(&self, request: &mut Request<Incoming>) -> Answer {
        self.check_protocol_calls()?;
        let body = self.json_body(request).await?;
        let fields: LearnBody<'_> = parse_object(&body)?;
        let acceptor = fields.acceptor_id.ok_or_else(|| missing_information("acceptor_id"))?;
        fields.proposal_number.ok_or_else(|| missing_information("proposal_number"))?;
        fields.value.ok_or_else(|| missing_information("value"))?;
        let is_acceptor = |id: &AcceptorId| self.shared.config().acceptors().contains(id);
        let acceptor = NodeId::new(acceptor).ok().map(AcceptorId).filter(is_acceptor);
        let acceptor = acceptor.ok_or_else(|| {
            Problem::bad_request("Bad acceptor_id").detail("no acceptor has this id")
        })?;
        let learner = self.learner()?;
        let hint = Call::Hint(acceptor);
        if learner.inbox.send(crate::node::inbox::Input::Call(hint)).await.is_err() {
            return Err(stopping());
        }
        Ok(json_answer(StatusCode::OK, &json!({ "status": "acknowledged" })))
    }

    pub(super) async fn get_values(&self, request: &Request<Incoming>) -> Answer {
        let query = self.read_query(Query::of(request.uri()))?;
        let (plan, values) = self.values(&query).await?;
        Ok(json_bytes(StatusCode::OK, page(&plan, &values)))
    }

    pub(super) async fn value(&self, index: &str) -> Answer {
        let wanted: u64 = index.parse().ok().filter(|&index| index > 0).ok_or_else(|| {
            Problem::bad_request("Bad index").detail(format!("`{index}` is not an index from 1 on"))
        })?;
        let query = ReadQuery {
            linearizable: true,
            after: Index::ZERO,
            from: Some(Index::new(wanted)),
            limit: 1,
            timeout: self.default_timeout(),
        };
        let (plan, values) = self.values(&query).await?;
        let Some(value) = values.first() else {
            return Err(Problem::not_found(&format!("index {index}"))
                .detail(format!("the highest index is {}", plan.delivered)));
        };
        Ok(json_answer(StatusCode::OK, &ValueBody::of(value)))
    }

    /// Streams values as they are delivered.
    pub(super) fn watch(&self, request: &Request<Incoming>) -> Answer {
        let learner = self.learner()?.clone();
        let query = Query::of(request.uri());
        let resumed = sse::last_event_id(request.headers()).map(|last| last.saturating_add(1));
        let mut next = resumed.or(query.parse("from")?);
        let (sender, events) = mpsc::channel(STREAM_PAGE);
        let app = self.clone();
        self.shared.tracker.spawn(async move {
            let mut delivered = learner.delivered.clone();
            let mut from = Index::new(next.take().unwrap_or(delivered.borrow().get() + 1).max(1));
            loop {
                while *delivered.borrow_and_update() >= from {
                    let query = ReadQuery {
                        linearizable: false,
                        after: Index::ZERO,
                        from: Some(from),
                        limit: STREAM_PAGE,
                        timeout: app.default_timeout(),
                    };
                    let Ok((_, values)) = app.values(&query).await else { return };
                    if values.is_empty() {
                        return;
                    }
                    for value in values {
                        from = value.index.next();
                        let data =
                            serde_json::to_string(&ValueBody::of(&value)).unwrap_or_default();
                        let id = Some(value.index.get());
                        if sender.send(sse::Event { id, event: None, data }).await.is_err() {
                            return;
                        }
                    }
                }
                tokio::select! {
                    changed = delivered.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                    () = app.shared.closing.cancelled() => return,
                }
            }
        });
        Ok(sse::respond(events, &self.shared.closing))
    }

    /// What the log knows of a request: the gateways ask this.
    pub(super) async fn outcome(&self, id: &str) -> Answer {
        let name = parse_request_id(id)?;
        let learner = self.learner()?;
        let asked = learner.ask(|reply| Call::LookUp(name, reply));
        let found = self.within(self.default_timeout(), asked).await?.map_err(too_many_reads)?;
        let body = match found {
            Lookup::Unknown => return Err(Problem::not_found(&format!("request {id}"))),
            Lookup::Forgotten => describe(self.searched(learner, name).await?),
            Lookup::Absent { orphaned: None } => state("pending"),
            // A session of its gateway that is evicted by now may have delivered it; only where
            // none has, it can be cancelled.
            Lookup::Absent { orphaned: Some(target) } => {
                match self.searched(learner, name).await? {
                    Found::Absent => state("pending").with("cancel", &target.to_string()),
                    found @ (Found::Applied { .. } | Found::Skipped) => describe(found),
                }
            }
            Lookup::Delivered(
                Outcome::Applied { first, last } | Outcome::Repeated { first, last },
            ) => applied(first, last),
            Lookup::Delivered(
                Outcome::KeyReused
                | Outcome::Cancelled
                | Outcome::Refused
                | Outcome::Opened
                | Outcome::Settled(_),
            ) => state("not_applied"),
        };
        Ok(json_answer(StatusCode::OK, &body))
    }

    /// What the values themselves tell of a command whose outcome the log does not know.
    async fn searched(&self, learner: &LearnerHandle, name: Name) -> Result<Found, Problem> {
        let found = self.within(self.default_timeout(), learner.search(name)).await?;
        found.map_err(|error| unreadable(&error))
    }

    /// The newest values that one gateway sent, for a gateway that has restarted.
    pub(super) async fn deliveries(&self, client: &str, request: &Request<Incoming>) -> Answer {
        let client = client.parse().ok().and_then(|id| NodeId::new(id).ok()).ok_or_else(|| {
            Problem::bad_request("Bad client id").detail(format!("`{client}` is no node id"))
        })?;
        let limit = Query::of(request.uri()).parse("limit")?.unwrap_or(PAGE_DEFAULT);
        let query = ReadQuery {
            linearizable: false,
            after: Index::ZERO,
            from: None,
            limit: DELIVERIES_SEARCHED,
            timeout: self.default_timeout(),
        };
        let (_, values) = self.values(&query).await?;
        let of_client: Vec<&ValueAt> =
            values.iter().filter(|value| value.origin == client).collect();
        let newest = of_client.len().saturating_sub(limit);
        let delivery =
            |value| DeliveryBody { value: ValueBody::of(value), learned_at_ms: value.at_ms };
        let deliveries = of_client.into_iter().skip(newest).map(delivery).collect();
        let body = DeliveriesBody { learner_id: self.shared.me.id.get(), deliveries };
        Ok(json_answer(StatusCode::OK, &body))
    }

    fn learner(&self) -> Result<&LearnerHandle, Problem> {
        let learner = self.roles.learner.as_ref().ok_or_else(stopping)?;
        match learner.fault.borrow().clone() {
            None => Ok(learner),
            Some(why) => Err(Problem::unavailable("This learner does not serve", FAULT_RETRY)
                .detail(why)
                .hint("read from another learner")),
        }
    }

    fn default_timeout(&self) -> Duration {
        Duration::from_millis(self.shared.config().client.timeout_ms)
    }

    fn read_query(&self, query: Query<'_>) -> Result<ReadQuery, Problem> {
        let linearizable = is_linearizable(query)?;
        let limit: usize = query.parse("limit")?.unwrap_or(PAGE_DEFAULT);
        let most = self.shared.config().learner.page_values_max;
        if limit == 0 || limit > most {
            return Err(Problem::bad_request("Bad query")
                .detail(format!("limit={limit} is not in 1 to {most}")));
        }
        Ok(ReadQuery {
            linearizable,
            after: Index::new(query.parse("after")?.unwrap_or(0)),
            from: query.parse("from")?.map(Index::new),
            limit,
            timeout: timeout_of(query, self.shared.config().client.timeout_ms)?,
        })
    }

    /// Values as asked for, and where they lie in the delivered order.
    async fn values(&self, query: &ReadQuery) -> Result<(Plan, Vec<ValueAt>), Problem> {
        let learner = self.learner()?;
        let ReadQuery { linearizable, after, from, limit, timeout } = *query;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let reading = Reading { linearizable, after, from, limit };
        let asked = learner.ask(|reply| Call::Read(reading, Asker::Handler(reply)));
        let plan = match self.within(timeout, asked).await {
            Err(late) if *learner.delivered.borrow() < after => {
                let highest = *learner.delivered.borrow();
                return Err(late
                    .detail(format!("index {after} is not delivered yet; the highest is {highest}"))
                    .hint("wait longer with timeout_ms, or leave out `after`"));
            }
            answer => answer?.map_err(too_many_reads)?,
        };
        // A read may have begun before the learner found that it must not serve.
        let learner = self.learner()?;
        let fetched = if plan.mark.is_none() {
            learner.fetch(&plan)
        } else {
            let (reader, wanted) = (learner.clone(), plan.clone());
            let read = tokio::task::spawn_blocking(move || reader.fetch(&wanted)).await;
            read.map_err(|_| stopping())?
        };
        let values = fetched.map_err(|error| unreadable(&error))?;
        Ok((plan, values))
    }

    async fn within<T>(
        &self,
        after: Duration,
        asked: impl Future<Output = Option<T>>,
    ) -> Result<T, Problem> {
        match timeout(after, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(stopping()),
            Err(_) => Err(self.read_too_late()),
        }
    }

    fn read_too_late(&self) -> Problem {
        let acceptors = self.shared.config().acceptors();
        let is_missing = |id: &&AcceptorId| !self.shared.peers.is_up(id.node());
        let missing: Vec<String> =
            acceptors.iter().filter(is_missing).map(|id| self.name_of(id.node())).collect();
        let problem = Problem::unavailable("The read was not served in time", READ_RETRY);
        let quorum = QuorumState {
            need: acceptors.len() / 2 + 1,
            have: acceptors.len() - missing.len(),
            missing,
        };
        problem
            .detail("a quorum of acceptors did not answer, or this learner is behind it")
            .quorum(quorum)
            .hint("?consistency=stale reads what this learner has, without a quorum")
    }
}

/// Whether a read must see every write that was answered before it.
///
/// # Errors
/// 400 for a consistency that there is not.
pub(super) fn is_linearizable(query: Query<'_>) -> Result<bool, Problem> {
    match query.get("consistency") {
        None | Some("linearizable") => Ok(true),
        Some("stale") => Ok(false),
        Some(other) => Err(Problem::bad_request("Bad query")
            .detail(format!("consistency={other}"))
            .hint("write linearizable or stale")),
    }
}

fn too_many_reads(_full: TooManyReads) -> Problem {
    Problem::too_many_requests("Too many reads wait", READ_RETRY)
        .detail("learner.read_waiters_max reads wait already")
}

/// What a search found of a command whose outcome the log has forgotten.
fn describe(found: Found) -> Fields {
    match found {
        Found::Applied { first, last, slot, ballot } => applied_in(first, last, slot, ballot),
        // It repeated another request, was cancelled or was refused; which, is forgotten.
        Found::Skipped => state("unknown"),
        // The log will refuse it from now on.
        Found::Absent => state("not_applied"),
    }
}

fn unreadable(error: &JournalError) -> Problem {
    tracing::error!(%error, "the log cannot be read back");
    Problem::unavailable("The log cannot be read back", FAULT_RETRY)
        .detail(error.to_string())
        .hint("read from another learner; delete this one's directory and start it again")
}

/// How long to wait for a person to mend a learner.
const FAULT_RETRY: Duration = Duration::from_secs(60);

/// How long to wait for a quorum to come back.
const READ_RETRY: Duration = Duration::from_secs(1);

fn raw(value: &ValueAt) -> Option<&RawValue> {
    serde_json::from_slice(&value.value).ok()
}

/// A value with all that is known of it.
#[derive(Serialize)]
struct ValueBody<'a> {
    index: u64,
    value: Option<&'a RawValue>,
    slot: u64,
    proposal_number: u64,
    request_id: String,
    client_id: u8,
    timestamp: String,
}

impl<'a> ValueBody<'a> {
    fn of(value: &'a ValueAt) -> Self {
        Self {
            index: value.index.get(),
            value: raw(value),
            slot: value.slot.get(),
            proposal_number: value.ballot.proposal_number(),
            request_id: value.name.told().to_string(),
            client_id: value.origin.get(),
            timestamp: date_time(value.at_ms),
        }
    }
}

/// What a gateway that has restarted is told.
#[derive(Serialize)]
struct DeliveriesBody<'a> {
    learner_id: u8,
    deliveries: Vec<DeliveryBody<'a>>,
}

#[derive(Serialize)]
struct DeliveryBody<'a> {
    #[serde(flatten)]
    value: ValueBody<'a>,
    learned_at_ms: u64,
}

/// An answer without values, for callers of nobody.
pub(super) fn no_learners() -> Response<Body> {
    Problem::unavailable("No learners available", READ_RETRY)
        .detail("no learner answered")
        .hint("start a learner; writes go on without one only until the acceptors' journals fill")
        .into_response()
}
