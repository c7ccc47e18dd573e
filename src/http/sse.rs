//! Server-sent events: an answer that goes on until its source or its reader ends.

use std::fmt::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::body::Body;

/// How long a stream is silent before a comment shows that it lives; proxies cut silent ones.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// Events written in one go when many wait.
const EVENTS_PER_CHUNK_MAX: usize = 64;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// What the reader sends back as `Last-Event-ID` to go on after this one.
    pub id: Option<u64>,
    /// Its kind; readers take none as `message`.
    pub event: Option<&'static str>,
    /// Its text, usually JSON; it may have several lines.
    pub data: String,
}

impl Event {
    fn write(&self, to: &mut String) {
        let written = (|| -> fmt::Result {
            if let Some(id) = self.id {
                writeln!(to, "id: {id}")?;
            }
            if let Some(event) = self.event {
                writeln!(to, "event: {event}")?;
            }
            // A carriage return ends a line for readers, so it must not stand inside of one.
            for line in self.data.split(['\n', '\r']) {
                writeln!(to, "data: {line}")?;
            }
            writeln!(to)
        })();
        written.expect("writing to a string cannot fail");
    }
}

/// The answer that streams `events`. It ends when their sender is gone, or on shutdown. When the
/// reader is gone the receiver is dropped, which the sender sees at once.
#[must_use]
pub fn respond(events: mpsc::Receiver<Event>, shutdown: &CancellationToken) -> Response<Body> {
    let mut heartbeat = interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let shutdown = Box::pin(shutdown.clone().cancelled_owned());
    let mut response = Response::new(Body::events(EventStream { events, heartbeat, shutdown }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Where a reader that comes back left off: its `Last-Event-ID`, if it is a number.
#[must_use]
pub fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

/// Bytes of an event that a reader takes at most.
const READ_BYTES_MAX: usize = 1 << 20;

/// An event longer than a reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event has more than {READ_BYTES_MAX} bytes")]
pub struct TooLong;

/// Takes a stream of events apart, however its bytes are cut into chunks.
#[derive(Debug, Default)]
pub struct Reader {
    /// The line that is not whole yet.
    line: Vec<u8>,
    /// The data of the event that is not whole yet.
    data: Option<String>,
}

impl Reader {
    /// Takes the next bytes, and gives the data of the events that are whole now.
    ///
    /// # Errors
    /// When an event is too long; then the rest of the stream makes no sense.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut whole = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                let so_far = self.data.as_ref().map_or(0, String::len);
                if self.line.len() + so_far >= READ_BYTES_MAX {
                    return Err(TooLong);
                }
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            if line.is_empty() {
                whole.extend(self.data.take());
            } else if let Some(data) = line.strip_prefix("data:") {
                let data = data.strip_prefix(' ').unwrap_or(data);
                match &mut self.data {
                    Some(before) => {
                        before.push('\n');
                        before.push_str(data);
                    }
                    None => self.data = Some(data.to_owned()),
                }
            }
        }
        Ok(whole)
    }
}

/// The body of such an answer.
#[derive(Debug)]
pub(super) struct EventStream {
    events: mpsc::Receiver<Event>,
    heartbeat: Interval,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl EventStream {
    /// The text of all events that wait, or of a heartbeat.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.shutdown.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let mut waiting = Vec::new();
        match self.events.poll_recv_many(cx, &mut waiting, EVENTS_PER_CHUNK_MAX) {
            Poll::Ready(0) => Poll::Ready(None),
            Poll::Ready(_) => {
                self.heartbeat.reset();
                let mut text = String::new();
                for event in waiting {
                    event.write(&mut text);
                }
                Poll::Ready(Some(Bytes::from(text)))
            }
            Poll::Pending => {
                ready!(self.heartbeat.poll_tick(cx));
                Poll::Ready(Some(Bytes::from_static(b": still here\n\n")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Answer, Raw, Server, in_time};
    use http_body_util::BodyExt;
    use std::sync::Mutex;

    fn event(id: u64, data: &str) -> Event {
        Event { id: Some(id), event: Some("value"), data: data.to_owned() }
    }

    async fn next(response: &mut Response<Body>) -> Option<String> {
        let frame = response.body_mut().frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn events_that_wait_leave_together_and_the_stream_ends_with_its_source() {
        let (sender, receiver) = mpsc::channel(4);
        let mut response = respond(receiver, &CancellationToken::new());
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        sender.send(event(1, "a")).await.unwrap();
        sender.send(event(2, "b\nc")).await.unwrap();
        drop(sender);
        assert_eq!(
            next(&mut response).await.unwrap(),
            "id: 1\nevent: value\ndata: a\n\nid: 2\nevent: value\ndata: b\ndata: c\n\n"
        );
        assert_eq!(next(&mut response).await, None);
    }

    #[tokio::test]
    async fn a_shutdown_ends_the_stream() {
        let (_sender, receiver) = mpsc::channel(4);
        let shutdown = CancellationToken::new();
        let mut response = respond(receiver, &shutdown);
        shutdown.cancel();
        assert_eq!(next(&mut response).await, None);
    }

    #[tokio::test]
    async fn a_reader_that_leaves_is_noticed_at_once() {
        let (sender, receiver) = mpsc::channel(4);
        let receiver = Mutex::new(Some(receiver));
        let server = Server::start(Answer(move |_| {
            let receiver = receiver.lock().unwrap().take().unwrap();
            async { respond(receiver, &CancellationToken::new()) }
        }))
        .await;
        let mut raw = Raw::open(&server.address).await;
        raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        sender.send(event(1, "a")).await.unwrap();
        raw.read_answer().await;
        drop(raw);
        in_time(sender.closed()).await;
        server.stop().await;
    }

    #[test]
    fn a_silent_stream_shows_that_it_lives() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (_sender, receiver) = mpsc::channel::<Event>(4);
            let mut stream = EventStream {
                events: receiver,
                heartbeat: tokio::time::interval(Duration::from_millis(5)),
                shutdown: Box::pin(CancellationToken::new().cancelled_owned()),
            };
            let chunk = std::future::poll_fn(|cx| stream.poll_next(cx)).await.unwrap();
            assert_eq!(chunk, ": still here\n\n");
        });
    }

    #[test]
    fn what_is_written_is_read_however_it_is_cut() {
        let mut text = ": still here\n\n".to_owned();
        for data in ["{\"größer\":1}", "two\nlines", ""] {
            event(7, data).write(&mut text);
        }
        for size in [1, 3, 1000] {
            let mut reader = Reader::default();
            let chunks = text.as_bytes().chunks(size);
            let read: Vec<String> = chunks.flat_map(|it| reader.read(it).unwrap()).collect();
            assert_eq!(read, ["{\"größer\":1}", "two\nlines", ""]);
        }
        let mut reader = Reader::default();
        assert!(reader.read(&vec![b'x'; READ_BYTES_MAX]).is_ok());
        assert_eq!(reader.read(b"x"), Err(TooLong));
    }

    #[test]
    fn a_reader_that_comes_back_says_where_it_left_off() {
        let mut headers = HeaderMap::new();
        assert_eq!(last_event_id(&headers), None);
        headers.insert("last-event-id", HeaderValue::from_static("41"));
        assert_eq!(last_event_id(&headers), Some(41));
    }
}
