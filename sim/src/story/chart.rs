//! The drawing: nodes as lanes, grouped by role; time downwards; one row for each thing that
//! happens, so that no label lies on another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paxosd::types::{Instant, NodeId, Role};

use crate::network::Fate;
use crate::report::{Report, nodes_of, role_of};
use crate::trace::Kind;

use super::cast::{self, Cast};
use super::focus::{Focus, Item, Scope, Target};
use super::text::{add, escape};
use super::words;

const WIDTH: usize = 1200;
/// Where the first lane may stand: left of it are times and the numbers of the steps.
const LEFT: usize = 170;
/// What the last lane leaves for its labels.
const RIGHT: usize = 190;
const HEAD: usize = 74;
const ROW: usize = 26;
/// The row of an arrival.
const STEP: usize = 12;
/// What a letter takes, a little more rather than less.
const CHAR: usize = 7;
/// What the name of a node takes.
const NAME: usize = 96;
/// A pause that is worth telling.
const PAUSE: Duration = Duration::from_millis(20);

/// Colours that people with colour blindness can tell apart (Okabe and Ito, darkened for text).
const COLOURS: [&str; 5] = ["#0063a6", "#a85b00", "#00735a", "#9c3d78", "#5b4bb5"];
const PLAIN: &str = "#444444";
const BROKEN: &str = "#b00020";

/// What the signs mean.
pub(crate) const LEGEND: &str = concat!(
    "<ul class=\"legend\">\n",
    "<li><svg width=\"34\" height=\"12\"><path d=\"M2 6H30M25 2l6 4-6 4\" fill=\"none\" ",
    "stroke=\"#444\" stroke-width=\"1.6\"/></svg>a message, from its sending to its arrival</li>\n",
    "<li><svg width=\"34\" height=\"12\"><path d=\"M2 6H24\" fill=\"none\" stroke=\"#444\" ",
    "stroke-dasharray=\"4 3\" stroke-width=\"1.6\"/><path d=\"M22 2l7 8M29 2l-7 8\" ",
    "stroke=\"#444\" stroke-width=\"1.6\"/></svg>✗ it is lost, … it has not arrived</li>\n",
    "<li><svg width=\"34\" height=\"12\"><path d=\"M2 6H32\" stroke=\"#0063a6\" ",
    "stroke-width=\"2.6\"/></svg><svg width=\"34\" height=\"12\"><path d=\"M2 6H32\" ",
    "stroke=\"#a85b00\" stroke-width=\"2.6\"/></svg>about value A, about value B</li>\n",
    "<li><svg width=\"14\" height=\"14\"><rect x=\"2\" y=\"2\" width=\"10\" height=\"10\" ",
    "fill=\"#222\"/></svg>something goes wrong</li>\n",
    "<li><svg width=\"14\" height=\"14\"><circle cx=\"7\" cy=\"7\" r=\"4.5\" fill=\"#fff\" ",
    "stroke=\"#222\" stroke-width=\"1.6\"/></svg>something is reached</li>\n",
    "<li><svg width=\"10\" height=\"16\"><path d=\"M5 0V16\" stroke=\"#bbb\" ",
    "stroke-width=\"1\" stroke-dasharray=\"2 3\"/></svg>the node is down</li>\n",
    "<li><span class=\"cross\">✗</span> here the rule breaks</li>\n",
    "<li>b1, b2, …: ballots, the numbered attempts to lead; the higher one wins</li>\n",
    "</ul>\n",
);

/// The heads of the arrows, one for each colour; they stand in the page once.
pub(crate) fn tips() -> String {
    let mut out = String::from("<svg width=\"0\" height=\"0\" class=\"tips\"><defs>\n");
    for (nth, colour) in COLOURS.into_iter().chain([PLAIN]).enumerate() {
        add(
            &mut out,
            format_args!(
                "<marker id=\"tip{nth}\" orient=\"auto\" markerUnits=\"userSpaceOnUse\" \
                 markerWidth=\"10\" markerHeight=\"9\" refX=\"10\" refY=\"4.5\"><path \
                 d=\"M0 0L10 4.5L0 9Z\" fill=\"{colour}\"/></marker>\n"
            ),
        );
    }
    out.push_str("</defs></svg>\n");
    out
}

