//! Writes and reads of a cluster in which nothing breaks.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::raw;

#[test]
fn a_thousand_values_through_both_clients_are_one_list_on_both_learners() {
    let cluster = Cluster::start();
    let mut expected = Vec::new();
    for number in 0..1000_u64 {
        let value = format!("value {number}");
        let client = cluster.client(if number % 2 == 0 { 1 } else { 2 });
        let answer = client.send(&value).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.json);
        assert_eq!(answer.json["index"], number + 1);
        expected.push(value);
    }
    let values = cluster.agreed_values(&["learner1", "learner2"]);
    assert_eq!(values, expected);
}

#[test]
fn a_value_written_through_one_client_is_read_through_the_other_at_once() {
    let cluster = Cluster::start();
    for number in 0..200 {
        let (writer, reader) = if number % 2 == 0 { (1, 2) } else { (2, 1) };
        let value = format!("value {number}");
        let written = cluster.client(writer).send(&value).unwrap();
        assert_eq!(written.status, 200, "{}", written.json);
        let read = cluster.client(reader).get("/read?limit=1").unwrap();
        assert_eq!(read.json["values"], json!([value]), "read {number}: {}", read.json);
        assert_eq!(read.json["consistency"], "linearizable");
        assert!(read.headers.contains_key("paxos-served-by"));
    }
}

#[test]
fn a_stale_read_says_so_and_one_after_an_index_waits_for_it() {
    let cluster = Cluster::start();
    for number in 0..20 {
        let written = cluster.client(1).send(&format!("value {number}")).unwrap();
        let index = written.json["index"].as_u64().unwrap();
        let path = format!("/read?consistency=stale&from={index}&after={index}");
        let read = cluster.client(2).get(&path).unwrap();
        assert_eq!(read.json["consistency"], "stale");
        assert_eq!(read.json["values"], json!([format!("value {number}")]), "{}", read.json);
    }
}

#[test]
fn a_read_that_one_learner_has_no_room_for_is_served_by_another() {
    let cluster = Cluster::start_with(|config| config.learner.read_waiters_max = 1);
    assert_eq!(cluster.client(1).send("value").unwrap().status, 200);
    let served_by = |query: &str| {
        let read = cluster.client(1).get(&format!("/read?{query}")).unwrap();
        assert_eq!((read.status, &read.json["values"]), (200, &json!(["value"])), "{}", read.json);
        read.headers["paxos-served-by"].to_str().unwrap().to_owned()
    };
    let nearest = served_by("limit=100");
    let port = cluster.node(&nearest).api_port;
    std::thread::scope(|scope| {
        let waiter = scope.spawn(move || {
            // A look below may have taken the place just then.
            let mut ask =
                || raw::get(port, "/get-values?consistency=stale&after=99&timeout_ms=3000").status;
            std::iter::repeat_with(&mut ask).find(|&status| status != 429)
        });
        cluster.poll("its only place is taken", || {
            (raw::get(port, "/get-values?limit=1").status == 429).then_some(())
        });
        // Over HTTP, and over a link.
        for query in ["limit=100", "limit=1"] {
            assert_ne!(served_by(query), nearest, "{query}");
        }
        assert_eq!(waiter.join().unwrap(), Some(503));
    });
}

#[test]
fn a_short_read_and_a_long_one_say_the_same_as_the_learner() {
    let cluster = Cluster::start();
    let many: Vec<String> = (0..40).map(|number| format!("value {number}")).collect();
    let written = cluster.client(1).post("/send", &json!({ "values": many })).unwrap();
    assert_eq!(written.status, 200, "{}", written.json);
    // 17 values are more than a link carries, and so are two of 9 KiB each.
    let large = "x".repeat(9 << 10);
    for value in [&large, &large] {
        assert_eq!(cluster.client(1).send(value).unwrap().status, 200);
    }
    let learner = cluster.node_caller("learner1");
    for from in [1, 20, 42, 43, 99] {
        for limit in [1, 2, 16, 17] {
            for consistency in ["linearizable", "stale"] {
                let query = format!("from={from}&limit={limit}&after=42&consistency={consistency}");
                let of_learner = learner.get(&format!("/get-values?{query}")).unwrap();
                for client in [1, 2] {
                    let read = cluster.client(client).get(&format!("/read?{query}")).unwrap();
                    assert_eq!(read.status, 200, "{query}: {}", read.json);
                    assert_eq!(read.json, of_learner.json, "{query}");
                    assert!(read.headers.contains_key("paxos-served-by"));
                }
            }
        }
    }
}

