//! The callers: they write, repeat, cancel and read through gateways and learners, and pass every
//! answer to the oracle.

use std::collections::BTreeMap;

use bytes::Bytes;
use paxosd::paxos::client::Answer;
use paxosd::paxos::learner::ReadToken;
use paxosd::types::{IdempotencyKey, Index, LearnerId, Name, NodeId};
use rand::RngExt;

use crate::chance::{Chance, Of};
use crate::host::{Arrival, Names};
use crate::oracle::OperationId;
use crate::trace::Kind;
use crate::world::{Happening, World};

/// How far a caller of an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    /// It was told that the outcome is not known yet.
    InDoubt,
    /// It was answered for good, or its gateway is gone.
    Ended,
}

#[derive(Debug)]
struct Call {
    gateway: NodeId,
    progress: Progress,
    is_probe: bool,
}

#[derive(Debug)]
struct Read {
    /// The highest index that had been answered when it began.
    floor: Index,
    learner: NodeId,
    is_probe: bool,
}

/// What the callers are about.
#[derive(Debug, Default)]
pub(crate) struct Workload {
    /// Faults are over, and so are new operations beside the probes.
    pub(crate) is_quiet: bool,
    calls: BTreeMap<OperationId, Call>,
    names: Names,
    /// Names to cancel.
    recent: Vec<Name>,
    /// Writes with a key, to be repeated.
    keyed: Vec<(IdempotencyKey, Vec<Bytes>)>,
    reads: BTreeMap<u64, Read>,
    /// How many operations began at each node.
    begun: BTreeMap<NodeId, u64>,
    probes_open: u64,
    has_given_up: bool,
}

impl Workload {
    /// The number of the next operation at a node, shown as the node's own number and the node.
    fn draw(&mut self, node: NodeId) -> u64 {
        let begun = self.begun.entry(node).or_default();
        *begun += 1;
        *begun * 100 + u64::from(node.get())
    }

    /// Whether every probe was answered.
    pub(crate) fn is_over(&self) -> bool {
        self.probes_open == 0
    }

    /// Nothing more is asked of this cluster.
    pub(crate) fn give_up(&mut self) {
        self.has_given_up = true;
        self.probes_open = 0;
    }

    pub(crate) fn has_given_up(&self) -> bool {
        self.has_given_up
    }

    /// The probes without an answer.
    pub(crate) fn missing(&self) -> Vec<String> {
        let writes = self
            .calls
            .values()
            .filter(|call| call.is_probe && call.progress != Progress::Ended)
            .map(|call| format!("a write through gateway {}", call.gateway));
        let reads = self
            .reads
            .values()
            .filter(|read| read.is_probe)
            .map(|read| format!("a read at learner {}", read.learner));
        writes.chain(reads).collect()
    }
}

impl World {
    /// A caller does something at a gateway, and thinks about the next.
    pub(crate) fn on_think(&mut self, gateway: NodeId) {
        if self.workload.is_quiet {
            return;
        }
        let number = self.workload.draw(gateway);
        let mut chance = self.chances.of(Of::Operation(number));
        let pause = self.options.think.mul_f64(chance.random_range(0.1..1.9));
        self.schedule(pause, Happening::Think(gateway));
        if !self.plan.keeps_operation(number) {
            return;
        }
        if chance.random_ratio(1, self.options.reads_one_in) {
            self.begin_read(number, &mut chance);
        } else if !self.is_up(gateway) {
            // The caller meets a closed door.
        } else if chance.random_ratio(1, self.options.cancels_one_in) {
            self.cancel(gateway, number, &mut chance);
        } else {
            self.write(gateway, number, false);
        }
    }

    /// Callers began an operation.
    fn on_begun(&mut self, number: u64) {
        if let Some(schedule) = self.trace.schedule() {
            schedule.operations.push(number);
        }
    }

    fn write(&mut self, gateway: NodeId, number: u64, is_probe: bool) {
        let padding_max = self.options.padding_max;
        let mut chance = self.chances.of(Of::Operation(number)).fork(1);
        let id = OperationId(number);
        let repeats = !is_probe
            && !self.workload.keyed.is_empty()
            && chance.random_ratio(1, self.options.repeats_one_in);
        let (key, values) = if repeats {
            let nth = chance.random_range(0..self.workload.keyed.len());
            let Some((key, values)) = self.workload.keyed.get(nth).cloned() else { return };
            // Now and then a caller uses a key for something else.
            let differs = chance.random_bool(0.1);
            let values =
                if differs { new_values(number, padding_max, &mut chance) } else { values };
            (Some(key), values)
        } else {
            let is_keyed = chance.random_bool(0.25);
            let key = is_keyed.then(|| IdempotencyKey::of(&number.to_le_bytes()));
            let values = new_values(number, padding_max, &mut chance);
            if let Some(key) = key {
                self.workload.keyed.push((key, values.clone()));
            }
            (key, values)
        };
        self.oracle.on_submit(id, key, values.clone());
        self.workload.calls.insert(id, Call { gateway, progress: Progress::Waiting, is_probe });
        let deadline = self.now + chance.random_range(self.options.patience.clone());
        self.on_begun(number);
        self.trace.note(self.now, Some(gateway), (Kind::Writes, &[number]), || {
            format!("is asked to write operation {number}, key {key:?}, {} values", values.len())
        });
        self.give(gateway, Arrival::Submit { id, values, key, deadline });
    }

