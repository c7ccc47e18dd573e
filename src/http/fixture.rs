//! What tests of the edge share: a server on a free port of the loopback, and a raw connection.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Address, Body, ServerLimits, Service, bind, serve};

/// Longer than anything that should happen takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const LIMITS: ServerLimits = ServerLimits {
    connections_max: 100,
    header_read_timeout: Duration::from_secs(10),
    stall_timeout: Duration::from_secs(10),
    drain_timeout: Duration::from_secs(5),
};

/// A service that is a function.
pub(super) struct Answer<F>(pub(super) F);

impl<F, R> Service for Answer<F>
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send,
{
    async fn call(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        (self.0)(request).await
    }
}

/// A server that runs until it is stopped.
pub(super) struct Server {
    pub(super) address: Address,
    pub(super) shutdown: CancellationToken,
    pub(super) tracker: TaskTracker,
}

impl Server {
    pub(super) async fn start(service: impl Service) -> Self {
        Self::start_with(LIMITS, service).await
    }

    pub(super) async fn start_with(limits: ServerLimits, service: impl Service) -> Self {
        let listener = bind(&Address::new("127.0.0.1", 0)).await.unwrap();
        Self::start_on(listener, move || limits, service)
    }

    pub(super) fn start_on(
        listener: TcpListener,
        limits: impl Fn() -> ServerLimits + Send + 'static,
        service: impl Service,
    ) -> Self {
        let address = Address::from(listener.local_addr().unwrap());
        let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
        let service = Arc::new(service);
        tracker.spawn(serve(listener, limits, service, shutdown.clone(), tracker.clone()));
        Self { address, shutdown, tracker }
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.tracker.close();
        in_time(self.tracker.wait()).await;
    }
}

/// A connection that speaks bytes.
pub(super) struct Raw(pub(super) TcpStream);

impl Raw {
    pub(super) async fn open(to: &Address) -> Self {
        Self(TcpStream::connect((to.host.as_str(), to.port)).await.unwrap())
    }

    /// Writes; a server that has closed already is no failure of the test.
    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.0.write_all(bytes.as_ref()).await);
    }

    /// Reads one answer with a declared length: its head and its body.
    pub(super) async fn read_answer(&mut self) -> (String, String) {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(in_time(self.0.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(bytes).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        in_time(self.0.read_exact(&mut body)).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    /// Reads until the other side ends the connection, one way or the other.
    pub(super) async fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        drop(in_time(self.0.read_to_end(&mut bytes)).await);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What `future` gives, which must be soon.
pub(super) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}
