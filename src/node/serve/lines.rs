//! Writes in bulk: `POST /send` with a value a line, answered a line for a line while both stream.
//!
//! ```text
//!  body ── Splitter ── Reader ── gateway          each line a command of its own
//!                        │ replies: LINES_IN_FLIGHT_MAX, in the order of the lines
//!                        └────── Writer ── answer
//! ```
//!
//! The reader takes no further line while the queue between the two is full, and the writer takes
//! none out of it while the caller takes no answers; so a caller who does not read is not read.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, EXPECT};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::gateway::{Submitted, Write, Written, key_of};
use super::{Answer, App, stopping};
use crate::http::body::{BodySender, DISCARD_BYTES_MAX, NDJSON, discard, incomplete};
use crate::http::lines::{Line, Splitter, Text};
use crate::http::{Body, Problem, Query};
use crate::types::IdempotencyKey;

/// Lines of one request whose answers are not written yet.
const LINES_IN_FLIGHT_MAX: usize = 256;

/// The first of them, whose replies go on at once: where one has to ask a learner for a value that
/// was applied before, or finds a queue full, the next need not wait behind it.
const LINES_AWAITED_MAX: usize = 16;

/// How long nothing may arrive while more is waited for. An empty line keeps a stream alive.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two attempts of a line that found a queue full.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// How long what is still sent to a stream that has ended is read and thrown away.
const DISCARD_TIMEOUT: Duration = Duration::from_millis(500);

/// Answers that are ready leave together, in about so many bytes.
const CHUNK_BYTES: usize = 16 << 10;

/// Chunks of answers that wait for the connection.
const CHUNKS_WAITING_MAX: usize = 4;

/// Gives the answer to one line, with its newline.
type Reply = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// The answer to a line whose value was taken.
#[derive(Serialize)]
struct LineBody<'a> {
    line: u64,
    #[serde(flatten)]
    written: &'a Written,
}

/// Why no more lines are taken.
enum End {
    /// The caller has gone.
    Gone,
    /// This is said in a last line.
    Failed(Problem),
}

/// Takes lines, and hands their values to the gateway.
struct Reader {
    app: Arc<App>,
    body: Incoming,
    splitter: Splitter,
    /// The number of the first line that is not taken.
    next_line: u64,
    /// Bytes of one value, under the configuration of the beginning.
    value_bytes_max: usize,
    /// The key of the header, of which every line gets its own.
    key: Option<Vec<u8>>,
    wait: bool,
    timeout_ms: Option<u64>,
    /// Room for the bytes of the lines in flight.
    room: Arc<Semaphore>,
    room_bytes_max: usize,
    replies: mpsc::Sender<Reply>,
    /// The node stops, or the body broke off: what waits for room waits no more.
    ending: CancellationToken,
}

/// Writes answers in the order of their lines.
struct Writer {
    replies: mpsc::Receiver<Reply>,
    /// The replies that come next.
    awaited: VecDeque<Awaited>,
    to: BodySender,
}

/// A reply out of the queue.
enum Awaited {
    /// It goes on.
    Pending(Reply),
    /// It has come, and waits for those before it.
    Ready(Vec<u8>),
}

impl App {
    pub(super) async fn send_lines(&self, request: Request<Incoming>) -> Answer {
        let query = Query::of(request.uri());
        let limits = self.shared.config().limits.clone();
        let (wait, timeout_ms) = (query.flag("wait", true)?, query.parse("timeout_ms")?);
        let key = key_of(request.headers())?.map(<[u8]>::to_vec);
        let is_waited_for = request.headers().contains_key(EXPECT);
        let (sender, replies) = mpsc::channel(LINES_IN_FLIGHT_MAX - LINES_AWAITED_MAX);
        let mut reader = Reader {
            app: Arc::new(self.clone()),
            body: request.into_body(),
            // A line may end in a carriage return too.
            splitter: Splitter::new(limits.value_bytes + 1),
            next_line: 1,
            value_bytes_max: limits.value_bytes,
            key,
            wait,
            timeout_ms,
            room: Arc::new(Semaphore::new(limits.request_bytes)),
            room_bytes_max: limits.request_bytes,
            replies: sender,
            ending: self.shared.closing.child_token(),
        };
        // `100 Continue` is only said while no answer has begun, so the body comes first there.
        let first = if is_waited_for { reader.chunk().await? } else { Some(Bytes::new()) };
        let (to, gone, body) = Body::channel(CHUNKS_WAITING_MAX);
        let writer = Writer { replies, awaited: VecDeque::new(), to };
        let writer = async move { gone.run_until_cancelled_owned(writer.run()).await };
        self.shared.tracker.spawn(async move { tokio::join!(reader.run(first), writer) });
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, NDJSON);
        Ok(response)
    }

    /// What becomes of a line. Where a queue is full it waits for room, as long as a write may
    /// take: many lines are no reason to refuse some.
    async fn line_settled(
        &self,
        mut submitted: Result<Submitted, Problem>,
        write: Write,
        ending: &CancellationToken,
    ) -> Result<Written, Problem> {
        let until = Instant::now() + self.patience(write.timeout_ms);
        loop {
            let settled = self.settled(submitted?, "value sent").await;
            let is_full =
                settled.as_ref().is_err_and(|it| it.status() == StatusCode::TOO_MANY_REQUESTS);
            if !is_full || ending.is_cancelled() {
                return settled;
            }
            sleep(FULL_PAUSE).await;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return settled;
            }
            let timeout_ms = Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            // What was refused so is certainly not applied, so it may have another name.
            submitted = self.submit(Write { timeout_ms, ..write.clone() }).await;
        }
    }
}

