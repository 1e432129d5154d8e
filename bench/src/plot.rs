//! The plot: added cost against the size of the policy, both on logarithmic scales, as an SVG file of its own.

use std::fmt::Write as _;

use crate::{
    costs::FILTER,
    path::Way,
    plan::{Layout, Version},
    report::plan,
    results::{Cost, Course, Results, median},
};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 560.0;
/// Where the axes stand; what is right of them is for names.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 610.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 500.0;
/// The scale of nanoseconds.
const NS_LEAST: f64 = 1.0;
/// Names closer than this would lie upon one another.
const NAME_HEIGHT: f64 = 15.0;
const COLOURS: [&str; 10] = [
    "#0b6e4f", "#14a06f", "#1b4fa8", "#4f8be0", "#c0392b", "#e67e22", "#8e44ad", "#7f8c8d", "#b7950b",
    "#34495e",
];

/// One line of the plot.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    dashed: bool,
}

/// The whole file; empty where nothing was measured at two sizes or more.
pub fn svg(results: &Results) -> Option<String> {
    let mut lines = lines(results);
    let sizes = results.costs.iter().map(|cost| cost.size);
    let (least, most) = (sizes.clone().min()? as f64, sizes.max()? as f64);
    if least >= most {
        return None;
    }
    lines.extend(floors(results, least, most));
    let top = lines.iter().flat_map(|line| &line.points).map(|&(_, ns)| ns).fold(100.0, f64::max);
    let x = |size: f64| LEFT + (RIGHT - LEFT) * (size / least).ln() / (most / least).ln();
    let y = |ns: f64| {
        let share = (ns.max(NS_LEAST) / NS_LEAST).ln() / (top * 1.2 / NS_LEAST).ln();
        BOTTOM - (BOTTOM - TOP) * share
    };
    let mut svg = String::new();
    head(&mut svg, results);
    axes(&mut svg, least, most, top, &x, &y);
    let mut names = Vec::new();
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<String> =
            line.points.iter().map(|&(size, ns)| format!("{:.1},{:.1}", x(size), y(ns))).collect();
        let dash = if line.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        let points = points.join(" ");
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>"
        );
        for &(size, ns) in line.points.iter().filter(|_| !line.dashed) {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(size),
                y(ns)
            );
        }
        let &(size, ns) = line.points.last()?;
        names.push((y(ns), format!("{}, {ns:.0} ns", line.name), *colour, x(size)));
    }
    legend(&mut svg, names);
    svg.push_str("</svg>\n");
    Some(svg)
}

/// The filter on its main paths, and every contender.
fn lines(results: &Results) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for cost in results.costs.iter().filter(|cost| is_drawn(cost)) {
        let name = if cost.subject == FILTER {
            format!("{FILTER}, {}, {}", cost.way.name(), plan(cost))
        } else {
            cost.subject.clone()
        };
        let point = (cost.size as f64, cost.added_ns());
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name, points: vec![point], dashed: false }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    lines
}

fn is_drawn(cost: &Cost) -> bool {
    let is_packed4 = (cost.version, cost.layout) == (Version::V4, Layout::Packed);
    cost.way == Way::Stranger || (cost.way == Way::Trunk && is_packed4)
}

fn floors(results: &Results, least: f64, most: f64) -> [Line; 2] {
    let own = results
        .costs
        .iter()
        .filter(|cost| (cost.course, cost.way, cost.version) == (Course::Handed, Way::Stranger, Version::V4));
    let own = median(own.map(|cost| results.headers_added_ns(cost)).collect());
    let line =
        |name: &str, ns| Line { name: name.to_owned(), points: vec![(least, ns), (most, ns)], dashed: true };
    [
        line("minimal parser", results.parse_added_ns(Course::Handed, Version::V4)),
        line("the filter's own parser", own),
    ]
}

fn head(svg: &mut String, results: &Results) {
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">Time that a filter adds to each packet of a flood</text>\n\
         <text x=\"{LEFT}\" y=\"39\" fill=\"#555\">{}</text>",
        results.machine.line()
    );
}

fn axes(svg: &mut String, least: f64, most: f64, top: f64, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) {
    for ns in marks(NS_LEAST, top * 1.2) {
        let at = y(ns);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{ns:.0} ns</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for size in marks(least, most) {
        let at = x(size);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{BOTTOM}\" stroke=\"#ddd\"/>\n\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{size:.0}</text>",
            BOTTOM + 18.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">prefixes in the policy</text>",
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 40.0
    );
}

/// The powers of ten from `least` to `most`.
fn marks(least: f64, most: f64) -> Vec<f64> {
    let all = (0..12).map(|power| 10_f64.powi(power));
    all.filter(|mark| (least..=most).contains(mark)).collect()
}

/// Names at the lines' ends, moved apart where they would lie upon one another.
fn legend(svg: &mut String, mut names: Vec<(f64, String, &str, f64)>) {
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = TOP;
    let above: f64 = names.len() as f64 * NAME_HEIGHT;
    for (index, (at, name, colour, from)) in names.iter().enumerate() {
        let below = above - index as f64 * NAME_HEIGHT;
        let place = at.max(free).min(BOTTOM + NAME_HEIGHT - below);
        free = place + NAME_HEIGHT;
        let _ = writeln!(
            svg,
            "<line x1=\"{from:.1}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{place:.1}\" stroke=\"{colour}\" stroke-width=\"0.5\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>",
            RIGHT + 14.0,
            RIGHT + 18.0,
            place + 4.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_the_powers_of_ten_within() {
        assert_eq!(marks(10.0, 1_000.0), [10.0, 100.0, 1_000.0]);
    }
}
