//! Refusals: RFC 9457 problem documents that keep the original's `error` field.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, UPGRADE};
use hyper::{Method, Response, StatusCode};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::body::Body;

/// The media type of a problem.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What is certain about a request that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not changed anything and never will.
    NotApplied,
    /// It may have been applied, or may yet be.
    Unknown,
}

/// How far a quorum is from complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuorumState {
    /// Answers needed.
    pub need: usize,
    /// Answers at hand.
    pub have: usize,
    /// The names of those that did not answer.
    pub missing: Vec<String>,
}

/// Who leads, where the problem says so.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
enum Leader {
    Node(u64),
    /// Shown as null.
    Nobody,
}

/// A refusal, as an `application/problem+json` document.
///
/// Built from one of the constructors, each one row of the table of errors, and refined by the
/// methods that return `Self`.
#[derive(Debug, Clone)]
pub struct Problem(Box<Document>);

#[derive(Debug, Clone, Serialize)]
struct Document {
    r#type: String,
    title: &'static str,
    #[serde(serialize_with = "status_number")]
    status: StatusCode,
    detail: String,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<Leader>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quorum: Option<QuorumState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(flatten)]
    members: BTreeMap<&'static str, Value>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    #[serde(skip)]
    allow: Option<HeaderValue>,
    #[serde(skip)]
    upgrade: Option<HeaderValue>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn status_number<S: Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem of the type `urn:paxosd:problem:<kind>`. `title` is the same for every problem of
    /// the kind; `error` is the short text that the original sent, and the detail until
    /// [`Problem::detail`] says more.
    #[must_use]
    pub fn new(
        status: StatusCode,
        kind: &str,
        title: &'static str,
        error: impl Into<String>,
    ) -> Self {
        let error = error.into();
        Self(Box::new(Document {
            r#type: format!("urn:paxosd:problem:{kind}"),
            title,
            status,
            detail: error.clone(),
            error,
            outcome: None,
            leader: None,
            quorum: None,
            hint: None,
            request_id: None,
            members: BTreeMap::new(),
            retry_after: None,
            allow: None,
            upgrade: None,
        }))
    }

    /// 400: the request says nothing that can be done, such as `Value required`.
    #[must_use]
    pub fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request", error)
    }

    /// 403: switched off, or not this node's to do.
    #[must_use]
    pub fn forbidden(error: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", error)
    }

    /// 404: nothing is at `what`.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", "Not found")
            .detail(format!("nothing is at {what}"))
    }

    /// 405, with the methods that `path` has in `Allow`.
    #[must_use]
    pub fn method_not_allowed(method: &Method, path: &str, allow: HeaderValue) -> Self {
        let allowed = String::from_utf8_lossy(allow.as_bytes()).into_owned();
        let mut problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Method not allowed",
            "Method not allowed",
        )
        .detail(format!("{path} does not take {method}"))
        .hint(format!("use {allowed}"));
        problem.0.allow = Some(allow);
        problem
    }

    /// 408: the body did not arrive in time.
    #[must_use]
    pub fn request_timeout(after: Duration) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            "Request timeout",
            "Request timeout",
        )
        .detail(format!("the body did not arrive within {} ms", after.as_millis()))
        .outcome(Outcome::NotApplied)
    }

    /// 409: the caller's picture of this node or cluster is wrong.
    #[must_use]
    pub fn conflict(error: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict", error)
    }

    /// 413: over the limit named `limit`, of `bytes_max` bytes; `size` where it is known.
    #[must_use]
    pub fn payload_too_large(limit: &'static str, bytes_max: u64, size: Option<u64>) -> Self {
        let detail = match size {
            Some(size) => {
                format!("the body has {size} bytes; {limit} allows {bytes_max}")
            }
            None => format!("the body has more than {bytes_max} bytes, which {limit} allows"),
        };
        let problem = Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "payload-too-large",
            "Payload too large",
            "Payload too large",
        )
        .detail(detail)
        .outcome(Outcome::NotApplied)
        .member("limit", limit)
        .member("limit_bytes", bytes_max);
        match size {
            Some(size) => problem.member("size_bytes", size),
            None => problem,
        }
    }

    /// 415: a body that does not say that it is JSON.
    #[must_use]
    pub fn unsupported_media_type(found: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "Unsupported media type",
            "Unsupported media type",
        )
        .detail(format!("the body is {found}; this path takes application/json"))
        .hint("with curl, add -H 'Content-Type: application/json'")
    }

    /// 422: well formed and yet impossible, as a key used again with another value.
    #[must_use]
    pub fn unprocessable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", "Unprocessable", error)
    }

    /// 426: this path speaks only the protocol named in `Upgrade`.
    #[must_use]
    pub fn upgrade_required(upgrade: HeaderValue) -> Self {
        let name = String::from_utf8_lossy(upgrade.as_bytes()).into_owned();
        let mut problem = Self::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade-required",
            "Upgrade required",
            "Upgrade required",
        )
        .detail(format!("this path is for peers, which ask for Upgrade: {name}"));
        problem.0.upgrade = Some(upgrade);
        problem
    }

    /// 429: a queue is full. Certainly not applied.
    #[must_use]
    pub fn too_many_requests(error: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", "Too many requests", error)
            .outcome(Outcome::NotApplied)
            .retry_after(retry_after)
    }

    /// 503: nobody could begin it. Certainly not applied.
    #[must_use]
    pub fn unavailable(error: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Service unavailable", error)
            .outcome(Outcome::NotApplied)
            .retry_after(retry_after)
    }

    /// 504: the deadline passed, and it may have been applied.
    #[must_use]
    pub fn gateway_timeout(error: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "Deadline passed", error)
            .outcome(Outcome::Unknown)
    }

    /// Says what happened this time, in a sentence.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Says what is certain.
    #[must_use]
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = Some(outcome);
        self
    }

    /// Says who leads; `None` is shown as null.
    #[must_use]
    pub fn leader(mut self, leader: Option<u64>) -> Self {
        self.0.leader = Some(leader.map_or(Leader::Nobody, Leader::Node));
        self
    }

    /// Says how far the quorum is from complete.
    #[must_use]
    pub fn quorum(mut self, quorum: QuorumState) -> Self {
        self.0.quorum = Some(quorum);
        self
    }

    /// Says what the caller can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the request, so that its outcome can be asked for.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.0.request_id = Some(id.into());
        self
    }

    /// Says in `Retry-After` when to come back: in whole seconds, rounded up, at least one.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Adds a field of its own, such as the original's `current_leader`. `name` must not be a field
    /// of every problem.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name, value.into());
        self
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its document, as compact JSON.
    ///
    /// # Panics
    /// Never: a document holds nothing that has no JSON form.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(&self.0).expect("a problem holds only strings and numbers"))
    }

    /// The answer that carries it.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::full(self.to_json()));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(after) = self.0.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(allow) = self.0.allow {
            headers.insert(ALLOW, allow);
        }
        if let Some(upgrade) = self.0.upgrade {
            headers.insert(UPGRADE, upgrade);
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.status.as_u16(), self.0.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(problem: &Problem) -> String {
        String::from_utf8(problem.to_json().to_vec()).unwrap()
    }

    #[test]
    fn a_problem_keeps_the_originals_error_field() {
        assert_eq!(
            json(&Problem::bad_request("Value required")),
            concat!(
                r#"{"type":"urn:paxosd:problem:bad-request","title":"Bad request","#,
                r#""status":400,"detail":"Value required","error":"Value required"}"#
            )
        );
    }

    #[test]
    fn a_lost_quorum_names_who_is_missing_and_when_to_come_back() {
        let problem = Problem::unavailable("No quorum", Duration::from_millis(1200))
            .detail("2 of 3 acceptors do not answer")
            .leader(None)
            .quorum(QuorumState {
                need: 2,
                have: 1,
                missing: vec!["acceptor2".into(), "acceptor3".into()],
            })
            .hint("start an acceptor")
            .request_id("7-1");
        assert_eq!(
            json(&problem),
            concat!(
                r#"{"type":"urn:paxosd:problem:unavailable","title":"Service unavailable","#,
                r#""status":503,"detail":"2 of 3 acceptors do not answer","error":"No quorum","#,
                r#""outcome":"not_applied","leader":null,"#,
                r#""quorum":{"need":2,"have":1,"missing":["acceptor2","acceptor3"]},"#,
                r#""hint":"start an acceptor","request_id":"7-1"}"#
            )
        );
        let response = problem.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn a_field_of_the_original_is_added_beside_the_others() {
        let problem = Problem::forbidden("Not the leader").member("current_leader", Value::Null);
        assert_eq!(
            json(&problem),
            concat!(
                r#"{"type":"urn:paxosd:problem:forbidden","title":"Forbidden","#,
                r#""status":403,"detail":"Not the leader","error":"Not the leader","#,
                r#""current_leader":null}"#
            )
        );
    }

    #[test]
    fn a_deadline_leaves_the_outcome_unknown() {
        let problem = Problem::gateway_timeout("Timed out").leader(Some(2)).request_id("7-2");
        assert_eq!(
            json(&problem),
            concat!(
                r#"{"type":"urn:paxosd:problem:timeout","title":"Deadline passed","#,
                r#""status":504,"detail":"Timed out","error":"Timed out","#,
                r#""outcome":"unknown","leader":2,"request_id":"7-2"}"#
            )
        );
    }

    #[test]
    fn an_oversized_body_names_the_limit_and_the_size() {
        assert_eq!(
            json(&Problem::payload_too_large("limits.body_bytes", 10, Some(11))),
            concat!(
                r#"{"type":"urn:paxosd:problem:payload-too-large","title":"Payload too large","#,
                r#""status":413,"detail":"the body has 11 bytes; limits.body_bytes allows 10","#,
                r#""error":"Payload too large","outcome":"not_applied","#,
                r#""limit":"limits.body_bytes","limit_bytes":10,"size_bytes":11}"#
            )
        );
    }

    #[test]
    fn a_full_queue_asks_to_come_back_in_a_second_at_least() {
        let response = Problem::too_many_requests("Busy", Duration::from_millis(1)).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }
}
