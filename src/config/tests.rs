//! Tests of the configuration as a whole: the shipped file, every rule's text, and identity.

use serde_yaml::Value;

use super::*;

const SHIPPED: &str = include_str!("../../config/cluster.yaml");

/// A small valid cluster, one node a line from line 2.
const SMALL: &str = "\
nodes:
  - {name: p1, id: 1, role: proposer, host: p1, api_port: 3001, monitor_port: 8000}
  - {name: a1, id: 2, role: acceptor, host: a1, api_port: 4001, monitor_port: 8000}
  - {name: l1, id: 3, role: learner, host: l1, api_port: 5001, monitor_port: 8000}
";

fn env(variables: &[(&str, &str)]) -> Env {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::parse("c.yaml".to_owned(), text.to_owned(), &env(variables))
}

/// The errors of a text, one a line.
fn refusals(text: &str, variables: &[(&str, &str)]) -> String {
    parse(text, variables).map_or_else(|errors| errors.to_string(), |_| String::new())
}

fn shipped() -> Config {
    parse(SHIPPED, &[]).unwrap()
}

/// The name that the shipped file and these sources agree on, or the errors.
fn identity(name: Option<&str>, variables: &[(&str, &str)]) -> Result<String, String> {
    identified(SHIPPED, name, variables).map(|node| node.name)
}

fn identified(
    text: &str,
    name: Option<&str>,
    variables: &[(&str, &str)],
) -> Result<NodeConfig, String> {
    let config = parse(text, variables).map_err(|errors| errors.to_string())?;
    config.identify(name, &env(variables)).map_err(|errors| errors.to_string())
}

mod the_shipped_file {
    use super::*;

    #[test]
    fn is_valid_and_lists_the_ten_nodes_of_the_contract() {
        let config = shipped();
        let nodes: Vec<(&str, u8, u16)> = config
            .nodes
            .iter()
            .map(|node| (node.name.as_str(), node.id.get(), node.api_port))
            .collect();
        assert_eq!(
            nodes,
            [
                ("proposer1", 1, 3001),
                ("proposer2", 2, 3002),
                ("proposer3", 3, 3003),
                ("acceptor1", 4, 4001),
                ("acceptor2", 5, 4002),
                ("acceptor3", 6, 4003),
                ("learner1", 7, 5001),
                ("learner2", 8, 5002),
                ("client1", 9, 6001),
                ("client2", 10, 6002),
            ]
        );
        for node in &config.nodes {
            assert_eq!(node.host, node.name);
            assert_eq!(node.monitor_port, 8000);
            assert!(node.name.starts_with(node.role.as_str()));
        }
    }

    #[test]
    fn shows_every_setting_at_its_default() {
        let nodes_alone = SMALL;
        let mut defaults = parse(nodes_alone, &[]).unwrap();
        let config = shipped();
        defaults.nodes.clone_from(&config.nodes);
        defaults.source.clone_from(&config.source);
        assert_eq!(config, defaults);

        let written: Value = serde_yaml::from_str(SHIPPED).unwrap();
        for (section, keys) in schema::SECTIONS {
            for (key, _) in *keys {
                assert!(written[*section].get(*key).is_some(), "{section}.{key} is not shown");
            }
        }
    }

    #[test]
    fn is_checked_in_one_line() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/cluster.yaml");
        assert_eq!(
            check(&path, &Env::new()).unwrap(),
            "ok: 10 nodes (3 proposers, 3 acceptors, 2 learners, 2 clients), quorum 2 of 3"
        );
    }

    #[test]
    fn becomes_one_machine_for_development() {
        let dev = shipped().for_dev().unwrap();
        let ports: Vec<u16> = dev.nodes.iter().map(|node| node.monitor_port).collect();
        assert_eq!(ports, (8001..=8010).collect::<Vec<u16>>());
        assert!(dev.nodes.iter().all(|node| node.host == "127.0.0.1"));
        assert!(dev.api.protocol_calls);
        assert_eq!(
            dev.node_dir(dev.named("client1").unwrap()),
            Path::new("./data").join("client1")
        );
    }
}

mod a_rule {
    use super::*;

