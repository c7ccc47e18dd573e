//! Reads through a gateway: whichever learner answers.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::gateway::RETRY;
use super::learner::{is_linearizable, no_learners};
use super::{Answer, App, timeout_of};
use crate::http::body::json_bytes;
use crate::http::{Address, Body, HttpClient, Query};
use crate::node::Shared;
use crate::node::gateway::Call;
use crate::node::peers::{Directory, Peer};
use crate::paxos::message::Reading;
use crate::types::{Index, LearnerId, NodeId, Role};

/// How long a learner may take before another one is asked beside it.
const HEDGE: Duration = Duration::from_millis(250);

/// A read of more values goes over HTTP.
const SHORT_VALUES_MAX: u32 = 16;

/// Names the learner that served a read.
const SERVED_BY: HeaderName = HeaderName::from_static("paxos-served-by");

impl App {
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
        let asked = self.ask_learners(
            slow,
            |http, learner, address| {
                let (path, name) = (path.clone(), names.name_of(learner.node()));
                async move {
                    let ask = Request::new(Full::default());
                    let response = http.proxy(&address, &path, ask, timeout + RETRY).await.ok()?;
                    Some(served_by(name, response))
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
                Ok(served_by(self.name_of(learner.node()), json_bytes(StatusCode::OK, body)))
            }
            // The newest values are in memory: it cannot serve now. Others are read from its disk.
            Ok(Some(None)) if is_newest => Err(Some(learner)),
            Ok(Some(None) | None) => Err(None),
            Err(_) => Err(Some(learner)),
        }
    }

    /// Asks one learner, and after a short while without an answer the next one beside it; of those
    /// that can be reached `slow` comes last. Returns the first answer that `is_final`, or else the
    /// last one there was.
    pub(super) async fn ask_learners<T, F>(
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
}

/// Says that the learner `name` gave `response`.
fn served_by(name: String, mut response: Response<Body>) -> Response<Body> {
    if let Ok(name) = HeaderValue::try_from(name) {
        response.headers_mut().insert(SERVED_BY, name);
    }
    response
}

/// The learners, beginning with another one at each gateway.
fn in_turn(directory: &Directory, gateway: NodeId) -> impl Iterator<Item = &Peer> {
    let learners = || directory.with_role(Role::Learner);
    let turn = usize::from(gateway.get()) % learners().count().max(1);
    learners().skip(turn).chain(learners().take(turn))
}

/// The learners to ask, in turn: first those that can be reached, and of them `slow` last.
pub(super) fn learners(shared: &Shared, slow: Option<LearnerId>) -> Vec<(LearnerId, Address)> {
    let directory = shared.peers.directory();
    let mut learners: Vec<(LearnerId, Address)> = in_turn(&directory.borrow(), shared.me.id)
        .map(|peer| (LearnerId(peer.id), peer.address.clone()))
        .collect();
    let can_be_reached = shared.reachable_learners();
    learners
        .sort_by_key(|(learner, _)| (!can_be_reached.contains(learner), Some(*learner) == slow));
    learners
}

/// The learner that comes first among [`learners`], if it can be reached.
fn nearest_learner(shared: &Shared) -> Option<LearnerId> {
    let directory = shared.peers.directory();
    let directory = directory.borrow();
    let mut learners = in_turn(&directory, shared.me.id).map(|peer| LearnerId(peer.id));
    learners.find(|learner| shared.peers.is_up(learner.node()))
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
