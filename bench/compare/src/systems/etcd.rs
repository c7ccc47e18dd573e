//! etcd: three nodes with every setting at its default, asked by HTTP/JSON or by gRPC.

use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result};
use bytes::Bytes;
use prost::{Message, Oneof};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Cluster, Elector, granted, spread};
use crate::cell::{BULK_VALUES, Cell, Work};
use crate::programs::Programs;
use crate::server::{Server, free_ports, local};
use crate::value::{base64, key, value};
use crate::wire::grpc::{Channel, framed};
use crate::wire::{Caller, grpc, http};

const NODES: usize = 3;

/// Connections that gRPC's callers share.
const CHANNELS: usize = 10;

pub(super) fn start(cluster: &mut Cluster, programs: &Programs) -> Result<()> {
    let ports = free_ports(2 * NODES)?;
    let (clients, peers) = ports.split_at(NODES);
    let members: Vec<(String, SocketAddr, SocketAddr)> = (1..)
        .zip(clients.iter().zip(peers))
        .map(|(number, (client, peer))| (format!("etcd{number}"), local(*client), local(*peer)))
        .collect();
    let all: Vec<String> =
        members.iter().map(|(name, _, peer)| format!("{name}=http://{peer}")).collect();
    let all = all.join(",");
    for (name, client, peer) in &members {
        let data = cluster.data().join(name);
        std::fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
        let arguments = [
            format!("--name={name}"),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls=http://{client}"),
            format!("--advertise-client-urls=http://{client}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
            format!("--initial-cluster={all}"),
            "--initial-cluster-state=new".to_owned(),
            "--logger=zap".to_owned(),
        ];
        let log = cluster.log_file(name);
        let server = Server::start(name, log, &programs.etcd, arguments)?;
        cluster.electors.push(Elector { pid: server.pid(), address: *client });
        cluster.servers.push(server);
        cluster.doors.push(*client);
    }
    Ok(())
}

pub(super) fn http_callers(cell: Cell, doors: &[SocketAddr], known: u64) -> Vec<Caller> {
    let work = Rc::new(http_work(cell.work, known));
    spread(cell.clients, doors, |doors| Caller::Http(http::Caller::new(doors, Rc::clone(&work))))
}

/// Callers that share connections, each of which leads to one node.
pub(super) fn grpc_callers(cell: Cell, doors: &[SocketAddr], known: u64) -> Vec<Caller> {
    let work = Rc::new(grpc_work(cell.work, known));
    let channels = doors.iter().cycle().take(CHANNELS).map(|door| Rc::new(Channel::new(*door)));
    let channels: Vec<Rc<Channel>> = channels.collect();
    let clients = usize::try_from(cell.clients).unwrap_or(usize::MAX);
    let shared = channels.iter().cycle().take(clients);
    let caller = |channel| Caller::Grpc(grpc::Caller::new(Rc::clone(channel), Rc::clone(&work)));
    shared.map(caller).collect()
}

fn http_work(work: Work, known: u64) -> http::Work {
    let post = |path, body, check| http::Work { method: "POST", path, body, check };
    let range = |is_stale: bool| {
        let key = base64(key(known).as_bytes());
        let body: Bytes = format!("{{\"key\":\"{key}\",\"serializable\":{is_stale}}}").into();
        post("/v3/kv/range", Box::new(move |_| body.clone()), is_read_json)
    };
    match work {
        Work::Write => {
            let body = |number| format!("{{{}}}", pair_json(&key(number), number)).into();
            post("/v3/kv/put", Box::new(body), is_put_json)
        }
        Work::Read => range(false),
        Work::Stale | Work::Learner => range(true),
        Work::Bulk => post("/v3/kv/txn", Box::new(bulk_json), is_txn_json),
    }
}

/// Whether the member at `address` leads.
pub(super) async fn leads(address: SocketAddr) -> bool {
    let asked = http::ask(address, ("POST", "/v3/maintenance/status"), b"{}").await;
    asked.is_ok_and(|status| is_leaders(&status))
}

fn is_leaders(status: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Status<'a> {
        #[serde(borrow)]
        header: Header<'a>,
        leader: Option<&'a str>,
    }
    #[derive(Deserialize)]
    struct Header<'a> {
        member_id: &'a str,
    }
    serde_json::from_slice(status)
        .is_ok_and(|it: Status<'_>| it.leader == Some(it.header.member_id))
}

