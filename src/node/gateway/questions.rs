//! Reads that a gateway asks of a learner over their link, all that wait in one message.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::paxos::message::{Page, Question, Reading};
use crate::types::LearnerId;

/// Questions that may wait for answers; what comes beyond them goes over HTTP.
const WAITING_MAX: usize = 8192;

/// The questions of a gateway.
#[derive(Debug)]
pub(super) struct Questions {
    newest: u64,
    waiting: BTreeMap<u64, (LearnerId, oneshot::Sender<Option<Bytes>>)>,
    unsent: BTreeMap<LearnerId, Vec<Question>>,
}

impl Questions {
    /// Those of a gateway that starts. `first` is drawn: a learner that was stopped for a while may
    /// yet answer what the gateway asked in an earlier life, and that must fit no question of this
    /// one.
    pub(super) fn new(first: u64) -> Self {
        Self { newest: first, waiting: BTreeMap::new(), unsent: BTreeMap::new() }
    }

    /// Asks `learner` at the end of the turn.
    pub(super) fn ask(
        &mut self,
        learner: LearnerId,
        reading: Reading,
        reply: oneshot::Sender<Option<Bytes>>,
    ) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.retain(|_, (_, reply)| !reply.is_closed());
        }
        if self.waiting.len() >= WAITING_MAX {
            crate::node::answer(reply, None);
            return;
        }
        self.newest = self.newest.wrapping_add(1);
        let number = self.newest;
        self.waiting.insert(number, (learner, reply));
        self.unsent.entry(learner).or_default().push(Question { number, reading });
    }

    /// What is to be sent, a message a learner.
    pub(super) fn take(&mut self) -> BTreeMap<LearnerId, Vec<Question>> {
        std::mem::take(&mut self.unsent)
    }

    /// Tells who asked.
    pub(super) fn on_page(&mut self, Page { number, body }: Page) {
        let Some((_, reply)) = self.waiting.remove(&number) else { return };
        crate::node::answer(reply, body);
    }

    /// `learner` will not answer what it was asked.
    pub(super) fn on_down(&mut self, learner: LearnerId) {
        self.unsent.remove(&learner);
        let (gone, rest) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, (asked, _))| *asked == learner);
        self.waiting = rest;
        for (_, reply) in gone.into_values() {
            crate::node::answer(reply, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Index, NodeId};

    fn learner(id: u64) -> LearnerId {
        LearnerId(NodeId::new(id).unwrap())
    }

    fn ask(questions: &mut Questions, of: LearnerId) -> oneshot::Receiver<Option<Bytes>> {
        let (reply, told) = oneshot::channel();
        let reading = Reading { linearizable: true, after: Index::ZERO, from: None, limit: 1 };
        questions.ask(of, reading, reply);
        told
    }

    #[test]
    fn a_question_is_sent_once_and_answered_by_its_number() {
        let mut questions = Questions::new(0);
        let mut told = [ask(&mut questions, learner(7)), ask(&mut questions, learner(7))];
        let sent = questions.take();
        let numbers: Vec<u64> = sent[&learner(7)].iter().map(|it| it.number).collect();
        assert_eq!(numbers, [1, 2]);
        assert!(questions.take().is_empty());
        let body = Bytes::from_static(b"{}");
        questions.on_page(Page { number: 2, body: Some(body.clone()) });
        questions.on_page(Page { number: 2, body: None });
        questions.on_page(Page { number: 9, body: None });
        assert!(told[0].try_recv().is_err());
        assert_eq!(told[1].try_recv().unwrap(), Some(body));
        questions.on_page(Page { number: 1, body: None });
        assert_eq!(told[0].try_recv().unwrap(), None);
    }

    #[test]
    fn an_answer_to_an_earlier_life_fits_no_question_of_this_one() {
        let mut earlier = Questions::new(3);
        ask(&mut earlier, learner(7));
        let asked: Vec<Question> = earlier.take().into_values().flatten().collect();
        let mut questions = Questions::new(1 << 40);
        let mut told = ask(&mut questions, learner(7));
        for Question { number, .. } in asked {
            questions.on_page(Page { number, body: Some(Bytes::from_static(b"{}")) });
        }
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn what_a_lost_learner_was_asked_goes_elsewhere() {
        let mut questions = Questions::new(u64::MAX);
        let mut lost = ask(&mut questions, learner(7));
        let mut kept = ask(&mut questions, learner(8));
        questions.on_down(learner(7));
        assert_eq!(lost.try_recv().unwrap(), None);
        assert!(kept.try_recv().is_err());
        assert_eq!(questions.take().keys().copied().collect::<Vec<_>>(), [learner(8)]);
    }

    #[test]
    fn no_more_wait_than_may_but_those_who_have_gone_do_not_count() {
        let mut questions = Questions::new(0);
        let mut told: Vec<_> = (0..WAITING_MAX).map(|_| ask(&mut questions, learner(7))).collect();
        assert_eq!(ask(&mut questions, learner(7)).try_recv().unwrap(), None);
        told.truncate(WAITING_MAX / 2);
        assert!(ask(&mut questions, learner(7)).try_recv().is_err());
        assert_eq!(questions.waiting.len(), WAITING_MAX / 2 + 1);
    }
}
