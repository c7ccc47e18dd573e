//! The task that owns a gateway: it takes callers' commands, and remembers what became of them.

mod questions;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use self::questions::Questions;
use super::Shared;
use super::inbox::{Input, Received};
use crate::config::Config;
use crate::paxos::client::{
    self, Answer, Client, ClientConfig, ClientSettings, ClientStatus, Effect,
};
use crate::paxos::message::{Outbound, Reading, ToClient, ToLearner};
use crate::types::{IdempotencyKey, Index, Instant, LearnerId, Name};

/// What the rest of the node asks of the gateway.
#[derive(Debug)]
pub enum Call {
    /// Get these values chosen.
    Send {
        /// Each a JSON text.
        values: Vec<Bytes>,
        /// The caller's idempotency key.
        key: Option<IdempotencyKey>,
        /// How long the caller waits.
        timeout: Duration,
        /// Whether it waits for the outcome; else it is answered at once.
        wait: bool,
        /// The answer.
        told: oneshot::Sender<Result<Told, Full>>,
    },
    /// Ask this learner for a few values. Told them as JSON, or nothing where HTTP must do.
    Read(LearnerId, Reading, oneshot::Sender<Option<Bytes>>),
    /// What became of this request?
    Request(Name, oneshot::Sender<Option<RequestState>>),
    /// Make sure what became of a request of another session.
    Cancel {
        /// Which.
        target: Name,
        /// How long the caller waits.
        timeout: Duration,
        /// The answer.
        done: oneshot::Sender<Answer>,
    },
    /// The newest delivered values of this gateway.
    Responses(oneshot::Sender<Vec<Response>>),
    /// Values of this gateway from before its start, oldest first.
    Restore(Vec<Response>),
    /// What does it look like?
    Status(oneshot::Sender<GatewayStatus>),
}

/// What the caller of a write is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The name of the request.
    pub name: Name,
    /// What became of it; absent for a caller who does not wait.
    pub answer: Option<Answer>,
}

/// Why a command was not taken. Certainly not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too many are open.
    #[error("{0} (client.in_flight_max)")]
    Commands(#[from] client::InFlightError),
    /// The values of those that are open take too much memory.
    #[error("{0} bytes are in flight, with this request too many (client.in_flight_bytes_max)")]
    Bytes(usize),
}

/// What a gateway knows of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestState {
    /// Its outcome is open.
    Pending,
    /// What was said of it last.
    Done(Answer),
    /// No request has had this name yet.
    NeverSeen,
}

/// A delivered value of this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The learner that told of it first.
    pub learner: LearnerId,
    /// The ballot it was chosen under, as people read it.
    pub proposal_number: u64,
    /// The value, a JSON text.
    pub value: Bytes,
    /// When the learner delivered it, in milliseconds since 1970.
    pub learned_at_ms: u64,
    /// When this gateway heard of it.
    pub received_at_ms: u64,
    /// Its index.
    pub index: Index,
    /// Its request.
    pub request: Name,
}

/// What a gateway looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayStatus {
    /// The core's.
    pub client: ClientStatus,
    /// Delivered values remembered.
    pub responses: usize,
}

/// The gateway, as the rest of the node sees it.
#[derive(Debug, Clone)]
pub struct GatewayHandle(pub mpsc::Sender<Input<ToClient, Call>>);

impl GatewayHandle {
    /// Asks the task; `None` while the node stops.
    pub async fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Input::Call(call(reply))).await.ok()?;
        answer.await.ok()
    }

    /// Makes a call that nobody waits for.
    pub async fn tell(&self, call: Call) -> bool {
        self.0.send(Input::Call(call)).await.is_ok()
    }
}

/// The most inputs taken before what they ask for is done.
const INPUTS_PER_TURN: usize = 1024;

/// A request whose outcome is open.
#[derive(Debug)]
struct Open {
    waiter: Option<Waiter>,
    values: Vec<Bytes>,
    since: Instant,
}

/// One who waits for an outcome.
#[derive(Debug)]
enum Waiter {
    Write(oneshot::Sender<Result<Told, Full>>),
    Cancel(oneshot::Sender<Answer>),
}

impl Waiter {
    fn answer(self, name: Name, answer: Answer) {
        match self {
            Self::Write(told) => {
                super::answer(told, Ok(Told { name, answer: Some(answer) }));
            }
            Self::Cancel(done) => super::answer(done, answer),
        }
    }
}

struct Task {
    shared: Arc<Shared>,
    client: Client,
    out: Vec<Effect>,
    open: BTreeMap<Name, Open>,
    /// Bytes of their values.
    open_bytes: usize,
    settled: BTreeMap<Name, Answer>,
    settled_order: VecDeque<Name>,
    responses: VecDeque<Response>,
    /// The name given last.
    newest: Option<Name>,
    /// The learner whose message is being stepped.
    teller: Option<LearnerId>,
    questions: Questions,
    /// What leaves at the end of the turn.
    sends: Vec<Outbound>,
}

