//! Writes in bulk: a value a line, answered a line for a line.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use super::cluster::Cluster;
use super::raw;

const LEARNERS: [&str; 2] = ["learner1", "learner2"];

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lines of one request that the node takes before their answers are written.
const IN_FLIGHT_MAX: u64 = 256;

/// How long a sender is refused before it counts as stalled.
const STALL: Duration = Duration::from_secs(1);

/// What the caller sends.
struct Sender(TcpStream);

/// What the node answers.
struct Answers {
    reader: BufReader<TcpStream>,
    /// Lines of chunks that are not asked for yet.
    text: Vec<u8>,
    has_ended: bool,
}

/// Opens a bulk write at client 1, whose answers wait in a buffer of `receive_bytes`.
fn open(cluster: &Cluster, query: &str, headers: &str, receive_bytes: usize) -> (Sender, Answers) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(receive_bytes).unwrap();
    let port = cluster.node("client1").api_port;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /send{query} HTTP/1.1\r\nhost: test\r\ncontent-type: application/x-ndjson\r\n\
         transfer-encoding: chunked\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let reader = BufReader::new(stream.try_clone().unwrap());
    (Sender(stream), Answers { reader, text: Vec::new(), has_ended: false })
}

impl Sender {
    /// Sends text, wherever its lines end.
    fn send(&mut self, text: &[u8]) {
        self.0.write_all(&chunk(text)).unwrap();
    }

    fn finish(&mut self) {
        self.0.write_all(b"0\r\n\r\n").unwrap();
    }

    /// Sends `text` again and again until nothing of it is taken for a while; how often it was
    /// taken, and what is left of the last one.
    fn send_until_stalled(&mut self, mut text: impl FnMut(u64) -> Vec<u8>) -> (u64, Vec<u8>) {
        self.0.set_write_timeout(Some(STALL)).unwrap();
        for number in 1.. {
            let bytes = chunk(&text(number));
            let mut sent = 0;
            while sent < bytes.len() {
                match self.0.write(&bytes[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.0.set_write_timeout(Some(PATIENCE)).unwrap();
                        return (number, bytes[sent..].to_vec());
                    }
                    Err(error) => panic!("after {number}: {error}"),
                }
            }
        }
        unreachable!("it stalls sometime");
    }
}

