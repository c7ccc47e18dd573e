//! The callers of a load: each asks, waits for the answer, and asks again, on a connection of its
//! own; all on one thread, so that the load tool takes little from the machine that it measures.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::tally::{Outcome, Tally};
use super::work::Requests;
use crate::cli::endpoint::Endpoint;

/// How long a caller rests whose request failed, so that a cluster that is down is not hammered.
const REST: Duration = Duration::from_millis(10);

/// How long a node may take beyond the deadline that it was told.
const MARGIN: Duration = Duration::from_millis(500);

/// Deals out the requests: which number is next, and when it is due.
#[derive(Debug)]
pub(super) struct Schedule {
    /// When the load begins.
    pub(super) start: Instant,
    /// When it ends, if by time.
    pub(super) end: Option<Instant>,
    /// After how many requests it ends, if by count.
    pub(super) requests: Option<u64>,
    /// Requests a second, in an open loop.
    pub(super) rate: Option<u64>,
    /// How many were dealt out.
    pub(super) dealt: Cell<u64>,
    /// Set when somebody wants an end.
    pub(super) is_over: Cell<bool>,
}

impl Schedule {
    /// The next request's number, and from when on its latency counts; `None` at the end.
    async fn next(&self) -> Option<(u64, Instant)> {
        let number = self.dealt.get();
        let now = Instant::now();
        let due = self.due(number).unwrap_or(now);
        let is_past = self.end.is_some_and(|end| due.max(now) >= end)
            || self.requests.is_some_and(|requests| number >= requests);
        if is_past || self.is_over.get() {
            return None;
        }
        self.dealt.set(number + 1);
        if due <= now {
            return Some((number, due));
        }
        sleep_until(due).await;
        // A caller that was free in time is not to blame for the timer, which comes a little late.
        Some((number, Instant::now()))
    }

    /// When a request is due in an open loop.
    fn due(&self, number: u64) -> Option<Instant> {
        let rate = self.rate?;
        let (seconds, rest) = (number / rate, number % rate);
        let nanos = rest.saturating_mul(1_000_000_000) / rate;
        Some(self.start + Duration::from_secs(seconds) + Duration::from_nanos(nanos))
    }
}

/// What all callers share.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) requests: Requests,
    pub(super) patience: Duration,
    pub(super) schedule: Schedule,
    pub(super) tally: RefCell<Tally>,
}

/// Runs `callers` until the schedule ends. To be called within a [`tokio::task::LocalSet`].
pub(super) async fn run(load: &Rc<Load>, callers: u32) {
    let mut tasks = JoinSet::new();
    for number in 0..usize::try_from(callers).unwrap_or(usize::MAX) {
        tasks.spawn_local(call(Rc::clone(load), number));
    }
    while tasks.join_next().await.is_some() {}
}

async fn call(load: Rc<Load>, first: usize) {
    let mut nth = first;
    let mut line = None;
    while let Some((number, since)) = load.schedule.next().await {
        let Some(endpoint) = load.endpoints.get(nth % load.endpoints.len()) else { return };
        let asking = exchange(&load.requests, number, endpoint, &mut line);
        let outcome = match timeout(load.patience + MARGIN, asking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Setback::Lost("no answer in time")),
        };
        let (outcome, is_lost) = match outcome {
            Ok(()) => (Ok(()), false),
            Err(Setback::Refused(status)) => (Err(format!("status {status}")), false),
            Err(Setback::Lost(why)) => (Err(why.to_owned()), true),
        };
        let is_failed = outcome.is_err();
        load.note(number, since, outcome);
        if is_lost {
            line = None;
            nth += 1;
        }
        if is_failed {
            sleep(REST).await;
        }
    }
}

impl Load {
    fn note(&self, number: u64, since: Instant, outcome: Outcome) {
        let kind = self.requests.kind(number);
        self.tally.borrow_mut().note(kind, since, Instant::now(), outcome);
    }
}

/// What came of a request instead of a grant.
enum Setback {
    /// The node answered, with this status.
    Refused(u16),
    /// There is no answer, and the connection is of no use any more.
    Lost(&'static str),
}

/// A connection to a node.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    driver: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Line {
    async fn open(endpoint: &Endpoint) -> Result<Self, Setback> {
        const UNREACHABLE: Setback = Setback::Lost("cannot connect");
        let address = &endpoint.address;
        let stream = TcpStream::connect(address.to_string()).await.map_err(|_| UNREACHABLE)?;
        stream.set_nodelay(true).map_err(|_| UNREACHABLE)?;
        let opened = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|_| UNREACHABLE)?;
        let host = HeaderValue::try_from(address.to_string()).map_err(|_| UNREACHABLE)?;
        // Its end shows in the next request.
        let driver = spawn_local(async move { drop(connection.await) }).abort_handle();
        Ok(Self { sender, host, driver })
    }

    async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<(), Setback> {
        const BROKEN: Setback = Setback::Lost("connection broken");
        let answer = self.sender.send_request(request).await.map_err(|_| BROKEN)?;
        let status = answer.status();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| BROKEN)?;
        }
        if status.is_success() { Ok(()) } else { Err(Setback::Refused(status.as_u16())) }
    }
}

async fn exchange(
    requests: &Requests,
    number: u64,
    endpoint: &Endpoint,
    line: &mut Option<Line>,
) -> Result<(), Setback> {
    let line = match line {
        Some(line) if !line.sender.is_closed() => line,
        Some(_) | None => line.insert(Line::open(endpoint).await?),
    };
    line.sender.ready().await.map_err(|_| Setback::Lost("connection broken"))?;
    line.ask(requests.request(number, endpoint, &line.host)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: Option<u64>, requests: Option<u64>) -> Schedule {
        let (start, end) = (Instant::now(), None);
        Schedule { start, end, requests, rate, dealt: Cell::new(0), is_over: Cell::new(false) }
    }

    #[tokio::test]
    async fn an_open_loop_is_due_at_even_intervals_and_counts_from_then_what_is_late() {
        let mut schedule = schedule(Some(3), None);
        let begun = schedule.start.checked_sub(Duration::from_secs(2)).unwrap();
        schedule.start = begun;
        let due = |number| schedule.due(number).unwrap().duration_since(begun).as_micros();
        assert_eq!([0, 1, 3, 7].map(due), [0, 333_333, 1_000_000, 2_333_333]);
        // Two seconds in, nothing was asked yet: what is late counts from when it was due.
        for number in 0..3 {
            let since = schedule.due(number).unwrap();
            assert_eq!(schedule.next().await.unwrap(), (number, since));
        }
    }

    #[tokio::test]
    async fn a_schedule_ends_after_its_requests_or_when_it_is_told_to() {
        let counted = schedule(None, Some(2));
        assert!(counted.next().await.is_some() && counted.next().await.is_some());
        assert!(counted.next().await.is_none());
        let endless = schedule(None, None);
        assert!(endless.next().await.is_some());
        endless.is_over.set(true);
        assert!(endless.next().await.is_none());
    }
}
