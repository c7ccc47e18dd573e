//! Bodies: requests read under a limit, answers of every kind as one type.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::{Sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::problem::Problem;
use super::sse::EventStream;

/// The media type of an answer.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The media type of JSON values, one a line.
pub const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// Bytes of a refused body that are read and thrown away, so that the caller, who is still
/// sending, gets to read the answer and may go on with the same connection.
pub const DISCARD_BYTES_MAX: u64 = 1 << 20;

/// How much of a body is read, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit {
    /// The setting to name in a refusal, such as `limits.body_bytes`.
    pub name: &'static str,
    /// Bytes of the longest body.
    pub bytes_max: usize,
    /// How long the whole body may take to arrive.
    pub read_timeout: Duration,
}

/// The body of any answer.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Full(Full<Bytes>),
    Channel(
        Channel<Bytes, BodyError>,
        #[expect(dead_code, reason = "it acts when it is dropped")] DropGuard,
    ),
    Relay(Relay),
    Events(EventStream),
}

/// Another node's answer, passed on as it arrives.
#[derive(Debug)]
struct Relay {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
}

/// A body that broke off; the connection that carries it is cut, so that the reader knows.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Its writer gave up.
    #[error("the answer was abandoned: {0}")]
    Abandoned(String),
    /// The node that it comes from broke off.
    #[error("the node behind broke off")]
    Relay(#[from] hyper::Error),
    /// The node that it comes from took too long.
    #[error("the node behind took too long")]
    Late,
}

/// Writes a body while it is being sent.
pub type BodySender = Sender<Bytes, BodyError>;

impl Body {
    /// A body that is all there.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Full(Full::new(bytes.into())))
    }

    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// A body that is written while it is being sent; at most `chunks_max` chunks wait. The token
    /// is cancelled when it is sent, or its reader has gone: then there is nobody to write for.
    #[must_use]
    pub fn channel(chunks_max: usize) -> (BodySender, CancellationToken, Self) {
        let (sender, channel) = Channel::new(chunks_max);
        let gone = CancellationToken::new();
        let guard = gone.clone().drop_guard();
        (sender, gone, Self(Kind::Channel(channel, guard)))
    }

    pub(super) fn relay(body: Incoming, deadline: Pin<Box<Sleep>>) -> Self {
        Self(Kind::Relay(Relay { body, deadline }))
    }

    pub(super) fn events(events: EventStream) -> Self {
        Self(Kind::Events(events))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Full(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})))
            }
            Kind::Channel(body, _) => Pin::new(body).poll_frame(cx),
            Kind::Relay(relay) => {
                if let Poll::Ready(frame) = Pin::new(&mut relay.body).poll_frame(cx) {
                    return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)));
                }
                ready!(relay.deadline.as_mut().poll(cx));
                Poll::Ready(Some(Err(BodyError::Late)))
            }
            Kind::Events(events) => {
                events.poll_next(cx).map(|chunk| chunk.map(|c| Ok(Frame::data(c))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(body) => body.is_end_stream(),
            Kind::Channel(body, _) => body.is_end_stream(),
            Kind::Relay(relay) => relay.body.is_end_stream(),
            Kind::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(body) => body.size_hint(),
            Kind::Channel(body, _) => body.size_hint(),
            Kind::Relay(relay) => relay.body.size_hint(),
            Kind::Events(_) => SizeHint::default(),
        }
    }
}

/// The answer `status` with `value` as JSON.
///
/// # Panics
/// When `value` has no JSON form: a map with keys that are not strings, which is a bug.
#[must_use]
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let bytes = serde_json::to_vec(value).expect("answers are plain structures");
    json_bytes(status, Bytes::from(bytes))
}

/// The answer `status` with a JSON text that is ready.
#[must_use]
pub fn json_bytes(status: StatusCode, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Reads the body of a request that should be JSON: its type is checked before its bytes are read.
/// [`parse_json`] makes sense of them.
///
/// # Errors
/// 415 for another type, and the errors of [`read`].
pub async fn read_json<B>(request: &mut Request<B>, limit: &BodyLimit) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    check_json(request.headers())?;
    read(request, limit).await
}

