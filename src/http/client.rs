//! The caller of other nodes: pooled connections, deadlines, and errors that tell what is certain.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::address::Address;
use super::body::{self, Body, CollectError};

/// Headers that concern one connection and are not passed on (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, HeaderName::from_static("keep-alive"), TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// What a client grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept; shorter than any server's patience.
    pub idle_timeout: Duration,
    /// Idle connections kept for each node.
    pub idle_per_node_max: usize,
    /// Bytes of the longest answer that is read whole.
    pub answer_bytes_max: usize,
}

/// A caller of other nodes. Clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    pool: Client<HttpConnector, Full<Bytes>>,
    answer_bytes_max: usize,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status, whatever it is.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// A call without an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be opened: the request was certainly not sent.
    #[error("cannot reach {to}: {cause}")]
    NotSent {
        /// Whom.
        to: Address,
        /// Why, with all its causes.
        cause: String,
    },
    /// The connection broke: the request may have been acted upon.
    #[error("{to} did not answer: {cause}")]
    Broken {
        /// Whom.
        to: Address,
        /// Why, with all its causes.
        cause: String,
    },
    /// The deadline passed: the request may have been acted upon, or may yet be.
    #[error("{to} did not answer within {} ms", after.as_millis())]
    Timeout {
        /// Whom.
        to: Address,
        /// How long we waited.
        after: Duration,
    },
    /// It answered more than we read whole.
    #[error("{to} answered more than {bytes_max} bytes")]
    TooLarge {
        /// Whom.
        to: Address,
        /// The limit.
        bytes_max: usize,
    },
    /// The host or the path is no part of a URI. Not sent.
    #[error("cannot ask {to} for {path}: not a URI")]
    NoUri {
        /// Whom.
        to: Address,
        /// What.
        path: String,
    },
}

impl ClientError {
    /// Whether the other side certainly saw nothing of the request.
    #[must_use]
    pub const fn is_certainly_not_sent(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::NoUri { .. } => true,
            Self::Broken { .. } | Self::Timeout { .. } | Self::TooLarge { .. } => false,
        }
    }
}

impl HttpClient {
    /// A client without connections yet.
    #[must_use]
    pub fn new(limits: &ClientLimits) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(limits.connect_timeout));
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.idle_timeout)
            .pool_max_idle_per_host(limits.idle_per_node_max)
            .build(connector);
        Self { pool, answer_bytes_max: limits.answer_bytes_max }
    }

    /// GET `path` (with its query) from `to`.
    ///
    /// # Errors
    /// When there is no answer within `after`.
    pub async fn get(
        &self,
        to: &Address,
        path: &str,
        after: Duration,
    ) -> Result<Reply, ClientError> {
        self.call(to, path, Request::new(Full::default()), after).await
    }

    /// POST the JSON text `json` to `path` of `to`.
    ///
    /// # Errors
    /// When there is no answer within `after`.
    pub async fn post_json(
        &self,
        to: &Address,
        path: &str,
        json: Bytes,
        after: Duration,
    ) -> Result<Reply, ClientError> {
        let mut request = Request::new(Full::new(json));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, body::JSON);
        self.call(to, path, request, after).await
    }

    /// Sends `request` with its method, headers and body to `path` of `to`, and reads the answer.
    ///
    /// # Errors
    /// When there is no answer within `after`, or it is too long.
    pub async fn call(
        &self,
        to: &Address,
        path: &str,
        request: Request<Full<Bytes>>,
        after: Duration,
    ) -> Result<Reply, ClientError> {
        let deadline = Instant::now() + after;
        let late = |_| ClientError::Timeout { to: to.clone(), after };
        let answer = timeout_at(deadline, self.open(to, path, request)).await.map_err(late)??;
        let (head, mut body) = answer.into_parts();
        let bytes = timeout_at(deadline, body::collect(&mut body, self.answer_bytes_max))
            .await
            .map_err(late)?;
        let body = bytes.map_err(|error| match error {
            CollectError::TooLong { .. } => {
                ClientError::TooLarge { to: to.clone(), bytes_max: self.answer_bytes_max }
            }
            CollectError::Broken(error) => {
                ClientError::Broken { to: to.clone(), cause: with_causes(&error) }
            }
        })?;
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    /// Sends `request` and gives back the answer as it arrives, of any length, to be passed on. A
    /// body that is not through within `after` is cut.
    ///
    /// # Errors
    /// When no answer begins within `after`.
    pub async fn proxy(
        &self,
        to: &Address,
        path: &str,
        request: Request<Full<Bytes>>,
        after: Duration,
    ) -> Result<Response<Body>, ClientError> {
        let deadline = Instant::now() + after;
        let answer = timeout_at(deadline, self.open(to, path, request))
            .await
            .map_err(|_| ClientError::Timeout { to: to.clone(), after })??;
        let (mut head, body) = answer.into_parts();
        for name in HOP_BY_HOP {
            head.headers.remove(name);
        }
        Ok(Response::from_parts(head, Body::relay(body, Box::pin(sleep_until(deadline)))))
    }

    async fn open(
        &self,
        to: &Address,
        path: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        *request.uri_mut() = uri(to, path)
            .ok_or_else(|| ClientError::NoUri { to: to.clone(), path: path.to_owned() })?;
        for name in HOP_BY_HOP {
            request.headers_mut().remove(name);
        }
        request.headers_mut().remove(HOST);
        self.pool.request(request).await.map_err(|error| {
            let (to, cause) = (to.clone(), with_causes(&error));
            if error.is_connect() {
                ClientError::NotSent { to, cause }
            } else {
                ClientError::Broken { to, cause }
            }
        })
    }
}

