//! `paxosd dev`: a whole cluster on this machine, to build against and to break.
//!
//! ```text
//!  paxosd dev ──spawns──► paxosd run --name proposer1 --parent PID      one child a node
//!      ▲  │                   …
//!      │  └──SIGTERM, SIGKILL─► paxosd run --name client2 --parent PID
//!      │
//!  DIR/run/dev.sock ◄── paxosd dev start|kill|stop|status               from another terminal
//! ```
//!
//! Every node is a child of the one `paxosd dev`, also after it was started again, so that the
//! kernel ends it with its parent.
//!
//! - `place`: the directory and its lock. `ports`: are they free. `child`: one node's process.
//! - `supervisor`: starts, watches and stops them. `control`: orders from other terminals.

mod child;
mod control;
mod place;
mod ports;
mod supervisor;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::args::{DevArgs, Order};
use super::endpoint::{dev_base, no_such_node};
use super::exit::{Exit, Failure};
use super::output;
use crate::config::{Config, Env};
use control::{Reply, Request};
use place::Place;

/// How long the ports of a cluster that was killed may take to come free.
const PORTS_PATIENCE: Duration = Duration::from_millis(500);

/// Starts a cluster and stays with it, or tells a running one what to do.
pub(super) fn dev(args: &DevArgs, env: &Env) -> Result<(), Failure> {
    let place = Place::at(&args.data)?;
    let Some(order) = &args.order else { return stay(args, place, env) };
    if args.config.is_some() || !args.nodes.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "--config and --nodes are for the start of a cluster; this one runs already",
        ));
    }
    tell(order, &place)
}

/// Tells the cluster that runs at `place`.
fn tell(order: &Order, place: &Place) -> Result<(), Failure> {
    let (request, stops_all) = match order {
        Order::Start { name } => (Request::Start { node: name.clone() }, false),
        Order::Kill { name } => (Request::Kill { node: name.clone() }, false),
        Order::Stop { name: Some(name) } => (Request::Stop { node: name.clone() }, false),
        Order::Stop { name: None } => (Request::StopAll, true),
        Order::Status => (Request::Status, false),
    };
    let Some(Reply { done, text }) = control::tell(place, &request)? else {
        let message = format!("no `paxosd dev` runs on {}", place.shown());
        if stops_all {
            return output::line(&message);
        }
        let hint = format!("start one with `paxosd dev{}`", place.flag());
        return Err(Failure::new(Exit::Unavailable, message).hint(hint));
    };
    if !done {
        return Err(Failure::new(Exit::Refused, text));
    }
    if stops_all {
        // Whoever reads that all is stopped may start again at once.
        place.wait_until_free()?;
    }
    output::line(&text)
}

/// Starts the cluster, and stays until it is told to stop.
fn stay(args: &DevArgs, place: Place, env: &Env) -> Result<(), Failure> {
    let config = for_place(&dev_base(args.config.as_deref(), env)?, &place)?;
    let names = chosen(&config, &args.nodes)?;
    let claim = place.claim()?;
    let started = Instant::now();
    loop {
        let wanted = config.nodes.iter().filter(|node| names.contains(&node.name));
        let taken = ports::taken(wanted);
        if taken.is_empty() {
            break;
        }
        if started.elapsed() >= PORTS_PATIENCE {
            let mut message = "these ports are taken by other processes:".to_owned();
            for port in taken {
                message = format!("{message}\n  {port}");
            }
            return Err(Failure::new(Exit::Refused, message).hint(
                "`ss -ltnp` names who has them; stop it, or give --config with other ports",
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    place.write_config(&config)?;
    // On this very thread: the kernel ends the children when the thread that made them ends.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("start the runtime", &error))?;
    let ended = runtime.block_on(supervisor::run(place, config, names, output::takes_colour(env)));
    drop(claim);
    ended
}

/// `base` for one machine, with everything it keeps at `place`.
///
/// Where no two nodes of `base` share a port, its monitor ports stay too: so a second cluster can
/// have ports of its own.
fn for_place(base: &Config, place: &Place) -> Result<Config, Failure> {
    let mut config = base.for_dev()?;
    let ports: BTreeSet<u16> =
        base.nodes.iter().flat_map(|node| [node.api_port, node.monitor_port]).collect();
    if ports.len() == 2 * base.nodes.len() {
        for (node, written) in config.nodes.iter_mut().zip(&base.nodes) {
            node.monitor_port = written.monitor_port;
        }
    }
    if let Some(node) = config.nodes.iter().find(|node| place::OWN.contains(&node.name.as_str())) {
        let message = format!("a node called {} would share its directory with us", node.name);
        return Err(Failure::new(Exit::Refused, message).hint("give it another name"));
    }
    // Each child is told its name, and these nodes are the whole cluster.
    config.name = None;
    config.seeds.clear();
    place.dir().clone_into(&mut config.data_dir);
    Ok(config)
}

/// The names of the nodes to start: all, or those in `only`.
fn chosen(config: &Config, only: &[String]) -> Result<Vec<String>, Failure> {
    if only.is_empty() {
        return Ok(config.nodes.iter().map(|node| node.name.clone()).collect());
    }
    match only.iter().find(|name| config.named(name).is_none()) {
        Some(unknown) => Err(Failure::new(Exit::Usage, no_such_node(config, unknown))),
        None => Ok(only.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::endpoint::shipped_dev;
    use std::path::Path;

    #[test]
    fn the_derived_file_reads_back_as_what_it_was_derived_from() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(&dir.path().join("data")).unwrap();
        let mut base = shipped_dev().unwrap();
        base.name = Some("acceptor1".to_owned());
        base.journal.max_bytes = 1 << 30;
        let config = for_place(&base, &place).unwrap();
        let claim = place.claim().unwrap();
        place.write_config(&config).unwrap();
        let read = Config::load(&place.config_file(), &Env::new()).unwrap();
        assert_eq!(read.nodes, config.nodes);
        assert_eq!(read.journal, config.journal);
        assert_eq!(read.data_dir, dir.path().join("data"));
        assert!(read.name.is_none() && read.api.protocol_calls);
        assert_eq!(read.identify(Some("client1"), &Env::new()).unwrap().api_port, 6001);
        drop(claim);
    }

    #[test]
    fn monitor_ports_that_nobody_shares_stay() {
        let place = Place::at(Path::new("data")).unwrap();
        let mut base = shipped_dev().unwrap();
        let ports = |config: &Config| -> Vec<u16> {
            config.nodes.iter().map(|node| node.monitor_port).collect()
        };
        for (node, port) in base.nodes.iter_mut().zip(9000..) {
            node.monitor_port = port;
        }
        assert_eq!(ports(&for_place(&base, &place).unwrap())[..3], [9000, 9001, 9002]);
        base.nodes[1].monitor_port = 9000;
        assert_eq!(ports(&for_place(&base, &place).unwrap())[..3], [8001, 8002, 8003]);
    }

    #[test]
    fn a_node_named_like_a_directory_of_ours_is_refused() {
        let mut base = shipped_dev().unwrap();
        "logs".clone_into(&mut base.nodes[3].name);
        let failure = for_place(&base, &Place::at(Path::new("data")).unwrap()).unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
    }

    #[test]
    fn a_subset_names_nodes_that_are_there() {
        let config = shipped_dev().unwrap();
        assert_eq!(chosen(&config, &[]).unwrap().len(), 10);
        assert_eq!(chosen(&config, &["client1".to_owned()]).unwrap(), ["client1"]);
        let failure = chosen(&config, &["client9".to_owned()]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("there are proposer1, proposer2"), "{failure}");
    }
}
