//! The listener: connections bounded in number and patience, each served by one task.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::address::Address;
use super::body::Body;
use super::problem::Problem;

/// Connections the kernel keeps for us while we are busy.
const BACKLOG: i32 = 1024;

/// Connections above the limit that are told so, and may still become a peer link.
const REFUSALS_MAX: usize = 64;

/// How long to wait after the process ran out of file descriptors: time for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// The answer to `request`. Dropped when the caller goes away.
    fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// What one listener grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at once. Links between peers do not count once they are up, and are let in above
    /// it, so that callers cannot crowd the protocol out.
    pub connections_max: usize,
    /// How long a request's header may take to arrive, and a kept-alive connection may idle.
    pub header_read_timeout: Duration,
    /// How long an answer may wait for a caller who has no room for it: one who takes nothing, or
    /// less than about a sixteenth of his socket's buffer meanwhile. What waits is held in memory.
    pub stall_timeout: Duration,
    /// How long requests may go on after a shutdown began.
    pub drain_timeout: Duration,
}

/// A port that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The name has no address.
    #[error("cannot listen on {address}: the name does not resolve: {source}")]
    Resolve {
        /// As configured.
        address: Address,
        /// What the resolver says.
        source: io::Error,
    },
    /// Another process has the port.
    #[error(
        "cannot listen on {address}: the port is taken by another process; stop that process \
         (`ss -ltnp 'sport = :{}'` names it) or choose another port",
        address.port
    )]
    Taken {
        /// As configured.
        address: Address,
    },
    /// The address is of another machine.
    #[error(
        "cannot listen on {address}: this machine does not have that address; 0.0.0.0 or [::] \
         listens on all that it has"
    )]
    Foreign {
        /// As configured.
        address: Address,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As configured.
        address: Address,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Listens on `address`: the first of its host's addresses that this machine has. Port 0 takes a
/// free one. Must run inside of a runtime.
///
/// # Errors
/// When the name does not resolve or the port cannot be had.
pub async fn bind(address: &Address) -> Result<TcpListener, BindError> {
    let found = address
        .resolve()
        .await
        .map_err(|source| BindError::Resolve { address: address.clone(), source })?;
    let mut refused = BindError::Foreign { address: address.clone() };
    for socket_address in found {
        refused = match listen(socket_address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => continue,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(BindError::Taken { address: address.clone() });
            }
            Err(source) => BindError::Listen { address: address.clone(), source },
        };
    }
    Err(refused)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted node gets its port back although old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves `listener` until `shutdown`, each connection under the `limits` of its beginning.
/// Connections are tasks of `tracker`; once it is empty, every request has ended or used up its
/// drain time.
pub async fn serve<S: Service>(
    listener: TcpListener,
    limits: impl Fn() -> ServerLimits + Send + 'static,
    service: Arc<S>,
    shutdown: CancellationToken,
    tracker: TaskTracker,
) {
    let places = Places::default();
    let refusals = Places::default();
    let mut is_full = false;
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => {
                is_failing = false;
                stream
            }
            Err(error) if concerns_one_connection(&error) => {
                debug!(%error, "a connection broke before it was accepted");
                continue;
            }
            Err(error) => {
                if !is_failing {
                    warn!(%error, "cannot accept connections; trying again");
                }
                is_failing = true;
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let limits = limits();
        let place = places.take(limits.connections_max);
        if place.is_none() != is_full {
            is_full = place.is_none();
            if is_full {
                warn!(connections_max = limits.connections_max, "all connections are in use");
            }
        }
        let admission = if place.is_some() { Admission::Served } else { Admission::LinksOnly };
        let Some(permit) = place.or_else(|| refusals.take(REFUSALS_MAX)) else { continue };
        let connection = Connection {
            service: Arc::clone(&service),
            admission,
            limits,
            shutdown: shutdown.clone(),
            permit,
        };
        tracker.spawn(connection.run(stream));
    }
}

/// Whether the listener is well, and only the connection that it was about to hand out is not.
/// After any other error it must pause, or a process out of file descriptors would spin.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// What a connection may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Served,
    LinksOnly,
}

