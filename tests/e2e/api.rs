//! The HTTP contract: every call, field and status of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::raw::{self, Raw};

/// One node of each role.
const ROLES: [&str; 4] = ["proposer1", "acceptor1", "learner1", "client1"];

/// What every role's state holds, as the original sent it.
const PROPOSER_STATE: [&str; 9] = [
    "is_leader",
    "current_leader",
    "in_election",
    "proposal_counter",
    "acceptors_count",
    "learners_count",
    "known_nodes_count",
    "current_proposal",
    "events",
];
const ACCEPTOR_STATE: [&str; 8] = [
    "highest_promised_number",
    "accepted_proposal",
    "learners_count",
    "known_nodes_count",
    "current_leader",
    "durable_slot",
    "trimmed_slot",
    "events",
];
const LEARNER_STATE: [&str; 10] = [
    "learned_values_count",
    "recent_learned_values",
    "clients_count",
    "known_nodes_count",
    "current_leader",
    "chosen_slot",
    "delivered_index",
    "state_hash",
    "shared_data",
    "events",
];
const CLIENT_STATE: [&str; 7] = [
    "proposers_count",
    "responses_count",
    "recent_responses",
    "known_nodes_count",
    "current_leader",
    "in_flight",
    "events",
];

#[test]
fn every_node_tells_on_both_ports_how_it_is() {
    let cluster = Cluster::start();
    assert_eq!(cluster.client(1).send("a").unwrap().status, 200);
    for name in ROLES {
        let node = cluster.node(name);
        for port in [node.api_port, node.monitor_port] {
            let health = raw::get(port, "/health");
            assert_eq!((health.status, health.header("content-type")), (200, Some(JSON)));
            let health = health.json();
            assert_eq!(health["status"], "healthy");
            assert_eq!(health["role"], node.role.to_string());
            assert_eq!(health["id"], node.id.get());
            assert_eq!(health["name"], name);
            assert!(!health["checks"].as_array().unwrap().is_empty(), "{health}");
            for probe in ["/livez", "/readyz"] {
                assert_eq!(raw::get(port, probe).json(), json!({ "ok": true }));
                let verbose = raw::get(port, &format!("{probe}?verbose")).json();
                assert_eq!(verbose["checks"][0]["ok"], true, "{verbose}");
            }
            let metrics = raw::get(port, "/metrics");
            assert_eq!(metrics.status, 200);
            for metric in ["paxosd_build_info{", "paxosd_has_leader 1", "# TYPE ", "# EOF"] {
                assert!(metrics.body.contains(metric), "{name} shows no {metric}");
            }
            assert_eq!(raw::get(port, "/view-logs").status, 200);
        }
        let state = cluster.poll("the leader is known to all", || {
            cluster.view_logs(name).filter(|state| state["current_leader"].is_u64())
        });
        let fields: &[&str] = match name {
            "proposer1" => &PROPOSER_STATE,
            "acceptor1" => &ACCEPTOR_STATE,
            "learner1" => &LEARNER_STATE,
            _ => &CLIENT_STATE,
        };
        for field in fields {
            assert!(state.get(field).is_some(), "{name} shows no {field}: {state}");
        }
        assert_eq!(state["id"], node.id.get());
        assert_eq!(state["role"], node.role.to_string());
        assert_eq!(state["known_nodes_count"], 10);
    }
    let learner = cluster.view_logs("learner1").unwrap();
    assert_eq!(learner["shared_data"], json!(["a"]));
    assert_eq!(learner["recent_learned_values"][0]["value"], "a");
    let acceptor = cluster.view_logs("acceptor1").unwrap();
    assert_eq!(acceptor["accepted_proposal"]["value"], "a");
    assert_eq!(acceptor["accepted_proposal"]["number"], acceptor["highest_promised_number"]);
}

const JSON: &str = "application/json";

