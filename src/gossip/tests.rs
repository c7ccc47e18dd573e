//! Gossip among several nodes: a small network with a virtual clock, seeded loss and partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn ten_nodes_started_together_all_find_each_other() {
    let mut net = Net::of_ten(1);
    net.run(Duration::from_secs(3));
    for gossip in net.nodes.values() {
        assert!(gossip.members().all(|(_, state)| state == State::Alive));
        assert_eq!(gossip.members().count(), 9);
    }
}

#[test]
fn twenty_percent_loss_never_makes_a_live_node_dead() {
    for seed in 0..3 {
        let mut net = Net::of_ten(seed);
        net.run(Duration::from_secs(5));
        net.loss_percent = 20;
        net.events.clear();
        net.run(5 * MINUTE);
        let dead = net.seen(|event| matches!(event, Event::Dead { .. }));
        assert_eq!(dead, 0, "seed {seed}");
    }
}

#[test]
fn a_silent_node_is_suspect_after_about_one_and_dead_after_about_three_seconds() {
    let mut net = Net::of_ten(2);
    net.run(Duration::from_secs(20));
    net.kill(7);
    net.run(Duration::from_millis(900));
    assert!(net.others_think(7).iter().all(|state| *state == State::Alive));
    net.run(Duration::from_millis(1400));
    assert!(net.others_think(7).iter().all(|state| *state == State::Suspect));
    net.run(Duration::from_secs(4));
    assert!(net.others_think(7).iter().all(|state| *state == State::Dead));
}

#[test]
fn a_crash_and_restart_at_the_same_address_is_a_new_life_though_its_version_starts_at_zero() {
    let mut net = Net::of_ten(3);
    net.nodes.get_mut(&7).unwrap().publish("delivered_index", "5").unwrap();
    net.run(Duration::from_secs(20));
    net.kill(7);
    net.run(Duration::from_secs(10));
    net.events.clear();
    net.start(7, 200);
    net.run(Duration::from_secs(3));
    assert!(net.others_think(7).iter().all(|state| *state == State::Alive));
    assert_eq!(net.seen(|event| matches!(event, Event::Restarted { incarnation: 200, .. })), 9);
    assert!(net.status(1, 7).metadata.is_empty());
}

#[test]
fn a_node_whose_clock_was_set_back_rises_above_its_former_life() {
    let mut net = Net::of_ten(4);
    net.run(Duration::from_secs(5));
    net.kill(7);
    net.start(7, 3);
    net.run(Duration::from_secs(5));
    assert_eq!(net.nodes[&7].incarnation(), 101);
    assert_eq!(net.status(1, 7).incarnation, 101);
    assert!(net.others_think(7).iter().all(|state| *state == State::Alive));
}

#[test]
fn a_partition_is_noticed_on_both_sides_and_heals() {
    let mut net = Net::of_ten(5);
    net.run(Duration::from_secs(10));
    net.cut_off = BTreeSet::from([1, 2, 3]);
    net.run(Duration::from_secs(20));
    assert_eq!(net.status(1, 9).state, State::Dead);
    assert_eq!(net.status(9, 1).state, State::Dead);
    assert_eq!(net.status(1, 2).state, State::Alive);
    net.cut_off.clear();
    net.run(Duration::from_secs(5));
    for gossip in net.nodes.values() {
        assert!(gossip.members().all(|(_, state)| state == State::Alive));
    }
}

