//! Whether the ports of nodes on this machine are free.

use std::io::ErrorKind;
use std::net::TcpListener;

use crate::config::NodeConfig;

/// The ports of `nodes` that another process has, each with what it is wanted for.
///
/// A port that is free now may be taken when the node asks for it, and then the node says so: this
/// is here to name all of them at once, before anything is started.
pub(super) fn taken<'n>(nodes: impl IntoIterator<Item = &'n NodeConfig>) -> Vec<String> {
    let mut taken = Vec::new();
    for node in nodes {
        for (port, what) in [(node.api_port, "api"), (node.monitor_port, "monitor")] {
            match TcpListener::bind((node.host.as_str(), port)) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    taken.push(format!("{}:{port}  ({what} port of {})", node.host, node.name));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::endpoint::shipped_dev;

    #[test]
    fn a_taken_port_is_named_with_its_node() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let mut node = shipped_dev().unwrap().nodes.remove(0);
        node.api_port = port;
        node.monitor_port = 0;
        assert_eq!(taken([&node]), [format!("127.0.0.1:{port}  (api port of proposer1)")]);
        drop(holder);
        assert!(taken([&node]).is_empty());
    }
}
