//! A run as a story: one page that says which rule broke, what that means, what led to it, and
//! draws the messages, for a reader who does not know the code.
//!
//! - `cast`: who takes part, and plain names for nodes, ballots and values.
//! - `focus`: what of a run concerns the broken rule.
//! - `words`: messages, events and rules in plain English.
//! - `chart`: the drawing.

mod cast;
mod chart;
mod focus;
mod text;
mod words;

use std::collections::BTreeSet;

use paxosd::types::{Instant, NodeId, Role};

use crate::minimise::{self, Minimised, minimise};
use crate::plan::Plan;
use crate::report::Report;
use crate::runner;
use crate::trace::{Keeps, Kind, Moment, What};

use cast::Cast;
use chart::Chart;
use focus::{Focus, Scope};
use text::{add, capital, escape};

const STYLE: &str = include_str!("style.css");

/// How many runs may be spent on shrinking one.
const RUNS_MAX: u64 = 2_000;

/// How many faults are told one by one.
const FAULTS_MAX: usize = 8;

/// A run, told.
#[derive(Debug)]
pub struct Story {
    /// What ran in the end.
    pub plan: Plan,
    /// What is left of the run that was asked for, and how to see it again.
    pub text: String,
    /// The page.
    pub html: String,
}

/// Runs a plan, shrinks it if that is wanted and a rule breaks, and tells what happened.
#[must_use]
pub fn tell(plan: &Plan, minimises: bool) -> Story {
    let run = |plan: &Plan| runner::run_plan(plan, Keeps::Schedule);
    let shrunk = if minimises { minimise(plan, RUNS_MAX, run) } else { None };
    let plan = shrunk.as_ref().map_or_else(|| plan.clone(), |it| it.plan.clone());
    let report = runner::run_plan(&plan, Keeps::Moments);
    let text = shrunk.as_ref().map_or_else(String::new, |shrunk| remains(&report, shrunk));
    Story { html: html(&report, shrunk.as_ref()), text, plan }
}

/// What is left of a run: its faults and operations in order, and how to see it again.
fn remains(report: &Report, shrunk: &Minimised) -> String {
    let mut text = String::new();
    for moment in &report.moments {
        let What::Notes(kind, _, line) = &moment.what else { continue };
        let is_left = matches!(
            kind,
            Kind::Strikes | Kind::Writes | Kind::Cancels | Kind::Reads | Kind::Heals
        );
        if is_left {
            let node = moment.node.map_or_else(String::new, |id| format!("{} ", cast::node(id)));
            add(&mut text, format_args!("  {} {node}{line}\n", moment.at));
        }
    }
    let [faults, operations, messages] = minimise::counts(report);
    let [faults_before, operations_before, messages_before] = shrunk.counts_before;
    add(
        &mut text,
        format_args!(
            "after {} runs: {} events of {}, {faults} faults of {faults_before}, {operations} \
         operations of {operations_before}, {messages} unruly messages of {messages_before}\n\
         see it again: cargo sim --plan {}\n",
            shrunk.runs, report.counters.events, shrunk.events_before, shrunk.plan,
        ),
    );
    text
}

/// The page of a run whose report kept its moments; `shrunk` tells what it was shrunk from.
#[must_use]
pub fn html(report: &Report, shrunk: Option<&Minimised>) -> String {
    let focus = Focus::of(report);
    let cast = Cast::of(report, &focus);
    let title = report.violation.as_ref().map_or("every rule holds", words::rule);
    let seed = report.plan.seed;
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>Seed {seed}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(title),
    );
    page.push_str(&introduction(report, &cast));
    page.push_str("<div class=\"columns\">\n");
    page.push_str(&happenings(report, shrunk, &cast));
    if report.violation.is_some() {
        page.push_str(&steps(&focus, &cast, report));
    }
    page.push_str("</div>\n");
    page.push_str(&charts(report, &focus, &cast));
    page.push_str(&replay(report));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// The rule, what it means, and how it was broken.
fn introduction(report: &Report, cast: &Cast) -> String {
    let seed = report.plan.seed;
    let Some(violation) = &report.violation else {
        return format!("<h1>Seed {seed}: every rule holds</h1>\n");
    };
    let rule = escape(&capital(words::rule(violation)));
    let detail = escape(&capital(&cast.plain(&violation.detail)));
    let meaning = escape(words::meaning(violation));
    format!(
        "<p class=\"kicker\">Seed {seed} of the simulator broke a rule</p>\n<h1>{rule}</h1>\n\
         <p class=\"meaning\">{meaning}</p>\n\
         <p class=\"breach\"><span class=\"cross\">✗</span> <b>Broken:</b> {detail}.</p>\n",
    )
}