impl Reader {
    /// Takes lines, of which `first` is the beginning, until there are no more.
    async fn run(mut self, first: Option<Bytes>) {
        let closing = self.app.shared.closing.clone();
        // Between handing a line on, queueing its reply and counting it nothing is awaited, so none
        // is lost or counted twice where this ends.
        let ended = closing.run_until_cancelled(self.take_all(first)).await;
        let problem = match ended {
            Some(Ok(()) | Err(End::Gone)) => return,
            Some(Err(End::Failed(problem))) => {
                self.ending.cancel();
                problem
            }
            None => stopping(),
        };
        let number = self.next_line;
        let hint = if self.key.is_some() {
            // The keys go by the numbers of the lines.
            format!(
                "nothing from line {number} on was taken: send all lines again under the same key, \
                 and none is applied twice"
            )
        } else {
            format!("nothing from line {number} on was taken: send it again")
        };
        let last = refused(number, super::gateway::not_applied(problem).hint(hint));
        let Self { mut body, replies, .. } = self;
        // The writer ends before this one only when the caller has gone.
        drop(replies.send(Box::pin(std::future::ready(last))).await);
        drop(replies);
        // A caller who is still sending would meet a cut connection before the answers.
        drop(timeout(DISCARD_TIMEOUT, discard(&mut body, DISCARD_BYTES_MAX)).await);
    }

    async fn take_all(&mut self, first: Option<Bytes>) -> Result<(), End> {
        let mut next = first;
        while let Some(mut chunk) = next {
            while let Some(line) = self.splitter.next(&mut chunk) {
                self.take(&line).await?;
                self.next_line = line.number + 1;
            }
            next = self.chunk().await.map_err(End::Failed)?;
        }
        if let Some(line) = self.splitter.finish() {
            self.take(&line).await?;
            self.next_line = line.number + 1;
        }
        Ok(())
    }

    /// The next bytes; `None` at the end.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let frame = timeout(IDLE_TIMEOUT, self.body.frame());
            match frame.await.map_err(|_| idle())? {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(incomplete(&error)),
            }
        }
    }

    /// Hands a line on, once there is room for it.
    async fn take(&mut self, line: &Line) -> Result<(), End> {
        let reply = match value_of(line, self.value_bytes_max) {
            Ok(None) => return Ok(()),
            Ok(Some(value)) => {
                let bytes = value.len().min(self.room_bytes_max);
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                let room = self.room.clone().acquire_many_owned(bytes).await;
                let room = room.map_err(|_| End::Gone)?;
                let place = self.replies.reserve().await.map_err(|_| End::Gone)?;
                let write = Write {
                    values: vec![value],
                    key: self.key.as_ref().map(|key| key_of_line(key, line.number)),
                    wait: self.wait,
                    timeout_ms: self.timeout_ms,
                    is_list: false,
                };
                let submitted = self.app.submit(write.clone()).await;
                let reply = self.reply(line.number, submitted, write, room);
                place.send(reply);
                return Ok(());
            }
            Err(problem) => refused(line.number, super::gateway::not_applied(problem)),
        };
        let reply: Reply = Box::pin(std::future::ready(reply));
        self.replies.send(reply).await.map_err(|_| End::Gone)
    }

    /// The reply to a line that was handed on; `room` is held until then.
    fn reply(
        &self,
        number: u64,
        submitted: Result<Submitted, Problem>,
        write: Write,
        room: OwnedSemaphorePermit,
    ) -> Reply {
        let (app, ending) = (self.app.clone(), self.ending.clone());
        Box::pin(async move {
            let settled = app.line_settled(submitted, write, &ending).await;
            drop(room);
            match settled {
                Ok(written) => accepted(number, &written),
                Err(problem) => refused(number, problem),
            }
        })
    }
}