    /// `SMALL` with `more` lines after it, and the errors that it must have, in order. The first
    /// line of `more` is line 5.
    fn refused(more: &str, expected: &[&str]) {
        let told = refusals(&format!("{SMALL}{more}"), &[]);
        assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{more}");
    }

    /// `SMALL` with `from` replaced by `to`.
    fn altered(from: &str, to: &str, expected: &[&str]) {
        assert!(SMALL.contains(from), "{from}");
        let told = refusals(&SMALL.replacen(from, to, 1), &[]);
        assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{from} -> {to}");
    }

    #[test]
    fn refuses_an_unknown_key_and_guesses_the_one_meant() {
        for (more, expected) in [
            (
                "election:\n  hearbeat_ms: 5\n",
                "c.yaml:6:3: election.hearbeat_ms: unknown key `hearbeat_ms`; did you mean \
                 `heartbeat_ms`?",
            ),
            (
                "elections: {}\n",
                "c.yaml:5:1: elections: unknown key `elections`; did you mean `election`?",
            ),
            (
                "heartbeat_ms: 5\n",
                "c.yaml:5:1: heartbeat_ms: unknown key `heartbeat_ms`; it belongs under \
                 `election:`",
            ),
            (
                "api: {colour: red}\n",
                "c.yaml:5:7: api.colour: unknown key `colour`; there are protocol_calls",
            ),
            ("log: {7: red}\n", "c.yaml:5:1: log: the key `7` is not a word"),
        ] {
            refused(more, &[expected]);
        }
        altered(
            "host: a1",
            "hots: a1",
            &[
                "c.yaml:3:5: nodes[1]: `host` is missing; write a DNS name or an IP address",
                "c.yaml:3:39: nodes[1].hots: unknown key `hots`; did you mean `host`?",
            ],
        );
    }

    #[test]
    fn refuses_a_value_of_another_kind_or_out_of_range() {
        for (more, expected) in [
            (
                "election: {timeout_ms: soon}\n",
                "c.yaml:5:12: election.timeout_ms: `soon` will not do; write a whole number from \
                 2 to 600000",
            ),
            (
                "election: {timeout_ms: '300'}\n",
                "c.yaml:5:12: election.timeout_ms: `300` stands in quotes, so it is no number; \
                 write a whole number from 2 to 600000",
            ),
            (
                "gossip:\n  fanout: 0   # nobody\n",
                "c.yaml:6:3: gossip.fanout: 0 is below 1; write a whole number from 1 to 99",
            ),
            (
                "gossip: {fanout: 2.5}\n",
                "c.yaml:5:10: gossip.fanout: 2.5 is no whole number from 0 on; write a whole \
                 number from 1 to 99",
            ),
            (
                "gossip: {fanout: -1}\n",
                "c.yaml:5:10: gossip.fanout: -1 is no whole number from 0 on; write a whole \
                 number from 1 to 99",
            ),
            (
                "api: {protocol_calls: yes}\n",
                "c.yaml:5:7: api.protocol_calls: `yes` will not do; write true or false",
            ),
            (
                "log:\n  level: loud\n",
                "c.yaml:6:3: log.level: `loud` will not do; write one of off, error, warn, info, \
                 debug, trace",
            ),
            ("log: loud\n", "c.yaml:5:1: log: `loud` is no section; write any of level, format"),
            ("data_dir: [a]\n", "c.yaml:5:1: data_dir: a list will not do; write a directory"),
            (
                "data_dir: !home a\n",
                "c.yaml:5:1: data_dir: the tag !home will not do; write a directory",
            ),
            (
                "data_dir: ''\n",
                "c.yaml:5:1: data_dir: an empty text is no directory; write one, as `./data`",
            ),
            (
                "cluster: {name: Paxos}\n",
                "c.yaml:5:11: cluster.name: `Paxos` is no name; write 1 to 63 of a-z, 0-9 and \
                 `-`, beginning and ending with a letter or digit",
            ),
        ] {
            refused(more, &[expected]);
        }
    }

