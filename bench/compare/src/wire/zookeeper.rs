//! ZooKeeper callers, each with a session and a connection of its own.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Doors, Setback, jute};
use crate::cell::BULK_VALUES;
use crate::value;

const BROKEN: Setback = Setback::Lost("connection broken");

/// How long a session lives without a word; a caller is never silent for so long.
const SESSION_TIMEOUT_MS: i32 = 30_000;

/// How long a server may take to begin a session. One that is stopped never does, though its kernel
/// takes the connection.
const OPENING_PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of the longest answer that is read.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// A node with a value.
    Create,
    /// Many of them, all or none.
    CreateAll,
    /// The node of this name, as of now.
    SyncAndRead(String),
    /// The node of this name, as the server knows it.
    Read(String),
}

/// One who asks ZooKeeper.
#[derive(Debug)]
pub(crate) struct Caller {
    doors: Doors,
    work: Work,
    session: Option<Session>,
}

impl Caller {
    pub(crate) fn new(doors: Doors, work: Work) -> Self {
        Self { doors, work, session: None }
    }

    pub(super) async fn ask(&mut self, number: u64) -> Result<(), Setback> {
        let session = match &mut self.session {
            Some(session) => session,
            None => self.session.insert(Session::open(self.doors.current()).await?),
        };
        match &self.work {
            Work::Create => session.create(number).await,
            Work::CreateAll => session.create_all(number).await,
            Work::SyncAndRead(path) => session.sync_and_read(path).await,
            Work::Read(path) => session.read(path).await,
        }
    }

    pub(super) fn hang_up(&mut self) {
        self.session = None;
        self.doors.move_on();
    }

    /// Ends the session, so that the servers need not find out during the next cell.
    pub(super) async fn leave(&mut self) {
        if let Some(mut session) = self.session.take() {
            let xid = session.next();
            if session.send(&jute::close_session(xid)).await.is_ok() {
                // Whatever it says, the session is over.
                session.granted(xid).await.ok();
            }
        }
    }
}

/// Whether the server at `address` says that it leads. It answers this question of four letters
/// to anyone, and hangs up.
pub(crate) async fn leads(address: SocketAddr) -> Result<bool, Setback> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.map_err(|_| BROKEN)?;
        stream.write_all(b"srvr").await.map_err(|_| BROKEN)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map_err(|_| BROKEN)?;
        Ok(is_leaders(&answer))
    };
    timeout(OPENING_PATIENCE, asked).await.unwrap_or(Err(BROKEN))
}

fn is_leaders(answer: &[u8]) -> bool {
    answer.split(|byte| *byte == b'\n').any(|line| line == b"Mode: leader")
}

/// A session, on its connection.
#[derive(Debug)]
struct Session {
    stream: TcpStream,
    incoming: BytesMut,
    xid: i32,
}

impl Session {
    async fn open(address: SocketAddr) -> Result<Self, Setback> {
        let opened = timeout(OPENING_PATIENCE, Self::begin(address)).await;
        opened.unwrap_or(Err(Setback::Lost("no session in time")))
    }

    async fn begin(address: SocketAddr) -> Result<Self, Setback> {
        const UNREACHABLE: Setback = Setback::Lost("cannot connect");
        let stream = TcpStream::connect(address).await.map_err(|_| UNREACHABLE)?;
        stream.set_nodelay(true).map_err(|_| UNREACHABLE)?;
        let mut session = Self { stream, incoming: BytesMut::with_capacity(4096), xid: 0 };
        session.send(&jute::connect(SESSION_TIMEOUT_MS)).await?;
        let answer = session.frame().await?;
        if jute::session(answer).is_none_or(|session| session == 0) {
            return Err(Setback::Lost("no session"));
        }
        session.send(&jute::ping()).await?;
        session.granted(jute::PING_XID).await?;
        Ok(session)
    }

    async fn create(&mut self, number: u64) -> Result<(), Setback> {
        let (path, value, xid) = (value::key(number), value::value(number), self.next());
        self.send(&jute::create(xid, &path, value.as_bytes())).await?;
        let mut body = self.granted(xid).await?;
        let created = jute::buffer(&mut body);
        check(created.is_some_and(|created| created == path), "another node was created")
    }

    async fn create_all(&mut self, number: u64) -> Result<(), Setback> {
        let first = number * BULK_VALUES;
        let nodes: Vec<(String, String)> = (first..first + BULK_VALUES)
            .map(|number| (format!("{}-bulk", value::key(number)), value::value(number)))
            .collect();
        let xid = self.next();
        let pairs = nodes.iter().map(|(path, value)| (path.as_str(), value.as_bytes()));
        self.send(&jute::create_all(xid, pairs)).await?;
        let body = self.granted(xid).await?;
        check(jute::created(body) == Some(BULK_VALUES), "not all nodes were created")
    }

    /// Both at once: a server answers a session's requests in their order, so the read comes
    /// after the sync, and nobody need wait for the one before asking for the other.
    async fn sync_and_read(&mut self, path: &str) -> Result<(), Setback> {
        let (sync, read) = (self.next(), self.next());
        let both = [jute::sync(sync, path), jute::get_data(read, path)].concat();
        self.send(&both).await?;
        self.granted(sync).await?;
        self.data(read).await
    }

    async fn read(&mut self, path: &str) -> Result<(), Setback> {
        let xid = self.next();
        self.send(&jute::get_data(xid, path)).await?;
        self.data(xid).await
    }

    async fn data(&mut self, xid: i32) -> Result<(), Setback> {
        let mut body = self.granted(xid).await?;
        let data = jute::buffer(&mut body);
        check(data.is_some_and(|data| !data.is_empty()), "no value")
    }

    fn next(&mut self) -> i32 {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        self.xid
    }

    async fn send(&mut self, frame: &[u8]) -> Result<(), Setback> {
        self.stream.write_all(frame).await.map_err(|_| BROKEN)
    }

    /// The body of the next answer, which must be that to `xid` and a grant.
    async fn granted(&mut self, xid: i32) -> Result<Bytes, Setback> {
        let reply = jute::reply(self.frame().await?).ok_or(BROKEN)?;
        if reply.xid != xid {
            return Err(Setback::Lost("an answer out of order"));
        }
        match reply.error {
            0 => Ok(reply.body),
            error => Err(Setback::Refused(format!("ZooKeeper error {error}"))),
        }
    }

    async fn frame(&mut self) -> Result<Bytes, Setback> {
        loop {
            if let Some((length, _)) = self.incoming.split_first_chunk() {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                if length > FRAME_BYTES_MAX {
                    return Err(BROKEN);
                }
                if self.incoming.len() >= jute::LENGTH_BYTES + length {
                    self.incoming.advance(jute::LENGTH_BYTES);
                    return Ok(self.incoming.split_to(length).freeze());
                }
            }
            let read = self.stream.read_buf(&mut self.incoming).await.map_err(|_| BROKEN)?;
            if read == 0 {
                return Err(BROKEN);
            }
        }
    }
}

fn check(is_granted: bool, wrong: &'static str) -> Result<(), Setback> {
    if is_granted { Ok(()) } else { Err(Setback::Refused(wrong.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_known_by_what_it_says_of_its_mode() {
        let answer = |mode| format!("Zookeeper version: 3.8.0\nMode: {mode}\nNode count: 5\n");
        assert!(is_leaders(answer("leader").as_bytes()));
        assert!(!is_leaders(answer("follower").as_bytes()) && !is_leaders(b""));
    }
}
