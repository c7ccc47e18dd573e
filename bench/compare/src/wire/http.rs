//! HTTP/1.1 callers, each on a connection of its own. A caller has one request on its way at most,
//! so it needs no more than one write, and mostly one read: what the load saves is the system's.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use httparse::{EMPTY_HEADER, Response, Status, parse_chunk_size};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Doors, Setback};

/// What is asked, and what a grant looks like.
pub(crate) struct Work {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
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
    doors: Doors,
    work: Rc<Work>,
    line: Option<Line>,
}

impl Caller {
    pub(crate) fn new(doors: Doors, work: Rc<Work>) -> Self {
        Self { doors, work, line: None }
    }

    pub(super) async fn ask(&mut self, number: u64) -> Result<(), Setback> {
        let line = match &mut self.line {
            Some(line) => line,
            None => self.line.insert(Line::open(self.doors.current()).await?),
        };
        let Work { method, path, body, check } = &*self.work;
        let check = |body: &[u8]| check(body).map_err(|wrong| Setback::Refused(wrong.to_owned()));
        line.ask((method, path), &body(number), check).await
    }

    pub(super) fn hang_up(&mut self) {
        self.line = None;
        self.doors.move_on();
    }
}

/// The body of what the node at `address` answers to one question, if it grants that.
pub(crate) async fn ask(
    address: SocketAddr,
    (method, path): (&str, &str),
    body: &[u8],
) -> Result<Vec<u8>, Setback> {
    let asked = async {
        Line::open(address).await?.ask((method, path), body, |body| Ok(body.to_vec())).await
    };
    timeout(PATIENCE, asked).await.unwrap_or(Err(Setback::Lost("no answer in time")))
}

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Headers of an answer at most.
const HEADERS_MAX: usize = 32;

const GARBLED: Setback = Setback::Lost("an answer that is no HTTP");

/// A connection to a node.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    address: SocketAddr,
    outgoing: Vec<u8>,
    incoming: BytesMut,
}

impl Line {
    async fn open(address: SocketAddr) -> Result<Self, Setback> {
        const UNREACHABLE: Setback = Setback::Lost("cannot connect");
        let stream = TcpStream::connect(address).await.map_err(|_| UNREACHABLE)?;
        stream.set_nodelay(true).map_err(|_| UNREACHABLE)?;
        let (outgoing, incoming) = (Vec::new(), BytesMut::new());
        Ok(Self { stream, address, outgoing, incoming })
    }

    /// What `look` makes of the body of the answer.
    async fn ask<T>(
        &mut self,
        (method, path): (&str, &str),
        body: &[u8],
        look: impl FnOnce(&[u8]) -> Result<T, Setback>,
    ) -> Result<T, Setback> {
        const BROKEN: Setback = Setback::Lost("connection broken");
        let (address, length) = (self.address, body.len());
        self.outgoing.clear();
        write!(
            self.outgoing,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n"
        )
        .expect("memory takes what is written");
        self.outgoing.extend_from_slice(body);
        self.stream.write_all(&self.outgoing).await.map_err(|_| BROKEN)?;
        self.incoming.clear();
        loop {
            self.incoming.reserve(4096);
            if self.stream.read_buf(&mut self.incoming).await.map_err(|_| BROKEN)? == 0 {
                return Err(BROKEN);
            }
            if let Some(Answer { status, body }) = answer(&self.incoming)? {
                if !(200..300).contains(&status) {
                    return Err(Setback::Refused(format!("status {status}")));
                }
                return look(&body);
            }
        }
    }
}

/// What a node answered.
#[derive(Debug, PartialEq, Eq)]
struct Answer<'a> {
    status: u16,
    body: Cow<'a, [u8]>,
}

/// Reads an answer; nothing while some of it is missing.
fn answer(bytes: &[u8]) -> Result<Option<Answer<'_>>, Setback> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let Status::Complete(head) = response.parse(bytes).map_err(|_| GARBLED)? else {
        return Ok(None);
    };
    let status = response.code.ok_or(GARBLED)?;
    let rest = bytes.get(head..).unwrap_or_default();
    let header = |name: &str| {
        let named = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        named.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    if let Some(length) = header("content-length") {
        let length = length.parse().map_err(|_| GARBLED)?;
        return match rest.len() {
            len if len < length => Ok(None),
            len if len > length => Err(GARBLED),
            _ => Ok(Some(Answer { status, body: rest.into() })),
        };
    }
    if header("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked")) {
        return Ok(chunks(rest)?.map(|body| Answer { status, body: body.into() }));
    }
    Err(GARBLED)
}

/// Joins the chunks of a body (RFC 9112 §7.1); nothing while some are missing.
fn chunks(mut rest: &[u8]) -> Result<Option<Vec<u8>>, Setback> {
    let mut body = Vec::new();
    loop {
        let Status::Complete((start, size)) = parse_chunk_size(rest).map_err(|_| GARBLED)? else {
            return Ok(None);
        };
        let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
        let Some((chunk, after)) = rest.split_at_checked(end.ok_or(GARBLED)?) else {
            return Ok(None);
        };
        let Some((line_end, after)) = after.split_at_checked(2) else { return Ok(None) };
        if line_end != b"\r\n" {
            return Err(GARBLED);
        }
        if size == 0 {
            return if after.is_empty() { Ok(Some(body)) } else { Err(GARBLED) };
        }
        body.extend_from_slice(chunk.get(start..).unwrap_or_default());
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"\"}";
    const CHUNKED: &[u8] = b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n\
          3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";

    #[test]
    fn an_answer_is_read_when_all_of_it_is_there_and_not_before() {
        for (bytes, status, body) in
            [(PLAIN, 200, &b"{\"\"}"[..]), (CHUNKED, 503, b"abc0123456789")]
        {
            for len in 0..bytes.len() {
                assert_eq!(answer(&bytes[..len]), Ok(None), "{len}");
            }
            assert_eq!(answer(bytes), Ok(Some(Answer { status, body: body.into() })));
        }
    }

    #[test]
    fn what_nobody_asked_for_and_what_has_no_length_is_refused() {
        for bytes in [PLAIN, CHUNKED] {
            assert_eq!(answer(&[bytes, b"H"].concat()), Err(GARBLED));
        }
        for garbled in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: some\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
            b"SSH-2.0\r\n\r\n",
        ] {
            assert_eq!(answer(garbled), Err(GARBLED));
        }
    }
}
