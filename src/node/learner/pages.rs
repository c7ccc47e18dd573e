//! Answers to reads: as JSON, and on their way to the gateways that asked over their links.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use super::Plan;
use crate::paxos::message::Page;
use crate::paxos::store::ValueAt;
use crate::types::NodeId;

/// A longer answer goes over HTTP: on a link it would hold up the protocol.
const SHORT_BYTES_MAX: usize = 16 << 10;

/// Bytes that a page takes in a message beside its values.
const PAGE_BYTES: usize = 32;

/// The body of a page, written from the stored JSON without parsing it again.
pub(in crate::node) fn page(plan: &Plan, values: &[ValueAt]) -> Bytes {
    let bytes: usize = values.iter().map(|value| value.value.len() + 1).sum();
    let mut body = BytesMut::with_capacity(bytes + 160);
    body.put_slice(b"{\"values\":[");
    for (position, value) in values.iter().enumerate() {
        if position > 0 {
            body.put_u8(b',');
        }
        body.put_slice(&value.value);
    }
    let first = values.first().map_or(plan.from, |value| value.index);
    let next = values.last().map_or(first, |value| value.index.next());
    let consistency = if plan.linearizable { "linearizable" } else { "stale" };
    let tail = format!(
        "],\"first_index\":{first},\"next_index\":{next},\"delivered_index\":{},\
         \"consistency\":\"{consistency}\"}}",
        plan.delivered
    );
    body.put_slice(tail.as_bytes());
    body.freeze()
}

/// The answer to a question; one without values where they are on disk, or many.
pub(super) fn short(number: u64, plan: &Plan) -> Page {
    let values = plan.mark.is_none().then(|| plan.in_memory());
    let body = values.map(|values| page(plan, &values));
    Page { number, body: body.filter(|body| body.len() <= SHORT_BYTES_MAX) }
}

/// Pages that leave at the end of the turn.
#[derive(Debug, Default)]
pub(super) struct Pages(BTreeMap<NodeId, Vec<Page>>);

impl Pages {
    /// Adds a page for `gateway`.
    pub(super) fn push(&mut self, gateway: NodeId, page: Page) {
        self.0.entry(gateway).or_default().push(page);
    }

    /// Takes them all, in messages of about `bytes_max` bytes at most.
    pub(super) fn take(&mut self, bytes_max: usize) -> Vec<(NodeId, Vec<Page>)> {
        let mut messages = Vec::new();
        for (gateway, pages) in std::mem::take(&mut self.0) {
            let (mut message, mut bytes) = (Vec::new(), 0);
            for page in pages {
                let more = page.body.as_ref().map_or(0, Bytes::len) + PAGE_BYTES;
                if bytes + more > bytes_max && !message.is_empty() {
                    messages.push((gateway, std::mem::take(&mut message)));
                    bytes = 0;
                }
                bytes += more;
                message.push(page);
            }
            messages.push((gateway, message));
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_leave_in_messages_that_fit_into_a_frame() {
        let gateway = NodeId::new(9).unwrap();
        let mut pages = Pages::default();
        for number in 0..10 {
            let body = (number != 3).then(|| Bytes::from(vec![b'x'; 100]));
            pages.push(gateway, Page { number, body });
        }
        let messages = pages.take(300);
        let lengths: Vec<usize> = messages.iter().map(|(_, pages)| pages.len()).collect();
        assert_eq!(lengths, [2, 3, 2, 2, 1]);
        let numbers = messages.iter().flat_map(|(_, pages)| pages).map(|page| page.number);
        assert!(numbers.eq(0..10));
        assert!(pages.take(300).is_empty());
    }

    #[test]
    fn a_page_longer_than_any_message_goes_alone() {
        let mut pages = Pages::default();
        for number in 0..2 {
            let body = Some(Bytes::from(vec![b'x'; 100]));
            pages.push(NodeId::new(9).unwrap(), Page { number, body });
        }
        assert_eq!(pages.take(10).len(), 2);
    }
}
