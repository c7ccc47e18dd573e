//! The same request more than once: one effect.

use serde_json::json;

use super::cluster::Cluster;

const LEARNERS: [&str; 2] = ["learner1", "learner2"];

#[test]
fn a_key_names_one_write_at_every_client_and_across_restarts() {
    let mut cluster = Cluster::start();
    let first = cluster.client(1).send_as("order 1", "one pizza").unwrap();
    assert_eq!((first.status, &first.json["index"]), (200, &json!(1)), "{}", first.json);
    for client in [1, 2, 1] {
        let again = cluster.client(client).send_as("order 1", "one pizza").unwrap();
        assert_eq!((again.status, &again.json["index"]), (200, &json!(1)), "{}", again.json);
        assert_eq!(again.json["request_id"], first.json["request_id"]);
        assert_eq!(again.json["proposal_number"], first.json["proposal_number"]);
    }
    let other = cluster.client(2).send_as("order 1", "two pizzas").unwrap();
    assert_eq!(other.status, 422, "{}", other.json);
    assert_eq!(other.json["outcome"], "not_applied");
    cluster.kill9_all();
    for name in cluster.names() {
        cluster.start_node(&name);
    }
    cluster.wait_serving();
    let again = cluster.client(2).send_as("order 1", "one pizza").unwrap();
    assert_eq!((again.status, &again.json["index"]), (200, &json!(1)), "{}", again.json);
    assert_eq!(cluster.agreed_values(&LEARNERS), ["one pizza"]);
}

#[test]
fn retries_while_the_leader_is_killed_have_one_effect() {
    let mut cluster = Cluster::start();
    let runtime = cluster.runtime();
    for round in 0..4_u64 {
        let leader = cluster.leader();
        // Ten keys, each sent twice through each client, all at once.
        let sends: Vec<_> = (0..40)
            .map(|number| {
                let client = cluster.client(number % 2 + 1);
                let key = format!("round {round} key {}", number / 4);
                runtime.spawn(async move {
                    let answer = client.send_async("/send", Some(&key), &key).await.unwrap();
                    (key, answer)
                })
            })
            .collect();
        cluster.kill9(&leader);
        let mut indices = std::collections::BTreeMap::new();
        for send in sends {
            let (key, answer) = runtime.block_on(send).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.json);
            let index = answer.json["index"].as_u64().unwrap();
            assert_eq!(*indices.entry(key).or_insert(index), index);
        }
        assert_eq!(indices.len(), 10);
        for (key, index) in indices {
            let again = cluster.client(1).send_as(&key, &key).unwrap();
            assert_eq!(again.json["index"], index, "{}", again.json);
        }
        cluster.start_node(&leader);
        cluster.wait_serving();
    }
    assert_eq!(cluster.agreed_values(&LEARNERS).len(), 40);
}