    #[test]
    fn refuses_a_node_that_is_none() {
        for (from, to, expected) in [
            (
                "id: 2",
                "id: 100",
                "c.yaml:3:16: nodes[1].id: 100 is over 99; write an id from 1 to 99",
            ),
            ("id: 2", "id: 0", "c.yaml:3:16: nodes[1].id: 0 is below 1; write an id from 1 to 99"),
            (
                "id: 2",
                "id: 1",
                "c.yaml:3:16: nodes[1].id: 1 is already the id of p1; write an id from 1 to 99 \
                 that is free, as 2",
            ),
            (
                "name: l1",
                "name: p1",
                "c.yaml:4:6: nodes[2].name: `p1` is already the name of nodes[0]; write another \
                 name",
            ),
            (
                "name: l1",
                "name: l_1",
                "c.yaml:4:6: nodes[2].name: `l_1` is no name; write 1 to 63 of a-z, 0-9 and `-`, \
                 beginning and ending with a letter or digit",
            ),
            (
                "role: learner",
                "role: leaner",
                "c.yaml:4:23: nodes[2].role: `leaner` will not do; write one of proposer, \
                 acceptor, learner, client",
            ),
            (
                "host: l1",
                "host: 'http://l1'",
                "c.yaml:4:38: nodes[2].host: `http://l1` is no host; write a DNS name or an IP \
                 address, without scheme and port",
            ),
            (
                "host: l1",
                "host: 10.0.0.300",
                "c.yaml:4:38: nodes[2].host: `10.0.0.300` is no host; write a DNS name or an IP \
                 address, without scheme and port",
            ),
            (
                "api_port: 5001",
                "api_port: 0",
                "c.yaml:4:48: nodes[2].api_port: 0 is below 1; write a port from 1 to 65535",
            ),
            (
                "api_port: 5001",
                "api_port: 70000",
                "c.yaml:4:48: nodes[2].api_port: 70000 is over 65535; write a port from 1 to 65535",
            ),
            (
                "api_port: 5001",
                "api_port: 8000",
                "c.yaml:4:64: nodes[2].monitor_port: l1:8000 is already the api_port of l1; write \
                 another port or host",
            ),
            (
                "host: l1",
                "host: A1",
                "c.yaml:4:64: nodes[2].monitor_port: A1:8000 is already the monitor_port of a1; \
                 write another port or host",
            ),
            (
                "role: acceptor",
                "role: proposer",
                "c.yaml:1:1: nodes: there is no acceptor; list at least one node with `role: \
                 acceptor`",
            ),
            (
                "role: learner",
                "role: client",
                "c.yaml:1:1: nodes: there is no learner; list at least one node with `role: \
                 learner`",
            ),
            (
                "role: proposer",
                "role: client",
                "c.yaml:1:1: nodes: there is no proposer; list at least one node with `role: \
                 proposer`",
            ),
        ] {
            altered(from, to, &[expected]);
        }
    }