#[test]
fn values_of_one_request_have_contiguous_indices() {
    let cluster = Cluster::start();
    let load = super::load::Load::start(&cluster, "between", 4);
    load.wait_for(&cluster, 10);
    let mut lists = Vec::new();
    for request in 0..10_u64 {
        let values: Vec<String> = (0..50).map(|value| format!("{request}/{value}")).collect();
        let answer = cluster.client(1).post("/send", &json!({ "values": values })).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.json);
        let first = answer.json["first_index"].as_u64().unwrap();
        assert_eq!(answer.json["last_index"], first + 49);
        lists.push((usize::try_from(first).unwrap(), values));
    }
    let books = load.finish();
    let all = cluster.agreed_values(&["learner1", "learner2"]);
    for (first, values) in lists {
        assert_eq!(all[first - 1..first + 49], values);
    }
    books.check(&all);
}

#[test]
fn values_as_large_as_they_may_be_are_written_and_read_back() {
    let cluster = Cluster::start();
    let large = |number: usize| format!("{number}{}", "ä".repeat((1 << 19) - 8));
    for number in 0..24 {
        let answer = cluster.client(1).send(&large(number)).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.json);
    }
    let answer = cluster.client(1).send(&"x".repeat(1 << 20)).unwrap();
    assert_eq!(answer.status, 413, "{}", answer.json);
    assert!(answer.json.to_string().contains("limits.value_bytes"), "{}", answer.json);
    let values: Vec<String> = (24..31).map(large).collect();
    let answer = cluster.client(2).post("/send", &json!({ "values": values })).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.json);
    let values = cluster.agreed_values(&["learner1", "learner2"]);
    assert!(values.iter().enumerate().all(|(number, value)| *value == large(number)));
    assert_eq!(values.len(), 31);
    let read = cluster.client(1).get("/read").unwrap();
    assert_eq!(read.json["values"].as_array().unwrap().len(), 31);
}

#[test]
fn a_write_that_nobody_waits_for_is_applied_and_told_by_any_client() {
    let cluster = Cluster::start();
    let answer = cluster.client(1).post("/send?wait=false", &json!({ "value": 7 })).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.json);
    let id = answer.json["request_id"].as_str().unwrap();
    for client in [1, 2] {
        let told = cluster.poll("the request is applied", || {
            let told = cluster.client(client).get(&format!("/requests/{id}")).ok()?;
            (told.json["state"] == "applied").then_some(told.json)
        });
        assert_eq!(told["index"], 1, "{told}");
    }
    assert_eq!(cluster.values("learner1"), [json!(7)]);
    let never = cluster.client(1).get("/requests/00000000000000000000000000000000-1").unwrap();
    assert_eq!(never.status, 404, "{}", never.json);
}

#[test]
fn a_watcher_sees_every_value_once_and_goes_on_where_it_stopped() {
    let cluster = Cluster::start();
    let write = |number: u64| {
        let answer = cluster.client(1).send(&format!("value {number}")).unwrap();
        assert_eq!(answer.json["index"], number, "{}", answer.json);
    };
    let expect = |(id, event): (u64, Value), number: u64| {
        assert_eq!((id, &event["value"]), (number, &json!(format!("value {number}"))));
    };
    (1..=5).for_each(write);
    let mut stream = cluster.node_caller("learner1").stream("/watch?from=1", None);
    (1..=5).for_each(|number| expect(stream.next(), number));
    write(6);
    expect(stream.next(), 6);
    drop(stream);
    (7..=9).for_each(write);
    let mut stream = cluster.node_caller("learner2").stream("/watch", Some(6));
    (7..=9).for_each(|number| expect(stream.next(), number));
    write(10);
    expect(stream.next(), 10);
}
