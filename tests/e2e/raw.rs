//! Requests byte by byte, for what no well-behaved caller sends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Raw {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The problem document that this answer must be, with this status and `error`.
    pub(crate) fn problem(&self, status: u16, error: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let document = self.json();
        assert_eq!(document["status"], status, "{document}");
        assert_eq!(document["error"], error, "{document}");
        for field in ["type", "title", "detail"] {
            assert!(document[field].is_string(), "{field} in {document}");
        }
        document
    }
}

/// Sends one request with a JSON body.
pub(crate) fn post(port: u16, path: &str, body: &str) -> Raw {
    call(port, "POST", path, &["content-type: application/json"], body.as_bytes())
}

/// Sends one request without a body.
pub(crate) fn get(port: u16, path: &str) -> Raw {
    call(port, "GET", path, &[], b"")
}

/// Sends one request, and reads until the node closes the connection.
pub(crate) fn call(port: u16, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Raw {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    let answer = exchange(port, &bytes);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    Raw { status, head: head.to_owned(), body: body.to_owned() }
}

/// Writes bytes, and reads until the node closes the connection. It may do so before it has read
/// everything.
pub(crate) fn exchange(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let sent = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("after {sent:?} and {} bytes: {error}", answer.len()),
    }
    answer
}