/// A key and a value as two members of an object.
fn pair_json(key: &str, number: u64) -> String {
    let value = value(number);
    format!("\"key\":\"{}\",\"value\":\"{}\"", base64(key.as_bytes()), base64(value.as_bytes()))
}

fn bulk_json(number: u64) -> Bytes {
    let put = |number| format!("{{\"requestPut\":{{{}}}}}", pair_json(&bulk_key(number), number));
    let puts: Vec<String> = bulk_numbers(number).map(put).collect();
    format!("{{\"success\":[{}]}}", puts.join(",")).into()
}

fn bulk_numbers(number: u64) -> std::ops::Range<u64> {
    let first = number * BULK_VALUES;
    first..first + BULK_VALUES
}

fn bulk_key(number: u64) -> String {
    format!("{}-bulk", key(number))
}

const UNREADABLE: &str = "an answer that cannot be read";

fn is_put_json(body: &[u8]) -> Result<(), &'static str> {
    #[derive(Deserialize)]
    struct Put<'a> {
        #[serde(borrow)]
        header: Header<'a>,
    }
    #[derive(Deserialize)]
    struct Header<'a> {
        revision: &'a str,
    }
    let put: Put<'_> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    granted(!put.header.revision.is_empty(), "not put")
}

fn is_read_json(body: &[u8]) -> Result<(), &'static str> {
    #[derive(Deserialize)]
    struct Range {
        #[serde(default)]
        kvs: Vec<IgnoredAny>,
    }
    let range: Range = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    granted(range.kvs.len() == 1, "not one value")
}

fn is_txn_json(body: &[u8]) -> Result<(), &'static str> {
    #[derive(Deserialize)]
    struct Txn {
        #[serde(default)]
        succeeded: bool,
        #[serde(default)]
        responses: Vec<IgnoredAny>,
    }
    let txn: Txn = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    granted(txn.succeeded && are_all(txn.responses.len()), "not all put")
}

fn are_all(count: usize) -> bool {
    u64::try_from(count).is_ok_and(|count| count == BULK_VALUES)
}

fn grpc_work(work: Work, known: u64) -> grpc::Work {
    let range = |serializable| {
        let message = framed(&RangeRequest { key: key(known).into(), serializable });
        grpc::Work {
            path: "/etcdserverpb.KV/Range",
            message: Box::new(move |_| message.clone()),
            check: is_read,
        }
    };
    match work {
        Work::Write => grpc::Work {
            path: "/etcdserverpb.KV/Put",
            message: Box::new(|number| framed(&put(key(number), number))),
            check: is_put,
        },
        Work::Read => range(false),
        Work::Stale | Work::Learner => range(true),
        Work::Bulk => grpc::Work {
            path: "/etcdserverpb.KV/Txn",
            message: Box::new(|number| framed(&bulk(number))),
            check: is_txn,
        },
    }
}

fn put(key: String, number: u64) -> PutRequest {
    PutRequest { key: key.into(), value: value(number).into() }
}

fn bulk(number: u64) -> TxnRequest {
    let put = |number| RequestOp { request: Some(Request::Put(put(bulk_key(number), number))) };
    TxnRequest { success: bulk_numbers(number).map(put).collect() }
}

fn is_put(message: &[u8]) -> Result<(), &'static str> {
    let put = PutResponse::decode(message).map_err(|_| UNREADABLE)?;
    granted(put.header.is_some_and(|header| header.revision > 0), "not put")
}

fn is_read(message: &[u8]) -> Result<(), &'static str> {
    let range = RangeResponse::decode(message).map_err(|_| UNREADABLE)?;
    let is_there = range.kvs.first().is_some_and(|kv| !kv.value.is_empty());
    granted(range.kvs.len() == 1 && is_there, "not one value")
}

