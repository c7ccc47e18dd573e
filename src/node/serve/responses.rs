//! The newest delivered values of a gateway, also those from before its start.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::sleep;
use tracing::debug;

use super::gateway::RETRY;
use super::reads::learners;
use super::{Answer, App, stopping};
use crate::http::body::json as json_answer;
use crate::node::Shared;
use crate::node::clock::date_time;
use crate::node::gateway::{self, Call, GatewayHandle};
use crate::types::{Index, LearnerId, NodeId};

#[derive(Deserialize)]
struct DeliveriesBody<'a> {
    learner_id: u64,
    #[serde(borrow)]
    deliveries: Vec<DeliveryBody<'a>>,
}

#[derive(Deserialize)]
struct DeliveryBody<'a> {
    index: u64,
    #[serde(borrow)]
    value: &'a RawValue,
    proposal_number: u64,
    request_id: String,
    learned_at_ms: u64,
}

#[derive(Serialize)]
struct ResponsesBody<'a> {
    responses: Vec<ResponseBody<'a>>,
}

/// A delivered value as `/get-responses` tells of it.
#[derive(Serialize)]
pub(super) struct ResponseBody<'a> {
    learner_id: u8,
    proposal_number: u64,
    value: Option<&'a RawValue>,
    learned_at: String,
    received_at: String,
    index: u64,
    request_id: String,
}

impl<'a> ResponseBody<'a> {
    pub(super) fn of(response: &'a gateway::Response) -> Self {
        Self {
            learner_id: response.learner.node().get(),
            proposal_number: response.proposal_number,
            value: serde_json::from_slice(&response.value).ok(),
            learned_at: date_time(response.learned_at_ms),
            received_at: date_time(response.received_at_ms),
            index: response.index.get(),
            request_id: response.request.to_string(),
        }
    }
}

impl App {
    pub(super) async fn get_responses(&self) -> Answer {
        let responses = self.responses().await.ok_or_else(stopping)?;
        let responses = responses.iter().map(ResponseBody::of).collect();
        Ok(json_answer(StatusCode::OK, &ResponsesBody { responses }))
    }

    pub(super) async fn responses(&self) -> Option<Vec<gateway::Response>> {
        self.roles.gateway.as_ref()?.ask(Call::Responses).await
    }
}

/// The values of this gateway from before its start, so that `/get-responses` survives one.
pub(super) async fn restore_responses(shared: Arc<Shared>, gateway: GatewayHandle) {
    let limit = shared.config().client.responses_kept;
    let path = format!("/deliveries/{}?limit={limit}", shared.me.id);
    for attempt in 0..60_u32 {
        // One may lag; what was answered, one of them has delivered.
        let mut furthest: Option<Vec<gateway::Response>> = None;
        for (_, address) in learners(&shared, None) {
            let Ok(reply) = shared.http.get(&address, &path, RETRY * 5).await else { continue };
            if reply.status != StatusCode::OK {
                continue;
            }
            let Some(older) = read_deliveries(&reply.body, shared.clock.unix_ms()) else {
                continue;
            };
            let newest = |it: &Vec<gateway::Response>| it.last().map(|response| response.index);
            if furthest.as_ref().is_none_or(|known| newest(&older) > newest(known)) {
                furthest = Some(older);
            }
        }
        if let Some(older) = furthest {
            if !gateway.tell(Call::Restore(older)).await {
                debug!("the gateway has stopped");
            }
            return;
        }
        let pause = Duration::from_millis(200 * u64::from(attempt.min(10) + 1));
        if shared.stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
    }
}

fn read_deliveries(body: &[u8], now_ms: u64) -> Option<Vec<gateway::Response>> {
    let body: DeliveriesBody<'_> = serde_json::from_slice(body).ok()?;
    let learner = LearnerId(NodeId::new(body.learner_id).ok()?);
    body.deliveries
        .iter()
        .map(|delivery| {
            Some(gateway::Response {
                learner,
                proposal_number: delivery.proposal_number,
                value: Bytes::copy_from_slice(delivery.value.get().as_bytes()),
                learned_at_ms: delivery.learned_at_ms,
                received_at_ms: now_ms,
                index: Index::new(delivery.index),
                request: delivery.request_id.parse().ok()?,
            })
        })
        .collect()
}
