//! Callers at both gateways, who write and read all the time and have it written down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use sim::linearizable::CallId;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::http::{Answer, Caller};
use super::record::Record;

/// Callers at work.
const CALLERS: u64 = 48;

/// Between two operations of a caller. One that was held up makes up for it, so the load is what it
/// is meant to be whenever the cluster can take it.
const PACE: Duration = Duration::from_millis(40);

/// What a caller lets its gateway try.
const PATIENCE_MS: u64 = 1500;

/// How long a caller waits for an answer: no gateway that runs takes so long.
const GIVE_UP: Duration = Duration::from_secs(4);

/// How often a caller asks again, in the hope of an outcome.
const ATTEMPTS_MAX: usize = 6;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// One write in so many has several values.
const LIST_ONE_IN: u32 = 8;

/// One read in so many begins at any index, and one in so many may be stale.
const OLD_ONE_IN: u32 = 4;
const STALE_ONE_IN: u32 = 8;

/// Values that most reads ask for: few enough to be read over a link.
const READ_VALUES: u64 = 4;

/// Values that one in four reads asks for: they come over HTTP.
const READ_MANY: u64 = 20;

/// Callers, until they are told to stop.
#[derive(Debug)]
pub(crate) struct Workload {
    shared: Arc<Shared>,
    callers: Vec<JoinHandle<()>>,
    runtime: Handle,
}

#[derive(Debug)]
struct Shared {
    gateways: [Caller; 2],
    record: Arc<Record>,
    stop: AtomicBool,
}

impl Workload {
    /// Starts the callers; `seed` decides what they do.
    pub(crate) fn start(
        gateways: [Caller; 2],
        record: Arc<Record>,
        runtime: Handle,
        seed: u64,
    ) -> Self {
        let shared = Arc::new(Shared { gateways, record, stop: AtomicBool::new(false) });
        let callers = (0..CALLERS)
            .map(|number| {
                let chance = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(CALLERS) ^ number);
                runtime.spawn(Client { number, chance, shared: shared.clone() }.run())
            })
            .collect();
        Self { shared, callers, runtime }
    }

    /// Lets every caller finish what it is at.
    pub(crate) fn finish(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            self.runtime.block_on(caller).unwrap();
        }
    }
}

/// One caller.
struct Client {
    number: u64,
    chance: ChaCha8Rng,
    shared: Arc<Shared>,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Applied,
    NotApplied,
    /// Nothing for certain; the gateway may be asked later, if it told a name.
    Unknown {
        name: Option<String>,
    },
}

impl Client {
    async fn run(mut self) {
        sleep(PACE.mul_f64(self.chance.random())).await;
        let mut turns = interval(PACE);
        turns.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for turn in 0_u64.. {
            turns.tick().await;
            if self.shared.stop.load(Ordering::Relaxed) {
                break;
            }
            match self.chance.random_range(0..4) {
                0 => self.write_once(turn).await,
                1 => self.write_until_known(turn).await,
                _ => self.read().await,
            }
        }
    }

    /// Sends values once. Where the outcome is unknown, the gateway is asked for it.
    async fn write_once(&mut self, turn: u64) {
        let (values, gateway) = (self.values(turn), self.any_gateway());
        let id = self.shared.record.write(None, &values);
        let Said::Unknown { name: Some(name) } = self.attempt(gateway, id, None, &values).await
        else {
            return;
        };
        for _ in 0..ATTEMPTS_MAX {
            sleep(PAUSE).await;
            if self.asked_later(gateway, id, &name).await {
                return;
            }
        }
    }