    #[test]
    fn refuses_settings_that_cannot_work_together() {
        for (more, expected) in [
            (
                "election:\n  heartbeat_ms: 50\n  timeout_ms: 99\n",
                "c.yaml:7:3: election.timeout_ms: 99 is below 100, twice election.heartbeat_ms; \
                 write at least 100",
            ),
            (
                "election:\n  heartbeat_ms: 200\n",
                "c.yaml:5:1: election.timeout_ms: 300 is below 400, twice election.heartbeat_ms; \
                 write at least 400",
            ),
            (
                "client: {retry_ms: 6000}\n",
                "c.yaml:5:10: client.retry_ms: 6000 is over client.timeout_ms, 5000; write at \
                 most 5000, or raise that",
            ),
            (
                "learner: {gap_ms: 301}\n",
                "c.yaml:5:11: learner.gap_ms: 301 is over learner.fill_after_ms, 300; write at \
                 most 300, or raise that",
            ),
            (
                "gossip: {suspect_ms: 200}\n",
                "c.yaml:5:10: gossip.suspect_ms: 200 is below 201, one more than \
                 gossip.interval_ms; write at least 201",
            ),
            (
                "gossip: {dead_ms: 1000}\n",
                "c.yaml:5:10: gossip.dead_ms: 1000 is below 1001, one more than \
                 gossip.suspect_ms; write at least 1001",
            ),
            (
                "gossip: {forget_ms: 3000}\n",
                "c.yaml:5:10: gossip.forget_ms: 3000 is below 3001, one more than \
                 gossip.dead_ms; write at least 3001",
            ),
            (
                "limits: {value_bytes: 8388609}\n",
                "c.yaml:5:10: limits.value_bytes: 8388609 is over limits.request_bytes, 8388608; \
                 write at most 8388608, or raise that",
            ),
            (
                "limits: {request_bytes: 16777216}\n",
                "c.yaml:5:1: limits.frame_bytes_max: 16777216 is below 17002752, what \
                 limits.request_bytes and limits.request_values need in one frame; write at least \
                 17002752",
            ),
            (
                "limits: {frame_bytes_max: 16777217}\n",
                "c.yaml:5:10: limits.frame_bytes_max: 16777217 is over journal.segment_bytes, \
                 16777216; write at most 16777216, or raise that",
            ),
            (
                "proposer: {batch_bytes_max: 14854825}\n",
                "c.yaml:5:12: proposer.batch_bytes_max: 14854825 is over 14854824, what \
                 limits.frame_bytes_max leaves for it; write at most 14854824, or raise that",
            ),
            (
                "acceptor: {promise_page_bytes: 14854825}\n",
                "c.yaml:5:12: acceptor.promise_page_bytes: 14854825 is over 14854824, what \
                 limits.frame_bytes_max leaves for it; write at most 14854824, or raise that",
            ),
            (
                "acceptor: {turn_bytes_max: 16777217}\n",
                "c.yaml:5:12: acceptor.turn_bytes_max: 16777217 is over journal.segment_bytes, \
                 16777216; write at most 16777216, or raise that",
            ),
            (
                "journal: {max_bytes: 67108863}\n",
                "c.yaml:5:11: journal.max_bytes: 67108863 is below 67108864, four times \
                 journal.segment_bytes; write at least 67108864",
            ),
            (
                "proposer: {queue_bytes_max: 8388607}\n",
                "c.yaml:5:12: proposer.queue_bytes_max: 8388607 is below 8388608, \
                 limits.request_bytes: the largest request could never be queued; write at least \
                 8388608",
            ),
            (
                "proposer: {batch_commands_max: 65537}\n",
                "c.yaml:5:12: proposer.batch_commands_max: 65537 is over \
                 proposer.queue_commands_max, 65536; write at most 65536, or raise that",
            ),
            (
                "acceptor: {accept_window_slots: 7}\n",
                "c.yaml:1:1: proposer.window_slots: 8 is over acceptor.accept_window_slots, 7; \
                 write at most 7, or raise that",
            ),
            (
                "proposer: {window_slots: 4097}\n",
                "c.yaml:5:12: proposer.window_slots: 4097 is over learner.window_slots, 4096; \
                 write at most 4096, or raise that",
            ),
        ] {
            refused(more, &[expected]);
        }
    }

    #[test]
    fn does_not_hide_another() {
        refused(
            "gossip: {fanout: 0}\nlog: {format: xml}\nelection:\n  timeout: 9\n",
            &[
                "c.yaml:5:10: gossip.fanout: 0 is below 1; write a whole number from 1 to 99",
                "c.yaml:6:7: log.format: `xml` will not do; write one of text, json",
                "c.yaml:8:3: election.timeout: unknown key `timeout`; did you mean `timeout_ms`?",
            ],
        );
        refused(
            "election: {timeout_ms: 2}\nclient: {retry_ms: 9999}\n",
            &[
                "c.yaml:5:12: election.timeout_ms: 2 is below 100, twice election.heartbeat_ms; \
                 write at least 100",
                "c.yaml:6:10: client.retry_ms: 9999 is over client.timeout_ms, 5000; write at \
                 most 5000, or raise that",
            ],
        );
    }

    #[test]
    fn lets_an_even_number_of_acceptors_and_a_file_without_clients_pass() {
        let four = format!(
            "{SMALL}  - \
             {{name: a2, id: 9, role: acceptor, host: a2, api_port: 1, monitor_port: 2}}\n"
        );
        assert_eq!(parse(&four, &[]).unwrap().acceptors().len(), 2);
    }
}

