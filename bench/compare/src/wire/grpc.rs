//! gRPC callers, of which many share an HTTP/2 connection, as gRPC's own clients do.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{SendRequest, handshake};
use h2::{RecvStream, client};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::{Method, Request, StatusCode, Uri};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, spawn_local};

use super::Setback;

const BROKEN: Setback = Setback::Lost("connection broken");

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// What is asked, and what a grant looks like.
pub(crate) struct Work {
    /// `/package.Service/Method`.
    pub(crate) path: &'static str,
    /// The message of a number, with its prefix.
    pub(crate) message: Box<dyn Fn(u64) -> Bytes>,
    /// Says of the message of an answer what is wrong with it.
    pub(crate) check: fn(&[u8]) -> Result<(), &'static str>,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)
    }
}

/// `message` with its prefix.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("a message is far smaller than 4 GiB"));
    message.encode(&mut out).expect("a buffer grows as it must");
    out.freeze()
}

/// The message behind its prefix, when all of it is there and it is not compressed.
fn unframed(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_at_checked(PREFIX_BYTES)?;
    let (is_compressed, length) = prefix.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let is_whole = u32::try_from(message.len()).is_ok_and(|found| found == length);
    (*is_compressed == 0 && is_whole).then_some(message)
}

/// A connection to a node that callers share.
#[derive(Debug)]
pub(crate) struct Channel {
    address: SocketAddr,
    line: Mutex<Option<Line>>,
}

#[derive(Debug)]
struct Line {
    sender: SendRequest<Bytes>,
    driver: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Channel {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, line: Mutex::new(None) }
    }

    /// What sends requests, on a new connection where there is none. Those who ask meanwhile wait
    /// for the same one.
    async fn sender(&self) -> Result<SendRequest<Bytes>, Setback> {
        const UNREACHABLE: Setback = Setback::Lost("cannot connect");
        let mut line = self.line.lock().await;
        if let Some(line) = line.as_ref() {
            return Ok(line.sender.clone());
        }
        let stream = TcpStream::connect(self.address).await.map_err(|_| UNREACHABLE)?;
        stream.set_nodelay(true).map_err(|_| UNREACHABLE)?;
        let (sender, connection) = handshake(stream).await.map_err(|_| UNREACHABLE)?;
        // Its end shows in the next request.
        let driver = spawn_local(async move { drop(connection.await) }).abort_handle();
        Ok(line.insert(Line { sender, driver }).sender.clone())
    }

    fn hang_up(&self) {
        // Whoever has it locked is connecting anew.
        if let Ok(mut line) = self.line.try_lock() {
            *line = None;
        }
    }
}

/// One who asks over gRPC.
#[derive(Debug)]
pub(crate) struct Caller {
    channel: Rc<Channel>,
    uri: Uri,
    work: Rc<Work>,
}

impl Caller {
    pub(crate) fn new(channel: Rc<Channel>, work: Rc<Work>) -> Self {
        let uri = format!("http://{}{}", channel.address, work.path);
        let uri = uri.parse().expect("an address and a path make a URL");
        Self { channel, uri, work }
    }

    pub(super) async fn ask(&mut self, number: u64) -> Result<(), Setback> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let sender = self.channel.sender().await?;
        let mut sender = sender.ready().await.map_err(|_| BROKEN)?;
        let (answer, mut stream) = sender.send_request(request, false).map_err(|_| BROKEN)?;
        stream.send_data((self.work.message)(number), true).map_err(|_| BROKEN)?;
        let body = read(answer).await?;
        let message = unframed(&body).ok_or_else(|| refused("not one message"))?;
        (self.work.check)(message).map_err(refused)
    }

    pub(super) fn hang_up(&mut self) {
        self.channel.hang_up();
    }
}

/// The body of an answer whose trailers say that all is well.
async fn read(answer: client::ResponseFuture) -> Result<Bytes, Setback> {
    let answer = answer.await.map_err(|_| BROKEN)?;
    if answer.status() != StatusCode::OK {
        return Err(Setback::Refused(format!("status {}", answer.status().as_u16())));
    }
    // An answer without a message has its status in the headers.
    grant(answer.headers(), true)?;
    let mut stream = answer.into_body();
    let mut body = chunk(&mut stream).await?.unwrap_or_default();
    while let Some(more) = chunk(&mut stream).await? {
        body = [body, more].concat().into();
    }
    let trailers = stream.trailers().await.map_err(|_| BROKEN)?.unwrap_or_default();
    grant(&trailers, false)?;
    Ok(body)
}

async fn chunk(stream: &mut RecvStream) -> Result<Option<Bytes>, Setback> {
    let Some(chunk) = stream.data().await else { return Ok(None) };
    let chunk = chunk.map_err(|_| BROKEN)?;
    stream.flow_control().release_capacity(chunk.len()).map_err(|_| BROKEN)?;
    Ok(Some(chunk))
}

fn grant(headers: &HeaderMap, may_be_silent: bool) -> Result<(), Setback> {
    match headers.get("grpc-status").map(|status| status.to_str().unwrap_or("unreadable")) {
        Some("0") => Ok(()),
        None if may_be_silent => Ok(()),
        status => Err(Setback::Refused(format!("gRPC status {}", status.unwrap_or("missing")))),
    }
}

fn refused(why: &'static str) -> Setback {
    Setback::Refused(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_behind_its_prefix_and_only_when_whole() {
        let body = [0, 0, 0, 0, 2, 7, 8];
        assert_eq!(unframed(&body), Some(&[7, 8][..]));
        assert_eq!(unframed(&body[..6]), None, "cut off");
        assert_eq!(unframed(&[1, 0, 0, 0, 0]), None, "compressed");
        assert_eq!(unframed(&[0, 0]), None);
    }

    #[test]
    fn only_status_zero_grants() {
        let mut headers = HeaderMap::new();
        assert!(grant(&headers, true).is_ok() && grant(&headers, false).is_err());
        headers.insert("grpc-status", "14".parse().unwrap());
        let refused = Setback::Refused("gRPC status 14".to_owned());
        assert_eq!(grant(&headers, true), Err(refused));
        headers.insert("grpc-status", "0".parse().unwrap());
        assert!(grant(&headers, false).is_ok());
    }
}