    fn cancel(&mut self, gateway: NodeId, number: u64, chance: &mut Chance) {
        // Mostly one of the newest, whose outcome is open.
        let newest = chance.random_range(1..=20);
        let from = self.workload.recent.len().saturating_sub(newest);
        let nth = chance.random_range(from..=self.workload.recent.len());
        let Some(&target) = self.workload.recent.get(nth) else { return };
        let id = OperationId(number);
        let call = Call { gateway, progress: Progress::Waiting, is_probe: false };
        self.workload.calls.insert(id, call);
        let deadline = self.now + chance.random_range(self.options.patience.clone());
        self.on_begun(number);
        self.trace.note(self.now, Some(gateway), (Kind::Cancels, &[number]), || {
            format!("is asked to cancel {target} as operation {number}")
        });
        self.give(gateway, Arrival::Cancel { id, target, deadline });
    }

    pub(crate) fn probe_write(&mut self, gateway: NodeId) {
        self.workload.probes_open += 1;
        let number = self.workload.draw(gateway);
        self.write(gateway, number, true);
    }

    pub(crate) fn probe_read(&mut self, learner: NodeId) {
        self.workload.probes_open += 1;
        let token = self.workload.draw(learner);
        let mut chance = self.chances.of(Of::Operation(token));
        self.read(learner, token, true, &mut chance);
    }

    fn begin_read(&mut self, token: u64, chance: &mut Chance) {
        if let Some(learner) = chance.any(self.learners().into_iter().map(LearnerId::node)) {
            self.on_begun(token);
            self.read(learner, token, false, chance);
        }
    }

    fn read(&mut self, learner: NodeId, token: u64, is_probe: bool, chance: &mut Chance) {
        let floor = self.oracle.answered();
        self.workload.reads.insert(token, Read { floor, learner, is_probe });
        self.trace.note(self.now, Some(learner), (Kind::Reads, &[token]), || {
            format!("will read {token}")
        });
        let after = chance.random_range(self.options.latency.clone());
        self.schedule(after, Happening::Read { learner, token });
        if !is_probe {
            let after = chance.random_range(self.options.patience.clone());
            self.schedule(after, Happening::ReadForgotten { learner, token });
        }
    }

    pub(crate) fn on_read(&mut self, learner: NodeId, token: u64) {
        self.give(learner, Arrival::Read(ReadToken(token)));
    }

    pub(crate) fn on_read_answered(&mut self, learner: NodeId, token: u64, index: Index) {
        let Some(read) = self.workload.reads.remove(&token) else { return };
        self.trace.note(self.now, Some(learner), (Kind::Serves, &[token, index.get()]), || {
            format!("serves read {token} at {index}, floor {}", read.floor)
        });
        self.oracle.on_read(token, LearnerId(learner), read.floor, index);
        self.counters.reads += 1;
        if read.is_probe {
            self.workload.probes_open = self.workload.probes_open.saturating_sub(1);
        }
    }

    pub(crate) fn on_read_forgotten(&mut self, learner: NodeId, token: u64) {
        if self.workload.reads.remove(&token).is_some() {
            self.give(learner, Arrival::Forget(ReadToken(token)));
        }
    }

    /// A gateway named an operation.
    pub(crate) fn on_named(&mut self, id: OperationId, name: Name) {
        self.trace.note(self.now, None, (Kind::Names, &[id.0]), || {
            format!("operation {} is {name}", id.0)
        });
        self.workload.names.insert(name, id);
        self.workload.recent.push(name);
    }

    /// A gateway took no operation: too many are open.
    pub(crate) fn on_turned(&mut self, id: OperationId) {
        self.end(id);
    }

    /// A gateway answers.
    pub(crate) fn on_done(&mut self, gateway: NodeId, name: Name, answer: &Answer) {
        let Some(&id) = self.workload.names.get(&name) else {
            self.oracle.accuse("answers are asked for", format!("{name} at {gateway}"));
            return;
        };
        self.trace.note(self.now, Some(gateway), (Kind::Answers, &[id.0]), || {
            format!("answers operation {}: {answer:?}", id.0)
        });
        self.oracle.on_answer(id, answer);
        let Some(call) = self.workload.calls.get_mut(&id) else { return };
        let is_doubt = matches!(answer, Answer::Unknown { .. });
        let is_due = match call.progress {
            Progress::Waiting => true,
            Progress::InDoubt => !is_doubt,
            Progress::Ended => false,
        };
        if !is_due {
            self.oracle.accuse("answered once", format!("operation {id:?} again: {answer:?}"));
            return;
        }
        if is_doubt {
            call.progress = Progress::InDoubt;
            return;
        }
        if matches!(answer, Answer::Applied { .. }) {
            self.counters.writes += 1;
        }
        let is_probe = call.is_probe;
        let is_served = matches!(answer, Answer::Applied { .. } | Answer::Repeated { .. });
        self.end(id);
        if is_probe && !is_served {
            // Others may have been first: the caller tries again.
            self.probe_write(gateway);
        }
    }

    fn end(&mut self, id: OperationId) {
        let Some(call) = self.workload.calls.get_mut(&id) else { return };
        call.progress = Progress::Ended;
        if call.is_probe {
            self.workload.probes_open = self.workload.probes_open.saturating_sub(1);
        }
    }

    /// A gateway's callers lose their connections with it.
    pub(crate) fn on_gateway_stopped(&mut self, gateway: NodeId) {
        let calls = self.workload.calls.values_mut().filter(|call| call.gateway == gateway);
        calls.for_each(|call| call.progress = Progress::Ended);
    }
}

fn new_values(number: u64, padding_max: usize, chance: &mut Chance) -> Vec<Bytes> {
    let count = if chance.random_bool(0.7) { 1 } else { chance.random_range(2..=4) };
    let padding = "x".repeat(chance.random_range(0..=padding_max));
    (0..count)
        .map(|nth| Bytes::from(format!("{{\"op\":{number},\"nth\":{nth},\"pad\":\"{padding}\"}}")))
        .collect()
}
