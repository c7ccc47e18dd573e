//! ZooKeeper's frames: what a client of it sends, and what it makes of the answers.
//!
//! A frame is its length and then its fields, whole numbers in big-endian order, texts and buffers
//! with their length before them.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a frame's length.
pub(super) const LENGTH_BYTES: usize = 4;

/// The operations that are used here, by ZooKeeper's numbers.
mod operation {
    pub(super) const CREATE: i32 = 1;
    pub(super) const GET_DATA: i32 = 4;
    pub(super) const SYNC: i32 = 9;
    pub(super) const PING: i32 = 11;
    pub(super) const MULTI: i32 = 14;
    pub(super) const CLOSE_SESSION: i32 = -11;
}

/// The transaction id of a ping and of its answer.
pub(super) const PING_XID: i32 = -2;

/// All rights, for everybody.
const ALL_RIGHTS: i32 = 31;

/// The most of a text that is read.
const BUFFER_BYTES_MAX: i32 = 1 << 20;

/// A new session, which lives for `timeout_ms` without a word.
pub(super) fn connect(timeout_ms: i32) -> Bytes {
    frame(|out| {
        out.put_i32(0); // version of the protocol
        out.put_i64(0); // last transaction seen
        out.put_i32(timeout_ms);
        out.put_i64(0); // session: a new one
        put_buffer(out, &[0; 16]); // its password
        out.put_u8(0); // not to a server that only reads
    })
}

/// Creates `path`, which stays, with `data`.
pub(super) fn create(xid: i32, path: &str, data: &[u8]) -> Bytes {
    request(xid, operation::CREATE, |out| put_create(out, path, data))
}

/// Creates all of `nodes`, or none of them.
pub(super) fn create_all<'n>(
    xid: i32,
    nodes: impl IntoIterator<Item = (&'n str, &'n [u8])>,
) -> Bytes {
    request(xid, operation::MULTI, |out| {
        for (path, data) in nodes {
            put_multi_header(out, operation::CREATE, false);
            put_create(out, path, data);
        }
        put_multi_header(out, -1, true);
    })
}

/// Reads `path` as this server knows it.
pub(super) fn get_data(xid: i32, path: &str) -> Bytes {
    request(xid, operation::GET_DATA, |out| {
        put_buffer(out, path.as_bytes());
        out.put_u8(0); // without a watch
    })
}

/// Brings this server up to date, so that what is read next is as of now.
pub(super) fn sync(xid: i32, path: &str) -> Bytes {
    request(xid, operation::SYNC, |out| put_buffer(out, path.as_bytes()))
}

/// A sign of life.
pub(super) fn ping() -> Bytes {
    request(PING_XID, operation::PING, |_| {})
}

/// Ends the session, which would else be missed only after its timeout.
pub(super) fn close_session(xid: i32) -> Bytes {
    request(xid, operation::CLOSE_SESSION, |_| {})
}

fn request(xid: i32, operation: i32, body: impl FnOnce(&mut BytesMut)) -> Bytes {
    frame(|out| {
        out.put_i32(xid);
        out.put_i32(operation);
        body(out);
    })
}

fn frame(body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    out.put_i32(0);
    body(&mut out);
    let length = length(out.len() - LENGTH_BYTES);
    if let Some(place) = out.get_mut(..LENGTH_BYTES) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    out.freeze()
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("a frame is far smaller than 2 GiB")
}

fn put_buffer(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(length(bytes.len()));
    out.put_slice(bytes);
}

fn put_create(out: &mut BytesMut, path: &str, data: &[u8]) {
    put_buffer(out, path.as_bytes());
    put_buffer(out, data);
    out.put_i32(1); // entries of the access list
    out.put_i32(ALL_RIGHTS);
    put_buffer(out, b"world");
    put_buffer(out, b"anyone");
    out.put_i32(0); // neither ephemeral nor numbered
}

fn put_multi_header(out: &mut BytesMut, operation: i32, is_end: bool) {
    out.put_i32(operation);
    out.put_u8(u8::from(is_end));
    out.put_i32(-1);
}

/// An answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) xid: i32,
    /// 0, or ZooKeeper's number of what went wrong.
    pub(super) error: i32,
    pub(super) body: Bytes,
}

/// The answer in a frame without its length; `None` when it is none.
pub(super) fn reply(mut frame: Bytes) -> Option<Reply> {
    let xid = frame.try_get_i32().ok()?;
    let _zxid = frame.try_get_i64().ok()?;
    let error = frame.try_get_i32().ok()?;
    Some(Reply { xid, error, body: frame })
}

