//! How the systems are talked to, and one caller of any of them.
//!
//! - `http`: HTTP/1.1, a connection a caller. `grpc`: gRPC, many callers on an HTTP/2 connection.
//! - `zookeeper`: ZooKeeper's own protocol, a session a caller. `jute`: its frames.

pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod jute;
pub(crate) mod zookeeper;

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

    /// Gives up the connection.
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
