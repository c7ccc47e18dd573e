//! Without a quorum: what is unknown is called unknown, what is refused was not applied, and all
//! goes on by itself.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::http::Caller;
use super::load::Load;

const LEARNERS: [&str; 2] = ["learner1", "learner2"];

#[test]
fn without_a_quorum_writes_end_as_unknown_or_refused_and_then_go_on_by_themselves() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.client(1).send("first").unwrap().status, 200);
    let runtime = cluster.runtime();
    // Two acceptors freeze, so that what is sent now is under way for sure, and then die.
    for acceptor in ["acceptor2", "acceptor3"] {
        cluster.pause(acceptor);
    }
    let sends: Vec<_> = (0..6_u8)
        .map(|number| {
            let client = cluster.client(number % 2 + 1);
            runtime.spawn(async move {
                let value = format!("in flight {number}");
                let answer = client.send_async("/send?timeout_ms=1500", None, &value).await;
                (client, value, answer.unwrap())
            })
        })
        .collect();
    let mut in_flight: Vec<(Caller, String, String)> = Vec::new();
    cluster.poll("acceptor1 has votes that the others lack", || {
        let state = cluster.view_logs("acceptor1").unwrap();
        state["accepted_proposal"]["value"].to_string().contains("in flight").then_some(())
    });
    for acceptor in ["acceptor2", "acceptor3"] {
        cluster.kill9(acceptor);
    }
    for send in sends {
        let (client, value, answer) = runtime.block_on(send).unwrap();
        if answer.status == 504 {
            assert_eq!(answer.json["outcome"], "unknown", "{}", answer.json);
            let id = answer.json["request_id"].as_str().unwrap().to_owned();
            in_flight.push((client, value, id));
        } else {
            // One that had not reached an accept when the quorum was found missing.
            assert_eq!(answer.status, 503, "{}", answer.json);
            assert_eq!(answer.json["outcome"], "not_applied");
        }
    }
    assert!(!in_flight.is_empty());
    for (client, _, id) in &in_flight {
        let told = client.get(&format!("/requests/{id}")).unwrap();
        assert!(["pending", "unknown"].iter().any(|it| told.json["state"] == *it), "{}", told.json);
    }
    let doubted = expect_refusals(&cluster);
    let read = cluster.client(1).get("/read?timeout_ms=500").unwrap();
    assert_eq!(read.status, 503, "{}", read.json);
    assert_eq!(read.json["quorum"]["missing"], json!(["acceptor2", "acceptor3"]), "{}", read.json);
    let stale = cluster.client(1).get("/read?consistency=stale").unwrap();
    assert_eq!(stale.json["values"][0], "first");
    cluster.start_node("acceptor3");
    cluster.poll("writes go on", || {
        (cluster.client(2).send("again").unwrap().status == 200).then_some(())
    });
    let mut applied = Vec::new();
    for (client, value, id) in &in_flight {
        let told = cluster.poll("what was unknown is settled", || {
            let told = client.get(&format!("/requests/{id}")).ok()?.json;
            (told["state"] == "applied" || told["state"] == "not_applied").then_some(told)
        });
        eprintln!("{value}: {told}");
        if told["state"] == "applied" {
            applied.push((value.as_str(), told["index"].as_u64().unwrap()));
        }
    }
    let values = cluster.agreed_values(&LEARNERS);
    for (value, index) in &applied {
        assert_eq!(values[usize::try_from(*index).unwrap() - 1], *value);
    }
    let in_list = |prefix: &str| {
        let certain = values.iter().filter(|value| !doubted.contains(value));
        certain.filter(|value| value.as_str().unwrap().starts_with(prefix)).count()
    };
    assert_eq!(in_list("in flight"), applied.len(), "{values:?}");
    assert_eq!(in_list("refused"), 0, "{values:?}");
}

/// Writes while acceptors 2 and 3 are gone: each is refused, and says who is missing. Tells of
/// those that ended in doubt instead.
fn expect_refusals(cluster: &Cluster) -> Vec<Value> {
    let runtime = cluster.runtime();
    let mut doubted = Vec::new();
    for number in 0..4_u8 {
        let value = format!("refused {number}");
        let client = cluster.client(number % 2 + 1);
        let answer = client.post("/send?timeout_ms=1000", &json!({ "value": value })).unwrap();
        if answer.status == 504 {
            // On a machine this busy an answer of the proposer's may come too late.
            doubted.push(json!(value));
            continue;
        }
        assert_eq!(answer.status, 503, "{}", answer.json);
        assert_eq!(answer.json["outcome"], "not_applied");
        assert!(answer.headers.contains_key("retry-after"));
        let quorum = &answer.json["quorum"];
        assert_eq!(quorum["need"], 2, "{}", answer.json);
        assert_eq!(quorum["missing"], json!(["acceptor2", "acceptor3"]), "{}", answer.json);
    }
    // Many at once, with all kinds of patience.
    let refusals: Vec<_> = (4..104_u8)
        .map(|number| {
            let client = cluster.client(number % 2 + 1);
            runtime.spawn(async move {
                let value = format!("refused {number}");
                let path = format!("/send?timeout_ms={}", 100 + 7 * u32::from(number));
                (value.clone(), client.send_async(&path, None, &value).await.unwrap())
            })
        })
        .collect();
    for refusal in refusals {
        let (value, answer) = runtime.block_on(refusal).unwrap();
        if answer.status != 503 {
            assert_eq!(answer.json["outcome"], "unknown", "{}", answer.json);
            doubted.push(json!(value));
        }
    }
    assert!(doubted.len() < 50, "refusals are the rule: {} of 104", doubted.len());
    eprintln!("{} of 104 are in doubt", doubted.len());
    doubted
}

#[test]
fn writers_outlive_the_loss_of_a_quorum() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 8);
    load.wait_for(&cluster, 50);
    cluster.kill9("acceptor1");
    cluster.kill9("acceptor2");
    cluster.poll("some proposer misses them", || {
        let answer = cluster.client(1).post("/send?timeout_ms=300", &json!({ "value": "probe" }));
        (answer.unwrap().status == 503).then_some(())
    });
    cluster.start_node("acceptor1");
    load.wait_for(&cluster, 50);
    cluster.start_node("acceptor2");
    load.wait_for(&cluster, 50);
    let books = load.finish();
    books.check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn a_request_whose_client_died_is_settled_through_another() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.client(1).send("first").unwrap().status, 200);
    for acceptor in ["acceptor2", "acceptor3"] {
        cluster.pause(acceptor);
    }
    let ids: Vec<String> = (0..3)
        .map(|number| {
            let body = json!({ "value": format!("left behind {number}") });
            let answer = cluster.client(1).post("/send?wait=false", &body).unwrap();
            assert_eq!(answer.status, 202, "{}", answer.json);
            answer.json["request_id"].as_str().unwrap().to_owned()
        })
        .collect();
    cluster.kill9("client1");
    for acceptor in ["acceptor2", "acceptor3"] {
        cluster.resume(acceptor);
    }
    let mut applied = 0;
    for id in ids {
        let state = cluster.poll("it is settled", || {
            let told = cluster.client(2).get(&format!("/requests/{id}")).unwrap();
            let state = told.json["state"].as_str().unwrap_or("none").to_owned();
            (state == "applied" || state == "not_applied").then_some(state)
        });
        applied += usize::from(state == "applied");
    }
    assert_eq!(cluster.client(2).send("last").unwrap().status, 200);
    let values = cluster.agreed_values(&LEARNERS);
    assert_eq!(values.len(), 2 + applied, "{values:?}");
}