fn uri(to: &Address, path: &str) -> Option<Uri> {
    Uri::builder()
        .scheme("http")
        .authority(to.to_string())
        .path_and_query(PathAndQuery::try_from(path).ok()?)
        .build()
        .ok()
}

/// An error of hyper's says little without its causes.
fn with_causes(error: &impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Answer, PATIENCE, Server, in_time};
    use http_body_util::BodyExt;

    const LIMITS: ClientLimits = ClientLimits {
        connect_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(5),
        idle_per_node_max: 4,
        answer_bytes_max: 64,
    };

    #[tokio::test]
    async fn an_answer_is_read_whole_whatever_its_status() {
        let server = Server::start(Answer(async |request: Request<Incoming>| {
            let path = request.uri().to_string();
            let read = request.into_body().collect().await.unwrap().to_bytes();
            let text = format!("{path} {}", String::from_utf8_lossy(&read));
            body::json_bytes(StatusCode::CONFLICT, text.into())
        }))
        .await;
        let client = HttpClient::new(&LIMITS);
        let json = Bytes::from_static(b"[1]");
        let reply = client.post_json(&server.address, "/a?b=c", json, PATIENCE).await.unwrap();
        assert_eq!((reply.status, &*reply.body), (StatusCode::CONFLICT, &b"/a?b=c [1]"[..]));
        assert_eq!(reply.headers[CONTENT_TYPE], "application/json");
        assert_eq!(client.get(&server.address, "/", PATIENCE).await.unwrap().body, "/ ");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_refused_connection_means_that_nothing_was_sent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = Address::from(listener.local_addr().unwrap());
        drop(listener);
        let error = HttpClient::new(&LIMITS).get(&nobody, "/", PATIENCE).await.unwrap_err();
        assert!(matches!(error, ClientError::NotSent { .. }), "{error}");
        assert!(error.is_certainly_not_sent());
        assert!(error.to_string().contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn a_connection_that_breaks_after_the_request_leaves_it_in_doubt() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
        });
        let error = HttpClient::new(&LIMITS).get(&address, "/", PATIENCE).await.unwrap_err();
        assert!(matches!(error, ClientError::Broken { .. }), "{error}");
        assert!(!error.is_certainly_not_sent());
    }

    #[tokio::test]
    async fn a_late_or_endless_answer_is_an_error() {
        let server = Server::start(Answer(async |request: Request<Incoming>| {
            if request.uri().path() == "/late" {
                std::future::pending::<()>().await;
            }
            Response::new(Body::full(vec![b'x'; 65]))
        }))
        .await;
        let client = HttpClient::new(&LIMITS);
        let soon = Duration::from_millis(20);
        let error = client.get(&server.address, "/late", soon).await.unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
        let error = client.get(&server.address, "/", PATIENCE).await.unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { bytes_max: 64, .. }), "{error}");
        drop(client);
        server.stop().await;
    }

    #[tokio::test]
    async fn an_answer_is_passed_on_as_it_arrives() {
        let (mut sender, _, body) = Body::channel(1);
        let body = std::sync::Mutex::new(Some(body));
        let server = Server::start(Answer(move |_| {
            let body = body.lock().unwrap().take().unwrap();
            async { Response::new(body) }
        }))
        .await;
        let client = HttpClient::new(&LIMITS);
        let request = Request::new(Full::default());
        let mut answer = client.proxy(&server.address, "/", request, PATIENCE).await.unwrap();
        assert!(!answer.headers().contains_key(TRANSFER_ENCODING));
        for text in ["one", "two"] {
            sender.send_data(text.into()).await.unwrap();
            let frame = in_time(answer.body_mut().frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), text);
        }
        drop(sender);
        assert!(in_time(answer.body_mut().frame()).await.is_none());
        server.stop().await;
    }
}
