//! A small cluster's file, changed in every way there is.

use super::*;
use crate::config::environment::Env;
use crate::config::schema::SECTIONS;

/// One node a line, from line 3 on.
const FILE: &str = "\
cluster: {name: paxos}
nodes:
  - {name: p1, id: 1, role: proposer, host: p1, api_port: 3001, monitor_port: 8000}
  - {name: a1, id: 2, role: acceptor, host: a1, api_port: 4001, monitor_port: 8000}
  - {name: l1, id: 3, role: learner, host: l1, api_port: 5001, monitor_port: 8000}
  - {name: c1, id: 4, role: client, host: c1, api_port: 6001, monitor_port: 8000}
";

const ANOTHER: &str =
    "  - {name: n5, id: 5, role: ROLE, host: n5, api_port: 7001, monitor_port: 8000}\n";

fn parse(text: &str) -> Config {
    Config::parse("c.yaml".to_owned(), text.to_owned(), &Env::new()).unwrap()
}

/// What the node `name`, which runs with `FILE` and `more`, makes of the file `changed`.
fn follow_from(more: &str, changed: &str, name: &str) -> Result<Followed, String> {
    let (running, new) = (parse(&format!("{FILE}{more}")), parse(changed));
    let me = running.named(name).unwrap();
    let its = new.identify(Some(name), &Env::new()).map_err(|errors| errors.to_string())?;
    running.follow(&new, me, &its).map_err(|errors| errors.to_string())
}

/// Likewise the proposer.
fn follow(changed: &str) -> Result<Followed, String> {
    follow_from("", changed, "p1")
}

/// `FILE` with `from` replaced by `to`.
fn altered(from: &str, to: &str) -> String {
    assert!(FILE.contains(from), "{from}");
    FILE.replacen(from, to, 1)
}

fn taken(changed: &str) -> Vec<String> {
    let followed = follow(changed).unwrap();
    assert_eq!(followed.waiting, [""; 0], "{changed}");
    followed.taken
}

fn refusal(changed: &str) -> String {
    follow(changed).unwrap_err()
}

#[test]
fn a_file_with_other_words_for_the_same_changes_nothing() {
    let followed = follow(&format!("# a comment\n{FILE}log: {{level: info}}\n")).unwrap();
    assert_eq!((followed.taken, followed.waiting), (Vec::new(), Vec::new()));
}

#[test]
fn settings_that_can_change_now_do_and_are_named_with_both_values() {
    let changed = format!("{FILE}log: {{level: debug}}\nlimits: {{value_bytes: 2048}}\n");
    let followed = follow(&changed).unwrap();
    assert_eq!(followed.taken, ["limits.value_bytes: 1048576 -> 2048", "log.level: info -> debug"]);
    assert_eq!(followed.config.limits.value_bytes, 2048);
    assert_eq!(followed.config.text(), changed);
    // Taken out again, the default is back.
    let back = follow_from("limits: {value_bytes: 2048}\n", FILE, "p1").unwrap();
    assert_eq!(back.taken, ["limits.value_bytes: 2048 -> 1048576"]);
    assert_eq!(back.config.limits.value_bytes, 1_048_576);
}

#[test]
fn settings_that_wait_for_the_next_start_keep_their_value() {
    let more = "journal: {segment_bytes: 33554432}\nlog: {level: warn, format: json}\n";
    let followed = follow(&format!("{FILE}{more}data_dir: /elsewhere\n")).unwrap();
    assert_eq!(followed.taken, ["log.level: info -> warn"]);
    assert_eq!(
        followed.waiting,
        [
            "data_dir: ./data -> /elsewhere",
            "journal.segment_bytes: 16777216 -> 33554432",
            "log.format: text -> json",
        ]
    );
    let running = parse(FILE);
    assert_eq!(followed.config.journal, running.journal);
    assert_eq!(followed.config.data_dir, running.data_dir);
    // Written back, nothing waits any more.
    let me = running.named("p1").unwrap();
    assert_eq!(followed.config.follow(&running, me, me).unwrap().waiting, [""; 0]);
}

#[test]
fn what_the_epoch_fixes_is_refused_where_it_stands() {
    assert_eq!(
        refusal(&altered("name: paxos", "name: other")),
        "c.yaml:1:11: cluster.name: paxos was fixed when the cluster was formed and cannot become \
         other; write paxos again"
    );
    let told = refusal(&format!("{FILE}limits:\n  session_window: 5\n  sessions_max: 7\n"));
    let places: Vec<&str> = told.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places, ["c.yaml:8:3", "c.yaml:9:3"], "{told}");
}

#[test]
fn a_refused_file_is_refused_as_a_whole() {
    let changed = altered("name: paxos", "name: other") + "log: {level: debug}\n";
    assert!(refusal(&changed).starts_with("c.yaml:1:11: cluster.name: "));
}

#[test]
fn the_acceptors_stay() {
    let told = refusal(&(FILE.to_owned() + &ANOTHER.replace("ROLE", "acceptor")));
    assert_eq!(
        told,
        "c.yaml:7:5: nodes[4]: n5 (acceptor, id 5) is new, and the acceptors were fixed when the \
         cluster was formed; take it out"
    );
    let told = refusal(&altered("a1, id: 2", "a9, id: 9").replace("host: a1", "host: a9"));
    assert!(told.contains("c.yaml:2:1: nodes: a1 (acceptor, id 2) is missing"), "{told}");
    assert!(told.contains("c.yaml:4:5: nodes[1]: a9 (acceptor, id 9) is new"), "{told}");
    let told = refusal(&altered("role: client", "role: acceptor"));
    assert_eq!(
        told,
        "c.yaml:6:23: nodes[3].role: c1 (client, id 4) keeps its role; write client again"
    );
}

