//! `paxosd send`: one value, or the lines of a file, written exactly once.

mod lines;

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::args::{Format, SendArgs};
use super::ask::{Effect, ask};
use super::endpoint::{Call, Endpoint, gateways};
use super::exit::{Exit, Failure};
use super::output;
use crate::config::Env;
use crate::http::Reply;
use crate::http::body::JSON;
use crate::types::Role;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Who takes a value.
const CALLS: [Call; 2] = [(Role::Client, "/send"), (Role::Proposer, "/propose")];

/// Bytes read from standard input at most; no cluster can be configured to take more.
const INPUT_BYTES_MAX: u64 = 256 << 20;

/// The body of a request.
#[derive(Serialize)]
struct Command<'v> {
    value: &'v RawValue,
}

/// What of an answer is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sent {
    index: Option<u64>,
    slot: Option<u64>,
    request_id: Option<String>,
}

/// Whom to send to, under which key, and how long to wait.
struct Sender {
    endpoints: Vec<Endpoint>,
    path: &'static str,
    key: String,
    patience: Duration,
}

impl Sender {
    /// Writes what `body` says, once under `key`.
    async fn post(&self, body: &impl Serialize, key: &str) -> Result<Reply, Failure> {
        let body = serde_json::to_vec(body).map(Bytes::from).map_err(|error| {
            Failure::new(Exit::Error, format!("cannot write the body: {error}"))
        })?;
        let header = HeaderValue::try_from(key).map_err(|_| {
            Failure::new(Exit::Usage, format!("--key {key:?} cannot stand in a header"))
                .hint("write letters, digits and dashes")
        })?;
        let request = |left: Duration| {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = Method::POST;
            request.headers_mut().insert(CONTENT_TYPE, JSON);
            request.headers_mut().insert(IDEMPOTENCY_KEY, header.clone());
            (format!("{}?timeout_ms={}", self.path, left.as_millis().max(1)), request)
        };
        ask(&self.endpoints, self.patience, Effect::Write, request).await
    }
}

/// Writes the value, or each line of a file, and prints where that stands.
pub(super) async fn send(args: SendArgs, env: &Env) -> Result<(), Failure> {
    let (endpoints, path) = gateways(&args.gateways, &CALLS, env)?;
    let key = args.key.unwrap_or_else(|| Uuid::new_v4().to_string());
    let patience = Duration::from_millis(args.gateways.timeout_ms);
    let sender = Sender { endpoints, path, key, patience };
    let output = args.gateways.output;
    if args.lines {
        return lines::send_lines(&sender, &args.value, args.json, output).await;
    }
    let text = if args.value == "-" { standard_input()? } else { args.value };
    let value = as_json(text, args.json)?;
    let reply = sender.post(&Command { value: &value }, &sender.key).await;
    let reply = reply.map_err(|failure| match failure.exit {
        Exit::Unknown => failure.also_hint(&format!(
            "whether it was written is unknown; send it again with --key {}",
            sender.key
        )),
        Exit::Done | Exit::Error | Exit::Usage | Exit::Unavailable | Exit::Refused => failure,
    });
    match output {
        Format::Json => output::raw(reply),
        Format::Text => output::line(&confirmation(&reply?.body)),
    }
}

fn confirmation(body: &[u8]) -> String {
    let sent: Sent = serde_json::from_slice(body).unwrap_or_default();
    let facts = [
        sent.index.map(|index| format!("index {index}")),
        sent.slot.map(|slot| format!("slot {slot}")),
        sent.request_id.map(|id| format!("request {id}")),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    if facts.is_empty() { "ok".to_owned() } else { format!("ok: {}", facts.join(", ")) }
}

/// `text` as the JSON that is sent: itself, or a string that holds it.
fn as_json(text: String, is_json: bool) -> Result<Box<RawValue>, Failure> {
    if is_json {
        return RawValue::from_string(text).map_err(|error| {
            Failure::new(Exit::Usage, format!("the value is not JSON: {error}"))
                .hint("leave out --json to send it as a string")
        });
    }
    serde_json::value::to_raw_value(&text)
        .map_err(|error| Failure::new(Exit::Error, format!("cannot write the value: {error}")))
}

fn standard_input() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::io("read standard input", &error))?;
    as_text("standard input", bytes)
}

/// `bytes` of the input that is called `what`.
fn as_text(what: impl fmt::Display, bytes: Vec<u8>) -> Result<String, Failure> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length > INPUT_BYTES_MAX) {
        let message = format!("{what} has more than {INPUT_BYTES_MAX} bytes");
        return Err(Failure::new(Exit::Usage, message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(Exit::Usage, format!("{what} is not UTF-8 at byte {at}"))
            .hint("a value is JSON; encode bytes first, as with base64")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_quoted_whole_and_json_is_left_as_it_is() {
        for (text, is_json, json) in [
            ("it's \"so\" \\ big", false, r#""it's \"so\" \\ big""#),
            ("größer ✓\n", false, "\"größer ✓\\n\""),
            ("", false, "\"\""),
            ("7", false, "\"7\""),
            ("1.10", true, "1.10"),
            ("{\"a\": [1, 2]}", true, "{\"a\": [1, 2]}"),
        ] {
            assert_eq!(as_json(text.to_owned(), is_json).unwrap().get(), json);
        }
        let failure = as_json("{\"a\":".to_owned(), true).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("line 1 column 5"), "{failure}");
    }

    #[test]
    fn a_confirmation_says_what_the_answer_says() {
        let body =
            br#"{"status":"value sent","proposer_id":1,"request_id":"7-3","slot":12,"index":17}"#;
        assert_eq!(confirmation(body), "ok: index 17, slot 12, request 7-3");
        assert_eq!(confirmation(b"{}"), "ok");
    }
}