mod a_text_that_is_no_configuration {
    use super::*;

    #[test]
    fn is_refused_where_the_reader_stumbles() {
        for (text, expected) in [
            ("", "c.yaml:1:1: the file is empty; write at least `nodes:` with the nodes"),
            ("- a\n", "c.yaml:1:1: a list is no configuration; write keys with values"),
            ("name: p1\n", "c.yaml:1:1: `nodes` is missing; list the nodes of the cluster"),
            ("nodes: 3\n", "c.yaml:1:1: nodes: `3` is no list of nodes; write one `- ` each"),
            ("nodes:\n  - p1\n", "c.yaml:2:5: nodes[0]: `p1` is no node; write `- {name: "),
            ("nodes:\n\t- a\n", "c.yaml:2:1: this is not YAML as it should be: "),
            ("nodes: [\n", "c.yaml:2:1: this is not YAML as it should be: "),
            ("name: a\nname: b\n", "c.yaml:1:1: this is not YAML as it should be: duplicate"),
        ] {
            let told = refusals(text, &[]);
            assert!(told.starts_with(expected), "{text:?}: {told}");
        }
    }

    #[test]
    fn is_refused_when_it_is_not_there() {
        let told = check(Path::new("no/such.yaml"), &Env::new()).unwrap_err().to_string();
        assert!(told.starts_with("no/such.yaml: cannot be read: "), "{told}");
    }
}

mod the_environment {
    use super::*;

    #[test]
    fn wins_over_the_file() {
        let text = format!("{SMALL}election: {{heartbeat_ms: 10, timeout_ms: 20}}\n");
        let config = parse(
            &text,
            &[
                ("PAXOSD__ELECTION__TIMEOUT_MS", "500"),
                ("PAXOSD__API__PROTOCOL_CALLS", "true"),
                ("PAXOSD__LOG__LEVEL", "off"),
                ("PAXOSD__DATA_DIR", "1.10"),
                ("PAXOSD__GOSSIP__FANOUT", ""),
                ("PAXOSD_ENDPOINTS", "none of ours"),
            ],
        )
        .unwrap();
        assert_eq!(config.election, Election { heartbeat_ms: 10, timeout_ms: 500 });
        assert!(config.api.protocol_calls);
        assert_eq!(config.log.level, LogLevel::Off);
        assert_eq!(config.data_dir, Path::new("1.10"));
        assert_eq!(config.gossip, Gossip::default());
        assert_eq!(config.nodes, parse(SMALL, &[]).unwrap().nodes);
    }

    #[test]
    fn is_refused_by_the_name_of_the_variable() {
        for (name, value, expected) in [
            ("PAXOSD__ELECTION__TIMEOUT", "1", "unknown key `timeout`; did you mean `timeout_ms`?"),
            (
                "PAXOSD__ELECTION__TIMEOUTMS",
                "1",
                "unknown key `timeoutms`; did you mean `timeout_ms`?",
            ),
            (
                "PAXOSD__ELECTON__TIMEOUT_MS",
                "1",
                "unknown section `electon`; did you mean `election`?",
            ),
            ("PAXOSD__DATADIR", "1", "unknown key `datadir`; did you mean `data_dir`?"),
            (
                "PAXOSD__LOG",
                "1",
                "`log` is a section; write PAXOSD__LOG__ and one of LEVEL, FORMAT",
            ),
            ("PAXOSD__NODES__0__ID", "1", "nodes are listed in the file; write them there"),
            (
                "PAXOSD__GOSSIP__FANOUT",
                "many",
                "`many` is no whole number from 0 on; write a whole number from 1 to 99",
            ),
            ("PAXOSD__GOSSIP__FANOUT", "100", "100 is over 99; write a whole number from 1 to 99"),
            ("PAXOSD__API__PROTOCOL_CALLS", "on", "`on` will not do; write true or false"),
            (
                "PAXOSD__ELECTION__TIMEOUT_MS",
                "99",
                "election.timeout_ms: 99 is below 100, twice election.heartbeat_ms; write at \
                 least 100",
            ),
        ] {
            let told = refusals(SMALL, &[(name, value)]);
            assert_eq!(told, format!("environment variable {name}: {expected}"));
        }
    }

