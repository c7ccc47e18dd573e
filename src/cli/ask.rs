//! Asks one endpoint after the other, and tells what is certain when none of them did it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::exit::{Exit, Failure};
use crate::http::{ClientError, ClientLimits, HttpClient, Reply};

/// How long we wait beyond what the node was told, so that its own word on a missed deadline gets
/// here.
const MARGIN: Duration = Duration::from_millis(500);

/// Bytes of the longest answer: ten thousand values of 25 KiB.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// How long a node may take to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A caller that asks each node a few times at most.
pub(super) fn http_client() -> HttpClient {
    HttpClient::new(&ClientLimits {
        connect_timeout: CONNECT_TIMEOUT,
        idle_timeout: Duration::from_secs(5),
        idle_per_node_max: 2,
        answer_bytes_max: ANSWER_BYTES_MAX,
    })
}

/// Whether a request changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It does not, so whatever became of it, nothing happened.
    None,
    /// It writes, under a name that makes it safe to repeat.
    Write,
}

/// Asks the `endpoints` in turn until one grants the request, for `patience` in all. `request`
/// makes the path and the request, told how much time is left.
///
/// The next one is asked when one is unreachable, breaks off or cannot serve. A refusal is final.
pub(super) async fn ask(
    endpoints: &[Endpoint],
    patience: Duration,
    effect: Effect,
    request: impl Fn(Duration) -> (String, Request<Full<Bytes>>),
) -> Result<Reply, Failure> {
    let client = http_client();
    let deadline = Instant::now() + patience;
    let mut setbacks = Setbacks { effect, in_doubt: false, refusal: None, silence: Vec::new() };
    for (endpoint, to_come) in endpoints.iter().zip((1..=endpoints.len()).rev()) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let left = match effect {
            // Of two gateways one may hang, and the other answer at once.
            Effect::None => left / u32::try_from(to_come).unwrap_or(u32::MAX),
            Effect::Write => left,
        };
        let (path, request) = request(left);
        let path = endpoint.path(&path);
        match client.call(&endpoint.address, &path, request, left + MARGIN).await {
            Ok(reply) if reply.status.is_success() => return Ok(reply),
            Ok(reply) => {
                let refusal = refusal(effect, endpoint, &reply);
                let is_final = refusal.exit != Exit::Unavailable;
                setbacks.refusal = Some(refusal);
                if is_final {
                    break;
                }
            }
            Err(error) => {
                setbacks.in_doubt |= !error.is_certainly_not_sent();
                setbacks.silence.push(error);
            }
        }
    }
    Err(setbacks.sum_up())
}

/// What came back instead of success.
struct Setbacks {
    effect: Effect,
    /// Whether a node may have acted without our hearing of it.
    in_doubt: bool,
    /// The last answer.
    refusal: Option<Failure>,
    silence: Vec<ClientError>,
}

impl Setbacks {
    fn sum_up(self) -> Failure {
        // A later node's word says nothing of what an earlier one did.
        let in_doubt = self.in_doubt && self.effect == Effect::Write;
        let silence: Vec<String> = self.silence.iter().map(ToString::to_string).collect();
        match self.refusal {
            Some(mut refusal) => {
                if in_doubt {
                    refusal.exit = Exit::Unknown;
                    refusal.message = format!("{}\n{}", silence.join("\n"), refusal.message);
                }
                refusal
            }
            None if in_doubt => Failure::new(Exit::Unknown, silence.join("\n")),
            None => Failure::new(Exit::Unavailable, silence.join("\n")).hint(if self.in_doubt {
                "`paxosd status` shows who is missing"
            } else {
                "is the cluster running? `paxosd dev` starts one on this machine"
            }),
        }
    }
}

/// What of a problem document is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: Option<String>,
    error: Option<String>,
    hint: Option<String>,
    outcome: Option<String>,
    request_id: Option<String>,
}

/// What `reply`, which is no success, means for a request with this `effect`.
fn refusal(effect: Effect, endpoint: &Endpoint, reply: &Reply) -> Failure {
    // A proxy's page is no problem document, and then only the status speaks.
    let problem: Problem = serde_json::from_slice(&reply.body).unwrap_or_default();
    let what = problem.detail.or(problem.error);
    let what = what.as_deref().or(reply.status.canonical_reason()).unwrap_or("no reason given");
    let mut message = format!("{what} ({} from {endpoint})", reply.status.as_u16());
    if let Some(id) = problem.request_id {
        message = format!("{message}, request {id}");
    }
    let exit = exit_of(effect, reply.status, problem.outcome.as_deref());
    Failure { exit, message, hint: problem.hint, body: Some(reply.body.clone()) }
}

fn exit_of(effect: Effect, status: StatusCode, outcome: Option<&str>) -> Exit {
    let unknown = match effect {
        Effect::None => Exit::Unavailable,
        Effect::Write => Exit::Unknown,
    };
    match (outcome, status) {
        (Some("unknown"), _) => unknown,
        (_, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => Exit::Unavailable,
        (Some("not_applied"), status) if status.is_server_error() => Exit::Unavailable,
        (_, status) if status.is_client_error() => Exit::Refused,
        // Of a proxy's 502 as of a 504 nobody knows what happened behind it.
        (_, status) if status.is_server_error() => unknown,
        _ => Exit::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_and_an_outcome_give_the_exit_code() {
        for (effect, status, outcome, exit) in [
            (Effect::Write, 400, None, Exit::Refused),
            (Effect::Write, 422, None, Exit::Refused),
            (Effect::Write, 429, Some("not_applied"), Exit::Unavailable),
            (Effect::Write, 503, Some("not_applied"), Exit::Unavailable),
            (Effect::Write, 503, None, Exit::Unavailable),
            (Effect::Write, 503, Some("unknown"), Exit::Unknown),
            (Effect::Write, 504, Some("unknown"), Exit::Unknown),
            (Effect::Write, 502, None, Exit::Unknown),
            (Effect::None, 504, Some("unknown"), Exit::Unavailable),
            (Effect::None, 404, None, Exit::Refused),
            (Effect::None, 302, None, Exit::Error),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(exit_of(effect, status, outcome), exit, "{effect:?} {status} {outcome:?}");
        }
    }
}