    /// Sends values under a key, to one gateway after the other, until they are surely applied.
    async fn write_until_known(&mut self, turn: u64) {
        let (values, gateway) = (self.values(turn), self.any_gateway());
        let key = format!("key of {}", values[0]);
        for attempt in 0..ATTEMPTS_MAX {
            let id = self.shared.record.write(Some(&key), &values);
            let gateway = (gateway + attempt) % self.shared.gateways.len();
            if self.attempt(gateway, id, Some(&key), &values).await == Said::Applied {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn read(&mut self) {
        let record = &self.shared.record;
        let newest = record.highest_index();
        let is_old = newest > 0 && self.chance.random_ratio(1, OLD_ONE_IN);
        let from = is_old.then(|| self.chance.random_range(1..=newest));
        let is_stale = self.chance.random_ratio(1, STALE_ONE_IN);
        let from_text = from.map(|from| format!("&from={from}")).unwrap_or_default();
        let consistency = if is_stale { "stale" } else { "linearizable" };
        let values = if self.chance.random_ratio(1, 4) { READ_MANY } else { READ_VALUES };
        let path = format!(
            "/read?limit={values}{from_text}&consistency={consistency}\
             &timeout_ms={PATIENCE_MS}"
        );
        let gateway = self.chance.random_range(0..self.shared.gateways.len());
        let gateway = &self.shared.gateways[gateway];
        let id = record.read(from, values, is_stale);
        match timeout(GIVE_UP, gateway.get_async(&path)).await {
            Ok(Ok(Answer { status: 200, json, .. })) => record.served(id, is_stale, &json),
            Ok(Ok(Answer { status: 429 | 503 | 504, .. }) | Err(_)) | Err(_) => record.refused(id),
            Ok(Ok(answer)) => panic!("a read was answered {} {}", answer.status, answer.json),
        }
    }

    /// Values that nobody sent before.
    fn values(&mut self, turn: u64) -> Vec<String> {
        let is_list = self.chance.random_ratio(1, LIST_ONE_IN);
        let count = if is_list { self.chance.random_range(2..=4) } else { 1 };
        (0..count).map(|part| format!("{}-{turn}-{part}", self.number)).collect()
    }

    fn any_gateway(&mut self) -> usize {
        self.chance.random_range(0..self.shared.gateways.len())
    }

    /// One attempt at a write, with its end written down.
    async fn attempt(
        &self,
        gateway: usize,
        id: CallId,
        key: Option<&str>,
        values: &[String],
    ) -> Said {
        let body = match values {
            [value] => json!({ "value": value }),
            values => json!({ "values": values }),
        };
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        let path = format!("/send?timeout_ms={PATIENCE_MS}");
        let sent = self.shared.gateways[gateway].post_async(&path, &headers, &body);
        let record = &self.shared.record;
        let (said, json) = match timeout(GIVE_UP, sent).await {
            Ok(Ok(answer)) => (said(&answer), answer.json),
            Ok(Err(error)) if error.is_certainly_not_sent() => (Said::NotApplied, Value::Null),
            Ok(Err(_)) | Err(_) => (Said::Unknown { name: None }, Value::Null),
        };
        match said {
            Said::Applied => record.applied(id, &json),
            Said::NotApplied => record.not_applied(id),
            Said::Unknown { .. } => record.unknown(id),
        }
        said
    }

    /// Asks a gateway what became of a request of its own. Returns whether it knows.
    async fn asked_later(&self, gateway: usize, id: CallId, name: &str) -> bool {
        let path = format!("/requests/{name}");
        let asked = self.shared.gateways[gateway].get_async(&path);
        let Ok(Ok(Answer { status: 200, json, .. })) = timeout(GIVE_UP, asked).await else {
            return false;
        };
        let record = &self.shared.record;
        match json["state"].as_str().unwrap() {
            "applied" => record.applied(id, &json),
            "not_applied" => record.not_applied(id),
            "pending" | "unknown" => return false,
            other => panic!("{name} is {other}"),
        }
        record.told_later();
        true
    }
}

/// What an answer to `/send` says.
fn said(answer: &Answer) -> Said {
    let json = &answer.json;
    match (answer.status, json["outcome"].as_str()) {
        (200, _) => Said::Applied,
        (429 | 503, Some("not_applied") | None) => Said::NotApplied,
        (503 | 504, _) => {
            Said::Unknown { name: json["request_id"].as_str().map(ToOwned::to_owned) }
        }
        (status, _) => panic!("a write was answered {status} {json}"),
    }
}
