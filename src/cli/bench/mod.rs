//! `paxosd bench`: a load on a cluster, and how it was borne.
//!
//! - `work`: what is asked. `load`: the callers, and when they ask. `tally`: what they saw.
//! - `disk`: whether the acceptors really sync. `report`: how all that is told.

mod disk;
mod load;
mod report;
mod tally;
mod work;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::LocalSet;
use tokio::time::{Instant, interval};

use self::disk::Disks;
use self::load::{Load, Schedule};
use self::report::Report;
use self::tally::Tally;
use self::work::Requests;
use super::args::{BenchArgs, Format};
use super::ask::http_client;
use super::endpoint::{cluster, gateways, told_urls};
use super::exit::{Exit, Failure};
use super::output;
use crate::config::Env;
use crate::types::Role;

/// Between two looks at the progress.
const PROGRESS: Duration = Duration::from_millis(200);

/// Runs the load, and prints what came of it.
pub(super) async fn bench(args: BenchArgs, env: &Env) -> Result<(), Failure> {
    let (endpoints, _) = gateways(&args.gateways, &[(Role::Client, "/send")], env)?;
    let client = http_client();
    // Whoever names gateways by URL has said nothing of the acceptors.
    let disks = if told_urls(&args.gateways, env)?.is_some() {
        None
    } else {
        let config = cluster(args.gateways.config.as_deref(), env)?;
        Some(Disks::before(&client, &config, env).await)
    };
    let requests = Requests::new(&args);
    let start = Instant::now();
    let warmup = if args.requests.is_some() { 0 } else { args.warmup_seconds };
    let counted_from = start + Duration::from_secs(warmup);
    let load = Rc::new(Load {
        endpoints,
        tally: RefCell::new(Tally::new(counted_from, requests.kinds())),
        requests,
        patience: Duration::from_millis(args.gateways.timeout_ms),
        schedule: Schedule {
            start,
            end: args.requests.is_none().then(|| counted_from + Duration::from_secs(args.seconds)),
            requests: args.requests,
            rate: args.rate,
            dealt: Cell::new(0),
            is_over: Cell::new(false),
        },
    });
    LocalSet::new().run_until(drive(&load, args.clients)).await;
    let ended = Instant::now();
    let acceptors = match disks {
        Some(disks) => disks.since(&client).await,
        None => Vec::new(),
    };
    let load = Rc::into_inner(load).expect("every caller has ended");
    let (seen, counted) = load.tally.into_inner().close(ended);
    tell(&args, &Report::new(&args, seen, counted, acceptors), env)
}

/// Runs the callers to the end, or until Ctrl-C; then what was seen so far counts.
async fn drive(load: &Rc<Load>, callers: u32) {
    let bar = progress_bar(&load.schedule);
    let mut looks = interval(PROGRESS);
    let running = load::run(load, callers);
    tokio::pin!(running);
    loop {
        tokio::select! {
            () = &mut running => break,
            _ = tokio::signal::ctrl_c() => load.schedule.is_over.set(true),
            _ = looks.tick() => show(&bar, load),
        }
    }
    bar.finish_and_clear();
}

/// On standard error, and only where that is a terminal.
fn progress_bar(schedule: &Schedule) -> ProgressBar {
    let length = match (schedule.requests, schedule.end) {
        (Some(requests), _) => requests,
        (None, end) => end.map_or(0, |end| millis(end.duration_since(schedule.start))),
    };
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}%  {msg}");
    ProgressBar::new(length).with_style(style.expect("the template is right"))
}

fn show(bar: &ProgressBar, load: &Load) {
    let position = match load.schedule.requests {
        Some(_) => load.schedule.dealt.get(),
        None => millis(load.schedule.start.elapsed()),
    };
    bar.set_position(position);
    bar.set_message(format!("{} granted", load.tally.borrow().granted()));
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn tell(args: &BenchArgs, report: &Report, env: &Env) -> Result<(), Failure> {
    match args.gateways.output {
        Format::Text => output::line(&report.text(output::takes_colour(env)))?,
        Format::Json => {
            let json = serde_json::to_string(report).map_err(|error| {
                Failure::new(Exit::Error, format!("cannot write the report: {error}"))
            })?;
            output::line(&json)?;
        }
    }
    if report.granted() == 0 {
        let message = format!("no request was granted: {}", report.failures());
        return Err(
            Failure::new(Exit::Unavailable, message).hint("`paxosd status` shows what is missing")
        );
    }
    Ok(())
}