struct Connection<S> {
    service: Arc<S>,
    admission: Admission,
    limits: ServerLimits,
    shutdown: CancellationToken,
    permit: Place,
}

/// Connections, counted; a semaphore could not follow a limit that changes.
#[derive(Debug, Clone, Default)]
struct Places(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Places {
    /// A place, while fewer than `most` are taken. Only the listener's own task takes them.
    fn take(&self, most: usize) -> Option<Place> {
        if self.0.load(Ordering::Relaxed) >= most {
            return None;
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(Place(self.0.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S: Service> Connection<S> {
    async fn run(self, stream: TcpStream) {
        let Self { service, admission, limits, shutdown, permit } = self;
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot set TCP_NODELAY");
        }
        // The kernel ends a connection whose other side has had no room for so long; the answer,
        // whoever writes it, ends with it.
        if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(limits.stall_timeout))
        {
            debug!(%error, "cannot set TCP_USER_TIMEOUT");
        }
        let answer = service_fn(move |request: Request<Incoming>| {
            let service = Arc::clone(&service);
            async move {
                let is_link = request.headers().contains_key(UPGRADE);
                Ok::<_, Infallible>(match admission {
                    Admission::LinksOnly if !is_link => crowded(limits.connections_max),
                    Admission::LinksOnly | Admission::Served => service.call(request).await,
                })
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read_timeout)
            .serve_connection(TokioIo::new(stream), answer)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match timeout(limits.drain_timeout, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return debug!("cut a connection that did not drain"),
                }
            }
        };
        if let Err(error) = ended {
            debug!(%error, "a connection broke");
        }
        drop(permit);
    }
}

fn crowded(connections_max: usize) -> Response<Body> {
    let mut response = Problem::unavailable("Too many connections", Duration::from_secs(1))
        .detail(format!("all {connections_max} connections of this node are in use"))
        .hint("keep connections alive and use fewer of them")
        .into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Answer, LIMITS, Raw, Server, in_time};
    use hyper::StatusCode;
    use tokio::sync::Notify;

    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    fn ok() -> Response<Body> {
        crate::http::body::json_bytes(StatusCode::OK, "{}".into())
    }

    #[tokio::test]
    async fn a_connection_serves_one_request_after_the_other() {
        let server = Server::start(Answer(async |_| ok())).await;
        let mut raw = Raw::open(&server.address).await;
        for _ in 0..3 {
            raw.write(GET).await;
            assert_eq!(raw.read_answer().await.1, "{}");
        }
        raw.write("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let head = raw.read_to_end().await;
        assert!(head.contains("content-length: 2\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_caller_who_takes_nothing_of_an_answer_is_cut() {
        let stall_timeout = Duration::from_millis(500);
        let limits = ServerLimits { connections_max: 1, stall_timeout, ..LIMITS };
        let answer = Answer(async |request: Request<Incoming>| match request.uri().path() {
            // More than the buffers of both sockets hold.
            "/long" => crate::http::body::json_bytes(StatusCode::OK, vec![b' '; 64 << 20].into()),
            _ => ok(),
        });
        let server = Server::start_with(limits, answer).await;
        let mut silent = Raw::open(&server.address).await;
        silent.write("GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await;
        in_time(async {
            loop {
                let mut next = Raw::open(&server.address).await;
                next.write(GET).await;
                if next.read_answer().await.0.starts_with("HTTP/1.1 200 ") {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        drop(silent);
        server.stop().await;
    }

    #[tokio::test]
    async fn a_connection_above_the_limit_is_told_so_and_the_others_go_on() {
        let limits = ServerLimits { connections_max: 1, ..LIMITS };
        let server = Server::start_with(limits, Answer(async |_| ok())).await;
        let mut first = Raw::open(&server.address).await;
        first.write(GET).await;
        first.read_answer().await;
        let mut second = Raw::open(&server.address).await;
        second.write(GET).await;
        let answer = second.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("all 1 connections of this node are in use"), "{answer}");
        first.write(GET).await;
        assert_eq!(first.read_answer().await.1, "{}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_limit_that_changes_holds_for_the_next_connection() {
        let most = Arc::new(AtomicUsize::new(1));
        let now = Arc::clone(&most);
        let limits =
            move || ServerLimits { connections_max: now.load(Ordering::Relaxed), ..LIMITS };
        let listener = bind(&Address::new("127.0.0.1", 0)).await.unwrap();
        let server = Server::start_on(listener, limits, Answer(async |_| ok()));
        let status = async || {
            let mut raw = Raw::open(&server.address).await;
            raw.write(GET).await;
            let (head, _) = raw.read_answer().await;
            (head.starts_with("HTTP/1.1 200 "), raw)
        };
        let (first_is_served, _first) = status().await;
        let (second_is_served, _) = status().await;
        assert!(first_is_served && !second_is_served);
        most.store(2, Ordering::Relaxed);
        let (third_is_served, _third) = status().await;
        assert!(third_is_served);
        most.store(1, Ordering::Relaxed);
        assert!(!status().await.0);
        server.stop().await;
    }

    #[tokio::test]
    async fn a_peer_may_open_a_link_above_the_limit() {
        let limits = ServerLimits { connections_max: 0, ..LIMITS };
        let server = Server::start_with(limits, Answer(async |_| ok())).await;
        let mut raw = Raw::open(&server.address).await;
        raw.write("GET /peer HTTP/1.1\r\nhost: a\r\nupgrade: paxosd/1\r\n\r\n").await;
        assert!(raw.read_answer().await.0.starts_with("HTTP/1.1 200 "));
        server.stop().await;
    }

    #[tokio::test]
    async fn a_request_in_flight_is_answered_after_the_shutdown_began() {
        let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (enter, wait) = (Arc::clone(&entered), Arc::clone(&go_on));
        let server = Server::start(Answer(move |_| {
            let (enter, wait) = (Arc::clone(&enter), Arc::clone(&wait));
            async move {
                enter.notify_one();
                wait.notified().await;
                ok()
            }
        }))
        .await;
        let mut idle = Raw::open(&server.address).await;
        let mut raw = Raw::open(&server.address).await;
        raw.write(GET).await;
        in_time(entered.notified()).await;
        server.shutdown.cancel();
        assert_eq!(idle.read_to_end().await, "");
        go_on.notify_one();
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{}"), "{answer}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_cut_when_its_time_is_up() {
        let limits = ServerLimits { drain_timeout: Duration::from_millis(20), ..LIMITS };
        let entered = Arc::new(Notify::new());
        let enter = Arc::clone(&entered);
        let server = Server::start_with(
            limits,
            Answer(move |_| {
                enter.notify_one();
                std::future::pending()
            }),
        )
        .await;
        let mut raw = Raw::open(&server.address).await;
        raw.write(GET).await;
        in_time(entered.notified()).await;
        server.stop().await;
        assert_eq!(raw.read_to_end().await, "");
    }

    #[tokio::test]
    async fn a_header_that_does_not_arrive_ends_the_connection() {
        let limits = ServerLimits { header_read_timeout: Duration::from_millis(20), ..LIMITS };
        let server = Server::start_with(limits, Answer(async |_| ok())).await;
        let mut raw = Raw::open(&server.address).await;
        raw.write("GET / HTTP/1.1\r\nhost:").await;
        raw.read_to_end().await;
        server.stop().await;
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_a_way_out() {
        let first = bind(&Address::new("127.0.0.1", 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let error = bind(&Address::new("127.0.0.1", port)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on 127.0.0.1:{port}: the port is taken by another process; stop \
                 that process (`ss -ltnp 'sport = :{port}'` names it) or choose another port"
            )
        );
    }

    #[tokio::test]
    async fn names_and_both_kinds_of_addresses_can_be_listened_on() {
        for host in ["localhost", "127.0.0.1", "0.0.0.0"] {
            bind(&Address::new(host, 0)).await.unwrap();
        }
        let error = bind(&Address::new("192.0.2.1", 0)).await.unwrap_err();
        assert!(matches!(error, BindError::Foreign { .. }), "{error}");
        let error = bind(&Address::new("no such name", 0)).await.unwrap_err();
        assert!(matches!(error, BindError::Resolve { .. }), "{error}");
    }
}
