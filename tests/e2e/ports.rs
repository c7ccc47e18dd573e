//! Ports for a cluster: free ones that nobody else is given, in this process or another.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};

/// Ports of one block: two for each of ten nodes, and some for nodes that join.
const BLOCK: u16 = 32;

/// Below the ports that the kernel picks for outgoing connections (from 32768 on), so that none of
/// these takes the port of a node that is down.
const FIRST: u16 = 10_000;
const BLOCKS: u16 = (32_768 - FIRST) / BLOCK;

/// A block of ports, ours until it is dropped.
#[derive(Debug)]
pub(crate) struct Ports {
    next: u16,
    end: u16,
    _lock: File,
}

impl Ports {
    /// The first block whose lock is free and on which nobody listens.
    pub(crate) fn reserve() -> Self {
        let locks = std::env::temp_dir().join("paxosd-e2e-ports");
        std::fs::create_dir_all(&locks).unwrap();
        for block in 0..BLOCKS {
            let lock = File::create(locks.join(block.to_string())).unwrap();
            let next = FIRST + block * BLOCK;
            let end = next + BLOCK;
            let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if lock.try_lock().is_ok() && (next..end).all(is_free) {
                return Self { next, end, _lock: lock };
            }
        }
        panic!("no block of free ports");
    }

    /// The next one of the block.
    pub(crate) fn take(&mut self) -> u16 {
        assert!(self.next < self.end, "the block is used up");
        self.next += 1;
        self.next - 1
    }
}
