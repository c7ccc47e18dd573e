//! Which news leave at once, and which with the next: every learner tells every gateway, and one
//! telling is enough.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::paxos::message::{Outbound, ToClient};
use crate::types::{Instant, LearnerId, NodeId};

/// How long news wait for a gateway that another learner tells first.
const SECOND_TELLING: Duration = Duration::from_millis(2);

/// The news of a learner. Each gateway has one that tells it at once; the others tell it a little
/// later and several things together, for the first may be slow or stuck.
#[derive(Debug)]
pub(super) struct Telling {
    me: NodeId,
    /// All learners, this one among them.
    learners: Vec<NodeId>,
    later: Vec<Outbound>,
    due_at: Option<Instant>,
}

impl Telling {
    pub(super) fn new(me: NodeId) -> Self {
        Self { me, learners: vec![me], later: Vec::new(), due_at: None }
    }

    pub(super) fn set_others(&mut self, others: &BTreeSet<LearnerId>) {
        self.learners = others.iter().map(|learner| learner.node()).collect();
        self.learners.push(self.me);
        self.learners.sort_unstable();
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due_at
    }

    /// Gives the message back if it is to leave now.
    pub(super) fn sort(
        &mut self,
        now: Instant,
        outbound: Outbound,
        is_up: impl Fn(NodeId) -> bool,
    ) -> Option<Outbound> {
        let Outbound::Client(gateway, ToClient::Notices { .. }) = &outbound else {
            return Some(outbound);
        };
        let first = self.first_to_tell(*gateway);
        if first == self.me || !is_up(first) {
            return Some(outbound);
        }
        self.due_at.get_or_insert(now + SECOND_TELLING);
        self.later.push(outbound);
        None
    }

    /// What is due at `now`.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Outbound> {
        if self.due_at.take_if(|at| *at <= now).is_none() {
            return Vec::new();
        }
        std::mem::take(&mut self.later)
    }

    fn first_to_tell(&self, gateway: NodeId) -> NodeId {
        let turn = usize::from(gateway.get()) % self.learners.len();
        self.learners.get(turn).copied().unwrap_or(self.me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn news(gateway: u64) -> Outbound {
        let notices = ToClient::Notices { learner: LearnerId(node(7)), notices: Vec::new() };
        Outbound::Client(node(gateway), notices)
    }

    #[test]
    fn every_gateway_is_told_at_once_by_one_learner_and_later_by_the_others() {
        let ids = [7, 8, 12];
        for gateway in 9..=11 {
            let at_once = ids.into_iter().filter(|&me| {
                let mut telling = Telling::new(node(me));
                telling.set_others(
                    &ids.map(|id| LearnerId(node(id)))
                        .into_iter()
                        .filter(|id| id.node() != node(me))
                        .collect(),
                );
                let start = Instant::default();
                let sorted = telling.sort(start, news(gateway), |_| true);
                let due_at = telling.deadline();
                assert_eq!(sorted.is_some(), due_at.is_none());
                if let Some(due_at) = due_at {
                    assert!(telling.due(start).is_empty());
                    assert_eq!(telling.due(due_at).len(), 1);
                    assert_eq!((telling.deadline(), telling.due(due_at).len()), (None, 0));
                }
                sorted.is_some()
            });
            assert_eq!(at_once.count(), 1);
        }
    }

    #[test]
    fn a_gateway_whose_first_learner_is_away_is_told_at_once() {
        let mut telling = Telling::new(node(7));
        telling.set_others(&BTreeSet::from([LearnerId(node(8))]));
        let now = Instant::default();
        assert!(telling.sort(now, news(9), |_| true).is_none());
        assert!(telling.sort(now, news(9), |it| it != node(8)).is_some());
    }
}