fn bytes_of(values: &[Bytes]) -> usize {
    values.iter().map(Bytes::len).sum()
}

/// Starts the task.
pub fn start(shared: &Arc<Shared>, inbox: mpsc::Receiver<Input<ToClient, Call>>) {
    let config = ClientConfig { me: shared.me.id, settings: settings_of(&shared.config()) };
    let now = shared.clock.now();
    let task = Task {
        shared: shared.clone(),
        client: Client::new(config, now, shared.chance_seed()),
        out: Vec::new(),
        open: BTreeMap::new(),
        open_bytes: 0,
        settled: BTreeMap::new(),
        settled_order: VecDeque::new(),
        responses: VecDeque::new(),
        newest: None,
        teller: None,
        questions: Questions::new(shared.chance_u64()),
        sends: Vec::new(),
    };
    shared.tracker.spawn(task.run(inbox));
}

fn settings_of(config: &Config) -> ClientSettings {
    ClientSettings {
        retry: Duration::from_millis(config.client.retry_ms),
        in_flight_max: config.client.in_flight_max,
        message_bytes_max: config.proposer.batch_bytes_max,
    }
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Input<ToClient, Call>>) {
        let _guard = self.shared.failed.on_panic("gateway");
        let stop = self.shared.stop.clone();
        let mut directory = self.shared.peers.directory();
        let mut config = self.shared.config_changes();
        let mut inputs = Vec::with_capacity(INPUTS_PER_TURN);
        self.set_proposers();
        loop {
            let deadline = self.client.deadline().unwrap_or(Instant::from_nanos(u64::MAX));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = directory.changed() => self.set_proposers(),
                Ok(()) = config.changed() => self.set_settings(&config.borrow_and_update()),
                _ = inbox.recv_many(&mut inputs, INPUTS_PER_TURN) => {
                    for input in inputs.drain(..) {
                        self.take(input);
                    }
                }
                () = tokio::time::sleep_until(self.shared.clock.to_tokio(deadline)) => {}
            }
            let now = self.shared.clock.now();
            if self.client.deadline().is_some_and(|deadline| deadline <= now) {
                self.client.tick(now, &mut self.out);
            }
            self.client.flush(now, &mut self.out);
            self.perform();
            self.ask_questions();
            self.shared.send_now(self.client.epoch(), std::mem::take(&mut self.sends));
        }
    }

    fn set_settings(&mut self, config: &Config) {
        let input = client::Input::Settings(settings_of(config));
        self.client.step(self.shared.clock.now(), input, &mut self.out);
    }

    fn ask_questions(&mut self) {
        let gateway = self.shared.me.id;
        for (learner, questions) in self.questions.take() {
            let message = ToLearner::Questions { gateway, questions };
            self.sends.push(Outbound::Learner(learner, message));
        }
    }

    fn set_proposers(&mut self) {
        let mut proposers = self.shared.peers.directory().borrow().proposers();
        if self.shared.me.role == crate::types::Role::Proposer {
            let me = crate::types::ProposerId(self.shared.me.id);
            proposers.insert(me);
            // A proposer reaches itself without a link.
            let up = client::Input::LinkUp(self.shared.me.id);
            self.client.step(self.shared.clock.now(), up, &mut self.out);
        }
        let input = client::Input::Proposers(proposers);
        self.client.step(self.shared.clock.now(), input, &mut self.out);
    }

    fn take(&mut self, input: Input<ToClient, Call>) {
        let now = self.shared.clock.now();
        match input {
            Input::Messages(messages) => {
                for Received { from, epoch, message } in messages {
                    if let ToClient::Pages { pages, .. } = message {
                        for page in pages {
                            self.questions.on_page(page);
                        }
                        continue;
                    }
                    self.teller = match &message {
                        ToClient::Notices { learner, .. } => Some(*learner),
                        ToClient::Refused { .. }
                        | ToClient::Abandoned { .. }
                        | ToClient::Leading { .. }
                        | ToClient::Pages { .. } => None,
                    };
                    if let ToClient::Leading { ballot } = &message {
                        self.shared.see_leader(*ballot);
                    }
                    let input = client::Input::Received { from, epoch, message };
                    self.client.step(now, input, &mut self.out);
                    self.perform();
                }
            }
            Input::LinkUp(node) => {
                self.client.step(now, client::Input::LinkUp(node), &mut self.out);
            }
            Input::LinkDown(node) => {
                self.questions.on_down(LearnerId(node));
                self.client.step(now, client::Input::LinkDown(node), &mut self.out);
            }
            Input::Call(call) => self.on_call(now, call),
        }
    }

    fn on_call(&mut self, now: Instant, call: Call) {
        match call {
            Call::Send { values, key, timeout, wait, told } => {
                match self.submit(now, &values, key, timeout) {
                    Ok(name) => {
                        let waiter = if wait {
                            Some(Waiter::Write(told))
                        } else {
                            super::answer(told, Ok(Told { name, answer: None }));
                            None
                        };
                        self.newest = Some(name);
                        self.open_bytes += bytes_of(&values);
                        self.open.insert(name, Open { waiter, values, since: now });
                    }
                    Err(full) => super::answer(told, Err(full)),
                }
            }
            Call::Cancel { target, timeout, done } => {
                match self.client.cancel(now, target, now + timeout) {
                    Ok(name) => {
                        let waiter = Some(Waiter::Cancel(done));
                        self.open.insert(name, Open { waiter, values: Vec::new(), since: now });
                    }
                    Err(_) => super::answer(done, Answer::Unknown { reason: None }),
                }
            }
            Call::Read(learner, reading, reply) => self.questions.ask(learner, reading, reply),
            Call::Request(name, reply) => {
                let settled = self.settled.get(&name).cloned().map(RequestState::Done);
                let pending = self.open.get(&name).map(|_| RequestState::Pending);
                let is_ahead = self
                    .newest
                    .is_some_and(|it| it.session == name.session && it.sequence < name.sequence);
                let never_seen = is_ahead.then_some(RequestState::NeverSeen);
                super::answer(reply, settled.or(pending).or(never_seen));
            }
            Call::Responses(reply) => {
                super::answer(reply, self.responses.iter().cloned().collect());
            }
            Call::Restore(older) => {
                for response in older.into_iter().rev() {
                    self.restore(response);
                }
            }
            Call::Status(reply) => {
                let status =
                    GatewayStatus { client: self.client.status(), responses: self.responses.len() };
                super::answer(reply, status);
            }
        }
    }

    fn submit(
        &mut self,
        now: Instant,
        values: &[Bytes],
        key: Option<IdempotencyKey>,
        timeout: Duration,
    ) -> Result<Name, Full> {
        let most = self.shared.config().client.in_flight_bytes_max;
        if self.open_bytes > 0 && self.open_bytes + bytes_of(values) > most {
            return Err(Full::Bytes(self.open_bytes));
        }
        Ok(self.client.submit(now, values.to_vec(), key, now + timeout)?)
    }

    fn perform(&mut self) {
        for effect in std::mem::take(&mut self.out) {
            match effect {
                Effect::Send(outbound) => self.sends.push(outbound),
                Effect::Event(event) => self.shared.ring.event(event),
                Effect::Done { id, answer } => self.done(id, answer),
            }
        }
    }

    fn done(&mut self, id: Name, answer: Answer) {
        let now = self.shared.clock.now();
        if let Some(open) = self.open.get_mut(&id) {
            if let Some(waiter) = open.waiter.take() {
                waiter.answer(id, answer.clone());
                self.shared.metrics.commit(now.since(open.since), &answer);
            }
            // An unknown outcome is corrected later: its values are kept until then. A cancellation
            // has none; nobody corrects it.
            if (!matches!(answer, Answer::Unknown { .. }) || open.values.is_empty())
                && let Some(open) = self.open.remove(&id)
            {
                self.open_bytes -= bytes_of(&open.values);
                self.respond(id, &answer, open.values);
            }
        }
        if self.settled.insert(id, answer).is_none() {
            self.settled_order.push_back(id);
        }
        while self.settled_order.len() > self.shared.config().client.requests_kept {
            if let Some(oldest) = self.settled_order.pop_front() {
                self.settled.remove(&oldest);
            }
        }
    }

    /// Remembers the values of a delivered command, each once however many learners told of it.
    fn respond(&mut self, request: Name, answer: &Answer, values: Vec<Bytes>) {
        let Answer::Applied { first, ballot, .. } = answer else { return };
        let Some(learner) = self.teller.or_else(|| self.any_learner()) else { return };
        let at_ms = self.shared.clock.unix_ms();
        let mut index = *first;
        for value in values {
            self.responses.push_back(Response {
                learner,
                proposal_number: ballot.proposal_number(),
                value,
                learned_at_ms: at_ms,
                received_at_ms: at_ms,
                index,
                request,
            });
            index = index.next();
        }
        let kept = self.shared.config().client.responses_kept;
        let excess = self.responses.len().saturating_sub(kept);
        self.responses.drain(..excess);
    }

    fn any_learner(&self) -> Option<LearnerId> {
        self.shared.peers.directory().borrow().learners().first().copied()
    }

    fn restore(&mut self, response: Response) {
        let is_known = self.responses.iter().any(|known| known.index == response.index);
        if !is_known && self.responses.len() < self.shared.config().client.responses_kept {
            self.responses.push_front(response);
        }
    }
}

impl Drop for Task {
    /// Of what is still open, an attempt may be under way.
    fn drop(&mut self) {
        for (name, open) in std::mem::take(&mut self.open) {
            if let Some(waiter) = open.waiter {
                waiter.answer(name, Answer::Unknown { reason: None });
            }
        }
    }
}
