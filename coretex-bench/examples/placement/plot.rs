//! The plot: a row for each strategy, on a scale of seconds that grows by tens.

use std::fmt::Write as _;

use super::report::Report;

const LEFT: f64 = 110.0;
const PANEL: f64 = 270.0;
const GAP: f64 = 30.0;
const TOP: f64 = 64.0;
const ROW: f64 = 26.0;
/// The scale, in powers of ten seconds.
const FROM: f64 = -1.0;
const TO: f64 = 2.0;
/// Colours that people who see few colours tell apart, with shapes beside them.
const MARKS: [(&str, &str, f64); 3] = [("p50", "#1b6ca8", 0.5), ("p95", "#c77700", 0.95), ("p99", "#8b1e3f", 0.99)];

pub(crate) fn draw(reports: &[Report]) -> String {
    let height = TOP + ROW * reports.len() as f64 + 46.0;
    let width = LEFT + 2.0 * PANEL + 2.0 * GAP + 200.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut svg, LEFT, 20.0, "start", "bold", "waited, seconds");
    text(&mut svg, LEFT + PANEL + GAP, 20.0, "start", "bold", "arrival to result, seconds");
    let columns = LEFT + 2.0 * PANEL + 2.0 * GAP;
    for (n, name) in ["busy", "fairness", "cost"].into_iter().enumerate() {
        text(&mut svg, columns + 60.0 * (n as f64 + 1.0), TOP - 16.0, "end", "bold", name);
    }
    for (n, (name, colour, _)) in MARKS.into_iter().enumerate() {
        let x = LEFT + 60.0 * n as f64;
        mark(&mut svg, n, x + 5.0, 38.0, colour);
        text(&mut svg, x + 14.0, 42.0, "start", "normal", name);
    }
    let bottom = TOP + ROW * reports.len() as f64;
    for panel in 0..2 {
        let left = LEFT + f64::from(panel) * (PANEL + GAP);
        for power in FROM as i32..=TO as i32 {
            let x = place(left, 10_f64.powi(power));
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>",
                TOP - 8.0
            );
            let label = if power < 0 { "0.1".to_owned() } else { format!("{}", 10_i32.pow(power.unsigned_abs())) };
            text(&mut svg, x, bottom + 16.0, "middle", "normal", &label);
        }
    }
    let cheapest = reports.iter().map(|report| report.cost).fold(f64::MAX, f64::min);
    for (n, report) in reports.iter().enumerate() {
        let y = TOP + ROW * (n as f64 + 0.5);
        text(&mut svg, LEFT - 12.0, y + 4.0, "end", "normal", report.strategy);
        for (panel, of) in [Report::wait, Report::total].into_iter().enumerate() {
            let left = LEFT + panel as f64 * (PANEL + GAP);
            let xs: Vec<f64> = MARKS.iter().map(|(.., part)| place(left, of(report, *part, None))).collect();
            let (from, to) = (xs.first().copied().unwrap_or(left), xs.last().copied().unwrap_or(left));
            let _ = writeln!(svg, "<line x1=\"{from:.1}\" y1=\"{y}\" x2=\"{to:.1}\" y2=\"{y}\" stroke=\"#999\"/>");
            for (mark_n, (x, (_, colour, _))) in xs.into_iter().zip(MARKS).enumerate() {
                mark(&mut svg, mark_n, x, y, colour);
            }
        }
        let told = [
            format!("{:.0} %", report.utilisation() * 100.0),
            format!("{:.3}", report.fairness().0),
            format!("{:.2}", report.cost / cheapest),
        ];
        for (column, told) in told.iter().enumerate() {
            text(&mut svg, columns + 60.0 * (column as f64 + 1.0), y + 4.0, "end", "normal", told);
        }
    }
    text(
        &mut svg,
        LEFT,
        bottom + 36.0,
        "start",
        "normal",
        "waits below 0.1 s stand at 0.1; cost is a multiple of the least",
    );
    svg.push_str("</svg>\n");
    svg
}

fn place(left: f64, seconds: f64) -> f64 {
    let power = seconds.max(10_f64.powf(FROM)).log10().min(TO);
    left + (power - FROM) / (TO - FROM) * PANEL
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, weight: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\">{text}</text>"
    );
}

/// A circle, a square or a diamond.
fn mark(svg: &mut String, n: usize, x: f64, y: f64, colour: &str) {
    let _ = match n {
        0 => writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"4.5\" fill=\"{colour}\"/>"),
        1 => writeln!(svg, "<rect x=\"{:.1}\" y=\"{}\" width=\"8\" height=\"8\" fill=\"{colour}\"/>", x - 4.0, y - 4.0),
        _ => writeln!(svg, "<path d=\"M{x:.1} {} l5.5 5.5 l-5.5 5.5 l-5.5 -5.5 z\" fill=\"{colour}\"/>", y - 5.5),
    };
}
