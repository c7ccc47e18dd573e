//! `paxosd logs`: the protocol events of nodes, the newest or as they happen.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::args::LogsArgs;
use super::ask::http_client;
use super::endpoint::{cluster, host_of, named};
use super::exit::{Exit, Failure};
use super::output;
use crate::config::{Config, Env, NodeConfig};
use crate::http::{Address, Body, HttpClient, sse};

/// How long a node may take to begin its answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a node that is away is left alone before it is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a stream may be silent: three of its signs of life missed, and it is dead.
const SILENCE_MAX: Duration = Duration::from_secs(3 * sse::HEARTBEAT.as_secs());

/// How long one stream is read, before another goes on where it ended.
const STREAM_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Events that wait to be printed.
const WAITING_MAX: usize = 256;

/// Events shown of each node that says nothing else.
const NEWEST: u32 = 10;

/// An event as `/view-logs` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct Event {
    seq: u64,
    at: String,
    kind: String,
    text: String,
}

/// One page of `/view-logs`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    events: Vec<Event>,
}

/// A node whose events are shown.
#[derive(Clone)]
struct Source {
    http: HttpClient,
    name: String,
    monitor: Address,
}

/// The event after which to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    seq: u64,
    /// When it happened; not known of one that was only named.
    at: Option<String>,
}

/// What a followed node has to say.
enum Said {
    Event(Event),
    Away(String),
    Back,
}

/// Prints the events that are there, and with `--follow` those to come.
pub(super) async fn logs(args: LogsArgs, env: &Env) -> Result<(), Failure> {
    let config = cluster(args.config.as_deref(), env)?;
    let http = http_client();
    let source = |node: &NodeConfig| Source {
        http: http.clone(),
        name: node.name.clone(),
        monitor: Address::new(host_of(node, env), node.monitor_port),
    };
    let sources: Vec<Source> = chosen(&config, &args.names)?.into_iter().map(source).collect();
    let width = sources.iter().map(|source| source.name.len()).max().unwrap_or_default();

    let pages = pages(&sources, &args).await;
    let mut events: Vec<(&Source, &Event)> = Vec::new();
    for (source, page) in sources.iter().zip(&pages) {
        match page {
            Ok(page) => events.extend(page.iter().map(|event| (source, event))),
            Err(why) => output::complain(&format!("{}: {why}", source.name)),
        }
    }
    // The times of several clocks are put in order as they are: a story, not a proof.
    events.sort_by(|(_, one), (_, other)| one.at.cmp(&other.at));
    for (source, event) in events {
        if args.limit != Some(0) && !output::bytes_if_read(&line(&source.name, width, event))? {
            return Ok(());
        }
    }
    if args.follow {
        return follow(sources, &pages, args.since, width).await;
    }
    if pages.iter().all(Result::is_err) {
        return Err(Failure::new(Exit::Unavailable, "no node showed its events")
            .hint("is the cluster running? `paxosd dev` starts one on this machine"));
    }
    Ok(())
}

/// The nodes called `names`, or all.
fn chosen<'c>(config: &'c Config, names: &[String]) -> Result<Vec<&'c NodeConfig>, Failure> {
    if names.is_empty() {
        return Ok(config.nodes.iter().collect());
    }
    names.iter().map(|name| named(config, name)).collect()
}

fn line(name: &str, width: usize, event: &Event) -> Vec<u8> {
    let [at, kind, text] = [&event.at, &event.kind, &event.text].map(|it| output::printable(it));
    format!("{name:width$}  {:>5}  {at}  {kind:8}  {text}\n", event.seq).into_bytes()
}

/// What each source has, all asked at once; or why it said nothing.
async fn pages(sources: &[Source], args: &LogsArgs) -> Vec<Result<Vec<Event>, String>> {
    let limit = match (args.limit, args.since) {
        // One at least, so that it is known where to go on.
        (Some(limit), _) => limit.max(1),
        (None, None) => NEWEST,
        (None, Some(_)) => u32::MAX,
    };
    let since = args.since.map(|since| format!("&since={since}")).unwrap_or_default();
    let query = format!("limit={limit}{since}");
    let mut asking = JoinSet::new();
    for (place, source) in sources.iter().cloned().enumerate() {
        let query = query.clone();
        asking.spawn(async move { (place, source.page(&query).await) });
    }
    let mut pages = asking.join_all().await;
    pages.sort_by_key(|(place, _)| *place);
    pages.into_iter().map(|(_, page)| page).collect()
}

/// Prints what `sources` do from now on, until nobody reads it.
async fn follow(
    sources: Vec<Source>,
    pages: &[Result<Vec<Event>, String>],
    since: Option<u64>,
    width: usize,
) -> Result<(), Failure> {
    let (said, mut heard) = mpsc::channel(WAITING_MAX);
    let mut following = JoinSet::new();
    for (source, page) in sources.into_iter().zip(pages) {
        let newest = page.as_ref().ok().and_then(|page| page.last()).map(Mark::of);
        let named = since.map(|seq| Mark { seq, at: None });
        // Of a node that is away nothing was seen yet.
        let (mark, is_away) = (newest.or(named), page.is_err());
        let said = said.clone();
        following.spawn(async move { source.follow(mark, is_away, &said).await });
    }
    drop(said);
    while let Some((name, said)) = heard.recv().await {
        match said {
            Said::Event(event) => {
                if !output::bytes_if_read(&line(&name, width, &event))? {
                    break;
                }
            }
            Said::Away(why) => output::complain(&format!("{name} is away: {why}")),
            Said::Back => output::complain(&format!("{name} is back")),
        }
    }
    following.shutdown().await;
    Ok(())
}