#[test]
fn a_name_keeps_its_id() {
    let told = refusal(&altered("c1, id: 4", "c1, id: 9"));
    assert_eq!(told, "c.yaml:6:16: nodes[3].id: c1 (client, id 4) cannot get another id; write 4");
}

#[test]
fn nodes_that_do_not_vote_come_and_go() {
    for role in ["proposer", "learner", "client"] {
        let file = FILE.to_owned() + &ANOTHER.replace("ROLE", role);
        assert_eq!(taken(&file), [format!("nodes: n5 ({role}, id 5) added")]);
    }
    let without = FILE.lines().filter(|line| !line.contains("c1")).fold(String::new(), add_line);
    assert_eq!(taken(&without), ["nodes: c1 (client, id 4) removed"]);
    assert_eq!(follow(&without).unwrap().config.nodes.len(), 3);
}

fn add_line(text: String, line: &str) -> String {
    text + line + "\n"
}

#[test]
fn every_other_node_may_move_an_acceptor_too() {
    let moved = altered("host: a1, api_port: 4001", "host: 10.0.0.7, api_port: 4009");
    assert_eq!(taken(&moved), ["a1.host: a1 -> 10.0.0.7", "a1.api_port: 4001 -> 4009"]);
    assert_eq!(follow(&moved).unwrap().config.named("a1").unwrap().api_port, 4009);
}

#[test]
fn a_node_itself_moves_at_its_next_start() {
    let moved = altered("host: p1, api_port: 3001", "host: elsewhere, api_port: 3009");
    let followed = follow(&moved).unwrap();
    assert_eq!(followed.taken, [""; 0]);
    assert_eq!(followed.waiting, ["p1.host: p1 -> elsewhere", "p1.api_port: 3001 -> 3009"]);
    assert_eq!(followed.config.named("p1").unwrap().api_port, 3001);
}

#[test]
fn a_node_stays_who_it_is() {
    let told = follow_from("", &altered("c1, id: 4", "c2, id: 4"), "c1").unwrap_err();
    assert!(told.contains("c.yaml lists no node `c1`"), "{told}");
    // Its name alone would lead it to be another.
    let swapped = altered("c1, id: 4, role: client, host: c1", "c2, id: 4, role: client, host: c2")
        + &ANOTHER.replace("n5", "c1");
    let told = follow_from("", &swapped.replace("ROLE", "client"), "c1").unwrap_err();
    assert!(
        told.contains("nodes: c1 (client, id 4) runs as this node, and cannot become c1 (client"),
        "{told}"
    );
}

#[test]
fn what_runs_and_what_waits_must_keep_the_rules_together() {
    // Larger requests need larger frames and segments, and these wait.
    let more = "limits: {request_bytes: 33554432, frame_bytes_max: 67108864}\n\
                journal: {segment_bytes: 67108864}\nlog: {level: debug}\n";
    let followed = follow(&format!("{FILE}{more}")).unwrap();
    assert_eq!(followed.taken, [""; 0]);
    assert_eq!(followed.waiting.len(), 4, "{:?}", followed.waiting);
    let conflict = followed.conflict.unwrap().to_string();
    assert!(conflict.contains("limits.frame_bytes_max"), "{conflict}");
    assert_eq!(followed.config, parse(FILE));
}

/// That each says when it takes effect, the compiler sees to; here, that the shipped file says so.
#[test]
fn the_shipped_file_marks_the_settings_that_do_not_change_now() {
    let shipped = include_str!("../../../config/cluster.yaml");
    let running = parse(shipped);
    let me = running.named("client1").unwrap();
    for (section, keys) in SECTIONS {
        for (key, _) in *keys {
            let setting = format!("{section}.{key}");
            let was = shipped
                .lines()
                .skip_while(|line| *line != format!("{section}:"))
                .find(|line| line.starts_with(&format!("  {key}: ")))
                .unwrap();
            let value = was.split('#').next().unwrap().trim().split(": ").nth(1).unwrap();
            let new = match value {
                "paxos" => "other".to_owned(),
                "false" => "true".to_owned(),
                "info" => "warn".to_owned(),
                "text" => "json".to_owned(),
                "16777216" if *key == "segment_bytes" => "17000000".to_owned(),
                number => (number.parse::<u64>().unwrap() - 1).to_string(),
            };
            let changed = shipped.replacen(was, &format!("  {key}: {new}"), 1);
            let new = parse(&changed);
            let followed = running.follow(&new, me, me);
            if was.contains("# (fixed) ") {
                assert!(followed.is_err(), "{setting}");
                continue;
            }
            let followed = followed.unwrap();
            let is_waiting = was.contains("# (restart) ");
            assert_eq!(followed.waiting.len(), usize::from(is_waiting), "{setting}");
            assert_eq!(followed.taken.len(), usize::from(!is_waiting), "{setting}");
        }
    }
}
