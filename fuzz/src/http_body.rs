//! What callers send: bodies of writes and of gossip, bodies in pieces, queries, names, addresses.
//! Each is understood as it was written, or refused with a problem that can be told.

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use hyper::{Request, Uri};
use paxosd::config::Limits;
use paxosd::gossip::{GossipMessage, GossipReply};
use paxosd::http::body::read_json;
use paxosd::http::{Address, Body, BodyLimit, Problem, Query};
use paxosd::node::serve::Write;
use paxosd::types::Name;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::input::Input;

/// Bytes of the longest body, where bodies come in pieces.
const BODY_BYTES_MAX: usize = 64;

/// The first byte chooses what the others are.
///
/// # Panics
/// When something is understood in another way than it was written.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 5 {
        0 => check_write(input),
        1 => check_gossip(input.rest()),
        2 => check_pieces(input),
        3 => check_query(input.rest()),
        _ => check_words(input.rest()),
    }
}

/// A body of `POST /send`, under limits that the first two bytes choose, with a key of up to a few
/// hundred bytes.
fn check_write(mut input: Input<'_>) {
    let limits = Limits {
        value_bytes: input.below(48) + 1,
        request_values: input.below(6) + 1,
        ..Limits::default()
    };
    let mut headers = HeaderMap::new();
    let key = match input.below(300) {
        0 => None,
        count => HeaderValue::from_bytes(input.bytes(count)).ok(),
    };
    if let Some(key) = key.clone() {
        headers.insert("idempotency-key", key);
    }
    let body = Bytes::copy_from_slice(input.rest());
    let write = match Write::parse(&limits, &body, &headers, Query::default()) {
        Ok(write) => write,
        Err(problem) => return check_problem(problem, &[400, 413]),
    };
    assert!(write.wait, "a caller waits unless the query says otherwise");
    assert_eq!(write.key.is_some(), key.is_some(), "a key is not lost");
    assert!((1..=limits.request_values).contains(&write.values.len()), "values are counted");
    for value in &write.values {
        assert!(value.len() <= limits.value_bytes, "a value is measured");
        let text: &RawValue = serde_json::from_slice(value).expect("a value is a JSON text");
        assert!(text.get() != "null" && text.get().len() == value.len(), "a value is something");
        assert!(body.windows(value.len()).any(|part| part == value), "a value stays as it is");
    }
    // The other opinion gives up on what is nested deeply and on halves of surrogates.
    if let Ok(other) = serde_json::from_slice::<Value>(&body) {
        let given: Vec<Value> = match (other.get("value"), other.get("values")) {
            (Some(value), None | Some(Value::Null)) => vec![value.clone()],
            (None | Some(Value::Null), Some(Value::Array(values))) => values.clone(),
            _ => panic!("a write out of {other}"),
        };
        let taken: Result<Vec<Value>, _> =
            write.values.iter().map(|value| serde_json::from_slice(value)).collect();
        assert_eq!(taken.ok(), Some(given), "the values are those of the body");
    }
}

/// A body of `POST /gossip`, and one of its answers.
fn check_gossip(body: &[u8]) {
    match GossipMessage::parse(body) {
        Ok(message) => {
            let written = serde_json::to_vec(&message).expect("gossip has a JSON form");
            let again = GossipMessage::parse(&written).expect("what was understood is said again");
            let twice = serde_json::to_vec(&again).expect("gossip has a JSON form");
            assert_eq!(twice, written, "gossip has one form");
        }
        Err(refusal) => assert_eq!(refusal.status(), 400, "{refusal}"),
    }
    if let Ok(reply) = GossipReply::parse(body) {
        let written = serde_json::to_vec(&reply).expect("gossip has a JSON form");
        let again = GossipReply::parse(&written).expect("what was understood is said again");
        assert_eq!(serde_json::to_vec(&again).ok(), Some(written), "gossip has one form");
    }
}

