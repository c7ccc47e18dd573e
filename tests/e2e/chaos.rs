//! Any node, at any time, in any way: whatever was answered stays true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use paxosd::types::Role;
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::chance;
use super::cluster::Cluster;
use super::http::Caller;
use super::load::{Fate, Load, fate};

/// How long nodes are hurt.
const TROUBLE: Duration = Duration::from_secs(20);

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Kill,
    Terminate,
    Freeze,
    /// Of a learner: its directory goes too.
    Wipe,
}

#[test]
fn whatever_happens_to_any_node_every_answer_stays_true() {
    let mut chance = chance("whatever_happens_to_any_node_every_answer_stays_true");
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 6);
    let stop = Arc::new(AtomicBool::new(false));
    let readers = [(1, 2), (2, 1)].map(|(writer, reader)| {
        let (writer, reader) = (cluster.client(writer), cluster.client(reader));
        cluster.runtime().spawn(read_what_was_written(writer, reader, stop.clone()))
    });
    let names = cluster.names();
    let learners = cluster.names_of(Role::Learner);
    let mut hurt: Vec<(String, Harm)> = Vec::new();
    // A learner that lost its directory, until it has on disk all that the other one had then:
    // others are hurt and healed meanwhile, among them those it learns from.
    let mut refilled: Option<(String, u64)> = None;
    let began = Instant::now();
    while began.elapsed() < TROUBLE {
        // Up to four at once, so that now and then there is no quorum, no leader or no learner.
        let well: Vec<&String> =
            names.iter().filter(|name| hurt.iter().all(|(it, _)| it != *name)).collect();
        refilled.take_if(|(name, slot)| {
            well.contains(&&*name)
                && cluster.number(name, "durable_slot").is_some_and(|it| it >= *slot)
        });
        if hurt.len() < 4 && chance.random_bool(0.6) {
            let name = (*well.choose(&mut chance).unwrap()).clone();
            // One learner keeps the history, as an acceptor keeps its votes.
            let may_wipe = learners.contains(&name)
                && learners.iter().all(|other| *other == name || well.contains(&other))
                && refilled.is_none();
            let harms: &[Harm] = if may_wipe {
                &[Harm::Kill, Harm::Terminate, Harm::Freeze, Harm::Wipe]
            } else {
                &[Harm::Kill, Harm::Terminate, Harm::Freeze]
            };
            let harm = *harms.choose(&mut chance).unwrap();
            eprintln!("{:>6} ms {harm:?} {name}", began.elapsed().as_millis());
            match harm {
                Harm::Kill => cluster.kill9(&name),
                Harm::Terminate => drop(cluster.terminate(&name)),
                Harm::Freeze => cluster.pause(&name),
                Harm::Wipe => {
                    cluster.kill9(&name);
                    cluster.wipe(&name);
                    let other = learners.iter().find(|other| **other != name).unwrap();
                    let slot = cluster.poll("the other learner tells what it has", || {
                        cluster.number(other, "durable_slot")
                    });
                    refilled = Some((name.clone(), slot));
                }
            }
            hurt.push((name, harm));
        } else if !hurt.is_empty() {
            let (name, harm) = hurt.swap_remove(chance.random_range(0..hurt.len()));
            eprintln!("{:>6} ms heal {name}", began.elapsed().as_millis());
            heal(&mut cluster, &name, harm);
        }
        std::thread::sleep(Duration::from_millis(chance.random_range(0..400)));
    }
    for (name, harm) in hurt {
        heal(&mut cluster, &name, harm);
    }
    cluster.wait_serving();
    load.wait_for(&cluster, 50);
    let books = load.finish();
    stop.store(true, Ordering::Relaxed);
    let read: usize = readers.into_iter().map(|it| cluster.runtime().block_on(it).unwrap()).sum();
    eprintln!("{read} values read at once through the other client");
    eprintln!("{} writes, {} acknowledged", books.0.len(), books.acknowledged());
    books.check(&cluster.agreed_values(&["learner1", "learner2"]));
}

/// Writes through one client, and what was acknowledged must at once be seen through the other.
async fn read_what_was_written(writer: Caller, reader: Caller, stop: Arc<AtomicBool>) -> usize {
    let mut read = 0;
    for number in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let value = format!("read {writer} {number}");
        let fate = fate(writer.send_async("/send?timeout_ms=2000", None, &value).await);
        if let Fate::Acknowledged(index) = fate {
            let path = format!("/read?from={index}&limit=1&timeout_ms=2000");
            let seen = reader.get_async(&path).await;
            if let Ok(seen) = seen
                && seen.status == 200
            {
                assert_eq!(seen.json["values"], serde_json::json!([value]), "{}", seen.json);
                read += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    read
}

fn heal(cluster: &mut Cluster, name: &str, harm: Harm) {
    match harm {
        Harm::Kill | Harm::Terminate | Harm::Wipe => cluster.start_node(name),
        Harm::Freeze => cluster.resume(name),
    }
}
