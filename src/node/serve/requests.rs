//! What became of a request: from a gateway's memory, from a learner, or settled by a cancellation.

use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;

use super::common::{Fields, applied, applied_in, parse_request_id, state};
use super::gateway::RETRY;
use super::{Answer, App, stopping};
use crate::http::Problem;
use crate::http::body::json as json_answer;
use crate::node::gateway::{Call, RequestState};
use crate::paxos::client::Answer as Said;
use crate::paxos::log::Settled;
use crate::types::Name;

/// What a learner says of a request.
#[derive(Deserialize)]
struct OutcomeBody {
    state: String,
    /// The name to cancel it by, where nobody retries it any more.
    #[serde(default)]
    cancel: Option<String>,
    #[serde(default)]
    first_index: Option<u64>,
    #[serde(default)]
    last_index: Option<u64>,
    #[serde(default)]
    slot: Option<u64>,
    #[serde(default)]
    proposal_number: Option<u64>,
}

impl App {
    /// What became of a request: from memory if it is this gateway's, else from a learner.
    pub(super) async fn request(&self, id: &str) -> Answer {
        let name = parse_request_id(id)?;
        let gateway = self.gateway()?;
        let known = gateway.ask(|reply| Call::Request(name, reply)).await.ok_or_else(stopping)?;
        match known {
            Some(RequestState::NeverSeen) => Err(Problem::not_found(&format!("request {name}"))
                .detail("this gateway has not given this name to a request")),
            Some(state) => Ok(json_answer(StatusCode::OK, &describe_request(name, &state))),
            None => self.foreign_request(name).await,
        }
    }

    async fn foreign_request(&self, name: Name) -> Answer {
        let path = format!("/requests/{name}");
        let asked = self.ask_learners(
            None,
            |http, _, address| {
                let path = path.clone();
                async move { http.get(&address, &path, RETRY * 5).await.ok() }
            },
            |reply| reply.status == StatusCode::OK,
        );
        match asked.await {
            Ok(reply) => match serde_json::from_slice::<OutcomeBody>(&reply.body) {
                Ok(outcome) => match outcome.cancel.as_deref().map(str::parse) {
                    Some(Ok(target)) => self.cancel(name, target).await,
                    Some(Err(_)) => Ok(json_answer(StatusCode::OK, &state_unknown(name))),
                    None => Ok(json_answer(StatusCode::OK, &describe_outcome(name, &outcome))),
                },
                Err(_) => Ok(json_answer(StatusCode::OK, &state_unknown(name))),
            },
            Err(Some(refused)) if refused.status == StatusCode::NOT_FOUND => {
                Err(Problem::not_found(&format!("request {name}"))
                    .detail("no learner remembers it: it was never seen, or long ago"))
            }
            Err(_) => Ok(json_answer(StatusCode::OK, &state_unknown(name))),
        }
    }

    /// Settles a request that nobody retries any more, since its gateway has restarted. Its caller
    /// knows it as `name`.
    async fn cancel(&self, name: Name, target: Name) -> Answer {
        let timeout = Duration::from_millis(self.shared.config().client.timeout_ms);
        let asked = self.gateway()?.ask(|done| Call::Cancel { target, timeout, done }).await;
        let state = match asked.ok_or_else(stopping)? {
            Said::Settled(Settled::Applied { first, last }) => applied(first, last),
            Said::Settled(Settled::NotApplied) => state("not_applied"),
            Said::Settled(Settled::Forgotten)
            | Said::Applied { .. }
            | Said::Repeated { .. }
            | Said::KeyReused
            | Said::NotApplied { .. }
            | Said::Unknown { .. }
            | Said::Forgotten => state("unknown"),
        };
        Ok(json_answer(StatusCode::OK, &state.with("request_id", &name.to_string())))
    }
}

fn state_unknown(name: Name) -> Fields {
    state("unknown").with("request_id", &name.to_string())
}

fn describe_outcome(name: Name, outcome: &OutcomeBody) -> Fields {
    let known = [
        ("index", outcome.first_index),
        ("first_index", outcome.first_index),
        ("last_index", outcome.last_index),
        ("slot", outcome.slot),
        ("proposal_number", outcome.proposal_number),
    ];
    let state = state(&outcome.state).with("request_id", &name.to_string());
    let known = known.iter().filter_map(|(field, number)| number.map(|number| (field, number)));
    known.fold(state, |fields, (field, number)| fields.with(field, &number))
}

fn describe_request(name: Name, known: &RequestState) -> Fields {
    let state = match known {
        RequestState::Pending => state("pending"),
        RequestState::Done(Said::Applied { first, last, slot, ballot }) => {
            applied_in(*first, *last, *slot, *ballot)
        }
        RequestState::Done(
            Said::Repeated { first, last } | Said::Settled(Settled::Applied { first, last }),
        ) => applied(*first, *last),
        RequestState::Done(
            Said::KeyReused | Said::NotApplied { .. } | Said::Settled(Settled::NotApplied),
        ) => state("not_applied"),
        RequestState::NeverSeen
        | RequestState::Done(
            Said::Unknown { .. } | Said::Forgotten | Said::Settled(Settled::Forgotten),
        ) => state("unknown"),
    };
    state.with("request_id", &name.to_string())
}
