//! `paxosd get`: what one node answers, whole or a part of it.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::http::uri::PathAndQuery;
use serde_json::value::RawValue;

use super::args::GetArgs;
use super::ask::{Effect, ask};
use super::endpoint::{cluster, host_of, named};
use super::exit::{Exit, Failure};
use super::output;
use crate::config::Env;
use crate::http::Address;

/// Asks, and prints the answer.
pub(super) async fn get(args: GetArgs, env: &Env) -> Result<(), Failure> {
    let config = cluster(args.config.as_deref(), env)?;
    let node = named(&config, &args.name)?;
    if !args.path.starts_with('/') || args.path.parse::<PathAndQuery>().is_err() {
        return Err(Failure::new(Exit::Usage, format!("`{}` is no path", args.path))
            .hint("write one as /health or /view-logs?limit=5"));
    }
    let endpoint = Address::new(host_of(node, env), node.api_port).into();
    let patience = Duration::from_millis(args.timeout_ms);
    let request = |_| (args.path.clone(), Request::new(Full::default()));
    let reply = ask(&[endpoint], patience, Effect::None, request).await;
    match args.pick {
        None => output::raw(reply),
        Some(pointer) => output::bytes(part(&reply?.body, &pointer)?.as_bytes()),
    }
}

/// The part of `body` at `pointer`, as lines.
fn part(body: &[u8], pointer: &str) -> Result<String, Failure> {
    let whole: &RawValue = serde_json::from_slice(body)
        .map_err(|error| Failure::new(Exit::Error, format!("the answer is no JSON: {error}")))?;
    let part = pointed(whole, pointer).ok_or_else(|| {
        Failure::new(Exit::Error, format!("the answer has nothing at `{pointer}`"))
    })?;
    let text = part.get();
    let mut lines: Vec<String> = if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text)
    {
        elements.iter().map(|element| output::json_line(element.get())).collect()
    } else if let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
        let line = |(name, value): (&String, &&RawValue)| {
            format!("{}\t{}", output::printable(name), output::json_line(value.get()))
        };
        members.iter().map(line).collect()
    } else {
        vec![output::json_line(text)]
    };
    if !lines.is_empty() {
        // Then the last line has its end too.
        lines.push(String::new());
    }
    Ok(lines.join("\n"))
}

/// What a JSON pointer (RFC 6901) leads to. Values stay the text they are, to the last digit.
fn pointed<'b>(whole: &'b RawValue, pointer: &str) -> Option<&'b RawValue> {
    let mut steps = pointer.split('/');
    if !steps.next()?.is_empty() {
        return None;
    }
    steps.try_fold(whole, |value, step| {
        if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            return elements.get(step.parse::<usize>().ok()?).copied();
        }
        let name = step.replace("~1", "/").replace("~0", "~");
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
        members.get(&name).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] =
        b"{\"n\":1.10,\"list\":[{\"a\": 1},\n\"x\\ny\"],\"\":{\"a/b\":null,\"c~\":\"\xc2\x9b\"}}";

    #[test]
    fn a_part_is_printed_as_lines() {
        for (pointer, lines) in [
            ("/n", "1.10\n"),
            ("/list", "{\"a\": 1}\n\"x\\ny\"\n"),
            ("/list/1", "\"x\\ny\"\n"),
            ("/list/0/a", "1\n"),
            ("/", "a/b\tnull\nc~\t\"\\u009b\"\n"),
            ("//a~1b", "null\n"),
            ("//c~0", "\"\\u009b\"\n"),
        ] {
            assert_eq!(part(BODY, pointer).unwrap(), lines, "{pointer}");
        }
        assert_eq!(part(BODY, "").unwrap().lines().count(), 3);
        assert_eq!(part(b"{\"empty\":[]}", "/empty").unwrap(), "");
    }

    #[test]
    fn a_part_that_is_not_there_is_an_error() {
        for pointer in ["n", "/m", "/list/2", "/list/x", "/n/a"] {
            let failure = part(BODY, pointer).unwrap_err();
            assert_eq!(failure.exit, Exit::Error);
            assert!(failure.message.contains(&format!("`{pointer}`")), "{failure}");
        }
        assert_eq!(part(b"# HELP", "").unwrap_err().exit, Exit::Error);
    }
}