/// The session in the answer to [`connect`]; `None` when there is none, and 0 when it is refused.
pub(super) fn session(mut frame: Bytes) -> Option<i64> {
    let _version = frame.try_get_i32().ok()?;
    let _timeout_ms = frame.try_get_i32().ok()?;
    frame.try_get_i64().ok()
}

/// The buffer or text at the front of `body`.
pub(super) fn buffer(body: &mut Bytes) -> Option<Bytes> {
    let length = body.try_get_i32().ok().filter(|length| *length <= BUFFER_BYTES_MAX)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= body.len())?;
    Some(body.split_to(length))
}

/// How many nodes the answer to [`create_all`] says were created; `None` when one was not.
pub(super) fn created(mut body: Bytes) -> Option<u64> {
    let mut count = 0;
    loop {
        let operation = body.try_get_i32().ok()?;
        let is_end = body.try_get_u8().ok()? != 0;
        let error = body.try_get_i32().ok()?;
        if is_end {
            return Some(count);
        }
        if operation != operation::CREATE || error != 0 {
            return None;
        }
        buffer(&mut body)?;
        count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes written as hexadecimal digits, in groups.
    fn hex(groups: &[&str]) -> Vec<u8> {
        let digits: String = groups.concat().chars().filter(|it| !it.is_whitespace()).collect();
        let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(pair).collect()
    }

    const ACL: &str = "00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65";

    #[test]
    fn a_session_is_asked_for() {
        let expected = hex(&[
            "0000002d",
            "00000000",
            "0000000000000000",
            "00007530",
            "0000000000000000",
            "00000010 00000000000000000000000000000000",
            "00",
        ]);
        assert_eq!(connect(30_000), expected);
        let answer = hex(&["00000000 00007530 01000abc00000001 00000010", &"ab".repeat(16), "00"]);
        assert_eq!(session(answer.into()), Some(0x0100_0abc_0000_0001));
        assert_eq!(session(Bytes::from_static(&[0; 9])), None);
    }

    #[test]
    fn a_node_is_created() {
        let expected = hex(&[
            "00000034",
            "00000007 00000001",
            "00000002 2f61",
            "00000003 010203",
            ACL,
            "00000000",
        ]);
        assert_eq!(create(7, "/a", &[1, 2, 3]), expected);
        let answer = hex(&["00000007 0000000000000102 00000000", "00000002 2f61"]);
        let mut answer = reply(answer.into()).unwrap();
        assert_eq!((answer.xid, answer.error), (7, 0));
        assert_eq!(buffer(&mut answer.body).unwrap(), "/a");
        let exists = reply(hex(&["00000007 0000000000000102 ffffff92"]).into()).unwrap();
        assert_eq!(exists.error, -110);
    }

    #[test]
    fn many_nodes_are_created_at_once() {
        let node = |name: &str| {
            let name = format!("00000002 2f{name}");
            hex(&["00000001 00 ffffffff", &name, "00000001 09", ACL, "00000000"])
        };
        let mut expected = hex(&["00000077", "00000003 0000000e"]);
        expected.extend(node("61"));
        expected.extend(node("62"));
        expected.extend(hex(&["ffffffff 01 ffffffff"]));
        let nodes: [(&str, &[u8]); 2] = [("/a", &[9]), ("/b", &[9])];
        assert_eq!(create_all(3, nodes), expected);

        let one = "00000001 00 00000000 00000002 2f61";
        let end = "ffffffff 01 ffffffff";
        assert_eq!(created(hex(&[one, one, end]).into()), Some(2));
        let failed = "ffffffff 00 ffffff92 ffffff92";
        assert_eq!(created(hex(&[failed, end]).into()), None);
        assert_eq!(created(hex(&[one]).into()), None, "cut off");
    }

    #[test]
    fn a_node_is_read_and_a_server_brought_up_to_date() {
        assert_eq!(
            get_data(2, "/a"),
            hex(&["0000000f", "00000002 00000004", "00000002 2f61", "00"])
        );
        assert_eq!(sync(2, "/a"), hex(&["0000000e", "00000002 00000009", "00000002 2f61"]));
        assert_eq!(ping(), hex(&["00000008", "fffffffe 0000000b"]));
        assert_eq!(close_session(5), hex(&["00000008", "00000005 fffffff5"]));
    }

    #[test]
    fn a_buffer_longer_than_what_is_there_is_none() {
        for body in ["00000003 0102", "7fffffff 01", "ffffffff", "0000"] {
            assert_eq!(buffer(&mut Bytes::from(hex(&[body]))), None, "{body}");
        }
    }
}
