//! `paxosd read`: values in delivered order, one a line.

use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::args::{Format, ReadArgs};
use super::ask::{Effect, ask};
use super::endpoint::{Call, gateways};
use super::exit::{Exit, Failure};
use super::output;
use crate::config::Env;
use crate::types::Role;

/// Who gives values.
const CALLS: [Call; 2] = [(Role::Client, "/read"), (Role::Learner, "/get-values")];

/// What of an answer is shown. The values stay the text they are, to the last digit.
#[derive(Deserialize)]
struct Page<'b> {
    #[serde(borrow)]
    values: Vec<&'b RawValue>,
    first_index: Option<u64>,
}

/// Reads and prints.
pub(super) async fn read(args: ReadArgs, env: &Env) -> Result<(), Failure> {
    let (endpoints, call) = gateways(&args.gateways, &CALLS, env)?;
    let patience = Duration::from_millis(args.gateways.timeout_ms);
    let request = |left| (path(call, &args, left), Request::new(Full::default()));
    let reply = ask(&endpoints, patience, Effect::None, request).await;
    match args.gateways.output {
        Format::Json => output::raw(reply),
        Format::Text => output::bytes(lines(&reply?.body, args.numbered)?.as_bytes()),
    }
}

fn path(call: &str, args: &ReadArgs, left: Duration) -> String {
    let options = [
        args.from.map(|from| format!("from={from}")),
        args.limit.map(|limit| format!("limit={limit}")),
        args.stale.then(|| "consistency=stale".to_owned()),
        Some(format!("timeout_ms={}", left.as_millis().max(1))),
    ];
    let options: Vec<String> = options.into_iter().flatten().collect();
    format!("{call}?{}", options.join("&"))
}

/// The values of `body`, each ended by a line end, and with its index before it where `numbered`.
fn lines(body: &[u8], numbered: bool) -> Result<String, Failure> {
    let page: Page<'_> = serde_json::from_slice(body).map_err(|error| {
        Failure::new(Exit::Error, format!("the answer is no page of values: {error}"))
    })?;
    let first = match page.first_index {
        None if numbered && !page.values.is_empty() => {
            return Err(Failure::new(Exit::Error, "the answer says no index"));
        }
        first => first.unwrap_or_default(),
    };
    let mut lines = String::with_capacity(body.len());
    for (index, value) in (first..).zip(page.values) {
        if numbered {
            lines.push_str(&index.to_string());
            lines.push('\t');
        }
        lines.push_str(&output::json_line(value.get()));
        lines.push('\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_on_one_line_as_it_was_sent() {
        let body = b"{\"values\":[\"a\\nb\",1.10,{\"k\":\n[]}],\"first_index\":9}";
        assert_eq!(lines(body, false).unwrap(), "\"a\\nb\"\n1.10\n{\"k\": []}\n");
        assert_eq!(lines(body, true).unwrap(), "9\t\"a\\nb\"\n10\t1.10\n11\t{\"k\": []}\n");
        assert_eq!(lines(b"{\"values\":[]}", true).unwrap(), "");
        assert_eq!(lines(b"{\"values\":[1]}", true).unwrap_err().exit, Exit::Error);
        assert_eq!(lines(b"[]", false).unwrap_err().exit, Exit::Error);
    }
}