#[test]
fn the_monitor_port_takes_no_write() {
    let cluster = Cluster::start();
    let writes = [
        ("client1", "/send"),
        ("client1", "/notify"),
        ("client1", "/gossip"),
        ("proposer1", "/propose"),
        ("proposer1", "/heartbeat"),
        ("acceptor1", "/prepare"),
        ("acceptor1", "/accept"),
        ("learner1", "/learn"),
    ];
    for (name, path) in writes {
        let port = cluster.node(name).monitor_port;
        raw::post(port, path, r#"{"value":"x","sender_id":1}"#).problem(404, "Not found");
    }
    for path in ["/health", "/livez", "/readyz", "/view-logs", "/metrics"] {
        let port = cluster.node("client1").monitor_port;
        let refused = raw::post(port, path, "{}");
        refused.problem(405, "Method not allowed");
        assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    }
    raw::get(cluster.node("client1").monitor_port, "/peer").problem(404, "Not found");
    assert!(cluster.values("learner1").is_empty());
}

#[test]
fn events_page_forward_without_a_gap_and_follow_as_a_stream() {
    let cluster = Cluster::start();
    for number in 0..20 {
        cluster.client(1).send(&format!("{number}")).unwrap();
    }
    let caller = cluster.node_caller("learner1");
    let mut since = 0;
    loop {
        let page = caller.get(&format!("/view-logs?since={since}&limit=7")).unwrap().json;
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            break;
        }
        for event in events {
            since += 1;
            assert_eq!(event["seq"], since, "{event}");
            let at = event["at"].as_str().unwrap();
            assert!(at.starts_with("20") && at.ends_with('Z'), "{at}");
            for field in ["kind", "ballot", "slot", "peer", "text"] {
                assert!(event.get(field).is_some(), "no {field}: {event}");
            }
        }
    }
    assert!(since > 40, "20 values leave more than {since} events");
    let newest = caller.get("/view-logs?limit=1").unwrap().json;
    assert_eq!(newest["events"].as_array().unwrap().len(), 1);
    assert!(newest["events"][0]["seq"].as_u64() >= Some(since), "{newest}");
    let mut stream = caller.stream("/view-logs?follow=true&since=3", None);
    assert_eq!(stream.next().0, 4);
    let mut resumed = caller.stream("/view-logs?follow=true", Some(since - 1));
    assert_eq!(resumed.next().0, since);
    raw::get(cluster.node("learner1").api_port, "/view-logs?since=x").problem(400, "Bad query");
}

#[test]
fn gossip_speaks_the_originals_words_and_carries_watermarks() {
    let cluster = Cluster::start();
    assert_eq!(cluster.client(1).send("a").unwrap().status, 200);
    let port = cluster.node("proposer2").api_port;
    let missing = raw::post(port, "/gossip", "{}");
    assert_eq!(missing.status, 400);
    assert_eq!(missing.json(), json!({ "status": "error", "message": "Missing sender_id" }));
    let original = r#"{"sender_id":4,"sender_role":"acceptor","nodes":{},"leader_id":null,
                       "timestamp":1700000000.5}"#;
    let answer = raw::post(port, "/gossip", original).json();
    assert_eq!(answer["status"], "ok");
    assert_eq!(answer["updates"], 0);
    assert_eq!(answer["node_count"], 10);
    let table = cluster.poll("watermarks are gossiped", || {
        let table = raw::get(port, "/gossip/nodes").json();
        let is_delivered = table["nodes"]["7"]["metadata"]["delivered_index"] == "1";
        let is_voting = table["nodes"]["4"]["metadata"]["voting"] == "true";
        (is_delivered && is_voting).then_some(table)
    });
    assert_eq!(table["total"], 10);
    let leader = table["leader_id"].as_u64().expect("somebody leads");
    let node = &table["nodes"]["4"];
    assert_eq!((&node["id"], &node["role"]), (&json!(4), &json!("acceptor")));
    assert_eq!(node["address"], "127.0.0.1");
    assert_eq!(node["port"], cluster.node("acceptor1").api_port);
    assert_eq!(node["state"], "alive");
    assert!(node["version"].is_u64() && node["incarnation"].is_u64(), "{node}");
    assert!(node["last_seen"].as_f64().unwrap() > 1_700_000_000.0, "{node}");
    assert_eq!(node["metadata"]["voting"], "true");
    assert!(table["nodes"][leader.to_string()]["metadata"]["is_leader"].is_string(), "{table}");
}

