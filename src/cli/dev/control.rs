//! Orders from other terminals: one JSON line each way over a socket in the cluster's directory.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net as blocking;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::place::Place;
use crate::cli::exit::{Exit, Failure};

/// Orders that wait for the supervisor.
pub(super) const ORDERS_MAX: usize = 16;

/// Bytes of the longest line.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// How long whoever connects may take to say what is wanted.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);

/// How long an order may take: longer than to stop all nodes.
const REPLY_PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait after the process ran out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is wanted.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// That a node runs.
    Start { node: String },
    /// That a node dies.
    Kill { node: String },
    /// That a node ends in good order.
    Stop { node: String },
    /// That all end, and we with them.
    StopAll,
    /// A list of the processes.
    Status,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) done: bool,
    /// For people; may have several lines.
    pub(super) text: String,
}

impl Reply {
    pub(super) fn done(text: impl Into<String>) -> Self {
        Self { done: true, text: text.into() }
    }

    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self { done: false, text: text.into() }
    }
}

/// A request, and where its reply goes.
pub(super) type Asked = (Request, oneshot::Sender<Reply>);

/// The socket's path as long as `run_dir` is open. It is short whatever the directory is called,
/// and that matters: a socket's path has room for 107 bytes.
fn socket(run_dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/dev.sock", run_dir.as_raw_fd()))
}

/// Takes orders for the cluster at `place`, which must be claimed.
pub(super) fn listen(place: &Place) -> Result<UnixListener, Failure> {
    let open = || {
        let run_dir = File::open(place.run_dir())?;
        let path = socket(&run_dir);
        match fs::remove_file(&path) {
            // One that was killed leaves its socket behind.
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        UnixListener::bind(&path)
    };
    open().map_err(|error| {
        Failure::io(format_args!("take orders in {}", place.run_dir().display()), &error)
    })
}

/// Removes the socket.
pub(super) fn close(place: &Place) {
    // What stays behind is removed at the next start.
    drop(fs::remove_file(place.run_dir().join("dev.sock")));
}

/// Passes on what comes in through `listener`, for ever.
pub(super) async fn serve(listener: UnixListener, orders: mpsc::Sender<Asked>, tasks: TaskTracker) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let orders = orders.clone();
                // Whoever goes away before the end gets no reply, and that is all.
                tasks.spawn(async move { drop(take(stream, orders).await) });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn take(stream: UnixStream, orders: mpsc::Sender<Asked>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(LINE_BYTES_MAX));
    timeout(REQUEST_PATIENCE, read.read_line(&mut line)).await??;
    let reply = match serde_json::from_str(&line) {
        Ok(request) => {
            let (reply, replied) = oneshot::channel();
            let sent = orders.send((request, reply)).await;
            let replied = match sent {
                Ok(()) => replied.await.ok(),
                Err(_) => None,
            };
            replied.unwrap_or_else(|| Reply::refused("`paxosd dev` is stopping"))
        }
        Err(error) => Reply::refused(format!("that is no request: {error}")),
    };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// Asks the `paxosd dev` that runs at `place`; `None` when none does.
pub(super) fn tell(place: &Place, request: &Request) -> Result<Option<Reply>, Failure> {
    let exchange = || -> io::Result<Reply> {
        let run_dir = File::open(place.run_dir())?;
        let mut stream = blocking::UnixStream::connect(socket(&run_dir))?;
        stream.set_read_timeout(Some(REPLY_PATIENCE))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut line = String::new();
        BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    match exchange() {
        Ok(reply) => Ok(Some(reply)),
        Err(error)
            if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&error.kind()) =>
        {
            Ok(None)
        }
        Err(error) => {
            let message = format!("`paxosd dev` on {} does not answer: {error}", place.shown());
            Err(Failure::new(Exit::Error, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_is_answered_however_long_the_path_is() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(&dir.path().join("deep".repeat(40))).unwrap();
        assert_eq!(tell(&place, &Request::Status).unwrap(), None);
        let claim = place.claim().unwrap();
        assert_eq!(tell(&place, &Request::Status).unwrap(), None);
        let (orders, mut asked) = mpsc::channel(ORDERS_MAX);
        let serving = tokio::spawn(serve(listen(&place).unwrap(), orders, TaskTracker::new()));
        let kill = || Request::Kill { node: "a".to_owned() };
        let telling = {
            let place = place.clone();
            tokio::task::spawn_blocking(move || tell(&place, &kill()).unwrap())
        };
        let (heard, reply) = asked.recv().await.unwrap();
        assert_eq!(heard, kill());
        reply.send(Reply::refused("no\nsuch node")).unwrap();
        assert_eq!(telling.await.unwrap(), Some(Reply::refused("no\nsuch node")));
        serving.abort();
        close(&place);
        drop(claim);
    }
}