/// The colour of a value by its letter, or of what is about none.
pub(crate) fn colour_of(letter: Option<usize>) -> &'static str {
    letter.and_then(|nth| COLOURS.get(nth)).copied().unwrap_or(PLAIN)
}

/// A drawing with its places found.
#[derive(Debug)]
pub(crate) struct Chart {
    lanes: BTreeMap<NodeId, usize>,
    height: usize,
    body: String,
}

/// A thing that takes a place downwards.
enum Place<'a> {
    Item(usize, &'a Item),
    Arrival(usize, &'a Target, usize),
}

impl Chart {
    /// Draws a run.
    pub(crate) fn of(report: &Report, focus: &Focus, cast: &Cast, scope: Scope) -> Self {
        let items = focus.items(report, cast, scope);
        let mut numbers = BTreeMap::new();
        if scope == Scope::Focus {
            for (number, _, members) in Focus::steps(&items) {
                numbers.extend(members.into_iter().map(|at| (at, number)));
            }
        }
        let mut chart =
            Self { lanes: lanes(report, &items, scope), height: HEAD, body: String::new() };
        let downs = chart.draw(&items, &numbers);
        chart.verdict(report);
        let mut whole = chart.heads(&downs);
        whole.push_str(&chart.body);
        chart.body = whole;
        chart
    }

    /// The drawing as an element.
    pub(crate) fn svg(&self) -> String {
        let height = self.height + 12;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n{}</svg>\n",
            self.body
        )
    }

    /// Whether the lanes leave no room for the names of roles.
    fn is_narrow(&self) -> bool {
        let xs: Vec<usize> = self.lanes.values().copied().collect();
        xs.windows(2).any(|pair| matches!(pair, [one, other] if one.abs_diff(*other) < NAME))
    }

    fn x(&self, node: NodeId) -> usize {
        self.lanes.get(&node).copied().unwrap_or(LEFT)
    }

    /// Draws everything in the order of time; says where nodes were down.
    fn draw(&mut self, items: &[Item], numbers: &BTreeMap<usize, usize>) -> Vec<Down> {
        let mut starts: BTreeMap<usize, usize> = BTreeMap::new();
        let mut downs: Vec<Down> = Vec::new();
        let mut last: Option<Instant> = None;
        for (at, place) in places(items) {
            self.pass_time(last, at);
            last = Some(at);
            match place {
                Place::Item(nth, item) => {
                    self.height += ROW;
                    starts.insert(nth, self.height);
                    self.time(at, numbers.get(&nth).copied());
                    let (x, y) = (item.node.map_or(LEFT, |id| self.x(id)), self.height);
                    self.note_down(item, &mut downs);
                    if item.targets.is_empty() {
                        self.mark(item, x, y);
                    } else {
                        self.said(item, x, y);
                    }
                }
                Place::Arrival(nth, target, twice) => {
                    self.height += STEP;
                    let Some(item) = items.get(nth) else { continue };
                    let from_y = starts.get(&nth).copied().unwrap_or(self.height);
                    self.arrow(item, target, from_y, twice > 0);
                }
            }
        }
        downs
    }

    /// Tells of a pause in which nothing that is drawn happened.
    fn pass_time(&mut self, last: Option<Instant>, at: Instant) {
        let pause = last.map_or(Duration::ZERO, |last| at.since(last));
        if pause < PAUSE {
            return;
        }
        self.height += ROW;
        let (y, millis) = (self.height, pause.as_millis());
        add(
            &mut self.body,
            format_args!(
                "<path d=\"M{} {}H{}\" stroke=\"#ddd\" stroke-dasharray=\"1 4\"/>\n\
             <text class=\"small\" x=\"8\" y=\"{y}\">⋮ {millis} ms later</text>\n",
                LEFT - 60,
                y - 4,
                WIDTH - 20,
            ),
        );
    }

    fn time(&mut self, at: Instant, number: Option<usize>) {
        let y = self.height;
        add(
            &mut self.body,
            format_args!("<text class=\"small\" x=\"8\" y=\"{y}\">{}</text>\n", words::clock(at)),
        );
        if let Some(number) = number {
            add(
                &mut self.body,
                format_args!(
                    "<circle cx=\"92\" cy=\"{}\" r=\"10\" fill=\"#1a1a1a\"/>\
                     <text x=\"92\" y=\"{y}\" text-anchor=\"middle\" \
                     style=\"fill:#fff;font-size:11px\">{number}</text>\n",
                    y - 4,
                ),
            );
        }
    }

    /// A message's words at its sender, on the side that it leaves to.
    fn said(&mut self, item: &Item, x: usize, y: usize) {
        let rightward = item.targets.iter().any(|target| self.x(target.node) > x);
        let colour = colour_of(item.letter);
        let (label_x, anchor) = if rightward { (x + 9, "start") } else { (x - 9, "end") };
        add(
            &mut self.body,
            format_args!("<circle cx=\"{x}\" cy=\"{}\" r=\"3\" fill=\"{colour}\"/>\n", y - 4),
        );
        for target in item.targets.iter().filter(|target| target.arrivals.is_empty()) {
            self.missed(target, (x, y), colour);
        }
        self.label(&item.text, (label_x, y - 7), anchor, &format!("fill:{colour}"));
    }

    /// A message that does not arrive, as far as it comes.
    fn missed(&mut self, target: &Target, (x, y): (usize, usize), colour: &str) {
        let end = usize::midpoint(x, self.x(target.node));
        let sign = if target.fate == Fate::Lost { "✗" } else { "…" };
        add(
            &mut self.body,
            format_args!(
                "<path d=\"M{x} {}L{end} {}\" stroke=\"{colour}\" stroke-dasharray=\"4 3\" \
                 fill=\"none\"/><text class=\"halo\" x=\"{end}\" y=\"{}\" \
                 text-anchor=\"middle\" style=\"fill:{colour};font-weight:700\">{sign}</text>\n",
                y - 4,
                y + 6,
                y + 10,
            ),
        );
    }

    /// Words on a ground of their own, so that no line runs through them.
    fn label(&mut self, text: &str, (x, y): (usize, usize), anchor: &str, style: &str) {
        let text = short(text);
        let width = text.chars().count() * CHAR + 6;
        let left = if anchor == "end" { x.saturating_sub(width - 3) } else { x - 3 };
        add(
            &mut self.body,
            format_args!(
                "<rect x=\"{left}\" y=\"{}\" width=\"{width}\" height=\"15\" fill=\"#fff\" \
                 opacity=\"0.88\"/><text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" \
                 style=\"{style}\">{}</text>\n",
                y - 11,
                escape(&text),
            ),
        );
    }

    /// From the sender's row to the row of the arrival.
    fn arrow(&mut self, item: &Item, target: &Target, from_y: usize, is_again: bool) {
        let from = item.node.map_or(LEFT, |id| self.x(id));
        let (to, y) = (self.x(target.node), self.height);
        let colour = colour_of(item.letter);
        let width = if item.letter.is_some() { "2" } else { "1.3" };
        let dash = if is_again { " stroke-dasharray=\"8 3\"" } else { "" };
        let tip = item.letter.unwrap_or(COLOURS.len());
        let path = format!(
            "<path d=\"M{from} {}L{to} {y}\" stroke=\"{colour}\" stroke-width=\"{width}\"{dash} \
             fill=\"none\" marker-end=\"url(#tip{tip})\"/>\n",
            from_y - 4,
        );
        // Below the words, which stand in the body already.
        self.body.insert_str(0, &path);
    }

    fn mark(&mut self, item: &Item, x: usize, y: usize) {
        let Some(node) = item.node else {
            add(
                &mut self.body,
                format_args!(
                    "<path d=\"M{} {}H{}\" stroke=\"#222\" stroke-width=\"1.4\" \
                 stroke-dasharray=\"7 4\"/><text class=\"halo\" x=\"{LEFT}\" y=\"{}\">{}</text>\n",
                    LEFT - 60,
                    y,
                    WIDTH - 20,
                    y - 6,
                    escape(&item.text),
                ),
            );
            return;
        };
        let is_wrong = item.kind.is_some_and(goes_wrong);
        let cy = y - 4;
        let sign = if is_wrong {
            format!(
                "<rect x=\"{}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"#222\"/>",
                x - 5,
                cy - 5
            )
        } else {
            format!(
                "<circle cx=\"{x}\" cy=\"{cy}\" r=\"4.5\" fill=\"#fff\" stroke=\"#222\" \
                 stroke-width=\"1.6\"/>"
            )
        };
        let is_late =
            self.lanes.values().filter(|it| **it > x).count() == 0 && self.lanes.len() > 3;
        let is_first = self.lanes.values().filter(|it| **it < x).count() == 0;
        let leftward = is_late && !is_first && role_of(node) == Role::Client;
        let (label_x, anchor) = if leftward { (x - 10, "end") } else { (x + 10, "start") };
        let weight = if is_wrong { ";font-weight:600" } else { "" };
        self.body.push_str(&sign);
        self.label(&item.text, (label_x, y), anchor, &format!("fill:#222{weight}"));
    }

    fn note_down(&self, item: &Item, downs: &mut Vec<Down>) {
        let Some(node) = item.node else { return };
        match item.kind {
            Some(Kind::Dies | Kind::Stalls | Kind::Fails | Kind::Leaves) => {
                downs.push(Down { node, from: self.height, until: None });
            }
            Some(Kind::Starts | Kind::RunsOn) => {
                let open = downs.iter_mut().find(|it| it.node == node && it.until.is_none());
                if let Some(down) = open {
                    down.until = Some(self.height);
                }
            }
            _ => {}
        }
    }

    /// Where the rule breaks.
    fn verdict(&mut self, report: &Report) {
        let Some(violation) = &report.violation else { return };
        self.height += ROW + 12;
        let y = self.height;
        let actor = report.subject.actor.filter(|id| self.lanes.contains_key(id));
        add(
            &mut self.body,
            format_args!(
                "<path d=\"M8 {y}H{}\" stroke=\"{BROKEN}\" stroke-width=\"2.5\"/>\n",
                WIDTH - 8
            ),
        );
        if let Some(x) = actor.map(|id| self.x(id)) {
            add(
                &mut self.body,
                format_args!(
                    "<circle cx=\"{x}\" cy=\"{y}\" r=\"11\" fill=\"#fff\" stroke=\"{BROKEN}\" \
                 stroke-width=\"2.5\"/><path d=\"M{} {}l9 9m0 -9l-9 9\" stroke=\"{BROKEN}\" \
                 stroke-width=\"2.5\"/>\n",
                    x - 4,
                    y - 4,
                ),
            );
        }
        let place = actor.map_or_else(String::new, |id| format!(", seen at {}", cast::node(id)));
        let at = report.moments.last().map_or_else(String::new, |it| words::clock(it.at));
        self.height += 26;
        add(
            &mut self.body,
            format_args!(
                "<text class=\"verdict\" x=\"8\" y=\"{}\">\
                 ✗ {at}: the rule “{}” is broken here{place}</text>\n",
                self.height,
                escape(words::rule(violation)),
            ),
        );
    }

    /// The lanes with their names, and dashed where a node is down.
    fn heads(&self, downs: &[Down]) -> String {
        let mut out = String::new();
        let mut roles: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let bottom = self.height - if self.height > HEAD { 20 } else { 0 };
        for (&node, &x) in &self.lanes {
            roles.entry(heading(role_of(node))).or_default().push(x);
            add(
                &mut out,
                format_args!(
                    "<text class=\"name\" x=\"{x}\" y=\"46\" text-anchor=\"middle\">{}</text>\n\
                     <path d=\"M{x} 54V{bottom}\" stroke=\"#aaa\" stroke-width=\"1.4\"/>\n",
                    if self.is_narrow() { node.to_string() } else { cast::node(node) },
                ),
            );
        }
        for down in downs {
            let (x, until) = (self.x(down.node), down.until.unwrap_or(bottom));
            add(
                &mut out,
                format_args!(
                    "<path d=\"M{x} {}V{}\" stroke=\"#fff\" stroke-width=\"4\"/><path d=\"M{x} \
                 {}V{}\" stroke=\"#888\" stroke-width=\"1\" stroke-dasharray=\"2 4\"/>\n",
                    down.from - 4,
                    until - 4,
                    down.from - 4,
                    until - 4,
                ),
            );
        }
        for (role, xs) in roles {
            let (first, last) = (xs.iter().min(), xs.iter().max());
            let (first, last) = (first.copied().unwrap_or(LEFT), last.copied().unwrap_or(LEFT));
            add(
                &mut out,
                format_args!(
                    "<path d=\"M{} 26H{}\" stroke=\"#888\" stroke-width=\"1\"/>\
                     <text class=\"small\" x=\"{}\" y=\"18\" \
                     text-anchor=\"middle\">{role}</text>\n",
                    first - 42,
                    last + 42,
                    usize::midpoint(first, last),
                ),
            );
        }
        out
    }
}