#[test]
fn an_unknown_learner_joins_everywhere_and_is_forgotten_for_good_after_its_time() {
    let mut net = Net::of_ten(6);
    assert_eq!(GossipConfig::new("test").forget_after, 60 * MINUTE);
    for gossip in net.nodes.values_mut() {
        gossip.config.forget_after = MINUTE;
    }
    net.run(Duration::from_secs(3));
    net.start(11, 100);
    net.run(Duration::from_secs(3));
    assert!(net.others_think(11).iter().all(|state| *state == State::Alive));
    assert_eq!(net.others_think(11).len(), 10);
    assert!(!net.status(1, 11).configured);
    net.kill(11);
    net.run(Duration::from_secs(59));
    assert_eq!(net.others_think(11).len(), 10);
    net.events.clear();
    net.run(Duration::from_secs(30));
    assert!(net.others_think(11).is_empty());
    assert_eq!(net.seen(|event| matches!(event, Event::Forgotten { .. })), 10);
    assert_eq!(net.seen(|event| matches!(event, Event::Joined { .. })), 0);
    // The dead of the configuration stay.
    net.kill(7);
    net.run(2 * MINUTE);
    assert_eq!(net.others_think(7).len(), 9);
    // The forgotten may come back.
    net.start(11, 101);
    net.run(Duration::from_secs(3));
    assert_eq!(net.others_think(11).len(), 9);
}

#[test]
fn published_facts_and_the_leader_hint_reach_everyone() {
    let mut net = Net::of_ten(7);
    net.run(Duration::from_secs(3));
    net.nodes.get_mut(&7).unwrap().publish("delivered_index", "41").unwrap();
    net.run(Duration::from_secs(1));
    net.nodes.get_mut(&7).unwrap().publish("delivered_index", "42").unwrap();
    for (node, hint) in [(1, hint(501, 1)), (2, hint(402, 2))] {
        net.feed(node, Input::LeaderSeen(hint));
    }
    net.run(Duration::from_secs(2));
    for (id, gossip) in &net.nodes {
        assert_eq!(net.status(*id, 7).metadata["delivered_index"], "42");
        assert_eq!(gossip.leader(), Some(id_of(1)));
    }
    net.kill(1);
    net.run(Duration::from_secs(8));
    assert_eq!(net.nodes[&2].leader(), None);
}

#[test]
fn a_bare_message_of_the_original_is_taken() {
    let mut gossip = lone();
    let body = br#"{"sender_id":"12","sender_role":"client","timestamp":1.5,"leader_id":2,"nodes":{
        "12":{"id":12,"role":"client","address":"client12","port":6012,"last_seen":1.5,
              "metadata":{"n":1},"version":4}}}"#;
    let (answer, events) = ask(&mut gossip, 0, GossipMessage::parse(body).unwrap());
    let reply = answer.unwrap();
    assert_eq!((reply.status.as_str(), reply.updates, reply.node_count), ("ok", 1, 4));
    assert!(matches!(&events[..], [Event::Joined { member }] if member.id.get() == 12));
    // The original's leader_id without a ballot persuades nobody.
    assert_eq!(gossip.leader(), None);
}

#[test]
fn a_message_without_a_sender_is_answered_as_the_original_did() {
    let (answer, _) = ask(&mut lone(), 0, GossipMessage::parse(b"{}").unwrap());
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.status(), 400);
    assert_eq!(
        serde_json::to_string(&refusal.body()).unwrap(),
        r#"{"status":"error","message":"Missing sender_id"}"#
    );
}