fn is_txn(message: &[u8]) -> Result<(), &'static str> {
    let txn = TxnResponse::decode(message).map_err(|_| UNREADABLE)?;
    granted(txn.succeeded && are_all(txn.responses.len()), "not all put")
}

// What is used of etcd's rpc.proto and kv.proto; other fields are skipped, as protobuf has it.

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bool, tag = "7")]
    serializable: bool,
}

#[derive(Clone, PartialEq, Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestOp {
    #[prost(oneof = "Request", tags = "2")]
    request: Option<Request>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Request {
    #[prost(message, tag = "2")]
    Put(PutRequest),
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct TxnResponse {
    #[prost(bool, tag = "2")]
    succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    responses: Vec<PutResponse>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_the_bytes_of_etcds_own_client() {
        let put = PutRequest { key: "k".into(), value: "ab".into() };
        assert_eq!(framed(&put)[..], [0, 0, 0, 0, 7, 0x0a, 1, b'k', 0x12, 2, b'a', b'b']);
        let stale = RangeRequest { key: "k".into(), serializable: true };
        assert_eq!(framed(&stale)[..], [0, 0, 0, 0, 5, 0x0a, 1, b'k', 0x38, 1]);
        let success = vec![RequestOp { request: Some(Request::Put(put)) }];
        let txn = framed(&TxnRequest { success });
        assert_eq!(txn[5..10], [0x12, 9, 0x12, 7, 0x0a]);
    }

    #[test]
    fn an_answer_must_say_that_it_was_applied() {
        // Header with cluster 1 and revision 9, then fields that are not read.
        assert!(is_put(&[0x0a, 4, 0x08, 1, 0x18, 9]).is_ok());
        assert!(is_put(&[0x0a, 2, 0x08, 1]).is_err() && is_put(&[]).is_err());
        assert!(is_read(&[0x12, 6, 0x0a, 1, b'k', 0x2a, 1, b'v', 0x20, 1]).is_ok());
        assert!(is_read(&[0x20, 0]).is_err());
        assert!(is_txn(&[0x10, 1]).is_err(), "nothing was put");
        let all: Vec<u8> = [0x10, 1].into_iter().chain([0x1a, 0].repeat(100)).collect();
        assert!(is_txn(&all).is_ok());
    }

    #[test]
    fn an_answer_in_json_must_say_so_too() {
        assert!(is_put_json(br#"{"header":{"cluster_id":"1","revision":"7"}}"#).is_ok());
        assert!(is_put_json(br#"{"error":"no leader"}"#).is_err());
        assert!(is_read_json(br#"{"header":{},"kvs":[{"key":"aw=="}],"count":"1"}"#).is_ok());
        assert!(is_read_json(br#"{"header":{}}"#).is_err());
        let responses = vec!["{\"response_put\":{}}"; 100].join(",");
        let all = format!("{{\"succeeded\":true,\"responses\":[{responses}]}}");
        assert!(is_txn_json(all.as_bytes()).is_ok());
        assert!(is_txn_json(br#"{"succeeded":true}"#).is_err());
    }

    #[test]
    fn the_leader_is_the_member_that_names_itself() {
        let status =
            |leader| format!("{{\"header\":{{\"member_id\":\"7\"}},{leader}\"dbSize\":\"9\"}}");
        assert!(is_leaders(status("\"leader\":\"7\",").as_bytes()));
        assert!(!is_leaders(status("\"leader\":\"8\",").as_bytes()));
        assert!(!is_leaders(status("").as_bytes()));
    }

    #[test]
    fn bodies_in_json_carry_what_they_should() {
        let bulk: serde_json::Value = serde_json::from_slice(&bulk_json(2)).unwrap();
        let puts = bulk["success"].as_array().unwrap();
        assert_eq!(puts.len(), 100);
        let put = &puts[0]["requestPut"];
        assert_eq!(put["key"], base64(bulk_key(200).as_bytes()));
        assert_eq!(put["value"], base64(value(200).as_bytes()));
    }
}
