//! How the systems are talked to, and one caller of any of them.
//!
//! - `http`: HTTP/1.1, a connection a caller. `grpc`: gRPC, many callers on an HTTP/2 connection.
//! - `zookeeper`: ZooKeeper's own protocol, a session a caller. `jute`: its frames.

pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod jute;
pub(crate) mod zookeeper;

use std::collections::VecDeque;
use std::net::SocketAddr;

/// Where a caller asks: at one node, until it is lost, and then at the next.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    current: SocketAddr,
    others: VecDeque<SocketAddr>,
}

impl Doors {
    /// `all` of them, of which that at `first` comes first; `None` where there is no such one.
    pub(crate) fn of(all: &[SocketAddr], first: usize) -> Option<Self> {
        let (before, rest) = all.split_at_checked(first)?;
        let (current, after) = rest.split_first()?;
        Some(Self { current: *current, others: after.iter().chain(before).copied().collect() })
    }

    fn current(&self) -> SocketAddr {
        self.current
    }

    fn move_on(&mut self) {
        if let Some(next) = self.others.pop_front() {
            self.others.push_back(self.current);
            self.current = next;
        }
    }
}

/// What came of a request instead of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setback {
    /// An answer that grants nothing.
    Refused(String),
    /// There is no answer, and the connection is of no use any more.
    Lost(&'static str),
}

impl Setback {
    /// It in words that many failures share.
    pub(crate) fn why(self) -> String {
        match self {
            Self::Refused(why) => why,
            Self::Lost(why) => why.to_owned(),
        }
    }
}

/// One who asks a system, and looks at what the answer says.
#[derive(Debug)]
pub(crate) enum Caller {
    Http(http::Caller),
    Grpc(grpc::Caller),
    Zookeeper(zookeeper::Caller),
}

impl Caller {
    /// Makes request `number`, on a new connection where there is none.
    pub(crate) async fn ask(&mut self, number: u64) -> Result<(), Setback> {
        match self {
            Self::Http(caller) => caller.ask(number).await,
            Self::Grpc(caller) => caller.ask(number).await,
            Self::Zookeeper(caller) => caller.ask(number).await,
        }
    }

    /// Gives up the connection. The next one leads to the next door, except with gRPC, where
    /// callers share connections to one node each.
    pub(crate) fn hang_up(&mut self) {
        match self {
            Self::Http(caller) => caller.hang_up(),
            Self::Grpc(caller) => caller.hang_up(),
            Self::Zookeeper(caller) => caller.hang_up(),
        }
    }

    /// Ends what the system keeps for this caller, if anything.
    pub(crate) async fn leave(&mut self) {
        match self {
            Self::Zookeeper(caller) => caller.leave().await,
            Self::Http(_) | Self::Grpc(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_lost_a_door_tries_the_others_in_turn() {
        let all = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut doors = Doors::of(&all, 1).unwrap();
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(doors.current().port());
            doors.move_on();
        }
        assert_eq!(seen, [2, 3, 1, 2]);
        assert!(Doors::of(&all, 3).is_none() && Doors::of(&[], 0).is_none());
        let mut only = Doors::of(&all[..1], 0).unwrap();
        only.move_on();
        assert_eq!(only.current(), all[0]);
    }
}
