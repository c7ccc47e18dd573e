//! What the callers of a load ask for: the requests, each value unlike every other.

use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use uuid::Uuid;

use super::tally::Kind;
use crate::cli::args::{BenchArgs, Work};
use crate::cli::endpoint::Endpoint;
use crate::http::body::JSON;

/// Digits that tell a value from the others of its run.
const DIGITS: usize = 16;

/// What a load asks for.
#[derive(Debug)]
pub(super) struct Requests {
    work: Work,
    reads_percent: u64,
    timeout_ms: u64,
    /// Tells the values of this run from those of every other.
    run: String,
    value_bytes: usize,
    values: u64,
}

impl Requests {
    /// The requests that `args` asks for.
    pub(super) fn new(args: &BenchArgs) -> Self {
        Self {
            work: args.work,
            reads_percent: args.reads_percent.into(),
            timeout_ms: args.gateways.timeout_ms,
            run: Uuid::new_v4().simple().to_string(),
            value_bytes: usize::try_from(args.value_bytes).unwrap_or(usize::MAX),
            values: args.values.into(),
        }
    }

    /// The kinds of requests there are.
    pub(super) fn kinds(&self) -> &'static [Kind] {
        match self.work {
            Work::Write => &[Kind::Write],
            Work::Read | Work::ReadStale => &[Kind::Read],
            Work::Mixed => &[Kind::Write, Kind::Read],
        }
    }

    /// The kind of the request numbered `number`. Those of a mix are spread evenly.
    pub(super) fn kind(&self, number: u64) -> Kind {
        match self.work {
            Work::Write => Kind::Write,
            Work::Read | Work::ReadStale => Kind::Read,
            Work::Mixed => {
                let reads = |requests: u64| requests.saturating_mul(self.reads_percent) / 100;
                if reads(number + 1) > reads(number) { Kind::Read } else { Kind::Write }
            }
        }
    }

    /// The request numbered `number`, to `endpoint`; `host` is its name in a header.
    pub(super) fn request(
        &self,
        number: u64,
        endpoint: &Endpoint,
        host: &HeaderValue,
    ) -> Request<Full<Bytes>> {
        let (method, path, body) = match self.kind(number) {
            Kind::Write => (Method::POST, "/send?", self.body(number)),
            Kind::Read if self.work == Work::ReadStale => {
                (Method::GET, "/read?limit=1&consistency=stale&", Bytes::new())
            }
            Kind::Read => (Method::GET, "/read?limit=1&", Bytes::new()),
        };
        let path = endpoint.path(&format!("{path}timeout_ms={}", self.timeout_ms));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("an endpoint's prefix is the path of a URL");
        request.headers_mut().insert(HOST, host.clone());
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        request
    }

    fn body(&self, number: u64) -> Bytes {
        let many = self.values > 1;
        let mut body = String::with_capacity(32 + (self.value_bytes + 3) * self.count());
        body.push_str(if many { "{\"values\":[" } else { "{\"value\":" });
        for value in 0..self.values {
            if value > 0 {
                body.push(',');
            }
            self.push_value(&mut body, number * self.values + value);
        }
        body.push_str(if many { "]}" } else { "}" });
        Bytes::from(body)
    }

    fn count(&self) -> usize {
        usize::try_from(self.values).unwrap_or(usize::MAX)
    }

    /// A JSON string of as many bytes as are wanted, its quotes counted.
    fn push_value(&self, body: &mut String, number: u64) {
        let text = self.value_bytes.saturating_sub(2);
        body.push('"');
        write!(body, "{number:0DIGITS$x}").expect("a string takes all that is written");
        let mut left = text.saturating_sub(DIGITS);
        while left > 0 {
            let part = self.run.get(..left.min(self.run.len())).unwrap_or_default();
            body.push_str(part);
            left -= part.len();
        }
        body.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(work: Work, values: u64) -> Requests {
        let run = "r".repeat(32);
        Requests { work, reads_percent: 30, timeout_ms: 5_000, run, value_bytes: 100, values }
    }

    #[test]
    fn values_are_as_long_as_was_asked_and_all_different() {
        let one: serde_json::Value =
            serde_json::from_slice(&requests(Work::Write, 1).body(7)).unwrap();
        assert_eq!(one["value"].to_string().len(), 100);
        let body = requests(Work::Write, 5).body(7);
        let many: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let values = many["values"].as_array().unwrap();
        let distinct: std::collections::BTreeSet<_> = values.iter().map(|v| v.as_str()).collect();
        assert_eq!((values.len(), distinct.len()), (5, 5));
    }

    #[test]
    fn a_mix_spreads_its_reads_evenly() {
        let requests = requests(Work::Mixed, 1);
        let reads = |from, to| (from..to).filter(|n| requests.kind(*n) == Kind::Read).count();
        assert_eq!(reads(0, 1_000), 300);
        assert!((from_ten(&reads)).iter().all(|count| *count == 3));
    }

    fn from_ten(reads: &impl Fn(u64, u64) -> usize) -> Vec<usize> {
        (0..20).map(|tens| reads(tens * 10, tens * 10 + 10)).collect()
    }

    #[test]
    fn a_request_goes_to_the_path_of_its_kind() {
        let endpoint: Endpoint = "http://a:1/client1".parse().unwrap();
        let host = HeaderValue::from_static("a:1");
        for (work, method, path) in [
            (Work::Write, "POST", "/client1/send?timeout_ms=5000"),
            (Work::Read, "GET", "/client1/read?limit=1&timeout_ms=5000"),
            (Work::ReadStale, "GET", "/client1/read?limit=1&consistency=stale&timeout_ms=5000"),
        ] {
            let request = requests(work, 1).request(0, &endpoint, &host);
            assert_eq!((request.method().as_str(), &*request.uri().to_string()), (method, path));
            assert_eq!(request.headers()[HOST], "a:1");
        }
    }
}