/// A body that arrives in pieces, whose length is told or not, of a type that is told or not.
fn check_pieces(mut input: Input<'_>) {
    let mut request = Request::new(());
    let kind = match input.byte() % 3 {
        0 => None,
        1 => Some(HeaderValue::from_static("application/json")),
        _ => HeaderValue::from_bytes(input.bytes(8)).ok(),
    };
    if let Some(kind) = &kind {
        request.headers_mut().insert(hyper::header::CONTENT_TYPE, kind.clone());
    }
    let mut pieces = Vec::new();
    while !input.is_empty() {
        let count = input.below(BODY_BYTES_MAX / 2);
        pieces.push(Bytes::copy_from_slice(input.bytes(count)));
    }
    let whole = pieces.concat();
    if whole.len() % 2 == 0 {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
    }
    let is_json = kind.is_none_or(|kind| {
        let kind = kind.to_str().unwrap_or_default().to_ascii_lowercase();
        kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
    });
    match (read_pieces(request, pieces), is_json) {
        (Ok(read), true) => {
            assert_eq!(read, whole, "a body is read as it was sent");
            assert!(read.len() <= BODY_BYTES_MAX, "a body is measured");
        }
        (Ok(_), false) => panic!("a body of another type was read"),
        (Err(problem), true) => {
            assert!(whole.len() > BODY_BYTES_MAX, "{problem}");
            check_problem(problem, &[413]);
        }
        (Err(problem), false) => check_problem(problem, &[415]),
    }
}

fn read_pieces(request: Request<()>, pieces: Vec<Bytes>) -> Result<Bytes, Problem> {
    let limit = BodyLimit {
        name: "limits.request_bytes",
        bytes_max: BODY_BYTES_MAX,
        read_timeout: std::time::Duration::from_secs(60),
    };
    let (mut sender, _, body) = Body::channel(pieces.len().max(1));
    let mut request = request.map(|()| body);
    wait_for(async move {
        for piece in pieces {
            sender.send_data(piece).await.expect("there is room for every piece");
        }
        drop(sender);
        read_json(&mut request, &limit).await
    })
}

fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without a driver of sockets needs nothing of the system");
    runtime.block_on(future)
}

/// A query: the first of a name counts, and no option is read as what it is not.
fn check_query(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/read?", bytes].concat().as_slice()) else { return };
    let query = Query::of(&uri);
    let text = uri.query().unwrap_or_default();
    for name in ["after", "wait", "timeout_ms"] {
        let first = text.split('&').find(|pair| *pair == name || starts_with(pair, name));
        assert_eq!(query.get(name).is_some(), first.is_some(), "{name} in {text}");
        match query.flag(name, true) {
            Ok(is_on) => {
                let value = query.get(name);
                assert_eq!(is_on, value != Some("false"), "{name} in {text}");
                assert!(value.is_none_or(|it| ["", "true", "false"].contains(&it)), "{text}");
            }
            Err(problem) => check_problem(problem, &[400]),
        }
        match query.parse::<u64>(name) {
            Ok(number) => assert_eq!(number.is_some(), first.is_some(), "{name} in {text}"),
            Err(problem) => check_problem(problem, &[400]),
        }
    }
}

fn starts_with(pair: &str, name: &str) -> bool {
    pair.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
}

/// Words of a path: a request's name, an address.
fn check_words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(name.to_string().parse(), Ok(name), "a name reads back");
    }
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse(), Ok(address), "an address reads back");
    }
}

/// A refusal has one of these statuses, and can be told.
fn check_problem(problem: Problem, statuses: &[u16]) {
    let status = problem.status().as_u16();
    assert!(statuses.contains(&status), "{problem}");
    let document: Value = serde_json::from_slice(&problem.to_json()).expect("a problem is JSON");
    assert_eq!(document.get("status"), Some(&Value::from(status)), "a problem says its status");
    assert_eq!(problem.into_response().status().as_u16(), status);
}