/// Rows between which a node is down.
struct Down {
    node: NodeId,
    from: usize,
    until: Option<usize>,
}

/// Items and arrivals in the order of time.
fn places(items: &[Item]) -> Vec<(Instant, Place<'_>)> {
    let mut places = Vec::new();
    for (nth, item) in items.iter().enumerate() {
        places.push((item.at, Place::Item(nth, item)));
        for target in &item.targets {
            for (twice, at) in target.arrivals.iter().enumerate() {
                places.push((*at, Place::Arrival(nth, target, twice)));
            }
        }
    }
    // Stable: what is sent at a moment stands before what arrives then.
    places.sort_by_key(|(at, _)| *at);
    places
}

/// Clients, proposers, acceptors, learners: the way of a write, from left to right.
fn lanes(report: &Report, items: &[Item], scope: Scope) -> BTreeMap<NodeId, usize> {
    let all = nodes_of(report.sizes);
    let met: BTreeSet<NodeId> = items
        .iter()
        .flat_map(|item| item.node.into_iter().chain(item.targets.iter().map(|it| it.node)))
        .chain(report.subject.actor)
        .collect();
    let mut shown: Vec<NodeId> =
        all.into_iter().filter(|id| scope == Scope::Everything || met.contains(id)).collect();
    shown.sort_by_key(|id| (rank(role_of(*id)), *id));
    let between = shown.len().saturating_sub(1).max(1);
    let gap = ((WIDTH - LEFT - RIGHT) / between).min(220);
    shown.into_iter().enumerate().map(|(nth, id)| (id, LEFT + nth * gap)).collect()
}

fn rank(role: Role) -> u8 {
    match role {
        Role::Client => 0,
        Role::Proposer => 1,
        Role::Acceptor => 2,
        Role::Learner => 3,
    }
}

fn heading(role: Role) -> &'static str {
    match role {
        Role::Client => "clients ask",
        Role::Proposer => "proposers lead",
        Role::Acceptor => "acceptors vote",
        Role::Learner => "learners deliver",
    }
}

fn goes_wrong(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Dies
            | Kind::Stalls
            | Kind::Leaves
            | Kind::Fails
            | Kind::Rots
            | Kind::LosesDirectory
            | Kind::DoesNotStart
    )
}

/// What fits beside a lane.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 46;
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARS_MAX - 1).chain(['…']).collect()
}
