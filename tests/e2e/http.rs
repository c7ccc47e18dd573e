//! A blocking caller of the nodes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use paxosd::http::{Address, Body, ClientError, ClientLimits, HttpClient};
use serde_json::Value;
use tokio::runtime::{Handle, Runtime};

/// How long a node may take to answer; more than any node waits itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// Callers of all nodes, with the runtime they need. With it ends whatever a test that failed has
/// left running there, lest that writes to the next cluster, which may have the same ports.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) runtime: Runtime,
    client: HttpClient,
}

/// A caller of one node.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    runtime: Handle,
    client: HttpClient,
    to: Address,
}

/// What a node answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Null where the body is no JSON.
    pub(crate) json: Value,
}

/// Server-sent events as they come.
#[derive(Debug)]
pub(crate) struct Stream {
    runtime: Handle,
    body: Body,
    text: String,
}

impl Http {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let client = HttpClient::new(&ClientLimits {
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(20),
            idle_per_node_max: 64,
            answer_bytes_max: 64 << 20,
        });
        Self { runtime, client }
    }

    /// A caller of the node at `port` of the loopback.
    pub(crate) fn to(&self, port: u16) -> Caller {
        self.at("127.0.0.1", port)
    }

    /// A caller of the node at `port` of `host`.
    pub(crate) fn at(&self, host: &str, port: u16) -> Caller {
        Caller {
            runtime: self.runtime.handle().clone(),
            client: self.client.clone(),
            to: Address::new(host, port),
        }
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to.fmt(f)
    }
}

impl Caller {
    pub(crate) fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.wait(self.ask(Method::GET, path, &[], None))
    }

    /// The body of an answer that is no JSON.
    pub(crate) fn text(&self, path: &str) -> Result<String, ClientError> {
        let request = request(Method::GET, &[], None);
        let reply = self.wait(self.client.call(&self.to, path, request, PATIENCE))?;
        Ok(String::from_utf8_lossy(&reply.body).into_owned())
    }

    pub(crate) async fn get_async(&self, path: &str) -> Result<Answer, ClientError> {
        self.ask(Method::GET, path, &[], None).await
    }

    pub(crate) fn post(&self, path: &str, json: &Value) -> Result<Answer, ClientError> {
        self.wait(self.ask(Method::POST, path, &[], Some(json)))
    }

    /// POSTs one value to `/send`.
    pub(crate) fn send(&self, value: &str) -> Result<Answer, ClientError> {
        self.post("/send", &serde_json::json!({ "value": value }))
    }

    /// POSTs one value to `/send` under an `Idempotency-Key`.
    pub(crate) fn send_as(&self, key: &str, value: &str) -> Result<Answer, ClientError> {
        self.wait(self.send_async("/send", Some(key), value))
    }

    /// POSTs any JSON to `/send` under an `Idempotency-Key`.
    pub(crate) fn post_keyed(&self, key: &str, json: &Value) -> Result<Answer, ClientError> {
        self.wait(self.post_async("/send", &[("idempotency-key", key)], json))
    }

    pub(crate) async fn send_async(
        &self,
        path: &str,
        key: Option<&str>,
        value: &str,
    ) -> Result<Answer, ClientError> {
        let json = serde_json::json!({ "value": value });
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        self.post_async(path, &headers, &json).await
    }

    pub(crate) async fn post_async(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        json: &Value,
    ) -> Result<Answer, ClientError> {
        self.ask(Method::POST, path, headers, Some(json)).await
    }

    /// Opens a stream of server-sent events.
    pub(crate) fn stream(&self, path: &str, last_event_id: Option<u64>) -> Stream {
        let last = last_event_id.map(|id| id.to_string());
        let headers: Vec<_> = last.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let request = request(Method::GET, &headers, None);
        let reply = self.wait(self.client.proxy(&self.to, path, request, PATIENCE)).unwrap();
        Stream { runtime: self.runtime.clone(), body: reply.into_body(), text: String::new() }
    }

    fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        json: Option<&Value>,
    ) -> Result<Answer, ClientError> {
        let request = request(method, headers, json);
        let reply = self.client.call(&self.to, path, request, PATIENCE).await?;
        let json = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        Ok(Answer { status: reply.status.as_u16(), headers: reply.headers, json })
    }
}

fn request(
    method: Method,
    headers: &[(&'static str, &str)],
    json: Option<&Value>,
) -> Request<Full<Bytes>> {
    let body = json.map(ToString::to_string).unwrap_or_default();
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    if json.is_some() {
        let kind = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, kind);
    }
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    request
}

impl Stream {
    /// The next event with data: its id and its data.
    pub(crate) fn next(&mut self) -> (u64, Value) {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
                };
                if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                    return (id.parse().unwrap(), serde_json::from_str(data).unwrap());
                }
                continue;
            }
            let frame = self.runtime.block_on(self.body.frame());
            let frame = frame.expect("the stream ended").expect("the stream broke");
            let data = frame.into_data().expect("data");
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }
}