#[test]
fn other_bad_messages_are_refused_whole() {
    let cases: [(&str, u16); 5] = [
        (r#"{"sender_id":0}"#, 400),
        (r#"{"sender_id":100}"#, 400),
        (r#"{"sender_id":9,"sender_role":"king"}"#, 400),
        (r#"{"sender_id":2,"sender_role":"learner"}"#, 409),
        (r#"{"sender_id":9,"cluster":"other"}"#, 409),
    ];
    for (body, status) in cases {
        let (answer, _) = ask(&mut lone(), 0, GossipMessage::parse(body.as_bytes()).unwrap());
        assert_eq!(answer.unwrap_err().status(), status, "{body}");
    }
    for body in ["", "3", r#"{"sender_id":-1}"#, r#"{"sender_id":"x"}"#, r#"{"nodes":3}"#] {
        assert_eq!(GossipMessage::parse(body.as_bytes()).unwrap_err().status(), 400, "{body}");
    }
    let lines: Vec<_> = (0..100).map(|id| format!(r#""{id}":[1,1,1,0]"#)).collect();
    let body = format!(r#"{{"sender_id":9,"digest":{{{}}}}}"#, lines.join(","));
    assert_eq!(GossipMessage::parse(body.as_bytes()), Err(Refusal::TooManyNodes));
}

#[test]
fn nobody_moves_or_recasts_a_configured_node() {
    let mut gossip = lone();
    let told = |role: &str, host: &str| message(BTreeMap::from([("2", record(role, host, 50))]));
    let events = tell(&mut gossip, 0, told("acceptor", "node2"));
    assert_eq!(events, [Event::Refused { id: id_of(2), fault: Fault::Role }]);
    let events = tell(&mut gossip, 0, told("proposer", "elsewhere"));
    assert!(events.contains(&Event::Refused { id: id_of(2), fault: Fault::Address }));
    let kept = gossip.members().find(|(member, _)| member.id == id_of(2)).unwrap().0;
    assert_eq!((kept.role, kept.address.host.as_str()), (Role::Proposer, "node2"));
    // Said once, not with every message.
    assert_eq!(tell(&mut gossip, 0, told("proposer", "elsewhere")), []);
}

#[test]
fn a_false_acceptor_is_listed_but_not_as_configured() {
    let mut gossip = lone();
    tell(&mut gossip, 0, message(BTreeMap::from([("50", record("acceptor", "evil", 1))])));
    let view = gossip.view(Instant::default());
    let listed = view.nodes.iter().find(|node| node.member.id == id_of(50)).unwrap();
    assert!(!listed.configured);
}

#[test]
fn a_message_that_repeats_old_news_is_no_sign_of_life() {
    let mut gossip = lone();
    let stale = || message(BTreeMap::from([("50", record("learner", "l50", 1))]));
    tell(&mut gossip, 0, stale());
    let mut events = Vec::new();
    for second in 1..20 {
        let now = at(second);
        let mut out = Vec::new();
        gossip.tick(now, &mut out);
        gossip.step(now, Input::Asked { ticket: Ticket(1), message: stale() }, &mut out);
        events.extend(changes(out));
    }
    assert!(events.contains(&Event::Dead { id: id_of(50) }));
    assert!(!events.iter().any(|event| matches!(event, Event::Revived { .. })));
}

#[test]
fn stale_gossip_does_not_bring_back_the_forgotten_but_a_new_life_does() {
    let mut gossip = lone();
    gossip.config.forget_after = Duration::from_secs(10);
    let told = |incarnation, version| {
        let record = NodeRecord { incarnation, ..record("learner", "l50", version) };
        message(BTreeMap::from([("50", record)]))
    };
    tell(&mut gossip, 0, told(1, 5));
    let mut out = Vec::new();
    for second in 1..=20 {
        gossip.tick(at(second), &mut out);
    }
    assert!(changes(out).contains(&Event::Forgotten { id: id_of(50) }));
    assert_eq!(tell(&mut gossip, 21, told(1, 5)), []);
    assert_eq!(tell(&mut gossip, 21, told(0, 9)), []);
    assert!(matches!(tell(&mut gossip, 22, told(2, 1))[..], [Event::Joined { .. }]));
}

#[test]
fn news_that_was_old_when_it_was_sent_does_not_revive_the_dead() {
    let mut gossip = lone();
    let told = |version, age_ms| {
        let record = NodeRecord { age_ms, ..record("learner", "l50", version) };
        message(BTreeMap::from([("50", record)]))
    };
    tell(&mut gossip, 0, told(1, 0));
    gossip.tick(at(10), &mut Vec::new());
    assert_eq!(tell(&mut gossip, 10, told(2, 5000)), []);
    let revived = Event::Revived { id: id_of(50), from: State::Dead };
    assert_eq!(tell(&mut gossip, 10, told(3, 500)), [revived]);
}

#[test]
fn a_node_outlives_even_a_forged_last_life() {
    let mut gossip = lone();
    let forged = NodeRecord { incarnation: NUMBER_MAX, ..record("proposer", "node1", 70) };
    let forged = message(BTreeMap::from([("1", forged)]));
    let contested = Event::Contested { heard: NUMBER_MAX, now: NUMBER_MAX };
    assert!(tell(&mut gossip, 0, forged.clone()).contains(&contested));
    assert!(!tell(&mut gossip, 0, forged).contains(&contested));
    assert_eq!(gossip.view(at(0)).nodes[0].version, 71);
}

#[test]
fn a_full_table_takes_no_stranger() {
    let mut gossip = lone();
    gossip.config.members_max = 3;
    let (answer, events) =
        ask(&mut gossip, 0, message(BTreeMap::from([("50", record("learner", "l50", 1))])));
    assert_eq!(answer.unwrap().node_count, 3);
    assert_eq!(events, [Event::Refused { id: id_of(50), fault: Fault::TableFull }]);
}

#[test]
fn a_delta_that_does_not_fit_brings_the_most_stale_first_and_the_rest_later() {
    let mut gossip = lone();
    for (key, version) in [("50", 9), ("51", 30), ("52", 2)] {
        let mut told = record("learner", "host", version);
        told.metadata.insert("state".into(), "x".repeat(100).into());
        tell(&mut gossip, 0, message(BTreeMap::from([(key, told)])));
    }
    gossip.config.records_bytes_max = 700;
    let line = |version| DigestLine::from([1, version, version, 0]);
    let mut digest: Digest =
        BTreeMap::from([(1, DigestLine::from([100, 0, 0, 0])), (50, line(8)), (51, line(5))]);
    let mut ask_with = |digest: &Digest| {
        let message = GossipMessage { digest: Some(digest.clone()), ..message(BTreeMap::new()) };
        ask(&mut gossip, 0, message).0.unwrap().delta
    };
    let first: Vec<_> = ask_with(&digest).into_keys().collect();
    assert_eq!(first, ["51", "52"]);
    digest.extend([(51, line(30)), (52, line(2))]);
    let second: Vec<_> = ask_with(&digest).into_keys().collect();
    assert_eq!(second, ["50"]);
}

#[test]
fn seeds_that_contradict_each_other_are_refused() {
    let twice = [seed(2, Role::Proposer), seed(2, Role::Learner)];
    let config = GossipConfig::new("test");
    let new = |seeds: &[Seed], incarnation| {
        let me = member(1, Role::Proposer);
        Gossip::new(Instant::default(), config.clone(), me, incarnation, seeds, [0; 32]).map(drop)
    };
    assert_eq!(new(&twice, 1), Err(GossipError::Conflict(id_of(2))));
    assert_eq!(new(&[seed(1, Role::Client)], 1), Err(GossipError::Conflict(id_of(1))));
    assert_eq!(new(&[], 0), Err(GossipError::Incarnation(0)));
    assert_eq!(new(&[seed(1, Role::Proposer)], 1), Ok(()));
}

#[test]
fn a_node_that_is_configured_later_is_asked_and_stays() {
    let mut gossip = lone();
    assert_eq!(reconfigure(&mut gossip, at(1), &[2, 3, 9]), []);
    assert_eq!(known(&gossip), [2, 3, 9]);
    let mut asked = BTreeSet::new();
    for second in 1..20 {
        let mut out = Vec::new();
        gossip.tick(at(second), &mut out);
        asked.extend(out.into_iter().filter_map(|effect| match effect {
            Effect::Exchange { to, .. } => Some(to),
            Effect::Reply { .. } | Effect::Changed(_) => None,
        }));
    }
    assert!(asked.contains(&address(9)));
    gossip.tick(at(20_000), &mut Vec::new());
    assert_eq!(known(&gossip), [2, 3, 9], "the configured are not forgotten");
}

#[test]
fn a_configured_address_may_move_and_what_is_known_of_the_node_stays() {
    let mut gossip = lone();
    let old = record("proposer", "node2", 5);
    tell(&mut gossip, 1, message(BTreeMap::from([("2", old)])));
    let moved = Seed { address: address(42), ..seed(2, Role::Proposer) };
    let seeds = [moved, seed(3, Role::Proposer)];
    gossip.reconfigure(at(2), GossipConfig::new("test"), &seeds, &mut Vec::new());
    let view = gossip.view(at(2));
    let node = view.nodes.iter().find(|node| node.member.id == id_of(2)).unwrap();
    assert_eq!(node.member.address, address(42));
    assert_eq!((node.version, node.state, node.incarnation), (5, State::Alive, 1));
}

#[test]
fn a_node_configured_no_more_is_known_while_it_lives() {
    let mut gossip = lone();
    let alive = record("proposer", "node2", 5);
    tell(&mut gossip, 1, message(BTreeMap::from([("2", alive)])));
    // Node 3 was never heard of.
    assert_eq!(reconfigure(&mut gossip, at(2), &[]), [Event::Forgotten { id: id_of(3) }]);
    assert_eq!(known(&gossip), [2]);
    gossip.tick(at(3_700), &mut Vec::new());
    assert_eq!(known(&gossip), [0; 0], "dead for more than an hour");
    // And both may come back.
    reconfigure(&mut gossip, at(3_701), &[2, 3]);
    assert_eq!(known(&gossip), [2, 3]);
}

#[test]
fn an_id_that_is_configured_for_another_role_is_another_node() {
    let mut gossip = lone();
    tell(&mut gossip, 1, message(BTreeMap::from([("9", record("learner", "node9", 5))])));
    reconfigure(&mut gossip, at(2), &[2, 3, 9]);
    let (member, state) = gossip.members().find(|(it, _)| it.id == id_of(9)).unwrap();
    assert_eq!((member.role, state), (Role::Client, State::Suspect));
}

/// Configures the nodes of these numbers, in the roles they have among the ten.
fn reconfigure(gossip: &mut Gossip, now: Instant, numbers: &[u8]) -> Vec<Event> {
    let seeds: Vec<Seed> = numbers.iter().map(|number| seed(*number, role_of(*number))).collect();
    let mut out = Vec::new();
    gossip.reconfigure(now, GossipConfig::new("test"), &seeds, &mut out);
    changes(out)
}

fn known(gossip: &Gossip) -> Vec<u8> {
    gossip.members().map(|(member, _)| member.id.get()).collect()
}

#[test]
fn publishing_is_bounded() {
    let mut gossip = lone();
    for key in 0..METADATA_KEYS_MAX {
        gossip.publish(&format!("key{key}"), "v").unwrap();
    }
    gossip.publish("key0", "w").unwrap();
    for (key, value) in [("one_more", "v"), ("key0", "a\nb"), ("", "v"), ("a b", "v")] {
        assert_eq!(gossip.publish(key, value), Err(GossipError::Metadata(key.to_owned())));
    }
}

#[test]
fn the_view_has_the_fields_of_the_contract() {
    let mut gossip = lone();
    gossip.publish("state", "ready").unwrap();
    let body = gossip.view(at(1)).render(Duration::from_secs(1000));
    let json = serde_json::to_value(&body).unwrap();
    assert_eq!(json["total"], 3);
    assert_eq!(json["leader_id"], serde_json::Value::Null);
    assert_eq!(
        json["nodes"]["1"],
        serde_json::json!({"id": 1, "role": "proposer", "address": "node1", "port": 6001,
            "last_seen": 1000.0, "metadata": {"state": "ready"}, "version": 1, "state": "alive",
            "incarnation": 100})
    );
    assert_eq!(json["nodes"]["2"]["last_seen"], serde_json::Value::Null);
}

#[test]
fn a_later_start_is_a_larger_incarnation_that_json_holds_exactly() {
    assert!(incarnation_at(1_800_000_000_000, 255) < incarnation_at(1_800_000_000_001, 0));
    assert!(incarnation_at(u64::MAX, 255) <= NUMBER_MAX);
    assert!(incarnation_at(0, 0) > 0);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = || {
        let mut net = Net::of_ten(8);
        net.loss_percent = 30;
        net.run(Duration::from_secs(30));
        net.events
    };
    assert_eq!(history(), history());
}

fn id_of(number: u8) -> NodeId {
    NodeId::new(u64::from(number)).unwrap()
}

fn at(second: u64) -> Instant {
    Instant::from_nanos(second * 1_000_000_000)
}

fn hint(proposal_number: u64, leader_id: u8) -> LeaderHint {
    LeaderHint { proposal_number, leader_id }
}

fn role_of(number: u8) -> Role {
    match number {
        1..=3 => Role::Proposer,
        4..=6 => Role::Acceptor,
        7 | 8 => Role::Learner,
        _ => Role::Client,
    }
}

fn address(number: u8) -> Address {
    Address {
        host: format!("node{number}").parse().unwrap(),
        port: NonZeroU16::new(6000 + u16::from(number)).unwrap(),
    }
}

fn member(number: u8, role: Role) -> Member {
    Member { id: id_of(number), role, address: address(number), monitor_port: None }
}

fn seed(number: u8, role: Role) -> Seed {
    Seed { id: Some(id_of(number)), role: Some(role), address: address(number) }
}

/// Node 1, with 2 and 3 configured.
fn lone() -> Gossip {
    let seeds = [seed(2, Role::Proposer), seed(3, Role::Proposer)];
    let me = member(1, Role::Proposer);
    Gossip::new(Instant::default(), GossipConfig::new("test"), me, 100, &seeds, [0; 32]).unwrap()
}

fn record(role: &str, host: &str, version: u64) -> NodeRecord {
    NodeRecord {
        role: role.into(),
        address: host.into(),
        port: 7000,
        version,
        incarnation: 1,
        ..NodeRecord::default()
    }
}

fn message(nodes: BTreeMap<&str, NodeRecord>) -> GossipMessage {
    let nodes = nodes.into_iter().map(|(key, record)| (key.to_owned(), record)).collect();
    GossipMessage { sender_id: Some(60), nodes, ..GossipMessage::default() }
}

fn changes(out: Vec<Effect>) -> Vec<Event> {
    out.into_iter()
        .filter_map(|effect| match effect {
            Effect::Changed(event) => Some(event),
            Effect::Exchange { .. } | Effect::Reply { .. } => None,
        })
        .collect()
}

fn ask(
    gossip: &mut Gossip,
    second: u64,
    message: GossipMessage,
) -> (Result<GossipReply, Refusal>, Vec<Event>) {
    let mut out = Vec::new();
    gossip.step(at(second), Input::Asked { ticket: Ticket(7), message }, &mut out);
    let Some(Effect::Reply { ticket: Ticket(7), answer }) = out.pop() else {
        panic!("no reply in {out:?}");
    };
    (answer, changes(out))
}

fn tell(gossip: &mut Gossip, second: u64, message: GossipMessage) -> Vec<Event> {
    ask(gossip, second, message).1
}

/// What is under way: a request, or the end of an exchange.
#[derive(Debug)]
enum Flight {
    Request { from: u8, to: u8, request: GossipMessage },
    End { from: u8, to: u8, reply: Option<GossipReply> },
}

#[derive(Debug)]
struct Net {
    now: Instant,
    rng: ChaCha8Rng,
    nodes: BTreeMap<u8, Gossip>,
    flights: BTreeMap<(Instant, u64), Flight>,
    sent: u64,
    loss_percent: u32,
    /// These reach each other, and nobody else.
    cut_off: BTreeSet<u8>,
    events: Vec<(u8, Event)>,
}

impl Net {
    fn of_ten(seed: u64) -> Self {
        let mut net = Self {
            now: at(10),
            rng: ChaCha8Rng::seed_from_u64(seed),
            nodes: BTreeMap::new(),
            flights: BTreeMap::new(),
            sent: 0,
            loss_percent: 0,
            cut_off: BTreeSet::new(),
            events: Vec::new(),
        };
        for number in 1..=10 {
            net.start(number, 100);
        }
        net
    }

    fn start(&mut self, number: u8, incarnation: u64) {
        let seeds: Vec<Seed> = (1..=10).map(|other| seed(other, role_of(other))).collect();
        let config = GossipConfig::new("test");
        let me = member(number, role_of(number));
        let rng_seed = self.rng.random();
        let gossip = Gossip::new(self.now, config, me, incarnation, &seeds, rng_seed).unwrap();
        self.nodes.insert(number, gossip);
    }

    fn kill(&mut self, number: u8) {
        self.nodes.remove(&number).unwrap();
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let due = self.nodes.values().filter_map(Gossip::deadline).min();
            let landing = self.flights.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = due.into_iter().chain(landing).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = next;
            if landing == Some(next) {
                let (_, flight) = self.flights.pop_first().unwrap();
                self.land(flight);
                continue;
            }
            let numbers: Vec<u8> = self.nodes.keys().copied().collect();
            for number in numbers {
                let mut out = Vec::new();
                self.nodes.get_mut(&number).unwrap().tick(next, &mut out);
                self.obey(number, None, out);
            }
        }
        self.now = end;
    }

    fn land(&mut self, flight: Flight) {
        match flight {
            Flight::Request { from, to, request } => {
                let body = serde_json::to_vec(&request).unwrap();
                let message = GossipMessage::parse(&body).unwrap();
                let mut out = Vec::new();
                if let Some(gossip) = self.nodes.get_mut(&to) {
                    let ticket = Ticket(0);
                    gossip.step(self.now, Input::Asked { ticket, message }, &mut out);
                }
                self.obey(to, Some(from), out);
            }
            Flight::End { from, to, reply } => {
                let to = address(to);
                let input = match reply {
                    Some(reply) => Input::Answered { to, reply },
                    None => Input::Failed { to },
                };
                self.feed(from, input);
            }
        }
    }

    fn feed(&mut self, number: u8, input: Input) {
        let mut out = Vec::new();
        if let Some(gossip) = self.nodes.get_mut(&number) {
            gossip.step(self.now, input, &mut out);
        }
        self.obey(number, None, out);
    }

    fn obey(&mut self, number: u8, asked_by: Option<u8>, out: Vec<Effect>) {
        for effect in out {
            match effect {
                Effect::Exchange { to, request } => {
                    let to = u8::try_from(to.port.get() - 6000).unwrap();
                    let is_lost = self.loses(number, to) || !self.nodes.contains_key(&to);
                    let (wait, flight) = if is_lost {
                        (1000, Flight::End { from: number, to, reply: None })
                    } else {
                        (self.latency(), Flight::Request { from: number, to, request })
                    };
                    self.launch(wait, flight);
                }
                Effect::Reply { answer, .. } => {
                    let from = asked_by.expect("only a request is answered");
                    let reply = Some(answer.unwrap()).filter(|_| !self.loses(number, from));
                    let wait = if reply.is_some() { self.latency() } else { 1000 };
                    self.launch(wait, Flight::End { from, to: number, reply });
                }
                Effect::Changed(event) => self.events.push((number, event)),
            }
        }
    }

    fn loses(&mut self, from: u8, to: u8) -> bool {
        let is_cut = self.cut_off.contains(&from) != self.cut_off.contains(&to);
        is_cut || self.rng.random_range(0..100) < self.loss_percent
    }

    fn latency(&mut self) -> u64 {
        self.rng.random_range(1..20)
    }

    fn launch(&mut self, wait_ms: u64, flight: Flight) {
        self.sent += 1;
        let at = self.now + Duration::from_millis(wait_ms);
        self.flights.insert((at, self.sent), flight);
    }

    fn others_think(&self, number: u8) -> Vec<State> {
        let id = id_of(number);
        let of = |gossip: &Gossip| gossip.members().find(|(it, _)| it.id == id).map(|it| it.1);
        self.nodes.values().filter_map(of).collect()
    }

    fn status(&self, at: u8, about: u8) -> NodeStatus {
        let view = self.nodes[&at].view(self.now);
        view.nodes.into_iter().find(|node| node.member.id == id_of(about)).unwrap()
    }

    fn seen(&self, is_one: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| is_one(event)).count()
    }
}
