//! HTTP/1.1 callers, each on a connection of its own.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, spawn_local};

use super::Setback;

/// What is asked, and what a grant looks like.
pub(crate) struct Work {
    pub(crate) method: Method,
    pub(crate) path: Uri,
    /// The body of the request of a number.
    pub(crate) body: Box<dyn Fn(u64) -> Bytes>,
    /// Says of the body of an answer what is wrong with it.
    pub(crate) check: fn(&[u8]) -> Result<(), &'static str>,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// One who asks over HTTP.
#[derive(Debug)]
pub(crate) struct Caller {
    address: SocketAddr,
    work: Rc<Work>,
    line: Option<Line>,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr, work: Rc<Work>) -> Self {
        Self { address, work, line: None }
    }

    pub(super) async fn ask(&mut self, number: u64) -> Result<(), Setback> {
        let line = match &mut self.line {
            Some(line) => line,
            None => self.line.insert(Line::open(self.address).await?),
        };
        line.ask(&self.work, number).await
    }

    pub(super) fn hang_up(&mut self) {
        self.line = None;
    }
}

/// A connection to a node.
#[derive(Debug)]
struct Line {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    driver: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Line {
    async fn open(address: SocketAddr) -> Result<Self, Setback> {
        const UNREACHABLE: Setback = Setback::Lost("cannot connect");
        let stream = TcpStream::connect(address).await.map_err(|_| UNREACHABLE)?;
        stream.set_nodelay(true).map_err(|_| UNREACHABLE)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|_| UNREACHABLE)?;
        let host = HeaderValue::try_from(address.to_string()).map_err(|_| UNREACHABLE)?;
        // Its end shows in the next request.
        let driver = spawn_local(async move { drop(connection.await) }).abort_handle();
        Ok(Self { sender, host, driver })
    }

    async fn ask(&mut self, work: &Work, number: u64) -> Result<(), Setback> {
        const BROKEN: Setback = Setback::Lost("connection broken");
        let mut request = Request::new(Full::new((work.body)(number)));
        *request.method_mut() = work.method.clone();
        *request.uri_mut() = work.path.clone();
        request.headers_mut().insert(HOST, self.host.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.sender.ready().await.map_err(|_| BROKEN)?;
        let answer = self.sender.send_request(request).await.map_err(|_| BROKEN)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|_| BROKEN)?.to_bytes();
        if !status.is_success() {
            return Err(Setback::Refused(format!("status {}", status.as_u16())));
        }
        (work.check)(&body).map_err(|wrong| Setback::Refused(wrong.to_owned()))
    }
}