    #[test]
    fn adds_seeds() {
        let seeds = "1:proposer:p1.paxos.svc.cluster.local:3001, 11:client:[::1]:6003,";
        let config = parse(SMALL, &[("SEED_NODES", seeds)]).unwrap();
        let told: Vec<String> = config
            .seeds
            .iter()
            .map(|seed| format!("{} {} {} {}", seed.id, seed.role, seed.host, seed.port))
            .collect();
        assert_eq!(told, ["1 proposer p1.paxos.svc.cluster.local 3001", "11 client ::1 6003"]);
        assert_eq!(config.nodes.len(), 3);
    }

    #[test]
    fn is_refused_where_a_seed_is_none() {
        for (entry, wrong) in [
            ("p1:3001", "four parts are wanted"),
            ("0:proposer:p1:3001", "`0` is no id from 1 to 99"),
            ("1:boss:p1:3001", "unknown role `boss`; write proposer, acceptor, learner or client"),
            ("1:proposer:p1:0", "`0` is no port from 1 to 65535"),
            (
                "1:proposer::3001",
                "`` is no host; write a DNS name or an IP address, without scheme and port",
            ),
        ] {
            assert_eq!(
                refusals(SMALL, &[("SEED_NODES", entry)]),
                format!(
                    "environment variable SEED_NODES: `{entry}`: {wrong}; write \
                     id:role:host:port, as 1:proposer:proposer1:3001"
                )
            );
        }
    }
}

mod a_scalar {
    use super::*;

    #[test]
    fn stays_the_text_that_it_is() {
        let text = format!(
            "{SMALL}data_dir: 1.10\nlog: {{level: off}}\ncluster: {{name: 007}}\nelection:\n"
        );
        let config = parse(&text, &[]).unwrap();
        assert_eq!(config.data_dir, Path::new("1.10"));
        assert_eq!(config.log.level, LogLevel::Off);
        assert_eq!(config.cluster.name, "007");
        assert_eq!(config.election, Election::default());
    }
}

mod a_node {
    use super::*;

    #[test]
    fn learns_its_name_from_each_source() {
        assert_eq!(identity(Some("learner2"), &[]).unwrap(), "learner2");
        assert_eq!(identity(None, &[("PAXOSD_NAME", "learner2")]).unwrap(), "learner2");
        assert_eq!(identity(None, &[("NODE_ID", "8")]).unwrap(), "learner2");
        let original = [("NODE_ID", "8"), ("NODE_ROLE", "learner"), ("PORT", "5002")];
        assert_eq!(identity(None, &original).unwrap(), "learner2");
        assert_eq!(identity(Some("learner2"), &original).unwrap(), "learner2");
        let named = format!("name: learner2\n{SHIPPED}");
        assert_eq!(identified(&named, None, &[]).unwrap().name, "learner2");
        assert_eq!(identified(&named, None, &[("PAXOSD_NAME", "")]).unwrap().name, "learner2");
    }

    #[test]
    fn refuses_two_sources_that_disagree_and_names_both() {
        for (name, variables, expected) in [
            (
                Some("client1"),
                &[("PAXOSD_NAME", "client2")][..],
                "environment variable PAXOSD_NAME: --name says `client1`, but PAXOSD_NAME says \
                 `client2`; let them agree, or give one",
            ),
            (
                Some("client1"),
                &[("NODE_ID", "10")],
                "environment variable NODE_ID: --name says `client1`, but NODE_ID says 10, which \
                 is `client2`; let them agree, or give one",
            ),
            (
                None,
                &[("PAXOSD_NAME", "client1"), ("NODE_ID", "11")],
                "environment variable NODE_ID: PAXOSD_NAME says `client1`, which has id 9, but \
                 NODE_ID says 11; let them agree, or give one",
            ),
            (
                Some("client1"),
                &[("NODE_ROLE", "learner"), ("PORT", "6002")],
                "environment variable NODE_ROLE: NODE_ROLE says learner, but the file says that \
                 client1 is a client; let them agree\n\
                 environment variable PORT: PORT says 6002, but the file says that client1 has \
                 api_port 6001; let them agree",
            ),
        ] {
            assert_eq!(identity(name, variables).unwrap_err(), expected);
        }
        let named = format!("name: client1\n{SHIPPED}");
        assert_eq!(
            identified(&named, Some("client2"), &[]).unwrap_err(),
            "c.yaml:1:1: --name says `client2`, but `name` in the file says `client1`; let them \
             agree, or give one"
        );
    }