impl Writer {
    async fn run(mut self) {
        let mut text = Vec::new();
        loop {
            let reply = tokio::select! {
                biased;
                reply = self.next(), if text.len() < CHUNK_BYTES => reply,
                // What is ready leaves before what is not is waited for.
                () = std::future::ready(()), if !text.is_empty() => {
                    let chunk = Bytes::from(std::mem::take(&mut text));
                    if self.to.send_data(chunk).await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            match reply {
                Some(reply) => text.extend_from_slice(&reply),
                None => break,
            }
        }
        if !text.is_empty() {
            // Whether the caller still reads changes nothing any more.
            drop(self.to.send_data(Bytes::from(text)).await);
        }
    }

    /// The next answer; it may be given up and asked for again.
    async fn next(&mut self) -> Option<Vec<u8>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let mut has_ended = false;
        while self.awaited.len() < LINES_AWAITED_MAX && !has_ended {
            match self.replies.poll_recv(cx) {
                Poll::Ready(Some(reply)) => self.awaited.push_back(Awaited::Pending(reply)),
                Poll::Ready(None) => has_ended = true,
                Poll::Pending => break,
            }
        }
        for awaited in &mut self.awaited {
            if let Awaited::Pending(reply) = awaited
                && let Poll::Ready(text) = reply.as_mut().poll(cx)
            {
                *awaited = Awaited::Ready(text);
            }
        }
        match self.awaited.pop_front() {
            Some(Awaited::Ready(text)) => Poll::Ready(Some(text)),
            Some(pending) => {
                self.awaited.push_front(pending);
                Poll::Pending
            }
            None if has_ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

fn accepted(line: u64, written: &Written) -> Vec<u8> {
    let body = LineBody { line, written };
    let mut text = serde_json::to_vec(&body).expect("answers are plain structures");
    text.push(b'\n');
    text
}

fn refused(line: u64, problem: Problem) -> Vec<u8> {
    let mut text = problem.member("line", line).to_json().to_vec();
    text.push(b'\n');
    text
}

/// The problem of a body of which nothing arrives any more.
fn idle() -> Problem {
    Problem::request_timeout(IDLE_TIMEOUT)
        .detail(format!("nothing arrived for {} ms", IDLE_TIMEOUT.as_millis()))
}

/// The key of one line under the key of its request: the same when both are sent again, and a
/// single write may use it as well.
fn key_of_line(key: &[u8], number: u64) -> IdempotencyKey {
    IdempotencyKey::of(&[key, b"/", number.to_string().as_bytes()].concat())
}

/// The value that a line is, as it was written; `None` of an empty line.
///
/// # Errors
/// 400 that names line and column, 413 over the limit of a value.
fn value_of(line: &Line, bytes_max: usize) -> Result<Option<Bytes>, Problem> {
    let number = line.number;
    let too_long = |bytes: u64| {
        let most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        Problem::payload_too_large("limits.value_bytes", most, Some(bytes))
            .detail(format!("line {number} has {bytes} bytes; limits.value_bytes allows {most}"))
    };
    let text = match &line.text {
        Text::Whole(text) => text,
        Text::TooLong { bytes } => return Err(too_long(*bytes)),
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let value: &RawValue = serde_json::from_slice(text).map_err(|error| {
        // It knows this line alone, as line 1.
        let said = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let what = said.strip_suffix(&place).unwrap_or(&said);
        Problem::bad_request("Malformed JSON")
            .detail(format!("{what} at line {number} column {}", error.column()))
            .member("column", error.column())
    })?;
    if value.get() == "null" {
        return Err(Problem::bad_request("Value required").hint("any JSON value but null"));
    }
    if value.get().len() > bytes_max {
        return Err(too_long(u64::try_from(value.get().len()).unwrap_or(u64::MAX)));
    }
    // Copied, since what is kept of it must not keep its whole chunk.
    Ok(Some(Bytes::copy_from_slice(value.get().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8]) -> Line {
        Line { number: 7, text: Text::Whole(Bytes::copy_from_slice(text)) }
    }

    fn refusal(text: &[u8]) -> String {
        let problem = value_of(&line(text), 16).unwrap_err();
        String::from_utf8(refused(7, problem)).unwrap()
    }

    #[test]
    fn a_line_is_one_value_as_it_was_written() {
        for (text, value) in [
            ("1.10", "1.10"),
            (" \"ä\" \r", "\"ä\""),
            ("{\"value\": 1}", "{\"value\": 1}"),
            ("[1, 2]", "[1, 2]"),
            ("\"0123456789abcd\"\r", "\"0123456789abcd\""),
        ] {
            assert_eq!(value_of(&line(text.as_bytes()), 16).unwrap().unwrap(), value);
        }
        for empty in ["", " \t\r"] {
            assert_eq!(value_of(&line(empty.as_bytes()), 16).unwrap(), None);
        }
    }

    #[test]
    fn a_bad_line_is_refused_with_its_number_and_the_column() {
        assert_eq!(
            refusal(b"{\"a\": }"),
            concat!(
                r#"{"type":"urn:paxosd:problem:bad-request","title":"Bad request","status":400,"#,
                r#""detail":"expected value at line 7 column 7","error":"Malformed JSON","#,
                "\"column\":7,\"line\":7}\n"
            )
        );
        assert!(refusal(b"1 2").contains(r#""detail":"trailing characters at line 7 column 3""#));
        assert!(refusal(b"\"\xff\"").contains(r#""error":"Malformed JSON","column":"#));
        assert!(refusal(b"null").contains(r#""error":"Value required""#));
    }

    #[test]
    fn a_line_over_the_limit_is_refused_with_its_size() {
        let detail = r#""detail":"line 7 has 17 bytes; limits.value_bytes allows 16""#;
        assert!(refusal(b"\"0123456789abcde\"").contains(detail));
        let skipped = Line { number: 7, text: Text::TooLong { bytes: 17 } };
        assert!(value_of(&skipped, 16).unwrap_err().to_string().starts_with("413 line 7 has 17"));
    }

    #[test]
    fn every_line_has_a_key_of_its_own_that_a_single_write_can_use() {
        assert_eq!(key_of_line(b"order", 12), IdempotencyKey::of(b"order/12"));
    }

    #[tokio::test]
    async fn answers_leave_in_the_order_of_their_lines_and_those_that_are_ready_together() {
        let (sender, replies) = mpsc::channel::<Reply>(8);
        let (to, _, mut body) = Body::channel(CHUNKS_WAITING_MAX);
        let (late, waits) = tokio::sync::oneshot::channel::<Vec<u8>>();
        let ready = |text: &str| -> Reply { Box::pin(std::future::ready(text.into())) };
        sender.send(ready("1\n")).await.unwrap();
        sender.send(ready("2\n")).await.unwrap();
        sender.send(Box::pin(async { waits.await.unwrap() })).await.unwrap();
        sender.send(ready("4\n")).await.unwrap();
        drop(sender);
        let writer = tokio::spawn(Writer { replies, awaited: VecDeque::new(), to }.run());
        let mut chunk = async || body.frame().await.map(|it| it.unwrap().into_data().unwrap());
        assert_eq!(chunk().await.unwrap(), "1\n2\n");
        late.send(b"3\n".to_vec()).unwrap();
        assert_eq!(chunk().await.unwrap(), "3\n4\n");
        assert_eq!(chunk().await, None);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_late_answer_does_not_keep_the_next_ones_from_going_on() {
        let (sender, replies) = mpsc::channel::<Reply>(LINES_AWAITED_MAX + 1);
        let (to, _, mut body) = Body::channel(CHUNKS_WAITING_MAX);
        let begun = Arc::new(tokio::sync::Barrier::new(LINES_AWAITED_MAX));
        for _ in 0..LINES_AWAITED_MAX {
            let begun = begun.clone();
            let reply = async move {
                // No reply comes before all have begun.
                begun.wait().await;
                b"x".to_vec()
            };
            sender.send(Box::pin(reply)).await.unwrap();
        }
        drop(sender);
        let writer = tokio::spawn(Writer { replies, awaited: VecDeque::new(), to }.run());
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            text.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        assert_eq!(text, [b'x'; LINES_AWAITED_MAX]);
        writer.await.unwrap();
    }
}
