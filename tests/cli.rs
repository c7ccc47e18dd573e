//! The `paxosd` program as scripts meet it: exit codes, and what goes to which stream. The nodes
//! are stand-ins that answer what a test says.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what fails here fails the test, in its helpers too"
)]

use std::collections::VecDeque;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use paxosd::config::{Config, Env};
use paxosd::http::body::json_bytes;
use paxosd::http::{Address, Body, ClientLimits, HttpClient, ServerLimits, Service, bind, serve};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LIMITS: ServerLimits = ServerLimits {
    connections_max: 100,
    header_read_timeout: Duration::from_secs(10),
    stall_timeout: Duration::from_secs(10),
    drain_timeout: Duration::from_secs(5),
};

const CLIENT_LIMITS: ClientLimits = ClientLimits {
    connect_timeout: Duration::from_secs(1),
    idle_timeout: Duration::from_secs(1),
    idle_per_node_max: 1,
    answer_bytes_max: 64 << 10,
};

const SENT: &str =
    r#"{"status":"value sent","proposer_id":1,"request_id":"7-3","slot":12,"index":17}"#;

/// A request as it arrived.
#[derive(Debug, Clone)]
struct Heard {
    path: String,
    headers: HeaderMap,
    body: String,
}

/// A node that gives the answers it was told, in turn, the last one for ever; and remembers what it
/// heard.
struct StandIn {
    address: Address,
    script: Arc<Script>,
    _stop: tokio_util::sync::DropGuard,
}

struct Script {
    answers: Mutex<VecDeque<(u16, String)>>,
    heard: Mutex<Vec<Heard>>,
}

impl Service for Script {
    async fn call(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        self.heard.lock().unwrap().push(Heard {
            path: head.uri.to_string(),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        });
        let (status, body) = {
            let mut answers = self.answers.lock().unwrap();
            let next = answers.front().cloned().unwrap();
            if answers.len() > 1 {
                answers.pop_front();
            }
            next
        };
        json_bytes(StatusCode::from_u16(status).unwrap(), body.into())
    }
}

impl StandIn {
    async fn start(answers: &[(u16, &str)]) -> Self {
        let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned()));
        let script = Arc::new(Script {
            answers: Mutex::new(answers.collect()),
            heard: Mutex::new(Vec::new()),
        });
        let listener = bind(&Address::new("127.0.0.1", 0)).await.unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        tokio::spawn(serve(listener, || LIMITS, Arc::clone(&script), stop.clone(), tracker));
        Self { address, script, _stop: stop.drop_guard() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn heard(&self) -> Vec<Heard> {
        self.script.heard.lock().unwrap().clone()
    }
}

/// A URL where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paxosd"));
    command.args(args).env_clear().kill_on_drop(true);
    command
}

