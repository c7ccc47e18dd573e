//! The command line: every verb with its options, an example, and the exit codes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::endpoint::Endpoint;

/// A macro, because `concat!` takes only literals.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0  done
  1  an error, or an unhealthy node
  2  the command line makes no sense
  3  unavailable: nobody was reached, there is no leader or no quorum, or they are too busy
     (503, 429); nothing was changed, try again later
  4  refused: by a node (any other 4xx), or a port or a directory is in use
  5  unknown: it may have been applied, or may yet be (504, or the connection broke);
     sending the value again with the same --key is safe"
    };
}

/// The section of a verb's help that shows how it is used.
macro_rules! example {
    ($($line:literal)+) => {
        concat!("Example:\n", $("  ", $line, "\n",)+ "\n", exit_codes!())
    };
}

/// What `--version` tells: a program that `scripts/optimize.sh` has built says so.
const VERSION: &str = if cfg!(profiled) {
    concat!(env!("CARGO_PKG_VERSION"), " (optimised by a profile)")
} else {
    env!("CARGO_PKG_VERSION")
};

/// A Multi-Paxos consensus service: one daemon, four roles, plain HTTP.
#[derive(Debug, Parser)]
#[command(
    name = "paxosd",
    version = VERSION,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = example!(
        "paxosd dev            # a cluster of ten nodes on this machine; Ctrl-C stops it"
        "paxosd send hello     # in another terminal: write a value,"
        "paxosd read           # read it,"
        "paxosd status         # and see who leads"
    )
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run one node of a cluster, until SIGTERM or SIGINT.
    #[command(after_help = example!("paxosd run --config config/cluster.yaml --name acceptor1"))]
    Run(RunArgs),
    /// Run a whole cluster on this machine: every node a child process on the loopback.
    #[command(after_help = example!(
        "paxosd dev                   # start all nodes and stay; Ctrl-C stops them"
        "paxosd dev kill acceptor1    # in another terminal: kill -9,"
        "paxosd dev start acceptor1   # and start again with its data"
    ))]
    Dev(DevArgs),
    /// Write a value, and wait until it is chosen and delivered.
    #[command(after_help = example!(
        "paxosd send 'any text, \"quoted\" or not'"
        "paxosd send --json '{\"rack\": 7}'"
        "printf 'two\\nlines' | paxosd send -"
        "paxosd send --lines --json values.ndjson    # each line a value; many in one request"
    ))]
    Send(SendArgs),
    /// Print values in delivered order, each as JSON on a line of its own.
    #[command(after_help = example!("paxosd read --from 1 --limit 10"))]
    Read(ReadArgs),
    /// Show the protocol events of nodes, a line each: node, number, time, kind and text.
    #[command(after_help = example!(
        "paxosd logs                              # the newest of every node"
        "paxosd logs acceptor1 learner1 --follow  # of two, as they happen; Ctrl-C ends it"
    ))]
    Logs(LogsArgs),
    /// Print what one node answers to GET, as it came.
    #[command(after_help = example!(
        "paxosd get client1 /get-responses"
        "paxosd get acceptor2 '/view-logs?limit=0'"
        "paxosd get client1 /get-responses --pick /responses  # a response a line"
    ))]
    Get(GetArgs),
    /// Show all nodes: role, state, leader and slots.
    #[command(after_help = example!("paxosd status --output json"))]
    Status(StatusArgs),
    /// Ask one node whether it is healthy; exits with 0 or 1.
    #[command(after_help = example!(
        "paxosd health                               # this node's own monitor port"
        "paxosd health --url http://127.0.0.1:8001"
    ))]
    Health(HealthArgs),
    /// Put a load on a cluster, and say how it was borne: rates, latencies, the longest gap.
    #[command(after_help = example!(
        "paxosd bench write --clients 64"
        "paxosd bench mixed --rate 1000 --seconds 60     # open loop"
        "paxosd bench write --values 1000 --clients 8    # bulk"
    ))]
    Bench(BenchArgs),
    /// Check a configuration file, and say every mistake with its line.
    #[command(after_help = example!("paxosd check config/cluster.yaml"))]
    Check(CheckArgs),
}

/// Which node to run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration, whose changes the node follows; without it `PAXOSD_CONFIG`, else
    /// config/cluster.yaml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which of its nodes this is; without it `PAXOSD_NAME`, `NODE_ID` or the file says so.
    #[arg(long)]
    pub name: Option<String>,
    /// The process whose death ends this one: set by `paxosd dev` for its children.
    #[arg(long, value_name = "PID", hide = true)]
    pub parent: Option<u32>,
}

