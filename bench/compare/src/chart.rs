//! The chart of writes by number of clients, as SVG by hand.

use std::fmt::Write as _;

use crate::cell::{Cell, Work};
use crate::report::in_words;
use crate::results::{Results, Spread};
use crate::systems::System;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 56.0;

/// The part of a group's width that stays free.
const GROUP_GAP: f64 = 0.16;

/// Bars touch as little as this.
const BAR_GAP: f64 = 3.0;

/// Steps of the scale, at most.
const STEPS_MAX: f64 = 6.0;

/// Both themes bring a background of their own, so that the text is readable wherever it is shown.
const STYLE: &str = "\
text { font-family: system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; }
.ground { fill: #ffffff; stroke: #d0d7de; }
.title { font-size: 16px; font-weight: 600; fill: #1f2328; }
.label { font-size: 12px; fill: #59636e; }
.figure { font-size: 11px; fill: #1f2328; }
.rule { stroke: #d0d7de; stroke-width: 1; }
.range { stroke: #1f2328; stroke-width: 1.5; }
.paxosd { fill: #0969da; }
.etcd-http { fill: #bf8700; }
.etcd-grpc { fill: #bc4c00; }
.zookeeper { fill: #1a7f37; }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117; stroke: #3d444d; }
  .title, .figure { fill: #f0f6fc; }
  .label { fill: #9198a1; }
  .rule { stroke: #3d444d; }
  .range { stroke: #f0f6fc; }
  .paxosd { fill: #4493f8; }
  .etcd-http { fill: #d29922; }
  .etcd-grpc { fill: #db6d28; }
  .zookeeper { fill: #3fb950; }
}";

/// The chart of `results`.
pub(crate) fn svg(results: &Results) -> String {
    let cells: Vec<Cell> =
        results.cells().into_iter().filter(|cell| cell.work == Work::Write).collect();
    let systems = results.systems();
    let of = |system, cell| results.spread(system, cell, |it| it.operations_per_second);
    let greatest = systems
        .iter()
        .flat_map(|system| cells.iter().filter_map(|cell| of(*system, *cell)))
        .fold(1.0, |greatest: f64, spread| greatest.max(spread.max));
    let plot = Plot::new(greatest, cells.len(), systems.len());
    let mut out = head(results);
    plot.scale(&mut out);
    legend(&mut out, &systems);
    for (group, cell) in (0_u32..).zip(&cells) {
        plot.group_label(&mut out, group, cell.clients);
        for (bar, system) in (0_u32..).zip(&systems) {
            if let Some(spread) = of(*system, *cell) {
                plot.bar(&mut out, (group, bar), *system, spread);
            }
        }
    }
    out.push_str("</svg>\n");
    out
}

fn head(results: &Results) -> String {
    let words = escaped(&in_words(results));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-labelledby=\"title words\">\n\
         <title id=\"title\">Durable writes a second</title>\n\
         <desc id=\"words\">{words}</desc>\n\
         <style>\n{STYLE}\n</style>\n\
         <rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"6\"/>\n\
         <text class=\"title\" x=\"20\" y=\"30\">Durable writes a second, 128 bytes each</text>\n",
        WIDTH - 1.0,
        HEIGHT - 1.0,
    )
}

/// Where things lie.
struct Plot {
    step: f64,
    top: f64,
    group_width: f64,
    bar_width: f64,
}

impl Plot {
    fn new(greatest: f64, groups: usize, bars: usize) -> Self {
        let step = step(greatest);
        let share = |whole: f64, parts: usize| {
            whole / f64::from(u32::try_from(parts.max(1)).unwrap_or(u32::MAX))
        };
        let group_width = share(WIDTH - LEFT - RIGHT, groups);
        let bar_width = share(group_width * (1.0 - GROUP_GAP), bars) - BAR_GAP;
        Self { step, top: (greatest / step).ceil() * step, group_width, bar_width }
    }

    /// The height at which `figure` lies, from above.
    fn y(&self, figure: f64) -> f64 {
        HEIGHT - BOTTOM - figure / self.top * (HEIGHT - TOP - BOTTOM)
    }

    fn scale(&self, out: &mut String) {
        let mut figure = 0.0;
        while figure <= self.top {
            let y = self.y(figure);
            line(out, "rule", (LEFT, y), (WIDTH - RIGHT, y));
            let mark = short(figure).replace(".0k", "k");
            text(out, ("label", "end"), (LEFT - 8.0, y + 4.0), &mark);
            figure += self.step;
        }
    }

    fn group_label(&self, out: &mut String, group: u32, clients: u32) {
        let x = LEFT + self.group_width * (f64::from(group) + 0.5);
        let plural = if clients == 1 { "" } else { "s" };
        let label = format!("{clients} client{plural}");
        text(out, ("label", "middle"), (x, HEIGHT - BOTTOM + 22.0), &label);
    }

    fn bar(&self, out: &mut String, (group, bar): (u32, u32), system: System, spread: Spread) {
        let start = LEFT + self.group_width * (f64::from(group) + GROUP_GAP / 2.0);
        let x = start + (self.bar_width + BAR_GAP) * f64::from(bar) + BAR_GAP / 2.0;
        let y = self.y(spread.median);
        rect(out, system.id(), (x, y), (self.bar_width, HEIGHT - BOTTOM - y));
        let middle = x + self.bar_width / 2.0;
        let (lowest, highest) = (self.y(spread.min), self.y(spread.max));
        if lowest - highest >= 1.0 {
            line(out, "range", (middle, lowest), (middle, highest));
        }
        text(out, ("figure", "middle"), (middle, highest - 5.0), &short(spread.median));
    }
}

fn legend(out: &mut String, systems: &[System]) {
    let mut x = 20.0;
    for system in systems {
        rect(out, system.id(), (x, 46.0), (12.0, 12.0));
        text(out, ("label", "start"), (x + 18.0, 56.5), system.title());
        x += 48.0 + 7.0 * f64::from(u32::try_from(system.title().len()).unwrap_or(0));
    }
}

/// A step of the scale to `greatest`: one, two or five times a power of ten.
fn step(greatest: f64) -> f64 {
    let mut power = 1.0;
    loop {
        for digit in [1.0, 2.0, 5.0] {
            if greatest <= power * digit * STEPS_MAX {
                return power * digit;
            }
        }
        power *= 10.0;
    }
}

/// `figure` in as few letters as its place has room for.
fn short(figure: f64) -> String {
    if figure < 999.5 {
        return format!("{figure:.0}");
    }
    format!("{:.1}k", figure / 1e3)
}

fn rect(out: &mut String, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
    writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
         height=\"{height:.1}\"/>"
    )
    .expect("a string takes all that is written");
}

fn line(out: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    )
    .expect("a string takes all that is written");
}

fn text(out: &mut String, (class, anchor): (&str, &str), (x, y): (f64, f64), text: &str) {
    let text = escaped(text);
    writeln!(
        out,
        "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
    )
    .expect("a string takes all that is written");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::CELLS;
    use crate::results::tests::{results, sample};
    use crate::systems::SYSTEMS;

    fn full() -> Results {
        let mut samples = Vec::new();
        for cell in CELLS.into_iter().filter(|cell| cell.work == Work::Write) {
            for (system, factor) in SYSTEMS.into_iter().zip([8.0, 1.0, 1.2, 2.5]) {
                for round in 1..=3 {
                    let per_second = f64::from(cell.clients.min(64) * (48 + round)) * factor;
                    samples.push(sample(round, system, cell, per_second));
                }
            }
        }
        results(samples)
    }

    /// The names of the elements that are open at the end of `xml`.
    fn left_open(xml: &str) -> Vec<&str> {
        let mut open = Vec::new();
        for tag in xml.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("a tag ends");
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "elements end in their order");
            } else if !tag.ends_with('/') {
                open.push(tag.split([' ', '\n']).next().unwrap());
            }
        }
        open
    }

    #[test]
    fn the_chart_is_well_formed_and_has_every_bar() {
        let svg = svg(&full());
        assert_eq!(left_open(&svg), Vec::<&str>::new());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        for system in SYSTEMS {
            let bars = svg.matches(&format!("<rect class=\"{}\"", system.id())).count();
            assert_eq!(bars, 5, "four bars and the legend of {}", system.id());
        }
        assert!(svg.contains("role=\"img\"") && svg.contains("<desc id=\"words\">Durable writes"));
    }

    #[test]
    fn a_chart_of_nothing_is_well_formed_too() {
        let svg = svg(&results(vec![]));
        assert_eq!(left_open(&svg), Vec::<&str>::new());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn every_bar_stays_within_the_plot() {
        let svg = svg(&full());
        let bars = svg.lines().filter(|line| line.starts_with("<rect class=\"paxosd\""));
        // The first is that of the legend.
        for bar in bars.skip(1) {
            let number = |name: &str| -> f64 {
                let rest = bar.split_once(&format!(" {name}=\"")).unwrap().1;
                rest.split_once('"').unwrap().0.parse().unwrap()
            };
            assert!(number("x") >= LEFT && number("x") + number("width") <= WIDTH - RIGHT);
            assert!(number("y") + number("height") <= HEIGHT - BOTTOM + 0.2);
        }
    }

    #[test]
    fn a_scale_has_few_and_round_steps() {
        let steps = [1.0, 6.0, 7.0, 24_156.0, 31_000.0].map(|it| format!("{}", step(it)));
        assert_eq!(steps, ["1", "1", "2", "5000", "10000"]);
        assert_eq!([0.0, 482.0, 5_000.0, 24_156.0].map(short), ["0", "482", "5.0k", "24.2k"]);
    }

    #[test]
    fn text_cannot_break_out_of_its_element() {
        assert_eq!(escaped("a<b> & c"), "a&lt;b&gt; &amp; c");
    }
}