async fn paxosd(args: &[&str]) -> Output {
    let run = program(args).stdin(Stdio::null()).output();
    tokio::time::timeout(Duration::from_secs(20), run).await.unwrap().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[tokio::test]
async fn send_prints_where_the_value_stands() {
    let node = StandIn::start(&[(200, SENT)]).await;
    let output = paxosd(&["send", "hello", "--url", &node.url(), "--timeout-ms", "900"]).await;
    assert_eq!((code(&output), out(&output)), (0, "ok: index 17, slot 12, request 7-3\n"));
    let heard = node.heard().remove(0);
    assert_eq!(heard.body, r#"{"value":"hello"}"#);
    let told: u64 = heard.path.strip_prefix("/send?timeout_ms=").unwrap().parse().unwrap();
    assert!((1..=900).contains(&told));
    assert_eq!(heard.headers["idempotency-key"].len(), 36);

    let args = ["send", "hello", "--url", &node.url(), "--key", "k-1", "-o", "json"];
    let output = paxosd(&args).await;
    assert_eq!((code(&output), out(&output)), (0, &*format!("{SENT}\n")));
    assert_eq!(node.heard()[1].headers["idempotency-key"], "k-1");
}

#[tokio::test]
async fn a_value_arrives_whole_whatever_is_in_it() {
    let node = StandIn::start(&[(200, SENT)]).await;
    for value in ["it's \"so\" $(ok) `x` \\n", "größer ✓ 語", "two\nlines", "", "{\"a\":1}"] {
        let output = paxosd(&["send", "--url", &node.url(), "--", value]).await;
        assert_eq!(code(&output), 0, "{}", err(&output));
        let body: serde_json::Value =
            serde_json::from_str(&node.heard().last().unwrap().body).unwrap();
        assert_eq!(body["value"], value);
    }
    paxosd(&["send", "--json", "{\"pi\": 3.10}", "--url", &node.url()]).await;
    assert_eq!(node.heard().last().unwrap().body, r#"{"value":{"pi": 3.10}}"#);
}

#[tokio::test]
async fn a_lone_dash_reads_the_value_from_standard_input_to_the_last_byte() {
    let node = StandIn::start(&[(200, SENT)]).await;
    let mut child = program(&["send", "-", "--url", &node.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all("a \"b\"\n".as_bytes()).await.unwrap();
    assert!(child.wait().await.unwrap().success());
    assert_eq!(node.heard()[0].body, r#"{"value":"a \"b\"\n"}"#);
}

#[tokio::test]
async fn lines_are_values_of_few_requests_and_each_has_a_key_of_its_own() {
    let answer = |first: u64, last: u64| {
        format!(r#"{{"status":"value sent","first_index":{first},"last_index":{last}}}"#)
    };
    let answers = [answer(17, 1016), answer(1020, 1021)];
    let problem = r#"{"detail":"the leader is gone","outcome":"unknown"}"#;
    let node = StandIn::start(&[(200, &answers[0]), (200, &answers[1]), (504, problem)]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let numbers: Vec<String> = (1..=1002).map(|number| number.to_string()).collect();
    std::fs::write(file.path(), numbers.join("\n")).unwrap();
    let name = file.path().to_str().unwrap();
    let args = ["send", "--lines", "--json", name, "--url", &node.url(), "--key", "k"];
    let output = paxosd(&args).await;
    assert_eq!((code(&output), out(&output)), (0, "ok: 1002 values, index 17 to 1021\n"));
    let heard = node.heard();
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0].body, format!(r#"{{"values":[{}]}}"#, numbers[..1000].join(",")));
    assert_eq!(heard[1].body, r#"{"values":[1001,1002]}"#);
    assert_eq!(heard[0].headers["idempotency-key"], "k/1");
    assert_eq!(heard[1].headers["idempotency-key"], "k/1001");

    let output = paxosd(&args).await;
    assert_eq!((code(&output), out(&output)), (5, ""));
    let told = err(&output);
    assert!(told.starts_with("paxosd: lines 1 to 1000: the leader is gone (504"), "{told}");
    assert!(told.contains("hint: send all of them again with --key k: "), "{told}");

    let node = StandIn::start(&[(200, &answers[0]), (429, r#"{"detail":"full"}"#)]).await;
    let output = paxosd(&["send", "--lines", name, "--url", &node.url()]).await;
    assert_eq!(code(&output), 3);
    let told = err(&output);
    assert!(told.contains("lines 1001 to 1002: full (429"), "{told}");
    assert!(told.contains("\nlines 1 to 1000 are written\n  hint: send all of them"), "{told}");
}

#[tokio::test]
async fn lines_that_cannot_be_read_are_an_error_that_says_which() {
    let node = StandIn::start(&[(200, SENT)]).await;
    let output = paxosd(&["send", "--lines", "/no/such/file", "--url", &node.url()]).await;
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("cannot open /no/such/file"), "{}", err(&output));
    let mut child = program(&["send", "--lines", "--json", "-", "--url", &node.url()])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"1\n{\n").await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(code(&output), 2);
    assert!(err(&output).starts_with("paxosd: line 2: the value is not JSON"), "{}", err(&output));
    assert_eq!(node.heard().len(), 0);
}

#[tokio::test]
async fn a_refusal_has_its_exit_code_its_reason_and_its_hint() {
    let problem = concat!(
        r#"{"detail":"2 acceptors are silent","outcome":"not_applied","#,
        r#""hint":"start one","request_id":"7-4"}"#
    );
    for (status, exit) in [(400, 4), (413, 4), (422, 4), (429, 3), (503, 3)] {
        let node = StandIn::start(&[(status, problem)]).await;
        let output = paxosd(&["send", "x", "--url", &node.url()]).await;
        assert_eq!((code(&output), out(&output)), (exit, ""), "{status}");
        let expected = format!(
            "paxosd: 2 acceptors are silent ({status} from {}), request 7-4\n  hint: start one\n",
            node.url()
        );
        assert_eq!(err(&output), expected);
    }
    let node = StandIn::start(&[(503, problem)]).await;
    let output = paxosd(&["read", "--url", &node.url(), "--output", "json"]).await;
    assert_eq!((code(&output), out(&output)), (3, &*format!("{problem}\n")));
}

#[tokio::test]
async fn an_unknown_outcome_names_the_key_that_makes_it_safe_to_repeat() {
    let problem = r#"{"detail":"the deadline passed","outcome":"unknown"}"#;
    let node = StandIn::start(&[(504, problem)]).await;
    let output = paxosd(&["send", "x", "--url", &node.url(), "--key", "k-7"]).await;
    assert_eq!(code(&output), 5);
    assert!(err(&output).contains("the deadline passed (504"), "{}", err(&output));
    assert!(err(&output).contains("send it again with --key k-7"), "{}", err(&output));
    let output = paxosd(&["read", "--url", &node.url()]).await;
    assert_eq!(code(&output), 3, "a read changes nothing, so nothing is unknown");
}

#[tokio::test]
async fn the_next_endpoint_is_asked_with_the_same_key_when_one_fails() {
    let busy = StandIn::start(&[(503, "{}")]).await;
    let node = StandIn::start(&[(200, SENT)]).await;
    let args = ["send", "x", "--url", &nobody(), "--url", &busy.url(), "--url", &node.url()];
    let output = paxosd(&args).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    let key = |node: &StandIn| node.heard()[0].headers["idempotency-key"].clone();
    assert_eq!(key(&busy), key(&node));
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_a_broken_connection_is_unknown() {
    for verb in [&["send", "x"][..], &["read"]] {
        let url = nobody();
        let output = paxosd(&[verb, &["--url", &url]].concat()).await;
        assert_eq!(code(&output), 3);
        assert!(err(&output).contains("cannot reach 127.0.0.1:"), "{}", err(&output));
    }
    for (verb, exit) in [(&["send", "x"][..], 5), (&["read"], 3)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
        });
        // That a later node refuses does not tell what the earlier one did.
        let busy = StandIn::start(&[(503, "{}")]).await;
        let output = paxosd(&[verb, &["--url", &url, "--url", &busy.url()]].concat()).await;
        assert_eq!(code(&output), exit, "{}", err(&output));
    }
}

#[tokio::test]
async fn read_prints_a_value_a_line() {
    let page = r#"{"values":["a\nb",1.10,{"k":[1, 2]}],"first_index":3,"next_index":6}"#;
    let node = StandIn::start(&[(200, page)]).await;
    let url = node.url();
    let output = paxosd(&["read", "--from", "3", "--limit", "9", "--stale", "--url", &url]).await;
    assert_eq!((code(&output), out(&output)), (0, "\"a\\nb\"\n1.10\n{\"k\":[1, 2]}\n"));
    let output = paxosd(&["read", "-o", "json", "--url", &format!("{url}/client1/")]).await;
    assert_eq!((code(&output), out(&output)), (0, &*format!("{page}\n")));
    let paths: Vec<String> = node.heard().into_iter().map(|heard| heard.path).collect();
    assert!(
        paths[0].starts_with("/read?from=3&limit=9&consistency=stale&timeout_ms="),
        "{paths:?}"
    );
    assert!(paths[1].starts_with("/client1/read?timeout_ms="), "{paths:?}");
}

#[tokio::test]
async fn a_named_node_is_asked_by_the_call_of_its_role() {
    let dir = tempfile::tempdir().unwrap();
    let node = StandIn::start(&[(200, SENT)]).await;
    let port = Some(node.address.port);
    let file = api_cluster_file(dir.path(), [port, None, None]);
    let output = paxosd(&["send", "x", "--node", "proposer1", "--config", &file]).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(node.heard()[0].path.starts_with("/propose?timeout_ms="), "{:?}", node.heard());
    assert_eq!(node.heard()[0].body, r#"{"value":"x"}"#);
    let output = paxosd(&["send", "x", "--node", "acceptor1", "--config", &file]).await;
    assert_eq!(code(&output), 2);
    assert!(
        err(&output).contains("acceptor1 has the role acceptor; ask a client"),
        "{}",
        err(&output)
    );

    let page = r#"{"values":["a"],"first_index":3}"#;
    let node = StandIn::start(&[(200, page)]).await;
    let file = api_cluster_file(dir.path(), [None, None, Some(node.address.port)]);
    let args = ["read", "--node", "learner1", "--numbered", "--config", &file];
    let output = paxosd(&args).await;
    assert_eq!((code(&output), out(&output)), (0, "3\t\"a\"\n"), "{}", err(&output));
    assert!(node.heard()[0].path.starts_with("/get-values?timeout_ms="), "{:?}", node.heard());
}

#[tokio::test]
async fn get_prints_an_answer_as_it_came_or_a_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let body = r#"{"responses":[{"value": 1.10},{"value":"a"}]}"#;
    let node = StandIn::start(&[(200, body), (200, body), (404, r#"{"error":"Not found"}"#)]).await;
    let file = api_cluster_file(dir.path(), [None, Some(node.address.port), None]);
    let ask = |more: &'static [&'static str]| {
        let args = [&["get", "acceptor1", "/get-responses", "--config", &file], more].concat();
        async move { paxosd(&args).await }
    };
    let output = ask(&[]).await;
    assert_eq!((code(&output), out(&output)), (0, &*format!("{body}\n")), "{}", err(&output));
    assert_eq!(node.heard()[0].path, "/get-responses");
    let output = ask(&["--pick", "/responses"]).await;
    assert_eq!((code(&output), out(&output)), (0, "{\"value\": 1.10}\n{\"value\":\"a\"}\n"));
    let output = ask(&[]).await;
    assert_eq!((code(&output), out(&output)), (4, "{\"error\":\"Not found\"}\n"));
    let output = paxosd(&["get", "learner1", "/health", "--config", &file]).await;
    assert_eq!(code(&output), 3, "nobody listens there");
    for args in [["get", "learner9", "/health"], ["get", "learner1", "health"]] {
        let output = paxosd(&[&args[..], &["--config", &file]].concat()).await;
        assert_eq!(code(&output), 2, "{args:?}");
    }
}

#[tokio::test]
async fn logs_of_several_nodes_are_one_story_in_order_of_time() {
    let dir = tempfile::tempdir().unwrap();
    let page = |events: &[(u64, &str, &str)]| {
        let event = |(seq, second, text): &(u64, &str, &str)| {
            format!(
                r#"{{"seq":{seq},"at":"2026-01-01T00:00:{second}.000Z","kind":"k","text":"{text}"}}"#
            )
        };
        let events: Vec<String> = events.iter().map(event).collect();
        format!(r#"{{"events":[{}]}}"#, events.join(","))
    };
    let first = page(&[(1, "01", "one"), (9, "03", "three\\u001b[2J")]);
    let proposer = StandIn::start(&[(200, &first)]).await;
    let acceptor = StandIn::start(&[(200, &page(&[(4, "02", "two")]))]).await;
    let monitors = [Some(proposer.address.port), Some(acceptor.address.port), None];
    let file = cluster_file(dir.path(), "127.0.0.1", monitors);
    let output = paxosd(&["logs", "--config", &file]).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(
        out(&output),
        "proposer1      1  2026-01-01T00:00:01.000Z  k         one\n\
         acceptor1      4  2026-01-01T00:00:02.000Z  k         two\n\
         proposer1      9  2026-01-01T00:00:03.000Z  k         three\\u001b[2J\n"
    );
    assert!(err(&output).starts_with("paxosd: learner1: cannot reach"), "{}", err(&output));
    assert_eq!(proposer.heard()[0].path, "/view-logs?limit=10");
    let args = ["logs", "acceptor1", "--since", "3", "--limit", "7", "--config", &file];
    assert_eq!(code(&paxosd(&args).await), 0);
    assert_eq!(acceptor.heard()[1].path, "/view-logs?limit=7&since=3");
    let output = paxosd(&["logs", "learner1", "--config", &file]).await;
    assert_eq!(code(&output), 3, "{}", err(&output));
    assert_eq!(code(&paxosd(&["logs", "nobody", "--config", &file]).await), 2);
}

#[tokio::test]
async fn followed_logs_survive_a_node_that_comes_back_and_counts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let file = cluster_file(dir.path(), "127.0.0.1", [None, None, None]);
    let start = || {
        let mut node = program(&["run", "--config", &file, "--name", "proposer1"]);
        node.current_dir(dir.path()).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut node = start();
    let mut follower = program(&["logs", "proposer1", "--follow", "--config", &file])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut notes = BufReader::new(follower.stderr.take().unwrap()).lines();
    let first = in_time(events.next_line()).await.unwrap();
    assert!(first.starts_with("proposer1      1  "), "{first}");

    node.kill().await.unwrap();
    while !in_time(notes.next_line()).await.unwrap().starts_with("paxosd: proposer1 is away: ") {}
    node = start();
    assert_eq!(in_time(notes.next_line()).await.unwrap(), "paxosd: proposer1 is back");
    // What it did before it was killed may be waiting still.
    let again = loop {
        let line = in_time(events.next_line()).await.unwrap();
        if line.starts_with("proposer1      1  ") {
            break line;
        }
    };
    assert_ne!(again, first, "the first event of its second life");
    node.kill().await.unwrap();
    follower.kill().await.unwrap();
}

async fn in_time<T>(line: impl Future<Output = std::io::Result<T>>) -> T {
    tokio::time::timeout(Duration::from_secs(20), line).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_environment_names_endpoints_too() {
    let node = StandIn::start(&[(200, r#"{"values":[7]}"#)]).await;
    let list = format!("{},{}", nobody(), node.url());
    let output = program(&["read"]).env("PAXOSD_ENDPOINTS", list).output().await.unwrap();
    assert_eq!((code(&output), out(&output)), (0, "7\n"));
}

#[tokio::test]
async fn health_is_zero_or_one() {
    let node = StandIn::start(&[
        (200, r#"{"status":"healthy","role":"acceptor","id":4}"#),
        (
            503,
            r#"{"status":"unhealthy","checks":[{"name":"journal","ok":false,"detail":"no room"}]}"#,
        ),
    ])
    .await;
    let output = paxosd(&["health", "--url", &node.url()]).await;
    assert_eq!((code(&output), out(&output)), (0, "healthy\n"));
    let output = paxosd(&["health", "--url", &node.url()]).await;
    assert_eq!((code(&output), err(&output)), (1, "paxosd: unhealthy: journal: no room\n"));
    let output = paxosd(&["health", "--url", &nobody()]).await;
    assert_eq!(code(&output), 1);
}

#[tokio::test]
async fn health_finds_this_nodes_own_monitor_port() {
    let dir = tempfile::tempdir().unwrap();
    let node = StandIn::start(&[(200, "{}")]).await;
    let file = cluster_file(dir.path(), "elsewhere.invalid", [None, Some(node.address.port), None]);
    let output = program(&["health"])
        .env("PAXOSD_CONFIG", &file)
        .env("PAXOSD_NAME", "acceptor1")
        .output()
        .await
        .unwrap();
    assert_eq!((code(&output), out(&output)), (0, "healthy\n"), "{}", err(&output));
    assert_eq!(node.heard()[0].path, "/health");
}

#[tokio::test]
async fn status_is_three_without_a_leader_or_a_quorum() {
    let dir = tempfile::tempdir().unwrap();
    let chief = StandIn::start(&[(200, r#"{"is_leader":true,"current_leader":1}"#)]).await;
    let voter = StandIn::start(&[(200, r#"{"durable_slot":12,"current_leader":1}"#)]).await;
    let (leader, voter) = (Some(chief.address.port), Some(voter.address.port));
    let nodes = |proposer, acceptor| {
        let file = cluster_file(dir.path(), "127.0.0.1", [proposer, acceptor, None]);
        async move { paxosd(&["status", "--config", &file]).await }
    };

    let output = nodes(leader, voter).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    let lines: Vec<&str> = out(&output).lines().collect();
    assert_eq!(
        lines[0],
        "leader: proposer1 (id 1); 1 of 1 acceptors vote, 1 needed; 2 of 3 nodes well"
    );
    assert!(lines[2].starts_with("NAME       ID  ROLE"), "{lines:?}");
    assert!(lines[3].contains("leader  proposer1"), "{lines:?}");
    assert!(lines[4].contains("voting  proposer1  12"), "{lines:?}");
    assert!(lines[5].contains("down"), "{lines:?}");

    let output = nodes(leader, None).await;
    assert_eq!(code(&output), 3);
    assert!(out(&output).contains("0 of 1 acceptors vote, 1 needed"), "{}", out(&output));
    let output = nodes(None, voter).await;
    assert_eq!(code(&output), 3);
    assert!(out(&output).starts_with("no leader elected; "), "{}", out(&output));
}

#[tokio::test]
async fn status_for_scripts_is_one_document() {
    let dir = tempfile::tempdir().unwrap();
    let voter = StandIn::start(&[(200, r#"{"durable_slot":12,"trimmed_slot":3}"#)]).await;
    let file = cluster_file(dir.path(), "127.0.0.1", [None, Some(voter.address.port), None]);
    let output = paxosd(&["status", "-o", "json", "--config", &file]).await;
    assert_eq!(code(&output), 3);
    let document: serde_json::Value = serde_json::from_str(out(&output)).unwrap();
    assert!(document["leader"].is_null());
    assert_eq!(document["quorum"], serde_json::json!({"need": 1, "have": 1, "missing": []}));
    let node = &document["nodes"][1];
    assert_eq!((&node["name"], &node["slot"]), (&"acceptor1".into(), &12.into()));
}

#[tokio::test]
async fn a_wrong_command_line_is_two_and_help_is_zero() {
    for args in [
        &[][..],
        &["fly"],
        &["send"],
        &["send", "x", "--timeout-ms", "soon"],
        &["send", "--json", "{"],
        &["send", "x", "--key", "two\nlines"],
        &["read", "--url", "https://a"],
        &["dev", "--nodes", "client1", "stop"],
    ] {
        let output = paxosd(args).await;
        assert_eq!((code(&output), out(&output)), (2, ""), "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["send", "--help"], &["dev", "kill", "--help"]] {
        let output = paxosd(args).await;
        assert_eq!((code(&output), err(&output)), (0, ""), "{args:?}");
    }
    let output = paxosd(&["--version"]).await;
    assert_eq!(out(&output), format!("paxosd {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn check_says_what_it_found() {
    let output = paxosd(&["check", "config/cluster.yaml"]).await;
    assert_eq!(code(&output), 0);
    assert!(out(&output).starts_with("ok: 10 nodes"), "{}", out(&output));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.yaml");
    std::fs::write(&file, "nodes: []\nflavour: sweet\n").unwrap();
    let output = paxosd(&["check", file.to_str().unwrap()]).await;
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("bad.yaml:2:1: "), "{}", err(&output));
}

#[tokio::test]
async fn a_second_cluster_in_one_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    std::fs::create_dir(dir.path().join("run")).unwrap();
    let lock = std::fs::File::create(dir.path().join("run/dev.pid")).unwrap();
    lock.lock().unwrap();
    let output = paxosd(&["dev", "--data", data]).await;
    assert_eq!(code(&output), 4);
    assert!(err(&output).contains("another `paxosd dev` runs on "), "{}", err(&output));
}

#[tokio::test]
async fn taken_ports_are_all_named_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let holders = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = holders.each_ref().map(|holder| holder.local_addr().unwrap().port());
    let file = cluster_file(dir.path(), "127.0.0.1", [Some(ports[0]), None, Some(ports[1])]);
    let data = dir.path().join("data");
    let output = paxosd(&["dev", "--config", &file, "--data", data.to_str().unwrap()]).await;
    assert_eq!(code(&output), 4);
    for (port, name) in ports.into_iter().zip(["proposer1", "learner1"]) {
        let line = format!("  127.0.0.1:{port}  (monitor port of {name})\n");
        assert!(err(&output).contains(&line), "{}", err(&output));
    }
    assert!(!data.join("cluster.dev.yaml").exists());
}

#[tokio::test]
async fn an_order_without_a_cluster_is_unavailable_but_to_stop_nothing_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    for order in [&["start", "a"][..], &["kill", "a"], &["stop", "a"], &["status"]] {
        let output = paxosd(&[&["dev", "--data", data], order].concat()).await;
        assert_eq!(code(&output), 3, "{order:?}");
        assert!(err(&output).contains("no `paxosd dev` runs on "), "{}", err(&output));
    }
    let output = paxosd(&["dev", "--data", data, "stop"]).await;
    assert_eq!(code(&output), 0);
}

#[tokio::test]
async fn a_node_whose_parent_is_gone_does_not_start() {
    let output = paxosd(&["run", "--name", "acceptor1", "--parent", "4194305"]).await;
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("the parent process 4194305 is gone"), "{}", err(&output));
}

#[tokio::test]
async fn a_node_whose_log_has_no_room_goes_on_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = cluster_file(dir.path(), "127.0.0.1", [None, None, None]);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut node = program(&["run", "--config", &file, "--name", "proposer1"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stderr(full)
        .spawn()
        .unwrap();
    let config = Config::load(Path::new(&file), &Env::new()).unwrap();
    let monitor = Address::new("127.0.0.1", config.named("proposer1").unwrap().monitor_port);
    let client = HttpClient::new(&CLIENT_LIMITS);
    let is_alive = async {
        while client.get(&monitor, "/livez", Duration::from_secs(1)).await.is_err() {
            assert_eq!(node.try_wait().unwrap(), None, "it ended for want of a log");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), is_alive).await.unwrap();
}

#[tokio::test]
async fn a_limit_on_file_sizes_ends_a_node_with_the_path_as_a_full_disk_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = cluster_file(dir.path(), "127.0.0.1", [None, None, None]);
    let script = "ulimit -f 0; exec \"$0\" run --config \"$1\" --name acceptor1";
    let node = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_paxosd"), &file])
        .env_clear()
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(20), node).await.unwrap().unwrap();
    let last = err(&output).lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(1), "{}: {last}", output.status);
    assert!(last.contains("/acceptor1/") && last.contains("File too large"), "{last}");
}

/// A configuration of proposer1, acceptor1 and learner1 at `host`, with these monitor ports. A port
/// that is `None`, and every API port, is one that was free a moment ago.
fn cluster_file(dir: &Path, host: &str, monitor_ports: [Option<u16>; 3]) -> String {
    write_cluster(dir, host, [None; 3], monitor_ports)
}

/// The same on this machine, with these API ports.
fn api_cluster_file(dir: &Path, api_ports: [Option<u16>; 3]) -> String {
    write_cluster(dir, "127.0.0.1", api_ports, [None; 3])
}

fn write_cluster(
    dir: &Path,
    host: &str,
    api_ports: [Option<u16>; 3],
    monitor_ports: [Option<u16>; 3],
) -> String {
    let holders = [(); 6].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let free = holders.each_ref().map(|holder| holder.local_addr().unwrap().port());
    let mut text = "nodes:\n".to_owned();
    for (at, role) in ["proposer", "acceptor", "learner"].into_iter().enumerate() {
        let id = at + 1;
        let api_port = api_ports[at].unwrap_or(free[at]);
        let monitor_port = monitor_ports[at].unwrap_or(free[at + 3]);
        text = format!(
            "{text}  - {{name: {role}1, id: {id}, role: {role}, host: {host}, \
             api_port: {api_port}, monitor_port: {monitor_port}}}\n"
        );
    }
    let file = dir.join("cluster.yaml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}