    #[test]
    fn is_refused_when_it_is_unknown() {
        for (name, variables, expected) in [
            (
                None,
                &[][..],
                "command line: nothing says which node this is; write --name with one of p1, a1, \
                 l1, or set PAXOSD_NAME",
            ),
            (
                Some("nobody"),
                &[],
                "command line: c.yaml lists no node `nobody`; there are p1, a1, l1",
            ),
            (
                None,
                &[("PAXOSD_NAME", "p2")],
                "environment variable PAXOSD_NAME: c.yaml lists no node `p2`; did you mean `p1`?",
            ),
            (
                None,
                &[("NODE_ID", "100"), ("NODE_ROLE", "boss"), ("PORT", "x")],
                "environment variable NODE_ID: `100` is no id from 1 to 99\n\
                 environment variable NODE_ROLE: unknown role `boss`; write proposer, acceptor, \
                 learner or client\n\
                 environment variable PORT: `x` is no port from 1 to 65535",
            ),
            (
                None,
                &[("NODE_ID", "11")],
                "environment variable NODE_ID: the file lists no node with id 11; to join by \
                 gossip, set NODE_ROLE and PORT too",
            ),
        ] {
            assert_eq!(identified(SMALL, name, variables).unwrap_err(), expected);
        }
    }

    #[test]
    fn that_is_not_listed_may_join_in_any_role_but_acceptor() {
        let joining =
            |role: &'static str| [("NODE_ID", "11"), ("NODE_ROLE", role), ("PORT", "7000")];
        for role in ["proposer", "learner", "client"] {
            let node = identified(SMALL, None, &joining(role)).unwrap();
            assert_eq!(node.name, format!("{role}11"));
            assert_eq!(node.host, node.name);
            assert_eq!((node.api_port, node.monitor_port), (7000, 8000));
        }
        assert_eq!(
            identified(SMALL, None, &joining("acceptor")).unwrap_err(),
            "environment variable NODE_ROLE: the file lists no acceptor with id 11, and acceptors \
             never join by gossip; list it under `nodes:`, or choose another role"
        );
    }

    #[test]
    fn that_joins_takes_no_address_of_another() {
        let variables = [
            ("NODE_ID", "11"),
            ("NODE_ROLE", "client"),
            ("PORT", "7000"),
            ("PAXOSD_HOST", "a1"),
            ("PAXOSD_NAME", "extra"),
        ];
        assert_eq!(
            identified(SMALL, None, &variables).unwrap_err(),
            "environment variable PAXOSD_MONITOR_PORT: a1:8000 belongs to a1; write another port"
        );
        let moved = [&variables[..], &[("PAXOSD_MONITOR_PORT", "8001")]].concat();
        let node = identified(SMALL, None, &moved).unwrap();
        assert_eq!((node.name.as_str(), node.host.as_str()), ("extra", "a1"));
        let same = [&variables[..], &[("PAXOSD_MONITOR_PORT", "7000")]].concat();
        assert_eq!(
            identified(SMALL, None, &same).unwrap_err(),
            "environment variable PORT: 7000 is the monitor port too; write another, or set \
             PAXOSD_MONITOR_PORT"
        );
    }

    #[test]
    fn of_development_clashes_when_two_share_a_port() {
        let shared = SMALL.replace("5001", "4001");
        let config = parse(&shared, &[]).unwrap();
        assert_eq!(
            config.for_dev().unwrap_err().to_string(),
            "c.yaml:4:48: nodes[2].api_port: 127.0.0.1:4001 is already the api_port of a1; write \
             another port or host"
        );
    }
}