/// A cluster on this machine.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// The configuration; without it `PAXOSD_CONFIG`, else config/cluster.yaml, else the one built
    /// in. Hosts become 127.0.0.1; where nodes share ports, monitor ports become 8001, 8002, …
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The directory of everything that the cluster keeps. It survives stop and start.
    #[arg(long, value_name = "DIR", default_value = "./data", global = true)]
    pub data: PathBuf,
    /// Start only these; the others can be started later.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub nodes: Vec<String>,
    /// What to tell a running cluster; without it, one is started.
    #[command(subcommand)]
    pub order: Option<Order>,
}

/// What a running `paxosd dev` can be told from another terminal.
#[derive(Debug, Subcommand)]
pub enum Order {
    /// Start a node that was stopped, was killed or died.
    Start {
        /// Which one.
        name: String,
    },
    /// Kill a node on the spot, as kill -9 does.
    Kill {
        /// Which one.
        name: String,
    },
    /// Stop one node in good order, or all of them and `paxosd dev` with them.
    Stop {
        /// Which one; without it, all.
        name: Option<String>,
    },
    /// List the child processes.
    Status,
}

/// Whom to ask, as `send` and `read` share it.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// A client node to ask; may be given again, for more to try in turn. Without it: the clients
    /// of --config, else `PAXOSD_ENDPOINTS` (a comma list), else the clients of `PAXOSD_CONFIG`,
    /// else those of `paxosd dev` on this machine.
    #[arg(long = "url", value_name = "URL")]
    pub urls: Vec<Endpoint>,
    /// The configuration whose clients to ask.
    #[arg(long, value_name = "FILE", conflicts_with = "urls")]
    pub config: Option<PathBuf>,
    /// Ask this node of the configuration and no other: a client, or a proposer to write through,
    /// or a learner to read from.
    #[arg(long, value_name = "NAME", conflicts_with = "urls")]
    pub node: Option<String>,
    /// How long to wait for the answer.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(1..=3_600_000)
    )]
    pub timeout_ms: u64,
    /// How to print the answer: `json` is its body as it came, a refusal's too.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// The body as it came.
    Json,
}

/// What to write.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The value. It is sent as a JSON string, whole, whatever is in it. A lone `-` reads it from
    /// standard input, to the last byte.
    pub value: String,
    /// VALUE, or with --lines each line, is JSON text already, such as 7, `[1,2]` or {"a":null}.
    #[arg(long)]
    pub json: bool,
    /// VALUE names a file, or standard input as `-`, and each of its lines is a value. Up to 1000
    /// of them are written in one request, all or none; empty lines are skipped.
    #[arg(long)]
    pub lines: bool,
    /// The Idempotency-Key: the same key with the same value is written once, however often it is
    /// sent. Without it, a fresh one.
    #[arg(long)]
    pub key: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub gateways: GatewayArgs,
}

/// What to read.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The first index to print, from 1; without it, the newest values.
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u64).range(1..))]
    pub from: Option<u64>,
    /// How many values at most; without it, 1000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// What one learner has now, without asking the acceptors whether it is the latest.
    #[arg(long)]
    pub stale: bool,
    /// Begin each line with the value's index and a tab.
    #[arg(long)]
    pub numbered: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub gateways: GatewayArgs,
}

/// Whose events to show.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The nodes; without any, all.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Go on with what happens from now on. A node that goes away is waited for, and what it did
    /// meanwhile is shown when it is back.
    #[arg(short, long)]
    pub follow: bool,
    /// Only events of a higher number. Each node counts its own, from 1 at each of its starts.
    #[arg(long, value_name = "SEQ")]
    pub since: Option<u64>,
    /// How many events of each node at most: the newest, or with --since the first that follow.
    /// Without it, 10, and with --since all.
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// The configuration whose nodes to ask; without it `PAXOSD_CONFIG`, else the nodes of
    /// `paxosd dev` on this machine.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What to get, and from whom.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The node.
    pub name: String,
    /// The path there, with its query.
    pub path: String,
    /// Print only the part of a JSON answer at this JSON pointer (RFC 6901); the empty one means
    /// the whole. The elements of an array stand on a line each, and so do the members of an
    /// object, each as its name, a tab and its value.
    #[arg(long, value_name = "POINTER")]
    pub pick: Option<String>,
    /// The configuration that lists the node; without it `PAXOSD_CONFIG`, else the nodes of
    /// `paxosd dev` on this machine.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long to wait for the answer.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 5_000,
        value_parser = clap::value_parser!(u64).range(1..=3_600_000)
    )]
    pub timeout_ms: u64,
}

/// Whose state to show.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The configuration whose nodes to ask; without it `PAXOSD_CONFIG`, else the nodes of
    /// `paxosd dev` on this machine.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = StatusFormat::Table)]
    pub output: StatusFormat,
}