impl Mark {
    fn of(event: &Event) -> Self {
        Self { seq: event.seq, at: Some(event.at.clone()) }
    }
}

impl Source {
    async fn page(&self, query: &str) -> Result<Vec<Event>, String> {
        let path = format!("/view-logs?{query}");
        let reply = self.http.get(&self.monitor, &path, PATIENCE).await;
        let reply = reply.map_err(|error| error.to_string())?;
        if !reply.status.is_success() {
            return Err(format!("/view-logs answers {}", reply.status.as_u16()));
        }
        let page: Page = serde_json::from_slice(&reply.body)
            .map_err(|error| format!("/view-logs makes no sense: {error}"))?;
        Ok(page.events)
    }

    /// Tells what happens after `mark`, and waits for the node whenever it is away; ends when
    /// nobody listens.
    async fn follow(
        &self,
        mut mark: Option<Mark>,
        mut is_away: bool,
        said: &mpsc::Sender<(String, Said)>,
    ) {
        loop {
            let why = match self.open(&mut mark).await {
                Ok(stream) => {
                    if is_away && !self.say(said, Said::Back).await {
                        return;
                    }
                    is_away = false;
                    match self.read(stream, &mut mark, said).await {
                        Some(why) => why,
                        None => return,
                    }
                }
                Err(why) => why,
            };
            if !is_away && !self.say(said, Said::Away(why)).await {
                return;
            }
            is_away = true;
            sleep(PAUSE).await;
        }
    }

    async fn say(&self, said: &mpsc::Sender<(String, Said)>, what: Said) -> bool {
        said.send((self.name.clone(), what)).await.is_ok()
    }

    /// Opens the stream of what follows `mark`. A node that was started anew counts from 1 again,
    /// and then everything it shows is new.
    async fn open(&self, mark: &mut Option<Mark>) -> Result<Body, String> {
        let stream = self.stream(mark.as_ref()).await?;
        // Only now, for between a look and the opening the node could have been started anew.
        if let Some(Mark { seq, at: Some(at) }) = mark {
            let page = self.page(&format!("since={}&limit=1", seq.saturating_sub(1))).await?;
            if is_another_life(*seq, at, page.first()) {
                *mark = None;
                return self.stream(None).await;
            }
        }
        Ok(stream)
    }

    async fn stream(&self, mark: Option<&Mark>) -> Result<Body, String> {
        let path = format!("/view-logs?follow=true&since={}", mark.map_or(0, |mark| mark.seq));
        let request = Request::new(Full::default());
        let answer = self.http.proxy(&self.monitor, &path, request, STREAM_MAX);
        let answer = timeout(PATIENCE, answer).await;
        let answer = answer.map_err(|_| "it does not answer".to_owned())?;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("/view-logs answers {}", answer.status().as_u16()));
        }
        Ok(answer.into_body())
    }

    /// Tells what `stream` says, and why it ended; `None` when nobody listens any more.
    async fn read(
        &self,
        mut stream: Body,
        mark: &mut Option<Mark>,
        said: &mpsc::Sender<(String, Said)>,
    ) -> Option<String> {
        let mut reader = sse::Reader::default();
        loop {
            let bytes = match timeout(SILENCE_MAX, stream.frame()).await {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return Some(error.to_string()),
                Ok(None) => return Some("it ended the stream".to_owned()),
                Err(_) => return Some("it fell silent".to_owned()),
            };
            let whole = match reader.read(&bytes) {
                Ok(whole) => whole,
                Err(error) => return Some(error.to_string()),
            };
            for data in whole {
                let event: Event = match serde_json::from_str(&data) {
                    Ok(event) => event,
                    Err(error) => return Some(format!("an event makes no sense: {error}")),
                };
                *mark = Some(Mark::of(&event));
                if !self.say(said, Said::Event(event)).await {
                    return None;
                }
            }
        }
    }
}

/// Whether a node has been started anew since its event `seq` at time `at`, when `found` is what it
/// shows at that number, or first after it.
fn is_another_life(seq: u64, at: &str, found: Option<&Event>) -> bool {
    match found {
        // Event `seq` was told once, and it is the newest or older.
        None => true,
        // When the ring has gone beyond `seq`, either life goes on from there.
        Some(event) => event.seq == seq && event.at != at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, at: &str) -> Event {
        Event { seq, at: at.to_owned(), kind: "chosen".to_owned(), text: "slot 7".to_owned() }
    }

    #[test]
    fn a_line_holds_the_node_the_number_the_time_the_kind_and_the_text() {
        let mut event = event(41, "2026-01-02T03:04:05.678Z");
        let shown = |event: &Event| String::from_utf8(line("client1", 9, event)).unwrap();
        assert_eq!(shown(&event), "client1       41  2026-01-02T03:04:05.678Z  chosen    slot 7\n");
        event.text = "\u{1b}[2J\nforged line".to_owned();
        assert!(shown(&event).ends_with("  \\u001b[2J\\u000aforged line\n"), "{}", shown(&event));
    }

    #[test]
    fn a_node_that_counts_anew_is_known_by_what_stands_at_the_mark() {
        let found = event(41, "noon");
        assert!(!is_another_life(41, "noon", Some(&found)));
        assert!(is_another_life(41, "morning", Some(&found)));
        assert!(is_another_life(41, "noon", None));
        assert!(!is_another_life(40, "noon", Some(&found)), "the ring went on beyond the mark");
    }
}