fn chunk(text: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", text.len()).into_bytes();
    chunk.extend_from_slice(text);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

impl Answers {
    /// Reads the head.
    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        head
    }

    /// The next line; `None` at the end, which must be in good order.
    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            if self.has_ended {
                assert!(self.text.is_empty(), "an answer is a whole line");
                return None;
            }
            let mut size = String::new();
            self.reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).unwrap();
            self.has_ended = size == 0;
            self.text.extend_from_slice(&chunk[..size]);
        }
    }

    fn rest(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// Commands that client 1 has under way.
fn in_flight(cluster: &Cluster) -> u64 {
    cluster.view_logs("client1").unwrap()["in_flight"].as_u64().unwrap()
}

/// Memory of client 1, in KiB.
fn memory(cluster: &Cluster) -> u64 {
    let pid = cluster.pid("client1").as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn ten_thousand_lines_are_answered_in_order_and_read_back_equal() {
    let cluster = Cluster::start();
    let (mut sender, mut answers) = open(&cluster, "", "", 1 << 20);
    let writer = thread::spawn(move || {
        let mut text = Vec::new();
        for number in 1..=10_000 {
            text.extend_from_slice(format!("{{\"number\": {number}}}\n").as_bytes());
        }
        // Pieces that end within lines.
        text.chunks(4099).for_each(|piece| sender.send(piece));
        sender.finish();
    });
    let head = answers.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: application/x-ndjson\r\n"), "{head}");
    for number in 1..=10_000_u64 {
        let answer = answers.next().unwrap();
        assert_eq!(answer["line"], number, "{answer}");
        assert_eq!(answer["status"], "value sent", "{answer}");
        assert_eq!(answer["index"], number, "{answer}");
        for field in ["slot", "proposer_id", "proposal_number"] {
            assert!(answer[field].is_u64(), "{field} in {answer}");
        }
        assert!(answer["request_id"].is_string(), "{answer}");
    }
    assert_eq!(answers.next(), None);
    writer.join().unwrap();
    let expected: Vec<Value> = (1..=10_000).map(|number| json!({ "number": number })).collect();
    assert!(cluster.agreed_values(&LEARNERS) == expected);
}

#[test]
fn a_bad_line_is_answered_with_its_place_and_the_others_go_on() {
    let cluster = Cluster::start_with(|config| config.limits.value_bytes = 100);
    let port = cluster.node("client1").api_port;
    let mut body = b"\"one\"\n\n{\"a\": }\nnull\n\"\xff\"\n".to_vec();
    body.extend_from_slice(&vec![b'x'; 100_000]);
    body.extend_from_slice(b"\n{\"value\": 7}\r\n\"last\"");
    let kind = "content-type: application/x-ndjson; charset=utf-8";
    let answer = raw::call(port, "POST", "/send", &[kind, "expect: 100-continue"], &body);
    // The node asks for the body before it answers.
    assert_eq!(answer.status, 100);
    let (head, chunks) = answer.body.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let lines: Vec<Value> =
        chunks.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let lines: Vec<&Value> = lines.iter().filter(|line| line.is_object()).collect();
    let written = |line: &Value| (line["line"].as_u64(), line["index"].as_u64());
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert_eq!(written(lines[0]), (Some(1), Some(1)));
    for (answer, line, status, detail) in [
        (lines[1], 3, 400, "expected value at line 3 column 7"),
        (lines[2], 4, 400, "Value required"),
        (lines[3], 5, 400, "invalid unicode code point at line 5 column "),
        (lines[4], 6, 413, "line 6 has 100000 bytes; limits.value_bytes allows 100"),
    ] {
        assert_eq!((&answer["line"], &answer["status"]), (&json!(line), &json!(status)));
        assert_eq!(answer["outcome"], "not_applied", "{answer}");
        assert!(answer["detail"].as_str().unwrap().starts_with(detail), "{answer}");
    }
    assert_eq!(lines[1]["column"], 7);
    assert_eq!(written(lines[5]), (Some(7), Some(2)));
    assert_eq!(written(lines[6]), (Some(8), Some(3)));
    assert_eq!(
        cluster.agreed_values(&LEARNERS),
        [json!("one"), json!({"value": 7}), json!("last")]
    );
}

#[test]
fn a_stream_that_is_sent_again_under_its_key_is_applied_once() {
    let cluster = Cluster::start();
    let send = |values: &str| {
        let key = "idempotency-key: load 1\r\n";
        let (mut sender, mut answers) = open(&cluster, "", key, 1 << 20);
        sender.send(values.as_bytes());
        sender.finish();
        answers.head();
        answers.rest()
    };
    let indices = |answers: &[Value]| -> Vec<Option<u64>> {
        answers.iter().map(|answer| answer["index"].as_u64()).collect()
    };
    // The same value twice is two values.
    assert_eq!(indices(&send("1\n1\n")), [Some(1), Some(2)]);
    assert_eq!(indices(&send("1\n1\n3\n")), [Some(1), Some(2), Some(3)]);
    let changed = send("1\n2\n3\n4\n");
    assert_eq!(indices(&changed), [Some(1), None, Some(3), Some(4)]);
    assert_eq!((&changed[1]["status"], &changed[1]["line"]), (&json!(422), &json!(2)));
    let single = cluster.client(2).post_keyed("load 1/4", &json!({ "value": 4 })).unwrap();
    assert_eq!(single.json["index"], 4, "{}", single.json);
    assert_eq!(cluster.agreed_values(&LEARNERS), [1, 1, 3, 4]);
}

#[test]
fn only_so_many_lines_are_under_way_at_once() {
    let cluster = Cluster::start();
    // The opening of the client's session would be under way too.
    assert_eq!(cluster.client(1).send("before").unwrap().status, 200);
    for acceptor in ["acceptor1", "acceptor2"] {
        cluster.pause(acceptor);
    }
    let (mut sender, mut answers) = open(&cluster, "?timeout_ms=50000", "", 1 << 20);
    let numbers: Vec<String> = (1..=2000).map(|number| number.to_string()).collect();
    sender.send(numbers.join("\n").as_bytes());
    sender.finish();
    cluster.poll("as many lines as may be are under way", || {
        let count = in_flight(&cluster);
        assert!(count <= IN_FLIGHT_MAX, "{count}");
        (count == IN_FLIGHT_MAX).then_some(())
    });
    thread::sleep(STALL / 2);
    assert_eq!(in_flight(&cluster), IN_FLIGHT_MAX);
    for acceptor in ["acceptor1", "acceptor2"] {
        cluster.resume(acceptor);
    }
    answers.head();
    let lines = answers.rest();
    assert_eq!(lines.len(), 2000);
    for (number, line) in (1..).zip(&lines) {
        assert_eq!((&line["line"], &line["status"]), (&json!(number), &json!("value sent")));
    }
    assert_eq!(cluster.agreed_values(&LEARNERS).len(), 2001);
}

#[test]
fn a_reader_that_stops_stalls_the_sender_and_costs_no_memory() {
    let cluster = Cluster::start();
    let (mut sender, mut answers) = open(&cluster, "", "", 4096);
    answers.head();
    let padding = "x".repeat(1000);
    let line = |number: u64| format!("\"{number} {padding}\"\n").into_bytes();
    let began = Instant::now();
    let before = memory(&cluster);
    let (count, left) = sender.send_until_stalled(line);
    let grown = memory(&cluster).saturating_sub(before);
    eprintln!("stalled at line {count} after {:?}, {grown} KiB more", began.elapsed());
    assert!(in_flight(&cluster) <= IN_FLIGHT_MAX);
    let delivered = || cluster.view_logs("learner1").unwrap()["delivered_index"].clone();
    // On a busy machine the last lines taken may still be on their way.
    let mut stood = delivered();
    for _ in 0..20 {
        thread::sleep(STALL / 2);
        let now = delivered();
        if now == stood {
            break;
        }
        stood = now;
    }
    thread::sleep(STALL / 2);
    assert_eq!(delivered(), stood, "nothing more is taken");
    assert!(grown < 32 << 10, "{grown} KiB more");
    let writer = thread::spawn(move || {
        sender.0.write_all(&left).unwrap();
        sender.finish();
    });
    for number in 1..=count {
        let answer = answers.next().unwrap();
        assert_eq!((&answer["line"], &answer["index"]), (&json!(number), &json!(number)));
    }
    assert_eq!(answers.next(), None);
    writer.join().unwrap();
}

#[test]
fn a_stream_that_stays_open_ends_in_good_order_when_its_node_stops() {
    let mut cluster = Cluster::start();
    let (mut sender, mut answers) = open(&cluster, "", "", 1 << 20);
    answers.head();
    sender.send(b"1\n2\n\n\"half of a li");
    assert_eq!(answers.next().unwrap()["index"], 1);
    assert_eq!(answers.next().unwrap()["index"], 2);
    let began = Instant::now();
    assert!(cluster.terminate("client1").success());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let last = answers.next().unwrap();
    assert_eq!((&last["status"], &last["line"]), (&json!(503), &json!(4)), "{last}");
    assert_eq!(last["error"], "The node is stopping");
    assert_eq!(last["outcome"], "not_applied");
    assert_eq!(answers.next(), None);
    assert_eq!(cluster.agreed_values(&LEARNERS), [1, 2]);
}

#[test]
fn a_stream_that_breaks_off_leaves_its_unfinished_line() {
    let cluster = Cluster::start();
    let (mut sender, mut answers) = open(&cluster, "", "", 1 << 20);
    answers.head();
    sender.send(b"1\n12");
    assert_eq!(answers.next().unwrap()["index"], 1);
    drop((sender, answers));
    let after = cluster.client(1).send("after").unwrap();
    assert_eq!(after.json["index"], 2, "{}", after.json);
    assert_eq!(cluster.agreed_values(&LEARNERS), [json!(1), json!("after")]);
}

#[test]
fn lines_that_wait_for_room_go_with_their_caller() {
    const ROOM: usize = 8;
    let cluster = Cluster::start_with(|config| config.client.in_flight_max = ROOM);
    assert_eq!(cluster.client(1).send("before").unwrap().status, 200);
    for acceptor in ["acceptor1", "acceptor2"] {
        cluster.pause(acceptor);
    }
    let (mut sender, mut answers) = open(&cluster, "?timeout_ms=600000", "", 1 << 20);
    answers.head();
    let numbers: Vec<String> = (1..=100).map(|number| number.to_string()).collect();
    sender.send(numbers.join("\n").as_bytes());
    cluster.poll("as many lines as there is room for are under way", || {
        (in_flight(&cluster) == u64::try_from(ROOM).unwrap()).then_some(())
    });
    drop((sender, answers));
    thread::sleep(STALL / 2);
    for acceptor in ["acceptor1", "acceptor2"] {
        cluster.resume(acceptor);
    }
    cluster.poll("they end", || (in_flight(&cluster) == 0).then_some(()));
    thread::sleep(STALL / 2);
    assert_eq!(cluster.agreed_values(&LEARNERS).len(), 1 + ROOM);
}

#[test]
fn lines_of_a_file_are_sent_again_through_another_gateway_and_written_once() {
    let mut cluster = Cluster::start();
    let lines: Vec<String> = (0..2500).map(|number| format!("line {number}")).collect();
    let file = cluster.data_dir().join("lines.txt");
    fs::write(&file, lines.join("\n")).unwrap();
    let send = |cluster: &Cluster| {
        let output = Command::new(env!("CARGO_BIN_EXE_paxosd"))
            .args(["send", "--key", "k", "--timeout-ms", "20000", "--config"])
            .arg(cluster.config_file())
            .arg("--lines")
            .arg(&file)
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told.as_str()), (Some(0), ""));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(send(&cluster), "ok: 2500 values, index 1 to 2500\n");
    cluster.kill9("client1");
    assert_eq!(send(&cluster), "ok: 2500 values, index 1 to 2500\n");
    assert_eq!(cluster.agreed_values(&LEARNERS), lines);
}