/// How the state of a cluster is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// Which node to ask after.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// A node's monitor or API port; without it, this node's own monitor port.
    #[arg(long, value_name = "URL")]
    pub url: Option<Endpoint>,
    /// The configuration that says which port that is; without it `PAXOSD_CONFIG`, else
    /// config/cluster.yaml.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub config: Option<PathBuf>,
    /// Which of its nodes this is, as for `run`.
    #[arg(long, conflicts_with = "url")]
    pub name: Option<String>,
}

/// What load to put on which cluster.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What the callers do.
    #[arg(value_enum)]
    pub work: Work,
    /// Callers, each with a connection of its own. They take the gateways in turn.
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub clients: u32,
    /// For how long, after the warm-up.
    #[arg(
        long,
        value_name = "S",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub seconds: u64,
    /// End after so many requests instead; then there is no warm-up.
    #[arg(long, value_name = "N", conflicts_with_all = ["seconds", "warmup_seconds"])]
    pub requests: Option<u64>,
    /// How long the load runs before it counts.
    #[arg(
        long,
        value_name = "S",
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(0..=3_600)
    )]
    pub warmup_seconds: u64,
    /// Requests a second, due at even intervals whatever the answers do (open loop). What waits
    /// for a free caller is late, and its latency counts from when it was due. Without it, each
    /// caller asks again as soon as it is answered (closed loop).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rate: Option<u64>,
    /// Bytes of a value, which is a JSON string.
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(20..=16_777_216)
    )]
    pub value_bytes: u32,
    /// Values in one request; all or none are written.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub values: u32,
    /// Of a hundred requests of `mixed`, so many read.
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 50,
        value_parser = clap::value_parser!(u8).range(0..=100)
    )]
    pub reads_percent: u8,
    /// Whom to ask, and how to print what came of it.
    #[command(flatten)]
    pub gateways: GatewayArgs,
}

/// What the callers of a load do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Write values.
    Write,
    /// Read the newest value, linearizably.
    Read,
    /// Read the newest value that one learner has, which may be out of date.
    ReadStale,
    /// Write, and read linearizably.
    Mixed,
}

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration; without it `PAXOSD_CONFIG`, else config/cluster.yaml.
    pub file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &[&str]) -> Result<Verb, clap::Error> {
        Cli::try_parse_from(["paxosd"].iter().chain(line)).map(|cli| cli.verb)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_an_example_and_the_exit_codes() {
        let mut command = Cli::command();
        for verb in command.get_subcommands_mut() {
            let name = verb.get_name().to_owned();
            let help = verb.render_long_help().to_string();
            assert!(help.contains(&format!("Example:\n  paxosd {name}")), "{help}");
            assert!(help.contains("Exit codes:\n  0  done"), "{help}");
        }
    }

    #[test]
    fn a_value_arrives_as_it_was_typed() {
        for value in ["-", "", "two words", "\"it's\" $(ok)", "größer ✓", "{\"a\":1}"] {
            let Verb::Send(send) = parse(&["send", value]).unwrap() else { panic!("not send") };
            assert_eq!((send.value.as_str(), send.json), (value, false));
        }
        let Verb::Send(send) = parse(&["send", "--json", "--", "-5"]).unwrap() else {
            panic!("not send")
        };
        assert_eq!((send.value.as_str(), send.json), ("-5", true));
    }

    #[test]
    fn urls_may_be_given_again_but_not_beside_a_file() {
        let line = ["read", "--url", "http://a:1", "--url", "b:2", "--from", "3", "--stale"];
        let Verb::Read(read) = parse(&line).unwrap() else { panic!("not read") };
        let urls: Vec<String> = read.gateways.urls.iter().map(ToString::to_string).collect();
        assert_eq!(urls, ["http://a:1", "http://b:2"]);
        assert_eq!((read.from, read.limit, read.stale), (Some(3), None, true));
        assert!(parse(&["read", "--url", "a:1", "--config", "f"]).is_err());
        assert!(parse(&["read", "--from", "0"]).is_err());
        assert!(parse(&["read", "--node", "client1", "--config", "f"]).is_ok());
        assert!(parse(&["read", "--node", "client1", "--url", "a:1"]).is_err());
    }

    #[test]
    fn dev_takes_its_directory_before_and_after_an_order() {
        for line in [&["dev", "--data", "d", "kill", "a"][..], &["dev", "kill", "a", "--data", "d"]]
        {
            let Verb::Dev(dev) = parse(line).unwrap() else { panic!("not dev") };
            assert_eq!(dev.data, PathBuf::from("d"));
            assert!(matches!(dev.order, Some(Order::Kill { name }) if name == "a"));
        }
        let Verb::Dev(dev) = parse(&["dev", "--nodes", "a,b"]).unwrap() else { panic!("not dev") };
        assert_eq!(dev.nodes, ["a", "b"]);
    }

    #[test]
    fn nothing_at_all_gets_the_help() {
        let error = parse(&[]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("Usage: paxosd"), "{error}");
    }
}
