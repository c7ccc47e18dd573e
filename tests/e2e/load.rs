//! Writers in the background, who keep book of what became of each value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use paxosd::http::ClientError;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::http::{Answer, Caller};

/// A writer's pause between two values: enough load to catch a node at work, and room on a small
/// machine.
const PAUSE: Duration = Duration::from_millis(5);

/// What became of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was applied, at this index.
    Acknowledged(u64),
    /// It was certainly not applied: a refusal, or nobody was reached.
    NotApplied(String),
    /// It may have been applied.
    Unknown(String),
}

/// A value that was sent once.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) value: String,
    pub(crate) fate: Fate,
    /// How long the answer took.
    pub(crate) took: Duration,
    /// When it came.
    pub(crate) at: Instant,
}

/// Writers at work.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<Vec<Sent>>>,
    runtime: tokio::runtime::Handle,
}

/// The books of all writers.
#[derive(Debug)]
pub(crate) struct Books(pub(crate) Vec<Sent>);

impl Load {
    /// Starts `writers` writers, who take turns at both clients. Their values begin with `label`.
    pub(crate) fn start(cluster: &Cluster, label: &str, writers: usize) -> Self {
        Self::through(&[cluster.client(1), cluster.client(2)], cluster, label, writers)
    }

    /// Likewise, at the given clients.
    pub(crate) fn through(
        clients: &[Caller],
        cluster: &Cluster,
        label: &str,
        writers: usize,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let runtime = cluster.runtime();
        let writers = (0..writers)
            .map(|writer| {
                let client = clients[writer % clients.len()].clone();
                let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
                runtime.spawn(write(client, format!("{label}-{writer}"), stop, acknowledged))
            })
            .collect();
        Self { stop, acknowledged, writers, runtime }
    }

    /// How many values are acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `more` values are acknowledged than now.
    pub(crate) fn wait_for(&self, cluster: &Cluster, more: usize) {
        let goal = self.acknowledged() + more;
        let what = format!("{more} more writes are acknowledged");
        cluster.poll(&what, || (self.acknowledged() >= goal).then_some(()));
    }

    /// Lets every writer finish its value, and gathers the books.
    pub(crate) fn finish(mut self) -> Books {
        self.stop.store(true, Ordering::Relaxed);
        let mut books = Vec::new();
        for writer in std::mem::take(&mut self.writers) {
            books.extend(self.runtime.block_on(writer).unwrap());
        }
        Books(books)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn write(
    client: Caller,
    label: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let value = format!("{label}-{}", sent.len());
        let sent_at = Instant::now();
        let fate = fate(client.send_async("/send", None, &value).await);
        if matches!(fate, Fate::Acknowledged(_)) {
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        let at = Instant::now();
        sent.push(Sent { value, fate, took: at - sent_at, at });
        tokio::time::sleep(PAUSE).await;
    }
    sent
}

/// What an answer to `/send` says.
pub(crate) fn fate(answer: Result<Answer, ClientError>) -> Fate {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.is_certainly_not_sent() => return Fate::NotApplied(error.to_string()),
        Err(error) => return Fate::Unknown(error.to_string()),
    };
    match answer.status {
        200 => Fate::Acknowledged(answer.json["index"].as_u64().unwrap()),
        429 | 503 => Fate::NotApplied(answer.json.to_string()),
        _ => Fate::Unknown(format!("{} {}", answer.status, answer.json)),
    }
}

impl Books {
    /// How many values are acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.0.iter().filter(|sent| matches!(sent.fate, Fate::Acknowledged(_))).count()
    }

    /// The longest time between two acknowledgements.
    pub(crate) fn longest_gap(&self) -> Duration {
        let is_acknowledged = |sent: &&Sent| matches!(sent.fate, Fate::Acknowledged(_));
        let mut times: Vec<Instant> =
            self.0.iter().filter(is_acknowledged).map(|sent| sent.at).collect();
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// The values without an acknowledgement, with what was said of them.
    pub(crate) fn others(&self) -> Vec<&Sent> {
        self.0.iter().filter(|sent| !matches!(sent.fate, Fate::Acknowledged(_))).collect()
    }

    /// That `values`, in delivered order, agree with the books: every acknowledged value is there
    /// at its index, none that was refused, and none twice.
    pub(crate) fn check(&self, values: &[Value]) {
        let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (position, value) in values.iter().enumerate() {
            found.entry(value.as_str().unwrap()).or_default().push(position + 1);
        }
        for (value, indices) in &found {
            assert_eq!(indices.len(), 1, "{value} was applied at {indices:?}");
        }
        for Sent { value, fate, .. } in &self.0 {
            let index = found.get(value.as_str()).map(|indices| indices[0]);
            match fate {
                Fate::Acknowledged(said) => {
                    let index = index.map(|index| u64::try_from(index).unwrap());
                    assert_eq!(index, Some(*said), "{value} was acknowledged at {said}");
                }
                Fate::NotApplied(why) => {
                    assert_eq!(index, None, "{value} was applied, but the answer was {why}");
                }
                Fate::Unknown(_) => {}
            }
        }
    }
}