/// Reads the body of a request.
///
/// # Errors
/// 413 over the limit, 408 when it is too slow, 400 when it ends early. Over the limit by a little,
/// the rest is read and thrown away and the connection goes on; else it is closed.
pub async fn read<B>(request: &mut Request<B>, limit: &BodyLimit) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let bytes_max = u64::try_from(limit.bytes_max).unwrap_or(u64::MAX);
    // A caller who waits for `100 Continue` has sent nothing that would need to be read.
    let waits = request.headers().contains_key(EXPECT);
    let body = request.body_mut();
    let too_large = |size| Problem::payload_too_large(limit.name, bytes_max, size);
    if let Some(size) = body.size_hint().exact().filter(|&size| size > bytes_max) {
        if !waits && size <= bytes_max.saturating_add(DISCARD_BYTES_MAX) {
            // Whether it works does not change the answer.
            drop(timeout(limit.read_timeout, discard(body, size)).await);
        }
        return Err(too_large(Some(size)));
    }
    match timeout(limit.read_timeout, collect(body, limit.bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(CollectError::TooLong { read })) => {
            let rest = discard(body, DISCARD_BYTES_MAX);
            let rest = timeout(limit.read_timeout, rest).await.ok().flatten();
            Err(too_large(rest.map(|rest| read + rest)))
        }
        Ok(Err(CollectError::Broken(error))) => Err(incomplete(&error)),
        Err(_) => Err(Problem::request_timeout(limit.read_timeout)),
    }
}

/// Reads JSON. Nothing at all reads as `{}`, so that the endpoint says which field it misses. `T`
/// may borrow, as `&RawValue` does.
///
/// # Errors
/// 400 that names line and column.
pub fn parse_json<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Problem> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_data() { "Unexpected JSON" } else { "Malformed JSON" };
        Problem::bad_request(what)
            .detail(error.to_string())
            .member("line", error.line())
            .member("column", error.column())
    })
}

/// Whether the headers allow a body to be JSON: they say so, or nothing.
///
/// # Errors
/// 415, with a hint for curl, which calls every body a form.
pub fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = essence(value);
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    Err(Problem::unsupported_media_type(&String::from_utf8_lossy(value.as_bytes())))
}

/// Whether a body is said to be JSON values, one a line.
#[must_use]
pub fn is_ndjson(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| essence(value).as_bytes() == NDJSON.as_bytes())
}

/// A media type without its parameters.
fn essence(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum CollectError<E> {
    /// It is longer than allowed; so much was read.
    TooLong {
        /// Bytes read, more than allowed.
        read: u64,
    },
    /// It broke off.
    Broken(E),
}

/// The whole of `body`, of at most `bytes_max` bytes. One that arrives in one piece is not copied.
pub(super) async fn collect<B>(
    body: &mut B,
    bytes_max: usize,
) -> Result<Bytes, CollectError<B::Error>>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let mut only = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(CollectError::Broken)?.into_data() else { continue };
        let length = only.len() + joined.len() + data.len();
        if length > bytes_max {
            return Err(CollectError::TooLong { read: u64::try_from(length).unwrap_or(u64::MAX) });
        }
        if length == data.len() {
            only = data;
            continue;
        }
        if joined.is_empty() {
            let rest = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
            joined.reserve(length.saturating_add(rest).min(bytes_max));
            joined.extend_from_slice(&std::mem::take(&mut only));
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { only } else { joined.freeze() })
}

/// The refusal of a body that broke off.
#[must_use]
pub fn incomplete(error: &impl std::fmt::Display) -> Problem {
    Problem::bad_request("Incomplete body").detail(format!("read the body: {error}"))
}