/// What happened, in a few sentences.
fn happenings(report: &Report, shrunk: Option<&Minimised>, cast: &Cast) -> String {
    let mut out = String::from("<section>\n<h2>What happened in this run</h2>\n<p>");
    let sizes = report.sizes;
    let count = |number: Option<u64>, role: Role| {
        let number = number.unwrap_or(0);
        format!("{number} {role}{}", if number == 1 { "" } else { "s" })
    };
    let end = report.moments.last().map_or_else(String::new, |it| words::clock(it.at));
    add(
        &mut out,
        format_args!(
            "{}, {}, {} and {} ran for {end} of simulated time. ",
            count(sizes.clients, Role::Client),
            count(sizes.proposers, Role::Proposer),
            count(sizes.acceptors, Role::Acceptor),
            count(sizes.learners, Role::Learner),
        ),
    );
    if let Some(shrunk) = shrunk {
        let [faults, operations, messages] = minimise::counts(report);
        let [faults_before, operations_before, messages_before] = shrunk.counts_before;
        add(
            &mut out,
            format_args!(
                "Shrunk from {} events to {}, it still breaks the rule with {faults} of \
                 {faults_before} faults, {operations} of {operations_before} operations and \
                 {messages} of {messages_before} lost, late or doubled messages. ",
                shrunk.events_before, report.counters.events,
            ),
        );
    }
    out.push_str("</p>\n");
    let faults = faults(report, cast);
    if faults.is_empty() {
        out.push_str("<p>Nothing else went wrong: delays alone were enough.</p>\n");
    } else {
        out.push_str("<p>What went wrong around it:</p>\n<ul>\n");
        for fault in faults {
            add(&mut out, format_args!("<li>{}</li>\n", escape(&fault)));
        }
        out.push_str("</ul>\n");
    }
    out.push_str(&values(cast));
    out.push_str("</section>\n");
    out
}

/// The faults that struck, with what they did, in order; what befell many at once is one line.
fn faults(report: &Report, cast: &Cast) -> Vec<String> {
    let mut told: Vec<(Instant, String, BTreeSet<NodeId>)> = Vec::new();
    for moment in &report.moments {
        let What::Notes(kind, ..) = &moment.what else { continue };
        let is_fault = matches!(
            kind,
            Kind::Dies
                | Kind::Stalls
                | Kind::Leaves
                | Kind::Fails
                | Kind::Partitions
                | Kind::Rots
                | Kind::LosesDirectory
                | Kind::DoesNotStart
        );
        let Some(text) = words::mark(cast, &moment.what).filter(|_| is_fault) else { continue };
        match told.last_mut() {
            // A disk that fails takes its node down with it.
            Some((at, _, nodes)) if *at == moment.at && is_followed(*kind, nodes, moment) => {}
            Some((at, known, nodes)) if *at == moment.at && *known == text => {
                nodes.extend(moment.node);
            }
            _ => told.push((moment.at, text, moment.node.into_iter().collect())),
        }
    }
    let more = told.len().saturating_sub(FAULTS_MAX);
    told.truncate(FAULTS_MAX);
    let told = told.into_iter().map(|(at, text, nodes)| {
        format!("{}: {}", words::clock(at), words::sentence(&nodes, &text))
    });
    told.chain((more > 0).then(|| format!("and {more} more"))).collect()
}

/// Whether it is the end of a node of which is told already why it ended.
fn is_followed(kind: Kind, told: &BTreeSet<NodeId>, moment: &Moment) -> bool {
    kind == Kind::Dies && moment.node.is_some_and(|node| told.contains(&node))
}

/// What the letters stand for.
fn values(cast: &Cast) -> String {
    let mut out = String::new();
    for (nth, (letter, what)) in cast.letters().enumerate() {
        let colour = chart::colour_of(Some(nth));
        add(
            &mut out,
            format_args!(
                "<li><b class=\"value\" style=\"color:{colour}\">{letter}</b> {}</li>\n",
                escape(what)
            ),
        );
    }
    if out.is_empty() { out } else { format!("<p>Values in question:</p>\n<ul>\n{out}</ul>\n") }
}

/// What led to it, step by step.
fn steps(focus: &Focus, cast: &Cast, report: &Report) -> String {
    let mut out = String::from("<section>\n<h2>What led to it</h2>\n<ol class=\"steps\">\n");
    let items = focus.items(report, cast, Scope::Focus);
    for (number, step, _) in Focus::steps(&items) {
        add(
            &mut out,
            format_args!(
                "<li value=\"{number}\"><span class=\"time\">{}</span> {}.</li>\n",
                words::clock(step.at),
                escape(&step.sentence()),
            ),
        );
    }
    if let Some(violation) = &report.violation {
        add(
            &mut out,
            format_args!(
                "<li class=\"broken\"><span class=\"cross\">✗</span> \
                 The rule “{}” is broken.</li>\n",
                escape(words::rule(violation))
            ),
        );
    }
    out.push_str("</ol>\n</section>\n");
    out
}

/// The same run at three depths, switched without a script.
fn charts(report: &Report, focus: &Focus, cast: &Cast) -> String {
    let mut out = String::from(
        "<h2>Who said what to whom</h2>\n<p class=\"hint\">Time runs downwards, each column is a \
         node. An arrow is a message. Numbers in circles are the steps above.</p>\n",
    );
    out.push_str(chart::LEGEND);
    out.push_str(&chart::tips());
    let depths = [
        (Scope::Focus, "focus", "What matters"),
        (Scope::Protocol, "protocol", "All messages of the protocol"),
        (Scope::Everything, "everything", "Everything, heartbeats too"),
    ];
    for (scope, id, label) in depths {
        let checked = if scope == Scope::Focus { " checked=\"checked\"" } else { "" };
        add(
            &mut out,
            format_args!(
                "<input type=\"radio\" name=\"depth\" id=\"{id}\"{checked}/>\
             <label for=\"{id}\">{label}</label>\n",
            ),
        );
    }
    for (scope, id, _) in depths {
        let chart = Chart::of(report, focus, cast, scope);
        add(&mut out, format_args!("<div class=\"chart {id}\">\n{}</div>\n", chart.svg()));
    }
    out
}

fn replay(report: &Report) -> String {
    format!(
        "<h2>See it again</h2>\n<pre>cargo sim --plan {}</pre>\n\
         <p class=\"hint\">The same plan gives the same run, byte for byte: trace hash \
         {:016x}.</p>\n",
        escape(&report.plan.to_string()),
        report.hash,
    )
}
