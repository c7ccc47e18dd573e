//! A Docker network with addresses that we give out, and walls inside it.

use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use uuid::Uuid;

use super::docker::{LABEL, docker, run, try_docker};

/// How often a range of addresses that is free is looked for, and a network tried to be removed.
const TRIES: usize = 50;

/// Between two tries to remove it.
const LOOK: Duration = Duration::from_millis(100);

/// A bridge of ours, removed with this.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) name: String,
    subnet: [u8; 3],
    next_host: u8,
}

impl Network {
    /// A new network in 198.18.0.0/15, which is set aside for tests of networks (RFC 2544).
    pub(crate) fn create(name: &str) -> Self {
        let mut refusal = String::new();
        for _ in 0..TRIES {
            let chance = Uuid::new_v4().into_bytes();
            let subnet = [198, 18 + chance[0] % 2, chance[1]];
            let [a, b, c] = subnet;
            let range = format!("{a}.{b}.{c}.0/24");
            match try_docker(&["network", "create", "--label", LABEL, "--subnet", &range, name]) {
                Ok(_) => return Self { name: name.to_owned(), subnet, next_host: 10 },
                Err(why) => refusal = why,
            }
        }
        panic!("no network could be made: {refusal}");
    }

    /// An address that nobody had yet.
    pub(crate) fn next_address(&mut self) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        let host = self.next_host;
        self.next_host += 1;
        Ipv4Addr::new(a, b, c, host)
    }

    /// Takes the plug of `container` out: nobody reaches it, not even from this machine.
    pub(crate) fn disconnect(&self, container: &str) {
        docker(&["network", "disconnect", &self.name, container]);
    }

    /// Puts it in again, at `address`; `alias` is the name by which its peers know it.
    pub(crate) fn connect(&self, container: &str, alias: &str, address: Ipv4Addr) {
        let address = address.to_string();
        docker(&["network", "connect", "--ip", &address, "--alias", alias, &self.name, container]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let mut refusal = String::new();
        for _ in 0..TRIES {
            match try_docker(&["network", "rm", &self.name]) {
                Ok(_) => return,
                // A container that was just removed may be on it for a moment longer.
                Err(why) => refusal = why,
            }
            thread::sleep(LOOK);
        }
        eprintln!("{refusal}");
    }
}

/// Lets no packet pass between `container` and any of `peers`, in either direction. This machine
/// still reaches it.
pub(crate) fn wall(container: &str, peers: &[Ipv4Addr]) {
    let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
    let peers = peers.join(",");
    iptables(container, &["-A", "INPUT", "-s", &peers, "-j", "DROP"]);
    iptables(container, &["-A", "OUTPUT", "-d", &peers, "-j", "DROP"]);
}

/// Takes all walls around `container` down.
pub(crate) fn tear_down_wall(container: &str) {
    iptables(container, &["-F"]);
}

/// Runs iptables of this machine in the network of `container`, which itself needs no such program
/// and may not use it.
fn iptables(container: &str, rule: &[&str]) {
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", container]);
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid, "--net", "iptables", "--wait"]).args(rule);
    run(command).unwrap();
}