/// Reads `body` to its end and keeps nothing; how much there was, or nothing when it is
/// more than `bytes_max` or breaks off.
pub async fn discard<B>(body: &mut B, bytes_max: u64) -> Option<u64>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        count += u64::try_from(data.len()).unwrap_or(u64::MAX);
        if count > bytes_max {
            return None;
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Answer, Raw, Server};
    use hyper::Method;
    use serde_json::{Value, value::RawValue};

    const LIMIT: BodyLimit = BodyLimit {
        name: "limits.body_bytes",
        bytes_max: 16,
        read_timeout: Duration::from_secs(5),
    };

    async fn echo(limit: BodyLimit) -> Server {
        Server::start(Answer(move |mut request: Request<Incoming>| async move {
            match read_json(&mut request, &limit).await {
                Ok(bytes) => json_bytes(StatusCode::OK, bytes),
                Err(problem) => problem.into_response(),
            }
        }))
        .await
    }

    fn post(headers: &str, body: &str) -> String {
        format!("{} / HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n{body}", Method::POST)
    }

    #[tokio::test]
    async fn a_declared_size_over_the_limit_is_refused_and_the_connection_goes_on() {
        let server = echo(LIMIT).await;
        let mut raw = Raw::open(&server.address).await;
        raw.write(post("content-length: 17", "01234567890123456")).await;
        let (head, body) = raw.read_answer().await;
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert!(body.contains(r#""detail":"the body has 17 bytes; limits.body_bytes allows 16""#));
        raw.write(post("content-length: 2", "{}")).await;
        assert!(raw.read_answer().await.0.starts_with("HTTP/1.1 200 "));
        server.stop().await;
    }

    #[tokio::test]
    async fn a_hopeless_declared_size_is_refused_before_the_body_is_sent() {
        let server = echo(LIMIT).await;
        let mut raw = Raw::open(&server.address).await;
        raw.write(post("content-length: 99999999\r\nexpect: 100-continue", "")).await;
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains(r#""size_bytes":99999999"#), "{answer}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_stream_over_the_limit_is_refused_late_and_the_connection_goes_on() {
        let server = echo(LIMIT).await;
        let mut raw = Raw::open(&server.address).await;
        let chunks = "a\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n";
        raw.write(post("transfer-encoding: chunked", chunks)).await;
        let (head, body) = raw.read_answer().await;
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
        assert!(body.contains(r#""size_bytes":20"#), "{body}");
        raw.write(post("transfer-encoding: chunked", "2\r\n{}\r\n0\r\n\r\n")).await;
        assert_eq!(raw.read_answer().await.1, "{}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_body_that_does_not_arrive_is_given_up() {
        let server = echo(BodyLimit { read_timeout: Duration::from_millis(20), ..LIMIT }).await;
        let mut raw = Raw::open(&server.address).await;
        raw.write(post("content-length: 9", "1")).await;
        assert!(raw.read_answer().await.0.starts_with("HTTP/1.1 408 "));
        server.stop().await;
    }

    #[tokio::test]
    async fn a_form_is_415_with_a_hint_for_curl() {
        let server = echo(LIMIT).await;
        let mut raw = Raw::open(&server.address).await;
        let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 2";
        raw.write(post(form, "{}")).await;
        let (head, body) = raw.read_answer().await;
        assert!(head.starts_with("HTTP/1.1 415 "), "{head}");
        assert_eq!(
            body,
            concat!(
                r#"{"type":"urn:paxosd:problem:unsupported-media-type","#,
                r#""title":"Unsupported media type","status":415,"#,
                r#""detail":"the body is application/x-www-form-urlencoded; "#,
                r#"this path takes application/json","#,
                r#""error":"Unsupported media type","#,
                r#""hint":"with curl, add -H 'Content-Type: application/json'"}"#
            )
        );
        for json in ["content-type: application/JSON; charset=utf-8", "accept: */*"] {
            raw.write(post(&format!("{json}\r\ncontent-length: 2"), "{}")).await;
            assert_eq!(raw.read_answer().await.1, "{}");
        }
        server.stop().await;
    }

    #[test]
    fn malformed_json_is_400_with_line_and_column() {
        let problem = parse_json::<Value>(b"{\n  \"value\": }").unwrap_err();
        assert_eq!(
            problem.to_json(),
            concat!(
                r#"{"type":"urn:paxosd:problem:bad-request","title":"Bad request","status":400,"#,
                r#""detail":"expected value at line 2 column 12","error":"Malformed JSON","#,
                r#""column":12,"line":2}"#
            )
        );
    }

    #[test]
    fn json_of_another_shape_is_400_too() {
        let problem = parse_json::<std::collections::BTreeMap<String, u8>>(br#"{"a":"b"}"#);
        let text = problem.unwrap_err().to_json();
        assert!(text.starts_with(br#"{"type":"urn:paxosd:problem:bad-request""#));
        assert!(String::from_utf8_lossy(&text).contains("Unexpected JSON"));
    }

    #[test]
    fn nothing_reads_as_an_empty_object_and_a_value_keeps_its_bytes() {
        #[derive(Deserialize)]
        struct Send<'a> {
            #[serde(borrow)]
            value: Option<&'a RawValue>,
        }
        assert!(parse_json::<Send<'_>>(b"").unwrap().value.is_none());
        let send: Send<'_> = parse_json(br#"{"value": 1.10}"#).unwrap();
        assert_eq!(send.value.unwrap().get(), "1.10");
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_not_copied_and_one_in_many_is_joined() {
        let whole = Bytes::from_static(b"abcdef");
        let read = collect(&mut Full::new(whole.clone()), 6).await.unwrap();
        assert_eq!(read.as_ptr(), whole.as_ptr());
        let (mut sender, gone, mut body) = Body::channel(4);
        for part in ["ab", "", "cd", "ef"] {
            sender.send_data(Bytes::from(part)).await.unwrap();
        }
        drop(sender);
        assert_eq!(collect(&mut body, 6).await.unwrap(), whole);
        assert!(!gone.is_cancelled());
        drop(body);
        assert!(gone.is_cancelled(), "the writer hears that nobody reads");
    }
}