#[test]
fn a_proposer_answers_when_the_value_is_delivered_and_forwards_once() {
    let cluster = Cluster::start();
    let leader = cluster.leader();
    let leader_id = cluster.node(&leader).id.get();
    let names = ["proposer1", "proposer2", "proposer3"];
    let follower = names.into_iter().find(|name| *name != leader).unwrap();
    let mut index = 0;
    for name in [leader.as_str(), follower] {
        let caller = cluster.node_caller(name);
        let body = json!({ "value": "v", "client_id": 9, "is_leader_election": true });
        let done = caller.post("/propose", &body).unwrap();
        index += 1;
        assert_eq!(done.status, 200, "{}", done.json);
        assert_eq!(done.json["status"], "proposal received");
        assert_eq!(done.json["index"], index);
        let proposer = done.json["proposal_number"].as_u64().unwrap() % 100;
        assert_eq!(done.json["proposer_id"], proposer);
        assert!(done.json["slot"].is_u64() && done.json["request_id"].is_string());
        let now = caller.post("/propose", &json!({ "value": "w", "wait": false })).unwrap();
        index += 1;
        assert_eq!(now.status, 202, "{}", now.json);
        let id = now.json["request_id"].as_str().unwrap();
        cluster.poll("the request is applied", || {
            let state = caller.get(&format!("/requests/{id}")).unwrap();
            assert_eq!(state.status, 200);
            (state.json["state"] == "applied").then_some(())
        });
    }
    let request = json!({ "value": "once", "request_id": "my name" });
    let first = cluster.node_caller(follower).post("/propose", &request).unwrap();
    let again = cluster.node_caller(&leader).post("/propose", &request).unwrap();
    assert_eq!((first.status, &first.json), (200, &again.json));
    let port = cluster.node(follower).api_port;
    let refused = raw::post(port, "/propose?forward=false", r#"{"value":1}"#);
    let refused = refused.problem(403, "Not the leader");
    assert_eq!(
        (&refused["current_leader"], &refused["leader"]),
        (&json!(leader_id), &json!(leader_id))
    );
    assert_eq!(refused["outcome"], "not_applied");
    for body in ["{}", r#"{"value":null}"#] {
        raw::post(port, "/propose", body).problem(400, "Value required");
    }
    let heartbeat = raw::post(port, "/heartbeat", r#"{"leader_id":3,"timestamp":1.5}"#);
    assert_eq!(heartbeat.json(), json!({ "status": "acknowledged" }));
    assert_eq!(cluster.values("learner1"), ["v", "w", "v", "w", "once"]);
}

#[test]
fn protocol_calls_are_for_development_and_keep_the_promise() {
    let cluster = Cluster::start();
    for (name, path) in
        [("acceptor1", "/prepare"), ("acceptor1", "/accept"), ("learner1", "/learn")]
    {
        let refused = raw::post(cluster.node(name).api_port, path, "{}");
        let refused = refused.problem(403, "Protocol calls are switched off");
        assert!(refused["hint"].as_str().unwrap().contains("api.protocol_calls"), "{refused}");
    }
    drop(cluster);
    let cluster = Cluster::start_with(|config| config.api.protocol_calls = true);
    assert_eq!(cluster.client(1).send("a").unwrap().status, 200);
    cluster.wait_for_spares();
    let port = cluster.node("acceptor1").api_port;
    let prepare = |number: u64| {
        let body = json!({ "proposer_id": number % 100, "proposal_number": number });
        raw::post(port, "/prepare", &body.to_string())
    };
    let refused = prepare(101).json();
    assert_eq!(refused["status"], "rejected");
    let message = refused["message"].as_str().unwrap();
    assert!(message.starts_with("Already promised to higher proposal number: "), "{message}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let soon = (u64::try_from(now).unwrap() + 60_000) * 100 + 7;
    let promise = prepare(soon).json();
    assert_eq!(promise["status"], "promise");
    assert_eq!(promise["accepted_value"], "a");
    let last = promise["accepted"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["proposal_number"], promise["accepted_proposal_number"]);
    assert_eq!(last["value"], "a");
    assert!(promise.get("next_slot").is_some() && promise["trimmed_slot"] == 0, "{promise}");
    prepare(soon + 25 * 3_600_000 * 100).problem(400, "Bad proposal number");
    for body in ["{}", r#"{"proposer_id":7}"#, r#"{"proposal_number":107}"#] {
        raw::post(port, "/prepare", body).problem(400, "Missing required information");
        raw::post(port, "/accept", body).problem(400, "Missing required information");
    }
    let low = r#"{"proposer_id":1,"proposal_number":101,"value":false,"client_id":9}"#;
    assert_eq!(raw::post(port, "/accept", low).json()["status"], "rejected");
    // The leader takes its lead back above the promise that was made by hand.
    assert_eq!(cluster.client(1).send("b").unwrap().status, 200);
    let learner = cluster.node("learner1").api_port;
    let hint = r#"{"acceptor_id":4,"proposal_number":107,"value":"lie","client_id":9}"#;
    assert_eq!(raw::post(learner, "/learn", hint).json(), json!({ "status": "acknowledged" }));
    let missing = r#"{"acceptor_id":4,"proposal_number":107}"#;
    raw::post(learner, "/learn", missing).problem(400, "Missing required information");
    assert_eq!(cluster.agreed_values(&["learner1", "learner2"]), ["a", "b"]);
}

#[test]
fn zero_false_and_empty_are_values_and_all_come_back_as_they_were_written() {
    let cluster = Cluster::start();
    let (client, learner) = (cluster.node("client1").api_port, cluster.node("learner1").api_port);
    let values = [
        "0",
        "false",
        r#""""#,
        "[]",
        "{}",
        "[null]",
        "1.10",
        "123456789012345678901234567890",
        r#"{"z":1,"a":"é\u00e9 'x'"}"#,
    ];
    for (number, value) in values.iter().enumerate() {
        let sent = raw::post(client, "/send", &format!("{{\"value\":{value}}}"));
        assert_eq!(sent.status, 200, "{}", sent.body);
        assert_eq!(sent.json()["index"], number + 1);
        let path = format!("/values/{}", number + 1);
        let holds = |answer: &Raw| answer.body.contains(&format!("\"value\":{value},"));
        let one = raw::get(learner, &path);
        assert!(holds(&one), "{}", one.body);
        let responses = raw::get(client, "/get-responses");
        assert!(holds(&responses), "{}", responses.body);
    }
    let page = raw::get(learner, "/get-values");
    assert!(
        page.body.starts_with(&format!("{{\"values\":[{}]", values.join(","))),
        "{}",
        page.body
    );
    let state = raw::get(learner, "/view-logs");
    assert!(state.body.contains(&format!("\"shared_data\":[{}]", values.join(","))));
    for body in ["", "{}", r#"{"value":null}"#, r#"{"values":[]}"#, r#"{"values":[1,null]}"#] {
        let refused = raw::post(client, "/send", body).problem(400, "Value required");
        assert_eq!(refused["outcome"], "not_applied");
    }
    assert_eq!(cluster.values("learner2").len(), values.len());
}

#[test]
fn an_idempotency_key_names_one_request_at_every_gateway() {
    let cluster = Cluster::start();
    let first = cluster.client(1).send_as("key", "value").unwrap();
    assert_eq!(first.status, 200, "{}", first.json);
    for field in ["proposer_id", "proposal_number", "request_id", "slot", "index"] {
        assert!(!first.json[field].is_null(), "{field}: {}", first.json);
    }
    for number in [1, 2] {
        let again = cluster.client(number).send_as("key", "value").unwrap();
        assert_eq!((again.status, &again.json), (200, &first.json));
    }
    let port = cluster.node("client2").api_port;
    let keyed = ["content-type: application/json", "idempotency-key: key"];
    let other = raw::call(port, "POST", "/send", &keyed, br#"{"value":"other"}"#);
    let other = other.problem(422, "Idempotency-Key used with another value");
    assert_eq!(other["outcome"], "not_applied");
    let batch = json!({ "values": ["x", 0, [1]] });
    let many = cluster.client(1).post("/send", &batch).unwrap();
    assert_eq!((&many.json["first_index"], &many.json["last_index"]), (&json!(2), &json!(4)));
    raw::post(port, "/send", r#"{"value":1,"values":[2]}"#).problem(400, "Both value and values");
    let long = format!("idempotency-key: {}", "k".repeat(256));
    raw::call(port, "POST", "/send", &[long.as_str()], br#"{"value":1}"#)
        .problem(400, "Bad Idempotency-Key");
    let values = [json!("value"), json!("x"), json!(0), json!([1])];
    assert_eq!(cluster.agreed_values(&["learner1", "learner2"]), values);
}

#[test]
fn what_became_of_a_request_is_known_everywhere_and_after_a_restart() {
    let mut cluster = Cluster::start();
    let caller = cluster.client(1);
    let now = caller.post("/send?wait=false", &json!({ "value": "first" })).unwrap();
    assert_eq!(now.status, 202);
    let id = now.json["request_id"].as_str().unwrap().to_owned();
    for number in 0..5 {
        // Each tells the learners that those before it are settled, so they forget them.
        assert_eq!(caller.send(&format!("{number}")).unwrap().status, 200);
    }
    let path = format!("/requests/{id}");
    let own = caller.get(&path).unwrap();
    assert_eq!((&own.json["state"], &own.json["index"]), (&json!("applied"), &json!(1)));
    for name in ["client2", "proposer1", "proposer3"] {
        let known = cluster.node_caller(name).get(&path).unwrap();
        assert_eq!((known.status, &known.json), (200, &own.json), "{name}");
    }
    assert!(cluster.terminate("client1").success());
    assert!(cluster.terminate("learner1").success());
    cluster.start_node("client1");
    cluster.start_node("learner1");
    cluster.wait_serving();
    let again = cluster.client(1).get(&path).unwrap();
    assert_eq!((again.status, &again.json), (200, &own.json));
    let later = cluster.client(1).send("later").unwrap();
    let (session, sequence) = later.json["request_id"].as_str().unwrap().split_once('-').unwrap();
    let next = sequence.parse::<u64>().unwrap() + 100;
    let port = cluster.node("client1").api_port;
    for unknown in
        ["nonsense".to_owned(), format!("{}-1", "0".repeat(32)), format!("{session}-{next}")]
    {
        raw::get(port, &format!("/requests/{unknown}")).problem(404, "Not found");
    }
}

#[test]
fn responses_survive_a_restart_of_their_client() {
    let mut cluster = Cluster::start();
    for value in ["a", "b"] {
        assert_eq!(cluster.client(1).send(value).unwrap().status, 200);
    }
    assert_eq!(cluster.client(2).send("of another").unwrap().status, 200);
    let responses = |cluster: &Cluster| {
        let answer = cluster.client(1).get("/get-responses").unwrap();
        let Value::Array(responses) = answer.json["responses"].clone() else { panic!() };
        responses
    };
    let before = responses(&cluster);
    assert_eq!(before.len(), 2);
    for (response, (value, index)) in before.iter().zip([("a", 1), ("b", 2)]) {
        assert_eq!((&response["value"], &response["index"]), (&json!(value), &json!(index)));
        for field in ["learned_at", "received_at"] {
            let bytes = response[field].as_str().unwrap().as_bytes();
            assert!(bytes.len() == 19 && bytes[4] == b'-' && bytes[10] == b' ', "{response}");
        }
        assert!(response["request_id"].is_string() && response["proposal_number"].is_u64());
    }
    cluster.kill9("client1");
    cluster.start_node("client1");
    let after = cluster.poll("the responses are fetched again", || {
        cluster.health("client1")?;
        Some(responses(&cluster)).filter(|responses| responses.len() == 2)
    });
    for (old, new) in before.iter().zip(&after) {
        for field in ["value", "index", "request_id", "proposal_number"] {
            assert_eq!(old[field], new[field]);
        }
    }
    let port = cluster.node("client1").api_port;
    let told =
        r#"{"learner_id":7,"proposal_number":107,"value":0,"learned_at":"2026-01-01 00:00:00"}"#;
    assert_eq!(raw::post(port, "/notify", told).json(), json!({ "status": "acknowledged" }));
    raw::post(port, "/notify", r#"{"learner_id":7,"proposal_number":107,"value":0}"#)
        .problem(400, "Missing required information");
    assert_eq!(responses(&cluster).len(), 2, "a notice from outside adds nothing");
}

#[test]
fn values_are_paged_waited_for_and_watched() {
    let mut cluster = Cluster::start();
    for number in 1..=10 {
        assert_eq!(cluster.client(1).send(&number.to_string()).unwrap().status, 200);
    }
    let caller = cluster.node_caller("learner1");
    let page = |query: &str| caller.get(&format!("/get-values?{query}")).unwrap().json;
    let newest = page("limit=2");
    assert_eq!(newest["values"], json!(["9", "10"]));
    assert_eq!((&newest["first_index"], &newest["next_index"]), (&json!(9), &json!(11)));
    assert_eq!(newest["delivered_index"], 10);
    assert_eq!(page("from=3&limit=2")["values"], json!(["3", "4"]));
    assert_eq!(page("from=11")["values"], json!([]));
    assert_eq!(page("after=10&consistency=stale&limit=1")["values"], json!(["10"]));
    let port = cluster.node("learner1").api_port;
    for query in ["limit=0", "limit=10001", "from=x", "consistency=maybe", "timeout_ms=x"] {
        raw::get(port, &format!("/get-values?{query}")).problem(400, "Bad query");
    }
    let late = raw::get(port, "/get-values?after=99&timeout_ms=200");
    assert_eq!(late.header("retry-after"), Some("1"));
    let late = late.problem(503, "The read was not served in time");
    assert!(late["detail"].as_str().unwrap().contains("index 99 is not delivered"), "{late}");
    let one = caller.get("/values/7").unwrap().json;
    assert_eq!((&one["value"], &one["index"]), (&json!("7"), &json!(7)));
    assert!(one["slot"].is_u64() && one["proposal_number"].is_u64());
    assert!(one["request_id"].is_string());
    raw::get(port, "/values/11").problem(404, "Not found");
    raw::get(port, "/values/0").problem(400, "Bad index");
    let mut watch = caller.stream("/watch?from=9", None);
    let mut resumed = caller.stream("/watch?from=1", Some(9));
    assert_eq!(watch.next().0, 9);
    assert_eq!(watch.next().1["value"], "10");
    assert_eq!(resumed.next().0, 10);
    assert_eq!(cluster.client(2).send("new").unwrap().status, 200);
    let (id, data) = watch.next();
    assert_eq!((id, &data["value"], &data["index"]), (11, &json!("new"), &json!(11)));
    // A reader of a stream does not hold up the stop.
    let asked = Instant::now();
    assert!(cluster.terminate("learner1").success());
    assert!(asked.elapsed() < Duration::from_secs(2), "{} ms", asked.elapsed().as_millis());
}

#[test]
fn a_read_through_a_client_names_its_learner_and_ends_without_one() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.client(1).send("a").unwrap().status, 200);
    let port = cluster.node("client1").api_port;
    let read = raw::get(port, "/read?limit=5");
    assert_eq!((read.status, &read.json()["values"]), (200, &json!(["a"])));
    let first = read.header("paxos-served-by").unwrap().to_owned();
    assert!(first.starts_with("learner"), "{first}");
    cluster.kill9(&first);
    let read = raw::get(port, "/read");
    assert_eq!((read.status, &read.json()["values"]), (200, &json!(["a"])));
    let second = read.header("paxos-served-by").unwrap().to_owned();
    assert_ne!(first, second);
    // One that hangs is not waited for as long as the caller has patience, while another answers.
    cluster.start_node(&first);
    cluster.wait_healthy(&first);
    cluster.pause(&first);
    for number in [1, 2] {
        let port = cluster.node(&format!("client{number}")).api_port;
        let started = Instant::now();
        assert_eq!(raw::get(port, "/read").status, 200);
        let took = started.elapsed().as_millis();
        assert!(took < 2000, "{took} ms");
    }
    cluster.resume(&first);
    cluster.kill9(&first);
    cluster.kill9(&second);
    let none = raw::get(port, "/read");
    assert_eq!(none.header("retry-after"), Some("1"));
    none.problem(503, "No learners available");
}

#[test]
fn without_a_quorum_the_refusal_says_who_is_missing_and_that_nothing_was_applied() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.client(1).send("a").unwrap().status, 200);
    cluster.kill9("acceptor1");
    cluster.kill9("acceptor2");
    let port = cluster.node("client1").api_port;
    // The first attempt may reach the last acceptor; once the leader has stepped down, none does.
    let refused = cluster.poll("the loss of the quorum is noticed", || {
        Some(raw::post(port, "/send?timeout_ms=1000", r#"{"value":"b"}"#))
            .filter(|answer| answer.status == 503)
    });
    assert_eq!(refused.header("retry-after"), Some("1"));
    let refused = refused.problem(503, "No quorum of acceptors");
    assert_eq!(refused["outcome"], "not_applied");
    assert_eq!((&refused["quorum"]["need"], &refused["quorum"]["have"]), (&json!(2), &json!(1)));
    assert_eq!(refused["quorum"]["missing"], json!(["acceptor1", "acceptor2"]));
    assert!(refused["hint"].is_string() && refused["request_id"].is_string(), "{refused}");
    let read = raw::get(port, "/read?timeout_ms=300");
    assert_eq!(read.status, 503, "{}", read.body);
    assert_eq!(read.json()["quorum"]["missing"], json!(["acceptor1", "acceptor2"]));
    assert_eq!(raw::get(port, "/read?consistency=stale").json()["values"], json!(["a"]));
    assert_eq!(raw::get(port, "/readyz").status, 200, "a client answers, if only with a refusal");
}
